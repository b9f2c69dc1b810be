/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls as lines of text. See trace.h.
 *
 * Rules inside:
 *  - Async-signal-safe: no malloc, no stdio, no lock; a line is built on the stack and written by one write(2). None of
 *    it is a cancellation point. A signal of the write itself (SIGPIPE, SIGXFSZ) never reaches the program.
 *  - The program's memory is read through the kernel, so that a bad pointer is shown and not followed.
 *  - The descriptor is our own, and used only while it is the file that was opened: programs close what they do not know.
 *  - What the call leaves in errno stays there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "registry.h"
#include "trace.h"
#include "wait.h"

#define LINE 1100
#define ARGS (LINE - 200) /* what is left is for the result */
#define TEXT_SHOWN 32     /* of a message, as strace */
#define VALUES_SHOWN 32   /* of an array */
#define HIGH_FD 100       /* out of the way of programs that count on the lowest ones */

struct trace {
	const char *name;
	bool told; /* the line's first half has been written: the thread sleeps */
	size_t at;
	int saved; /* errno */
	/* of msgrcv: what is shown when it sleeps, before there is a message */
	const void *msg;
	size_t size;
	long type;
	int flags;
	char text[LINE];
};

bool trace_on;
static char path[PATH_MAX]; /* empty: stderr */
static _Atomic uint64_t target; /* {what file it is:44, fd + 1:20} */
static __thread struct trace *current __attribute__((tls_model("initial-exec")));

/* ---- where the lines go ---- */

static uint64_t file_now(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return 0;
	return ((uint64_t)st.st_dev * 0x9e3779b97f4a7c15u ^ (uint64_t)st.st_ino * 0xff51afd7ed558ccdu) << 20 |
	       (uint32_t)(fd + 1);
}

static int target_fd(uint64_t t)
{
	return (int)(t & 0xfffff) - 1;
}

/* A descriptor of our own for the same file. */
static int out_of_the_way(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

	return high < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : high;
}

static int open_file(void)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600), high;

	if (fd < 0)
		return -1;
	high = out_of_the_way(fd);
	if (high < 0)
		return fd;
	syscall(SYS_close, fd);
	return high;
}

/* Our descriptor was closed by the program. A file is opened again; stderr is still there, or the trace has ended. */
static uint64_t target_again(uint64_t old)
{
	uint64_t t;
	int fd;

	if (*path)
		fd = open_file();
	else
		fd = file_now(2) >> 20 == old >> 20 ? out_of_the_way(2) : -1;
	if (fd < 0)
		return 0;
	t = file_now(fd);
	if (atomic_compare_exchange_strong(&target, &old, t))
		return t;
	syscall(SYS_close, fd);
	return old; /* another thread was faster */
}

