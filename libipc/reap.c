/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reaping: what a process that has gone had in the namespace is settled by whoever asks for it first. Every step is a
 * published operation, or idempotent, so several reapers do no harm, and neither does one that dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "obj_msg.h"
#include "obj_sem.h"
#include "slot.h"

struct slot_notes *slot_map_notes(struct ipc_ns *ns, uint32_t slot, size_t *length)
{
	char name[24];
	struct stat st;
	void *p;
	int fd;

	slot_name(name, slot);
	fd = file_open(ns, name, O_RDONLY);
	if (fd < 0)
		return NULL;
	*length = !fstat(fd, &st) && st.st_size > 8 ? (size_t)st.st_size : 0;
	p = *length ? file_map(*length, PROT_READ, MAP_SHARED, fd) : NULL;
	close(fd);
	return p;
}

static bool still(struct ipc_ns *ns, uint32_t tag)
{
	return TAG(SLOT_OF(tag), WORD_GEN(atomic_load(&ns->slots->row[SLOT_OF(tag)].word))) == tag;
}

static void settle_object(struct ipc_ns *ns, int who, uint64_t note, uint32_t tag, bool undo)
{
	enum kind kind = (enum kind)(note >> 32);
	struct obj *o;

	if ((kind != KIND_SEM && kind != KIND_MSG) || object_open(ns, kind, (int)(uint32_t)note, who, &o))
		return;
	if (ns->enter)
		ns->enter(ns, &o->area);
	if (kind == KIND_SEM)
		sem_set_settle(ns, who, o, tag, undo);
	else
		msg_queue_settle(ns, who, o, tag);
}

static void settle_objects(struct ipc_ns *ns, int who, uint32_t tag, bool undo)
{
	size_t length;
	struct slot_notes *n = slot_map_notes(ns, SLOT_OF(tag), &length);

	if (!n)
		return;
	for (uint32_t i = 0; i < atomic_load(&n->count) && 8 + 8ull * i + 8 <= length && still(ns, tag); i++)
		settle_object(ns, who, n->note[i], tag, undo);
	munmap(n, length);
}

static void free_whos(struct ipc_ns *ns, uint32_t tag)
{
	uint32_t high = whos_high(ns);

	for (uint32_t w = 1; w < high; w++) {
		uint64_t owner = tag;

		atomic_compare_exchange_strong(&ns->slots->who[w], &owner, 0);
	}
}

/* It died, or another of its threads called exec, while it made or removed an object: a file that no row names is
 * nobody's. */
static void finish_file(struct ipc_ns *ns, uint32_t tag, uint64_t making)
{
	enum kind kind = (enum kind)((making >> 32) - 1);
	uint32_t high;
	char name[24];
	struct row r;

	if (!making || kind >= KINDS)
		return;
	high = area_value(&ns->reg, G_HIGH + kind); /* others come and go meanwhile: their number is no measure */
	for (uint32_t i = 0; i < high; i++)
		if (!registry_read_index(ns, kind, i, &r) && r.v[R_FILE] == (uint32_t)making)
			return;
	object_name(name, kind, (int)(uint32_t)making);
	if (still(ns, tag) && ns->left)
		ns->left(ns, kind, (uint32_t)making);
	if (still(ns, tag))
		file_remove(ns, name);
}

static void finish_making(struct ipc_ns *ns, uint32_t tag)
{
	struct slot_row *r = &ns->slots->row[SLOT_OF(tag)];

	finish_file(ns, tag, atomic_load(&r->making));
	finish_file(ns, tag, atomic_load(&r->leaving));
}

void reap_exec(struct ipc_ns *ns, int who, uint32_t tag)
{
	uint32_t mine = (uint32_t)who;

	settle_objects(ns, who, tag, false);
	attach_drop_all(ns, who, tag, slot_pid(ns, tag));
	finish_making(ns, tag);
	atomic_store(&ns->slots->row[SLOT_OF(tag)].making, 0);
	atomic_store(&ns->slots->row[SLOT_OF(tag)].leaving, 0);
	for (uint32_t w = 1; w < whos_high(ns); w++) {
		uint64_t owner = tag;

		if (w != mine)
			atomic_compare_exchange_strong(&ns->slots->who[w], &owner, 0);
	}
}

/* What is cached of this process's undo rows ends with them. */
void reap_own_undo(struct ipc_ns *ns, int who)
{
	struct slot_notes *n = ns->slot_file;

	settle_objects(ns, who, ns->tag, true);
	for (uint32_t i = 0; n && i < atomic_load(&n->count); i++)
		if ((enum kind)(n->note[i] >> 32) == KIND_SEM)
			atomic_store(&ns->obj[KIND_SEM][ID_INDEX((uint32_t)n->note[i])].undo, -1);
}

/* In a daemon a client's view does not reap, its own namespace does; a client leaves it to the daemon. */
static bool reaper(struct ipc_ns **ns, int *who)
{
	if ((*ns)->base) {
		*ns = (*ns)->base;
		*who = ns_enter(*ns);
	}
	return !(*ns)->wire && *who > 0;
}

void slot_reap(struct ipc_ns *ns, int who, uint32_t tag)
{
	if (!reaper(&ns, &who))
		return;
	struct slot_row *s = &ns->slots->row[SLOT_OF(tag)];
	uint64_t word = atomic_load(&s->word), dying;
	struct area was = ns->inside ? ns->inside() : (struct area){ .head = NULL };
	int saved = errno;
	bool busy;

	if (!still(ns, tag) || WORD_STATE(word) == SLOT_FREE)
		return;
	dying = WORD(SLOT_DYING, WORD_GEN(word), WORD_PID(word));
	if (word != dying && !atomic_compare_exchange_strong(&s->word, &word, dying))
		return;
	busy = ns->busy && ns->busy(ns, tag);
	settle_objects(ns, who, tag, true);
	attach_drop_all(ns, who, tag, WORD_PID(word));
	finish_making(ns, tag);
	if (!busy) { /* else a request of it is under way, and it is reaped once more after that */
		free_whos(ns, tag);
		atomic_compare_exchange_strong(&s->word, &dying, WORD(SLOT_FREE, WORD_GEN(word) + 1, 0));
	}
	if (ns->enter) /* the caller goes on where it was, and what it meets there is said of that object */
		ns->enter(ns, was.head ? &was : NULL);
	errno = saved;
}

bool slots_sweep(struct ipc_ns *ns, int who)
{
	if (!reaper(&ns, &who))
		return false;
	uint32_t high = slots_high(ns), self = atomic_load(&ns->slot);
	bool any = false;

	for (uint32_t i = 1; i < high; i++) {
		uint64_t word = atomic_load(&ns->slots->row[i].word);
		uint32_t tag = TAG(i, WORD_GEN(word));

		if (i == self || WORD_STATE(word) == SLOT_FREE || slot_alive(ns, tag))
			continue;
		switch (slot_life_slow(ns, tag)) {
		case LIFE_DEAD:
			slot_reap(ns, who, tag);
			any = true;
			break;
		case LIFE_EXECED:
			attach_drop_execed(ns, who, tag, WORD_PID(word));
			break;
		case LIFE_ALIVE:
			break;
		}
	}
	return any;
}
