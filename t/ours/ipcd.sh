#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The daemon's main program: options, bad input, readiness, signals, limits, the log, --check, what systemd passes and
# the units. What it serves is tested elsewhere.
# Environment: IPCD, IPCRUN, IPCCTL (build/ipcd, build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2154,SC2034,SC2012,SC2094

. "$(dirname "$0")/../lib/tap.sh"
IPCD=$(realpath -m "${IPCD:-$(dirname "$IPCRUN")/ipcd}")
[ -x "$IPCD" ] || { echo "Bail out! no $IPCD"; exit 1; }
unset LISTEN_FDS LISTEN_PID NOTIFY_SOCKET JOURNAL_STREAM XDG_RUNTIME_DIR
chmod 755 "$tmp"
uid=$((30000 + $$ % 20000)) # nobody's
pids=()
at_exit() {
	disown -a
	[ ${#pids[@]} = 0 ] || kill_own "${pids[@]}"
	[ ! -d /dev/shm/ipcd-$uid ] || rm -rf /dev/shm/ipcd-$uid
}

says="ipcd: "
ns=$tmp/ns socket=$tmp/run/socket log=$tmp/log
where=(--namespace-dir "$ns" --socket "$socket")
log_has() {
	grep -qE -- "$1" "$log"
}
# A daemon in the foreground, ready; in $pid.
start() {	# ARGUMENT...
	: >"$log"
	"$IPCD" --foreground "$@" >/dev/null 2>>"$log" &
	pid=$!
	pids+=("$pid")
	soon log_has 'ready: serving' || { note "not ready: $(cat "$log")"; return 1; }
}
stop() {	# [SIGNAL]: its status in $code
	kill "-${1:-TERM}" "$pid"
	wait "$pid"
	code=$?
}
connects() {	# SOCKET
	timeout 10 perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die; connect($s, pack_sockaddr_un($ARGV[0])) or die "$!\n"' "$1"
}
limit() {	# NAME [DIRECTORY]
	"$IPCCTL" -d "${2:-$ns}" limits "$1" 2>&1 | awk '{ print $2 }'
}
# Everything there, with the times of what is in it; but not of looking at it.
state() {	# DIRECTORY
	(cd "$1" && find . -printf '%p %m %U %s %T@ %C@ %i\n' | LC_ALL=C sort && find . -type f -size -3M -exec sha256sum {} + | LC_ALL=C sort)
}

# ---- the command line ----

like "--help tells the options" "$("$IPCD" --help)" '--namespace-dir DIR.*--socket PATH.*--check'
like "--version tells the version" "$("$IPCD" --version)" '^ipcd [0-9]+\.[0-9]+$'
is "... which is the tools'" "$("$IPCD" --version)" "$("$IPCCTL" --version | sed s/ipcctl/ipcd/)"
status "help that cannot be written fails" 1 sh -c '"$1" --help >/dev/full' sh "$IPCD"

wrong() {	# REGEX ARGUMENT...
	one_line "ipcd ${*:2}" 2 "$1" "$IPCD" --foreground "${where[@]}" "${@:2}"
}
wrong "unknown option --bogus; try ipcd --help" --bogus
wrong "unknown option -x" -x
wrong "'argument' is no option" argument
wrong "option --socket needs a value" --socket
wrong "no limit 'shmmux'; ipcctl limits lists them" --limit shmmux=1
wrong "no limit ''" --limit =1
wrong "'semmni' is not NAME=VALUE" --limit semmni
wrong "semmni=: the value is not a number from 0 to 32768" --limit semmni=
wrong "semmni=-1: the value is not a number" --limit semmni=-1
wrong "semmni=32769: the value is not a number from 0 to 32768" --limit semmni=32769
wrong "semmni=1x: the value is not a number" --limit semmni=1x
wrong "shmmax=18446744073709551616: the value is not a number" --limit shmmax=18446744073709551616
wrong "--mapping=kdrivel is not known; use file" --mapping=kdrivel
wrong "--workers 0 is not a number from 1 to" --workers 0
wrong "--workers many is not a number" --workers many
for mode in 888 0777 0066 1666 -1 "" rw; do
	wrong "--socket-mode $mode is not a socket's mode; use 0600" --socket-mode "$mode"
done
wrong "--log-level loud is not known; use error, warn, info or debug" --log-level loud
wrong "--namespace-dir needs a name; it is empty" --namespace-dir ""
wrong "--check serves nothing; leave --(socket|foreground) out" --check
one_line "a directory's name of 5000 bytes" 2 "too long" "$IPCD" --foreground --namespace-dir "$(printf 'x%.0s' {1..5000})"
[ ! -e "$ns" ] && [ ! -e "$tmp/run" ]
report $? "a command line that is wrong leaves nothing behind"

# ---- in the foreground ----

start "${where[@]}" --limit semmni=7 --limit shmmni=9 --limit semmni=8 --workers 2 --mapping=file
report $? "a daemon gets ready"
check "... and then somebody may connect" connects "$socket"
is "... its socket is for all, root's default" "$(stat -c %a "$socket")" \
	"$([ "$(id -u)" = 0 ] && echo 666 || echo 600)"
is "... in a directory that others may enter" "$(stat -c %a "$tmp/run")" "$([ "$(id -u)" = 0 ] && echo 755 || echo 700)"
is "... the namespace's directory is its own" "$(stat -c '%a %u' "$ns")" "700 $(id -u)"
is "... limits are set, of one that is given twice the last" "$(limit semmni) $(limit shmmni)" "8 9"
like "log lines have time, process and level" "$(grep ready "$log")" \
	"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}[+-][0-9]{4} ipcd\[$pid\] info: ready: serving $ns on $socket\$"

kill -HUP "$pid"
check "SIGHUP without a limits file is told, and changes nothing" soon log_has 'SIGHUP: there is no --limits-file'
is "... the limits neither" "$(limit semmni)" 8
before=$(ls -li "$socket")
one_line "a second daemon on the directory" 1 "$ns" "$IPCD" --foreground --namespace-dir "$ns" --socket "$tmp/run/second"
one_line "... also in the background" 1 "$ns" "$IPCD" --namespace-dir "$ns" --socket "$tmp/run/second"
one_line "a second daemon on the socket" 1 "$socket" "$IPCD" --foreground --namespace-dir "$tmp/ns2" --socket "$socket"
is "... and the first one's socket is as it was" "$(ls -li "$socket")" "$before"
check "... and is answered" connects "$socket"
stop
is "SIGTERM: status 0" $code 0
like "... said in the log" "$(cat "$log")" 'info: SIGTERM: stopping.*info: stopped; the objects stay'
is "... nothing else is in it" "$(grep -cvE 'limit|ready|SIGHUP|SIGTERM|stopped' "$log")" 0
start "${where[@]}"
report $? "it starts again on the socket that is left there"
is "... with the limits as they were" "$(limit semmni) $(limit shmmni)" "8 9"
stop INT
is "SIGINT: status 0" $code 0
start "${where[@]}" --socket-mode 0660 --log-level warn --log-level info
report $? "started again"
is "--socket-mode is the socket's, whatever the umask" "$(stat -c %a "$socket")" 660
kill -KILL "$pid"
wait "$pid" 2>/dev/null
(umask 0777; start "${where[@]}" --socket-mode 0666; stop; exit $code)
is "after kill -9 it starts again, under any umask" $? 0
is "... --socket-mode is the socket's then, too" "$(stat -c %a "$socket")" 666

quiet() {	# LEVEL: what it logs of a start and an end
	: >"$log"
	"$IPCD" --foreground "${where[@]}" --log-level "$1" --limit semmni=$2 2>>"$log" &
	pid=$!
	pids+=("$pid")
	soon connects "$socket" || return
	soon ipcd_limit_is "$2"
	stop
	sed 's/^[^ ]* ipcd[^ ]* //' "$log" | cut -d: -f1 | sort -u
}
ipcd_limit_is() {
	[ "$(limit semmni)" = "$1" ]
}
is "--log-level warn leaves out what is as it should be" "$(quiet warn 21)" ""
is "--log-level info does not" "$(quiet info 22)" info

# ---- limits of a file ----

cat >"$tmp/limits" <<'EOF'
# what the programs here need
semmni=33      # sets
  msgmni = 44
shmmni=nonsense
such=1
justaword

semopm=99999999
shmall=55
EOF
start "${where[@]}" --limits-file "$tmp/limits" --limit shmall=66
report $? "a daemon with a limits file gets ready"
is "... its lines count, with comments and blanks in them" "$(limit semmni) $(limit msgmni)" "33 44"
is "... --limit wins" "$(limit shmall)" 66
is "... each bad line is told with its number" "$(grep -oE "error: $tmp/limits:[0-9]+:" "$log" | cut -d: -f3 | tr '\n' ' ')" "4 5 6 8 "
like "... and what is wrong" "$(grep limits:5 "$log")" "there is no limit 'such'.*correct the line"
is "... and changes nothing" "$(limit shmmni) $(limit semopm)" "9 500"
printf 'semmni=77\nshmmni=oh\n' >"$tmp/limits"
: >"$log"
kill -HUP "$pid"
check "SIGHUP reads the file again" soon log_has 'SIGHUP: limits read again'
is "... what is in it counts" "$(limit semmni)" 77
is "... what is not stays" "$(limit msgmni) $(limit shmmni)" "44 9"
is "... of its bad line there is one line" "$(grep -c "error: $tmp/limits:2: shmmni=oh" "$log")" 1
rm "$tmp/limits"
: >"$log"
kill -HUP "$pid"
check "SIGHUP without the file: a line that names it" soon log_has "error: cannot read the limits of $tmp/limits: No such file"
is "... and the limits stay" "$(limit semmni)" 77
check "... and it serves on" connects "$socket"
stop
is "... to its end" $code 0
one_line "a limits file that is not there, at the start" 1 "$tmp/limits" "$IPCD" --foreground "${where[@]}" \
	--limits-file "$tmp/limits"

# ---- in the background ----

pid_of_background() {
	pgrep -f "^$IPCD --namespace-dir $ns " | tr '\n' ' '
}
said=$(cd "$tmp" && "$IPCD" --namespace-dir "$ns" --socket run/socket --log-level error 2>&1)
is "in the background it returns with status 0, and says nothing" "$? $said" "0 "
check "... when it may be connected to, by a name relative to where it was started" connects "$socket"
pid=$(pid_of_background)
pids+=($pid)
like "... one process" "$pid" '^[0-9]+ $'
pid=${pid% }
is "... in the directory /" "$(readlink "/proc/$pid/cwd")" /
is "... a session of its own" "$(ps -o sid= -p "$pid" | tr -d ' ')" "$pid"
is "... with nothing of the caller's open" "$(for fd in 0 1; do readlink "/proc/$pid/fd/$fd"; done
	readlink "/proc/$pid/fd/2" | cut -d: -f1)" "/dev/null
/dev/null
pipe"
kill "$pid"
check "... ends at SIGTERM" soon ended "$pid"
echo precious >"$tmp/file"
one_line "in the background, too, bad input" 1 "$tmp/file" "$IPCD" --namespace-dir "$tmp/file" --socket "$socket"

# ---- the log elsewhere ----

: >"$log"
perl -MFcntl -e 'my ($log, @run) = @ARGV; open STDERR, ">>", $log or die; my @s = stat STDERR;
	$ENV{JOURNAL_STREAM} = "$s[0]:$s[1]"; exec @run' "$log" "$IPCD" --foreground "${where[@]}" &
pid=$!
pids+=("$pid")
check "where stderr is the journal" soon log_has ready
stop
is "... lines have their level as it wants it" "$(head -1 "$log")" "<6>ready: serving $ns on $socket"
check "another JOURNAL_STREAM is not stderr" env JOURNAL_STREAM=1:2 bash -c '
	"$@" 2>&1 | grep -q "^ipcd: "' bash "$IPCD" --foreground --namespace-dir "$tmp/file" --socket "$socket"
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	unshare -m bash -c 'mount -t tmpfs none /dev/shm; mount -t tmpfs none /run
		mkdir /run/d; : >/run/d/log; perl -MSocket -MIO::Handle -e "socket(my \$s, AF_UNIX, SOCK_DGRAM, 0); bind(\$s, pack_sockaddr_un(\"/run/d/socket\")) or die;
			open my \$log, \">>\", \"/run/d/log\"; \$log->autoflush; print \$log \"\$b\\n\" while defined recv \$s, \$b, 4096, 0" & listener=$!
		for i in {1..200}; do [ -S /run/d/socket ] && break; sleep 0.05; done
		touch /dev/log; mount --bind /run/d/socket /dev/log || exit 9
		"$1" --namespace-dir /dev/shm/x --socket /run/s/socket 2>&1 || exit 8
		for i in {1..200}; do grep -q ready /run/d/log && break; sleep 0.05; done
		kill $(pgrep -f "^$1 --namespace-dir /dev/shm/x ")
		for i in {1..200}; do grep -q stopped /run/d/log && break; sleep 0.05; done
		kill $listener; cat /run/d/log' bash "$IPCD" >"$tmp/syslog" 2>&1
	like "in the background the log goes to syslog" "$(cat "$tmp/syslog")" \
		'<30>.* ipcd\[[0-9]+\]: ready: serving /dev/shm/x on /run/s/socket.*ipcd\[[0-9]+\]: SIGTERM: stopping.*stopped'
else
	skip "in the background the log goes to syslog" "needs root and a mount namespace"
fi

# ---- bad input: the directory ----

refused() {	# NAME DIRECTORY REGEX
	local before
	before=$(ls -la --time-style=full-iso "$2" 2>&1)
	one_line "$1" 1 "$3" "$IPCD" --foreground --namespace-dir "$2" --socket "$tmp/run/other"
	is "... and nothing is touched" "$(ls -la --time-style=full-iso "$2" 2>&1)" "$before"
}
refused "a file for a directory" "$tmp/file" "$tmp/file"
mkdir -m 700 "$tmp/other"
echo precious >"$tmp/other/thesis.txt"
refused "a directory with somebody's files" "$tmp/other" "thesis.txt"
mkdir -m 755 "$tmp/open"
refused "a directory that is open to others" "$tmp/open" "chmod 700 $tmp/open"
refused "a directory under one that is not there" "$tmp/no/such" "$tmp/no/such"
newer=$tmp/newer
"$IPCRUN" -d "$newer" perl -e 'semget(1, 3, 01600) // die'
cp -a --sparse=always "$newer" "$tmp/newer-slots"
perl -e 'open my $f, "+<", $ARGV[0] or die; seek $f, 8, 0; print $f pack "L", 99' "$newer/registry"
one_line "a directory of a newer version" 1 "$newer/registry is of version 99" "$IPCD" --foreground --namespace-dir "$newer" --socket "$tmp/run/other"
perl -e 'open my $f, "+<", $ARGV[0] or die; seek $f, 8, 0; print $f pack "L", 99' "$tmp/newer-slots/slots"
one_line "... and a slot table" 1 "$tmp/newer-slots/slots is of version 99" "$IPCD" --foreground \
	--namespace-dir "$tmp/newer-slots" --socket "$tmp/run/other"

as_user=(setpriv --reuid $uid --regid $uid --clear-groups)
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	mkdir -m 700 "$tmp/theirs"
	chown $uid "$tmp/theirs"
	refused "another user's directory" "$tmp/theirs" "$tmp/theirs belongs to uid $uid"
	mkdir -m 500 "$tmp/unwritable"
	chown $uid "$tmp/unwritable"
	mkdir -m 777 "$tmp/public"
	chmod 1777 "$tmp/public"
	one_line "a directory that cannot be written" 1 "$tmp/unwritable" "${as_user[@]}" "$IPCD" --foreground \
		--namespace-dir "$tmp/unwritable" --socket "$tmp/public/socket"
	one_line "... and one in it" 1 "$tmp/unwritable/ns" "${as_user[@]}" "$IPCD" --foreground \
		--namespace-dir "$tmp/unwritable/ns" --socket "$tmp/public/socket"

	# ---- a user's defaults ----

	mkdir -m 700 "$tmp/xdg"
	chown $uid "$tmp/xdg"
	one_line "a user without XDG_RUNTIME_DIR" 1 "XDG_RUNTIME_DIR is not set.*--socket PATH" "${as_user[@]}" "$IPCD" --foreground
	: >"$log"
	XDG_RUNTIME_DIR=$tmp/xdg "${as_user[@]}" "$IPCD" --foreground 2>>"$log" &
	pid=$!
	pids+=("$pid")
	check "a user needs no options" soon log_has "ready: serving /dev/shm/ipcd-$uid/daemon on $tmp/xdg/ipcd/socket"
	is "... socket and directory are his alone" "$(stat -c '%a %u' "$tmp/xdg/ipcd/socket" "$tmp/xdg/ipcd" \
		/dev/shm/ipcd-$uid/daemon | tr '\n' ' ')" "600 $uid 700 $uid 700 $uid "
	stop
	is "... and it stops" $code 0
	chown 0 /dev/shm/ipcd-$uid
	one_line "a default directory that belongs to somebody else" 1 "/dev/shm/ipcd-$uid belongs to uid 0" \
		env XDG_RUNTIME_DIR="$tmp/xdg" "${as_user[@]}" "$IPCD" --foreground
	rm -rf /dev/shm/ipcd-$uid
	chown 12 "$tmp/xdg/ipcd"
	chmod 777 "$tmp/xdg/ipcd"
	one_line "a socket's directory that belongs to somebody else" 1 "$tmp/xdg/ipcd belongs to uid 12" \
		env XDG_RUNTIME_DIR="$tmp/xdg" "${as_user[@]}" "$IPCD" --foreground
	chown $uid "$tmp/xdg/ipcd"
	one_line "one that everybody may write to" 1 "$tmp/xdg/ipcd is writable for everybody" \
		env XDG_RUNTIME_DIR="$tmp/xdg" "${as_user[@]}" "$IPCD" --foreground
else
	skip "other users' directories, and a user's defaults" "needs root and setpriv"
fi
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	check "root needs no options" unshare -m bash -c 'mount -t tmpfs none /dev/shm; mount -t tmpfs none /run
		"$1" --log-level error || exit 1
		stat -c "%a %u %n" /dev/shm/ipcd /run/ipcd /run/ipcd/socket | tr "\n" " " >/run/got; cat /run/got
		kill $(pgrep -xf "$1 --log-level error")
		[ "$(cat /run/got)" = "700 0 /dev/shm/ipcd 755 0 /run/ipcd 666 0 /run/ipcd/socket " ]' bash "$IPCD"
	check "... and a /dev/shm/ipcd that is another user's is refused by name" unshare -m bash -c 'mount -t tmpfs none /dev/shm
		mount -t tmpfs none /run; mkdir -m 700 /dev/shm/ipcd; chown 12 /dev/shm/ipcd
		said=$("$1" --foreground 2>&1); code=$?; echo "$said"
		[ $code = 1 ] && [[ $said =~ "/dev/shm/ipcd belongs to uid 12" ]]' bash "$IPCD"
else
	skip "root needs no options" "needs root and a mount namespace"
fi

# ---- bad input: the socket ----

bad_socket() {	# NAME PATH REGEX
	one_line "$1" 1 "$3" "$IPCD" --foreground --namespace-dir "$tmp/ns3" --socket "$2"
}
long=$tmp/$(printf 'x%.0s' {1..120})
bad_socket "a socket path that is too long" "$long" "$long"
[ ! -e "$long" ]
report $? "... and nothing is made there"
bad_socket "a socket path that is a file" "$tmp/file" "$tmp/file"
is "... which stays" "$(cat "$tmp/file")" precious
bad_socket "... a directory" "$tmp/other" "$tmp/other"
ln -s "$tmp/file" "$tmp/link"
bad_socket "... a symlink to a file" "$tmp/link" "$tmp/link"
is "... which stays as well" "$(readlink "$tmp/link") $(cat "$tmp/file")" "$tmp/file precious"
bad_socket "a file in the place of its directory" "$tmp/file/socket" "$tmp/file"
bad_socket "a directory of it that is not there, nor the one above" "$tmp/no/such/socket" "$tmp/no/such"

# ---- readiness, and a socket that is passed ----

perl -MSocket -MIO::Handle -e 'socket(my $s, AF_UNIX, SOCK_DGRAM, 0); bind($s, pack_sockaddr_un($ARGV[0])) or die;
	STDOUT->autoflush; while (defined recv $s, $b, 4096, 0) { $b =~ s/\n/ /g; print "$b\n" }' "$tmp/notify" >"$tmp/told" &
listener=$!
pids+=("$listener")
soon test -S "$tmp/notify"
told() {	# COUNT: so many lines
	[ "$(wc -l <"$tmp/told")" -ge "$1" ]
}
export NOTIFY_SOCKET=$tmp/notify
printf 'semmni=5\n' >"$tmp/limits"
start "${where[@]}" --limits-file "$tmp/limits"
check "NOTIFY_SOCKET is told" soon told 1
kill -HUP "$pid"
check "... of a reload" soon told 3
stop
check "... and of the end" soon told 4
like "... in the words of sd_notify" "$(tr '\n' ';' <"$tmp/told")" \
	'^READY=1;RELOADING=1 MONOTONIC_USEC=[0-9]+;READY=1;STOPPING=1;$'
export NOTIFY_SOCKET=relative
start "${where[@]}"
report $? "a NOTIFY_SOCKET that makes no sense does not keep it from serving"
like "... and is told" "$(cat "$log")" "warn: NOTIFY_SOCKET=relative"
stop
unset NOTIFY_SOCKET

# Run with a listening socket as descriptor 3.
cat >"$tmp/pass.pl" <<'EOF'
use Socket; use POSIX ();
my ($type, $path, $fds, $right, @run) = @ARGV;
$^F = 10;
socket(my $s, AF_UNIX, $type eq "stream" ? SOCK_STREAM : SOCK_SEQPACKET, 0) or die;
unlink $path;
bind($s, pack_sockaddr_un($path)) or die "$path: $!";
$type eq "bound" or listen($s, 10) or die;
POSIX::dup2(fileno $s, 3) if fileno $s != 3;
@ENV{"LISTEN_FDS", "LISTEN_PID"} = ($fds, $right ? $$ : 1);
exec @run;
EOF
passed=$tmp/passed
: >"$log"
perl "$tmp/pass.pl" seqpacket "$passed" 1 1 "$IPCD" --foreground --namespace-dir "$ns" 2>>"$log" &
pid=$!
pids+=("$pid")
check "a socket that was passed is served, under its own path" soon log_has "ready: serving $ns on $passed"
check "... and connected to" connects "$passed"
inode=$(stat -c %i "$passed")
stop
is "... the file stays at the end" "$code $(stat -c %i "$passed")" "0 $inode"
: >"$log"
perl "$tmp/pass.pl" seqpacket "$passed" 1 1 "$IPCD" --foreground --namespace-dir "$ns" --socket "$tmp/./passed" 2>>"$log" &
pid=$!
pids+=("$pid")
check "--socket may name it" soon log_has "ready: serving"
stop
check "also in the background" perl "$tmp/pass.pl" seqpacket "$passed" 1 1 "$IPCD" --namespace-dir "$ns" --log-level error
check "... it is served" connects "$passed"
pid=$(pgrep -f "^$IPCD --namespace-dir $ns --log-level error")
pids+=($pid)
kill $pid
check "... to the end" soon ended "$pid"
one_line "LISTEN_FDS of another process is not for it" 1 "$tmp/run/other" sh -c 'echo >"$1"; shift; exec "$@"' sh "$tmp/run/other" \
	perl "$tmp/pass.pl" seqpacket "$passed" 1 0 "$IPCD" --foreground --namespace-dir "$ns" --socket "$tmp/run/other"
bad_passing() {	# NAME REGEX TYPE FDS ARGUMENT...
	one_line "$1" 1 "$2" perl "$tmp/pass.pl" "$3" "$passed" "$4" 1 "$IPCD" --foreground --namespace-dir "$ns" "${@:5}"
}
bad_passing "a passed socket of another type" "SOCK_SEQPACKET; use ListenSequentialPacket=" stream 1
bad_passing "... that does not listen" "not a listening" bound 1
bad_passing "two of them" "LISTEN_FDS=2: ipcd takes one" seqpacket 2
bad_passing "a LISTEN_FDS that is no number" "LISTEN_FDS=some is not a number" seqpacket some
bad_passing "--socket that names another" "passed is $passed, and --socket says $socket" seqpacket 1 --socket "$socket"
bad_passing "--socket-mode with it" "SocketMode=" seqpacket 1 --socket-mode 0600

# ---- --check ----

good=$tmp/good
"$IPCRUN" -d "$good" perl -e 'shmget(1, 8192, 01600) // die; shmget(2, 100, 01600) // die; semget(1, 3, 01600) // die;
	semget(5, 1, 01600) // die; my $q = msgget(1, 01600) // die; msgsnd($q, pack("l! a*", 4, "precious"), 0) || die'
checked() {	# DIRECTORY: what it says of a copy, and that nothing is changed
	local before
	before=$(state "$1")
	said=$(timeout -k 1 60 "$IPCD" --check --namespace-dir "$1" 2>&1)
	code=$?
	[ "$(state "$1")" = "$before" ] || said+=" (changed: $(diff <(echo "$before") <(state "$1")))"
}
checked "$good"
is "--check of a good directory: status 0" $code 0
is "... says what is there" "$said" "$good: 2 segments of 8292 bytes, 2 sets of 4 semaphores, 1 queue
used by nobody
good"
found() {	# NAME REGEX COMMAND...: after the damage the copy has this one finding
	rm -rf "$tmp/bad"
	cp -a --sparse=always "$good" "$tmp/bad"
	(cd "$tmp/bad" && "${@:3}") || note "$*: the damage was not done"
	checked "$tmp/bad"
	is "--check finds $1: status 1" $code 1
	like "... says it in a line" "$said" "^$2
[^
]*
used by nobody
1 finding\$"
}
word() {	# FILE OFFSET VALUE: 64 bits
	perl -e 'open my $f, "+<", $ARGV[0] or die; seek $f, $ARGV[1], 0; print $f pack "Q", $ARGV[2]' "$@"
}
name() {	# KIND: one of its files
	(cd "$good" && ls | grep "^$1-" | head -1)
}
sem=$(name sem) msg=$(name msg) shm=$(cd "$good" && find . -name 'shm-*' -size 8192c -printf %f)
found "somebody's file" "$tmp/bad/thesis is no file of a namespace[^
]*" install -m 600 /dev/null thesis
found "a pipe" "$tmp/bad/log is not a file[^
]*" mkfifo -m 600 log
found "a file that is open to others" "$tmp/bad/registry is open to others [(]mode 0644[)][^
]*" chmod 644 registry
found "what was kept of damage" "$tmp/bad/meta.sqlite.damaged-12 was kept[^
]*" install -m 600 /dev/null meta.sqlite.damaged-12
found "a set without memory" "sem [0-9]+, key 0x0000000[15], has no memory: $tmp/bad/$sem: No such file[^
]*" rm "$sem"
found "memory without a set" "$tmp/bad/sem-0000abcd is memory without a row[^
]*" install -m 600 /dev/null sem-0000abcd
found "a segment that was shortened" "$tmp/bad/$shm, the memory of shm [0-9]+, is damaged: it has 100 bytes and not 8192" \
	truncate -s 100 "$shm"
