#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Namespace directories that are wrong: not one, somebody else's, of another version, full, truncated, overwritten.
# Each gets one line that names the file, the right exit status or errno, never a signal; and nothing that was in the
# directory is lost: its content is there afterwards, under its name or beside it.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), T_SEED, and T_ROUNDS for the random part's length.
# shellcheck disable=SC2016,SC2010,SC2046,SC2089,SC2090,SC2154

. "$(dirname "$0")/../lib/tap.sh"
library=$("$IPCRUN" sh -c 'echo "$LD_PRELOAD"')
library=${library%%:*}
seed=${T_SEED:-$RANDOM}
echo "# seed $seed (T_SEED)"
RANDOM=$seed

# A namespace with something in it, that nobody uses.
fresh() {	# sets dir
	dir=$tmp/ns$((++count))
	"$IPCRUN" -d "$dir" perl -e 'my $m = shmget(1, 8192, 01600) // die; shmwrite($m, "precious memory", 0, 15) || die;
		my $s = semget(1, 3, 01600) // die; semop($s, pack "s!6", 0, 5, 0, 1, 7, 0) || die;
		my $q = msgget(1, 01600) // die; msgsnd($q, pack("l! a*", 4, "precious message"), 0) || die'
}
use='my $m = shmget(1, 0, 0); my $s = semget(1, 0, 0); my $q = msgget(1, 0); my $b;
	print "shm:", shmread($m, $b, 0, 15) ? $b : "$!" if defined $m; print " sem:", semctl($s, 1, 12, 0) // "$!" if defined $s;
	print " msg:", msgrcv($q, $b, 100, 4, 024000) || msgrcv($q, $b, 100, 0, 04000) ? unpack("x[l!] a*", $b) : "$!" if defined $q;'
whole="shm:precious memory sem:7 msg:precious message"

# The beginnings of files, by which they are found again whatever their names are.
sums() {	# FILE...
	local f
	(cd "$dir" && for f; do [ ! -f "$f" ] || { stat -c %s "$f"; head -c 300000 "$f"; } | sha256sum | cut -c1-64; done)
}
objects() {
	(cd "$dir" && ls | grep -E '^(lost-)?(shm|sem|msg)-' | sed 's/^lost-//')
}
# Each of these contents is still in the directory, and so are the files of objects.
kept() {	# SUMS OBJECTS
	local missing
	missing=$(comm -23 <(sort <<<"$1") <(sums $(cd "$dir" && ls) | sort))$(comm -23 <(echo "$2") <(objects))
	[ -z "${missing// }" ] || { echo "lost: $missing; left:"; ls "$dir"; return 1; }
}

# ipcrun, ipcctl and the library itself refuse a directory, and leave it as it is.
refused() {	# NAME DIR REGEX
	local before
	before=$(ls -la --time-style=full-iso "$2" 2>&1)
	one_line "$1: ipcrun" 125 "$3" "$IPCRUN" -d "$2" true
	one_line "$1: ipcctl" 1 "$3" "$IPCCTL" -d "$2" ls
	one_line "$1: the library gives ENOSYS" 38 "$3" env LD_PRELOAD="$library" IPCD_NAMESPACE="$2" perl -e \
		'msgget(0, 0600); my $e = $!; semget(0, 1, 0600); exit $e'
	is "... and nothing is touched" "$(ls -la --time-style=full-iso "$2" 2>&1)" "$before"
}

# ---- not a namespace ----

echo precious >"$tmp/file"
refused "a file" "$tmp/file" "$tmp/file is not a directory"
mkdir -m 700 "$tmp/other"
echo precious >"$tmp/other/thesis.txt"
refused "a directory with somebody's files" "$tmp/other" "thesis.txt"
mkdir -m 755 "$tmp/open"
refused "a directory that is open to others" "$tmp/open" "chmod 700 $tmp/open"
ln -s /nowhere "$tmp/dangling"
refused "a symlink to nowhere" "$tmp/dangling" "$tmp/dangling"
refused "a directory under one that is not there" "$tmp/no/such" "$tmp/no/such"
long=$tmp/$(printf 'x%.0s' {1..250})/$(printf 'y%.0s' {1..250})
mkdir -p "$(dirname "$long")"
mkdir -m 700 "$long"
refused "a name that is too long" "$long" "too long"
one_line "an empty IPCD_NAMESPACE: ENOSYS" 38 "IPCD_NAMESPACE" env LD_PRELOAD="$library" IPCD_NAMESPACE= perl -e \
	'msgget(0, 0600); exit $!'
