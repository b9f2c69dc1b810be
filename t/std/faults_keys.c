/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys and ids: which object a key or an id names, and that a stale id names none. Run again with arguments, this
 * program is a stranger that knows ids and has never called shmget, semget or msgget.
 */
#include "objects.h"

#define KEY 0x41a70001

static unsigned int mode_of(enum kind kind, int id, key_t *key)
{
	if (kind == SHM) {
		struct shmid_ds ds = shm_stat(id);
		*key = ds.shm_perm.__key;
		return ds.shm_perm.mode;
	}
	if (kind == SEM) {
		struct semid_ds ds = sem_stat(id);
		*key = ds.sem_perm.__key;
		return ds.sem_perm.mode;
	}
	struct msqid_ds ds = msg_stat(id);
	*key = ds.msg_perm.__key;
	return ds.msg_perm.mode;
}

static key_t key_of(enum kind kind, int id)
{
	key_t key;

	mode_of(kind, id, &key);
	return key;
}

static void test_private(enum kind kind)
{
	int a = obj_keep(kind, obj_get(kind, IPC_PRIVATE, 0600));
	int b = obj_keep(kind, obj_get(kind, IPC_PRIVATE, 0600));
	int c = obj_keep(kind, obj_get(kind, IPC_PRIVATE, 0600 | IPC_CREAT | IPC_EXCL));
	int d = obj_keep(kind, obj_get(kind, IPC_PRIVATE, 0600 | IPC_EXCL));

	ok(a != b && a != c && b != c && d != a && d != b && d != c, "%s: IPC_PRIVATE each time gives another object",
	   obj_name(kind));
	is(key_of(kind, a), 0, "%s: IPC_PRIVATE shows as key 0", obj_name(kind));
}

static void test_private_contents(void)
{
	int a = sem_new(1), b = sem_new(1), s = shm_new(PAGE), t = shm_new(PAGE);
	char *p = shm_map(s, 0), *q = shm_map(t, 0);

	sem_set(a, 0, 7);
	strcpy(p, "first");
	is(sem_value(b, 0), 0, "two private sets hold values of their own");
	ok(q[0] == 0, "two private segments hold memory of their own");
	shmdt(p);
	shmdt(q);
}

static void test_high_bits(enum kind kind)
{
	static const unsigned int keys[] = {
		0x00a70001, 0x01a70001, 0x10a70001, 0x80a70001, 0xffa70001, 0x00a80001, 0x00270001, 0x40a70001,
		0x00000001, 0x00010001, 0x01000001, 0x80000001, 0xffffffff, 0x7fffffff, 0x80000000, 0x0000ffff,
	};
	int ids[COUNT(keys)], distinct = 1, right = 1, found = 1;

	for (unsigned int i = 0; i < COUNT(keys); i++) {
		ids[i] = obj_keep(kind, obj_get(kind, (key_t)keys[i], 0600 | IPC_CREAT | IPC_EXCL));
		for (unsigned int j = 0; j < i; j++)
			distinct &= ids[i] != ids[j];
	}
	for (unsigned int i = 0; i < COUNT(keys); i++) {
		right &= key_of(kind, ids[i]) == (key_t)keys[i];
		found &= obj_get(kind, (key_t)keys[i], 0) == ids[i];
	}
	ok(distinct, "%s: keys that differ only in high bits name different objects", obj_name(kind));
	ok(right, "%s: all 32 bits of a key are shown", obj_name(kind));
	ok(found, "%s: each of these keys finds its own object", obj_name(kind));
	for (unsigned int i = 0; i < COUNT(keys); i++)
		obj_remove(kind, ids[i]);
}

static void test_create(enum kind kind)
{
	int id, again;

	call_fails(obj_get(kind, KEY, 0600), ENOENT, "%s: no IPC_CREAT, no object: ENOENT", obj_name(kind));
	call_fails(obj_get(kind, KEY, 0600 | IPC_EXCL), ENOENT, "%s: IPC_EXCL alone creates nothing", obj_name(kind));
	id = obj_keep(kind, obj_get(kind, KEY, 0640 | IPC_CREAT | IPC_EXCL));
	call_fails(obj_get(kind, KEY, 0600 | IPC_CREAT | IPC_EXCL), EEXIST, "%s: IPC_CREAT | IPC_EXCL of what exists",
		   obj_name(kind));
	is(obj_get(kind, KEY, 0600 | IPC_CREAT), id, "%s: IPC_CREAT finds what exists", obj_name(kind));
	is(obj_get(kind, KEY, IPC_EXCL), id, "%s: IPC_EXCL alone finds what exists", obj_name(kind));
	is(mode_of(kind, id, &(key_t){ 0 }), 0640, "%s: the mode is the creator's, whatever the umask", obj_name(kind));

	obj_remove(kind, id);
	call_fails(obj_get(kind, KEY, 0), ENOENT, "%s: a removed object's key is free", obj_name(kind));
	again = obj_keep(kind, obj_get(kind, KEY, 0600 | IPC_CREAT | IPC_EXCL));
	ok(again != id, "%s: the key's next object has another id", obj_name(kind));
	obj_remove(kind, again);
}

static int ask(enum kind kind, int id)
{
	if (kind == SHM)
		return shmctl(id, IPC_STAT, &(struct shmid_ds){ 0 });
	return kind == SEM ? semctl(id, 0, GETVAL) : msgctl(id, IPC_STAT, &(struct msqid_ds){ 0 });
}

