/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients of a daemon that are killed, call exec, close all descriptors, change their ids, root and threads, are
 * stopped or interrupted in the middle of calls: the results are the kernel's, and the daemon keeps nothing of them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "handlers.h"
#include "ipcd.h"
#include "slot.h"
#include "wait.h"

#define OTHER 41000
#define KILLED 1000
#define AT_ONCE 20

static ipc_ns *ns;
static int set, queue, seg;
static struct { _Atomic int ready, go, handled, refused; _Atomic long result, error, second; } *sh;

static int op(int num, int by, int flags)
{
	struct sembuf s = { .sem_num = (unsigned short)num, .sem_op = (short)by, .sem_flg = (short)flags };

	return ipc_semop(ns, set, &s, 1);
}

static int value(int num, int cmd)
{
	return ipc_semctl(ns, set, num, cmd);
}

static long attached(void)
{
	struct shmid_ds d;

	return ipc_shmctl(ns, seg, IPC_STAT, &d) ? -errno : (long)d.shm_nattch;
}

/* Who numbers that are in use. */
static int numbers(void)
{
	int n = 0;

	for (uint32_t w = 1; w < whos_high(ns); w++)
		n += atomic_load(&ns->slots->who[w]) != 0;
	return n;
}

static int slots(void)
{
	int n = 0;

	for (uint32_t i = 1; i < slots_high(ns); i++)
		n += WORD_STATE(atomic_load(&ns->slots->row[i].word)) != SLOT_FREE;
	return n;
}

static void begin(void)
{
	int go = sh->go;

	memset((void *)sh, 0, sizeof *sh);
	atomic_store(&sh->go, go);
}

/* A client of another uid that does fn, after it has been served once. */
static int other(void *fn)
{
	ipcd_other_uid(OTHER);
	if (value(0, GETVAL) < 0)
		return 90;
	return ((int (*)(void))fn)();
}

static pid_t client(int (*fn)(void))
{
	begin();
	return proc_run(other, (void *)fn);
}

static int result_of(int (*fn)(void))
{
	return proc_wait(client(fn));
}

/* ---- killed ---- */

static int load(void *arg)
{
	unsigned seed = (unsigned)(long)arg;
	struct { long type; char text[200]; } m = { .type = 1 };
	struct timespec t = { .tv_nsec = 1000000 };
	struct sembuf s = { .sem_num = 2, .sem_op = -1, .sem_flg = SEM_UNDO };
	int given = 0, taken = 0;
	void *p = NULL;

	if (seed % 2)
		ipcd_other_uid((uid_t)(OTHER + seed % 5));
	for (;;) {
		switch (rand_r(&seed) % 9) {
		case 0:
			given += !op(0, 1, SEM_UNDO);
			break;
		case 1: /* no more than it has given: more undo than units would be clipped */
			given -= given && !op(0, -1, SEM_UNDO | IPC_NOWAIT);
			break;
		case 2:
			ipc_semtimedop(ns, set, &s, 1, &t);
			break;
		case 3:
			taken += taken ? -!op(1, 1, SEM_UNDO) : !op(1, -1, SEM_UNDO);
			break;
		case 4:
			m.type = 1 + rand_r(&seed) % 3;
			ipc_msgsnd(ns, queue, &m, 100, rand_r(&seed) % 4 ? IPC_NOWAIT : 0);
			break;
		case 5:
			ipc_msgrcv(ns, queue, &m, 200, rand_r(&seed) % 3, rand_r(&seed) % 4 ? IPC_NOWAIT : 0);
			break;
		case 6:
			p = p ? p : ipc_shmat(ns, seg, NULL, 0);
			break;
		case 7:
			if (p)
				ipc_shmdt(ns, p);
			p = NULL;
			break;
		case 8:
			if (!fork()) {
				if (op(0, 1, SEM_UNDO) && errno == ENOSYS)
					sh->refused++;
				_exit(0);
			}
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		}
	}
	return 0;
}

static bool idle_waits(int num)
{
	return !value(num, GETNCNT) && !value(num, GETZCNT);
}

/* Do all lists and nodes of the queue come out even? It can be filled, and emptied. */
static long fill_and_drain(void)
{
	struct { long type; char text[200]; } m = { .type = 1 };
	long n = 0, got = 0;

	while (ipc_msgrcv(ns, queue, &m, 200, 0, IPC_NOWAIT) >= 0)
		;
	while (!ipc_msgsnd(ns, queue, &m, 100, IPC_NOWAIT))
		n++;
	while (ipc_msgrcv(ns, queue, &m, 200, 0, IPC_NOWAIT) >= 0)
		got++;
	return n == got ? n : -1;
}

