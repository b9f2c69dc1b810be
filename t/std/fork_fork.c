/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork, in all its forms: attachments are inherited and counted before it returns, undo is not inherited, and a child
 * can use everything at once. Also from a thread, from a handler, from a child of a child, by _Fork and bare clone.
 */
#include <pthread.h>

#include "objects.h"

static int shm, sem, queue;
static char *map;

static void fresh(void)
{
	shm = shm_new(PAGE);
	sem = sem_new(2);
	queue = msg_new();
	map = shm_map(shm, 0);
}

static void done(void)
{
	shmdt(map);
	obj_remove(SHM, shm);
	obj_remove(SEM, sem);
	obj_remove(MSG, queue);
}

static int child_idle(void *arg)
{
	pause();
	return arg ? 1 : 0;
}

static void test_counted(void)
{
	int bad = 0, gone = 0, unnamed = 0, second;
	char *p;

	fresh();
	second = shm_new(PAGE);
	p = shm_map(second, SHM_RDONLY);
	shm_map(second, 0);
	for (int i = 0; i < 300; i++) {
		pid_t pid = proc_run(child_idle, NULL);
		bad += shm_nattch(shm) != 2 || shm_nattch(second) != 4;
		proc_kill(pid);
		gone += shm_nattch(shm) != 1 || shm_nattch(second) != 2;
		unnamed += shm_stat(shm).shm_lpid != pid;
	}
	is(bad, 0, "a child counts in nattch before fork returns, 300 times");
	is(gone, 0, "and no longer once it was reaped");
	is(unnamed, 0, "shm_lpid is a child's that was killed before its first instruction");
	shmdt(p);
	obj_remove(SHM, second);
	done();
}

static int child_sends(void *killed)
{
	struct msg_small { long type; char text[8]; } m = { .type = 1 };

	if (msgsnd(queue, &m, 4, IPC_NOWAIT) || msgrcv(queue, &m, 8, 0, IPC_NOWAIT) != 4)
		return 1;
	if (killed)
		kill(getpid(), SIGKILL);
	return 0;
}

