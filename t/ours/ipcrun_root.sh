#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcrun of root: the private namespace has an ipcd of its own, so that programs which change their uid have the kernel's
# permissions. Nothing else may be noticed of it, whatever of ipcrun, its keeper, the ipcd and the program is killed, and
# nothing may stay. What can be compared is compared with the kernel, in an IPC namespace of its own.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2046,SC2034,SC2154,SC2009

. "$(dirname "$0")/../lib/tap.sh"
if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
	echo "1..0 # SKIP needs root and setpriv"
	exit 0
fi
unset IPCRUN_EMBEDDED
chmod 755 "$tmp"
bin=$(dirname "$IPCRUN")
mine=()	# namespaces that this script has made, by their directories

# ---- what there is of a namespace ----

socket_dir() {	# DIRECTORY of a namespace: that of its socket
	echo "/run/ipcrun-${1##*/private-}"
}
keeper_of() {
	pgrep -f -- "^ipcrun --keep $1 "
}
ipcd_of() {	# the daemon, not the process that waits for it
	local pid

	for pid in $(pgrep -f -- "^ipcd --private --namespace-dir $1 "); do
		[ "$(ps -o sid= -p "$pid" | tr -d ' ')" != "$pid" ] || echo "$pid"
	done
}
serves() {	# DIRECTORY [BUT PID]: an ipcd, and another one than that
	local pid

	pid=$(ipcd_of "$1") && [ "$pid" ] && [ "$pid" != "${2:-}" ]
}
nothing_left() {	# DIRECTORY
	[ ! -e "$1" ] && [ ! -e "$(socket_dir "$1")" ] && [ -z "$(pgrep -f -- "$1")" ]
}
left() {	# DIRECTORY: to be printed
	ls -d "$1" "$(socket_dir "$1")" 2>/dev/null
	pgrep -af -- "$1"
}
all_gone() {	# NAME DIRECTORY
	mine+=("$2")
	soon nothing_left "$2"
	report $? "$1" || note "$(left "$2")"
}
at_exit() {	# what a failed test may have left
	local dir

	disown -a
	for dir in "${mine[@]}"; do
		case $dir in
		$base/private-*) pkill -KILL -f -- "$dir"; rm -rf "$dir" "$(socket_dir "$dir")" ;;
		esac
	done
}
program() {	# FILE COMMAND...: run in the background by ipcrun; pid, parent and directory are in $pid, $runner, $dir
	local file=$tmp/$1

	shift
	"$IPCRUN" sh -c 'echo "$$ $PPID $IPCD_NAMESPACE" >"$1.new" && mv "$1.new" "$1"; shift; exec "$@"' sh "$file" "$@" \
		</dev/null >"$file.out" 2>"$file.err" &
	disown $!
	soon test -s "$file"
	read -r pid runner dir <"$file"
	mine+=("$dir")
}

# ---- as if it had been run directly ----

# shellcheck source=t/lib/as_direct.sh
. "$top/t/lib/as_direct.sh"

# ---- permissions ----

cat >"$tmp/drop.pl" <<'END'
# Root makes two objects of each kind, gives one to nobody, and becomes nobody; what it can do then, also after exec.
use strict; use warnings; use POSIX;
my ($uid, $gid, @id) = @ARGV;
sub said { print shift, ": ", (defined shift() ? "done" : $! + 0), "\n" }
sub perm { my ($set, $buf) = @_; substr($$buf, 4, 8) = pack "II", $uid, $gid; said "given", $set->() }
if (!@id) {
	my $buf;
	@id = map { (shmget($_, 100, 01600), semget($_, 1, 01600), msgget($_, 01600)) } 0x71, 0x72;
	shmctl($id[3], 2, $buf = ''), perm(sub { shmctl $id[3], 1, $buf }, \$buf);
	semctl($id[4], 0, 2, $buf = ''), perm(sub { semctl $id[4], 0, 1, $buf }, \$buf);
	msgctl($id[5], 2, $buf = ''), perm(sub { msgctl $id[5], 1, $buf }, \$buf);
	$) = "$gid $gid";
	setgid($gid) && setuid($uid) or die;
}
for my $i (0, 3) {
	my $b = '';
	said "shm read", shmread($id[$i], $b, 0, 1) || undef;
	said "shm write", shmwrite($id[$i], "x", 0, 1) || undef;
	said "sem up", semop($id[$i + 1], pack "s3", 0, 1, 0) || undef;
	said "sem stat", semctl($id[$i + 1], 0, 2, $b = '');
	said "msg send", msgsnd($id[$i + 2], pack("l! a*", 1, "x"), 0) || undef;
	said "msg receive", msgrcv($id[$i + 2], $b = '', 10, 0, 04000);
	said "msg remove", $i && @ARGV > 2 ? msgctl($id[$i + 2], 0, 0) : undef;
}
said "new", semget(0x73, 1, 01600);
said "old key", semget(0x71, 1, 0600);
exec $^X, $0, $uid, $gid, @id if @ARGV == 2;
END
is "a program that drops its uid is denied and allowed what the kernel denies and allows it, also after exec" \
	"$("$IPCRUN" perl "$tmp/drop.pl" 65534 65534 2>&1)" "$(unshare -i perl "$tmp/drop.pl" 65534 65534 2>&1)"
