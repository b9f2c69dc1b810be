/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects that are given to another user while they are in use: what waits goes on waiting, in its order, what is to be
 * undone is undone, and no call notices. Root gives; the users are the owner of before, the one of after, and a third.
 */
#include <setjmp.h>

#include "user.h"

#define GIVEN 200
#define INTERRUPTED 40

static long op(long id, long by)
{
	return sem_do((int)id, 0, (int)by, by > 0 ? IPC_NOWAIT : 0);
}

static long op_undo(long id, long by)
{
	return sem_do((int)id, 0, (int)by, SEM_UNDO);
}

static long op_until(long id, long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	struct sembuf b = { .sem_op = -1 };

	return semtimedop((int)id, &b, 1, &t);
}

static long take(long id, long type)
{
	return msg_take((int)id, type, 0);
}

static long put(long id, long type)
{
	return msg_put((int)id, type, 40, 'p', 0);
}

static long give_sem(int id, uid_t uid, int mode)
{
	struct semid_ds ds = sem_stat(id);

	ds.sem_perm.uid = uid;
	ds.sem_perm.mode = (unsigned short)mode;
	return semctl(id, 0, IPC_SET, &ds);
}

static long give_msg(int id, uid_t uid, int mode, unsigned long room)
{
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.uid = uid;
	ds.msg_perm.mode = (unsigned short)mode;
	ds.msg_qbytes = room;
	return msgctl(id, IPC_SET, &ds);
}

/* Three sleep; the set is given away; each unit goes to the one whose turn it is. */
static void test_sleepers(void)
{
	struct user ann = user_new(ANN), other = user_new(ANN), bob = user_new(BOB), carl = user_new(CARL);
	struct user *turn[] = { &ann, &carl, &other };
	int id = sem_new(1);

	is(give_sem(id, ANN, 0666), 0, "a set is Ann's");
	for (int i = 0; i < 3; i++) {
		begin(turn[i], op, id, -1);
		ok(wait_until(sem_ncnt(id, 0) == i + 1), "sleeper %d of it sleeps", i + 1);
	}
	is(give_sem(id, BOB, 0666), 0, "it is given to Bob");
	is(sem_ncnt(id, 0), 3, "three sleep as before");
	for (int i = 0; i < 3; i++) {
		is(act(&bob, op, id, 1), 0, "Bob gives a unit");
		is(finish(turn[i]), 0, "which goes to sleeper %d", i + 1);
		is(sem_pid(id, 0), turn[i]->pid, "who is the last one that GETPID knows");
		for (int k = i + 1; k < 3; k++)
			ok(!finished(turn[k], 0), "and sleeper %d sleeps on", k + 1);
	}
	is(sem_value(id, 0), 0, "no unit is left");
	begin(&ann, op, id, -1);
	ok(wait_until(sem_ncnt(id, 0) == 1), "Ann sleeps again");
	is(give_sem(id, ANN, 0600), 0, "it is given back to her");
	is(act(&carl, op, id, 1), -EACCES, "to her alone");
	is(give_sem(id, BOB, 0600), 0, "and once more to Bob, to him alone");
	is(act(&bob, op, id, 1), 0, "who gives a unit");
	is(finish(&ann), 0, "which Ann gets, who has slept through it");
	is(act(&ann, op, id, -1), -EACCES, "and now is refused");
	begin(&bob, op_until, id, 200);
	ok(wait_until(sem_ncnt(id, 0) == 1), "Bob sleeps, for a time");
	is(give_sem(id, CARL, 0666), 0, "it is Carl's");
	is(finish(&bob), -EAGAIN, "and the time passes");
	begin(&ann, op, id, -1);
	begin(&bob, op, id, -1);
	ok(wait_until(sem_ncnt(id, 0) == 2), "two sleep");
	is(give_sem(id, ANN, 0666), 0, "it is Ann's");
	is(semctl(id, 0, IPC_RMID), 0, "and removed");
	is(finish(&ann), -EIDRM, "EIDRM for the one");
	is(finish(&bob), -EIDRM, "and the other");
	user_kill(&ann);
	user_kill(&other);
	user_kill(&bob);
	user_kill(&carl);
}

