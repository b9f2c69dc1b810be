/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a daemon that is started again finds of the last one's clients: their slots, and what they have attached. They
 * come back and say so themselves; until they do, what the kernel says of them counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "attach.h"
#include "registry.h"
#include "serve.h"

void client_declared(struct ipc_server *s, struct client *c)
{
	pthread_mutex_lock(&s->lock);
	s->awaited -= c->awaited;
	c->awaited = false;
	pthread_mutex_unlock(&s->lock);
}

/* The segment whose memory the file is, or -1. */
static int segment_of(struct ipc_ns *ns, uint32_t file)
{
	struct row r;

	for (uint32_t i = 0; i < rows_high(&ns->reg, KIND_SHM); i++)
		if (!registry_read_index(ns, KIND_SHM, i, &r) && r.v[R_FILE] == file)
			return row_id(&r);
	return -1;
}

/*
 * The registry was lost, and with it who has what attached. What the kernel says of a process counts until it comes
 * back and says itself; where the kernel tells us nothing, from then on.
 */
static void count_mapped(struct ipc_ns *ns, int who, struct client *c)
{
	char path[40], line[800], prefix[sizeof ns->dir + 8];
	size_t length;
	FILE *f;

	length = (size_t)snprintf(prefix, sizeof prefix, "%s/shm-", ns->dir);
	snprintf(path, sizeof path, "/proc/%d/maps", (int)c->view->pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f)) {
		char *name = strstr(line, prefix);
		uint32_t file = name ? (uint32_t)strtoul(name + length, NULL, 16) : 0, record;
		int id = name ? segment_of(ns, file) : -1;
		struct stat st;

		if (id >= 0 && serve_segment_stat(ns, file, &st) && serve_is_mapping(line, &st))
			attach_add(c->view, who, c->tag, id, c->view->pid, &record);
	}
	if (f)
		fclose(f);
}

void clients_load(struct ipc_server *s)
{
	struct ipc_ns *ns = s->ns;
	bool lost = !att_high(&ns->reg);
	int who = ns_enter(ns);
	uint32_t there = 0;

	if (who > 0)
		slots_sweep(ns, who);
	for (uint32_t i = 1; i < slots_high(ns); i++) {
		struct slot_row *r = &ns->slots->row[i];
		uint64_t word = atomic_load(&r->word);
		struct client *c;

		if (!r->uid || (WORD_STATE(word) != SLOT_LIVE && WORD_STATE(word) != SLOT_NEWBORN))
			continue;
		c = client_new(s, TAG(i, WORD_GEN(word)), WORD_PID(word), r->uid - 1);
		if (!c)
			continue;
		if (WORD_STATE(word) == SLOT_LIVE && client_watch(s, c, WORD_PID(word)) && who > 0)
			slot_reap(ns, who, c->tag);
		else if (WORD_STATE(word) == SLOT_LIVE && lost && who > 0)
			count_mapped(ns, who, c);
		pthread_mutex_lock(&s->lock);
		c->awaited = s->client[i] == c;
		s->awaited += c->awaited;
		pthread_mutex_unlock(&s->lock);
		client_put(s, c);
		there++;
	}
	s->orphans = true;
	if (there)
		serve_log(s, LOG_INFO, "%u processes go on from before", there);
}
