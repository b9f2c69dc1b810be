/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SEM_UNDO: what a process did with it is taken back when the process ends, however it ends, once, and not before.
 * What exec does to it is in fork_exec.c.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "objects.h"

#define VMAX 32767

struct job {
	int id, id2;
	atomic_int step, go;
	char how;
};

static struct job *job;

static void job_reset(int nsems)
{
	if (!job)
		job = shared_new(sizeof *job);
	memset(job, 0, sizeof *job);
	job->id = sem_new(nsems);
}

/* How a process ends */

static void die(char how)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	if (how == 'k')
		raise(SIGKILL);
	if (how == 't')
		raise(SIGTERM);
	if (how == 's')
		*(volatile char *)NULL = 1;
	if (how == 'a')
		abort();
	if (how == 'x')
		exit(0);
	_exit(0);
}

static int undo_end(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	alarm(60);
	sem_do(job->id, 0, -1, SEM_UNDO);
	sem_do(job->id, 1, 3, SEM_UNDO);
	sem_do(job->id, 1, 2, 0);
	die(*(char *)arg);
	return 0;
}

static void test_ends(void)
{
	static const char *name[] = { "x exit", "_ _exit", "k kill -9", "t SIGTERM", "s a crash", "a abort" };
	siginfo_t si;

	for (unsigned int i = 0; i < COUNT(name); i++) {
		char how = name[i][0];
		pid_t pid;
		job_reset(2);
		sem_set(job->id, 0, 1);
		pid = proc_run(undo_end, &how);
		waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
		is(sem_value(job->id, 0), 1, "%s gives back what was taken, before anybody reaps", name[i] + 2);
		is(sem_value(job->id, 1), 2, "%s takes back what was given, and nothing else", name[i] + 2);
		is(sem_pid(job->id, 0), pid, "%s: GETPID names the process that ended", name[i] + 2);
		proc_wait(pid);
		ok(sem_value(job->id, 0) == 1 && sem_value(job->id, 1) == 2, "%s: it is done once", name[i] + 2);
	}
}

/* Clipping, sums */

static int sums_run(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++) {
		sem_do(job->id, 0, 2, SEM_UNDO);
		sem_do(job->id, 0, -1, SEM_UNDO);
		sem_do(job->id, 1, 1, SEM_UNDO);
		sem_do(job->id, 1, -1, SEM_UNDO);
	}
	return 0;
}

static int clip_run(void *arg)
{
	(void)arg;
	if (sem_do(job->id, 0, 10, SEM_UNDO) || sem_do(job->id, 0, -7, 0))
		return 1;
	sem_set(job->id, 1, VMAX);
	if (sem_do(job->id, 1, -10, SEM_UNDO) || sem_do(job->id, 1, 5, 0))
		return 2;
	return 0;
}

static void test_sums(void)
{
	pid_t pid;

	job_reset(2);
	sem_set(job->id, 0, 5);
	pid = proc_run(sums_run, NULL);
	is(proc_wait(pid), 0, "4,000 steps with undo");
	is(sem_value(job->id, 0), 5, "sum up and are undone together");
	is(sem_value(job->id, 1), 0, "and those that sum up to 0 leave nothing");

	job_reset(2);
	is(proc_wait(proc_run(clip_run, NULL)), 0, "undo that would go below 0 and above 32767");
	is(sem_value(job->id, 0), 0, "is clipped at 0");
	is(sem_value(job->id, 1), VMAX, "and at 32767");
}

/* Who sleeps is woken */

static int take_hold(void *arg)
{
	(void)arg;
	if (sem_do(job->id, 0, -1, SEM_UNDO))
		return 1;
	job->step = 1;
	wait_until(job->go);
	return 0;
}

static int give_hold(void *arg)
{
	(void)arg;
	if (sem_do(job->id, 0, 1, SEM_UNDO))
		return 1;
	job->step = 1;
	wait_until(job->go);
	return 0;
}

