/* SPDX-License-Identifier: BSD-2-Clause */
/* Namespace directories from outside. See users.h. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proc_stat.h"
#include "slot.h"
#include "users.h"

#define ENVIRON_MAX (8u << 20)
#define IN_EXEC_MS 1000 /* how long a process may be seen with no environment yet, before it counts as one without */
#define KERNEL_THREAD 0x200000

/* ---- names ---- */

int users_base(char *out, size_t size, bool create)
{
	struct stat st;

	snprintf(out, size, "/dev/shm/ipcd-%u", (unsigned)geteuid());
	if (create && mkdir(out, 0700) && errno != EEXIST)
		return ns_fail(-errno, "cannot make %s: %s", out, strerror(errno));
	if (lstat(out, &st))
		return ns_fail(-errno, "cannot use %s: %s", out, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return ns_fail(-EACCES, "%s is not a directory, and namespaces are kept there; remove it, or use -d DIR",
			       out);
	if (st.st_uid != geteuid())
		return ns_fail(-EACCES, "%s belongs to uid %u and not to you; have it removed, or use -d DIR", out,
			       (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return ns_fail(-EACCES, "%s is open to others (mode %03o); make it private: chmod 700 %s", out,
			       (unsigned)st.st_mode & 0777, out);
	return 0;
}

const char *users_bad_name(const char *name)
{
	if (!*name)
		return "it is empty";
	if (strlen(name) > 100)
		return "it is longer than 100 characters";
	if (*name == '.' || *name == '-')
		return "it begins with a dot or a dash";
	if (!strncmp(name, "private-", 8) || !strncmp(name, "anon-", 5))
		return "names with private- or anon- are made by the library itself";
	for (const char *p = name; *p; p++)
		if (*p == '/' || iscntrl((unsigned char)*p))
			return "it has a slash or a control character in it (a directory is named with -d)";
	return NULL;
}

static bool all_of(const char *s, const char *set, size_t length)
{
	return *s && s[strspn(s, set)] == 0 && (!length || strlen(s) == length);
}

static bool sqlite_name(const char *n)
{
	static const char *const end[] = { "", "-wal", "-shm", "-journal" };
	size_t digits;

	if (strncmp(n, "meta.sqlite", 11))
		return false;
	n += 11;
	if (!strncmp(n, ".damaged-", 9)) {
		digits = strspn(n + 9, "0123456789");
		if (!digits)
			return false;
		n += 9 + digits;
	}
	for (size_t i = 0; i < sizeof end / sizeof *end; i++)
		if (!strcmp(n, end[i]))
			return true;
	return false;
}

bool users_file_name(const char *n)
{
	static const char *const known[] = { "registry", "registry.new", "slots", "slots.new",
					     "users", "lock", "serving", "name", "log", "log.old" };
	static const struct { const char *prefix, *set; size_t length; } numbered[] = {
		{ "registry.damaged-", "0123456789", 0 }, { "slots.damaged-", "0123456789", 0 },
		{ "slot-", "0123456789", 0 },		  { "marks-", "0123456789", 0 },
		{ "shm-", "0123456789abcdef", 8 },
		{ "sem-", "0123456789abcdef", 8 },	  { "msg-", "0123456789abcdef", 8 },
	};

	if (!strncmp(n, "lost-", 5))
		n += 5;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(n, known[i]))
			return true;
	for (size_t i = 0; i < sizeof numbered / sizeof *numbered; i++) {
		size_t l = strlen(numbered[i].prefix);

		if (!strncmp(n, numbered[i].prefix, l))
			return all_of(n + l, numbered[i].set, numbered[i].length);
	}
	return sqlite_name(n);
}

/* ---- locks ---- */

/* Does somebody hold a lock on the file? Asking does not take it. -ENOENT: there is no such file. */
static int file_locked(const char *dir, const char *name)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	int fd, r;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = fcntl(fd, F_OFD_GETLK, &l) ? -errno : l.l_type != F_UNLCK;
	close(fd);
	return r;
}

bool users_held(const char *dir, const char *name)
{
	int r = file_locked(dir, name);

	return r && r != -ENOENT;
}

bool users_locked(const char *dir)
{
	char at[PATH_MAX];

	return users_held(users_socket_dir(dir, at, sizeof at) ? at : dir, "users");
}

/* ---- processes ---- */

struct wanted {
	const char *dir;
	char mapped[PATH_MAX]; /* a directory whose files its users map */
	dev_t dev;
	ino_t ino;
	struct users *users;
};

/* A small file of /proc, whole; NULL if it cannot be read. */
static char *slurp(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = 16384, n = 0;
	char *buf = fd < 0 ? NULL : malloc(room + 1);
	ssize_t r = -1;

	while (buf && (r = read(fd, buf + n, room - n)) > 0) {
		n += (size_t)r;
		if (n == room) {
			char *more = room < ENVIRON_MAX ? realloc(buf, room * 2 + 1) : NULL;

			if (!more)
				break;
			buf = more;
			room *= 2;
		}
	}
	if (fd >= 0)
		close(fd);
	if (buf && r < 0 && !n) {
		free(buf);
		return NULL;
	}
	if (buf)
		buf[n] = 0;
	*length = n;
	return buf;
}

/*
 * Will a process whose environment reads as empty have one in a moment? Between the old program and the new one it has
 * none, and /proc/PID/stat says that it begins nowhere; or it has come since we read.
 */
static bool in_exec(pid_t pid)
{
	struct proc_stat st;

	if (proc_stat(pid, &st) || st.state == 'Z' || st.state == 'X' || st.field[PROC_FLAGS] & KERNEL_THREAD)
		return false;
	return !st.field[PROC_ENV_START] || st.field[PROC_ENV_START] != st.field[PROC_ENV_END];
}

static char *read_environ(pid_t pid, size_t *n)
{
	char path[40], *text = NULL;

	snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
	for (int ms = 0; ms < IN_EXEC_MS; ms++) {
		free(text);
		text = slurp(path, n);
		if (!text || *n || !in_exec(pid))
			return text;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return text;
}

static bool names_dir(const char *value, const struct wanted *w)
{
	struct stat st;

	if (!strcmp(value, w->dir))
		return true;
	return *value == '/' && !stat(value, &st) && st.st_dev == w->dev && st.st_ino == w->ino;
}

static bool environ_names(const char *env, size_t n, const struct wanted *w)
{
	static const char var[] = "IPCD_NAMESPACE=";

	for (const char *p = env; p < env + n; p += strlen(p) + 1)
		if (!strncmp(p, var, sizeof var - 1))
			return names_dir(p + sizeof var - 1, w);
	return false;
}

static bool maps_name(const char *maps, const char *dir)
{
	size_t l = strlen(dir);

	for (const char *p = maps; (p = strstr(p, dir)); p += l)
		if (p > maps && p[-1] == ' ' && p[l] == '/')
			return true;
	return false;
}

static void found(struct users *u, pid_t pid)
{
	if (u->count < USERS_MAX)
		u->pid[u->count] = pid;
	u->count++;
}

static void ask_process(pid_t pid, struct wanted *w, int wanted, bool environ_only)
{
	char path[40], *env, *maps = NULL;
	size_t n = 0, m = 0;

	env = read_environ(pid, &n);
	if (!env)
		return;
	if (!environ_only) {
		snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
		maps = slurp(path, &m);
	}
	for (int i = 0; i < wanted; i++)
		if (environ_names(env, n, &w[i]) || (maps && maps_name(maps, w[i].mapped)))
			found(w[i].users, pid);
	free(env);
	free(maps);
}

static void ask_processes(struct wanted *w, int wanted, bool environ_only)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (isdigit((unsigned char)*e->d_name) && pid > 0 && pid != getpid())
			ask_process(pid, w, wanted, environ_only);
	}
	if (d)
		closedir(d);
}