static void write_line(const char *text, size_t length)
{
	static const struct timespec now;
	uint64_t t = atomic_load(&target);
	sigset_t ours, before, pending;

	if (file_now(target_fd(t)) != t)
		t = target_again(t);
	if (!t)
		return;
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigaddset(&ours, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	sigpending(&pending);
	if (syscall(SYS_write, target_fd(t), text, length) < 0 && (errno == EPIPE || errno == EFBIG)) {
		int sig = errno == EPIPE ? SIGPIPE : SIGXFSZ;

		sigemptyset(&ours);
		sigaddset(&ours, sig);
		if (!sigismember(&pending, sig))
			syscall(SYS_rt_sigtimedwait, &ours, NULL, &now, (size_t)(_NSIG / 8));
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- building a line ---- */

static void put_part(struct trace *t, const char *s, size_t n, size_t end)
{
	if (n > end - t->at)
		n = end - t->at;
	memcpy(t->text + t->at, s, n);
	t->at += n;
}

static void put(struct trace *t, const char *s)
{
	put_part(t, s, strlen(s), t->at < ARGS ? ARGS : LINE);
}

static void put_number(struct trace *t, unsigned long long v, unsigned base)
{
	char text[24], *p = text + sizeof text - 1;

	*p = 0;
	do {
		*--p = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put(t, p);
}

static void put_unsigned(struct trace *t, unsigned long long v)
{
	put_number(t, v, 10);
}

static void put_int(struct trace *t, long long v)
{
	if (v < 0)
		put(t, "-");
	put_number(t, v < 0 ? -(unsigned long long)v : (unsigned long long)v, 10);
}

static void put_hex(struct trace *t, unsigned long long v)
{
	put(t, "0x");
	put_number(t, v, 16);
}

static void put_pointer(struct trace *t, const void *p)
{
	if (p)
		put_hex(t, (uintptr_t)p);
	else
		put(t, "NULL");
}

static void put_mode(struct trace *t, unsigned mode)
{
	put(t, mode < 010 ? "00" : "0");
	put_number(t, mode, 8);
}

/* name=value of structures */
static void put_field(struct trace *t, const char *name, unsigned long long v)
{
	put(t, name);
	put_unsigned(t, v);
}

struct flag { int value; const char *name; };

/* Those that are set, and what is left as a number in the base; its zero only if there is nothing else. */
static void put_flags(struct trace *t, const struct flag *f, int flags, unsigned base)
{
	unsigned left = (unsigned)flags;
	bool any = false;

	for (; f->name; f++)
		if (left & (unsigned)f->value) {
			put(t, any ? "|" : "");
			put(t, f->name);
			left &= ~(unsigned)f->value;
			any = true;
		}
	if (any && !left)
		return;
	put(t, any ? "|" : "");
	if (base == 8)
		put_mode(t, left);
	else if (left)
		put_hex(t, left);
	else
		put(t, "0");
}

static const struct flag get_flags[] = { { IPC_CREAT, "IPC_CREAT" }, { IPC_EXCL, "IPC_EXCL" },
					 { SHM_HUGETLB, "SHM_HUGETLB" }, { SHM_NORESERVE, "SHM_NORESERVE" }, { 0, NULL } };
static const struct flag shmat_flags[] = { { SHM_RDONLY, "SHM_RDONLY" }, { SHM_RND, "SHM_RND" },
					   { SHM_REMAP, "SHM_REMAP" }, { SHM_EXEC, "SHM_EXEC" }, { 0, NULL } };
static const struct flag sem_flags[] = { { SEM_UNDO, "SEM_UNDO" }, { IPC_NOWAIT, "IPC_NOWAIT" }, { 0, NULL } };
static const struct flag msg_flags[] = { { MSG_NOERROR, "MSG_NOERROR" }, { MSG_EXCEPT, "MSG_EXCEPT" },
					 { MSG_COPY, "MSG_COPY" }, { IPC_NOWAIT, "IPC_NOWAIT" }, { 0, NULL } };

static void put_key(struct trace *t, key_t key)
{
	if (key == IPC_PRIVATE)
		put(t, "IPC_PRIVATE");
	else
		put_hex(t, (uint32_t)key);
}

/* The program's memory; false where there is none. */
static bool peek(const void *from, void *to, size_t size)
{
	struct iovec out = { to, size }, in = { (void *)(uintptr_t)from, size };

	return process_vm_readv(getpid(), &out, 1, &in, 1, 0) == (ssize_t)size;
}

static void put_text(struct trace *t, const char *text, size_t length)
{
	size_t shown = length < TEXT_SHOWN ? length : TEXT_SHOWN;

	put(t, "\"");
	for (size_t i = 0; i < shown; i++) {
		unsigned char c = (unsigned char)text[i];
		const char *known = strchr("\"\\\n\t\r\f\v", c);
		char one[2] = { (char)c, 0 };

		if (c && known) {
			one[0] = "\"\\ntrfv"[known - strchr("\"\\\n\t\r\f\v", '"')];
			put(t, "\\");
		}
		if (c && (known || (c >= ' ' && c < 0x7f))) {
			put(t, one);
			continue;
		}
		put(t, "\\");
		if (i + 1 < shown && text[i + 1] >= '0' && text[i + 1] <= '7')
			put(t, c < 010 ? "00" : c < 0100 ? "0" : "");
		put_number(t, c, 8);
	}
	put(t, length > shown ? "\"..." : "\"");
}

static void put_message(struct trace *t, const void *msg, size_t size)
{
	char text[TEXT_SHOWN];
	long type;

	if (!peek(msg, &type, sizeof type) ||
	    !peek((const char *)msg + sizeof type, text, size < TEXT_SHOWN ? size : TEXT_SHOWN)) {
		put_pointer(t, msg);
		return;
	}
	put(t, "{mtype=");
	put_int(t, type);
	put(t, ", mtext=");
	put_text(t, text, size);
	put(t, "}");
}

static void put_sops(struct trace *t, const struct sembuf *sops, size_t n)
{
	struct sembuf s;

	if (n && !peek(sops, &s, sizeof s)) {
		put_pointer(t, sops);
		return;
	}
	put(t, "[");
	for (size_t i = 0; i < n && peek(&sops[i], &s, sizeof s); i++) {
		put(t, i ? ", " : "");
		if (t->at > ARGS - 120) {
			put(t, "...");
			break;
		}
		put_field(t, "{sem_num=", s.sem_num);
		put(t, ", sem_op=");
		put_int(t, s.sem_op);
		put(t, ", sem_flg=");
		put_flags(t, sem_flags, (unsigned short)s.sem_flg, 16);
		put(t, "}");
	}
	put(t, "]");
}

static void put_values(struct trace *t, const unsigned short *v, size_t n)
{
	unsigned short value[VALUES_SHOWN];
	size_t shown = n < VALUES_SHOWN ? n : VALUES_SHOWN;

	if (!peek(v, value, shown * sizeof *value)) {
		put_pointer(t, v);
		return;
	}
	put(t, "[");
	for (size_t i = 0; i < shown; i++)
		put_field(t, i ? ", " : "", value[i]);
	put(t, n > shown ? ", ...]" : "]");
}

static void put_perm(struct trace *t, const char *name, const struct ipc_perm *p, bool set)
{
	put(t, name);
	put_field(t, "{uid=", p->uid);
	put_field(t, ", gid=", p->gid);
	put(t, ", mode=");
	put_mode(t, p->mode);
	if (!set) {
		put_field(t, ", key=", (uint32_t)p->__key);
		put_field(t, ", cuid=", p->cuid);
		put_field(t, ", cgid=", p->cgid);
	}
	put(t, "}");
}

static void put_command(struct trace *t, int cmd)
{
	static const struct flag known[] = {
		{ IPC_RMID, "IPC_RMID" }, { IPC_SET, "IPC_SET" }, { IPC_STAT, "IPC_STAT" }, { IPC_INFO, "IPC_INFO" }, { -1, NULL },
	}, shm[] = {
		{ SHM_LOCK, "SHM_LOCK" }, { SHM_UNLOCK, "SHM_UNLOCK" }, { SHM_STAT, "SHM_STAT" }, { SHM_INFO, "SHM_INFO" },
		{ SHM_STAT_ANY, "SHM_STAT_ANY" }, { -1, NULL },
	}, sem[] = {
		{ GETPID, "GETPID" }, { GETVAL, "GETVAL" }, { GETALL, "GETALL" }, { GETNCNT, "GETNCNT" }, { GETZCNT, "GETZCNT" },
		{ SETVAL, "SETVAL" }, { SETALL, "SETALL" }, { SEM_STAT, "SEM_STAT" }, { SEM_INFO, "SEM_INFO" },
		{ SEM_STAT_ANY, "SEM_STAT_ANY" }, { -1, NULL },
	}, msg[] = {
		{ MSG_STAT, "MSG_STAT" }, { MSG_INFO, "MSG_INFO" }, { MSG_STAT_ANY, "MSG_STAT_ANY" }, { -1, NULL },
	};
	const struct flag *lists[] = { known, t->name[1] == 'h' ? shm : t->name[1] == 'e' ? sem : msg };

	for (int l = 0; l < 2; l++)
		for (const struct flag *f = lists[l]; f->name; f++)
			if (f->value == cmd) {
				put(t, f->name);
				return;
			}
	put_hex(t, (unsigned)cmd);
}

/* ---- a call's line ---- */

static void begin_text(struct trace *t)
{
	t->at = 0;
	put(t, "[pid ");
	put_unsigned(t, (unsigned)gettid());
	put(t, "] ");
}

static void begin(struct trace *t, const char *name)
{
	t->name = name;
	t->told = false;
	t->msg = NULL;
	t->saved = errno;
	begin_text(t);
	put(t, name);
	put(t, "(");
}

static void next(struct trace *t)
{
	put(t, ", ");
}

static void put_received(struct trace *t, ssize_t size)
{
	if (size < 0)
		put_pointer(t, t->msg);
	else
		put_message(t, t->msg, (size_t)size);
	next(t);
	put_unsigned(t, t->size);
	next(t);
	put_int(t, t->type);
	next(t);
	put_flags(t, msg_flags, t->flags, 16);
}

/* The thread is about to sleep: what is known of the line is written. */
static void sleeping(void)
{
	struct trace *t = current;
	int saved = errno;

	if (!t || t->told)
		return;
	t->told = true;
	if (t->msg || !strcmp(t->name, "msgrcv"))
		put_received(t, -1);
	t->at = t->at < ARGS ? t->at : ARGS;
	put(t, " <unfinished ...>\n");
	write_line(t->text, t->at);
	begin_text(t);
	put(t, "<... ");
	put(t, t->name);
	put(t, " resumed>");
	errno = saved;
}

/* The arguments that go in are there; the call itself comes next. The thread's calls nest in signal handlers. */
#define CALL(t, type, made)                          \
	({                                           \
		struct trace *outer = current;       \
		type result_ = (type)-1;             \
		current = (t);                       \
		errno = (t)->saved;                  \
		if (ns)                              \
			result_ = (made);            \
		(t)->saved = errno;                  \
		current = outer;                     \
		result_;                             \
	})

static void end_with(struct trace *t, bool failed)
{
	const char *name = strerrorname_np(t->saved), *why = strerrordesc_np(t->saved);

	if (failed) {
		put(t, "-1 ");
		put(t, name ? name : "?");
		put(t, " (");
		put(t, why ? why : "?");
		put(t, ")");
	}
	t->at = t->at < LINE - 1 ? t->at : LINE - 1;
	t->text[t->at++] = '\n';
	write_line(t->text, t->at);
	errno = t->saved;
}

/* ")", and the result from strace's column on. */
static void close_arguments(struct trace *t)
{
	size_t from = 0;

	while (from < t->at && t->text[from] != ']')
		from++;
	t->at = t->at < ARGS ? t->at : ARGS;
	put_part(t, ")", 1, LINE);
	while (t->at < from + 2 + 39)
		put_part(t, " ", 1, LINE);
	put_part(t, " = ", 3, LINE);
}

static void end(struct trace *t, long long result)
{
	close_arguments(t);
	if (result != -1)
		put_int(t, result);
	end_with(t, result == -1);
}

static void end_pointer(struct trace *t, const void *result)
{
	close_arguments(t);
	if (result != (void *)-1)
		put_hex(t, (uintptr_t)result);
	end_with(t, result == (void *)-1);
}

/* ---- shared memory ---- */

int trace_shmget(ipc_ns *ns, key_t key, size_t size, int flags)
{
	struct trace t;
	int r;

	begin(&t, "shmget");
	put_key(&t, key);
	next(&t);
	put_unsigned(&t, size);
	next(&t);
	put_flags(&t, get_flags, flags, 8);
	r = CALL(&t, int, ipc_shmget(ns, key, size, flags));
	end(&t, r);
	return r;
}

void *trace_shmat(ipc_ns *ns, int id, const void *addr, int flags)
{
	struct trace t;
	void *r;

	begin(&t, "shmat");
	put_int(&t, id);
	next(&t);
	put_pointer(&t, addr);
	next(&t);
	put_flags(&t, shmat_flags, flags, 16);
	r = CALL(&t, void *, ipc_shmat(ns, id, addr, flags));
	end_pointer(&t, r);
	return r;
}

int trace_shmdt(ipc_ns *ns, const void *addr)
{
	struct trace t;
	int r;

	begin(&t, "shmdt");
	put_pointer(&t, addr);
	r = CALL(&t, int, ipc_shmdt(ns, addr));
	end(&t, r);
	return r;
}

static void put_segment(struct trace *t, const struct shmid_ds *buf, bool set)
{
	struct shmid_ds d;

	if (!peek(buf, &d, sizeof d)) {
		put_pointer(t, buf);
		return;
	}
	put_perm(t, "{shm_perm=", &d.shm_perm, set);
	if (!set) {
		put_field(t, ", shm_segsz=", d.shm_segsz);
		put_field(t, ", shm_cpid=", (unsigned)d.shm_cpid);
		put_field(t, ", shm_lpid=", (unsigned)d.shm_lpid);
		put_field(t, ", shm_nattch=", d.shm_nattch);
		put_field(t, ", shm_atime=", (unsigned long long)d.shm_atime);
		put_field(t, ", shm_dtime=", (unsigned long long)d.shm_dtime);
		put_field(t, ", shm_ctime=", (unsigned long long)d.shm_ctime);
	}
	put(t, "}");
}

static void put_shm_limits(struct trace *t, const void *buf)
{
	struct shminfo i;

	if (!peek(buf, &i, sizeof i)) {
		put_pointer(t, buf);
		return;
	}
	put_field(t, "{shmmax=", i.shmmax);
	put_field(t, ", shmmin=", i.shmmin);
	put_field(t, ", shmmni=", i.shmmni);
	put_field(t, ", shmseg=", i.shmseg);
	put_field(t, ", shmall=", i.shmall);
	put(t, "}");
}

static void put_shm_use(struct trace *t, const void *buf)
{
	struct shm_info i;

	if (!peek(buf, &i, sizeof i)) {
		put_pointer(t, buf);
		return;
	}
	put_field(t, "{used_ids=", (unsigned)i.used_ids);
	put_field(t, ", shm_tot=", i.shm_tot);
	put_field(t, ", shm_rss=", i.shm_rss);
	put_field(t, ", shm_swp=", i.shm_swp);
	put_field(t, ", swap_attempts=", i.swap_attempts);
	put_field(t, ", swap_successes=", i.swap_successes);
	put(t, "}");
}

int trace_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf)
{
	struct trace t;
	int r;

	begin(&t, "shmctl");
	put_int(&t, id);
	next(&t);
	put_command(&t, cmd);
	next(&t);
	if (cmd == IPC_SET)
		put_segment(&t, buf, true);
	r = CALL(&t, int, ipc_shmctl(ns, id, cmd, buf));
	if (r >= 0 && (cmd == IPC_STAT || cmd == SHM_STAT || cmd == SHM_STAT_ANY))
		put_segment(&t, buf, false);
	else if (r >= 0 && cmd == IPC_INFO)
		put_shm_limits(&t, buf);
	else if (r >= 0 && cmd == SHM_INFO)
		put_shm_use(&t, buf);
	else if (cmd != IPC_SET)
		put_pointer(&t, buf);
	end(&t, r);
	return r;
}

/* ---- semaphores ---- */

int trace_semget(ipc_ns *ns, key_t key, int nsems, int flags)
{
	struct trace t;
	int r;

	begin(&t, "semget");
	put_key(&t, key);
	next(&t);
	put_int(&t, nsems);
	next(&t);
	put_flags(&t, get_flags, flags, 8);
	r = CALL(&t, int, ipc_semget(ns, key, nsems, flags));
	end(&t, r);
	return r;
}

static void put_operations(struct trace *t, int id, const struct sembuf *sops, size_t nsops)
{
	put_int(t, id);
	next(t);
	put_sops(t, sops, nsops);
	next(t);
	put_unsigned(t, nsops);
}

int trace_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops)
{
	struct trace t;
	int r;

	begin(&t, "semop");
	put_operations(&t, id, sops, nsops);
	r = CALL(&t, int, ipc_semop(ns, id, sops, nsops));
	end(&t, r);
	return r;
}

int trace_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	struct timespec ts;
	struct trace t;
	int r;

	begin(&t, "semtimedop");
	put_operations(&t, id, sops, nsops);
	next(&t);
	if (peek(timeout, &ts, sizeof ts)) {
		put(&t, "{tv_sec=");
		put_int(&t, ts.tv_sec);
		put(&t, ", tv_nsec=");
		put_int(&t, ts.tv_nsec);
		put(&t, "}");
	} else {
		put_pointer(&t, timeout);
	}
	r = CALL(&t, int, ipc_semtimedop(ns, id, sops, nsops, timeout));
	end(&t, r);
	return r;
}

static void put_set(struct trace *t, const struct semid_ds *buf, bool set)
{
	struct semid_ds d;

	if (!peek(buf, &d, sizeof d)) {
		put_pointer(t, buf);
		return;
	}
	put_perm(t, "{sem_perm=", &d.sem_perm, set);
	if (!set) {
		put_field(t, ", sem_otime=", (unsigned long long)d.sem_otime);
		put_field(t, ", sem_ctime=", (unsigned long long)d.sem_ctime);
		put_field(t, ", sem_nsems=", d.sem_nsems);
	}
	put(t, "}");
}

static void put_sem_info(struct trace *t, const void *buf)
{
	struct seminfo i;

	if (!peek(buf, &i, sizeof i)) {
		put_pointer(t, buf);
		return;
	}
	put_field(t, "{semmap=", (unsigned)i.semmap);
	put_field(t, ", semmni=", (unsigned)i.semmni);
	put_field(t, ", semmns=", (unsigned)i.semmns);
	put_field(t, ", semmnu=", (unsigned)i.semmnu);
	put_field(t, ", semmsl=", (unsigned)i.semmsl);
	put_field(t, ", semopm=", (unsigned)i.semopm);
	put_field(t, ", semume=", (unsigned)i.semume);
	put_field(t, ", semusz=", (unsigned)i.semusz);
	put_field(t, ", semvmx=", (unsigned)i.semvmx);
	put_field(t, ", semaem=", (unsigned)i.semaem);
	put(t, "}");
}

/* The semaphores of a set, for the arrays of GETALL and SETALL; 0 when it cannot be told. */
static size_t set_size(ipc_ns *ns, int id)
{
	int saved = errno;
	struct row r;
	size_t n = ns && !registry_read(ns, KIND_SEM, id, &r) ? r.v[R_SIZE] : 0;

	errno = saved;
	return n;
}

/* What semctl's last argument was for the call, or became by it. */
static void put_sem_arg(struct trace *t, ipc_ns *ns, int id, int cmd, void *arg, int result)
{
	if (result >= 0 && (cmd == IPC_STAT || cmd == SEM_STAT || cmd == SEM_STAT_ANY))
		put_set(t, arg, false);
	else if (result >= 0 && (cmd == IPC_INFO || cmd == SEM_INFO))
		put_sem_info(t, arg);
	else if (result >= 0 && cmd == GETALL)
		put_values(t, arg, set_size(ns, id));
	else
		put_pointer(t, arg);
}

int trace_semctl(ipc_ns *ns, int id, int num, int cmd, void *arg)
{
	bool in = cmd == IPC_SET || cmd == SETVAL || cmd == SETALL;
	bool none = cmd == IPC_RMID || cmd == GETVAL || cmd == GETPID || cmd == GETNCNT || cmd == GETZCNT;
	struct trace t;
	int r;

	begin(&t, "semctl");
	put_int(&t, id);
	next(&t);
	put_int(&t, num);
	next(&t);
	put_command(&t, cmd);
	if (!none)
		next(&t);
	if (cmd == SETVAL)
		put_int(&t, (int)(intptr_t)arg);
	else if (cmd == SETALL)
		put_values(&t, arg, set_size(ns, id));
	else if (cmd == IPC_SET)
		put_set(&t, arg, true);
	r = CALL(&t, int, ipc_semctl(ns, id, num, cmd, arg));
	if (!in && !none)
		put_sem_arg(&t, ns, id, cmd, arg, r);
	end(&t, r);
	return r;
}

/* ---- messages ---- */

int trace_msgget(ipc_ns *ns, key_t key, int flags)
{
	struct trace t;
	int r;

	begin(&t, "msgget");
	put_key(&t, key);
	next(&t);
	put_flags(&t, get_flags, flags, 8);
	r = CALL(&t, int, ipc_msgget(ns, key, flags));
	end(&t, r);
	return r;
}

int trace_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags)
{
	struct trace t;
	int r;

	begin(&t, "msgsnd");
	put_int(&t, id);
	next(&t);
	put_message(&t, msg, size);
	next(&t);
	put_unsigned(&t, size);
	next(&t);
	put_flags(&t, msg_flags, flags, 16);
	r = CALL(&t, int, ipc_msgsnd(ns, id, msg, size, flags));
	end(&t, r);
	return r;
}

