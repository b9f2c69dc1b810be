/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that mean harm to an ipcd of the test's own: they speak the protocol as they like (raw_client.h), and write
 * into the memory that they share with the daemon what they like. After each of them the daemon must be there, as small
 * as before, and another user's process must have gone on in its own objects and in common ones without an error.
 *
 * T_TIMES: so many times the random parts.
 */
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libipc.h"
#include "inspect.h"
#include "obj_sem.h"
#include "registry.h"
#include "slot.h"
#include "wait.h"
#include "directory.h"
#define T_WAIT 180 /* an attack may cost the daemon much processor time, of which there may be little */
#include "proc.h"
#include "raw_client.h"
#include "tap.h"

#define BAD 31001  /* who attacks */
#define GOOD 31002 /* who notices nothing */
#define OTHER 31003
#ifdef __SANITIZE_ADDRESS__
#define RSS_MORE (512 << 10) /* what was freed is kept for a while */
#else
#define RSS_MORE (48 << 10) /* KiB that the daemon may have grown by */
#endif

struct page {
	volatile unsigned long turns, errors;
	volatile int line, error;
	volatile uint32_t tag, who, record;
	volatile bool stop;
};

static char dir[64], place[80], path[80], logfile[80];
static pid_t daemon_pid, good_pid;
static struct page *page;
static int common_set, common_queue, good_segment, secret_segment;
static const char *workers; /* NULL: as many as it takes by itself */
static unsigned long times = 1;
static int base_fds, base_threads;
static long base_rss;
static uint64_t seed;

#define need(cond)                                                                                  \
	do {                                                                                        \
		if (!(cond)) {                                                                      \
			fprintf(stderr, "# line %d: %s (errno %d)\n", __LINE__, #cond, errno);      \
			return 1;                                                                   \
		}                                                                                   \
	} while (0)

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* ---- the daemon ---- */

static int count_dir(const char *of)
{
	char name[64];

	snprintf(name, sizeof name, "/proc/%d/%s", (int)daemon_pid, of);
	return directory_files(name, "");
}

static void start_daemon(void)
{
	const char *ipcd = getenv("IPCD");
	int fd;

	daemon_pid = fork();
	if (daemon_pid < 0)
		bail_out("fork");
	if (!daemon_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = open(logfile, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 2);
		execl(ipcd ? ipcd : "build/ipcd", "ipcd", "--foreground", "--namespace-dir", place, "--socket", path, "--socket-mode",
		      "0666", "--log-level", "warn", workers ? "--workers" : (char *)NULL, workers, (char *)NULL);
		_exit(98);
	}
	if (!wait_until(({ int t = raw_dial(path); if (t >= 0) close(t); t >= 0; })))
		bail_out("the daemon does not begin");
}

static bool alive(void)
{
	return !kill(daemon_pid, 0) && proc_state(daemon_pid, daemon_pid) != 'Z';
}

static int log_lines(const char *of)
{
	char line[1024];
	FILE *f = fopen(logfile, "r");
	int n = 0;

	while (f && fgets(line, sizeof line, f))
		n += !!strstr(line, of);
	if (f)
		fclose(f);
	return n;
}

static int become(uid_t uid)
{
	return setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ? -1 : 0;
}

/* ---- the one who notices nothing ---- */

#define fine(cond)                                                                                  \
	do {                                                                                        \
		if (!(cond)) {                                                                      \
			page->errors++;                                                             \
			page->error = errno;                                                        \
			page->line = __LINE__;                                                      \
		}                                                                                   \
	} while (0)

static int good(void *arg)
{
	struct { long type; char text[100]; } m = { 1, "" };
	struct sembuf up = { 0, 1, 0 }, down = { 0, -1, 0 };
	int set, queue;
	char *p;
	ipc_ns *ns;

	(void)arg;
	if (become(GOOD))
		return 1;
	ns = ipc_open(path, IPC_OPEN_SOCKET);
	if (!ns)
		return 2;
	set = ipc_semget(ns, IPC_PRIVATE, 1, 0600);
	queue = ipc_msgget(ns, IPC_PRIVATE, 0600);
	p = ipc_shmat(ns, good_segment, NULL, 0);
	if (set < 0 || queue < 0 || p == (void *)-1)
		return 3;
	while (!page->stop) {
		fine(!ipc_semop(ns, set, &up, 1) && !ipc_semop(ns, set, &down, 1));
		fine(!ipc_semop(ns, common_set, &up, 1) && !ipc_semop(ns, common_set, &down, 1));
		fine(!ipc_msgsnd(ns, queue, &m, 50, 0) && ipc_msgrcv(ns, queue, &m, 100, 0, 0) == 50);
		fine(!ipc_msgsnd(ns, common_queue, &m, 60, 0) && ipc_msgrcv(ns, common_queue, &m, 100, 0, 0) == 60);
		if (page->turns % 64 == 0) {
			int s = ipc_shmget(ns, IPC_PRIVATE, 4096, 0600);
			char *q = ipc_shmat(ns, s, NULL, 0);

			fine(s >= 0 && q != (void *)-1);
			if (q != (void *)-1)
				fine(!ipc_shmdt(ns, q));
			fine(!ipc_shmctl(ns, s, IPC_RMID, NULL));
		}
		p[0]++;
		page->turns++;
		proc_nap();
	}
	ipc_close(ns);
	return 0;
}

/* The daemon is there and as small as before; the good one has gone on. */
static bool all_well(void)
{
	unsigned long was = page->turns;
	bool w = true;

	if (!alive()) {
		diag("ipcd has ended");
		return false;
	}
	if (!wait_until(page->turns > was + 20)) {
		diag("the good one stands still");
		w = false;
	}
	if (page->errors) {
		diag("the good one had %lu errors, at line %d: %s", page->errors, page->line, strerror(page->error));
		page->errors = 0;
		w = false;
	}
	if (!wait_until(count_dir("fd") <= base_fds + 2) || count_dir("task") != base_threads) {
		diag("%d descriptors, %d threads; there were %d and %d", count_dir("fd"), count_dir("task"), base_fds, base_threads);
		w = false;
	}
	if (proc_memory(daemon_pid) > base_rss + RSS_MORE) {
		diag("%ld KiB, there were %ld", proc_memory(daemon_pid), base_rss);
		w = false;
	}
	return w;
}

/* An attack, by a process of that user. */
static void attack_as(uid_t uid, int (*fn)(void *), const char *name)
{
	if (getenv("T_ONLY") && !strstr(name, getenv("T_ONLY")))
		return;

	pid_t parent = getpid(), pid;
	int status;
	bool well;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || become(uid))
			_exit(99);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(NULL));
	}
	status = pid < 0 ? -1 : proc_wait(pid);
	if (status)
		diag("the attacker: %d", status);
	if (status == -1)
		proc_kill(pid);
	well = all_well();
	ok(!status && well, "%s", name);
}

/* ---- requests ---- */

static int garbage(void *arg)
{
	static char data[70000];
	struct wire_request q;

	(void)arg;
	for (size_t size = 0; size <= sizeof q; size++) { /* truncated */
		int fd = raw_dial(path);

		need(fd >= 0);
		memset(&q, 0, sizeof q);
		q.magic = WIRE_MAGIC;
		q.version = WIRE_VERSION;
		q.op = WIRE_GET;
		raw_datagram(fd, &q, size, NULL, 0, 0);
		close(fd);
	}
	for (unsigned long i = 0; i < 400 * times; i++) {
		int fd = raw_dial(path);
		size_t size = rnd() % sizeof data;

		need(fd >= 0);
		for (size_t k = 0; k < size; k += 8)
			memcpy(data + k, &(uint64_t){ rnd() }, 8);
		if (i & 1) {
			q = (struct wire_request){ .magic = WIRE_MAGIC, .version = (uint16_t)(i & 2 ? WIRE_VERSION : rnd()),
						   .op = (uint16_t)(rnd() % 30), .size = (uint32_t)(i & 4 ? rnd() : size - sizeof q) };
			memcpy(data, &q, sizeof q);
		}
		raw_datagram(fd, data, size, NULL, 0, MSG_DONTWAIT);
		close(fd);
	}
	return 0;
}

static int64_t some_number(struct raw *r)
{
	static const int64_t chosen[] = { 0, 1, 2, -1, 3, 4, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 0x7fffffff, -0x7fffffff - 1,
					  0xffffffff, 1 << 20, 65536, 32768, 1024, 1025, 0666, 01666, 04000 };
	switch (rnd() % 8) {
	case 0:
		return (int64_t)rnd();
	case 1:
		return r->tag;
	case 2:
		return page->tag;
	case 3:
		return page->who;
	case 4:
		return rnd() & 1 ? common_set : common_queue;
	default:
		return chosen[rnd() % (sizeof chosen / sizeof *chosen)];
	}
}

