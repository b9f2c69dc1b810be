/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store on SQLite: WAL, synchronous=OFF (what must survive is a process, not the machine: the directory is on
 * tmpfs), one connection a process. See store.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store.h"

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x69706364 /* "ipcd" */
#define BUSY_MS 500      /* for somebody who has the lock; */
#define LOADING_MS 10000 /* where nothing can be done without */
#define VFS_NAME "ipc" /* the system's, but for how it sleeps */
#define FDS 8

#define COLUMNS 16 /* of a row, after kind and idx: the registry's first cells, in its order */

enum statement { ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_PUT, ST_DELETE, ST_COUNTER, ST_LIMIT, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_PUT] = "INSERT OR REPLACE INTO object VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[ST_DELETE] = "DELETE FROM object WHERE kind=? AND idx=?",
	[ST_COUNTER] = "INSERT OR REPLACE INTO counter VALUES (?,?,?)",
	[ST_LIMIT] = "INSERT OR REPLACE INTO limits VALUES (?,?)",
};

static const char schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE IF NOT EXISTS object (kind INTEGER, idx INTEGER, state INTEGER, key INTEGER, mode INTEGER,"
	" uid INTEGER, gid INTEGER, cuid INTEGER, cgid INTEGER, size INTEGER, size_hi INTEGER, file INTEGER,"
	" ctime INTEGER, cpid INTEGER, lpid INTEGER, atime INTEGER, dtime INTEGER, nattch INTEGER,"
	" PRIMARY KEY (kind, idx)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS counter (kind INTEGER PRIMARY KEY, last INTEGER, seq INTEGER);"
	"CREATE TABLE IF NOT EXISTS limits (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
	"PRAGMA application_id=1768973156;"
	"PRAGMA user_version=1;"
	"COMMIT;";

struct fd_id { int fd; dev_t dev; ino_t ino; };

struct store {
	char path[480];
	sqlite3 *db;
	sqlite3_stmt *st[STATEMENTS];
	struct fd_id fds[FDS]; /* what SQLite has open, to notice when it is not ours any more */
	int forked;
	int busy;    /* the lock was not to be had */
	int loading; /* the caller says what is wrong */
	int examining; /* nothing is moved aside */
	int fresh;   /* there was no database, or none to be used */
};

struct store *store_new(const char *directory)
{
	struct store *s = calloc(1, sizeof *s);

	if (s)
		snprintf(s->path, sizeof s->path, "%s/meta.sqlite", directory);
	return s;
}

static int say(const struct store *s, int error, const char *what)
{
	if (s->loading)
		return -error;
	fprintf(stderr, "libipc: %s: %s (%s); the objects in memory go on\n", s->path, what,
		s->db ? sqlite3_errmsg(s->db) : strerror(error));
	return -error;
}

/* The descriptors that SQLite opens while it connects are noted. */
static __thread struct store *connecting;

static void forget_fds(struct store *s)
{
	for (int i = 0; i < FDS; i++)
		s->fds[i].fd = -1;
}

static void note_fd(struct store *s, int fd)
{
	struct stat st;
	int i = 0;

	while (i < FDS && s->fds[i].fd >= 0 && s->fds[i].fd != fd)
		i++;
	if (i < FDS && fd > 2 && !fstat(fd, &st))
		s->fds[i] = (struct fd_id){ fd, st.st_dev, st.st_ino };
}

static void forget_fd(struct store *s, int fd)
{
	int last = 0;

	while (last < FDS && s->fds[last].fd >= 0)
		last++;
	for (int i = 0; i < last; i++)
		if (s->fds[i].fd == fd) {
			s->fds[i] = s->fds[last - 1];
			s->fds[last - 1].fd = -1;
			return;
		}
}

static int fds_are_ours(const struct store *s)
{
	struct stat st;

	for (int i = 0; i < FDS && s->fds[i].fd >= 0; i++)
		if (fstat(s->fds[i].fd, &st) || st.st_dev != s->fds[i].dev || st.st_ino != s->fds[i].ino)
			return 0;
	return 1;
}

/*
 * Closing a connection whose descriptors the program has closed, and perhaps used anew: SQLite must forget them, and
 * touch none. While `abandoning`, close and fcntl reach only descriptors of the database's own files.
 */
static __thread const struct store *abandoning;

static int is_ours(const struct store *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return 0;
	for (int i = 0; i < FDS && s->fds[i].fd >= 0; i++)
		if (s->fds[i].fd == fd)
			return st.st_dev == s->fds[i].dev && st.st_ino == s->fds[i].ino;
	return 0;
}

static int guarded_open(const char *path, int flags, int mode)
{
	int fd = open(path, flags, mode);

	if (fd >= 0 && connecting)
		note_fd(connecting, fd);
	return fd;
}

static int guarded_close(int fd)
{
	if (connecting)
		forget_fd(connecting, fd);
	return abandoning && !is_ours(abandoning, fd) ? 0 : close(fd);
}

static int guarded_fcntl(int fd, int cmd, ...)
{
	void *arg;
	va_list ap;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return abandoning && !is_ours(abandoning, fd) ? 0 : fcntl(fd, cmd, arg);
}

/*
 * SQLite sleeps where the busy timeout does not reach, while somebody restores the log's index: ten seconds, if that one
 * is stopped. So its sleeps come out of what this call may still wait.
 */
static __thread int patience_us;

static int short_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	us = us < patience_us ? us : patience_us;
	patience_us -= us;
	return us > 0 && !usleep((useconds_t)us) ? us : 0;
}

