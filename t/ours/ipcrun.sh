#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcrun as a program sees it and as its caller sees it. What can be compared is compared with the same command run
# without ipcrun. Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2046,SC2034,SC2154

. "$(dirname "$0")/../lib/tap.sh"

# shellcheck source=t/lib/as_direct.sh
. "$top/t/lib/as_direct.sh"

# ---- private namespaces ----

dir=$("$IPCRUN" sh -c 'ls -ld "$IPCD_NAMESPACE" >&2; echo "$IPCD_NAMESPACE"' 2>"$tmp/ls")
like "a private namespace is a directory of this user's, under a name with private-" "$dir" "^$base/private-[0-9]+-"
like "... that nobody else may open" "$(cat "$tmp/ls")" '^drwx------'
check "it is removed when the program has ended" test ! -e "$dir"
get='my $q = msgget(0x4242, 0) // exit 1; print "queue\n"'
make='msgget(0x4242, 01600) // die; msgsnd(msgget(0x4242, 0), pack("l! a*", 1, "x"), 0) || die'
is "objects of one run are not there in the next" \
	"$("$IPCRUN" perl -e "$make"; "$IPCRUN" perl -e "$get"; echo $?)" 1
status "processes of one run share its namespace" 0 "$IPCRUN" sh -c "perl -e '$make' && perl -e '$get'"
is "the machine's own System V IPC sees nothing" "$("$IPCRUN" sh -c "perl -e '$make'
	env -u LD_PRELOAD perl -e '$get'; echo \$?")" 1

