/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients ask for, performed by the same public calls that a process makes for itself, on the client's view and
 * with its credentials. Sizes and numbers in a request are checked here before anything is read or allotted by them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "call.h"
#include "inspect.h"
#include "obj_msg.h"
#include "obj_sem.h"
#include "obj_shm.h"
#include "registry.h"
#include "route_call.h"
#include "serve.h"

__thread struct call *serve_current;

#define ARG(i) (k->request.arg[i])
#define REPEATED (k->request.flags & WIRE_REPEATED)
#define ENDED (k->request.flags & WIRE_ENDED)

static struct ipc_ns *view_of(const struct call *k)
{
	return k->conn->client->view;
}

/* The public calls' convention back to ours. */
static long result(long r)
{
	return r < 0 ? -errno : r;
}

/* Room for the reply's payload. */
static void *room(struct call *k, size_t size)
{
	free(k->buffer);
	k->buffer = calloc(1, size ? size : 1);
	return k->buffer;
}

static void payload(struct call *k, char *from, size_t size)
{
	k->out = from;
	k->out_size = (uint32_t)size;
}

static long perform_get(struct call *k)
{
	struct ipc_ns *v = view_of(k);
	key_t key = (key_t)ARG(1);

	switch (ARG(0)) {
	case KIND_SHM:
		return result(ipc_shmget(v, key, (size_t)ARG(2), (int)ARG(3)));
	case KIND_SEM:
		return result(ipc_semget(v, key, (int)ARG(2), (int)ARG(3)));
	case KIND_MSG:
		return result(ipc_msgget(v, key, (int)ARG(3)));
	}
	return -EPROTO;
}

/* A control area is for its owner. */
static long perform_open(struct call *k)
{
	enum kind kind = (enum kind)ARG(0);
	struct obj *o;
	struct row r;
	char name[24];
	int e, fd;

	if (ARG(0) != KIND_SEM && ARG(0) != KIND_MSG)
		return -EPROTO;
	e = registry_read(view_of(k), kind, (int)ARG(1), &r);
	if (e)
		return e;
	if (r.v[R_UID] != k->from.uid)
		return -EXDEV;
	e = object_open(view_of(k), kind, (int)ARG(1), (int)k->conn->who, &o); /* noted, before it is touched */
	if (e)
		return e;
	object_name(name, kind, (int)r.v[R_FILE]);
	fd = opener_open(k->server, name, O_RDWR);
	if (fd < 0)
		return fd == -ENOENT ? -EIDRM : fd;
	k->fd[k->fds++] = fd;
	return 0;
}

/* ---- semaphores ---- */

/* What is left until a deadline; nothing, if it has passed. */
static struct timespec until(int64_t s, int64_t ns)
{
	struct timespec now, left = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (s < now.tv_sec || (s == now.tv_sec && ns <= now.tv_nsec))
		return left;
	left.tv_sec = s - now.tv_sec;
	left.tv_nsec = ns - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_sec--;
		left.tv_nsec += 1000000000;
	}
	return left;
}

/* One that slept while there was no daemon: it still does, or has been performed. */
static long resume_semop(struct call *k, int id, const struct timespec *deadline)
{
	int who = (int)k->conn->who, e, moves = 0;
	struct obj *o;

	do {
		e = object_open(view_of(k), KIND_SEM, id, who, &o);
		if (!e)
			e = sem_set_resume(view_of(k), who, o, id, deadline);
	} while (e == -EIDRM && moves++ < CALL_MOVES && object_moved(view_of(k), KIND_SEM, id, object_used));
	return e == -EINVAL ? -EIDRM : e; /* it has been removed since the call was made */
}

static long perform_semop(struct call *k)
{
	size_t nsops = (size_t)ARG(1);
	struct sembuf *sops;
	struct timespec left, deadline = { ARG(3), ARG(4) };
	long r = -ENOENT;

	if (ARG(1) < 1 || ARG(1) > SEMOPM_MAX || k->size != nsops * sizeof *sops ||
	    (ARG(2) && (ARG(4) < 0 || ARG(4) >= 1000000000)))
		return -EPROTO;
	sops = malloc(k->size);
	if (!sops)
		return -ENOMEM;
	memcpy(sops, k->payload, k->size);
	left = until(ARG(3), ARG(4));
	if (REPEATED)
		r = resume_semop(k, (int)ARG(0), ARG(2) ? &deadline : NULL);
	if (r == -ENOENT && REPEATED && ENDED)
		r = -EINTR;
	if (r == -ENOENT)
		r = result(ipc_semtimedop(view_of(k), (int)ARG(0), sops, nsops, ARG(2) ? &left : NULL));
	free(sops);
	return r;
}

