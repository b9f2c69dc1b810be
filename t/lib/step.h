/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that is stepped through one call, instruction by instruction, and meets something at the k-th: it is
 * killed, left stopped, stopped while others go on and then let go on itself, interrupted by a signal, or somebody
 * makes possible what it is about to wait for. For every k a fresh victim is forked; the test looks at the object
 * before and after the victim's death.
 *
 * Rules inside:
 *  - The victim's call begins at an int3 and ends with step_sh->done; then it tells, unstepped, what it found there.
 *  - The way to the k-th instruction is run to the last one before it that is met for the first time, then stepped.
 *  - A system call is one step. One that blocks (futex) is told by its address; then the scene's agent acts.
 *  - The spinning before a sleep is run through at full speed, not stepped (a breakpoint behind its loop).
 *  - $T_DAEMON=own: all processes are clients of an ipcd of the test's own, the victim of the owner's uid. other: it is
 *    of another uid, so that its calls are requests; what the daemon has begun is done before anybody looks.
 *  - A watchdog, forked before anything else, ends the test with the name of the round when nothing goes on for 30 s.
 */
#ifndef T_STEP_H
#define T_STEP_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "libipc.h"
#include "route_call.h"
#include "slot.h"
#include "directory.h"
#include "ipcd.h"
#include "proc.h"
#include "tap.h"

#define STEP_MAX 60000
#define STEP_FEW 16
#define STEP_OTHER 42000

enum step_act { STEP_KILL, STEP_STOP, STEP_PASS, STEP_SIGNAL, STEP_GO, STEP_ACTS };

/* What the victim tells, and where the test is (for the watchdog). */
struct step_shared {
	volatile int done, told, handled, jumped;
	volatile long result, error, hresult, herror, again;
	volatile uint64_t serial, hserial; /* of a message that was received */
	volatile long type, htype;
	volatile int torn;
	volatile unsigned long progress;
	volatile long k;
	char round[200];
};

static struct step_shared *step_sh;
static ipc_ns *step_ns;
static char step_dir[64];
static bool step_daemon;
static uid_t step_uid, step_peer_uid; /* the victim's, and the peer's, if it is not the owner's */
static bool step_asks;   /* the victim's calls are requests */
static bool step_halted; /* the daemon is stopped */
static unsigned long step_seed;

struct step_scene {
	const char *name;
	void (*prepare)(void);     /* the object's state; a sleeper sleeps, if there is one */
	void (*warm)(void);        /* in the victim: the same call, and back, so that lazy set-up is done */
	void (*call)(void);        /* in the victim: nothing but the call */
	void (*tell)(void);        /* in the victim: what it found, into step_sh */
	void (*handler)(void);     /* in the victim's handler */
	void (*agent)(void);       /* make the victim's wait possible; NULL: it does not wait */
	bool (*waits)(void);       /* does the victim wait in the object? */
	void (*stopped)(bool told);/* look while the victim is stopped; told: at its end */
	void (*after)(void);       /* look after its death */
	void (*ready)(void);       /* when the victim has warmed up; or NULL */
	bool interrupts;           /* it is about interruption only */
	void (*meanwhile)(void);   /* others operate while it is stopped, and leave all as it was; NULL: not done */
	void (*rush)(void);        /* the same, even while a daemon performs the victim's call; or NULL */
};

struct step_trace {
	int count;
	unsigned long rip[STEP_MAX];
	bool first[STEP_MAX];            /* not met before */
	unsigned long futex;             /* address of the blocking system call */
	unsigned long send;              /* of the one that sends a request */
	int futex_at;                    /* its step */
	int skip_from, skip_to;          /* steps of the spinning */
};

static const struct step_scene *step_now;
static enum step_act step_act;
static bool step_early; /* the agent acts at step k, not when the victim sleeps */
static bool step_agent_done;
static bool step_signalled; /* the victim was, in this round */
static pid_t step_pid;
static int step_bad;    /* failed checks of this sweep */
static int step_missed; /* rounds where the victim took another way than when it was recorded */

