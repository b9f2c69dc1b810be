/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The standard names on the namespace that IPCD_NAMESPACE names, and the calls that change the process's ids, so that
 * what was cached of them is dropped.
 */
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libipc.h"
#include "obj_shm.h"
#include "sysv_proc.h"
#include "trace.h"

static ipc_ns *the_ns;
static int failed;

__attribute__((constructor)) static void open_namespace(void)
{
	const char *dir = getenv("IPCD_NAMESPACE");
	int saved = errno;

	if (dir && *dir)
		the_ns = ipc_open(dir, 0);
	if (!the_ns)
		failed = 1;
	trace_init();
	errno = saved;
}

static void explain(void)
{
	static int said;

	if (__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED))
		return;
	const char *dir = getenv("IPCD_NAMESPACE");

	if (dir && *dir)
		fprintf(stderr, "libipc-sysv: no System V IPC: %s\n", *ipc_open_error() ? ipc_open_error() : dir);
	else
		fprintf(stderr, "libipc-sysv: no System V IPC: IPCD_NAMESPACE is not set; start the program with ipcrun\n");
}

static inline __attribute__((always_inline)) ipc_ns *ns_or_explain(void)
{
	if (__builtin_expect(the_ns != NULL, 1))
		return the_ns;
	return sysv_namespace();
}

struct ipc_ns *sysv_namespace(void)
{
	if (!the_ns && !failed) /* called from a constructor that runs before ours */
		open_namespace();
	if (the_ns)
		return the_ns;
	explain();
	errno = ENOSYS;
	return NULL;
}

#define WITH_NS(type, call)                          \
	do {                                         \
		ipc_ns *ns = ns_or_explain();        \
		if (__builtin_expect(trace_on, 0))   \
			return traced_##call;        \
		return ns ? (call) : (type)-1;       \
	} while (0)

int shmget(key_t key, size_t size, int flags)
{
	WITH_NS(int, ipc_shmget(ns, key, size, flags));
}

void *shmat(int id, const void *addr, int flags)
{
	WITH_NS(void *, ipc_shmat(ns, id, addr, flags));
}

int shmdt(const void *addr)
{
	WITH_NS(int, ipc_shmdt(ns, addr));
}

int shmctl(int id, int cmd, struct shmid_ds *buf)
{
	WITH_NS(int, ipc_shmctl(ns, id, cmd, buf));
}

int semget(key_t key, int nsems, int flags)
{
	WITH_NS(int, ipc_semget(ns, key, nsems, flags));
}

int semop(int id, struct sembuf *sops, size_t nsops)
{
	WITH_NS(int, ipc_semop(ns, id, sops, nsops));
}

int semtimedop(int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	WITH_NS(int, ipc_semtimedop(ns, id, sops, nsops, timeout));
}

int semctl(int id, int num, int cmd, ...)
{
	void *arg;
	va_list ap;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	WITH_NS(int, ipc_semctl(ns, id, num, cmd, arg));
}

int msgget(key_t key, int flags)
{
	WITH_NS(int, ipc_msgget(ns, key, flags));
}

int msgsnd(int id, const void *msg, size_t size, int flags)
{
	WITH_NS(int, ipc_msgsnd(ns, id, msg, size, flags));
}

ssize_t msgrcv(int id, void *msg, size_t size, long type, int flags)
{
	WITH_NS(ssize_t, ipc_msgrcv(ns, id, msg, size, type, flags));
}

int msgctl(int id, int cmd, struct msqid_ds *buf)
{
	WITH_NS(int, ipc_msgctl(ns, id, cmd, buf));
}

/* ---- calls that unmap ---- */

int munmap(void *addr, size_t length)
{
	int r = (int)syscall(SYS_munmap, addr, length);

	if (!r && the_ns)
		shm_unmapped(the_ns, addr, length);
	return r;
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
{
	void *p = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);

	if (p != MAP_FAILED && flags & MAP_FIXED && the_ns)
		shm_unmapped(the_ns, addr, length);
	return p;
}

#undef mmap
void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return mmap64(addr, length, prot, flags, fd, offset);
}

/* ---- calls that change ids ---- */

#define NEXT(name, ret, params)                                                                     \
	static ret (*next) params;                                                                  \
	if (!next)                                                                                  \
		*(void **)&next = dlsym(RTLD_NEXT, name)

#define CHANGES_IDS(fn, params, args)             \
	int fn params                             \
	{                                         \
		NEXT(#fn, int, params);           \
		int r = next args;                \
		ipc_credentials_changed();        \
		return r;                         \
	}

CHANGES_IDS(setuid, (uid_t a), (a))
CHANGES_IDS(setgid, (gid_t a), (a))
CHANGES_IDS(seteuid, (uid_t a), (a))
CHANGES_IDS(setegid, (gid_t a), (a))
CHANGES_IDS(setreuid, (uid_t a, uid_t b), (a, b))
CHANGES_IDS(setregid, (gid_t a, gid_t b), (a, b))
CHANGES_IDS(setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
CHANGES_IDS(setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
CHANGES_IDS(setgroups, (size_t n, const gid_t *list), (n, list))
int capset(void *head, const void *data); /* in libc, declared by libcap only */
CHANGES_IDS(capset, (void *head, const void *data), (head, data))
CHANGES_IDS(initgroups, (const char *user, gid_t group), (user, group))
