/* SPDX-License-Identifier: BSD-2-Clause */
/* Message queues: the control area of one, and the operations on it. */
#ifndef IPC_OBJ_MSG_H
#define IPC_OBJ_MSG_H

#include <sys/types.h>

#include "ns.h"

#define MSG_AGAIN 0xfff /* result of a request whose call must look again: permissions have changed */

struct msg_stat { uint32_t cbytes, qnum, lspid, lrpid, stime, rtime, ctime; };

/* Of a queue just mapped, whose file holds so many bytes: can its numbers be? Is there memory for what they count? */
int msg_queue_check(struct area *a, uint64_t holds);
int msg_queue_create(struct ipc_ns *ns, uint32_t *file);
int msg_queue_send(struct ipc_ns *ns, int who, struct obj *o, int id, int64_t type, const void *text, uint32_t size,
		   int flags);
ssize_t msg_queue_receive(struct ipc_ns *ns, int who, struct obj *o, int id, void *msg, uint64_t size, int64_t type,
			  int flags);
/* Go on with the request wait_serial of this thread, which waits there or has been performed; -ENOENT: it is not there. */
int msg_queue_send_resume(struct ipc_ns *ns, int who, struct obj *o, int id);
ssize_t msg_queue_receive_resume(struct ipc_ns *ns, int who, struct obj *o, int id, void *msg, uint64_t size,
				 int64_t type, int flags);
/* A request that this who number left there, and does not come back for. */
void msg_queue_withdraw(struct ipc_ns *ns, int who, struct obj *o);
int msg_queue_stat(struct ipc_ns *ns, int who, struct obj *o, struct msg_stat *st);
/* IPC_SET has changed the limits or the permissions: senders that fit go on, receivers look again. */
void msg_queue_changed(struct ipc_ns *ns, int who, struct obj *o);
void msg_queue_close(struct ipc_ns *ns, int who, struct obj *o);
void msg_queue_settle(struct ipc_ns *ns, int who, struct obj *o, uint32_t tag);

#endif
