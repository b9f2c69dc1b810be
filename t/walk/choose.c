/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The random sequence. What comes next depends on the seed and on what the trace says so far (who is blocked, which
 * objects live, what is in a queue), never on a number that may differ between two implementations.
 *
 * Left out, because the kernel itself leaves it to chance or because it is somebody else's test:
 * - a receive, or an IPC_SET, after which two blocked senders of one queue would fit, each for itself: the kernel
 *   wakes both and they race (queue_race);
 * - IPC_SET on a queue with two blocked receivers, or one and a sender that fits: it wakes them all, and they join
 *   the queue again in the order in which they happen to run;
 * - a timeout that may or may not pass before something else happens: timeouts are over at once or never;
 * - *_STAT by the index of a stale or foreign id, and the indexes that *_INFO returns: numbering is the
 *   implementation's own (all indexes are scanned, and the set of names compared);
 * - shmat with SHM_REMAP over a part of an attachment, munmap and mprotect of attachments: the kernel counts the
 *   pieces; shmat at page 0 (root may);
 * - SIGSTOP and SIGCONT: the kernel ends a semop by SIGCONT with EINTR only if it had gone to sleep before;
 * - msg_qbytes above msgmnb: a matter of CAP_SYS_RESOURCE, which not every root has;
 * - SHM_LOCK, SHM_HUGETLB, memory pressure.
 *
 * Ids change only with_ids; without, not a single random number is drawn for them, so a seed keeps its walk.
 */
#include "walk.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof *(a))
#define PICK(a) ((a)[rnd(LENGTH(a))])
#define FULL_HOUSE 5			/* from here on more is removed than created */
#define DEEP 40				/* messages, from here on none is sent */

