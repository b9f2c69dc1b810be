/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls in a signal handler: one that interrupted a blocked call, removed the very object, made what the call waited
 * for, blocked itself; and one that comes at any moment, between two instructions of malloc or of a call.
 */
#include <sys/time.h>

#include "objects.h"

static int sem, msg, shm, result;
static pid_t child;
static void (*job)(void);

static void handler(int sig)
{
	int saved = errno;

	(void)sig;
	job();
	errno = saved;
}

/* A child that sends SIGUSR1 once its parent sleeps, and does one thing more. */
struct alarm { pid_t parent; int times; void (*then)(void); };

static int alarm_run(void *arg)
{
	struct alarm *a = arg;

	for (int i = 0; i < a->times; i++) {
		if (!wait_until(proc_settled(a->parent, a->parent)))
			return 1;
		kill(a->parent, SIGUSR1);
	}
	if (a->then)
		a->then();
	return 0;
}

static void wake_me(int times, void (*then)(void))
{
	struct alarm a = { getpid(), times, then };

	child = proc_run(alarm_run, &a);
}

static long receive(void)
{
	struct { long type; char text[8]; } m;

	return msgrcv(msg, &m, sizeof m.text, 0, 0);
}

/* ---- jobs of the handler ---- */

static void every_call(void)
{
	struct { long type; char text[8]; } m = { 3, "x" };
	struct semid_ds sds;
	struct msqid_ds mds;
	struct shmid_ds hds;
	char *p;
	int q;

	result = 1;
	if (sem_do(sem, 1, 2, 0) || sem_do(sem, 1, -1, SEM_UNDO) || semctl(sem, 1, GETVAL) != 1 ||
	    semctl(sem, 0, GETNCNT) || semctl(sem, 0, IPC_STAT, &sds))
		return;
	result = 2;
	q = msgget(IPC_PRIVATE, 0600);
	if (q < 0 || msgsnd(q, &m, 2, 0) || msgrcv(q, &m, 8, 0, 0) != 2 || msgctl(q, IPC_STAT, &mds) ||
	    msgctl(q, IPC_RMID, NULL))
		return;
	result = 3;
	p = shmat(shm, NULL, 0);
	if (p == (char *)-1 || shmctl(shm, IPC_STAT, &hds) || hds.shm_nattch != 1 || shmdt(p))
		return;
	result = 0;
}

static void remove_set(void)
{
	result = semctl(sem, 0, IPC_RMID);
}

static void remove_queue(void)
{
	result = msgctl(msg, IPC_RMID, NULL);
}

static void give_unit(void)
{
	result = sem_do(sem, 0, 1, 0);
}

static void send_it(void)
{
	result = msg_put(msg, 1, 4, 'x', 0);
}

/* Blocks, until the child gives. */
static void wait_here(void)
{
	result = sem_do(sem, 1, -1, 0);
}

static int depth;

static void wait_deeper(void)
{
	if (++depth == 1)
		result = sem_do(sem, 1, -1, 0) == -1 && errno == EINTR ? 0 : 5;
	else
		give_unit();
}

static void give_second(void)
{
	wait_until(proc_settled(getppid(), getppid()));
	sem_do(sem, 1, 1, 0);
}

static void fresh_objects(void)
{
	sem = sem_new(2);
	msg = msg_new();
	result = -1;
	depth = 0;
}

static void old_objects(void)
{
	is(proc_wait(child), 0, "the other process has done its part");
	obj_remove(SEM, sem);
	obj_remove(MSG, msg);
}

static void test_blocked(void)
{
	fresh_objects();
	job = every_call;
	wake_me(1, NULL);
	call_fails(sem_do(sem, 0, -1, 0), EINTR, "a blocked semop, interrupted: EINTR");
	is(result, 0, "the handler made calls of all families, on the same set too");
	is(sem_ncnt(sem, 0), 0, "nobody waits any more");
	is(sem_value(sem, 1), 1, "what the handler did has happened");
	wake_me(1, NULL);
	call_fails(receive(), EINTR, "a blocked msgrcv, interrupted: EINTR");
	is(result, 1, "its handler ran: here the second semaphore had another value");
	old_objects();
}

