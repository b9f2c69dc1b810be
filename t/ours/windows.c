/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What comes between two steps of somebody who looks after slots and directories: a reaper that is overtaken by other
 * reapers, and by a new owner of the slot; a process that execs while another has just found it without an image; a
 * namespace that is removed while it is opened; a fork while it is opened; a close by another thread.
 *
 * A process is stopped at the begin of one function of the library by a breakpoint, which its parent sets. No timing:
 * each thing is begun when the other one stands still.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>

#include "libipc.h"
#include "../../persist/store.h"
#include "attach.h"
#include "obj_msg.h"
#include "obj_sem.h"
#include "registry.h"
#include "slot.h"
#include "users.h"
#include "wait.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

union semun { int val; struct semid_ds *buf; unsigned short *array; };
struct letter { long type; char text[8]; };

static ipc_ns *ns;
static char dir[64];
static int set, queue, segment, limit[2];
static struct { _Atomic int slot, done; } *shared;

static void name_directory(void)
{
	strcpy(dir, "/dev/shm/ipcd-windows-XXXXXX");
	if (!mkdtemp(dir))
		bail_out("mkdtemp");
}

static void make_objects(void)
{
	ns = ipc_open(dir, 0);
	if (!ns)
		bail_out(ipc_open_error());
	set = ipc_semget(ns, IPC_PRIVATE, 2, 0600);
	queue = ipc_msgget(ns, IPC_PRIVATE, 0600);
	segment = ipc_shmget(ns, IPC_PRIVATE, 4096, 0600);
	if (set < 0 || queue < 0 || segment < 0 || ipc_semctl(ns, set, 0, SETVAL, (union semun){ .val = 100 }))
		bail_out("objects");
}

static int operate(int num, int by, int flags)
{
	struct sembuf op = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(ns, set, &op, 1);
}

static int attached(void)
{
	struct shmid_ds ds;

	return ipc_shmctl(ns, segment, IPC_STAT, &ds) ? -1 : (int)ds.shm_nattch;
}

/* ---- stopping at a function ---- */

#define INT3 0xcc

static long text_at(pid_t pid, void *where)
{
	errno = 0;
	return ptrace(PTRACE_PEEKTEXT, pid, where, NULL);
}

/* Go on until the status is a stop by `sig`; other signals are delivered. */
static bool go_to_stop(pid_t pid, int sig)
{
	int status, deliver = 0;

	for (;;) {
		if (ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)deliver) || waitpid(pid, &status, __WALL) != pid)
			return false;
		if (!WIFSTOPPED(status))
			return false;
		if (WSTOPSIG(status) == sig)
			return true;
		deliver = WSTOPSIG(status);
	}
}

/* A child that is to run fn, and stands still before it does. */
static pid_t traced(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		bail_out("fork");
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(fn());
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		bail_out("a traced child");
	return pid;
}

/* Let it go on to the begin of the function, where it stands still again. */
static bool run_to(pid_t pid, void *where)
{
	struct user_regs_struct regs;
	long text = text_at(pid, where);

	if (ptrace(PTRACE_POKETEXT, pid, where, (void *)((text & ~0xffL) | INT3)) || !go_to_stop(pid, SIGTRAP))
		return false;
	ptrace(PTRACE_POKETEXT, pid, where, (void *)text);
	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	regs.rip--;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
	return regs.rip == (uintptr_t)where;
}

static int go_on(pid_t pid)
{
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return proc_wait(pid);
}

static int sweep(void)
{
	int who = ns_enter(ns);

	return who < 0 || (slots_sweep(ns, who), 0);
}

/* ---- images ---- */

/* exec of this program: it says when it is there, opens the namespace when told, attaches, and stays until told. */
static void become_image(void)
{
	char id[16], in[16], out[16];

	snprintf(id, sizeof id, "%d", segment);
	snprintf(in, sizeof in, "%d", limit[0]);
	snprintf(out, sizeof out, "%d", limit[1]);
	execl("/proc/self/exe", "windows", "--image", dir, id, in, out, NULL);
	_exit(98);
}

