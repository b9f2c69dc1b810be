/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of objects. See registry.h for the order of writes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "../persist/store.h"
#include "registry.h"

const struct limit_info limit_info[LIMITS] = {
	[LIM_SHMMAX] = { "shmmax", UINT64_MAX - (1ull << 24), UINT64_MAX },
	[LIM_SHMALL] = { "shmall", UINT64_MAX - (1ull << 24), UINT64_MAX },
	[LIM_SHMMNI] = { "shmmni", 4096, IPCMNI },
	[LIM_SEMMSL] = { "semmsl", 32000, 65536 },
	[LIM_SEMMNS] = { "semmns", 1024000000, INT32_MAX },
	[LIM_SEMOPM] = { "semopm", 500, 1024 },
	[LIM_SEMMNI] = { "semmni", 32000, IPCMNI },
	[LIM_MSGMAX] = { "msgmax", 8192, 32u << 20 },
	[LIM_MSGMNB] = { "msgmnb", 16384, INT32_MAX },
	[LIM_MSGMNI] = { "msgmni", 32000, IPCMNI },
};

static uint32_t hash_cell(enum kind kind, uint32_t key)
{
	return (uint32_t)(REG_HASH_AT / 8) + kind * REG_HASH + (key * 2654435761u >> 16) % REG_HASH;
}

/* Memory for the pages of these cells, before an operation touches them. */
static int ensure(struct ipc_ns *ns, uint32_t cell, uint32_t count)
{
	return count ? file_fence((char *)ns->reg.head + (uint64_t)cell * 8, (size_t)count * 8) : 0;
}

struct perm row_perm(const struct row *r)
{
	return (struct perm){ r->v[R_UID], r->v[R_CUID], r->v[R_GID], r->v[R_CGID], r->v[R_MODE] };
}

static uint32_t row_state(struct ipc_ns *ns, enum kind kind, uint32_t index)
{
	if (index >= rows_high(&ns->reg, kind))
		return ROW_FREE;
	return area_value(&ns->reg, row_cell(kind, index, R_STATE));
}

static void row_load(struct ipc_ns *ns, enum kind kind, uint32_t index, struct row *r)
{
	r->kind = kind;
	r->index = index;
	if (index >= rows_high(&ns->reg, kind)) {
		memset(r->v, 0, sizeof r->v);
		return;
	}
	for (int c = 0; c < ROW_CELLS; c++)
		r->v[c] = area_value(&ns->reg, row_cell(kind, index, c));
}

int registry_read_index(struct ipc_ns *ns, enum kind kind, uint32_t index, struct row *r)
{
	uint64_t x;

	if (index >= IPCMNI)
		return -EINVAL;
	do {
		x = area_idle(&ns->reg);
		row_load(ns, kind, index, r);
	} while (!area_unmoved(&ns->reg, x));
	return ROW_STATE(r->v[R_STATE]) == ROW_FREE ? -EINVAL : 0;
}

int registry_read(struct ipc_ns *ns, enum kind kind, int id, struct row *r)
{
	int e;

	if (id < 0)
		return -EINVAL;
	e = registry_read_index(ns, kind, ID_INDEX(id), r);
	if (!e && ROW_SEQ(r->v[R_STATE]) != ID_SEQ(id))
		return -EINVAL;
	return e;
}

/* Walk a key's chain inside a transaction or a validated read; the cell that points at the row goes to *link. */
static bool find_in(struct ipc_ns *ns, enum kind kind, uint32_t key, uint32_t *index, uint32_t *link)
{
	uint32_t at = hash_cell(kind, key);

	for (uint32_t steps = 0, high = rows_high(&ns->reg, kind); steps <= high; steps++) {
		uint32_t next = area_value(&ns->reg, at);

		if (!next || next > high)
			return false;
		if (area_value(&ns->reg, row_cell(kind, next - 1, R_KEY)) == key &&
		    ROW_STATE(row_state(ns, kind, next - 1)) == ROW_USED) {
			*index = next - 1;
			*link = at;
			return true;
		}
		at = row_cell(kind, next - 1, R_HNEXT);
	}
	return false;
}

