/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a semaphore set's area, and what its calls (obj_sem.c) and its undo rows share: see obj_sem_step.c. */
#ifndef IPC_OBJ_SEM_STEP_H
#define IPC_OBJ_SEM_STEP_H

#include "gate.h"
#include "obj_sem.h"
#include "slot.h"
#include "wait.h"

/* A request to perform: the caller's, or a sleeper's. */
struct sem_req {
	const struct sembuf *sops;
	uint32_t nsops;
	int32_t undo; /* row, or -1 */
	uint32_t pid;
	uint32_t blocked; /* the operation that it waits for */
};

static inline uint32_t undo_cell(const struct area *a, uint32_t row, uint32_t i)
{
	uint32_t nsems = a->count;

	return S_FIRST + 2 * nsems + row * (nsems + 1) + i; /* i 0: the owner's tag; i: semaphore i - 1 */
}

static inline uint32_t undo_rows(const struct area *a)
{
	uint32_t high = area_value(a, S_UHIGH);

	return high < WHO_MAX ? high : WHO_MAX;
}

static inline uint64_t stage_bytes(uint32_t nsems)
{
	return ((uint64_t)3 * nsems + 64) * sizeof(struct entry);
}

static inline uint32_t value_of(const struct area *a, uint32_t num)
{
	return num ? area_value(a, VAL(num)) : (uint32_t)atomic_load_explicit(&a->head->hot, memory_order_acquire);
}

/* The adjustment of a row for the first semaphore, before the hot word h. */
static inline int first_adj(const struct area *a, int32_t row, uint64_t h)
{
	uint32_t v = area_value(a, undo_cell(a, (uint32_t)row, 1));

	if (HOT_ROW(h) == row)
		return HOT_ADJ(h);
	return EPOCH(v) == EPOCH((uint32_t)h) ? ADJ(v) : 0;
}

static inline bool is_alter(const struct sembuf *sops, uint32_t nsops)
{
	for (uint32_t i = 0; i < nsops; i++)
		if (sops[i].sem_op)
			return true;
	return false;
}

static inline bool anybody_waits(const struct area *a)
{
	return area_value(a, S_AHEAD) || area_value(a, S_ZHEAD);
}

static const struct gate sem_gate = { .flags = S_FLAGS, .cell = S_GATE };

/* Plan a whole request. 0: its entries are in t; 1: it must wait; else -errno, nothing planned. */
int sem_plan(struct txn *t, struct sem_req *r);
/* Whoever waits is to be looked at; sops is what was done, NULL for a change of any semaphores. */
void sem_changed(struct txn *t, const struct sembuf *sops, uint32_t nsops);
void sem_load_request(const struct area *a, uint32_t who, struct sem_req *r);
int sem_stage(struct obj *o, uint32_t who, uint64_t entries);
/* One step of the cascade, by whoever sees S_MORE. */
void sem_step(struct ipc_ns *ns, int me, struct obj *o);

/* Inside a transaction: is the state one that may be acted on? If not, mend it, and begin again. */
static inline bool sem_settled(struct ipc_ns *ns, int me, struct obj *o, struct txn *t)
{
	struct area *a = &o->area;
	uint32_t rows, flags = area_value(a, S_FLAGS);

	if (flags & S_MORE) {
		txn_valid(t);
		sem_step(ns, me, o);
		return false;
	}
	if (flags & GATE_CLOSED && area_value(a, S_GATE) != (uint32_t)me) {
		txn_valid(t);
		gate_wait(&sem_gate, a, (uint32_t)me);
		return false;
	}
	rows = flags & S_REMOVED ? 0 : undo_rows(a);
	for (uint32_t i = 0; i < rows; i++) {
		uint32_t tag = area_value(a, undo_cell(a, i, 0));

		if (!tag || tag == ns->tag || slot_alive(ns, tag) || slot_life_slow(ns, tag) != LIFE_DEAD)
			continue;
		txn_valid(t);
		slot_reap(ns, me, tag);
		sem_set_settle(ns, me, o, tag, true); /* also when its slot has been given away already */
		return false;
	}
	return true;
}

static inline void sem_run_cascade(struct ipc_ns *ns, int me, struct obj *o)
{
	while (area_value(&o->area, S_FLAGS) & S_MORE)
		sem_step(ns, me, o);
}

#endif
