/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing to the limits of /proc/sys/kernel: it sets the namespace's.
 *
 * write(2) sets them at once. What libc's stdio writes passes nobody: so the descriptor is a memfd, whose page stays
 * mapped here, and what is found there is set when the stream is flushed or closed (which gives the error, as it would
 * with the kernel), and at the latest when the descriptor is replaced by dup2, at the next look at a limit, or at the
 * program's end. A program that is started with such a memfd as its standard output knows it by its name. As in the
 * kernel, what counts is what is written at offset 0.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"
#include "libipc.h"
#include "sysv_limit.h"
#include "sysv_proc.h"

#define MEMFD_PREFIX "ipcd:/proc/sys/kernel/"
#define WRITERS 8
#define DONE (PROC_TEXT - 8) /* where in the page it says that its text has been set */

/* ---- numbers ---- */

ssize_t limit_text(struct ipc_ns *ns, const struct proc_file *f, char text[PROC_TEXT])
{
	unsigned long long value;
	ssize_t n = 0;

	if (f->what == PROC_CONSTANT)
		return snprintf(text, PROC_TEXT, "%d\n", f->first);
	for (int i = 0; i < f->count; i++) {
		if (ipc_limit_get(ns, limit_info[f->limit[i]].name, &value)) /* this may be the first call */
			return -errno;
		n += snprintf(text + n, PROC_TEXT - (size_t)n, "%llu%c", value, i == f->count - 1 ? '\n' : '\t');
	}
	return n;
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && isspace((unsigned char)*p))
		p++;
	return p;
}

/* The next number, as strtoull reads it with base 0; white space or the end follows. 0, -EINVAL, or 1 at the end. */
static int next_number(const char **at, const char *end, unsigned long long *value)
{
	const char *p = skip_space(*at, end);
	char *stop;
	int saved = errno, overflow;

	if (p == end)
		return 1;
	if (!isdigit((unsigned char)*p)) /* no limit is negative */
		return -EINVAL;
	errno = 0;
	*value = strtoull(p, &stop, 0);
	overflow = errno;
	errno = saved;
	if (overflow || (stop < end && !isspace((unsigned char)*stop)))
		return -EINVAL;
	*at = stop;
	return 0;
}

static int set_one(struct ipc_ns *ns, const struct proc_file *f, int i, unsigned long long value)
{
	enum limit l = f->limit[i];
	int saved = errno, e = 0;

	if (f->what == PROC_CONSTANT)
		return f->max >= 0 && value <= (unsigned)f->max ? 0 : -EINVAL;
	if (l == LIM_SEMMNI && value > limit_info[l].max)
		return value > INT_MAX ? -EINVAL : -ERANGE;
	if (ipc_limit_set(ns, limit_info[l].name, value))
		e = -errno;
	errno = saved;
	return e;
}

ssize_t limit_write(struct ipc_ns *ns, const struct proc_file *f, const char *text, size_t length)
{
	char copy[PROC_TEXT];
	const char *at = copy, *end;
	unsigned long long value;

	if (length > sizeof copy - 1)
		length = sizeof copy - 1;
	memcpy(copy, text, length);
	copy[length] = 0;
	end = copy + length;
	for (int i = 0; i < f->count && length; i++) {
		int e = next_number(&at, end, &value);

		if (e > 0)
			return i ? (ssize_t)length : -EINVAL;
		if (!e)
			e = set_one(ns, f, i, value);
		if (e)
			return e;
	}
	return skip_space(at, end) - copy;
}

/* ---- descriptors whose writing is looked for ---- */

static struct writer {
	_Atomic(char *) page; /* of the memfd; once there is one, something is always mapped there */
	const struct proc_file *file;
	dev_t dev;
	ino_t ino;
	char before[128]; /* text that it was given */
} writers[WRITERS];

_Atomic int limit_writers;

static _Atomic uint32_t *done_word(char *page)
{
	return (_Atomic uint32_t *)(void *)(page + DONE);
}

/* What its page says, if that is new. Forked processes share the page: one of them sets it. */
static int settle(struct ipc_ns *ns, struct writer *w, char text[PROC_TEXT])
{
	char *page = atomic_load(&w->page);
	ssize_t n;

	if (!page || !page[0] || !strncmp(page, w->before, sizeof w->before) || atomic_exchange(done_word(page), 1))
		return 0;
	memcpy(text, page, DONE);
	n = (ssize_t)(w->before[0] ? strcspn(text, "\n") : strnlen(text, DONE));
	text[n] = 0;
	n = limit_write(ns, w->file, text, (size_t)n);
	return n < 0 ? (int)n : 0;
}

static void complain(const struct proc_file *f, char *text, int error)
{
	text[strcspn(text, "\n")] = 0;
	dprintf(STDERR_FILENO, "libipc-sysv: %s%s: '%.60s' is refused: %s\n", f->dir, f->name, text, strerror(-error));
}

