/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping in msgrcv and msgsnd: which receiver a message goes to, which sender finds room, what wakes them.
 */
#include "objects.h"

/* msg_sleeper's exit status when it received this type */
#define GOT(type) (200 + (type))

/* It sleeps on: a wake-up by which it only looks again is allowed. */
static bool asleep(pid_t pid)
{
	return wait_until(proc_settled(pid, pid));
}

static void test_handed_over(void)
{
	int q = msg_new();
	pid_t pid = msg_sleeper(false, q, 0, 100, 0);
	struct msqid_ds ds;

	msg_put(q, 7, 10, 'h', 0);
	ds = msg_stat(q);
	is(ds.msg_qnum, 0, "a message for a sleeping receiver is not in the queue, at once");
	is(ds.__msg_cbytes, 0, "nor its bytes");
	is(ds.msg_lspid, getpid(), "msg_lspid is the sender");
	is(ds.msg_lrpid, pid, "msg_lrpid is the receiver, at once");
	ok(ds.msg_stime > 0 && ds.msg_rtime > 0, "both times are set");
	is(proc_wait(pid), GOT(7), "it gets the message");
}

static void test_receivers(void)
{
	int q = msg_new(), bad = 0;
	pid_t pid[8], a, b, c, d;

	for (int i = 0; i < 8; i++)
		pid[i] = msg_sleeper(false, q, 0, 100, 0);
	for (int i = 0; i < 8; i++) {
		msg_put(q, 1 + i, 1, 'o', 0);
		bad += msg_stat(q).msg_lrpid != pid[i];
		bad += proc_wait(pid[i]) != GOT(1 + i);
	}
	is(bad, 0, "each message goes to the receiver that has waited longest");

	a = msg_sleeper(false, q, 3, 100, 0);
	b = msg_sleeper(false, q, -5, 100, 0);
	c = msg_sleeper(false, q, 9, 100, MSG_EXCEPT);
	d = msg_sleeper(false, q, 9, 100, 0);
	msg_put(q, 9, 1, 't', 0);
	is(msg_stat(q).msg_lrpid, d, "a message goes by those who wait for other types");
	is(proc_wait(d), GOT(9), "to the one that waits for its type");
	msg_put(q, 8, 1, 't', 0);
	is(proc_wait(c), GOT(8), "one that fits only MSG_EXCEPT wakes that one");
	msg_put(q, 4, 1, 't', 0);
	is(proc_wait(b), GOT(4), "one up to 5 wakes who waits for -5");
	msg_put(q, 4, 1, 't', 0);
	is(msg_stat(q).msg_qnum, 1, "one for nobody stays in the queue");
	ok(asleep(a), "who waits for type 3 sleeps on");
	msg_put(q, 3, 1, 't', 0);
	is(proc_wait(a), GOT(3), "until it comes");
	is(msg_stat(q).msg_qnum, 1, "past the one that is there");
}

/* A sleeper that asked for too little wakes with E2BIG, and the message goes on to the next. */
static void test_too_big(void)
{
	int q = msg_new();
	pid_t small = msg_sleeper(false, q, 0, 3, 0), cut, big;

	msg_put(q, 2, 10, 'b', 0);
	is(proc_wait(small), E2BIG, "a sleeper wakes with E2BIG from a message that is too long for it");
	is(msg_stat(q).msg_qnum, 1, "which stays in the queue");
	is(msg_stat(q).msg_lrpid, 0, "received by nobody");
	is(msg_take(q, 0, IPC_NOWAIT), 2, "and can be received");

	small = msg_sleeper(false, q, 0, 3, 0);
	big = msg_sleeper(false, q, 0, 10, 0);
	msg_put(q, 2, 10, 'b', 0);
	is(proc_wait(small), E2BIG, "two sleepers: the first wakes with E2BIG");
	is(proc_wait(big), GOT(2), "the second gets the message");
	is(msg_stat(q).msg_qnum, 0, "and the queue is empty");

	cut = msg_sleeper(false, q, 0, 3, MSG_NOERROR);
	msg_put(q, 2, 10, 'b', 0);
	is(proc_wait(cut), GOT(2), "MSG_NOERROR: a sleeper gets the message, cut");
	small = msg_sleeper(false, q, 7, 3, 0);
	msg_put(q, 2, 10, 'b', 0);
	ok(asleep(small), "a message of another type wakes nobody, however long");
	msg_put(q, 7, 3, 'b', 0);
	is(proc_wait(small), GOT(7), "one that fits is received");
}

