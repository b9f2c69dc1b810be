/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPCD_LOG=trace: the twelve standard calls with a line for each, in strace's form. The standard names (sysv.c) come
 * here only when tracing was asked for as the library was loaded; nothing is asked for at other calls.
 */
#ifndef IPC_TRACE_H
#define IPC_TRACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "libipc.h"

extern bool trace_on;

/* What IPCD_LOG says. Done once, when the library is loaded. */
void trace_init(void);

/* The calls. Without a namespace they end with the errno that is set. */
int trace_shmget(ipc_ns *ns, key_t key, size_t size, int flags);
void *trace_shmat(ipc_ns *ns, int id, const void *addr, int flags);
int trace_shmdt(ipc_ns *ns, const void *addr);
int trace_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf);
int trace_semget(ipc_ns *ns, key_t key, int nsems, int flags);
int trace_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops);
int trace_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
int trace_semctl(ipc_ns *ns, int id, int num, int cmd, void *arg);
int trace_msgget(ipc_ns *ns, key_t key, int flags);
int trace_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags);
ssize_t trace_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags);
int trace_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf);

#endif
