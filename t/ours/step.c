/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * semop with SEM_UNDO, stepped through (t/lib/step.h): at once, waking a sleeper, sleeping; killed, stopped,
 * interrupted at each instruction. Others then at once find a consistent set and can do everything on it, and every
 * unit and undo adjustment is accounted for.
 */
#include "step_sem.h"

static int set;
static int base, ups, victim_op, handler_op;
static bool with_peer;

static int ctl(int num, int cmd, int val)
{
	return ipc_semctl(step_ns, set, num, cmd, (union semun){ .val = val });
}

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(step_ns, set, &s, 1);
}

/* What the victim has pending on semaphore 0; *others: what anybody has on any. */
static int pending(int *others)
{
	int mine[3];

	undo_pending(set, mine, others);
	*others += abs(mine[1]) + abs(mine[2]);
	return mine[0];
}

static int clipped(int value)
{
	return value < 0 ? 0 : value;
}

/* ---- the victim's side ---- */

static void warm(void)
{
	op(2, 1, SEM_UNDO);
	op(2, -1, SEM_UNDO);
}

static void call(void)
{
	struct sembuf s = { .sem_op = (short)victim_op, .sem_flg = SEM_UNDO };

	step_sh->result = ipc_semop(step_ns, set, &s, 1);
}

static void tell(void)
{
	step_sh->error = errno;
}

static void handler(void)
{
	errno = 0;
	step_sh->hresult = op(0, handler_op, SEM_UNDO | IPC_NOWAIT);
	step_sh->herror = errno;
}

static void peer(void)
{
	step_peer->result = op(0, -1, 0);
	step_peer->error = errno;
}

/* ---- looking ---- */

/* The first call after something happened is another one each time; each must see the whole truth. */
static void see(int value, int waiting)
{
	unsigned short all[3];
	struct semid_ds ds;
	int first = (int)(random() % 5);

	for (int i = 0; i < 5; i++)
		switch ((first + i) % 5) {
		case 0:
			step_check(ctl(0, GETVAL, 0) == value, "GETVAL %d, want %d", ctl(0, GETVAL, 0), value);
			break;
		case 1:
			step_check(ctl(0, GETNCNT, 0) == waiting, "GETNCNT %d, want %d", ctl(0, GETNCNT, 0), waiting);
			break;
		case 2:
			all[0] = 9999;
			ipc_semctl(step_ns, set, 0, GETALL, (union semun){ .array = all });
			step_check(all[0] == value && !all[2], "GETALL %d %d, want %d 0", all[0], all[2], value);
			break;
		case 3:
			step_check(!ipc_semctl(step_ns, set, 0, IPC_STAT, (union semun){ .buf = &ds }) && ds.sem_nsems == 3,
				   "IPC_STAT");
			break;
		case 4:
			step_check(op(0, -value - 1, IPC_NOWAIT) == -1 && errno == EAGAIN, "one more than there is");
			if (value)
				step_check(!op(0, -value, IPC_NOWAIT) && !op(0, value, IPC_NOWAIT),
					   "all units that there are: errno %d", errno);
			break;
		}
	step_check(ctl(0, GETZCNT, 0) == 0, "GETZCNT");
}

static void everything_else(void)
{
	struct sembuf up[2] = { { 1, 1, 0 }, { 2, 1, SEM_UNDO } }, down[2] = { { 1, -1, 0 }, { 2, -1, SEM_UNDO } };

	step_check(!ipc_semop(step_ns, set, up, 2) && !ipc_semop(step_ns, set, down, 2), "an array: errno %d", errno);
	step_check(op(1, -1, IPC_NOWAIT) == -1 && errno == EAGAIN, "EAGAIN");
	step_check(!ctl(1, SETVAL, 7) && ctl(1, GETVAL, 0) == 7 && ctl(1, GETPID, 0) == getpid() && !ctl(1, SETVAL, 0),
		   "SETVAL");
}

/* The peer sleeps in the kernel, and its request waits; or it has its unit. */
static bool peer_waits(void)
{
	return with_peer && !step_peer_idle() && ctl(0, GETNCNT, 0) == 1;
}

