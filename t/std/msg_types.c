/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which message msgrcv takes: by type, excepted type, highest type, copy; and what a size that does not fit does.
 */
#include <limits.h>

#include "objects.h"

static int queue;

static void fill(const long *type, int n)
{
	while (msg_take(queue, 0, IPC_NOWAIT | MSG_NOERROR) > 0)
		;
	for (int i = 0; i < n; i++)
		if (msg_put(queue, type[i], i + 1, 'a' + i, IPC_NOWAIT))
			bail_out("msgsnd");
}

/* The position (from 1) of the message taken: its size tells; or -errno. */
static int take(long want, int flags)
{
	struct text m = { .type = -1 };
	ssize_t r = msgrcv(queue, &m, sizeof m.data, want, flags | IPC_NOWAIT);

	if (r < 0)
		return -errno;
	for (int i = 0; i < r; i++)
		if (m.data[i] != 'a' + (int)r - 1)
			return -1000;
	return r;
}

#define FILL(...) fill((const long[]){ __VA_ARGS__ }, sizeof((const long[]){ __VA_ARGS__ }) / sizeof(long))

static void test_order(void)
{
	FILL(5, 3, 5, 9);
	for (int i = 1; i <= 4; i++)
		is(take(0, 0), i, "type 0 takes message %d of 4", i);
	is(take(0, 0), -ENOMSG, "and from an empty queue ENOMSG");
	FILL(5, 3, 5, 9, 3);
	is(take(3, 0), 2, "type 3 takes the first of type 3");
	is(take(5, 0), 1, "type 5 takes the first of type 5");
	is(take(5, 0), 3, "then the second");
	is(take(5, 0), -ENOMSG, "then none");
	is(take(7, 0), -ENOMSG, "nor one of a type that there never was");
	is(take(0, 0), 4, "the others are in order");
	is(take(LONG_MAX, 0), -ENOMSG, "the largest type");
	is(take(0, 0), 5, "to the last");
	FILL(LONG_MAX, 1, 0x100000001, 2);
	is(take(0x100000001, 0), 3, "a type has all its bits");
	is(take(1, 0), 2, "so it is not taken for a smaller one");
	is(take(LONG_MAX, 0), 1, "the largest type is found");
}

static void test_negative(void)
{
	FILL(5, 3, 9, 3, 1, 7);
	is(take(-4, 0), 5, "type -4 takes the lowest type up to 4");
	is(take(-4, 0), 2, "then the next lowest, the first of it");
	is(take(-3, 0), 4, "the bound itself counts");
	is(take(-4, 0), -ENOMSG, "then none");
	is(take(-5, 0), 1, "type -5");
	is(take(-100, 0), 6, "type -100 takes the lowest, not the first");
	is(take(-1, 0), -ENOMSG, "type -1 takes type 1 only");
	is(take(-LONG_MAX, 0), 3, "type -LONG_MAX takes any");
	FILL(LONG_MAX, 8);
	is(take(LONG_MIN, 0), 2, "type LONG_MIN counts as -LONG_MAX");
	is(take(LONG_MIN, 0), 1, "and takes the largest type too");
}

static void test_except(void)
{
	FILL(5, 5, 3, 5, 4);
	is(take(5, MSG_EXCEPT), 3, "MSG_EXCEPT takes the first of another type");
	is(take(5, MSG_EXCEPT), 5, "and the next");
	is(take(5, MSG_EXCEPT), -ENOMSG, "and none when there are only those");
	is(take(4, MSG_EXCEPT), 1, "all others count");
	is(take(0, MSG_EXCEPT), 2, "MSG_EXCEPT with type 0 takes the first");
	FILL(6, 2, 3);
	is(take(-4, MSG_EXCEPT), 2, "MSG_EXCEPT with a negative type changes nothing");
}

