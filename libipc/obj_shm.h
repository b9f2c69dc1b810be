/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory segments: making one, attaching, detaching. The segment's row and attachments are in the registry. */
#ifndef IPC_OBJ_SHM_H
#define IPC_OBJ_SHM_H

#include "registry.h"

#define ROW_NORESERVE 0x10000u /* in R_MODE, not shown */

int shm_segment_create(struct ipc_ns *ns, uint64_t size, bool reserve, uint32_t *file);
int shm_segment_attach(struct ipc_ns *ns, int who, int id, uintptr_t addr, int flags, void **at);
int shm_segment_detach(struct ipc_ns *ns, int who, uintptr_t addr);
/* The program has unmapped, or mapped over, this range by itself: attachments that it covers are gone. */
void shm_unmapped(struct ipc_ns *ns, const void *addr, size_t length);
/* Bytes of a segment that have memory. */
uint64_t shm_segment_resident(struct ipc_ns *ns, const struct row *r);
/* Pages of all segments that have memory, for SHM_INFO. */
uint64_t shm_resident_pages(struct ipc_ns *ns);
/* SHM_LOCK: keep this process's mappings of it in memory. */
int shm_segment_lock(struct ipc_ns *ns, int id, bool lock);

#endif
