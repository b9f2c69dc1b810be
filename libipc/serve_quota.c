/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one uid may own, and who is told when there is no room. Counting is done where the registry is changed, in the
 * same transaction: so the numbers are exact, and there is nothing to be kept or to be made anew after a restart.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <time.h>

#include "inspect.h"
#include "registry.h"
#include "serve.h"

#define QUIET_MS 1000 /* between two lines about one limit */
#define HOLDERS 3

static const enum limit number_of[KINDS] = { LIM_SHMMNI, LIM_SEMMNI, LIM_MSGMNI };

/* ---- the numbers ---- */

/* What is summed up for a kind; LIMITS: nothing. */
static enum limit sum_of(enum kind kind)
{
	return kind == KIND_SHM ? LIM_SHMALL : kind == KIND_SEM ? LIM_SEMMNS : LIMITS;
}

static uint64_t amount_of(enum kind kind, uint64_t size)
{
	return kind == KIND_SHM ? pages_of(size) : kind == KIND_SEM ? size : 0;
}

/* Inside a transaction or a validated read. */
static void count_owned(struct ipc_ns *ns, uid_t uid, enum kind kind, uint64_t *objects, uint64_t *sum)
{
	*objects = *sum = 0;
	for (uint32_t i = 0, high = rows_high(&ns->reg, kind); i < high; i++) {
		if (ROW_STATE(area_value(&ns->reg, row_cell(kind, i, R_STATE))) == ROW_FREE ||
		    area_value(&ns->reg, row_cell(kind, i, R_UID)) != uid)
			continue;
		++*objects;
		*sum += amount_of(kind, area_value(&ns->reg, row_cell(kind, i, R_SIZE)) |
						(uint64_t)area_value(&ns->reg, row_cell(kind, i, R_SIZE_HI)) << 32);
	}
}

static uint64_t quota_of(struct ipc_server *s, enum limit l)
{
	return l < LIMITS ? atomic_load_explicit(&s->quota[l], memory_order_relaxed) : 0;
}

int quota_reached(struct ipc_ns *ns, uid_t uid, enum kind kind, uint64_t size)
{
	enum limit sum = sum_of(kind), number = number_of[kind];
	uint64_t most = quota_of(ns->server, sum), count = quota_of(ns->server, number), objects, has;
	uint64_t amount = amount_of(kind, size);

	if (!uid || (!most && !count))
		return LIMITS;
	count_owned(ns, uid, kind, &objects, &has);
	if (most && (amount > most || has > most - amount))
		return sum;
	return count && objects >= count ? number : LIMITS;
}

static enum kind kind_of(enum limit l)
{
	return l == LIM_SHMALL || l == LIM_SHMMNI ? KIND_SHM : l == LIM_MSGMNI ? KIND_MSG : KIND_SEM;
}

uint64_t quota_used(struct ipc_ns *ns, uid_t uid, enum limit l, uint64_t *value)
{
	enum kind kind = kind_of(l);
	uint64_t objects, sum, x;

	*value = quota_of(ns->server, l);
	do {
		x = area_idle(&ns->reg);
		count_owned(ns, uid, kind, &objects, &sum);
	} while (!area_unmoved(&ns->reg, x));
	return l == number_of[kind] ? objects : sum;
}

int ipc_serve_quota(ipc_server *s, const char *name, unsigned long long value)
{
	for (enum limit l = 0; l < LIMITS; l++)
		if (limit_has_quota(l) && !strcmp(name, limit_info[l].name) && value <= limit_info[l].max) {
			atomic_store(&s->quota[l], value);
			return 0;
		}
	errno = EINVAL;
	return -1;
}

/* ---- who is told ---- */

struct holder { uid_t uid; pid_t pid; uint64_t amount; };

static int by_maker(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	if (x->uid != y->uid)
		return x->uid < y->uid ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_amount(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->amount == y->amount ? by_maker(a, b) : x->amount < y->amount ? 1 : -1;
}

/* Is it a process of the namespace? A pid of one that has gone may be anybody's by now. */
static bool is_here(struct ipc_ns *ns, pid_t pid)
{
	for (uint32_t i = 1; i < slots_high(ns); i++) {
		uint64_t word = atomic_load(&ns->slots->row[i].word);

		if (WORD_STATE(word) == SLOT_LIVE && WORD_PID(word) == pid)
			return true;
	}
	return false;
}

static const char *command_of(pid_t pid, char *out, size_t size)
{
	inspect_command(pid, out, size);
	return *out ? out : "?";
}

/* Who has made how much of what counts: one entry a uid and process, sorted by these. NULL: no memory. */
static struct holder *makers(struct ipc_ns *ns, enum kind kind, bool sum, const uid_t *only, size_t *count)
{
	uint32_t high = rows_high(&ns->reg, kind);
	struct holder *h = calloc(high + 1ull, sizeof *h);
	size_t n = 0, out = 0;
	struct row r;

	for (uint32_t i = 0; h && i < high; i++)
		if (!registry_read_index(ns, kind, i, &r) && (!only || r.v[R_UID] == *only))
			h[n++] = (struct holder){ r.v[R_UID], (pid_t)r.v[R_CPID], sum ? amount_of(kind, row_size(&r)) : 1 };
	if (n)
		qsort(h, n, sizeof *h, by_maker);
	for (size_t i = 0; i < n; i++) {
		if (out && !by_maker(&h[out - 1], &h[i]))
			h[out - 1].amount += h[i].amount;
		else
			h[out++] = h[i];
	}
	*count = out;
	return h;
}

/* Of sorted makers: one entry a uid, with the process that is here and has made most; pid 0: none is. */
static size_t owners(struct ipc_ns *ns, struct holder *h, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; out++) {
		struct holder o = { .uid = h[i].uid };
		uint64_t most = 0;

		for (; i < n && h[i].uid == o.uid; i++) {
			o.amount += h[i].amount;
			if (h[i].amount > most && is_here(ns, h[i].pid)) {
				most = h[i].amount;
				o.pid = h[i].pid;
			}
		}
		h[out] = o;
	}
	qsort(h, out, sizeof *h, by_amount);
	return out;
}

