/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects under symbolic names (s1, q2, m3: in the order of their creation), and what the controller can see of
 * them: every field of the stat structures, every semaphore's GETVAL, GETPID, GETNCNT and GETZCNT, and every
 * message (by MSG_COPY). The controller itself only looks; it changes nothing.
 *
 * Times are printed as the epoch in which they were set. Each epoch begins with a second of its own, so the order
 * of all times is the same in each run, whatever the speed.
 */
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_OBJ 40000
#define MAX_LIVE 64
#define MAX_EPOCH 1000

bool have_copy;

static struct obj *objs[KINDS][MAX_OBJ];
static struct obj *live[KINDS][MAX_LIVE];
static int nobjs[KINDS], nlive[KINDS];
static time_t epoch_start[MAX_EPOCH];
static int epochs;

const char *obj_name(const struct obj *o)
{
	static char text[8][16];
	static int turn;
	char *s = text[turn++ % 8];

	snprintf(s, 16, "%c%d", "sqm"[o->kind], o->no);
	return s;
}

struct obj *obj_find(enum kind kind, int id)
{
	int i;

	for (i = nobjs[kind] - 1; i >= 0; i--)
		if (objs[kind][i]->id == id)
			return objs[kind][i];
	return NULL;
}

struct obj *obj_got(enum kind kind, int id, key_t key)
{
	struct obj *o = obj_find(kind, id);

	if (o && o->alive)
		return o;
	if (nobjs[kind] == MAX_OBJ || nlive[kind] == MAX_LIVE)
		give_up("too many objects");
	o = calloc(1, sizeof *o);
	o->kind = kind;
	o->id = id;
	o->key = key;
	o->alive = true;
	objs[kind][nobjs[kind]++] = o;
	o->no = nobjs[kind];
	live[kind][nlive[kind]++] = o;
	return o;
}

/* The list stays valid, but not its order, until an object comes or goes. */
int obj_live(enum kind kind, struct obj ***list)
{
	*list = live[kind];
	return nlive[kind];
}

static void obj_gone(struct obj *o)
{
	struct obj **list = live[o->kind];
	int i, n = nlive[o->kind];

	if (!o->alive)
		return;
	o->alive = false;
	for (i = 0; list[i] != o; i++)
		;
	memmove(&list[i], &list[i + 1], sizeof *list * (size_t)(n - i - 1));
	nlive[o->kind]--;
}

/* One of the last few that are gone, or NULL. */
struct obj *obj_dead(enum kind kind, unsigned which)
{
	int i;

	for (i = nobjs[kind] - 1; i >= 0 && i >= nobjs[kind] - 12; i--)
		if (!objs[kind][i]->alive && which-- == 0)
			return objs[kind][i];
	return NULL;
}

static struct timespec real_time(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t;
}

/* Begins a second that nobody has used, on the coarse clock that the kernel stamps with. */
void epoch_next(void)
{
	time_t want = real_time(CLOCK_REALTIME).tv_sec + 1;
	struct timespec t;

	if (epochs == MAX_EPOCH)
		give_up("too many epochs");
	for (;;) {
		t = real_time(CLOCK_REALTIME);
		if (t.tv_sec >= want && real_time(CLOCK_REALTIME_COARSE).tv_sec >= want)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = t.tv_sec >= want ? 1000000 : 1000000000 - t.tv_nsec }, NULL);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	epoch_start[epochs++] = want;
}

const char *epoch_of(time_t t)
{
	static char text[4][16];
	static int turn;
	char *s = text[turn++ % 4];
	int e;

	if (t == 0)
		return "0";
	if (t > real_time(CLOCK_REALTIME).tv_sec)
		return "FUTURE";
	for (e = epochs - 1; e >= 0 && t < epoch_start[e]; e--)
		;
	if (e < 0)
		return "PAST";
	snprintf(s, 16, "e%d", e);
	return s;
}

/* The sequence number is the implementation's own affair, but it is an object's for life. */
void print_perm(const struct ipc_perm *p, struct obj *o)
{
	if (!o->seen)
		o->seq = p->__seq;
	o->seen = true;
	o->key = p->__key;
	o->dest = (p->mode & SHM_DEST) != 0;
	printf("key=%x uid=%u/%u gid=%u/%u mode=%o%s", (unsigned)p->__key, p->uid, p->cuid, p->gid, p->cgid, p->mode,
	       o->seq == p->__seq ? "" : " SEQ CHANGED");
}

void print_semid(const struct semid_ds *d, struct obj *o)
{
	print_perm(&d->sem_perm, o);
	printf(" nsems=%lu otime=%s ctime=%s", d->sem_nsems, epoch_of(d->sem_otime), epoch_of(d->sem_ctime));
	o->nsems = (int)d->sem_nsems;
}

