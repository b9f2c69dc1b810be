/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Manners. A call that reads or changes so much that it keeps losing to short ones closes the area's gate, an ordinary
 * operation; others then step back for a moment before they operate. Nobody waits for anybody: who has stepped back
 * POLITE times in vain opens the gate himself, so a stopped or dead process costs the others that moment once.
 *
 * The gate is a bit of the area's flag cell and a cell with the who number of the one for whom it is closed.
 */
#ifndef IPC_GATE_H
#define IPC_GATE_H

#include "area.h"

#define GATE_CLOSED 0x100u
#define GATE_TRIES 32 /* lost attempts before it is closed */

struct gate {
	uint32_t flags, cell; /* the area's */
	uint32_t tries;
};

/* After a lost attempt, and at the end of the call. */
void gate_lost(struct gate *g, struct area *a, uint32_t who);
void gate_done(struct gate *g, struct area *a, uint32_t who);

/* Step back; the caller has seen the gate closed for somebody else. */
void gate_wait(const struct gate *g, struct area *a, uint32_t who);

#endif