int registry_find(struct ipc_ns *ns, enum kind kind, key_t key, struct row *r)
{
	uint32_t index, link;
	uint64_t x;
	bool found;

	do {
		x = area_idle(&ns->reg);
		found = find_in(ns, kind, (uint32_t)key, &index, &link);
		if (found)
			row_load(ns, kind, index, r);
	} while (!area_unmoved(&ns->reg, x));
	return found ? 0 : -ENOENT;
}

uint64_t registry_limit(struct ipc_ns *ns, enum limit l)
{
	uint64_t x, v;

	do {
		x = area_idle(&ns->reg);
		v = area_value(&ns->reg, G_LIMIT + 2 * l) | (uint64_t)area_value(&ns->reg, G_LIMIT + 2 * l + 1) << 32;
	} while (!area_unmoved(&ns->reg, x));
	return v < limit_info[l].max ? v : limit_info[l].max;
}

int registry_set_limit(struct ipc_ns *ns, int who, enum limit l, uint64_t value)
{
	struct txn t;

	if (value > limit_info[l].max)
		return -EINVAL;
	do {
		txn_begin(&t, &ns->reg, (uint32_t)who);
		uint32_t changes = area_value(&ns->reg, G_LIMITS_DIRTY) + 1;

		txn_set(&t, G_LIMIT + 2 * l, (uint32_t)value);
		txn_set(&t, G_LIMIT + 2 * l + 1, (uint32_t)(value >> 32));
		txn_set(&t, G_LIMITS_DIRTY, changes ? changes : 1);
	} while (!txn_commit(&t));
	return registry_sync(ns, who);
}

/* Mark a row changed and put it into the dirty list. */
void row_touch(struct txn *t, enum kind kind, uint32_t index)
{
	uint32_t next = row_cell(kind, index, R_DNEXT), head;
	uint64_t old = area_get(t->area, row_cell(kind, index, R_VERSION));

	txn_put(t, row_cell(kind, index, R_VERSION), old, VALUE(old) + 1);
	if (area_value(t->area, next))
		return;
	head = area_value(t->area, G_DIRTY);
	txn_set(t, next, head ? head : DNEXT_END);
	txn_set(t, G_DIRTY, kind * IPCMNI + index + 1);
}

/* The namespace's totals for an object that comes (sign 1) or goes (-1). */
static void count_entries(struct txn *t, enum kind kind, uint64_t size, int sign)
{
	uint64_t inuse = area_get(t->area, G_INUSE + kind), pages;

	if (sign > 0 || VALUE(inuse))
		txn_put(t, G_INUSE + kind, inuse, VALUE(inuse) + (uint32_t)sign);
	if (kind == KIND_SEM)
		txn_set(t, G_SEMS, area_value(t->area, G_SEMS) + (uint32_t)sign * (uint32_t)size);
	if (kind == KIND_SHM) {
		pages = area_value(t->area, G_PAGES) | (uint64_t)area_value(t->area, G_PAGES + 1) << 32;
		pages += (uint64_t)(int64_t)sign * pages_of(size);
		txn_set(t, G_PAGES, (uint32_t)pages);
		txn_set(t, G_PAGES + 1, (uint32_t)(pages >> 32));
	}
}

static uint64_t limit_in(const struct area *reg, enum limit l)
{
	return area_value(reg, G_LIMIT + 2 * l) | (uint64_t)area_value(reg, G_LIMIT + 2 * l + 1) << 32;
}

/* Inside a transaction or a validated read: which limit leaves no room; LIMITS: none. */
static int sum_reached(const struct area *reg, enum kind kind, uint64_t size)
{
	uint64_t pages;

	if (kind == KIND_SHM) {
		pages = area_value(reg, G_PAGES) | (uint64_t)area_value(reg, G_PAGES + 1) << 32;
		if (pages + pages_of(size) < pages || pages + pages_of(size) > limit_in(reg, LIM_SHMALL))
			return LIM_SHMALL;
	}
	if (kind == KIND_SEM && area_value(reg, G_SEMS) + size > limit_in(reg, LIM_SEMMNS))
		return LIM_SEMMNS;
	return LIMITS;
}

static int number_reached(const struct area *reg, enum kind kind)
{
	static const enum limit mni[KINDS] = { LIM_SHMMNI, LIM_SEMMNI, LIM_MSGMNI };

	return area_value(reg, G_INUSE + kind) >= limit_in(reg, mni[kind]) ? (int)mni[kind] : LIMITS;
}

