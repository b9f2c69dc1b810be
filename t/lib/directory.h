/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The directory of a test's namespace: how many files are in it, its removal, and a name that only this test has, with
 * removal when the test ends and when SIGALRM ends one that hangs. A child that exits or hangs leaves it alone.
 */
#ifndef T_DIRECTORY_H
#define T_DIRECTORY_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Those whose names begin so. */
__attribute__((unused)) static int directory_files(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)))
		n += !strncmp(e->d_name, prefix, strlen(prefix));
	if (d)
		closedir(d);
	return n;
}

__attribute__((unused)) static void directory_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

static const char *directory_mine;
static pid_t directory_pid;

static void directory_at_end(void)
{
	if (getpid() == directory_pid)
		directory_remove(directory_mine);
}

static void directory_on_alarm(int sig)
{
	static const char text[] = "not ok - hangs\n";

	(void)sig;
	if (write(1, text, sizeof text - 1) < 0)
		_exit(254);
	directory_at_end();
	_exit(254);
}

/* Names it, in an array that stays, and does not make it. */
__attribute__((unused)) static void directory_begin(char dir[64], const char *test)
{
	directory_mine = dir;
	directory_pid = getpid();
	snprintf(dir, 64, "/dev/shm/ipc-%s-%d", test, (int)directory_pid);
	atexit(directory_at_end);
	signal(SIGALRM, directory_on_alarm);
}

#endif
