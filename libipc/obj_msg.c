/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Message queues: sending, receiving, and those who wait. A message is a node (obj_msg_node.c).
 *
 * Rules inside:
 *  - With M_MORE clear no waiting receiver matches a message, and no waiting sender's message fits.
 *  - Without messages (hot word), M_HEAD and M_TAIL mean nothing; the last message's `next` means nothing ever.
 *  - A receiver copies before it commits; what it copied counts if the commit does. A message of up to SMALL bytes
 *    reaches the caller's buffer only then.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/msg.h>
#include <unistd.h>

#include "gate.h"
#include "obj_msg.h"
#include "obj_msg_node.h"
#include "registry.h"
#include "slot.h"
#include "wait.h"

#define SMALL 256
#define ORPHANS_MOST 100000

int msg_queue_create(struct ipc_ns *ns, uint32_t *file)
{
	struct area_head h = { .magic = AREA_MAGIC, .version = AREA_VERSION, .kind = AREA_MSG };
	cell_t ctime = now_seconds(), end = FIRST_NODE;
	int fd;

	h.who_at = PAGE;
	fd = object_create(ns, KIND_MSG, MSG_AREA_LENGTH, PAGE, file);
	if (fd < 0)
		return fd;
	if (pwrite(fd, &h, sizeof h, 0) != sizeof h || pwrite(fd, &ctime, 8, 8 * M_CTIME) != 8 ||
	    pwrite(fd, &end, 8, 8 * M_END) != 8) {
		close(fd);
		return -ENOMEM;
	}
	close(fd);
	return 0;
}

/* The messages make a chain of the queue's length and bytes; true also if it changes too fast to be read. */
static bool chain_sound(struct area *a)
{
	for (int tries = 0; tries < 10; tries++) {
		uint64_t x = area_idle(a), hot = atomic_load_explicit(&a->head->hot, memory_order_acquire), bytes = 0;
		uint32_t n = area_value(a, M_HEAD), left, steps = 0, last = 0;

		if (QNUM(hot) > NODES)
			return false;
		for (left = QNUM(hot); left && node_valid(a, n); left--) {
			bytes += __atomic_load_n(&node_at(a, n)->size, __ATOMIC_RELAXED);
			last = n;
			n = area_value(a, node_next(n));
			if ((++steps & 63) == 0 && !area_unmoved(a, x))
				break;
		}
		if (area_unmoved(a, x))
			return !left && bytes == CBYTES(hot) && (!QNUM(hot) || last == area_value(a, M_TAIL));
	}
	return true;
}

int msg_queue_check(struct area *a, uint64_t holds)
{
	uint32_t end = area_value(a, M_END);

	if (end < FIRST_NODE || end > NODES)
		return -EIDRM;
	if (holds < (uint64_t)(end - FIRST_NODE) * UNIT &&
	    file_fence(node_at(a, FIRST_NODE), (size_t)(end - FIRST_NODE) * UNIT))
		return -ENOMEM;
	return QNUM(atomic_load(&a->head->hot)) <= end && chain_sound(a) ? 0 : -EIDRM;
}

/* ---- finding ---- */

enum mode { ANY, EQUAL, NOTEQUAL, LESSEQUAL, NUMBER };

static enum mode find_mode(int64_t *type, int flags)
{
	if (flags & MSG_COPY)
		return NUMBER;
	if (*type == 0)
		return ANY;
	if (*type < 0) {
		*type = *type == LONG_MIN ? LONG_MAX : -*type;
		return LESSEQUAL;
	}
	return flags & MSG_EXCEPT ? NOTEQUAL : EQUAL;
}

static bool matches(int64_t have, int64_t type, enum mode mode)
{
	switch (mode) {
	case ANY:
	case NUMBER:
		return true;
	case LESSEQUAL:
		return have <= type;
	case EQUAL:
		return have == type;
	case NOTEQUAL:
		return have != type;
	}
	return false;
}

