/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that speaks the daemon's protocol by itself (libipc/wire.h), and says what it likes. Answers are waited for
 * RAW_WAIT milliseconds at most.
 */
#ifndef T_RAW_CLIENT_H
#define T_RAW_CLIENT_H

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire.h"

#define RAW_WAIT 20000
#define RAW_GONE (-100000) /* the daemon has hung up */
#define RAW_LATE (-100001) /* it does not answer */

struct raw {
	int fd, lock; /* of the slot's file: with it a process keeps its slot */
	uint32_t tag, who;
	uint64_t number;
	struct wire_reply reply;
	char text[WIRE_INLINE];
	int fds[8], got;
};

__attribute__((unused)) static int raw_dial(const char *socket_path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof to.sun_path, "%s", socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One datagram, with descriptors; 0 or -errno. */
__attribute__((unused)) static int raw_datagram(int fd, const void *data, size_t size, const int *fds, int n, int flags)
{
	static char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(253 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec io = { (void *)data, size };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
	struct ucred self = { getpid(), geteuid(), getegid() };
	struct cmsghdr *h = (struct cmsghdr *)control;

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_CREDENTIALS;
	h->cmsg_len = CMSG_LEN(sizeof self);
	memcpy(CMSG_DATA(h), &self, sizeof self);
	if (n) {
		h = (struct cmsghdr *)(control + CMSG_SPACE(sizeof(struct ucred)));
		m.msg_controllen += CMSG_SPACE((size_t)n * sizeof(int));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
		memcpy(CMSG_DATA(h), fds, (size_t)n * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

__attribute__((unused)) static void raw_close_fds(struct raw *r)
{
	while (r->got)
		close(r->fds[--r->got]);
}

/* The next reply's result. */
__attribute__((unused)) static long raw_reply_within(struct raw *r, int ms)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec io[2] = { { &r->reply, sizeof r->reply }, { r->text, sizeof r->text } };
	struct msghdr m = { .msg_iov = io, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	ssize_t n;

	raw_close_fds(r);
	if (poll(&p, 1, ms) != 1)
		return RAW_LATE;
	n = recvmsg(r->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < (ssize_t)sizeof r->reply)
		return RAW_GONE;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
			r->got = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(r->fds, CMSG_DATA(h), (size_t)r->got * sizeof(int));
		}
	return r->reply.result;
}

__attribute__((unused)) static long raw_reply(struct raw *r)
{
	return raw_reply_within(r, RAW_WAIT);
}

struct raw_request {
	uint16_t op;
	int64_t arg[WIRE_ARGS];
	const void *payload;
	uint32_t size, flags;
	uint64_t number; /* 0: the next */
	const int *fds;
	int n;
};

__attribute__((unused)) static int raw_send(struct raw *r, struct raw_request q)
{
	char data[sizeof(struct wire_request) + WIRE_INLINE];
	struct wire_request w = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = q.op,
				  .number = q.number ? q.number : ++r->number, .size = q.size, .flags = q.flags };
	uint32_t along = q.flags & WIRE_MEMORY ? 0 : q.size;

	memcpy(w.arg, q.arg, sizeof w.arg);
	memcpy(data, &w, sizeof w);
	if (along)
		memcpy(data + sizeof w, q.payload, along);
	return raw_datagram(r->fd, data, sizeof w + along, q.fds, q.n, 0);
}

/* raw_call(r, .op = ..., .arg = { ... }): send, and the reply's result */
#define raw_call(r, ...)                                                                            \
	({                                                                                          \
		int rc_e = raw_send(r, (struct raw_request){ __VA_ARGS__ });                        \
		rc_e == -EPIPE || rc_e == -ECONNRESET ? (long)RAW_GONE : rc_e ? (long)rc_e : raw_reply(r); \
	})

/* Connect and say hello; its result. The descriptors (registry, slots, lock, marks) stay in r->fds. */
__attribute__((unused)) static long raw_hello(struct raw *r, const char *socket_path, uint32_t tag, uint32_t who)
{
	long result;

	memset(r, 0, offsetof(struct raw, text));
	r->got = 0;
	r->lock = -1;
	r->fd = raw_dial(socket_path);
	if (r->fd < 0)
		return RAW_GONE;
	result = raw_call(r, .op = WIRE_HELLO, .arg = { tag, who });
	if (result > 0) {
		r->who = (uint32_t)result;
		r->tag = (uint32_t)r->reply.value[0];
		if (r->got == 4)
			r->lock = dup(r->fds[2]);
	}
	return result;
}

__attribute__((unused)) static void raw_end(struct raw *r)
{
	raw_close_fds(r);
	close(r->fd);
	if (r->lock >= 0)
		close(r->lock);
}

#endif
