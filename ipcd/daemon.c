/* SPDX-License-Identifier: BSD-2-Clause */
/* Which daemon the tools mean by --daemon. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"

static bool is_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISSOCK(st.st_mode);
}

/* The user's own daemon, if there is one, and else the system's. */
bool daemon_socket(const char *named, char *out, size_t size)
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	char here[PATH_MAX];

	if (named && *named == '/')
		return (size_t)snprintf(out, size, "%s", named) < size;
	if (named)
		return getcwd(here, sizeof here) && (size_t)snprintf(out, size, "%s/%s", here, named) < size;
	if (geteuid() && run && *run == '/' && (size_t)snprintf(out, size, "%s/ipcd/socket", run) < size && is_socket(out))
		return true;
	return (size_t)snprintf(out, size, "%s", DAEMON_SOCKET) < size;
}
