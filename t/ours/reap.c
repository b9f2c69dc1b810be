/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes killed with -9 at random moments of random calls on shared objects: whoever asks next finds every undo
 * adjustment applied, no attachment, no sleeper, a queue that holds as many messages as it says, and no file that no
 * object has. And a process stopped in the middle of hot calls holds up nobody.
 *
 * A worker counts each of its calls in a shared page before and after, so at most one call a worker is uncertain.
 * Adjustments are small beside the values, so that no undo is cut at zero.
 */
#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libipc.h"
#include "registry.h"
#include "slot.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

union semun { int val; struct semid_ds *buf; unsigned short *array; };

#define ROUNDS 150
#define STOPS 200
#define WORKERS 4
#define BASE 10000
#define SEMS 4 /* 0, 1: counters; 2: a lock; 3: what nobody gets */
#define TEXT 200

struct worker {
	volatile unsigned sending, sent, receiving, received, calls;
	volatile int what, error;
};

struct letter { long type; uint32_t worker, serial, size, sum; char text[TEXT]; };

static struct worker *workers;
static ipc_ns *ns;
static int set, queue, segment, full;
static char dir[64];
static long round_now;
static int bad;

#define check(cond, ...)                                                                            \
	do {                                                                                        \
		if (!(cond) && bad++ < 5) {                                                         \
			diag("round %ld, line %d: %s", round_now, __LINE__, #cond);                 \
			diag("  " __VA_ARGS__);                                                     \
		}                                                                                   \
	} while (0)

/* A hang anywhere: this many seconds from here. */
static void within(unsigned seconds)
{
	alarm(seconds);
}

static int value(int num, int cmd)
{
	return ipc_semctl(ns, set, num, cmd, (union semun){ .val = 0 });
}

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(ns, set, &s, 1);
}

static uint32_t sum_of(const struct letter *l)
{
	uint32_t h = l->worker * 31 + l->serial * 17 + l->size;

	for (uint32_t i = 0; i < l->size && i < TEXT; i++)
		h = h * 131 + (unsigned char)l->text[i];
	return h;
}

static size_t length_of(const struct letter *l)
{
	return 16 + l->size;
}

/* ---- what workers do ---- */

static void send_one(struct worker *w, unsigned me, int type, int flags)
{
	struct letter l = { .type = type, .worker = me, .serial = w->sending, .size = (uint32_t)(random() % TEXT) };

	memset(l.text, (int)l.serial, l.size);
	l.sum = sum_of(&l);
	w->sending++;
	if (ipc_msgsnd(ns, queue, &l, length_of(&l), flags))
		w->sending--;
	else
		w->sent++;
}

static void receive_one(struct worker *w, long type, int flags)
{
	struct letter l;
	ssize_t n;

	w->receiving++;
	n = ipc_msgrcv(ns, queue, &l, sizeof l - sizeof l.type, type, flags);
	if (n < 0) {
		w->receiving--;
		return;
	}
	w->received++;
	if (n != (ssize_t)length_of(&l) || l.sum != sum_of(&l))
		w->error = 1;
}

static void lock_and_unlock(void)
{
	if (!op(2, -1, SEM_UNDO))
		op(2, 1, SEM_UNDO);
}

static void several(int *balance)
{
	int a = (int)(random() % 9) - 4, b = (int)(random() % 9) - 4;
	struct sembuf ops[2] = { { 0, (short)a, SEM_UNDO }, { 1, (short)b, SEM_UNDO } };

	if (abs(*balance + a) + abs(b) < 500 && !ipc_semop(ns, set, ops, 2))
		*balance += a;
}

static void attach_some(void **at)
{
	if (*at) {
		ipc_shmdt(ns, *at);
		*at = NULL;
		return;
	}
	*at = ipc_shmat(ns, segment, NULL, 0);
	if (*at == (void *)-1)
		*at = NULL;
	else
		((volatile char *)*at)[random() % 4096]++;
}

static void make_and_remove(int how)
{
	int id = how == 0 ? ipc_shmget(ns, IPC_PRIVATE, 4096, 0600) : how == 1 ? ipc_semget(ns, IPC_PRIVATE, 3, 0600) :
									     ipc_msgget(ns, IPC_PRIVATE, 0600);
	void *p;

	if (id < 0)
		return;
	if (how == 0) {
		p = ipc_shmat(ns, id, NULL, 0);
		ipc_shmctl(ns, id, IPC_RMID, NULL);
		if (p != (void *)-1)
			ipc_shmdt(ns, p);
	} else if (how == 1) {
		struct sembuf up = { 1, 3, SEM_UNDO };

		ipc_semop(ns, id, &up, 1);
		ipc_semctl(ns, id, 0, IPC_RMID);
	} else {
		ipc_msgctl(ns, id, IPC_RMID, NULL);
	}
}

