/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may do what: every mode of an object (the 64 combinations of read and write for owner, group and others), every
 * caller, every call. The callers are children that have become somebody and stay; for one call each does all 64
 * objects of a kind, which differ in their mode only. What must come out is said by the model (granted, expected):
 * some lines of its own, which know nothing of the implementation. After each call that may change something root
 * looks at all 64 objects: as they were where the call was refused, changed as asked where it was not.
 *
 * Three parts: callers with ids for good; the same callers after root has changed owner, group and mode of all objects
 * by IPC_SET (then who may read may execute too); and one caller who changes its ids between the calls.
 *
 * Privilege is uid 0 here; what single capabilities give is in caps.c. Left out: setfsgid (the kernel goes by the
 * fsgid, which follows the effective gid unless it is set apart).
 */
#include <grp.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "perm_calls.h"

struct caller {
	const char *name;
	struct ids ids;
	int fd;
	pid_t pid;
};

static unsigned long msgmnb;

static const char *rule_name(int rule)
{
	switch (rule) {
	case READ: return "who may read, else EACCES";
	case WRITE: return "who may write, else EACCES";
	case READ | WRITE: return "who may read and write, else EACCES";
	case FLAGS: return "who may do what the flags ask for, else EACCES";
	case OWN: return "owner, creator and root, else EPERM";
	case LIMIT: return "root, else EPERM";
	case LOCK: return "owner and creator within the limit, and root, else EPERM";
	case ANYBODY: return "anybody";
	default: return "who may execute too, else EACCES";
	}
}

/* ---- the model ---- */

static bool is_owner(const struct ids *who)
{
	return who->euid == line->is.uid || who->euid == CREATOR;
}

static bool in_group(const struct ids *who, gid_t gid)
{
	for (int i = 0; i < who->ngroups; i++)
		if (who->groups[i] == gid)
			return true;
	return who->egid == gid;
}

/* The three bits that this caller has of this mode: the first class that fits decides, even when it grants less. */
static unsigned granted(const struct ids *who, unsigned mode)
{
	if (who->euid == 0)
		return 7;
	if (is_owner(who))
		return mode >> 6 & 7;
	if (in_group(who, line->is.gid) || in_group(who, CREATOR_GROUP))
		return mode >> 3 & 7;
	return mode & 7;
}

/* The flags of a get ask for all that they name in any class. */
static unsigned needed(const struct row *row)
{
	if (row->rule == FLAGS)
		return (row->arg >> 6 | row->arg >> 3 | row->arg) & 7;
	return row->rule < FLAGS ? row->rule : 0;
}

static int expected(const struct row *row, const struct ids *who, unsigned mode)
{
	if (row->rule == ONCE)
		return EEXIST;
	if (needed(row) & ~granted(who, mode))
		return EACCES;
	if ((row->rule == OWN || row->rule == LOCK) && who->euid != 0 && !is_owner(who))
		return EPERM;
	if (row->rule == LIMIT && who->euid != 0)
		return EPERM;
	return row->ok;
}

static struct state expected_state(const struct row *row, int result, int m)
{
	struct state s = line->is;

	s.mode = line->mode[m] | (row->effect == UNLOCKED ? SHM_LOCKED : 0);
	if (result)
		return s;
	switch (row->effect) {
	case VALUE:
		s.value = row->value;
		break;
	case SET:
		s.uid = asked.uid;
		s.gid = asked.gid;
		s.mode = asked.mode;
		break;
	case QBYTES:
		s.qbytes = row->value;
		break;
	case LOCKED:
	case UNLOCKED:
		s.mode ^= SHM_LOCKED;
		break;
	case GONE:
		return (struct state){ .there = false };
	default:
		break;
	}
	return s;
}

/* ---- callers ---- */

static int become(const struct ids *n)
{
	if (geteuid() && seteuid(0))
		return errno;
	if (setgroups(n->ngroups, n->groups) || setresgid(n->rgid, n->egid, n->sgid))
		return errno;
	if (setresuid(n->ruid, n->euid, n->suid))
		return errno;
	return geteuid() == n->euid && getegid() == n->egid ? 0 : WRONG;
}

/* Once more by the calls that change a part, as programs that come back to root do. */
static int become_in_part(const struct ids *n)
{
	if (geteuid() && seteuid(0))
		return errno;
	if (setegid(n->egid) || setgroups(n->ngroups, n->groups) || seteuid(n->euid))
		return errno;
	return geteuid() == n->euid && getegid() == n->egid ? 0 : WRONG;
}