dir=$("$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE"; exit 3')
check "it is removed after a failure" test ! -e "$dir"
dir=$("$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE"; kill -9 $$' 2>/dev/null)
check "it is removed after kill -9 of the program" test ! -e "$dir"

daemon='my ($out) = @ARGV; exit if fork; POSIX::setsid(); exit if fork; chdir "/"; POSIX::close($_) for 0 .. 255;
	my $q = msgget(0x4242, 01600); open my $f, ">", "$out.new"; print $f "$$ $ENV{IPCD_NAMESPACE}\n"; close $f;
	rename "$out.new", $out; my $b; msgrcv($q, $b, 100, 1, 0); msgsnd($q, pack("l! a*", 2, "answer"), 0); sleep 60'
collector_of() {
	pgrep -f -- "^ipcrun --collect $1\$"
}
start=$SECONDS
"$IPCRUN" perl -MPOSIX -e "$daemon" "$tmp/daemon"
check "ipcrun ends with its program, though a daemon of it lives" test $((SECONDS - start)) -lt 20
soon test -s "$tmp/daemon"
read -r pid dir <"$tmp/daemon"
check "a daemon keeps the private namespace" test -d "$dir"
is "... and works in it" "$("$IPCRUN" -d "$dir" perl -e 'my $q = msgget(0x4242, 0); my $b;
	msgsnd($q, pack("l! a*", 1, "question"), 0); msgrcv($q, $b, 100, 2, 0); print unpack "x[l!] a*", $b')" answer
check "a collector waits" soon collector_of "$dir"
collector=$(collector_of "$dir")
is "... in a session of its own, in no directory, holding no descriptor of ours" \
	"$(ps -o sid= -p "$collector" | tr -d ' ') $(readlink "/proc/$collector/cwd") $(find "/proc/$collector/fd" \
	-lname '/dev/null' -prune -o -lname '*:*' -prune -o -type l -print | wc -l)" "$collector / 0"
is "... with an empty environment" "$(tr '\0' ' ' <"/proc/$collector/environ")" ""
ticks() {
	sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f12,13,20
}
asleep() {	# PID: for a second and a half
	local before
	before=$(ticks "$1"; grep ctxt "/proc/$1/status")
	sleep 1.5
	[ "$(ticks "$1"; grep ctxt "/proc/$1/status")" = "$before" ]
}
check "... and sleeps: no processor time, not even a wake-up" soon asleep "$collector"
kill "$pid"
check "the namespace goes when the daemon has gone" soon test ! -e "$dir"
check "... and the collector with it" soon ended "$collector"

"$IPCRUN" sh -c 'echo "$IPCD_NAMESPACE" >"$1"; for i in 1 2 3; do (perl -e "sleep 1000" </dev/null >/dev/null 2>&1 & echo $! >>"$1"); done' \
	sh "$tmp/three"
{ read -r dir; read -r a; read -r b; read -r c; } <"$tmp/three"
kill "$a" "$b"
soon ended "$b"
sleep 0.3
check "of several survivors the last one keeps it" test -d "$dir"
kill "$c"
check "... and then it goes" soon test ! -e "$dir"

"$IPCRUN" sh -c 'echo "$$ $IPCD_NAMESPACE" >"$1"; (perl -e "
	exit 0 if \$ARGV[0] == 0; exec \$^X, qw(-e), \$ENV{AGAIN}, \$ARGV[0] - 1" 0; AGAIN="
	stat(\$ENV{IPCD_NAMESPACE}) or do { open F, q(>), shift(@ARGV) . q(.lost); exit };
	exit if \$ARGV[1] == 0; exec \$^X, qw(-e), \$ENV{AGAIN}, \$ARGV[0], \$ARGV[1] - 1" &&
	export AGAIN && perl -e "$AGAIN" "$1" 150 & ) </dev/null >/dev/null 2>&1' sh "$tmp/again"
read -r _ dir <"$tmp/again"
check "a survivor that calls exec again and again keeps it until it ends" soon test ! -e "$dir"
check "... it never lost it" test ! -e "$tmp/again.lost"

is "nothing that is not ours is removed with a private namespace" "$("$IPCRUN" sh -c '
	echo mine >"$IPCD_NAMESPACE/shm-notes.txt"; ln -s /etc/passwd "$IPCD_NAMESPACE/slot-77"; mkdir "$IPCD_NAMESPACE/name.d"
	echo "$IPCD_NAMESPACE"' >"$tmp/dir"; cd "$(cat "$tmp/dir")" && ls | tr '\n' ' ')" "name.d shm-notes.txt slot-77 "
rm -rf "$(cat "$tmp/dir")"

# ---- ipcrun killed ----

"$IPCRUN" sh -c 'echo "$$ $PPID $IPCD_NAMESPACE" >"$1.new"; mv "$1.new" "$1"; perl -e "$2"; exec sleep 1000' sh "$tmp/killed" "$make" \
	</dev/null >/dev/null 2>&1 &
disown $!
soon test -s "$tmp/killed"
read -r program runner dir <"$tmp/killed"
soon grep -q sleep "/proc/$program/comm"
kill -9 "$runner"
soon ended "$runner"
check "kill -9 of ipcrun leaves the program running" not ended "$program"
"$IPCRUN" true
is "... on its namespace, which the next ipcrun leaves alone" "$("$IPCRUN" -d "$dir" perl -e "$get")" queue
kill -9 "$program"
soon ended "$program"
"$IPCRUN" true
check "the next ipcrun collects what nobody uses any more" test ! -e "$dir"

{ "$IPCRUN" perl -e 'kill KILL => getppid; open F, ">", $ARGV[0]; print F $ENV{IPCD_NAMESPACE}; close F; setpgrp;
	kill KILL => $$' "$tmp/both"; } 2>/dev/null
soon test -s "$tmp/both"
dir=$(cat "$tmp/both")
soon perl -e 'exit(system("'"$IPCRUN"'", "true") || -e $ARGV[0])' "$dir"
check "... also when the program died with it" test ! -e "$dir"

live=$base/private-$$-alive gone=$base/private-4194304-gone link=$base/private-4194304-link
mkdir -m 700 "$live" "$gone" "$tmp/elsewhere"
echo keep >"$tmp/elsewhere/registry"; ln -s "$tmp/elsewhere" "$link"
printf 'ipcrun 4194304 1\n' >"$gone/name"; : >"$gone/users"; : >"$gone/registry"
"$IPCRUN" true
check "a directory whose maker lives is never collected" test -d "$live"
check "one whose maker is gone is" test ! -e "$gone"
check "a symlink under such a name is not followed" test -s "$tmp/elsewhere/registry"
rm -rf "$live" "$link"

# ---- named namespaces ----

name=t-ipcrun-$$
"$IPCRUN" -n "$name" perl -e "$make"
is "-n makes a namespace and keeps it" "$("$IPCRUN" -n"$name" perl -e "$get")" queue
check "... in the user's directory" test -d "$base/$name"
"$IPCCTL" -n "$name" destroy
(cd "$tmp" && "$IPCRUN" -d here perl -e "$make")
is "-d makes a namespace and keeps it; a relative name is made absolute" \
	"$("$IPCRUN" -d "$tmp/here" sh -c "cd / && perl -e '$get'; echo \$IPCD_NAMESPACE" | tr '\n' ' ')" "queue $tmp/here "

# ---- nested ----

nested='echo "$IPCD_NAMESPACE"; '"'$IPCRUN'"' sh -c "echo \"\$IPCD_NAMESPACE\"; echo \"\$LD_PRELOAD\""'
{ read -r outer; read -r inner; read -r preload; } < <("$IPCRUN" sh -c "$nested")
check "an ipcrun under ipcrun makes a namespace of its own" test "$outer" != "$inner"
unlike "... and preloads once" "$preload" ":"
check "... and both go" soon test ! -e "$outer" -a ! -e "$inner"
like "what LD_PRELOAD holds already is kept, behind ours" \
	"$(LD_PRELOAD=libdl.so.2 "$IPCRUN" sh -c 'echo "$LD_PRELOAD"')" '^/[^:]*/libipc-sysv.so:libdl.so.2$'
is "IPCD_SOCKET would win, and is taken away" "$(IPCD_SOCKET=/x "$IPCRUN" sh -c 'echo "${IPCD_SOCKET-none}"')" none

# ---- programs out of reach ----

if [ "$(uname -m)" = x86_64 ]; then
	perl -e 'print pack("A4C5x7 SSL QQQLS6 LLQQQQQQ", "\x7fELF", 2, 1, 1, 0, 0, 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1,
		0, 0, 0, 1, 5, 0, 0x400000, 0x400000, 132, 132, 4096), "\xb8\x3c\0\0\0\xbf\x06\0\0\0\x0f\x05"' >"$tmp/static"
	chmod +x "$tmp/static"
	status "a statically linked program is run all the same" 6 "$IPCRUN" "$tmp/static"
	like "... and one line says that it is out of reach" "$said" '^ipcrun: [^
]*static[^
]*$'
	printf '#!%s\n' "$tmp/static" >"$tmp/by-static"; chmod +x "$tmp/by-static"
	status "... also as the interpreter of a script" 6 "$IPCRUN" "$tmp/by-static"
	like "... which is what the line names" "$said" "$tmp/static is static"
