/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several users at one object, and a process that becomes another user between its calls. Who may do what in general
 * is in perm_matrix.c; here it is about what a change of ids or of permission does to what has begun.
 */
#include <pthread.h>

#include "user.h"

/* ---- what users do ---- */

static long op(long id, long by)
{
	return sem_do((int)id, 0, (int)by, by > 0 ? 0 : IPC_NOWAIT);
}

static long op_undo(long id, long by)
{
	return sem_do((int)id, 0, (int)by, IPC_NOWAIT | SEM_UNDO);
}

static long op_wait(long id, long by)
{
	return sem_do((int)id, 0, (int)by, 0);
}

static long getval(long id, long num)
{
	return semctl((int)id, (int)num, GETVAL);
}

static long put(long id, long type)
{
	return msg_put((int)id, type, 4, 'p', IPC_NOWAIT);
}

static long put_wait(long id, long size)
{
	return msg_put((int)id, 1, (int)size, 'p', 0);
}

/* The type of the message. */
static long take_flags(long id, long type, int flags)
{
	long r = msg_take((int)id, type, flags);

	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

static long take(long id, long type)
{
	return take_flags(id, type, IPC_NOWAIT);
}

static long take_wait(long id, long type)
{
	return take_flags(id, type, 0);
}

static char *at; /* where a user has attached */

static long attach(long id, long flags)
{
	char *p = shmat((int)id, NULL, (int)flags);

	if (p == (char *)-1)
		return -1;
	at = p;
	return 0;
}

static long detach(long unused, long unused2)
{
	(void)unused, (void)unused2;
	return shmdt(at);
}

static long poke(long where, long c)
{
	at[where] = (char)c;
	return 0;
}

static long peek(long where, long unused)
{
	(void)unused;
	return at[where];
}

static long make_writable(long size, long unused)
{
	(void)unused;
	return mprotect(at, (size_t)size, PROT_READ | PROT_WRITE);
}

static long replace_writable(long id, long unused)
{
	(void)unused;
	return shmat((int)id, at, SHM_REMAP) == (void *)-1 ? -1 : 0;
}

static long make(long kind, long mode)
{
	return obj_get((enum kind)kind, IPC_PRIVATE, (int)mode);
}

static long find(long kind, long key)
{
	return obj_get((enum kind)kind, (key_t)key, 0600);
}

static long remove_it(long kind, long id)
{
	return obj_remove((enum kind)kind, (int)id);
}

static long stat_it(long kind, long id)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	if (kind == SHM)
		return shmctl((int)id, IPC_STAT, &shm);
	if (kind == SEM)
		return semctl((int)id, 0, IPC_STAT, (union semun){ .buf = &sem });
	return msgctl((int)id, IPC_STAT, &msg);
}

/* IPC_SET to this owner, whose group has the same number, and this mode. */
static int give(enum kind kind, int id, uid_t uid, unsigned mode)
{
	struct ipc_perm p = { .uid = uid, .gid = uid, .mode = mode };
	struct shmid_ds shm = { .shm_perm = p };
	struct semid_ds sem = { .sem_perm = p };
	struct msqid_ds msg = { .msg_perm = p, .msg_qbytes = 1000 };

	if (kind == SHM)
		return shmctl(id, IPC_SET, &shm);
	return kind == SEM ? semctl(id, 0, IPC_SET, (union semun){ .buf = &sem }) : msgctl(id, IPC_SET, &msg);
}

static struct gift {
	enum kind kind;
	int id;
	uid_t uid;
	unsigned mode;
} *gift;

static long give_it(long unused, long unused2)
{
	(void)unused, (void)unused2;
	return give(gift->kind, gift->id, gift->uid, gift->mode);
}

static long act_give(struct user *u, enum kind kind, int id, uid_t uid, unsigned mode)
{
	*gift = (struct gift){ kind, id, uid, mode };
	return act(u, give_it, 0, 0);
}

static long become_for_good(long uid, long unused)
{
	(void)unused;
	return become((uid_t)uid);
}

static long change_euid(long uid, long unused)
{
	(void)unused;
	return seteuid((uid_t)uid);
}

