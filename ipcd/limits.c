/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of the namespace and quotas of its users, from the command line and from a file of NAME=VALUE lines, which is
 * read again at SIGHUP. The command line wins. A line of the file that makes no sense is logged and changes nothing; the
 * others count.
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

/* What the quotas are; the server starts without. */
static unsigned long long quotas[LIMITS];

bool limit_parse(const char *text, bool quota, const char **name, unsigned long long *value, char *why, size_t size)
{
	size_t length = strcspn(text, "=");

	if (!text[length]) {
		snprintf(why, size, "'%s' is not NAME=VALUE", text);
		return false;
	}
	for (int i = 0; i < LIMITS; i++) {
		const struct limit_info *l = &limit_info[i];

		if (strlen(l->name) != length || strncmp(l->name, text, length) ||
		    (quota && !limit_has_quota((enum limit)i)))
			continue;
		*name = l->name;
		if (number(text + length + 1, 10, l->max, value))
			return true;
		snprintf(why, size, "%s: the value is not a number from 0 to %llu", text, (unsigned long long)l->max);
		return false;
	}
	if (quota)
		snprintf(why, size, "there is no quota '%.*s'; there are shmmni, shmall, semmni, semmns and msgmni", (int)length,
			 text);
	else
		snprintf(why, size, "there is no limit '%.*s'; ipcctl limits lists them", (int)length, text);
	return false;
}

static bool set_quota(ipc_server *s, const char *text, char *why, size_t size)
{
	unsigned long long value;
	const char *name;
	int l = 0;

	if (!limit_parse(text, true, &name, &value, why, size))
		return false;
	while (limit_info[l].name != name)
		l++;
	if (quotas[l] == value)
		return true;
	if (ipc_serve_quota(s, name, value)) {
		snprintf(why, size, "cannot set quota.%s: %s", text, strerror(errno));
		return false;
	}
	quotas[l] = value;
	log_say(LOG_INFO, value ? "quota %s is %llu for each user" : "quota %s is %llu: there is none", name, value);
	return true;
}

static bool set(ipc_server *s, const char *text, char *why, size_t size)
{
	ipc_ns *ns = ipc_serve_namespace(s);
	unsigned long long value, now;
	const char *name;

	if (!strncmp(text, "quota.", 6))
		return set_quota(s, text + 6, why, size);
	if (!limit_parse(text, false, &name, &value, why, size))
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
static bool set_line(ipc_server *s, char *line, char *why, size_t size)
{
	char text[200], *value;

	line[strcspn(line, "#")] = 0;
	line = trimmed(line);
	value = strchr(line, '=');
	if (value)
		*value++ = 0;
	snprintf(text, sizeof text, "%s%s%s", trimmed(line), value ? "=" : "", value ? trimmed(value) : "");
	return !*text || set(s, text, why, size);
}

static bool apply_file(ipc_server *s, const char *file)
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
		if (!set_line(s, line, why, sizeof why))
			log_say(LOG_ERR, "%s:%d: %s; correct the line and send SIGHUP, it has changed nothing", file, at, why);
	}
	error = ferror(f) ? errno : 0;
	free(line);
	fclose(f);
	if (error)
		log_say(LOG_ERR, "cannot read the limits of %s: %s", file, strerror(error));
	return !error;
}

bool limits_apply(ipc_server *s, const struct options *o)
{
	bool done = !*o->limits_file || apply_file(s, o->limits_file);
	char why[300];

	for (int i = 0; i < o->limits; i++)
		if (!(o->limit[i].quota ? set_quota : set)(s, o->limit[i].text, why, sizeof why)) {
			log_say(LOG_ERR, "%s", why);
			done = false;
		}
	return done;
}
