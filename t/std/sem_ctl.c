/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * semctl: SETVAL and SETALL and what they clear and wake, sem_otime and sem_ctime, IPC_SET, SEM_STAT, SEM_INFO.
 */
#include <limits.h>

#include "objects.h"

static int undo_run(void *arg)
{
	int id = *(int *)arg;

	if (sem_do(id, 0, 3, SEM_UNDO) || sem_do(id, 1, 3, SEM_UNDO) || sem_set(id, 0, 5))
		return 1;
	return 0;
}

static int undo_all_run(void *arg)
{
	unsigned short v[2] = { 6, 7 };
	int id = *(int *)arg;

	if (sem_do(id, 0, 3, SEM_UNDO) || sem_do(id, 1, 3, SEM_UNDO))
		return 1;
	if (semctl(id, 0, SETALL, (union semun){ .array = v }))
		return 2;
	return sem_do(id, 1, 2, SEM_UNDO);
}

struct hold {
	int id;
	atomic_int done, go;
};

static int hold_run(void *arg)
{
	struct hold *h = arg;

	if (sem_do(h->id, 0, 3, SEM_UNDO) || sem_do(h->id, 1, 4, SEM_UNDO))
		return 1;
	h->done = 1;
	return wait_until(h->go) ? 0 : 2;
}

static void test_clears_undo(void)
{
	struct hold *h = shared_new(sizeof *h);
	int id = sem_new(2);
	pid_t pid;

	is(proc_wait(proc_run(undo_run, &id)), 0, "undo on two semaphores, then SETVAL of one");
	is(sem_value(id, 0), 5, "SETVAL cleared its undo");
	is(sem_value(id, 1), 0, "and not the other's");

	is(proc_wait(proc_run(undo_all_run, &id)), 0, "undo on both, SETALL, undo on one");
	is(sem_value(id, 0), 6, "SETALL cleared the undo");
	is(sem_value(id, 1), 7, "what came after it was undone");

	h->id = id = sem_new(2);
	pid = proc_run(hold_run, h);
	wait_until(h->done);
	sem_set(id, 0, 1);
	h->go = 1;
	is(proc_wait(pid), 0, "a process with undo on two, while another does SETVAL of one");
	is(sem_value(id, 0), 1, "SETVAL clears every process's undo");
	is(sem_value(id, 1), 0, "on that semaphore alone");
	munmap(h, sizeof *h);
}

static void test_set_wakes(void)
{
	unsigned short v[3] = { 1, 0, 2 };
	int id = sem_new(3);
	pid_t a = sem_sleeper(id, 0, -1, 0), b;

	is(sem_stat(id).sem_otime, 0, "nothing happened yet");
	sem_set(id, 0, 3);
	is(sem_value(id, 0), 2, "SETVAL lets a sleeper go in the same moment");
	is(sem_pid(id, 0), a, "GETPID is the sleeper");
	ok(sem_stat(id).sem_otime > 0, "and sem_otime is set");
	is(proc_wait(a), 0, "who returns 0");

	sem_set(id, 0, 0);
	sem_set(id, 1, 1);
	a = sem_sleeper(id, 0, -1, 0);
	b = sem_sleeper(id, 1, 0, 0);
	is(semctl(id, 0, SETALL, (union semun){ .array = v }), 0, "SETALL returns 0");
	ok(!sem_value(id, 0) && !sem_ncnt(id, 0) && !sem_zcnt(id, 1), "SETALL lets sleepers of both kinds go");
	is(proc_wait(a), 0, "one returns 0");
	is(proc_wait(b), 0, "the other too");
}

