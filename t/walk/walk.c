/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random walk: walk SEED STEPS prints the trace of a random sequence of all twelve System V IPC calls, done by up to
 * eight worker processes that are forked, exec'd, interrupted and killed on the way. One seed has one trace, on the
 * kernel's implementation and on any that behaves like it (walk.sh compares).
 *
 * One process, the controller, takes one step at a time: it gives one worker one call (or a signal, a fork, an exec,
 * a death), waits until that worker is done, blocked or gone, at once looks at the objects touched, then waits until
 * all who were woken have returned or sleep again, and writes down who returned with what. Woken at once means
 * returned in any order, so they are listed by seat; who was served first shows in the values, in GETPID and in
 * who got which message. Queues are looked at only then, since a woken sender sends for itself. What is not done
 * here because it is a matter of chance is listed in choose.c; "blocked" is defined in proc.c.
 *
 * Environment: T_EFAULT=0 leaves out bad pointers; T_COPY=0 leaves out MSG_COPY (a kernel may lack it); T_IDS=1 (as
 * root, and not in an embedded namespace, which has one user) lets workers change their effective ids and groups, and
 * objects their owners; T_STAY=1 leaves the workers as they are when the walk gives up (after 20 s, or when one
 * crashes), for a debugger.
 */
#include "walk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EPOCH_EVERY 1500
#define LOOK_EVERY 25
#define MAX_TOUCHED 16

static struct obj *touched[MAX_TOUCHED];
static int ntouched;

static void touch(struct obj *o)
{
	int i;

	for (i = 0; i < ntouched; i++)
		if (touched[i] == o)
			return;
	if (o && ntouched < MAX_TOUCHED)
		touched[ntouched++] = o;
}

static void look_at_touched(bool queues)
{
	int i;

	for (i = 0; i < ntouched; i++)
		if ((touched[i]->kind == MSG) == queues)
			obj_dump(touched[i]);
}

static void look_at_all(void)
{
	obj_dump_kind(SEM);
	obj_dump_kind(MSG);
	obj_dump_kind(SHM);
}

static int count(enum state state)
{
	int i, n = 0;

	for (i = 0; i < SEATS; i++)
		n += workers[i].state == state;
	return n;
}

static int choose_seat(enum state state)
{
	int i, n = (int)rnd((unsigned)count(state));

	for (i = 0; workers[i].state != state || n-- > 0; i++)
		;
	return i;
}

/* The object of a successful get has its name from now on. */
static struct obj *got(const struct call *c)
{
	enum kind kind = c->op == SEMGET ? SEM : c->op == MSGGET ? MSG : SHM;

	return obj_got(kind, (int)c->ret, c->id);
}

static void detached(struct worker *w, int i)
{
	touch(w->att[i].obj);
	w->att[i] = w->att[--w->natt];
}

/* Those that SHM_REMAP has replaced. */
static void replaced(struct worker *w, unsigned long addr, unsigned long size)
{
	int i;

	for (i = w->natt - 1; i >= 0; i--)
		if (w->att[i].addr >= addr && w->att[i].addr < addr + size)
			detached(w, i);
}

static void attached(struct worker *w, const struct call *c, struct obj *o)
{
	struct att *a;

	if (!o)
		return;
	replaced(w, (unsigned long)c->ret, (o->segsz + PAGE - 1) / PAGE * PAGE);
	a = &w->att[w->natt++];
	a->addr = (unsigned long)c->ret;
	a->obj = o;
	a->fixed = c->addr != 0;
}

static void remember_undo(struct worker *w, const struct call *c, struct obj *o)
{
	unsigned i;

	for (i = 0; i < c->nsops; i++) {
		if (!(c->sops[i].sem_flg & SEM_UNDO) || c->sops[i].sem_op >= 0)
			continue;
		w->undo[w->nundo++ % MAX_UNDO] = (struct undo){ o, c->sops[i].sem_num };
		break;
	}
}

/* What the controller must remember of a call that has returned. */
static void account(struct worker *w, const struct call *c, struct obj *o)
{
	int i;

	if (c->ret == -1)
		return;
	if (c->op == SEMGET || c->op == MSGGET || c->op == SHMGET)
		touch(got(c));
	if (c->op == SHMAT)
		attached(w, c, o);
	if (c->op == SEMOP || c->op == SEMTIMEDOP)
		remember_undo(w, c, o);
	for (i = 0; c->op == SHMDT && i < w->natt; i++) {
		if (w->att[i].addr != c->addr)
			continue;
		detached(w, i);
		break;
	}
}

