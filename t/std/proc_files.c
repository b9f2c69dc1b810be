/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /proc/sysvipc and the limits in /proc/sys/kernel, by every call that opens or tests a file: they show and set what
 * the calls of System V IPC go by. And what these calls do with all other files stays what it is.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "objects.h"

#define SYSVIPC "/proc/sysvipc/"
#define KERNEL "/proc/sys/kernel/"

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

static char text[1 << 20];

static const char *slurp(int fd)
{
	size_t n = 0;
	ssize_t r;

	while (fd >= 0 && n < sizeof text - 1 && (r = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	if (fd >= 0)
		close(fd);
	return text;
}

static const char *slurp_stream(FILE *f)
{
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
	return text;
}

static const char *contents(const char *path)
{
	return slurp(open(path, O_RDONLY | O_CLOEXEC));
}

/* ---- what is in the tables ---- */

static int is_text(const char *got, const char *want, const char *name)
{
	if (ok(!strcmp(got, want), "%s", name))
		return 1;
	fprintf(stderr, "#   got  '%s'\n#   want '%s'\n", got, want);
	return 0;
}

/* The table's line with this id, to its end. */
static const char *line_of(const char *table, int id)
{
	static char line[400];
	int key, other;

	snprintf(line, sizeof line, "(no line)");
	for (const char *p = strchr(table, '\n'); p && p[1]; p = strchr(p + 1, '\n'))
		if (sscanf(p + 1, "%d %d", &key, &other) == 2 && other == id)
			snprintf(line, sizeof line, "%.*s", (int)strcspn(p + 1, "\n"), p + 1);
	return line;
}

static void heading_is(const char *path, const char *want)
{
	char first[400];

	snprintf(first, sizeof first, "%.*s", (int)strcspn(contents(path), "\n"), text);
	is_text(first, want, path);
}

static void tables(void)
{
	int m = obj_keep(SHM, shmget(0x5e60, 3 * PAGE + 1, IPC_CREAT | 0604)), s = sem_new(3), q = msg_new();
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;
	char want[400], *at = shmat(m, NULL, 0);

	heading_is(SYSVIPC "shm", "       key      shmid perms                  size  cpid  lpid nattch   uid   gid"
				  "  cuid  cgid      atime      dtime      ctime                   rss                  swap");
	heading_is(SYSVIPC "sem", "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime");
	heading_is(SYSVIPC "msg", "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
				  "      stime      rtime      ctime");
	at[0] = at[2 * PAGE] = 1;
	shmctl(m, IPC_STAT, &shm);
	snprintf(want, sizeof want,
		 "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10lu %10lu %10lu %21u %21u", 0x5e60, m, 0604,
		 3ul * PAGE + 1, getpid(), getpid(), 1ul, geteuid(), getegid(), geteuid(), getegid(), shm.shm_atime, 0ul,
		 shm.shm_ctime, 2 * PAGE, 0);
	is_text(line_of(contents(SYSVIPC "shm"), m), want, "a segment's line is what IPC_STAT says; two pages are touched");
	shmctl(m, IPC_RMID, NULL);
	snprintf(want, sizeof want, "%10d %10d  %4o ", 0, m, 01604);
	ok(!strncmp(line_of(contents(SYSVIPC "shm"), m), want, strlen(want)),
	   "removed but attached it has no key, and says so");
	shmdt(at);
	is_text(line_of(contents(SYSVIPC "shm"), m), "(no line)", "detached it is gone");

	semop(s, &(struct sembuf){ 1, 1, 0 }, 1);
	semctl(s, 0, IPC_STAT, (union semun){ .buf = &sem });
	snprintf(want, sizeof want, "%10d %10d  %4o %10u %5u %5u %5u %5u %10lu %10lu", 0, s, sem.sem_perm.mode, 3, geteuid(),
		 getegid(), geteuid(), getegid(), sem.sem_otime, sem.sem_ctime);
	is_text(line_of(contents(SYSVIPC "sem"), s), want, "a set's line is what IPC_STAT says");

	msgsnd(q, &(struct text){ .type = 5 }, 700, 0);
	msgsnd(q, &(struct text){ .type = 6 }, 11, 0);
	msgrcv(q, &(struct text){ 0 }, 700, 5, 0);
	msgctl(q, IPC_STAT, &msg);
	snprintf(want, sizeof want, "%10d %10d  %4o  %10u %10u %5u %5u %5u %5u %5u %5u %10lu %10lu %10lu", 0, q,
		 msg.msg_perm.mode, 11, 1, getpid(), getpid(), geteuid(), getegid(), geteuid(), getegid(), msg.msg_stime,
		 msg.msg_rtime, msg.msg_ctime);
	is_text(line_of(contents(SYSVIPC "msg"), q), want, "a queue's line is what IPC_STAT says");
}

static void many(void)
{
	int set[500], found = 0;

	for (unsigned i = 0; i < COUNT(set); i++)
		set[i] = sem_new(1);
	contents(SYSVIPC "sem");
	for (unsigned i = 0; i < COUNT(set); i++)
		found += strcmp(line_of(text, set[i]), "(no line)") != 0;
	is(found, COUNT(set), "500 sets have their lines");
}

/* ---- every way to open ---- */

static void ways_to_open(void)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), dir = open(SYSVIPC, O_RDONLY | O_DIRECTORY);
	int s = sem_new(7);
	char cwd[PATH_MAX], link[64];
	FILE *f;

	snprintf(link, sizeof link, "/proc/self/fd/%d/../sysvipc/sem", proc);
#define SHOWS(fd, name) ok(strcmp(line_of(slurp(fd), s), "(no line)"), "%s shows the set", name)
	SHOWS(open(SYSVIPC "sem", O_RDONLY), "open");
	SHOWS(open64(SYSVIPC "sem", O_RDONLY), "open64");
	SHOWS(__open_2(SYSVIPC "sem", O_RDONLY), "__open_2");
	SHOWS(__open64_2(SYSVIPC "sem", O_RDONLY), "__open64_2");
	SHOWS(openat(AT_FDCWD, SYSVIPC "sem", O_RDONLY), "openat");
	SHOWS(openat(dir, "sem", O_RDONLY), "openat in a directory");
	SHOWS(openat64(proc, "sysvipc/sem", O_RDONLY), "openat64 in /proc");
	SHOWS(openat64(-1, SYSVIPC "sem", O_RDONLY), "openat64 with no directory and a whole path");
	SHOWS(__openat_2(dir, "sem", O_RDONLY), "__openat_2");
	SHOWS(__openat64_2(dir, "./sem", O_RDONLY), "__openat64_2");
	SHOWS(open("//proc/./sysvipc//sem", O_RDONLY), "a path with too many slashes");
	SHOWS(open("/proc/sys/../sysvipc/sem", O_RDONLY), "a path up and down again");
	SHOWS(open("/../proc/sysvipc/sem", O_RDONLY), "a path above the root");
	if (!getcwd(cwd, sizeof cwd) || chdir("/proc/sysvipc"))
		exit(99);
	SHOWS(open("sem", O_RDONLY), "a relative path");
	SHOWS(open("../sysvipc/sem", O_RDONLY), "a relative path that goes up");
	if (chdir(cwd))
		exit(99);
	ok(strcmp(line_of(slurp_stream(fopen(SYSVIPC "sem", "r")), s), "(no line)"), "fopen shows the set");
	ok(strcmp(line_of(slurp_stream(fopen64(SYSVIPC "sem", "rbe")), s), "(no line)"), "fopen64 shows the set");
	f = fopen("/dev/null", "r");
	ok(strcmp(line_of(slurp_stream(freopen(SYSVIPC "sem", "r", f)), s), "(no line)"), "freopen shows the set");
	f = fopen("/dev/null", "r");
	ok(strcmp(line_of(slurp_stream(freopen64(SYSVIPC "sem", "r", f)), s), "(no line)"), "freopen64 shows the set");
	close(proc);
	close(dir);
}

