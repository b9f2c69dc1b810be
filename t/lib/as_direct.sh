# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# "As if the program had been run directly": its end, what it finds, signals, and the terminal. Sourced, after tap.sh, by
# the tests of the ways in which ipcrun runs a program; what can be compared is compared with the same command run
# without ipcrun. Uses $tmp for files: "$tmp/plain" stays, which cannot be executed.
# shellcheck disable=SC2016,SC2046,SC2034,SC2154

job=$top/t/lib/job.pl

# ---- the way a program ends ----

for n in 0 1 3 124 255; do
	status "exit status $n is passed on" $n "$IPCRUN" sh -c "exit $n"
done

how_it_ends() {	# COMMAND...: as the parent's wait tells it
	perl -e 'my $p = fork; if (!$p) { $SIG{$_} = "DEFAULT" for qw(INT QUIT); exec @ARGV; exit 99 } waitpid $p, 0; printf "%d %d\n", $? & 127, $? >> 8' -- "$@"
}
for sig in HUP INT TERM KILL ABRT SEGV USR1 PIPE RTMIN; do
	is "a program killed by SIG$sig ends ipcrun by it too" \
		"$(how_it_ends "$IPCRUN" sh -c "kill -$sig \$\$")" "$(how_it_ends sh -c "kill -$sig \$\$")"
done
check "ipcrun leaves no core of its own" sh -c 'cd "$1" && ulimit -c unlimited && "$2" sh -c "ulimit -c 0; kill -SEGV \$\$"
	[ -z "$(ls core* 2>/dev/null)" ]' sh "$tmp" "$IPCRUN"

status "a program that is not there: 127" 127 env PATH=/usr/bin:/bin "$IPCRUN" no-such-program-anywhere
like "... and one line that names it" "$said" '^ipcrun: [^
]*no-such-program-anywhere[^
]*$'
status "a path that is not there: 127" 127 "$IPCRUN" /no/such/program
touch "$tmp/plain"
status "a file that cannot be executed: 126" 126 "$IPCRUN" "$tmp/plain"
like "... and one line that names it" "$said" '^ipcrun: [^
]*plain[^
]*$'
status "a directory: 126" 126 "$IPCRUN" /tmp
printf '#!/no/such/interpreter\n' >"$tmp/script"; chmod +x "$tmp/script"
status "a script without its interpreter: 127, as env(1)" 127 "$IPCRUN" "$tmp/script"
printf 'exit 7\n' >"$tmp/bare"; chmod +x "$tmp/bare"
status "a script without #! is run by sh, as env(1)" 7 "$IPCRUN" "$tmp/bare"

# ---- what a program finds ----

is "arguments arrive unchanged" "$("$IPCRUN" -- printf '<%s>' 'a b' '' '*' "-n")" "<a b><><*><-n>"
is "stdin and stdout are the program's" "$(echo through | "$IPCRUN" cat)" through
is "stderr is the program's, and nothing else is written to it" "$("$IPCRUN" sh -c 'echo word >&2' 2>&1)" word

state='grep -E "^(Sig(Blk|Ign|Cgt)|Umask)" /proc/self/status; pwd; ulimit -a; ls /proc/self/fd; nice
	sed "s/.*) . //" /proc/self/stat | cut -d" " -f3'
