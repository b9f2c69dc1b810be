/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd stopped and killed at each system call of a mediated semop, msgsnd or msgrcv (t/lib/step_ipcd.h): at once, waking
 * a sleeper, sleeping. Units, undo and messages are exact as often as the request was performed.
 */
#include "step_sem.h"
#include "step_ipcd.h"

#include <sys/msg.h>

/* ---- semop ---- */

static int set, base, by, given;
static bool with_peer;
static bool behind, asked; /* the peer, the owner's process, comes to sleep behind the client while ipcd is away */

static int op(int num, int n, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)n, .sem_flg = (short)flags };

	return ipc_semop(step_ns, set, &s, 1);
}

static int ctl(int num, int cmd, int val)
{
	return ipc_semctl(step_ns, set, num, cmd, (union semun){ .val = val });
}

static void sem_warm(void)
{
	op(2, 1, SEM_UNDO);
	op(2, -1, SEM_UNDO);
}

static long sem_call(void)
{
	return op(0, by, SEM_UNDO);
}

static void sem_peer(void)
{
	step_peer->result = op(0, -1, 0);
	step_peer->error = errno;
}

static bool sem_waits(void)
{
	return ctl(0, GETNCNT, 0) > 0;
}

static void sem_agent(void)
{
	given++;
	step_check(!op(0, 1, 0), "a unit for it: errno %d", errno);
}

static void sem_prepare(int value, int n, bool peer)
{
	base = value;
	by = n;
	given = 0;
	with_peer = peer;
	behind = asked = false;
	ctl(0, SETVAL, value);
	if (!peer)
		return;
	step_peer_ask();
	while (!sem_waits())
		sched_yield();
	step_quiet();
}

static int sem_look(int least, int most, bool alive)
{
	int mine[3], others, value, waiting, times, got;

	value = ctl(0, GETVAL, 0); /* the undo of the dead is applied first */
	waiting = ctl(0, GETNCNT, 0);
	undo_pending(set, mine, &others);
	times = -mine[0] * by;
	got = asked ? base + given + by * times - value : with_peer && !waiting;
	step_check(!others && !mine[1] && !mine[2], "undo of others, or of other semaphores, %s", where);
	if (alive) {
		step_check(times >= least && times <= most, "performed %d times, %s", times, where);
		step_check(value == base + given + by * times - got, "value %d, performed %d times, %s", value, times, where);
		step_check(asked ? got >= 0 && got <= 1 && got <= times : !with_peer || got == (times > 0),
			   "performed %d times, the peer %d, %d wait, %s", times, got, waiting, where);
		twice += times > 1 && client->answered;
	} else if (!asked) {
		int left = base + given - got;

		step_check(!times && value == (left < 0 ? 0 : left), "value %d of %d, undo %d, %s", value, left, times, where);
	}
	step_check(!waiting || (!ctl(0, GETVAL, 0) && (with_peer || asked || alive)), "%d wait, %s", waiting, where);
	step_check(!op(1, 1, 0) && !op(1, -1, SEM_UNDO | IPC_NOWAIT) && op(1, -1, IPC_NOWAIT) == -1 && errno == EAGAIN,
		   "semop: errno %d, %s", errno, where);
	ctl(1, SETVAL, 0);
	return times;
}

static void sem_result(void)
{
	step_check(!client->result, "semop: errno %ld, %s", client->error, where);
}

static void sem_after(void)
{
	if (!with_peer && !asked)
		return;
	if (sem_waits())
		sem_agent();
	step_check(wait_until(step_peer_idle()), "the peer sleeps on, %s", where);
	step_check(!step_peer->result, "the peer's semop: errno %ld, %s", step_peer->error, where);
	if (asked)
		step_check(ctl(0, GETVAL, 0) == given - 1, "value %d of %d, %s", ctl(0, GETVAL, 0), given - 1, where);
}

static void sem_at_once(void)
{
	sem_prepare(5, -1, false);
}

/* The first one to have slept is the first one to go on. */
static void sem_behind(void)
{
	sem_prepare(0, -1, false);
	behind = true;
}