one_line "none at all: ENOSYS" 38 "IPCD_NAMESPACE" env LD_PRELOAD="$library" perl -e 'msgget(0, 0600); exit $!'

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	as_user=(setpriv --reuid 12345 --clear-groups)
	chmod 755 "$tmp"
	fresh
	chown 12345 "$dir"
	refused "another user's namespace" "$dir" "belongs to uid 12345"
	fresh
	chown -R 12345 "$dir"
	chmod 500 "$dir"
	mkdir -m 500 "$tmp/unwritable"
	chown 12345 "$tmp/unwritable"
	one_line "a new one in a directory that is not writable: ipcrun" 125 "$tmp/unwritable" \
		"${as_user[@]}" "$IPCRUN" -d "$tmp/unwritable/ns" true
	one_line "a directory that is not writable: ipcrun" 125 "$tmp/unwritable" "${as_user[@]}" "$IPCRUN" -d "$tmp/unwritable" true
	chmod 400 "$dir/lock"
	one_line "a lock file that is not writable: ipcctl" 1 "$dir" "${as_user[@]}" "$IPCCTL" -d "$dir" ls
	chmod 600 "$dir/lock"
	chmod 400 "$dir/registry"
	one_line "a registry that is not writable: ipcctl" 1 "$dir/registry" "${as_user[@]}" "$IPCCTL" -d "$dir" ls
else
	skip "other users' directories, and unwritable ones" "needs root and setpriv"
fi

# ---- versions ----

patch_number() {	# FILE OFFSET VALUE: 32 bits
	perl -e 'open my $f, "+<", $ARGV[0] or die; seek $f, $ARGV[1], 0; print $f pack "L", $ARGV[2]' "$@"
}
sqlite_file() {	# SQL: on meta.sqlite; python has it where the sqlite3 program is not installed
	if command -v sqlite3 >/dev/null; then
		sqlite3 "$dir/meta.sqlite" "$1" >/dev/null
	else
		python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2])' "$dir/meta.sqlite" "$1"
	fi
}

fresh
patch_number "$dir/registry" 8 99
newer=$(sums registry)
one_line "a registry of a newer version: ipcrun" 125 "$dir/registry is of version 99" "$IPCRUN" -d "$dir" true
one_line "... ipcctl" 1 "$dir/registry is of version 99" "$IPCCTL" -d "$dir" ls
check "... and it is left as it is" kept "$newer" ""
fresh
patch_number "$dir/slots" 8 99
newer=$(sums slots)
one_line "a slot table of a newer version: ipcrun" 125 "$dir/slots is of version 99" "$IPCRUN" -d "$dir" true
check "... and it is left as it is" kept "$newer" ""
if command -v sqlite3 >/dev/null || python3 -c 'import sqlite3' 2>/dev/null; then
	fresh
	sqlite_file 'PRAGMA user_version=99; PRAGMA wal_checkpoint(TRUNCATE);'
	before=$(sums meta.sqlite) memory=$(objects)
	rm "$dir/registry"
	one_line "a store of a newer version: ipcrun" 125 "$dir/meta.sqlite" "$IPCRUN" -d "$dir" true
	check "... and nothing is lost" kept "$before" "$memory"
	fresh
	sqlite_file 'PRAGMA application_id=1; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1); PRAGMA wal_checkpoint(TRUNCATE);'
	before=$(sums meta.sqlite) memory=$(objects)
	rm "$dir/registry"
	"$IPCRUN" -d "$dir" true >"$tmp/said" 2>&1
	like "a store that is somebody else's gets a line" "$(cat "$tmp/said")" "meta.sqlite"
	check "... and is kept, and the objects' memory too" kept "$before" "$memory"
else
	skip "a store of a newer version" "no sqlite3 and no python3"
fi
fresh
object=$(cd "$dir" && ls | grep ^sem-)
patch_number "$dir/$object" 8 99
newer=$(sums "$object")
like "a set of a newer version: EIDRM, one line" "$("$IPCRUN" -d "$dir" perl -e 'my $s = semget(1, 0, 0) // die;
	print semctl($s, 1, 12, 0) // "$!"' 2>&1)" "Identifier removed"
check "... and it is left as it is" kept "$newer" ""
is "... and the other objects work" "$("$IPCRUN" -d "$dir" perl -e "$use" 2>/dev/null)" \
	"shm:precious memory sem:Identifier removed msg:precious message"

# ---- damage ----

