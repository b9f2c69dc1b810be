/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgctl: what it tells after each step, IPC_SET, MSG_STAT, MSG_INFO, and the order of times.
 */
#include <linux/capability.h>

#include "objects.h"

static int child_send(void *arg)
{
	return msg_put(*(int *)arg, 9, 20, 'c', IPC_NOWAIT);
}

static int child_receive(void *arg)
{
	return msg_take(*(int *)arg, 9, IPC_NOWAIT) == 9 ? 0 : 1;
}

static void test_state(void)
{
	time_t start = time(NULL);
	int q = obj_keep(MSG, msgget(IPC_PRIVATE, 0640));
	struct msqid_ds ds = msg_stat(q);
	pid_t pid;

	ok(!ds.msg_qnum && !ds.__msg_cbytes && !ds.msg_lspid && !ds.msg_lrpid, "a new queue: no message, no pid");
	ok(!ds.msg_stime && !ds.msg_rtime, "nor time of sending or receiving");
	ok(ds.msg_ctime >= start - 1 && ds.msg_ctime <= time(NULL), "msg_ctime is now");
	is(ds.msg_qbytes, 16384, "msg_qbytes is the default");
	is(ds.msg_perm.mode, 0640, "mode");
	ok(ds.msg_perm.uid == geteuid() && ds.msg_perm.cuid == geteuid(), "uid and cuid");

	msg_put(q, 3, 100, 'a', 0);
	msg_put(q, 4, 0, 'a', 0);
	ds = msg_stat(q);
	is(ds.msg_qnum, 2, "msg_qnum after two messages");
	is(ds.__msg_cbytes, 100, "and their bytes");
	is(ds.msg_lspid, getpid(), "msg_lspid");
	is(ds.msg_lrpid, 0, "no msg_lrpid yet");
	ok(ds.msg_stime >= start - 1 && !ds.msg_rtime, "msg_stime, and no msg_rtime yet");

	pid = proc_run(child_send, &q);
	is(proc_wait(pid), 0, "another process sends");
	is(msg_stat(q).msg_lspid, pid, "msg_lspid names it");
	pid = proc_run(child_receive, &q);
	is(proc_wait(pid), 0, "another process receives");
	ds = msg_stat(q);
	is(ds.msg_lrpid, pid, "msg_lrpid names it");
	ok(ds.msg_rtime >= start - 1, "msg_rtime is set");
	is(ds.msg_qnum, 2, "msg_qnum counts down");
	is(ds.__msg_cbytes, 100, "and so do the bytes");

	call_fails(msgrcv(q, &(struct text){ 0 }, 1, 3, IPC_NOWAIT), E2BIG, "a msgrcv that fails");
	is(msg_stat(q).msg_lrpid, pid, "leaves msg_lrpid");
	is(msg_stat(q).__msg_cbytes, 100, "and the bytes");
	msgrcv(q, &(struct text){ 0 }, 1, 3, IPC_NOWAIT | MSG_NOERROR);
	is(msg_stat(q).__msg_cbytes, 0, "a message that was cut takes all its bytes with it");
	is(msg_stat(q).msg_lrpid, getpid(), "msg_lrpid is the receiver");
}

/* Root with CAP_SYS_RESOURCE */
static bool privileged(void)
{
	unsigned long caps = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		sscanf(line, "CapEff: %lx", &caps);
	if (f)
		fclose(f);
	return geteuid() == 0 && caps >> CAP_SYS_RESOURCE & 1;
}

static void test_set(void)
{
	int q = msg_new();
	struct msqid_ds ds = msg_stat(q), before = ds;

	ds.msg_perm.mode = 07777;
	ds.msg_qbytes = 1000;
	ds.msg_qnum = ds.msg_lspid = ds.msg_lrpid = 77;
	ds.msg_stime = ds.msg_rtime = 77;
	succeeds(msgctl(q, IPC_SET, &ds), "IPC_SET");
	ds = msg_stat(q);
	is(ds.msg_perm.mode, 0777, "changes the nine bits of mode");
	is(ds.msg_qbytes, 1000, "and msg_qbytes");
	ok(!ds.msg_qnum && !ds.msg_lspid && !ds.msg_lrpid && !ds.msg_stime && !ds.msg_rtime, "and nothing else");
	ok(ds.msg_ctime >= before.msg_ctime, "and sets msg_ctime");
	ds.msg_qbytes = 16384;
	succeeds(msgctl(q, IPC_SET, &ds), "msg_qbytes up to msgmnb");
	ds.msg_qbytes = 16385;
	if (geteuid())
		call_fails(msgctl(q, IPC_SET, &ds), EPERM, "msg_qbytes past msgmnb is for the privileged: EPERM");
	else if (privileged())
		succeeds(msgctl(q, IPC_SET, &ds), "msg_qbytes past msgmnb is for the privileged");
	else
		skip("msg_qbytes past msgmnb", "root without CAP_SYS_RESOURCE");
	ds.msg_qbytes = 16384;
	ds.msg_perm.gid = (gid_t)-1;
	call_fails(msgctl(q, IPC_SET, &ds), EINVAL, "gid -1: EINVAL");
	call_fails(msgctl(q, 99, &ds), EINVAL, "an unknown command: EINVAL");
}

