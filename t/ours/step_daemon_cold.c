/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd stopped and killed at each system call of what is a request for everybody (t/lib/step_ipcd.h): create, remove,
 * IPC_SET, give to another user, attach, detach, fork. The object is wholly there or wholly gone, those who sleep in it
 * sleep on or are woken, and no file, slot or attachment is left.
 */
#include "step_ipcd.h"

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "registry.h"

#define KEY 0x5e17
#define HEIR (STEP_OTHER + 5)

union semun { int val; struct semid_ds *buf; unsigned short *array; };

static enum kind kind;
static key_t key;
static int id;
static bool with_peer, attached_here;
static void *attached;

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

/* ---- create ---- */

static void nothing(void)
{
	if (ipc_semget(step_ns, 0x5e18, 0, 0) != -1)
		_exit(90);
}

static long create(void)
{
	return get(IPC_CREAT | 0666);
}

static void create_look(int least, int most, bool alive)
{
	int n = objects();

	step_check(!alive || (n >= least && n <= (key ? 1 : most)), "%d objects, %s", n, where);
	twice += n > 1 && alive && client->answered;
}

static void created(void)
{
	struct row r;

	id = (int)client->result;
	step_check(id >= 0 && there(&r) && row_id(&r) == id, "result %d, errno %ld, %s", id, client->error, where);
}