static void test_undo(void)
{
	struct user ann = user_new(ANN), bob = user_new(BOB), carl = user_new(CARL);
	int id = sem_new(1);

	give_sem(id, ANN, 0666);
	sem_set(id, 0, 10);
	is(act(&ann, op_undo, id, -3), 0, "the owner takes three, to be undone");
	is(act(&carl, op_undo, id, -2), 0, "another one two");
	is(give_sem(id, BOB, 0666), 0, "the set is given away");
	is(sem_value(id, 0), 5, "its value is as before");
	is(act(&ann, op_undo, id, -1), 0, "the old owner takes one more, to be undone");
	begin(&bob, op, id, -7);
	ok(wait_until(sem_ncnt(id, 0) == 1), "the new owner waits for seven");
	user_kill(&ann);
	is(finish(&bob), 0, "the old one is killed: they are there");
	user_kill(&carl);
	is(sem_value(id, 0), 3, "the other one is killed: his two are back at once");
	user_kill(&bob);
	is(sem_value(id, 0), 3, "and nothing is undone twice");
}

static void test_messages(void)
{
	struct user ann = user_new(ANN), other = user_new(ANN), bob = user_new(BOB), carl = user_new(CARL);
	struct user *turn[] = { &ann, &carl, &other };
	int id = msg_new();

	is(give_msg(id, ANN, 0666, 4096), 0, "a queue is Ann's");
	for (int i = 0; i < 3; i++) {
		begin(turn[i], take, id, 0);
		ok(proc_wait_asleep(turn[i]->pid), "receiver %d of it sleeps", i + 1);
	}
	is(give_msg(id, BOB, 0666, 4096), 0, "it is given to Bob");
	for (int i = 0; i < 3; i++)
		is(act(&bob, put, id, 5), 0, "Bob sends");
	for (int i = 0; i < 3; i++)
		is(finish(turn[i]), 5, "and each gets one");
	is(msg_stat(id).msg_qnum, 0, "none is left");
	is(give_msg(id, ANN, 0666, 80), 0, "it is Ann's again, with room for two");
	is(act(&ann, put, id, 1), 0, "she sends one");
	is(act(&ann, put, id, 2), 0, "and a second");
	begin(&ann, put, id, 3);
	begin(&carl, put, id, 4);
	ok(proc_wait_asleep(ann.pid) && proc_wait_asleep(carl.pid), "and two wait for room");
	is(give_msg(id, BOB, 0622, 80), 0, "it is given to Bob");
	is(msg_stat(id).msg_qnum, 2, "with what is in it");
	ok(!finished(&ann, 0) && !finished(&carl, 0), "two wait as before");
	is(act(&bob, take, id, 0), 1, "Bob receives the first");
	is(act(&bob, take, id, 0), 2, "and the second");
	is(finish(&ann), 0, "the old owner's is sent");
	is(finish(&carl), 0, "and the other's");
	is(msg_stat(id).msg_cbytes, 80, "they are there");
	is(act(&ann, take, id, 0), -EACCES, "the old owner may not read them");
	user_kill(&ann);
	user_kill(&other);
	user_kill(&bob);
	user_kill(&carl);
}

static long value(long id, long num)
{
	return semctl((int)id, (int)num, GETVAL);
}

/* SEM_UNDO that is refused counts too: its process's end sets otime. Also where the set has been away meanwhile. */
static void test_refused_undo(void)
{
	struct user ann = user_new(ANN);
	int id = sem_new(1);

	give_sem(id, ANN, 0666);
	is(act(&ann, value, id, 0), 0, "Ann uses her set");
	is(give_sem(id, BOB, 0666), 0, "it is given to Bob");
	is(give_sem(id, ANN, 0), 0, "and back to her, closed to all");
	is(act(&ann, op_undo, id, 1), -EACCES, "what she does now, to be undone, is refused");
	is(sem_stat(id).sem_otime, 0, "and changes nothing");
	user_kill(&ann);
	ok(sem_stat(id).sem_otime != 0, "but her end is one of the set's operations");
}

/* ---- what ends while it is given away ---- */

static sigjmp_buf away;
static _Atomic long *entered; /* calls of msgrcv that begin */

static void jump(int sig)
{
	siglongjmp(away, sig);
}

static void come_back(int sig)
{
	(void)sig;
}

static void catch(void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };

	sigaction(SIGUSR1, &sa, NULL);
}

/* A handler that returns, and one that jumps out of the call. */
static long op_caught(long id, long by)
{
	catch(come_back);
	return op(id, by);
}

static long op_left(long id, long by)
{
	if (sigsetjmp(away, 1)) {
		errno = EINTR;
		return -1;
	}
	catch(jump);
	return op(id, by);
}

static long take_caught(long id, long type)
{
	catch(come_back);
	++*entered;
	return take(id, type);
}

static long take_left(long id, long type)
{
	if (sigsetjmp(away, 1)) {
		errno = EINTR;
		return -1;
	}
	catch(jump);
	++*entered;
	return take(id, type);
}

