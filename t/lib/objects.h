/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects for tests of the standard calls: make one (it is removed when the process that made it ends), ask it, and
 * start children that sleep on it. Nothing here prints; a child reports its errno as its exit status (0: done).
 */
#ifndef T_OBJECTS_H
#define T_OBJECTS_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "proc.h"
#include "tap.h"

#define UNUSED __attribute__((unused))
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 4096

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

struct text {
	long type;
	char data[8192];
};

enum kind { SHM, SEM, MSG };

static struct { enum kind kind; int id; } obj_made[1024];
static unsigned int obj_count;
static pid_t obj_maker;

UNUSED static int obj_remove(enum kind kind, int id)
{
	if (kind == SHM)
		return shmctl(id, IPC_RMID, NULL);
	return kind == SEM ? semctl(id, 0, IPC_RMID) : msgctl(id, IPC_RMID, NULL);
}

UNUSED static void obj_sweep(void)
{
	if (getpid() != obj_maker)
		return;
	while (obj_count--)
		obj_remove(obj_made[obj_count].kind, obj_made[obj_count].id);
}

/* Remember an object, so that it goes when this process exits. */
UNUSED static int obj_keep(enum kind kind, int id)
{
	if (id < 0)
		bail_out("cannot create an object");
	if (obj_maker != getpid()) {
		obj_maker = getpid();
		obj_count = 0;
		atexit(obj_sweep);
	}
	if (obj_count == COUNT(obj_made))
		bail_out("too many objects");
	obj_made[obj_count].kind = kind;
	obj_made[obj_count++].id = id;
	return id;
}

UNUSED static int obj_get(enum kind kind, key_t key, int flags)
{
	if (kind == SHM)
		return shmget(key, PAGE, flags);
	return kind == SEM ? semget(key, 1, flags) : msgget(key, flags);
}

UNUSED static const char *obj_name(enum kind kind)
{
	return kind == SHM ? "shm" : kind == SEM ? "sem" : "msg";
}

UNUSED static int shm_new(size_t size)
{
	return obj_keep(SHM, shmget(IPC_PRIVATE, size, 0600));
}

UNUSED static int sem_new(int n)
{
	return obj_keep(SEM, semget(IPC_PRIVATE, n, 0600));
}

UNUSED static int msg_new(void)
{
	return obj_keep(MSG, msgget(IPC_PRIVATE, 0600));
}

/* Memory that children share, whatever the implementation under test does. */
UNUSED static void *shared_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bail_out("mmap");
	return p;
}

/* Semaphores */

UNUSED static int sem_do(int id, int num, int op, int flags)
{
	struct sembuf s = { .sem_num = num, .sem_op = op, .sem_flg = flags };

	return semop(id, &s, 1);
}

UNUSED static int sem_value(int id, int num)
{
	return semctl(id, num, GETVAL);
}

UNUSED static int sem_ncnt(int id, int num)
{
	return semctl(id, num, GETNCNT);
}

UNUSED static int sem_zcnt(int id, int num)
{
	return semctl(id, num, GETZCNT);
}

UNUSED static int sem_pid(int id, int num)
{
	return semctl(id, num, GETPID);
}

UNUSED static int sem_set(int id, int num, int value)
{
	return semctl(id, num, SETVAL, (union semun){ .val = value });
}

UNUSED static struct semid_ds sem_stat(int id)
{
	struct semid_ds ds;

	memset(&ds, 0xff, sizeof ds);
	if (semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }) < 0)
		bail_out("semctl IPC_STAT");
	return ds;
}

struct sem_wish {
	int id;
	unsigned int n;
	const struct sembuf *ops;
};

UNUSED static int sem_wish_run(void *arg)
{
	struct sem_wish *w = arg;
	int r;

	errno = 0;
	r = semop(w->id, (struct sembuf *)w->ops, w->n);
	return r == 0 ? 0 : r == -1 && errno ? errno : 250;
}

/* A child that performs ops and exits with 0 or its errno (250: neither 0 nor -1 came back). */
UNUSED static pid_t sem_child(int id, const struct sembuf *ops, unsigned int n)
{
	struct sem_wish w = { .id = id, .n = n, .ops = ops };

	return proc_run(sem_wish_run, &w);
}

