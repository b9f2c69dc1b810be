/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd is stopped or killed, and started again, a hundred times, below clients that sleep in calls, hold undo, have
 * segments attached, end and begin. Calls on what a process owns go on meanwhile, all others wait; at the end every
 * unit, message, adjustment and attachment is accounted for, and no call has failed.
 *
 * Nothing is under way when ipcd is killed (-9), but requests that sleep: what they wait for comes while it is away.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ipcd.h"
#include "slot.h"
#include "wait.h"

#define OTHER 40000 /* uid of clients that own nothing */
#define WAITERS 3
#define HOLDERS 3
#define CYCLES 100
/* Attachments: everybody's from before the fork, and two of each holder. */
#define PROCESSES (1 + WAITERS + 4 + HOLDERS)
#define ATTACHED (PROCESSES + 2 * HOLDERS)

enum { SEM_TAKE, SEM_TIMED, SEM_UNDONE, SEM_NEVER, SEM_OWN, SEMS };

static ipc_ns *ns;
static int set, queue, full, seg, gone;
static struct shared {
	_Atomic long taken[SEMS], timeouts, got, sent, failed;
	_Atomic int ready[HOLDERS];
	char why[200];
} *sh;

_Noreturn static void failed(const char *what, long wanted)
{
	if (!atomic_fetch_add(&sh->failed, 1))
		snprintf(sh->why, sizeof sh->why, "%s: %s (%ld)", what, strerror(errno), wanted);
	_exit(1);
}

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(ns, set, &s, 1);
}

static int value(int num, int cmd)
{
	return ipc_semctl(ns, set, num, cmd);
}

/* ---- clients that go on for ever ---- */

_Noreturn static int taker(void *arg)
{
	int num = (int)(long)arg;

	if (num != SEM_OWN)
		ipcd_other_uid(OTHER);
	for (;;) {
		if (op(num, -1, 0))
			failed("semop", num);
		atomic_fetch_add(&sh->taken[num], 1);
	}
}

_Noreturn static int timed(void *arg)
{
	struct timespec t = { .tv_nsec = 30000000 };
	struct sembuf s = { .sem_num = SEM_TIMED, .sem_op = -1 };

	(void)arg;
	ipcd_other_uid(OTHER + 1);
	for (;;) {
		if (!ipc_semtimedop(ns, set, &s, 1, &t))
			atomic_fetch_add(&sh->taken[SEM_TIMED], 1);
		else if (errno == EAGAIN)
			atomic_fetch_add(&sh->timeouts, 1);
		else
			failed("semtimedop", 0);
	}
}

struct message { long type; long number; char more[92]; };

_Noreturn static int receiver(void *arg)
{
	struct message m;

	(void)arg;
	ipcd_other_uid(OTHER + 2);
	for (long n = 0;; n++) {
		if (ipc_msgrcv(ns, queue, &m, sizeof m - sizeof(long), 0, 0) != sizeof m - sizeof(long))
			failed("msgrcv", n);
		if (m.number != n)
			failed("another message", m.number - n);
		atomic_fetch_add(&sh->got, 1);
	}
}

_Noreturn static int sender(void *arg)
{
	struct message m = { .type = 1 };

	(void)arg;
	ipcd_other_uid(OTHER + 3);
	for (m.number = 0;; m.number++) {
		if (ipc_msgsnd(ns, full, &m, sizeof m - sizeof(long), 0))
			failed("msgsnd", m.number);
		atomic_fetch_add(&sh->sent, 1);
	}
}

/* ---- clients that come and go ---- */

/* Holds a unit with undo, has a segment attached and one that is removed, and sleeps. */
_Noreturn static int holder(void *arg)
{
	int i = (int)(long)arg;
	void *p;

	ipcd_other_uid((uid_t)(OTHER + 4 + i % 2));
	if (op(SEM_UNDONE, 1, SEM_UNDO))
		failed("semop with undo", i);
	p = ipc_shmat(ns, seg, NULL, 0);
	if (p == (void *)-1)
		failed("shmat", i);
	if (ipc_shmat(ns, seg, NULL, SHM_RDONLY) == (void *)-1)
		failed("shmat", i);
	if (i == 0 && (ipc_shmdt(ns, p) || ipc_shmat(ns, seg, NULL, 0) == (void *)-1))
		failed("shmdt", i);
	atomic_store(&sh->ready[i], 1);
	op(SEM_NEVER, -1, 0);
	failed("it woke", i);
}

static pid_t holders[HOLDERS];

static void hold(int i)
{
	atomic_store(&sh->ready[i], 0);
	holders[i] = proc_run(holder, (void *)(long)i);
}

/* ---- looking ---- */

static long attached(int id)
{
	struct shmid_ds d;

	return ipc_shmctl(ns, id, IPC_STAT, &d) ? -errno : (long)d.shm_nattch;
}

