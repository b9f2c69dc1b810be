/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of shmget, shmat, shmdt and shmctl: each is produced here, and none may be left over. What needs a change of
 * uid is in table_uid.c, what needs other limits in table_limit.c. Each case removes the segments that it makes.
 */
#include "table.h"
#define ROWS TABLE_SHM
#include "row_family.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define PAGE 4096L
#define TOO_LARGE (1UL << 47)
/* Four free pages far from everything that a process maps by itself; set by find_free(). */
static char *free_at;

static int get(key_t key, int flags)
{
	return shmget(key, PAGE, flags);
}

static int ctl(int id, int cmd, void *buf)
{
	return shmctl(id, cmd, buf);
}

static int used(const union any_buf *info)
{
	return info->shm_used.used_ids;
}

static long change_time(const union any_buf *ds)
{
	return ds->shm.shm_ctime;
}

static long other_times(const union any_buf *ds)
{
	return ds->shm.shm_atime | ds->shm.shm_dtime;
}

static const struct family family = {
	get, ctl, SHM_INFO, SHM_STAT, SHM_STAT_ANY, used, change_time, other_times,
};

static void find_free(void)
{
	for (char *at = (char *)0x310000000000; at < (char *)0x400000000000; at += 1L << 36)
		if (mmap(at, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at) {
			munmap(at, 4 * PAGE);
			free_at = at;
			return;
		}
	bail_out("no free place for fixed addresses");
}

static int new_segment(size_t size, int flags)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600 | flags);

	if (id < 0)
		bail_out("shmget");
	return id;
}

static struct shmid_ds stat_of(int id)
{
	return family_stat(&family, id).shm;
}

static char *attach(int id, const void *at, int flags)
{
	char *p = shmat(id, at, flags);

	if (p == (char *)-1)
		bail_out("shmat");
	return p;
}

static void rm(int id)
{
	family_rm(&family, id);
}

static int crashed(int status)
{
	return status == 1000 + SIGSEGV;
}

static int write_there(void *p)
{
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *)p = 1;
	return 0;
}

/* The permissions of the mapping at p, as /proc/self/maps shows them, or "". */
static const char *perms_of(const void *p)
{
	static char perms[8];
	unsigned long from;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	perms[0] = 0;
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "%lx-%*x %7s", &from, perms) == 2 && from == (uintptr_t)p)
			break;
		else
			perms[0] = 0;
	if (f)
		fclose(f);
	return perms;
}

static long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

/* Huge pages of that many KiB that a segment could have now, or -1 where the machine has no such pages. */
static long huge_free(long kib)
{
	char path[128];
	long have, more;

	snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%ldkB/free_hugepages", kib);
	have = read_number(path);
	snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%ldkB/nr_overcommit_hugepages", kib);
	more = read_number(path);
	return have < 0 ? -1 : have + (more > 0 ? more : 0);
}

static long huge_default(void)
{
	char line[128];
	long kib = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof line, f) && sscanf(line, "Hugepagesize: %ld", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib;
}

static void huge_none(int row, long kib, int flags)
{
	if (huge_free(kib) < 0)
		row_skip(row, "the machine has no huge pages of this size");
	else if (huge_free(kib) > 0)
		row_skip(row, "huge pages are free");
	else if (geteuid() != 0)
		row_skip(row, "this user may not ask for huge pages");
	else
		fails(row, shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600 | SHM_HUGETLB | flags));
}

static void huge_pages(void)
{
	int id;

	huge_none(SHMGET_ENOMEM_HUGE_NONE, huge_default(), 0);
	huge_none(SHMGET_ENOMEM_HUGE_2MB_NONE, 2048, 21 << 26);
	huge_none(SHMGET_ENOMEM_HUGE_1GB_NONE, 1048576, 30 << 26);
	fails(SHMGET_EINVAL_HUGE_SIZE, shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600 | SHM_HUGETLB | 5 << 26));
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600 | 21 << 26);
	works(SHMGET_OK_HUGE_BITS, id >= 0);
	rm(id);
	if (huge_free(huge_default()) < 1) {
		row_skip(SHMGET_OK_HUGE, "no huge page is free");
		return;
	}
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600 | SHM_HUGETLB);
	works(SHMGET_OK_HUGE, id >= 0);
	rm(id);
}

