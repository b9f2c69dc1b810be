/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd itself, stopped or killed at each system call that it makes for one request (before it, after it, or a random
 * number of instructions later), with the client alive or killed there too. Meanwhile the owner's calls on the object
 * go on at once and find it consistent; when ipcd goes on, or is started again, the client has its answer, sleepers are
 * woken, and once the client is dead every unit, adjustment, message, attachment, slot and file is accounted for.
 *
 * A request that ipcd had performed and not answered when it was killed may be performed twice (doc/open.md), so a scene
 * is told how often its effect may be there. Everything else is exact. While ipcd is stopped the test itself makes hot
 * calls only.
 */
#ifndef T_STEP_IPCD_H
#define T_STEP_IPCD_H

#include "step.h"

#define THREADS 64

enum act { ACT_STOP, ACT_CLIENT, ACT_KILL, ACT_BOTH, ACTS };
static const char *const act_name[ACTS] = { "stopped", "stopped, its client killed", "killed", "killed with its client" };

struct scene {
	const char *name;
	void (*prepare)(void);
	void (*warm)(void);    /* in the client, before */
	long (*call)(void);    /* in the client */
	void (*agent)(void);   /* makes possible what it sleeps for; NULL: it does not sleep */
	bool (*waits)(void);
	int (*look)(int least, int most, bool alive); /* by hot calls: how often the request was performed */
	void (*result)(void);  /* its answer */
	void (*after)(void);   /* when all have gone: with requests; the object is removed */
	void (*away)(void);    /* while there is no daemon; or NULL */
};

static const struct scene *now;
static enum act act;
static struct {
	volatile int ready, go, answered;
	volatile long result, error;
	volatile uint64_t serial;
} *client;
static bool killed; /* ipcd, in this round */
static bool unheard; /* the client died before it could tell its answer */
static int before;  /* how often the request had been performed by then */
static int twice;   /* rounds where a request was performed twice */

/* ---- tracing the daemon ---- */

static struct { pid_t tid; long nr; bool rests, stopped; } thread[THREADS];
static int threads;
static long count, stop_at; /* of system call stops since the request was there */
static bool counts;
static char where[40];

static bool is_rest(unsigned long nr)
{
	return nr == SYS_epoll_wait || nr == SYS_futex || nr == SYS_rt_sigtimedwait || nr == SYS_restart_syscall;
}

static void resume(int i)
{
	thread[i].stopped = false;
	ptrace(PTRACE_SYSCALL, thread[i].tid, NULL, NULL);
}

/* Some instructions further, most often few, so that what is met is not always a system call. */
static void creep(int i)
{
	long n = random() % 4 ? random() % (1 << random() % 12) : 0;
	int status;

	for (; n > 0; n--) {
		double end = proc_now() + 0.05;
		struct user_regs_struct r;

		ptrace(PTRACE_GETREGS, thread[i].tid, NULL, &r);
		if (is_rest(r.rax) && (ptrace(PTRACE_PEEKTEXT, thread[i].tid, (void *)r.rip, NULL) & 0xffff) == 0x050f)
			return;
		ptrace(PTRACE_SINGLESTEP, thread[i].tid, NULL, NULL);
		while (waitpid(thread[i].tid, &status, __WALL | WNOHANG) != thread[i].tid)
			if (proc_now() > end) { /* it waits for another one, which we have stopped */
				thread[i].stopped = false;
				return;
			}
		if (!WIFSTOPPED(status))
			bail_out("a thread of ipcd has ended");
	}
}

/* A stop of the thread's. True: it is the one where something is to happen. */
static bool stop_of(int i, int status)
{
	struct __ptrace_syscall_info info;

	thread[i].stopped = WIFSTOPPED(status);
	if (!thread[i].stopped || WSTOPSIG(status) != (SIGTRAP | 0x80) ||
	    ptrace(PTRACE_GET_SYSCALL_INFO, thread[i].tid, (void *)sizeof info, &info) < 0)
		return false;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		thread[i].rests = is_rest(info.entry.nr);
		counts |= info.entry.nr == SYS_recvmsg;
		if (!counts || thread[i].rests)
			return false;
		thread[i].nr = (long)info.entry.nr;
	} else {
		if (!counts || thread[i].rests)
			return false;
	}
	snprintf(where, sizeof where, "%s system call %ld", info.op == PTRACE_SYSCALL_INFO_ENTRY ? "before" : "after",
		 thread[i].nr);
	return ++count == stop_at;
}