static int over_quota(struct ipc_ns *ns, uid_t uid, enum kind kind, uint64_t size, bool *quota)
{
	int l = ns->quota ? ns->quota(ns, uid, kind, size) : LIMITS;

	*quota = l < LIMITS;
	return l;
}

static int refuse(struct ipc_ns *ns, enum kind kind, int limit, bool quota)
{
	if (ns->refused)
		ns->refused(ns, kind, limit, quota);
	return -ENOSPC;
}

int registry_room(struct ipc_ns *ns, enum kind kind, uint64_t size)
{
	bool quota = false;
	uint64_t x;
	int l;

	do {
		x = area_idle(&ns->reg);
		l = sum_reached(&ns->reg, kind, size);
		if (l == LIMITS)
			l = over_quota(ns, creds_get()->uid, kind, size, &quota);
	} while (!area_unmoved(&ns->reg, x));
	return l < LIMITS ? refuse(ns, kind, l, quota) : 0;
}

/* The kernel's order: cyclic from the last index given, within max(64, 1.5 times those in use). */
static int pick_index(struct ipc_ns *ns, struct txn *t, enum kind kind, uint32_t *index, uint32_t *seq)
{
	uint32_t in_use = area_value(t->area, G_INUSE + kind), last = area_value(t->area, G_LAST + kind);
	uint32_t range = in_use < 43 ? 64 : in_use < IPCMNI ? in_use * 3 / 2 : IPCMNI, i;

	if (range > IPCMNI)
		range = IPCMNI;
	*seq = area_value(t->area, G_SEQ + kind) % (INT32_MAX / IPCMNI);
	for (i = 0; i < range; i++) {
		uint32_t at = (last + i) % range;

		if (last >= range)
			at = i;
		if (ensure(ns, row_cell(kind, at, 0), ROW_CELLS))
			return -ENOMEM;
		if (ROW_STATE(row_state(ns, kind, at)) != ROW_FREE)
			continue;
		*index = at;
		if (at + 1 <= last)
			*seq = (*seq + 1) % (INT32_MAX / IPCMNI);
		return 0;
	}
	return -ENOSPC;
}

static void add_entries(struct txn *t, struct row *r, uint32_t index, uint32_t seq)
{
	uint32_t base = row_cell(r->kind, index, 0), hash = hash_cell(r->kind, r->v[R_KEY]);

	r->index = index;
	r->v[R_STATE] = ROW_USED | seq << 8;
	for (int c = 0; c < ROW_SAVED_CELLS; c++)
		txn_set(t, base + (uint32_t)c, r->v[c]);
	if (r->v[R_KEY] != IPC_PRIVATE) {
		txn_set(t, base + R_HNEXT, area_value(t->area, hash));
		txn_set(t, hash, index + 1);
	}
	txn_set(t, G_LAST + r->kind, index + 1);
	if (area_value(t->area, G_HIGH + r->kind) <= index)
		txn_set(t, G_HIGH + r->kind, index + 1);
	txn_set(t, G_SEQ + r->kind, seq);
	count_entries(t, r->kind, row_size(r), 1);
	row_touch(t, r->kind, index);
}

int registry_add(struct ipc_ns *ns, int who, struct row *r)
{
	uint32_t index = 0, link, seq = 0;
	struct txn t;
	int e, l;

	for (;;) {
		bool quota = false;

		txn_begin(&t, &ns->reg, (uint32_t)who);
		e = 0;
		l = LIMITS;
		if (r->v[R_KEY] != IPC_PRIVATE && find_in(ns, r->kind, r->v[R_KEY], &index, &link))
			e = -EEXIST;
		if (!e)
			l = sum_reached(&ns->reg, r->kind, row_size(r));
		if (!e && l == LIMITS)
			l = number_reached(&ns->reg, r->kind);
		if (!e && l == LIMITS)
			l = over_quota(ns, r->v[R_UID], r->kind, row_size(r), &quota);
		if (!e && l == LIMITS)
			e = pick_index(ns, &t, r->kind, &index, &seq);
		if (e || l < LIMITS) {
			if (txn_valid(&t))
				return e ? e : refuse(ns, r->kind, l, quota);
			continue;
		}
		add_entries(&t, r, index, seq);
		if (txn_commit(&t))
			return 0;
	}
}

