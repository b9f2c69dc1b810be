/* SPDX-License-Identifier: BSD-2-Clause */
/* Attachment records. See attach.h. */
#include <errno.h>
#include <string.h>

#include "attach.h"
#include "route_call.h"
#include "route_wire.h"

static bool segment_in(struct txn *t, int id, struct row *r)
{
	r->kind = KIND_SHM;
	r->index = ID_INDEX(id);
	if (r->index >= rows_high(t->area, KIND_SHM))
		return false;
	for (int c = 0; c < ROW_CELLS; c++)
		r->v[c] = area_value(t->area, row_cell(KIND_SHM, r->index, c));
	return ROW_STATE(r->v[R_STATE]) != ROW_FREE && ROW_SEQ(r->v[R_STATE]) == ID_SEQ(id);
}

/* A free record: from the free list, or the next that was never used. */
static int take_record(struct ipc_ns *ns, struct txn *t, uint32_t *record)
{
	uint32_t free = area_value(t->area, G_ATT_FREE), high = att_high(t->area);

	if (free && free <= high) {
		*record = free;
		txn_set(t, G_ATT_FREE, area_value(t->area, att_cell(free - 1, A_NEXT)));
		return 0;
	}
	if (high == ATT_MAX || file_fence(area_cell(&ns->reg, att_cell(high, 0)), 8 * ATT_CELLS))
		return -ENOMEM;
	*record = high + 1;
	txn_set(t, G_ATT_HIGH, high + 1);
	return 0;
}

int attach_add(struct ipc_ns *ns, int who, uint32_t tag, int id, pid_t pid, uint32_t *record)
{
	uint32_t base = row_cell(KIND_SHM, ID_INDEX(id), 0), head = att_head(SLOT_OF(tag));
	struct row r;
	struct txn t;
	int e;

	if (ns->wire)
		return wire_attached(ns, tag == ns->tag ? 0 : tag, &id, record, 1);
	if (ns->att_tag != tag && file_fence(area_cell(&ns->reg, head), 8))
		return -ENOMEM;
	ns->att_tag = tag;
	do {
		txn_begin(&t, &ns->reg, (uint32_t)who);
		e = segment_in(&t, id, &r) ? take_record(ns, &t, record) : -EIDRM;
		if (e) {
			if (txn_valid(&t))
				return e;
			t.too_long = true;
			continue;
		}
		txn_set(&t, att_cell(*record - 1, A_SEG), r.index + 1);
		txn_set(&t, att_cell(*record - 1, A_COUNT), ROW_SEQ(r.v[R_STATE]));
		txn_set(&t, att_cell(*record - 1, A_NEXT), area_value(t.area, head));
		txn_set(&t, head, *record);
		txn_set(&t, base + R_NATTCH, r.v[R_NATTCH] + 1);
		txn_set(&t, base + R_ATIME, now_seconds());
		txn_set(&t, base + R_LPID, (uint32_t)pid);
		row_touch(&t, KIND_SHM, r.index); /* saved with the next change of anything */
	} while (!txn_commit(&t));
	return 0;
}

/* The cell that points at the record in its slot's list; 0 if it is not there. */
static uint32_t find_record(struct txn *t, uint32_t tag, uint32_t record)
{
	uint32_t at = att_head(SLOT_OF(tag)), high = att_high(t->area);

	for (uint32_t steps = 0; steps < high; steps++) {
		uint32_t next = area_value(t->area, at);

		if (next == record)
			return at;
		if (!next || next > high)
			return 0;
		at = att_cell(next - 1, A_NEXT);
	}
	return 0;
}

static void drop_entries(struct txn *t, uint32_t link, uint32_t record, pid_t pid, struct row *r,
			 bool *freed)
{
	uint32_t seg = area_value(t->area, att_cell(record - 1, A_SEG)) - 1, base = row_cell(KIND_SHM, seg, 0);
	uint32_t seq = area_value(t->area, att_cell(record - 1, A_COUNT));

	*freed = false;
	txn_set(t, link, area_value(t->area, att_cell(record - 1, A_NEXT)));
	txn_set(t, att_cell(record - 1, A_NEXT), area_value(t->area, G_ATT_FREE));
	txn_set(t, att_cell(record - 1, A_SEG), 0);
	txn_set(t, G_ATT_FREE, record);
	if (seg >= IPCMNI || !segment_in(t, (int)(seg + seq * IPCMNI), r))
		return;
	if (r->v[R_NATTCH])
		txn_set(t, base + R_NATTCH, r->v[R_NATTCH] - 1);
	txn_set(t, base + R_DTIME, now_seconds());
	txn_set(t, base + R_LPID, (uint32_t)pid);
	*freed = ROW_STATE(r->v[R_STATE]) == ROW_DEST && r->v[R_NATTCH] == 1;
	if (*freed)
		row_free_entries(t, r);
	else
		row_touch(t, KIND_SHM, r->index);
}

