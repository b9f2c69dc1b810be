/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory segments on files. See obj_shm.h; the counting is in attach.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "attach.h"
#include "obj_shm.h"
#include "route_call.h"

uint64_t shm_segment_resident(struct ipc_ns *ns, const struct row *r)
{
	char name[24], path[480];
	struct stat st;

	if (ns->wire)
		return wire_resident(ns, row_id(r));
	object_name(name, KIND_SHM, (int)r->v[R_FILE]);
	if (file_path(ns, path, sizeof path, name) || stat(path, &st))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

/*
 * Can the file system hold what all segments have been promised, and this one? Exact counting asks each file; it is
 * only done when the sum of sizes does not fit anyway.
 */
static bool holds(struct ipc_ns *ns, uint64_t size)
{
	uint64_t free_bytes, pages, promised = 0;
	struct statvfs fs;
	struct row r;

	if (statvfs(ns->dir, &fs))
		return true;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	pages = area_value(&ns->reg, G_PAGES) | (uint64_t)area_value(&ns->reg, G_PAGES + 1) << 32;
	if (size > free_bytes)
		return false;
	if (pages < UINT64_MAX / PAGE - size / PAGE - 1 && pages * PAGE + page_round(size) <= free_bytes)
		return true;
	for (uint32_t i = 0, left = area_value(&ns->reg, G_INUSE + KIND_SHM); i < IPCMNI && left; i++) {
		uint64_t have, want;

		if (registry_read_index(ns, KIND_SHM, i, &r))
			continue;
		left--;
		if (r.v[R_MODE] & ROW_NORESERVE)
			continue;
		want = page_round(row_size(&r));
		have = shm_segment_resident(ns, &r);
		promised += want > have ? want - have : 0;
	}
	return promised + size <= free_bytes;
}

int shm_segment_create(struct ipc_ns *ns, uint64_t size, bool reserve, uint32_t *file)
{
	int fd;

	if (page_round(size) < size || page_round(size) > INT64_MAX || (reserve && !holds(ns, size)))
		return -ENOMEM;
	shm_kept_sweep(ns);
	fd = object_create(ns, KIND_SHM, page_round(size), 0, file);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Where and how to map: the address rules of shmat(2). */
static int map_flags(uintptr_t *addr, int flags, uint64_t size)
{
	if (*addr & (PAGE - 1)) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		*addr &= ~(uintptr_t)(PAGE - 1);
		if (!*addr && flags & SHM_REMAP)
			return -EINVAL;
		if (!*addr)
			return MAP_FIXED;
	}
	if (!*addr)
		return flags & SHM_REMAP ? -EINVAL : 0;
	if (!(flags & SHM_REMAP) && *addr + size < *addr)
		return -EINVAL;
	return flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
}

static int segment_prot(int flags)
{
	return PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0);
}

static int open_segment(struct ipc_ns *ns, const struct row *r, int flags)
{
	char name[24];
	int fd;

	object_name(name, KIND_SHM, (int)r->v[R_FILE]);
	fd = file_open(ns, name, flags & SHM_RDONLY ? O_RDONLY : O_RDWR);
	if (fd < 0)
		return fd == -ENOENT ? -EIDRM : fd;
	if (lseek(fd, 0, SEEK_END) < (off_t)row_size(r)) {
		close(fd);
		fprintf(stderr, "libipc: %s/%s was shortened; it is left as it is\n", ns->dir, name);
		return -EIDRM;
	}
	return fd;
}

/* The descriptor is closed. */
static int map_segment(int fd, const struct row *r, uintptr_t addr, int how, int flags, void **at)
{
	int e = 0;

	if (fd < 0)
		return fd;
	*at = mmap((void *)addr, page_round(row_size(r)), segment_prot(flags), MAP_SHARED | how, fd, 0);
	if (*at == MAP_FAILED)
		e = errno == EEXIST ? -EINVAL : -errno;
	close(fd);
	if (!e && addr && *at != (void *)addr) { /* a kernel without MAP_FIXED_NOREPLACE */
		munmap(*at, page_round(row_size(r)));
		e = -EINVAL;
	}
	return e;
}

/*
 * The daemon counts before the descriptor is here to be mapped. So that a call which the address makes fail has counted
 * nothing, the place is taken first, by memory that nobody can touch. *at: what was taken, or NULL.
 */
