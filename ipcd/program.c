/* SPDX-License-Identifier: BSD-2-Clause */
/* Finding a program as execvp does, and reading of its file what decides about preloading. See program.h. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "program.h"

#define SCRIPTS_DEEP 4 /* as many #! as the kernel follows */
#define PROGRAM_HEADERS 128

#if __SIZEOF_POINTER__ == 8
typedef Elf64_Ehdr elf_head;
typedef Elf64_Phdr elf_part;
#define OUR_CLASS ELFCLASS64
#else
typedef Elf32_Ehdr elf_head;
typedef Elf32_Phdr elf_part;
#define OUR_CLASS ELFCLASS32
#endif

static int runnable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, X_OK) ? -errno : 0;
}

int program_find(const char *name, char *path, size_t size)
{
	const char *p = getenv("PATH"), *end;
	int e, worst = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/')) {
		if (snprintf(path, size, "%s", name) >= (int)size)
			return -ENAMETOOLONG;
		e = runnable(path);
		return e == -ENOTDIR ? -ENOENT : e;
	}
	for (p = p ? p : "/bin:/usr/bin"; p; p = *end ? end + 1 : NULL) {
		end = p + strcspn(p, ":");
		if (snprintf(path, size, "%.*s%s%s", (int)(end - p), p, end > p ? "/" : "", name) >= (int)size)
			continue;
		e = runnable(path);
		if (!e)
			return 0;
		if (e == -EACCES)
			worst = e;
	}
	return worst;
}

/* Does the kernel give the program other ids or capabilities than ours? */
static bool is_privileged(const char *path, char *why, size_t size)
{
	struct statvfs fs;
	struct stat st;
	const char *what = NULL;

	if (stat(path, &st) || statvfs(path, &fs) || fs.f_flag & ST_NOSUID || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) > 0)
		return false;
	if (st.st_mode & S_ISUID && st.st_uid != getuid())
		what = "setuid";
	else if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != getgid())
		what = "setgid";
	else if (getuid() && getxattr(path, "security.capability", NULL, 0) > 0)
		what = "given capabilities by its file";
	if (what)
		snprintf(why, size, "%s is %s: the system preloads nothing into it, it uses the machine's System V IPC",
			 path, what);
	return what;
}

/* The dynamic linker that the program names; "" if it names none. */
static void dynamic_linker(int fd, const elf_head *h, char *out, size_t size)
{
	*out = 0;
	for (int i = 0; i < h->e_phnum && i < PROGRAM_HEADERS; i++) {
		elf_part p;
		ssize_t n;

		if (pread(fd, &p, sizeof p, (off_t)(h->e_phoff + (size_t)i * h->e_phentsize)) != sizeof p)
			return;
		if (p.p_type != PT_INTERP)
			continue;
		n = pread(fd, out, p.p_filesz < size ? p.p_filesz : size - 1, (off_t)p.p_offset);
		out[n > 0 && (size_t)n < size ? n : 0] = 0;
		return;
	}
}

static bool is_dynamic_linker(const char *path)
{
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	return !strncmp(base, "ld-", 3) || !strncmp(base, "ld.so", 5);
}

static bool elf_unreachable(int fd, const char *path, const char *head, char *why, size_t size)
{
	char linker[256];
	elf_head h;

	if (head[EI_CLASS] != OUR_CLASS) {
		snprintf(why, size, "%s is a %d-bit program: the library cannot be preloaded into it", path,
			 head[EI_CLASS] == ELFCLASS32 ? 32 : 64);
		return true;
	}
	if (pread(fd, &h, sizeof h, 0) != sizeof h)
		return false;
	dynamic_linker(fd, &h, linker, sizeof linker);
	if (!*linker && is_dynamic_linker(path))
		return false;
	if (!*linker)
		snprintf(why, size,
			 "%s is statically linked: nothing can be preloaded into it, it uses the machine's System V IPC", path);
	else if (strstr(linker, "/ld-musl-"))
		snprintf(why, size, "%s is linked with musl, and the library that is preloaded with glibc: it may not start",
			 path);
	else
		return false;
	return true;
}

/* The interpreter of a script, in place of its path. */
static bool interpreter(const char *head, char *path)
{
	const char *p = head + 2 + strspn(head + 2, " \t");
	size_t n = strcspn(p, " \t\n");

	if (strncmp(head, "#!", 2) || !n)
		return false;
	snprintf(path, PATH_MAX, "%.*s", (int)n, p);
	return true;
}

bool program_unreachable(const char *path, char *why, size_t size)
{
	char at[PATH_MAX], head[256];
	bool result = false;

	snprintf(at, sizeof at, "%s", path);
	for (int deep = 0; deep <= SCRIPTS_DEEP; deep++) {
		int fd = open(at, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head - 1);

		head[n > 0 ? n : 0] = 0;
		if (n > SELFMAG && !memcmp(head, ELFMAG, SELFMAG))
			result = elf_unreachable(fd, at, head, why, size);
		if (fd >= 0)
			close(fd);
		if (result || !interpreter(head, at))
			break;
	}
	return result || is_privileged(at, why, size);
}
