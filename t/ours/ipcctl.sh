#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcctl: what it shows is what there is, what it removes is what was named, and what is wrong gets one line.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2046,SC2034,SC2154

. "$(dirname "$0")/../lib/tap.sh"
name=t-ipcctl-$$
on=("$IPCRUN" -n "$name")
ctl=("$IPCCTL" -n "$name")
at_exit() {
	"${ctl[@]}" rm --all 2>/dev/null
	"${ctl[@]}" destroy 2>/dev/null
}

says="ipcctl: "

line() {	# WORD...: the words of a table's line
	tr -s ' ' <<<"$1" | sed 's/^ //;s/ $//'
}

# ---- an empty namespace ----

"${on[@]}" true
is "ls of an empty namespace shows headings only" "$("${ctl[@]}" ls | grep -c '[0-9]')" 0
is "... and in JSON three empty lists" "$("${ctl[@]}" ls --json)" \
	"{\"namespace\":\"$base/$name\",\"shm\":[],\"sem\":[],\"msg\":[]}"

# ---- ls ----

me=$(id -un)
"${on[@]}" perl -e '
	my $m = shmget(0x1234, 10000, 01640) // die; my $s = semget(0x99, 3, 01600) // die; my $q = msgget(-2, 01606) // die;
	shmget(0, 4096, 0600) // die;
	msgsnd($q, pack("l! a*", $_, "hello"), 0) || die for 1 .. 3; print "$$ $m $s $q\n"' >"$tmp/made"
read -r creator m s q <"$tmp/made"
table=$("${ctl[@]}" ls)
is "ls shows a segment: id, key, owner, mode, bytes, attached, creator" \
	"$(line "$(grep 0x00001234 <<<"$table")")" "$m 0x00001234 $me 0640 10000 0 $creator 0 -"
is "... a set: semaphores, who waits, whose undo is pending" \
	"$(line "$(grep 0x00000099 <<<"$table")")" "$s 0x00000099 $me 0600 3 0 0"
is "... and a queue: messages, bytes, limit, who waits" \
	"$(line "$(grep 0xfffffffe <<<"$table")")" "$q 0xfffffffe $me 0606 3 15 16384 0"
is "ls of one kind shows that kind only" "$("${ctl[@]}" ls sem | grep -c 0x)" 1
is "... of two kinds both" "$("${ctl[@]}" ls sem msg | grep -c 0x)" 2
json=$("${ctl[@]}" ls --json)
is "ls --json is JSON" "$(perl -MJSON::PP -e 'my $j = decode_json(join "", <STDIN>); printf "%d %d %s %d %d %s %d",
	scalar @{$j->{shm}}, $j->{shm}[0]{bytes}, $j->{sem}[0]{key}, $j->{sem}[0]{semaphores}, $j->{msg}[0]{messages},
	$j->{msg}[0]{mode}, $j->{msg}[0]{limit}' <<<"$json" 2>&1)" "2 10000 0x00000099 3 3 0606 16384"
is "... also of one kind" "$("${ctl[@]}" ls --json msg | perl -MJSON::PP -e 'print join ",", sort keys %{decode_json(<STDIN>)}')" \
	"msg,namespace"
odd=$tmp/$'a "b\\\tc'
mkdir "$odd"
is "... whatever the directory's name is" "$("$IPCRUN" -d "$odd/d" true
	"$IPCCTL" -d "$odd/d" ls --json | perl -MJSON::PP -e 'print decode_json(<STDIN>)->{namespace}')" "$odd/d"
is "without -n and -d it is the namespace of the environment" "$("${on[@]}" "$IPCCTL" ls | grep -c 0x)" 4

# ---- show ----

"${on[@]}" perl -MIPC::SysV=shmat -e '
	my ($m, $s, $q) = @ARGV; $| = 1;
	semop($s, pack("s!3", 1, 2, 010000)) || die; shmat($m, undef, 0) // die; shmat($m, undef, 010000) // die;
	my $b;
	while (1) { last unless msgrcv($q, $b, 100, 0, 04000) }
	my @do = (sub { semop($s, pack("s!6", 1, -1, 010000, 2, -3, 0)) }, sub { semop($s, pack("s!3", 1, 0, 0)) },
		sub { msgrcv($q, $b, 100, 0, 0) }, sub { msgrcv($q, $b, 100, 77, 0) },
		sub { msgrcv($q, $b, 100, -7, 0) }, sub { msgrcv($q, $b, 100, 5, 020000) });
	my @pids;
	for my $f (@do) { my $p = fork; if (!$p) { $f->(); exit } push @pids, $p }
	print "$$ @pids\n"; sleep 1 while 1' "$m" "$s" "$q" >"$tmp/pids" &
