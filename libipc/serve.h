/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Serving a namespace over a socket. The daemon is a process of the namespace like any other, which acts for its
 * clients: each has a slot of its own in the same table, and a view, the namespace as the engine would see it from there.
 *
 * Threads: any worker takes any event; a connection, which is one thread of a client, is at one of them at a time
 * (EPOLLONESHOT). conn.lock is held while something is done under the connection's who number; server.lock for the
 * tables, never while the engine works. Nothing waits for a client: sockets are written without blocking, and who does
 * not take his reply is hung up on.
 */
#ifndef IPC_SERVE_H
#define IPC_SERVE_H

#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libipc.h"
#include "registry.h"
#include "slot.h"
#include "wait.h"
#include "wire.h"

enum source_kind { SOURCE_LISTEN, SOURCE_ABSTRACT, SOURCE_STOP, SOURCE_TICK, SOURCE_ALARM, SOURCE_CLIENT, SOURCE_CONN };
struct source { enum source_kind kind; };

/* A process. */
struct client {
	struct source source; /* its pidfd */
	int pidfd;            /* or -1 */
	uint32_t tag;
	uid_t uid; /* when it came */
	int64_t proof; /* that a process is the child that the slot was made for; 0: made before this daemon */
	struct ipc_ns *view;
	_Atomic uint32_t refs;
	_Atomic uint32_t running; /* requests */
	bool awaited; /* it was there before this daemon, and has not said yet what it has attached; server.lock */
};

/* A thread of one. */
struct conn {
	struct source source;
	int fd;
	pthread_mutex_t lock;
	struct client *client; /* NULL before it has said who it is */
	uint32_t who;
	bool resumed; /* who was another connection's before */
	uid_t uid; /* that connected */
	gid_t *groups;
	int ngroups;
	time_t since;
	_Atomic uint32_t large; /* payload of the last reply that had much of it, in a memory file */
	struct parked *parked; /* server.lock */
	bool closed;           /* server.lock */
	struct conn *next, **link;
	_Atomic uint32_t refs;
};

#define WORKERS_MOST 64

/* A thread that takes events. */
struct worker {
	pthread_mutex_t lock; /* for the watchdog, which looks at what follows */
	bool running;
	clockid_t clock;
	struct area area; /* in which it works; head NULL: in none */
	uint64_t turn;    /* counts those */
	uint64_t seen, used; /* at the last look: turn, and nanoseconds of the processor */
	int looks;           /* at which it went round in one area */
	_Atomic uintptr_t struck; /* where it met SIGBUS */
};

/* A request whose call sleeps. */
struct parked {
	struct conn *conn;
	struct frame frame;
	struct timespec deadline;
	bool timed;
	uint32_t file; /* of the object, when it joined */
	struct wire_request request;
	struct ucred from;
	char *buffer; /* of a receiver: type and text */
	char *text;   /* of a sender */
	uint32_t size;
};

/* The reply to a thread's last request, in case that it is lost with the connection: the program may close any. */
struct kept {
	uint64_t number;
	int64_t result, type;
	char *text;
	uint32_t size;
};

struct retired {
	struct retired *next;
	struct area area;
	struct obj *held; /* with which calls work in it */
};

/* The thread that opens what clients get. */
enum opener_state { OPENER_BORN, OPENER_IDLE, OPENER_ASKED, OPENER_DONE, OPENER_END };
struct opener {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum opener_state state;
	bool started;
	int confined; /* 0, or why what it opens can be truncated */
	char path[480];
	int flags, fd;
};

struct ipc_server {
	struct ipc_ns *ns;
	struct ipc_serve options;
	char *socket;
	int listen_fd, abstract_fd, epoll_fd, stop_fd, tick_fd, alarm_fd, serving_fd, spare_fd;
	uint32_t conns_of_uid;
	_Atomic uint64_t lines; /* lines of the log: second:56, how many in it:8 */
	pthread_mutex_t lock;
	struct client *client[WHO_MAX]; /* by slot */
	struct parked *parked[WHO_MAX]; /* by who number */
	uint32_t parked_high;
	_Atomic pid_t thread[WHO_MAX]; /* by who number: the thread's id, if known */
	struct kept kept[WHO_MAX]; /* by who number; server.lock */
	_Atomic bool left[WHO_MAX]; /* by who number: a request of it may stand in a list, with no connection */
	uint32_t ticks;
	_Atomic bool ticking; /* a worker is at what is done every second: the others do not join it */
	struct conn *conns;
	uint32_t conns_count;
	struct timespec alarm; /* what alarm_fd is set to; 0: nothing */
	pthread_rwlock_t areas; /* for reading: somebody may be using an area that is retired, or that is moved */
	_Atomic(struct retired *) retired; /* lock; the handler of SIGBUS reads it */
	uint32_t awaited;        /* clients; server.lock */
	bool orphans;            /* there may be removed segments that nobody has attached */
	uint64_t tidied;         /* the registry's op when that was done last */
	struct opener opener;
	_Atomic uint64_t quota[LIMITS];        /* 0: none */
	_Atomic int64_t said[LIMITS + 1][2]; /* when the log had a line about a limit, or a quota; milliseconds */
	pthread_mutex_t hello; /* a process comes, or is named: one at a time; before any conn.lock */
	struct worker worker[WORKERS_MOST];
	pthread_t watch;
	pthread_mutex_t watch_lock;
	pthread_cond_t watch_changed;
	bool watching, watch_end;
	_Atomic int workers; /* numbered so far */
	_Atomic int copying; /* areas, for new owners */
	_Atomic bool stopping;
};