static void run_load(int n)
{
	static pid_t pid[AT_ONCE];

	for (int i = 0; i < n; i++) {
		int k = (int)(random() % AT_ONCE);

		if (pid[k])
			proc_kill(pid[k]);
		pid[k] = proc_run(load, (void *)random());
	}
	for (int k = 0; k < AT_ONCE; k++) {
		proc_kill(pid[k]);
		pid[k] = 0;
	}
}

static void killed(int n)
{
	long fits = fill_and_drain(), before_memory __attribute__((unused));
	int before_fds, before_slots, before_numbers;

	op(1, 1000, 0);
	run_load(3 * AT_ONCE); /* what is allotted once, is */
	fill_and_drain();
	wait_until(slots() <= 2);
	before_memory = proc_memory(ipcd_pid);
	before_fds = ipcd_descriptors();
	sh->refused = 0;
	run_load(n);
	wait_until(slots() <= 2); /* orphans */
	is(value(0, GETVAL), 0, "%d clients killed under load: what they gave is taken back", n);
	is(value(1, GETVAL), 1000, "... what they took is given back");
	ok(idle_waits(2), "... nobody waits");
	is(sh->refused, 0, "... their children are served, also when the parent was killed right after the fork");
	is(attached(), 0, "... nothing is attached");
	is(fill_and_drain(), fits, "... the queue holds as many messages as before");
	before_numbers = 1;
	before_slots = 2;
	ok(wait_until(ipcd_descriptors() <= before_fds), "ipcd has as many descriptors as before (%d, %d)",
	   ipcd_descriptors(), before_fds);
	ok(wait_until(slots() <= before_slots), "... slots (%d)", slots());
	ok(wait_until(numbers() <= before_numbers + 64), "... who numbers (%d)", numbers());
#ifdef __SANITIZE_ADDRESS__
	skip("... and memory", "AddressSanitizer keeps what was freed");
#else
	ok(proc_memory(ipcd_pid) < before_memory + 3000, "... and memory (%ld kB, %ld kB)", proc_memory(ipcd_pid), before_memory);
#endif
}

/* ---- right after waitpid ---- */

static int hold_and_wait(void)
{
	op(0, 3, SEM_UNDO);
	ipc_shmat(ns, seg, NULL, 0);
	atomic_store(&sh->ready, 1);
	op(2, -1, 0);
	return 1;
}

static int own_hold_and_wait(void *arg)
{
	(void)arg;
	return hold_and_wait();
}

static void right_after(void)
{
	int bad[4] = { 0 };

	for (int i = 0; i < 200; i++) {
		pid_t pid = i % 2 ? client(hold_and_wait) : (begin(), proc_run(own_hold_and_wait, NULL));

		if (!wait_until(sh->ready && value(2, GETNCNT) == 1))
			bad[3]++;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		switch (i / 2 % 3) { /* another one comes first each time */
		case 0:
			bad[0] += value(0, GETVAL) != 0;
			break;
		case 1:
			bad[1] += attached() != 0;
			break;
		case 2:
			bad[2] += value(2, GETNCNT) != 0;
		}
		bad[0] += value(0, GETVAL) != 0;
		bad[1] += attached() != 0;
		bad[2] += value(2, GETNCNT) != 0;
	}
	is(bad[0], 0, "right after waitpid undo is applied");
	is(bad[1], 0, "... nothing attached");
	is(bad[2] + bad[3], 0, "... and nobody waits");
}

/* ---- descriptors, ids ---- */

static void close_all(void)
{
	syscall(SYS_close_range, 3, ~0u, 0);
}

static int closes_all(void)
{
	for (int i = 0; i < 20; i++) {
		close_all();
		if (op(0, 1, SEM_UNDO) || op(0, -1, SEM_UNDO) || value(0, GETPID) != getpid())
			return 1;
	}
	return 0;
}

static void *sleeping_thread(void *arg)
{
	(void)arg;
	atomic_store(&sh->ready, 1);
	atomic_store(&sh->result, op(2, -1, 0));
	atomic_store(&sh->error, errno);
	return NULL;
}

