#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# IPCD_LOG=trace: a line for each call, as strace shows it; the program notices nothing. Needs a C compiler; the comparison
# with strace's own lines is left out where there is no strace, or no namespace of the kernel's to be had.
# Environment: IPCRUN (build/ipcrun), CC.
# shellcheck disable=SC2016,SC2154

. "$(dirname "$0")/../lib/tap.sh"
lib=$(realpath "$(dirname "$IPCRUN")/libipc-sysv.so")
read -ra cc <<<"${CC:-cc}"

compile() {	# NAME, its source on stdin
	cat >"$tmp/$1.c"
	"${cc[@]}" -D_GNU_SOURCE -O1 -w -o "$tmp/$1" "$tmp/$1.c" -lpthread || { echo "Bail out! cannot compile $1.c"; exit 1; }
}

traced() {	# COMMAND...: its lines are in $tmp/log afterwards
	rm -f "$tmp/log"
	IPCD_LOG=trace:$tmp/log "$IPCRUN" "$@"
}

# ---- every call, beside strace ----

compile calls <<'C'
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>
#define TRY(any, ...) (errors += (any)(__VA_ARGS__) == -1)
int main(void)
{
	struct sembuf up[2] = { { 0, 1, 0 }, { 1, -1, SEM_UNDO | IPC_NOWAIT } }, much[80];
	unsigned short v[40] = { 1, 2, 3 };
	struct { long type; char text[100]; } m = { 5, "he\"l\nlo\0z\377\0019" };
	struct timespec ts = { 0, 1000000 };
	struct shminfo hi; struct shm_info hs; struct seminfo si; struct msginfo mi;
	struct shmid_ds hd; struct semid_ds sd; struct msqid_ds md;
	int s = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600), q, i, big;
	char *p, *p2;

	semget(0x1234, 3, 0);
	big = semget(-2, 40, IPC_CREAT | IPC_EXCL | 0640);
	semop(s, up, 1);
	semop(s, up, 2);
	semtimedop(s, up + 1, 1, &ts);
	semtimedop(s, up, 1, 0);
	semop(s, 0, 1); semop(s, (void *)16, 1); semop(999, up, 1); semop(s, up, 0);
	semctl(s, 1, SETVAL, 7); semctl(s, 1, GETVAL); semctl(s, 0, GETPID); semctl(s, 0, GETNCNT); semctl(s, 0, GETZCNT);
	semctl(s, 0, IPC_STAT, &sd); semctl(s, 0, IPC_SET, &sd); semctl(0, 0, SEM_STAT, &sd); semctl(0, 0, IPC_INFO, &si);
	semctl(0, 0, SEM_INFO, &si); semctl(s, 0, IPC_STAT, (void *)8); semctl(s, 9, GETVAL);
	q = msgget(IPC_PRIVATE, 0600 | IPC_CREAT); msgget(0x77, 0);
	msgsnd(q, &m, 11, 0); msgsnd(q, &m, 60, IPC_NOWAIT);
	msgrcv(q, &m, 11, 0, 0); msgrcv(q, &m, 10, -5, IPC_NOWAIT | MSG_NOERROR); msgrcv(q, &m, 10, 5, IPC_NOWAIT | MSG_EXCEPT);
	msgsnd(q, 0, 4, 0); m.type = 0; msgsnd(q, &m, 4, 0); m.type = 1; msgsnd(q, &m, 0, 0);
	msgctl(q, IPC_STAT, &md); msgctl(q, IPC_SET, &md); msgctl(0, IPC_INFO, (void *)&mi); msgctl(0, MSG_INFO, (void *)&mi);
	msgctl(0, MSG_STAT, &md); msgctl(q, IPC_RMID, 0); msgctl(q, IPC_RMID, 0);
	i = shmget(0x99, 10000, IPC_CREAT | 0600 | SHM_NORESERVE); p = shmat(i, 0, 0); p2 = shmat(i, 0, SHM_RDONLY | SHM_EXEC);
	shmat(i, (void *)(p + 1), 0);
	shmctl(i, IPC_STAT, &hd); shmctl(i, IPC_SET, &hd); shmctl(0, IPC_INFO, (void *)&hi); shmctl(0, SHM_INFO, (void *)&hs);
	shmctl(0, SHM_STAT, &hd); shmctl(i, IPC_RMID, 0); shmdt(p); shmdt(p2); shmdt(p); shmat(i, 0, 0); shmctl(i, IPC_STAT, 0);
	semctl(s, 0, IPC_RMID);
	/* What strace shows as addresses, or not at all. */
	semctl(big, 0, SETALL, v); semctl(big, 0, GETALL, v); semctl(big, 0, GETALL, (void *)8);
	for (int k = 0; k < 80; k++)
		much[k] = (struct sembuf){ k % 40, 1, 0 };
	semop(big, much, 80); semctl(big, 0, 99, 0); shmctl(-1, 77, 0);
	return 0;
}
C