/* Once in a while a worker goes to sleep for what never comes. */
static void sleep_for_ever(struct worker *w, int how)
{
	struct letter l = { .type = 1 };

	if (how == 0)
		op(3, -1, SEM_UNDO);
	else if (how == 1)
		receive_one(w, 999, 0);
	else
		ipc_msgsnd(ns, full, &l, 100, 0);
}

static int work(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, mode = me % 100;
	struct worker *w = &workers[mode];
	int balance = 0;
	void *at = NULL;

	srandom(me * 2654435761u);
	if (random() % 2) { /* one that opens it itself */
		ns = ipc_open(dir, 0);
		if (!ns)
			return 1;
	}
	for (;;) {
		int what = (int)(random() % 100);

		w->what = what;
		w->calls++;
		if (what < 25)
			several(&balance);
		else if (what < 40)
			lock_and_unlock();
		else if (what < 60)
			send_one(w, me, 1 + (int)(random() % 3), IPC_NOWAIT);
		else if (what < 80)
			receive_one(w, random() % 5 - 2, IPC_NOWAIT);
		else if (what < 90)
			attach_some(&at);
		else if (what < 97)
			make_and_remove(what % 3);
		else if (what == 97 && random() % 10 == 0)
			sleep_for_ever(w, (int)(random() % 3));
	}
}

/* ---- what must hold then ---- */

static void see_values(void)
{
	static const int want[SEMS] = { BASE, BASE, 1, 0 };
	unsigned short all[SEMS];
	int first = (int)(random() % SEMS);

	if (random() % 2) {
		check(!ipc_semctl(ns, set, 0, GETALL, (union semun){ .array = all }), "errno %d", errno);
		for (int i = 0; i < SEMS; i++)
			check(all[i] == want[i], "semaphore %d: %d, want %d (GETALL)", i, all[i], want[i]);
	}
	for (int k = 0; k < SEMS; k++) {
		int i = (first + k) % SEMS;

		check(value(i, GETVAL) == want[i], "semaphore %d: %d, want %d", i, value(i, GETVAL), want[i]);
		check(value(i, GETNCNT) == 0 && value(i, GETZCNT) == 0, "semaphore %d: ncnt %d", i, value(i, GETNCNT));
	}
	check(!op(2, -1, IPC_NOWAIT) && !op(2, 1, IPC_NOWAIT), "the lock: errno %d", errno);
}

static void see_queue(void)
{
	unsigned sending = 0, sent = 0, receiving = 0, received = 0;
	unsigned long n = 0, bytes = 0;
	struct msqid_ds ds;
	struct letter l;
	ssize_t got;

	for (int i = 0; i < WORKERS; i++) {
		sending += workers[i].sending;
		sent += workers[i].sent;
		receiving += workers[i].receiving;
		received += workers[i].received;
		check(!workers[i].error, "worker %d received a torn message", i);
	}
	check(!ipc_msgctl(ns, queue, IPC_STAT, &ds), "errno %d", errno);
	for (; (got = ipc_msgrcv(ns, queue, &l, sizeof l - sizeof l.type, 0, IPC_NOWAIT)) >= 0; n++) {
		check(got == (ssize_t)length_of(&l) && l.sum == sum_of(&l), "a torn message of worker %u", l.worker % 100);
		bytes += (unsigned long)got;
	}
	check(errno == ENOMSG, "errno %d", errno);
	check(n == ds.msg_qnum && bytes == ds.__msg_cbytes, "%lu messages, %lu bytes; it said %lu, %lu", n, bytes,
	      (unsigned long)ds.msg_qnum, (unsigned long)ds.__msg_cbytes);
	check((long)n >= (long)sent - (long)receiving && (long)n <= (long)sending - (long)received,
	      "%lu messages; sent %u to %u, received %u to %u", n, sent, sending, received, receiving);
}

static void see_full(void)
{
	struct letter l = { .type = 1 };
	struct msqid_ds ds;

	check(!ipc_msgctl(ns, full, IPC_STAT, &ds) && ds.msg_qnum == 1, "the full queue: %lu messages",
	      (unsigned long)ds.msg_qnum);
	check(ipc_msgsnd(ns, full, &l, 100, IPC_NOWAIT) == -1 && errno == EAGAIN, "the full queue: errno %d", errno);
}