static void want(struct wanted *w, const char *dir, struct users *u)
{
	struct stat st;

	memset(u, 0, sizeof *u);
	*w = (struct wanted){ .dir = dir, .users = u };
	if (!users_socket_dir(dir, w->mapped, sizeof w->mapped))
		snprintf(w->mapped, sizeof w->mapped, "%s", dir);
	if (!stat(dir, &st)) {
		w->dev = st.st_dev;
		w->ino = st.st_ino;
	}
}

void users_find(const char *dir, bool environ_only, struct users *u)
{
	struct wanted w;

	want(&w, dir, u);
	u->locked = users_locked(dir);
	if (environ_only && u->locked)
		return;
	ask_processes(&w, 1, environ_only);
	if (!u->locked) /* it may have left its exec meanwhile, forked, and ended */
		u->locked = users_locked(dir);
}

/* ---- private directories ---- */

static const char *last_part(const char *dir)
{
	const char *p = strrchr(dir, '/');

	return p ? p + 1 : dir;
}

bool users_is_private(const char *dir)
{
	const char *name = last_part(dir);

	return !strncmp(name, "private-", 8) || !strncmp(name, "anon-", 5);
}

int users_make_private(const char *base, char *dir, size_t size, int *out)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	bool gone;
	int fd;

	snprintf(dir, size, "%s/private-%d-XXXXXX", base, (int)getpid());
	if (!mkdtemp(dir))
		return ns_fail(-errno, "cannot make a directory in %s: %s", base, strerror(errno));
	snprintf(path, sizeof path, "%s/name", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &l) ||
	    dprintf(fd, "ipcrun %d %llu\n", (int)getpid(), (unsigned long long)process_start(getpid(), &gone)) < 0)
		return ns_fail(-errno, "cannot write %s: %s", path, strerror(errno));
	*out = fd;
	return 0;
}

