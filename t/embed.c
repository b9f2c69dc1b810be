/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libipc inside a program: a namespace of its own, used by its threads and by the children that it forks. No preloading,
 * no daemon, no root, and nothing of it in the machine's own System V IPC.
 *
 * Four threads send the numbers 1 to 1000 through a message queue; three children receive them and add their squares to
 * a sum in shared memory, which a semaphore guards. Then a child is killed while it holds that semaphore.
 *
 * This file is also the example of doc/embedding.md, word for word: change both. ok(), is() and bail_out() are the
 * assertions of tap.h; only the process that began prints.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libipc.h"
#include "tap.h"

#define THREADS 4
#define WORKERS 3
#define NUMBERS 1000
#define KEY 0x656d6265 /* of the queue; the other objects are private */
#define LIMIT 60 /* seconds, after which a process that hangs is killed */

struct message { long type; int number; };
#define SIZE sizeof(int) /* of what follows the type */

static ipc_ns *ns;
static int queue, segment, lock;

static int lock_by(int step)
{
	struct sembuf op = { .sem_num = 0, .sem_op = (short)step, .sem_flg = SEM_UNDO };

	return ipc_semop(ns, lock, &op, 1);
}

/* A child: it goes on with the namespace that its parent has opened, by the same handle and ids. */
static int work(void)
{
	long *sum = ipc_shmat(ns, segment, NULL, 0);
	struct message m;

	if (sum == (void *)-1)
		return 1;
	while (ipc_msgrcv(ns, queue, &m, SIZE, 0, 0) == (ssize_t)SIZE && m.number) {
		if (lock_by(-1))
			return 1;
		*sum += (long)m.number * m.number;
		if (lock_by(+1))
			return 1;
	}
	return 0;
}

/* A child that never gives the lock back. */
static int die_in_the_middle(void)
{
	if (lock_by(-1))
		return 1;
	raise(SIGKILL);
	return 1;
}

static pid_t start(int (*child)(void))
{
	pid_t pid = fork();

	if (pid < 0)
		bail_out("fork");
	if (pid == 0) {
		alarm(LIMIT);
		_exit(child());
	}
	return pid;
}

static int status_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static int send_number(int number)
{
	struct message m = { .type = 1, .number = number };

	return ipc_msgsnd(ns, queue, &m, SIZE, 0);
}

/* A thread: every THREADS-th number from its first one on. */
static void *send_numbers(void *first)
{
	for (int n = *(int *)first; n <= NUMBERS; n += THREADS)
		if (send_number(n))
			return first;
	return NULL;
}

static int threads_that_failed(void)
{
	pthread_t thread[THREADS];
	int first[THREADS], failed = 0;
	void *result;

	for (int i = 0; i < THREADS; i++) {
		first[i] = i + 1;
		if (pthread_create(&thread[i], NULL, send_numbers, &first[i]))
			bail_out("pthread_create");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		failed += result != NULL;
	}
	return failed;
}

static void make_objects(void)
{
	queue = ipc_msgget(ns, KEY, IPC_CREAT | IPC_EXCL | 0600);
	segment = ipc_shmget(ns, IPC_PRIVATE, sizeof(long), 0600);
	lock = ipc_semget(ns, IPC_PRIVATE, 1, 0600);
	if (queue < 0 || segment < 0 || lock < 0 || ipc_semctl(ns, lock, 0, SETVAL, 1))
		bail_out("cannot make the objects");
}

static void exchange(void)
{
	long *sum = ipc_shmat(ns, segment, NULL, 0);
	struct shmid_ds ds;
	pid_t worker[WORKERS];
	int failed = 0;

	for (int i = 0; i < WORKERS; i++)
		worker[i] = start(work);
	is(threads_that_failed(), 0, "threads send through the namespace");
	for (int i = 0; i < WORKERS; i++)
		send_number(0);
	for (int i = 0; i < WORKERS; i++)
		failed += status_of(worker[i]) != 0;
	is(failed, 0, "forked children receive from it");
	is(*sum, 333833500, "what they computed together is in shared memory");
	is(ipc_shmctl(ns, segment, IPC_STAT, &ds), 0, "the segment can be asked about");
	is(ds.shm_nattch, 1, "children that ended are no longer counted as attached");
	is(ipc_shmdt(ns, sum), 0, "the segment is detached");
}

static void take_back(void)
{
	int status = status_of(start(die_in_the_middle));

	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a child was killed while it held the semaphore");
	is(ipc_semctl(ns, lock, 0, GETVAL), 1, "SEM_UNDO gave the semaphore back");
}

int main(void)
{
	char directory[512];

	alarm(LIMIT);
	ns = ipc_open(NULL, 0); /* a directory would name a namespace that other programs of this user can open too */
	if (!ns)
		bail_out(ipc_open_error());
	snprintf(directory, sizeof directory, "%s", ipc_directory(ns));
	make_objects();
	exchange();
	take_back();
	is(msgget(KEY, 0), -1, "the plain calls, which are the machine's own, see nothing of it");
	ipc_close(ns);
	is(access(directory, F_OK), -1, "the namespace went with its last process, and all objects with it");
	return done_testing();
}
