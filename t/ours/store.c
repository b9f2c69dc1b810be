/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a namespace is at rest: everything reappears from the store and the control areas when the registry (or the
 * registry and the slots) is gone, and a process that is killed at any system call of a create, a remove or an
 * IPC_SET leaves the object whole: there or gone, old or new, with no file that no row names.
 *
 * Every step is a process of its own that opens the namespace; what it finds wrong goes into a shared page, and this
 * process prints it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "libipc.h"
#include "registry.h"
#include "slot.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

union semun { int val; struct semid_ds *buf; unsigned short *array; };

#define SEGS 3
#define SETS 3
#define QUEUES 3
#define SEMS 300
#define MSGS 12
#define LIMIT_NAMES 10

static const char *const limit_names[LIMIT_NAMES] = { "shmmax", "shmall", "shmmni", "semmsl", "semmns", "semopm",
						      "semmni", "msgmax", "msgmnb", "msgmni" };

struct letter { long type; char text[8192]; };

/* All that the calls tell of the objects. */
struct snapshot {
	int seg[SEGS], set[SETS], queue[QUEUES];
	struct shmid_ds shm[SEGS];
	uint64_t data[SEGS];
	struct semid_ds sem[SETS];
	unsigned short values[SETS][SEMS];
	int pids[SETS][SEMS];
	struct msqid_ds msg[QUEUES];
	long types[QUEUES][MSGS];
	int sizes[QUEUES][MSGS];
	uint64_t texts[QUEUES][MSGS];
	unsigned long long limits[LIMIT_NAMES];
	int removed;
};

struct shared {
	volatile int bad, done, id, sleeping, undo_value, seen;
	volatile unsigned seen_uid;
	char line[4][300];
	struct snapshot before, now;
};

static struct shared *sh;
static char dir[64];

__attribute__((format(printf, 1, 2))) static void wrong(const char *fmt, ...)
{
	va_list ap;

	if (sh->bad < 4) {
		va_start(ap, fmt);
		vsnprintf(sh->line[sh->bad], sizeof sh->line[0], fmt, ap);
		va_end(ap);
	}
	sh->bad++;
}

