/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper of a private namespace's ipcd. See keep.h.
 *
 * It is in a session of its own, has an empty environment and holds nothing of the caller's: standard output is a pipe to
 * ipcrun until the ipcd is ready, and standard error the caller's until then; descriptor 3 has the maker's lock. ipcd
 * goes to the background as it always does, and the keeper is the one that inherits it. Killed, the keeper leaves an ipcd
 * that ends by itself when nobody uses the namespace, and is not started again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "../libipc/users.h"
#include "keep.h"
#include "supervise.h"

#define LOCK_FD 3
#define SETTLED 10     /* seconds that an ipcd must have lived to be started again at once */
#define PAUSE_LEAST 50 /* milliseconds before it is, else; twice as many each time */
#define PAUSE_MOST 5000
#define END_MS 5000
#define DESCRIPTORS 524288 /* some for each process that takes part */
#define STACK (8u << 20)

bool keep_find_ipcd(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	char *slash;

	out[n > 0 ? n : 0] = 0;
	slash = strrchr(out, '/');
	if (!slash || (size_t)(slash + sizeof "/ipcd" - out) > size)
		return false;
	strcpy(slash, "/ipcd");
	return !access(out, X_OK);
}

/* ---- ipcrun's side ---- */

static bool is_callers(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Where the caller has closed a standard descriptor, ours may have its number. */
static void take_descriptors(int ready, int lock)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!is_callers(STDERR_FILENO)) {
		ready = fcntl(ready, F_DUPFD_CLOEXEC, LOCK_FD + 1);
		lock = fcntl(lock, F_DUPFD_CLOEXEC, LOCK_FD + 1);
		dup2(null, STDERR_FILENO);
	}
	ready = fcntl(ready, F_DUPFD_CLOEXEC, LOCK_FD + 1);
	lock = fcntl(lock, F_DUPFD_CLOEXEC, LOCK_FD + 1);
	null = fcntl(null, F_DUPFD_CLOEXEC, LOCK_FD + 1);
	dup2(null, STDIN_FILENO);
	dup2(ready, STDOUT_FILENO);
	dup2(lock, LOCK_FD);
}

static void forget_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What the caller lets the program have is not meant for ipcd. Who is not privileged has as much as may be. */
static void forget_limits(void)
{
	static const struct { int limit; rlim_t soft, hard; } wanted[] = {
		{ RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY },    { RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY },
		{ RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY },  { RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY },
		{ RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY }, { RLIMIT_STACK, STACK, RLIM_INFINITY },
		{ RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS },
	};

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		struct rlimit have, l = { wanted[i].soft, wanted[i].hard };

		if (getrlimit(wanted[i].limit, &have))
			continue;
		if (l.rlim_max < have.rlim_max)
			l.rlim_max = have.rlim_max;
		if (!setrlimit(wanted[i].limit, &l))
			continue;
		l.rlim_max = have.rlim_max;
		if (l.rlim_cur > l.rlim_max)
			l.rlim_cur = l.rlim_max;
		setrlimit(wanted[i].limit, &l);
	}
}

_Noreturn static void become_keeper(const char *dir, const char *ipcd, int ready, int lock)
{
	char *argv[] = { (char *)"ipcrun", (char *)"--keep", (char *)dir, (char *)ipcd, NULL }, *env[] = { NULL };

	setsid();
	take_descriptors(ready, lock);
	syscall(SYS_close_range, LOCK_FD + 1, ~0u, 0);
	forget_signals();
	forget_limits();
	if (!chdir("/"))
		execve("/proc/self/exe", argv, env);
	dprintf(STDERR_FILENO, "ipcrun: cannot start a keeper for ipcd: %s\n", strerror(errno));
	_exit(EXIT_OWN);
}

