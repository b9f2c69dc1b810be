/* SPDX-License-Identifier: BSD-2-Clause */
/* One object as all commands see it: its row, what its control area adds, who waits, whose undo is pending. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/shm.h>

#include "ctl.h"

static uint32_t later(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* How many processes have adjustments pending; a process may have several. */
static int undo_processes(struct ctl *c, int id)
{
	static struct inspect_undo u[ROOM];
	int n = inspect_undo(c->ns, c->who, id, u, ROOM), count = 0;

	for (int i = 0; i < n && i < ROOM; i++)
		count += !i || u[i].pid != u[i - 1].pid;
	return count;
}

static void look_waiters(struct ctl *c, struct object *o)
{
	static struct inspect_waiter w[ROOM];
	int n = inspect_waiters(c->ns, c->who, o->row.kind, o->id, w, ROOM);

	o->hidden = n == -EACCES;
	o->waiting = n < 0 ? 0 : n;
	for (int i = 0; i < n && i < ROOM; i++)
		if (w[i].waited > o->longest)
			o->longest = w[i].waited;
}

bool object_look(struct ctl *c, const struct row *r, struct object *o)
{
	struct inspect_state state;
	int e;

	memset(o, 0, sizeof *o);
	o->row = *r;
	o->id = row_id(r);
	o->changed = r->v[R_CTIME];
	o->changes = -1;
	if (r->kind == KIND_SHM)
		return true;
	e = inspect_state(c->ns, c->who, r->kind, o->id, &state);
	if (e) {
		struct row again;

		o->damaged = true;
		return !registry_read(c->ns, r->kind, o->id, &again);
	}
	o->sem = state.sem;
	o->msg = state.msg;
	o->changes = state.changes;
	o->changed = later(o->changed, r->kind == KIND_SEM ? o->sem.ctime : o->msg.ctime);
	look_waiters(c, o);
	o->undo = r->kind == KIND_SEM && !o->hidden ? undo_processes(c, o->id) : 0;
	return true;
}

int objects_each(struct ctl *c, enum kind kind, object_visit *visit, void *arg)
{
	uint32_t in_use, last = registry_max_index(c->ns, kind, &in_use);
	struct object o;
	struct row r;
	int result = 0;

	for (uint32_t i = 0; !result && in_use && i <= last; i++)
		if (!registry_read_index(c->ns, kind, i, &r) && object_look(c, &r, &o))
			result = visit(c, &o, arg);
	return result;
}

/* null where it is not known */
static void json_known(const struct object *o, const char *key, int value)
{
	if (o->hidden)
		json_null(key);
	else
		json_int(key, value);
}

void object_json(const struct object *o)
{
	const uint32_t *v = o->row.v;
	char text[16];

	json_int("id", o->id);
	snprintf(text, sizeof text, "0x%08x", v[R_KEY]);
	json_text("key", text);
	json_uint("uid", v[R_UID]);
	json_uint("gid", v[R_GID]);
	json_text("owner", owner_name(v[R_UID]));
	snprintf(text, sizeof text, "%04o", v[R_MODE] & 0777);
	json_text("mode", text);
	json_uint("creator_pid", v[R_CPID]);
	if (o->damaged) {
		json_bool("damaged", true);
		return;
	}
	if (o->row.kind == KIND_SHM) {
		json_uint("bytes", row_size(&o->row));
		json_uint("attached", v[R_NATTCH]);
		json_uint("last_pid", v[R_LPID]);
		json_bool("removed", ROW_STATE(v[R_STATE]) == ROW_DEST);
		json_bool("locked", v[R_MODE] & SHM_LOCKED);
		json_uint("attach_time", v[R_ATIME]);
		json_uint("detach_time", v[R_DTIME]);
	} else if (o->row.kind == KIND_SEM) {
		json_uint("semaphores", v[R_SIZE]);
		json_known(o, "waiting", o->waiting);
		json_known(o, "undo", o->undo);
		json_uint("op_time", o->sem.otime);
	} else {
		json_uint("messages", o->msg.qnum);
		json_uint("bytes", o->msg.cbytes);
		json_uint("limit", v[R_SIZE]);
		json_known(o, "waiting", o->waiting);
		json_uint("send_pid", o->msg.lspid);
		json_uint("receive_pid", o->msg.lrpid);
		json_uint("send_time", o->msg.stime);
		json_uint("receive_time", o->msg.rtime);
	}
	json_uint("change_time", o->changed);
}

static void sem_wish(const struct inspect_waiter *w, char *out, size_t size)
{
	size_t at = 0;

	*out = 0;
	for (uint32_t i = 0; i < w->nsops && i < REQ_SOPS && at < size; i++) {
		at += (size_t)snprintf(out + at, size - at, "%ssemaphore %u ", i ? ", " : "", w->sop[i].num);
		if (at < size && w->sop[i].op)
			at += (size_t)snprintf(out + at, size - at, "%+d%s", w->sop[i].op,
					       w->sop[i].flg & SEM_UNDO ? " with undo" : "");
		else if (at < size)
			at += (size_t)snprintf(out + at, size - at, "is zero");
	}
	if (w->nsops > REQ_SOPS && at < size)
		snprintf(out + at, size - at, ", and %u more", w->nsops - REQ_SOPS);
}

void wish_text(enum kind kind, const struct inspect_waiter *w, char *out, size_t size)
{
	if (kind == KIND_SEM)
		sem_wish(w, out, size);
	else if (w->sends)
		snprintf(out, size, "sends %llu bytes", (unsigned long long)w->size);
	else if (!w->type)
		snprintf(out, size, "receives any message");
	else if (w->type < 0)
		snprintf(out, size, "receives the lowest type up to %lld",
			 w->type == LONG_MIN ? LLONG_MAX : -(long long)w->type);
	else
		snprintf(out, size, "receives type %s%lld", w->flags & MSG_EXCEPT ? "other than " : "",
			 (long long)w->type);
}

int processes_count(struct ctl *c)
{
	return inspect_processes(c->ns, NULL, 0);
}