#define check(cond, ...)                                                                            \
	do {                                                                                        \
		if (!(cond))                                                                        \
			wrong(#cond " [" __FILE__ "] " __VA_ARGS__);                                \
	} while (0)

/* Print what children found wrong; true if nothing. */
static bool fine(void)
{
	bool good = !sh->bad;

	for (int i = 0; i < sh->bad && i < 4; i++)
		diag("%s", sh->line[i]);
	sh->bad = 0;
	return good;
}

static void path_of(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/%s", dir, name);
}

static void delete_file(const char *name)
{
	char path[400];

	path_of(path, sizeof path, name);
	unlink(path);
}

static ipc_ns *open_it(void)
{
	ipc_ns *ns = ipc_open(dir, IPC_OPEN_CREATE);

	if (!ns) {
		wrong("ipc_open: %s", ipc_open_error());
		_exit(1);
	}
	return ns;
}

static uint64_t hash(const void *p, size_t n)
{
	const unsigned char *c = p;
	uint64_t h = 14695981039346656037ull;

	while (n--)
		h = (h ^ *c++) * 1099511628211ull;
	return h;
}

/* ---- everything reappears ---- */

static const size_t seg_size[SEGS] = { 1, 5000, 3000000 };
static const int set_size[SETS] = { 1, 5, SEMS };

static void look_at_memory(ipc_ns *ns, struct snapshot *s)
{
	for (int i = 0; i < SEGS; i++) {
		char *p;

		check(!ipc_shmctl(ns, s->seg[i], IPC_STAT, &s->shm[i]), "segment %d: errno %d", i, errno);
		p = ipc_shmat(ns, s->seg[i], NULL, SHM_RDONLY);
		check(p != (void *)-1, "shmat %d: errno %d", i, errno);
		if (p == (void *)-1)
			continue;
		s->data[i] = hash(p, s->shm[i].shm_segsz);
		ipc_shmdt(ns, p);
	}
}

static void look_at_sets(ipc_ns *ns, struct snapshot *s)
{
	for (int i = 0; i < SETS; i++) {
		check(!ipc_semctl(ns, s->set[i], 0, IPC_STAT, (union semun){ .buf = &s->sem[i] }), "set %d: errno %d", i,
		      errno);
		ipc_semctl(ns, s->set[i], 0, GETALL, (union semun){ .array = s->values[i] });
		for (int k = 0; k < set_size[i]; k++)
			s->pids[i][k] = ipc_semctl(ns, s->set[i], k, GETPID, (union semun){ .val = 0 });
	}
}

static void look_at_queues(ipc_ns *ns, struct snapshot *s)
{
	static struct letter l;

	for (int i = 0; i < QUEUES; i++) {
		check(!ipc_msgctl(ns, s->queue[i], IPC_STAT, &s->msg[i]), "queue %d: errno %d", i, errno);
		for (int k = 0; k < MSGS; k++) {
			ssize_t n = ipc_msgrcv(ns, s->queue[i], &l, sizeof l.text, k, MSG_COPY | IPC_NOWAIT);

			s->sizes[i][k] = (int)n;
			s->types[i][k] = n < 0 ? 0 : l.type;
			s->texts[i][k] = n < 0 ? 0 : hash(l.text, (size_t)n);
		}
	}
}

static void look(ipc_ns *ns, struct snapshot *s)
{
	look_at_sets(ns, s);
	look_at_queues(ns, s);
	look_at_memory(ns, s);
	for (int i = 0; i < LIMIT_NAMES; i++)
		check(!ipc_limit_get(ns, limit_names[i], &s->limits[i]), "%s", limit_names[i]);
}

static void make_segments(ipc_ns *ns, struct snapshot *s)
{
	struct shmid_ds ds = { 0 };
	char *p;

	for (int i = 0; i < SEGS; i++) {
		s->seg[i] = ipc_shmget(ns, i == 1 ? IPC_PRIVATE : 0x100 + i, seg_size[i], IPC_CREAT | 0640);
		check(s->seg[i] >= 0, "errno %d", errno);
		p = ipc_shmat(ns, s->seg[i], NULL, 0);
		check(p != (void *)-1, "errno %d", errno);
		for (size_t k = 0; k < seg_size[i]; k++)
			p[k] = (char)(k * 7 + (size_t)i + 1);
		ipc_shmdt(ns, p);
	}
	ds.shm_perm.uid = 1001;
	ds.shm_perm.gid = 1002;
	ds.shm_perm.mode = 0604;
	check(!ipc_shmctl(ns, s->seg[2], IPC_SET, &ds), "errno %d", errno);
	s->removed = ipc_shmget(ns, IPC_PRIVATE, 100, 0600);
	check(!ipc_shmctl(ns, s->removed, IPC_RMID, NULL), "errno %d", errno);
}

static void make_sets(ipc_ns *ns, struct snapshot *s)
{
	unsigned short values[SEMS];
	struct semid_ds ds = { 0 };

	for (int i = 0; i < SETS; i++) {
		struct sembuf op = { .sem_num = (unsigned short)(set_size[i] - 1), .sem_op = 3 };

		s->set[i] = ipc_semget(ns, i == 1 ? IPC_PRIVATE : 0x200 + i, set_size[i], IPC_CREAT | 0600);
		for (int k = 0; k < set_size[i]; k++)
			values[k] = (unsigned short)(k * 101 % 32000 + i);
		check(!ipc_semctl(ns, s->set[i], 0, SETALL, (union semun){ .array = values }), "errno %d", errno);
		if (i)
			check(!ipc_semop(ns, s->set[i], &op, 1), "errno %d", errno);
	}
	ds.sem_perm.uid = 1003;
	ds.sem_perm.gid = 1004;
	ds.sem_perm.mode = 0444;
	check(!ipc_semctl(ns, s->set[2], 0, IPC_SET, (union semun){ .buf = &ds }), "errno %d", errno);
}

static void make_queues(ipc_ns *ns, struct snapshot *s)
{
	static struct letter l;
	struct msqid_ds ds = { 0 };

	ds.msg_perm.mode = 0622;
	ds.msg_perm.gid = 1005;
	ds.msg_qbytes = 50000;
	for (int i = 0; i < QUEUES; i++) {
		s->queue[i] = ipc_msgget(ns, i == 1 ? IPC_PRIVATE : 0x300 + i, IPC_CREAT | 0600);
		if (i == 2)
			check(!ipc_msgctl(ns, s->queue[i], IPC_SET, &ds), "errno %d", errno);
		for (int k = 0; i && k < MSGS; k++) {
			size_t n = (size_t)(i == 2 ? k * k * 60 % 8193 : k * 11);

			l.type = k % 3 + 1;
			memset(l.text, 'a' + k, n);
			check(!ipc_msgsnd(ns, s->queue[i], &l, n, IPC_NOWAIT), "message %d: errno %d", k, errno);
		}
	}
	check(ipc_msgrcv(ns, s->queue[1], &l, sizeof l.text, 2, IPC_NOWAIT) >= 0, "errno %d", errno);
}

static int make_all(void *arg)
{
	ipc_ns *ns = open_it();

	(void)arg;
	memset(&sh->before, 0, sizeof sh->before);
	check(!ipc_limit_set(ns, "msgmax", 8200) && !ipc_limit_set(ns, "shmmni", 77) &&
	      !ipc_limit_set(ns, "shmall", 1ull << 40) && !ipc_limit_set(ns, "semopm", 33) &&
	      !ipc_limit_set(ns, "msgmnb", 60000), "errno %d", errno);
	make_segments(ns, &sh->before);
	make_sets(ns, &sh->before);
	make_queues(ns, &sh->before);
	look(ns, &sh->before);
	/* Looking attaches, and that shows; it is saved together with the next change. */
	for (int i = 0; i < SEGS; i++)
		ipc_shmctl(ns, sh->before.seg[i], IPC_STAT, &sh->before.shm[i]);
	check(!ipc_semctl(ns, ipc_semget(ns, IPC_PRIVATE, 1, 0600), 0, IPC_RMID), "errno %d", errno);
	return 0;
}

/* A process with adjustments pending, killed. */
static int hold_undo(void *arg)
{
	ipc_ns *ns = open_it();
	struct sembuf ops[2] = { { 0, 3, SEM_UNDO }, { 4, -2, SEM_UNDO } };
	int id = sh->before.set[1];

	(void)arg;
	check(!ipc_semop(ns, id, ops, 2), "errno %d", errno);
	sh->undo_value = ipc_semctl(ns, id, 0, GETVAL, (union semun){ .val = 0 });
	kill(getpid(), SIGKILL);
	return 1;
}

static void compare_perm(const struct ipc_perm *a, const struct ipc_perm *b, const char *what, int i)
{
	check(a->__key == b->__key && a->uid == b->uid && a->gid == b->gid && a->cuid == b->cuid &&
	      a->cgid == b->cgid && a->mode == b->mode && a->__seq == b->__seq,
	      "%s %d: key %x/%x uid %u/%u gid %u/%u mode %o/%o", what, i, a->__key, b->__key, a->uid, b->uid, a->gid,
	      b->gid, (unsigned)a->mode, (unsigned)b->mode);
}

static void compare_segments(const struct snapshot *a, const struct snapshot *b)
{
	for (int i = 0; i < SEGS; i++) {
		const struct shmid_ds *x = &a->shm[i], *y = &b->shm[i];

		compare_perm(&x->shm_perm, &y->shm_perm, "segment", i);
		check(x->shm_segsz == y->shm_segsz && x->shm_nattch == y->shm_nattch && x->shm_ctime == y->shm_ctime &&
		      x->shm_cpid == y->shm_cpid, "segment %d: nattch %lu/%lu ctime %ld/%ld", i,
		      (unsigned long)x->shm_nattch, (unsigned long)y->shm_nattch, x->shm_ctime, y->shm_ctime);
		check(x->shm_lpid == y->shm_lpid && x->shm_atime == y->shm_atime && x->shm_dtime == y->shm_dtime,
		      "segment %d: lpid %d/%d atime %ld/%ld dtime %ld/%ld", i, x->shm_lpid, y->shm_lpid, x->shm_atime,
		      y->shm_atime, x->shm_dtime, y->shm_dtime);
		check(a->data[i] == b->data[i], "segment %d: contents", i);
	}
}

static void compare_sets(const struct snapshot *a, const struct snapshot *b, bool undo)
{
	for (int i = 0; i < SETS; i++) {
		compare_perm(&a->sem[i].sem_perm, &b->sem[i].sem_perm, "set", i);
		check(a->sem[i].sem_nsems == b->sem[i].sem_nsems && a->sem[i].sem_ctime == b->sem[i].sem_ctime,
		      "set %d: nsems, ctime", i);
		if (!undo || i != 1) /* undo is an operation: it shows in otime and pid */
			check(a->sem[i].sem_otime == b->sem[i].sem_otime &&
			      !memcmp(a->pids[i], b->pids[i], sizeof a->pids[i]), "set %d: otime, pids", i);
		for (int k = 0; k < set_size[i]; k++)
			check(a->values[i][k] == b->values[i][k], "set %d: value %d is %d, was %d", i, k,
			      b->values[i][k], a->values[i][k]);
	}
}

static void compare_queues(const struct snapshot *a, const struct snapshot *b)
{
	for (int i = 0; i < QUEUES; i++) {
		const struct msqid_ds *x = &a->msg[i], *y = &b->msg[i];

		compare_perm(&x->msg_perm, &y->msg_perm, "queue", i);
		check(x->msg_qnum == y->msg_qnum && x->msg_qbytes == y->msg_qbytes && x->__msg_cbytes == y->__msg_cbytes &&
		      x->msg_lspid == y->msg_lspid && x->msg_lrpid == y->msg_lrpid && x->msg_stime == y->msg_stime &&
		      x->msg_rtime == y->msg_rtime && x->msg_ctime == y->msg_ctime, "queue %d: qnum %lu/%lu", i,
		      (unsigned long)x->msg_qnum, (unsigned long)y->msg_qnum);
		for (int k = 0; k < MSGS; k++)
			check(a->types[i][k] == b->types[i][k] && a->sizes[i][k] == b->sizes[i][k] &&
			      a->texts[i][k] == b->texts[i][k], "queue %d: message %d", i, k);
	}
}

/* In the order they were sent, as in the copies. */
static void drain(ipc_ns *ns, const struct snapshot *s)
{
	static struct letter l;

	for (int i = 0; i < QUEUES; i++) {
		unsigned long n = 0;

		for (ssize_t got; (got = ipc_msgrcv(ns, s->queue[i], &l, sizeof l.text, 0, IPC_NOWAIT)) >= 0; n++)
			check(n < MSGS && got == s->sizes[i][n] && hash(l.text, (size_t)got) == s->texts[i][n],
			      "queue %d: message %lu", i, n);
		check(n == s->msg[i].msg_qnum, "queue %d: %lu messages", i, n);
	}
}

static int compare_all(void *arg)
{
	bool undo = *(bool *)arg;
	ipc_ns *ns = open_it();
	struct snapshot *a = &sh->before, *b = &sh->now;
	int id;

	memset(b, 0, sizeof *b);
	memcpy(b->seg, a->seg, sizeof a->seg);
	memcpy(b->set, a->set, sizeof a->set);
	memcpy(b->queue, a->queue, sizeof a->queue);
	if (undo)
		check(sh->undo_value == a->values[1][0] + 3, "%d", sh->undo_value);
	look(ns, b);
	compare_segments(a, b);
	compare_sets(a, b, undo);
	compare_queues(a, b);
	check(!memcmp(a->limits, b->limits, sizeof a->limits), "limits");
	for (int i = 0; i < SEGS; i += 2)
		check(ipc_shmget(ns, 0x100 + i, 0, 0) == a->seg[i], "key of segment %d", i);
	for (int i = 0; i < SETS; i += 2)
		check(ipc_semget(ns, 0x200 + i, 0, 0) == a->set[i], "key of set %d", i);
	for (int i = 0; i < QUEUES; i += 2)
		check(ipc_msgget(ns, 0x300 + i, 0) == a->queue[i], "key of queue %d", i);
	check(ipc_shmctl(ns, a->removed, IPC_STAT, &b->shm[0]) == -1 && errno == EINVAL, "a removed segment is back");
	id = ipc_shmget(ns, IPC_PRIVATE, 100, 0600);
	check(id >= 0 && id != a->removed, "an id was given twice: %d", id);
	ipc_shmctl(ns, id, IPC_RMID, NULL);
	drain(ns, a);
	for (int i = 0; i < SEGS; i++)
		check(!ipc_shmctl(ns, a->seg[i], IPC_RMID, NULL), "errno %d", errno);
	for (int i = 0; i < SETS; i++)
		check(!ipc_semctl(ns, a->set[i], 0, IPC_RMID), "errno %d", errno);
	for (int i = 0; i < QUEUES; i++)
		check(!ipc_msgctl(ns, a->queue[i], IPC_RMID, NULL), "errno %d", errno);
	return 0;
}

enum lost { LOST_NOTHING, LOST_REGISTRY, LOST_SLOTS, LOST_BOTH, LOSSES };
static const char *const lost_name[LOSSES] = { "nothing", "the registry", "the slots", "the registry and the slots" };

static void lose(enum lost what)
{
	if (what == LOST_REGISTRY || what == LOST_BOTH)
		delete_file("registry");
	if (what == LOST_SLOTS || what == LOST_BOTH)
		delete_file("slots");
}

static void reappears(enum lost what, bool undo)
{
	directory_remove(dir);
	ok(!proc_wait(proc_run(make_all, NULL)) && fine(), "objects of each kind are made");
	if (undo)
		ok(proc_wait(proc_run(hold_undo, NULL)) == 1000 + SIGKILL && fine(),
		   "a process is killed with undo pending");
	lose(what);
	ok(!proc_wait(proc_run(compare_all, &undo)) && fine(), "%s deleted: all is there again%s", lost_name[what],
	   undo ? ", and the undo was applied" : "");
}

/* ---- killed at each system call ---- */

#define KEY 0x5151
#define NEW_UID 1234u

enum what { CREATE, REMOVE, SET, WHATS };
static const char *const what_name[WHATS] = { "create", "remove", "IPC_SET" };
static const char *const kind_name[KINDS] = { "segment", "set", "queue" };

struct scene { int kind; enum what what; bool cold; bool sleeper; bool seen; };

static int make_one(ipc_ns *ns, int kind, key_t key)
{
	return kind == KIND_SHM ? ipc_shmget(ns, key, 5000, IPC_CREAT | IPC_EXCL | 0600) :
	       kind == KIND_SEM ? ipc_semget(ns, key, 7, IPC_CREAT | IPC_EXCL | 0600) :
				  ipc_msgget(ns, key, IPC_CREAT | IPC_EXCL | 0600);
}

static int find_one(ipc_ns *ns, int kind)
{
	return kind == KIND_SHM ? ipc_shmget(ns, KEY, 0, 0) : kind == KIND_SEM ? ipc_semget(ns, KEY, 0, 0) :
										 ipc_msgget(ns, KEY, 0);
}

static int remove_one(ipc_ns *ns, int kind, int id)
{
	return kind == KIND_SHM ? ipc_shmctl(ns, id, IPC_RMID, NULL) :
	       kind == KIND_SEM ? ipc_semctl(ns, id, 0, IPC_RMID) : ipc_msgctl(ns, id, IPC_RMID, NULL);
}

static int stat_one(ipc_ns *ns, int kind, int id, struct ipc_perm *perm, unsigned long *size)
{
	struct shmid_ds shm = { 0 };
	struct semid_ds sem = { 0 };
	struct msqid_ds msg = { 0 };
	int e;

	if (kind == KIND_SHM) {
		e = ipc_shmctl(ns, id, IPC_STAT, &shm);
		*perm = shm.shm_perm;
		*size = shm.shm_segsz;
	} else if (kind == KIND_SEM) {
		e = ipc_semctl(ns, id, 0, IPC_STAT, (union semun){ .buf = &sem });
		*perm = sem.sem_perm;
		*size = sem.sem_nsems;
	} else {
		e = ipc_msgctl(ns, id, IPC_STAT, &msg);
		*perm = msg.msg_perm;
		*size = msg.msg_qbytes;
	}
	return e;
}

static int set_one(ipc_ns *ns, int kind, int id)
{
	struct ipc_perm perm = { .uid = NEW_UID, .gid = NEW_UID + 1, .mode = 0755 };
	struct shmid_ds shm = { .shm_perm = perm };
	struct semid_ds sem = { .sem_perm = perm };
	struct msqid_ds msg = { .msg_perm = perm, .msg_qbytes = 777 };

	return kind == KIND_SHM ? ipc_shmctl(ns, id, IPC_SET, &shm) :
	       kind == KIND_SEM ? ipc_semctl(ns, id, 0, IPC_SET, (union semun){ .buf = &sem }) :
				  ipc_msgctl(ns, id, IPC_SET, &msg);
}

/* Something in it, by which it is known again. */
static void fill_one(ipc_ns *ns, int kind, int id)
{
	struct { long type; char text[4]; } m = { 5, "abc" };
	char *p;

	if (kind == KIND_SHM) {
		p = ipc_shmat(ns, id, NULL, 0);
		check(p != (void *)-1, "errno %d", errno);
		memset(p, 'x', 5000);
		ipc_shmdt(ns, p);
	} else if (kind == KIND_SEM) {
		check(!ipc_semctl(ns, id, 3, SETVAL, (union semun){ .val = 33 }), "errno %d", errno);
	} else {
		check(!ipc_msgsnd(ns, id, &m, 4, IPC_NOWAIT), "errno %d", errno);
	}
}

/* It holds what it should, and everything can be done with it. */
static void use_one(ipc_ns *ns, int kind, int id, bool filled)
{
	struct { long type; char text[4]; } m = { 0, "" };
	struct sembuf up = { 3, 1, 0 }, down = { 3, -1, 0 };
	char *p;
	int n = 0;

	if (kind == KIND_SHM) {
		p = ipc_shmat(ns, id, NULL, 0);
		check(p != (void *)-1, "errno %d", errno);
		if (p == (void *)-1)
			return;
		for (int i = 0; i < 5000; i++)
			n += p[i] != (filled ? 'x' : 0);
		check(!n, "%d bytes differ", n);
		memset(p, 1, 5000);
		check(!ipc_shmdt(ns, p), "errno %d", errno);
	} else if (kind == KIND_SEM) {
		n = ipc_semctl(ns, id, 3, GETVAL, (union semun){ .val = 0 });
		check(n == (filled ? 33 : 0), "value %d", n);
		check(!ipc_semop(ns, id, &up, 1) && !ipc_semop(ns, id, &down, 1), "errno %d", errno);
	} else {
		n = (int)ipc_msgrcv(ns, id, &m, 4, 0, IPC_NOWAIT);
		check(filled ? n == 4 && m.type == 5 && !strcmp(m.text, "abc") : n == -1, "message: %d", n);
		fill_one(ns, kind, id);
		check(ipc_msgrcv(ns, id, &m, 4, 0, IPC_NOWAIT) == 4, "errno %d", errno);
	}
}

static int victim(void *arg)
{
	const struct scene *s = arg;
	ipc_ns *ns = open_it();
	int id = -1;

	if (!s->cold)
		remove_one(ns, s->kind, make_one(ns, s->kind, IPC_PRIVATE)); /* the slot, the store */
	if (s->what != CREATE) {
		id = find_one(ns, s->kind);
		if (id < 0)
			id = make_one(ns, s->kind, KEY);
		if (id < 0)
			wrong("no object to begin with: errno %d", errno);
		sh->id = id;
		if (!s->sleeper)
			fill_one(ns, s->kind, id);
	}
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	if (s->what == CREATE)
		id = make_one(ns, s->kind, KEY);
	else
		id = s->what == REMOVE ? remove_one(ns, s->kind, id) : set_one(ns, s->kind, id);
	if (id < 0)
		wrong("the call itself: errno %d", errno);
	sh->done = 1;
	syscall(SYS_getppid);
	_exit(0);
}

/* The rows of the store are those of the registry. */
static void compare_store(ipc_ns *ns)
{
	sqlite3 *db;
	sqlite3_stmt *st;
	char path[400];
	struct row r;
	unsigned rows = 0, found = 0;

	path_of(path, sizeof path, "meta.sqlite");
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "SELECT kind, idx, state, file, uid, mode FROM object", -1, &st,
			       NULL) != SQLITE_OK) {
		wrong("meta.sqlite: %s", sqlite3_errmsg(db));
		return;
	}
	while (sqlite3_step(st) == SQLITE_ROW) {
		rows++;
		if (registry_read_index(ns, (enum kind)sqlite3_column_int(st, 0), (uint32_t)sqlite3_column_int(st, 1), &r)) {
			wrong("the store has a row (%d, %d) that the registry has not", sqlite3_column_int(st, 0),
			      sqlite3_column_int(st, 1));
			continue;
		}
		check(r.v[R_STATE] == (uint32_t)sqlite3_column_int64(st, 2) &&
		      r.v[R_FILE] == (uint32_t)sqlite3_column_int64(st, 3) &&
		      r.v[R_UID] == (uint32_t)sqlite3_column_int64(st, 4) &&
		      r.v[R_MODE] == (uint32_t)sqlite3_column_int64(st, 5), "a row differs from the store's");
	}
	sqlite3_finalize(st);
	sqlite3_close(db);
	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < 200; i++)
			found += !registry_read_index(ns, (enum kind)kind, i, &r);
	check(rows == found, "%u rows in the store, %u in the registry", rows, found);
}

