/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * semop that need not sleep: arrays of operations happen wholly or not at all, one after the other, and each errno
 * leaves everything as it was. Here every operation has IPC_NOWAIT where it could block.
 */
#include "objects.h"

#define VMAX 32767

static unsigned short values[1024];

static void set_all(int id, int n, int value)
{
	for (int i = 0; i < n; i++)
		values[i] = value;
	if (semctl(id, 0, SETALL, (union semun){ .array = values }) < 0)
		bail_out("SETALL");
}

static long sum_all(int id, int n)
{
	long sum = 0;

	memset(values, 0xff, sizeof values);
	if (semctl(id, 0, GETALL, (union semun){ .array = values }) < 0)
		bail_out("GETALL");
	for (int i = 0; i < n; i++)
		sum += values[i];
	return sum;
}

#define OPS(...) ((struct sembuf[]){ __VA_ARGS__ })
#define TRY(id, ...) semop(id, OPS(__VA_ARGS__), sizeof OPS(__VA_ARGS__) / sizeof(struct sembuf))

static void test_one(int id)
{
	set_all(id, 4, 0);
	is(sem_do(id, 0, 1, 0), 0, "semop +1 returns 0");
	is(sem_value(id, 0), 1, "and adds");
	is(sem_do(id, 0, -1, 0), 0, "semop -1 returns 0");
	is(sem_value(id, 0), 0, "and subtracts");
	is(sem_do(id, 0, 0, 0), 0, "semop 0 of a zero semaphore returns 0");
	is(sem_do(id, 0, VMAX, 0), 0, "the largest value in one step");
	is(sem_value(id, 0), VMAX, "is 32767");
	call_fails(sem_do(id, 0, 1, 0), ERANGE, "one more: ERANGE");
	call_fails(sem_do(id, 0, VMAX, 0), ERANGE, "many more: ERANGE");
	is(sem_value(id, 0), VMAX, "ERANGE changes nothing");
	is(sem_do(id, 0, -VMAX, 0), 0, "and all the way down");
	call_fails(sem_do(id, 0, -1, IPC_NOWAIT), EAGAIN, "-1 of 0: EAGAIN");
	call_fails(sem_do(id, 0, -32768, IPC_NOWAIT), EAGAIN, "-32768: EAGAIN");
	sem_set(id, 0, VMAX);
	call_fails(sem_do(id, 0, -32768, IPC_NOWAIT), EAGAIN, "-32768 of the largest value: EAGAIN");
	call_fails(sem_do(id, 0, 0, IPC_NOWAIT), EAGAIN, "0 of what is not 0: EAGAIN");
	call_fails(sem_do(id, 4, 1, 0), EFBIG, "a semaphore past the last: EFBIG");
	call_fails(sem_do(id, 65535, 1, 0), EFBIG, "semaphore 65535: EFBIG");
	call_fails(semop(id, OPS({ 0, 1, 0 }), 0), EINVAL, "no operations: EINVAL");
	call_fails(semop(-1, OPS({ 0, 1, 0 }), 1), EINVAL, "id -1: EINVAL");
	call_fails(semop(id, (struct sembuf *)1, 1), EFAULT, "operations at a bad address: EFAULT");
}

static void test_failed(int id)
{
	int me = getpid(), bad = 0;

	sem_set(id, 1, 0);
	for (int i = 0; i < 1000; i++) {
		errno = 0;
		bad += sem_do(id, 1, -1, IPC_NOWAIT) != -1 || errno != EAGAIN;
		errno = 0;
		bad += sem_do(id, 9, -1, IPC_NOWAIT) != -1 || errno != EFBIG;
	}
	is(bad, 0, "a failing semop returns -1 and sets errno, never a positive number");
	is(sem_pid(id, 1), me, "GETPID is the last that changed it");
}