/* The message that a receiver gets, and the one before it. 0: none, or the state has moved. */
static uint32_t find(struct txn *t, int64_t type, enum mode mode, uint32_t *prev)
{
	struct area *a = t->area;
	uint32_t n, before = 0, found = 0, steps = 0;
	uint64_t number = 0;

	uint32_t left_over = QNUM(txn_hot(t)), most = area_value(a, M_END);

	most = most < NODES ? most : NODES;
	left_over = left_over < most ? left_over : most; /* a chain without an end is damage */

	for (n = area_value(a, M_HEAD); left_over-- && node_valid(a, n); before = n, n = area_value(a, node_next(n))) {
		int64_t have = __atomic_load_n(&node_at(a, n)->type, __ATOMIC_RELAXED);

		if ((++steps & 63) == 0 && !area_unmoved(a, t->op))
			return 0;
		if (!matches(have, type, mode))
			continue;
		if (mode == NUMBER && number++ != (uint64_t)type)
			continue;
		found = n;
		*prev = before;
		if (mode != LESSEQUAL || have == 1)
			return n;
		type = have - 1;
	}
	return found;
}

/* Entries that take a message out of the queue, for the receiver with that pid. The node itself stays to be placed. */
static void unlink_message(struct txn *t, uint32_t n, uint32_t prev, uint32_t pid)
{
	struct area *a = t->area;

	if (QNUM(txn_hot(t)) == 1)
		; /* and none is left */
	else if (area_value(a, M_TAIL) == n)
		txn_set(t, M_TAIL, prev);
	else
		txn_set(t, prev ? node_next(prev) : M_HEAD, area_value(a, node_next(n)));
	txn_put_hot(t, (txn_hot(t) & ~LENT) - MESSAGE - node_at(a, n)->size);
	txn_set(t, M_RTIME, now_seconds());
	txn_set(t, M_LRPID, pid);
}

static void append_message(struct txn *t, uint32_t n, uint32_t size, uint32_t pid)
{
	struct area *a = t->area;

	msg_node_keep(t);
	if (!QNUM(txn_hot(t)))
		txn_set(t, M_HEAD, n);
	else if (node_valid(a, area_value(a, M_TAIL)))
		txn_set(t, node_next(area_value(a, M_TAIL)), n);
	txn_set(t, M_TAIL, n);
	txn_put_hot(t, txn_hot(t) + MESSAGE + size);
	txn_set(t, M_STIME, now_seconds());
	txn_set(t, M_LSPID, pid);
}

static bool fits(const struct area *a, uint32_t size, uint32_t qbytes)
{
	uint64_t h = atomic_load_explicit(&a->head->hot, memory_order_acquire);

	return (uint64_t)CBYTES(h) + size <= qbytes && (uint64_t)QNUM(h) + 1 <= qbytes;
}

/* ---- the cascade ---- */

/* The first receiver that gets something: a message, or an error. */
static uint32_t first_receiver(struct txn *t, uint32_t *node, uint32_t *prev, int *error)
{
	struct area *a = t->area;
	uint32_t who, before = 0;

	for (who = area_value(a, M_RHEAD); who; before = who, who = area_value(a, REQ_NEXT(a, who))) {
		if (!list_sound(a, who, before))
			return LIST_DAMAGED;

		struct request *q = &area_who(a, who)->req;
		int64_t type = q->type;
		enum mode mode = find_mode(&type, (int)q->flags);

		*node = find(t, type, mode, prev);
		if (*node) {
			*error = node_at(a, *node)->size > q->size && !(q->flags & MSG_NOERROR) ? E2BIG : 0;
			return who;
		}
		if (!area_unmoved(a, t->op))
			return 0;
	}
	return 0;
}

static uint32_t first_sender(struct txn *t, uint32_t qbytes)
{
	struct area *a = t->area;
	uint32_t who, before = 0;

	for (who = area_value(a, M_SHEAD); who; before = who, who = area_value(a, REQ_NEXT(a, who))) {
		if (!list_sound(a, who, before))
			return LIST_DAMAGED;
		if (fits(a, (uint32_t)area_who(a, who)->req.size, qbytes))
			return who;
		if (!area_unmoved(a, t->op))
			return 0;
	}
	return 0;
}

static uint32_t tail_of(uint32_t head)
{
	return head == M_RHEAD ? M_RTAIL : M_STAIL;
}