runner=$!
soon test -s "$tmp/pids"
read -r holder w1 w2 r0 r1 r2 r3 <"$tmp/pids"
shown() {	# KIND ID REGEX...
	local text regex
	text=$("${ctl[@]}" show "$1" "$2") || return
	shift 2
	for regex; do
		grep -Eq -- "$regex" <<<"$text" || { echo "no line matches $regex in:"; echo "$text"; return 1; }
	done
}
t='[0-9ms.]+'
soon shown sem "$s" '^waiting +2$'
soon shown msg "$q" '^waiting +4$'
check "show of a segment says who has it attached, and how often" shown shm "$m" '^key +0x00001234$' '^bytes +10000$' \
	"^owner +$me:" "^creator .* pid $creator\$" '^attachments +14$' "^  pid $holder \\(perl\\): 2\$" "^  pid $w1 \\(perl\\): 2\$"
check "show of a set shows values and who changed them last" shown sem "$s" '^semaphores +3$' \
	"^ +1 +2 +$holder +0 +1\$" '^ +2 +0 +0 +1 +0$'
check "... who waits, for what" shown sem "$s" '^waiting +2$' \
	"^  pid $w1 \\(perl\\), for $t: semaphore 1 -1 with undo, semaphore 2 -3\$" "^  pid $w2 \\(perl\\), for $t: semaphore 1 is zero\$"
check "... and whose undo is pending" shown sem "$s" '^undo +1$' "^  pid $holder \\(perl\\): semaphore 1 -2 when it ends\$"
"${on[@]}" perl -e 'my $s = semget(0x77, 2, 01600) // die; semop($s, pack("s!6", 0, 5, 010000, 1, 2, 010000)) || die; $| = 1;
	print "$$ $s\n"; sleep 1 while 1' >"$tmp/first" &
soon test -s "$tmp/first"
read -r first first_set <"$tmp/first"
check "... also of the first semaphore" shown sem "$first_set" '^undo +2$' "^  pid $first \\(perl\\): semaphore 0 -5 when it ends\$" \
	"^  pid $first \\(perl\\): semaphore 1 -2 when it ends\$"
kill "$first"
"${ctl[@]}" rm sem "$first_set"
check "show of a queue says who waits, for what" shown msg "$q" '^messages +0$' '^bytes +0 of 16384$' \
	"^received by +$holder " "^  pid $r0 \\(perl\\), for $t: receives any message\$" "^  pid $r1 \\(perl\\), for $t: receives type 77\$" \
	"^  pid $r2 \\(perl\\), for $t: receives the lowest type up to 7\$" "^  pid $r3 \\(perl\\), for $t: receives type other than 5\$"
is "ls counts them" "$(line "$("${ctl[@]}" ls sem | grep 0x00000099)")" "$s 0x00000099 $me 0600 3 2 1"
check "an id without a kind shows every object that has it" sh -c '[ "$("$@" show 0 | grep -c ^object)" = 3 ]' sh "${ctl[@]}"
is "the kind may come second" "$("${ctl[@]}" show "$m" shm)" "$("${ctl[@]}" show shm "$m")"
"${ctl[@]}" rm shm "$m"
check "a removed segment that is attached still shows" shown shm "$m" '^status +removed' '^attachments +14$'
like "... in ls too" "$("${ctl[@]}" ls shm)" "$m +0x00000000 .* removed"
kill -9 "$w1"
soon ended "$w1"
check "what a killed process had is gone from the answers at once" shown sem "$s" '^waiting +1$'
check "... also the attachments" shown shm "$m" '^attachments +12$'