static void test_stale(enum kind kind)
{
	int id = obj_get(kind, IPC_PRIVATE, 0600), clash = 0, named = 0;

	obj_remove(kind, id);
	call_fails(ask(kind, id), EINVAL, "%s: a removed object's id is EINVAL", obj_name(kind));
	call_fails(obj_remove(kind, id), EINVAL, "%s: it cannot be removed twice", obj_name(kind));
	for (int i = 0; i < 400; i++) {
		int other = obj_get(kind, IPC_PRIVATE, 0600);
		clash += other == id;
		named += ask(kind, id) != -1;
		obj_remove(kind, other);
	}
	ok(!clash && !named, "%s: a stale id names none of the next 400 objects", obj_name(kind));
	call_fails(ask(kind, -1), EINVAL, "%s: id -1 is EINVAL", obj_name(kind));
	call_fails(ask(kind, INT32_MAX), EINVAL, "%s: id INT_MAX is EINVAL", obj_name(kind));
}

#define RACERS 6
#define ROUNDS 60

struct race {
	enum kind kind;
	int flags;
	atomic_int arrived[ROUNDS], left[ROUNDS], won[ROUNDS], failed;
	int id[ROUNDS][RACERS], who;
};

static int race_run(void *arg)
{
	struct race *r = arg;
	int me = atomic_fetch_add((atomic_int *)&r->who, 1);

	for (int i = 0; i < ROUNDS; i++) {
		r->arrived[i]++;
		while (r->arrived[i] < RACERS)
			sched_yield();
		r->id[i][me] = obj_get(r->kind, KEY + i, r->flags);
		if (r->id[i][me] >= 0)
			r->won[i]++;
		else if (errno != EEXIST)
			r->failed++;
		r->left[i]++;
		if (!wait_until(r->left[i] == RACERS))
			return 1;
	}
	return 0;
}

static void race(enum kind kind, int flags, struct race *r)
{
	pid_t pid[RACERS];
	int bad = 0;

	memset(r, 0, sizeof *r);
	r->kind = kind;
	r->flags = flags;
	for (int i = 0; i < RACERS; i++)
		pid[i] = proc_run(race_run, r);
	for (int i = 0; i < RACERS; i++)
		bad += proc_wait(pid[i]) != 0;
	ok(!bad && !r->failed, "%s: %d processes create the same key %s IPC_EXCL", obj_name(kind), RACERS,
	   flags & IPC_EXCL ? "with" : "without");
	for (int i = 0; i < ROUNDS; i++)
		obj_remove(kind, obj_get(kind, KEY + i, 0));
}

static void test_race(enum kind kind)
{
	struct race *r = shared_new(sizeof *r);
	int bad = 0;

	race(kind, 0600 | IPC_CREAT | IPC_EXCL, r);
	for (int i = 0; i < ROUNDS; i++)
		bad += r->won[i] != 1;
	is(bad, 0, "%s: exactly one of them makes it", obj_name(kind));

	race(kind, 0600 | IPC_CREAT, r);
	for (int i = 0; i < ROUNDS; i++)
		for (int j = 0; j < RACERS; j++)
			bad += r->id[i][j] != r->id[i][0];
	is(bad, 0, "%s: all of them get the same id", obj_name(kind));
	munmap(r, sizeof *r);
}

/* The stranger: takes a unit, changes the segment, answers a message. */
static int stranger(char **id)
{
	char *p = shmat(atoi(id[0]), NULL, 0);

	if (p == (char *)-1 || strcmp(p, "hello"))
		return 1;
	strcpy(p, "hello, stranger");
	if (sem_do(atoi(id[1]), 0, -1, IPC_NOWAIT))
		return 2;
	if (msg_take(atoi(id[2]), 5, IPC_NOWAIT) != 5 || msg_put(atoi(id[2]), 6, 1, 'a', IPC_NOWAIT))
		return 3;
	return 0;
}

static void test_stranger(void)
{
	int shm = shm_new(PAGE), sem = sem_new(1), msg = msg_new();
	char *p = shm_map(shm, 0), arg[3][16];
	pid_t pid;

	strcpy(p, "hello");
	sem_set(sem, 0, 2);
	msg_put(msg, 5, 10, 'x', 0);
	snprintf(arg[0], 16, "%d", shm);
	snprintf(arg[1], 16, "%d", sem);
	snprintf(arg[2], 16, "%d", msg);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "faults_keys", arg[0], arg[1], arg[2], NULL);
		_exit(98);
	}
	is(proc_wait(pid), 0, "ids work in a program that never called *get");
	ok(!strcmp(p, "hello, stranger"), "shmat by an id that another process created: it is the same memory");
	is(sem_value(sem, 0), 1, "semop by such an id took the unit");
	is(sem_pid(sem, 0), pid, "and GETPID names the stranger");
	is(msg_take(msg, 0, IPC_NOWAIT), 6, "its message is in the queue");
	shmdt(p);
}

static int create_run(void *arg)
{
	int *id = arg;
	char *p;

	*id = shmget(IPC_PRIVATE, PAGE, 0600);
	p = shm_map(*id, 0);
	strcpy(p, "left behind");
	return 0;
}

static void test_dead_creator(void)
{
	int *id = shared_new(sizeof *id);
	pid_t pid = proc_run(create_run, id);
	char *p;

	proc_wait(pid);
	obj_keep(SHM, *id);
	p = shmat(*id, NULL, 0);
	ok(p != (char *)-1 && !strcmp(p, "left behind"), "shmat by the id that a process created which has ended");
	is(shm_stat(*id).shm_cpid, pid, "shm_cpid still names it");
	shmdt(p);
	munmap(id, sizeof *id);
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return stranger(argv + 1);
	alarm(60);
	for (enum kind kind = SHM; kind <= MSG; kind++) {
		test_private(kind);
		test_high_bits(kind);
		test_create(kind);
		test_stale(kind);
		test_race(kind);
	}
	test_private_contents();
	test_stranger();
	test_dead_creator();
	return done_testing();
}
