/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * semtimedop and its timeout, removal under sleepers, and what a sleeper costs. That a timeout does not end early is
 * checked; that it does not end late is not.
 */
#include <limits.h>

#include "objects.h"

static int timed(int id, int num, int op, int flags, long sec, long nsec)
{
	struct sembuf s = { num, op, flags };

	return semtimedop(id, &s, 1, &(struct timespec){ .tv_sec = sec, .tv_nsec = nsec });
}

static void test_timeout(void)
{
	int id = sem_new(2);
	double start;

	start = proc_now();
	call_fails(timed(id, 0, -1, 0, 0, 30000000), EAGAIN, "semtimedop ends with EAGAIN");
	ok(proc_now() - start >= 0.030, "not before its time");
	is(sem_ncnt(id, 0), 0, "and no longer counts as waiting");
	sem_do(id, 0, 1, 0);
	is(sem_value(id, 0), 1, "a unit that comes later stays");
	is(timed(id, 0, -1, 0, 0, 0), 0, "a timeout of zero takes what is there");
	call_fails(timed(id, 0, -1, 0, 0, 0), EAGAIN, "and does not wait");
	sem_set(id, 0, 1);
	start = proc_now();
	call_fails(timed(id, 0, 0, 0, 0, 20000000), EAGAIN, "waiting for zero times out too");
	ok(proc_now() - start >= 0.020, "not before its time");
	is(sem_zcnt(id, 0), 0, "and no longer counts");
	is(timed(id, 0, -1, 0, LONG_MAX, 999999999), 0, "the longest timeout is accepted");
	call_fails(timed(id, 0, -1, IPC_NOWAIT, 10, 0), EAGAIN, "IPC_NOWAIT does not wait for the timeout");
	call_fails(timed(id, 0, -1, 0, 0, 1000000000), EINVAL, "a timeout of 10^9 nanoseconds: EINVAL");
	call_fails(timed(id, 0, -1, 0, 0, -1), EINVAL, "a negative number of nanoseconds: EINVAL");
	call_fails(timed(id, 0, -1, 0, -1, 0), EINVAL, "a negative number of seconds: EINVAL");
	call_fails(timed(id, 0, 1, 0, -1, 0), EINVAL, "also when the operation need not wait");
	call_fails(timed(id, 2, 1, 0, 1, 0), EFBIG, "no such semaphore: EFBIG");
	is(sem_value(id, 0), 0, "nothing happened");
	is(semtimedop(id, &(struct sembuf){ 0, 1, 0 }, 1, NULL), 0, "no timeout: as semop");
	call_fails(semtimedop(id, &(struct sembuf){ 0, 1, 0 }, 1, (struct timespec *)1), EFAULT,
		   "a timeout at a bad address: EFAULT");
}

struct late {
	int id;
	atomic_int result;
};

static int late_run(void *arg)
{
	struct late *l = arg;

	return timed(l->id, 0, -1, 0, 20, 0) ? errno : 0;
}

static void test_in_time(void)
{
	struct late l = { .id = sem_new(1) };
	double start = proc_now();
	pid_t pid = proc_run(late_run, &l);

	wait_until(sem_ncnt(l.id, 0) == 1);
	sem_do(l.id, 0, 1, 0);
	is(sem_value(l.id, 0), 0, "a unit for a sleeper with a timeout is taken at once");
	is(proc_wait(pid), 0, "and it returns 0");
	ok(proc_now() - start < 15, "without waiting for its timeout");
}

/* Many short timeouts beside a stream of units: each unit is taken once or left. */
static int nibble_run(void *arg)
{
	struct late *l = arg;

	for (int i = 0; i < 600; i++)
		if (!timed(l->id, 0, -1, 0, 0, (i * 7919L) % 300000))
			l->result++;
		else if (errno != EAGAIN)
			return 1;
	return 0;
}

