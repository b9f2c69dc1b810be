/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors whose writing sets a limit: what write(2), fflush(3) and dup2(2) have to ask. */
#ifndef IPC_SYSV_LIMIT_H
#define IPC_SYSV_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

extern _Atomic int limit_writers; /* 0 until the process has, or was given, such a descriptor */

/* Set what has been written past us. */
void limit_settle(void);
/* If fd is one: set the limit as write(2) does, *result and errno as from it. */
bool limit_written(int fd, const void *buf, size_t length, ssize_t *result);
/* The writer behind a stream or NULL; and setting what was flushed to it: result, or EOF with errno. */
void *limit_stream(FILE *stream);
int limit_flushed(void *writer, int result);

#endif