/* ---- what a descriptor is ---- */

static void descriptors(void)
{
	int low = dup(0), fd;
	struct stat st;
	FILE *f;

	close(low);
	fd = open(SYSVIPC "msg", O_RDONLY);
	is(fd, low, "the lowest free descriptor is given");
	is(fcntl(fd, F_GETFD), 0, "... not close-on-exec if it was not asked for");
	is(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY, "... for reading");
	call_fails(write(fd, "x", 1), EBADF, "... so that it cannot be written");
	ok(!fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0444, "... a file of mode 0444");
	is(lseek(fd, 0, SEEK_CUR), 0, "... at its beginning");
	is(read(fd, text, 10), 10, "... it can be read in parts");
	text[10] = 0;
	is_text(text, "       key", "... from there");
	is(lseek(fd, 7, SEEK_SET), 7, "... and from another place");
	is(pread(fd, text, 3, 7), 3, "... by pread too");
	close(fd);
	fd = open(KERNEL "msgmax", O_RDONLY | O_CLOEXEC);
	is(fcntl(fd, F_GETFD), FD_CLOEXEC, "close-on-exec if asked for");
	close(fd);
	f = fopen(KERNEL "msgmax", "re");
	is(fileno(f), low, "a stream has the lowest free descriptor");
	is(fcntl(fileno(f), F_GETFD), FD_CLOEXEC, "... close-on-exec if asked for");
	fclose(f);
	errno = 77;
	slurp(open(KERNEL "sem", O_RDONLY));
	is(errno, 77, "errno is left alone");
	call_fails(open(SYSVIPC "shm", O_RDONLY | O_DIRECTORY), ENOTDIR, "a table is no directory");
	call_fails(open(SYSVIPC "shm", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST, "a table is there already");
	call_fails(open(SYSVIPC "shm/", O_RDONLY), ENOTDIR, "a table with a slash behind is no directory");
	call_fails(open(SYSVIPC "shmx", O_RDONLY), ENOENT, "other names are not there");
}

/* ---- everybody else's files ---- */

__attribute__((no_sanitize("undefined"))) static void others(void) /* no path is what is asked for */
{
	char dir[] = "/tmp/t-proc-XXXXXX", path[64];
	struct statx stx;
	struct stat st;
	FILE *f;
	int fd;

	const char *volatile nowhere = NULL;

	call_fails(open(nowhere, O_RDONLY), EFAULT, "open of no path");
	call_fails(openat(AT_FDCWD, (char *)-4096, O_RDONLY), EFAULT, "openat of a path in the kernel's half");
	call_fails(access(nowhere, F_OK), EFAULT, "access of no path");
	call_fails(stat((char *)1, &st), EFAULT, "stat of a path that is no pointer");
	call_fails(open("", O_RDONLY), ENOENT, "open of an empty path");
	call_fails(openat(-1, "shm", O_RDONLY), EBADF, "openat in no directory");
	if (!mkdtemp(dir))
		exit(99);
	snprintf(path, sizeof path, "%s/shm", dir);
	call_fails(open(path, O_RDONLY), ENOENT, "a file of the same name is not there");
	call_fails(access(path, F_OK), ENOENT, "... for access");
	call_fails(stat(path, &st), ENOENT, "... for stat");
	call_fails(statx(AT_FDCWD, path, 0, STATX_ALL, &stx), ENOENT, "... for statx");
	ok(!fopen(path, "r") && errno == ENOENT, "... for fopen");
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0640);
	is(write(fd, "mine\n", 5), 5, "... until it is made");
	is(close(fd), 0, "... and closed");
	ok(!stat(path, &st) && st.st_size == 5 && (st.st_mode & 0777) == 0640, "... with its mode");
	is_text(contents(path), "mine\n", "... and its contents");
	fd = open(dir, O_TMPFILE | O_RDWR, 0604);
	ok(fd < 0 || (!fstat(fd, &st) && (st.st_mode & 0777) == 0604), "a file without a name has its mode");
	close(fd);
	f = fopen(path, "a");
	fputs("more\n", f);
	is(fclose(f), 0, "it can be appended to");
	is_text(slurp_stream(fopen(path, "r+")), "mine\nmore\n", "... and read");
	unlink(path);
	rmdir(dir);
}

