/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies in a message queue's area: its cells, and nodes, one for each message (obj_msg_node.c). */
#ifndef IPC_OBJ_MSG_NODE_H
#define IPC_OBJ_MSG_NODE_H

#include <errno.h>
#include <stddef.h>

#include "ns.h"
#include "wait.h"

#define CLASSES 10
enum { M_FLAGS = AREA_CELLS, M_HEAD, M_TAIL, M_RHEAD, M_SHEAD, M_LSPID, /* and the rest, in other cache lines: */
       M_STIME, M_LRPID, M_RTIME, M_CTIME, M_RTAIL, M_STAIL, M_GATE, M_END, M_FREE };
enum { M_REMOVED = 1, M_MORE = 2, M_EXPUNGE = 4, M_RECHECK = 8 /* senders that wait may have lost their permission */ };
_Static_assert((int)M_FLAGS == (int)AREA_FLAGS && (int)M_REMOVED == AREA_REMOVED, "where the daemon sets it");
#define UNIT 64
#define CBYTES(hot) ((uint32_t)(hot)) /* the hot word: lent:1, messages:31, bytes:32 */
#define QNUM(hot) ((uint32_t)((hot) >> 32) & 0x7fffffffu)
#define LENT (1ull << 63)      /* the only message's node is still one of its sender's spares */
#define MESSAGE (1ull << 32)
#define FIRST_NODE ((uint32_t)((PAGE + (uint64_t)WHO_SIZE * WHO_MAX) / UNIT))
#define NODES ((uint32_t)(MSG_AREA_LENGTH / UNIT)) /* there is no such number */

struct node {
	cell_t next;
	int64_t type;
	uint32_t size;
	uint16_t class;
	uint16_t owner; /* who number of the thread that lent it */
	char text[];
};

static inline uint32_t class_bytes(uint32_t c)
{
	return (128u << 2 * c) + (c >= 3 ? UNIT : 0);
}

static inline uint32_t text_room(uint32_t class)
{
	return class_bytes(class) - (uint32_t)offsetof(struct node, text);
}

static inline uint32_t class_of(uint32_t size)
{
	uint32_t c = 0;

	while (c < CLASSES - 1 && text_room(c) < size)
		c++;
	return c;
}

/* Whatever number it is: a place in the area. */
static inline struct node *node_at(const struct area *a, uint32_t n)
{
	return (struct node *)((char *)a->head + (uint64_t)(n % NODES) * UNIT);
}

static inline uint32_t node_next(uint32_t n)
{
	return n % NODES * (UNIT / 8);
}

static inline bool node_valid(const struct area *a, uint32_t n)
{
	return n >= FIRST_NODE && n < area_value(a, M_END);
}

/* So many bytes of text do not leave the room for nodes: all that a short call asks, without another cache line. */
static inline bool text_valid(uint32_t n, uint32_t size)
{
	return n >= FIRST_NODE && (uint64_t)n * UNIT + sizeof(struct node) + size <= MSG_AREA_LENGTH;
}

static inline uint32_t spare_cell(const struct area *a, uint32_t who, uint32_t class)
{
	return req_cell(a, who, offsetof(struct request, spare)) + class;
}

static inline uint32_t orphan_cell(const struct area *a, uint32_t who, uint32_t class)
{
	return req_cell(a, who, offsetof(struct request, orphan)) + class;
}

/* The node that a frame of this thread is filling; a number that the who block's last owner left means nothing. */
static inline uint32_t filling(const struct area *a, uint32_t who, uint32_t tag)
{
	struct request *q = &area_who(a, who)->req;

	if (atomic_load_explicit(&q->filler, memory_order_relaxed) != tag)
		return 0;
	return atomic_load_explicit(&q->filling, memory_order_relaxed);
}

static inline void set_filling(struct area *a, uint32_t who, uint32_t tag, uint32_t node)
{
	struct request *q = &area_who(a, who)->req;

	atomic_store_explicit(&q->filling, node, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&q->filler, tag, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Is the node one that this thread has lent? */
static inline bool node_lent(const struct area *a, uint32_t n)
{
	return atomic_load_explicit(&a->head->hot, memory_order_acquire) & LENT && area_value(a, M_HEAD) == n;
}

int msg_node_refill(int who, struct obj *o, uint32_t class);
int msg_node_take_orphan(int who, struct obj *o, uint32_t class, uint32_t *node);
void msg_node_drop_spares(struct obj *o, int who, uint32_t cell);
void msg_node_end_loan(int who, struct obj *o);
void msg_node_free_orphan(int who, struct obj *o, uint32_t n);
/* Entries of an operation that is planned. */
void msg_node_free(struct txn *t, uint32_t n);
void msg_node_free_own(struct txn *t, uint32_t who, uint32_t tag, uint32_t n);
void msg_node_keep(struct txn *t);
void msg_node_give_up(struct txn *t, uint32_t who, uint32_t class, uint32_t n);

/* A node to fill, owned by this thread: its first spare, marked as being filled until it is sent. */
static inline int msg_node_fill(int who, uint32_t tag, struct obj *o, uint32_t class, uint32_t *node, uint32_t *outer)
{
	struct area *a = &o->area;
	uint32_t cell = spare_cell(a, (uint32_t)who, class);

	*outer = filling(a, (uint32_t)who, tag);
	if (*outer)
		return msg_node_take_orphan(who, o, class, node);
	for (;;) {
		*node = area_value(a, cell);
		if (!*node) {
			if (msg_node_refill(who, o, class))
				return -ENOMEM;
			continue;
		}
		if (!text_valid(*node, text_room(class))) {
			msg_node_drop_spares(o, who, cell);
			continue;
		}
		if (node_lent(a, *node)) {
			msg_node_end_loan(who, o);
			continue;
		}
		set_filling(a, (uint32_t)who, tag, *node);
		/* Has no handler sent it in between, or made and taken off a mark of its own, and this one with it? */
		if (filling(a, (uint32_t)who, tag) == *node && area_value(a, cell) == *node && !node_lent(a, *node))
			return 0;
		set_filling(a, (uint32_t)who, tag, 0);
	}
}

#endif
