/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls as requests: what a client sends for each, and what it does with the reply. Pointers have been checked. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "obj_shm.h"
#include "route_call.h"
#include "route_wire.h"
#include "wait.h"

int wire_get(struct ipc_ns *ns, enum kind kind, key_t key, uint64_t size, int flags)
{
	struct wire_call c = { .op = WIRE_GET, .arg = { kind, key, (int64_t)size, flags } };

	return (int)wire_request(ns, &c);
}

static struct wire_call semop_call(int id, const struct sembuf *sops, size_t nsops, const struct timespec *deadline)
{
	struct wire_call c = { .op = WIRE_SEMOP, .arg = { id, (int64_t)nsops }, .out = sops,
			       .out_size = (uint32_t)(nsops * sizeof *sops), .sleeps = true };

	if (deadline) {
		c.arg[2] = 1;
		c.arg[3] = deadline->tv_sec;
		c.arg[4] = deadline->tv_nsec;
	}
	return c;
}

int wire_semop(struct ipc_ns *ns, int id, const struct sembuf *sops, size_t nsops, const struct timespec *deadline)
{
	struct wire_call c = semop_call(id, sops, nsops, deadline);

	return (int)wire_request(ns, &c);
}

int wire_semctl(struct ipc_ns *ns, int id, int num, int cmd, union semun_arg arg, uint32_t nsems)
{
	struct wire_call c = { .op = WIRE_SEMCTL, .arg = { id, num, cmd } };

	switch (cmd) {
	case SETVAL:
		c.arg[3] = arg.val;
		break;
	case SETALL:
		c.out = arg.array;
		c.out_size = nsems * (uint32_t)sizeof *arg.array;
		break;
	case IPC_SET:
		c.out = arg.buf;
		c.out_size = sizeof *arg.buf;
		break;
	case GETALL:
		c.in = arg.array;
		c.in_room = nsems * (uint32_t)sizeof *arg.array;
		break;
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		c.in = arg.buf;
		c.in_room = sizeof *arg.buf;
	}
	return (int)wire_request(ns, &c);
}

/* The kernel looks at the pointer when it has something to store there. */
static long control(struct ipc_ns *ns, struct wire_call *c, void *buf, uint32_t size, bool set, bool bad)
{
	char text[256];
	long r;

	if (set) {
		c->out = buf;
		c->out_size = size;
	} else if (size) {
		c->in = bad ? text : buf;
		c->in_room = size;
	}
	r = wire_request(ns, c);
	return r >= 0 && bad && !set && size ? -EFAULT : r;
}

int wire_shmctl(struct ipc_ns *ns, int id, int cmd, void *buf, bool bad)
{
	struct wire_call c = { .op = WIRE_SHMCTL, .arg = { id, cmd } };
	uint32_t size = cmd == IPC_RMID || cmd == SHM_LOCK || cmd == SHM_UNLOCK ? 0 :
			cmd == SHM_INFO ? sizeof(struct shm_info) : sizeof(struct shmid_ds);

	return (int)control(ns, &c, buf, size, cmd == IPC_SET, bad);
}

int wire_msgctl(struct ipc_ns *ns, int id, int cmd, void *buf, bool bad)
{
	struct wire_call c = { .op = WIRE_MSGCTL, .arg = { id, cmd } };
	uint32_t size = cmd == IPC_RMID ? 0 : cmd == MSG_INFO ? sizeof(struct msginfo) : sizeof(struct msqid_ds);

	return (int)control(ns, &c, buf, size, cmd == IPC_SET, bad);
}

static struct wire_call msgsnd_call(int id, long type, const void *text, size_t size, int flags)
{
	return (struct wire_call){ .op = WIRE_MSGSND, .arg = { id, type, flags }, .out = text,
				   .out_size = (uint32_t)size, .sleeps = !(flags & IPC_NOWAIT), .cancels = true };
}

int wire_msgsnd(struct ipc_ns *ns, int id, long type, const void *text, size_t size, int flags)
{
	struct wire_call c = msgsnd_call(id, type, text, size, flags);

	return (int)wire_request(ns, &c);
}

static struct wire_call msgrcv_call(int id, void *msg, size_t size, long type, int flags)
{
	return (struct wire_call){ .op = WIRE_MSGRCV, .arg = { id, (int64_t)size, type, flags, !msg },
				   .in = msg ? (char *)msg + sizeof type : NULL,
				   .in_room = !msg ? 0 : size > WIRE_LARGE ? WIRE_LARGE : (uint32_t)size,
				   .sleeps = !(flags & IPC_NOWAIT), .cancels = true };
}

