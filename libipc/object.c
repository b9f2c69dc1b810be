/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control areas of semaphore sets and queues: making, opening and keeping them mapped. A file's name has a number of
 * its own, so it can be made before the object's id is known; the slot says which file it is making or removing, so
 * that a reaper can finish that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "obj_msg.h"
#include "obj_sem.h"
#include "registry.h"
#include "route_wire.h"
#include "slot.h"
#include "wait.h"

/* The parts of an area lie where its kind and number of semaphores put them. */
static bool layout_sound(enum kind kind, const struct area_head *h)
{
	struct area_head wanted = { .count = h->count, .who_at = PAGE };

	if (kind == KIND_SEM)
		sem_set_layout(&wanted);
	return h->who_at == wanted.who_at && h->big_at == wanted.big_at && h->big_size == wanted.big_size;
}

/* The cells have memory since the creation; but a copy of the file may have lost pages of zeros. */
static int check_cells(enum kind kind, struct area *a, uint64_t holds)
{
	if (kind == KIND_MSG)
		return msg_queue_check(a, holds);
	return holds < 8ull * VAL(a->count) ? file_fence(a->head, 8ull * VAL(a->count)) : 0;
}

/* The object's file, checked and mapped. */
static int map_area(struct ipc_ns *ns, enum kind kind, const struct row *r, struct obj *o, struct area *a)
{
	uint32_t opened = (uint32_t)row_id(r) + 1;
	int id = row_id(r);
	struct area_head h;
	struct stat st;
	char name[24];
	int fd, e = 0;

	object_name(name, kind, (int)r->v[R_FILE]);
	fd = ns->wire ? wire_open(ns, kind, id) : file_open(ns, name, O_RDWR);
	if (fd < 0)
		return fd;
	if (pread(fd, &h, sizeof h, 0) != sizeof h)
		e = ns_fail(-EIDRM, "%s/%s is too short for an object", ns->dir, name);
	else if (h.magic != AREA_MAGIC || h.version != AREA_VERSION || h.kind != (kind == KIND_SEM ? AREA_SEM : AREA_MSG))
		e = ns_fail(-EIDRM, "%s/%s is damaged or of another version; it is left as it is", ns->dir, name);
	if (!e && (fstat(fd, &st) || (uint64_t)st.st_size < area_length(kind, &h)))
		e = ns_fail(-EIDRM, "%s/%s was shortened; it is left as it is", ns->dir, name);
	/* its owner may have written there; callers have room for what the row says */
	if (!e && (!layout_sound(kind, &h) || (kind == KIND_SEM && h.count != r->v[R_SIZE])))
		e = ns_fail(-EIDRM, "%s/%s is damaged; it is left as it is", ns->dir, name);
	if (!e) {
		*a = (struct area){ .length = area_length(kind, &h), .count = h.count, .who_at = h.who_at, .big_at = h.big_at,
				    .big_size = h.big_size, .copying = ns->copying };
		a->head = file_map(a->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd);
		if (!a->head)
			e = -ENOMEM;
		else
			madvise(a->head, a->length, MADV_DONTDUMP);
	}
	close(fd);
	if (!e && ns->enter)
		ns->enter(ns, a);
	if (!e)
		e = check_cells(kind, a, (uint64_t)st.st_blocks * 512);
	if (e && a->head) {
		if (ns->enter)
			ns->enter(ns, NULL);
		munmap(a->head, a->length);
		a->head = NULL;
		if (e == -EIDRM)
			ns_fail(e, "%s/%s is damaged; it is left as it is", ns->dir, name);
	}
	if (e == -EIDRM && atomic_exchange(&o->reported, opened) != opened)
		fprintf(stderr, "libipc: %s\n", ns_error);
	return e;
}

size_t area_length(enum kind kind, const struct area_head *h)
{
	if (kind == KIND_MSG)
		return MSG_AREA_LENGTH;
	return h->big_at + h->big_size * WHO_MAX;
}

