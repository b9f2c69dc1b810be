/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared by the parts of the random walk. A seat is a place for one worker process; it lies in shared memory (a
 * memfd, so that a worker finds it again after exec) and holds the call that the worker is to do. The controller
 * writes a seat only while its worker is idle, the worker only between SENT and DONE.
 */
#ifndef WALK_H
#define WALK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/types.h>
#include <time.h>

#define SEATS 8
#define MAX_OPS 501
#define MAX_SEMS 64
#define MAX_TEXT 8192
#define MAX_SCAN 128
#define GUARD 16
#define FIXED_BASE 0x200000000000UL	/* where attachments at chosen addresses go */
#define FIXED_STEP 0x100000UL
#define PAGE 4096UL
#ifdef __x86_64__
#define RET 0xc3			/* "return", as an instruction of one byte */
#else
#define RET (-1)			/* none: attached memory is not executed */
#endif
#define JUMPED (-77)			/* "result" of a call left by longjmp */

enum phase { IDLE, SENT, IN_CALL, DONE };
enum kind { SEM, MSG, SHM, KINDS };

enum op {
	SEMGET, SEMOP, SEMTIMEDOP, SEMCTL, MSGGET, MSGSND, MSGRCV, MSGCTL, SHMGET, SHMAT, SHMDT, SHMCTL,
	SCAN, STAT_INDEX,		/* *_INFO and all indexes; one object by its index */
	PEEK, POKE, RUN,		/* read, write, execute attached memory */
	IDS,				/* another effective uid or gid, or other groups */
	FORK, EXEC, EXIT, EXIT_NOW
};

union semarg {
	int val;
	void *buf;
};

struct scan {
	union {
		struct seminfo sem;
		struct msginfo msg;
		struct shm_info shm;
		struct shminfo lim;
	} info;
	int n, id[MAX_SCAN];
};

struct call {
	enum op op;
	int id;				/* object id, or key */
	int cmd;			/* command; number of semaphores for semget; IDS: what changes */
	int num;			/* semaphore number, FORK: the child's seat */
	int flags;
	long val;			/* SETVAL's value, msgtyp, POKE's value, IDS: the new id, or how many groups */
	size_t size;
	unsigned long addr;
	int bad;			/* 1, 2: a bad pointer instead of the buffer; 3: a bad timeout pointer */
	bool timed;
	struct timespec ts;
	unsigned nsops;
	struct sembuf sops[MAX_OPS];
	long ret;
	int err;
	int touched;			/* after shmdt: the old address could still be read */
	union {
		char fill[sizeof(long) + MAX_TEXT + GUARD];
		struct {
			long type;
			char text[MAX_TEXT + GUARD];
		} msg;
		struct semid_ds sem;
		struct msqid_ds msq;
		struct shmid_ds shm;
		struct seminfo seminfo;
		struct msginfo msginfo;
		struct shm_info shm_info;
		struct shminfo shminfo;
		unsigned short vals[MAX_SEMS + GUARD];
		struct scan scan;
		unsigned long words[4];
	} d;
};

struct seat {
	_Atomic int phase;
	_Atomic int handled;		/* signal handlers run */
	int fault;			/* the signal of a fault that nobody expected, and where */
	void *fault_addr, *fault_code;
	struct call call, nested;
};

/* ids: which of a process's it changes. The groups are the first `val` of a list of these, or (negative) the last. */
enum ids { EUID, EGID, GROUPS };

#define GROUP_A 61011
#define GROUP_B 61012

/* worker.c */
struct pipes {
	int mem, fd[SEATS][2];
};

struct seat *worker_map(int mem);
_Noreturn void worker_main(struct pipes *p, int seat, bool from_exec);
void worker_do(struct call *c);

/* proc.c: worker processes as the controller sees them */
enum state { FREE, READY, BLOCKED };

struct obj;

struct att {
	unsigned long addr;
	struct obj *obj;
	bool fixed, rdonly, exec;
};

struct undo {
	struct obj *obj;
	unsigned short num;
};

#define MAX_ATT 8
#define MAX_UNDO 4
#define RUNS 64

struct worker {
	enum state state;
	pid_t pid;
	int no;				/* name: P<no> */
	bool mine;			/* the controller's own child */
	int pidfd, statfd, callfd, runfd;
	struct obj *obj;		/* what the blocked call is about */
	size_t size;			/* a blocked sender's message */
	char runs[RUNS];		/* when it was last seen blocked */
	struct undo undo[MAX_UNDO];	/* semaphores that it has lately lowered with SEM_UNDO */
	unsigned nundo;
	int natt;
	struct att att[MAX_ATT];
};

extern struct worker workers[SEATS];
extern struct seat *seats;
extern struct pipes pipes;

void proc_setup(void);
void proc_add(int seat, pid_t pid, bool mine);
void proc_spawn(int seat);
void proc_start(int seat);
bool proc_wait_call(int seat);		/* true: done, false: blocked */
void proc_wait_handled(int seat, int before);	/* until a signal's handler has run */
void proc_wait_end(int seat, int *status);
int proc_settle(int woken[SEATS]);	/* waits for quiescence; who returned meanwhile, by seat */
void proc_end_all(void);
const char *proc_name(pid_t pid);
_Noreturn void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* object.c: objects by name */
#define MAX_QUEUE 64

struct obj {
	enum kind kind;
	int no, id;
	key_t key;
	bool alive, dest, seen;
	int nsems;
	size_t segsz;
	unsigned long qnum, cbytes, qbytes;
	size_t msgsz[MAX_QUEUE];	/* of the queue's first messages */
	unsigned short seq;
};

extern bool have_copy;
const char *obj_name(const struct obj *o);
struct obj *obj_got(enum kind kind, int id, key_t key);
struct obj *obj_find(enum kind kind, int id);
int obj_live(enum kind kind, struct obj ***list);
struct obj *obj_dead(enum kind kind, unsigned which);
void obj_dump(struct obj *o);
void obj_dump_kind(enum kind kind);
void obj_remove_all(void);
void epoch_next(void);
const char *epoch_of(time_t t);
void print_perm(const struct ipc_perm *p, struct obj *o);
void print_semid(const struct semid_ds *d, struct obj *o);
void print_msqid(const struct msqid_ds *d, struct obj *o);
void print_shmid(const struct shmid_ds *d, struct obj *o);

/* show.c: calls and results in words */
void show_call(const struct call *c, const struct obj *o);
void show_result(const struct call *c);
const char *err_name(int err);

/* choose.c: the random sequence */
void choose_seed(uint64_t seed);
unsigned rnd(unsigned n);
bool chance(unsigned percent);
struct obj *choose_call(const struct worker *w, struct call *c, bool may_block);
bool choose_nested(const struct worker *w, struct call *c);
extern bool with_efault, with_ids;

#endif