else
	skip "a statically linked program" "only made for x86_64"
fi
line_with() {	# WORD: all that was said is one line of ours, with that in it
	like "... and one line says that it is out of reach" "$said" "^ipcrun: [^
]*$1[^
]*\$"
}
echo 'int main(void) { return 6; }' >"$tmp/six.c"
ln -s "$(readelf -l "$IPCRUN" | sed -n 's/.*interpreter: \(.*\)]/\1/p')" "$tmp/ld-musl-x.so.1"
for how in -static -static-pie "-Wl,--dynamic-linker=$tmp/ld-musl-x.so.1" ''; do
	if ! "${CC:-cc}" $how -o "$tmp/six" "$tmp/six.c" 2>/dev/null; then
		skip "a program linked with $how" "it cannot be made here"
		continue
	fi
	status "a program linked with ${how:-no such option} is run" 6 "$IPCRUN" "$tmp/six"
	case $how in
	-static*) line_with "six is statically linked" ;;
	-Wl*) line_with "six is linked with musl" ;;
	*) is "... and nothing is said of it" "$said" "" ;;
	esac
done
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	cp "$(command -v sh)" "$tmp/setuid"; chmod 4755 "$tmp/setuid"; chmod 755 "$tmp"
	rm -rf /dev/shm/ipcd-12345
	status "a setuid program is run" 0 setpriv --reuid 12345 --clear-groups "$IPCRUN" "$tmp/setuid" -c true
	like "... and one line says that it is out of reach" "$said" '^ipcrun: [^
]*setuid[^
]*$'
	status "... not when it changes nothing" 0 "$IPCRUN" "$tmp/setuid" -c true
	is "... then nothing is said" "$said" ""
	status "... nor where nobody can gain by it" 0 setpriv --reuid 12345 --clear-groups --no-new-privs "$IPCRUN" \
		"$tmp/setuid" -c true
	is "... nothing is said" "$said" ""
	printf '#!%s\n' "$tmp/setuid" >"$tmp/by-setuid"; chmod 755 "$tmp/by-setuid"
	status "a script whose interpreter is setuid is run" 0 setpriv --reuid 12345 --clear-groups "$IPCRUN" "$tmp/by-setuid"
	line_with "$tmp/setuid is setuid"
	chmod 4755 "$tmp/by-setuid"; chmod 755 "$tmp/setuid"
	status "a setuid script: the kernel does not look at its mode" 0 setpriv --reuid 12345 --clear-groups "$IPCRUN" \
		"$tmp/by-setuid"
	is "... and nothing is said" "$said" ""
	chgrp 12346 "$tmp/setuid"; chmod 2755 "$tmp/setuid"
	status "a setgid program is run" 0 setpriv --reuid 12345 --clear-groups "$IPCRUN" "$tmp/setuid" -c true
	line_with "setuid is setgid"
	chmod 755 "$tmp/setuid"
	if setcap cap_net_raw+ep "$tmp/setuid" 2>/dev/null; then
		status "a program with file capabilities is run" 0 setpriv --reuid 12345 --clear-groups "$IPCRUN" "$tmp/setuid" -c true
		line_with "capabilities"
		status "... but not for root" 0 "$IPCRUN" "$tmp/setuid" -c 'grep -q libipc-sysv /proc/$$/maps'
		is "... then nothing is said" "$said" ""
	else
		skip "a program with file capabilities" "no setcap, or no room for it in the file system"
	fi
	is "the namespaces of each user are in a directory of their own" "$(stat -c '%U %a' /dev/shm/ipcd-12345)" "UNKNOWN 700"
	rm -rf /dev/shm/ipcd-12345
	mkdir -m 755 /dev/shm/ipcd-12345
	status "a base directory that somebody else owns is refused" 125 setpriv --reuid 12345 --clear-groups "$IPCRUN" true
	like "... by name" "$said" '^ipcrun: /dev/shm/ipcd-12345 belongs to uid 0[^
]*$'
	chown 12345 /dev/shm/ipcd-12345
	status "one that is open to others is refused" 125 setpriv --reuid 12345 --clear-groups "$IPCRUN" true
	like "... by name, with what to do" "$said" '^ipcrun: /dev/shm/ipcd-12345 [^
]*chmod 700[^
]*$'
	rm -rf /dev/shm/ipcd-12345; ln -s "$tmp" /dev/shm/ipcd-12345
	status "a symlink is refused" 125 setpriv --reuid 12345 --clear-groups "$IPCRUN" true
	rm -f /dev/shm/ipcd-12345