/* shm-, sem- and msg- files are those that rows name, no more and no fewer; slots of the dead are free. */
static void no_litter(ipc_ns *ns)
{
	static const char *const prefix[KINDS] = { "shm-", "sem-", "msg-" };
	unsigned files = 0, rows = 0, live = 0;
	char name[24], path[400];
	struct stat st;
	struct row r;
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		for (int kind = 0; kind < KINDS; kind++)
			files += !strncmp(e->d_name, prefix[kind], 4);
	if (d)
		closedir(d);
	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < 200; i++) {
			if (registry_read_index(ns, (enum kind)kind, i, &r))
				continue;
			rows++;
			object_name(name, (enum kind)kind, (int)r.v[R_FILE]);
			path_of(path, sizeof path, name);
			check(!stat(path, &st), "%s is missing", name);
		}
	check(files == rows, "%u files, %u rows", files, rows);
	for (uint32_t i = 1; i < atomic_load(&ns->slots->high); i++)
		live += WORD_STATE(atomic_load(&ns->slots->row[i].word)) != SLOT_FREE;
	check(live == 1 || (sh->sleeping && live == 2), "%u slots in use", live);
}

static void judge_perm(const struct scene *s, const struct ipc_perm *p, unsigned long size)
{
	unsigned long made = s->kind == KIND_SHM ? 5000 : s->kind == KIND_SEM ? 7 : 16384;
	bool old = p->uid == geteuid() && p->gid == getegid() && (p->mode & 0777) == 0600 && size == made;
	bool new = p->uid == NEW_UID && p->gid == NEW_UID + 1 && (p->mode & 0777) == 0755 &&
		   size == (s->kind == KIND_MSG ? 777 : made);

	check(p->__key == KEY, "key %x", p->__key);
	check(s->what == SET ? (sh->done ? new : old || new) : old, "uid %u gid %u mode %o size %lu", p->uid, p->gid,
	      (unsigned)p->mode, size);
}

