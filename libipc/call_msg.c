/* SPDX-License-Identifier: BSD-2-Clause */
/* msgget, msgsnd, msgrcv, msgctl. */
#include <limits.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/msg.h>

#include "call.h"
#include "libipc.h"
#include "obj_msg.h"
#include "route_call.h"
#include "route_wire.h"

static int new_queue(struct get *g, struct ipc_ns *ns, uint32_t *file)
{
	g->row_size = (uint32_t)registry_limit(ns, LIM_MSGMNB);
	return msg_queue_create(ns, file);
}

int ipc_msgget(ipc_ns *ns, key_t key, int flags)
{
	struct get g = { .kind = KIND_MSG, .key = key, .flags = flags, .create = new_queue };
	int who = ns_enter(ns);

	return (int)call_result(who < 0 ? who : call_get(ns, who, &g));
}

static int send_once(struct ipc_ns *ns, int id, const void *msg, size_t size, int flags)
{
	int who = ns_enter(ns), e;
	uint32_t qbytes;
	struct obj *o;
	long type;

	if (who < 0)
		return who;
	if (call_bad_pointer(msg, sizeof type))
		return -EFAULT;
	memcpy(&type, msg, sizeof type);
	if (size > registry_limit(ns, LIM_MSGMAX) || (long)size < 0 || id < 0 || type < 1)
		return -EINVAL;
	if (call_bad_pointer(msg, sizeof type + size))
		return -EFAULT;
	e = object_permit(ns, KIND_MSG, id, &qbytes);
	if (e < 0)
		return e;
	if (!(e & MAY_ALTER))
		return -EACCES;
	if (!(e & MAY_MAP))
		return wire_msgsnd(ns, id, type, (const char *)msg + sizeof type, size, flags);
	e = object_open(ns, KIND_MSG, id, who, &o);
	if (e == -EXDEV)
		return wire_msgsnd(ns, id, type, (const char *)msg + sizeof type, size, flags);
	if (e)
		return e;
	if (ns->wire)
		wait_serial = wire_number(ns);
	return msg_queue_send(ns, who, o, id, type, (const char *)msg + sizeof type, (uint32_t)size, flags);
}

static int send(struct ipc_ns *ns, int id, const void *msg, size_t size, int flags)
{
	for (int moves = 0;; moves++) {
		int e = send_once(ns, id, msg, size, flags);

		if (e != -EIDRM || moves == CALL_MOVES || !object_moved(ns, KIND_MSG, id, object_used))
			return e;
	}
}

int ipc_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags)
{
	pthread_testcancel();
	return (int)call_result(send(ns, id, msg, size, flags));
}

