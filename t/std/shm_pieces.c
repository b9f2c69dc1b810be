/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program does to a part of an attached segment by itself (munmap, mmap over it, mprotect, mremap), and what
 * shmdt finds after that: it takes every piece that lies where it would if the segment began at the address given.
 */
#include <setjmp.h>

#include "objects.h"

#define N 4

static sigjmp_buf touch_end;

static void touch_signal(int sig)
{
	siglongjmp(touch_end, sig);
}

/* 0, or the signal that a read of this byte ends in. */
static int read_at(volatile char *p)
{
	struct sigaction sa = { .sa_handler = touch_signal }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	sig = sigsetjmp(touch_end, 1);
	if (sig == 0)
		(void)*p;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* N characters: m for a page that is mapped, - for one that is not. */
static const char *mapped(char *p, int n)
{
	static char s[64];

	for (int i = 0; i < n; i++)
		s[i] = read_at(p + i * PAGE) ? '-' : 'm';
	s[n] = 0;
	return s;
}

static void looks(char *p, int n, const char *want, const char *name)
{
	const char *got = mapped(p, n);

	if (!ok(!strcmp(got, want), "%s", name))
		fprintf(stderr, "#   got %s, want %s\n", got, want);
}

static int id;

/* The segment, attached with room around it, each page with its number in it. */
static char *attach(void)
{
	char *p = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p, 16 * PAGE);
	p = shmat(id, p + 4 * PAGE, 0);
	if (p == (char *)-1)
		bail_out("shmat");
	for (int i = 0; i < N; i++)
		p[i * PAGE] = (char)('0' + i);
	return p;
}

static void detached(char *p, const char *name)
{
	call_fails(shmdt(p), EINVAL, "%s: shmdt finds nothing more there", name);
	is(shm_nattch(id), 0, "%s: nothing is counted any more", name);
}

static void test_munmap(void)
{
	char *p = attach();

	munmap(p + PAGE, PAGE);
	is(shm_nattch(id), 2, "munmap of a page in the middle leaves two mappings, and the kernel counts both");
	looks(p, N, "m-mm", "the others are there");
	ok(p[2 * PAGE] == '2' && p[0] == '0', "with their contents");
	call_fails(shmdt(p + PAGE), EINVAL, "shmdt of the hole: EINVAL");
	call_fails(shmdt(p + 2 * PAGE), EINVAL, "shmdt of the second mapping's own address: EINVAL");
	succeeds(shmdt(p), "shmdt of the segment's address");
	looks(p, N, "----", "takes both");
	detached(p, "munmap in the middle");

	p = attach();
	munmap(p, PAGE);
	is(shm_nattch(id), 1, "munmap of the first page leaves one mapping");
	call_fails(shmdt(p + PAGE), EINVAL, "shmdt of the first page that is left: EINVAL");
	looks(p, N, "-mmm", "which stays");
	succeeds(shmdt(p), "shmdt of where the segment began");
	looks(p, N, "----", "takes the rest");
	detached(p, "munmap of the first page");

	p = attach();
	munmap(p + 3 * PAGE, PAGE);
	succeeds(shmdt(p), "without its last page: shmdt");
	looks(p, N, "----", "takes the rest");
	detached(p, "munmap of the last page");

	p = attach();
	munmap(p, 2 * PAGE);
	munmap(p + 3 * PAGE, PAGE);
	is(shm_nattch(id), 1, "one page is left");
	munmap(p + 2 * PAGE, PAGE);
	detached(p, "munmap of all of it, in three calls");

	p = attach();
	munmap(p - PAGE, 2 * PAGE);
	looks(p, N, "-mmm", "munmap that begins before the segment");
	munmap(p + 3 * PAGE, 2 * PAGE);
	looks(p, N, "-mm-", "and one that ends behind it");
	succeeds(munmap(p + PAGE, PAGE + 1), "munmap with an odd length");
	detached(p, "munmap from both ends");

	p = attach();
	call_fails(munmap(p + 1, PAGE), EINVAL, "munmap of an odd address: EINVAL");
	looks(p, N, "mmmm", "which changes nothing");
	is(shm_nattch(id), 1, "nor what is counted");
	shmdt(p);
}