pid_t keep_start(const char *dir, const char *ipcd, int lock)
{
	int end[2];
	pid_t keeper;
	ssize_t n;
	char byte;

	if (pipe2(end, O_CLOEXEC) || (keeper = fork()) < 0) {
		fprintf(stderr, "ipcrun: cannot start a process for ipcd: %s\n", strerror(errno));
		return 0;
	}
	if (!keeper)
		become_keeper(dir, ipcd, end[1], lock);
	close(end[1]);
	while ((n = read(end[0], &byte, 1)) < 0 && errno == EINTR)
		;
	close(end[0]);
	if (n == 1)
		return keeper;
	while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

void keep_await_end(pid_t keeper)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, keeper, 0), .events = POLLIN };

	if (p.fd < 0)
		return;
	poll(&p, 1, END_MS);
	close(p.fd);
	waitpid(keeper, NULL, WNOHANG);
}

/* ---- the keeper ---- */

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void leave_caller(void)
{
	if (write(STDOUT_FILENO, "", 1) != 1)
		syslog(LOG_WARNING, "the ipcrun that has started it has gone");
	dup2(STDIN_FILENO, STDOUT_FILENO);
	dup2(STDIN_FILENO, STDERR_FILENO);
}

_Noreturn static void become_ipcd(const char *dir, const char *socket, const char *ipcd)
{
	char *argv[] = { (char *)"ipcd", (char *)"--private", (char *)"--namespace-dir", (char *)dir, (char *)"--socket",
			 (char *)socket, (char *)"--socket-mode", (char *)"0666", (char *)"--log-level", (char *)"warn",
			 NULL };
	char *env[] = { NULL };

	dup2(STDIN_FILENO, STDOUT_FILENO);
	execve(ipcd, argv, env);
	dprintf(STDERR_FILENO, "ipcrun: cannot run %s: %s\n", ipcd, strerror(errno));
	_exit(EXIT_OWN);
}

/* An ipcd's whole life. The process that we start is not the daemon; it ends when that is ready, with status 0. */
static void run_ipcd(const char *dir, const char *socket, const char *ipcd, bool *ready)
{
	pid_t first = fork(), pid;
	int status;

	if (!first)
		become_ipcd(dir, socket, ipcd);
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR)
		if (pid == first && WIFEXITED(status) && !WEXITSTATUS(status) && !*ready) {
			*ready = true;
			leave_caller();
		}
}

/* Is there nothing to be served any more? What ipcd could not remove, as it was killed, goes too. */
static bool is_over(const char *dir)
{
	char at[PATH_MAX];
	struct users u;

	if (access(dir, F_OK) && !users_socket_dir(dir, at, sizeof at))
		return true;
	users_find(dir, true, &u);
	return users_none(&u) && users_remove(dir) != -EBUSY;
}

static void hold_back(long *ms, time_t lived)
{
	struct timespec t;

	if (lived >= SETTLED)
		*ms = 0;
	else
		*ms = !*ms ? PAUSE_LEAST : *ms < PAUSE_MOST / 2 ? 2 * *ms : PAUSE_MOST;
	t = (struct timespec){ *ms / 1000, *ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

int keep(const char *dir, const char *ipcd)
{
	char at[PATH_MAX], socket[PATH_MAX + 8];
	bool ready = false;
	long pause_ms = 0;
	time_t since;

	if (*dir != '/' || !users_socket_dir(dir, at, sizeof at)) {
		fprintf(stderr, "ipcrun: %s is not a private namespace with a socket\n", dir);
		return EXIT_OWN;
	}
	snprintf(socket, sizeof socket, "%s/socket", at);
	prctl(PR_SET_NAME, "ipcrun-keep");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN); /* who waits for us may have been killed */
	fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC);
	openlog("ipcrun", LOG_PID, LOG_DAEMON);
	for (;;) {
		since = now();
		run_ipcd(dir, socket, ipcd, &ready);
		if (!ready)
			return EXIT_OWN;
		if (is_over(dir))
			return 0;
		syslog(LOG_WARNING, "the ipcd of %s has ended; it is started again", dir);
		hold_back(&pause_ms, now() - since);
	}
}
