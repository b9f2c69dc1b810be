/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /proc/sysvipc and the limits in /proc/sys/kernel, as the namespace has them: the calls that open and test files.
 *
 * Each call is made first, as the program made it, by libc or the library that comes next, so that cancellation, errno
 * and bad pointers are theirs. Only a path that the kernel could read is looked at, and only its last component, unless
 * that is one of ours. A descriptor or stream that the kernel gave keeps its number or address: ours is put in its
 * place. Where the kernel has no such file, or would not let this user write to it, ours stands in for it.
 */
#undef _FORTIFY_SOURCE /* it would define some of these names inline */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sysv_limit.h"
#include "sysv_proc.h"

/* ---- the names next in line ---- */

#define NAMES(X)                                                                                    \
	X(open) X(open64) X(openat) X(openat64) X(creat) X(creat64)                                 \
	X(__open_2) X(__open64_2) X(__openat_2) X(__openat64_2)                                     \
	X(fopen) X(fopen64) X(freopen) X(freopen64)                                                 \
	X(access) X(faccessat) X(eaccess) X(euidaccess)                                             \
	X(stat) X(stat64) X(lstat) X(lstat64) X(fstatat) X(fstatat64) X(statx)                      \
	X(write) X(fflush) X(fclose) X(dup2) X(dup3)

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

#define DECLARE(name) static __typeof__(name) *next_##name;
NAMES(DECLARE)
#undef DECLARE

static const struct { const char *name; void *next; } names[] = {
#define ENTRY(name) { #name, &next_##name },
	NAMES(ENTRY)
#undef ENTRY
};

/* By our constructor, or by a call from one that ran before. */
static __attribute__((constructor)) __attribute__((noinline)) void find_next(void)
{
	int saved = errno;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		__atomic_store_n((void **)names[i].next, dlsym(RTLD_NEXT, names[i].name), __ATOMIC_RELAXED);
	errno = saved;
}

#define NEXT(name) (__builtin_expect(next_##name != NULL, 1) ? next_##name : (find_next(), next_##name))

/* ---- opening ---- */

/* Not by the names: another library may tell the program that it is somebody else. */
static uid_t real_uid(void)
{
	return (uid_t)syscall(SYS_getuid);
}

static uid_t effective_uid(void)
{
	return (uid_t)syscall(SYS_geteuid);
}

/* After these answers a file of ours may be there all the same. */
static inline bool may_stand_in(int error)
{
	return error == ENOENT || error == EACCES || error == EPERM || error == EROFS;
}

/* Our descriptor for the file, close-on-exec; or -errno. Without a namespace there is no System V IPC. */
static int serve(const struct proc_file *f, int flags)
{
	struct ipc_ns *ns = sysv_namespace();
	int e = ns ? proc_file_allowed(ns, f, effective_uid(), flags) : -ENOENT;

	if (e)
		return e;
	if ((flags & O_ACCMODE) == O_RDONLY || f->what == PROC_TABLE) {
		limit_settle();
		return proc_open_text(ns, f, flags);
	}
	return limit_open(ns, f, flags);
}

/* Ours in the place of the kernel's, which goes. */
static int replace(int theirs, int ours, int cloexec)
{
	int r = (int)syscall(SYS_dup3, ours, theirs, cloexec);

	syscall(SYS_close, ours);
	return r;
}

static __attribute__((noinline)) int open_ours(const struct proc_file *f, int flags, int theirs)
{
	int saved = errno, ours;

	if (flags & O_PATH)
		return theirs;
	ours = serve(f, flags);
	if (ours < 0) {
		if (theirs >= 0)
			syscall(SYS_close, theirs);
		errno = -ours;
		return -1;
	}
	if (theirs >= 0)
		ours = replace(theirs, ours, flags & O_CLOEXEC);
	else if (!(flags & O_CLOEXEC))
		syscall(SYS_fcntl, ours, F_SETFD, 0);
	errno = saved;
	return ours;
}

static inline int opened(int dirfd, const char *path, int flags, int theirs)
{
	const struct proc_file *f;

	if (theirs < 0 && !may_stand_in(errno))
		return theirs;
	f = proc_file_at(dirfd, path);
	return __builtin_expect(f != NULL, 0) ? open_ours(f, flags, theirs) : theirs;
}

