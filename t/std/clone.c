/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clone() with stacks of the program's own: a copy of the process, and one that shares its memory while the parent
 * waits.
 */
#include <sched.h>
#include <sys/syscall.h>

#include "objects.h"

#define STACK (256 << 10)

static int sem, msg, shm;
static char *text, *stack;
static struct box { atomic_int step, go; } *box;

#define expect(cond)                     \
	do {                             \
		n++;                     \
		if (!(cond))             \
			return n;        \
	} while (0)

static int status_of(pid_t pid)
{
	int status;

	return waitpid(pid, &status, __WALL) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int copy_run(void *arg)
{
	int n = 0, id;

	(void)arg;
	expect(!sem_do(sem, 0, 5, SEM_UNDO) && !sem_do(sem, 1, 1, 0));
	expect(semctl(sem, 1, GETPID) == (int)syscall(SYS_getpid));
	expect(shm_nattch(shm) == 2 && !strcmp(text, "parent"));
	strcpy(text, "child");
	expect(!msg_put(msg, 9, 4, 'c', 0));
	id = semget(IPC_PRIVATE, 1, 0600);
	expect(id != -1 && !semctl(id, 0, IPC_RMID));
	box->step = 1;
	expect(wait_until(box->go));
	expect(!shmdt(text));
	return 0;
}

static void test_copy(int flags, const char *name)
{
	struct msqid_ds ds;
	pid_t pid;

	box->step = box->go = 0;
	strcpy(text, "parent");
	sem_set(sem, 1, 0);
	pid = clone(copy_run, stack + STACK, flags | SIGCHLD, NULL);
	ok(pid > 0 && wait_until(box->step), "%s: a child on a stack of ours makes calls", name);
	is(sem_value(sem, 0), 5, "%s: they have happened", name);
	is(sem_pid(sem, 1), pid, "%s: under its pid", name);
	ok(!strcmp(text, "child"), "%s: what it has attached is shared", name);
	is(shm_nattch(shm), 2, "%s: and counted", name);
	ds = msg_stat(msg);
	is(ds.msg_lspid, pid, "%s: and its message has its pid", name);
	box->go = 1;
	is(status_of(pid), 0, "%s: it ends", name);
	is(sem_value(sem, 0), 0, "%s: its undo is applied", name);
	is(shm_nattch(shm), 1, "%s: its attachment ended", name);
	msg_take(msg, 9, IPC_NOWAIT);
}

static int shared_run(void *arg)
{
	int n = 0;

	(void)arg;
	expect(!sem_do(sem, 0, 3, 0) && !sem_do(sem, 0, -1, 0));
	expect(!strcmp(text, "parent"));
	strcpy(text, "shared");
	expect(!msg_put(msg, 9, 4, 's', 0));
	return 0;
}

static void test_shared(int flags, const char *name)
{
	pid_t pid;

	strcpy(text, "parent");
	sem_set(sem, 0, 0);
	pid = clone(shared_run, stack + STACK, flags | CLONE_VM | SIGCHLD, NULL);
	is(status_of(pid), 0, "%s: a child that shares the memory makes calls", name);
	is(sem_value(sem, 0), 2, "%s: they have happened", name);
	ok(!strcmp(text, "shared"), "%s: in the same memory", name);
	is(msg_take(msg, 9, IPC_NOWAIT), 9, "%s: its message is there", name);
	is(shm_nattch(shm), 1, "%s: its end does not detach ours", name);
	succeeds(sem_do(sem, 0, -2, IPC_NOWAIT), "%s: and we go on", name);
}

int main(void)
{
	alarm(60);
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	box = shared_new(sizeof *box);
	sem = sem_new(2);
	msg = msg_new();
	shm = shm_new(PAGE);
	text = shm_map(shm, 0);
	test_copy(0, "clone");
	test_copy(CLONE_FILES | CLONE_FS, "clone that shares descriptors");
	test_copy(0, "clone once more");
	test_shared(CLONE_VFORK, "CLONE_VM and CLONE_VFORK");
	test_shared(0, "CLONE_VM");
	return done_testing();
}
