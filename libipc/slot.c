/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots: taking one, asking for one, handing one to a forked child. See slot.h; reaping is in reap.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"
#include "proc_stat.h"
#include "slot.h"

#define NOTES_FEW 4096 /* not worth tidying */

void slot_name(char *out, uint32_t slot)
{
	snprintf(out, 24, "slot-%u", slot);
}

/* Does somebody hold the lock of the slot's file? Asking does not take it. */
static bool slot_locked(struct ipc_ns *ns, uint32_t slot)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char name[24];
	int fd, r;

	slot_name(name, slot);
	fd = file_open(ns, name, O_RDWR);
	if (fd < 0)
		return fd != -ENOENT; /* not to be told: take it for alive */
	r = fcntl(fd, F_OFD_GETLK, &l);
	close(fd);
	return r || l.l_type != F_UNLCK;
}

/* A daemon's client cannot look at locks; it knows what the kernel says of the process. */
static enum slot_life ask_as_client(uint64_t word)
{
	bool gone;

	process_start(WORD_PID(word), &gone);
	return gone ? LIFE_DEAD : LIFE_ALIVE;
}

static enum slot_life ask(struct ipc_ns *ns, uint32_t tag)
{
	uint32_t slot = SLOT_OF(tag);
	struct slot_row *r = &ns->slots->row[slot];
	uint64_t word = atomic_load(&r->word), start, known;
	bool gone;

	if (!tag || WORD_STATE(word) == SLOT_FREE || TAG(slot, WORD_GEN(word)) != tag)
		return LIFE_DEAD;
	if (WORD_STATE(word) == SLOT_DYING)
		return LIFE_DEAD;
	if (ns->wire)
		return ask_as_client(word);
	if (WORD_STATE(word) == SLOT_NEWBORN)
		return slot_locked(ns, slot) || atomic_load(&r->word) != word ? LIFE_ALIVE : LIFE_DEAD;
	if (slot_alive(ns, tag) && WORD_STATE(word) == SLOT_LIVE)
		return LIFE_ALIVE;
	start = process_start(WORD_PID(word), &gone);
	if (gone)
		return LIFE_DEAD;
	if (WORD_STATE(word) == SLOT_CLAIMED)
		return LIFE_ALIVE;
	known = atomic_load(&r->start); /* 0: the process could not tell */
	if (start && known && start != known)
		return LIFE_DEAD;
	return slot_locked(ns, slot) ? LIFE_ALIVE : LIFE_EXECED;
}

enum slot_life slot_life_slow(struct ipc_ns *ns, uint32_t tag)
{
	int saved = errno;
	enum slot_life life = ask(ns, tag);

	errno = saved;
	return life;
}

uint32_t slot_tag(struct ipc_ns *ns)
{
	uint32_t slot = atomic_load(&ns->slot);

	return TAG(slot, WORD_GEN(atomic_load(&ns->slots->row[slot].word)));
}

pid_t slot_pid(struct ipc_ns *ns, uint32_t tag)
{
	return WORD_PID(atomic_load(&ns->slots->row[SLOT_OF(tag)].word));
}