/* A check inside a round: silent when it holds. */
#define step_check(cond, ...)                                                                       \
	do {                                                                                        \
		if (!(cond) && step_bad++ < 3) {                                                    \
			diag("%s, step %ld (%s:%d): %s", step_sh->round, step_sh->k, __FILE__, __LINE__, #cond); \
			diag("  " __VA_ARGS__);                                                     \
		}                                                                                   \
	} while (0)

/* Ends a test that hangs, and removes the directory of one that was killed. */
static void step_watchdog(void)
{
	pid_t parent = getpid();

	step_sh = mmap(NULL, sizeof *step_sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (step_sh == MAP_FAILED)
		bail_out("no shared page");
	fflush(stdout);
	if (fork())
		return;
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	for (unsigned long last = 0, still = 0; getppid() == parent; usleep(50000)) {
		still = step_sh->progress == last ? still + 1 : 0;
		last = step_sh->progress;
		if (still < 600)
			continue;
		diag("hangs: %s, step %ld", step_sh->round, step_sh->k);
		kill(parent, SIGKILL);
	}
	directory_remove(step_dir);
	if (step_daemon) {
		directory_remove(ipcd_ns);
		directory_remove(ipcd_dir);
	}
	_exit(0);
}

/* The slots and who numbers of all processes but the daemon. */
static void step_in_use(unsigned *slots, unsigned *whos)
{
	struct slots *s = step_ns->slots;

	*slots = *whos = 0;
	for (uint32_t i = 1; i < slots_high(step_ns); i++)
		*slots += (!step_ns->wire || s->row[i].uid) && WORD_STATE(atomic_load(&s->row[i].word)) != SLOT_FREE;
	for (uint32_t i = 1; i < whos_high(step_ns); i++) {
		uint32_t tag = (uint32_t)atomic_load(&s->who[i]);

		*whos += tag && (!step_ns->wire || s->row[SLOT_OF(tag)].uid);
	}
}

static void step_settle(void)
{
	if (step_halted) /* it will */
		return;
	if (step_ns->wire)
		wire_settle(step_ns);
	else
		slots_sweep(step_ns, ns_enter(step_ns));
}

static ipc_ns *step_namespace(void)
{
	if (!step_daemon)
		return ipc_open(step_dir, IPC_OPEN_CREATE);
	ipcd_start();
	return ipc_open(ipcd_socket, IPC_OPEN_SOCKET);
}

static void step_open(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (!getenv("LD_BIND_NOW")) { /* no looking up of symbols inside the calls */
		setenv("LD_BIND_NOW", "1", 1);
		execv("/proc/self/exe", (char *[]){ (char *)"step", NULL });
	}
	step_daemon = getenv("T_DAEMON");
	if (step_daemon && !strcmp(getenv("T_DAEMON"), "other"))
		step_uid = STEP_OTHER;
	step_asks = step_uid;
	if (step_uid && geteuid())
		skip_all("needs several uids: root");
	step_seed = tap_seed();
	srandom((unsigned)step_seed);
	step_peer_uid = step_uid && step_seed % 2 ? STEP_OTHER + 1 : 0;
	strcpy(step_dir, "/dev/shm/t-step-XXXXXX");
	if (!mkdtemp(step_dir))
		bail_out("mkdtemp");
	if (step_daemon)
		ipcd_place("/proc/self/exe");
	step_watchdog();
	step_ns = step_namespace();
	CPU_ZERO(&set); /* tracer and victim on one processor: a step is a switch, not an interrupt */
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
	if (!step_ns) {
		directory_remove(step_dir);
		bail_out(ipc_open_error());
	}
}

/* ---- the daemon ---- */

/* Does the thread wait for something to do, or for another one? The number of times that it has done so. */
static bool step_idle_thread(const char *tid, unsigned long *times)
{
	char path[60], line[200];
	unsigned long n;
	bool sleeps = false;
	int call = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%.12s/status", (int)ipcd_pid, tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		sleeps |= !strncmp(line, "State:\tS", 8);
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %lu", &n) == 1)
			*times += n;
	}
	if (f)
		fclose(f);
	snprintf(path, sizeof path, "/proc/%d/task/%.12s/syscall", (int)ipcd_pid, tid);
	f = sleeps ? fopen(path, "r") : NULL;
	if (f) {
		sleeps = fscanf(f, "%d", &call) == 1 && (call == SYS_epoll_wait || call == SYS_futex ||
			 call == SYS_rt_sigtimedwait || call == SYS_restart_syscall);
		fclose(f);
	}
	return sleeps;
}

static bool step_idle(unsigned long *times)
{
	char path[40];
	struct dirent *e;
	bool idle;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", (int)ipcd_pid);
	d = opendir(path);
	idle = d;
	*times = 0;
	while (idle && (e = readdir(d)))
		idle = *e->d_name == '.' || step_idle_thread(e->d_name, times);
	if (d)
		closedir(d);
	return idle;
}

/* Until no thread of the daemon has anything to do: all sleep, and none has run since the last one was seen to. */
static void step_quiet(void)
{
	unsigned long before = 0, times = 0;
	double end = proc_now() + T_WAIT;

	if (!step_asks || step_halted)
		return;
	while (!step_idle(&times) || times != before) {
		before = times;
		if (proc_now() > end) {
			diag("%s, step %ld", step_sh->round, step_sh->k);
			bail_out("ipcd does not come to rest");
		}
		sched_yield();
	}
}

/* As if it were slow: what is asked of it waits, hot calls go on. */
__attribute__((unused)) static void step_halt(void)
{
	kill(ipcd_pid, SIGSTOP);
	if (!wait_until(proc_state(ipcd_pid, ipcd_pid) == 'T'))
		bail_out("ipcd does not stop");
	step_halted = true;
}

__attribute__((unused)) static void step_unhalt(void)
{
	kill(ipcd_pid, SIGCONT);
	if (!wait_until(proc_state(ipcd_pid, ipcd_pid) != 'T'))
		bail_out("ipcd does not go on");
	step_halted = false;
}

/* ---- the victim ---- */

static void step_on_signal(int sig)
{
	(void)sig;
	step_sh->handled++;
	if (step_now->handler)
		step_now->handler();
}

__attribute__((noinline)) static void step_victim(void)
{
	struct sigaction sa = { .sa_handler = step_on_signal };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (step_uid) {
		ipcd_other_uid(step_uid);
		prctl(PR_SET_DUMPABLE, 1); /* else its memory is closed to who traces it */
	}
	sigaction(SIGUSR1, &sa, NULL);
	step_now->warm();
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	__asm__ volatile("int3" ::: "memory");
	step_now->call();
	step_sh->done = 1;
	step_now->tell();
	step_sh->told = 1;
	__asm__ volatile("int3" ::: "memory");
	_exit(0);
}

static void step_fork(void)
{
	int st;

	step_sh->done = step_sh->told = step_sh->handled = step_sh->jumped = step_sh->torn = 0;
	step_sh->result = step_sh->hresult = step_sh->again = -2;
	step_sh->serial = step_sh->hserial = 0;
	step_agent_done = step_signalled = false;
	fflush(stdout);
	step_pid = fork();
	if (!step_pid)
		step_victim();
	if (step_pid < 0 || waitpid(step_pid, &st, 0) != step_pid || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGTRAP)
		bail_out("the victim does not start");
	ptrace(PTRACE_SETOPTIONS, step_pid, NULL, (void *)PTRACE_O_EXITKILL);
	if (step_now->ready)
		step_now->ready();
}

static unsigned long step_rip(void)
{
	return (unsigned long)ptrace(PTRACE_PEEKUSER, step_pid, (void *)offsetof(struct user_regs_struct, rip), NULL);
}

static bool step_at_futex(void)
{
	struct user_regs_struct r;

	ptrace(PTRACE_GETREGS, step_pid, NULL, &r);
	return (r.rax == SYS_futex && (r.rsi & 0x7f) == 0) || r.rax == SYS_ppoll;
}

static bool step_at_send(void)
{
	return step_asks &&
	       ptrace(PTRACE_PEEKUSER, step_pid, (void *)offsetof(struct user_regs_struct, rax), NULL) == SYS_sendmsg;
}

static void step_agent(void)
{
	if (!step_agent_done && step_now->agent) {
		step_agent_done = true;
		step_quiet();
		step_now->agent();
		step_quiet();
	}
}

/* One step; in a blocking system call the agent acts when the victim sleeps. 0, or -1 when it is not stopped after. */
static int step_once(bool blocks)
{
	int st;

	ptrace(PTRACE_SINGLESTEP, step_pid, NULL, NULL);
	if (blocks) {
		while (waitpid(step_pid, &st, WNOHANG) == 0) {
			if (proc_state(step_pid, step_pid) == 'S')
				step_agent();
			sched_yield();
		}
	} else {
		waitpid(step_pid, &st, 0);
	}
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGTRAP) {
		step_check(false, "the victim stopped with %#x", st);
		return -1;
	}
	return 0;
}

