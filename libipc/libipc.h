/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libipc: System V IPC in userspace, with a namespace argument.
 *
 * A namespace is one set of shared memory segments, semaphore sets and message queues with its own keys, ids and
 * limits; at rest it is a directory (0700) on tmpfs. Any process of the directory's owner may open it; processes
 * that share it see the same objects, and none of them is special: each may be killed at any instruction.
 *
 * Every ipc_* call behaves as the call of the same name without the prefix behaves on Linux, for the objects of that
 * namespace: shmget(2), shmop(2), shmctl(2), semget(2), semop(2), semctl(2), msgget(2), msgop(2), msgctl(2) and
 * sysvipc(7) lay the behaviour down; where the manual page and the kernel differ, the kernel wins. Structures,
 * commands, flags and errno values are the system's. What differs stands at each call.
 *
 * Threads: every call may be made from any thread at the same time; a namespace must not be closed while calls are
 * under way on it. Forks: a child goes on with the namespaces that its parent had open. exec: nothing is kept but
 * pending undo adjustments, which the new program adopts when it opens the namespace.
 *
 * Signals: semop, semtimedop, msgsnd, msgrcv and the queries may be called from signal handlers, also on an object
 * on which the interrupted frame is at work; a handler may longjmp away. To withdraw an interrupted sleeper at once
 * the library wraps the handlers that the program installs with sigaction() or signal().
 *
 * Errors of the library's own, beside those of the manual pages:
 *   ENOSYS  there is no namespace that could serve the call (a line on stderr says why)
 *   EACCES  the process may not open the namespace's files (it has changed its uid since)
 *   ENOMEM  the file system that holds the namespace is full, or a table of it (16383 processes or threads)
 *   EMFILE  (or ENFILE) no descriptor for a moment: at the first call of a process, the first use of an object,
 *           shmat, creation and removal
 *   EIO     the namespace's database cannot be written (a line on stderr says why): creation, removal, IPC_SET
 *   EIDRM   the object's memory is damaged (a line on stderr says which file)
 */
#ifndef LIBIPC_H
#define LIBIPC_H

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct timespec; /* not every mode of <time.h> defines it */

typedef struct ipc_ns ipc_ns;

/*
 * Open the namespace in directory `dir`; with IPC_OPEN_CREATE it is made (0700) when it is not there. NULL: a private,
 * anonymous namespace for this process and the children that it forks, removed when the last of them has gone.
 * Returns NULL and sets errno: ENOENT, ENOTDIR, EACCES (not ours, or not private), EPROTO (another version),
 * EUCLEAN (damaged), ENAMETOOLONG (an absolute name of 400 bytes or more), ENOSPC, ENOMEM; ipc_open_error() has the
 * sentence for people, valid in this thread until the next open. The namespace is freed by ipc_close.
 */
#define IPC_OPEN_CREATE 1
ipc_ns *ipc_open(const char *dir, int flags);
const char *ipc_open_error(void);

/*
 * Close: undo adjustments stay pending until the process exits. What is attached stays mapped but is not counted any
 * more, and is the caller's to munmap().
 */
void ipc_close(ipc_ns *ns);

/* The directory of the namespace, for other programs of the same user; owned by the namespace. */
const char *ipc_directory(const ipc_ns *ns);

int ipc_shmget(ipc_ns *ns, key_t key, size_t size, int flags);
void *ipc_shmat(ipc_ns *ns, int id, const void *addr, int flags);
int ipc_shmdt(ipc_ns *ns, const void *addr);
int ipc_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf);

int ipc_semget(ipc_ns *ns, key_t key, int nsems, int flags);
int ipc_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops);
/* timeout: relative, on the monotonic clock; NULL waits for ever. */
int ipc_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
/* The fourth argument is a union semun (or a pointer, or an int), as for semctl(2). */
int ipc_semctl(ipc_ns *ns, int id, int num, int cmd, ...);

int ipc_msgget(ipc_ns *ns, key_t key, int flags);
/* msgsnd and msgrcv are cancellation points; the others are not. */
int ipc_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags);
ssize_t ipc_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags);
int ipc_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf);

/*
 * The namespace's limits, by the kernel's names: shmmax shmall shmmni semmsl semmns semopm semmni msgmax msgmnb
 * msgmni. Bytes, pages (shmall) or counts. ipc_limit_set returns -1 with EINVAL for an unknown name or a value out of
 * range. Lowering a limit removes nothing.
 */
int ipc_limit_get(ipc_ns *ns, const char *name, unsigned long long *value);
int ipc_limit_set(ipc_ns *ns, const char *name, unsigned long long value);

/*
 * The library caches the effective ids of the process. libipc-sysv.so sees setuid(2) and its relatives; a program
 * that links libipc itself and changes its ids calls this afterwards. Async-signal-safe.
 */
void ipc_credentials_changed(void);

#ifdef __cplusplus
}
#endif

#endif