/* ---- testing ---- */

static void tests(void)
{
	int dir = open(KERNEL, O_RDONLY | O_DIRECTORY), privileged = geteuid() == 0;
	struct statx stx;
	struct stat st;

	succeeds(access(SYSVIPC "shm", F_OK), "a table is there");
	succeeds(access(SYSVIPC "sem", R_OK), "... to be read");
	call_fails(eaccess(SYSVIPC "msg", X_OK), EACCES, "... not to be executed");
	succeeds(faccessat(dir, "msgmax", R_OK, 0), "a limit is there to be read");
	succeeds(faccessat(dir, "msgmax", R_OK, AT_EACCESS), "... effectively");
	call_fails(access(KERNEL "msgmax", X_OK), EACCES, "... not to be executed");
	if (privileged)
		succeeds(euidaccess(KERNEL "shmmax", W_OK), "... and to be written");
	call_fails(access(KERNEL "msgmax", 8), EINVAL, "access of an unknown kind");
	ok(!stat(SYSVIPC "shm", &st) && st.st_mode == (S_IFREG | 0444) && !st.st_size, "stat of a table");
	ok(!lstat(KERNEL "sem", &st) && st.st_mode == (S_IFREG | 0644) && !st.st_size, "lstat of a limit");
	ok(!fstatat(dir, "sem", &st, 0) && st.st_mode == (S_IFREG | 0644), "fstatat of a limit");
	ok(!statx(dir, "sem", 0, STATX_BASIC_STATS, &stx) && stx.stx_mode == (S_IFREG | 0644), "statx of a limit");
	close(dir);
}

