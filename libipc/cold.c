/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cold sections: what is done in them meets no handler, no cancellation and, unless only signals are kept out, no other
 * thread of this process.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "handlers.h"
#include "ns.h"

bool ns_faults;

void ns_quiet(struct cold *c)
{
	sigset_t all;

	c->error = errno;
	c->held = false;
	sigfillset(&all);
	if (ns_faults)
		sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &c->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c->cancel);
}

void ns_loud(const struct cold *c)
{
	pthread_setcancelstate(c->cancel, NULL); /* first: a handler may jump away from what follows */
	if (!c->held)
		pthread_sigmask(SIG_SETMASK, &c->mask, NULL);
	else if (signals_release())
		signals_deliver();
	errno = c->error;
}

void cold_enter(struct ipc_ns *ns, struct cold *c)
{
	ns_quiet(c);
	pthread_mutex_lock(ns->cold);
}

void cold_enter_short(struct ipc_ns *ns, struct cold *c)
{
	c->error = errno;
	c->held = !ns->wire && signals_hold();
	if (c->held)
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c->cancel);
	else
		ns_quiet(c);
	pthread_mutex_lock(ns->cold);
}

void cold_leave(struct ipc_ns *ns, struct cold *c)
{
	pthread_mutex_unlock(ns->cold);
	ns_loud(c);
}

void cold_init(struct ipc_ns *ns)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&ns->own_cold, &attr);
	ns->cold = &ns->own_cold;
	pthread_mutexattr_destroy(&attr);
}
