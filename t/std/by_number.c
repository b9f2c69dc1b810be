/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls through libc's syscall(), by their numbers: the families' do what their functions do, on the same objects, and
 * every other call has its six arguments, its result and its errno.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "objects.h"

#define KEY 0x41a70300

static void test_sem(void)
{
	int id = (int)syscall(SYS_semget, KEY, 3, IPC_CREAT | IPC_EXCL | 0600);
	struct sembuf up = { 1, 5, 0 }, down = { 1, -9, 0 };
	struct timespec none = { 0 };
	unsigned short all[3] = { 9, 9, 9 };

	obj_keep(SEM, id);
	is(semget(KEY, 3, 0), id, "semget by number makes the set that semget finds");
	is(syscall(SYS_semop, id, &up, 1), 0, "semop by number");
	is(sem_value(id, 1), 5, "does what semop does");
	call_fails(syscall(SYS_semtimedop, id, &down, 1, &none), EAGAIN, "semtimedop by number, with its timeout");
	is(syscall(SYS_semctl, id, 2, SETVAL, 4), 0, "semctl SETVAL by number");
	is(syscall(SYS_semctl, id, 1, GETVAL), 5, "semctl GETVAL by number");
	is(syscall(SYS_semctl, id, 0, GETALL, all), 0, "semctl GETALL by number");
	is(all[0] * 100 + all[1] * 10 + all[2], 54, "fills the array");
	call_fails(syscall(SYS_semget, KEY, 3, IPC_CREAT | IPC_EXCL), EEXIST, "semget by number fails with errno");
	call_fails(syscall(SYS_semctl, id, 0, IPC_STAT | 0x100, all), EINVAL, "IPC_64 is not known on this machine");
	is(syscall(SYS_semctl, id, 0, IPC_RMID), 0, "semctl IPC_RMID by number");
	call_fails(semctl(id, 0, GETVAL), EINVAL, "removes it");
}

static void test_msg(void)
{
	int id = obj_keep(MSG, (int)syscall(SYS_msgget, KEY, IPC_CREAT | 0600));
	struct { long type; char text[8]; } m = { 7, "seven" }, r = { 0 };
	struct msqid_ds ds;

	is(msgget(KEY, 0), id, "msgget by number makes the queue that msgget finds");
	is(syscall(SYS_msgsnd, id, &m, 6, 0), 0, "msgsnd by number");
	call_fails(syscall(SYS_msgrcv, id, &r, 8, 5L, IPC_NOWAIT), ENOMSG, "msgrcv by number looks at the type");
	is(syscall(SYS_msgrcv, id, &r, 8, -9L, MSG_NOERROR), 6, "msgrcv by number has all its five arguments");
	ok(r.type == 7 && !strcmp(r.text, "seven"), "and gets what was sent");
	is(syscall(SYS_msgctl, id, IPC_STAT, &ds), 0, "msgctl IPC_STAT by number");
	is(ds.msg_lrpid, getpid(), "fills the buffer");
	is(syscall(SYS_msgctl, id, IPC_RMID, NULL), 0, "msgctl IPC_RMID by number");
}

