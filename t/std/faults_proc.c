/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that end: what they had is gone at the moment at which the kernel says that they are dead, also for those
 * that nobody reaps and those under a reader of their /proc files.
 */
#include <fcntl.h>
#include <pthread.h>

#include "objects.h"

struct job {
	int shm, sem, queue;
	atomic_int step, go;
};

static struct job *job;

static void job_reset(void)
{
	if (!job)
		job = shared_new(sizeof *job);
	memset(job, 0, sizeof *job);
	job->shm = shm_new(PAGE);
	job->sem = sem_new(2);
	job->queue = msg_new();
}

static int hold(void *arg)
{
	char *p = shm_map(job->shm, 0);

	(void)arg;
	*p = 1;
	if (sem_do(job->sem, 0, 1, SEM_UNDO))
		return 1;
	job->step++;
	pause();
	return 0;
}

/* Nobody reaps it yet. */
static void wait_zombie(pid_t pid)
{
	siginfo_t si;

	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
}

static void test_zombie(void)
{
	int bad[3] = { 0 };
	pid_t pid;

	for (int i = 0; i < 100; i++) {
		job_reset();
		pid = proc_run(hold, NULL);
		wait_until(job->step);
		kill(pid, SIGKILL);
		wait_zombie(pid);
		bad[0] += shm_nattch(job->shm) != 0;
		bad[1] += sem_value(job->sem, 0) != 0;
		bad[2] += proc_state(pid, pid) != 'Z';
		proc_wait(pid);
		obj_remove(SHM, job->shm);
		obj_remove(SEM, job->sem);
		obj_remove(MSG, job->queue);
	}
	is(bad[0], 0, "a zombie is not counted in nattch, 100 times");
	is(bad[1], 0, "a zombie's undo is done");
	is(bad[2], 0, "they were zombies");
}

/* A zombie stays one for long; its pid must not keep anything. */
static void test_long_zombie(void)
{
	struct shmid_ds ds;
	pid_t pid, sleeper;

	job_reset();
	pid = proc_run(hold, NULL);
	wait_until(job->step);
	obj_remove(SHM, job->shm);
	is(shm_nattch(job->shm), 1, "a removed segment lives in a child");
	sleeper = sem_sleeper(job->sem, 0, 0, 0);
	kill(pid, SIGKILL);
	wait_zombie(pid);
	call_fails(shmctl(job->shm, IPC_STAT, &ds), EINVAL, "that child a zombie: the segment is freed");
	is(proc_wait(sleeper), 0, "and who waited for its undo is woken");
	sem_do(job->sem, 0, 1, 0);
	is(sem_value(job->sem, 0), 1, "and the set works on");
	proc_wait(pid);
	is(sem_value(job->sem, 0), 1, "reaping changes nothing");
}

/* Sleepers that are zombies wait for nothing. */
static void test_zombie_sleepers(void)
{
	pid_t a, b, c;

	job_reset();
	a = sem_sleeper(job->sem, 0, -1, 0);
	b = sem_sleeper(job->sem, 0, -1, 0);
	c = msg_sleeper(false, job->queue, 0, 100, 0);
	kill(a, SIGKILL);
	kill(c, SIGKILL);
	wait_zombie(a);
	wait_zombie(c);
	is(sem_ncnt(job->sem, 0), 1, "a sleeper that is a zombie is not counted");
	sem_do(job->sem, 0, 1, 0);
	is(sem_value(job->sem, 0), 0, "a unit goes by it");
	is(proc_wait(b), 0, "to the next");
	msg_put(job->queue, 1, 5, 'z', 0);
	is(msg_stat(job->queue).msg_qnum, 1, "a message does not go to a zombie");
	proc_wait(a);
	proc_wait(c);
}

/* Readers of a dying process's files in /proc, in processes of their own. */
struct reader {
	pid_t pid;
	const char *file;
	atomic_int stop, reads;
};

static int reader_run(void *arg)
{
	struct reader *r = arg;
	char path[64], buf[65536];

	snprintf(path, sizeof path, "/proc/%d/%s", r->pid, r->file);
	while (!r->stop) {
		int fd = open(path, O_RDONLY);
		if (fd < 0)
			return 0;
		while (!r->stop && read(fd, buf, sizeof buf) > 0)
			r->reads++;
		lseek(fd, 0, SEEK_SET);
		while (!r->stop && read(fd, buf, 100) > 0)
			r->reads++;
		close(fd);
	}
	return 0;
}

/*
 * A reader holds a dying process's memory for the time of a read: the kernel's own nattch may count it a moment
 * longer. Undo does not depend on that, nor does a sleeper.
 */
static void test_reader(const char *file)
{
	struct reader *r = shared_new(sizeof *r);
	int bad[2] = { 0 };
	pid_t reader[2];

	for (int i = 0; i < 40; i++) {
		job_reset();
		memset(r, 0, sizeof *r);
		r->pid = proc_run(hold, NULL);
		r->file = file;
		wait_until(job->step);
		for (int j = 0; j < 2; j++)
			reader[j] = proc_run(reader_run, r);
		wait_until(r->reads > 4);
		kill(r->pid, SIGKILL);
		wait_zombie(r->pid);
		bad[0] += sem_value(job->sem, 0) != 0;
		bad[1] += !wait_until(shm_nattch(job->shm) == 0);
		proc_wait(r->pid);
		r->stop = 1;
		for (int j = 0; j < 2; j++)
			proc_wait(reader[j]);
		obj_remove(SHM, job->shm);
		obj_remove(SEM, job->sem);
		obj_remove(MSG, job->queue);
	}
	is(bad[0], 0, "a process that dies under readers of its /proc/PID/%s: its undo is done at once", file);
	is(bad[1], 0, "and it is no longer counted in nattch");
	munmap(r, sizeof *r);
}