/* Wait for quiescence; then everyone who has returned, and the queues. */
static void settle(void)
{
	int woken[SEATS], n = proc_settle(woken), i;

	for (i = 0; i < n; i++) {
		printf("  %s returned: ", proc_name(workers[woken[i]].pid));
		show_call(&seats[woken[i]].call, workers[woken[i]].obj);
		show_result(&seats[woken[i]].call);
		printf("\n");
		touch(workers[woken[i]].obj);
		account(&workers[woken[i]], &seats[woken[i]].call, workers[woken[i]].obj);
		workers[woken[i]].obj = NULL;
	}
	look_at_touched(true);
}

static void step_call(void)
{
	int seat = choose_seat(READY);
	struct worker *w = &workers[seat];
	struct call *c = &seats[seat].call;
	struct obj *o = choose_call(w, c, count(READY) > 1);

	printf("%s ", proc_name(w->pid));
	show_call(c, o);
	touch(o);
	proc_start(seat);
	if (proc_wait_call(seat)) {
		show_result(c);
		account(w, c, o);
	} else {
		printf(" blocked");
		w->state = BLOCKED;
		w->obj = o;
		w->size = c->size;
	}
	printf("\n");
	look_at_touched(false);
	settle();
}

static void step_signal(void)
{
	const int kinds[] = { SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN + 1, SIGWINCH, SIGCHLD };
	static const char *const names[] = {
		"caught", "caught, SA_RESTART", "caught, handler calls", "caught, handler jumps", "ignored",
		"ignored by default",
	};
	int seat = choose_seat(BLOCKED), handled = atomic_load(&seats[seat].handled);
	unsigned k = rnd(6);

	if (k == 2 && !choose_nested(&workers[seat], &seats[seat].nested))
		k = 0;
	printf("%s gets a signal: %s\n", proc_name(workers[seat].pid), names[k]);
	touch(workers[seat].obj);
	kill(workers[seat].pid, kinds[k]);
	if (k < 4)
		proc_wait_handled(seat, handled);
	settle();
	look_at_touched(false);
	if (k == 2) {
		printf("  the handler: ");
		show_call(&seats[seat].nested, obj_find(touched[0]->kind, seats[seat].nested.id));
		show_result(&seats[seat].nested);
		printf("\n");
	}
	printf("  handled: %d\n", atomic_load(&seats[seat].handled) - handled);
}

/* A worker's end, and at once all that it may have changed. */
static void ending(int seat)
{
	int status;

	proc_wait_end(seat, &status);
	if (WIFSIGNALED(status))
		printf("  signal %d\n", WTERMSIG(status));
	else
		printf("  status %d\n", WEXITSTATUS(status));
	look_at_all();
	settle();
}

/* Does somebody wait for this semaphore to grow? */
static bool waited_for(struct undo u)
{
	const struct sembuf *s;
	int i;

	for (i = 0; i < SEATS; i++) {
		if (!u.obj || workers[i].state != BLOCKED || workers[i].obj != u.obj)
			continue;
		for (s = seats[i].call.sops; s < seats[i].call.sops + seats[i].call.nsops; s++)
			if (s->sem_num == u.num && s->sem_op < 0)
				return true;
	}
	return false;
}

/* An idle worker whose undo may wake somebody, or -1. */
static int undo_holder(void)
{
	unsigned u;
	int i;

	for (i = 0; i < SEATS; i++)
		for (u = 0; u < MAX_UNDO; u++)
			if (workers[i].state == READY && waited_for(workers[i].undo[u]))
				return i;
	return -1;
}

static int choose_victim(enum state state)
{
	int holder = undo_holder();

	return state == READY && holder >= 0 && chance(80) ? holder : choose_seat(state);
}

static void step_kill(enum state state)
{
	int seat = choose_victim(state), sig = chance(70) ? SIGKILL : SIGTERM;

	printf("%s is killed by %d, %s\n", proc_name(workers[seat].pid), sig, state == BLOCKED ? "blocked" : "idle");
	kill(workers[seat].pid, sig);
	ending(seat);
}

static void start(int seat, enum op op)
{
	memset(&seats[seat].call, 0, offsetof(struct call, d));
	seats[seat].call.op = op;
	proc_start(seat);
}

static void step_exit(void)
{
	int seat = choose_victim(READY);
	bool now = chance(50);

	printf("%s calls %s\n", proc_name(workers[seat].pid), now ? "_exit" : "exit");
	start(seat, now ? EXIT_NOW : EXIT);
	ending(seat);
}

static void step_exec(void)
{
	int seat = choose_seat(READY);

	printf("%s calls exec", proc_name(workers[seat].pid));
	start(seat, EXEC);
	proc_wait_call(seat);
	show_result(&seats[seat].call);
	printf("\n");
	workers[seat].natt = 0;
	look_at_all();
	settle();
}

