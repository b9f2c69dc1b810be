/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which requests on a semaphore set are possible: a list of operations is planned as entries of one transaction, and
 * after a change the cascade performs for those who wait what has become possible, step by step.
 *
 * Rules inside:
 *  - With S_MORE clear, no waiting request is possible. Whoever changes values while requests wait sets it, and nobody
 *    does or answers anything else before the cascade (sem_step) has performed what became possible, in the kernel's
 *    order: those that wait for zero first, then alterers from the oldest on, each time from the beginning.
 *  - Those that wait for zero are looked at only with S_ZERO. What a request waits for (its node cell holds the number of
 *    the operation) is what it was when the request was last looked at. GETNCNT and IPC_NOWAIT in arrays show both.
 *  - Before a call looks at values, the owners of the other undo rows are asked for; the dead are reaped first.
 */
#include <errno.h>
#include <sched.h>

#include "obj_sem_step.h"

/* ---- evaluation ---- */

/* What txn already plans for the cell; only asked when a semaphore may occur twice. */
static struct entry *planned(struct txn *t, uint32_t cell)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->entry[i].cell == cell)
			return &t->entry[i];
	return NULL;
}

static uint32_t plan(struct txn *t, uint32_t cell, bool twice, struct entry **e)
{
	*e = twice ? planned(t, cell) : NULL;
	return *e ? (*e)->value : area_value(t->area, cell);
}

static void plan_put(struct txn *t, uint32_t cell, struct entry *e, uint32_t value)
{
	if (e)
		e->value = value;
	else
		txn_put_raw(t, cell, area_get(t->area, cell), value);
}

/* The row takes its place in the hot word; the one that was there goes back to its cell. */
static void hot_row(struct txn *t, int32_t row, uint64_t h)
{
	uint32_t cell;

	if (HOT_ROW(h) == row)
		return;
	if (HOT_ROW(h) >= 0 && HOT_ROW(h) < WHO_MAX) {
		cell = undo_cell(t->area, (uint32_t)HOT_ROW(h), 1);
		if (HOT_ADJ(h) || ADJ(area_value(t->area, cell)))
			txn_set(t, cell, PACK(HOT_ADJ(h), EPOCH((uint32_t)h)));
	}
}

/* plan_one for the first semaphore */
static inline int plan_first(struct txn *t, struct sem_req *r, const struct sembuf *s)
{
	uint64_t h = txn_hot(t);
	int value = SEMVAL((uint32_t)h) + s->sem_op, adj = HOT_ADJ(h), row = HOT_ROW(h);

	if ((!s->sem_op && SEMVAL((uint32_t)h)) || value < 0)
		return 1;
	if (value > SEMVMX)
		return -ERANGE;
	if (s->sem_flg & SEM_UNDO && r->undo >= 0) {
		int sum = first_adj(t->area, r->undo, h) - s->sem_op;

		if (sum < -SEMAEM - 1 || sum > SEMAEM)
			return -ERANGE;
		if (s->sem_op) {
			hot_row(t, r->undo, h);
			row = r->undo;
			adj = sum;
		}
	}
	if (s->sem_op)
		txn_put_hot(t, HOT_PACK(PACK(value, EPOCH((uint32_t)h)), row, adj));
	return 0;
}

/* One operation of a request: 0, 1 would block, or -ERANGE. */
static inline int plan_value(struct txn *t, struct sem_req *r, const struct sembuf *s, bool twice)
{
	struct entry *e, *u = NULL;
	uint32_t v = plan(t, VAL(s->sem_num), twice, &e), adj = 0, cell = 0;
	int value = SEMVAL(v) + s->sem_op;

	if ((!s->sem_op && SEMVAL(v)) || value < 0)
		return 1;
	if (value > SEMVMX)
		return -ERANGE;
	if (s->sem_flg & SEM_UNDO && r->undo >= 0) {
		cell = undo_cell(t->area, (uint32_t)r->undo, s->sem_num + 1u);
		adj = plan(t, cell, twice, &u);
		int sum = (EPOCH(adj) == EPOCH(v) ? ADJ(adj) : 0) - s->sem_op;

		if (sum < -SEMAEM - 1 || sum > SEMAEM)
			return -ERANGE;
		if (s->sem_op)
			plan_put(t, cell, u, PACK(sum, EPOCH(v)));
	}
	if (s->sem_op)
		plan_put(t, VAL(s->sem_num), e, PACK(value, EPOCH(v)));
	return 0;
}