static int random_requests(void *arg)
{
	static char text[WIRE_INLINE];
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	for (unsigned long i = 0; i < 1000 * times; i++) {
		static const uint32_t sizes[] = { 0, 0, 1, 4, 6, 8, 12, 60, 104, 112, 120, 4096, 65536 };
		struct raw_request q = { .op = (uint16_t)(rnd() % (WIRE_OPS + 1)), .payload = text,
					 .size = sizes[rnd() % 13], .flags = rnd() % 8 ? 0 : 1 };
		long e;

		if (!r->fd)
			need((e = raw_hello(r, path, 0, 0)) > 0 || (diag("HELLO: %ld", e), false));
		for (int k = 0; k < WIRE_ARGS; k++)
			q.arg[k] = some_number(r);
		if (q.arg[0] == common_set || q.arg[0] == common_queue) /* it may use them: others would notice */
			q.arg[0] += 1000;
		for (int k = 0; k < 64; k++)
			text[k] = (char)(rnd() & 3);
		raw_send(r, q);
		raw_send(r, (struct raw_request){ .op = WIRE_CANCEL, .arg = { 0 } });
		e = q.op == WIRE_BYE || q.op == WIRE_NAMED || q.op == WIRE_RING || q.op == WIRE_CANCEL ?
			    raw_reply_within(r, 0) : raw_reply(r);
		if (e == RAW_GONE || q.op == WIRE_BYE) {
			raw_end(r);
			r->fd = 0;
		} else if (q.op != WIRE_NAMED && q.op != WIRE_RING && q.op != WIRE_CANCEL) {
			need(e != RAW_LATE);
		}
	}
	return 0;
}

static int before_hello(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	for (uint16_t op = WIRE_HELLO + 1; op <= WIRE_OPS; op++) {
		r->fd = raw_dial(path);
		need(r->fd >= 0);
		raw_send(r, (struct raw_request){ .op = op, .arg = { 1, 1, 1, 1, 1, 1 } });
		need(raw_reply(r) == RAW_GONE || r->reply.result == -EPROTO);
		raw_end(r);
	}
	return 0;
}

static int say_nothing(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int fd[300];

	(void)arg;
	for (int i = 0; i < 300; i++)
		need((fd[i] = raw_dial(path)) >= 0);
	need(raw_hello(r, path, 0, 0) > 0);
	for (int i = 0; i < 300; i++)
		close(fd[i]);
	raw_end(r);
	return 0;
}

static int never_read(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int e = 0;

	(void)arg;
	for (int i = 0; i < 20; i++) {
		int n;

		need(raw_hello(r, path, 0, 0) > 0);
		for (n = 0; n < 100000; n++) {
			e = raw_send(r, (struct raw_request){ .op = WIRE_SEMCTL, .arg = { common_set, 0, IPC_STAT } });
			if (e)
				break;
		}
		need(e == -EPIPE || e == -ECONNRESET);
		raw_end(r);
	}
	return 0;
}

static int many_descriptors(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int fds[250], pipes[2];

	(void)arg;
	need(!pipe(pipes));
	for (int i = 0; i < 250; i++)
		fds[i] = pipes[i & 1];
	for (int i = 0; i < 60; i++) {
		need(raw_hello(r, path, 0, 0) > 0);
		raw_send(r, (struct raw_request){ .op = WIRE_GET, .fds = fds, .n = i % 3 ? 250 : 2, .flags = i & 1 ? WIRE_MEMORY : 0,
						  .size = i & 1 ? 100000 : 0 });
		raw_reply(r);
		raw_end(r);
	}
	return 0;
}

/* A payload is to be in memory: reading anything else may take for ever. */
static int no_memory_file(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int fd = open("/etc/passwd", O_RDONLY);

	(void)arg;
	need(fd >= 0);
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_MSGSND, .arg = { common_queue, 77, IPC_NOWAIT }, .size = 8, .flags = WIRE_MEMORY,
		      .fds = &fd, .n = 1) == RAW_GONE);
	return 0;
}

/* What there is to tell does not go where no room was asked for. */
static int no_room(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	for (int what = -1; what <= INSPECT_UNDO + 1; what++)
		for (int room = -1; room <= 0; room++) {
			long e;

			need(raw_hello(r, path, 0, 0) > 0);
			e = raw_call(r, .op = WIRE_INSPECT, .arg = { what, KIND_SEM, common_set, 0, room });
			need(e < 0 || (room == 0 && what > INSPECT_STATE && !r->reply.size));
			raw_end(r);
		}
	return 0;
}

/* ids to attach, in a memory file: the answer is put where the question was. */
static int ids_in_memory(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int fd = (int)syscall(SYS_memfd_create, "ids", 0), id = good_segment;

	(void)arg;
	for (int i = 0; i < 20000; i++)
		need(write(fd, &id, 4) == 4);
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_ATTACHED, .arg = { 0 }, .size = 80000, .flags = WIRE_MEMORY, .fds = &fd, .n = 1) == 0);
	return 0;
}

static int sleep_a_while(void *arg)
{
	(void)arg;
	alarm(60);
	pause();
	return 0;
}

static int forged(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(struct ucred))]; } control;
	struct iovec io = { r->text, 1 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	int id = good_segment, fd;
	uint32_t tag;
	pid_t child;

	(void)arg;
	need(raw_hello(r, path, page->tag, 0) == -EPERM); /* somebody else's process */
	raw_end(r);
	need(raw_hello(r, path, 0xffffffff, 0) < 0);
	raw_end(r);
	need(raw_hello(r, path, 0, page->who) > 0 && r->who != page->who);
	fd = raw_dial(path);
	memset(&control, 0, sizeof control);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_CREDENTIALS;
	control.head.cmsg_len = CMSG_LEN(sizeof(struct ucred));
	memcpy(CMSG_DATA(&control.head), &(struct ucred){ good_pid, GOOD, GOOD }, sizeof(struct ucred));
	need(sendmsg(fd, &m, 0) < 0 && errno == EPERM); /* the kernel looks at who sends */
	close(fd);

	need(raw_call(r, .op = WIRE_ATTACHED, .arg = { page->tag }, .payload = &id, .size = 4) == -EPROTO);
	raw_end(r);
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_ATTACH, .arg = { secret_segment, 0 }) == -EACCES && !r->got);
	need(raw_call(r, .op = WIRE_DETACH, .arg = { page->record }) != RAW_LATE); /* of another's list: nothing happens */
	need(raw_call(r, .op = WIRE_OPEN, .arg = { KIND_SEM, common_set }) == -EXDEV && !r->got);
	need(raw_call(r, .op = WIRE_LIMIT, .arg = { 0, 1 }) == -EPERM);

	need(raw_call(r, .op = WIRE_FORK) == 0 && r->got == 1); /* a slot for a child that is somebody else's */
	tag = (uint32_t)r->reply.value[0];
	need(raw_send(r, (struct raw_request){ .op = WIRE_NAMED, .arg = { tag, good_pid } }) == 0);
	child = proc_run(sleep_a_while, NULL);
	need(raw_send(r, (struct raw_request){ .op = WIRE_NAMED, .arg = { tag, child } }) == 0);
	need(raw_call(r, .op = WIRE_SETTLE) == 0);
	proc_kill(child);
	raw_end(r);
	return 0;
}

/* An orphan's slot: its maker has gone, and somebody else's process says that it is the child. */
static int orphan(void *arg)
{
	int *tag = arg;
	struct raw *r = calloc(1, sizeof *r);
	pid_t child;
	int keep;

	need(!become(OTHER));
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_FORK) == 0 && r->got == 1);
	*tag = (int)r->reply.value[0];
	keep = r->fds[0];
	child = fork();
	if (!child) { /* the child: it has not said anything yet */
		(void)keep;
		alarm(60);
		pause();
		_exit(0);
	}
	tag[1] = child;
	return child < 0;
}

static int claims_orphan(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	need(raw_hello(r, path, page->tag, 0) == -EPERM);
	return 0;
}

static int is_segment_shared(void *arg)
{
	struct shmid_ds ds;
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_SHMCTL, .arg = { good_segment, IPC_STAT }) == 0);
	memcpy(&ds, r->text, sizeof ds);
	return ds.shm_nattch == 1 ? 0 : 1;
}

