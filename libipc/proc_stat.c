/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads /proc/PID/stat, without memory of its own: also where a process is being forked. See proc_stat.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc_stat.h"

/* The name, in parentheses, may contain anything; after it each field is one word, the first one the state. */
static int parse(const char *text, struct proc_stat *st)
{
	const char *p = strrchr(text, ')');

	if (!p || p[1] != ' ' || !p[2])
		return -EPROTO;
	p += 2;
	st->state = *p;
	for (int i = PROC_PARENT; i < PROC_FIELDS && (p = strchr(p, ' ')); i++)
		st->field[i] = strtoull(++p, NULL, 10);
	return 0;
}

int proc_stat(pid_t pid, struct proc_stat *st)
{
	char path[40], text[1024];
	ssize_t n;
	int fd;

	memset(st, 0, sizeof *st);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	return parse(text, st);
}

uint64_t process_start(pid_t pid, bool *gone)
{
	struct proc_stat st;
	int e;

	*gone = pid <= 0; /* no process has such a number, and kill() would mean others by it */
	if (*gone)
		return 0;
	e = proc_stat(pid, &st);
	if (e) {
		*gone = e == -ESRCH || (e != -EPROTO && kill(pid, 0) && errno == ESRCH);
		return 0;
	}
	*gone = (st.state == 'Z' || st.state == 'X') && st.field[PROC_THREADS] <= 1;
	return st.field[PROC_START];
}
