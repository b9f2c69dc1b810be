/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows that need limits other than the default ones: each limit is set, shown by IPC_INFO, reached and passed.
 * Where limits cannot be set, all rows are skipped. What others hold in the namespace is added to each limit.
 */
#include "table.h"
#define ROWS TABLE_LIMIT
#include "row.h"
#include "limit.h"

#define PAGE 4096L
#define NEW (IPC_CREAT | 0600)

static struct {
	long type;
	char text[8192];
} m = { .type = 1 };

static void limit(const char *name, unsigned long value)
{
	if (set_limit(name, value))
		ok(0, "%s can be set to %lu", name, value);
}

static void restore(void)
{
	if (limits_restore())
		ok(0, "the limits can be put back");
}

static struct shm_info shm_used(void)
{
	struct shm_info info = { 0 };

	shmctl(0, SHM_INFO, (void *)&info);
	return info;
}

static struct seminfo sem_used(void)
{
	struct seminfo info = { 0 };

	semctl(0, 0, SEM_INFO, &info);
	return info;
}

static int msg_used(void)
{
	struct msginfo info = { 0 };

	msgctl(0, MSG_INFO, (void *)&info);
	return info.msgpool;
}

static key_t key(void)
{
	return 0x53000000 | getpid();
}

static int shm_new(size_t size)
{
	return shmget(IPC_PRIVATE, size, NEW);
}

static void shm_rm(int id)
{
	shmctl(id, IPC_RMID, NULL);
}

static int sem_new(int nsems)
{
	return semget(IPC_PRIVATE, nsems, NEW);
}

static void sem_rm(int id)
{
	semctl(id, 0, IPC_RMID);
}

static int msg_new(void)
{
	return msgget(IPC_PRIVATE, NEW);
}

static void msg_rm(int id)
{
	msgctl(id, IPC_RMID, NULL);
}

static void shown(int row, const char *name, unsigned long value)
{
	limit(name, value);
	works(row, limit_value(name) == value);
}

static void all_shown(void)
{
	shown(SHMCTL_OK_SHMMAX, "shmmax", 1234567);
	shown(SHMCTL_OK_SHMALL, "shmall", 54321);
	shown(SHMCTL_OK_SHMMNI, "shmmni", 77);
	shown(SEMCTL_OK_SEMMSL, "semmsl", 333);
	shown(SEMCTL_OK_SEMMNS, "semmns", 4444);
	shown(SEMCTL_OK_SEMOPM, "semopm", 55);
	shown(SEMCTL_OK_SEMMNI, "semmni", 66);
	shown(MSGCTL_OK_MSGMAX, "msgmax", 7777);
	shown(MSGCTL_OK_MSGMNB, "msgmnb", 8888);
	shown(MSGCTL_OK_MSGMNI, "msgmni", 99);
	works(SHMCTL_OK_SHMMAX, limit_value("shmmax") == 1234567);
	restore();
}

static void shm_sizes(void)
{
	int id;

	limit("shmmax", 2 * PAGE + 10);
	fails(SHMGET_EINVAL_SHMMAX, shm_new(2 * PAGE + 11));
	id = shm_new(2 * PAGE + 10);
	works(SHMGET_OK_SHMMAX, id >= 0);
	shm_rm(id);
	limit("shmmax", ULONG_MAX);
	fails(SHMGET_ENOSPC_ROUNDING, shmget(IPC_PRIVATE, ULONG_MAX, NEW | SHM_NORESERVE));
	restore();
}

static void shm_pages(void)
{
	int id, small;
	void *p;

	limit("shmall", shm_used().shm_tot + 4);
	id = shm_new(4 * PAGE);
	works(SHMGET_OK_SHMALL, id >= 0);
	fails(SHMGET_ENOSPC_SHMALL, shm_new(PAGE));
	p = shmat(id, NULL, 0);
	shm_rm(id);
	works(SHMGET_OK_DEST, shm_new(PAGE) == -1 && errno == ENOSPC);
	shmdt(p);
	id = shm_new(3 * PAGE);
	works(SHMGET_OK_FREED, id >= 0);
	small = shm_new(1);
	fails(SHMGET_ENOSPC_SHMALL_ROUNDED, shm_new(1));
	shm_rm(small);
	shm_rm(id);
	restore();
}

