/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of our own work, made directly. Other preloaded libraries give the program another view of files,
 * ids or time (fakeroot: who owns a file; fakechroot: where it is; faketime: when it was changed), and some of them
 * do so by System V messages. What we do with our own files must not pass through them: they would tell us a wrong
 * owner, or call us from inside our own call. The linker's --wrap brings each call of these names here, SQLite's with
 * ours; the Makefile takes the names from the lines that begin with OWN.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "raw.h"

#define OWN(name, type, params, call) \
	type __wrap_##name params;    \
	type __wrap_##name params     \
	{                             \
		return (type)(call);  \
	}

#define RAW0(n) raw_result(raw_call(n, 0, 0, 0, 0, 0, 0))
#define RAW1(n, a) raw_result(raw_call(n, (long)(a), 0, 0, 0, 0, 0))
#define RAW2(n, a, b) raw_result(raw_call(n, (long)(a), (long)(b), 0, 0, 0, 0))
#define RAW3(n, a, b, c) raw_result(raw_call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0))
#define RAW4(n, a, b, c, d) raw_result(raw_call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0))
#define RAW5(n, a, b, c, d, e) raw_result(raw_call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0))
#define RAW6(n, a, b, c, d, e, f) \
	raw_result(raw_call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))

/* ---- descriptors ---- */

/* The mode of open and the argument of fcntl: there or not, the register is; AddressSanitizer sees only what is passed. */
__attribute__((no_sanitize("address"))) static long optional(va_list ap)
{
	return va_arg(ap, long);
}

#define OWN_OPEN(at, path, flags)                              \
	va_list ap;                                            \
	va_start(ap, flags);                                   \
	long mode = (flags) & (O_CREAT | O_TMPFILE) ? optional(ap) : 0; \
	va_end(ap);                                            \
	return (int)RAW4(SYS_openat, at, path, flags, (unsigned)mode)

#define OWN_VARIADIC(name, type, params, body) \
	type __wrap_##name params;             \
	type __wrap_##name params              \
	{                                      \
		body;                          \
	}

OWN_VARIADIC(open, int, (const char *path, int flags, ...), OWN_OPEN(AT_FDCWD, path, flags))
OWN_VARIADIC(open64, int, (const char *path, int flags, ...), OWN_OPEN(AT_FDCWD, path, flags))
OWN_VARIADIC(openat, int, (int at, const char *path, int flags, ...), OWN_OPEN(at, path, flags))
OWN_VARIADIC(openat64, int, (int at, const char *path, int flags, ...), OWN_OPEN(at, path, flags))
OWN(__open_2, int, (const char *path, int flags), RAW4(SYS_openat, AT_FDCWD, path, flags, 0))
OWN(__open64_2, int, (const char *path, int flags), RAW4(SYS_openat, AT_FDCWD, path, flags, 0))
OWN(__openat_2, int, (int at, const char *path, int flags), RAW4(SYS_openat, at, path, flags, 0))
OWN(__openat64_2, int, (int at, const char *path, int flags), RAW4(SYS_openat, at, path, flags, 0))
OWN(close, int, (int fd), RAW1(SYS_close, fd))
OWN(dup, int, (int fd), RAW1(SYS_dup, fd))
OWN(lseek, off_t, (int fd, off_t at, int from), RAW3(SYS_lseek, fd, at, from))
OWN(lseek64, off_t, (int fd, off_t at, int from), RAW3(SYS_lseek, fd, at, from))
OWN(flock, int, (int fd, int how), RAW2(SYS_flock, fd, how))

#define OWN_FCNTL                                      \
	va_list ap;                                    \
	va_start(ap, cmd);                             \
	long arg = optional(ap);                       \
	va_end(ap);                                    \
	return (int)RAW3(SYS_fcntl, fd, cmd, arg)

OWN_VARIADIC(fcntl, int, (int fd, int cmd, ...), OWN_FCNTL)
OWN_VARIADIC(fcntl64, int, (int fd, int cmd, ...), OWN_FCNTL)

/* ---- contents ---- */

