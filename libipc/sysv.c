/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The standard names on the namespace that IPCD_NAMESPACE names, and the calls that change the process's ids, so that
 * what was cached of them is dropped.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "obj_shm.h"
#include "sysv.h"
#include "sysv_proc.h"
#include "trace.h"

static ipc_ns *the_ns;
static int failed;

/* Also before libc has its environment: then the kernel is asked for what exec left. */
static const char *named(const char *name)
{
	static char text[65536];
	size_t length = strlen(name);
	ssize_t n;
	int fd;

	if (environ)
		return getenv(name);
	fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	for (const char *p = text; p < text + n; p += strlen(p) + 1)
		if (!strncmp(p, name, length) && p[length] == '=')
			return p + length + 1;
	return NULL;
}

/* A directory's namespace, or with IPC_OPEN_SOCKET a daemon's. */
ipc_ns *sysv_open(const char *dir, int flags)
{
	struct cold c;
	ipc_ns *ns;

	ns_quiet(&c);
	ns = ipc_open(dir, flags);
	ns_loud(&c);
	return ns;
}

static void open_namespace(void)
{
	const char *socket = named("IPCD_SOCKET"), *dir = NULL;

	if (socket && *socket)
		the_ns = sysv_open(socket, IPC_OPEN_SOCKET);
	else
		dir = named("IPCD_NAMESPACE");
	if (dir && *dir)
		the_ns = sysv_open(dir, 0);
	if (!the_ns)
		failed = 1;
	trace_init();
}

/* Constructors of other libraries, and the program's preinit functions, may call before this runs. */
__attribute__((constructor)) static void start(void)
{
	int saved = errno;

	if (!the_ns && !failed)
		open_namespace();
	sysv_take_names();
	errno = saved;
}

void sysv_next(void *f, const char *name)
{
	void *next = dlsym(RTLD_NEXT, name);

	if (next)
		*(void **)f = next;
}

static void explain(void)
{
	static int said;

	if (__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED))
		return;
	const char *dir = named("IPCD_SOCKET");

	if (!dir || !*dir)
		dir = named("IPCD_NAMESPACE");
	if (dir && *dir)
		fprintf(stderr, "libipc-sysv: no System V IPC: %s\n", *ipc_open_error() ? ipc_open_error() : dir);
	else
		fprintf(stderr, "libipc-sysv: no System V IPC: neither IPCD_NAMESPACE nor IPCD_SOCKET is set; start the program "
				"with ipcrun\n");
}

static inline __attribute__((always_inline)) ipc_ns *ns_or_explain(void)
{
	if (__builtin_expect(the_ns != NULL, 1))
		return the_ns;
	return sysv_namespace();
}

struct ipc_ns *sysv_namespace(void)
{
	if (!the_ns && !failed)
		open_namespace();
	if (the_ns)
		return the_ns;
	explain();
	errno = ENOSYS;
	return NULL;
}

int sysv_use(struct ipc_ns *ns)
{
	if (setenv("IPCD_NAMESPACE", ns->dir, 1) || unsetenv("IPCD_SOCKET"))
		return -ENOMEM;
	the_ns = ns;
	return 0;
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

/* What is attached stays so when the process leaves for another namespace: it may be of any that was opened. */
static int detach(ipc_ns *ns, const void *addr)
{
	int r = ipc_shmdt(ns, addr);

	for (ipc_ns *n = ns_list; r && errno == EINVAL && n; n = n->next)
		if (n != ns)
			r = ipc_shmdt(n, addr);
	return r;
}

/* traced as what it is; after unshare() of another namespace's attachments, in vain */
#define traced_detach traced_ipc_shmdt

int shmdt(const void *addr)
{
	WITH_NS(int, detach(ns, addr));
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

/* ---- calls that change ids ---- */

#define NEXT(name, ret, params)                                                                     \
	static ret (*next) params;                                                                  \
	if (!next)                                                                                  \
		*(void **)&next = dlsym(RTLD_NEXT, name)

#define CHANGES_IDS(fn, params, args)             \
	int fn params                             \
	{                                         \
		NEXT(#fn, int, params);           \
		creds_change();                   \
		int r = next args;                \
		creds_changed();                  \
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