static void get_sizes(void)
{
	key_t key = family_key(4);
	struct shminfo limits;
	int id;

	shmctl(0, IPC_INFO, (void *)&limits);
	fails(SHMGET_EINVAL_SIZE_0, shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
	if (limits.shmmax == ULONG_MAX)
		row_skip(SHMGET_EINVAL_OVER_SHMMAX, "no size is larger than this SHMMAX");
	else
		fails(SHMGET_EINVAL_OVER_SHMMAX, shmget(IPC_PRIVATE, limits.shmmax + 1, IPC_CREAT | 0600));
	fails(SHMGET_ENOENT_BEFORE_SIZE, shmget(key, 0, 0600));
	id = shmget(key, 5000, IPC_CREAT | 0600);
	works(SHMGET_OK_SEGSZ, stat_of(id).shm_segsz == 5000);
	fails(SHMGET_EINVAL_OVER_EXISTING, shmget(key, 5001, 0600));
	fails(SHMGET_EINVAL_OVER_EXISTING, shmget(key, 5001, IPC_CREAT | 0600));
	fails(SHMGET_EEXIST_BEFORE_SIZE, shmget(key, 5001, IPC_CREAT | IPC_EXCL | 0600));
	works(SHMGET_OK_SIZE_0, shmget(key, 0, 0600) == id);
	works(SHMGET_OK_SMALLER, shmget(key, 1, IPC_CREAT | 0600) == id);
	rm(id);
}

static void get_new(void)
{
	int id = new_segment(3 * PAGE, 0), good = 1;
	struct shmid_ds ds = stat_of(id);
	char *p;

	works(SHMGET_OK_NEW_FIELDS, ds.shm_cpid == getpid() && ds.shm_lpid == 0 && ds.shm_nattch == 0);
	p = attach(id, NULL, 0);
	for (long i = 0; i < 3 * PAGE; i++)
		good &= p[i] == 0;
	works(SHMGET_OK_ZEROS, good);
	shmdt(p);
	rm(id);
}

static void get_too_large(void)
{
	int id;

	if (!getenv("IPCD_NAMESPACE") && read_number("/proc/sys/vm/overcommit_memory") == 1)
		row_skip(SHMGET_ENOMEM_TOO_LARGE, "vm.overcommit_memory is 1");
	else
		fails(SHMGET_ENOMEM_TOO_LARGE, shmget(IPC_PRIVATE, TOO_LARGE, IPC_CREAT | 0600));
	if (!getenv("IPCD_NAMESPACE") && read_number("/proc/sys/vm/overcommit_memory") == 2) {
		row_skip(SHMGET_OK_NORESERVE, "vm.overcommit_memory is 2");
		row_skip(SHMAT_ENOMEM_TOO_LARGE, "vm.overcommit_memory is 2");
		return;
	}
	id = shmget(IPC_PRIVATE, TOO_LARGE, IPC_CREAT | 0600 | SHM_NORESERVE);
	works(SHMGET_OK_NORESERVE, id >= 0 && stat_of(id).shm_segsz == TOO_LARGE);
	fails(SHMAT_ENOMEM_TOO_LARGE, shmat(id, NULL, 0));
	rm(id);
}

static void at_ids(void)
{
	int removed = new_segment(PAGE, 0), id;

	rm(removed);
	id = new_segment(PAGE, 0);
	set_bad_ids(removed, id);
	bad_ids(SHMAT_EINVAL_NEGATIVE_ID, bad, shmat(bad, NULL, 0));
	bad_ids(SHMCTL_EINVAL_SHM_LOCK_NEGATIVE_ID, bad, shmctl(bad, SHM_LOCK, NULL));
	bad_ids(SHMCTL_EINVAL_SHM_UNLOCK_NEGATIVE_ID, bad, shmctl(bad, SHM_UNLOCK, NULL));
	rm(id);
}

static void at_bad_addresses(void)
{
	int id = new_segment(2 * PAGE, 0), one = new_segment(PAGE, 0);
	char *p;

	fails(SHMAT_EINVAL_UNALIGNED, shmat(id, free_at + 1, 0));
	fails(SHMAT_EINVAL_UNALIGNED, shmat(id, free_at + PAGE - 1, SHM_RDONLY));
	fails(SHMAT_EINVAL_REMAP_NULL, shmat(id, NULL, SHM_REMAP));
	fails(SHMAT_EINVAL_REMAP_RND_LOW, shmat(id, (void *)1, SHM_REMAP | SHM_RND));
	p = mmap(free_at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p != free_at + PAGE)
		bail_out("the place for fixed addresses is taken");
	fails(SHMAT_EINVAL_OCCUPIED, shmat(id, p, 0));
	fails(SHMAT_EINVAL_OCCUPIED, shmat(id, p + 100, SHM_RND));
	fails(SHMAT_EINVAL_PARTLY_OCCUPIED, shmat(id, free_at, 0));
	munmap(p, PAGE);
	fails(SHMAT_EINVAL_WRAPS, shmat(id, (void *)-PAGE, 0));
	fails(SHMAT_ENOMEM_KERNEL, shmat(one, (void *)(-16 * PAGE), 0));
	fails(SHMAT_ENOMEM_KERNEL, shmat(one, (void *)(-16 * PAGE), SHM_REMAP));
	is(stat_of(id).shm_nattch + stat_of(one).shm_nattch, 0, "a shmat that failed is not counted");
	rm(id);
	rm(one);
}

/* In a child: give up a capability, so that root meets what others meet. */
static void drop_capability(int cap)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		_exit(98);
	data[cap / 32].effective &= ~(1U << cap % 32);
	if (syscall(SYS_capset, &head, data))
		_exit(98);
}

