/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcrun: run a program on a System V IPC namespace of its own. Makes or opens the namespace, preloads
 * libipc-sysv.so, stays as the parent, and removes a private namespace when its last process has gone.
 *
 * Nobody has to live for that: what an ipcrun that was killed leaves is collected by the next one. A process that
 * outlives the program (a daemon) gets a collector: a process that sleeps until nobody uses the namespace any more.
 *
 * Root's programs may go on as other users, so root's private namespace has an ipcd, which a keeper looks after (keep.c).
 * That ipcd is its own collector.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../libipc/libipc.h"
#include "../libipc/users.h"
#include "daemon.h"
#include "keep.h"
#include "program.h"
#include "supervise.h"
#include "unused.h"

#ifndef IPCD_VERSION
#define IPCD_VERSION "0.1"
#endif
#define LIBRARY "libipc-sysv.so"

#if defined __x86_64__
#define MULTIARCH "x86_64-linux-gnu"
#elif defined __aarch64__
#define MULTIARCH "aarch64-linux-gnu"
#elif defined __i386__
#define MULTIARCH "i386-linux-gnu"
#elif defined __riscv
#define MULTIARCH "riscv64-linux-gnu"
#else
#define MULTIARCH "."
#endif

static char directory[PATH_MAX], daemon_at[PATH_MAX], preload[PATH_MAX];
static mode_t umask_found;
static pid_t keeper; /* or 0 */

static const char help[] =
	"Usage: ipcrun [--embedded | -n NAME | -d DIR | --daemon[=SOCKET]] [--] PROGRAM [ARGUMENT...]\n"
	"Run PROGRAM, and everything it starts, on a System V IPC namespace of its own.\n"
	"\n"
	"By default the namespace is private, and removed when its last process has gone. Root's has an ipcd of its own,\n"
	"so that programs that go on as another user have the permissions that they would have.\n"
	"  --embedded also as root: no ipcd, the namespace is one user's\n"
	"  -n NAME    the namespace NAME of this user; made if it is not there, and kept\n"
	"  -d DIR     the namespace in directory DIR; made if it is not there, and kept\n"
	"  --daemon   the namespace of the ipcd of this user, or of the system; or of the one at SOCKET\n"
	"  --help     show this and exit\n"
	"  --version  show the version and exit\n"
	"\n"
	"The exit status is PROGRAM's; 125: ipcrun failed, 126: PROGRAM cannot be run, 127: it was not found.\n";

__attribute__((format(printf, 2, 3))) _Noreturn static void die(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("ipcrun: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

/* ---- the environment ---- */

/* One file for the program and all that it starts, wherever they go: its name is made absolute. */
static void trace_file(const char *name)
{
	char here[PATH_MAX / 2], text[PATH_MAX];
	struct stat st;
	int fd = -1;

	if (stat(name, &st) || S_ISREG(st.st_mode)) {
		fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd < 0)
			die(EXIT_OWN, "IPCD_LOG=trace:%s cannot be opened: %s", name, strerror(errno));
		close(fd);
	}
	if (*name == '/')
		return;
	if (!getcwd(here, sizeof here) || strlen(name) > PATH_MAX / 2 - 10)
		die(EXIT_OWN, "IPCD_LOG=trace:%s: give the whole name, from / on", name);
	snprintf(text, sizeof text, "trace:%s/%s", here, name);
	setenv("IPCD_LOG", text, 1);
}

static void check_environment(void)
{
	static const char *const levels[] = { "error", "warn", "info", "trace" };
	const char *log = getenv("IPCD_LOG"), *timeout = getenv("IPCD_TIMEOUT"), *embedded = getenv("IPCRUN_EMBEDDED");
	bool known = !log || !*log;

	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
		known = known || !strcmp(log, levels[i]);
	if (!known && !(!strncmp(log, "trace:", 6) && log[6]))
		die(EXIT_OWN, "IPCD_LOG=%s is not known; use error, warn, info, trace or trace:FILE", log);
	if (log && !strncmp(log, "trace:", 6))
		trace_file(log + 6);
	if (embedded && *embedded && strcmp(embedded, "0") && strcmp(embedded, "1"))
		die(EXIT_OWN, "IPCRUN_EMBEDDED=%s is not known; use 1, or 0", embedded);
	if (timeout && *timeout && (timeout[strspn(timeout, "0123456789")] || strlen(timeout) > 9))
		die(EXIT_OWN, "IPCD_TIMEOUT=%s is not a number of seconds", timeout);
}

/* The library beside this program (in a build tree) or in the lib directory next to it. */
static void find_library(void)
{
	static const char *const places[] = { ".", "../lib", ("../lib/" MULTIARCH), "../lib64" };
	char self[PATH_MAX / 2], path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		die(EXIT_OWN, "cannot tell where ipcrun is (/proc is not there), nor where %s is", LIBRARY);
	*slash = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		snprintf(path, sizeof path, "%s/%s/%s", self, places[i], LIBRARY);
		if (access(path, R_OK) || !realpath(path, preload))
			continue;
		if (strpbrk(preload, " :"))
			die(EXIT_OWN, "%s has a space or colon in its name, LD_PRELOAD cannot tell it; install it elsewhere",
			    preload);
		return;
	}
	die(EXIT_OWN, "cannot find %s in %s or %s/../lib; install it there", LIBRARY, self, self);
}