void limit_settle(void)
{
	struct ipc_ns *ns = atomic_load(&limit_writers) ? sysv_namespace() : NULL;
	char text[PROC_TEXT];
	int saved = errno;

	for (int i = 0; ns && i < WRITERS; i++) {
		int e = settle(ns, &writers[i], text);

		if (e)
			complain(writers[i].file, text, e);
	}
	errno = saved;
}

static int watch(const struct proc_file *f, int fd, const char *before, size_t length)
{
	static _Atomic unsigned turn;
	struct writer *w = &writers[atomic_fetch_add(&turn, 1) % WRITERS];
	char *old = atomic_load(&w->page), *page;
	struct stat st;

	if (syscall(SYS_fstat, fd, &st))
		return -errno;
	page = (char *)syscall(SYS_mmap, old, (size_t)PROC_TEXT, PROT_READ | PROT_WRITE,
			       MAP_SHARED | (old ? MAP_FIXED : 0), fd, 0L);
	if (page == MAP_FAILED)
		return -errno;
	w->file = f;
	w->dev = st.st_dev;
	w->ino = st.st_ino;
	memset(w->before, 0, sizeof w->before);
	memcpy(w->before, before, length);
	atomic_store(&w->page, page);
	atomic_store(&limit_writers, 1);
	return 0;
}

int limit_open(struct ipc_ns *ns, const struct proc_file *f, int flags)
{
	char name[64], text[PROC_TEXT];
	ssize_t n = (flags & O_ACCMODE) == O_RDWR ? limit_text(ns, f, text) : 0;
	int fd, e;

	if (n < 0)
		return (int)n;
	limit_settle();
	snprintf(name, sizeof name, MEMFD_PREFIX "%s", f->name);
	fd = proc_memfd(name);
	if (fd < 0)
		return fd;
	/* The page must have memory, and keep it; but a reader finds the end after the text. */
	e = n ? proc_write_all(fd, text, (size_t)n) : (int)syscall(SYS_ftruncate, fd, (off_t)PROC_TEXT);
	if (!e)
		e = watch(f, fd, text, (size_t)n);
	if (e) {
		syscall(SYS_close, fd);
		return e;
	}
	syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
	syscall(SYS_lseek, fd, 0L, SEEK_SET);
	return fd;
}

/* It may have been duplicated, or inherited. */
static struct writer *writer_of(int fd)
{
	struct stat st;

	if (syscall(SYS_fstat, fd, &st))
		return NULL;
	for (int i = 0; i < WRITERS; i++)
		if (atomic_load(&writers[i].page) && writers[i].ino == st.st_ino && writers[i].dev == st.st_dev)
			return &writers[i];
	return NULL;
}

/* The kernel takes numbers at offset 0, and swallows what is written elsewhere. */
bool limit_written(int fd, const void *buf, size_t length, ssize_t *result)
{
	int saved = errno;
	struct writer *w = writer_of(fd);
	struct ipc_ns *ns = w ? sysv_namespace() : NULL;
	ssize_t n = (ssize_t)length;

	if (ns) {
		if (call_bad_pointer(buf, length))
			n = length ? -EFAULT : 0;
		else if (syscall(SYS_lseek, fd, 0L, SEEK_CUR) == 0)
			n = limit_write(ns, w->file, buf, length);
		if (n > 0)
			syscall(SYS_lseek, fd, n, SEEK_CUR);
		*result = n < 0 ? -1 : n;
	}
	errno = n < 0 ? (int)-n : saved;
	return ns != NULL;
}

void *limit_stream(FILE *stream)
{
	int saved = errno;
	void *w = stream->_fileno < 0 ? NULL : writer_of(stream->_fileno);

	errno = saved;
	return w;
}

int limit_flushed(void *writer, int result)
{
	struct ipc_ns *ns = writer ? sysv_namespace() : NULL;
	char text[PROC_TEXT];
	int saved = errno, e = ns ? settle(ns, writer, text) : 0;

	errno = e ? -e : saved;
	return e ? EOF : result;
}

/* Started with its output going to a limit. */
__attribute__((constructor)) static void adopt(void)
{
	char link[128];
	const struct proc_file *f;
	int saved = errno;
	struct stat st;
	ssize_t n;

	if (!syscall(SYS_fstat, STDOUT_FILENO, &st) && S_ISREG(st.st_mode) && !st.st_nlink) {
		n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/fd/1", link, sizeof link - 1);
		link[n > 0 ? n : 0] = 0;
		link[strcspn(link, " ")] = 0; /* " (deleted)" */
		if (!strncmp(link, "/memfd:" MEMFD_PREFIX, sizeof "/memfd:" MEMFD_PREFIX - 1)) {
			f = proc_file_at(AT_FDCWD, link + sizeof "/memfd:ipcd:" - 1);
			if (f)
				watch(f, STDOUT_FILENO, "", 0);
		}
	}
	errno = saved;
}

__attribute__((destructor)) static void at_end(void)
{
	if (!atomic_load(&limit_writers))
		return;
	fflush(NULL); /* libc does so after us, too late */
	limit_settle();
}
