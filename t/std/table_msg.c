/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of msgget, msgsnd, msgrcv and msgctl: each is produced here, and none may be left over. What needs a change
 * of uid is in table_uid.c, what needs other limits in table_limit.c. Each case removes the queues that it makes.
 */
#include "table.h"
#define ROWS TABLE_MSG
#include "row_family.h"
#include <linux/capability.h>
#include <sys/syscall.h>

#define NOWAIT IPC_NOWAIT

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#define ASAN __has_feature(address_sanitizer)
#else
#define ASAN 0
#endif

struct message {
	long type;
	char text[65536];
};

static int get(key_t key, int flags)
{
	return msgget(key, flags);
}

static int ctl(int id, int cmd, void *buf)
{
	return msgctl(id, cmd, buf);
}

static int used(const union any_buf *info)
{
	return info->msg_info.msgpool;
}

static long change_time(const union any_buf *ds)
{
	return ds->msg.msg_ctime;
}

static long other_times(const union any_buf *ds)
{
	return ds->msg.msg_stime | ds->msg.msg_rtime;
}

static const struct family family = {
	get, ctl, MSG_INFO, MSG_STAT, MSG_STAT_ANY, used, change_time, other_times,
};

static struct message m;
static const int flags_waiting[2] = { 0, SA_RESTART };

static int new_queue(void)
{
	return family_new(&family);
}

static void rm(int id)
{
	family_rm(&family, id);
}

static struct msqid_ds stat_of(int id)
{
	return family_stat(&family, id).msg;
}

static struct msginfo limits_of(int cmd)
{
	struct msginfo info;

	msgctl(0, cmd, (void *)&info);
	return info;
}

static int set_qbytes(int id, unsigned long bytes)
{
	struct msqid_ds ds = stat_of(id);

	ds.msg_qbytes = bytes;
	return msgctl(id, IPC_SET, &ds);
}

/* Send a message of that type, with a string as its text. */
static int send(int id, long type, const char *text)
{
	m.type = type;
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), NOWAIT);
}

/* A queue of messages of the types 5, 3, 1, 3, with the texts "a", "bb", "ccc", "dddd". */
static int filled_queue(void)
{
	int id = new_queue();

	if (send(id, 5, "a") || send(id, 3, "bb") || send(id, 1, "ccc") || send(id, 3, "dddd"))
		bail_out("msgsnd");
	return id;
}

/* Receive into m, cleared: the size, or -1. */
static ssize_t receive(int id, size_t size, long type, int flags)
{
	memset(m.text, 'X', 64);
	m.type = -7;
	return msgrcv(id, &m, size, type, flags);
}

/* Whether a receive without waiting gives a message of this type and text. */
static int gives(int id, long type, int flags, long got, const char *text)
{
	ssize_t n = receive(id, 100, type, flags | NOWAIT);

	if (n == (ssize_t)strlen(text) && m.type == got && !memcmp(m.text, text, n) && m.text[n] == 'X')
		return 1;
	diag("  got %zd bytes of type %ld", n, m.type);
	return 0;
}

static int count(int id)
{
	return stat_of(id).msg_qnum;
}

struct job {
	int id;
	long type;
	size_t size;
	int flags;
};

static int run_send(void *arg)
{
	struct job *j = arg;

	m.type = j->type;
	return outcome(msgsnd(j->id, &m, j->size, j->flags));
}

static int run_receive(void *arg)
{
	struct job *j = arg;

	return outcome(receive(j->id, j->size, j->type, j->flags));
}

static pid_t asleep(int (*fn)(void *), struct job *j)
{
	pid_t pid = proc_run(fn, j);

	if (!wait_settled(pid))
		diag("the child does not sleep");
	return pid;
}

static void get_new(void)
{
	int id = new_queue();
	struct msqid_ds ds = stat_of(id);

	works(MSGGET_OK_FIELDS, ds.msg_qnum == 0 && ds.__msg_cbytes == 0 && ds.msg_lspid == 0 && ds.msg_lrpid == 0);
	works(MSGGET_OK_FIELDS, ds.msg_qbytes == (msglen_t)limits_of(IPC_INFO).msgmnb);
	rm(id);
}