static void caller_make(void)
{
	enum kind k = line->kind;
	int m;

	for (m = 0; m < MODES; m++)
		if (line->id[k][m] < 0) {
			int flags = IPC_CREAT | IPC_EXCL | (int)line->mode[m];

			line->id[k][m] = k == SEM ? semget(key_of(k, m), 3, flags) : obj_get(k, key_of(k, m), flags);
			line->result[m] = line->id[k][m] < 0 ? errno : 0;
		}
}

static void caller_do(void)
{
	int m, r;

	switch (line->what) {
	case CALL:
		for (m = 0; m < MODES; m++) {
			errno = 0;
			r = rows[line->row].call(m, rows[line->row].arg);
			line->result[m] = r == 0 ? 0 : r == -1 ? errno : WRONG;
		}
		break;
	case BECOME:
		line->result[0] = line->ids.ruid == 0 && line->ids.suid == 0 && line->ids.rgid == 0 ?
				  become_in_part(&line->ids) : become(&line->ids);
		break;
	case MAKE:
		caller_make();
		break;
	case ATTACH:
		for (m = 0; m < MODES; m++) {
			line->at[m] = shmat(line->id[SHM][m], NULL, 0);
			line->result[m] = line->at[m] == (char *)-1 ? errno : 0;
		}
		break;
	case END:
		_exit(0);
	}
}

static void caller_serve(int fd)
{
	struct rlimit memlock = { 1 << 20, 1 << 20 };
	char byte;

	setrlimit(RLIMIT_MEMLOCK, &memlock);
	while (read(fd, &byte, 1) == 1) {
		caller_do();
		if (write(fd, &byte, 1) != 1)
			break;
	}
	_exit(1);
}

static void order(struct caller *c, int what)
{
	char byte = 'o';

	line->what = what;
	memset(line->result, 0xff, sizeof line->result);
	if (write(c->fd, &byte, 1) != 1 || read(c->fd, &byte, 1) != 1)
		bail_out("a caller is gone");
}

static void caller_become(struct caller *c, struct ids ids)
{
	c->ids = line->ids = ids;
	order(c, BECOME);
	if (line->result[0]) {
		errno = line->result[0];
		bail_out("a caller cannot change its ids");
	}
}

static void caller_start(struct caller *c)
{
	int fd[2];

	fflush(stdout);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		bail_out("socketpair");
	c->pid = fork();
	if (c->pid < 0)
		bail_out("fork");
	if (c->pid == 0) {
		close(fd[1]);
		alarm(120);
		caller_serve(fd[0]);
	}
	close(fd[0]);
	c->fd = fd[1];
}

static void caller_end(struct caller *c)
{
	line->what = END;
	if (write(c->fd, "e", 1) != 1)
		bail_out("a caller is gone");
	close(c->fd);
	is(proc_wait(c->pid), 0, "%s has come through", c->name);
}

/* ---- root: makes, looks, repairs ---- */

static struct caller creator = { .name = "the creator of all objects" };

static unsigned mode_of(int m)
{
	return (m & 040 ? 0400 : 0) | (m & 020 ? 0200 : 0) | (m & 010 ? 040 : 0) | (m & 04 ? 020 : 0) |
	       (m & 02 ? 04 : 0) | (m & 01 ? 02 : 0);
}

static struct state look(enum kind kind, int id)
{
	struct state s = { .there = true };
	struct ipc_perm p = { 0 };
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	if (kind == SHM && shmctl(id, IPC_STAT, &shm) == 0) {
		p = shm.shm_perm;
	} else if (kind == SEM && semctl(id, 0, IPC_STAT, (union semun){ .buf = &sem }) == 0) {
		p = sem.sem_perm;
		s.value = sem_value(id, 0);
	} else if (kind == MSG && msgctl(id, IPC_STAT, &msg) == 0) {
		p = msg.msg_perm;
		s.value = msg.msg_qnum;
		s.qbytes = msg.msg_qbytes;
	} else {
		s.there = false;
	}
	s.uid = p.uid;
	s.gid = p.gid;
	s.mode = p.mode;
	return s;
}

static void give(enum kind kind, int m, unsigned mode)
{
	struct ipc_perm p = { .uid = line->is.uid, .gid = line->is.gid, .mode = mode };

	if (do_set(kind, line->id[kind][m], p, msgmnb))
		bail_out("root cannot IPC_SET");
}

