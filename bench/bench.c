/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One measurement of one case, by the standard calls only: `bench CASE [MS]` works for about MS milliseconds and
 * prints nanoseconds. Which implementation is measured is decided by who starts it (run.sh does both in turn).
 *
 * Rules: the time is the mean of everything done within the sample, so what comes rarely (a checkpoint, a
 * preemption) is in it; what is needed beforehand is made, and used once, before the clock starts. Every object is
 * in `objects` from its creation on, and only the first process removes: signal handlers only note the signal, and
 * the blocking calls then end with EINTR. A process that hangs ends by its alarm.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIME_LIMIT 120		/* seconds for the whole sample, removal aside */
#define CLEAN_LIMIT 60		/* seconds for the removal */
#define MANY 31990		/* "32,000": the default semmni, with room for ten more */
#define MIB (1024L * 1024)
#define MAX_CHILDREN 8

enum kind { SEM, MSG, SHM };

struct object {
	enum kind kind;
	int id;
};

struct bench_case {
	const char *name;
	const char *what;			/* what the time is of */
	void (*prepare)(void);
	void (*run)(long n);			/* n times; n is even */
	long arg;
	int flags;
	double (*measure)(double seconds);	/* in place of run */
};

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

struct contender {
	_Alignas(64) volatile uint64_t rounds;
};

/* What the processes of one case share. */
struct shared {
	volatile bool stop;
	_Alignas(64) volatile uint64_t inside;	/* changed only by who holds the semaphore */
	struct contender contender[MAX_CHILDREN];
};

static const struct bench_case *cur;
static struct object *objects;
static size_t object_count, object_room;
static pid_t owner, children[MAX_CHILDREN];
static volatile sig_atomic_t stopped, cleaning, reminders;
static struct shared *shared;
static int id, id2;
static key_t key;
static int *order;				/* the ids of many sets in a random sequence */
static long order_count, order_next;
static struct {
	long type;
	char text[8192];
} message;

/* ---- ending: nothing stays behind ---- */

static int object_remove(struct object o)
{
	switch (o.kind) {
	case SEM:
		return semctl(o.id, 0, IPC_RMID);
	case MSG:
		return msgctl(o.id, IPC_RMID, NULL);
	default:
		return shmctl(o.id, IPC_RMID, NULL);
	}
}

static void clean(void)
{
	cleaning = 1;
	alarm(CLEAN_LIMIT);
	for (int i = 0; i < MAX_CHILDREN; i++) {
		if (children[i] <= 0)
			continue;
		kill(children[i], SIGKILL);
		while (waitpid(children[i], NULL, 0) == -1 && errno == EINTR)
			;
		children[i] = 0;
	}
	while (object_count > 0)
		object_remove(objects[--object_count]);
	alarm(0);
}

static void on_signal(int sig)
{
	int saved = errno;

	if (getpid() != owner)
		return;
	if (cleaning) {
		if (sig == SIGALRM)
			_exit(1);
		return;
	}
	if (!stopped)
		stopped = sig;
	else if (++reminders > 5) {	/* deaf: in a loop that never comes back */
		clean();
		_exit(1);
	}
	alarm(1);	/* again, for a call that was about to sleep */
	errno = saved;
}

__attribute__((noreturn)) static void end_by_signal(void)
{
	int sig = stopped;

	clean();
	if (sig == SIGALRM) {
		fprintf(stderr, "bench: %s: gave up after %d s\n", cur->name, TIME_LIMIT);
		exit(1);
	}
	signal(sig, SIG_DFL);
	raise(sig);
	exit(1);
}

__attribute__((noreturn)) static void fail(const char *what)
{
	int err = errno;

	if (getpid() != owner) {
		fprintf(stderr, "bench: %s: %s: %s (in a child)\n", cur->name, what, strerror(err));
		kill(owner, SIGTERM);
		_exit(1);
	}
	if (stopped)
		end_by_signal();
	clean();
	fprintf(stderr, "bench: %s: %s: %s\n", cur->name, what, strerror(err));
	exit(1);
}

static void signals_to(void (*handler)(int))
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM };
	struct sigaction sa = { .sa_handler = handler };

	for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
		sigaction(caught[i], &sa, NULL);
}