/* Run to an address. False: the victim took another way, and is at the end of its call. */
static bool step_run_to(unsigned long address)
{
	long word = ptrace(PTRACE_PEEKTEXT, step_pid, (void *)address, NULL);
	int st;

	ptrace(PTRACE_POKETEXT, step_pid, (void *)address, (void *)((word & ~0xffl) | 0xcc));
	ptrace(PTRACE_CONT, step_pid, NULL, NULL);
	while (waitpid(step_pid, &st, step_now->agent ? WNOHANG : 0) == 0) {
		if (proc_state(step_pid, step_pid) == 'S')
			step_agent();
		sched_yield();
	}
	ptrace(PTRACE_POKETEXT, step_pid, (void *)address, (void *)word);
	if (WIFSTOPPED(st) && WSTOPSIG(st) == SIGTRAP && step_rip() == address + 1) {
		ptrace(PTRACE_POKEUSER, step_pid, (void *)offsetof(struct user_regs_struct, rip), (void *)address);
		return true;
	}
	step_missed++;
	step_check(step_sh->told && WIFSTOPPED(st), "on the way to its place the victim stopped with %#x", st);
	return false;
}

/* The whole call once, to see its instructions. */
static void step_record(struct step_trace *t)
{
	int first = 0, last = 0, pauses = 0, i, j;

	memset(t, 0, sizeof *t);
	step_fork();
	for (i = 0; i < STEP_MAX && !step_sh->done; i++) {
		long code;

		t->rip[i] = step_rip();
		code = ptrace(PTRACE_PEEKTEXT, step_pid, (void *)t->rip[i], NULL);
		if ((code & 0xffff) == 0x90f3) {
			if (++pauses == 3)
				first = i;
			last = i;
		}
		if ((code & 0xffff) == 0x050f && step_at_futex()) {
			t->futex = t->rip[i];
			t->futex_at = i;
		}
		if ((code & 0xffff) == 0x050f && step_at_send())
			t->send = t->rip[i];
		if (step_once(t->futex && t->futex == t->rip[i]))
			break;
		if (t->send && t->send == t->rip[i]) /* its reply is there, or will not come without the agent */
			step_quiet();
	}
	t->count = i;
	for (i = 0; i < t->count; i++) {
		for (j = 0; j < i && t->rip[j] != t->rip[i]; j++)
			;
		t->first[i] = j == i;
	}
	if (pauses > 3) {
		for (i = last + 1; i < t->count; i++) {
			for (j = first; j <= last && t->rip[j] != t->rip[i]; j++)
				;
			if (j > last)
				break;
		}
		t->skip_from = first + 1;
		t->skip_to = i;
	}
}

