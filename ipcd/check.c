/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcd --check: what is in a namespace's directory, and what is wrong there. Nothing is changed, no lock is taken: it may
 * be run on a namespace in use. Where the tables change so fast that they cannot be read together, that is said, and what
 * needs them together is left out.
 */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libipc/users.h"
#include "../persist/store.h"
#include "check.h"
#include "ctl.h"
#include "ipcd.h"

#define TRIES 20

void check_finding(struct check *c, const char *fmt, ...)
{
	va_list ap;

	c->findings++;
	va_start(ap, fmt);
	vfprintf(c->out, fmt, ap);
	va_end(ap);
	putc('\n', c->out);
}

/* ---- the directory ---- */

static void open_directory(struct check *c, const char *directory)
{
	struct stat st;
	char full[PATH_MAX];

	if (lstat(directory, &st) || !realpath(directory, full))
		log_die(STATUS_FAILED, "cannot look at %s: %s", directory, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		log_die(STATUS_FAILED, "%s is not a directory; a namespace is a directory", directory);
	if (strlen(full) >= sizeof c->ns->dir)
		log_die(STATUS_FAILED, "the name of the directory %.100s... is too long", full);
	strcpy(c->ns->dir, full);
	if (st.st_mode & 077)
		check_finding(c, "%s is open to others (mode %04o); make it private: chmod 700 %s", full,
			      (unsigned)st.st_mode & 07777, full);
}

static void check_entry(struct check *c, const char *name, uid_t owner)
{
	char path[PATH_MAX + 300];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", c->ns->dir, name);
	if (lstat(path, &st))
		return; /* it has gone meanwhile */
	if (!users_file_name(name))
		check_finding(c, "%s is no file of a namespace; move it elsewhere", path);
	else if (!S_ISREG(st.st_mode))
		check_finding(c, "%s is not a file; remove it, it is in the place of one", path);
	else if (strstr(name, ".damaged-") || !strncmp(name, "lost-", 5))
		check_finding(c, "%s was kept when damage was found; look at it, and remove it", path);
	else if (st.st_uid != owner)
		check_finding(c, "%s belongs to uid %u, and the directory to uid %u", path, (unsigned)st.st_uid,
			      (unsigned)owner);
	else if (st.st_mode & 077)
		check_finding(c, "%s is open to others (mode %04o); make it private: chmod 600 %s", path,
			      (unsigned)st.st_mode & 07777, path);
}

/* Each file by its name. Is it a namespace at all? */
static void check_directory(struct check *c)
{
	struct dirent **list;
	struct stat st;
	bool ours = false;
	int n = scandir(c->ns->dir, &list, NULL, alphasort);

	if (n < 0 || stat(c->ns->dir, &st))
		log_die(STATUS_FAILED, "cannot read %s: %s", c->ns->dir, strerror(errno));
	for (int i = 0; i < n; i++)
		ours = ours || !strcmp(list[i]->d_name, "registry") || !strcmp(list[i]->d_name, "meta.sqlite");
	if (!ours)
		log_die(STATUS_FAILED, "%s is not a namespace: it has neither a registry nor meta.sqlite", c->ns->dir);
	for (int i = 0; i < n; i++) {
		if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, ".."))
			check_entry(c, list[i]->d_name, st.st_uid);
		free(list[i]);
	}
	free(list);
}

/* ---- tables ---- */

static void check_slots(struct check *c)
{
	const char *why = NULL;
	struct slots *s = NULL;
	int e = check_copy_file(c, "slots", sizeof *s, (void **)&s, &why);

	if (e == -ENOENT)
		return; /* made when somebody opens it */
	if (!e && s->magic != SLOTS_MAGIC)
		why = "it is not a slot table";
	else if (!e && s->version != SLOTS_VERSION)
		why = "it is of another version; use the version of ipcd that made it";
	else if (!e && (atomic_load(&s->high) > WHO_MAX || atomic_load(&s->who_high) > WHO_MAX))
		why = "it has impossible numbers";
	if (why)
		check_finding(c, "%s/slots is damaged: %s", c->ns->dir, why);
	else
		c->ns->slots = s;
}

static const char *registry_fault(struct area *reg)
{
	bool sound = area_value(reg, G_ATT_HIGH) <= ATT_MAX;

	for (uint32_t kind = 0; kind < KINDS; kind++)
		sound = sound && area_value(reg, G_HIGH + kind) <= IPCMNI;
	return sound ? NULL : "it has impossible numbers";
}

static void copy_registry(struct check *c)
{
	const char *why = NULL;
	struct area reg = { 0 };
	int e = check_copy_area(c, "registry", AREA_REGISTRY, &reg, &why);

	if (!e)
		why = registry_fault(&reg);
	if (!e && !why)
		c->ns->reg = reg;
	else if (e == -EAGAIN)
		c->live = true;
	else if (e != -ENOENT)
		check_finding(c, "%s/registry is damaged: %s; it would be made anew from meta.sqlite", c->ns->dir, why);
}

static void take_row(void *arg, int kind, uint32_t index, const uint32_t *values)
{
	struct check *c = arg;

	if (kind >= 0 && kind < KINDS && index < IPCMNI)
		memcpy(c->stored + (size_t)((uint32_t)kind * IPCMNI + index) * ROW_SAVED_CELLS, values,
		       ROW_SAVED_CELLS * sizeof *values);
}

static void take_limit(void *arg, const char *name, uint64_t value)
{
	struct check *c = arg;

	for (int i = 0; i < LIMITS; i++)
		if (!strcmp(name, limit_info[i].name) && value <= limit_info[i].max)
			return;
	check_finding(c, "%s/meta.sqlite has a limit '%s' of %llu, which cannot be", c->ns->dir, name,
		      (unsigned long long)value);
}

