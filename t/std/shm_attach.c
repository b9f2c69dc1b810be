/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shmat and shmdt: where a segment lands, what may be done with the memory, and what a touch after shmdt does.
 * What must end in a signal is tried here, not in a child, in which fork may have put something at the address.
 */
#include <setjmp.h>

#include "objects.h"

static sigjmp_buf touch_end;

static void touch_signal(int sig)
{
	siglongjmp(touch_end, sig);
}

/* 0, or 1000 + the signal that a read or write of this byte ends in. */
static int touch(volatile char *p, bool write)
{
	struct sigaction sa = { .sa_handler = touch_signal }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	sig = sigsetjmp(touch_end, 1);
	if (sig == 0) {
		if (write)
			*p = 'x';
		else
			(void)*p;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig ? 1000 + sig : 0;
}

/* n free pages in a row, at a multiple of SHMLBA. */
static char *hole(int n)
{
	char *p = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bail_out("mmap");
	munmap(p, n * PAGE);
	return p;
}

static void test_address(int id)
{
	char *p = hole(6), *q;

	ok(shmat(id, p + PAGE, 0) == p + PAGE, "shmat lands on the address asked for");
	p[PAGE] = 'a';
	p[3 * PAGE - 1] = 'z';
	is(touch(p + 3 * PAGE, false), 1000 + SIGSEGV, "and ends with its last page");
	call_fails((intptr_t)shmat(id, p, 0), EINVAL, "an address whose end is taken: EINVAL");
	call_fails((intptr_t)shmat(id, p + 2 * PAGE, 0), EINVAL, "an address that is taken: EINVAL");
	call_fails((intptr_t)shmat(id, p + PAGE, 0), EINVAL, "the address where it is attached already: EINVAL");
	is(shm_nattch(id), 1, "failed attaches are not counted");
	succeeds(shmdt(p + PAGE), "shmdt");

	call_fails((intptr_t)shmat(id, p + 1, 0), EINVAL, "an odd address without SHM_RND: EINVAL");
	q = shmat(id, p + PAGE + 5, SHM_RND);
	ok(q == p + PAGE, "SHM_RND rounds an address down to a page");
	ok(q[0] == 'a' && q[2 * PAGE - 1] == 'z', "the contents outlive a detach");
	shmdt(q);
	q = shmat(id, p + 2 * PAGE - 1, SHM_RND);
	ok(q == p + PAGE, "SHM_RND rounds down from a page's last byte too");
	shmdt(q);
	q = shmat(id, p, SHM_RND);
	ok(q == p, "SHM_RND leaves a rounded address alone");
	shmdt(q);
	call_fails((intptr_t)shmat(id, (void *)(uintptr_t)0xfffffffffffff000, 0), EINVAL,
		   "an address at the very top: EINVAL");
}

static void test_remap(int id)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;

	memset(p, 'm', 4 * PAGE);
	call_fails((intptr_t)shmat(id, NULL, SHM_REMAP), EINVAL, "SHM_REMAP without an address: EINVAL");
	call_fails((intptr_t)shmat(id, (void *)1, SHM_REMAP | SHM_RND), EINVAL,
		   "SHM_REMAP with an address rounded to 0: EINVAL");
	call_fails((intptr_t)shmat(id, p + PAGE, 0), EINVAL, "a mapping is in the way: EINVAL");
	ok(p[PAGE] == 'm', "and the mapping in the way is untouched");
	ok(shmat(id, p + PAGE, SHM_REMAP) == p + PAGE, "SHM_REMAP replaces it");
	ok(p[0] == 'm' && p[3 * PAGE] == 'm', "the pages around it stay");
	ok(p[PAGE] == 'a' && p[3 * PAGE - 1] == 'z', "the segment is there");
	succeeds(shmdt(p + PAGE), "shmdt of it");
	is(touch(p + PAGE, false), 1000 + SIGSEGV, "afterwards nothing is there");
	ok(p[0] == 'm' && p[3 * PAGE] == 'm', "and still the pages around it stay");
	munmap(p, 4 * PAGE);

	p = shm_map(id, 0);
	q = shmat(id, p, SHM_REMAP | SHM_RDONLY);
	ok(q == p, "SHM_REMAP over the segment's own attachment");
	is(shm_nattch(id), 1, "the one that was replaced is not counted any more");
	is(touch(p, true), 1000 + SIGSEGV, "the new one is read-only, as asked for");
	shmdt(p);
	is(shm_nattch(id), 0, "one shmdt is enough for it");
}