static long leave(long unused, long unused2)
{
	(void)unused, (void)unused2;
	exit(7);
}

static long pid_of(long unused, long unused2)
{
	(void)unused, (void)unused2;
	return getpid();
}

/* ---- one process that changes its ids ---- */

/* Root makes three objects of its own and uses them: the segment is attached, a semaphore is 5, a message is queued. */
struct three {
	int shm, sem, msg;
};

static struct three three_new(struct user *u)
{
	struct three t = { obj_keep(SHM, (int)act(u, make, SHM, 0600)), obj_keep(SEM, (int)act(u, make, SEM, 0600)),
			   obj_keep(MSG, (int)act(u, make, MSG, 0600)) };

	if (act(u, attach, t.shm, 0) || act(u, op, t.sem, 5) || act(u, put, t.msg, 1) || act(u, poke, 0, 'r'))
		bail_out("root cannot use what it made");
	return t;
}

static void test_setuid_to_owner(void)
{
	struct user u = user_new(0);
	struct three t = three_new(&u);

	ok(!give(SHM, t.shm, ANN, 0600) && !give(SEM, t.sem, ANN, 0600) && !give(MSG, t.msg, ANN, 0600),
	   "root gives three objects that it has in use to a user");
	is(act(&u, become_for_good, ANN, 0), 0, "and becomes that user");
	is(act(&u, op, t.sem, -2), 0, "who goes on with the set");
	is(sem_value(t.sem, 0), 3, "whose value is what both left");
	is(act(&u, put, t.msg, 2), 0, "who goes on sending");
	is(act(&u, take, t.msg, 1), 1, "and receives what was sent as root");
	is(act(&u, poke, 1, 'a'), 0, "who goes on writing to the segment");
	is(act(&u, peek, 0, 0), 'r', "where what was written as root still is");
	is(act(&u, attach, t.shm, 0), 0, "and attaches it again");
	is(shm_nattch(t.shm), 2, "which counts");
	is(act_give(&u, SEM, t.sem, ANN, 0640), 0, "the new owner changes the mode");
	is(sem_stat(t.sem).sem_perm.mode & 0777, 0640, "which root sees");
	is(act(&u, remove_it, MSG, t.msg), 0, "and removes the queue");
	user_kill(&u);
	is(shm_nattch(t.shm), 0, "killed, the process has nothing attached");
}

static void test_setuid_to_stranger(void)
{
	struct user u = user_new(0);
	struct three t = three_new(&u);
	long shm = act(&u, make, SHM, 0600);

	obj_keep(SHM, (int)shm);
	is(act(&u, become_for_good, STRANGER, 0), 0, "root with objects in use becomes a user who may nothing");
	is(act(&u, op, t.sem, 1), -EACCES, "refused: semop");
	is(act(&u, getval, t.sem, 0), -EACCES, "refused: GETVAL");
	is(act(&u, put, t.msg, 1), -EACCES, "refused: msgsnd");
	is(act(&u, take, t.msg, 0), -EACCES, "refused: msgrcv");
	is(act(&u, attach, t.shm, SHM_RDONLY), -EACCES, "refused: to attach once more");
	is(act(&u, attach, shm, SHM_RDONLY), -EACCES, "refused: to attach what it made as root and never attached");
	is(act_give(&u, SHM, t.shm, STRANGER, 0666), -EPERM, "refused: IPC_SET of what it made as root");
	is(act(&u, remove_it, SEM, t.sem), -EPERM, "refused: IPC_RMID of what it made as root");
	is(act(&u, stat_it, SHM, t.shm), -EACCES, "refused: IPC_STAT of what it has attached");
	is(sem_value(t.sem, 0), 5, "nothing of that has changed the set");
	is(msg_stat(t.msg).msg_qnum, 1, "nor the queue");
	is(act(&u, poke, 1, 's'), 0, "what is attached stays writable");
	is(act(&u, peek, 0, 0), 'r', "and readable");
	is(shm_nattch(t.shm), 1, "and attached");
	is(act(&u, detach, 0, 0), 0, "until it is detached");
	is(shm_nattch(t.shm), 0, "which counts");
	is(shm_stat(t.shm).shm_lpid, u.pid, "and names the process");
	user_kill(&u);
}

