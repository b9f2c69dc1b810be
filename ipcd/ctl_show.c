/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl show: all about one object: its values, who has it attached, who waits, whose undo is pending. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>

#include "ctl.h"

static int width; /* of the output */

static void field(const char *name)
{
	printf("%-12s ", name);
}

static void show_time(const char *name, uint32_t seconds)
{
	time_t t = seconds;
	struct tm tm;
	char text[64];

	field(name);
	if (t && localtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm))
		puts(text);
	else
		puts("never");
}

static void show_pid(const char *name, pid_t pid)
{
	field(name);
	if (pid)
		printf("%d (%s)\n", (int)pid, process_name(pid));
	else
		puts("nobody");
}

static void show_head(struct ctl *c, const struct row *r)
{
	static const char *const title[KINDS] = { "shared memory segment", "semaphore set", "message queue" };
	char name[24];

	field("object");
	printf("%s %d\n", title[r->kind], row_id(r));
	field("key");
	printf("0x%08x%s\n", r->v[R_KEY], r->v[R_KEY] ? "" : " (private)");
	field("mode");
	printf("%04o\n", r->v[R_MODE] & 0777);
	field("owner");
	printf("%s:%s\n", owner_name(r->v[R_UID]), group_name(r->v[R_GID]));
	field("creator");
	printf("%s:%s, pid %u\n", owner_name(r->v[R_CUID]), group_name(r->v[R_CGID]), r->v[R_CPID]);
	object_name(name, r->kind, (int)r->v[R_FILE]);
	field("file");
	printf("%s/%s\n", c->daemon ? "(the daemon's)" : ipc_directory(c->ns), name);
}

static int show_segment(struct ctl *c, const struct object *o)
{
	static struct inspect_attached a[ROOM];
	const uint32_t *v = o->row.v;
	bool gone = ROW_STATE(v[R_STATE]) == ROW_DEST, locked = v[R_MODE] & SHM_LOCKED;
	int n = inspect_attached(c->ns, o->id, a, ROOM);

	field("bytes");
	printf("%llu\n", (unsigned long long)row_size(&o->row));
	if (gone || locked) {
		field("status");
		printf("%s%s%s\n", gone ? "removed, kept while attached" : "", gone && locked ? ", " : "",
		       locked ? "locked" : "");
	}
	show_time("attached", v[R_ATIME]);
	show_time("detached", v[R_DTIME]);
	show_time("changed", o->changed);
	show_pid("last used by", (pid_t)v[R_LPID]);
	field("attachments");
	printf("%u\n", v[R_NATTCH]);
	for (int i = 0; i < n && i < ROOM; i++)
		printf("  pid %d (%s): %u\n", (int)a[i].pid, process_name(a[i].pid), a[i].mappings);
	return n < 0 ? EXIT_FAILED : 0;
}

static int show_waiters(struct ctl *c, const struct object *o)
{
	static struct inspect_waiter w[ROOM];
	int n = inspect_waiters(c->ns, c->who, o->row.kind, o->id, w, ROOM);
	char wish[1000];

	field("waiting");
	printf("%d\n", n < 0 ? 0 : n);
	for (int i = 0; i < n && i < ROOM; i++) {
		wish_text(o->row.kind, &w[i], wish, sizeof wish);
		print_folded(stdout, width, 6, "  pid %d (%s), for %s: %s", (int)w[i].pid, process_name(w[i].pid),
			     duration(w[i].waited), wish);
	}
	return n < 0 ? EXIT_FAILED : 0;
}

/* ---- sets ---- */

struct value { uint16_t value; struct inspect_counts counts; };

/* Of each semaphore; none when the set has gone. */
static struct value *set_values(struct ctl *c, const struct object *o)
{
	struct inspect_counts counts[INSPECT_COUNTS_ROOM];
	int n = (int)o->row.v[R_SIZE], some = 1;
	uint16_t *v = calloc((size_t)n + 1, sizeof *v);
	struct value *out = calloc((size_t)n + 1, sizeof *out);

	if (!v || !out)
		ctl_die(EXIT_FAILED, "no memory");
	if (inspect_values(c->ns, c->who, o->id, v, n) != n)
		some = 0;
	for (int at = 0; at < n && some > 0; at += some) {
		some = inspect_counts(c->ns, c->who, o->id, (uint32_t)at, counts, INSPECT_COUNTS_ROOM);
		for (int i = 0; i < some && at + i < n; i++)
			out[at + i] = (struct value){ v[at + i], counts[i] };
	}
	free(v);
	if (some > 0)
		return out;
	free(out);
	return NULL;
}

