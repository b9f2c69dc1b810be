/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libipc-sysv.so: what its files share. The names that it exports come before libc's; what is not ours goes on to the
 * next library that has the name, which need not be libc. Each file finds its next ones in a constructor, and until
 * then makes the system calls itself: no lock of the dynamic linker is taken in the middle of a program's call.
 */
#ifndef IPC_SYSV_H
#define IPC_SYSV_H

#include "libipc.h"
#include "ns.h"

/* The namespace of the standard names, or NULL after saying why there is none. */
struct ipc_ns *sysv_namespace(void);

/* ipc_open, where no signal handler can come in between. */
struct ipc_ns *sysv_open(const char *dir, int flags);

/* The namespace of now on; its directory is in the environment, for what the program starts. -errno */
int sysv_use(struct ipc_ns *ns);

/* Bind *(void **)f to the name in the libraries behind this one; unchanged if there is none. */
void sysv_next(void *f, const char *name);

/* libc's own table of names gives our functions, also to those who ask it alone. */
void sysv_take_names(void);

#endif
