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
 *
 * IPC_OPEN_SOCKET: `dir` is the socket of a daemon (ipcd), and the namespace is the one that it serves. It is connected
 * to at the first call. A call that needs the daemon while it is away waits for it, IPCD_TIMEOUT seconds (30), and then
 * gives ENOSYS; so it does at once where there never was one.
 */
#define IPC_OPEN_CREATE 1
#define IPC_OPEN_SOCKET 2
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

/*
 * Serving a namespace to processes of any user, over a socket: what ipcd does, and what an application may do in a
 * thread of its own. The process that serves is the only one that may have the directory open in this way.
 *
 * ipc_serve_open opens the namespace and the socket; from then on connections are accepted by the kernel, and answered
 * once ipc_serve runs. Strings and the descriptor of `options` must live until ipc_serve_close, which does not close
 * listen_fd. Returns NULL and sets errno, and ipc_open_error() has the sentence for people: the errors of ipc_open;
 * EBUSY (another process serves the directory, or listens on the socket), ENAMETOOLONG (the socket's path has more
 * bytes than an address holds, 107), EEXIST (something else than a socket has the path), EINVAL (listen_fd is no
 * listening AF_UNIX socket of type SOCK_SEQPACKET, or an option is out of range), and those of socket(2), bind(2),
 * listen(2) and pthread_create(3). A socket file that nobody listens on is replaced.
 */
#define IPC_SERVE_TRUST_CLIENTS 1 /* without Landlock's TRUNCATE right: writable descriptors also for other uids */

typedef struct ipc_server ipc_server;

struct ipc_serve {
	const char *directory; /* of the namespace; made (0700) when it is not there */
	const char *socket;    /* path to make and listen on, or the one that listen_fd is bound to */
	unsigned socket_mode;  /* 0600 for one user, 0666 for all; of a socket that is made */
	int listen_fd;         /* bound and listening already (socket activation), or -1 */
	int workers;           /* threads; 0: as many as processors, at least 4 */
	unsigned flags;        /* IPC_SERVE_* */
	void (*log)(int priority, const char *line, void *arg); /* LOG_ERR to LOG_DEBUG of syslog(3); from any thread */
	void *log_arg;
};

ipc_server *ipc_serve_open(const struct ipc_serve *options);

/* The namespace that is served, for ipc_limit_set and the calls; owned by the server. */
ipc_ns *ipc_serve_namespace(ipc_server *s);

/*
 * The most that each uid but 0 may own: the name is the limit's (shmmni, semmni, msgmni: objects; shmall: pages; semmns:
 * semaphores), 0 ends it. Creating beyond it fails with ENOSPC, and IPC_SET that gives an object beyond it with EDQUOT,
 * unless uid 0 gives. What is there stays. From any thread, at any time. -1 and EINVAL: no such name, or out of range.
 */
int ipc_serve_quota(ipc_server *s, const char *name, unsigned long long value);

/* Serve until ipc_serve_stop(): 0. Or -1 and errno, when serving is not possible any more (ENOMEM, EMFILE, EIO). */
int ipc_serve(ipc_server *s);

/* From any thread, and from signal handlers; also before ipc_serve, which then returns at once. */
void ipc_serve_stop(ipc_server *s);

/* After ipc_serve has returned. The socket's file and the objects stay. */
void ipc_serve_close(ipc_server *s);

#ifdef __cplusplus
}
#endif

#endif
