/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of semget, semop, semtimedop and semctl: each is produced here, and none may be left over. semtimedop with a
 * long timeout goes through all of semop's cases; its rows stand in the same order. What needs a change of uid is in
 * table_uid.c, what needs other limits in table_limit.c. Each case removes the sets that it makes.
 */
#include "table.h"
#define ROWS TABLE_SEM
#include "row_family.h"

#define SEMVMX 32767

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

static int get(key_t key, int flags)
{
	return semget(key, 3, flags);
}

static int ctl(int id, int cmd, void *buf)
{
	return semctl(id, 0, cmd, (union semun){ .buf = buf });
}

static int used(const union any_buf *info)
{
	return info->sem_info.semusz;
}

static long change_time(const union any_buf *ds)
{
	return ds->sem.sem_ctime;
}

static long other_times(const union any_buf *ds)
{
	return ds->sem.sem_otime;
}

static const struct family family = {
	get, ctl, SEM_INFO, SEM_STAT, SEM_STAT_ANY, used, change_time, other_times,
};

static int new_set(int nsems)
{
	int id = semget(IPC_PRIVATE, nsems, IPC_CREAT | 0600);

	if (id < 0)
		bail_out("semget");
	return id;
}

static void rm(int id)
{
	family_rm(&family, id);
}

static int val(int id, int num)
{
	return semctl(id, num, GETVAL);
}

static int set_val(int id, int num, int value)
{
	return semctl(id, num, SETVAL, (union semun){ .val = value });
}

static int last_pid(int id, int num)
{
	return semctl(id, num, GETPID);
}

static int all(int id, int cmd, void *array)
{
	return semctl(id, 0, cmd, (union semun){ .array = array });
}

/* Let the change time of a set lie in the past, so that a new one can be told from it. Returns it. */
static long age(int id)
{
	union any_buf b = family_stat(&family, id);

	wait_until(time(NULL) > b.sem.sem_ctime);
	return b.sem.sem_ctime;
}

/* One of the two calls, and how far its rows are from those of semop. */
struct op {
	int (*call)(int id, struct sembuf *ops, size_t n);
	int shift;
};

static int timed_call(int id, struct sembuf *ops, size_t n)
{
	return semtimedop(id, ops, n, &(struct timespec){ .tv_sec = 1000 });
}

static const struct op plain = { semop, 0 };
static const struct op timed = { timed_call, SEMTIMEDOP_EINVAL_NEGATIVE_ID - SEMOP_EINVAL_NEGATIVE_ID };

#define ROW(id) ((id) + o->shift)

/* One operation on one semaphore. */
static int op1(const struct op *o, int id, int num, int by, int flags)
{
	struct sembuf b = { num, by, flags };

	return o->call(id, &b, 1);
}

/* What a child is to do; it ends with the outcome. */
struct job {
	const struct op *o;
	int id, num, by, flags;
};

static int run_op(void *arg)
{
	struct job *j = arg;

	return outcome(op1(j->o, j->id, j->num, j->by, j->flags));
}

/* A child that performs the job's operation and ends with an exit status of 0: its undo entries have been applied. */
static int done_in_child(struct job j)
{
	return proc_wait(proc_run(run_op, &j)) == 0;
}

/* A child asleep in the job's operation, seen by the counts. */
static pid_t sleeper(struct job *j)
{
	int cmd = j->by ? GETNCNT : GETZCNT, before = semctl(j->id, j->num, cmd);
	pid_t pid = proc_run(run_op, j);

	if (!wait_until(semctl(j->id, j->num, cmd) == before + 1))
		diag("the child does not sleep");
	return pid;
}

static void op_ids(const struct op *o)
{
	int removed = new_set(1), id;
	struct sembuf b = { 0, 1, 0 };

	rm(removed);
	id = new_set(1);
	set_bad_ids(removed, id);
	bad_ids(ROW(SEMOP_EINVAL_NEGATIVE_ID), bad, o->call(bad, &b, 1));
	b.sem_flg = SEM_UNDO;
	bad_ids(ROW(SEMOP_EINVAL_NEGATIVE_ID), bad, o->call(bad, &b, 1));
	rm(id);
}

