/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared memory's requests. Attaching gives a descriptor and a record; pieces that came about without a call, a forked
 * child's, and those from before the registry was lost the client tells, and is believed as far as he could have attached
 * them himself, or has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach.h"
#include "obj_shm.h"
#include "registry.h"
#include "serve_call.h"

static int control(ipc_ns *ns, int id, int cmd, void *buf)
{
	return ipc_shmctl(ns, id, cmd, buf);
}

long perform_shmctl(struct call *k)
{
	int cmd = (int)ARG(1);

	return perform_control(k, control, cmd == IPC_RMID || cmd == SHM_LOCK || cmd == SHM_UNLOCK, sizeof(struct shmid_ds),
			       cmd == SHM_INFO ? sizeof(struct shm_info) : sizeof(struct shmid_ds));
}

long perform_attach(struct call *k)
{
	struct ipc_ns *v = view_of(k);
	int id = (int)ARG(0), flags = (int)ARG(1), who = (int)k->conn->who, fd, e;
	uint32_t record;
	char name[24];
	struct perm p;
	struct cold c;
	struct row r;

	e = registry_read(v, KIND_SHM, id, &r);
	if (!e && ROW_STATE(r.v[R_STATE]) == ROW_DEST) {
		slots_sweep(v, who); /* its last holder may be dead */
		e = registry_read(v, KIND_SHM, id, &r);
	}
	if (e)
		return e;
	p = row_perm(&r);
	e = perm_check(&p, (flags & SHM_RDONLY ? 0444u : 0666u) | (flags & SHM_EXEC ? 0111 : 0));
	if (e)
		return e;
	if (!(flags & SHM_RDONLY) && !opener_trusts(k->server, p.uid, k->from.uid))
		return -EACCES;
	object_name(name, KIND_SHM, (int)r.v[R_FILE]);
	cold_enter(v, &c);
	fd = opener_open(k->server, name, flags & SHM_RDONLY ? O_RDONLY : O_RDWR);
	if (fd == -ENOENT)
		fd = -EIDRM;
	e = fd < 0 ? fd : attach_add(v, who, v->tag, id, v->pid, &record);
	cold_leave(v, &c);
	if (e) {
		if (fd >= 0)
			close(fd);
		return e;
	}
	k->fd[k->fds++] = fd;
	k->reply.value[0] = (int64_t)row_size(&r);
	k->reply.value[1] = r.v[R_MODE];
	k->reply.value[2] = record;
	return 0;
}

/* Has the slot a record for the segment? */
static bool has_attached(struct ipc_ns *ns, uint32_t tag, int id)
{
	uint32_t record;
	uint64_t x;
	bool found;

	do {
		uint32_t steps = 0;

		x = area_idle(&ns->reg);
		found = false;
		record = area_value(&ns->reg, att_head(SLOT_OF(tag)));
		for (; record && record <= att_high(&ns->reg) && !found && steps < ATT_MAX; steps++) {
			found = area_value(&ns->reg, att_cell(record - 1, A_SEG)) == ID_INDEX(id) + 1 &&
				area_value(&ns->reg, att_cell(record - 1, A_COUNT)) == ID_SEQ(id);
			record = area_value(&ns->reg, att_cell(record - 1, A_NEXT));
		}
	} while (!area_unmoved(&ns->reg, x));
	return found;
}

static void end_adding(struct call *k, struct client *c)
{
	if (c != k->conn->client)
		client_ends(k->server, c);
	client_put(k->server, c);
}

/* A slot that this process may add to: its own, or that of a child which it is making; until end_adding. */
static struct client *own_or_childs(struct call *k, uint32_t tag)
{
	struct client *own = k->conn->client, *c = client_get(k->server, tag ? tag : own->tag);

	if (!c || c == own || client_begins_for_child(c, own->view->pid))
		return c;
	end_adding(k, c);
	return NULL;
}

bool serve_segment_stat(struct ipc_ns *ns, uint32_t file, struct stat *st)
{
	char path[480], name[24];

	object_name(name, KIND_SHM, (int)file);
	return !file_path(ns, path, sizeof path, name) && !lstat(path, st);
}

/* A line of /proc/PID/maps is known by its file, not by a name: anybody may map one of that name. */
bool serve_is_mapping(const char *line, const struct stat *st)
{
	unsigned major_number, minor_number;
	unsigned long long inode;

	return sscanf(line, "%*s %*s %*s %x:%x %llu", &major_number, &minor_number, &inode) == 3 && inode == st->st_ino &&
	       makedev(major_number, minor_number) == st->st_dev;
}

