/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client asks of an object's inside is answered within the room that it says it has, or refused: asked in the
 * daemon's own protocol, for each question, with one less than none, with none, with one and with too much.
 */
#include <sys/syscall.h>

#include "inspect.h"
#include "libipc.h"
#include "ipcd.h"
#include "proc.h"
#include "raw_client.h"
#include "tap.h"

static int set, queue;

/* The sizes of one of each: what no answer of one may exceed. */
static const size_t one[] = { [INSPECT_STATE] = sizeof(struct inspect_state), [INSPECT_VALUES] = sizeof(uint16_t),
			      [INSPECT_COUNTS] = sizeof(struct inspect_counts),
			      [INSPECT_WAITERS] = sizeof(struct inspect_waiter),
			      [INSPECT_UNDO] = sizeof(struct inspect_undo) };

static bool answered_well(int what, int kind, int room)
{
	static struct raw r;
	long e = raw_hello(&r, ipcd_socket, 0, 0);
	bool well;

	if (e <= 0)
		return false;
	e = raw_call(&r, .op = WIRE_INSPECT, .arg = { what, kind, kind == KIND_SEM ? set : queue, 0, room });
	if (what < 0 || what > INSPECT_UNDO || room < 0 || room > 1 || (what == INSPECT_STATE && !room))
		well = e < 0 && e != RAW_GONE && e != RAW_LATE;
	else
		well = e == -EPROTO || e == -ENOMEM || (e >= 0 && r.reply.size <= (size_t)room * one[what]);
	if (!well)
		diag("question %d, room %d: %ld, %u bytes", what, room, e, (unsigned)r.reply.size);
	raw_end(&r);
	return well;
}

int main(int argc, char **argv)
{
	static const int rooms[] = { -1, 0, 1, 1 << 24 };
	ipc_ns *ns = ipcd_open(argv[0], 100);

	(void)argc;
	set = ipc_semget(ns, IPC_PRIVATE, 3, 0600);
	queue = ipc_msgget(ns, IPC_PRIVATE, 0600);
	for (int kind = KIND_SEM; kind <= KIND_MSG; kind++)
		for (int what = -1; what <= INSPECT_UNDO + 1; what++) {
			int bad = 0;

			for (int i = 0; i < 4; i++)
				bad += !answered_well(what, kind, rooms[i]);
			is(bad, 0, "question %d of a %s", what, kind == KIND_SEM ? "set" : "queue");
		}
	succeeds(ipc_semctl(ns, set, 0, IPC_RMID), "the daemon serves on");
	is(ipcd_end(SIGTERM), 0, "and ends as it should");
	return done_testing();
}
