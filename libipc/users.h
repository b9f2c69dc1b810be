/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A namespace directory seen from outside: where directories live, who uses one, and removing one that nobody uses.
 * Nothing here opens the namespace, and no question takes a lock that a program could need.
 *
 * Who uses a directory? Whoever has the namespace open holds a lock on its file `users`, which the kernel drops at
 * exit, kill -9 and exec. Between an exec and the new program's first instructions only its environment says so. The
 * ipcrun that made a private directory holds a lock on the file `name` besides, as long as it lives.
 *
 * Of a private directory that an ipcd serves (root's) the users are its clients: they hold a lock on a file `users` beside
 * the socket, and the lock on `name` is that of the ipcrun that looks after the ipcd.
 */
#ifndef IPC_USERS_H
#define IPC_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define USERS_MAX 256 /* pids that are told; more are counted only */

struct users {
	bool locked; /* somebody has it open */
	int count;   /* processes found */
	pid_t pid[USERS_MAX];
};

/* Functions that return -errno leave a sentence for people where ipc_open does: ipc_open_error(). */

/* /dev/shm/ipcd-UID, made if `create`. */
int users_base(char *out, size_t size, bool create);

/* NULL, or what is wrong with a namespace's name. */
const char *users_bad_name(const char *name);

/* Everybody that is known to use the directory (an absolute name). With `environ_only` those in exec are found, and
 * those that have it open are not told one by one. */
void users_find(const char *dir, bool environ_only, struct users *u);
bool users_locked(const char *dir);
static inline bool users_none(const struct users *u)
{
	return !u->locked && !u->count;
}

/* A new private directory in `base`, marked as ours by a lock that lasts as long as *fd. */
int users_make_private(const char *base, char *dir, size_t size, int *fd);
bool users_is_private(const char *dir);

/* Remove the namespace's files and the directory: nothing else in it, no links, nobody else's files. -EBUSY:
 * somebody has come. */
int users_remove(const char *dir);

/* Is this the name of a file of a namespace? */
bool users_file_name(const char *name);

/* Is the directory's file locked? Not to be told counts as locked, a file that is not there does not. */
bool users_held(const char *dir, const char *name);

/* users_served.c: private directories with a daemon of their own. */

/* The directory of its socket; false: it has none. */
bool users_socket_dir(const char *dir, char *out, size_t size);

/* The socket of its daemon; false: nobody serves it, or sees to that. */
bool users_served(const char *dir, char *socket, size_t size);

/* Make that directory for a new private one, with a file `users`; the caller is the first user, as long as *fd is open. */
int users_make_socket_dir(const char *dir, char *out, size_t size, int *fd);

/* -EBUSY: there are users. */
int users_remove_socket_dir(const char *dir);

/* Those in whose place no namespace is any more, and that nobody uses. */
void users_collect_sockets(const char *base);

/* A daemon's client: be one of the users, if the daemon is a private one, until the mapping's end; NULL: it is not. */
void *users_join(const char *socket);

/* Remove the private and anonymous directories of `base` that nobody uses and whose maker is gone. */
void users_collect(const char *base);

#endif
