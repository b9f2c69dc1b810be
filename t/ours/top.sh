#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcctl top: on a terminal it fills the window, whatever its size, and gives it back; elsewhere it prints.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2154

. "$(dirname "$0")/../lib/tap.sh"
name=t-top-$$
ctl=("$IPCCTL" -n "$name")
job=$top/t/lib/job.pl
export TERM=xterm
at_exit() {
	[ -z "${holder-}" ] || kill_own "$holder" $busy $sleeper
	"${ctl[@]}" rm --all 2>/dev/null
	"${ctl[@]}" destroy 2>/dev/null
}

# One that works all the time, one that waits, one that holds a unit.
"$IPCRUN" -n "$name" perl -e '$| = 1;
	my $s = semget(0x51, 2, 01600) // die; my $q = msgget(0x52, 01600) // die; shmget(0x53, 5000000, 01600) // die;
	semop($s, pack("s!3", 1, 2, 010000)) || die;
	my $busy = fork // die;
	if (!$busy) { while (1) { semop($s, pack("s!3", 0, 1, 0)); semop($s, pack("s!3", 0, -1, 0)) } }
	my $sleeper = fork // die;
	if (!$sleeper) { my $b; msgrcv($q, $b, 10, 42, 0); exit }
	print "$$ $busy $sleeper $s $q\n"; sleep 1 while 1' >"$tmp/pids" &
soon test -s "$tmp/pids"
read -r holder busy sleeper s q <"$tmp/pids"
soon sh -c '"$@" ls msg | grep -q "16384 *1$"' sh "${ctl[@]}"

# ---- without a terminal ----

once=$("${ctl[@]}" top </dev/null)
check "without a terminal it prints once" test "$(grep -c '^KIND ' <<<"$once")" = 1
check "... no control characters" not grep -q $'\033' <<<"$once"
like "... who waits, for how long, for what" "$once" "$sleeper  perl +[0-9ms.]+  msg $q +receives type 42"
like "... the objects" "$once" "shm +[0-9]+  0x00000053 .* 4.8MB, attached 0"
like "... how many processes, waiting and undo" "$once" "processes 3  waiting 1  undo 1"
twice=$("${ctl[@]}" top -n 2 -d 0.3)
is "-n 2 prints twice" "$(grep -c '^KIND ' <<<"$twice")" 2
check "... how often each object changes, the busiest first" \
	sh -c 'tail -n 3 | head -n 1 | grep -Eq "^sem +$0 +0x00000051 +[^ ]+ +[1-9][0-9]+ "' "$s" <<<"$twice"
is "-d alone goes on until nobody reads" "$("${ctl[@]}" top -d 0.1 | grep -m 5 -c '^KIND ')" 5
is "kinds can be named" "$("${ctl[@]}" top shm msg | sed '1,/^KIND/d' | cut -c1-3 | sort -u | tr '\n' ' ')" "msg shm "
is "--json is a line of JSON a time" "$("${ctl[@]}" top --json -n 2 -d 0.1 | perl -MJSON::PP -ne '
	my $j = decode_json($_); my ($o) = grep { $_->{kind} eq "sem" } @{$j->{objects}};
	printf "%s %s %d %s %d; ", defined $o->{changes_per_second} ? "known" : "unknown", $j->{waiters}[0]{wish},
		$j->{waiters}[0]{pid} == '"$sleeper"', $j->{waiters}[0]{seconds} > 0 ? "long" : "", $j->{processes}')" \
	"unknown receives type 42 1 long 3; known receives type 42 1 long 3; "
for w in 30 40 60 80 132; do
	is "at $w columns no line is longer" "$(COLUMNS=$w "${ctl[@]}" top | awk -v w=$w 'length > w')" ""
done
for bad in "-n 0" "-n x" "-d 0" "-d x" "-d -1" "-d nan" "-n" "--frob"; do
	# shellcheck disable=SC2086
	status "top $bad: 2" 2 "${ctl[@]}" top $bad
done

# ---- on one ----

enter=$'\033[?1049h' leave=$'\033[?1049l'
screen() {	# NAME WORD... -- OPTION...: what happens
	local name=$1 words=()
	shift
	while [ "$1" != -- ]; do words+=("$1"); shift; done
	shift
	check "$name" "$job" "${words[@]}" -- "${ctl[@]}" top "$@"
}
screen "on a terminal it fills the other screen, and q ends it" "expect=$enter" "expect=receives type 42" "expect=KIND" \
	mode=raw type=q "expect=$leave" exited=0 mode=cooked -- -d 0.2
screen "it is drawn again" "expect=receives type 42" "expect=receives type 42" "expect=receives type 42" type=q exited=0 -- -d 0.2
screen "^C ends it as any program, and the terminal is as before" "expect=KIND" key=C "expect=$leave" died=INT mode=cooked -- -d 60
screen "... so do SIGTERM and SIGHUP" "expect=KIND" group=TERM "expect=$leave" died=TERM mode=cooked -- -d 60
screen "... SIGHUP" "expect=KIND" group=HUP "expect=$leave" died=HUP mode=cooked -- -d 60
screen "^Z stops it and gives the terminal back; fg draws it again" "expect=KIND" key=Z "expect=$leave" stopped=TSTP mode=cooked \
	cont "expect=$enter" "expect=KIND" mode=raw key=Z stopped=TSTP mode=cooked cont "expect=KIND" type=q "expect=$leave" \
	exited=0 mode=cooked -- -d 60
screen "-n ends it by itself" "expect=KIND" "expect=KIND" "expect=$leave" exited=0 mode=cooked -- -n 2 -d 0.2
screen "a window that becomes narrow and low" size=100x30 "expect=OWNER  CHANGES/S" size=40x12 "expect=ID  CHANGES/S" \
	"save=$tmp/wide" size=39x12 "expect=ID  CHANGES/S" "save=$tmp/narrow" size=100x30 "expect=OWNER  CHANGES/S" type=q exited=0 -- -d 60
frame=$(tr -d '\r' <"$tmp/narrow" | sed 's/\x1b\[[0-9?]*[A-Za-z]//g')
is "... no line is longer than it" "$(awk 'length > 39' <<<"$frame")" ""
check "... nor are there more" test "$(wc -l <<<"$frame")" -le 12
screen "a tiny window" size=10x3 "expect=$enter" mode=raw type=q exited=0 mode=cooked -- -d 60
export TERM=dumb
"$job" "expect=KIND" exited=0 "save=$tmp/dumb" -- "${ctl[@]}" top
check "a dumb terminal gets no control characters" not grep -q $'\033' "$tmp/dumb"

kill "$holder" "$busy" "$sleeper"
done_testing