static inline int plan_one(struct txn *t, struct sem_req *r, const struct sembuf *s, bool twice)
{
	int e = s->sem_num ? plan_value(t, r, s, twice) : plan_first(t, r, s);

	if (e)
		return e;
	if (area_value(t->area, PID(s->sem_num)) != r->pid && !(twice && planned(t, PID(s->sem_num))))
		txn_put_raw(t, PID(s->sem_num), area_get(t->area, PID(s->sem_num)), r->pid);
	return 0;
}

/* Plan a whole request. 0: its entries are in t; 1: it must wait; else -errno, nothing planned. */
int sem_plan(struct txn *t, struct sem_req *r)
{
	uint32_t before = t->count;
	uint64_t seen = 0;
	bool twice = false, hot = t->hot;
	uint64_t hot_new = t->hot_new;
	int e;

	for (uint32_t i = 0; i < r->nsops; i++) {
		const struct sembuf own = r->sops[i], *s = &own; /* a sleeper's may be written meanwhile */
		uint64_t bit = 1ull << (own.sem_num % 64);

		if (own.sem_num >= t->area->count)
			return -EFBIG;
		twice = twice || seen & bit;
		seen |= bit;
		e = plan_one(t, r, s, twice);
		if (e) {
			t->count = before;
			t->hot = hot;
			t->hot_new = hot_new;
			r->blocked = i;
			return e == 1 && s->sem_flg & IPC_NOWAIT ? -EAGAIN : e;
		}
	}
	return 0;
}

/* ---- the cascade ---- */

void sem_load_request(const struct area *a, uint32_t who, struct sem_req *r)
{
	struct request *q = &area_who(a, who)->req;

	/* Once each: what was checked is what is used. */
	r->nsops = __atomic_load_n(&q->nsops, __ATOMIC_RELAXED);
	r->undo = __atomic_load_n(&q->undo, __ATOMIC_RELAXED);
	if (r->undo >= WHO_MAX)
		r->undo = -1;
	r->pid = q->pid;
	r->sops = (const struct sembuf *)q->sop;
	if (r->nsops > REQ_SOPS)
		r->sops = (const struct sembuf *)((char *)area_big(a, who) + stage_bytes(a->count));
	if (r->nsops > SEMOPM_MAX)
		r->nsops = 0;
}

/* Room for a list longer than a descriptor, in this thread's staging area. */
int sem_stage(struct obj *o, uint32_t who, uint64_t entries)
{
	if (entries > 3ull * o->area.count + 64)
		entries = 3ull * o->area.count + 64;
	return file_fence(area_big(&o->area, who), entries * sizeof(struct entry));
}

/* Requests that wait for another of their operations than before. */
#define STALE 12
struct stale { uint32_t n, who[STALE], blocked[STALE]; };

static void note_stale(struct txn *t, struct stale *s, uint32_t who, uint32_t blocked)
{
	if (area_value(t->area, REQ_NODE(t->area, who)) == blocked || s->n == STALE)
		return;
	s->who[s->n] = who;
	s->blocked[s->n++] = blocked;
}

/* Nothing more to do in a list: the flags go, unless there may be more that is stale. */
static void scanned(struct txn *t, const struct stale *s, uint32_t flags)
{
	for (uint32_t i = 0; i < s->n; i++)
		txn_set(t, REQ_NODE(t->area, s->who[i]), s->blocked[i]);
	if (s->n < STALE)
		txn_set(t, S_FLAGS, area_value(t->area, S_FLAGS) & ~flags);
	txn_commit(t);
}

enum which { ALL, SIMPLE, ARRAYS };

/* The first request of a list that can be performed or must fail; 0 if there is none, LIST_DAMAGED. Its plan is in t. */
static uint32_t first_possible(struct txn *t, uint32_t head, bool removed, enum which which, int *result,
			       struct stale *stale)
{
	uint32_t who = area_value(t->area, head), before = 0;

	for (; who; before = who, who = area_value(t->area, REQ_NEXT(t->area, who))) {
		struct sem_req r;

		if (!list_sound(t->area, who, before))
			return LIST_DAMAGED;
		if (removed) {
			*result = -EIDRM;
			return who;
		}
		if (!area_unmoved(t->area, t->op))
			return 0;
		sem_load_request(t->area, who, &r);
		if (which != ALL && (r.nsops == 1) != (which == SIMPLE))
			continue;
		*result = sem_plan(t, &r);
		if (*result != 1)
			return who;
		note_stale(t, stale, who, r.blocked);
	}
	return 0;
}