/* The locks of processes that have gone, kept: their slots are others' nevertheless. */
static int keep_locks(void *arg)
{
	int pair[2], got[150];
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	need(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	for (int i = 0; i < 150; i++) {
		char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
		struct iovec io = { r->text, 1 };
		struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		pid_t pid = fork();

		if (!pid) {
			struct raw *c = calloc(1, sizeof *c);

			if (raw_hello(c, path, 0, 0) > 0 && c->got == 4)
				raw_datagram(pair[1], "x", 1, &c->fds[2], 1, 0);
			else
				raw_datagram(pair[1], "x", 1, pair, 1, 0);
			_exit(0);
		}
		need(pid > 0 && recvmsg(pair[0], &m, 0) == 1);
		memcpy(&got[i], CMSG_DATA((struct cmsghdr *)control), sizeof(int));
		proc_wait(pid);
	}
	for (int i = 0; i < 20; i++) {
		need(raw_hello(r, path, 0, 0) > 0);
		raw_end(r);
	}
	return 0;
}

/* Two connections of one process; with its lock given up the second has its slot, and the first is nobody's. */
static int old_connection(void *arg)
{
	struct raw *a = calloc(1, sizeof *a), *b;
	int fds[4];
	long e;

	(void)arg;
	need(raw_hello(a, path, 0, 0) > 0 && a->got == 4);
	memcpy(fds, a->fds, sizeof fds);
	a->got = 0;
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(a->lock);
	/* The daemon closes its descriptor of the lock a moment after it has sent it. Others' locks are kept meanwhile. */
	need(wait_until((b = calloc(1, sizeof *b)) && raw_hello(b, path, 0, 0) > 0 && a->tag == b->tag));
	e = raw_call(a, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 1, 0600 });
	need(e == RAW_GONE || e == -EPROTO);
	return 0;
}

/* Numbers and slots, taken and never used. */
static int take_everything(void *arg)
{
	struct raw *r = calloc(1, sizeof *r), *x = calloc(1, sizeof *x);
	int refused = 0, forks = 0;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	for (int i = 0; i < WHO_MAX && !refused; i++) {
		refused = raw_hello(x, path, r->tag, 0) < 0;
		raw_end(x);
	}
	need(refused);
	while (forks < 1000 && raw_call(r, .op = WIRE_FORK) == 0) {
		r->got = 0; /* kept */
		forks++;
	}
	need(forks > 8 && forks < 1000);
	return 0;
}

/* Replies that lie in the socket are small, but what goes with them is not. */
static int never_take(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct pollfd p = { .events = POLLIN };
	int set;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 2, 0600 });
	need(set >= 0);
	raw_send(r, (struct raw_request){ .op = WIRE_OPEN, .arg = { KIND_SEM, set } });
	p.fd = r->fd;
	need(poll(&p, 1, RAW_WAIT) == 1);
	raw_send(r, (struct raw_request){ .op = WIRE_OPEN, .arg = { KIND_SEM, set } });
	p.events = POLLRDHUP;
	need(poll(&p, 1, RAW_WAIT) == 1);
	need(raw_reply(r) == 0 && r->got == 1);
	need(raw_reply(r) == RAW_GONE);
	raw_end(r);
	return 0;
}

/* A file of the user's own, named as a segment's that he may not read; he says that he has that one attached. */
static int mapped_by_name(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	char name[100], *p;
	struct stat st;
	int fd, secret = secret_segment;
	void *reg;
	uint32_t file;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0 && r->got == 4);
	need(!fstat(r->fds[0], &st));
	reg = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, r->fds[0], 0);
	need(reg != MAP_FAILED);
	file = VALUE(((uint64_t *)reg)[row_cell(KIND_SHM, ID_INDEX(secret), R_FILE)]);
	snprintf(name, sizeof name, "/tmp/%d-shm-%08x", (int)getpid(), file);
	fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	need(fd >= 0 && !ftruncate(fd, 4096));
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	unlink(name);
	need(p != MAP_FAILED);
	need(raw_call(r, .op = WIRE_ATTACHED, .arg = { 0, 0, 0 }, .payload = &secret, .size = 4) == -EACCES);
	return 0;
}

static long hello_as_thread(struct raw *r, uint32_t tag, pid_t tid)
{
	r->fd = raw_dial(path);
	r->who = (uint32_t)raw_call(r, .op = WIRE_HELLO, .arg = { tag, 0, 0, tid, getpid() });
	return (int)r->who;
}

/*
 * The number of a thread that has ended is another one's soon; its request is in no list then, in which the next owner
 * would stand twice.
 */
static int sleeps_on(void *arg)
{
	struct raw *r = calloc(1, sizeof *r), *x = calloc(1, sizeof *x);
	struct sembuf down = { 0, -1, 0 };
	struct slots *s;
	struct area a;
	int set;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0 && r->got == 4);
	s = mmap(NULL, sizeof *s, PROT_READ, MAP_SHARED, r->fds[1], 0);
	need((void *)s != MAP_FAILED);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 1, 0600 });
	need(raw_call(r, .op = WIRE_OPEN, .arg = { KIND_SEM, set }) == 0 && r->got == 1);
	a.head = mmap(NULL, 64 << 20, PROT_READ, MAP_SHARED, r->fds[0], 0);
	need((void *)a.head != MAP_FAILED);
	a.who_at = a.head->who_at;
	need(hello_as_thread(x, r->tag, 0x7ffffff0) > 0);
	raw_send(x, (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &down, .size = sizeof down });
	need(wait_until(raw_call(r, .op = WIRE_SEMCTL, .arg = { set, 0, GETNCNT }) == 1));
	raw_end(x);
	need(wait_until((uint32_t)atomic_load(&s->who[x->who]) != r->tag));
	need(STATE_WHAT(VALUE(atomic_load(&area_who(&a, x->who)->req.state))) != REQ_WAIT);
	return 0;
}

static int rings(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	for (unsigned long i = 0; i < 20000 * times; i++)
		need(!raw_send(r, (struct raw_request){ .op = i & 1 ? WIRE_RING : WIRE_CANCEL, .arg = { (int64_t)(rnd() % 40) } }));
	need(raw_call(r, .op = WIRE_SETTLE) == 0);
	return 0;
}

static int pipelined(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct sembuf op = { 0, -1, 0 };
	int set;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	for (int i = 0; i < 100; i++)
		need(!raw_send(r, (struct raw_request){ .op = WIRE_SEMCTL, .arg = { common_set, 0, GETPID } }));
	for (int i = 0; i < 100; i++)
		need(raw_reply(r) >= 0 && r->reply.number == r->number - 99 + (uint64_t)i);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 1, 0600 });
	need(set >= 0);
	raw_send(r, (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &op, .size = sizeof op });
	raw_send(r, (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &op, .size = sizeof op });
	need(raw_reply(r) == RAW_GONE); /* one at a time */
	return 0;
}

/*
 * A request that sleeps is left there, and taken up again as another one; or a second one is made. Who may only operate
 * on a set does not ruin it.
 */
static int twice_in_a_list(void *arg)
{
	struct raw *r = calloc(1, sizeof *r), *x = calloc(1, sizeof *x), *owner = calloc(1, sizeof *owner);
	struct sembuf down = { 0, -1, 0 }, zero = { 1, 0, 0 }, up = { 0, 1, 0 };
	int set, queue, pid, status;

	(void)arg;
	need(raw_hello(owner, path, 0, 0) > 0);
	set = (int)raw_call(owner, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 2, 0666 });
	queue = (int)raw_call(owner, .op = WIRE_GET, .arg = { KIND_MSG, IPC_PRIVATE, 0, 0666 });
	need(set >= 0 && queue >= 0);
	need(raw_call(owner, .op = WIRE_SEMCTL, .arg = { set, 1, SETVAL, 1 }) == 0);
	pid = fork();
	if (!pid) {
		need(raw_hello(owner, path, 0, 0) > 0 && raw_hello(r, path, owner->tag, 0) > 0);
		for (int i = 0; i < 6; i++) {
			bool queues = i & 1, repeated = i & 2;
			uint64_t number = 1000 + (uint64_t)i;

			raw_send(r, queues ? (struct raw_request){ .op = WIRE_MSGRCV, .arg = { queue, 10, 0, 0 }, .number = number } :
					     (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &down,
								   .size = sizeof down, .number = number });
			while (raw_call(owner, .op = WIRE_SEMCTL, .arg = { set, 0, GETNCNT }) != 1 && !queues)
				proc_nap();
			proc_nap();
			close(r->fd);
			for (int tries = 0; tries < 1000; tries++) { /* the old connection may not be closed yet */
				uint32_t who = r->who;

				need(raw_hello(x, path, r->tag, who) > 0);
				if (x->who == who)
					break;
				raw_end(x);
				proc_nap();
			}
			need(x->who == r->who);
			raw_send(x, queues ? (struct raw_request){ .op = WIRE_MSGSND, .arg = { queue, 5, IPC_NOWAIT }, .payload = "text",
								   .size = 4, .number = number, .flags = repeated ? WIRE_REPEATED : 0 } :
					     (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &zero,
								   .size = sizeof zero, .number = number, .flags = repeated ? WIRE_REPEATED : 0 });
			raw_send(x, (struct raw_request){ .op = WIRE_CANCEL, .arg = { 0 } });
			need(raw_reply(x) != RAW_LATE);
			memcpy(r, x, offsetof(struct raw, text));
			r->got = 0;
		}
		_exit(0);
	}
	status = proc_wait(pid);
	need(!status);
	need(raw_call(owner, .op = WIRE_SEMCTL, .arg = { set, 0, GETNCNT }) == 0);
	need(raw_call(owner, .op = WIRE_SEMCTL, .arg = { set, 0, GETZCNT }) == 0);
	need(raw_call(owner, .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &up, .size = sizeof up) == 0);
	need(raw_call(owner, .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &down, .size = sizeof down) == 0);
	while (raw_call(owner, .op = WIRE_MSGRCV, .arg = { queue, 10, 0, IPC_NOWAIT }) == 4)
		;
	need(owner->reply.result == -ENOMSG);
	return 0;
}

