/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker processes as the controller sees them: start, send, and wait until a worker is done, blocked or gone.
 *
 * Blocked means: the worker has said IN_CALL, /proc/PID/stat says S, after that it still says IN_CALL, and it
 * sleeps either in one of the four System V calls that wait (nothing more is needed: who wakes it makes it
 * runnable before the waker's own call returns), or in another system call and has not run in between two looks (a
 * userspace implementation, which sleeps in futex; elsewhere it may be about something short, so the looks are
 * further apart). Once blocked it stays so until the scheduler has counted another run. Where a daemon does part of the
 * work, it counts only while each of the daemon's threads sleeps and none has run in between: what is on its way to the
 * daemon has made one of them runnable, and a reply the worker.
 *
 * A process that may be giving up its memory (exit, kill, exec) is never looked at through /proc: the reader of
 * /proc/PID/stat holds the memory for a moment, and the kernel's detach would then be done in the reader's name
 * (shm_lpid). Its end is learnt from a pidfd.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 20.0			/* seconds; then the walk gives up */
#define SHORT_LOOK 300e-6
#define LONG_LOOK 5e-3

struct worker workers[SEATS];
struct seat *seats;
struct pipes pipes;

static int born;
static struct { pid_t pid; int no; } names[1 << 16];
static int nnames;

/* The daemon, if there is one, and its threads as they were when it was last found at rest. */
#define THREADS 80
static struct {
	pid_t pid;
	int statfd, n;
	struct { int statfd, runfd; char runs[RUNS]; } thread[THREADS];
} served;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The newest process of that number. */
const char *proc_name(pid_t pid)
{
	static char text[4][16];
	static int turn;
	char *s = text[turn++ % 4];
	int i;

	if (pid == 0)
		return "-";
	if (pid == getpid())
		return "C";
	for (i = nnames - 1; i >= 0 && names[i].pid != pid; i--)
		;
	if (i < 0)
		return "P?";
	snprintf(s, 16, "P%d", names[i].no);
	return s;
}