# Ours in strace's words: what glibc makes of semop, and what strace knows less of.
as_strace() {
	sed -E 's/^\[pid [0-9]+\] //; s/^semop\((.*)\) +=/semtimedop(\1, NULL) =/; s/(SETVAL), ([0-9]+)\)/\1, 0x\2)/
		s/(GETVAL|GETPID|GETNCNT|GETZCNT|IPC_RMID)\)/\1, NULL)/'
}
# What differs from run to run.
symbolic() {
	sed -E 's/ += / = /; s/(time|pid)=[1-9][0-9]+/\1=N/g; s/(GETPID, NULL\) = )[0-9]+/\1PID/; s/0x[0-9a-f]{5,}/ADDRESS/g
		s/, shm_rss=[0-9]+/, shm_rss=N/'
}
traced "$tmp/calls"
cp "$tmp/log" "$tmp/ours"
if unshare -i strace -qq -e trace=ipc -o "$tmp/strace" "$tmp/calls" 2>/dev/null; then
	removed=$(grep -n 'semctl(0, 0, IPC_RMID' "$tmp/strace" | cut -d: -f1)
	is "each call is shown as strace shows it" "$(as_strace <"$tmp/ours" | head -n "$removed" | symbolic)" \
		"$(head -n "$removed" "$tmp/strace" | symbolic)"
else
	skip "each call is shown as strace shows it" "no strace here, or no namespace for it"
fi
has() {	# NAME REGEX: a line of the log
	grep -Eq -- "$2" "$tmp/ours"
	report $? "$1" || note "no line matches $2 in:
$(cat "$tmp/ours")"
}
has "a line begins with the thread's id" '^\[pid [1-9][0-9]*\] semget\(IPC_PRIVATE, 3, IPC_CREAT\|0600\) +='
has "SETALL shows what is set, shortened" 'semctl\(1, 0, SETALL, \[1, 2, 3(, 0){29}, \.\.\.\]\) += 0$'
has "GETALL shows what came" 'semctl\(1, 0, GETALL, \[1, 2, 3(, 0){29}, \.\.\.\]\) += 0$'
has "... a bad pointer as such" 'semctl\(1, 0, GETALL, 0x8\) += -1 EFAULT \(Bad address\)$'
has "a long list is shortened, and its result still shown" 'semop\(1, \[\{sem_num=0.*, \.\.\.\], 80\) += 0$'
has "an unknown command is a number" 'semctl\(1, 0, 0x63, NULL\) += -1 EINVAL'
is "names are the program's, not those of the system calls" "$(grep -c 'semtimedop(' "$tmp/ours")" 2

# ---- the program notices nothing ----