/* The middle is somebody else's: shmdt must leave it. */
static void test_mapped_over(void)
{
	char *p = attach(), *m;

	m = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ok(m == p + PAGE, "mmap over a page in the middle");
	m[0] = 'x';
	is(shm_nattch(id), 2, "leaves two mappings");
	succeeds(shmdt(p), "shmdt");
	looks(p, N, "-m--", "takes the segment's and leaves the other");
	ok(m[0] == 'x', "with its contents");
	munmap(m, PAGE);
	detached(p, "mmap over the middle");

	p = attach();
	munmap(p, N * PAGE);
	m = mmap(p, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	detached(p, "something else at the segment's address");
	looks(p, N, "mmmm", "and it stays");
	munmap(m, N * PAGE);

	p = attach();
	m = shmat(id, p + PAGE, SHM_REMAP);
	ok(m == p + PAGE, "SHM_REMAP of the segment over its own second page and what follows");
	is(shm_nattch(id), 2, "leaves one page, and a whole attachment");
	ok(p[0] == '0' && p[PAGE] == '0' && p[4 * PAGE] == '3', "each with its contents");
	succeeds(shmdt(p), "shmdt of the first");
	looks(p, N + 1, "-mmmm", "takes its one page");
	succeeds(shmdt(m), "shmdt of the second");
	looks(p, N + 1, "-----", "takes the rest");
	detached(p, "SHM_REMAP over a part");
}

static void test_mprotect(void)
{
	char *p = attach();

	succeeds(mprotect(p, N * PAGE, PROT_READ), "mprotect of the whole");
	is(shm_nattch(id), 1, "is one mapping still");
	succeeds(mprotect(p + PAGE, PAGE, PROT_NONE), "mprotect of a page in the middle");
	is(shm_nattch(id), 3, "makes three");
	looks(p, N, "m-mm", "which can be read but for that one");
	succeeds(shmdt(p), "shmdt");
	looks(p, N, "----", "takes all three");
	detached(p, "mprotect");

	p = attach();
	mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ);
	is(shm_nattch(id), 2, "mprotect of the second half makes two");
	mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ);
	is(shm_nattch(id), 2, "the same once more changes nothing");
	munmap(p, 3 * PAGE);
	is(shm_nattch(id), 1, "munmap over both leaves a page");
	succeeds(shmdt(p), "shmdt finds that one");
	detached(p, "mprotect and munmap");
}