static void op_arguments(const struct op *o)
{
	int id = new_set(2);
	struct seminfo limits;
	struct sembuf b[2] = { { 0, 1, 0 }, { 1, 1, 0 } }, *end = near_end(sizeof *end);
	size_t many;

	semctl(0, 0, IPC_INFO, (union semun){ .info = &limits });
	many = limits.semopm + 1;
	faults(ROW(SEMOP_EFAULT_NULL), POINTERS_IN, p, o->call(id, p, 1));
	fails(ROW(SEMOP_EINVAL_NSOPS_0), o->call(id, b, 0));
	fails(ROW(SEMOP_EINVAL_NSOPS_BEFORE_POINTER), o->call(id, NULL, 0));
	fails(ROW(SEMOP_E2BIG_BEFORE_POINTER), o->call(id, NULL, many));
	fails(ROW(SEMOP_EFAULT_BEFORE_ID), o->call(INT_MAX, NULL, 1));
	*end = b[0];
	fails_there(ROW(SEMOP_EFAULT_ARRAY_END), o->call(id, end, 2));
	b[1].sem_num = 2;
	fails(ROW(SEMOP_EFBIG_SEM_NUM), o->call(id, &b[1], 1));
	fails(ROW(SEMOP_EFBIG_SECOND), o->call(id, b, 2));
	b[1].sem_num = 65535;
	fails(ROW(SEMOP_EFBIG_SEM_NUM_MAX), o->call(id, &b[1], 1));
	b[0].sem_op = -1;
	b[0].sem_flg = IPC_NOWAIT;
	fails(ROW(SEMOP_EFBIG_BEFORE_EAGAIN), o->call(id, b, 2));
	works(ROW(SEMOP_OK_ATOMIC), val(id, 0) == 0 && val(id, 1) == 0);
	rm(id);
}

static void op_many(const struct op *o)
{
	int id = new_set(1);
	struct seminfo limits;
	struct sembuf *b;

	semctl(0, 0, IPC_INFO, (union semun){ .info = &limits });
	b = calloc(limits.semopm + 1, sizeof *b);
	for (int i = 0; i <= limits.semopm; i++)
		b[i].sem_op = i % 3 ? 1 : 2;
	fails(ROW(SEMOP_E2BIG_NSOPS), o->call(id, b, limits.semopm + 1));
	works(ROW(SEMOP_OK_SEMOPM), o->call(id, b, limits.semopm) == 0);
	works(ROW(SEMOP_OK_SEMOPM), val(id, 0) == limits.semopm + (limits.semopm + 2) / 3);
	free(b);
	rm(id);
}

static void op_values(const struct op *o)
{
	int id = new_set(3);
	struct sembuf b[3] = { { 0, 5, 0 }, { 1, -1, IPC_NOWAIT }, { 2, 1, 0 } };
	struct sembuf same[3] = { { 0, -5, 0 }, { 0, 0, IPC_NOWAIT }, { 0, 2, 0 } };

	works(ROW(SEMOP_OK_INCREASE), op1(o, id, 0, 3, 0) == 0 && val(id, 0) == 3);
	works(ROW(SEMOP_OK_DECREASE), op1(o, id, 0, -3, 0) == 0 && val(id, 0) == 0);
	works(ROW(SEMOP_OK_ZERO), op1(o, id, 0, 0, 0) == 0 && op1(o, id, 0, 0, IPC_NOWAIT) == 0);
	fails(ROW(SEMOP_EAGAIN_DECREASE), op1(o, id, 0, -1, IPC_NOWAIT));
	fails(ROW(SEMOP_EAGAIN_SECOND), o->call(id, b, 3));
	works(ROW(SEMOP_OK_ATOMIC), val(id, 0) == 0 && val(id, 1) == 0 && val(id, 2) == 0);
	set_val(id, 1, 1);
	works(ROW(SEMOP_OK_ARRAY), o->call(id, b, 3) == 0 && val(id, 0) == 5 && val(id, 1) == 0 && val(id, 2) == 1);
	fails(ROW(SEMOP_EAGAIN_ZERO), op1(o, id, 0, 0, IPC_NOWAIT));
	works(ROW(SEMOP_OK_SAME_TWICE), o->call(id, same, 3) == 0 && val(id, 0) == 2);
	works(ROW(SEMOP_OK_UNKNOWN_FLAG), op1(o, id, 0, 1, 0x4000) == 0 && val(id, 0) == 3);
	rm(id);
}