static int image(char **argv)
{
	int in = atoi(argv[4]), out = atoi(argv[5]);
	char c;

	if (write(out, "r", 1) != 1 || read(in, &c, 1) != 1)
		return 97;
	ns = ipc_open(argv[2], 0);
	if (!ns || ipc_shmat(ns, atoi(argv[3]), NULL, 0) == (void *)-1)
		return 96;
	return write(out, "a", 1) != 1 || read(in, &c, 1) != 1;
}

static int to[2], from[2]; /* the image's pipes, as the test has them */

static void make_pipes(void)
{
	if (pipe(to) || pipe(from))
		bail_out("pipe");
	limit[0] = to[0];
	limit[1] = from[1];
}

static bool hears(char what)
{
	char c = 0;

	return read(from[0], &c, 1) == 1 && c == what;
}

static void tell(void)
{
	if (write(to[1], "g", 1) != 1)
		bail_out("pipe");
}

static void close_pipes(void)
{
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
}

static int attach_and_exec(void *arg)
{
	(void)arg;
	if (ipc_shmat(ns, segment, NULL, 0) == (void *)-1)
		return 1;
	become_image();
	return 1;
}

static void exec_while_swept(void)
{
	pid_t victim, reaper;

	make_pipes();
	reaper = traced(sweep);
	victim = proc_run(attach_and_exec, NULL);
	ok(hears('r'), "exec: the new image is there, and has not opened the namespace");
	ok(run_to(reaper, attach_drop_execed), "... a reaper finds it without one; it stops before it drops any");
	tell();
	ok(hears('a'), "... the image opens it, takes its slot over and attaches a segment");
	is(attached(), 1, "... which is counted");
	is(go_on(reaper), 0, "... the reaper goes on");
	is(attached(), 1, "... and leaves the new image's attachment alone");
	tell();
	is(proc_wait(victim), 0, "... the image ends");
	is(attached(), 0, "... and its attachment with it");
	close_pipes();
}

/* ---- a thread that creates, when another one calls exec ---- */

static int exec_pipe[2];

static void *exec_when_told(void *arg)
{
	char c;

	(void)arg;
	if (read(exec_pipe[0], &c, 1) == 1)
		become_image();
	return NULL;
}

static int create_beside_exec(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, exec_when_told, NULL) || ipc_shmget(ns, IPC_PRIVATE, 4096, 0600) < 0;
}

static void exec_while_creating(void)
{
	int before = directory_files(dir, "shm-");
	pid_t victim;

	make_pipes();
	if (pipe(exec_pipe))
		bail_out("pipe");
	victim = traced(create_beside_exec);
	ok(run_to(victim, registry_add), "a thread has made a segment's file and no row yet");
	is(directory_files(dir, "shm-"), before + 1, "... the file is there");
	if (write(exec_pipe[1], "x", 1) != 1)
		bail_out("pipe");
	ok(hears('r'), "... another thread calls exec");
	tell();
	ok(hears('a'), "... and the new image opens the namespace");
	is(directory_files(dir, "shm-"), before, "... the file that no row names is gone");
	tell();
	is(proc_wait(victim), 0, "... the image ends");
	close_pipes();
	close(exec_pipe[0]);
	close(exec_pipe[1]);
}

/* ---- a reaper that is late ---- */

/* Uses the segment, the first semaphore with undo, the queue; and sleeps. */
static int live(void *arg)
{
	struct letter m;

	(void)arg;
	if (operate(0, -10, SEM_UNDO) || ipc_shmat(ns, segment, NULL, 0) == (void *)-1)
		return 1;
	if (ipc_msgrcv(ns, queue, &m, sizeof m.text, 7, IPC_NOWAIT) != -1 || errno != ENOMSG)
		return 2;
	shared->slot = (int)atomic_load(&ns->slot);
	if (ipc_msgrcv(ns, queue, &m, sizeof m.text, 8, 0) != sizeof m.text || operate(1, -1, 0))
		return 3;
	return 0;
}

