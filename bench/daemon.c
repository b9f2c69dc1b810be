/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a daemon costs: a request's round trip beside that of a bare socket, and how both grow with clients and objects.
 * Runs as root under ipcrun --daemon (bench/daemon.sh); the measured client is another uid, which may use root's set but
 * not map it. Each figure is the median of ROUNDS samples taken in turn.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define CALLS 4000
#define OTHER 60001
#define CLIENTS 1000
#define OBJECTS 10000

static int set, bare, *made;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench/daemon: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- a bare socket: what any daemon with an epoll loop costs ---- */

static void echo(int fd)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT };
	char text[256], control[CMSG_SPACE(sizeof(struct ucred))];
	int loop = epoll_create1(0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e);
	while (epoll_wait(loop, &e, 1, -1) == 1) {
		struct iovec io = { text, sizeof text };
		struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);

		if (n <= 0 || send(fd, text, 80, MSG_NOSIGNAL) != 80)
			_exit(0);
		e.events = EPOLLIN | EPOLLONESHOT;
		epoll_ctl(loop, EPOLL_CTL_MOD, fd, &e);
	}
}

static void start_echo(void)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd))
		die("socketpair");
	if (!fork()) {
		close(fd[1]);
		echo(fd[0]);
		_exit(0);
	}
	close(fd[0]);
	bare = fd[1];
}

static void bare_call(void)
{
	char text[90] = "", back[256];
	struct iovec io = { text, sizeof text };
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(struct ucred))]; } c = { .head = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof(struct ucred)) } };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	struct ucred id = { getpid(), geteuid(), getegid() };

	memcpy(CMSG_DATA(&c.head), &id, sizeof id);
	if (sendmsg(bare, &m, MSG_NOSIGNAL) < 0 || recv(bare, back, sizeof back, 0) != 80)
		die("the bare socket");
}

static void mediated_call(void)
{
	static int up;
	struct sembuf s = { .sem_op = (short)(up++ & 1 ? -1 : 1) };

	if (semop(set, &s, 1))
		die("semop");
}

static void getval_call(void)
{
	if (semctl(set, 0, GETVAL) < 0)
		die("GETVAL");
}

/* ---- measuring ---- */

static double sample(void (*call)(void))
{
	double start = now();

	for (int i = 0; i < CALLS; i++)
		call();
	return (now() - start) / CALLS;
}

static int by_size(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

/* In a child that is somebody else; the medians come back over a pipe. */
static void measure(double out[3])
{
	void (*const call[3])(void) = { bare_call, mediated_call, getval_call };
	double t[3][ROUNDS];
	int fd[2];

	if (pipe(fd))
		die("pipe");
	if (!fork()) {
		if (setgid(OTHER) || setuid(OTHER))
			die("setuid");
		for (int r = 0; r < ROUNDS; r++)
			for (int i = 0; i < 3; i++)
				t[i][r] = sample(call[i]);
		for (int i = 0; i < 3; i++) {
			qsort(t[i], ROUNDS, sizeof t[i][0], by_size);
			if (write(fd[1], &t[i][ROUNDS / 2], sizeof(double)) < 0)
				die("write");
		}
		_exit(0);
	}
	close(fd[1]);
	if (read(fd[0], out, 3 * sizeof(double)) != 3 * sizeof(double))
		die("a client failed");
	close(fd[0]);
	wait(NULL);
}

/* Resident memory of the daemon that is its own, in KiB: the objects' files are shared. */
static long resident(void)
{
	const char *pid = getenv("IPCD_PID");
	char path[64], line[200];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%s/status", pid ? pid : "self");
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static void connect_clients(int n)
{
	char byte;
	int fd[2];

	if (pipe(fd))
		die("pipe");
	for (int i = 0; i < n; i++)
		if (!fork()) {
			if (setgid(OTHER) || setuid(OTHER) || semctl(set, 0, GETVAL) < 0)
				die("a client");
			if (write(fd[1], "c", 1) != 1)
				die("write");
			signal(SIGTERM, SIG_DFL);
			pause();
		}
	close(fd[1]);
	for (int i = 0; i < n; i++)
		if (read(fd[0], &byte, 1) != 1)
			die("a client has gone");
	close(fd[0]);
}

static void make_objects(int n)
{
	made = calloc((size_t)n, sizeof *made);
	for (int i = 0; i < n; i++) {
		made[i] = semget(IPC_PRIVATE, 1, 0666);
		if (made[i] < 0)
			die("semget");
	}
}

int main(void)
{
	double few[3], many[3];
	long rss_few, rss_many;

	signal(SIGCHLD, SIG_DFL);
	signal(SIGTERM, SIG_IGN);
	set = semget(IPC_PRIVATE, 1, 0666);
	if (set < 0)
		die("semget");
	start_echo();
	connect_clients(10);
	measure(few);
	rss_few = resident();
	make_objects(OBJECTS);
	connect_clients(CLIENTS - 10);
	measure(many);
	rss_many = resident();
	printf("%-46s %10s %10s %7s\n", "", "us", "bare us", "ratio");
	printf("%-46s %10.1f %10.1f %7.2f\n", "mediated semop, 10 clients", few[1] / 1e3, few[0] / 1e3, few[1] / few[0]);
	printf("%-46s %10.1f %10.1f %7.2f\n", "mediated GETVAL, 10 clients", few[2] / 1e3, few[0] / 1e3, few[2] / few[0]);
	printf("%-46s %10.1f %10.1f %7.2f\n", "mediated semop, 1,000 clients, 10,000 sets", many[1] / 1e3, many[0] / 1e3,
	       many[1] / many[0]);
	printf("%-46s %29.2f\n", "a request, 1,000 clients against 10", many[1] / few[1]);
	printf("%-46s %10ld KiB, with 10 clients %ld KiB\n", "the daemon's own memory", rss_many, rss_few);
	semctl(set, 0, IPC_RMID);
	for (int i = 0; i < OBJECTS; i++)
		semctl(made[i], 0, IPC_RMID);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	return 0;
}
