/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unshare(CLONE_NEWIPC): a fresh namespace for the process and what it starts; what it had attached stays. Run as root,
 * it also asks as a process without the capability.
 */
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>

#include "objects.h"

#define KEY 0x41a70200

static int sem, shm;
static char *text;
static struct box { atomic_int step, go; int result[16]; } *box;
static const char *self;

/* 0, or the number of the first expectation that did not hold. */
#define expect(cond)                     \
	do {                             \
		n++;                     \
		if (!(cond))             \
			return n;        \
	} while (0)

static int fails(long r, int error)
{
	return r == -1 && errno == error;
}

static int fresh_run(void *arg)
{
	struct shmid_ds ds;
	int n = 0, id;

	if (arg ? syscall(SYS_unshare, CLONE_NEWIPC) : unshare(CLONE_NEWIPC))
		return 100 + errno;
	expect(fails(semget(KEY, 1, 0), ENOENT));
	expect(fails(semctl(sem, 0, GETVAL), EINVAL));
	expect(fails(shmctl(shm, IPC_STAT, &ds), EINVAL));
	expect(!strcmp(text, "before"));
	strcpy(text, "from the child");
	id = semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0600);
	expect(id != -1);
	expect(!semctl(id, 0, SETVAL, 7));
	expect(semctl(id, 0, GETVAL) == 7);
	expect(!shmdt(text));
	expect(fails(shmdt(text), EINVAL));
	return 0;
}

static void test_fresh(bool by_number)
{
	const char *name = by_number ? "unshare through syscall()" : "unshare";

	strcpy(text, "before");
	is(proc_wait(proc_run(fresh_run, by_number ? text : NULL)), 0,
	   "%s: a fresh namespace: no keys, no ids; what was attached stays until shmdt", name);
	ok(!strcmp(text, "from the child"), "%s: it is the same memory", name);
	is(shm_nattch(shm), 1, "%s: and counted in the namespace that was left", name);
	is(sem_value(sem, 0), 3, "%s: a set made under the same key there leaves ours alone", name);
}

/* In the new namespace with its child, then in a program that it starts. */
static int heirs_run(void *arg)
{
	int id, n = 0, status;
	char value[20];
	pid_t pid;

	(void)arg;
	if (unshare(CLONE_NEWIPC))
		return 100 + errno;
	id = semget(KEY, 1, IPC_CREAT | 0600);
	expect(!semctl(id, 0, SETVAL, 4));
	pid = fork();
	if (pid == 0)
		_exit(semctl(semget(KEY, 1, 0), 0, SETVAL, 5) ? 1 : 0);
	expect(waitpid(pid, &status, 0) == pid && status == 0);
	expect(semctl(id, 0, GETVAL) == 5);
	snprintf(value, sizeof value, "%d", 5);
	execl(self, self, "value", value, NULL);
	return 99;
}

static int undo_run(void *arg)
{
	int flags = *(int *)arg, n = 0;

	expect(!sem_do(sem, 0, 2, SEM_UNDO));
	box->step = 1;
	if (!wait_until(box->go))
		return 98;
	if (unshare(flags))
		return 100 + errno;
	box->step = 2;
	if (!wait_until(box->go == 2))
		return 97;
	if (flags == CLONE_SYSVSEM)
		expect(!sem_do(sem, 0, 4, SEM_UNDO));
	box->step = 3;
	return wait_until(box->go == 3) ? 0 : 96;
}

static void test_undo(int flags, const char *name)
{
	pid_t pid;

	box->step = box->go = 0;
	pid = proc_run(undo_run, &flags);
	ok(wait_until(box->step == 1), "%s: a process adds 2 with SEM_UNDO", name);
	is(sem_value(sem, 0), 5, "%s: which shows", name);
	box->go = 1;
	ok(wait_until(box->step == 2), "%s: it calls unshare", name);
	is(sem_value(sem, 0), 3, "%s: its undo is applied at once", name);
	box->go = 2;
	ok(wait_until(box->step == 3), "%s: it goes on", name);
	is(sem_value(sem, 0), flags == CLONE_SYSVSEM ? 7 : 3, "%s: in the namespace where it is then", name);
	box->go = 3;
	is(proc_wait(pid), 0, "%s: and ends", name);
	is(sem_value(sem, 0), 3, "%s: undo begun afterwards is applied at its end", name);
}

static int refused_run(void *arg)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	int n = 0;

	(void)arg;
	if (syscall(SYS_capset, &head, data))
		return 99;
	expect(fails(unshare(CLONE_NEWIPC), EPERM));
	expect(semget(KEY, 1, 0) == sem);
	expect(semctl(sem, 0, GETVAL) == 3);
	expect(fails(syscall(SYS_unshare, CLONE_NEWIPC), EPERM));
	expect(semctl(sem, 0, GETVAL) == 3);
	return 0;
}

static int other_run(void *arg)
{
	int n = 0;

	(void)arg;
	expect(!unshare(CLONE_FS | CLONE_FILES));
	expect(semget(KEY, 1, 0) == sem);
	expect(fails(unshare(0x7fffffff), EINVAL));
	expect(semget(KEY, 1, 0) == sem);
	return 0;
}

static int twice_run(void *arg)
{
	int n = 0;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		expect(!unshare(CLONE_NEWIPC));
		expect(fails(semget(KEY, 1, 0), ENOENT));
		expect(semget(KEY, 1, IPC_CREAT | 0600) != -1);
		expect(semget(KEY, 1, 0) != -1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2) /* started by heirs_run */
		return semctl(semget(KEY, 1, 0), 0, GETVAL) == atoi(argv[2]) ? 0 : 50;
	if (geteuid())
		skip_all("needs root");
	alarm(60);
	self = argv[0];
	box = shared_new(sizeof *box);
	sem = obj_keep(SEM, semget(KEY, 1, IPC_CREAT | 0600));
	sem_set(sem, 0, 3);
	shm = shm_new(PAGE);
	text = shm_map(shm, 0);
	test_fresh(false);
	test_fresh(true);
	is(proc_wait(proc_run(heirs_run, NULL)), 0,
	   "a forked child and a program that is started are in the new namespace");
	is(sem_value(sem, 0), 3, "which leaves ours alone");
	test_undo(CLONE_NEWIPC, "CLONE_NEWIPC");
	test_undo(CLONE_SYSVSEM, "CLONE_SYSVSEM");
	is(proc_wait(proc_run(refused_run, NULL)), 0, "without CAP_SYS_ADMIN: EPERM, and nothing changes");
	is(proc_wait(proc_run(other_run, NULL)), 0, "with other flags, or refused ones, nothing changes");
	is(proc_wait(proc_run(twice_run, NULL)), 0, "three times in a row, each time a fresh one");
	is(semget(KEY, 1, 0), sem, "and here nothing has changed");
	return done_testing();
}
