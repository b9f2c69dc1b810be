/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store: a namespace's metadata in SQLite, one row an object, its limits and id counters. Nothing else in the tree
 * sees SQLite. Functions return 0 or -errno and write one line to stderr when the database itself is at fault.
 *
 * A connection never crosses a fork: store_after_fork marks the child's copy, and its next use opens a new one. File
 * descriptors that the program has closed or reused under SQLite are noticed at store_lock, and never touched.
 * Calls on one store are made by one thread at a time (the caller's cold section).
 */
#ifndef IPC_STORE_H
#define IPC_STORE_H

#include <stdint.h>

struct store;

struct store *store_new(const char *directory);
void store_free(struct store *s);
void store_after_fork(struct store *s);

/*
 * A write transaction: store_lock, puts, then store_unlock commits (error 0) or rolls back; returns the error. -EBUSY:
 * somebody has kept the lock for half a second (he may be stopped); until it is had again, it is not waited for.
 */
int store_lock(struct store *s);
void store_hurry(struct store *s); /* do not wait for it the next time either */
int store_unlock(struct store *s, int error);

int store_put(struct store *s, int kind, uint32_t index, const uint32_t *values);
int store_delete(struct store *s, int kind, uint32_t index);
int store_put_counter(struct store *s, int kind, uint32_t last, uint32_t seq);
int store_put_limit(struct store *s, const char *name, uint64_t value);

/* Hand every row, limit and counter to the callbacks. Makes the database when there is none; one that is damaged or
 * not ours is moved aside first, never overwritten; -EPROTO for a newer schema. */
int store_load(struct store *s, void *arg, void (*row)(void *, int kind, uint32_t index, const uint32_t *values),
	       void (*limit)(void *, const char *name, uint64_t value),
	       void (*counter)(void *, int kind, uint32_t last, uint32_t seq));

/* The same for a copy that is looked at: what is wrong is told (-EUCLEAN), and nothing is moved aside. */
int store_examine(struct store *s, void *arg, void (*row)(void *, int kind, uint32_t index, const uint32_t *values),
		  void (*limit)(void *, const char *name, uint64_t value),
		  void (*counter)(void *, int kind, uint32_t last, uint32_t seq));

/* Was there no database that could be used? Then memory is all that is left of objects, if there is any. */
int store_is_new(const struct store *s);

#endif