static int stopped(void *arg)
{
	pid_t pid[12];
	int set, status;
	struct raw *r = calloc(1, sizeof *r);
	struct sembuf up = { 0, 12, 0 };

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 1, 0600 });
	for (int i = 0; i < 12; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			struct raw *c = calloc(1, sizeof *c);
			struct sembuf down = { 0, -1, 0 };

			if (raw_hello(c, path, 0, 0) <= 0)
				_exit(1);
			raw_send(c, (struct raw_request){ .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &down, .size = sizeof down });
			raise(SIGSTOP);
			_exit(raw_reply(c) ? 2 : 0);
		}
	}
	for (int i = 0; i < 12; i++)
		need(waitpid(pid[i], &status, WUNTRACED) == pid[i] && WIFSTOPPED(status));
	need(raw_call(r, .op = WIRE_SEMOP, .arg = { set, 1 }, .payload = &up, .size = sizeof up) == 0);
	need(wait_until(raw_call(r, .op = WIRE_SEMCTL, .arg = { set, 0, GETVAL }) == 0)); /* while they are */
	for (int i = 0; i < 12; i++) {
		kill(pid[i], SIGCONT);
		need(proc_wait(pid[i]) == 0);
	}
	return 0;
}

/* ---- what is given to another user ---- */

static int descriptors(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char name[64];
	int fd[4], ro;
	char *p;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0 && r->got == 4);
	memcpy(fd, r->fds, sizeof fd);
	r->got = 0;
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd[i]);
		need(ftruncate(fd[i], 0) && (errno == EACCES || errno == EINVAL || errno == EBADF));
		need(open(name, O_RDWR) < 0 && errno == EACCES);
		need(open(name, O_RDONLY | O_TRUNC) < 0);
		need(truncate(name, 0) && errno == EACCES);
		need(fchmod(fd[i], 0666) && errno == EPERM);
		need(fcntl(fd[i], F_ADD_SEALS, F_SEAL_WRITE) && (errno == EPERM || errno == EINVAL));
	}
	for (int i = 0; i < 3; i++) { /* registry, slots, lock: to be read */
		need(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd[i], 0) == MAP_FAILED && errno == EACCES);
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd[i], 0);
		need(p != MAP_FAILED);
		need(mprotect(p, 4096, PROT_READ | PROT_WRITE) && errno == EACCES);
		need(fallocate(fd[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) && errno == EBADF);
		need(pwrite(fd[i], "x", 1, 0) < 0);
		need(!fcntl(fd[i], F_SETFL, O_RDWR) && pwrite(fd[i], "x", 1, 0) < 0); /* the mode of access does not change */
		need(fcntl(fd[i], F_OFD_SETLK, &l) && errno == EBADF);
	}
	need(raw_call(r, .op = WIRE_ATTACH, .arg = { good_segment, SHM_RDONLY }) == 0 && r->got == 1);
	ro = r->fds[0];
	r->got = 0;
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 0);
	need(p != MAP_FAILED && mprotect(p, 4096, PROT_WRITE) && errno == EACCES);
	snprintf(name, sizeof name, "/proc/self/fd/%d", ro);
	need(open(name, O_RDWR) < 0 && errno == EACCES);
	need(raw_call(r, .op = WIRE_ATTACH, .arg = { good_segment, 0 }) == 0 && r->got == 1);
	need(ftruncate(r->fds[0], 0) && errno == EACCES);
	return 0;
}

/* ---- control areas, written by their owner ---- */

struct target {
	struct raw *owner;
	int id;
	enum kind kind;
	struct area_head *head;
	uint64_t length;
	int fd;
};

static int make_target(struct target *t, enum kind kind, int nsems)
{
	struct stat st;

	t->owner = calloc(1, sizeof *t->owner);
	t->kind = kind;
	if (raw_hello(t->owner, path, 0, 0) <= 0)
		return 1;
	t->id = (int)raw_call(t->owner, .op = WIRE_GET, .arg = { kind, IPC_PRIVATE, nsems, 0666 });
	if (t->id < 0 || raw_call(t->owner, .op = WIRE_OPEN, .arg = { kind, t->id }) || t->owner->got != 1)
		return 1;
	t->fd = t->owner->fds[0];
	t->owner->got = 0;
	if (fstat(t->fd, &st))
		return 1;
	t->length = (uint64_t)st.st_size;
	t->head = mmap(NULL, t->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, t->fd, 0);
	return t->head == MAP_FAILED;
}

static void end_target(struct target *t)
{
	raw_call(t->owner, .op = t->kind == KIND_SEM ? WIRE_SEMCTL : WIRE_MSGCTL, .arg = { t->id, t->kind == KIND_SEM ? 0 : IPC_RMID, IPC_RMID });
	munmap(t->head, t->length);
	close(t->fd);
	raw_end(t->owner);
	free(t->owner);
}

/* A mediated call on it, of any kind, that does not sleep; it must be answered. */
static long mediated(struct raw *r, const struct target *t, uint64_t which)
{
	static const int room[] = { [INSPECT_STATE] = 1, [INSPECT_VALUES] = 100, [INSPECT_COUNTS] = 100, [INSPECT_WAITERS] = 100,
				    [INSPECT_UNDO] = 100 };
	enum inspect_what what = (enum inspect_what)(which / 8 % (INSPECT_UNDO + 1));
	struct sembuf ops[3] = { { 0, 1, IPC_NOWAIT | SEM_UNDO }, { 1, -1, IPC_NOWAIT }, { 0, -1, IPC_NOWAIT | SEM_UNDO } };
	unsigned short values[16] = { 0 };

	if (t->kind == KIND_MSG && what != INSPECT_STATE)
		what = INSPECT_WAITERS;
	if (which % 8 == 7)
		return raw_call(r, .op = WIRE_INSPECT, .arg = { what, t->kind, t->id, 0, room[what] });
	if (t->kind == KIND_SEM)
		switch (which % 6) {
		case 0:
			return raw_call(r, .op = WIRE_SEMOP, .arg = { t->id, 1 }, .payload = ops, .size = sizeof *ops);
		case 1:
			return raw_call(r, .op = WIRE_SEMOP, .arg = { t->id, 3 }, .payload = ops, .size = sizeof ops);
		case 2:
			return raw_call(r, .op = WIRE_SEMCTL, .arg = { t->id, 0, GETNCNT });
		case 3:
			return raw_call(r, .op = WIRE_SEMCTL, .arg = { t->id, 0, GETALL });
		case 4:
			return raw_call(r, .op = WIRE_SEMCTL, .arg = { t->id, 0, SETALL }, .payload = values, .size = 16);
		default:
			return raw_call(r, .op = WIRE_SEMCTL, .arg = { t->id, 1, SETVAL, 1 });
		}
	switch (which % 4) {
	case 0:
		return raw_call(r, .op = WIRE_MSGSND, .arg = { t->id, 3, IPC_NOWAIT }, .payload = r->text, .size = 300);
	case 1:
		return raw_call(r, .op = WIRE_MSGRCV, .arg = { t->id, 400, 0, IPC_NOWAIT | MSG_NOERROR });
	case 2:
		return raw_call(r, .op = WIRE_MSGRCV, .arg = { t->id, 0, which & 64 ? MSG_COPY | IPC_NOWAIT : -9, IPC_NOWAIT });
	default:
		return raw_call(r, .op = WIRE_MSGCTL, .arg = { t->id, IPC_STAT });
	}
}