#define TAKES_MODE(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)
#define OPENS(fn, dirfd, params, ...)                          \
	int fn params                                          \
	{                                                      \
		mode_t mode = 0;                               \
		va_list ap;                                    \
                                                               \
		if (TAKES_MODE(flags)) {                       \
			va_start(ap, flags);                   \
			mode = va_arg(ap, mode_t);             \
			va_end(ap);                            \
		}                                              \
		return opened(dirfd, path, flags, NEXT(fn)(__VA_ARGS__, mode)); \
	}

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(openat, dirfd, (int dirfd, const char *path, int flags, ...), dirfd, path, flags)
OPENS(openat64, dirfd, (int dirfd, const char *path, int flags, ...), dirfd, path, flags)

int __open_2(const char *path, int flags)
{
	return opened(AT_FDCWD, path, flags, NEXT(__open_2)(path, flags));
}

int __open64_2(const char *path, int flags)
{
	return opened(AT_FDCWD, path, flags, NEXT(__open64_2)(path, flags));
}

int __openat_2(int dirfd, const char *path, int flags)
{
	return opened(dirfd, path, flags, NEXT(__openat_2)(dirfd, path, flags));
}

int __openat64_2(int dirfd, const char *path, int flags)
{
	return opened(dirfd, path, flags, NEXT(__openat64_2)(dirfd, path, flags));
}

int creat(const char *path, mode_t mode)
{
	return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, NEXT(creat)(path, mode));
}

int creat64(const char *path, mode_t mode)
{
	return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, NEXT(creat64)(path, mode));
}

/* ---- streams ---- */

static int mode_flags(const char *mode)
{
	int flags = strchr(mode, 'e') ? O_CLOEXEC : 0;

	if (strchr(mode, '+'))
		return flags | O_RDWR;
	return flags | (*mode == 'r' ? O_RDONLY : O_WRONLY);
}

/* A new stream has nothing buffered: only its descriptor changes. */
static __attribute__((noinline)) FILE *stream_ours(const struct proc_file *f, const char *mode, FILE *theirs)
{
	int flags = mode_flags(mode), saved = errno, fd = serve(f, flags), e = fd < 0 ? -fd : saved;

	if (fd >= 0 && !theirs) {
		theirs = NEXT(fopen)("/dev/null", mode);
		e = theirs ? saved : errno;
	}
	if (theirs && fd >= 0) {
		replace(theirs->_fileno, fd, flags & O_CLOEXEC);
	} else if (theirs) {
		NEXT(fclose)(theirs);
		theirs = NULL;
	} else if (fd >= 0) {
		syscall(SYS_close, fd);
	}
	errno = e;
	return theirs;
}

static inline FILE *fopened(const char *path, const char *mode, FILE *theirs)
{
	const struct proc_file *f;

	if (!theirs && !may_stand_in(errno))
		return theirs;
	f = proc_file_at(AT_FDCWD, path);
	return __builtin_expect(f != NULL, 0) ? stream_ours(f, mode, theirs) : theirs;
}

FILE *fopen(const char *path, const char *mode)
{
	return fopened(path, mode, NEXT(fopen)(path, mode));
}

FILE *fopen64(const char *path, const char *mode)
{
	return fopened(path, mode, NEXT(fopen64)(path, mode));
}

/* Of a kernel that has no such file nothing is left to put ours into: the stream is closed. */
static FILE *reopened(const char *path, const char *mode, FILE *theirs)
{
	const struct proc_file *f = theirs && path ? proc_file_at(AT_FDCWD, path) : NULL;

	return f ? stream_ours(f, mode, theirs) : theirs;
}

FILE *freopen(const char *path, const char *mode, FILE *stream)
{
	return reopened(path, mode, NEXT(freopen)(path, mode, stream));
}

FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
	return reopened(path, mode, NEXT(freopen64)(path, mode, stream));
}

/* ---- testing ---- */

static __attribute__((noinline)) int access_ours(const struct proc_file *f, int mode, uid_t uid, int theirs)
{
	struct ipc_ns *ns;
	int e = 0;

	if (mode & ~(R_OK | W_OK | X_OK))
		return theirs;
	ns = sysv_namespace();
	if (!ns)
		e = -ENOENT;
	else if (mode & X_OK)
		e = -EACCES;
	else if (mode & W_OK)
		e = proc_file_allowed(ns, f, uid, O_WRONLY);
	if (e)
		errno = -e;
	return e ? -1 : 0;
}

