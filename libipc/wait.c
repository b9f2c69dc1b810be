/* SPDX-License-Identifier: BSD-2-Clause */
/* Joining a list, sleeping, being woken or interrupted. See wait.h. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "route_call.h"
#include "slot.h"
#include "wait.h"

#define SPINS 200 /* 3 to 10 microseconds: a few round trips between processors, and less than a sleep costs */

__thread struct frame *ipc_frame;
__thread uint32_t ipc_signals;
__thread uint32_t ipc_handling;
void (*wait_hook)(void);
__thread uint64_t wait_serial;
__thread bool wait_ended;

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

/* The value half of a cell, as a futex word. */
static _Atomic uint32_t *state_word(struct area *a, uint32_t who)
{
	return (_Atomic uint32_t *)&area_who(a, who)->req.state + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

void list_append(struct txn *t, uint32_t head, uint32_t tail, uint32_t who)
{
	uint32_t last = area_value(t->area, tail);

	if (last >= WHO_MAX || last == who || (last && STATE_WHAT(area_value(t->area, REQ_STATE(t->area, last))) != REQ_WAIT))
		last = 0; /* damaged: a new list begins */
	txn_set(t, last ? REQ_NEXT(t->area, last) : head, who);
	txn_set(t, tail, who);
	txn_set(t, REQ_PREV(t->area, who), last);
	txn_set(t, REQ_NEXT(t->area, who), 0);
}

void list_remove(struct txn *t, uint32_t head, uint32_t tail, uint32_t who)
{
	uint32_t next = area_value(t->area, REQ_NEXT(t->area, who)) % WHO_MAX;
	uint32_t prev = area_value(t->area, REQ_PREV(t->area, who)) % WHO_MAX;

	txn_set(t, prev ? REQ_NEXT(t->area, prev) : head, next);
	txn_set(t, next ? REQ_PREV(t->area, next) : tail, prev);
}

/* Where there is one processor only, nothing comes while we look. */
static uint32_t spins(void)
{
	static _Atomic int32_t known = -1;
	int32_t n = atomic_load_explicit(&known, memory_order_relaxed);
	cpu_set_t set;

	if (n < 0) {
		n = sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) > 1 ? SPINS : 0;
		atomic_store_explicit(&known, n, memory_order_relaxed);
	}
	return (uint32_t)n;
}

