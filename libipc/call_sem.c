/* SPDX-License-Identifier: BSD-2-Clause */
/* semget, semop, semtimedop, semctl. */
#include <stdarg.h>
#include <string.h>
#include <sys/sem.h>

#include "call.h"
#include "libipc.h"
#include "obj_sem.h"
#include "route_call.h"
#include "route_wire.h"

static int new_set(struct get *g, struct ipc_ns *ns, uint32_t *file)
{
	int e = g->size ? registry_room(ns, KIND_SEM, g->size) : -EINVAL;

	if (e)
		return e;
	g->row_size = (uint32_t)g->size;
	return sem_set_create(ns, (uint32_t)g->size, file);
}

int ipc_semget(ipc_ns *ns, key_t key, int nsems, int flags)
{
	struct get g = { .kind = KIND_SEM, .key = key, .flags = flags, .size = (uint64_t)nsems, .create = new_set };
	int who = ns_enter(ns);

	if (who >= 0 && (nsems < 0 || (uint64_t)nsems > registry_limit(ns, LIM_SEMMSL)))
		who = -EINVAL;
	return (int)call_result(who < 0 ? who : call_get(ns, who, &g));
}

static int check_sops(struct ipc_ns *ns, int id, const struct sembuf *sops, size_t nsops, uint32_t *want,
		      uint32_t *max)
{
	*want = MAY_READ;
	*max = 0;
	if (nsops > 1 && nsops > registry_limit(ns, LIM_SEMOPM))
		return -E2BIG;
	if (nsops < 1)
		return -EINVAL;
	if (call_bad_pointer(sops, nsops * sizeof *sops))
		return -EFAULT;
	if (id < 0)
		return -EINVAL;
	for (size_t i = 0; i < nsops; i++) {
		if (sops[i].sem_num > *max)
			*max = sops[i].sem_num;
		if (sops[i].sem_op)
			*want = MAY_ALTER;
	}
	return 0;
}

static void add_deadline(const struct timespec *timeout, struct timespec *deadline)
{
	clock_gettime(CLOCK_MONOTONIC, deadline);
	if (__builtin_add_overflow(deadline->tv_sec, timeout->tv_sec, &deadline->tv_sec))
		deadline->tv_sec = INT64_MAX - 1;
	deadline->tv_nsec += timeout->tv_nsec;
	if (deadline->tv_nsec >= 1000000000) {
		deadline->tv_nsec -= 1000000000;
		deadline->tv_sec++;
	}
}

/* SEM_UNDO makes the caller one of those whose end sets the set's otime, even when the operation is refused. */
static int remember_undo(struct ipc_ns *ns, int who, int id, const struct sembuf *sops, size_t nsops)
{
	struct obj *o;
	size_t i = 0;
	int e;

	while (i < nsops && !(sops[i].sem_flg & SEM_UNDO))
		i++;
	if (i == nsops)
		return 0;
	e = object_open(ns, KIND_SEM, id, who, &o);
	if (e)
		return e;
	sem_set_undo(ns, who, o);
	return area_value(&o->area, S_FLAGS) & S_REMOVED ? -EIDRM : 0;
}

static int operate_checked(struct ipc_ns *ns, int who, int id, struct sembuf *sops, size_t nsops, uint32_t want, uint32_t max,
			   const struct timespec *deadline)
{
	uint32_t nsems;
	struct obj *o;
	int e = object_permit(ns, KIND_SEM, id, &nsems);

	if (e < 0)
		return e;
	if (!(e & MAY_MAP))
		return wire_semop(ns, id, sops, nsops, deadline);
	if (max >= nsems || !(e & want)) {
		int refused = max >= nsems ? -EFBIG : -EACCES;

		e = remember_undo(ns, who, id, sops, nsops);
		if (e == -EXDEV)
			return wire_semop(ns, id, sops, nsops, deadline);
		return e == -EIDRM ? e : refused;
	}
	e = object_open(ns, KIND_SEM, id, who, &o);
	if (e == -EXDEV) /* since it was asked for it has been given away */
		return wire_semop(ns, id, sops, nsops, deadline);
	if (e)
		return e;
	if (ns->wire)
		wait_serial = wire_number(ns);
	return sem_set_operate(ns, who, o, id, sops, (uint32_t)nsops, deadline);
}