else
	skip "setuid programs, other users' directories" "needs root and setpriv"
fi

# ---- a daemon ----

place=$(mktemp -d /dev/shm/t-ipcrun.XXXXXX) ipcd='' at=$place/socket
chmod 755 "$place"
at_exit() {
	[ -z "$ipcd" ] || kill_own $ipcd
	rm -rf "$place"
}
serve() {	# MODE
	"$(dirname "$IPCRUN")/ipcd" --foreground --namespace-dir "$place/ns" --socket "$at" --socket-mode "$1" \
		--log-level warn >"$tmp/ipcd.log" 2>&1 </dev/null &
	ipcd=$!
	soon test -S "$at"
	report $? "an ipcd serves on a socket of mode $1"
}
stop() {
	kill -TERM $ipcd
	wait $ipcd
	is "... and stops, exit status 0" $? 0
	ipcd=''
}
on_daemon() {
	"$IPCRUN" --daemon="$at" "$@"
}

serve 0666
for n in 0 3 255; do
	status "--daemon: exit status $n is passed on" $n on_daemon sh -c "exit $n"
done
for sig in INT TERM KILL SEGV; do
	is "--daemon: a program killed by SIG$sig is seen to be" \
		"$(how_it_ends "$IPCRUN" --daemon="$at" sh -c "ulimit -c 0; kill -$sig \$\$")" \
		"$(how_it_ends sh -c "ulimit -c 0; kill -$sig \$\$")"
