/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * syscall(), for programs that make the calls by their numbers. A number that is not in our table goes to the next
 * library's syscall() by a jump, with every register and the stack as they came: also clone with a stack of its own
 * returns from it as it does without us.
 */
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handlers.h"
#include "raw.h"
#include "sysv.h"

#define NUMBERS 512

extern const unsigned char sysv_numbers[NUMBERS];
extern long (*sysv_next_syscall)(long, ...);
long sysv_pass(long n, ...);
long sysv_failed(long r);
long sysv_by_number(long n, long a, long b, long c, long d, long e, long f);

/* As the program's: without __real_ the linker takes them for our own work, see own.c. */
int __real_munmap(void *addr, size_t length);
void *__real_mremap(void *addr, size_t old, size_t size, int flags, ...);
void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t at);

const unsigned char sysv_numbers[NUMBERS] __attribute__((visibility("hidden"))) = {
	[SYS_shmget] = 1, [SYS_shmat] = 1, [SYS_shmctl] = 1, [SYS_shmdt] = 1,
	[SYS_semget] = 1, [SYS_semop] = 1, [SYS_semctl] = 1, [SYS_semtimedop] = 1,
	[SYS_msgget] = 1, [SYS_msgsnd] = 1, [SYS_msgrcv] = 1, [SYS_msgctl] = 1,
	[SYS_munmap] = 1, [SYS_mremap] = 1, [SYS_mprotect] = 1, [SYS_mmap] = 1,
	[SYS_setuid] = 1, [SYS_setgid] = 1, [SYS_setreuid] = 1, [SYS_setregid] = 1, [SYS_setgroups] = 1,
	[SYS_setresuid] = 1, [SYS_setresgid] = 1, [SYS_capset] = 1, [SYS_unshare] = 1,
	[SYS_rt_sigaction] = 1, [SYS_mlockall] = 1,
};

long (*sysv_next_syscall)(long, ...) __attribute__((visibility("hidden"))) = sysv_pass;

__asm__(".pushsection .text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	cmpq $512, %rdi\n"
	"	jae 1f\n"
	"	leaq sysv_numbers(%rip), %rax\n"
	"	cmpb $0, (%rax, %rdi)\n"
	"	jne sysv_by_number\n" /* the same arguments: the seventh is on the stack */
	"1:	jmp *sysv_next_syscall(%rip)\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n"
	/* Before the next one is known. */
	".hidden sysv_pass\n"
	".globl sysv_pass\n"
	".type sysv_pass, @function\n"
	"sysv_pass:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsi\n"
	"	movq %rcx, %rdx\n"
	"	movq %r8, %r10\n"
	"	movq %r9, %r8\n"
	"	movq 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jae 2f\n"
	"	ret\n"
	"2:	movq %rax, %rdi\n"
	"	jmp sysv_failed\n"
	"	.cfi_endproc\n"
	".size sysv_pass, . - sysv_pass\n"
	".popsection\n");

__attribute__((visibility("hidden"))) long sysv_failed(long r)
{
	return raw_result(r);
}

__attribute__((constructor)) static void find_next(void)
{
	sysv_next(&sysv_next_syscall, "syscall");
}

/* The call changes this thread's ids only; what it may do afterwards is asked for anew. */
static long ids(long n, long a, long b, long c)
{
	long r = sysv_next_syscall(n, a, b, c);

	ipc_credentials_changed();
	return r;
}

static long shm_call(long n, long a, long b, long c)
{
	switch (n) {
	case SYS_shmget:
		return shmget((key_t)a, (size_t)b, (int)c);
	case SYS_shmat:
		return (long)shmat((int)a, (const void *)b, (int)c);
	case SYS_shmdt:
		return shmdt((const void *)a);
	default:
		return shmctl((int)a, (int)b, (struct shmid_ds *)c);
	}
}

static long sem_call(long n, long a, long b, long c, long d)
{
	switch (n) {
	case SYS_semget:
		return semget((key_t)a, (int)b, (int)c);
	case SYS_semop:
		return semop((int)a, (struct sembuf *)b, (unsigned)c);
	case SYS_semtimedop:
		return semtimedop((int)a, (struct sembuf *)b, (unsigned)c, (const struct timespec *)d);
	default:
		return semctl((int)a, (int)b, (int)c, (void *)d);
	}
}

static long msg_call(long n, long a, long b, long c, long d, long e)
{
	switch (n) {
	case SYS_msgget:
		return msgget((key_t)a, (int)b);
	case SYS_msgsnd:
		return msgsnd((int)a, (const void *)b, (size_t)c, (int)d);
	case SYS_msgrcv:
		return msgrcv((int)a, (void *)b, (size_t)c, d, (int)e);
	default:
		return msgctl((int)a, (int)b, (struct msqid_ds *)c);
	}
}

__attribute__((visibility("hidden"))) long sysv_by_number(long n, long a, long b, long c, long d, long e, long f)
{
	switch (n) {
	case SYS_shmget: case SYS_shmat: case SYS_shmdt: case SYS_shmctl:
		return shm_call(n, a, b, c);
	case SYS_semget: case SYS_semop: case SYS_semtimedop: case SYS_semctl:
		return sem_call(n, a, b, c, d);
	case SYS_msgget: case SYS_msgsnd: case SYS_msgrcv: case SYS_msgctl:
		return msg_call(n, a, b, c, d, e);
	case SYS_munmap:
		return __real_munmap((void *)a, (size_t)b);
	case SYS_mremap:
		return (long)__real_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_mprotect:
		return mprotect((void *)a, (size_t)b, (int)c);
	case SYS_mlockall:
		return mlockall((int)a);
	case SYS_mmap:
		return (long)__real_mmap64((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
	case SYS_rt_sigaction:
		if (b)
			handlers_unseen();
		return sysv_next_syscall(n, a, b, c, d);
	case SYS_unshare:
		return unshare((int)a);
	default:
		return ids(n, a, b, c);
	}
}