static void be_patient(struct store *s)
{
	int ms = s->loading ? LOADING_MS : s->busy ? 0 : BUSY_MS;

	patience_us = ms * 1000;
	sqlite3_busy_timeout(s->db, ms);
}

static pthread_once_t guarded = PTHREAD_ONCE_INIT;

static void guard_calls(void)
{
	static sqlite3_vfs ours;
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

	if (!vfs)
		return;
	ours = *vfs;
	ours.zName = VFS_NAME;
	ours.xSleep = short_sleep;
	sqlite3_vfs_register(&ours, 0);
	vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)(void *)guarded_open);
	vfs->xSetSystemCall(vfs, "close", (sqlite3_syscall_ptr)guarded_close);
	vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)(void *)guarded_fcntl);
}

static void disconnect(struct store *s)
{
	for (int i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(s->st[i]);
		s->st[i] = NULL;
	}
	sqlite3_close(s->db);
	s->db = NULL;
}

/* SQLite could not open a file: for want of a descriptor, or it may not. */
static int cannot_open(const struct store *s)
{
	int e = s->db ? sqlite3_system_errno(s->db) : 0;

	return e == EMFILE || e == ENFILE ? -e : -EACCES;
}

static int execute(struct store *s, const char *text)
{
	return sqlite3_exec(s->db, text, NULL, NULL, NULL);
}

static int pragma_int(struct store *s, const char *text, int *value)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		*value = rc == SQLITE_ROW ? sqlite3_column_int(st, 0) : 0;
		rc = rc == SQLITE_ROW ? SQLITE_OK : rc;
	}
	sqlite3_finalize(st);
	return rc;
}

/* Somebody has the lock, or is restoring the log's index. */
static int is_busy(int rc)
{
	return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_PROTOCOL;
}