static void sem_away(void)
{
	if (!behind || client->answered || !sem_waits())
		return;
	asked = true;
	step_peer_ask();
	if (!wait_until(ctl(0, GETNCNT, 0) == 2))
		bail_out("the peer does not sleep");
}

static void sem_waking(void)
{
	sem_prepare(0, 1, true);
}

static void sem_sleeping(void)
{
	sem_prepare(0, -1, false);
}

#define SEM .warm = sem_warm, .call = sem_call, .look = sem_look, .result = sem_result, .after = sem_after

static const struct scene sems[] = {
	{ .name = "semop at once", .prepare = sem_at_once, SEM },
	{ .name = "semop waking a sleeper", .prepare = sem_waking, SEM },
	{ .name = "semop sleeping", .prepare = sem_sleeping, .agent = sem_agent, .waits = sem_waits, SEM },
	{ .name = "semop sleeping before another", .prepare = sem_behind, .agent = sem_agent, .waits = sem_waits,
	  .away = sem_away, SEM },
};

/* ---- rings ---- */

/* A client that sleeps, for a unit. */
static void sleeper_begin(void)
{
	now = &sems[2];
	memset((void *)client, 0, sizeof *client);
	now->prepare();
	step_pid = proc_run(client_main, NULL);
	client->go = 1;
	if (!wait_until(sem_waits()))
		bail_out("the client does not sleep");
	step_quiet();
}

static void sleeper_end(void)
{
	sem_agent();
	ok(wait_until(client->answered) && !client->result, "... and the sleeper wakes");
	client_ends();
	step_quiet();
}

static struct request *request_of_client(struct obj **o)
{
	if (object_open(step_ns, KIND_SEM, set, ns_enter(step_ns), o))
		bail_out("the set can't be opened");
	return &area_who(&(*o)->area, area_value(&(*o)->area, S_AHEAD))->req;
}

/* A process that makes nothing but hot calls has the last daemon's connection still. */
static void ring_another_daemon(void)
{
	struct request *q;
	struct obj *o;

	sleeper_begin();
	q = request_of_client(&o);
	kill(ipcd_pid, SIGKILL);
	proc_wait(ipcd_pid);
	atomic_store(&q->sleeping, 0);
	ipcd_start();
	if (!wait_until(atomic_load(&q->sleeping) == SLEEPS_PARKED))
		bail_out("the client does not come back");
	step_quiet();
	stop_at = 0;
	trace_begin();
	sem_agent();
	pump(answered);
	ok(counts, "a daemon that was started again is rung, not left to find out by itself");
	trace_end();
	sleeper_end();
}

static void ring_stopped_daemon(void)
{
	struct obj *o;
	uint32_t who;

	sleeper_begin();
	request_of_client(&o);
	who = area_value(&o->area, S_AHEAD);
	kill(ipcd_pid, SIGSTOP);
	if (!wait_until(proc_state(ipcd_pid, ipcd_pid) == 'T'))
		bail_out("ipcd does not stop");
	for (int i = 0; i < 5000; i++)
		wait_wake(step_ns, &o->area, who);
	ok(!op(1, 1, 0) && !op(1, -1, 0), "a daemon that is stopped, and does not hear, holds up nobody who rings");
	kill(ipcd_pid, SIGCONT);
	sleeper_end();
}

static void play_sems(void)
{
	set = ipc_semget(step_ns, IPC_PRIVATE, 3, 0666);
	succeeds(set, "a set");
	step_peer_start(sem_peer);
	for (size_t i = 0; i < 3; i++)
		play(&sems[i]);
	step_peer_end();
	step_peer_uid = 0;
	step_peer_start(sem_peer);
	ctl(0, SETVAL, 1);
	step_peer_ask(); /* its first call, which a daemon has to answer */
	if (!wait_until(step_peer_idle()))
		bail_out("the peer does not begin");
	play(&sems[3]);
	step_peer_end();
	ring_another_daemon();
	ring_stopped_daemon();
	succeeds(ctl(0, IPC_RMID, 0), "removed");
}

/* ---- messages ---- */

#define TEXT 100
#define SERIALS 16

struct message { long type; uint64_t serial; unsigned char text[TEXT]; };
#define SIZE (sizeof(struct message) - sizeof(long))

