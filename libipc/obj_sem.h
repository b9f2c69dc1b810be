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

/* Cells of a set, by index; semaphore by semaphore from S_FIRST on, then the undo rows (obj_sem.c). */
enum { S_FLAGS = AREA_FLAGS, S_OTIME, S_AHEAD, S_ZHEAD, S_UHIGH, S_PID, /* and the rest, in other cache lines: */
       S_CTIME, S_ATAIL, S_ZTAIL, S_GATE, S_FIRST = 20 };
enum { S_REMOVED = AREA_CLOSED, S_MORE = AREA_MORE, S_ZERO = 4 }; /* S_ZERO: a semaphore is 0 that was changed */

#define VAL(num) (S_FIRST + 2 * (num)) /* not of the first one, whose pid is in the first line too */
#define PID(num) ((num) ? S_FIRST + 2 * (num) + 1 : S_PID)
#define SEMVAL(v) ((int)((v) & 0xffff))
#define EPOCH(v) ((v) >> 16)
#define PACK(value, epoch) (((uint32_t)(value) & 0xffff) | (uint32_t)(epoch) << 16)
#define ADJ(v) ((int)(int16_t)((v) & 0xffff))
#define HOT_ROW(h) ((int32_t)((h) >> 48) - 1)
#define HOT_ADJ(h) ((int)(int16_t)((h) >> 32 & 0xffff))
#define HOT_PACK(value, row, adj) ((uint64_t)(value) | (uint64_t)(uint16_t)(adj) << 32 | (uint64_t)((row) + 1) << 48)

struct sem_times { uint32_t otime, ctime; };

/* Where the parts of an area of h->count semaphores lie. */
void sem_set_layout(struct area_head *h);
int sem_set_create(struct ipc_ns *ns, uint32_t nsems, uint32_t *file);
/* sops are checked for numbers against nsems by the caller; deadline as in wait_sleep */
int sem_set_operate(struct ipc_ns *ns, int who, struct obj *o, int id, const struct sembuf *sops, uint32_t nsops,
		    const struct timespec *deadline);
/* Go on with the request wait_serial of this thread, which waits there or has been performed; -ENOENT: it is not there. */
int sem_set_resume(struct ipc_ns *ns, int who, struct obj *o, int id, const struct timespec *deadline);
/* A request that this who number left there, and does not come back for. */
void sem_set_withdraw(struct ipc_ns *ns, int who, struct obj *o);
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

/*
 * The shortest way: one operation on the first semaphore by the process that changed it last in this second, nobody
 * waiting, nobody else's undo. Then only the hot word changes, and that is one step; no descriptor is touched, so the
 * thread needs none. The caller has found the object ready. False: it takes the long way.
 */
static inline bool sem_set_shortest(struct ipc_ns *ns, struct obj *o, int id, struct sembuf s, uint32_t now)
{
	struct area own = { .head = *(struct area_head *volatile *)&o->area.head }, *a = &own;
	uint64_t x = atomic_load(&a->head->op), h = atomic_load(&a->head->hot);
	int value = SEMVAL((uint32_t)h) + s.sem_op, adj = HOT_ADJ(h);

	if (WHO(x) || s.sem_num || (unsigned)value > SEMVMX || !s.sem_op || !object_same(o, id) || !object_current(ns, o))
		return false;
	if (area_value(a, S_FLAGS) | area_value(a, S_AHEAD) | area_value(a, S_ZHEAD))
		return false;
	if (area_value(a, S_UHIGH) && (area_value(a, S_UHIGH) > 1 || o->undo != 0))
		return false;
	if (area_value(a, PID(0)) != (uint32_t)ns->pid || area_value(a, S_OTIME) != now)
		return false;
	if (s.sem_flg & SEM_UNDO) {
		adj -= s.sem_op;
		if (o->undo < 0 || HOT_ROW(h) != o->undo || adj < -SEMAEM - 1 || adj > SEMAEM)
			return false;
	}
	return area_swap_both(a, x, h, OP(SEQ(x) + 1, 0),
			      HOT_PACK(PACK(value, EPOCH((uint32_t)h)), HOT_ROW(h), adj));
}

#endif
