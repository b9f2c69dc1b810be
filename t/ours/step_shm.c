/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shmat and shmdt of a segment that is attached again and again, stepped through (t/lib/step.h): killed, stopped,
 * interrupted at each instruction, by a handler that attaches and detaches the same segment, and by one that leaves by
 * longjmp. Others then at once find a segment that can be attached, with as many attachments as there are; the victim
 * finds as many mappings as are counted, and its signals as it left them.
 */
#include <pthread.h>
#include <setjmp.h>
#include <sys/shm.h>

#include "step.h"

#define SIZE (8 * 4096)
#define MARK 0x5ca1ab1e

static int segment;
static volatile int *at; /* the victim's attachment */
static int attachments_before; /* 0: it opens the segment, 1: and keeps a page, 2: it has one */
static bool jumps, detaches;
static sigjmp_buf back;
static volatile bool can_jump;

/* ---- the victim's side ---- */

/* Mappings of the segment that the program sees: all but the page that the library keeps. */
static int mappings(void)
{
	const char *dir = step_daemon ? ipcd_ns : step_dir;
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[400], *name;
	int n = 0;

	while (f && fgets(line, sizeof line, f))
		n += (name = strstr(line, dir)) && !strncmp(name + strlen(dir), "/shm-", 5) &&
		     sscanf(line, "%lx-%lx", &from, &to) == 2 && to - from == SIZE;
	if (f)
		fclose(f);
	return n;
}

static long attached(void)
{
	struct shmid_ds ds;

	return ipc_shmctl(step_ns, segment, IPC_STAT, &ds) ? -1 : (long)ds.shm_nattch;
}

static void warm(void)
{
	for (int i = 0; i < SHM_KEPT; i++) { /* what was kept, it inherits */
		int other = ipc_shmget(step_ns, IPC_PRIVATE, SIZE, 0666);

		ipc_shmdt(step_ns, ipc_shmat(step_ns, other, NULL, 0));
		ipc_shmctl(step_ns, other, IPC_RMID, NULL);
	}
	for (int i = 0; i < attachments_before; i++)
		ipc_shmdt(step_ns, ipc_shmat(step_ns, segment, NULL, 0));
	if (detaches)
		at = ipc_shmat(step_ns, segment, NULL, 0);
}

static void call_attach(void)
{
	at = ipc_shmat(step_ns, segment, NULL, 0);
	step_sh->result = at == (void *)-1 ? -1 : 0;
}

static void call_detach(void)
{
	step_sh->result = ipc_shmdt(step_ns, (void *)at);
}

static void call_attach_or_jump(void)
{
	if (!sigsetjmp(back, 1)) {
		can_jump = true;
		call_attach();
		can_jump = false;
	} else {
		step_sh->jumped = 1;
	}
}

static void call_detach_or_jump(void)
{
	if (!sigsetjmp(back, 1)) {
		can_jump = true;
		call_detach();
		can_jump = false;
	} else {
		step_sh->jumped = 1;
	}
}

static void handler(void)
{
	volatile int *p = ipc_shmat(step_ns, segment, NULL, 0);

	step_sh->torn = p == (void *)-1 || *p != MARK;
	step_sh->hresult = ipc_shmdt(step_ns, (void *)p);
	if (can_jump)
		siglongjmp(back, 1);
}

/* Its signals are let in, it can be cancelled, and its mappings are those that are counted. */
static void tell(void)
{
	sigset_t set;
	int cancel;

	sigprocmask(SIG_BLOCK, NULL, &set);
	step_sh->torn |= sigismember(&set, SIGUSR1) || sigismember(&set, SIGTERM);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
	step_sh->torn |= cancel != PTHREAD_CANCEL_ENABLE;
	step_sh->torn |= !step_sh->jumped && !detaches && *at != MARK;
	step_sh->again = attached();
	step_sh->error = mappings();
}

/* ---- looking ---- */

