/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgsnd and msgrcv, stepped through (t/lib/step.h): at once, waking a sleeper, sleeping; killed, stopped, interrupted
 * at each instruction. Others then at once find a consistent queue and can do everything on it; every message comes
 * once and whole, but for the one in the call of a victim that was killed; every node of the queue's memory is in
 * exactly one place.
 */
#include "../../libipc/obj_msg.c" /* for the layout of its nodes; the library's own copy is not linked then */

#include "step.h"

#define LARGE 400 /* received straight into the caller's buffer */
#define LITTLE 100
#define MSGS 64

struct message { long mtype; uint64_t serial; unsigned char text[1000]; };

static int queue;
static size_t size;     /* of the messages of this round */
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

static int put(long type, uint64_t serial, size_t length, int flags)
{
	struct message m = { .mtype = type, .serial = serial };

	for (size_t i = 0; i < length; i++)
		m.text[i] = pattern(serial, i);
	return ipc_msgsnd(step_ns, queue, &m, sizeof m.serial + length, flags);
}

/* 0, or -1; *serial of what came; *torn if it is not what was sent. */
static int get(long type, int flags, uint64_t *serial, volatile int *torn)
{
	struct message m;
	ssize_t n = ipc_msgrcv(step_ns, queue, &m, sizeof m - sizeof m.mtype, type, flags);

	if (n < 0)
		return -1;
	*serial = m.serial;
	if (n != (ssize_t)(sizeof m.serial + size))
		*torn = 1;
	for (size_t i = 0; i < size; i++)
		if (m.text[i] != pattern(m.serial, i))
			*torn = 1;
	return 0;
}

static void send_one(long type)
{
	uint64_t s = ++serials;

	step_check(!put(type, s, size, IPC_NOWAIT), "a message that fits: errno %d", errno);
	account[s % MSGS].sent = 1;
}

static void got_one(uint64_t s)
{
	step_check(s && s <= serials, "message %llu was never sent", (unsigned long long)s);
	account[s % MSGS].got++;
}

static bool receive_one(long type)
{
	uint64_t s = 0;
	int torn = 0;

	if (get(type, IPC_NOWAIT, &s, &torn)) {
		step_check(errno == ENOMSG, "msgrcv: errno %d", errno);
		return false;
	}
	step_check(!torn, "message %llu is torn", (unsigned long long)s);
	got_one(s);
	return true;
}

/* ---- the victim's side ---- */

static void warm(void)
{
	uint64_t s;
	int torn;

	if (!put(99, 0, size, IPC_NOWAIT))
		get(99, IPC_NOWAIT, &s, &torn);
	get(98, IPC_NOWAIT, &s, &torn);
}

static void call(void)
{
	uint64_t s = 0;

	errno = 0;
	if (receives)
		step_sh->result = get(with_peer || !step_now->agent ? 0 : 7, 0, &s, &step_sh->torn);
	else
		step_sh->result = put(7, victim_serial, size, 0);
	step_sh->error = errno;
	step_sh->serial = s;
}

static void handler(void)
{
	uint64_t s = 0;

	errno = 0;
	if (handler_sends)
		step_sh->hresult = put(8, handler_serial, size, IPC_NOWAIT);
	else
		step_sh->hresult = get(0, IPC_NOWAIT, &s, &step_sh->torn);
	step_sh->herror = errno;
	step_sh->hserial = s;
}