static int attach_low(void *arg)
{
	drop_capability(CAP_SYS_RAWIO);
	return outcome(shmat(*(int *)arg, (void *)1, SHM_RND));
}

static int attach_beyond_rlimit(void *arg)
{
	long pages = read_number("/proc/self/statm");
	struct rlimit limit = { (pages << 12) + (64L << 20), RLIM_INFINITY };

	setrlimit(RLIMIT_AS, &limit);
	return outcome(shmat(*(int *)arg, NULL, 0));
}

static void at_limits(void)
{
	int id = new_segment(PAGE, 0), large = new_segment(256L << 20, SHM_NORESERVE);

	if (read_number("/proc/sys/vm/mmap_min_addr") <= 0)
		row_skip(SHMAT_EPERM_MMAP_MIN_ADDR, "vm.mmap_min_addr is 0");
	else
		ends(SHMAT_EPERM_MMAP_MIN_ADDR, proc_wait(proc_run(attach_low, &id)));
	ends(SHMAT_ENOMEM_RLIMIT_AS, proc_wait(proc_run(attach_beyond_rlimit, &large)));
	rm(id);
	rm(large);
}

static void at_fields(void)
{
	int id = new_segment(2 * PAGE, 0);
	long before = time(NULL);
	char *p = attach(id, NULL, 0), *q;
	struct shmid_ds ds = stat_of(id);

	works(SHMAT_OK_FIELDS, ds.shm_nattch == 1 && ds.shm_lpid == getpid() && ds.shm_atime >= before && ds.shm_dtime == 0);
	q = attach(id, NULL, 0);
	works(SHMAT_OK_TWICE, p != q && stat_of(id).shm_nattch == 2);
	p[5000] = 42;
	works(SHMAT_OK_NULL, q[5000] == 42);
	works(SHMDT_OK_FIELDS, shmdt(q) == 0);
	ds = stat_of(id);
	works(SHMDT_OK_FIELDS, ds.shm_nattch == 1 && ds.shm_lpid == getpid() && ds.shm_dtime >= before);
	fails(SHMDT_EINVAL_TWICE, shmdt(q));
	fails(SHMDT_EINVAL_MIDDLE, shmdt(p + PAGE));
	fails(SHMDT_EINVAL_UNALIGNED, shmdt(p + 1));
	is(stat_of(id).shm_nattch, 1, "a shmdt that failed is not counted");
	shmdt(p);
	rm(id);
}

static void dt_bad(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	fails(SHMDT_EINVAL_NULL, shmdt(NULL));
	fails(SHMDT_EINVAL_KERNEL, shmdt((void *)-PAGE));
	fails(SHMDT_EINVAL_NOT_ATTACHED, shmdt(p));
	munmap(p, PAGE);
}