static void test_seteuid_and_back(void)
{
	struct user u = user_new(0);
	struct three t = three_new(&u);

	for (int i = 0; i < 3; i++) {
		is(act(&u, change_euid, STRANGER, 0), 0, "seteuid to another user, time %d", i);
		is(act(&u, op, t.sem, 1), -EACCES, "semop is refused");
		is(act(&u, put, t.msg, 1), -EACCES, "msgsnd is refused");
		is(act(&u, attach, t.shm, 0), -EACCES, "shmat is refused");
		is(act(&u, change_euid, 0, 0), 0, "seteuid back to root");
		is(act(&u, op, t.sem, 1), 0, "semop is done");
		is(act(&u, put, t.msg, 1), 0, "msgsnd is done");
		is(act(&u, attach, t.shm, 0), 0, "shmat is done");
	}
	is(sem_value(t.sem, 0), 8, "what was refused was not done");
	user_kill(&u);
}

/* An object belongs to who was effective when it was made. */
static void test_made_as(void)
{
	struct user u = user_new(0);
	int sem, msg;
	struct semid_ds ds;
	struct msqid_ds mds;

	is(act(&u, change_euid, ANN, 0), 0, "root with the effective uid of a user makes a set");
	sem = obj_keep(SEM, (int)act(&u, make, SEM, 0600));
	act(&u, change_euid, 0, 0);
	msg = obj_keep(MSG, (int)act(&u, make, MSG, 0600));
	ds = sem_stat(sem);
	mds = msg_stat(msg);
	ok(ds.sem_perm.uid == ANN && ds.sem_perm.cuid == ANN, "and the set is the user's");
	ok(mds.msg_perm.uid == 0 && mds.msg_perm.cuid == 0, "back as root it makes a queue, and that is root's");
	act(&u, become_for_good, ANN, 0);
	is(act(&u, op, sem, 1), 0, "as the user for good it uses the set");
	is(act(&u, put, msg, 1), -EACCES, "and not the queue");
	user_kill(&u);
}

struct thread {
	int sem, slept, then;
};

static void *thread_run(void *arg)
{
	struct thread *t = arg;

	t->slept = op_wait(t->sem, -1) ? errno : 0;
	t->then = op(t->sem, 1) ? errno : 0;
	return NULL;
}

/* What the thread's sleep ended with, and what the call after it did: two numbers in one. */
static long change_under_sleeper(long sem, long uid)
{
	struct thread t = { .sem = (int)sem };
	pthread_t id;

	if (pthread_create(&id, NULL, thread_run, &t) || !wait_until(sem_ncnt((int)sem, 0) == 1) || seteuid((uid_t)uid))
		return -1;
	pthread_join(id, NULL);
	return t.slept * 1000 + t.then;
}

/* libc has every thread change its ids, by a signal, which no semop sleeps through. */
static void test_threads(uid_t owner)
{
	struct user u = user_new(0);
	int sem = sem_new(1);

	give(SEM, sem, owner, 0600);
	is(act(&u, change_under_sleeper, sem, ANN), EINTR * 1000 + EACCES,
	   "seteuid in one thread: another one's sleep on a set of uid %d ends with EINTR, and its next call is refused",
	   (int)owner);
	is(sem_value(sem, 0), 0, "the set is as it was");
	is(sem_ncnt(sem, 0), 0, "and nobody waits");
	user_kill(&u);
}

/* ---- undo ---- */

static void undo_after_setuid(bool killed, unsigned mode)
{
	struct user u = user_new(0);
	int sem = sem_new(1);

	sem_set(sem, 0, 5);
	is(act(&u, op_undo, sem, -2), 0, "root takes two with SEM_UNDO");
	is(act(&u, become_for_good, STRANGER, 0), 0, "and becomes a user who may nothing");
	is(give(SEM, sem, 0, mode), 0, "of a set with mode %04o", mode);
	is(act(&u, op_undo, sem, -1), -EACCES, "semop is refused from then on");
	if (killed)
		kill(u.pid, SIGKILL);
	else
		begin(&u, leave, 0, 0);
	is(proc_wait(u.pid), killed ? 1000 + SIGKILL : 7, "it %s", killed ? "is killed" : "exits");
	is(sem_value(sem, 0), 5, "its undo is applied, whatever it may do now");
	is(sem_pid(sem, 0), u.pid, "in its name");
	close(u.fd);
}