compile errnos <<'C'
#include <errno.h>
#include <stdio.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#define SHOW(call) (errno = 77, printf("%d ", (call) == -1 ? -errno : errno))
int main(void)
{
	struct sembuf up = { 0, 1, 0 }, much = { 0, -30000, IPC_NOWAIT };
	struct { long type; char text[8]; } m = { 1, "x" };
	int s = semget(IPC_PRIVATE, 1, 0600), q = msgget(IPC_PRIVATE, 0600), i = shmget(IPC_PRIVATE, 1, 0600);
	void *p = 0;
	SHOW(semop(s, &up, 1)); SHOW(semctl(s, 0, GETVAL)); SHOW(semop(s, &much, 1));
	SHOW(msgsnd(q, &m, 1, 0)); SHOW(msgrcv(q, &m, 8, 0, 0)); SHOW(msgrcv(q, &m, 8, 0, IPC_NOWAIT));
	SHOW((long)(p = shmat(i, 0, 0))); SHOW(shmdt(p)); SHOW((long)shmat(-1, 0, 0));
	putchar('\n');
	return 0;
}
C
same="$("$IPCRUN" "$tmp/errnos")"
like "errno says why a call failed" "$same" "^[0-9]+ [0-9]+ -11 [0-9]+ [0-9]+ -42 [0-9]+ [0-9]+ -22 \$"
is "... and is the same while calls are traced" "$(traced "$tmp/errnos")" "$same"
is "... also when the lines cannot be written" "$(IPCD_LOG=trace "$IPCRUN" "$tmp/errnos" 2>/dev/full)" "$same"
is "... also when nobody reads them any more: no SIGPIPE" "$(perl -e 'pipe R, W; close R; open STDERR, ">&W"; $SIG{PIPE} = "DEFAULT";
	$ENV{IPCD_LOG} = "trace"; exec @ARGV' "$IPCRUN" "$tmp/errnos")" "$same"
compile limited <<'C'
#include <signal.h>
#include <sys/resource.h>
#include <sys/sem.h>
int main(void)
{
	struct rlimit few = { 10, 10 };
	struct sembuf up = { 0, 1, 0 };
	int s = semget(IPC_PRIVATE, 1, 0600);
	semop(s, &up, 1);
	setrlimit(RLIMIT_FSIZE, &few);
	semop(s, &up, 1);
	return semctl(s, 0, GETVAL) != 2;
}
C
status "a file that may not grow: no SIGXFSZ" 0 traced "$tmp/limited"
is "... the lines before are there" "$(grep -c semop "$tmp/log")" 1
for t in faults_signals faults_cancel sem_sleep msg_sleep fork_fork; do
	[ -x "$(dirname "$IPCRUN")/t/std/$t" ] || continue
	status "t/std/$t passes while it is traced" 0 traced "$(dirname "$IPCRUN")/t/std/$t"
done

# ---- sleeping, handlers ----

compile sleeper <<'C'
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/time.h>
static int s, q; static sigjmp_buf out; static volatile int jump;
static void handler(int sig) { struct sembuf up = { 1, 5, 0 }; semop(s, &up, 1); if (jump) siglongjmp(out, 1); }
static void soon(void) { struct itimerval t = { { 0, 20000 }, { 0, 20000 } }; setitimer(ITIMER_REAL, &t, 0); }
static void never(void) { struct itimerval t = { { 0, 0 }, { 0, 0 } }; setitimer(ITIMER_REAL, &t, 0); }
int main(void)
{
	struct sembuf down = { 0, -1, 0 };
	struct { long type; char text[8]; } m;
	struct sigaction a = { .sa_handler = handler };
	sigaction(SIGALRM, &a, 0);
	s = semget(IPC_PRIVATE, 2, 0600); q = msgget(IPC_PRIVATE, 0600);
	soon();
	if (semop(s, &down, 1) != -1 || errno != EINTR) return 1;
	if (msgrcv(q, &m, 8, 42, MSG_NOERROR) != -1 || errno != EINTR) return 2;
	jump = 1;
	if (!sigsetjmp(out, 1)) { semop(s, &down, 1); return 3; }
	never();
	down.sem_op = 1; semop(s, &down, 1);
	return semctl(s, 0, GETVAL) != 1;
}
C
status "handlers that call, return and jump out of a sleep" 0 traced "$tmp/sleeper"
cp "$tmp/log" "$tmp/ours"
has "a call that sleeps is shown as it falls asleep" '\] semop\(0, \[\{sem_num=0, sem_op=-1, sem_flg=0\}\], 1 <unfinished \.\.\.>$'
has "... with what it waits for" '\] msgrcv\(0, 0x[0-9a-f]+, 8, 42, MSG_NOERROR <unfinished \.\.\.>$'
has "... and when it goes on" '\] <\.\.\. semop resumed>\) += -1 EINTR \(Interrupted system call\)$'
is "a handler's call stands between; one that is left by longjmp never returns" \
	"$(grep -n . "$tmp/ours" | sed -n '3,$p' | grep -Eo 'semop\(0, \[\{sem_num=[01]|resumed|unfinished' | tr '\n' ' ' |
		sed 's/semop(0, \[{sem_num=//g' | cut -d' ' -f1-4)" "0 unfinished 1 resumed"