/* Objects that a worker had made and not removed are there; they can be removed. Files are those of objects. */
static void see_objects(void)
{
	int keep[KINDS][2] = { [KIND_SHM] = { segment, segment }, [KIND_SEM] = { set, set }, [KIND_MSG] = { queue, full } };
	unsigned files = 0, left = 0;
	struct row r;
	DIR *d;

	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < 200; i++) {
			if (registry_read_index(ns, (enum kind)kind, i, &r) || row_id(&r) == keep[kind][0] ||
			    row_id(&r) == keep[kind][1])
				continue;
			left++;
			check(ROW_STATE(r.v[R_STATE]) == ROW_USED, "a removed segment is kept by nobody");
			check(!(kind == KIND_SHM ? ipc_shmctl(ns, row_id(&r), IPC_RMID, NULL) :
				kind == KIND_SEM ? ipc_semctl(ns, row_id(&r), 0, IPC_RMID) :
						   ipc_msgctl(ns, row_id(&r), IPC_RMID, NULL)), "errno %d", errno);
		}
	check(left <= WORKERS, "%u objects left by %d workers", left, WORKERS);
	d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		files += !strncmp(e->d_name, "shm-", 4) || !strncmp(e->d_name, "sem-", 4) || !strncmp(e->d_name, "msg-", 4);
	if (d)
		closedir(d);
	check(files == 4, "%u files for 4 objects", files);
}

static void see_segment(void)
{
	struct shmid_ds ds;

	check(!ipc_shmctl(ns, segment, IPC_STAT, &ds) && ds.shm_nattch == 0, "nattch %lu", (unsigned long)ds.shm_nattch);
}

/* Each first in turn, so that each is the first to ask after the deaths. */
static void see_all(void)
{
	static void (*const see[])(void) = { see_values, see_queue, see_full, see_segment };
	int first = (int)(random() % 4);

	within(30);
	for (int i = 0; i < 4; i++)
		see[(first + i) % 4]();
	see_objects(); /* the calls before this have swept: IPC_STAT of a segment does */
}

static void a_round(void)
{
	bool zombies = random() % 2;
	pid_t pid[WORKERS];
	double end;

	memset(workers, 0, sizeof *workers * WORKERS);
	within(30);
	for (int i = 0; i < WORKERS; i++)
		pid[i] = proc_run(work, (void *)(uintptr_t)((unsigned)(random() % 1000000) * 100u + (unsigned)i));
	check(wait_until(workers[random() % WORKERS].calls > (unsigned)(random() % 200)), "a worker does not work");
	end = proc_now() + (double)(random() % 3000) / 1e6;
	while (proc_now() < end)
		;
	for (int i = 0; i < WORKERS; i++) {
		kill(pid[i], SIGKILL);
		if (random() % 4 == 0) /* the others go on beside a dead one for a moment */
			for (end = proc_now() + 0.0005; proc_now() < end;)
				;
	}
	for (int i = 0; i < WORKERS; i++) {
		siginfo_t si = { .si_code = 0 };

		check(!waitid(P_PID, (id_t)pid[i], &si, WEXITED | WNOWAIT) && si.si_code == CLD_KILLED,
		      "a worker ended by itself: %d", si.si_status);
		if (!zombies)
			waitpid(pid[i], NULL, 0);
	}
	see_all();
	for (int i = 0; i < WORKERS && zombies; i++)
		waitpid(pid[i], NULL, 0);
}

/* ---- stopped ones ---- */

/* Hot calls only, never with anything in hand that others need. */
static int hot(void *arg)
{
	struct worker *w = &workers[(uintptr_t)arg];

	while (++w->calls) {
		struct letter l = { .type = 7 };

		op(0, -1, SEM_UNDO);
		op(0, 1, SEM_UNDO);
		ipc_msgsnd(ns, queue, &l, 50, IPC_NOWAIT);
		ipc_msgrcv(ns, queue, &l, 50, 7, IPC_NOWAIT);
	}
	return 1;
}