static bool wait_stop(int i)
{
	int status;

	while (waitpid(thread[i].tid, &status, __WALL) == thread[i].tid && WIFSTOPPED(status)) {
		if (status >> 16 == PTRACE_EVENT_STOP) {
			thread[i].stopped = true;
			return true;
		}
		ptrace(PTRACE_SYSCALL, thread[i].tid, NULL, NULL); /* the interruption is still to come */
	}
	return false;
}

static void trace_begin(void)
{
	char path[40];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", (int)ipcd_pid);
	d = opendir(path);
	if (!d)
		bail_out("ipcd has gone");
	threads = 0;
	while ((e = readdir(d)) && threads < THREADS) {
		if (*e->d_name == '.')
			continue;
		thread[threads].tid = (pid_t)atoi(e->d_name);
		thread[threads].rests = true;
		if (ptrace(PTRACE_SEIZE, thread[threads].tid, NULL, (void *)PTRACE_O_TRACESYSGOOD) ||
		    ptrace(PTRACE_INTERRUPT, thread[threads].tid, NULL, NULL) || !wait_stop(threads))
			bail_out("ipcd can't be traced");
		threads++;
	}
	closedir(d);
	count = 0;
	counts = false;
	for (int i = 0; i < threads; i++)
		resume(i);
}

/* From system call to system call, until something is so; or until stop_at: then all threads are stopped, and true. */
static bool pump(bool (*until)(void))
{
	double end = proc_now() + T_WAIT / 3;
	int status;

	while (!until()) {
		bool any = false;

		for (int i = 0; i < threads; i++) {
			if (waitpid(thread[i].tid, &status, __WALL | WNOHANG) != thread[i].tid)
				continue;
			any = true;
			if (stop_of(i, status)) {
				creep(i);
				return true;
			}
			if (!thread[i].stopped)
				bail_out("a thread of ipcd has ended");
			resume(i);
		}
		if (!any)
			sched_yield();
		if (proc_now() > end) {
			step_check(false, "nothing goes on; client %s", client->answered ? "answered" : "waiting");
			return false;
		}
	}
	return false;
}

/* The end of a step that was taken for one that waits: it would kill who is not traced any more. */
static bool trap_pending(pid_t tid)
{
	struct __ptrace_peeksiginfo_args all = { .nr = 1 };
	siginfo_t si;

	return ptrace(PTRACE_PEEKSIGINFO, tid, &all, &si) == 1 && si.si_signo == SIGTRAP;
}

static void stop_all(void)
{
	for (int i = 0; i < threads; i++) {
		int status;

		if (!thread[i].stopped)
			ptrace(PTRACE_INTERRUPT, thread[i].tid, NULL, NULL);
		while (!thread[i].stopped) {
			if (waitpid(thread[i].tid, &status, __WALL) != thread[i].tid || !WIFSTOPPED(status))
				bail_out("a thread of ipcd does not stop");
			thread[i].stopped = !trap_pending(thread[i].tid);
			if (!thread[i].stopped)
				ptrace(PTRACE_CONT, thread[i].tid, NULL, NULL);
		}
	}
}

static void trace_end(void)
{
	stop_all();
	for (int i = 0; i < threads; i++)
		ptrace(PTRACE_DETACH, thread[i].tid, NULL, NULL);
}

static void kill_daemon(void)
{
	int status;

	kill(ipcd_pid, SIGKILL);
	for (int i = 0; i < threads; i++)
		if (thread[i].tid != ipcd_pid)
			while (waitpid(thread[i].tid, &status, __WALL) == thread[i].tid && WIFSTOPPED(status))
				;
	while (waitpid(ipcd_pid, &status, __WALL) == ipcd_pid && WIFSTOPPED(status))
		;
	ipcd_pid = 0;
	killed = true;
}

/* ---- the client ---- */

/* It asks when client->go says so. */
static int client_main(void *unused)
{
	(void)unused;
	ipcd_other_uid(STEP_OTHER);
	now->warm();
	client->ready = 1;
	while (!client->go)
		proc_nap();
	client->result = now->call();
	client->error = errno;
	client->answered = 1;
	for (;;)
		pause();
	return 0;
}

static bool answered(void)
{
	return client->answered;
}

/* The request sleeps, and the daemon has nothing more to do; or it has been answered already. */
static bool asleep(void)
{
	for (int i = 0; i < threads; i++)
		if (!thread[i].rests)
			return client->answered;
	return client->answered || now->waits();
}

static void client_ends(void)
{
	siginfo_t si;

	kill(step_pid, SIGKILL);
	if (waitid(P_PID, (id_t)step_pid, &si, WEXITED | WNOWAIT))
		bail_out("waitid");
	waitpid(step_pid, NULL, 0);
}

/* ---- one round ---- */

