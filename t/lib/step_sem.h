/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the stepped tests of semaphore sets (t/lib/step.h) look at inside: undo adjustments, by the layout of obj_sem.c,
 * which is compiled in; the library's own copy is not linked then.
 */
#ifndef T_STEP_SEM_H
#define T_STEP_SEM_H

#include "../../libipc/obj_sem.c"

#include "step.h"

union semun { int val; struct semid_ds *buf; unsigned short *array; };

/* The undo of one row: the victim's is added to mine, anybody else's, or nobody's, as a size, to *others. */
static void undo_of_row(const struct area *a, uint32_t row, int *mine, int *others)
{
	uint32_t tag = area_value(a, undo_cell(a, row, 0));

	for (uint32_t i = 0; i < a->head->count; i++) {
		uint32_t u = area_value(a, undo_cell(a, row, i + 1));
		int adjust = EPOCH(u) == EPOCH(value_of(a, i)) ? ADJ(u) : 0;

		if (!i)
			adjust = first_adj(a, (int32_t)row, atomic_load(&a->head->hot));
		if (tag && slot_pid(step_ns, tag) == step_pid)
			mine[i] += adjust;
		else
			*others += abs(adjust);
	}
}

/* What the victim has pending on each semaphore of the set, and what all others have on any. */
static void undo_pending(int set, int *mine, int *others)
{
	struct obj *o;
	uint64_t x;

	if (object_open(step_ns, KIND_SEM, set, ns_enter(step_ns), &o))
		bail_out("the set can't be opened");
	do {
		x = area_idle(&o->area);
		memset(mine, 0, o->area.count * sizeof *mine);
		*others = 0;
		for (uint32_t row = 0; row < area_value(&o->area, S_UHIGH); row++)
			undo_of_row(&o->area, row, mine, others);
	} while (!area_unmoved(&o->area, x));
}

/* A waker that died before its wake-up delays the sleeper by up to a second: mostly, spare us that second. */
__attribute__((unused)) static void hurry(int set)
{
	struct obj *o;
	int me = ns_enter(step_ns);

	if (random() % 500 == 0 || object_open(step_ns, KIND_SEM, set, me, &o))
		return;
	for (uint32_t w = 1; w < atomic_load(&step_ns->slots->who_high); w++)
		wait_wake(step_ns, &o->area, w);
}

#endif
