/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcctl: look at a namespace and change it. Exit status 0, 1 (it failed), 2 (the command line is wrong). Output goes
 * to stdout, every complaint is one line on stderr.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libipc/route_call.h"
#include "../libipc/route_wire.h"
#include "../libipc/users.h"
#include "ctl.h"
#include "daemon.h"

#ifndef IPCD_VERSION
#define IPCD_VERSION "0.1"
#endif

static const char help[] =
	"Usage: ipcctl [-n NAME | -d DIR | --daemon[=SOCKET]] COMMAND\n"
	"Look at a System V IPC namespace and change it: of ipcrun's (-n, -d), or of the ipcd of this user, or of the\n"
	"system, or at SOCKET. Without these it is the one that IPCD_SOCKET or else IPCD_NAMESPACE names, as under\n"
	"ipcrun.\n"
	"\n"
	"  ls [shm|sem|msg]...           list the objects; --wide: all columns, where they do not fit\n"
	"  show ID [shm|sem|msg]         one object: values, who has it attached, who waits, whose undo is pending\n"
	"  top [shm|sem|msg]...          the same again and again: who waits, what changes; -n TIMES, -d SECONDS\n"
	"  rm shm|sem|msg ID...          remove objects; also -m ID, -s ID, -q ID and, by key, -M KEY, -S KEY, -Q KEY\n"
	"  rm --all [shm|sem|msg]...     remove all objects\n"
	"  gc [shm|sem|msg]...           remove what was left behind: its creator gone, used by nobody, and not for\n"
	"                                --older AGE (30m, 12h, 7d; a day if not given); --dry-run says what would go\n"
	"  metrics                       numbers for a monitoring system (OpenMetrics); --objects: of each object too\n"
	"  limits [NAME | NAME=VALUE]... show the limits, or set them\n"
	"  destroy                       remove a namespace (-n or -d) that nobody uses, with all its objects\n"
	"  namespaces                    list this user's namespaces\n"
	"\n"
	"ls, show, top, gc, metrics, limits and namespaces write JSON with --json.\n"
	"\n"
	"  --help, --version\n";

/* ---- limits ---- */

static const char *const limit_text[LIMITS] = {
	[LIM_SHMMAX] = "bytes of one segment",		    [LIM_SHMALL] = "pages of all segments",
	[LIM_SHMMNI] = "segments",			    [LIM_SEMMSL] = "semaphores of one set",
	[LIM_SEMMNS] = "semaphores of all sets",	    [LIM_SEMOPM] = "operations of one semop",
	[LIM_SEMMNI] = "sets",				    [LIM_MSGMAX] = "bytes of one message",
	[LIM_MSGMNB] = "bytes of one queue, when it is made", [LIM_MSGMNI] = "queues",
};

static const char *const quota_text[LIMITS] = {
	[LIM_SHMALL] = "pages of one user's segments", [LIM_SHMMNI] = "segments of one user",
	[LIM_SEMMNS] = "semaphores of one user's sets", [LIM_SEMMNI] = "sets of one user",
	[LIM_MSGMNI] = "queues of one user",
};

#define QUOTA "quota." /* before the limit's name */
#define QUOTA_LENGTH (sizeof QUOTA - 1)

static int limit_named(const char *name, size_t length)
{
	for (int i = 0; i < LIMITS; i++)
		if (strlen(limit_info[i].name) == length && !strncmp(limit_info[i].name, name, length))
			return i;
	ctl_die(EXIT_USAGE, "limits: there is no limit '%.*s'; ipcctl limits lists them", (int)length, name);
}

static void show_limit(struct ctl *c, int l, bool json)
{
	unsigned long long value = registry_limit(c->ns, (enum limit)l);

	if (json)
		json_uint(limit_info[l].name, value);
	else
		printf("%-6s  %20llu  %s\n", limit_info[l].name, value, limit_text[l]);
}

/* How many this user has of it; uid 0 has no quota. */
static void show_quota(struct ctl *c, int l, bool json)
{
	uint64_t value, used;
	int e = wire_quota(c->ns, l, &value, &used);

	if (e)
		ctl_die(EXIT_FAILED, "limits: the daemon does not tell quota.%s: %s", limit_info[l].name, strerror(-e));
	if (json) {
		json_open(limit_info[l].name, '{');
		json_uint("value", value);
		json_uint("used", used);
		json_close('}');
	} else if (value) {
		printf(QUOTA "%-6s  %14llu  %s; %s has %llu\n", limit_info[l].name, (unsigned long long)value, quota_text[l],
		       owner_name(geteuid()), (unsigned long long)used);
	} else {
		printf(QUOTA "%-6s  %14s  %s\n", limit_info[l].name, "none", quota_text[l]);
	}
}

