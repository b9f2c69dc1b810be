/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows that need a process which has changed its uid. In each scenario root makes the objects, a child uses them
 * while it is root, becomes NOBODY and goes on; it notes each outcome in shared memory, and the parent judges. In an
 * embedded namespace of ours such a process can do nothing that it has not mapped; those rows are skipped there.
 */
#include "table.h"
#define ROWS TABLE_UID
#include "row.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define PAGE 4096L
#define NOBODY 65534
#define GROUP 55555
#define SHIFT_GROUP (SHMGET_EACCES_GROUP - SHMGET_EACCES_OTHER)
#define SHIFT_OWNER (SHMGET_EACCES_OWNER - SHMGET_EACCES_OTHER)

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

struct message {
	long type;
	char text[16];
};

/* One object of each kind, with one key, and where the child has attached and found them. */
struct scenario {
	int (*fn)(struct scenario *s);
	int mode;
	uid_t uid;
	gid_t gid, egid, group;
	int shift;
	key_t key;
	int shm, sem, msg, shm_index, sem_index, msg_index;
	char *at;
};

enum { NOT_YET = -1, NOT_HERE = -2, WRONG = 999 };

static int *noted;

static void note(int row, int what)
{
	if (noted[row] == NOT_YET || what != rows[row].err)
		noted[row] = what;
}

/* probe(row, call): note its errno, or 0; probe_true(row, condition): note an effect */
#define probe(row, call) note(row, outcome(call))
#define probe_true(row, cond) note(row, (cond) ? 0 : WRONG)

static bool embedded(void)
{
	return getenv("IPCD_NAMESPACE") && !getenv("IPCD_SOCKET");
}

/* probe_entry(row, call): the call needs more than what the process has mapped */
#define probe_entry(row, call) note(row, embedded() ? NOT_HERE : outcome(call))

static void judge(void)
{
	for (int i = 0; i < ROW_COUNT; i++) {
		if (noted[i] == NOT_HERE)
			row_skip(i, "embedded: a process that changed its uid has what it mapped, and nothing else");
		else if (noted[i] != NOT_YET)
			ends(i, noted[i]);
		noted[i] = NOT_YET;
	}
}

static int stat_index(int (*stat)(int i), int id)
{
	for (int i = 0; i < 32768; i++)
		if (stat(i) == id)
			return i;
	return -1;
}

static int shm_stat_any(int i)
{
	struct shmid_ds ds;

	return shmctl(i, SHM_STAT_ANY, &ds);
}

static int sem_stat_any(int i)
{
	struct semid_ds ds;

	return semctl(i, 0, SEM_STAT_ANY, (union semun){ .buf = &ds });
}

static int msg_stat_any(int i)
{
	struct msqid_ds ds;

	return msgctl(i, MSG_STAT_ANY, &ds);
}

static int sem_set(int id, struct semid_ds *ds)
{
	return semctl(id, 0, IPC_SET, (union semun){ .buf = ds });
}

static int sem_stat(int id, struct semid_ds *ds)
{
	return semctl(id, 0, IPC_STAT, (union semun){ .buf = ds });
}

static int sem_all(int id, int cmd)
{
	unsigned short v[3] = { 1, 1, 0 };

	return semctl(id, 0, cmd, (union semun){ .array = v });
}

static int sem_op(int id, int num, int by)
{
	struct sembuf b = { num, by, IPC_NOWAIT };

	return semop(id, &b, 1);
}

static int send(int id)
{
	struct message m = { .type = 1 };

	return msgsnd(id, &m, 4, IPC_NOWAIT);
}

static int receive(int id)
{
	struct message m;

	return msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT);
}

/* Attach and detach at once: 0 or -1. */
static int attach(int id, int flags)
{
	void *p = shmat(id, NULL, flags);

	return p == (void *)-1 ? -1 : shmdt(p);
}

