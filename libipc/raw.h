/* SPDX-License-Identifier: BSD-2-Clause */
/* A system call without any library's function in between. */
#ifndef IPC_RAW_H
#define IPC_RAW_H

#include <errno.h>

#ifndef __x86_64__
#error "system calls are made here as on x86-64; other machines need their own raw_call"
#endif

/* The kernel's answer: -errno when it failed. */
static inline long raw_call(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

/* As libc's functions give it. */
static inline long raw_result(long r)
{
	if ((unsigned long)r < -4095ul)
		return r;
	errno = (int)-r;
	return -1;
}

#endif