found "a set that was shortened" "$tmp/bad/$sem, the memory of sem [0-9]+, is damaged: it has the wrong size" truncate -s 9000 "$sem"
found "a set that was emptied" "$tmp/bad/$sem, the memory of sem [0-9]+, is damaged: it is too short" truncate -s 0 "$sem"
found "a set of a newer version" "$tmp/bad/$sem, the memory of sem [0-9]+, is damaged: it is of another version[^
]*" word "$sem" 8 $((2 << 32 | 99))
found "a queue in the place of a set" "$tmp/bad/$sem, the memory of sem [0-9]+, is damaged: it is no object of that kind" cp "$msg" "$sem"
found "a queue whose messages are not there" "$tmp/bad/$msg, the memory of msg [0-9]+, is damaged: its messages[^
]*" \
	word "$msg" 72 $((7 << 32 | 8))
found "a slot table overwritten" "$tmp/bad/slots is damaged: it is not a slot table" word slots 0 1
found "a registry of zeros" "$tmp/bad/registry is damaged: it is not a registry; it would be made anew[^
]*" word registry 0 0
found "a registry with impossible numbers" "$tmp/bad/registry is damaged: it has impossible numbers[^
]*" \
	perl -e 'open my $f, "+<", "registry"; seek $f, 8 * 16, 0; print $f pack "Q*", (0xffffff) x 60'