/* Nobody may wait here for anything but the death: the units are there when waitpid() says that it is dead. */
static void test_undo_of_another_user(void)
{
	struct user ann, bob = user_new(BOB);
	int sem = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0666)), found = 0, took = 0, i;

	sem_set(sem, 0, 3);
	for (i = 0; i < 20; i++) {
		ann = user_new(ANN);
		took += act(&ann, op_undo, sem, -3) == 0 && act(&bob, op, sem, -1) == -EAGAIN;
		kill(ann.pid, SIGKILL);
		waitpid(ann.pid, NULL, 0);
		found += act(&bob, op_undo, sem, -3) == 0;
		act(&bob, op_undo, sem, 3);
		close(ann.fd);
	}
	is(took, 20, "a user takes all units of a set that another one shares");
	is(found, 20, "killed and waited for, it has given them back: the other user finds them at once");
	user_kill(&bob);
	is(sem_value(sem, 0), 3, "and nothing is left of the other's undo");
}

static void test_undo_wakes_another_user(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int sem = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0666));

	sem_set(sem, 0, 1);
	is(act(&ann, op_undo, sem, -1), 0, "a user holds the only unit");
	begin(&bob, op_wait, sem, -1);
	ok(wait_until(sem_ncnt(sem, 0) == 1), "another user sleeps");
	kill(ann.pid, SIGKILL);
	waitpid(ann.pid, NULL, 0);
	is(finish(&bob), 0, "the death of the first wakes the other");
	is(sem_value(sem, 0), 0, "who has the unit");
	is(sem_pid(sem, 0), bob.pid, "as GETPID says");
	close(ann.fd);
	user_kill(&bob);
}

/* ---- sleepers ---- */

static void test_sem_order(void)
{
	struct user u[3] = { user_new(ANN), user_new(BOB), user_new(ANN) }, carl = user_new(CARL);
	int sem = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0666)), i;

	for (i = 0; i < 3; i++) {
		begin(&u[i], op_wait, sem, -1);
		ok(wait_until(sem_ncnt(sem, 0) == i + 1), "sleeper %d on a semaphore, two users taking turns", i);
	}
	for (i = 0; i < 3; i++) {
		is(act(&carl, op, sem, 1), 0, "a third user gives one unit");
		is(finish(&u[i]), 0, "sleeper %d has it, whoever that is", i);
		is(sem_ncnt(sem, 0), 2 - i, "the later ones sleep on");
		is(sem_pid(sem, 0), u[i].pid, "GETPID names the one that had it");
	}
	for (i = 0; i < 3; i++)
		user_kill(&u[i]);
	user_kill(&carl);
}

static bool asleep(struct user *u)
{
	return wait_until(proc_settled(u->pid, u->pid) && !finished(u, 0));
}

static void test_msg_order(void)
{
	struct user u[3] = { user_new(ANN), user_new(BOB), user_new(ANN) }, carl = user_new(CARL);
	int msg = obj_keep(MSG, msgget(IPC_PRIVATE, 0666)), i;

	for (i = 0; i < 3; i++) {
		begin(&u[i], take_wait, msg, 0);
		ok(asleep(&u[i]), "sleeper %d on an empty queue, two users taking turns", i);
	}
	for (i = 0; i < 3; i++) {
		is(act(&carl, put, msg, i + 1), 0, "a third user sends message %d", i + 1);
		is(finish(&u[i]), i + 1, "sleeper %d has it", i);
		is(msg_stat(msg).msg_lspid, carl.pid, "msg_lspid is the sender");
		is(msg_stat(msg).msg_lrpid, u[i].pid, "msg_lrpid is the receiver");
	}
	for (i = 0; i < 3; i++)
		user_kill(&u[i]);
	user_kill(&carl);
}

