/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cases of the rows that shm, sem and msg share (enum common_row of std/table.h): keys, ids, IPC_STAT, IPC_SET,
 * IPC_RMID and the index commands. The including program describes its family; each case removes what it makes.
 */
#ifndef T_ROW_FAMILY_H
#define T_ROW_FAMILY_H

#include <limits.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>
#include "row.h"

/* What any of the three ctl calls may write. */
union any_buf {
	struct ipc_perm perm;
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;
	struct shminfo shm_limits;
	struct shm_info shm_used;
	struct seminfo sem_info;
	struct msginfo msg_info;
	char room[512];
};

struct family {
	int (*get)(key_t key, int flags);
	int (*ctl)(int id, int cmd, void *buf);
	int info, stat, stat_any;
	int (*used)(const union any_buf *info);
	long (*change_time)(const union any_buf *ds);
	long (*other_times)(const union any_buf *ds);
};

/* A key of this process. */
static key_t family_key(int n)
{
	return 0x52000000 | (getpid() & 0xffff) << 8 | n;
}

static int family_new(const struct family *f)
{
	int id = f->get(IPC_PRIVATE, IPC_CREAT | 0600);

	if (id < 0)
		bail_out("cannot make an object");
	return id;
}

static void family_rm(const struct family *f, int id)
{
	if (f->ctl(id, IPC_RMID, NULL))
		diag("removing %d: %s", id, strerror(errno));
}

static union any_buf family_stat(const struct family *f, int id)
{
	union any_buf b = { .room = { 0 } };

	if (f->ctl(id, IPC_STAT, &b))
		diag("IPC_STAT %d: %s", id, strerror(errno));
	return b;
}

static int family_used(const struct family *f)
{
	union any_buf b = { .room = { 0 } };

	if (f->ctl(0, f->info, &b) < 0)
		diag("the family's INFO: %s", strerror(errno));
	return f->used(&b);
}

static int family_highest(const struct family *f)
{
	union any_buf b;

	return f->ctl(0, f->info, &b);
}

/* The index of an object, or -1. */
static int family_index(const struct family *f, int id)
{
	union any_buf b;

	for (int i = 0, n = family_highest(f); i <= n; i++)
		if (f->ctl(i, f->stat_any, &b) == id)
			return i;
	return -1;
}

static void family_keys(const struct family *f)
{
	key_t key = family_key(1);
	int id, other;

	fails(ANY_GET_ENOENT_NO_KEY, f->get(key, 0600));
	id = f->get(key, IPC_CREAT | 0600);
	works(ANY_GET_OK_CREAT, id >= 0);
	works(ANY_GET_OK_CREAT_AGAIN, f->get(key, IPC_CREAT | 0600) == id);
	works(ANY_GET_OK_FIND, f->get(key, 0) == id);
	works(ANY_GET_OK_EXCL_ALONE, f->get(key, IPC_EXCL | 0600) == id);
	fails(ANY_GET_EEXIST_EXCL, f->get(key, IPC_CREAT | IPC_EXCL | 0600));
	family_rm(f, id);
	fails(ANY_GET_ENOENT_REMOVED_KEY, f->get(key, 0600));
	other = f->get(key, IPC_CREAT | IPC_EXCL | 0600);
	works(ANY_GET_OK_CREAT_EXCL, other >= 0);
	works(ANY_CTL_OK_IPC_RMID_KEY, other >= 0 && other != id);
	family_rm(f, other);
}

static void family_private(const struct family *f)
{
	int a = f->get(IPC_PRIVATE, 0600), b = f->get(IPC_PRIVATE, IPC_CREAT | IPC_EXCL | 0600);
	int c = f->get(IPC_PRIVATE, IPC_CREAT | 0600);

	works(ANY_GET_OK_PRIVATE, a >= 0 && b >= 0 && c >= 0 && a != b && b != c && a != c);
	family_rm(f, a);
	family_rm(f, b);
	family_rm(f, c);
}

static void family_new_object(const struct family *f)
{
	key_t key = family_key(2);
	long before = time(NULL);
	int id = f->get(key, IPC_CREAT | 0x01000000 | 0200000 | 0751);
	union any_buf b = family_stat(f, id);

	works(ANY_GET_OK_UNKNOWN_FLAG, id >= 0);
	works(ANY_GET_OK_MODE, b.perm.mode == 0751);
	works(ANY_GET_OK_OWNER, b.perm.uid == geteuid() && b.perm.cuid == geteuid() && b.perm.gid == getegid() &&
		b.perm.cgid == getegid());
	works(ANY_GET_OK_NEW_TIMES, f->change_time(&b) >= before && f->change_time(&b) <= time(NULL) &&
		f->other_times(&b) == 0);
	works(ANY_CTL_OK_IPC_STAT, b.perm.__key == key && b.perm.mode == 0751 && b.perm.uid == geteuid());
	family_rm(f, id);
}