static void test_readonly(int id)
{
	char *w = shm_map(id, 0), *r = shm_map(id, SHM_RDONLY);

	ok(w != r, "one process attaches a segment twice, at two addresses");
	is(shm_nattch(id), 2, "and counts twice");
	strcpy(w, "written here");
	ok(!strcmp(r, "written here"), "both show the same memory");
	is(touch(r, false), 0, "SHM_RDONLY: reading works");
	is(touch(r, true), 1000 + SIGSEGV, "SHM_RDONLY: writing is SIGSEGV");
	call_fails(mprotect(r, 2 * PAGE, PROT_READ | PROT_WRITE), EACCES, "SHM_RDONLY: mprotect to writable: EACCES");
	is(touch(r, true), 1000 + SIGSEGV, "it stays read-only");
	succeeds(mprotect(w, 2 * PAGE, PROT_READ), "a writable attachment can be made read-only");
	is(touch(w, true), 1000 + SIGSEGV, "then writing is SIGSEGV");
	succeeds(mprotect(w, 2 * PAGE, PROT_READ | PROT_WRITE), "and writable again");
	is(touch(w, true), 0, "then writing works");
	shmdt(w);
	ok(!strncmp(r + 1, "ritten here", 11), "detaching one leaves the other");
	is(shm_nattch(id), 1, "and counts once");
	shmdt(r);
}

static void test_exec(void)
{
#ifdef __x86_64__
	static const unsigned char code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* return 42 */
	int id = obj_keep(SHM, shmget(IPC_PRIVATE, PAGE, 0700));
	char *w = shm_map(id, 0), *x = shmat(id, NULL, SHM_EXEC | SHM_RDONLY);
	union { char *p; int (*call)(void); } u = { .p = x };

	memcpy(w, code, sizeof code);
	ok(x != (char *)-1, "SHM_EXEC attaches");
	is(x == (char *)-1 ? -1 : u.call(), 42, "SHM_EXEC: the memory can be run");
	if (x != (char *)-1) {
		is(touch(x, true), 1000 + SIGSEGV, "SHM_EXEC with SHM_RDONLY is not writable");
		shmdt(x);
	}
	x = shmat(id, NULL, SHM_EXEC);
	ok(x != (char *)-1 && touch(x, true) == 0, "SHM_EXEC alone is writable too");
	shmdt(x);
	shmdt(w);
#else
	skip("SHM_EXEC", "has code for x86-64 only");
#endif
}

static void test_detach(int id)
{
	char *p = shm_map(id, 0), *m;

	call_fails(shmdt(p + PAGE), EINVAL, "shmdt in the middle: EINVAL");
	call_fails(shmdt(p + 1), EINVAL, "shmdt of an odd address: EINVAL");
	is(touch(p, true), 0, "after these it is still there");
	is(shm_nattch(id), 1, "and counted");
	succeeds(shmdt(p), "shmdt");
	is(touch(p, false), 1000 + SIGSEGV, "after shmdt a read is SIGSEGV");
	is(touch(p, true), 1000 + SIGSEGV, "after shmdt a write is SIGSEGV");
	is(touch(p + 2 * PAGE - 1, false), 1000 + SIGSEGV, "after shmdt the last byte is gone too");
	is(shm_nattch(id), 0, "and not counted");
	call_fails(shmdt(p), EINVAL, "shmdt twice: EINVAL");
	call_fails(shmdt(NULL), EINVAL, "shmdt of NULL: EINVAL");

	m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	call_fails(shmdt(m), EINVAL, "shmdt of other memory: EINVAL");
	is(touch(m, true), 0, "which is still there");
	munmap(m, PAGE);
}

