/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPCD_LOG=trace: the twelve standard calls with a line for each, in strace's form. Whether the standard names (sysv.c)
 * come here is decided when the library is loaded.
 */
#ifndef IPC_TRACE_H
#define IPC_TRACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "libipc.h"

extern bool trace_on __attribute__((visibility("hidden")));

/* As IPCD_LOG says. Done once, when the library is loaded. */
void trace_init(void);

/* The calls. Without a namespace they end with the errno that is set. */
int traced_ipc_shmget(ipc_ns *ns, key_t key, size_t size, int flags);
void *traced_ipc_shmat(ipc_ns *ns, int id, const void *addr, int flags);
int traced_ipc_shmdt(ipc_ns *ns, const void *addr);
int traced_ipc_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf);
int traced_ipc_semget(ipc_ns *ns, key_t key, int nsems, int flags);
int traced_ipc_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops);
int traced_ipc_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
int traced_ipc_semctl(ipc_ns *ns, int id, int num, int cmd, void *arg);
int traced_ipc_msgget(ipc_ns *ns, key_t key, int flags);
int traced_ipc_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags);
ssize_t traced_ipc_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags);
int traced_ipc_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf);

#endif
