/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A call that is interrupted twice: by a handler that is itself left by longjmp out of a second one, in the middle of
 * what it has published; and by a handler that has come and gone before the second; or once, by a handler that gives the
 * place of its object to a new one. Single-stepped, as in t/lib/step.h.
 */
#include <setjmp.h>

#include "../../libipc/obj_msg.c" /* for the layout of its nodes; the library's own copy is not linked then */

#include "obj_sem.h"
#include "step.h"

#define TEXT 100
#define MANY 64 /* semaphores of a larger set */

struct message { long mtype; unsigned char text[TEXT]; };

static int queue, set;
static sigjmp_buf back;
static struct { volatile uint32_t who, tag; volatile int made, nsems; } *nest; /* the victim's */

static int put(long type)
{
	struct message m = { .mtype = type };

	memset(m.text, (int)type, TEXT);
	return ipc_msgsnd(step_ns, queue, &m, TEXT, IPC_NOWAIT);
}

static int get(long type)
{
	struct message m;
	ssize_t n = ipc_msgrcv(step_ns, queue, &m, TEXT, type, IPC_NOWAIT);

	for (int i = 0; i < n; i++)
		if (m.text[i] != m.mtype)
			return -2;
	return n == TEXT ? (int)m.mtype : -1;
}

static void send_and_receive(int sig)
{
	(void)sig;
	if (put(2) || get(2) != 2)
		step_sh->torn = 1;
	step_sh->handled = 1;
}

static void send_only(int sig)
{
	(void)sig;
	step_sh->hresult = put(3);
}

static void raise_both(int sig)
{
	struct sembuf ops[2] = { { 1, 2, IPC_NOWAIT }, { 2, 2, IPC_NOWAIT } };

	(void)sig;
	if (!sigsetjmp(back, 1))
		ipc_semop(step_ns, set, ops, 2);
	step_sh->handled = 1;
}

static void jump(int sig)
{
	(void)sig;
	step_sh->jumped = 1;
	siglongjmp(back, 1);
}

static void make_anew(int sig)
{
	int n;

	(void)sig;
	ipc_semctl(step_ns, set, 0, IPC_RMID);
	for (;;) {
		n = ipc_semget(step_ns, IPC_PRIVATE, nest->nsems, 0600);
		if (n < 0 || ID_INDEX(n) == ID_INDEX(set))
			break;
		ipc_semctl(step_ns, n, 0, IPC_RMID);
	}
	ipc_semctl(step_ns, n, 1, SETVAL, 6);
	ipc_semctl(step_ns, n, 2, SETVAL, 6);
	nest->made = n;
}

static void take_both(void)
{
	struct sembuf ops[2] = { { 1, -1, IPC_NOWAIT }, { 2, -1, IPC_NOWAIT } };

	step_sh->result = ipc_semop(step_ns, set, ops, 2);
}

static void set_one(void)
{
	step_sh->result = ipc_semctl(step_ns, set, 1, SETVAL, 9);
}

static void set_all(void)
{
	unsigned short v[MANY] = { 9, 9, 9 };

	step_sh->result = ipc_semctl(step_ns, set, 0, SETALL, v);
}

static void get_all(void)
{
	unsigned short v[MANY] = { 7, 7, 7, 7, 7 };

	step_sh->result = ipc_semctl(step_ns, set, 0, GETALL, v);
	step_sh->torn = v[3] != 7;
}

static void get_one(void)
{
	step_sh->result = ipc_semctl(step_ns, set, 1, GETVAL);
	step_sh->torn = step_sh->result == 6;
}

static void send_first(void)
{
	step_sh->result = put(1);
}

static void victim(void (*call)(void), void (*first)(int), void (*second)(int))
{
	struct msqid_ds ds;
	int other = ipc_semget(step_ns, IPC_PRIVATE, 3, 0600);
	struct sembuf ops[2] = { { 1, 1, 0 }, { 2, 1, 0 } };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = first }, NULL);
	sigaction(SIGUSR2, &(struct sigaction){ .sa_handler = second }, NULL);
	ipc_semop(step_ns, other, ops, 2);
	ipc_semctl(step_ns, other, 0, IPC_RMID);
	ipc_semctl(step_ns, set, 0, GETVAL);
	ipc_msgctl(step_ns, queue, IPC_STAT, &ds);
	nest->who = (uint32_t)ns_enter(step_ns);
	nest->tag = step_ns->tag;
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	__asm__ volatile("int3" ::: "memory");
	call();
	step_sh->done = 1;
	__asm__ volatile("int3" ::: "memory");
	_exit(0);
}

static void begin(void (*call)(void), void (*first)(int), void (*second)(int))
{
	int st;

	step_sh->progress++;
	step_sh->done = step_sh->handled = step_sh->torn = step_sh->jumped = 0;
	step_sh->result = step_sh->hresult = -2;
	fflush(stdout);
	step_pid = fork();
	if (!step_pid)
		victim(call, first, second);
	if (waitpid(step_pid, &st, 0) != step_pid || !WIFSTOPPED(st))
		bail_out("the victim does not start");
	ptrace(PTRACE_SETOPTIONS, step_pid, NULL, (void *)PTRACE_O_EXITKILL);
}

static bool one(int sig)
{
	int st;

	ptrace(PTRACE_SINGLESTEP, step_pid, NULL, (void *)(long)sig);
	return waitpid(step_pid, &st, 0) == step_pid && WIFSTOPPED(st) && WSTOPSIG(st) == SIGTRAP && !step_sh->done;
}

