/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An application that hosts a daemon: it serves its namespace in a thread, so that other processes, of other users too,
 * share its objects, with the kernel's permissions. It makes its own calls on the namespace that it serves. A process
 * that serves does not fork without exec, so the client here was forked before.
 *
 * doc/embedding.md names this file as the example.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libipc.h"
#include "tap.h"

#define KEY 0x686f7374
#define STRANGER 60099

static char directory[160], at[120], command[200];

/* Another program, of another user where we are root: it waits until it is told, takes a unit, and reports. */
static int client(int go)
{
	struct sembuf down = { .sem_op = -1, .sem_flg = SEM_UNDO };
	char byte;
	ipc_ns *ns;
	int id;

	if (read(go, &byte, 1) != 1 || (!geteuid() && (setgid(STRANGER) || setuid(STRANGER))))
		return 90;
	ns = ipc_open(at, IPC_OPEN_SOCKET);
	id = ns ? ipc_semget(ns, KEY, 1, 0) : -1;
	if (id < 0 || ipc_semop(ns, id, &down, 1))
		return 91;
	return ipc_semctl(ns, id, 0, IPC_RMID) && (errno == EPERM || getuid() != STRANGER) ? 0 : 92;
}

static void *serve(void *server)
{
	return ipc_serve(server) ? server : NULL;
}

int main(void)
{
	struct ipc_serve options = { .directory = directory, .socket = at, .socket_mode = 0666, .listen_fd = -1 };
	struct sembuf up = { .sem_op = 1 };
	ipc_server *server;
	pthread_t thread;
	void *failed;
	ipc_ns *ns;
	int go[2], status, id;
	pid_t child;

	snprintf(at, sizeof at, "/tmp/host-XXXXXX");
	if (!mkdtemp(at) || chmod(at, 0755) || pipe(go))
		bail_out("no directory");
	snprintf(directory, sizeof directory, "/dev/shm/%s", at + 5);
	strcat(at, "/socket");
	child = fork();
	if (!child)
		_exit(client(go[0]));

	server = ipc_serve_open(&options);
	ok(server, "the namespace is served: %s", server ? at : ipc_open_error());
	is(pthread_create(&thread, NULL, serve, server), 0, "in a thread");
	ns = ipc_serve_namespace(server);
	id = ipc_semget(ns, KEY, 1, IPC_CREAT | 0666);
	ok(id >= 0, "the application makes a set");
	is(write(go[1], "g", 1), 1, "a client begins");
	is(ipc_semop(ns, id, &up, 1), 0, "and is given a unit");
	is(waitpid(child, &status, 0), child, "it ends");
	is(status, 0, "it has taken the unit, and may not remove the set");
	is(ipc_semctl(ns, id, 0, GETVAL), 1, "its undo is done");
	is(ipc_semctl(ns, id, 0, IPC_RMID), 0, "the application removes the set");
	ipc_serve_stop(server);
	is(pthread_join(thread, &failed), 0, "the thread ends");
	ok(!failed, "without a failure");
	ipc_serve_close(server);

	unlink(at);
	*strrchr(at, '/') = 0;
	rmdir(at);
	snprintf(command, sizeof command, "rm -r %s", directory);
	is(system(command), 0, "its directory is removed");
	return done_testing();
}
