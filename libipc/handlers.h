/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's signal handlers, wrapped. See handlers.c. */
#ifndef IPC_SIGNAL_H
#define IPC_SIGNAL_H

#include <signal.h>

/* The signals that the program has handlers for. */
void handlers_add(sigset_t *set);
int signal_action(int sig, const struct sigaction *act, struct sigaction *old);
sighandler_t signal_simple(int sig, sighandler_t handler, int flags);
sighandler_t bsd_signal(int sig, sighandler_t handler);
sighandler_t __sysv_signal(int sig, sighandler_t handler);

#endif