static bool step_skipped(const struct step_trace *t, long k)
{
	return k > t->skip_from && k < t->skip_to;
}

/* At full speed to the last step of those up to k that can be told by its address; which one, or -1 at the end. */
static long step_run(const struct step_trace *t, long k)
{
	long j = k < t->count ? k : t->count - 1;

	if (t->futex && j > t->futex_at) {
		if (!t->first[t->futex_at])
			return 0;
		if (!step_run_to(t->futex) || step_once(true))
			return -1;
	}
	while (j > 0 && (!t->first[j] || step_skipped(t, j)))
		j--;
	if (t->futex && k > t->futex_at && j <= t->futex_at)
		return t->futex_at + 1;
	return !j || step_run_to(t->rip[j]) ? j : -1;
}

/* Go k steps, or to the end of the call. */
static void step_go(const struct step_trace *t, long k)
{
	bool look = t->futex || t->skip_to || t->send;
	long begin = step_run(t, k);

	for (long i = begin; i >= 0 && i < k && !step_sh->done; i++) {
		unsigned long rip = look ? step_rip() : 0;

		if (t->skip_to && i == t->skip_from && k >= t->skip_to && rip == t->rip[i]) {
			if (!step_run_to(t->rip[t->skip_to]))
				return;
			i = t->skip_to;
			if (i >= k)
				return;
			rip = t->rip[i];
		}
		if (step_once(look && rip == t->futex && step_at_futex()))
			return;
		if (t->send && rip == t->send)
			step_quiet();
	}
}

