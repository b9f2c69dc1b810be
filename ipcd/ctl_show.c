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

#include "../libipc/obj_msg.h"
#include "../libipc/obj_sem.h"
#include "ctl.h"

#define ROOM 4096

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
	printf("%s/%s\n", ipc_directory(c->ns), name);
}

static int show_segment(struct ctl *c, const struct row *r)
{
	static struct inspect_attached a[ROOM];
	int n = inspect_attached(c->ns, row_id(r), a, ROOM);

	field("bytes");
	printf("%llu\n", (unsigned long long)row_size(r));
	if (ROW_STATE(r->v[R_STATE]) == ROW_DEST || r->v[R_MODE] & SHM_LOCKED) {
		field("status");
		printf("%s%s\n", ROW_STATE(r->v[R_STATE]) == ROW_DEST ? "removed, kept while attached" : "",
		       !(r->v[R_MODE] & SHM_LOCKED)		  ? "" :
		       ROW_STATE(r->v[R_STATE]) == ROW_DEST ? ", locked" :
								    "locked");
	}
	show_time("attached", r->v[R_ATIME]);
	show_time("detached", r->v[R_DTIME]);
	show_time("changed", r->v[R_CTIME]);
	show_pid("last used by", (pid_t)r->v[R_LPID]);
	field("attachments");
	printf("%u\n", r->v[R_NATTCH]);
	for (int i = 0; i < n && i < ROOM; i++)
		printf("  pid %d (%s): %u\n", (int)a[i].pid, process_name(a[i].pid), a[i].mappings);
	return n < 0 ? EXIT_FAILED : 0;
}

/* ---- sets ---- */

static void show_wish(const struct inspect_waiter *w)
{
	printf("  pid %d (%s):", (int)w->pid, process_name(w->pid));
	for (uint32_t i = 0; i < w->nsops && i < REQ_SOPS; i++) {
		printf("%s semaphore %u ", i ? "," : "", w->sop[i].num);
		if (w->sop[i].op)
			printf("%+d%s", w->sop[i].op, w->sop[i].flg & SEM_UNDO ? " with undo" : "");
		else
			printf("is zero");
	}
	if (w->nsops > REQ_SOPS)
		printf(", and %u more", w->nsops - REQ_SOPS);
	putchar('\n');
}

static void show_values(struct ctl *c, const struct row *r, struct obj *o)
{
	uint32_t n = r->v[R_SIZE];
	unsigned short *v = calloc(n, sizeof *v);

	if (!v || sem_set_getall(c->ns, c->who, o, v)) {
		free(v);
		return;
	}
	printf("  %9s  %7s  %8s  %15s  %16s\n", "SEMAPHORE", "VALUE", "LAST PID", "WAIT FOR MORE", "WAIT FOR ZERO");
	for (uint32_t i = 0; i < n; i++)
		printf("  %9u  %7u  %8d  %15d  %16d\n", i, v[i], sem_set_query(c->ns, c->who, o, i, GETPID),
		       sem_set_query(c->ns, c->who, o, i, GETNCNT), sem_set_query(c->ns, c->who, o, i, GETZCNT));
	free(v);
}

static int show_set(struct ctl *c, const struct row *r, struct obj *o)
{
	static struct inspect_waiter w[ROOM];
	static struct inspect_undo u[ROOM];
	struct sem_times t = { 0, 0 };
	int waiting = inspect_waiters(c->ns, c->who, KIND_SEM, row_id(r), w, ROOM);
	int undo = inspect_undo(c->ns, c->who, row_id(r), u, ROOM);

	sem_set_times(c->ns, c->who, o, &t);
	show_time("operated", t.otime);
	show_time("changed", t.ctime > r->v[R_CTIME] ? t.ctime : r->v[R_CTIME]);
	field("semaphores");
	printf("%u\n", r->v[R_SIZE]);
	show_values(c, r, o);
	field("waiting");
	printf("%d\n", waiting < 0 ? 0 : waiting);
	for (int i = 0; i < waiting && i < ROOM; i++)
		show_wish(&w[i]);
	field("undo");
	printf("%d\n", undo < 0 ? 0 : undo);
	for (int i = 0; i < undo && i < ROOM; i++)
		printf("  pid %d (%s): semaphore %u %+d when it ends\n", (int)u[i].pid,
		       process_name(u[i].pid), u[i].num, u[i].adjust);
	return waiting < 0 || undo < 0 ? EXIT_FAILED : 0;
}