static void op_range(const struct op *o)
{
	int id = new_set(2);
	struct sembuf b[2] = { { 0, SEMVMX, 0 }, { 0, 1, 0 } };

	fails(ROW(SEMOP_ERANGE_ARRAY), o->call(id, b, 2));
	works(ROW(SEMOP_OK_INCREASE), op1(o, id, 0, SEMVMX, 0) == 0 && val(id, 0) == SEMVMX);
	fails(ROW(SEMOP_ERANGE_OVER), op1(o, id, 0, 1, 0));
	works(ROW(SEMOP_OK_ATOMIC), val(id, 0) == SEMVMX);
	works(ROW(SEMOP_OK_DECREASE), op1(o, id, 0, -SEMVMX, SEM_UNDO) == 0 && op1(o, id, 0, 1, 0) == 0);
	fails(ROW(SEMOP_ERANGE_UNDO), op1(o, id, 0, -1, SEM_UNDO));
	works(ROW(SEMOP_OK_ATOMIC), val(id, 0) == 1);
	rm(id);
}

static void op_fields(const struct op *o)
{
	int id = new_set(2);
	long before = time(NULL);
	union any_buf b;

	works(ROW(SEMOP_OK_PID), last_pid(id, 0) == 0 && op1(o, id, 0, 1, 0) == 0 && last_pid(id, 0) == getpid());
	works(ROW(SEMOP_OK_ZERO_PID), last_pid(id, 1) == 0 && op1(o, id, 1, 0, 0) == 0 && last_pid(id, 1) == getpid());
	b = family_stat(&family, id);
	works(ROW(SEMOP_OK_OTIME), b.sem.sem_otime >= before && b.sem.sem_otime <= time(NULL));
	rm(id);
}

static void op_undo(const struct op *o)
{
	int id = new_set(1);

	set_val(id, 0, 5);
	works(ROW(SEMOP_OK_NO_UNDO), done_in_child((struct job){ o, id, 0, -1, 0 }) && val(id, 0) == 4);
	works(ROW(SEMOP_OK_UNDO), done_in_child((struct job){ o, id, 0, -3, SEM_UNDO }) && val(id, 0) == 4);
	works(ROW(SEMOP_OK_UNDO_ADD), done_in_child((struct job){ o, id, 0, 2, SEM_UNDO }) && val(id, 0) == 4);
	rm(id);
}

static int add_undo_then_wait(void *arg)
{
	struct job *j = arg;

	if (op1(j->o, j->id, 0, 3, SEM_UNDO))
		return errno;
	return outcome(op1(j->o, j->id, 1, -1, 0));
}

static void op_undo_to_zero(const struct op *o)
{
	int id = new_set(2);
	struct job j = { o, id, 1, 0, 0 };
	pid_t pid = proc_run(add_undo_then_wait, &j);

	wait_until(semctl(id, 1, GETNCNT) == 1);
	op1(o, id, 0, -2, 0);
	op1(o, id, 1, 1, 0);
	ends(ROW(SEMOP_OK_UNDO_ADD), proc_wait(pid));
	works(ROW(SEMOP_OK_UNDO_ADD), val(id, 0) == 0);
	rm(id);
}

