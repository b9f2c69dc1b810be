/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's loop: events, the worker threads that take them, the log, and what is done every second. See serve.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "registry.h"
#include "serve.h"

#define WORKERS_LEAST 4
#define THREADS_EVERY 5  /* seconds */
#define LINES_A_SECOND 20

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

/* ---- every second ---- */

struct obj *serve_hold(void)
{
	return aligned_alloc(_Alignof(struct obj), sizeof(struct obj));
}

void serve_retire(struct ipc_ns *ns, struct obj *o)
{
	struct ipc_server *s = ns->server;
	struct retired *r = malloc(sizeof *r);

	if (!r)
		return; /* it stays mapped */
	r->area = o->area;
	r->held = o->held;
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

void serve_unmap_retired(struct ipc_server *s)
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
		free(r->held);
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

	if (read(s->tick_fd, &n, sizeof n) < 0 || atomic_exchange(&s->ticking, true))
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
	atomic_store(&s->ticking, false);
}

/* ---- workers ---- */

static void event(struct ipc_server *s, struct source *source, uint32_t events, char *room)
{
	uint64_t n;

	if (source->kind == SOURCE_TICK)
		serve_unmap_retired(s);
	pthread_rwlock_rdlock(&s->areas);
	object_held = true;
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
	object_held = false;
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
