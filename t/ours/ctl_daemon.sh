#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcctl on a daemon: every command does what it does on a directory, for the owner, for another user as far as the
# objects' modes let him, and for root; and a daemon that does not answer gets one line.
# Environment: IPCD, IPCRUN, IPCCTL (build/ipcd, build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2154,SC2034

. "$(dirname "$0")/../lib/tap.sh"
IPCD=$(realpath -m "${IPCD:-$(dirname "$IPCRUN")/ipcd}")
[ -x "$IPCD" ] || { echo "Bail out! no $IPCD"; exit 1; }
job=$top/t/lib/job.pl
socket=$tmp/socket log=$tmp/log holder='' pid='' second=''
chmod 755 "$tmp"
at_exit() {
	disown -a
	[ -z "$pid" ] || kill_own "$pid"
	[ -z "$second" ] || kill_own "$second"
	[ -z "$holder" ] || kill_own "$holder" "$waiter" "$reader"
}
ctl=("$IPCCTL" "--daemon=$socket")
log_has() {
	grep -qE -- "$1" "$log"
}
says="ipcctl: "
line() {	# WORD...: the words of a table's line
	tr -s ' ' <<<"$1" | sed 's/^ //;s/ $//'
}
json() {	# PERL: of the document on stdin, $j
	perl -MJSON::PP -e 'my $j = decode_json(join "", <STDIN>); '"$1"
}

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	uid=$((30000 + $$ % 20000)) # nobody's
	as_owner=(setpriv --reuid "$uid" --regid "$uid" --clear-groups)
	as_other=(setpriv --reuid $((uid + 20000)) --regid $((uid + 20000)) --clear-groups)
else
	uid=$(id -u) as_owner=() as_other=()
fi
owner=$(id -un "$uid" 2>/dev/null || echo "$uid")

start() {
	: >"$log"
	"$IPCD" --foreground --namespace-dir "$tmp/ns" --socket "$socket" --socket-mode 0666 >/dev/null 2>>"$log" &
	pid=$!
	soon log_has 'ready: serving' || { note "not ready: $(cat "$log")"; return 1; }
}
start
report $? "a daemon gets ready"

# ---- an empty one ----

is "ls of an empty daemon shows headings only" "$("${ctl[@]}" ls | grep -c '[0-9]')" 0
is "... and in JSON three empty lists, and the socket" "$("${ctl[@]}" ls --json)" \
	"{\"namespace\":\"$socket\",\"shm\":[],\"sem\":[],\"msg\":[]}"
is "IPCD_SOCKET names it too" "$(IPCD_SOCKET=$socket "$IPCCTL" ls --json)" "$("${ctl[@]}" ls --json)"
"$IPCRUN" -d "$tmp/other" perl -e 'semget(0x777, 1, 01600) // die'
is "... and wins over IPCD_NAMESPACE" "$(IPCD_SOCKET=$socket IPCD_NAMESPACE=$tmp/other "$IPCCTL" ls --json)" "$("${ctl[@]}" ls --json)"
is "... but not over -d" "$(IPCD_SOCKET=$socket "$IPCCTL" -d "$tmp/other" ls sem | grep -c 0x00000777)" 1
is "under ipcrun --daemon ipcctl needs no option" "$("$IPCRUN" --daemon="$socket" "$IPCCTL" ls --json)" "$("${ctl[@]}" ls --json)"
is "a socket may be named from here" "$(cd "$tmp" && "$IPCCTL" --daemon=socket ls --json)" "$("${ctl[@]}" ls --json)"

# ---- objects, with one who holds, one who waits for semaphores and one for a message ----

"${as_owner[@]}" "$IPCRUN" --daemon="$socket" perl -MIPC::SysV=shmat -e '$| = 1;
	my $m = shmget(0x1234, 10000, 01640) // die; my $s = semget(0x99, 600, 01600) // die; my $q = msgget(-2, 01606) // die;
	msgsnd($q, pack("l! a*", $_, "hello"), 0) || die for 1 .. 3;
	semop($s, pack("s!3", 1, 2, 010000)) || die; semop($s, pack("s!3", 599, 7, 0)) || die;
	my $waiter = fork // die;
	if (!$waiter) { semop($s, pack("s!6", 1, -1, 010000, 598, -3, 0)); sleep 1 while 1 }
	my $reader = fork // die;
	if (!$reader) { msgrcv($q, my $b, 100, 77, 0); sleep 1 while 1 }
	shmat($m, undef, 0) // die; shmat($m, undef, 010000) // die;
	print "$$ $waiter $reader $m $s $q\n"; sleep 1 while 1' >"$tmp/pids" &