static bool waits_for_letter(void)
{
	struct letter m = { .type = 8 };

	return !ipc_msgsnd(ns, queue, &m, sizeof m.text, 0);
}

static void late_reaper(void *where, const char *name)
{
	pid_t reaper, victim, heir;
	int slot;

	operate(1, 0, IPC_NOWAIT);
	shared->slot = 0;
	reaper = traced(sweep);
	victim = proc_run(live, NULL);
	ok(wait_until(shared->slot) && proc_wait_asleep(victim),
	   "a late reaper, stopped at %s: its victim lives", name);
	slot = shared->slot;
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	ok(run_to(reaper, where), "... the reaper finds it dead");
	is(sweep(), 0, "... another one is faster");
	is(ipc_semctl(ns, set, 0, GETVAL), 100, "... undo came once");
	is(attached(), 0, "... no attachment is left");
	shared->slot = 0;
	heir = proc_run(live, NULL);
	ok(wait_until(shared->slot) && proc_wait_asleep(heir), "... a new process comes");
	is(shared->slot, slot, "... into the same slot");
	is(go_on(reaper), 0, "... the late reaper goes on");
	is(ipc_semctl(ns, set, 0, GETVAL), 90, "... the new process's undo is not applied");
	is(attached(), 1, "... its attachment is counted");
	ok(waits_for_letter(), "... a letter for it is sent");
	ok(wait_until(ipc_semctl(ns, set, 1, GETNCNT) == 1), "... its sleep went on, and it has taken the letter");
	operate(1, 1, 0);
	is(proc_wait(heir), 0, "... and it ends well");
	is(ipc_semctl(ns, set, 0, GETVAL), 100, "... its undo comes then");
	is(attached(), 0, "... and its attachment goes");
}

/* ---- a reaper that looks for a row ---- */

static int create_one(void)
{
	return ipc_shmget(ns, IPC_PRIVATE, 4096, 0600) < 0;
}

/* Indexes are given in turn, up to 63 while there are few objects. */
static void use_up_indexes(int last)
{
	int id;

	do {
		id = ipc_shmget(ns, IPC_PRIVATE, 4096, 0600);
		ipc_shmctl(ns, id, IPC_RMID, NULL);
	} while (id >= 0 && (int)ID_INDEX(id) != last);
}

static int segments(void)
{
	struct shmid_ds ds;
	struct shm_info *info = (struct shm_info *)&ds;

	return ipc_shmctl(ns, 0, SHM_INFO, (void *)info) < 0 ? -1 : info->used_ids;
}

static void dead_creator(void)
{
	int had = segments(), files_before = directory_files(dir, "shm-");
	pid_t victim = traced(create_one), reaper = traced(sweep), creator = traced(create_one);

	use_up_indexes(62);
	ok(run_to(victim, object_made), "a process has made a segment's row, and not finished the call");
	ok(run_to(creator, registry_add), "... another one is about to make one in a row before it");
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	ok(run_to(reaper, registry_read_index), "... the first one is killed; a reaper begins to look for its row");
	is(go_on(creator), 0, "... the other row is made");
	is(go_on(reaper), 0, "... the reaper goes on");
	is(segments(), had + 2, "... both segments are there");
	is(directory_files(dir, "shm-"), files_before + 2, "... and have their memory");
}

/* ---- a reaper in a call that saves nothing, beside one that does ---- */

static int error_pipe[2], doomed;

static void *ask_when_told(void *arg)
{
	char c;

	(void)arg;
	attached(); /* a thread's first call is a cold one */
	shared->slot = 1;
	if (read(exec_pipe[0], &c, 1) == 1)
		shared->done = 1 + (attached() < 0);
	return NULL;
}

