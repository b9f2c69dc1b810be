/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots that a daemon makes for its clients: the slot's file and the lock on it, the user's marks, and how many slots
 * and who numbers one user may have. A slot that is free was somebody's, who may still have its file open and mapped:
 * nothing that he can do there harms the next owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "serve.h"

#define SLOTS_OF_PROCESS 64 /* that it makes for children, or has for itself: more than it forks at once */
#define PARTS_OF_UID 2 /* a user's share of slots and of who numbers: one of so many parts */

/* For another process. It is never shortened: another thread, which was reaping the last one, may be reading it. */
static int clear_notes(int fd)
{
	static const uint64_t none;

	if (ftruncate(fd, sizeof(struct slot_notes)) || fallocate(fd, 0, 0, PAGE) ||
	    pwrite(fd, &none, sizeof none, 0) != sizeof none)
		return -ENOMEM;
	/* Where holes cannot be made it goes on holding what it held. */
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, sizeof(struct slot_notes) - PAGE) &&
	       errno != EOPNOTSUPP ? -ENOMEM : 0;
}

/* Somebody keeps the lock that the slot's last owner had: he may, on a file that is nobody's any more. */
static int lock_anew(struct ipc_ns *ns, uint32_t slot, int fd)
{
	char name[24];
	int e;

	close(fd);
	slot_name(name, slot);
	e = file_remove(ns, name);
	return e ? e : serve_slot_lock(ns, slot, true);
}

/*
 * The lock of a slot's file, on a description of its own that can only be read; the client's mapping keeps it. -EAGAIN
 * when its owner's still is there; fresh: for a slot that is free, so it is nobody's.
 */
int serve_slot_lock(struct ipc_ns *ns, uint32_t slot, bool fresh)
{
	struct flock ask = { .l_type = F_WRLCK, .l_whence = SEEK_SET }, l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char name[24];
	int fd, keep = -1, e = 0;

	slot_name(name, slot);
	fd = file_open(ns, name, O_RDWR);
	if (fd == -ENOENT)
		fd = file_create(ns, name, 0, false);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_GETLK, &ask))
		e = -errno;
	else if (ask.l_type != F_UNLCK && fresh)
		return lock_anew(ns, slot, fd);
	else if (ask.l_type != F_UNLCK)
		e = -EAGAIN;
	else if (fresh && clear_notes(fd))
		e = -ENOMEM;
	if (!e) {
		keep = file_open(ns, name, O_RDONLY);
		if (keep < 0 || fcntl(keep, F_OFD_SETLK, &l))
			e = keep < 0 ? keep : -errno;
	}
	close(fd);
	if (e && keep >= 0)
		close(keep);
	return e ? e : keep;
}

/* The marks of a uid: its processes write them. */
int serve_marks_file(struct ipc_ns *ns, uid_t uid)
{
	char name[24];
	int fd;

	marks_name(name, uid);
	fd = file_open(ns, name, O_RDWR);
	if (fd == -ENOENT) {
		fd = file_create(ns, name, MARKS_LENGTH, false);
		if (fd == -EEXIST)
			fd = file_open(ns, name, O_RDWR);
	}
	return fd;
}

/* If it still is what was claimed in that generation: its process may have died, and been reaped. */
void serve_slot_free(struct slot_row *r, uint32_t gen)
{
	uint64_t word = atomic_load(&r->word);

	if (WORD_GEN(word) == gen && WORD_STATE(word) != SLOT_DYING)
		atomic_compare_exchange_strong(&r->word, &word, WORD(SLOT_FREE, gen + 1, 0));
}

/* Nobody takes so much that others find nothing; the namespace's owner, and root, may. */
static bool shares(uid_t uid)
{
	return uid && uid != geteuid();
}

static bool has_slots_enough(struct ipc_ns *ns, pid_t pid, uid_t uid)
{
	uint32_t n = 0, own = 0;

	for (uint32_t i = 1, high = slots_high(ns); i < high; i++) {
		uint64_t word = atomic_load(&ns->slots->row[i].word);

		if (ns->slots->row[i].uid != uid + 1 || WORD_STATE(word) == SLOT_FREE)
			continue;
		n += shares(uid);
		own += WORD_PID(word) == pid;
	}
	return own >= SLOTS_OF_PROCESS || n >= WHO_MAX / PARTS_OF_UID ||
	       (shares(uid) && n >= ns->server->conns_of_uid); /* each has a pidfd */
}

bool serve_whos_enough(struct ipc_ns *ns, uid_t uid)
{
	uint32_t n = 0, tag;

	for (uint32_t w = 1, high = whos_high(ns); shares(uid) && w < high; w++) {
		tag = (uint32_t)atomic_load(&ns->slots->who[w]);
		n += tag && ns->slots->row[SLOT_OF(tag)].uid == uid + 1;
	}
	return n >= WHO_MAX / PARTS_OF_UID;
}

/* A slot for a process: claimed, its file locked (*lock), nobody's mark in it. Its number, or -errno. */
int serve_slot_new(struct ipc_ns *ns, pid_t pid, uid_t uid, int *lock)
{
	pthread_mutex_t *mutex;
	struct slot_row *r;
	uint32_t slot, gen;
	int marks;

	if (has_slots_enough(ns, pid, uid)) { /* some of them may be nobody's any more */
		slots_sweep(ns, ns_enter(ns));
		if (has_slots_enough(ns, pid, uid))
			return -EAGAIN;
	}
	marks = serve_marks_file(ns, uid);
	if (marks < 0)
		return marks;
	close(marks);
	slot = slot_claim(ns, SLOT_CLAIMED, pid);
	if (!slot)
		return -ENOMEM;
	r = &ns->slots->row[slot];
	gen = WORD_GEN(atomic_load(&r->word));
	r->uid = uid + 1;
	atomic_store(&r->making, 0);
	atomic_store(&r->leaving, 0);
	atomic_store(&r->start, 0);
	mutex = slot_mutex(ns, slot);
	*lock = mutex ? serve_slot_lock(ns, slot, true) : -ENOMEM;
	if (*lock >= 0 && file_fence(mutex, sizeof *mutex)) {
		close(*lock);
		*lock = -ENOMEM;
	}
	if (*lock < 0) {
		serve_slot_free(r, gen);
		return *lock;
	}
	memset(mutex, 0, sizeof *mutex);
	return (int)slot;
}