/* A semop that sleeps was allowed when it began; it is not asked again. */
static void test_sem_permission_taken(void)
{
	struct user ann = user_new(ANN);
	int sem = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0666));

	begin(&ann, op_wait, sem, -1);
	ok(wait_until(sem_ncnt(sem, 0) == 1), "a user sleeps on a set");
	is(give(SEM, sem, 0, 0600), 0, "root takes the permission away");
	ok(asleep(&ann), "which does not end the sleep");
	is(sem_ncnt(sem, 0), 1, "as GETNCNT says");
	sem_do(sem, 0, 1, 0);
	is(finish(&ann), 0, "what it asked for is done when it is possible");
	is(sem_value(sem, 0), 0, "and changes the value");
	is(act(&ann, op, sem, 1), -EACCES, "the next call is refused");
	user_kill(&ann);
}

/* IPC_SET has a sleeping receiver look at the queue anew, and so at its permission. */
static void test_receiver_permission_taken(void)
{
	struct user ann = user_new(ANN);
	int msg = obj_keep(MSG, msgget(IPC_PRIVATE, 0666));

	begin(&ann, take_wait, msg, 5);
	ok(asleep(&ann), "a user sleeps in msgrcv");
	is(give(MSG, msg, 0, 0644), 0, "root takes the permission to write away");
	ok(asleep(&ann), "which does not touch the receiver");
	is(give(MSG, msg, 0, 0600), 0, "root takes the permission to read away");
	is(finish(&ann), -EACCES, "the receiver fails with EACCES");
	user_kill(&ann);
}

/* A sleeping sender looks anew when its message fits: after an IPC_SET of more room, or after somebody has received. */
static void sender_permission_taken(bool more_room)
{
	struct user bob = user_new(BOB);
	int msg = obj_keep(MSG, msgget(IPC_PRIVATE, 0666));

	give(MSG, msg, 0, 0666);
	msg_put(msg, 1, 999, 'f', 0);
	begin(&bob, put_wait, msg, 900);
	ok(asleep(&bob), "a user sleeps in msgsnd to a full queue");
	is(give(MSG, msg, 0, 0622), 0, "root takes the permission to read away");
	ok(asleep(&bob), "which does not touch the sender");
	is(give(MSG, msg, 0, 0644), 0, "root takes the permission to write away");
	ok(asleep(&bob), "which the sender, whose message does not fit, does not see either");
	if (more_room)
		msg_limit(msg, 4000);
	else
		msg_take(msg, 1, 0);
	is(finish(&bob), -EACCES, "but when it would fit, the sender fails with EACCES");
	is(msg_stat(msg).msg_qnum, more_room, "and has sent nothing");
	user_kill(&bob);
}

/* Whoever settles what a dead process had may do all; a sender that looks anew may not because of that. */
static void test_death_permits_nothing(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int msg = obj_keep(MSG, msgget(IPC_PRIVATE, 0666)), sem = obj_keep(SEM, semget(IPC_PRIVATE, 1, 0666));

	give(MSG, msg, 0, 0666);
	give(SEM, sem, BOB, 0666);
	sem_set(sem, 0, 1);
	is(act(&ann, put, msg, 1), 0, "a user sends to a queue");
	is(act(&ann, op_undo, sem, -1), 0, "and takes a unit of a set");
	msg_put(msg, 1, 990, 'f', 0);
	begin(&bob, put_wait, msg, 900);
	ok(asleep(&bob), "another one sleeps in msgsnd to the queue, which is full");
	is(give(MSG, msg, 0, 0644), 0, "root takes the permission to write away");
	user_kill(&ann);
	ok(wait_until(sem_value(sem, 0) == 1), "the first user is killed, and the unit is there again");
	is(msg_take(msg, 1, 0), 1, "root receives a message");
	is(msg_take(msg, 1, 0), 1, "and the other: there is room");
	is(finish(&bob), -EACCES, "the sender fails with EACCES");
	is(msg_stat(msg).msg_qnum, 0, "and has sent nothing");
	user_kill(&bob);
}

