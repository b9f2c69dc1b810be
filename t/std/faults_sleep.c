/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals and sleeping calls: EINTR whatever SA_RESTART says, handlers that use the same object or longjmp away,
 * and signals that strike at the worst moment. After each, no unit and no message is lost.
 */
#include <setjmp.h>
#include <sys/time.h>

#include "objects.h"

enum call { SEMOP, SEMTIMEDOP, ZERO, MSGRCV, MSGSND, CALLS };

static const char *const call_name[] = { "semop", "semtimedop", "semop for zero", "msgrcv", "msgsnd" };

struct job {
	int sem, queue, full;
	atomic_int ready, caught, go, result;
	atomic_long count, jumps;
	pid_t pid;
};

static struct job *job;
static sigjmp_buf away;

static void job_reset(void)
{
	if (!job)
		job = shared_new(sizeof *job);
	memset(job, 0, sizeof *job);
	job->sem = sem_new(3);
	job->queue = msg_new();
	job->full = msg_new();
	sem_set(job->sem, 1, 1);
	msg_limit(job->full, 0);
}

static void job_done(void)
{
	obj_remove(SEM, job->sem);
	obj_remove(MSG, job->queue);
	obj_remove(MSG, job->full);
}

static int call_run(enum call call)
{
	struct text m = { .type = 1 };
	struct timespec t = { .tv_sec = 25 };

	switch (call) {
	case SEMOP:
		return sem_do(job->sem, 0, -1, 0);
	case SEMTIMEDOP:
		return semtimedop(job->sem, &(struct sembuf){ 0, -1, 0 }, 1, &t);
	case ZERO:
		return sem_do(job->sem, 1, 0, 0);
	case MSGRCV:
		return msgrcv(job->queue, &m, sizeof m.data, 0, 0);
	default:
		return msgsnd(job->full, &m, 8, 0);
	}
}

/* True when the process sleeps in the call. */
static bool sleeps(enum call call, pid_t pid)
{
	if (call <= SEMTIMEDOP)
		return sem_ncnt(job->sem, 0) == 1;
	if (call == ZERO)
		return sem_zcnt(job->sem, 1) == 1;
	return job->ready && proc_settled(pid, pid);
}

/* Let the call go on. */
static void release(enum call call)
{
	if (call <= SEMTIMEDOP)
		sem_do(job->sem, 0, 1, 0);
	else if (call == ZERO)
		sem_do(job->sem, 1, -1, 0);
	else if (call == MSGRCV)
		msg_put(job->queue, 1, 3, 'r', 0);
	else
		msg_limit(job->full, 100);
}

/* Nobody waits, and nothing was taken or left by the call. */
static bool untouched(void)
{
	return sem_ncnt(job->sem, 0) == 0 && sem_zcnt(job->sem, 1) == 0 && sem_value(job->sem, 0) == 0 &&
	       sem_value(job->sem, 1) == 1 && msg_stat(job->queue).msg_qnum == 0 && msg_stat(job->full).msg_qnum == 0;
}

static void count_signal(int sig)
{
	(void)sig;
	job->caught++;
}