static void make_objects(struct scenario *s)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	s->key = 0x54000000 | getpid();
	s->shm = shmget(s->key, 64 * PAGE, IPC_CREAT | 0600);
	s->sem = semget(s->key, 3, IPC_CREAT | 0600);
	s->msg = msgget(s->key, IPC_CREAT | 0600);
	if (shmctl(s->shm, IPC_STAT, &shm) || sem_stat(s->sem, &sem) || msgctl(s->msg, IPC_STAT, &msg))
		bail_out("cannot make the objects");
	shm.shm_perm.mode = sem.sem_perm.mode = msg.msg_perm.mode = s->mode;
	shm.shm_perm.uid = sem.sem_perm.uid = msg.msg_perm.uid = s->uid;
	shm.shm_perm.gid = sem.sem_perm.gid = msg.msg_perm.gid = s->gid;
	if (shmctl(s->shm, IPC_SET, &shm) || sem_set(s->sem, &sem) || msgctl(s->msg, IPC_SET, &msg))
		bail_out("IPC_SET");
	s->shm_index = stat_index(shm_stat_any, s->shm);
	s->sem_index = stat_index(sem_stat_any, s->sem);
	s->msg_index = stat_index(msg_stat_any, s->msg);
}

static void remove_objects(struct scenario *s)
{
	shmctl(s->shm, IPC_RMID, NULL);
	semctl(s->sem, 0, IPC_RMID);
	msgctl(s->msg, IPC_RMID, NULL);
}

static int use_objects(struct scenario *s)
{
	s->at = shmat(s->shm, NULL, 0);
	if (s->at == (char *)-1 || sem_op(s->sem, 0, 5) || sem_op(s->sem, 1, 1))
		return -1;
	s->at[0] = 'r';
	return send(s->msg) || send(s->msg) || receive(s->msg) != 4;
}

static int become_nobody(gid_t egid, gid_t group)
{
	return setgroups(group ? 1 : 0, &group) || setresgid(egid, egid, egid) || setresuid(NOBODY, NOBODY, NOBODY);
}

static int run_scenario(void *arg)
{
	struct scenario *s = arg;

	alarm(60);
	if (use_objects(s))
		return 2;
	if (become_nobody(s->egid ? s->egid : NOBODY, s->group))
		return 3;
	return s->fn(s);
}

static void play(struct scenario s)
{
	make_objects(&s);
	is(proc_wait(proc_run(run_scenario, &s)), 0, "a child plays its part, mode %04o", s.mode);
	judge();
	remove_objects(&s);
}

#define ROW(id) ((id) + s->shift)

static void refused_shm(struct scenario *s)
{
	struct shmid_ds ds;

	probe(ROW(SHMGET_EACCES_OTHER), shmget(s->key, PAGE, 0600));
	probe(ROW(SHMGET_EACCES_OTHER), shmget(s->key, PAGE, IPC_CREAT | 0600));
	probe(ROW(SHMGET_OK_OTHER_FLAGS_0), shmget(s->key, PAGE, 0));
	probe(ROW(SHMAT_EACCES_OTHER_RDONLY), attach(s->shm, SHM_RDONLY));
	probe(ROW(SHMAT_EACCES_OTHER), attach(s->shm, 0));
	probe(ROW(SHMCTL_EACCES_OTHER_IPC_STAT), shmctl(s->shm, IPC_STAT, &ds));
	probe(ROW(SHMCTL_EACCES_OTHER_SHM_STAT), shmctl(s->shm_index, SHM_STAT, &ds));
}

