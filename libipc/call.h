/* SPDX-License-Identifier: BSD-2-Clause */
/* The public edge: arguments are checked in the kernel's order, errno is set here and nowhere else. */
#ifndef IPC_CALL_H
#define IPC_CALL_H

#include <errno.h>
#include <sys/ipc.h>

#include "registry.h"
#include "slot.h"
#include "wait.h"

/* Result or -errno to the C convention. */
static inline long call_result(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

/* What a call found closed may live elsewhere now (object_moved): it is made again, some times. */
#define CALL_MOVES 16

/* Pointers that the kernel would answer with EFAULT: null, and addresses that no program has. */
static inline bool call_bad_pointer(const void *p, size_t size)
{
	uintptr_t a = (uintptr_t)p;

	return a < PAGE || a + size < a || a + size > ((uintptr_t)1 << (sizeof(void *) == 8 ? 47 : 31)) - PAGE;
}

/* *get: find or create, with the kernel's checks in its order. */
struct get {
	enum kind kind;
	key_t key;
	int flags;
	uint64_t size;                                      /* bytes, semaphores, or 0 */
	int (*create)(struct get *g, struct ipc_ns *ns, uint32_t *file); /* memory of a new object */
	uint32_t row_size, row_size_hi, mode;
};
int call_get(struct ipc_ns *ns, int who, struct get *g);
void call_fill_perm(struct ipc_perm *p, const struct row *r);
/* The row for a *_STAT command (index) or IPC_STAT (id), with permission checked unless any. */
int call_stat_row(struct ipc_ns *ns, enum kind kind, int id, bool by_index, bool any, struct row *r);
/* The id of what a command names, which some do by index; -1: nothing is there. */
int call_named(struct ipc_ns *ns, enum kind kind, int id, bool by_index);
int call_owned_row(struct ipc_ns *ns, enum kind kind, int id, struct row *r);

#endif