static void op_sleep(const struct op *o)
{
	int id = new_set(1), now, pid_now;
	struct job down = { o, id, 0, -2, 0 }, zero = { o, id, 0, 0, 0 };
	pid_t pid = sleeper(&down);

	op1(o, id, 0, 1, 0);
	works(ROW(SEMOP_OK_SLEEP), val(id, 0) == 1 && semctl(id, 0, GETNCNT) == 1);
	op1(o, id, 0, 1, 0);
	now = val(id, 0);
	pid_now = last_pid(id, 0);
	works(ROW(SEMOP_OK_SLEEP_GIVEN), now == 0 && pid_now == pid && semctl(id, 0, GETNCNT) == 0);
	ends(ROW(SEMOP_OK_SLEEP), proc_wait(pid));
	set_val(id, 0, 1);
	pid = sleeper(&zero);
	op1(o, id, 0, -1, 0);
	ends(ROW(SEMOP_OK_SLEEP_ZERO), proc_wait(pid));
	works(ROW(SEMOP_OK_SLEEP_ZERO), semctl(id, 0, GETZCNT) == 0);
	rm(id);
}

static void op_ended(const struct op *o)
{
	int id = new_set(2);
	struct job down = { o, id, 0, -1, SEM_UNDO }, zero = { o, id, 1, 0, 0 };
	pid_t a, b;

	set_val(id, 1, 1);
	ends(ROW(SEMOP_EINTR_SIGNAL), run_interrupted(run_op, &down, 0));
	ends(ROW(SEMOP_EINTR_RESTART), run_interrupted(run_op, &down, SA_RESTART));
	ends(ROW(SEMOP_EINTR_ZERO), run_interrupted(run_op, &zero, SA_RESTART));
	is(semctl(id, 0, GETNCNT) + semctl(id, 1, GETZCNT), 0, "an interrupted sleeper is not counted");
	a = sleeper(&down);
	b = sleeper(&zero);
	rm(id);
	ends(ROW(SEMOP_EIDRM_ASLEEP), proc_wait(a));
	ends(ROW(SEMOP_EIDRM_ZERO), proc_wait(b));
}

static void op_cases(const struct op *o)
{
	op_ids(o);
	op_arguments(o);
	op_many(o);
	op_values(o);
	op_range(o);
	op_fields(o);
	op_undo(o);
	op_undo_to_zero(o);
	op_sleep(o);
	op_ended(o);
}

/* The timeout's pointers and values; b waits, up asks for what can be done at once. */
static void timeouts_refused(void)
{
	int id = new_set(1);
	struct sembuf b = { 0, -1, 0 }, up = { 0, 1, 0 };
	struct timespec t[4] = { { -1, 0 }, { 0, -1 }, { 0, 1000000000 }, { 0, 0 } };

	fails(SEMTIMEDOP_EFAULT_TIMEOUT_8, semtimedop(id, &up, 1, (void *)8));
	fails(SEMTIMEDOP_EFAULT_TIMEOUT_KERNEL, semtimedop(id, &up, 1, bad_pointer(1)));
	fails_there(SEMTIMEDOP_EFAULT_TIMEOUT_NO_ACCESS, semtimedop(id, &up, 1, bad_pointer(2)));
	fails(SEMTIMEDOP_EFAULT_TIMEOUT_BEFORE_NSOPS, semtimedop(id, &up, 0, bad_pointer(1)));
	fails(SEMTIMEDOP_EFAULT_SOPS_BEFORE_TIMEOUT, semtimedop(id, NULL, 1, &t[0]));
	fails(SEMTIMEDOP_EINVAL_TIMEOUT_SEC, semtimedop(id, &b, 1, &t[0]));
	fails(SEMTIMEDOP_EINVAL_TIMEOUT_NSEC, semtimedop(id, &b, 1, &t[1]));
	fails(SEMTIMEDOP_EINVAL_TIMEOUT_NSEC_BIG, semtimedop(id, &b, 1, &t[2]));
	for (int i = 0; i < 3; i++)
		fails(SEMTIMEDOP_EINVAL_TIMEOUT_POSSIBLE, semtimedop(id, &up, 1, &t[i]));
	works(SEMTIMEDOP_OK_TIMEOUT_UNUSED, val(id, 0) == 0 && semtimedop(id, &up, 1, &t[3]) == 0 && val(id, 0) == 1);
	rm(id);
}

