/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcctl's commands. Each gets its own arguments (argv[0] is the command's name) and returns the exit status. */
#ifndef IPCCTL_H
#define IPCCTL_H

#include "../libipc/inspect.h"
#include "../libipc/libipc.h"
#include "../libipc/registry.h"
#include "../libipc/slot.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* The namespace that the options name, and this process's number in it. */
struct ctl {
	ipc_ns *ns;
	int who;
};

__attribute__((format(printf, 1, 2))) void ctl_say(const char *fmt, ...); /* one line on stderr */
__attribute__((format(printf, 2, 3))) _Noreturn void ctl_die(int status, const char *fmt, ...);

extern const char *const kind_name[KINDS];
/* "shm", "sem", "msg"; -1 for anything else. */
int kind_named(const char *name);
/* A number that fills the whole word, within [0, max]. */
bool number(const char *text, int base, unsigned long long max, unsigned long long *value);
const char *owner_name(uid_t uid);
const char *group_name(gid_t gid);
const char *process_name(pid_t pid);

int ctl_ls(struct ctl *c, int argc, char **argv);
int ctl_show(struct ctl *c, int argc, char **argv);
int ctl_rm(struct ctl *c, int argc, char **argv);
int ctl_limits(struct ctl *c, int argc, char **argv);

#endif