soon test -s "$tmp/pids"
read -r holder waiter reader m s q <"$tmp/pids"
waiting() {
	[ "$("${ctl[@]}" ls sem msg --json | json 'print $j->{sem}[0]{waiting} + $j->{msg}[0]{waiting}')" = 2 ]
}
check "those who wait are seen" soon waiting

whole_view() {	# NAME COMMAND...: somebody to whom nothing is hidden
	local name=$1 table
	shift
	table=$("$@" "${ctl[@]}" ls)
	is "$name: ls shows a segment" "$(line "$(grep 0x00001234 <<<"$table")")" \
		"$m 0x00001234 $owner 0640 10000 2 $holder $holder -"
	is "... a set" "$(line "$(grep 0x00000099 <<<"$table")")" "$s 0x00000099 $owner 0600 600 1 1"
	is "... and a queue" "$(line "$(grep 0xfffffffe <<<"$table")")" "$q 0xfffffffe $owner 0606 3 15 16384 1"
	is "... show the segment's attachments" "$("$@" "${ctl[@]}" show --json "$m" shm |
		json 'print "$_->{pid} $_->{mappings};" for @{$j->{objects}[0]{attachments}}')" "$holder 2;"
	is "... a set's values, who changed them, who waits" "$("$@" "${ctl[@]}" show --json "$s" sem | json '
		my $o = $j->{objects}[0]; my $v = $o->{values}; print scalar @$v, ": ";
		print "$_->{semaphore} $_->{value} $_->{last_pid} $_->{ncnt} $_->{zcnt}; " for @$v[1, 598, 599];
		print "$_->{pid} $_->{operations_total} " for @{$o->{waiters}};
		print "$_->{pid} $_->{semaphore} $_->{adjust}" for @{$o->{undo_pending}}')" \
		"600: 1 2 $holder 0 0; 598 0 0 1 0; 599 7 $holder 0 0; $waiter 2 $holder 1 -2"
	is "... and a queue's numbers" "$("$@" "${ctl[@]}" show --json "$q" msg | json 'my $o = $j->{objects}[0];
		print "$o->{messages} $o->{send_pid} $o->{waiters}[0]{pid} $o->{waiters}[0]{type}"')" "3 $holder $reader 77"
	like "... top has who waits" "$("$@" "${ctl[@]}" top)" "$reader  perl .* msg $q +receives type 77"
	like "... and the processes, without the daemon" "$("$@" "${ctl[@]}" top)" "processes 3  waiting 2  undo 1"
	is "... metrics count them" "$("$@" "${ctl[@]}" metrics --objects | sed -n 's/^\(ipcd_waiters\|ipcd_processes\|ipcd_object_waiters\|ipcd_objects_hidden\).*} / /p' | tr -d '\n')" \
		" 0 3 1 1 1 1"
}
whole_view "the owner" "${as_owner[@]}"
whole_view "the daemon's user" env

like "show says it in words" "$("${ctl[@]}" show "$s" sem)" "pid $waiter \(perl\), for .*: semaphore 1 -1 with undo, semaphore 598 -3"
is "... a table of all semaphores" "$("${ctl[@]}" show "$s" sem | grep -cE '^ *[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+$')" 600