/* ---- tools ---- */

static inline int must(int r, const char *what)
{
	if (__builtin_expect(r == -1, 0))
		fail(what);
	return r;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t random_next(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static void object_room_for(size_t n)
{
	if (n <= object_room)
		return;
	objects = realloc(objects, n * sizeof *objects);
	if (!objects)
		fail("realloc");
	object_room = n;
}

static inline int object_note(enum kind kind, int new, const char *what)
{
	must(new, what);
	objects[object_count++] = (struct object){ kind, new };
	return new;
}

static inline void object_drop(const char *what)
{
	must(object_remove(objects[object_count - 1]), what);
	object_count--;
}

static int new_sem(int nsems)
{
	return object_note(SEM, semget(IPC_PRIVATE, nsems, 0600), "semget");
}

static int new_msg(void)
{
	return object_note(MSG, msgget(IPC_PRIVATE, 0600), "msgget");
}

static int new_shm(size_t size)
{
	return object_note(SHM, shmget(IPC_PRIVATE, size, 0600), "shmget");
}

/* Start a child that calls loop(arg) until it is killed or its object is removed. */
static void child_start(int slot, void (*loop)(int), int arg)
{
	pid_t pid = must(fork(), "fork");

	if (pid != 0) {
		children[slot] = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != owner)
		_exit(1);
	signals_to(SIG_IGN);	/* the parent ends it */
	loop(arg);
	_exit(0);
}

static inline int sem_change(int set, int num, int by, int flags)
{
	struct sembuf op = { .sem_num = num, .sem_op = by, .sem_flg = flags };

	return semop(set, &op, 1);
}

/* ---- semaphores ---- */

static void sem_prepare(void)
{
	id = new_sem(8);
}

static void sem_run(long n)
{
	struct sembuf up[4], down[4];
	int nops = cur->arg;

	for (int i = 0; i < nops; i++) {
		up[i] = (struct sembuf){ i, 1, cur->flags };
		down[i] = (struct sembuf){ i, -1, cur->flags };
	}
	for (long i = 0; i < n; i += 2) {
		must(semop(id, up, nops), "semop up");
		must(semop(id, down, nops), "semop down");
	}
}

static void eagain_run(long n)
{
	struct sembuf op = { 0, -1, IPC_NOWAIT };

	for (long i = 0; i < n; i++)
		if (semop(id, &op, 1) != -1 || errno != EAGAIN)
			fail("semop that should give EAGAIN");
}

static void getval_run(long n)
{
	for (long i = 0; i < n; i++)
		must(semctl(id, 0, GETVAL), "GETVAL");
}

static void setval_run(long n)
{
	for (long i = 0; i < n; i++)
		must(semctl(id, 0, SETVAL, (union semun){ .val = i & 1 }), "SETVAL");
}

static void sem_echo(int unused)
{
	(void)unused;
	for (;;) {
		must(sem_change(id, 1, -1, 0), "semop");
		must(sem_change(id, 0, 1, 0), "semop");
	}
}

static void sem_pingpong_prepare(void)
{
	id = new_sem(2);
	child_start(0, sem_echo, 0);
}

static void sem_pingpong_run(long n)
{
	for (long i = 0; i < n; i++) {
		must(sem_change(id, 1, 1, 0), "semop");
		must(sem_change(id, 0, -1, 0), "semop");
	}
}

static void contend(int who)
{
	while (!shared->stop) {
		must(sem_change(id, 0, -1, 0), "semop");
		shared->inside = shared->inside + 1;
		must(sem_change(id, 0, 1, 0), "semop");
		shared->contender[who].rounds++;
	}
}

static uint64_t contended_rounds(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < cur->arg; i++)
		sum += shared->contender[i].rounds;
	return sum;
}

static void pause_for(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds, .tv_nsec = (seconds - (time_t)seconds) * 1e9 };

	must(nanosleep(&t, NULL), "nanosleep");
}

static void contenders_join(void)
{
	shared->stop = true;
	for (int i = 0; i < cur->arg; i++) {
		must(waitpid(children[i], NULL, 0), "waitpid");
		children[i] = 0;
	}
	errno = 0;
	if (contended_rounds() != shared->inside)
		fail("two processes held the semaphore at once");
}