static void show_values(struct ctl *c, const struct object *o)
{
	static const struct column columns[] = { { "", false, 0 },	{ "SEM", false, 0 },	 { "VALUE", false, 0 },
						 { "LAST-PID", false, 0 }, { "NCNT", false, 0 }, { "ZCNT", false, 0 } };
	struct table *t = table_new(columns, 6);
	struct value *v = set_values(c, o);

	for (uint32_t i = 0; v && i < o->row.v[R_SIZE]; i++) {
		table_add(t, "%s", "");
		table_add(t, "%u", i);
		table_add(t, "%u", v[i].value);
		table_add(t, "%d", (int)v[i].counts.pid);
		table_add(t, "%d", v[i].counts.ncnt);
		table_add(t, "%d", v[i].counts.zcnt);
	}
	table_print(stdout, t, width, 0);
	table_free(t);
	free(v);
}

static int show_undo(struct ctl *c, const struct object *o)
{
	static struct inspect_undo u[ROOM];
	int n = inspect_undo(c->ns, c->who, o->id, u, ROOM);

	field("undo");
	printf("%d\n", n < 0 ? 0 : n);
	for (int i = 0; i < n && i < ROOM; i++)
		print_folded(stdout, width, 6, "  pid %d (%s): semaphore %u %+d when it ends", (int)u[i].pid,
			     process_name(u[i].pid), u[i].num, u[i].adjust);
	return n < 0 ? EXIT_FAILED : 0;
}

/* The mode does not let this user read it. */
static int say_hidden(const struct object *o)
{
	ctl_say("show: what %s %d holds and who waits is for those who may read it", kind_name[o->row.kind], o->id);
	return EXIT_FAILED;
}

static int show_set(struct ctl *c, const struct object *o)
{
	int result;

	show_time("operated", o->sem.otime);
	show_time("changed", o->changed);
	field("semaphores");
	printf("%u\n", o->row.v[R_SIZE]);
	if (o->hidden)
		return say_hidden(o);
	show_values(c, o);
	result = show_waiters(c, o);
	return show_undo(c, o) | result;
}

/* ---- queues ---- */

static int show_queue(struct ctl *c, const struct object *o)
{
	field("messages");
	printf("%u\n", o->msg.qnum);
	field("bytes");
	printf("%u of %u\n", o->msg.cbytes, o->row.v[R_SIZE]);
	show_time("sent", o->msg.stime);
	show_pid("sent by", (pid_t)o->msg.lspid);
	show_time("received", o->msg.rtime);
	show_pid("received by", (pid_t)o->msg.lrpid);
	show_time("changed", o->changed);
	return o->hidden ? say_hidden(o) : show_waiters(c, o);
}

static int show(struct ctl *c, const struct object *o)
{
	show_head(c, &o->row);
	if (o->damaged) {
		ctl_say("%s %d cannot be opened: %s", kind_name[o->row.kind], o->id,
			c->daemon ? "ipcd's log says why" : ipc_open_error());
		return EXIT_FAILED;
	}
	if (o->row.kind == KIND_SHM)
		return show_segment(c, o);
	return o->row.kind == KIND_SEM ? show_set(c, o) : show_queue(c, o);
}

/* ---- JSON ---- */

static void json_process(pid_t pid)
{
	json_open(NULL, '{');
	json_int("pid", pid);
	json_text("command", process_name(pid));
}

static void json_attachments(struct ctl *c, const struct object *o)
{
	static struct inspect_attached a[ROOM];
	int n = inspect_attached(c->ns, o->id, a, ROOM);

	json_open("attachments", '[');
	for (int i = 0; i < n && i < ROOM; i++) {
		json_process(a[i].pid);
		json_uint("mappings", a[i].mappings);
		json_close('}');
	}
	json_close(']');
}

static void json_wish(enum kind kind, const struct inspect_waiter *w)
{
	if (kind == KIND_MSG) {
		json_text("wants", w->sends ? "send" : "receive");
		json_uint("bytes", w->size);
		if (!w->sends) {
			json_int("type", w->type);
			json_bool("except", w->flags & MSG_EXCEPT);
		}
		return;
	}
	json_uint("operations_total", w->nsops);
	json_open("operations", '[');
	for (uint32_t i = 0; i < w->nsops && i < REQ_SOPS; i++) {
		json_open(NULL, '{');
		json_uint("semaphore", w->sop[i].num);
		json_int("op", w->sop[i].op);
		json_bool("undo", w->sop[i].flg & SEM_UNDO);
		json_close('}');
	}
	json_close(']');
}