static int operate(struct ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	struct timespec deadline;
	uint32_t want, max;
	int who = ns_enter(ns), e;

	if (who < 0)
		return who;
	if (timeout && call_bad_pointer(timeout, sizeof *timeout))
		return -EFAULT;
	e = check_sops(ns, id, sops, nsops, &want, &max);
	if (e)
		return e;
	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000))
		return -EINVAL;
	if (timeout)
		add_deadline(timeout, &deadline);
	for (int moves = 0;; moves++) {
		e = operate_checked(ns, who, id, sops, nsops, want, max, timeout ? &deadline : NULL);
		if (e != -EIDRM || moves == CALL_MOVES || !object_moved(ns, KIND_SEM, id, object_used))
			return e;
	}
}

/* What most calls are: one operation on a set that this process has used before. */
static inline bool operate_shortest(struct ipc_ns *ns, int id, const struct sembuf *sops, size_t nsops)
{
	uint32_t now = now_seconds();
	struct obj *o = &ns->obj[KIND_SEM][ID_INDEX(id)];

	return nsops == 1 && id >= 0 && !call_bad_pointer(sops, sizeof *sops) && object_ready(ns, o, id, MAY_ALTER) &&
	       sem_set_shortest(ns, o, id, *sops, now);
}

int ipc_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops)
{
	if (operate_shortest(ns, id, sops, nsops))
		return 0;
	return (int)call_result(operate(ns, id, sops, nsops, NULL));
}

int ipc_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	return (int)call_result(operate(ns, id, sops, nsops, timeout));
}

static int sem_stat(struct ipc_ns *ns, int who, int id, int cmd, struct semid_ds *buf)
{
	struct sem_times times;
	struct obj *o;
	struct row r;
	int e = call_stat_row(ns, KIND_SEM, id, cmd != IPC_STAT, cmd == SEM_STAT_ANY, &r);
	struct semid_ds space;

	if (!e)
		e = object_open(ns, KIND_SEM, row_id(&r), who, &o);
	if (e == -EXDEV) {
		e = wire_semctl(ns, id, 0, cmd, (union semun_arg){ .buf = &space }, 0);
		if (e < 0 || call_bad_pointer(buf, sizeof *buf))
			return e < 0 ? e : -EFAULT;
		*buf = space;
		return e;
	}
	if (!e)
		e = sem_set_times(ns, who, o, &times);
	if (e)
		return e;
	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	memset(buf, 0, sizeof *buf);
	call_fill_perm(&buf->sem_perm, &r);
	buf->sem_nsems = r.v[R_SIZE];
	buf->sem_otime = times.otime;
	buf->sem_ctime = times.ctime > r.v[R_CTIME] ? times.ctime : r.v[R_CTIME];
	return cmd == IPC_STAT ? 0 : row_id(&r);
}

static int sem_info(struct ipc_ns *ns, int cmd, struct seminfo *i)
{
	uint32_t in_use, max = registry_max_index(ns, KIND_SEM, &in_use);

	if (call_bad_pointer(i, sizeof *i))
		return -EFAULT;
	memset(i, 0, sizeof *i);
	i->semmni = (int)registry_limit(ns, LIM_SEMMNI);
	i->semmns = i->semmap = i->semmnu = (int)registry_limit(ns, LIM_SEMMNS);
	i->semmsl = (int)registry_limit(ns, LIM_SEMMSL);
	i->semopm = i->semume = (int)registry_limit(ns, LIM_SEMOPM);
	i->semusz = cmd == SEM_INFO ? (int)in_use : 20;
	i->semvmx = SEMVMX;
	i->semaem = cmd == SEM_INFO ? (int)area_value(&ns->reg, G_SEMS) : SEMVMX;
	return (int)max;
}