static int closes_anothers(void)
{
	pthread_t t;

	pthread_create(&t, NULL, sleeping_thread, NULL);
	if (!wait_until(value(2, GETNCNT) == 1))
		return 1;
	close_all();
	op(2, 1, 0);
	pthread_join(t, NULL);
	return sh->result != 0 || value(2, GETVAL) != 0 || value(2, GETNCNT) != 0;
}

static void *one_call(void *arg)
{
	value(0, GETVAL);
	if (arg)
		close_all();
	return NULL;
}

static int threads(void)
{
	int before = numbers();
	pthread_t t;

	for (int i = 0; i < 50; i++) {
		pthread_create(&t, NULL, one_call, NULL);
		pthread_join(t, NULL);
	}
	if (!wait_until(numbers() <= before))
		return 1;
	for (int i = 0; i < 50; i++) {
		pthread_create(&t, NULL, one_call, (void *)1);
		pthread_join(t, NULL);
	}
	return wait_until(numbers() <= before) ? 0 : 2;
}

static int changes_ids(void *arg)
{
	int before;

	(void)arg;
	value(0, GETVAL);
	before = numbers();
	for (int i = 0; i < 300; i++) {
		if (setresuid((uid_t)-1, i % 2 ? 0 : OTHER, (uid_t)-1))
			return 1;
		ipc_credentials_changed();
		if (op(3, 1, 0) || op(3, -1, 0))
			return 2;
	}
	return numbers() <= before ? 0 : 3;
}

static int changes_root(void *arg)
{
	(void)arg;
	value(0, GETVAL);
	if (chroot("/proc/self/fdinfo") || chdir("/"))
		return 1;
	close_all();
	return op(3, 1, SEM_UNDO) ? 2 : 0;
}

/* ---- exec, clone ---- */

static int execs(void)
{
	char name[20];

	op(0, 5, SEM_UNDO);
	ipc_shmat(ns, seg, NULL, 0);
	snprintf(name, sizeof name, "%d", set);
	execl("/proc/self/exe", "clients", "--after-exec", ipcd_socket, name, (char *)NULL);
	return 9;
}

static void *exec_thread(void *arg)
{
	(void)arg;
	execl("/bin/sleep", "sleep", "30", (char *)NULL);
	return NULL;
}

/* The thread that sleeps is gone with the exec; the new image never calls. */
static int execs_below_sleeper(void)
{
	pthread_t t;

	pthread_create(&t, NULL, sleeping_thread, NULL);
	if (!wait_until(value(2, GETNCNT) == 1))
		return 1;
	op(0, 5, SEM_UNDO);
	exec_thread(NULL);
	return 2;
}

static int after_exec(const char *socket, const char *id)
{
	ns = ipc_open(socket, IPC_OPEN_SOCKET);
	set = atoi(id);
	if (!ns || value(0, GETVAL) != 5)
		return 1;
	return op(0, -2, SEM_UNDO) ? 2 : 0;
}

static int clones(void)
{
	int status;
	pid_t pid;

	if (ipc_shmat(ns, seg, NULL, 0) == (void *)-1 || op(0, 1, SEM_UNDO))
		return 1;
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(op(0, 2, SEM_UNDO) ? 1 : value(0, GETVAL) != 3 ? 2 : attached() != 2 ? 3 : 0);
	if (waitpid(pid, &status, 0) != pid || status)
		return 10 + (status >> 8);
	return value(0, GETVAL) != 1 ? 2 : attached() != 1 ? 3 : 0;
}

