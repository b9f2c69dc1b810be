/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is in the files of sysv_proc.h: the kernel's headings and columns, byte for byte, from the namespace's rows.
 * Called from open(2), so also in signal handlers: nothing here allocates, and no call of it is a cancellation point.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libipc.h"
#include "obj_shm.h"
#include "sysv_proc.h"

#define TABLE(n, kind) { "/proc/sysvipc/", n, PROC_TABLE, kind, -1, 0, { 0 } }
#define LIMIT(n, count, ...) { "/proc/sys/kernel/", n, PROC_LIMIT, 0, 0, count, { __VA_ARGS__ } }
#define CONSTANT(n, value, max) { "/proc/sys/kernel/", n, PROC_CONSTANT, value, max, 1, { 0 } }

static const struct proc_file files[] = {
	TABLE("shm", KIND_SHM),
	TABLE("sem", KIND_SEM),
	TABLE("msg", KIND_MSG),
	LIMIT("shmmax", 1, LIM_SHMMAX),
	LIMIT("shmall", 1, LIM_SHMALL),
	LIMIT("shmmni", 1, LIM_SHMMNI),
	LIMIT("sem", 4, LIM_SEMMSL, LIM_SEMMNS, LIM_SEMOPM, LIM_SEMMNI),
	LIMIT("msgmax", 1, LIM_MSGMAX),
	LIMIT("msgmnb", 1, LIM_MSGMNB),
	LIMIT("msgmni", 1, LIM_MSGMNI),
	CONSTANT("auto_msgmni", 0, 1),     /* the kernel's takes 0 and 1, and stays 0 */
	CONSTANT("shm_rmid_forced", 0, 0), /* what it is here; 1 would be a promise not kept */
	CONSTANT("shm_next_id", -1, -1),
	CONSTANT("sem_next_id", -1, -1),
	CONSTANT("msg_next_id", -1, -1),
};

/* ---- names ---- */

/* Append path's components to out, which has none or begins with a slash; false when there is no room. */
static bool append(char *out, size_t room, const char *path)
{
	size_t n = strlen(out);

	while (*path) {
		size_t length = strcspn(path, "/");

		if (length == 2 && path[0] == '.' && path[1] == '.') {
			while (n && out[--n] != '/')
				;
		} else if (length && !(length == 1 && path[0] == '.')) {
			if (n + length + 2 > room)
				return false;
			out[n++] = '/';
			memcpy(out + n, path, length);
			n += length;
		}
		out[n] = 0;
		path += length;
		path += *path == '/';
	}
	return true;
}

/* Where a relative path starts: the directory that dirfd is, or the working directory. */
static bool base_of(int dirfd, char *out, size_t room)
{
	char link[32] = "/proc/self/cwd";
	ssize_t n;

	if (dirfd != AT_FDCWD)
		snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
	n = syscall(SYS_readlinkat, AT_FDCWD, link, out, room);
	if (n <= 0 || (size_t)n >= room)
		return false;
	out[n] = 0;
	return true;
}

/* Seldom reached: the last component is one of ours. */
static __attribute__((noinline)) const struct proc_file *resolve(int dirfd, const char *path, const char *last)
{
	char base[256] = "", full[256] = "";
	const struct proc_file *f;
	int saved = errno;
	bool known = *path == '/' || base_of(dirfd, base, sizeof base);

	errno = saved;
	if (!known || !append(full, sizeof full, base) || !append(full, sizeof full, path))
		return NULL;
	for (f = files; f < files + sizeof files / sizeof *files; f++) {
		size_t n = strlen(f->dir);

		if (!strcmp(f->name, last) && !strncmp(f->dir, full, n) && !strcmp(f->name, full + n))
			return f;
	}
	return NULL;
}

const struct proc_file *proc_file_at(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;

	if (*last != 's' && *last != 'm' && *last != 'a')
		return NULL;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (!strcmp(files[i].name, last))
			return resolve(dirfd, path, last);
	return NULL;
}

int proc_file_allowed(struct ipc_ns *ns, const struct proc_file *f, uid_t uid, int flags)
{
	if ((flags & O_ACCMODE) == O_RDONLY)
		return 0;
	if (f->what == PROC_TABLE)
		return creds_capable(CAP_DAC_OVERRIDE) ? 0 : -EACCES;
	return f->max >= 0 && uid == ns->owner ? 0 : -EACCES;
}

/* ---- descriptors ---- */

int proc_memfd(const char *name)
{
	int fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? -errno : fd;
}

int proc_write_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_write, fd, text, length);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		length -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* ---- tables ---- */

struct out {
	int fd, error;
	size_t used;
	char text[PROC_TEXT];
};

static void out_flush(struct out *o)
{
	if (!o->error)
		o->error = proc_write_all(o->fd, o->text, o->used);
	o->used = 0;
}