static uint32_t set_size(struct call *k, int id)
{
	struct row r;

	return registry_read(view_of(k), KIND_SEM, id, &r) ? 0 : r.v[R_SIZE];
}

static long perform_semctl(struct call *k)
{
	int id = (int)ARG(0), num = (int)ARG(1), cmd = (int)ARG(2);
	struct ipc_ns *v = view_of(k);
	struct semid_ds ds;
	void *p;
	uint32_t n;
	long r;

	switch (cmd) {
	case SETVAL:
		return result(ipc_semctl(v, id, num, cmd, (int)ARG(3)));
	case SETALL:
		n = set_size(k, id);
		if (n && k->size != n * sizeof(short))
			return -EINVAL; /* of the set that was there a moment ago */
		p = malloc(k->size + 1);
		if (!p)
			return -ENOMEM;
		memcpy(p, k->payload, k->size);
		r = n ? result(ipc_semctl(v, id, num, cmd, p)) : -EINVAL;
		free(p);
		return r;
	case GETALL:
		n = set_size(k, id);
		p = room(k, n * sizeof(short));
		if (!p)
			return -ENOMEM;
		r = n ? result(ipc_semctl(v, id, num, cmd, p)) : -EINVAL;
		if (r >= 0)
			payload(k, p, n * sizeof(short));
		return r;
	case IPC_SET:
		if (k->size != sizeof ds)
			return -EPROTO;
		memcpy(&ds, k->payload, sizeof ds);
		return result(ipc_semctl(v, id, num, cmd, &ds));
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		p = room(k, sizeof ds);
		if (!p)
			return -ENOMEM;
		r = result(ipc_semctl(v, id, num, cmd, p));
		if (r >= 0)
			payload(k, p, sizeof ds);
		return r;
	case IPC_RMID:
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
		return result(ipc_semctl(v, id, num, cmd, 0));
	}
	return -EPROTO;
}

/* ---- messages ---- */

/* msg: a receiver's */
static long resume_on_queue(struct call *k, int id, bool sends, void *msg, size_t size, long type, int flags)
{
	int who = (int)k->conn->who, moves = 0;
	struct obj *o;
	long r;

	do {
		r = object_open(view_of(k), KIND_MSG, id, who, &o);
		if (!r && sends)
			r = msg_queue_send_resume(view_of(k), who, o, id);
		else if (!r)
			r = msg_queue_receive_resume(view_of(k), who, o, id, msg, size, type, flags);
	} while (r == -EIDRM && moves++ < CALL_MOVES && object_moved(view_of(k), KIND_MSG, id, object_used));
	return r;
}

static long resume_message(struct call *k, void *msg, size_t size)
{
	long r = resume_on_queue(k, (int)ARG(0), k->request.op == WIRE_MSGSND, msg, size, (long)ARG(2), (int)ARG(3));

	if (r == -ENOENT && ENDED)
		return -EINTR;
	return r == -EINVAL ? -EIDRM : r == -MSG_AGAIN ? -ENOENT : r;
}

static long perform_msgsnd(struct call *k)
{
	long type = (long)ARG(1), r = -ENOENT;
	char *msg;

	if (REPEATED)
		r = resume_message(k, NULL, 0);
	if (r != -ENOENT)
		return r;
	msg = malloc(sizeof type + k->size);
	if (!msg)
		return -ENOMEM;
	memcpy(msg, &type, sizeof type);
	memcpy(msg + sizeof type, k->payload, k->size);
	r = result(ipc_msgsnd(view_of(k), (int)ARG(0), msg, k->size, (int)ARG(2)));
	free(msg);
	return r;
}

static long perform_msgrcv(struct call *k)
{
	size_t size = ARG(1) < 0 ? 0 : ARG(1) > WIRE_LARGE ? WIRE_LARGE : (size_t)ARG(1);
	bool bad = ARG(4);
	char *msg = NULL;
	long r = -ENOENT;

	free(k->buffer);
	k->buffer = NULL;
	if (!bad) {
		msg = k->buffer = malloc(sizeof(long) + size);
		if (!msg)
			return -ENOMEM;
	}
	if (REPEATED)
		r = resume_message(k, msg, size);
	if (r == -ENOENT)
		r = result(ipc_msgrcv(view_of(k), (int)ARG(0), msg, size, (long)ARG(2), (int)ARG(3)));
	if (r >= 0 && msg) {
		long type;

		memcpy(&type, msg, sizeof type);
		k->reply.value[0] = type;
		payload(k, msg + sizeof type, (size_t)r);
	}
	return r;
}

