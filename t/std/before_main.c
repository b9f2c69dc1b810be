/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls before main and after it: in the program's preinit function, in constructors, in handlers of atexit, on_exit
 * and quick_exit, in destructors. Each adds to a semaphore of its own in a set that exists when this program starts
 * itself.
 */
#include <sys/sem.h>

#include "objects.h"

#define KEY 0x41a70400

enum { PREINIT, EARLY, LATE, MAIN, ATEXIT, ON_EXIT, DESTRUCTOR, FINI, QUICK, UNDONE, NSEMS };

static void mark(int num)
{
	int id = semget(KEY, 0, 0), saved = errno;

	if (id != -1 && !sem_do(id, num, 1, 0))
		sem_do(id, UNDONE, 1, SEM_UNDO);
	errno = saved;
}

static void preinit(void)
{
	mark(PREINIT);
}

static void fini(void)
{
	mark(FINI);
}

__attribute__((section(".preinit_array"), used)) static void (*preinits[])(void) = { preinit };
__attribute__((section(".fini_array"), used)) static void (*finis[])(void) = { fini };

__attribute__((constructor(101))) static void early(void)
{
	mark(EARLY);
}

__attribute__((constructor)) static void late(void)
{
	mark(LATE);
}

__attribute__((destructor(101))) static void destroy(void)
{
	mark(DESTRUCTOR);
}

static void at_exit(void)
{
	mark(ATEXIT);
}

static void on_exit_handler(int status, void *arg)
{
	(void)status;
	(void)arg;
	mark(ON_EXIT);
}

static void quick(void)
{
	mark(QUICK);
}

static int started(char **argv)
{
	if (semget(KEY, 0, 0) == -1)
		return 50;
	mark(MAIN);
	atexit(at_exit);
	on_exit(on_exit_handler, NULL);
	at_quick_exit(quick);
	if (!strcmp(argv[1], "quick"))
		quick_exit(3);
	return 3;
}

static int start_run(void *arg)
{
	char **argv = arg;

	execv(argv[0], argv);
	return 99;
}

static void test(char *self, const char *how, const int *want)
{
	static const char *const where[NSEMS] = {
		"the preinit function", "a constructor of the first rank", "a constructor", "main", "a handler of atexit",
		"a handler of on_exit", "a destructor of the last rank", "the fini function", "a handler of at_quick_exit",
		"undo of all of these, after the end",
	};
	char *argv[] = { self, (char *)how, NULL };
	int id = obj_keep(SEM, semget(KEY, NSEMS, IPC_CREAT | IPC_EXCL | 0600));

	is(proc_wait(proc_run(start_run, argv)), 3, "%s: the program runs", how);
	for (int i = 0; i < NSEMS; i++)
		is(sem_value(id, i), want[i], "%s: %s", how, where[i]);
	obj_remove(SEM, id);
}

int main(int argc, char **argv)
{
	static const int with_exit[NSEMS] = { 1, 1, 1, 1, 1, 1, 1, 1, 0, 0 };
	static const int with_quick_exit[NSEMS] = { 1, 1, 1, 1, 0, 0, 0, 0, 1, 0 };

	if (argc > 1)
		return started(argv);
	alarm(60);
	test(argv[0], "exit", with_exit);
	test(argv[0], "quick", with_quick_exit);
	return done_testing();
}
