#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# /proc/sysvipc and the limits of /proc/sys/kernel under ipcrun: each namespace has its own, whoever else is preloaded,
# however early somebody looks, and whatever is written there never reaches the machine.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), CC.
# shellcheck disable=SC2016,SC2034,SC2154

# Whatever is broken: what is written here by root must not reach the machine's limits.
if [ "$(id -u)" = 0 ] && [ -z "${T_APART:-}" ]; then
	unshare -i true 2>/dev/null || { echo "1..0 # SKIP no IPC namespace of our own is to be had"; exit 0; }
	T_APART=1 exec unshare -i "$0" "$@"
fi
. "$(dirname "$0")/../lib/tap.sh"
name=t-proc-$$
on=("$IPCRUN" -n "$name")
kernel=/proc/sys/kernel
machine=$(cd $kernel && cat shm* msg* sem* 2>/dev/null)
at_exit() {
	"$IPCCTL" -n "$name" rm --all 2>/dev/null
	"$IPCCTL" -n "$name" destroy 2>/dev/null
	[ -z "${nobody:-}" ] || rm -rf "$nobody"
}
keys() {	# FILE: of the sets
	awk 'NR > 1 { print $1 }' "$1"
}

# ---- a namespace's own ----

"${on[@]}" perl -e 'semget(4711, 1, 01600) // die'
is "a namespace's table shows its set" "$("${on[@]}" cat /proc/sysvipc/sem | keys /dev/stdin)" 4711
is "another namespace's is empty" "$("$IPCRUN" cat /proc/sysvipc/sem | keys /dev/stdin)" ""
"${on[@]}" sh -c "echo 777 >$kernel/msgmni"
is "a limit that was written is the namespace's for all programs" "$("${on[@]}" cat $kernel/msgmni)" 777
like "... and for ipcctl" "$("$IPCCTL" -n "$name" limits)" 'msgmni +777'
is "... and not another's" "$("$IPCRUN" cat $kernel/msgmni)" 32000
is "... nor the machine's" "$(cd $kernel && cat shm* msg* sem* 2>/dev/null)" "$machine"
"$IPCCTL" -n "$name" limits msgmni=778 >/dev/null
is "what ipcctl sets is read there" "$("${on[@]}" cat $kernel/msgmni)" 778
library=$(dirname "$IPCRUN")/libipc-sysv.so
alone() {	# COMMAND...: with the library, but with no namespace
	env -u IPCD_NAMESPACE LD_PRELOAD="$library" "$@" 2>&1
}
like "with no namespace named there are no tables, as there are no calls" "$(alone cat /proc/sysvipc/sem)" \
	'no System V IPC.*No such file'
like "... and no limits" "$(alone sh -c "echo 5 >$kernel/msgmax")" 'no System V IPC.*(No such file|nonexistent|cannot create)'
status "... nor does access say that there are" 1 alone test -r $kernel/msgmax
said=$("${on[@]}" bash -c "echo nonsense >$kernel/shmmax" 2>&1)
like "nonsense is refused where it is written" "$said" 'Invalid argument'
said=$("${on[@]}" bash -c "exec 1>$kernel/shmmax; printf x; exec 1>&2; printf 'done\n' >&2" 2>&1)
like "... at the latest when the descriptor is replaced" "$said" 'Invalid argument'
is "shm_rmid_forced cannot be turned on: it would be a promise not kept" \
	"$("${on[@]}" sh -c "echo 1 >$kernel/shm_rmid_forced" 2>&1 | grep -c .; "${on[@]}" cat $kernel/shm_rmid_forced)" "1
0"
like "the next id cannot be chosen" "$("${on[@]}" sh -c "echo 5 >$kernel/sem_next_id" 2>&1)" 'Permission denied|cannot create'

# ---- other libraries, before and after ours ----

