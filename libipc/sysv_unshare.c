/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unshare(): with CLONE_NEWIPC the process goes on in a fresh private namespace, with the kernel's leave. What it has
 * attached stays; its undo adjustments are applied at once, as the kernel does with CLONE_SYSVSEM too. The namespace is
 * the whole process's, and that of what it starts: its directory is in the environment.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw.h"
#include "route_call.h"
#include "slot.h"
#include "sysv.h"
#include "users.h"

static int unshare_raw(int flags)
{
	return (int)raw_result(raw_call(SYS_unshare, flags, 0, 0, 0, 0, 0));
}

static int (*next_unshare)(int) = unshare_raw;

__attribute__((constructor)) static void find_next(void)
{
	sysv_next(&next_unshare, "unshare");
}

static struct ipc_ns *fresh(void)
{
	struct ipc_ns *ns = NULL;
	char base[64], dir[128];
	int lock = -1;

	if (users_base(base, sizeof base, true))
		return NULL;
	if (!users_make_private(base, dir, sizeof dir, &lock))
		ns = sysv_open(dir, 0);
	if (lock >= 0)
		close(lock); /* that this process lives tells that it is in use */
	return ns;
}

static void discard(struct ipc_ns *ns)
{
	char dir[sizeof ns->dir];
	struct cold c;

	snprintf(dir, sizeof dir, "%s", ns->dir);
	ns_quiet(&c);
	ipc_close(ns);
	users_remove(dir);
	ns_loud(&c);
}

/* A kernel without IPC namespaces says EINVAL; ours does not need them. */
static int ask_kernel(int flags, bool may)
{
	int r = next_unshare(flags);

	if (r && errno == EINVAL && flags & CLONE_NEWIPC && may)
		r = next_unshare(flags & ~CLONE_NEWIPC);
	return r;
}

/* Threads share what must be undone, so one of several leaves it to the others. */
static void undo_now(struct ipc_ns *ns)
{
	int who = ns && atomic_load(&ns->slot) ? ns_enter(ns) : -1;
	struct cold c;

	if (who < 0 || atomic_load(&ns->threads) > 1)
		return;
	if (ns->wire) {
		wire_undo(ns);
		return;
	}
	cold_enter(ns, &c);
	reap_own_undo(ns, who);
	cold_leave(ns, &c);
}

int unshare(int flags)
{
	bool may = flags & CLONE_NEWUSER || creds_capable(CAP_SYS_ADMIN);
	struct ipc_ns *ns = NULL, *old = ns_list ? sysv_namespace() : NULL;
	int r;

	if (!(flags & (CLONE_NEWIPC | CLONE_SYSVSEM)))
		return next_unshare(flags);
	if (flags & CLONE_NEWIPC && may) {
		ns = fresh();
		if (!ns) {
			fprintf(stderr, "libipc-sysv: no new System V IPC namespace: %s\n", ipc_open_error());
			errno = ENOMEM;
			return -1;
		}
	}
	r = ask_kernel(flags, may);
	if (r && ns)
		discard(ns);
	if (r)
		return r;
	undo_now(old);
	ipc_credentials_changed();
	if (ns && sysv_use(ns))
		r = -1; /* ENOMEM: no room in the environment */
	return r;
}
