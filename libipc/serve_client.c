/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The processes that a daemon serves, and their threads: the table of them, each one's view of the namespace, and its
 * end, of which the kernel tells (pidfd, the lock on the slot's file, /proc). What a client writes itself, its mark, can
 * only keep its own things longer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "obj_msg.h"
#include "obj_sem.h"
#include "registry.h"
#include "serve.h"

#define ENDING_MOMENTS 5000
#define MOMENT_NS 20000

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
int client_watch(struct ipc_server *s, struct client *c, pid_t pid)
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

struct client *client_new(struct ipc_server *s, uint32_t tag, pid_t pid, uid_t uid)
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

/* The same for a child's slot, which its maker adds to: if both die meanwhile, it is reaped once more. */
bool client_begins_for_child(struct client *child, pid_t maker)
{
	uint64_t word;

	atomic_fetch_add(&child->running, 1);
	word = atomic_load(&child->view->slots->row[SLOT_OF(child->tag)].word);
	return WORD_STATE(word) == SLOT_NEWBORN && TAG(SLOT_OF(child->tag), WORD_GEN(word)) == child->tag &&
	       WORD_PID(word) == maker;
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

/* The request that the thread has left in some list: its number's next owner does not stand there a second time. */
static void withdraw_left(struct ipc_ns *view, uint32_t who)
{
	struct slot_notes *n = view->slot_file;
	struct obj *o;

	for (uint32_t i = 0; i < atomic_load(&n->count) && i < NOTES_MAX; i++) {
		enum kind kind = (enum kind)(n->note[i] >> 32);

		if ((kind != KIND_SEM && kind != KIND_MSG) || object_open(view, kind, (int)(uint32_t)n->note[i], (int)who, &o))
			continue;
		if (kind == KIND_SEM)
			sem_set_withdraw(view, (int)who, o);
		else
			msg_queue_withdraw(view, (int)who, o);
	}
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
			if (atomic_exchange(&s->left[w], false))
				withdraw_left(c->view, w);
			atomic_store(&s->thread[w], 0);
			reply_forget(s, w);
			who_give(c->view, w);
			client_ends(s, c);
		}
		client_put(s, c);
	}
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
