/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where this process has segments mapped. A program may unmap, move or protect any part of what shmat gave it, and the
 * kernel then counts each mapping that results; so an attachment is one piece or several, each with a record of its own
 * in the registry. Everything here is done in the cold section, and pieces that go are counted after those that come:
 * a removed segment that has been moved or split never looks unattached in between.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "attach.h"
#include "obj_shm.h"

/* A free entry of the process's table. */
struct attachment *shm_piece_new(struct ipc_ns *ns)
{
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (!ns->att[i].addr)
			return &ns->att[i];
	if (!ns->att) { /* it never moves: another thread may be reading it */
		void *p = file_map(ATT_MAX * sizeof(struct attachment), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

		if (!p)
			return NULL;
		__atomic_store_n(&ns->att, p, __ATOMIC_RELEASE);
	}
	if (ns->att_count == ATT_MAX)
		return NULL;
	__atomic_store_n(&ns->att_count, ns->att_count + 1, __ATOMIC_RELEASE);
	return &ns->att[ns->att_count - 1];
}

static bool overlaps(const struct attachment *a, uintptr_t at, size_t size)
{
	return a->addr && (uintptr_t)a->addr < at + size && at < (uintptr_t)a->addr + a->size;
}

bool shm_range_has(struct ipc_ns *ns, uintptr_t at, size_t size)
{
	uint32_t count = __atomic_load_n(&ns->att_count, __ATOMIC_ACQUIRE);
	const struct attachment *att = __atomic_load_n(&ns->att, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++)
		if (overlaps(&att[i], at, size))
			return true;
	return false;
}

/* A piece that cannot be counted is remembered all the same, so that shmdt finds it; it has record 0. */
static struct attachment *add_piece(struct ipc_ns *ns, int who, struct attachment piece)
{
	struct attachment *a = shm_piece_new(ns);

	if (!a)
		return NULL;
	if (attach_add(ns, who, ns->tag, piece.id, ns->pid, &piece.record))
		piece.record = 0;
	*a = piece;
	return a;
}

static void drop_piece(struct ipc_ns *ns, int who, struct attachment *a)
{
	uint32_t record = a->record;

	a->addr = NULL;
	attach_drop(ns, who, ns->tag, record, ns->pid);
}

/* Cut the piece at an address inside it: what lies behind is a piece of its own. */
static void split(struct ipc_ns *ns, int who, uint32_t i, uintptr_t at)
{
	struct attachment rest = ns->att[i];
	size_t first = at - (uintptr_t)rest.addr;

	if (at <= (uintptr_t)rest.addr || first >= rest.size)
		return;
	rest.addr += first;
	rest.size -= first;
	rest.offset += first;
	add_piece(ns, who, rest);
	ns->att[i].size = first;
}

/* Make the edges of a range edges of pieces. */
static void split_at_edges(struct ipc_ns *ns, int who, uintptr_t at, size_t size)
{
	for (uint32_t i = 0; i < ns->att_count; i++) {
		if (!overlaps(&ns->att[i], at, size))
			continue;
		split(ns, who, i, at);
		if (overlaps(&ns->att[i], at, size))
			split(ns, who, i, at + size);
	}
}

void shm_range_gone(struct ipc_ns *ns, int who, uintptr_t at, size_t size)
{
	split_at_edges(ns, who, at, size);
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (overlaps(&ns->att[i], at, size))
			drop_piece(ns, who, &ns->att[i]);
}

void shm_range_protected(struct ipc_ns *ns, int who, uintptr_t at, size_t size, int prot)
{
	for (uint32_t i = 0; i < ns->att_count; i++) {
		if (!overlaps(&ns->att[i], at, size) || ns->att[i].prot == prot)
			continue;
		split(ns, who, i, at);
		if (!overlaps(&ns->att[i], at, size))
			continue; /* its rest has an entry of its own */
		split(ns, who, i, at + size);
		ns->att[i].prot = prot;
	}
}

/* What mremap has put at `to`: copies of the pieces of the old range, the last one as long as was asked for. */
static void add_moved(struct ipc_ns *ns, int who, uintptr_t from, size_t old, uintptr_t to, size_t size)
{
	uint32_t count = ns->att_count;

	for (uint32_t i = 0; i < count; i++) {
		struct attachment piece = ns->att[i];
		uintptr_t at = (uintptr_t)piece.addr, start, end;

		if (!overlaps(&piece, from, old ? old : 1))
			continue;
		start = at > from ? at : from;
		end = at + piece.size < from + old ? at + piece.size : from + size;
		if (end > from + size)
			end = from + size;
		if (start >= end)
			continue;
		piece.addr = (char *)(to + (start - from));
		piece.size = end - start;
		piece.offset += start - at;
		add_piece(ns, who, piece);
	}
}

static void resize(struct ipc_ns *ns, int who, uintptr_t at, size_t old, size_t size)
{
	if (size < old)
		shm_range_gone(ns, who, at + size, old - size);
	for (uint32_t i = 0; size > old && i < ns->att_count; i++)
		if (ns->att[i].addr && (uintptr_t)ns->att[i].addr + ns->att[i].size == at + old)
			ns->att[i].size += size - old;
}

void shm_range_moved(struct ipc_ns *ns, int who, const struct shm_move *m)
{
	if (m->to == m->from && m->old) {
		resize(ns, who, m->from, m->old, m->size);
		return;
	}
	add_moved(ns, who, m->from, m->old, m->to, m->size);
	if (m->old && !m->keep)
		shm_range_gone(ns, who, m->from, m->old);
}

/* The piece that shmdt means: the first, by address, which lies where it would if the segment began at addr. */
static struct attachment *find_first(struct ipc_ns *ns, uintptr_t addr)
{
	struct attachment *first = NULL;

	for (uint32_t i = 0; i < ns->att_count; i++) {
		struct attachment *a = &ns->att[i];

		if (a->addr && (uintptr_t)a->addr >= addr && (uintptr_t)a->addr - addr == a->offset &&
		    (!first || a->addr < first->addr))
			first = a;
	}
	return first;
}

static void unmap_piece(struct ipc_ns *ns, int who, struct attachment *a)
{
	void *addr = a->addr;
	size_t size = a->size;

	drop_piece(ns, who, a);
	munmap(addr, size); /* last: nothing that we map meanwhile may land there */
}

int shm_segment_detach(struct ipc_ns *ns, int who, uintptr_t addr)
{
	struct attachment *first = addr % PAGE ? NULL : find_first(ns, addr), is;

	if (!first)
		return -EINVAL;
	is = *first;
	unmap_piece(ns, who, first);
	for (uint32_t i = 0; i < ns->att_count; i++) {
		struct attachment *a = &ns->att[i];

		if (a->addr && a->shmat == is.shmat && (uintptr_t)a->addr >= addr &&
		    (uintptr_t)a->addr - addr == a->offset && (uintptr_t)a->addr + a->size - addr <= is.whole)
			unmap_piece(ns, who, a);
	}
	return 0;
}
