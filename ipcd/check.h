/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcd --check: private copies of what is in a namespace's directory, and what they show. */
#ifndef IPCD_CHECK_H
#define IPCD_CHECK_H

#include <stdio.h>

#include "../libipc/obj_msg.h"
#include "../libipc/obj_sem.h"
#include "../libipc/registry.h"
#include "../libipc/slot.h"
#include "../libipc/wait.h"

struct check {
	struct ipc_ns *ns; /* not opened: the directory's name, and copies of the tables, or NULL where there are none */
	FILE *out; /* where findings go */
	int findings;
	bool live; /* somebody changes it while we look: what belongs together was not read together */
	uint64_t bytes, semaphores;
	int objects[KINDS];
	uint32_t *stored; /* rows of the database: v[ROW_SAVED_CELLS] for each kind and index */
};

__attribute__((format(printf, 2, 3))) void check_finding(struct check *c, const char *fmt, ...);

/*
 * check_copy.c: one state of a control area's file, in private memory, so that an operation that somebody has published
 * is completed there and not in the namespace. -EUCLEAN: it is none, *why says so. -EAGAIN: it changes too fast.
 */
int check_copy_area(struct check *c, const char *name, enum area_kind kind, struct area *out, const char **why);
/* Any other file of that size. */
int check_copy_file(struct check *c, const char *name, size_t size, void **out, const char **why);
/* meta.sqlite with its log, into a new directory of TMPDIR. 0 or -errno. */
int check_copy_store(struct check *c, char *dir, size_t size);
void check_drop_store(const char *dir);

/* check_object.c: each row and its memory */
void check_objects(struct check *c);
void check_rows(struct check *c); /* the registry's against the database's */

#endif