static long perform_msgctl(struct call *k)
{
	int id = (int)ARG(0), cmd = (int)ARG(1);
	struct msqid_ds ds;
	size_t size = cmd == MSG_INFO ? sizeof(struct msginfo) : sizeof ds;
	void *p;
	long r;

	if (cmd == IPC_RMID)
		return result(ipc_msgctl(view_of(k), id, cmd, NULL));
	if (cmd == IPC_SET) {
		if (k->size != sizeof ds)
			return -EPROTO;
		memcpy(&ds, k->payload, sizeof ds);
		return result(ipc_msgctl(view_of(k), id, cmd, &ds));
	}
	p = room(k, size);
	if (!p)
		return -ENOMEM;
	r = result(ipc_msgctl(view_of(k), id, cmd, p));
	if (r >= 0)
		payload(k, p, size);
	return r;
}

/* ---- shared memory ---- */

static long perform_shmctl(struct call *k)
{
	int id = (int)ARG(0), cmd = (int)ARG(1);
	struct shmid_ds ds;
	size_t size = cmd == SHM_INFO ? sizeof(struct shm_info) : sizeof ds;
	void *p;
	long r;

	if (cmd == IPC_RMID || cmd == SHM_LOCK || cmd == SHM_UNLOCK)
		return result(ipc_shmctl(view_of(k), id, cmd, NULL));
	if (cmd == IPC_SET) {
		if (k->size != sizeof ds)
			return -EPROTO;
		memcpy(&ds, k->payload, sizeof ds);
		return result(ipc_shmctl(view_of(k), id, cmd, &ds));
	}
	p = room(k, size);
	if (!p)
		return -ENOMEM;
	r = result(ipc_shmctl(view_of(k), id, cmd, p));
	if (r >= 0)
		payload(k, p, size);
	return r;
}

static long perform_attach(struct call *k)
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

/* A slot that this process may add to: its own, or that of a child which it is making. */
static struct ipc_ns *own_or_childs(struct call *k, uint32_t tag)
{
	struct ipc_ns *v = view_of(k), *child = NULL;
	struct slot_row *r = &v->slots->row[SLOT_OF(tag)];
	uint64_t word = atomic_load(&r->word);

	if (!tag || tag == v->tag)
		return v;
	pthread_mutex_lock(&k->server->lock);
	if (k->server->client[SLOT_OF(tag)] && k->server->client[SLOT_OF(tag)]->tag == tag &&
	    WORD_STATE(word) == SLOT_NEWBORN && WORD_PID(word) == v->pid)
		child = k->server->client[SLOT_OF(tag)]->view;
	pthread_mutex_unlock(&k->server->lock);
	return child;
}

/* Is the segment mapped there? What the kernel says; nothing, if it does not tell us. */
static bool has_mapped(pid_t pid, uint32_t file)
{
	char path[40], name[24], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	object_name(name, KIND_SHM, (int)file);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof line, f))
		found = strstr(line, name);
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
	return !perm_check(&p, 0444) || has_mapped(v->pid, r.v[R_FILE]);
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

static long perform_attached(struct call *k)
{
	uint32_t n = k->size / 4, *records;
	struct ipc_ns *to = own_or_childs(k, (uint32_t)ARG(0));
	long e = 0;
	int id;

	if (!to || k->size % 4 || (!n && !ARG(1)))
		return -EPROTO;
	records = room(k, k->size);
	if (!records)
		return -ENOMEM;
	if (ARG(1))
		e = attached_again(k, records, n);
	for (uint32_t i = 0; i < n && !e && !ARG(1); i++) {
		memcpy(&id, k->payload + 4 * i, 4);
		e = may_say_attached(k, to, id) ?
			    attach_add(to, (int)k->conn->who, to->tag, id, view_of(k)->pid, &records[i]) : -EACCES;
	}
	if (!e)
		payload(k, k->buffer, k->size);
	return e;
}

static long perform_detach(struct call *k)
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

static long perform_resident(struct call *k)
{
	struct row r;
	int e = registry_read(view_of(k), KIND_SHM, (int)ARG(0), &r);

	k->reply.value[0] = e ? 0 : (int64_t)shm_segment_resident(view_of(k), &r);
	return e;
}

/* ---- the rest ---- */

