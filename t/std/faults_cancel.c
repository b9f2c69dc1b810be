/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pthread_cancel: msgrcv and msgsnd are cancellation points, awake and asleep, and leave no trace of the thread;
 * semop is none. Each case is a child, so that a thread that cannot be cancelled harms no other case.
 */
#include <pthread.h>

#include "objects.h"

static int queue, full, sem;
static atomic_int tid, cleaned, returned;

static void cleanup(void *arg)
{
	(void)arg;
	cleaned++;
}

static void *receive(void *arg)
{
	struct text m;

	tid = gettid();
	pthread_cleanup_push(cleanup, NULL);
	if (arg)
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	returned += msgrcv(queue, &m, sizeof m.data, 0, 0) >= 0 ? 1 : 100;
	if (arg)
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	pthread_testcancel();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *send(void *arg)
{
	tid = gettid();
	pthread_cleanup_push(cleanup, NULL);
	returned += msg_put(full, 1, 1, 's', 0) == 0 ? 1 : 100;
	pthread_cleanup_pop(0);
	return arg;
}

static void *operate(void *arg)
{
	tid = gettid();
	pthread_cleanup_push(cleanup, NULL);
	returned += sem_do(sem, 0, -1, SEM_UNDO) == 0 ? 1 : 100;
	pthread_testcancel();
	pthread_cleanup_pop(0);
	return arg;
}

/* Waits for a cancel before it makes its call. */
static void *late(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	tid = gettid();
	wait_until(*(atomic_int *)arg);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	return receive(NULL);
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg))
		_exit(70);
	if (!wait_until(tid && proc_settled(getpid(), tid)))
		_exit(71);
	return t;
}

static bool join_cancelled(pthread_t t)
{
	void *r;

	return pthread_join(t, &r) == 0 && r == PTHREAD_CANCELED;
}

static int cancel_msgrcv(void *arg)
{
	pthread_t t = start(receive, NULL);

	(void)arg;
	pthread_cancel(t);
	if (!join_cancelled(t) || cleaned != 1 || returned)
		return 1;
	if (msg_put(queue, 3, 4, 'm', IPC_NOWAIT) || msg_stat(queue).msg_qnum != 1)
		return 2;
	return msg_take(queue, 0, IPC_NOWAIT) == 3 ? 0 : 3;
}

/* Many, one after the other, and the queue serves others meanwhile. */
static int cancel_many(void *arg)
{
	for (int i = 0; i < 100; i++) {
		pthread_t t;
		tid = cleaned = returned = 0;
		t = start(receive, NULL);
		pthread_cancel(t);
		if (!join_cancelled(t) || cleaned != 1 || returned)
			return 1;
		if (msg_put(queue, i + 1, 4, 'm', IPC_NOWAIT) || msg_take(queue, 0, IPC_NOWAIT) != i + 1)
			return 2;
	}
	return arg ? 3 : 0;
}

static int cancel_msgsnd(void *arg)
{
	pthread_t t = start(send, NULL);

	(void)arg;
	pthread_cancel(t);
	if (!join_cancelled(t) || cleaned != 1 || returned)
		return 1;
	msg_limit(full, 100);
	return msg_stat(full).msg_qnum == 0 ? 0 : 2;
}

static int cancel_disabled(void *arg)
{
	pthread_t t = start(receive, &tid);

	(void)arg;
	pthread_cancel(t);
	if (!proc_settled(getpid(), tid) || returned)
		return 1;
	msg_put(queue, 1, 4, 'm', 0);
	return join_cancelled(t) && returned == 1 && cleaned == 1 ? 0 : 2;
}

static int cancel_before(void *arg)
{
	static atomic_int go;
	pthread_t t = start(late, &go);

	(void)arg;
	msg_put(queue, 1, 4, 'm', 0);
	pthread_cancel(t);
	go = 1;
	if (!join_cancelled(t) || cleaned != 1 || returned)
		return 1;
	return msg_take(queue, 0, IPC_NOWAIT) == 1 ? 0 : 2;
}

static int cancel_semop(void *arg)
{
	pthread_t t = start(operate, NULL);

	(void)arg;
	if (!wait_until(sem_ncnt(sem, 0) == 1))
		return 1;
	pthread_cancel(t);
	for (int i = 0; i < 20; i++) {
		proc_nap();
		if (sem_ncnt(sem, 0) != 1 || returned)
			return 2;
	}
	sem_do(sem, 0, 1, 0);
	return join_cancelled(t) && returned == 1 && cleaned == 1 && sem_value(sem, 0) == 0 ? 0 : 3;
}

/* The process goes on and ends well after a cancelled sleep; another process uses the queue. */
static int cancel_exit(void *arg)
{
	pthread_t t = start(receive, NULL);

	(void)arg;
	pthread_cancel(t);
	pthread_join(t, NULL);
	t = start(receive, NULL);
	exit(0);
}

int main(void)
{
	alarm(60);
	queue = msg_new();
	full = msg_new();
	sem = sem_new(1);
	msg_limit(full, 0);
	is(proc_wait(proc_run(cancel_msgrcv, NULL)), 0, "pthread_cancel in msgrcv ends the thread; a message stays");
	is(proc_wait(proc_run(cancel_many, NULL)), 0, "a hundred times");
	is(proc_wait(proc_run(cancel_msgsnd, NULL)), 0, "pthread_cancel in msgsnd ends the thread; nothing was sent");
	msg_limit(full, 0);
	is(proc_wait(proc_run(cancel_disabled, NULL)), 0, "with cancellation disabled msgrcv goes on");
	is(proc_wait(proc_run(cancel_before, NULL)), 0, "cancelled before msgrcv: it takes no message");
	is(proc_wait(proc_run(cancel_semop, NULL)), 0, "semop is no cancellation point");
	is(sem_value(sem, 0), 1, "its undo works after the cancel");
	is(proc_wait(proc_run(cancel_exit, NULL)), 0, "a process exits with a thread in msgrcv");
	succeeds(msg_put(queue, 1, 1, 'x', IPC_NOWAIT), "nobody is left to take a message");
	is(msg_take(queue, 0, IPC_NOWAIT), 1, "which is there");
	return done_testing();
}
