/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ipcctl has removed: a line in the file `log` of the namespace, written with one write(2). The file lies in
 * memory as the namespace does, so at LOG_MAX it becomes log.old, and the one before is gone; who renames holds its
 * lock. A daemon's directory is the daemon's: what was removed there the system's log has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"

#define LOG_MAX (256 << 10)

static int open_log(struct ctl *c)
{
	char path[512];
	int fd;

	if (file_path(c->ns, path, sizeof path, "log"))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Is it still the file of that name, or has somebody renamed it? */
static bool current(const char *path, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void rotate(struct ctl *c, int fd)
{
	char path[512], old[512];
	struct stat st;

	if (fstat(fd, &st) || st.st_size < LOG_MAX || flock(fd, LOCK_EX))
		return;
	if (!file_path(c->ns, path, sizeof path, "log") && !file_path(c->ns, old, sizeof old, "log.old") &&
	    current(path, fd))
		rename(path, old);
}

static void who_text(char *out, size_t size)
{
	pid_t parent = getppid();

	snprintf(out, size, "%s (uid %u), ipcctl pid %d, started by %s (pid %d)", owner_name(getuid()),
		 (unsigned)getuid(), (int)getpid(), process_name(parent), (int)parent);
}

static void now_text(char *out, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	*out = 0;
	if (localtime_r(&now, &tm))
		strftime(out, size, "%Y-%m-%dT%H:%M:%S%z", &tm);
}

static void object_text(const struct row *r, char *out, size_t size)
{
	int at = snprintf(out, size, "%s %d, key 0x%08x, of %s, ", kind_name[r->kind], row_id(r), r->v[R_KEY],
			  owner_name(r->v[R_UID]));

	if (r->kind == KIND_SHM)
		snprintf(out + at, size - (size_t)at, "%llu bytes%s", (unsigned long long)row_size(r),
			 r->v[R_NATTCH] ? ", still attached" : "");
	else if (r->kind == KIND_SEM)
		snprintf(out + at, size - (size_t)at, "%u semaphores", r->v[R_SIZE]);
	else
		snprintf(out + at, size - (size_t)at, "queue");
}

__attribute__((format(printf, 1, 2))) static void to_system(const char *fmt, ...)
{
	va_list ap;

	openlog("ipcctl", LOG_PID, LOG_USER);
	va_start(ap, fmt);
	vsyslog(LOG_NOTICE, fmt, ap);
	va_end(ap);
	closelog();
}

void log_removal(struct ctl *c, const struct row *r, const char *why)
{
	char when[40], who[200], what[200], line[800];
	int n, fd;

	if (c->daemon) {
		who_text(who, sizeof who);
		object_text(r, what, sizeof what);
		to_system("removed %s, at the daemon %s: by %s: %s", what, ipc_directory(c->ns), who, why);
		return;
	}
	fd = open_log(c);
	if (fd >= 0) {
		rotate(c, fd);
		close(fd);
		fd = open_log(c);
	}
	now_text(when, sizeof when);
	who_text(who, sizeof who);
	object_text(r, what, sizeof what);
	n = snprintf(line, sizeof line, "%s removed %s: by %s: %s\n", when, what, who, why);
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		ctl_say("cannot write %s/log: %s; it would say: %.*s", ipc_directory(c->ns),
			strerror(fd < 0 ? -fd : errno), n - 1, line);
	if (fd >= 0)
		close(fd);
}

/* The log has gone with the namespace: the system's has it, and who is looking. */
void log_destroyed(const char *dir)
{
	char who[200];

	who_text(who, sizeof who);
	to_system("removed the namespace %s: by %s", dir, who);
	ctl_say("removed the namespace %s: by %s", dir, who);
}