static void test_arrays(int id)
{
	set_all(id, 4, 1);
	is(TRY(id, { 0, -1, 0 }, { 1, -1, 0 }, { 2, 2, 0 }, { 3, -1, 0 }), 0, "an array of four");
	is(sum_all(id, 4), 3, "all four happened");
	ok(!values[0] && !values[1] && values[2] == 3 && !values[3], "each on its own semaphore");

	set_all(id, 4, 1);
	call_fails(TRY(id, { 0, -1, 0 }, { 1, -1, 0 }, { 2, -2, IPC_NOWAIT }, { 3, -1, 0 }), EAGAIN,
		   "one that would block, with IPC_NOWAIT: EAGAIN");
	is(sum_all(id, 4), 4, "and nothing happened");
	call_fails(TRY(id, { 0, -1, 0 }, { 1, VMAX, 0 }), ERANGE, "one that overflows: ERANGE");
	is(sum_all(id, 4), 4, "and nothing happened");
	call_fails(TRY(id, { 0, -1, 0 }, { 4, 1, 0 }), EFBIG, "one that is out of range: EFBIG");
	is(sum_all(id, 4), 4, "and nothing happened");
	call_fails(TRY(id, { 0, -2, IPC_NOWAIT }, { 1, VMAX, 0 }), EAGAIN, "blocked before an overflow: EAGAIN");
	call_fails(TRY(id, { 1, VMAX, 0 }, { 0, -2, IPC_NOWAIT }), ERANGE, "overflow before a block: ERANGE");
	call_fails(TRY(id, { 1, VMAX, 0 }, { 4, 1, 0 }), EFBIG, "EFBIG comes before all else");
}

static void test_same(int id)
{
	set_all(id, 4, 0);
	is(TRY(id, { 0, 1, 0 }, { 0, -1, 0 }), 0, "+1 and -1 of one semaphore: done in order");
	is(sem_value(id, 0), 0, "which leaves it at 0");
	call_fails(TRY(id, { 0, -1, IPC_NOWAIT }, { 0, 1, 0 }), EAGAIN, "-1 and +1: blocks on the first");
	is(TRY(id, { 0, 0, IPC_NOWAIT }, { 0, 1, 0 }), 0, "0 and +1: the classic lock");
	is(sem_value(id, 0), 1, "is taken");
	call_fails(TRY(id, { 0, 0, IPC_NOWAIT }, { 0, 1, 0 }), EAGAIN, "and cannot be taken twice");
	is(TRY(id, { 0, -1, 0 }, { 0, 0, IPC_NOWAIT }), 0, "-1 and 0: waits for what it has made itself");
	is(TRY(id, { 0, 5, 0 }, { 0, -2, 0 }, { 1, 1, 0 }, { 0, -2, 0 }, { 1, 1, 0 }), 0, "five on two semaphores");
	ok(sem_value(id, 0) == 1 && sem_value(id, 1) == 2, "add up");
	sem_set(id, 0, VMAX);
	call_fails(TRY(id, { 0, 1, 0 }, { 0, -1, 0 }), ERANGE, "an overflow halfway: ERANGE");
	is(TRY(id, { 0, -1, 0 }, { 0, 1, 0 }), 0, "none halfway: done");
	is(sem_value(id, 0), VMAX, "and the value is as before");
	sem_set(id, 0, 3);
	call_fails(TRY(id, { 0, -1, 0 }, { 0, -1, 0 }, { 0, -1, 0 }, { 0, -1, IPC_NOWAIT }), EAGAIN,
		   "the fourth of four blocks: EAGAIN");
	is(sem_value(id, 0), 3, "and the first three did not happen");
}

static void test_500(void)
{
	static struct sembuf ops[501];
	int id = sem_new(1000), me = getpid(), bad = 0;

	set_all(id, 1000, 1);
	for (int i = 0; i < 500; i++)
		ops[i] = (struct sembuf){ 2 * i, -1, 0 };
	is(semop(id, ops, 500), 0, "an array of 500 operations on 500 semaphores");
	is(sum_all(id, 1000), 500, "all happened");
	for (int i = 0; i < 1000; i++)
		bad += values[i] != i % 2;
	is(bad, 0, "each on its own semaphore");
	for (int i = 0; i < 1000; i += 2)
		bad += sem_pid(id, i) != me;
	is(bad, 0, "and GETPID is set on each");

	for (int i = 0; i < 500; i++)
		ops[i] = (struct sembuf){ 2 * i + 1, -1, IPC_NOWAIT };
	ops[499].sem_op = -2;
	call_fails(semop(id, ops, 500), EAGAIN, "500 operations, of which the last would block: EAGAIN");
	is(sum_all(id, 1000), 500, "and none happened");
	call_fails(semop(id, ops, 501), E2BIG, "501 operations: E2BIG");

	set_all(id, 1000, 0);
	for (int i = 0; i < 500; i++)
		ops[i] = (struct sembuf){ 7, i % 2 ? -1 : 2, 0 };
	is(semop(id, ops, 500), 0, "500 operations on one semaphore");
	is(sem_value(id, 7), 250, "in order");
	obj_remove(SEM, id);
}

