/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Privilege is a capability, not uid 0: each of the four that System V IPC asks for, in a process of another uid that
 * has just this one, and uid 0 with none. CAP_DAC_OVERRIDE is kept throughout; it means nothing to these calls.
 * Also what SHM_LOCK and SHM_HUGETLB may do.
 */
#include <grp.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "objects.h"

#define OTHER 41723 /* nobody else here, whose locked memory would count too */
#ifndef SHM_HUGE_SHIFT
#define SHM_HUGE_SHIFT 26
#endif

static int sem, msg, shm;
static int theirs_sem, theirs_msg, theirs_shm; /* made by OTHER */
static volatile int *line;

static bool become(uid_t uid, int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	uint64_t caps = 1ull << CAP_DAC_OVERRIDE | (cap >= 0 ? 1ull << cap : 0);

	if (uid && (setgroups(0, NULL) || setegid(uid) || seteuid(uid)))
		return false;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = (uint32_t)(caps >> 32 * i);
	return !syscall(SYS_capset, &head, data);
}

struct who { uid_t uid; int cap; int (*fn)(void); };

static int become_run(void *arg)
{
	struct who *w = arg;

	return become(w->uid, w->cap) ? w->fn() : 99;
}

static bool permitted(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return !syscall(SYS_capget, &head, data) && (cap < 0 || data[cap / 32].permitted >> cap % 32 & 1);
}

static void as(uid_t uid, int cap, int (*fn)(void), const char *name)
{
	struct who w = { uid, cap, fn };

	if (!permitted(cap)) {
		skip(name, "root has not got this capability here");
		return;
	}
	if (getenv("IPCD_SOCKET") && (uid ? cap >= 0 : cap < 0)) {
		skip(name, "a daemon's privilege is uid 0, whatever its capabilities");
		return;
	}
	*line = 0;
	is(proc_wait(proc_run(become_run, &w)), 0, "%s", name);
	if (*line)
		diag("the first that was otherwise is in line %d, with errno %d", *line / 1000, *line % 1000);
}

#define expect(cond)                                       \
	do {                                               \
		if (!(cond)) {                             \
			*line = __LINE__ * 1000 + errno;   \
			return 1;                          \
		}                                          \
	} while (0)

static bool fails(long r, int error)
{
	if (r == -1 && errno == error)
		return true;
	if (r != -1)
		errno = 0;
	return false;
}

static long put(int id)
{
	struct { long type; char c; } m = { 1, 'x' };

	return msgsnd(id, &m, 1, IPC_NOWAIT);
}

static long take(int id)
{
	struct { long type; char c; } m;

	return msgrcv(id, &m, 1, 0, IPC_NOWAIT);
}

static int use(int s, int m, int h, int error)
{
	struct semid_ds sds;
	struct msqid_ds mds;
	struct shmid_ds hds;
	void *p;

	if (error) {
		expect(fails(sem_do(s, 0, 1, 0), error) && fails(semctl(s, 0, GETVAL), error));
		expect(fails(semctl(s, 0, SETVAL, 1), error) && fails(semctl(s, 0, IPC_STAT, &sds), error));
		expect(fails(put(m), error) && fails(take(m), error) && fails(msgctl(m, IPC_STAT, &mds), error));
		expect(fails((long)shmat(h, NULL, 0), error) && fails((long)shmat(h, NULL, SHM_RDONLY), error));
		expect(fails(shmctl(h, IPC_STAT, &hds), error));
		return 0;
	}
	expect(!sem_do(s, 0, 1, 0) && !sem_do(s, 0, -1, 0) && semctl(s, 0, GETVAL) == 0);
	expect(!semctl(s, 0, SETVAL, 0) && !semctl(s, 0, IPC_STAT, &sds));
	expect(!put(m) && take(m) == 1 && !msgctl(m, IPC_STAT, &mds));
	expect((p = shmat(h, NULL, 0)) != (void *)-1);
	*(char *)p = 'x';
	expect(!shmdt(p) && !shmctl(h, IPC_STAT, &hds));
	return 0;
}