is "... three sleeps, two of which return" "$(grep -c unfinished "$tmp/ours") $(grep -c resumed "$tmp/ours")" "3 2"

# ---- threads, children ----

compile crowd <<'C'
#include <pthread.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>
static int s;
static void *work(void *arg)
{
	struct sembuf up[2] = { { 0, 1, 0 }, { 1, 1, 0 } };
	for (int i = 0; i < 500; i++)
		semop(s, up, 2);
	return 0;
}
int main(void)
{
	pthread_t t[4];
	s = semget(IPC_PRIVATE, 2, 0600);
	if (!fork()) _exit(!!work(0));
	for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, work, 0);
	for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
	wait(0);
	return semctl(s, 0, GETVAL) != 2500;
}
C
status "threads and a forked child" 0 traced "$tmp/crowd"
is "no line is torn or lost" "$(grep -cxE '\[pid [0-9]+\] semop\(0, \[\{sem_num=0, sem_op=1, sem_flg=0\}, \{sem_num=1, sem_op=1, sem_flg=0\}\], 2\) = 0' "$tmp/log") $(wc -l <"$tmp/log")" "2500 2502"
is "each thread and the child have their own id" "$(grep semop "$tmp/log" | cut -d']' -f1 | sort | uniq -c | awk '{ print $1 }' | tr '\n' ' ')" \
	"500 500 500 500 500 "

# ---- the descriptor ----

compile closer <<'C'
#include <fcntl.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sembuf up = { 0, 1, 0 };
	struct stat st;
	int s = semget(IPC_PRIVATE, 1, 0600);
	for (int i = 0; i < 1024; i++) close(i);
	for (int i = 0; i < 900; i++) open(argv[1], O_RDWR | O_CREAT, 0600);
	semop(s, &up, 1); semop(s, &up, 1);
	return stat(argv[1], &st) || st.st_size;
}
C
status "a program that closes every descriptor, and opens others: nothing is written to them" 0 traced "$tmp/closer" "$tmp/data"
is "... and its calls are still shown" "$(grep -c semop "$tmp/log")" 2
IPCD_LOG=trace "$IPCRUN" "$tmp/closer" "$tmp/data2" 2>"$tmp/err"
is "... to stderr they end with it" "$? $(grep -c semget "$tmp/err") $(grep -c semop "$tmp/err")" "0 1 0"
is "a file is appended to, also by what the program starts elsewhere" "$(cd "$tmp" && echo before >rel &&
	IPCD_LOG=trace:rel "$IPCRUN" sh -c 'cd /; "$0"; "$0"' "$tmp/errnos" >/dev/null; head -1 rel; grep -c 'semget(' rel)" "before
2"

# ---- when it is off, and when it is wrong ----

for v in '' error warn info; do
	is "IPCD_LOG=$v shows no calls" "$(IPCD_LOG=$v "$IPCRUN" "$tmp/errnos" 2>&1)" "$same"
done
status "a file that cannot be opened: 125" 125 env IPCD_LOG=trace:/no/such/dir/x "$IPCRUN" true
like "... and one line" "$said" '^ipcrun: IPCD_LOG=trace:/no/such/dir/x cannot be opened: No such file or directory$'
status "trace: without a file: 125" 125 env IPCD_LOG=trace: "$IPCRUN" true
said=$("$IPCRUN" env IPCD_LOG=trace:/no/such/dir/x "$tmp/errnos" 2>&1)
is "the library says so in one line, and the program runs" "$said" \
	"libipc-sysv: IPCD_LOG=trace: cannot open /no/such/dir/x (No such file or directory); calls are not shown
$same"
is "without a namespace the refusals are shown" "$(LD_PRELOAD=$lib IPCD_LOG=trace "$tmp/errnos" 2>&1 |
	grep -c 'semget(IPC_PRIVATE, 1, 0600) *= -1 ENOSYS (Function not implemented)')" 1

done_testing
