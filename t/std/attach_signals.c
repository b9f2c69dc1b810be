/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals that strike in shmat and shmdt. Each handler runs once, with what came with its signal and with the mask that
 * it asked for; queued signals keep their order; a handler for one signal only is gone after it; and whatever a handler
 * does, and however it ends, as many attachments are counted as there are.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "proc.h"
#include "tap.h"

#define SIZE (1024 * 1024)
#define MANY 400

/* The sender sees how far the test is. */
static struct { volatile int ready, struck, wrong; } *sh;
static int segment;
static pid_t sender;
static sigjmp_buf back;

/* What main blocks, and nothing else. */
static bool mask_is_mine(void)
{
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	return sigismember(&mask, SIGQUIT) && !sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGUSR1);
}

static long attached(void)
{
	struct shmid_ds ds;

	return shmctl(segment, IPC_STAT, &ds) ? -1 : (long)ds.shm_nattch;
}

/* Segments' worth of addresses that this process has, beside some others. */
static long mapped(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = -1;

	if (f && fscanf(f, "%ld", &pages) != 1)
		pages = -1;
	if (f)
		fclose(f);
	return pages * 4096;
}

static void attach_and_detach(void)
{
	char *p = shmat(segment, NULL, 0);

	if (p == (void *)-1 || shmdt(p))
		sh->wrong++;
}

/* Another process sends MANY signals, with the values 1, 2, ...; the next one when this one was taken, or all at once. */
static void send_many(int sig, bool at_once)
{
	pid_t parent = getpid();

	sh->ready = sh->struck = sh->wrong = 0;
	fflush(stdout);
	sender = fork();
	if (sender)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 1; i <= MANY; i++) {
		while (sh->ready < (at_once ? 1 : i))
			sched_yield();
		while (sigqueue(parent, sig, (union sigval){ .sival_int = i }) && errno == EAGAIN)
			sched_yield();
	}
	_exit(0);
}

static void end(const char *what)
{
	proc_wait(sender);
	is(sh->struck, MANY, "%s: each signal has been handled", what);
	is(sh->wrong, 0, "%s: nothing was wrong", what);
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGTERM);
	sigaction(sig, &sa, NULL);
}

static void in_turn(int sig, siginfo_t *si, void *context)
{
	(void)sig, (void)context;
	if (si->si_code != SI_QUEUE || si->si_pid != sender || si->si_value.sival_int != sh->struck + 1)
		sh->wrong++;
	sh->struck++;
}

static void lone(int sig, siginfo_t *si, void *context)
{
	(void)sig, (void)si, (void)context;
}

static void counted(int sig, siginfo_t *si, void *context)
{
	(void)sig, (void)si, (void)context;
	sh->struck++;
}

static void nested(int sig, siginfo_t *si, void *context)
{
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, sig) || !sigismember(&mask, SIGQUIT) ||
	    sigismember(&mask, SIGHUP))
		sh->wrong++;
	attach_and_detach();
	in_turn(sig, si, context);
	sh->ready++;
}

static void jumping(int sig, siginfo_t *si, void *context)
{
	in_turn(sig, si, context);
	siglongjmp(back, 1);
}

static void until_all(void)
{
	while (sh->struck < MANY)
		attach_and_detach();
}

static void a_handler_attaches_too(int sig, const char *what)
{
	long before = attached();

	handle(sig, nested, 0);
	send_many(sig, false);
	sh->ready = 1;
	until_all();
	ok(mask_is_mine(), "%s: the signal mask is as before", what);
	end(what);
	is(attached(), before, "%s: nothing stays attached", what);
}

static void queued_signals_keep_their_order(void)
{
	long before = attached();

	handle(SIGRTMIN + 2, in_turn, 0);
	send_many(SIGRTMIN + 2, true);
	sh->ready = 1;
	until_all();
	end("queued");
	is(attached(), before, "queued: nothing stays attached");
}

static void a_handler_for_one_signal_only(void)
{
	struct sigaction now;
	int stayed = 0;

	handle(SIGUSR2, in_turn, SA_RESETHAND);
	send_many(SIGUSR2, false);
	for (int i = 1; i <= MANY; i++) {
		handle(SIGUSR2, in_turn, SA_RESETHAND);
		sh->ready = i;
		while (sh->struck < i)
			attach_and_detach();
		sigaction(SIGUSR2, NULL, &now);
		stayed += now.sa_handler != SIG_DFL;
	}
	end("one signal only");
	is(stayed, 0, "one signal only: the handler is gone after it");
}

static void a_handler_jumps_out(int sig, const char *what)
{
	long before = mapped(), n;

	handle(sig, jumping, 0);
	send_many(sig, false);
	while (sh->struck < MANY) {
		if (!sigsetjmp(back, 1)) {
			sh->ready = sh->struck + 1;
			for (;;)
				attach_and_detach();
		}
	}
	end(what);
	n = attached();
	ok(n >= 0 && n <= MANY, "%s: %ld attachments", what, n);
	is((mapped() - before + SIZE / 2) / SIZE, n, "%s: as many are mapped", what);
	attach_and_detach();
	is(attached(), n, "%s: it can be attached and detached as before", what);
}

