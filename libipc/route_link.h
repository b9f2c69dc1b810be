/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of a daemon's client (route_wire.h) have in common: a connection, and all of them. A connection is its
 * thread's; nobody else uses it, but in a forked child, where none is kept.
 */
#ifndef IPC_ROUTE_LINK_H
#define IPC_ROUTE_LINK_H

#include <signal.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>

#include "route_wire.h"
#include "slot.h"
#include "wait.h"

/* A connection. */
struct link {
	_Atomic int used;
	int fd; /* or -1 */
	dev_t dev;
	ino_t ino;
	uint32_t creds; /* creds_generation when it was made */
	uint64_t number;
	struct { uint16_t op; int id; uint64_t number; } left; /* a request that was given up */
};

struct wire {
	char socket[sizeof ((struct sockaddr_un *)0)->sun_path];
	time_t patience;
	_Atomic bool met; /* there was a daemon, */
	uid_t uid;        /* of this uid, */
	char abstract[64]; /* which listens here too */
	_Atomic bool complained;
	void *lock, *fork_lock; /* mappings that keep a slot's lock */
	int64_t proof, fork_proof; /* what WIRE_FORK gave to whom the slot was made for */
	void *users;            /* one that keeps a private daemon's namespace */
	struct marks marks;
	struct link *links;
	_Atomic uint32_t links_high, links_free; /* ever used; perhaps free */
};

/*
 * Who may come in while a call waits. Handlers only where it sleeps; else those signals only whose effect does not depend
 * on us, and one that gets a handler meanwhile stays out too.
 */
enum let_in { THE_UNHANDLED, HANDLERS };

/* route_link.c: connections */
/* Is its descriptor still the socket that we made? */
bool link_ours(const struct link *l);
void link_hang_up(struct link *l);
int link_dial(const struct wire *w, struct link *l);
int link_transmit(const struct link *l, struct wire_request *r, const struct wire_call *c);
int link_collect(const struct link *l, struct wire_call *c, uint64_t number, long *result);
void wire_close_descriptors(struct wire_call *c);

/* route_wire.c: requests */
long link_poll(const struct link *l, const sigset_t *program, enum let_in who);
time_t wire_seconds(void);
int wire_complain(struct wire *w, int e);
bool wire_patient(struct wire *w, time_t since, int e, const sigset_t *program, enum let_in who);
uint64_t link_number(struct link *l);
uint32_t wire_flags(const struct wire_call *c, bool repeated);
int link_exchange(const struct wire *w, const struct link *l, struct wire_call *c, uint64_t number,
		  bool repeated, const sigset_t *program, long *result);
/* This thread's. */
struct link *link_own(struct ipc_ns *ns);
int link_connected(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program);
void link_give_up(struct link *l, const struct wire_call *c, uint64_t number);
int link_tell(const struct link *l, uint16_t op, int64_t a, int64_t b);

/* route_hello.c: who we are */
int link_introduce(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program);

/* route_sleep.c: requests that sleep */
long wire_request_that_sleeps(struct ipc_ns *ns, struct link *l, uint32_t who, struct wire_call *c, struct cold *cold);

/* route_process.c: processes and threads */
void links_drop(struct wire *w);

#endif