damage() {	# FILE HOW
	case $2 in
	emptied) : >"$dir/$1" ;;
	"cut to 100 bytes") truncate -s 100 "$dir/$1" ;;
	"cut in half") truncate -s $(($(stat -c %s "$dir/$1") / 2)) "$dir/$1" ;;
	"zeroed") dd if=/dev/zero of="$dir/$1" bs=4096 count=1 conv=notrunc 2>/dev/null ;;
	"overwritten with text") yes "this is no table" | head -c 4096 | dd of="$dir/$1" conv=notrunc 2>/dev/null ;;
	"overwritten whole") perl -e 'srand $ARGV[1]; open my $f, "+<", $ARGV[0]; my $n = -s $f; $n = 262144 if $n > 262144;
		print $f join "", map { chr int rand 256 } 1 .. $n' "$dir/$1" $RANDOM ;;
	"a directory") rm "$dir/$1"; mkdir "$dir/$1" ;;
	"a symlink") rm "$dir/$1"; ln -s /etc/passwd "$dir/$1" ;;
	"a pipe") rm "$dir/$1"; mkfifo "$dir/$1" ;;
	esac
}
ways=(emptied "cut to 100 bytes" "cut in half" zeroed "overwritten with text" "overwritten whole")

# With the damage done: no signal, no hang, something said that names the file; what is lost, is lost to nobody.
bears() {	# FILE WHAT WAY
	local before memory got status
	before=$(sums "$1") memory=$(objects)
	got=$(timeout -k 1 20 "$IPCRUN" -d "$dir" timeout -k 1 10 perl -e "$use" 2>"$tmp/said")
	status=$?
	[ $status -le 125 ] && [ $status -ne 124 ]
	report $? "$2 $3: no crash and no hang" || note "status $status, said: $(cat "$tmp/said")"
	result=$got
	if [[ $got != "$whole" ]]; then
		like "... a line says which file" "$(cat "$tmp/said")" "$1"
	else
		report 0 "... or it did not matter"
	fi
	timeout -k 1 20 "$IPCCTL" -d "$dir" ls >/dev/null 2>>"$tmp/said"
	status=$?
	[ $status -le 1 ]
	report $? "... ipcctl bears it too" || note "status $status, said: $(cat "$tmp/said")"
	[ -s "$dir/$1" ] && [[ $got != "$whole" || $1 = registry ]] || before= # nothing in it, or in use again
	check "... nothing is lost" kept "$before" "$memory"
}

for way in "${ways[@]}"; do
	fresh
	damage registry "$way"
	bears registry "a registry" "$way"
	is "... and everything is there again" "$result" "$whole"
done
for way in "${ways[@]}"; do
	fresh
	damage slots "$way"
	bears slots "a slot table" "$way"
	is "... and everything is there" "$result" "$whole"
done
for way in "${ways[@]}"; do
	fresh
	damage meta.sqlite "$way"
	bears meta.sqlite "a store, with the registry there," "$way"
	is "... and everything is there" "$result" "$whole"
	fresh
	sqlite_file 'PRAGMA wal_checkpoint(TRUNCATE)'
	damage meta.sqlite "$way"
	rm -f "$dir"/registry "$dir"/meta.sqlite-*
	bears meta.sqlite "a store, and no registry," "$way"
done
for kind in shm sem msg; do
	for way in "${ways[@]}"; do
		fresh
		object=$(cd "$dir" && ls | grep "^$kind-")
		if [ "$kind" = shm ] && [[ $way != emptied && $way != cut* ]]; then
			continue # the bytes of a segment are the program's
		fi
		damage "$object" "$way"
		bears "$object" "the file of a $kind" "$way"
	done
done
for file in registry slots users lock meta.sqlite; do
	for way in "a directory" "a symlink" "a pipe"; do
		fresh
		damage "$file" "$way"
		before=$(sha256sum </etc/passwd; ls -ld "$dir/$file" | cut -c1-10)
		timeout -k 1 20 "$IPCRUN" -d "$dir" true >/dev/null 2>"$tmp/said"
		code=$?
		[ $code = 125 ] || [ $code = 0 ]
		report $? "$way in the place of $file: no crash, no hang" || note "status $code, said: $(cat "$tmp/said")"
		[ $code = 0 ] || like "... one line that names it" "$(cat "$tmp/said")" "^ipcrun: [^
]*${file}[^
]*\$"
		is "... and it is not followed" "$(sha256sum </etc/passwd)" "$(head -1 <<<"$before")"
	done
done

