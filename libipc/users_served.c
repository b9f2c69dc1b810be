/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private directories with a daemon of their own: where its socket is, and who uses the namespace through it. See users.h.
 *
 * The directory private-PID-XXXXXX has its socket in /run/ipcrun-PID-XXXXXX, which others may enter and not list. Beside
 * the socket is a file `users`, which every client keeps locked for reading, whatever its uid: so one can wait for the
 * last one, and ask. Made after the namespace's directory and removed before it, it is never alone; unless others have
 * removed that one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ns.h"
#include "users.h"

#define PLACE "/run"
#define MAKER "private-"
#define SOCKETS "ipcrun-"

bool users_socket_dir(const char *dir, char *out, size_t size)
{
	const char *name = strrchr(dir, '/');
	struct stat st;

	name = name ? name + 1 : dir;
	if (strncmp(name, MAKER, sizeof MAKER - 1) ||
	    snprintf(out, size, PLACE "/" SOCKETS "%s", name + sizeof MAKER - 1) >= (int)size)
		return false;
	return !lstat(out, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

bool users_served(const char *dir, char *out, size_t size)
{
	char at[PATH_MAX];

	return users_socket_dir(dir, at, sizeof at) && (users_held(dir, "name") || users_held(dir, "serving")) &&
	       snprintf(out, size, "%s/socket", at) < (int)size;
}

int users_make_socket_dir(const char *dir, char *out, size_t size, int *fd)
{
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	const char *name = strrchr(dir, '/') + sizeof MAKER;
	char path[PATH_MAX];

	if (snprintf(out, size, PLACE "/" SOCKETS "%s", name) >= (int)size ||
	    snprintf(path, sizeof path, "%s/users", out) >= (int)sizeof path)
		return ns_fail(-ENAMETOOLONG, "the name %s is too long", dir);
	if (mkdir(out, 0700))
		return ns_fail(-errno, "cannot make %s for the socket of an ipcd: %s; --embedded does without", out,
			       strerror(errno));
	*fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0 || fchmod(*fd, 0444) || fcntl(*fd, F_OFD_SETLK, &l) || chmod(out, 0711))
		return ns_fail(-errno, "cannot make %s: %s", path, strerror(errno));
	return 0;
}

int users_remove_socket_dir(const char *dir)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char at[PATH_MAX], path[PATH_MAX + 8];
	int fd, e = 0;

	if (!users_socket_dir(dir, at, sizeof at))
		return 0;
	snprintf(path, sizeof path, "%s/users", at);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		e = ns_fail(-errno, "cannot open %s: %s", path, strerror(errno));
	else if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &l))
		e = -EBUSY;
	if (!e) {
		unlink(path); /* who has it open and waits for the lock sees that it has no name any more */
		snprintf(path, sizeof path, "%s/socket", at);
		unlink(path);
		if (rmdir(at))
			e = ns_fail(-errno, "cannot remove %s: %s", at, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return e;
}

void users_collect_sockets(const char *base)
{
	DIR *d = opendir(PLACE);
	struct dirent *e;
	char dir[PATH_MAX];

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, SOCKETS, sizeof SOCKETS - 1) &&
		    snprintf(dir, sizeof dir, "%s/" MAKER "%s", base, e->d_name + sizeof SOCKETS - 1) < (int)sizeof dir &&
		    access(dir, F_OK) && errno == ENOENT)
			users_remove_socket_dir(dir);
	if (d)
		closedir(d);
}

void *users_join(const char *socket)
{
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	const char *slash = strrchr(socket, '/');
	char path[PATH_MAX];
	struct stat st;
	void *p = NULL;
	int fd, e;

	if (!slash || snprintf(path, sizeof path, "%.*s/users", (int)(slash - socket), socket) >= (int)sizeof path)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	/* Only root can keep others waiting. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !st.st_uid && !(st.st_mode & 022)) {
		while ((e = fcntl(fd, F_OFD_SETLKW, &l)) && errno == EINTR)
			;
		if (!e && !fstat(fd, &st) && st.st_nlink) /* else the last one has just gone, and all with it */
			p = file_map(PAGE, PROT_READ, MAP_SHARED, fd);
	}
	close(fd);
	return p;
}