static void refused_sem(struct scenario *s)
{
	struct semid_ds ds;

	probe(ROW(SEMGET_EACCES_OTHER), semget(s->key, 1, 0600));
	probe(ROW(SEMGET_OK_OTHER_FLAGS_0), semget(s->key, 1, 0));
	probe(ROW(SEMOP_EACCES_OTHER_ALTER), sem_op(s->sem, 0, 1));
	probe(ROW(SEMOP_EACCES_OTHER_ALTER), sem_op(s->sem, 0, -9));
	probe(ROW(SEMOP_EACCES_OTHER_ZERO), sem_op(s->sem, 2, 0));
	probe(ROW(SEMCTL_EACCES_OTHER_GETVAL), semctl(s->sem, 0, GETVAL));
	probe(ROW(SEMCTL_EACCES_OTHER_GETPID), semctl(s->sem, 0, GETPID));
	probe(ROW(SEMCTL_EACCES_OTHER_GETNCNT), semctl(s->sem, 0, GETNCNT));
	probe(ROW(SEMCTL_EACCES_OTHER_GETZCNT), semctl(s->sem, 0, GETZCNT));
	probe(ROW(SEMCTL_EACCES_OTHER_GETALL), sem_all(s->sem, GETALL));
	probe(ROW(SEMCTL_EACCES_OTHER_SETVAL), semctl(s->sem, 0, SETVAL, (union semun){ .val = 1 }));
	probe(ROW(SEMCTL_EACCES_OTHER_SETALL), sem_all(s->sem, SETALL));
	probe(ROW(SEMCTL_EACCES_OTHER_IPC_STAT), sem_stat(s->sem, &ds));
	probe(ROW(SEMCTL_EACCES_OTHER_SEM_STAT), semctl(s->sem_index, 0, SEM_STAT, (union semun){ .buf = &ds }));
}

static void refused_msg(struct scenario *s)
{
	struct msqid_ds ds;

	probe(ROW(MSGGET_EACCES_OTHER), msgget(s->key, 0600));
	probe(ROW(MSGGET_OK_OTHER_FLAGS_0), msgget(s->key, 0));
	probe(ROW(MSGSND_EACCES_OTHER), send(s->msg));
	probe(ROW(MSGRCV_EACCES_OTHER), receive(s->msg));
	probe(ROW(MSGCTL_EACCES_OTHER_IPC_STAT), msgctl(s->msg, IPC_STAT, &ds));
	probe(ROW(MSGCTL_EACCES_OTHER_MSG_STAT), msgctl(s->msg_index, MSG_STAT, &ds));
}

static int refused(struct scenario *s)
{
	refused_shm(s);
	refused_sem(s);
	refused_msg(s);
	return 0;
}

/* Mode 0600 and another user: what is looked at before permission, what after, and what needs none. */
static int refused_order(struct scenario *s)
{
	struct message m = { .type = 0 };
	struct shminfo shm;
	struct seminfo sem;
	struct msginfo msg;

	probe(SHMGET_EINVAL_BEFORE_EACCES, shmget(s->key, 65 * PAGE, 0600));
	probe(SHMCTL_EACCES_BEFORE_EFAULT, shmctl(s->shm, IPC_STAT, NULL));
	probe(SEMCTL_EACCES_BEFORE_EFAULT, sem_stat(s->sem, NULL));
	probe(MSGCTL_EACCES_BEFORE_EFAULT, msgctl(s->msg, IPC_STAT, NULL));
	probe(SEMOP_EFBIG_BEFORE_EACCES, sem_op(s->sem, 3, 1));
	probe(SEMCTL_EACCES_BEFORE_NUM, semctl(s->sem, 3, GETVAL));
	probe(SEMCTL_EINVAL_BEFORE_EACCES, semctl(s->sem, 3, SETVAL, (union semun){ .val = 1 }));
	probe(SEMCTL_ERANGE_BEFORE_EACCES, semctl(s->sem, 0, SETVAL, (union semun){ .val = 32768 }));
	probe(MSGSND_EINVAL_BEFORE_EACCES, msgsnd(s->msg, &m, 1, IPC_NOWAIT));
	probe_true(SHMCTL_OK_STAT_ANY, shm_stat_any(s->shm_index) == s->shm);
	probe_true(SEMCTL_OK_STAT_ANY, sem_stat_any(s->sem_index) == s->sem);
	probe_true(MSGCTL_OK_STAT_ANY, msg_stat_any(s->msg_index) == s->msg);
	probe(SHMCTL_OK_INFO, shmctl(0, IPC_INFO, (void *)&shm));
	probe(SEMCTL_OK_INFO, semctl(0, 0, IPC_INFO, (union semun){ .info = &sem }));
	probe(MSGCTL_OK_INFO, msgctl(0, IPC_INFO, (void *)&msg));
	probe_true(SHMAT_OK_KEPT, s->at[0] == 'r' && (s->at[1] = 'w') && shmdt(s->at) == 0);
	return 0;
}

