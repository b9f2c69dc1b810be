/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New programs by vfork, posix_spawn, system and popen, and what programs do to become daemons: none of it takes
 * anything from the process that does it. Run again with arguments, this program is the one that was started.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>

#include "objects.h"

extern char **environ;

static int shm, sem, queue;
static char *map;

/* The program that is started: uses all by id, waits for a unit, ends. */
static int started(char **arg)
{
	int a = atoi(arg[0]), b = atoi(arg[1]), c = atoi(arg[2]);
	char *p;

	alarm(60);
	if (shm_nattch(a) != 1)
		return 1;
	p = shmat(a, NULL, 0);
	if (p == (char *)-1 || shm_nattch(a) != 2)
		return 2;
	strcpy(p, "started");
	if (sem_do(b, 0, 1, SEM_UNDO) || msg_put(c, 3, 10, 's', IPC_NOWAIT))
		return 3;
	if (sem_do(b, 1, -1, 0) || sem_value(b, 0) != 6)
		return 4;
	return 0;
}

static void fresh(void)
{
	shm = shm_new(PAGE);
	sem = sem_new(2);
	queue = msg_new();
	map = shm_map(shm, 0);
}

static char **args(void)
{
	static char arg[3][16];
	static char name[] = "fork_spawn";
	static char *v[] = { name, arg[0], arg[1], arg[2], NULL };

	snprintf(arg[0], 16, "%d", shm);
	snprintf(arg[1], 16, "%d", sem);
	snprintf(arg[2], 16, "%d", queue);
	return v;
}

/* Start the program. A vfork or spawn that fails, or a child that only exits, is tried first. */
static pid_t start(char how)
{
	char **v = args();
	pid_t pid = -1;

	if (how == 'v') {
		pid = vfork();
		if (pid == 0)
			_exit(7);
		if (proc_wait(pid) != 7)
			return -1;
		pid = vfork();
		if (pid == 0) {
			execve("/nonexistent", v, environ);
			_exit(8);
		}
		if (proc_wait(pid) != 8)
			return -1;
		pid = vfork();
		if (pid == 0) {
			execve("/proc/self/exe", v, environ);
			_exit(9);
		}
		return pid;
	}
	if (posix_spawn(&pid, "/nonexistent", NULL, NULL, v, environ) != ENOENT)
		return -1;
	return posix_spawn(&pid, "/proc/self/exe", NULL, NULL, v, environ) ? -1 : pid;
}

/* In a child, so that its undo shows in the end. */
static int starter(void *arg)
{
	pid_t pid;

	map = shm_map(shm, 0);
	if (sem_do(sem, 0, 5, SEM_UNDO))
		return 20;
	pid = start(*(char *)arg);
	if (pid < 0)
		return 21;
	if (!wait_until(sem_ncnt(sem, 1) == 1 || proc_state(pid, pid) == 'Z'))
		return 22;
	if (sem_value(sem, 0) != 6 || shm_nattch(shm) != 2 || strcmp(map, "started"))
		return 23;
	sem_do(sem, 1, 1, 0);
	if (proc_wait(pid))
		return 24;
	if (sem_value(sem, 0) != 5 || shm_nattch(shm) != 1 || sem_pid(sem, 0) != pid)
		return 25;
	if (msg_take(queue, 3, IPC_NOWAIT) != 3 || sem_do(sem, 0, 1, SEM_UNDO))
		return 26;
	return 0;
}

static void test_started(char how, const char *name)
{
	fresh();
	shmdt(map);
	is(proc_wait(proc_run(starter, &how)), 0, "%s: the new program has nothing of its parent's, and takes nothing",
	   name);
	is(sem_value(sem, 0), 0, "%s: the parent's undo comes with its end", name);
	is(shm_nattch(shm), 0, "%s: nobody is attached", name);
}