/* Entries that end the request of somebody who is not there any more. */
static void drop_request(struct txn *t, uint32_t head, uint32_t who)
{
	struct area *a = t->area;
	uint32_t node = area_value(a, REQ_NODE(a, who));

	txn_set(t, REQ_STATE(a, who), STATE(STATE_TURN(area_value(a, REQ_STATE(a, who))), 0, REQ_NONE));
	list_remove(t, head, tail_of(head), who);
	if (node) {
		txn_set(t, REQ_NODE(a, who), 0);
		msg_node_free(t, node);
	}
}

/* Plan one step; the request that it ends, 0 when nothing is left to do, or LIST_DAMAGED: the queue is set aside. */
static uint32_t plan_step(struct ipc_ns *ns, struct obj *o, struct txn *t, uint32_t flags, uint32_t qbytes)
{
	struct area *a = &o->area;
	uint32_t who = area_value(a, M_RHEAD), head = M_RHEAD, node = 0, prev = 0, tag;
	int error = flags & M_REMOVED ? EIDRM : MSG_AGAIN;

	if (!(flags & (M_REMOVED | M_EXPUNGE)))
		who = first_receiver(t, &node, &prev, &error);
	if (!who && !(flags & M_EXPUNGE)) {
		head = M_SHEAD;
		error = flags & M_REMOVED ? EIDRM : flags & M_RECHECK ? MSG_AGAIN : 0;
		who = flags & M_REMOVED ? area_value(a, M_SHEAD) : first_sender(t, qbytes);
	}
	if (!who)
		return 0;
	if (who == LIST_DAMAGED || (flags & (M_REMOVED | M_EXPUNGE) && !list_sound(a, who, 0))) {
		txn_set(t, head, 0);
		txn_set(t, tail_of(head), 0);
		txn_set(t, M_FLAGS, M_REMOVED | M_MORE);
		return LIST_DAMAGED;
	}
	tag = (uint32_t)atomic_load(&ns->slots->who[who]);
	if (!slot_alive(ns, tag) && slot_life_slow(ns, tag) != LIFE_ALIVE) {
		drop_request(t, head, who);
		return who;
	}
	wait_done(t, head, tail_of(head), who, error);
	if (head == M_RHEAD && node && !error) {
		msg_node_keep(t);
		unlink_message(t, node, prev, area_who(a, who)->req.pid);
		txn_set(t, REQ_NODE(a, who), node);
	}
	if (head == M_SHEAD && !error) {
		append_message(t, area_value(a, REQ_NODE(a, who)), (uint32_t)area_who(a, who)->req.size,
			       area_who(a, who)->req.pid);
		txn_set(t, REQ_NODE(a, who), 0);
	}
	return who;
}

/* qbytes is the registry's: what the queue may hold */
static uint32_t queue_limit(struct ipc_ns *ns, struct obj *o)
{
	uint32_t opened = atomic_load(&o->opened), size = 0;

	if (!opened || object_permit(ns, KIND_MSG, (int)opened - 1, &size) < 0)
		return 0;
	return size;
}

static void msg_step(struct ipc_ns *ns, int me, struct obj *o)
{
	struct area *a = &o->area;
	uint32_t flags, who, qbytes = queue_limit(ns, o);
	struct txn t;

	txn_begin(&t, a, (uint32_t)me);
	flags = area_value(a, M_FLAGS);
	if (!(flags & M_MORE)) {
		txn_valid(&t);
		return;
	}
	who = plan_step(ns, o, &t, flags, qbytes);
	if (!who && flags & M_EXPUNGE)
		txn_set(&t, M_FLAGS, flags & ~(uint32_t)M_EXPUNGE);
	else if (!who)
		txn_set(&t, M_FLAGS, flags & ~(uint32_t)(area_value(a, M_SHEAD) ? M_MORE : M_MORE | M_RECHECK));
	if (!txn_commit(&t) || !who)
		return;
	if (who != LIST_DAMAGED)
		wait_wake(ns, a, who);
	else if (!(flags & M_REMOVED))
		object_damaged(ns, KIND_MSG, o);
}

static void run_cascade(struct ipc_ns *ns, int me, struct obj *o)
{
	while (area_value(&o->area, M_FLAGS) & M_MORE)
		msg_step(ns, me, o);
}

static const struct gate msg_gate = { .flags = M_FLAGS, .cell = M_GATE };

