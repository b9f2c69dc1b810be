/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcd's command line: everything in it is checked before anything is opened. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "ctl.h"
#include "ipcd.h"

#define WORKERS_MAX 1024

static const char help[] =
	"Usage: ipcd [OPTION...]\n"
	"Serve a System V IPC namespace to processes of any user.\n"
	"\n"
	"  --foreground          stay in the foreground and log to stderr; otherwise ipcd returns when it is ready,\n"
	"                        and logs to syslog\n"
	"  --namespace-dir DIR   the namespace's directory; made if it is not there (root: /dev/shm/ipcd, otherwise\n"
	"                        /dev/shm/ipcd-UID/daemon)\n"
	"  --socket PATH         the socket (root: /run/ipcd/socket, otherwise $XDG_RUNTIME_DIR/ipcd/socket)\n"
	"  --socket-mode MODE    its mode, octal (root: 0666, otherwise 0600)\n"
	"  --limit NAME=VALUE    a limit of the namespace, by the kernel's name; as often as wanted\n"
	"  --quota NAME=VALUE    the same for each user but root: shmmni, semmni, msgmni, shmall or semmns; 0: none\n"
	"  --limits-file FILE    lines of NAME=VALUE or quota.NAME=VALUE, read again at SIGHUP; --limit and --quota win\n"
	"  --mapping=file        where objects' memory is: files of the directory\n"
	"  --workers N           threads (as many as processors, at least 4)\n"
	"  --trust-clients       where the kernel cannot keep clients of other users from truncating segments, let them\n"
	"                        map for writing all the same\n"
	"  --log-level LEVEL     error, warn, info or debug\n"
	"  --syslog              log to syslog also in the foreground\n"
	"  --private             serve a private namespace of ipcrun's: remove it and stop when nobody uses it any more\n"
	"  --check               look at the namespace's directory, change nothing, say what is there and what is wrong\n"
	"  --help, --version     show this, or the version, and exit\n"
	"\n"
	"The exit status is 0, 1 when it failed or --check found something, 2 when the command line is wrong.\n";

enum { FOREGROUND = 256, DIRECTORY, SOCKET, MODE, LIMIT, QUOTA, FILE_OF_LIMITS, MAPPING, WORKERS, TRUST, LEVEL, SYSLOG, PRIVATE, CHECK,
       HELP, VERSION };

static const struct option longs[] = {
	{ "foreground", no_argument, NULL, FOREGROUND },
	{ "namespace-dir", required_argument, NULL, DIRECTORY },
	{ "socket", required_argument, NULL, SOCKET },
	{ "socket-mode", required_argument, NULL, MODE },
	{ "limit", required_argument, NULL, LIMIT },
	{ "quota", required_argument, NULL, QUOTA },
	{ "limits-file", required_argument, NULL, FILE_OF_LIMITS },
	{ "mapping", required_argument, NULL, MAPPING },
	{ "workers", required_argument, NULL, WORKERS },
	{ "trust-clients", no_argument, NULL, TRUST },
	{ "log-level", required_argument, NULL, LEVEL },
	{ "syslog", no_argument, NULL, SYSLOG },
	{ "private", no_argument, NULL, PRIVATE },
	{ "check", no_argument, NULL, CHECK },
	{ "help", no_argument, NULL, HELP },
	{ "version", no_argument, NULL, VERSION },
	{ NULL, 0, NULL, 0 },
};

/* In the background the directory is /. */
static void take_path(char *out, const char *option, const char *value)
{
	char here[PATH_MAX] = "";

	if (!*value)
		log_die(STATUS_USAGE, "%s needs a name; it is empty", option);
	if (*value != '/' && !getcwd(here, sizeof here))
		log_die(STATUS_FAILED, "cannot tell the current directory: %s; give %s from / on", strerror(errno), option);
	if (strlen(here) + strlen(value) + 2 > PATH_MAX)
		log_die(STATUS_USAGE, "%s: the name %.60s... is too long", option, value);
	if (*here)
		strcat(strcpy(out, here), "/");
	else
		*out = 0;
	strcat(out, value);
}

