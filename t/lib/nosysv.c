/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nosysv PROGRAM [ARG...]: runs a program, and everything it starts, under a seccomp filter that answers ENOSYS to the
 * twelve System V IPC system calls; so what works under it did not use the kernel's. A call by a foreign ABI (32-bit,
 * x32) gets ENOSYS whatever it is, so no way around is left.
 * nosysv --check: makes the twelve calls (harmless arguments) with and without the filter, and prints what they answer;
 * exit status 0 if the filter turned every one into ENOSYS.
 * Exit status otherwise: the program's; 125 when the filter cannot be had, 126 and 127 as env(1).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCH AUDIT_ARCH_X86_64
#define FIRST_FOREIGN 0x40000000u	/* x32 */
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCH AUDIT_ARCH_AARCH64
#define FIRST_FOREIGN 0x80000000u	/* none */
#else
#error "nosysv knows x86_64 and aarch64 only"
#endif

#define NO_KEY 0x6e6f6e65		/* *get without IPC_CREAT: nothing is made */

/* Arguments that the kernel answers with EINVAL, ENOENT or the like, and that change nothing. */
static const struct call {
	const char *name;
	long nr;
	long arg[4];
} calls[] = {
	{ "shmget", SYS_shmget, { NO_KEY, 0, 0, 0 } },
	{ "shmat", SYS_shmat, { -1, 0, 0, 0 } },
	{ "shmdt", SYS_shmdt, { 1, 0, 0, 0 } },
	{ "shmctl", SYS_shmctl, { -1, IPC_STAT, 0, 0 } },
	{ "semget", SYS_semget, { NO_KEY, 0, 0, 0 } },
	{ "semop", SYS_semop, { -1, 0, 0, 0 } },
	{ "semtimedop", SYS_semtimedop, { -1, 0, 0, 0 } },
	{ "semctl", SYS_semctl, { -1, 0, IPC_STAT, 0 } },
	{ "msgget", SYS_msgget, { NO_KEY, 0, 0, 0 } },
	{ "msgsnd", SYS_msgsnd, { -1, 0, 0, IPC_NOWAIT } },
	{ "msgrcv", SYS_msgrcv, { -1, 0, 0, 0 } },
	{ "msgctl", SYS_msgctl, { -1, IPC_STAT, 0, 0 } },
};

#define NCALLS (sizeof calls / sizeof *calls)

/* arch; foreign -> deny; nr; x32 -> deny; one test a call -> deny; allow; deny */
static int filter_install(void)
{
	struct sock_filter code[NCALLS + 6];
	struct sock_fprog prog = { .len = NCALLS + 6, .filter = code };
	unsigned int deny = NCALLS + 5, at = 0;

	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, deny - at - 1);
	at++;
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_FOREIGN, deny - at - 1, 0);
	at++;
	for (unsigned int i = 0; i < NCALLS; i++, at++)
		code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].nr, deny - at - 1, 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return -errno;
	return 0;
}

/* The errno that the call gives by syscall(), past any library; 0 when it succeeds. */
static int call_errno(const struct call *c)
{
	return syscall(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3], 0) < 0 ? errno : 0;
}

static int check(void)
{
	int before[NCALLS], after, wrong = 0, r;

	for (unsigned int i = 0; i < NCALLS; i++)
		before[i] = call_errno(&calls[i]);
	r = filter_install();
	if (r < 0) {
		fprintf(stderr, "nosysv: cannot install the filter: %s\n", strerror(-r));
		return 125;
	}
	for (unsigned int i = 0; i < NCALLS; i++) {
		after = call_errno(&calls[i]);
		wrong += after != ENOSYS;
		printf("%-10s %s -> %s\n", calls[i].name, strerror(before[i]), strerror(after));
	}
	return wrong != 0;
}

int main(int argc, char **argv)
{
	int r;

	if (argc < 2) {
		fprintf(stderr, "usage: nosysv PROGRAM [ARG...] | --check\n");
		return 125;
	}
	if (strcmp(argv[1], "--check") == 0)
		return check();
	r = filter_install();
	if (r < 0) {
		fprintf(stderr, "nosysv: cannot install the filter: %s\n", strerror(-r));
		return 125;
	}
	execvp(argv[1], argv + 1);
	r = errno == ENOENT ? 127 : 126;
	fprintf(stderr, "nosysv: %s: %s\n", argv[1], strerror(errno));
	return r;
}