ssize_t trace_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	struct trace t;
	ssize_t r;

	begin(&t, "msgrcv");
	t.msg = msg;
	t.size = size;
	t.type = type;
	t.flags = flags;
	put_int(&t, id);
	next(&t);
	r = CALL(&t, ssize_t, ipc_msgrcv(ns, id, msg, size, type, flags));
	put_received(&t, r);
	end(&t, r);
	return r;
}

static void put_queue(struct trace *t, const struct msqid_ds *buf, bool set)
{
	struct msqid_ds d;

	if (!peek(buf, &d, sizeof d)) {
		put_pointer(t, buf);
		return;
	}
	put_perm(t, "{msg_perm=", &d.msg_perm, set);
	if (set) {
		put_field(t, ", msg_qbytes=", d.msg_qbytes);
	} else {
		put_field(t, ", msg_stime=", (unsigned long long)d.msg_stime);
		put_field(t, ", msg_rtime=", (unsigned long long)d.msg_rtime);
		put_field(t, ", msg_ctime=", (unsigned long long)d.msg_ctime);
		put_field(t, ", msg_qnum=", d.msg_qnum);
		put_field(t, ", msg_qbytes=", d.msg_qbytes);
		put_field(t, ", msg_lspid=", (unsigned)d.msg_lspid);
		put_field(t, ", msg_lrpid=", (unsigned)d.msg_lrpid);
	}
	put(t, "}");
}