static int proc_open(pid_t pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%.40s", pid, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Who listens there. */
static void find_daemon(const char *socket_name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t length = sizeof peer;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(socket_name) >= sizeof to.sun_path)
		give_up("the name of the socket is too long");
	strcpy(to.sun_path, socket_name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		give_up("no daemon at %s", socket_name);
	close(fd);
	served.pid = peer.pid;
	served.statfd = proc_open(peer.pid, "stat");
	if (served.statfd < 0)
		give_up("cannot watch the daemon");
}

void proc_setup(void)
{
	int i;

	if (getenv("IPCD_SOCKET"))
		find_daemon(getenv("IPCD_SOCKET"));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pipes.mem = memfd_create("walk", 0);
	if (pipes.mem < 0 || ftruncate(pipes.mem, sizeof(struct seat) * SEATS) < 0)
		give_up("no memfd");
	seats = worker_map(pipes.mem);
	if (!seats)
		give_up("no shared memory");
	for (i = 0; i < SEATS; i++)
		if (pipe(pipes.fd[i]) < 0)
			give_up("no pipe");
}

void proc_add(int seat, pid_t pid, bool mine)
{
	struct worker *w = &workers[seat];

	memset(w, 0, sizeof *w);
	w->state = READY;
	w->pid = pid;
	w->no = ++born;
	w->mine = mine;
	w->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	w->statfd = proc_open(pid, "stat");
	w->callfd = proc_open(pid, "syscall");
	w->runfd = proc_open(pid, "schedstat");
	if (w->pidfd < 0 || w->statfd < 0)
		give_up("cannot watch P%d", w->no);
	if (nnames == 1 << 16)
		give_up("too many processes");
	names[nnames].pid = pid;
	names[nnames++].no = w->no;
	atomic_store(&seats[seat].phase, DONE);
}

void proc_spawn(int seat)
{
	pid_t pid, parent = getpid();

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		give_up("no fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
		worker_main(&pipes, seat, false);
	}
	proc_add(seat, pid, true);
}

void proc_start(int seat)
{
	memset(&seats[seat].call.ret, 0xa5, sizeof seats[seat].call.ret);
	atomic_store(&seats[seat].phase, SENT);
	if (write(pipes.fd[seat][1], "x", 1) != 1)
		give_up("no pipe to P%d", workers[seat].no);
}

static bool ended(int seat, int ms)
{
	struct pollfd p = { .fd = workers[seat].pidfd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* What follows the name in /proc/PID/stat. */
static const char *stat_of(int fd)
{
	static char line[512];
	ssize_t n = pread(fd, line, sizeof line - 1, 0);
	char *p;

	line[n <= 0 ? 0 : n] = 0;
	p = strrchr(line, ')');
	return p ? p + 2 : "";
}

static char state_of(int seat)
{
	return *stat_of(workers[seat].statfd);
}

static long syscall_of(int seat)
{
	char line[256];
	ssize_t n = pread(workers[seat].callfd, line, sizeof line - 1, 0);

	if (n <= 0)
		return -1;
	line[n] = 0;
	return line[0] >= '0' && line[0] <= '9' ? atol(line) : -1;
}

static bool sysv_sleep(long nr)
{
	return nr == SYS_semtimedop || nr == SYS_msgsnd || nr == SYS_msgrcv
#ifdef SYS_semop
		|| nr == SYS_semop
#endif
		;
}

static bool asleep_in_call(int seat)
{
	return state_of(seat) == 'S' && atomic_load(&seats[seat].phase) == IN_CALL;
}

/* How often and how long it has run, as the scheduler counts. */
static void runs_of(int fd, char runs[RUNS])
{
	ssize_t n = pread(fd, runs, RUNS - 1, 0);

	runs[n < 0 ? 0 : n] = 0;
}

static void list_threads(void)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	while (served.n) {
		close(served.thread[--served.n].statfd);
		close(served.thread[served.n].runfd);
	}
	snprintf(path, sizeof path, "/proc/%d/task", served.pid);
	d = opendir(path);
	while (d && (e = readdir(d)) && served.n < THREADS) {
		if (*e->d_name == '.')
			continue;
		snprintf(path, sizeof path, "task/%.15s/stat", e->d_name);
		served.thread[served.n].statfd = proc_open(served.pid, path);
		snprintf(path, sizeof path, "task/%.15s/schedstat", e->d_name);
		served.thread[served.n++].runfd = proc_open(served.pid, path);
	}
	if (!d || served.n == THREADS)
		give_up("cannot list the daemon's threads");
	closedir(d);
}

/* True when nobody there has anything to do; true too if nobody serves. */
static bool daemon_rests(void)
{
	int i, n = 0;

	if (!served.pid)
		return true;
	sscanf(stat_of(served.statfd), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &n);
	if (n != served.n)
		list_threads();
	for (i = 0; i < served.n; i++) {
		runs_of(served.thread[i].runfd, served.thread[i].runs);
		if (*stat_of(served.thread[i].statfd) != 'S')
			return false;
	}
	return true;
}

/* It has rested since. */
static bool daemon_rested(void)
{
	char runs[RUNS];
	int i;

	for (i = 0; i < served.n; i++) {
		runs_of(served.thread[i].runfd, runs);
		if (strcmp(runs, served.thread[i].runs) || *stat_of(served.thread[i].statfd) != 'S')
			return false;
	}
	return true;
}

static void nap(double seconds)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)(seconds * 1e9) }, NULL);
}

static bool looks_blocked(int seat)
{
	char before[RUNS], *runs = workers[seat].runs;
	long nr;

	if (!asleep_in_call(seat))
		return false;
	memcpy(before, runs, RUNS);
	runs_of(workers[seat].runfd, runs);
	if (workers[seat].state == BLOCKED && strcmp(before, runs) == 0)
		return true;
	nr = syscall_of(seat);
	if (sysv_sleep(nr))
		return true;
	memcpy(before, runs, RUNS);
	nap(nr == SYS_futex || (nr == SYS_ppoll && served.pid) ? SHORT_LOOK : LONG_LOOK);
	runs_of(workers[seat].runfd, runs);
	return asleep_in_call(seat) && strcmp(before, runs) == 0 && syscall_of(seat) == nr;
}