/* A quota's name; -1: it is none. */
static int quota_named(struct ctl *c, const char *text)
{
	int l;

	if (strncmp(text, QUOTA, QUOTA_LENGTH))
		return -1;
	if (!c->daemon)
		ctl_die(EXIT_USAGE, "limits: %s: quotas are for daemons", text);
	if (strchr(text, '='))
		ctl_die(EXIT_USAGE, "limits: %s: quotas are ipcd's to set, with --quota or in its --limits-file", text);
	l = limit_named(text + QUOTA_LENGTH, strlen(text + QUOTA_LENGTH));
	if (!limit_has_quota((enum limit)l))
		ctl_die(EXIT_USAGE, "limits: there is no quota '%s'; ipcctl limits lists them", text);
	return l;
}

/* The value of NAME=VALUE, or nothing for NAME. */
static bool parse_limit(const char *text, int *l, unsigned long long *value)
{
	const char *equals = strchr(text, '=');

	*l = limit_named(text, equals ? (size_t)(equals - text) : strlen(text));
	if (equals && !number(equals + 1, 10, limit_info[*l].max, value))
		ctl_die(EXIT_USAGE, "limits: %s is not a number from 0 to %llu", text,
			(unsigned long long)limit_info[*l].max);
	return equals;
}

/* Those that are named, or all when nothing is. */
static void show_quotas(struct ctl *c, int argc, char **argv, int named, bool json)
{
	if (!c->daemon)
		return;
	if (json)
		json_open("quotas", '{');
	for (int i = 1; i < argc; i++)
		if (quota_named(c, argv[i]) >= 0)
			show_quota(c, quota_named(c, argv[i]), json);
	for (int l = 0; l < LIMITS && !named; l++)
		if (limit_has_quota((enum limit)l))
			show_quota(c, l, json);
	if (json)
		json_close('}');
}

int ctl_limits(struct ctl *c, int argc, char **argv)
{
	unsigned long long value;
	bool json = false;
	int result = 0, l, named = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else {
			if (quota_named(c, argv[i]) < 0)
				parse_limit(argv[i], &l, &value);
			named++;
		}
	}
	if (json) {
		json_open(NULL, '{');
		json_text("namespace", ipc_directory(c->ns));
		json_open("limits", '{');
	}
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json") || quota_named(c, argv[i]) >= 0)
			continue;
		if (!parse_limit(argv[i], &l, &value)) {
			show_limit(c, l, json);
		} else if (ipc_limit_set(c->ns, limit_info[l].name, value)) {
			ctl_say("limits: cannot set %s: %s", argv[i], strerror(errno));
			result = EXIT_FAILED;
		}
	}
	for (l = 0; l < LIMITS && !named; l++)
		show_limit(c, l, json);
	if (json)
		json_close('}');
	show_quotas(c, argc, argv, named, json);
	if (json) {
		json_close('}');
		json_line();
	}
	return result;
}

/* ---- whole namespaces ---- */

static void pids_text(const struct users *u, char *out, size_t size)
{
	size_t at = 0;

	*out = 0;
	for (int i = 0; i < u->count && i < USERS_MAX && at < size - 40; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%d (%s)", i ? ", " : "", (int)u->pid[i],
				       process_name(u->pid[i]));
	if (!u->count)
		snprintf(out, size, "processes that you cannot see");
}

/* Refuse what does not look like a namespace, or holds something else. */
static void check_is_namespace(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool ours = false;

	if (!d)
		ctl_die(EXIT_FAILED, "cannot open %s: %s", dir, strerror(errno));
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!users_file_name(e->d_name))
			ctl_die(EXIT_FAILED, "%s holds %s, which is no file of a namespace; nothing is removed", dir,
				e->d_name);
		ours = ours || !strcmp(e->d_name, "meta.sqlite") || !strcmp(e->d_name, "registry");
	}
	closedir(d);
	if (!ours)
		ctl_die(EXIT_FAILED, "%s is not a namespace; nothing is removed", dir);
}