static void ids(void)
{
	int removed = new_queue(), id;

	rm(removed);
	id = new_queue();
	m.type = 1;
	set_bad_ids(removed, id);
	bad_ids(MSGSND_EINVAL_NEGATIVE_ID, bad, msgsnd(bad, &m, 1, NOWAIT));
	bad_ids(MSGRCV_EINVAL_NEGATIVE_ID, bad, msgrcv(bad, &m, 1, 0, NOWAIT));
	fails(MSGRCV_EINVAL_ID_BEFORE_POINTER, msgrcv(INT_MAX, NULL, 1, 0, NOWAIT));
	fails(MSGSND_EFAULT_BEFORE_ID, msgsnd(INT_MAX, NULL, 1, NOWAIT));
	rm(id);
}

/* What AddressSanitizer's msgsnd reads before the call is made. */
static void send_wild(int id)
{
	m.type = 1;
	if (ASAN) {
		for (int i = 0; i < POINTERS_IN; i++)
			row_skip(MSGSND_EFAULT_NULL + i, "AddressSanitizer follows the pointer");
		row_skip(MSGSND_EINVAL_SIZE_NEGATIVE, "AddressSanitizer believes the size");
		return;
	}
	faults(MSGSND_EFAULT_NULL, POINTERS_IN, p, msgsnd(id, p, 1, NOWAIT));
	fails(MSGSND_EINVAL_SIZE_NEGATIVE, msgsnd(id, &m, -1, NOWAIT));
	fails(MSGSND_EINVAL_SIZE_NEGATIVE, msgsnd(id, &m, (size_t)LONG_MIN, NOWAIT));
}

static void send_refused(void)
{
	int id = new_queue();
	size_t max = limits_of(IPC_INFO).msgmax;
	struct message *end = near_end(sizeof(long) + 8);

	end->type = m.type = 1;
	send_wild(id);
	fails_there(MSGSND_EFAULT_TEXT, msgsnd(id, end, 9, NOWAIT));
	fails_there(MSGSND_EFAULT_TEXT_BEFORE_ID, msgsnd(INT_MAX, end, 9, NOWAIT));
	fails_there(MSGSND_EFAULT_TYPE_END, msgsnd(id, near_end(sizeof(long) - 1), 0, NOWAIT));
	fails(MSGSND_EFAULT_BEFORE_SIZE, msgsnd(id, NULL, max + 1, NOWAIT));
	fails(MSGSND_EINVAL_SIZE_BEFORE_TEXT, msgsnd(id, end, max + 1, NOWAIT));
	fails(MSGSND_EINVAL_SIZE_OVER, msgsnd(id, &m, max + 1, NOWAIT));
	end->type = m.type = 0;
	fails(MSGSND_EINVAL_TYPE_0, msgsnd(id, &m, 1, NOWAIT));
	fails(MSGSND_EINVAL_TYPE_BEFORE_TEXT, msgsnd(id, end, 9, NOWAIT));
	m.type = -1;
	fails(MSGSND_EINVAL_TYPE_NEGATIVE, msgsnd(id, &m, 1, NOWAIT));
	m.type = LONG_MIN;
	fails(MSGSND_EINVAL_TYPE_NEGATIVE, msgsnd(id, &m, 1, NOWAIT));
	works(MSGSND_OK_NOTHING, count(id) == 0 && stat_of(id).msg_lspid == 0 && stat_of(id).msg_stime == 0);
	rm(id);
}

