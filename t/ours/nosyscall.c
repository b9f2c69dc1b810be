/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot calls do not enter the kernel: under a seccomp filter that kills the process at any system call, loops of
 * each of them run through. Beside them another process has an object of its own, undo pending in the same set, and a
 * place among the slots: that others are there costs no system call either.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "libipc.h"
#include "proc.h"
#include "tap.h"

#define TURNS 100000

union semun { int val; struct semid_ds *buf; unsigned short *array; };

static ipc_ns *ns;
static int set, queue, segment;
static pid_t me;
static volatile int *failed; /* shared: the line of a call that did not do what it should */

enum { KEY_SEM = 0x1001, KEY_MSG, KEY_SHM };

#define must(cond)                                  \
	do {                                        \
		if (!(cond) && !*failed)            \
			*failed = __LINE__;         \
	} while (0)

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(ns, set, &s, 1);
}

static int ctl(int num, int cmd, int val)
{
	return ipc_semctl(ns, set, num, cmd, (union semun){ .val = val });
}

/* ---- one turn of each loop ---- */

static void semop_plain(void)
{
	must(!op(0, 1, 0) && !op(0, -1, 0));
}

static void semop_undo(void)
{
	must(!op(0, 1, SEM_UNDO) && !op(0, -1, SEM_UNDO) && !op(1, 1, SEM_UNDO) && !op(1, -1, SEM_UNDO));
}

static void semop_array(void)
{
	struct sembuf up[3] = { { 0, 1, 0 }, { 1, 2, SEM_UNDO }, { 2, 0, 0 } };
	struct sembuf down[3] = { { 0, -1, 0 }, { 1, -2, SEM_UNDO }, { 2, 0, IPC_NOWAIT } };

	must(!ipc_semop(ns, set, up, 3) && !ipc_semop(ns, set, down, 3));
}

static void semop_again(void)
{
	must(op(2, -1, IPC_NOWAIT) == -1 && errno == EAGAIN);
}

static void semctl_getval(void)
{
	must(ctl(0, GETVAL, 0) == 0);
}

static void semctl_setval(void)
{
	must(!ctl(2, SETVAL, 3) && !ctl(2, SETVAL, 0));
}

static void semctl_all(void)
{
	unsigned short v[3] = { 9, 9, 9 };

	must(!ipc_semctl(ns, set, 0, GETALL, (union semun){ .array = v }) && !v[0] && !v[2]);
}

static void semctl_counts(void)
{
	must(ctl(0, GETPID, 0) == me && !ctl(0, GETNCNT, 0) && !ctl(0, GETZCNT, 0));
}

static void message(size_t size)
{
	static struct { long type; char text[8192]; } m;

	m.type = 5;
	m.text[0] = 'a';
	must(!ipc_msgsnd(ns, queue, &m, size, 0));
	m.text[0] = 'b';
	must(ipc_msgrcv(ns, queue, &m, sizeof m.text, 5, 0) == (ssize_t)size && (!size || m.text[0] == 'a'));
}

static void msg_small(void)
{
	message(0);
	message(64);
}

static void msg_large(void)
{
	message(1024);
	message(8192);
}

static void msg_none(void)
{
	char m[100];

	must(ipc_msgrcv(ns, queue, m, 8, 77, IPC_NOWAIT) == -1 && errno == ENOMSG);
}

static void get_existing(void)
{
	must(ipc_semget(ns, KEY_SEM, 3, 0) == set && ipc_msgget(ns, KEY_MSG, 0) == queue &&
	     ipc_shmget(ns, KEY_SHM, 1, 0) == segment);
}

static void stat_sem(void)
{
	struct semid_ds ds;

	must(!ipc_semctl(ns, set, 0, IPC_STAT, (union semun){ .buf = &ds }) && ds.sem_nsems == 3);
}

static void stat_msg(void)
{
	struct msqid_ds ds;

	must(!ipc_msgctl(ns, queue, IPC_STAT, &ds) && !ds.msg_qnum);
}

