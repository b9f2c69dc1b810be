#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# make demo: the main job, shown on two unmodified programs. Two perl processes that know nothing of each other exchange
# messages, shared memory and a semaphore through a private namespace; the machine's own System V IPC sees nothing.
#
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), DEMO_PACE (seconds
# before each step; 2 on a terminal, else 0).
# Rules: each step says in one line what it shows, then the command, then what that printed. Exit status 1 if a step
# did not show what it says. Nothing is left behind.

set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
export IPCRUN=${IPCRUN:-$top/build/ipcrun} IPCCTL=${IPCCTL:-$top/build/ipcctl}
export name=demo-$$
[ -t 1 ] && pace=${DEMO_PACE:-2} || pace=${DEMO_PACE:-0}
wrong=0
producer=

step() {	# TEXT
	sleep "$pace"
	printf '\n%s\n' "$1"
}

# Shows a command as a user would type it, runs it, and indents what it prints; its output stays in $shown.
show() {	# COMMAND, with $IPCRUN, $IPCCTL and $name
	local typed=${1//\$IPCRUN/ipcrun}

	typed=${typed//\$IPCCTL/ipcctl}
	printf '  $ %s\n' "${typed//\$name/$name}"
	shown=$(timeout -k 5 30 bash -c "$1" 2>&1)
	[ -z "$shown" ] || printf '%s\n' "$shown" | sed 's/^/    /'
}

expect() {	# WHAT PATTERN: in what was shown
	grep -Eq "$2" <<<"$shown" && return
	printf '  WRONG: expected %s\n' "$1"
	wrong=1
}

machine() {	# the machine's own objects, as ipcs prints them
	ipcs 2>&1 | grep '^0x'
}

# shellcheck disable=SC2317
cleanup() {
	[ -z "$producer" ] || kill "$producer" 2>/dev/null
	wait
	if "$IPCCTL" --help 2>&1 | grep -qw destroy; then
		"$IPCCTL" -n "$name" destroy >/dev/null 2>&1
	else
		rm -rf "/dev/shm/ipcd-$(id -u)/$name"
	fi
	rm -rf "$work"
}

if [ ! -x "$IPCRUN" ] || [ ! -x "$IPCCTL" ]; then
	echo "demo: no $IPCRUN or no $IPCCTL: run make first" >&2
	exit 1
fi
work=$(mktemp -d /tmp/ipcd-demo.XXXXXX) || exit 1
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# Both are plain perl: msgsnd, shmwrite and semop are built into the language. The key 0x5eed is all they agree on.
cat >"$work/producer.pl" <<'END'
use constant IPC_CREAT => 01000;	# as IPC::SysV has it, where that is installed
my $queue = msgget(0x5eed, IPC_CREAT | 0600) // die "msgget: $!";
my $board = shmget(0x5eed, 4096, IPC_CREAT | 0600) // die "shmget: $!";
my $ready = semget(0x5eed, 1, IPC_CREAT | 0600) // die "semget: $!";
for my $city (qw(Oslo Lima Cairo Perth Quito)) {
	msgsnd($queue, pack("l! a*", 1, $city), 0) or die "msgsnd: $!";
}
semop($ready, pack("s3", 0, -1, 0)) or die "semop: $!";	# sleeps until the consumer says that it is done
shmread($board, my $answer, 0, 80) or die "shmread: $!";
$answer =~ s/\0.*//s;
print "producer $$: read from shared memory: $answer\n";
END
cat >"$work/consumer.pl" <<'END'
my $queue = msgget(0x5eed, 0) // die "msgget: $!";
my $board = shmget(0x5eed, 0, 0) // die "shmget: $!";
my $ready = semget(0x5eed, 0, 0) // die "semget: $!";
my @cities;
for (1 .. 5) {
	msgrcv($queue, my $message, 100, 0, 0) or die "msgrcv: $!";
	push @cities, (unpack "l! a*", $message)[1];
}
print "consumer $$: received @cities\n";
shmwrite($board, join(" ", sort @cities), 0, 80) or die "shmwrite: $!";
semop($ready, pack("s3", 0, 1, 0)) or die "semop: $!";
END

before=$(machine)
cd "$work" || exit 1
echo "A private System V IPC namespace for programs that nobody rewrote."

step "1. A perl script in namespace $name sends five messages (key 0x5eed), then sleeps on a semaphore."
echo "  \$ ipcrun -n $name perl producer.pl &"
timeout -k 5 60 "$IPCRUN" -n "$name" -- perl producer.pl >producer.out 2>&1 &
producer=$!

# The producer is there when one process waits for its semaphore.
cat >waiting.pl <<'END'
use constant GETNCNT => 14;
my ($set, $waits, $tries) = (undef, 0, 0);
while (!$waits && $tries++ < 1000) {
	$set //= semget(0x5eed, 0, 0);
	$waits = semctl($set, 0, GETNCNT, 0) + 0 if defined $set;
	select undef, undef, undef, 0.01;
}
exit !$waits;
END
timeout -k 5 30 "$IPCRUN" -n "$name" -- perl waiting.pl || {
	echo "  WRONG: the producer does not wait for its semaphore"
	sed 's/^/    /' producer.out
	exit 1
}

step "2. In the namespace now: a queue with five messages, a segment, a semaphore that one process waits for."
# shellcheck disable=SC2016
show '$IPCCTL -n $name ls'
expect "the key 0x5eed" "5eed"

step "3. The machine's own ipcs, outside: none of it."
show 'ipcs -q -m -s'
if grep -q '^0x00005eed' <<<"$shown" && ! grep -q '^0x00005eed' <<<"$before"; then
	echo "  WRONG: the machine's own System V IPC was used"
	wrong=1
fi

step "4. A second program, started by itself, takes the messages, leaves an answer in the segment, and wakes the first."
# shellcheck disable=SC2016
show '$IPCRUN -n $name -- perl consumer.pl'
expect "five cities" "received Oslo Lima Cairo Perth Quito"

step "5. The first program was woken, read the answer, and ended."
wait "$producer"
producer=
shown=$(cat producer.out)
sed 's/^/    /' producer.out
expect "the sorted cities" "shared memory: Cairo Lima Oslo Perth Quito"

step "6. Objects outlive their programs, here as in the kernel: the queue is empty, and nobody is left who uses any."
# shellcheck disable=SC2016
show '$IPCCTL -n $name ls'
expect "the key 0x5eed" "5eed"

step "7. The ordinary ipcrm removes them."
# shellcheck disable=SC2016
show '$IPCRUN -n $name -- ipcrm -Q 0x5eed -M 0x5eed -S 0x5eed'
# shellcheck disable=SC2016
show '$IPCCTL -n $name ls'
if grep -q 5eed <<<"$shown"; then
	echo "  WRONG: expected nothing"
	wrong=1
fi

printf '\n'
if [ $wrong = 0 ]; then
	echo "All of that without the kernel's System V IPC, and it needs no root. Next: ipcrun YOUR-PROGRAM"
else
	echo "demo: something was not as it should be, see WRONG above" >&2
fi
exit $wrong