static void send_works(void)
{
	int id = new_queue();
	size_t max = limits_of(IPC_INFO).msgmax;
	long before = time(NULL);
	struct msqid_ds ds;

	works(MSGSND_OK_EMPTY, send(id, 1, "") == 0 && count(id) == 1);
	works(MSGSND_OK_TYPE_MAX, send(id, LONG_MAX, "max") == 0);
	ds = stat_of(id);
	works(MSGSND_OK_FIELDS, ds.msg_qnum == 2 && ds.__msg_cbytes == 3 && ds.msg_lspid == getpid() &&
		ds.msg_stime >= before && ds.msg_rtime == 0 && ds.msg_lrpid == 0);
	works(MSGSND_OK_EMPTY, receive(id, 0, 1, NOWAIT) == 0 && m.type == 1);
	works(MSGSND_OK_TYPE_MAX, gives(id, LONG_MAX, 0, LONG_MAX, "max"));
	m.type = 1;
	memset(m.text, 'y', max);
	works(MSGSND_OK_MSGMAX, msgsnd(id, &m, max, NOWAIT) == 0 && receive(id, sizeof m.text, 0, NOWAIT) == (ssize_t)max);
	works(MSGSND_OK_MSGMAX, m.text[0] == 'y' && m.text[max - 1] == 'y' && m.text[max / 2] == 'y');
	m.type = 1;
	works(MSGSND_OK_UNKNOWN_FLAG, msgsnd(id, &m, 1, 0x4000 | 0700 | NOWAIT) == 0);
	rm(id);
}

static void send_full(void)
{
	int id = new_queue();

	set_qbytes(id, 10);
	fails(MSGSND_EAGAIN_LARGER, send(id, 1, "elevenbytes"));
	works(MSGSND_OK_FULL, send(id, 1, "sixsix") == 0 && send(id, 1, "four") == 0);
	fails(MSGSND_EAGAIN_BYTES, send(id, 1, "1"));
	works(MSGSND_OK_NOTHING, count(id) == 2 && stat_of(id).__msg_cbytes == 10);
	works(MSGSND_OK_FULL, send(id, 1, "") == 0);
	rm(id);
	id = new_queue();
	set_qbytes(id, 2);
	send(id, 1, "");
	send(id, 1, "");
	fails(MSGSND_EAGAIN_COUNT, send(id, 1, ""));
	receive(id, 0, 0, NOWAIT);
	receive(id, 0, 0, NOWAIT);
	set_qbytes(id, 0);
	fails(MSGSND_EAGAIN_QBYTES_0, send(id, 1, ""));
	rm(id);
}

static void send_asleep(void)
{
	int id = new_queue();
	struct job j = { id, 1, 4, 0 };
	pid_t pid;

	set_qbytes(id, 4);
	send(id, 7, "full");
	for (int i = 0; i < 2; i++)
		ends(MSGSND_EINTR_SIGNAL + i, run_interrupted(run_send, &j, flags_waiting[i]));
	pid = asleep(run_send, &j);
	works(MSGSND_OK_SLEEP, count(id) == 1 && receive(id, 4, 7, NOWAIT) == 4);
	ends(MSGSND_OK_SLEEP, proc_wait(pid));
	works(MSGSND_OK_SLEEP, count(id) == 1 && stat_of(id).msg_lspid == pid);
	pid = asleep(run_send, &j);
	works(MSGCTL_OK_QBYTES_WAKES, set_qbytes(id, 8) == 0);
	ends(MSGCTL_OK_QBYTES_WAKES, proc_wait(pid));
	works(MSGCTL_OK_QBYTES_WAKES, count(id) == 2);
	pid = asleep(run_send, &j);
	rm(id);
	ends(MSGSND_EIDRM_ASLEEP, proc_wait(pid));
}

static void receive_faults(void)
{
	int id = new_queue();
	void *end = near_end(sizeof(long) + 2);

	for (int i = 0; i <= (no_kernel() ? 2 : POINTERS_OUT); i++)
		send(id, 1, "text");
	faults(MSGRCV_EFAULT_NULL, POINTERS_OUT, p, msgrcv(id, p, 100, 0, NOWAIT));
	works(MSGRCV_OK_EFAULT_TAKES, count(id) == 1);
	if (no_kernel())
		msgrcv(id, &m, sizeof m.text, 0, NOWAIT);
	fails_there(MSGRCV_EFAULT_TEXT, msgrcv(id, end, 4, 0, NOWAIT));
	works(MSGRCV_OK_EFAULT_TAKES, count(id) == 0 && stat_of(id).msg_lrpid == getpid());
	fails(MSGRCV_ENOMSG_POINTER, msgrcv(id, NULL, 100, 0, NOWAIT));
	rm(id);
}

