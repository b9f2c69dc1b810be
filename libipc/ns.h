/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A namespace as one process sees it: the mapped registry and slot table, the objects that it has opened, the
 * segments that it has attached. Internal functions return 0 or a value, or -errno; errno is set in call_*.c only.
 *
 * Cold paths (opening an object, attach, create, fork) hold ns->cold with every signal blocked, so that no handler
 * of the same thread can meet it. Hot paths take nothing.
 */
#ifndef IPC_NS_H
#define IPC_NS_H

#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "area.h"

enum kind { KIND_SHM, KIND_SEM, KIND_MSG, KINDS };

#define IPCMNI 32768
#define ID_INDEX(id) ((uint32_t)(id) % IPCMNI)
#define ID_SEQ(id) ((uint32_t)(id) / IPCMNI)
#define PAGE 4096u

/* A semaphore set or message queue that this process has mapped. */
struct obj {
	/* The first cache line is all that short calls look at. */
	_Atomic uint32_t opened; /* id + 1 when the rest is valid */
	_Atomic int32_t undo;    /* this process's undo row, or -1 */
	uint32_t tag;            /* slot tag for which undo and touched are true */
	/* What the registry said at `seen`, its op word, to a process with these credentials. */
	uint32_t seen_creds;
	_Atomic uint64_t seen;
	uint32_t granted; /* MAY_READ, MAY_ALTER */
	uint32_t size;    /* the row's: semaphores, or bytes of a queue */
	struct area area;
	_Atomic uint16_t touched[16]; /* who / 4 + 1: who blocks that have memory */
	uint32_t file;                /* number in the file's name */
	_Atomic uint32_t reported;    /* id + 1 of the one of which the log has said that it is damaged */
	/*
	 * In a daemon, what clients' calls get in place of this one: another worker may give the place to another object
	 * meanwhile, and this is the same until its area is unmapped.
	 */
	struct obj *held;
} __attribute__((aligned(64)));

/* A mapped piece of a segment: all of it, until the program unmaps, moves or protects a part. */
struct attachment {
	char *addr; /* NULL: free */
	size_t size;
	uint64_t offset, whole; /* in the segment, and the segment's size in whole pages */
	uint32_t shmat;         /* number of the call that made it */
	int prot;
	int id;
	uint32_t record; /* of the registry's attach pool */
	uint32_t fork_record, old_record; /* of the registry that this one was made in place of */
};

/* A segment that was attached lately, and a page of it if more than once (obj_shm_keep.c). */
#define SHM_KEPT 4
struct shm_kept {
	uint32_t known; /* id + 1 */
	uint32_t file;
	void *page;
};

struct creds {
	uid_t uid;
	gid_t gid;
	int ngroups;
	gid_t groups[64];
	const gid_t *list; /* in place of groups, when there are more */
	uint64_t caps; /* effective capabilities, 1 << CAP_* */
	_Atomic int valid;
};

struct slots;
struct store;
struct row;
struct perm;
struct frame;
struct marks;
struct wire;
struct ipc_server;
struct timespec;