static int destroy(const char *dir, int argc)
{
	char full[PATH_MAX], pids[1000];
	struct users u;

	if (argc > 1)
		ctl_die(EXIT_USAGE, "destroy needs no arguments; the namespace is named before it: -n NAME destroy");
	if (!realpath(dir, full))
		ctl_die(EXIT_FAILED, "cannot open the namespace %s: %s", dir, strerror(errno));
	check_is_namespace(full);
	users_find(full, false, &u);
	if (!users_none(&u)) {
		pids_text(&u, pids, sizeof pids);
		ctl_die(EXIT_FAILED, "%s is in use by %s; end them first", full, pids);
	}
	if (users_remove(full))
		ctl_die(EXIT_FAILED, "%s", ipc_open_error());
	log_destroyed(full);
	return 0;
}

static void add_namespace(struct table *t, bool json, const char *name, int processes, const char *dir)
{
	if (json) {
		json_open(NULL, '{');
		json_text("name", name);
		json_int("processes", processes);
		json_text("directory", dir);
		json_close('}');
		return;
	}
	table_add(t, "%s", name);
	table_add(t, "%d", processes);
	table_add(t, "%s", dir);
}

/* Each directory of the base; 0 when there is no base yet. */
static int list_namespaces(struct table *t, bool json)
{
	char base[64], dir[400];
	struct dirent **list;
	int n;

	if (users_base(base, sizeof base, false)) {
		if (errno == ENOENT)
			return 0;
		ctl_die(EXIT_FAILED, "%s", ipc_open_error());
	}
	n = scandir(base, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		struct users u;
		struct stat st;

		snprintf(dir, sizeof dir, "%s/%s", base, list[i]->d_name);
		if (list[i]->d_name[0] != '.' && !lstat(dir, &st) && S_ISDIR(st.st_mode)) {
			users_find(dir, false, &u);
			add_namespace(t, json, list[i]->d_name, u.count, dir);
		}
		free(list[i]);
	}
	return 0;
}

static int namespaces(int argc, char **argv)
{
	static const struct column columns[] = { { "NAME", true, 0 },
						 { "PROCESSES", false, 1 },
						 { "DIRECTORY", true, 2 } };
	struct table *t = table_new(columns, 3);
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc > 1 && !json)
		ctl_die(EXIT_USAGE, "namespaces takes no argument but --json");
	if (json)
		json_open(NULL, '[');
	list_namespaces(t, json);
	if (json) {
		json_close(']');
		json_line();
	} else {
		table_print(stdout, t, output_width(), 0);
	}
	table_free(t);
	return 0;
}

/* ---- the command line ---- */

static const struct { const char *name; int (*run)(struct ctl *c, int argc, char **argv); } commands[] = {
	{ "ls", ctl_ls }, { "show", ctl_show }, { "top", ctl_top }, { "rm", ctl_rm }, { "gc", ctl_gc },
	{ "metrics", ctl_metrics }, { "limits", ctl_limits },
};

/* Nobody answers, or not in time. What is under way is not ended in order: there may be a lock in it. */
static void no_answer(const char *line)
{
	if (ctl_leaving)
		ctl_leaving();
	ctl_say("%s", line);
	_exit(EXIT_FAILED);
}

static void nothing(void)
{
}

static int on_daemon(const char *socket, int argc, char **argv)
{
	struct ctl c = { .daemon = true };

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(*argv, commands[i].name))
			continue;
		wire_watch = (struct wire_watch){ nothing, no_answer };
		c.ns = ipc_open(socket, IPC_OPEN_SOCKET);
		if (!c.ns)
			ctl_die(EXIT_FAILED, "%s", ipc_open_error());
		c.who = ns_enter(c.ns);
		if (c.who < 0)
			ctl_die(EXIT_FAILED, "cannot take part at the daemon %s: %s", socket, strerror(-c.who));
		return commands[i].run(&c, argc, argv);
	}
	if (!strcmp(*argv, "destroy"))
		ctl_die(EXIT_USAGE, "destroy is not for daemons; stop ipcd, and destroy its directory (-d)");
	ctl_die(EXIT_USAGE, "unknown command %s; try ipcctl --help", *argv);
}

/* A private namespace that has an ipcd is looked at through that. */
static bool has_daemon(const char *dir, char *socket, size_t size)
{
	char full[PATH_MAX];

	return realpath(dir, full) && users_served(full, socket, size);
}