/* It is whole. */
static void use(int which)
{
	struct msqid_ds m;
	void *p;

	if (kind == KIND_SEM)
		step_check(!ipc_semctl(step_ns, which, 2, GETVAL) && !ipc_semctl(step_ns, which, 2, SETVAL, (union semun){ .val = 3 }),
			   "the set: errno %d, %s", errno, where);
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

static void create_after(void)
{
	remove_all(true);
}

static void prepare_create(enum kind k, key_t with)
{
	kind = k;
	key = with;
}

static void create_set(void)
{
	prepare_create(KIND_SEM, KEY);
}

static void create_queue(void)
{
	prepare_create(KIND_MSG, KEY);
}

static void create_segment(void)
{
	prepare_create(KIND_SHM, KEY);
}

static void create_private(void)
{
	prepare_create(KIND_SEM, IPC_PRIVATE);
}

#define CREATE .warm = nothing, .call = create, .look = create_look, .result = created, .after = create_after

/* ---- a sleeper in the object ---- */

static void peer(void)
{
	struct { long type; char text[8]; } m;
	struct sembuf s = { .sem_op = -1 };

	step_peer->result = kind == KIND_SEM ? ipc_semop(step_ns, id, &s, 1) : ipc_msgrcv(step_ns, id, &m, 8, 0, 0);
	step_peer->error = errno;
}

static struct { volatile int id; volatile enum kind kind; } *told; /* the peer */

static void peer_told(void)
{
	id = told->id;
	kind = told->kind;
	peer();
}

static bool give_to_peer(void)
{
	struct { long type; char text[8]; } m = { .type = 1 };

	return !(kind == KIND_SEM ? ipc_semctl(step_ns, id, 0, SETVAL, (union semun){ .val = 1 }) :
				    ipc_msgsnd(step_ns, id, &m, 8, IPC_NOWAIT));
}

/* An object of the client's uid; somebody may sleep in it. */
static void prepare_object(enum kind k, bool sleeper)
{
	kind = k;
	key = KEY;
	with_peer = sleeper;
	attached_here = false;
	id = get(IPC_CREAT | 0666);
	if (id < 0 || set_owner(STEP_OTHER, 0666))
		bail_out("an object");
	if (!sleeper)
		return;
	told->id = id;
	told->kind = kind;
	step_peer_ask();
	if (!proc_wait_asleep(step_peer_pid))
		bail_out("the peer does not sleep");
	step_quiet();
}

static void check_peer(int error)
{
	if (!with_peer)
		return;
	step_check(wait_until(step_peer_idle()), "the peer sleeps on, %s", where);
	step_check(error ? step_peer->result == -1 && step_peer->error == error : step_peer->result >= 0,
		   "the peer's call: %ld, errno %ld, %s", step_peer->result, step_peer->error, where);
}

/* ---- remove ---- */

static long do_remove(void)
{
	return remove_one(id);
}

static void remove_look(int least, int most, bool alive)
{
	struct row r;
	int gone = !there(&r);

	(void)most;
	step_check(!alive || gone >= least, "removed %d times, %s", gone, where);
}

static void removed(void)
{
	step_check(!client->result || (killed && (client->error == EINVAL || client->error == EIDRM)), "errno %ld, %s",
		   client->error, where);
	twice += !!client->result;
}

static void remove_after(void)
{
	if (attached_here) {
		ipc_shmdt(step_ns, attached);
		attached_here = false;
		step_quiet();
	}
	remove_all(!with_peer);
	check_peer(EIDRM);
}

static void remove_set(void)
{
	prepare_object(KIND_SEM, true);
}

static void remove_queue(void)
{
	prepare_object(KIND_MSG, true);
}

static void remove_segment(void)
{
	prepare_object(KIND_SHM, false);
}

static void remove_attached(void)
{
	prepare_object(KIND_SHM, false);
	attached = ipc_shmat(step_ns, id, NULL, 0);
	attached_here = true;
	if (attached == (void *)-1)
		bail_out("shmat");
}

#define REMOVE .warm = nothing, .call = do_remove, .look = remove_look, .result = removed, .after = remove_after

/* ---- IPC_SET ---- */

static long give_away(void)
{
	return set_owner(HEIR, 0660);
}

static long change_mode(void)
{
	return set_owner(STEP_OTHER, 0660);
}

static void set_look(int least, int most, bool alive)
{
	struct row r;
	bool is = there(&r), done = is && (r.v[R_MODE] & 0777) == 0660;

	(void)most;
	step_check(is && (done || (r.v[R_MODE] & 0777) == 0666), "mode %o, %s", is ? r.v[R_MODE] : 0, where);
	step_check(is && r.v[R_UID] == (done && now->call == give_away ? HEIR : STEP_OTHER), "uid %u, %s", r.v[R_UID], where);
	step_check(!alive || done >= least, "set %d times, %s", done, where);
}

/* Who has given it away may not do so again. */
static void was_set(void)
{
	step_check(!client->result || (killed && client->error == EPERM), "errno %ld, %s", client->error, where);
	twice += !!client->result;
}

/* The sleeper has slept through all that. */
static void set_after(void)
{
	if (with_peer) {
		step_check(!step_peer_idle(), "the peer woke, %s", where);
		step_check(give_to_peer(), "something for the peer: errno %d, %s", errno, where);
		check_peer(0);
	}
	remove_all(!with_peer);
}

#define SET .warm = nothing, .look = set_look, .result = was_set, .after = set_after

/* ---- attach, detach, fork ---- */

static long nattch(void)
{
	struct row r;

	return there(&r) ? (long)r.v[R_NATTCH] : -1;
}

static void attach_one(void)
{
	attached = ipc_shmat(step_ns, id, NULL, 0);
	if (attached == (void *)-1)
		_exit(91);
}

static long attach(void)
{
	char *p = ipc_shmat(step_ns, id, NULL, 0);

	return p == (void *)-1 ? -1 : p[4999];
}

static long detach(void)
{
	return ipc_shmdt(step_ns, attached);
}

static long fork_one(void)
{
	pid_t parent = getpid(), child = fork();

	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	return child > 0 ? 0 : -1;
}

static void attach_look(int least, int most, bool alive)
{
	long n = nattch();

	step_check(n >= 0 && (!alive || (n >= least && n <= most)), "%ld attached, %s", n, where);
	twice += n > 1 && alive && client->answered;
}

static void detach_look(int least, int most, bool alive)
{
	long n = nattch();

	(void)most;
	step_check(n >= 0 && (!alive || (n <= 1 && n <= 1 - least)), "%ld attached, %s", n, where);
}

/* The child is counted from before it is there. */
static void fork_look(int least, int most, bool alive)
{
	long n = nattch() - 1;

	step_check(!alive || (n >= least && n <= most), "%ld children attached, %s", n, where);
	twice += n > 1 && alive && client->answered;
}

static void did(void)
{
	step_check(!client->result, "result %ld, errno %ld, %s", client->result, client->error, where);
}

static void attach_after(void)
{
	step_check(wait_until(!nattch()), "%ld attached, %s", nattch(), where);
	remove_all(true);
}

#define ATTACH .prepare = remove_segment, .result = did, .after = attach_after

static const struct scene scenes[] = {
	{ .name = "semget creates", .prepare = create_set, CREATE },
	{ .name = "msgget creates", .prepare = create_queue, CREATE },
	{ .name = "shmget creates", .prepare = create_segment, CREATE },
	{ .name = "semget, IPC_PRIVATE", .prepare = create_private, CREATE },
	{ .name = "a set is removed, somebody sleeps in it", .prepare = remove_set, REMOVE },
	{ .name = "a queue is removed, somebody sleeps in it", .prepare = remove_queue, REMOVE },
	{ .name = "a segment is removed", .prepare = remove_segment, REMOVE },
	{ .name = "a segment is removed that is attached", .prepare = remove_attached, REMOVE },
	{ .name = "a set's mode changes", .prepare = remove_set, .call = change_mode, SET },
	{ .name = "a set is given away, somebody sleeps in it", .prepare = remove_set, .call = give_away, SET },
	{ .name = "a queue is given away, somebody sleeps in it", .prepare = remove_queue, .call = give_away, SET },
	{ .name = "a segment is given away", .prepare = remove_segment, .call = give_away, SET },
	{ .name = "shmat", .warm = nothing, .call = attach, .look = attach_look, ATTACH },
	{ .name = "shmdt", .warm = attach_one, .call = detach, .look = detach_look, ATTACH },
	{ .name = "fork with a segment", .warm = attach_one, .call = fork_one, .look = fork_look, ATTACH },
};

int main(void)
{
	play_begin();
	told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	nothing(); /* a client's first call maps the tables */
	step_peer_start(peer_told);
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
		play(&scenes[i]);
	step_peer_end();
	return play_end();
}
