/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A removed segment that is still attached: it keeps its id and its memory, shows SHM_DEST, can be attached by id, and
 * goes with its last attachment, however that ends.
 */
#include "objects.h"

#define KEY 0x41a70100

static int attach_run(void *arg)
{
	int id = *(int *)arg;
	char *p = shmat(id, NULL, 0);

	if (p == (char *)-1)
		return 1;
	if (strcmp(p, "before"))
		return 2;
	strcpy(p, "child was here");
	return shmdt(p) ? 3 : 0;
}

static void test_destroyed(void)
{
	int id = obj_keep(SHM, shmget(KEY, PAGE, 0600 | IPC_CREAT)), other;
	char *p = shm_map(id, 0), *q;
	struct shmid_ds ds;

	strcpy(p, "before");
	is(shm_stat(id).shm_perm.mode & SHM_DEST, 0, "SHM_DEST is not shown before IPC_RMID");
	succeeds(shmctl(id, IPC_RMID, NULL), "IPC_RMID of an attached segment");
	ds = shm_stat(id);
	is(ds.shm_perm.mode, 0600 | SHM_DEST, "it shows SHM_DEST");
	is(ds.shm_perm.__key, 0, "its key is IPC_PRIVATE now");
	is(ds.shm_nattch, 1, "and it is attached");
	ok(!strcmp(p, "before"), "its memory is still there");
	call_fails(shmget(KEY, PAGE, 0600), ENOENT, "its key finds nothing");

	q = shmat(id, NULL, 0);
	ok(q != (char *)-1 && !strcmp(q, "before"), "it can be attached again by id");
	is(shm_nattch(id), 2, "which counts");
	is(proc_wait(proc_run(attach_run, &id)), 0, "another process attaches it by id");
	ok(!strcmp(p, "child was here"), "to the same memory");
	succeeds(shmctl(id, IPC_RMID, NULL), "IPC_RMID once more succeeds");

	other = obj_keep(SHM, shmget(KEY, PAGE, 0600 | IPC_CREAT | IPC_EXCL));
	ok(other != id, "the key makes a new segment");
	ds.shm_perm.mode = 0640;
	succeeds(shmctl(id, IPC_SET, &ds), "IPC_SET of the removed one");
	is(shm_stat(id).shm_perm.mode, 0640 | SHM_DEST, "leaves SHM_DEST");

	shmdt(q);
	is(shm_nattch(id), 1, "it lives until the last detach");
	shmdt(p);
	call_fails(shmctl(id, IPC_STAT, &ds), EINVAL, "after the last shmdt it is gone");
	call_fails((intptr_t)shmat(id, NULL, 0), EINVAL, "and cannot be attached");
	is(shmget(KEY, 0, 0), other, "the key still names the new one");
	obj_remove(SHM, other);
}

struct holder {
	int id;
	char how;
	atomic_int attached, go;
};

static int holder_run(void *arg)
{
	struct holder *h = arg;
	char *p = shmat(h->id, NULL, 0);

	h->attached = p == (char *)-1 ? -1 : 1;
	if (!wait_until(h->go))
		return 1;
	if (h->how == 'm')
		munmap(p, PAGE);
	if (h->how == 'e')
		execlp("sh", "sh", "-c", "exit 0", NULL);
	if (h->how == 'k')
		raise(SIGKILL);
	if (h->how == 's')
		*(volatile char *)NULL = 1;
	return 0;
}

static void test_last_end(char how, const char *name)
{
	struct holder *h = shared_new(sizeof *h);
	struct shmid_ds ds;
	pid_t pid;

	h->id = shm_new(PAGE);
	h->how = how;
	pid = proc_run(holder_run, h);
	wait_until(h->attached);
	is(h->attached, 1, "a child attaches");
	obj_remove(SHM, h->id);
	is(shm_nattch(h->id), 1, "the segment, removed, lives in the child");
	h->go = 1;
	proc_wait(pid);
	call_fails(shmctl(h->id, IPC_STAT, &ds), EINVAL, "%s, the last one, frees it", name);
	munmap(h, sizeof *h);
}

struct inherit {
	char *p;
	int id;
	atomic_int child, go;
};

static int inherit_run(void *arg)
{
	struct inherit *i = arg;

	if (strcmp(i->p, "for the child"))
		return 1;
	i->child = 1;
	if (!wait_until(i->go))
		return 2;
	if (shm_nattch(i->id) != 1 || strcmp(i->p, "from the parent"))
		return 3;
	strcpy(i->p, "still mine");
	if (shmdt(i->p))
		return 4;
	return shm_nattch(i->id) == -1 ? 0 : 5;
}

static void test_attach_remove_fork(void)
{
	struct inherit *i = shared_new(sizeof *i);
	pid_t pid;

	i->id = shm_new(PAGE);
	i->p = shm_map(i->id, 0);
	strcpy(i->p, "for the child");
	obj_remove(SHM, i->id);
	pid = proc_run(inherit_run, i);
	ok(wait_until(i->child), "attach, remove, fork: the child still sees the memory");
	is(shm_nattch(i->id), 2, "and is counted");
	strcpy(i->p, "from the parent");
	shmdt(i->p);
	is(shm_nattch(i->id), 1, "the parent detaches, the child keeps it");
	i->go = 1;
	is(proc_wait(pid), 0, "the child saw the parent's writing, and its shmdt freed the segment");
	munmap(i, sizeof *i);
}

static void test_unattached(void)
{
	int id = shm_new(PAGE);
	struct shmid_ds ds;
	char *p;

	obj_remove(SHM, id);
	call_fails(shmctl(id, IPC_STAT, &ds), EINVAL, "a segment that nobody has attached goes with IPC_RMID");
	call_fails((intptr_t)shmat(id, NULL, 0), EINVAL, "and cannot be attached");

	id = shm_new(PAGE);
	p = shm_map(id, 0);
	shmdt(p);
	is(shm_nattch(id), 0, "a segment that was not removed outlives its last detach");
	obj_remove(SHM, id);
}

int main(void)
{
	alarm(60);
	test_destroyed();
	test_unattached();
	test_attach_remove_fork();
	test_last_end('x', "the end of a process");
	test_last_end('k', "kill -9");
	test_last_end('s', "a crash");
	test_last_end('e', "exec");
	test_last_end('m', "munmap");
	return done_testing();
}