/* Unhash: the key leads nowhere from now on. */
static void unhash_entries(struct ipc_ns *ns, struct txn *t, const struct row *r)
{
	uint32_t at = hash_cell(r->kind, r->v[R_KEY]);

	for (uint32_t steps = 0, high = rows_high(&ns->reg, r->kind); r->v[R_KEY] != IPC_PRIVATE && steps <= high; steps++) {
		uint32_t next = area_value(&ns->reg, at);

		if (!next || next > high)
			return;
		if (next - 1 == r->index) {
			txn_set(t, at, area_value(&ns->reg, row_cell(r->kind, r->index, R_HNEXT)));
			txn_set(t, row_cell(r->kind, r->index, R_HNEXT), 0);
			return;
		}
		at = row_cell(r->kind, next - 1, R_HNEXT);
	}
}

/* Entries that free a row that is not hashed any more, or never was. */
void row_free_entries(struct txn *t, const struct row *r)
{
	txn_set(t, row_cell(r->kind, r->index, R_STATE), ROW_FREE | ROW_SEQ(r->v[R_STATE]) << 8);
	count_entries(t, r->kind, row_size(r), -1);
	row_touch(t, r->kind, r->index);
}

int registry_remove(struct ipc_ns *ns, int who, struct row *r, bool keep)
{
	int id = row_id(r);
	struct txn t;

	do {
		int e = 0;

		txn_begin(&t, &ns->reg, (uint32_t)who);
		row_load(ns, r->kind, ID_INDEX(id), r);
		if (ROW_STATE(r->v[R_STATE]) == ROW_FREE || ROW_SEQ(r->v[R_STATE]) != ID_SEQ(id))
			e = -EINVAL;
		if (e) {
			if (txn_valid(&t))
				return e;
			t.too_long = true;
			continue;
		}
		if (ROW_STATE(r->v[R_STATE]) == ROW_USED)
			unhash_entries(ns, &t, r);
		if (keep && r->v[R_NATTCH]) {
			uint32_t base = row_cell(r->kind, r->index, 0);

			txn_set(&t, base + R_STATE, ROW_DEST | ROW_SEQ(r->v[R_STATE]) << 8);
			txn_set(&t, base + R_KEY, IPC_PRIVATE);
			txn_set(&t, base + R_MODE, r->v[R_MODE] | SHM_DEST);
			row_touch(&t, r->kind, r->index);
		} else {
			row_free_entries(&t, r);
		}
	} while (!txn_commit(&t));
	return keep && r->v[R_NATTCH] ? 1 : 0;
}

int registry_set_perm(struct ipc_ns *ns, int who, struct row *r, uid_t uid, gid_t gid, uint32_t mode, uint32_t size,
		      uint32_t file)
{
	uint32_t base = row_cell(r->kind, r->index, 0);
	int id = row_id(r);
	struct txn t;

	do {
		bool over;
		int e = 0;

		txn_begin(&t, &ns->reg, (uint32_t)who);
		row_load(ns, r->kind, r->index, r);
		if (ROW_STATE(r->v[R_STATE]) == ROW_FREE || row_id(r) != id)
			e = -EIDRM;
		else if (uid != r->v[R_UID] && creds_get()->uid && over_quota(ns, uid, r->kind, row_size(r), &over) < LIMITS)
			e = -EDQUOT;
		if (e) {
			if (txn_valid(&t))
				return e;
			t.too_long = true;
			continue;
		}
		txn_set(&t, base + R_UID, uid);
		txn_set(&t, base + R_GID, gid);
		txn_set(&t, base + R_MODE, (r->v[R_MODE] & ~0777u) | (mode & 0777));
		txn_set(&t, base + R_CTIME, now_seconds());
		if (r->kind == KIND_MSG)
			txn_set(&t, base + R_SIZE, size);
		if (file)
			txn_set(&t, base + R_FILE, file);
		row_touch(&t, r->kind, r->index);
	} while (!txn_commit(&t));
	return 0;
}

#define SYNC_BATCH 12

/* A link of the dirty list; 0 at its end. */
static uint32_t dirty_link(struct ipc_ns *ns, uint32_t next)
{
	if (!next || next > KINDS * IPCMNI || (next - 1) % IPCMNI >= rows_high(&ns->reg, (next - 1) / IPCMNI))
		return 0;
	return next;
}

