/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes killed with -9 at random moments of opening a directory that is no namespace yet, and of making their first
 * object there. Whoever comes next opens it, finds each object whose making was answered, and no memory that belongs to
 * none; also when the registry has to be made again from the database.
 *
 * Killed soon, a round ends in the opening; later, in the making. The delay is drawn by what one undisturbed opener
 * takes.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "libipc.h"
#include "users.h"
#include "directory.h"
#include "proc.h"
#include "tap.h"

union semun { int val; struct seminfo *info; };

#define ROUNDS 100
#define FEWEST 8
#define BUDGET 8 /* seconds, after which no round is begun once there were the fewest; T_ROUNDS=N: N rounds */
#define OPENERS 4

static char dir[64];
static volatile int *made; /* 1 + the id that opener i was told */
static int bad, killed_early, killed_late;

#define check(cond, ...)                                                                            \
	do {                                                                                        \
		if (!(cond) && bad++ < 5)                                                           \
			diag(__VA_ARGS__);                                                          \
	} while (0)

static int opener(void *arg)
{
	int i = (int)(intptr_t)arg, id;
	ipc_ns *ns = ipc_open(dir, IPC_OPEN_CREATE);

	if (!ns)
		return 1;
	id = ipc_semget(ns, 100 + i, 1, IPC_CREAT | IPC_EXCL | 0600);
	if (id < 0)
		return 2;
	made[i] = id + 1;
	ipc_close(ns);
	return 0;
}

static int sets(ipc_ns *ns)
{
	struct seminfo info;

	return ipc_semctl(ns, 0, 0, SEM_INFO, (union semun){ .info = &info }) < 0 ? -1 : info.semusz;
}

static void look(int round, const char *when)
{
	ipc_ns *ns = ipc_open(dir, IPC_OPEN_CREATE);
	int answered = 0;

	check(ns, "round %d, %s: cannot be opened: %s", round, when, ipc_open_error());
	if (!ns)
		return;
	/* Making an object looks at all processes first, and frees what the dead have left. */
	ipc_semctl(ns, ipc_semget(ns, IPC_PRIVATE, 1, 0600), 0, IPC_RMID);
	for (int i = 0; i < OPENERS; i++) {
		answered += made[i] != 0;
		check(!made[i] || ipc_semget(ns, 100 + i, 1, 0) == made[i] - 1,
		      "round %d, %s: set %d of opener %d is lost", round, when, made[i] - 1, i);
	}
	check(sets(ns) >= answered, "round %d, %s: %d sets, %d were made", round, when, sets(ns), answered);
	check(directory_files(dir, "sem-") == sets(ns), "round %d, %s: %d sets, %d files", round, when, sets(ns),
	      directory_files(dir, "sem-"));
	ipc_close(ns);
}

static void one_round(int round, double delay)
{
	pid_t pid[OPENERS];
	double end;

	for (int i = 0; i < OPENERS; i++)
		made[i] = 0;
	for (int i = 0; i < OPENERS; i++)
		pid[i] = proc_run(opener, (void *)(intptr_t)i);
	for (end = proc_now() + delay; proc_now() < end;)
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	if (round % 4 == 3) /* a late one, however slow the machine is */
		wait_until(made[0] | made[1] | made[2] | made[3]);
	for (int i = 0; i < OPENERS; i++)
		kill(pid[i], SIGKILL);
	for (int i = 0; i < OPENERS; i++) {
		int status = proc_wait(pid[i]);

		check(status == 0 || status == 1000 + SIGKILL, "round %d: opener %d ended with %d", round, i, status);
		killed_early += status && !made[i];
		killed_late += !status;
	}
}

static void remove_registry(void)
{
	char path[100];

	snprintf(path, sizeof path, "%s/registry", dir);
	unlink(path);
}

int main(void)
{
	unsigned long seed = tap_seed();
	double start, whole;
	const char *rounds = getenv("T_ROUNDS");
	int left = 0, most = rounds ? atoi(rounds) : ROUNDS;

	alarm(5 * T_WAIT);
	srand((unsigned)seed);
	made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(dir, sizeof dir, "/dev/shm/ipcd-open-%d", (int)getpid());
	start = proc_now();
	is(proc_wait(proc_run(opener, NULL)), 0, "a process opens a directory and makes an object");
	whole = proc_now() - start;
	is(users_remove(dir), 0, "... which can be removed then");
	start = proc_now();
	for (int round = 0; round < most; round++) {
		if (!rounds && round >= FEWEST && proc_now() > start + BUDGET)
			break;
		one_round(round, round % 4 ? whole * 4 * rand() / RAND_MAX : whole / 2 * rand() / RAND_MAX);
		look(round, "after the deaths");
		remove_registry();
		look(round, "with the registry made anew");
		left += users_remove(dir) != 0 || !access(dir, F_OK);
	}
	is(bad, 0,
	   "%d processes killed while they open or make, %d done: the next one finds what was answered, all of it",
	   killed_early, killed_late);
	is(left, 0, "... and the directory can be removed");
	ok(killed_early && killed_late, "... deaths came early and late");
	return done_testing();
}
