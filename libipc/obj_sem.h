/* SPDX-License-Identifier: BSD-2-Clause */
/* Semaphore sets: what a control area of nsems semaphores holds, and the operations on it. */
#ifndef IPC_OBJ_SEM_H
#define IPC_OBJ_SEM_H

#include <sys/sem.h>
#include <time.h>

#include "ns.h"

#define SEMVMX 32767
#define SEMAEM SEMVMX
#define SEMOPM_MAX 1024

struct sem_times { uint32_t otime, ctime; };

int sem_set_create(struct ipc_ns *ns, uint32_t nsems, uint32_t *file);
/* sops are checked for numbers against nsems by the caller; deadline as in wait_sleep */
int sem_set_operate(struct ipc_ns *ns, int who, struct obj *o, const struct sembuf *sops, uint32_t nsops,
		    const struct timespec *deadline);
/* This process's undo row, made at its first SEM_UNDO, also of an operation that fails. */
int sem_set_undo(struct ipc_ns *ns, int who, struct obj *o);
int sem_set_query(struct ipc_ns *ns, int who, struct obj *o, uint32_t num, int cmd);
int sem_set_getall(struct ipc_ns *ns, int who, struct obj *o, unsigned short *values);
int sem_set_setval(struct ipc_ns *ns, int who, struct obj *o, uint32_t num, int value);
int sem_set_setall(struct ipc_ns *ns, int who, struct obj *o, const unsigned short *values);
int sem_set_times(struct ipc_ns *ns, int who, struct obj *o, struct sem_times *times);
/* The object has gone from the registry: everybody who waits gets EIDRM. */
void sem_set_close(struct ipc_ns *ns, int who, struct obj *o);
/* Requests of a process that has gone, and with undo its adjustments. */
void sem_set_settle(struct ipc_ns *ns, int who, struct obj *o, uint32_t tag, bool undo);

#endif
