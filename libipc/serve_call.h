/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of a daemon's requests (serve_call*.c) have in common: a request's arguments, and the reply's payload. */
#ifndef IPC_SERVE_CALL_H
#define IPC_SERVE_CALL_H

#include <errno.h>
#include <stdlib.h>

#include "serve.h"

#define ARG(i) (k->request.arg[i])
#define REPEATED (k->request.flags & WIRE_REPEATED)
#define ENDED (k->request.flags & WIRE_ENDED)

static inline struct ipc_ns *view_of(const struct call *k)
{
	return k->conn->client->view;
}

/* The public calls' convention back to ours. */
static inline long result(long r)
{
	return r < 0 ? -errno : r;
}

/* Room for the reply's payload. */
static inline void *room(struct call *k, size_t size)
{
	free(k->buffer);
	k->buffer = calloc(1, size ? size : 1);
	return k->buffer;
}

static inline void payload(struct call *k, char *from, size_t size)
{
	k->out = from;
	k->out_size = (uint32_t)size;
}

/* serve_call.c: shmctl's and msgctl's; plain: without a structure; the sizes of IPC_SET's and of what the others give. */
typedef int control_fn(ipc_ns *ns, int id, int cmd, void *buf);
long perform_control(struct call *k, control_fn *call, bool plain, size_t set_size, size_t size);

/* serve_call_shm.c: shared memory's requests */
long perform_shmctl(struct call *k);
long perform_attach(struct call *k);
long perform_attached(struct call *k);
long perform_detach(struct call *k);
long perform_resident(struct call *k);

#endif
