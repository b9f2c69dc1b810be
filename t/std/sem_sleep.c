/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping in semop: who is counted where, who is let go, in what order, and what can be seen the moment after the
 * change. A waker's change and the sleepers' operations are one: no test here waits for GETVAL, GETPID or the counts.
 */
#include "objects.h"

#define VMAX 32767

static void test_at_once(void)
{
	int id = sem_new(2), n;
	pid_t pid = sem_sleeper(id, 0, -1, 0), zero;

	is(sem_ncnt(id, 0), 1, "a sleeper counts in GETNCNT");
	is(sem_zcnt(id, 0), 0, "and not in GETZCNT");
	is(sem_ncnt(id, 1), 0, "nor on another semaphore");
	sem_do(id, 0, 1, 0);
	is(sem_value(id, 0), 0, "after a V with a sleeper the value is 0 at once");
	is(sem_pid(id, 0), pid, "GETPID names the sleeper at once");
	is(sem_ncnt(id, 0), 0, "GETNCNT is 0 at once");
	is(proc_wait(pid), 0, "and the sleeper returns 0");

	n = 0;
	for (int i = 0; i < 200; i++) {
		pid = sem_sleeper(id, 0, -1, 0);
		sem_do(id, 0, 1, 0);
		n += sem_value(id, 0) != 0 || sem_pid(id, 0) != pid || sem_ncnt(id, 0) != 0;
		n += proc_wait(pid) != 0;
	}
	is(n, 0, "so it is 200 times");

	sem_set(id, 0, 1);
	zero = sem_sleeper(id, 0, 0, 0);
	is(sem_zcnt(id, 0), 1, "who waits for zero counts in GETZCNT");
	is(sem_ncnt(id, 0), 0, "and not in GETNCNT");
	sem_do(id, 0, -1, 0);
	is(sem_zcnt(id, 0), 0, "after the P that makes it zero GETZCNT is 0 at once");
	is(sem_pid(id, 0), zero, "and GETPID names who waited for zero");
	is(proc_wait(zero), 0, "who returns 0");
}

static void test_fifo(void)
{
	int id = sem_new(1), bad = 0;
	pid_t pid[20];

	for (int i = 0; i < 20; i++)
		pid[i] = sem_sleeper(id, 0, -1, 0);
	is(sem_ncnt(id, 0), 20, "20 sleepers");
	for (int i = 0; i < 20; i++) {
		sem_do(id, 0, 1, 0);
		bad += sem_pid(id, 0) != pid[i] || sem_ncnt(id, 0) != 19 - i;
		bad += proc_wait(pid[i]) != 0;
	}
	is(bad, 0, "each unit goes to the one that has waited longest");
}

static void test_fitting(void)
{
	int id = sem_new(1);
	pid_t two = sem_sleeper(id, 0, -2, 0), one = sem_sleeper(id, 0, -1, 0), also = sem_sleeper(id, 0, -1, 0);

	sem_do(id, 0, 1, 0);
	is(sem_pid(id, 0), one, "a unit that is not enough for the oldest goes to the next");
	is(proc_wait(one), 0, "who returns");
	is(sem_ncnt(id, 0), 2, "the others sleep on");
	sem_do(id, 0, 3, 0);
	is(sem_value(id, 0), 0, "three units are enough for both");
	is(sem_ncnt(id, 0), 0, "who are let go together");
	is(proc_wait(two), 0, "the oldest returns");
	is(proc_wait(also), 0, "the youngest returns");

	two = sem_sleeper(id, 0, -2, 0);
	sem_do(id, 0, 1, 0);
	is(sem_value(id, 0), 1, "a unit that is enough for nobody stays");
	is(sem_do(id, 0, -1, IPC_NOWAIT), 0, "and whoever comes can take it");
	sem_do(id, 0, 5, 0);
	is(sem_value(id, 0), 3, "five units: two for the sleeper");
	is(proc_wait(two), 0, "who returns");
}

/* Who waits for zero sees it even if an older sleeper would change it. */
static void test_zero_first(void)
{
	int id = sem_new(2);
	struct sembuf lock[] = { { 0, 0, 0 }, { 0, 1, 0 } };
	pid_t locker, zero, third;

	sem_set(id, 0, 1);
	locker = sem_child(id, lock, 2);
	wait_until(sem_zcnt(id, 0) == 1);
	zero = sem_sleeper(id, 0, 0, 0);
	third = sem_sleeper(id, 0, 0, 0);
	is(sem_zcnt(id, 0), 3, "a lock and two that wait for zero");
	sem_do(id, 0, -1, 0);
	is(sem_value(id, 0), 1, "the lock is taken at once");
	is(sem_zcnt(id, 0), 0, "though younger, those that only wait for zero were let go before it");
	is(proc_wait(zero), 0, "the one returns");
	is(proc_wait(third), 0, "the other returns");
	is(proc_wait(locker), 0, "the lock returns");
	is(sem_pid(id, 0), locker, "and was the last");
}