static int change(int s, int m, int h, int error)
{
	struct semid_ds sds = { .sem_perm = { .uid = 0, .mode = 0600 } };
	struct msqid_ds mds = { .msg_perm = { .uid = 0, .mode = 0600 }, .msg_qbytes = 100 };
	struct shmid_ds hds = { .shm_perm = { .uid = 0, .mode = 0600 } };

	if (error) {
		expect(fails(semctl(s, 0, IPC_SET, &sds), error) && fails(semctl(s, 0, IPC_RMID), error));
		expect(fails(msgctl(m, IPC_SET, &mds), error) && fails(msgctl(m, IPC_RMID, NULL), error));
		expect(fails(shmctl(h, IPC_SET, &hds), error) && fails(shmctl(h, IPC_RMID, NULL), error));
		return 0;
	}
	expect(!semctl(s, 0, IPC_SET, &sds) && !msgctl(m, IPC_SET, &mds) && !shmctl(h, IPC_SET, &hds));
	return 0;
}

static int any_stat(void)
{
	struct shmid_ds ds;

	expect(shmctl(shm % 32768, SHM_STAT_ANY, &ds) == shm);
	return 0;
}

static int none_run(void)
{
	return use(sem, msg, shm, EACCES) || change(sem, msg, shm, EPERM) || any_stat();
}

static int owner_run(void)
{
	return use(sem, msg, shm, 0) || change(sem, msg, shm, EPERM);
}

static int admin_run(void)
{
	return use(sem, msg, shm, EACCES) || change(sem, msg, shm, 0);
}

static int root_run(void)
{
	return use(theirs_sem, theirs_msg, theirs_shm, EACCES) || change(theirs_sem, theirs_msg, theirs_shm, EPERM);
}

static int make_run(void)
{
	volatile int *made = line + 1;

	made[0] = semget(IPC_PRIVATE, 1, 0600);
	made[1] = msgget(IPC_PRIVATE, 0600);
	made[2] = shmget(IPC_PRIVATE, 4 * PAGE, 0600);
	expect(made[0] != -1 && made[1] != -1 && made[2] != -1);
	return use(made[0], made[1], made[2], 0);
}

/* ---- CAP_SYS_RESOURCE ---- */

static int qbytes(unsigned long n)
{
	struct msqid_ds ds;

	if (msgctl(theirs_msg, IPC_STAT, &ds))
		return -1;
	ds.msg_qbytes = n;
	return msgctl(theirs_msg, IPC_SET, &ds);
}

static int no_resource_run(void)
{
	expect(!qbytes(16384) && !qbytes(100) && !qbytes(16384));
	expect(fails(qbytes(16385), EPERM));
	return 0;
}

static int resource_run(void)
{
	struct msqid_ds ds;

	expect(!qbytes(1000000));
	expect(!msgctl(theirs_msg, IPC_STAT, &ds) && ds.msg_qbytes == 1000000);
	expect(!qbytes(16384));
	return 0;
}

/* ---- SHM_LOCK ---- */

static void memlock(rlim_t bytes)
{
	struct rlimit l = { bytes, bytes };

	setrlimit(RLIMIT_MEMLOCK, &l);
}

static bool locked(int id)
{
	return shm_stat(id).shm_perm.mode & SHM_LOCKED;
}

static int lock_own_run(void)
{
	memlock(8 * PAGE);
	expect(!locked(theirs_shm) && !shmctl(theirs_shm, SHM_LOCK, NULL) && locked(theirs_shm));
	expect(!shmctl(theirs_shm, SHM_LOCK, NULL) && locked(theirs_shm));
	expect(!shmctl(theirs_shm, SHM_UNLOCK, NULL) && !locked(theirs_shm));
	expect(fails(shmctl(shm, SHM_LOCK, NULL), EPERM) && fails(shmctl(shm, SHM_UNLOCK, NULL), EPERM));
	memlock(2 * PAGE);
	expect(fails(shmctl(theirs_shm, SHM_LOCK, NULL), ENOMEM) && !locked(theirs_shm));
	memlock(0);
	expect(fails(shmctl(theirs_shm, SHM_LOCK, NULL), EPERM));
	expect(!shmctl(theirs_shm, SHM_UNLOCK, NULL));
	return 0;
}

static int lock_any_run(void)
{
	memlock(0);
	expect(!shmctl(shm, SHM_LOCK, NULL));
	expect(!shmctl(shm, SHM_UNLOCK, NULL));
	expect(fails(shmctl(-1, SHM_LOCK, NULL), EINVAL) && fails(shmctl(0x7fff0000, SHM_LOCK, NULL), EINVAL));
	return 0;
}

/* What a process has attached of a locked segment is in memory, and counts as locked. */
static long locked_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char text[256];
	long kib = -1;

	while (f && fgets(text, sizeof text, f))
		sscanf(text, "VmLck: %ld", &kib);
	if (f)
		fclose(f);
	return kib;
}

