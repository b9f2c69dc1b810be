/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd: serve a System V IPC namespace to processes of any user. What serving is, is the library's (ipc_serve); here is
 * what makes a daemon of it: options, background, signals, log, and the service manager.
 *
 * Order: the command line is checked, the descriptor that was passed is taken (its number is for this process alone), the
 * background is entered, the server is opened, the limits are set, and only then somebody is told that it is ready. The
 * first process stays until then and has the exit status. Signals are taken by one thread; all others have them blocked.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "ipcd.h"
#include "unused.h"

static struct options options;
static ipc_server *server;
static atomic_bool unused; /* a private namespace: nobody uses it any more */
static int waits = -1; /* the pipe on which the first process waits */

/* ---- background ---- */

/* The first process: until the other one is ready, or has ended. It has said why. */
_Noreturn static void await_ready(pid_t child, int fd)
{
	char c;
	ssize_t n;
	int status;

	while ((n = read(fd, &c, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		_exit(0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		log_die(STATUS_FAILED, "killed by signal %d before it was ready", WTERMSIG(status));
	_exit(STATUS_FAILED);
}

static void enter_background(void)
{
	int end[2];
	pid_t child;

	if (pipe2(end, O_CLOEXEC))
		log_die(STATUS_FAILED, "cannot make a pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		log_die(STATUS_FAILED, "cannot fork: %s", strerror(errno));
	if (child) {
		close(end[1]);
		await_ready(child, end[0]);
	}
	close(end[0]);
	waits = end[1];
	setsid();
	if (chdir("/"))
		log_die(STATUS_FAILED, "cannot change to /: %s", strerror(errno));
}

/* Nothing of the caller's is kept: who reads what it started to the end is not to wait for a daemon. */
static void leave_caller(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		log_die(STATUS_FAILED, "cannot open /dev/null: %s", strerror(errno));
	close(null);
}

static void tell_ready(void)
{
	activation_notify("READY=1");
	log_say(LOG_INFO, "ready: serving %s on %s", ipc_directory(ipc_serve_namespace(server)), options.socket);
	if (waits < 0)
		return;
	if (write(waits, "", 1) != 1)
		log_say(LOG_WARNING, "who started ipcd has not waited for it");
	close(waits);
}

/* ---- signals ---- */

static void reload(void)
{
	struct timespec now;
	char state[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
	activation_notify(state);
	if (!*options.limits_file)
		log_say(LOG_INFO, "SIGHUP: there is no --limits-file to read again");
	else if (limits_apply(server, &options))
		log_say(LOG_INFO, "SIGHUP: limits read again from %s", options.limits_file);
	activation_notify("READY=1");
}

static void signals_of_ours(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static void *take_signals(void *arg)
{
	sigset_t set;
	int got;

	(void)arg;
	signals_of_ours(&set);
	for (;;) {
		if (sigwait(&set, &got))
			continue;
		if (got == SIGHUP) {
			reload();
			continue;
		}
		log_say(LOG_INFO, "%s: stopping", atomic_load(&unused) ? "nobody is left" : got == SIGINT ? "SIGINT" : "SIGTERM");
		activation_notify("STOPPING=1");
		ipc_serve_stop(server);
		return NULL;
	}
}

/* ---- a private namespace ---- */

static void check_private(void)
{
	char at[PATH_MAX], socket[PATH_MAX + 8];

	if (users_socket_dir(options.directory, at, sizeof at)) {
		snprintf(socket, sizeof socket, "%s/socket", at);
		if (!strcmp(socket, options.socket))
			return;
	}
	log_die(STATUS_FAILED, "--private: %s with the socket %s is no private namespace of ipcrun's; leave --private out",
		options.directory, options.socket);
}

static void *await_unused(void *arg)
{
	unused_await(options.directory);
	atomic_store(&unused, true);
	kill(getpid(), SIGTERM);
	return arg;
}

/* Whoever has come meanwhile is served by the next one. */
static int remove_private(void)
{
	if (!users_remove(options.directory))
		return 0;
	log_say(LOG_WARNING, "%s", ipc_open_error());
	return STATUS_FAILED;
}

/* ---- serving ---- */

/* Each client has descriptors here; the soft limit is for programs that use select(2). */
static void take_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == l.rlim_max)
		return;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l))
		log_say(LOG_WARNING, "cannot raise the limit of descriptors: %s", strerror(errno));
}

static void open_server(int passed)
{
	struct ipc_serve s = {
		.directory = options.directory,
		.socket = options.socket,
		.socket_mode = (unsigned)options.socket_mode,
		.listen_fd = passed,
		.workers = options.workers,
		.flags = options.trust_clients ? IPC_SERVE_TRUST_CLIENTS : 0,
		.log = log_line,
	};

	server = ipc_serve_open(&s);
	if (!server)
		log_die(STATUS_FAILED, "%s", *ipc_open_error() ? ipc_open_error() : strerror(errno));
	if (*options.limits_file && access(options.limits_file, R_OK))
		log_die(STATUS_FAILED, "cannot read the limits of %s: %s", options.limits_file, strerror(errno));
	limits_apply(server, &options);
}

static int serve(void)
{
	pthread_t signals, waits_for_end;
	int status = 0;

	errno = pthread_create(&signals, NULL, take_signals, NULL);
	if (!errno && options.private)
		errno = pthread_create(&waits_for_end, NULL, await_unused, NULL);
	if (errno)
		log_die(STATUS_FAILED, "cannot start a thread: %s", strerror(errno));
	tell_ready();
	if (ipc_serve(server)) {
		log_say(LOG_ERR, "serving has ended: %s", strerror(errno));
		status = STATUS_FAILED;
		pthread_cancel(signals);
	}
	pthread_join(signals, NULL);
	ipc_serve_close(server);
	if (!status && atomic_load(&unused))
		return remove_private();
	if (!status)
		log_say(LOG_INFO, "stopped; the objects stay in %s", options.directory);
	return status;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !strcmp(a, b) || (!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* The socket that was passed, or a place for one of our own: -1. */
static int find_socket(void)
{
	char path[sizeof options.socket];
	int passed = activation_socket(path, sizeof path);

	if (passed < 0) {
		place_socket(&options);
		return -1;
	}
	if (*options.socket && !same_file(path, options.socket))
		log_die(STATUS_FAILED, "the socket that was passed is %s, and --socket says %s; leave --socket out", path,
			options.socket);
	if (options.socket_mode >= 0)
		log_die(STATUS_FAILED, "--socket-mode has no use for a socket that was passed; set SocketMode= in its unit");
	strcpy(options.socket, path);
	return passed;
}

int main(int argc, char **argv)
{
	sigset_t set;
	int passed, status;

	options_take(&options, argc, argv);
	place_directory(&options);
	if (options.check)
		return check_namespace(options.directory);
	log_open(options.syslog, options.log_level);
	passed = find_socket();
	if (options.private)
		check_private();
	signals_of_ours(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (!options.foreground)
		enter_background();
	take_descriptors();
	open_server(passed);
	if (options.syslog)
		log_take_stderr();
	if (!options.foreground)
		leave_caller();
	status = serve();
	log_close();
	return status;
}