static void attach_and_detach(void)
{
	volatile int *p = ipc_shmat(step_ns, segment, NULL, 0);

	step_check(p != (void *)-1 && *p == MARK, "shmat: errno %d", errno);
	step_check(!ipc_shmdt(step_ns, (void *)p), "shmdt: errno %d", errno);
}

static void stopped(bool told)
{
	long n = attached();

	attach_and_detach();
	step_check(attached() == n, "%ld attachments, then %ld", n, attached());
	if (!told) {
		step_check(n >= 0 && n <= 2, "%ld attachments", n);
		return;
	}
	step_check(!step_sh->torn, "the handler, the signal mask, the cancelability, or what is in the segment");
	step_check(n == step_sh->again && n == step_sh->error, "%ld attachments; the victim: %ld, and %ld mappings", n,
		   step_sh->again, step_sh->error);
	step_check(step_sh->handled == step_signalled, "handled %d times", step_sh->handled);
	step_check(!step_sh->handled || !step_sh->hresult, "the handler's shmdt");
	if (step_sh->jumped)
		step_check(n == 0 || n == 1, "%ld attachments", n);
	else
		step_check(!step_sh->result && n == !detaches, "result %ld, %ld attachments", step_sh->result, n);
}

static void after(void)
{
	step_check(attached() == 0, "%ld attachments of the dead", attached());
	attach_and_detach();
	step_check(attached() == 0, "%ld attachments", attached());
}

/* ---- the scenes ---- */

static void prepare(void)
{
	step_check(attached() == 0, "%ld attachments", attached());
}

static void scenes(const char *name, int before, long every)
{
	char call[100];

	attachments_before = before;
	for (int i = 0; i < 4; i++) {
		struct step_scene s = { .name = call, .prepare = prepare, .warm = warm, .tell = tell, .handler = handler,
					.stopped = stopped, .after = after, .meanwhile = attach_and_detach };

		detaches = i % 2;
		jumps = s.interrupts = i / 2;
		s.call = detaches ? jumps ? call_detach_or_jump : call_detach : jumps ? call_attach_or_jump : call_attach;
		snprintf(call, sizeof call, "%s of a segment that %s%s", detaches ? "shmdt" : "shmat", name,
			 jumps ? ", and a handler that jumps out" : "");
		step_scene(&s, every);
	}
}

/* Instructions of the call that enter the kernel. */
static int system_calls(bool detach)
{
	static struct step_trace t;
	static struct step_scene s;
	int n = 0;

	s = (struct step_scene){ .name = "counted", .warm = warm, .call = detach ? call_detach : call_attach, .tell = tell };
	attachments_before = 2;
	detaches = detach;
	step_now = &s;
	step_record(&t);
	for (int i = 0; i < t.count; i++)
		n += (ptrace(PTRACE_PEEKTEXT, step_pid, (void *)t.rip[i], NULL) & 0xffff) == 0x050f;
	kill(step_pid, SIGKILL);
	waitpid(step_pid, NULL, 0);
	return n;
}

int main(void)
{
	volatile int *p;

	step_open();
	step_asks = step_daemon;
	segment = ipc_shmget(step_ns, IPC_PRIVATE, SIZE, 0666);
	p = ipc_shmat(step_ns, segment, NULL, 0);
	if (p == (void *)-1)
		bail_out("shmat");
	*p = MARK;
	ipc_shmdt(step_ns, (void *)p);
	if (!step_daemon) { /* there they are requests */
		is(system_calls(false), 1, "shmat of a segment that is attached again and again is one system call");
		is(system_calls(true), 1, "shmdt is one system call");
	}
	scenes("has not been attached before", 0, step_every(0));
	scenes("has been attached once before", 1, step_every(0));
	scenes("is attached again and again", 2, step_every(0));
	succeeds(ipc_shmctl(step_ns, segment, IPC_RMID, NULL), "the segment can be removed");
	step_all_free();
	return done_testing();
}