found "a registry cut short" "$tmp/bad/registry is damaged: it has the wrong size[^
]*" truncate -s 100000 registry
found "a database overwritten" "$tmp/bad/meta.sqlite: it is damaged, or not a namespace's" \
	sh -c 'rm meta.sqlite-*; yes "this is no table" | head -c 8192 >meta.sqlite'
found "a database that is gone" "$tmp/bad/meta.sqlite: it is not there" sh -c 'rm meta.sqlite*'
if python3 -c 'import sqlite3' 2>/dev/null; then
	sql() {	# SQL: on the copy's database
		python3 -c 'import sqlite3, sys; c = sqlite3.connect("meta.sqlite"); c.executescript(sys.argv[1])' "$1"
	}
	found "an object that the database does not have" "sem [0-9]+ is in the registry and not in the database[^
]*" sql 'DELETE FROM object WHERE kind=1 AND key=5'
	found "one that the registry does not have" "msg of index 9, key 0x00000007, is in the database and not in the registry" \
		sql 'INSERT INTO object SELECT kind, 9, state, 7, mode, uid, gid, cuid, cgid, size, size_hi, file, ctime, cpid, lpid, atime, dtime, nattch FROM object WHERE kind=2'
	found "one that is another there" "sem [0-9]+ is another object in the database than in the registry" \
		sql 'UPDATE object SET key=77 WHERE kind=1 AND key=5'
	found "a database of a newer version" "$tmp/bad/meta.sqlite: it is of a newer version[^
]*" sql 'PRAGMA user_version=99'
	found "a limit that cannot be" "$tmp/bad/meta.sqlite has a limit 'bogus' of 3, which cannot be" \
		sql "INSERT INTO limits VALUES ('bogus', 3)"
