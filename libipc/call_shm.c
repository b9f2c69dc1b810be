/* SPDX-License-Identifier: BSD-2-Clause */
/* shmget, shmat, shmdt, shmctl. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

#include "attach.h"
#include "call.h"
#include "libipc.h"
#include "obj_shm.h"
#include "route_call.h"

#ifndef SHM_NORESERVE
#define SHM_NORESERVE 010000
#endif

/* SHM_HUGE_SHIFT and beyond: the logarithm of the page size, 0 for the default. */
static bool huge_size_known(int flags)
{
	unsigned log = (unsigned)flags >> 26 & 63;
	char path[80];

	snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%llukB", (1ull << log) / 1024);
	return !log || !access(path, F_OK);
}

/* No large pages come out of a file: refused as by a kernel that has none to give, or not to this caller. */
static int huge_refused(void)
{
	int fd = open("/proc/sys/vm/hugetlb_shm_group", O_RDONLY | O_CLOEXEC);
	char text[16] = "";
	gid_t gid;

	if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
		*text = 0;
	if (fd >= 0)
		close(fd);
	gid = (gid_t)strtoul(text, NULL, 10);
	return creds_capable(CAP_IPC_LOCK) || creds_in_group(creds_get(), gid) ? -ENOMEM : -EPERM;
}

static int new_segment(struct get *g, struct ipc_ns *ns, uint32_t *file)
{
	int e;

	if (g->size < 1 || g->size > registry_limit(ns, LIM_SHMMAX))
		return -EINVAL;
	if (pages_of(g->size) * PAGE < g->size)
		return -ENOSPC;
	e = registry_room(ns, KIND_SHM, g->size);
	if (e)
		return e;
	if (g->flags & SHM_HUGETLB)
		return huge_size_known(g->flags) ? huge_refused() : -EINVAL;
	g->row_size = (uint32_t)g->size;
	g->row_size_hi = (uint32_t)(g->size >> 32);
	g->mode = g->flags & SHM_NORESERVE ? ROW_NORESERVE : 0;
	return shm_segment_create(ns, g->size, !(g->flags & SHM_NORESERVE), file);
}

int ipc_shmget(ipc_ns *ns, key_t key, size_t size, int flags)
{
	struct get g = { .kind = KIND_SHM, .key = key, .flags = flags, .size = size, .create = new_segment };
	int who = ns_enter(ns);

	return (int)call_result(who < 0 ? who : call_get(ns, who, &g));
}

void *ipc_shmat(ipc_ns *ns, int id, const void *addr, int flags)
{
	int who = ns_enter(ns), e;
	void *at = NULL;
	struct cold c;
	struct row r;

	if (who < 0)
		return (void *)call_result(who);
	if (!registry_read(ns, KIND_SHM, id, &r) && ROW_STATE(r.v[R_STATE]) == ROW_DEST)
		slots_sweep(ns, who); /* its last holder may be dead */
	cold_enter_short(ns, &c);
	e = shm_segment_attach(ns, who, id, (uintptr_t)addr, flags, &at);
	cold_leave(ns, &c);
	return e ? (void *)call_result(e) : at;
}

int ipc_shmdt(ipc_ns *ns, const void *addr)
{
	int who = ns_enter(ns), e;
	struct cold c;

	if (who < 0)
		return (int)call_result(who);
	cold_enter_short(ns, &c);
	e = shm_segment_detach(ns, who, (uintptr_t)addr);
	cold_leave(ns, &c);
	return (int)call_result(e);
}

static int shm_stat(struct ipc_ns *ns, int who, int id, int cmd, struct shmid_ds *buf)
{
	struct row r;
	int e;

	if (ns->wire)
		return wire_shmctl(ns, id, cmd, buf, call_bad_pointer(buf, sizeof *buf));
	slots_sweep(ns, who);
	e = call_stat_row(ns, KIND_SHM, id, cmd != IPC_STAT, cmd == SHM_STAT_ANY, &r);
	if (e)
		return e;
	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	memset(buf, 0, sizeof *buf);
	call_fill_perm(&buf->shm_perm, &r);
	buf->shm_segsz = row_size(&r);
	buf->shm_atime = r.v[R_ATIME];
	buf->shm_dtime = r.v[R_DTIME];
	buf->shm_ctime = r.v[R_CTIME];
	buf->shm_cpid = (pid_t)r.v[R_CPID];
	buf->shm_lpid = (pid_t)r.v[R_LPID];
	buf->shm_nattch = r.v[R_NATTCH];
	return cmd == IPC_STAT ? 0 : row_id(&r);
}