/* The first rows of the dirty list, as one state; their number. */
static uint32_t dirty_rows(struct ipc_ns *ns, struct row rows[SYNC_BATCH], uint32_t *rest)
{
	uint32_t n, next;
	uint64_t x;

	do {
		x = area_idle(&ns->reg);
		next = dirty_link(ns, area_value(&ns->reg, G_DIRTY));
		for (n = 0; next && n < SYNC_BATCH; n++) {
			row_load(ns, (next - 1) / IPCMNI, (next - 1) % IPCMNI, &rows[n]);
			next = dirty_link(ns, rows[n].v[R_DNEXT]);
		}
		*rest = next;
	} while (!area_unmoved(&ns->reg, x));
	return n;
}

static int save_rows(struct ipc_ns *ns, const struct row *rows, uint32_t n)
{
	int e = 0;

	for (uint32_t i = 0; i < n && !e; i++) {
		const struct row *r = &rows[i];

		if (ROW_STATE(r->v[R_STATE]) == ROW_FREE)
			e = store_delete(ns->store, r->kind, r->index);
		else
			e = store_put(ns->store, r->kind, r->index, r->v);
		if (!e)
			e = store_put_counter(ns->store, r->kind, area_value(&ns->reg, G_LAST + r->kind),
					      area_value(&ns->reg, G_SEQ + r->kind));
	}
	return e;
}

/* Take the saved rows out of the list, unless one of them, or the list, has changed since. */
static void clean_rows(struct ipc_ns *ns, int who, const struct row *rows, uint32_t n, uint32_t rest)
{
	struct txn t;

	do {
		txn_begin(&t, &ns->reg, (uint32_t)who);
		bool same = area_value(t.area, G_DIRTY) == rows[0].kind * IPCMNI + rows[0].index + 1;

		for (uint32_t i = 0; i < n && same; i++)
			same = area_value(t.area, row_cell(rows[i].kind, rows[i].index, R_VERSION)) ==
			       rows[i].v[R_VERSION];
		if (!same) {
			if (txn_valid(&t))
				return;
			t.too_long = true;
			continue;
		}
		txn_set(&t, G_DIRTY, rest);
		for (uint32_t i = 0; i < n; i++)
			txn_set(&t, row_cell(rows[i].kind, rows[i].index, R_DNEXT), 0);
	} while (!txn_commit(&t));
}

static int save_limits(struct ipc_ns *ns)
{
	int e = 0;

	for (int l = 0; l < LIMITS && !e; l++)
		e = store_put_limit(ns->store, limit_info[l].name, registry_limit(ns, (enum limit)l));
	return e;
}

static void clean_limits(struct ipc_ns *ns, int who, uint32_t changes)
{
	struct txn t;

	do {
		txn_begin(&t, &ns->reg, (uint32_t)who);
		if (area_value(&ns->reg, G_LIMITS_DIRTY) == changes)
			txn_set(&t, G_LIMITS_DIRTY, 0);
	} while (!txn_commit(&t));
}

bool registry_unsaved(struct ipc_ns *ns)
{
	return area_value(&ns->reg, G_DIRTY) || area_value(&ns->reg, G_LIMITS_DIRTY);
}

int registry_sync(struct ipc_ns *ns, int who)
{
	struct row rows[SYNC_BATCH];
	uint32_t n, rest, limits;
	int e = 0;

	while (!e && (dirty_rows(ns, rows, &rest) || area_value(&ns->reg, G_LIMITS_DIRTY))) {
		e = store_lock(ns->store);
		if (e)
			break;
		limits = area_value(&ns->reg, G_LIMITS_DIRTY);
		n = dirty_rows(ns, rows, &rest);
		e = save_rows(ns, rows, n);
		if (!e && limits)
			e = save_limits(ns);
		e = store_unlock(ns->store, e);
		if (!e && n)
			clean_rows(ns, who, rows, n, rest);
		if (!e && limits)
			clean_limits(ns, who, limits);
	}
	return e == -EBUSY ? 0 : e;
}

uint32_t registry_max_index(struct ipc_ns *ns, enum kind kind, uint32_t *in_use)
{
	uint32_t i, left;
	uint64_t x;

	do {
		x = area_idle(&ns->reg);
		left = *in_use = area_value(&ns->reg, G_INUSE + kind);
		for (i = 0; i < rows_high(&ns->reg, kind) && left; i++)
			if (ROW_STATE(row_state(ns, kind, i)) != ROW_FREE)
				left--;
	} while (!area_unmoved(&ns->reg, x));
	return i ? i - 1 : 0;
}

