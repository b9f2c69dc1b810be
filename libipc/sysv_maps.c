/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls by which a program unmaps, moves, protects or locks memory by itself. Where that is a mapped segment, the
 * call and what it means for the attachments are one cold section: no other thread attaches in between at an address
 * that was just given back.
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "obj_shm.h"
#include "raw.h"
#include "sysv.h"

#define NESTED 16 /* namespaces that one process has attached segments of */

static int munmap_raw(void *addr, size_t length)
{
	return (int)raw_result(raw_call(SYS_munmap, (long)addr, (long)length, 0, 0, 0, 0));
}

static int mprotect_raw(void *addr, size_t length, int prot)
{
	return (int)raw_result(raw_call(SYS_mprotect, (long)addr, (long)length, prot, 0, 0, 0));
}

static int mlockall_raw(int flags)
{
	return (int)raw_result(raw_call(SYS_mlockall, flags, 0, 0, 0, 0, 0));
}

static void *mmap_raw(void *addr, size_t length, int prot, int flags, int fd, off_t at)
{
	return (void *)raw_result(raw_call(SYS_mmap, (long)addr, (long)length, prot, flags, fd, at));
}

static void *mremap_raw(void *addr, size_t old, size_t size, int flags, void *to)
{
	return (void *)raw_result(raw_call(SYS_mremap, (long)addr, (long)old, (long)size, flags, (long)to, 0));
}

static int (*next_munmap)(void *, size_t) = munmap_raw;
static int (*next_mprotect)(void *, size_t, int) = mprotect_raw;
static int (*next_mlockall)(int) = mlockall_raw;
static void *(*next_mmap)(void *, size_t, int, int, int, off_t) = mmap_raw;
static void *(*next_mmap64)(void *, size_t, int, int, int, off_t) = mmap_raw;
static void *(*next_mremap)(void *, size_t, size_t, int, void *) = mremap_raw;

__attribute__((constructor)) static void find_next(void)
{
	sysv_next(&next_munmap, "munmap");
	sysv_next(&next_mprotect, "mprotect");
	sysv_next(&next_mlockall, "mlockall");
	sysv_next(&next_mmap, "mmap");
	sysv_next(&next_mmap64, "mmap64");
	sysv_next(&next_mremap, "mremap");
}

/* ---- the namespaces with a segment in some range ---- */

struct held {
	int n;
	struct ipc_ns *ns[NESTED];
	struct cold cold[NESTED];
};

static bool attached_in(const void *addr, size_t length)
{
	for (struct ipc_ns *ns = ns_list; ns; ns = ns->next)
		if (ns->att_count && shm_range_has(ns, (uintptr_t)addr, page_round(length)))
			return true;
	return false;
}

static void hold(struct held *h)
{
	h->n = 0;
	for (struct ipc_ns *ns = ns_list; ns && h->n < NESTED; ns = ns->next)
		if (ns->att_count) {
			h->ns[h->n] = ns;
			cold_enter(ns, &h->cold[h->n++]);
		}
}

static void release(struct held *h)
{
	int saved = errno; /* of the call */

	while (h->n--)
		cold_leave(h->ns[h->n], &h->cold[h->n]);
	errno = saved;
}

static void gone(struct held *h, const void *addr, size_t length)
{
	int who, saved = errno;

	for (int i = 0; i < h->n; i++)
		if (shm_range_has(h->ns[i], (uintptr_t)addr, page_round(length)) && (who = ns_enter(h->ns[i])) > 0)
			shm_range_gone(h->ns[i], who, (uintptr_t)addr, page_round(length));
	errno = saved;
}

/* ---- the calls ---- */

int munmap(void *addr, size_t length)
{
	struct held h;
	int r;

	if (!attached_in(addr, length))
		return next_munmap(addr, length);
	hold(&h);
	r = next_munmap(addr, length);
	if (!r)
		gone(&h, addr, length);
	release(&h);
	return r;
}

static void *map_over(void *(*next)(void *, size_t, int, int, int, off_t), void *addr, size_t length, int prot,
		      int flags, int fd, off_t at)
{
	struct held h;
	void *p;

	hold(&h);
	p = next(addr, length, prot, flags, fd, at);
	if (p != MAP_FAILED)
		gone(&h, p, length);
	release(&h);
	return p;
}

/* MAP_FIXED_NOREPLACE has the same effect on a kernel that does not know it: none, as it is a hint there. */
static bool replaces(const void *addr, size_t length, int flags)
{
	return flags & MAP_FIXED && attached_in(addr, length);
}

#undef mmap
void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t at)
{
	if (replaces(addr, length, flags))
		return map_over(next_mmap, addr, length, prot, flags, fd, at);
	return next_mmap(addr, length, prot, flags, fd, at);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t at)
{
	if (replaces(addr, length, flags))
		return map_over(next_mmap64, addr, length, prot, flags, fd, at);
	return next_mmap64(addr, length, prot, flags, fd, at);
}

int mprotect(void *addr, size_t length, int prot)
{
	struct held h;
	int r, who;

	if (!attached_in(addr, length))
		return next_mprotect(addr, length, prot);
	hold(&h);
	r = next_mprotect(addr, length, prot);
	for (int i = 0; i < h.n && !r; i++)
		if ((who = ns_enter(h.ns[i])) > 0)
			shm_range_protected(h.ns[i], who, (uintptr_t)addr, page_round(length), prot);
	release(&h);
	return r;
}

static void moved(struct held *h, const struct shm_move *m)
{
	int who, saved = errno;

	for (int i = 0; i < h->n; i++)
		if (shm_range_has(h->ns[i], m->from, m->old ? m->old : 1) && (who = ns_enter(h->ns[i])) > 0)
			shm_range_moved(h->ns[i], who, m);
	errno = saved;
}

void *mremap(void *addr, size_t old, size_t size, int flags, ...)
{
	struct held h;
	va_list ap;
	void *to, *p;

	va_start(ap, flags);
	to = va_arg(ap, void *); /* there or not, the register is */
	va_end(ap);
	if (!attached_in(addr, old ? old : 1) && !(flags & MREMAP_FIXED && attached_in(to, size)))
		return next_mremap(addr, old, size, flags, to);
	hold(&h);
	p = next_mremap(addr, old, size, flags, to);
	if (p != MAP_FAILED && p != addr)
		gone(&h, p, size);
	if (p != MAP_FAILED)
		moved(&h, &(struct shm_move){ (uintptr_t)addr, (uintptr_t)p, page_round(old), page_round(size),
					      flags & MREMAP_DONTUNMAP });
	release(&h);
	return p;
}

/* What stays mapped of segments is locked or not, and later attachments would be as it is: they are opened anew. */
int mlockall(int flags)
{
	struct held h;
	int r;

	hold(&h);
	for (int i = 0; i < h.n; i++)
		shm_kept_close(h.ns[i]);
	r = next_mlockall(flags);
	release(&h);
	return r;
}
