/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl rm: remove objects by id, by key, or all of them. Arguments are checked before anything is removed. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

struct target { enum kind kind; bool by_key; unsigned long long number; };

static int remove_id(struct ctl *c, enum kind kind, int id)
{
	if (kind == KIND_SHM)
		return ipc_shmctl(c->ns, id, IPC_RMID, NULL);
	return kind == KIND_SEM ? ipc_semctl(c->ns, id, 0, IPC_RMID) : ipc_msgctl(c->ns, id, IPC_RMID, NULL);
}

int remove_object(struct ctl *c, const struct row *r, const char *why)
{
	if (remove_id(c, r->kind, row_id(r)))
		return -1;
	log_removal(c, r, why);
	return 0;
}

static const char *reason(void)
{
	switch (errno) {
	case EINVAL:
	case EIDRM:
		return "there is none; ipcctl ls shows what there is";
	case EPERM:
		return "it belongs to somebody else";
	}
	return strerror(errno);
}

static int remove_target(struct ctl *c, const struct target *t)
{
	int id = (int)t->number;
	struct row r;

	if (t->by_key) {
		if (registry_find(c->ns, t->kind, (key_t)t->number, &r)) {
			ctl_say("rm: %s with key 0x%08llx: there is none; ipcctl ls shows what there is",
				kind_name[t->kind], t->number);
			return EXIT_FAILED;
		}
		id = row_id(&r);
	}
	if (registry_read(c->ns, t->kind, id, &r))
		errno = EINVAL;
	else if (!remove_object(c, &r, t->by_key ? "rm, by its key" : "rm, by its id"))
		return 0;
	ctl_say("rm: %s %d: %s", kind_name[t->kind], id, reason());
	return EXIT_FAILED;
}

static int remove_all(struct ctl *c, const bool *wanted)
{
	int result = 0;

	for (int kind = 0; kind < KINDS; kind++) {
		uint32_t in_use, last = registry_max_index(c->ns, kind, &in_use);
		struct row r;

		for (uint32_t i = 0; wanted[kind] && in_use && i <= last; i++) {
			if (registry_read_index(c->ns, kind, i, &r) || ROW_STATE(r.v[R_STATE]) == ROW_DEST)
				continue;
			if (remove_object(c, &r, "rm --all") && errno != EINVAL && errno != EIDRM) {
				ctl_say("rm: %s %d: %s", kind_name[kind], row_id(&r), reason());
				result = EXIT_FAILED;
			}
		}
	}
	return result;
}

static void parse_all(int argc, char **argv, bool *wanted)
{
	bool any = argc > 2;

	for (int kind = 0; kind < KINDS; kind++)
		wanted[kind] = !any;
	for (int i = 2; i < argc; i++) {
		int kind = kind_named(argv[i]);

		if (kind < 0)
			ctl_die(EXIT_USAGE, "rm --all: '%s' is not shm, sem or msg", argv[i]);
		wanted[kind] = true;
	}
}

static void parse_id(struct target *t, int kind, const char *text)
{
	*t = (struct target){ .kind = (enum kind)kind };
	if (!number(text, 10, INT_MAX, &t->number))
		ctl_die(EXIT_USAGE, "rm: '%s' is not an id; ipcctl ls shows them", text);
}

static void parse_key(struct target *t, int kind, const char *text)
{
	*t = (struct target){ .kind = (enum kind)kind, .by_key = true };
	if (!number(text, 0, UINT32_MAX, &t->number))
		ctl_die(EXIT_USAGE, "rm: '%s' is not a key; give it as 0x and hexadecimal digits", text);
	if (!t->number)
		ctl_die(EXIT_USAGE, "rm: key 0 names no object (it is IPC_PRIVATE); remove by id");
}

/* KIND ID..., or -m ID -M KEY and their like, as often as wanted. */
static int parse(int argc, char **argv, struct target *t)
{
	static const char ids[] = "msq", keys[] = "MSQ";
	static const enum kind kinds[] = { KIND_SHM, KIND_SEM, KIND_MSG };
	int n = 0, kind = -1;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *at;

		if (kind_named(a) >= 0) {
			kind = kind_named(a);
			if (i + 1 == argc || kind_named(argv[i + 1]) >= 0)
				ctl_die(EXIT_USAGE, "rm: %s needs an id", a);
		} else if (*a != '-') {
			if (kind < 0)
				ctl_die(EXIT_USAGE, "rm: is %s a shm, a sem or a msg? Write: rm shm %s", a, a);
			parse_id(&t[n++], kind, a);
		} else {
			const char *value = a[1] && a[2] ? a + 2 : argv[i + 1];

			at = a[1] ? strchr(ids, a[1]) : NULL;
			if (!at)
				at = a[1] ? strchr(keys, a[1]) : NULL;
			if (!at)
				ctl_die(EXIT_USAGE, "rm: unknown option %s; try ipcctl --help", a);
			if (!value)
				ctl_die(EXIT_USAGE, "rm: %s needs a value", a);
			i += value == argv[i + 1];
			if (strchr(ids, a[1]))
				parse_id(&t[n++], (int)kinds[at - ids], value);
			else
				parse_key(&t[n++], (int)kinds[at - keys], value);
		}
	}
	return n;
}

int ctl_rm(struct ctl *c, int argc, char **argv)
{
	struct target *t = calloc((size_t)argc + 1, sizeof *t);
	bool wanted[KINDS];
	int n, result = 0;

	if (!t)
		ctl_die(EXIT_FAILED, "no memory");
	if (argc < 2)
		ctl_die(EXIT_USAGE, "rm: nothing is named; write: rm shm ID, rm -M KEY, or rm --all");
	if (!strcmp(argv[1], "--all")) {
		parse_all(argc, argv, wanted);
		return remove_all(c, wanted);
	}
	n = parse(argc, argv, t);
	for (int i = 0; i < n; i++)
		result |= remove_target(c, &t[i]);
	free(t);
	return result;
}
