/* SPDX-License-Identifier: BSD-2-Clause */
/* What opening a namespace (ns.c) and forks (fork.c) share: the list of what is open, and its locks. */
#ifndef IPC_FORK_H
#define IPC_FORK_H

#include "ns.h"

extern pthread_mutex_t ns_list_lock;
extern pthread_mutex_t ns_open_lock;
extern int ns_open_fd;
extern uint32_t ns_generations; /* of the last open or fork */

/* Once, before the first namespace is open: hear of forks, and of the ends of threads. */
void fork_init(void);

#endif