static __attribute__((format(printf, 2, 3))) void out_line(struct out *o, const char *fmt, ...)
{
	va_list ap;

	if (o->used > sizeof o->text - 400)
		out_flush(o);
	va_start(ap, fmt);
	o->used += (size_t)vsnprintf(o->text + o->used, sizeof o->text - o->used, fmt, ap);
	va_end(ap);
}

static void write_shm(struct ipc_ns *ns, struct out *o)
{
	struct shm_info info;
	struct row r;
	int max = ipc_shmctl(ns, 0, SHM_INFO, (struct shmid_ds *)&info); /* counts the dead's attachments no more */

	out_line(o, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
		    "      atime      dtime      ctime                   rss                  swap\n");
	for (int i = 0; i <= max; i++) {
		if (registry_read_index(ns, KIND_SHM, (uint32_t)i, &r))
			continue;
		out_line(o, "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10llu %10llu %10llu %21lu %21lu\n",
			 (int)r.v[R_KEY], row_id(&r), r.v[R_MODE] & 0xffff, (unsigned long)row_size(&r), r.v[R_CPID],
			 r.v[R_LPID], (unsigned long)r.v[R_NATTCH], r.v[R_UID], r.v[R_GID], r.v[R_CUID], r.v[R_CGID],
			 (unsigned long long)r.v[R_ATIME], (unsigned long long)r.v[R_DTIME],
			 (unsigned long long)r.v[R_CTIME], (unsigned long)shm_segment_resident(ns, &r), 0ul);
	}
}

static void write_sem(struct ipc_ns *ns, struct out *o)
{
	struct seminfo info;
	struct semid_ds d;
	int max = ipc_semctl(ns, 0, 0, SEM_INFO, &info), id;

	out_line(o, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
	for (int i = 0; i <= max; i++) {
		id = ipc_semctl(ns, i, 0, SEM_STAT_ANY, &d);
		if (id < 0)
			continue;
		out_line(o, "%10d %10d  %4o %10u %5u %5u %5u %5u %10llu %10llu\n", d.sem_perm.__key, id,
			 d.sem_perm.mode, (unsigned)d.sem_nsems, d.sem_perm.uid, d.sem_perm.gid, d.sem_perm.cuid,
			 d.sem_perm.cgid, (unsigned long long)d.sem_otime, (unsigned long long)d.sem_ctime);
	}
}

static void write_msg(struct ipc_ns *ns, struct out *o)
{
	struct msginfo info;
	struct msqid_ds d;
	int max = ipc_msgctl(ns, 0, IPC_INFO, (struct msqid_ds *)&info), id;

	out_line(o, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
		    "      stime      rtime      ctime\n");
	for (int i = 0; i <= max; i++) {
		id = ipc_msgctl(ns, i, MSG_STAT_ANY, &d);
		if (id < 0)
			continue;
		out_line(o, "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10llu %10llu %10llu\n",
			 d.msg_perm.__key, id, d.msg_perm.mode, (unsigned long)d.__msg_cbytes,
			 (unsigned long)d.msg_qnum, (unsigned)d.msg_lspid, (unsigned)d.msg_lrpid, d.msg_perm.uid,
			 d.msg_perm.gid, d.msg_perm.cuid, d.msg_perm.cgid, (unsigned long long)d.msg_stime,
			 (unsigned long long)d.msg_rtime, (unsigned long long)d.msg_ctime);
	}
}

static int fill(struct ipc_ns *ns, const struct proc_file *f, int fd)
{
	static void (*const table[KINDS])(struct ipc_ns *, struct out *) = { write_shm, write_sem, write_msg };
	struct out o;
	ssize_t n;

	o.fd = fd;
	o.error = 0;
	o.used = 0;
	if (f->what == PROC_TABLE) {
		table[f->first](ns, &o);
	} else {
		n = limit_text(ns, f, o.text);
		if (n < 0)
			return (int)n;
		o.used = (size_t)n;
	}
	out_flush(&o);
	return o.error;
}

/* For reading only it is opened again, so that F_GETFL and write(2) say what they should. */
static int reopen(int fd, int flags)
{
	char link[32];
	int again;

	if ((flags & O_ACCMODE) != O_RDONLY)
		return fd;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	again = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC | (flags & O_NONBLOCK));
	if (again < 0)
		return fd;
	syscall(SYS_close, fd);
	return again;
}

int proc_open_text(struct ipc_ns *ns, const struct proc_file *f, int flags)
{
	int fd = proc_memfd(f->name), saved = errno, e;

	if (fd < 0)
		return fd;
	e = fill(ns, f, fd);
	errno = saved;
	if (e) {
		syscall(SYS_close, fd);
		return e;
	}
	syscall(SYS_fchmod, fd, f->max < 0 ? 0444 : 0644);
	syscall(SYS_lseek, fd, 0L, SEEK_SET);
	syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	return reopen(fd, flags);
}
