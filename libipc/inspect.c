/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at objects. See inspect.h. What may have no memory yet is read from the file, never touched through the
 * mapping; what changes is read between two looks at the area's op word.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include "inspect.h"
#include "registry.h"
#include "route_call.h"
#include "slot.h"
#include "wait.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* A daemon's threads are for all: no object keeps them that changes all the time, with ten thousand rows of undo. */
static int tries_of(const struct ipc_ns *ns)
{
	return ns->server ? 4 : 1000;
}

/* ---- segments ---- */

/* Mappings of one slot: the records of its list that name the segment. All lists together have no more than all records. */
static uint32_t mappings(struct ipc_ns *ns, uint32_t slot, uint32_t index, uint32_t seq, uint64_t x,
			 uint32_t *steps)
{
	uint32_t record = area_value(&ns->reg, att_head(slot)), high = att_high(&ns->reg), n = 0;

	for (; record && record <= high && *steps < high; ++*steps) {
		n += area_value(&ns->reg, att_cell(record - 1, A_SEG)) == index + 1 &&
		     area_value(&ns->reg, att_cell(record - 1, A_COUNT)) == seq;
		record = area_value(&ns->reg, att_cell(record - 1, A_NEXT));
		if (!area_unmoved(&ns->reg, x))
			break;
	}
	return n;
}

/* The heads of the slots' lists may have no memory yet; a client cannot write there. */
static int fence_heads(struct ipc_ns *ns, uint32_t high)
{
	uintptr_t from = (uintptr_t)area_cell(&ns->reg, att_head(0)), start = from & ~(uintptr_t)(PAGE - 1);

	if (!ns->wire)
		return file_fence((void *)from, 8ull * high);
	return madvise((void *)start, from - start + 8ull * high, MADV_POPULATE_READ) ? -ENOMEM : 0;
}

int inspect_attached(struct ipc_ns *ns, int id, struct inspect_attached *out, int room)
{
	uint32_t high = slots_high(ns);
	int n = 0;
	uint64_t x;

	if (fence_heads(ns, high))
		return -ENOMEM;
	for (int tries = 0; tries < tries_of(ns); tries++) {
		uint32_t steps = 0;

		n = 0;
		x = area_idle(&ns->reg);
		for (uint32_t slot = 1; slot < high; slot++) {
			uint32_t m = mappings(ns, slot, ID_INDEX(id), ID_SEQ(id), x, &steps);
			uint64_t word = atomic_load(&ns->slots->row[slot].word);

			if (m && n < room)
				out[n] = (struct inspect_attached){ WORD_PID(word), m };
			n += m > 0;
		}
		if (area_unmoved(&ns->reg, x))
			break;
	}
	return n;
}

/* ---- sets and queues ---- */

/* An object's file, to read from it. */
static int open_file(struct ipc_ns *ns, enum kind kind, int who, int id, struct obj **o)
{
	char name[24];
	int e = object_open(ns, kind, id, who, o);

	if (e)
		return e;
	object_name(name, kind, (int)(*o)->file);
	return file_open(ns, name, O_RDONLY);
}

/* Read a part of the file as one state of the area; what lies past the end is zero. */
static int read_state(struct ipc_ns *ns, struct obj *o, int fd, uint64_t at, void *buf, size_t length)
{
	for (int tries = 0; tries < tries_of(ns); tries++) {
		uint64_t x = area_idle(&o->area);
		size_t n = 0;
		ssize_t r;

		while (n < length && (r = pread(fd, (char *)buf + n, length - n, (off_t)(at + n))) > 0)
			n += (size_t)r;
		memset((char *)buf + n, 0, length - n);
		if (area_unmoved(&o->area, x))
			break;
	}
	return 0;
}

static void *read_part(struct ipc_ns *ns, struct obj *o, int fd, uint64_t at, size_t length)
{
	void *buf = malloc(length ? length : 1);

	if (buf)
		read_state(ns, o, fd, at, buf, length);
	return buf;
}

static const struct request *request_of(const char *blocks, uint32_t who)
{
	return &((const struct who_block *)(blocks + (size_t)who * WHO_SIZE))->req;
}

static uint32_t cell_value(const cell_t *c)
{
	return VALUE(atomic_load_explicit(c, memory_order_relaxed));
}