static void test_shm(void)
{
	int id = obj_keep(SHM, (int)syscall(SYS_shmget, KEY, 2 * PAGE, IPC_CREAT | 0600));
	char *p = (char *)syscall(SYS_shmat, id, NULL, 0), *q, *room;

	is(shmget(KEY, 0, 0), id, "shmget by number makes the segment that shmget finds");
	ok(p != (char *)-1, "shmat by number gives an address");
	strcpy(p, "text");
	q = shm_map(id, SHM_RDONLY);
	ok(!strcmp(q, "text"), "of the same memory");
	is(shm_nattch(id), 2, "both are counted");
	is(syscall(SYS_shmdt, q), 0, "shmdt by number of what shmat attached");
	is(shmdt(p), 0, "shmdt of what was attached by number");
	call_fails(syscall(SYS_shmat, id, (void *)1, 0), EINVAL, "shmat by number fails with errno");
	p = shm_map(id, 0);
	is(syscall(SYS_munmap, p, 2L * PAGE), 0, "munmap by number");
	is(shm_nattch(id), 0, "is noticed");
	p = shm_map(id, 0);
	room = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	q = (char *)syscall(SYS_mremap, p, 2L * PAGE, 2L * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ok(q == room && !strcmp(q, "text"), "mremap by number, with its fifth argument");
	is(shmdt(q), 0, "is noticed");
	p = shm_map(id, 0);
	q = (char *)syscall(SYS_mmap, p, 2L * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);
	ok(q == p, "mmap by number over an attachment");
	is(shm_nattch(id), 0, "is noticed");
	munmap(q, 2 * PAGE);
	is(syscall(SYS_shmctl, id, IPC_RMID, NULL), 0, "shmctl IPC_RMID by number");
}

static void test_others(void)
{
	int fd[2], file = memfd_create("t", 0);
	long long from = 1, to = 3;
	char buf[16] = { 0 };
	struct iovec v = { buf, 4 };
	unsigned char *page;

	is(syscall(SYS_getpid), getpid(), "a call without arguments");
	call_fails(syscall(SYS_close, -1), EBADF, "errno of one that fails");
	call_fails(syscall(100000L), ENOSYS, "a number that there is not: ENOSYS");
	call_fails(syscall(-1L), ENOSYS, "a negative one: ENOSYS");
	errno = 77;
	is(syscall(SYS_getppid), getppid(), "a call that succeeds");
	is(errno, 77, "leaves errno alone");
	ok(!syscall(SYS_pipe2, fd, O_CLOEXEC), "pipe2");
	is(syscall(SYS_write, fd[1], "abcd", 4L), 4, "write");
	is(syscall(SYS_readv, fd[0], &v, 1L), 4, "readv");
	ok(!memcmp(buf, "abcd", 4), "what was written");
	is(pwrite(file, "0123456789", 10, 0), 10, "a file");
	is(syscall(SYS_copy_file_range, file, &from, file, &to, 2L, 0L), 2, "copy_file_range: six arguments");
	is(pread(file, buf, 10, 0), 10, "the file again");
	ok(!memcmp(buf, "0121256789", 10), "each of the six had its place");
	is(ftruncate(file, 3 * PAGE), 0, "a longer file");
	is(pwrite(file, "x", 1, 2 * PAGE), 1, "with something in its third page");
	page = (unsigned char *)syscall(SYS_mmap, NULL, (long)PAGE, PROT_READ, MAP_SHARED, file, 2L * PAGE);
	is(page == MAP_FAILED ? -1 : *page, 'x', "mmap: the sixth argument is the offset");
	munmap(page, PAGE);
	call_fails(syscall(SYS_futex, &to, FUTEX_CMP_REQUEUE, 1, 1L, &from, 12345), EAGAIN,
		   "futex: the sixth argument is compared");
	close(file);
	close(fd[0]);
	close(fd[1]);
}

/* fork by number: nobody tells the library. */
static void test_fork(void)
{
	int id = sem_new(1), status = -1;
	char *p;
	int seg = shm_new(PAGE);
	long pid;

	p = shm_map(seg, 0);
	pid = syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L);
	if (pid == 0) {
		if (sem_do(id, 0, 3, SEM_UNDO) || sem_do(id, 0, 1, 0))
			_exit(1);
		_exit(sem_pid(id, 0) == (int)syscall(SYS_getpid) && shm_nattch(seg) == 2 && !shmdt(p) ? 0 : 2);
	}
	ok(waitpid((pid_t)pid, &status, 0) == pid, "clone by number, as fork");
	is(status, 0, "the child's calls are its own, and what it has attached is counted");
	is(sem_value(id, 0), 1, "and its undo is applied at its end");
	is(shm_nattch(seg), 1, "and its attachments end");
	shmdt(p);
}

int main(void)
{
	alarm(60);
	test_sem();
	test_msg();
	test_shm();
	test_others();
	test_fork();
	return done_testing();
}