/* Programs unmap a segment, or map over it, without shmdt. */
static void test_unmapped(int id)
{
	char *p = shm_map(id, 0), *m;

	munmap(p, 2 * PAGE);
	is(shm_nattch(id), 0, "munmap of a whole attachment detaches it");
	call_fails(shmdt(p), EINVAL, "and shmdt finds nothing there");

	p = shm_map(id, 0);
	m = mmap(p, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ok(m == p, "mmap over an attachment");
	is(shm_nattch(id), 0, "mmap over a whole attachment detaches it");
	call_fails(shmdt(p), EINVAL, "shmdt does not take the new mapping for the segment");
	is(touch(m, true), 0, "the new mapping is untouched");
	munmap(m, 2 * PAGE);
}

static void test_size(void)
{
	int id = shm_new(1), big, i, bad = 0;
	char *p = shm_map(id, 0);

	is(shm_stat(id).shm_segsz, 1, "a segment of one byte has size 1");
	memset(p, 'p', PAGE);
	ok(p[PAGE - 1] == 'p', "all of its page can be used");
	shmdt(p);
	p = shm_map(id, 0);
	ok(p[PAGE - 1] == 'p', "and is kept");
	shmdt(p);

	big = shm_new(64 << 20);
	p = shm_map(big, 0);
	for (i = 0; i < 64; i++)
		bad += p[i << 20] != 0 || p[(i << 20) + 12345] != 0;
	is(bad, 0, "a new segment of 64 MiB is all zero");
	p[(64 << 20) - 1] = 1;
	ok(p[(64 << 20) - 1] == 1, "up to its last byte");
	shmdt(p);
	obj_remove(SHM, big);
}

static void test_many(int id)
{
	char *p[300];
	int bad = 0;

	for (int i = 0; i < 300; i++)
		p[i] = shm_map(id, i % 2 ? SHM_RDONLY : 0);
	is(shm_nattch(id), 300, "300 attachments of one segment in one process");
	p[0][100] = 'k';
	for (int i = 0; i < 300; i++)
		bad += p[i][100] != 'k';
	is(bad, 0, "all show the same memory");
	for (int i = 0; i < 300; i++)
		bad += shmdt(p[(i * 7) % 300]) != 0;
	is(bad, 0, "detached in another order");
	is(shm_nattch(id), 0, "and all counted down");
}

static long locked(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[200];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof line, f))
		sscanf(line, "VmLck: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}

static bool cannot_map_a_page(void)
{
	return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

/* As the program wants all its memory from now on, whatever was attached before. */
static void test_locked(void)
{
	int id = shm_new(64 * PAGE);
	long before;
	char *p;

	for (int i = 0; i < 3; i++)
		shmdt(shm_map(id, 0));
	before = locked();
	if (mlockall(MCL_FUTURE) || cannot_map_a_page() || locked() == before) { /* AddressSanitizer's does nothing */
		skip("mlockall", "no memory may be locked");
		munlockall();
	} else {
		before = locked();
		p = shm_map(id, 0);
		is(locked() - before, 64 * PAGE / 1024, "mlockall(MCL_FUTURE): what is attached is locked");
		shmdt(p);
		munlockall();
		before = locked();
		p = shm_map(id, 0);
		is(locked() - before, 0, "munlockall: it is not");
		shmdt(p);
	}
	obj_remove(SHM, id);
}

int main(void)
{
	int id = shm_new(2 * PAGE);

	alarm(60);
	test_address(id);
	test_remap(id);
	test_readonly(id);
	test_exec();
	test_detach(id);
	test_unmapped(id);
	test_size();
	test_many(id);
	test_locked();
	return done_testing();
}