/* An open file, read halfway, holds nothing. */
static void test_open_file(void)
{
	char path[64], buf[200];
	pid_t pid;
	int fd;

	job_reset();
	pid = proc_run(hold, NULL);
	wait_until(job->step);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	fd = open(path, O_RDONLY);
	ok(fd >= 0 && read(fd, buf, sizeof buf) > 0, "/proc/PID/maps of a process, read halfway and kept open");
	proc_kill(pid);
	is(shm_nattch(job->shm), 0, "the process, dead, is no longer counted");
	is(sem_value(job->sem, 0), 0, "its undo is done");
	close(fd);
}

/* A stopped process is alive. */
static void test_stopped(void)
{
	siginfo_t si;
	pid_t pid;

	job_reset();
	pid = proc_run(hold, NULL);
	wait_until(job->step);
	kill(pid, SIGSTOP);
	waitid(P_PID, pid, &si, WSTOPPED);
	is(shm_nattch(job->shm), 1, "a stopped process is counted");
	is(sem_value(job->sem, 0), 1, "and its undo is not done");
	is(sem_do(job->sem, 0, 1, 0), 0, "others go on");
	proc_kill(pid);
	is(shm_nattch(job->shm), 0, "killed while it is stopped, it is gone");
	is(sem_value(job->sem, 0), 1, "with its undo");
}

/* Threads: the process lives until its last. */
static void *linger(void *arg)
{
	wait_until(proc_state(getpid(), getpid()) == 'Z');
	job->step++;
	wait_until(job->go);
	return arg;
}

static int leave_thread(void *arg)
{
	pthread_t t;

	(void)arg;
	shm_map(job->shm, 0);
	sem_do(job->sem, 0, 1, SEM_UNDO);
	pthread_create(&t, NULL, linger, NULL);
	pthread_exit(NULL);
}

static void test_main_gone(void)
{
	pid_t pid;

	job_reset();
	pid = proc_run(leave_thread, NULL);
	ok(wait_until(job->step), "a process whose main thread has ended");
	is(shm_nattch(job->shm), 1, "is counted");
	is(sem_value(job->sem, 0), 1, "and its undo is not done");
	job->go = 1;
	is(proc_wait(pid), 0, "when its last thread ends");
	is(shm_nattch(job->shm), 0, "it is gone");
	is(sem_value(job->sem, 0), 0, "with its undo");
}

static void *sleep_in_semop(void *arg)
{
	sem_do(job->sem, 1, -1, SEM_UNDO);
	return arg;
}

static int exit_with_sleepers(void *arg)
{
	pthread_t t;

	for (int i = 0; i < 5; i++)
		pthread_create(&t, NULL, sleep_in_semop, NULL);
	wait_until(sem_ncnt(job->sem, 1) == 5);
	sem_do(job->sem, 0, 1, SEM_UNDO);
	exit(arg ? 1 : 0);
}

static void test_exit_sleepers(void)
{
	job_reset();
	is(proc_wait(proc_run(exit_with_sleepers, NULL)), 0, "a process exits with five threads asleep in semop");
	is(sem_ncnt(job->sem, 1), 0, "nobody is counted any more");
	sem_do(job->sem, 1, 2, 0);
	is(sem_value(job->sem, 1), 2, "units stay");
	is(sem_value(job->sem, 0), 0, "its undo is done");
}

/* kill -9 at random moments of attaching and detaching: the counts are right in the end. */
static int attacher(void *arg)
{
	(void)arg;
	for (;;) {
		char *p = shmat(job->shm, NULL, 0), *q = shmat(job->shm, NULL, SHM_RDONLY);
		if (p == (char *)-1 || q == (char *)-1)
			return 1;
		*p = 1;
		if (shmdt(q) || shmdt(p))
			return 2;
		job->step++;
	}
}

static void test_attach_storm(unsigned int seed)
{
	struct shmid_ds ds;
	int bad = 0;
	pid_t pid;
	char *p;

	job_reset();
	p = shm_map(job->shm, 0);
	for (int i = 0; i < 200; i++) {
		pid = proc_run(attacher, NULL);
		nanosleep(&(struct timespec){ .tv_nsec = rand_r(&seed) % 500000 }, NULL);
		kill(pid, SIGKILL);
		wait_zombie(pid);
		bad += shm_nattch(job->shm) != 1 || proc_wait(pid) != 1000 + SIGKILL;
	}
	diag("%d rounds", (int)job->step);
	is(bad, 0, "200 processes killed as they attach and detach: only this one is left attached");
	obj_remove(SHM, job->shm);
	is(shm_nattch(job->shm), 1, "removed, the segment is still there");
	shmdt(p);
	call_fails(shmctl(job->shm, IPC_STAT, &ds), EINVAL, "and goes with the last detach");
}

int main(void)
{
	unsigned int seed = tap_seed();

	alarm(60);
	test_zombie();
	test_long_zombie();
	test_zombie_sleepers();
	test_reader("maps");
	test_reader("smaps");
	test_open_file();
	test_stopped();
	test_main_gone();
	test_exit_sleepers();
	test_attach_storm(seed);
	return done_testing();
}
