/* SPDX-License-Identifier: BSD-2-Clause */
/* A program with neighbour.c's libraries around ours: prints what each of them has seen of one call of each name. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEY 0x41a70600

static int count(const char *who, const char *what)
{
	char name[40];
	int *p;

	snprintf(name, sizeof name, "%s_%s", who, what);
	p = dlsym(RTLD_DEFAULT, name);
	return p ? *p : -1;
}

static const char *const what[] = { "constructed", "semops", "syscalls", "munmaps", "sigactions" };

static void print(const char *who, const int *was)
{
	printf("%s:", who);
	for (int i = 0; i < 5; i++)
		printf(" %s=%d", what[i], count(who, what[i]) - (i ? was[i] : 0));
	printf("\n");
}

int main(void)
{
	int id = semget(KEY, 4, IPC_CREAT | 0600), seg = shmget(IPC_PRIVATE, 4096, 0600), was[2][5], pid, queue;
	struct sigaction sa = { .sa_handler = SIG_IGN };
	struct sembuf s = { 3, 1, 0 };
	struct shmid_ds ds;
	char *p = shmat(seg, NULL, 0);

	for (int i = 0; i < 5; i++) {
		was[0][i] = count("before", what[i]);
		was[1][i] = count("behind", what[i]);
	}
	semop(id, &s, 1);
	pid = syscall(SYS_getpid) == getpid();
	queue = (int)syscall(SYS_msgget, 1, 01600);
	munmap(p, 4096);
	sigaction(SIGUSR1, &sa, NULL);
	shmctl(seg, IPC_STAT, &ds);
	print("before", was[0]);
	print("behind", was[1]);
	printf("pid=%d queue=%d nattch=%d values=", pid, queue >= 0, (int)ds.shm_nattch);
	for (int i = 0; i < 4; i++)
		printf("%d", semctl(id, i, GETVAL));
	printf("\n");
	return 0;
}