static void family_ids(const struct family *f)
{
	int removed = family_new(f), id;
	union any_buf b;

	family_rm(f, removed);
	id = family_new(f);
	b = family_stat(f, id);
	set_bad_ids(removed, id);
	bad_ids(ANY_CTL_EINVAL_IPC_STAT_NEGATIVE_ID, bad, f->ctl(bad, IPC_STAT, &b));
	bad_ids(ANY_CTL_EINVAL_IPC_SET_NEGATIVE_ID, bad, f->ctl(bad, IPC_SET, &b));
	bad_ids(ANY_CTL_EINVAL_IPC_RMID_NEGATIVE_ID, bad, f->ctl(bad, IPC_RMID, NULL));
	fails(ANY_CTL_EINVAL_STAT_ID_BEFORE_POINTER, f->ctl(INT_MAX, IPC_STAT, NULL));
	fails(ANY_CTL_EFAULT_SET_POINTER_BEFORE_ID, f->ctl(INT_MAX, IPC_SET, NULL));
	family_rm(f, id);
}

static void family_pointers(const struct family *f)
{
	int id = family_new(f), i = family_index(f, id);

	faults(ANY_CTL_EFAULT_IPC_SET_NULL, POINTERS_IN, p, f->ctl(id, IPC_SET, p));
	faults(ANY_CTL_EFAULT_IPC_STAT_NULL, POINTERS_OUT, p, f->ctl(id, IPC_STAT, p));
	faults(ANY_CTL_EFAULT_IPC_INFO_NULL, POINTERS_OUT, p, f->ctl(0, IPC_INFO, p));
	faults(ANY_CTL_EFAULT_X_INFO_NULL, POINTERS_OUT, p, f->ctl(0, f->info, p));
	faults(ANY_CTL_EFAULT_X_STAT_NULL, POINTERS_OUT, p, f->ctl(i, f->stat, p));
	faults(ANY_CTL_EFAULT_X_STAT_ANY_NULL, POINTERS_OUT, p, f->ctl(i, f->stat_any, p));
	works(ANY_CTL_OK_IPC_RMID_POINTER, f->ctl(id, IPC_RMID, bad_pointer(1)) == 0);
}

static void family_commands(const struct family *f)
{
	int id = family_new(f);
	union any_buf b = family_stat(f, id);

	fails(ANY_CTL_EINVAL_COMMAND_10, f->ctl(id, 10, &b));
	fails(ANY_CTL_EINVAL_COMMAND_99, f->ctl(id, 99, &b));
	fails(ANY_CTL_EINVAL_COMMAND_NEGATIVE, f->ctl(id, -1, &b));
	family_rm(f, id);
}

/* Whether an id of another user exists in this user namespace; path is its uid_map or gid_map. */
static bool family_mapped(const char *path, unsigned id)
{
	unsigned inside, outside, count;
	FILE *f = fopen(path, "r");
	bool found = false;

	while (f && !found && fscanf(f, "%u %u %u", &inside, &outside, &count) == 3)
		found = id >= inside && id - inside < count;
	if (f)
		fclose(f);
	return found;
}

static void family_set(const struct family *f)
{
	uid_t uid = family_mapped("/proc/self/uid_map", 12345) ? 12345 : geteuid();
	gid_t gid = family_mapped("/proc/self/gid_map", 23456) ? 23456 : getegid();
	int id = f->get(family_key(3), IPC_CREAT | 0600);
	union any_buf b = family_stat(f, id), was = b, now;

	b.perm.uid = -1;
	fails(ANY_CTL_EINVAL_SET_UID, f->ctl(id, IPC_SET, &b));
	b = was;
	b.perm.gid = -1;
	fails(ANY_CTL_EINVAL_SET_GID, f->ctl(id, IPC_SET, &b));
	wait_until(time(NULL) > f->change_time(&was));
	b = was;
	b.perm.uid = uid;
	b.perm.gid = gid;
	b.perm.cuid = b.perm.cgid = b.perm.__key = 7;
	b.perm.mode = 0xfe00 | 0640;
	works(ANY_CTL_OK_IPC_SET, f->ctl(id, IPC_SET, &b) == 0);
	now = family_stat(f, id);
	works(ANY_CTL_OK_IPC_SET, now.perm.uid == uid && now.perm.gid == gid);
	works(ANY_CTL_OK_IPC_SET_MODE, now.perm.mode == 0640);
	works(ANY_CTL_OK_IPC_SET_REST, now.perm.cuid == was.perm.cuid && now.perm.cgid == was.perm.cgid &&
		now.perm.__key == was.perm.__key && f->get(family_key(3), 0) == id);
	works(ANY_CTL_OK_IPC_SET_CTIME, f->change_time(&now) > f->change_time(&was));
	works(ANY_CTL_OK_IPC_RMID, f->ctl(id, IPC_RMID, NULL) == 0);
	works(ANY_CTL_OK_IPC_RMID, f->ctl(id, IPC_STAT, &b) == -1 && errno == EINVAL);
}

