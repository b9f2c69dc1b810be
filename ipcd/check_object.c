/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcd --check: rows, and the memory that they name. Each object is looked at in a copy of its own. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "check.h"
#include "ctl.h"

typedef void row_visit(struct check *c, const struct row *r);

static void each_row(struct check *c, row_visit *visit)
{
	struct row r;

	for (enum kind kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < rows_high(&c->ns->reg, kind); i++)
			if (!registry_read_index(c->ns, kind, i, &r))
				visit(c, &r);
}

/* ---- memory of rows ---- */

static const char *set_fault(struct area *a, const struct row *r)
{
	if (a->head->count != r->v[R_SIZE])
		return "it has another number of semaphores than its row says";
	if (area_value(a, S_UHIGH) > WHO_MAX)
		return "it has impossible numbers";
	for (uint32_t i = 0; i < a->head->count; i++) {
		uint64_t v = i ? area_value(a, VAL(i)) : atomic_load(&a->head->hot);

		if (SEMVAL(v) > SEMVMX)
			return "a value is greater than 32767";
	}
	return NULL;
}

static void check_area_of(struct check *c, const struct row *r, const char *name)
{
	struct area a = { 0 };
	const char *why = NULL;
	int e = check_copy_area(c, name, r->kind == KIND_SEM ? AREA_SEM : AREA_MSG, &a, &why);

	if (e == -EAGAIN) {
		c->live = true;
		return;
	}
	if (!e && r->kind == KIND_SEM)
		why = set_fault(&a, r);
	else if (!e && msg_queue_check(&a, UINT64_MAX))
		why = "its messages do not make a chain";
	if (why)
		check_finding(c, "%s/%s, the memory of %s %d, is damaged: %s", c->ns->dir, name, kind_name[r->kind],
			      row_id(r), why);
	if (a.head)
		munmap(a.head, a.length);
}

static void check_memory(struct check *c, const struct row *r)
{
	char name[24], path[480];
	struct stat st;
	int e;

	object_name(name, r->kind, (int)r->v[R_FILE]);
	e = file_path(c->ns, path, sizeof path, name);
	if (!e && lstat(path, &st))
		e = -errno;
	if (e) {
		check_finding(c, "%s %d, key 0x%08x, has no memory: %s: %s", kind_name[r->kind], row_id(r), r->v[R_KEY],
			      path, strerror(-e));
		return;
	}
	c->objects[r->kind]++;
	if (r->kind == KIND_SHM) {
		c->bytes += row_size(r);
		if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < row_size(r))
			check_finding(c, "%s, the memory of shm %d, is damaged: it has %lld bytes and not %llu", path,
				      row_id(r), (long long)st.st_size, (unsigned long long)row_size(r));
		return;
	}
	if (r->kind == KIND_SEM)
		c->semaphores += r->v[R_SIZE];
	check_area_of(c, r, name);
}

/* ---- memory without a row ---- */

/* The number in the name of an object's file, and its kind; -1 for other files. */
static int object_file(const char *name, uint32_t *file)
{
	for (int kind = 0; kind < KINDS; kind++)
		if (!strncmp(name, kind_name[kind], 3) && name[3] == '-' && strlen(name) == 12) {
			*file = (uint32_t)strtoul(name + 4, NULL, 16);
			return kind;
		}
	return -1;
}

/*
 * Somebody is making or removing it, or died doing so: whoever comes next settles that. A slot says so from before the
 * file is there until the registry has changed, or the file is gone; so the slots are read now, and the file is asked
 * for after them.
 */
static bool in_the_making(struct check *c, enum kind kind, uint32_t file, const char *name)
{
	const char *why;
	struct slots *s = NULL;
	char path[480];
	struct stat st;
	bool making = false;

	if (!c->ns->slots || check_copy_file(c, "slots", sizeof *s, (void **)&s, &why))
		return false;
	for (uint32_t slot = 1; slot < WHO_MAX && slot < atomic_load(&s->high); slot++)
		making = making || atomic_load(&s->row[slot].making) == ((uint64_t)(kind + 1) << 32 | file);
	munmap(s, sizeof *s);
	return making || file_path(c->ns, path, sizeof path, name) || lstat(path, &st);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The files that rows of a kind name, in order; their number. */
static size_t files_of_rows(struct check *c, enum kind kind, uint32_t *file)
{
	struct row r;
	size_t n = 0;

	for (uint32_t i = 0; i < rows_high(&c->ns->reg, kind); i++)
		if (!registry_read_index(c->ns, kind, i, &r))
			file[n++] = r.v[R_FILE];
	qsort(file, n, sizeof *file, by_number);
	return n;
}

static void check_memory_without_rows(struct check *c)
{
	static uint32_t known[KINDS][IPCMNI];
	size_t count[KINDS];
	DIR *d = opendir(c->ns->dir);
	struct dirent *e;
	uint32_t file;
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		count[kind] = files_of_rows(c, kind, known[kind]);
	while (d && (e = readdir(d))) {
		kind = object_file(e->d_name, &file);
		if (kind >= 0 && !bsearch(&file, known[kind], count[kind], sizeof file, by_number) &&
		    !in_the_making(c, kind, file, e->d_name))
			check_finding(c, "%s/%s is memory without a row: no object has it", c->ns->dir, e->d_name);
	}
	if (d)
		closedir(d);
}

void check_objects(struct check *c)
{
	each_row(c, check_memory);
	check_memory_without_rows(c);
}

/* ---- rows of the registry, and of the database ---- */

static uint32_t *stored_row(const struct check *c, enum kind kind, uint32_t index)
{
	return c->stored + (size_t)(kind * IPCMNI + index) * ROW_SAVED_CELLS;
}

/* It stands in the list of what the database does not have yet. */
static bool is_unsaved(struct check *c, enum kind kind, uint32_t index)
{
	return index < rows_high(&c->ns->reg, kind) && area_value(&c->ns->reg, row_cell(kind, index, R_DNEXT));
}

static void compare(struct check *c, enum kind kind, uint32_t index)
{
	const uint32_t *s = stored_row(c, kind, index);
	struct row r;
	bool there = !registry_read_index(c->ns, kind, index, &r), kept = ROW_STATE(s[R_STATE]) != ROW_FREE;

	if (is_unsaved(c, kind, index) || (!there && !kept))
		return;
	if (!kept)
		check_finding(c, "%s %d is in the registry and not in the database: it would be lost with the registry",
			      kind_name[kind], row_id(&r));
	else if (!there)
		check_finding(c, "%s of index %u, key 0x%08x, is in the database and not in the registry",
			      kind_name[kind], index, s[R_KEY]);
	else if (s[R_KEY] != r.v[R_KEY] || s[R_FILE] != r.v[R_FILE] || s[R_SIZE] != r.v[R_SIZE] ||
		 s[R_STATE] != r.v[R_STATE] || s[R_UID] != r.v[R_UID] || s[R_MODE] != r.v[R_MODE])
		check_finding(c, "%s %d is another object in the database than in the registry", kind_name[kind],
			      row_id(&r));
}

void check_rows(struct check *c)
{
	for (enum kind kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < IPCMNI; i++)
			compare(c, kind, i);
}