like "... both happen" "$("$IPCRUN" perl "$tmp/drop.pl" 65534 65534 2>&1 | tr '\n' ' ')" 'sem up: 13 .*sem up: done '
like "... and without an ipcd it is otherwise" "$("$IPCRUN" --embedded perl "$tmp/drop.pl" 65534 65534 2>&1)" 'new: 13'
is "another user's program in it takes part" "$("$IPCRUN" sh -c 'ipcmk -Q -p 0666 >/dev/null
	cd / && setpriv --reuid=65534 --regid=65534 --clear-groups perl -e "print defined msgget(IPC_PRIVATE, 0600) ? 1 : 0"')" 1

# ---- where it is, and that it goes ----

dir=$("$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE"; exit 3')
is "exit status and all: its end is ipcrun's" "$?" 3
all_gone "nothing is left in /run and /dev/shm, and no process" "$dir"
like "the namespace is where root's private ones are" "$dir" "^$base/private-[0-9]+-"
{ read -r dir; read -r socket; read -r modes; } < <("$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE"; echo "$IPCD_SOCKET"
	stat -c "%a %U" "$IPCD_NAMESPACE" "${IPCD_SOCKET%/*}" "$IPCD_SOCKET" | xargs')
is "the socket is in a directory of its own in /run" "$socket" "$(socket_dir "$dir")/socket"
is "... which others may enter and not list, and the namespace's they may not" "$modes" "700 root 711 root 666 root"
dir=$("$IPCRUN" sh -c 'ipcmk -M 100 -S 2 -Q >/dev/null; echo "$IPCD_NAMESPACE"; kill -9 $$' 2>/dev/null)
all_gone "nothing is left when the program was killed, and has left objects" "$dir"
dir=$("$IPCRUN" perl -e 'print "$ENV{IPCD_NAMESPACE}\n"' <&- 2>&-)
all_gone "... nor with standard descriptors closed" "${dir:-none}"

dir=$("$IPCRUN" sh -c 'echo mine >"$IPCD_NAMESPACE/notes.txt"; echo "$IPCD_NAMESPACE"')
mine+=("$dir")
soon test ! -e "$(socket_dir "$dir")"
is "nothing that is not ours is removed with it, and that alone stays" "$(ls "$dir")" notes.txt
check "... with no process" soon not pgrep -f -- "$dir"

dir=$("$IPCRUN" --embedded sh -c 'echo "$IPCD_NAMESPACE ${IPCD_SOCKET-none}"')
like "--embedded: no ipcd" "$dir" ' none$'
like "IPCRUN_EMBEDDED=1 says the same" "$(IPCRUN_EMBEDDED=1 "$IPCRUN" sh -c 'echo "${IPCD_SOCKET-none}"')" '^none$'
like "... and 0 does not" "$(IPCRUN_EMBEDDED=0 "$IPCRUN" sh -c 'echo "${IPCD_SOCKET-none}"')" '^/run/'
is "other users have no ipcd" \
	"$(cp "$bin/ipcrun" "$bin/libipc-sysv.so" "$tmp/" && rm -rf /dev/shm/ipcd-12347 && cd / &&
		setpriv --reuid=12347 --clear-groups "$tmp/ipcrun" sh -c 'echo "${IPCD_SOCKET-none}"'; rm -rf /dev/shm/ipcd-12347)" none
if unshare -Ur true 2>/dev/null; then
	is "nor has root where there is no other user to become" \
		"$(cd / && setpriv --reuid=12347 --clear-groups unshare -Ur "$tmp/ipcrun" sh -c 'echo "${IPCD_SOCKET-none}"' 2>&1 |
			sed 's/.*belongs to.*/none/')" none