/* Where writing hurts: the first cells, the who blocks of the first threads, the first nodes. */
static void scribble(const struct target *t, unsigned n)
{
	uint64_t who_at = t->head->who_at, spot, value;

	for (unsigned i = 0; i < n; i++) {
		switch (rnd() % 4) {
		case 0:
			spot = offsetof(struct area_head, op) + rnd() % 200;
			break;
		case 1:
			spot = PAGE + rnd() % 64 * WHO_SIZE + rnd() % WHO_SIZE;
			break;
		case 2:
			spot = who_at + rnd() % 64 * WHO_SIZE + rnd() % WHO_SIZE;
			break;
		default:
			spot = who_at + (uint64_t)WHO_MAX * WHO_SIZE + rnd() % 65536;
		}
		value = rnd() % 3 ? rnd() % 40 : rnd();
		spot &= ~7ull;
		if (spot + 8 > t->length || spot < offsetof(struct area_head, op))
			continue;
		if (rnd() & 1)
			__atomic_store_n((uint64_t *)((char *)t->head + spot), value, __ATOMIC_SEQ_CST);
		else
			__atomic_store_n((uint32_t *)((char *)t->head + spot), (uint32_t)value, __ATOMIC_SEQ_CST);
	}
}

struct scribbler { struct target *t; volatile bool stop; void (*fn)(const struct target *); };

static void *scribble_on(void *arg)
{
	struct scribbler *s = arg;

	while (!s->stop)
		s->fn(s->t);
	return NULL;
}

static void scribble_some(const struct target *t)
{
	scribble(t, 20);
}

/* Other processes' mediated calls on the object, while its owner writes as fn does; each is answered. */
static int attacked(struct target *t, void (*fn)(const struct target *), int calls)
{
	struct scribbler s = { .t = t, .fn = fn };
	struct raw *r = calloc(1, sizeof *r);
	pthread_t thread;
	int late = 0;

	need(raw_hello(r, path, 0, 0) > 0);
	need(!pthread_create(&thread, NULL, scribble_on, &s));
	for (int i = 0; i < calls && !late; i++) {
		long e = mediated(r, t, rnd());

		late = e == RAW_LATE || e == RAW_GONE;
		if (late)
			fprintf(stderr, "# call %d: %ld\n", i, e);
	}
	s.stop = true;
	pthread_join(thread, NULL);
	raw_end(r);
	free(r);
	return late;
}

static int random_bytes(void *arg)
{
	(void)arg;
	for (unsigned long i = 0; i < 24 * times; i++) {
		struct target t;

		need(!make_target(&t, i & 1 ? KIND_SEM : KIND_MSG, 8));
		need(!attacked(&t, scribble_some, 40));
		end_target(&t);
	}
	return 0;
}

/* An object of its own, at which it keeps while others call. */
static int keep_at(enum kind kind, int nsems, void (*fn)(const struct target *))
{
	struct target t;

	need(!make_target(&t, kind, nsems));
	need(!attacked(&t, fn, 4));
	end_target(&t);
	return 0;
}

/* "There is more to do", always. */
static void always_more(const struct target *t)
{
	for (int i = 0; i < 1000; i++)
		__atomic_store_n((uint64_t *)area_cell(&(struct area){ .head = t->head }, AREA_FLAGS), 2, __ATOMIC_SEQ_CST);
}

static int endless_cascade(void *arg)
{
	(void)arg;
	return keep_at(KIND_SEM, 8, always_more);
}

/* Nobody is at work, and yet it is another state from one look to the next. */
static void always_moving(const struct target *t)
{
	static _Atomic uint64_t seq;

	for (int i = 0; i < 1000; i++)
		atomic_store(&t->head->op, OP(atomic_fetch_add(&seq, 1), 0));
}

static int endless_retries(void *arg)
{
	(void)arg;
	return keep_at(KIND_MSG, 0, always_moving);
}

static void gate_closed(const struct target *t)
{
	struct area a = { .head = t->head };

	__atomic_store_n((uint64_t *)area_cell(&a, S_GATE), 999, __ATOMIC_SEQ_CST);
	__atomic_store_n((uint64_t *)area_cell(&a, AREA_FLAGS), 0x100, __ATOMIC_SEQ_CST);
}

static int closed_gate(void *arg)
{
	(void)arg;
	return keep_at(KIND_SEM, 2, gate_closed);
}

/* Closed for another one at every look: nobody waits long enough to open it, and nobody gets through. */
static void gate_passed_on(const struct target *t)
{
	static uint64_t turn;
	struct area a = { .head = t->head };

	__atomic_store_n((uint64_t *)area_cell(&a, S_GATE), ++turn << 32 | 999, __ATOMIC_SEQ_CST);
	__atomic_store_n((uint64_t *)area_cell(&a, AREA_FLAGS), 0x100, __ATOMIC_SEQ_CST);
}

/*
 * An object's place is given to another one while a call on it is under way, which its owner keeps from ending: the call
 * stays with the object that it began with. Then the place is another user's, or a much larger set's.
 */
static int place_taken(void *arg)
{
	bool sets = arg;
	uid_t next = sets ? OTHER : BAD;
	struct raw *r = calloc(1, sizeof *r), *taker = calloc(1, sizeof *taker);
	struct target t;
	struct scribbler s = { .t = &t, .fn = gate_passed_on };
	_Atomic uint32_t *begun;
	pthread_t thread;
	int id;

	alarm(60);
	need(!seteuid(BAD) && !make_target(&t, KIND_SEM, 1) && raw_hello(r, path, 0, 0) > 0);
	gate_passed_on(&t);
	need(!pthread_create(&thread, NULL, scribble_on, &s));
	begun = &area_who(&(struct area){ .head = t.head, .who_at = t.head->who_at }, r->who)->desc.begun;
	raw_send(r, sets ? (struct raw_request){ .op = WIRE_SEMCTL, .arg = { t.id, 0, SETVAL, 77 } } :
			   (struct raw_request){ .op = WIRE_INSPECT, .arg = { INSPECT_VALUES, KIND_SEM, t.id, 0, 1 } });
	for (int i = 0; i < 10000000 && !atomic_load(begun); i++) /* it comes to the gate */
		;
	need(raw_call(t.owner, .op = WIRE_SEMCTL, .arg = { t.id, 0, IPC_RMID }) == 0);
	need(!seteuid(0) && !seteuid(next) && raw_hello(taker, path, 0, 0) > 0);
	for (int i = 0;; i++) {
		id = (int)raw_call(taker, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, sets ? 1 : 32000, 0600 });
		need(id >= 0 && i < 200);
		if (ID_INDEX(id) == ID_INDEX(t.id))
			break;
		need(raw_call(taker, .op = WIRE_SEMCTL, .arg = { id, 0, IPC_RMID }) == 0);
	}
	need(raw_call(taker, .op = WIRE_SEMCTL, .arg = { id, 0, GETVAL }) == 0);
	need(!seteuid(0) && !seteuid(BAD));
	/* or it got through while the owner's thread did not run */
	need(raw_reply(r) == -EIDRM || r->reply.result == !sets || (diag("the call: %ld", (long)r->reply.result), false));
	s.stop = true;
	need(!pthread_join(thread, NULL));
	need(!seteuid(0) && !seteuid(next));
	need(raw_call(taker, .op = WIRE_SEMCTL, .arg = { id, 0, GETVAL }) == 0);
	need(raw_call(taker, .op = WIRE_SEMCTL, .arg = { id, 0, IPC_RMID }) == 0);
	return 0;
}

/* A sleeper's message grows between two looks at its size; or its list turns to itself; undo rows that are none. */
static void sleepers_lie(const struct target *t)
{
	struct area a = { .head = t->head, .who_at = t->head->who_at };

	for (uint32_t who = 1; who < 24; who++) {
		struct request *q = &area_who(&a, who)->req;
		static const uint64_t values[] = { 0, 1, 2, 3, 0x10002, 0x20001, 0x7fffffff, 0x80000000, 0xffffffff, 400, 1 << 24 };

		q->undo = (int32_t)values[rnd() % 11];
		q->nsops = (uint16_t)(rnd() & 1 ? 2 : 1024);
		q->size = values[rnd() % 11];
		for (int i = 0; i < REQ_SOPS; i++)
			q->sop[i].num = (uint16_t)(rnd() & 1 ? 65535 : 0);
		__atomic_store_n((uint32_t *)&q->next, (uint32_t)(rnd() % 8), __ATOMIC_SEQ_CST);
		if (rnd() % 16 == 0)
			__atomic_store_n((uint32_t *)&q->state, (uint32_t)(rnd() % 4 ? 1 : rnd()), __ATOMIC_SEQ_CST);
		__atomic_store_n((uint32_t *)&q->node, (uint32_t)((PAGE + (uint64_t)WHO_SIZE * WHO_MAX) / 64 + rnd() % 40), __ATOMIC_SEQ_CST);
	}
	if (t->kind == KIND_MSG)
		for (int n = 0; n < 64; n++) { /* sizes of nodes */
			char *node = (char *)t->head + PAGE + (uint64_t)WHO_SIZE * WHO_MAX + (uint64_t)n * 64;

			__atomic_store_n((uint32_t *)(node + 16), rnd() & 1 ? 100 : 1 << 22, __ATOMIC_SEQ_CST);
		}
}

