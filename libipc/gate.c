/* SPDX-License-Identifier: BSD-2-Clause */
/* Closing, opening and respecting the gate of an area. See gate.h. */
#include <errno.h>
#include <time.h>

#include "gate.h"

#define POLITE 40
#define MOMENT_NS 50000

static void set(const struct gate *g, struct area *a, uint32_t who, uint32_t owner, bool closed)
{
	struct txn t;

	do {
		txn_begin(&t, a, who);
		uint32_t flags = area_value(a, g->flags);

		if (!closed && area_value(a, g->cell) != owner) {
			txn_valid(&t);
			return;
		}
		txn_set(&t, g->flags, closed ? flags | GATE_CLOSED : flags & ~GATE_CLOSED);
		txn_set(&t, g->cell, closed ? owner : 0);
	} while (!txn_commit(&t));
}

void gate_lost(struct gate *g, struct area *a, uint32_t who)
{
	if (++g->tries % GATE_TRIES == 0)
		set(g, a, who, who, true);
}

void gate_done(struct gate *g, struct area *a, uint32_t who)
{
	if (g->tries >= GATE_TRIES)
		set(g, a, who, who, false);
}

void gate_wait(const struct gate *g, struct area *a, uint32_t who)
{
	uint64_t was = area_get(a, g->cell);
	int saved = errno;

	for (int i = 0; i < POLITE; i++) {
		if (!(area_value(a, g->flags) & GATE_CLOSED) || area_get(a, g->cell) != was)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = MOMENT_NS }, NULL);
		errno = saved;
	}
	set(g, a, who, VALUE(was), false);
}