static void timeouts(void)
{
	int id = new_set(2);
	struct sembuf b = { 0, -1, 0 }, zero = { 1, 0, 0 }, up = { 0, 1, 0 };
	struct timespec none = { 0, 0 }, some = { 0, 20000000 }, most = { LONG_MAX, 999999999 };
	double before;

	set_val(id, 1, 1);
	fails(SEMTIMEDOP_EAGAIN_TIMEOUT_0, semtimedop(id, &b, 1, &none));
	before = proc_now();
	fails(SEMTIMEDOP_EAGAIN_TIMEOUT, semtimedop(id, &b, 1, &some));
	ok(proc_now() - before >= 0.02, "a timeout does not end early");
	fails(SEMTIMEDOP_EAGAIN_TIMEOUT_ZERO, semtimedop(id, &zero, 1, &some));
	is(semctl(id, 0, GETNCNT) + semctl(id, 1, GETZCNT), 0, "a sleeper that timed out is not counted");
	works(SEMTIMEDOP_OK_TIMEOUT_NULL, semtimedop(id, &up, 1, NULL) == 0 && val(id, 0) == 1);
	works(SEMTIMEDOP_OK_TIMEOUT_MAX, semtimedop(id, &b, 1, &most) == 0 && val(id, 0) == 0);
	rm(id);
}

static int wait_longest(void *arg)
{
	struct sembuf b = { 0, -1, 0 };

	return outcome(semtimedop(*(int *)arg, &b, 1, &(struct timespec){ LONG_MAX, 999999999 }));
}

static void longest_timeout(void)
{
	int id = new_set(1);
	pid_t pid = proc_run(wait_longest, &id);

	wait_until(semctl(id, 0, GETNCNT) == 1);
	set_val(id, 0, 1);
	ends(SEMTIMEDOP_OK_TIMEOUT_MAX, proc_wait(pid));
	rm(id);
}

