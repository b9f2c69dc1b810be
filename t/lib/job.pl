#!/usr/bin/perl
# SPDX-License-Identifier: BSD-2-Clause
#
# A shell's job control around one program, on a terminal of its own (a pty), driven by a script of words:
#
#   job.pl WORD... -- PROGRAM ARGUMENT...
#
#   expect=TEXT  read from the terminal until TEXT has come      stopped=SIG  the job stops by that signal
#   key=C        type control-C                                  exited=N     it ends with that status
#   cont         continue it, in the foreground, as fg does      died=SIG     it is killed by that signal
#   group=SIG    send a signal to its process group              alone=SIG    send one to its leader alone
#   idle         wait until the leader sleeps and has no signal pending
#   state=T|S|R  wait until a child of the leader, the program, is in that state
#   size=COLxROW the window changes its size                     type=TEXT    type it
#   mode=M       wait until the terminal is cooked (lines, echo) or raw (neither)
#   save=FILE    write what has come since the last save, or from the begin, to a file
#
# Every wait is bounded. The first word that does not come true ends it: status 1 and a line that names the word.
use strict;
use warnings;
use POSIX qw(:sys_wait_h :signal_h :termios_h setsid tcsetpgrp);
use Config;
use Fcntl;
use constant { TIOCSWINSZ => 0x5414, TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430, TIOCSCTTY => 0x540E };

my @words;
push @words, shift @ARGV while @ARGV && $ARGV[0] ne '--';
shift @ARGV;
my @signal = split ' ', $Config{sig_name};

sysopen(my $master, '/dev/ptmx', O_RDWR | O_NOCTTY) or die "ptmx: $!";
my $arg = pack 'i', 0;
ioctl($master, TIOCSPTLCK, $arg) or die "unlock: $!";
ioctl($master, TIOCGPTN, $arg) or die "number: $!";
my $tty = '/dev/pts/' . unpack 'i', $arg;

# The session leader, which is the shell of this job, is a child: the terminal must not become the harness's.
my $leader = fork // die;
if ($leader) {
	alarm 60;
	local $SIG{ALRM} = sub { kill 'KILL', $leader; print "# job: too slow\n"; exit 1 };
	close $master;
	waitpid $leader, 0;
	exit($? ? 1 : 0);
}
setsid();
$SIG{HUP} = 'IGNORE'; # the terminal goes when we do
open my $slave, '+<', $tty or die "$tty: $!";
ioctl $slave, TIOCSCTTY, 0 or die "controlling terminal: $!";
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTTOU));

pipe my $go_r, my $go_w;
my $pid = fork // die;
if (!$pid) {
	POSIX::setpgid(0, 0);
	close $go_w;
	my $byte = <$go_r>;
	close $go_r;
	sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTTOU));
	$SIG{INT} = $SIG{QUIT} = $SIG{HUP} = 'DEFAULT'; # a script's background job ignores them
	open STDIN, '<&', $slave;
	open STDOUT, '>&', $slave;
	open STDERR, '>&', $slave;
	close $slave;
	close $master;
	exec { $ARGV[0] } @ARGV or die "exec: $!";
}
POSIX::setpgid($pid, $pid);
tcsetpgrp(fileno $slave, $pid);
close $go_w;

my $output = '';
my $unsaved = '';

sub take_output {
	my $got = '';
	my $in = '';
	vec($in, fileno $master, 1) = 1;
	return unless select $in, undef, undef, $_[0];
	sysread $master, $got, 65536;
	$output .= $got;
	$unsaved .= $got;
}

sub mode_is {
	my ($wanted) = @_;
	my $t = POSIX::Termios->new;
	for (1 .. 400) {
		$t->getattr(fileno $slave);
		my $cooked = ($t->getlflag & (ICANON | ECHO)) == (ICANON | ECHO);
		my $raw = !($t->getlflag & (ICANON | ECHO));
		return 1 if $wanted eq 'cooked' ? $cooked : $raw;
		take_output(0.02);
	}
	return 0;
}

sub output_has {
	my ($text) = @_;
	for (1 .. 400) {
		if ((my $at = index $output, $text) >= 0) {
			substr($output, 0, $at + length $text) = '';
			return 1;
		}
		take_output(0.05);
	}
	return 0;
}

# The next change of the job, as waitpid tells it: "stopped TSTP", "exited 3", "died INT".
sub change {
	for (1 .. 400) {
		my $got = waitpid $pid, WNOHANG | WUNTRACED;
		if ($got == $pid) {
			my $st = ${^CHILD_ERROR_NATIVE};
			return 'stopped ' . $signal[WSTOPSIG($st)] if WIFSTOPPED($st);
			return 'exited ' . WEXITSTATUS($st) if WIFEXITED($st);
			return 'died ' . $signal[WTERMSIG($st)];
		}
		take_output(0.02); # nor does it wait for us to read
	}
	return 'nothing';
}

sub state_of_child {
	my ($wanted) = @_;
	my $state = '';
	for (1 .. 400) {
		if (open my $f, '<', "/proc/$pid/task/$pid/children") {
			for my $child (split ' ', <$f> // '') {
				open my $s, '<', "/proc/$child/stat" or next;
				my ($name, $st) = (<$s> // '') =~ /\((.*)\) (\S)/ or next;
				next if $name =~ /^ipcrun-/; # not the program
				$state = $st;
				return 1 if $st eq $wanted;
			}
		}
		select undef, undef, undef, 0.02;
	}
	print "# state of the program: $state\n";
	return 0;
}

sub idle {
	for (1 .. 400) {
		if (open my $f, '<', "/proc/$pid/status") {
			my $text = join '', <$f>;
			return 1 if $text =~ /^State:\s+S/m && $text =~ /^ShdPnd:\s+0+$/m;
		}
		select undef, undef, undef, 0.02;
	}
	return 0;
}

for my $word (@words) {
	my ($what, $value) = $word =~ /^(\w+)=?(.*)$/s;
	my $good = 1;
	my $got = '';
	if ($what eq 'expect') {
		$good = output_has($value);
		$got = $output;
	} elsif ($what eq 'key') {
		syswrite $master, chr(ord($value) & 31);
	} elsif ($what eq 'type') {
		syswrite $master, $value;
	} elsif ($what eq 'size') {
		my ($columns, $lines) = split /x/, $value;
		ioctl $master, TIOCSWINSZ, my $size = pack 'S4', $lines, $columns, 0, 0;
	} elsif ($what eq 'mode') {
		$good = mode_is($value);
	} elsif ($what eq 'save') {
		take_output(0);
		open my $f, '>', $value or die "$value: $!";
		print $f $unsaved;
		$unsaved = '';
	} elsif ($what eq 'cont') {
		tcsetpgrp(fileno $slave, $pid);
		kill 'CONT', -$pid;
	} elsif ($what eq 'group') {
		kill $value, -$pid;
	} elsif ($what eq 'alone') {
		kill $value, $pid;
	} elsif ($what eq 'idle') {
		$good = idle();
	} elsif ($what eq 'state') {
		$good = state_of_child($value);
	} else {
		$got = change();
		$good = $got eq "$what $value";
	}
	next if $good;
	$got =~ s/\s+/ /g;
	print "# job: '$word' did not come true; got: $got\n";
	kill 'KILL', -$pid;
	exit 1;
}
kill 'KILL', -$pid;
exit 0;
