/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A control area: shared memory whose operations are published, then helped (doc/protocol.md).
 *
 * Mutable state is cells {tag:32, value:32}. A cell is written by operations only. An operation is a list of
 * (cell, old, new) in the descriptor of the thread ("who") that publishes it; the compare-and-swap of `op` from idle
 * to it is the commit, and from then on anybody finishes it. No lock, no wait, nothing to undo.
 *
 * Rules inside:
 *  1. Read `op` first (txn_begin), cells next, decide last. A decision counts if `op` has not moved: txn_commit for
 *     changes, txn_valid for answers.
 *  2. A cell stands in a list once.
 *  3. The hot word lies beside `op` and changes with it, by a 16-byte compare-and-swap: in the step that completes an
 *     operation. So it needs no tag, and an operation that changes nothing else is committed and complete at once.
 *  4. Plain memory (requests, payloads) is written only while no cell says that others may read it.
 */
#ifndef IPC_AREA_H
#define IPC_AREA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef _Atomic uint64_t cell_t;

#define AREA_MAGIC 0x6970636461726561ull /* "ipcdarea" */
#define AREA_VERSION 1

#define WHO_MAX 16384 /* threads of one namespace, 1 .. WHO_MAX - 1 */
#define WHO_SIZE 1024 /* bytes of a who block in every area */

enum area_kind { AREA_REGISTRY = 1, AREA_SEM = 2, AREA_MSG = 3 };

struct area_head {
	uint64_t magic;
	uint32_t version;
	uint32_t kind;
	uint32_t id;     /* the object's id; 0 for the registry */
	uint32_t count;  /* semaphores of a set */
	uint64_t who_at; /* byte offset of the who blocks */
	uint64_t big_at; /* byte offset of the staging areas, 0 if none */
	uint64_t big_size;
	uint8_t pad0[16];
	_Atomic uint64_t op; /* {seq:48, who:16}; a cache line of its own */
	_Atomic uint64_t hot; /* what changes most: the kind of object decides what it is */
	cell_t cell[6]; /* the first cells, in the same cache line: for what short calls look at */
};
#define AREA_CELLS (offsetof(struct area_head, cell) / 8)

/* The flags of a set, or a queue. Closed: it has been removed, or lives elsewhere; nothing is withdrawn any more. */
#define AREA_FLAGS AREA_CELLS
#define AREA_CLOSED 1u
#define AREA_MORE 2u /* the cascade has not come to its end */

struct entry {
	uint32_t cell; /* byte offset / 8 */
	uint32_t value;
	uint64_t old;
};

#define DESC_INLINE 28
#define DESC_STAGED 0x80000000u /* in count: the list is in the staging area */
#define DESC_HOT 0x40000000u    /* in count: hot is to be written */
#define DESC_COUNT 0x3fffffffu

struct desc {
	_Atomic uint32_t count;
	_Atomic uint32_t begun; /* being written; its commit has not been tried */
	uint64_t hot;
	struct entry entry[DESC_INLINE];
};

/* A request that waits: the cells belong to the area's lists, the rest to the thread until the state says WAIT. */
enum { REQ_NONE, REQ_WAIT, REQ_DONE, REQ_OVER /* and taken: the errno is the call's result */ };
#define REQ_SOPS 16

struct request {
	cell_t state; /* value: turn:16, errno:12, REQ_*:4; also the futex word that the thread sleeps on */
	cell_t next;  /* who */
	cell_t prev;
	cell_t node;  /* message handed to a receiver, or to be sent */
	_Atomic uint32_t sleeping;
	uint32_t pid;
	uint16_t kind;
	uint16_t nsops; /* more than REQ_SOPS: in the staging area */
	int32_t undo;   /* undo row, or -1 */
	int64_t type;   /* messages */
	uint64_t size;
	uint32_t flags;
	uint32_t pad;
	struct { uint16_t num; int16_t op; int16_t flg; } sop[REQ_SOPS];
	cell_t spare[10]; /* free message nodes of each size that this thread owns, lists */
	cell_t orphan[10]; /* nodes that its signal handlers fill, or filled and left, lists */
	_Atomic uint32_t filling; /* node that a frame of it is filling, */
	_Atomic uint32_t filler;  /* if this is the tag of its owner's slot */
	uint8_t spares[12];       /* how many, roughly */
	uint64_t serial;          /* of a daemon's client that waits here: its request, so that it is found again */
	_Atomic uint64_t since;   /* when it fell asleep (ms, CLOCK_MONOTONIC):48, turn:16; for ipcctl */
};

struct who_block {
	struct desc desc;
	struct request req;
};
_Static_assert(sizeof(struct who_block) <= WHO_SIZE, "who block");
_Static_assert(sizeof(struct area_head) == 128 && offsetof(struct area_head, op) % 16 == 0, "area head");

/* An area as one process sees it. */
struct area {
	struct area_head *head; /* the mapping */
	size_t length;
	uint32_t count; /* head->count when it was mapped: what its sharers may write there later does not count */
	uint64_t who_at, big_at, big_size;
	bool readonly; /* others complete what is published */
	const _Atomic int *copying; /* in a daemon: how many areas it is copying; nobody else freezes any */
};