/* It is stopped; meanwhile its set is given away; then it goes on, and the first that it sees is what ended it. */
static void stopped_while_given(const char *what, long (*fn)(long, long), int sig, long want)
{
	struct user ann = user_new(ANN), bob = user_new(BOB);
	struct user *sleeper[] = { &ann, &bob };
	int id = sem_new(1);

	is(give_sem(id, ANN, 0666), 0, "%s: a set is Ann's", what);
	for (int i = 0; i < 2; i++) {
		begin(sleeper[i], fn, id, -1);
		ok(wait_until(sem_ncnt(id, 0) == i + 1), "%s sleeps", i ? "Bob" : "she");
	}
	for (int i = 0; i < 2; i++) {
		kill(sleeper[i]->pid, SIGSTOP);
		ok(wait_until(proc_state(sleeper[i]->pid, sleeper[i]->pid) == 'T'), "and is stopped");
		kill(sleeper[i]->pid, sig);
	}
	is(give_sem(id, CARL, 0666), 0, "it is given to Carl");
	for (int i = 0; i < 2; i++) {
		kill(sleeper[i]->pid, SIGCONT);
		is(finish(sleeper[i]), want, "%s goes on: %s", i ? "Bob" : "Ann", what);
		if (sig == SIGKILL)
			user_kill(sleeper[i]);
	}
	is(sem_ncnt(id, 0), 0, "nobody waits");
	sem_set(id, 0, 1);
	is(sem_value(id, 0), 1, "and nobody takes what comes");
	for (int i = 0; i < 2 && sig != SIGKILL; i++)
		user_kill(sleeper[i]);
}

static void test_stopped(void)
{
	stopped_while_given("a signal's handler", op_caught, SIGUSR1, -EINTR);
	stopped_while_given("a handler that jumps away", op_left, SIGUSR1, -EINTR);
	stopped_while_given("killed", op, SIGKILL, -9996);
}

/* A child that sends each of them a signal, some time after it is told to. */
static pid_t signaller(struct user *user, int users, int *tell)
{
	int fd[2];
	pid_t pid;
	unsigned char after;

	if (pipe(fd))
		bail_out("pipe");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		bail_out("fork");
	if (pid == 0) {
		alarm(60);
		close(fd[1]);
		while (read(fd[0], &after, 1) == 1) {
			for (volatile int spin = 0; spin < after * 400; spin++)
				;
			for (int i = 0; i < users; i++)
				kill(user[i].pid, SIGUSR1);
		}
		_exit(0);
	}
	close(fd[0]);
	*tell = fd[1];
	return pid;
}

static void interrupted_while_given(const char *what, enum kind kind, long (*fn)(long, long), long arg)
{
	struct user user[3];
	int id = kind == SEM ? sem_new(1) : msg_new(), tell, failed = 0, ended = 0;
	pid_t pid;

	*entered = 0;
	for (int i = 0; i < 3; i++)
		user[i] = user_new((uid_t)(ANN + i));
	if (kind == SEM)
		give_sem(id, ANN, 0666);
	else
		give_msg(id, ANN, 0666, 4096);
	pid = signaller(user, 3, &tell);
	for (int round = 1; round <= INTERRUPTED; round++) {
		unsigned char after = (unsigned char)(rand() % 256);

		for (int i = 0; i < 3; i++)
			begin(&user[i], fn, id, arg);
		if (kind == SEM)
			failed += !wait_until(sem_ncnt(id, 0) == 3);
		else
			failed += !wait_until(*entered == 3 * round);
		for (int i = 0; i < 3 && kind == MSG; i++)
			failed += !wait_until(proc_settled(user[i].pid, user[i].pid));
		failed += write(tell, &after, 1) != 1;
		failed += kind == SEM ? give_sem(id, (uid_t)(ANN + round % 3), 0666) :
					give_msg(id, (uid_t)(ANN + round % 3), 0666, 4096);
		for (int i = 0; i < 3; i++) {
			while (kind == MSG && !finished(&user[i], 500)) /* the first one came before it slept */
				kill(user[i].pid, SIGUSR1);
			ended += finish(&user[i]) == -EINTR;
		}
		failed += kind == SEM && sem_ncnt(id, 0);
	}
	is(ended, 3 * INTERRUPTED, "%s: signals end the calls of three, given away at that moment", what);
	is(failed, 0, "and nobody stays in the list");
	if (kind == SEM) {
		sem_set(id, 0, 1);
		is(sem_value(id, 0), 1, "nor takes what comes");
	} else {
		msg_put(id, 1, 4, 'm', 0);
		is(msg_stat(id).msg_qnum, 1, "nor takes what comes");
	}
	close(tell);
	proc_wait(pid);
	for (int i = 0; i < 3; i++)
		user_kill(&user[i]);
}

