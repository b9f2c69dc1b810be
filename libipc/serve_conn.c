/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A daemon's connections: accepted, read, answered, closed. Nothing here waits for a client, and of what he sends only
 * the frame is looked at: who sends is what the kernel says, and a payload is copied before anybody reads it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "route_wire.h"
#include "serve.h"

#define SILENCE 30       /* seconds until a connection has said who it is */
#define LARGE_MOST (4ull * WIRE_LARGE) /* bytes of replies that one user has not taken */

static void conn_free(struct conn *c)
{
	pthread_mutex_destroy(&c->lock);
	close(c->fd);
	free(c->groups);
	free(c);
}

void conn_put(struct ipc_server *s, struct conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	if (c->client)
		client_put(s, c->client);
	conn_free(c);
}

void conn_close(struct ipc_server *s, struct conn *c)
{
	pthread_mutex_lock(&s->lock);
	if (c->closed) {
		pthread_mutex_unlock(&s->lock);
		return;
	}
	c->closed = true;
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	s->conns_count--;
	pthread_mutex_unlock(&s->lock);
	park_forget(s, c);
	epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	shutdown(c->fd, SHUT_RDWR);
	conn_put(s, c);
}

/* A worker may be at it: that one closes it. */
void conns_end(struct ipc_server *s, const struct client *client, uint32_t who, const struct conn *but)
{
	struct conn *c;

	do {
		pthread_mutex_lock(&s->lock);
		for (c = s->conns; c; c = c->next)
			if (c->client == client && c != but && c->who && (!who || c->who == who))
				break;
		if (c)
			atomic_fetch_add(&c->refs, 1);
		pthread_mutex_unlock(&s->lock);
		if (!c)
			break;
		pthread_mutex_lock(&c->lock);
		park_forget(s, c);
		pthread_mutex_lock(&s->lock);
		c->who = 0;
		pthread_mutex_unlock(&s->lock);
		pthread_mutex_unlock(&c->lock);
		shutdown(c->fd, SHUT_RDWR);
		conn_put(s, c);
	} while (c);
}

/* The groups of who connected, as they were then. */
static int peer_groups(struct conn *c)
{
	socklen_t length = 0;

	if (!getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length))
		return 0; /* none */
	if (errno != ERANGE)
		return -errno;
	c->groups = malloc(length);
	if (!c->groups)
		return -ENOMEM;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, c->groups, &length))
		return -errno;
	c->ngroups = (int)(length / sizeof(gid_t));
	return 0;
}

static bool too_many(struct ipc_server *s, uid_t uid)
{
	uint32_t n = 0;

	for (struct conn *c = s->conns; c; c = c->next)
		n += c->uid == uid;
	return n >= (uid && uid != geteuid() ? s->conns_of_uid : s->conns_of_uid * 2);
}

static void conn_new(struct ipc_server *s, int fd)
{
	struct conn *c = calloc(1, sizeof *c);
	struct ucred peer;
	socklen_t length = sizeof peer;
	pthread_mutexattr_t attr;
	struct timespec now;
	int on = 1, e = -ENOMEM;

	if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on)) {
		close(fd);
		free(c);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	c->source.kind = SOURCE_CONN;
	c->fd = fd;
	c->uid = peer.uid;
	c->since = now.tv_sec;
	atomic_store(&c->refs, 1);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&c->lock, &attr);
	e = peer_groups(c);
	pthread_mutex_lock(&s->lock);
	if (!e && too_many(s, c->uid))
		e = -EMFILE;
	if (!e) {
		c->link = &s->conns;
		c->next = s->conns;
		if (c->next)
			c->next->link = &c->next;
		s->conns = c;
		s->conns_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (e) {
		serve_log(s, LOG_WARNING, "a connection of uid %u is refused: %s", (unsigned)c->uid, strerror(-e));
		conn_free(c);
		return;
	}
	if (serve_watch(s, fd, EPOLLIN | EPOLLONESHOT, &c->source, false))
		conn_close(s, c);
}

/* An abstract name has no mode: may the one who connected write to the socket? */
static bool may_connect(struct ipc_server *s, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof peer;
	struct stat st;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return false;
	if (!peer.uid || peer.uid == geteuid())
		return true;
	if (!s->socket || lstat(s->socket, &st) || !S_ISSOCK(st.st_mode))
		return false;
	return st.st_mode & (peer.uid == st.st_uid ? S_IWUSR : peer.gid == st.st_gid ? S_IWGRP : S_IWOTH);
}