static bool is_waiting(const struct request *q)
{
	return (cell_value(&q->state) & 15) == REQ_WAIT;
}

/* Not written yet, or left by an earlier request: it has just joined. */
static uint64_t waited(const struct request *q)
{
	uint64_t since = atomic_load_explicit(&q->since, memory_order_relaxed), now = wait_clock();

	return (uint16_t)since == cell_value(&q->state) >> 16 && since >> 16 < now ? now - (since >> 16) : 0;
}

static void describe(const struct request *q, struct inspect_waiter *w)
{
	memset(w, 0, sizeof *w);
	w->waited = waited(q);
	w->pid = (pid_t)q->pid;
	w->sends = cell_value(&q->node);
	w->nsops = q->nsops;
	memcpy(w->sop, q->sop, sizeof w->sop);
	w->type = q->type;
	w->size = q->size;
	w->flags = q->flags;
}

/* In the order of the lists: from each request that nobody precedes, along `next`. */
int inspect_waiters(struct ipc_ns *ns, int who, enum kind kind, int id, struct inspect_waiter *out, int room)
{
	uint32_t high = whos_high(ns);
	struct obj *o;
	char *blocks;
	int fd, n = 0;

	if (ns->wire)
		return wire_inspect(ns, INSPECT_WAITERS, kind, id, 0, out, sizeof *out, room);
	fd = open_file(ns, kind, who, id, &o);
	if (fd < 0)
		return fd;
	blocks = read_part(ns, o, fd, o->area.who_at, (size_t)high * WHO_SIZE);
	close(fd);
	if (!blocks)
		return -ENOMEM;
	for (uint32_t head = 1; head < high; head++) {
		if ((uint32_t)n >= high || !is_waiting(request_of(blocks, head)) ||
		    cell_value(&request_of(blocks, head)->prev))
			continue;
		for (uint32_t w = head; w && w < high && (uint32_t)n < high; ) {
			const struct request *q = request_of(blocks, w);

			if (n < room)
				describe(q, &out[n]);
			n++;
			w = cell_value(&q->next);
		}
	}
	free(blocks);
	return n;
}

/* A row's adjustment for semaphore i; for the first one it may be in the hot word. */
static int16_t adjustment(uint32_t row, uint32_t i, uint32_t have, uint32_t value, uint64_t hot)
{
	if (i == 0) {
		if (hot >> 48 == row + 1)
			return (int16_t)(hot >> 32);
		value = (uint32_t)hot;
	}
	return have >> 16 == value >> 16 ? (int16_t)have : 0;
}

/* The pending adjustments of one undo row. */
static int row_undo(struct ipc_ns *ns, struct obj *o, uint32_t row, const cell_t *u, const cell_t *value,
		    struct inspect_undo *out, int room, int n)
{
	uint64_t hot = atomic_load(&o->area.head->hot);
	uint32_t nsems = o->area.count;

	for (uint32_t i = 0; i < nsems; i++) {
		int16_t adjust = adjustment(row, i, cell_value(&u[i + 1]), cell_value(&value[2 * i]), hot);

		if (!adjust)
			continue;
		if (n < room)
			out[n] = (struct inspect_undo){ slot_pid(ns, cell_value(&u[0])), i, adjust };
		n++;
	}
	return n;
}

/* Rows one by one: there may be many, and most are nobody's. */
static int all_undo(struct ipc_ns *ns, struct obj *o, int fd, cell_t *value, cell_t *u, struct inspect_undo *out, int room)
{
	uint32_t nsems = o->area.count, rows = area_value(&o->area, S_UHIGH);
	uint64_t at = 8ull * VAL(nsems), width = 8ull * (nsems + 1ull);
	int n = 0;

	read_state(ns, o, fd, 8ull * S_FIRST, value, 16ull * nsems);
	/* removed, or set aside meanwhile by a daemon's watchdog: no more of it */
	for (uint32_t row = 0; row < rows && row < WHO_MAX && !(area_value(&o->area, S_FLAGS) & S_REMOVED); row++) {
		read_state(ns, o, fd, at + row * width, u, 8);
		if (!cell_value(&u[0]))
			continue;
		read_state(ns, o, fd, at + row * width, u, width);
		n = row_undo(ns, o, row, u, value, out, room, n);
	}
	return n;
}