else
	skip "nor has root where there is no other user to become" "no user namespaces here"
fi
rm -rf /dev/shm/ipcd-12347

{ read -r outer; read -r inner; } < <("$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE"; "$1" sh -c "echo \$IPCD_NAMESPACE"' sh "$IPCRUN")
check "an ipcrun under ipcrun has a namespace of its own" test "$outer" != "$inner"
all_gone "... which goes" "$inner"
all_gone "... and so does the outer one" "$outer"

# ---- the ipcd and its keeper ----

program there sh -c 'ipcmk -Q >/dev/null; exec sleep 1000'
keeper=$(keeper_of "$dir") ipcd=$(ipcd_of "$dir")
check "a keeper and an ipcd are there" test "$keeper" -a "$ipcd"
for one in $keeper $ipcd; do
	is "$(cat "/proc/$one/comm") is in a session of its own, in /, with an empty environment, and holds nothing of the program's" \
		"$(ps -o sid= -p "$one" | tr -d ' ') $(readlink "/proc/$one/cwd") $(tr '\0' ' ' <"/proc/$one/environ")$(
		find "/proc/$one/fd" -lname "$tmp/*" | wc -l)" "$one / 0"
done
is "standard input, output and error of both are nothing" \
	"$(readlink "/proc/$keeper/fd/0" "/proc/$keeper/fd/1" "/proc/$keeper/fd/2" "/proc/$ipcd/fd/0" "/proc/$ipcd/fd/1" | sort -u)" \
	/dev/null
