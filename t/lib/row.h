/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows of the table of calls, commands, flags and errors. The including program defines ROWS as its list from
 * std/table.h. A case names the row that it produces; the row says what is expected. rows_done() fails for each row
 * that no case produced. A case that this environment cannot produce is given up by row_skip(), with the reason.
 */
#ifndef T_ROW_H
#define T_ROW_H

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tap.h"
#include "proc.h"

#define ROW_ID(id, call, err, what, absent) id,
#define ROW_ENTRY(id, call, err, what, absent) { call, err, #err, what, absent },

enum row_id { ROWS(ROW_ID) ROW_COUNT };

struct row {
	const char *call;
	int err;
	const char *err_name, *what, *absent;
};

static const struct row rows[] = { ROWS(ROW_ENTRY) };
static int row_seen[ROW_COUNT];

static const char *row_name(int id)
{
	static char name[400];
	const struct row *r = &rows[id];

	snprintf(name, sizeof name, "%s: %s%s%s", r->call, r->err ? r->err_name : "", r->err ? " for " : "", r->what);
	return name;
}

__attribute__((unused)) static int row_ok(int id, int pass, int line, const char *text)
{
	row_seen[id]++;
	if (!tap_ok(pass, "case", line, "%s", row_name(id))) {
		diag("  not true: %s", text);
		return 0;
	}
	return 1;
}

__attribute__((unused)) static int row_fails(int id, long long result, int err, int line, const char *text)
{
	row_seen[id]++;
	if (tap_ok(result == -1 && err == rows[id].err, "case", line, "%s", row_name(id)))
		return 1;
	diag("  %s gave %lld (%s), want -1 (%s)", text, result, result == -1 ? strerror(err) : "success",
		strerror(rows[id].err));
	return 0;
}

/* fails(row, call): the call returns -1 and sets the row's errno */
#define fails(id, call)                                                                             \
	({                                                                                          \
		errno = 0;                                                                          \
		long long row_r_ = (long long)(call);                                               \
		int row_e_ = errno;                                                                 \
		row_fails(id, row_r_, row_e_, __LINE__, #call);                                     \
	})

/* works(row, condition): the effect that the row promises is there */
#define works(id, cond) row_ok(id, !!(cond), __LINE__, #cond)

/* ends(row, status): a child ended with the row's errno as its exit status (0 for success); see outcome() */
#define ends(id, status)                                                                            \
	({                                                                                          \
		int row_s_ = (status);                                                              \
		if (!row_ok(id, row_s_ == rows[id].err, __LINE__, #status))                         \
			diag("  got %d, want %d", row_s_, rows[id].err);                            \
	})

/* outcome(call): 0, or the errno with which it failed */
#define outcome(call) ((long long)(call) == -1 ? errno : 0)

__attribute__((unused)) static void row_skip(int id, const char *why)
{
	row_seen[id]++;
	skip(row_name(id), why);
}

static int rows_done(void)
{
	for (int i = 0; i < ROW_COUNT; i++) {
		if (rows[i].absent)
			row_skip(i, rows[i].absent);
		else if (!row_seen[i]) {
			tap_ok(0, "table", i, "%s", row_name(i));
			diag("  no case produced this row");
		}
	}
	return done_testing();
}

/*
 * Pointers that no call may follow, in the order of the table's rows: NULL, the kernel's half, a page without access,
 * and for calls that write, a page that may only be read. near_end(n) has n good bytes before a page without access.
 */
#define POINTERS_IN 3
#define POINTERS_OUT 4

static char *row_page(int prot)
{
	long page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p, page, prot) || mprotect(p + page, page, PROT_NONE))
		bail_out("mmap");
	return p;
}

__attribute__((unused)) static void *bad_pointer(int i)
{
	static char *none, *read_only;

	if (!none) {
		none = row_page(PROT_NONE);
		read_only = row_page(PROT_READ);
	}
	return (void *[]){ NULL, (void *)-4096L, none, read_only }[i];
}

__attribute__((unused)) static void *near_end(size_t good)
{
	static char *page;

	if (!page)
		page = row_page(PROT_READ | PROT_WRITE);
	return page + sysconf(_SC_PAGESIZE) - good;
}

/* In a namespace of ours the calls follow pointers like a library function: only the first two are EFAULT there. */
#define no_kernel() getenv("IPCD_NAMESPACE")
#define FOLLOWED "pointers to pages without access end as in a library function"

/* fails_there(row, call): fails(), for a call that meets a page without access */
#define fails_there(id, call) (no_kernel() ? row_skip(id, FOLLOWED) : (void)fails(id, call))

/* faults(first row, count, p, call): the call fails for each bad pointer p */
#define faults(first, count, p, call)                                                               \
	for (int row_i_ = 0; row_i_ < (count); row_i_++) {                                          \
		void *p = bad_pointer(row_i_);                                                      \
		if (row_i_ < 2)                                                                     \
			fails((first) + row_i_, call);                                              \
		else                                                                                \
			fails_there((first) + row_i_, call);                                        \
	}

/* Ids that name nothing, in the order of the table's rows: -1, never given, removed, another sequence number. */
#define BAD_IDS 4
static int bad_id[BAD_IDS];

#define bad_ids(first, id, call)                                                                    \
	for (int row_i_ = 0; row_i_ < BAD_IDS; row_i_++) {                                          \
		int id = bad_id[row_i_];                                                            \
		fails((first) + row_i_, call);                                                      \
	}

__attribute__((unused)) static void set_bad_ids(int removed, int live)
{
	bad_id[0] = -1;
	bad_id[1] = INT_MAX;
	bad_id[2] = removed;
	bad_id[3] = live + (1 << 15);
}

/* The voluntary context switches of a process so far, or -1. */
static long row_switches(pid_t pid)
{
	char path[64], line[256];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof line, f) && sscanf(line, "voluntary_ctxt_switches: %ld", &n) != 1)
		;
	fclose(f);
	return n;
}

/* Wait until pid sleeps and stays asleep: the same sleep in 20 looks, a millisecond apart. */
__attribute__((unused)) static bool wait_settled(pid_t pid)
{
	long last = -1;
	int same = 0;

	return wait_until(({
		long now = row_switches(pid);

		same = proc_state(pid, pid) == 'S' && now == last ? same + 1 : 0;
		last = now;
		same >= 20;
	}));
}

static void row_on_signal(int sig)
{
	(void)sig;
}

/* Run fn in a child and send it signals until it ends: a call that sleeps ends with EINTR, whenever it began. */
__attribute__((unused)) static int run_interrupted(int (*fn)(void *), void *arg, int sa_flags)
{
	struct sigaction sa = { .sa_handler = row_on_signal, .sa_flags = sa_flags }, old;
	double end = proc_now() + T_WAIT;
	int status;
	pid_t pid;

	sigaction(SIGUSR1, &sa, &old);
	pid = proc_run(fn, arg);
	while (waitpid(pid, &status, WNOHANG) == 0 && proc_now() < end) {
		kill(pid, SIGUSR1);
		proc_nap();
	}
	sigaction(SIGUSR1, &old, NULL);
	if (proc_now() >= end) {
		proc_kill(pid);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#endif