static double contend_measure(double seconds)
{
	uint64_t before, after;
	double start, end;

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	must(semctl(id, 0, SETVAL, (union semun){ .val = 1 }), "SETVAL");
	for (int i = 0; i < cur->arg; i++)
		child_start(i, contend, i);
	pause_for(seconds / 4);
	start = now();
	before = contended_rounds();
	pause_for(seconds);
	after = contended_rounds();
	end = now();
	contenders_join();
	errno = 0;
	if (after == before)
		fail("nobody got the semaphore");
	return (end - start) * 1e9 / (after - before);
}

/* ---- messages ---- */

static void msg_send(int queue, long type, size_t size)
{
	message.type = type;
	must(msgsnd(queue, &message, size, 0), "msgsnd");
}

static void msg_receive(int queue, long type)
{
	must(msgrcv(queue, &message, sizeof message.text, type, 0), "msgrcv");
}

static void msg_prepare(void)
{
	id = new_msg();
	id2 = new_msg();
}

static void msg_run(long n)
{
	for (long i = 0; i < n; i++) {
		msg_send(id, 1, cur->arg);
		msg_receive(id, 0);
	}
}

static void msg_raise(int queue, size_t bytes)
{
	struct msqid_ds ds;

	must(msgctl(queue, IPC_STAT, &ds), "IPC_STAT");
	if (ds.msg_qbytes >= bytes)
		return;
	ds.msg_qbytes = bytes;
	must(msgctl(queue, IPC_SET, &ds), "IPC_SET msg_qbytes");
}

/*
 * The queue holds one message of each type from 1 on, of one byte: so 10,000 fit into the default msgmnb, above which
 * not every root may go.
 */
static void msg_type_prepare(void)
{
	id = new_msg();
	msg_raise(id, cur->arg + 1);
	for (long type = 1; type <= cur->arg; type++)
		msg_send(id, type, 1);
}

static void msg_type_run(long n)
{
	for (long i = 0; i < n; i++) {
		long type = random_next() % cur->arg + 1;

		msg_receive(id, type);
		msg_send(id, type, 1);
	}
}

static void msg_echo(int unused)
{
	(void)unused;
	for (;;) {
		msg_receive(id, 0);
		msg_send(id2, 1, 64);
	}
}

static void msg_pingpong_prepare(void)
{
	msg_prepare();
	child_start(0, msg_echo, 0);
}

static void msg_pingpong_run(long n)
{
	for (long i = 0; i < n; i++) {
		msg_send(id, 1, 64);
		msg_receive(id2, 0);
	}
}

/* Takes everything; a message of type 2 is answered. */
static void msg_sink(int unused)
{
	(void)unused;
	for (;;) {
		msg_receive(id, 0);
		if (message.type == 2)
			msg_send(id2, 1, 0);
	}
}

static void msg_stream_prepare(void)
{
	msg_prepare();
	child_start(0, msg_sink, 0);
}

static void msg_stream_run(long n)
{
	for (long i = 1; i < n; i++)
		msg_send(id, 1, 64);
	msg_send(id, 2, 64);
	msg_receive(id2, 0);
}

/* ---- lookup and state ---- */

static int get(enum kind kind, int flags)
{
	switch (kind) {
	case SEM:
		return semget(key, 1, flags);
	case MSG:
		return msgget(key, flags);
	default:
		return shmget(key, 4096, flags);
	}
}

static void get_prepare(void)
{
	for (int tries = 0; tries < 100; tries++) {
		key = (getpid() << 12) + 0x40000000 + tries;
		id = get(cur->arg, IPC_CREAT | IPC_EXCL | 0600);
		if (id != -1 || errno != EEXIST)
			break;
	}
	object_note(cur->arg, id, "*get of a new key");
}

static void get_run(long n)
{
	for (long i = 0; i < n; i++)
		if (get(cur->arg, 0600) != id)
			fail("*get of an existing key");
}