static void receive_refused(void)
{
	int id = filled_queue();

	fails(MSGRCV_EINVAL_SIZE_NEGATIVE, msgrcv(id, &m, -1, 0, NOWAIT));
	fails(MSGRCV_EINVAL_SIZE_NEGATIVE, msgrcv(id, &m, (size_t)LONG_MIN, 0, NOWAIT));
	fails(MSGRCV_E2BIG_SMALL, msgrcv(id, &m, 2, 1, NOWAIT));
	fails(MSGRCV_E2BIG_SIZE_0, msgrcv(id, &m, 0, 0, NOWAIT));
	works(MSGRCV_OK_E2BIG_LEAVES, count(id) == 4 && stat_of(id).msg_lrpid == 0);
	fails(MSGRCV_ENOMSG_TYPE, msgrcv(id, &m, 9, 2, NOWAIT));
	fails(MSGRCV_ENOMSG_TYPE, msgrcv(id, &m, 9, LONG_MAX, NOWAIT));
	works(MSGRCV_OK_TYPE, gives(id, 1, 0, 1, "ccc"));
	fails(MSGRCV_ENOMSG_NEGATIVE, msgrcv(id, &m, 9, -2, NOWAIT));
	works(MSGRCV_OK_TYPE, gives(id, 5, 0, 5, "a"));
	fails(MSGRCV_ENOMSG_EXCEPTED, msgrcv(id, &m, 9, 3, NOWAIT | MSG_EXCEPT));
	works(MSGRCV_OK_TYPE, gives(id, 3, 0, 3, "bb") && gives(id, 3, 0, 3, "dddd"));
	fails(MSGRCV_ENOMSG_EMPTY, msgrcv(id, &m, 9, 0, NOWAIT));
	rm(id);
}

static void receive_order(void)
{
	int id = filled_queue();

	works(MSGRCV_OK_NEGATIVE, gives(id, -4, 0, 1, "ccc") && gives(id, -4, 0, 3, "bb"));
	works(MSGRCV_OK_EXCEPTED, gives(id, 5, MSG_EXCEPT, 3, "dddd"));
	works(MSGRCV_OK_FIRST, gives(id, 0, 0, 5, "a"));
	rm(id);
	id = filled_queue();
	works(MSGRCV_OK_LONG_MIN, gives(id, LONG_MIN, 0, 1, "ccc"));
	works(MSGRCV_OK_EXCEPT_0, gives(id, 0, MSG_EXCEPT, 5, "a"));
	works(MSGRCV_OK_EXCEPT_NEGATIVE, gives(id, -3, MSG_EXCEPT, 3, "bb"));
	works(MSGRCV_OK_UNKNOWN_FLAG, gives(id, 0, 0x8000, 3, "dddd"));
	rm(id);
}

static void receive_sizes(void)
{
	int id = filled_queue();
	long before = time(NULL);
	struct msqid_ds ds;

	works(MSGRCV_OK_NOERROR, receive(id, 2, 1, NOWAIT | MSG_NOERROR) == 2 && !memcmp(m.text, "ccX", 3));
	works(MSGRCV_OK_NOERROR, count(id) == 3 && stat_of(id).__msg_cbytes == 7);
	works(MSGRCV_OK_NOERROR_0, receive(id, 0, 5, NOWAIT | MSG_NOERROR) == 0 && m.type == 5 && m.text[0] == 'X');
	works(MSGRCV_OK_LARGER, receive(id, sizeof m.text, 0, NOWAIT) == 2 && !memcmp(m.text, "bbX", 3));
	ds = stat_of(id);
	works(MSGRCV_OK_FIELDS, ds.msg_qnum == 1 && ds.__msg_cbytes == 4 && ds.msg_lrpid == getpid() &&
		ds.msg_rtime >= before);
	rm(id);
}