done
is "--daemon: the program takes ipcrun's place" \
	"$(perl -e 'print "$$ "; exec @ARGV' "$IPCRUN" --daemon="$at" sh -c 'echo $$' | awk '{ print $1 == $2 }')" 1
is "--daemon: signal mask, dispositions, umask, directory, limits, descriptors and session are as without" \
	"$(with_state "$IPCRUN" --daemon="$at" sh -c "$state")" "$(with_state sh -c "$state")"
is "--daemon: stdin and stdout are the program's" "$(echo through | on_daemon cat)" through
status "--daemon: a program that is not there: 127" 127 on_daemon /no/such/program
status "--daemon: a file that cannot be executed: 126" 126 on_daemon "$tmp/plain"
is "--daemon: IPCD_SOCKET names the socket, and IPCD_NAMESPACE nothing" \
	"$(IPCD_NAMESPACE=/else "$IPCRUN" --daemon="$at" sh -c 'echo "$IPCD_SOCKET ${IPCD_NAMESPACE-none}"')" "$at none"

queues() {	# COMMAND...: how many it sees
	"$@" ipcs -q | grep -c '^0x'
}
on_daemon ipcmk -Q >/dev/null
is "what one program makes another finds" "$(queues on_daemon)" 1
is "a relative name of the socket goes on meaning that one" \
	"$(cd "$place" && queues "$IPCRUN" --daemon=socket env -C /)" 1
is "an ipcrun within has a private namespace" "$(queues on_daemon "$IPCRUN")" 0
is "and --daemon within a private one has the daemon's" "$(queues "$IPCRUN" "$IPCRUN" --daemon="$at")" 1
cp "$IPCRUN" "$(dirname "$IPCRUN")"/libipc-sysv.so "$place/"
if [ "$(id -u)" = 0 ]; then
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	is "another user sees it too" "$(queues "${nobody[@]}" "$place/ipcrun" --daemon="$at")" 1
	mkdir -p "$place/run/ipcd" && ln -s "$at" "$place/run/ipcd/socket"
	is "--daemon without a name is the user's own daemon" \
		"$(queues env XDG_RUNTIME_DIR="$place/run" "${nobody[@]}" "$place/ipcrun" --daemon)" 1
else
	skip "another user sees it too" "needs root"
	skip "--daemon without a name is the user's own daemon" "needs root"
fi

# Between its two calls the daemon goes.
{
	last_words=$(IPCD_TIMEOUT=1 on_daemon perl -e '$| = 1; defined msgget(0, 0600) or die; kill 9, $ARGV[0];
		1 while -e "/proc/$ARGV[0]/exe" && select undef, undef, undef, 0.02;
		print defined msgget(0, 0600) ? "made" : $! + 0, " "' $ipcd 2>&1)
	wait $ipcd
	ipcd=''
} 2>/dev/null	# bash's word that it was killed
like "a call that waits in vain for the daemon to come back ends in ENOSYS" "$last_words" '38 $'
like "... and one line names the socket, and says so" "$last_words" "^libipc: [^
]*$at has not come back within 1 seconds; start it again
38 \$"
like "it is started when nobody listens: 125, one line that names the socket" \
	"$(IPCD_TIMEOUT=0 on_daemon true 2>&1; echo $?)" "^libipc: [^
]*$at \\(Connection refused\\); start ipcd
125\$"
serve 0600
is "killed and started again, it has what was there" "$(queues on_daemon)" 2
if [ "$(id -u)" = 0 ]; then
	status "a socket that the user may not use: 125" 125 "${nobody[@]}" "$place/ipcrun" --daemon="$at" true
	like "... and one line that names socket and user" "$said" "^libipc: [^
]*$at may not be used by uid 65534: Permission denied\$"
else
	skip "a socket that the user may not use: 125" "needs root"
	skip "... and one line that names socket and user" "needs root"