static void stat_run(long n)
{
	union {
		struct semid_ds sem;
		struct msqid_ds msg;
		struct shmid_ds shm;
	} ds;

	switch (cur->arg) {
	case SEM:
		for (long i = 0; i < n; i++)
			must(semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds.sem }), "semctl IPC_STAT");
		break;
	case MSG:
		for (long i = 0; i < n; i++)
			must(msgctl(id, IPC_STAT, &ds.msg), "msgctl IPC_STAT");
		break;
	default:
		for (long i = 0; i < n; i++)
			must(shmctl(id, IPC_STAT, &ds.shm), "shmctl IPC_STAT");
	}
}

/* ---- shared memory ---- */

static void shm_touch(volatile char *p, size_t size)
{
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
}

static void shm_once(bool touch)
{
	char *p = shmat(id, NULL, 0);

	if (p == (char *)-1)
		fail("shmat");
	if (touch)
		shm_touch(p, MIB);
	must(shmdt(p), "shmdt");
}

static void shm_prepare(void)
{
	id = new_shm(MIB);
	shm_once(true);		/* so that its pages exist */
}

static void shm_run(long n)
{
	for (long i = 0; i < n; i++)
		shm_once(cur->arg);
}

/* ---- create and remove ---- */

static void create_sem_run(long n)
{
	for (long i = 0; i < n; i++) {
		new_sem(1);
		object_drop("semctl IPC_RMID");
	}
}

static void create_msg_run(long n)
{
	for (long i = 0; i < n; i++) {
		new_msg();
		object_drop("msgctl IPC_RMID");
	}
}

static void create_shm_run(long n)
{
	for (long i = 0; i < n; i++) {
		new_shm(cur->arg);
		object_drop("shmctl IPC_RMID");
	}
}

/* ---- many sets ---- */

