/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec: attachments are gone with the old image; undo entries stay until the process ends. The new image is this
 * program again, in the role that its first argument names, or one that knows nothing of all this.
 */
#include <fcntl.h>
#include <pthread.h>

#include "objects.h"

static int sem, shm, ready[2], go[2];
static char *map;

/* The new image: tell that it is there, wait for the word to go on. */
static void report(char **arg)
{
	char c = 'r';

	alarm(60);
	if (write(atoi(arg[3]), &c, 1) != 1 || read(atoi(arg[4]), &c, 1) != 1)
		_exit(80);
}

static int image(char **arg)
{
	int id = atoi(arg[1]), seg = atoi(arg[2]), r = 0;
	char role = arg[0][0], *p;

	if (role == 'a') {
		arg[0][0] = 'i';
		execl("/proc/self/exe", "fork_exec", arg[0], arg[1], arg[2], arg[3], arg[4], NULL);
		return 81;
	}
	if (role == 'm')
		r = sem_do(id, 0, 1, SEM_UNDO);
	if (role == 'g')
		r = sem_do(id, 0, -1, SEM_UNDO);
	if (role == 's') {
		p = shmat(seg, NULL, 0);
		if (p == (char *)-1 || strcmp(p, "old image"))
			return 82;
		strcpy(p, "new image");
	}
	if (role == 'v')
		r = sem_value(id, 0) == 1 && sem_set(id, 0, 5) == 0 ? 0 : 83;
	if (role == 'l')
		r = sem_do(id, 0, 0, IPC_NOWAIT) == -1 && errno == EAGAIN ? 0 : 84;
	if (r)
		return r;
	report(arg);
	if (role == 'k')
		raise(SIGKILL);
	return 0;
}

static void become(char role, char *const *env)
{
	char arg[5][16] = { { role } };
	char *args[] = { (char[]){ "fork_exec" }, arg[0], arg[1], arg[2], arg[3], arg[4], NULL };

	snprintf(arg[1], 16, "%d", sem);
	snprintf(arg[2], 16, "%d", shm);
	snprintf(arg[3], 16, "%d", ready[1]);
	snprintf(arg[4], 16, "%d", go[0]);
	if (env)
		execve("/proc/self/exe", args, env);
	else
		execv("/proc/self/exe", args);
	_exit(85);
}

/* A process with one unit of undo and one attachment that becomes the image of a role. */
static int old_image(void *arg)
{
	char *noenv[] = { NULL };
	char role = *(char *)arg;

	map = shm_map(shm, 0);
	strcpy(map, "old image");
	if (sem_do(sem, 0, 1, SEM_UNDO))
		return 86;
	become(role == 'c' ? 'i' : role, role == 'c' ? noenv : NULL);
	return 87;
}

static void *thread_exec(void *arg)
{
	become(*(char *)arg, NULL);
	return NULL;
}

static void *thread_idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The same by a thread that is not the first, beside others. */
static int old_threads(void *arg)
{
	pthread_t t;

	shm_map(shm, 0);
	if (sem_do(sem, 0, 1, SEM_UNDO))
		return 86;
	pthread_create(&t, NULL, thread_idle, NULL);
	pthread_create(&t, NULL, thread_idle, NULL);
	pthread_create(&t, NULL, thread_exec, arg);
	for (;;)
		pause();
}

static void fresh(void)
{
	sem = sem_new(1);
	shm = shm_new(PAGE);
}

static bool is_there(void)
{
	char c;

	return read(ready[0], &c, 1) == 1;
}

static int finish(pid_t pid)
{
	if (write(go[1], "g", 1) != 1)
		bail_out("write");
	return proc_wait(pid);
}

static void test_image(char role, int (*fn)(void *), const char *name)
{
	pid_t pid;
	char c = role;

	fresh();
	pid = proc_run(fn, &c);
	ok(is_there(), "%s", name);
	is(sem_value(sem, 0), 1, "exec with undo pending does not undo (%s)", name);
	is(shm_nattch(shm), 0, "its attachment is gone (%s)", name);
	is(finish(pid), role == 'k' ? 1000 + SIGKILL : 0, "it ends (%s)", name);
	is(sem_value(sem, 0), 0, "exit after exec does undo (%s)", name);
}