/* Let it go on to the end of its call, with a signal or without. */
static void step_finish(int sig)
{
	int st;

	if (step_sh->told)
		return;
	step_signalled = sig;
	ptrace(PTRACE_CONT, step_pid, NULL, (void *)(long)sig);
	for (;;) {
		pid_t r = waitpid(step_pid, &st, WNOHANG);

		if (r == step_pid && WIFSTOPPED(st) && sig && WSTOPSIG(st) == sig) { /* it was blocked, or held and sent again */
			ptrace(PTRACE_CONT, step_pid, NULL, (void *)(long)sig);
			continue;
		}
		if (r == step_pid)
			break;
		if (step_now->agent && proc_state(step_pid, step_pid) == 'S' && step_now->waits())
			step_now->agent(); /* again, if a handler has used it up */
		sched_yield();
	}
	step_check(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTRAP && step_sh->told, "the victim ended with %#x", st);
}

/* Its death; a zombie is dead. */
static void step_end(bool zombie)
{
	siginfo_t si;

	kill(step_pid, SIGKILL);
	if (waitid(P_PID, (id_t)step_pid, &si, WEXITED | WNOWAIT))
		bail_out("waitid");
	if (!zombie)
		waitpid(step_pid, NULL, 0);
	if (step_now->rush)
		step_now->rush();
	step_quiet();
	step_now->after();
	if (zombie)
		waitpid(step_pid, NULL, 0);
}

static void step_round(const struct step_trace *t, long k)
{
	step_sh->k = k;
	step_sh->progress++;
	step_now->prepare();
	step_fork();
	step_go(t, k);
	if (step_now->rush)
		step_now->rush();
	step_quiet();
	if (step_early)
		step_agent();
	if (step_act == STEP_PASS)
		step_now->meanwhile();
	if (step_sh->done || step_act == STEP_GO || step_act == STEP_PASS)
		step_finish(0);
	else if (step_act == STEP_SIGNAL)
		step_finish(SIGUSR1);
	else if (step_act == STEP_STOP)
		step_agent();
	if (step_act != STEP_KILL)
		step_now->stopped(step_sh->told);
	step_end(random() % 2);
}

static const char *step_act_name(void)
{
	static const char *const name[STEP_ACTS] = { "killed", "left stopped", "passed by others", "interrupted", "met" };

	return name[step_act];
}

