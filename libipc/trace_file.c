/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where traced calls are written to: standard error, or a file. See trace_line.h.
 *
 * Rules inside:
 *  - The descriptor is our own, and used only while it is the file that was opened: programs close what they do not
 *    know, and open others in its place.
 *  - One write(2) a line; what cannot be written is lost. A signal of the write itself (SIGPIPE, SIGXFSZ) never reaches
 *    the program. Nothing here is a cancellation point, takes a lock or allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace_line.h"

#define HIGH_FD 100 /* out of the way of programs that count on the lowest ones */

static char path[PATH_MAX]; /* empty: stderr */
static _Atomic uint64_t target; /* {what file it is:44, fd + 1:20} */

static uint64_t file_now(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return 0;
	return ((uint64_t)st.st_dev * 0x9e3779b97f4a7c15u ^ (uint64_t)st.st_ino * 0xff51afd7ed558ccdu) << 20 |
	       (uint32_t)(fd + 1);
}

static int target_fd(uint64_t t)
{
	return (int)(t & 0xfffff) - 1;
}

/* A descriptor of our own for the same file. */
static int out_of_the_way(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

	return high < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : high;
}

static int open_file(void)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, high;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);

	if (fd < 0)
		return -1;
	high = out_of_the_way(fd);
	if (high < 0)
		return fd;
	syscall(SYS_close, fd);
	return high;
}

/* Our descriptor was closed by the program. A file is opened again; stderr is still there, or the trace has ended. */
static uint64_t target_again(uint64_t old)
{
	uint64_t t;
	int fd;

	if (*path)
		fd = open_file();
	else
		fd = file_now(2) >> 20 == old >> 20 ? out_of_the_way(2) : -1;
	if (fd < 0)
		return 0;
	t = file_now(fd);
	if (atomic_compare_exchange_strong(&target, &old, t))
		return t;
	syscall(SYS_close, fd);
	return old; /* another thread was faster */
}

void line_write(const char *text, size_t length)
{
	static const struct timespec now;
	uint64_t t = atomic_load(&target);
	sigset_t ours, before, pending;

	if (file_now(target_fd(t)) != t)
		t = target_again(t);
	if (!t)
		return;
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigaddset(&ours, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	sigpending(&pending);
	if (syscall(SYS_write, target_fd(t), text, length) < 0 && (errno == EPIPE || errno == EFBIG)) {
		int sig = errno == EPIPE ? SIGPIPE : SIGXFSZ;

		sigemptyset(&ours);
		sigaddset(&ours, sig);
		if (!sigismember(&pending, sig))
			syscall(SYS_rt_sigtimedwait, &ours, NULL, &now, (size_t)(_NSIG / 8));
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void complain(const char *file, int error)
{
	struct line t = { .at = 0 };

	line_put(&t, "libipc-sysv: IPCD_LOG=trace: cannot open ");
	line_put(&t, file);
	line_put(&t, " (");
	line_put(&t, strerrordesc_np(error) ? strerrordesc_np(error) : "?");
	line_put(&t, "); calls are not shown\n");
	syscall(SYS_write, 2, t.text, t.at);
}

/* An absolute name, as the program may go elsewhere before the file must be opened again. */
static bool remember_path(const char *file)
{
	size_t n = 0;

	if (*file != '/') {
		if (!getcwd(path, sizeof path - 1))
			return false;
		n = strlen(path);
		path[n++] = '/';
	}
	if (n + strlen(file) >= sizeof path) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(path + n, file);
	return true;
}

bool line_open(void)
{
	const char *log = secure_getenv("IPCD_LOG");
	int saved = errno, fd;

	if (!log || strncmp(log, "trace", 5) || (log[5] && (log[5] != ':' || !log[6])))
		return false;
	if (!log[5])
		fd = out_of_the_way(2);
	else
		fd = remember_path(log + 6) ? open_file() : -1;
	if (fd >= 0) {
		atomic_store(&target, file_now(fd));
	} else if (log[5]) {
		complain(log + 6, errno);
	}
	errno = saved;
	return fd >= 0;
}
