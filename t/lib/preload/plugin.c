/* SPDX-License-Identifier: BSD-2-Clause */
/* A library that a program loads, and closes again: calls in its constructor, on demand, and in its destructor. */
#include <stddef.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define KEY 0x41a70500

int plugin_constructed = -2, plugin_add(int num, int by);
char *plugin_attach(void);

static int add(int num, int by, int flags)
{
	struct sembuf s = { (unsigned short)num, (short)by, (short)flags };
	int id = semget(KEY, 0, 0);

	return id == -1 ? -1 : semop(id, &s, 1);
}

__attribute__((constructor)) static void construct(void)
{
	plugin_constructed = add(0, 1, 0);
}

__attribute__((destructor)) static void destroy(void)
{
	add(1, 1, 0);
}

int plugin_add(int num, int by)
{
	return add(num, by, SEM_UNDO);
}

char *plugin_attach(void)
{
	int id = shmget(KEY, 4096, IPC_CREAT | 0600);

	return shmat(id, NULL, 0);
}

/* A name that the program has too: which one a library finds is what RTLD_DEEPBIND is for. */
int plugin_whose(void);
int whose(void);

int whose(void)
{
	return 2;
}

int plugin_whose(void)
{
	return whose();
}
