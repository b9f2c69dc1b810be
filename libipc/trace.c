/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls as lines of text. See trace.h; trace_value.c has the arguments.
 *
 * Rules inside:
 *  - Async-signal-safe: a line is built on the stack, and written when the call returns, or in two halves if it sleeps.
 *  - What the call leaves in errno stays there.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#include "registry.h"
#include "trace.h"
#include "trace_line.h"
#include "trace_value.h"
#include "wait.h"

struct trace {
	const char *name;
	bool told; /* the line's first half has been written: the thread sleeps */
	int saved; /* errno */
	/* of msgrcv: what is shown when it sleeps, before there is a message */
	const void *msg;
	size_t size;
	long type;
	int flags;
	struct line line;
};

bool trace_on;
static __thread struct trace *current __attribute__((tls_model("initial-exec")));

static const struct flag get_flags[] = { { IPC_CREAT, "IPC_CREAT" }, { IPC_EXCL, "IPC_EXCL" },
					 { SHM_HUGETLB, "SHM_HUGETLB" }, { SHM_NORESERVE, "SHM_NORESERVE" },
					 { 0, NULL } };
static const struct flag shmat_flags[] = { { SHM_RDONLY, "SHM_RDONLY" }, { SHM_RND, "SHM_RND" },
					   { SHM_REMAP, "SHM_REMAP" }, { SHM_EXEC, "SHM_EXEC" }, { 0, NULL } };
static const struct flag msg_flags[] = { { MSG_NOERROR, "MSG_NOERROR" }, { MSG_EXCEPT, "MSG_EXCEPT" },
					 { MSG_COPY, "MSG_COPY" }, { IPC_NOWAIT, "IPC_NOWAIT" }, { 0, NULL } };

/* ---- a call's line ---- */

static void begin_text(struct trace *t)
{
	t->line.at = 0;
	line_put(&t->line, "[pid ");
	line_unsigned(&t->line, (unsigned)gettid());
	line_put(&t->line, "] ");
}

static void begin(struct trace *t, const char *name)
{
	t->name = name;
	t->told = false;
	t->msg = NULL;
	t->saved = errno;
	begin_text(t);
	line_put(&t->line, name);
	line_put(&t->line, "(");
}

static void next(struct trace *t)
{
	line_put(&t->line, ", ");
}

static void put_received(struct trace *t, ssize_t size)
{
	if (size < 0)
		line_pointer(&t->line, t->msg);
	else
		line_message(&t->line, t->msg, (size_t)size);
	next(t);
	line_unsigned(&t->line, t->size);
	next(t);
	line_int(&t->line, t->type);
	next(t);
	line_flags(&t->line, msg_flags, t->flags, 16);
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
	t->line.at = t->line.at < LINE_ARGS ? t->line.at : LINE_ARGS;
	line_put(&t->line, " <unfinished ...>\n");
	line_write(t->line.text, t->line.at);
	begin_text(t);
	line_put(&t->line, "<... ");
	line_put(&t->line, t->name);
	line_put(&t->line, " resumed>");
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
		line_put(&t->line, "-1 ");
		line_put(&t->line, name ? name : "?");
		line_put(&t->line, " (");
		line_put(&t->line, why ? why : "?");
		line_put(&t->line, ")");
	}
	t->line.at = t->line.at < LINE_SIZE - 1 ? t->line.at : LINE_SIZE - 1;
	t->line.text[t->line.at++] = '\n';
	line_write(t->line.text, t->line.at);
	errno = t->saved;
}

/* ")", and the result from strace's column on. */
static void close_arguments(struct trace *t)
{
	size_t from = 0;

	while (from < t->line.at && t->line.text[from] != ']')
		from++;
	t->line.at = t->line.at < LINE_ARGS ? t->line.at : LINE_ARGS;
	line_part(&t->line, ")", 1, LINE_SIZE);
	while (t->line.at < from + 2 + 39)
		line_part(&t->line, " ", 1, LINE_SIZE);
	line_part(&t->line, " = ", 3, LINE_SIZE);
}