static void shm_number(void)
{
	int id;

	limit("shmmni", shm_used().used_ids + 1);
	id = shmget(key(), PAGE, NEW);
	fails(SHMGET_ENOSPC_SHMMNI, shm_new(PAGE));
	fails(SHMGET_ENOSPC_SHMMNI, shmget(key() + 1, PAGE, NEW));
	works(SHMGET_OK_SHMMNI_FIND, shmget(key(), PAGE, NEW) == id);
	shm_rm(id);
	id = shm_new(PAGE);
	works(SHMGET_OK_FREED, id >= 0);
	shm_rm(id);
	restore();
}

static void sem_sizes(void)
{
	int id;

	limit("semmsl", 10);
	fails(SEMGET_EINVAL_SEMMSL, sem_new(11));
	id = sem_new(10);
	works(SEMGET_OK_SEMMSL, id >= 0);
	sem_rm(id);
	restore();
	limit("semmns", sem_used().semaem + 5);
	fails(SEMGET_ENOSPC_SEMMNS, sem_new(6));
	id = sem_new(5);
	works(SEMGET_OK_SEMMNS, id >= 0);
	fails(SEMGET_ENOSPC_SEMMNS, sem_new(1));
	sem_rm(id);
	id = sem_new(5);
	works(SEMGET_OK_FREED, id >= 0);
	sem_rm(id);
	restore();
}

static void sem_number(void)
{
	int id;

	limit("semmni", sem_used().semusz + 1);
	id = semget(key(), 1, NEW);
	fails(SEMGET_ENOSPC_SEMMNI, sem_new(1));
	works(SEMGET_OK_SEMMNI_FIND, semget(key(), 1, NEW) == id);
	sem_rm(id);
	id = sem_new(1);
	works(SEMGET_OK_FREED, id >= 0);
	sem_rm(id);
	restore();
}

static void sem_operations(void)
{
	struct sembuf b[4] = { { 0, 1, 0 }, { 0, 1, 0 }, { 0, 1, 0 }, { 0, 1, 0 } };
	int id = sem_new(1);

	limit("semopm", 3);
	fails(SEMOP_E2BIG_SEMOPM, semop(id, b, 4));
	works(SEMOP_OK_SEMOPM, semop(id, b, 3) == 0 && semctl(id, 0, GETVAL) == 3);
	restore();
	sem_rm(id);
}

static void msg_number(void)
{
	int id;

	limit("msgmni", msg_used() + 1);
	id = msgget(key(), NEW);
	fails(MSGGET_ENOSPC_MSGMNI, msg_new());
	works(MSGGET_OK_MSGMNI_FIND, msgget(key(), NEW) == id);
	msg_rm(id);
	id = msg_new();
	works(MSGGET_OK_FREED, id >= 0);
	msg_rm(id);
	restore();
}

static void msg_queue_size(void)
{
	int old = msg_new(), id;
	struct msqid_ds ds;

	limit("msgmnb", 50);
	id = msg_new();
	works(MSGGET_OK_MSGMNB, msgctl(id, IPC_STAT, &ds) == 0 && ds.msg_qbytes == 50);
	works(MSGGET_OK_MSGMNB_OLD, msgctl(old, IPC_STAT, &ds) == 0 && ds.msg_qbytes > 50);
	fails(MSGSND_EAGAIN_MSGMNB, msgsnd(id, &m, 51, IPC_NOWAIT));
	works(MSGGET_OK_MSGMNB, msgsnd(id, &m, 50, IPC_NOWAIT) == 0);
	restore();
	msg_rm(id);
	msg_rm(old);
}

static void msg_sizes(void)
{
	int id = msg_new();

	msgsnd(id, &m, 200, IPC_NOWAIT);
	limit("msgmax", 100);
	fails(MSGSND_EINVAL_MSGMAX, msgsnd(id, &m, 101, IPC_NOWAIT));
	works(MSGSND_OK_MSGMAX, msgsnd(id, &m, 100, IPC_NOWAIT) == 0);
	works(MSGRCV_OK_MSGMAX, msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT) == 200);
	restore();
	msg_rm(id);
}

int main(void)
{
	if (limits_fixed())
		skip_all(limits_fixed());
	alarm(120);
	limits_save();
	all_shown();
	shm_sizes();
	shm_pages();
	shm_number();
	sem_sizes();
	sem_number();
	sem_operations();
	msg_number();
	msg_queue_size();
	msg_sizes();
	return rows_done();
}
