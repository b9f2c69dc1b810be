/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the random walk has found, as small cases: when the kernel looks again at requests that wait, what is left of a
 * call that was refused, and the order of checks. Everything is compared with what the kernel does.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "tap.h"
#include "proc.h"
#include "objects.h"

static int change(int id, int num, int op)
{
	struct sembuf s = { .sem_num = num, .sem_op = op, .sem_flg = IPC_NOWAIT };

	return semop(id, &s, 1);
}

static int set_of(int n)
{
	return obj_keep(SEM, semget(IPC_PRIVATE, n, 0600));
}

/* An array that waits for zero is looked at again only when a semaphore that was changed is 0. */
static void test_zero_arrays(void)
{
	struct sembuf two[2] = { { 0, 0, 0 }, { 1, 0, 0 } };
	int id = set_of(3);
	pid_t pid;

	change(id, 1, 1);
	pid = sem_child(id, two, 2);
	ok(wait_until(semctl(id, 1, GETZCNT) == 1), "[0:0 1:0] waits for semaphore 1");
	change(id, 0, 1);
	is(semctl(id, 1, GETZCNT), 1, "and still does, when semaphore 0 is raised");
	is(semctl(id, 0, GETZCNT), 0, "not for semaphore 0, which it would meet first");
	change(id, 2, 1);
	change(id, 2, -1);
	is(semctl(id, 0, GETZCNT), 1, "but for that, after any semaphore has become 0");
	is(semctl(id, 1, GETZCNT), 0, "and no more for semaphore 1");
	change(id, 0, -1);
	change(id, 1, -1);
	is(proc_wait(pid), 0, "it goes on when both are 0");
}

static void test_nowait_arrays(void)
{
	struct sembuf two[2] = { { 0, 0, IPC_NOWAIT }, { 1, 0, 0 } };
	int id = set_of(3);
	pid_t pid;

	change(id, 1, 1);
	pid = sem_child(id, two, 2);
	ok(wait_until(semctl(id, 1, GETZCNT) == 1), "[0:0 IPC_NOWAIT 1:0] waits for semaphore 1");
	change(id, 0, 1);
	is(semctl(id, 1, GETZCNT), 1, "and sleeps on when semaphore 0 is raised");
	change(id, 2, 1);
	change(id, 2, -1);
	is(semctl(id, 1, GETZCNT), 0, "until any semaphore becomes 0");
	is(proc_wait(pid), EAGAIN, "then it fails");
}

/* Arrays that alter are looked at again after every change. */
static void test_alter_arrays(void)
{
	struct sembuf two[2] = { { 0, -1, 0 }, { 1, -1, 0 } };
	int id = set_of(2);
	pid_t pid = sem_child(id, two, 2);

	ok(wait_until(semctl(id, 0, GETNCNT) == 1), "[0:-1 1:-1] waits for semaphore 0");
	change(id, 0, 1);
	is(semctl(id, 0, GETNCNT), 0, "no more when that is raised");
	is(semctl(id, 1, GETNCNT), 1, "but for semaphore 1");
	change(id, 1, 1);
	is(proc_wait(pid), 0, "it goes on when both are there");
}

/* Single operations that wait for zero go before arrays, so the array's pid is the last. */
static void test_zero_order(void)
{
	struct sembuf two[2] = { { 0, 0, 0 }, { 1, 0, 0 } };
	int id = set_of(2);
	pid_t array, single;

	change(id, 0, 1);
	array = sem_child(id, two, 2);
	ok(wait_until(semctl(id, 0, GETZCNT) == 1), "an array waits for zero");
	single = sem_sleeper(id, 0, 0, 0);
	change(id, 0, -1);
	is(semctl(id, 0, GETPID), array, "it is served after a single operation that came later");
	is(proc_wait(array) + proc_wait(single), 0, "both end well");
}

static int refused(void *arg)
{
	int id = *(int *)arg;
	struct sembuf s = { .sem_num = 9, .sem_op = 1, .sem_flg = SEM_UNDO };

	return semop(id, &s, 1) == -1 ? errno : 0;
}

static void test_refused_undo(void)
{
	int id = set_of(1);
	struct semid_ds ds;

	semctl(id, 0, IPC_STAT, &ds);
	is(ds.sem_otime, 0, "a new set has no otime");
	is(proc_wait(proc_run(refused, &id)), EFBIG, "SEM_UNDO of a semaphore that is not there: EFBIG");
	semctl(id, 0, IPC_STAT, &ds);
	ok(ds.sem_otime > 0, "the end of that process sets otime all the same");
}