static ssize_t receive_once(struct ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	int who = ns_enter(ns), e;
	uint32_t qbytes;
	struct obj *o;

	if (who < 0)
		return who;
	if (id < 0 || (long)size < 0)
		return -EINVAL;
	if (flags & MSG_COPY && (flags & MSG_EXCEPT || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	if (flags & MSG_COPY && size && call_bad_pointer(msg, sizeof(long)))
		return -EFAULT;
	e = object_permit(ns, KIND_MSG, id, &qbytes);
	if (e < 0)
		return e;
	if (!(e & MAY_READ))
		return -EACCES;
	if (call_bad_pointer(msg, sizeof(long)))
		msg = NULL; /* found out when a message is stored */
	if (!(e & MAY_MAP))
		return wire_msgrcv(ns, id, msg, size, type, flags);
	e = object_open(ns, KIND_MSG, id, who, &o);
	if (e == -EXDEV)
		return wire_msgrcv(ns, id, msg, size, type, flags);
	if (!e && ns->wire)
		wait_serial = wire_number(ns);
	return e ? e : msg_queue_receive(ns, who, o, id, msg, size, type, flags);
}

static ssize_t receive(struct ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	for (int moves = 0;; moves++) {
		ssize_t n = receive_once(ns, id, msg, size, type, flags);

		if (n != -EIDRM || moves == CALL_MOVES || !object_moved(ns, KIND_MSG, id, object_used))
			return n;
	}
}

ssize_t ipc_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	pthread_testcancel();
	return call_result(receive(ns, id, msg, size, type, flags));
}

static int msg_stat(struct ipc_ns *ns, int who, int id, int cmd, struct msqid_ds *buf)
{
	struct msg_stat st;
	struct obj *o;
	struct row r;
	int e = call_stat_row(ns, KIND_MSG, id, cmd != IPC_STAT, cmd == MSG_STAT_ANY, &r);

	if (!e)
		e = object_open(ns, KIND_MSG, row_id(&r), who, &o);
	if (e == -EXDEV)
		return wire_msgctl(ns, id, cmd, buf, call_bad_pointer(buf, sizeof *buf));
	if (!e)
		e = msg_queue_stat(ns, who, o, &st);
	if (e)
		return e;
	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	memset(buf, 0, sizeof *buf);
	call_fill_perm(&buf->msg_perm, &r);
	buf->msg_stime = st.stime;
	buf->msg_rtime = st.rtime;
	buf->msg_ctime = st.ctime > r.v[R_CTIME] ? st.ctime : r.v[R_CTIME];
	buf->__msg_cbytes = st.cbytes;
	buf->msg_qnum = st.qnum;
	buf->msg_qbytes = r.v[R_SIZE];
	buf->msg_lspid = (pid_t)st.lspid;
	buf->msg_lrpid = (pid_t)st.lrpid;
	return cmd == IPC_STAT ? 0 : row_id(&r);
}

static void msg_totals(struct ipc_ns *ns, int who, struct msginfo *i)
{
	struct msg_stat st;
	struct obj *o;
	struct row r;

	for (uint32_t k = 0, left = area_value(&ns->reg, G_INUSE + KIND_MSG); k < IPCMNI && left; k++) {
		if (registry_read_index(ns, KIND_MSG, k, &r))
			continue;
		left--;
		if (object_open(ns, KIND_MSG, row_id(&r), who, &o) || msg_queue_stat(ns, who, o, &st))
			continue;
		i->msgmap += (int)st.qnum;
		i->msgtql += (int)st.cbytes;
	}
}

static int msg_info(struct ipc_ns *ns, int who, int cmd, struct msginfo *i)
{
	uint32_t in_use, max = registry_max_index(ns, KIND_MSG, &in_use);

	if (ns->wire && cmd == MSG_INFO)
		return wire_msgctl(ns, 0, cmd, i, call_bad_pointer(i, sizeof *i));
	if (call_bad_pointer(i, sizeof *i))
		return -EFAULT;
	memset(i, 0, sizeof *i);
	i->msgmni = (int)registry_limit(ns, LIM_MSGMNI);
	i->msgmax = (int)registry_limit(ns, LIM_MSGMAX);
	i->msgmnb = (int)registry_limit(ns, LIM_MSGMNB);
	i->msgssz = 16;
	i->msgseg = 0xffff;
	if (cmd == MSG_INFO) {
		i->msgpool = (int)in_use;
		msg_totals(ns, who, i);
		/* the kernel's MSG_INFO: msgmap is the number of messages, msgtql that of bytes */
	} else {
		i->msgmap = i->msgmnb;
		i->msgpool = i->msgmni * i->msgmnb / 1024;
		i->msgtql = i->msgmnb;
	}
	return (int)max;
}

static int msg_set(struct ipc_ns *ns, int who, int id, const struct msqid_ds *buf)
{
	uint32_t qbytes;
	struct obj *o;
	struct cold c;
	struct row r;
	int e;

	if (call_bad_pointer(buf, sizeof *buf))
		return -EFAULT;
	if (ns->wire)
		return wire_msgctl(ns, id, IPC_SET, (void *)buf, false);
	e = call_owned_row(ns, KIND_MSG, id, &r);
	if (e)
		return e;
	if (buf->msg_qbytes > registry_limit(ns, LIM_MSGMNB) && !creds_capable(CAP_SYS_RESOURCE))
		return -EPERM;
	if (buf->msg_perm.uid == (uid_t)-1 || buf->msg_perm.gid == (gid_t)-1)
		return -EINVAL;
	qbytes = buf->msg_qbytes > INT_MAX ? INT_MAX : (uint32_t)buf->msg_qbytes;
	e = object_open(ns, KIND_MSG, id, who, &o);
	if (e)
		return e;
	cold_enter(ns, &c);
	if (ns->move && buf->msg_perm.uid != r.v[R_UID])
		e = ns->move(ns, who, o, &r, &(struct perm){ .uid = buf->msg_perm.uid, .gid = buf->msg_perm.gid,
							     .mode = buf->msg_perm.mode }, qbytes);
	else
		e = registry_set_perm(ns, who, &r, buf->msg_perm.uid, buf->msg_perm.gid, buf->msg_perm.mode, qbytes, 0);
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	if (!e && ns->base)
		e = object_open(ns, KIND_MSG, id, who, &o); /* where it is now */
	if (!e)
		msg_queue_changed(ns, who, o);
	return e;
}

static int msg_remove(struct ipc_ns *ns, int who, int id)
{
	char name[24];
	struct cold c;
	struct obj *o = NULL;
	struct row r;
	int e = call_owned_row(ns, KIND_MSG, id, &r), opened;

	if (e)
		return e;
	if (ns->wire)
		return wire_msgctl(ns, id, IPC_RMID, NULL, false);
	opened = object_open(ns, KIND_MSG, id, who, &o);
	cold_enter(ns, &c);
	object_removing(ns, KIND_MSG, r.v[R_FILE]);
	e = registry_remove(ns, who, &r, false);
	if (!e) {
		object_name(name, KIND_MSG, (int)r.v[R_FILE]);
		file_remove(ns, name); /* first: a closed area that the store's row still names would come back */
		if (!opened)
			msg_queue_close(ns, who, o);
	}
	object_made(ns);
	if (!e)
		e = registry_sync(ns, who);
	cold_leave(ns, &c);
	return e;
}

static int control(struct ipc_ns *ns, int id, int cmd, struct msqid_ds *buf)
{
	int who = ns_enter(ns), e;

	if (who < 0)
		return who;
	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case MSG_INFO:
		e = msg_info(ns, who, cmd, (struct msginfo *)buf);
		break;
	case IPC_STAT:
	case MSG_STAT:
	case MSG_STAT_ANY:
		e = msg_stat(ns, who, id, cmd, buf);
		break;
	case IPC_SET:
		e = msg_set(ns, who, id, buf);
		break;
	case IPC_RMID:
		e = msg_remove(ns, who, id);
		break;
	default:
		e = -EINVAL;
	}
	return e;
}

int ipc_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf)
{
	int e, moves = 0;

	do
		e = control(ns, id, cmd, buf);
	while (e == -EIDRM && moves++ < CALL_MOVES &&
	       object_moved(ns, KIND_MSG, call_named(ns, KIND_MSG, id, cmd == MSG_STAT || cmd == MSG_STAT_ANY), object_used));
	return (int)call_result(e);
}