#define SEQ(x) ((x) >> 16)
#define WHO(x) ((uint32_t)((x) & 0xffff))
#define OP(seq, who) ((uint64_t)(seq) << 16 | (who))
#define VALUE(c) ((uint32_t)(c))
#define WHO_FROZEN 0xffffu /* in op: a daemon is copying the area; nothing is published until it has */

/* One attempt at an operation by one thread. */
struct txn {
	struct area *area;
	uint32_t who;
	uint32_t count;
	uint64_t op;
	struct desc *desc;
	struct entry *entry; /* inline, or staged */
	uint32_t room;
	bool too_long, hot;
	uint64_t hot_old, hot_new;
};

static inline cell_t *area_cell(const struct area *a, uint32_t index)
{
	return (cell_t *)a->head + index;
}

static inline uint64_t area_get(const struct area *a, uint32_t index)
{
	return atomic_load_explicit(area_cell(a, index), memory_order_acquire);
}

static inline uint32_t area_value(const struct area *a, uint32_t index)
{
	return VALUE(area_get(a, index));
}

static inline struct who_block *area_who(const struct area *a, uint32_t who)
{
	return (struct who_block *)((char *)a->head + a->who_at + (size_t)who * WHO_SIZE);
}

static inline void *area_big(const struct area *a, uint32_t who)
{
	return a->big_at ? (char *)a->head + a->big_at + (size_t)who * a->big_size : NULL;
}

static inline uint32_t area_index(const struct area *a, const void *p)
{
	return (uint32_t)(((uintptr_t)p - (uintptr_t)a->head) / 8);
}

void area_help(struct area *a, uint64_t x);
void area_freeze(struct area *a);
void area_thaw(struct area *a);

/* Of an area that this process cannot write: what is published there is not completed. */
extern void (*area_stuck)(const struct area *a);

#ifndef __x86_64__
#error "libipc needs a 16-byte compare-and-swap; only x86-64's is written and tested"
#endif

/* op and the hot word, in one step. */
static inline bool area_swap_both(struct area *a, uint64_t op, uint64_t hot, uint64_t new_op, uint64_t new_hot)
{
	bool same;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(same), "+m"(a->head->op), "+m"(a->head->hot), "+a"(op), "+d"(hot)
			 : "b"(new_op), "c"(new_hot)
			 : "memory");
	return same;
}

/* The idle op word, after helping whoever is at work. */
static inline uint64_t area_idle(struct area *a)
{
	for (;;) {
		uint64_t x = atomic_load(&a->head->op);

		if (!WHO(x))
			return x;
		area_help(a, x);
	}
}

static inline bool area_unmoved(const struct area *a, uint64_t x)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load(&a->head->op) == x;
}

void area_abort_begun(struct area *a, uint32_t who);

static inline void txn_begin(struct txn *t, struct area *a, uint32_t who)
{
	struct desc *d = &area_who(a, who)->desc;

	if (atomic_load_explicit(&d->begun, memory_order_relaxed))
		area_abort_begun(a, who);
	t->area = a;
	t->who = who;
	t->count = 0;
	t->op = area_idle(a);
	t->desc = d;
	t->entry = d->entry;
	t->room = DESC_INLINE;
	t->too_long = t->hot = false;
	atomic_store_explicit(&d->begun, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Entries go to the staging area of `room` entries: for lists longer than a descriptor. */
static inline void txn_stage(struct txn *t, struct entry *staged, uint32_t room)
{
	t->entry = staged;
	t->room = room;
}

static inline void txn_put_raw(struct txn *t, uint32_t index, uint64_t old, uint32_t value)
{
	if (t->count == t->room) {
		t->too_long = true;
		return;
	}
	t->entry[t->count].cell = index;
	t->entry[t->count].value = value;
	t->entry[t->count].old = old;
	t->count++;
}

/* Note that the cell, read as old, becomes value; nothing to do when it has it already. */
static inline void txn_put(struct txn *t, uint32_t index, uint64_t old, uint32_t value)
{
	if (VALUE(old) != value)
		txn_put_raw(t, index, old, value);
}

static inline uint32_t txn_set(struct txn *t, uint32_t index, uint32_t value)
{
	uint64_t old = area_get(t->area, index);

	txn_put(t, index, old, value);
	return VALUE(old);
}

/* The hot word, as this operation has it so far; and what it is to become. */
static inline uint64_t txn_hot(const struct txn *t)
{
	return t->hot ? t->hot_new : atomic_load_explicit(&t->area->head->hot, memory_order_acquire);
}

static inline void txn_put_hot(struct txn *t, uint64_t value)
{
	if (!t->hot)
		t->hot_old = atomic_load_explicit(&t->area->head->hot, memory_order_acquire);
	t->hot = true;
	t->hot_new = value;
}

/* Give up: nothing happened. True if what was read belongs to one state. */
static inline bool txn_valid(struct txn *t)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&t->desc->begun, 0, memory_order_relaxed);
	return area_unmoved(t->area, t->op);
}

bool txn_commit(struct txn *t);

/*
 * For signal handlers' wrappers: what this thread has published is completed, and what it is about to publish fails, so
 * that no frame below goes on writing the descriptor while it is published, however the handler ends.
 */
void txn_interrupt(void);

#endif
