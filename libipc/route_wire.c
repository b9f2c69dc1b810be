/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's side of the socket (wire.h). Each thread has a connection of its own, made at its first call and again
 * whenever it is not there: the daemon was restarted, the program has closed it, or its ids have changed.
 *
 * A request is made with signals kept out; while it waits for the reply, those without a handler are let in. If the
 * call may sleep, all are (route_sleep.c).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "handlers.h"
#include "raw.h"
#include "route_link.h"
#include "users.h"

#define PATIENCE 30 /* seconds that a call waits for a daemon that has gone */
#define RETRY_NS 20000000
#define WATCH_NS 100000000

struct wire_watch wire_watch;

/* ---- waiting for the daemon ---- */

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
long link_poll(const struct link *l, const sigset_t *program, enum let_in who)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	struct timespec moment = { .tv_nsec = WATCH_NS };
	long r = wait_for(&p, wire_watch.waits ? &moment : NULL, program, who);

	if (!r && wire_watch.waits)
		wire_watch.waits();
	return r;
}

time_t wire_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static time_t least_patience(const struct wire *w)
{
	return w->patience > 0 ? w->patience : 1;
}

int wire_complain(struct wire *w, int e)
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
bool wire_patient(struct wire *w, time_t since, int e, const sigset_t *program, enum let_in who)
{
	struct timespec moment = { .tv_nsec = RETRY_NS };

	if (e == -EPROTO || e == -EACCES || e == -EPERM || e == -ENOTSOCK || e == -ETIMEDOUT ||
	    (e == -ENOENT && !atomic_load(&w->met) && !w->users))
		return false;
	if (wire_seconds() - since >= w->patience)
		return false;
	wait_for(NULL, &moment, program, who);
	if (wire_watch.waits)
		wire_watch.waits();
	return true;
}

/* ---- requests ---- */

uint64_t link_number(struct link *l)
{
	struct timespec t;

	if (!l->number) { /* no number comes again, also not from the next thread with this one's who number */
		clock_gettime(CLOCK_REALTIME, &t);
		l->number = ((uint64_t)t.tv_sec << 30 ^ (uint64_t)t.tv_nsec) << 8;
	}
	return ++l->number;
}

uint32_t wire_flags(const struct wire_call *c, bool repeated)
{
	return (repeated ? WIRE_REPEATED : 0) | (c->ended ? WIRE_ENDED : 0);
}

int link_exchange(const struct wire *w, const struct link *l, struct wire_call *c, uint64_t number,
		  bool repeated, const sigset_t *program, long *result)
{
	time_t since = wire_seconds();
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = c->op, .number = number,
				  .size = c->out_size, .flags = wire_flags(c, repeated) };
	int e;

	memcpy(r.arg, c->arg, sizeof r.arg);
	c->fds = 0;
	e = link_transmit(l, &r, c);
	while (!e) {
		e = link_collect(l, c, number, result);
		if (e != -EAGAIN)
			break;
		e = wire_watch.waits && wire_seconds() - since > least_patience(w) ? -ETIMEDOUT : 0;
		if (!e)
			link_poll(l, program, THE_UNHANDLED);
	}
	return e;
}

struct link *link_own(struct ipc_ns *ns)
{
	for (int i = 0; i < THREAD_NS; i++)
		if (ipc_thread.in[i].ns == ns && ipc_thread.in[i].generation == ns->generation)
			return &ns->wire->links[ipc_thread.in[i].link];
	return NULL;
}

/* Is the connection there, and made by who we are now? */
int link_connected(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program)
{
	int e;

	if (link_ours(l) && l->creds == atomic_load(&creds_generation))
		return 0;
	link_hang_up(l);
	e = link_introduce(ns, l, who, program);
	return e < 0 ? e : 0;
}

/* The daemon has not come back in time: the next one is told. */
void link_give_up(struct link *l, const struct wire_call *c, uint64_t number)
{
	l->left.op = c->op;
	l->left.id = (int)c->arg[0];
	l->left.number = number;
}

static long request_at_once(struct ipc_ns *ns, struct link *l, uint32_t who, struct wire_call *c,
			    const sigset_t *program)
{
	uint64_t number = c->number ? c->number : link_number(l);
	time_t since = wire_seconds();
	bool repeated = c->number;
	long result;
	int e;

	do {
		e = link_connected(ns, l, who, program);
		if (!e) {
			e = link_exchange(ns->wire, l, c, number, repeated, program, &result);
			if (!e || e == -EFAULT) /* the program's memory */
				return e ? e : result;
			link_hang_up(l);
			repeated = true;
		}
	} while (wire_patient(ns->wire, since, e, program, THE_UNHANDLED));
	if (c->ended)
		link_give_up(l, c, number);
	return wire_complain(ns->wire, e);
}

uint64_t wire_number(struct ipc_ns *ns)
{
	struct link *l = link_own(ns);

	return l ? link_number(l) : 0;
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
	l = link_own(ns);
	if (c->follows && atomic_load(&c->follows->followed)) /* by the wrapper of a handler */
		result = c->follows->result;
	else if (c->sleeps)
		result = wire_request_that_sleeps(ns, l, (uint32_t)who, c, &cold);
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
int link_tell(const struct link *l, uint16_t op, int64_t a, int64_t b)
{
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = op, .arg = { a, b } };
	struct wire_call c = { .op = op };

	return l && link_ours(l) ? link_transmit(l, &r, &c) : -EPIPE;
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
	if (link_tell(link_own(ns), WIRE_RING, who, 0) == -EPIPE && !link_dial(ns->wire, &door)) {
		link_tell(&door, WIRE_RING, who, 0);
		link_hang_up(&door);
	}
	ns_loud(&c);
}

/* ---- the namespace ---- */

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

	links_drop(w);
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
