/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Undo rows of a semaphore set (obj_sem.c says what is in one): a process takes a row at its first SEM_UNDO, and who
 * finds it dead adds its adjustments, in operations of any number, the row's tag last; so it can be done again from any
 * point. A dead process's requests are withdrawn before.
 */
#include <errno.h>

#include "obj_sem_step.h"

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
	if (area_value(a, S_FLAGS) & S_MORE) { /* who could go on when it died does so first */
		txn_valid(&t);
		sem_step(ns, me, o);
		return true;
	}
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

void sem_set_withdraw(struct ipc_ns *ns, int who, struct obj *o)
{
	if (STATE_WHAT(area_value(&o->area, REQ_STATE(&o->area, (uint32_t)who))) == REQ_WAIT)
		withdraw(ns, who, o, (uint32_t)who, ns->tag);
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