OWN(read, ssize_t, (int fd, void *p, size_t n), RAW3(SYS_read, fd, p, n))
OWN(write, ssize_t, (int fd, const void *p, size_t n), RAW3(SYS_write, fd, p, n))
OWN(pread, ssize_t, (int fd, void *p, size_t n, off_t at), RAW4(SYS_pread64, fd, p, n, at))
OWN(pread64, ssize_t, (int fd, void *p, size_t n, off_t at), RAW4(SYS_pread64, fd, p, n, at))
OWN(pwrite, ssize_t, (int fd, const void *p, size_t n, off_t at), RAW4(SYS_pwrite64, fd, p, n, at))
OWN(pwrite64, ssize_t, (int fd, const void *p, size_t n, off_t at), RAW4(SYS_pwrite64, fd, p, n, at))
OWN(__read_chk, ssize_t, (int fd, void *p, size_t n, size_t room), RAW3(SYS_read, fd, p, n < room ? n : room))
OWN(ftruncate, int, (int fd, off_t size), RAW2(SYS_ftruncate, fd, size))
OWN(ftruncate64, int, (int fd, off_t size), RAW2(SYS_ftruncate, fd, size))
OWN(fallocate, int, (int fd, int mode, off_t at, off_t size), RAW4(SYS_fallocate, fd, mode, at, size))
OWN(fallocate64, int, (int fd, int mode, off_t at, off_t size), RAW4(SYS_fallocate, fd, mode, at, size))
OWN(fdatasync, int, (int fd), RAW1(SYS_fdatasync, fd))
OWN(fsync, int, (int fd), RAW1(SYS_fsync, fd))

/* ---- names and attributes ---- */

OWN(stat, int, (const char *path, struct stat *st), RAW2(SYS_stat, path, st))
OWN(stat64, int, (const char *path, struct stat *st), RAW2(SYS_stat, path, st))
OWN(lstat, int, (const char *path, struct stat *st), RAW2(SYS_lstat, path, st))
OWN(lstat64, int, (const char *path, struct stat *st), RAW2(SYS_lstat, path, st))
OWN(fstat, int, (int fd, struct stat *st), RAW2(SYS_fstat, fd, st))
OWN(fstat64, int, (int fd, struct stat *st), RAW2(SYS_fstat, fd, st))
OWN(fstatat, int, (int at, const char *path, struct stat *st, int flags), RAW4(SYS_newfstatat, at, path, st, flags))
OWN(fstatat64, int, (int at, const char *path, struct stat *st, int flags), RAW4(SYS_newfstatat, at, path, st, flags))
OWN(access, int, (const char *path, int how), RAW2(SYS_access, path, how))
OWN(chmod, int, (const char *path, mode_t mode), RAW2(SYS_chmod, path, mode))
OWN(fchmod, int, (int fd, mode_t mode), RAW2(SYS_fchmod, fd, mode))
OWN(fchown, int, (int fd, uid_t uid, gid_t gid), RAW3(SYS_fchown, fd, uid, gid))
OWN(unlink, int, (const char *path), RAW1(SYS_unlink, path))
OWN(unlinkat, int, (int at, const char *path, int flags), RAW3(SYS_unlinkat, at, path, flags))
OWN(rename, int, (const char *from, const char *to), RAW2(SYS_rename, from, to))
OWN(mkdir, int, (const char *path, mode_t mode), RAW2(SYS_mkdir, path, mode))
OWN(rmdir, int, (const char *path), RAW1(SYS_rmdir, path))
OWN(readlink, ssize_t, (const char *path, char *out, size_t size), RAW3(SYS_readlink, path, out, size))
OWN(utime, int, (const char *path, const struct utimbuf *t), RAW2(SYS_utime, path, t))

static int own_statvfs(const char *path, struct statvfs *out)
{
	struct statfs fs;

	if (RAW2(SYS_statfs, path, &fs))
		return -1;
	memset(out, 0, sizeof *out);
	out->f_bsize = (unsigned long)fs.f_bsize;
	out->f_frsize = (unsigned long)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
	out->f_blocks = fs.f_blocks;
	out->f_bfree = fs.f_bfree;
	out->f_bavail = fs.f_bavail;
	out->f_files = fs.f_files;
	out->f_ffree = fs.f_ffree;
	out->f_favail = fs.f_ffree;
	out->f_namemax = (unsigned long)fs.f_namelen;
	out->f_flag = (unsigned long)fs.f_flags;
	return 0;
}

OWN(statvfs, int, (const char *path, struct statvfs *out), own_statvfs(path, out))
OWN(statvfs64, int, (const char *path, struct statvfs *out), own_statvfs(path, out))

static char *own_getcwd(char *out, size_t size)
{
	return RAW2(SYS_getcwd, out, size) < 0 ? NULL : out;
}

OWN(getcwd, char *, (char *out, size_t size), own_getcwd(out, size))

static DIR *own_opendir(const char *path)
{
	int fd = (int)RAW4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		RAW1(SYS_close, fd);
	return d;
}

OWN(opendir, DIR *, (const char *path), own_opendir(path))

