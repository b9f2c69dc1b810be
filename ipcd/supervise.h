/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program run by a parent that nobody notices: signals, job control and the way it ends are passed on. The child
 * is in the parent's process group and has the mask, dispositions, timers, descriptors and umask that it would have
 * without the parent; the parent keeps no descriptor of them open and stands in no directory.
 */
#ifndef IPCRUN_SUPERVISE_H
#define IPCRUN_SUPERVISE_H

#define EXIT_OWN 125
#define EXIT_CANNOT 126
#define EXIT_NOT_FOUND 127

/*
 * Run argv to its end; its wait status, or -errno when it could not be started. `prepare` runs in the child before
 * the exec. Descriptor `keep` (or -1) stays open in the parent, and only there. Signals stay blocked on return.
 */
int supervise(char **argv, void (*prepare)(void), int keep);

/* End as the child has ended: its exit status, or its signal (with no core of our own). */
_Noreturn void end_as(int status);

#endif
