/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's loop: the listening socket, connections, worker threads, and what is done every second. See serve.h. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "registry.h"
#include "route_wire.h"
#include "serve.h"

#define BACKLOG 512
#define WORKERS_LEAST 4
#define THREADS_EVERY 5  /* seconds */
#define LINES_A_SECOND 20
#define SILENCE 30       /* seconds until a connection has said who it is */
#define CONNS_OF_UID 8192 /* more than a user's processes and threads need */

/* What clients cause is said so often, and no more until the next second. */
static bool say_it(struct ipc_server *s)
{
	struct timespec now;
	uint64_t was = atomic_load(&s->lines), is;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	do
		is = was >> 8 == (uint64_t)now.tv_sec ? was + 1 : (uint64_t)now.tv_sec << 8 | 1;
	while ((is & 0xff) <= LINES_A_SECOND && !atomic_compare_exchange_weak(&s->lines, &was, is));
	return (is & 0xff) <= LINES_A_SECOND;
}

void serve_log(struct ipc_server *s, int priority, const char *fmt, ...)
{
	char line[700];
	va_list ap;

	if (priority == LOG_WARNING && !say_it(s))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (s->options.log)
		s->options.log(priority, line, s->options.log_arg);
}

int serve_watch(struct ipc_server *s, int fd, uint32_t events, struct source *source, bool again)
{
	struct epoll_event e = { .events = events, .data.ptr = source };

	return epoll_ctl(s->epoll_fd, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* ---- connections ---- */

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

static void conn_close(struct ipc_server *s, struct conn *c)
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

static void conns_accept(struct ipc_server *s, int at)
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
static void conns_close_silent(struct ipc_server *s)
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
	(void)s;
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
	pthread_mutex_lock(&c->lock);
	r = call_perform(k);
	pthread_mutex_unlock(&c->lock);
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

static void conn_event(struct ipc_server *s, struct conn *c, uint32_t events, char *room)
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

/* ---- every second ---- */

static void serve_retire(struct ipc_ns *ns, const struct area *a)
{
	struct ipc_server *s = ns->server;
	struct retired *r = malloc(sizeof *r);

	if (!r)
		return; /* it stays mapped */
	r->area = *a;
	pthread_mutex_lock(&s->lock);
	r->next = atomic_load(&s->retired);
	atomic_store(&s->retired, r);
	pthread_mutex_unlock(&s->lock);
}

/* An object that has gone from the registry need not stay mapped. */
static bool unused(struct ipc_ns *ns, const struct area *a)
{
	return !park_uses(ns->server, a);
}

static void serve_unmap_retired(struct ipc_server *s)
{
	uint64_t x = s->ns ? atomic_load(&s->ns->reg.head->op) : s->tidied;

	if (!atomic_load(&s->retired) && x == s->tidied)
		return;
	s->tidied = x;
	pthread_rwlock_wrlock(&s->areas);
	pthread_mutex_lock(&s->lock);
	if (s->ns)
		objects_forget(s->ns, unused);
	for (struct retired *r = atomic_exchange(&s->retired, NULL), *next; r; r = next) {
		next = r->next;

		if (park_uses(s, &r->area)) {
			r->next = atomic_load(&s->retired);
			atomic_store(&s->retired, r);
			continue;
		}
		munmap(r->area.head, r->area.length);
		free(r);
	}
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_unlock(&s->areas);
}

/*
 * Removed segments that nobody has attached are left where the registry was lost: once all that were there have said
 * what they have, they go.
 */
static void drop_orphans(struct ipc_server *s, int who)
{
	bool due;
	struct cold c;

	pthread_mutex_lock(&s->lock);
	due = s->orphans && !s->awaited;
	if (due)
		s->orphans = false;
	pthread_mutex_unlock(&s->lock);
	if (!due)
		return;
	cold_enter(s->ns, &c);
	drop_removed_segments(s->ns, who);
	cold_leave(s->ns, &c);
}

static void tick(struct ipc_server *s)
{
	uint64_t n;
	int who = ns_enter(s->ns);

	if (read(s->tick_fd, &n, sizeof n) < 0)
		return;
	if (who > 0) {
		slots_sweep(s->ns, who);
		if (registry_unsaved(s->ns)) {
			struct cold c;

			cold_enter(s->ns, &c);
			registry_sync(s->ns, who);
			cold_leave(s->ns, &c);
		}
	}
	if (who > 0)
		drop_orphans(s, who);
	if (++s->ticks % THREADS_EVERY == 0)
		threads_look(s);
	park_tick(s, true);
	conns_close_silent(s);
}

/* ---- workers ---- */

static void event(struct ipc_server *s, struct source *source, uint32_t events, char *room)
{
	uint64_t n;

	if (source->kind == SOURCE_TICK)
		serve_unmap_retired(s);
	pthread_rwlock_rdlock(&s->areas);
	switch (source->kind) {
	case SOURCE_LISTEN:
		conns_accept(s, s->listen_fd);
		break;
	case SOURCE_ABSTRACT:
		conns_accept(s, s->abstract_fd);
		break;
	case SOURCE_TICK:
		tick(s);
		break;
	case SOURCE_ALARM:
		if (read(s->alarm_fd, &n, sizeof n) > 0)
			park_tick(s, false);
		break;
	case SOURCE_CLIENT:
		client_gone(s, (struct client *)source);
		break;
	case SOURCE_CONN:
		conn_event(s, (struct conn *)source, events, room);
		break;
	case SOURCE_STOP:
		break;
	}
	park_flush(s);
	guard_leave(s);
	pthread_rwlock_unlock(&s->areas);
}

bool serve_turn(struct ipc_server *s, char *room, int timeout)
{
	struct epoll_event e;
	int n = epoll_wait(s->epoll_fd, &e, 1, timeout);

	if (n == 1)
		event(s, e.data.ptr, e.events, room);
	return n == 1;
}

static void *work(void *arg)
{
	struct ipc_server *s = arg;
	int number = atomic_fetch_add(&s->workers, 1) % WORKERS_MOST;
	char *room = malloc(WIRE_INLINE);
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	guard_begin(s, number);
	while (room && ns_enter(s->ns) > 0 && !atomic_load(&s->stopping))
		serve_turn(s, room, -1);
	guard_end();
	free(room);
	return NULL;
}

static int workers_wanted(const struct ipc_server *s)
{
	long n = s->options.workers > 0 ? s->options.workers : sysconf(_SC_NPROCESSORS_ONLN);

	if (n < WORKERS_LEAST && s->options.workers <= 0)
		n = WORKERS_LEAST;
	return n > WORKERS_MOST ? WORKERS_MOST : (int)n;
}

int ipc_serve(ipc_server *s)
{
	pthread_t thread[WORKERS_MOST];
	int n = workers_wanted(s), started = 0;
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	atomic_store(&s->workers, 0);
	if (guard_watch(s)) {
		errno = EAGAIN;
		return -1;
	}
	while (started < n - 1 && !pthread_create(&thread[started], NULL, work, s))
		started++;
	work(s);
	while (started)
		pthread_join(thread[--started], NULL);
	guard_unwatch(s);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	return 0;
}

void ipc_serve_stop(ipc_server *s)
{
	int saved = errno;

	atomic_store(&s->stopping, true);
	if (eventfd_write(s->stop_fd, 1))
		errno = saved; /* it is full of them */
	errno = saved;
}

/* ---- opening ---- */

/* One daemon a directory. */
static int only_one(struct ipc_server *s)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	s->serving_fd = file_create(s->ns, "serving", 0, false);
	if (s->serving_fd == -EEXIST)
		s->serving_fd = file_open(s->ns, "serving", O_RDWR);
	if (s->serving_fd < 0)
		return ns_fail(s->serving_fd, "cannot open %s/serving: %s", s->ns->dir, strerror(-s->serving_fd));
	if (fcntl(s->serving_fd, F_OFD_SETLK, &l))
		return ns_fail(-EBUSY, "%s is served by another ipcd; stop that one first, or use another directory",
			       s->ns->dir);
	return 0;
}

/* A socket that nobody listens on is what an earlier daemon has left. */
static int clear_name(const struct sockaddr_un *name)
{
	struct stat st;
	int fd, e;

	if (lstat(name->sun_path, &st))
		return errno == ENOENT ? 0 : ns_fail(-errno, "cannot look at %s: %s", name->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return ns_fail(-EEXIST, "%s is there and is no socket; remove it, or name another one", name->sun_path);
	if (st.st_uid != geteuid())
		return ns_fail(-EACCES, "%s belongs to uid %u; name another socket", name->sun_path, (unsigned)st.st_uid);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	e = connect(fd, (const struct sockaddr *)name, sizeof *name) ? errno : 0;
	close(fd);
	if (!e || e == EAGAIN)
		return ns_fail(-EBUSY, "another ipcd listens at %s; stop that one first, or name another socket",
			       name->sun_path);
	return unlink(name->sun_path) && errno != ENOENT ? -errno : 0;
}

static int listen_at(struct ipc_server *s)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	mode_t mask;
	int e;

	if (!s->socket || strlen(s->socket) >= sizeof name.sun_path)
		return ns_fail(-ENAMETOOLONG, "the name of the socket is too long (%zu bytes at most): %s",
			       sizeof name.sun_path - 1, s->socket ? s->socket : "(none)");
	strcpy(name.sun_path, s->socket);
	e = clear_name(&name);
	if (e)
		return e;
	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0)
		return ns_fail(-errno, "no socket: %s", strerror(errno));
	/* before anybody can connect */
	if (fchmod(s->listen_fd, s->options.socket_mode & 0777))
		return ns_fail(-errno, "cannot give the socket its mode: %s", strerror(errno));
	mask = umask(0); /* else a client that comes too soon finds it closed to him */
	e = bind(s->listen_fd, (struct sockaddr *)&name, sizeof name) ? -errno : 0;
	umask(mask);
	if (!e && listen(s->listen_fd, BACKLOG))
		e = -errno;
	return e ? ns_fail(e, "cannot listen at %s: %s", s->socket, strerror(-e)) : 0;
}

