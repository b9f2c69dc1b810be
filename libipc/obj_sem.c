/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Semaphore sets. Each semaphore has {value:16, epoch:16} and a cell for the pid of its last change. Undo rows hold
 * {adjustment:16, epoch:16} for each semaphore and count only in the semaphore's epoch: SETVAL and SETALL clear
 * everybody's by raising it. The first semaphore is in the hot word, and with it the adjustment of one row, the one that
 * used it last: {row + 1:16, adjustment:16, epoch:16, value:16}; that row's own cell does not count.
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
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gate.h"
#include "obj_sem.h"
#include "registry.h"
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

static uint32_t undo_cell(const struct area *a, uint32_t row, uint32_t i)
{
	uint32_t nsems = a->count;

	return S_FIRST + 2 * nsems + row * (nsems + 1) + i; /* i 0: the owner's tag; i: semaphore i - 1 */
}

static uint32_t undo_rows(const struct area *a)
{
	uint32_t high = area_value(a, S_UHIGH);

	return high < WHO_MAX ? high : WHO_MAX;
}

static uint64_t stage_bytes(uint32_t nsems)
{
	return ((uint64_t)3 * nsems + 64) * sizeof(struct entry);
}

void sem_set_layout(struct area_head *h)
{
	uint64_t cells = 8ull * (S_FIRST + 2ull * h->count), undo = 8ull * (h->count + 1ull) * WHO_MAX;

	h->who_at = page_round(cells + undo);
	h->big_at = page_round(h->who_at + (uint64_t)WHO_SIZE * WHO_MAX);
	h->big_size = page_round(stage_bytes(h->count) + SEMOPM_MAX * sizeof(struct sembuf));
}

int sem_set_create(struct ipc_ns *ns, uint32_t nsems, uint32_t *file)
{
	struct area_head h = { .magic = AREA_MAGIC, .version = AREA_VERSION, .kind = AREA_SEM, .count = nsems };
	uint64_t cells = 8ull * (S_FIRST + 2ull * nsems);
	cell_t ctime = now_seconds();
	int fd;

	sem_set_layout(&h);
	fd = object_create(ns, KIND_SEM, h.big_at + h.big_size * WHO_MAX, page_round(cells), file);
	if (fd < 0)
		return fd;
	if (pwrite(fd, &h, sizeof h, 0) != sizeof h || pwrite(fd, &ctime, 8, 8 * S_CTIME) != 8) {
		close(fd);
		return -ENOMEM;
	}
	close(fd);
	return 0;
}

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

static uint32_t value_of(const struct area *a, uint32_t num)
{
	return num ? area_value(a, VAL(num)) : (uint32_t)atomic_load_explicit(&a->head->hot, memory_order_acquire);
}

