/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's side of the socket (wire.h). Each thread has a connection of its own, made at its first call and again
 * whenever it is not there: the daemon was restarted, the program has closed it, or its ids have changed. Nothing is
 * ever read from, written to or closed but a descriptor that still is the socket that we made.
 *
 * A request is made with signals kept out; while it waits for the reply, those without a handler are let in. If the
 * call may sleep, all are, and the wrapper of a handler (wait.h) first tells the daemon to end the request: so a
 * handler finds no request under way, and the result is known, whatever the handler does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "handlers.h"
#include "raw.h"
#include "registry.h"
#include "route_wire.h"
#include "slot.h"
#include "users.h"
#include "wait.h"

#define PATIENCE 30 /* seconds that a call waits for a daemon that has gone */
#define RETRY_NS 20000000
#define WATCH_NS 100000000
#define FIRST_FD 480 /* out of the way of programs that count descriptors */

/* A connection. */
struct link {
	_Atomic int used;
	int fd; /* or -1 */
	dev_t dev;
	ino_t ino;
	uint32_t creds; /* creds_generation when it was made */
	uint64_t number;
	struct { uint16_t op; int id; uint64_t number; } left; /* a request that was given up */
};

struct wire {
	char socket[sizeof ((struct sockaddr_un *)0)->sun_path];
	time_t patience;
	_Atomic bool met; /* there was a daemon, */
	uid_t uid;        /* of this uid, */
	char abstract[64]; /* which listens here too */
	_Atomic bool complained;
	void *lock, *fork_lock; /* mappings that keep a slot's lock */
	void *users;            /* one that keeps a private daemon's namespace */
	struct marks marks;
	struct link *links;
	_Atomic uint32_t links_high, links_free; /* ever used; perhaps free */
};

struct wire_watch wire_watch;

struct sleeper {
	struct frame frame;
	struct wire_call *call;
	struct link *link;
	uint64_t number;
	struct cold *cold;
};

/* ---- connections ---- */

static bool ours(const struct link *l)
{
	struct stat st;

	return l->fd >= 0 && !fstat(l->fd, &st) && st.st_dev == l->dev && st.st_ino == l->ino;
}

static void hang_up(struct link *l)
{
	if (ours(l))
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

static int dial(const struct wire *w, struct link *l)
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

static int transmit(const struct link *l, struct wire_request *r, const struct wire_call *c)
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

static void close_descriptors(struct wire_call *c)
{
	while (c->fds)
		close(c->fd[--c->fds]);
}

/* The reply to request `number`, if it is there: 0; -EAGAIN: not yet; -EPIPE: the connection is gone. */
static int collect(const struct link *l, struct wire_call *c, uint64_t number, long *result)
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
		close_descriptors(c);
		return -EAGAIN;
	}
	memcpy(c->value, r.value, sizeof c->value);
	c->in_size = (uint32_t)n - (uint32_t)sizeof r;
	*result = (long)r.result;
	return r.flags & WIRE_MEMORY ? take_memory(c, r.size) : 0;
}

/*
 * Who may come in while a call waits. Handlers only where it sleeps; else those signals only whose effect does not depend
 * on us, and one that gets a handler meanwhile stays out too.
 */
enum let_in { THE_UNHANDLED, HANDLERS };

/* A thread may be cancelled in it, and then go on below this frame, which AddressSanitizer would not know. */
__attribute__((no_sanitize("address")))
static long wait_for(struct pollfd *p, const struct timespec *t, const sigset_t *program, enum let_in who)
{
	sigset_t mask = *program;
	long r;

	if (who == THE_UNHANDLED) {
		handlers_add(&mask);
		signals_refuse(true);
	}
	r = raw_call(SYS_ppoll, (long)p, p ? 1 : 0, (long)t, (long)&mask, 8, 0);
	if (who == THE_UNHANDLED)
		signals_refuse(false);
	return r;
}

__attribute__((no_sanitize("address")))
static long poll_reply(const struct link *l, const sigset_t *program, enum let_in who)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	struct timespec moment = { .tv_nsec = WATCH_NS };
	long r = wait_for(&p, wire_watch.waits ? &moment : NULL, program, who);

	if (!r && wire_watch.waits)
		wire_watch.waits();
	return r;
}

/* ---- waiting for the daemon ---- */

