/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Semaphore sets. Each semaphore has {value:16, epoch:16} and a cell for the pid of its last change. Undo rows hold
 * {adjustment:16, epoch:16} for each semaphore and count only in the semaphore's epoch: SETVAL and SETALL clear
 * everybody's by raising it. The first semaphore is in the hot word, and with it the adjustment of one row, the one that
 * used it last: {row + 1:16, adjustment:16, epoch:16, value:16}; that row's own cell does not count.
 *
 * Rules inside (and those of obj_sem_step.c):
 *  - A call acts on values only in a transaction in which sem_settled was true.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "obj_sem.h"
#include "obj_sem_step.h"
#include "registry.h"

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

int sem_set_resume(struct ipc_ns *ns, int who, struct obj *o, int id, const struct timespec *deadline)
{
	struct frame f = { .ns = ns, .kind = KIND_SEM, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look };
	struct sem_req r;

	if (!object_same(o, id))
		return -EIDRM;
	if (!wait_resume(&f))
		return -ENOENT;
	sem_load_request(&f.area, f.who, &r); /* where it stands, not where it is said to */
	f.head = is_alter(r.sops, r.nsops) ? S_AHEAD : S_ZHEAD;
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