static void end(struct trace *t, long long result)
{
	close_arguments(t);
	if (result != -1)
		line_int(&t->line, result);
	end_with(t, result == -1);
}

static void end_pointer(struct trace *t, const void *result)
{
	close_arguments(t);
	if (result != (void *)-1)
		line_hex(&t->line, (uintptr_t)result);
	end_with(t, result == (void *)-1);
}

/* ---- shared memory ---- */

int traced_ipc_shmget(ipc_ns *ns, key_t key, size_t size, int flags)
{
	struct trace t;
	int r;

	begin(&t, "shmget");
	line_key(&t.line, key);
	next(&t);
	line_unsigned(&t.line, size);
	next(&t);
	line_flags(&t.line, get_flags, flags, 8);
	r = CALL(&t, int, ipc_shmget(ns, key, size, flags));
	end(&t, r);
	return r;
}

void *traced_ipc_shmat(ipc_ns *ns, int id, const void *addr, int flags)
{
	struct trace t;
	void *r;

	begin(&t, "shmat");
	line_int(&t.line, id);
	next(&t);
	line_pointer(&t.line, addr);
	next(&t);
	line_flags(&t.line, shmat_flags, flags, 16);
	r = CALL(&t, void *, ipc_shmat(ns, id, addr, flags));
	end_pointer(&t, r);
	return r;
}

int traced_ipc_shmdt(ipc_ns *ns, const void *addr)
{
	struct trace t;
	int r;

	begin(&t, "shmdt");
	line_pointer(&t.line, addr);
	r = CALL(&t, int, ipc_shmdt(ns, addr));
	end(&t, r);
	return r;
}

int traced_ipc_shmctl(ipc_ns *ns, int id, int cmd, struct shmid_ds *buf)
{
	struct trace t;
	int r;

	begin(&t, "shmctl");
	line_int(&t.line, id);
	next(&t);
	line_command(&t.line, t.name, cmd);
	next(&t);
	if (cmd == IPC_SET)
		line_segment(&t.line, buf, true);
	r = CALL(&t, int, ipc_shmctl(ns, id, cmd, buf));
	if (r >= 0 && (cmd == IPC_STAT || cmd == SHM_STAT || cmd == SHM_STAT_ANY))
		line_segment(&t.line, buf, false);
	else if (r >= 0 && cmd == IPC_INFO)
		line_shm_limits(&t.line, buf);
	else if (r >= 0 && cmd == SHM_INFO)
		line_shm_use(&t.line, buf);
	else if (cmd != IPC_SET)
		line_pointer(&t.line, buf);
	end(&t, r);
	return r;
}

/* ---- semaphores ---- */

int traced_ipc_semget(ipc_ns *ns, key_t key, int nsems, int flags)
{
	struct trace t;
	int r;

	begin(&t, "semget");
	line_key(&t.line, key);
	next(&t);
	line_int(&t.line, nsems);
	next(&t);
	line_flags(&t.line, get_flags, flags, 8);
	r = CALL(&t, int, ipc_semget(ns, key, nsems, flags));
	end(&t, r);
	return r;
}

static void put_operations(struct trace *t, int id, const struct sembuf *sops, size_t nsops)
{
	line_int(&t->line, id);
	next(t);
	line_sops(&t->line, sops, nsops);
	next(t);
	line_unsigned(&t->line, nsops);
}

int traced_ipc_semop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops)
{
	struct trace t;
	int r;

	begin(&t, "semop");
	put_operations(&t, id, sops, nsops);
	r = CALL(&t, int, ipc_semop(ns, id, sops, nsops));
	end(&t, r);
	return r;
}

int traced_ipc_semtimedop(ipc_ns *ns, int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	struct timespec ts;
	struct trace t;
	int r;

	begin(&t, "semtimedop");
	put_operations(&t, id, sops, nsops);
	next(&t);
	if (trace_peek(timeout, &ts, sizeof ts)) {
		line_put(&t.line, "{tv_sec=");
		line_int(&t.line, ts.tv_sec);
		line_put(&t.line, ", tv_nsec=");
		line_int(&t.line, ts.tv_nsec);
		line_put(&t.line, "}");
	} else {
		line_pointer(&t.line, timeout);
	}
	r = CALL(&t, int, ipc_semtimedop(ns, id, sops, nsops, timeout));
	end(&t, r);
	return r;
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
		line_set(&t->line, arg, false);
	else if (result >= 0 && (cmd == IPC_INFO || cmd == SEM_INFO))
		line_sem_info(&t->line, arg);
	else if (result >= 0 && cmd == GETALL)
		line_values(&t->line, arg, set_size(ns, id));
	else
		line_pointer(&t->line, arg);
}