/* While a program runs that knows nothing of this, system and popen's parent is attached alone. */
static int shell_out(void *arg)
{
	char line[64] = "";
	FILE *f;

	(void)arg;
	map = shm_map(shm, 0);
	if (sem_do(sem, 0, 1, SEM_UNDO) || system("exit 3") != 3 << 8)
		return 1;
	if (sem_value(sem, 0) != 1 || shm_nattch(shm) != 1)
		return 2;
	f = popen("echo ready; read x", "r");
	if (!f || !fgets(line, sizeof line, f) || strcmp(line, "ready\n"))
		return 3;
	if (sem_value(sem, 0) != 1 || shm_nattch(shm) != 1)
		return 4;
	pclose(f);
	return sem_value(sem, 0) == 1 && shm_nattch(shm) == 1 && sem_do(sem, 0, 1, SEM_UNDO) == 0 ? 0 : 5;
}

static void test_shell(void)
{
	int null = open("/dev/null", O_RDONLY), in = dup(0);

	fresh();
	shmdt(map);
	dup2(null, 0);
	is(proc_wait(proc_run(shell_out, NULL)), 0, "system and popen take nothing from their caller");
	is(sem_value(sem, 0), 0, "whose undo comes with its end");
	dup2(in, 0);
	close(in);
	close(null);
}

/* Daemons: twice forked, a session of their own, every descriptor closed. */
static volatile int *step;

static int daemonize(void *arg)
{
	(void)arg;
	map = shm_map(shm, 0);
	sem_do(sem, 0, 1, SEM_UNDO);
	if (fork())
		_exit(0);
	setsid();
	if (fork())
		_exit(0);
	close_range(0, ~0U, 0);
	if (chdir("/") || sem_do(sem, 0, 10, SEM_UNDO))
		step[1] = 99;
	strcpy(map, "daemon");
	step[1] = getpid();
	wait_until(step[0]);
	_exit(msg_put(queue, 8, 10, 'd', 0));
}

static void test_daemon(void)
{
	fresh();
	shmdt(map);
	step = shared_new(PAGE);
	proc_wait(proc_run(daemonize, NULL));
	ok(wait_until(step[1]), "a daemon that has closed every descriptor");
	ok(wait_until(sem_value(sem, 0) == 10), "has undo of its own, and its forebears' is done");
	ok(wait_until(shm_nattch(shm) == 1), "is attached alone");
	is(shm_nattch(shm), 1, "and stays so");
	step[0] = 1;
	is(msg_take(queue, 0, 0), 8, "it sends a message, and ends");
	ok(wait_until(!sem_value(sem, 0) && !shm_nattch(shm)), "and all of it is gone, though nobody waits for it");
}

static int grandchild(void *arg)
{
	(void)arg;
	return sem_do(sem, 0, 1, SEM_UNDO) || shm_nattch(shm) != 2;
}

/* A process that closes every descriptor, and opens its own in their places. */
static int own_descriptors(void *arg)
{
	struct stat st, null;
	int seg, n = 0;
	char *p;

	(void)arg;
	map = shm_map(shm, 0);
	if (sem_do(sem, 0, 1, SEM_UNDO) || msg_put(queue, 1, 5, 'o', 0))
		return 1;
	for (int i = 0; i < 1024; i++)
		close(i);
	while (open("/dev/null", O_RDONLY) < 39)
		n++;
	if (n != 39 || stat("/dev/null", &null))
		return 2;
	if (sem_do(sem, 0, 1, SEM_UNDO) || msg_take(queue, 1, 0) != 1 || semget(IPC_PRIVATE, 0, 0600) != -1)
		return 3;
	seg = shmget(IPC_PRIVATE, PAGE, 0600);
	p = shmat(seg, NULL, 0);
	if (seg < 0 || p == (char *)-1 || shmctl(seg, IPC_RMID, NULL))
		return 4;
	*p = 1;
	if (shmdt(p) || shm_nattch(shm) != 1)
		return 5;
	if (proc_wait(proc_run(grandchild, NULL)) || sem_value(sem, 0) != 2 || shmdt(map) || shm_nattch(shm))
		return 6;
	for (int i = 0; i < 40; i++)
		if (fstat(i, &st) || st.st_rdev != null.st_rdev || st.st_ino != null.st_ino || fcntl(i, F_GETFD))
			return 7;
	return 0;
}

