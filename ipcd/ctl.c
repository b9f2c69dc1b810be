/* SPDX-License-Identifier: BSD-2-Clause */
/* What ipcctl's commands share: complaints, numbers, names. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"

void (*ctl_leaving)(void);
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

	if (ctl_leaving)
		ctl_leaving();
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

bool age_number(const char *text, unsigned long long *seconds)
{
	static const char unit[] = "smhdw";
	static const unsigned length[] = { 1, 60, 3600, 86400, 604800 };
	size_t digits = strspn(text, "0123456789");
	const char *u = text[digits] ? strchr(unit, text[digits]) : unit;
	char figures[16];

	if (!digits || digits > 9 || !u || (text[digits] && text[digits + 1]))
		return false;
	snprintf(figures, sizeof figures, "%.*s", (int)digits, text);
	*seconds = strtoull(figures, NULL, 10) * length[u - unit];
	return true;
}

bool kinds_take(struct kinds *k, const char *word)
{
	int kind = kind_named(word);

	if (kind >= 0)
		k->wanted[kind] = k->any = true;
	return kind >= 0;
}

bool kinds_has(const struct kinds *k, enum kind kind)
{
	return !k->any || k->wanted[kind];
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

const char *process_name(pid_t pid)
{
	static char text[40];

	return inspect_command(pid, text, sizeof text) ? text : "gone";
}

/* ---- for people ---- */

static char *scratch(void)
{
	static char text[4][24];
	static unsigned turn;

	return text[turn++ % 4];
}

const char *duration(uint64_t ms)
{
	unsigned long long s = ms / 1000;
	char *t = scratch();

	if (s < 10)
		snprintf(t, 24, "%llu.%llus", s, (unsigned long long)(ms % 1000 / 100));
	else if (s < 60)
		snprintf(t, 24, "%llus", s);
	else if (s < 3600)
		snprintf(t, 24, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(t, 24, "%lluh%02llum", s / 3600, s % 3600 / 60);
	else
		snprintf(t, 24, "%llud%02lluh", s / 86400, s % 86400 / 3600);
	return t;
}

const char *human_bytes(uint64_t bytes)
{
	static const char unit[] = "KMGTPE";
	double v = (double)bytes;
	char *t = scratch();
	int u = -1;

	while (v >= 1023.5) {
		v /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(t, 24, "%llu", (unsigned long long)bytes);
	else
		snprintf(t, 24, "%.*f%c", v < 9.95, v, unit[u]);
	return t;
}

int output_width(void)
{
	const char *columns = getenv("COLUMNS");
	unsigned long long n;
	struct winsize w;

	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col)
		return w.ws_col;
	return columns && number(columns, 10, 10000, &n) ? (int)n : 0;
}

void print_folded(FILE *out, int width, int indent, const char *fmt, ...)
{
	int at = 0, start = 0;
	va_list ap;
	char *text, *p;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		ctl_die(EXIT_FAILED, "no memory");
	va_end(ap);
	for (p = text; *p;) {
		int spaces = (int)strspn(p, " "), word = (int)strcspn(p + spaces, " ");

		if (width && at > start && at + spaces + word > width) {
			fprintf(out, "\n%*s", indent, "");
			at = start = indent;
			p += spaces;
			spaces = 0;
		}
		for (int i = 0; i < spaces + word; i++)
			putc(p[i] == *KEEP ? ' ' : p[i], out);
		at += spaces + word;
		p += spaces + word;
	}
	putc('\n', out);
	free(text);
}
