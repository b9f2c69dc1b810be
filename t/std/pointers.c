/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Null pointers and pointers into the kernel's half of the addresses: EFAULT, by the functions and by number, and in
 * which order with other errors; where a pointer is not looked at, it does not matter.
 */
#include <sys/syscall.h>

#include "objects.h"

#define KERNEL ((void *)0xffff800000000000ul)
#define TOP ((void *)-8l)
#define EDGE ((void *)(0x7ffffffff000ul))

static const struct { const char *name; void *p; } bad[] = {
	{ "NULL", NULL }, { "an address of the kernel's half", KERNEL }, { "the last address", TOP },
	{ "the first address that no program has", EDGE },
};
static int sem, msg, shm;

static void test_sem(void *p, const char *name)
{
	struct sembuf up = { 0, 1, 0 }, far = { 60000, 1, 0 };
	struct timespec *t = p;

	call_fails(semop(sem, p, 1), EFAULT, "semop: %s as operations", name);
	call_fails(syscall(SYS_semop, sem, p, 1L), EFAULT, "... by number");
	call_fails(semop(sem, p, 2), EFAULT, "... two of them");
	call_fails(semop(sem, p, 0), EINVAL, "... none of them: EINVAL comes first");
	call_fails(semop(sem, p, 100000), E2BIG, "... too many: E2BIG comes first");
	call_fails(semop(-1, p, 1), EFAULT, "... and no set: EFAULT comes first");
	if (p) {
		call_fails(semtimedop(sem, &up, 1, t), EFAULT, "semtimedop: %s as timeout", name);
		call_fails(syscall(SYS_semtimedop, sem, &up, 1L, t), EFAULT, "... by number");
		call_fails(semtimedop(-1, &up, 0, t), EFAULT, "... comes before EINVAL");
		call_fails(semtimedop(sem, &far, 1, t), EFAULT, "... and before EFBIG");
	}
	call_fails(semctl(sem, 0, IPC_STAT, p), EFAULT, "semctl IPC_STAT: %s", name);
	call_fails(syscall(SYS_semctl, sem, 0, IPC_STAT, p), EFAULT, "... by number");
	call_fails(semctl(sem, 0, IPC_SET, p), EFAULT, "semctl IPC_SET: %s", name);
	call_fails(semctl(sem, 0, IPC_INFO, p), EFAULT, "semctl IPC_INFO: %s", name);
	call_fails(semctl(sem, 0, SEM_INFO, p), EFAULT, "semctl SEM_INFO: %s", name);
	call_fails(semctl(sem, 0, GETALL, p), EFAULT, "semctl GETALL: %s", name);
	call_fails(semctl(sem, 0, SETALL, p), EFAULT, "semctl SETALL: %s", name);
	call_fails(semctl(12345678, 0, IPC_STAT, p), EINVAL, "semctl IPC_STAT of no set: EINVAL comes first");
	is(semctl(sem, 0, GETVAL, p), 0, "semctl GETVAL does not look at it");
	is(sem_value(sem, 0), 0, "nothing has changed");
}

static void test_msg(void *p, const char *name)
{
	struct { long type; char text[8]; } m = { 1, "x" };
	struct msqid_ds ds;

	call_fails(msgsnd(msg, p, 1, 0), EFAULT, "msgsnd: %s", name);
	call_fails(syscall(SYS_msgsnd, msg, p, 1L, 0), EFAULT, "... by number");
	call_fails(msgsnd(-1, p, 1, 0), EFAULT, "... and no queue: EFAULT comes first");
	call_fails(msgsnd(msg, p, 1 << 20, 0), EFAULT, "... and too long: EFAULT comes first");
	ds = msg_stat(msg);
	is(ds.msg_qnum, 0, "nothing was sent");
	call_fails(msgrcv(msg, p, 1, 0, IPC_NOWAIT), ENOMSG, "msgrcv from an empty queue does not look at it");
	if (msgsnd(msg, &m, 2, 0))
		bail_out("msgsnd");
	call_fails(msgrcv(msg, p, 1, 0, IPC_NOWAIT), E2BIG, "msgrcv: too short a buffer comes before %s", name);
	is(msg_stat(msg).msg_qnum, 1, "and leaves the message");
	call_fails(msgrcv(msg, p, 8, 0, IPC_NOWAIT), EFAULT, "msgrcv: %s", name);
	is(msg_stat(msg).msg_qnum, 0, "the message is lost, as with the kernel");
	call_fails(msgctl(msg, IPC_STAT, p), EFAULT, "msgctl IPC_STAT: %s", name);
	call_fails(syscall(SYS_msgctl, msg, IPC_STAT, p), EFAULT, "... by number");
	call_fails(msgctl(msg, IPC_SET, p), EFAULT, "msgctl IPC_SET: %s", name);
	call_fails(msgctl(msg, IPC_INFO, p), EFAULT, "msgctl IPC_INFO: %s", name);
	call_fails(msgctl(msg, MSG_INFO, p), EFAULT, "msgctl MSG_INFO: %s", name);
}

static void test_shm(void *p, const char *name)
{
	call_fails(shmctl(shm, IPC_STAT, p), EFAULT, "shmctl IPC_STAT: %s", name);
	call_fails(syscall(SYS_shmctl, shm, IPC_STAT, p), EFAULT, "... by number");
	call_fails(shmctl(shm, IPC_SET, p), EFAULT, "shmctl IPC_SET: %s", name);
	call_fails(shmctl(shm, IPC_INFO, p), EFAULT, "shmctl IPC_INFO: %s", name);
	call_fails(shmctl(shm, SHM_INFO, p), EFAULT, "shmctl SHM_INFO: %s", name);
	call_fails(shmctl(12345678, IPC_STAT, p), EINVAL, "shmctl IPC_STAT of no segment: EINVAL comes first");
	call_fails(shmctl(12345678, IPC_SET, p), EFAULT, "shmctl IPC_SET of no segment: EFAULT comes first");
	if (p)
		call_fails((intptr_t)shmat(shm, p, SHM_RND), p == TOP ? EINVAL : ENOMEM, "shmat there");
	call_fails(shmdt(p), EINVAL, "shmdt there: EINVAL");
	is(shm_nattch(shm), 0, "nothing is attached");
}

int main(void)
{
	alarm(60);
	sem = sem_new(3);
	msg = msg_new();
	shm = shm_new(PAGE);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		test_sem(bad[i].p, bad[i].name);
		test_msg(bad[i].p, bad[i].name);
		test_shm(bad[i].p, bad[i].name);
	}
	return done_testing();
}
