/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcctl gc: remove what was left behind. An object goes only if all of this is so, looked at right before:
 *  - the process that made it is gone (neither a slot nor the system knows it any more);
 *  - nobody has it attached, waits for it, or has undo pending on it, and none of the processes that it names as its
 *    last users is in the namespace any more;
 *  - nothing was done with it for the time that --older names.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../libipc/proc_stat.h"
#include "ctl.h"

#define OLDER (24 * 3600)

static struct {
	struct kinds kinds;
	bool dry, json;
	unsigned long long older;
	int removed, kept, result;
	pid_t process[WHO_MAX];
	int processes;
} gc = { .older = OLDER };

/* ---- is it in use? ---- */

static bool is_here(uint32_t pid)
{
	for (int i = 0; i < gc.processes; i++)
		if (gc.process[i] == (pid_t)pid)
			return true;
	return false;
}

/* Who attached, operated, sent or received last: is one of them there? */
static bool user_here(struct ctl *c, const struct object *o)
{
	struct inspect_counts counts[INSPECT_COUNTS_ROOM];
	uint32_t at = 0;
	int n;

	if (o->row.kind == KIND_SHM)
		return is_here(o->row.v[R_LPID]);
	if (o->row.kind == KIND_MSG)
		return is_here(o->msg.lspid) || is_here(o->msg.lrpid);
	for (; at < o->row.v[R_SIZE]; at += (uint32_t)n) {
		n = inspect_counts(c->ns, c->who, o->id, at, counts, INSPECT_COUNTS_ROOM);
		if (n <= 0)
			return true;
		for (int i = 0; i < n; i++)
			if (is_here((uint32_t)counts[i].pid))
				return true;
	}
	return false;
}

/* Seconds since 1970 at which the system was started; 0 if it cannot be told. */
static time_t boot_time(void)
{
	struct timespec real, boot;

	if (clock_gettime(CLOCK_REALTIME, &real) || clock_gettime(CLOCK_BOOTTIME, &boot))
		return 0;
	return real.tv_sec - boot.tv_sec;
}

/* A process with the creator's pid that started after the object was made is another one. */
static bool creator_gone(const struct object *o)
{
	pid_t pid = (pid_t)o->row.v[R_CPID];
	uint64_t start;
	bool gone;

	if (is_here((uint32_t)pid))
		return false;
	start = process_start(pid, &gone);
	if (gone)
		return true;
	return start && boot_time() + (time_t)(start / (uint64_t)sysconf(_SC_CLK_TCK)) > (time_t)o->row.v[R_CTIME] + 1;
}

static time_t last_use(const struct object *o)
{
	const uint32_t *v = o->row.v;
	uint32_t times[4] = { o->changed }, last = 0;

	if (o->row.kind == KIND_SHM) {
		times[1] = v[R_ATIME];
		times[2] = v[R_DTIME];
	} else {
		times[1] = o->sem.otime;
		times[2] = o->msg.stime;
		times[3] = o->msg.rtime;
	}
	for (int i = 0; i < 4; i++)
		last = times[i] > last ? times[i] : last;
	return (time_t)last;
}

/* NULL, or why it stays. */
static const char *in_use(struct ctl *c, const struct object *o)
{
	if (o->damaged)
		return "it is damaged";
	if (o->hidden)
		return "it is not yours to read";
	if (o->row.v[R_NATTCH])
		return "it is attached";
	if (o->waiting)
		return "somebody waits for it";
	if (o->undo)
		return "undo is pending on it";
	if (!creator_gone(o))
		return "its creator is there";
	if (user_here(c, o))
		return "a process that has used it is there";
	if (time(NULL) - last_use(o) < (time_t)gc.older)
		return "it was used lately";
	return NULL;
}

/* ---- the command ---- */

static void tell(const struct object *o, const char *verb, const char *why)
{
	char key[16];

	snprintf(key, sizeof key, "0x%08x", o->row.v[R_KEY]);
	if (gc.json) {
		json_open(NULL, '{');
		json_text("kind", kind_name[o->row.kind]);
		json_int("id", o->id);
		json_text("key", key);
		json_text("action", verb);
		json_text("reason", why);
		json_close('}');
	} else {
		print_folded(stdout, output_width(), 4, "%s %s %d, key %s, of %s: %s", verb, kind_name[o->row.kind],
			     o->id, key, owner_name(o->row.v[R_UID]), why);
	}
}

static void look_around(struct ctl *c)
{
	slots_sweep(c->ns, c->who);
	gc.processes = inspect_processes(c->ns, gc.process, WHO_MAX);
}

/* The same object, a moment later. */
static const char *look_again(struct ctl *c, const struct object *before)
{
	struct object o;
	struct row r;

	look_around(c);
	if (registry_read(c->ns, before->row.kind, before->id, &r) || !object_look(c, &r, &o))
		return "it has gone by itself";
	return in_use(c, &o);
}

static int collect(struct ctl *c, const struct object *o, void *arg)
{
	const char *stays = in_use(c, o);
	char why[200], log[220];

	(void)arg;
	if (!stays && !gc.dry)
		stays = look_again(c, o);
	if (stays) {
		gc.kept++;
		if (gc.dry || gc.json)
			tell(o, "keep", stays);
		return 0;
	}
	snprintf(why, sizeof why, "its creator, pid %u, is gone, nobody uses it, and nothing was done with it for %s",
		 o->row.v[R_CPID], duration((uint64_t)(time(NULL) - last_use(o)) * 1000));
	snprintf(log, sizeof log, "gc, %s", why);
	if (!gc.dry && remove_object(c, &o->row, log)) {
		ctl_say("gc: %s %d: %s", kind_name[o->row.kind], o->id, strerror(errno));
		gc.result = EXIT_FAILED;
		return 0;
	}
	gc.removed++;
	tell(o, gc.dry ? "would remove" : "removed", why);
	return 0;
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--dry-run")) {
			gc.dry = true;
		} else if (!strcmp(argv[i], "--json")) {
			gc.json = true;
		} else if (!strcmp(argv[i], "--older")) {
			if (++i == argc)
				ctl_die(EXIT_USAGE, "gc: --older needs an age, as 90s, 30m, 12h, 7d or 2w");
			if (!age_number(argv[i], &gc.older))
				ctl_die(EXIT_USAGE, "gc: '%s' is not an age; write 90s, 30m, 12h, 7d or 2w", argv[i]);
		} else if (!kinds_take(&gc.kinds, argv[i])) {
			ctl_die(EXIT_USAGE,
				"gc: '%s' is not known; use --dry-run, --older AGE, --json, shm, sem or msg", argv[i]);
		}
	}
}

int ctl_gc(struct ctl *c, int argc, char **argv)
{
	parse(argc, argv);
	if (access("/proc/self/stat", R_OK))
		ctl_die(EXIT_FAILED, "gc: /proc is not there, so it cannot be told who is alive; nothing is removed");
	look_around(c);
	if (gc.json) {
		json_open(NULL, '{');
		json_text("namespace", ipc_directory(c->ns));
		json_bool("dry_run", gc.dry);
		json_uint("older", gc.older);
		json_open("objects", '[');
	}
	for (enum kind kind = 0; kind < KINDS; kind++)
		if (kinds_has(&gc.kinds, kind))
			objects_each(c, kind, collect, NULL);
	if (gc.json) {
		json_close(']');
		json_close('}');
		json_line();
	} else {
		printf("%d %s, %d kept\n", gc.removed, gc.dry ? "to be removed" : "removed", gc.kept);
	}
	return gc.result;
}