fi
stop
is "ipcd has had nothing to complain of" "$(<"$tmp/ipcd.log")" ""
status "a name where nothing is: 125" 125 "$IPCRUN" --daemon="$tmp/nothing" true
like "... and one line that names it" "$said" "^libipc: [^
]*$tmp/nothing \\(No such file or directory\\); start ipcd\$"
for wrong in "$tmp/plain" "$tmp"; do
	start=$SECONDS
	status "a name that is no socket's: 125" 125 "$IPCRUN" --daemon="$wrong" true
	like "... and one line that names it" "$said" "^libipc: [^
]*$wrong \\(Socket operation on non-socket\\); start ipcd\$"
	check "... and nothing is waited for" test $((SECONDS - start)) -lt 20
done

# ---- the command line ----

wrong() {	# WHAT REGEX ARGUMENT...
	local what=$1 regex=$2
	shift 2
	status "$what: 125" 125 "$IPCRUN" "$@"
	like "... and one line" "$said" "^ipcrun: [^
]*${regex}[^
]*\$"
}
wrong "an unknown option" "--frobnicate" --frobnicate true
wrong "an unknown letter" "-x" -x true
wrong "no program" "no program"
wrong "-n without a name" "-n" -n
wrong "a name with a slash" "'a/b'" -n a/b true
wrong "a name with a dot in front" "'..'" -n .. true
wrong "an empty name" "''" -n '' true
wrong "a name of the library's own" "'private-1'" -n private-1 true
wrong "a name that is too long" "longer" -n "$(printf 'x%.0s' {1..101})" true
wrong "both -n and -d" "exclude" -n a -d b true
wrong "an empty directory name" "-d" -d '' true
wrong "an empty name of a socket" "--daemon=" --daemon= true
wrong "a name of a socket that is too long" "too long" --daemon="/$(printf 'x%.0s' {1..4100})" true
wrong "both --daemon and -n" "exclude" --daemon=/x -n a true
wrong "both -d and --daemon" "exclude" -d a --daemon true
status "an unknown IPCD_LOG: 125" 125 env IPCD_LOG=loud "$IPCRUN" true
like "... and one line that says what there is" "$said" '^ipcrun: IPCD_LOG=loud[^
]*error, warn, info, trace or trace:FILE$'
status "an IPCD_TIMEOUT that is no number: 125" 125 env IPCD_TIMEOUT=soon "$IPCRUN" true
status "a good one is taken" 0 env IPCD_TIMEOUT=5 IPCD_LOG=warn "$IPCRUN" true
like "--help goes to stdout" "$("$IPCRUN" --help)" '^Usage: ipcrun'
like "--version too" "$("$IPCRUN" --version)" '^ipcrun [0-9]'
cp "$IPCRUN" "$tmp/lonely"
status "an ipcrun without its library: 125" 125 "$tmp/lonely" true
like "... and one line that says where it was looked for" "$said" '^ipcrun: cannot find libipc-sysv.so in [^
]*$'
mkdir -p "$tmp/prefix/bin" "$tmp/prefix/lib"
cp "$IPCRUN" "$tmp/prefix/bin/"; cp "$(dirname "$IPCRUN")"/libipc-sysv.so "$tmp/prefix/lib/" 2>/dev/null ||
	cp "$(dirname "$IPCRUN")"/../lib/libipc-sysv.so "$tmp/prefix/lib/"
is "the library is found in lib beside bin" "$("$tmp/prefix/bin/ipcrun" sh -c 'echo "$LD_PRELOAD"')" \
	"$tmp/prefix/lib/libipc-sysv.so"

done_testing