/* ---- setting limits ---- */

/* Whatever is broken, a test under ipcrun shall not write to the machine's. */
static int safe(int fd)
{
	struct statfs fs;

	if (getenv("IPCD_NAMESPACE") && !fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC)
		bail_out("this would set the limits of the machine");
	return fd;
}

static FILE *safe_stream(FILE *f)
{
	if (f)
		safe(fileno(f));
	return f;
}

/* One write at the beginning. Its result, or -errno; what the file says then goes to text. */
static ssize_t set(const char *path, const char *value, size_t length)
{
	int fd = safe(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC));
	ssize_t n = write(fd, value, length);

	if (n < 0)
		n = -errno;
	close(fd);
	contents(path);
	return n;
}

static const struct {
	const char *name, *value;
	int error;
	const char *then;
	int taken; /* when it is not all */
} writes[] = {
	{ "shmmax", "5", 0, "5\n", 0 },
	{ "shmmax", " 7 ", 0, "7\n", 0 },
	{ "shmmax", "0x10\n", 0, "16\n", 0 },
	{ "shmmax", "010", 0, "8\n", 0 },
	{ "shmmax", "-1", EINVAL, "8\n", 0 },
	{ "shmmax", "abc", EINVAL, "8\n", 0 },
	{ "shmmax", "5x", EINVAL, "8\n", 0 },
	{ "shmmax", "5 6", 0, "5\n", 2 },
	{ "shmmax", "", 0, "5\n", 0 },
	{ "shmmax", "99999999999999999999999", EINVAL, "5\n", 0 },
	{ "shmmax", "18446744073709551615", 0, "18446744073709551615\n", 0 },
	{ "shmall", "123456", 0, "123456\n", 0 },
	{ "shmmni", "32768", 0, "32768\n", 0 },
	{ "shmmni", "32769", EINVAL, "32768\n", 0 },
	{ "shmmni", "0", 0, "0\n", 0 },
	{ "shmmni", "4096", 0, "4096\n", 0 },
	{ "msgmax", "-1", EINVAL, "8192\n", 0 },
	{ "msgmax", "2147483648", EINVAL, "8192\n", 0 },
	{ "msgmax", "+5", EINVAL, "8192\n", 0 },
	{ "msgmax", "8193\n\n", 0, "8193\n", 0 },
	{ "msgmax", "8194\n1", 0, "8194\n", 5 },
	{ "msgmax", "\n", EINVAL, "8194\n", 0 },
	{ "msgmni", "40000", EINVAL, "32000\n", 0 },
	{ "msgmnb", "0", 0, "0\n", 0 },
	{ "msgmnb", "2147483647", 0, "2147483647\n", 0 },
	{ "sem", "100 2000 30 40", 0, "100\t2000\t30\t40\n", 0 },
	{ "sem", "250", 0, "250\t2000\t30\t40\n", 0 },
	{ "sem", "1 2 3 99999", ERANGE, "1\t2\t3\t40\n", 0 },
	{ "sem", "9\t8\t7\t6\n", 0, "9\t8\t7\t6\n", 0 },
	{ "sem", "1 2 3 4 5", 0, "1\t2\t3\t4\n", 8 },
	{ "sem", "10 x", EINVAL, "10\t2\t3\t4\n", 0 },
	{ "sem", "32000 1024000000 500 32000", 0, "32000\t1024000000\t500\t32000\n", 0 },
	{ "auto_msgmni", "1", 0, "0\n", 0 },
	{ "auto_msgmni", "2", EINVAL, "0\n", 0 },
	{ "shm_rmid_forced", "0", 0, "0\n", 0 },
	{ "shm_rmid_forced", "2", EINVAL, "0\n", 0 },
};