/* Open the file and make sure that it is ours. 0, -errno; -EUCLEAN: not a database, or somebody else's. */
static int connect_file(struct store *s)
{
	int application = 0, version = 0, tables = 0, rc;

	pthread_once(&guarded, guard_calls);
	if (sqlite3_open_v2(s->path, &s->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, VFS_NAME) != SQLITE_OK)
		return cannot_open(s);
	chmod(s->path, 0600); /* whatever the umask is; SQLite's other files follow it */
	be_patient(s);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	rc = pragma_int(s, "PRAGMA application_id", &application);
	if (rc == SQLITE_OK)
		rc = pragma_int(s, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK)
		rc = pragma_int(s, "SELECT count(*) FROM sqlite_schema", &tables);
	if (rc != SQLITE_OK)
		return rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT ? -EUCLEAN : rc == SQLITE_CANTOPEN ? cannot_open(s) :
		       is_busy(rc) ? -EBUSY : -EIO;
	if (tables && application != APPLICATION_ID)
		return -EUCLEAN;
	if (version > SCHEMA_VERSION)
		return -EPROTO;
	rc = execute(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=256");
	if (rc != SQLITE_OK)
		return is_busy(rc) ? -EBUSY : -EIO;
	if (!version)
		s->fresh = 1;
	if (!version && execute(s, schema) != SQLITE_OK)
		return sqlite3_errcode(s->db) == SQLITE_FULL ? -ENOSPC : -EIO;
	return 0;
}

/* Keep a file that is not ours, or broken, for its owner to look at. */
static int move_aside(struct store *s)
{
	char to[520], from[500], also[540];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(to, sizeof to, "%s.damaged-%lld", s->path, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	if (rename(s->path, to))
		return -errno;
	for (int i = 0; i < 2; i++) {
		snprintf(from, sizeof from, "%s%s", s->path, i ? "-wal" : "-shm");
		snprintf(also, sizeof also, "%s%s", to, i ? "-wal" : "-shm");
		rename(from, also);
	}
	fprintf(stderr, "libipc: %s is damaged or not a namespace's; kept as %s, and a new one is begun\n", s->path, to);
	s->fresh = 1;
	return 0;
}

static int connect_or_move(struct store *s, int may_move)
{
	int e = connect_file(s);

	if (e == -EUCLEAN && may_move) {
		disconnect(s);
		e = move_aside(s);
		if (!e)
			e = connect_file(s);
	}
	for (int i = 0; i < STATEMENTS && !e; i++)
		if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL) != SQLITE_OK)
			e = is_busy(sqlite3_errcode(s->db)) ? -EBUSY : -EIO;
	s->busy = e == -EBUSY;
	if (e) {
		if (e != -EACCES && e != -EMFILE && e != -ENFILE && e != -EBUSY)
			say(s, -e, "cannot be used");
		disconnect(s);
		return e;
	}
	return 0;
}

static int store_connect(struct store *s, int may_move)
{
	int e;

	forget_fds(s);
	connecting = s;
	e = connect_or_move(s, may_move);
	connecting = NULL;
	return e;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	abandoning = s;
	if (s->db)
		disconnect(s);
	abandoning = NULL;
	free(s);
}

void store_after_fork(struct store *s)
{
	if (s && s->db)
		s->forked = 1;
}

/*
 * The connection of the parent is idle (fork takes the cold section), so closing the child's copy of its descriptors
 * releases nothing of the parent's.
 */
static int ready(struct store *s)
{
	if (s->db && !fds_are_ours(s)) {
		abandoning = s;
		disconnect(s);
		abandoning = NULL;
	} else if (s->db && s->forked) {
		disconnect(s);
	}
	s->forked = 0;
	return s->db ? 0 : store_connect(s, 0);
}

static int run(struct store *s, enum statement which)
{
	int rc = sqlite3_step(s->st[which]);

	sqlite3_reset(s->st[which]);
	if (rc == SQLITE_DONE)
		return 0;
	rc &= 0xff;
	if (is_busy(rc))
		return -EBUSY;
	if (rc == SQLITE_FULL)
		return -ENOSPC;
	if (rc == SQLITE_NOMEM)
		return -ENOMEM;
	if (rc == SQLITE_READONLY)
		return -EACCES;
	if (rc == SQLITE_CANTOPEN)
		return cannot_open(s);
	return say(s, EIO, "the transaction failed");
}

int store_lock(struct store *s)
{
	int e = ready(s);

	if (e)
		return e;
	be_patient(s);
	e = run(s, ST_BEGIN);
	s->busy = e == -EBUSY;
	return e;
}

void store_hurry(struct store *s)
{
	s->busy = 1;
}

int store_unlock(struct store *s, int error)
{
	if (!error)
		error = run(s, ST_COMMIT);
	if (error && !sqlite3_get_autocommit(s->db))
		run(s, ST_ROLLBACK);
	return error;
}

int store_put(struct store *s, int kind, uint32_t index, const uint32_t *values)
{
	sqlite3_stmt *st = s->st[ST_PUT];

	sqlite3_bind_int(st, 1, kind);
	sqlite3_bind_int64(st, 2, index);
	for (int i = 0; i < COLUMNS; i++)
		sqlite3_bind_int64(st, 3 + i, values[i]);
	return run(s, ST_PUT);
}

