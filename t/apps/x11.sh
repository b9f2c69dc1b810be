#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Xvfb, x11perf and MIT-SHM: a client makes a segment and tells the server its id; the server, no relative of it,
# attaches it. x11perf's pictures must come out as they do through the socket. Xvfb -shmem also keeps its screen in a
# segment, which xscreen.pl attaches by id, read-only: xwd must see what is in there. Then a client is killed.
#
#	x11.sh [MODE] ...	(see apps.sh)

# shellcheck disable=SC2317 # wait_until calls functions
# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="Xvfb:xvfb x11perf:x11-apps xwd:x11-apps stdbuf:coreutils perl:perl"
upper=$((600 * 4096))	# of a screenshot: below is x11perf's label, with the name of the test
pictures="shmput10 shmput100 shmput500 shmget10 shmget100 shmget500"

display_named() {
	grep -qx '[0-9][0-9]*' number || gone "$server"
}

server_start() {
	run Xvfb -displayfd 3 -screen 0 1024x768x24 -shmem -nolisten tcp 3>number >server 2>&1 &
	server=$!
	wait_until display_named && ! gone $server
	ok $? "the server starts, and uses shared memory for its screen" || { diag <server; return 1; }
	DISPLAY=:$(<number)
	screen=$(sed -n 's/^screen 0 shmid //p' server)
	export DISPLAY
}

step_perf() {
	local p tests=() reps

	for p in $pictures; do
		tests+=("-$p")
	done
	run x11perf -repeat 1 -reps 50 "${tests[@]}" >perf 2>&1
	is $? 0 "x11perf ends well" || diag <perf
	reps=$(awk '$2 == "reps" && / Shm/ { n += $1 } END { print n + 0 }' perf)
	is "$(grep -c ' reps .* Shm' perf)" "$(wc -w <<<"$pictures")" "each of its pictures was measured" || diag <perf
	counted "$reps pictures"
}

has_drawn() {
	grep -qs ' reps ' drawn || gone "$client"
}

# Two screenshots after each other are the same.
is_still() {	# NAME
	run xwd -root -silent >"$1.next" 2>said || return
	cmp -s "$1.next" "$1" && return
	mv "$1.next" "$1"
	return 1
}

# A client that has drawn, and sleeps as soon as the last of it is on the screen; its picture stays meanwhile. It is
# killed, which leaves its segment behind.
screenshot() {	# NAME
	run stdbuf -oL x11perf -repeat 2 -pause 1000 -reps 50 "-$1" >drawn 2>&1 &
	client=$!
	wait_until has_drawn && ! gone $client
	ok $? "$1: a client has drawn" || diag <drawn
	wait_until is_still "$1"
	ok $? "$1: xwd makes a screenshot" || diag <said
}

end_client() {
	kill -9 "$(child_named x11perf)"
	wait $client 2>/dev/null
}

child_named() {	# NAME: of the test's processes
	local pid

	for pid in $(started); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || echo "$pid"
	done
}

step_pictures() {
	screenshot putimage500
	end_client
	screenshot shmput500
	same shmput500 "the screenshot is the one of the first side"
	cmp -n $upper putimage500 shmput500 >said 2>&1
	ok $? "the picture in shared memory looks like the one through the socket" || diag <said
	counted "$(stat -c %s shmput500) bytes of screenshot"
	run perl "$here/xscreen.pl" "$screen" shmput500 >said 2>&1
	is $? 0 "the server's own segment, attached read-only, has the same pixels" || diag <said
	is "$(objects | wc -l)" 2 "there are two segments" || objects | diag
	end_client
	wait_until attached_by_nobody
	ok $? "when the client was killed, its segment has nobody attached" || objects | diag
}

segments() {	# id and nattch
	if [[ $mode != ipcrun* ]]; then
		table shm | awk '{ print $2, $7 }'
	else
		"$IPCCTL" -n "$namespace" ls shm | awk '$2 ~ /^0x/ { print $1, $6 }'
	fi
}

attached_by_nobody() {
	[ "$(segments | awk -v s="$screen" '$1 != s { print $2 }')" = 0 ]
}

step_end() {
	local id

	kill -TERM "$(child_named Xvfb)"
	wait $server
	is $? 0 "the server ends"
	is "$(segments | awk '{ print $2 }' | xargs)" "0 0" "what was not removed has nobody attached" || objects | diag
	for id in $(segments | awk '{ print $1 }'); do
		run ipcrm -m "$id"
		is $? 0 "ipcrm removes it"
	done
}

app() {
	server_start || return
	step_perf
	step_pictures
	step_end
}

apps_main "$@"
