/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More of semop, stepped through (t/lib/step.h): without undo, waiting for zero, arrays whose lists are staged, left by
 * longjmp, and where a dead process's undo has to be performed first; killed, stopped, passed, interrupted at each
 * instruction. Whatever others then ask first belongs to one state: the victim's array done as a whole, or not at all.
 *
 * A scene is data: values, the victim's array, what its agent gives, what a peer sleeps for. `can` has bit c for each
 * number of times that the victim's array may have been done; each answer must fit one of them, and rules out others.
 */
#include <setjmp.h>

#include "step_sem.h"

#define SEMS 8

struct array { size_t n; struct sembuf op[20]; };

struct sems {
	const char *name;
	int nsems;           /* the last one is everybody's */
	int base[SEMS];      /* when all sleepers sleep, and the dead holder's undo is done */
	struct array victim;
	struct sembuf agent; /* what makes the victim's wait possible; sem_op 0: it does not wait */
	struct array peer;   /* what another process sleeps for */
	int handler;         /* semaphore that a handler uses */
	bool holder;         /* a process that has a unit of semaphore 0, with undo, and dies */
	bool jumps;          /* the handler leaves by longjmp; then the victim does it again */
	bool plain;          /* nobody uses undo */
	bool coin;           /* with undo every second time */
};

static const struct sems *now;
static int set;
static struct array victim, handler;
static int given[SEMS];
static pid_t holder, holder_body;
static bool dead, looked;
static unsigned can;

static int ctl(int num, int cmd, int val)
{
	return ipc_semctl(step_ns, set, num, cmd, (union semun){ .val = val });
}

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(step_ns, set, &s, 1);
}

static int operate_all(const struct array *a)
{
	struct array copy = *a;

	return ipc_semop(step_ns, set, copy.op, copy.n);
}

/* ---- what is right ---- */

static int sum(const struct array *a, int num, int flag)
{
	int n = 0;

	for (size_t i = 0; i < a->n; i++)
		if (a->op[i].sem_num == num && (!flag || a->op[i].sem_flg & flag))
			n += a->op[i].sem_op;
	return n;
}

static bool possible(const struct array *a, const int *values)
{
	int v[SEMS];

	memcpy(v, values, sizeof v);
	for (size_t i = 0; i < a->n; i++) {
		const struct sembuf *s = &a->op[i];

		if (s->sem_op ? v[s->sem_num] + s->sem_op < 0 : v[s->sem_num] != 0)
			return false;
		v[s->sem_num] += s->sem_op;
	}
	return true;
}

/* The values with the victim's array done c times; returned: the peer has what it waits for. */
static bool values_with(int c, int *v)
{
	bool handled = step_sh->handled && !step_sh->hresult, got = now->holder;

	for (int i = 0; i < now->nsems; i++)
		v[i] = now->base[i] + given[i] + c * sum(&victim, i, 0) + handled * sum(&handler, i, 0);
	if (now->peer.n && !now->holder && possible(&now->peer, v)) {
		got = true;
		for (int i = 0; i < now->nsems; i++)
			v[i] += sum(&now->peer, i, 0);
	}
	return got;
}

/* What the victim has pending. */
static int undo_with(int c, int num)
{
	bool handled = step_sh->handled && !step_sh->hresult;

	return dead ? 0 : -(c * sum(&victim, num, SEM_UNDO) + handled * sum(&handler, num, SEM_UNDO));
}

/* And what is to be seen. */
static int value_with(int c, int num)
{
	int v[SEMS] = { 0 };

	values_with(c, v);
	if (dead) {
		dead = false;
		v[num] += undo_with(c, num);
		dead = true;
		v[num] = v[num] < 0 ? 0 : v[num];
	}
	return v[num];
}

static bool waiting_with(int c, int waiting)
{
	int v[SEMS] = { 0 };

	if (now->peer.n)
		return waiting == !values_with(c, v);
	values_with(c, v);
	return !waiting || (waiting == 1 && !dead && !step_sh->told && !c && !possible(&victim, v));
}

/* Keep the c that the answer fits. */
#define fits(cond, ...)                                                                             \
	do {                                                                                        \
		unsigned fit = 0;                                                                   \
		for (int c = 0; c < 3; c++)                                                         \
			if (can >> c & 1 && (cond))                                                 \
				fit |= 1u << c;                                                     \
		step_check(fit, __VA_ARGS__);                                                       \
		can = fit ? fit : can;                                                              \
	} while (0)

static void can_be(void)
{
	if (!step_sh->told)
		can = 1 | 2;
	else if (step_sh->jumped)
		/* without a unit, the first could not be done; one that is a request may get it while it is withdrawn */
		can = step_agent_done || step_uid ? 2 | 4 : 2;
	else
		can = step_sh->result ? 1 : 2;
	looked = true;
}

/* ---- the victim's side ---- */