/* The adjustment of a row for the first semaphore, before the hot word h. */
static int first_adj(const struct area *a, int32_t row, uint64_t h)
{
	uint32_t v = area_value(a, undo_cell(a, (uint32_t)row, 1));

	if (HOT_ROW(h) == row)
		return HOT_ADJ(h);
	return EPOCH(v) == EPOCH((uint32_t)h) ? ADJ(v) : 0;
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
static int sem_plan(struct txn *t, struct sem_req *r)
{
	uint32_t before = t->count;
	uint64_t seen = 0;
	bool twice = false, hot = t->hot;
	uint64_t hot_new = t->hot_new;
	int e;

	for (uint32_t i = 0; i < r->nsops; i++) {
		const struct sembuf *s = &r->sops[i];
		uint64_t bit = 1ull << (s->sem_num % 64);

		if (s->sem_num >= t->area->count)
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

static bool is_alter(const struct sembuf *sops, uint32_t nsops)
{
	for (uint32_t i = 0; i < nsops; i++)
		if (sops[i].sem_op)
			return true;
	return false;
}

static void sem_load_request(const struct area *a, uint32_t who, struct sem_req *r)
{
	struct request *q = &area_who(a, who)->req;

	r->nsops = q->nsops;
	r->undo = q->undo < WHO_MAX ? q->undo : -1;
	r->pid = q->pid;
	r->sops = (const struct sembuf *)q->sop;
	if (r->nsops > REQ_SOPS)
		r->sops = (const struct sembuf *)((char *)area_big(a, who) + stage_bytes(a->count));
	if (r->nsops > SEMOPM_MAX)
		r->nsops = 0;
}

/* Room for a list longer than a descriptor, in this thread's staging area. */
static int sem_stage(struct obj *o, uint32_t who, uint64_t entries)
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

static bool anybody_waits(const struct area *a)
{
	return area_value(a, S_AHEAD) || area_value(a, S_ZHEAD);
}

/* Is the semaphore 0 after what t plans? */
static bool zero_after(struct txn *t, uint32_t num)
{
	struct entry *e;

	return !SEMVAL(num ? plan(t, VAL(num), true, &e) : (uint32_t)txn_hot(t));
}

/* Whoever waits is to be looked at; sops is what was done, NULL for a change of any semaphores. */
static void sem_changed(struct txn *t, const struct sembuf *sops, uint32_t nsops)
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
static void sem_step(struct ipc_ns *ns, int me, struct obj *o)
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

static const struct gate sem_gate = { .flags = S_FLAGS, .cell = S_GATE };

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

static void sem_run_cascade(struct ipc_ns *ns, int me, struct obj *o)
{
	while (area_value(&o->area, S_FLAGS) & S_MORE)
		sem_step(ns, me, o);
}

/* ---- undo rows ---- */

int sem_set_undo(struct ipc_ns *ns, int me, struct obj *o)
{
	struct area *a = &o->area;
	struct txn t;

	if (o->undo >= 0 && !ns->base)
		return o->undo;
	for (;;) {
		txn_begin(&t, a, (uint32_t)me);
		uint32_t high = undo_rows(a), row, mine = high;

		for (row = 0; row < high; row++) {
			uint32_t tag = area_value(a, undo_cell(a, row, 0));

			if (tag == ns->tag)
				break;
			if (!tag && mine == high)
				mine = row;
		}
		if (row < high) {
			if (!txn_valid(&t))
				continue;
			o->undo = (int32_t)row;
			return (int)row;
		}
		if (mine >= WHO_MAX ||
		    file_fence(area_cell(a, undo_cell(a, mine, 0)), 8ull * (a->count + 1))) {
			txn_valid(&t);
			return -ENOMEM;
		}
		txn_set(&t, undo_cell(a, mine, 0), ns->tag);
		if (mine == high)
			txn_set(&t, S_UHIGH, high + 1);
		if (txn_commit(&t)) {
			o->undo = (int32_t)mine;
			return (int)mine;
		}
	}
}

/* One adjustment of a dead process at a time, then its row. The kernel's clipping, pid and time. */
static bool undo_step(struct ipc_ns *ns, int me, struct obj *o, uint32_t tag)
{
	struct area *a = &o->area;
	uint32_t row, i, rows;
	struct txn t;

	txn_begin(&t, a, (uint32_t)me);
	rows = undo_rows(a);
	for (row = 0; row < rows; row++)
		if (area_value(a, undo_cell(a, row, 0)) == tag)
			break;
	if (row >= rows || area_value(a, S_FLAGS) & S_REMOVED)
		return !txn_valid(&t);
	for (i = 0; i < a->count && t.count + 8 < DESC_INLINE; i++) {
		uint32_t adj = area_value(a, undo_cell(a, row, i + 1)), v = value_of(a, i);
		int by = i ? EPOCH(adj) == EPOCH(v) ? ADJ(adj) : 0 : first_adj(a, (int32_t)row, txn_hot(&t));
		int value = SEMVAL(v) + by;

		if (ADJ(adj))
			txn_set(&t, undo_cell(a, row, i + 1), 0);
		value = value < 0 ? 0 : value > SEMVMX ? SEMVMX : value;
		if (!i && HOT_ROW(txn_hot(&t)) == (int32_t)row)
			txn_put_hot(&t, HOT_PACK(PACK(value, EPOCH(v)), -1, 0));
		else if (!i && by)
			txn_put_hot(&t, (txn_hot(&t) & ~0xffffffffull) | PACK(value, EPOCH(v)));
		else if (by)
			txn_set(&t, VAL(i), PACK(value, EPOCH(v)));
		if (by)
			txn_set(&t, PID(i), (uint32_t)slot_pid(ns, tag));
	}
	if (i == a->count) {
		txn_set(&t, undo_cell(a, row, 0), 0);
		txn_set(&t, S_OTIME, now_seconds());
		sem_changed(&t, NULL, 0);
	}
	txn_commit(&t);
	return true;
}

/* A request of a thread whose process has gone. */
static void withdraw(struct ipc_ns *ns, int me, struct obj *o, uint32_t who, uint32_t tag)
{
	struct area *a = &o->area;
	struct txn t;

	if (file_fence(area_who(a, who), WHO_SIZE))
		return;
	for (;;) {
		txn_begin(&t, a, (uint32_t)me);
		uint32_t v = area_value(a, REQ_STATE(a, who)), head = S_AHEAD, tail = S_ATAIL, at, steps = 0;

		if (STATE_WHAT(v) != REQ_WAIT || (uint32_t)atomic_load(&ns->slots->who[who]) != tag) {
			if (txn_valid(&t))
				return;
			continue;
		}
		for (at = area_value(a, S_ZHEAD); at && at < WHO_MAX; at = area_value(a, REQ_NEXT(a, at))) {
			if (at == who) {
				head = S_ZHEAD;
				tail = S_ZTAIL;
				break;
			}
			if (!area_unmoved(a, t.op) || steps++ == WHO_MAX)
				break;
		}
		txn_set(&t, REQ_STATE(a, who), STATE(STATE_TURN(v), 0, REQ_NONE));
		list_remove(&t, head, tail, who);
		if (txn_commit(&t))
			return;
	}
}

void sem_set_settle(struct ipc_ns *ns, int me, struct obj *o, uint32_t tag, bool undo)
{
	uint32_t high = whos_high(ns);

	for (uint32_t w = 1; w < high; w++)
		if ((uint32_t)atomic_load(&ns->slots->who[w]) == tag)
			withdraw(ns, me, o, w, tag);
	while (undo && undo_step(ns, me, o, tag))
		;
	sem_run_cascade(ns, me, o);
}

/* ---- the calls ---- */

static void look(struct frame *f)
{
	struct row r;
	struct txn t;

	if (!f->ns->base)
		slots_sweep(f->ns, (int)f->who);
	if (atomic_load(&f->obj->opened) &&
	    registry_read(f->ns, KIND_SEM, (int)atomic_load(&f->obj->opened) - 1, &r) == -EINVAL)
		sem_set_close(f->ns, (int)f->who, f->obj);
	do
		txn_begin(&t, &f->obj->area, f->who);
	while (!sem_settled(f->ns, (int)f->who, f->obj, &t));
	txn_valid(&t);
	wait_lost(f, area_value(&f->area, S_FLAGS) & S_REMOVED);
}

static void fill_request(struct area *a, uint32_t who, const struct sem_req *r)
{
	struct request *q = &area_who(a, who)->req;
	void *to = r->nsops > REQ_SOPS ? (char *)area_big(a, who) + stage_bytes(a->count) : (void *)q->sop;

	q->nsops = (uint16_t)r->nsops;
	q->undo = r->undo;
	q->pid = r->pid;
	memcpy(to, r->sops, r->nsops * sizeof *r->sops);
}

/* Join the list; 0 when joined, 1 when the state has moved and the request must be tried again. */
static int join(struct frame *f, struct txn *t, const struct sem_req *r)
{
	fill_request(&f->area, f->who, r);
	f->head = is_alter(r->sops, r->nsops) ? S_AHEAD : S_ZHEAD;
	f->tail = f->head == S_AHEAD ? S_ATAIL : S_ZTAIL;
	txn_set(t, REQ_NODE(t->area, f->who), r->blocked);
	wait_join(f, t);
	return txn_commit(t) ? 0 : 1;
}

static int operate_slow(struct ipc_ns *ns, int who, struct obj *o, int id, const struct area *area, struct sem_req *r,
			uint32_t signals, const struct timespec *deadline)
{
	struct frame f = { .ns = ns, .kind = KIND_SEM, .obj = o, .area = *area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look };
	struct area *a = &f.area;
	bool big = r->nsops > 6;
	struct gate gate = sem_gate;
	struct txn t;
	int e;

	if (r->nsops > REQ_SOPS || big) {
		e = file_fence(area_big(a, f.who), a->big_size);
		if (e)
			return e;
	}
	ipc_frame = &f;
	for (;;) {
		txn_begin(&t, a, f.who);
		if (big)
			txn_stage(&t, area_big(a, f.who), 3 * a->count + 64);
		if (!sem_settled(ns, who, o, &t))
			continue;
		e = area_value(a, S_FLAGS) & S_REMOVED ? -EIDRM : sem_plan(&t, r);
		if (e < 0) {
			if (!txn_valid(&t)) {
				gate_lost(&gate, a, f.who);
				continue;
			}
			ipc_frame = NULL;
			gate_done(&gate, a, f.who);
			return e;
		}
		if (e == 0) {
			txn_set(&t, S_OTIME, now_seconds());
			if (is_alter(r->sops, r->nsops))
				sem_changed(&t, r->sops, r->nsops);
			if (!txn_commit(&t)) {
				gate_lost(&gate, a, f.who);
				continue;
			}
			ipc_frame = NULL;
			gate_done(&gate, a, f.who);
			sem_run_cascade(ns, who, o);
			return 0;
		}
		if (!anybody_waits(a) && wait_spin(&f, t.op)) {
			txn_valid(&t);
			continue;
		}
		t.entry = t.desc->entry;
		t.room = DESC_INLINE;
		if (ipc_signals != signals) { /* a handler ran since the call began */
			txn_valid(&t);
			ipc_frame = NULL;
			return -EINTR;
		}
		if (!join(&f, &t, r)) {
			gate_done(&gate, a, f.who);
			return wait_sleep(&f, deadline);
		}
	}
}

int sem_set_resume(struct ipc_ns *ns, int who, struct obj *o, int id, const struct sembuf *sops, uint32_t nsops,
		   const struct timespec *deadline)
{
	struct frame f = { .ns = ns, .kind = KIND_SEM, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look };

	if (!object_same(o, id))
		return -EIDRM;
	if (!wait_resume(&f))
		return -ENOENT;
	f.head = is_alter(sops, nsops) ? S_AHEAD : S_ZHEAD;
	f.tail = f.head == S_AHEAD ? S_ATAIL : S_ZTAIL;
	return wait_sleep(&f, deadline);
}

int sem_set_operate(struct ipc_ns *ns, int who, struct obj *o, int id, const struct sembuf *sops, uint32_t nsops,
		    const struct timespec *deadline)
{
	struct sem_req r = { .sops = sops, .nsops = nsops, .undo = -1, .pid = (uint32_t)ns->pid };
	uint32_t signals = ipc_signals;
	struct area own = o->area, *a = &own;
	struct txn t;
	int e;

	if (!object_same(o, id))
		return -EIDRM;
	for (uint32_t i = 0; i < nsops; i++)
		if (sops[i].sem_flg & SEM_UNDO) {
			e = sem_set_undo(ns, who, o);
			if (e < 0)
				return e;
			r.undo = e;
			break;
		}
	if (nsops > 6)
		return operate_slow(ns, who, o, id, a, &r, signals, deadline);
	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		e = area_value(a, S_FLAGS) & S_REMOVED ? -EIDRM : sem_plan(&t, &r);
		if (e) {
			if (!txn_valid(&t))
				continue;
			return e == 1 ? operate_slow(ns, who, o, id, a, &r, signals, deadline) : e;
		}
		txn_set(&t, S_OTIME, now_seconds());
		if (anybody_waits(a) && is_alter(sops, nsops))
			sem_changed(&t, sops, nsops);
		if (txn_commit(&t))
			break;
	}
	if (area_value(a, S_FLAGS) & S_MORE)
		sem_run_cascade(ns, who, o);
	return 0;
}

/* How many sleep on semaphore num: for zero, or for more. The dead do not count. */
static int count_waiters(struct ipc_ns *ns, struct txn *t, uint32_t head, uint32_t num, bool zero, uint32_t *dead)
{
	uint32_t who = area_value(t->area, head), before = 0;
	int n = 0;

	for (; who && list_sound(t->area, who, before); before = who, who = area_value(t->area, REQ_NEXT(t->area, who))) {
		uint32_t tag = (uint32_t)atomic_load(&ns->slots->who[who]), blocked;
		struct sem_req r;

		if (!area_unmoved(t->area, t->op))
			return 0;
		if (!slot_alive(ns, tag) && slot_life_slow(ns, tag) != LIFE_ALIVE) {
			*dead = tag;
			return 0;
		}
		sem_load_request(t->area, who, &r);
		blocked = area_value(t->area, REQ_NODE(t->area, who));
		if (blocked < r.nsops)
			n += r.sops[blocked].sem_num == num && (r.sops[blocked].sem_op == 0) == zero;
	}
	return n;
}

int sem_set_query(struct ipc_ns *ns, int who, struct obj *o, uint32_t num, int cmd)
{
	struct area *a = &o->area;
	struct txn t;

	for (;;) {
		uint32_t dead = 0;
		int v = 0;

		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		if (area_value(a, S_FLAGS) & S_REMOVED)
			v = -EIDRM;
		else if (cmd == GETVAL)
			v = SEMVAL(value_of(a, num));
		else if (cmd == GETPID)
			v = (int)area_value(a, PID(num));
		else
			v = count_waiters(ns, &t, S_AHEAD, num, cmd == GETZCNT, &dead) +
			    count_waiters(ns, &t, S_ZHEAD, num, cmd == GETZCNT, &dead);
		if (!txn_valid(&t))
			continue;
		if (!dead)
			return v;
		slot_reap(ns, who, dead);
		sem_set_settle(ns, who, o, dead, false);
	}
}

int sem_set_getall(struct ipc_ns *ns, int who, struct obj *o, unsigned short *values)
{
	struct area *a = &o->area;
	struct gate gate = sem_gate;
	struct txn t;
	int e;

	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		e = area_value(a, S_FLAGS) & S_REMOVED ? -EIDRM : 0;
		for (uint32_t i = 0; i < a->count && !e; i++)
			values[i] = (unsigned short)SEMVAL(value_of(a, i));
		if (txn_valid(&t))
			break;
		gate_lost(&gate, a, (uint32_t)who);
	}
	gate_done(&gate, a, (uint32_t)who);
	return e;
}

/*
 * Epochs have 16 bits. Before one of them comes round, adjustments of earlier ones are wiped; they mean nothing, so
 * each may go in an operation of its own.
 */
static void wipe_stale(int who, struct obj *o, uint32_t num)
{
	struct area *a = &o->area;

	for (uint32_t row = 0; row < undo_rows(a); row++) {
		struct txn t;

		do {
			txn_begin(&t, a, (uint32_t)who);
			uint32_t adj = area_value(a, undo_cell(a, row, num + 1));

			if (ADJ(adj) && EPOCH(adj) != EPOCH(value_of(a, num)))
				txn_set(&t, undo_cell(a, row, num + 1), 0);
		} while (!txn_commit(&t));
	}
}

static void plan_setval(struct txn *t, uint32_t num, uint32_t value, uint32_t pid)
{
	uint32_t v = value_of(t->area, num);

	if (num)
		txn_put_raw(t, VAL(num), area_get(t->area, VAL(num)), PACK(value, EPOCH(v) + 1));
	else
		txn_put_hot(t, HOT_PACK(PACK(value, EPOCH(v) + 1), -1, 0));
	txn_set(t, PID(num), pid);
}

int sem_set_setval(struct ipc_ns *ns, int who, struct obj *o, uint32_t num, int value)
{
	struct area *a = &o->area;
	struct txn t;

	if ((EPOCH(value_of(a, num)) & 0x3fff) == 0x3fff)
		wipe_stale(who, o, num);
	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		if (area_value(a, S_FLAGS) & S_REMOVED) {
			if (txn_valid(&t))
				return -EIDRM;
			continue;
		}
		plan_setval(&t, num, (uint32_t)value, (uint32_t)ns->pid);
		txn_set(&t, S_CTIME, now_seconds());
		sem_changed(&t, NULL, 0);
		if (txn_commit(&t))
			break;
	}
	sem_run_cascade(ns, who, o);
	return 0;
}