static int stat_any(enum kind kind, int index)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;

	if (kind == SHM)
		return shmctl(index, SHM_STAT_ANY, &shm);
	return kind == SEM ? semctl(index, 0, SEM_STAT_ANY, (union semun){ .buf = &sem }) :
			     msgctl(index, MSG_STAT_ANY, &msg);
}

static int last_index(enum kind kind)
{
	struct { struct shm_info use; struct shminfo lim; } shm;
	struct seminfo sem;
	struct msginfo msg;

	if (kind == SHM)
		return shmctl(0, SHM_INFO, (void *)&shm);
	return kind == SEM ? semctl(0, 0, SEM_INFO, (union semun){ .info = &sem }) :
			     msgctl(0, MSG_INFO, (void *)&msg);
}

static void find_indexes(enum kind kind)
{
	int i, m, id, last = last_index(kind);

	for (i = 0; i <= last; i++) {
		id = stat_any(kind, i);
		for (m = 0; id >= 0 && m < MODES; m++)
			if (line->id[kind][m] == id)
				line->index[kind][m] = i;
	}
}

static void fill(enum kind kind, int m)
{
	int id = line->id[kind][m];

	if (kind == SEM) {
		sem_set(id, 0, 3);
	} else if (kind == MSG) {
		while (msg_take(id, 0, IPC_NOWAIT) >= 0)
			;
		msg_put(id, 1, 4, 'm', IPC_NOWAIT);
	} else {
		shmctl(id, SHM_UNLOCK, NULL);
	}
}

/* Those that are not there are made; all are as they should be. */
static void repair(enum kind kind)
{
	bool missing = false;
	int m;

	for (m = 0; m < MODES; m++) {
		if (look(kind, line->id[kind][m]).there)
			continue;
		line->id[kind][m] = -1;
		missing = true;
	}
	line->kind = kind;
	if (missing)
		order(&creator, MAKE);
	for (m = 0; m < MODES; m++) {
		if (line->id[kind][m] < 0)
			bail_out("cannot make an object");
		give(kind, m, line->mode[m]);
		fill(kind, m);
	}
	if (missing)
		find_indexes(kind);
}

static void begin_kind(enum kind kind)
{
	line->is.there = true;
	line->is.value = kind == SEM ? 3 : kind == MSG ? 1 : 0;
	line->is.qbytes = kind == MSG ? msgmnb : 0;
	repair(kind);
}

/* ---- the judgement ---- */

static int differing; /* in this test */

static void differs(const struct row *row, int m, const char *what, long got, long want)
{
	if (differing++ < 64)
		diag("%s(%#o), mode %04o, owner %u:%u: %s is %ld, not %ld", row->name, (unsigned)row->arg,
		     line->mode[m], line->is.uid, line->is.gid, what, got, want);
}

static void judge_results(const struct row *row, const struct ids *who)
{
	for (int m = 0; m < MODES; m++) {
		int want = expected(row, who, line->mode[m]);

		if (line->result[m] != want)
			differs(row, m, "errno", line->result[m], want);
	}
}

static void judge_state(const struct row *row, const struct ids *who)
{
	for (int m = 0; m < MODES; m++) {
		struct state want = expected_state(row, expected(row, who, line->mode[m]), m);
		struct state got = look(row->kind, line->id[row->kind][m]);

		if (got.there != want.there) {
			differs(row, m, "existence", got.there, want.there);
			continue;
		}
		if (got.mode != want.mode)
			differs(row, m, "the mode afterwards", got.mode, want.mode);
		if (got.uid != want.uid || got.gid != want.gid)
			differs(row, m, "the owner afterwards", got.uid, want.uid);
		if (got.value != want.value)
			differs(row, m, "the value afterwards", got.value, want.value);
		if (got.qbytes != want.qbytes)
			differs(row, m, "msg_qbytes afterwards", (long)got.qbytes, (long)want.qbytes);
	}
}

static void prepare(struct caller *c, const struct row *row)
{
	int m;

	if (row->effect == UNLOCKED) {
		for (m = 0; m < MODES; m++)
			shmctl(line->id[SHM][m], SHM_LOCK, NULL);
	} else if (row->call == do_shmdt) {
		for (m = 0; m < MODES; m++)
			give(SHM, m, 0666);
		order(c, ATTACH);
		for (m = 0; m < MODES; m++) {
			if (line->result[m])
				differs(row, m, "the errno of shmat before", line->result[m], 0);
			give(SHM, m, line->mode[m]);
		}
	}
}