/* Does anybody wait at the queue? It is ours, and mapped. */
static bool waits(int id)
{
	struct obj *o = &ns->obj[KIND_MSG][ID_INDEX(id)];

	if (atomic_load(&o->opened) != (uint32_t)id + 1)
		return false;
	for (uint32_t who = 1; who < whos_high(ns); who++)
		if (STATE_WHAT(area_value(&o->area, REQ_STATE(&o->area, who))) == REQ_WAIT)
			return true;
	return false;
}

static struct { long units[SEMS], messages, drained; } did;

static bool all_sleep(void)
{
	for (int i = 0; i < HOLDERS; i++)
		if (!atomic_load(&sh->ready[i]))
			return false;
	return sh->taken[SEM_TAKE] == did.units[SEM_TAKE] && sh->taken[SEM_OWN] == did.units[SEM_OWN] &&
	       sh->taken[SEM_TIMED] == did.units[SEM_TIMED] && sh->got == did.messages &&
	       value(SEM_TAKE, GETNCNT) == WAITERS && value(SEM_OWN, GETNCNT) == 1 &&
	       value(SEM_NEVER, GETNCNT) == HOLDERS && waits(queue) && waits(full);
}

static void give(int num)
{
	int by = 1 + (int)(random() % 5);

	if (op(num, by, 0))
		bail_out("a unit for them");
	did.units[num] += by;
}

static void give_all(bool also_timed)
{
	struct message m = { .type = 1 };

	give(SEM_TAKE);
	give(SEM_OWN);
	if (also_timed)
		give(SEM_TIMED);
	for (long n = random() % 4; n; n--) {
		m.number = did.messages++;
		if (ipc_msgsnd(ns, queue, &m, sizeof m - sizeof(long), 0))
			bail_out("a message for them");
	}
	for (long n = random() % 4; n; n--) {
		if (ipc_msgrcv(ns, full, &m, sizeof m - sizeof(long), 0, IPC_NOWAIT) < 0)
			break;
		if (m.number != did.drained++)
			failed("a message of the sender's is lost or doubled", m.number - did.drained + 1);
	}
}

/* A round: true if all is as it should be. */
static bool round_of(int n, bool rebuild)
{
	bool killed = rebuild ? n % 4 > 1 : n % 2;
	long attachments, removed;

	if (!wait_until(all_sleep() || sh->failed) || sh->failed)
		return false;
	if (!killed) /* under way, and exact all the same */
		give_all(true);
	if (ipcd_end(killed ? SIGKILL : SIGTERM) != (killed ? 1000 + SIGKILL : 0))
		return false;
	if (rebuild) {
		char path[100];

		snprintf(path, sizeof path, "%s/registry", ipcd_ns);
		if (unlink(path))
			return false;
	}
	give_all(true);
	if (random() % 2) {
		int i = (int)(random() % HOLDERS);

		proc_kill(holders[i]);
		holders[i] = 0;
	}
	if (random() % 2)
		give_all(true);
	ipcd_start();
	for (int i = 0; i < HOLDERS; i++)
		if (!holders[i])
			hold(i);
	if (!wait_until(all_sleep() || sh->failed) || sh->failed)
		return false;
	attachments = attached(seg);
	removed = attached(gone);
	if (rebuild) /* they come back one after the other */
		wait_until((attachments = attached(seg)) == ATTACHED && (removed = attached(gone)) == PROCESSES);
	if (value(SEM_UNDONE, GETVAL) != HOLDERS || attachments != ATTACHED || removed != PROCESSES) {
		diag("round %d: %d with undo, %ld attachments, %ld of the removed segment", n, value(SEM_UNDONE, GETVAL),
		     attachments, removed);
		return false;
	}
	return true;
}

static void tell_state(void)
{
	diag("units %ld/%ld %ld/%ld %ld/%ld, messages %ld/%ld, %ld sent", sh->taken[SEM_TAKE], did.units[SEM_TAKE],
	     sh->taken[SEM_OWN], did.units[SEM_OWN], sh->taken[SEM_TIMED], did.units[SEM_TIMED], sh->got, did.messages,
	     sh->sent);
	diag("waiting: %d %d %d, receiver %d, sender %d", value(SEM_TAKE, GETNCNT), value(SEM_OWN, GETNCNT),
	     value(SEM_NEVER, GETNCNT), waits(queue), waits(full));
	if (sh->failed)
		diag("failed: %s", sh->why);
}

