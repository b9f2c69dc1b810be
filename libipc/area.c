/* SPDX-License-Identifier: BSD-2-Clause */
/* Publish and help: the commit of an operation, and its completion by anybody. See area.h and doc/protocol.md. */
#include <time.h>

#include "area.h"

void (*area_stuck)(const struct area *a);

#define SPINS 200
#define NAPS 100
#define NAP_NS 50000

/* What a frame of this thread is publishing; NULL once it has, or a handler's wrapper has taken it. */
static __thread struct {
	struct area *volatile area;
	uint32_t who;
} publishing __attribute__((tls_model("initial-exec")));

static inline void set_publishing(struct area *a, uint32_t who)
{
	publishing.who = who;
	atomic_signal_fence(memory_order_seq_cst);
	publishing.area = a;
	atomic_signal_fence(memory_order_seq_cst);
}

/* The list of a descriptor: inline, or in the owner's staging area. Bounded by what the area can hold. */
static const struct entry *desc_entries(const struct area *a, uint32_t who, uint32_t count)
{
	if (!(count & DESC_STAGED))
		return (count & DESC_COUNT) <= DESC_INLINE ? area_who(a, who)->desc.entry : NULL;
	if (!a->big_at || (uint64_t)(count & DESC_COUNT) * sizeof(struct entry) > a->big_size)
		return NULL;
	return area_big(a, who);
}

/*
 * Complete operation x. Entries may be rewritten under a late helper's eyes, or under those of the thread that published
 * them, by a handler that interrupts it; so op is read again between reading an entry and acting on it, and the tag in
 * `old` stops a compare-and-swap that comes later still.
 */
static inline void complete(struct area *a, uint64_t x, const struct entry *list, uint32_t count, bool hot,
			    uint64_t value)
{
	uint64_t tag = (uint64_t)(uint32_t)(SEQ(x) + 1) << 32;

	for (uint32_t i = 0; i < count; i++) {
		struct entry e;

		e.cell = __atomic_load_n(&list[i].cell, __ATOMIC_RELAXED);
		e.value = __atomic_load_n(&list[i].value, __ATOMIC_RELAXED);
		e.old = __atomic_load_n(&list[i].old, __ATOMIC_RELAXED);
		if (!area_unmoved(a, x))
			return;
		if (e.cell >= AREA_CELLS && (uint64_t)e.cell * 8 < a->length) /* the head is no cell */
			atomic_compare_exchange_strong(area_cell(a, e.cell), &e.old, tag | e.value);
	}
	if (hot)
		area_swap_both(a, x, atomic_load(&a->head->hot), OP(SEQ(x) + 1, 0), value);
	else
		atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x) + 1, 0));
}

/* Others complete it, soon; else somebody is told. */
static void wait_for_others(const struct area *a, uint64_t x)
{
	for (int i = 0; i < SPINS; i++) {
		__builtin_ia32_pause();
		if (!area_unmoved(a, x))
			return;
	}
	for (int i = 0; i < NAPS; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
		if (!area_unmoved(a, x))
			return;
	}
	if (area_stuck)
		area_stuck(a);
}

/* Complete what somebody has published. */
void area_help(struct area *a, uint64_t x)
{
	if (a->readonly) {
		wait_for_others(a, x);
		return;
	}
	if (WHO(x) == WHO_FROZEN && a->copying && !atomic_load(a->copying)) { /* a client's lie */
		atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x) + 1, 0));
		return;
	}
	if (WHO(x) == WHO_FROZEN) {
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
		return;
	}
	uint32_t who = WHO(x), count;
	uint64_t hot;
	const struct entry *list;

	if (who >= WHO_MAX) { /* nobody has that number: nothing to complete */
		atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x) + 1, 0));
		return;
	}
	count = atomic_load_explicit(&area_who(a, who)->desc.count, memory_order_acquire);
	hot = __atomic_load_n(&area_who(a, who)->desc.hot, __ATOMIC_RELAXED);
	list = desc_entries(a, who, count);
	if (!area_unmoved(a, x))
		return;
	complete(a, x, list, list ? count & DESC_COUNT : 0, count & DESC_HOT, hot);
}

void area_freeze(struct area *a)
{
	uint64_t x;

	do
		x = area_idle(a);
	while (!atomic_compare_exchange_strong(&a->head->op, &x, OP(SEQ(x), WHO_FROZEN)));
}

void area_thaw(struct area *a)
{
	uint64_t x = atomic_load(&a->head->op);

	if (WHO(x) == WHO_FROZEN)
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

static inline void not_begun(struct desc *d)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&d->begun, 0, memory_order_relaxed);
}

/* Publish. True: it has happened, wholly. False: somebody else was first; begin again. */
bool txn_commit(struct txn *t)
{
	uint64_t x = t->op, mine = OP(SEQ(x), t->who);
	uint32_t flags = (t->entry == t->desc->entry ? 0 : DESC_STAGED) | (t->hot ? DESC_HOT : 0);
	bool won;

	if (t->hot && !t->count && !t->too_long) {
		won = area_swap_both(t->area, x, t->hot_old, OP(SEQ(x) + 1, 0), t->hot_new);
		not_begun(t->desc);
		return won;
	}
	t->desc->hot = t->hot_new;
	atomic_store_explicit(&t->desc->count, t->count | flags, memory_order_release);
	set_publishing(t->area, t->who);
	won = !t->too_long && atomic_compare_exchange_strong(&t->area->head->op, &x, mine);
	not_begun(t->desc);
	if (won)
		complete(t->area, mine, t->entry, t->count, t->hot, t->hot_new);
	publishing.area = NULL;
	return won;
}

void txn_interrupt(void)
{
	struct area *a = publishing.area;
	uint32_t who = publishing.who;

	if (!a)
		return;
	publishing.area = NULL;
	area_idle(a);
	if (atomic_load_explicit(&area_who(a, who)->desc.begun, memory_order_relaxed))
		area_abort_begun(a, who);
}
