/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcctl metrics: numbers for a monitoring system, in OpenMetrics' text format or as JSON. Each sample has the
 * namespace's directory as a label. A family's samples stand together, as the format wants; so all are gathered first.
 */
#include <stdlib.h>
#include <string.h>

#include "../libipc/obj_shm.h"
#include "ctl.h"

struct sums {
	uint64_t objects[KINDS], waiting[KINDS], longest[KINDS];
	uint64_t shm_bytes, attachments, removed, semaphores, undo, messages, message_bytes, damaged, hidden;
};

struct kept { struct object *o; size_t n, room; };

static const char *directory;
static bool json;
static const char *family_name, *family_type;

static int gather(struct ctl *c, const struct object *o, void *arg)
{
	struct kept *k = arg;

	(void)c;
	if (k->n == k->room) {
		k->room = k->room ? 2 * k->room : 64;
		k->o = realloc(k->o, k->room * sizeof *k->o);
		if (!k->o)
			ctl_die(EXIT_FAILED, "no memory");
	}
	k->o[k->n++] = *o;
	return 0;
}

static void add_up(const struct object *o, struct sums *s)
{
	enum kind kind = o->row.kind;

	s->objects[kind]++;
	s->damaged += o->damaged;
	s->hidden += o->hidden;
	s->waiting[kind] += (uint64_t)o->waiting;
	s->longest[kind] = o->longest > s->longest[kind] ? o->longest : s->longest[kind];
	s->undo += (uint64_t)o->undo;
	if (kind == KIND_SHM) {
		s->shm_bytes += row_size(&o->row);
		s->attachments += o->row.v[R_NATTCH];
		s->removed += ROW_STATE(o->row.v[R_STATE]) == ROW_DEST;
	} else if (kind == KIND_SEM) {
		s->semaphores += o->row.v[R_SIZE];
	}
	s->messages += o->msg.qnum;
	s->message_bytes += o->msg.cbytes;
}

/* ---- the two forms ---- */

static void family(const char *name, const char *type, const char *unit, const char *help)
{
	family_name = name;
	family_type = type;
	if (json)
		return;
	printf("# TYPE %s %s\n", name, type);
	if (unit)
		printf("# UNIT %s %s\n", name, unit);
	printf("# HELP %s %s\n", name, help);
}

static void label(const char *name, const char *value, const char *before)
{
	printf("%s%s=\"", before, name);
	while (*value) {
		size_t n = utf8_length(value);

		if (*value == '\n')
			fputs("\\n", stdout);
		else if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else if (n)
			fwrite(value, 1, n, stdout);
		else
			fputs("\357\277\275", stdout); /* U+FFFD */
		value += n ? n : 1;
	}
	putchar('"');
}

/* A sample; labels are name, value, ..., NULL. ms: the value is milliseconds, shown as seconds. */
static void sample(uint64_t value, bool ms, const char *const *labels)
{
	bool counter = !strcmp(family_type, "counter");

	if (json) {
		json_open(NULL, '{');
		json_text("name", family_name);
		json_text("type", family_type);
		json_open("labels", '{');
		for (; labels && labels[0]; labels += 2)
			json_text(labels[0], labels[1]);
		json_close('}');
		if (ms)
			json_seconds("value", value);
		else
			json_uint("value", value);
		json_close('}');
		return;
	}
	printf("%s%s", family_name, counter ? "_total" : "");
	label("namespace", directory, "{");
	for (; labels && labels[0]; labels += 2)
		label(labels[0], labels[1], ",");
	if (ms)
		printf("} %llu.%03u\n", (unsigned long long)(value / 1000), (unsigned)(value % 1000));
	else
		printf("} %llu\n", (unsigned long long)value);
}

static void gauge(const char *name, const char *unit, const char *help, uint64_t value)
{
	family(name, "gauge", unit, help);
	sample(value, false, NULL);
}

static void by_kind(const uint64_t *values, enum kind first, bool ms)
{
	for (enum kind kind = first; kind < KINDS; kind++)
		sample(values[kind], ms, (const char *const[]){ "kind", kind_name[kind], NULL });
}

/* ---- what is told ---- */