bool wait_spin(struct frame *f, uint64_t x)
{
	uint32_t most = f->ns->park ? 0 : spins();

	while (f->spun < most) {
		f->spun++;
		if (atomic_load_explicit(&f->area.head->op, memory_order_acquire) != x)
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

void wait_join(struct frame *f, struct txn *t)
{
	uint32_t cell = REQ_STATE(t->area, f->who);
	uint64_t old = area_get(t->area, cell);

	f->ids = atomic_load(&creds_generation);
	f->serial = wait_serial;
	f->file = object_used;
	area_who(t->area, f->who)->req.serial = wait_serial;
	atomic_store(&f->waiting, STATE(STATE_TURN(VALUE(old)) + 1, 0, REQ_WAIT));
	txn_put(t, cell, old, atomic_load(&f->waiting));
	list_append(t, f->head, f->tail, f->who);
}

void wait_done(struct txn *t, uint32_t head, uint32_t tail, uint32_t who, int error)
{
	uint64_t old = area_get(t->area, REQ_STATE(t->area, who));

	txn_put(t, REQ_STATE(t->area, who), old, STATE(STATE_TURN(VALUE(old)), error, REQ_DONE));
	list_remove(t, head, tail, who);
}

void wait_wake(struct ipc_ns *ns, struct area *a, uint32_t who)
{
	uint32_t sleeping;

	atomic_thread_fence(memory_order_seq_cst);
	sleeping = atomic_load(&area_who(a, who)->req.sleeping);
	if (sleeping == SLEEPS_PARKED && ns->ring)
		ns->ring(ns, who);
	else if (sleeping)
		futex(state_word(a, who), FUTEX_WAKE, INT_MAX, NULL);
}

/*
 * A handler may interrupt this anywhere, settle the frame itself, and leave by longjmp or not. So the operation that ends
 * the request leaves its result in the state, until the thread's next request: whoever comes second finds it there. A
 * frame that has not joined yet is left alone: beginning here has made its commit fail, and it looks again.
 */
void wait_settle(struct frame *f, int reason)
{
	struct area *a = &f->area;
	struct txn t;

	while (!atomic_load(&f->settled)) {
		uint32_t waiting = atomic_load(&f->waiting), v;
		int error = reason;

		txn_begin(&t, a, f->who);
		v = area_value(a, REQ_STATE(a, f->who));
		if (atomic_load(&f->settled) || !waiting || STATE_TURN(v) != STATE_TURN(waiting)) {
			txn_valid(&t);
			return;
		}
		if (v == waiting) {
			list_remove(&t, f->head, f->tail, f->who);
			if (area_value(a, AREA_FLAGS) & AREA_CLOSED)
				error = EIDRM; /* perhaps it waits in a copy, which it does not leave so */
		} else {
			error = STATE_ERROR(v);
		}
		if (STATE_WHAT(v) != REQ_OVER && f->take)
			f->take(f, &t, v != waiting);
		txn_set(&t, REQ_STATE(a, f->who), STATE(STATE_TURN(v), error, REQ_OVER));
		if (txn_commit(&t)) {
			f->result = error ? -error : f->taken;
			atomic_store(&f->settled, true);
		}
	}
}

/*
 * A daemon's client whose request ended since the area was closed: the object may live elsewhere, and the request waits
 * there. It goes on there, or is ended: it does not stay behind.
 */
static void follow(struct frame *f, const struct timespec *deadline, bool ended)
{
	if (f->ns->wire && atomic_load(&f->settled) && f->result == -EIDRM && !atomic_load(&f->followed))
		wire_follow(f, deadline, ended);
}

void wait_interrupt(void)
{
	struct frame *f = ipc_frame;

	ipc_signals++;
	txn_interrupt();
	if (!f)
		return;
	if (f->cancel)
		f->cancel(f);
	else {
		wait_settle(f, EINTR);
		follow(f, NULL, true);
	}
	ipc_frame = NULL;
}

void wait_lost(struct frame *f, bool closed)
{
	struct area *a = &f->area;
	struct txn t;
	uint32_t prev;
	bool lost;

	txn_begin(&t, a, f->who);
	prev = area_value(a, REQ_PREV(a, f->who));
	lost = area_value(a, REQ_STATE(a, f->who)) == atomic_load(&f->waiting) &&
	       (closed || prev >= WHO_MAX || area_value(a, prev ? REQ_NEXT(a, prev) : f->head) != f->who);
	if (txn_valid(&t) && lost)
		wait_settle(f, EIDRM);
}

bool wait_waits(struct frame *f)
{
	return !atomic_load(&f->settled) && atomic_load(state_word(&f->area, f->who)) == atomic_load(&f->waiting);
}

/* What is left until the deadline, a second at most; false when it has passed. */
static bool nap_length(const struct timespec *deadline, struct timespec *nap)
{
	struct timespec now;

	*nap = (struct timespec){ .tv_sec = 1 };
	if (!deadline)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec > deadline->tv_sec || (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec))
		return false;
	now.tv_sec = deadline->tv_sec - now.tv_sec;
	now.tv_nsec = deadline->tv_nsec - now.tv_nsec;
	if (now.tv_nsec < 0) {
		now.tv_sec--;
		now.tv_nsec += 1000000000;
	}
	if (now.tv_sec < 1)
		*nap = now;
	return true;
}

static void cancelled(void *arg)
{
	struct frame *f = arg;

	wait_settle(f, ECANCELED);
	follow(f, NULL, true);
	ipc_frame = NULL;
}

/* One nap. msgsnd and msgrcv are cancellation points, as in libc: cancelled here, the request is withdrawn. */
static int nap(struct frame *f, const struct timespec *length)
{
	struct area *a = &f->area;
	uint32_t waiting = atomic_load(&f->waiting);
	_Atomic uint32_t *word = state_word(a, f->who);
	int type, error = 0;

	if (f->kind == KIND_SEM)
		return futex(word, FUTEX_WAIT, waiting, length) ? errno : 0;
	pthread_cleanup_push(cancelled, f);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	error = futex(word, FUTEX_WAIT, waiting, length) ? errno : 0;
	pthread_setcanceltype(type, NULL);
	pthread_cleanup_pop(0);
	return error;
}

uint64_t wait_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool wait_resume(struct frame *f)
{
	struct request *req = &area_who(&f->area, f->who)->req;
	uint32_t v = area_value(&f->area, REQ_STATE(&f->area, f->who));

	if (!wait_serial || req->serial != wait_serial || (STATE_WHAT(v) != REQ_WAIT && STATE_WHAT(v) != REQ_DONE))
		return false;
	f->serial = wait_serial;
	atomic_store(&f->waiting, STATE(STATE_TURN(v), 0, REQ_WAIT));
	return true;
}

/* For those who look at the object; nothing here depends on it. */
static void note_since(struct frame *f, struct request *req)
{
	uint64_t turn = STATE_TURN(atomic_load(&f->waiting));

	atomic_store_explicit(&req->since, wait_clock() << 16 | turn, memory_order_relaxed);
}

int wait_sleep(struct frame *f, const struct timespec *deadline)
{
	struct request *req = &area_who(&f->area, f->who)->req;
	struct timespec length;
	int reason = 0, saved = errno;

	if (f->ns->park && wait_ended) {
		ipc_frame = NULL;
		wait_settle(f, EINTR);
		return f->result;
	}
	if (f->ns->park) {
		note_since(f, req);
		return f->ns->park(f, deadline);
	}
	if (wait_waits(f)) {
		note_since(f, req);
		if (wait_hook)
			wait_hook();
	}
	atomic_store(&req->sleeping, 1);
	while (wait_waits(f) && !reason) {
		if (!nap_length(deadline, &length))
			reason = EAGAIN;
		else if (f->ids != atomic_load(&creds_generation)) /* its signal may have come before the nap */
			reason = EINTR;
		else
			switch (nap(f, &length)) {
			case EINTR: /* a handler that is not wrapped */
				reason = EINTR;
				break;
			case ETIMEDOUT:
				if (atomic_load(&f->obj->opened) != f->opened) /* its place has been given away */
					wait_settle(f, EIDRM);
				else if (f->look)
					f->look(f);
			}
	}
	atomic_store(&req->sleeping, 0);
	wait_settle(f, reason ? reason : EINTR);
	follow(f, deadline, reason == EINTR);
	ipc_frame = NULL;
	errno = saved;
	return f->result;
}