/* There are no descriptors left but the one that is kept for this: who waits in the queue is told so. */
static void refuse_one(struct ipc_server *s, int at)
{
	int fd;

	pthread_mutex_lock(&s->lock);
	close(s->spare_fd);
	fd = accept4(at, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&s->lock);
	if (fd >= 0)
		serve_log(s, LOG_WARNING, "a connection is refused: no descriptors left; raise LimitNOFILE= or ulimit -n");
}

void conns_accept(struct ipc_server *s, int at)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(at, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0 && at == s->abstract_fd && !may_connect(s, fd))
			close(fd);
		else if (fd >= 0)
			conn_new(s, fd);
		else if (errno == EMFILE || errno == ENFILE) {
			refuse_one(s, at);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Those that connect and say nothing. */
void conns_close_silent(struct ipc_server *s)
{
	struct timespec now;
	bool found = true;

	clock_gettime(CLOCK_MONOTONIC, &now);
	while (found) {
		struct conn *c;

		pthread_mutex_lock(&s->lock);
		for (c = s->conns; c && (c->client || now.tv_sec - c->since < SILENCE); c = c->next)
			;
		if (c)
			atomic_fetch_add(&c->refs, 1);
		pthread_mutex_unlock(&s->lock);
		found = c;
		if (!c)
			break;
		c->since = now.tv_sec;
		shutdown(c->fd, SHUT_RDWR); /* a worker may be at it: that one closes it */
		conn_put(s, c);
	}
}

/* ---- one request ---- */

/* Bytes of replies that it has not taken yet. */
static int unread(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) ? 0 : n;
}

/*
 * What lies in a socket's buffer is small, but not the memory and the open files that go with it: who has not taken one
 * reply gets no descriptor with the next, and the memory that one user has not taken is bounded.
 */
static bool takes_its_replies(struct ipc_server *s, struct conn *c, const struct call *k)
{
	uint64_t large = k->out_size > WIRE_INLINE ? k->out_size : 0;

	if (!k->fds && !large)
		return true;
	if (unread(c->fd))
		return false;
	c->large = (uint32_t)large;
	pthread_mutex_lock(&s->lock);
	for (struct conn *other = s->conns; large && other; other = other->next)
		if (other != c && other->uid == c->uid && other->large && unread(other->fd))
			large += other->large;
	pthread_mutex_unlock(&s->lock);
	return large <= LARGE_MOST;
}

void serve_reply(struct ipc_server *s, struct conn *c, struct call *k, long result)
{
	struct iovec io[2] = { { &k->reply, sizeof k->reply }, { k->out, k->out_size } };
	union { struct cmsghdr head; char room[CMSG_SPACE(4 * sizeof(int))]; } control;
	struct msghdr m = { .msg_iov = io, .msg_iovlen = k->out_size ? 2 : 1 };

	k->reply.magic = WIRE_MAGIC;
	k->reply.version = WIRE_VERSION;
	k->reply.op = k->request.op;
	k->reply.number = k->request.number;
	k->reply.result = result;
	k->reply.size = k->out_size;
	if (!takes_its_replies(s, c, k)) {
		shutdown(c->fd, SHUT_RDWR);
		while (k->fds)
			close(k->fd[--k->fds]);
		return;
	}
	if (k->out_size > WIRE_INLINE) {
		k->fd[k->fds] = wire_memory(k->out, k->out_size);
		if (k->fd[k->fds] < 0)
			k->reply.result = -ENOMEM;
		else
			k->fds++;
		k->reply.flags |= WIRE_MEMORY;
		m.msg_iovlen = 1;
	}
	if (k->fds) {
		memset(&control, 0, sizeof control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN((size_t)k->fds * sizeof(int));
		memcpy(CMSG_DATA(&control.head), k->fd, (size_t)k->fds * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)k->fds * sizeof(int));
	}
	if (sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		shutdown(c->fd, SHUT_RDWR); /* it does not take its replies, or is gone */
	while (k->fds)
		close(k->fd[--k->fds]);
}

/* Who sends, and the descriptor that may come along; -1: more than a client of ours sends. */
static int read_control(struct msghdr *m, struct call *k, int *memory)
{
	bool known = false;

	*memory = -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&k->from, CMSG_DATA(h), sizeof k->from);
			known = true;
		}
		if (h->cmsg_type == SCM_RIGHTS)
			for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
				if (*memory < 0)
					*memory = fd;
				else
					close(fd);
			}
	}
	return known && !(m->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? 0 : -1;
}

