/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a namespace: the directory is checked, the registry and the slot table are mapped (made first, when nobody
 * has); this process takes a slot at its first call (fork.c).
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
#include "handlers.h"
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

bool ns_faults;

void ns_quiet(struct cold *c)
{
	sigset_t all;

	c->error = errno;
	c->held = false;
	sigfillset(&all);
	if (ns_faults)
		sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &c->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c->cancel);
}

void ns_loud(const struct cold *c)
{
	pthread_setcancelstate(c->cancel, NULL); /* first: a handler may jump away from what follows */
	if (!c->held)
		pthread_sigmask(SIG_SETMASK, &c->mask, NULL);
	else if (signals_release())
		signals_deliver();
	errno = c->error;
}

void cold_enter(struct ipc_ns *ns, struct cold *c)
{
	ns_quiet(c);
	pthread_mutex_lock(ns->cold);
}

void cold_enter_short(struct ipc_ns *ns, struct cold *c)
{
	c->error = errno;
	c->held = !ns->wire && signals_hold();
	if (c->held)
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c->cancel);
	else
		ns_quiet(c);
	pthread_mutex_lock(ns->cold);
}

void cold_leave(struct ipc_ns *ns, struct cold *c)
{
	pthread_mutex_unlock(ns->cold);
	ns_loud(c);
}

void cold_init(struct ipc_ns *ns)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&ns->own_cold, &attr);
	ns->cold = &ns->own_cold;
	pthread_mutexattr_destroy(&attr);
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

/* ---- registry and slots ---- */

static int map_file(struct ipc_ns *ns, const char *name, size_t length, void **p)
{
	struct stat st;
	int fd = file_open(ns, name, O_RDWR);

	if (fd < 0)
		return fd == -ENOENT ? fd : ns_fail(fd, "cannot open %s/%s: %s", ns->dir, name, strerror(-fd));
	if (fstat(fd, &st) || (size_t)st.st_size != length) {
		close(fd);
		return ns_fail(-EUCLEAN, "%s/%s has the wrong size (%lld bytes)", ns->dir, name, (long long)st.st_size);
	}
	ns->table = st.st_ino;
	*p = file_map(length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd);
	close(fd);
	if (!*p)
		return ns_fail(-ENOMEM, "cannot map %s/%s: %s", ns->dir, name, strerror(errno));
	madvise(*p, length, MADV_DONTDUMP);
	return 0;
}

static int version_error(const struct ipc_ns *ns, const char *name, uint32_t version)
{
	return ns_fail(-EPROTO, "%s/%s is of version %u, this library of version %d; use the same version everywhere",
		       ns->dir, name, version, AREA_VERSION);
}

/* Are its numbers possible, and is there memory for what they count? A copy of the file may have lost some. */
static int check_slots(const struct ipc_ns *ns)
{
	uint32_t high = atomic_load(&ns->slots->high), whos = atomic_load(&ns->slots->who_high);

	if (high > WHO_MAX || whos > WHO_MAX)
		return ns_fail(-EUCLEAN, "%s/slots has impossible numbers (%u, %u)", ns->dir, high, whos);
	if ((high && file_fence(ns->slots->row, high * sizeof(struct slot_row))) ||
	    (whos && file_fence((void *)ns->slots->who, whos * sizeof ns->slots->who[0])))
		return ns_fail(-ENOSPC, "no room for %s/slots", ns->dir);
	return 0;
}

static int map_slots(struct ipc_ns *ns)
{
	void *p;
	int e = map_file(ns, "slots", sizeof(struct slots), &p);

	if (e)
		return e;
	ns->slots = p;
	if (ns->slots->magic != SLOTS_MAGIC)
		e = ns_fail(-EUCLEAN, "%s/slots is not a slot table", ns->dir);
	else if (ns->slots->version != SLOTS_VERSION)
		e = version_error(ns, "slots", ns->slots->version);
	else
		e = check_slots(ns);
	if (e)
		munmap(p, sizeof(struct slots));
	return e;
}

static int map_registry(struct ipc_ns *ns, const char *name)
{
	struct area_head *h;
	void *p;
	int e = map_file(ns, name, REG_LENGTH, &p);

	if (e)
		return e;
	h = p;
	ns->reg = (struct area){ .head = h, .length = REG_LENGTH, .who_at = REG_WHO_AT };
	if (h->magic == AREA_MAGIC && h->version != AREA_VERSION)
		e = version_error(ns, name, h->version);
	else if (h->magic != AREA_MAGIC || h->kind != AREA_REGISTRY)
		e = ns_fail(-EUCLEAN, "%s/%s is not a registry", ns->dir, name);
	else
		e = registry_check(ns, name);
	if (e)
		munmap(p, REG_LENGTH);
	return e;
}