static void run_row(struct caller *c, int r)
{
	const struct row *row = &rows[r];

	prepare(c, row);
	line->row = r;
	order(c, CALL);
	judge_results(row, &c->ids);
	if (row->effect == NOTHING)
		return;
	judge_state(row, &c->ids);
	repair(row->kind);
}

static bool have_copy(void)
{
	return take(0, 0, MSG_COPY) == 0 || errno != ENOSYS;
}

static bool capable(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return !syscall(SYS_capget, &head, data) && (data[cap / 32].permitted >> cap % 32 & 1);
}

/* Why this row cannot be judged here, or NULL. */
static const char *cannot(const struct caller *c, const struct row *row)
{
	if (row->call == do_copy && !have_copy())
		return "this kernel has no MSG_COPY";
	if (c->ids.euid == 0 && row->rule == LIMIT && !capable(CAP_SYS_RESOURCE))
		return "root has not got CAP_SYS_RESOURCE here";
	if (row->rule == LOCK && !capable(CAP_IPC_LOCK))
		return "root has not got CAP_IPC_LOCK here";
	return NULL;
}

static void run_caller(struct caller *c, const char *when)
{
	int r, first;

	for (r = 0; r < ROWS; r++) {
		char name[256];
		const char *why = cannot(c, &rows[r]);

		if (r == 0 || rows[r].kind != rows[r - 1].kind)
			begin_kind(rows[r].kind);
		snprintf(name, sizeof name, "%s%s, %s: %s", when, c->name, rows[r].name, rule_name(rows[r].rule));
		if (why) {
			skip(name, why);
			continue;
		}
		differing = 0;
		for (first = r; r < ROWS && rows[r].name == rows[first].name; r++)
			run_row(c, r);
		r--;
		ok(differing == 0, "%s", name);
	}
}

/* ---- the parts ---- */

#define PLAIN(uid, gid, ...)                                                                  \
	{                                                                                     \
		uid, uid, uid, gid, gid, gid, sizeof((gid_t[]){ __VA_ARGS__ }) / sizeof(gid_t), \
		{ __VA_ARGS__ }                                                               \
	}

static struct caller callers[] = {
	{ .name = "the owner", .ids = PLAIN(OWNER, NO_GROUP, FRIENDS) },
	{ .name = "the owner, who is in the group too", .ids = PLAIN(OWNER, OWNER_GROUP, CREATOR_GROUP) },
	{ .name = "the creator", .ids = PLAIN(CREATOR, NO_GROUP, FRIENDS) },
	{ .name = "one whose group is the owner's", .ids = PLAIN(FRIEND, OWNER_GROUP, FRIENDS) },
	{ .name = "one whose group is the creator's", .ids = PLAIN(FRIEND, CREATOR_GROUP, FRIENDS) },
	{ .name = "one with the owner's group among others", .ids = PLAIN(FRIEND, NO_GROUP, FRIENDS, OWNER_GROUP) },
	{ .name = "one with the creator's group among others", .ids = PLAIN(FRIEND, NO_GROUP, CREATOR_GROUP, FRIENDS) },
	{ .name = "another user", .ids = PLAIN(OTHER, NO_GROUP, FRIENDS) },
	{ .name = "root", .ids = PLAIN(0, NO_GROUP, FRIENDS) },
};

static struct caller heirs[] = {
	{ .name = "the new owner", .ids = PLAIN(HEIR, NO_GROUP, FRIENDS) },
	{ .name = "one whose group is the new one", .ids = PLAIN(FRIEND, HEIR_GROUP, FRIENDS) },
};

static void owned_by(uid_t uid, gid_t gid)
{
	line->is.uid = uid;
	line->is.gid = gid;
	for (int m = 0; m < MODES; m++)
		line->mode[m] = mode_of(m);
}

static void inherited(void)
{
	line->is.uid = HEIR;
	line->is.gid = HEIR_GROUP;
	for (int m = 0; m < MODES; m++)
		line->mode[m] = mode_of(MODES - 1 - m) | (mode_of(MODES - 1 - m) & 0444) >> 2;
}

static void start_all(struct caller *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		caller_start(&list[i]);
		caller_become(&list[i], list[i].ids);
	}
}

