/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's signal handlers, wrapped. See handlers.c. */
#ifndef IPC_SIGNAL_H
#define IPC_SIGNAL_H

#include <signal.h>
#include <stdbool.h>

/* The signals that the program has handlers for. */
void handlers_add(sigset_t *set);
/* The program installs one of which nobody tells us. */
void handlers_unseen(void);
/* The kernel's: for a handler of ours, which settles nothing first. */
int signal_unwrapped(int sig, const struct sigaction *act, struct sigaction *old);
int signal_action(int sig, const struct sigaction *act, struct sigaction *old);
sighandler_t signal_simple(int sig, sighandler_t handler, int flags);
sighandler_t bsd_signal(int sig, sighandler_t handler);
sighandler_t __sysv_signal(int sig, sighandler_t handler);

/*
 * For a section that is too short to pay for two changes of the signal mask: handlers that strike this thread in it run
 * when it has ended. False: they cannot be held, block them. Sections may nest.
 */
bool signals_hold(void);
/* The section ends. True: one has struck, and signals_deliver is to be called. */
bool signals_release(void);
void signals_deliver(void);
/*
 * While a thread that blocks its signals lets some in (ppoll): a handler that strikes all the same, because it was
 * installed meanwhile, does not run; its signal is sent again, and waits until it is let in.
 */
void signals_refuse(bool on);

#endif
