/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls as requests to a daemon. Results as the calls', or -errno. */
#ifndef IPC_ROUTE_CALL_H
#define IPC_ROUTE_CALL_H

#include <sys/sem.h>
#include <time.h>

#include "ns.h"

union semun_arg {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

struct wire_segment {
	uint64_t size;
	uint32_t mode, record;
	int fd;
};

int wire_get(struct ipc_ns *ns, enum kind kind, key_t key, uint64_t size, int flags);
int wire_semop(struct ipc_ns *ns, int id, const struct sembuf *sops, size_t nsops, const struct timespec *deadline);
int wire_semctl(struct ipc_ns *ns, int id, int num, int cmd, union semun_arg arg, uint32_t nsems);
int wire_shmctl(struct ipc_ns *ns, int id, int cmd, void *buf, bool bad);
int wire_msgctl(struct ipc_ns *ns, int id, int cmd, void *buf, bool bad);
int wire_msgsnd(struct ipc_ns *ns, int id, long type, const void *text, size_t size, int flags);
ssize_t wire_msgrcv(struct ipc_ns *ns, int id, void *msg, size_t size, long type, int flags);
/*
 * The request of a frame that ended with EIDRM goes on where its object is now, or comes to its end there (ended): the
 * frame's result. From the wrappers of signal handlers too.
 */
void wire_follow(struct frame *f, const struct timespec *deadline, bool ended);
int wire_limit(struct ipc_ns *ns, int limit, uint64_t value);
int wire_quota(struct ipc_ns *ns, int limit, uint64_t *value, uint64_t *used); /* value 0: there is none */
/* inspect.h: what, of an object, from the n-th; how many there are, of which `room` are stored. */
int wire_inspect(struct ipc_ns *ns, int what, enum kind kind, int id, uint32_t from, void *out, size_t each, int room);
int wire_undo(struct ipc_ns *ns);
uint64_t wire_resident(struct ipc_ns *ns, int id); /* bytes of a segment that have memory */
int wire_settle(struct ipc_ns *ns);
int wire_attach(struct ipc_ns *ns, int id, int flags, struct wire_segment *s);
int wire_detach(struct ipc_ns *ns, uint32_t record);

#endif