struct ipc_ns {
	char dir[400];
	bool anonymous;
	uid_t owner;
	struct area reg;
	struct slots *slots;
	_Atomic uint32_t slot; /* of this process; 0: none yet */
	uint32_t tag;          /* {slot, generation} */
	void *slot_file;       /* mapping that holds the lock */
	bool slots_stay;       /* the table is in the robust list of a thread */
	uint32_t notes_limit;  /* notes in it before it is tidied */
	void *fork_file;       /* the child's, between prepare and parent */
	uint32_t fork_slot;
	void *users_lock;
	ino_t table; /* the file that was mapped last: the registry */
	pid_t pid;
	_Atomic uint32_t *wiped; /* 1; 0 in a child of a bare clone */
	pthread_mutex_t *cold, own_cold;
	struct obj *obj[KINDS];
	struct attachment *att;
	uint32_t att_count;
	uint32_t att_tag; /* slot whose list of attachments has memory */
	struct shm_kept kept[SHM_KEPT];
	uint32_t kept_next; /* the one to be replaced */
	_Atomic uint32_t threads; /* who numbers of this process */
	uint32_t generation;      /* of this open, to tell a thread's cached who */
	struct store *store;
	struct ipc_ns *next;
	_Atomic(struct marks *) marks; /* of the processes that a daemon serves (slot.h) */
	struct wire *wire;             /* a client of a daemon: how to reach it (route_wire.h) */
	/*
	 * In a daemon, a client as the engine sees it: a copy of the daemon's own, with the client's slot and pid. It shares
	 * the objects; what these have cached of one process is not looked at.
	 */
	struct ipc_ns *base;
	struct ipc_server *server;
	int *noted[KINDS]; /* id + 1, by index: what its slot has noted */
	/* Instead of sleeping: keep the frame, and answer the client when its request was performed. */
	int (*park)(struct frame *f, const struct timespec *deadline);
	struct obj *(*hold)(void); /* memory for obj.held, or NULL */
	/* Unmap it when nobody can be using it; NULL: at once, or never. */
	void (*retire)(struct ipc_ns *ns, struct obj *o);
	/* An object's memory is only for its owner: IPC_SET of another one copies it (row: as it was). */
	int (*move)(struct ipc_ns *ns, int who, struct obj *o, struct row *r, const struct perm *to, uint32_t size);
	void (*left)(struct ipc_ns *ns, enum kind kind, uint32_t file); /* a file that a dead process was about to remove */
	/* Is a request of the client with that tag under way? If not, none begins any more, and none is parked. */
	bool (*busy)(struct ipc_ns *ns, uint32_t tag);
	void (*ring)(struct ipc_ns *ns, uint32_t who); /* a parked request was performed */
	/* The limit (registry.h) of which the uid has no room for one more within its quota; LIMITS: it has. */
	int (*quota)(struct ipc_ns *ns, uid_t uid, enum kind kind, uint64_t size);
	/* An object is not made: the limit, or the caller's quota of it, is reached. LIMITS: there is no memory. */
	void (*refused)(struct ipc_ns *ns, enum kind kind, int limit, bool quota);
	/* This thread works in the area from now on; NULL: in none, it is about to be unmapped. */
	void (*enter)(struct ipc_ns *ns, const struct area *a);
	struct area (*inside)(void); /* where it works */
	const _Atomic int *copying; /* as in struct area */
};

/* What a thread knows: its who number in the namespaces that it used last. */
#define THREAD_NS 4
struct born { struct ipc_ns *ns; uint32_t generation, tag; };
struct thread {
	struct { struct ipc_ns *ns; uint32_t generation, who, link; } in[THREAD_NS];
	struct born born[THREAD_NS]; /* slots of the child that its last fork made */
};
extern __thread struct thread ipc_thread __attribute__((tls_model("initial-exec")));

/* cold.c */
struct cold { sigset_t mask; bool held; /* signals are held, not blocked */ int cancel, error; /* errno */ };
/* No signal handler and no cancellation meets what is done in between, and errno is afterwards what it was. */
extern bool ns_faults; /* but of SIGBUS: a daemon's, about what its clients share with it */
void ns_quiet(struct cold *c);
void ns_loud(const struct cold *c);
/* The same, and no other thread either. */
void cold_enter(struct ipc_ns *ns, struct cold *c);
void cold_leave(struct ipc_ns *ns, struct cold *c);
/* The same for calls that ask no database and no daemon: where signals can be held, their mask is not touched. */
void cold_enter_short(struct ipc_ns *ns, struct cold *c);
void cold_init(struct ipc_ns *ns);