static int may_read(struct scenario *s)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	probe(SHMGET_OK_READ_ASKED, shmget(s->key, PAGE, 0444));
	probe(SEMGET_OK_READ_ASKED, semget(s->key, 1, 0444));
	probe(MSGGET_OK_READ_ASKED, msgget(s->key, 0444));
	probe(SHMGET_EACCES_READ_MORE, shmget(s->key, PAGE, 0666));
	probe(SEMGET_EACCES_READ_MORE, semget(s->key, 1, 0666));
	probe(MSGGET_EACCES_READ_MORE, msgget(s->key, 0666));
	probe_entry(SHMAT_OK_READ_RDONLY, attach(s->shm, SHM_RDONLY));
	probe(SHMAT_EACCES_READ, attach(s->shm, 0));
	probe(SEMOP_EACCES_READ_ALTER, sem_op(s->sem, 0, 1));
	probe(SEMOP_OK_READ_ZERO, sem_op(s->sem, 2, 0));
	probe_true(SEMCTL_OK_READ_GETVAL, semctl(s->sem, 0, GETVAL) == 5);
	probe(SEMCTL_EACCES_READ_SETVAL, semctl(s->sem, 0, SETVAL, (union semun){ .val = 1 }));
	probe(MSGSND_EACCES_READ, send(s->msg));
	probe_true(MSGRCV_OK_READ, receive(s->msg) == 4);
	probe(SHMCTL_OK_READ_STAT, shmctl(s->shm, IPC_STAT, &shm));
	probe(SEMCTL_OK_READ_STAT, sem_stat(s->sem, &sem));
	probe(MSGCTL_OK_READ_STAT, msgctl(s->msg, IPC_STAT, &msg));
	return 0;
}

static int may_write(struct scenario *s)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	probe(SHMGET_OK_WRITE_ASKED, shmget(s->key, PAGE, 0222));
	probe(SEMGET_OK_WRITE_ASKED, semget(s->key, 1, 0222));
	probe(MSGGET_OK_WRITE_ASKED, msgget(s->key, 0222));
	probe(SHMGET_EACCES_WRITE_MORE, shmget(s->key, PAGE, 0666));
	probe(SEMGET_EACCES_WRITE_MORE, semget(s->key, 1, 0666));
	probe(MSGGET_EACCES_WRITE_MORE, msgget(s->key, 0666));
	probe(SHMAT_EACCES_WRITE_RDONLY, attach(s->shm, SHM_RDONLY));
	probe(SHMAT_EACCES_WRITE, attach(s->shm, 0));
	probe(SEMOP_OK_WRITE_ALTER, sem_op(s->sem, 0, 1));
	probe(SEMOP_EACCES_WRITE_ZERO, sem_op(s->sem, 2, 0));
	probe(SEMCTL_EACCES_WRITE_GETVAL, semctl(s->sem, 0, GETVAL));
	probe(SEMCTL_OK_WRITE_SETVAL, semctl(s->sem, 0, SETVAL, (union semun){ .val = 1 }));
	probe(MSGSND_OK_WRITE, send(s->msg));
	probe(MSGRCV_EACCES_WRITE, receive(s->msg));
	probe(SHMCTL_EACCES_WRITE_STAT, shmctl(s->shm, IPC_STAT, &shm));
	probe(SEMCTL_EACCES_WRITE_STAT, sem_stat(s->sem, &sem));
	probe(MSGCTL_EACCES_WRITE_STAT, msgctl(s->msg, IPC_STAT, &msg));
	return 0;
}