static bool listed(const char *list, const char *path)
{
	size_t n;

	for (const char *p = list; *p; p += n + strspn(p + n, " :")) {
		n = strcspn(p, " :");
		if (n == strlen(path) && !strncmp(p, path, n))
			return true;
		if (!n)
			p++;
	}
	return false;
}

static int name_in_environment(const char *variable, const char *name)
{
	return *name ? setenv(variable, name, 1) : unsetenv(variable);
}

/* In the child. */
static void set_environment(void)
{
	const char *old = getenv("LD_PRELOAD");
	char *all;
	int e;

	umask(umask_found);
	e = name_in_environment("IPCD_SOCKET", daemon_at); /* it wins; the directory tells who uses it */
	e |= name_in_environment("IPCD_NAMESPACE", directory);
	if (!old || !*old)
		e |= setenv("LD_PRELOAD", preload, 1);
	else if (!listed(old, preload))
		e |= asprintf(&all, "%s:%s", preload, old) < 0 || setenv("LD_PRELOAD", all, 1);
	if (e) {
		fprintf(stderr, "ipcrun: no memory for the environment\n");
		_exit(EXIT_OWN);
	}
}

/* ---- the end of a private namespace ---- */

/* The collector's life. Processes that we cannot see (of another uid) are asked for once a second, by their lock. */
static int collect(const char *dir)
{
	struct users u;
	sigset_t none;
	int e;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, "ipcrun-collect");
	if (*dir != '/' || !users_is_private(dir))
		die(EXIT_OWN, "%s is not a private namespace", dir);
	do {
		for (;;) {
			users_find(dir, false, &u);
			if (users_none(&u))
				break;
			unused_wait_for(&u);
			while (!u.count && users_locked(dir))
				sleep(1);
		}
		e = users_remove(dir);
		if (e == -EBUSY) /* somebody opens it, or is just removing it */
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	} while (e == -EBUSY);
	return e ? 1 : 0;
}

static void leave_collector(void)
{
	char *argv[] = { (char *)"ipcrun", (char *)"--collect", directory, NULL }, *env[] = { NULL };

	if (fork())
		return;
	setsid();
	execve("/proc/self/exe", argv, env);
	_exit(collect(directory));
}

static void private_end(void)
{
	struct users u;

	users_find(directory, true, &u);
	if (!users_none(&u) || users_remove(directory) == -EBUSY)
		leave_collector();
}

/* Others go on: the ipcd and its keeper stay for them. */
static void served_end(void)
{
	struct users u;

	syscall(SYS_close_range, 3, ~0u, 0); /* we are not a user any more */
	users_find(directory, true, &u);
	if (!users_none(&u))
		return;
	keep_await_end(keeper);
	users_remove(directory); /* the keeper, and the ipcd, may have been killed */
}

/* Those that the program left by unshare(CLONE_NEWIPC), and what others left that were killed. */
static void collect_others(void)
{
	char base[64];

	if (!users_base(base, sizeof base, false))
		users_collect(base);
}

/* ---- the start ---- */

/* A private directory that could not become a namespace goes at once. */
_Noreturn static void cannot_open(const char *private)
{
	char *why = strdup(ipc_open_error());

	if (private)
		users_remove(private);
	die(EXIT_OWN, "%s", why ? why : "no memory");
}

static void open_namespace(const char *name, const char *dir, int *lock)
{
	char base[64], path[256];
	ipc_ns *ns;

	if (!dir) {
		if (users_base(base, sizeof base, true))
			cannot_open(NULL);
		users_collect(base);
		snprintf(path, sizeof path, "%s/%s", base, name ? name : "");
		if (!name && users_make_private(base, path, sizeof path, lock))
			cannot_open(path);
		dir = path;
	}
	ns = ipc_open(dir, IPC_OPEN_CREATE);
	if (!ns)
		cannot_open(*lock >= 0 ? path : NULL);
	snprintf(directory, sizeof directory, "%s", ipc_directory(ns));
	ipc_close(ns);
}

/* Root of a user namespace that has no other user: nobody can go on as one. */
static bool only_user(void)
{
	unsigned long long first, outside, count, all = 0;
	FILE *f = fopen("/proc/self/uid_map", "re");

	while (f && fscanf(f, "%llu %llu %llu", &first, &outside, &count) == 3)
		all += count;
	if (f)
		fclose(f);
	return all == 1;
}

static bool wants_ipcd(bool embedded)
{
	const char *text = getenv("IPCRUN_EMBEDDED");

	return !embedded && !(text && *text == '1') && !geteuid() && !only_user();
}