like "... ipcd's error is its own, for the log" "$(readlink "/proc/$ipcd/fd/2")" '^pipe:'
like "ipcctl namespaces shows it, with the program alone" "$("$IPCCTL" namespaces)" "${dir##*/} +1 +$dir"
soon sh -c '"$@" | grep -q 0x' sh "$IPCCTL" -d "$dir" ls msg
like "ipcctl -n finds it" "$("$IPCCTL" -n "${dir##*/}" ls msg)" '0x'
like "... by its ipcd, as -d does" "$("$IPCCTL" -d "$dir" ls --json msg)" "\"namespace\":\"$(socket_dir "$dir")/socket\".*0x"
like "... and gc" "$("$IPCCTL" -d "$dir" gc --older 0s)" '1 removed'
status "ipcctl destroy leaves it alone while somebody is there" 1 "$IPCCTL" -d "$dir" destroy
like "... and says who" "$said" "$dir is in use by $pid"
like "ipcrun -d takes part in it, by its ipcd" "$("$IPCRUN" -d "$dir" sh -c 'echo "$IPCD_NAMESPACE $IPCD_SOCKET"; ipcmk -Q')" \
	"^$dir $(socket_dir "$dir")/socket
Message queue id: [0-9]+\$"
kill "$pid"
all_gone "the program ended, all is gone" "$dir"

if [ -w /dev/ptmx ]; then
	check "^C is not for the ipcd, nor is ^Z" "$job" expect=ready key=C expect=same. key=Z stopped=TSTP state=T cont state=S \
		key=C expect=same. alone=TERM died=TERM -- "$IPCRUN" perl -e '$| = 1;
		sub command { open my $f, "<", "$_[0]/cmdline" or return ""; <$f> // "" }
		sub ipcd { join " ", grep { command($_) =~ /^ipcd\0--private\0.*$ENV{IPCD_NAMESPACE}\0/ } glob "/proc/[0-9]*" }
		my $first = ipcd(); $SIG{INT} = sub { print $first && ipcd() eq $first && defined msgget(0, 0600) ? "same.\n" : "other.\n" };
		print "ready\n"; sleep 1 while 1'
else
	skip "^C is not for the ipcd, nor is ^Z" "no /dev/ptmx"
fi

# ---- those who outlive the program ----

is "a reader of what a program writes comes to its end, though a child of it lives" \
	"$(timeout 20 sh -c '"$1" sh -c "exec 2>/dev/null; sleep 1000 <&- >&- & echo \$! \$IPCD_NAMESPACE" | cat >"$2"' sh \
		"$IPCRUN" "$tmp/reader"; echo $?)" 0
read -r pid dir <"$tmp/reader"
mine+=("$dir")
check "... which keeps the namespace" test -S "$(socket_dir "$dir")/socket"
kill "$pid"
all_gone "... until it ends" "$dir"

daemon='my ($out) = @ARGV; exit if fork; POSIX::setsid(); exit if fork; chdir "/"; POSIX::close($_) for 0 .. 255;
	my $q = msgget(0x4242, 01600); open my $f, ">", "$out.new"; print $f "$$ $ENV{IPCD_NAMESPACE}\n"; close $f;
	rename "$out.new", $out; my $b; msgrcv($q, $b, 100, 1, 0); msgsnd($q, pack("l! a*", 2, "answer"), 0); sleep 60'
"$IPCRUN" perl -MPOSIX -e "$daemon" "$tmp/daemon"
soon test -s "$tmp/daemon"
read -r pid dir <"$tmp/daemon"
mine+=("$dir")
"$IPCRUN" true
is "a daemon that it has made goes on in it" "$("$IPCRUN" -d "$dir" perl -e 'my $q = msgget(0x4242, 0); my $b;
	msgsnd($q, pack("l! a*", 1, "question"), 0); msgrcv($q, $b, 100, 2, 0); print unpack "x[l!] a*", $b')" answer
kill "$pid"
all_gone "... and it goes with it" "$dir"

# Perl writes $0 over the environment that others see.
"$IPCRUN" perl -e 'my ($out) = @ARGV; exit if fork; my $dir = $ENV{IPCD_NAMESPACE}; close STDIN; close STDOUT; close STDERR;
	$0 = "x" x 5000; open my $f, ">", "$out.new"; print $f "$$ $dir\n"; close $f; rename "$out.new", $out;
	select undef, undef, undef, 0.05 until -e "$out.go"; open $f, ">", "$out.done.new"; print $f defined msgget(1, 01600) ? "made" : $!;
	close $f; rename "$out.done.new", "$out.done"' "$tmp/hidden"
soon test -s "$tmp/hidden"
read -r pid dir <"$tmp/hidden"
mine+=("$dir")
"$IPCRUN" true
: >"$tmp/hidden.go"
soon test -s "$tmp/hidden.done"
is "one that hides its environment, and has made no call yet, makes it" "$(cat "$tmp/hidden.done")" made
all_gone "... and then it goes" "$dir"

"$IPCRUN" sh -c 'echo "$$ $IPCD_NAMESPACE" >"$1"; (AGAIN="
	stat(\$ENV{IPCD_NAMESPACE}) or do { open F, q(>), shift(@ARGV) . q(.lost); exit };
	exit if \$ARGV[1] == 0; exec \$^X, qw(-e), \$ENV{AGAIN}, \$ARGV[0], \$ARGV[1] - 1" &&
	export AGAIN && perl -e "$AGAIN" "$1" 150 & ) </dev/null >/dev/null 2>&1' sh "$tmp/again"
read -r _ dir <"$tmp/again"
all_gone "a survivor that calls exec again and again keeps it until it ends" "$dir"
check "... it never lost it" test ! -e "$tmp/again.lost"

# ---- an ipcd that is killed ----

adds='$| = 1; my $s = semget(0x5, 1, 01600); my $m = shmget(0x6, 8, 01600); my $n = 0; my $b;
	while (!-e "$ARGV[0].end") { defined semget(0, 1, 0600 | ($n % 8 ? 01000 : 0)) or die "semget: $!" if $n % 64 == 0;
		semop($s, pack "s3", 0, 1, 0) or die "semop: $!"; $n++;
		shmread($m, $b, 0, 8) or die "shmread: $!"; shmwrite($m, pack("Q", unpack("Q", $b) + 1), 0, 8) or die "shmwrite: $!";
		if ($n % 16 == 0) { open my $f, ">", "$ARGV[0].calls"; print $f $n } }
	shmread($m, $b, 0, 8); print semctl($s, 0, 12, 0) % 32768 == $n && unpack("Q", $b) == $n ? "right" : "wrong", "\n"'
program busy perl -e "$adds" "$tmp/busy"
calls() {	# more than N have been done
	[ "$(cat "$tmp/busy.calls" 2>/dev/null || echo 0)" -gt "$1" ]
}
soon calls 0
for i in 1 2 3; do
	ipcd=$(ipcd_of "$dir")
	kill -9 "$ipcd"
	soon serves "$dir" "$ipcd"
	report $? "killed, the ipcd is started again ($i)"
	soon calls $(($(cat "$tmp/busy.calls") + 32))
	report $? "... and calls go on"
done
ipcd=$(ipcd_of "$dir")
kill -TERM "$ipcd"
check "also when it was asked to end" soon serves "$dir" "$ipcd"
: >"$tmp/busy.end"
all_gone "the program ended, all is gone" "$dir"
is "... and it has lost nothing, and seen no error" "$(cat "$tmp/busy.out" "$tmp/busy.err")" right

mkdir "$tmp/prefix"
cp "$bin/ipcrun" "$bin/libipc-sysv.so" "$tmp/prefix/"
cat >"$tmp/prefix/ipcd" <<END
#!/bin/bash
echo >>"$tmp/prefix/starts"
[ -e "$tmp/prefix/broken" ] || exec -a ipcd "$bin/ipcd" "\$@"
exit 1
END
chmod +x "$tmp/prefix/ipcd"
IPCRUN=$tmp/prefix/ipcrun program broken sleep 1000
: >"$tmp/prefix/broken"
start=$SECONDS
kill -9 $(ipcd_of "$dir")
soon sh -c '[ $(wc -l <"$1") -ge 4 ]' sh "$tmp/prefix/starts"
report $? "one that does not start is tried again"
sleep 1
took=$((SECONDS - start + 1)) starts=$(wc -l <"$tmp/prefix/starts")
check "... less and less often" test "$starts" -le $((4 + took * 4))
rm "$tmp/prefix/broken"
check "... until it serves" soon serves "$dir"
: >"$tmp/prefix/broken"
kill -9 $(ipcd_of "$dir") "$pid"
all_gone "one that will never start again is not missed when the program has ended" "$dir"
rm "$tmp/prefix/broken"

# ---- ipcrun, and others of it, killed ----

made='$| = 1; msgget(0x77, 01600) // die; print "made\n"; $SIG{USR1} = sub { print defined msgget(0x77, 0) && defined msgget(0, 0600) ?
	"there\n" : "gone: $!\n" }; sleep 1 while 1'
