/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping in a control area. A thread that must wait joins one of the area's lists (an operation), then sleeps on
 * the value half of its own request's state; whoever makes its request possible performs it, and wakes it. While it
 * waits, a frame on its stack says so to the handlers of signals (handlers.c): before the program's handler runs,
 * the request is withdrawn, or its result taken, so that the handler may longjmp away.
 */
#ifndef IPC_WAIT_H
#define IPC_WAIT_H

#include <time.h>

#include "ns.h"

struct sembuf;

struct frame {
	struct ipc_ns *ns;
	enum kind kind;
	struct obj *obj;
	struct area area; /* obj's when the call began: another thread or a handler may open a new object in its place */
	uint32_t opened;  /* the same of obj->opened */
	uint32_t who;
	_Atomic uint32_t waiting; /* the state's value while the request waits */
	_Atomic bool settled;     /* result is final */
	int result;
	int taken;         /* bytes received, or -errno: the result where the request had no error */
	_Atomic bool copying; /* a frame of wait_settle is reading the message that was handed over */
	uint32_t left;     /* that message's node, if a handler has settled meanwhile: an orphan now */
	uint32_t head, tail; /* cells of the list that it is in */
	/* Take what the request was given (performed), or back what it held, in the operation that ends it. */
	void (*take)(struct frame *f, struct txn *t, bool performed);
	/* What to look for once a second: owners that died, wake-ups that were lost. */
	void (*look)(struct frame *f);
	/* A daemon's client: the request is with the daemon, which is told to end it. */
	void (*cancel)(struct frame *f);
	uint64_t serial;  /* of a daemon's client: its request (area.h) */
	uint32_t file;    /* and the object's file, when it joined */
	_Atomic bool followed; /* where the object lives now: the result is from there */
	uint32_t signals; /* ipc_signals when the call began */
	uint32_t ids;     /* creds_generation when it joined: when libc changes ids, it interrupts all threads */
	uint32_t spun;    /* looks of wait_spin */
	void *msg;       /* a sender's: the text */
	bool sends;
	uint64_t size;
	int64_t type;
	int flags;
	const struct sembuf *sops;
	uint32_t nsops;
};

extern __thread struct frame *ipc_frame __attribute__((tls_model("initial-exec")));

/* Handlers that ran in this thread: one that ran since a call began ends it with EINTR instead of a sleep. */
extern __thread uint32_t ipc_signals __attribute__((tls_model("initial-exec")));

/* Handlers that this thread is in, and those that it left by longjmp. */
extern __thread uint32_t ipc_handling __attribute__((tls_model("initial-exec")));

/* Milliseconds, as request.since has them. */
uint64_t wait_clock(void);

/* The request that this thread performs for a daemon's client; 0: none, it acts for itself. */
extern __thread uint64_t wait_serial __attribute__((tls_model("initial-exec")));

/* What it performs must not sleep: in place of that, EINTR. */
extern __thread bool wait_ended __attribute__((tls_model("initial-exec")));

/* Called before a thread sleeps; NULL if nobody wants to know. */
extern void (*wait_hook)(void);

static inline bool wait_pending(void)
{
	return ipc_frame;
}

/* Cells of a thread's request. */
static inline uint32_t req_cell(const struct area *a, uint32_t who, size_t offset)
{
	return cell_at(a->who_at + (uint64_t)who * WHO_SIZE + offsetof(struct who_block, req) + offset);
}
#define REQ_STATE(a, who) req_cell(a, who, offsetof(struct request, state))
#define REQ_NEXT(a, who) req_cell(a, who, offsetof(struct request, next))
#define REQ_PREV(a, who) req_cell(a, who, offsetof(struct request, prev))
#define REQ_NODE(a, who) req_cell(a, who, offsetof(struct request, node))

#define STATE(turn, error, what) ((uint32_t)((turn) & 0xffff) << 16 | (uint32_t)((error) & 0xfff) << 4 | (what))
#define STATE_TURN(v) ((v) >> 16)
#define STATE_ERROR(v) ((int)((v) >> 4 & 0xfff))
#define STATE_WHAT(v) ((v) & 15)

/* Entries that put who at the end of a list, or take it out of it. */
void list_append(struct txn *t, uint32_t head, uint32_t tail, uint32_t who);
void list_remove(struct txn *t, uint32_t head, uint32_t tail, uint32_t who);

/*
 * May who stand in a list behind `before`? Whoever does waits and says so. Anything else is damage, if the transaction
 * in which it was seen commits.
 */
static inline bool list_sound(const struct area *a, uint32_t who, uint32_t before)
{
	return who < WHO_MAX && STATE_WHAT(area_value(a, REQ_STATE(a, who))) == REQ_WAIT &&
	       area_value(a, REQ_PREV(a, who)) == before;
}
#define LIST_DAMAGED WHO_MAX /* in place of a member */

/*
 * Before a call joins a list in which nobody waits: what it waits for may come in the next moment, from another
 * processor, and then neither of the two needs the kernel. True: op has moved from x, look again. False: sleep.
 */
bool wait_spin(struct frame *f, uint64_t x);

/* Entries of a join; sets f->waiting. */
void wait_join(struct frame *f, struct txn *t);

/* A request that was joined before, by a daemon that is not there any more: does it wait, or was it performed? */
bool wait_resume(struct frame *f);

/* Sleep until settled, interrupted, or the deadline (CLOCK_MONOTONIC; NULL: none); the result. */
int wait_sleep(struct frame *f, const struct timespec *deadline);

/* Once a second: a request that waits and that nobody will find, since its list was damaged, ends with EIDRM. */
void wait_lost(struct frame *f, bool closed);

/* End the frame's wait: the result of the request if it was performed, else -reason. Async-signal-safe. */
void wait_settle(struct frame *f, int reason);

/* For signal handlers' wrappers: settle what this thread waits for. */
void wait_interrupt(void);

/* Does the request still wait? */
bool wait_waits(struct frame *f);

/* In request.sleeping: no thread sleeps, a daemon has parked the request and is to be rung. */
#define SLEEPS_PARKED 2u

/* Entries that give request `who` its result; then, after the commit, wake it. */
void wait_done(struct txn *t, uint32_t head, uint32_t tail, uint32_t who, int error);
void wait_wake(struct ipc_ns *ns, struct area *a, uint32_t who);

/* A queue's file is sparse; this is as far as its nodes can go. */
#define MSG_AREA_LENGTH (1ull << 30)
size_t area_length(enum kind kind, const struct area_head *h);

#endif