with_state() {	# COMMAND...: signals ignored and blocked, a umask, a descriptor
	(cd /usr && umask 027 && exec 7</dev/null &&
		perl -MPOSIX -e '$SIG{USR1} = $SIG{CHLD} = "IGNORE"; my $s = POSIX::SigSet->new(SIGUSR2, SIGTERM);
			sigprocmask(SIG_BLOCK, $s); exec @ARGV' "$@")
}
is "signal mask, dispositions, umask, directory, limits, descriptors and session are as without ipcrun" \
	"$(with_state "$IPCRUN" sh -c "$state")" "$(with_state sh -c "$state")"
is "the program is in ipcrun's process group" \
	"$(perl -e 'setpgrp; print getpgrp == `@ARGV` ? "same" : "other"' "$IPCRUN" ps -o pgid= -p '$$')" same
is "SIGCHLD ignored by the caller does not hide how the program ends" \
	"$(perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' "$IPCRUN" sh -c 'exit 9'; echo $?)" 9
is "an alarm set before ipcrun strikes the program" \
	"$(how_it_ends perl -e 'alarm 1; exec @ARGV' "$IPCRUN" sleep 20)" "14 0"

# Without ipcrun, a reader sees the end of a pipe when the program closes its side.
is "no descriptor of the program stays open in ipcrun" "$(perl -e '
	pipe my $r, my $w; my $p = fork;
	if (!$p) { open STDOUT, ">&", $w; close $w; close $r; exec @ARGV }
	close $w; $SIG{ALRM} = sub { print "still open"; kill TERM => $p; exit }; alarm 20;
	my @all = <$r>; print "@all"; print kill(0 => $p) && waitpid($p, 1) == 0 ? "closed while it runs" : "it has ended";
	kill TERM => $p' "$IPCRUN" sh -c 'exec >&- 2>&-; sleep 30' 2>/dev/null)" "closed while it runs"

# ---- signals ----

counter='
	$| = 1; my %n; my $last = 0;
	for my $s (qw(HUP INT TERM USR1 CONT TSTP WINCH)) { $SIG{$s} = sub { $n{$s}++ } }
	$SIG{PWR} = sub { $last = 1 }; # the last one to be taken
	print "ready $$\n"; select undef, undef, undef, 0.1 until $last;
	print join(" ", map { "$_=$n{$_}" } sort keys %n), "\n"'
# PRE: perl that sends signals, with $p the pid of ipcrun (a group leader) and $c that of the program
signals_seen() {	# PERL
	perl -e 'my $do = shift; pipe my $r, my $w; my $p = fork;
		if (!$p) { setpgrp; open STDOUT, ">&", $w; exec @ARGV } close $w;
		$SIG{ALRM} = sub { print "too slow"; kill KILL => -$p; exit }; alarm 20;
		my ($c) = <$r> =~ /(\d+)/; select undef, undef, undef, 0.05; eval $do; kill PWR => $p; print scalar <$r>; waitpid $p, 0
		' -- "$1" "$IPCRUN" perl -e "$counter"
}
is "signals sent to ipcrun alone reach the program, once" \
	"$(signals_seen 'kill $_ => $p for qw(HUP INT TERM USR1 WINCH CONT)')" "CONT=1 HUP=1 INT=1 TERM=1 USR1=1 WINCH=1"
is "signals sent to the process group reach the program, once" \
	"$(signals_seen 'kill $_ => -$p for qw(HUP INT TERM USR1 WINCH CONT)')" "CONT=1 HUP=1 INT=1 TERM=1 USR1=1 WINCH=1"
is "... and ipcrun alone again, after that" \
	"$(signals_seen 'for (1 .. 3) { kill USR1 => -$p; select undef, undef, undef, 0.2; kill INT => $p;
		select undef, undef, undef, 0.2 }')" "INT=3 USR1=3"
is "signals sent to the program itself do not come twice" "$(signals_seen 'kill TERM => $c')" "TERM=1"
is "a program that signals its own group is hit once" \
	"$(signals_seen 'kill USR1 => $c; 1' | head -1)" "USR1=1"
is "a signal's value is passed on" "$(perl -e '
	pipe my $r, my $w; my $p = fork; if (!$p) { open STDOUT, ">&", $w; exec @ARGV } close $w; alarm 20;
	<$r>; select undef, undef, undef, 0.1; syscall 129, $p, 10, pack("iiix4iiQ", 10, 0, -1, $$, $<, 4711) and warn $!;
	print <$r>' "$IPCRUN" perl -MPOSIX -e '$| = 1; my $v; sigaction(SIGUSR1, POSIX::SigAction->new(sub {
	$v = unpack "x24 i", $_[2]; 1 }, POSIX::SigSet->new, SA_SIGINFO)); print "ready\n"; select undef, undef, undef, 0.05 until defined $v; print $v' \
	2>/dev/null)" 4711

