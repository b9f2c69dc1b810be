/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What shmctl tells and changes: times, pids, counts, IPC_SET, SHM_LOCK, SHM_STAT, SHM_INFO. Times have a second's
 * resolution: a change is told by a time that IPC_SET cannot touch being 0 before, and by order.
 */
#include <limits.h>

#include "objects.h"

static int attach_twice(void *arg)
{
	int id = *(int *)arg;
	char *p = shm_map(id, 0);
	bool first = shm_stat(id).shm_lpid == getpid();

	shmdt(p);
	return first && shm_stat(id).shm_lpid == getpid() ? 0 : 1;
}

static int attach_hold(void *arg)
{
	shm_map(*(int *)arg, 0);
	return 0;
}

static void test_times(void)
{
	time_t start = time(NULL);
	int id = obj_keep(SHM, shmget(IPC_PRIVATE, 5000, 0640));
	struct shmid_ds ds = shm_stat(id);
	char *p;
	pid_t pid;

	is(ds.shm_segsz, 5000, "shm_segsz is the size asked for, not rounded");
	is(ds.shm_nattch, 0, "a new segment: nattch 0");
	is(ds.shm_atime, 0, "a new segment: atime 0");
	is(ds.shm_dtime, 0, "a new segment: dtime 0");
	ok(ds.shm_ctime >= start - 1 && ds.shm_ctime <= time(NULL), "a new segment: ctime now");
	is(ds.shm_cpid, getpid(), "cpid is the creator");
	is(ds.shm_lpid, 0, "lpid 0: nobody attached yet");
	is(ds.shm_perm.mode, 0640, "the mode is the creator's");
	is(ds.shm_perm.uid, geteuid(), "uid");
	is(ds.shm_perm.cuid, geteuid(), "cuid");
	is(ds.shm_perm.gid, getegid(), "gid");
	is(ds.shm_perm.cgid, getegid(), "cgid");

	p = shm_map(id, 0);
	ds = shm_stat(id);
	ok(ds.shm_atime >= start - 1, "shmat sets atime");
	is(ds.shm_dtime, 0, "and not dtime");
	is(ds.shm_lpid, getpid(), "and lpid");
	shmdt(p);
	ok(shm_stat(id).shm_dtime >= start - 1, "shmdt sets dtime");

	pid = proc_run(attach_twice, &id);
	is(proc_wait(pid), 0, "lpid is the last that attached or detached");
	is(shm_stat(id).shm_lpid, pid, "also when it has ended");
	is(shm_stat(id).shm_cpid, getpid(), "cpid stays");
	pid = proc_run(attach_hold, &id);
	proc_wait(pid);
	is(shm_stat(id).shm_lpid, pid, "a process that ends attached has the lpid");
	is(shm_nattch(id), 0, "and no longer counts");
}

/* A child that inherits an attachment and ends with it: its exit is a detach. */
static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void test_inherited(void)
{
	int id = shm_new(PAGE);
	char *p = shm_map(id, 0);
	pid_t pid = proc_run(nothing, NULL);

	proc_wait(pid);
	is(shm_stat(id).shm_lpid, pid, "lpid is a child that ended with what it had inherited");
	ok(shm_stat(id).shm_dtime > 0, "and dtime is set");
	shmdt(p);
}

static void test_set(void)
{
	int id = obj_keep(SHM, shmget(IPC_PRIVATE, PAGE, 0600));
	struct shmid_ds ds = shm_stat(id), before = ds;

	ds.shm_perm.mode = 07777;
	ds.shm_segsz = 1;
	ds.shm_cpid = 1;
	ds.shm_perm.cuid = 4242;
	ds.shm_perm.__key = 4242;
	succeeds(shmctl(id, IPC_SET, &ds), "IPC_SET");
	ds = shm_stat(id);
	is(ds.shm_perm.mode, 0777, "IPC_SET changes the nine bits of mode");
	is(ds.shm_segsz, before.shm_segsz, "and not the size");
	is(ds.shm_cpid, before.shm_cpid, "nor cpid");
	is(ds.shm_perm.cuid, before.shm_perm.cuid, "nor the creator");
	is(ds.shm_perm.__key, before.shm_perm.__key, "nor the key");
	ok(ds.shm_ctime >= before.shm_ctime, "and sets ctime");
	ds.shm_perm.uid = (uid_t)-1;
	call_fails(shmctl(id, IPC_SET, &ds), EINVAL, "IPC_SET of uid -1: EINVAL");
	ds = before;
	ds.shm_perm.gid = (gid_t)-1;
	call_fails(shmctl(id, IPC_SET, &ds), EINVAL, "IPC_SET of gid -1: EINVAL");
	call_fails(shmctl(id, 99, &ds), EINVAL, "an unknown command: EINVAL");
}

