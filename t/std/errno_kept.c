/* SPDX-License-Identifier: BSD-2-Clause */
/* A call that succeeds leaves errno alone: at once, asleep, the first of a process, and after somebody's death. */
#include <pthread.h>

#include "objects.h"

#define KEPT 77

static int set, queue, segment, bad;

/* The call succeeds, and errno is what it was before. */
#define keeps(call)                                                           \
	do {                                                                  \
		errno = KEPT;                                                 \
		if ((long)(call) == -1 || errno != KEPT) {                    \
			bad++;                                                \
			fprintf(stderr, "# %s: errno %d\n", #call, errno);    \
		}                                                             \
	} while (0)

static int made(int id)
{
	if (id < 0)
		bad++;
	return id;
}

static void every_call(void)
{
	struct sembuf up = { 0, 1, SEM_UNDO }, down = { 0, -1, SEM_UNDO }, two[2] = { { 0, 1, 0 }, { 0, -1, 0 } };
	struct { long type; char text[600]; } m = { 1, "" };
	union { struct shmid_ds shm; struct semid_ds sem; struct msqid_ds msg; } ds;
	struct shmid_ds *shm = &ds.shm;
	int s = 0, q = 0, h = 0;
	void *p = NULL;

	keeps(s = made(semget(IPC_PRIVATE, 1, 0600)));
	keeps(q = made(msgget(IPC_PRIVATE, 0600)));
	keeps(h = made(shmget(IPC_PRIVATE, PAGE, 0600)));
	keeps(semop(s, &up, 1));
	keeps(semop(s, two, 2));
	keeps(semop(s, &down, 1));
	keeps(semctl(s, 0, SETVAL, 0));
	keeps(semctl(s, 0, IPC_STAT, &ds));
	keeps(semctl(s, 0, IPC_SET, &ds));
	keeps(msgsnd(q, &m, sizeof m.text, 0));
	keeps(msgrcv(q, &m, sizeof m.text, 0, 0));
	keeps(msgctl(q, IPC_STAT, &ds.msg));
	keeps(msgctl(q, IPC_SET, &ds.msg));
	keeps((long)(p = shmat(h, NULL, 0)));
	keeps(shmdt(p));
	keeps(shmctl(h, IPC_STAT, shm));
	keeps(shmctl(h, IPC_SET, shm));
	keeps(shmctl(h, IPC_RMID, NULL));
	keeps(msgctl(q, IPC_RMID, NULL));
	keeps(semctl(s, 0, IPC_RMID));
}

static int every_call_run(void *arg)
{
	bad = 0;
	every_call();
	return arg || bad;
}

static int sem_run(void *arg)
{
	struct sembuf down = { 0, -1, 0 };

	bad = 0;
	keeps(semop(set, &down, 1));
	return arg || bad;
}

static int msg_run(void *arg)
{
	struct { long type; char text[8]; } m;

	bad = 0;
	keeps(msgrcv(queue, &m, sizeof m.text, 0, 0));
	return arg || bad;
}

static void test_asleep(void)
{
	pid_t pid = proc_run(sem_run, NULL);

	ok(proc_wait_asleep(pid), "semop sleeps");
	sem_do(set, 0, 1, 0);
	is(proc_wait(pid), 0, "a semop that slept");
	pid = proc_run(msg_run, NULL);
	ok(proc_wait_asleep(pid), "msgrcv sleeps");
	msg_put(queue, 1, 8, 'x', 0);
	is(proc_wait(pid), 0, "a msgrcv that slept");
}

static int dies_run(void *arg)
{
	shm_map(segment, 0);
	sem_do(set, 0, 3, SEM_UNDO);
	raise(SIGKILL);
	return arg != NULL;
}

static void test_death(void)
{
	struct shmid_ds ds;
	int other;

	proc_wait(proc_run(dies_run, NULL));
	bad = 0;
	keeps(semctl(set, 0, GETVAL));
	proc_wait(proc_run(dies_run, NULL));
	keeps(shmctl(segment, IPC_STAT, &ds));
	proc_wait(proc_run(dies_run, NULL));
	keeps(other = semget(IPC_PRIVATE, 1, 0600));
	is(bad, 0, "calls that settle what a dead process left");
	obj_remove(SEM, other);
}

static void *thread(void *arg)
{
	every_call();
	return arg;
}

int main(void)
{
	pthread_t t;

	every_call();
	is(bad, 0, "the first calls of a process");
	is(proc_wait(proc_run(every_call_run, NULL)), 0, "... of a forked process");
	bad = 0;
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	is(bad, 0, "... of a thread");
	set = sem_new(1);
	queue = msg_new();
	segment = shm_new(PAGE);
	test_asleep();
	test_death();
	obj_remove(SEM, set);
	obj_remove(MSG, queue);
	obj_remove(SHM, segment);
	return done_testing();
}
