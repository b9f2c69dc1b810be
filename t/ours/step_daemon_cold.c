/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd stopped and killed at each system call of what is a request for everybody (t/lib/step_ipcd.h): create, remove,
 * IPC_SET, give to another user, attach, detach, fork. The object is wholly there or wholly gone, those who sleep in it
 * sleep on or are woken, and no file, slot or attachment is left.
 */
#include "step_ipcd.h"
#include "step_cold.h"

static bool attached_here;
static void *attached;

/* ---- create ---- */

static long create(void)
{
	return get(IPC_CREAT | 0666);
}

static long create_first(void)
{
	return get(IPC_CREAT | IPC_EXCL | 0666);
}

static int create_look(int least, int most, bool alive)
{
	int n = objects();

	step_check(!alive || (n >= least && n <= (key ? 1 : most)), "%d objects, %s", n, where);
	twice += n > 1 && alive && client->answered;
	return n;
}

static void created(void)
{
	struct row r;

	id = (int)client->result;
	if (now->call == create_first && id == -1 && client->error == EEXIST && before)
		return; /* it was itself */
	step_check(id >= 0 && there(&r) && row_id(&r) == id, "result %d, errno %ld, %s", id, client->error, where);
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

/* ---- remove ---- */

static long do_remove(void)
{
	return remove_one(id);
}

static int remove_look(int least, int most, bool alive)
{
	struct row r;
	int gone = !there(&r);

	(void)most;
	step_check(!alive || gone >= least, "removed %d times, %s", gone, where);
	return gone;
}

static void removed(void)
{
	step_check(!client->result || (before && (client->error == EINVAL || client->error == EIDRM)), "errno %ld, %s",
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
	prepare_object(KIND_SEM, STEP_OTHER, true);
}

static void remove_queue(void)
{
	prepare_object(KIND_MSG, STEP_OTHER, true);
}

static void remove_segment(void)
{
	prepare_object(KIND_SHM, STEP_OTHER, false);
}

static void remove_attached(void)
{
	prepare_object(KIND_SHM, STEP_OTHER, false);
	attached = ipc_shmat(step_ns, id, NULL, 0);
	attached_here = true;
	if (attached == (void *)-1)
		bail_out("shmat");
}

#define REMOVE .warm = nothing, .call = do_remove, .look = remove_look, .result = removed, .after = remove_after

/* ---- IPC_SET ---- */

static long give_away(void)
{
	return set_owner(HEIR, 0606);
}

static long change_mode(void)
{
	return set_owner(STEP_OTHER, 0606);
}

static int set_look(int least, int most, bool alive)
{
	struct row r;
	bool is = there(&r), done = is && (r.v[R_MODE] & 0777) == 0606;

	(void)most;
	step_check(is && (done || (r.v[R_MODE] & 0777) == 0666), "mode %o, %s", is ? r.v[R_MODE] : 0, where);
	step_check(is && r.v[R_UID] == (done && now->call == give_away ? HEIR : STEP_OTHER), "uid %u, %s", r.v[R_UID], where);
	step_check(!alive || done >= least, "set %d times, %s", done, where);
	return done;
}

/* Who has given it away may not do so again. */
static void was_set(void)
{
	step_check(!client->result || (before && client->error == EPERM), "errno %ld, %s", client->error, where);
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

static int attach_look(int least, int most, bool alive)
{
	long n = nattch();

	step_check(n >= 0 && (!alive || (n >= least && n <= most)), "%ld attached, %s", n, where);
	twice += n > 1 && alive && client->answered;
	return (int)n;
}

static int detach_look(int least, int most, bool alive)
{
	long n = nattch();

	(void)most;
	step_check(n >= 0 && (!alive || (n <= 1 && n <= 1 - least)), "%ld attached, %s", n, where);
	return n < 1;
}

/* The child is counted from before it is there. */
static int fork_look(int least, int most, bool alive)
{
	long n = nattch() - 1;

	step_check(!alive || (n >= least && n <= most), "%ld children attached, %s", n, where);
	twice += n > 1 && alive && client->answered;
	return n > 0;
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
	{ .name = "semget, IPC_EXCL", .prepare = create_set, .warm = nothing, .call = create_first, .look = create_look,
	  .result = created, .after = create_after },
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
	peer_begin();
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
		play(&scenes[i]);
	step_peer_end();
	return play_end();
}
