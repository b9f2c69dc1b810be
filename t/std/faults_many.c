/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More than 1,000 processes in one namespace at once: all attached, all with undo pending, all asleep on one
 * semaphore, all with a message of their own; then most are killed, the rest released.
 */
#include "objects.h"

#define MANY 1100

static int shm, sem, queue;

/* Semaphore 0 counts who is here, 1 lets go, 2 says who went. */
static int one_of_many(void *arg)
{
	int me = *(int *)arg;
	char *p = shmat(shm, NULL, 0);

	if (p == (char *)-1 || sem_do(sem, 0, 1, SEM_UNDO))
		return 1;
	((int *)p)[me] = getpid();
	if (msg_put(queue, me + 1, 4, 'm', IPC_NOWAIT))
		return 2;
	if (sem_do(sem, 1, -1, 0) || sem_do(sem, 2, 1, 0))
		return 3;
	if (msg_take(queue, me + 1, IPC_NOWAIT) != me + 1)
		return 4;
	return shmdt(p) ? 5 : 0;
}

int main(void)
{
	static pid_t pid[MANY];
	int seen = 0, ends = 0, *map;

	alarm(60);
	shm = shm_new(MANY * sizeof(int));
	sem = sem_new(3);
	queue = msg_new();
	map = (int *)shm_map(shm, 0);
	for (int i = 0; i < MANY; i++) {
		pid[i] = proc_run(one_of_many, &i);
		if (pid[i] < 0)
			bail_out("fork");
	}
	ok(wait_until(sem_ncnt(sem, 1) == MANY), "%d processes in one namespace, all asleep on one semaphore", MANY);
	is(sem_value(sem, 0), MANY, "all with undo pending");
	is(shm_nattch(shm), 1 + 2 * MANY, "all attached, by inheritance and by shmat");
	is(msg_stat(queue).msg_qnum, MANY, "each with a message in the queue");
	for (int i = 0; i < MANY; i++)
		seen += map[i] == pid[i];
	is(seen, MANY, "each has written to the memory");

	for (int i = 0; i < MANY; i += 2)
		kill(pid[i], SIGKILL);
	for (int i = 0; i < MANY; i += 2)
		ends += proc_wait(pid[i]) == 1000 + SIGKILL;
	is(ends, MANY / 2, "every other one is killed");
	is(sem_value(sem, 0), MANY / 2, "their undo is done");
	is(sem_ncnt(sem, 1), MANY / 2, "they no longer wait");
	is(shm_nattch(shm), 1 + MANY, "nor are they attached");

	sem_do(sem, 1, MANY / 2, 0);
	is(sem_ncnt(sem, 1), 0, "one operation lets all others go, at once");
	is(sem_value(sem, 1), 0, "and none of the units is left");
	ends = 0;
	for (int i = 1; i < MANY; i += 2)
		ends += proc_wait(pid[i]) == 0;
	is(ends, MANY / 2, "all of them end well");
	is(sem_value(sem, 2), MANY / 2, "each went on once");
	is(sem_value(sem, 0), 0, "no undo is left");
	is(shm_nattch(shm), 1, "nor an attachment");
	is(msg_stat(queue).msg_qnum, MANY / 2, "the messages of the killed are left");
	shmdt(map);
	return done_testing();
}