static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static time_t least_patience(const struct wire *w)
{
	return w->patience > 0 ? w->patience : 1;
}

static int complain(struct wire *w, int e)
{
	char line[400];

	if (atomic_exchange(&w->complained, true))
		return -ENOSYS;
	if (e == -EPROTO)
		snprintf(line, sizeof line, "the daemon at %s is of another version; use the same version everywhere", w->socket);
	else if (e == -EACCES || e == -EPERM)
		snprintf(line, sizeof line, "the daemon at %s may not be used by uid %u: %s", w->socket, (unsigned)geteuid(),
			 strerror(-e));
	else if (e == -ETIMEDOUT)
		snprintf(line, sizeof line, "the daemon at %s has not answered for %ld second%s; is it stopped?", w->socket,
			 (long)least_patience(w), least_patience(w) == 1 ? "" : "s");
	else if (atomic_load(&w->met))
		snprintf(line, sizeof line, "the daemon at %s has not come back within %ld seconds; start it again", w->socket,
			 (long)w->patience);
	else
		snprintf(line, sizeof line, "no System V IPC: there is no daemon at %s (%s); start ipcd", w->socket,
			 strerror(-e));
	if (wire_watch.failed)
		wire_watch.failed(line);
	else
		fprintf(stderr, "libipc: %s\n", line);
	return -ENOSYS;
}

/* A moment later it may be there; false: it has taken too long. */
static bool patient(struct wire *w, time_t since, int e, const sigset_t *program, enum let_in who)
{
	struct timespec moment = { .tv_nsec = RETRY_NS };

	if (e == -EPROTO || e == -EACCES || e == -EPERM || e == -ENOTSOCK || e == -ETIMEDOUT ||
	    (e == -ENOENT && !atomic_load(&w->met) && !w->users))
		return false;
	if (seconds() - since >= w->patience)
		return false;
	wait_for(NULL, &moment, program, who);
	if (wire_watch.waits)
		wire_watch.waits();
	return true;
}

/* ---- requests ---- */

static uint64_t next_number(struct link *l)
{
	struct timespec t;

	if (!l->number) { /* no number comes again, also not from the next thread with this one's who number */
		clock_gettime(CLOCK_REALTIME, &t);
		l->number = ((uint64_t)t.tv_sec << 30 ^ (uint64_t)t.tv_nsec) << 8;
	}
	return ++l->number;
}

static uint32_t flags_of(const struct wire_call *c, bool repeated)
{
	return (repeated ? WIRE_REPEATED : 0) | (c->ended ? WIRE_ENDED : 0);
}

static int exchange(const struct wire *w, const struct link *l, struct wire_call *c, uint64_t number, bool repeated,
		    const sigset_t *program, long *result)
{
	time_t since = seconds();
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = c->op, .number = number,
				  .size = c->out_size, .flags = flags_of(c, repeated) };
	int e;

	memcpy(r.arg, c->arg, sizeof r.arg);
	c->fds = 0;
	e = transmit(l, &r, c);
	while (!e) {
		e = collect(l, c, number, result);
		if (e != -EAGAIN)
			break;
		e = wire_watch.waits && seconds() - since > least_patience(w) ? -ETIMEDOUT : 0;
		if (!e)
			poll_reply(l, program, THE_UNHANDLED);
	}
	return e;
}

/*
 * The registry that the daemon has; in place of the one that it had, if that one was lost meanwhile: threads that are
 * reading it go on in the new one, and nothing that was granted by the old one is kept.
 */