static void test_interrupted(void)
{
	unsigned seed = getenv("T_SEED") ? (unsigned)atoi(getenv("T_SEED")) : (unsigned)getpid();

	entered = shared_new(PAGE);
	printf("# T_SEED=%u\n", seed);
	srand(seed);
	interrupted_while_given("semop", SEM, op_caught, -1);
	interrupted_while_given("semop that is left", SEM, op_left, -1);
	interrupted_while_given("msgrcv", MSG, take_caught, 0);
	interrupted_while_given("msgrcv that is left", MSG, take_left, 0);
}

static struct { _Atomic int stop; _Atomic long done[3]; int sem, msg; } *box;

static long hammer(long who, long unused)
{
	(void)unused;
	while (!box->stop) {
		if (op_undo(box->sem, -1) || op_undo(box->sem, 1) || put(box->msg, who + 1) || take(box->msg, who + 1) != who + 1)
			return -1;
		box->done[who]++;
	}
	return 0;
}

static void test_hammered(void)
{
	struct user user[3];
	int failed = 0;

	box = shared_new(PAGE);
	for (int i = 0; i < 3; i++)
		user[i] = user_new((uid_t)(ANN + i));
	box->sem = sem_new(1);
	box->msg = msg_new();
	sem_set(box->sem, 0, 2);
	give_sem(box->sem, ANN, 0666);
	give_msg(box->msg, ANN, 0666, 4096);
	for (long i = 0; i < 3; i++)
		begin(&user[i], hammer, i, 0);
	for (int i = 0; i < GIVEN; i++) {
		long before = box->done[i % 3];

		failed += give_sem(box->sem, (uid_t)(ANN + i % 3), 0666) || give_msg(box->msg, (uid_t)(ANN + (i + 1) % 3), 0666, 4096);
		failed += !wait_until(box->done[i % 3] > before || finished(&user[i % 3], 0));
	}
	is(failed, 0, "a set and a queue are given around %d times, while three users use them", GIVEN);
	box->stop = 1;
	for (int i = 0; i < 3; i++)
		is(finish(&user[i]), 0, "no call of the %s user fails", i ? i > 1 ? "third" : "second" : "first");
	is(sem_value(box->sem, 0), 2, "every unit is there");
	is(msg_stat(box->msg).msg_qnum, 0, "and no message is left");
	for (int i = 0; i < 3; i++)
		user_kill(&user[i]);
}

static long by_index(long id, long kind)
{
	struct semid_ds sem;
	struct msqid_ds msg;

	return kind == SEM ? semctl((int)id % 32768, 0, SEM_STAT, &sem) : msgctl((int)id % 32768, MSG_STAT, &msg);
}

/* What Ann has used is Bob's now, and she asks for it by its index. */
static void test_indexes(void)
{
	struct user ann = user_new(ANN);
	int sem = sem_new(1), msg = msg_new();

	for (int i = 0; i < 500 && (sem < 32768 || msg < 32768); i++) { /* indexes come again, ids do not */
		obj_remove(SEM, sem);
		obj_remove(MSG, msg);
		sem = sem_new(1);
		msg = msg_new();
	}
	ok(sem >= 32768 && msg >= 32768, "a set and a queue whose indexes are not their ids");
	give_sem(sem, ANN, 0666);
	give_msg(msg, ANN, 0666, 16384);
	is(act(&ann, by_index, sem, SEM), sem, "SEM_STAT of Ann's finds her set");
	is(act(&ann, by_index, msg, MSG), msg, "MSG_STAT of Ann's finds her queue");
	is(give_sem(sem, BOB, 0666), 0, "the set is given to Bob");
	is(give_msg(msg, BOB, 0666, 16384), 0, "and the queue");
	is(act(&ann, by_index, sem, SEM), sem, "SEM_STAT of Ann's finds it where it is now");
	is(act(&ann, by_index, msg, MSG), msg, "and MSG_STAT");
	obj_remove(SEM, sem);
	obj_remove(MSG, msg);
	user_kill(&ann);
}

int main(void)
{
	if (geteuid())
		skip_all("needs root");
	if (getenv("IPCD_NAMESPACE") && !getenv("IPCD_SOCKET"))
		skip_all("embedded: a namespace of one user");
	alarm(100);
	test_sleepers();
	test_undo();
	test_refused_undo();
	test_messages();
	test_stopped();
	test_interrupted();
	test_hammered();
	test_indexes();
	return done_testing();
}