static void catch(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

/* EINTR */

struct interrupt {
	enum call call;
	int flags;
};

static int interrupt_run(void *arg)
{
	struct interrupt *i = arg;
	int r;

	catch(SIGUSR1, count_signal, i->flags);
	job->ready = 1;
	errno = 0;
	r = call_run(i->call);
	return r == -1 ? errno : r;
}

static void test_eintr(enum call call, int flags)
{
	struct interrupt i = { call, flags };
	pid_t pid;

	job_reset();
	pid = proc_run(interrupt_run, &i);
	wait_until(sleeps(call, pid));
	kill(pid, SIGUSR1);
	is(proc_wait(pid), EINTR, "%s ends with EINTR %s SA_RESTART", call_name[call], flags ? "with" : "without");
	is(job->caught, 1, "after one run of the handler");
	ok(untouched(), "and nothing happened");
	job_done();
}

/* Signals without a handler: ignored ones never end a call. */
static int ignore_run(void *arg)
{
	int r;

	signal(SIGUSR1, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	job->ready = 1;
	errno = 0;
	r = call_run(*(enum call *)arg);
	return r == -1 ? errno : 0;
}

static void test_ignored(enum call call)
{
	siginfo_t si;
	pid_t pid;

	job_reset();
	pid = proc_run(ignore_run, &call);
	wait_until(sleeps(call, pid));
	for (int i = 0; i < 20; i++) {
		kill(pid, SIGUSR1);
		kill(pid, SIGCHLD);
		kill(pid, SIGWINCH);
	}
	if (call == MSGRCV || call == MSGSND) {
		kill(pid, SIGSTOP);
		waitid(P_PID, pid, &si, WSTOPPED);
		kill(pid, SIGCONT);
		waitid(P_PID, pid, &si, WCONTINUED);
	}
	release(call);
	is(proc_wait(pid), 0, "%s sleeps on through ignored signals%s", call_name[call],
	   call == MSGRCV || call == MSGSND ? ", a stop and a continue" : "");
	job_done();
}

/* Blocked signals wait for the end of the call. */
static int blocked_run(void *arg)
{
	sigset_t set;
	int r;

	catch(SIGUSR1, count_signal, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	job->ready = 1;
	r = call_run(*(enum call *)arg);
	if (r < 0)
		return errno;
	if (job->caught)
		return 201;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return job->caught == 1 ? 0 : 202;
}

static void test_blocked(enum call call)
{
	pid_t pid;

	job_reset();
	pid = proc_run(blocked_run, &call);
	wait_until(sleeps(call, pid));
	kill(pid, SIGUSR1);
	release(call);
	is(proc_wait(pid), 0, "%s: a blocked signal is not delivered before the mask lets it", call_name[call]);
	job_done();
}

/* A handler that uses the same objects as the call that it interrupts. */
static void busy_handler(int sig)
{
	(void)sig;
	if (sem_do(job->sem, 0, 5, 0) || sem_do(job->sem, 0, -5, 0) || sem_do(job->sem, 0, -1, IPC_NOWAIT) != -1)
		job->result++;
	if (sem_ncnt(job->sem, 0) != 0 || sem_zcnt(job->sem, 1) != 0)
		job->result++;
	if (msg_put(job->queue, 1, 5, 'h', IPC_NOWAIT) || msg_take(job->queue, 1, IPC_NOWAIT) != 1)
		job->result++;
	if (msg_put(job->full, 1, 5, 'h', IPC_NOWAIT) != -1)
		job->result++;
	job->caught++;
}

static int busy_run(void *arg)
{
	enum call call = *(enum call *)arg;

	catch(SIGUSR1, busy_handler, SA_RESTART);
	for (int i = 0; i < 50; i++) {
		job->ready = 1;
		errno = 0;
		if (call_run(call) != -1 || errno != EINTR)
			return 1;
		job->ready = 0;
		if (!wait_until(job->go > i))
			return 2;
	}
	return 0;
}

static void test_busy_handler(enum call call)
{
	pid_t pid;

	job_reset();
	pid = proc_run(busy_run, &call);
	for (int i = 0; i < 50; i++) {
		wait_until(sleeps(call, pid));
		kill(pid, SIGUSR1);
		wait_until(!job->ready);
		job->go++;
	}
	is(proc_wait(pid), 0, "%s, interrupted 50 times by a handler that uses the same objects", call_name[call]);
	is(job->result, 0, "in which every call works, and nobody waits");
	ok(untouched(), "nothing is lost or left");
	job_done();
}

/* longjmp out of a sleeping call */

static void jump_handler(int sig)
{
	siglongjmp(away, sig);
}

static int jump_run(void *arg)
{
	enum call call = *(enum call *)arg;

	catch(SIGALRM, jump_handler, 0);
	if (sigsetjmp(away, 1) == 0) {
		setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_usec = 50000 }, NULL);
		call_run(call);
		return 1;
	}
	job->caught = 1;
	if (!wait_until(job->go))
		return 2;
	return call_run(call) < 0 ? 3 : 0;
}

static void test_jump(enum call call)
{
	pid_t pid;

	job_reset();
	pid = proc_run(jump_run, &call);
	ok(wait_until(job->caught), "%s: a SIGALRM handler longjmps out of the sleep", call_name[call]);
	ok(untouched(), "nobody waits any more");
	release(call);
	if (call == SEMOP || call == SEMTIMEDOP)
		is(sem_value(job->sem, 0), 1, "a unit that comes after it stays");
	if (call == MSGRCV)
		is(msg_stat(job->queue).msg_qnum, 1, "a message that comes after it stays");
	if (call == MSGSND)
		is(msg_stat(job->full).msg_qnum, 0, "room that comes after it stays");
	job->go = 1;
	is(proc_wait(pid), 0, "for the process's next call");
	job_done();
}

/*
 * The same at random moments beside a stream of units. What a call took that a jump left may go unseen by the
 * program, but not by its undo: at the end every unit is back.
 */
static int storm_run(void *arg)
{
	struct sembuf both[] = { { 0, -1, SEM_UNDO }, { 2, -1, SEM_UNDO } };
	unsigned int seed = *(unsigned int *)arg;
	volatile int i = 0;

	catch(SIGALRM, jump_handler, 0);
	if (sigsetjmp(away, 1))
		job->jumps++;
	while (i++ < 3000) {
		setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_usec = 1 + rand_r(&seed) % 150 }, NULL);
		if (semop(job->sem, both, 1 + rand_r(&seed) % 2) == 0)
			job->count++;
		setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	}
	job->go = 1;
	return 0;
}