static int save_beside_query(void)
{
	pthread_t t;

	shared->slot = 0;
	if (dup2(error_pipe[1], 2) < 0 || pthread_create(&t, NULL, ask_when_told, NULL) || !wait_until(shared->slot))
		return 1;
	return create_one() || pthread_join(t, NULL);
}

static int attach_doomed(void *arg)
{
	(void)arg;
	if (ipc_shmat(ns, doomed, NULL, 0) == (void *)-1)
		return 1;
	shared->done = 1;
	pause();
	return 0;
}

static void query_beside_save(void)
{
	int had = segments();
	pid_t saver, holder;
	char text[500];
	ssize_t n;

	if (pipe(exec_pipe) || pipe(error_pipe))
		bail_out("pipe");
	doomed = ipc_shmget(ns, IPC_PRIVATE, 4096, 0600);
	saver = traced(save_beside_query);
	shared->done = 0;
	holder = proc_run(attach_doomed, NULL);
	ok(wait_until(shared->done), "a process has a segment attached");
	is(ipc_shmctl(ns, doomed, IPC_RMID, NULL), 0, "... which is removed");
	ok(run_to(saver, store_unlock), "... another process is about to commit a transaction");
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	shared->done = 0;
	if (write(exec_pipe[1], "x", 1) != 1)
		bail_out("pipe");
	ok(wait_until(shared->done == 1), "... the first is killed, and found dead by a thread of the other");
	is(go_on(saver), 0, "... that one's call ends");
	close(error_pipe[1]);
	n = read(error_pipe[0], text, sizeof text - 1);
	text[n > 0 ? n : 0] = 0;
	if (!ok(n == 0, "... the two did not meet in the database"))
		diag("%s", text);
	is(segments(), had + 1, "... the segment is gone, the new one is there");
	close(error_pipe[0]);
	close(exec_pipe[0]);
	close(exec_pipe[1]);
}

/* ---- a fork with no descriptor left ---- */

static int child_pipe[2];

static int fork_without_descriptors(void *arg)
{
	struct rlimit had, none;
	pid_t parent = getpid();
	char c;

	(void)arg;
	if (ipc_shmat(ns, segment, NULL, 0) == (void *)-1 || getrlimit(RLIMIT_NOFILE, &had))
		return 1;
	none = (struct rlimit){ 0, had.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &none) || fork() < 0 || setrlimit(RLIMIT_NOFILE, &had))
		return 2;
	if (getpid() != parent)
		shared->done = 1 + (ipc_semctl(ns, set, 0, GETVAL) != 100);
	return read(child_pipe[0], &c, 1) != 1;
}

static void no_descriptors(void)
{
	pid_t pid;

	if (pipe(child_pipe))
		bail_out("pipe");
	shared->done = 0;
	pid = proc_run(fork_without_descriptors, NULL);
	ok(wait_until(shared->done == 1), "a process forks with no descriptor to be had; the child makes a call");
	is(attached(), 2, "... what both have attached is counted");
	if (write(child_pipe[1], "xx", 2) != 2)
		bail_out("pipe");
	is(proc_wait(pid), 0, "... they end");
	ok(wait_until(attached() == 0), "... and nothing is attached");
	close(child_pipe[0]);
	close(child_pipe[1]);
}

/* Calls with 0, 1, 2 ... descriptors to be had, on a database that is not open yet: EMFILE, until there are enough. */
static int with_few(void *arg)
{
	struct rlimit had, few;
	int e = EMFILE, fd = dup(0), id = -1;

	(void)arg;
	close(fd);
	if (getrlimit(RLIMIT_NOFILE, &had))
		return 1;
	for (rlim_t n = 0; n < 16 && id < 0 && e == EMFILE; n++) {
		few = (struct rlimit){ (rlim_t)fd + n, had.rlim_max };
		setrlimit(RLIMIT_NOFILE, &few);
		id = ipc_semget(ns, IPC_PRIVATE, 1, 0600);
		e = errno;
	}
	setrlimit(RLIMIT_NOFILE, &had);
	return id < 0 || ipc_semctl(ns, id, 0, IPC_RMID) ? e : 0;
}

