/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files under /proc that show System V IPC, or set its limits: which there are, and what the namespace has to say
 * in them. Part of the drop-in only.
 */
#ifndef IPC_SYSV_PROC_H
#define IPC_SYSV_PROC_H

#include "registry.h"

#define PROC_LIMITS 4

struct proc_file {
	const char *dir, *name; /* dir with its slash */
	enum { PROC_TABLE, PROC_LIMIT, PROC_CONSTANT } what;
	int first; /* PROC_TABLE: the kind; PROC_CONSTANT: the value shown */
	int max;   /* PROC_CONSTANT: the greatest value that may be written; below 0: none may */
	int count; /* PROC_LIMIT: numbers in it, and which */
	enum limit limit[PROC_LIMITS];
};

#define PROC_TEXT 4096 /* room for what is in any file but a table, and for what is written to one */

/* The namespace of the standard names, or NULL after saying why there is none. */
struct ipc_ns *sysv_namespace(void);

/* The file that a path names, seen from dirfd; NULL for all others. Leaves errno alone. */
const struct proc_file *proc_file_at(int dirfd, const char *path);
/* May this user open it so? flags: of open(2). 0 or -EACCES. */
int proc_file_allowed(struct ipc_ns *ns, const struct proc_file *f, uid_t uid, int flags);

/* A file descriptor with the text as of now, close-on-exec; or -errno. */
int proc_open_text(struct ipc_ns *ns, const struct proc_file *f, int flags);

/* sysv_limit.c: the numbers of a file, and setting them as a write(2) of its beginning does: bytes taken or -errno. */
ssize_t limit_text(struct ipc_ns *ns, const struct proc_file *f, char text[PROC_TEXT]);
ssize_t limit_write(struct ipc_ns *ns, const struct proc_file *f, const char *text, size_t length);
/* A descriptor, close-on-exec, whose writing sets the limit; or -errno. */
int limit_open(struct ipc_ns *ns, const struct proc_file *f, int flags);

/* A file descriptor of our own: no cancellation point, no other library between. 0 or more, or -errno. */
int proc_memfd(const char *name);
int proc_write_all(int fd, const char *text, size_t length);

#endif
