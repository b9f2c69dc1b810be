/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes over a daemon's socket (AF_UNIX, SOCK_SEQPACKET): one request a datagram, one reply to it, fixed heads in
 * the machine's byte order, payload behind them or, when it is large, in a sealed memory file that is passed along.
 * With every request goes SCM_CREDENTIALS: pid, effective uid and gid of the moment, which the kernel verifies.
 *
 * A connection is one thread's. It has one request under way at a time; WIRE_CANCEL, about a request that sleeps, and
 * WIRE_RING, which is not answered, may come in between. A request is numbered by its client; one that is repeated on a
 * new connection, since the reply to it was lost, has its old number and WIRE_REPEATED; so has one that waited in
 * shared memory whose object lives elsewhere now.
 */
#ifndef IPC_WIRE_H
#define IPC_WIRE_H

#include <stdint.h>

/*
 * A daemon listens at an abstract name too, for clients that cannot see its socket any more (chroot). Who may connect
 * there is what the socket's mode says; a client makes sure that it is the daemon's uid that listens.
 */
#define WIRE_ABSTRACT "ipcd-%llx-%llx" /* device and inode of the registry */

#define WIRE_MAGIC 0x69706364u
#define WIRE_VERSION 1
#define WIRE_INLINE 65536u      /* payload of a datagram */
#define WIRE_LARGE (33u << 20)  /* payload of a memory file */
#define WIRE_ARGS 6
#define WIRE_AGAIN 1 /* in WIRE_ATTACHED */
#define WIRE_AGAIN_MORE 2
#define WIRE_VALUES 4

/* Arguments in order, payload in parentheses -> values, (payload), [descriptors]. Results as the call's, or -errno. */
enum wire_op {
	WIRE_HELLO = 1, /* tag or 0, who or 0, registry's inode or 0, tid, pid, the fork's proof or 0 -> tag, marks' uid,
			 * daemon's uid [with tag 0: registry, slots, lock, marks; else, if it is another one: registry];
			 * result who */
	WIRE_GET,       /* kind, key, size, flags; result id */
	WIRE_OPEN,      /* kind, id -> [control area] */
	WIRE_SEMOP,     /* id, sops, deadline or 0: seconds, nanoseconds (sops) */
	WIRE_SEMCTL,    /* id, num, cmd, value (IPC_SET, SETALL) -> (as the command) */
	WIRE_SHMCTL,    /* id, cmd (IPC_SET) -> (as the command) */
	WIRE_MSGCTL,    /* id, cmd (IPC_SET) -> (as the command) */
	WIRE_MSGSND,    /* id, type, flags (text) */
	WIRE_MSGRCV,    /* id, size, type, flags -> type (text); result size */
	WIRE_ATTACH,    /* id, flags -> size, mode, record [segment] */
	WIRE_ATTACHED,  /* tag or 0, again, last (ids) -> (records): attached without a call, by a fork, or in pieces;
			 * again: in a registry that was lost, and some ids may be gone: record 0 */
	WIRE_DETACH,    /* record, registry's inode */
	WIRE_FORK,      /* -> tag, proof [lock]: a slot for a child that is to be made; the proof is for it alone to know */
	WIRE_NAMED,     /* tag, pid of the child that was made, or 0: none was; not answered */
	WIRE_UNDO,      /* apply this process's undo now */
	WIRE_RESIDENT,  /* id -> bytes of the segment that have memory */
	WIRE_LIMIT,     /* which, value */
	WIRE_QUOTA,     /* which -> the quota or 0, what this uid has */
	WIRE_INSPECT,   /* what, kind, id, from, room -> (structs of inspect.h); result how many there are */
	WIRE_SETTLE,    /* nothing: whoever has died is reaped, what was begun in the registry is completed */
	WIRE_LEFT,      /* op, id, number: that request, which slept, is not asked for any more */
	WIRE_BYE,       /* this thread needs its number no more; not answered */
	WIRE_CANCEL,    /* number: the reply is that request's, now */
	WIRE_RING,      /* who: its request was performed; not answered */
	WIRE_OPS
};

#define WIRE_REPEATED 1u
#define WIRE_ENDED 4u  /* it is not to sleep: EINTR instead; one that is repeated is not begun anew */
#define WIRE_MEMORY 2u /* the payload is in the memory file that came along */

struct wire_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint64_t number;
	int64_t arg[WIRE_ARGS];
	uint32_t size; /* of the payload */
	uint32_t flags;
};

struct wire_reply {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint64_t number;
	int64_t result;
	int64_t value[WIRE_VALUES];
	uint32_t size;
	uint32_t flags;
};

#endif