/* A queue larger than msgmnb holds what it says. */
static void test_large(void)
{
	enum { N = 300 };
	int q, bad = 0;

	if (!privileged()) {
		skip("a queue of 1 MiB", "needs root with CAP_SYS_RESOURCE");
		return;
	}
	q = msg_new();
	msg_limit(q, 1 << 20);
	for (int i = 0; i < N; i++)
		bad += msg_put(q, 1 + i, 3000, 'a' + i % 26, IPC_NOWAIT) != 0;
	is(bad, 0, "a queue of 1 MiB takes %d messages of 3,000 bytes", N);
	is(msg_stat(q).__msg_cbytes, N * 3000, "and counts them");
	for (int i = 0; i < N; i++) {
		struct text m;
		bad += msgrcv(q, &m, sizeof m.data, 1 + i, IPC_NOWAIT) != 3000 || m.data[2999] != 'a' + i % 26;
	}
	is(bad, 0, "and gives them back");
	obj_remove(MSG, q);
}

static void test_ctime_moves(void)
{
	int q = msg_new(), r = msg_new();
	struct msqid_ds ds = msg_stat(r);
	time_t born = ds.msg_ctime;

	wait_until(time(NULL) >= born + 2);
	msg_put(q, 1, 1, 't', 0);
	ok(msg_stat(q).msg_ctime <= born, "msgsnd leaves msg_ctime");
	ok(msg_stat(q).msg_stime > born, "and sets msg_stime");
	msg_take(q, 0, 0);
	ok(msg_stat(q).msg_ctime <= born, "msgrcv leaves msg_ctime");
	msgctl(r, IPC_SET, &ds);
	ok(msg_stat(r).msg_ctime > born, "IPC_SET sets it");
}

static int index_of(int id, int cmd)
{
	struct msginfo info;
	struct msqid_ds ds;
	int max = msgctl(0, MSG_INFO, (struct msqid_ds *)&info);

	for (int i = 0; i <= max; i++)
		if (msgctl(i, cmd, &ds) == id)
			return i;
	return -1;
}

static void test_info(void)
{
	struct msginfo a, b, lim;
	struct msqid_ds ds;
	int q, i, max;

	msgctl(0, MSG_INFO, (struct msqid_ds *)&a);
	q = obj_keep(MSG, msgget(IPC_PRIVATE, 0604));
	msg_put(q, 1, 10, 'i', 0);
	msg_put(q, 1, 20, 'i', 0);
	max = msgctl(0, MSG_INFO, (struct msqid_ds *)&b);
	is(b.msgpool, a.msgpool + 1, "MSG_INFO counts a new queue");
	is(b.msgmap, a.msgmap + 2, "its messages");
	is(b.msgtql, a.msgtql + 30, "and their bytes");
	is(msgctl(0, IPC_INFO, (struct msqid_ds *)&lim), max, "IPC_INFO returns the highest index");
	is(lim.msgmax, 8192, "msgmax is the default");
	is(lim.msgmnb, 16384, "msgmnb is the default");
	is(lim.msgmni, 32000, "msgmni is the default");
	is(lim.msgssz, 16, "msgssz");
	is(lim.msgseg, 0xffff, "msgseg");
	is(lim.msgpool, 32000 * 16384 / 1024, "msgpool");
	is(lim.msgtql, 16384, "msgtql");
	is(lim.msgmap, 16384, "msgmap");

	i = index_of(q, MSG_STAT);
	ok(i >= 0 && i <= max, "MSG_STAT returns the id at its index");
	msgctl(i, MSG_STAT, &ds);
	ok(ds.msg_qnum == 2 && ds.msg_perm.mode == 0604, "with the queue's state");
	is(index_of(q, MSG_STAT_ANY), i, "MSG_STAT_ANY returns the same");
	call_fails(msgctl(max + 1000, MSG_STAT, &ds), EINVAL, "an unused index: EINVAL");
	call_fails(msgctl(-1, MSG_STAT, &ds), EINVAL, "index -1: EINVAL");
	obj_remove(MSG, q);
	call_fails(msgctl(i, MSG_STAT, &ds), EINVAL, "a removed queue's index: EINVAL");
	msgctl(0, MSG_INFO, (struct msqid_ds *)&b);
	ok(a.msgpool == b.msgpool && a.msgmap == b.msgmap && a.msgtql == b.msgtql,
	   "MSG_INFO counts a removed queue and its messages no more");
}

int main(void)
{
	alarm(60);
	test_state();
	test_set();
	test_large();
	test_ctime_moves();
	test_info();
	return done_testing();
}
