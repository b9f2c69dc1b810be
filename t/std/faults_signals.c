/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program's own signal handling, beside System V calls: what it installs is what it sees and what runs, with the
 * flags, mask, stack and arguments that it asked for. Whoever wraps handlers to find out about signals in a sleep
 * must not show. Everything is tried in a child that has used all three kinds of object.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <ucontext.h>

#include "objects.h"

static int sem, sem_other;
static volatile sig_atomic_t ran, seen_value, seen_errno;
static volatile pid_t seen_pid;
static sigset_t seen_mask;
static char *volatile seen_stack;
static void *volatile seen_context;

static void plain(int sig)
{
	ran += sig == SIGUSR1 || sig == SIGUSR2 ? 1 : 1000;
	pthread_sigmask(SIG_BLOCK, NULL, &seen_mask);
	seen_stack = __builtin_frame_address(0);
}

static void with_info(int sig, siginfo_t *si, void *context)
{
	plain(sig);
	seen_pid = si->si_pid;
	seen_value = si->si_value.sival_int;
	seen_context = context;
}

static struct sigaction asked(int sig)
{
	struct sigaction sa;

	memset(&sa, 0xff, sizeof sa);
	sigaction(sig, NULL, &sa);
	return sa;
}

static void install(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static void interrupt_semop(int sig)
{
	pid_t me = getpid(), pid = fork();

	if (pid == 0) {
		wait_until(sem_ncnt(sem, 0) == 1);
		kill(me, sig);
		_exit(0);
	}
	errno = 0;
	seen_errno = sem_do(sem, 0, -1, 0) == -1 ? errno : 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int see_own(void *arg)
{
	struct sigaction sa = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_RESTART }, old;

	(void)arg;
	if (asked(SIGUSR1).sa_handler != SIG_DFL)
		return 1;
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaddset(&sa.sa_mask, SIGHUP);
	sigaction(SIGUSR1, &sa, NULL);
	old = asked(SIGUSR1);
	if (old.sa_sigaction != with_info || (old.sa_flags & ~0x04000000) != sa.sa_flags)
		return 2;
	if (!sigismember(&old.sa_mask, SIGUSR2) || !sigismember(&old.sa_mask, SIGHUP))
		return 3;
	if (sigismember(&old.sa_mask, SIGINT) || sigismember(&old.sa_mask, SIGUSR1))
		return 8;
	sa = (struct sigaction){ .sa_handler = plain };
	sigaction(SIGUSR1, &sa, &old);
	if (old.sa_sigaction != with_info || asked(SIGUSR1).sa_handler != plain)
		return 4;
	if (signal(SIGUSR1, SIG_IGN) != plain || signal(SIGUSR1, plain) != SIG_IGN || signal(SIGUSR1, SIG_DFL) != plain)
		return 5;
	if (asked(SIGUSR1).sa_handler != SIG_DFL)
		return 6;
	signal(SIGUSR1, plain);
	return asked(SIGUSR1).sa_flags & SA_RESTART ? 0 : 7;
}

static int see_errors(void *arg)
{
	struct sigaction sa = { .sa_handler = plain };

	(void)arg;
	if (sigaction(SIGKILL, &sa, NULL) != -1 || errno != EINVAL || signal(SIGSTOP, plain) != SIG_ERR)
		return 1;
	if (sigaction(0, &sa, NULL) != -1 || errno != EINVAL || sigaction(65, &sa, NULL) != -1 || errno != EINVAL)
		return 2;
	return sigaction(-1, NULL, &sa) == -1 && errno == EINVAL ? 0 : 3;
}

static int run_info(void *arg)
{
	struct sigaction sa = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO };

	(void)arg;
	sigaction(SIGUSR1, &sa, NULL);
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 4711 });
	return ran == 1 && seen_pid == getpid() && seen_value == 4711 && seen_context ? 0 : 1;
}

static int run_mask(void *arg)
{
	struct sigaction sa = { .sa_handler = plain };
	sigset_t now;

	(void)arg;
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaddset(&sa.sa_mask, SIGHUP);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	if (!sigismember(&seen_mask, SIGUSR1) || !sigismember(&seen_mask, SIGUSR2) || !sigismember(&seen_mask, SIGHUP))
		return 1;
	if (sigismember(&seen_mask, SIGTERM) || sigismember(&seen_mask, SIGINT))
		return 2;
	sigprocmask(SIG_BLOCK, NULL, &now);
	if (sigismember(&now, SIGUSR1) || sigismember(&now, SIGUSR2))
		return 3;
	install(SIGUSR1, plain, SA_NODEFER);
	raise(SIGUSR1);
	return sigismember(&seen_mask, SIGUSR1) ? 4 : 0;
}

