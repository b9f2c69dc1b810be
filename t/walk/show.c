/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls and their results in words, with nothing in them that differs from run to run: ids by name, addresses by
 * place. A buffer that a failed call should have left alone is checked for that.
 */
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const op_names[] = {
	"semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "shmget", "shmat", "shmdt",
	"shmctl", "scan", "stat_index", "peek", "poke", "run", "ids", "fork", "exec", "exit", "_exit",
};

const char *err_name(int err)
{
	const char *s = strerrorname_np(err);

	return s ? s : "no errno";
}

static const char *cmd_name(enum op op, int cmd)
{
	static const struct { int cmd; const char *name; } common[] = {
		{ IPC_RMID, "IPC_RMID" }, { IPC_SET, "IPC_SET" }, { IPC_STAT, "IPC_STAT" }, { IPC_INFO, "IPC_INFO" },
	}, sem[] = {
		{ GETPID, "GETPID" }, { GETVAL, "GETVAL" }, { GETALL, "GETALL" }, { GETNCNT, "GETNCNT" },
		{ GETZCNT, "GETZCNT" }, { SETVAL, "SETVAL" }, { SETALL, "SETALL" },
	};
	unsigned i;

	for (i = 0; i < sizeof common / sizeof *common; i++)
		if (common[i].cmd == cmd)
			return common[i].name;
	for (i = 0; op == SEMCTL && i < sizeof sem / sizeof *sem; i++)
		if (sem[i].cmd == cmd)
			return sem[i].name;
	return "unknown";
}

static void show_sops(const struct call *c)
{
	unsigned i;

	printf(" %u[", c->nsops);
	for (i = 0; i < c->nsops && i < 10; i++)
		printf("%s%u:%+d%s%s", i ? " " : "", c->sops[i].sem_num, c->sops[i].sem_op,
		       c->sops[i].sem_flg & SEM_UNDO ? "u" : "", c->sops[i].sem_flg & IPC_NOWAIT ? "n" : "");
	printf("]");
	if (c->op == SEMTIMEDOP && c->timed)
		printf(" timeout=%ld.%09ld", (long)c->ts.tv_sec, c->ts.tv_nsec);
}

static void show_msg_flags(int f)
{
	printf("%s%s%s%s", f & IPC_NOWAIT ? " NOWAIT" : "", f & MSG_NOERROR ? " NOERROR" : "",
	       f & MSG_EXCEPT ? " EXCEPT" : "", f & MSG_COPY ? " COPY" : "");
}

static void show_place(const struct call *c)
{
	if (c->addr >= FIXED_BASE && c->addr < FIXED_BASE + 64 * FIXED_STEP)
		printf(" at=%lx", c->addr - FIXED_BASE);
	else
		printf(" at=%s", c->addr ? "any" : "NULL");
}

static void show_set(const struct call *c)
{
	if (c->bad)
		return;
	if (c->op == MSGCTL)
		printf(" mode=%o uid=%d qbytes=%lu", c->d.msq.msg_perm.mode, (int)c->d.msq.msg_perm.uid,
		       c->d.msq.msg_qbytes);
	else if (c->op == SEMCTL)
		printf(" mode=%o uid=%d", c->d.sem.sem_perm.mode, (int)c->d.sem.sem_perm.uid);
	else
		printf(" mode=%o uid=%d", c->d.shm.shm_perm.mode, (int)c->d.shm.shm_perm.uid);
	if (with_ids)
		printf(" gid=%d", (int)(c->op == MSGCTL ? c->d.msq.msg_perm.gid : c->op == SEMCTL ?
					 c->d.sem.sem_perm.gid : c->d.shm.shm_perm.gid));
}

static void show_ctl(const struct call *c)
{
	printf(" %s", cmd_name(c->op, c->cmd));
	if (c->op == SEMCTL)
		printf(" sem=%d", c->num);
	if (c->op == SEMCTL && c->cmd == SETVAL)
		printf(" val=%ld", c->val);
	if (c->op == SEMCTL && c->cmd == SETALL && !c->bad)
		printf(" [%u %u %u ...]", c->d.vals[0], c->d.vals[1], c->d.vals[2]);
	if (c->cmd == IPC_SET)
		show_set(c);
}