/* A private namespace with an ipcd; *user is a descriptor that makes us one of its users. */
static void open_served(int *user)
{
	char base[64], path[256], at[PATH_MAX / 2], ipcd[PATH_MAX];
	int lock = -1;

	if (!keep_find_ipcd(ipcd, sizeof ipcd))
		die(EXIT_OWN, "cannot find %s, which serves root's private namespace; install it there, or use --embedded",
		    ipcd);
	if (users_base(base, sizeof base, true))
		cannot_open(NULL);
	users_collect(base);
	if (users_make_private(base, path, sizeof path, &lock) || users_make_socket_dir(path, at, sizeof at, user))
		cannot_open(path);
	snprintf(directory, sizeof directory, "%s", path);
	snprintf(daemon_at, sizeof daemon_at, "%s/socket", at);
	keeper = keep_start(directory, ipcd, lock);
	close(lock);
	if (keeper)
		return;
	close(*user);
	users_remove(directory);
	exit(EXIT_OWN);
}

/* The namespace that -n or -d means is a private one that has an ipcd. */
static bool is_served(const char *name, const char *dir)
{
	char base[64], path[PATH_MAX];

	if (name && !users_base(base, sizeof base, false))
		snprintf(path, sizeof path, "%s/%s", base, name);
	else if (!dir || !realpath(dir, path))
		return false;
	if (!users_served(path, daemon_at, sizeof daemon_at))
		return false;
	snprintf(directory, sizeof directory, "%s", path);
	return true;
}

/* Returns the index of the program. */
static int options(int argc, char **argv, const char **name, const char **dir, bool *daemon, bool *embedded)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'v' },
					       { "collect", required_argument, NULL, 'c' },
					       { "keep", required_argument, NULL, 'k' },
					       { "daemon", optional_argument, NULL, 'D' },
					       { "embedded", no_argument, NULL, 'e' },
					       { NULL, 0, NULL, 0 } };
	const char *bad;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:n:d:", longs, NULL)) != -1)
		switch (c) {
		case 'n':
			bad = users_bad_name(optarg);
			if (bad)
				die(EXIT_OWN, "the name '%s' cannot be used: %s", optarg, bad);
			*name = optarg;
			break;
		case 'd':
			if (!*optarg)
				die(EXIT_OWN, "-d needs the name of a directory");
			*dir = optarg;
			break;
		case 'D':
			if (optarg && !*optarg)
				die(EXIT_OWN, "--daemon= needs the name of a socket");
			if (!daemon_socket(optarg, daemon_at, sizeof daemon_at))
				die(EXIT_OWN, "the name of the socket %.60s... is too long", optarg);
			*daemon = true;
			break;
		case 'h':
			fputs(help, stdout);
			exit(fflush(stdout) ? EXIT_OWN : 0);
		case 'v':
			puts("ipcrun " IPCD_VERSION);
			exit(fflush(stdout) ? EXIT_OWN : 0);
		case 'c':
			exit(collect(optarg));
		case 'k':
			exit(optind < argc ? keep(optarg, argv[optind]) : EXIT_OWN);
		case 'e':
			*embedded = true;
			break;
		case ':':
			die(EXIT_OWN, "option %s needs a value; try ipcrun --help", argv[optind - 1]);
		default:
			die(EXIT_OWN, "unknown option %s; try ipcrun --help", argv[optind - 1]);
		}
	if (!!*name + !!*dir + *daemon > 1)
		die(EXIT_OWN, "-n, -d and --daemon exclude each other");
	if (*embedded && *daemon)
		die(EXIT_OWN, "--embedded and --daemon exclude each other");
	if (optind == argc)
		die(EXIT_OWN, "no program is named; try ipcrun --help");
	return optind;
}

/* There is nothing to be done afterwards, so the program takes our place. */
_Noreturn static void use_daemon(char **argv, const char *path)
{
	ipc_ns *ns = ipc_open(daemon_at, IPC_OPEN_SOCKET);
	unsigned long long value;

	if (!ns)
		die(EXIT_OWN, "%s", ipc_open_error());
	if (ipc_limit_get(ns, "shmmni", &value)) /* a line on stderr says why */
		exit(EXIT_OWN);
	ipc_close(ns);
	set_environment();
	execvp(*argv, argv);
	die(EXIT_CANNOT, "cannot run %s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
	const char *name = NULL, *dir = NULL;
	char path[PATH_MAX], why[PATH_MAX + 200];
	bool daemon = false, embedded = false;
	int keep_open = -1, status, e;

	argv += options(argc, argv, &name, &dir, &daemon, &embedded);
	check_environment();
	e = program_find(*argv, path, sizeof path);
	if (e)
		die(e == -ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT, "cannot run %s: %s", *argv, strerror(-e));
	find_library();
	if (program_unreachable(path, why, sizeof why))
		fprintf(stderr, "ipcrun: %s\n", why);
	umask_found = umask(077);
	if (daemon || is_served(name, dir))
		use_daemon(argv, path);
	if (!name && !dir && wants_ipcd(embedded))
		open_served(&keep_open);
	else
		open_namespace(name, dir, &keep_open);
	status = supervise(argv, set_environment, keep_open);
	if (status < 0)
		fprintf(stderr, "ipcrun: cannot start a process: %s\n", strerror(-status));
	if (keeper)
		served_end();
	else if (keep_open >= 0)
		private_end();
	collect_others();
	if (status < 0)
		return EXIT_OWN;
	end_as(status);
}