static void test_msg_owner_changed(void)
{
	struct user ann = user_new(ANN);
	int msg = obj_keep(MSG, (int)act(&ann, make, MSG, 0600));
	int other = obj_keep(MSG, msgget(IPC_PRIVATE, 0600));

	give(MSG, other, ANN, 0600);
	begin(&ann, take_wait, msg, 5);
	ok(asleep(&ann), "a user sleeps in msgrcv on a queue that it made");
	is(give(MSG, msg, BOB, 0600), 0, "root gives the queue to another user");
	ok(asleep(&ann), "the creator sleeps on");
	msg_put(msg, 5, 4, 'x', 0);
	is(finish(&ann), 5, "and receives");
	begin(&ann, take_wait, other, 5);
	ok(asleep(&ann), "a user sleeps on a queue that root made and gave to it");
	is(give(MSG, other, BOB, 0600), 0, "root gives that to another user");
	is(finish(&ann), -EACCES, "the former owner fails with EACCES");
	user_kill(&ann);
}

/* ---- creators, owners, mode 0 ---- */

static void creator_removes(enum kind kind)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int id = obj_keep(kind, (int)act(&ann, make, kind, 0600));
	const char *name = obj_name(kind);

	is(act(&bob, remove_it, kind, id), -EPERM, "%s: another user cannot remove it", name);
	is(act_give(&ann, kind, id, BOB, 0600), 0, "%s: its creator gives it away", name);
	is(act(&ann, stat_it, kind, id), 0, "%s: and still has the owner's permissions", name);
	is(act(&bob, stat_it, kind, id), 0, "%s: as the new owner has", name);
	is(act_give(&bob, kind, id, CARL, 0600), 0, "%s: who gives it on", name);
	is(act(&bob, stat_it, kind, id), -EACCES, "%s: and has nothing left", name);
	is(act(&bob, remove_it, kind, id), -EPERM, "%s: not even to remove it", name);
	is(act_give(&ann, kind, id, CARL, 0), 0, "%s: the creator takes all permissions away", name);
	is(act(&ann, stat_it, kind, id), -EACCES, "%s: also its own", name);
	is(act(&ann, remove_it, kind, id), 0, "%s: and removes it", name);
	is(act(&ann, stat_it, kind, id), -EINVAL, "%s: which is gone", name);
	user_kill(&ann);
	user_kill(&bob);
}

static void test_remove_ends_another_users_sleep(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB), carl = user_new(CARL);
	int sem = obj_keep(SEM, (int)act(&ann, make, SEM, 0666)), msg = obj_keep(MSG, (int)act(&ann, make, MSG, 0666));

	begin(&bob, op_wait, sem, -1);
	begin(&carl, take_wait, msg, 0);
	ok(wait_until(sem_ncnt(sem, 0) == 1) && asleep(&carl), "two users sleep on objects of a third");
	act_give(&ann, SEM, sem, BOB, 0600);
	is(act(&ann, remove_it, SEM, sem), 0, "who gives the set away and removes it");
	is(finish(&bob), -EIDRM, "the new owner, asleep, has EIDRM");
	is(act(&ann, remove_it, MSG, msg), 0, "and removes the queue");
	is(finish(&carl), -EIDRM, "the receiver has EIDRM");
	user_kill(&ann);
	user_kill(&bob);
	user_kill(&carl);
}