int store_delete(struct store *s, int kind, uint32_t index)
{
	sqlite3_bind_int(s->st[ST_DELETE], 1, kind);
	sqlite3_bind_int64(s->st[ST_DELETE], 2, index);
	return run(s, ST_DELETE);
}

int store_put_counter(struct store *s, int kind, uint32_t last, uint32_t seq)
{
	sqlite3_bind_int(s->st[ST_COUNTER], 1, kind);
	sqlite3_bind_int64(s->st[ST_COUNTER], 2, last);
	sqlite3_bind_int64(s->st[ST_COUNTER], 3, seq);
	return run(s, ST_COUNTER);
}

int store_put_limit(struct store *s, const char *name, uint64_t value)
{
	sqlite3_bind_text(s->st[ST_LIMIT], 1, name, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int64(s->st[ST_LIMIT], 2, (sqlite3_int64)value);
	return run(s, ST_LIMIT);
}

static int each_row(struct store *s, const char *text, void *arg, void (*fn)(void *, sqlite3_stmt *, void *), void *cb)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			fn(arg, st, cb);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? -EUCLEAN : -EIO;
}

static void give_object(void *arg, sqlite3_stmt *st, void *cb)
{
	uint32_t v[64] = { 0 };
	void (*row)(void *, int, uint32_t, const uint32_t *) = *(void (**)(void *, int, uint32_t, const uint32_t *))cb;

	for (int i = 0; i < COLUMNS; i++)
		v[i] = (uint32_t)sqlite3_column_int64(st, 2 + i);
	row(arg, sqlite3_column_int(st, 0), (uint32_t)sqlite3_column_int64(st, 1), v);
}

static void give_limit(void *arg, sqlite3_stmt *st, void *cb)
{
	void (*limit)(void *, const char *, uint64_t) = *(void (**)(void *, const char *, uint64_t))cb;

	limit(arg, (const char *)sqlite3_column_text(st, 0), (uint64_t)sqlite3_column_int64(st, 1));
}

static void give_counter(void *arg, sqlite3_stmt *st, void *cb)
{
	void (*counter)(void *, int, uint32_t, uint32_t) = *(void (**)(void *, int, uint32_t, uint32_t))cb;

	counter(arg, sqlite3_column_int(st, 0), (uint32_t)sqlite3_column_int64(st, 1),
		(uint32_t)sqlite3_column_int64(st, 2));
}

int store_is_new(const struct store *s)
{
	return s->fresh;
}

static int load(struct store *s, void *arg, void (*row)(void *, int, uint32_t, const uint32_t *),
		void (*limit)(void *, const char *, uint64_t), void (*counter)(void *, int, uint32_t, uint32_t))
{
	int ok = 0, e = 0;

	if (!s->db)
		e = store_connect(s, !s->examining);
	if (e)
		return e;
	/* A database that opens and is broken further in is found before anything is taken from it. */
	sqlite3_stmt *st;
	if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		ok = !strcmp((const char *)sqlite3_column_text(st, 0), "ok");
	sqlite3_finalize(st);
	if (!ok && s->examining)
		return -EUCLEAN;
	if (!ok) {
		disconnect(s);
		e = move_aside(s);
		if (!e)
			e = store_connect(s, 1);
		return e;
	}
	e = each_row(s, "SELECT * FROM limits", arg, give_limit, &limit);
	if (!e)
		e = each_row(s, "SELECT * FROM counter", arg, give_counter, &counter);
	if (!e)
		e = each_row(s, "SELECT * FROM object WHERE kind BETWEEN 0 AND 2 AND idx BETWEEN 0 AND 32767", arg,
			     give_object, &row);
	return e;
}

int store_load(struct store *s, void *arg, void (*row)(void *, int, uint32_t, const uint32_t *),
	       void (*limit)(void *, const char *, uint64_t), void (*counter)(void *, int, uint32_t, uint32_t))
{
	int e;

	s->loading = 1;
	e = load(s, arg, row, limit, counter);
	s->loading = 0;
	return e;
}

int store_examine(struct store *s, void *arg, void (*row)(void *, int kind, uint32_t index, const uint32_t *values),
		  void (*limit)(void *, const char *name, uint64_t value),
		  void (*counter)(void *, int kind, uint32_t last, uint32_t seq))
{
	s->examining = 1;
	return store_load(s, arg, row, limit, counter);
}
