/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server opened and closed: one daemon a directory, the sockets that it listens at, and what the loop waits for. All of
 * it is done by one thread, before the workers are there and after they have gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "serve.h"

#define BACKLOG 512
#define CONNS_OF_UID 8192 /* more than a user's processes and threads need */

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
	static struct source listening = { SOURCE_LISTEN }, abstract = { SOURCE_ABSTRACT }, stop = { SOURCE_STOP },
			     ticks = { SOURCE_TICK }, alarms = { SOURCE_ALARM };
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
	s->ns->hold = serve_hold;
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
	int fd[] = { s->options.listen_fd >= 0 ? -1 : s->listen_fd, s->abstract_fd, s->epoll_fd, s->stop_fd, s->tick_fd,
		     s->alarm_fd, s->serving_fd, s->spare_fd };
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