static void test_mode_0(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int shm = obj_keep(SHM, (int)act(&ann, make, SHM, 0)), sem = obj_keep(SEM, (int)act(&ann, make, SEM, 0));
	int msg = obj_keep(MSG, (int)act(&ann, make, MSG, 0));

	is(act(&ann, attach, shm, SHM_RDONLY), -EACCES, "mode 0: its maker cannot attach the segment");
	is(act(&ann, op, sem, 1), -EACCES, "mode 0: nor change the set");
	is(act(&ann, getval, sem, 0), -EACCES, "mode 0: nor look at it");
	is(act(&ann, put, msg, 1), -EACCES, "mode 0: nor send");
	is(act(&ann, take, msg, 0), -EACCES, "mode 0: nor receive");
	is(act(&bob, op, sem, 1), -EACCES, "mode 0: others neither");
	succeeds(sem_do(sem, 0, 2, 0), "mode 0: root changes the set");
	succeeds(msg_put(msg, 3, 4, 'r', 0), "mode 0: root sends");
	succeeds(shmdt(shm_map(shm, 0)), "mode 0: root attaches");
	is(act_give(&ann, SEM, sem, ANN, 0600), 0, "mode 0: its maker permits itself all");
	is(act(&ann, getval, sem, 0), 2, "and then finds what root left");
	is(act_give(&ann, MSG, msg, ANN, 0404), 0, "others may read, the group may not");
	is(act(&bob, take, msg, 0), 3, "another user receives");
	is(act(&ann, put, msg, 0), -EINVAL, "what is wrong in itself is refused before permission is looked at");
	is(act(&ann, put, msg, 1), -EACCES, "the owner may read only");
	user_kill(&ann);
	user_kill(&bob);
}

static void test_by_key(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	key_t key = 0x1d500000 | (getpid() & 0xfffff);

	for (enum kind k = SHM; k <= MSG; k++) {
		int id = obj_keep(k, obj_get(k, key, IPC_CREAT | 0600));

		give(k, id, ANN, 0600);
		is(act(&ann, find, k, key), id, "%s: the owner finds by key what root made", obj_name(k));
		is(act(&bob, find, k, key), -EACCES, "%s: another user does not", obj_name(k));
		give(k, id, BOB, 0600);
		is(act(&bob, find, k, key), id, "%s: until it is the owner", obj_name(k));
		is(act(&ann, find, k, key), -EACCES, "%s: and the former owner is refused", obj_name(k));
	}
	user_kill(&ann);
	user_kill(&bob);
}

/* ---- who did it ---- */

static void test_pids(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int sem = obj_keep(SEM, (int)act(&ann, make, SEM, 0666)), msg = obj_keep(MSG, (int)act(&ann, make, MSG, 0666));
	int shm = obj_keep(SHM, (int)act(&ann, make, SHM, 0666));

	is(act(&bob, pid_of, 0, 0), bob.pid, "a user has its own pid");
	act(&ann, op, sem, 1);
	is(sem_pid(sem, 0), ann.pid, "GETPID names a process of another user");
	act(&bob, op, sem, 1);
	is(sem_pid(sem, 0), bob.pid, "and then that of a third");
	act(&ann, put, msg, 1);
	act(&bob, take, msg, 1);
	is(msg_stat(msg).msg_lspid, ann.pid, "msg_lspid names the sender");
	is(msg_stat(msg).msg_lrpid, bob.pid, "msg_lrpid names the receiver");
	is(shm_stat(shm).shm_cpid, ann.pid, "shm_cpid names the maker");
	act(&bob, attach, shm, 0);
	is(shm_stat(shm).shm_lpid, bob.pid, "shm_lpid names who attached");
	user_kill(&ann);
	user_kill(&bob);
}

/* ---- segments ---- */

static void test_nattch(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB), carl = user_new(CARL);
	int shm = obj_keep(SHM, (int)act(&ann, make, SHM, 0666));

	is(act(&ann, attach, shm, 0), 0, "the owner attaches");
	is(act(&bob, attach, shm, 0), 0, "another user attaches");
	is(act(&carl, attach, shm, SHM_RDONLY), 0, "a third attaches to read");
	is(shm_nattch(shm), 3, "nattch counts all three");
	act(&bob, poke, 5, 'b');
	ok(act(&ann, peek, 5, 0) == 'b' && act(&carl, peek, 5, 0) == 'b', "they share the memory");
	is(act(&bob, detach, 0, 0), 0, "one detaches");
	is(shm_nattch(shm), 2, "and is not counted");
	give(SHM, shm, ANN, 0600);
	is(act(&carl, attach, shm, SHM_RDONLY), -EACCES, "with the permission taken away nobody else attaches");
	act(&ann, poke, 5, 'a');
	is(act(&carl, peek, 5, 0), 'a', "who has attached still reads what is written");
	kill(ann.pid, SIGKILL);
	waitpid(ann.pid, NULL, 0);
	is(shm_nattch(shm), 1, "a process of another user that is dead is not counted");
	give(SHM, shm, CARL, 0600);
	is(act(&carl, remove_it, SHM, shm), 0, "a new owner removes it");
	is(act(&carl, attach, shm, 0), 0, "and attaches what waits for its end");
	is(shm_nattch(shm), 2, "both attachments are counted");
	is(act(&bob, attach, shm, 0), -EACCES, "others are refused");
	user_kill(&carl);
	is(shm_nattch(shm), -1, "with the last one it is gone");
	close(ann.fd);
	user_kill(&bob);
}