/* Who cannot have it does without: only clients that have changed their root need it. */
static void listen_abstract(struct ipc_server *s)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	char path[480];
	struct stat st;
	int n;

	if (file_path(s->ns, path, sizeof path, "registry") || stat(path, &st))
		return;
	n = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, WIRE_ABSTRACT, (unsigned long long)st.st_dev,
		     (unsigned long long)st.st_ino);
	s->abstract_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->abstract_fd < 0 ||
	    bind(s->abstract_fd, (struct sockaddr *)&name,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ||
	    listen(s->abstract_fd, BACKLOG))
		serve_log(s, LOG_WARNING, "no abstract socket @%s (%s): clients in a chroot cannot come back",
			  name.sun_path + 1, strerror(errno));
}

static int make_loop(struct ipc_server *s)
{
	static struct source listening = { SOURCE_LISTEN }, abstract = { SOURCE_ABSTRACT }, stop = { SOURCE_STOP }, ticks = { SOURCE_TICK },
			     alarms = { SOURCE_ALARM };
	struct itimerspec second = { { 1, 0 }, { 1, 0 } };
	int e;

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	s->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->stop_fd < 0 || s->tick_fd < 0 || s->alarm_fd < 0 ||
	    timerfd_settime(s->tick_fd, 0, &second, NULL))
		return ns_fail(-errno, "no descriptors: %s", strerror(errno));
	e = serve_watch(s, s->listen_fd, EPOLLIN | EPOLLEXCLUSIVE, &listening, false);
	if (!e && s->abstract_fd >= 0)
		e = serve_watch(s, s->abstract_fd, EPOLLIN | EPOLLEXCLUSIVE, &abstract, false);
	if (!e)
		e = serve_watch(s, s->stop_fd, EPOLLIN, &stop, false);
	if (!e)
		e = serve_watch(s, s->tick_fd, EPOLLIN | EPOLLET, &ticks, false);
	return e ? e : serve_watch(s, s->alarm_fd, EPOLLIN | EPOLLET, &alarms, false);
}