static void test_wakes(void)
{
	pid_t holder, sleeper;

	job_reset(1);
	sem_set(job->id, 0, 1);
	holder = proc_run(take_hold, NULL);
	wait_until(job->step);
	sleeper = sem_sleeper(job->id, 0, -1, 0);
	kill(holder, SIGKILL);
	is(proc_wait(sleeper), 0, "undo after kill -9 wakes the sleeper that it makes room for");
	is(sem_value(job->id, 0), 0, "and the unit is the sleeper's");
	is(sem_pid(job->id, 0), sleeper, "as GETPID says");
	proc_wait(holder);

	job_reset(1);
	holder = proc_run(give_hold, NULL);
	wait_until(job->step);
	sleeper = sem_sleeper(job->id, 0, 0, 0);
	kill(holder, SIGKILL);
	is(proc_wait(sleeper), 0, "undo after kill -9 wakes who waits for zero");
	proc_wait(holder);

	job_reset(1);
	sem_set(job->id, 0, 1);
	holder = proc_run(take_hold, NULL);
	wait_until(job->step);
	sleeper = sem_sleeper(job->id, 0, -1, SEM_UNDO);
	job->go = 1;
	is(proc_wait(holder), 0, "a process exits whose unit a sleeper wants with undo");
	is(proc_wait(sleeper), 0, "the sleeper gets it, and exits too");
	is(sem_value(job->id, 0), 1, "in the end the unit is back");
}

/* A chain of heirs: each process holds the only unit and is killed, the next one gets it. */
static int heir_run(void *arg)
{
	(void)arg;
	if (sem_do(job->id, 0, -1, SEM_UNDO))
		return 1;
	job->step = getpid();
	return wait_until(job->go) ? 0 : 2;
}

static void test_heirs(void)
{
	enum { N = 15 };
	pid_t pid[N];
	int bad = 0;

	job_reset(1);
	for (int i = 0; i < N; i++) {
		pid[i] = proc_run(heir_run, NULL);
		wait_until(sem_ncnt(job->id, 0) == i + 1);
	}
	sem_do(job->id, 0, 1, 0);
	for (int i = 0; i < N; i++) {
		if (!wait_until(job->step == pid[i]))
			bad++;
		proc_kill(pid[i]);
	}
	is(bad, 0, "%d processes inherit a unit from one another by kill -9, in order", N);
	is(sem_value(job->id, 0), 1, "and it is back in the end");
}

/* A sleeper's own undo */

static void test_sleeper(void)
{
	int bad = 0;
	pid_t pid;
	siginfo_t si;

	job_reset(1);
	pid = sem_sleeper(job->id, 0, -1, SEM_UNDO);
	proc_kill(pid);
	is(sem_value(job->id, 0), 0, "a sleeper with SEM_UNDO that is killed gives nothing back");
	is(sem_ncnt(job->id, 0), 0, "and no longer counts");

	for (int i = 0; i < 200; i++) {
		job_reset(1);
		pid = sem_sleeper(job->id, 0, -1, SEM_UNDO);
		sem_do(job->id, 0, 1, 0);
		kill(pid, SIGKILL);
		waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
		bad += sem_value(job->id, 0) != 1 || sem_pid(job->id, 0) != pid;
		proc_wait(pid);
		obj_remove(SEM, job->id);
	}
	is(bad, 0, "one that is killed as a unit reaches it gives it back, 200 times");
}

/* Many sets, a removed one, none left */

static int sets_run(void *arg)
{
	int *id = arg;

	for (int i = 0; i < 40; i++)
		if (sem_do(id[i], i % 3, 1 + i, SEM_UNDO))
			return 1;
	semctl(id[5], 0, IPC_RMID);
	return 0;
}

static void test_sets(void)
{
	int id[40], bad = 0, after;

	for (int i = 0; i < 40; i++)
		id[i] = sem_new(3);
	is(proc_wait(proc_run(sets_run, id)), 0, "undo in 40 sets, one of which is removed before the end");
	after = sem_new(3);
	for (int i = 0; i < 40; i++)
		bad += i != 5 && sem_value(id[i], i % 3) != 0;
	is(bad, 0, "is undone in all others");
	is(sem_value(after, 2), 0, "and not in a set that was made later");
	for (int i = 0; i < 40; i++)
		obj_remove(SEM, id[i]);
}

/* Threads: undo is the process's */

static void *thread_undo(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)sem_do(job->id, 0, 1, SEM_UNDO);
}

static void *thread_take(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)sem_do(job->id, 0, -1, SEM_UNDO);
}

static int threads_run(void *arg)
{
	pthread_t t;
	void *r;

	(void)arg;
	for (int i = 0; i < 50; i++) {
		if (pthread_create(&t, NULL, i % 5 ? thread_undo : thread_take, NULL) && i)
			return 1;
		pthread_join(t, &r);
		if (r)
			return 2;
	}
	job->step = 1;
	return wait_until(job->go) ? 0 : 3;
}