/* The next process. */
static int next(void *arg)
{
	const struct scene *s = arg;
	ipc_ns *ns = open_it();
	struct ipc_perm perm;
	unsigned long size;
	int id = find_one(ns, s->kind), other;

	check(id >= 0 || errno == ENOENT, "found: errno %d", errno);
	if (sh->done)
		check((id >= 0) == (s->what != REMOVE), "the call was complete, id %d", id);
	if (s->seen)
		check(id == sh->seen, "it was seen as %d, and is %d now", sh->seen, id);
	if (s->what == SET)
		check(id == sh->id, "id %d, was %d", id, sh->id);
	if (id >= 0) {
		check(!stat_one(ns, s->kind, id, &perm, &size), "errno %d", errno);
		judge_perm(s, &perm, size);
		if (s->seen)
			check(perm.uid == sh->seen_uid, "seen with uid %u, now %u", sh->seen_uid, perm.uid);
		if (!s->sleeper)
			use_one(ns, s->kind, id, s->what != CREATE);
	} else if (s->what == REMOVE) {
		check(stat_one(ns, s->kind, sh->id, &perm, &size) == -1 && (errno == EINVAL || errno == EIDRM),
		      "by its id it is there: errno %d", errno);
	}
	other = make_one(ns, (s->kind + (int)(random() % 3)) % KINDS, KEY + 1);
	check(other >= 0, "another one: errno %d", errno);
	no_litter(ns);
	compare_store(ns);
	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < 200; i++) {
			struct row r;

			if (!registry_read_index(ns, (enum kind)kind, i, &r))
				check(!remove_one(ns, kind, row_id(&r)), "errno %d", errno);
		}
	no_litter(ns);
	return 0;
}