static void copies(int id)
{
	struct msqid_ds before = stat_of(id), after;

	works(MSGRCV_OK_COPY, gives(id, 0, MSG_COPY, 5, "a") && gives(id, 2, MSG_COPY, 1, "ccc"));
	works(MSGRCV_OK_COPY, gives(id, 3, MSG_COPY, 3, "dddd") && gives(id, 0, MSG_COPY, 5, "a"));
	fails(MSGRCV_ENOMSG_COPY_END, msgrcv(id, &m, 9, 4, NOWAIT | MSG_COPY));
	fails(MSGRCV_ENOMSG_COPY_NEGATIVE, msgrcv(id, &m, 9, -1, NOWAIT | MSG_COPY));
	fails(MSGRCV_E2BIG_COPY, msgrcv(id, &m, 2, 2, NOWAIT | MSG_COPY));
	fails(MSGRCV_EINVAL_COPY_TRUNCATED, msgrcv(id, &m, 2, 2, NOWAIT | MSG_COPY | MSG_NOERROR));
	fails(MSGRCV_EFAULT_COPY, msgrcv(id, NULL, 9, 2, NOWAIT | MSG_COPY));
	fails(MSGRCV_EFAULT_COPY, msgrcv(id, NULL, 9, 77, NOWAIT | MSG_COPY));
	after = stat_of(id);
	works(MSGRCV_OK_COPY_FIELDS, !memcmp(&before, &after, sizeof before));
}

static void receive_copy(void)
{
	static const int rows_with_copy[] = { MSGRCV_OK_COPY, MSGRCV_ENOMSG_COPY_END, MSGRCV_ENOMSG_COPY_NEGATIVE,
		MSGRCV_E2BIG_COPY, MSGRCV_EINVAL_COPY_TRUNCATED, MSGRCV_EFAULT_COPY, MSGRCV_OK_COPY_FIELDS };
	int id = filled_queue();

	fails(MSGRCV_EINVAL_COPY_WAIT, msgrcv(id, &m, 9, 0, MSG_COPY));
	fails(MSGRCV_EINVAL_COPY_EXCEPT, msgrcv(id, &m, 9, 0, NOWAIT | MSG_COPY | MSG_EXCEPT));
	if (msgrcv(id, &m, 9, 0, NOWAIT | MSG_COPY) == -1 && errno == ENOSYS) {
		fails(MSGRCV_ENOSYS_COPY, msgrcv(id, &m, 9, 0, NOWAIT | MSG_COPY));
		for (size_t i = 0; i < sizeof rows_with_copy / sizeof *rows_with_copy; i++)
			row_skip(rows_with_copy[i], "no MSG_COPY in this kernel");
	} else {
		row_skip(MSGRCV_ENOSYS_COPY, "MSG_COPY is there");
		copies(id);
	}
	rm(id);
}

static void receive_asleep(void)
{
	int id = new_queue();
	struct job j = { id, 3, 4, 0 };
	struct msqid_ds ds;
	pid_t pid;

	for (int i = 0; i < 2; i++)
		ends(MSGRCV_EINTR_SIGNAL + i, run_interrupted(run_receive, &j, flags_waiting[i]));
	pid = asleep(run_receive, &j);
	works(MSGRCV_OK_SLEEP_TYPE, send(id, 2, "two") == 0 && count(id) == 1);
	works(MSGRCV_OK_SLEEP_FIELDS, send(id, 3, "four") == 0);
	ds = stat_of(id);
	works(MSGRCV_OK_SLEEP_FIELDS, ds.msg_qnum == 1 && ds.__msg_cbytes == 3 && ds.msg_lrpid == pid);
	ends(MSGRCV_OK_SLEEP, proc_wait(pid));
	works(MSGRCV_OK_SLEEP_TYPE, count(id) == 1);
	pid = asleep(run_receive, &j);
	works(MSGCTL_OK_SET_ASLEEP, set_qbytes(id, 100) == 0 && wait_settled(pid));
	works(MSGRCV_OK_E2BIG_LEAVES, send(id, 3, "longer") == 0);
	ends(MSGRCV_E2BIG_ASLEEP, proc_wait(pid));
	works(MSGRCV_OK_E2BIG_LEAVES, count(id) == 2);
	works(MSGRCV_OK_SLEEP_TYPE, gives(id, 3, 0, 3, "longer"));
	pid = asleep(run_receive, &j);
	rm(id);
	ends(MSGRCV_EIDRM_ASLEEP, proc_wait(pid));
}

