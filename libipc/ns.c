/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a namespace and closing it: the directory is checked, its tables are mapped (ns_tables.c); this process takes
 * a slot at its first call (fork.c).
 *
 * Files of a directory: registry, slots, slot-N, users (locked shared by every process that has it open), lock (taken
 * while the registry is made), meta.sqlite, and one file an object.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../persist/store.h"
#include "attach.h"
#include "fork.h"
#include "route_wire.h"
#include "libipc.h"
#include "obj_shm.h"
#include "users.h"

struct ipc_ns *ns_list;
__thread char ns_error[600];

pthread_mutex_t ns_list_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_mutex_t ns_open_lock = PTHREAD_MUTEX_INITIALIZER; /* before ns_list_lock */
int ns_open_fd = -1; /* the lock file that a thread has locked to open a namespace; under ns_list_lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;
uint32_t ns_generations;

#define REMOVING_TRIES 200
#define REMOVING_NS 10000000

/* Note the sentence for people, and return the error. */
int ns_fail(int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ns_error, sizeof ns_error, fmt, ap);
	va_end(ap);
	return error;
}

/* ---- the directory ---- */

static int check_directory(const char *dir, bool create)
{
	struct stat st;

	if (create && !mkdir(dir, 0700))
		chmod(dir, 0700); /* whatever the umask is */
	else if (create && errno != EEXIST)
		return ns_fail(-errno, "cannot make the namespace directory %s: %s", dir, strerror(errno));
	if (lstat(dir, &st))
		return ns_fail(-errno, "cannot open the namespace %s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return ns_fail(-ENOTDIR, "%s is not a directory; a namespace is a directory made by ipcrun -n or -d", dir);
	if (st.st_uid != geteuid())
		return ns_fail(-EACCES, "%s belongs to uid %u; a namespace can be opened by its owner only", dir,
			       (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return ns_fail(-EACCES, "%s is open to others (mode %03o); make it private: chmod 700 %s", dir,
			       (unsigned)st.st_mode & 0777, dir);
	return 0;
}

/* A directory with somebody's files in it does not become a namespace. */
static int check_contents(const struct ipc_ns *ns)
{
	DIR *d = opendir(ns->dir);
	struct dirent *e;
	int error = 0;

	if (!d)
		return ns_fail(-errno, "cannot read %s: %s", ns->dir, strerror(errno));
	while (!error && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && !users_file_name(e->d_name))
			error = ns_fail(-EPROTO, "%s holds other files (%s); use an empty directory for a namespace",
					ns->dir, e->d_name);
	closedir(d);
	return error;
}

/* A child forked by another thread may have a copy of the descriptor for a moment: closing is not enough. */
static void unlock_directory(void)
{
	flock(ns_open_fd, LOCK_UN);
	pthread_mutex_lock(&ns_list_lock);
	close(ns_open_fd);
	ns_open_fd = -1;
	pthread_mutex_unlock(&ns_list_lock);
}

/* Is the file that we have locked still the directory's? Whoever removes the directory has unlinked it. */
static bool still_named(int fd, const char *path)
{
	struct stat here, there;

	return !fstat(fd, &here) && !lstat(path, &there) && here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* The directory's lock, which those who open it and those who remove it take: its descriptor, or -errno. */
static int lock_directory(struct ipc_ns *ns)
{
	char path[480];
	int e = file_path(ns, path, sizeof path, "lock");

	if (e)
		return ns_fail(e, "the name of the namespace directory %s is too long", ns->dir);
	for (;;) {
		pthread_mutex_lock(&ns_list_lock); /* no fork in between: a child would keep the lock, and others out */
		ns_open_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		e = ns_open_fd < 0 ? -errno : 0;
		pthread_mutex_unlock(&ns_list_lock);
		if (e)
			return ns_fail(e, "cannot open %s for writing: %s", path, strerror(-e));
		fchmod(ns_open_fd, 0600);
		while (flock(ns_open_fd, LOCK_EX) && errno == EINTR)
			;
		if (still_named(ns_open_fd, path))
			return ns_open_fd;
		unlock_directory();
	}
}

/* Held while the directory is in use; it may be on its way out. */
static int join_users(struct ipc_ns *ns)
{
	char path[480];
	struct stat st;

	ns->users_lock = ns_hold_lock(ns, "users", F_RDLCK);
	if (!ns->users_lock)
		return errno == EAGAIN || errno == ENOENT ? -ESTALE :
			ns_fail(-EACCES, "cannot lock %s/users: %s", ns->dir, strerror(errno));
	return file_path(ns, path, sizeof path, "registry") || stat(path, &st) || st.st_ino != ns->table ? -ESTALE : 0;
}

/* So that one process makes what all use. */
static int open_tables(struct ipc_ns *ns)
{
	int e;

	pthread_mutex_lock(&ns_open_lock);
	e = lock_directory(ns);
	if (e >= 0) {
		e = ns_map_tables(ns);
		if (!e) {
			e = join_users(ns);
			if (e)
				ns_unmap_tables(ns);
		}
		unlock_directory();
	}
	pthread_mutex_unlock(&ns_open_lock);
	return e;
}

/* While the directory is being removed its last file is locked: a moment later it is gone, or still there after all. */
static int open_tables_soon(struct ipc_ns *ns, bool create)
{
	int e;

	for (int tries = 0; tries < REMOVING_TRIES; tries++) {
		e = tries ? check_directory(ns->dir, create) : 0;
		if (!e)
			e = open_tables(ns);
		if (e != -ESTALE && !(e == -ENOENT && create))
			return e;
		nanosleep(&(struct timespec){ .tv_nsec = REMOVING_NS }, NULL);
	}
	return e == -ESTALE ? ns_fail(-EAGAIN, "%s is being removed by somebody, who does not come to the end", ns->dir) : e;
}

static void *table(size_t bytes)
{
	return file_map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static int allocate(struct ipc_ns *ns)
{
	for (int k = 0; k < KINDS; k++)
		if (k != KIND_SHM && !(ns->obj[k] = table(IPCMNI * sizeof(struct obj))))
			return -ENOMEM;
	ns->wiped = table(PAGE);
	ns->store = ns->wire ? NULL : store_new(ns->dir);
	if (!ns->wiped || (!ns->store && !ns->wire))
		return -ENOMEM;
	madvise((void *)ns->wiped, PAGE, MADV_WIPEONFORK);
	atomic_store(ns->wiped, 1);
	return 0;
}

/* The absolute name, so that the program may change its directory. */
static int named_directory(struct ipc_ns *ns, const char *dir, bool create)
{
	char full[PATH_MAX];
	int e = check_directory(dir, create);

	if (e)
		return e;
	if (!realpath(dir, full))
		return ns_fail(-errno, "cannot open the namespace %s: %s", dir, strerror(errno));
	if (strlen(full) >= sizeof ns->dir)
		return ns_fail(-ENAMETOOLONG, "the name of the namespace directory %.100s... is too long", full);
	strcpy(ns->dir, full);
	return 0;
}

static int anonymous_directory(struct ipc_ns *ns)
{
	char base[64];
	int e;

	snprintf(base, sizeof base, "/dev/shm/ipcd-%u", (unsigned)geteuid());
	e = check_directory(base, true);
	if (e)
		return e;
	snprintf(ns->dir, sizeof ns->dir, "%s/anon-%d-XXXXXX", base, (int)getpid());
	ns->anonymous = true;
	return mkdtemp(ns->dir) ? 0 : ns_fail(-errno, "cannot make a directory in %s: %s", base, strerror(errno));
}

static void unmap_all(struct ipc_ns *ns)
{
	for (int k = 0; k < KINDS; k++) {
		if (!ns->obj[k])
			continue;
		for (uint32_t i = 0; i < IPCMNI; i++) {
			if (ns->obj[k][i].area.head)
				munmap(ns->obj[k][i].area.head, ns->obj[k][i].area.length);
			free(ns->obj[k][i].held);
		}
		munmap(ns->obj[k], IPCMNI * sizeof(struct obj));
	}
	if (ns->reg.head)
		munmap(ns->reg.head, REG_LENGTH);
	if (ns->slots && !ns->slots_stay)
		munmap(ns->slots, sizeof *ns->slots);
	if (ns->wiped)
		munmap((void *)ns->wiped, PAGE);
	munmap(ns, sizeof *ns);
}

/* Unless somebody else uses it: then he, or the user's next ipcrun, does. */
static void remove_directory(const struct ipc_ns *ns)
{
	char kept[sizeof ns_error];

	memcpy(kept, ns_error, sizeof kept);
	users_remove(ns->dir);
	memcpy(ns_error, kept, sizeof kept);
}

static int open_directory(struct ipc_ns *ns, const char *dir, bool create)
{
	int e = dir ? named_directory(ns, dir, create) : anonymous_directory(ns);

	if (!e)
		e = check_contents(ns);
	if (!e)
		e = allocate(ns);
	return e ? e : open_tables_soon(ns, dir && create);
}

int ns_open(const char *dir, int flags, struct ipc_ns **out)
{
	bool create = flags & IPC_OPEN_CREATE, socket = flags & IPC_OPEN_SOCKET;
	struct ipc_ns *ns = table(sizeof *ns);
	int e;

	*ns_error = 0;
	if (!ns)
		return -ENOMEM;
	pthread_once(&once, fork_init);
	cold_init(ns);
	ns->owner = geteuid();
	ns->generation = __atomic_add_fetch(&ns_generations, 1, __ATOMIC_RELAXED);
	if (socket) {
		e = wire_open_namespace(ns, dir);
		if (!e)
			e = allocate(ns);
	} else {
		e = open_directory(ns, dir, create);
	}
	if (e) {
		if (ns->store)
			store_free(ns->store);
		if (ns->anonymous)
			remove_directory(ns);
		unmap_all(ns);
		return e;
	}
	pthread_mutex_lock(&ns_list_lock);
	ns->next = ns_list;
	ns_list = ns;
	pthread_mutex_unlock(&ns_list_lock);
	*out = ns;
	return 0;
}

/* Is there another process? */
static bool others(struct ipc_ns *ns)
{
	uint32_t high = slots_high(ns), self = atomic_load(&ns->slot);

	for (uint32_t s = 1; s < high; s++)
		if (s != self && slot_alive(ns, TAG(s, WORD_GEN(atomic_load(&ns->slots->row[s].word)))))
			return true;
	return false;
}

/* What attaching and detaching have changed is saved with the next change of anything; or by the last one to leave. */
static void save_last(struct ipc_ns *ns)
{
	const char *name = strrchr(ns->dir, '/') + 1;
	int who;

	if (ns->wire || !atomic_load(ns->wiped) || !atomic_load(&ns->slot) || !registry_unsaved(ns) || ns->anonymous ||
	    users_is_private(name) || others(ns))
		return;
	who = ns_enter(ns);
	if (who > 0)
		registry_sync(ns, who);
}

/* exit(3). Other threads may be anywhere, so nothing is waited for. */
__attribute__((destructor)) static void leave(void)
{
	struct cold c;

	ns_quiet(&c);
	if (!pthread_mutex_trylock(&ns_list_lock)) {
		for (struct ipc_ns *ns = ns_list; ns; ns = ns->next)
			if (!pthread_mutex_trylock(ns->cold)) {
				save_last(ns);
				pthread_mutex_unlock(ns->cold);
			}
		pthread_mutex_unlock(&ns_list_lock);
	}
	ns_loud(&c);
}

/* What is attached stays mapped, and does not count any more. */
static void leave_segments(struct ipc_ns *ns)
{
	int who = atomic_load(&ns->slot) ? ns_enter(ns) : 0;

	for (uint32_t i = 0; i < ns->att_count && who > 0; i++)
		if (ns->att[i].addr)
			attach_drop(ns, who, ns->tag, ns->att[i].record, ns->pid);
	if (ns->att)
		munmap(ns->att, ATT_MAX * sizeof *ns->att);
}

void ns_close(struct ipc_ns *ns)
{
	struct cold c;

	cold_enter(ns, &c);
	leave_segments(ns);
	shm_kept_close(ns);
	save_last(ns);
	cold_leave(ns, &c);
	pthread_mutex_lock(&ns_list_lock);
	for (struct ipc_ns **p = &ns_list; *p; p = &(*p)->next)
		if (*p == ns) {
			*p = ns->next;
			break;
		}
	pthread_mutex_unlock(&ns_list_lock);
	ns->generation = 0;
	if (ns->wire) {
		wire_close(ns);
	} else {
		store_free(ns->store);
		munmap(ns->users_lock, PAGE);
		if (ns->anonymous)
			remove_directory(ns);
		slot_leave(ns);
	}
	unmap_all(ns);
}