static void test_lock(void)
{
	int id = shm_new(PAGE);

	succeeds(shmctl(id, SHM_LOCK, NULL), "SHM_LOCK");
	is(shm_stat(id).shm_perm.mode, 0600 | SHM_LOCKED, "shows SHM_LOCKED");
	succeeds(shmctl(id, SHM_LOCK, NULL), "SHM_LOCK twice");
	succeeds(shmctl(id, SHM_UNLOCK, NULL), "SHM_UNLOCK");
	is(shm_stat(id).shm_perm.mode, 0600, "shows it no more");
	obj_remove(SHM, id);
	call_fails(shmctl(id, SHM_LOCK, NULL), EINVAL, "SHM_LOCK of a removed segment: EINVAL");
}

/* The index at which SHM_STAT finds id, or -1. */
static int index_of(int id, int cmd)
{
	struct shm_info info;
	struct shmid_ds ds;
	int max = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);

	for (int i = 0; i <= max; i++)
		if (shmctl(i, cmd, &ds) == id)
			return i;
	return -1;
}

static void test_info(void)
{
	struct shm_info a, b;
	struct shminfo lim;
	struct shmid_ds ds;
	int id, i, max = shmctl(0, SHM_INFO, (struct shmid_ds *)&a);

	ok(max >= 0, "SHM_INFO returns the highest index");
	id = obj_keep(SHM, shmget(IPC_PRIVATE, 5000, 0604));
	max = shmctl(0, SHM_INFO, (struct shmid_ds *)&b);
	is(b.used_ids, a.used_ids + 1, "SHM_INFO counts a new segment");
	is(b.shm_tot, a.shm_tot + 2, "and its pages");

	memset(&lim, 0xff, sizeof lim);
	is(shmctl(0, IPC_INFO, (struct shmid_ds *)&lim), max, "IPC_INFO returns the highest index too");
	is(lim.shmmni, 4096, "IPC_INFO: shmmni is the default");
	is(lim.shmmin, 1, "IPC_INFO: shmmin");
	is(lim.shmmax, ULONG_MAX - (1UL << 24), "IPC_INFO: shmmax is the default");
	is(lim.shmseg, lim.shmmni, "IPC_INFO: shmseg");

	i = index_of(id, SHM_STAT);
	ok(i >= 0 && i <= max, "SHM_STAT returns the id at its index");
	shmctl(i, SHM_STAT, &ds);
	ok(ds.shm_segsz == 5000 && ds.shm_perm.mode == 0604 && ds.shm_cpid == getpid(), "with the segment's state");
	is(index_of(id, SHM_STAT_ANY), i, "SHM_STAT_ANY returns the same");
	call_fails(shmctl(max + 1000, SHM_STAT, &ds), EINVAL, "SHM_STAT of an unused index: EINVAL");
	call_fails(shmctl(-1, SHM_STAT, &ds), EINVAL, "SHM_STAT of -1: EINVAL");
	obj_remove(SHM, id);
	call_fails(shmctl(i, SHM_STAT, &ds), EINVAL, "SHM_STAT of what was removed: EINVAL");
	shmctl(0, SHM_INFO, (struct shmid_ds *)&b);
	ok(a.used_ids == b.used_ids && a.shm_tot == b.shm_tot, "SHM_INFO counts a removed segment no more");
}

static void test_sizes(void)
{
	int id = obj_keep(SHM, shmget(0x41a70200, 5000, 0600 | IPC_CREAT));

	is(shmget(0x41a70200, 5000, 0), id, "shmget of the same size finds it");
	is(shmget(0x41a70200, 0, 0), id, "shmget of size 0 finds it");
	is(shmget(0x41a70200, 1, 0), id, "shmget of a smaller size finds it");
	call_fails(shmget(0x41a70200, 5001, 0), EINVAL, "shmget of a larger size: EINVAL");
	call_fails(shmget(IPC_PRIVATE, 0, 0600), EINVAL, "a new segment of size 0: EINVAL");
	call_fails(shmget(IPC_PRIVATE, ULONG_MAX, 0600), EINVAL, "a new segment larger than shmmax: EINVAL");
	obj_remove(SHM, id);
}

int main(void)
{
	alarm(60);
	test_times();
	test_inherited();
	test_set();
	test_lock();
	test_info();
	test_sizes();
	return done_testing();
}