static void put_msg_info(struct trace *t, const void *buf)
{
	struct msginfo i;

	if (!peek(buf, &i, sizeof i)) {
		put_pointer(t, buf);
		return;
	}
	put_field(t, "{msgpool=", (unsigned)i.msgpool);
	put_field(t, ", msgmap=", (unsigned)i.msgmap);
	put_field(t, ", msgmax=", (unsigned)i.msgmax);
	put_field(t, ", msgmnb=", (unsigned)i.msgmnb);
	put_field(t, ", msgmni=", (unsigned)i.msgmni);
	put_field(t, ", msgssz=", (unsigned)i.msgssz);
	put_field(t, ", msgtql=", (unsigned)i.msgtql);
	put_field(t, ", msgseg=", i.msgseg);
	put(t, "}");
}

int trace_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf)
{
	struct trace t;
	int r;

	begin(&t, "msgctl");
	put_int(&t, id);
	next(&t);
	put_command(&t, cmd);
	next(&t);
	if (cmd == IPC_SET)
		put_queue(&t, buf, true);
	r = CALL(&t, int, ipc_msgctl(ns, id, cmd, buf));
	if (r >= 0 && (cmd == IPC_STAT || cmd == MSG_STAT || cmd == MSG_STAT_ANY))
		put_queue(&t, buf, false);
	else if (r >= 0 && (cmd == IPC_INFO || cmd == MSG_INFO))
		put_msg_info(&t, buf);
	else if (cmd != IPC_SET)
		put_pointer(&t, buf);
	end(&t, r);
	return r;
}