static void test_order(void)
{
	struct seminfo info;
	struct sembuf *s;

	semctl(0, 0, IPC_INFO, &info);
	s = calloc(info.semopm + 1, sizeof *s);
	call_fails(semop(-1, s, info.semopm + 1), E2BIG, "E2BIG before a negative id");
	call_fails(semop(-1, NULL, 1), EFAULT, "EFAULT before a negative id");
	call_fails(semop(-1, NULL, 0), EINVAL, "no operations before EFAULT");
	free(s);
}

static void test_addresses(void)
{
	int id = obj_keep(SHM, shmget(IPC_PRIVATE, 2 * PAGE, 0600));
	int small = obj_keep(SHM, shmget(IPC_PRIVATE, 100, 0600));
	char *top = (char *)-PAGE, *p;

	call_fails((long)shmat(id, top, SHM_REMAP), ENOMEM, "SHM_REMAP at the very top: ENOMEM");
	call_fails((long)shmat(id, top, 0), EINVAL, "without SHM_REMAP: EINVAL");
	call_fails((long)shmat(small, top, 0), ENOMEM, "unless its bytes, not its pages, end before the top: ENOMEM");
	p = shm_map(id, 0);
	munmap(p, 2 * PAGE - 1);
	is(shm_nattch(id), 0, "munmap of all but the last byte detaches");
	call_fails(shmdt(p), EINVAL, "and shmdt finds nothing there");
	p = shm_map(id, 0);
	shmctl(id, IPC_RMID, NULL);
	ok(shmat(id, p, SHM_REMAP) == p, "SHM_REMAP over the only attachment of a removed segment");
	is(shm_nattch(id), 1, "which stays");
	succeeds(shmdt(p), "and goes with shmdt");
}

/* A call that its address makes fail has counted nothing, not even for a moment. */
static void test_no_room(void)
{
	int id = obj_keep(SHM, shmget(IPC_PRIVATE, 2 * PAGE, 0600));
	char *there = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct shmid_ds ds;

	call_fails((long)shmat(id, there + PAGE, 0), EINVAL, "shmat where something is");
	call_fails((long)shmat(id, (char *)-PAGE, SHM_REMAP), ENOMEM, "shmat where nothing can be");
	succeeds(shmctl(id, IPC_STAT, &ds), "the segment's data");
	ok(!ds.shm_atime && !ds.shm_dtime && !ds.shm_lpid, "neither has left a time or a process");
	ok(shmat(id, there + PAGE, SHM_REMAP) == there + PAGE, "with SHM_REMAP it takes the place of what was there");
	is(there[0], 0, "and what is beside it stays");
	succeeds(shmdt(there + PAGE), "shmdt");
}

/* Freeing a removed segment at its last detach maps nothing where it was. */
static void test_detached(void)
{
	int mapped = 0;

	for (int i = 0; i < 200; i++) {
		int id = shmget(IPC_PRIVATE, (1 + i % 64) * PAGE, 0600);
		char *p = shmat(id, NULL, 0);

		if (id < 0 || p == (char *)-1 || shmctl(id, IPC_RMID, NULL) || shmdt(p))
			bail_out("a segment");
		mapped += !msync(p, PAGE, MS_ASYNC);
	}
	is(mapped, 0, "after shmdt of 200 removed segments nothing is at their addresses");
}

int capset(void *head, const void *data);

/* A capability that a thread gives up is missed by its next call. */
static int without_capability(void *arg)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	int id = *(int *)arg;

	if (change(id, 0, 1) || syscall(SYS_capget, &head, data))
		return 1;
	data[0].effective &= ~(1u << CAP_IPC_OWNER);
	if (capset(&head, data))
		return 2;
	return change(id, 0, 1) == -1 ? errno : 0;
}

static void test_capability(void)
{
	int id = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0));

	if (geteuid() != 0)
		skip("a capability given up", "needs root");
	else
		is(proc_wait(proc_run(without_capability, &id)), EACCES, "without CAP_IPC_OWNER a set of mode 0 is closed");
}

int main(void)
{
	alarm(60);
	test_zero_arrays();
	test_nowait_arrays();
	test_alter_arrays();
	test_zero_order();
	test_refused_undo();
	test_order();
	test_addresses();
	test_no_room();
	test_detached();
	test_capability();
	return done_testing();
}