static bool settled(struct ipc_ns *ns, int me, struct obj *o, struct txn *t)
{
	uint32_t flags = area_value(&o->area, M_FLAGS);

	if (flags & M_MORE) {
		txn_valid(t);
		msg_step(ns, me, o);
		return false;
	}
	if (flags & GATE_CLOSED && area_value(&o->area, M_GATE) != (uint32_t)me) {
		txn_valid(t);
		gate_wait(&msg_gate, &o->area, (uint32_t)me);
		return false;
	}
	return true;
}

static void set_flag(struct ipc_ns *ns, int who, struct obj *o, uint32_t flag, bool ctime)
{
	struct txn t;

	do {
		txn_begin(&t, &o->area, (uint32_t)who);
		txn_set(&t, M_FLAGS, area_value(&o->area, M_FLAGS) | flag);
		if (ctime)
			txn_set(&t, M_CTIME, now_seconds());
	} while (!txn_commit(&t));
	run_cascade(ns, who, o);
}

void msg_queue_changed(struct ipc_ns *ns, int who, struct obj *o)
{
	set_flag(ns, who, o, M_EXPUNGE | M_MORE | M_RECHECK, true);
}

void msg_queue_close(struct ipc_ns *ns, int who, struct obj *o)
{
	set_flag(ns, who, o, M_REMOVED | M_MORE, false);
}

static void look(struct frame *f)
{
	struct row r;

	if (!f->ns->base)
		slots_sweep(f->ns, (int)f->who);
	if (registry_read(f->ns, KIND_MSG, (int)atomic_load(&f->obj->opened) - 1, &r) == -EINVAL)
		msg_queue_close(f->ns, (int)f->who, f->obj);
	else
		set_flag(f->ns, (int)f->who, f->obj, M_MORE, false);
	wait_lost(f, area_value(&f->area, M_FLAGS) & M_REMOVED);
}

/* What a request is, in its `kind`: in which list it stands. */
enum { SENDS = 1, RECEIVES };

static bool waits_as(const struct frame *f, uint16_t kind)
{
	return area_who(&f->area, f->who)->req.kind == kind;
}

/* ---- sending ---- */

/* A sender's wait has ended without its message in the queue: the node is free again. */
static void take_back(struct frame *f, struct txn *t, bool performed)
{
	uint32_t cell = REQ_NODE(t->area, f->who), node = area_value(t->area, cell);

	(void)performed;
	if (node) {
		txn_set(t, cell, 0);
		msg_node_free(t, node);
	}
}

/* Try to send the filled node, once; lend: it is a spare. 0 sent, 1 try again, 2 joined the senders, else -errno. */
static int send_once(struct frame *f, uint32_t node, uint32_t qbytes, bool lend, bool nowait)
{
	struct area *a = &f->area;
	uint32_t size = (uint32_t)f->size, class = class_of(size);
	struct txn t;

	txn_begin(&t, a, f->who);
	if (!settled(f->ns, (int)f->who, f->obj, &t))
		return 1;
	if (area_value(a, M_FLAGS) & M_REMOVED)
		return txn_valid(&t) ? -EIDRM : 1;
	if (fits(a, size, qbytes)) {
		append_message(&t, node, size, (uint32_t)f->ns->pid);
		if (lend && QNUM(t.hot_new) == 1)
			t.hot_new |= LENT;
		else
			msg_node_give_up(&t, f->who, class, node);
		if (area_value(a, M_RHEAD))
			txn_set(&t, M_FLAGS, area_value(a, M_FLAGS) | M_MORE);
		return txn_commit(&t) ? 0 : 1;
	}
	if (nowait)
		return txn_valid(&t) ? -EAGAIN : 1;
	if (!area_value(a, M_SHEAD) && wait_spin(f, t.op))
		return txn_valid(&t), 1;
	if (ipc_signals != f->signals) /* a handler ran since the call began */
		return txn_valid(&t), -EINTR;
	struct request *q = &area_who(a, f->who)->req;
	q->kind = SENDS;
	q->pid = (uint32_t)f->ns->pid;
	q->size = size;
	f->head = M_SHEAD;
	f->tail = M_STAIL;
	msg_node_give_up(&t, f->who, class, node);
	txn_set(&t, REQ_NODE(a, f->who), node);
	wait_join(f, &t);
	return txn_commit(&t) ? 2 : 1;
}