/* ---- when the library is loaded ---- */

static void complain(const char *file, int error)
{
	struct trace t = { .at = 0 };

	put(&t, "libipc-sysv: IPCD_LOG=trace: cannot open ");
	put(&t, file);
	put(&t, " (");
	put(&t, strerrordesc_np(error) ? strerrordesc_np(error) : "?");
	put(&t, "); calls are not shown\n");
	syscall(SYS_write, 2, t.text, t.at);
}

/* An absolute name, as the program may go elsewhere before the file must be opened again. */
static bool remember_path(const char *file)
{
	size_t n = 0;

	if (*file != '/') {
		if (!getcwd(path, sizeof path - 1))
			return false;
		n = strlen(path);
		path[n++] = '/';
	}
	if (n + strlen(file) >= sizeof path) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(path + n, file);
	return true;
}

void trace_init(void)
{
	const char *log = secure_getenv("IPCD_LOG");
	int saved = errno, fd;

	if (!log || strncmp(log, "trace", 5) || (log[5] && (log[5] != ':' || !log[6])))
		return;
	if (!log[5])
		fd = out_of_the_way(2);
	else
		fd = remember_path(log + 6) ? open_file() : -1;
	if (fd >= 0) {
		atomic_store(&target, file_now(fd));
		wait_hook = sleeping;
		trace_on = true;
	} else if (log[5]) {
		complain(log + 6, errno);
	}
	errno = saved;
}