static void raise_descriptors(struct ipc_server *s)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	s->conns_of_uid = CONNS_OF_UID;
	/* a connection, and its process: no user takes more than half of what there is */
	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur / 4 < CONNS_OF_UID)
		s->conns_of_uid = (uint32_t)limit.rlim_cur / 4;
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

static bool listens(int fd)
{
	return socket_option(fd, SO_DOMAIN) == AF_UNIX && socket_option(fd, SO_TYPE) == SOCK_SEQPACKET &&
	       socket_option(fd, SO_ACCEPTCONN) == 1;
}

static int open_server(struct ipc_server *s)
{
	int flags, e = ns_open(s->options.directory, IPC_OPEN_CREATE, &s->ns);

	if (e)
		return e;
	e = ns_enter(s->ns);
	if (e < 0)
		return ns_fail(e, "cannot take part in %s: %s", s->ns->dir, strerror(-e));
	s->ns->server = s;
	s->ns->retire = serve_retire;
	s->ns->ring = park_ring;
	s->ns->busy = client_busy;
	s->ns->move = move_object;
	s->ns->left = move_close_file;
	s->ns->copying = &s->copying;
	s->ns->quota = quota_reached;
	s->ns->refused = quota_refused;
	e = only_one(s);
	if (!e)
		e = guard_start(s);
	if (e)
		return e;
	if (s->options.listen_fd >= 0) {
		s->listen_fd = s->options.listen_fd;
		if (!listens(s->listen_fd))
			return ns_fail(-EINVAL, "descriptor %d is no listening AF_UNIX socket of type SOCK_SEQPACKET",
				       s->listen_fd);
		flags = fcntl(s->listen_fd, F_GETFL);
		if (flags < 0 || fcntl(s->listen_fd, F_SETFL, flags | O_NONBLOCK))
			return -errno;
	} else {
		e = listen_at(s);
	}
	if (!e)
		e = opener_start(s);
	if (!e)
		listen_abstract(s);
	if (!e)
		e = make_loop(s);
	if (!e) {
		guard_begin(s, 0);
		move_thaw_all(s->ns);
		clients_load(s);
		guard_leave(s);
		guard_end();
	}
	return e;
}