/* One after the other: each takes the place of the last one, which is just being cleared away. */
static void test_births(void)
{
	int ended = 0, killed = 0, status;

	fresh();
	for (int i = 0; i < 1200; i++) {
		pid_t pid = proc_run(child_sends, i % 2 ? &queue : NULL);

		if (waitpid(pid, &status, 0) != pid) /* at once: proc_wait would leave time for the clearing away */
			bail_out("waitpid");
		ended += WIFEXITED(status) && !WEXITSTATUS(status);
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	is(ended, 600, "600 children make a call each and exit");
	is(killed, 600, "and 600 do in between, and are killed at once");
	is(shm_nattch(shm), 1, "none of them is attached");
	done();
}

/* The child is counted in the child too, and goes on at once. */
static int child_all(void *arg)
{
	if (shm_nattch(shm) != 2 || strcmp(map, "parent"))
		return 1;
	strcpy(map, "child");
	if (sem_do(sem, 0, 1, 0) || sem_pid(sem, 0) != getpid() || sem_do(sem, 1, 3, SEM_UNDO))
		return 2;
	if (msg_take(queue, 0, IPC_NOWAIT) != 4 || msg_put(queue, 5, 9, 'c', IPC_NOWAIT))
		return 3;
	if (msg_stat(queue).msg_lspid != getpid() || msg_stat(queue).msg_lrpid != getpid())
		return 4;
	if (shmdt(map) || shm_nattch(shm) != 1 || shm_stat(shm).shm_lpid != getpid())
		return 5;
	return arg && arg != map ? 6 : 0;
}

static void test_child(void)
{
	pid_t pid;

	fresh();
	strcpy(map, "parent");
	msg_put(queue, 4, 9, 'p', 0);
	pid = proc_run(child_all, NULL);
	is(proc_wait(pid), 0, "a child uses all that its parent had, and is named as itself");
	ok(!strcmp(map, "child"), "the memory is shared");
	is(sem_pid(sem, 0), pid, "GETPID names the child");
	is(sem_value(sem, 1), 0, "its undo is done");
	is(shm_nattch(shm), 1, "its shmdt was its own");
	is(msg_take(queue, 0, IPC_NOWAIT), 5, "its message is there");
	done();
}

/* A family: each child forks the next, all attached, all with undo of their own. */
static int family(void *arg)
{
	int left = *(int *)arg - 1;

	if (sem_do(sem, 0, 1, SEM_UNDO))
		return 1;
	if (left)
		return proc_wait(proc_run(family, &left)) || sem_value(sem, 0) != 20 - left ? 3 : 0;
	if (sem_value(sem, 0) != 20 || shm_nattch(shm) != 21)
		return 2;
	return 0;
}

static void test_family(void)
{
	int left = 20;

	fresh();
	is(proc_wait(proc_run(family, &left)), 0, "twenty generations, each attached and with undo of its own");
	is(sem_value(sem, 0), 0, "leave no unit");
	is(shm_nattch(shm), 1, "and no attachment");
	done();
}

/* Orphans: the parent ends first. */
static int orphan(void *arg)
{
	int *step = arg;
	pid_t pid = fork();

	if (pid == 0) {
		wait_until(step[0]);
		step[1] = sem_do(sem, 0, 1, SEM_UNDO) || shm_nattch(shm) != 2 ? 99 : 1;
		wait_until(step[0] == 2);
		_exit(0);
	}
	step[2] = pid;
	return 0;
}

static void test_orphan(void)
{
	volatile int *step = shared_new(PAGE);

	fresh();
	proc_wait(proc_run(orphan, (void *)step));
	is(shm_nattch(shm), 2, "a child whose parent has ended stays attached");
	step[0] = 1;
	ok(wait_until(step[1] == 1), "and goes on");
	step[0] = 2;
	ok(wait_until(shm_nattch(shm) == 1), "until it ends");
	ok(wait_until(sem_value(sem, 0) == 0), "with its undo");
	munmap((void *)step, PAGE);
	done();
}

/* fork by one thread while others are at work on the same objects. */
static atomic_int stop;

static void *busy(void *arg)
{
	while (!stop) {
		if (sem_do(sem, 1, 1, SEM_UNDO) || sem_do(sem, 1, -1, SEM_UNDO))
			return (void *)1;
		if (msg_put(queue, 1, 10, 'b', 0) || msg_take(queue, 1, 0) != 1)
			return (void *)2;
		if (shmdt(shmat(shm, NULL, 0)))
			return (void *)3;
	}
	return arg;
}

static int fork_busy(void *arg)
{
	int bad = 0;
	pthread_t t[3];
	void *r;

	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, busy, NULL);
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(sem_do(sem, 0, 1, SEM_UNDO) || sem_do(sem, 0, -1, SEM_UNDO) || shmdt(map) ? 1 : 0);
		bad += proc_wait(pid) != 0;
	}
	stop = 1;
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &r);
		bad += r != NULL;
	}
	return arg || bad ? 1 : 0;
}

static void test_threads(void)
{
	fresh();
	is(proc_wait(proc_run(fork_busy, NULL)), 0, "100 forks beside three threads that use the same objects");
	ok(!sem_value(sem, 0) && !sem_value(sem, 1), "no unit is left");
	is(shm_nattch(shm), 1, "no attachment is left, though children inherited the threads' for a while");
	is(msg_stat(queue).msg_qnum, 0, "no message is left");
	done();
}

/* fork from a signal handler that has interrupted a sleep. */
static volatile pid_t handler_child;

static void fork_handler(int sig)
{
	(void)sig;
	handler_child = fork();
	if (handler_child == 0)
		_exit(sem_do(sem, 0, 1, 0) || shm_nattch(shm) != 3 ? 1 : 0);
}