static int run_reset(void *arg)
{
	(void)arg;
	install(SIGUSR1, plain, SA_RESETHAND);
	interrupt_semop(SIGUSR1);
	if (ran != 1 || seen_errno != EINTR)
		return 1;
	if (asked(SIGUSR1).sa_handler != SIG_DFL)
		return 2;
	raise(SIGUSR1);
	return 3;
}

static int run_stack(void *arg)
{
	static char stack[65536];
	stack_t s = { .ss_sp = stack, .ss_size = sizeof stack };

	(void)arg;
	sigaltstack(&s, NULL);
	install(SIGUSR1, plain, SA_ONSTACK);
	interrupt_semop(SIGUSR1);
	return ran == 1 && seen_errno == EINTR && seen_stack > stack && seen_stack < stack + sizeof stack ? 0 : 1;
}

/* Reads restart with SA_RESTART and end without it, in the same program in which semop never restarts. */
static int run_restart(void *arg)
{
	int fd[2], flags = *(int *)arg, err;
	pid_t me = getpid(), pid;
	char c = 0;
	ssize_t r;

	if (pipe(fd))
		return 1;
	install(SIGUSR1, plain, flags);
	interrupt_semop(SIGUSR1);
	if (seen_errno != EINTR || ran != 1)
		return 2;
	pid = fork();
	if (pid == 0) {
		wait_until(proc_settled(me, me));
		kill(me, SIGUSR1);
		wait_until(proc_settled(me, me));
		c = 'z';
		_exit(write(fd[1], &c, 1) != 1);
	}
	errno = 0;
	r = read(fd[0], &c, 1);
	err = errno;
	proc_kill(pid);
	if (flags ? r != 1 || c != 'z' : r != -1 || err != EINTR)
		return 3;
	return ran == 2 ? 0 : 4;
}

/* Signals that are fetched, not handled. */
static int run_fetch(void *arg)
{
	struct signalfd_siginfo si;
	struct timespec none = { 0 };
	sigset_t set;
	int fd, sig;

	(void)arg;
	install(SIGUSR1, plain, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	sem_do(sem_other, 0, 1, 0);
	sem_do(sem_other, 0, -1, 0);
	if (ran || sigwait(&set, &sig) || sig != SIGUSR1)
		return 1;
	kill(getpid(), SIGUSR1);
	if (sigtimedwait(&set, NULL, &none) != SIGUSR1)
		return 2;
	fd = signalfd(-1, &set, 0);
	kill(getpid(), SIGUSR1);
	if (read(fd, &si, sizeof si) != sizeof si || si.ssi_signo != SIGUSR1)
		return 3;
	sigpending(&set);
	return ran || sigismember(&set, SIGUSR1) ? 4 : 0;
}

/* A handler in a fork's child is the parent's; exec keeps only what is ignored. */
static int run_inherit(void *arg)
{
	int status = -1;
	pid_t pid;

	(void)arg;
	install(SIGUSR1, plain, 0);
	signal(SIGUSR2, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		interrupt_semop(SIGUSR1);
		_exit(ran == 1 && seen_errno == EINTR && asked(SIGUSR1).sa_handler == plain ? 0 : 9);
	}
	waitpid(pid, &status, 0);
	if (status)
		return 1;
	execlp("sh", "sh", "-c", "kill -USR2 $$; kill -USR1 $$; exit 3", NULL);
	return 2;
}

/* Handlers that change handlers, and the handler that interrupts another one. */
static void second(int sig)
{
	(void)sig;
	ran += 10;
}

static void changes(int sig)
{
	ran++;
	signal(sig, second);
	sem_do(sem_other, 0, 1, 0);
	raise(SIGUSR2);
	sem_do(sem_other, 0, -1, 0);
}

static int run_nested(void *arg)
{
	(void)arg;
	install(SIGUSR1, changes, 0);
	install(SIGUSR2, second, 0);
	interrupt_semop(SIGUSR1);
	if (ran != 11 || seen_errno != EINTR || sem_value(sem_other, 0))
		return 1;
	interrupt_semop(SIGUSR1);
	return ran == 21 && seen_errno == EINTR && sem_ncnt(sem, 0) == 0 ? 0 : 2;
}

/* errno is the interrupted code's, whatever a handler's calls do. */
static void fails(int sig)
{
	int saved = errno;

	(void)sig;
	ran++;
	sem_do(sem_other, 0, -1, IPC_NOWAIT);
	errno = saved;
}

static int run_errno(void *arg)
{
	(void)arg;
	install(SIGUSR1, fails, 0);
	for (int i = 0; i < 1000; i++) {
		errno = 4000 + i;
		raise(SIGUSR1);
		if (errno != 4000 + i)
			return 1;
	}
	sem_do(sem_other, 0, 1, 0);
	errno = 1234;
	if (sem_do(sem_other, 0, -1, 0) || errno != 1234)
		return 2;
	return 0;
}

/* A stack overflow is caught on the alternate stack, also in a program that has attached segments. */
static sigset_t fault_mask;

static void fault(int sig, siginfo_t *si, void *context)
{
	(void)context;
	pthread_sigmask(SIG_BLOCK, NULL, &fault_mask);
	_exit(sig == SIGSEGV && si->si_code == SEGV_MAPERR ? 33 : 34);
}

static int run_fault(void *arg)
{
	struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO };
	int id = *(int *)arg;
	char *p = shm_map(id, 0);

	sigaction(SIGSEGV, &sa, NULL);
	*(volatile char *)p = 1;
	shmdt(p);
	*(volatile char *)p = 1;
	return 1;
}

