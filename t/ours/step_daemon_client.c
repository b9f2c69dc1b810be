/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A daemon's client, stepped through what is a request for everybody (t/lib/step.h): create, remove, IPC_SET, give to
 * another user, SETVAL, attach, detach; killed, left stopped, passed by others and interrupted at each instruction, by a
 * handler that makes the same call. The daemon goes on meanwhile; each call is done once, or not at all.
 */
static const char where[] = "by the client";

#include "step_cold.h"

static long (*act_now)(void);
static void *address;
static int handled_ok, done_ok; /* how many of the two calls were done */

/* ---- the victim's side ---- */

static void call(void)
{
	step_sh->result = act_now();
}

static void tell(void)
{
	step_sh->error = errno;
}

static void handler(void)
{
	errno = 0;
	step_sh->hresult = act_now();
	step_sh->herror = errno;
}

static long create(void)
{
	return get(IPC_CREAT | 0666);
}

static long do_remove(void)
{
	return remove_one(id);
}

static long change_mode(void)
{
	return set_owner(STEP_OTHER, 0606);
}

static long give_away(void)
{
	return set_owner(HEIR, 0606);
}

static long set_one(void)
{
	return ipc_semctl(step_ns, id, 0, SETVAL, (union semun){ .val = 1 });
}

static long attach(void)
{
	char *p = ipc_shmat(step_ns, id, NULL, 0);

	return p == (void *)-1 ? -1 : p[4999];
}

static long detach(void)
{
	return ipc_shmdt(step_ns, address);
}

static void attach_one(void)
{
	address = ipc_shmat(step_ns, id, NULL, 0);
	if (address == (void *)-1)
		_exit(91);
}

/* ---- looking ---- */

/* The daemon serves others: another object of each kind comes, is used, and goes; and the same one is found. */
static void others_go_on(void)
{
	enum kind kept = kind;
	key_t kept_key = key;

	for (int k = 0; k < KINDS; k++) {
		int n;

		kind = (enum kind)k;
		key = KEY + 1 + k;
		n = get(IPC_CREAT | 0600);
		step_check(n >= 0 && get(0) == n, "an object of kind %d: errno %d", k, errno);
		use(n);
		step_check(!remove_one(n) && get(0) == -1 && errno == ENOENT, "its removal: errno %d", errno);
	}
	kind = kept;
	key = kept_key;
}

static void count_done(bool told)
{
	done_ok = told && step_sh->result >= 0;
	handled_ok = told && step_sh->handled && step_sh->hresult >= 0;
	if (random() % 4 == 0)
		others_go_on();
}

/* Both calls are done, or, where it can be done once, one of them. */
static void check_done(bool told, bool once, int error)
{
	bool handled = step_sh->handled;

	if (!told)
		return;
	if (!once || !handled)
		step_check(done_ok && handled_ok == handled, "%ld and %ld, errno %ld and %ld", step_sh->result, step_sh->hresult,
			   step_sh->error, step_sh->herror);
	else
		step_check(done_ok + handled_ok == 1 && (done_ok ? step_sh->herror : step_sh->error) == error,
			   "%ld and %ld, errno %ld and %ld", step_sh->result, step_sh->hresult, step_sh->error, step_sh->herror);
}

static void created(bool told)
{
	struct row r;

	count_done(told);
	check_done(told, false, 0);
	step_check(objects() <= 1 && objects() >= told, "%d objects", objects());
	if (told)
		step_check(there(&r) && row_id(&r) == step_sh->result &&
			   (!step_sh->handled || step_sh->hresult == step_sh->result), "%ld and %ld", step_sh->result,
			   step_sh->hresult);
	else
		use(get(IPC_CREAT | 0666)); /* whoever comes first */
	step_check(objects() == 1, "%d objects", objects());
}

static void removed(bool told)
{
	struct row r;

	count_done(told);
	check_done(told, true, step_sh->herror == EIDRM || step_sh->error == EIDRM ? EIDRM : EINVAL);
	step_check(!told || !there(&r), "it is still there");
}

static void changed(bool told)
{
	struct row r;
	bool is = there(&r), done = is && (r.v[R_MODE] & 0777) == 0606;

	count_done(told);
	check_done(told, act_now == give_away, EPERM);
	step_check(is && (done || (!told && (r.v[R_MODE] & 0777) == 0666)), "mode %o", is ? r.v[R_MODE] : 0);
	step_check(is && r.v[R_UID] == (done && act_now == give_away ? HEIR : STEP_OTHER), "uid %u", r.v[R_UID]);
}

