/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl ls: the objects of a namespace, as tables or as JSON. */
#include <string.h>
#include <sys/shm.h>

#include "ctl.h"

static const struct column shm_columns[] = {
	{ "ID", false, 0 },    { "KEY", true, 0 },	 { "OWNER", true, 4 },	  { "MODE", true, 3 },
	{ "BYTES", false, 0 }, { "ATTACHED", false, 1 }, { "CREATOR", false, 2 }, { "LAST", false, 6 },
	{ "STATUS", true, 5 },
}, sem_columns[] = {
	{ "ID", false, 0 },   { "KEY", true, 0 },      { "OWNER", true, 4 }, { "MODE", true, 3 },
	{ "SEMS", false, 0 }, { "WAITING", false, 1 }, { "UNDO", false, 2 },
}, msg_columns[] = {
	{ "ID", false, 0 },	  { "KEY", true, 0 },	 { "OWNER", true, 4 },	{ "MODE", true, 3 },
	{ "MESSAGES", false, 0 }, { "BYTES", false, 2 }, { "LIMIT", false, 5 }, { "WAITING", false, 1 },
};
static const struct { const char *title; const struct column *column; int n; } shape[KINDS] = {
	{ "Shared memory segments", shm_columns, 9 },
	{ "Semaphore sets", sem_columns, 7 },
	{ "Message queues", msg_columns, 8 },
};

static const char *status(const struct row *r)
{
	bool gone = ROW_STATE(r->v[R_STATE]) == ROW_DEST, locked = r->v[R_MODE] & SHM_LOCKED;

	return gone && locked ? "removed,locked" : gone ? "removed" : locked ? "locked" : "-";
}

/* A number that is not for this user to see is a question mark. */
static void add_known(struct table *t, const struct object *o, int value)
{
	if (o->hidden)
		table_add(t, "?");
	else
		table_add(t, "%d", value);
}

static int add_row(struct ctl *c, const struct object *o, void *arg)
{
	const struct row *r = &o->row;
	struct table *t = arg;

	(void)c;
	table_add(t, "%d", o->id);
	table_add(t, "0x%08x", r->v[R_KEY]);
	table_add(t, "%s", owner_name(r->v[R_UID]));
	table_add(t, "%04o", r->v[R_MODE] & 0777);
	if (o->damaged) {
		table_add(t, "damaged");
	} else if (r->kind == KIND_SHM) {
		table_add(t, "%llu", (unsigned long long)row_size(r));
		table_add(t, "%u", r->v[R_NATTCH]);
		table_add(t, "%u", r->v[R_CPID]);
		table_add(t, "%u", r->v[R_LPID]);
		table_add(t, "%s", status(r));
	} else if (r->kind == KIND_SEM) {
		table_add(t, "%u", r->v[R_SIZE]);
		add_known(t, o, o->waiting);
		add_known(t, o, o->undo);
	} else {
		table_add(t, "%u", o->msg.qnum);
		table_add(t, "%u", o->msg.cbytes);
		table_add(t, "%u", r->v[R_SIZE]);
		add_known(t, o, o->waiting);
	}
	table_end_row(t);
	return 0;
}

static void list_table(struct ctl *c, enum kind kind, int width)
{
	struct table *t = table_new(shape[kind].column, shape[kind].n);

	objects_each(c, kind, add_row, t);
	printf("%s%s\n", shape[kind].title, table_drops(t, width) ? " (more: --wide)" : "");
	table_print(stdout, t, width, 0);
	table_free(t);
}

static int json_row(struct ctl *c, const struct object *o, void *arg)
{
	(void)c;
	(void)arg;
	json_open(NULL, '{');
	object_json(o);
	json_close('}');
	return 0;
}

static int list_json(struct ctl *c, const struct kinds *k)
{
	json_open(NULL, '{');
	json_text("namespace", ipc_directory(c->ns));
	for (enum kind kind = 0; kind < KINDS; kind++) {
		if (!kinds_has(k, kind))
			continue;
		json_open(kind_name[kind], '[');
		objects_each(c, kind, json_row, NULL);
		json_close(']');
	}
	json_close('}');
	json_line();
	return 0;
}

int ctl_ls(struct ctl *c, int argc, char **argv)
{
	struct kinds k = { .any = false };
	bool json = false, wide = false;
	const char *between = "";

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--wide"))
			wide = true;
		else if (!kinds_take(&k, argv[i]))
			ctl_die(EXIT_USAGE, "ls: '%s' is not known; use shm, sem, msg, --wide or --json", argv[i]);
	slots_sweep(c->ns, c->who);
	if (json)
		return list_json(c, &k);
	for (enum kind kind = 0; kind < KINDS; kind++) {
		if (!kinds_has(&k, kind))
			continue;
		fputs(between, stdout);
		list_table(c, kind, wide ? 0 : output_width());
		between = "\n";
	}
	return 0;
}
