/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the daemon's namespace and socket are when nobody says it, and whose the directories around them are. Others may
 * write to /dev/shm: what they have put there in place of ours is refused by name, never used.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libipc/users.h"
#include "ipcd.h"

#define ROOT_DIRECTORY "/dev/shm/ipcd"
#define ROOT_SOCKET "/run/ipcd/socket"

void place_directory(struct options *o)
{
	char base[64];

	if (*o->directory)
		return;
	if (!geteuid()) {
		strcpy(o->directory, ROOT_DIRECTORY);
		return;
	}
	if (users_base(base, sizeof base, !o->check))
		log_die(STATUS_FAILED, "%s", ipc_open_error());
	snprintf(o->directory, sizeof o->directory, "%s/daemon", base);
}

static void default_socket(struct options *o)
{
	const char *run = getenv("XDG_RUNTIME_DIR");

	if (!geteuid()) {
		strcpy(o->socket, ROOT_SOCKET);
		return;
	}
	if (!run || *run != '/')
		log_die(STATUS_FAILED, "XDG_RUNTIME_DIR is not set, so there is no place for the socket; name one: "
			"--socket PATH");
	if (snprintf(o->socket, sizeof o->socket, "%s/ipcd/socket", run) >= (int)sizeof o->socket)
		log_die(STATUS_FAILED, "XDG_RUNTIME_DIR=%.60s... is too long; name the socket: --socket PATH", run);
}

/* Whoever owns the socket's directory, or may write to it, could put a socket of his own there. */
static void check_parent(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		log_die(STATUS_FAILED, "cannot use %s, the directory of the socket: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		log_die(STATUS_FAILED, "%s is not a directory, and the socket is to be in it; name another: --socket PATH",
			dir);
	if (st.st_uid != geteuid() && st.st_uid)
		log_die(STATUS_FAILED, "%s belongs to uid %u and not to you; have it removed, or name another: "
			"--socket PATH", dir, (unsigned)st.st_uid);
	if (st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX))
		log_die(STATUS_FAILED, "%s is writable for everybody (mode %04o), who could replace the socket: "
			"chmod o-w %s", dir, (unsigned)st.st_mode & 07777, dir);
}

void place_socket(struct options *o)
{
	mode_t mode;
	char *slash;

	if (!*o->socket)
		default_socket(o);
	if (o->socket_mode < 0)
		o->socket_mode = geteuid() ? 0600 : 0666;
	mode = o->socket_mode & 066 ? 0755 : 0700;
	slash = strrchr(o->socket, '/');
	if (slash == o->socket) {
		check_parent("/");
		return;
	}
	*slash = 0;
	if (!mkdir(o->socket, mode))
		chmod(o->socket, mode); /* whatever the umask is */
	else if (errno != EEXIST)
		log_die(STATUS_FAILED, "cannot make %s, the directory of the socket: %s", o->socket, strerror(errno));
	check_parent(o->socket);
	*slash = '/';
}