full=$("${on[@]}" perl -e 'my $q = msgget(0, 0600); my $big = pack "l! a*", 1, "x" x 8192; print "$q\n";
	1 while msgsnd($q, $big, 04000)')
"${on[@]}" perl -e 'msgsnd($ARGV[0], pack("l! a*", 1, "y" x 100), 0)' "$full" & sender=$!
check "show of a full queue says who wants to send, and how much" soon shown msg "$full" '^waiting +1$' \
	"^  pid [0-9]+ \\(perl\\), for $t: sends 100 bytes\$"

# ---- destroy, in use ----

status "destroy refuses while somebody uses the namespace: 1" 1 "${ctl[@]}" destroy
like "... and names the processes" "$said" "^ipcctl: $base/$name is in use by .*$holder \\(perl\\)"
check "... and nothing is gone" shown sem "$s" '^semaphores +3$'
like "namespaces lists it, with the number of its processes" "$("$IPCCTL" namespaces)" \
	"
$name +[1-9][0-9]*  $base/$name"
kill "$sender" "$holder" "$w2" "$r0" "$r1" "$r2" "$r3"
wait "$sender" "$runner"
for p in "$holder" "$w2" "$r0" "$r1" "$r2" "$r3"; do soon ended "$p"; done
check "the last detach frees a removed segment" soon sh -c 'n=$1; shift; ! "$@" show shm "$n"' sh "$m" "${ctl[@]}"

# ---- rm ----

"${ctl[@]}" rm --all
is "rm --all removes everything" "$("${ctl[@]}" ls | grep -c 0x)" 0
make() {	# prints ids: three of each kind, with keys 1 2 3
	"${on[@]}" perl -e 'print join(" ", (map { shmget($_, 100, 01600) } 1 .. 3), (map { semget($_, 1, 01600) } 1 .. 3),
		map { msgget($_, 01600) } 1 .. 3), "\n"'
}
read -r m1 m2 m3 s1 s2 s3 q1 q2 q3 < <(make)
left() {
	"${ctl[@]}" ls --json | perl -MJSON::PP -e 'my $j = decode_json(<STDIN>);
		print join " ", map { my $k = $_; map { "$k" . hex $_->{key} } @{$j->{$k}} } qw(shm sem msg)'
}
is "rm removes by kind and id, several at once" "$("${ctl[@]}" rm shm "$m1" "$m3" sem "$s2" 2>&1; left)" "shm2 sem1 sem3 msg1 msg2 msg3"
is "... by -m, -s, -q" "$("${ctl[@]}" rm -m "$m2" -s "$s1" -q"$q2" 2>&1; left)" "sem3 msg1 msg3"
is "... by key: -M, -S, -Q, in hexadecimal or decimal" "$("${ctl[@]}" rm -S 0x3 -Q 1 2>&1; left)" "msg3"
status "one that is not there: 1" 1 "${ctl[@]}" rm shm "$m1" msg "$q3"
like "... and one line that names it" "$said" "^ipcctl: rm: shm $m1: there is none[^
]*\$"
is "... and the others are removed all the same" "$(left)" ""
read -r m1 m2 m3 s1 s2 s3 q1 q2 q3 < <(make)
one_line "rm: something wrong behind something right" 2 "'x'" "${ctl[@]}" rm shm "$m1" x
is "... removes nothing" "$(left)" "shm1 shm2 shm3 sem1 sem2 sem3 msg1 msg2 msg3"
is "rm --all of one kind" "$("${ctl[@]}" rm --all sem; left)" "shm1 shm2 shm3 msg1 msg2 msg3"
one_line "rm by a key that is not there" 1 "0x00000077" "${ctl[@]}" rm -M 0x77
one_line "rm by key 0" 2 "IPC_PRIVATE" "${ctl[@]}" rm -M 0
one_line "rm of an id without a kind" 2 "rm shm 5" "${ctl[@]}" rm 5
one_line "rm of nothing" 2 "nothing" "${ctl[@]}" rm
one_line "rm of a kind without an id" 2 "shm needs" "${ctl[@]}" rm shm
one_line "rm with an option without its value" 2 "-m needs" "${ctl[@]}" rm -m
one_line "rm with an unknown option" 2 "--frob" "${ctl[@]}" rm --frob
for bad in -1 1x 99999999999 '' 0x10 ' 1' +1; do
	one_line "rm of the id '$bad'" 2 "" "${ctl[@]}" rm shm "$bad"
done
for bad in 0x 4294967296 key -5; do
	one_line "rm of the key '$bad'" 2 "'$bad'" "${ctl[@]}" rm -Q "$bad"
done
one_line "rm --all of an unknown kind" 2 "'x'" "${ctl[@]}" rm --all x
is "after all that nothing is gone" "$(left)" "shm1 shm2 shm3 msg1 msg2 msg3"
"${ctl[@]}" rm --all

# ---- limits ----

is "limits are the kernel's at first" "$("${ctl[@]}" limits | awk '{ print $1 "=" $2 }' | tr '\n' ' ')" \
	"shmmax=18446744073692774399 shmall=18446744073692774399 shmmni=4096 semmsl=32000 semmns=1024000000 semopm=500 semmni=32000 msgmax=8192 msgmnb=16384 msgmni=32000 "
is "limits NAME shows one" "$("${ctl[@]}" limits semmni | awk '{ print $1, $2 }')" "semmni 32000"
status "limits NAME=VALUE sets" 0 "${ctl[@]}" limits semmni=2 msgmax=100
is "... for this namespace" "$("${ctl[@]}" limits semmni msgmax | awk '{ print $2 }' | tr '\n' ' ')" "2 100 "
is "... and the calls obey" "$("${on[@]}" perl -e 'semget(0, 1, 0600) for 1 .. 2; print semget(0, 1, 0600) // "$!"; print " ";
	my $q = msgget(0, 0600); print msgsnd($q, pack("l! a*", 1, "x" x 101), 0) ? "sent" : "$!"')" \
	"No space left on device Invalid argument"
