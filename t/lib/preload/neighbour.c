/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library to be preloaded before ours or behind it (-DNAME): it takes semop, syscall, munmap, mmap and sigaction,
 * counts and passes on; its constructor and destructor make calls.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sem.h>
#include <sys/types.h>

#define PASS(n, i) NAMED(NAME, n)
#define NAMED(a, b) NAMED2(a, b)
#define NAMED2(a, b) a##_##b

#define KEY 0x41a70600

int NAMED(NAME, semops), NAMED(NAME, syscalls), NAMED(NAME, munmaps), NAMED(NAME, sigactions), NAMED(NAME, constructed);

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

int semop(int id, struct sembuf *sops, size_t n)
{
	static int (*f)(int, struct sembuf *, size_t);

	if (!f)
		*(void **)&f = next("semop");
	NAMED(NAME, semops)++;
	return f(id, sops, n);
}

int munmap(void *p, size_t n)
{
	static int (*f)(void *, size_t);

	if (!f)
		*(void **)&f = next("munmap");
	NAMED(NAME, munmaps)++;
	return f(p, n);
}

int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	static int (*f)(int, const struct sigaction *, struct sigaction *);

	if (!f)
		*(void **)&f = next("sigaction");
	NAMED(NAME, sigactions)++;
	return f(sig, act, old);
}

long syscall(long number, ...)
{
	static long (*f)(long, ...);
	long a[6];
	va_list ap;

	if (!f)
		*(void **)&f = next("syscall");
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	NAMED(NAME, syscalls)++;
	return f(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int add(int num)
{
	struct sembuf s = { (unsigned short)num, 1, 0 };
	int id = semget(KEY, 4, IPC_CREAT | 0600);

	return id == -1 ? -1 : semop(id, &s, 1);
}

__attribute__((constructor)) static void construct(void)
{
	NAMED(NAME, constructed) = add(RANK) == 0;
}

__attribute__((destructor)) static void destroy(void)
{
	if (!add(RANK + 2) && getenv("SAY"))
		fprintf(stderr, "destroyed %d\n", RANK);
}