static long perform_undo(struct call *k)
{
	struct ipc_ns *v = view_of(k);
	struct cold c;

	cold_enter(v, &c);
	reap_own_undo(v, (int)k->conn->who);
	cold_leave(v, &c);
	return 0;
}

static long perform_limit(struct call *k)
{
	if (ARG(0) < 0 || ARG(0) >= LIMITS)
		return -EPROTO;
	if (k->from.uid && k->from.uid != k->server->ns->owner)
		return -EPERM;
	return result(ipc_limit_set(view_of(k), limit_info[ARG(0)].name, (unsigned long long)ARG(1)));
}

static long perform_quota(struct call *k)
{
	uint64_t value;

	if (ARG(0) < 0 || ARG(0) >= LIMITS || !limit_has_quota((enum limit)ARG(0)))
		return -EPROTO;
	k->reply.value[1] = (int64_t)quota_used(k->server->ns, k->from.uid, (enum limit)ARG(0), &value);
	k->reply.value[0] = (int64_t)value;
	return 0;
}

/* Everybody gets what *_STAT_ANY tells; the rest is for those who may read the object, and for this daemon's user. */
static int may_inspect(struct call *k, enum kind kind, int id, enum inspect_what what)
{
	struct perm p;
	struct row r;
	int e = registry_read(view_of(k), kind, id, &r);

	if (e || what == INSPECT_STATE || k->from.uid == k->server->ns->owner)
		return e;
	p = row_perm(&r);
	return perm_check(&p, 0444);
}

/* The daemon looks, so the client's slot notes nothing. */
static long perform_inspect(struct call *k)
{
	static const size_t size[] = { [INSPECT_STATE] = sizeof(struct inspect_state), [INSPECT_VALUES] = sizeof(uint16_t),
				       [INSPECT_COUNTS] = sizeof(struct inspect_counts),
				       [INSPECT_WAITERS] = sizeof(struct inspect_waiter),
				       [INSPECT_UNDO] = sizeof(struct inspect_undo) };
	struct ipc_ns *ns = k->server->ns;
	enum inspect_what what = (enum inspect_what)ARG(0);
	enum kind kind = (enum kind)ARG(1);
	int id = (int)ARG(2), most = (int)ARG(4), who = ns_enter(ns), n;
	void *out;

	if (ARG(0) < 0 || ARG(0) > INSPECT_UNDO || (ARG(1) != KIND_SEM && ARG(1) != KIND_MSG) ||
	    ARG(4) < (what == INSPECT_STATE ? 1 : 0) ||
	    ARG(4) > (what == INSPECT_COUNTS ? INSPECT_COUNTS_ROOM : what == INSPECT_STATE ? 1 : INSPECT_ROOM) ||
	    (kind == KIND_MSG && what != INSPECT_STATE && what != INSPECT_WAITERS))
		return -EPROTO;
	n = who < 0 ? who : may_inspect(k, kind, id, what);
	if (n)
		return n;
	out = room(k, size[what] * (size_t)most);
	if (!out)
		return -ENOMEM;
	if (what == INSPECT_STATE)
		n = inspect_state(ns, who, kind, id, out) ? -EIDRM : 1;
	else if (what == INSPECT_VALUES)
		n = inspect_values(ns, who, id, out, most);
	else if (what == INSPECT_COUNTS)
		n = inspect_counts(ns, who, id, (uint32_t)ARG(3), out, most);
	else if (what == INSPECT_WAITERS)
		n = inspect_waiters(ns, who, kind, id, out, most);
	else
		n = inspect_undo(ns, who, id, out, most);
	if (n > 0)
		payload(k, out, size[what] * (size_t)(n < most ? n : most));
	return n;
}

/* A request that slept when its daemon ended, and whose client has given it up since. */
static long perform_left(struct call *k)
{
	if (ARG(0) != WIRE_SEMOP && ARG(0) != WIRE_MSGSND && ARG(0) != WIRE_MSGRCV)
		return -EPROTO;
	wait_serial = (uint64_t)ARG(2);
	wait_ended = true;
	if (ARG(0) == WIRE_SEMOP)
		resume_semop(k, (int)ARG(1), NULL);
	else
		resume_on_queue(k, (int)ARG(1), ARG(0) == WIRE_MSGSND, NULL, 0, 0, 0);
	return 0;
}

