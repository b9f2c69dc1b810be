/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the daemon's main program share: options, the log, what the service manager passed, limits. */
#ifndef IPCD_H
#define IPCD_H

#include <limits.h>
#include <stdbool.h>

#include "../libipc/libipc.h"

#ifndef IPCD_VERSION
#define IPCD_VERSION "0.1"
#endif

enum { STATUS_FAILED = 1, STATUS_USAGE = 2 };

#define LIMITS_GIVEN 32

/* options.c */
struct options {
	bool foreground, check, private, trust_clients, syslog;
	int log_level; /* of syslog(3) */
	char directory[PATH_MAX], socket[PATH_MAX]; /* absolute; "": the default */
	int socket_mode; /* -1: the default */
	int workers;     /* 0: the library decides */
	char limits_file[PATH_MAX];
	struct { const char *text; bool quota; } limit[LIMITS_GIVEN]; /* NAME=VALUE, checked */
	int limits;
};
void options_take(struct options *o, int argc, char **argv);

/* place.c: where the namespace and the socket are when nobody says it, and whose the directories are */
void place_directory(struct options *o); /* makes the directory above the default one, as ipcrun does */
void place_socket(struct options *o);    /* makes the socket's directory */

/* log.c: lines to stderr or syslog; any thread. What stops the start, and the command line's errors, are plain. */
void log_open(bool to_syslog, int level);
__attribute__((format(printf, 2, 3))) void log_say(int priority, const char *fmt, ...);
void log_line(int priority, const char *line, void *arg); /* for ipc_serve */
__attribute__((format(printf, 2, 3))) _Noreturn void log_die(int status, const char *fmt, ...);
/* From now on stderr is not the caller's: what the library writes there becomes lines of the log. */
void log_take_stderr(void);
void log_close(void); /* with what is on its way */

/* activation.c: what systemd, or who does as it does, passes and wants to hear */
int activation_socket(char *path, size_t size); /* the one listening socket and its path, or -1: none was passed */
void activation_notify(const char *state);

/* limits.c */
/* NAME=VALUE, of a limit or of a quota. */
bool limit_parse(const char *text, bool quota, const char **name, unsigned long long *value, char *why, size_t size);
/* Set what the file says, then what the command line does. Bad lines are logged and change nothing. */
bool limits_apply(ipc_server *s, const struct options *o);

/* check.c */
int check_namespace(const char *directory);

#endif
