/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that is stopped inside the store's write transaction holds up nobody: others create, remove, change and set
 * limits, and get their answers. No row is lost: when the stopped one goes on it saves the others' too, and when it is
 * killed the next process does. That is seen by deleting the registry, so that only the store is left.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libipc.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

#define WAL_WRITE_LOCK 120 /* SQLite's byte of meta.sqlite-shm */

static char dir[64];
static struct { volatile int old, made, set; } *sh;

static ipc_ns *open_it(void)
{
	ipc_ns *ns = ipc_open(dir, IPC_OPEN_CREATE);

	if (!ns)
		_exit(50);
	return ns;
}

static int prepare(void *arg)
{
	ipc_ns *ns = open_it();

	(void)arg;
	sh->old = ipc_semget(ns, 1, 1, IPC_CREAT | 0600);
	sh->set = ipc_shmget(ns, 2, 100, IPC_CREAT | 0600);
	return sh->old < 0 || sh->set < 0;
}

static int holder(void *arg)
{
	ipc_ns *ns = open_it();

	/* The first change of a process opens the store, and of a namespace's may restore the log's index. */
	ipc_semget(ns, arg ? 9 : 1, 1, IPC_CREAT | 0600);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	return ipc_semget(ns, 10, 1, IPC_CREAT | 0600) < 0;
}

/* What the others do meanwhile. Exit status: the first step that failed. */
static int worker(void *arg)
{
	ipc_ns *ns = open_it();
	struct shmid_ds d;

	(void)arg;
	sh->made = ipc_msgget(ns, 20, IPC_CREAT | 0600);
	if (sh->made < 0)
		return 1;
	for (int i = 0; i < 30; i++)
		if (ipc_semget(ns, 100 + i, 2, IPC_CREAT | 0600) < 0)
			return 2;
	if (ipc_semctl(ns, sh->old, 0, IPC_RMID))
		return 3;
	if (ipc_shmctl(ns, sh->set, IPC_STAT, &d))
		return 4;
	d.shm_perm.mode = 0640;
	if (ipc_shmctl(ns, sh->set, IPC_SET, &d))
		return 5;
	return ipc_limit_set(ns, "msgmnb", 77777) ? 6 : 0;
}

/* Only the store is left: is all of it there? */
static int remembered(void *arg)
{
	ipc_ns *ns = open_it();
	unsigned long long limit;
	struct shmid_ds d;

	(void)arg;
	if (ipc_msgget(ns, 20, 0) != sh->made)
		return 1;
	for (int i = 0; i < 30; i++)
		if (ipc_semget(ns, 100 + i, 2, 0) < 0)
			return 2;
	if (ipc_semget(ns, 1, 0, 0) != -1)
		return 3;
	if (ipc_shmctl(ns, sh->set, IPC_STAT, &d) || (d.shm_perm.mode & 0777) != 0640)
		return 4;
	return ipc_limit_get(ns, "msgmnb", &limit) || limit != 77777 ? 5 : 0;
}

static int next_one(void *arg)
{
	(void)arg;
	return ipc_msgget(open_it(), 20, 0) < 0;
}

/* Does the process have the store's write lock? */
static bool has_lock(pid_t pid)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = WAL_WRITE_LOCK, .l_len = 1 };
	char path[100];
	int fd;

	snprintf(path, sizeof path, "%s/meta.sqlite-shm", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_GETLK, &l))
		l.l_type = F_UNLCK;
	if (fd >= 0)
		close(fd);
	return l.l_type != F_UNLCK && l.l_pid == pid;
}

/* Run the holder to its stop number k inside the transaction. 0: it has ended before. */
static bool stop_inside(pid_t pid, int k)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return false;
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return false;
		if (has_lock(pid) && !k--)
			return true;
	}
}

/* stop: which of the stops inside; false if there are fewer. */
static bool stopped(int stop, bool warm, bool killed)
{
	bool registry_gone;
	char path[100];
	pid_t pid;
	int e, f;

	directory_remove(dir);
	if (proc_wait(proc_run(prepare, NULL)))
		bail_out("no namespace");
	pid = proc_run(holder, warm ? dir : NULL);
	if (!stop_inside(pid, stop)) {
		proc_kill(pid);
		return false;
	}
	e = proc_wait(proc_run(worker, NULL));
	ok(!e, "stop %d%s: others create, remove, change and set limits (0, got %d)", stop,
	   warm ? "" : " of a first change", e);
	if (killed) {
		proc_kill(pid);
		e = proc_wait(proc_run(next_one, NULL));
	} else {
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
		e = proc_wait(pid);
	}
	snprintf(path, sizeof path, "%s/registry", dir);
	registry_gone = !unlink(path);
	f = proc_wait(proc_run(remembered, NULL));
	ok(!e && registry_gone && !f, "... and %s saves what they did (0 and 0, got %d and %d)",
	   killed ? "once it is killed the next process" : "when it goes on it", e, f);
	return true;
}

int main(void)
{
	int stops = 0;

	directory_begin(dir, "stopped");
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		bail_out("no shared page");
	alarm(200);
	for (int warm = 0; warm < 2; warm++) {
		int step = warm || getenv("T_STEP") ? 1 : 5;

		for (stops = 0; stopped(stops, warm, stops / step % 2); stops += step)
			;
		ok(stops > 3, "there are several stops inside the transaction (%d)", stops);
	}
	return done_testing();
}