static void stat_shm(void)
{
	struct shmid_ds ds;

	must(!ipc_shmctl(ns, segment, IPC_STAT, &ds) && ds.shm_segsz == 5000);
}

static const struct { const char *name; void (*turn)(void); } loops[] = {
	{ "semop up and down", semop_plain },
	{ "semop with SEM_UNDO", semop_undo },
	{ "semop of three", semop_array },
	{ "semop that would block (EAGAIN)", semop_again },
	{ "GETVAL", semctl_getval },
	{ "SETVAL", semctl_setval },
	{ "GETALL", semctl_all },
	{ "GETPID, GETNCNT, GETZCNT", semctl_counts },
	{ "msgsnd and msgrcv of 0 and 64 bytes", msg_small },
	{ "msgsnd and msgrcv of 1,024 and 8,192 bytes", msg_large },
	{ "msgrcv that finds nothing (ENOMSG)", msg_none },
	{ "*get of an existing key", get_existing },
	{ "IPC_STAT of a set", stat_sem },
	{ "IPC_STAT of a queue", stat_msg },
	{ "IPC_STAT of a segment", stat_shm },
};

/* From here on a system call other than exit is death. */
static void no_system_calls(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { .len = sizeof f / sizeof *f, .filter = f };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(97);
}

static int forbidden(void *arg)
{
	void (*turn)(void) = loops[*(const int *)arg].turn;

	me = getpid();
	semop_plain();
	for (int i = 0; i < 3; i++) /* what is done once: a slot, mappings, memory for messages */
		turn();
	no_system_calls();
	for (int i = 0; i < TURNS; i++)
		turn();
	_exit(*failed ? 1 : 0);
}

static int control(void *arg)
{
	(void)arg;
	no_system_calls();
	return (int)syscall(SYS_getppid);
}

/* Has undo pending in the set, and is idle. */
static int neighbour(void *arg)
{
	int *fd = arg;

	if (op(1, 4, SEM_UNDO) || op(0, 1, SEM_UNDO) || op(0, -1, SEM_UNDO) || write(fd[1], "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void remove_dir(const char *dir)
{
	char command[200];

	snprintf(command, sizeof command, "rm -rf %s", dir);
	if (system(command))
		diag("%s is left", dir);
}

static void run_all(const char *where)
{
	for (int i = 0; i < (int)(sizeof loops / sizeof *loops); i++) {
		*failed = 0;
		is(proc_wait(proc_run(forbidden, &i)), 0, "no system call: %s%s", loops[i].name, where);
		if (*failed)
			diag("  the call in line %d failed", *failed);
	}
}

int main(void)
{
	char dir[] = "/dev/shm/t-nosyscall-XXXXXX", c;
	pid_t beside;
	int fd[2];

	alarm(120);
	failed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failed == MAP_FAILED || pipe(fd) || !mkdtemp(dir))
		bail_out("set-up");
	ns = ipc_open(dir, IPC_OPEN_CREATE);
	if (!ns)
		bail_out(ipc_open_error());
	set = ipc_semget(ns, KEY_SEM, 3, IPC_CREAT | 0600);
	queue = ipc_msgget(ns, KEY_MSG, IPC_CREAT | 0600);
	segment = ipc_shmget(ns, KEY_SHM, 5000, IPC_CREAT | 0600);
	ok(set >= 0 && queue >= 0 && segment >= 0, "one object of each kind");
	is(proc_wait(proc_run(control, NULL)), 1000 + SIGSYS, "the filter kills at a system call");
	run_all("");
	beside = proc_run(neighbour, fd);
	ok(beside > 0 && read(fd[0], &c, 1) == 1, "another process has undo pending in the set");
	run_all(", beside another process");
	proc_kill(beside);
	is(ctl(1, GETVAL, 0), 0, "whose undo is applied when it is gone");
	ipc_close(ns);
	remove_dir(dir);
	return done_testing();
}