/* A payload in a memory file: copied, so that nobody changes it while it is looked at. */
static int read_memory(struct call *k, int fd)
{
	uint32_t size = k->request.size;

	if (fcntl(fd, F_GET_SEALS) < 0) /* no memory: to read it might take for ever */
		return -1;
	k->buffer = size <= WIRE_LARGE ? malloc(size) : NULL;
	if (!k->buffer || pread(fd, k->buffer, size, 0) != (ssize_t)size)
		return -1;
	k->payload = k->buffer;
	k->size = size;
	return 0;
}

/* 1: a request; 0: nothing there; -1: not a client of ours, or gone. */
static int receive(struct conn *c, struct call *k, char *room)
{
	struct iovec io[2] = { { &k->request, sizeof k->request }, { room, WIRE_INLINE } };
	char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr m = { .msg_iov = io, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int memory, e = 1;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (read_control(&m, k, &memory) || n < (ssize_t)sizeof k->request || k->request.magic != WIRE_MAGIC)
		e = -1;
	k->payload = room;
	k->size = (uint32_t)(n - (ssize_t)sizeof k->request);
	if (e > 0 && k->request.version == WIRE_VERSION) {
		if (k->request.flags & WIRE_MEMORY)
			e = memory < 0 || read_memory(k, memory) ? -1 : 1;
		else if (k->request.size != k->size)
			e = -1;
	}
	if (memory >= 0)
		close(memory);
	return e;
}

/* What gives an object to another user is done while no other worker does anything. */
static bool may_move(const struct call *k)
{
	return (k->request.op == WIRE_SEMCTL && k->request.arg[2] == IPC_SET) ||
	       (k->request.op == WIRE_MSGCTL && k->request.arg[1] == IPC_SET);
}

/* True: the connection goes on. */
static bool serve_one(struct ipc_server *s, struct conn *c, struct call *k)
{
	bool answered = k->request.op != WIRE_BYE && k->request.op != WIRE_NAMED;
	bool alone = k->request.op == WIRE_HELLO || k->request.op == WIRE_NAMED;
	long r;

	if (k->request.version != WIRE_VERSION) {
		serve_log(s, LOG_WARNING, "pid %d, uid %u speaks version %u, this daemon %d; use the same version everywhere",
			  (int)k->from.pid, (unsigned)k->from.uid, k->request.version, WIRE_VERSION);
		serve_reply(s, c, k, -EPROTO);
		return false;
	}
	if (!c->client && k->request.op != WIRE_HELLO)
		return false;
	if (k->request.op == WIRE_CANCEL) {
		park_cancel(s, c, (uint64_t)k->request.arg[0]);
		return true;
	}
	if (k->request.op == WIRE_RING) {
		park_check(s, (uint32_t)k->request.arg[0]);
		return true;
	}
	if (c->parked) /* one at a time */
		return false;
	if (may_move(k)) {
		pthread_rwlock_unlock(&s->areas);
		pthread_rwlock_wrlock(&s->areas);
	}
	serve_current = k;
	if (alone) /* HELLO ends other connections of its process, and waits for their locks */
		pthread_mutex_lock(&s->hello);
	pthread_mutex_lock(&c->lock);
	r = call_perform(k);
	pthread_mutex_unlock(&c->lock);
	if (alone)
		pthread_mutex_unlock(&s->hello);
	serve_current = NULL;
	if (may_move(k)) {
		pthread_rwlock_unlock(&s->areas);
		pthread_rwlock_rdlock(&s->areas);
	}
	if (r == -EINPROGRESS) { /* the answer comes, or has come by now, from whoever found it performed */
		park_check(s, c->who);
		return true;
	}
	if (answered)
		serve_reply(s, c, k, r);
	return r != -EPROTO;
}

void conn_event(struct ipc_server *s, struct conn *c, uint32_t events, char *room)
{
	struct call k = { .server = s, .conn = c };
	int got;

	(void)events;
	got = receive(c, &k, room);
	if (got > 0 && !serve_one(s, c, &k))
		got = -1;
	free(k.buffer);
	if (got < 0)
		conn_close(s, c);
	else
		serve_watch(s, c->fd, EPOLLIN | EPOLLONESHOT, &c->source, true);
}