static int lying_sleepers(void *arg)
{
	struct raw *r[6];

	(void)arg;
	for (int i = 0; i < 6; i++)
		r[i] = calloc(1, sizeof **r);
	for (unsigned long round = 0; round < 8 * times; round++) {
		struct target t;
		struct sembuf ops[2] = { { 0, -1, SEM_UNDO }, { 1, -1, 0 } };

		need(!make_target(&t, round & 1 ? KIND_SEM : KIND_MSG, 8));
		for (int i = 0; i < 6; i++) {
			need(raw_hello(r[i], path, 0, 0) > 0);
			if (t.kind == KIND_SEM)
				raw_send(r[i], (struct raw_request){ .op = WIRE_SEMOP, .arg = { t.id, 2 }, .payload = ops, .size = sizeof ops });
			else
				raw_send(r[i], (struct raw_request){ .op = WIRE_MSGRCV, .arg = { t.id, 400, 3, MSG_NOERROR } });
		}
		need(!attacked(&t, sleepers_lie, 60));
		end_target(&t);
		for (int i = 0; i < 6; i++)
			raw_end(r[i]);
	}
	return 0;
}

/* A chain of messages that goes in circles, as long as can be said. */
static int circles(void *arg)
{
	struct target t;
	struct raw *r = calloc(1, sizeof *r);
	struct area a;

	(void)arg;
	need(!make_target(&t, KIND_MSG, 0));
	need(raw_hello(r, path, 0, 0) > 0);
	need(!raw_call(r, .op = WIRE_MSGSND, .arg = { t.id, 3, IPC_NOWAIT }, .payload = "abcd", .size = 4));
	need(!raw_call(r, .op = WIRE_MSGSND, .arg = { t.id, 3, IPC_NOWAIT }, .payload = "abcd", .size = 4));
	a = (struct area){ .head = t.head };
	uint32_t first = area_value(&a, AREA_FLAGS + 1);

	__atomic_store_n((uint64_t *)((char *)t.head + (uint64_t)first * 64), first, __ATOMIC_SEQ_CST);
	__atomic_store_n((uint64_t *)area_cell(&a, 28), 0xffffffff, __ATOMIC_SEQ_CST); /* and wherever the end is said to be */
	__atomic_store_n((uint64_t *)area_cell(&a, 29), 0xffffffff, __ATOMIC_SEQ_CST);
	atomic_store(&t.head->hot, 0x7fffffffull << 32 | 8);
	for (int i = 0; i < 3; i++)
		need(raw_call(r, .op = WIRE_MSGRCV, .arg = { t.id, 10, 99, IPC_NOWAIT }) < 0 && r->reply.result != 0);
	end_target(&t);
	return 0;
}

/* "The daemon is copying it", says who is not the daemon. */
static void frozen(const struct target *t)
{
	atomic_store(&t->head->op, OP(1000 + rnd() % 1000, WHO_FROZEN));
}

static int frozen_for_ever(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		struct raw *r = calloc(1, sizeof *r);
		struct target t;

		need(!make_target(&t, i ? KIND_SEM : KIND_MSG, 8));
		need(raw_hello(r, path, 0, 0) > 0);
		for (uint64_t which = 0; which < 24; which++) { /* it may say so again for each of them */
			frozen(&t);
			need(mediated(r, &t, which) > RAW_GONE);
		}
		frozen(&t);
		need(raw_call(r, .op = i ? WIRE_SEMCTL : WIRE_MSGCTL, .arg = { t.id, i ? 0 : IPC_STAT, i ? GETVAL : 0 }) >= 0);
		end_target(&t);
		raw_end(r);
	}
	return 0;
}

static int sends_to(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	need(!become(OTHER));
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_MSGSND, .arg = { *(int *)arg, 1, IPC_NOWAIT }, .payload = "text", .size = 4) == -EACCES);
	return 0;
}

/* The daemon itself goes on with what is to be done in a queue, while it looks at it for its owner. */
static int another_s_rights(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct area a;
	int id;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	id = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_MSG, IPC_PRIVATE, 0, 0600 });
	need(id >= 0 && raw_call(r, .op = WIRE_OPEN, .arg = { KIND_MSG, id }) == 0 && r->got == 1);
	a.head = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fds[0], 0);
	need((void *)a.head != MAP_FAILED);
	need(raw_call(r, .op = WIRE_INSPECT, .arg = { INSPECT_STATE, KIND_MSG, id, 0, 1 }) == 1);
	__atomic_store_n((uint32_t *)area_cell(&a, AREA_FLAGS), 2, __ATOMIC_SEQ_CST); /* there is more to do */
	need(raw_call(r, .op = WIRE_INSPECT, .arg = { INSPECT_STATE, KIND_MSG, id, 0, 1 }) == 1);
	need(proc_wait(proc_run(sends_to, &id)) == 0);
	need(raw_call(r, .op = WIRE_MSGCTL, .arg = { id, IPC_RMID }) == 0);
	raw_end(r);
	return 0;
}

/* The mark of a process, written by itself: "its owner has died", and a list in which to stand. */
static int lying_mark(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct mark *marks;
	uint32_t slot;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0 && r->got == 4);
	slot = SLOT_OF(r->tag);
	marks = mmap(NULL, MARKS_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, r->fds[3], 0);
	need(marks != MAP_FAILED);
	r->got = 0;
	marks[slot].mutex.__data.__kind = 16 | 128; /* robust, shared */
	__atomic_store_n(&marks[slot].mutex.__data.__lock, 0x40000000, __ATOMIC_SEQ_CST);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { common_set, 0, GETVAL }) >= 0);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { common_set, 0, GETPID }) >= 0);
	need(__atomic_load_n(&marks[slot].mutex.__data.__lock, __ATOMIC_SEQ_CST) == 0x40000000); /* nobody has locked it */
	return 0;
}

/* ---- holes ---- */

static void fill(const char *name)
{
	static char block[65536];
	int fd = open(name, O_WRONLY | O_CREAT, 0600);

	for (size_t size = sizeof block; size >= 4096; size /= 2)
		while (write(fd, block, size) == (ssize_t)size)
			;
	close(fd);
}

static int punch(int fd, uint64_t from, uint64_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)length);
}

static bool say_and_wait(int said, int told)
{
	char c;

	return write(said, "x", 1) == 1 && read(told, &c, 1) == 1;
}

/* It says when it is ready, and goes on when the daemon stands still; it says when the holes are there, and goes on when
 * nothing is left to fill them. */
static int make_holes(int said, int told, bool others_calls)
{
	struct target sem, msg;
	struct raw *sleeper = calloc(1, sizeof *sleeper), *receiver = calloc(1, sizeof *receiver);
	struct sembuf down = { 0, -1, 0 };

	need(!make_target(&sem, KIND_SEM, 8) && !make_target(&msg, KIND_MSG, 0));
	need(raw_hello(sleeper, path, 0, 0) > 0 && raw_hello(receiver, path, 0, 0) > 0);
	if (others_calls) { /* also one that sleeps there */
		raw_send(sleeper, (struct raw_request){ .op = WIRE_SEMOP, .arg = { sem.id, 1 }, .payload = &down, .size = sizeof down });
		raw_send(receiver, (struct raw_request){ .op = WIRE_MSGRCV, .arg = { msg.id, 10, 0, 0 } });
		need(wait_until(raw_call(sem.owner, .op = WIRE_SEMCTL, .arg = { sem.id, 0, GETNCNT }) == 1));
		need(wait_until(raw_call(msg.owner, .op = WIRE_INSPECT, .arg = { INSPECT_WAITERS, KIND_MSG, msg.id, 0, 1 }) == 1));
	}
	need(say_and_wait(said, told));
	need(!punch(sem.fd, 0, sem.length) && !punch(msg.fd, 0, 64 << 20));
	if (sleeper->got > 3)
		need(!punch(sleeper->fds[3], 0, MARKS_LENGTH));
	need(say_and_wait(said, told));
	if (others_calls) {
		need(raw_reply(sleeper) == -EIDRM);
		need(raw_reply(receiver) == -EIDRM || (diag("%ld", (long)receiver->reply.result), false));
		need(mediated(sem.owner, &sem, 0) == -EIDRM);
		need(mediated(msg.owner, &msg, 1) == -EIDRM);
	} else { /* the removal is what touches them; it cannot be stored before there is room */
		long e = raw_call(sem.owner, .op = WIRE_SEMCTL, .arg = { sem.id, 0, IPC_RMID });

		need(e == 0 || e == -ENOSPC);
		e = raw_call(msg.owner, .op = WIRE_MSGCTL, .arg = { msg.id, IPC_RMID });
		need(e == 0 || e == -ENOSPC);
		need(raw_call(sem.owner, .op = WIRE_SEMCTL, .arg = { sem.id, 0, GETVAL }) == -EINVAL);
	}
	return 0;
}

