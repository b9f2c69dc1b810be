/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls of all three families, in the parent and in a child, while jealous.so watches; prints what it saw. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int bad;

static void must(int line, long r)
{
	if (r == -1 && !bad)
		bad = line;
}
#define MUST(call) must(__LINE__, (long)(call))

static void calls(void)
{
	struct sembuf up = { 0, 1, SEM_UNDO }, down = { 0, -1, 0 }, long_wait = { 0, -5, 0 };
	struct timespec t = { 0, 1000000 };
	struct { long type; char text[100]; } m = { 1, "x" };
	struct semid_ds sds;
	struct msqid_ds mds;
	struct shmid_ds hds;
	struct seminfo info;
	int s = semget(IPC_PRIVATE, 2, 0600), q = msgget(IPC_PRIVATE, 0600), h = shmget(IPC_PRIVATE, 100000, 0600);
	char *p = shmat(h, NULL, 0);

	MUST(s);
	MUST(q);
	MUST(h);
	MUST(p);
	MUST(semop(s, &up, 1));
	MUST(semop(s, &down, 1));
	if (semtimedop(s, &long_wait, 1, &t) != -1)
		MUST(-1);
	MUST(semctl(s, 0, IPC_STAT, &sds));
	MUST(semctl(s, 0, IPC_SET, &sds));
	MUST(semctl(s, 0, SEM_INFO, &info));
	MUST(msgsnd(q, &m, 100, 0));
	MUST(msgrcv(q, &m, 100, 0, 0));
	MUST(msgctl(q, IPC_STAT, &mds));
	MUST(msgctl(q, IPC_SET, &mds));
	MUST(shmctl(h, IPC_STAT, &hds));
	MUST(shmctl(h, IPC_SET, &hds));
	MUST(shmctl(h, SHM_LOCK, NULL));
	MUST(shmctl(h, SHM_INFO, (void *)&hds));
	MUST(shmctl(h, IPC_RMID, NULL));
	MUST(shmdt(p));
	MUST(semctl(s, 0, IPC_RMID));
	MUST(msgctl(q, IPC_RMID, NULL));
}

int main(void)
{
	int *watching = dlsym(RTLD_DEFAULT, "jealous_watching"), *seen = dlsym(RTLD_DEFAULT, "jealous_seen"), status = -1;

	if (!watching || !seen) {
		printf("jealous.so is not preloaded\n");
		return 1;
	}
	*watching = 1;
	calls();
	pid_t child = fork();
	if (child == 0) {
		calls();
		_exit(bad || *seen);
	}
	*watching = 0;
	waitpid(child, &status, 0);
	access("/", F_OK);
	*watching = 1;
	access("/", F_OK);
	*watching = 0;
	printf("seen=%d child=%d failed=%d\n", *seen, status, bad);
	return 0;
}