static int new_file(struct ipc_ns *ns, const char *name, size_t size, const void *head, size_t head_size)
{
	int fd = file_create(ns, name, size, true), e = 0;

	if (fd < 0)
		return ns_fail(fd, "cannot make %s/%s: %s", ns->dir, name, strerror(-fd));
	if (fallocate(fd, 0, 0, PAGE) || pwrite(fd, head, head_size, 0) != (ssize_t)head_size)
		e = ns_fail(-ENOSPC, "no room for %s/%s: %s", ns->dir, name, strerror(errno));
	close(fd);
	return e;
}

static int rename_in(struct ipc_ns *ns, const char *from, const char *to)
{
	char a[480], b[480];
	int e = file_path(ns, a, sizeof a, from);

	if (!e)
		e = file_path(ns, b, sizeof b, to);
	return e ? e : rename(a, b) ? -errno : 0;
}

/* Files of objects that no row names, and rows whose file is missing: neither is an object. */
static bool known_file(struct ipc_ns *ns, enum kind kind, uint32_t file)
{
	struct row r;

	for (uint32_t i = 0, left = area_value(&ns->reg, G_INUSE + kind); i < IPCMNI && left; i++) {
		if (registry_read_index(ns, kind, i, &r))
			continue;
		if (r.v[R_FILE] == file)
			return true;
		left--;
	}
	return false;
}

static void drop_rows_without_memory(struct ipc_ns *ns)
{
	char name[24], path[480];
	struct stat st;
	struct row r;

	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0, left = area_value(&ns->reg, G_INUSE + (uint32_t)kind); i < IPCMNI && left; i++) {
			if (registry_read_index(ns, kind, i, &r))
				continue;
			left--;
			object_name(name, kind, (int)r.v[R_FILE]);
			if (file_path(ns, path, sizeof path, name) || !stat(path, &st) || errno != ENOENT)
				continue;
			fprintf(stderr, "libipc: %s is gone; its object (id %d) is dropped from the namespace\n", path,
				row_id(&r));
			registry_remove(ns, 1, &r, false);
		}
}

/* The kind of object whose memory a file of that name is, or -1. */
static int memory_kind(const char *name)
{
	static const char *const prefix[KINDS] = { "shm-", "sem-", "msg-" };

	for (int kind = 0; kind < KINDS; kind++)
		if (!strncmp(name, prefix[kind], 4) && strlen(name) == 12 && strspn(name + 4, "0123456789abcdef") == 8)
			return kind;
	return -1;
}

/*
 * Memory without a row is freed. But where the rows were in a database that is not there any more, it is all that is
 * left of the objects, and kept under another name for people to look at.
 */
static void settle_memory_without_rows(struct ipc_ns *ns, bool keep)
{
	DIR *d = opendir(ns->dir);
	struct dirent *e;
	char name[300];
	int kept = 0;

	while (d && (e = readdir(d))) {
		int kind = memory_kind(e->d_name);

		if (kind < 0 || known_file(ns, kind, (uint32_t)strtoul(e->d_name + 4, NULL, 16)))
			continue;
		snprintf(name, sizeof name, "lost-%s", e->d_name);
		if (!keep)
			file_remove(ns, e->d_name);
		else if (!rename_in(ns, e->d_name, name))
			kept++;
	}
	if (d)
		closedir(d);
	if (kept)
		fprintf(stderr, "libipc: %s/meta.sqlite does not know %d objects that are there; kept as lost-*\n",
			ns->dir, kept);
}

void drop_removed_segments(struct ipc_ns *ns, int who)
{
	struct row r;

	for (uint32_t i = 0, left = area_value(&ns->reg, G_INUSE + KIND_SHM); i < IPCMNI && left; i++) {
		if (registry_read_index(ns, KIND_SHM, i, &r))
			continue;
		left--;
		if (ROW_STATE(r.v[R_STATE]) == ROW_DEST && !r.v[R_NATTCH])
			registry_remove(ns, who, &r, true);
	}
}

/* Does a daemon's client go on from before? It comes back and says what it has attached. */
static bool clients_left(struct ipc_ns *ns)
{
	for (uint32_t i = 1; i < slots_high(ns); i++) {
		struct slot_row *r = &ns->slots->row[i];
		uint64_t word = atomic_load(&r->word);

		if (r->uid && (WORD_STATE(word) == SLOT_LIVE || WORD_STATE(word) == SLOT_NEWBORN) &&
		    slot_life_slow(ns, TAG(i, WORD_GEN(word))) != LIFE_DEAD)
			return true;
	}
	return false;
}