static bool any_zero(const unsigned short *values, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!values[i])
			return true;
	return false;
}

int sem_set_setall(struct ipc_ns *ns, int who, struct obj *o, const unsigned short *values)
{
	struct area *a = &o->area;
	uint32_t n = a->count;
	struct gate gate = sem_gate;
	struct txn t;
	int e;

	for (uint32_t i = 0; i < n; i++)
		if ((EPOCH(value_of(a, i)) & 0x3fff) == 0x3fff)
			wipe_stale(who, o, i);
	e = n > 12 ? sem_stage(o, (uint32_t)who, 2ull * n + 8) : 0;
	if (e)
		return e;
	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		if (area_value(a, S_FLAGS) & S_REMOVED) {
			if (txn_valid(&t))
				return -EIDRM;
			continue;
		}
		if (n > 12)
			txn_stage(&t, area_big(a, (uint32_t)who), 3 * n + 64);
		for (uint32_t i = 0; i < n; i++)
			plan_setval(&t, i, values[i], (uint32_t)ns->pid);
		txn_set(&t, S_CTIME, now_seconds());
		if (anybody_waits(a))
			txn_set(&t, S_FLAGS, area_value(a, S_FLAGS) | S_MORE | (any_zero(values, n) ? S_ZERO : 0));
		if (txn_commit(&t))
			break;
		gate_lost(&gate, a, (uint32_t)who);
	}
	gate_done(&gate, a, (uint32_t)who);
	sem_run_cascade(ns, who, o);
	return 0;
}

int sem_set_times(struct ipc_ns *ns, int who, struct obj *o, struct sem_times *times)
{
	struct area *a = &o->area;
	struct txn t;
	int e;

	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!sem_settled(ns, who, o, &t))
			continue;
		times->otime = area_value(a, S_OTIME);
		times->ctime = area_value(a, S_CTIME);
		e = area_value(a, S_FLAGS) & S_REMOVED ? -EIDRM : 0;
		if (txn_valid(&t))
			return e;
	}
}

void sem_set_close(struct ipc_ns *ns, int who, struct obj *o)
{
	struct txn t;

	do {
		txn_begin(&t, &o->area, (uint32_t)who);
		txn_set(&t, S_FLAGS, S_REMOVED | S_MORE);
	} while (!txn_commit(&t));
	sem_run_cascade(ns, who, o);
}