static void stopped(bool done)
{
	int others, got, adjust = pending(&others), sum = 0;

	step_check(!others, "undo of others: %d", others);
	if (done) {
		sum += step_sh->result ? 0 : victim_op;
		sum += step_sh->hresult ? 0 : handler_op;
		step_check(adjust == -sum, "undo %d for operations that sum up to %d", adjust, sum);
		step_check(!step_sh->result ||
			   (step_now->agent && base != 5 && step_act == STEP_SIGNAL && step_sh->error == EINTR),
			   "result %ld, errno %ld, handled %d", step_sh->result, step_sh->error, step_sh->handled);
		step_check(!step_sh->handled || !step_sh->hresult || step_sh->herror == EAGAIN, "handler: errno %ld",
			   step_sh->herror);
		step_check(step_act != STEP_GO || !step_sh->handled, "no signal was sent");
		if (step_sh->handled && base == 5)
			step_check(!step_sh->hresult, "the handler's operation was possible");
		if (with_peer)
			step_check(step_sh->result == 0 && !peer_waits(), "the peer has not got its unit");
		if (with_peer && handler_op < 0)
			step_check(step_sh->hresult, "the handler overtook the peer");
	}
	got = with_peer && !peer_waits();
	see(base + ups - adjust - got, with_peer && !got);
	everything_else();
}

static void after(void)
{
	int others, got, value;

	got = with_peer && !peer_waits();
	value = clipped(base + ups - got);
	if (step_sh->hresult == 0 && got) /* more undo than units */
		value = 0;
	see(value, with_peer && !got);
	step_check(!pending(&others) && !others, "undo is left: %d", others);
	everything_else();
	if (!with_peer)
		return;
	if (!got)
		step_check(!op(0, 1, 0), "an up for the peer");
	hurry(set);
	step_check(wait_until(step_peer_idle()), "the peer sleeps on");
	step_check(!step_peer->result, "the peer's semop: errno %ld", step_peer->error);
	step_check(ctl(0, GETVAL, 0) == 0 && ctl(0, GETNCNT, 0) == 0, "value %d", ctl(0, GETVAL, 0));
}

/* ---- the scenes ---- */

static void prepare(int value, int by, bool sleeper)
{
	base = value;
	victim_op = by;
	ups = 0;
	handler_op = random() % 2 ? 1 : -1;
	with_peer = sleeper;
	ctl(0, SETVAL, value);
	if (!sleeper)
		return;
	step_peer_ask();
	while (!peer_waits() || proc_state(step_peer_pid, step_peer_pid) != 'S')
		sched_yield();
}

static void prepare_at_once(void)
{
	prepare(5, -1, false);
}

static void prepare_waking(void)
{
	prepare(0, 1, true);
}

static void prepare_sleeping(void)
{
	prepare(0, -1, false);
}

static void agent(void)
{
	ups++;
	step_check(!op(0, 1, 0), "the agent's up: errno %d", errno);
}

static bool victim_waits(void)
{
	return ctl(0, GETNCNT, 0) == 1;
}

/* The daemon is stopped before the call, and goes on when the victim waits for it, or at its place. */
static void prepare_slow(void)
{
	if (step_halted) { /* it finds what the last victim has asked before it died */
		step_unhalt();
		step_quiet();
		after();
	}
	prepare(5, -1, false);
}

static bool halted(void)
{
	return step_halted;
}

/* All units are taken and come back, with undo, so that much of what the victim has read is the same again. */
static void meanwhile(void)
{
	int value = ctl(0, GETVAL, 0);

	if (value)
		step_check(!op(0, -value, SEM_UNDO | IPC_NOWAIT) && !op(0, value, SEM_UNDO), "all units: errno %d", errno);
	everything_else();
}

#define SIDES .warm = warm, .call = call, .tell = tell, .handler = handler, .stopped = stopped, .after = after, \
	.meanwhile = meanwhile, .rush = everything_else

static const struct step_scene scenes[] = {
	{ .name = "semop at once", .prepare = prepare_at_once, SIDES },
	{ .name = "semop waking a sleeper", .prepare = prepare_waking, SIDES },
	{ .name = "semop sleeping", .prepare = prepare_sleeping, .agent = agent, .waits = victim_waits, SIDES },
	{ .name = "semop of a daemon that is slow", .prepare = prepare_slow, .ready = step_halt, .agent = step_unhalt,
	  .waits = halted, SIDES },
};

int main(void)
{
	step_open();
	set = ipc_semget(step_ns, IPC_PRIVATE, 3, 0666);
	succeeds(set, "a set");
	step_peer_start(peer);
	for (int i = 0; i < 3 + !!step_uid; i++)
		step_scene(&scenes[i], step_every(10));
	if (step_halted)
		prepare_slow();
	step_peer_end();
	step_all_free();
	succeeds(ctl(0, IPC_RMID, 0), "removed");
	ipc_close(step_ns);
	directory_remove(step_dir);
	return done_testing();
}
