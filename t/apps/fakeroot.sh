#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# fakeroot, System V variant: a preloaded library asks a daemon, faked, over two message queues, under a semaphore with
# SEM_UNDO. chown, chmod and tar of 5,000 files; then 60 clients are killed by kill -9 amid their calls, while another
# one goes on; and each time faked, told to end, removes its objects from the handler that interrupts its msgrcv.
#
#	fakeroot.sh [MODE] ...	(see apps.sh)
#	fakeroot.sh in-fakeroot own | kill			(what it runs inside)
#
# Environment: T_SEED (when the clients are killed).

# ---- inside ----

# Each file gets an owner, group and mode; tar must store them, and find show them.
own() {
	local i

	find tree -type f | sort >list
	for i in 0 1 2 3 4; do
		awk -v i=$i 'NR % 5 == i' list | xargs chown $((1000 + i)):$((2000 + i))
		awk -v i=$i 'NR % 5 == i' list | xargs chmod $((4700 + i))
	done
	chown -R 33:34 tree/0
	tar -cf tree.tar --sort=name --numeric-owner tree
	find tree -type f -printf '%U:%G %m %p\n' | sort -k 3 >seen
}

by_then() {	# COMMAND...: until it succeeds, within 30 seconds
	local end=$((SECONDS + 30))

	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "not within 30 s: $*" >&2; exit 1; }
		sleep 0.01
	done
}

# shellcheck disable=SC2317 # by_then calls it
rounds_above() {	# N
	[ "$(wc -l <rounds)" -gt "$1" ]
}

steady() {
	while [ ! -e enough ] && chown -R 5 tree/9; do
		echo
	done
}

# Kills as many clients as asked for, each somewhere in its half a million calls.
kill_clients() {	# N
	local i pid pause trees=()

	for ((i = 0; i < 100; i++)); do
		trees+=(tree)
	done
	steady >rounds &
	other=$!
	for ((i = 0; i < $1; i++)); do
		: >progress
		chown -Rv $((3000 + i)) "${trees[@]}" >progress 2>&1 &
		pid=$!
		by_then test -s progress
		for ((pause = RANDOM % 3000; pause > 0; pause--)); do :; done
		kill -9 $pid
		wait $pid 2>/dev/null
		echo $? >>statuses
	done
	by_then rounds_above $(($(wc -l <rounds) + 2))
	: >enough
	wait $other
	chown -R 4242 tree
	find tree -uid 4242 | wc -l >owned
}

if [ "${1-}" = in-fakeroot ]; then
	RANDOM=${T_SEED:-1}
	case $2 in
	own) own ;;
	kill) kill_clients "$3" ;;
	esac
	exit
fi

# ---- outside ----

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="fakeroot-sysv:fakeroot faked-sysv:fakeroot"
later=daemon-root
T_LIMIT=300	# thousands of round trips: seconds, on a busy machine minutes
files=5000
kills=60
export T_SEED=${T_SEED:-$RANDOM}

make_tree() {
	local d

	for d in 0 1 2 3 4 5 6 7 8 9; do
		mkdir -p tree/$d
		(cd tree/$d && seq $((files / 10)) | xargs touch -d @1000000000)
	done
	find tree -type d -exec touch -d @1000000000 {} +
}

inside() {	# STEP...
	run fakeroot-sysv -- bash "$script" in-fakeroot "$@" 2>said
	is $? 0 "fakeroot ends well: $1" || diag <said
	wait_until no_objects
	ok $? "its daemon has removed the objects: $1" || objects | diag
}

tally() {	# WORD: how many regular files of the archive have each value of ls's word
	tar -tvf tree.tar --numeric-owner | grep '^-' | awk -v w="$1" '{ print $w }' | sort | uniq -c |
		awk '{ print $1 }' | paste -sd' '
}

step_own() {
	inside own
	is "$(tally 2)" "900 900 900 900 900 500" "tar has $files files, with the six owners that were given"
	is "$(tally 1)" "1000 1000 1000 1000 1000" "and with the five modes"
	tar -tvf tree.tar --numeric-owner >listing
	same listing "the archive lists as it did on the first side"
	same seen "inside, find saw what it saw on the first side"
	is "$(find tree -user "$(id -u)" | wc -l)" $((files + 11)) "outside, nothing has changed"
	counted "$(grep -c '^-' listing) files"
}

step_kill() {
	inside kill $kills
	is "$(sort statuses | uniq -c | xargs)" "$kills 137" "$kills clients died amid their calls"
	is "$(<owned)" $((files + 11)) "after that, chown and find see every file right"
	counted "$(grep -c 137 statuses) killed (T_SEED=$T_SEED)"
}

app() {
	make_tree
	step_own
	step_kill
}

apps_main "$@"