/* Mode 0666: everything but what only the owner and the creator may. */
static int may_all(struct scenario *s)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	probe(SHMCTL_OK_ALL_STAT, shmctl(s->shm, IPC_STAT, &shm));
	probe(SEMCTL_OK_ALL_STAT, sem_stat(s->sem, &sem));
	probe(MSGCTL_OK_ALL_STAT, msgctl(s->msg, IPC_STAT, &msg));
	probe_entry(SHMAT_OK_ALL, attach(s->shm, 0));
	probe_true(SEMOP_OK_ALL, sem_op(s->sem, 0, -5) == 0 && sem_op(s->sem, 0, 0) == 0);
	probe_true(SEMCTL_OK_ALL, sem_all(s->sem, SETALL) == 0 && sem_all(s->sem, GETALL) == 0);
	probe(MSGSND_OK_ALL, send(s->msg));
	probe_true(MSGRCV_OK_ALL, receive(s->msg) == 4);
	probe(SHMCTL_EPERM_IPC_SET, shmctl(s->shm, IPC_SET, &shm));
	probe(SEMCTL_EPERM_IPC_SET, sem_set(s->sem, &sem));
	probe(MSGCTL_EPERM_IPC_SET, msgctl(s->msg, IPC_SET, &msg));
	probe(SHMCTL_EPERM_IPC_RMID, shmctl(s->shm, IPC_RMID, NULL));
	probe(SEMCTL_EPERM_IPC_RMID, semctl(s->sem, 0, IPC_RMID));
	probe(MSGCTL_EPERM_IPC_RMID, msgctl(s->msg, IPC_RMID, NULL));
	probe(SHMCTL_EFAULT_BEFORE_EPERM, shmctl(s->shm, IPC_SET, NULL));
	probe(SEMCTL_EFAULT_BEFORE_EPERM, sem_set(s->sem, NULL));
	probe(MSGCTL_EFAULT_BEFORE_EPERM, msgctl(s->msg, IPC_SET, NULL));
	shm.shm_perm.uid = sem.sem_perm.uid = msg.msg_perm.uid = -1;
	probe(SHMCTL_EPERM_BEFORE_UID, shmctl(s->shm, IPC_SET, &shm));
	probe(SEMCTL_EPERM_BEFORE_UID, sem_set(s->sem, &sem));
	probe(MSGCTL_EPERM_BEFORE_UID, msgctl(s->msg, IPC_SET, &msg));
	probe(SHMCTL_EPERM_SHM_LOCK, shmctl(s->shm, SHM_LOCK, NULL));
	probe(SHMCTL_EPERM_SHM_UNLOCK, shmctl(s->shm, SHM_UNLOCK, NULL));
	return 0;
}

static int lock_within(int id, rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	limit.rlim_cur = bytes;
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		return -1;
	return shmctl(id, SHM_LOCK, NULL);
}