static inline int accessed(int dirfd, const char *path, int mode, uid_t (*uid)(void), int theirs)
{
	const struct proc_file *f;

	if (theirs && !may_stand_in(errno))
		return theirs;
	f = proc_file_at(dirfd, path);
	return __builtin_expect(f != NULL, 0) ? access_ours(f, mode, uid(), theirs) : theirs;
}

int access(const char *path, int mode)
{
	return accessed(AT_FDCWD, path, mode, real_uid, NEXT(access)(path, mode));
}

int eaccess(const char *path, int mode)
{
	return accessed(AT_FDCWD, path, mode, effective_uid, NEXT(eaccess)(path, mode));
}

int euidaccess(const char *path, int mode)
{
	return accessed(AT_FDCWD, path, mode, effective_uid, NEXT(euidaccess)(path, mode));
}

int faccessat(int dirfd, const char *path, int mode, int flags)
{
	return accessed(dirfd, path, mode, flags & AT_EACCESS ? effective_uid : real_uid,
			NEXT(faccessat)(dirfd, path, mode, flags));
}

/* Only where the kernel has no such file: its own say what ours would. */
static const struct proc_file *missing(int dirfd, const char *path, int theirs)
{
	const struct proc_file *f = theirs && errno == ENOENT ? proc_file_at(dirfd, path) : NULL;

	return f && sysv_namespace() ? f : NULL;
}

#define STATS(fn, type, dirfd, params, ...)                                          \
	int fn params                                                                \
	{                                                                            \
		int r = NEXT(fn)(__VA_ARGS__);                                       \
		const struct proc_file *f = missing(dirfd, path, r);                 \
                                                                                     \
		if (__builtin_expect(!f, 1))                                         \
			return r;                                                    \
		memset(st, 0, sizeof *st);                                           \
		st->type##mode = S_IFREG | (f->max < 0 ? 0444 : 0644);               \
		st->type##nlink = 1;                                                 \
		st->type##uid = f->max < 0 ? 0 : sysv_namespace()->owner;            \
		st->type##blksize = 1024;                                            \
		STATX_MASK(type)                                                     \
		return 0;                                                            \
	}
#define STATX_MASK(type) STATX_MASK_##type
#define STATX_MASK_st_
#define STATX_MASK_stx_ st->stx_mask = STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_UID | STATX_GID | STATX_SIZE;

STATS(stat, st_, AT_FDCWD, (const char *restrict path, struct stat *restrict st), path, st)
STATS(stat64, st_, AT_FDCWD, (const char *restrict path, struct stat64 *restrict st), path, st)
STATS(lstat, st_, AT_FDCWD, (const char *restrict path, struct stat *restrict st), path, st)
STATS(lstat64, st_, AT_FDCWD, (const char *restrict path, struct stat64 *restrict st), path, st)
STATS(fstatat, st_, dirfd, (int dirfd, const char *restrict path, struct stat *restrict st, int flags),
      dirfd, path, st, flags)
STATS(fstatat64, st_, dirfd, (int dirfd, const char *restrict path, struct stat64 *restrict st, int flags),
      dirfd, path, st, flags)
STATS(statx, stx_, dirfd,
      (int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st),
      dirfd, path, flags, mask, st)

/* ---- writing ---- */

static inline bool limits_written(void)
{
	return __builtin_expect(atomic_load_explicit(&limit_writers, memory_order_relaxed), 0);
}

ssize_t write(int fd, const void *buf, size_t size)
{
	ssize_t result;

	if (limits_written() && limit_written(fd, buf, size, &result))
		return result;
	return NEXT(write)(fd, buf, size);
}

int fflush(FILE *stream)
{
	void *w = stream && limits_written() ? limit_stream(stream) : NULL;
	int r = NEXT(fflush)(stream);

	if (w && limit_flushed(w, r) && !r) {
		stream->_flags |= _IO_ERR_SEEN; /* ferror() is what shells ask */
		r = EOF;
	}
	return r;
}

int fclose(FILE *stream)
{
	void *w = limits_written() ? limit_stream(stream) : NULL;
	int r = NEXT(fclose)(stream);

	return w ? limit_flushed(w, r) : r;
}

int dup2(int from, int to)
{
	if (limits_written())
		limit_settle();
	return NEXT(dup2)(from, to);
}

int dup3(int from, int to, int flags)
{
	if (limits_written())
		limit_settle();
	return NEXT(dup3)(from, to, flags);
}
