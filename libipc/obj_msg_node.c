/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes of a message queue: {next, type, size, payload}, of a size class; nodes are in the queue, in a free list, or
 * owned by a thread (its spare, its orphans, or its waiting request). Type, size and payload are plain memory that only
 * the owner of a node writes, and that is constant while the node is in the queue.
 *
 * Rules inside:
 *  - A node is filled before the operation that appends it. A frame that finds another frame of its thread filling one
 *    (it runs in a signal handler) leaves the spares alone and takes a node of its own, an orphan of the thread until
 *    it is sent, or until the who number gets a new owner.
 *  - A node that is sent to an empty queue is only lent (hot word): it stays in the list of spares that it came from,
 *    where its owner passes over it. So a message that is received before the next one is sent changes nothing but the
 *    hot word, there and back. Whoever makes the queue longer, or takes the node elsewhere, takes it out of that list.
 */
#include <errno.h>

#include "obj_msg_node.h"

#define GROW 4096
#define SPARES 16

/* A list that leads to no node: it ends here. */
static void cut_list(struct obj *o, int who, uint32_t cell)
{
	struct txn t;

	txn_begin(&t, &o->area, (uint32_t)who);
	if (!node_valid(&o->area, area_value(&o->area, cell)))
		txn_set(&t, cell, 0);
	txn_commit(&t);
}

/* More free nodes of a class: memory first, then an operation that chains them. */
static int grow(int who, struct obj *o, uint32_t class)
{
	struct area *a = &o->area;
	uint32_t bytes = class_bytes(class), n = bytes < GROW ? GROW / bytes : 1;
	struct txn t;

	n = n > 20 ? 20 : n;
	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		uint32_t end = area_value(a, M_END), free = area_value(a, M_FREE + class);

		if (free) {
			txn_valid(&t);
			return 0;
		}
		if (((uint64_t)end + n * bytes / UNIT) * UNIT > a->length ||
		    file_fence(node_at(a, end), (size_t)n * bytes)) {
			txn_valid(&t);
			return -ENOMEM;
		}
		for (uint32_t i = 0; i < n; i++)
			txn_set(&t, node_next(end + i * bytes / UNIT), i + 1 < n ? end + (i + 1) * bytes / UNIT : 0);
		txn_set(&t, M_FREE + class, end);
		txn_set(&t, M_END, end + n * bytes / UNIT);
		if (txn_commit(&t))
			return 0;
	}
}

void msg_node_free(struct txn *t, uint32_t n)
{
	uint32_t class = node_at(t->area, n)->class % CLASSES;

	txn_set(t, node_next(n), area_value(t->area, M_FREE + class));
	txn_set(t, M_FREE + class, n);
}

/* A node of a receiver goes to its own spares, so that the next one it sends costs nobody else's cells; not too many. */
void msg_node_free_own(struct txn *t, uint32_t who, uint32_t tag, uint32_t n)
{
	struct request *q = &area_who(t->area, who)->req;
	uint32_t class = node_at(t->area, n)->class % CLASSES, cell = spare_cell(t->area, who, class);
	uint32_t spare = area_value(t->area, cell);

	if (filling(t->area, who, tag) || (spare && q->spares[class] >= SPARES)) {
		msg_node_free(t, n);
		return;
	}
	q->spares[class] = spare ? q->spares[class] + 1 : 1;
	txn_set(t, node_next(n), spare);
	txn_set(t, cell, n);
}

/* Some nodes off the free list become the thread's spares, which are none. */
int msg_node_refill(int who, struct obj *o, uint32_t class)
{
	struct area *a = &o->area;
	struct txn t;
	int e = 0;

	txn_begin(&t, a, (uint32_t)who);
	uint32_t first = area_value(a, M_FREE + class), last = first, cell = spare_cell(a, (uint32_t)who, class);

	if (first && !node_valid(a, first)) {
		txn_valid(&t);
		cut_list(o, who, M_FREE + class);
		return 0;
	}
	if (!first || area_value(a, cell)) {
		e = txn_valid(&t) && !first ? grow(who, o, class) : 0;
		return e;
	}
	for (int i = 1; i < SPARES / 2 && area_value(a, node_next(last)) && area_unmoved(a, t.op); i++)
		last = area_value(a, node_next(last));
	txn_set(&t, cell, first);
	txn_set(&t, M_FREE + class, area_value(a, node_next(last)));
	txn_set(&t, node_next(last), 0);
	if (txn_commit(&t))
		area_who(a, (uint32_t)who)->req.spares[class] = SPARES / 2;
	return 0;
}

/* A node for a frame whose thread has interrupted itself filling another: off the free list, into the orphans. */
int msg_node_take_orphan(int who, struct obj *o, uint32_t class, uint32_t *node)
{
	struct area *a = &o->area;
	uint32_t orphans = orphan_cell(a, (uint32_t)who, class);
	struct txn t;

	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		uint32_t n = area_value(a, M_FREE + class);

		if (!n) {
			if (txn_valid(&t) && grow(who, o, class))
				return -ENOMEM;
			continue;
		}
		if (!text_valid(n, text_room(class))) {
			txn_valid(&t);
			cut_list(o, who, M_FREE + class);
			return -ENOMEM;
		}
		txn_set(&t, M_FREE + class, area_value(a, node_next(n)));
		txn_set(&t, node_next(n), area_value(a, orphans));
		txn_set(&t, orphans, n);
		if (txn_commit(&t)) {
			*node = n;
			return 0;
		}
	}
}

/* Entries by which a thread gives up a node of its spares or its orphans. */
void msg_node_give_up(struct txn *t, uint32_t who, uint32_t class, uint32_t n)
{
	uint32_t at = spare_cell(t->area, who, class), steps = 0;

	if (area_value(t->area, at) != n)
		at = orphan_cell(t->area, who, class);
	while (area_value(t->area, at) != n && area_value(t->area, at) && steps++ < 1000)
		at = node_next(area_value(t->area, at));
	if (area_value(t->area, at) == n)
		txn_set(t, at, area_value(t->area, node_next(n)));
}

/* Entries by which the message that is there gets its node for good. */
void msg_node_keep(struct txn *t)
{
	uint64_t h = txn_hot(t);
	uint32_t n = area_value(t->area, M_HEAD);

	if (!(h & LENT))
		return;
	if (node_valid(t->area, n))
		msg_node_give_up(t, node_at(t->area, n)->owner % WHO_MAX, node_at(t->area, n)->class % CLASSES, n);
	txn_put_hot(t, h & ~LENT);
}

void msg_node_end_loan(int who, struct obj *o)
{
	struct txn t;

	txn_begin(&t, &o->area, (uint32_t)who);
	msg_node_keep(&t);
	txn_commit(&t);
}

/* They lead to no node of their class. */
void msg_node_drop_spares(struct obj *o, int who, uint32_t cell)
{
	struct txn t;

	txn_begin(&t, &o->area, (uint32_t)who);
	txn_set(&t, cell, 0);
	txn_commit(&t);
}

/* An orphan, filled, is free again. */
void msg_node_free_orphan(int who, struct obj *o, uint32_t n)
{
	uint32_t class = node_at(&o->area, n)->class % CLASSES;
	struct txn t;

	for (;;) {
		txn_begin(&t, &o->area, (uint32_t)who);
		msg_node_give_up(&t, (uint32_t)who, class, n);
		if (!t.count) { /* not there */
			if (txn_valid(&t))
				return;
			continue;
		}
		msg_node_free(&t, n);
		if (txn_commit(&t))
			return;
	}
}