static long perform(struct call *k)
{
	switch (k->request.op) {
	case WIRE_GET:
		return perform_get(k);
	case WIRE_OPEN:
		return perform_open(k);
	case WIRE_SEMOP:
		return perform_semop(k);
	case WIRE_SEMCTL:
		return perform_semctl(k);
	case WIRE_SHMCTL:
		return perform_shmctl(k);
	case WIRE_MSGCTL:
		return perform_msgctl(k);
	case WIRE_MSGSND:
		return perform_msgsnd(k);
	case WIRE_MSGRCV:
		return perform_msgrcv(k);
	case WIRE_ATTACH:
		return perform_attach(k);
	case WIRE_ATTACHED:
		return perform_attached(k);
	case WIRE_DETACH:
		return perform_detach(k);
	case WIRE_FORK:
		return client_fork(k);
	case WIRE_NAMED:
		client_named(k);
		return 0;
	case WIRE_UNDO:
		return perform_undo(k);
	case WIRE_RESIDENT:
		return perform_resident(k);
	case WIRE_LIMIT:
		return perform_limit(k);
	case WIRE_QUOTA:
		return perform_quota(k);
	case WIRE_INSPECT:
		return perform_inspect(k);
	case WIRE_SETTLE:
		slots_sweep(view_of(k), (int)k->conn->who);
		area_idle(&k->server->ns->reg);
		return 0;
	case WIRE_LEFT:
		return perform_left(k);
	case WIRE_BYE:
		atomic_store(&k->server->thread[k->conn->who], 0);
		reply_forget(k->server, k->conn->who);
		who_give(view_of(k), k->conn->who);
		k->conn->who = 0;
		return 0;
	}
	return -EPROTO;
}

/* ---- the last reply ---- */

static char *put_kept(struct ipc_server *s, uint32_t who, struct kept kept)
{
	char *old;

	pthread_mutex_lock(&s->lock);
	old = s->kept[who].text;
	s->kept[who] = kept;
	pthread_mutex_unlock(&s->lock);
	return old;
}

void reply_forget(struct ipc_server *s, uint32_t who)
{
	free(put_kept(s, who, (struct kept){ 0 }));
}

void reply_keep(struct call *k, long r)
{
	struct kept kept = { .number = k->request.number, .result = r, .type = k->reply.value[0], .size = k->out_size };

	if (k->out_size > WIRE_INLINE ||
	    (k->request.op != WIRE_SEMOP && k->request.op != WIRE_MSGSND && k->request.op != WIRE_MSGRCV &&
	     k->request.op != WIRE_GET))
		return;
	kept.text = k->out_size ? malloc(k->out_size) : NULL;
	if (kept.text)
		memcpy(kept.text, k->out, k->out_size);
	else if (k->out_size)
		kept = (struct kept){ 0 };
	free(put_kept(k->server, k->conn->who, kept));
}

static bool was_performed(struct call *k, long *r)
{
	struct ipc_server *s = k->server;
	struct kept kept;

	pthread_mutex_lock(&s->lock);
	kept = s->kept[k->conn->who];
	if (kept.number)
		s->kept[k->conn->who] = (struct kept){ 0 };
	pthread_mutex_unlock(&s->lock);
	if (!REPEATED || kept.number != k->request.number) {
		free(kept.text);
		return false;
	}
	free(k->buffer);
	k->buffer = kept.text;
	k->reply.value[0] = kept.type;
	payload(k, kept.text, kept.size);
	*r = kept.result;
	return true;
}

/* As the client, for as long as the request takes. */
long call_perform(struct call *k)
{
	struct creds creds = { .uid = k->from.uid, .gid = k->from.gid, .ngroups = k->conn->ngroups,
			       .list = k->conn->groups };
	struct thread self = ipc_thread;
	long r;

	if (k->request.op == WIRE_HELLO)
		return client_hello(k);
	if (!k->conn->client || !k->conn->who || k->from.pid != view_of(k)->pid)
		return -EPROTO;
	if (!client_begins(k->conn->client)) {
		client_ends(k->server, k->conn->client);
		return -EPROTO;
	}
	memmove(&ipc_thread.in[1], &ipc_thread.in[0], sizeof ipc_thread.in[0] * (THREAD_NS - 1));
	ipc_thread.in[0].ns = view_of(k);
	ipc_thread.in[0].generation = view_of(k)->generation;
	ipc_thread.in[0].who = k->conn->who;
	creds_other = &creds;
	wait_serial = k->request.number;
	wait_ended = ENDED;
	if (!was_performed(k, &r))
		r = perform(k);
	if (r != -EINPROGRESS)
		reply_keep(k, r);
	wait_serial = 0;
	wait_ended = false;
	creds_other = NULL;
	ipc_thread = self;
	client_ends(k->server, k->conn->client);
	return r;
}