static int map_registry(struct ipc_ns *ns, int fd)
{
	struct wire *w = ns->wire;
	void *reg = ns->reg.head;
	struct stat st;

	if (fstat(fd, &st) || st.st_size < (off_t)REG_LENGTH)
		return -EPROTO;
	if (!reg)
		reg = file_map(REG_LENGTH, PROT_READ, MAP_SHARED, fd);
	else if (st.st_ino != ns->table &&
		 raw_call(SYS_mmap, (long)reg, REG_LENGTH, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != (long)reg)
		return -ENOMEM;
	if (!reg)
		return -ENOMEM;
	ns->reg = (struct area){ .head = reg, .length = REG_LENGTH, .who_at = REG_WHO_AT, .readonly = true };
	for (int kind = KIND_SEM; kind <= KIND_MSG && ns->table && st.st_ino != ns->table; kind++)
		for (uint32_t i = 0; i < IPCMNI; i++)
			if (atomic_load(&ns->obj[kind][i].seen))
				atomic_store(&ns->obj[kind][i].seen, 0);
	ns->table = st.st_ino;
	snprintf(w->abstract, sizeof w->abstract, WIRE_ABSTRACT, (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return 0;
}

static int map_tables(struct ipc_ns *ns, struct wire_call *c)
{
	struct wire *w = ns->wire;
	void *slots, *lock, *marks;
	int e;

	if (c->fds != 4)
		return -EPROTO;
	w->uid = (uid_t)c->value[2];
	e = map_registry(ns, c->fd[0]);
	if (e)
		return e;
	slots = ns->slots ? (void *)ns->slots : file_map(sizeof(struct slots), PROT_READ, MAP_SHARED, c->fd[1]);
	lock = file_map(PAGE, PROT_READ, MAP_SHARED, c->fd[2]);
	marks = file_map(MARKS_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->fd[3]);
	if (!slots || !lock || !marks)
		return -ENOMEM;
	ns->slots = slots;
	w->lock = lock;
	madvise(lock, PAGE, MADV_DONTFORK);
	w->marks = (struct marks){ .uid = (uid_t)c->value[1], .mark = marks };
	atomic_store(&ns->marks, &w->marks);
	return 0;
}

static int check_tables(struct ipc_ns *ns)
{
	if (ns->reg.head->magic != AREA_MAGIC || ns->reg.head->version != AREA_VERSION ||
	    ns->slots->magic != SLOTS_MAGIC || ns->slots->version != SLOTS_VERSION)
		return -EPROTO;
	return 0;
}

/* What is attached counts in the new registry too. */
static int declare_again(struct ipc_ns *ns, struct link *l, const sigset_t *program)
{
	uint32_t n = 0, done = 0, i = 0, *records;
	int *ids = malloc((ns->att_count + 1) * (sizeof *ids + sizeof *records)), e = 0;
	long result = 0;

	if (!ids)
		return -ENOMEM;
	records = (uint32_t *)(ids + ns->att_count + 1);
	for (i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr)
			ids[n++] = ns->att[i].id;
	do {
		uint32_t some = n - done < WIRE_INLINE / 4 ? n - done : WIRE_INLINE / 4;
		struct wire_call c = { .op = WIRE_ATTACHED, .arg = { 0, done ? WIRE_AGAIN_MORE : WIRE_AGAIN, done + some == n }, .out = ids + done,
				       .out_size = some * 4, .in = records + done, .in_room = some * 4 };

		e = exchange(ns->wire, l, &c, next_number(l), false, program, &result);
		done += some;
	} while (!e && result >= 0 && done < n);
	if (!e && result < 0)
		e = (int)result;
	for (i = n = 0; !e && i < ns->att_count; i++) {
		ns->att[i].old_record = ns->att[i].addr ? ns->att[i].record : 0;
		if (ns->att[i].addr)
			ns->att[i].record = records[n++];
	}
	free(ids);
	return e;
}

/* The daemon has another registry than we have: this one was lost, and that one made from the database. */
static int renew(struct ipc_ns *ns, struct link *l, int fd, const sigset_t *program)
{
	ino_t old = ns->table;
	struct stat st;
	int e = 0;

	pthread_mutex_lock(ns->cold);
	if (fstat(fd, &st))
		e = -EPROTO;
	else if (st.st_ino != ns->table) { /* no other thread has done it */
		e = map_registry(ns, fd);
		if (!e)
			e = declare_again(ns, l, program);
		if (e)
			ns->table = old; /* whoever comes next does it again */
	}
	pthread_mutex_unlock(ns->cold);
	return e;
}

/* What was given up need not be done any more. */
static int tell_left(const struct wire *w, struct link *l, const sigset_t *program)
{
	struct wire_call c = { .op = WIRE_LEFT, .arg = { l->left.op, l->left.id, (int64_t)l->left.number } };
	long result;
	int e = l->left.number ? exchange(w, l, &c, next_number(l), false, program, &result) : 0;

	if (!e)
		l->left.number = 0;
	return e;
}

/* Make the connection and say who we are; the first time, get a slot. */
static int introduce(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program)
{
	struct wire_call c = { .op = WIRE_HELLO, .arg = { ns->tag, who, (int64_t)ns->table,
							   raw_call(SYS_gettid, 0, 0, 0, 0, 0, 0), ns->pid } };
	long result = 0;
	int e = dial(ns->wire, l);

	if (!e)
		e = exchange(ns->wire, l, &c, next_number(l), false, program, &result);
	if (!e && result < 0)
		e = (int)result;
	if (!e && !ns->tag) {
		e = map_tables(ns, &c);
		if (!e)
			e = check_tables(ns);
		if (!e) {
			ns->tag = (uint32_t)c.value[0];
			atomic_store(&ns->slot, SLOT_OF(ns->tag));
			slot_mark(&ns->wire->marks.mark[SLOT_OF(ns->tag)].mutex);
		}
	} else if (!e && c.fds == 1) {
		e = renew(ns, l, c.fd[0], program);
	}
	close_descriptors(&c);
	if (!e)
		e = tell_left(ns->wire, l, program);
	if (e) {
		hang_up(l);
		return e == -EPIPE ? -ECONNRESET : e;
	}
	atomic_store(&ns->wire->met, true);
	return (int)result;
}

static struct link *own_link(struct ipc_ns *ns)
{
	for (int i = 0; i < THREAD_NS; i++)
		if (ipc_thread.in[i].ns == ns && ipc_thread.in[i].generation == ns->generation)
			return &ns->wire->links[ipc_thread.in[i].link];
	return NULL;
}

/* Is the connection there, and made by who we are now? */
static int connected(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program)
{
	int e;

	if (ours(l) && l->creds == atomic_load(&creds_generation))
		return 0;
	hang_up(l);
	e = introduce(ns, l, who, program);
	return e < 0 ? e : 0;
}

/* The daemon has not come back in time: the next one is told. */
static void give_up(struct link *l, const struct wire_call *c, uint64_t number)
{
	l->left.op = c->op;
	l->left.id = (int)c->arg[0];
	l->left.number = number;
}

static long request_at_once(struct ipc_ns *ns, struct link *l, uint32_t who, struct wire_call *c,
			    const sigset_t *program)
{
	uint64_t number = c->number ? c->number : next_number(l);
	time_t since = seconds();
	bool repeated = c->number;
	long result;
	int e;

	do {
		e = connected(ns, l, who, program);
		if (!e) {
			e = exchange(ns->wire, l, c, number, repeated, program, &result);
			if (!e || e == -EFAULT) /* the program's memory */
				return e ? e : result;
			hang_up(l);
			repeated = true;
		}
	} while (patient(ns->wire, since, e, program, THE_UNHANDLED));
	if (c->ended)
		give_up(l, c, number);
	return complain(ns->wire, e);
}

/* ---- requests that sleep ---- */

static int say(struct sleeper *s, bool repeated)
{
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = s->call->op, .number = s->number,
				  .size = s->call->out_size, .flags = flags_of(s->call, repeated) };

	memcpy(r.arg, s->call->arg, sizeof r.arg);
	s->call->fds = 0;
	return transmit(s->link, &r, s->call);
}

/* The daemon ends the request: performed, or not. From the wrapper of a handler, or when the thread is cancelled. */
static void end_sleep(struct frame *f)
{
	struct sleeper *s = (struct sleeper *)((char *)f - offsetof(struct sleeper, frame));
	struct wire_call cancel = { .op = WIRE_CANCEL, .arg = { (int64_t)s->number } };
	time_t since = seconds();
	struct cold c;
	long result = -EINTR;
	int e;

	if (atomic_load(&f->settled)) /* the next signal comes as this one's handler is about to run */
		return;
	ns_quiet(&c); /* no handler comes in here, which would take this frame's reply */
	do {
		struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = WIRE_CANCEL,
					  .number = s->number, .arg = { (int64_t)s->number } };

		e = ours(s->link) ? transmit(s->link, &r, &cancel) : -EPIPE;
		while (!e && (e = collect(s->link, s->call, s->number, &result)) == -EAGAIN) {
			e = 0;
			poll_reply(s->link, &c.mask, THE_UNHANDLED);
		}
		if (e) { /* the daemon has gone: the next one knows the request, or never heard of it */
			hang_up(s->link);
			e = connected(s->frame.ns, s->link, s->frame.who, &c.mask);
			if (!e && !say(s, true))
				e = -EAGAIN;
		}
	} while (e && patient(s->frame.ns->wire, since, e, &c.mask, THE_UNHANDLED));
	if (e)
		give_up(s->link, s->call, s->number);
	f->result = e ? -EINTR : (int)result;
	atomic_store(&f->settled, true);
	ns_loud(&c);
}

static void cancelled(void *arg)
{
	struct sleeper *s = arg;

	if (!atomic_load(&s->frame.settled))
		end_sleep(&s->frame);
	ipc_frame = NULL;
	pthread_sigmask(SIG_SETMASK, &s->cold->mask, NULL);
}

/* Signals, and where the call allows it cancellation, come in here and nowhere else. True: one has. */
static bool doze(struct sleeper *s)
{
	int type;
	long r;

	if (!s->call->cancels)
		return poll_reply(s->link, &s->cold->mask, HANDLERS) == -EINTR;
	pthread_cleanup_push(cancelled, s);
	pthread_setcancelstate(s->cold->cancel, NULL);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	r = poll_reply(s->link, &s->cold->mask, HANDLERS);
	pthread_setcanceltype(type, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_pop(0);
	return r == -EINTR;
}

static int sleep_until_reply(struct sleeper *s, bool repeated, long *result)
{
	uint32_t signals = ipc_signals;
	int e = say(s, repeated);

	while (!e) {
		e = collect(s->link, s->call, s->number, result);
		if (e != -EAGAIN)
			break;
		e = 0;
		if (!doze(s) && !atomic_load(&s->frame.settled) && ipc_signals == signals)
			continue;
		if (!atomic_load(&s->frame.settled))
			end_sleep(&s->frame);
		*result = s->frame.result;
		break;
	}
	return e;
}

static long request_that_sleeps(struct ipc_ns *ns, struct link *l, uint32_t who, struct wire_call *c, struct cold *cold)
{
	struct sleeper s = { .frame = { .ns = ns, .who = who, .cancel = end_sleep }, .call = c, .link = l,
			     .number = c->number ? c->number : next_number(l), .cold = cold };
	time_t since = seconds();
	bool repeated = c->number;
	long result = -EINTR;
	int e;

	if (repeated) /* it waits there already */
		ipc_frame = &s.frame;
	do {
		e = connected(ns, l, who, &cold->mask);
		if (!e) {
			ipc_frame = &s.frame; /* from now on, also while there is no daemon, it is to be ended */
			e = sleep_until_reply(&s, repeated, &result);
			if (!e || e == -EFAULT)
				break;
			hang_up(l);
			repeated = true;
		}
	} while (patient(ns->wire, since, e, &cold->mask, HANDLERS) && !atomic_load(&s.frame.settled));
	ipc_frame = NULL;
	if (atomic_load(&s.frame.settled))
		return s.frame.result;
	if (e && e != -EFAULT && repeated)
		give_up(l, c, s.number);
	return e == -EFAULT ? e : e ? complain(ns->wire, e) : result;
}

uint64_t wire_number(struct ipc_ns *ns)
{
	struct link *l = own_link(ns);

	return l ? next_number(l) : 0;
}

long wire_request(struct ipc_ns *ns, struct wire_call *c)
{
	int who = ns_enter(ns);
	struct link *l;
	struct cold cold;
	long result;

	if (who < 0)
		return who;
	ns_quiet(&cold);
	l = own_link(ns);
	if (c->follows && atomic_load(&c->follows->followed)) /* by the wrapper of a handler */
		result = c->follows->result;
	else if (c->sleeps)
		result = request_that_sleeps(ns, l, (uint32_t)who, c, &cold);
	else
		result = request_at_once(ns, l, (uint32_t)who, c, &cold.mask);
	if (c->follows) {
		c->follows->result = (int)result;
		atomic_store(&c->follows->followed, true);
	}
	ns_loud(&cold);
	return result;
}

/* What needs no answer; if it is lost, the daemon finds out by itself. */
static int tell(const struct link *l, uint16_t op, int64_t a, int64_t b)
{
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = op, .arg = { a, b } };
	struct wire_call c = { .op = op };

	return l && ours(l) ? transmit(l, &r, &c) : -EPIPE;
}

/*
 * A process that makes hot calls only does not come back to a daemon that was started again: it rings at the door. One
 * that is stopped and has not read what came before is not waited for.
 */
static void ring(struct ipc_ns *ns, uint32_t who)
{
	struct link door;
	struct cold c;

	ns_quiet(&c);
	if (tell(own_link(ns), WIRE_RING, who, 0) == -EPIPE && !dial(ns->wire, &door)) {
		tell(&door, WIRE_RING, who, 0);
		hang_up(&door);
	}
	ns_loud(&c);
}

/* ---- processes and threads ---- */

/* In the cold section. The thread's who number; *link is its connection. */
int wire_enter(struct ipc_ns *ns, uint32_t *link, const sigset_t *program)
{
	struct wire *w = ns->wire;
	time_t since = seconds();
	bool found = false;
	struct link *l;
	int e, unused;

	*link = atomic_load(&w->links_free) % WHO_MAX;
	for (uint32_t tries = 0; tries < WHO_MAX; tries++, *link = (*link + 1) % WHO_MAX) {
		unused = 0;
		found = atomic_compare_exchange_strong(&w->links[*link].used, &unused, 1);
		if (found)
			break;
	}
	if (!found)
		return -ENOMEM;
	atomic_store(&w->links_free, *link + 1);
	for (uint32_t high = atomic_load(&w->links_high); high <= *link;)
		if (atomic_compare_exchange_strong(&w->links_high, &high, *link + 1))
			break;
	l = &w->links[*link];
	l->fd = -1;
	l->number = l->left.number = 0;
	ns->pid = getpid();
	do {
		e = introduce(ns, l, 0, program);
		if (e == -ESTALE) { /* of a namespace that the daemon has not any more */
			ns->tag = 0;
			e = introduce(ns, l, 0, program);
		}
		if (e >= 0)
			return e;
	} while (patient(w, since, e, program, THE_UNHANDLED));
	atomic_store(&l->used, 0);
	return complain(w, e);
}

void wire_thread_leaves(struct ipc_ns *ns, uint32_t link)
{
	struct link *l = &ns->wire->links[link];

	tell(l, WIRE_BYE, 0, 0);
	hang_up(l);
	atomic_store(&l->used, 0);
	if (link < atomic_load(&ns->wire->links_free))
		atomic_store(&ns->wire->links_free, link);
}

int wire_attached(struct ipc_ns *ns, uint32_t tag, const int *ids, uint32_t *records, uint32_t n)
{
	for (uint32_t done = 0; done < n;) {
		uint32_t some = n - done < WIRE_INLINE / 4 ? n - done : WIRE_INLINE / 4;
		struct wire_call c = { .op = WIRE_ATTACHED, .arg = { tag }, .out = ids + done, .out_size = some * 4,
				       .in = records + done, .in_room = some * 4 };
		long r = wire_request(ns, &c);

		if (r < 0)
			return (int)r;
		done += some;
	}
	return 0;
}

/* The child's slot and its attachments, before it is there. */
int wire_fork_prepare(struct ipc_ns *ns)
{
	struct wire_call c = { .op = WIRE_FORK };
	struct wire *w = ns->wire;
	uint32_t *records;
	int *ids, e;
	uint32_t n = 0;

	for (uint32_t i = 0; i < ns->att_count; i++)
		ns->att[i].fork_record = 0;
	e = (int)wire_request(ns, &c);
	if (!e && c.fds == 1) {
		w->fork_lock = file_map(PAGE, PROT_READ, MAP_SHARED, c.fd[0]);
		ns->fork_slot = SLOT_OF((uint32_t)c.value[0]);
	}
	close_descriptors(&c);
	if (e || !w->fork_lock)
		return e ? e : -ENOMEM;
	if (!ns->att_count)
		return 0;
	ids = malloc(ns->att_count * (sizeof *ids + sizeof *records));
	if (!ids)
		return -ENOMEM;
	records = (uint32_t *)(ids + ns->att_count);
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr)
			ids[n++] = ns->att[i].id;
	e = wire_attached(ns, (uint32_t)c.value[0], ids, records, n);
	n = 0;
	for (uint32_t i = 0; i < ns->att_count && !e; i++)
		if (ns->att[i].addr)
			ns->att[i].fork_record = records[n++];
	free(ids);
	return e;
}