else
	skip "a database that does not agree" "no python3"
fi
rm -rf "$tmp/bad"
cp -a --sparse=always "$good" "$tmp/bad"
rm "$tmp/bad/registry"
checked "$tmp/bad"
like "--check without a registry says that it will be made" "$code $said" "^0 $tmp/bad: without a registry, which is made from"
is "... and leaves no copies in TMPDIR" "$(mkdir "$tmp/tmpdir"; TMPDIR=$tmp/tmpdir "$IPCD" --check --namespace-dir "$good" >/dev/null; ls -A "$tmp/tmpdir")" ""
one_line "--check of what is not there" 1 "$tmp/nothing" "$IPCD" --check --namespace-dir "$tmp/nothing"
one_line "--check of a file" 1 "$tmp/file is not a directory" "$IPCD" --check --namespace-dir "$tmp/file"
one_line "--check of any directory" 1 "$tmp/other is not a namespace" "$IPCD" --check --namespace-dir "$tmp/other"
status "--check that cannot be written fails" 1 sh -c '"$@" >/dev/full' sh "$IPCD" --check --namespace-dir "$good"

start "${where[@]}"
like "--check names who uses it" "$("$IPCD" --check --namespace-dir "$ns")" "
used by ([0-9]+ [(][^)]*[)], )*$pid [(]ipcd[)].*
good\$"
"$IPCRUN" -d "$tmp/busy" perl -e '$SIG{TERM} = sub { exit }; open my $f, ">", $ARGV[0]; close $f; for (;;) { my $s = semget(0, 2, 0600) // die;
	semctl($s, 0, 0, 0) }' "$tmp/going" &