static void peer(void)
{
	uint64_t s = 0;
	int torn = 0;

	size = step_peer->size;
	if (step_peer->what)
		step_peer->result = put(2, step_peer->serial, size, 0);
	else
		step_peer->result = get(7, 0, &s, &torn);
	step_peer->error = torn ? EBADMSG : errno;
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

	if (with_peer) /* its message may come in as we take others out */
		n = 0;
	got = drain();
	step_check(got >= n && got <= n + 2, "IPC_STAT %lu messages, received %u", n, got);
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

static uint8_t map[1 << 20];
static unsigned orphans;

static void mark(uint32_t n, uint32_t class, uint32_t first, uint32_t end, const char *where)
{
	uint32_t units = class_bytes(class % CLASSES) / UNIT;

	step_check(n >= first && n + units <= end, "node %u of class %u (%s) is no node", n, class, where);
	for (uint32_t i = n; n >= first && i < n + units && i < end; i++) {
		step_check(!map[i - first], "node %u of class %u (%s) is in two places", n, class, where);
		map[i - first]++;
	}
}

static void mark_who(const struct area *a, uint32_t who, uint32_t first, uint32_t end)
{
	uint32_t n;

	for (uint32_t c = 0; c < CLASSES; c++)
		if ((n = area_value(a, spare_cell(a, who, c))))
			mark(n, c, first, end, "spare");
	for (n = area_value(a, orphan_cell(a, who)); n; n = area_value(a, node_next(n))) {
		mark(n, node_at(a, n)->class, first, end, "orphan");
		orphans++;
	}
	if ((n = area_value(a, REQ_NODE(a, who))))
		mark(n, node_at(a, n)->class, first, end, "request");
}

static void audit(void)
{
	struct area *a = &object()->area;
	uint32_t first = (PAGE + (uint64_t)WHO_SIZE * WHO_MAX) / UNIT, end, lost = 0;

	area_idle(a);
	end = area_value(a, M_END);
	if (end - first > sizeof map)
		bail_out("the queue's memory has grown without end");
	memset(map, 0, end - first);
	orphans = 0;
	for (uint32_t c = 0; c < CLASSES; c++)
		for (uint32_t n = area_value(a, M_FREE + c); n; n = area_value(a, node_next(n)))
			mark(n, c, first, end, "free");
	for (uint32_t n = area_value(a, M_HEAD); n; n = area_value(a, node_next(n)))
		mark(n, node_at(a, n)->class, first, end, "queue");
	for (uint32_t w = 1; w < atomic_load(&step_ns->slots->who_high); w++)
		mark_who(a, w, first, end);
	for (uint32_t i = 0; i < end - first; i++)
		lost += !map[i];
	step_check(!lost, "%u units of %u are lost", lost, end - first);
}

/* ---- what happened ---- */

static void stopped(bool done)
{
	bool may_fail = step_now->agent && step_act == STEP_SIGNAL;

	if (done) {
		step_check(!step_sh->torn, "the victim's message is torn");
		step_check(!step_sh->result || (may_fail && step_sh->error == EINTR), "result %ld, errno %ld",
			   step_sh->result, step_sh->error);
		if (!receives)
			account[victim_serial % MSGS].sent = !step_sh->result;
		if (receives && !step_sh->result)
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
			wait_wake(&o->area, w);
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

	see_all();
	if (with_peer)
		peer_after();
	for (uint64_t s = 1; s <= serials; s++) {
		int sent = account[s].sent, got = account[s].got;

		step_check(got <= 1, "message %llu came %d times", (unsigned long long)s, got);
		step_check(sent == 2 || got <= sent, "message %llu came and was not sent", (unsigned long long)s);
		lost += sent == 1 && !got;
	}
	step_check(lost <= (receives && !step_sh->done), "%d messages are lost", lost);
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

static void agent(void)
{
	if (receives)
		send_one(7);
	else
		receive_one(0);
}

static const struct step_scene scenes[] = {
	{ "msgsnd at once", send_at_once, warm, call, handler, NULL, NULL, stopped, after },
	{ "msgsnd waking a receiver", send_waking, warm, call, handler, NULL, NULL, stopped, after },
	{ "msgsnd sleeping", send_sleeping, warm, call, handler, agent, victim_waits, stopped, after },
	{ "msgrcv at once", receive_at_once, warm, call, handler, NULL, NULL, stopped, after },
	{ "msgrcv waking a sender", receive_waking, warm, call, handler, NULL, NULL, stopped, after },
	{ "msgrcv sleeping", receive_sleeping, warm, call, handler, agent, victim_waits, stopped, after },
};

int main(void)
{
	step_open();
	queue = ipc_msgget(step_ns, IPC_PRIVATE, 0600);
	succeeds(queue, "a queue");
	step_peer_start(peer);
	for (int i = 0; i < 6; i++)
		step_scene(&scenes[i], step_every(20));
	step_peer_end();
	step_all_free();
	ok(orphans < 20, "nodes of interrupted calls come back (%u left)", orphans);
	succeeds(ipc_msgctl(step_ns, queue, IPC_RMID, NULL), "removed");
	ipc_close(step_ns);
	step_remove_dir();
	return done_testing();
}