cat >"$tmp/other.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define NEXT(f) ((__typeof__(&f))dlsym(RTLD_NEXT, #f))
static void saw(const char *path)
{
	if (getenv("COUNT") && !strncmp(path, "/proc/sysvipc/", 14))
		fprintf(stderr, "opened\n");
}
int open(const char *path, int flags, ...)
{
	saw(path);
	return NEXT(open)(path, flags, 0600);
}
FILE *fopen(const char *path, const char *mode)
{
	saw(path);
	return NEXT(fopen)(path, mode);
}
ssize_t write(int fd, const void *buf, size_t size)
{
	return NEXT(write)(fd, buf, size);
}
__attribute__((constructor)) static void early(void)
{
	char text[4096];
	int fd = getenv("EARLY") ? open("/proc/sysvipc/sem", O_RDONLY) : -1;
	FILE *f = getenv("EARLY") ? fopen("/proc/sysvipc/sem", "r") : NULL;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	char line[400] = "";

	text[n] = 0;
	if (f && fgets(line, sizeof line, f) && fgets(line, sizeof line, f))
		printf("early %d %d\n", strstr(text, "4711") != NULL, strstr(line, "4711") != NULL);
	fflush(stdout);
}
END
if ${CC:-cc} -shared -fPIC -O1 -o "$tmp/other.so" "$tmp/other.c" -ldl 2>"$tmp/cc"; then
	dir=$("${on[@]}" sh -c 'echo "$IPCD_NAMESPACE"')
	for order in "$tmp/other.so:$library" "$library:$tmp/other.so"; do
		where=before
		[ "$order" = "$tmp/other.so:$library" ] || where=after
		said=$(IPCD_NAMESPACE=$dir LD_PRELOAD=$order COUNT=1 cat /proc/sysvipc/sem 2>&1)
		like "a library preloaded $where ours sees the file opened" "$said" 'opened'
		like "... and the program reads the namespace's" "$said" ' 4711 '
		is "... and so does a constructor $where ours" \
			"$(IPCD_NAMESPACE=$dir LD_PRELOAD=$order EARLY=1 /bin/true)" "early 1 1"
		IPCD_NAMESPACE=$dir LD_PRELOAD=$order sh -c "echo 77$where >$kernel/msgmni" 2>/dev/null
		IPCD_NAMESPACE=$dir LD_PRELOAD=$order sh -c "echo 7${#where} >$kernel/msgmni"
		is "... and a limit is written through both" "$("${on[@]}" cat $kernel/msgmni)" "7${#where}"
	done
else
	skip "other preloaded libraries" "no compiler: $(head -n 1 "$tmp/cc")"
fi

# ---- while others change it ----

"${on[@]}" perl -e '
	$SIG{ALRM} = sub { exit }; alarm 60;
	while (!-e $ARGV[0]) { my @id = map { shmget(0, 5000, 0600) // die } 1 .. 20; shmctl($_, 0, 0) for @id }' "$tmp/stop" &
changer=$!
"${on[@]}" perl -e '
	my ($bad, $seen) = (0, 0);
	alarm 60;
	for (my $n = 0; $n < 300 || !$seen; $n++) {
		open my $f, "<", "/proc/sysvipc/shm" or die; my @l = <$f>; shift @l; $seen += @l;
		for (@l) { my @v = split; $bad++ if @v != 16 || $v[3] != 5000 || $v[2] ne "600" }
	}
	print "$bad\n", $seen > 0 ? "seen\n" : "none seen\n"' >"$tmp/read"
touch "$tmp/stop"
wait $changer
is "tables read while segments come and go have whole lines of real segments" "$(cat "$tmp/read")" "0
seen"
is "a table is read by threads at once" "$("${on[@]}" python3 -c '
import threading
def look():
	for i in range(100):
		assert open("/proc/sysvipc/sem").read().count("4711") == 1
		open("/proc/sys/kernel/shmmni", "w").write("4000\n")
t = [threading.Thread(target=look) for i in range(4)]
[x.start() for x in t]; [x.join() for x in t]; print("done", open("/proc/sys/kernel/shmmni").read(), end="")' 2>&1)" "done 4000"

# ---- whose it is ----

if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups "$IPCRUN" --help >/dev/null 2>&1; then
	nobody=$(mktemp -d /dev/shm/t-proc.XXXXXX)
	chown 65534:65534 "$nobody"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	is "the owner of a namespace sets its limits, root or not" "$("${as[@]}" "$IPCRUN" -d "$nobody/d" sh -c "
		[ -w $kernel/shmmni ] && echo 66 >$kernel/shmmni; cat $kernel/shmmni" 2>&1)" 66
	is "... also with bash" "$("${as[@]}" "$IPCRUN" -d "$nobody/d" bash -c "
		[ -w $kernel/shmmni ] && echo 67 >$kernel/shmmni; cat $kernel/shmmni" 2>&1)" 67
	like "a table cannot be written by a user" "$("${as[@]}" "$IPCRUN" -d "$nobody/d" bash -c \
		"echo 66 >/proc/sysvipc/shm" 2>&1)" 'Permission denied'
	is "who has become another user sets them no more" "$("${on[@]}" perl -e '
		open my $f, "<", $ARGV[0]; <$f>; $> = 65534;
		print -w $ARGV[0] ? 1 : 0, open($f, ">", $ARGV[0]) ? 1 : 0, $!{EACCES} ? 1 : 0' $kernel/msgmni)" 001
else
	skip "another user" "only root can be somebody else"
fi
is "the machine's own limits are as they were" "$(cd $kernel && cat shm* msg* sem* 2>/dev/null)" "$machine"
done_testing
