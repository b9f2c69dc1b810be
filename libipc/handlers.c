/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sigaction() and signal(), as the program sees them. Its handlers run inside one of ours, which first settles what
 * this thread waits for (wait.h). What the program asks about its handlers is answered as if nothing were in between.
 * Dispositions without a handler go straight to the kernel.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers.h"
#include "next.h"
#include "wait.h"

#define SIGNALS 65

static struct { _Atomic uintptr_t handler; _Atomic int siginfo; } table[SIGNALS];

typedef int sigaction_fn(int, const struct sigaction *, struct sigaction *);

static int real_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	static _Atomic(void *) real;
	sigaction_fn *f = (sigaction_fn *)(uintptr_t)next_function(&real, "sigaction");

	return f ? f(sig, act, old) : -1;
}

void handlers_add(sigset_t *set)
{
	for (int sig = 1; sig < SIGNALS; sig++)
		if (atomic_load(&table[sig].handler))
			sigaddset(set, sig);
}

static void wrapper(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	uintptr_t handler = atomic_load(&table[sig].handler);
	uint64_t joined = wait_joined; /* of the call that is interrupted */

	wait_interrupt();
	errno = saved;
	ipc_handling++;
	if (atomic_load(&table[sig].siginfo))
		((void (*)(int, siginfo_t *, void *))handler)(sig, info, context);
	else
		((void (*)(int))handler)(sig);
	ipc_handling--;
	wait_joined = joined;
}

static bool is_wrapper(const struct sigaction *a)
{
	return a->sa_flags & SA_SIGINFO && a->sa_sigaction == wrapper;
}

int signal_action(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction mine, before;
	uintptr_t old_handler = 0;
	int old_info = 0, r;

	if (sig <= 0 || sig >= SIGNALS)
		return real_sigaction(sig, act, old);
	old_handler = atomic_load(&table[sig].handler);
	old_info = atomic_load(&table[sig].siginfo);
	if (act && act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN) {
		mine = *act;
		mine.sa_sigaction = wrapper;
		mine.sa_flags |= SA_SIGINFO;
		atomic_store(&table[sig].handler, (uintptr_t)act->sa_handler);
		atomic_store(&table[sig].siginfo, !!(act->sa_flags & SA_SIGINFO));
		r = real_sigaction(sig, &mine, &before);
		if (r) {
			atomic_store(&table[sig].handler, old_handler);
			atomic_store(&table[sig].siginfo, old_info);
		}
	} else {
		r = real_sigaction(sig, act, &before);
	}
	if (!r && old) {
		*old = before;
		if (is_wrapper(&before)) {
			old->sa_handler = (void (*)(int))old_handler;
			if (!old_info)
				old->sa_flags &= ~SA_SIGINFO;
		}
	}
	return r;
}

sighandler_t signal_simple(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	sigemptyset(&act.sa_mask);
	if (!(flags & SA_NODEFER))
		sigaddset(&act.sa_mask, sig);
	return signal_action(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

/* The exported names: the program's references come here, before libc's. */
int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return signal_action(sig, act, old);
}

sighandler_t signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESTART);
}

sighandler_t bsd_signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESTART);
}

sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESETHAND | SA_NODEFER);
}

sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESETHAND | SA_NODEFER);
}
