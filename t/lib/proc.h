/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes for tests: start a child that runs a function, wait for its end, and wait for a state instead of
 * sleeping (a process asleep, a condition that becomes true). Every wait gives up after T_WAIT seconds.
 */
#ifndef T_PROC_H
#define T_PROC_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef T_WAIT
#define T_WAIT 30
#endif

__attribute__((unused)) static double proc_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

__attribute__((unused)) static void proc_nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* Run fn(arg) in a child, which exits with its result and dies with its parent. */
__attribute__((unused)) static pid_t proc_run(int (*fn)(void *), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0) { /* a test that went on would kill(-1) */
		perror("Bail out! fork");
		exit(255);
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
		_exit(fn(arg));
	}
	return pid;
}

/* The child's exit status, or 1000 + the signal that killed it; -1 if it did not end in time. */
__attribute__((unused)) static int proc_wait(pid_t pid)
{
	double end = proc_now() + T_WAIT;
	int status;

	for (;;) {
		pid_t r = waitpid(pid, &status, WNOHANG);
		if (r == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
		if (r < 0 || proc_now() > end)
			return -1;
		proc_nap();
	}
}

__attribute__((unused)) static void proc_kill(pid_t pid)
{
	if (pid <= 0) /* a fork that failed: kill(-1) would end everything */
		return;
	kill(pid, SIGKILL);
	proc_wait(pid);
}

/* The state letter of /proc/PID/task/TID/stat, or 0. */
__attribute__((unused)) static char proc_state(pid_t pid, pid_t tid)
{
	char path[64], line[512], *p;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	p = fgets(line, sizeof line, f);
	fclose(f);
	p = p ? strrchr(line, ')') : NULL;
	return p ? p[2] : 0;
}

/* Memory of its own that is resident, in KiB; 0 if that cannot be told. */
__attribute__((unused)) static long proc_memory(pid_t pid)
{
	char path[40], line[256];
	long kb = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* wait_until(condition): polls each millisecond; true if it came true in time */
#define wait_until(cond)                                                                            \
	({                                                                                          \
		double wu_end = proc_now() + T_WAIT;                                                \
		bool wu_ok;                                                                         \
		while (!(wu_ok = (cond)) && proc_now() < wu_end)                                    \
			proc_nap();                                                                 \
		wu_ok;                                                                              \
	})

/* Wait until pid sleeps in the kernel; for "it blocks", prefer GETNCNT and its like where they exist. */
__attribute__((unused)) static bool proc_wait_asleep(pid_t pid)
{
	return wait_until(proc_state(pid, pid) == 'S');
}

#endif