/* ---- a process that cannot tell its start time ---- */

static void *stay(void *arg)
{
	char c;

	(void)arg;
	if (read(exec_pipe[0], &c, 1) < 0)
		_exit(1);
	_exit(0);
}

static int without_proc(void *arg)
{
	pthread_t t;

	(void)arg;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || umount2("/proc", MNT_DETACH))
		return 77;
	ns = ipc_open(dir, 0); /* not inherited: a slot of its own making */
	if (!ns || operate(0, -5, SEM_UNDO) || pthread_create(&t, NULL, stay, NULL))
		return 1;
	shared->done = 1;
	pthread_exit(NULL); /* the thread that the kernel watches is gone, the process is not */
}

static void no_start_time(void)
{
	static const char name[] = "a process without /proc whose first thread has ended is not taken for dead";
	pid_t pid;

	if (pipe(exec_pipe))
		bail_out("pipe");
	shared->done = 0;
	pid = proc_run(without_proc, NULL);
	wait_until(shared->done || proc_state(pid, pid) == 'Z');
	if (!shared->done && proc_wait(pid) == 77) {
		skip(name, "no mount namespace to be had");
		return;
	}
	wait_until(proc_state(pid, pid) == 'Z');
	is(sweep(), 0, "a sweep, while a process has no /proc");
	is(ipc_semctl(ns, set, 0, GETVAL), 95, name);
	if (write(exec_pipe[1], "x", 1) != 1)
		bail_out("pipe");
	is(proc_wait(pid), 0, "... it ends");
	is(ipc_semctl(ns, set, 0, GETVAL), 100, "... and its undo comes");
	close(exec_pipe[0]);
	close(exec_pipe[1]);
}

/* ---- opening, while others remove, kill and fork ---- */

static int open_it(void)
{
	ns = ipc_open(dir, IPC_OPEN_CREATE);
	if (!ns)
		return 1;
	shared->done = 1;
	return ipc_semget(ns, 4711, 1, IPC_CREAT | 0600) < 0;
}

static int open_in_child(void *arg)
{
	(void)arg;
	alarm(T_WAIT);
	return open_it();
}

static void remove_while_opened(void)
{
	pid_t opener = traced(open_it);

	ok(run_to(opener, registry_init), "a process makes the tables of a namespace");
	is(users_remove(dir), -EBUSY, "... removing the directory meanwhile is refused");
	is(go_on(opener), 0, "... the process opens it");
	is(directory_files(dir, "registry") + directory_files(dir, "slots") + directory_files(dir, "users") +
	   directory_files(dir, "sem-"), 4, "... with all its files");
	is(users_remove(dir), 0, "with nobody there it is removed");
	is(access(dir, F_OK), -1, "... it is gone");
}

static void lock_that_is_gone(void)
{
	char path[100];
	pid_t opener;
	int fd;

	mkdir(dir, 0700);
	snprintf(path, sizeof path, "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX))
		bail_out("lock");
	shared->done = 0;
	opener = proc_run(open_in_child, NULL);
	ok(proc_wait_asleep(opener), "a process waits for the lock of a directory");
	unlink(path);
	flock(fd, LOCK_UN);
	close(fd);
	is(proc_wait(opener), 0, "... the lock's file is removed; it opens the namespace");
	is(access(path, F_OK), 0, "... by a lock that others find, too");
	is(users_remove(dir), 0, "... and nothing else is in the directory");
}

static void *fork_when_told(void *arg)
{
	char c;
	pid_t pid;

	(void)arg;
	if (read(exec_pipe[0], &c, 1) != 1)
		return NULL;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, 0);
		shared->done = getpid();
		for (;;)
			pause();
	}
	return NULL;
}

