/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attachments as the registry counts them: a record for each mapping of a segment, in a list of its slot, and the
 * segment's nattch. Both change in one operation, so that nattch is always the number of records.
 */
#ifndef IPC_ATTACH_H
#define IPC_ATTACH_H

#include "registry.h"
#include "slot.h"

/* Count a mapping of segment id for the slot; its record. -EINVAL, -EIDRM when the segment is gone. */
int attach_add(struct ipc_ns *ns, int who, uint32_t tag, int id, pid_t pid, uint32_t *record);

/* Take one back. The last one of a removed segment frees it, and that is saved: for calls in the cold section only. */
void attach_drop(struct ipc_ns *ns, int who, uint32_t tag, uint32_t record, pid_t pid);

/* All that a slot has: its process is dead, or it is ours, from before exec. Nothing is saved: any call may reap, in
 * several threads at once and in signal handlers, and SQLite is not for those. */
void attach_drop_all(struct ipc_ns *ns, int who, uint32_t tag, pid_t pid);
/* The same of a process that was found to have called exec, as long as its new image has not taken the slot over. */
void attach_drop_execed(struct ipc_ns *ns, int who, uint32_t tag, pid_t pid);

/* fork: the same attachments for the child's slot. */
int attach_fork_prepare(struct ipc_ns *ns, int who);
void attach_fork_child(struct ipc_ns *ns);

#endif
