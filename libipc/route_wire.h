/* SPDX-License-Identifier: BSD-2-Clause */
/* The way to a daemon: a client's connections, and the calls that the daemon performs for it. */
#ifndef IPC_ROUTE_WIRE_H
#define IPC_ROUTE_WIRE_H

#include <sys/types.h>
#include <time.h>

#include "ns.h"
#include "wire.h"

/* One request and what comes back. */
struct wire_call {
	uint16_t op;
	int64_t arg[WIRE_ARGS];
	const void *out; /* payload in two pieces, so that nothing is copied together */
	uint32_t out_size;
	void *in; /* room for the reply's */
	uint32_t in_room, in_size;
	int64_t value[WIRE_VALUES];
	int fd[4], fds;
	uint64_t number; /* of a request that was made before, in shared memory; 0: a new one */
	struct frame *follows; /* whose it was; once it is followed, its result is the one */
	bool ended;  /* it is to end now */
	bool sleeps; /* signals are to end it with EINTR */
	bool cancels; /* and the thread may be cancelled in it */
};

/* A payload that does not go into a datagram: a file of memory, or -errno. */
int wire_memory(const void *data, uint32_t size);
/* A number for a request of this thread that may have to be made later. */
uint64_t wire_number(struct ipc_ns *ns);

/*
 * A program waits for an answer for as long as the daemon is there. A tool sets these: then it is IPCD_TIMEOUT (at least
 * a second), `waits` is called meanwhile, with all signals blocked, and at the end `failed`, with the line that a program
 * has on stderr. Both may end the process.
 */
extern struct wire_watch { void (*waits)(void); void (*failed)(const char *line); } wire_watch;

/* The result, or -errno; -ENOSYS when the daemon does not come back within IPCD_TIMEOUT. */
long wire_request(struct ipc_ns *ns, struct wire_call *c);

int wire_open_namespace(struct ipc_ns *ns, const char *socket);
void wire_close(struct ipc_ns *ns);
/* This thread's who number, and its connection; of a thread whose mask outside the cold section is `program`. */
int wire_enter(struct ipc_ns *ns, uint32_t *link, const sigset_t *program);
void wire_thread_leaves(struct ipc_ns *ns, uint32_t link);
int wire_fork_prepare(struct ipc_ns *ns);
void wire_fork_parent(struct ipc_ns *ns);
void wire_fork_named(struct ipc_ns *ns, uint32_t tag, pid_t child);
void wire_fork_child(struct ipc_ns *ns);
void wire_after_clone(struct ipc_ns *ns);

/* A control area's descriptor. */
int wire_open(struct ipc_ns *ns, enum kind kind, int id);
/* What a process has attached without a call: records for the pieces, or for a child's (tag). */
int wire_attached(struct ipc_ns *ns, uint32_t tag, const int *ids, uint32_t *records, uint32_t n);

#endif
