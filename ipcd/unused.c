/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting until nobody uses a namespace. See unused.h. Nothing is looked at in turn: the kernel wakes us, by a lock that
 * nobody holds any more, or by the end of a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unused.h"

void unused_wait_for(const struct users *u)
{
	struct pollfd p[USERS_MAX];
	nfds_t n = 0;

	for (int i = 0; i < u->count && i < USERS_MAX; i++) {
		int fd = (int)syscall(SYS_pidfd_open, u->pid[i], 0);

		if (fd >= 0)
			p[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		else if (errno != ESRCH)
			sleep(1);
	}
	while (n) {
		if (poll(p, n, -1) < 0)
			continue;
		for (nfds_t i = 0; i < n;)
			if (p[i].revents) {
				close(p[i].fd);
				p[i] = p[--n];
			} else {
				i++;
			}
	}
}

/* The lock is had for a moment only: a client that comes waits for it. */
static void await_unlocked(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(fd, F_OFD_SETLKW, &l))
		if (errno != EINTR)
			sleep(1);
	l.l_type = F_UNLCK;
	fcntl(fd, F_OFD_SETLK, &l);
}

/* Those in exec have no lock; nor have programs that the library is not in, which may start others that it is in. */
void unused_await(const char *dir)
{
	char at[PATH_MAX], path[PATH_MAX + 8];
	struct users u;
	int fd;

	if (!users_socket_dir(dir, at, sizeof at))
		return;
	snprintf(path, sizeof path, "%s/users", at);
	while ((fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0) {
		if (errno == ENOENT)
			return;
		sleep(1); /* descriptors are short */
	}
	for (;;) {
		await_unlocked(fd);
		users_find(dir, true, &u);
		if (users_none(&u))
			break;
		unused_wait_for(&u);
	}
	close(fd);
}
