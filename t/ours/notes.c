/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One process uses more objects in its life than its slot's file has room to note: those that are gone are forgotten,
 * those that are there are not. T_STEP: also with 100,000 sets made, used and removed.
 */
#include <dirent.h>
#include <stdlib.h>
#include <sys/sem.h>

#include "libipc.h"
#include "slot.h"
#include "tap.h"

#define MANY (NOTES_MAX + 20000)

int main(void)
{
	ipc_ns *ns = ipc_open(NULL, 0);
	struct sembuf up = { .sem_op = 1 };
	int set = ns ? ipc_semget(ns, IPC_PRIVATE, 1, 0600) : -1, e = 0;
	struct slot_notes *notes;
	uint32_t found = 0, i;

	if (set < 0 || ipc_semop(ns, set, &up, 1))
		bail_out("no namespace");
	for (i = 0; i < MANY && !e; i++) /* numbers of sets that are gone by now */
		e = slot_note(ns, KIND_SEM, (int)(IPCMNI * 7 + i));
	ok(!e, "%u objects are noted one after the other (0, got %d at %u)", MANY, e, i);
	notes = ns->slot_file;
	for (i = 0; i < notes->count; i++)
		found += notes->note[i] == ((uint64_t)KIND_SEM << 32 | (uint32_t)set);
	ok(found == 1, "... and the one that is there is still noted (1, got %u, among %u)", found, notes->count);
	for (i = 0; getenv("T_STEP") && i < 100000; i++) {
		int id = ipc_semget(ns, IPC_PRIVATE, 1, 0600);

		if (id < 0 || ipc_semop(ns, id, &up, 1) || ipc_semctl(ns, id, 0, IPC_RMID))
			break;
	}
	if (getenv("T_STEP"))
		ok(i == 100000, "a process makes, uses and removes 100,000 sets (got %u)", i);
	ipc_semctl(ns, set, 0, IPC_RMID);
	ipc_close(ns);
	return done_testing();
}