static void set_by_write(void)
{
	for (unsigned i = 0; i < COUNT(writes); i++) {
		char path[64], name[200];
		long want = writes[i].error ? -writes[i].error : writes[i].taken, got;

		snprintf(path, sizeof path, KERNEL "%s", writes[i].name);
		got = set(path, writes[i].value, strlen(writes[i].value));
		snprintf(name, sizeof name, "%s becomes '%.*s' by '%s'", writes[i].name, (int)strlen(writes[i].then) - 1,
			 writes[i].then, writes[i].value[0] == '\n' ? "(a line's end)" : writes[i].value);
		name[strcspn(name, "\n")] = 0;
		if (!want)
			want = (long)strlen(writes[i].value);
		is(got, want, "writing '%.*s' to %s", (int)strcspn(writes[i].value, "\n"), writes[i].value,
		   writes[i].name);
		is_text(text, writes[i].then, name);
	}
	is(set(KERNEL "msgmax", "8192\0", 5), -EINVAL, "a number and a null byte");
	is(set(KERNEL "msgmax", NULL, 4), -EFAULT, "no buffer");
	is(set(KERNEL "msgmax", "8192", 4), 4, "msgmax is what it was");
	is(set(KERNEL "msgmnb", "16384", 5), 5, "msgmnb is what it was");
}

static void set_by_others(void)
{
	struct iovec v[1] = { { (char *)(uintptr_t) "9005", 4 } };
	FILE *f = safe_stream(fopen(KERNEL "msgmax", "w"));
	int fd, copy;

	fprintf(f, "%d\n", 9001);
	is_text(contents(KERNEL "msgmax"), "8192\n", "a stream's buffer has not been written");
	is(fflush(f), 0, "... until it is flushed");
	is_text(contents(KERNEL "msgmax"), "9001\n", "... which sets the limit");
	is(fclose(f), 0, "... and closed");
	f = safe_stream(fopen64(KERNEL "msgmax", "r+"));
	fprintf(f, "9002\n");
	is(fclose(f), 0, "a stream for reading and writing");
	is_text(contents(KERNEL "msgmax"), "9002\n", "... sets it when it is closed");
	f = safe_stream(fopen(KERNEL "msgmax", "w"));
	fprintf(f, "no\n");
	errno = 0;
	ok(fflush(f) == EOF && errno == EINVAL && ferror(f), "flushing nonsense gives EINVAL");
	fclose(f);
	f = safe_stream(fopen(KERNEL "msgmax", "w"));
	fprintf(f, "no\n");
	errno = 0;
	ok(fclose(f) == EOF && errno == EINVAL, "closing with nonsense gives EINVAL");
	f = fdopen(safe(open(KERNEL "msgmax", O_WRONLY)), "w");
	fprintf(f, "9003");
	is(fclose(f), 0, "a stream of a descriptor");
	is_text(contents(KERNEL "msgmax"), "9003\n", "... sets it when it is closed");

	fd = safe(open(KERNEL "msgmax", O_RDWR));
	copy = dup(fd);
	is(write(copy, "9004", 4), 4, "a duplicate of the descriptor");
	is_text(contents(KERNEL "msgmax"), "9004\n", "... sets it");
	is(write(fd, "7", 1), 1, "what is written behind it");
	is(write(copy, "nonsense", 8), 8, "... whatever it is");
	is_text(contents(KERNEL "msgmax"), "9004\n", "... changes nothing");
	is(lseek(fd, 0, SEEK_SET), 0, "but back at its beginning");
	is(write(fd, "9006", 4), 4, "... it does");
	is_text(contents(KERNEL "msgmax"), "9006\n", "... set it");
	close(fd);
	close(copy);
	fd = safe(creat(KERNEL "msgmax", 0600));
	is(writev(fd, v, 1), 4, "writev to what creat opened");
	close(fd);
	is_text(contents(KERNEL "msgmax"), "9005\n", "... sets it");
	fd = safe(open(KERNEL "msgmax", O_RDWR));
	is_text(slurp(fd), "9005\n", "opened for both it can be read");
	fd = safe(creat64(KERNEL "msgmax", 0600));
	is(write(fd, "8192", 4), 4, "creat64");
	close(fd);
	for (int i = 0; i < 50; i++) {
		char value[16];

		snprintf(value, sizeof value, "%d", 5000 + i);
		fd = safe(open(KERNEL "msgmni", O_WRONLY));
		if (write(fd, value, 4) != 4)
			break;
		close(fd);
	}
	is_text(contents(KERNEL "msgmni"), "5049\n", "setting it fifty times ends with the last");
}

static int child_writes(void *arg)
{
	return write(*(int *)arg, "9500", 4) != 4;
}

static int child_prints(void *arg)
{
	FILE *f = fdopen(*(int *)arg, "w");

	fprintf(f, "9600\n");
	fclose(f);
	return 0;
}

