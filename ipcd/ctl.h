/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl's commands. Each gets its own arguments (argv[0] is the command's name) and returns the exit status. */
#ifndef IPCCTL_H
#define IPCCTL_H

#include <stdio.h>

#include "../libipc/inspect.h"
#include "../libipc/libipc.h"
#include "../libipc/obj_msg.h"
#include "../libipc/obj_sem.h"
#include "../libipc/registry.h"
#include "../libipc/slot.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define ROOM 4096 /* waiters, attachments and adjustments of one object that are listed */

/* The namespace that the options name, and this process's number in it. */
struct ctl {
	ipc_ns *ns;
	int who;
	bool daemon; /* it is a daemon's, and not a directory */
};

__attribute__((format(printf, 1, 2))) void ctl_say(const char *fmt, ...); /* one line on stderr */
__attribute__((format(printf, 2, 3))) _Noreturn void ctl_die(int status, const char *fmt, ...);

/* What is to be done before a line that ends the tool: top's screen is put back. */
extern void (*ctl_leaving)(void);

extern const char *const kind_name[KINDS];
/* "shm", "sem", "msg"; -1 for anything else. */
int kind_named(const char *name);
/* A number that fills the whole word, within [0, max]. */
bool number(const char *text, int base, unsigned long long max, unsigned long long *value);
/* A number with s, m, h, d or w, in seconds; without one it is seconds. */
bool age_number(const char *text, unsigned long long *seconds);
const char *owner_name(uid_t uid);
const char *group_name(gid_t gid);
const char *process_name(pid_t pid);
/* Milliseconds for people: 0.3s, 12s, 3m12s, 5h07m, 2d03h. The text is good for three more calls. */
const char *duration(uint64_t ms);
const char *human_bytes(uint64_t bytes); /* 15, 4.0K, 1.2G; also for three more calls */

/* Columns of the terminal, or 0 where lines may have any length. */
int output_width(void);
/* A paragraph, folded at spaces to the width; what follows the first line is indented. At KEEP it is not folded. */
#define KEEP "\037"
__attribute__((format(printf, 4, 5))) void print_folded(FILE *out, int width, int indent, const char *fmt, ...);

/* ctl_object.c: what there is to say about one object */
struct object {
	struct row row;
	int id;
	bool damaged;
	bool hidden; /* a daemon's, and not for this user to read: who waits and whose undo is pending is not known */
	struct sem_times sem;
	struct msg_stat msg;
	uint32_t changed; /* ctime */
	int waiting;
	int undo;         /* processes */
	uint64_t longest; /* milliseconds that somebody waits */
	int64_t changes;  /* operations so far; -1 for segments */
};
/* False when it has gone meanwhile. */
bool object_look(struct ctl *c, const struct row *r, struct object *o);
/* Each object of a kind, in the order of ids' indexes; 0 goes on. */
typedef int object_visit(struct ctl *c, const struct object *o, void *arg);
int objects_each(struct ctl *c, enum kind kind, object_visit *visit, void *arg);
void object_json(const struct object *o); /* its fields, inside an object */
/* What a waiter wants, in words. */
void wish_text(enum kind kind, const struct inspect_waiter *w, char *out, size_t size);
int processes_count(struct ctl *c);

/*
 * ctl_table.c: a table whose columns fit. Where there is no room, columns with a drop number go, the highest first;
 * before that, text with a negative one is cut down to so many letters.
 */
struct column { const char *title; bool left; int drop; };
struct table;
struct table *table_new(const struct column *columns, int n);
__attribute__((format(printf, 2, 3))) void table_add(struct table *t, const char *fmt, ...); /* the next cell */
void table_end_row(struct table *t); /* missing cells are empty */
int table_rows(const struct table *t);
/* True if columns were dropped. At most max rows (0: all). */
bool table_drops(const struct table *t, int width);
void table_print(FILE *out, const struct table *t, int width, int max);
void table_free(struct table *t);

/* ctl_json.c: JSON on stdout, with commas where they belong; key NULL inside arrays */
void json_open(const char *key, char bracket); /* '{' or '[' */
void json_close(char bracket);
void json_int(const char *key, long long value);
void json_uint(const char *key, unsigned long long value);
void json_seconds(const char *key, uint64_t ms);
void json_bool(const char *key, bool value);
void json_null(const char *key);
void json_text(const char *key, const char *value);
void json_line(void); /* the document has ended */
size_t utf8_length(const char *s); /* bytes of the character at s; 0 if they are none */

/* ctl_log.c: what was removed, by whom and why, is a line in the namespace's log, or of a daemon's in the system's */
void log_removal(struct ctl *c, const struct row *r, const char *why);
void log_destroyed(const char *dir);

/* ctl_rm.c */
int remove_object(struct ctl *c, const struct row *r, const char *why); /* 0, or -1 with errno */

/* Options that commands share. */
struct kinds { bool wanted[KINDS]; bool any; };
bool kinds_take(struct kinds *k, const char *word); /* is it one? */
bool kinds_has(const struct kinds *k, enum kind kind);

int ctl_ls(struct ctl *c, int argc, char **argv);
int ctl_show(struct ctl *c, int argc, char **argv);
int ctl_top(struct ctl *c, int argc, char **argv);
int ctl_rm(struct ctl *c, int argc, char **argv);
int ctl_gc(struct ctl *c, int argc, char **argv);
int ctl_metrics(struct ctl *c, int argc, char **argv);
int ctl_limits(struct ctl *c, int argc, char **argv);

#endif