/* A child that never calls has its parent's connections open after the parent's death. */
static int leaves_child(void)
{
	if (!syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
		_exit(!wait_until(sh->go));
	return 0;
}

/* ---- signals, cancellation ---- */

static sigjmp_buf away;

static void count_it(int sig)
{
	(void)sig;
	atomic_fetch_add(&sh->handled, 1);
}

static void jump(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

/* The same kind of call, in the handler. */
static void call_it(int sig)
{
	(void)sig;
	atomic_store(&sh->second, op(4, -1, IPC_NOWAIT) ? errno : 0);
	atomic_fetch_add(&sh->handled, 1);
}

static void handle(int sig, void (*f)(int), int flags)
{
	struct sigaction a = { .sa_handler = f, .sa_flags = flags };

	sigemptyset(&a.sa_mask);
	signal_action(sig, &a, NULL);
}

static int sleeps_with_handlers(void)
{
	handle(SIGUSR1, count_it, SA_RESTART);
	handle(SIGUSR2, count_it, 0);
	handle(SIGHUP, call_it, SA_RESTART);
	atomic_store(&sh->ready, 1);
	sh->result = op(2, -1, 0);
	sh->error = errno;
	return sh->result == -1 && sh->error == EINTR ? 0 : sh->result ? 1 : 2;
}

static int jumps(void)
{
	handle(SIGUSR1, jump, 0);
	for (volatile int i = 0; i < 20; i++)
		if (!sigsetjmp(away, 1)) {
			atomic_store(&sh->ready, 1);
			op(2, -1, 0);
			return 1;
		} else if (atomic_exchange(&sh->ready, 0), value(2, GETNCNT) || op(4, 1, 0) || op(4, -1, 0)) {
			return 2;
		}
	return 0;
}

static void *receiving_thread(void *arg)
{
	struct { long type; char text[200]; } m;

	(void)arg;
	atomic_store(&sh->ready, 1);
	ipc_msgrcv(ns, queue, &m, 200, 77, 0);
	return NULL;
}

static int cancels(void)
{
	struct { long type; char text[200]; } m = { .type = 77 };
	int before = numbers();
	void *r = NULL;
	pthread_t t;

	for (int i = 0; i < 30; i++) {
		atomic_store(&sh->ready, 0);
		pthread_create(&t, NULL, receiving_thread, NULL);
		wait_until(sh->ready);
		if (i % 3)
			usleep(1000);
		pthread_cancel(t);
		pthread_join(t, &r);
		if (r != PTHREAD_CANCELED)
			return 1;
	}
	if (ipc_msgsnd(ns, queue, &m, 10, 0) || ipc_msgrcv(ns, queue, &m, 200, 77, IPC_NOWAIT) != 10)
		return 2;
	return wait_until(numbers() <= before) ? 0 : 3;
}

static void jumping(void)
{
	pid_t pid = client(jumps);

	while (proc_state(pid, pid) && proc_state(pid, pid) != 'Z')
		if (sh->ready && value(2, GETNCNT) == 1)
			kill(pid, SIGUSR1), proc_nap();
	is(proc_wait(pid), 0, "a handler that jumps out of a sleep: nobody waits, and calls go on");
}

/* Several signals come while the daemon cannot answer; then it can. */
static void signals_below_stopped(void)
{
	pid_t pid = client(sleeps_with_handlers);

	wait_until(sh->ready && value(2, GETNCNT) == 1);
	kill(ipcd_pid, SIGSTOP);
	wait_until(proc_state(ipcd_pid, ipcd_pid) == 'T');
	kill(pid, SIGUSR1);
	usleep(20000);
	kill(pid, SIGUSR2);
	usleep(20000);
	kill(ipcd_pid, SIGCONT);
	is(proc_wait(pid), 0, "two signals come while ipcd is stopped: EINTR");
	is(sh->handled, 2, "... both are handled");
	is(value(2, GETNCNT), 0, "... and the request is withdrawn");
	pid = client(sleeps_with_handlers);
	wait_until(sh->ready && value(2, GETNCNT) == 1);
	kill(ipcd_pid, SIGSTOP);
	wait_until(proc_state(ipcd_pid, ipcd_pid) == 'T');
	kill(pid, SIGINT);
	is(proc_wait(pid), 1000 + SIGINT, "^C ends a client while ipcd is stopped");
	kill(ipcd_pid, SIGCONT);
	is(value(2, GETNCNT), 0, "... and its request goes with it");
}

/* A signal comes while there is no daemon; its handler makes the same kind of call. */
static void signals_without(int sig)
{
	pid_t pid = client(sleeps_with_handlers);

	wait_until(sh->ready && value(2, GETNCNT) == 1);
	ipcd_end(sig);
	op(4, 1, 0);
	usleep(30000);
	kill(pid, SIGHUP);
	usleep(30000);
	op(2, 1, 0); /* it may be in time or not, but not be lost */
	ipcd_start();
	pid = proc_wait(pid);
	ok(pid == 0 || pid == 2, "a signal comes while ipcd is away: the call ends (%d)", pid);
	is(value(2, GETVAL), pid == 0, "... with its unit, or without it");
	is(value(2, GETNCNT), 0, "... nobody waits");
	is(sh->handled, 1, "... the handler ran");
	is(sh->second, 0, "... and its own call was performed");
	is(value(4, GETVAL), 0, "... once");
	op(2, -1, IPC_NOWAIT);
}

static int sleeps(void)
{
	atomic_store(&sh->ready, 1);
	return op(2, -1, 0) ? 1 : 0;
}

static void stopped_client(void)
{
	pid_t pid = client(sleeps);

	wait_until(value(2, GETNCNT) == 1);
	kill(pid, SIGSTOP);
	wait_until(proc_state(pid, pid) == 'T');
	op(2, 1, 0);
	is(value(2, GETNCNT), 0, "a client that is stopped gets its unit");
	kill(pid, SIGCONT);
	is(proc_wait(pid), 0, "... and its call returns when it goes on");
	is(value(2, GETVAL), 0, "... with that unit");
}

static void removed_meanwhile(void)
{
	int old = set;
	pid_t pid;

	set = ipc_semget(ns, IPC_PRIVATE, 3, 0666);
	begin();
	pid = proc_run(other, (void *)sleeps_with_handlers);
	wait_until(sh->ready && value(2, GETNCNT) == 1);
	kill(pid, SIGSTOP);
	wait_until(proc_state(pid, pid) == 'T');
	ipcd_end(SIGKILL);
	ipcd_start();
	ipc_semctl(ns, set, 0, IPC_RMID);
	kill(pid, SIGCONT);
	is(proc_wait(pid), 1, "a set is removed before a sleeper has come back to the new daemon: its call ends");
	is(sh->error, EIDRM, "... with EIDRM");
	set = old;
}

static void threads_and_descriptors(void)
{
	is(result_of(closes_all), 0, "all descriptors closed: calls go on");
	is(result_of(closes_anothers), 0, "... also below another thread that sleeps: its unit is taken once");
	is(result_of(threads), 0, "threads that end give their numbers back, also when they could not say so");
	is(proc_wait(proc_run(changes_ids, NULL)), 0, "ids change three hundred times: the thread keeps its number");
	is(proc_wait(proc_run(changes_root, NULL)), 0, "in another root calls go on");
	is(value(3, GETVAL), 0, "... and undo is applied");
}

static void images(void)
{
	int before = ipcd_descriptors();
	pid_t pid;

	is(result_of(execs), 0, "exec: undo stays, and the new image is the same process");
	is(value(0, GETVAL), 0, "... undo of both is applied");
	is(attached(), 0, "... nothing is attached");
	pid = client(execs_below_sleeper);
	wait_until(value(0, GETVAL) == 5);
	ok(wait_until(value(2, GETNCNT) == 0), "exec below a thread that sleeps withdraws its request");
	op(2, 1, 0);
	is(value(2, GETVAL), 1, "... and a unit is not given to it");
	op(2, -1, IPC_NOWAIT);
	is(value(0, GETVAL), 5, "... undo stays");
	proc_kill(pid);
	is(value(0, GETVAL), 0, "... until its end");
	is(result_of(clones), 0, "the child of a bare clone is a process of its own");
	is(attached(), 0, "... nothing is attached after both");
	is(result_of(leaves_child), 0, "a client leaves a child behind that has its connections open");
	ok(wait_until(ipcd_descriptors() <= before), "... they are closed all the same (%d, %d)", ipcd_descriptors(), before);
	atomic_store(&sh->go, 1);
}

int main(int argc, char **argv)
{
	int times = getenv("T_TIMES") ? atoi(getenv("T_TIMES")) : 1;
	pid_t pid;

	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(argv[2], argv[3]);
	if (geteuid())
		skip_all("needs several uids: root");
	srandom((unsigned)tap_seed());
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ns = ipcd_open(argv[0], 200);
	set = ipc_semget(ns, IPC_PRIVATE, 5, 0666);
	queue = ipc_msgget(ns, IPC_PRIVATE, 0666);
	seg = ipc_shmget(ns, IPC_PRIVATE, 10000, 0666);
	if (set < 0 || queue < 0 || seg < 0)
		bail_out("objects");
	threads_and_descriptors();
	images();
	jumping();
	is(result_of(cancels), 0, "cancelled in msgrcv: nothing is left");
	signals_below_stopped();
	signals_without(SIGKILL);
	signals_without(SIGTERM);
	stopped_client();
	removed_meanwhile();
	right_after();
	killed(KILLED * times);
	pid = ipcd_end(SIGTERM);
	is(pid, 0, "ipcd ends well");
	return done_testing();
}
