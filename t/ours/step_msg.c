/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgsnd and msgrcv, stepped through (t/lib/step.h): at once, waking a sleeper, sleeping, to and from a queue that is
 * empty but for it; killed, stopped, interrupted at each instruction. Others then at once find a consistent queue and
 * can do everything on it; every message comes once and whole, but for the one in the call of a victim that was killed;
 * every node of the queue's memory is in exactly one place.
 */
#include "../../libipc/obj_msg.c" /* for the layout of its nodes; the library's own copy is not linked then */

#include "step.h"

#define LARGE 400 /* received straight into the caller's buffer */
#define LITTLE 100
#define MSGS 64

struct message { long mtype; uint64_t serial; unsigned char text[1000]; };

static int queue;
static size_t size;     /* of the messages of this round */
static long victim_type;
static bool receives;   /* the victim does */
static bool with_peer;
static bool handler_sends;
static uint64_t serials, victim_serial, handler_serial, peer_serial;
static struct { int sent, got; } account[MSGS];

/* ---- messages ---- */

static unsigned char pattern(uint64_t serial, size_t i)
{
	return (unsigned char)(serial * 37 + i * 11 + (i >> 8));
}

static void fill(struct message *m, long type, uint64_t serial)
{
	m->mtype = type;
	m->serial = serial;
	for (size_t i = 0; i < size; i++)
		m->text[i] = pattern(serial, i);
}

/* Is it whole? Its serial number, or 0. */
static uint64_t whole(const struct message *m, ssize_t length)
{
	bool same = length == (ssize_t)(sizeof m->serial + size);

	for (size_t i = 0; i < size && same; i++)
		same = m->text[i] == pattern(m->serial, i);
	return same ? m->serial : 0;
}

static int put(long type, uint64_t serial, int flags)
{
	struct message m;

	fill(&m, type, serial);
	return ipc_msgsnd(step_ns, queue, &m, sizeof m.serial + size, flags);
}

/* 0, or -1; *serial of what came, 0 if it is not what was sent. */
static int get(long type, int flags, uint64_t *serial)
{
	struct message m;
	ssize_t n = ipc_msgrcv(step_ns, queue, &m, sizeof m - sizeof m.mtype, type, flags);

	*serial = n < 0 ? 0 : whole(&m, n);
	return n < 0 ? -1 : 0;
}

static void send_one(long type)
{
	uint64_t s = ++serials;

	step_check(!put(type, s, IPC_NOWAIT), "a message that fits: errno %d", errno);
	account[s % MSGS].sent = 1;
}

static void got_one(uint64_t s)
{
	step_check(s, "a message is torn");
	step_check(s <= serials, "message %llu was never sent", (unsigned long long)s);
	account[s % MSGS].got++;
}

static bool receive_one(long type)
{
	uint64_t s = 0;

	if (get(type, IPC_NOWAIT, &s)) {
		step_check(errno == ENOMSG, "msgrcv: errno %d", errno);
		return false;
	}
	got_one(s);
	return true;
}

/* ---- the victim's side ---- */

static struct message victim_message;

static void warm(void)
{
	uint64_t s;

	if (!put(99, 0, IPC_NOWAIT))
		get(99, IPC_NOWAIT, &s);
	get(98, IPC_NOWAIT, &s);
	fill(&victim_message, 7, victim_serial);
	if (receives)
		memset(&victim_message, 0, sizeof victim_message);
}

static void call(void)
{
	if (receives)
		step_sh->result = ipc_msgrcv(step_ns, queue, &victim_message, 1008, victim_type, 0);
	else
		step_sh->result = ipc_msgsnd(step_ns, queue, &victim_message, sizeof(uint64_t) + size, 0);
}

static void tell(void)
{
	step_sh->error = errno;
	if (receives && step_sh->result >= 0)
		step_sh->serial = whole(&victim_message, step_sh->result);
}

static void handler(void)
{
	uint64_t s = 0;

	if (handler_sends)
		step_sh->hresult = put(8, handler_serial, IPC_NOWAIT);
	else
		step_sh->hresult = get(0, IPC_NOWAIT, &s);
	step_sh->herror = errno;
	step_sh->hserial = s;
}

static void peer(void)
{
	uint64_t s = 0;

	size = step_peer->size;
	if (step_peer->what)
		step_peer->result = put(2, step_peer->serial, 0);
	else
		step_peer->result = get(7, 0, &s);
	step_peer->error = errno;
	if (!step_peer->what)
		step_peer->serial = s;
}