void wire_fork_parent(struct ipc_ns *ns)
{
	if (ns->wire->fork_lock)
		munmap(ns->wire->fork_lock, PAGE);
	ns->wire->fork_lock = NULL;
	ns->fork_slot = 0;
}

void wire_fork_named(struct ipc_ns *ns, uint32_t tag, pid_t child)
{
	tell(own_link(ns), WIRE_NAMED, tag, child);
}

/* No connection is the child's. */
static void drop_links(struct wire *w)
{
	for (uint32_t i = 0; i < atomic_load(&w->links_high); i++)
		if (atomic_load(&w->links[i].used)) {
			hang_up(&w->links[i]);
			atomic_store(&w->links[i].used, 0);
		}
	atomic_store(&w->links_high, 0);
	atomic_store(&w->links_free, 0);
}

void wire_fork_child(struct ipc_ns *ns)
{
	struct wire *w = ns->wire;
	uint32_t slot = ns->fork_slot;

	drop_links(w);
	atomic_store(&ns->threads, 0);
	ns->pid = getpid();
	w->lock = NULL; /* it was not inherited */
	ns->fork_slot = 0;
	atomic_store(&ns->slot, 0);
	ns->tag = 0;
	if (!w->fork_lock)
		return;
	w->lock = w->fork_lock;
	w->fork_lock = NULL;
	madvise(w->lock, PAGE, MADV_DONTFORK);
	slot_mark(&w->marks.mark[slot].mutex);
	atomic_store(&ns->slot, slot);
	ns->tag = slot_tag(ns);
}