/* The row is read, and what it says is kept for as long as the registry does not change. */
int object_permit_slow(struct ipc_ns *ns, enum kind kind, int id, struct obj *o, uint32_t *size)
{
	uint32_t creds = atomic_load(&creds_generation);
	int granted = 0;
	struct perm p;
	struct row r;
	uint64_t x;

	do {
		int e;

		x = area_idle(&ns->reg);
		e = registry_read(ns, kind, id, &r);
		if (e)
			return e;
	} while (!area_unmoved(&ns->reg, x));
	if (kind == KIND_SEM && atomic_load(&o->opened) == (uint32_t)id + 1 && r.v[R_SIZE] != o->area.count)
		return -EIDRM; /* callers have room for what the row says */
	p = row_perm(&r);
	if (!perm_check(&p, 0444))
		granted |= MAY_READ;
	if (!perm_check(&p, 0222))
		granted |= MAY_ALTER;
	if (!ns->wire || creds_get()->uid == p.uid)
		granted |= MAY_MAP;
	*size = r.v[R_SIZE];
	if (ns->server || creds_uncertain()) /* true of this client only, or of the daemon, or of this moment */
		return granted;
	atomic_store(&o->seen, 0);
	o->granted = (uint32_t)granted;
	o->size = r.v[R_SIZE];
	o->seen_creds = creds;
	atomic_store_explicit(&o->seen, x, memory_order_release);
	return granted;
}

/* If nobody of this process can be using the old mapping: one thread, and no frame below a handler. */
static void unmap_old(struct ipc_ns *ns, struct obj *o)
{
	if (ns->retire) {
		if (o->area.head)
			ns->retire(ns, o);
		return;
	}
	if (o->area.head && atomic_load(&ns->threads) <= 1 && !wait_pending() && !ipc_handling)
		munmap(o->area.head, o->area.length);
}

static int open_object(struct ipc_ns *ns, enum kind kind, const struct row *r, struct obj *o)
{
	struct obj *held = ns->hold ? ns->hold() : NULL;
	struct area a = { 0 };
	int e = ns->hold && !held ? -ENOMEM : map_area(ns, kind, r, o, &a);

	if (e) {
		free(held);
		return e == -ENOENT ? -EIDRM : e;
	}
	atomic_store(&o->opened, 0);
	atomic_store(&o->seen, 0);
	unmap_old(ns, o);
	o->area = a;
	o->file = r->v[R_FILE];
	o->tag = 0;
	o->held = held;
	if (held) {
		memset(held, 0, sizeof *held);
		object_hold(o, row_id(r), held);
	}
	return 0;
}

/* This process's slot notes the object, before it first touches it; what it has cached of it begins anew. */
static int note_object(struct ipc_ns *ns, enum kind kind, int id, struct obj *o)
{
	int e;

	if (ns->base) { /* o->tag is the daemon's */
		if (ns->noted[kind][ID_INDEX(id)] == id + 1)
			return 0;
		e = slot_note(ns, kind, id);
		if (!e)
			ns->noted[kind][ID_INDEX(id)] = id + 1;
		return e;
	}
	if (o->tag == ns->tag)
		return 0;
	e = ns->wire ? 0 : slot_note(ns, kind, id); /* the daemon has, when it gave the descriptor */
	if (!e) {
		memset((void *)o->touched, 0, sizeof o->touched);
		atomic_store(&o->undo, -1);
		o->tag = ns->tag;
	}
	return e;
}

int object_open_slow(struct ipc_ns *ns, enum kind kind, int id, int who, struct obj **out)
{
	struct obj *o = &ns->obj[kind][ID_INDEX(id)], *place = o;
	struct cold c;
	struct row r;
	int e;

	cold_enter(ns, &c);
	e = registry_read(ns, kind, id, &r);
	if (!e && ns->wire && atomic_load(&o->opened) != (uint32_t)id + 1 && creds_get()->uid != r.v[R_UID])
		e = -EXDEV;
	if (!e && (atomic_load(&o->opened) != (uint32_t)id + 1 || (ns->server && !o->held)))
		e = open_object(ns, kind, &r, o);
	if (!e && ns->server && object_held)
		o = o->held;
	if (!e)
		e = note_object(ns, kind, id, o);
	if (!e && atomic_load(&o->touched[who / 4 % 16]) != who / 4 + 1) {
		e = file_fence(area_who(&o->area, (uint32_t)who), WHO_SIZE);
		if (!e)
			atomic_store(&o->touched[who / 4 % 16], (uint16_t)(who / 4 + 1));
	}
	if (!e)
		atomic_store_explicit(&place->opened, (uint32_t)id + 1, memory_order_release);
	object_used = o->file;
	if (!e && ns->enter)
		ns->enter(ns, &o->area);
	slot_heal(ns);
	cold_leave(ns, &c);
	*out = o;
	return e;
}