static void test_descriptors(void)
{
	fresh();
	shmdt(map);
	is(proc_wait(proc_run(own_descriptors, NULL)), 0, "a process whose descriptors were all closed and used anew");
	is(sem_value(sem, 0), 0, "its undo is done");
}

/* No descriptor can be had: the calls that need none in the kernel go on. */
static int no_descriptor(void *arg)
{
	(void)arg;
	sem_do(sem, 0, 1, SEM_UNDO);
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	if (errno != EMFILE)
		return 1;
	if (sem_do(sem, 0, 1, SEM_UNDO) || sem_do(sem, 0, -1, SEM_UNDO) || sem_value(sem, 0) != 1)
		return 2;
	if (msg_put(queue, 1, 5, 'o', 0) || msg_take(queue, 1, 0) != 1)
		return 3;
	return shm_nattch(shm) == 2 && !shmdt(map) ? 0 : 4;
}

static void test_exhausted(void)
{
	fresh();
	sem_value(sem, 0);
	msg_put(queue, 1, 1, 'e', 0);
	msg_take(queue, 1, 0);
	is(proc_wait(proc_run(no_descriptor, NULL)), 0, "semop, msgsnd, msgrcv and shmdt need no free descriptor");
	is(sem_value(sem, 0), 0, "nor does the undo");
	shmdt(map);
}

/* A child with another uid, or another root directory, goes on with what its parent had in use. */
static int other_self(void *arg)
{
	char how = *(char *)arg;

	if (how == 'u' && (setgid(65534) || setuid(65534) || setuid(0) != -1))
		return 1;
	if (how == 'r' && (chroot("/proc/self/fdinfo") || chdir("/")))
		return 2;
	if (how == 'p' && (seteuid(65534) || seteuid(0)))
		return 3;
	if (sem_do(sem, 0, 1, SEM_UNDO) || sem_do(sem, 0, 1, SEM_UNDO) || sem_value(sem, 0) != 2)
		return 4;
	strcpy(map, "other");
	if (msg_put(queue, 4, 10, 'u', 0) || msg_take(queue, 4, 0) != 4)
		return 5;
	if (sem_do(sem, 1, -1, IPC_NOWAIT) != -1 || errno != EAGAIN)
		return 6;
	if (sem_do(sem, 1, -1, 0) || shm_nattch(shm) != 2)
		return 7;
	return shmdt(map) ? 8 : 0;
}

static void test_other(char how, const char *name)
{
	struct semid_ds sd;
	struct shmid_ds hd;
	struct msqid_ds qd;
	pid_t pid;

	if (geteuid()) {
		skip(name, "for root only");
		return;
	}
	fresh();
	sd = sem_stat(sem);
	hd = shm_stat(shm);
	qd = msg_stat(queue);
	sd.sem_perm.mode = hd.shm_perm.mode = qd.msg_perm.mode = 0666;
	semctl(sem, 0, IPC_SET, (union semun){ .buf = &sd });
	shmctl(shm, IPC_SET, &hd);
	msgctl(queue, IPC_SET, &qd);
	msg_put(queue, 1, 1, 'e', 0);
	msg_take(queue, 1, 0);
	sem_do(sem, 0, 0, 0);
	pid = proc_run(other_self, &how);
	if (wait_until(sem_ncnt(sem, 1) == 1 || proc_state(pid, pid) == 'Z'))
		sem_do(sem, 1, 1, 0);
	is(proc_wait(pid), 0, "%s goes on with what its parent had in use", name);
	is(sem_value(sem, 0), 0, "%s: its undo is done", name);
	ok(!strcmp(map, "other"), "%s: it wrote to the memory", name);
	is(shm_nattch(shm), 1, "%s: its attachment is gone", name);
	is(sem_pid(sem, 1), pid, "%s: GETPID names it", name);
	shmdt(map);
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return started(argv + 1);
	alarm(60);
	test_started('v', "vfork");
	test_started('s', "posix_spawn");
	test_shell();
	test_daemon();
	test_descriptors();
	test_exhausted();
	test_other('u', "a child that drops its uid");
	test_other('r', "a child in a chroot");
	test_other('p', "a child that changed its euid and back");
	return done_testing();
}
