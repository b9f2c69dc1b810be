/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection to a daemon: made, written to, read from and closed. Nothing is ever read from, written to or closed but
 * a descriptor that still is the socket that we made: the program may have closed that one, and opened another file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw.h"
#include "route_link.h"

#define FIRST_FD 480 /* out of the way of programs that count descriptors */

bool link_ours(const struct link *l)
{
	struct stat st;

	return l->fd >= 0 && !fstat(l->fd, &st) && st.st_dev == l->dev && st.st_ino == l->ino;
}

void link_hang_up(struct link *l)
{
	if (link_ours(l))
		close(l->fd);
	l->fd = -1;
}

/* A number that the program hardly uses; any other when there is none. */
static int out_of_the_way(int fd)
{
	struct rlimit limit;
	int from = !getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < FIRST_FD + 20 ? (int)(limit.rlim_cur / 2) : FIRST_FD;
	int high = fcntl(fd, F_DUPFD_CLOEXEC, from);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* The socket is out of sight: in a chroot, say. */
static long dial_abstract(const struct wire *w, int fd, long error)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t length = sizeof peer;

	strcpy(to.sun_path + 1, w->abstract);
	if (raw_call(SYS_connect, fd, (long)&to, (long)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(w->abstract)), 0, 0,
		     0))
		return error;
	if (raw_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&length, 0) || peer.uid != w->uid)
		return error;
	return 0;
}

static bool no_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISSOCK(st.st_mode);
}

int link_dial(const struct wire *w, struct link *l)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct stat st;
	long fd = raw_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0, 0, 0), e;

	if (fd < 0)
		return (int)fd;
	memcpy(to.sun_path, w->socket, sizeof to.sun_path);
	e = raw_call(SYS_connect, fd, (long)&to, sizeof to, 0, 0, 0);
	if ((e == -ENOENT || e == -EACCES) && *w->abstract)
		e = dial_abstract(w, (int)fd, e);
	if (e == -ECONNREFUSED && no_socket(w->socket))
		e = -ENOTSOCK;
	if (!e && fcntl((int)fd, F_SETFL, 0))
		e = -errno;
	if (e) {
		close((int)fd);
		return (int)e;
	}
	l->fd = out_of_the_way((int)fd);
	if (fstat(l->fd, &st)) {
		close(l->fd);
		l->fd = -1;
		return -EBADF;
	}
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	l->creds = atomic_load(&creds_generation);
	return 0;
}

/* A payload that does not go into a datagram. */
int wire_memory(const void *data, uint32_t size)
{
	long fd = raw_call(SYS_memfd_create, (long)"ipcd-payload", 3 /* CLOEXEC, ALLOW_SEALING */, 0, 0, 0, 0);

	if (fd < 0)
		return (int)fd;
	for (uint32_t done = 0; done < size;) {
		ssize_t n = write((int)fd, (const char *)data + done, size - done);

		if (n <= 0) {
			close((int)fd);
			return -ENOMEM;
		}
		done += (uint32_t)n;
	}
	return (int)fd;
}

int link_transmit(const struct link *l, struct wire_request *r, const struct wire_call *c)
{
	struct iovec io[2] = { { r, sizeof *r }, { (void *)c->out, c->out_size } };
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))]; } control;
	struct msghdr m = { .msg_iov = io, .msg_iovlen = c->out_size ? 2 : 1, .msg_control = &control,
			    .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
	const struct creds *creds = creds_get();
	struct ucred *id;
	long n;
	int memory = -1;

	memset(&control, 0, sizeof control);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_CREDENTIALS;
	control.head.cmsg_len = CMSG_LEN(sizeof *id);
	id = (struct ucred *)CMSG_DATA(&control.head);
	*id = (struct ucred){ .pid = (pid_t)raw_call(SYS_getpid, 0, 0, 0, 0, 0, 0), .uid = creds->uid, .gid = creds->gid };
	if (c->out_size > WIRE_INLINE) {
		memory = wire_memory(c->out, c->out_size);
		if (memory < 0)
			return memory;
		struct cmsghdr *h = (struct cmsghdr *)(control.room + CMSG_SPACE(sizeof(struct ucred)));

		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &memory, sizeof memory);
		m.msg_controllen = sizeof control.room;
		m.msg_iovlen = 1;
		r->flags |= WIRE_MEMORY;
	}
	n = raw_call(SYS_sendmsg, l->fd, (long)&m, MSG_NOSIGNAL | (r->op == WIRE_RING ? MSG_DONTWAIT : 0), 0, 0, 0);
	if (memory >= 0)
		close(memory);
	return n < 0 ? (int)n : 0;
}

static void take_descriptors(struct msghdr *m, struct wire_call *c)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		int n, fd[8];

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fd, CMSG_DATA(h), (size_t)n * sizeof(int));
		for (int i = 0; i < n; i++)
			if (c && c->fds < 4)
				c->fd[c->fds++] = fd[i];
			else
				close(fd[i]);
	}
}

/* The large payload is in the last descriptor. */
static int take_memory(struct wire_call *c, uint32_t size)
{
	ssize_t n = c->fds ? pread(c->fd[c->fds - 1], c->in, size < c->in_room ? size : c->in_room, 0) : -1;

	if (c->fds)
		close(c->fd[--c->fds]);
	c->in_size = n < 0 ? 0 : (uint32_t)n;
	return n < 0 ? -EIO : 0;
}

void wire_close_descriptors(struct wire_call *c)
{
	while (c->fds)
		close(c->fd[--c->fds]);
}

/* The reply to request `number`, if it is there: 0; -EAGAIN: not yet; -EPIPE: the connection is gone. */
int link_collect(const struct link *l, struct wire_call *c, uint64_t number, long *result)
{
	struct wire_reply r;
	struct iovec io[2] = { { &r, sizeof r }, { c->in, c->in_room } };
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr m = { .msg_iov = io, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
	long n = raw_call(SYS_recvmsg, l->fd, (long)&m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0);

	if (n == -ECONNRESET) /* said once, when something of ours was not read any more: the reply may be there */
		n = raw_call(SYS_recvmsg, l->fd, (long)&m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0);
	if (n == -EAGAIN || n == -EINTR || n == -EFAULT)
		return n == -EFAULT ? -EFAULT : -EAGAIN;
	if (n < (long)sizeof r || r.magic != WIRE_MAGIC)
		return -EPIPE;
	c->fds = 0;
	take_descriptors(&m, c);
	if (r.version != WIRE_VERSION)
		return -EPROTO;
	if (r.number != number) { /* of a request that was given up */
		wire_close_descriptors(c);
		return -EAGAIN;
	}
	memcpy(c->value, r.value, sizeof c->value);
	c->in_size = (uint32_t)n - (uint32_t)sizeof r;
	*result = (long)r.result;
	return r.flags & WIRE_MEMORY ? take_memory(c, r.size) : 0;
}