static bool holes_with(const char *small, bool others_calls)
{
	char filler[100];
	int there[2], go[2], status;
	pid_t pid;
	char c;

	if (pipe(there) || pipe(go))
		return false;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(there[0]);
		close(go[1]);
		_exit(become(BAD) ? 99 : make_holes(there[1], go[0], others_calls));
	}
	close(there[1]);
	close(go[0]);
	status = read(there[0], &c, 1) != 1;
	kill(daemon_pid, SIGSTOP); /* it is not to look between the holes and the filler */
	status = !wait_until(proc_state(daemon_pid, daemon_pid) == 'T') || status;
	status = write(go[1], "x", 1) != 1 || read(there[0], &c, 1) != 1 || status;
	snprintf(filler, sizeof filler, "%s/filler", small);
	fill(filler);
	kill(daemon_pid, SIGCONT);
	status = write(go[1], "x", 1) != 1 || status;
	status = proc_wait(pid) || status;
	close(there[0]);
	close(go[1]);
	unlink(filler);
	return !status && alive();
}

static int still_serves(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	int set;

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 8, 0600 });
	need(set >= 0);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { set, 1, SETVAL, 5 }) == 0);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { set, 1, GETVAL }) == 5);
	return 0;
}

/* ---- a daemon for one test ---- */

static struct { char place[80], path[80], log[80]; pid_t pid; } first;

static void begin_second(const char *where)
{
	first.pid = daemon_pid;
	memcpy(first.place, place, sizeof place);
	memcpy(first.path, path, sizeof path);
	memcpy(first.log, logfile, sizeof logfile);
	snprintf(place, sizeof place, "%s/ns2", where);
	snprintf(path, sizeof path, "%s/socket2", dir);
	snprintf(logfile, sizeof logfile, "%s/log2", dir);
	unlink(logfile);
	start_daemon();
}

static void end_second(void)
{
	kill(daemon_pid, SIGTERM);
	is(proc_wait(daemon_pid), 0, "this ipcd ends as it should");
	daemon_pid = first.pid;
	memcpy(place, first.place, sizeof place);
	memcpy(path, first.path, sizeof path);
	memcpy(logfile, first.log, sizeof logfile);
}

static void test_holes(void)
{
	char small[72];

	snprintf(small, sizeof small, "%s/small", dir);
	mkdir(small, 0755);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", small, "tmpfs", 0, "size=16m,mode=755")) {
		skip("holes in a control area on a full file system", "no mount");
		return;
	}
	begin_second(small);
	ok(holes_with(small, true), "holes in control areas, on a full file system: EIDRM for calls and for those who sleep");
	ok(wait_until(log_lines("semaphore set 0: there is no memory") && log_lines("message queue 0: there is no memory")) &&
	   log_lines("there is no memory") == 2 + log_lines("marks of processes"), "and the log names both objects, once");
	ok(holes_with(small, false), "and their removal goes on");
	is(proc_wait(proc_run(still_serves, NULL)), 0, "with room again all goes on");
	end_second();
	umount2(small, MNT_DETACH);
	rmdir(small);
}

/* ---- in lockstep ---- */

static bool in_epoll(pid_t tid)
{
	char name[80];
	int call = 0;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/task/%d/syscall", (int)daemon_pid, (int)tid);
	f = fopen(name, "r");
	if (f && fscanf(f, "%d", &call) != 1)
		call = 0;
	if (f)
		fclose(f);
	return call == SYS_epoll_wait || call == SYS_epoll_pwait;
}

/* The threads of the daemon that wait for something to do. */
static int idle_workers(pid_t *tid, int most)
{
	char name[64];
	struct dirent *d;
	DIR *dirp;
	int n = 0;

	snprintf(name, sizeof name, "/proc/%d/task", (int)daemon_pid);
	dirp = opendir(name);
	while (dirp && n < most && (d = readdir(dirp))) {
		tid[n] = atoi(d->d_name);
		n += tid[n] && in_epoll(tid[n]);
	}
	if (dirp)
		closedir(dirp);
	return n;
}

static int set_aside(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);

	(void)arg;
	need(raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { 0, 0, GETVAL }) == -EIDRM);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { 0, 0, IPC_RMID }) == 0);
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { 0, 0, GETVAL }) == -EINVAL);
	return still_serves(NULL);
}

/* Workers go on unstepped (each may be stopped by its last step) until that process ends, or they do. Its status. */
static int let_go(pid_t until)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0 && pid != until)
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, pid, NULL, NULL);
	return until ? status : 0;
}

/*
 * Whatever the daemon looks at twice is another state the second time: the set is changed after each of its
 * instructions. By itself the call would never end.
 */
static int in_lockstep(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct pollfd answer = { .events = POLLIN };
	struct target t;
	uint64_t seq = 1000;
	pid_t tid[64], pid;
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN), status;

	(void)arg;
	n = n < 4 ? 4 : n;
	alarm(90);
	need(!make_target(&t, KIND_SEM, 8));
	need(raw_hello(r, path, 0, 0) > 0);
	need(n <= 64 && wait_until(idle_workers(tid, 64) == n));
	for (int i = 0; i < n; i++)
		need(!ptrace(PTRACE_SEIZE, tid[i], NULL, NULL) && !ptrace(PTRACE_INTERRUPT, tid[i], NULL, NULL) &&
		     waitpid(tid[i], &status, __WALL) == tid[i]);
	raw_send(r, (struct raw_request){ .op = WIRE_SEMCTL, .arg = { t.id, 0, GETALL } });
	answer.fd = r->fd;
	for (int i = 0; i < n; i++)
		ptrace(PTRACE_SINGLESTEP, tid[i], NULL, NULL);
	while (!poll(&answer, 1, 0)) {
		pid = waitpid(-1, &status, __WALL);
		need(pid > 0 && WIFSTOPPED(status));
		atomic_store(&t.head->op, OP(++seq, 0));
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
	}
	need(raw_reply(r) == -EIDRM || (diag("GETALL: %ld", (long)r->reply.result), false));
	status = let_go(proc_run(set_aside, NULL));
	kill(daemon_pid, SIGTERM);
	let_go(0);
	return status ? 2 : 0;
}

/* It has to do with the set, which it may not even read, as far as the daemon notes that. */
static int touch_and_wait(void *arg)
{
	struct raw *r = calloc(1, sizeof *r);
	struct sembuf op = { 0, 1, SEM_UNDO };
	uint32_t *shared = arg;

	need(!become(BAD) && raw_hello(r, path, 0, 0) > 0);
	need(raw_call(r, .op = WIRE_SEMOP, .arg = { (int)shared[0], 1 }, .payload = &op, .size = sizeof op) == -EACCES);
	shared[1] = r->tag;
	pause();
	return 0;
}

/*
 * In the middle of a call the only worker reaps a dead process, whose other objects it settles; then it goes on with a
 * set that its owner makes endless. It is that set which is set aside.
 */