static int take_level(const char *value)
{
	static const struct { const char *name; int level; } levels[] = {
		{ "error", LOG_ERR }, { "warn", LOG_WARNING }, { "info", LOG_INFO }, { "debug", LOG_DEBUG },
	};

	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
		if (!strcmp(value, levels[i].name))
			return levels[i].level;
	log_die(STATUS_USAGE, "--log-level %s is not known; use error, warn, info or debug", value);
}

static int take_mode(const char *value)
{
	unsigned long long mode;

	if (!number(value, 8, 0777, &mode) || mode & 0111 || (mode & 0600) != 0600)
		log_die(STATUS_USAGE, "--socket-mode %s is not a socket's mode; use 0600 (one user), 0660 or 0666 (all)",
			value);
	return (int)mode;
}

static int take_workers(const char *value)
{
	unsigned long long n;

	if (!number(value, 10, WORKERS_MAX, &n) || !n)
		log_die(STATUS_USAGE, "--workers %s is not a number from 1 to %d", value, WORKERS_MAX);
	return (int)n;
}

static void take_limit(struct options *o, const char *text, bool quota)
{
	const char *option = quota ? "--quota" : "--limit";
	unsigned long long value;
	const char *name;
	char why[300];

	if (!limit_parse(text, quota, &name, &value, why, sizeof why))
		log_die(STATUS_USAGE, "%s: %s", option, why);
	if (o->limits == LIMITS_GIVEN)
		log_die(STATUS_USAGE, "--limit and --quota are given more than %d times; use --limits-file", LIMITS_GIVEN);
	o->limit[o->limits].text = text;
	o->limit[o->limits++].quota = quota;
}

_Noreturn static void print(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) ? STATUS_FAILED : 0);
}

static void take(struct options *o, int option, char **argv)
{
	switch (option) {
	case FOREGROUND:
		o->foreground = true;
		break;
	case DIRECTORY:
		take_path(o->directory, "--namespace-dir", optarg);
		break;
	case SOCKET:
		take_path(o->socket, "--socket", optarg);
		break;
	case MODE:
		o->socket_mode = take_mode(optarg);
		break;
	case LIMIT:
		take_limit(o, optarg, false);
		break;
	case QUOTA:
		take_limit(o, optarg, true);
		break;
	case FILE_OF_LIMITS:
		take_path(o->limits_file, "--limits-file", optarg);
		break;
	case MAPPING:
		if (strcmp(optarg, "file"))
			log_die(STATUS_USAGE, "--mapping=%s is not known; use file", optarg);
		break;
	case WORKERS:
		o->workers = take_workers(optarg);
		break;
	case TRUST:
		o->trust_clients = true;
		break;
	case LEVEL:
		o->log_level = take_level(optarg);
		break;
	case SYSLOG:
		o->syslog = true;
		break;
	case PRIVATE:
		o->private = true;
		break;
	case CHECK:
		o->check = true;
		break;
	case HELP:
		print(help);
	case VERSION:
		print("ipcd " IPCD_VERSION "\n");
	case ':':
		log_die(STATUS_USAGE, "option %s needs a value; try ipcd --help", argv[optind - 1]);
	default:
		log_die(STATUS_USAGE, "unknown option %s; try ipcd --help", argv[optind - 1]);
	}
}

void options_take(struct options *o, int argc, char **argv)
{
	const char *serving = NULL; /* an option that --check has no use for */
	int option, at = 0;

	*o = (struct options){ .log_level = LOG_INFO, .socket_mode = -1 };
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", longs, &at)) != -1) {
		take(o, option, argv);
		if (option != DIRECTORY && option != CHECK)
			serving = longs[at].name;
	}
	if (optind < argc)
		log_die(STATUS_USAGE, "'%s' is no option; try ipcd --help", argv[optind]);
	if (o->check && serving)
		log_die(STATUS_USAGE, "--check serves nothing; leave --%s out", serving);
	if (!o->foreground)
		o->syslog = true;
}
