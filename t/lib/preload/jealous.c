/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library to be preloaded that takes every name by which files, ids and time are asked for, as fakeroot and others
 * take some. While it is told to watch, it says which of them are called; what it is asked is answered by the kernel.
 */
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>

int jealous_watching, jealous_seen;

static long raw(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

extern int *__errno_location(void);

static long see(const char *name, long r)
{
	if (jealous_watching) {
		jealous_seen++;
		raw(SYS_write, 2, (long)"called: ", 8, 0, 0, 0);
		raw(SYS_write, 2, (long)name, (long)strlen(name), 0, 0, 0);
		raw(SYS_write, 2, (long)"\n", 1, 0, 0, 0);
	}
	if ((unsigned long)r < -4095ul)
		return r;
	*__errno_location() = (int)-r;
	return -1;
}

#define TAKE(name, number)                                              \
	long name(long a, long b, long c, long d, long e, long f);      \
	long name(long a, long b, long c, long d, long e, long f)       \
	{                                                               \
		return see(#name, raw(number, a, b, c, d, e, f));       \
	}
#define TAKE_AT(name, number)                                           \
	long name(long a, long b, long c);                              \
	long name(long a, long b, long c)                               \
	{                                                               \
		return see(#name, raw(number, -100, a, b, c, 0, 0));    \
	}

TAKE_AT(open, SYS_openat)
TAKE_AT(open64, SYS_openat)
TAKE(openat, SYS_openat)
TAKE(openat64, SYS_openat)
TAKE(close, SYS_close)
TAKE(fcntl, SYS_fcntl)
TAKE(fcntl64, SYS_fcntl)
TAKE(flock, SYS_flock)
TAKE(lseek, SYS_lseek)
TAKE(lseek64, SYS_lseek)
TAKE(read, SYS_read)
TAKE(write, SYS_write)
TAKE(pread, SYS_pread64)
TAKE(pread64, SYS_pread64)
TAKE(pwrite, SYS_pwrite64)
TAKE(pwrite64, SYS_pwrite64)
TAKE(ftruncate, SYS_ftruncate)
TAKE(ftruncate64, SYS_ftruncate)
TAKE(fallocate, SYS_fallocate)
TAKE(fallocate64, SYS_fallocate)
TAKE(fdatasync, SYS_fdatasync)
TAKE(stat, SYS_stat)
TAKE(stat64, SYS_stat)
TAKE(lstat, SYS_lstat)
TAKE(lstat64, SYS_lstat)
TAKE(fstat, SYS_fstat)
TAKE(fstat64, SYS_fstat)
TAKE(fstatat, SYS_newfstatat)
TAKE(fstatat64, SYS_newfstatat)
TAKE(statfs, SYS_statfs)
TAKE(statvfs, SYS_statfs)
TAKE(access, SYS_access)
TAKE(chmod, SYS_chmod)
TAKE(fchmod, SYS_fchmod)
TAKE(chown, SYS_chown)
TAKE(fchown, SYS_fchown)
TAKE(unlink, SYS_unlink)
TAKE(unlinkat, SYS_unlinkat)
TAKE(rename, SYS_rename)
TAKE(mkdir, SYS_mkdir)
TAKE(rmdir, SYS_rmdir)
TAKE(readlink, SYS_readlink)
TAKE(madvise, SYS_madvise)
TAKE(mlock2, SYS_mlock2)
TAKE(munlock, SYS_munlock)
TAKE(getuid, SYS_getuid)
TAKE(geteuid, SYS_geteuid)
TAKE(getgid, SYS_getgid)
TAKE(getegid, SYS_getegid)
TAKE(getgroups, SYS_getgroups)
TAKE(getpid, SYS_getpid)
TAKE(kill, SYS_kill)
TAKE(nanosleep, SYS_nanosleep)
TAKE(clock_gettime, SYS_clock_gettime)
TAKE(time, SYS_time)
TAKE(mmap, SYS_mmap)
TAKE(mmap64, SYS_mmap)
TAKE(munmap, SYS_munmap)
TAKE(mremap, SYS_mremap)
