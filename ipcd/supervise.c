/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parent of a program. See supervise.h.
 *
 * Every signal is blocked and taken one by one. What the kernel sends (terminal, hangup) reaches the child anyway.
 * What a process sends goes on to the child, if it was sent to the parent alone: a witness, a process of the same
 * group with every signal blocked, has the others pending too. It is younger than the parent, and the kernel serves
 * the younger members of a group first.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervise.h"

static pid_t child, witness;
static uint64_t group_wide; /* signals that the group has got, and that we have not taken yet */
static int kept;

static uint64_t bit(int sig)
{
	return 1ull << (sig - 1);
}

/* ---- the witness ---- */

static void witness_start(void)
{
	pid_t parent = getpid();

	witness = fork();
	if (witness)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "ipcrun-witness");
	if (kept >= 0)
		close(kept); /* it has a lock */
	if (getppid() == parent)
		for (;;)
			pause();
	_exit(0);
}

static void witness_stop(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
}

static uint64_t witness_pending(pid_t pid)
{
	char path[40], line[256];
	unsigned long long pending = 0;
	FILE *f;

	if (pid <= 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "ShdPnd: %llx", &pending) == 1)
			break;
	if (f)
		fclose(f);
	return pending;
}

static uint64_t own_pending(void)
{
	uint64_t mask = 0;
	sigset_t set;

	sigpending(&set);
	for (int sig = 1; sig <= 64; sig++)
		if (sigismember(&set, sig) == 1)
			mask |= bit(sig);
	return mask;
}

/* What the witness has pending. One that has something is replaced. */
static uint64_t ask_witness(void)
{
	uint64_t pending = witness_pending(witness);
	pid_t old = witness;

	if (pending) {
		witness_start();
		pending |= witness_pending(old); /* what came until there was another one */
		witness_stop(old);
	}
	return pending;
}

/* Was the signal that we have just taken sent to the whole group? A stop signal has taken SIGCONT from the witness. */
static int sent_to_group(int sig)
{
	uint64_t pending = ask_witness(), stops = bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
	int yes = (group_wide | pending) & bit(sig) || (sig == SIGCONT && pending & stops);

	group_wide = (group_wide | pending) & own_pending() & ~bit(sig);
	return yes;
}

/* ---- signals ---- */

static void pass_on(const siginfo_t *info)
{
	int to_group = sent_to_group(info->si_signo);

	if (to_group || info->si_pid == child)
		return;
	if (info->si_code == SI_QUEUE)
		sigqueue(child, info->si_signo, info->si_value);
	else if (info->si_code == SI_USER || info->si_code == SI_TKILL)
		kill(child, info->si_signo);
}

static void unblock(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Take a signal that is pending, if it is. */
static int take(int sig, siginfo_t *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigtimedwait(&set, info, &(struct timespec){ 0, 0 }) == sig;
}

static int child_goes_on(void)
{
	siginfo_t info = { .si_pid = 0 };

	return !waitid(P_PID, (id_t)child, &info, WCONTINUED | WNOHANG | WNOWAIT) && info.si_pid;
}

/*
 * The child has stopped: so do we, and the shell sees a stopped job. A SIGCONT in between may come at any moment: one
 * that comes before our signal is found by asking the child, one that comes after it takes it away.
 */
static void stop_too(int sig)
{
	siginfo_t info;
	sigset_t all;

	if (take(SIGCONT, &info))
		pass_on(&info);
	signal(sig, SIG_DFL);
	if (sig != SIGSTOP)
		raise(sig);
	if (child_goes_on()) {
		take(sig, &info);
		return;
	}
	group_wide = (group_wide | ask_witness()) & own_pending();
	if (sig == SIGSTOP)
		raise(sig);
	unblock(sig);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

/* Look after children; true when the program has ended. */
static int reap(int *status)
{
	pid_t pid;
	int st;

	while ((pid = waitpid(-1, &st, WNOHANG | WUNTRACED)) > 0) {
		if (pid == witness && !WIFSTOPPED(st))
			witness = 0;
		if (pid != child)
			continue;
		if (WIFSTOPPED(st)) {
			stop_too(WSTOPSIG(st));
			continue;
		}
		*status = st;
		return 1;
	}
	return 0;
}

static int watch(const sigset_t *all)
{
	siginfo_t info;
	int status;

	for (;;) {
		if (reap(&status))
			return status;
		do
			if (sigwaitinfo(all, &info) < 0)
				info.si_signo = 0;
		while (!info.si_signo);
		if (info.si_signo != SIGCHLD)
			pass_on(&info);
	}
}

/* ---- start and end ---- */

static void close_all_but(int keep)
{
	if (keep > 0)
		syscall(SYS_close_range, 0, keep - 1, 0);
	syscall(SYS_close_range, keep + 1, ~0u, 0);
}

/* The program must be the only one that holds what it has inherited. */
static void let_go(int keep)
{
	int fd = keep;

	if (keep >= 0 && keep < 3)
		fd = fcntl(keep, F_DUPFD_CLOEXEC, 3);
	kept = fd;
	close_all_but(fd);
	for (int i = 0; i < 3; i++)
		if (open("/dev/null", O_RDWR) < 0)
			break;
	if (chdir("/"))
		return;
}

_Noreturn static void become(char **argv, void (*prepare)(void), const sigset_t *mask, const struct sigaction *chld,
			     const struct itimerval *timers)
{
	for (int i = 0; i < 3; i++)
		setitimer(i, &timers[i], NULL);
	sigaction(SIGCHLD, chld, NULL);
	prepare();
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(*argv, argv);
	int e = errno;
	fprintf(stderr, "ipcrun: cannot run %s: %s\n", *argv, strerror(e));
	_exit(e == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT);
}

int supervise(char **argv, void (*prepare)(void), int keep)
{
	struct sigaction chld, dfl = { .sa_handler = SIG_DFL };
	struct itimerval timers[3], none = { 0 };
	sigset_t all, mask;
	int status;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	sigaction(SIGCHLD, &dfl, &chld);
	for (int i = 0; i < 3; i++)
		setitimer(i, &none, &timers[i]);
	child = fork();
	if (child < 0)
		return -errno;
	if (!child)
		become(argv, prepare, &mask, &chld, timers);
	let_go(keep);
	witness_start();
	status = watch(&all);
	witness_stop(witness);
	return status;
}

_Noreturn void end_as(int status)
{
	if (WIFSIGNALED(status)) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		prctl(PR_SET_DUMPABLE, 0);
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		unblock(WTERMSIG(status));
		_exit(128 + WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}