/* The memory of a segment whose row is free now. Its row in the store goes with the next change that is saved. */
static void free_segment(struct ipc_ns *ns, const struct row *r)
{
	char name[24];

	object_removing(ns, KIND_SHM, r->v[R_FILE]);
	object_name(name, KIND_SHM, (int)r->v[R_FILE]);
	file_remove(ns, name);
	object_made(ns);
}

void attach_drop(struct ipc_ns *ns, int who, uint32_t tag, uint32_t record, pid_t pid)
{
	struct cold c;
	struct row r;
	struct txn t;
	bool freed;

	if (!record)
		return;
	if (ns->wire) {
		wire_detach(ns, record);
		return;
	}
	do {
		txn_begin(&t, &ns->reg, (uint32_t)who);
		uint32_t link = find_record(&t, tag, record);

		if (!link) {
			if (txn_valid(&t))
				return;
			t.too_long = true;
			continue;
		}
		drop_entries(&t, link, record, pid, &r, &freed);
	} while (!txn_commit(&t));
	if (freed) {
		ns_quiet(&c); /* the caller may only hold them */
		free_segment(ns, &r);
		registry_sync(ns, who);
		ns_loud(&c);
	}
}

/* The slot's list begins with this record; 0: it is empty, or the slot is not the one that was asked for any more. */
static uint32_t first_record(struct ipc_ns *ns, struct txn *t, uint32_t tag)
{
	uint32_t record = area_value(t->area, att_head(SLOT_OF(tag)));
	uint64_t word = atomic_load(&ns->slots->row[SLOT_OF(tag)].word);

	/* Somebody else may have reaped the slot, and given it away, since we asked. */
	return TAG(SLOT_OF(tag), WORD_GEN(word)) != tag ? 0 : record;
}

static void drop_list(struct ipc_ns *ns, int who, uint32_t tag, pid_t pid, bool execed)
{
	uint32_t head = att_head(SLOT_OF(tag));
	uint32_t steps = 0;

	if (file_fence(area_cell(&ns->reg, head), 8))
		return;
	for (;;) {
		struct row r;
		struct txn t;
		bool freed;

		txn_begin(&t, &ns->reg, (uint32_t)who);
		uint32_t record = first_record(ns, &t, tag);

		/* Asked after the record was read: if a new image had made it, its slot would be locked by now. */
		if (!record || (execed && slot_life_slow(ns, tag) == LIFE_ALIVE)) {
			if (txn_valid(&t))
				return;
			continue;
		}
		if (record > att_high(t.area) || steps > ATT_MAX) { /* damaged: no list, or one without an end */
			txn_set(&t, head, 0);
			txn_commit(&t);
			continue;
		}
		drop_entries(&t, head, record, pid, &r, &freed);
		if (!txn_commit(&t))
			continue;
		steps++;
		if (freed)
			free_segment(ns, &r);
	}
}

void attach_drop_all(struct ipc_ns *ns, int who, uint32_t tag, pid_t pid)
{
	drop_list(ns, who, tag, pid, false);
}

void attach_drop_execed(struct ipc_ns *ns, int who, uint32_t tag, pid_t pid)
{
	drop_list(ns, who, tag, pid, true);
}

/* Those that could not be counted have record 0. */
int attach_fork_prepare(struct ipc_ns *ns, int who)
{
	uint32_t tag = slot_newborn(ns);

	for (uint32_t i = 0; i < ns->att_count; i++)
		ns->att[i].fork_record = 0;
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr && attach_add(ns, who, tag, ns->att[i].id, ns->pid, &ns->att[i].fork_record))
			return -ENOMEM;
	return 0;
}

void attach_fork_child(struct ipc_ns *ns)
{
	for (uint32_t i = 0; i < ns->att_count; i++)
		ns->att[i].record = ns->att[i].fork_record;
}