"$IPCRUN" -d "$tmp/other" true
is "... for no other" "$("$IPCCTL" -d "$tmp/other" limits semmni | awk '{ print $2 }')" 32000
one_line "an unknown limit" 2 "'shmax'" "${ctl[@]}" limits shmax=1
one_line "a limit that is no number" 2 "semmni=many" "${ctl[@]}" limits semmni=many
for bad in semmni=32769 semmni=-1 semmni= shmmax=18446744073709551616 semopm=1025 'msgmni= 5' msgmnb=2147483648; do
	one_line "out of range: $bad" 2 "$bad" "${ctl[@]}" limits "$bad"
done
one_line "something wrong behind something right" 2 "'x'" "${ctl[@]}" limits semmni=7 x=1
is "... changes nothing" "$("${ctl[@]}" limits semmni | awk '{ print $2 }')" 2
is "limits at their ends can be set" "$("${ctl[@]}" limits shmmax=18446744073709551615 semmni=32768 semmni=0 msgmni=0 2>&1)" ""
is "... and 0 means none" "$("${on[@]}" perl -e 'print semget(0, 1, 0600) // "$!"')" "No space left on device"
"${ctl[@]}" rm --all
is "limits are kept" "$(rm -f "$base/$name/registry"; "${ctl[@]}" limits msgmax msgmni 2>&1 | awk '{ print $2 }' | tr '\n' ' ')" "100 0 "

# ---- destroy ----

check "destroy removes a namespace that nobody uses" "${ctl[@]}" destroy
check "... with its directory" test ! -e "$base/$name"
one_line "a namespace that is not there" 1 "ipcctl namespaces" "${ctl[@]}" ls
one_line "destroy of one that is not there" 1 "$name" "${ctl[@]}" destroy
mkdir -m 700 "$tmp/empty" "$tmp/full"
echo precious >"$tmp/full/thesis.txt"
one_line "destroy of an empty directory" 1 "$tmp/empty is not a namespace" "$IPCCTL" -d "$tmp/empty" destroy
one_line "destroy of somebody's directory" 1 "thesis.txt" "$IPCCTL" -d "$tmp/full" destroy
"$IPCRUN" -d "$tmp/mixed" true
echo precious >"$tmp/mixed/shm-thesis"
one_line "destroy of a namespace with a file of somebody's in it" 1 "shm-thesis" "$IPCCTL" -d "$tmp/mixed" destroy
is "... removes nothing" "$(cat "$tmp/full/thesis.txt" "$tmp/mixed/shm-thesis"; find "$tmp/mixed" -name registry | wc -l)" "precious
precious
1"

# ---- the command line ----

cd "$tmp" || exit
one_line "no namespace" 1 "-n NAME, -d DIR or --daemon" "$IPCCTL" ls
one_line "an empty IPCD_NAMESPACE" 1 "-n NAME, -d DIR or --daemon" env IPCD_NAMESPACE= "$IPCCTL" ls
one_line "an IPCD_NAMESPACE that is not there" 1 "/no/such/dir" env IPCD_NAMESPACE=/no/such/dir "$IPCCTL" ls
one_line "no command" 2 "no command" "$IPCCTL" -n x
one_line "an unknown command" 2 "frobnicate" "$IPCCTL" -n x frobnicate
one_line "an unknown option" 2 "--frob" "$IPCCTL" --frob ls
one_line "-n without a name" 2 "-n needs" "$IPCCTL" -n
one_line "a bad name" 2 "'a/b'" "$IPCCTL" -n a/b ls
one_line "-n and -d" 2 "exclude" "$IPCCTL" -n a -d b ls
one_line "ls of an unknown kind" 2 "'x'" "$IPCCTL" -d other ls x
one_line "show without an id" 2 "one id" "$IPCCTL" -d other show
one_line "show of no id" 2 "'x'" "$IPCCTL" -d other show x
one_line "show of an unknown kind" 2 "'y'" "$IPCCTL" -d other show 5 y
one_line "show of what is not there" 1 "no object with id 5" "$IPCCTL" -d other show 5
one_line "show of a kind that is not there" 1 "no sem with id 5" "$IPCCTL" -d other show sem 5
one_line "destroy with an argument" 2 "destroy" "$IPCCTL" -d other destroy now
one_line "namespaces with an argument" 2 "namespaces" "$IPCCTL" namespaces now
like "--help goes to stdout" "$("$IPCCTL" --help)" '^Usage: ipcctl'
like "--version too" "$("$IPCCTL" --version)" '^ipcctl [0-9]'
if [ -w /dev/full ]; then
	one_line "output that cannot be written" 1 "No space left" sh -c '"$@" >/dev/full' sh "$IPCCTL" -d other limits
else
	skip "output that cannot be written" "no /dev/full"
fi

done_testing