/*
 * The shortest way: to an empty queue that nobody waits at, the node that was there last, by the process that sent last
 * in this second. Then only the hot word changes.
 */
static inline bool send_shortest(struct ipc_ns *ns, struct obj *o, int id, uint32_t node, uint32_t size)
{
	struct area own = o->area, *a = &own;
	uint64_t x = atomic_load(&a->head->op), h = atomic_load(&a->head->hot);

	if (WHO(x) || QNUM(h) || size > o->size || !o->size || !object_same(o, id) || !object_current(ns, o))
		return false;
	if (area_value(a, M_FLAGS) | area_value(a, M_RHEAD) | area_value(a, M_SHEAD))
		return false;
	if (area_value(a, M_HEAD) != node || area_value(a, M_TAIL) != node ||
	    area_value(a, M_LSPID) != (uint32_t)ns->pid || area_value(a, M_STIME) != now_seconds())
		return false;
	return area_swap_both(a, x, h, OP(SEQ(x) + 1, 0), LENT | MESSAGE | size);
}

static int send_slow(struct frame *f, uint32_t node, uint32_t outer)
{
	struct area *a = &f->area;
	struct ipc_ns *ns = f->ns;
	int who = (int)f->who, e;
	uint32_t qbytes;

	if (!(f->flags & IPC_NOWAIT))
		ipc_frame = f;
	do {
		e = object_permit(ns, KIND_MSG, (int)f->opened - 1, &qbytes);
		e = e < 0 ? -EIDRM : e & MAY_ALTER ? 0 : -EACCES;
		if (!e)
			e = send_once(f, node, qbytes, !outer, f->flags & IPC_NOWAIT);
	} while (e == 1);
	if (!outer)
		set_filling(a, f->who, ns->tag, 0);
	if (e == 2)
		return wait_sleep(f, NULL);
	ipc_frame = NULL;
	if (e && outer)
		msg_node_free_orphan(who, f->obj, node);
	if (!e && area_value(a, M_FLAGS) & M_MORE)
		run_cascade(ns, who, f->obj);
	return e;
}

int msg_queue_send_resume(struct ipc_ns *ns, int who, struct obj *o, int id)
{
	struct frame f = { .ns = ns, .kind = KIND_MSG, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look, .take = take_back, .head = M_SHEAD, .tail = M_STAIL };

	return !object_same(o, id) ? -EIDRM : waits_as(&f, SENDS) && wait_resume(&f) ? wait_sleep(&f, NULL) : -ENOENT;
}

static int send_filled(struct ipc_ns *ns, int who, struct obj *o, int id, int64_t type, const void *text, uint32_t size,
		       int flags)
{
	struct frame f = { .ns = ns, .kind = KIND_MSG, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look, .take = take_back, .sends = true, .msg = (void *)text,
			   .size = size, .type = type, .flags = flags, .signals = ipc_signals };
	uint32_t node, outer;
	struct node *n;
	int e;

	e = msg_node_fill(who, ns->tag, o, class_of(size), &node, &outer);
	if (e)
		return e;
	n = node_at(&o->area, node);
	n->type = type;
	n->size = size;
	n->class = (uint16_t)class_of(size);
	n->owner = (uint16_t)who;
	memcpy(n->text, text, size);
	if (!outer && send_shortest(ns, o, id, node, size)) {
		set_filling(&o->area, (uint32_t)who, ns->tag, 0);
		return 0;
	}
	return send_slow(&f, node, outer);
}

int msg_queue_send(struct ipc_ns *ns, int who, struct obj *o, int id, int64_t type, const void *text, uint32_t size,
		   int flags)
{
	int e;

	do
		e = send_filled(ns, who, o, id, type, text, size, flags);
	while (e == -MSG_AGAIN);
	return e;
}

/* ---- receiving ---- */

static void copy_out(void *msg, int64_t type, const void *text, uint64_t size)
{
	memcpy(msg, &type, sizeof(long));
	memcpy((char *)msg + sizeof(long), text, size);
}

/*
 * The message that the receiver was handed: copy it, and free its node with the operation that ends the wait. In a
 * handler that has interrupted the copying the node becomes an orphan instead: the interrupted frame goes on reading.
 */
