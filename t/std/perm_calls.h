/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls of perm_matrix.c: what a caller does to the object with mode m, in one line of the table each, with what
 * it takes and what it changes. Whether it is allowed is not known here.
 */
#ifndef T_STD_PERM_CALLS_H
#define T_STD_PERM_CALLS_H

#include "objects.h"

#define MODES 64
#define WRONG 999 /* "errno" of a call that succeeds with something else than it should */

/* Users and groups that nobody else here has. */
enum { CREATOR = 60001, OWNER, HEIR, OTHER, FRIEND };
enum { CREATOR_GROUP = 61001, OWNER_GROUP, HEIR_GROUP, NO_GROUP, FRIENDS };

struct ids {
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	int ngroups;
	gid_t groups[3];
};

struct state {
	bool there;
	unsigned mode;
	uid_t uid;
	gid_t gid;
	long value; /* of semaphore 0; the number of messages */
	unsigned long qbytes;
};

/* What a caller is told, and what it answers. */
static struct {
	enum { CALL, BECOME, MAKE, ATTACH, END } what;
	int row;
	enum kind kind;
	struct ids ids;
	int id[3][MODES], index[3][MODES], result[MODES];
	struct state is; /* of all objects, apart from the mode */
	unsigned mode[MODES];
	char *at[MODES];
} *line;

static key_t base;

static key_t key_of(enum kind kind, int m)
{
	return base + kind * MODES + m;
}

/* ---- the calls; -1 and errno, or 0 ---- */

static int wrong(void)
{
	errno = WRONG;
	return -1;
}

/* -1 stays; what is not the value that it must be is wrong. */
static int gives(long got, long want)
{
	return got == want ? 0 : got == -1 ? -1 : wrong();
}

static int perm_is(int r, const struct ipc_perm *p, int m)
{
	if (r == -1)
		return -1;
	return p->uid == line->is.uid && p->cuid == CREATOR && (p->mode & 0777) == line->mode[m] ? 0 : wrong();
}

static int do_get(enum kind kind, int m, int flags)
{
	return gives(obj_get(kind, key_of(kind, m), flags), line->id[kind][m]);
}

static int do_shmget(int m, int flags)
{
	return do_get(SHM, m, flags);
}

static int do_semget(int m, int flags)
{
	return do_get(SEM, m, flags);
}

static int do_msgget(int m, int flags)
{
	return do_get(MSG, m, flags);
}

static int do_shmat(int m, int flags)
{
	void *p = shmat(line->id[SHM][m], NULL, flags);

	return p == (void *)-1 ? -1 : shmdt(p);
}

static int do_shmdt(int m, int unused)
{
	(void)unused;
	return shmdt(line->at[m]);
}

static int do_stat(enum kind kind, int m, int cmd)
{
	union {
		struct shmid_ds shm;
		struct semid_ds sem;
		struct msqid_ds msg;
	} ds;
	const struct ipc_perm *p = kind == SHM ? &ds.shm.shm_perm : kind == SEM ? &ds.sem.sem_perm : &ds.msg.msg_perm;
	int id = line->id[kind][m], which = cmd == IPC_STAT ? id : line->index[kind][m];
	int r = kind == SHM ? shmctl(which, cmd, &ds.shm) :
		kind == SEM ? semctl(which, 0, cmd, (union semun){ .buf = &ds.sem }) : msgctl(which, cmd, &ds.msg);

	if (cmd == IPC_STAT)
		return perm_is(r, p, m);
	return gives(r, id) ? -1 : perm_is(0, p, m);
}

static int do_shm_stat(int m, int cmd)
{
	return do_stat(SHM, m, cmd);
}

static int do_sem_stat(int m, int cmd)
{
	return do_stat(SEM, m, cmd);
}

static int do_msg_stat(int m, int cmd)
{
	return do_stat(MSG, m, cmd);
}

