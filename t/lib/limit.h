/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The limits of the namespace that a test runs in: set_limit("shmmni", 5). In a namespace of ours (IPCD_NAMESPACE is
 * set) ipcctl sets them (the program that IPCCTL names), or has the daemon do so; otherwise /proc/sys/kernel, and only in
 * an ipc namespace that is not the machine's own. limit_value() reads them through the calls; limits_restore() puts the
 * first values back.
 */
#ifndef T_LIMIT_H
#define T_LIMIT_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

/* The inode of the ipc namespace that the machine starts with. */
#define LIMIT_FIRST_NAMESPACE "ipc:[4026531839]"

static const char *const limit_names[] = {
	"shmmax", "shmall", "shmmni", "semmsl", "semmns", "semopm", "semmni", "msgmax", "msgmnb", "msgmni",
};

#define LIMITS 10

static unsigned long limit_value(const char *name)
{
	struct shminfo shm;
	struct seminfo sem;
	struct msginfo msg;

	if (shmctl(0, IPC_INFO, (void *)&shm) < 0 || semctl(0, 0, IPC_INFO, &sem) < 0 ||
			msgctl(0, IPC_INFO, (void *)&msg) < 0)
		return 0;
	unsigned long value[LIMITS] = {
		shm.shmmax, shm.shmall, shm.shmmni, sem.semmsl, sem.semmns, sem.semopm, sem.semmni,
		msg.msgmax, msg.msgmnb, msg.msgmni,
	};
	for (int i = 0; i < LIMITS; i++)
		if (!strcmp(name, limit_names[i]))
			return value[i];
	return 0;
}

static int limit_write(const char *file, const char *text)
{
	char path[64];
	int fd, good;

	snprintf(path, sizeof path, "/proc/sys/kernel/%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good ? 0 : -1;
}

static int limit_by_proc(const char *name, unsigned long value)
{
	static const char *const in_sem[] = { "semmsl", "semmns", "semopm", "semmni" };
	unsigned long sem[4];
	char text[128];
	int is_sem = 0;

	for (int i = 0; i < 4; i++) {
		int this = !strcmp(name, in_sem[i]);

		sem[i] = this ? value : limit_value(in_sem[i]);
		is_sem |= this;
	}
	if (is_sem)
		snprintf(text, sizeof text, "%lu %lu %lu %lu", sem[0], sem[1], sem[2], sem[3]);
	else
		snprintf(text, sizeof text, "%lu", value);
	return limit_write(is_sem ? "sem" : name, text);
}

static int limit_by_ipcctl(const char *name, unsigned long value)
{
	const char *tool = getenv("IPCCTL") ? getenv("IPCCTL") : "ipcctl";
	char text[64];
	int status;
	pid_t pid;

	snprintf(text, sizeof text, "%s=%lu", name, value);
	pid = fork();
	if (pid == 0) {
		dup2(2, 1);
		execlp(tool, tool, "limits", text, NULL);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

/* 0, or -1 when the limit could not be set. */
static int set_limit(const char *name, unsigned long value)
{
	return getenv("IPCD_NAMESPACE") ? limit_by_ipcctl(name, value) : limit_by_proc(name, value);
}

/* NULL, or why limits cannot be set here. */
__attribute__((unused)) static const char *limits_fixed(void)
{
	char ns[64] = "";

	if (getenv("IPCD_NAMESPACE"))
		return NULL;
	if (readlink("/proc/self/ns/ipc", ns, sizeof ns - 1) < 0 || !strcmp(ns, LIMIT_FIRST_NAMESPACE))
		return "the limits of the machine's own namespace are left alone";
	if (access("/proc/sys/kernel/msgmni", W_OK))
		return "this user cannot set limits";
	return NULL;
}

static unsigned long limit_first[LIMITS];

__attribute__((unused)) static void limits_save(void)
{
	for (int i = 0; i < LIMITS; i++)
		limit_first[i] = limit_value(limit_names[i]);
}

__attribute__((unused)) static int limits_restore(void)
{
	int bad = 0;

	for (int i = 0; i < LIMITS; i++)
		if (limit_value(limit_names[i]) != limit_first[i])
			bad |= set_limit(limit_names[i], limit_first[i]);
	return bad;
}

#endif
