/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client may do to the daemon through the memory that it shares with it: take it away (a hole on a full file
 * system, so that a touch is SIGBUS), or go on changing it, so that an operation of the engine never ends. Both end in
 * the same way: in place of the area the daemon gets memory of its own that says "removed", in one step, under whatever
 * is going on in it. Loops come to their end, calls give EIDRM, locks are given back by those who hold them; nothing is
 * jumped out of. The file stays as it is, and so does the object, until it is removed or the daemon started anew.
 *
 * A worker says in which area it works (guard_enter), and says so before that area is unmapped; areas of others are
 * not unmapped while an event is under way (server.areas). worker.lock orders both against the watchdog.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "handlers.h"
#include "registry.h"
#include "serve.h"

#define CALM_NS 1000000000  /* from look to look when nobody works in an area */
#define LOOK_NS 100000000   /* and when somebody does */
#define BUSY_NS 1000000     /* of the processor, from look to look: it turns round */
#define LOOKS 10            /* so often */

static __thread struct worker *mine __attribute__((tls_model("initial-exec")));
static struct ipc_server *_Atomic served; /* for the handler: one a process */
static struct sigaction former;

/* ---- in place of an area ---- */

static bool put_aside(const struct area *a)
{
	size_t length = page_round(a->length);
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	madvise(p, length, MADV_NOHUGEPAGE);
	atomic_store((cell_t *)p + AREA_FLAGS, AREA_CLOSED);
	if (syscall(SYS_mremap, p, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, a->head) == (long)a->head)
		return true;
	munmap(p, length);
	return false;
}

/* One page, for what is no area, or cannot be had as a whole: it reads as zeros. */
static bool put_page(void *at)
{
	void *page = (void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));

	return mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page;
}

static bool in_area(const struct area *a, const void *at)
{
	const char *head = (const char *)a->head;

	return head && (const char *)at >= head && (const char *)at < head + a->length;
}

/* The object whose area it is now, or NULL. */
static struct obj *object_at(struct ipc_server *s, const void *at, enum kind *kind)
{
	for (*kind = KIND_SEM; *kind <= KIND_MSG; (*kind)++)
		for (uint32_t i = 0, high = rows_high(&s->ns->reg, *kind); i < high; i++)
			if (in_area(&s->ns->obj[*kind][i].area, at))
				return &s->ns->obj[*kind][i];
	return NULL;
}

static bool in_marks(struct ipc_server *s, const void *at)
{
	for (struct marks *m = atomic_load(&s->ns->marks); m; m = m->next)
		if ((const char *)at >= (const char *)m->mark && (const char *)at < (const char *)m->mark + MARKS_LENGTH)
			return true;
	return false;
}

static const struct area *retired_at(struct ipc_server *s, const void *at)
{
	for (struct retired *r = atomic_load(&s->retired); r; r = r->next)
		if (in_area(&r->area, at))
			return &r->area;
	return NULL;
}

/* True: what was touched can be read and written again. */
static bool mended(struct ipc_server *s, void *at)
{
	const struct area *a = NULL;
	struct obj *o;
	enum kind kind;

	if (mine && in_area(&mine->area, at))
		a = &mine->area;
	else if ((o = object_at(s, at, &kind)))
		a = &o->area;
	else
		a = retired_at(s, at);
	if (!a && !in_marks(s, at))
		return false;
	if (mine && !atomic_load(&mine->struck))
		atomic_store(&mine->struck, (uintptr_t)at);
	return (a && put_aside(a)) || put_page(at);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct ipc_server *s = atomic_load(&served);
	int saved = errno;

	if (s && info->si_code > 0 && mended(s, info->si_addr)) {
		errno = saved;
		return;
	}
	errno = saved;
	if (former.sa_flags & SA_SIGINFO)
		former.sa_sigaction(sig, info, context);
	else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN)
		former.sa_handler(sig);
	else
		signal_unwrapped(sig, &former, NULL); /* the touch is repeated, and ends the process */
}

/* ---- where a worker is ---- */

static void say(struct ipc_server *s, const void *at, const char *why)
{
	enum kind kind;
	struct obj *o = object_at(s, at, &kind);
	uint32_t opened = o ? atomic_load(&o->opened) : 0;

	if (!opened)
		serve_log(s, LOG_WARNING, "%s: %s", in_marks(s, at) ? "marks of processes" : "an object that has gone", why);
	else if (atomic_exchange(&o->reported, opened) != opened) /* several workers may have met it */
		serve_log(s, LOG_WARNING, "%s %d: %s; calls on it give EIDRM from now on",
			  kind == KIND_SEM ? "semaphore set" : "message queue", (int)opened - 1, why);
}

