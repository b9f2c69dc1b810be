/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker: reads one byte from its pipe, performs the call in its seat, says DONE. It knows nothing else, so it
 * can exec itself at any time and go on. It prints nothing and takes part in no decision.
 */
#include "walk.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static struct seat *all, *mine;
static struct pipes *fds;
static int my_seat;
static sigjmp_buf fault, away;
static volatile sig_atomic_t fault_expected, may_jump;

struct seat *worker_map(int mem)
{
	void *p = mmap(NULL, sizeof(struct seat) * SEATS, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *code_of(void *context)
{
#ifdef __x86_64__
	return (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#else
	return context;
#endif
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (fault_expected)
		siglongjmp(fault, 1);
	mine->fault_addr = info->si_addr;
	mine->fault_code = code_of(context);
	mine->fault = sig;
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_signal(int sig)
{
	int e = errno;

	(void)sig;
	atomic_fetch_add(&mine->handled, 1);
	errno = e;
}

static void on_nested(int sig)
{
	int e = errno;

	(void)sig;
	worker_do(&mine->nested);
	atomic_fetch_add(&mine->handled, 1);
	errno = e;
}

static void on_jump(int sig)
{
	(void)sig;
	atomic_fetch_add(&mine->handled, 1);
	if (may_jump)
		siglongjmp(away, 1);
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &sa, NULL);
	sa.sa_handler = on_nested;
	sigaction(SIGRTMIN, &sa, NULL);
	sa.sa_handler = on_jump;
	sigaction(SIGRTMIN + 1, &sa, NULL);
	sa.sa_flags = SA_NODEFER | SA_SIGINFO;
	sa.sa_sigaction = on_fault;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	signal(SIGWINCH, SIG_IGN);
}

static void *buffer(struct call *c)
{
	if (c->bad)
		return c->bad == 1 ? (void *)16 : (void *)(FIXED_BASE - 0x10000);
	return &c->d;
}

static struct timespec *timeout(struct call *c)
{
	if (c->bad == 3)
		return (void *)(FIXED_BASE - 0x10000);
	return c->timed ? &c->ts : NULL;
}

static long do_semctl(struct call *c)
{
	union semarg arg = { .buf = buffer(c) };

	if (c->cmd == SETVAL) {
		arg.buf = NULL;
		arg.val = (int)c->val;
	}
	return semctl(c->id, c->num, c->cmd, arg);
}

/* From whoever it is by way of root, which the saved (after exec the real) uid allows. */
static long do_ids(struct call *c)
{
	static const gid_t list[] = { GROUP_A, GROUP_B };
	uid_t euid = c->cmd == EUID ? (uid_t)c->val : geteuid();

	if (seteuid(0))
		return -1;
	if (c->cmd == EGID && setegid((gid_t)c->val))
		return -1;
	if (c->cmd == GROUPS && setgroups(c->val < 0 ? 1 : (size_t)c->val, c->val < 0 ? list + 1 : list))
		return -1;
	return seteuid(euid);
}

/* One *_STAT by index into d; the object's id or -1. cmd: 0 *_STAT, 1 *_STAT_ANY */
static int stat_index(enum kind kind, int any, int idx, void *d)
{
	union semarg arg = { .buf = d };

	if (kind == SEM)
		return semctl(idx, 0, any ? SEM_STAT_ANY : SEM_STAT, arg);
	if (kind == MSG)
		return msgctl(idx, any ? MSG_STAT_ANY : MSG_STAT, d);
	return shmctl(idx, any ? SHM_STAT_ANY : SHM_STAT, d);
}

static int info_of(enum kind kind, void *d)
{
	union semarg arg = { .buf = d };

	if (kind == SEM)
		return semctl(0, 0, SEM_INFO, arg);
	if (kind == MSG)
		return msgctl(0, MSG_INFO, d);
	return shmctl(0, SHM_INFO, d);
}

static long do_scan(struct call *c)
{
	struct scan *s = &c->d.scan;
	int max = info_of(c->cmd, &s->info), idx, id;
	union {
		struct semid_ds sem;
		struct msqid_ds msq;
		struct shmid_ds shm;
	} ds;

	s->n = 0;
	for (idx = 0; idx <= max && s->n < MAX_SCAN; idx++) {
		id = stat_index(c->cmd, c->flags, idx, &ds);
		if (id >= 0)
			s->id[s->n++] = id;
	}
	return max < 0 ? -1 : 0;
}

static long do_stat_index(struct call *c)
{
	struct scan s;
	int max = info_of(c->cmd, &s.info), idx;
	bool refused = false;

	for (idx = 0; idx <= max; idx++) {
		if (stat_index(c->cmd, c->flags, idx, &c->d) == c->id)
			return c->id;
		refused |= errno == EACCES;
	}
	memset(&c->d, 0xa5, sizeof c->d.fill);
	errno = refused ? EACCES : EINVAL;
	return -1;
}

/* 0, or -1 and EFAULT where the access is a SIGSEGV */
static long do_memory(struct call *c)
{
	volatile unsigned char *p = (void *)c->addr;
	void (*code)(void);

	if (sigsetjmp(fault, 1)) {
		fault_expected = 0;
		errno = EFAULT;
		return -1;
	}
	fault_expected = 1;
	if (c->op == PEEK) {
		c->d.words[0] = p[0];
		c->d.words[1] = p[c->size / 2];
		c->d.words[2] = p[c->size - 1];
	} else if (c->op == POKE) {
		p[c->size] = (unsigned char)c->val;
	} else {
		memcpy(&code, &c->addr, sizeof code);
		c->d.words[0] = p[0];
		if (p[0] == RET)
			code();
	}
	fault_expected = 0;
	return 0;
}

static long do_shmdt(struct call *c)
{
	struct call probe = { .op = PEEK, .addr = c->addr, .size = 1 };
	long r = shmdt((void *)c->addr);
	int e = errno;

	c->touched = r == 0 && do_memory(&probe) == 0;
	errno = e;
	return r;
}

/* As root: where the effective ids are not the real ones exec is in secure mode, without preloaded libraries. */
static long do_exec(void)
{
	char name[] = "walk", option[] = "--worker", seat[16], mem[16], fd[SEATS][16];
	char *argv[SEATS + 5] = { name, option, seat, mem };
	int i;

	snprintf(seat, sizeof seat, "%d", my_seat);
	snprintf(mem, sizeof mem, "%d", fds->mem);
	for (i = 0; i < SEATS; i++) {
		snprintf(fd[i], sizeof fd[i], "%d", fds->fd[i][0]);
		argv[4 + i] = fd[i];
	}
	if (geteuid() && seteuid(0))
		return -1;
	if (getegid() && setegid(0))
		return -1;
	return execv("/proc/self/exe", argv);
}

static long do_fork(struct call *c)
{
	int seat = c->num;
	pid_t pid = fork();

	if (pid == 0)
		worker_main(fds, seat, false);
	return pid;
}

static long perform(struct call *c)
{
	switch (c->op) {
	case SEMGET:
		return semget(c->id, c->cmd, c->flags);
	case SEMOP:
		return semop(c->id, c->bad ? buffer(c) : c->sops, c->nsops);
	case SEMTIMEDOP:
		return semtimedop(c->id, c->bad == 1 ? buffer(c) : c->sops, c->nsops, timeout(c));
	case SEMCTL:
		return do_semctl(c);
	case MSGGET:
		return msgget(c->id, c->flags);
	case MSGSND:
		return msgsnd(c->id, buffer(c), c->size, c->flags);
	case MSGRCV:
		return msgrcv(c->id, buffer(c), c->size, c->val, c->flags);
	case MSGCTL:
		return msgctl(c->id, c->cmd, buffer(c));
	case SHMGET:
		return shmget(c->id, c->size, c->flags);
	case SHMAT:
		return (long)shmat(c->id, (void *)c->addr, c->flags);
	case SHMDT:
		return do_shmdt(c);
	case SHMCTL:
		return shmctl(c->id, c->cmd, buffer(c));
	case SCAN:
		return do_scan(c);
	case STAT_INDEX:
		return do_stat_index(c);
	case PEEK:
	case POKE:
	case RUN:
		return do_memory(c);
	case IDS:
		return do_ids(c);
	case FORK:
		return do_fork(c);
	case EXEC:
		return do_exec();
	case EXIT:
		exit(0);
	case EXIT_NOW:
		_exit(0);
	}
	return -1;
}

void worker_do(struct call *c)
{
	errno = 0;
	c->ret = perform(c);
	c->err = c->ret == -1 ? errno : 0;
}

static void serve_one(void)
{
	struct call *c = &mine->call;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (sigsetjmp(away, 1)) {
		may_jump = 0;
		c->ret = JUMPED;
		c->err = 0;
	} else {
		atomic_store(&mine->phase, IN_CALL);
		may_jump = 1;
		worker_do(c);
		may_jump = 0;
	}
	atomic_store(&mine->phase, DONE);
}

/* Nobody but the controller may hold a write end: its death ends the idle ones. */
static void close_write_ends(void)
{
	int i;

	for (i = 0; i < SEATS; i++) {
		if (fds->fd[i][1] >= 0)
			close(fds->fd[i][1]);
		fds->fd[i][1] = -1;
	}
}

_Noreturn void worker_main(struct pipes *p, int seat, bool from_exec)
{
	char byte;
	ssize_t n;

	fds = p;
	my_seat = seat;
	if (!all)
		all = worker_map(p->mem);
	if (!all)
		_exit(98);
	mine = &all[seat];
	close_write_ends();
	catch_signals();
	if (from_exec) {
		mine->call.ret = 0;
		mine->call.err = 0;
		atomic_store(&mine->phase, DONE);
	}
	for (;;) {
		n = read(p->fd[seat][0], &byte, 1);
		if (n == 1)
			serve_one();
		else if (n == 0 || errno != EINTR)
			_exit(97);
	}
}