static void valued(bool told)
{
	int value = ipc_semctl(step_ns, id, 0, GETVAL), waiting = ipc_semctl(step_ns, id, 0, GETNCNT);

	count_done(told);
	check_done(told, false, 0);
	if (told) /* the first one was for the sleeper */
		step_check(!waiting && value == handled_ok, "value %d, %d wait", value, waiting);
	else
		step_check(!value && waiting <= 1, "value %d, %d wait", value, waiting);
}

static void attached(bool told)
{
	count_done(told);
	check_done(told, false, 0);
	step_check(told ? nattch() == done_ok + handled_ok : nattch() <= 1, "%ld attached", nattch());
}

static void detached(bool told)
{
	count_done(told);
	check_done(told, true, EINVAL);
	step_check(nattch() >= 0 && nattch() <= !told, "%ld attached", nattch());
}

static void after(void)
{
	step_check(kind != KIND_SHM || nattch() <= 0, "%ld attached", nattch());
	if (with_peer && act_now == set_one && !step_peer_idle() && ipc_semctl(step_ns, id, 0, GETNCNT))
		step_check(!set_one(), "a unit for the peer: errno %d", errno);
	if (with_peer && act_now == set_one)
		check_peer(0);
	if (with_peer && (act_now == change_mode || act_now == give_away)) {
		step_check(!step_peer_idle() && give_to_peer(), "something for the peer: errno %d", errno);
		check_peer(0);
	}
	remove_all(act_now == create || kind == KIND_SHM);
	if (act_now == do_remove)
		check_peer(EIDRM);
}

/* ---- the scenes ---- */

static void prepare_key(enum kind k)
{
	act_now = create;
	kind = k;
	key = KEY;
	with_peer = false;
}

static void create_set(void)
{
	prepare_key(KIND_SEM);
}

static void create_segment(void)
{
	prepare_key(KIND_SHM);
}

static void prepare_call(long (*what)(void), enum kind k, bool sleeper)
{
	act_now = what;
	prepare_object(k, what == set_one ? 0 : STEP_OTHER, sleeper);
}

static void remove_set(void)
{
	prepare_call(do_remove, KIND_SEM, true);
}

static void remove_queue(void)
{
	prepare_call(do_remove, KIND_MSG, true);
}

static void remove_segment(void)
{
	prepare_call(do_remove, KIND_SHM, false);
}

static void set_mode(void)
{
	prepare_call(change_mode, KIND_MSG, true);
}

static void give_set(void)
{
	prepare_call(give_away, KIND_SEM, true);
}

static void set_value(void)
{
	prepare_call(set_one, KIND_SEM, true);
}

static void attach_segment(void)
{
	prepare_call(attach, KIND_SHM, false);
}

static void detach_segment(void)
{
	prepare_call(detach, KIND_SHM, false);
}

#define SIDES .call = call, .tell = tell, .handler = handler, .after = after, .meanwhile = others_go_on

static const struct step_scene scenes[] = {
	{ .name = "semget creates", .prepare = create_set, .warm = nothing, .stopped = created, SIDES },
	{ .name = "shmget creates", .prepare = create_segment, .warm = nothing, .stopped = created, SIDES },
	{ .name = "a set is removed, somebody sleeps in it", .prepare = remove_set, .warm = nothing, .stopped = removed, SIDES },
	{ .name = "a queue is removed, somebody sleeps in it", .prepare = remove_queue, .warm = nothing, .stopped = removed,
	  SIDES },
	{ .name = "a segment is removed", .prepare = remove_segment, .warm = nothing, .stopped = removed, SIDES },
	{ .name = "a queue's mode changes, somebody sleeps in it", .prepare = set_mode, .warm = nothing, .stopped = changed,
	  SIDES },
	{ .name = "a set is given away, somebody sleeps in it", .prepare = give_set, .warm = nothing, .stopped = changed, SIDES },
	{ .name = "SETVAL waking a sleeper", .prepare = set_value, .warm = nothing, .stopped = valued, SIDES },
	{ .name = "shmat", .prepare = attach_segment, .warm = nothing, .stopped = attached, SIDES },
	{ .name = "shmdt", .prepare = detach_segment, .warm = attach_one, .stopped = detached, SIDES },
};

int main(void)
{
	setenv("T_DAEMON", "other", 1);
	step_open();
	peer_begin();
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
		step_scene(&scenes[i], step_every(10));
	step_peer_end();
	step_all_free();
	ipc_close(step_ns);
	is(ipcd_end(SIGTERM), 0, "ipcd ends well");
	directory_remove(step_dir);
	return done_testing();
}