static void finish(int sig)
{
	int st = 0;

	if (!step_sh->done) {
		ptrace(PTRACE_CONT, step_pid, NULL, (void *)(long)sig);
		waitpid(step_pid, &st, 0);
	}
	if (!step_sh->done)
		diag("ends with %#x", st);
	kill(step_pid, SIGKILL);
	waitpid(step_pid, NULL, 0);
	step_settle();
}

/* It has marked the node as being filled, and not yet that the mark is its own: a first handler sends and receives. */
static void marks(void)
{
	int bad = 0, rounds = 0;
	long every = step_every(4);

	for (long k = random() % every;; k += every) {
		struct obj *o;
		struct request *q;
		bool at = false;
		long i;

		queue = ipc_msgget(step_ns, IPC_PRIVATE, 0600);
		begin(send_first, send_and_receive, send_only);
		object_open(step_ns, KIND_MSG, queue, ns_enter(step_ns), &o);
		q = &area_who(&o->area, nest->who)->req;
		while (!at && one(0))
			at = atomic_load(&q->filling) && atomic_load(&q->filler) != nest->tag;
		if (!at || !one(SIGUSR1)) {
			finish(0);
			break;
		}
		while (!step_sh->handled && one(0))
			;
		for (i = 0; i < k && one(0); i++)
			;
		finish(i < k ? 0 : SIGUSR2);
		rounds++;
		int a = get(1), b = i < k ? 3 : get(3);

		if (step_sh->torn || step_sh->result || a != 1 || b != 3 || get(0) != -1) {
			if (bad++ < 3)
				diag("step %ld: result %ld, handler %ld, got %d and %d", k, step_sh->result, step_sh->hresult,
				     a, b);
		}
		ipc_msgctl(step_ns, queue, IPC_RMID, NULL);
		if (i < k)
			break;
	}
	ok(rounds > 20 && !bad, "a handler that comes while the mark is made (%d rounds, %d bad)", rounds, bad);
}

/* Handler 1 has published; handler 2 jumps back into it, and it returns into a frame that goes on with its list. */
static void jumps(void)
{
	int bad = 0, rounds = 0;
	long every = step_every(10);

	for (long k = random() % every;; k += every) {
		struct obj *o;
		long i;
		int a, b;

		ipc_semctl(step_ns, set, 1, SETVAL, 5);
		ipc_semctl(step_ns, set, 2, SETVAL, 5);
		begin(take_both, raise_both, jump);
		object_open(step_ns, KIND_SEM, set, ns_enter(step_ns), &o);
		for (i = 0; i < k && one(0); i++)
			;
		if (i < k) {
			finish(0);
			break;
		}
		if (WHO(atomic_load(&o->area.head->op)) || !one(SIGUSR1)) {
			finish(0);
			continue;
		}
		while (!step_sh->handled && !WHO(atomic_load(&o->area.head->op)) && one(0))
			;
		finish(SIGUSR2);
		rounds++;
		a = ipc_semctl(step_ns, set, 1, GETVAL);
		b = ipc_semctl(step_ns, set, 2, GETVAL);
		if (step_sh->result || a != 6 || b != 6)
			if (bad++ < 3)
				diag("step %ld: result %ld, values %d and %d", k, step_sh->result, a, b);
	}
	ok(rounds > 20 && !bad, "a handler that is left while what it published is half done (%d rounds, %d bad)", rounds,
	   bad);
}

/* The handler removes the set, and makes another in its place: it stays as it was made, and nothing is read from it. */
static void removals(void (*call)(void), const char *name, int nsems)
{
	int bad = 0, rounds = 0;
	long every = step_every(20);

	for (long k = random() % every;; k += every) {
		long i;
		int a, b;

		set = ipc_semget(step_ns, IPC_PRIVATE, 3, 0600);
		ipc_semctl(step_ns, set, 1, SETVAL, 5);
		ipc_semctl(step_ns, set, 2, SETVAL, 5);
		nest->made = -1;
		nest->nsems = nsems;
		begin(call, make_anew, jump);
		for (i = 0; i < k && one(0); i++)
			;
		finish(i < k ? 0 : SIGUSR1);
		if (i < k)
			break;
		rounds++;
		a = ipc_semctl(step_ns, nest->made, 1, GETVAL);
		b = ipc_semctl(step_ns, nest->made, 2, GETVAL);
		if (!step_sh->done || step_sh->torn || a != 6 || b != 6)
			if (bad++ < 3)
				diag("step %ld: result %ld, values %d and %d, torn %d", k, step_sh->result, a, b, (int)step_sh->torn);
		ipc_semctl(step_ns, nest->made, 0, IPC_RMID);
	}
	ok(rounds > 10 && !bad, "a handler that makes a new set in the place of the old one, in %s (%d rounds, %d bad)", name,
	   rounds, bad);
}

int main(void)
{
	step_open();
	nest = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	set = ipc_semget(step_ns, IPC_PRIVATE, 3, 0600);
	queue = ipc_msgget(step_ns, IPC_PRIVATE, 0600);
	jumps();
	marks();
	removals(take_both, "semop", 3);
	removals(set_one, "SETVAL", 3);
	removals(set_all, "SETALL", MANY);
	removals(get_all, "GETALL", MANY);
	removals(get_one, "GETVAL", 3);
	ipc_close(step_ns);
	directory_remove(step_dir);
	return done_testing();
}