static void test_storm(unsigned int seed)
{
	int given = 0;
	pid_t pid;

	job_reset();
	pid = proc_run(storm_run, &seed);
	while (!job->go && kill(pid, 0) == 0 && proc_state(pid, pid) != 'Z') {
		struct sembuf two[] = { { 0, 1, 0 }, { 2, 1, 0 } };
		if ((sem_value(job->sem, 0) < 2 || sem_value(job->sem, 2) < 2) && given < 30000) {
			semop(job->sem, two, 2);
			given++;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 30000 }, NULL);
	}
	is(proc_wait(pid), 0, "3,000 semops out of which a SIGALRM handler longjmps at random moments");
	diag("%ld done, %ld jumps, %d given", (long)job->count, (long)job->jumps, given);
	ok(job->jumps > 100, "many of them jumped");
	is(sem_value(job->sem, 0), given, "no unit is lost: all come back with the process's end");
	is(sem_value(job->sem, 2), given, "nor one of the second semaphore");
	ok(sem_ncnt(job->sem, 0) == 0 && sem_ncnt(job->sem, 2) == 0, "and nobody waits");
	job_done();
}

/*
 * Between the decision to sleep and the sleep: another process looks for the moment at which the set counts the
 * sleeper, and signals it right then. A signal that is lost there leaves the call asleep for good.
 */
static int strike_run(void *arg)
{
	(void)arg;
	catch(SIGUSR1, count_signal, SA_RESTART);
	for (int i = 0; !job->go; i++) {
		errno = 0;
		if (sem_do(job->sem, i % 2, i % 2 ? 0 : -1, 0) != -1 || errno != EINTR)
			return 1;
		if (job->caught != i + 1)
			return 2;
		job->ready = i + 1;
	}
	return 0;
}

static void test_strike(void)
{
	double start = proc_now(), end = start + T_WAIT;
	pid_t pid;
	int i;

	job_reset();
	pid = proc_run(strike_run, NULL);
	for (i = 0; !job->go; i++) {
		job->go = i == 5000 || proc_now() > start + 4;
		while ((i % 2 ? sem_zcnt(job->sem, 1) : sem_ncnt(job->sem, 0)) != 1 && proc_now() < end)
			sched_yield();
		kill(pid, SIGUSR1);
		while (job->ready != i + 1 && proc_now() < end)
			sched_yield();
		if (job->ready != i + 1)
			break;
	}
	diag("%d signals", i);
	is(job->ready, i, "a signal at the moment at which the sleeper is counted ends the call with EINTR, each time");
	if (!job->go || job->ready != i)
		kill(pid, SIGKILL);
	is(proc_wait(pid), 0, "after one run of the handler");
	ok(untouched(), "and nobody waits");
	job_done();
}

/*
 * An alarm that goes off about when the call falls asleep: the way to the call is made longer or shorter, so that it
 * comes as often before as in it. One that comes before the call cannot end it, so a second alarm follows; how often
 * that was needed is only shown, for it depends on how busy the machine is.
 */
static volatile int in_call, early, struck;

static void alarm_handler(int sig)
{
	(void)sig;
	if (in_call)
		struck++;
	else
		early++;
}

static int alarm_run(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;
	struct itimerval soon = { .it_value.tv_usec = 12, .it_interval.tv_usec = 5000 };
	int way = 1000;

	catch(SIGALRM, alarm_handler, SA_RESTART);
	while (job->count < 1500) {
		early = struck = 0;
		setitimer(ITIMER_REAL, &soon, NULL);
		for (int n = 0; n < way && !early; n++)
			;
		if (early) {
			way -= rand_r(&seed) % 200;
			continue;
		}
		way += rand_r(&seed) % 200;
		errno = 0;
		in_call = 1;
		if (sem_do(job->sem, 0, -1, 0) != -1 || errno != EINTR)
			return 1;
		in_call = 0;
		job->count++;
		job->result += !early && struck > 1;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	return 0;
}

static void test_alarm(unsigned int seed)
{
	pid_t pid;

	job_reset();
	pid = proc_run(alarm_run, &seed);
	is(proc_wait(pid), 0, "an alarm that strikes between the decision to sleep and the sleep: EINTR");
	diag("a second alarm was needed %d times in %ld", job->result, (long)job->count);
	ok(untouched(), "nobody waits");
	job_done();
}

int main(void)
{
	unsigned int seed = tap_seed();

	alarm(60);
	for (enum call call = SEMOP; call < CALLS; call++) {
		test_eintr(call, 0);
		test_eintr(call, SA_RESTART);
		test_ignored(call);
		test_blocked(call);
		test_busy_handler(call);
		test_jump(call);
	}
	test_storm(seed);
	test_strike();
	test_alarm(seed);
	return done_testing();
}
