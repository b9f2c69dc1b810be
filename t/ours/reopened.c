/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A call waits in an object that goes, and its place in this process is given to a new object, by another thread or by
 * a signal handler, before the call has looked: its remover was killed before it closed the object, or it is the handler.
 */
#include <pthread.h>
#include <sys/sem.h>
#include <sys/msg.h>

#include "libipc.h"
#include "registry.h"
#include "slot.h"
#include "proc.h"
#include "tap.h"

static ipc_ns *ns;
static int id, result, error;
static bool queue;
static _Atomic pid_t sleeper;

static int make(void)
{
	return queue ? ipc_msgget(ns, IPC_PRIVATE, 0600) : ipc_semget(ns, IPC_PRIVATE, 1, 0600);
}

static void drop(int which)
{
	if (queue)
		ipc_msgctl(ns, which, IPC_RMID, NULL);
	else
		ipc_semctl(ns, which, 0, IPC_RMID);
}

static int look_at(int which)
{
	struct msqid_ds ds;

	return queue ? ipc_msgctl(ns, which, IPC_STAT, &ds) : ipc_semctl(ns, which, 0, SETVAL, 7);
}

/* The index comes round. */
static int make_in_its_place(void)
{
	int n = make();

	while (n >= 0 && ID_INDEX(n) != ID_INDEX(id)) {
		drop(n);
		n = make();
	}
	return n < 0 || look_at(n) ? -1 : n;
}

static void wait_there(void)
{
	struct { long type; char text[8]; } m;

	result = queue ? (int)ipc_msgrcv(ns, id, &m, 8, 0, 0) : ipc_semop(ns, id, &(struct sembuf){ 0, -1, 0 }, 1);
	error = errno;
}

static void *thread(void *arg)
{
	atomic_store(&sleeper, gettid());
	wait_there();
	return arg;
}

static void other_thread(void)
{
	pthread_t t;
	struct row r;
	int n;

	atomic_store(&sleeper, 0);
	id = make();
	pthread_create(&t, NULL, thread, NULL);
	ok(wait_until(atomic_load(&sleeper) && proc_state(getpid(), atomic_load(&sleeper)) == 'S'), "a thread sleeps");
	if (registry_read(ns, queue ? KIND_MSG : KIND_SEM, id, &r) || registry_remove(ns, ns_enter(ns), &r, false))
		bail_out("the row");
	n = make_in_its_place();
	ok(n >= 0, "the place is given away");
	pthread_join(t, NULL);
	ok(result == -1 && error == EIDRM, "the thread finds out: %d, errno %d", result, error);
	drop(n);
}

static void handler(int sig)
{
	(void)sig;
	drop(id);
	make_in_its_place();
}

static void a_handler(void)
{
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = handler }, NULL);
	id = make();
	look_at(id);
	if (!queue)
		ipc_semctl(ns, id, 0, SETVAL, 0);
	alarm(1);
	wait_there();
	ok(result == -1 && error == EINTR, "the interrupted call ends: %d, errno %d", result, error);
}

int main(void)
{
	ns = ipc_open(NULL, 0);
	if (!ns)
		bail_out(ipc_open_error());
	for (int q = 0; q < 2; q++) {
		queue = q;
		a_handler();
	}
	for (int q = 0; q < 2; q++) {
		queue = q;
		other_thread();
	}
	ipc_close(ns);
	return done_testing();
}