/* Make the registry from the store, under a name of its own; it is the namespace's when it is complete. */
static int make_registry(struct ipc_ns *ns)
{
	struct area_head h = { .magic = AREA_MAGIC, .version = AREA_VERSION, .kind = AREA_REGISTRY, .who_at = REG_WHO_AT };
	int e = new_file(ns, "registry.new", REG_LENGTH, &h, sizeof h);

	if (!e)
		e = map_registry(ns, "registry.new");
	if (!e)
		e = registry_init(ns);
	if (e == -EPROTO)
		return ns_fail(e, "%s/meta.sqlite is of a newer version; use the version of ipcd that made it", ns->dir);
	if (e)
		return *ns_error ? e : ns_fail(e, "cannot load %s/meta.sqlite: %s", ns->dir, strerror(-e));
	if (!clients_left(ns))
		drop_removed_segments(ns, 1);
	drop_rows_without_memory(ns);
	settle_memory_without_rows(ns, store_is_new(ns->store));
	return rename_in(ns, "registry.new", "registry");
}

static int make_slots(struct ipc_ns *ns)
{
	struct slots *s = NULL;
	uint8_t head[32] = { 0 };
	int e;

	memcpy(head + offsetof(struct slots, magic), &(uint64_t){ SLOTS_MAGIC }, 8);
	memcpy(head + offsetof(struct slots, version), &(uint32_t){ SLOTS_VERSION }, 4);
	memcpy(head + offsetof(struct slots, high), &(uint32_t){ 1 }, 4);
	memcpy(head + offsetof(struct slots, who_high), &(uint32_t){ 1 }, 4);
	e = new_file(ns, "slots.new", sizeof *s, head, sizeof head);
	return e ? e : rename_in(ns, "slots.new", "slots");
}

/* A lock on a file that lasts as long as the mapping made here, whatever happens to descriptors. */
static void *hold_lock(struct ipc_ns *ns, const char *name, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };
	char path[480];
	void *p = NULL;
	int fd;

	if (file_path(ns, path, sizeof path, name))
		return NULL;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return NULL;
	if (!fchmod(fd, 0600) && !fcntl(fd, F_OFD_SETLK, &l))
		p = file_map(PAGE, PROT_READ, MAP_SHARED, fd);
	close(fd);
	return p;
}

/* Is nobody else here? Then a damaged table may be moved aside and made anew. */
static int mend(struct ipc_ns *ns, const char *name)
{
	char aside[64];
	void *alone = hold_lock(ns, "users", F_WRLCK);
	int e;

	if (!alone)
		return ns_fail(-EUCLEAN, "%s/%s is damaged, and programs are using the namespace; end them first", ns->dir,
			       name);
	snprintf(aside, sizeof aside, "%s.damaged-%u", name, now_seconds());
	e = rename_in(ns, name, aside);
	munmap(alone, PAGE);
	if (!e)
		fprintf(stderr, "libipc: %s/%s is damaged; kept as %s, and made anew from meta.sqlite\n", ns->dir, name,
			aside);
	return e;
}

static int map_tables(struct ipc_ns *ns)
{
	int e = map_slots(ns);

	if (e == -EUCLEAN) {
		e = mend(ns, "slots");
		if (!e)
			e = -ENOENT;
	}
	if (e == -ENOENT) {
		e = make_slots(ns);
		if (!e)
			e = map_slots(ns);
	}
	if (e)
		return e;
	e = map_registry(ns, "registry");
	if (e == -EUCLEAN) {
		e = mend(ns, "registry");
		if (!e)
			e = -ENOENT;
	}
	return e == -ENOENT ? make_registry(ns) : e;
}

static void unmap_tables(struct ipc_ns *ns)
{
	if (ns->users_lock)
		munmap(ns->users_lock, PAGE);
	munmap(ns->slots, sizeof *ns->slots);
	munmap(ns->reg.head, REG_LENGTH);
	ns->users_lock = NULL;
	ns->slots = NULL;
	ns->reg.head = NULL;
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

	ns->users_lock = hold_lock(ns, "users", F_RDLCK);
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
		e = map_tables(ns);
		if (!e) {
			e = join_users(ns);
			if (e)
				unmap_tables(ns);
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
		for (uint32_t i = 0; i < IPCMNI; i++)
			if (ns->obj[k][i].area.head)
				munmap(ns->obj[k][i].area.head, ns->obj[k][i].area.length);
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
