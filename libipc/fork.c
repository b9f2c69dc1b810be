/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes and threads of a program that has namespaces open: a process takes its slot and a thread its who number at
 * their first call, both give them back, and a child gets a slot of its own, in the fork or, after a bare clone of which
 * nobody told us, at its first call.
 *
 * From fork_prepare to fork_parent or fork_child this thread holds ns_list_lock and every namespace's cold section.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../persist/store.h"
#include "attach.h"
#include "fork.h"
#include "next.h"
#include "route_wire.h"
#include "wait.h"

__thread struct thread ipc_thread;

static pthread_key_t thread_key;

/* What is open now. A thread may remember a namespace that has been closed since: only its address, then. */
static bool is_open(const struct ipc_ns *ns, uint32_t generation)
{
	for (const struct ipc_ns *n = ns_list; n; n = n->next)
		if (n == ns)
			return n->generation == generation;
	return false;
}

static struct cold fork_cold; /* under ns_list_lock */
typedef pid_t fork_fn(void);

static void fork_prepare(void)
{
	struct cold c;

	ns_quiet(&c);
	pthread_mutex_lock(&ns_list_lock);
	fork_cold = c;
	for (struct ipc_ns *ns = ns_list; ns; ns = ns->next) {
		pthread_mutex_lock(ns->cold);
		if (ns->wire && atomic_load(&ns->slot) && atomic_load(ns->wiped)) {
			wire_fork_prepare(ns);
		} else if (atomic_load(&ns->slot) && atomic_load(ns->wiped)) {
			int who = ns_enter(ns);

			if (who < 0)
				continue;
			slots_sweep(ns, who);
			if (!slot_fork_prepare(ns))
				attach_fork_prepare(ns, who);
		}
	}
}

static void fork_parent(void)
{
	struct cold c = fork_cold;

	int n = 0, saved = errno; /* of a fork that failed */

	memset(ipc_thread.born, 0, sizeof ipc_thread.born);
	for (struct ipc_ns *ns = ns_list; ns; ns = ns->next) {
		if (ns->fork_slot && n < THREAD_NS)
			ipc_thread.born[n++] = (struct born){ ns, ns->generation, slot_newborn(ns) };
		if (ns->wire)
			wire_fork_parent(ns);
		else
			slot_fork_parent(ns);
		pthread_mutex_unlock(ns->cold);
	}
	pthread_mutex_unlock(&ns_list_lock);
	ns_loud(&c);
	errno = saved;
}

/* The child may die before its first instruction: what it leaves is to bear its own pid from now on. */
static void fork_named(pid_t child)
{
	struct cold c;

	ns_quiet(&c);
	pthread_mutex_lock(&ns_list_lock);
	for (int i = 0; i < THREAD_NS; i++) {
		struct born *b = &ipc_thread.born[i];

		if (b->ns && is_open(b->ns, b->generation) && b->ns->wire)
			wire_fork_named(b->ns, b->tag, child);
		else if (b->ns && is_open(b->ns, b->generation))
			slot_fork_named(b->ns, b->tag, child);
		b->ns = NULL;
	}
	pthread_mutex_unlock(&ns_list_lock);
	ns_loud(&c);
}

/* The program's fork. One that libc makes by itself only lacks the child's name until the child runs. */
pid_t fork(void)
{
	static _Atomic(void *) real;
	fork_fn *f = (fork_fn *)(uintptr_t)next_function(&real, "fork");
	pid_t child;

	if (!f)
		return -1;
	child = f();
	if (child > 0 && ipc_thread.born[0].ns)
		fork_named(child);
	return child;
}

static void fork_child(void)
{
	struct cold c = fork_cold;

	for (struct ipc_ns *ns = ns_list; ns; ns = ns->next) {
		/* Without a slot made before (no descriptor, no room) it is as after a bare clone. */
		atomic_store(ns->wiped, ns->fork_file || (ns->wire && ns->fork_slot));
		ns->generation = ++ns_generations;
		if (atomic_load(ns->wiped))
			attach_fork_child(ns);
		if (ns->wire) {
			wire_fork_child(ns);
		} else {
			store_after_fork(ns->store);
			slot_fork_child(ns);
			ns->tag = atomic_load(&ns->slot) ? slot_tag(ns) : 0;
		}
		cold_init(ns);
	}
	ipc_frame = NULL;
	creds_fork_child();
	if (ns_open_fd >= 0)
		close(ns_open_fd);
	ns_open_fd = -1;
	pthread_mutex_init(&ns_open_lock, NULL);
	pthread_mutex_init(&ns_list_lock, NULL);
	ns_loud(&c);
}