static int open_beside_fork(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, fork_when_told, NULL) || open_it();
}

static void fork_while_opened(void)
{
	pid_t opener, heir;

	if (pipe(exec_pipe))
		bail_out("pipe");
	mkdir(dir, 0700);
	shared->done = 0;
	opener = traced(open_beside_fork);
	ok(run_to(opener, registry_init), "a thread makes the tables of a namespace");
	if (write(exec_pipe[1], "x", 1) != 1)
		bail_out("pipe");
	ok(wait_until(shared->done), "... another one forks");
	heir = shared->done;
	kill(opener, SIGKILL);
	waitpid(opener, NULL, 0);
	is(proc_wait(proc_run(open_in_child, NULL)), 0, "... it is killed; the forked child does not keep others out");
	if (heir > 0)
		kill(heir, SIGKILL);
	wait_until(heir <= 0 || kill(heir, 0));
	is(users_remove(dir), 0, "... and the directory can be removed");
	close(exec_pipe[0]);
	close(exec_pipe[1]);
}

/* ---- close ---- */

static void *close_it(void *arg)
{
	ipc_close(arg);
	return NULL;
}

static void *use_it(void *arg)
{
	ns = arg;
	if (operate(0, 0, IPC_NOWAIT) != -1 || errno != EAGAIN)
		_exit(5);
	return NULL;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg) || pthread_join(t, NULL))
		_exit(6);
}

/* A robust mutex of the program's own: libc links it with what is in the thread's list. */
static void *lock_robust(void *arg)
{
	static pthread_mutex_t m;
	pthread_mutexattr_t a;

	(void)arg;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &a);
	for (int i = 0; i < 3; i++)
		if (pthread_mutex_lock(&m) || pthread_mutex_unlock(&m))
			_exit(7);
	return NULL;
}

static void *use_and_wait(void *arg)
{
	char c;

	use_it(arg);
	shared->done = 1;
	if (read(exec_pipe[0], &c, 1) != 1)
		_exit(8);
	return lock_robust(NULL);
}

/* The main thread uses the namespace first, another one closes it; then again. */
static int close_elsewhere(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		ns = ipc_open(dir, 0);
		if (!ns)
			return 1;
		use_it(ns);
		if (i != 1 && (operate(0, -1, SEM_UNDO) || ipc_shmat(ns, segment, NULL, 0) == (void *)-1))
			return 2;
		in_thread(close_it, ns);
		lock_robust(NULL);
	}
	shared->done = 1;
	pause();
	return 0;
}

/* Another thread uses it first, the main one closes it while that lives on. */
static int close_here(void *arg)
{
	pthread_t t;

	(void)arg;
	if (pipe(exec_pipe))
		return 1;
	shared->done = 0;
	ns = ipc_open(dir, 0);
	if (!ns || pthread_create(&t, NULL, use_and_wait, ns) || !wait_until(shared->done))
		return 2;
	ipc_close(ns);
	if (write(exec_pipe[1], "x", 1) != 1 || pthread_join(t, NULL))
		return 3;
	ns = ipc_open(dir, 0);
	if (!ns)
		return 4;
	use_it(ns);
	ipc_close(ns);
	return 0;
}

static void closes(void)
{
	pid_t pid;

	shared->done = 0;
	pid = proc_run(close_elsewhere, NULL);
	ok(wait_until(shared->done || proc_state(pid, pid) == 'Z') && shared->done,
	   "a namespace may be closed by another thread than the first that used it, again and again");
	is(ipc_semctl(ns, set, 0, GETVAL), 98, "... undo stays pending while the process lives");
	is(attached(), 0, "... attachments are not counted any more");
	proc_kill(pid);
	is(ipc_semctl(ns, set, 0, GETVAL), 100, "... undo of each time comes with its end");
	is(proc_wait(proc_run(close_here, NULL)), 0, "... and the thread that used it may go on, and end");
}