/* The maker's pid is in the directory's name; its start time, if it told it, in the file `name`. */
static bool maker_gone(const char *dir)
{
	pid_t pid = (pid_t)strtol(strchr(last_part(dir), '-') + 1, NULL, 10);
	unsigned long long start = 0;
	char path[PATH_MAX], *text;
	struct stat st;
	uint64_t now;
	size_t n;
	bool gone;

	if (pid <= 0 || users_held(dir, "name"))
		return false;
	snprintf(path, sizeof path, "%s/name", dir);
	text = slurp(path, &n);
	if (text)
		sscanf(text, "ipcrun %*d %llu", &start);
	free(text);
	/* Just made, or by a process that another pid namespace hides: its lock will tell in a moment. */
	if (!start && (stat(dir, &st) || time(NULL) - st.st_ctime < 2))
		return false;
	if (kill(pid, 0) && errno == ESRCH)
		return true;
	now = process_start(pid, &gone);
	return gone || (now && start && now != start);
}

/* ---- removing ---- */

static bool removable(int dir, const char *name)
{
	struct stat st;

	return users_file_name(name) && !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
	       st.st_uid == geteuid();
}

/* Unlink what is ours; the name of something that is not goes to `other`. */
static void empty(int fd, char *other, size_t size)
{
	DIR *d = fdopendir(dup(fd));
	struct dirent *e;

	*other = 0;
	while (d && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!strcmp(e->d_name, "lock"))
			continue;
		if (!removable(fd, e->d_name) || unlinkat(fd, e->d_name, 0))
			snprintf(other, size, "%s", e->d_name);
	}
	if (d)
		closedir(d);
	unlinkat(fd, "lock", 0); /* last: from here on whoever opens the directory begins anew */
}

/* Keep those out who open it. -EBUSY: somebody is about to. Where there is no room for the lock nobody can open it. */
static int lock_out(int dir, int *fd)
{
	*fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (*fd < 0)
		return errno == ENOSPC ? 0 : -errno;
	return flock(*fd, LOCK_EX | LOCK_NB) ? -EBUSY : 0;
}

/* Take the lock that says that nobody uses it: whoever comes now is refused, whoever was here keeps it. */
static int lock_alone(int dir, int *fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	*fd = openat(dir, "users", O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return fcntl(*fd, F_OFD_SETLK, &l) ? -EBUSY : 0;
}

static int remove_all(const char *dir, int fd)
{
	int lock, users = -1, e = lock_out(fd, &lock);
	char other[256];

	if (!e)
		e = lock_alone(fd, &users);
	if (e && e != -EBUSY)
		e = ns_fail(e, "cannot lock %s: %s", dir, strerror(-e));
	if (!e)
		e = users_remove_socket_dir(dir);
	if (e == -EBUSY)
		e = ns_fail(e, "%s is in use", dir);
	if (!e)
		empty(fd, other, sizeof other);
	if (!e && rmdir(dir))
		e = ns_fail(-errno, "%s is not removed: it holds %s, which is no file of a namespace", dir,
			    *other ? other : "something new");
	if (users >= 0)
		close(users);
	if (lock >= 0) {
		flock(lock, LOCK_UN);
		close(lock);
	}
	return e;
}

int users_remove(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), e;
	char at[PATH_MAX];
	struct stat st;

	if (fd < 0 && errno == ENOENT && users_socket_dir(dir, at, sizeof at))
		return users_remove_socket_dir(dir); /* somebody has removed the other one */
	if (fd < 0 || fstat(fd, &st))
		e = ns_fail(-errno, "cannot open %s: %s", dir, strerror(errno));
	else if (st.st_uid != geteuid())
		e = ns_fail(-EACCES, "%s belongs to uid %u and not to you; it is left as it is", dir,
			    (unsigned)st.st_uid);
	else
		e = remove_all(dir, fd);
	if (fd >= 0)
		close(fd);
	return e;
}

/* Directories of `base` that look as if nobody needed them. */
static int candidates(const char *base, char (*dir)[512], int room)
{
	DIR *d = opendir(base);
	struct dirent *e;
	struct stat st;
	int n = 0;

	while (d && n < room && (e = readdir(d))) {
		if (!users_is_private(e->d_name) ||
		    snprintf(dir[n], sizeof dir[n], "%s/%s", base, e->d_name) >= (int)sizeof dir[n])
			continue;
		if (lstat(dir[n], &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
			continue;
		if (maker_gone(dir[n]) && !users_held(dir[n], "users") && !users_locked(dir[n]))
			n++;
	}
	if (d)
		closedir(d);
	return n;
}

#define COLLECT_AT_ONCE 64

void users_collect(const char *base)
{
	char (*dir)[512] = malloc(COLLECT_AT_ONCE * sizeof *dir);
	struct users *u = malloc(COLLECT_AT_ONCE * sizeof *u);
	struct wanted *w = malloc(COLLECT_AT_ONCE * sizeof *w);
	int n = dir && u && w ? candidates(base, dir, COLLECT_AT_ONCE) : 0;

	for (int i = 0; i < n; i++)
		want(&w[i], dir[i], &u[i]);
	if (n)
		ask_processes(w, n, true);
	for (int i = 0; i < n; i++)
		if (!u[i].count && !users_locked(dir[i]))
			users_remove(dir[i]);
	if (!geteuid())
		users_collect_sockets(base);
	free(w);
	free(u);
	free(dir);
}