/* One request being performed. */
struct call {
	struct ipc_server *server;
	struct conn *conn;
	struct wire_request request;
	const char *payload;
	uint32_t size;
	struct wire_reply reply;
	char *out; /* payload of the reply */
	uint32_t out_size;
	char *buffer; /* what malloc gave for it; freed after the reply */
	int fd[4], fds;
	struct ucred from;
};
extern __thread struct call *serve_current;

void serve_log(struct ipc_server *s, int priority, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* serve.c */
/* Wait for an event and see to it; room: WIRE_INLINE bytes. False: there was none for so many milliseconds. */
bool serve_turn(struct ipc_server *s, char *room, int timeout);
int serve_watch(struct ipc_server *s, int fd, uint32_t events, struct source *source, bool again);
/* What calls know of an object, and its area, which are not used any more, go at the next second. */
struct obj *serve_hold(void);
void serve_retire(struct ipc_ns *ns, struct obj *o);
void serve_unmap_retired(struct ipc_server *s);

/* serve_conn.c: connections */
void conns_accept(struct ipc_server *s, int at);
void conns_close_silent(struct ipc_server *s);
void conn_event(struct ipc_server *s, struct conn *c, uint32_t events, char *room);
void conn_close(struct ipc_server *s, struct conn *c);
void serve_reply(struct ipc_server *s, struct conn *c, struct call *k, long result);
void conn_put(struct ipc_server *s, struct conn *c);
/*
 * Connections of a process, or only of its thread `who`, but not this one: what is under way there comes to its end, what
 * is parked is forgotten, and nothing more is performed. Their locks are taken.
 */
void conns_end(struct ipc_server *s, const struct client *client, uint32_t who, const struct conn *but);

/* serve_client.c: processes */
struct client *client_new(struct ipc_server *s, uint32_t tag, pid_t pid, uid_t uid);
int client_watch(struct ipc_server *s, struct client *c, pid_t pid);
struct client *client_get(struct ipc_server *s, uint32_t tag);
void client_put(struct ipc_server *s, struct client *c);
bool client_busy(struct ipc_ns *ns, uint32_t tag);
bool client_begins(struct client *c);
bool client_begins_for_child(struct client *child, pid_t maker);
void client_ends(struct ipc_server *s, struct client *c);
void client_gone(struct ipc_server *s, struct client *c);
/* Who numbers of threads that ended and could not say so are given back. */
void threads_look(struct ipc_server *s);
void clients_free(struct ipc_server *s);

/* serve_slot.c: slots made for them */
int serve_slot_new(struct ipc_ns *ns, pid_t pid, uid_t uid, int *lock);
void serve_slot_free(struct slot_row *r, uint32_t gen);
int serve_slot_lock(struct ipc_ns *ns, uint32_t slot, bool fresh);
int serve_marks_file(struct ipc_ns *ns, uid_t uid);
/* The uid has its share of who numbers. */
bool serve_whos_enough(struct ipc_ns *ns, uid_t uid);

/* serve_hello.c: processes that come */
int client_hello(struct call *k);
int client_fork(struct call *k);
void client_named(struct call *k);

/* serve_restart.c: those that were there before this daemon */
void clients_load(struct ipc_server *s);
/* All that it has attached is counted. */
void client_declared(struct ipc_server *s, struct client *c);

/* serve_open.c: descriptors that clients get */
int opener_start(struct ipc_server *s);
void opener_stop(struct ipc_server *s);
int opener_open(struct ipc_server *s, const char *name, int flags);
/* May the uid have a writable descriptor of what the owner's is? */
bool opener_trusts(const struct ipc_server *s, uid_t owner, uid_t uid);

/* serve_move.c: control areas that get another owner */
int move_object(struct ipc_ns *ns, int who, struct obj *o, struct row *r, const struct perm *to, uint32_t size);
void move_thaw_all(struct ipc_ns *ns);
void move_close_file(struct ipc_ns *ns, enum kind kind, uint32_t file);

/* serve_quota.c: what one uid may own (as ns->quota, ns->refused) */
int quota_reached(struct ipc_ns *ns, uid_t uid, enum kind kind, uint64_t size);
void quota_refused(struct ipc_ns *ns, enum kind kind, int limit, bool quota);
uint64_t quota_used(struct ipc_ns *ns, uid_t uid, enum limit l, uint64_t *value); /* of *value, the quota */

/* serve_call_shm.c */
bool serve_segment_stat(struct ipc_ns *ns, uint32_t file, struct stat *st);
bool serve_is_mapping(const char *line, const struct stat *st);

/* serve_call.c: what is asked for */
long call_perform(struct call *k);
/* With conn.lock: what was performed is not performed again. */
void reply_keep(struct call *k, long result);
void reply_forget(struct ipc_server *s, uint32_t who);

/* serve_guard.c: memory that clients take away, or keep changing */
void guard_init(struct ipc_server *s);
int guard_start(struct ipc_server *s);
void guard_stop(struct ipc_server *s);
int guard_watch(struct ipc_server *s);
void guard_unwatch(struct ipc_server *s);
void guard_begin(struct ipc_server *s, int worker);
void guard_end(void);
/* This worker works in the area from now on; before it is unmapped, and at the end of the event, in none. */
void guard_enter(struct ipc_server *s, const struct area *a);
void guard_leave(struct ipc_server *s);

/* serve_park.c: those that sleep */
int park(struct frame *f, const struct timespec *deadline);
void park_ring(struct ipc_ns *view, uint32_t who);
void park_flush(struct ipc_server *s);
void park_cancel(struct ipc_server *s, struct conn *c, uint64_t number);
void park_forget(struct ipc_server *s, struct conn *c);
void park_check(struct ipc_server *s, uint32_t who);
void park_drop(struct ipc_server *s, uint32_t who);
void park_tick(struct ipc_server *s, bool look);
bool park_uses(struct ipc_server *s, const struct area *a); /* server.lock is held */

#endif