static void take_message(struct frame *f, struct txn *t, bool performed)
{
	uint32_t cell = REQ_NODE(t->area, f->who), node = area_value(t->area, cell);
	struct node *n = node_at(t->area, node);
	uint32_t class = n->class % CLASSES;
	bool interrupted = atomic_load(&f->copying);
	uint64_t size;

	if (!performed || !node)
		return;
	atomic_store(&f->copying, true);
	size = __atomic_load_n(&n->size, __ATOMIC_RELAXED); /* once: a daemon's client may change it */
	if (size > f->size)
		size = f->size;
	f->taken = !text_valid(node, (uint32_t)size) ? -EIDRM : f->msg ? (int)size : -EFAULT;
	if (f->taken >= 0)
		copy_out(f->msg, n->type, n->text, size);
	txn_set(t, cell, 0);
	if (!interrupted) {
		msg_node_free(t, node);
		return;
	}
	f->left = node;
	txn_set(t, node_next(node), area_value(t->area, orphan_cell(t->area, f->who, class)));
	txn_set(t, orphan_cell(t->area, f->who, class), node);
}

#define JOINED (-4095)
#define RETRY (-4094)
#define SPUN (-4093) /* try again: it waited a moment */

static ssize_t found(struct frame *f, struct txn *t, uint32_t node, uint32_t prev)
{
	struct node *n = node_at(t->area, node);
	uint32_t full = __atomic_load_n(&n->size, __ATOMIC_RELAXED);
	int64_t type = __atomic_load_n(&n->type, __ATOMIC_RELAXED);
	uint64_t size = full < f->size ? full : f->size;
	char small[SMALL];

	if (!area_unmoved(t->area, t->op))
		return txn_valid(t), RETRY;
	if (full > f->size && !(f->flags & MSG_NOERROR))
		return txn_valid(t) ? -E2BIG : RETRY;
	if (!text_valid(node, (uint32_t)size)) /* damaged */
		return txn_valid(t) ? -EIDRM : RETRY;
	if (f->flags & MSG_COPY) {
		if (full > f->size)
			return txn_valid(t) ? -EINVAL : RETRY;
		if (!f->msg)
			return txn_valid(t) ? -EFAULT : RETRY;
		copy_out(f->msg, type, n->text, size);
		return txn_valid(t) ? (ssize_t)size : RETRY;
	}
	if (f->msg)
		memcpy(size <= SMALL ? small : (char *)f->msg + sizeof(long), n->text, size);
	if (!(txn_hot(t) & LENT)) /* else it stays where it is */
		msg_node_free_own(t, f->who, f->ns->tag, node);
	unlink_message(t, node, prev, (uint32_t)f->ns->pid);
	if (area_value(t->area, M_SHEAD))
		txn_set(t, M_FLAGS, area_value(t->area, M_FLAGS) | M_MORE);
	if (!txn_commit(t))
		return RETRY;
	if (!f->msg) /* as in the kernel, the message is gone */
		return -EFAULT;
	memcpy(f->msg, &type, sizeof(long));
	if (size <= SMALL)
		memcpy((char *)f->msg + sizeof(long), small, size);
	return (ssize_t)size;
}

static ssize_t receive_once(struct frame *f, int64_t type, enum mode mode)
{
	struct area *a = &f->area;
	uint32_t node, prev = 0;
	struct txn t;

	txn_begin(&t, a, f->who);
	if (!settled(f->ns, (int)f->who, f->obj, &t))
		return RETRY;
	if (area_value(a, M_FLAGS) & M_REMOVED)
		return txn_valid(&t) ? -EIDRM : RETRY;
	node = find(&t, type, mode, &prev);
	if (node)
		return found(f, &t, node, prev);
	if (f->flags & IPC_NOWAIT)
		return txn_valid(&t) ? -ENOMSG : RETRY;
	if (!area_value(a, M_RHEAD) && wait_spin(f, t.op))
		return txn_valid(&t), SPUN;
	if (ipc_signals != f->signals)
		return txn_valid(&t), -EINTR;
	struct request *q = &area_who(a, f->who)->req;
	q->kind = RECEIVES;
	q->pid = (uint32_t)f->ns->pid;
	q->type = f->type;
	q->size = f->size;
	q->flags = (uint32_t)f->flags;
	f->head = M_RHEAD;
	f->tail = M_RTAIL;
	wait_join(f, &t);
	return txn_commit(&t) ? JOINED : RETRY;
}

