/* SPDX-License-Identifier: BSD-2-Clause */
/* The program that ipcrun is to start: where it is, and whether preloading can reach it. */
#ifndef IPCRUN_PROGRAM_H
#define IPCRUN_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* The file that execvp would run. 0, -ENOENT, or -errno of the one that is there and cannot be run. */
int program_find(const char *name, char *path, size_t size);

/* Will the dynamic linker ignore or miss LD_PRELOAD? Then `why` says so. */
bool program_unreachable(const char *path, char *why, size_t size);

#endif