static int queue;
static bool receives;
static unsigned long filled;
static uint64_t serials;
static struct { int sent, got; } account[SERIALS];

static void message_fill(struct message *m, long type, uint64_t serial)
{
	m->type = type;
	m->serial = serial;
	for (int i = 0; i < TEXT; i++)
		m->text[i] = (unsigned char)(serial * 37 + (unsigned)i);
}

/* Its serial number, or 0: it is not what was sent. */
static uint64_t whole(const struct message *m)
{
	struct message want;

	message_fill(&want, m->type, m->serial);
	return memcmp(want.text, m->text, TEXT) || !m->serial || m->serial >= SERIALS ? 0 : m->serial;
}

static int put(long type, uint64_t serial, int flags)
{
	struct message m;

	message_fill(&m, type, serial);
	return ipc_msgsnd(step_ns, queue, &m, SIZE, flags);
}

/* The serial number of what came; 0: it is damaged; -1: nothing did. */
static long get(long type, int flags)
{
	struct message m;
	ssize_t n = ipc_msgrcv(step_ns, queue, &m, SIZE, type, flags);

	return n < 0 ? -1 : n == (ssize_t)SIZE ? (long)whole(&m) : 0;
}

static void got_one(long serial)
{
	step_check(serial > 0, "a message is damaged, %s", where);
	if (serial > 0)
		account[serial].got++;
}

static void send_one(long type)
{
	account[++serials % SERIALS].sent = 1;
	step_check(!put(type, serials, IPC_NOWAIT), "a message that fits: errno %d, %s", errno, where);
}

static unsigned long queued(void)
{
	struct msqid_ds ds;

	step_check(!ipc_msgctl(step_ns, queue, IPC_STAT, &ds), "IPC_STAT: errno %d", errno);
	step_check(ds.__msg_cbytes == ds.msg_qnum * SIZE, "%lu bytes in %lu messages, %s", ds.__msg_cbytes, ds.msg_qnum,
		   where);
	return ds.msg_qnum;
}

/* Requests that wait in the queue. */
static int msg_waiting(void)
{
	struct obj *o;
	int n = 0;

	if (object_open(step_ns, KIND_MSG, queue, ns_enter(step_ns), &o))
		bail_out("the queue can't be opened");
	area_idle(&o->area);
	for (uint32_t who = 1; who < whos_high(step_ns); who++)
		n += STATE_WHAT(area_value(&o->area, REQ_STATE(&o->area, who))) == REQ_WAIT;
	return n;
}

static void msg_warm(void)
{
	get(99, IPC_NOWAIT);
}

static long msg_call(void)
{
	long r = receives ? get(0, 0) : put(7, 1, 0);

	client->serial = receives && r > 0 ? (uint64_t)r : 0;
	return r;
}

static void limit(unsigned long messages)
{
	struct msqid_ds ds;

	if (ipc_msgctl(step_ns, queue, IPC_STAT, &ds))
		bail_out("IPC_STAT");
	ds.msg_qbytes = messages * SIZE;
	if (ipc_msgctl(step_ns, queue, IPC_SET, &ds))
		bail_out("IPC_SET");
}

/* Serial number 1 is the client's, 2 the peer's. */
static void msg_prepare(bool receive, unsigned long messages, unsigned long most, bool peer)
{
	receives = receive;
	with_peer = peer;
	memset(account, 0, sizeof account);
	serials = 2;
	limit(most);
	filled = 0;
	for (unsigned long i = 0; i < messages; i++)
		send_one(1);
	filled = messages;
	if (!peer)
		return;
	step_peer->what = receive;
	step_peer_ask();
	if (!wait_until(msg_waiting()) || !proc_wait_asleep(step_peer_pid))
		bail_out("the peer does not sleep");
	step_quiet();
	if (msg_waiting() != 1)
		bail_out("the peer does not wait");
}