static void test_more(void)
{
	pid_t pid, sleeper;
	char c = 'm';

	fresh();
	pid = proc_run(old_image, &c);
	is_there();
	is(sem_value(sem, 0), 2, "the old image gave a unit with undo, and the new one another");
	sleeper = sem_sleeper(sem, 0, 0, 0);
	is(finish(pid), 0, "it exits");
	is(sem_value(sem, 0), 0, "both are undone");
	is(proc_wait(sleeper), 0, "which wakes who waits for zero");

	fresh();
	c = 'g';
	pid = proc_run(old_image, &c);
	is_there();
	is(sem_value(sem, 0), 0, "the new image takes with undo what the old one gave");
	finish(pid);
	is(sem_value(sem, 0), 0, "which sums up to nothing");

	fresh();
	c = 'v';
	pid = proc_run(old_image, &c);
	is_there();
	is(finish(pid), 0, "the new image sets the value");
	is(sem_value(sem, 0), 5, "which clears the old one's undo");

	fresh();
	c = 'l';
	pid = proc_run(old_image, &c);
	is_there();
	is(finish(pid), 0, "the new image only asks");
	is(sem_value(sem, 0), 0, "its end undoes what the old one did");

	fresh();
	c = 's';
	pid = proc_run(old_image, &c);
	is_there();
	is(shm_nattch(shm), 1, "the new image attaches the segment again, and counts once");
	finish(pid);
	is(shm_nattch(shm), 0, "and not after its end");
}

static int become_sleep(void *arg)
{
	(void)arg;
	fcntl(ready[1], F_SETFD, FD_CLOEXEC);
	shm_map(shm, 0);
	sem_do(sem, 0, 1, SEM_UNDO);
	if (arg)
		execlp("sleep", "sleep", "600", NULL);
	return 88;
}

static void test_sleep(void)
{
	char path[64], name[256] = "";
	pid_t pid, sleeper;

	fresh();
	pid = proc_run(become_sleep, path);
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	wait_until(({
		FILE *f = fopen(path, "r");
		if (f && !fgets(name, sizeof name, f))
			name[0] = 0;
		if (f)
			fclose(f);
		!strcmp(name, "sleep\n") && proc_settled(pid, pid);
	}));
	is(sem_value(sem, 0), 1, "exec of sleep(1) does not undo");
	is(shm_nattch(shm), 0, "and detaches");
	sleeper = sem_sleeper(sem, 0, 0, 0);
	kill(pid, SIGKILL);
	is(proc_wait(sleeper), 0, "kill -9 of it undoes, and wakes who waits for that");
	proc_wait(pid);
	is(sem_value(sem, 0), 0, "the unit is gone");
}

/* An exec that fails leaves all as it is. */
static int fail_exec(void *arg)
{
	char *p = shm_map(shm, 0);

	(void)arg;
	sem_do(sem, 0, 1, SEM_UNDO);
	execl("/nonexistent/program", "program", NULL);
	if (errno != ENOENT || sem_value(sem, 0) != 1 || shm_nattch(shm) != 1)
		return 1;
	execl("/", "/", NULL);
	strcpy(p, "still here");
	return sem_do(sem, 0, 1, SEM_UNDO) || shm_nattch(shm) != 1 ? 2 : 0;
}

static void test_failed(void)
{
	fresh();
	is(proc_wait(proc_run(fail_exec, NULL)), 0, "after an exec that fails, undo and attachment are still there");
	is(sem_value(sem, 0), 0, "and go with the process");
	is(shm_nattch(shm), 0, "the attachment too");
}

/* The only attachment of a removed segment goes with exec. */
static void test_removed(void)
{
	struct shmid_ds ds;
	char c = 'i', *p;
	pid_t pid;

	fresh();
	p = shm_map(shm, 0);
	pid = proc_run(old_image, &c);
	is_there();
	obj_remove(SHM, shm);
	is(shm_nattch(shm), 1, "a removed segment that the old image had attached");
	shmdt(p);
	call_fails(shmctl(shm, IPC_STAT, &ds), EINVAL, "is freed by the others' last detach");
	finish(pid);
}

int main(int argc, char **argv)
{
	if (argc == 6)
		return image(argv + 1);
	alarm(60);
	if (pipe(ready) || pipe(go))
		bail_out("pipe");
	test_image('i', old_image, "an image that asks nothing");
	test_image('k', old_image, "an image that is killed");
	test_image('a', old_image, "exec twice");
	test_image('c', old_image, "exec with an empty environment");
	test_image('i', old_threads, "exec by a second thread");
	test_more();
	test_sleep();
	test_failed();
	test_removed();
	return done_testing();
}