static void json_waiters(struct ctl *c, const struct object *o)
{
	static struct inspect_waiter w[ROOM];
	int n = inspect_waiters(c->ns, c->who, o->row.kind, o->id, w, ROOM);

	json_open("waiters", '[');
	for (int i = 0; i < n && i < ROOM; i++) {
		json_process(w[i].pid);
		json_seconds("seconds", w[i].waited);
		json_wish(o->row.kind, &w[i]);
		json_close('}');
	}
	json_close(']');
}

static void json_values(struct ctl *c, const struct object *o)
{
	struct value *v = set_values(c, o);

	json_open("values", '[');
	for (uint32_t i = 0; v && i < o->row.v[R_SIZE]; i++) {
		json_open(NULL, '{');
		json_uint("semaphore", i);
		json_uint("value", v[i].value);
		json_int("last_pid", v[i].counts.pid);
		json_int("ncnt", v[i].counts.ncnt);
		json_int("zcnt", v[i].counts.zcnt);
		json_close('}');
	}
	json_close(']');
	free(v);
}

static void json_undo(struct ctl *c, const struct object *o)
{
	static struct inspect_undo u[ROOM];
	int n = inspect_undo(c->ns, c->who, o->id, u, ROOM);

	json_open("undo_pending", '[');
	for (int i = 0; i < n && i < ROOM; i++) {
		json_process(u[i].pid);
		json_uint("semaphore", u[i].num);
		json_int("adjust", u[i].adjust);
		json_close('}');
	}
	json_close(']');
}

static int show_json(struct ctl *c, const struct object *o)
{
	json_open(NULL, '{');
	json_text("kind", kind_name[o->row.kind]);
	object_json(o);
	if (!o->damaged && o->row.kind == KIND_SHM)
		json_attachments(c, o);
	if (o->hidden)
		json_bool("hidden", true);
	if (!o->damaged && !o->hidden && o->row.kind == KIND_SEM)
		json_values(c, o);
	if (!o->damaged && !o->hidden && o->row.kind != KIND_SHM)
		json_waiters(c, o);
	if (!o->damaged && !o->hidden && o->row.kind == KIND_SEM)
		json_undo(c, o);
	json_close('}');
	return o->damaged || o->hidden ? EXIT_FAILED : 0;
}

/* show ID [KIND] or show KIND ID; without a kind, every object that has the id. */
static int parse(int argc, char **argv, struct kinds *k, bool *json)
{
	const char *id_text = NULL;
	unsigned long long id;
	int words = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			*json = true;
			continue;
		}
		words++;
		if (!k->any && kinds_take(k, argv[i]))
			continue;
		if (id_text && words == 2)
			ctl_die(EXIT_USAGE, "show: '%s' is not shm, sem or msg", argv[i]);
		id_text = argv[i];
	}
	if (!id_text || words > 2)
		ctl_die(EXIT_USAGE, "show needs one id, and optionally shm, sem or msg");
	if (!number(id_text, 10, INT_MAX, &id))
		ctl_die(EXIT_USAGE, "show: '%s' is not an id; ipcctl ls shows them", id_text);
	return (int)id;
}

int ctl_show(struct ctl *c, int argc, char **argv)
{
	struct kinds k = { .any = false };
	bool json = false;
	struct object o[KINDS];
	int id = parse(argc, argv, &k, &json), n = 0, result = 0;
	struct row r;

	width = output_width();
	slots_sweep(c->ns, c->who);
	for (enum kind kind = 0; kind < KINDS; kind++)
		if (kinds_has(&k, kind) && !registry_read(c->ns, kind, id, &r))
			n += object_look(c, &r, &o[n]);
	if (!n)
		ctl_die(EXIT_FAILED, "there is no %s with id %d; ipcctl ls shows what there is",
			k.wanted[KIND_SHM] ? "shm" : k.wanted[KIND_SEM] ? "sem" : k.any ? "msg" : "object", id);
	if (json) {
		json_open(NULL, '{');
		json_text("namespace", ipc_directory(c->ns));
		json_open("objects", '[');
	}
	for (int i = 0; i < n; i++) {
		if (i && !json)
			putchar('\n');
		result |= json ? show_json(c, &o[i]) : show(c, &o[i]);
	}
	if (json) {
		json_close(']');
		json_close('}');
		json_line();
	}
	return result;
}
