/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private copies of a namespace's files. They are opened for reading only, and no lock is taken, so that --check changes
 * nothing and holds up nobody. Files are mostly holes: only what has memory is copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define TRIES 100

static int read_all(int fd, void *buf, size_t length, off_t at)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = pread(fd, (char *)buf + done, length - done, at + (off_t)done);

		if (n <= 0)
			return n ? -errno : -EUCLEAN;
		done += (size_t)n;
	}
	return 0;
}

/* Where there is memory in the file, up to the length. */
static int read_extents(int fd, char *to, off_t length)
{
	off_t at = 0, end;
	int e = 0;

	while (!e && at < length && (at = lseek(fd, at, SEEK_DATA)) >= 0 && at < length) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0 || end > length)
			end = length;
		e = read_all(fd, to + at, (size_t)(end - at), at);
		at = end;
	}
	return e;
}

static void *blank(size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int open_regular(struct check *c, const char *name, struct stat *st, const char **why)
{
	int fd = file_open(c->ns, name, O_RDONLY | O_NONBLOCK);

	if (fd < 0) {
		*why = strerror(-fd);
		return fd == -ENOENT ? fd : -EUCLEAN;
	}
	if (fstat(fd, st) || !S_ISREG(st->st_mode)) {
		*why = "it is not a file";
		close(fd);
		return -EUCLEAN;
	}
	return fd;
}

int check_copy_file(struct check *c, const char *name, size_t size, void **out, const char **why)
{
	struct stat st;
	int fd = open_regular(c, name, &st, why), e = 0;

	if (fd < 0)
		return fd;
	if ((size_t)st.st_size != size) {
		*why = "it has the wrong size";
		e = -EUCLEAN;
	} else if (!(*out = blank(size)) || (e = read_extents(fd, *out, st.st_size))) {
		*why = strerror(*out ? -e : ENOMEM);
		e = -EUCLEAN;
	}
	close(fd);
	return e;
}

static const char *head_fault(const struct area_head *h, enum area_kind kind, off_t size)
{
	struct area_head wanted = { .count = h->count, .who_at = kind == AREA_REGISTRY ? REG_WHO_AT : PAGE };

	if (h->magic != AREA_MAGIC || h->kind != kind)
		return kind == AREA_REGISTRY ? "it is not a registry" : "it is no object of that kind";
	if (h->version != AREA_VERSION)
		return "it is of another version; use the version of ipcd that made it";
	if (kind == AREA_SEM)
		sem_set_layout(&wanted);
	if (h->who_at != wanted.who_at || h->big_at != wanted.big_at || h->big_size != wanted.big_size)
		return "its parts are not where they belong";
	if (kind == AREA_REGISTRY ? size != (off_t)REG_LENGTH :
				    (uint64_t)size < area_length(kind == AREA_SEM ? KIND_SEM : KIND_MSG, h))
		return "it has the wrong size";
	return NULL;
}

static uint64_t op_word(int fd)
{
	uint64_t x = 0;

	return pread(fd, &x, sizeof x, offsetof(struct area_head, op)) == sizeof x ? x : 0;
}

/* Read until nothing has changed meanwhile. */
static int read_state(int fd, struct area *a)
{
	for (int tries = 0; tries < TRIES; tries++) {
		uint64_t x = op_word(fd);
		int e = read_extents(fd, (char *)a->head, (off_t)a->length);

		if (e || (op_word(fd) == x && atomic_load(&a->head->op) == x))
			return e;
		madvise(a->head, a->length, MADV_DONTNEED);
	}
	return -EAGAIN;
}

int check_copy_area(struct check *c, const char *name, enum area_kind kind, struct area *out, const char **why)
{
	struct area_head h;
	struct stat st;
	int fd = open_regular(c, name, &st, why), e = -EUCLEAN;

	if (fd < 0)
		return fd;
	if (read_all(fd, &h, sizeof h, 0))
		*why = "it is too short";
	else
		*why = head_fault(&h, kind, st.st_size);
	if (!*why) {
		*out = (struct area){ .who_at = h.who_at, .big_at = h.big_at, .big_size = h.big_size };
		out->length = kind == AREA_REGISTRY ? REG_LENGTH : area_length(kind == AREA_SEM ? KIND_SEM : KIND_MSG, &h);
		out->head = blank(out->length);
		e = out->head ? read_state(fd, out) : -ENOMEM;
		*why = e ? strerror(-e) : NULL;
	}
	close(fd);
	if (!e)
		area_idle(out); /* what is published is completed here */
	return e;
}

/* ---- the database ---- */

static const char *const store_part[] = { "meta.sqlite", "meta.sqlite-wal" };

static int copy_part(struct check *c, const char *name, const char *dir)
{
	char path[600], *buf = malloc(1 << 16);
	int from = file_open(c->ns, name, O_RDONLY | O_NONBLOCK), to = -1, e = from < 0 ? from : 0;
	ssize_t n = 0;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (!e && (to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
		e = -errno;
	while (!e && buf && (n = read(from, buf, 1 << 16)) > 0)
		if (write(to, buf, (size_t)n) != n)
			e = -ENOSPC;
	if (!e && n < 0)
		e = -errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	free(buf);
	return e;
}

/* Size and times of the parts: the same before and after, and nobody has written in between. */
static void store_stamp(struct check *c, struct stat stamp[2])
{
	char path[480];

	memset(stamp, 0, 2 * sizeof *stamp);
	for (int i = 0; i < 2; i++)
		if (!file_path(c->ns, path, sizeof path, store_part[i]) && !stat(path, &stamp[i]))
			stamp[i].st_atim = (struct timespec){ 0 }; /* ours */
}

int check_copy_store(struct check *c, char *dir, size_t size)
{
	const char *tmp = getenv("TMPDIR");
	struct stat before[2], after[2];
	int e = 0;

	snprintf(dir, size, "%s/ipcd-check-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		e = -errno;
		*dir = 0;
		return e;
	}
	store_stamp(c, after);
	for (int tries = 0; tries < TRIES && !e; tries++) {
		memcpy(before, after, sizeof before);
		e = copy_part(c, store_part[0], dir);
		if (!e && copy_part(c, store_part[1], dir) == -ENOSPC)
			e = -ENOSPC;
		store_stamp(c, after);
		if (!memcmp(before, after, sizeof before))
			return e;
	}
	return e ? e : -EAGAIN;
}

void check_drop_store(const char *dir)
{
	static const char *const part[] = { "meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm", "meta.sqlite-journal" };
	char path[600];

	if (!*dir)
		return;
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, part[i]);
		unlink(path);
	}
	rmdir(dir);
}