/* ---- a library that is unloaded ---- */

struct loaded {
	ipc_ns *(*open)(const char *, int);
	int (*semget)(ipc_ns *, key_t, int, int);
	void (*close)(ipc_ns *);
};
static struct loaded lib;

static void *use_loaded(void *arg)
{
	ipc_ns *n = lib.open(NULL, 0);
	char c;

	(void)arg;
	if (!n || lib.semget(n, IPC_PRIVATE, 1, 0600) < 0)
		_exit(5);
	lib.close(n);
	shared->done = 1;
	if (read(exec_pipe[0], &c, 1) != 1)
		_exit(6);
	return NULL;
}

static int load_and_unload(void *arg)
{
	void *h = dlopen(arg, RTLD_NOW | RTLD_LOCAL);
	pthread_t t;

	if (!h || pipe(exec_pipe))
		return 1;
	*(void **)&lib.open = dlsym(h, "ipc_open");
	*(void **)&lib.semget = dlsym(h, "ipc_semget");
	*(void **)&lib.close = dlsym(h, "ipc_close");
	shared->done = 0;
	if (pthread_create(&t, NULL, use_loaded, NULL) || !wait_until(shared->done))
		return 2;
	if (dlclose(h) || write(exec_pipe[1], "x", 1) != 1 || pthread_join(t, NULL))
		return 3;
	return proc_wait(fork() ?: (_exit(0), 0)) == -1;
}

static void unloads(void)
{
	char path[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 20);

	path[n > 0 ? n : 0] = 0;
	for (int i = 0; i < 3 && (slash = strrchr(path, '/')); i++) /* B/t/ours/windows */
		*slash = 0;
	strcat(path, "/libipc.so");
	is(proc_wait(proc_run(load_and_unload, path)), 0,
	   "a plugin that loaded libipc.so is unloaded: threads that used it end, and forks go on");
}

/* ---- ids that change ---- */

static _Atomic int joined, changed;

static void stay_until_changed(void)
{
	joined = 1;
	wait_until(changed);
}

static void *sleeper(void *error)
{
	struct sembuf s = { .sem_num = 1, .sem_op = -1 };

	*(int *)error = ipc_semop(ns, set, &s, 1) ? errno : 0;
	return NULL;
}

static int change_beside_sleeper(void *unused)
{
	pthread_t id;
	int error = 0;

	(void)unused;
	wait_hook = stay_until_changed;
	if (pthread_create(&id, NULL, sleeper, &error) || !wait_until(joined) || seteuid(geteuid()))
		return 1;
	ipc_credentials_changed();
	changed = 1;
	alarm(T_WAIT);
	pthread_join(id, NULL);
	return error == EINTR ? 0 : 2;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "--image"))
		return image(argv);
	alarm(5 * T_WAIT);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	name_directory();
	make_objects();
	exec_while_swept();
	exec_while_creating();
	late_reaper(sem_set_settle, "sem_set_settle");
	late_reaper(msg_queue_settle, "msg_queue_settle");
	late_reaper(attach_drop_all, "attach_drop_all");
	dead_creator();
	query_beside_save();
	no_descriptors();
	is(proc_wait(proc_run(with_few, NULL)), 0, "with too few descriptors an object is not made, for that reason");
	no_start_time();
	is(proc_wait(proc_run(change_beside_sleeper, NULL)), 0,
	   "ids change between a thread's decision to sleep and its sleep, which ends with EINTR");
	closes();
	unloads();
	ipc_close(ns);
	is(users_remove(dir), 0, "the namespace is removed");
	remove_while_opened();
	lock_that_is_gone();
	fork_while_opened();
	directory_remove(dir);
	return done_testing();
}
