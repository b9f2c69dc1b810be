/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at objects: who has a segment attached, who waits on a set or queue, whose undo adjustments are pending.
 * Answers belong to one state of the object (unless it changes faster than it can be read: then the last one seen).
 * Memory that an object does not have yet is not given to it by looking.
 */
#ifndef IPC_INSPECT_H
#define IPC_INSPECT_H

#include "ns.h"

struct inspect_attached { pid_t pid; uint32_t mappings; };

struct inspect_waiter {
	pid_t pid;
	uint64_t waited; /* milliseconds */
	bool sends;     /* of a queue: a sender */
	uint32_t nsops; /* of a set; the first REQ_SOPS of them follow */
	struct { uint16_t num; int16_t op; int16_t flg; } sop[REQ_SOPS];
	int64_t type;  /* of a queue: what a receiver asks for */
	uint64_t size; /* the message, or the receiver's room */
	uint32_t flags;
};

struct inspect_undo { pid_t pid; uint32_t num; int adjust; };

/* Each returns how many there are (at most `room` are stored), or -errno. */
int inspect_attached(struct ipc_ns *ns, int id, struct inspect_attached *out, int room);
int inspect_waiters(struct ipc_ns *ns, int who, enum kind kind, int id, struct inspect_waiter *out, int room);
int inspect_undo(struct ipc_ns *ns, int who, int id, struct inspect_undo *out, int room);

/* The processes of the namespace but this one: those that are there, or have called exec and will undo at their end. */
int inspect_processes(struct ipc_ns *ns, pid_t *out, int room);

/* How many operations a set or queue has seen since it was made, or -errno. */
int64_t inspect_changes(struct ipc_ns *ns, int who, enum kind kind, int id);

#endif
