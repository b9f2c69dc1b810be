/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client is killed while the daemon performs its request for the slot of a child that it is making: what the child would
 * have attached. No process has that slot then, and nothing of what was counted for it is left. The request is a long one,
 * in the daemon's own protocol, so that the death comes in the middle.
 */
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "libipc.h"
#include "slot.h"
#include "ipcd.h"
#include "proc.h"
#include "raw_client.h"
#include "tap.h"

#define IDS (WIRE_INLINE / 4)
#define ROUNDS 20

static ipc_ns *ns;
static int segment;
static volatile struct { uint32_t slot; int ready, go, lower; } *sh;

static long attached(void)
{
	struct shmid_ds d;

	return ipc_shmctl(ns, segment, IPC_STAT, &d) ? -errno : (long)d.shm_nattch;
}

/* Its slot is free when it has ended. */
static int other(void *unused)
{
	static struct raw r;

	(void)unused;
	if (raw_hello(&r, ipcd_socket, 0, 0) <= 0)
		return 1;
	sh->slot = SLOT_OF(r.tag);
	pause();
	return 0;
}

static int maker(void *unused)
{
	static struct raw r;
	static int ids[IDS];
	int64_t tag;

	(void)unused;
	for (uint32_t i = 0; i < IDS; i++)
		ids[i] = segment;
	if (raw_hello(&r, ipcd_socket, 0, 0) <= 0)
		return 1;
	sh->ready = 1;
	wait_until(sh->go);
	if (raw_call(&r, .op = WIRE_FORK) < 0 || r.got != 1)
		return 1;
	tag = r.reply.value[0];
	sh->lower = SLOT_OF((uint32_t)tag) < SLOT_OF(r.tag);
	r.lock = dup(r.fds[0]);
	raw_call(&r, .op = WIRE_ATTACHED, .arg = { tag }, .payload = ids, .size = sizeof ids);
	for (;;)
		pause();
	return 0;
}

/* The maker; the child's slot is to come before its own, so that whoever looks at all slots meets it first. */
static pid_t start_maker(void)
{
	pid_t pid, first;

	memset((void *)sh, 0, sizeof *sh);
	first = proc_run(other, NULL);
	if (!wait_until(sh->slot))
		bail_out("no slot");
	pid = proc_run(maker, NULL);
	if (!wait_until(sh->ready))
		bail_out("no second slot");
	proc_kill(first);
	if (!wait_until(WORD_STATE(atomic_load(&ns->slots->row[sh->slot].word)) == SLOT_FREE))
		bail_out("the first slot is not free");
	sh->go = 1;
	return pid;
}

int main(int argc, char **argv)
{
	int begun = 0, left = 0, lower = 0;

	(void)argc;
	ns = ipcd_open(argv[0], 300);
	segment = ipc_shmget(ns, IPC_PRIVATE, 4096, 0600);
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < ROUNDS && !left; i++) {
		pid_t pid = start_maker();

		begun += wait_until(attached() > 0);
		kill(pid, SIGKILL);
		proc_wait(pid);
		lower += sh->lower;
		left += !wait_until(attached() == 0);
	}
	is(lower, begun, "slots that become free are given again");
	is(begun, ROUNDS, "a client says what a child that it is making has attached, and is killed meanwhile");
	is(left, 0, "each time nothing is left attached");
	succeeds(ipc_shmctl(ns, segment, IPC_RMID, NULL), "the segment is removed");
	is(ipcd_end(SIGTERM), 0, "ipcd ends as it should");
	return done_testing();
}
