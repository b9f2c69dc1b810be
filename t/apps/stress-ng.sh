#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# stress-ng's three stressors of System V IPC, all at once, with --verify: they check what they read, and try every
# command and many wrong arguments.
#
#	stress-ng.sh [MODE] ...	(see apps.sh)
#
# Environment: T_TIMES (1): so many times the usual number of operations.

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="stress-ng:stress-ng"
later=daemon-root
times=${T_TIMES:-1}
declare -A wanted=([shm-sysv]=$((20 * times)) [sem-sysv]=$((40000 * times)) [msg]=$((100000 * times)))

operations() {	# STRESSOR: how many it did
	awk -v s="$1" '$4 == s && $5 ~ /^[0-9]+$/ { print $5 }' said
}

app() {
	local s

	run stress-ng --shm-sysv 2 --shm-sysv-ops "${wanted[shm-sysv]}" --shm-sysv-bytes 2m \
		--sem-sysv 2 --sem-sysv-ops "${wanted[sem-sysv]}" --sem-sysv-procs 3 \
		--msg 2 --msg-ops "${wanted[msg]}" --verify --metrics --timeout 100 >said 2>&1
	is $? 0 "stress-ng ends well" || diag <said
	is "$(grep -c -E 'fail:|error:' said)" 0 "it has found no fault" || diag <said
	for s in shm-sysv sem-sysv msg; do
		[ "$(operations $s)" -ge "${wanted[$s]}" ] 2>/dev/null
		ok $? "$s: ${wanted[$s]} operations" || diag <said
		counted "$s $(operations $s)"
	done
}

apps_main "$@"