if [ ${#as_other[@]} != 0 ]; then
	table=$("${as_other[@]}" "${ctl[@]}" ls)
	is "another user: ls shows a set without what its mode hides" "$(line "$(grep 0x00000099 <<<"$table")")" \
		"$s 0x00000099 $owner 0600 600 ? ?"
	is "... a queue that he may read as it is" "$(line "$(grep 0xfffffffe <<<"$table")")" \
		"$q 0xfffffffe $owner 0606 3 15 16384 1"
	one_line "... show refuses the set" 1 "sem $s holds and who waits is for those who may read it" \
		"${as_other[@]}" "${ctl[@]}" show "$s" sem
	is "... in JSON too" "$("${as_other[@]}" "${ctl[@]}" show --json "$s" sem | json 'my $o = $j->{objects}[0];
		print join " ", $o->{hidden}, map { exists $o->{$_} ? defined $o->{$_} : "-" } qw(values waiters undo_pending waiting undo)')" \
		"1 - - -  "
	is "... and shows the queue" "$("${as_other[@]}" "${ctl[@]}" show "$q" msg | grep -c "pid $reader")" 1
	is "... metrics say how much is hidden" "$("${as_other[@]}" "${ctl[@]}" metrics | sed -n 's/^ipcd_objects_hidden.*} //p')" 1
	unlike "... top has nobody who waits there" "$("${as_other[@]}" "${ctl[@]}" top)" "sem $s +semaphore"
	one_line "... rm is refused" 1 "sem $s: it belongs to somebody else" "${as_other[@]}" "${ctl[@]}" rm sem "$s"
	is "... gc keeps it" "$("${as_other[@]}" "${ctl[@]}" gc --older 0 sem)" "0 removed, 1 kept"
	one_line "... limits are not his to set" 1 "cannot set semmni=5" "${as_other[@]}" "${ctl[@]}" limits semmni=5
	"${as_other[@]}" "$IPCRUN" --daemon="$socket" perl -e 'semctl(semget(0x55, 1, 01600) // die, 0, 16, 5) || die'
	like "root sees his objects" "$("${ctl[@]}" show "$("${ctl[@]}" ls --json sem | json 'print grep { $_ } map { $_->{key} eq "0x00000055" && $_->{id} } @{$j->{sem}}')" sem)" \
		" 0 +5 +[0-9]+ +0 +0"
	"${as_other[@]}" "${ctl[@]}" rm -S 0x55
	report $? "... and he removes them"
	# A daemon that is not root's.
	mkdir -m 755 "$tmp/theirs"
	chown $((uid + 20000)) "$tmp/theirs"
	"${as_other[@]}" "$IPCD" --foreground --namespace-dir "$tmp/theirs/ns" --socket "$tmp/theirs/socket" --socket-mode 0666 2>"$tmp/theirs.log" &
	second=$!
	check "a daemon of another user gets ready" soon grep -q ready: "$tmp/theirs.log"
	"${as_owner[@]}" "$IPCRUN" --daemon="$tmp/theirs/socket" perl -e 'semctl(semget(0x55, 1, 01600) // die, 0, 16, 5) || die'
	like "... who sees everything, too" "$("${as_other[@]}" "$IPCCTL" --daemon="$tmp/theirs/socket" show 0 sem)" " 0 +5 +[0-9]+ +0 +0"
	like "... as root does" "$("$IPCCTL" --daemon="$tmp/theirs/socket" show 0 sem)" " 0 +5 +[0-9]+ +0 +0"
	status "... and nobody else" 1 setpriv --reuid 29999 --regid 29999 --clear-groups "$IPCCTL" --daemon="$tmp/theirs/socket" show 0 sem
	chmod 600 "$tmp/theirs/socket"
	one_line "a socket that others may not use" 1 "may not be used by uid $uid" "${as_owner[@]}" "$IPCCTL" --daemon="$tmp/theirs/socket" ls
	kill -TERM "$second"
	wait "$second"
	is "... and it ends well" $? 0
	second=''
else
	skip "what other users see" "needs root and setpriv"
fi

completed() {	# WORD...: the last one is the one to complete
	bash --norc -c '. "$1" && shift && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_"${1##*/}" "$1" "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null; printf "%s\n" "${COMPREPLY[@]}"' \
		bash "$top/completion/ipcd.bash" "$@" | sort -u | tr '\n' ' '
}
is "bash completes ids of the daemon that is named, in three words as bash has them" \
	"$(completed "$IPCCTL" --daemon = "$socket" rm -s '')" "$s "
is "... or in one" "$(completed "$IPCCTL" --daemon="$socket" rm -s '')" "$s "
is "... the socket" "$(completed "$IPCCTL" --daemon = "$tmp/so")" "$socket "
is "... ipcrun's too" "$(completed "$IPCRUN" --daemon = "$tmp/so")" "$socket "
is "... and commands behind it" "$(completed "$IPCCTL" --daemon = "$socket" des)" "destroy "

# ---- changing it ----

is "limits are shown" "$("${ctl[@]}" limits semmni semopm | awk '{ print $1, $2 }' | tr '\n' ' ')" "semmni 32000 semopm 500 "
status "... and set by the daemon's user" 0 "${ctl[@]}" limits semmni=100
is "... for everybody" "$("${as_owner[@]}" "${ctl[@]}" limits --json semmni | json 'print $j->{limits}{semmni}')" 100
is "gc --dry-run says why it keeps" "$("${ctl[@]}" gc --dry-run --older 0 | sed 's/.*: //' | sort | tr '\n' ' ')" \
	"0 to be removed, 3 kept it is attached somebody waits for it somebody waits for it "
"${as_owner[@]}" "$IPCRUN" --daemon="$socket" perl -e 'semget(0x66, 300, 01600) // die; msgget(0x67, 01600) // die; shmget(0x68, 1, 01600) // die'
like "gc removes what was left behind" "$("${ctl[@]}" gc --older 0 | sort | tr '\n' ' ')" \
	"^3 removed, 3 kept removed msg .*removed sem .*removed shm"
is "rm removes by id" "$("${as_owner[@]}" "${ctl[@]}" rm sem "$s" 2>&1; "${ctl[@]}" ls sem | grep -c 0x)" 0
one_line "... what is not there is told" 1 "sem $s: there is none" "${ctl[@]}" rm sem "$s"
is "rm removes by key" "$("${ctl[@]}" rm -Q 0xfffffffe 2>&1; "${ctl[@]}" ls msg | grep -c 0x)" 0
is "rm --all removes the rest; what is attached goes with its last detach" \
	"$("${ctl[@]}" rm --all 2>&1; "${ctl[@]}" ls --wide shm | grep -c 'removed$')" 1
kill "$holder" "$waiter" "$reader"
segments_gone() {
	[ "$("${ctl[@]}" ls shm | grep -c 0x)" = 0 ]
}
check "... which its processes' end is" soon segments_gone
holder=''

# ---- what is not for daemons ----

one_line "destroy" 2 "destroy is not for daemons" "${ctl[@]}" destroy
one_line "... also where the environment names it" 2 "destroy is not for daemons" env IPCD_SOCKET="$socket" "$IPCCTL" destroy
one_line "namespaces" 2 "namespaces is not for daemons" "${ctl[@]}" namespaces
one_line "--daemon with -d" 2 "-n, -d and --daemon exclude each other" "${ctl[@]}" -d "$tmp/other" ls
one_line "--daemon=" 2 "needs the name of a socket" "$IPCCTL" --daemon= ls
one_line "an unknown command" 2 "unknown command frob" "${ctl[@]}" frob
one_line "a socket that is not there" 1 "no daemon at $tmp/none" "$IPCCTL" --daemon="$tmp/none" ls
one_line "a name that is too long" 1 "too long" "$IPCCTL" --daemon="$tmp/$(printf 'x%.0s' {1..120})" ls

# ---- one that does not answer ----

"$IPCRUN" --daemon="$socket" perl -e 'semget(0x66, 3, 01600) // die'
# While top is on the screen the daemon is stopped; then something happens, when another ipcctl has waited in vain.
stop_under() {	# [COMMAND...]
	soon test -s "$tmp/shown"
	kill -STOP "$pid"
	IPCD_TIMEOUT=1 "${ctl[@]}" ls >/dev/null 2>"$tmp/in-vain"
	[ $# = 0 ] || "$@"
}
interrupt_top() {
	pkill -INT -f -- "^$IPCCTL --daemon=$socket top -d 0.2\$"
}
enter=$'\033[?1049h' leave=$'\033[?1049l'
export TERM=xterm
stop_under interrupt_top &
IPCD_TIMEOUT=50 check "^C ends top while the daemon is stopped, and the terminal is as before" "$job" "expect=$enter" "expect=KIND" \
	"save=$tmp/shown" "expect=$leave" died=INT mode=cooked -- "${ctl[@]}" top -d 0.2
wait $!
like "... which another one has said in one line" "$(cat "$tmp/in-vain")" "^ipcctl: the daemon at $socket has not answered for 1 second; is it stopped\?\$"
kill -CONT "$pid"
rm "$tmp/shown"
stop_under &
IPCD_TIMEOUT=2 check "without ^C top ends with the line, below its screen" "$job" "expect=$enter" "expect=KIND" "save=$tmp/shown" \
	"expect=$leave" "expect=has not answered for 2 seconds" exited=1 mode=cooked -- "${ctl[@]}" top -d 0.2
wait $!
for command in ls "show 0" "rm sem 0" gc metrics limits "limits semmni=3" top; do
	# shellcheck disable=SC2086
	one_line "$command, stopped" 1 "has not answered for 1 second; is it stopped" env IPCD_TIMEOUT=1 "${ctl[@]}" $command
done
"$job" idle key=C died=INT -- env IPCD_TIMEOUT=50 "${ctl[@]}" ls
report $? "^C ends ls too"
"$job" idle key=C died=INT -- "$IPCRUN" --daemon="$socket" true
report $? "... and a program at its first call"
kill -CONT "$pid"
is "a daemon that goes on is answered again" "$("${ctl[@]}" ls sem | grep -c 0x00000066)" 1
is "... and has done nothing that was given up" "$("${ctl[@]}" limits semmni | awk '{ print $2 }')" 100
kill -TERM "$pid"
wait "$pid"
is "the daemon was well" "$? $(grep -cvE 'ready|limit|SIGTERM|stopped' "$log")" "0 0"
pid=''
one_line "a daemon that has gone" 1 "no daemon at $socket.*start ipcd" env IPCD_TIMEOUT=0 "${ctl[@]}" ls
done_testing
