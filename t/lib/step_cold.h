/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of stepped creations, removals, IPC_SET and attachments share: an object of any kind, what the registry
 * says of it (hot looks), somebody who sleeps in it, and its end, when nothing of it may be left. `where` says what was
 * stepped to.
 */
#ifndef T_STEP_COLD_H
#define T_STEP_COLD_H

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "registry.h"
#include "step.h"

#define KEY 0x5e17
#define HEIR (STEP_OTHER + 5)

union semun { int val; struct semid_ds *buf; unsigned short *array; };

static enum kind kind;
static key_t key;
static int id;
static bool with_peer;

static int get(int flags)
{
	switch (kind) {
	case KIND_SEM:
		return ipc_semget(step_ns, key, flags ? 3 : 0, flags);
	case KIND_MSG:
		return ipc_msgget(step_ns, key, flags);
	default:
		return ipc_shmget(step_ns, key, flags ? 5000 : 0, flags);
	}
}

static int remove_one(int which)
{
	switch (kind) {
	case KIND_SEM:
		return ipc_semctl(step_ns, which, 0, IPC_RMID);
	case KIND_MSG:
		return ipc_msgctl(step_ns, which, IPC_RMID, NULL);
	default:
		return ipc_shmctl(step_ns, which, IPC_RMID, NULL);
	}
}

static int set_owner(uid_t uid, unsigned short mode)
{
	struct semid_ds s = { .sem_perm = { .uid = uid, .mode = mode } };
	struct msqid_ds m = { .msg_perm = { .uid = uid, .mode = mode }, .msg_qbytes = 16384 };
	struct shmid_ds h = { .shm_perm = { .uid = uid, .mode = mode } };

	switch (kind) {
	case KIND_SEM:
		return ipc_semctl(step_ns, id, 0, IPC_SET, (union semun){ .buf = &s });
	case KIND_MSG:
		return ipc_msgctl(step_ns, id, IPC_SET, &m);
	default:
		return ipc_shmctl(step_ns, id, IPC_SET, &h);
	}
}

/* Whoever makes hot calls only: a client's first call maps the tables. */
static void nothing(void)
{
	if (ipc_semget(step_ns, 0x5e18, 0, 0) != -1)
		_exit(90);
}

/* ---- hot looks: what the registry says ---- */

static bool there(struct row *r)
{
	return key == IPC_PRIVATE ? !registry_read(step_ns, kind, id, r) : !registry_find(step_ns, kind, key, r);
}

static int objects(void)
{
	area_idle(&step_ns->reg);
	return (int)area_value(&step_ns->reg, G_INUSE + kind);
}

static int files(void)
{
	static const char *const prefix[KINDS] = { [KIND_SHM] = "shm-", [KIND_SEM] = "sem-", [KIND_MSG] = "msg-" };

	return directory_files(ipcd_ns, prefix[kind]);
}

/* It is whole. */
static void use(int which)
{
	struct msqid_ds m;
	void *p;

	if (kind == KIND_SEM)
		step_check(!ipc_semctl(step_ns, which, 2, SETVAL, (union semun){ .val = 3 }) &&
			   ipc_semctl(step_ns, which, 2, GETVAL) == 3, "the set: errno %d, %s", errno, where);
	if (kind == KIND_MSG)
		step_check(!ipc_msgctl(step_ns, which, IPC_STAT, &m) && !m.msg_qnum, "the queue: errno %d, %s", errno, where);
	if (kind != KIND_SHM)
		return;
	p = ipc_shmat(step_ns, which, NULL, 0);
	step_check(p != (void *)-1 && !((char *)p)[4999], "the segment: errno %d, %s", errno, where);
	if (p != (void *)-1)
		step_check(!ipc_shmdt(step_ns, p), "shmdt: errno %d, %s", errno, where);
}

static void remove_all(bool usable)
{
	for (uint32_t i = 0; i < rows_high(&step_ns->reg, kind); i++) {
		struct row r;

		if (registry_read_index(step_ns, kind, i, &r))
			continue;
		if (usable)
			use(row_id(&r));
		step_check(!remove_one(row_id(&r)), "removal: errno %d, %s", errno, where);
	}
	step_check(!objects(), "%d objects are left, %s", objects(), where);
	step_check(!files(), "%d files are left, %s", files(), where);
}

/* ---- a sleeper in the object ---- */

static void peer(void)
{
	struct { long type; char text[8]; } m;
	struct sembuf s = { .sem_op = -1 };

	step_peer->result = kind == KIND_SEM ? ipc_semop(step_ns, id, &s, 1) : ipc_msgrcv(step_ns, id, &m, 8, 0, 0);
	step_peer->error = errno;
}

static struct { volatile int id; volatile enum kind kind; } *peer_of; /* what the peer is to sleep in */

static void peer_told(void)
{
	id = peer_of->id;
	kind = peer_of->kind;
	peer();
}

static bool give_to_peer(void)
{
	struct { long type; char text[8]; } m = { .type = 1 };

	return !(kind == KIND_SEM ? ipc_semctl(step_ns, id, 0, SETVAL, (union semun){ .val = 1 }) :
				    ipc_msgsnd(step_ns, id, &m, 8, IPC_NOWAIT));
}

/* An object of the client's uid, or of the test's: somebody may sleep in it. */
static void prepare_object(enum kind k, uid_t owner, bool sleeper)
{
	kind = k;
	key = KEY;
	with_peer = sleeper;
	id = get(IPC_CREAT | 0666);
	if (id < 0 || (owner && set_owner(owner, 0666)))
		bail_out("an object");
	if (!sleeper)
		return;
	peer_of->id = id;
	peer_of->kind = kind;
	step_peer_ask();
	if (!proc_wait_asleep(step_peer_pid))
		bail_out("the peer does not sleep");
	step_quiet();
}

static void peer_begin(void)
{
	nothing();
	peer_of = mmap(NULL, sizeof *peer_of, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (peer_of == MAP_FAILED)
		bail_out("no shared page");
	step_peer_start(peer_told);
}

static void check_peer(int error)
{
	if (!with_peer)
		return;
	step_check(wait_until(step_peer_idle()), "the peer sleeps on, %s", where);
	step_check(error ? step_peer->result == -1 && step_peer->error == error : step_peer->result >= 0,
		   "the peer's call: %ld, errno %ld, %s", step_peer->result, step_peer->error, where);
}

static long nattch(void)
{
	struct row r;

	return there(&r) ? (long)r.v[R_NATTCH] : -1;
}

#endif
