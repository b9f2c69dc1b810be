/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nobody starves: a call that reads or changes much at once finishes while another process does nothing but short
 * operations on the same object, without a pause.
 */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "proc.h"
#include "tap.h"

#define SEMS 32000
#define DEPTH 8000

static int sem, queue;
static unsigned short values[SEMS];
static struct { long type; char text[1]; } msg;

static int hammer_set(void *arg)
{
	struct sembuf up = { 0, 1, 0 }, down = { 0, -1, 0 };

	(void)arg;
	for (;;)
		if (semop(sem, &up, 1) || semop(sem, &down, 1))
			return 1;
}

static int hammer_queue(void *arg)
{
	(void)arg;
	for (;;) {
		msg.type = 1;
		if (msgsnd(queue, &msg, 1, 0) || msgrcv(queue, &msg, 1, 1, 0) != 1)
			return 1;
	}
}

static void test_sets(void)
{
	struct sembuf ops[500];
	int bad = 0;
	pid_t pid;

	sem = semget(IPC_PRIVATE, SEMS, 0600);
	for (int i = 0; i < 500; i++)
		ops[i] = (struct sembuf){ (unsigned short)(i + 1), 1, 0 };
	pid = proc_run(hammer_set, NULL);
	ok(wait_until(semctl(sem, 0, GETPID) == pid), "a process hammers a set of %d", SEMS);
	for (int i = 0; i < 50; i++)
		bad += semctl(sem, 0, GETALL, values) != 0;
	is(bad, 0, "50 times GETALL");
	for (int i = 0; i < 500; i++)
		bad += semop(sem, ops, 500) != 0;
	is(bad, 0, "500 arrays of 500 operations");
	for (int i = 0; i < 50; i++)
		bad += semctl(sem, 0, SETALL, values) != 0;
	is(bad, 0, "50 times SETALL");
	proc_kill(pid);
	semctl(sem, 0, IPC_RMID);
}

static void test_queue(void)
{
	int bad = 0;
	pid_t pid;

	queue = msgget(IPC_PRIVATE, 0600);
	for (long i = 0; i < DEPTH; i++) {
		msg.type = 100 + i;
		bad += msgsnd(queue, &msg, 1, IPC_NOWAIT) != 0;
	}
	is(bad, 0, "a queue %d deep", DEPTH);
	pid = proc_run(hammer_queue, NULL);
	for (long i = DEPTH - 1; i >= DEPTH - 200; i--)
		bad += msgrcv(queue, &msg, 1, 100 + i, IPC_NOWAIT) != 1;
	is(bad, 0, "200 messages by type from its end, while a process sends and receives");
	proc_kill(pid);
	msgctl(queue, IPC_RMID, NULL);
}

int main(void)
{
	alarm(120);
	test_sets();
	test_queue();
	return done_testing();
}