static void test_values(void)
{
	unsigned short v[3] = { 1, 2, 32768 };
	int id = sem_new(3), me = getpid();

	succeeds(sem_set(id, 0, 32767), "SETVAL of the largest value");
	call_fails(sem_set(id, 0, 32768), ERANGE, "SETVAL 32768: ERANGE");
	call_fails(sem_set(id, 0, -1), ERANGE, "SETVAL -1: ERANGE");
	is(sem_value(id, 0), 32767, "which change nothing");
	call_fails(semctl(id, 0, SETALL, (union semun){ .array = v }), ERANGE, "SETALL with a value too large: ERANGE");
	ok(sem_value(id, 0) == 32767 && sem_value(id, 1) == 0, "changes none");
	call_fails(sem_set(id, 3, 1), EINVAL, "SETVAL past the last: EINVAL");
	call_fails(sem_set(id, -1, 1), EINVAL, "SETVAL of -1: EINVAL");
	call_fails(sem_value(id, 3), EINVAL, "GETVAL past the last: EINVAL");
	call_fails(sem_ncnt(id, -1), EINVAL, "GETNCNT of -1: EINVAL");
	call_fails(semctl(id, 0, GETALL, (union semun){ .array = NULL }), EFAULT, "GETALL to NULL: EFAULT");
	call_fails(semctl(id, 0, 99), EINVAL, "an unknown command: EINVAL");
	is(sem_pid(id, 1), 0, "a SETALL that failed set no GETPID");
	v[2] = 3;
	succeeds(semctl(id, 99, SETALL, (union semun){ .array = v }), "SETALL does not look at the number");
	ok(sem_value(id, 1) == 2 && sem_value(id, 2) == 3 && sem_pid(id, 2) == me, "and sets all");
}

static void test_times(void)
{
	time_t start = time(NULL);
	int id = obj_keep(SEM, semget(IPC_PRIVATE, 3, 0640));
	struct semid_ds ds = sem_stat(id), before = ds;

	is(ds.sem_nsems, 3, "sem_nsems");
	is(ds.sem_otime, 0, "sem_otime 0: no semop yet");
	ok(ds.sem_ctime >= start - 1 && ds.sem_ctime <= time(NULL), "sem_ctime now");
	is(ds.sem_perm.mode, 0640, "mode");
	ok(ds.sem_perm.uid == geteuid() && ds.sem_perm.cuid == geteuid(), "uid and cuid");
	sem_set(id, 0, 1);
	is(sem_stat(id).sem_otime, 0, "SETVAL that wakes nobody leaves sem_otime");
	sem_do(id, 0, -1, 0);
	ok(sem_stat(id).sem_otime >= start - 1, "semop sets it");

	ds.sem_perm.mode = 07777;
	ds.sem_nsems = 1;
	ds.sem_otime = 1;
	succeeds(semctl(id, 0, IPC_SET, (union semun){ .buf = &ds }), "IPC_SET");
	ds = sem_stat(id);
	is(ds.sem_perm.mode, 0777, "changes the nine bits of mode");
	is(ds.sem_nsems, 3, "and not the size");
	ok(ds.sem_otime > 1, "nor sem_otime");
	ok(ds.sem_ctime >= before.sem_ctime, "and sets sem_ctime");
	ds.sem_perm.uid = (uid_t)-1;
	call_fails(semctl(id, 0, IPC_SET, (union semun){ .buf = &ds }), EINVAL, "IPC_SET of uid -1: EINVAL");
}

/* sem_ctime can be told from the creation's once a second has passed. */
static void test_ctime_moves(void)
{
	int id = sem_new(2), id2 = sem_new(2), id3 = sem_new(2);
	unsigned short v[2] = { 1, 1 };
	time_t born = sem_stat(id3).sem_ctime;

	wait_until(time(NULL) >= born + 2);
	sem_do(id, 0, 1, 0);
	ok(sem_stat(id).sem_ctime <= born, "semop leaves sem_ctime");
	sem_set(id, 0, 1);
	ok(sem_stat(id).sem_ctime > born, "SETVAL sets sem_ctime");
	semctl(id2, 0, SETALL, (union semun){ .array = v });
	ok(sem_stat(id2).sem_ctime > born, "SETALL sets sem_ctime");
	semctl(id3, 0, GETALL, (union semun){ .array = v });
	ok(sem_stat(id3).sem_ctime <= born, "GETALL leaves it");
}

static int index_of(int id, int cmd)
{
	struct seminfo info;
	struct semid_ds ds;
	int max = semctl(0, 0, SEM_INFO, (union semun){ .info = &info });

	for (int i = 0; i <= max; i++)
		if (semctl(i, 0, cmd, (union semun){ .buf = &ds }) == id)
			return i;
	return -1;
}