static int fork_in_handler(void *arg)
{
	struct sigaction sa = { .sa_handler = fork_handler };

	(void)arg;
	sigaction(SIGUSR1, &sa, NULL);
	if (sem_do(sem, 1, -1, 0) != -1 || errno != EINTR)
		return 1;
	return proc_wait(handler_child) || sem_value(sem, 0) != 1 ? 2 : 0;
}

static void test_handler(void)
{
	pid_t pid;

	fresh();
	pid = proc_run(fork_in_handler, NULL);
	wait_until(sem_ncnt(sem, 1) == 1);
	kill(pid, SIGUSR1);
	is(proc_wait(pid), 0, "fork in a handler that interrupts a sleeping semop");
	is(shm_nattch(shm), 1, "and all are gone");
	done();
}

/* The bare system call, and _Fork: no library hook sees them. */

static pid_t bare_clone(void)
{
	return syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
}

/* Its own undo, its own pid, its own attachments. */
static void bare_child(volatile int *step)
{
	if (sem_do(sem, 0, 5, SEM_UNDO) || sem_pid(sem, 0) != getpid())
		_exit(1);
	if (shm_nattch(shm) != 2 || strcmp(map, "parent"))
		_exit(2);
	strcpy(map, "child");
	step[0] = 1;
	if (!wait_until(step[1]))
		_exit(3);
	if (msg_put(queue, 6, 10, 'x', 0) || msg_stat(queue).msg_lspid != getpid())
		_exit(4);
	if (shmdt(map) || shm_nattch(shm) != 1)
		_exit(5);
	_exit(0);
}

static int bare_run(pid_t (*fn)(void), volatile int *step)
{
	pid_t pid;
	int r;

	strcpy(map, "parent");
	sem_do(sem, 0, 2, SEM_UNDO);
	pid = fn();
	if (pid == 0)
		bare_child(step);
	if (!wait_until(step[0] || proc_state(pid, pid) == 'Z'))
		return 20;
	if (sem_value(sem, 0) != 7 || shm_nattch(shm) != 2 || strcmp(map, "child"))
		return 21;
	step[1] = 1;
	r = proc_wait(pid);
	if (r)
		return r;
	if (sem_value(sem, 0) != 2 || shm_nattch(shm) != 1)
		return 22;
	pid = fn();
	if (pid == 0)
		_exit(0);
	if (proc_wait(pid))
		return 23;
	pid = fn();
	if (pid == 0) {
		sem_do(sem, 0, 1, SEM_UNDO);
		raise(SIGKILL);
	}
	if (proc_wait(pid) != 1000 + SIGKILL)
		return 24;
	return sem_value(sem, 0) == 2 && shm_nattch(shm) == 1 && sem_do(sem, 0, 1, SEM_UNDO) == 0 ? 0 : 25;
}

struct bare {
	pid_t (*fn)(void);
	volatile int *step;
};

/* In a process that is alone with the segment: it attaches, the one above detaches. */
static int bare_alone(void *arg)
{
	struct bare *b = arg;

	if (!wait_until(b->step[2]))
		return 30;
	return bare_run(b->fn, b->step);
}

static void test_bare(pid_t (*fn)(void), const char *name)
{
	struct bare b = { fn, shared_new(PAGE) };
	pid_t pid;

	fresh();
	pid = proc_run(bare_alone, &b);
	shmdt(map);
	b.step[2] = 1;
	is(proc_wait(pid), 0, "%s: the child has attachments, undo and pid of its own", name);
	is(sem_value(sem, 0), 0, "%s: all undo is done in the end", name);
	is(shm_nattch(shm), 0, "%s: nobody is attached", name);
	munmap((void *)b.step, PAGE);
	map = shm_map(shm, 0);
	done();
}

int main(void)
{
	alarm(60);
	test_counted();
	test_births();
	test_child();
	test_family();
	test_orphan();
	test_threads();
	test_handler();
	test_bare(bare_clone, "clone");
	test_bare(_Fork, "_Fork");
	return done_testing();
}
