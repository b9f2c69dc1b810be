#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Real programs on the kernel's calls and under ipcrun, in turn: in each round every case runs once on both sides, and
# the other side goes first in the next. Prints medians in milliseconds, what they lay between, the ratio, and which
# targets are reached. Runs as an ordinary user, in an IPC namespace of its own where that is allowed.
#
#	apps.sh [--rounds N] [--json] [fakeroot | buffer | x11perf | pgbench] ...
#
# What is timed is the whole command, with its start under ipcrun; servers (X, PostgreSQL) are started before. Exit
# status: 0, or 1 if a run failed (a missed target is no failure). Environment: IPCRUN, IPCCTL, PG_BIN.

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/../t/apps/apps.sh"
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
T_LIMIT=300
rounds=5 json=0 cases=() arguments=("$@")

complain() {
	echo "bench/apps.sh: $1" >&2
	exit 2
}

options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--rounds)
			[[ ${2-} =~ ^[1-9][0-9]*$ ]] || complain "--rounds takes a positive number, not '${2-}'"
			rounds=$2
			shift
			;;
		--json) json=1 ;;
		fakeroot | buffer | x11perf | pgbench) cases+=("$1") ;;
		*) complain "unknown case or option '$1'; known are --rounds N, --json, fakeroot, buffer, x11perf, pgbench" ;;
		esac
		shift
	done
	[ ${#cases[@]} -gt 0 ] || cases=(fakeroot buffer x11perf pgbench)
}

description() {	# CASE
	case $1 in
	fakeroot) echo "fakeroot: chown, chmod, tar; 15,000 files" ;;
	buffer) echo "buffer: 2 GiB" ;;
	x11perf) echo "x11perf: 24,000 pictures by MIT-SHM" ;;
	pgbench) echo "pgbench -S: 8 clients, 80,000 queries" ;;
	esac
}

needs_of() {	# CASE
	case $1 in
	fakeroot) echo fakeroot-sysv:fakeroot ;;
	buffer) echo buffer:buffer ;;
	x11perf) echo Xvfb:xvfb x11perf:x11-apps ;;
	pgbench) echo "$PG_BIN/pgbench:postgresql-15" ;;
	esac
}

# ---- before: what a case needs on its side ----

prepare_fakeroot() {
	local d

	for d in 0 1 2 3 4 5 6 7 8 9; do
		mkdir -p tree/$d
		(cd tree/$d && seq 500 | xargs touch)
	done
}

prepare_buffer() {
	:
}

display_named() {
	grep -qx '[0-9][0-9]*' number || gone $!
}

prepare_x11perf() {
	: >number
	"${wrap[@]}" Xvfb -displayfd 3 -screen 0 1024x768x24 -nolisten tcp 3>number >log 2>&1 &
	wait_until display_named && ! gone $!
}

prepare_pgbench() {
	"${wrap[@]}" "$PG_BIN/initdb" -D data -U postgres -A trust --locale=C --no-sync >log 2>&1 || return 1
	cat >>data/postgresql.conf <<-END
		shared_memory_type = sysv
		dynamic_shared_memory_type = sysv
		listen_addresses = ''
		unix_socket_directories = '$PWD'
		fsync = off
	END
	"${wrap[@]}" "$PG_BIN/postgres" -D data >>log 2>&1 &
	wait_until "$PG_BIN/pg_isready" -q -h "$PWD" &&
		bounded "$PG_BIN/pgbench" -h "$PWD" -U postgres -i -s 5 -q postgres >>log 2>&1
}

# ---- one run of a case ----

run_fakeroot() {
	# shellcheck disable=SC2016
	run fakeroot-sysv -- sh -c 'for i in 1 2 3; do
		chown -R $i:$i tree && chmod -R 70$i tree && tar -cf - tree | cat >/dev/null || exit 1; done'
}

run_buffer() {
	head -c 2G /dev/zero | run buffer -s 10k -m 1m >/dev/null
}

run_x11perf() {
	DISPLAY=:$(<number) run x11perf -repeat 1 -reps 1000 -shmput10 -shmput100 -shmput500 -shmget10 -shmget100 -shmget500
}

run_pgbench() {
	bounded "$PG_BIN/pgbench" -h "$PWD" -U postgres -n -S -c 8 -j 2 -t 10000 postgres
}

# ---- the rounds ----

enter_side() {	# SIDE CASE
	work=$dir/$1.$2
	mkdir -p "$work" && cd "$work" || exit 1
	wrap=()
	[ "$1" = kernel ] || wrap=("$IPCRUN" -n "$namespace" --)
}

prepare() {
	local c side

	for c in "${cases[@]}"; do
		printf '%s\t%s\n' "$c" "$(description "$c")" >>"$dir/names"
		for side in kernel ours; do
			enter_side $side "$c"
			"prepare_$c" || { tail -n 5 log >&2; complain "$c could not be started ($side)"; }
		done
	done
}

sample() {	# CASE SIDE
	local before after

	enter_side "$2" "$1"
	before=$(date +%s%N)
	if "run_$1" >out 2>&1; then
		after=$(date +%s%N)
		printf '%s\t%s\t%s\n' "$1" "$2" "$(((after - before) / 1000000))" >>"$dir/samples"
	else
		echo "bench/apps.sh: $1 failed ($2):" >&2
		tail -n 3 out >&2
		printf '%s\t%s\tfailed\n' "$1" "$2" >>"$dir/samples"
	fi
}

measure() {
	local round c side sides='kernel ours'

	for ((round = 1; round <= rounds; round++)); do
		for c in "${cases[@]}"; do
			[ ! -t 2 ] || printf '\r\033[K%s' "round $round of $rounds: $c" >&2
			for side in $sides; do
				sample "$c" "$side"
			done
		done
		[ "$sides" = 'ours kernel' ] && sides='kernel ours' || sides='ours kernel'
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

options "$@"
for c in "${cases[@]}"; do
	needs="$needs $(needs_of "$c")"
done
for pair in $needs; do
	command -v "${pair%:*}" >/dev/null || complain "no ${pair%:*} here (Debian: apt-get install ${pair#*:}, or t/deps.sh)"
done
[ -x "$IPCRUN" ] || complain "no $IPCRUN; run make first"
[ "$dir" ] || start_over "${arguments[@]}"
namespace=bench-apps-$$
mode=ours
trap 'cleanup 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM
prepare
measure
cd "$dir" || exit 1
awk -F '\t' -v json=$json -v rounds="$rounds" -v unit=ms -v machine="$(uname -sr), $(nproc) processors" \
	-f "$here/report.awk" names samples