static void test_senders(void)
{
	int q = msg_new();
	pid_t a, b, c;

	msg_limit(q, 10);
	msg_put(q, 1, 10, 's', 0);
	call_fails(msg_put(q, 1, 1, 's', IPC_NOWAIT), EAGAIN, "a full queue: EAGAIN");
	succeeds(msg_put(q, 1, 0, 's', IPC_NOWAIT), "a message of size 0 finds room where no byte is left");
	msg_take(q, 0, 0);
	msg_take(q, 0, 0);

	msg_put(q, 1, 10, 's', 0);
	a = msg_sleeper(true, q, 2, 10, 0);
	is(msg_stat(q).msg_qnum, 1, "a sleeping sender's message is not in the queue");
	is(msg_take(q, 0, 0), 1, "room is made");
	is(proc_wait(a), 0, "the sender goes on");
	is(msg_stat(q).msg_lspid, a, "msg_lspid names it");
	is(msg_take(q, 0, 0), 2, "and its message is there");

	msg_put(q, 1, 4, 's', 0);
	msg_put(q, 1, 6, 's', 0);
	a = msg_sleeper(true, q, 2, 10, 0);
	b = msg_sleeper(true, q, 3, 4, 0);
	c = msg_sleeper(true, q, 4, 5, 0);
	msg_take(q, 0, 0);
	is(proc_wait(b), 0, "the first sender whose message fits goes on, not the oldest");
	ok(asleep(a) && asleep(c), "the others sleep on");
	obj_remove(MSG, q);
	is(proc_wait(a), EIDRM, "removal wakes a sender with EIDRM");
	is(proc_wait(c), EIDRM, "and the other");
}

/* A chain through a queue for one message: each room serves one sender, and none is lost. */
static void test_each_once(void)
{
	enum { N = 12 };
	int q = msg_new(), bad = 0, seen[50] = { 0 };
	pid_t pid[N];

	msg_limit(q, 8);
	msg_put(q, 40, 8, 'e', 0);
	for (int i = 0; i < N; i++)
		pid[i] = msg_sleeper(true, q, 1 + i, 8, 0);
	for (int i = 0; i <= N; i++) {
		long type = msg_take(q, 0, 0);
		if (type > 0)
			seen[type]++;
	}
	for (int i = 0; i < N; i++)
		bad += seen[1 + i] != 1 || proc_wait(pid[i]) != 0;
	is(bad, 0, "%d senders to a full queue: each message arrives once", N);
	is(msg_stat(q).msg_qnum, 0, "and no other");
}

/* By one at a time there is an order: the one that sleeps first finds room first. */
static void test_order(void)
{
	int q = msg_new(), bad = 0;
	pid_t a, b;

	msg_limit(q, 10);
	for (int i = 0; i < 10; i++) {
		msg_put(q, 1, 5, 'o', 0);
		msg_put(q, 1, 5, 'o', 0);
		a = msg_sleeper(true, q, 2, 5, 0);
		b = msg_sleeper(true, q, 3, 6, 0);
		msg_take(q, 1, 0);
		bad += proc_wait(a) != 0 || !asleep(b);
		msg_take(q, 1, 0);
		bad += !asleep(b);
		msg_take(q, 2, 0);
		bad += proc_wait(b) != 0;
		bad += msg_take(q, 0, IPC_NOWAIT) != 3;
	}
	is(bad, 0, "a sender goes on when its own message fits, and not before");
}