/* T_STEP=n: one instruction in n, from a random one on, or from T_FROM. T_SCENE: only the scene of that name. */
static void step_sweep(const struct step_scene *s, const struct step_trace *t, enum step_act act, bool early, long every)
{
	const char *from = getenv("T_FROM");
	long phase = from ? strtol(from, NULL, 10) : every > 1 ? random() % every : 0, rounds = 0;
	double begin = proc_now();

	step_now = s;
	step_act = act;
	step_early = early;
	step_bad = step_missed = 0;
	snprintf(step_sh->round, sizeof step_sh->round, "%s, %s%s", s->name, step_act_name(),
		 early ? " when it has just become possible" : "");
	for (long k = phase; k <= t->count; k += every) {
		if (step_skipped(t, k))
			continue;
		step_round(t, k);
		rounds++;
	}
	diag("%.2f s, %d took another way", proc_now() - begin, step_missed);
	ok(!step_bad && step_missed <= rounds / 5, "%s (%ld of %d instructions)", step_sh->round, rounds, t->count);
}

/* every: the distance of the instructions; 0: a few for each sweep. */
__attribute__((unused)) static void step_scene(const struct step_scene *s, long every)
{
	static struct step_trace t;

	if (getenv("T_SCENE") && strcmp(getenv("T_SCENE"), s->name))
		return;
	step_now = s;
	snprintf(step_sh->round, sizeof step_sh->round, "%s, recorded", s->name);
	for (;;) { /* some calls go another way when the second has changed since the last one */
		time_t began = time(NULL);

		s->prepare();
		step_record(&t);
		if (time(NULL) == began || t.count > 5000)
			break;
		step_finish(0);
		step_end(false);
	}
	if (!every)
		every = t.count / STEP_FEW + 1;
	ok(step_sh->done && t.count > 50, "%s: a call of %d instructions%s", s->name, t.count - (t.skip_to - t.skip_from),
	   t.futex ? ", and a sleep" : "");
	step_finish(0);
	step_now->stopped(true);
	step_end(false);
	for (int early = 0; early <= (s->agent != NULL); early++)
		for (int act = 0; act < STEP_ACTS; act++)
			if ((act != STEP_GO || early) && (act != STEP_PASS || s->meanwhile) &&
			    (act == STEP_SIGNAL || !s->interrupts))
				step_sweep(s, &t, (enum step_act)act, early, every);
}

__attribute__((unused)) static long step_every(long otherwise)
{
	const char *e = getenv("T_STEP");
	long n = e ? strtol(e, NULL, 10) : 0;

	return n > 0 ? n : step_asks ? 8 * otherwise : otherwise; /* a request takes longer */
}

/* ---- another process that sleeps in the object ---- */

static pid_t step_peer_pid;
static int step_peer_go = -1;

struct step_peer {
	volatile unsigned long asked, answered;
	volatile long result, error;
	volatile uint64_t serial;
	volatile int what;
	volatile size_t size;
};
static struct step_peer *step_peer;

__attribute__((unused)) static void step_peer_start(void (*fn)(void))
{
	int p[2];
	char c;

	step_peer = mmap(NULL, sizeof *step_peer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (step_peer == MAP_FAILED || pipe2(p, O_CLOEXEC))
		bail_out("no peer");
	fflush(stdout);
	step_peer_pid = fork();
	if (!step_peer_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (step_peer_uid)
			ipcd_other_uid(step_peer_uid);
		close(p[1]);
		while (read(p[0], &c, 1) == 1) {
			fn();
			step_peer->answered++;
		}
		_exit(0);
	}
	close(p[0]);
	step_peer_go = p[1];
}

__attribute__((unused)) static void step_peer_ask(void)
{
	step_peer->asked++;
	if (write(step_peer_go, "x", 1) != 1)
		bail_out("the peer has gone");
}

__attribute__((unused)) static bool step_peer_idle(void)
{
	return step_peer->asked == step_peer->answered;
}

__attribute__((unused)) static void step_peer_end(void)
{
	close(step_peer_go);
	waitpid(step_peer_pid, NULL, 0);
}

/* What the dead had in the namespace's tables has come back. */
__attribute__((unused)) static void step_all_free(void)
{
	unsigned slots, whos;

	step_settle();
	wait_until((step_in_use(&slots, &whos), slots == 1 && whos == 1)); /* a daemon is told of each death */
	is(slots, 1, "every slot but this process's is free");
	is(whos, 1, "every who number but this thread's is free");
}

#endif
