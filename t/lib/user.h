/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Users: children that have become somebody and do what they are told: act() runs a function in one and gives its
 * result, or -errno; begin() and finish() do so in two parts, for calls that sleep.
 */
#ifndef T_USER_H
#define T_USER_H

#include <grp.h>
#include <poll.h>
#include <sys/socket.h>

#include "objects.h"

enum { ANN = 60011, BOB, CARL, STRANGER };

struct user {
	pid_t pid;
	int fd;
	struct {
		long (*fn)(long a, long b);
		long a, b, result;
	} *task;
};

UNUSED static int become(uid_t uid)
{
	return setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ? -1 : 0;
}

UNUSED static void user_serve(struct user *u, int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1) {
		errno = 0;
		u->task->result = u->task->fn(u->task->a, u->task->b);
		if (u->task->result == -1)
			u->task->result = errno ? -errno : -9999;
		if (write(fd, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* A child that is this user for good; 0: root, which may still change. */
UNUSED static struct user user_new(uid_t uid)
{
	struct user u;
	int fd[2];

	u.task = shared_new(PAGE);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		bail_out("socketpair");
	fflush(stdout);
	u.pid = fork();
	if (u.pid < 0)
		bail_out("fork");
	if (u.pid == 0) {
		alarm(60);
		close(fd[1]);
		if (uid && become(uid))
			_exit(99);
		user_serve(&u, fd[0]);
	}
	close(fd[0]);
	u.fd = fd[1];
	return u;
}

UNUSED static void begin(struct user *u, long (*fn)(long, long), long a, long b)
{
	u->task->fn = fn;
	u->task->a = a;
	u->task->b = b;
	u->task->result = -9998;
	if (send(u->fd, "b", 1, MSG_NOSIGNAL) != 1)
		bail_out("a user is gone");
}

UNUSED static bool finished(struct user *u, int ms)
{
	struct pollfd p = { .fd = u->fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

UNUSED static long finish(struct user *u)
{
	char byte;

	if (!finished(u, T_WAIT * 1000))
		return -9997;
	return read(u->fd, &byte, 1) == 1 ? u->task->result : -9996;
}

UNUSED static long act(struct user *u, long (*fn)(long, long), long a, long b)
{
	begin(u, fn, a, b);
	return finish(u);
}

UNUSED static void user_kill(struct user *u)
{
	proc_kill(u->pid);
	close(u->fd);
	munmap(u->task, PAGE);
}

#endif
