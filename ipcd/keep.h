/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcrun's keeper: a process that looks after the ipcd of a private namespace. It starts the ipcd, again whenever that
 * has ended while somebody uses the namespace, and ends when the namespace is gone.
 */
#ifndef IPCRUN_KEEP_H
#define IPCRUN_KEEP_H

#include <stddef.h>
#include <sys/types.h>

/* The ipcd beside this program; false: there is none, and `out` is where it was looked for. */
_Bool keep_find_ipcd(char *out, size_t size);

/*
 * Start the keeper for a private directory that has a directory for the socket. It keeps `lock`, the maker's. Its pid,
 * when its ipcd is ready; or 0, and a line on stderr has said why.
 */
pid_t keep_start(const char *dir, const char *ipcd, int lock);

/* Wait for its end, some seconds at most. */
void keep_await_end(pid_t keeper);

/* Its life: ipcrun --keep DIR IPCD. Returns the exit status. */
int keep(const char *dir, const char *ipcd);

#endif