/* ns.c */
int ns_open(const char *dir, int flags, struct ipc_ns **out); /* flags: IPC_OPEN_* */
void ns_close(struct ipc_ns *ns);
extern struct ipc_ns *ns_list;
extern __thread char ns_error[600] __attribute__((tls_model("initial-exec")));
int ns_fail(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ns_tables.c */
int ns_map_tables(struct ipc_ns *ns);
void ns_unmap_tables(struct ipc_ns *ns);
/* A lock on a file, F_RDLCK or F_WRLCK, that lasts as long as the page mapped for it; NULL: not to be had, see errno. */
void *ns_hold_lock(struct ipc_ns *ns, const char *name, short type);
/* Those that nobody has attached, where the registry was lost. */
void drop_removed_segments(struct ipc_ns *ns, int who);

/* fork.c */
int ns_enter_slow(struct ipc_ns *ns);

/* The calling thread's who number, made at its first call; or -errno. */
static inline int ns_enter(struct ipc_ns *ns)
{
	if (ipc_thread.in[0].ns == ns && ipc_thread.in[0].generation == ns->generation &&
	    atomic_load_explicit(ns->wiped, memory_order_relaxed))
		return (int)ipc_thread.in[0].who;
	return ns_enter_slow(ns);
}

/* creds.c: what the kernel's ipcperms decides, from the row's numbers */
extern _Atomic uint32_t creds_generation;
/* Whom this thread acts for; NULL: its process. Privilege is uid 0 then: nothing else can be known of a client. */
extern __thread const struct creds *creds_other __attribute__((tls_model("initial-exec")));
const struct creds *creds_get(void);
/* Around a call that changes the process's ids; while one is under way, nothing that depends on them is kept. */
void creds_change(void);
void creds_changed(void);
bool creds_uncertain(void);
void creds_fork_child(void);
bool creds_capable(int cap); /* CAP_* */
bool creds_in_group(const struct creds *c, gid_t gid);
struct perm { uid_t uid, cuid; gid_t gid, cgid; uint32_t mode; };
int perm_check(const struct perm *p, uint32_t want); /* want: 0..0777 bits; 0 or -EACCES */
int perm_owner(const struct perm *p);                /* 0 or -EPERM */

/* map_file.c: memory of objects as files of the namespace directory */
int file_path(const struct ipc_ns *ns, char *out, size_t size, const char *name);
int file_create(const struct ipc_ns *ns, const char *name, uint64_t size, bool replace);
int file_open(const struct ipc_ns *ns, const char *name, int flags);
int file_remove(const struct ipc_ns *ns, const char *name);
int file_fence(const void *start, size_t length);
void *file_map(size_t length, int prot, int flags, int fd);
void object_name(char *out, enum kind kind, int id);

/* object.c: opening control areas */
int object_open_slow(struct ipc_ns *ns, enum kind kind, int id, int who, struct obj **out);
/* Unmap what has gone from the registry; nobody is using any of it but as `unused` says. */
void objects_forget(struct ipc_ns *ns, bool (*unused)(struct ipc_ns *ns, const struct area *a));
int object_create(struct ipc_ns *ns, enum kind kind, uint64_t size, uint64_t first, uint32_t *file);
void object_made(struct ipc_ns *ns);
/*
 * EIDRM says that the memory which a call has used (a file's number) is closed: does the object live elsewhere now? Then
 * the call is made again. What object_open gave last to this thread is object_used, where objects can move.
 */
extern __thread uint32_t object_used __attribute__((tls_model("initial-exec")));
/* This thread works for a daemon's clients: it gets obj.held. */
extern __thread bool object_held __attribute__((tls_model("initial-exec")));
bool object_moved(struct ipc_ns *ns, enum kind kind, int id, uint32_t used);
void object_removing(struct ipc_ns *ns, enum kind kind, uint32_t file);
void object_leaving(struct ipc_ns *ns, enum kind kind, uint32_t file);

/* It has been set aside: say so, once. Async-signal-safe. */
void object_damaged(struct ipc_ns *ns, enum kind kind, struct obj *o);

enum { MAY_READ = 1, MAY_ALTER = 2, MAY_MAP = 4 /* a daemon's client: the object is its user's */ };
int object_permit_slow(struct ipc_ns *ns, enum kind kind, int id, struct obj *o, uint32_t *size);

/* What this process may do with an object (MAY_*, with its size in *size), or -EINVAL if there is none. */
static inline int object_permit(struct ipc_ns *ns, enum kind kind, int id, uint32_t *size)
{
	struct obj *o = &ns->obj[kind][ID_INDEX(id)];
	uint64_t x = atomic_load_explicit(&ns->reg.head->op, memory_order_acquire);
	int granted;

	if (atomic_load_explicit(&o->seen, memory_order_acquire) != x ||
	    atomic_load_explicit(&o->opened, memory_order_relaxed) != (uint32_t)id + 1 ||
	    o->seen_creds != atomic_load_explicit(&creds_generation, memory_order_relaxed))
		return object_permit_slow(ns, kind, id, o, size);
	granted = (int)o->granted;
	*size = o->size;
	return granted;
}

/* Has the registry, and so what was granted, not changed? To be asked after the object's `op` was read. */
static inline bool object_current(struct ipc_ns *ns, const struct obj *o)
{
	return atomic_load_explicit(&o->seen, memory_order_acquire) ==
	       atomic_load_explicit(&ns->reg.head->op, memory_order_acquire);
}

/* Is it still that object? A handler, or another thread, may have given its place to a new one. */
static inline bool object_same(const struct obj *o, int id)
{
	return atomic_load_explicit(&o->opened, memory_order_acquire) == (uint32_t)id + 1;
}

/*
 * May this process act on what it has of an object without asking anybody? Then it has it open and mapped, and is no
 * child of a bare clone; the who block is another matter, and so is whether the registry has changed.
 */
static inline bool object_ready(struct ipc_ns *ns, const struct obj *o, int id, uint32_t want)
{
	return atomic_load_explicit(&o->opened, memory_order_acquire) == (uint32_t)id + 1 && o->tag == ns->tag &&
	       atomic_load_explicit(ns->wiped, memory_order_relaxed) &&
	       o->seen_creds == atomic_load_explicit(&creds_generation, memory_order_relaxed) && (o->granted & want);
}

/*
 * The object, mapped, with memory under this thread's who block; 0 or -errno. -EXDEV: a daemon's client may not map it,
 * the daemon does what is to be done.
 */
static inline int object_open(struct ipc_ns *ns, enum kind kind, int id, int who, struct obj **out)
{
	struct obj *o = &ns->obj[kind][ID_INDEX(id)];

	*out = o;
	if (ns->wire)
		object_used = o->file;
	if (atomic_load_explicit(&o->opened, memory_order_acquire) == (uint32_t)id + 1 && o->tag == ns->tag && !(ns->server && object_held) &&
	    atomic_load_explicit(&o->touched[who / 4 % 16], memory_order_relaxed) == who / 4 + 1)
		return 0;
	return object_open_slow(ns, kind, id, who, out);
}

/*
 * What a call needs of the object, in a place of its own: a handler, or another thread, may give o to another object. False:
 * it has done so already. What is not set here is object_open's and the shortest ways'.
 */
static inline bool object_hold(const struct obj *o, int id, struct obj *own)
{
	own->area = o->area;
	own->file = o->file;
	own->tag = o->tag;
	atomic_init(&own->undo, -1);
	atomic_init(&own->opened, (uint32_t)id + 1);
	atomic_init(&own->reported, 0);
	return object_same(o, id);
}

static inline uint64_t page_round(uint64_t n)
{
	return (n + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static inline uint32_t cell_at(uint64_t byte)
{
	return (uint32_t)(byte / 8);
}

/* As the kernel takes them: at its last tick. The cheapest call of the vDSO. */
static inline uint32_t now_seconds(void)
{
	return (uint32_t)time(NULL);
}

#endif