static void test_race_timeout(void)
{
	struct late *l = shared_new(sizeof *l);
	int given = 0, bad = 0, live = 3;
	pid_t pid[3];

	l->id = sem_new(1);
	for (int i = 0; i < 3; i++)
		pid[i] = proc_run(nibble_run, l);
	while (live) {
		if (given < 1000000 && sem_value(l->id, 0) < 3) {
			sem_do(l->id, 0, 1, 0);
			given++;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
		for (int i = 0; i < 3; i++)
			if (pid[i] && waitpid(pid[i], &bad, WNOHANG) == pid[i]) {
				ok(bad == 0, "a process with 600 short timeouts ends well");
				pid[i] = 0;
				live--;
			}
	}
	is(l->result + sem_value(l->id, 0), given, "a unit that meets a timeout is taken or stays, never lost");
	is(sem_ncnt(l->id, 0), 0, "and nobody is left waiting");
	munmap(l, sizeof *l);
}

static void test_removed(void)
{
	enum { N = 12 };
	int id = sem_new(3), bad = 0;
	struct sembuf complex[] = { { 0, -1, SEM_UNDO }, { 1, -1, SEM_UNDO } };
	pid_t pid[3 * N];

	sem_set(id, 1, 1);
	for (int i = 0; i < N; i++) {
		pid[3 * i] = sem_sleeper(id, 0, -1, 0);
		pid[3 * i + 1] = sem_sleeper(id, 1, 0, SEM_UNDO);
		pid[3 * i + 2] = sem_child(id, complex, 2);
		wait_until(sem_ncnt(id, 0) == 2 * (i + 1));
	}
	is(sem_ncnt(id, 0) + sem_zcnt(id, 1), 3 * N, "sleepers of three kinds");
	succeeds(semctl(id, 0, IPC_RMID), "IPC_RMID under them");
	for (int i = 0; i < 3 * N; i++)
		bad += proc_wait(pid[i]) != EIDRM;
	is(bad, 0, "removal wakes every sleeper with EIDRM");
	call_fails(sem_do(id, 0, 1, 0), EINVAL, "the next call gets EINVAL");
}

struct cost {
	int sem, msg, full, kind;
	atomic_int in;
};

static int cost_run(void *arg)
{
	struct cost *c = arg;
	struct text m = { .type = 1 };

	c->in++;
	if (c->kind == 0)
		sem_do(c->sem, 0, -1, 0);
	if (c->kind == 1)
		timed(c->sem, 0, -1, 0, 20, 0);
	if (c->kind == 2)
		msgrcv(c->msg, &m, 10, 0, 0);
	if (c->kind == 3)
		msgsnd(c->full, &m, 10, 0);
	return 0;
}

static double cpu_of(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return -1;
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A second has to pass here for a cost to show. */
static void test_cost(void)
{
	static const char *name[] = { "semop", "semtimedop", "msgrcv", "msgsnd" };
	struct cost *c = shared_new(sizeof *c);
	double before[4], end;
	pid_t pid[4];

	c->sem = sem_new(1);
	c->msg = msg_new();
	c->full = msg_new();
	msg_limit(c->full, 5);
	for (c->kind = 0; c->kind < 4; c->kind++) {
		int in = c->in;
		pid[c->kind] = proc_run(cost_run, c);
		wait_until(c->in == in + 1 && proc_settled(pid[c->kind], pid[c->kind]));
	}
	for (int i = 0; i < 4; i++)
		before[i] = cpu_of(pid[i]);
	end = proc_now() + 1.2;
	wait_until(proc_now() > end);
	for (int i = 0; i < 4; i++) {
		double used = cpu_of(pid[i]) - before[i];
		ok(proc_state(pid[i], pid[i]) == 'S' && used < 0.02, "a sleeper in %s uses next to no processor time",
		   name[i]);
		proc_kill(pid[i]);
	}
	munmap(c, sizeof *c);
}

int main(void)
{
	alarm(60);
	test_timeout();
	test_in_time();
	test_race_timeout();
	test_removed();
	test_cost();
	return done_testing();
}
