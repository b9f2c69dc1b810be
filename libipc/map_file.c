/* SPDX-License-Identifier: BSD-2-Clause */
/* The `file` mapping driver: an object's memory is a file of the namespace directory. Descriptors live for one call. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ns.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int file_path(const struct ipc_ns *ns, char *out, size_t size, const char *name)
{
	size_t dir = strlen(ns->dir), length = strlen(name);

	if (dir + 1 + length >= size)
		return -ENAMETOOLONG;
	memcpy(out, ns->dir, dir);
	out[dir] = '/';
	memcpy(out + dir + 1, name, length + 1);
	return 0;
}

/* A new file of that size (holes); an existing one is an error, or with replace goes first. */
int file_create(const struct ipc_ns *ns, const char *name, uint64_t size, bool replace)
{
	char path[480];
	int fd, e = file_path(ns, path, sizeof path, name);

	if (e)
		return e;
	if (replace)
		unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) || ftruncate(fd, (off_t)size)) { /* whatever the umask is */
		e = errno == EFBIG || errno == EINVAL ? -ENOMEM : -errno;
		close(fd);
		unlink(path);
		return e;
	}
	return fd;
}

int file_open(const struct ipc_ns *ns, const char *name, int flags)
{
	char path[480];
	int fd, e = file_path(ns, path, sizeof path, name);

	if (e)
		return e;
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int file_remove(const struct ipc_ns *ns, const char *name)
{
	char path[480];
	int e = file_path(ns, path, sizeof path, name);

	return e ? e : unlink(path) ? -errno : 0;
}

/* Real memory under [start, start+length), so that no later touch can meet SIGBUS. -ENOMEM when there is none. */
int file_fence(const void *start, size_t length)
{
	uintptr_t from = (uintptr_t)start & ~(uintptr_t)(PAGE - 1), to = (uintptr_t)start + length;

	return madvise((void *)from, to - from, MADV_POPULATE_WRITE) ? -ENOMEM : 0;
}

void object_name(char *out, enum kind kind, int file)
{
	static const char *const prefix[KINDS] = { "shm", "sem", "msg" };

	memcpy(out, prefix[kind], 3);
	out[3] = '-';
	for (int i = 0; i < 8; i++)
		out[4 + i] = "0123456789abcdef"[(unsigned)file >> (28 - 4 * i) & 15];
	out[12] = 0;
}

/*
 * The library's own mappings lie apart from where the kernel would put them: an address that the program has just
 * given back (shmdt) must not come alive again by our doing. A hint only: where it can't be had, anywhere will do.
 */
void *file_map(size_t length, int prot, int flags, int fd)
{
	static _Atomic uintptr_t next;
	uintptr_t size = page_round(length), base = (uintptr_t)9 << 42, hint;
	void *p;

	hint = base + atomic_fetch_add(&next, size) % (base / 3);
	p = mmap(sizeof(void *) == 8 ? (void *)hint : NULL, length, prot, flags, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}