/* ---- looking ---- */

static struct obj *object(void)
{
	struct obj *o;

	if (object_open(step_ns, KIND_MSG, queue, ns_enter(step_ns), &o))
		bail_out("the queue can't be opened");
	return o;
}

static unsigned long queued(void)
{
	struct msqid_ds ds;

	step_check(!ipc_msgctl(step_ns, queue, IPC_STAT, &ds), "IPC_STAT: errno %d", errno);
	step_check(ds.__msg_cbytes == ds.msg_qnum * (size + 8), "%lu bytes in %lu messages", ds.__msg_cbytes, ds.msg_qnum);
	return ds.msg_qnum;
}

static unsigned drain(void)
{
	unsigned n = 0;

	while (receive_one(0))
		n++;
	return n;
}

/* Everything on the queue. What the victim's stopped request puts in meanwhile is for the next drain. */
static void see_all(void)
{
	unsigned long n = queued();
	unsigned got;

	got = drain(); /* and what a waiting sender puts in meanwhile */
	step_check(got >= n && got <= n + 1, "IPC_STAT %lu messages, received %u", n, got);
	send_one(5);
	send_one(6);
	step_check(receive_one(6) && receive_one(-5), "by type");
	drain();
	step_check(!queued(), "an empty queue");
}

/* In the first state of this process's look: the lists of waiting requests. */
static bool listed(uint32_t head)
{
	struct obj *o = object();

	area_idle(&o->area);
	return area_value(&o->area, head);
}

static bool victim_waits(void)
{
	return listed(receives ? M_RHEAD : M_SHEAD);
}

static bool peer_waits(void)
{
	return with_peer && !step_peer_idle() && listed(receives ? M_SHEAD : M_RHEAD);
}

/* ---- nodes ---- */

static const char *map[1 << 20];
static unsigned orphans;
static char wrong[200]; /* what is the matter in this look */

static void mark(const struct area *a, uint32_t n, uint32_t class, const char *where)
{
	uint32_t first = (PAGE + (uint64_t)WHO_SIZE * WHO_MAX) / UNIT, end = area_value(a, M_END);
	uint32_t units = class_bytes(class % CLASSES) / UNIT;

	if (n < first || n + units > end)
		snprintf(wrong, sizeof wrong, "node %u of class %u (%s) is no node", n, class, where);
	for (uint32_t i = n; n >= first && i < n + units && i < end; i++) {
		if (map[i - first])
			snprintf(wrong, sizeof wrong, "node %u of class %u (%s) is also in %s", n, class, where,
				 map[i - first]);
		map[i - first] = where;
	}
}

/* A list of at most `count` nodes; class -1: as each says. Its length. */
static uint32_t mark_list(const struct area *a, uint32_t head, int class, uint32_t count, const char *where)
{
	uint32_t n = count ? area_value(a, head) : 0, i = 0;

	for (; n && i < count && i < 100000; n = area_value(a, node_next(n)), i++)
		mark(a, n, class < 0 ? node_at(a, n)->class : (uint32_t)class, where);
	return i;
}

static void audit_once(const struct area *a)
{
	uint32_t lost = 0, units;

	*wrong = 0;
	units = area_value(a, M_END) - (PAGE + WHO_SIZE * WHO_MAX) / UNIT;
	if (units > sizeof map / sizeof *map)
		bail_out("the queue's memory has grown without end");
	memset(map, 0, units * sizeof *map);
	orphans = 0;
	for (uint32_t c = 0; c < CLASSES; c++)
		mark_list(a, M_FREE + c, (int)c, UINT32_MAX, "free");
	if (!(atomic_load(&a->head->hot) & LENT)) /* a node that is lent is a spare */
		mark_list(a, M_HEAD, -1, QNUM(atomic_load(&a->head->hot)), "queue");
	for (uint32_t w = 1; w < atomic_load(&step_ns->slots->who_high); w++) {
		for (uint32_t c = 0; c < CLASSES; c++) {
			mark_list(a, spare_cell(a, w, c), (int)c, UINT32_MAX, "spares");
			orphans += mark_list(a, orphan_cell(a, w, c), (int)c, UINT32_MAX, "orphans");
		}
		mark_list(a, REQ_NODE(a, w), -1, 1, "requests");
	}
	for (uint32_t i = 0; i < units; i++)
		lost += !map[i];
	if (lost && !*wrong)
		snprintf(wrong, sizeof wrong, "%u units of %u are lost", lost, units);
}

