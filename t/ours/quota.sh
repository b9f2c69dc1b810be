#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Quotas: what each user may own on a daemon, exactly, also when many ask at once and after a restart; who gives an object
# away; and what the log says when a limit or a quota is reached. Environment: IPCD, IPCRUN, IPCCTL.
# shellcheck disable=SC2016,SC2154,SC2034

. "$(dirname "$0")/../lib/tap.sh"
IPCD=$(realpath -m "${IPCD:-$(dirname "$IPCRUN")/ipcd}")
[ -x "$IPCD" ] || { echo "Bail out! no $IPCD"; exit 1; }
socket=$tmp/socket log=$tmp/log pid='' holder=''
chmod 755 "$tmp"
if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
	skip "quotas" "needs root and setpriv"
	done_testing
fi
uid=$((30000 + $$ % 20000)) # nobody's
other=$((uid + 20000))
at_exit() {
	disown -a
	[ -z "$pid" ] || kill_own "$pid"
	[ -z "$holder" ] || kill_own "$holder"
}
log_has() {
	grep -qE -- "$1" "$log"
}
start() {	# ARGUMENT...
	: >"$log"
	"$IPCD" --foreground --namespace-dir "$tmp/ns" --socket "$socket" --socket-mode 0666 "$@" >/dev/null 2>>"$log" &
	pid=$!
	soon log_has 'ready: serving' || { note "not ready: $(cat "$log")"; return 1; }
}
stop() {
	kill -TERM "$pid"
	wait "$pid"
	code=$?
	pid=''
}
as() {	# UID COMMAND...
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}
run() {	# UID PERL [ARGUMENT...]: with seg, set, que: make one; its id, or the name of the errno
	as "$1" "$IPCRUN" --daemon="$socket" perl -MErrno -e '
		sub r { return $_[0] if defined $_[0]; for (keys %!) { return $_ if $!{$_} && !/WOULDBLOCK|OPNOTSUPP/ } }
		sub seg { r(shmget(0, $_[0], 01600)) } sub set { r(semget(0, $_[0], 01600)) } sub que { r(msgget(0, 01600)) }
		'"$2" "${@:3}"
}
json() {	# PERL: of the document on stdin, $j
	perl -MJSON::PP -e 'my $j = decode_json(join "", <STDIN>); '"$1"
}
clear() {
	"$IPCCTL" --daemon="$socket" rm --all
}
wrong() {	# REGEX ARGUMENT...
	status "ipcd ${*:2}: 2" 2 "$IPCD" --foreground --namespace-dir "$tmp/ns" --socket "$socket" "${@:2}"
	like "... and one line that says why" "$said" "^ipcd: [^
]*$1[^
]*\$"
}

# ---- the command line ----

wrong "no quota 'semmsl'; there are shmmni, shmall, semmni, semmns and msgmni" --quota semmsl=3
wrong "no quota 'quota.semmni'" --quota quota.semmni=3
wrong "'semmni' is not NAME=VALUE" --quota semmni
wrong "semmni=32769: the value is not a number from 0 to 32768" --quota semmni=32769
wrong "no limit 'quota.semmni'" --limit quota.semmni=3

# ---- numbers ----

printf 'quota.semmni = 5\nquota.msgmni=2 # queues\nquota.bogus=1\nquota.shmmni=x\nsemopm=400\n' >"$tmp/limits"
start --quota semmni=3 --quota shmmni=2 --quota shmall=10 --quota semmns=100 --limits-file "$tmp/limits"
report $? "a daemon with quotas gets ready"
check "lines of the file that make no sense are told" log_has "limits:3: there is no quota 'bogus'"
check "... by their numbers" log_has "limits:4: shmmni=x: the value is not a number"
is "a user makes as many sets as the quota has, and no more" "$(run $uid 'print join " ", map { set(1) } 1 .. 5')" "0 1 2 ENOSPC ENOSPC"
is "... queues" "$(run $uid 'print join " ", map { que() } 1 .. 3')" "0 1 ENOSPC"
is "... segments" "$(run $uid 'print join " ", map { seg(1) } 1 .. 3')" "0 1 ENOSPC"
is "another one has his own" "$(run $other 'print set(1), " ", que(), " ", seg(1)')" "3 2 2"
is "root has none" "$(run 0 'print scalar grep { /^\d/ } map { (set(1), que(), seg(100000)) } 1 .. 5')" 15
is "a key that is there is no creation" "$(run $other 'semget(5, 1, 01600) // die; set(1); set(1); print semget(5, 1, 01600) =~ /^\d+$/')" 1
is "what is removed makes room" "$(run $uid 'semctl(0, 0, 0, 0) || die; print set(1), " ", set(1)')" "$(run $uid 'print ((sort { $b <=> $a } grep { semctl($_, 0, 12, 0) } 0 .. 60000)[0])' ) ENOSPC"
clear

