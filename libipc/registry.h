/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registry: the namespace's table of objects, limits, id counters and attachments. A control area like those of
 * the objects, so a process that dies or stops in the middle of a change holds up nobody.
 *
 * Order of a creation: memory, registry (the commit: from here on it exists), row in the store, answer. Of a removal:
 * registry (the commit), control area closed, memory, row in the store. A row of the registry that the store does not
 * have yet stands in the dirty list; whoever changes anything next saves it too (registry_sync).
 */
#ifndef IPC_REGISTRY_H
#define IPC_REGISTRY_H

#include "ns.h"

enum limit { LIM_SHMMAX, LIM_SHMALL, LIM_SHMMNI, LIM_SEMMSL, LIM_SEMMNS, LIM_SEMOPM, LIM_SEMMNI, LIM_MSGMAX, LIM_MSGMNB,
	     LIM_MSGMNI, LIMITS };

struct limit_info { const char *name; uint64_t initial, max; };
extern const struct limit_info limit_info[LIMITS];

/* cells of the head page, by index */
enum {
	G_LIMIT = 16, /* lo, hi each */
	G_INUSE = G_LIMIT + 2 * LIMITS,
	G_LAST = G_INUSE + KINDS, /* last index given + 1 */
	G_SEQ = G_LAST + KINDS,
	G_HIGH = G_SEQ + KINDS, /* rows below have memory; the others are not to be read */
	G_PAGES = G_HIGH + KINDS, /* of shared memory: lo, hi */
	G_SEMS = G_PAGES + 2,
	G_DIRTY, /* first row number + 1 */
	G_ATT_FREE,
	G_ATT_HIGH,
	G_READY, /* 1: loaded from the store */
	G_LIMITS_DIRTY, /* changes of limits that the store does not have yet; 0: none */
	G_END
};

/* cells of a row */
enum row_cell { R_STATE, R_KEY, R_MODE, R_UID, R_GID, R_CUID, R_CGID, R_SIZE, R_SIZE_HI, R_FILE, R_CTIME, R_CPID, R_LPID,
		R_ATIME, R_DTIME, R_NATTCH, R_VERSION, R_HNEXT, R_DNEXT, R_CELLS };

#define ROW_CELLS 20
#define ROW_SAVED_CELLS R_VERSION /* the first ones are what the store keeps */
enum { ROW_FREE, ROW_USED, ROW_DEST };
#define ROW_STATE(v) ((v) & 0xff)
#define ROW_SEQ(v) ((v) >> 8 & (INT32_MAX / IPCMNI))
#define DNEXT_END 0xffffffffu

#define ATT_MAX 262144u
enum { A_SEG, A_COUNT, A_NEXT, ATT_CELLS }; /* row index + 1 of the segment; mappings; record number */

#define REG_HASH_AT ((uint64_t)PAGE)
#define REG_HASH 4096u /* buckets of a kind */
#define REG_ROWS_AT (REG_HASH_AT + 8ull * KINDS * REG_HASH)
#define REG_ATT_HEADS_AT (REG_ROWS_AT + 8ull * ROW_CELLS * KINDS * IPCMNI)
#define REG_ATT_AT (REG_ATT_HEADS_AT + 8ull * WHO_MAX)
#define REG_WHO_AT (REG_ATT_AT + 8ull * ATT_CELLS * ATT_MAX)
#define REG_LENGTH (REG_WHO_AT + (uint64_t)WHO_SIZE * WHO_MAX)

static inline uint32_t row_cell(enum kind kind, uint32_t index, enum row_cell c)
{
	return (uint32_t)(REG_ROWS_AT / 8) + (kind * IPCMNI + index) * ROW_CELLS + c;
}

/* Rows of indexes never used may have no memory: reading one would take some, and there may be none. */
static inline uint32_t rows_high(const struct area *reg, enum kind kind)
{
	uint32_t high = area_value(reg, G_HIGH + kind);

	return high < IPCMNI ? high : IPCMNI;
}

static inline uint32_t att_high(const struct area *reg)
{
	uint32_t high = area_value(reg, G_ATT_HIGH);

	return high < ATT_MAX ? high : ATT_MAX;
}

static inline uint32_t att_head(uint32_t slot)
{
	return (uint32_t)(REG_ATT_HEADS_AT / 8) + slot;
}

static inline uint32_t att_cell(uint32_t record, int c)
{
	return (uint32_t)(REG_ATT_AT / 8) + record * ATT_CELLS + (uint32_t)c;
}

struct row {
	enum kind kind;
	uint32_t index;
	uint32_t v[ROW_CELLS];
};

static inline int row_id(const struct row *r)
{
	return (int)(ROW_SEQ(r->v[R_STATE]) * IPCMNI + r->index);
}

static inline uint64_t row_size(const struct row *r)
{
	return (uint64_t)r->v[R_SIZE_HI] << 32 | r->v[R_SIZE];
}

static inline uint64_t pages_of(uint64_t bytes)
{
	return bytes / PAGE + (bytes % PAGE != 0);
}

/* A daemon may set a quota for each uid, of the same name. */
static inline bool limit_has_quota(enum limit l)
{
	return l == LIM_SHMMNI || l == LIM_SHMALL || l == LIM_SEMMNI || l == LIM_SEMMNS || l == LIM_MSGMNI;
}

struct perm row_perm(const struct row *r);

/* One state of a row; -EINVAL when there is no such object (index: any sequence). */
int registry_read(struct ipc_ns *ns, enum kind kind, int id, struct row *r);
int registry_read_index(struct ipc_ns *ns, enum kind kind, uint32_t index, struct row *r);
int registry_find(struct ipc_ns *ns, enum kind kind, key_t key, struct row *r); /* or -ENOENT */

uint64_t registry_limit(struct ipc_ns *ns, enum limit l);
int registry_set_limit(struct ipc_ns *ns, int who, enum limit l, uint64_t value);

/* Before memory is made for an object of the caller's: -ENOSPC when there is no room for its size, or in its quota. */
int registry_room(struct ipc_ns *ns, enum kind kind, uint64_t size);
/* Publish a new object (r: key, mode, size, owner, file). -EEXIST when the key is there by now, -ENOSPC. */
int registry_add(struct ipc_ns *ns, int who, struct row *r);
/* Remove it, or with keep (attached segments) mark it; -EINVAL when it is gone already. */
int registry_remove(struct ipc_ns *ns, int who, struct row *r, bool keep);
/* -EDQUOT: it is given to a uid whose quota is used up, by another one than uid 0. */
int registry_set_perm(struct ipc_ns *ns, int who, struct row *r, uid_t uid, gid_t gid, uint32_t mode, uint32_t size,
		      uint32_t file); /* file: where its memory is from now on; 0: where it was */
/*
 * Bring the store up to date before an answer. While somebody else keeps the store's lock and does not go on, the answer
 * goes ahead: he saves what is there when he goes on, and whoever comes first if he dies.
 */
int registry_sync(struct ipc_ns *ns, int who);
bool registry_unsaved(struct ipc_ns *ns);

void row_touch(struct txn *t, enum kind kind, uint32_t index);
void row_free_entries(struct txn *t, const struct row *r);
uint32_t registry_max_index(struct ipc_ns *ns, enum kind kind, uint32_t *in_use);

int registry_init(struct ipc_ns *ns);
/* Of a registry just mapped: are its numbers possible, and is there memory for what they count? */
int registry_check(struct ipc_ns *ns, const char *name);

#endif