static void test_removed(void)
{
	fresh_objects();
	job = remove_set;
	wake_me(1, NULL);
	call_fails(sem_do(sem, 0, -1, 0), EINTR, "semop, its set removed by the handler: EINTR");
	is(result, 0, "the handler removed it");
	call_fails(sem_do(sem, 0, 1, 0), EINVAL, "afterwards it is gone");
	proc_wait(child);
	job = remove_queue;
	wake_me(1, NULL);
	call_fails(receive(), EINTR, "msgrcv, its queue removed by the handler: EINTR");
	is(result, 0, "the handler removed it");
	call_fails(receive(), EINVAL, "afterwards it is gone");
	is(proc_wait(child), 0, "the other process has done its part");
}

static void test_given(void)
{
	fresh_objects();
	job = give_unit;
	wake_me(1, NULL);
	call_fails(sem_do(sem, 0, -1, 0), EINTR, "semop, the handler adds what it waited for: EINTR");
	is(sem_value(sem, 0), 1, "and the unit is there for the next");
	proc_wait(child);
	job = send_it;
	wake_me(1, NULL);
	call_fails(receive(), EINTR, "msgrcv, the handler sends what it waited for: EINTR");
	is(msg_stat(msg).msg_qnum, 1, "and the message is there for the next");
	old_objects();
}

static void test_blocks_itself(void)
{
	fresh_objects();
	job = wait_here;
	wake_me(1, give_second);
	call_fails(sem_do(sem, 0, -1, 0), EINTR, "semop, the handler blocks in another one: EINTR");
	is(result, 0, "after the handler's has got its unit");
	is(sem_value(sem, 1), 0, "which it took");
	old_objects();

	fresh_objects();
	job = wait_deeper;
	wake_me(2, NULL);
	call_fails(sem_do(sem, 0, -1, 0), EINTR, "a handler in a handler: EINTR for the outer call");
	is(result, 0, "and for the inner one; what the innermost gave");
	is(sem_value(sem, 0), 1, "is there for the next");
	old_objects();
}

/* ---- at any moment ---- */

static volatile int rounds, wrong;

static void make_and_remove(void)
{
	int s = semget(IPC_PRIVATE, 1, 0600), h = shmget(IPC_PRIVATE, PAGE, 0600);
	char *p = shmat(h, NULL, 0);

	if (s < 0 || p == (char *)-1 || sem_do(s, 0, 1, SEM_UNDO) || shmdt(p) || semctl(s, 0, IPC_RMID) ||
	    shmctl(h, IPC_RMID, NULL))
		wrong = wrong ? wrong : errno + 1;
	rounds++;
}

static void in_malloc(int i)
{
	void *p[16];

	for (int k = 0; k < 16; k++)
		p[k] = malloc((size_t)(100 + 37 * k * (i % 50)));
	for (int k = 0; k < 16; k++)
		free(p[k]);
}

static void in_calls(__attribute__((unused)) int i)
{
	int id;

	make_and_remove();
	id = msgget(IPC_PRIVATE, 0600);
	if (id < 0 || msgctl(id, IPC_RMID, NULL))
		wrong = wrong ? wrong : errno + 1;
}

/* In a process of its own, given up when it hangs. */
struct moment { void (*work)(int); int rounds; };

static int any_moment_run(void *arg)
{
	struct itimerval t = { { 0, 300 }, { 0, 300 } };
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct moment *m = arg;

	job = make_and_remove;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	for (int i = 0; rounds < m->rounds; i++)
		m->work(i);
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	return wrong;
}

static void test_any_moment(void (*work)(int), int wanted, const char *name)
{
	struct moment m = { work, wanted };

	is(proc_wait(proc_run(any_moment_run, &m)), 0,
	   "a handler makes and removes objects while the program %s", name);
}

int main(void)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_NODEFER };

	alarm(60);
	shm = shm_new(PAGE);
	sigaction(SIGUSR1, &sa, NULL);
	test_blocked();
	test_removed();
	test_given();
	test_blocks_itself();
	alarm(0);
	test_any_moment(in_malloc, 600, "is in malloc");
	test_any_moment(in_calls, 1200, "does that too");
	return done_testing();
}