static void at_addresses(void)
{
	int id = new_segment(2 * PAGE, 0);
	char *p = attach(id, free_at, 0);

	works(SHMAT_OK_ADDRESS, p == free_at);
	*(volatile char *)p = 7;
	works(SHMDT_OK_UNMAPS, shmdt(p) == 0);
	works(SHMDT_OK_UNMAPS, crashed(proc_wait(proc_run(write_there, free_at))));
	p = attach(id, free_at + 100, SHM_RND);
	works(SHMAT_OK_RND, p == free_at && *p == 7);
	shmdt(p);
	p = attach(id, free_at, SHM_RND);
	works(SHMAT_OK_RND_ALIGNED, p == free_at);
	shmdt(p);
	p = attach(id, NULL, 0x100000);
	works(SHMAT_OK_UNKNOWN_FLAG, *p == 7);
	shmdt(p);
	rm(id);
}

static void at_remap(void)
{
	int id = new_segment(PAGE, 0), other = new_segment(PAGE, 0);
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;

	p[0] = p[PAGE] = 9;
	q = attach(id, p, SHM_REMAP);
	works(SHMAT_OK_REMAP, q == p && p[0] == 0 && p[PAGE] == 9);
	q = attach(other, p, SHM_REMAP);
	works(SHMAT_OK_REMAP, q == p && stat_of(id).shm_nattch == 0 && stat_of(other).shm_nattch == 1);
	works(SHMAT_OK_REMAP, shmdt(p) == 0 && stat_of(other).shm_nattch == 0);
	munmap(p + PAGE, PAGE);
	rm(id);
	rm(other);
}

static void at_protection(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0700);
	char *rw = attach(id, NULL, 0), *ro = attach(id, NULL, SHM_RDONLY), *x = attach(id, NULL, SHM_EXEC);

	rw[0] = 3;
	works(SHMAT_OK_RDONLY, ro[0] == 3 && crashed(proc_wait(proc_run(write_there, ro))));
	works(SHMAT_OK_RDONLY, !strncmp(perms_of(ro), "r--", 3));
	works(SHMAT_OK_RDONLY_MPROTECT, mprotect(ro, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	works(SHMAT_OK_EXEC, !strncmp(perms_of(x), "rwx", 3));
	works(SHMAT_OK_NO_EXEC, !strncmp(perms_of(rw), "rw-", 3));
	shmdt(rw);
	shmdt(ro);
	shmdt(x);
	rm(id);
}

static void removed_attached(void)
{
	key_t key = family_key(5);
	int id = shmget(key, PAGE, IPC_CREAT | 0600), mode;
	char *p = attach(id, NULL, 0), *q;
	struct shmid_ds ds;

	p[1] = 5;
	rm(id);
	ds = stat_of(id);
	works(SHMCTL_OK_RMID_ATTACHED, (ds.shm_perm.mode & SHM_DEST) && ds.shm_perm.__key == IPC_PRIVATE);
	works(SHMCTL_OK_RMID_ATTACHED, shmget(key, 0, 0600) == -1 && errno == ENOENT);
	works(SHMCTL_OK_RMID_MEMORY, p[1] == 5);
	q = attach(id, NULL, 0);
	works(SHMAT_OK_REMOVED, q[1] == 5 && stat_of(id).shm_nattch == 2);
	works(SHMCTL_OK_RMID_TWICE, shmctl(id, IPC_RMID, NULL) == 0);
	ds.shm_perm.mode = 0640;
	works(SHMCTL_OK_DEST_SET, shmctl(id, IPC_SET, &ds) == 0);
	mode = stat_of(id).shm_perm.mode;
	works(SHMCTL_OK_DEST_SET, mode == (0640 | SHM_DEST));
	shmdt(p);
	works(SHMDT_OK_DESTROYS, shmctl(id, IPC_STAT, &ds) == 0 && q[1] == 5);
	shmdt(q);
	works(SHMDT_OK_DESTROYS, shmctl(id, IPC_STAT, &ds) == -1 && errno == EINVAL);
}

static int lock_as_other(int id, rlim_t bytes)
{
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ bytes, bytes });
	drop_capability(CAP_IPC_LOCK);
	return outcome(shmctl(id, SHM_LOCK, NULL));
}