/* The kernel knows the name of what is open. */
static char *own_realpath(const char *path, char *out)
{
	int fd = (int)RAW4(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	char proc[40];
	long n;

	if (fd < 0)
		return NULL;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	n = RAW3(SYS_readlink, proc, out, PATH_MAX - 1);
	RAW1(SYS_close, fd);
	if (n < 0)
		return NULL;
	out[n] = 0;
	return out;
}

OWN(realpath, char *, (const char *path, char *out), own_realpath(path, out))
OWN(__realpath_chk, char *, (const char *path, char *out, size_t room),
    room < PATH_MAX ? NULL : own_realpath(path, out))

static char *own_mkdtemp(char *path)
{
	static const char letter[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	char *x = path + strlen(path) - 6;
	unsigned char random[6];

	for (int tries = 0; tries < 100; tries++) {
		if (RAW3(SYS_getrandom, random, sizeof random, 0) != sizeof random)
			return NULL;
		for (int i = 0; i < 6; i++)
			x[i] = letter[random[i] % (sizeof letter - 1)];
		if (!RAW2(SYS_mkdir, path, 0700))
			return path;
		if (errno != EEXIST)
			return NULL;
	}
	return NULL;
}

OWN(mkdtemp, char *, (char *path), own_mkdtemp(path))

/* ---- memory ---- */

OWN(mmap, void *, (void *p, size_t n, int prot, int flags, int fd, off_t at), RAW6(SYS_mmap, p, n, prot, flags, fd, at))
OWN(mmap64, void *, (void *p, size_t n, int prot, int flags, int fd, off_t at),
    RAW6(SYS_mmap, p, n, prot, flags, fd, at))
OWN(munmap, int, (void *p, size_t n), RAW2(SYS_munmap, p, n))
OWN(madvise, int, (void *p, size_t n, int advice), RAW3(SYS_madvise, p, n, advice))
OWN(mlock2, int, (const void *p, size_t n, unsigned flags), RAW3(SYS_mlock2, p, n, flags))
OWN(munlock, int, (const void *p, size_t n), RAW2(SYS_munlock, p, n))

static void *own_mremap(void *p, size_t old, size_t size, int flags, void *to)
{
	return (void *)RAW5(SYS_mremap, p, old, size, flags, to);
}

OWN_VARIADIC(mremap, void *, (void *p, size_t old, size_t size, int flags, ...),
	     return own_mremap(p, old, size, flags, NULL))

/* ---- who and when ---- */

OWN(getuid, uid_t, (void), RAW0(SYS_getuid))
OWN(geteuid, uid_t, (void), RAW0(SYS_geteuid))
OWN(getgid, gid_t, (void), RAW0(SYS_getgid))
OWN(getegid, gid_t, (void), RAW0(SYS_getegid))
OWN(getgroups, int, (int n, gid_t *list), RAW2(SYS_getgroups, n, list))
OWN(__getgroups_chk, int, (int n, gid_t *list, size_t room),
    RAW2(SYS_getgroups, room / sizeof *list < (size_t)n ? 0 : n, list))
OWN(getpid, pid_t, (void), RAW0(SYS_getpid))
OWN(kill, int, (pid_t pid, int sig), RAW2(SYS_kill, pid, sig))
OWN(nanosleep, int, (const struct timespec *t, struct timespec *left), RAW2(SYS_nanosleep, t, left))

/* libc's own, which ask the kernel's shared page: they are asked at each semop. */
typedef int clock_fn(clockid_t, struct timespec *);
typedef time_t time_fn(time_t *);

static int clock_kernel(clockid_t clock, struct timespec *t)
{
	return (int)RAW2(SYS_clock_gettime, clock, t);
}

static time_t time_kernel(time_t *t)
{
	return (time_t)RAW1(SYS_time, t);
}

static clock_fn *own_clock = clock_kernel;
static time_fn *own_time = time_kernel;

__attribute__((constructor)) static void find_clocks(void)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	void *c = libc ? dlsym(libc, "clock_gettime") : NULL, *t = libc ? dlsym(libc, "time") : NULL;

	if (c)
		own_clock = (clock_fn *)(uintptr_t)c;
	if (t)
		own_time = (time_fn *)(uintptr_t)t;
	if (libc)
		dlclose(libc);
}

OWN(clock_gettime, int, (clockid_t clock, struct timespec *t), own_clock(clock, t))
OWN(time, time_t, (time_t *t), own_time(t))

/* ---- any other ---- */

#define OWN_SYSCALL                                                          \
	long a[6];                                                           \
	va_list ap;                                                          \
	va_start(ap, n);                                                     \
	for (int i = 0; i < 6; i++)                                          \
		a[i] = optional(ap);                                         \
	va_end(ap);                                                          \
	return raw_result(raw_call(n, a[0], a[1], a[2], a[3], a[4], a[5]))

OWN_VARIADIC(syscall, long, (long n, ...), OWN_SYSCALL)