has_said() {	# FILE WORD
	grep -qx "$2" "$tmp/$1.out"
}
program orphan perl -e "$made"
soon has_said orphan made
kill -9 "$runner"
soon ended "$runner"
"$IPCRUN" true
kill -USR1 "$pid"
soon has_said orphan there
report $? "kill -9 of ipcrun: the program goes on in its namespace"
ipcd=$(ipcd_of "$dir")
kill -9 "$ipcd"
soon serves "$dir" "$ipcd"
report $? "... an ipcd that is killed then is started again"
kill -9 "$pid"
all_gone "... and everything goes when it has ended, without another ipcrun" "$dir"

killed=()
for i in 1 2 3 4 5 6 7 8; do	# at some moment of its start, or a little after it
	"$IPCRUN" sleep 0.05 &
	killed+=($!)
	sleep "0.00$i"
	kill -9 $!
	wait $!
done 2>/dev/null
nothing_of_killed() {	# once the next ipcrun has been there
	local one

	"$IPCRUN" true
	for one in "${killed[@]}"; do
		! ls -d "$base/private-$one-"* "/run/ipcrun-$one-"* 2>/dev/null || return 1
		! pgrep -f "$base/private-$one-" || return 1
	done
}
check "ipcrun killed at any moment of its start: nothing stays" soon nothing_of_killed

program lonely perl -e "$made"
soon has_said lonely made
keeper=$(keeper_of "$dir")
kill -9 "$keeper"
soon ended "$keeper"
kill -USR1 "$pid"
soon has_said lonely there
report $? "kill -9 of the keeper: the program and the ipcd go on"
kill -9 "$pid"
all_gone "... and everything goes" "$dir"

program all perl -e "$made"
soon has_said all made
kill -9 "$runner" $(keeper_of "$dir") $(ipcd_of "$dir")
soon ended "$runner"
"$IPCRUN" true
check "kill -9 of ipcrun, keeper and ipcd: the next ipcrun leaves alone what the program uses" \
	test -d "$dir" -a -d "$(socket_dir "$dir")"
status "... ipcctl too" 1 "$IPCCTL" -d "$dir" destroy
kill -9 "$pid"
soon ended "$pid"
"$IPCRUN" true
all_gone "... and collects it when that has ended" "$dir"

program together sleep 1000
kill -9 "$runner" $(keeper_of "$dir") $(ipcd_of "$dir") "$pid"
collected() {
	"$IPCRUN" true
	nothing_left "$dir"
}
check "... also when all are killed at once" soon collected