/* In one state: the peer may be about to take its message. */
static void audit(void)
{
	struct area *a = &object()->area;
	uint64_t x;

	do {
		x = area_idle(a);
		audit_once(a);
	} while (!area_unmoved(a, x));
	step_check(!*wrong, "%s", wrong);
}

/* ---- what happened ---- */

static void stopped(bool done)
{
	bool may_fail = step_now->agent && step_now->agent != step_unhalt && step_act == STEP_SIGNAL;

	if (done) {
		step_check(step_sh->result >= 0 || (may_fail && step_sh->error == EINTR), "result %ld, errno %ld",
			   step_sh->result, step_sh->error);
		if (!receives)
			account[victim_serial % MSGS].sent = step_sh->result >= 0;
		if (receives && step_sh->result >= 0)
			got_one(step_sh->serial);
		if (step_sh->handled && handler_sends)
			account[handler_serial % MSGS].sent = !step_sh->hresult;
		if (step_sh->handled && !handler_sends && !step_sh->hresult)
			got_one(step_sh->hserial);
		step_check(!step_sh->handled || !step_sh->hresult || step_sh->herror == (handler_sends ? EAGAIN : ENOMSG),
			   "handler: errno %ld", step_sh->herror);
		step_check(!peer_waits(), "the peer still waits");
	}
	see_all();
	audit();
}

/* A waker that died before its wake-up delays the sleeper by up to a second: mostly, spare us that second. */
static void hurry(void)
{
	struct obj *o = object();

	if (random() % 500)
		for (uint32_t w = 1; w < atomic_load(&step_ns->slots->who_high); w++)
			wait_wake(step_ns, &o->area, w);
}

static void peer_after(void)
{
	if (peer_waits() && !receives)
		send_one(7);
	drain();
	hurry();
	step_check(wait_until(step_peer_idle()), "the peer sleeps on");
	step_check(!step_peer->result, "the peer's call: errno %ld", step_peer->error);
	if (!receives)
		got_one(step_peer->serial);
	else
		account[peer_serial % MSGS].sent = 1;
	drain();
}

static void after(void)
{
	int lost = 0;

	if (random() % 2) /* what it has left is settled first, or what it has sent is received */
		step_settle();
	see_all();
	if (with_peer)
		peer_after();
	for (uint64_t s = 1; s <= serials; s++) {
		int sent = account[s].sent, got = account[s].got;

		step_check(got <= 1, "message %llu came %d times", (unsigned long long)s, got);
		step_check(sent == 2 || got <= sent, "message %llu came and was not sent", (unsigned long long)s);
		lost += sent == 1 && !got;
	}
	step_check(lost <= (receives && (step_act == STEP_KILL || !step_sh->told)), "%d messages are lost", lost);
	audit();
}

/* ---- the scenes ---- */

static void limit(unsigned long bytes)
{
	struct msqid_ds ds;

	if (ipc_msgctl(step_ns, queue, IPC_STAT, &ds))
		bail_out("IPC_STAT");
	ds.msg_qbytes = bytes;
	if (ipc_msgctl(step_ns, queue, IPC_SET, &ds))
		bail_out("IPC_SET");
}

static void prepare(bool receive, unsigned filled, bool full, bool sleeper)
{
	size = random() % 2 ? LARGE : LITTLE;
	receives = receive;
	victim_type = filled ? 0 : 7;
	with_peer = sleeper;
	handler_sends = random() % 2;
	serials = 0;
	memset(account, 0, sizeof account);
	limit(full ? filled * (size + 8) : 16384);
	for (unsigned i = 0; i < filled; i++)
		send_one(1);
	victim_serial = ++serials;
	handler_serial = ++serials;
	peer_serial = ++serials;
	if (!receive)
		account[victim_serial].sent = 2;
	account[handler_serial].sent = 0;
	account[peer_serial].sent = receive && sleeper ? 2 : 0;
	if (!sleeper)
		return;
	step_peer->what = receive;
	step_peer->size = size;
	step_peer->serial = peer_serial;
	step_peer_ask();
	while (!peer_waits() || proc_state(step_peer_pid, step_peer_pid) != 'S')
		sched_yield();
}