/* A chain: each let-go sleeper makes the next one possible. */
static void test_cascade(void)
{
	enum { N = 12 };
	int id = sem_new(N + 1), bad = 0;
	pid_t pid[N];

	for (int i = N - 1; i >= 0; i--) {
		struct sembuf ops[] = { { i, -1, 0 }, { i + 1, 1, 0 } };
		pid[i] = sem_child(id, ops, 2);
		wait_until(sem_ncnt(id, i) == 1);
	}
	sem_do(id, 0, 1, 0);
	is(sem_value(id, N), 1, "one V runs through a chain of %d sleepers at once", N);
	for (int i = 0; i < N; i++)
		bad += sem_ncnt(id, i) != 0 || sem_value(id, i) != 0;
	is(bad, 0, "and nobody is left on the way");
	for (int i = 0; i < N; i++)
		bad += proc_wait(pid[i]) != 0;
	is(bad, 0, "all return 0");
}

static void test_thousand(void)
{
	enum { N = 300 };
	int id = sem_new(1), bad = 0;
	static pid_t pid[N];

	sem_set(id, 0, 1);
	for (int i = 0; i < N; i++)
		pid[i] = sem_child(id, &(struct sembuf){ 0, i % 2 ? -2 : 0, 0 }, 1);
	ok(wait_until(sem_ncnt(id, 0) == N / 2 && sem_zcnt(id, 0) == N / 2), "%d sleepers of two kinds", N);
	sem_set(id, 0, 0);
	is(sem_zcnt(id, 0), 0, "SETVAL 0 lets all go that wait for zero, at once");
	is(sem_ncnt(id, 0), N / 2, "and nobody else");
	sem_set(id, 0, N);
	is(sem_ncnt(id, 0), 0, "SETVAL %d lets all others go, at once", N);
	is(sem_value(id, 0), 0, "and each took its two units");
	for (int i = 0; i < N; i++)
		bad += proc_wait(pid[i]) != 0;
	is(bad, 0, "all return 0");
}

/* A complex operation counts on the semaphore that blocks it, and nowhere else. */
static void test_blocking_one(void)
{
	int id = sem_new(3);
	struct sembuf ops[] = { { 0, -1, 0 }, { 1, -1, 0 }, { 2, 0, 0 } };
	pid_t pid;

	sem_set(id, 0, 1);
	sem_set(id, 2, 1);
	pid = sem_child(id, ops, 3);
	ok(wait_until(sem_ncnt(id, 1) == 1), "a complex operation counts where it blocks");
	ok(sem_ncnt(id, 0) == 0 && sem_zcnt(id, 2) == 0, "and not on its other semaphores");
	is(sem_value(id, 0), 1, "it holds no unit while it sleeps");
	is(sem_do(id, 0, -1, IPC_NOWAIT), 0, "which another may take");
	ok(sem_ncnt(id, 0) == 1 && sem_ncnt(id, 1) == 0, "now it blocks on that one");
	sem_do(id, 1, 1, 0);
	ok(sem_ncnt(id, 0) == 1 && sem_value(id, 1) == 1, "a unit for the second is not enough");
	sem_do(id, 0, 1, 0);
	ok(sem_ncnt(id, 0) == 0 && sem_zcnt(id, 2) == 1, "nor one for the first: now it waits for the zero");
	ok(sem_value(id, 0) == 1 && sem_value(id, 1) == 1, "and both units are still there");
	sem_do(id, 2, -1, 0);
	ok(sem_value(id, 0) == 0 && sem_value(id, 1) == 0, "then all three happen in one");
	is(sem_pid(id, 2), pid, "by the sleeper");
	is(proc_wait(pid), 0, "who returns 0");
}

/* A sleeping operation that becomes impossible fails, with the errno of the step that it meets. */
static void test_fail_asleep(void)
{
	int id = sem_new(2);
	struct sembuf nowait[] = { { 0, -1, 0 }, { 1, -1, IPC_NOWAIT } };
	struct sembuf overflow[] = { { 0, -1, 0 }, { 1, 1, 0 } };
	pid_t pid = sem_child(id, nowait, 2);

	wait_until(sem_ncnt(id, 0) == 1);
	sem_do(id, 0, 1, 0);
	is(proc_wait(pid), EAGAIN, "a sleeper whose next step may not wait ends with EAGAIN");
	is(sem_value(id, 0), 1, "and its first step did not happen");

	sem_set(id, 0, 0);
	sem_set(id, 1, VMAX);
	pid = sem_child(id, overflow, 2);
	wait_until(sem_ncnt(id, 0) == 1);
	sem_do(id, 0, 1, 0);
	is(proc_wait(pid), ERANGE, "a sleeper whose next step overflows ends with ERANGE");
	ok(sem_value(id, 0) == 1 && sem_value(id, 1) == VMAX, "and nothing happened");
	is(sem_ncnt(id, 0), 0, "nobody is left");
}