# Files of somebody's that almost look like ours.
fresh
for file in shm-notes.txt sem-12 msg-thesis slot-x meta.sqlite.bak registry.txt; do
	echo "precious $file" >"$dir/$file"
	rm -f "$dir/registry"
	"$IPCRUN" -d "$dir" true 2>/dev/null
	is "$file, whatever becomes of the namespace, stays" "$(cat "$dir/$file" 2>&1)" "precious $file"
	rm -f "$dir/$file"
done

# A umask decides about the program's files, not about ours.
user=()
[ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null || user=(setpriv --reuid 12345 --clear-groups)
mkdir -m 777 "$tmp/public"
chmod 777 "$tmp/public"
is "a umask of 0777 harms nothing" "$(umask 0777; "${user[@]}" "$IPCRUN" -d "$tmp/public/ns" sh -c 'perl -e "semget(1, 1, 01600) // die 1;
	semop(semget(1, 0, 0), pack(q(s!3), 0, 5, 010000)) || die 2" && perl -e "print semctl(semget(1, 0, 0), 0, 11, 0) ? q(there) : q(not)"' 2>&1)" there

# A table with room for nobody: every slot, or every thread number, is somebody's.
for table in slots threads; do
	fresh
	perl -e 'my ($file, $table) = @ARGV; open my $f, "+<", $file or die; seek $f, 4096, 0;
		if ($table eq "threads") { print $f pack("Q", 5) x 16384; exit }
		for (0 .. 16383) { seek $f, 4096 + 8 * 16384 + 128 * $_, 0; print $f pack "Q", 1 << 32 | 3 }' "$dir/slots" "$table"
	is "a full table of $table: ENOMEM" "$("$IPCRUN" -d "$dir" perl -e 'print semget(1, 0, 0) // "$!"' 2>&1)" \
		"Cannot allocate memory"
done

# Whoever removes a directory has it locked for a moment, and may leave it as it is after all.
fresh
is "a namespace that somebody has locked for a moment is waited for" "$(perl -e 'my ($users, @run) = @ARGV;
	my $lock = pack "s s x4 q q i x4", 1, 0, 0, 0, 0;
	open my $f, "+<", $users or die; fcntl $f, 37, $lock or die "$!";	# F_OFD_SETLK
	my $pid = fork // die; if (!$pid) { exec @run } select undef, undef, undef, 0.3; close $f; wait; print $? >> 8' \
	"$dir/users" "$IPCRUN" -d "$dir" true 2>&1)" 0

# While somebody uses it, nothing can be made anew.
fresh
"$IPCRUN" -d "$dir" perl -e 'semget(1, 0, 0); $| = 1; print "$$\n"; sleep 1000' >"$tmp/pid" &
user=$!
soon test -s "$tmp/pid"
cp "$dir/registry" "$tmp/registry"
mv "$dir/registry" "$tmp/registry.live"
head -c 100 "$tmp/registry" >"$dir/registry"
one_line "a registry that is damaged while somebody uses the namespace: ipcrun" 125 "$dir/registry" "$IPCRUN" -d "$dir" true
check "... and it is left as it is" test "$(stat -c %s "$dir/registry")" = 100
kill "$(cat "$tmp/pid")"
wait "$user"

# Words overwritten at random in every file: whatever comes out, no crash and no hang.
crashes=
bore() {	# WHO MOST COMMAND...: its status is no signal's and no timeout's
	local who=$1 most=$2 code
	shift 2
	timeout -k 1 20 "$@" >/dev/null 2>"$tmp/said"
	code=$?
	[ $code -le "$most" ] && [ $code != 124 ] || crashes="$crashes T_SEED=$((seed + round)):$who:$code"
}
rounds=${T_ROUNDS:-10}
for ((round = 0; round < rounds; round++)); do
	fresh
	(cd "$dir" && perl "$top/t/lib/damage.pl" $((seed + round))) || report 1 "damage.pl"
	bore program 125 "$IPCRUN" -d "$dir" timeout -k 1 10 perl -e "$use; semop(\$s, pack 's!3', 0, 1, 010000) if defined \$s;
		msgsnd(\$q, pack('l! a*', 1, 'x'), 04000) if defined \$q; semget(0, 2, 0600); shmget(0, 10, 0600);
		msgget(0, 0600); shmctl(\$m, 0, 0) if defined \$m"
	bore ls 1 "$IPCCTL" -d "$dir" ls
	for id in $("$IPCCTL" -d "$dir" ls 2>/dev/null | awk '/ 0x/ { print $1 }' | sort -u | head -3); do
		bore show 1 "$IPCCTL" -d "$dir" show "$id"
	done
	rm -rf "$dir"