static int do_shm_info(int m, int cmd)
{
	struct { struct shminfo lim; struct shm_info use; } info;

	(void)m;
	return shmctl(0, cmd, (void *)&info) < 0 ? -1 : 0;
}

static int do_sem_info(int m, int cmd)
{
	struct seminfo info;

	(void)m;
	return semctl(0, 0, cmd, (union semun){ .info = &info }) < 0 ? -1 : 0;
}

static int do_msg_info(int m, int cmd)
{
	struct msginfo info;

	(void)m;
	return msgctl(0, cmd, (void *)&info) < 0 ? -1 : 0;
}

/* What IPC_SET by a caller sets. */
static const struct ipc_perm asked = { .uid = FRIEND, .gid = FRIENDS, .mode = 0124 };

static int do_set(enum kind kind, int id, struct ipc_perm perm, unsigned long qbytes)
{
	struct shmid_ds shm = { .shm_perm = perm };
	struct semid_ds sem = { .sem_perm = perm };
	struct msqid_ds msg = { .msg_perm = perm, .msg_qbytes = qbytes };

	if (kind == SHM)
		return shmctl(id, IPC_SET, &shm);
	return kind == SEM ? semctl(id, 0, IPC_SET, (union semun){ .buf = &sem }) : msgctl(id, IPC_SET, &msg);
}

static int do_change(int m, int kind)
{
	return do_set(kind, line->id[kind][m], asked, line->is.qbytes);
}

static int do_qbytes(int m, int qbytes)
{
	struct ipc_perm p = { .uid = line->is.uid, .gid = line->is.gid, .mode = line->mode[m] };

	return do_set(MSG, line->id[MSG][m], p, qbytes);
}

static int do_remove(int m, int kind)
{
	return obj_remove(kind, line->id[kind][m]);
}

static int do_lock(int m, int cmd)
{
	return shmctl(line->id[SHM][m], cmd, NULL);
}

/* Semaphore 0 is 3, the others are 0. */
static int do_alter(int m, int by)
{
	return sem_do(line->id[SEM][m], 0, by, IPC_NOWAIT);
}

static int do_undo(int m, int by)
{
	return sem_do(line->id[SEM][m], 0, by, IPC_NOWAIT | SEM_UNDO);
}

static int do_zero(int m, int num)
{
	return sem_do(line->id[SEM][m], num, 0, IPC_NOWAIT);
}

static int do_both(int m, int by)
{
	struct sembuf s[] = { { 1, 0, IPC_NOWAIT }, { 0, by, IPC_NOWAIT }, { 2, 0, IPC_NOWAIT } };

	return semtimedop(line->id[SEM][m], s, 3, &(struct timespec){ .tv_sec = 1 });
}

static int do_getval(int m, int unused)
{
	(void)unused;
	return gives(semctl(line->id[SEM][m], 0, GETVAL), line->is.value);
}

static int do_ask(int m, int cmd)
{
	return semctl(line->id[SEM][m], 0, cmd) == -1 ? -1 : 0;
}

static int do_getall(int m, int unused)
{
	unsigned short v[3] = { 77, 77, 77 };

	(void)unused;
	if (semctl(line->id[SEM][m], 0, GETALL, (union semun){ .array = v }))
		return -1;
	return v[0] == line->is.value && v[1] == 0 && v[2] == 0 ? 0 : wrong();
}

static int do_setval(int m, int value)
{
	return sem_set(line->id[SEM][m], 0, value);
}

static int do_setall(int m, int value)
{
	unsigned short v[3] = { value };

	return semctl(line->id[SEM][m], 0, SETALL, (union semun){ .array = v });
}

/* A queue holds one message of type 1. */
static int do_send(int m, int type)
{
	return msg_put(line->id[MSG][m], type, 4, 's', IPC_NOWAIT);
}

static int take(int m, long type, int flags)
{
	struct text t;
	ssize_t n = msgrcv(line->id[MSG][m], &t, sizeof t.data, type, flags | IPC_NOWAIT);

	return n == -1 ? -1 : n == 4 && t.type == 1 && t.data[0] == 'm' ? 0 : wrong();
}