static int has_sys_resource(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		bail_out("capget");
	return data[0].effective >> CAP_SYS_RESOURCE & 1;
}

static void set_cases(void)
{
	int id = new_queue();
	unsigned long max = limits_of(IPC_INFO).msgmnb;
	struct msqid_ds ds = stat_of(id);

	fails(MSGCTL_EINVAL_COMMAND_FOREIGN, msgctl(id, SETVAL, &ds));
	works(MSGCTL_OK_QBYTES, set_qbytes(id, 77) == 0 && stat_of(id).msg_qbytes == 77);
	works(MSGCTL_OK_QBYTES, set_qbytes(id, max) == 0 && stat_of(id).msg_qbytes == max);
	if (!getenv("IPCD_NAMESPACE") && family_mapped("/proc/self/uid_map", UINT_MAX - 1))
		is(set_qbytes(id, max + 1) == 0, has_sys_resource(), "CAP_SYS_RESOURCE decides");
	if (set_qbytes(id, max + 1) == 0) {
		works(MSGCTL_OK_QBYTES_OVER, stat_of(id).msg_qbytes == max + 1);
		row_skip(MSGCTL_EPERM_QBYTES, "this user has the privilege");
	} else {
		fails(MSGCTL_EPERM_QBYTES, set_qbytes(id, max + 1));
		row_skip(MSGCTL_OK_QBYTES_OVER, "this user has no privilege");
	}
	rm(id);
}

static void info_cases(void)
{
	struct msginfo limits = limits_of(IPC_INFO), before = limits_of(MSG_INFO), after;
	int id = filled_queue();

	works(MSGCTL_OK_IPC_INFO, limits.msgmax > 0 && limits.msgmnb > 0 && limits.msgmni > 0 && limits.msgssz == 16);
	works(MSGCTL_OK_IPC_INFO, limits.msgmap == 16384 && limits.msgpool == 512000 && limits.msgtql == 16384 &&
		limits.msgseg == 0xffff);
	after = limits_of(MSG_INFO);
	works(MSGCTL_OK_MSG_INFO, after.msgmax == limits.msgmax && after.msgmni == limits.msgmni);
	works(MSGCTL_OK_MSG_INFO, after.msgpool - before.msgpool == 1 && after.msgmap - before.msgmap == 4 &&
		after.msgtql - before.msgtql == 10);
	rm(id);
	after = limits_of(MSG_INFO);
	works(MSGCTL_OK_RMID_MESSAGES, after.msgmap == before.msgmap && after.msgtql == before.msgtql);
}

static void index_cases(void)
{
	int id = filled_queue(), i = family_index(&family, id);
	struct msqid_ds by_id = stat_of(id), by_index, any;

	memset(&by_index, 0, sizeof by_index);
	memset(&any, 0, sizeof any);
	msgctl(i, MSG_STAT, &by_index);
	msgctl(i, MSG_STAT_ANY, &any);
	works(MSGCTL_OK_STAT_SIZE, by_id.msg_qnum == 4);
	works(MSGCTL_OK_STAT_SIZE, !memcmp(&by_id, &by_index, sizeof by_id) && !memcmp(&by_id, &any, sizeof by_id));
	rm(id);
}

int main(void)
{
	alarm(120);
	family_cases(&family);
	get_new();
	ids();
	send_refused();
	send_works();
	send_full();
	send_asleep();
	receive_faults();
	receive_refused();
	receive_order();
	receive_sizes();
	receive_copy();
	receive_asleep();
	set_cases();
	info_cases();
	index_cases();
	return family_done(&family);
}