/* Put what the store has into an empty registry. */
struct load { struct ipc_ns *ns; int error; };

static void load_row(void *arg, int kind, uint32_t index, const uint32_t *v)
{
	struct load *l = arg;
	struct area *a = &l->ns->reg;
	uint32_t base = row_cell(kind, index, 0), hash = hash_cell(kind, v[R_KEY]), high;
	struct row r = { .kind = kind, .index = index };
	struct txn t;

	if (l->error)
		return;
	/* And the rows below, which count as used from now on. */
	high = rows_high(&l->ns->reg, (enum kind)kind);
	if (ensure(l->ns, base, ROW_CELLS) ||
	    (high < index && ensure(l->ns, row_cell(kind, high, 0), (index - high) * ROW_CELLS))) {
		l->error = -ENOSPC;
		return;
	}
	memcpy(r.v, v, sizeof(uint32_t) * ROW_SAVED_CELLS);
	do {
		txn_begin(&t, a, 1);
		for (int c = 0; c < ROW_SAVED_CELLS; c++)
			txn_set(&t, base + (uint32_t)c, c == R_NATTCH ? 0 : v[c]);
		if (v[R_KEY] != IPC_PRIVATE) {
			txn_set(&t, base + R_HNEXT, area_value(a, hash));
			txn_set(&t, hash, index + 1);
		}
		if (area_value(a, G_HIGH + (uint32_t)kind) <= index)
			txn_set(&t, G_HIGH + (uint32_t)kind, index + 1);
		count_entries(&t, kind, row_size(&r), 1);
	} while (!txn_commit(&t));
}

static void load_limit(void *arg, const char *name, uint64_t value)
{
	struct load *l = arg;

	for (int i = 0; i < LIMITS; i++)
		if (!strcmp(name, limit_info[i].name)) {
			atomic_store(area_cell(&l->ns->reg, G_LIMIT + 2 * (uint32_t)i), (uint32_t)value);
			atomic_store(area_cell(&l->ns->reg, G_LIMIT + 2 * (uint32_t)i + 1), (uint32_t)(value >> 32));
		}
}

static void load_counter(void *arg, int kind, uint32_t last, uint32_t seq)
{
	struct load *l = arg;

	atomic_store(area_cell(&l->ns->reg, G_LAST + (uint32_t)kind), last);
	atomic_store(area_cell(&l->ns->reg, G_SEQ + (uint32_t)kind), seq);
}

/* A new registry, mapped and seen by nobody else yet: limits, counters and rows as the store has them. */
int registry_init(struct ipc_ns *ns)
{
	struct load l = { .ns = ns };
	int e;

	for (uint32_t i = 0; i < LIMITS; i++)
		load_limit(&l, limit_info[i].name, limit_info[i].initial);
	e = file_fence(area_who(&ns->reg, 0), WHO_SIZE * 4);
	if (!e)
		e = ensure(ns, (uint32_t)(REG_HASH_AT / 8), KINDS * REG_HASH);
	if (!e)
		e = store_load(ns->store, &l, load_row, load_limit, load_counter);
	return e ? e : l.error;
}

int registry_check(struct ipc_ns *ns, const char *name)
{
	uint32_t high = area_value(&ns->reg, G_ATT_HIGH), kind = 0;
	int e = ensure(ns, (uint32_t)(REG_HASH_AT / 8), KINDS * REG_HASH);

	while (high <= ATT_MAX && kind < KINDS && area_value(&ns->reg, G_HIGH + kind) <= IPCMNI)
		kind++;
	if (kind < KINDS)
		return ns_fail(-EUCLEAN, "%s/%s has impossible numbers", ns->dir, name);
	for (kind = 0; kind < KINDS && !e; kind++)
		e = ensure(ns, row_cell(kind, 0, 0), area_value(&ns->reg, G_HIGH + kind) * ROW_CELLS);
	if (!e)
		e = ensure(ns, att_cell(0, 0), high * ATT_CELLS);
	return e ? ns_fail(-ENOSPC, "no room for %s/%s", ns->dir, name) : 0;
}
