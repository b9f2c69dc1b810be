/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The processes that a daemon serves: who they are is what the kernel says (SCM_CREDENTIALS, pidfd, the lock on the
 * slot's file, /proc), never what they say. What a client writes itself, its mark, can only keep its own things longer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "attach.h"
#include "registry.h"
#include "serve.h"

#define ENDING_MOMENTS 5000
#define MOMENT_NS 20000
#define SLOTS_OF_PROCESS 64 /* that it makes for children, or has for itself: more than it forks at once */
#define PARTS_OF_UID 2 /* a user's share of slots and of who numbers: one of so many parts */
#define ENDING_TRIES 50 /* milliseconds */

/* ---- what the kernel says ---- */

static pid_t parent_of(pid_t pid)
{
	char path[40], text[1024], *p;
	int fd, parent = 0;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = 0;
	p = strrchr(text, ')');
	return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool is_gone(pid_t pid)
{
	bool gone;

	process_start(pid, &gone);
	return gone;
}

/*
 * Is the process the one that a slot was made for, or a child of it? One that is ending has no children any more, and a
 * moment later it is gone. Of an orphan only the user is known.
 */
static bool may_be(pid_t pid, pid_t maker, bool same_user)
{
	for (int tries = 0; tries < ENDING_TRIES; tries++) {
		if (pid == maker || parent_of(pid) == maker || (same_user && is_gone(maker)))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return false;
}

/* ---- slots ---- */

/* For another process. It is never shortened: another thread, which was reaping the last one, may be reading it. */
static int clear_notes(int fd)
{
	static const uint64_t none;

	if (ftruncate(fd, sizeof(struct slot_notes)) || fallocate(fd, 0, 0, PAGE) ||
	    pwrite(fd, &none, sizeof none, 0) != sizeof none)
		return -ENOMEM;
	/* Where holes cannot be made it goes on holding what it held. */
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, sizeof(struct slot_notes) - PAGE) &&
	       errno != EOPNOTSUPP ? -ENOMEM : 0;
}

static int serve_slot_lock(struct ipc_ns *ns, uint32_t slot, bool fresh);

/* Somebody keeps the lock that the slot's last owner had: he may, on a file that is nobody's any more. */
static int lock_anew(struct ipc_ns *ns, uint32_t slot, int fd)
{
	char name[24];
	int e;

	close(fd);
	slot_name(name, slot);
	e = file_remove(ns, name);
	return e ? e : serve_slot_lock(ns, slot, true);
}

/*
 * The lock of a slot's file, on a description of its own that can only be read; the client's mapping keeps it. -EAGAIN
 * when its owner's still is there; fresh: for a slot that is free, so it is nobody's.
 */
static int serve_slot_lock(struct ipc_ns *ns, uint32_t slot, bool fresh)
{
	struct flock ask = { .l_type = F_WRLCK, .l_whence = SEEK_SET }, l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char name[24];
	int fd, keep = -1, e = 0;

	slot_name(name, slot);
	fd = file_open(ns, name, O_RDWR);
	if (fd == -ENOENT)
		fd = file_create(ns, name, 0, false);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_GETLK, &ask))
		e = -errno;
	else if (ask.l_type != F_UNLCK && fresh)
		return lock_anew(ns, slot, fd);
	else if (ask.l_type != F_UNLCK)
		e = -EAGAIN;
	else if (fresh && clear_notes(fd))
		e = -ENOMEM;
	if (!e) {
		keep = file_open(ns, name, O_RDONLY);
		if (keep < 0 || fcntl(keep, F_OFD_SETLK, &l))
			e = keep < 0 ? keep : -errno;
	}
	close(fd);
	if (e && keep >= 0)
		close(keep);
	return e ? e : keep;
}