/* The shortest way: the only message, of a lent node, by the process that received last in this second. */
static inline ssize_t receive_shortest(struct ipc_ns *ns, struct obj *o, int id, void *msg, uint64_t size, int64_t type,
				       int flags)
{
	struct area own = o->area, *a = &own;
	uint64_t x = atomic_load(&a->head->op), h = atomic_load(&a->head->hot);
	uint32_t node = area_value(a, M_HEAD), bytes = CBYTES(h);
	enum mode mode = find_mode(&type, flags);
	struct node *n = node_at(a, node);
	char small[SMALL];
	int64_t have;

	if (WHO(x) || h >> 32 != (LENT | MESSAGE) >> 32 || bytes > size || !text_valid(node, bytes) || !msg ||
	    !object_same(o, id) || !object_current(ns, o))
		return RETRY;
	if (area_value(a, M_FLAGS) | area_value(a, M_RHEAD) | area_value(a, M_SHEAD))
		return RETRY;
	have = __atomic_load_n(&n->type, __ATOMIC_RELAXED);
	if (mode == NUMBER || !matches(have, type, mode) || area_value(a, M_LRPID) != (uint32_t)ns->pid ||
	    area_value(a, M_RTIME) != now_seconds())
		return RETRY;
	if (bytes > SMALL)
		return RETRY;
	memcpy(small, n->text, bytes);
	if (!area_swap_both(a, x, h, OP(SEQ(x) + 1, 0), 0))
		return RETRY;
	copy_out(msg, have, small, bytes);
	return bytes;
}

static ssize_t receive_slow(struct ipc_ns *ns, int who, struct obj *o, int id, void *msg, uint64_t size, int64_t type,
			    int flags)
{
	uint32_t signals = ipc_signals;
	struct gate gate = msg_gate;

	for (;;) {
		struct frame f = { .ns = ns, .kind = KIND_MSG, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
				   .who = (uint32_t)who, .look = look, .take = take_message, .msg = msg, .size = size,
				   .type = type, .flags = flags, .signals = signals };
		int64_t wanted = type;
		enum mode mode = find_mode(&wanted, flags);
		uint32_t qbytes;
		ssize_t n;

		if (!(flags & IPC_NOWAIT))
			ipc_frame = &f;
		do {
			n = object_permit(ns, KIND_MSG, id, &qbytes);
			n = n < 0 ? -EIDRM : n & MAY_READ ? 0 : -EACCES;
			if (!n)
				n = receive_once(&f, wanted, mode);
			if (n == RETRY)
				gate_lost(&gate, &o->area, f.who);
		} while (n == RETRY || n == SPUN);
		gate_done(&gate, &o->area, f.who);
		if (n == JOINED) {
			n = wait_sleep(&f, NULL);
			if (f.left)
				msg_node_free_orphan(who, o, f.left);
			if (n == -MSG_AGAIN)
				continue;
			return n;
		}
		ipc_frame = NULL;
		if ((n >= 0 || n == -EFAULT) && area_value(&o->area, M_FLAGS) & M_MORE)
			run_cascade(ns, who, o);
		return n;
	}
}

ssize_t msg_queue_receive_resume(struct ipc_ns *ns, int who, struct obj *o, int id, void *msg, uint64_t size,
				 int64_t type, int flags)
{
	struct frame f = { .ns = ns, .kind = KIND_MSG, .obj = o, .area = o->area, .opened = (uint32_t)id + 1,
			   .who = (uint32_t)who, .look = look, .take = take_message, .msg = msg, .size = size,
			   .type = type, .flags = flags, .head = M_RHEAD, .tail = M_RTAIL };

	return !object_same(o, id) ? -EIDRM : waits_as(&f, RECEIVES) && wait_resume(&f) ? wait_sleep(&f, NULL) : -ENOENT;
}

ssize_t msg_queue_receive(struct ipc_ns *ns, int who, struct obj *o, int id, void *msg, uint64_t size, int64_t type,
			  int flags)
{
	ssize_t n = receive_shortest(ns, o, id, msg, size, type, flags);

	return n == RETRY ? receive_slow(ns, who, o, id, msg, size, type, flags) : n;
}