static void run_all(struct caller *list, unsigned n, const char *when)
{
	for (unsigned i = 0; i < n; i++)
		run_caller(&list[i], when);
}

static void end_all(struct caller *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		caller_end(&list[i]);
}

static void test_callers(void)
{
	start_all(callers, COUNT(callers));
	run_all(callers, COUNT(callers), "");
	inherited();
	start_all(heirs, COUNT(heirs));
	run_all(callers, COUNT(callers), "after IPC_SET of owner, group and mode: ");
	run_all(heirs, COUNT(heirs), "after IPC_SET of owner, group and mode: ");
	end_all(callers, COUNT(callers));
	end_all(heirs, COUNT(heirs));
}

/* ruid, euid, suid, rgid, egid, sgid. From root with real group 0 by the calls that change a part. */
static const struct { const char *name; struct ids ids; } lives[] = {
	{ "seteuid to the owner", { 0, OWNER, 0, 0, NO_GROUP, 0, 0, { 0 } } },
	{ "seteuid to another user", { 0, OTHER, 0, 0, NO_GROUP, 0, 0, { 0 } } },
	{ "setegid to the group", { 0, OTHER, 0, 0, OWNER_GROUP, 0, 0, { 0 } } },
	{ "setegid away from it", { 0, OTHER, 0, 0, NO_GROUP, 0, 0, { 0 } } },
	{ "setgroups to the creator's group", { 0, OTHER, 0, 0, NO_GROUP, 0, 2, { FRIENDS, CREATOR_GROUP } } },
	{ "setgroups to others", { 0, OTHER, 0, 0, NO_GROUP, 0, 1, { FRIENDS } } },
	{ "seteuid to root", { 0, 0, 0, 0, NO_GROUP, 0, 0, { 0 } } },
	{ "setresuid: the real uid alone is the owner's", { OWNER, OTHER, 0, 0, NO_GROUP, 0, 0, { 0 } } },
	{ "setresgid: the real and the saved gid alone are the group",
	  { 0, OTHER, 0, OWNER_GROUP, NO_GROUP, OWNER_GROUP, 0, { 0 } } },
	{ "setresuid: only the effective uid is root's", { OTHER, 0, OWNER, NO_GROUP, NO_GROUP, NO_GROUP, 0, { 0 } } },
	{ "setresuid: only the effective uid is the creator's",
	  { OTHER, CREATOR, 0, NO_GROUP, NO_GROUP, NO_GROUP, 0, { 0 } } },
	{ "setresuid to the owner for good", { OWNER, OWNER, OWNER, NO_GROUP, NO_GROUP, NO_GROUP, 0, { 0 } } },
};

static void test_lives(void)
{
	struct caller c = { .name = "one process of many ids" };

	owned_by(OWNER, OWNER_GROUP);
	caller_start(&c);
	for (unsigned i = 0; i < COUNT(lives); i++) {
		c.name = lives[i].name;
		caller_become(&c, lives[i].ids);
		run_caller(&c, "after ");
	}
	c.name = "one process of many ids";
	caller_end(&c);
}

static pid_t root;

static void remove_all(void)
{
	if (getpid() != root)
		return;
	for (enum kind k = SHM; k <= MSG; k++)
		for (int m = 0; m < MODES; m++)
			obj_remove(k, line->id[k][m]);
}

static void start(void)
{
	struct ids ids = PLAIN(CREATOR, CREATOR_GROUP, FRIENDS);
	int id = msg_new();

	msgmnb = msg_stat(id).msg_qbytes;
	line = shared_new(sizeof *line);
	memset(line->id, 0xff, sizeof line->id);
	root = getpid();
	atexit(remove_all);
	base = 0x50000000 + (getpid() & 0xffff) * 3 * MODES;
	caller_start(&creator);
	caller_become(&creator, ids);
	owned_by(OWNER, OWNER_GROUP);
}

int main(void)
{
	if (geteuid())
		skip_all("needs root");
	if (getenv("IPCD_NAMESPACE") && !getenv("IPCD_SOCKET"))
		skip_all("embedded: a namespace of one user; a process that changed its uid has what it mapped");
	if (!capable(CAP_IPC_OWNER) || !capable(CAP_SYS_ADMIN))
		skip_all("root has not got its capabilities here");
	alarm(120);
	signal(SIGPIPE, SIG_IGN);
	start();
	test_callers();
	test_lives();
	caller_end(&creator);
	return done_testing();
}