static sigjmp_buf back;
static volatile sig_atomic_t in_call;

static void warm(void)
{
	int last = now->nsems - 1, flags = now->plain ? 0 : SEM_UNDO;
	struct array many = { .n = 8 };

	for (int i = 0; i < 8; i++)
		many.op[i] = (struct sembuf){ (unsigned short)last, i % 2 ? -1 : 1, (short)flags };
	if (victim.n > 6)
		operate_all(&many);
	op(last, 1, flags);
	op(last, -1, flags);
	if (!now->peer.n && !now->agent.sem_op && !op(0, 1, flags)) /* it is the last one to have changed it */
		op(0, -1, flags);
}

static void call(void)
{
	if (now->jumps && sigsetjmp(back, 1)) {
		step_sh->jumped = 1;
		return;
	}
	in_call = 1;
	step_sh->result = ipc_semop(step_ns, set, victim.op, victim.n);
	in_call = 0;
}

static void tell(void)
{
	step_sh->error = errno;
	if (!step_sh->jumped)
		return;
	step_sh->again = ipc_semop(step_ns, set, victim.op, victim.n);
	step_sh->error = errno;
}

static void handle(void)
{
	if (handler.n) {
		errno = 0;
		step_sh->hresult = ipc_semop(step_ns, set, handler.op, handler.n);
		step_sh->herror = errno;
	}
	if (now->jumps && in_call) {
		in_call = 0;
		siglongjmp(back, 1);
	}
}

/* ---- others ---- */

static void peer(void)
{
	step_peer->result = operate_all(&now->peer);
	step_peer->error = errno;
}

static int hold(void *unused)
{
	(void)unused;
	if (op(0, -1, SEM_UNDO | IPC_NOWAIT))
		return 1;
	for (;;)
		pause();
}

static void kill_holder(void)
{
	siginfo_t si;

	if (!holder)
		return;
	kill(holder, SIGKILL);
	if (waitid(P_PID, (id_t)holder, &si, WEXITED | WNOWAIT))
		bail_out("waitid");
	holder_body = holder;
	holder = 0;
}

static void agent(void)
{
	given[now->agent.sem_num] += now->agent.sem_op;
	if (holder) {
		kill_holder();
		step_check(ctl(0, GETVAL, 0) >= 0, "GETVAL: errno %d", errno);
		return;
	}
	step_check(!op(now->agent.sem_num, now->agent.sem_op, 0), "what the agent gives: errno %d", errno);
}

/* Who waits in the set: the victim, or the peer. */
static int waiting(void)
{
	int n = 0;

	for (int i = 0; i < now->nsems; i++)
		n += ctl(i, GETNCNT, 0) + ctl(i, GETZCNT, 0);
	return n;
}

static bool victim_waits(void)
{
	return waiting() == 1;
}

/* ---- looking ---- */

static void see_values(void)
{
	unsigned short all[SEMS];
	bool same;

	step_check(!ipc_semctl(step_ns, set, 0, GETALL, (union semun){ .array = all }), "GETALL: errno %d", errno);
	fits(({
		same = true;
		for (int i = 0; i < now->nsems; i++)
			same = same && all[i] == value_with(c, i);
		same;
	}), "GETALL %d %d %d %d ..., which may be %#x", all[0], all[1], all[2], now->nsems > 3 ? all[3] : 0, can);
}

static void see_refused(int num)
{
	int most = 0, r;

	for (int c = 0; c < 3; c++)
		if (can >> c & 1 && value_with(c, num) > most)
			most = value_with(c, num);
	r = op(num, -most - 1, IPC_NOWAIT);
	step_check(r == -1 && errno == EAGAIN, "one more of semaphore %d than there is: %d, errno %d", num, r, errno);
}

static void see_undo(void)
{
	int mine[SEMS], others;
	bool same;

	undo_pending(set, mine, &others);
	fits(({
		same = true;
		for (int i = 0; i < now->nsems; i++)
			same = same && mine[i] == undo_with(c, i);
		same;
	}), "undo %d %d %d ...", mine[0], mine[1], mine[2]);
	step_check(others == !!holder, "undo of others: %d", others);
}

/* The first call after something happened is another one each time. */
static void see(void)
{
	int first = (int)(random() % 5), num = (int)(random() % now->nsems), n;
	struct semid_ds ds;

	for (int i = 0; i < 5; i++)
		switch ((first + i) % 5) {
		case 0:
			n = ctl(num, GETVAL, 0);
			fits(n == value_with(c, num), "GETVAL of %d: %d", num, n);
			break;
		case 1:
			n = waiting();
			fits(waiting_with(c, n), "GETNCNT and GETZCNT %d", n);
			break;
		case 2:
			see_values();
			break;
		case 3:
			n = ipc_semctl(step_ns, set, 0, IPC_STAT, (union semun){ .buf = &ds });
			step_check(!n && (int)ds.sem_nsems == now->nsems, "IPC_STAT: errno %d", errno);
			break;
		case 4:
			see_refused(num);
			break;
		}
	see_undo();
	see_values();
}