/* One that only looks: what it has seen must not be unsaid by the loss of the registry. */
static int see(void *arg)
{
	const struct scene *s = arg;
	ipc_ns *ns = open_it();
	struct ipc_perm perm;
	unsigned long size;

	sh->seen = find_one(ns, s->kind);
	if (sh->seen >= 0 && !stat_one(ns, s->kind, sh->seen, &perm, &size))
		sh->seen_uid = perm.uid;
	return 0;
}

static int sleeper(void *arg)
{
	const struct scene *s = arg;
	ipc_ns *ns = open_it();
	struct { long type; char text[4]; } m;
	struct sembuf down = { 0, -1, 0 };
	int id = make_one(ns, s->kind, KEY), r;

	sh->sleeping = 1;
	r = s->kind == KIND_SEM ? ipc_semop(ns, id, &down, 1) : (int)ipc_msgrcv(ns, id, &m, 4, 0, 0);
	return r == -1 && errno == EIDRM ? 0 : 1;
}

static bool quiet_call(const struct user_regs_struct *r)
{
	return r->orig_rax == SYS_fstat || r->orig_rax == SYS_newfstatat;
}

/* Run the victim to its k-th stop and kill it there; true when the call had completed before. */
static bool kill_at(pid_t pid, long k, bool cold)
{
	struct user_regs_struct r;
	unsigned long last = 0;
	int st;

	if (waitpid(pid, &st, 0) != pid || !WIFSTOPPED(st)) {
		wrong("the victim did not begin: %#x", st);
		return true;
	}
	for (long i = 0;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) || waitpid(pid, &st, 0) != pid)
			bail_out("ptrace");
		if (!WIFSTOPPED(st)) {
			wrong("the victim ended: %#x", st);
			return true;
		}
		if (sh->done)
			break;
		if (cold) { /* a run of the same query counts as one */
			ptrace(PTRACE_GETREGS, pid, NULL, &r);
			if (quiet_call(&r) && last == r.orig_rax)
				continue;
			last = r.orig_rax;
		}
		if (++i > k)
			break;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return sh->done;
}