static struct { pthread_t thread; atomic_int ran, tid; } other;

static void in_thread(int sig)
{
	(void)sig;
	other.ran++;
	other.tid = gettid();
}

static void *thread_sleeps(void *arg)
{
	*(int *)arg = sem_do(sem, 0, -1, 0) == -1 ? errno : 0;
	return NULL;
}

/* A signal for one thread ends that one's sleep alone. */
static int run_threads(void *arg)
{
	int r[3] = { -1, -1, -1 };
	pthread_t t[3];

	(void)arg;
	install(SIGUSR1, in_thread, SA_RESTART);
	for (int i = 0; i < 3; i++) {
		pthread_create(&t[i], NULL, thread_sleeps, &r[i]);
		if (!wait_until(sem_ncnt(sem, 0) == i + 1))
			return 1;
	}
	pthread_kill(t[1], SIGUSR1);
	pthread_join(t[1], NULL);
	if (r[1] != EINTR || sem_ncnt(sem, 0) != 2 || other.ran != 1 || other.tid == gettid())
		return 2;
	sem_do(sem, 0, 2, 0);
	pthread_join(t[0], NULL);
	pthread_join(t[2], NULL);
	return r[0] || r[2] || sem_value(sem, 0) ? 3 : 0;
}

int main(void)
{
	int segment;
	char *p;

	alarm(60);
	sem = sem_new(1);
	sem_other = sem_new(1);
	segment = shm_new(PAGE);
	p = shm_map(segment, 0);
	is(proc_wait(proc_run(see_own, NULL)), 0, "sigaction and signal show the program its own handlers");
	is(proc_wait(proc_run(see_errors, NULL)), 0, "and their own errors");
	is(proc_wait(proc_run(run_info, NULL)), 0, "a handler gets its siginfo and context");
	is(proc_wait(proc_run(run_mask, NULL)), 0, "a handler runs with the mask that was asked for");
	is(proc_wait(proc_run(run_reset, NULL)), 1000 + SIGUSR1, "SA_RESETHAND: the second signal kills");
	is(proc_wait(proc_run(run_stack, NULL)), 0, "SA_ONSTACK: a handler that ends a semop runs on its stack");
	is(proc_wait(proc_run(run_restart, &(int){ SA_RESTART })), 0, "SA_RESTART: semop ends, read goes on");
	is(proc_wait(proc_run(run_restart, &(int){ 0 })), 0, "no SA_RESTART: both end");
	is(proc_wait(proc_run(run_fetch, NULL)), 0, "sigwait, sigtimedwait and signalfd fetch signals");
	is(proc_wait(proc_run(run_inherit, NULL)), 1000 + SIGUSR1, "fork inherits handlers; exec what is ignored");
	is(proc_wait(proc_run(run_nested, NULL)), 0, "a handler that changes handlers, and is interrupted");
	is(proc_wait(proc_run(run_errno, NULL)), 0, "errno survives signals, and calls that succeed");
	is(proc_wait(proc_run(run_fault, &segment)), 33, "SIGSEGV on a detached segment reaches the program's handler");
	is(proc_wait(proc_run(run_threads, NULL)), 0, "a signal for one thread ends that one's semop alone");
	ok(sem_ncnt(sem, 0) == 0 && sem_value(sem, 0) == 0 && sem_value(sem_other, 0) == 0, "nothing is left behind");
	shmdt(p);
	return done_testing();
}