# Any ipcrun collects, at any moment: so they come by their names when all is done.
orphan=/run/ipcrun-4194304-$$
mkdir -m 711 "/run/t-$$"a "/run/t-$$"b
touch "/run/t-$$"a/{users,socket} "/run/t-$$"b/users
perl -e 'open my $f, "<", "$ARGV[0]/users" or die; my $l = pack "s2x4q2ix4", 0, 0, 0, 0, 0; fcntl $f, 37, $l or die "$!";
	rename $ARGV[0], $ARGV[1] or die "$!"; sleep 100' "/run/t-$$"b "${orphan}b" &
holder=$!
mv "/run/t-$$"a "${orphan}a"
soon test -e "${orphan}b"
"$IPCRUN" true
check "a socket's directory whose namespace is gone is collected" test ! -e "${orphan}a"
check "... unless somebody uses it" test -e "${orphan}b/users"
kill $holder
wait $holder 2>/dev/null
orphan_gone() {
	"$IPCRUN" true
	[ ! -e "${orphan}b" ]
}
check "... and then it goes" soon orphan_gone

program undermined perl -e "$made"
soon has_said undermined made
rm -rf "$dir"
kill "$pid"
all_gone "its directory removed below it: the rest goes all the same" "$dir"

"$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE" >"$1"; kill -9 $PPID; exec sleep 0.1' sh "$tmp/short" >/dev/null 2>&1 &
disown $!
soon test -s "$tmp/short"
all_gone "ipcrun killed by its program: all goes" "$(cat "$tmp/short")"

# ---- what can be wrong ----

says='ipc(run|d): '
fails() {	# NAME REGEX COMMAND...: 125, one line, and nothing is left
	one_line "$1" 125 "$2" sh -c 'echo $$ >"$0"; exec "$@"' "$tmp/failed" "${@:3}"
	is "... and nothing is left" "$(ls -d "$base/private-$(<"$tmp/failed")-"* "/run/ipcrun-$(<"$tmp/failed")-"* 2>/dev/null)" ""
}
mkdir "$tmp/alone"
cp "$bin/ipcrun" "$bin/libipc-sysv.so" "$tmp/alone/"
fails "no ipcd beside ipcrun" "cannot find $tmp/alone/ipcd.*--embedded" "$tmp/alone/ipcrun" true
status "... which --embedded does without" 0 "$tmp/alone/ipcrun" --embedded true
printf '#!/no/such/interpreter\n' >"$tmp/alone/ipcd"
chmod +x "$tmp/alone/ipcd"
fails "an ipcd that cannot be run" "cannot run $tmp/alone/ipcd: No such file" "$tmp/alone/ipcrun" true
printf '#!/bin/sh\necho "ipcd: it is broken" >&2; exit 1\n' >"$tmp/alone/ipcd"
fails "an ipcd that does not start says why" "it is broken" "$tmp/alone/ipcrun" true
if unshare -m sh -c 'mount -t tmpfs -o ro none /run' 2>/dev/null; then
	fails "/run that cannot be written" "cannot make /run/ipcrun-.*Read-only file system.*--embedded" \
		unshare -m sh -c 'mount -t tmpfs -o ro none /run && exec "$@"' sh "$IPCRUN" true
	status "... which --embedded does without" 0 \
		unshare -m sh -c 'mount -t tmpfs -o ro none /run && exec "$@"' sh "$IPCRUN" --embedded true
else
	skip "/run that cannot be written" "no mounts here"
fi
fails "an IPCRUN_EMBEDDED that makes no sense" "IPCRUN_EMBEDDED=yes" env IPCRUN_EMBEDDED=yes "$IPCRUN" true
fails "--embedded and --daemon" "exclude" "$IPCRUN" --embedded --daemon=/x true
one_line "ipcd --private is for ipcrun's namespaces" 1 "--private: $tmp/ns " \
	"$bin/ipcd" --foreground --private --namespace-dir "$tmp/ns" --socket "$tmp/so"
is "what limits the program does not limit its ipcd" "$( (ulimit -S -n 40 -f 100 -v 6000000; "$IPCRUN" perl -e '
	my $q = msgget(0x5, 01600); my $b;
	for (1 .. 60) { next if fork; msgsnd($q, pack("l!", 1), 0); msgrcv($q, $b, 0, 2, 0) && msgsnd($q, pack("l!", 3), 0); exit }
	msgrcv($q, $b, 0, 1, 0) or die "$!" for 1 .. 60; msgsnd($q, pack("l!", 2), 0) for 1 .. 60;
	msgrcv($q, $b, 0, 3, 0) or die "$!" for 1 .. 60; print "all"') 2>&1)" all

done_testing