static void test_read_only(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	int shm = obj_keep(SHM, (int)act(&ann, make, SHM, 0644));

	is(act(&ann, attach, shm, 0), 0, "the owner attaches a segment of mode 0644");
	is(act(&bob, attach, shm, 0), -EACCES, "who may read only cannot attach to write");
	is(act(&bob, attach, shm, SHM_RDONLY), 0, "but to read");
	is(act(&bob, make_writable, PAGE, 0), -EACCES, "mprotect cannot make that writable");
	is(act(&bob, replace_writable, shm, 0), -EACCES, "nor SHM_REMAP replace it by what is");
	act(&ann, poke, 9, 'a');
	is(act(&bob, peek, 9, 0), 'a', "it still reads there what the owner writes");
	is(shm_nattch(shm), 2, "each is attached once");
	is(act(&ann, attach, shm, SHM_RDONLY), 0, "the owner attaches to read");
	is(act(&ann, make_writable, PAGE, 0), -EACCES, "which mprotect does not make writable for the owner either");
	user_kill(&ann);
	user_kill(&bob);
}

static long fork_and_use(long sem, long want)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(sem_do((int)sem, 0, 1, 0) ? errno : 0);
	return proc_wait(pid) == want ? 0 : -1;
}

static void test_fork(void)
{
	struct user u = user_new(0);
	int shm = shm_new(PAGE), sem = sem_new(1);

	act(&u, attach, shm, 0);
	is(act(&u, fork_and_use, sem, 0), 0, "a child of root uses root's set");
	act(&u, change_euid, ANN, 0);
	is(act(&u, fork_and_use, sem, EACCES), 0, "a child forked after seteuid is refused");
	act(&u, change_euid, 0, 0);
	is(act(&u, fork_and_use, sem, 0), 0, "a child forked after the way back is not");
	act(&u, become_for_good, BOB, 0);
	is(act(&u, fork_and_use, sem, EACCES), 0, "a child forked after setuid is refused");
	give(SEM, sem, BOB, 0600);
	is(act(&u, fork_and_use, sem, 0), 0, "until the set is its user's");
	is(sem_value(sem, 0), 3, "three of them have added");
	is(shm_nattch(shm), 1, "and none has left an attachment");
	user_kill(&u);
}

int main(void)
{
	if (geteuid())
		skip_all("needs root");
	if (getenv("IPCD_NAMESPACE") && !getenv("IPCD_SOCKET"))
		skip_all("embedded: a namespace of one user; a process that changed its uid has what it mapped");
	alarm(60);
	gift = shared_new(PAGE);
	test_setuid_to_owner();
	test_setuid_to_stranger();
	test_seteuid_and_back();
	test_made_as();
	test_threads(0);
	test_threads(BOB);
	undo_after_setuid(false, 0600);
	undo_after_setuid(true, 0);
	test_undo_of_another_user();
	test_undo_wakes_another_user();
	test_sem_order();
	test_msg_order();
	test_sem_permission_taken();
	test_receiver_permission_taken();
	sender_permission_taken(true);
	sender_permission_taken(false);
	test_death_permits_nothing();
	test_msg_owner_changed();
	creator_removes(SHM);
	creator_removes(SEM);
	creator_removes(MSG);
	test_remove_ends_another_users_sleep();
	test_mode_0();
	test_by_key();
	test_pids();
	test_nattch();
	test_read_only();
	test_fork();
	return done_testing();
}
