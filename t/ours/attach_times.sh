#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# When a segment was attached and detached, and by whom, is in the store: at the latest when the last process has left, or
# when somebody looks. Seen by deleting the registry, so that only the store is left.
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl).
# shellcheck disable=SC2016,SC2154

. "$(dirname "$0")/../lib/tap.sh"
dir=$tmp/ns
run=("$IPCRUN" -d "$dir" perl -MIPC::SysV=shmat,shmdt -e)
attach='my $m = shmget(7, 0, 0) // die; my $at = shmat($m, undef, 0) // die;'

"${run[@]}" 'shmget(7, 100, 01600) // die'

told() {	# what the store alone knows: attached, detached, last used by
	rm "$dir/registry"
	"$IPCCTL" -d "$dir" show shm "$("$IPCCTL" -d "$dir" ls shm | awk '/ 0x/ { print $1 }')" |
		sed -nE 's/^(attached|detached) +never.*/\1 never/p; s/^(attached|detached) +[0-9].*/\1 sometime/p; s/^last used by +([0-9]+|nobody).*/\1/p' |
		tr '\n' ' '
}

is "before anybody has attached it, nothing is told" "$(told)" "attached never detached never nobody "
pid=$("${run[@]}" "$attach"' print $$')
like "the last process to leave by exit saves that it had attached" "$(told)" "^attached sometime detached [a-z]+ $pid \$"
pid=$("${run[@]}" "$attach"' shmdt($at) // die; print $$')
is "... and that it had detached" "$(told)" "attached sometime detached sometime $pid "
{ "${run[@]}" "$attach"' $| = 1; print $$; shmdt($at); kill 9, $$' >"$tmp/pid"; } 2>/dev/null
"$IPCCTL" -d "$dir" ls >/dev/null
is "what a killed process had not saved, ipcctl saves" "$(told)" "attached sometime detached sometime $(cat "$tmp/pid") "
"${run[@]}" 'fork // die; '"$attach"' shmdt($at); open my $f, ">>", $ARGV[0]; syswrite $f, "$$\n"; wait' "$tmp/pids"
like "of two processes the one that leaves last saves" "$(told)" \
	"^attached sometime detached sometime ($(tr '\n' '|' <"$tmp/pids")none) \$"
done_testing