# ---- sums ----

is "pages are counted in whole ones" "$(run $uid 'print join " ", seg(4096 * 9 + 1), seg(1)')" "$(
	"$IPCCTL" --daemon="$socket" ls --json shm | json 'print $j->{shm}[0]{id}') ENOSPC"
clear
is "... up to the last" "$(run $uid 'print seg(4096 * 11), " ", seg(4096 * 9) =~ /^\d/, seg(4096) =~ /^\d/')" "ENOSPC 11"
is "... also of a segment that is removed and attached" "$(run $uid 'use IPC::SysV qw(shmat); semctl(0,0,0,0);
	for (0 .. 70000) { shmctl($_, 0, 0) if shmctl($_, 2, my $b = "") && !$held++ && shmat($_, undef, 0) }
	print seg(4096 * 9)')" ENOSPC
clear
is "a segment of 2^60 bytes is refused before there is memory for it" "$(run $uid 'print seg(1 << 60)')" ENOSPC
is "semaphores are summed up" "$(run $uid 'print join " ", map { set($_) =~ s/^\d+$/made/r } 101, 60, 41, 40, 1')" \
	"ENOSPC made ENOSPC made ENOSPC"
clear

# ---- what limits shows ----

run $uid 'set(7); set(8)'
is "ipcctl limits shows quotas, and what one has" "$(as $uid "$IPCCTL" --daemon="$socket" limits | sed -n 's/^quota\.//p' | sed "s/  */ /g; s/; $uid//" | tr '\n' ';')" \
	"shmall 10 pages of one user's segments has 0;shmmni 2 segments of one user has 0;semmns 100 semaphores of one user's sets has 15;semmni 3 sets of one user has 2;msgmni 2 queues of one user has 0;"
is "... by name" "$(as $uid "$IPCCTL" --daemon="$socket" limits quota.semmns semopm | awk '{ print $1, $2 }' | tr '\n' ' ')" "semopm 400 quota.semmns 100 "
is "... in JSON" "$(as $uid "$IPCCTL" --daemon="$socket" limits --json | json 'print "$j->{limits}{semopm} $j->{quotas}{semmns}{value} $j->{quotas}{semmns}{used}"')" "400 100 15"
status "... and does not set them" 2 "$IPCCTL" --daemon="$socket" limits quota.semmni=9
like "... but says who does" "$said" "quota.semmni=9: quotas are ipcd's to set, with --quota"
status "a directory has none" 2 "$IPCCTL" -d "$tmp/ns" limits quota.semmni
clear

# ---- IPC_SET ----

give='my ($kind, $id, $to) = @ARGV; my $b = ""; my %size = (sem => 104, msg => 120, shm => 112);
	my $ctl = { sem => sub { semctl($id, 0, $_[0], $_[1]) }, msg => sub { msgctl($id, $_[0], $_[1]) }, shm => sub { shmctl($id, $_[0], $_[1]) } }->{$kind};
	$b = "\0" x $size{$kind}; $ctl->(2, $b) || die "stat $!"; substr($b, 4, 4) = pack "L", $to; print $ctl->(1, $b) ? "given" : r(undef)'
for kind in sem msg shm; do
	case $kind in
	sem) call='set(1)' most=3 ;;
	msg) call='que()' most=2 ;;
	shm) call='seg(1)' most=2 ;;
	esac
	run $uid "$call for 1 .. $most"
	id=$(run $other "print $call")
	is "a $kind is not given to one who is at his quota" "$(run $other "$give" $kind "$id" $uid)" EDQUOT
	is "... it stays whose it was" "$("$IPCCTL" --daemon="$socket" ls --json $kind | json "print map { \$_->{uid} } grep { \$_->{id} == $id } @{\$j->{$kind}}")" $other
	is "... root gives it" "$(run 0 "$give" $kind "$id" $uid)" given
	is "... who has it now may set it" "$(run $uid "$give" $kind "$id" $uid)" given
	is "... and give it back, where there is room" "$(run $uid "$give" $kind "$id" $other)" given
	clear
done

# ---- exactly, and after a restart ----

"$IPCRUN" --daemon="$socket" true
go=$tmp/go
for i in 1 2 3 4 5 6; do
	run $uid 'select(undef, undef, undef, 0.01) until -e $ARGV[0]; print set(1) =~ /^\d/ ? "made\n" : "refused\n" for 1 .. 3' "$go" >"$tmp/race.$i" &
	racers[i]=$!
done
touch "$go"
wait "${racers[@]}"
is "six processes at once make exactly as many as the quota has" "$(cat "$tmp"/race.* | sort | uniq -c | awk '{ print $1, $2 }' | tr '\n' ' ')" \
	"3 made 15 refused "