/* The child of a bare clone is a new process to the daemon; what it has attached it says when it has a slot. */
void wire_after_clone(struct ipc_ns *ns)
{
	drop_links(ns->wire);
	ns->wire->lock = NULL;
	ns->tag = 0;
}

int wire_open(struct ipc_ns *ns, enum kind kind, int id)
{
	struct wire_call c = { .op = WIRE_OPEN, .arg = { kind, id } };
	long r = wire_request(ns, &c);

	if (r < 0)
		return (int)r;
	return c.fds ? c.fd[0] : -EPROTO;
}

/* The registry has been in the middle of an operation for long: whoever was at it has died, and the next one goes on. */
static void settle_registry(const struct area *a)
{
	for (struct ipc_ns *ns = ns_list; ns; ns = ns->next)
		if (ns->wire && ns->reg.head == a->head) {
			struct wire_call c = { .op = WIRE_SETTLE };

			wire_request(ns, &c);
			return;
		}
}

static void read_patience(struct wire *w)
{
	const char *text = getenv("IPCD_TIMEOUT");
	char *end;
	long n;

	w->patience = PATIENCE;
	if (!text || !*text)
		return;
	n = strtol(text, &end, 10);
	if (*end || n < 0)
		fprintf(stderr, "libipc: IPCD_TIMEOUT=%s is no number of seconds; %d are waited for\n", text, PATIENCE);
	else
		w->patience = n;
}

