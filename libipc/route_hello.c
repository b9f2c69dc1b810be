/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection says who we are. The first one of a process gets its slot and the tables; after a restart the daemon may
 * have another registry, which is mapped in place of the old one, so that pointers to it stay good.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "raw.h"
#include "registry.h"
#include "route_link.h"

/*
 * The registry that the daemon has; in place of the one that it had, if that one was lost meanwhile: threads that are
 * reading it go on in the new one, and nothing that was granted by the old one is kept.
 */
static int map_registry(struct ipc_ns *ns, int fd)
{
	struct wire *w = ns->wire;
	void *reg = ns->reg.head;
	struct stat st;

	if (fstat(fd, &st) || st.st_size < (off_t)REG_LENGTH)
		return -EPROTO;
	if (!reg)
		reg = file_map(REG_LENGTH, PROT_READ, MAP_SHARED, fd);
	else if (st.st_ino != ns->table &&
		 raw_call(SYS_mmap, (long)reg, REG_LENGTH, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != (long)reg)
		return -ENOMEM;
	if (!reg)
		return -ENOMEM;
	ns->reg = (struct area){ .head = reg, .length = REG_LENGTH, .who_at = REG_WHO_AT, .readonly = true };
	for (int kind = KIND_SEM; kind <= KIND_MSG && ns->table && st.st_ino != ns->table; kind++)
		for (uint32_t i = 0; i < IPCMNI; i++)
			if (atomic_load(&ns->obj[kind][i].seen))
				atomic_store(&ns->obj[kind][i].seen, 0);
	ns->table = st.st_ino;
	snprintf(w->abstract, sizeof w->abstract, WIRE_ABSTRACT, (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return 0;
}

static int map_tables(struct ipc_ns *ns, struct wire_call *c)
{
	struct wire *w = ns->wire;
	void *slots, *lock, *marks;
	int e;

	if (c->fds != 4)
		return -EPROTO;
	w->uid = (uid_t)c->value[2];
	e = map_registry(ns, c->fd[0]);
	if (e)
		return e;
	slots = ns->slots ? (void *)ns->slots : file_map(sizeof(struct slots), PROT_READ, MAP_SHARED, c->fd[1]);
	lock = file_map(PAGE, PROT_READ, MAP_SHARED, c->fd[2]);
	marks = file_map(MARKS_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->fd[3]);
	if (!slots || !lock || !marks)
		return -ENOMEM;
	ns->slots = slots;
	w->lock = lock;
	madvise(lock, PAGE, MADV_DONTFORK);
	w->marks = (struct marks){ .uid = (uid_t)c->value[1], .mark = marks };
	atomic_store(&ns->marks, &w->marks);
	return 0;
}

static int check_tables(struct ipc_ns *ns)
{
	if (ns->reg.head->magic != AREA_MAGIC || ns->reg.head->version != AREA_VERSION ||
	    ns->slots->magic != SLOTS_MAGIC || ns->slots->version != SLOTS_VERSION)
		return -EPROTO;
	return 0;
}

/* What is attached counts in the new registry too. */
static int declare_again(struct ipc_ns *ns, struct link *l, const sigset_t *program)
{
	uint32_t n = 0, done = 0, i = 0, *records;
	int *ids = malloc((ns->att_count + 1) * (sizeof *ids + sizeof *records)), e = 0;
	long result = 0;

	if (!ids)
		return -ENOMEM;
	records = (uint32_t *)(ids + ns->att_count + 1);
	for (i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr)
			ids[n++] = ns->att[i].id;
	do {
		uint32_t some = n - done < WIRE_INLINE / 4 ? n - done : WIRE_INLINE / 4;
		struct wire_call c = { .op = WIRE_ATTACHED,
				       .arg = { 0, done ? WIRE_AGAIN_MORE : WIRE_AGAIN, done + some == n },
				       .out = ids + done, .out_size = some * 4,
				       .in = records + done, .in_room = some * 4 };

		e = link_exchange(ns->wire, l, &c, link_number(l), false, program, &result);
		done += some;
	} while (!e && result >= 0 && done < n);
	if (!e && result < 0)
		e = (int)result;
	for (i = n = 0; !e && i < ns->att_count; i++) {
		ns->att[i].old_record = ns->att[i].addr ? ns->att[i].record : 0;
		if (ns->att[i].addr)
			ns->att[i].record = records[n++];
	}
	free(ids);
	return e;
}

/* The daemon has another registry than we have: this one was lost, and that one made from the database. */
static int renew(struct ipc_ns *ns, struct link *l, int fd, const sigset_t *program)
{
	ino_t old = ns->table;
	struct stat st;
	int e = 0;

	pthread_mutex_lock(ns->cold);
	if (fstat(fd, &st))
		e = -EPROTO;
	else if (st.st_ino != ns->table) { /* no other thread has done it */
		e = map_registry(ns, fd);
		if (!e)
			e = declare_again(ns, l, program);
		if (e)
			ns->table = old; /* whoever comes next does it again */
	}
	pthread_mutex_unlock(ns->cold);
	return e;
}

/* What was given up need not be done any more. */
static int tell_left(const struct wire *w, struct link *l, const sigset_t *program)
{
	struct wire_call c = { .op = WIRE_LEFT, .arg = { l->left.op, l->left.id, (int64_t)l->left.number } };
	long result;
	int e = l->left.number ? link_exchange(w, l, &c, link_number(l), false, program, &result) : 0;

	if (!e)
		l->left.number = 0;
	return e;
}

/* Make the connection and say who we are; the first time, get a slot. */
int link_introduce(struct ipc_ns *ns, struct link *l, uint32_t who, const sigset_t *program)
{
	struct wire_call c = { .op = WIRE_HELLO, .arg = { ns->tag, who, (int64_t)ns->table,
							   raw_call(SYS_gettid, 0, 0, 0, 0, 0, 0), ns->pid,
							   ns->wire->proof } };
	long result = 0;
	int e = link_dial(ns->wire, l);

	if (!e)
		e = link_exchange(ns->wire, l, &c, link_number(l), false, program, &result);
	if (!e && result < 0)
		e = (int)result;
	if (!e && !ns->tag) {
		e = map_tables(ns, &c);
		if (!e)
			e = check_tables(ns);
		if (!e) {
			ns->tag = (uint32_t)c.value[0];
			atomic_store(&ns->slot, SLOT_OF(ns->tag));
			slot_mark(&ns->wire->marks.mark[SLOT_OF(ns->tag)].mutex);
		}
	} else if (!e && c.fds == 1) {
		e = renew(ns, l, c.fd[0], program);
	}
	wire_close_descriptors(&c);
	if (!e)
		e = tell_left(ns->wire, l, program);
	if (e) {
		link_hang_up(l);
		return e == -EPIPE ? -ECONNRESET : e;
	}
	atomic_store(&ns->wire->met, true);
	return (int)result;
}
