/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is calling, cached, and what the kernel's ipcperms() would say. The cache is dropped by
 * ipc_credentials_changed(). Privilege is the capability that the kernel asks for.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libipc.h"
#include "ns.h"

static struct creds cache;
static __thread struct creds mine; /* while those of the process are being changed */
_Atomic uint32_t creds_generation;
__thread const struct creds *creds_other;

static _Atomic int changing; /* calls that change ids, under way: libc changes those of other threads one by one */

void creds_change(void)
{
	atomic_fetch_add(&changing, 1);
	ipc_credentials_changed();
}

/* The child has one thread, which is not in such a call. */
void creds_fork_child(void)
{
	atomic_store(&changing, 0);
}

void creds_changed(void)
{
	ipc_credentials_changed();
	atomic_fetch_sub(&changing, 1);
}

bool creds_uncertain(void)
{
	return atomic_load(&changing);
}

void ipc_credentials_changed(void)
{
	atomic_store(&cache.valid, 0);
	atomic_fetch_add(&creds_generation, 1);
}

static uint64_t effective_caps(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &head, data))
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

bool creds_capable(int cap)
{
	if (creds_other)
		return !creds_other->uid;
	return effective_caps() >> cap & 1; /* asked for seldom, and changed by more than the calls that we see */
}

static void ask(struct creds *c)
{
	c->uid = geteuid();
	c->gid = getegid();
	c->ngroups = getgroups(64, c->groups);
	c->caps = effective_caps();
}

/* Two threads may fill it at once: with the same values. */
const struct creds *creds_get(void)
{
	if (creds_other)
		return creds_other;
	if (creds_uncertain()) {
		ask(&mine);
		return &mine;
	}
	if (!atomic_load_explicit(&cache.valid, memory_order_acquire)) {
		ask(&cache);
		atomic_store_explicit(&cache.valid, 1, memory_order_release);
	}
	return &cache;
}

bool creds_in_group(const struct creds *c, gid_t gid)
{
	gid_t many[65536 / sizeof(gid_t)];
	int n = c->ngroups;
	const gid_t *list = c->list ? c->list : c->groups;

	if (c->gid == gid)
		return true;
	if (n < 0) { /* more than the cache holds */
		n = getgroups((int)(sizeof many / sizeof *many), many);
		list = many;
	}
	for (int i = 0; i < n; i++)
		if (list[i] == gid)
			return true;
	return false;
}

int perm_check(const struct perm *p, uint32_t want)
{
	const struct creds *c = creds_get();
	uint32_t requested = (want >> 6 | want >> 3 | want) & 7, granted = p->mode;

	if (c->uid == p->cuid || c->uid == p->uid)
		granted >>= 6;
	else if (creds_in_group(c, p->cgid) || creds_in_group(c, p->gid))
		granted >>= 3;
	return requested & ~granted & 7 && !creds_capable(CAP_IPC_OWNER) ? -EACCES : 0;
}

int perm_owner(const struct perm *p)
{
	const struct creds *c = creds_get();

	return c->uid == p->cuid || c->uid == p->uid || creds_capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}