busy=$!
pids+=("$busy")
soon test -e "$tmp/going"
bad=
for _ in {1..20}; do
	said=$("$IPCD" --check --namespace-dir "$tmp/busy" 2>&1) || bad+=$said$'\n'
done
is "--check finds nothing wrong while objects come and go" "$bad" ""
kill "$busy"
wait "$busy" 2>/dev/null
stop

# ---- units ----

if command -v systemd-analyze >/dev/null; then
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s -C "$top" B="$(dirname "$IPCRUN")" install PREFIX="$tmp/it" >/dev/null
	mkdir -m 700 "$tmp/manager"
	for who in system user; do
		units=$tmp/it/lib/systemd/$who
		analyze() {
			XDG_RUNTIME_DIR=$tmp/manager MANPATH=$tmp/it/share/man systemd-analyze --$who "$@" 2>&1
		}
		is "the $who's units pass systemd-analyze verify" "$(analyze verify "$units/ipcd.service" "$units/ipcd.socket")" ""
		like "... exposure is under 2.0" "$(analyze security --offline=true "$units/ipcd.service" | grep Overall)" \
			'exposure level for ipcd.service: [01]\.[0-9] '
		for line in NoNewPrivileges=yes MemoryDenyWriteExecute=yes RestrictAddressFamilies=AF_UNIX CapabilityBoundingSet= \
			PrivateNetwork=yes PrivateTmp=yes PrivateDevices=yes PrivateIPC=yes ProtectSystem=strict; do
			grep -qx "$line" "$units/ipcd.service"
			report $? "... it has $line"
		done
	done
	like "a line that is no option is found by verify" "$(sed 's/^\[Service\]/&\nNonsense=yes/' "$units/ipcd.service" >"$tmp/ipcd.service"
		cp "$units/ipcd.socket" "$tmp"; XDG_RUNTIME_DIR=$tmp/manager systemd-analyze --user verify --man=no "$tmp/ipcd.service" 2>&1)" Nonsense

	# The calls that the filter lets through, as the unit's lines say.
	allowed() {
		local line set
		while read -r line; do
			for set in ${line#\~}; do
				systemd-analyze syscall-filter 2>/dev/null | awk -v set="$set" '
					/^@/ { at = $1; next } NF && $1 !~ /^#/ { in_set[at] = in_set[at] " " $1 }
					function all(s, n, w, i) { n = split(in_set[s], w, " ")
						for (i = 1; i <= n; i++) if (w[i] ~ /^@/) all(w[i]); else print w[i] }
					END { if (set ~ /^@/) all(set); else print set }' | sed "s/^/${line%%[^~]*}/"
			done
		done < <(sed -n 's/^SystemCallFilter=//p' "$1") | awk '/^~/ { delete ok[substr($0, 2)]; next } { ok[$0] = 1 }
			END { for (c in ok) print c }' | LC_ALL=C sort
	}
	for who in system user; do
		allowed "$tmp/it/lib/systemd/$who/ipcd.service" >"$tmp/allowed.$who"
		like "the $who's filter lets hundreds of calls through" "$(wc -l <"$tmp/allowed.$who")" '^[23][0-9][0-9]$'
	done
	if command -v strace >/dev/null; then
		: >"$log"
		strace -f -qq -o "$tmp/strace" "$IPCD" --foreground "${where[@]}" --limits-file "$tmp/limits" 2>>"$log" &
		tracer=$!
		pids+=("$tracer")
		soon log_has 'ready: serving'
		pid=$(sed -n 's/.*ipcd\[\([0-9]*\)\].*ready.*/\1/p' "$log")
		connects "$socket"
		kill -HUP "$pid"
		soon log_has 'SIGHUP: limits'
		kill "$pid"
		check "it ends, traced" soon ended "$tracer"
		called=$(sed -n 's/^[0-9]* *\([a-z][a-z0-9_]*\)(.*/\1/p' "$tmp/strace" | sort -u | LC_ALL=C sort -u)
		like "traced, it makes system calls" "$called" 'accept|listen'
		for who in system user; do
			is "... and none that the filter of the $who's unit refuses" \
				"$(LC_ALL=C comm -23 <(echo "$called") "$tmp/allowed.$who" | tr '\n' ' ')" ""
		done
	else
		skip "ipcd makes no system call that the units' filter refuses" "no strace here"
	fi
else
	skip "the units pass systemd-analyze" "no systemd here"
fi
done_testing