/* The same for one operation that must sleep: returns when the set counts it. */
UNUSED static pid_t sem_sleeper(int id, int num, int op, int flags)
{
	struct sembuf s = { .sem_num = num, .sem_op = op, .sem_flg = flags };
	int cmd = op ? GETNCNT : GETZCNT, before = semctl(id, num, cmd);
	pid_t pid = sem_child(id, &s, 1);

	if (!wait_until(semctl(id, num, cmd) == before + 1))
		diag("a sleeper on semaphore %d was never counted", num);
	return pid;
}

/* Shared memory */

UNUSED static struct shmid_ds shm_stat(int id)
{
	struct shmid_ds ds;

	memset(&ds, 0xff, sizeof ds);
	if (shmctl(id, IPC_STAT, &ds) < 0)
		bail_out("shmctl IPC_STAT");
	return ds;
}

UNUSED static long shm_nattch(int id)
{
	struct shmid_ds ds;

	return shmctl(id, IPC_STAT, &ds) < 0 ? -1 : (long)ds.shm_nattch;
}

UNUSED static char *shm_map(int id, int flags)
{
	char *p = shmat(id, NULL, flags);

	if (p == (char *)-1)
		bail_out("shmat");
	return p;
}

/* Messages */

UNUSED static struct msqid_ds msg_stat(int id)
{
	struct msqid_ds ds;

	memset(&ds, 0xff, sizeof ds);
	if (msgctl(id, IPC_STAT, &ds) < 0)
		bail_out("msgctl IPC_STAT");
	return ds;
}

/* A message of this type and size, filled with this byte. */
UNUSED static int msg_put(int id, long type, int size, char fill, int flags)
{
	struct text m = { .type = type };

	memset(m.data, fill, size);
	return msgsnd(id, &m, size, flags);
}

/* The type of the message taken, or -errno. */
UNUSED static long msg_take(int id, long want, int flags)
{
	struct text m = { .type = -1 };

	return msgrcv(id, &m, sizeof m.data, want, flags) < 0 ? -errno : m.type;
}

UNUSED static void msg_limit(int id, unsigned long qbytes)
{
	struct msqid_ds ds = msg_stat(id);

	ds.msg_qbytes = qbytes;
	if (msgctl(id, IPC_SET, &ds) < 0)
		bail_out("msgctl IPC_SET");
}

/* A thread of a process in an uninterrupted sleep: seen asleep several times in a row. */
UNUSED static bool proc_settled(pid_t pid, pid_t tid)
{
	for (int i = 0; i < 4; i++) {
		if (proc_state(pid, tid) != 'S')
			return false;
		proc_nap();
	}
	return true;
}

struct msg_wish {
	int id, size, flags;
	long type;
	bool send;
	atomic_int *ready;
};

UNUSED static int msg_wish_run(void *arg)
{
	struct msg_wish *w = arg;
	struct text m = { .type = w->type };
	struct msqid_ds ds;
	ssize_t r;

	msgctl(w->id, IPC_STAT, &ds);
	*w->ready = 1;
	errno = 0;
	if (w->send)
		r = msgsnd(w->id, &m, w->size, w->flags);
	else
		r = msgrcv(w->id, &m, w->size, w->type, w->flags);
	if (r == -1 && errno)
		return errno;
	if (w->send)
		return r == 0 ? 0 : 250;
	return m.type >= 1 && m.type < 50 ? 200 + m.type : 250;
}

/* A child asleep in msgsnd or msgrcv. It exits with its errno, or 0 (sent), or 200 + the type received (below 50). */
UNUSED static pid_t msg_sleeper(bool send, int id, long type, int size, int flags)
{
	struct msg_wish w = { .id = id, .size = size, .flags = flags, .type = type, .send = send };
	pid_t pid;

	w.ready = shared_new(sizeof *w.ready);
	pid = proc_run(msg_wish_run, &w);
	if (!wait_until(*w.ready && proc_settled(pid, pid)))
		diag("a sleeper on a queue never slept");
	munmap(w.ready, sizeof *w.ready);
	return pid;
}

#endif