static void step_birth(void)
{
	int child = choose_seat(FREE), parent;
	struct worker *w = &workers[child];

	if (!count(READY) || chance(30)) {
		proc_spawn(child);
		printf("P%d is started\n", w->no);
		return;
	}
	parent = choose_seat(READY);
	printf("%s calls fork", proc_name(workers[parent].pid));
	memset(&seats[parent].call, 0, offsetof(struct call, d));
	seats[parent].call.op = FORK;
	seats[parent].call.num = child;
	proc_start(parent);
	proc_wait_call(parent);
	if (seats[parent].call.ret < 0)
		give_up("no fork");
	proc_add(child, (pid_t)seats[parent].call.ret, false);
	w->natt = workers[parent].natt;
	memcpy(w->att, workers[parent].att, sizeof w->att);
	printf(" = P%d\n", w->no);
	obj_dump_kind(SHM);
	settle();
}

static void step_unblock(void)
{
	if (chance(85))
		step_signal();
	else
		step_kill(BLOCKED);
}

/* A step that is not a call: true if one was due. */
static bool step_of_life(int ready, int blocked)
{
	unsigned r = rnd(1000);

	if (ready + blocked < 4 || (r < 12 && ready + blocked < SEATS))
		step_birth();
	else if (ready == 0 || (r < 35 && blocked) || (r < 75 && blocked > 5))
		step_unblock();
	else if (r >= 996 || (r >= 960 && undo_holder() >= 0))
		step_kill(READY);
	else if (r >= 956 && r < 960)
		step_exit();
	else if (r >= 948 && r < 956)
		step_exec();
	else
		return false;
	return true;
}

static void step(void)
{
	if (rnd(EPOCH_EVERY) == 0) {
		printf("a new epoch\n");
		epoch_next();
	} else if (!step_of_life(count(READY), count(BLOCKED))) {
		step_call();
	}
}

static void last_look(enum kind kind)
{
	static struct call c;

	memset(&c, 0, sizeof c);
	c.op = SCAN;
	c.cmd = (int)kind;
	worker_do(&c);
	show_call(&c, NULL);
	show_result(&c);
	printf("\n");
}

static void walk(unsigned long seed, long steps)
{
	long i;

	choose_seed(seed);
	proc_setup();
	epoch_next();
	for (i = 0; i < 5; i++)
		proc_spawn((int)i);
	for (i = 1; i <= steps; i++) {
		printf("#%ld ", i);
		ntouched = 0;
		step();
		if (i % LOOK_EVERY == 0)
			look_at_all();
	}
	proc_end_all();
	printf("the end\n");
	look_at_all();
	obj_remove_all();
	last_look(SEM);
	last_look(MSG);
	last_look(SHM);
}

static void worker_again(char **argv)
{
	struct pipes p;
	int i;

	p.mem = atoi(argv[3]);
	for (i = 0; i < SEATS; i++) {
		p.fd[i][0] = atoi(argv[4 + i]);
		p.fd[i][1] = -1;
	}
	worker_main(&p, atoi(argv[2]), true);
}

static int has_copy(void)
{
	struct { long type; char text[8]; } m = { .type = 1 };
	int q = msgget(IPC_PRIVATE, 0600), r;

	msgsnd(q, &m, 8, 0);
	r = (int)msgrcv(q, &m, 8, 0, MSG_COPY | IPC_NOWAIT);
	msgctl(q, IPC_RMID, NULL);
	return r == 8 ? 0 : 1;
}

static bool ids_can_change(void)
{
	return geteuid() == 0 && !(getenv("IPCD_NAMESPACE") && !getenv("IPCD_SOCKET"));
}

int main(int argc, char **argv)
{
	const char *efault = getenv("T_EFAULT"), *copy = getenv("T_COPY"), *ids = getenv("T_IDS");

	if (argc == SEATS + 4 && strcmp(argv[1], "--worker") == 0)
		worker_again(argv);
	if (argc == 2 && strcmp(argv[1], "--has-copy") == 0)
		return has_copy();
	if (argc != 3) {
		fprintf(stderr, "usage: walk SEED STEPS\n");
		return 2;
	}
	with_efault = !efault || strcmp(efault, "0") != 0;
	have_copy = !copy || strcmp(copy, "0") != 0;
	with_ids = ids && strcmp(ids, "0") != 0;
	if (with_ids && !ids_can_change()) {
		fprintf(stderr, "walk: T_IDS=1 needs root, and a namespace for many users; leave it out here\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	walk(strtoul(argv[1], NULL, 0), atol(argv[2]));
	fflush(stdout);
	return 0;
}
