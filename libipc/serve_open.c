/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors for clients. Whoever shortens a file crashes every other process that has it mapped, so what clients get
 * is opened in a thread that has given up the right to truncate (Landlock, ABI 3): that belongs to the open file and
 * goes with it over the socket. The other threads go on making and sizing files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "serve.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14)
#endif
#define ABI_TRUNCATE 3

/* Give up the right, for this thread. */
static int confine(void)
{
	struct { uint64_t handled_access_fs; } rules = { LANDLOCK_ACCESS_FS_TRUNCATE };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int fd, e = 0;

	if (abi < ABI_TRUNCATE)
		return abi < 0 ? -errno : -EOPNOTSUPP;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
	if (fd < 0)
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, fd, 0))
		e = -errno;
	close(fd);
	return e;
}

static void *open_for_others(void *arg)
{
	struct ipc_server *s = arg;
	struct opener *o = &s->opener;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_mutex_lock(&o->lock);
	o->confined = confine();
	o->state = OPENER_IDLE;
	pthread_cond_broadcast(&o->changed);
	while (o->state != OPENER_END) {
		if (o->state == OPENER_ASKED) {
			o->fd = open(o->path, o->flags | O_CLOEXEC | O_NOFOLLOW);
			if (o->fd < 0)
				o->fd = -errno;
			o->state = OPENER_DONE;
			pthread_cond_broadcast(&o->changed);
		}
		pthread_cond_wait(&o->changed, &o->lock);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

int opener_start(struct ipc_server *s)
{
	struct opener *o = &s->opener;

	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	o->state = OPENER_BORN;
	if (pthread_create(&o->thread, NULL, open_for_others, s))
		return ns_fail(-EAGAIN, "no thread for opening descriptors");
	pthread_mutex_lock(&o->lock);
	while (o->state == OPENER_BORN)
		pthread_cond_wait(&o->changed, &o->lock);
	o->started = true;
	pthread_mutex_unlock(&o->lock);
	if (o->confined)
		serve_log(s, LOG_WARNING,
			  "this kernel cannot keep clients from truncating what they map (Landlock, Linux 6.2: %s); %s",
			  strerror(-o->confined),
			  s->options.flags & IPC_SERVE_TRUST_CLIENTS ?
				  "they are trusted" : "only an object's owner maps it for writing");
	return 0;
}

void opener_stop(struct ipc_server *s)
{
	struct opener *o = &s->opener;

	if (!o->started)
		return;
	pthread_mutex_lock(&o->lock);
	while (o->state != OPENER_IDLE)
		pthread_cond_wait(&o->changed, &o->lock);
	o->state = OPENER_END;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	pthread_join(o->thread, NULL);
	o->started = false;
}

bool opener_trusts(const struct ipc_server *s, uid_t owner, uid_t uid)
{
	return !s->opener.confined || owner == uid || s->options.flags & IPC_SERVE_TRUST_CLIENTS;
}

int opener_open(struct ipc_server *s, const char *name, int flags)
{
	struct opener *o = &s->opener;
	int fd, e;

	pthread_mutex_lock(&o->lock);
	while (o->state != OPENER_IDLE)
		pthread_cond_wait(&o->changed, &o->lock);
	e = file_path(s->ns, o->path, sizeof o->path, name);
	o->flags = flags;
	if (!e) {
		o->state = OPENER_ASKED;
		pthread_cond_broadcast(&o->changed);
		while (o->state != OPENER_DONE)
			pthread_cond_wait(&o->changed, &o->lock);
		o->state = OPENER_IDLE;
		pthread_cond_broadcast(&o->changed);
	}
	fd = o->fd;
	pthread_mutex_unlock(&o->lock);
	return e ? e : fd;
}
