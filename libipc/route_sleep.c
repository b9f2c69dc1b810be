/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request that may sleep. All signals are let in while it waits, and the wrapper of a handler (wait.h) first tells
 * the daemon to end the request: so a handler finds no request under way, and the result is known, whatever the handler
 * does.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "raw.h"
#include "route_link.h"

#define SETXID 33 /* the signal by which libc has each thread change its ids; pthread_sigmask() cannot block it */

struct sleeper {
	struct frame frame;
	struct wire_call *call;
	struct link *link;
	uint64_t number;
	struct cold *cold;
};

static int say(struct sleeper *s, bool repeated)
{
	struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = s->call->op, .number = s->number,
				  .size = s->call->out_size, .flags = wire_flags(s->call, repeated) };

	memcpy(r.arg, s->call->arg, sizeof r.arg);
	s->call->fds = 0;
	return link_transmit(s->link, &r, s->call);
}

/* The daemon ends the request: performed, or not. From the wrapper of a handler, or when the thread is cancelled. */
static void end_sleep(struct frame *f)
{
	struct sleeper *s = (struct sleeper *)((char *)f - offsetof(struct sleeper, frame));
	struct wire_call cancel = { .op = WIRE_CANCEL, .arg = { (int64_t)s->number } };
	time_t since = wire_seconds();
	struct cold c;
	long result = -EINTR;
	int e;

	if (atomic_load(&f->settled)) /* the next signal comes as this one's handler is about to run */
		return;
	ns_quiet(&c); /* no handler comes in here, which would take this frame's reply */
	do {
		struct wire_request r = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = WIRE_CANCEL,
					  .number = s->number, .arg = { (int64_t)s->number } };

		e = link_ours(s->link) ? link_transmit(s->link, &r, &cancel) : -EPIPE;
		while (!e && (e = link_collect(s->link, s->call, s->number, &result)) == -EAGAIN) {
			e = 0;
			link_poll(s->link, &c.mask, THE_UNHANDLED);
		}
		if (e) { /* the daemon has gone: the next one knows the request, or never heard of it */
			link_hang_up(s->link);
			e = link_connected(s->frame.ns, s->link, s->frame.who, &c.mask);
			if (!e && !say(s, true))
				e = -EAGAIN;
		}
	} while (e && wire_patient(s->frame.ns->wire, since, e, &c.mask, THE_UNHANDLED));
	if (e)
		link_give_up(s->link, s->call, s->number);
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
		return link_poll(s->link, &s->cold->mask, HANDLERS) == -EINTR;
	pthread_cleanup_push(cancelled, s);
	pthread_setcancelstate(s->cold->cancel, NULL);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	r = link_poll(s->link, &s->cold->mask, HANDLERS);
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
		e = link_collect(s->link, s->call, s->number, result);
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

/* From before the daemon has the request it comes in where the thread sleeps, and nowhere else, as all others do. */
static void keep_setxid_out(void)
{
	uint64_t set = 1ull << (SETXID - 1);

	raw_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&set, 0, sizeof set, 0, 0);
}

long wire_request_that_sleeps(struct ipc_ns *ns, struct link *l, uint32_t who, struct wire_call *c,
			      struct cold *cold)
{
	struct sleeper s = { .frame = { .ns = ns, .who = who, .cancel = end_sleep }, .call = c, .link = l,
			     .number = c->number ? c->number : link_number(l), .cold = cold };
	time_t since = wire_seconds();
	bool repeated = c->number;
	long result = -EINTR;
	int e;

	if (repeated) /* it waits there already */
		ipc_frame = &s.frame;
	keep_setxid_out();
	do {
		e = link_connected(ns, l, who, &cold->mask);
		if (!e) {
			ipc_frame = &s.frame; /* from now on, also while there is no daemon, it is to be ended */
			e = sleep_until_reply(&s, repeated, &result);
			if (!e || e == -EFAULT)
				break;
			link_hang_up(l);
			repeated = true;
		}
	} while (wire_patient(ns->wire, since, e, &cold->mask, HANDLERS) && !atomic_load(&s.frame.settled));
	ipc_frame = NULL;
	if (atomic_load(&s.frame.settled))
		return s.frame.result;
	if (e && e != -EFAULT && repeated)
		link_give_up(l, c, s.number);
	return e == -EFAULT ? e : e ? wire_complain(ns->wire, e) : result;
}