static int blames_another(void *arg)
{
	uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct raw *r = calloc(1, sizeof *r), *x = calloc(1, sizeof *x);
	struct pollfd answer = { .events = POLLIN };
	struct target t;
	struct area a;
	uint64_t steps = 0;
	int set, status;
	pid_t pid, tid;

	(void)arg;
	alarm(60);
	need(raw_hello(r, path, 0, 0) > 0);
	set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 1, 0600 });
	need(set >= 0);
	shared[0] = (uint32_t)set;
	pid = proc_run(touch_and_wait, shared);
	need(wait_until(shared[1]));
	need(!seteuid(BAD) && !make_target(&t, KIND_SEM, 1) && raw_hello(x, path, 0, 0) > 0 && !seteuid(0));
	a.head = t.head;
	__atomic_store_n((uint64_t *)area_cell(&a, S_FIRST + 2), shared[1], __ATOMIC_SEQ_CST); /* the dead one's undo row */
	__atomic_store_n((uint64_t *)area_cell(&a, S_UHIGH), 1, __ATOMIC_SEQ_CST);
	need(wait_until(idle_workers(&tid, 1) == 1));
	need(!ptrace(PTRACE_SEIZE, tid, NULL, NULL) && !ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) &&
	     waitpid(tid, &status, __WALL) == tid);
	raw_send(x, (struct raw_request){ .op = WIRE_SEMCTL, .arg = { t.id, 0, GETVAL } });
	answer.fd = x->fd;
	while (!poll(&answer, 1, 0)) {
		ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL);
		need(waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status));
		atomic_store(&t.head->op, OP(1000 + ++steps, 0));
		if (steps == 5000)
			proc_kill(pid);
	}
	ptrace(PTRACE_DETACH, tid, NULL, NULL);
	need(raw_reply(x) == -EIDRM || (diag("the call: %ld", (long)x->reply.result), false));
	need(raw_call(r, .op = WIRE_SEMCTL, .arg = { set, 0, GETVAL }) == 0);
	return 0;
}

static void test_blame(void)
{
	workers = "1";
	begin_second(dir);
	is(proc_wait(proc_run(blames_another, NULL)), 0, "an object is not set aside for what another one's owner does");
	end_second();
	workers = NULL;
}

static void test_lockstep(void)
{
	begin_second(dir);
	is(proc_wait(proc_run(in_lockstep, NULL)), 0,
	   "a set that is another one at every look: the call ends, others on it give EIDRM until it is removed");
	ok(log_lines("semaphore set 0: its owner keeps changing it") == 1, "the log names it, once");
	end_second();
}

/* ---- beginning and end ---- */

static void common_objects(void)
{
	struct semid_ds set = { 0 };
	struct msqid_ds queue = { 0 };
	struct raw *r = calloc(1, sizeof *r);

	if (raw_hello(r, path, 0, 0) <= 0)
		bail_out("no hello");
	common_set = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SEM, IPC_PRIVATE, 2, 0666 });
	common_queue = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_MSG, IPC_PRIVATE, 0, 0666 });
	good_segment = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SHM, IPC_PRIVATE, 8192, 0666 });
	secret_segment = (int)raw_call(r, .op = WIRE_GET, .arg = { KIND_SHM, IPC_PRIVATE, 8192, 0600 });
	if (secret_segment < 0 || common_set < 0 || common_queue < 0 || good_segment < 0)
		bail_out("no objects");
	set.sem_perm.gid = queue.msg_perm.gid = GOOD; /* who attacks may look at the one only */
	set.sem_perm.mode = 0664;
	queue.msg_perm.mode = 0660;
	queue.msg_qbytes = 16384;
	if (raw_call(r, .op = WIRE_SEMCTL, .arg = { common_set, 0, IPC_SET }, .payload = &set, .size = sizeof set) ||
	    raw_call(r, .op = WIRE_MSGCTL, .arg = { common_queue, IPC_SET }, .payload = &queue, .size = sizeof queue))
		bail_out("no IPC_SET");
	raw_end(r);
	free(r);
}

/* The good one's slot, number and record of attachment, for those who forge them: the slot table is readable for all. */
static void look_up_good(void)
{
	struct raw *r = calloc(1, sizeof *r);
	struct slots *s;

	if (raw_hello(r, path, 0, 0) <= 0 || r->got != 4)
		bail_out("no hello");
	s = mmap(NULL, sizeof *s, PROT_READ, MAP_SHARED, r->fds[1], 0);
	for (uint32_t i = 1; i < s->high; i++)
		if (WORD_PID(s->row[i].word) == good_pid)
			page->tag = TAG(i, WORD_GEN(s->row[i].word));
	for (uint32_t w = 1; w < s->who_high; w++)
		if (s->who[w] == page->tag)
			page->who = w;
	page->record = 1;
	munmap(s, sizeof *s);
	raw_end(r);
	free(r);
}

static void clean(void)
{
	char command[100];

	snprintf(command, sizeof command, "rm -rf %s", dir);
	if (system(command))
		diag("%s stays", dir);
}

static void forged_orphan(void)
{
	int *tag = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t was = page->tag;

	*tag = 0;
	is(proc_wait(proc_run(orphan, tag)), 0, "a process makes a slot for a child, and ends");
	page->tag = (uint32_t)*tag;
	attack_as(BAD, claims_orphan, "an orphan's slot is not for another user's process");
	page->tag = was;
	if (tag[1] > 0)
		kill(tag[1], SIGKILL);
	munmap(tag, 4096);
}

int main(void)
{
	if (geteuid())
		skip_all("needs root: clients of several users");
	if (getenv("T_TIMES"))
		times = strtoul(getenv("T_TIMES"), NULL, 0);
	seed = tap_seed() * 2654435761u + 88172645463325252ull;
	signal(SIGPIPE, SIG_IGN);
	snprintf(dir, sizeof dir, "/dev/shm/ipc-hostile-%d", (int)getpid());
	snprintf(place, sizeof place, "%s/ns", dir);
	snprintf(path, sizeof path, "%s/socket", dir);
	snprintf(logfile, sizeof logfile, "%s/log", dir);
	mkdir(dir, 0755);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	start_daemon();
	common_objects();
	good_pid = proc_run(good, NULL);
	if (!wait_until(page->turns > 100))
		bail_out("the good one does not begin");
	look_up_good();
	base_fds = count_dir("fd");
	base_threads = count_dir("task");
	base_rss = proc_memory(daemon_pid);

	attack_as(BAD, garbage, "malformed, truncated and oversized datagrams");
	attack_as(BAD, random_requests, "random requests");
	attack_as(BAD, before_hello, "requests before HELLO end the connection");
	attack_as(BAD, say_nothing, "300 connections that say nothing");
	attack_as(BAD, never_read, "who never reads his replies is hung up on");
	attack_as(BAD, many_descriptors, "250 descriptors with each request");
	attack_as(BAD, no_memory_file, "a payload in a file that is no memory is refused");
	attack_as(BAD, no_room, "questions with no room for the answer");
	attack_as(BAD, ids_in_memory, "20,000 segments attached by one request");
	attack_as(BAD, forged, "forged tags, pids, numbers, records and children");
	is(proc_wait(proc_run(is_segment_shared, NULL)), 0, "the good one's segment is attached once");
	forged_orphan();
	attack_as(BAD, keep_locks, "locks of dead processes that somebody keeps");
	attack_as(BAD, old_connection, "the old connection of a slot that is adopted acts no more");
	attack_as(BAD, take_everything, "who takes numbers and slots without end gets no more than his share");
	attack_as(BAD, never_take, "who has not taken one reply gets no descriptor with the next");
	attack_as(BAD, mapped_by_name, "a segment is not attached by who has a file of its name mapped");
	attack_as(BAD, sleeps_on, "a number is given to another thread when its request is in no list any more");
	attack_as(BAD, rings, "floods of RING and CANCEL");
	attack_as(BAD, pipelined, "pipelined requests are answered in order, but not while one sleeps");
	attack_as(BAD, twice_in_a_list, "a request that was left asleep cannot be taken up as another one");
	attack_as(BAD, stopped, "stopped inside a request");
	attack_as(BAD, descriptors, "descriptors cannot be truncated, made writable, or punched");
	is(proc_wait(proc_run(another_s_rights, NULL)), 0, "what the daemon finds in an object for one user is not granted to another");
	attack_as(BAD, lying_mark, "a mark that says what it likes is not taken by the daemon");
	is(proc_wait(proc_run(place_taken, NULL)), 0, "a call on a set that is removed does not read a larger one in its place");
	is(proc_wait(proc_run(place_taken, (void *)1)), 0, "nor does it change another user's");
	ok(all_well(), "and all is well");
	attack_as(BAD, random_bytes, "control areas with random bytes, in mediated calls");
	attack_as(BAD, lying_sleepers, "sleepers whose requests and messages change under the daemon's hands");
	attack_as(BAD, circles, "a chain of messages that goes in circles");
	attack_as(BAD, endless_cascade, "a cascade without an end");
	attack_as(BAD, endless_retries, "an object that is never the same");
	attack_as(BAD, closed_gate, "a gate that is always closed");
	attack_as(BAD, frozen_for_ever, "an area that says that the daemon is copying it");
	test_holes();
	test_lockstep();
	test_blame();

	page->stop = true;
	is(proc_wait(good_pid), 0, "the good one ends as it should");
	kill(daemon_pid, SIGTERM);
	is(proc_wait(daemon_pid), 0, "and ipcd too");
	clean();
	return done_testing();
}