static int shm_info(struct ipc_ns *ns, int who, int cmd, void *buf)
{
	uint32_t in_use, max;

	if (ns->wire && cmd == SHM_INFO)
		return wire_shmctl(ns, 0, cmd, buf, call_bad_pointer(buf, sizeof(struct shm_info)));
	if (cmd == SHM_INFO)
		slots_sweep(ns, who);
	max = registry_max_index(ns, KIND_SHM, &in_use);
	if (call_bad_pointer(buf, cmd == IPC_INFO ? sizeof(struct shminfo) : sizeof(struct shm_info)))
		return -EFAULT;
	if (cmd == IPC_INFO) {
		struct shminfo *i = buf;

		memset(i, 0, sizeof *i);
		i->shmmax = registry_limit(ns, LIM_SHMMAX);
		i->shmmin = 1;
		i->shmmni = i->shmseg = registry_limit(ns, LIM_SHMMNI);
		i->shmall = registry_limit(ns, LIM_SHMALL);
	} else {
		struct shm_info *i = buf;

		memset(i, 0, sizeof *i);
		i->used_ids = (int)in_use;
		i->shm_tot = area_value(&ns->reg, G_PAGES) | (uint64_t)area_value(&ns->reg, G_PAGES + 1) << 32;
		i->shm_rss = shm_resident_pages(ns);
	}
	return (int)max;
}

static int shm_set(struct ipc_ns *ns, int who, int id, const struct shmid_ds *buf)
{
	struct cold c;
	struct row r;
	int e;

	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	if (ns->wire)
		return wire_shmctl(ns, id, IPC_SET, (void *)buf, false);
	e = call_owned_row(ns, KIND_SHM, id, &r);
	if (e)
		return e;
	if (buf->shm_perm.uid == (uid_t)-1 || buf->shm_perm.gid == (gid_t)-1)
		return -EINVAL;
	cold_enter(ns, &c);
	e = registry_set_perm(ns, who, &r, buf->shm_perm.uid, buf->shm_perm.gid, buf->shm_perm.mode, 0, 0);
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

static int shm_remove(struct ipc_ns *ns, int who, int id)
{
	char name[24];
	struct cold c;
	struct row r;
	int e;

	if (ns->wire)
		return wire_shmctl(ns, id, IPC_RMID, NULL, false);
	slots_sweep(ns, who);
	e = call_owned_row(ns, KIND_SHM, id, &r);
	if (e)
		return e;
	cold_enter(ns, &c);
	object_removing(ns, KIND_SHM, r.v[R_FILE]);
	e = registry_remove(ns, who, &r, true);
	if (!e) {
		object_name(name, KIND_SHM, (int)r.v[R_FILE]);
		file_remove(ns, name);
	}
	object_made(ns);
	shm_kept_sweep(ns);
	if (e >= 0)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

static int shm_lock(struct ipc_ns *ns, int who, int id, bool lock)
{
	uint32_t cell = row_cell(KIND_SHM, ID_INDEX(id), R_MODE), mode;
	struct rlimit limit;
	struct perm p;
	struct cold c;
	struct row r;
	struct txn t;
	int e = registry_read(ns, KIND_SHM, id, &r);

	if (e)
		return e;
	p = row_perm(&r);
	if (!creds_capable(CAP_IPC_LOCK)) {
		if (creds_get()->uid != p.uid && creds_get()->uid != p.cuid)
			return -EPERM;
		if (lock && !ns->base && (getrlimit(RLIMIT_MEMLOCK, &limit) || !limit.rlim_cur))
			return -EPERM;
		if (lock && !ns->base && !(r.v[R_MODE] & SHM_LOCKED) && (row_size(&r) + PAGE - 1) / PAGE > limit.rlim_cur / PAGE)
			return -ENOMEM;
	}
	cold_enter(ns, &c);
	e = shm_segment_lock(ns, id, lock);
	if (!e && ns->wire) {
		e = wire_shmctl(ns, id, lock ? SHM_LOCK : SHM_UNLOCK, NULL, false);
		cold_leave(ns, &c);
		return e;
	}
	if (!e)
		do {
			txn_begin(&t, &ns->reg, (uint32_t)who);
			mode = area_value(&ns->reg, cell);
			txn_set(&t, cell, lock ? mode | SHM_LOCKED : mode & ~(uint32_t)SHM_LOCKED);
			row_touch(&t, KIND_SHM, ID_INDEX(id));
		} while (!txn_commit(&t));
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

int ipc_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf)
{
	int who = ns_enter(ns), e;

	if (who < 0)
		return (int)call_result(who);
	if (cmd < 0 || id < 0)
		return (int)call_result(-EINVAL);
	switch (cmd) {
	case IPC_INFO:
	case SHM_INFO:
		e = shm_info(ns, who, cmd, buf);
		break;
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		e = shm_stat(ns, who, id, cmd, buf);
		break;
	case IPC_SET:
		e = shm_set(ns, who, id, buf);
		break;
	case IPC_RMID:
		e = shm_remove(ns, who, id);
		break;
	case SHM_LOCK:
	case SHM_UNLOCK:
		e = shm_lock(ns, who, id, cmd == SHM_LOCK);
		break;
	default:
		e = -EINVAL;
	}
	return (int)call_result(e);
}
