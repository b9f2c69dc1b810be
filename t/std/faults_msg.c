/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue 1,000 messages deep against a model of it: by positive, negative and excepted type, in random order. And
 * messages under kill -9: each is there or received, once and whole.
 */
#include "objects.h"

#define DEPTH 1000
#define TYPES 40

static struct { long type; int size; unsigned int mark; } model[DEPTH];
static int depth;
static unsigned int seed;

static void model_put(int q)
{
	struct text m = { .type = 1 + rand_r(&seed) % TYPES };
	int size = 4 + rand_r(&seed) % 12;
	unsigned int mark = rand_r(&seed);

	memcpy(m.data, &mark, sizeof mark);
	if (msgsnd(q, &m, size, IPC_NOWAIT))
		bail_out("msgsnd");
	model[depth].type = m.type;
	model[depth].size = size;
	model[depth++].mark = mark;
}

/* What the manual page says that msgrcv takes: an index, or -1. */
static int model_find(long want, int flags)
{
	int found = -1;

	for (int i = 0; i < depth; i++) {
		long t = model[i].type;
		if (want == 0 || (want > 0 && (flags & MSG_EXCEPT ? t != want : t == want)))
			return i;
		if (want < 0 && t <= -want && (found < 0 || t < model[found].type))
			found = i;
	}
	return found;
}

static bool model_take(int q, long want, int flags)
{
	int i = model_find(want, flags);
	unsigned int mark;
	struct text m;
	ssize_t r;

	errno = 0;
	r = msgrcv(q, &m, sizeof m.data, want, flags | IPC_NOWAIT);
	if (i < 0)
		return r == -1 && errno == ENOMSG;
	memcpy(&mark, m.data, sizeof mark);
	if (r != model[i].size || m.type != model[i].type || mark != model[i].mark)
		return false;
	memmove(&model[i], &model[i + 1], (--depth - i) * sizeof model[0]);
	return true;
}

static long pick(char how)
{
	long type = 1 + rand_r(&seed) % (TYPES + 2);

	return how == 'n' ? -type : type;
}

static void test_deep(char how, const char *name)
{
	int q = msg_new(), bad = 0, flags = how == 'e' ? MSG_EXCEPT : 0;

	depth = 0;
	while (depth < DEPTH)
		model_put(q);
	is(msg_stat(q).msg_qnum, DEPTH, "a queue of 1,000 messages");
	for (int i = 0; i < 3000; i++) {
		bad += !model_take(q, pick(how), flags);
		while (depth < DEPTH)
			model_put(q);
	}
	is(bad, 0, "3,000 messages received by %s, each the right one, and the queue filled again", name);
	for (int i = 0; i < 20 * DEPTH && depth; i++)
		bad += !model_take(q, pick(how), flags);
	while (depth)
		bad += !model_take(q, 0, 0);
	is(bad, 0, "and to the last by %s, then by age", name);
	is(msg_stat(q).msg_qnum, 0, "none is left");
	is(msg_stat(q).__msg_cbytes, 0, "not a byte");
	obj_remove(MSG, q);
}

static void test_mixed(void)
{
	int q = msg_new(), bad = 0;

	depth = 0;
	for (int i = 0; i < 20000; i++) {
		if (depth < DEPTH && rand_r(&seed) % 100 < (i / 3000 % 2 ? 30 : 70)) {
			model_put(q);
			continue;
		}
		switch (rand_r(&seed) % 4) {
		case 0:
			bad += !model_take(q, 0, 0);
			break;
		case 1:
			bad += !model_take(q, pick('p'), 0);
			break;
		case 2:
			bad += !model_take(q, pick('n'), 0);
			break;
		default:
			bad += !model_take(q, pick('e'), MSG_EXCEPT);
		}
	}
	is(bad, 0, "20,000 steps of all kinds, from a queue that grows and shrinks");
	is(msg_stat(q).msg_qnum, depth, "and what is left is what must be");
	obj_remove(MSG, q);
}

/* kill -9 in the stream: every sender numbers its messages, every receiver notes them. */

#define NUMBERS 1000000

struct stream {
	int q;
	atomic_uchar got[NUMBERS];
	atomic_int next, torn;
};

static int stream_send(void *arg)
{
	struct stream *s = arg;
	struct text m = { .type = 1 };

	for (;;) {
		int n = s->next++, size = 8 + n % 500;
		if (n >= NUMBERS)
			return 0;
		memset(m.data, n & 0xff, size);
		memcpy(m.data, &n, sizeof n);
		if (msgsnd(s->q, &m, size, 0))
			return 1;
	}
}

static void stream_note(struct stream *s, const struct text *m, ssize_t size)
{
	int n;

	memcpy(&n, m->data, sizeof n);
	if (n < 0 || n >= NUMBERS || size != 8 + n % 500 || (unsigned char)m->data[size - 1] != (n & 0xff))
		s->torn++;
	else
		s->got[n]++;
}

static int stream_receive(void *arg)
{
	struct stream *s = arg;
	struct text m;

	for (;;) {
		ssize_t r = msgrcv(s->q, &m, sizeof m.data, 0, 0);
		if (r < 0)
			return 1;
		stream_note(s, &m, r);
	}
}

static void test_killed(void)
{
	struct stream *s = shared_new(sizeof *s);
	int twice = 0, lost = 0, sent, kills = 150;
	pid_t sender[2], receiver[2];
	struct text m;
	ssize_t r;

	s->q = msg_new();
	for (int i = 0; i < 2; i++) {
		sender[i] = proc_run(stream_send, s);
		receiver[i] = proc_run(stream_receive, s);
	}
	for (int i = 0; i < kills; i++) {
		pid_t *victim = i % 2 ? &sender[i / 2 % 2] : &receiver[i / 2 % 2];
		int (*again)(void *) = i % 2 ? stream_send : stream_receive;
		nanosleep(&(struct timespec){ .tv_nsec = rand_r(&seed) % 1000000 }, NULL);
		proc_kill(*victim);
		*victim = proc_run(again, s);
	}
	for (int i = 0; i < 2; i++) {
		proc_kill(sender[i]);
		proc_kill(receiver[i]);
	}
	while ((r = msgrcv(s->q, &m, sizeof m.data, 0, IPC_NOWAIT)) >= 0)
		stream_note(s, &m, r);
	sent = s->next < NUMBERS ? s->next : NUMBERS;
	for (int i = 0; i < sent; i++) {
		twice += s->got[i] > 1;
		lost += s->got[i] == 0;
	}
	diag("%d messages, %d lost with a killed process", sent, lost);
	is(s->torn, 0, "no message is torn by kill -9");
	is(twice, 0, "none is received twice");
	ok(lost <= kills + 4, "none is lost but what a killed process had in its hands");
	is(msg_stat(s->q).msg_qnum, 0, "the queue is empty");
	is(msg_stat(s->q).__msg_cbytes, 0, "and has its room back");
	is(msg_put(s->q, 1, 8192, 'x', IPC_NOWAIT), 0, "which takes the longest message");
	is(msg_put(s->q, 1, 8192, 'x', IPC_NOWAIT), 0, "and another");
	munmap(s, sizeof *s);
}

int main(void)
{
	seed = tap_seed();
	alarm(60);
	test_deep('p', "positive type");
	test_deep('n', "negative type");
	test_deep('e', "excepted type");
	test_mixed();
	test_killed();
	return done_testing();
}
