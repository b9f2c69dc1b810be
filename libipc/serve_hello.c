/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process comes, or is about to: HELLO, FORK and NAMED. Who it is is what the kernel says (SCM_CREDENTIALS, /proc),
 * never what it says. server.hello is held while a slot gets its process, since two connections, or a child and its
 * parent, may say so at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "proc_stat.h"
#include "registry.h"
#include "serve.h"

#define ENDING_TRIES 50 /* milliseconds */

/* ---- what the kernel says ---- */

static pid_t parent_of(pid_t pid)
{
	struct proc_stat st;

	return proc_stat(pid, &st) ? 0 : (pid_t)st.field[PROC_PARENT];
}

static bool is_gone(pid_t pid)
{
	bool gone;

	process_start(pid, &gone);
	return gone;
}

/*
 * Is the process the one that a slot was made for, or a child of it? One that is ending has no children any more, and a
 * moment later it is gone. An orphan may have changed its user: it knows what its maker was told, unless that was before
 * a restart; then it is to be the maker's user.
 */
static bool may_be(const struct call *k, const struct client *c, pid_t maker)
{
	const struct slot_row *r = &k->server->ns->slots->row[SLOT_OF(c->tag)];
	bool known = c->proof ? k->request.arg[5] == c->proof : k->from.uid == r->uid - 1;
	pid_t pid = k->from.pid;

	for (int tries = 0; tries < ENDING_TRIES; tries++) {
		if (pid == maker || parent_of(pid) == maker || (known && is_gone(maker)))
			return true;
		if (!known)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

/* ---- HELLO ---- */

static int give(struct call *k, int fd)
{
	if (fd < 0)
		return fd;
	k->fd[k->fds++] = fd;
	return 0;
}

/* What a process that is new gets; the lock's descriptor is given in any case. */
static int give_tables(struct call *k, int lock, uid_t uid)
{
	struct ipc_ns *ns = k->server->ns;
	char name[24];
	int e = give(k, file_open(ns, "registry", O_RDONLY));

	if (!e)
		e = give(k, file_open(ns, "slots", O_RDONLY));
	if (e)
		close(lock);
	else
		e = give(k, lock);
	marks_name(name, uid);
	return e ? e : give(k, opener_open(k->server, name, O_RDWR));
}

/* Its mark is among those of the uid that it has now. */
static int move_mark(struct ipc_ns *ns, uint32_t slot, uid_t uid)
{
	int fd = serve_marks_file(ns, uid);
	pthread_mutex_t *mutex;

	if (fd < 0)
		return fd;
	close(fd);
	ns->slots->row[slot].uid = uid + 1;
	mutex = slot_mutex(ns, slot);
	if (!mutex || file_fence(mutex, sizeof *mutex))
		return -ENOMEM;
	memset(mutex, 0, sizeof *mutex);
	return 0;
}

/* The slot of this process from before its exec, or from before it closed the namespace. */
static struct client *adopt(struct call *k, int *lock)
{
	struct ipc_server *s = k->server;
	struct ipc_ns *ns = s->ns;
	bool gone;
	uint64_t start = process_start(k->from.pid, &gone);

	for (uint32_t i = 1; i < slots_high(ns); i++) {
		struct slot_row *r = &ns->slots->row[i];
		uint64_t word = atomic_load(&r->word);
		struct client *c;

		if (!r->uid || WORD_STATE(word) != SLOT_LIVE || WORD_PID(word) != k->from.pid ||
		    atomic_load(&r->start) != start)
			continue;
		*lock = serve_slot_lock(ns, i, false);
		if (*lock < 0)
			continue;
		c = client_get(s, TAG(i, WORD_GEN(word)));
		if (c && !move_mark(ns, i, k->from.uid)) {
			conns_end(s, c, 0, k->conn); /* with what was parked there */
			reap_exec(ns, ns_enter(ns), c->tag);
			return c;
		}
		close(*lock);
		if (c)
			client_put(s, c);
	}
	*lock = -1;
	return NULL;
}

/* False: it was reaped meanwhile, and may be somebody else's. */
static bool become(struct slot_row *r, uint64_t word, int state, pid_t pid)
{
	return atomic_compare_exchange_strong(&r->word, &word, WORD(state, WORD_GEN(word), pid));
}

static struct client *newcomer(struct call *k, int *lock)
{
	struct ipc_server *s = k->server;
	struct ipc_ns *ns = s->ns;
	struct client *c;
	bool gone;
	int slot = serve_slot_new(ns, k->from.pid, k->from.uid, lock);
	struct slot_row *r;
	uint32_t gen;

	if (slot < 0)
		return NULL;
	r = &ns->slots->row[slot];
	atomic_store(&r->start, process_start(k->from.pid, &gone));
	gen = WORD_GEN(atomic_load(&r->word));
	c = client_new(s, TAG(slot, gen), k->from.pid, k->from.uid);
	if (!c || !become(r, WORD(SLOT_CLAIMED, gen, k->from.pid), SLOT_LIVE, k->from.pid) || client_watch(s, c, k->from.pid)) {
		if (c)
			client_put(s, c);
		serve_slot_free(r, gen);
		close(*lock);
		*lock = -ENOMEM;
		return NULL;
	}
	return c; /* the first reference is the connection's */
}

/* A child's slot is its own; if it is not being reaped, since the child has let go of its lock. */
static int settle_in(struct call *k, struct client *c, uint64_t word)
{
	struct slot_row *r = &k->server->ns->slots->row[SLOT_OF(c->tag)];
	bool gone;
	int e = client_begins_for_child(c, WORD_PID(word)) ? client_watch(k->server, c, k->from.pid) : -ESTALE;

	if (!e) {
		c->view->pid = k->from.pid;
		atomic_store(&r->start, process_start(k->from.pid, &gone));
		if (!become(r, word, SLOT_LIVE, k->from.pid))
			e = -ESTALE;
	}
	client_ends(k->server, c);
	return e;
}

/* A process that has a slot: another thread, an old connection's, or a forked child with the slot that was made for it. */
static int known(struct call *k, uint32_t tag, struct client **out)
{
	struct ipc_server *s = k->server;
	struct slot_row *r = &s->ns->slots->row[SLOT_OF(tag)];
	uint64_t word = atomic_load(&r->word);
	struct client *c = client_get(s, tag);
	bool gone;
	int e = 0;

	if (!c || TAG(SLOT_OF(tag), WORD_GEN(word)) != tag)
		e = -ESTALE;
	else if (WORD_STATE(word) == SLOT_LIVE &&
		 (WORD_PID(word) != k->from.pid || atomic_load(&r->start) != process_start(k->from.pid, &gone)))
		e = -EPERM;
	else if (WORD_STATE(word) == SLOT_NEWBORN && !may_be(k, c, WORD_PID(word)))
		e = -EPERM;
	else if (WORD_STATE(word) != SLOT_LIVE && WORD_STATE(word) != SLOT_NEWBORN)
		e = -ESTALE;
	if (!e && WORD_STATE(word) == SLOT_NEWBORN)
		e = settle_in(k, c, word);
	if (e && c)
		client_put(s, c);
	*out = c;
	return e;
}

/*
 * This thread's number: the one that it had, or a new one. Its last connection may be there still, if it was closed in
 * this moment, or by another thread during a call: what is under way there comes to its end first.
 */
static int number_of(struct call *k, struct client *c, uint32_t who)
{
	struct ipc_ns *ns = k->server->ns;

	uid_t uid = ns->slots->row[SLOT_OF(c->tag)].uid - 1;

	if (!who || who >= WHO_MAX || (uint32_t)atomic_load(&ns->slots->who[who]) != c->tag)
		return serve_whos_enough(ns, uid) ? -EAGAIN : who_take(c->view);
	conns_end(k->server, c, who, k->conn);
	k->conn->resumed = true;
	return file_fence(area_who(&ns->reg, who), WHO_SIZE) ? -ENOMEM : (int)who;
}

/* The process and its threads go by the same numbers there and here: it is in our pid namespace. */
static void note_thread(struct call *k, uint32_t who)
{
	bool same = k->request.arg[4] == k->from.pid;

	atomic_store(&k->server->thread[who], same ? (pid_t)k->request.arg[3] : 0);
}

int client_hello(struct call *k)
{
	uint32_t tag = (uint32_t)k->request.arg[0], who = (uint32_t)k->request.arg[1];
	struct conn *conn = k->conn;
	struct client *c = NULL;
	int e = 0, lock = -1;

	if (conn->client || k->from.pid <= 0)
		return -EPROTO;
	if (tag) {
		e = known(k, tag, &c);
	} else {
		c = adopt(k, &lock);
		if (!c)
			c = newcomer(k, &lock);
		e = c ? give_tables(k, lock, k->server->ns->slots->row[SLOT_OF(c->tag)].uid - 1) : lock < 0 ? lock : -ENOMEM;
	}
	if (e) {
		if (c && !tag)
			client_put(k->server, c);
		return e;
	}
	if (tag && (ino_t)k->request.arg[2] != k->server->ns->table)
		e = give(k, file_open(k->server->ns, "registry", O_RDONLY)); /* and then it says what it has attached */
	else
		client_declared(k->server, c);
	if (e) {
		client_put(k->server, c);
		return e;
	}
	e = number_of(k, c, who);
	if (e > 0 && !conn->resumed)
		atomic_store(&k->server->left[e], false);
	else if (e > 0 && !atomic_load(&k->server->thread[e])) /* from before this daemon: who knows */
		atomic_store(&k->server->left[e], true);
	if (e > 0)
		note_thread(k, (uint32_t)e);
	k->reply.value[0] = c->tag;
	k->reply.value[1] = k->server->ns->slots->row[SLOT_OF(c->tag)].uid - 1;
	k->reply.value[2] = geteuid();
	pthread_mutex_lock(&k->server->lock);
	conn->who = e > 0 ? (uint32_t)e : 0;
	conn->client = c;
	pthread_mutex_unlock(&k->server->lock);
	return e;
}

/* ---- forks ---- */

/* The child's slot has noted what its parent's has. */
static int copy_notes(struct ipc_ns *from, struct ipc_ns *to)
{
	struct slot_notes *a = from->slot_file, *b = to->slot_file;
	uint32_t n = atomic_load(&a->count);

	if (n > NOTES_MAX || (n && file_fence(b->note, n * sizeof b->note[0])))
		return -ENOMEM;
	memcpy(b->note, a->note, n * sizeof b->note[0]);
	atomic_store(&b->count, n);
	for (uint32_t i = 0; i < n; i++) {
		enum kind kind = (enum kind)(b->note[i] >> 32);

		if (kind < KINDS)
			to->noted[kind][ID_INDEX((uint32_t)b->note[i])] = (int)(uint32_t)b->note[i] + 1;
	}
	return 0;
}

static int new_proof(int64_t *proof)
{
	while (!*proof)
		if (getrandom(proof, sizeof *proof, GRND_NONBLOCK) != sizeof *proof)
			return -EAGAIN;
	return 0;
}

int client_fork(struct call *k)
{
	struct ipc_ns *ns = k->server->ns, *parent = k->conn->client->view;
	uid_t uid = ns->slots->row[SLOT_OF(parent->tag)].uid - 1;
	struct client *c;
	struct slot_row *r;
	int lock, slot, e;
	uint32_t gen;

	slots_sweep(parent, (int)k->conn->who);
	slot = serve_slot_new(ns, parent->pid, uid, &lock);
	if (slot < 0)
		return slot;
	r = &ns->slots->row[slot];
	gen = WORD_GEN(atomic_load(&r->word));
	c = client_new(k->server, TAG(slot, gen), parent->pid, uid);
	e = c ? copy_notes(parent, c->view) : -ENOMEM;
	if (!e)
		e = new_proof(&c->proof);
	if (!e && !become(r, WORD(SLOT_CLAIMED, gen, parent->pid), SLOT_NEWBORN, parent->pid))
		e = -ESRCH;
	k->reply.value[0] = TAG(slot, gen);
	k->reply.value[1] = c ? c->proof : 0;
	if (c)
		client_put(k->server, c);
	if (e) {
		serve_slot_free(r, gen);
		close(lock);
		return e;
	}
	k->fd[k->fds++] = lock;
	return 0;
}

/* The child may end before it says anything; it may even have gone, waited for, before we look. */
void client_named(struct call *k)
{
	struct ipc_server *s = k->server;
	uint32_t tag = (uint32_t)k->request.arg[0];
	pid_t child = (pid_t)k->request.arg[1], mine = k->conn->client->view->pid;
	struct slot_row *r = &s->ns->slots->row[SLOT_OF(tag)];
	uint64_t word = atomic_load(&r->word);
	struct client *c = client_get(s, tag);

	if (!c)
		return;
	if (WORD_STATE(word) == SLOT_NEWBORN && WORD_PID(word) == mine && TAG(SLOT_OF(tag), WORD_GEN(word)) == tag &&
	    (parent_of(child) == mine || (child > 0 && is_gone(child))) &&
	    become(r, word, SLOT_NEWBORN, child)) {
		c->view->pid = child;
		client_watch(s, c, child);
	}
	client_put(s, c);
}