static int pids_run(void *arg)
{
	int id = *(int *)arg;

	return TRY(id, { 0, 1, 0 }, { 1, 0, IPC_NOWAIT }, { 2, -1, IPC_NOWAIT });
}

static void test_pids(void)
{
	int id = sem_new(4), me = getpid();
	time_t start = time(NULL);
	pid_t pid;

	is(sem_pid(id, 0), 0, "GETPID of a new semaphore is 0");
	is(sem_stat(id).sem_otime, 0, "sem_otime of a new set is 0");
	call_fails(sem_do(id, 0, -1, IPC_NOWAIT), EAGAIN, "a failing semop");
	is(sem_pid(id, 0), 0, "does not set GETPID");
	is(sem_stat(id).sem_otime, 0, "nor sem_otime");
	sem_do(id, 0, 0, 0);
	is(sem_pid(id, 0), me, "waiting for zero sets GETPID");
	ok(sem_stat(id).sem_otime >= start - 1, "and sem_otime");
	sem_set(id, 2, 1);
	is(sem_pid(id, 2), me, "SETVAL sets GETPID");
	pid = proc_run(pids_run, &id);
	is(proc_wait(pid), 0, "another process changes three of four");
	ok(sem_pid(id, 0) == pid && sem_pid(id, 1) == pid && sem_pid(id, 2) == pid, "GETPID names it on the three");
	is(sem_pid(id, 3), 0, "and not on the fourth");
	set_all(id, 4, 2);
	ok(sem_pid(id, 0) == me && sem_pid(id, 3) == me, "SETALL sets GETPID on all");
}

static void test_adjust_range(int id)
{
	set_all(id, 4, 0);
	is(sem_do(id, 0, VMAX, SEM_UNDO), 0, "an undo of -32767");
	is(sem_do(id, 0, -VMAX, 0), 0, "whose unit another step takes");
	is(sem_do(id, 0, 1, SEM_UNDO), 0, "an undo of -32768");
	call_fails(sem_do(id, 0, 1, SEM_UNDO), ERANGE, "an undo past that: ERANGE");
	is(sem_value(id, 0), 1, "and the value did not change");
	is(sem_do(id, 0, 1, 0), 0, "without SEM_UNDO it works");
	set_all(id, 4, VMAX);
	is(sem_do(id, 1, -VMAX, SEM_UNDO), 0, "an undo of +32767");
	sem_do(id, 1, 1, 0);
	call_fails(sem_do(id, 1, -1, SEM_UNDO), ERANGE, "an undo past that: ERANGE");
	set_all(id, 4, 0);
}

static int hammer_run(void *arg)
{
	int id = *(int *)arg;

	for (int i = 0; i < 3000; i++) {
		if (TRY(id, { 0, -1, 0 }, { 1, 1, 0 }, { 2, 2, 0 }))
			return 1;
		if (TRY(id, { 1, -1, 0 }, { 2, -2, 0 }, { 0, 1, 0 }))
			return 2;
	}
	return 0;
}

static void test_atomic(void)
{
	int id = sem_new(3), torn = 0, left = 4, status[4];
	pid_t pid[4];

	values[0] = 2;
	values[1] = values[2] = 0;
	semctl(id, 0, SETALL, (union semun){ .array = values });
	for (int i = 0; i < 4; i++)
		pid[i] = proc_run(hammer_run, &id);
	while (left) {
		sum_all(id, 3);
		torn += values[0] + values[1] != 2 || values[2] != 2 * values[1];
		for (int i = 0; i < 4; i++)
			if (pid[i] && waitpid(pid[i], &status[i], WNOHANG) == pid[i]) {
				pid[i] = 0;
				left--;
				torn += status[i] != 0;
			}
	}
	is(torn, 0, "GETALL never sees an array half done, while four processes hammer");
	sum_all(id, 3);
	ok(values[0] == 2 && !values[1] && !values[2], "and nothing is lost");
}

int main(void)
{
	int id = sem_new(4);

	alarm(60);
	test_one(id);
	test_failed(id);
	test_arrays(id);
	test_same(id);
	test_500();
	test_pids();
	test_adjust_range(id);
	test_atomic();
	return done_testing();
}