bool with_efault, with_ids;

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_word(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Mixed, not multiplied: seeds side by side would otherwise share their sequence, shifted by a step. */
void choose_seed(uint64_t seed)
{
	random_state = seed;
	random_state = random_word();
}

unsigned rnd(unsigned n)
{
	return (unsigned)((random_word() >> 32) % n);
}

bool chance(unsigned percent)
{
	return rnd(100) < percent;
}

static key_t random_key(void)
{
	static const unsigned keys[] = { 0x51, 0x01000051, 0x80000051, 0xffffffff, 7, 0x7fffffff };

	return chance(30) ? IPC_PRIVATE : (key_t)PICK(keys);
}

static int random_mode(void)
{
	static const int modes[] = { 0600, 0600, 0666, 0644, 0, 0444, 0222, 0777 };
	static const int shared[] = { 0660, 0660, 0666, 0666, 0060, 0006, 0640, 0620, 0604, 0066, 0606 };

	return with_ids && chance(70) ? PICK(shared) : PICK(modes);
}

/* A blocked worker's object of that kind, or NULL. */
static struct obj *waited_for(enum kind kind)
{
	struct obj *list[SEATS];
	unsigned n = 0;
	int i;

	for (i = 0; i < SEATS; i++)
		if (workers[i].state == BLOCKED && workers[i].obj && workers[i].obj->kind == kind)
			list[n++] = workers[i].obj;
	return n ? list[rnd(n)] : NULL;
}

static struct obj *living(enum kind kind)
{
	struct obj **list;
	int n = obj_live(kind, &list);

	return n ? list[rnd((unsigned)n)] : NULL;
}

/* The id to call with: mostly a living object's, now and then a stale one or nonsense (then NULL). */
static struct obj *choose_object(enum kind kind, struct call *c)
{
	static const int nonsense[] = { -1, -5, INT_MAX, INT_MIN };
	struct obj *o = NULL;

	if (chance(3))
		o = obj_dead(kind, rnd(6));
	else if (chance(50))
		o = waited_for(kind);
	if (!o && !chance(2))
		o = living(kind);
	c->id = o ? o->id : PICK(nonsense);
	return o;
}

static int get_flags(enum kind kind)
{
	struct obj **list;
	int n = obj_live(kind, &list), f = random_mode();

	if (n < FULL_HOUSE ? chance(75) : chance(20))
		f |= IPC_CREAT;
	if (chance(20))
		f |= IPC_EXCL;
	return f;
}

static void choose_get(enum kind kind, struct call *c)
{
	static const int nsems[] = { 0, 1, 1, 2, 2, 3, 4, 6, 40, -1, 32001 };
	static const size_t sizes[] = { 0, 1, 100, 4096, 4096, 4097, 20000, 65536, 1UL << 60, ~0UL };
	struct obj **list;

	c->op = kind == SEM ? SEMGET : kind == MSG ? MSGGET : SHMGET;
	c->id = random_key();
	c->flags = get_flags(kind);
	if (c->id == IPC_PRIVATE && obj_live(kind, &list) > FULL_HOUSE + 2)
		c->id = 7;
	c->cmd = PICK(nsems);
	c->size = PICK(sizes);
	if (kind == SHM && c->size < 1UL << 60 && chance(15))
		c->flags |= SHM_NORESERVE;
}

static short random_semop(void)
{
	static const short ops[] = {
		0, 0, 0, 1, 1, 1, -1, -1, -1, -1, -1, 2, -2, 3, -3, 5, 32767, -32767, -32768, 30000,
	};

	return chance(90) ? ops[rnd(13)] : PICK(ops);
}

static unsigned random_nsops(void)
{
	if (chance(1))
		return chance(50) ? 0 : MAX_OPS;
	if (chance(60))
		return 1;
	return chance(85) ? 2 + rnd(3) : 5 + rnd(4);
}

static void choose_sops(const struct obj *o, struct call *c, bool may_block)
{
	unsigned nsems = o && o->nsems ? (unsigned)o->nsems : 1, undo = chance(50) ? 0 : 60, i;
	bool nowait = !may_block || chance(25);

	c->nsops = random_nsops();
	for (i = 0; i < c->nsops; i++) {
		c->sops[i].sem_num = (unsigned short)(chance(1) ? nsems + rnd(2) * 60000 : rnd(nsems));
		c->sops[i].sem_op = random_semop();
		c->sops[i].sem_flg = (short)((chance(undo) ? SEM_UNDO : 0) | (nowait || chance(5) ? IPC_NOWAIT : 0));
	}
}

/* Sometimes just what somebody waits for. */
static void satisfy(const struct obj *o, struct call *c)
{
	const struct sembuf *s;
	int i = (int)rnd(SEATS);

	if (workers[i].state != BLOCKED || workers[i].obj != o || !c->nsops)
		return;
	s = &seats[i].call.sops[rnd(seats[i].call.nsops)];
	c->sops[0].sem_num = s->sem_num;
	c->sops[0].sem_op = (short)(s->sem_op > -100 && s->sem_op < 0 ? -s->sem_op + (int)rnd(3) : -1);
}

static void choose_timeout(struct call *c)
{
	static const struct timespec times[] = {
		{ 1000, 0 }, { 1000, 0 }, { 5000, 999999999 }, { LONG_MAX, 0 }, { 0, 0 }, { 0, 1 }, { 0, 300000 },
		{ -1, 0 }, { 0, 1000000000 }, { 1, -1 },
	};

	c->op = SEMTIMEDOP;
	c->timed = chance(85);
	if (c->timed)
		c->ts = PICK(times);
}

static struct obj *choose_semop(struct call *c, bool may_block)
{
	struct obj *o = choose_object(SEM, c);

	c->op = SEMOP;
	choose_sops(o, c, may_block);
	if (chance(70))
		satisfy(o, c);
	if (chance(25))
		choose_timeout(c);
	if (with_efault && chance(1))
		c->bad = c->op == SEMTIMEDOP && c->timed ? 1 + (int)rnd(2) * 2 : 1;
	return o;
}

static void random_values(struct call *c)
{
	unsigned i;

	for (i = 0; i < MAX_SEMS; i++)
		c->d.vals[i] = (unsigned short)rnd(4);
	if (chance(10))
		c->d.vals[0] = 32767;
	if (chance(10))
		c->d.vals[0] = 32768;
}

/* Root is in both, so that something goes on. */
static uid_t random_uid(void)
{
	static const uid_t uids[] = { 0, 0, 60011, 60011, 60012, 60013 };

	return PICK(uids);
}

static gid_t random_gid(void)
{
	static const gid_t gids[] = { 0, GROUP_A, GROUP_A, GROUP_B };

	return PICK(gids);
}

static struct obj *choose_ids(struct call *c)
{
	unsigned r = rnd(100);

	c->op = IDS;
	c->cmd = r < 60 ? EUID : r < 80 ? EGID : GROUPS;
	c->val = r < 60 ? (long)random_uid() : r < 80 ? (long)random_gid() : (long)rnd(4) - 1;
	return NULL;
}

static void choose_set(enum kind kind, struct call *c)
{
	static const unsigned long qbytes[] = { 0, 1, 64, 100, 500, 500, 2000, 2000, 16384 };
	struct ipc_perm *p = kind == SEM ? &c->d.sem.sem_perm : kind == MSG ? &c->d.msq.msg_perm : &c->d.shm.shm_perm;

	p->uid = chance(5) ? (uid_t)-1 : geteuid();
	p->gid = getegid();
	if (with_ids && p->uid != (uid_t)-1)
		p->uid = random_uid();
	if (with_ids)
		p->gid = random_gid();
	p->mode = (unsigned)random_mode() | (chance(10) ? 07000 : 0);
	if (kind == MSG)
		c->d.msq.msg_qbytes = PICK(qbytes);
}

/* IPC_STAT, IPC_SET, IPC_RMID, IPC_INFO, unknown */
static void choose_common(enum kind kind, struct call *c)
{
	struct obj **list;
	unsigned r = rnd(100);

	if (obj_live(kind, &list) >= FULL_HOUSE ? chance(40) : chance(6))
		c->cmd = IPC_RMID;
	else if (r < 40)
		c->cmd = IPC_STAT;
	else if (r < 85)
		c->cmd = IPC_SET;
	else if (r < 95)
		c->cmd = IPC_INFO;
	else
		c->cmd = r < 98 ? 99 : -1;
	if (c->cmd == IPC_SET)
		choose_set(kind, c);
	if (with_efault && chance(2) && c->cmd != IPC_RMID)
		c->bad = 1 + (int)rnd(2);
}

static struct obj *choose_semctl(struct call *c)
{
	static const int cmds[] = { GETVAL, GETPID, GETNCNT, GETZCNT, GETALL, SETVAL, SETVAL, SETVAL, SETALL };
	static const int vals[] = { 0, 0, 0, 1, 1, 2, 3, 32767, 32768, 40000, -1 };
	struct obj *o = choose_object(SEM, c);
	unsigned nsems = o && o->nsems ? (unsigned)o->nsems : 1;

	c->op = SEMCTL;
	c->num = chance(2) ? -1 : chance(2) ? (int)nsems : (int)rnd(nsems);
	if (chance(25)) {
		choose_common(SEM, c);
		return o;
	}
	c->cmd = PICK(cmds);
	c->val = PICK(vals);
	if (c->cmd == SETALL)
		random_values(c);
	if (with_efault && chance(3) && (c->cmd == GETALL || c->cmd == SETALL))
		c->bad = 1 + (int)rnd(2);
	return o;
}

static size_t random_size(void)
{
	static const size_t odd[] = { 0, MAX_TEXT, MAX_TEXT + 1, (size_t)-1, 1UL << 40 };

	if (chance(2))
		return PICK(odd);
	return chance(60) ? rnd(100) : rnd(2000);
}

static struct obj *choose_msgsnd(struct obj *q, struct call *c, bool may_block)
{
	static const long types[] = { 0, -1, LONG_MAX, LONG_MIN };
	unsigned long i;

	c->op = MSGSND;
	c->size = random_size();
	c->d.msg.type = chance(2) ? PICK(types) : 1 + (long)rnd(5);
	for (i = 0; i < c->size && i < MAX_TEXT; i++)
		c->d.msg.text[i] = (char)(i * 7 + (unsigned)c->d.msg.type + (unsigned)c->size);
	c->flags = !may_block || chance(30) ? IPC_NOWAIT : 0;
	if (chance(5))
		c->flags |= MSG_NOERROR | MSG_EXCEPT;
	if (with_efault && chance(1))
		c->bad = 1 + (int)rnd(2);
	return q;
}

static void choose_msgrcv(struct call *c, bool may_block)
{
	static const long types[] = { 6, LONG_MAX, LONG_MIN, -LONG_MAX, 0 };
	static const size_t sizes[] = { 0, (size_t)-1, (size_t)LONG_MAX, 1UL << 40 };
	unsigned r = rnd(100);

	c->op = MSGRCV;
	c->size = chance(75) ? MAX_TEXT : chance(5) ? PICK(sizes) : rnd(100);
	c->val = r < 30 ? 0 : r < 65 ? 1 + (long)rnd(5) : r < 95 ? -1 - (long)rnd(5) : PICK(types);
	c->flags = !may_block || chance(30) ? IPC_NOWAIT : 0;
	if (chance(40))
		c->flags |= MSG_NOERROR;
	if (chance(15))
		c->flags |= MSG_EXCEPT;
	if (have_copy && chance(6)) {
		c->flags |= MSG_COPY | (chance(80) ? IPC_NOWAIT : 0);
		c->val = (long)rnd(4) - (chance(5) ? 3 : 0);
	}
	if (with_efault && chance(1))
		c->bad = 1 + (int)rnd(2);
}

static int blocked_in(const struct obj *q, enum op op, const struct worker *except)
{
	int i, n = 0;

	for (i = 0; i < SEATS; i++)
		n += workers[i].state == BLOCKED && workers[i].obj == q && &workers[i] != except &&
		     seats[i].call.op == op;
	return n;
}

/* How many of the blocked senders would each fit, were there `cbytes` in the queue. */
static int fitting(const struct obj *q, unsigned long qnum, unsigned long cbytes, unsigned long qbytes,
		   const struct worker *except)
{
	int i, n = 0;

	for (i = 0; i < SEATS; i++)
		n += workers[i].state == BLOCKED && workers[i].obj == q && &workers[i] != except &&
		     seats[i].call.op == MSGSND && workers[i].size + cbytes <= qbytes && qnum + 1 <= qbytes;
	return n;
}

/* Might taking one message let two blocked senders go? */
static bool receive_race(const struct obj *q, const struct worker *except)
{
	unsigned long i;

	if (blocked_in(q, MSGSND, except) < 2)
		return false;
	if (!have_copy || q->qnum > MAX_QUEUE)
		return true;
	for (i = 0; i < q->qnum; i++)
		if (fitting(q, q->qnum - 1, q->cbytes - q->msgsz[i], q->qbytes, except) > 1)
			return true;
	return false;
}

static bool set_race(const struct obj *q, unsigned long qbytes)
{
	int receivers = blocked_in(q, MSGRCV, NULL), senders = fitting(q, q->qnum, q->cbytes, qbytes, NULL);

	return receivers > 1 || senders > 1 || (receivers && senders);
}

static struct obj *choose_transfer(struct call *c, bool send, bool may_block)
{
	struct obj *q = choose_object(MSG, c);

	if (send && !(q && q->qnum >= DEEP))
		return choose_msgsnd(q, c, may_block);
	choose_msgrcv(c, may_block);
	if (q && receive_race(q, NULL)) {
		c->op = MSGCTL;
		c->cmd = chance(15) ? IPC_RMID : IPC_STAT;
	}
	return q;
}

static struct obj *choose_msgctl(struct call *c)
{
	struct obj *q = choose_object(MSG, c);

	c->op = MSGCTL;
	choose_common(MSG, c);
	if (q && c->cmd == IPC_SET && set_race(q, c->d.msq.msg_qbytes))
		c->cmd = IPC_STAT;
	return q;
}

static unsigned long pages(const struct obj *o)
{
	return (o->segsz + PAGE - 1) / PAGE * PAGE;
}

/* Would an attachment there cut another one in pieces? */
static bool cuts(const struct worker *w, unsigned long addr, unsigned long size)
{
	int i;

	for (i = 0; i < w->natt; i++) {
		unsigned long a = w->att[i].addr, e = a + pages(w->att[i].obj);

		if (addr < e && a < addr + size && (a < addr || e > addr + size))
			return true;
	}
	return false;
}

static struct obj *choose_shmat(const struct worker *w, struct call *c)
{
	static const unsigned offsets[] = { 0, 0, 0, 0, 1, 0x123, 0xfff, 0x1000, 0x2345 };
	static const unsigned long bad[] = { 1UL << 47, (1UL << 47) - 2 * PAGE, 1UL << 63, ~0UL << 12 };
	struct obj *o = choose_object(SHM, c);

	c->op = SHMAT;
	if (chance(50))
		c->addr = chance(2) ? PICK(bad) : FIXED_BASE + rnd(4) * FIXED_STEP + PICK(offsets);
	if (chance(30))
		c->flags |= SHM_RDONLY;
	if (chance(40))
		c->flags |= SHM_RND;
	if (chance(10))
		c->flags |= SHM_EXEC;
	if (chance(c->addr ? 40 : 5))
		c->flags |= SHM_REMAP;
	if (o && cuts(w, c->addr & ~(PAGE - 1), pages(o)))
		c->flags &= ~SHM_REMAP;
	return o;
}

/* One of the worker's attachments, or some other address; returns the attached object. */
static struct obj *choose_shmdt(const struct worker *w, struct call *c)
{
	static const unsigned off[] = { 1, 0x1000, 0x800 };
	const struct att *a;

	c->op = SHMDT;
	if (!w->natt || chance(5)) {
		c->addr = chance(50) ? 0 : FIXED_BASE + 50 * FIXED_STEP;
		return NULL;
	}
	a = &w->att[rnd((unsigned)w->natt)];
	c->addr = a->addr;
	if (a->fixed && chance(10))
		c->addr += PICK(off);
	return a->obj;
}

static struct obj *choose_memory(const struct worker *w, struct call *c)
{
	const struct att *a = &w->att[rnd((unsigned)w->natt)];
	unsigned r = rnd(100);

	c->addr = a->addr;
	c->size = a->obj->segsz;
	if (r < 45) {
		c->op = PEEK;
	} else if (r < 85) {
		c->op = POKE;
		c->size = chance(30) ? 0 : rnd((unsigned)c->size);
		c->val = chance(50) ? RET : rnd(256);
	} else {
		c->op = RET < 0 ? PEEK : RUN;
	}
	return a->obj;
}

static struct obj *choose_shmctl(struct call *c)
{
	struct obj *o = choose_object(SHM, c);

	c->op = SHMCTL;
	choose_common(SHM, c);
	return o;
}

static struct obj *choose_scan(struct call *c)
{
	c->op = SCAN;
	c->cmd = (int)rnd(KINDS);
	c->flags = chance(50);
	return NULL;
}

static struct obj *choose_stat_index(struct call *c)
{
	struct obj *o = living((c->cmd = (int)rnd(KINDS)));

	if (!o)
		return choose_scan(c);
	c->op = STAT_INDEX;
	c->id = o->id;
	c->flags = chance(50);
	return o;
}

static struct obj *choose_shared_memory(const struct worker *w, struct call *c, unsigned r)
{
	if (r < 3) {
		choose_get(SHM, c);
		return NULL;
	}
	if (r < 7 && w->natt < MAX_ATT)
		return choose_shmat(w, c);
	if (r < 10)
		return choose_shmdt(w, c);
	if (r < 14 || !w->natt)
		return choose_shmctl(c);
	return choose_memory(w, c);
}

static bool none_living(enum kind kind)
{
	struct obj **list;

	return obj_live(kind, &list) == 0;
}

/* The next call for w; the object that it is about, if that has a name. */
struct obj *choose_call(const struct worker *w, struct call *c, bool may_block)
{
	unsigned r = rnd(100);
	enum kind kind = r < 42 ? SEM : r < 73 ? MSG : SHM;

	memset(c, 0, offsetof(struct call, d));
	memset(&c->d, 0xa5, sizeof c->d);
	if (with_ids && chance(7))
		return choose_ids(c);
	if (none_living(kind) && chance(80)) {
		choose_get(kind, c);
		c->flags |= IPC_CREAT;
		return NULL;
	}
	if (r < 30)
		return choose_semop(c, may_block);
	if (r < 42)
		return choose_semctl(c);
	if (r < 55)
		return choose_transfer(c, true, may_block);
	if (r < 68)
		return choose_transfer(c, false, may_block);
	if (r < 73)
		return choose_msgctl(c);
	if (r < 77) {
		choose_get(r < 75 ? SEM : MSG, c);
		return NULL;
	}
	if (r < 98)
		return choose_shared_memory(w, c, r - 77);
	return r < 99 ? choose_scan(c) : choose_stat_index(c);
}

/* A call that does not block, for a signal handler that interrupts w, on what w waits for. */
bool choose_nested(const struct worker *w, struct call *c)
{
	struct obj *o = w->obj;

	memset(c, 0, offsetof(struct call, d));
	memset(&c->d, 0xa5, sizeof c->d);
	if (!o || !o->alive)
		return false;
	c->id = o->id;
	if (o->kind == SEM) {
		c->op = SEMOP;
		choose_sops(o, c, false);
	} else if (chance(50) || receive_race(o, w)) {
		choose_msgsnd(o, c, false);
	} else {
		choose_msgrcv(c, false);
	}
	return true;
}
