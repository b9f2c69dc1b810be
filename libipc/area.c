/* SPDX-License-Identifier: BSD-2-Clause */
/* Publish and help: the commit of an operation, and its completion by anybody. See area.h and doc/protocol.md. */
#include "area.h"

/* The list of a descriptor: inline, or in the owner's staging area. Bounded by what the area can hold. */
static const struct entry *desc_entries(const struct area *a, uint32_t who, uint32_t count)
{
	if (count <= DESC_INLINE)
		return area_who(a, who)->desc.entry;
	if (!a->big_at || (uint64_t)count * sizeof(struct entry) > a->big_size)
		return NULL;
	return area_big(a, who);
}

/*
 * Complete operation x. Entries may be rewritten under a late helper's eyes; so op is read again between reading an
 * entry and acting on it, and the tag in `old` stops a compare-and-swap that comes later still.
 */
void area_help(struct area *a, uint64_t x)
{
	uint32_t who = WHO(x), tag = (uint32_t)(SEQ(x) + 1), i, count;
	const struct entry *list;

	if (who >= WHO_MAX)
		return;
	count = atomic_load_explicit(&area_who(a, who)->desc.count, memory_order_acquire);
	list = desc_entries(a, who, count);
	if (!list)
		count = 0;
	for (i = 0; i < count; i++) {
		struct entry e;

		e.cell = __atomic_load_n(&list[i].cell, __ATOMIC_RELAXED);
		e.value = __atomic_load_n(&list[i].value, __ATOMIC_RELAXED);
		e.old = __atomic_load_n(&list[i].old, __ATOMIC_RELAXED);
		if (!area_unmoved(a, x))
			return;
		if ((uint64_t)e.cell * 8 < a->length)
			atomic_compare_exchange_strong(area_cell(a, e.cell), &e.old, (uint64_t)tag << 32 | e.value);
	}
	atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x) + 1, 0));
}

/*
 * This thread's descriptor was begun by a frame that has not committed: a signal handler interrupted it, or left it
 * by longjmp. Move op on, so that the interrupted commit fails whatever becomes of the descriptor.
 */
void area_abort_begun(struct area *a, uint32_t who)
{
	uint64_t x;

	do
		x = area_idle(a);
	while (!atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x) + 1, 0)));
	atomic_store_explicit(&area_who(a, who)->desc.begun, 0, memory_order_relaxed);
}

/* Publish. True: it has happened, wholly. False: somebody else was first; begin again. */
bool txn_commit(struct txn *t)
{
	uint64_t x = t->op, mine = OP(SEQ(x), t->who);
	bool won;

	atomic_store_explicit(&t->desc->count, t->count, memory_order_release);
	won = !t->too_long && atomic_compare_exchange_strong(&t->area->head->op, &x, mine);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&t->desc->begun, 0, memory_order_relaxed);
	if (won)
		area_help(t->area, mine);
	return won;
}