static void take_counter(void *arg, int kind, uint32_t last, uint32_t seq)
{
	struct check *c = arg;

	if (kind < 0 || kind >= KINDS || last > IPCMNI || seq > INT32_MAX / IPCMNI)
		check_finding(c, "%s/meta.sqlite has an id counter (%d, %u, %u) that cannot be", c->ns->dir, kind, last, seq);
}

static const char *store_fault(int error)
{
	switch (error) {
	case 0:
		return NULL;
	case -ENOENT:
		return "it is not there";
	case -EUCLEAN:
		return "it is damaged, or not a namespace's";
	case -EPROTO:
		return "it is of a newer version; use the version of ipcd that made it";
	default:
		return strerror(-error);
	}
}

/* True if the database could be read. */
static bool read_store(struct check *c)
{
	char dir[PATH_MAX];
	struct store *s;
	const char *why;
	int e = check_copy_store(c, dir, sizeof dir);

	if (!*dir || e == -ENOSPC)
		log_die(STATUS_FAILED, "cannot copy meta.sqlite to look at it: %s; name a directory in TMPDIR",
			strerror(-e));
	memset(c->stored, 0, (size_t)KINDS * IPCMNI * ROW_SAVED_CELLS * sizeof *c->stored);
	s = store_new(dir);
	if (!e && s)
		e = store_examine(s, c, take_row, take_limit, take_counter);
	store_free(s);
	check_drop_store(dir);
	if (e == -EAGAIN) {
		c->live = true;
		return false;
	}
	why = store_fault(e);
	if (why)
		check_finding(c, "%s/meta.sqlite: %s", c->ns->dir, why);
	return !why;
}

static uint64_t registry_moves(struct check *c)
{
	uint64_t x = 0;
	char path[480];
	FILE *f = file_path(c->ns, path, sizeof path, "registry") ? NULL : fopen(path, "re");

	if (f && (fseek(f, offsetof(struct area_head, op), SEEK_SET) || fread(&x, sizeof x, 1, f) != 1))
		x = 0;
	if (f)
		fclose(f);
	return x;
}

static void drop_registry(struct check *c)
{
	if (c->ns->reg.head)
		munmap(c->ns->reg.head, c->ns->reg.length);
	c->ns->reg.head = NULL;
}

/*
 * The registry and the database as they were at one time, then what follows from them; what was found while they changed
 * is not said. Output waits in memory until it is known.
 */
static void check_tables(struct check *c)
{
	char *text = NULL;
	size_t length;
	int before = c->findings;

	for (int tries = 0; tries < TRIES; tries++) {
		uint64_t x = registry_moves(c);

		drop_registry(c);
		free(text);
		c->out = open_memstream(&text, &length);
		if (!c->out)
			log_die(STATUS_FAILED, "no memory");
		c->findings = before;
		c->live = false;
		memset(c->objects, 0, sizeof c->objects);
		c->bytes = c->semaphores = 0;
		copy_registry(c);
		if (read_store(c) && c->ns->reg.head)
			check_rows(c);
		if (c->ns->reg.head)
			check_objects(c);
		fclose(c->out);
		c->out = stdout;
		if (registry_moves(c) == x && !c->live)
			break;
		c->live = true;
	}
	if (c->live)
		c->findings = before;
	else
		fputs(text, stdout);
	free(text);
}

/* ---- what is said ---- */

static void tell_users(const struct check *c)
{
	struct users u;

	users_find(c->ns->dir, false, &u);
	if (users_none(&u)) {
		puts("used by nobody");
		return;
	}
	fputs("used by", stdout);
	for (int i = 0; i < u.count && i < USERS_MAX; i++)
		printf("%s %d (%s)", i ? "," : "", (int)u.pid[i], process_name(u.pid[i]));
	puts(u.count > USERS_MAX ? ", and others" : u.count ? "" : " processes that you cannot see");
}

static const char *plural(int n)
{
	return n == 1 ? "" : "s";
}

static void tell(const struct check *c)
{
	const int *n = c->objects;

	if (c->ns->reg.head && !c->live)
		printf("%s: %d segment%s of %llu bytes, %d set%s of %llu semaphores, %d queue%s\n", c->ns->dir, n[KIND_SHM],
		       plural(n[KIND_SHM]), (unsigned long long)c->bytes, n[KIND_SEM], plural(n[KIND_SEM]),
		       (unsigned long long)c->semaphores, n[KIND_MSG], plural(n[KIND_MSG]));
	else if (c->live)
		printf("%s: it changes too fast for its tables to be compared\n", c->ns->dir);
	else
		printf("%s: without a registry, which is made from meta.sqlite when somebody opens it\n", c->ns->dir);
	tell_users(c);
	if (c->findings)
		printf("%d finding%s\n", c->findings, plural(c->findings));
	else
		puts("good");
}

int check_namespace(const char *directory)
{
	struct check c = { .ns = calloc(1, sizeof *c.ns), .out = stdout };

	c.stored = calloc((size_t)KINDS * IPCMNI * ROW_SAVED_CELLS, sizeof *c.stored);
	if (!c.ns || !c.stored)
		log_die(STATUS_FAILED, "no memory");
	open_directory(&c, directory);
	check_directory(&c);
	check_slots(&c);
	check_tables(&c);
	tell(&c);
	if (fflush(stdout) || ferror(stdout))
		log_die(STATUS_FAILED, "cannot write the output: %s", strerror(errno));
	return c.findings ? STATUS_FAILED : 0;
}
