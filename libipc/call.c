/* SPDX-License-Identifier: BSD-2-Clause */
/* What the *get and *ctl calls of the three families share; opening and closing a namespace; limits. */
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

#include "call.h"
#include "libipc.h"
#include "route_call.h"

static int existing(struct get *g, const struct row *r)
{
	struct perm p = row_perm(r);

	if (g->flags & IPC_CREAT && g->flags & IPC_EXCL)
		return -EEXIST;
	if (g->kind != KIND_MSG && g->size > row_size(r))
		return -EINVAL;
	int e = perm_check(&p, (uint32_t)g->flags & 0777);

	return e ? e : row_id(r);
}

/* A daemon's log tells it. There never are large pages: that is no want of memory. */
static int no_memory(struct ipc_ns *ns, const struct get *g, int e)
{
	if (e == -ENOMEM && ns->refused && !(g->kind == KIND_SHM && g->flags & SHM_HUGETLB))
		ns->refused(ns, g->kind, LIMITS, false);
	return e;
}

static int create(struct ipc_ns *ns, int who, struct get *g)
{
	const struct creds *c = creds_get();
	struct row r = { .kind = g->kind };
	char name[24];
	uint32_t file;
	int e;

	e = g->create(g, ns, &file);
	if (e)
		return no_memory(ns, g, e);
	r.v[R_KEY] = (uint32_t)g->key;
	r.v[R_MODE] = ((uint32_t)g->flags & 0777) | g->mode;
	r.v[R_UID] = r.v[R_CUID] = c->uid;
	r.v[R_GID] = r.v[R_CGID] = c->gid;
	r.v[R_SIZE] = g->row_size;
	r.v[R_SIZE_HI] = g->row_size_hi;
	r.v[R_FILE] = file;
	r.v[R_CTIME] = now_seconds();
	r.v[R_CPID] = (uint32_t)ns->pid;
	e = registry_add(ns, who, &r);
	if (e) {
		object_name(name, g->kind, (int)file);
		file_remove(ns, name);
	}
	object_made(ns);
	if (e)
		return no_memory(ns, g, e);
	e = registry_sync(ns, who);
	if (e) { /* what can't be stored is not made */
		object_removing(ns, g->kind, file);
		registry_remove(ns, who, &r, false);
		object_name(name, g->kind, (int)file);
		file_remove(ns, name);
		object_made(ns);
	}
	return e ? e : row_id(&r);
}

int call_get(struct ipc_ns *ns, int who, struct get *g)
{
	struct cold c;
	struct row r;
	int e;

	for (;;) {
		if (g->key != IPC_PRIVATE && !registry_find(ns, g->kind, g->key, &r))
			return existing(g, &r);
		if (g->key != IPC_PRIVATE && !(g->flags & IPC_CREAT))
			return -ENOENT;
		if (ns->wire)
			return wire_get(ns, g->kind, g->key, g->size, g->flags);
		slots_sweep(ns, who);
		cold_enter(ns, &c);
		e = create(ns, who, g);
		cold_leave(ns, &c);
		if (e != -EEXIST)
			return e;
	}
}

void call_fill_perm(struct ipc_perm *p, const struct row *r)
{
	memset(p, 0, sizeof *p);
	p->__key = (key_t)r->v[R_KEY];
	p->uid = r->v[R_UID];
	p->gid = r->v[R_GID];
	p->cuid = r->v[R_CUID];
	p->cgid = r->v[R_CGID];
	p->mode = (unsigned short)(r->v[R_MODE] & 0xffff);
	p->__seq = (unsigned short)ROW_SEQ(r->v[R_STATE]);
}

int call_stat_row(struct ipc_ns *ns, enum kind kind, int id, bool by_index, bool any, struct row *r)
{
	struct perm p;
	int e;

	if (id < 0)
		return -EINVAL;
	e = by_index ? registry_read_index(ns, kind, (uint32_t)id % IPCMNI, r) : registry_read(ns, kind, id, r);
	if (e || any)
		return e;
	p = row_perm(r);
	return perm_check(&p, 0444);
}

int call_named(struct ipc_ns *ns, enum kind kind, int id, bool by_index)
{
	struct row r;

	if (!by_index || id < 0)
		return id;
	return registry_read_index(ns, kind, (uint32_t)id % IPCMNI, &r) ? -1 : row_id(&r);
}

int call_owned_row(struct ipc_ns *ns, enum kind kind, int id, struct row *r)
{
	int e = registry_read(ns, kind, id, r);
	struct perm p;

	if (e)
		return e;
	p = row_perm(r);
	return perm_owner(&p);
}

ipc_ns *ipc_open(const char *dir, int flags)
{
	struct ipc_ns *ns;
	int e = flags & IPC_OPEN_SOCKET && !dir ? ns_fail(-EINVAL, "a daemon's socket needs a name") : ns_open(dir, flags, &ns);

	if (e) {
		if (!*ns_error)
			ns_fail(e, "cannot open the namespace %s: %s", dir ? dir : "(private)", strerror(-e));
		errno = -e;
		return NULL;
	}
	return ns;
}

const char *ipc_open_error(void)
{
	return ns_error;
}

void ipc_close(ipc_ns *ns)
{
	if (ns)
		ns_close(ns);
}

const char *ipc_directory(const ipc_ns *ns)
{
	return ns->dir;
}

static int limit_named(const char *name)
{
	for (int i = 0; i < LIMITS; i++)
		if (!strcmp(name, limit_info[i].name))
			return i;
	return -1;
}

int ipc_limit_get(ipc_ns *ns, const char *name, unsigned long long *value)
{
	int l = limit_named(name), who = ns->wire ? ns_enter(ns) : 0;

	if (l < 0 || who < 0)
		return (int)call_result(l < 0 ? -EINVAL : who);
	*value = registry_limit(ns, (enum limit)l);
	return 0;
}

int ipc_limit_set(ipc_ns *ns, const char *name, unsigned long long value)
{
	int l = limit_named(name), who = ns_enter(ns), e;
	struct cold c;

	if (who < 0)
		return (int)call_result(who);
	if (l < 0)
		return (int)call_result(-EINVAL);
	if (ns->wire)
		return (int)call_result(wire_limit(ns, l, value));
	cold_enter(ns, &c);
	e = registry_set_limit(ns, who, (enum limit)l, value);
	cold_leave(ns, &c);
	return (int)call_result(e);
}