static void leave_thread(struct ipc_ns *ns, int i)
{
	if (ns->wire) {
		wire_thread_leaves(ns, ipc_thread.in[i].link);
		atomic_fetch_sub(&ns->threads, 1);
		return;
	}
	who_give(ns, ipc_thread.in[i].who);
}

static void thread_exit(void *arg)
{
	struct cold c;

	(void)arg;
	ns_quiet(&c);
	pthread_mutex_lock(&ns_list_lock);
	for (int i = 0; i < THREAD_NS; i++) {
		struct ipc_ns *ns = ipc_thread.in[i].ns;

		if (ns && is_open(ns, ipc_thread.in[i].generation))
			leave_thread(ns, i);
		ipc_thread.in[i].ns = NULL;
	}
	pthread_mutex_unlock(&ns_list_lock);
	ns_loud(&c);
}

void fork_init(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	pthread_key_create(&thread_key, thread_exit);
}

/* The child of a bare clone: nobody told us. It is a process of its own from its first call on. */
static void after_clone(struct ipc_ns *ns)
{
	cold_init(ns);
	atomic_store(ns->wiped, 1);
	ns->generation = ++ns_generations;
	if (ns->wire)
		wire_after_clone(ns);
	else
		store_after_fork(ns->store);
	atomic_store(&ns->slot, 0);
	atomic_store(&ns->threads, 0);
	ns->slot_file = NULL;
	ns->fork_file = NULL;
	ipc_frame = NULL;
}

/* The child of a bare clone has its parent's attachments; they are counted from its first call on. */
static void count_inherited(struct ipc_ns *ns, int who)
{
	for (uint32_t i = 0; i < ns->att_count; i++)
		if (ns->att[i].addr)
			attach_add(ns, who, ns->tag, ns->att[i].id, ns->pid, &ns->att[i].record);
}

static int enter_process(struct ipc_ns *ns, bool cloned)
{
	int e = slot_take(ns);

	if (e)
		return e;
	ns->tag = slot_tag(ns);
	if (cloned) {
		int who = who_take(ns);

		if (who > 0)
			count_inherited(ns, who);
		if (who > 0)
			who_give(ns, (uint32_t)who);
	}
	return 0;
}

static int enter_thread(struct ipc_ns *ns, const struct cold *c)
{
	uint32_t link = 0;
	int who;

	for (int i = 1; i < THREAD_NS; i++) {
		if (ipc_thread.in[i].ns != ns || ipc_thread.in[i].generation != ns->generation)
			continue;
		who = (int)ipc_thread.in[i].who;
		link = ipc_thread.in[i].link;
		ipc_thread.in[i] = ipc_thread.in[0];
		goto first;
	}
	who = ns->wire ? wire_enter(ns, &link, &c->mask) : who_take(ns);
	if (who < 0)
		return who;
	if (ns->wire)
		atomic_fetch_add(&ns->threads, 1);
	if (is_open(ipc_thread.in[THREAD_NS - 1].ns, ipc_thread.in[THREAD_NS - 1].generation))
		leave_thread(ipc_thread.in[THREAD_NS - 1].ns, THREAD_NS - 1);
	memmove(&ipc_thread.in[1], &ipc_thread.in[0], sizeof ipc_thread.in[0] * (THREAD_NS - 1));
	pthread_setspecific(thread_key, ns);
first:
	ipc_thread.in[0].ns = ns;
	ipc_thread.in[0].generation = ns->generation;
	ipc_thread.in[0].who = (uint32_t)who;
	ipc_thread.in[0].link = link;
	return who;
}

int ns_enter_slow(struct ipc_ns *ns)
{
	bool cloned = !atomic_load(ns->wiped);
	bool first = false;
	struct cold c;
	int e = 0;

	if (cloned)
		after_clone(ns);
	cold_enter(ns, &c);
	first = !atomic_load(&ns->slot);
	if (first && !ns->wire)
		e = enter_process(ns, cloned);
	if (!e)
		e = enter_thread(ns, &c);
	if (cloned && ns->wire && e > 0)
		count_inherited(ns, e);
	if (first && !ns->wire && e > 0 && registry_unsaved(ns)) { /* by one that died: it is about to be seen */
		store_hurry(ns->store);
		registry_sync(ns, e);
	}
	cold_leave(ns, &c);
	return e;
}