void show_call(const struct call *c, const struct obj *o)
{
	printf("%s", op_names[c->op]);
	if (c->op == SEMGET || c->op == MSGGET || c->op == SHMGET)
		printf(" key=%x", (unsigned)c->id);
	else if (c->op < SCAN)
		printf(" %s", o ? obj_name(o) : c->op == SHMDT ? "" : "bad-id");
	switch (c->op) {
	case SEMGET:
		printf(" nsems=%d flags=%o", c->cmd, (unsigned)c->flags);
		break;
	case MSGGET:
		printf(" flags=%o", (unsigned)c->flags);
		break;
	case SHMGET:
		printf(" size=%zu flags=%o", c->size, (unsigned)c->flags);
		break;
	case SEMOP:
	case SEMTIMEDOP:
		show_sops(c);
		break;
	case SEMCTL:
	case MSGCTL:
	case SHMCTL:
		show_ctl(c);
		break;
	case MSGSND:
		printf(" type=%ld size=%zd", c->d.msg.type, (ssize_t)c->size);
		show_msg_flags(c->flags);
		break;
	case MSGRCV:
		printf(" type=%ld size=%zd", c->val, (ssize_t)c->size);
		show_msg_flags(c->flags);
		break;
	case SHMAT:
		show_place(c);
		printf(" flags=%o", (unsigned)c->flags);
		break;
	case SHMDT:
	case PEEK:
	case RUN:
		show_place(c);
		break;
	case POKE:
		show_place(c);
		printf(" offset=%zu value=%ld", c->size, c->val);
		break;
	case IDS:
		printf(" %s %ld", c->cmd == EUID ? "seteuid" : c->cmd == EGID ? "setegid" : "setgroups", c->val);
		break;
	case SCAN:
		printf(" %c any=%d", "sqm"[c->cmd], c->flags);
		break;
	case STAT_INDEX:
		printf(" %s any=%d", obj_name(o), c->flags);
		break;
	default:
		break;
	}
	if (c->bad)
		printf(" BAD POINTER %d", c->bad);
}

static unsigned sum(const char *text, size_t n)
{
	unsigned h = 0;

	while (n--)
		h = h * 31 + (unsigned char)*text++;
	return h & 0xffff;
}

static bool untouched(const char *p, size_t n)
{
	while (n--)
		if (*p++ != (char)0xa5)
			return false;
	return true;
}

static void show_message(const struct call *c)
{
	if (c->bad)
		return;
	printf(" type=%ld text=%04x", c->d.msg.type, sum(c->d.msg.text, (size_t)c->ret));
	if (!untouched(c->d.msg.text + c->ret, GUARD))
		printf(" WRITTEN PAST THE END");
}

static int by_number(const void *a, const void *b)
{
	return (*(struct obj *const *)a)->no - (*(struct obj *const *)b)->no;
}

static void show_scan(const struct call *c)
{
	const struct scan *s = &c->d.scan;
	struct obj *o[MAX_SCAN];
	int i, n = 0;

	if (c->cmd == SEM)
		printf(" sets=%d sems=%d", s->info.sem.semusz, s->info.sem.semaem);
	else if (c->cmd == MSG)
		printf(" queues=%d messages=%d bytes=%d", s->info.msg.msgpool, s->info.msg.msgmap, s->info.msg.msgtql);
	else
		printf(" segments=%d pages=%lu resident=%lu", s->info.shm.used_ids, s->info.shm.shm_tot,
		       s->info.shm.shm_rss);
	for (i = 0; i < s->n; i++) {
		o[n] = obj_find(c->cmd, s->id[i]);
		if (o[n])
			n++;
		else
			printf(" UNKNOWN");
	}
	qsort(o, (size_t)n, sizeof *o, by_number);
	for (i = 0; i < n; i++)
		printf(" %s", obj_name(o[i]));
}