/* A shell's redirection: the descriptor is moved to 1 of a child, which prints or starts a program that does. */
static int child_execs(void *arg)
{
	dup2(*(int *)arg, 1);
	execlp("echo", "echo", "9700", NULL);
	return 1;
}

static int child_moves(void *arg)
{
	int saved = dup(1);

	dup2(*(int *)arg, 1);
	printf("%d\n", 9800);
	fflush(stdout);
	dup2(saved, 1);
	return 0;
}

static int child_leaves(void *arg)
{
	dup2(*(int *)arg, 1);
	printf("%d\n", 9900);
	exit(0); /* libc flushes it */
}

static void set_by_children(void)
{
	static const struct { int (*fn)(void *); const char *then, *name; } how[] = {
		{ child_writes, "9500\n", "a child that writes sets the limit" },
		{ child_prints, "9600\n", "a child that prints and closes sets the limit" },
		{ child_execs, "9700\n", "a program whose output it is sets the limit" },
		{ child_moves, "9800\n", "a child whose output it was for a while sets the limit" },
		{ child_leaves, "9900\n", "a child that prints and exits sets the limit" },
	};

	for (unsigned i = 0; i < COUNT(how); i++) {
		int fd = safe(open(KERNEL "msgmax", O_WRONLY));

		is(proc_wait(proc_run(how[i].fn, &fd)), 0, "child %u ends well", i);
		close(fd);
		is_text(contents(KERNEL "msgmax"), how[i].then, how[i].name);
	}
}

/* The limits that are set are those that the calls go by. */
static void limits_hold(void)
{
	int q = msg_new();

	set(KERNEL "msgmax", "100\n", 4);
	call_fails(msgsnd(q, &(struct text){ .type = 1 }, 101, 0), EINVAL, "a message larger than msgmax is refused");
	succeeds(msgsnd(q, &(struct text){ .type = 1 }, 100, 0), "... and one of its size taken");
	set(KERNEL "shmmax", "8192\n", 5);
	call_fails(shmget(IPC_PRIVATE, 8193, 0600), EINVAL, "a segment larger than shmmax is refused");
	set(KERNEL "sem", "3", 1);
	call_fails(semget(IPC_PRIVATE, 4, 0600), EINVAL, "a set larger than semmsl is refused");
	set(KERNEL "sem", "32000", 5);
	set(KERNEL "msgmax", "8192\n", 5);
	set(KERNEL "shmmax", "18446744073692774399\n", 21);
}

/* ---- cancellation ---- */

static int cancel_file;

static void *cancelled_in(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	switch (*(char *)arg) {
	case 'o':
		open("/dev/null", O_RDONLY);
		break;
	case 'a':
		openat(AT_FDCWD, SYSVIPC "shm", O_RDONLY);
		break;
	case 'w':
		(void)!write(cancel_file, "x", 1);
		break;
	case 's':
		access(SYSVIPC "shm", F_OK);
	}
	return NULL;
}

static bool cancelled(const char *where)
{
	pthread_t t;
	void *result;

	if (pthread_create(&t, NULL, cancelled_in, (void *)(uintptr_t)where) || pthread_join(t, &result))
		bail_out("no thread");
	return result == PTHREAD_CANCELED;
}

static void cancellation(void)
{
	cancel_file = open("/dev/null", O_WRONLY);
	ok(cancelled("o"), "open is a cancellation point");
	ok(cancelled("a"), "openat of a table is one");
	ok(cancelled("w"), "write is one");
	ok(!cancelled("s"), "access is none");
	close(cancel_file);
}

/* The limits of the machine are nobody's to play with: only those of a namespace of our own. */
static bool own_limits(void)
{
	char mine[64] = "", parents[64] = "", path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/ipc", getppid()); /* of whoever called unshare(1) */
	if (getenv("IPCD_NAMESPACE"))
		return true;
	return readlink("/proc/self/ns/ipc", mine, sizeof mine - 1) > 0 &&
	       readlink(path, parents, sizeof parents - 1) > 0 && strcmp(mine, parents) &&
	       !access(KERNEL "msgmax", W_OK);
}

int main(void)
{
	alarm(60);
	tables();
	many();
	ways_to_open();
	descriptors();
	others();
	tests();
	cancellation();
	if (own_limits()) {
		set_by_write();
		set_by_others();
		set_by_children();
		limits_hold();
	} else {
		skip("setting limits", "these are the machine's");
	}
	return done_testing();
}