void print_msqid(const struct msqid_ds *d, struct obj *o)
{
	print_perm(&d->msg_perm, o);
	printf(" qnum=%lu cbytes=%lu qbytes=%lu lspid=%s lrpid=%s stime=%s rtime=%s ctime=%s", d->msg_qnum,
	       d->__msg_cbytes, d->msg_qbytes, proc_name(d->msg_lspid), proc_name(d->msg_lrpid),
	       epoch_of(d->msg_stime), epoch_of(d->msg_rtime), epoch_of(d->msg_ctime));
	o->qnum = d->msg_qnum;
	o->cbytes = d->__msg_cbytes;
	o->qbytes = d->msg_qbytes;
}

void print_shmid(const struct shmid_ds *d, struct obj *o)
{
	print_perm(&d->shm_perm, o);
	printf(" segsz=%zu nattch=%lu cpid=%s lpid=%s atime=%s dtime=%s ctime=%s", d->shm_segsz, d->shm_nattch,
	       proc_name(d->shm_cpid), proc_name(d->shm_lpid), epoch_of(d->shm_atime), epoch_of(d->shm_dtime),
	       epoch_of(d->shm_ctime));
	o->segsz = d->shm_segsz;
}

/* Number:value/pid/ncnt/zcnt of those where not all is 0. */
static void dump_sems(struct obj *o)
{
	int i, val, pid, ncnt, zcnt;

	printf(" |");
	for (i = 0; i < o->nsems; i++) {
		val = semctl(o->id, i, GETVAL);
		pid = semctl(o->id, i, GETPID);
		ncnt = semctl(o->id, i, GETNCNT);
		zcnt = semctl(o->id, i, GETZCNT);
		if (val || pid || ncnt || zcnt)
			printf(" %d:%d/%s/%d/%d", i, val, proc_name(pid), ncnt, zcnt);
	}
}

static unsigned sum(const char *text, size_t n)
{
	unsigned h = 0;

	while (n--)
		h = h * 31 + (unsigned char)*text++;
	return h & 0xffff;
}

static void dump_messages(struct obj *o)
{
	static struct { long type; char text[MAX_TEXT]; } m;
	unsigned long i;
	ssize_t n;

	printf(" |");
	for (i = 0; have_copy && i < o->qnum && i < MAX_QUEUE; i++) {
		n = msgrcv(o->id, &m, sizeof m.text, (long)i, MSG_COPY | IPC_NOWAIT);
		o->msgsz[i] = n < 0 ? 0 : (size_t)n;
		if (n < 0)
			printf(" %s", err_name(errno));
		else
			printf(" %ld:%zd:%04x", m.type, n, sum(m.text, (size_t)n));
	}
}

static int stat_of(struct obj *o, void *d)
{
	union semarg arg = { .buf = d };

	switch (o->kind) {
	case SEM:
		return semctl(o->id, 0, IPC_STAT, arg);
	case MSG:
		return msgctl(o->id, IPC_STAT, d);
	default:
		return shmctl(o->id, IPC_STAT, d);
	}
}

void obj_dump(struct obj *o)
{
	union {
		struct semid_ds sem;
		struct msqid_ds msq;
		struct shmid_ds shm;
	} d;

	memset(&d, 0xa5, sizeof d);
	printf("    %s ", obj_name(o));
	if (stat_of(o, &d) < 0) {
		printf("%s\n", err_name(errno));
		obj_gone(o);
		return;
	}
	if (!o->alive)
		printf("(again) ");
	switch (o->kind) {
	case SEM:
		print_semid(&d.sem, o);
		dump_sems(o);
		break;
	case MSG:
		print_msqid(&d.msq, o);
		dump_messages(o);
		break;
	default:
		print_shmid(&d.shm, o);
	}
	printf("\n");
}

void obj_dump_kind(enum kind kind)
{
	struct obj *list[MAX_LIVE];
	int i, n = nlive[kind];

	memcpy(list, live[kind], sizeof list);
	for (i = 0; i < n; i++)
		obj_dump(list[i]);
}

void obj_remove_all(void)
{
	int i;

	for (i = 0; i < nlive[SEM]; i++)
		semctl(live[SEM][i]->id, 0, IPC_RMID);
	for (i = 0; i < nlive[MSG]; i++)
		msgctl(live[MSG][i]->id, IPC_RMID, NULL);
	for (i = 0; i < nlive[SHM]; i++)
		shmctl(live[SHM][i]->id, IPC_RMID, NULL);
}