/* A program may install it so: not by sigaction. */
static void handle_by_number(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct { uintptr_t handler; unsigned long flags; uintptr_t restorer; uint64_t mask; } a;

	handle(sig, handler, 0); /* libc says what is to come after the handler */
	syscall(SYS_rt_sigaction, sig, NULL, &a, 8);
	a.handler = (uintptr_t)handler;
	a.mask = 0;
	if (syscall(SYS_rt_sigaction, sig, &a, NULL, 8))
		bail_out("rt_sigaction");
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void handle_by_sigset(int sig, void (*handler)(int, siginfo_t *, void *))
{
	sigset(sig, (void (*)(int))(uintptr_t)handler);
}

static volatile bool can_jump;
static volatile int jumps;

static void jump(int sig)
{
	(void)sig;
	jumps++;
	if (can_jump)
		siglongjmp(back, 1);
}

static void *attach_once(void *arg)
{
	attach_and_detach();
	return arg;
}

/* In a child of its own: a handler that was installed so jumps out, and then another thread attaches. */
static int jump_out(void *arg)
{
	void (*install)(int, void (*)(int, siginfo_t *, void *)) = (void (*)(int, void (*)(int, siginfo_t *, void *)))(uintptr_t)arg;
	struct itimerval every = { .it_interval.tv_usec = 100, .it_value.tv_usec = 100 };
	pthread_t t;

	install(SIGALRM, (void (*)(int, siginfo_t *, void *))(uintptr_t)jump);
	setitimer(ITIMER_REAL, &every, NULL);
	while (jumps < MANY) {
		if (!sigsetjmp(back, 1)) {
			can_jump = true;
			for (;;)
				attach_and_detach();
		}
		can_jump = false;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	sh->wrong = 0;
	alarm(10);
	signal(SIGALRM, SIG_DFL);
	if (pthread_create(&t, NULL, attach_once, NULL) || pthread_join(t, NULL))
		return 1;
	return sh->wrong;
}

/* Who sends SIGCONT takes back the stop signals that are pending, and the other way round; but not what comes later. */
static int one_after_the_other(void *arg)
{
	const int *sig = arg;
	pid_t parent = getpid();

	handle(sig[0], lone, 0);
	handle(sig[1], counted, 0);
	sh->ready = sh->struck = 0;
	sender = fork();
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 1; i <= MANY; i++) {
			kill(parent, sig[0]);
			kill(parent, sig[1]);
			if (!wait_until(sh->struck >= i))
				break;
		}
		sh->ready = 1;
		_exit(0);
	}
	while (!sh->ready)
		attach_and_detach();
	proc_wait(sender);
	return sh->struck != MANY;
}

static void stop_signals(void)
{
	is(proc_wait(proc_run(one_after_the_other, (int[]){ SIGCONT, SIGTSTP })), 0, "stopped after it was continued: handled");
	is(proc_wait(proc_run(one_after_the_other, (int[]){ SIGTSTP, SIGCONT })), 0, "continued after it was stopped: handled");
}

/* ---- a handler that another thread installs while this one attaches ---- */

static volatile int once_flags, once_signal, once;
static volatile pid_t attacher;

static void only_once(int sig)
{
	(void)sig;
	once++;
	if (can_jump)
		siglongjmp(back, 1);
}

static void *attach_all_the_while(void *arg)
{
	if (!sigsetjmp(back, 1)) {
		can_jump = true;
		attacher = gettid();
		while (!once)
			attach_and_detach();
	}
	can_jump = false;
	return arg;
}

static int install_meanwhile(void *arg)
{
	struct sigaction sa = { .sa_handler = only_once, .sa_flags = once_flags };
	pthread_t t;

	(void)arg;
	attach_and_detach();
	attach_and_detach();
	if (pthread_create(&t, NULL, attach_all_the_while, NULL))
		return 1;
	while (!attacher)
		sched_yield();
	for (volatile int i = random() % 20000; i > 0; i--)
		;
	sigaction(once_signal, &sa, NULL);
	syscall(SYS_tgkill, getpid(), attacher, once_signal);
	pthread_join(t, NULL);
	alarm(10);
	sh->wrong = 0;
	attach_and_detach();
	return once != 1 || sh->wrong;
}

static void another_thread_installs_it(int sig, int flags, const char *what)
{
	int bad = 0;

	once_signal = sig;
	once_flags = flags;
	for (int i = 0; i < MANY / 10 && bad < 3; i++) {
		random();
		bad += proc_wait(proc_run(install_meanwhile, NULL)) != 0;
	}
	is(bad, 0, "%s: it is handled once, and may jump out", what);
}

static void *loop(void *arg)
{
	(void)arg;
	until_all();
	return NULL;
}

static void threads_attach_all_the_while(void)
{
	long before = attached();
	pthread_t t[3];

	handle(SIGUSR1, nested, 0);
	send_many(SIGUSR1, false);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, loop, NULL);
	sh->ready = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	end("threads");
	is(attached(), before, "threads: nothing stays attached");
}

int main(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGQUIT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	segment = shmget(IPC_PRIVATE, SIZE, 0600);
	if (sh == MAP_FAILED || segment < 0)
		bail_out("no segment");
	attach_and_detach();
	a_handler_attaches_too(SIGUSR1, "one by one");
	a_handler_jumps_out(SIGUSR1, "jumping");
	threads_attach_all_the_while();
	is(proc_wait(proc_run(jump_out, (void *)(uintptr_t)handle_by_sigset)), 0, "sigset: a handler jumps out");
	is(proc_wait(proc_run(jump_out, (void *)(uintptr_t)handle_by_number)), 0, "by number: a handler jumps out");
	another_thread_installs_it(SIGUSR2, SA_RESETHAND, "one signal only, from another thread");
	another_thread_installs_it(SIGRTMIN + 3, 0, "queued, from another thread");
	stop_signals();
	a_handler_for_one_signal_only();
	queued_signals_keep_their_order();
	a_handler_attaches_too(SIGUSR1, "after those that cannot be held");
	succeeds(shmctl(segment, IPC_RMID, NULL), "the segment can be removed");
	return done_testing();
}
