/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloading decides what a name means where names are looked up in the program's order. Libraries loaded with
 * RTLD_DEEPBIND look in themselves and their own libraries first, and some programs ask libc's handle by dlsym: both
 * find libc's functions behind our back. So libc's table of symbols, as this process has it in memory, is made to say
 * that the twelve names are at our addresses.
 *
 * Why not otherwise: dlopen could drop RTLD_DEEPBIND, but the library may need its own copies of other names, which
 * is what the flag is for. Changing a library's entries after dlopen comes too late for its constructors, and a
 * function of ours around dlopen would be the caller whose RUNPATH and $ORIGIN count. Only the twelve are changed:
 * nothing of ours calls on to libc's, so no circle can arise with other libraries that do. A library in a link map of
 * its own (dlmopen) has a libc of its own, and is not reached.
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "raw.h"
#include "sysv.h"

struct table {
	uintptr_t base;
	Elf64_Sym *symbols;
	const char *strings;
	const uint32_t *hash; /* DT_GNU_HASH: buckets, symoffset, bloom words, shift, bloom, buckets, chains */
};

/* The dynamic linker has made these into addresses where it could write them. */
static uintptr_t address(const struct link_map *m, Elf64_Addr p)
{
	return p < m->l_addr ? m->l_addr + p : p;
}

static bool read_table(const struct link_map *m, struct table *t)
{
	*t = (struct table){ .base = m->l_addr };
	for (const Elf64_Dyn *d = m->l_ld; d->d_tag != DT_NULL; d++) {
		uintptr_t p = address(m, d->d_un.d_ptr);

		if (d->d_tag == DT_SYMTAB)
			t->symbols = (Elf64_Sym *)p;
		else if (d->d_tag == DT_STRTAB)
			t->strings = (const char *)p;
		else if (d->d_tag == DT_GNU_HASH)
			t->hash = (const uint32_t *)p;
	}
	return t->symbols && t->strings && t->hash;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

static void write_value(Elf64_Sym *s, uintptr_t value)
{
	uintptr_t page = (uintptr_t)&s->st_value & ~(uintptr_t)(PAGE - 1);
	size_t length = (uintptr_t)&s->st_value + sizeof s->st_value - page;

	if (raw_call(SYS_mprotect, (long)page, (long)length, PROT_READ | PROT_WRITE, 0, 0, 0))
		return; /* not allowed here: such libraries are not reached */
	__atomic_store_n(&s->st_value, value, __ATOMIC_RELEASE);
	raw_call(SYS_mprotect, (long)page, (long)length, PROT_READ, 0, 0, 0);
}

/* Every version of the name. */
static void take(const struct table *t, const char *name, uintptr_t f)
{
	uint32_t buckets = t->hash[0], first = t->hash[1], bloom = t->hash[2], hash = gnu_hash(name);
	const uint32_t *bucket = t->hash + 4 + bloom * 2, *chain = bucket + buckets;
	uint32_t i = bucket[hash % buckets];

	for (; i >= first; i++) {
		Elf64_Sym *s = &t->symbols[i];

		if ((chain[i - first] | 1) == (hash | 1) && s->st_shndx != SHN_UNDEF &&
		    !strcmp(t->strings + s->st_name, name))
			write_value(s, f - t->base);
		if (chain[i - first] & 1)
			break;
	}
}

void sysv_take_names(void)
{
	static const struct { const char *name; void *f; } ours[] = {
		{ "shmget", shmget }, { "shmat", shmat }, { "shmdt", shmdt }, { "shmctl", shmctl },
		{ "semget", semget }, { "semop", semop }, { "semtimedop", semtimedop }, { "semctl", semctl },
		{ "msgget", msgget }, { "msgsnd", msgsnd }, { "msgrcv", msgrcv }, { "msgctl", msgctl },
	};
	struct link_map *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	struct table t;

	if (!libc)
		return;
	if (read_table(libc, &t))
		for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
			take(&t, ours[i].name, (uintptr_t)ours[i].f);
	dlclose(libc);
}