stop
is "the daemon was well" $code 0
start --quota semmni=4
is "after a restart what is there counts" "$(run $uid 'print join " ", map { set(1) =~ s/^\d+$/made/r } 1 .. 3')" "made ENOSPC ENOSPC"
is "... what has no quota any more is free" "$(run $uid 'print scalar grep { /^\d/ } map { que() } 1 .. 9')" 9
clear
stop

# ---- SIGHUP ----

echo 'quota.semmni=1' >"$tmp/limits"
start --limits-file "$tmp/limits" --quota msgmni=1
run $uid 'set(1)'
is "a quota of the file counts" "$(run $uid 'print set(1)')" ENOSPC
echo 'quota.semmni=0' >"$tmp/limits"
kill -HUP "$pid"
check "SIGHUP reads it again" soon log_has "quota semmni is 0: there is none"
is "... and 0 is none" "$(run $uid 'print scalar grep { /^\d/ } map { set(1) } 1 .. 9')" 9
echo 'quota.semmni=2' >"$tmp/limits"
kill -HUP "$pid"
check "... one that is lower than what is there" soon log_has "quota semmni is 2 for each user"
is "... removes nothing" "$("$IPCCTL" --daemon="$socket" ls sem | grep -c 0x)" 10
is "... and refuses" "$(run $uid 'print set(1)')" ENOSPC
clear
stop

# ---- the log ----

start --limit semmni=6 --limit shmall=20 --limit semmns=50 --quota msgmni=2
run 0 'set(1); set(1); set(1)'
run $other 'set(1)'
run $uid '$| = 1; $0 = "keeper"; set(1); print "$$\n"; sleep 1 while 1' >"$tmp/holder" 2>/dev/null &
soon test -s "$tmp/holder"
read -r holder <"$tmp/holder"
run $uid 'set(1)'
is "a limit is reached" "$(run $other 'print set(1)')" ENOSPC
check "the log names it, its value, who asked, and who has most, with the process that is there" \
	soon log_has " warn: semmni is 6, and it is reached: no set for pid [0-9]+ \(perl\) of uid $other; most have: uid 0 3, uid $uid \(most by pid $holder \(keeper\)\) 2, uid $other 1\$"
is "... by one line" "$(grep -c 'semmni is 6, and' "$log")" 1
run $uid 'print seg(4096 * 15) =~ /^\d/, " ", seg(4096 * 6)' >"$tmp/said"
is "a limit of pages" "$(cat "$tmp/said")" "1 ENOSPC"
check "... is told in pages" soon log_has "shmall is 20, .* no segment for .*; most pages have: uid $uid \(most by pid [0-9]+ \(perl\)\) 15\$"
clear
run $uid 'set(40)'
is "one of semaphores" "$(run $other 'print set(11)')" ENOSPC
check "... in semaphores" soon log_has "semmns is 50, .* no set for .*; most semaphores have: uid $uid 40\$"
is "a quota" "$(run $uid 'que(); que(); print que()')" ENOSPC
check "... is told with the user's processes" soon log_has "quota.msgmni is 2, and uid $uid is at it: no queue for pid ([0-9]+) \(perl\) of uid $uid; most were made by: pid [0-9]+ \(perl\) 2\$"

# No more lines than seconds have begun, however often it happens.
: >"$tmp/mark"
before=$(grep -c 'quota.msgmni is' "$log")
from=$(date +%s)
run $uid 'for (1 .. 3000) { que() eq "ENOSPC" || die }; print 3000' >"$tmp/said"
to=$(date +%s)
is "thousands are refused" "$(cat "$tmp/said")" 3000
lines=$(($(grep -c 'quota.msgmni is' "$log") - before))
[ $lines -le $((to - from + 2)) ]
report $? "... and the log has one line a second at most" || note "$lines lines in $((to - from)) s"
clear
kill "$holder"
holder=''
stop
is "the daemon was well" $code 0

# ---- no memory ----

if unshare -m true 2>/dev/null; then
	check "no memory is told too, with who has most" unshare -m bash -c 'mkdir "$1/small" && mount -t tmpfs -o size=40m none "$1/small" || exit 1
		"$2" --foreground --namespace-dir "$1/small/ns" --socket "$1/small/socket" 2>"$1/small.log" &
		for ((i = 0; i < 400; i++)); do grep -q ready: "$1/small.log" && break; sleep 0.05; done
		"$3" --daemon="$1/small/socket" perl -e "shmget(0, 4096, 01600) // die; shmget(0, 1 << 30, 01600) // print 0 + \$!"
		kill -TERM $!; wait $!; echo; cat "$1/small.log"
		grep -Eq "no memory for objects: $1/small/ns has [0-9]+ of 40960 KiB left: no segment for pid [0-9]+ \(perl\) of uid 0; most pages have: uid 0 \(most by pid [0-9]+ \(perl\)\) 1\$" "$1/small.log"' bash "$tmp" "$IPCD" "$IPCRUN"
else
	skip "no memory is told" "needs a mount namespace"
fi
done_testing
