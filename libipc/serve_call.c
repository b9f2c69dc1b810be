/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients ask for, performed by the same public calls that a process makes for itself, on the client's view and
 * with its credentials. Sizes and numbers in a request are checked here before anything is read or allotted by them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "inspect.h"
#include "obj_msg.h"
#include "obj_sem.h"
#include "registry.h"
#include "route_call.h"
#include "serve_call.h"

__thread struct call *serve_current;

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

/* What this who number left there, and does not come back for: nobody stands in a list twice. */
static void withdraw(struct call *k, enum kind kind, int id)
{
	struct obj *o;

	if (object_open(view_of(k), kind, id, (int)k->conn->who, &o))
		return;
	if (kind == KIND_SEM)
		sem_set_withdraw(view_of(k), (int)k->conn->who, o);
	else
		msg_queue_withdraw(view_of(k), (int)k->conn->who, o);
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
	if (r == -ENOENT && (REPEATED || k->conn->resumed))
		withdraw(k, KIND_SEM, (int)ARG(0));
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
	long r = -ENOENT;

	if (REPEATED)
		r = resume_on_queue(k, (int)ARG(0), k->request.op == WIRE_MSGSND, msg, size, (long)ARG(2), (int)ARG(3));
	if (r == -ENOENT)
		withdraw(k, KIND_MSG, (int)ARG(0));
	if (r == -ENOENT && REPEATED && ENDED)
		return -EINTR;
	return r == -EINVAL ? -EIDRM : r == -MSG_AGAIN ? -ENOENT : r;
}

static long perform_msgsnd(struct call *k)
{
	long type = (long)ARG(1), r = -ENOENT;
	char *msg;

	if (REPEATED || k->conn->resumed)
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
		memset(msg, 0, sizeof(long)); /* a forged result would show what was there */
	}
	if (REPEATED || k->conn->resumed)
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

long perform_control(struct call *k, control_fn *call, bool plain, size_t set_size, size_t size)
{
	union { struct shmid_ds shm; struct msqid_ds msg; } ds;
	int id = (int)ARG(0), cmd = (int)ARG(1);
	void *p;
	long r;

	if (plain)
		return result(call(view_of(k), id, cmd, NULL));
	if (cmd == IPC_SET) {
		if (k->size != set_size)
			return -EPROTO;
		memcpy(&ds, k->payload, set_size);
		return result(call(view_of(k), id, cmd, &ds));
	}
	p = room(k, size);
	if (!p)
		return -ENOMEM;
	r = result(call(view_of(k), id, cmd, p));
	if (r >= 0)
		payload(k, p, size);
	return r;
}

static int control(ipc_ns *ns, int id, int cmd, void *buf)
{
	return ipc_msgctl(ns, id, cmd, buf);
}

static long perform_msgctl(struct call *k)
{
	int cmd = (int)ARG(1);

	return perform_control(k, control, cmd == IPC_RMID, sizeof(struct msqid_ds),
			       cmd == MSG_INFO ? sizeof(struct msginfo) : sizeof(struct msqid_ds));
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
		if (!k->conn->resumed) { /* else it may still stand in a list, until its process ends */
			atomic_store(&k->server->thread[k->conn->who], 0);
			reply_forget(k->server, k->conn->who);
			who_give(view_of(k), k->conn->who);
		}
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
	if (!k->conn->client || !k->conn->who || k->from.pid != view_of(k)->pid ||
	    atomic_load(&k->server->ns->slots->who[k->conn->who]) != view_of(k)->tag)
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