# ---- a terminal ----

if [ -w /dev/ptmx ] && [ -e /proc/self/task/$$/children ] || [ -e "/proc/$$/task/$$/children" ]; then
	# Programs that call exec, or perl: a shell that waits in vfork misses a ^C also without ipcrun.
	tty_counter='$| = 1; $SIG{INT} = sub { print "int=", ++$n, ".\n" }; $SIG{USR2} = sub { print "count=$n.\n"; exit 5 }; print "ready\n"; sleep 1 while 1'
	check "^C kills the program, and ipcrun as if it had been the program" \
		"$job" expect=ready key=C died=INT -- "$IPCRUN" sh -c 'echo ready; exec sleep 60'
	check "^C that the program handles comes once, and ipcrun goes on" \
		"$job" expect=ready key=C expect=int=1. alone=USR2 expect=count=1. exited=5 -- "$IPCRUN" perl -e "$tty_counter"
	check "^\\ kills both by SIGQUIT" \
		"$job" expect=ready 'key=\' died=QUIT -- "$IPCRUN" sh -c 'ulimit -c 0; echo ready; exec sleep 60'
	check "^Z stops the program and ipcrun, fg continues both, the status comes through" \
		"$job" expect=ready key=Z stopped=TSTP state=T cont state=S alone=TERM exited=8 -- \
		"$IPCRUN" perl -e '$| = 1; $SIG{TERM} = sub { exit 8 }; print "ready\n"; sleep 1 while 1'
	check "... ten times over" "$job" expect=ready $(for i in 1 2 3 4 5 6 7 8 9 10; do
		echo key=Z stopped=TSTP state=T cont state=S; done) alone=USR2 expect=count= exited=5 -- "$IPCRUN" perl -e "$tty_counter"
	check "^Z, and ^C after fg comes once" "$job" expect=ready key=Z stopped=TSTP cont state=S key=C expect=int=1. idle \
		alone=INT expect=int=2. alone=USR2 expect=count=2. exited=5 -- "$IPCRUN" perl -e "$tty_counter"
	check "a program that ignores ^Z is not stopped, nor is ipcrun" "$job" expect=ready key=Z expect=more key=C died=INT -- \
		"$IPCRUN" perl -e '$| = 1; $SIG{TSTP} = "IGNORE"; print "ready\n"; sleep 1; print "more\n"; sleep 60'
	check "a program that stops itself stops ipcrun" "$job" stopped=STOP state=T cont exited=4 -- \
		"$IPCRUN" sh -c 'kill -STOP $$; exit 4'
	check "continuing ipcrun alone continues the program" "$job" stopped=STOP state=T alone=CONT exited=4 -- \
		"$IPCRUN" sh -c 'kill -STOP $$; exit 4'
	check "... also after ^Z" "$job" expect=ready key=Z stopped=TSTP state=T alone=CONT state=S idle alone=USR2 expect=count= \
		exited=5 -- "$IPCRUN" perl -e "$tty_counter"
	check "a whole stopped job can be killed" "$job" expect=ready key=Z stopped=TSTP group=TERM group=CONT died=TERM -- \
		"$IPCRUN" sh -c 'echo ready; exec sleep 60'
	check "the program has the terminal: it can read it and ask its size" "$job" expect=ready key=M expect=got -- \
		"$IPCRUN" sh -c 'stty size >/dev/null && echo ready; read x; echo got; sleep 5'
	check "an interactive shell has job control under ipcrun" "$job" 'expect=$' exited=0 -- \
		"$IPCRUN" bash --norc -c 'set -m; sleep 0.1 & fg >/dev/null; echo "\$"; exit 0'
else
	skip "job control on a terminal" "no /dev/ptmx, or no children in /proc"
fi