static void *thread_last(void *arg)
{
	(void)arg;
	sem_do(job->id, 0, 10, SEM_UNDO);
	wait_until(proc_state(getpid(), getpid()) == 'Z');
	job->step = 1;
	wait_until(job->go);
	return NULL;
}

static int main_leaves(void *arg)
{
	pthread_t t;

	(void)arg;
	sem_do(job->id, 0, 1, SEM_UNDO);
	pthread_create(&t, NULL, thread_last, NULL);
	pthread_exit(NULL);
}

static void test_threads(void)
{
	pid_t pid;

	job_reset(1);
	sem_set(job->id, 0, 100);
	pid = proc_run(threads_run, NULL);
	wait_until(job->step);
	is(sem_value(job->id, 0), 130, "the end of a thread undoes nothing");
	job->go = 1;
	is(proc_wait(pid), 0, "the end of its process");
	is(sem_value(job->id, 0), 100, "undoes what all its threads did");

	job_reset(1);
	pid = proc_run(main_leaves, NULL);
	ok(wait_until(job->step), "the main thread has ended, another goes on");
	is(sem_value(job->id, 0), 11, "nothing is undone");
	job->go = 1;
	is(proc_wait(pid), 0, "until that one ends too");
	is(sem_value(job->id, 0), 0, "then all is");
}

/* fork: a child inherits no undo */

static int child_ends(void *arg)
{
	(void)arg;
	return sem_do(job->id, 0, 4, SEM_UNDO);
}

static int parent_forks(void *arg)
{
	pid_t pid;

	(void)arg;
	sem_do(job->id, 0, 2, SEM_UNDO);
	pid = proc_run(child_ends, NULL);
	if (proc_wait(pid) || sem_value(job->id, 0) != 2)
		return 1;
	pid = fork();
	if (pid == 0) {
		job->step = 1;
		wait_until(job->go);
		_exit(0);
	}
	job->id2 = pid;
	return wait_until(job->step) ? 0 : 2;
}

static void test_fork(void)
{
	pid_t pid;

	job_reset(1);
	pid = proc_run(parent_forks, NULL);
	is(proc_wait(pid), 0, "a child inherits no undo: its end undoes what it did itself");
	is(sem_value(job->id, 0), 0, "the parent's end undoes the parent's, though a child lives on");
	job->go = 1;
	ok(wait_until(kill(job->id2, 0) < 0 || proc_state(job->id2, job->id2) == 'Z'), "the child ends");
	is(sem_value(job->id, 0), 0, "and undoes nothing");
}

/* kill -9 at random moments among processes that take units and give them back, with undo: in the end all are there. */
static int borrow_run(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;

	for (;;) {
		int a = rand_r(&seed) % 4, b = rand_r(&seed) % 4, n = 1 + rand_r(&seed) % 3;
		struct sembuf take[] = { { a, -n, SEM_UNDO }, { b, -1, SEM_UNDO } };
		struct sembuf give[] = { { b, 1, SEM_UNDO }, { a, n, SEM_UNDO } };
		if (semop(job->id, take, 2) || semop(job->id, give, 2))
			return 1;
		job->step++;
	}
}

static void test_kill_storm(unsigned int seed)
{
	int bad = 0, sum = 0;
	pid_t pid[4];

	job_reset(4);
	for (int i = 0; i < 4; i++)
		sem_set(job->id, i, 5);
	for (int i = 0; i < 4; i++, seed++)
		pid[i] = proc_run(borrow_run, &seed);
	for (int i = 0; i < 200; i++, seed++) {
		nanosleep(&(struct timespec){ .tv_nsec = rand_r(&seed) % 1000000 }, NULL);
		proc_kill(pid[i % 4]);
		pid[i % 4] = proc_run(borrow_run, &seed);
	}
	for (int i = 0; i < 4; i++)
		proc_kill(pid[i]);
	for (int i = 0; i < 4; i++) {
		int v = sem_value(job->id, i);
		sum += v;
		bad += v != 5 || sem_ncnt(job->id, i) || sem_zcnt(job->id, i);
	}
	diag("%d steps", (int)job->step);
	is(sum, 20, "200 processes killed as they take and give units: no unit is lost or made");
	is(bad, 0, "each is back in its place, and nobody is counted as waiting");
}

int main(void)
{
	unsigned int seed = tap_seed();

	alarm(60);
	test_ends();
	test_sums();
	test_wakes();
	test_heirs();
	test_sleeper();
	test_sets();
	test_threads();
	test_fork();
	test_kill_storm(seed);
	return done_testing();
}
