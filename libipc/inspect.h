/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at objects: who has a segment attached, who waits on a set or queue, whose undo adjustments are pending.
 * Answers belong to one state of the object (unless it changes faster than it can be read: then the last one seen).
 * Memory that an object does not have yet is not given to it by looking.
 *
 * A daemon's client asks the daemon for all but attachments and processes. Of an object that it may not read (IPC_STAT)
 * it gets the state, as from SEM_STAT_ANY and MSG_STAT_ANY, and -EACCES for the rest; uid 0 and the daemon's own uid
 * get everything.
 */
#ifndef IPC_INSPECT_H
#define IPC_INSPECT_H

#include "obj_msg.h"
#include "obj_sem.h"

enum inspect_what { INSPECT_STATE, INSPECT_VALUES, INSPECT_COUNTS, INSPECT_WAITERS, INSPECT_UNDO };
#define INSPECT_ROOM 65536      /* of what a daemon tells at once; */
#define INSPECT_COUNTS_ROOM 256 /* each of these is a walk along all waiters */

struct inspect_state {
	struct sem_times sem;
	struct msg_stat msg;
	int64_t changes; /* operations since it was made */
};

/* Of one semaphore: who changed it last; who waits for a greater value, and for zero. */
struct inspect_counts { pid_t pid; int ncnt, zcnt; };

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

int inspect_state(struct ipc_ns *ns, int who, enum kind kind, int id, struct inspect_state *out); /* 0 or -errno */

/* Each returns how many there are (at most `room` are stored), or -errno. */
int inspect_values(struct ipc_ns *ns, int who, int id, uint16_t *out, int room);
int inspect_counts(struct ipc_ns *ns, int who, int id, uint32_t from, struct inspect_counts *out, int room); /* stored */
int inspect_attached(struct ipc_ns *ns, int id, struct inspect_attached *out, int room);
int inspect_waiters(struct ipc_ns *ns, int who, enum kind kind, int id, struct inspect_waiter *out, int room);
int inspect_undo(struct ipc_ns *ns, int who, int id, struct inspect_undo *out, int room);

/* The processes of the namespace but this one: those that are there, or have called exec and will undo at their end. */
int inspect_processes(struct ipc_ns *ns, pid_t *out, int room);

/* The command of a process; what it has put there is shown without control characters. False, and "": it is gone. */
bool inspect_command(pid_t pid, char *out, size_t size);

#endif