/* The marks of a uid: its processes write them. */
static int serve_marks_file(struct ipc_ns *ns, uid_t uid)
{
	char name[24];
	int fd;

	marks_name(name, uid);
	fd = file_open(ns, name, O_RDWR);
	if (fd == -ENOENT) {
		fd = file_create(ns, name, MARKS_LENGTH, false);
		if (fd == -EEXIST)
			fd = file_open(ns, name, O_RDWR);
	}
	return fd;
}

static void serve_slot_free(struct slot_row *r)
{
	atomic_store(&r->word, WORD(SLOT_FREE, WORD_GEN(atomic_load(&r->word)) + 1, 0));
}

/* Nobody takes so much that others find nothing; the namespace's owner, and root, may. */
static bool shares(uid_t uid)
{
	return uid && uid != geteuid();
}

static bool has_slots_enough(struct ipc_ns *ns, pid_t pid, uid_t uid)
{
	uint32_t n = 0, own = 0;

	for (uint32_t i = 1, high = slots_high(ns); i < high; i++) {
		uint64_t word = atomic_load(&ns->slots->row[i].word);

		if (ns->slots->row[i].uid != uid + 1 || WORD_STATE(word) == SLOT_FREE)
			continue;
		n += shares(uid);
		own += WORD_PID(word) == pid;
	}
	return own >= SLOTS_OF_PROCESS || n >= WHO_MAX / PARTS_OF_UID ||
	       (shares(uid) && n >= ns->server->conns_of_uid); /* each has a pidfd */
}

static bool serve_whos_enough(struct ipc_ns *ns, uid_t uid)
{
	uint32_t n = 0, tag;

	for (uint32_t w = 1, high = whos_high(ns); shares(uid) && w < high; w++) {
		tag = (uint32_t)atomic_load(&ns->slots->who[w]);
		n += tag && ns->slots->row[SLOT_OF(tag)].uid == uid + 1;
	}
	return n >= WHO_MAX / PARTS_OF_UID;
}

/* A slot for a process: claimed, its file locked (*lock), nobody's mark in it. Its number, or -errno. */
static int serve_slot_new(struct ipc_ns *ns, pid_t pid, uid_t uid, int *lock)
{
	pthread_mutex_t *mutex;
	struct slot_row *r;
	uint32_t slot;
	int marks;

	if (has_slots_enough(ns, pid, uid)) { /* some of them may be nobody's any more */
		slots_sweep(ns, ns_enter(ns));
		if (has_slots_enough(ns, pid, uid))
			return -EAGAIN;
	}
	marks = serve_marks_file(ns, uid);
	if (marks < 0)
		return marks;
	close(marks);
	slot = slot_claim(ns, SLOT_CLAIMED, pid);
	if (!slot)
		return -ENOMEM;
	r = &ns->slots->row[slot];
	r->uid = uid + 1;
	atomic_store(&r->making, 0);
	atomic_store(&r->leaving, 0);
	atomic_store(&r->start, 0);
	mutex = slot_mutex(ns, slot);
	*lock = mutex ? serve_slot_lock(ns, slot, true) : -ENOMEM;
	if (*lock >= 0 && file_fence(mutex, sizeof *mutex)) {
		close(*lock);
		*lock = -ENOMEM;
	}
	if (*lock < 0) {
		serve_slot_free(r);
		return *lock;
	}
	memset(mutex, 0, sizeof *mutex);
	return (int)slot;
}

/* ---- clients ---- */

static void view_free(struct ipc_ns *v)
{
	for (int k = 0; k < KINDS; k++)
		if (v->noted[k])
			munmap(v->noted[k], IPCMNI * sizeof *v->noted[k]);
	if (v->slot_file)
		munmap(v->slot_file, sizeof(struct slot_notes));
	free(v);
}

/* The namespace from where the slot is. */
static struct ipc_ns *view_make(struct ipc_ns *base, uint32_t tag, pid_t pid)
{
	struct ipc_ns *v = malloc(sizeof *v);
	char name[24];
	int fd, ok = 1;