static int msg_look(int least, int most, bool alive)
{
	unsigned long n = queued();
	int waiting = msg_waiting(), done = with_peer && !waiting, times;

	times = receives ? (int)(filled - n) + done : (int)(n - filled) + done;
	step_check(times >= least && times <= most, "performed %d times, %s", times, where);
	step_check(!with_peer || done == (times > 0), "performed %d times, the peer waits: %d, %s", times, waiting, where);
	twice += times > 1 && alive && client->answered;
	if (waiting)
		return times;
	if (!put(5, SERIALS - 1, IPC_NOWAIT))
		step_check(get(5, IPC_NOWAIT) == SERIALS - 1, "a message of type 5 has gone: errno %d, %s", errno, where);
	else
		step_check(errno == EAGAIN, "msgsnd: errno %d, %s", errno, where);
	return times;
}

static void msg_result(void)
{
	step_check(receives ? client->result > 0 : !client->result, "result %ld, errno %ld, %s", client->result, client->error,
		   where);
	if (receives && client->result > 0)
		got_one(client->result);
}

static void peer_after(void)
{
	if (msg_waiting() && receives)
		got_one(get(0, IPC_NOWAIT));
	else if (msg_waiting())
		send_one(7);
	step_check(wait_until(step_peer_idle()), "the peer sleeps on, %s", where);
	step_check(step_peer->result >= 0, "the peer's call: errno %ld, %s", step_peer->error, where);
	if (receives)
		account[2].sent = 1;
	else
		got_one(step_peer->result);
}

static void msg_after(void)
{
	int lost = 0, mine;
	long serial;

	if (with_peer)
		peer_after();
	while ((serial = get(0, IPC_NOWAIT)) >= 0)
		got_one(serial);
	mine = account[1].got;
	step_check(mine <= 1 + before && mine >= (!receives && client->answered), "the client's message came %d times, %s", mine,
		   where);
	for (int i = 2; i < SERIALS; i++) {
		step_check(account[i].got <= account[i].sent, "message %d came %d times, %s", i, account[i].got, where);
		lost += account[i].sent && !account[i].got;
	}
	step_check(lost <= (receives && (before || unheard)), "%d messages are lost, %s", lost, where);
	step_check(!queued() && !msg_waiting(), "an empty queue, %s", where);
}

static void msg_peer(void)
{
	step_peer->result = step_peer->what ? put(2, 2, 0) : get(7, 0);
	step_peer->error = errno;
}

static void msg_agent(void)
{
	if (receives) {
		send_one(1);
		filled++;
	} else {
		got_one(get(0, IPC_NOWAIT));
		filled--;
	}
}

static bool msg_waits(void)
{
	return msg_waiting() == 1;
}

static void send_at_once(void)
{
	msg_prepare(false, 2, 16, false);
}

static void send_waking(void)
{
	msg_prepare(false, 1, 16, true);
}

static void send_sleeping(void)
{
	msg_prepare(false, 2, 2, false);
}

static void receive_at_once(void)
{
	msg_prepare(true, 3, 16, false);
}

static void receive_waking(void)
{
	msg_prepare(true, 3, 3, true);
}

static void receive_sleeping(void)
{
	msg_prepare(true, 0, 16, false);
}

#define MSG .warm = msg_warm, .call = msg_call, .look = msg_look, .result = msg_result, .after = msg_after

static const struct scene messages[] = {
	{ .name = "msgsnd at once", .prepare = send_at_once, MSG },
	{ .name = "msgsnd waking a receiver", .prepare = send_waking, MSG },
	{ .name = "msgsnd sleeping", .prepare = send_sleeping, .agent = msg_agent, .waits = msg_waits, MSG },
	{ .name = "msgrcv at once", .prepare = receive_at_once, MSG },
	{ .name = "msgrcv waking a sender", .prepare = receive_waking, MSG },
	{ .name = "msgrcv sleeping", .prepare = receive_sleeping, .agent = msg_agent, .waits = msg_waits, MSG },
};

static void play_messages(void)
{
	queue = ipc_msgget(step_ns, IPC_PRIVATE, 0666);
	succeeds(queue, "a queue");
	step_peer_start(msg_peer);
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
		play(&messages[i]);
	step_peer_end();
	succeeds(ipc_msgctl(step_ns, queue, IPC_RMID, NULL), "removed");
}

int main(void)
{
	play_begin();
	play_sems();
	play_messages();
	return play_end();
}