static void make_objects(void)
{
	struct msqid_ds d;

	set = ipc_semget(ns, IPC_PRIVATE, SEMS, 0666);
	queue = ipc_msgget(ns, IPC_PRIVATE, 0666);
	full = ipc_msgget(ns, IPC_PRIVATE, 0666);
	seg = ipc_shmget(ns, IPC_PRIVATE, 10000, 0666);
	gone = ipc_shmget(ns, IPC_PRIVATE, 10000, 0666);
	if (ipc_msgrcv(ns, queue, &d, 1, 0, IPC_NOWAIT) != -1) /* maps it */
		bail_out("a message");
	if (set < 0 || queue < 0 || full < 0 || seg < 0 || gone < 0 || ipc_msgctl(ns, full, IPC_STAT, &d))
		bail_out("objects");
	d.msg_qbytes = 500;
	if (ipc_msgctl(ns, full, IPC_SET, &d) || ipc_shmat(ns, seg, NULL, 0) == (void *)-1 ||
	    ipc_shmat(ns, gone, NULL, 0) == (void *)-1 || ipc_shmctl(ns, gone, IPC_RMID, NULL))
		bail_out("objects");
}

/* ---- one that gives up ---- */

static atomic_int *step;

/* Sleeps, and is told that there is no daemon; then it waits for its turn to make another call. */
static int impatient(void *arg)
{
	struct sembuf s = { .sem_num = SEM_NEVER, .sem_op = -1 };
	int other = *(int *)arg, r;

	ipcd_other_uid(OTHER + 4);
	setenv("IPCD_TIMEOUT", "1", 1);
	ns = ipc_open(ipcd_socket, IPC_OPEN_SOCKET);
	if (!ns)
		return 1;
	r = ipc_semop(ns, set, &s, 1);
	if (r != -1 || errno != ENOSYS)
		return 2;
	*step = 1;
	if (!wait_until(*step == 2))
		return 3;
	if (ipc_semctl(ns, other, 0, SETVAL, 1))
		return 4;
	*step = 3;
	return wait_until(*step == 4) ? 0 : 5;
}

static void test_gives_up(void)
{
	int other = ipc_semget(ns, IPC_PRIVATE, 1, 0666);
	pid_t pid;

	step = mmap(NULL, sizeof *step, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = proc_run(impatient, &other);
	ok(wait_until(value(SEM_NEVER, GETNCNT) == 1), "a process sleeps");
	ipcd_end(SIGKILL);
	ok(wait_until(*step == 1), "there is no daemon any more, and its call fails with ENOSYS");
	ipcd_start();
	is(value(SEM_NEVER, GETNCNT), 1, "the next daemon finds its request");
	*step = 2;
	ok(wait_until(*step == 3), "which it has done with when it makes another call");
	is(value(SEM_NEVER, GETNCNT), 0, "and then nobody waits");
	*step = 4;
	is(proc_wait(pid), 0, "it ends");
}

int main(int argc, char **argv)
{
	int cycles = CYCLES * (getenv("T_TIMES") ? atoi(getenv("T_TIMES")) : 1), n = 0;
	pid_t pid[WAITERS + 4];

	(void)argc;
	if (geteuid())
		skip_all("needs several uids: root");
	srandom((unsigned)tap_seed());
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ns = ipcd_open(argv[0], (unsigned)(60 + cycles));
	make_objects();
	for (int i = 0; i < WAITERS; i++)
		pid[i] = proc_run(taker, (void *)(long)SEM_TAKE);
	pid[WAITERS] = proc_run(taker, (void *)(long)SEM_OWN);
	pid[WAITERS + 1] = proc_run(timed, NULL);
	pid[WAITERS + 2] = proc_run(receiver, NULL);
	pid[WAITERS + 3] = proc_run(sender, NULL);
	for (int i = 0; i < HOLDERS; i++)
		hold(i);
	for (n = 0; n < cycles && round_of(n, false); n++)
		;
	if (!ok(n == cycles, "%d times stopped or killed and started again, all is accounted for", cycles))
		tell_state();
	for (n = 0; n < cycles / 5 && round_of(n, true); n++)
		;
	if (!ok(n == cycles / 5, "%d times the registry was gone then, and is made anew", cycles / 5))
		tell_state();
	ok(wait_until(sh->timeouts > 0), "timeouts passed");
	for (int i = 0; i < WAITERS + 4; i++)
		proc_kill(pid[i]);
	for (int i = 0; i < HOLDERS; i++)
		proc_kill(holders[i]);
	is(value(SEM_UNDONE, GETVAL), 0, "undo of all was applied");
	is(attached(seg), 1, "nobody else has the segment attached");
	is(value(SEM_TAKE, GETNCNT) + value(SEM_OWN, GETNCNT) + value(SEM_NEVER, GETNCNT) + value(SEM_TIMED, GETNCNT), 0,
	   "nobody waits");
	test_gives_up();
	is(ipcd_end(SIGTERM), 0, "ipcd ends well");
	return done_testing();
}