static void killed(struct scene *s, enum lost what)
{
	long k = 0, step = s->cold ? 1 + random() % 2 : 1;
	double begin = proc_now();
	bool complete = false, good = true;
	pid_t asleep = 0;

	directory_remove(dir);
	for (; !complete && good; k += step) {
		sh->done = sh->sleeping = 0;
		if (s->sleeper) {
			asleep = proc_run(sleeper, s);
			good = wait_until(sh->sleeping) && proc_wait_asleep(asleep);
		}
		complete = kill_at(proc_run(victim, s), k, s->cold);
		if (s->seen && proc_wait(proc_run(see, s)))
			wrong("the process that looks ended badly");
		lose(what);
		if (proc_wait(proc_run(next, s)))
			wrong("the next process ended badly");
		if (s->sleeper && proc_wait(asleep))
			wrong("the sleeper was not told of the removal");
		good = fine() && good;
		if (!good)
			diag("at stop %ld", k);
	}
	diag("%.2f s", proc_now() - begin);
	ok(good && k > 10, "%s of a %s%s%s, killed at each of %ld stops, %s deleted: whole", what_name[s->what],
	   kind_name[s->kind], s->cold ? ", a process's first call" : "", s->sleeper ? " with a sleeper" : s->seen ? ", seen by another" : "", k,
	   lost_name[what]);
}

