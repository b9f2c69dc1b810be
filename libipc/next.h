/* SPDX-License-Identifier: BSD-2-Clause */
/* The next library's function, for a name of ours that comes before it; looked up at its first call, and kept. */
#ifndef IPC_NEXT_H
#define IPC_NEXT_H

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

/* NULL and ENOSYS: there is none. */
static inline void *next_function(_Atomic(void *) *known, const char *name)
{
	void *f = atomic_load(known);

	if (!f) {
		f = dlsym(RTLD_NEXT, name);
		atomic_store(known, f);
	}
	if (!f)
		errno = ENOSYS;
	return f;
}

#endif