/* Simple and complex sleepers on one semaphore are served by age. */
static void test_mixed(void)
{
	int id = sem_new(2), bad = 0;
	struct sembuf both[] = { { 0, -1, 0 }, { 1, 1, 0 } };
	pid_t pid[6];

	for (int i = 0; i < 6; i++) {
		pid[i] = i % 2 ? sem_child(id, both, 2) : sem_sleeper(id, 0, -1, 0);
		wait_until(sem_ncnt(id, 0) == i + 1);
	}
	for (int i = 0; i < 6; i++) {
		sem_do(id, 0, 1, 0);
		bad += sem_pid(id, 0) != pid[i] || sem_ncnt(id, 0) != 5 - i;
		bad += proc_wait(pid[i]) != 0;
	}
	is(bad, 0, "simple and complex sleepers are served by age");
	is(sem_value(id, 1), 3, "and the complex ones did all their steps");
}

/* Five philosophers: arrays of two from five semaphores, no deadlock, no fork held alone. */
static int philosopher(void *arg)
{
	int *a = arg, id = a[0], left = a[1], right = (left + 1) % 5;
	struct sembuf take[] = { { left, -1, SEM_UNDO }, { right, -1, SEM_UNDO } };
	struct sembuf give[] = { { left, 1, SEM_UNDO }, { right, 1, SEM_UNDO } };

	for (int i = 0; i < 2000; i++)
		if (semop(id, take, 2) || semop(id, give, 2))
			return 1;
	return 0;
}

static void test_philosophers(void)
{
	int id = sem_new(5), bad = 0;
	pid_t pid[5];

	for (int i = 0; i < 5; i++)
		sem_set(id, i, 1);
	for (int i = 0; i < 5; i++)
		pid[i] = proc_run(philosopher, (int[]){ id, i });
	for (int i = 0; i < 5; i++)
		bad += proc_wait(pid[i]) != 0;
	is(bad, 0, "five philosophers eat 2,000 times each");
	for (int i = 0; i < 5; i++)
		bad += sem_value(id, i) != 1 || sem_ncnt(id, i) != 0;
	is(bad, 0, "and leave five forks");
}

/* A sleeper killed or timed out leaves the list, and takes nothing later. */
static void test_leave(void)
{
	int id = sem_new(1);
	pid_t a = sem_sleeper(id, 0, -1, 0), b = sem_sleeper(id, 0, -1, 0);

	proc_kill(a);
	is(sem_ncnt(id, 0), 1, "a killed sleeper no longer counts");
	sem_do(id, 0, 1, 0);
	is(sem_pid(id, 0), b, "a unit goes to the one behind it");
	is(proc_wait(b), 0, "who returns 0");
	a = sem_sleeper(id, 0, -1, 0);
	proc_kill(a);
	sem_do(id, 0, 1, 0);
	is(sem_value(id, 0), 1, "a unit for a killed sleeper stays");
}

/* One unit handed round in a ring of processes. */
static int ring_run(void *arg)
{
	int *a = arg;

	for (int i = 0; i < 1500; i++)
		if (sem_do(a[0], a[1], -1, 0) || sem_do(a[0], (a[1] + 1) % 4, 1, 0))
			return 1;
	return 0;
}

static void test_ring(void)
{
	int id = sem_new(4), bad = 0;
	pid_t pid[4];

	for (int i = 0; i < 4; i++)
		pid[i] = proc_run(ring_run, (int[]){ id, i });
	sem_do(id, 0, 1, 0);
	for (int i = 0; i < 4; i++)
		bad += proc_wait(pid[i]) != 0;
	is(bad, 0, "a unit goes round four processes 1,500 times: no wake-up is lost");
	ok(sem_value(id, 0) == 1 && sem_value(id, 1) + sem_value(id, 2) + sem_value(id, 3) == 0, "and is back");
}

int main(void)
{
	alarm(60);
	test_at_once();
	test_fifo();
	test_fitting();
	test_zero_first();
	test_cascade();
	test_thousand();
	test_blocking_one();
	test_fail_asleep();
	test_mixed();
	test_philosophers();
	test_leave();
	test_ring();
	return done_testing();
}