static int owner(struct scenario *s)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	probe(SHMCTL_OK_OWNER_STAT, shmctl(s->shm, IPC_STAT, &shm));
	probe(SEMCTL_OK_OWNER_STAT, sem_stat(s->sem, &sem));
	probe(MSGCTL_OK_OWNER_STAT, msgctl(s->msg, IPC_STAT, &msg));
	probe(SHMAT_EACCES_EXEC_MODE, attach(s->shm, SHM_EXEC));
	probe(SHMCTL_EPERM_LOCK_RLIMIT_0, lock_within(s->shm, 0));
	probe(SHMCTL_ENOMEM_LOCK_RLIMIT, lock_within(s->shm, PAGE));
	probe_entry(SHMCTL_OK_LOCK_OWNER, lock_within(s->shm, 64 * PAGE));
	probe_entry(SHMCTL_OK_LOCK_OWNER, shmctl(s->shm, SHM_UNLOCK, NULL));
	probe_entry(MSGCTL_OK_QBYTES, msgctl(s->msg, IPC_SET, &msg));
	msg.msg_qbytes++;
	probe(MSGCTL_EPERM_QBYTES, msgctl(s->msg, IPC_SET, &msg));
	msg.msg_qbytes--;
	shm.shm_perm.mode = 0700;
	probe_entry(SHMCTL_OK_OWNER_SET, shmctl(s->shm, IPC_SET, &shm));
	probe_entry(SEMCTL_OK_OWNER_SET, sem_set(s->sem, &sem));
	probe_entry(MSGCTL_OK_OWNER_SET, msgctl(s->msg, IPC_SET, &msg));
	probe_entry(SHMAT_OK_EXEC_MODE, attach(s->shm, SHM_EXEC));
	shmdt(s->at);
	probe_entry(SHMCTL_OK_OWNER_RMID, shmctl(s->shm, IPC_RMID, NULL));
	probe_entry(SEMCTL_OK_OWNER_RMID, semctl(s->sem, 0, IPC_RMID));
	probe_entry(MSGCTL_OK_OWNER_RMID, msgctl(s->msg, IPC_RMID, NULL));
	return 0;
}

/* NOBODY makes objects and gives them away; a creator keeps his rights. */
static int creator(struct scenario *s)
{
	int shm = shmget(IPC_PRIVATE, PAGE, 0600), sem = semget(IPC_PRIVATE, 1, 0600), msg = msgget(IPC_PRIVATE, 0600);
	struct shmid_ds shm_ds = { .shm_perm.mode = 0600 };
	struct semid_ds sem_ds = { .sem_perm.mode = 0600 };
	struct msqid_ds msg_ds = { .msg_perm.mode = 0600, .msg_qbytes = 1000 };

	(void)s;
	for (int twice = 0; twice < 2; twice++) {
		probe_entry(SHMCTL_OK_CREATOR_SET, shmctl(shm, IPC_SET, &shm_ds));
		probe_entry(SEMCTL_OK_CREATOR_SET, sem_set(sem, &sem_ds));
		probe_entry(MSGCTL_OK_CREATOR_SET, msgctl(msg, IPC_SET, &msg_ds));
	}
	probe_entry(SHMCTL_OK_CREATOR_STAT, shmctl(shm, IPC_STAT, &shm_ds));
	probe_entry(SEMCTL_OK_CREATOR_STAT, sem_stat(sem, &sem_ds));
	probe_entry(MSGCTL_OK_CREATOR_STAT, msgctl(msg, IPC_STAT, &msg_ds));
	if (!embedded() && (shm_ds.shm_perm.uid != 0 || sem_ds.sem_perm.uid != 0 || msg_ds.msg_perm.uid != 0))
		return 4;
	if (embedded())
		return 0;
	return shmctl(shm, IPC_RMID, NULL) || semctl(sem, 0, IPC_RMID) || msgctl(msg, IPC_RMID, NULL);
}

static int huge(struct scenario *s)
{
	(void)s;
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0, 0 });
	probe_entry(SHMGET_EPERM_HUGETLB, shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600 | SHM_HUGETLB));
	return 0;
}

static int as_group(struct scenario *s)
{
	probe(SEMOP_OK_GROUP, sem_op(s->sem, 0, 1));
	return 0;
}

static int as_group_list(struct scenario *s)
{
	probe(SEMOP_OK_GROUP_LIST, sem_op(s->sem, 0, 1));
	return 0;
}

static int use_and_become(int id, int undo)
{
	struct sembuf b = { 0, undo ? -2 : 1, undo ? SEM_UNDO : 0 };

	alarm(60);
	if (semop(id, &b, 1))
		return 2;
	return become_nobody(NOBODY, GROUP) ? 3 : 0;
}