static void holders_text(struct ipc_ns *ns, struct holder *h, size_t n, bool quota, char *out, size_t size)
{
	char name[20];
	size_t at = 0;

	snprintf(out, size, "nobody");
	if (quota)
		qsort(h, n, sizeof *h, by_amount);
	for (size_t i = 0; i < n && i < HOLDERS && at < size; i++) {
		at += (size_t)snprintf(out + at, size - at, "%s", i ? ", " : "");
		if (!quota && at < size)
			at += (size_t)snprintf(out + at, size - at, "uid %u%s", (unsigned)h[i].uid, h[i].pid ? " " : "");
		if (h[i].pid && at < size && (!quota || is_here(ns, h[i].pid)))
			at += (size_t)snprintf(out + at, size - at, "%spid %d (%s)%s", quota ? "" : "(most by ", (int)h[i].pid,
					       command_of(h[i].pid, name, sizeof name), quota ? "" : ")");
		else if (quota && at < size)
			at += (size_t)snprintf(out + at, size - at, "pid %d, which has gone,", (int)h[i].pid);
		if (at < size)
			at += (size_t)snprintf(out + at, size - at, " %llu", (unsigned long long)h[i].amount);
	}
}

/* One line a second about each. */
static bool said_lately(struct ipc_server *s, int limit, bool quota)
{
	struct timespec t;
	int64_t now, last = atomic_load(&s->said[limit][quota]);

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
	return (last && now - last < QUIET_MS) || !atomic_compare_exchange_strong(&s->said[limit][quota], &last, now);
}

static void what_text(struct ipc_ns *ns, int limit, bool quota, uid_t uid, char *out, size_t size)
{
	struct statvfs fs;

	if (limit == LIMITS && !statvfs(ns->dir, &fs))
		snprintf(out, size, "no memory for objects: %s has %llu of %llu KiB left", ns->dir,
			 (unsigned long long)fs.f_bavail * fs.f_frsize / 1024,
			 (unsigned long long)fs.f_blocks * fs.f_frsize / 1024);
	else if (limit == LIMITS)
		snprintf(out, size, "no memory for objects");
	else if (quota)
		snprintf(out, size, "quota.%s is %llu, and uid %u is at it", limit_info[limit].name,
			 (unsigned long long)quota_of(ns->server, (enum limit)limit), (unsigned)uid);
	else
		snprintf(out, size, "%s is %llu, and it is reached", limit_info[limit].name,
			 (unsigned long long)registry_limit(ns, (enum limit)limit));
}

/* A creation fails for want of room; limit LIMITS: of memory. */
void quota_refused(struct ipc_ns *ns, enum kind kind, int limit, bool quota)
{
	static const char *const title[KINDS] = { "segment", "set", "queue" };
	struct ipc_server *s = ns->server;
	uid_t uid = creds_get()->uid;
	bool sum = limit == LIMITS || limit == LIM_SHMALL || limit == LIM_SEMMNS;
	char what[500], who[300], name[20];
	struct holder *h;
	size_t n;

	if (said_lately(s, limit, quota))
		return;
	h = makers(ns, limit == LIMITS ? KIND_SHM : kind, sum, quota ? &uid : NULL, &n);
	if (h && !quota)
		n = owners(ns, h, n);
	what_text(ns, limit, quota, uid, what, sizeof what);
	if (h)
		holders_text(ns, h, n, quota, who, sizeof who);
	else
		snprintf(who, sizeof who, "unknown");
	serve_log(s, LOG_WARNING, "%s: no %s for pid %d (%s) of uid %u; %s %s: %s", what, title[kind], (int)ns->pid,
		  command_of(ns->pid, name, sizeof name), (unsigned)uid,
		  limit == LIMITS || limit == LIM_SHMALL ? "most pages" : limit == LIM_SEMMNS ? "most semaphores" : "most",
		  quota ? "were made by" : "have", who);
	free(h);
}