static void everything_else(void)
{
	int last = now->nsems - 1, flags = now->plain ? 0 : SEM_UNDO;

	step_check(!op(last, 1, flags) && !op(last, -1, flags | IPC_NOWAIT), "semop: errno %d", errno);
	step_check(op(last, -1, IPC_NOWAIT) == -1 && errno == EAGAIN, "EAGAIN");
	step_check(!ctl(last, SETVAL, 7) && ctl(last, GETVAL, 0) == 7 && ctl(last, GETPID, 0) == getpid() &&
		   !ctl(last, SETVAL, 0), "SETVAL");
}

static bool for_zero(const struct array *a)
{
	return a->n && !a->op[0].sem_op;
}

/* All units are taken and come back, where nobody waits for either; and one more comes, if that does not hinder. */
static void meanwhile(void)
{
	int flags = now->plain ? 0 : SEM_UNDO, more = (int)(random() % (now->nsems - 1));

	if (!waiting() && !for_zero(&victim) && !for_zero(&now->peer) && random() % 2) {
		step_check(!op(more, 1, 0), "one more: errno %d", errno);
		given[more]++;
	}
	for (int i = 0; i < now->nsems && !waiting(); i++) {
		int n = ctl(i, GETVAL, 0);

		if (n)
			step_check(!op(i, -n, flags | IPC_NOWAIT) && !op(i, n, flags), "all units: errno %d", errno);
	}
	everything_else();
}

static void stopped(bool told)
{
	bool handled = step_sh->handled && handler.n;

	can_be();
	if (told) {
		step_check(!step_sh->result || step_sh->jumped ||
			   (now->agent.sem_op && step_act == STEP_SIGNAL && step_sh->error == EINTR),
			   "result %ld, errno %ld", step_sh->result, step_sh->error);
		step_check(!step_sh->jumped || !step_sh->again, "again: errno %ld", step_sh->error);
		step_check(!handled || !step_sh->hresult || step_sh->herror == EAGAIN, "handler: errno %ld", step_sh->herror);
	}
	see();
	everything_else();
}

static void peer_after(void)
{
	if (waiting())
		step_check(!op(0, now->peer.op[0].sem_op ? 1 : -ctl(0, GETVAL, 0), IPC_NOWAIT), "the peer's: errno %d", errno);
	hurry(set);
	step_check(wait_until(step_peer_idle()), "the peer sleeps on");
	step_check(!step_peer->result, "the peer's semop: errno %ld", step_peer->error);
}

static void after(void)
{
	if (!looked)
		can_be();
	dead = true;
	if (random() % 2) /* its undo is applied first, or what it has set off is done */
		step_settle();
	see();
	everything_else();
	if (now->peer.n)
		peer_after();
	if (holder) {
		int n = ctl(0, GETVAL, 0);

		kill_holder();
		step_check(ctl(0, GETVAL, 0) == n + 1, "the holder's unit has not come back");
	}
	if (now->holder)
		waitpid(holder_body, NULL, 0);
	step_check(!waiting(), "somebody waits");
}

/* ---- the scenes ---- */

/*
 * Of the victim's kind: an array that is staged if the victim's is. One in three is refused when its list is written.
 * Where the agent gives units, some sleep, with the request that the interrupted frame has used.
 */
static void choose_handler(void)
{
	int by = random() % 2 ? 1 : -1, flags = IPC_NOWAIT | (random() % 2 && !now->plain ? SEM_UNDO : 0);
	int first = now->handler;

	handler.n = victim.n > 6 ? 7 : now->jumps ? (size_t)random() % 2 : 1;
	for (int i = 0; i < 7; i++)
		handler.op[i] = (struct sembuf){ (unsigned short)(first + i), (short)by, (short)flags };
	if (now->agent.sem_op == 1 && handler.n == 1 && random() % 4 == 0)
		handler.op[0] = (struct sembuf){ (unsigned short)first, -1, (short)(flags & SEM_UNDO) };
	if (random() % 3)
		return;
	handler.n = victim.n > 6 ? 7 : 2;
	for (int i = 0; i < 6; i++)
		handler.op[i] = (struct sembuf){ (unsigned short)(now->nsems - 1 - i % now->nsems), 1, (short)flags };
	handler.op[handler.n - 1] = (struct sembuf){ (unsigned short)first, -30000, (short)flags };
}