int msg_queue_stat(struct ipc_ns *ns, int who, struct obj *o, struct msg_stat *st)
{
	struct area *a = &o->area;
	struct txn t;
	int e;

	for (;;) {
		txn_begin(&t, a, (uint32_t)who);
		if (!settled(ns, who, o, &t))
			continue;
		*st = (struct msg_stat){ CBYTES(txn_hot(&t)), QNUM(txn_hot(&t)), area_value(a, M_LSPID),
					 area_value(a, M_LRPID), area_value(a, M_STIME), area_value(a, M_RTIME),
					 area_value(a, M_CTIME) };
		e = area_value(a, M_FLAGS) & M_REMOVED ? -EIDRM : 0;
		if (txn_valid(&t))
			return e;
	}
}

/* ---- after a death ---- */

/* End what a dead process's thread has there: its wait, and the message that it was handed. */
static bool settle_who(int me, struct obj *o, uint32_t who, const struct slots *slots, uint32_t tag)
{
	struct area *a = &o->area;
	struct txn t;

	txn_begin(&t, a, (uint32_t)me);
	uint32_t v = area_value(a, REQ_STATE(a, who)), node = area_value(a, REQ_NODE(a, who)), head = M_RHEAD, at;
	uint32_t steps = 0;

	if ((uint32_t)atomic_load(&slots->who[who]) != tag || (STATE_WHAT(v) != REQ_WAIT && !node))
		return !txn_valid(&t);
	for (at = area_value(a, M_SHEAD); at && at < WHO_MAX && steps++ < WHO_MAX && area_unmoved(a, t.op);
	     at = area_value(a, REQ_NEXT(a, at)))
		if (at == who)
			head = M_SHEAD;
	if (STATE_WHAT(v) == REQ_WAIT) {
		drop_request(&t, head, who);
	} else {
		txn_set(&t, REQ_NODE(a, who), 0);
		msg_node_free(&t, node);
	}
	txn_commit(&t);
	return true;
}

void msg_queue_withdraw(struct ipc_ns *ns, int who, struct obj *o)
{
	if (STATE_WHAT(area_value(&o->area, REQ_STATE(&o->area, (uint32_t)who))) != REQ_WAIT)
		return;
	for (int tries = 0; tries < WHO_MAX; tries++)
		if (!settle_who(who, o, (uint32_t)who, ns->slots, ns->tag))
			return;
}

/* A node that its handlers filled, or began to fill. Its spares are the next owner's. */
static bool settle_orphan(int me, struct obj *o, uint32_t who, const struct slots *slots, uint32_t tag)
{
	struct area *a = &o->area;
	struct txn t;

	for (uint32_t class = 0; class < CLASSES; class++) {
		txn_begin(&t, a, (uint32_t)me);
		uint32_t n = area_value(a, orphan_cell(a, who, class));

		if (!n || (uint32_t)atomic_load(&slots->who[who]) != tag) {
			txn_valid(&t);
			continue;
		}
		if (!node_valid(a, n)) {
			txn_set(&t, orphan_cell(a, who, class), 0);
			txn_commit(&t);
			return true;
		}
		txn_set(&t, orphan_cell(a, who, class), area_value(a, node_next(n)));
		txn_set(&t, node_next(n), area_value(a, M_FREE + class));
		txn_set(&t, M_FREE + class, n);
		txn_commit(&t);
		return true;
	}
	return false;
}

void msg_queue_settle(struct ipc_ns *ns, int me, struct obj *o, uint32_t tag)
{
	uint32_t high = whos_high(ns);

	for (uint32_t w = 1; w < high; w++) {
		if ((uint32_t)atomic_load(&ns->slots->who[w]) != tag ||
		    file_fence(area_who(&o->area, w), WHO_SIZE))
			continue;
		for (uint32_t steps = 0; steps < ORPHANS_MOST; steps++) /* more of them go in circles: damage */
			if (!settle_who(me, o, w, ns->slots, tag) && !settle_orphan(me, o, w, ns->slots, tag))
				break;
	}
	set_flag(ns, me, o, M_MORE, false);
}