/* Open, lock and map a slot's file. The mapping keeps the lock. NULL and *error when somebody holds it. */
static struct slot_notes *map_locked(struct ipc_ns *ns, uint32_t slot, int *error)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char name[24], path[480];
	void *p = NULL;
	int fd;

	slot_name(name, slot);
	*error = file_path(ns, path, sizeof path, name);
	if (*error)
		return NULL;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		*error = -errno;
		return NULL;
	}
	if (fchmod(fd, 0600))
		*error = -errno;
	else if (fcntl(fd, F_OFD_SETLK, &l))
		*error = -EAGAIN;
	else if (ftruncate(fd, sizeof(struct slot_notes)) || fallocate(fd, 0, 0, PAGE))
		*error = -ENOMEM;
	else
		p = file_map(sizeof(struct slot_notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	if (!p && !*error)
		*error = -ENOMEM;
	close(fd);
	return p;
}

/* Only the child of a bare clone needs this: its thread's robust list is its parent's, and unknown to the kernel. */
static long robust_offset;

static void robust_list_own(void)
{
	struct robust_list_head *head = NULL;
	size_t len;

	syscall(SYS_get_robust_list, 0, &head, &len);
	if (head) {
		robust_offset = (char *)head - (char *)pthread_self();
	} else if (robust_offset) {
		head = (struct robust_list_head *)((char *)pthread_self() + robust_offset);
		head->list.next = &head->list;
		head->list_op_pending = NULL;
		syscall(SYS_set_robust_list, head, sizeof *head);
	}
}

/* The marks of one uid, in a daemon: mapped when they are first asked for. */
static struct marks *map_marks(struct ipc_ns *ns, uid_t uid)
{
	struct marks *m = calloc(1, sizeof *m);
	char name[24];
	int fd;

	if (!m)
		return NULL;
	marks_name(name, uid);
	fd = file_open(ns, name, O_RDWR);
	m->uid = uid;
	m->mark = fd < 0 ? NULL : file_map(MARKS_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd);
	if (fd >= 0)
		close(fd);
	if (!m->mark) {
		free(m);
		return NULL;
	}
	marks_add(ns, m);
	return m;
}

void marks_name(char *out, uid_t uid)
{
	snprintf(out, 24, "marks-%u", (unsigned)uid);
}

void marks_add(struct ipc_ns *ns, struct marks *m)
{
	m->next = atomic_load(&ns->marks);
	while (!atomic_compare_exchange_weak(&ns->marks, &m->next, m))
		;
}

pthread_mutex_t *slot_mutex_slow(const struct ipc_ns *ns, uint32_t slot)
{
	struct ipc_ns *all = ns->base ? ns->base : (struct ipc_ns *)ns;
	uid_t uid = ns->slots->row[slot].uid - 1;
	struct marks *m = atomic_load(&all->marks);

	while (m && m->uid != uid)
		m = m->next;
	if (!m && !ns->wire)
		m = map_marks(all, uid);
	return m ? &m->mark[slot].mutex : NULL;
}

/* Mark the slot as this thread's: the kernel changes the mark when the thread, or the process, has gone. */
void slot_mark(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;

	robust_list_own();
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	memset(mutex, 0, sizeof *mutex);
	pthread_mutex_init(mutex, &attr);
	pthread_mutex_lock(mutex);
	/* After a bare clone libc takes the thread for its parent's; the kernel looks for the real one. */
	__atomic_store_n(&mutex->__data.__lock, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
}

static void settle_in(struct ipc_ns *ns, uint32_t slot, void *file)
{
	ns->slot_file = file;
	madvise(file, sizeof(struct slot_notes), MADV_DONTFORK);
	madvise(file, sizeof(struct slot_notes), MADV_DONTDUMP);
	atomic_store(&ns->slot, slot);
}

/* The slot of this process from before its exec: its undo goes on, everything else of it is gone. */
static bool adopt(struct ipc_ns *ns, uint32_t slot, uint64_t start)
{
	struct slot_row *r = &ns->slots->row[slot];
	uint64_t word = atomic_load(&r->word);
	struct slot_notes *file;
	int e, who;

	if (WORD_STATE(word) != SLOT_LIVE || WORD_PID(word) != ns->pid || atomic_load(&r->start) != start)
		return false;
	if (r->uid || r->mutex.__data.__lock & FUTEX_TID_MASK) /* a daemon's, or of this process, and in a living thread's list */
		return false;
	file = map_locked(ns, slot, &e);
	if (!file)
		return false;
	settle_in(ns, slot, file);
	slot_mark(&r->mutex);
	who = who_take(ns);
	if (who > 0) {
		reap_exec(ns, who, TAG(slot, WORD_GEN(word)));
		who_give(ns, (uint32_t)who);
	}
	return true;
}

uint32_t slot_claim(struct ipc_ns *ns, int state, pid_t pid)
{
	for (uint32_t s = 1; s < WHO_MAX; s++) {
		struct slot_row *r = &ns->slots->row[s];
		uint64_t word, high = slots_high(ns);

		if (s >= high && file_fence(r, sizeof *r))
			return 0;
		word = atomic_load(&r->word);
		if (WORD_STATE(word) != SLOT_FREE)
			continue;
		if (!atomic_compare_exchange_strong(&r->word, &word, WORD(state, WORD_GEN(word), pid)))
			continue;
		r->mutex.__data.__lock = 0;
		r->uid = 0;
		for (uint32_t h = (uint32_t)high; h <= s;)
			if (atomic_compare_exchange_strong(&ns->slots->high, &h, s + 1))
				break;
		return s;
	}
	return 0;
}

int slot_take(struct ipc_ns *ns)
{
	uint32_t high = slots_high(ns);
	uint64_t start;
	bool gone;
	int e = 0;

	ns->pid = getpid();
	start = process_start(ns->pid, &gone);
	for (uint32_t s = 1; s < high; s++)
		if (adopt(ns, s, start))
			return 0;
	for (int tries = 0; tries < 100; tries++) {
		uint32_t slot = slot_claim(ns, SLOT_CLAIMED, ns->pid);
		struct slot_row *r = &ns->slots->row[slot];
		struct slot_notes *file;
		uint64_t gen;

		if (!slot)
			return -ENOMEM;
		file = map_locked(ns, slot, &e);
		gen = WORD_GEN(atomic_load(&r->word));
		if (!file) { /* e.g. a reader of its last owner's /proc/PID/maps: another slot will do */
			if (e != -EAGAIN) {
				atomic_store(&r->word, WORD(SLOT_FREE, gen + 1, 0));
				return e;
			}
			continue;
		}
		atomic_store(&file->count, 0);
		atomic_store(&r->start, start);
		atomic_store(&r->making, 0);
		atomic_store(&r->leaving, 0);
		settle_in(ns, slot, file);
		slot_mark(&r->mutex);
		atomic_store(&r->word, WORD(SLOT_LIVE, gen, ns->pid));
		return 0;
	}
	return e;
}

/* After its thread ended, the process is asked for in the slow way; a thread that lives takes the mark over. */
void slot_heal(struct ipc_ns *ns)
{
	uint32_t slot = ns->base ? 0 : atomic_load(&ns->slot); /* in a daemon, a client's is not ours to take */
	pthread_mutex_t *mutex = slot ? slot_mutex(ns, slot) : NULL;

	if (mutex && mutex->__data.__lock & 0x40000000 && pthread_mutex_trylock(mutex) == EOWNERDEAD)
		pthread_mutex_consistent(mutex);
}

/* Forget objects that are gone. Entries only move down, so those that count are there at every moment. */
static void tidy_notes(struct ipc_ns *ns, struct slot_notes *n)
{
	uint32_t kept = 0, count = atomic_load(&n->count);
	struct row r;

	for (uint32_t i = 0; i < count; i++)
		if (!registry_read(ns, (enum kind)(n->note[i] >> 32), (int)(uint32_t)n->note[i], &r))
			n->note[kept++] = n->note[i];
	atomic_store(&n->count, kept);
	ns->notes_limit = kept * 2 < NOTES_FEW ? NOTES_FEW : kept * 2 < NOTES_MAX ? kept * 2 : NOTES_MAX;
}

int slot_note(struct ipc_ns *ns, enum kind kind, int id)
{
	struct slot_notes *n = ns->slot_file;
	uint64_t note = (uint64_t)kind << 32 | (uint32_t)id;
	uint32_t count = atomic_load(&n->count);

	if (count >= (ns->notes_limit ? ns->notes_limit : NOTES_FEW)) {
		tidy_notes(ns, n);
		count = atomic_load(&n->count);
	}
	for (uint32_t i = count; i-- > 0 && i + 64 >= count;)
		if (n->note[i] == note)
			return 0;
	if (count == NOTES_MAX)
		return -ENOMEM;
	if (file_fence(&n->note[count], 8))
		return -ENOMEM;
	n->note[count] = note;
	atomic_store(&n->count, count + 1);
	return 0;
}

int who_take(struct ipc_ns *ns)
{
	struct slots *s = ns->slots;
	uint32_t tag = slot_tag(ns);

	for (uint32_t w = 1; w < WHO_MAX; w++) {
		uint64_t none = 0;

		if (w >= atomic_load(&s->who_high) && file_fence(&s->who[w], 8))
			return -ENOMEM;
		if (atomic_load(&s->who[w]) || !atomic_compare_exchange_strong(&s->who[w], &none, tag))
			continue;
		for (uint32_t h = atomic_load(&s->who_high); h <= w;)
			if (atomic_compare_exchange_strong(&s->who_high, &h, w + 1))
				break;
		if (file_fence(area_who(&ns->reg, w), WHO_SIZE)) {
			atomic_store(&s->who[w], 0);
			return -ENOMEM;
		}
		atomic_fetch_add(&ns->threads, 1);
		return (int)w;
	}
	return -ENOMEM;
}

void who_give(struct ipc_ns *ns, uint32_t who)
{
	uint64_t tag = slot_tag(ns);

	if (atomic_compare_exchange_strong(&ns->slots->who[who], &tag, 0))
		atomic_fetch_sub(&ns->threads, 1);
}

/*
 * Leave before the process ends (close): as after exec, undo stays until the end of the process. The mark is in the
 * robust list of the thread that made it. When another one closes it stays there, and the table stays mapped; it says
 * that nobody is there, and as long as that thread lives nobody adopts the slot.
 */
void slot_leave(struct ipc_ns *ns)
{
	uint32_t slot = atomic_exchange(&ns->slot, 0);
	pthread_mutex_t *mutex = slot ? slot_mutex(ns, slot) : NULL;

	if (!mutex)
		return;
	if (pthread_mutex_unlock(mutex) && mutex->__data.__lock & FUTEX_TID_MASK) {
		__atomic_fetch_or(&mutex->__data.__lock, FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
		ns->slots_stay = true;
	}
	munmap(ns->slot_file, sizeof(struct slot_notes));
	ns->slot_file = NULL;
}

/*
 * fork: the parent makes the child's slot and its attachments before the fork; the child inherits the mapping that
 * holds the lock, and the parent drops its own right after.
 */
int slot_fork_prepare(struct ipc_ns *ns)
{
	for (int tries = 0; tries < 100; tries++) {
		uint32_t slot = slot_claim(ns, SLOT_CLAIMED, ns->pid);
		struct slot_row *r = &ns->slots->row[slot];
		struct slot_notes *file;
		int e;

		if (!slot)
			return -ENOMEM;
		file = map_locked(ns, slot, &e);
		if (!file) {
			if (e != -EAGAIN) {
				atomic_store(&r->word, WORD(SLOT_FREE, WORD_GEN(atomic_load(&r->word)) + 1, 0));
				return e;
			}
			continue;
		}
		atomic_store(&file->count, 0);
		atomic_store(&r->making, 0);
		atomic_store(&r->leaving, 0);
		atomic_store(&r->start, 0);
		ns->fork_file = file;
		ns->fork_slot = slot;
		atomic_store(&r->word, WORD(SLOT_NEWBORN, WORD_GEN(atomic_load(&r->word)), ns->pid));
		return 0;
	}
	return -EAGAIN;
}

uint32_t slot_newborn(struct ipc_ns *ns)
{
	return TAG(ns->fork_slot, WORD_GEN(atomic_load(&ns->slots->row[ns->fork_slot].word)));
}

void slot_fork_named(struct ipc_ns *ns, uint32_t tag, pid_t child)
{
	struct slot_row *r = &ns->slots->row[SLOT_OF(tag)];
	uint64_t word = atomic_load(&r->word);

	if (WORD_STATE(word) == SLOT_NEWBORN && TAG(SLOT_OF(tag), WORD_GEN(word)) == tag)
		atomic_compare_exchange_strong(&r->word, &word, WORD(SLOT_NEWBORN, WORD_GEN(word), child));
}

void slot_fork_parent(struct ipc_ns *ns)
{
	if (ns->fork_file)
		munmap(ns->fork_file, sizeof(struct slot_notes));
	ns->fork_file = NULL;
	ns->fork_slot = 0;
}

void slot_fork_child(struct ipc_ns *ns)
{
	struct slot_row *r = &ns->slots->row[ns->fork_slot];
	bool gone;

	ns->pid = getpid();
	ns->slot_file = NULL;
	atomic_store(&ns->slot, 0);
	atomic_store(&ns->threads, 0);
	if (!ns->fork_file)
		return;
	settle_in(ns, ns->fork_slot, ns->fork_file);
	atomic_store(&r->start, process_start(ns->pid, &gone));
	slot_mark(&r->mutex);
	atomic_store(&r->word, WORD(SLOT_LIVE, WORD_GEN(atomic_load(&r->word)), ns->pid));
	ns->fork_file = NULL;
	ns->fork_slot = 0;
}
