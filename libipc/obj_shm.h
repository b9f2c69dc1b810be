/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory segments: making one, attaching, detaching. The segment's row and attachments are in the registry. */
#ifndef IPC_OBJ_SHM_H
#define IPC_OBJ_SHM_H

#include "registry.h"

#define ROW_NORESERVE 0x10000u /* in R_MODE, not shown */

int shm_segment_create(struct ipc_ns *ns, uint64_t size, bool reserve, uint32_t *file);
int shm_segment_attach(struct ipc_ns *ns, int who, int id, uintptr_t addr, int flags, void **at);
int shm_segment_detach(struct ipc_ns *ns, int who, uintptr_t addr);
/* Bytes of a segment that have memory. */
uint64_t shm_segment_resident(struct ipc_ns *ns, const struct row *r);
/* Pages of all segments that have memory, for SHM_INFO. */
uint64_t shm_resident_pages(struct ipc_ns *ns);
/* SHM_LOCK: keep this process's mappings of it in memory. */
int shm_segment_lock(struct ipc_ns *ns, int id, bool lock);

/* The segments that are attached again and again (obj_shm_keep.c). */
void *shm_kept_map(struct ipc_ns *ns, const struct row *r); /* all of it, to be read and written; NULL: open it */
void shm_kept_note(struct ipc_ns *ns, const struct row *r, int fd); /* it was opened */
void shm_kept_sweep(struct ipc_ns *ns); /* those that have gone */
void shm_kept_close(struct ipc_ns *ns);

/*
 * What the program does to mapped segments by itself, told after the system call, in the cold section (obj_shm_map.c).
 * A range begins on a page and has whole pages.
 */
struct attachment *shm_piece_new(struct ipc_ns *ns);
bool shm_range_has(struct ipc_ns *ns, uintptr_t at, size_t size); /* from anywhere */
void shm_range_gone(struct ipc_ns *ns, int who, uintptr_t at, size_t size);
void shm_range_protected(struct ipc_ns *ns, int who, uintptr_t at, size_t size, int prot);
struct shm_move {
	uintptr_t from, to;
	size_t old, size;
	bool keep; /* MREMAP_DONTUNMAP */
};
void shm_range_moved(struct ipc_ns *ns, int who, const struct shm_move *m);

#endif