static void prepare(void)
{
	bool flip = now->coin && random() % 2;

	dead = looked = false;
	step_sh->handled = 0;
	memset(given, 0, sizeof given);
	victim = now->victim;
	for (size_t i = 0; i < victim.n && flip; i++)
		victim.op[i].sem_flg ^= SEM_UNDO;
	choose_handler();
	for (int i = 0; i < now->nsems; i++)
		ctl(i, SETVAL, now->base[i]);
	if (now->holder) {
		ctl(0, SETVAL, now->base[0] + 1);
		holder = proc_run(hold, NULL);
		while (ctl(0, GETVAL, 0) != now->base[0])
			sched_yield();
	}
	if (!now->peer.n)
		return;
	step_peer_ask();
	while (waiting() != 1 || proc_state(step_peer_pid, step_peer_pid) != 'S')
		sched_yield();
}

#define U SEM_UNDO

static const struct sems scenes[] = {
	{ .name = "semop, the shortest way", .nsems = 2, .base = { 5 }, .victim = { 1, { { 0, -1, 0 } } }, .plain = true },
	{ .name = "semop sleeping without undo", .nsems = 2, .victim = { 1, { { 0, -1, 0 } } }, .agent = { 0, 1, 0 },
	  .plain = true },
	{ .name = "semop waiting for zero", .nsems = 2, .base = { 1 }, .victim = { 1, { { 0, 0, 0 } } },
	  .agent = { 0, -1, 0 } },
	{ .name = "a lock that is waited for", .nsems = 2, .base = { 1 }, .victim = { 2, { { 0, 0, 0 }, { 0, 1, U } } },
	  .agent = { 0, -1, 0 }, .coin = true },
	{ .name = "semop waking one who waits for zero", .nsems = 3, .base = { 1, 5 }, .handler = 1,
	  .victim = { 1, { { 0, -1, 0 } } }, .peer = { 1, { { 0, 0, 0 } } }, .coin = true },
	{ .name = "a long array", .nsems = 8, .base = { 3, 3, 3, 3, 3, 3, 3 },
	  .victim = { 7, { { 0, -1, U }, { 1, 1, 0 }, { 2, -1, U }, { 3, 1, U }, { 4, -1, 0 }, { 5, 1, U }, { 6, -2, 0 } } } },
	{ .name = "a long array waking a sleeper", .nsems = 8, .base = { 0, 3, 3, 3, 3, 3, 3 },
	  .victim = { 7, { { 6, -1, 0 }, { 5, -1, U }, { 4, 1, 0 }, { 3, -1, U }, { 2, -2, U }, { 1, 1, U }, { 0, 1, U } } },
	  .peer = { 1, { { 0, -1, 0 } } } },
	{ .name = "a long array sleeping", .nsems = 8, .base = { 3, 3, 3, 0, 3, 3, 3 }, .agent = { 3, 1, 0 },
	  .victim = { 17, { { 0, -1, U }, { 1, 1, 0 }, { 2, -1, U }, { 3, 1, U }, { 4, -1, 0 }, { 5, 1, U }, { 6, -2, 0 },
			    { 0, 2, 0 }, { 1, -1, U }, { 2, -1, 0 }, { 3, -2, U }, { 4, 1, U }, { 5, -1, 0 }, { 6, 1, U },
			    { 0, -1, 0 }, { 1, 1, U }, { 2, 1, U } } } },
	{ .name = "semop left by longjmp", .nsems = 2, .victim = { 1, { { 0, -1, U } } }, .agent = { 0, 1, 0 },
	  .jumps = true, .coin = true },
	{ .name = "semop after a death that wakes a sleeper", .nsems = 3, .base = { 0, 5 },
	  .victim = { 1, { { 1, -1, U } } }, .peer = { 1, { { 0, -1, 0 } } }, .holder = true, .coin = true },
	{ .name = "semop woken by a death", .nsems = 2, .victim = { 1, { { 0, -1, U } } }, .agent = { 0, 1, 0 },
	  .holder = true, .coin = true },
};

static void play(const struct sems *s)
{
	struct step_scene scene = { .name = s->name, .prepare = prepare, .warm = warm, .call = call, .tell = tell,
				    .handler = handle, .stopped = stopped, .after = after, .meanwhile = meanwhile,
				    .rush = everything_else };

	now = s;
	if (s->agent.sem_op) {
		scene.agent = agent;
		scene.waits = victim_waits;
	}
	if (s->holder && !s->agent.sem_op)
		scene.ready = kill_holder;
	scene.interrupts = s->jumps;
	set = ipc_semget(step_ns, IPC_PRIVATE, s->nsems, 0666);
	succeeds(set, "a set");
	if (s->peer.n)
		step_peer_start(peer);
	step_scene(&scene, step_every(0));
	if (s->peer.n)
		step_peer_end();
	succeeds(ctl(0, IPC_RMID, 0), "removed");
}

int main(void)
{
	step_open();
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
		play(&scenes[i]);
	step_all_free();
	ipc_close(step_ns);
	directory_remove(step_dir);
	return done_testing();
}