	if (!v)
		return NULL;
	memcpy(v, base, sizeof *v);
	v->base = base;
	v->park = park;
	v->next = NULL;
	v->pid = pid;
	v->tag = tag;
	atomic_store(&v->slot, SLOT_OF(tag));
	atomic_store(&v->threads, 0);
	v->att = NULL;
	v->att_count = 0;
	v->att_tag = 0;
	v->notes_limit = 0;
	slot_name(name, SLOT_OF(tag));
	fd = file_open(base, name, O_RDWR);
	v->slot_file = fd < 0 ? NULL : file_map(sizeof(struct slot_notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	if (fd >= 0)
		close(fd);
	for (int k = 0; k < KINDS; k++) {
		v->noted[k] = file_map(IPCMNI * sizeof *v->noted[k], PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
		ok = ok && v->noted[k];
	}
	if (!ok || !v->slot_file) {
		view_free(v);
		return NULL;
	}
	return v;
}

/* When its process ends, we are told. -ESRCH: it has. A forked child and its parent may both name it, at the same time. */
static int client_watch(struct ipc_server *s, struct client *c, pid_t pid)
{
	int fd, e = 0;

	pthread_mutex_lock(&s->lock);
	if (c->pidfd < 0) {
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0) {
			e = -errno;
		} else {
			fcntl(fd, F_SETFD, FD_CLOEXEC);
			atomic_fetch_add(&c->refs, 1); /* the watch's */
			c->pidfd = fd;
			e = serve_watch(s, fd, EPOLLIN | EPOLLONESHOT, &c->source, false);
		}
		if (e && fd >= 0) {
			c->pidfd = -1;
			close(fd);
			atomic_fetch_sub(&c->refs, 1);
			e = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return e;
}

void client_put(struct ipc_server *s, struct client *c)
{
	(void)s;
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	if (c->pidfd >= 0)
		close(c->pidfd);
	view_free(c->view);
	free(c);
}

/* Into the table, in place of one that is not there any more. */
static void enlist(struct ipc_server *s, struct client *c)
{
	struct client *old;

	atomic_fetch_add(&c->refs, 1);
	pthread_mutex_lock(&s->lock);
	old = s->client[SLOT_OF(c->tag)];
	s->client[SLOT_OF(c->tag)] = c;
	if (old) {
		s->awaited -= old->awaited;
		old->awaited = false;
	}
	pthread_mutex_unlock(&s->lock);
	if (old)
		client_put(s, old);
}

static struct client *client_new(struct ipc_server *s, uint32_t tag, pid_t pid, uid_t uid)
{
	struct client *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->source.kind = SOURCE_CLIENT;
	c->pidfd = -1;
	c->tag = tag;
	c->uid = uid;
	atomic_store(&c->refs, 1);
	c->view = view_make(s->ns, tag, pid);
	if (!c->view) {
		free(c);
		return NULL;
	}
	enlist(s, c);
	return c;
}

/* Of the slot, if it still is the one that the tag names; with a reference. */
struct client *client_get(struct ipc_server *s, uint32_t tag)
{
	struct client *c;

	pthread_mutex_lock(&s->lock);
	c = s->client[SLOT_OF(tag)];
	if (c && c->tag == tag)
		atomic_fetch_add(&c->refs, 1);
	else
		c = NULL;
	pthread_mutex_unlock(&s->lock);
	return c;
}

/*
 * The who numbers of a process that has gone are given to others. Whoever reaps has made its slot DYING; a request first
 * says that it runs, and then looks for that: so one of the two sees the other. What a process has asked is not done any
 * more when it is dead: its parent may know that by now.
 */
bool client_begins(struct client *c)
{
	uint64_t word;

	atomic_fetch_add(&c->running, 1);
	word = atomic_load(&c->view->slots->row[SLOT_OF(c->tag)].word);
	return WORD_STATE(word) == SLOT_LIVE && TAG(SLOT_OF(c->tag), WORD_GEN(word)) == c->tag &&
	       slot_there(c->view, c->tag);
}

void client_ends(struct ipc_server *s, struct client *c)
{
	uint64_t word;
	int who;

	atomic_fetch_sub(&c->running, 1);
	word = atomic_load(&c->view->slots->row[SLOT_OF(c->tag)].word);
	if (WORD_STATE(word) != SLOT_DYING || TAG(SLOT_OF(c->tag), WORD_GEN(word)) != c->tag)
		return;
	who = ns_enter(s->ns);
	if (who > 0)
		slot_reap(s->ns, who, c->tag);
}

static bool current_is_dying(void)
{
	struct client *c = serve_current && serve_current->conn ? serve_current->conn->client : NULL;

	return c && atomic_load(&c->running) && WORD_STATE(atomic_load(&c->view->slots->row[SLOT_OF(c->tag)].word)) != SLOT_LIVE;
}

/*
 * A request that is under way may yet attach or join: who asks for the dead, alive himself, waits for its end. The dead
 * do not wait for each other.
 */
bool client_busy(struct ipc_ns *ns, uint32_t tag)
{
	struct ipc_server *s = ns->server;
	struct client *c = client_get(s, tag);
	bool busy = c && atomic_load(&c->running);

	for (int i = 0; i < ENDING_MOMENTS && busy && !current_is_dying(); i++) {
		nanosleep(&(struct timespec){ .tv_nsec = MOMENT_NS }, NULL);
		busy = atomic_load(&c->running);
	}

	for (uint32_t w = 1; !busy && w < whos_high(ns); w++)
		if ((uint32_t)atomic_load(&ns->slots->who[w]) == tag) {
			park_drop(s, w);
			reply_forget(s, w);
		}
	if (c)
		client_put(s, c);
	return busy;
}

void client_gone(struct ipc_server *s, struct client *c)
{
	int who = ns_enter(s->ns);
	bool mine;

	if (who > 0)
		slot_reap(s->ns, who, c->tag);
	conns_end(s, c, 0, NULL); /* a child of a bare clone may have them open still */
	pthread_mutex_lock(&s->lock);
	mine = s->client[SLOT_OF(c->tag)] == c;
	if (mine)
		s->client[SLOT_OF(c->tag)] = NULL;
	s->awaited -= c->awaited;
	c->awaited = false;
	pthread_mutex_unlock(&s->lock);
	if (mine)
		client_put(s, c);
	client_put(s, c); /* that of the watch */
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

static struct client *newcomer(struct call *k, int *lock)
{
	struct ipc_server *s = k->server;
	struct ipc_ns *ns = s->ns;
	struct client *c;
	bool gone;
	int slot = serve_slot_new(ns, k->from.pid, k->from.uid, lock);
	struct slot_row *r;

	if (slot < 0)
		return NULL;
	r = &ns->slots->row[slot];
	atomic_store(&r->start, process_start(k->from.pid, &gone));
	c = client_new(s, TAG(slot, WORD_GEN(atomic_load(&r->word))), k->from.pid, k->from.uid);
	if (c)
		atomic_store(&r->word, WORD(SLOT_LIVE, WORD_GEN(atomic_load(&r->word)), k->from.pid));
	if (!c || client_watch(s, c, k->from.pid)) {
		if (c)
			client_put(s, c);
		serve_slot_free(r);
		close(*lock);
		*lock = -ENOMEM;
		return NULL;
	}
	return c; /* the first reference is the connection's */
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
	else if (WORD_STATE(word) == SLOT_NEWBORN && !may_be(k->from.pid, WORD_PID(word), k->from.uid == r->uid - 1))
		e = -EPERM;
	else if (WORD_STATE(word) != SLOT_LIVE && WORD_STATE(word) != SLOT_NEWBORN)
		e = -ESTALE;
	if (!e && WORD_STATE(word) == SLOT_NEWBORN) {
		c->view->pid = k->from.pid;
		e = client_watch(s, c, k->from.pid);
		atomic_store(&r->start, process_start(k->from.pid, &gone));
		atomic_store(&r->word, WORD(SLOT_LIVE, WORD_GEN(word), k->from.pid));
	}
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

static int hello(struct call *k)
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

int client_hello(struct call *k)
{
	int e;

	pthread_mutex_lock(&k->server->hello); /* two connections of a process, at once */
	e = hello(k);
	pthread_mutex_unlock(&k->server->hello);
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

int client_fork(struct call *k)
{
	struct ipc_ns *ns = k->server->ns, *parent = k->conn->client->view;
	uid_t uid = ns->slots->row[SLOT_OF(parent->tag)].uid - 1;
	struct client *c;
	struct slot_row *r;
	int lock, slot, e;

	slots_sweep(parent, (int)k->conn->who);
	slot = serve_slot_new(ns, parent->pid, uid, &lock);
	if (slot < 0)
		return slot;
	r = &ns->slots->row[slot];
	c = client_new(k->server, TAG(slot, WORD_GEN(atomic_load(&r->word))), parent->pid, uid);
	e = c ? copy_notes(parent, c->view) : -ENOMEM;
	if (c)
		client_put(k->server, c);
	if (e) {
		serve_slot_free(r);
		close(lock);
		return e;
	}
	k->reply.value[0] = c->tag;
	k->fd[k->fds++] = lock;
	atomic_store(&r->word, WORD(SLOT_NEWBORN, WORD_GEN(atomic_load(&r->word)), parent->pid));
	return 0;
}

/* The child may end before it says anything; it may even have gone, waited for, before we look. */
static void named(struct call *k)
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
	    atomic_compare_exchange_strong(&r->word, &word, WORD(SLOT_NEWBORN, WORD_GEN(word), child))) {
		c->view->pid = child;
		client_watch(s, c, child);
	}
	client_put(s, c);
}

/* ---- threads ---- */

static bool thread_gone(pid_t pid, pid_t tid)
{
	char path[60];

	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)tid);
	return access(path, F_OK) && errno == ENOENT;
}

static bool has_connection(struct ipc_server *s, uint32_t who)
{
	struct conn *c;

	pthread_mutex_lock(&s->lock);
	for (c = s->conns; c && c->who != who; c = c->next)
		;
	pthread_mutex_unlock(&s->lock);
	return c;
}

void threads_look(struct ipc_server *s)
{
	for (uint32_t w = 1, high = whos_high(s->ns); w < high; w++) {
		uint32_t tag = (uint32_t)atomic_load(&s->ns->slots->who[w]);
		pid_t tid = atomic_load(&s->thread[w]);
		struct client *c = tag && tid ? client_get(s, tag) : NULL;

		if (!c)
			continue;
		if (thread_gone(c->view->pid, tid) && !has_connection(s, w) && client_begins(c)) {
			atomic_store(&s->thread[w], 0);
			reply_forget(s, w);
			who_give(c->view, w);
			client_ends(s, c);
		}
		client_put(s, c);
	}
}

void client_named(struct call *k)
{
	pthread_mutex_lock(&k->server->hello); /* it may be saying so itself */
	named(k);
	pthread_mutex_unlock(&k->server->hello);
}

/* ---- after a restart ---- */

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
		int id = name ? segment_of(ns, (uint32_t)strtoul(name + length, NULL, 16)) : -1;
		uint32_t record;

		if (id >= 0)
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

void clients_free(struct ipc_server *s)
{
	for (uint32_t i = 0; i < WHO_MAX; i++)
		free(s->kept[i].text);
	for (uint32_t i = 0; i < WHO_MAX; i++)
		if (s->client[i]) {
			if (s->client[i]->pidfd >= 0)
				client_put(s, s->client[i]); /* that of the watch */
			client_put(s, s->client[i]);
		}
}
