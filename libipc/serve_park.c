/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of clients that sleep: the request stands in the object's list under the client's who number, and the frame is
 * kept here. Whoever performs it rings: in the daemon itself park_ring, a client by a message; and once a second all are
 * looked at, in case the ring was lost. The frame ends once: whoever takes it out of the table ends it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "obj_msg.h"
#include "serve.h"

#define RUNG 64

static __thread struct { uint32_t n, who[RUNG]; bool all; } rung;

static char *memdup(const char *from, uint32_t size)
{
	char *p = malloc(size + 1);

	return p ? memcpy(p, from, size) : NULL;
}

static void parked_free(struct parked *p)
{
	free(p->buffer);
	free(p->text);
	free(p);
}

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* The alarm is at the first deadline. With server.lock. */
static void set_alarm(struct ipc_server *s, const struct timespec *deadline)
{
	struct itimerspec t = { .it_value = *deadline };

	if (!t.it_value.tv_sec && !t.it_value.tv_nsec)
		t.it_value.tv_nsec = 1;
	s->alarm = *deadline;
	timerfd_settime(s->alarm_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

int park(struct frame *f, const struct timespec *deadline)
{
	struct call *k = serve_current;
	struct parked *p = calloc(1, sizeof *p);
	struct ipc_server *s;

	ipc_frame = NULL;
	if (!k || !p) {
		free(p);
		wait_settle(f, ENOMEM);
		return f->result;
	}
	s = k->server;
	p->conn = k->conn;
	p->frame = *f;
	p->file = object_used;
	p->request = k->request;
	p->request.flags &= ~WIRE_REPEATED; /* if it is to be done again */
	p->from = k->from;
	if (k->request.op == WIRE_MSGRCV) {
		p->buffer = k->buffer;
		k->buffer = NULL;
	} else {
		p->text = k->payload == k->buffer ? k->buffer : memdup(k->payload, k->size);
		p->size = p->text ? k->size : 0;
		if (p->text == k->buffer)
			k->buffer = NULL;
	}
	if (deadline) {
		p->timed = true;
		p->deadline = *deadline;
	}
	atomic_store(&area_who(&f->area, f->who)->req.sleeping, SLEEPS_PARKED);
	atomic_fetch_add(&k->conn->refs, 1);
	pthread_mutex_lock(&s->lock);
	s->parked[f->who] = p;
	k->conn->parked = p;
	if (s->parked_high <= f->who)
		s->parked_high = f->who + 1;
	if (deadline && ((!s->alarm.tv_sec && !s->alarm.tv_nsec) || before(deadline, &s->alarm)))
		set_alarm(s, deadline);
	pthread_mutex_unlock(&s->lock);
	return -EINPROGRESS;
}

bool park_uses(struct ipc_server *s, const struct area *a)
{
	for (uint32_t w = 0; w < s->parked_high; w++)
		if (s->parked[w] && s->parked[w]->frame.area.head == a->head)
			return true;
	return false;
}

/* Out of the table: whoever gets it ends it. */
static struct parked *take(struct ipc_server *s, struct conn *c, uint64_t number)
{
	struct parked *p;

	pthread_mutex_lock(&s->lock);
	p = c->parked;
	if (p && number && p->request.number != number)
		p = NULL;
	if (p) {
		s->parked[p->frame.who] = NULL;
		c->parked = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* A call that is to look again does so as if it had just been made. */
static bool once_more(struct ipc_server *s, struct conn *c, struct parked *p, bool moved, bool ended)
{
	struct call k = { .server = s, .conn = c, .request = p->request, .from = p->from, .payload = p->text, .size = p->size,
			  .buffer = p->text };
	long r;

	if (moved) /* its request is in the list there */
		k.request.flags |= WIRE_REPEATED;
	if (ended) /* its client has been told that it comes to its end now */
		k.request.flags |= WIRE_ENDED;
	if (k.request.op != WIRE_MSGRCV && !p->text) {
		serve_reply(s, c, &k, -ENOMEM);
		return false;
	}
	p->text = NULL;

	serve_current = &k;
	r = call_perform(&k);
	serve_current = NULL;
	if (r == -EINPROGRESS)
		return true;
	serve_reply(s, c, &k, r);
	free(k.buffer);
	return false;
}

/* With conn.lock: end the request, and answer. cancelled: in any case, else it may sleep again. */
static void end(struct ipc_server *s, struct parked *p, int reason, bool cancelled)
{
	struct call k = { .server = s, .conn = p->conn, .request = p->request };
	struct conn *c = p->conn;
	bool again = false;

	if (reason)
		wait_settle(&p->frame, reason);
	if (!atomic_load(&p->frame.settled)) /* there is no such request any more: its object was damaged */
		p->frame.result = -EIDRM;
	atomic_store(&area_who(&p->frame.area, p->frame.who)->req.sleeping, 0);
	if (p->frame.result == -MSG_AGAIN) {
		again = once_more(s, c, p, false, cancelled);
	} else if (p->frame.result == -EIDRM && object_moved(p->frame.ns, p->frame.kind, (int)p->request.arg[0], p->file)) {
		again = once_more(s, c, p, true, cancelled);
	} else {
		if (p->buffer && p->frame.result >= 0) {
			int64_t type;

			memcpy(&type, p->buffer, sizeof type);
			k.reply.value[0] = type;
			k.out = p->buffer + sizeof(long);
			k.out_size = (uint32_t)p->frame.result;
		}
		if (c->who)
			reply_keep(&k, p->frame.result);
		serve_reply(s, c, &k, p->frame.result);
	}
	parked_free(p);
	if (again) /* later: not on top of this one, however often that may be */
		park_ring(s->ns, c->who);
	conn_put(s, c);
}

void park_cancel(struct ipc_server *s, struct conn *c, uint64_t number)
{
	struct parked *p;

	pthread_mutex_lock(&c->lock);
	p = take(s, c, number);
	if (p) {
		guard_enter(s, &p->frame.area);
		end(s, p, EINTR, true);
	}
	pthread_mutex_unlock(&c->lock);
}

/* The connection has gone. The request stays where it is: its client comes back for it, or is dead and reaped. */
void park_forget(struct ipc_server *s, struct conn *c)
{
	struct parked *p;

	pthread_mutex_lock(&c->lock);
	p = take(s, c, 0);
	pthread_mutex_unlock(&c->lock);
	if (!p)
		return;
	atomic_store(&s->left[p->frame.who], true);
	parked_free(p);
	conn_put(s, c);
}

/* With a reference to its connection. */
static struct conn *parked_conn(struct ipc_server *s, uint32_t who)
{
	struct conn *c;

	if (!who || who >= WHO_MAX)
		return NULL;
	pthread_mutex_lock(&s->lock);
	c = s->parked[who] ? s->parked[who]->conn : NULL;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&s->lock);
	return c;
}

/* Its client has gone. */
void park_drop(struct ipc_server *s, uint32_t who)
{
	struct conn *c = parked_conn(s, who);

	if (!c)
		return;
	park_forget(s, c);
	conn_put(s, c);
}

static bool passed(const struct parked *p)
{
	struct timespec now;

	if (!p->timed)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return !before(&now, &p->deadline);
}

static void check(struct ipc_server *s, uint32_t who, bool look)
{
	struct conn *c = parked_conn(s, who);
	struct parked *p;
	int reason = 0;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	p = c->parked;
	if (p)
		guard_enter(s, &p->frame.area);
	if (p && look && wait_waits(&p->frame) && p->frame.look)
		p->frame.look(&p->frame);
	if (p && !wait_waits(&p->frame))
		reason = EINTR; /* not what comes of it: it was performed */
	else if (p && passed(p))
		reason = EAGAIN;
	if (reason) {
		p = take(s, c, 0);
		if (p)
			end(s, p, reason, false);
	}
	pthread_mutex_unlock(&c->lock);
	conn_put(s, c);
}

void park_check(struct ipc_server *s, uint32_t who)
{
	check(s, who, false);
}

void park_ring(struct ipc_ns *view, uint32_t who)
{
	(void)view;
	if (rung.n < RUNG)
		rung.who[rung.n++] = who;
	else
		rung.all = true;
}

void park_flush(struct ipc_server *s)
{
	while (rung.n || rung.all) {
		if (rung.n) {
			park_check(s, rung.who[--rung.n]);
			continue;
		}
		rung.all = false;
		park_tick(s, false);
	}
}

void park_tick(struct ipc_server *s, bool look)
{
	struct timespec first = { 0 };
	uint32_t high;

	pthread_mutex_lock(&s->lock);
	high = s->parked_high;
	pthread_mutex_unlock(&s->lock);
	for (uint32_t w = 1; w < high; w++)
		if (s->parked[w])
			check(s, w, look);
	pthread_mutex_lock(&s->lock);
	for (uint32_t w = 1; w < s->parked_high; w++) {
		struct parked *p = s->parked[w];

		if (p && p->timed && ((!first.tv_sec && !first.tv_nsec) || before(&p->deadline, &first)))
			first = p->deadline;
	}
	s->alarm = first;
	if (first.tv_sec || first.tv_nsec)
		set_alarm(s, &first);
	pthread_mutex_unlock(&s->lock);
}