/* Is the semaphore 0 after what t plans? */
static bool zero_after(struct txn *t, uint32_t num)
{
	struct entry *e;

	return !SEMVAL(num ? plan(t, VAL(num), true, &e) : (uint32_t)txn_hot(t));
}

/* Whoever waits is to be looked at; sops is what was done, NULL for a change of any semaphores. */
void sem_changed(struct txn *t, const struct sembuf *sops, uint32_t nsops)
{
	uint32_t flags = area_value(t->area, S_FLAGS) | S_MORE;

	if (!anybody_waits(t->area))
		return;
	if (!sops)
		nsops = t->area->count;
	for (uint32_t i = 0; i < nsops && area_value(t->area, S_ZHEAD) && !(flags & S_ZERO); i++)
		if (zero_after(t, sops ? sops[i].sem_num : i))
			flags |= S_ZERO;
	txn_set(t, S_FLAGS, flags);
}

/* A list that makes no sense: the set is closed, and whoever stands in the list behind finds that out by himself. */
static void set_aside(struct ipc_ns *ns, struct obj *o, struct txn *t, uint32_t head, uint32_t tail)
{
	uint32_t flags = area_value(t->area, S_FLAGS);

	t->count = 0;
	t->hot = false;
	txn_set(t, head, 0);
	txn_set(t, tail, 0);
	txn_set(t, S_FLAGS, S_REMOVED | S_MORE);
	if (txn_commit(t) && !(flags & S_REMOVED))
		object_damaged(ns, KIND_SEM, o);
}

/* One step of the cascade, by whoever sees S_MORE. */
void sem_step(struct ipc_ns *ns, int me, struct obj *o)
{
	struct area *a = &o->area;
	uint32_t head = S_ZHEAD, tail = S_ZTAIL, who, flags;
	struct stale stale = { .n = 0 };
	struct sem_req r;
	int result = 0;
	struct txn t;

	txn_begin(&t, a, (uint32_t)me);
	flags = area_value(a, S_FLAGS);
	if (!(flags & S_MORE)) {
		txn_valid(&t);
		return;
	}
	if (a->count > 6 && !(flags & S_REMOVED)) {
		if (sem_stage(o, (uint32_t)me, 3ull * a->count + 64)) {
			txn_valid(&t); /* no memory to work in: the next one may have some */
			sched_yield();
			return;
		}
		txn_stage(&t, area_big(a, (uint32_t)me), 3 * a->count + 64);
	}
	who = 0;
	if (flags & (S_REMOVED | S_ZERO)) {
		who = first_possible(&t, head, flags & S_REMOVED, SIMPLE, &result, &stale);
		if (!who)
			who = first_possible(&t, head, flags & S_REMOVED, ARRAYS, &result, &stale);
		if (!who && flags & S_ZERO) {
			scanned(&t, &stale, S_ZERO);
			return;
		}
	}
	if (!who) {
		head = S_AHEAD;
		tail = S_ATAIL;
		who = first_possible(&t, head, flags & S_REMOVED, ALL, &result, &stale);
	}
	if (!who) {
		scanned(&t, &stale, S_MORE);
		return;
	}
	if (who == LIST_DAMAGED) {
		set_aside(ns, o, &t, head, tail);
		return;
	}
	uint32_t tag = (uint32_t)atomic_load(&ns->slots->who[who]);
	if (!slot_alive(ns, tag) && slot_life_slow(ns, tag) != LIFE_ALIVE) {
		t.count = 0; /* nobody is there to take it */
		t.hot = false;
		txn_set(&t, REQ_STATE(a, who), STATE(STATE_TURN(area_value(a, REQ_STATE(a, who))), 0, REQ_NONE));
		list_remove(&t, head, tail, who);
		txn_commit(&t);
		return;
	}
	if (!result) {
		sem_load_request(a, who, &r);
		txn_set(&t, S_OTIME, now_seconds());
		if (head == S_AHEAD)
			sem_changed(&t, r.sops, r.nsops);
	}
	wait_done(&t, head, tail, who, -result);
	if (txn_commit(&t))
		wait_wake(ns, a, who);
}
