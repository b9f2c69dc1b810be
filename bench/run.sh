#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs the cases of bench.c on the kernel's calls and on ours, in turn, and prints medians, what they lay between,
# the ratio, and which targets are reached. The same program runs on both sides, one process a sample; in each round
# the other side goes first. The kernel's side has an IPC namespace of its own where that is allowed; every sample
# removes what it made, also when interrupted. Exit status: 0, or 1 if a sample failed (a missed target is no failure).

usage()
{
	cat <<END
usage: bench/run.sh [--rounds N] [--ms N] [--json] [CASE ...]
       bench/run.sh --list
  --rounds N  samples of each case on each side (5)
  --ms N      length of a sample in milliseconds (100)
  --json      print one JSON object in place of the table
environment: BENCH (build/bench/bench), IPCRUN (build/ipcrun)
END
}

complain()
{
	echo "bench/run.sh: $1" >&2
	exit 2
}

number()
{
	case $2 in
	'' | *[!0-9]* | 0*) complain "$1 takes a positive number, not '$2'" ;;
	esac
	echo "$2"
}

bench=${BENCH:-build/bench/bench}
ipcrun=${IPCRUN:-build/ipcrun}
rounds=5
ms=100
json=0
list=0
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$(number "$1" "${2-}") || exit 2; shift ;;
	--ms) ms=$(number "$1" "${2-}") || exit 2; shift ;;
	--json) json=1 ;;
	--list | list) list=1 ;;
	-h | --help) usage; exit 0 ;;
	-*) usage >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done

[ -x "$bench" ] || complain "$bench is not there; run make first, or name it in BENCH"
if [ $list = 1 ]; then
	exec "$bench" list
fi
all=$("$bench" list | cut -f1)
for c in "$@"; do
	echo "$all" | grep -qxF -e "$c" || complain "no case $c; --list names them"
done
# shellcheck disable=SC2086 # one word a case
[ $# -gt 0 ] || set -- $all

# What gives the kernel's side a namespace of its own: root may, other users may in a user namespace on most machines.
alone=
for try in 'unshare -i' 'unshare -r -i'; do
	if $try true 2>/dev/null; then
		alone=$try
		break
	fi
done
sides='kernel ours'
if ! command -v "$ipcrun" >/dev/null; then
	echo "bench/run.sh: $ipcrun is not there (IPCRUN names it); only the kernel is measured" >&2
	sides=kernel
fi

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
"$bench" list >"$dir/names"

sample()	# case side
{
	case $2 in
	kernel) ns=$($alone "$bench" "$1" "$ms") ;;
	ours) ns=$("$ipcrun" --embedded "$bench" "$1" "$ms") ;;
	esac || {
		echo "bench/run.sh: $1 failed ($2, exit status $?)" >&2
		ns=failed
	}
	printf '%s\t%s\t%s\n' "$1" "$2" "$ns" >>"$dir/samples"
}

progress()
{
	if [ -t 2 ]; then
		printf '\r\033[K%s' "$1" >&2
	fi
}

round=1
while [ "$round" -le "$rounds" ]; do
	for c in "$@"; do
		progress "round $round of $rounds: $c"
		for side in $sides; do
			sample "$c" "$side"
		done
	done
	case $sides in
	'kernel ours') sides='ours kernel' ;;
	'ours kernel') sides='kernel ours' ;;
	esac
	round=$((round + 1))
done
progress ''

awk -F '\t' -v json=$json -v rounds="$rounds" -v ms="$ms" -v machine="$(uname -sr), $(nproc) processors" \
	-f "${0%/*}/report.awk" "$dir/names" "$dir/samples"