static int on_namespace(const char *dir, bool by_name, int argc, char **argv)
{
	struct ctl c = { .daemon = false };
	char socket[PATH_MAX];

	if (strcmp(*argv, "destroy") && has_daemon(dir, socket, sizeof socket))
		return on_daemon(socket, argc, argv);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(*argv, commands[i].name))
			continue;
		c.ns = ipc_open(dir, 0);
		if (!c.ns)
			ctl_die(EXIT_FAILED, "%s%s", ipc_open_error(),
				by_name && errno == ENOENT ? "; ipcctl namespaces lists yours" : "");
		c.who = ns_enter(c.ns);
		if (c.who < 0)
			ctl_die(EXIT_FAILED, "cannot enter the namespace %s: %s", dir, strerror(-c.who));
		return commands[i].run(&c, argc, argv);
	}
	if (!strcmp(*argv, "destroy"))
		return destroy(dir, argc);
	ctl_die(EXIT_USAGE, "unknown command %s; try ipcctl --help", *argv);
}

static void options(int argc, char **argv, const char **name, const char **dir, char *daemon, size_t size)
{
	static const struct option longs[] = { { "daemon", optional_argument, NULL, 'D' },
					       { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'v' },
					       { NULL, 0, NULL, 0 } };
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:n:d:", longs, NULL)) != -1)
		switch (c) {
		case 'n':
			if (users_bad_name(optarg) && !users_is_private(optarg))
				ctl_die(EXIT_USAGE, "the name '%s' cannot be used: %s", optarg, users_bad_name(optarg));
			*name = optarg;
			break;
		case 'd':
			*dir = optarg;
			break;
		case 'D':
			if (optarg && !*optarg)
				ctl_die(EXIT_USAGE, "--daemon= needs the name of a socket");
			if (!daemon_socket(optarg, daemon, size))
				ctl_die(EXIT_USAGE, "the name of the socket %s is too long", optarg ? optarg : "");
			break;
		case 'h':
			fputs(help, stdout);
			exit(fflush(stdout) ? EXIT_FAILED : 0);
		case 'v':
			puts("ipcctl " IPCD_VERSION);
			exit(fflush(stdout) ? EXIT_FAILED : 0);
		case ':':
			ctl_die(EXIT_USAGE, "option %s needs a value; try ipcctl --help", argv[optind - 1]);
		default:
			ctl_die(EXIT_USAGE, "unknown option %s; try ipcctl --help", argv[optind - 1]);
		}
	if (!!*name + !!*dir + !!*daemon > 1)
		ctl_die(EXIT_USAGE, "-n, -d and --daemon exclude each other");
	if (optind == argc)
		ctl_die(EXIT_USAGE, "no command is named; try ipcctl --help");
}

static int run(int argc, char **argv, const char *name, const char *dir, const char *daemon)
{
	const char *socket = getenv("IPCD_SOCKET");
	char base[64], path[400];

	if (!strcmp(*argv, "namespaces")) {
		if (*daemon)
			ctl_die(EXIT_USAGE, "namespaces is not for daemons: one has one; leave --daemon out");
		return namespaces(argc, argv);
	}
	if (*daemon)
		return on_daemon(daemon, argc, argv);
	if (name) {
		if (users_base(base, sizeof base, false))
			ctl_die(EXIT_FAILED, "%s", ipc_open_error());
		snprintf(path, sizeof path, "%s/%s", base, name);
		return on_namespace(path, true, argc, argv);
	}
	if (!dir && socket && *socket)
		return on_daemon(socket, argc, argv);
	if (!dir)
		dir = getenv("IPCD_NAMESPACE");
	if (!dir || !*dir)
		ctl_die(EXIT_FAILED,
			"no namespace is named; give -n NAME, -d DIR or --daemon, or run ipcctl under ipcrun");
	return on_namespace(dir, false, argc, argv);
}

int main(int argc, char **argv)
{
	const char *name = NULL, *dir = NULL;
	char daemon[PATH_MAX] = "";
	int result;

	options(argc, argv, &name, &dir, daemon, sizeof daemon);
	result = run(argc - optind, argv + optind, name, dir, daemon);
	if (fflush(stdout) || ferror(stdout)) {
		ctl_say("cannot write the output: %s", strerror(errno));
		result = EXIT_FAILED;
	}
	return result;
}