/* Is the segment mapped there? What the kernel says; nothing, if it does not tell us. */
static bool has_mapped(struct ipc_ns *ns, pid_t pid, uint32_t file)
{
	char path[40], line[512];
	bool found = false;
	struct stat st;
	FILE *f;

	if (!serve_segment_stat(ns, file, &st))
		return false;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof line, f))
		found = serve_is_mapping(line, &st);
	if (f)
		fclose(f);
	return found;
}

static bool may_say_attached(struct call *k, struct ipc_ns *to, int id)
{
	struct ipc_ns *v = view_of(k);
	struct perm p;
	struct row r;

	if (registry_read(v, KIND_SHM, id, &r))
		return false;
	if (has_attached(v, v->tag, id) || has_attached(v, to->tag, id))
		return true;
	p = row_perm(&r);
	/* the child of a bare clone, whose parent's slot is not known; or after the registry was lost */
	return !perm_check(&p, 0444) || has_mapped(v, v->pid, r.v[R_FILE]);
}

/* What the kernel said of a process that now says it itself; its records, to be dropped. */
static uint32_t *counted_before(struct ipc_ns *ns, uint32_t tag, uint32_t *n)
{
	uint32_t room = 64, *list = malloc(room * sizeof *list);
	uint32_t record = area_value(&ns->reg, att_head(SLOT_OF(tag)));

	for (*n = 0; list && record && record <= att_high(&ns->reg) && *n < ATT_MAX; (*n)++) {
		uint32_t *more = *n == room ? realloc(list, (size_t)(room *= 2) * sizeof *list) : list;

		if (!more)
			break;
		list = more;
		list[*n] = record;
		record = area_value(&ns->reg, att_cell(record - 1, A_NEXT));
	}
	return list;
}

static long attached_again(struct call *k, uint32_t *records, uint32_t n)
{
	struct ipc_ns *v = view_of(k);
	int who = (int)k->conn->who, id;
	uint32_t old_n = 0, *old = ARG(1) == WIRE_AGAIN ? counted_before(v, v->tag, &old_n) : NULL;
	struct cold c;

	for (uint32_t i = 0; i < n; i++) {
		memcpy(&id, k->payload + 4 * i, 4);
		if (!may_say_attached(k, v, id) || attach_add(v, who, v->tag, id, v->pid, &records[i]))
			records[i] = 0;
	}
	cold_enter(v, &c);
	for (uint32_t i = 0; old && i < old_n; i++)
		attach_drop(v, who, v->tag, old[i], v->pid);
	cold_leave(v, &c);
	free(old);
	if (ARG(2))
		client_declared(k->server, k->conn->client);
	return 0;
}

long perform_attached(struct call *k)
{
	uint32_t n = k->size / 4, *records = NULL;
	struct client *to = own_or_childs(k, (uint32_t)ARG(0));
	long e = 0;
	int id;

	if (!to || k->size % 4 || (!n && !ARG(1)) || n > ATT_MAX)
		e = -EPROTO;
	if (!e && !(records = calloc(n + 1, sizeof *records)))
		e = -ENOMEM;
	if (!e && ARG(1))
		e = attached_again(k, records, n);
	for (uint32_t i = 0; i < n && !e && !ARG(1); i++) {
		memcpy(&id, k->payload + 4 * i, 4);
		e = may_say_attached(k, to->view, id) ?
			    attach_add(to->view, (int)k->conn->who, to->tag, id, view_of(k)->pid, &records[i]) : -EACCES;
	}
	if (to)
		end_adding(k, to);
	if (records) { /* the ids were read from what may have been in it */
		free(k->buffer);
		k->buffer = (char *)records;
	}
	if (!e)
		payload(k, k->buffer, k->size);
	return e;
}

long perform_detach(struct call *k)
{
	struct ipc_ns *v = view_of(k);
	struct cold c;

	if (ARG(0) < 1 || ARG(0) > ATT_MAX)
		return -EPROTO;
	if ((ino_t)ARG(1) != k->server->ns->table)
		return -ESTALE;
	cold_enter(v, &c);
	attach_drop(v, (int)k->conn->who, v->tag, (uint32_t)ARG(0), v->pid); /* if it is one of this slot's */
	cold_leave(v, &c);
	return 0;
}

long perform_resident(struct call *k)
{
	struct row r;
	int e = registry_read(view_of(k), KIND_SHM, (int)ARG(0), &r);

	k->reply.value[0] = e ? 0 : (int64_t)shm_segment_resident(view_of(k), &r);
	return e;
}