static void say_struck(struct ipc_server *s, struct worker *w)
{
	uintptr_t at = atomic_exchange(&w->struck, 0);

	if (at)
		say(s, (void *)at, "there is no memory any more behind what its owner shares with the daemon (a hole, and "
				   "the file system is full)");
}

static void enter(struct ipc_ns *ns, const struct area *a)
{
	struct worker *w = mine;

	if (!w || (a ? a->head : NULL) == w->area.head)
		return;
	say_struck(ns->server, w);
	pthread_mutex_lock(&w->lock);
	if (a)
		w->area = *a;
	else
		w->area.head = NULL;
	w->turn++;
	pthread_mutex_unlock(&w->lock);
}

static struct area inside(void)
{
	return mine ? mine->area : (struct area){ .head = NULL };
}

void guard_enter(struct ipc_server *s, const struct area *a)
{
	enter(s->ns, a);
}

void guard_leave(struct ipc_server *s)
{
	if (mine)
		say_struck(s, mine);
	enter(s->ns, NULL);
}

void guard_begin(struct ipc_server *s, int worker)
{
	sigset_t set;

	mine = &s->worker[worker];
	pthread_mutex_lock(&mine->lock);
	mine->running = !pthread_getcpuclockid(pthread_self(), &mine->clock);
	mine->looks = 0;
	pthread_mutex_unlock(&mine->lock);
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void guard_end(void)
{
	if (!mine)
		return;
	pthread_mutex_lock(&mine->lock);
	mine->running = false;
	pthread_mutex_unlock(&mine->lock);
	mine = NULL;
}

/* ---- the watchdog ---- */

/* With worker.lock. Has it used the processor since the last look, in the same area? */
static bool turns(struct worker *w)
{
	struct timespec t;
	uint64_t used;
	bool same = w->turn == w->seen, busy;

	if (clock_gettime(w->clock, &t))
		return false;
	used = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	busy = used - w->used > BUSY_NS;
	w->seen = w->turn;
	w->used = used;
	w->looks = same && busy ? w->looks + 1 : 0;
	return w->looks >= LOOKS;
}

/* True if it works in an area. */
static bool look_at(struct ipc_server *s, struct worker *w)
{
	void *at = NULL;
	bool inside;

	pthread_mutex_lock(&w->lock);
	inside = w->running && w->area.head;
	if (inside && turns(w)) {
		w->looks = 0;
		if (put_aside(&w->area))
			at = w->area.head;
	}
	if (at)
		say(s, at, "its owner keeps changing it while the daemon works in it, or has made it endless");
	pthread_mutex_unlock(&w->lock);
	return inside;
}

static void *watch(void *arg)
{
	struct ipc_server *s = arg;
	bool some = false;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_mutex_lock(&s->watch_lock);
	while (!s->watch_end) {
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += some ? LOOK_NS : CALM_NS;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&s->watch_changed, &s->watch_lock, &t);
		some = false;
		for (int i = 0; i < WORKERS_MOST; i++)
			some = look_at(s, &s->worker[i]) || some;
	}
	pthread_mutex_unlock(&s->watch_lock);
	return NULL;
}

/* ---- beginning and end ---- */

int guard_start(struct ipc_server *s)
{
	struct sigaction act = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER };
	struct ipc_server *none = NULL;

	ns_faults = true;
	s->ns->enter = enter;
	s->ns->inside = inside;
	if (!atomic_compare_exchange_strong(&served, &none, s))
		return 0; /* a second one: its clients are trusted as far as this goes */
	sigemptyset(&act.sa_mask);
	return signal_unwrapped(SIGBUS, &act, &former) ? ns_fail(-errno, "no handler for SIGBUS") : 0;
}

int guard_watch(struct ipc_server *s)
{
	s->watch_end = false;
	s->watching = !pthread_create(&s->watch, NULL, watch, s);
	return s->watching ? 0 : -EAGAIN;
}

void guard_unwatch(struct ipc_server *s)
{
	if (!s->watching)
		return;
	pthread_mutex_lock(&s->watch_lock);
	s->watch_end = true;
	pthread_cond_broadcast(&s->watch_changed);
	pthread_mutex_unlock(&s->watch_lock);
	pthread_join(s->watch, NULL);
	s->watching = false;
}

void guard_stop(struct ipc_server *s)
{
	struct ipc_server *was = s;

	mine = NULL;
	if (s->ns)
		s->ns->enter = NULL;
	if (atomic_compare_exchange_strong(&served, &was, NULL))
		signal_unwrapped(SIGBUS, &former, NULL);
}

void guard_init(struct ipc_server *s)
{
	pthread_condattr_t attr;

	for (int i = 0; i < WORKERS_MOST; i++)
		pthread_mutex_init(&s->worker[i].lock, NULL);
	pthread_mutex_init(&s->watch_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->watch_changed, &attr);
	pthread_condattr_destroy(&attr);
}