static void get_sizes(void)
{
	key_t key = family_key(4);
	struct seminfo limits;
	int id;

	semctl(0, 0, IPC_INFO, (union semun){ .info = &limits });
	fails(SEMGET_EINVAL_NSEMS_NEGATIVE, semget(IPC_PRIVATE, -1, IPC_CREAT | 0600));
	fails(SEMGET_EINVAL_NSEMS_0, semget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
	fails(SEMGET_EINVAL_OVER_SEMMSL, semget(IPC_PRIVATE, limits.semmsl + 1, IPC_CREAT | 0600));
	fails(SEMGET_EINVAL_NEGATIVE_BEFORE_ENOENT, semget(key, -1, 0600));
	fails(SEMGET_ENOENT_BEFORE_NSEMS_0, semget(key, 0, 0600));
	id = semget(key, 3, IPC_CREAT | 0600);
	fails(SEMGET_EINVAL_OVER_EXISTING, semget(key, 4, 0600));
	fails(SEMGET_EINVAL_OVER_EXISTING, semget(key, 4, IPC_CREAT | 0600));
	fails(SEMGET_EEXIST_BEFORE_NSEMS, semget(key, 4, IPC_CREAT | IPC_EXCL | 0600));
	fails(SEMGET_EINVAL_OVER_BEFORE_EEXIST, semget(key, limits.semmsl + 1, IPC_CREAT | IPC_EXCL | 0600));
	works(SEMGET_OK_NSEMS_0, semget(key, 0, 0600) == id);
	works(SEMGET_OK_FEWER, semget(key, 2, IPC_CREAT | 0600) == id);
	works(SEMGET_OK_NSEMS, family_stat(&family, id).sem.sem_nsems == 3);
	rm(id);
}

static void get_new(void)
{
	int id = new_set(300), sum = 0;

	for (int i = 0; i < 300; i++)
		sum |= val(id, i) | last_pid(id, i) | semctl(id, i, GETNCNT) | semctl(id, i, GETZCNT);
	works(SEMGET_OK_ZEROS, sum == 0);
	rm(id);
}

static void ctl_ids(void)
{
	int removed = new_set(1), id;
	unsigned short array[1] = { 0 };

	rm(removed);
	id = new_set(1);
	set_bad_ids(removed, id);
	bad_ids(SEMCTL_EINVAL_GETALL_NEGATIVE_ID, bad, all(bad, GETALL, array));
	bad_ids(SEMCTL_EINVAL_SETALL_NEGATIVE_ID, bad, all(bad, SETALL, array));
	bad_ids(SEMCTL_EINVAL_GETVAL_NEGATIVE_ID, bad, val(bad, 0));
	bad_ids(SEMCTL_EINVAL_SETVAL_NEGATIVE_ID, bad, set_val(bad, 0, 1));
	bad_ids(SEMCTL_EINVAL_GETPID_NEGATIVE_ID, bad, semctl(bad, 0, GETPID));
	bad_ids(SEMCTL_EINVAL_GETNCNT_NEGATIVE_ID, bad, semctl(bad, 0, GETNCNT));
	bad_ids(SEMCTL_EINVAL_GETZCNT_NEGATIVE_ID, bad, semctl(bad, 0, GETZCNT));
	fails(SEMCTL_EINVAL_GETALL_ID_BEFORE_POINTER, all(INT_MAX, GETALL, NULL));
	fails(SEMCTL_ERANGE_SETVAL_BEFORE_ID, set_val(INT_MAX, 0, SEMVMX + 1));
	rm(id);
}

static void ctl_numbers(void)
{
	int id = new_set(2);

	fails(SEMCTL_EINVAL_GETVAL_NUM_NEGATIVE, val(id, -1));
	fails(SEMCTL_EINVAL_GETVAL_NUM_SIZE, val(id, 2));
	fails(SEMCTL_EINVAL_SETVAL_NUM_NEGATIVE, set_val(id, -1, 0));
	fails(SEMCTL_EINVAL_SETVAL_NUM_SIZE, set_val(id, 2, 0));
	fails(SEMCTL_EINVAL_GETPID_NUM_NEGATIVE, semctl(id, -1, GETPID));
	fails(SEMCTL_EINVAL_GETPID_NUM_SIZE, semctl(id, 2, GETPID));
	fails(SEMCTL_EINVAL_GETNCNT_NUM_NEGATIVE, semctl(id, -1, GETNCNT));
	fails(SEMCTL_EINVAL_GETNCNT_NUM_SIZE, semctl(id, 2, GETNCNT));
	fails(SEMCTL_EINVAL_GETZCNT_NUM_NEGATIVE, semctl(id, -1, GETZCNT));
	fails(SEMCTL_EINVAL_GETZCNT_NUM_SIZE, semctl(id, 2, GETZCNT));
	faults(SEMCTL_EFAULT_GETALL_NULL, POINTERS_OUT, p, all(id, GETALL, p));
	faults(SEMCTL_EFAULT_SETALL_NULL, POINTERS_IN, p, all(id, SETALL, p));
	rm(id);
}

static void ctl_values(void)
{
	int id = new_set(2);
	unsigned short v[2] = { 7, SEMVMX }, got[2] = { 0, 0 }, bad[2] = { 1, SEMVMX + 1 };
	long old;

	works(SEMCTL_OK_GETPID, last_pid(id, 0) == 0);
	works(SEMCTL_OK_SETVAL, set_val(id, 0, SEMVMX) == 0 && val(id, 0) == SEMVMX && set_val(id, 0, 0) == 0);
	works(SEMCTL_OK_GETVAL, val(id, 0) == 0 && set_val(id, 0, 9) == 0 && val(id, 0) == 9 && val(id, 1) == 0);
	works(SEMCTL_OK_SETVAL_PID, last_pid(id, 0) == getpid() && last_pid(id, 1) == 0);
	works(SEMCTL_OK_SETALL, all(id, SETALL, v) == 0 && val(id, 0) == 7 && val(id, 1) == SEMVMX);
	works(SEMCTL_OK_SETALL_PID, last_pid(id, 1) == getpid());
	works(SEMCTL_OK_GETALL, all(id, GETALL, got) == 0 && got[0] == 7 && got[1] == SEMVMX);
	works(SEMCTL_OK_ALL_NUM, semctl(id, 77, GETALL, (union semun){ .array = got }) == 0 &&
		semctl(id, -5, SETALL, (union semun){ .array = v }) == 0);
	fails(SEMCTL_ERANGE_SETVAL_NEGATIVE, set_val(id, 0, -1));
	fails(SEMCTL_ERANGE_SETVAL_OVER, set_val(id, 0, SEMVMX + 1));
	fails(SEMCTL_ERANGE_SETALL_OVER, all(id, SETALL, bad));
	works(SEMCTL_OK_SETALL_NOTHING, val(id, 0) == 7 && val(id, 1) == SEMVMX);
	old = age(id);
	set_val(id, 0, 1);
	works(SEMCTL_OK_SETVAL_CTIME, family_stat(&family, id).sem.sem_ctime > old);
	old = age(id);
	all(id, SETALL, v);
	works(SEMCTL_OK_SETVAL_CTIME, family_stat(&family, id).sem.sem_ctime > old);
	rm(id);
}

/* Holds undo entries of -1 for semaphores 0 and 1 while it waits for semaphore 2. */
static int hold_undo(void *arg)
{
	struct sembuf take[2] = { { 0, -1, SEM_UNDO }, { 1, -1, SEM_UNDO } }, wait = { 2, -1, 0 };
	int id = *(int *)arg;

	if (semop(id, take, 2))
		return errno;
	return outcome(semop(id, &wait, 1));
}

static void ctl_clears_undo(int all_of_them)
{
	int id = new_set(3), first;
	unsigned short v[3] = { 10, 20, 0 };
	pid_t pid;

	all(id, SETALL, v);
	pid = proc_run(hold_undo, &id);
	wait_until(semctl(id, 2, GETNCNT) == 1);
	if (all_of_them)
		all(id, SETALL, v);
	else
		set_val(id, 0, 10);
	set_val(id, 2, 1);
	is(proc_wait(pid), 0, "the holder of undo entries ends");
	first = val(id, 0);
	if (all_of_them) {
		works(SEMCTL_OK_SETALL_UNDO, first == 10 && val(id, 1) == 20);
	} else {
		works(SEMCTL_OK_SETVAL_UNDO, first == 10);
		works(SEMCTL_OK_SETVAL_UNDO_OTHER, val(id, 1) == 20 && last_pid(id, 1) == pid);
	}
	rm(id);
}

static void ctl_wakes(void)
{
	int id = new_set(2);
	struct job down = { &plain, id, 0, -1, 0 }, zero = { &plain, id, 1, 0, 0 };
	unsigned short v[2] = { 1, 0 };
	pid_t a, b;

	set_val(id, 1, 1);
	a = sleeper(&down);
	works(SEMCTL_OK_GETNCNT, semctl(id, 0, GETNCNT) == 1 && semctl(id, 0, GETZCNT) == 0);
	b = sleeper(&zero);
	works(SEMCTL_OK_GETZCNT, semctl(id, 1, GETZCNT) == 1 && semctl(id, 1, GETNCNT) == 0);
	all(id, SETALL, v);
	works(SEMCTL_OK_SETALL_WAKES, val(id, 0) == 0);
	ends(SEMCTL_OK_SETALL_WAKES, proc_wait(a));
	ends(SEMCTL_OK_SETALL_WAKES, proc_wait(b));
	a = sleeper(&down);
	set_val(id, 0, 5);
	works(SEMCTL_OK_SETVAL_WAKES, val(id, 0) == 4);
	works(SEMCTL_OK_GETPID, last_pid(id, 0) == a);
	ends(SEMCTL_OK_SETVAL_WAKES, proc_wait(a));
	rm(id);
}

static int undo_after_removal(void *arg)
{
	struct sembuf b = { 0, 1, SEM_UNDO };
	int *id = arg;

	if (semop(id[0], &b, 1) || semctl(id[0], 0, IPC_RMID))
		return errno;
	b.sem_flg = 0;
	return outcome(semop(id[1], &b, 1));
}

static void ctl_rmid_undo(void)
{
	int id[2] = { new_set(1), new_set(1) };

	ends(SEMCTL_OK_RMID_UNDO, proc_wait(proc_run(undo_after_removal, id)));
	works(SEMCTL_OK_RMID_UNDO, val(id[1], 0) == 1);
	rm(id[1]);
}

static void info_cases(void)
{
	struct seminfo limits, before, after;
	int id;

	semctl(0, 0, IPC_INFO, (union semun){ .info = &limits });
	works(SEMCTL_OK_IPC_INFO, limits.semmsl > 0 && limits.semmns > 0 && limits.semopm > 0 && limits.semmni > 0);
	works(SEMCTL_OK_IPC_INFO, limits.semvmx == SEMVMX && limits.semaem == SEMVMX && limits.semusz == 20);
	works(SEMCTL_OK_IPC_INFO, limits.semmap == limits.semmns && limits.semmnu == limits.semmns &&
		limits.semume == limits.semopm);
	semctl(0, 0, SEM_INFO, (union semun){ .info = &before });
	id = new_set(17);
	semctl(0, 0, SEM_INFO, (union semun){ .info = &after });
	works(SEMCTL_OK_SEM_INFO, after.semusz - before.semusz == 1 && after.semaem - before.semaem == 17);
	works(SEMCTL_OK_SEM_INFO, after.semmsl == limits.semmsl && after.semmni == limits.semmni);
	rm(id);
}

static void index_cases(void)
{
	int id = new_set(5), i = family_index(&family, id);
	struct semid_ds by_id, by_index, any;

	op1(&plain, id, 0, 1, 0);
	memset(&by_id, 0, sizeof by_id);
	memset(&by_index, 0, sizeof by_index);
	memset(&any, 0, sizeof any);
	ctl(id, IPC_STAT, &by_id);
	ctl(i, SEM_STAT, &by_index);
	ctl(i, SEM_STAT_ANY, &any);
	works(SEMCTL_OK_IPC_STAT_NSEMS, by_id.sem_nsems == 5 && by_id.sem_otime >= by_id.sem_ctime && by_id.sem_ctime > 0);
	works(SEMCTL_OK_STAT_SIZE, !memcmp(&by_id, &by_index, sizeof by_id) && !memcmp(&by_id, &any, sizeof by_id));
	rm(id);
}

int main(void)
{
	alarm(120);
	family_cases(&family);
	get_sizes();
	get_new();
	op_cases(&plain);
	op_cases(&timed);
	timeouts_refused();
	timeouts();
	longest_timeout();
	ctl_ids();
	ctl_numbers();
	ctl_values();
	ctl_clears_undo(0);
	ctl_clears_undo(1);
	ctl_wakes();
	ctl_rmid_undo();
	info_cases();
	index_cases();
	return family_done(&family);
}
