/* SPDX-License-Identifier: BSD-2-Clause */
/* What ipcctl's commands share: complaints, numbers, names. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

const char *const kind_name[KINDS] = { "shm", "sem", "msg" };

__attribute__((format(printf, 1, 0))) static void complain(const char *fmt, va_list ap)
{
	fflush(stdout);
	fputs("ipcctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void ctl_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
}

void ctl_die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	exit(status);
}

int kind_named(const char *name)
{
	for (int kind = 0; kind < KINDS; kind++)
		if (!strcmp(name, kind_name[kind]))
			return kind;
	return -1;
}

bool number(const char *text, int base, unsigned long long max, unsigned long long *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);
	return !errno && !*end && *value <= max;
}

const char *owner_name(uid_t uid)
{
	static char text[4][40];
	static int turn;
	struct passwd *p = getpwuid(uid);
	char *t = text[turn++ % 4];

	if (p)
		snprintf(t, sizeof text[0], "%s", p->pw_name);
	else
		snprintf(t, sizeof text[0], "%u", (unsigned)uid);
	return t;
}

const char *group_name(gid_t gid)
{
	static char text[4][40];
	static int turn;
	struct group *g = getgrgid(gid);
	char *t = text[turn++ % 4];

	if (g)
		snprintf(t, sizeof text[0], "%s", g->gr_name);
	else
		snprintf(t, sizeof text[0], "%u", (unsigned)gid);
	return t;
}

/* The command of a process; what it has put there is shown without control characters. */
const char *process_name(pid_t pid)
{
	static char text[40];
	char path[40];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof text - 1);
		close(fd);
	}
	if (n <= 0)
		return "gone";
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return text;
}
