/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sigaction() and signal(), as the program sees them. Its handlers run inside one of ours, which first settles what
 * this thread waits for (wait.h). What the program asks about its handlers is answered as if nothing were in between.
 * Dispositions without a handler go straight to the kernel.
 *
 * Where a thread holds its signals (signals_hold), the wrapper notes the one that strikes and returns with all others
 * blocked; at the end of the section it is sent again, with all that came with it, and strikes there. Faults are not
 * held: their handlers are to deal with them where they happen. Where the program has a handler of one of these kinds,
 * signals are blocked instead: of queued signals, which could overtake each other; of SIGCONT and the stop signals, which
 * take back each other when they are sent again; for one signal only (SA_RESETHAND), which has gone when it strikes; and
 * those that do not come through here. A section that was begun before another thread installed such a handler holds it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "handlers.h"
#include "next.h"
#include "raw.h"
#include "wait.h"

#define SIGNALS 65

static struct {
	_Atomic uintptr_t handler;
	_Atomic int siginfo;
} table[SIGNALS];

typedef int sigaction_fn(int, const struct sigaction *, struct sigaction *);

static int real_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	static _Atomic(void *) real;
	sigaction_fn *f = (sigaction_fn *)(uintptr_t)next_function(&real, "sigaction");

	return f ? f(sig, act, old) : -1;
}

int signal_unwrapped(int sig, const struct sigaction *act, struct sigaction *old)
{
	return real_sigaction(sig, act, old);
}

void handlers_add(sigset_t *set)
{
	for (int sig = 1; sig < SIGNALS; sig++)
		if (atomic_load(&table[sig].handler))
			sigaddset(set, sig);
}

/* ---- handlers that wait ---- */

#define KERNEL_SET 8 /* bytes of a signal set, to the kernel */
#define QUEUED 32    /* the first signal that the kernel queues; libc takes some of them for itself */

static __thread struct {
	_Atomic uint32_t depth;
	_Atomic int sig; /* the one that struck; 0: none */
	_Atomic int refuse;
	siginfo_t info;
	uint64_t mask; /* that it met */
} held __attribute__((tls_model("initial-exec")));

static bool all_wrapped;          /* the program's handlers come through here */
static _Atomic bool some_direct;  /* but some are better not held */

extern __typeof__(sigaction) sigaction_here
	__attribute__((alias("sigaction"), visibility("hidden"), nothrow, leaf));

__attribute__((constructor)) static void find_out(void)
{
	all_wrapped = dlsym(RTLD_DEFAULT, "sigaction") == (void *)(uintptr_t)sigaction_here;
}

static bool holdable(int sig, int flags)
{
	return sig < QUEUED && sig != SIGCONT && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU &&
	       !(flags & SA_RESETHAND);
}

void handlers_unseen(void)
{
	atomic_store(&some_direct, true);
}

static bool is_fault(int sig, const siginfo_t *info)
{
	return info->si_code > 0 && (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP ||
				     sig == SIGSYS);
}

static void hold_signal(int sig, const siginfo_t *info, ucontext_t *context)
{
	held.info = *info;
	memcpy(&held.mask, &context->uc_sigmask, KERNEL_SET);
	memset(&context->uc_sigmask, 0xff, KERNEL_SET);
	atomic_store_explicit(&held.sig, sig, memory_order_relaxed);
}

bool signals_hold(void)
{
	if (!all_wrapped || atomic_load_explicit(&some_direct, memory_order_relaxed))
		return false;
	atomic_store_explicit(&held.depth, atomic_load_explicit(&held.depth, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

bool signals_release(void)
{
	uint32_t depth = atomic_load_explicit(&held.depth, memory_order_relaxed) - 1;

	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&held.depth, depth, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return !depth && atomic_load_explicit(&held.sig, memory_order_relaxed);
}

static void wrapper(int sig, siginfo_t *info, void *context);

/* A handler for one signal only, which another thread installed meanwhile, has gone; the kernel keeps the rest. */
static void install_again(int sig)
{
	struct sigaction a;

	if (real_sigaction(sig, NULL, &a) || a.sa_handler != SIG_DFL || !(a.sa_flags & SA_RESETHAND))
		return;
	a.sa_sigaction = wrapper;
	a.sa_flags |= SA_SIGINFO;
	real_sigaction(sig, &a, NULL);
}

static void send_again(int sig, const siginfo_t *info)
{
	if (atomic_load(&some_direct))
		install_again(sig);
	raw_call(SYS_rt_tgsigqueueinfo, getpid(), raw_call(SYS_gettid, 0, 0, 0, 0, 0, 0), sig, (long)info, 0, 0);
}

void signals_deliver(void)
{
	int sig = atomic_load_explicit(&held.sig, memory_order_relaxed);
	siginfo_t info = held.info;
	uint64_t mask = held.mask;

	atomic_store_explicit(&held.sig, 0, memory_order_relaxed);
	send_again(sig, &info);
	raw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, KERNEL_SET, 0, 0);
}

void signals_refuse(bool on)
{
	atomic_store_explicit(&held.refuse, on, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* It comes back blocked, as all others are when the wrapper returns. */
static void refuse_signal(int sig, const siginfo_t *info)
{
	uint64_t all = ~0ull;

	raw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, KERNEL_SET, 0, 0);
	send_again(sig, info);
}

/* ---- wrapped handlers ---- */

static void wrapper(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	uintptr_t handler = atomic_load(&table[sig].handler);
	uint64_t serial = wait_serial; /* of the call that is interrupted */
	uint32_t used = object_used;
	uint32_t depth = atomic_load_explicit(&held.depth, memory_order_relaxed);

	if (atomic_load_explicit(&held.refuse, memory_order_relaxed) && !is_fault(sig, info)) {
		refuse_signal(sig, info);
		errno = saved;
		return;
	}
	if (depth && !is_fault(sig, info)) {
		hold_signal(sig, info, context);
		return;
	}
	atomic_store_explicit(&held.depth, 0, memory_order_relaxed);
	wait_interrupt();
	errno = saved;
	ipc_handling++;
	if (atomic_load(&table[sig].siginfo))
		((void (*)(int, siginfo_t *, void *))handler)(sig, info, context);
	else
		((void (*)(int))handler)(sig);
	ipc_handling--;
	wait_serial = serial;
	object_used = used;
	atomic_store_explicit(&held.depth, depth, memory_order_relaxed);
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
		if (!holdable(sig, act->sa_flags))
			atomic_store(&some_direct, true);
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

sighandler_t ssignal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESTART);
}

sighandler_t sigset(int sig, sighandler_t handler)
{
	struct sigaction act = { .sa_handler = handler }, old;
	bool hold = handler == SIG_HOLD;
	sigset_t set, before;

	sigemptyset(&act.sa_mask);
	sigemptyset(&set);
	if (handler == SIG_ERR)
		errno = EINVAL;
	if (handler == SIG_ERR || sigaddset(&set, sig) || signal_action(sig, hold ? NULL : &act, &old))
		return SIG_ERR;
	pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, &before);
	return sigismember(&before, sig) ? SIG_HOLD : old.sa_handler;
}

sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESETHAND | SA_NODEFER);
}

sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return signal_simple(sig, handler, SA_RESETHAND | SA_NODEFER);
}