static int family_others;

static void family_empty(const struct family *f)
{
	union any_buf b;

	family_others = family_used(f);
	if (family_others)
		row_skip(ANY_CTL_OK_INFO_EMPTY, "others have objects here");
	else
		works(ANY_CTL_OK_INFO_EMPTY, f->ctl(0, f->info, &b) == 0 && f->ctl(0, IPC_INFO, &b) == 0);
}

static void family_info(const struct family *f, int first, int last)
{
	int i = family_index(f, first), j = family_index(f, last);
	union any_buf b;

	works(ANY_CTL_OK_IPC_INFO_INDEX, f->ctl(0, IPC_INFO, &b) >= (i > j ? i : j));
	works(ANY_CTL_OK_IPC_INFO_INDEX, f->ctl(0, IPC_INFO, &b) == family_highest(f));
	works(ANY_CTL_OK_INFO_INDEX, f->ctl(family_highest(f), f->stat_any, &b) >= 0);
	works(ANY_CTL_OK_INFO_ANY_ID, f->ctl(INT_MAX, IPC_INFO, &b) >= 0 && f->ctl(INT_MAX, f->info, &b) >= 0);
	fails(ANY_CTL_EINVAL_IPC_INFO_NEGATIVE, f->ctl(-1, IPC_INFO, &b));
	fails(ANY_CTL_EINVAL_X_INFO_NEGATIVE, f->ctl(-1, f->info, &b));
}

static void family_indexes(const struct family *f)
{
	int used = family_used(f), first = family_new(f), last = family_new(f), i, beyond;
	union any_buf b;

	works(ANY_CTL_OK_USED, family_used(f) == used + 2);
	family_info(f, first, last);
	i = family_index(f, first);
	works(ANY_CTL_OK_STAT_INDEX, i >= 0 && f->ctl(i, f->stat, &b) == first && b.perm.mode == 0600);
	works(ANY_CTL_OK_STAT_ANY_INDEX, i >= 0 && f->ctl(i, f->stat_any, &b) == first && b.perm.mode == 0600);
	works(ANY_CTL_OK_STAT_BY_ID, f->ctl(first, f->stat, &b) == first && f->ctl(first, f->stat_any, &b) == first &&
		f->ctl(last, f->stat, &b) == last);
	beyond = family_highest(f) + 1;
	family_rm(f, first);
	fails(ANY_CTL_EINVAL_X_STAT_NEGATIVE, f->ctl(-1, f->stat, &b));
	fails(ANY_CTL_EINVAL_X_STAT_ANY_NEGATIVE, f->ctl(-1, f->stat_any, &b));
	fails(ANY_CTL_EINVAL_X_STAT_UNUSED, f->ctl(i, f->stat, &b));
	fails(ANY_CTL_EINVAL_X_STAT_ANY_UNUSED, f->ctl(i, f->stat_any, &b));
	fails(ANY_CTL_EINVAL_X_STAT_BEYOND, f->ctl(beyond, f->stat, &b));
	fails(ANY_CTL_EINVAL_X_STAT_ANY_BEYOND, f->ctl(beyond, f->stat_any, &b));
	family_rm(f, last);
}

static void family_cases(const struct family *f)
{
	family_empty(f);
	family_keys(f);
	family_private(f);
	family_new_object(f);
	family_ids(f);
	family_pointers(f);
	family_commands(f);
	family_set(f);
	family_indexes(f);
}

/* After all cases: nothing is left behind. */
static int family_done(const struct family *f)
{
	if (!family_others)
		is(family_used(f), 0, "the cases leave no object behind");
	return rows_done();
}

#endif