static void test_info(void)
{
	struct seminfo a, b, lim;
	struct semid_ds ds;
	int id, i, max;

	semctl(0, 0, SEM_INFO, (union semun){ .info = &a });
	id = obj_keep(SEM, semget(IPC_PRIVATE, 17, 0604));
	max = semctl(0, 0, SEM_INFO, (union semun){ .info = &b });
	is(b.semusz, a.semusz + 1, "SEM_INFO counts a new set");
	is(b.semaem, a.semaem + 17, "and its semaphores");
	is(semctl(0, 0, IPC_INFO, (union semun){ .info = &lim }), max, "IPC_INFO returns the highest index");
	is(lim.semmsl, 32000, "semmsl is the default");
	is(lim.semmns, 1024000000, "semmns is the default");
	is(lim.semopm, 500, "semopm is the default");
	is(lim.semmni, 32000, "semmni is the default");
	is(lim.semvmx, 32767, "semvmx");
	is(lim.semaem, 32767, "semaem");
	is(lim.semmnu, lim.semmns, "semmnu");
	is(lim.semmap, lim.semmns, "semmap");
	is(lim.semume, lim.semopm, "semume");

	i = index_of(id, SEM_STAT);
	ok(i >= 0 && i <= max, "SEM_STAT returns the id at its index");
	semctl(i, 0, SEM_STAT, (union semun){ .buf = &ds });
	ok(ds.sem_nsems == 17 && ds.sem_perm.mode == 0604, "with the set's state");
	is(index_of(id, SEM_STAT_ANY), i, "SEM_STAT_ANY returns the same");
	call_fails(semctl(max + 1000, 0, SEM_STAT, (union semun){ .buf = &ds }), EINVAL, "an unused index: EINVAL");
	call_fails(semctl(-1, 0, SEM_STAT, (union semun){ .buf = &ds }), EINVAL, "index -1: EINVAL");
	obj_remove(SEM, id);
	call_fails(semctl(i, 0, SEM_STAT, (union semun){ .buf = &ds }), EINVAL, "a removed set's index: EINVAL");
	semctl(0, 0, SEM_INFO, (union semun){ .info = &b });
	ok(a.semusz == b.semusz && a.semaem == b.semaem, "SEM_INFO counts a removed set no more");
}

static void test_get(void)
{
	int id = obj_keep(SEM, semget(0x41a70300, 5, 0600 | IPC_CREAT));

	is(semget(0x41a70300, 5, 0), id, "semget of the same size finds it");
	is(semget(0x41a70300, 0, 0), id, "semget of size 0 finds it");
	is(semget(0x41a70300, 2, 0), id, "semget of a smaller size finds it");
	call_fails(semget(0x41a70300, 6, 0), EINVAL, "semget of a larger size: EINVAL");
	call_fails(semget(0x41a70300, -1, 0), EINVAL, "semget of size -1: EINVAL");
	call_fails(semget(IPC_PRIVATE, 0, 0600), EINVAL, "a new set of none: EINVAL");
	call_fails(semget(IPC_PRIVATE, 32001, 0600), EINVAL, "a new set larger than semmsl: EINVAL");
	obj_remove(SEM, id);
}

/* A set of the largest size is whole: each semaphore by itself and all at once. */
static void test_largest(void)
{
	static unsigned short v[32000];
	int id = sem_new(32000), bad = 0;

	for (int i = 0; i < 32000; i++)
		v[i] = i;
	succeeds(semctl(id, 0, SETALL, (union semun){ .array = v }), "SETALL of 32,000 semaphores");
	succeeds(sem_do(id, 31999, 5, 0), "semop on the last");
	memset(v, 0, sizeof v);
	succeeds(semctl(id, 0, GETALL, (union semun){ .array = v }), "GETALL of 32,000 semaphores");
	for (int i = 0; i < 32000; i++)
		bad += v[i] != i + (i == 31999) * 5;
	is(bad, 0, "each has its value");
	obj_remove(SEM, id);
}

int main(void)
{
	alarm(60);
	test_clears_undo();
	test_set_wakes();
	test_values();
	test_times();
	test_ctime_moves();
	test_info();
	test_get();
	test_largest();
	return done_testing();
}