ipc_server *ipc_serve_open(const struct ipc_serve *options)
{
	struct ipc_server *s = calloc(1, sizeof *s);
	pthread_rwlockattr_t attr;
	int e;

	if (!s)
		return NULL;
	raise_descriptors(s);
	s->options = *options;
	s->socket = options->socket ? strdup(options->socket) : NULL;
	s->listen_fd = s->abstract_fd = s->epoll_fd = s->stop_fd = s->tick_fd = s->alarm_fd = s->serving_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->areas, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->hello, NULL);
	guard_init(s);
	e = open_server(s);
	if (!e)
		return s;
	if (!*ns_error)
		ns_fail(e, "cannot serve %s: %s", options->directory, strerror(-e));
	ipc_serve_close(s);
	errno = -e;
	return NULL;
}

ipc_ns *ipc_serve_namespace(ipc_server *s)
{
	return s->ns;
}

void ipc_serve_close(ipc_server *s)
{
	int fd[] = { s->options.listen_fd >= 0 ? -1 : s->listen_fd, s->abstract_fd, s->epoll_fd, s->stop_fd, s->tick_fd, s->alarm_fd, s->serving_fd,
		     s->spare_fd };
	char kept[sizeof ns_error];

	memcpy(kept, ns_error, sizeof kept);
	opener_stop(s);
	while (s->conns)
		conn_close(s, s->conns);
	clients_free(s);
	for (size_t i = 0; i < sizeof fd / sizeof *fd; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	guard_stop(s);
	if (s->ns) {
		s->ns->retire = NULL;
		ns_close(s->ns);
		s->ns = NULL;
	}
	serve_unmap_retired(s);
	pthread_rwlock_destroy(&s->areas);
	pthread_mutex_destroy(&s->lock);
	free(s->socket);
	free(s);
	memcpy(ns_error, kept, sizeof kept);
}