static int lock_keeps_run(void)
{
	char *p = shmat(shm, NULL, 0);

	expect(p != (char *)-1);
	memset(p, 'l', PAGE);
	expect(!shmctl(shm, SHM_LOCK, NULL) && locked(shm));
	expect(p[0] == 'l' && !shmctl(shm, SHM_UNLOCK, NULL) && !locked(shm));
	expect(locked_kib() == 0);
	expect(!shmdt(p));
	return 0;
}

/* ---- SHM_HUGETLB ---- */

#define HUGE (2 << 20)

static int huge_refused_run(void)
{
	expect(fails(shmget(IPC_PRIVATE, HUGE, SHM_HUGETLB | 0600), EPERM));
	expect(fails(shmget(IPC_PRIVATE, PAGE, SHM_HUGETLB | 0600), EPERM));
	return 0;
}

static int huge_group_run(void)
{
	expect(fails(shmget(IPC_PRIVATE, HUGE, SHM_HUGETLB | 0600), ENOMEM));
	return 0;
}

static int huge_none_run(void)
{
	expect(fails(shmget(IPC_PRIVATE, HUGE, SHM_HUGETLB | 0600), ENOMEM));
	expect(fails(shmget(IPC_PRIVATE, HUGE, SHM_HUGETLB | 21 << SHM_HUGE_SHIFT | 0600), ENOMEM));
	expect(fails(shmget(IPC_PRIVATE, HUGE, SHM_HUGETLB | 13 << SHM_HUGE_SHIFT | 0600), EINVAL));
	expect(fails(shmget(IPC_PRIVATE, 0, SHM_HUGETLB | 0600), EINVAL));
	return 0;
}

static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

/* None of them, of two megabytes, and the group that may have them is the usual one. */
static bool no_huge_pages(void)
{
	return !number("/proc/sys/vm/nr_hugepages") && !number("/proc/sys/vm/nr_overcommit_hugepages") &&
	       !number("/proc/sys/vm/hugetlb_shm_group") && !access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK);
}

static void test_huge(void)
{
	if (!no_huge_pages()) {
		skip("SHM_HUGETLB where there are no large pages", "this machine has some");
		return;
	}
	as(0, CAP_IPC_LOCK, huge_none_run,
	   "SHM_HUGETLB where there are no large pages: ENOMEM; of no known size: EINVAL");
	as(OTHER, -1, huge_refused_run, "without CAP_IPC_LOCK: EPERM");
	as(0, -1, huge_group_run, "in the group of vm.hugetlb_shm_group: ENOMEM");
}

int main(void)
{
	if (geteuid())
		skip_all("needs root");
	alarm(60);
	line = shared_new(PAGE);
	sem = sem_new(1);
	msg = msg_new();
	shm = shm_new(4 * PAGE);
	as(OTHER, -1, make_run, "another uid without capabilities makes objects and uses them");
	theirs_sem = obj_keep(SEM, line[1]);
	theirs_msg = obj_keep(MSG, line[2]);
	theirs_shm = obj_keep(SHM, line[3]);
	as(OTHER, -1, none_run, "without capabilities: EACCES and EPERM on root's, but SHM_STAT_ANY");
	as(OTHER, CAP_IPC_OWNER, owner_run, "CAP_IPC_OWNER reads and writes all, and changes and removes none");
	as(OTHER, CAP_SYS_ADMIN, admin_run, "CAP_SYS_ADMIN changes all, and reads none");
	as(0, -1, root_run, "uid 0 without capabilities has no privilege");
	as(OTHER, -1, no_resource_run, "a queue's owner raises msg_qbytes up to msgmnb");
	as(OTHER, CAP_SYS_RESOURCE, resource_run, "and with CAP_SYS_RESOURCE beyond");
	as(OTHER, -1, lock_own_run, "SHM_LOCK: the owner, within RLIMIT_MEMLOCK; shown as SHM_LOCKED");
	as(OTHER, CAP_IPC_LOCK, lock_any_run, "CAP_IPC_LOCK locks anybody's, without limit");
	as(0, CAP_IPC_LOCK, lock_keeps_run, "a locked segment keeps its contents, and is unlocked again");
	test_huge();
	is(semctl(sem, 0, IPC_RMID), 0, "all is as it was: the owner removes the set");
	return done_testing();
}