/* The very first opening of a directory. */
static int opener(void *arg)
{
	(void)arg;
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	open_it();
	sh->done = 1;
	syscall(SYS_getppid);
	_exit(0);
}

static void killed_opening(void)
{
	struct scene s = { .kind = KIND_SEM, .what = CREATE };
	bool complete = false, good = true;
	long k = 0;

	for (; !complete && good; k++) {
		directory_remove(dir);
		sh->done = sh->sleeping = 0;
		complete = kill_at(proc_run(opener, NULL), k, true);
		sh->done = 0;
		if (proc_wait(proc_run(next, &s)))
			wrong("the next process ended badly");
		good = fine();
	}
	ok(good && k > 10, "the first opening, killed at each of %ld stops: the next process has a namespace", k);
}

int main(void)
{
	alarm(120);
	srandom((unsigned)tap_seed());
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		bail_out("no shared page");
	directory_begin(dir, "store");
	for (int l = 0; l < LOSSES; l++) {
		reappears((enum lost)l, false);
		reappears((enum lost)l, true);
	}
	for (int kind = 0; kind < KINDS; kind++)
		for (int what = 0; what < WHATS; what++) {
			struct scene s = { .kind = kind, .what = (enum what)what };

			killed(&s, LOST_NOTHING);
			killed(&s, random() % 2 ? LOST_REGISTRY : LOST_BOTH);
		}
	killed(&(struct scene){ .kind = (int)(random() % KINDS), .what = CREATE, .cold = true }, LOST_NOTHING);
	killed(&(struct scene){ .kind = KIND_SEM, .what = REMOVE, .sleeper = true }, LOST_NOTHING);
	killed(&(struct scene){ .kind = KIND_MSG, .what = REMOVE, .sleeper = true }, LOST_NOTHING);
	for (int what = 0; what < WHATS; what++)
		killed(&(struct scene){ .kind = (int)(random() % KINDS), .what = (enum what)what, .seen = true },
		       LOST_REGISTRY);
	killed_opening();
	return done_testing();
}