static int take_place(uintptr_t addr, int how, uint64_t size, void **at)
{
	int fixed = how == MAP_FIXED ? MAP_FIXED_NOREPLACE : how;
	void *p = mmap((void *)addr, page_round(size), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);

	*at = NULL;
	if (p == MAP_FAILED)
		return errno != EEXIST ? -errno : how == MAP_FIXED ? 0 : -EINVAL;
	if (addr && p != (void *)addr) { /* a kernel without MAP_FIXED_NOREPLACE */
		munmap(p, page_round(size));
		return how == MAP_FIXED ? 0 : -EINVAL;
	}
	*at = p;
	return 0;
}

/* Counted, then mapped. */
static int attach_by_daemon(struct ipc_ns *ns, int who, const struct row *r, uintptr_t addr, int how, int flags, void **at,
			    uint32_t *record)
{
	struct wire_segment s;
	void *place;
	int e = take_place(addr, how, row_size(r), &place);

	if (e)
		return e;
	e = wire_attach(ns, row_id(r), flags, &s);
	if (!e) {
		*record = s.record;
		e = map_segment(s.fd, r, place ? (uintptr_t)place : addr, place ? MAP_FIXED : how, flags, at);
		if (e)
			attach_drop(ns, who, ns->tag, *record, ns->pid);
	}
	if (e && place)
		munmap(place, page_round(row_size(r)));
	return e;
}

/* Mapped, and not yet counted. */
static int attach_here(struct ipc_ns *ns, const struct row *r, uintptr_t addr, int how, int flags, void **at)
{
	bool plain = !addr && !how && !(flags & (SHM_RDONLY | SHM_EXEC)) && !(r->v[R_MODE] & SHM_LOCKED);
	int fd;

	*at = plain ? shm_kept_map(ns, r) : NULL;
	if (*at)
		return 0;
	fd = open_segment(ns, r, flags);
	if (fd >= 0 && plain)
		shm_kept_note(ns, r, fd);
	return map_segment(fd, r, addr, how, flags, at);
}

int shm_segment_attach(struct ipc_ns *ns, int who, int id, uintptr_t addr, int flags, void **at)
{
	uint32_t want = flags & SHM_RDONLY ? 0444 : 0666, record;
	static uint32_t calls;
	struct attachment *a;
	struct perm p;
	struct row r;
	uintptr_t first = addr;
	int how, e;

	how = map_flags(&first, flags, 0);
	if (how < 0)
		return how;
	e = registry_read(ns, KIND_SHM, id, &r);
	if (e)
		return e;
	p = row_perm(&r);
	e = perm_check(&p, want | (flags & SHM_EXEC ? 0111 : 0));
	if (e)
		return e;
	how = map_flags(&addr, flags, row_size(&r));
	if (how < 0)
		return how;
	if (ns->wire)
		e = attach_by_daemon(ns, who, &r, addr, how, flags, at, &record);
	else
		e = attach_here(ns, &r, addr, how, flags, at);
	if (e)
		return e;
	if (!ns->wire)
		e = attach_add(ns, who, ns->tag, id, ns->pid, &record);
	if (how == MAP_FIXED) /* after it is counted: it may have replaced a removed segment's only attachment */
		shm_range_gone(ns, who, (uintptr_t)*at, page_round(row_size(&r)));
	a = e ? NULL : shm_piece_new(ns);
	if (!a) {
		if (!e)
			attach_drop(ns, who, ns->tag, record, ns->pid);
		munmap(*at, page_round(row_size(&r)));
		return e ? e : -ENOMEM;
	}
	*a = (struct attachment){ .addr = *at, .size = page_round(row_size(&r)), .id = id, .record = record,
				  .whole = page_round(row_size(&r)), .prot = segment_prot(flags),
				  .shmat = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) };
	if (r.v[R_MODE] & SHM_LOCKED)
		mlock2(*at, a->size, MLOCK_ONFAULT);
	return 0;
}

uint64_t shm_resident_pages(struct ipc_ns *ns)
{
	uint64_t bytes = 0;
	struct row r;

	for (uint32_t i = 0, left = area_value(&ns->reg, G_INUSE + KIND_SHM); i < IPCMNI && left; i++)
		if (!registry_read_index(ns, KIND_SHM, i, &r)) {
			bytes += shm_segment_resident(ns, &r);
			left--;
		}
	return bytes / PAGE;
}

int shm_segment_lock(struct ipc_ns *ns, int id, bool lock)
{
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr && ns->att[i].id == id) {
			if (!lock)
				munlock(ns->att[i].addr, ns->att[i].size);
			else if (mlock2(ns->att[i].addr, ns->att[i].size, MLOCK_ONFAULT))
				return -ENOMEM;
		}
	return 0;
}