int inspect_undo(struct ipc_ns *ns, int who, int id, struct inspect_undo *out, int room)
{
	struct obj *o;
	cell_t *value, *u;
	int fd, n = -ENOMEM;

	if (ns->wire)
		return wire_inspect(ns, INSPECT_UNDO, KIND_SEM, id, 0, out, sizeof *out, room);
	fd = open_file(ns, KIND_SEM, who, id, &o);
	if (fd < 0)
		return fd;
	value = calloc(2ull * o->area.count, sizeof *value);
	u = calloc(o->area.count + 1ull, sizeof *u);
	for (int tries = 0; value && u && tries < tries_of(ns); tries++) {
		uint64_t x = area_idle(&o->area);

		n = all_undo(ns, o, fd, value, u, out, room);
		if (area_unmoved(&o->area, x))
			break;
	}
	close(fd);
	free(value);
	free(u);
	return n;
}

int inspect_state(struct ipc_ns *ns, int who, enum kind kind, int id, struct inspect_state *out)
{
	struct obj *o;
	int e;

	memset(out, 0, sizeof *out);
	if (ns->wire) {
		e = wire_inspect(ns, INSPECT_STATE, kind, id, 0, out, sizeof *out, 1);
		return e < 0 ? e : 0;
	}
	e = object_open(ns, kind, id, who, &o);
	if (!e)
		e = kind == KIND_SEM ? sem_set_times(ns, who, o, &out->sem) : msg_queue_stat(ns, who, o, &out->msg);
	if (!e)
		out->changes = (int64_t)SEQ(atomic_load(&o->area.head->op));
	return e;
}

int inspect_values(struct ipc_ns *ns, int who, int id, uint16_t *out, int room)
{
	struct obj *o;
	int e;

	if (ns->wire)
		return wire_inspect(ns, INSPECT_VALUES, KIND_SEM, id, 0, out, sizeof *out, room);
	e = object_open(ns, KIND_SEM, id, who, &o);
	if (e)
		return e;
	if (o->area.count > (uint32_t)room)
		return -ENOMEM;
	e = sem_set_getall(ns, who, o, out);
	return e ? e : (int)o->area.count;
}

int inspect_counts(struct ipc_ns *ns, int who, int id, uint32_t from, struct inspect_counts *out, int room)
{
	struct obj *o;
	int e, n = 0;

	if (ns->wire)
		return wire_inspect(ns, INSPECT_COUNTS, KIND_SEM, id, from, out, sizeof *out,
				    room < INSPECT_COUNTS_ROOM ? room : INSPECT_COUNTS_ROOM);
	e = object_open(ns, KIND_SEM, id, who, &o);
	for (uint32_t i = from; !e && n < room && i < o->area.count; i++, n++) {
		out[n].pid = sem_set_query(ns, who, o, i, GETPID);
		out[n].ncnt = sem_set_query(ns, who, o, i, GETNCNT);
		out[n].zcnt = sem_set_query(ns, who, o, i, GETZCNT);
		e = out[n].zcnt < 0 ? -EIDRM : 0;
	}
	return e ? e : n;
}

/* ---- processes ---- */

/* A client does not count the daemon. */
static bool slot_counts(struct ipc_ns *ns, uint32_t slot, uint64_t word)
{
	return slot != atomic_load(&ns->slot) && (!ns->wire || ns->slots->row[slot].uid) && WORD_STATE(word) != SLOT_FREE &&
	       WORD_PID(word) > 0 && slot_there(ns, TAG(slot, WORD_GEN(word)));
}

int inspect_processes(struct ipc_ns *ns, pid_t *out, int room)
{
	uint32_t high = slots_high(ns);
	int n = 0;

	for (uint32_t slot = 1; slot < high; slot++) {
		uint64_t word = atomic_load(&ns->slots->row[slot].word);

		if (!slot_counts(ns, slot, word))
			continue;
		if (n < room)
			out[n] = WORD_PID(word);
		n++;
	}
	return n;
}

bool inspect_command(pid_t pid, char *out, size_t size)
{
	char path[40];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, out, size - 1);
		close(fd);
	}
	out[n > 0 ? n : 0] = 0;
	out[strcspn(out, "\n")] = 0;
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return n > 0;
}