static int as_creators_group(void *arg)
{
	int id = *(int *)arg, bad = use_and_become(id, 0);

	return bad ? bad : outcome(sem_op(id, 0, 1));
}

static void creators_group(void)
{
	struct semid_ds ds;
	int id;

	if (setegid(GROUP))
		bail_out("setegid");
	id = semget(IPC_PRIVATE, 1, 0660);
	if (setegid(0) || sem_stat(id, &ds))
		bail_out("IPC_STAT");
	ds.sem_perm.gid = 0;
	sem_set(id, &ds);
	ends(SEMOP_OK_CGID, proc_wait(proc_run(as_creators_group, &id)));
	semctl(id, 0, IPC_RMID);
}

static int undo_then_exit(void *arg)
{
	int id = *(int *)arg, bad = use_and_become(id, 1);

	return bad ? bad : semctl(id, 0, GETVAL) == 3 ? 0 : 4;
}

static void undo(void)
{
	int id = semget(IPC_PRIVATE, 1, 0666);

	semctl(id, 0, SETVAL, (union semun){ .val = 5 });
	ends(SEMOP_OK_UNDO, proc_wait(proc_run(undo_then_exit, &id)));
	works(SEMOP_OK_UNDO, semctl(id, 0, GETVAL) == 5);
	semctl(id, 0, IPC_RMID);
}

static int sleep_as_nobody(void *arg)
{
	struct message m;
	int id = *(int *)arg;

	alarm(60);
	if (send(id) || receive(id) != 4)
		return 102;
	if (become_nobody(NOBODY, 0))
		return 103;
	return outcome(msgrcv(id, &m, sizeof m.text, 0, 0));
}

static void shut_out_asleep(void)
{
	int id = msgget(IPC_PRIVATE, 0666);
	struct msqid_ds ds;
	pid_t pid = proc_run(sleep_as_nobody, &id);

	wait_settled(pid);
	msgctl(id, IPC_STAT, &ds);
	ds.msg_perm.mode = 0600;
	msgctl(id, IPC_SET, &ds);
	ends(MSGRCV_EACCES_ASLEEP, proc_wait(pid));
	msgctl(id, IPC_RMID, NULL);
}

static int can_become(void *arg)
{
	(void)arg;
	return become_nobody(NOBODY, GROUP);
}

int main(void)
{
	if (geteuid() != 0 || proc_wait(proc_run(can_become, NULL)) != 0)
		skip_all("only root can change its uid");
	alarm(120);
	noted = mmap(NULL, ROW_COUNT * sizeof *noted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < ROW_COUNT; i++)
		noted[i] = NOT_YET;
	play((struct scenario){ .fn = refused, .mode = 0600 });
	play((struct scenario){ .fn = refused, .mode = 0606, .gid = GROUP, .egid = GROUP, .shift = SHIFT_GROUP });
	play((struct scenario){ .fn = refused, .mode = 0066, .uid = NOBODY, .shift = SHIFT_OWNER });
	play((struct scenario){ .fn = refused_order, .mode = 0600 });
	play((struct scenario){ .fn = may_read, .mode = 0644 });
	play((struct scenario){ .fn = may_write, .mode = 0622 });
	play((struct scenario){ .fn = may_all, .mode = 0666 });
	play((struct scenario){ .fn = owner, .mode = 0600, .uid = NOBODY });
	play((struct scenario){ .fn = creator, .mode = 0600 });
	if (access("/sys/kernel/mm/hugepages", F_OK))
		row_skip(SHMGET_EPERM_HUGETLB, "the machine has no huge pages");
	else
		play((struct scenario){ .fn = huge, .mode = 0600 });
	play((struct scenario){ .fn = as_group, .mode = 0660, .gid = GROUP, .egid = GROUP });
	play((struct scenario){ .fn = as_group_list, .mode = 0660, .gid = GROUP, .group = GROUP });
	creators_group();
	undo();
	shut_out_asleep();
	return rows_done();
}