void objects_forget(struct ipc_ns *ns, bool (*unused)(struct ipc_ns *ns, const struct area *a))
{
	for (int kind = KIND_SEM; kind <= KIND_MSG; kind++)
		for (uint32_t i = 0, high = rows_high(&ns->reg, kind); i < high; i++) {
			struct obj *o = &ns->obj[kind][i];
			struct row r;

			if (!o->area.head || (atomic_load(&o->opened) &&
					      !registry_read(ns, kind, (int)atomic_load(&o->opened) - 1, &r)))
				continue;
			if (!unused(ns, &o->area))
				continue;
			atomic_store(&o->opened, 0);
			munmap(o->area.head, o->area.length);
			o->area.head = NULL;
			free(o->held);
			o->held = NULL;
		}
}

__thread uint32_t object_used;
__thread bool object_held;

bool object_moved(struct ipc_ns *ns, enum kind kind, int id, uint32_t used)
{
	struct obj *o = &ns->obj[kind][ID_INDEX(id)];
	struct row r;

	if ((!ns->wire && !ns->base) || id < 0 || registry_read(ns, kind, id, &r))
		return false;
	if (used == r.v[R_FILE])
		return false;
	if (ns->wire && object_same(o, id) && o->file == used) /* a daemon does so itself */
		atomic_store(&o->opened, 0);
	return true;
}

/* Who makes and removes files: this process, also for a client. */
static uint32_t maker(const struct ipc_ns *ns)
{
	return ns->base ? ns->base->tag : ns->tag;
}

void object_removing(struct ipc_ns *ns, enum kind kind, uint32_t file)
{
	atomic_store(&ns->slots->row[SLOT_OF(maker(ns))].making, (uint64_t)(kind + 1) << 32 | file);
}

void object_leaving(struct ipc_ns *ns, enum kind kind, uint32_t file)
{
	atomic_store(&ns->slots->row[SLOT_OF(maker(ns))].leaving, (uint64_t)(kind + 1) << 32 | file);
}

void object_made(struct ipc_ns *ns)
{
	struct slot_row *r = &ns->slots->row[SLOT_OF(maker(ns))];

	atomic_store(&r->making, 0);
	atomic_store(&r->leaving, 0);
}

/* A new file, mapped by nobody: its descriptor, or -errno. The slot notes it until object_made. */
int object_create(struct ipc_ns *ns, enum kind kind, uint64_t size, uint64_t first, uint32_t *file)
{
	static uint32_t counter;
	struct timespec t;
	char name[24];
	int fd;

	clock_gettime(CLOCK_REALTIME, &t);
	for (;;) {
		*file = (uint32_t)(t.tv_nsec * 2654435761u) ^ (uint32_t)t.tv_sec * 40503u ^ ((uint32_t)ns->pid << 16) ^
			__atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED) * 69069u;
		object_name(name, kind, (int)*file);
		object_removing(ns, kind, *file);
		fd = file_create(ns, name, size, false);
		if (fd != -EEXIST)
			break;
		object_made(ns);
	}
	if (fd >= 0 && first && fallocate(fd, 0, 0, (off_t)first)) {
		close(fd);
		file_remove(ns, name);
		fd = -ENOMEM;
	}
	if (fd < 0)
		object_made(ns);
	return fd == -ENOSPC ? -ENOMEM : fd;
}

void object_damaged(struct ipc_ns *ns, enum kind kind, struct obj *o)
{
	char name[24], line[520];
	uint32_t opened = atomic_load(&o->opened);
	int n;

	if (atomic_exchange(opened ? &ns->obj[kind][ID_INDEX(opened - 1)].reported : &o->reported, opened) == opened)
		return;
	object_name(name, kind, (int)o->file);
	n = snprintf(line, sizeof line, "libipc: %s/%s is damaged; calls on this object give EIDRM from now on\n", ns->dir,
		     name);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody listens */
}
