/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that loads a library in the way that it is told (host PLUGIN now|lazy|global|plain), uses it, closes it,
 * and goes on. The last line has what came of each step.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define KEY 0x41a70500

int whose(void);

int whose(void)
{
	return 1;
}

static void *must(void *handle, const char *name)
{
	void *p = dlsym(handle, name);

	if (!p)
		printf("no %s: %s\n", name, dlerror());
	return p;
}

static int call_0(void *handle, const char *name)
{
	int (*f)(void);

	*(void **)&f = must(handle, name);
	return f ? f() : -9;
}

/* libc's own semop, by libc's handle. */
static int by_handle(int id)
{
	struct sembuf s = { 3, 1, 0 };
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	int (*f)(int, struct sembuf *, size_t);

	*(void **)&f = must(libc, "semop");
	return f ? f(id, &s, 1) : -9;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int flags; } ways[] = {
		{ "now", RTLD_NOW | RTLD_DEEPBIND }, { "lazy", RTLD_LAZY | RTLD_DEEPBIND },
		{ "global", RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND }, { "plain", RTLD_NOW },
	};
	int id = semget(KEY, 4, IPC_CREAT | 0600), flags = 0, (*add)(int, int), closed;
	char *text, *(*attach)(void);
	struct shmid_ds ds;
	void *plugin;

	for (size_t i = 0; argc == 3 && i < sizeof ways / sizeof *ways; i++)
		if (!strcmp(argv[2], ways[i].name))
			flags = ways[i].flags;
	plugin = flags ? dlopen(argv[1], flags) : NULL;
	if (!plugin) {
		fprintf(stderr, "usage: host PLUGIN now|lazy|global|plain (%s)\n", flags ? dlerror() : "");
		return 1;
	}
	*(void **)&add = must(plugin, "plugin_add");
	*(void **)&attach = must(plugin, "plugin_attach");
	printf("constructed=%d ", *(int *)must(plugin, "plugin_constructed"));
	printf("whose=%d ", call_0(plugin, "plugin_whose"));
	printf("add=%d ", add(2, 5));
	text = attach();
	strcpy(text, "from the plugin");
	closed = dlclose(plugin);
	shmctl(shmget(KEY, 0, 0), IPC_STAT, &ds);
	printf("closed=%d gone=%d ", closed, !dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD));
	printf("text=%d nattch=%d ", !strcmp(text, "from the plugin"), (int)ds.shm_nattch);
	printf("detach=%d handle=%d values=", shmdt(text), by_handle(id));
	for (int i = 0; i < 4; i++)
		printf("%d", semctl(id, i, GETVAL));
	printf("\n");
	fflush(stdout);
	return 0;
}