static int sem_set(struct ipc_ns *ns, int who, int id, const struct semid_ds *buf)
{
	struct obj *o = NULL;
	struct cold c;
	struct row r;
	int e;

	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	if (ns->wire)
		return wire_semctl(ns, id, 0, IPC_SET, (union semun_arg){ .buf = (struct semid_ds *)buf }, 0);
	e = call_owned_row(ns, KIND_SEM, id, &r);
	if (e)
		return e;
	if (buf->sem_perm.uid == (uid_t)-1 || buf->sem_perm.gid == (gid_t)-1)
		return -EINVAL;
	if (ns->move) {
		e = object_open(ns, KIND_SEM, id, who, &o);
		if (e)
			return e;
	}
	cold_enter(ns, &c);
	if (ns->move && buf->sem_perm.uid != r.v[R_UID])
		e = ns->move(ns, who, o, &r, &(struct perm){ .uid = buf->sem_perm.uid, .gid = buf->sem_perm.gid,
							     .mode = buf->sem_perm.mode }, 0);
	else
		e = registry_set_perm(ns, who, &r, buf->sem_perm.uid, buf->sem_perm.gid, buf->sem_perm.mode, 0, 0);
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

static int sem_remove(struct ipc_ns *ns, int who, int id)
{
	char name[24];
	struct cold c;
	struct obj *o = NULL;
	struct row r;
	int e = call_owned_row(ns, KIND_SEM, id, &r), opened;

	if (e)
		return e;
	if (ns->wire)
		return wire_semctl(ns, id, 0, IPC_RMID, (union semun_arg){ 0 }, 0);
	opened = object_open(ns, KIND_SEM, id, who, &o);
	cold_enter(ns, &c);
	object_removing(ns, KIND_SEM, r.v[R_FILE]);
	e = registry_remove(ns, who, &r, false);
	if (!e) {
		object_name(name, KIND_SEM, (int)r.v[R_FILE]);
		file_remove(ns, name); /* first: a closed area that the store's row still names would come back */
		if (!opened)
			sem_set_close(ns, who, o);
	}
	object_made(ns);
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

/* GETVAL and its like: one semaphore, or all of them. */
static int sem_values(struct ipc_ns *ns, int who, int id, int num, int cmd, union semun_arg arg)
{
	bool set = cmd == SETVAL || cmd == SETALL, all = cmd == GETALL || cmd == SETALL;
	struct obj *o, own;
	uint32_t nsems;
	int e, granted;

	if (cmd == SETVAL && (arg.val < 0 || arg.val > SEMVMX))
		return -ERANGE;
	granted = id < 0 ? -EINVAL : object_permit(ns, KIND_SEM, id, &nsems);
	if (granted < 0)
		return granted;
	if (!all && set && (num < 0 || (uint32_t)num >= nsems))
		return -EINVAL;
	if (!(granted & (set ? MAY_ALTER : MAY_READ)))
		return -EACCES;
	if (!all && !set && (num < 0 || (uint32_t)num >= nsems))
		return -EINVAL;
	if (all && call_bad_pointer(arg.array, nsems * sizeof(short)))
		return -EFAULT;
	if (cmd == SETALL)
		for (uint32_t i = 0; i < nsems; i++)
			if (arg.array[i] > SEMVMX)
				return -ERANGE;
	e = object_open(ns, KIND_SEM, id, who, &o);
	if (e == -EXDEV)
		return wire_semctl(ns, id, num, cmd, arg, nsems);
	if (e)
		return e;
	if (!all && !set) {
		e = sem_set_query(ns, who, o, (uint32_t)num, cmd);
		return e < 0 || object_same(o, id) ? e : -EIDRM;
	}
	if (!object_hold(o, id, &own))
		return -EIDRM;
	if (cmd == SETVAL)
		return sem_set_setval(ns, who, &own, (uint32_t)num, arg.val);
	if (cmd == SETALL)
		return sem_set_setall(ns, who, &own, arg.array);
	return sem_set_getall(ns, who, &own, arg.array);
}

static int control_once(struct ipc_ns *ns, int id, int num, int cmd, union semun_arg arg)
{
	int who = ns_enter(ns);

	if (who < 0)
		return who;
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case SEM_INFO:
		return sem_info(ns, cmd, arg.info);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		return sem_stat(ns, who, id, cmd, arg.buf);
	case GETALL:
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
	case SETALL:
	case SETVAL:
		return sem_values(ns, who, id, num, cmd, arg);
	case IPC_SET:
		return sem_set(ns, who, id, arg.buf);
	case IPC_RMID:
		return sem_remove(ns, who, id);
	}
	return -EINVAL;
}

static int control(struct ipc_ns *ns, int id, int num, int cmd, union semun_arg arg)
{
	int e, moves = 0;

	do
		e = control_once(ns, id, num, cmd, arg);
	while (e == -EIDRM && moves++ < CALL_MOVES &&
	       object_moved(ns, KIND_SEM, call_named(ns, KIND_SEM, id, cmd == SEM_STAT || cmd == SEM_STAT_ANY), object_used));
	return e;
}

int ipc_semctl(ipc_ns *ns, int id, int num, int cmd, ...)
{
	union semun_arg arg;
	va_list ap;

	va_start(ap, cmd);
	arg = va_arg(ap, union semun_arg);
	va_end(ap);
	return (int)call_result(control(ns, id, num, cmd, arg));
}