int wire_open_namespace(struct ipc_ns *ns, const char *socket)
{
	struct wire *w = file_map(sizeof *w, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!w)
		return -ENOMEM;
	ns->wire = w;
	ns->ring = ring;
	if (strlen(socket) >= sizeof w->socket)
		return ns_fail(-ENAMETOOLONG, "the name of the socket %s is too long (%zu bytes at most)", socket,
			       sizeof w->socket - 1);
	strcpy(w->socket, socket);
	snprintf(ns->dir, sizeof ns->dir, "%s", socket);
	w->users = users_join(socket);
	read_patience(w);
	w->links = file_map(WHO_MAX * sizeof *w->links, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	area_stuck = settle_registry;
	return w->links ? 0 : -ENOMEM;
}

/* Its undo waits for the end of the process, as after exec. */
void wire_close(struct ipc_ns *ns)
{
	struct wire *w = ns->wire;

	drop_links(w);
	slot_leave(ns);
	if (w->lock)
		munmap(w->lock, PAGE);
	if (w->users)
		munmap(w->users, PAGE);
	if (w->marks.mark && !ns->slots_stay)
		munmap(w->marks.mark, MARKS_LENGTH);
	if (w->links)
		munmap(w->links, WHO_MAX * sizeof *w->links);
	munmap(w, sizeof *w);
}