/* To the answer. True: it was stopped on the way. */
static bool run(void)
{
	client->go = 1;
	if (now->agent) {
		if (pump(asleep))
			return true;
		now->agent();
	}
	return pump(answered);
}

/* Its answer, from a daemon that runs. What was performed twice may need twice what it sleeps for. */
static void wait_for_answer(void)
{
	double end = proc_now() + T_WAIT / 3;

	while (!client->answered && proc_now() < end) {
		step_quiet();
		if (!client->answered && now->agent && now->waits())
			now->agent();
	}
	step_check(client->answered, "no answer, %s", where);
}

/* What a client does not see is a registry in the middle of an operation: it waits for the daemon then. */
static int look_now(bool alive)
{
	if (step_ns->reg.head && WHO(atomic_load(&step_ns->reg.head->op)))
		return 1;
	return now->look(0, 1, alive);
}

static void at_the_stop(void)
{
	stop_all();
	step_sh->progress++;
	look_now(true);
	if (act == ACT_CLIENT) {
		client_ends();
		unheard = true;
		look_now(false);
	}
	if (act == ACT_KILL || act == ACT_BOTH) {
		kill_daemon();
		before = look_now(true);
		if (now->away)
			now->away();
		if (act == ACT_BOTH) {
			client_ends();
			unheard = true;
			look_now(false);
		}
		ipcd_start();
	} else {
		trace_end();
	}
}

/* False: there was no such system call. */
static bool round_of(long n)
{
	bool stopped;

	step_sh->k = n;
	step_sh->progress++;
	killed = unheard = false;
	before = 0;
	memset((void *)client, 0, sizeof *client);
	now->prepare();
	step_pid = proc_run(client_main, NULL);
	if (!wait_until(client->ready))
		bail_out("the client does not start");
	step_quiet();
	stop_at = n;
	*where = 0;
	trace_begin();
	stopped = run();
	if (stopped)
		at_the_stop();
	else
		trace_end();
	if (!unheard) {
		wait_for_answer();
		step_quiet();
		now->look(1, 1 + before, true);
		now->result();
		client_ends();
	}
	step_quiet();
	now->look(0, 2, false);
	now->after();
	return stopped;
}

static void sweep(const struct scene *s, long total, long every)
{
	long rounds = 0, phase = every > 1 ? random() % every : 0;
	double begin = proc_now();

	step_bad = twice = 0;
	snprintf(step_sh->round, sizeof step_sh->round, "%s, ipcd %s", s->name, act_name[act]);
	for (long n = 1 + phase; n <= total; n += every, rounds++)
		round_of(n);
	diag("%.2f s, %d performed twice", proc_now() - begin, twice);
	ok(!step_bad && rounds, "%s (at %ld of %ld stops)", step_sh->round, rounds, total);
}

/* T_STEP=n: one stop in n; else a few. T_SCENE: only the scene of that name. */
static void play(const struct scene *s)
{
	long total, every = step_every(0);

	if (getenv("T_SCENE") && strcmp(getenv("T_SCENE"), s->name))
		return;
	now = s;
	act = ACT_STOP;
	step_bad = 0;
	snprintf(step_sh->round, sizeof step_sh->round, "%s, recorded", s->name);
	round_of(0);
	total = count;
	ok(total > 4 && !step_bad, "%s: %ld stops", s->name, total);
	for (act = 0; act < ACTS; act++)
		sweep(s, total, every ? every : total / 5 + 1);
}

/* Before anything else: the daemon, and where the client tells what it found. */
static void play_begin(void)
{
	cpu_set_t all;

	setenv("T_DAEMON", "other", 1);
	step_open();
	memset(&all, 0xff, sizeof all);
	sched_setaffinity(0, sizeof all, &all);
	client = mmap(NULL, sizeof *client, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (client == MAP_FAILED)
		bail_out("no shared page");
}

static int check_directory(void *unused)
{
	(void)unused;
	close(1); /* all is well, it says there */
	open("/dev/null", O_WRONLY);
	execl(ipcd_program, "ipcd", "--check", "--namespace-dir", ipcd_ns, (char *)NULL);
	return 98;
}

/* All is free, the daemon ends, and the directory is in order and empty. */
static int play_end(void)
{
	int files;

	step_all_free();
	ipc_close(step_ns);
	is(ipcd_end(SIGTERM), 0, "ipcd ends well");
	files = directory_files(ipcd_ns, "sem-") + directory_files(ipcd_ns, "msg-") + directory_files(ipcd_ns, "shm-");
	is(files, 0, "no object's file is left");
	is(proc_wait(proc_run(check_directory, NULL)), 0, "ipcd --check finds nothing wrong");
	directory_remove(step_dir);
	return done_testing();
}

#endif
