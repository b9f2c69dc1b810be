/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel says of a process in /proc/PID/stat. */
#ifndef IPC_PROC_STAT_H
#define IPC_PROC_STAT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Numbers of fields, as in proc(5); those before PROC_PARENT are not numbers, and read as 0. */
enum { PROC_PARENT = 4, PROC_FLAGS = 9, PROC_THREADS = 20, PROC_START = 22, PROC_ENV_START = 50, PROC_ENV_END = 51, PROC_FIELDS };

struct proc_stat {
	char state;
	uint64_t field[PROC_FIELDS];
};

/* -errno if it cannot be read, -ESRCH if the process has gone meanwhile, -EPROTO if it makes no sense. */
int proc_stat(pid_t pid, struct proc_stat *st);

/* Start time of a process, 0 if it can't be told; gone: no such process, or a zombie without other threads. */
uint64_t process_start(pid_t pid, bool *gone);

#endif
