#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The system's own tools, unchanged, on the same objects: natively, under ipcrun, under ipcrun with the twelve
# system calls answering ENOSYS and nothing of System V IPC below /proc, and with an ipcd, where the calls answer ENOSYS
# too. ipcs, lsipc, ipcmk, ipcrm, sysctl and shells must print the same, errors and exit status too, but for random keys,
# process ids and times, which become words.
#
#	tools.sh [native | ipcrun | ipcrun-nosysv | daemon] ...	(none named: all; native always runs, to compare with)
#
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), NOSYSV (build/t/lib/nosysv), T_KEEP=1 (keep what was said).
# shellcheck disable=SC2016,SC2034

# ---- the scene: runs in each of the modes, and prints what the tools say ----

# KIND is p when process ids are in what it prints, table for the kernel's tables, listed when it looks for names in
# /proc's directories, where a kernel without System V IPC has none.
run() {	# KIND COMMAND...
	echo "== $1 ${*:2}"
	"${@:2}" 2>&1
	echo "-- status $?"
}

# Numbers that the tools print and that are no process ids; so nobody whose id is printed may have one of these.
plain=" 100 200 500 600 604 620 640 644 666 $(date +%Y) 3027 3030 4096 5000 8192 16384 32000 32767 50000 "

holder='
sub plain { index($ENV{plain}, " $_[0] ") >= 0 }
while (plain($$)) { my $other = fork // die; if ($other) { waitpid $other, 0; exit $? >> 8 } }
use IPC::SysV qw(IPC_PRIVATE IPC_CREAT IPC_RMID SHM_RDONLY SEM_UNDO shmat memwrite);
use IPC::Msg; use IPC::Semaphore;
$| = 1;
for (1 .. 3) { shmctl(shmget(IPC_PRIVATE, 4096, 0600) // die, IPC_RMID, 0) }	# ids are no plain indexes now
my $m = shmget(0x1234, 12345678, IPC_CREAT | 0600) // die "shmget: $!";
my $gone = shmget(IPC_PRIVATE, 50000, 0604) // die;
my $s = IPC::Semaphore->new(0x77, 4, IPC_CREAT | 0666) // die;
my $q = IPC::Msg->new(-2, IPC_CREAT | 0622) // die;
my $at = shmat($m, undef, 0) // die; memwrite($at, "x", 0, 1); memwrite($at, "x", 4096 * 7, 1);
shmat($m, undef, SHM_RDONLY) // die; shmat($gone, undef, 0) // die;
shmctl($gone, IPC_RMID, 0); shmctl($m, 11, 0);
$s->op(1, 3, SEM_UNDO, 2, 1, 0) || die; $s->setval(3, 7);
$q->snd(1, "x" x 100) || die; $q->snd(2, "y" x 33) || die; $q->rcv(my $got, 200, 1, 0); $q->snd(3, "") || die;
$q->set(mode => 0620, gid => 1) if !$>;
my $waiter;
while (!$waiter || plain($waiter)) {
	waitpid $waiter, 0 if $waiter;
	$waiter = fork // die;
	next if $waiter;
	exit if plain($$);
	exec "perl", "-e", "semop(\$ARGV[0], pack(q(s!3), 0, -1, 0)); 1", $s->id;
}
select undef, undef, undef, 0.02 while !$s->getncnt(0);
open my $f, ">", "$ARGV[0]/holder" or die; print $f "$$ HOLDER\n$waiter WAITER\n"; close $f;
rename "$ARGV[0]/holder", "$ARGV[0]/holds" or die;
<STDIN>; kill 9, $waiter; waitpid $waiter, 0;
'

made_by() {	# NAME ARGUMENT...: ipcmk, as a process whose id is known
	local status=77
	while [ $status = 77 ]; do
		sh -c 'case $plain in *" $$ "*) exit 77 ;; esac
			echo "$$ $1" >>"$0/pids"; shift; exec ipcmk "$@"' "$tmp" "$@"
		status=$?
	done
	return $status
}

id_of() {	# KIND KEY
	awk -v key="$2" '$1 == key { print $2 }' "/proc/sysvipc/$1"
}

look() {
	local kind at
	for kind in shm sem msg; do
		run table cat "/proc/sysvipc/$kind"
	done
	for at in "" -a -c -l -u -b; do
		run - ipcs $at
	done
	run p ipcs -t
	run p ipcs -p
	for kind in -m -s -q; do
		for at in "" -c -t -p -u -l --human; do
			run p ipcs $kind $at
		done
		run - ipcs $kind -i 99999
		for at in "" -c -t -b -P -J -e -r -n -y -g --notruncate; do
			run p lsipc $kind $at
		done
		run - lsipc $kind -i 99999
	done
	at=KEY,ID,OWNER,PERMS,CUID,CUSER,CGID,CGROUP,UID,USER,GID,GROUP,CTIME
	run p lsipc -m -o $at,SIZE,NATTCH,STATUS,ATTACH,DETACH,COMMAND,CPID,LPID
	run p lsipc -q -J -o $at,USEDBYTES,MSGS,SEND,RECV,LSPID,LRPID
	run p lsipc -s -e -o $at,NSEMS,OTIME
	run p lsipc -m -t --time-format=iso
	run p lsipc -s -t --time-format=full
	run - lsipc
	run - lsipc -g -J
	run - lsipc -g -b -r
}

look_at() {	# KIND-OPTION ID
	run p ipcs "$1" -i "$2"
	run p lsipc "$1" -i "$2"
	run p lsipc "$1" -J -i "$2"
}

limits='shmmax shmall shmmni sem msgmax msgmnb msgmni auto_msgmni shm_rmid_forced shm_next_id sem_next_id msg_next_id'

set_limits() {
	local f=/proc/sys/kernel
	run listed sysctl -w kernel.shmmax=123456788 kernel.msgmni=77
	run listed sysctl kernel.shmmax kernel.shmall kernel.sem kernel.msgmni kernel.shm_rmid_forced
	run - bash -c "echo 123456789 >$f/shmmax && cat $f/shmmax"
	run - bash -c "echo 4097 >$f/shmmni && cat $f/shmmni"
	run - bash -c "echo nonsense >$f/shmmni; cat $f/shmmni"
	run - bash -c "( printf '%s\n' 4000 ) >$f/shmmni; cat $f/shmmni"
	run - bash -c "exec 5<>$f/shmmni; read -r x <&5; echo \$x; exec 6<>$f/shmmni; echo 3999 >&6; cat $f/shmmni"
	run - sh -c "echo '100 200 30 40' >$f/sem && cat $f/sem"
	run - sh -c "/bin/echo 101 >>$f/sem && cat $f/sem"
	run - sh -c "/bin/echo 1x >$f/sem; cat $f/sem"
	run - sh -c "echo 1 2 3 99999 >$f/sem; cat $f/sem"
	run - sh -c "echo 9000 | tee $f/msgmax; cat $f/msgmax"
	run - sh -c "echo 9003 | tee -a $f/msgmax; cat $f/msgmax"
	run - sh -c "echo 9001 | cat >$f/msgmax; cat $f/msgmax"
	run - sh -c "echo 9002 >$tmp/n; cp $tmp/n $f/msgmax; cat $f/msgmax"
	run - sh -c "printf %s 0x4000 | dd of=$f/msgmnb 2>&1 | head -n 2; cat $f/msgmnb"
	run - sh -c "cd $f && echo 20000 >./msgmnb && cat ../kernel/msgmnb"
	run - perl -e 'open F, ">", "/proc/sys/kernel/shmall" or die $!; print F "-5"; close F or print "$!\n"'
	run - perl -e 'open F, "+<", "/proc/sys/kernel/shmall" or die $!; print F "55"; close F or print "$!\n"'
	run - python3 -c 'print(open("/proc/sys/kernel/msgmni", "w").write("78\n"), open("/proc/sys/kernel/msgmni").read())'
	run - cat $f/shmall $f/msgmni $f/auto_msgmni
	run - sh -c "echo 1 >$f/auto_msgmni; echo 2 >$f/auto_msgmni; cat $f/auto_msgmni"
	run - sh -c "echo 0 >$f/shm_rmid_forced; echo 7 >$f/shm_rmid_forced; cat $f/shm_rmid_forced"
	run - ipcs -l
	run - lsipc
	run - ipcmk -M 123456790
	run - ipcmk -S 103
}

scene() {
	local f m s q
	export LC_ALL=C TZ=UTC COLUMNS=200 plain
	mkfifo "$tmp/end"
	: >"$tmp/pids"
	run - ipcs -a
	run - lsipc
	for f in $limits; do
		run - cat "/proc/sys/kernel/$f"
	done
	run - made_by MADE_M -M 5000 -p 0640
	run - made_by MADE_S -S 3 -p 0600
	run - made_by MADE_Q -Q
	perl -e "$holder" "$tmp" <"$tmp/end" &
	exec 7>"$tmp/end"
	for ((i = 0; i < 600; i++)); do
		[ ! -e "$tmp/holds" ] || break
		sleep 0.05
	done
	cat "$tmp/holds" >>"$tmp/pids"
	look
	m=$(id_of shm 4660) s=$(id_of sem 119) q=$(id_of msg -2)
	look_at -m "$m"
	look_at -s "$s"
	look_at -q "$q"
	set_limits
	run - ipcrm -m "$m" -s 99999
	run - ipcrm -M 0x77 -Q 0xfffffffe
	run - ipcrm -q 99999 -m x
	run - ipcs -a
	run - ipcrm -s "$s"
	exec 7>&-
	wait
	run - ipcs -a
	run p lsipc -m
	run - made_by MADE_2 -M 4096
	run - ipcrm -v -a
	run - ipcs -a
	run - ipcrm -a
}

if [ "$1" = --scene ]; then
	tmp=$2
	scene >"$tmp/said" 2>&1
	exit
fi

# ---- the comparison ----

. "$(dirname "$0")/../lib/tap.sh"
NOSYSV=$(realpath -m "${NOSYSV:-$top/build/t/lib/nosysv}")
me=$(realpath "$0")
at_exit() {
	[ -z "${T_KEEP:-}" ] || { cp -r "$tmp" "$tmp.kept"; echo "# kept: $tmp.kept"; }
	rm -rf "$memory"
}
memory=$(mktemp -d /dev/shm/t-tools.XXXXXX)

# ipcrm -a removes everything that it may: never outside of an IPC namespace of its own.
apart=(unshare -i)
[ "$(id -u)" = 0 ] || apart=(unshare -U -r -i)
"${apart[@]}" true 2>/dev/null || { echo "1..0 # SKIP no IPC namespace of our own is to be had"; exit 0; }
for tool in ipcs lsipc ipcmk ipcrm sysctl python3; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool (t/deps.sh installs it)"; exit 0; }
done

# Keys made at random, process ids and times become words; in the kernel's tables by column, and each line of those must
# be just what its numbers give when they are printed in the kernel's columns.
symbolic='
my ($dir, $from, $to) = @ARGV;
my %pid = do { open my $f, "<", "$dir/pids" or die; map { split } <$f> };
my %fmt = (shm => "%10d %10d  %4s %21s %5s %5s  %5s %5s %5s %5s %5s %10s %10s %10s %21s %21s",
	sem => "%10d %10d  %4s %10s %5s %5s %5s %5s %10s %10s",
	msg => "%10d %10d  %4s  %10s %10s %5s %5s %5s %5s %5s %5s %10s %10s %10s");
my %times = (shm => [11 .. 13], sem => [8, 9], msg => [11 .. 13]);
my %pids = (shm => [4, 5], sem => [], msg => [5, 6]);
my ($kind, $table);
open my $f, "<", "$dir/said" or die;
while (<$f>) {
	if (/^== (\S+) (?:cat \/proc\/sysvipc\/(\w+))?/) {
		($kind, $table) = ($1, $2);
	} elsif ($kind eq "table" && !/^ +key|^--/) {
		my @v = split;
		$_ = "MALFORMED " . $_ if sprintf("$fmt{$table}\n", @v) ne $_;
		chomp;
		for (@{$times{$table}}) { $v[$_] = "NOW" if $v[$_] >= $from && $v[$_] <= $to }
		for (@{$pids{$table}}) { $v[$_] = $pid{$v[$_]} // $v[$_] }
		$v[0] = "KEY" if !grep { $v[0] == $_ } 0, 4660, 119, -2;
		$_ = (/^MALFORMED/ ? "$_ " : "") . "@v\n";
	} elsif ($kind ne "table") {
		s/0x(?!00000000|00001234|00000077|fffffffe)[0-9a-f]{8}/KEY/g;
		s/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:?00/NOW/g;
		s/(?:[MTWFS][a-z]{2} )?[JFMASOND][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?: \d{4})?/NOW/g;
		s/\b\d\d:\d\d\b/NOW/g;
		s/\d+(?:\.\d+)?(?:e-\d+)? s, .*B\/s/DURATION/;
		if ($kind eq "p") { s/\b(\d+)\b/$pid{$1} \/\/ $1/ge }
		s/ +/ /g; s/ $//; s/-{4,}/----/g;
	}
	s/\Q$dir\E/DIR/g;
	print;
}'

act() {	# MODE COMMAND...: the scene, run by COMMAND
	local dir=$tmp/$1 from
	mkdir "$dir"
	from=$(date +%s)
	timeout 120 "${@:2}" bash "$me" --scene "$dir" </dev/null >"$dir/out" 2>&1 ||
		{ report 1 "$1: the scene runs"; note "$(cat "$dir/out")"; return 1; }
	perl -e "$symbolic" "$dir" "$from" "$(date +%s)" >"$dir/symbolic"
}

section() {	# FILE N: the N-th command and what it said
	awk -v n="$2" '/^== / { i++ } i == n' "$1"
}

compare() {	# MODE
	local n i title
	n=$(grep -c '^== ' "$tmp/native/symbolic")
	is "$1: as many commands were run" "$(grep -c '^== ' "$tmp/$1/symbolic")" "$n"
	for ((i = 1; i <= n; i++)); do
		[ "$1" != ipcrun-nosysv ] || ! section "$tmp/native/symbolic" $i | grep -q '^== listed' || continue
		title=$(section "$tmp/native/symbolic" $i | head -n 1 | cut -d' ' -f3-)
		diff <(section "$tmp/native/symbolic" $i) <(section "$tmp/$1/symbolic" $i) >"$tmp/diff"
		report $? "$1: $title" || note "$(cat "$tmp/diff")"
	done
	echo "# $1: $n commands, $(grep -vc '^==\|^--' "$tmp/$1/symbolic") lines as from the kernel"
}

# A kernel without System V IPC has nothing of it below /proc.
without='mount -t tmpfs -o ro none /proc/sysvipc && mount -t tmpfs -o ro none /proc/sys/kernel && exec "$@"'

kernel_had=$(cd /proc/sys/kernel && cat shm* msg* sem*)

[ $# -gt 0 ] || set -- native ipcrun ipcrun-nosysv daemon
act native "${apart[@]}" || done_testing
is "native: the scene ran to its end" "$(tail -n 2 "$tmp/native/symbolic")" "== - ipcrm -a
-- status 0"
is "native: /proc/sysvipc is in the columns known to this test" "$(grep -c MALFORMED "$tmp/native/symbolic")" 0
is "native: the scene is on the objects that it should" "$(grep -c \
	'^4660 .* 12345678 HOLDER WAITER 2 .* NOW NOW NOW 8192 0$' "$tmp/native/symbolic")" 1
for mode; do
	case $mode in
	native) ;;
	ipcrun)
		# On a user namespace's map too, where the test is not root's.
		act ipcrun "${apart[@]}" "$IPCRUN" -d "$memory/1" && compare ipcrun
		;;
	ipcrun-nosysv)
		"$NOSYSV" --check >"$tmp/check" 2>&1
		report $? "the filter turns all twelve calls into ENOSYS" || note "$(cat "$tmp/check")"
		act ipcrun-nosysv "${apart[@]}" -m sh -c "$without" sh "$NOSYSV" "$IPCRUN" -d "$memory/2" &&
			compare ipcrun-nosysv
		;;
	daemon)
		act daemon "${apart[@]}" "$top/t/lib/daemon" "$NOSYSV" && compare daemon
		;;
	*)
		echo "usage: tools.sh [native | ipcrun | ipcrun-nosysv | daemon] ..." >&2
		exit 2
		;;
	esac
done
is "the machine's own limits are as they were" "$(cd /proc/sys/kernel && cat shm* msg* sem*)" "$kernel_had"
done_testing
