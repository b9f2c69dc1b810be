/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl ls: the objects of a namespace, as tables or as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/shm.h>

#include "../libipc/obj_msg.h"
#include "../libipc/obj_sem.h"
#include "ctl.h"

#define DAMAGED "damaged"

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	putchar('"');
}

/* How many processes have adjustments pending; a process may have several. */
static int undo_processes(struct ctl *c, int id)
{
	struct inspect_undo u[1024];
	int n = inspect_undo(c->ns, c->who, id, u, 1024), count = 0;

	for (int i = 0; i < n && i < 1024; i++)
		count += !i || u[i].pid != u[i - 1].pid;
	return count;
}

static int waiters(struct ctl *c, const struct row *r)
{
	int n = inspect_waiters(c->ns, c->who, r->kind, row_id(r), NULL, 0);

	return n < 0 ? 0 : n;
}

static const char *status(const struct row *r)
{
	bool gone = ROW_STATE(r->v[R_STATE]) == ROW_DEST, locked = r->v[R_MODE] & SHM_LOCKED;

	return gone && locked ? "removed,locked" : gone ? "removed" : locked ? "locked" : "-";
}

/* ---- tables ---- */

static void table_head(enum kind kind)
{
	static const char *const title[KINDS] = { "Shared memory segments", "Semaphore sets", "Message queues" };

	printf("%s\n%10s  %-10s  %-10s  %4s", title[kind], "ID", "KEY", "OWNER", "MODE");
	if (kind == KIND_SHM)
		printf("  %14s  %8s  %8s  %8s  %s\n", "BYTES", "ATTACHED", "CREATOR", "LAST", "STATUS");
	else if (kind == KIND_SEM)
		printf("  %14s  %8s  %8s\n", "SEMAPHORES", "WAITING", "UNDO");
	else
		printf("  %14s  %8s  %8s  %8s\n", "MESSAGES", "BYTES", "LIMIT", "WAITING");
}

static void table_row(struct ctl *c, const struct row *r)
{
	struct msg_stat st;
	struct obj *o;

	printf("%10d  0x%08x  %-10s  %04o", row_id(r), r->v[R_KEY], owner_name(r->v[R_UID]), r->v[R_MODE] & 0777);
	if (r->kind == KIND_SHM)
		printf("  %14llu  %8u  %8u  %8u  %s\n", (unsigned long long)row_size(r), r->v[R_NATTCH], r->v[R_CPID],
		       r->v[R_LPID], status(r));
	else if (object_open(c->ns, r->kind, row_id(r), c->who, &o))
		printf("  %14s\n", DAMAGED);
	else if (r->kind == KIND_SEM)
		printf("  %14u  %8d  %8d\n", r->v[R_SIZE], waiters(c, r), undo_processes(c, row_id(r)));
	else if (!msg_queue_stat(c->ns, c->who, o, &st))
		printf("  %14u  %8u  %8u  %8d\n", st.qnum, st.cbytes, r->v[R_SIZE], waiters(c, r));
}

/* ---- JSON ---- */

static void json_row(struct ctl *c, const struct row *r)
{
	struct sem_times times;
	struct msg_stat st;
	struct obj *o;

	printf("{\"id\":%d,\"key\":\"0x%08x\",\"uid\":%u,\"gid\":%u,\"owner\":", row_id(r), r->v[R_KEY], r->v[R_UID],
	       r->v[R_GID]);
	json_string(owner_name(r->v[R_UID]));
	printf(",\"mode\":\"%04o\",\"creator_pid\":%u", r->v[R_MODE] & 0777, r->v[R_CPID]);
	if (r->kind == KIND_SHM)
		printf(",\"bytes\":%llu,\"attached\":%u,\"last_pid\":%u,\"removed\":%s,\"locked\":%s,"
		       "\"attach_time\":%u,\"detach_time\":%u,\"change_time\":%u",
		       (unsigned long long)row_size(r), r->v[R_NATTCH], r->v[R_LPID],
		       ROW_STATE(r->v[R_STATE]) == ROW_DEST ? "true" : "false",
		       r->v[R_MODE] & SHM_LOCKED ? "true" : "false", r->v[R_ATIME], r->v[R_DTIME], r->v[R_CTIME]);
	else if (object_open(c->ns, r->kind, row_id(r), c->who, &o))
		printf(",\"damaged\":true");
	else if (r->kind == KIND_SEM && !sem_set_times(c->ns, c->who, o, &times))
		printf(",\"semaphores\":%u,\"waiting\":%d,\"undo\":%d,\"op_time\":%u,\"change_time\":%u", r->v[R_SIZE],
		       waiters(c, r), undo_processes(c, row_id(r)), times.otime,
		       times.ctime > r->v[R_CTIME] ? times.ctime : r->v[R_CTIME]);
	else if (r->kind == KIND_MSG && !msg_queue_stat(c->ns, c->who, o, &st))
		printf(",\"messages\":%u,\"bytes\":%u,\"limit\":%u,\"waiting\":%d,\"send_pid\":%u,\"receive_pid\":%u,"
		       "\"send_time\":%u,\"receive_time\":%u,\"change_time\":%u",
		       st.qnum, st.cbytes, r->v[R_SIZE], waiters(c, r), st.lspid, st.lrpid, st.stime, st.rtime,
		       st.ctime > r->v[R_CTIME] ? st.ctime : r->v[R_CTIME]);
	putchar('}');
}

static void list_kind(struct ctl *c, enum kind kind, bool json)
{
	uint32_t in_use, last = registry_max_index(c->ns, kind, &in_use);
	const char *between = "";
	struct row r;

	for (uint32_t i = 0; in_use && i <= last; i++) {
		if (registry_read_index(c->ns, kind, i, &r))
			continue;
		fputs(between, stdout);
		if (json)
			json_row(c, &r);
		else
			table_row(c, &r);
		between = json ? "," : "";
	}
}

int ctl_ls(struct ctl *c, int argc, char **argv)
{
	bool wanted[KINDS] = { false }, json = false, any = false;
	const char *between = "";

	for (int i = 1; i < argc; i++) {
		int kind = kind_named(argv[i]);

		if (kind >= 0)
			wanted[kind] = any = true;
		else if (!strcmp(argv[i], "--json"))
			json = true;
		else
			ctl_die(EXIT_USAGE, "ls: '%s' is not known; use shm, sem, msg or --json", argv[i]);
	}
	slots_sweep(c->ns, c->who);
	if (json) {
		printf("{\"namespace\":");
		json_string(ipc_directory(c->ns));
	}
	for (int kind = 0; kind < KINDS; kind++) {
		if (any && !wanted[kind])
			continue;
		if (json) {
			printf(",\"%s\":[", kind_name[kind]);
		} else {
			fputs(between, stdout);
			table_head(kind);
			between = "\n";
		}
		list_kind(c, kind, json);
		if (json)
			putchar(']');
	}
	if (json)
		puts("}");
	return 0;
}