static int lock_rlimit_0(void *arg)
{
	return lock_as_other(*(int *)arg, 0);
}

static int lock_rlimit(void *arg)
{
	return lock_as_other(*(int *)arg, PAGE);
}

static void lock_cases(void)
{
	int id = new_segment(64 * PAGE, 0);
	struct shmid_ds ds = stat_of(id);

	works(SHMCTL_OK_UNLOCK_UNLOCKED, shmctl(id, SHM_UNLOCK, NULL) == 0);
	works(SHMCTL_OK_LOCK, shmctl(id, SHM_LOCK, NULL) == 0 && stat_of(id).shm_perm.mode == (0600 | SHM_LOCKED));
	works(SHMCTL_OK_LOCK_TWICE, shmctl(id, SHM_LOCK, NULL) == 0 && stat_of(id).shm_perm.mode == (0600 | SHM_LOCKED));
	works(SHMCTL_OK_LOCK_SET, shmctl(id, IPC_SET, &ds) == 0 && stat_of(id).shm_perm.mode == (0600 | SHM_LOCKED));
	works(SHMCTL_OK_UNLOCK, shmctl(id, SHM_UNLOCK, NULL) == 0 && stat_of(id).shm_perm.mode == 0600);
	works(SHMCTL_OK_LOCK_POINTER, shmctl(id, SHM_LOCK, bad_pointer(1)) == 0 &&
		shmctl(id, SHM_UNLOCK, bad_pointer(1)) == 0);
	ends(SHMCTL_EPERM_LOCK_RLIMIT_0, proc_wait(proc_run(lock_rlimit_0, &id)));
	ends(SHMCTL_ENOMEM_LOCK_RLIMIT, proc_wait(proc_run(lock_rlimit, &id)));
	is(stat_of(id).shm_perm.mode, 0600, "SHM_LOCK that failed sets no flag");
	fails(SHMCTL_EINVAL_COMMAND_FOREIGN, shmctl(id, SETVAL, &ds));
	rm(id);
}

static void info_cases(void)
{
	struct shm_info before, after;
	struct shminfo limits;
	int id;
	char *p;

	works(SHMCTL_OK_IPC_INFO, shmctl(0, IPC_INFO, (void *)&limits) >= 0 && limits.shmmin == 1 && limits.shmmni > 0 &&
		limits.shmseg == limits.shmmni && limits.shmmax > 0 && limits.shmall > 0);
	shmctl(0, SHM_INFO, (void *)&before);
	id = new_segment(3 * PAGE + 1, 0);
	p = attach(id, NULL, 0);
	p[0] = p[PAGE] = 1;
	shmctl(0, SHM_INFO, (void *)&after);
	works(SHMCTL_OK_SHM_INFO, after.shm_tot - before.shm_tot == 4);
	works(SHMCTL_OK_SHM_INFO, after.shm_rss - before.shm_rss == 2);
	works(SHMCTL_OK_SHM_INFO, after.used_ids - before.used_ids == 1 && after.swap_attempts == 0 &&
		after.swap_successes == 0);
	shmdt(p);
	rm(id);
}

static void index_cases(void)
{
	int id = new_segment(5001, 0), i = family_index(&family, id);
	char *p = attach(id, NULL, 0);
	struct shmid_ds by_id = stat_of(id), by_index, any;

	memset(&by_index, 0, sizeof by_index);
	memset(&any, 0, sizeof any);
	shmctl(i, SHM_STAT, &by_index);
	shmctl(i, SHM_STAT_ANY, &any);
	works(SHMCTL_OK_STAT_SIZE, by_id.shm_segsz == 5001 && by_id.shm_nattch == 1);
	works(SHMCTL_OK_STAT_SIZE, !memcmp(&by_id, &by_index, sizeof by_id) && !memcmp(&by_id, &any, sizeof by_id));
	shmdt(p);
	rm(id);
}

int main(void)
{
	alarm(120);
	find_free();
	family_cases(&family);
	get_sizes();
	get_new();
	get_too_large();
	huge_pages();
	at_ids();
	at_bad_addresses();
	at_limits();
	at_fields();
	dt_bad();
	at_addresses();
	at_remap();
	at_protection();
	removed_attached();
	lock_cases();
	info_cases();
	index_cases();
	return family_done(&family);
}
