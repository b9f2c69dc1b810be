/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments that this process attaches again and again. Of each, one page stays mapped where the program does not look;
 * mremap makes the next attachment of it, in the place of open, mmap and close. What stays mapped keeps a removed
 * segment's memory, until this process next makes, removes or opens a segment; so it is done for few segments, of some
 * size, and from the second attachment on. In the cold section, all of it.
 */
#include <sys/mman.h>

#include "obj_shm.h"

#define KEPT_MAX (4ull << 20) /* bytes of a segment */

static bool same_segment(const struct shm_kept *k, const struct row *r)
{
	return k->known == (uint32_t)row_id(r) + 1 && k->file == r->v[R_FILE];
}

static void forget(struct shm_kept *k)
{
	if (k->page)
		munmap(k->page, PAGE);
	*k = (struct shm_kept){ 0 };
}

void *shm_kept_map(struct ipc_ns *ns, const struct row *r)
{
	void *p;

	for (int i = 0; i < SHM_KEPT; i++)
		if (ns->kept[i].page && same_segment(&ns->kept[i], r)) {
			p = mremap(ns->kept[i].page, 0, page_round(row_size(r)), MREMAP_MAYMOVE);
			return p == MAP_FAILED ? NULL : p;
		}
	return NULL;
}

void shm_kept_note(struct ipc_ns *ns, const struct row *r, int fd)
{
	struct shm_kept *k;

	shm_kept_sweep(ns);
	if (row_size(r) > KEPT_MAX)
		return;
	for (int i = 0; i < SHM_KEPT; i++)
		if (same_segment(&ns->kept[i], r)) {
			if (!ns->kept[i].page)
				ns->kept[i].page = file_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
			return;
		}
	k = &ns->kept[ns->kept_next++ % SHM_KEPT];
	forget(k);
	k->known = (uint32_t)row_id(r) + 1;
	k->file = r->v[R_FILE];
}

void shm_kept_sweep(struct ipc_ns *ns)
{
	for (int i = 0; i < SHM_KEPT; i++) {
		struct shm_kept *k = &ns->kept[i];
		struct row r;

		if (k->known && (registry_read(ns, KIND_SHM, (int)k->known - 1, &r) || !same_segment(k, &r)))
			forget(k);
	}
}

void shm_kept_close(struct ipc_ns *ns)
{
	for (int i = 0; i < SHM_KEPT; i++)
		forget(&ns->kept[i]);
}