int traced_ipc_semctl(ipc_ns *ns, int id, int num, int cmd, void *arg)
{
	bool in = cmd == IPC_SET || cmd == SETVAL || cmd == SETALL;
	bool none = cmd == IPC_RMID || cmd == GETVAL || cmd == GETPID || cmd == GETNCNT || cmd == GETZCNT;
	struct trace t;
	int r;

	begin(&t, "semctl");
	line_int(&t.line, id);
	next(&t);
	line_int(&t.line, num);
	next(&t);
	line_command(&t.line, t.name, cmd);
	if (!none)
		next(&t);
	if (cmd == SETVAL)
		line_int(&t.line, (int)(intptr_t)arg);
	else if (cmd == SETALL)
		line_values(&t.line, arg, set_size(ns, id));
	else if (cmd == IPC_SET)
		line_set(&t.line, arg, true);
	r = CALL(&t, int, ipc_semctl(ns, id, num, cmd, arg));
	if (!in && !none)
		put_sem_arg(&t, ns, id, cmd, arg, r);
	end(&t, r);
	return r;
}

/* ---- messages ---- */

int traced_ipc_msgget(ipc_ns *ns, key_t key, int flags)
{
	struct trace t;
	int r;

	begin(&t, "msgget");
	line_key(&t.line, key);
	next(&t);
	line_flags(&t.line, get_flags, flags, 8);
	r = CALL(&t, int, ipc_msgget(ns, key, flags));
	end(&t, r);
	return r;
}

int traced_ipc_msgsnd(ipc_ns *ns, int id, const void *msg, size_t size, int flags)
{
	struct trace t;
	int r;

	begin(&t, "msgsnd");
	line_int(&t.line, id);
	next(&t);
	line_message(&t.line, msg, size);
	next(&t);
	line_unsigned(&t.line, size);
	next(&t);
	line_flags(&t.line, msg_flags, flags, 16);
	r = CALL(&t, int, ipc_msgsnd(ns, id, msg, size, flags));
	end(&t, r);
	return r;
}

ssize_t traced_ipc_msgrcv(ipc_ns *ns, int id, void *msg, size_t size, long type, int flags)
{
	struct trace t;
	ssize_t r;

	begin(&t, "msgrcv");
	t.msg = msg;
	t.size = size;
	t.type = type;
	t.flags = flags;
	line_int(&t.line, id);
	next(&t);
	r = CALL(&t, ssize_t, ipc_msgrcv(ns, id, msg, size, type, flags));
	put_received(&t, r);
	end(&t, r);
	return r;
}

int traced_ipc_msgctl(ipc_ns *ns, int id, int cmd, struct msqid_ds *buf)
{
	struct trace t;
	int r;

	begin(&t, "msgctl");
	line_int(&t.line, id);
	next(&t);
	line_command(&t.line, t.name, cmd);
	next(&t);
	if (cmd == IPC_SET)
		line_queue(&t.line, buf, true);
	r = CALL(&t, int, ipc_msgctl(ns, id, cmd, buf));
	if (r >= 0 && (cmd == IPC_STAT || cmd == MSG_STAT || cmd == MSG_STAT_ANY))
		line_queue(&t.line, buf, false);
	else if (r >= 0 && (cmd == IPC_INFO || cmd == MSG_INFO))
		line_msg_info(&t.line, buf);
	else if (cmd != IPC_SET)
		line_pointer(&t.line, buf);
	end(&t, r);
	return r;
}

void trace_init(void)
{
	if (!line_open())
		return;
	wait_hook = sleeping;
	trace_on = true;
}
