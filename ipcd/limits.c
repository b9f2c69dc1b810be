/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of the namespace, from the command line and from a file of NAME=VALUE lines, which is read again at SIGHUP. The
 * command line wins. A line of the file that makes no sense is logged and changes nothing; the others count.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "../libipc/registry.h"
#include "ctl.h"
#include "ipcd.h"

bool limit_parse(const char *text, const char **name, unsigned long long *value, char *why, size_t size)
{
	size_t length = strcspn(text, "=");

	if (!text[length]) {
		snprintf(why, size, "'%s' is not NAME=VALUE", text);
		return false;
	}
	for (int i = 0; i < LIMITS; i++) {
		const struct limit_info *l = &limit_info[i];

		if (strlen(l->name) != length || strncmp(l->name, text, length))
			continue;
		*name = l->name;
		if (number(text + length + 1, 10, l->max, value))
			return true;
		snprintf(why, size, "%s: the value is not a number from 0 to %llu", text, (unsigned long long)l->max);
		return false;
	}
	snprintf(why, size, "there is no limit '%.*s'; ipcctl limits lists them", (int)length, text);
	return false;
}

static bool set(ipc_ns *ns, const char *text, char *why, size_t size)
{
	unsigned long long value, now;
	const char *name;

	if (!limit_parse(text, &name, &value, why, size))
		return false;
	if (!ipc_limit_get(ns, name, &now) && now == value)
		return true;
	if (ipc_limit_set(ns, name, value)) {
		snprintf(why, size, "cannot set %s: %s", text, strerror(errno));
		return false;
	}
	log_say(LOG_INFO, "limit %s is %llu", name, value);
	return true;
}

static char *trimmed(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	for (n = strlen(s); n && isspace((unsigned char)s[n - 1]); n--)
		;
	s[n] = 0;
	return s;
}

/* One line: a comment, nothing, or NAME=VALUE with blanks anywhere beside the words. */
static bool set_line(ipc_ns *ns, char *line, char *why, size_t size)
{
	char text[200], *value;

	line[strcspn(line, "#")] = 0;
	line = trimmed(line);
	value = strchr(line, '=');
	if (value)
		*value++ = 0;
	snprintf(text, sizeof text, "%s%s%s", trimmed(line), value ? "=" : "", value ? trimmed(value) : "");
	return !*text || set(ns, text, why, size);
}

static bool apply_file(ipc_ns *ns, const char *file)
{
	FILE *f = fopen(file, "re");
	char *line = NULL, why[300];
	size_t room = 0;
	int error;

	if (!f) {
		log_say(LOG_ERR, "cannot read the limits of %s: %s; they stay as they are", file, strerror(errno));
		return false;
	}
	for (int at = 1; getline(&line, &room, f) >= 0; at++) {
		if (!set_line(ns, line, why, sizeof why))
			log_say(LOG_ERR, "%s:%d: %s; correct the line and send SIGHUP, it has changed nothing", file, at, why);
	}
	error = ferror(f) ? errno : 0;
	free(line);
	fclose(f);
	if (error)
		log_say(LOG_ERR, "cannot read the limits of %s: %s", file, strerror(error));
	return !error;
}

bool limits_apply(ipc_ns *ns, const struct options *o)
{
	bool done = !*o->limits_file || apply_file(ns, o->limits_file);
	char why[300];

	for (int i = 0; i < o->limits; i++)
		if (!set(ns, o->limit[i], why, sizeof why)) {
			log_say(LOG_ERR, "%s", why);
			done = false;
		}
	return done;
}