/* Between two looks: cheap at first, then kind to the others. */
static void pause_between(unsigned round, double since, int seat)
{
	if (round < 100)
		return;
	if (round < 2000) {
		sched_yield();
		return;
	}
	nap(50e-6);
	if (round % 64)
		return;
	if (ended(seat, 0))
		give_up("P%d died unexpectedly: signal %d, address %p, code at %p", workers[seat].no, seats[seat].fault,
			seats[seat].fault_addr, seats[seat].fault_code);
	if (now() - since > PATIENCE)
		give_up("HANG: P%d neither returns nor sleeps in its call (state %c, system call %ld, phase %d)",
			workers[seat].no, state_of(seat), syscall_of(seat), atomic_load(&seats[seat].phase));
}

static bool can_block(const struct call *c)
{
	switch (c->op) {
	case SEMTIMEDOP:
		return !c->timed || c->ts.tv_sec != 0;
	case SEMOP:
	case MSGSND:
	case MSGRCV:
		return true;
	default:
		return false;
	}
}

bool proc_wait_call(int seat)
{
	struct call *c = &seats[seat].call;
	bool may = can_block(c);
	double since = now();
	unsigned round;

	for (round = 0; atomic_load(&seats[seat].phase) != DONE; round++) {
		if (may && round > 100 && daemon_rests() && looks_blocked(seat) && daemon_rested())
			return false;
		pause_between(round, since, seat);
	}
	return true;
}

void proc_wait_handled(int seat, int before)
{
	double since = now();
	unsigned round;

	for (round = 0; atomic_load(&seats[seat].handled) == before; round++)
		pause_between(round, since, seat);
}

void proc_wait_end(int seat, int *status)
{
	struct worker *w = &workers[seat];

	*status = 0;
	if (!ended(seat, (int)(PATIENCE * 1000)))
		give_up("HANG: P%d does not end", w->no);
	if (w->mine && waitpid(w->pid, status, 0) != w->pid)
		give_up("P%d cannot be reaped", w->no);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	close(w->pidfd);
	close(w->statfd);
	close(w->callfd);
	close(w->runfd);
	w->state = FREE;
	w->natt = 0;
	w->obj = NULL;
}

/* One look at all; true if each that was blocked still is. */
static bool look_at_all(bool returned[SEATS], int *restless)
{
	bool quiet = daemon_rests();
	int i;

	for (i = 0; i < SEATS; i++) {
		if (workers[i].state != BLOCKED || returned[i] || looks_blocked(i))
			continue;
		quiet = false;
		*restless = i;
		if (atomic_load(&seats[i].phase) == DONE)
			returned[i] = true;
	}
	return quiet && daemon_rested();
}

int proc_settle(int woken[SEATS])
{
	bool returned[SEATS] = { false };
	int i, n = 0, restless = 0;
	double since = now();
	unsigned round;

	for (round = 0; !look_at_all(returned, &restless); round++)
		pause_between(round + 100, since, restless);
	for (i = 0; i < SEATS; i++) {
		if (!returned[i])
			continue;
		workers[i].state = READY;
		woken[n++] = i;
	}
	return n;
}

/* Where deaths are noticed by those who ask, they are noticed in their order only if somebody asks after each. */
static void ask_all(void)
{
	struct obj **list;
	struct shmid_ds ds;
	int n;

	for (n = obj_live(SEM, &list); n-- > 0;)
		semctl(list[n]->id, 0, GETPID);
	for (n = obj_live(SHM, &list); n-- > 0;)
		shmctl(list[n]->id, IPC_STAT, &ds);
}

void proc_end_all(void)
{
	int i, status;

	for (i = 0; i < SEATS; i++) {
		if (workers[i].state == FREE)
			continue;
		kill(workers[i].pid, SIGKILL);
		proc_wait_end(i, &status);
		ask_all();
	}
}

/* The walk cannot go on: says so in the trace, which will differ from one that could. */
_Noreturn void give_up(const char *fmt, ...)
{
	va_list ap;
	int i;

	va_start(ap, fmt);
	printf("\nGIVING UP: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(NULL);
	for (i = 0; i < SEATS; i++) {
		if (workers[i].state == FREE)
			continue;
		if (getenv("T_STAY"))
			fprintf(stderr, "P%d is process %d\n", workers[i].no, workers[i].pid);
		else
			kill(workers[i].pid, SIGKILL);
	}
	if (getenv("T_STAY"))
		pause();
	_exit(3);
}