/* MSG_COPY reads the message at a place, and leaves everything as it is. */
static void test_copy(void)
{
	struct msqid_ds before, after;
	struct text m;

	FILL(5, 3, 9);
	if (take(0, MSG_COPY) == -ENOSYS) {
		skip("MSG_COPY", "this kernel has none");
		return;
	}
	before = msg_stat(queue);
	is(take(0, MSG_COPY), 1, "MSG_COPY of place 0");
	is(take(2, MSG_COPY), 3, "MSG_COPY of place 2");
	is(take(1, MSG_COPY), 2, "MSG_COPY of place 1");
	is(take(3, MSG_COPY), -ENOMSG, "MSG_COPY past the end: ENOMSG");
	is(take(LONG_MAX, MSG_COPY), -ENOMSG, "MSG_COPY far past the end: ENOMSG");
	call_fails(msgrcv(queue, &m, sizeof m.data, 0, MSG_COPY), EINVAL, "MSG_COPY without IPC_NOWAIT: EINVAL");
	call_fails(msgrcv(queue, &m, sizeof m.data, 0, MSG_COPY | MSG_EXCEPT | IPC_NOWAIT), EINVAL,
		   "MSG_COPY with MSG_EXCEPT: EINVAL");
	call_fails(msgrcv(queue, &m, 2, 2, MSG_COPY | IPC_NOWAIT), E2BIG, "MSG_COPY into too little: E2BIG");
	call_fails(msgrcv(queue, &m, 2, 2, MSG_COPY | IPC_NOWAIT | MSG_NOERROR), EINVAL,
		   "MSG_COPY into too little with MSG_NOERROR: EINVAL");
	m.type = 0;
	is(msgrcv(queue, &m, sizeof m.data, 2, MSG_COPY | IPC_NOWAIT), 3, "MSG_COPY returns the size");
	ok(m.type == 9 && !memcmp(m.data, "ccc", 3), "and the type and text");
	after = msg_stat(queue);
	ok(before.msg_qnum == after.msg_qnum && before.__msg_cbytes == after.__msg_cbytes, "the queue is as it was");
	ok(before.msg_lrpid == after.msg_lrpid && before.msg_rtime == after.msg_rtime, "nobody has received");
	is(take(0, 0), 1, "the messages are still there");
}

static void test_size(void)
{
	struct text m = { .type = 1 };

	FILL(5, 3);
	call_fails(msgrcv(queue, &m, 1, 3, IPC_NOWAIT), E2BIG, "a message longer than asked for: E2BIG");
	is(msg_stat(queue).msg_qnum, 2, "it stays in the queue");
	memset(m.data, '.', 4);
	is(msgrcv(queue, &m, 1, 3, IPC_NOWAIT | MSG_NOERROR), 1, "MSG_NOERROR cuts it");
	ok(m.type == 3 && !memcmp(m.data, "b..", 3), "and writes no more than asked for");
	is(take(3, 0), -ENOMSG, "the rest of it is gone");
	call_fails(msgrcv(queue, &m, 0, 0, IPC_NOWAIT), E2BIG, "size 0 for a message that has some: E2BIG");
	is(msgrcv(queue, &m, 0, 0, IPC_NOWAIT | MSG_NOERROR), 0, "with MSG_NOERROR: 0");
	is(m.type, 5, "and the type");

	succeeds(msg_put(queue, 4, 0, 0, IPC_NOWAIT), "a message of size 0");
	is(msgrcv(queue, &m, 0, 0, IPC_NOWAIT), 0, "is received as that");
	is(m.type, 4, "with its type");
	is(msg_put(queue, 4, 8192, 'L', IPC_NOWAIT), 0, "the longest message");
	memset(&m, 0, sizeof m);
	is(msgrcv(queue, &m, 8192, 0, IPC_NOWAIT), 8192, "is received whole");
	ok(m.data[0] == 'L' && m.data[4095] == 'L' && m.data[8191] == 'L', "to its last byte");
	call_fails(msgsnd(queue, &m, 8193, IPC_NOWAIT), EINVAL, "a longer one: EINVAL");
	call_fails(msgsnd(queue, &m, (size_t)-1, IPC_NOWAIT), EINVAL, "size -1: EINVAL");
	call_fails(msgrcv(queue, &m, (size_t)-1, 0, IPC_NOWAIT), EINVAL, "msgrcv of size -1: EINVAL");
	call_fails(msg_put(queue, 0, 1, 'x', IPC_NOWAIT), EINVAL, "type 0: EINVAL");
	call_fails(msg_put(queue, -1, 1, 'x', IPC_NOWAIT), EINVAL, "a negative type: EINVAL");
	call_fails(msgsnd(queue, NULL, 1, IPC_NOWAIT), EFAULT, "a message at NULL: EFAULT");
	call_fails(msgsnd(-1, &m, 1, IPC_NOWAIT), EINVAL, "queue -1: EINVAL");
}

/* Every size comes through unharmed. */
static void test_sizes(void)
{
	struct text in, out = { .type = 3 };
	int bad = 0;

	for (int size = 0; size <= 8192; size += size < 300 ? 1 : 61) {
		for (int i = 0; i < size; i++)
			out.data[i] = (i * 7 + size) & 0xff;
		memset(&in, 0x5a, sizeof in);
		bad += msgsnd(queue, &out, size, IPC_NOWAIT) != 0;
		bad += msgrcv(queue, &in, sizeof in.data, 0, IPC_NOWAIT) != size;
		bad += memcmp(in.data, out.data, size) != 0 || (size < 8192 && in.data[size] != 0x5a);
	}
	is(bad, 0, "messages of all sizes come through unharmed");
}

int main(void)
{
	alarm(60);
	queue = msg_new();
	test_order();
	test_negative();
	test_except();
	test_copy();
	test_size();
	test_sizes();
	return done_testing();
}
