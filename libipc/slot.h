/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots: the processes of a namespace, and which of them are there.
 *
 * A slot's word says {state, generation, pid}. Its owner keeps two things that the kernel takes back at exit, kill -9
 * and exec: a robust mutex (its mark is read in a few ns) and an OFD lock on the slot's file, held by a mapping. The
 * mutex is in the table, or where a daemon has clients, in a table of those of one uid, which they can write.
 * Asking never acquires. The tag {slot, generation} names one incarnation in undo rows and who numbers.
 *
 * Order: a slot is claimed (word), locked (file), marked (mutex), then live (word). It is reaped in this order:
 * requests and undo in every object that it noted, attachments, who numbers, the word. Each step may be done by
 * several reapers at once, and left by any of them.
 */
#ifndef IPC_SLOT_H
#define IPC_SLOT_H

#include <stdio.h>

#include "ns.h"

enum { SLOT_FREE, SLOT_CLAIMED, SLOT_NEWBORN, SLOT_LIVE, SLOT_DYING /* it is being reaped */ };
enum slot_life { LIFE_ALIVE, LIFE_EXECED, LIFE_DEAD };

#define SLOTS_MAGIC 0x69706364736c6f74ull /* "ipcdslot" */
#define SLOTS_VERSION 2
#define NOTES_MAX (3u * IPCMNI)

struct slot_row {
	_Atomic uint64_t word; /* pid:32, generation:24, state:8 */
	_Atomic uint64_t start; /* of the process, as /proc says */
	pthread_mutex_t mutex;
	uint32_t uid; /* a daemon's client: in whose marks its mutex is, + 1 */
	_Atomic uint64_t making; /* file that is being created or removed: kind + 1 << 32, number */
	_Atomic uint64_t leaving; /* that is to be removed when what is being made is there */
} __attribute__((aligned(128)));

struct slots {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t high; /* slots ever used */
	_Atomic uint32_t who_high;
	uint8_t pad[PAGE - 20];
	_Atomic uint64_t who[WHO_MAX]; /* slot tag of the owner, 0 free */
	struct slot_row row[WHO_MAX];
};

/* The mutexes of a daemon's clients of one uid, by slot. */
struct marks {
	struct marks *next;
	uid_t uid;
	struct mark { pthread_mutex_t mutex; } __attribute__((aligned(64))) *mark;
};
#define MARKS_LENGTH (sizeof(struct mark) * WHO_MAX)

/* The slot's file: what it has touched. */
struct slot_notes {
	_Atomic uint32_t count;
	uint32_t pad;
	uint64_t note[NOTES_MAX]; /* kind << 32 | id */
};

/* How many have been used, no more than there are. */
static inline uint32_t slots_high(const struct ipc_ns *ns)
{
	uint32_t high = atomic_load(&ns->slots->high);

	return high < WHO_MAX ? high : WHO_MAX;
}

static inline uint32_t whos_high(const struct ipc_ns *ns)
{
	uint32_t high = atomic_load(&ns->slots->who_high);

	return high < WHO_MAX ? high : WHO_MAX;
}

#define SLOT_OF(tag) ((tag) & (WHO_MAX - 1))
#define TAG(slot, gen) ((uint32_t)(slot) | (uint32_t)(gen) << 14)
#define WORD(state, gen, pid) ((uint64_t)(uint32_t)(pid) << 32 | (uint64_t)((gen) & 0xffffff) << 8 | (state))
#define WORD_STATE(w) ((int)((w) & 0xff))
#define WORD_GEN(w) ((uint32_t)((w) >> 8) & 0xffffff)
#define WORD_PID(w) ((pid_t)((w) >> 32))

pthread_mutex_t *slot_mutex_slow(const struct ipc_ns *ns, uint32_t slot);

/* NULL when it is in a table that this process does not have: then the slow way tells. */
static inline pthread_mutex_t *slot_mutex(const struct ipc_ns *ns, uint32_t slot)
{
	struct slot_row *r = &ns->slots->row[slot];

	return __builtin_expect(r->uid, 0) ? slot_mutex_slow(ns, slot) : &r->mutex;
}

/* Of the process that the tag names; a tag whose slot has been freed is dead. */
enum slot_life slot_life_slow(struct ipc_ns *ns, uint32_t tag);

static inline bool slot_alive(struct ipc_ns *ns, uint32_t tag)
{
	struct slot_row *r = &ns->slots->row[SLOT_OF(tag)];
	pthread_mutex_t *mutex = slot_mutex(ns, SLOT_OF(tag));
	int m = mutex ? __atomic_load_n(&mutex->__data.__lock, __ATOMIC_ACQUIRE) : 0;

	return (m & 0x3fffffff) && !(m & 0x40000000) &&
	       TAG(SLOT_OF(tag), WORD_GEN(atomic_load_explicit(&r->word, memory_order_relaxed))) == tag;
}

/* alive or at least not gone: an exec'd process keeps its undo */
static inline bool slot_there(struct ipc_ns *ns, uint32_t tag)
{
	return slot_alive(ns, tag) || slot_life_slow(ns, tag) != LIFE_DEAD;
}

void marks_name(char *out, uid_t uid);
void marks_add(struct ipc_ns *ns, struct marks *m);
/* A free slot is made {state, pid}; the caller locks and marks it. 0: the table is full. */
uint32_t slot_claim(struct ipc_ns *ns, int state, pid_t pid);
void slot_mark(pthread_mutex_t *mutex);
uint32_t slot_tag(struct ipc_ns *ns);
pid_t slot_pid(struct ipc_ns *ns, uint32_t tag);
int slot_take(struct ipc_ns *ns); /* this process's, adopting the one from before exec */
void slot_leave(struct ipc_ns *ns); /* close */
int slot_note(struct ipc_ns *ns, enum kind kind, int id);
void slot_heal(struct ipc_ns *ns);
int slot_fork_prepare(struct ipc_ns *ns);
uint32_t slot_newborn(struct ipc_ns *ns); /* tag of the child that is being made */
void slot_fork_named(struct ipc_ns *ns, uint32_t tag, pid_t child);
void slot_fork_parent(struct ipc_ns *ns);
void slot_fork_child(struct ipc_ns *ns);
int who_take(struct ipc_ns *ns);
void who_give(struct ipc_ns *ns, uint32_t who);

/* Look at every slot and reap what has died. True if something was reaped. */
bool slots_sweep(struct ipc_ns *ns, int who);
void slot_reap(struct ipc_ns *ns, int who, uint32_t tag);
/* What ends at exec: requests and attachments, not undo. */
void reap_exec(struct ipc_ns *ns, int who, uint32_t tag);
/* This process's undo is applied now, as at its end; it has no other thread. */
void reap_own_undo(struct ipc_ns *ns, int who);
void slot_name(char *out, uint32_t slot); /* of its file; room for 24 bytes */
struct slot_notes *slot_map_notes(struct ipc_ns *ns, uint32_t slot, size_t *length);

#endif
