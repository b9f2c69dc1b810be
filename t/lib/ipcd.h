/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ipcd of the test's own: started, stopped, killed and started again, in a directory that is removed at the end.
 * $IPCD names the program; without it, the one beside the test. The daemon dies with the process that started it.
 */
#ifndef T_IPCD_H
#define T_IPCD_H

#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libipc.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

static char ipcd_dir[64], ipcd_ns[80], ipcd_socket[80], ipcd_program[PATH_MAX];
static pid_t ipcd_pid, ipcd_owner;

static bool ipcd_listens(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	strcpy(to.sun_path, ipcd_socket);
	r = connect(fd, (struct sockaddr *)&to, sizeof to);
	close(fd);
	return !r;
}

/* Ready when somebody can connect: what comes before the loop runs waits for it. */
__attribute__((unused)) static void ipcd_start(void)
{
	pid_t parent = getpid();

	fflush(stdout);
	ipcd_pid = (pid_t)syscall(SYS_fork); /* nothing of the library's in between */
	if (!ipcd_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
		execl(ipcd_program, "ipcd", "--foreground", "--namespace-dir", ipcd_ns, "--socket", ipcd_socket,
		      "--socket-mode", "0666", "--log-level", "warn", (char *)NULL);
		_exit(98);
	}
	if (ipcd_pid < 0 || !wait_until(ipcd_listens() || proc_state(ipcd_pid, ipcd_pid) == 'Z') ||
	    proc_state(ipcd_pid, ipcd_pid) == 'Z') {
		printf("Bail out! ipcd does not start\n");
		exit(255);
	}
}

/* Its exit status, as proc_wait has it. */
__attribute__((unused)) static int ipcd_end(int sig)
{
	int status;

	kill(ipcd_pid, sig);
	status = proc_wait(ipcd_pid);
	ipcd_pid = 0;
	return status;
}

static void ipcd_clean(void)
{
	if (getpid() != ipcd_owner)
		return;
	if (ipcd_pid > 0) {
		kill(ipcd_pid, SIGKILL);
		waitpid(ipcd_pid, NULL, 0);
	}
	directory_remove(ipcd_ns);
	directory_remove(ipcd_dir);
}

static void ipcd_hangs(int sig)
{
	static const char text[] = "not ok - hangs\n";

	(void)sig;
	if (write(1, text, sizeof text - 1) < 0)
		_exit(254);
	ipcd_clean();
	_exit(254);
}

/* Which program, and a directory for it. */
__attribute__((unused)) static void ipcd_place(const char *self)
{
	const char *program = getenv("IPCD");
	char *slash;

	if (program) {
		snprintf(ipcd_program, sizeof ipcd_program, "%s", program);
	} else {
		if (!realpath(self, ipcd_program))
			bail_out(self);
		for (int i = 0; i < 3 && (slash = strrchr(ipcd_program, '/')); i++)
			*slash = 0;
		strcat(ipcd_program, "/ipcd");
	}
	strcpy(ipcd_dir, "/dev/shm/t-ipcd-XXXXXX");
	if (!mkdtemp(ipcd_dir) || chmod(ipcd_dir, 0755))
		bail_out("mkdtemp");
	snprintf(ipcd_ns, sizeof ipcd_ns, "%s/ns", ipcd_dir);
	snprintf(ipcd_socket, sizeof ipcd_socket, "%s/socket", ipcd_dir);
	ipcd_owner = getpid();
	atexit(ipcd_clean);
}

/* The directory, and a namespace's handle of it; seconds: when the test is taken to hang. */
__attribute__((unused)) static ipc_ns *ipcd_open(const char *self, unsigned seconds)
{
	ipc_ns *ns;

	ipcd_place(self);
	signal(SIGALRM, ipcd_hangs);
	alarm(seconds);
	ipcd_start();
	ns = ipc_open(ipcd_socket, IPC_OPEN_SOCKET);
	if (!ns)
		bail_out(ipc_open_error());
	return ns;
}

/* A client of another uid, from now on. */
__attribute__((unused)) static void ipcd_other_uid(uid_t uid)
{
	if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		_exit(97);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* lost with the ids */
	ipc_credentials_changed();
}

/* How many descriptors it has. */
__attribute__((unused)) static int ipcd_descriptors(void)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/%d/fd", (int)ipcd_pid);
	return directory_files(path, "") - 2;
}

#endif