static void test_mremap_move(void)
{
	char *p = attach(), *to = p + 6 * PAGE, *q;

	q = mremap(p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ok(q == to, "mremap moves an attachment");
	is(shm_nattch(id), 1, "it counts once");
	ok(q[0] == '0' && q[3 * PAGE] == '3', "its contents are at the new address");
	call_fails(shmdt(p), EINVAL, "shmdt of the old address: EINVAL");
	succeeds(shmdt(q), "shmdt of the new one");
	looks(q, N, "----", "takes it");
	detached(q, "mremap");

	p = attach();
	to = p + 6 * PAGE;
	q = mremap(p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ok(q == to && q[0] == '1', "mremap moves one page out of the middle");
	is(shm_nattch(id), 3, "which makes three mappings");
	call_fails(shmdt(q), EINVAL, "shmdt of that page's address: EINVAL, it is not the segment's first");
	succeeds(shmdt(p), "shmdt of the segment's address");
	looks(p, N, "----", "takes what is left there");
	looks(q, 1, "m", "but not the page that moved");
	is(shm_nattch(id), 1, "which counts");
	succeeds(shmdt(q - PAGE), "shmdt of where the segment would begin for that page");
	looks(q, 1, "-", "takes it");
	detached(p, "mremap of a page");

	p = attach();
	to = mmap(p + 6 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	q = mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 3 * PAGE);
	ok(q == p + 3 * PAGE, "mremap of something else onto the last page");
	succeeds(shmdt(p), "shmdt");
	looks(p, N, "---m", "leaves that");
	munmap(q, PAGE);
	detached(p, "mremap onto a part");
}

static void test_mremap_size(void)
{
	char *p = attach(), *q;

	q = mremap(p, N * PAGE, 2 * PAGE, 0);
	ok(q == p, "mremap shrinks an attachment");
	looks(p, N, "mm--", "to two pages");
	is(shm_nattch(id), 1, "it counts once");
	succeeds(shmdt(p), "shmdt");
	detached(p, "mremap to a smaller size");

	p = attach();
	q = mremap(p, 2 * PAGE, PAGE, 0);
	ok(q == p, "mremap shrinks the first half");
	looks(p, N, "m-mm", "which leaves a hole");
	succeeds(shmdt(p), "shmdt");
	looks(p, N, "----", "takes both sides of it");
	detached(p, "mremap of a part to a smaller size");

	p = attach();
	q = mremap(p, N * PAGE, (N + 2) * PAGE, 0);
	ok(q == p, "mremap makes an attachment longer than the segment");
	is(read_at(p + N * PAGE), SIGBUS, "a touch behind the segment is SIGBUS");
	is(shm_nattch(id), 1, "it counts once");
	succeeds(shmdt(p), "shmdt");
	is(read_at(p + N * PAGE), SIGSEGV, "takes also what was added");
	detached(p, "mremap to a larger size");

	p = attach();
	q = mremap(p, 0, N * PAGE, MREMAP_MAYMOVE);
	ok(q != MAP_FAILED && q != p && q[PAGE] == '1', "mremap of length 0 makes a second mapping");
	is(shm_nattch(id), 2, "which counts");
	succeeds(shmdt(p), "shmdt of the first");
	ok(q[PAGE] == '1', "leaves the second");
	succeeds(shmdt(q), "shmdt of the second");
	detached(q, "mremap of length 0");

	p = attach();
	q = mmap(p + N * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	call_fails((intptr_t)mremap(p, N * PAGE, (N + 1) * PAGE, 0), ENOMEM,
		   "mremap to a larger size, where there is no room");
	looks(p, N, "mmmm", "changes nothing");
	is(shm_nattch(id), 1, "nor what is counted");
	shmdt(p);
	munmap(q, PAGE);
}

static void test_removed(void)
{
	struct shmid_ds ds;
	char *p, *q;

	p = attach();
	obj_remove(SHM, id);
	munmap(p, 2 * PAGE);
	is(shm_nattch(id), 1, "a removed segment lives in its last half");
	q = mremap(p + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 6 * PAGE);
	ok(q[0] == '2' && q[PAGE] == '3', "which can be moved");
	is(shm_nattch(id), 1, "and lives there");
	munmap(q, PAGE);
	is(shm_nattch(id), 1, "and in its last page");
	munmap(q + PAGE, PAGE);
	call_fails(shmctl(id, IPC_STAT, &ds), EINVAL, "without it, it is gone");
}

static int child_run(void *arg)
{
	char *p = arg;

	if (shm_nattch(id) != 4)
		return 1;
	if (strcmp(mapped(p, N), "m-mm"))
		return 2;
	if (shmdt(p))
		return 3;
	return strcmp(mapped(p, N), "----") ? 4 : 0;
}

static void test_fork(void)
{
	char *p = attach();

	munmap(p + PAGE, PAGE);
	is(proc_wait(proc_run(child_run, p)), 0, "a forked child has the pieces, counted, and shmdt takes them");
	is(shm_nattch(id), 2, "the parent's stay");
	succeeds(shmdt(p), "and its shmdt takes them");
	detached(p, "fork");
}

int main(void)
{
	id = shm_new(N * PAGE);
	alarm(60);
	test_munmap();
	test_mapped_over();
	test_mprotect();
	test_mremap_move();
	test_mremap_size();
	test_fork();
	test_removed();
	return done_testing();
}