static void send_at_once(void)
{
	prepare(false, 2, false, false);
}

static void send_waking(void)
{
	prepare(false, 1, false, true);
}

static void send_sleeping(void)
{
	prepare(false, 2, true, false);
}

static void receive_at_once(void)
{
	prepare(true, 2, false, false);
}

static void receive_waking(void)
{
	prepare(true, 2, true, true);
}

static void receive_sleeping(void)
{
	prepare(true, 0, false, false);
}

/* To an empty queue: the node is lent, or more of the queue changes, when others have used it since. */
static void send_first(void)
{
	prepare(false, 0, false, false);
}

static void send_shortest_way(void)
{
	prepare(false, 0, false, false);
	size = LITTLE;
}

static void used_by_others(void)
{
	send_one(4);
	receive_one(4);
}

static void receive_only(void)
{
	prepare(true, 0, false, false);
	size = LARGE;
	victim_type = 0;
	handler_sends = true;
}

static void receive_shortest_way(void)
{
	receive_only();
	size = LITTLE;
}

static void only_message(void)
{
	send_one(4);
}

/* The daemon is stopped before the call, and goes on when the victim waits for it, or at its place. */
static void prepare_slow(bool receive)
{
	if (step_halted) { /* it finds what the last victim has asked before it died, and leaves it */
		step_unhalt();
		step_quiet();
		step_check(!drain(), "a message has come from the dead");
		audit();
	}
	prepare(receive, 2, false, false);
}

static void send_to_slow(void)
{
	prepare_slow(false);
}

static void receive_from_slow(void)
{
	prepare_slow(true);
}

static bool halted(void)
{
	return step_halted;
}

static void agent(void)
{
	if (receives)
		send_one(7);
	else
		receive_one(0);
}

/* A message of another type comes and goes, where there is room for it. */
static void meanwhile(void)
{
	uint64_t s = 0;

	queued();
	if (!put(5, 0, IPC_NOWAIT))
		step_check(!get(5, IPC_NOWAIT, &s), "a message of type 5 has gone: errno %d", errno);
	else
		step_check(errno == EAGAIN, "msgsnd: errno %d", errno);
	audit();
}

#define SIDES .warm = warm, .call = call, .tell = tell, .handler = handler, .stopped = stopped, .after = after, \
	.meanwhile = meanwhile

static const struct step_scene scenes[] = {
	{ .name = "msgsnd at once", .prepare = send_at_once, SIDES },
	{ .name = "msgsnd waking a receiver", .prepare = send_waking, SIDES },
	{ .name = "msgsnd sleeping", .prepare = send_sleeping, .agent = agent, .waits = victim_waits, SIDES },
	{ .name = "msgrcv at once", .prepare = receive_at_once, SIDES },
	{ .name = "msgrcv waking a sender", .prepare = receive_waking, SIDES },
	{ .name = "msgrcv sleeping", .prepare = receive_sleeping, .agent = agent, .waits = victim_waits, SIDES },
	{ .name = "msgsnd, the shortest way", .prepare = send_shortest_way, SIDES },
	{ .name = "msgsnd to an empty queue", .prepare = send_first, .ready = used_by_others, SIDES },
	{ .name = "msgrcv, the shortest way", .prepare = receive_shortest_way, .ready = only_message, SIDES },
	{ .name = "msgrcv of the only message", .prepare = receive_only, .ready = only_message, SIDES },
	{ .name = "msgsnd of a daemon that is slow", .prepare = send_to_slow, .ready = step_halt, .agent = step_unhalt,
	  .waits = halted, SIDES },
	{ .name = "msgrcv of a daemon that is slow", .prepare = receive_from_slow, .ready = step_halt, .agent = step_unhalt,
	  .waits = halted, SIDES },
};

int main(void)
{
	step_open();
	queue = ipc_msgget(step_ns, IPC_PRIVATE, 0666);
	succeeds(queue, "a queue");
	step_peer_start(peer);
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes - 2 * !step_uid; i++)
		step_scene(&scenes[i], step_every(10));
	if (step_halted)
		prepare_slow(false);
	drain();
	step_peer_end();
	step_all_free();
	ok(orphans < 20, "nodes of interrupted calls come back (%u left)", orphans);
	succeeds(ipc_msgctl(step_ns, queue, IPC_RMID, NULL), "removed");
	ipc_close(step_ns);
	directory_remove(step_dir);
	return done_testing();
}
