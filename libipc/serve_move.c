/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control areas that move. Processes of an object's owner have its area mapped; when IPC_SET gives it to another uid,
 * what they have is closed for good, and the state goes on in a copy that they cannot map.
 *
 * The old area is frozen: nothing can be published in it, so what is copied is one state. Then the registry names the
 * copy, and the old area is closed as if the object had been removed: everybody who finds EIDRM there, sleepers too, sees
 * in the registry that it lives elsewhere, and goes on there, with the request that he had in the list. No request is
 * withdrawn in a closed area (wait_settle): it stands in the copy's list too, and ends there. Meanwhile no other worker
 * does anything, so what the daemon does for others is wholly before the move or wholly after it. Killed before the
 * registry's change, the old one is thawed by the next daemon; after it, closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "obj_msg.h"
#include "obj_sem.h"
#include "registry.h"
#include "serve.h"

/* More operations than the closed area will see: what was begun there is not committed in the copy. */
#define AHEAD (1u << 20)

/* What has memory, hole by hole. */
static int copy_file(int from, int to, off_t length)
{
	off_t at = 0, end;
	char room[16384];

	while (at < length && (at = lseek(from, at, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		while (at < end) {
			ssize_t n = pread(from, room, end - at < (off_t)sizeof room ? (size_t)(end - at) : sizeof room, at);

			if (n <= 0 || pwrite(to, room, (size_t)n, at) != n)
				return n < 0 ? -errno : -ENOMEM;
			at += n;
		}
	}
	return at < 0 && errno != ENXIO ? -errno : 0;
}

static int copy_area(struct ipc_ns *ns, enum kind kind, const struct area *a, uint32_t old, uint32_t *file)
{
	uint64_t idle = OP(SEQ(atomic_load(&a->head->op)) + AHEAD, 0);
	char name[24];
	int from, to, e;

	object_name(name, kind, (int)old);
	from = file_open(ns, name, O_RDONLY);
	if (from < 0)
		return from;
	to = object_create(ns, kind, a->length, 0, file);
	e = to < 0 ? to : copy_file(from, to, (off_t)a->length);
	if (!e && pwrite(to, &idle, sizeof idle, offsetof(struct area_head, op)) != sizeof idle)
		e = -ENOMEM;
	close(from);
	if (to >= 0)
		close(to);
	if (e && to >= 0) {
		object_name(name, kind, (int)*file);
		file_remove(ns, name);
		object_made(ns);
	}
	return e;
}

/* Frozen, it is ours alone. */
static void close_frozen(struct area *a)
{
	uint64_t x = atomic_load(&a->head->op), tag = (uint64_t)(uint32_t)(SEQ(x) + 1) << 32;

	if (WHO(x) != WHO_FROZEN)
		return;
	atomic_store(area_cell(a, AREA_FLAGS), tag | AREA_CLOSED | AREA_MORE);
	area_thaw(a);
}

static const _Atomic int none;

/* In the cold section: one at a time. */
int move_object(struct ipc_ns *ns, int who, struct obj *o, struct row *r, const struct perm *to, uint32_t size)
{
	uint32_t old = r->v[R_FILE], file = 0;
	_Atomic int *copying = &ns->server->copying;
	struct area a = o->area;
	char name[24];
	int e;

	a.copying = &none; /* found frozen by us, it was not us */
	atomic_fetch_add(copying, 1);
	area_freeze(&a);
	guard_enter(ns->server, NULL); /* it may be much to copy */
	e = copy_area(ns, r->kind, &a, old, &file);
	if (!e) {
		object_leaving(ns, r->kind, old); /* and the copy stays noted: one of them has no row */
		e = registry_set_perm(ns, who, r, to->uid, to->gid, to->mode, size, file);
		if (e) {
			object_name(name, r->kind, (int)file);
			file_remove(ns, name);
		}
	}
	guard_enter(ns->server, &o->area);
	if (e) {
		area_thaw(&a);
		atomic_fetch_sub(copying, 1);
		object_made(ns);
		return e;
	}
	close_frozen(&a);
	atomic_fetch_sub(copying, 1);
	if (r->kind == KIND_SEM)
		sem_set_close(ns, who, o);
	else
		msg_queue_close(ns, who, o);
	atomic_store(&ns->obj[r->kind][r->index].opened, 0);
	object_name(name, r->kind, (int)old);
	file_remove(ns, name);
	object_made(ns);
	return 0;
}

static struct area_head *map_head(struct ipc_ns *ns, enum kind kind, uint32_t file)
{
	char name[24];
	struct area_head *h;
	int fd;

	object_name(name, kind, (int)file);
	fd = file_open(ns, name, O_RDWR);
	if (fd < 0)
		return NULL;
	h = lseek(fd, 0, SEEK_END) >= (off_t)PAGE ? file_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd) : NULL;
	close(fd);
	return h;
}

/* After a daemon that was killed while it copied. */
void move_thaw_all(struct ipc_ns *ns)
{
	struct row r;

	for (int kind = KIND_SEM; kind <= KIND_MSG; kind++)
		for (uint32_t i = 0; i < rows_high(&ns->reg, kind); i++) {
			struct area_head *h;

			if (registry_read_index(ns, kind, i, &r))
				continue;
			h = map_head(ns, kind, r.v[R_FILE]);
			if (!h)
				continue;
			area_thaw(&(struct area){ .head = h });
			munmap(h, PAGE);
		}
}

/* A file that its maker was about to remove, and that no row names: those who have it mapped are to see that. */
void move_close_file(struct ipc_ns *ns, enum kind kind, uint32_t file)
{
	struct area_head *h = kind == KIND_SHM ? NULL : map_head(ns, kind, file);

	if (!h)
		return;
	close_frozen(&(struct area){ .head = h });
	munmap(h, PAGE);
}
