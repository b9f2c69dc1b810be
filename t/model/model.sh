#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Checks the model of the control areas' protocol (doc/protocol.md) with spin, and prints TAP. Each line of
# `variants` is a model with its definitions. `holds`: spin must search every state and find nothing; `ends`: the same,
# and no run may go on for ever; a `mutant` must be refuted by a violated assertion. A search that was cut short
# (depth, memory, time) fails either way.
#
#	model.sh		what make check runs
#	model.sh --all		also the lines marked +, many minutes
#	model.sh --trace WORD	a counterexample to the first mutant whose definitions have WORD, in words; the shortest
#				one, where memory allows to search breadth first
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
limit=${T_LIMIT:-300}	# seconds for one search; with --all 3600, where a loaded machine needs many minutes
jobs=${T_JOBS:-2}

# what | model | definitions | the promise
variants() {
	cat <<-'END'
	holds|publish|N=2 START=1 KILLS|2 threads and one unit, one killed at any step
	holds|publish|N=2 KILLS HOT|2 threads with a hot word, one killed at any step
	holds|publish|N=2 SIGNALS=1 SIGNALLED=1|2 threads, one interrupted at any step by a handler
	holds|publish|N=3 OPS=1 KILLS|3 threads, one killed at any step
	ends|publish|N=2 START=1 HOT|2 threads and one unit: no run goes on for ever
	holds|sleep|N=2 TIMEOUTS KILLS|2 sleepers with timeouts, one killed at any step
	holds|sleep|N=2 ROUNDS=2|2 sleepers that use their requests and descriptors again
	holds|sleep|N=2 COARSE TIMEOUTS SIGNALS|2 sleepers with timeouts, one interrupted at any step
	holds|sleep|N=3 COARSE|3 sleepers
	holds|sleep|N=3 COARSE=2 KILLS VICTIM=1|3 sleepers, one of them killed at any step
	ends|sleep|N=2 COARSE KILLS TIMEOUTS|2 sleepers, one killed: no run goes on for ever
	ends|sleep|N=3 COARSE=2 TIMEOUTS|3 sleepers with timeouts: no run goes on for ever
	+holds|publish|N=3 OPS=2|3 threads that use their descriptors again
	+holds|publish|N=3 OPS=1 KILLS HOT|3 threads with a hot word, one killed at any step
	+holds|publish|N=2 HOT SIGNALS=1 SIGNALLED=1|2 threads with a hot word, one interrupted at any step
	+holds|publish|N=2 SIGNALS=2 SIGNALLED=1|2 threads, one interrupted twice
	+holds|publish|N=2 SIGNALS=1 SIGNALLED=1 KILLS|2 threads, one interrupted, one killed
	+holds|sleep|N=2 ROUNDS=2 TIMEOUTS|2 sleepers with timeouts that use their requests again
	+holds|sleep|N=2 SIGNALS|2 sleepers, one interrupted at any step, every cell's tag modelled
	+holds|sleep|N=2 COARSE TIMEOUTS SIGNALS KILLS|2 sleepers, one interrupted, one killed
	+holds|sleep|N=3 COARSE TIMEOUTS|3 sleepers with timeouts
	+holds|sleep|N=3 COARSE=2 KILLS TIMEOUTS|3 sleepers with timeouts, one killed at any step
	+holds|sleep|N=3 COARSE KILLS|3 sleepers, one killed between any two cells written
	mutant|publish|N=2 M_TAG|without the tag, a late helper undoes what came after
	mutant|publish|N=3 M_TAG|without the tag, the same with 3 threads
	mutant|publish|N=2 M_RECHECK|without looking at op again, a late helper performs what nobody committed
	mutant|publish|N=3 M_RECHECK|without looking at op again, the same with 3 threads
	mutant|publish|N=2 HOT M_HOT|written apart from op, the hot word is overwritten by a late helper
	mutant|publish|N=2 SIGNALS=1 SIGNALLED=1 M_FINISH|a descriptor is rewritten while op names it
	mutant|publish|N=2 SIGNALS=1 SIGNALLED=1 M_BEGUN|a descriptor with the entries of two frames is committed
	mutant|publish|N=2 SIGNALS=1 SIGNALLED=1 M_VERIFY|a refusal is true of no state
	mutant|sleep|N=2 COARSE M_MORE|without more, nobody performs what has become possible
	mutant|sleep|N=3 COARSE M_CASCADE|without a look at more, a newcomer overtakes
	mutant|sleep|N=2 COARSE M_FUTEX|without comparing the futex word, a wake-up is lost
	mutant|sleep|N=3 COARSE=2 ROUNDS=2 M_WAKE|a sleeper takes a late wake-up for its own
	mutant|sleep|N=2 COARSE KILLS M_LOOK|without completing a dead thread's operation, a sleeper sleeps on
	mutant|sleep|N=2 COARSE SIGNALS M_SETTLE|left alone by the wrapper, a request is joined twice
	END
}