/* The message's type, which the reply has beside the text. */
static ssize_t received(const struct wire_call *c, void *msg, ssize_t n)
{
	long type = c->value[0];

	if (n >= 0)
		memcpy(msg, &type, sizeof type);
	return n;
}

ssize_t wire_msgrcv(struct ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	struct wire_call c = msgrcv_call(id, msg, size, type, flags);

	return received(&c, msg, wire_request(ns, &c));
}

void wire_follow(struct frame *f, const struct timespec *deadline, bool ended)
{
	int id = (int)f->opened - 1;
	struct wire_call c;

	if (!object_moved(f->ns, f->kind, id, f->file))
		return;
	if (f->kind == KIND_SEM)
		c = semop_call(id, f->sops, f->nsops, deadline);
	else if (f->sends)
		c = msgsnd_call(id, f->type, f->msg, f->size, f->flags);
	else
		c = msgrcv_call(id, f->msg, f->size, f->type, f->flags);
	c.number = f->serial;
	c.follows = f;
	c.ended = ended;
	c.sleeps = !ended;
	received(&c, f->kind == KIND_MSG && !f->sends ? f->msg : &c.value[1], wire_request(f->ns, &c));
}

int wire_limit(struct ipc_ns *ns, int limit, uint64_t value)
{
	struct wire_call c = { .op = WIRE_LIMIT, .arg = { limit, (int64_t)value } };

	return (int)wire_request(ns, &c);
}

int wire_quota(struct ipc_ns *ns, int limit, uint64_t *value, uint64_t *used)
{
	struct wire_call c = { .op = WIRE_QUOTA, .arg = { limit } };
	int e = (int)wire_request(ns, &c);

	*value = (uint64_t)c.value[0];
	*used = (uint64_t)c.value[1];
	return e;
}

int wire_inspect(struct ipc_ns *ns, int what, enum kind kind, int id, uint32_t from, void *out, size_t each, int room)
{
	struct wire_call c = { .op = WIRE_INSPECT, .arg = { what, kind, id, from, room }, .in = out,
			       .in_room = (uint32_t)(each * (size_t)room) };
	long n = wire_request(ns, &c);

	if (n > 0 && c.in_size < each * (size_t)(n < room ? n : room))
		return -EPROTO;
	return (int)n;
}

int wire_undo(struct ipc_ns *ns)
{
	struct wire_call c = { .op = WIRE_UNDO };
	int e = (int)wire_request(ns, &c);

	for (uint32_t i = 0; i < rows_high(&ns->reg, KIND_SEM); i++)
		atomic_store(&ns->obj[KIND_SEM][i].undo, -1);
	return e;
}

uint64_t wire_resident(struct ipc_ns *ns, int id)
{
	struct wire_call c = { .op = WIRE_RESIDENT, .arg = { id } };

	return wire_request(ns, &c) < 0 ? 0 : (uint64_t)c.value[0];
}

int wire_settle(struct ipc_ns *ns)
{
	struct wire_call c = { .op = WIRE_SETTLE };

	return (int)wire_request(ns, &c);
}

int wire_attach(struct ipc_ns *ns, int id, int flags, struct wire_segment *s)
{
	struct wire_call c = { .op = WIRE_ATTACH, .arg = { id, flags } };
	long r = wire_request(ns, &c);

	if (r < 0)
		return (int)r;
	s->size = (uint64_t)c.value[0];
	s->mode = (uint32_t)c.value[1];
	s->record = (uint32_t)c.value[2];
	s->fd = c.fds ? c.fd[0] : -1;
	return c.fds == 1 ? 0 : -EPROTO;
}

int wire_detach(struct ipc_ns *ns, uint32_t record)
{
	struct wire_call c = { .op = WIRE_DETACH, .arg = { record, (int64_t)ns->table } };
	int e = (int)wire_request(ns, &c);

	/* The number was of a registry that is gone: it has another one since. */
	for (uint32_t i = 0; e == -ESTALE && i < ns->att_count; i++)
		if (ns->att[i].addr && ns->att[i].old_record == record) {
			c.arg[0] = ns->att[i].record;
			c.arg[1] = (int64_t)ns->table;
			e = ns->att[i].record ? (int)wire_request(ns, &c) : 0;
		}
	return e;
}