static int do_receive(int m, int type)
{
	return take(m, type, 0);
}

static int do_copy(int m, int place)
{
	return take(m, place, MSG_COPY);
}

/* ---- the table ---- */

/* READ, WRITE, EXECUTE together are permission bits, or it will not do */
enum rule { READ = 4, WRITE = 2, EXECUTE = 1, FLAGS = 8, OWN, LIMIT, LOCK, ANYBODY, ONCE };
enum effect { NOTHING, VALUE, SET, QBYTES, LOCKED, UNLOCKED, GONE };

/* Rows of one name that follow each other are one test. */
static const struct row {
	enum kind kind;
	const char *name;
	int (*call)(int m, int arg);
	int arg, rule, ok; /* ok: the errno of who may */
	enum effect effect;
	long value;
} rows[] = {
#define GET(kind, name, call, flags) { kind, name, call, flags, .rule = FLAGS }
#define GETS(kind, name, call)                                                                                 \
	GET(kind, name, call, 0), GET(kind, name, call, 0400), GET(kind, name, call, 0200),                    \
	GET(kind, name, call, 0040), GET(kind, name, call, 0020), GET(kind, name, call, 0004),                 \
	GET(kind, name, call, 0002), GET(kind, name, call, 0600), GET(kind, name, call, 0420),                 \
	GET(kind, name, call, 0042), GET(kind, name, call, 0666), GET(kind, name, call, 0100),                 \
	GET(kind, name, call, 0010), GET(kind, name, call, 0001), GET(kind, name, call, IPC_CREAT),            \
	GET(kind, name, call, IPC_CREAT | 0644), GET(kind, name, call, IPC_EXCL | 0400),                       \
	{ kind, name, call, IPC_CREAT | IPC_EXCL | 0600, .rule = ONCE }
	GETS(SHM, "shmget", do_shmget),
	{ SHM, "shmat", do_shmat, 0, .rule = READ | WRITE },
	{ SHM, "shmat SHM_RDONLY", do_shmat, SHM_RDONLY, .rule = READ },
	{ SHM, "shmat SHM_EXEC", do_shmat, SHM_EXEC, .rule = READ | WRITE | EXECUTE },
	{ SHM, "shmat SHM_EXEC", do_shmat, SHM_EXEC | SHM_RDONLY, .rule = READ | EXECUTE },
	{ SHM, "shmdt of what was attached when it was allowed", do_shmdt, 0, .rule = ANYBODY },
	{ SHM, "shmctl IPC_STAT", do_shm_stat, IPC_STAT, .rule = READ },
	{ SHM, "shmctl SHM_STAT", do_shm_stat, SHM_STAT, .rule = READ },
	{ SHM, "shmctl SHM_STAT_ANY", do_shm_stat, SHM_STAT_ANY, .rule = ANYBODY },
	{ SHM, "shmctl IPC_INFO, SHM_INFO", do_shm_info, IPC_INFO, .rule = ANYBODY },
	{ SHM, "shmctl IPC_INFO, SHM_INFO", do_shm_info, SHM_INFO, .rule = ANYBODY },
	{ SHM, "shmctl SHM_LOCK", do_lock, SHM_LOCK, .rule = LOCK, .effect = LOCKED },
	{ SHM, "shmctl SHM_UNLOCK", do_lock, SHM_UNLOCK, .rule = LOCK, .effect = UNLOCKED },
	{ SHM, "shmctl IPC_SET", do_change, SHM, .rule = OWN, .effect = SET },
	{ SHM, "shmctl IPC_RMID", do_remove, SHM, .rule = OWN, .effect = GONE },

	GETS(SEM, "semget", do_semget),
	{ SEM, "semop that adds", do_alter, 1, .rule = WRITE, .effect = VALUE, .value = 4 },
	{ SEM, "semop that takes, SEM_UNDO", do_undo, -1, .rule = WRITE, .effect = VALUE, .value = 2 },
	{ SEM, "semop that cannot take", do_alter, -9, .rule = WRITE, .ok = EAGAIN },
	{ SEM, "semop that waits for zero", do_zero, 1, .rule = READ },
	{ SEM, "semop that finds no zero", do_zero, 0, .rule = READ, .ok = EAGAIN },
	{ SEM, "semtimedop that adds and waits for zero", do_both, 1, .rule = WRITE, .effect = VALUE, .value = 4 },
	{ SEM, "semctl GETVAL", do_getval, 0, .rule = READ },
	{ SEM, "semctl GETPID", do_ask, GETPID, .rule = READ },
	{ SEM, "semctl GETNCNT", do_ask, GETNCNT, .rule = READ },
	{ SEM, "semctl GETZCNT", do_ask, GETZCNT, .rule = READ },
	{ SEM, "semctl GETALL", do_getall, 0, .rule = READ },
	{ SEM, "semctl SETVAL", do_setval, 7, .rule = WRITE, .effect = VALUE, .value = 7 },
	{ SEM, "semctl SETALL", do_setall, 8, .rule = WRITE, .effect = VALUE, .value = 8 },
	{ SEM, "semctl IPC_STAT", do_sem_stat, IPC_STAT, .rule = READ },
	{ SEM, "semctl SEM_STAT", do_sem_stat, SEM_STAT, .rule = READ },
	{ SEM, "semctl SEM_STAT_ANY", do_sem_stat, SEM_STAT_ANY, .rule = ANYBODY },
	{ SEM, "semctl IPC_INFO, SEM_INFO", do_sem_info, IPC_INFO, .rule = ANYBODY },
	{ SEM, "semctl IPC_INFO, SEM_INFO", do_sem_info, SEM_INFO, .rule = ANYBODY },
	{ SEM, "semctl IPC_SET", do_change, SEM, .rule = OWN, .effect = SET },
	{ SEM, "semctl IPC_RMID", do_remove, SEM, .rule = OWN, .effect = GONE },

	GETS(MSG, "msgget", do_msgget),
	{ MSG, "msgsnd", do_send, 5, .rule = WRITE, .effect = VALUE, .value = 2 },
	{ MSG, "msgrcv", do_receive, 0, .rule = READ, .effect = VALUE, .value = 0 },
	{ MSG, "msgrcv that finds none", do_receive, 9, .rule = READ, .ok = ENOMSG },
	{ MSG, "msgrcv MSG_COPY", do_copy, 0, .rule = READ },
	{ MSG, "msgctl IPC_STAT", do_msg_stat, IPC_STAT, .rule = READ },
	{ MSG, "msgctl MSG_STAT", do_msg_stat, MSG_STAT, .rule = READ },
	{ MSG, "msgctl MSG_STAT_ANY", do_msg_stat, MSG_STAT_ANY, .rule = ANYBODY },
	{ MSG, "msgctl IPC_INFO, MSG_INFO", do_msg_info, IPC_INFO, .rule = ANYBODY },
	{ MSG, "msgctl IPC_INFO, MSG_INFO", do_msg_info, MSG_INFO, .rule = ANYBODY },
	{ MSG, "msgctl IPC_SET", do_change, MSG, .rule = OWN, .effect = SET },
	{ MSG, "msgctl IPC_SET of a smaller msg_qbytes", do_qbytes, 100, .rule = OWN, .effect = QBYTES, .value = 100 },
	{ MSG, "msgctl IPC_SET of msg_qbytes above msgmnb", do_qbytes, 3 << 20, .rule = LIMIT, .effect = QBYTES,
	  .value = 3 << 20 },
	{ MSG, "msgctl IPC_RMID", do_remove, MSG, .rule = OWN, .effect = GONE },
};

#define ROWS ((int)COUNT(rows))

#endif