missing() {
	for tool in spin gcc; do
		command -v $tool >/dev/null || { echo "1..0 # SKIP $tool is not installed"; return 0; }
	done
	return 1
}

# build DIR MODEL DEFINITIONS CFLAGS...: DIR/pan
build() {
	local dir=$1 model=$2 definitions
	read -ra definitions <<<"$3"
	shift 3
	(cd "$dir" && spin "${definitions[@]/#/-D}" -a "$here/$model.pml" &&
		gcc -w -DNOREDUCE -DCOLLAPSE -DMEMLIM=1900 "$@" -o pan pan.c) >"$dir/build" 2>&1
}

# The verdict on what pan printed: empty if it is as it should be.
verdict() {	# WHAT STATUS FILE
	local errors
	errors=$(sed -n 's/^State-vector.*errors: \([0-9]*\)$/\1/p' "$3")
	if [ "$2" -ne 0 ]; then
		echo "pan ended with status $2"
	elif grep -qE 'max search depth too small|out of memory|reached -DMEMLIM|VECTORSZ' "$3"; then
		echo "the search was cut short"
	elif [ "$1" = mutant ]; then
		[ "${errors:-0}" -gt 0 ] && grep -q 'assertion violated' "$3" || echo "not refuted"
	elif [ "$errors" != 0 ] || grep -q 'Search not completed' "$3"; then
		echo "errors: ${errors:-none counted}"
	elif ! grep -q '^Full statespace search' "$3"; then
		echo "not a search of all states"
	fi
}

# One line of variants; prints the TAP line without its number.
one() {	# WHAT|MODEL|DEFINITIONS|PROMISE
	local what model definitions promise dir said args=() status flags=(-O1 -DSAFETY)
	IFS='|' read -r what model definitions promise <<<"$1"
	what=${what#+}
	case $what in
	ends) flags=(-O1 -DNP) args=(-l) ;;
	mutant) flags=(-O0 -DSAFETY) ;; # found soon
	esac
	dir=$(mktemp -d "$tmp/XXXXXX")
	if ! build "$dir" "$model" "$definitions" "${flags[@]}"; then
		said="spin or gcc: $(tail -1 "$dir/build")"
	else
		(cd "$dir" && timeout "$limit" ./pan -E -m200000 "${args[@]}") >"$dir/out" 2>&1
		status=$?
		said=$(verdict "$what" $status "$dir/out")
	fi
	[ -z "$said" ] && echo "ok $model: $promise" || echo "not ok $model: $promise"
	echo "#   $what $definitions:$(sed -n -e 's/ states, stored.*/ states/p' -e 's/^pan: elapsed time/ /p' \
		-e 's/\..*total actual memory.*/ MB/p' "$dir/out" 2>/dev/null | tr -s '\n ' ' ')"
	if [ -n "$said" ]; then
		echo "#   $said"
		grep -E 'pan:|error|depth|memory' "$dir/out" 2>/dev/null | head -5 | sed 's/^/#   /'
	fi
	rm -r "$dir"
}

trace() {	# WORD
	local what model definitions promise search words
	IFS='|' read -r what model definitions promise < <(variants | grep '^mutant' | grep -w -m1 -- "$1")
	[ -n "${model:-}" ] || { echo "model.sh: no mutant has $1" >&2; exit 2; }
	echo "$model, $definitions: $promise"
	read -ra words <<<"$definitions"
	for search in -DBFS -DSAFETY; do	# breadth first, where memory allows it
		build "$tmp" "$model" "$definitions" -DSAFETY $search || { cat "$tmp/build"; exit 1; }
		(cd "$tmp" && timeout "$limit" ./pan -E -m200000 >out 2>&1)
		[ -e "$tmp/$model.pml.trail" ] && break
	done
	(cd "$tmp" && spin "${words[@]/#/-D}" -k "$model.pml.trail" -t "$here/$model.pml") |
		sed -n 's/^ *\(thread\|handler\|spin: text of failed\)/\1/p'
}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/model.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' TERM INT
missing && exit 0
case ${1:-} in
--trace) trace "${2:?--trace needs a word}"; exit ;;
--all) limit=${T_LIMIT:-3600} && mapfile -t lines < <(variants) ;;
'') mapfile -t lines < <(variants | grep -v '^+') ;;
*) echo "model.sh: unknown option $1" >&2; exit 2 ;;
esac

# Two at a time; told in order.
echo "1..${#lines[@]}"
for ((i = 0; i < ${#lines[@]}; i++)); do
	while (($(jobs -rp | wc -l) >= jobs)); do
		wait -n
	done
	one "${lines[i]}" >"$tmp/said.$i" 2>&1 &
done
wait
failures=0
for ((i = 0; i < ${#lines[@]}; i++)); do
	sed -E "1s/^(not ok|ok) /\1 $((i + 1)) - /" "$tmp/said.$i"
	grep -q '^ok' "$tmp/said.$i" || failures=$((failures + 1))
done
exit $((failures > 0))