static void order_shuffle(void)
{
	for (long i = order_count - 1; i > 0; i--) {
		long j = random_next() % (i + 1);
		int t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void many_run(long n)
{
	for (long i = 0; i < n; i += 2) {
		int set = order[order_next];

		if (++order_next == order_count)
			order_next = 0;
		must(sem_change(set, 0, 1, 0), "semop up");
		must(sem_change(set, 0, -1, 0), "semop down");
	}
}

/*
 * arg sets in a random sequence; each has been used once, so nothing that only the first use costs is measured. flags:
 * so many more that nobody uses.
 */
static void many_prepare(void)
{
	order_count = cur->arg;
	object_room_for(order_count + (size_t)cur->flags);
	order = malloc(order_count * sizeof *order);
	if (!order)
		fail("malloc");
	for (long i = 0; i < order_count; i++) {
		order[i] = new_sem(1);
		if (stopped)
			end_by_signal();
	}
	for (int i = 0; i < cur->flags; i++) {
		new_sem(1);
		if (stopped)
			end_by_signal();
	}
	order_shuffle();
	many_run(2 * order_count);
}

/* ---- the cases ---- */

static const struct bench_case cases[] = {
	{ "semop", "semop up/down, a call", sem_prepare, sem_run, .arg = 1 },
	{ "semop-undo", "semop with undo, a call", sem_prepare, sem_run, .arg = 1, .flags = SEM_UNDO },
	{ "semop-2", "semop of 2, a call", sem_prepare, sem_run, .arg = 2 },
	{ "semop-4", "semop of 4, a call", sem_prepare, sem_run, .arg = 4 },
	{ "semop-eagain", "semop giving EAGAIN", sem_prepare, .run = eagain_run },
	{ "getval", "GETVAL", sem_prepare, .run = getval_run },
	{ "setval", "SETVAL", sem_prepare, .run = setval_run },
	{ "sem-pingpong", "semaphore back and forth, a round trip", sem_pingpong_prepare, .run = sem_pingpong_run },
	{ "sem-contend-2", "2 processes contending, down+up", sem_prepare, .measure = contend_measure, .arg = 2 },
	{ "sem-contend-8", "8 processes contending, down+up", sem_prepare, .measure = contend_measure, .arg = 8 },
	{ "msg-0", "msgsnd+msgrcv of 0 bytes", msg_prepare, msg_run, .arg = 0 },
	{ "msg-64", "msgsnd+msgrcv of 64 bytes", msg_prepare, msg_run, .arg = 64 },
	{ "msg-1024", "msgsnd+msgrcv of 1024 bytes", msg_prepare, msg_run, .arg = 1024 },
	{ "msg-8192", "msgsnd+msgrcv of 8192 bytes", msg_prepare, msg_run, .arg = 8192 },
	{ "msg-type-100", "msgrcv by type, depth 100, +msgsnd", msg_type_prepare, msg_type_run, .arg = 100 },
	{ "msg-type-10000", "msgrcv by type, depth 10,000, +msgsnd", msg_type_prepare, msg_type_run, .arg = 10000 },
	{ "msg-pingpong", "message back and forth, a round trip", msg_pingpong_prepare, .run = msg_pingpong_run },
	{ "msg-stream", "one-way stream of 64 bytes, a message", msg_stream_prepare, .run = msg_stream_run },
	{ "semget", "semget of an existing key", get_prepare, get_run, .arg = SEM },
	{ "msgget", "msgget of an existing key", get_prepare, get_run, .arg = MSG },
	{ "shmget", "shmget of an existing key", get_prepare, get_run, .arg = SHM },
	{ "sem-stat", "semctl IPC_STAT", get_prepare, stat_run, .arg = SEM },
	{ "msg-stat", "msgctl IPC_STAT", get_prepare, stat_run, .arg = MSG },
	{ "shm-stat", "shmctl IPC_STAT", get_prepare, stat_run, .arg = SHM },
	{ "shmat", "shmat+shmdt of 1 MiB", shm_prepare, shm_run, .arg = false },
	{ "shmat-touch", "shmat+shmdt of 1 MiB, each page touched", shm_prepare, shm_run, .arg = true },
	{ "create-sem", "create+remove a semaphore set", .run = create_sem_run },
	{ "create-msg", "create+remove a message queue", .run = create_msg_run },
	{ "create-shm", "create+remove a segment of 4 KiB", .run = create_shm_run, .arg = 4096 },
	{ "create-shm-1g", "create+remove a segment of 1 GiB", .run = create_shm_run, .arg = 1024 * MIB },
	{ "semop-10-sets", "semop, 10 sets at random, a call", many_prepare, many_run, .arg = 10 },
	{ "semop-10-of-32000", "semop, 10 sets at random of 32,000, a call", many_prepare, many_run, .arg = 10,
	  .flags = MANY - 10 },
	{ "semop-32000-sets", "semop, 32,000 sets at random, a call", many_prepare, many_run, .arg = MANY },
};
#define CASE_COUNT (sizeof cases / sizeof cases[0])

static double timed(long n)
{
	double start = now();

	cur->run(n);
	if (stopped)
		end_by_signal();
	return now() - start;
}

/* The mean of about so many seconds; what the warm-up took says how often that is. */
static double measure(double seconds)
{
	double took;
	long n = 2;

	while ((took = timed(n)) < seconds / 8)
		n *= 2;
	n = (long)(n * seconds / took) & ~1L;
	if (n < 2)
		n = 2;
	return timed(n) * 1e9 / n;
}

static int list(void)
{
	for (size_t i = 0; i < CASE_COUNT; i++)
		printf("%s\t%s\n", cases[i].name, cases[i].what);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench list | bench CASE [MS]\n");
	return 2;
}

static const struct bench_case *case_find(const char *name)
{
	for (size_t i = 0; i < CASE_COUNT; i++)
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	return NULL;
}

int main(int argc, char **argv)
{
	double ns, seconds = 0.1;

	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list();
	if (argc == 3)
		seconds = atof(argv[2]) / 1000;
	if (argc < 2 || argc > 3 || seconds <= 0 || seconds > 10)
		return usage();
	cur = case_find(argv[1]);
	if (!cur) {
		fprintf(stderr, "bench: no case %s; `bench list` names them\n", argv[1]);
		return 2;
	}
	owner = getpid();
	object_room_for(8);
	signals_to(on_signal);
	alarm(TIME_LIMIT);
	if (cur->prepare)
		cur->prepare();
	ns = cur->measure ? cur->measure(seconds) : measure(seconds);
	clean();
	if (stopped)
		end_by_signal();
	printf("%.1f\n", ns);
	return fflush(stdout) == 0 ? 0 : 1;
}
