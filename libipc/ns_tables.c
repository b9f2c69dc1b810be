/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registry and the slot table of a directory: mapped, made when nobody has (the registry from the database), and made
 * anew when one is damaged and nobody else uses the directory. All this is done with the directory's lock (ns.c).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../persist/store.h"
#include "registry.h"
#include "slot.h"

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
void *ns_hold_lock(struct ipc_ns *ns, const char *name, short type)
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
	void *alone = ns_hold_lock(ns, "users", F_WRLCK);
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

int ns_map_tables(struct ipc_ns *ns)
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

void ns_unmap_tables(struct ipc_ns *ns)
{
	if (ns->users_lock)
		munmap(ns->users_lock, PAGE);
	munmap(ns->slots, sizeof *ns->slots);
	munmap(ns->reg.head, REG_LENGTH);
	ns->users_lock = NULL;
	ns->slots = NULL;
	ns->reg.head = NULL;
}