static void test_limit_change(void)
{
	int q = msg_new();
	pid_t sender, receiver;

	msg_limit(q, 10);
	msg_put(q, 1, 10, 'l', 0);
	sender = msg_sleeper(true, q, 2, 5, 0);
	msg_limit(q, 12);
	ok(asleep(sender), "a larger msg_qbytes that is not enough wakes no sender");
	msg_limit(q, 15);
	is(proc_wait(sender), 0, "one that is enough lets it go");
	is(msg_stat(q).msg_qnum, 2, "its message is there");
	msg_limit(q, 3);
	is(msg_stat(q).msg_qnum, 2, "a smaller msg_qbytes drops nothing");
	call_fails(msg_put(q, 1, 0, 'l', IPC_NOWAIT), EAGAIN, "but no message finds room");
	msg_take(q, 0, 0);
	msg_take(q, 0, 0);
	for (int i = 0; i < 3; i++)
		succeeds(msg_put(q, 1, 0, 'l', IPC_NOWAIT), "message %d of size 0", i + 1);
	call_fails(msg_put(q, 1, 0, 'l', IPC_NOWAIT), EAGAIN, "not more messages of size 0 than msg_qbytes");

	q = msg_new();
	receiver = msg_sleeper(false, q, 0, 100, 0);
	msg_limit(q, 200);
	ok(asleep(receiver), "IPC_SET leaves a receiver asleep");
	msg_put(q, 6, 5, 'l', 0);
	is(proc_wait(receiver), GOT(6), "who gets the next message");
}

static void test_removed(void)
{
	enum { N = 8 };
	int q = msg_new(), bad = 0;
	pid_t pid[2 * N];

	msg_limit(q, 1);
	msg_put(q, 1, 1, 'r', 0);
	for (int i = 0; i < N; i++) {
		pid[2 * i] = msg_sleeper(false, q, 2 + i, 100, 0);
		pid[2 * i + 1] = msg_sleeper(true, q, 1, 10, 0);
	}
	succeeds(msgctl(q, IPC_RMID, NULL), "IPC_RMID under %d receivers and %d senders", N, N);
	for (int i = 0; i < 2 * N; i++)
		bad += proc_wait(pid[i]) != EIDRM;
	is(bad, 0, "wakes every one with EIDRM");
	call_fails(msg_put(q, 1, 1, 'r', IPC_NOWAIT), EINVAL, "the next msgsnd: EINVAL");
	call_fails(msgrcv(q, &(struct text){ 0 }, 10, 0, IPC_NOWAIT), EINVAL, "the next msgrcv: EINVAL");
}

static void test_killed(void)
{
	int q = msg_new();
	pid_t a = msg_sleeper(false, q, 0, 100, 0), b = msg_sleeper(false, q, 0, 100, 0), s, t;

	proc_kill(a);
	msg_put(q, 3, 1, 'k', 0);
	is(msg_stat(q).msg_lrpid, b, "a message goes by a receiver that was killed");
	is(proc_wait(b), GOT(3), "to the next");
	a = msg_sleeper(false, q, 0, 100, 0);
	proc_kill(a);
	msg_put(q, 3, 1, 'k', 0);
	is(msg_stat(q).msg_qnum, 1, "a message for a killed receiver stays");

	msg_limit(q, 1);
	s = msg_sleeper(true, q, 5, 1, 0);
	t = msg_sleeper(true, q, 6, 1, 0);
	proc_kill(s);
	is(msg_take(q, 0, 0), 3, "room is made after a sender was killed");
	is(proc_wait(t), 0, "the next sender goes on");
	is(msg_take(q, 0, IPC_NOWAIT), 6, "with its message");
	is(msg_take(q, 0, IPC_NOWAIT), -ENOMSG, "the killed one's was never sent");
}

/* Request and answer over one queue, several pairs at once. */
static int pair_run(void *arg)
{
	int *a = arg;

	for (int i = 0; i < 1500; i++)
		if (msg_put(a[0], a[1], i % 200, 'p', 0) || msg_take(a[0], a[2], 0) != a[2])
			return 1;
	return 0;
}

static void test_pairs(void)
{
	int q = msg_new(), bad = 0;
	pid_t pid[6];

	for (int i = 0; i < 6; i++)
		pid[i] = proc_run(pair_run, (int[]){ q, 1 + i, 1 + (i ^ 1) });
	for (int i = 0; i < 6; i++)
		bad += proc_wait(pid[i]) != 0;
	is(bad, 0, "three pairs exchange 1,500 messages each over one queue");
	is(msg_stat(q).msg_qnum, 0, "and leave nothing");
	is(msg_stat(q).__msg_cbytes, 0, "not a byte");
}

int main(void)
{
	alarm(60);
	test_handed_over();
	test_receivers();
	test_too_big();
	test_senders();
	test_each_once();
	test_order();
	test_limit_change();
	test_removed();
	test_killed();
	test_pairs();
	return done_testing();
}