static void whole(struct ctl *c, const struct sums *s)
{
	family("ipcd_objects", "gauge", NULL, "Objects: segments, sets, queues.");
	by_kind(s->objects, KIND_SHM, false);
	gauge("ipcd_objects_damaged", NULL, "Objects whose file is damaged.", s->damaged);
	if (c->daemon)
		gauge("ipcd_objects_hidden", NULL, "Objects that this user may not read; their waiters and undo are not counted.",
		      s->hidden);
	gauge("ipcd_processes", NULL, "Processes that use the namespace, without the one that asks.",
	      (uint64_t)processes_count(c));
	gauge("ipcd_shm_bytes", "bytes", "Sizes of all segments.", s->shm_bytes);
	gauge("ipcd_shm_resident_bytes", "bytes", "Memory that the segments really have.",
	      shm_resident_pages(c->ns) * PAGE);
	gauge("ipcd_shm_attachments", NULL, "Attachments of all segments.", s->attachments);
	gauge("ipcd_shm_removed", NULL, "Segments that go with their last detach.", s->removed);
	gauge("ipcd_semaphores", NULL, "Semaphores of all sets.", s->semaphores);
	gauge("ipcd_undo_processes", NULL, "Processes with undo adjustments pending, counted in each set.", s->undo);
	gauge("ipcd_messages", NULL, "Messages in all queues.", s->messages);
	gauge("ipcd_message_bytes", "bytes", "Bytes in all queues.", s->message_bytes);
	family("ipcd_waiters", "gauge", NULL, "Threads that sleep in a call.");
	by_kind(s->waiting, KIND_SEM, false);
	family("ipcd_longest_wait_seconds", "gauge", "seconds", "The longest time that one of them sleeps.");
	by_kind(s->longest, KIND_SEM, true);
	family("ipcd_limit", "gauge", NULL, "Limits, by the kernel's names.");
	for (int l = 0; l < LIMITS; l++)
		sample(registry_limit(c->ns, (enum limit)l), false,
		       (const char *const[]){ "name", limit_info[l].name, NULL });
	family("ipcd_registry_changes", "counter", NULL, "Changes of the table of objects.");
	sample(SEQ(atomic_load(&c->ns->reg.head->op)), false, NULL);
}

static uint64_t waiting_of(const struct object *o)
{
	return (uint64_t)o->waiting;
}

static void each(const struct kept *k, enum kind kind, uint64_t (*value)(const struct object *o))
{
	for (size_t i = 0; i < k->n; i++) {
		const struct object *o = &k->o[i];
		char id[16], key[16];

		if (o->damaged || (o->hidden && value == waiting_of) || (kind < KINDS ? o->row.kind != kind : o->row.kind == KIND_SHM))
			continue;
		snprintf(id, sizeof id, "%d", o->id);
		snprintf(key, sizeof key, "0x%08x", o->row.v[R_KEY]);
		sample(value(o), false,
		       (const char *const[]){ "kind", kind_name[o->row.kind], "id", id, "key", key, NULL });
	}
}

static uint64_t size_of(const struct object *o)
{
	return row_size(&o->row);
}

static uint64_t attached_of(const struct object *o)
{
	return o->row.v[R_NATTCH];
}

static uint64_t messages_of(const struct object *o)
{
	return o->msg.qnum;
}

static uint64_t bytes_of(const struct object *o)
{
	return o->msg.cbytes;
}

static uint64_t changes_of(const struct object *o)
{
	return o->changes > 0 ? (uint64_t)o->changes : 0;
}

static void single(const struct kept *k)
{
	family("ipcd_segment_bytes", "gauge", "bytes", "Size of a segment.");
	each(k, KIND_SHM, size_of);
	family("ipcd_segment_attachments", "gauge", NULL, "Attachments of a segment.");
	each(k, KIND_SHM, attached_of);
	family("ipcd_queue_messages", "gauge", NULL, "Messages in a queue.");
	each(k, KIND_MSG, messages_of);
	family("ipcd_queue_bytes", "gauge", "bytes", "Bytes in a queue.");
	each(k, KIND_MSG, bytes_of);
	family("ipcd_object_waiters", "gauge", NULL, "Threads that sleep in a call on a set or queue.");
	each(k, KINDS, waiting_of);
	family("ipcd_object_changes", "counter", NULL, "Changes of a set or queue; a call may be several.");
	each(k, KINDS, changes_of);
}

int ctl_metrics(struct ctl *c, int argc, char **argv)
{
	struct kept k = { NULL, 0, 0 };
	struct sums s = { .damaged = 0 };
	bool objects = false;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--objects"))
			objects = true;
		else
			ctl_die(EXIT_USAGE, "metrics: '%s' is not known; use --objects or --json", argv[i]);
	directory = ipc_directory(c->ns);
	slots_sweep(c->ns, c->who);
	for (enum kind kind = 0; kind < KINDS; kind++)
		objects_each(c, kind, gather, &k);
	for (size_t i = 0; i < k.n; i++)
		add_up(&k.o[i], &s);
	if (json) {
		json_open(NULL, '{');
		json_text("namespace", directory);
		json_open("metrics", '[');
	}
	whole(c, &s);
	if (objects)
		single(&k);
	if (json) {
		json_close(']');
		json_close('}');
		json_line();
	} else {
		puts("# EOF");
	}
	free(k.o);
	return 0;
}