static void others_go_on(void)
{
	struct sembuf both[2] = { { 0, -1, SEM_UNDO }, { 1, 1, SEM_UNDO } };
	struct letter l = { .type = 8 };

	for (int i = 0; i < 20; i++) {
		check(!op(0, -1, SEM_UNDO) && !op(0, 1, SEM_UNDO), "semop: errno %d", errno);
		check(!ipc_semop(ns, set, both, 2), "semop: errno %d", errno);
		both[0].sem_op = (short)-both[0].sem_op;
		both[1].sem_op = (short)-both[1].sem_op;
		l.serial = (uint32_t)i;
		check(!ipc_msgsnd(ns, queue, &l, 50, 0), "msgsnd: errno %d", errno);
		check(ipc_msgrcv(ns, queue, &l, 50, 8, 0) == 50 && l.serial == (uint32_t)i, "msgrcv: errno %d", errno);
		check(value(0, GETVAL) >= BASE - 3 && value(0, GETVAL) <= BASE, "value %d", value(0, GETVAL));
	}
}

static void stops(void)
{
	struct letter l;
	pid_t pid[2];
	int st, left = 0;

	memset(workers, 0, sizeof *workers * WORKERS);
	for (int i = 0; i < 2; i++)
		pid[i] = proc_run(hot, (void *)(uintptr_t)i);
	check(wait_until(workers[0].calls > 10 && workers[1].calls > 10), "they do not work");
	for (round_now = 0; round_now < STOPS && !bad; round_now++) {
		unsigned before = workers[0].calls;
		double end = proc_now() + (double)(random() % 500) / 1e6;

		within(20);
		while (workers[0].calls < before + 1 || proc_now() < end)
			sched_yield();
		kill(pid[0], SIGSTOP);
		waitpid(pid[0], &st, WUNTRACED);
		if (round_now % 2) { /* both */
			kill(pid[1], SIGSTOP);
			waitpid(pid[1], &st, WUNTRACED);
		}
		others_go_on();
		kill(pid[0], SIGCONT);
		kill(pid[1], SIGCONT);
	}
	proc_kill(pid[0]);
	proc_kill(pid[1]);
	while (ipc_msgrcv(ns, queue, &l, sizeof l - sizeof l.type, 7, IPC_NOWAIT) == 50)
		left++;
	check(errno == ENOMSG && left <= 2, "%d messages of two processes: errno %d", left, errno);
}

static void set_up(void)
{
	unsigned short values[SEMS] = { BASE, BASE, 1, 0 };
	struct letter l = { .type = 1 };
	struct msqid_ds ds = { .msg_perm.mode = 0600, .msg_qbytes = 150 };

	directory_begin(dir, "reap");
	workers = mmap(NULL, sizeof *workers * WORKERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ns = ipc_open(dir, IPC_OPEN_CREATE);
	if (!ns || workers == MAP_FAILED)
		bail_out("no namespace");
	set = ipc_semget(ns, 1, SEMS, IPC_CREAT | 0600);
	queue = ipc_msgget(ns, 1, IPC_CREAT | 0600);
	full = ipc_msgget(ns, 2, IPC_CREAT | 0600);
	segment = ipc_shmget(ns, 1, 4096, IPC_CREAT | 0600);
	succeeds(ipc_semctl(ns, set, 0, SETALL, (union semun){ .array = values }), "a set");
	succeeds(ipc_msgctl(ns, full, IPC_SET, &ds), "a small queue");
	succeeds(ipc_msgsnd(ns, full, &l, 100, IPC_NOWAIT), "is full");
	succeeds(segment, "a segment");
}

static void all_free(void)
{
	struct slots *s = ns->slots;
	unsigned live = 0, whos = 0;

	slots_sweep(ns, ns_enter(ns));
	for (uint32_t i = 1; i < atomic_load(&s->high); i++)
		live += WORD_STATE(atomic_load(&s->row[i].word)) != SLOT_FREE;
	for (uint32_t i = 1; i < atomic_load(&s->who_high); i++)
		whos += atomic_load(&s->who[i]) != 0;
	is(live, 1, "every slot but this process's is free");
	is(whos, 1, "every who number but this thread's is free");
	ok(atomic_load(&s->high) < 32, "slots are used again");
}

int main(void)
{
	const char *n = getenv("T_ROUNDS");
	long rounds = n ? strtol(n, NULL, 10) : ROUNDS;

	srandom((unsigned)tap_seed());
	set_up();
	for (round_now = 0; round_now < rounds && !bad; round_now++)
		a_round();
	ok(!bad, "%ld rounds of %d processes killed at random moments: nothing of theirs is left", round_now, WORKERS);
	all_free();
	bad = 0;
	stops();
	ok(!bad, "processes stopped in the middle of hot calls hold up nobody (%ld times)", round_now);
	see_all();
	ok(!bad, "and when they have been killed nothing of theirs is left");
	all_free();
	succeeds(ipc_semctl(ns, set, 0, IPC_RMID), "removed");
	ipc_close(ns);
	return done_testing();
}
