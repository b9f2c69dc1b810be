/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Socket activation and readiness, as sd_listen_fds(3) and sd_notify(3) lay them down: LISTEN_PID says for which process
 * the LISTEN_FDS descriptors from 3 on are; state is told in datagrams to NOTIFY_SOCKET. Without those variables nobody
 * is asked and nobody is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "ctl.h"
#include "ipcd.h"

#define FIRST_FD 3

static int socket_option(int fd, int name)
{
	socklen_t length = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) ? -1 : value;
}

/* A number that a variable holds, 0 if it is not set. */
static unsigned long long variable(const char *name, unsigned long long max)
{
	const char *text = getenv(name);
	unsigned long long value = 0;

	if (text && !number(text, 10, max, &value))
		log_die(STATUS_FAILED, "%s=%s is not a number; it is set by what starts ipcd, as systemd does", name, text);
	return value;
}

int activation_socket(char *path, size_t size)
{
	struct sockaddr_un a;
	socklen_t length = sizeof a;
	unsigned long long fds;

	if (variable("LISTEN_PID", INT_MAX) != (unsigned long long)getpid())
		return -1;
	fds = variable("LISTEN_FDS", 1 << 20);
	if (!fds)
		return -1;
	if (fds > 1)
		log_die(STATUS_FAILED, "LISTEN_FDS=%llu: ipcd takes one socket; leave one in the socket unit", fds);
	if (socket_option(FIRST_FD, SO_DOMAIN) != AF_UNIX || socket_option(FIRST_FD, SO_TYPE) != SOCK_SEQPACKET ||
	    socket_option(FIRST_FD, SO_ACCEPTCONN) != 1)
		log_die(STATUS_FAILED, "descriptor 3, passed by LISTEN_FDS, is not a listening AF_UNIX socket of type "
			"SOCK_SEQPACKET; use ListenSequentialPacket= in the socket unit");
	memset(&a, 0, sizeof a);
	if (getsockname(FIRST_FD, (struct sockaddr *)&a, &length) || !a.sun_path[0])
		log_die(STATUS_FAILED, "the socket that LISTEN_FDS passes has no path; clients find ipcd by one");
	snprintf(path, size, "%.*s", (int)sizeof a.sun_path, a.sun_path);
	fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
	return FIRST_FD;
}

void activation_notify(const char *state)
{
	const char *to = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t length = to ? strlen(to) : 0;
	int fd;

	if (!length)
		return;
	if ((*to != '/' && *to != '@') || length >= sizeof a.sun_path) {
		log_say(LOG_WARNING, "NOTIFY_SOCKET=%s is not the path of a socket; nobody is told: %s", to, state);
		return;
	}
	memcpy(a.sun_path, to, length);
	if (*to == '@')
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		log_say(LOG_WARNING, "cannot tell NOTIFY_SOCKET=%s that it is %s: %s", to, state, strerror(errno));
	if (fd >= 0)
		close(fd);
}
