/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory that libipc-sysv.so's own code asks for, SQLite's with it: a heap apart from the program's, put in place
 * of malloc by the linker's --wrap. A signal handler of the program may have interrupted malloc, and its call must
 * not enter that again. Our own code is never interrupted here: it asks for memory in cold sections, and where a
 * namespace is opened, with every signal blocked.
 *
 * Blocks are powers of two, kept in one list for each size; what is larger is mapped by itself. What a function of
 * libc has allocated and we are to free is told by its header, and goes back to libc.
 */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "sysv.h"

#define SMALLEST 6 /* logarithms of sizes, the header included */
#define LARGEST 16
#define CHUNK (256u << 10)

#define MINE 0x6d69706364686561ul /* where libc's malloc has the size of a block */

struct block {
	size_t size; /* with the header */
	union { struct block *next; uint64_t mine; };
};

void *__real_realloc(void *p, size_t n);
void __real_free(void *p);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct block *unused[LARGEST + 1];
static char *chunk, *chunk_end;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
		sched_yield();
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&busy, memory_order_release);
}

static int class_of(size_t size)
{
	int log = SMALLEST;

	while (log <= LARGEST && (size_t)1 << log < size)
		log++;
	return log;
}

static void *map(size_t size)
{
	return file_map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static struct block *carve(size_t size)
{
	struct block *b;

	if ((size_t)(chunk_end - chunk) < size) {
		char *p = map(CHUNK);

		if (!p)
			return NULL;
		chunk = p;
		chunk_end = p + CHUNK;
	}
	b = (struct block *)chunk;
	chunk += size;
	b->size = size;
	return b;
}

static struct block *small(int log)
{
	struct block *b;

	lock();
	b = unused[log];
	if (b)
		unused[log] = b->next;
	else
		b = carve((size_t)1 << log);
	unlock();
	return b;
}

static struct block *large(size_t size)
{
	struct block *b;

	size = page_round(size);
	b = map(size);
	if (b)
		b->size = size;
	return b;
}

void *__wrap_malloc(size_t n)
{
	size_t size = n + sizeof(struct block);
	struct block *b = NULL;

	if (n < PTRDIFF_MAX - PAGE)
		b = class_of(size) > LARGEST ? large(size) : small(class_of(size));
	if (!b) {
		errno = ENOMEM;
		return NULL;
	}
	b->mine = MINE;
	return b + 1;
}

void *__wrap_calloc(size_t n, size_t size)
{
	size_t all;
	void *p;

	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	p = __wrap_malloc(all);
	return p ? memset(p, 0, all) : NULL;
}

void __wrap_free(void *p)
{
	struct block *b;
	int log;

	if (!p)
		return;
	b = (struct block *)p - 1;
	if (b->mine != MINE) {
		__real_free(p);
		return;
	}
	log = class_of(b->size);
	if (log > LARGEST) {
		munmap(b, b->size);
		return;
	}
	lock();
	b->next = unused[log];
	unused[log] = b;
	unlock();
}

void *__wrap_realloc(void *p, size_t n)
{
	struct block *b;
	size_t had;
	void *q;

	if (!p)
		return __wrap_malloc(n);
	b = (struct block *)p - 1;
	if (b->mine != MINE)
		return __real_realloc(p, n);
	had = b->size - sizeof(struct block);
	if (n <= had && n > had / 4)
		return p;
	q = __wrap_malloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, n < had ? n : had);
	__wrap_free(p);
	return q;
}