done
is "words overwritten at random in every file, $rounds times: no crash and no hang" "$crashes" ""

# ---- a full file system ----

if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	export tmp use
	mkdir "$tmp/mount"
	full() {	# SIZE COMMAND: with $tmp/mount a tmpfs of that size
		unshare -m bash -c 'mount -t tmpfs -o size="$1" tmpfs "$tmp/mount" && eval "$2"' bash "$1" "$2" 2>&1
	}
	for size in 4k 8k 16k 32k 64k 128k; do
		got=$(full $size '"$IPCRUN" -d "$tmp/mount/ns" true; echo "status $?"')
		like "a file system of $size: the namespace is made, or 125 and one line" "$got" \
			"^(ipcrun: [^
]*$tmp/mount/ns[^
]*
)?status (0|125)\$"
	done
	cat >"$tmp/fill.pl" <<'END'
$| = 1;
my ($dir) = @ARGV;
my $error = "(?:Cannot allocate memory|No space left on device)";
my (@s, @q);
my $s = semget(1, 3, 01600) // die "semget $!";
my $q = msgget(1, 01600) // die "msgget $!";
my $up = pack "s!3", 0, 1, 0;
semop($s, $up) && msgsnd($q, pack("l! a*", 1, "x"), 0) || die "$!";
while (1) { push @s, semget(0, 10, 0600) // last }
print "sem " x ($! =~ $error);
while (1) { push @q, msgget(0, 0600) // last }
print "msg " x ($! =~ $error);
print "shm " x (!defined shmget(0, 1 << 20, 0600) && $! =~ $error);
open my $f, ">", "$dir/fill";
1 while syswrite $f, "x" x 4096;
1 while syswrite $f, "x" x 16;
my ($good, $b) = (1, undef);
for my $i (1 .. 200) {
	$good &&= semop($s, $up);
	$good &&= semctl($s, 0, 12, 0) == $i + 1;
	msgsnd($q, pack("l! a*", 1, "x" x ($i * 40)), 04000);
	msgrcv($q, $b, 10000, 0, 04000);
}
print "hot " x !!$good;
semop($s, pack "s!3", 1, 1, 010000);
semget($_ * 12345, 1, 01600), shmget($_ * 54321, 100, 01600), msgget($_ * 99999, 01600), msgget($_ * 777, 0) for 1 .. 20;
print "new ";
for my $k (0, 100, 5000, 20000, 32767) {
	shmctl($k, 13, $b = "\0" x 200);
	semctl($k, 0, 18, $b = "\0" x 200);
	msgctl($k, 11, $b = "\0" x 200);
}
print "stat ";
unlink "$dir/fill";
semctl($_, 0, 0, 0) for @s;
msgctl($_, 0, 0) for @q;
END
	like "a file system that fills up: ENOMEM or ENOSPC for new objects, no signal ever, and what is there goes on" \
		"$(full 600k '"$IPCRUN" -d "$tmp/mount/ns" perl "$tmp/fill.pl" "$tmp/mount"')" "^sem msg shm hot new stat "
	like "processes that come to a full file system get an error, no signal" "$(full 600k '
		"$IPCRUN" -d "$tmp/mount/ns" perl -e "semget(1, 3, 01600); msgget(1, 01600)"; cat /dev/zero >"$tmp/mount/fill" 2>/dev/null
		for i in 1 2 3; do "$IPCRUN" -d "$tmp/mount/ns" perl -e "$use; semop(\$s, pack q(s!3), 0, 1, 010000) if defined \$s;
			msgsnd(\$q, pack(q(l! a*), 1, q(x)), 04000) if defined \$q; semget(0, 5, 0600)" >/dev/null 2>&1; echo "status $?"; done
		"$IPCCTL" -d "$tmp/mount/ns" ls >/dev/null 2>&1; echo "status $?"
		rm "$tmp/mount/fill"; "$IPCCTL" -d "$tmp/mount/ns" ls 2>&1 | grep -c "0x00000001"' | tr '\n' ' ')" \
		"^(status (0|1|125) )+2 \$"
	like "a read-only file system" "$(full 1m '"$IPCRUN" -d "$tmp/mount/ns" true; mount -o remount,ro "$tmp/mount"
		"$IPCRUN" -d "$tmp/mount/ns" true; echo "status $?"')" "^ipcrun: [^
]*$tmp/mount/ns[^
]*
status 125\$"
else
	skip "a full file system" "needs root and a mount namespace"
fi

done_testing