/* ---- queues ---- */

static void show_queue_waiter(const struct inspect_waiter *w)
{
	printf("  pid %d (%s): ", (int)w->pid, process_name(w->pid));
	if (w->sends)
		printf("sends %llu bytes\n", (unsigned long long)w->size);
	else if (!w->type)
		printf("receives any message\n");
	else if (w->type < 0)
		printf("receives the lowest type up to %lld\n", w->type == LONG_MIN ? LLONG_MAX : -(long long)w->type);
	else
		printf("receives type %s%lld\n", w->flags & MSG_EXCEPT ? "other than " : "", (long long)w->type);
}

static int show_queue(struct ctl *c, const struct row *r, struct obj *o)
{
	static struct inspect_waiter w[ROOM];
	struct msg_stat st = { 0 };
	int waiting = inspect_waiters(c->ns, c->who, KIND_MSG, row_id(r), w, ROOM);

	msg_queue_stat(c->ns, c->who, o, &st);
	field("messages");
	printf("%u\n", st.qnum);
	field("bytes");
	printf("%u of %u\n", st.cbytes, r->v[R_SIZE]);
	show_time("sent", st.stime);
	show_pid("sent by", (pid_t)st.lspid);
	show_time("received", st.rtime);
	show_pid("received by", (pid_t)st.lrpid);
	show_time("changed", st.ctime > r->v[R_CTIME] ? st.ctime : r->v[R_CTIME]);
	field("waiting");
	printf("%d\n", waiting < 0 ? 0 : waiting);
	for (int i = 0; i < waiting && i < ROOM; i++)
		show_queue_waiter(&w[i]);
	return waiting < 0 ? EXIT_FAILED : 0;
}

static int show(struct ctl *c, const struct row *r)
{
	struct obj *o = NULL;

	show_head(c, r);
	if (r->kind == KIND_SHM)
		return show_segment(c, r);
	if (object_open(c->ns, r->kind, row_id(r), c->who, &o)) {
		ctl_say("%s %d cannot be opened: %s", kind_name[r->kind], row_id(r), ipc_open_error());
		return EXIT_FAILED;
	}
	return r->kind == KIND_SEM ? show_set(c, r, o) : show_queue(c, r, o);
}

/* show ID [KIND] or show KIND ID; without a kind, every object that has the id. */
int ctl_show(struct ctl *c, int argc, char **argv)
{
	int only = -1, result = 0, shown = 0;
	const char *id_text;
	unsigned long long id;
	struct row r;

	if (argc < 2 || argc > 3)
		ctl_die(EXIT_USAGE, "show needs one id, and optionally shm, sem or msg");
	id_text = argv[1];
	if (argc == 3) {
		only = kind_named(argv[1]);
		id_text = only >= 0 ? argv[2] : argv[1];
		if (only < 0 && (only = kind_named(argv[2])) < 0)
			ctl_die(EXIT_USAGE, "show: '%s' is not shm, sem or msg", argv[2]);
	}
	if (!number(id_text, 10, INT_MAX, &id))
		ctl_die(EXIT_USAGE, "show: '%s' is not an id; ipcctl ls shows them", id_text);
	slots_sweep(c->ns, c->who);
	for (int kind = 0; kind < KINDS; kind++) {
		if ((only >= 0 && kind != only) || registry_read(c->ns, kind, (int)id, &r))
			continue;
		if (shown++)
			putchar('\n');
		result |= show(c, &r);
	}
	if (!shown)
		ctl_die(EXIT_FAILED, "there is no %s with id %llu; ipcctl ls shows what there is",
			only >= 0 ? kind_name[only] : "object", id);
	return result;
}
