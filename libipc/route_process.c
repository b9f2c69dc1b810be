/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's threads and forks. A thread takes a connection when it comes and gives it back when it leaves; a child has
 * none of its parent's, and the slot and the records of what is attached that were made for it before the fork.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "route_link.h"

/* In the cold section. The thread's who number; *link is its connection. */
int wire_enter(struct ipc_ns *ns, uint32_t *link, const sigset_t *program)
{
	struct wire *w = ns->wire;
	time_t since = wire_seconds();
	bool found = false;
	struct link *l;
	int e, unused;

	*link = atomic_load(&w->links_free) % WHO_MAX;
	for (uint32_t tries = 0; tries < WHO_MAX; tries++, *link = (*link + 1) % WHO_MAX) {
		unused = 0;
		found = atomic_compare_exchange_strong(&w->links[*link].used, &unused, 1);
		if (found)
			break;
	}
	if (!found)
		return -ENOMEM;
	atomic_store(&w->links_free, *link + 1);
	for (uint32_t high = atomic_load(&w->links_high); high <= *link;)
		if (atomic_compare_exchange_strong(&w->links_high, &high, *link + 1))
			break;
	l = &w->links[*link];
	l->fd = -1;
	l->number = l->left.number = 0;
	ns->pid = getpid();
	do {
		e = link_introduce(ns, l, 0, program);
		if (e == -ESTALE) { /* of a namespace that the daemon has not any more */
			ns->tag = 0;
			e = link_introduce(ns, l, 0, program);
		}
		if (e >= 0)
			return e;
	} while (wire_patient(w, since, e, program, THE_UNHANDLED));
	atomic_store(&l->used, 0);
	return wire_complain(w, e);
}

void wire_thread_leaves(struct ipc_ns *ns, uint32_t link)
{
	struct link *l = &ns->wire->links[link];

	link_tell(l, WIRE_BYE, 0, 0);
	link_hang_up(l);
	atomic_store(&l->used, 0);
	if (link < atomic_load(&ns->wire->links_free))
		atomic_store(&ns->wire->links_free, link);
}

int wire_attached(struct ipc_ns *ns, uint32_t tag, const int *ids, uint32_t *records, uint32_t n)
{
	for (uint32_t done = 0; done < n;) {
		uint32_t some = n - done < WIRE_INLINE / 4 ? n - done : WIRE_INLINE / 4;
		struct wire_call c = { .op = WIRE_ATTACHED, .arg = { tag }, .out = ids + done, .out_size = some * 4,
				       .in = records + done, .in_room = some * 4 };
		long r = wire_request(ns, &c);

		if (r < 0)
			return (int)r;
		done += some;
	}
	return 0;
}

/* The child's slot and its attachments, before it is there. */
int wire_fork_prepare(struct ipc_ns *ns)
{
	struct wire_call c = { .op = WIRE_FORK };
	struct wire *w = ns->wire;
	uint32_t *records;
	int *ids, e;
	uint32_t n = 0;

	for (uint32_t i = 0; i < ns->att_count; i++)
		ns->att[i].fork_record = 0;
	e = (int)wire_request(ns, &c);
	if (!e && c.fds == 1) {
		w->fork_lock = file_map(PAGE, PROT_READ, MAP_SHARED, c.fd[0]);
		w->fork_proof = c.value[1];
		ns->fork_slot = SLOT_OF((uint32_t)c.value[0]);
	}
	wire_close_descriptors(&c);
	if (e || !w->fork_lock)
		return e ? e : -ENOMEM;
	if (!ns->att_count)
		return 0;
	ids = malloc(ns->att_count * (sizeof *ids + sizeof *records));
	if (!ids)
		return -ENOMEM;
	records = (uint32_t *)(ids + ns->att_count);
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr)
			ids[n++] = ns->att[i].id;
	e = wire_attached(ns, (uint32_t)c.value[0], ids, records, n);
	n = 0;
	for (uint32_t i = 0; i < ns->att_count && !e; i++)
		if (ns->att[i].addr)
			ns->att[i].fork_record = records[n++];
	free(ids);
	return e;
}

void wire_fork_parent(struct ipc_ns *ns)
{
	if (ns->wire->fork_lock)
		munmap(ns->wire->fork_lock, PAGE);
	ns->wire->fork_lock = NULL;
	ns->fork_slot = 0;
}

void wire_fork_named(struct ipc_ns *ns, uint32_t tag, pid_t child)
{
	link_tell(link_own(ns), WIRE_NAMED, tag, child);
}

/* No connection is the child's. */
void links_drop(struct wire *w)
{
	for (uint32_t i = 0; i < atomic_load(&w->links_high); i++)
		if (atomic_load(&w->links[i].used)) {
			link_hang_up(&w->links[i]);
			atomic_store(&w->links[i].used, 0);
		}
	atomic_store(&w->links_high, 0);
	atomic_store(&w->links_free, 0);
}

void wire_fork_child(struct ipc_ns *ns)
{
	struct wire *w = ns->wire;
	uint32_t slot = ns->fork_slot;

	links_drop(w);
	atomic_store(&ns->threads, 0);
	ns->pid = getpid();
	w->lock = NULL; /* it was not inherited */
	ns->fork_slot = 0;
	atomic_store(&ns->slot, 0);
	ns->tag = 0;
	if (!w->fork_lock)
		return;
	w->proof = w->fork_proof;
	w->lock = w->fork_lock;
	w->fork_lock = NULL;
	madvise(w->lock, PAGE, MADV_DONTFORK);
	slot_mark(&w->marks.mark[slot].mutex);
	atomic_store(&ns->slot, slot);
	ns->tag = slot_tag(ns);
}

/* The child of a bare clone is a new process to the daemon; what it has attached it says when it has a slot. */
void wire_after_clone(struct ipc_ns *ns)
{
	links_drop(ns->wire);
	ns->wire->lock = NULL;
	ns->tag = 0;
}