static void show_info(const struct call *c)
{
	const struct seminfo *s = &c->d.seminfo;
	const struct msginfo *m = &c->d.msginfo;
	const struct shminfo *h = &c->d.shminfo;

	if (c->op == SEMCTL)
		printf(" %d %d %d %d %d %d %d %d %d %d", s->semmap, s->semmni, s->semmns, s->semmnu, s->semmsl,
		       s->semopm, s->semume, s->semusz, s->semvmx, s->semaem);
	else if (c->op == MSGCTL)
		printf(" %d %d %d %d %d %d %d %d", m->msgpool, m->msgmap, m->msgmax, m->msgmnb, m->msgmni, m->msgssz,
		       m->msgtql, m->msgseg);
	else
		printf(" %lu %lu %lu %lu %lu", h->shmmax, h->shmmin, h->shmmni, h->shmseg, h->shmall);
}

static void show_stat(const struct call *c, enum kind kind, struct obj *o)
{
	printf(" ");
	if (kind == SEM)
		print_semid(&c->d.sem, o);
	else if (kind == MSG)
		print_msqid(&c->d.msq, o);
	else
		print_shmid(&c->d.shm, o);
}

static void show_vals(const struct call *c, const struct obj *o)
{
	int i;

	for (i = 0; o && i < o->nsems; i++)
		printf(" %u", c->d.vals[i]);
	if (o && !untouched((const char *)&c->d.vals[o->nsems], GUARD))
		printf(" WRITTEN PAST THE END");
}

static void show_ctl_result(const struct call *c)
{
	enum kind kind = c->op == SEMCTL ? SEM : c->op == MSGCTL ? MSG : SHM;
	struct obj *o = obj_find(kind, c->id);

	if (c->cmd == IPC_INFO) {
		show_info(c);
		return;
	}
	if (c->op == SEMCTL && c->cmd == GETPID)
		printf(" = %s", proc_name((pid_t)c->ret));
	else
		printf(" = %ld", c->ret);
	if (c->cmd == IPC_STAT && o)
		show_stat(c, kind, o);
	if (c->op == SEMCTL && c->cmd == GETALL)
		show_vals(c, o);
}

static void show_at(const struct call *c)
{
	if (c->addr)
		printf(" = %lx", (unsigned long)c->ret - FIXED_BASE);
	else
		printf(" = any%s", (unsigned long)c->ret % PAGE ? " NOT ALIGNED" : "");
}

static enum kind get_kind(enum op op)
{
	return op == SEMGET ? SEM : op == MSGGET ? MSG : SHM;
}

static bool writes_buffer(const struct call *c)
{
	if (c->bad)
		return false;
	return c->op == MSGRCV || ((c->op == SEMCTL || c->op == MSGCTL || c->op == SHMCTL) &&
				   (c->cmd == IPC_STAT || c->cmd == IPC_INFO || (c->op == SEMCTL && c->cmd == GETALL)));
}

void show_result(const struct call *c)
{
	struct obj *o;

	if (c->ret == -1) {
		printf(" = -1 %s", err_name(c->err));
		if (writes_buffer(c) && !untouched(c->d.fill, 64))
			printf(" BUFFER WRITTEN");
		return;
	}
	if (c->ret == JUMPED) {
		printf(" left by longjmp");
		return;
	}
	switch (c->op) {
	case SEMGET:
	case MSGGET:
	case SHMGET:
		printf(" = %s", obj_name(obj_got(get_kind(c->op), (int)c->ret, c->id)));
		break;
	case SEMCTL:
	case MSGCTL:
	case SHMCTL:
		show_ctl_result(c);
		break;
	case MSGRCV:
		printf(" = %ld", c->ret);
		show_message(c);
		break;
	case SHMAT:
		show_at(c);
		break;
	case SHMDT:
		printf(" = %ld%s", c->ret, c->touched ? " STILL MAPPED" : "");
		break;
	case SCAN:
		show_scan(c);
		break;
	case STAT_INDEX:
		o = obj_find(c->cmd, c->id);
		printf(" = found");
		show_stat(c, c->cmd, o);
		break;
	case PEEK:
		printf(" = %lx %lx %lx", c->d.words[0], c->d.words[1], c->d.words[2]);
		break;
	case RUN:
		printf(" = %s", c->d.words[0] == RET ? "ran" : "no code");
		break;
	case FORK:
		printf(" = %s", proc_name((pid_t)c->ret));
		break;
	default:
		printf(" = %ld", c->ret);
	}
}
