# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# TAP for tests that are shell scripts: sourced, not run. Names are the promises; what was got and what was wanted is
# printed, to stderr, when they differ. No wait is unbounded: `soon` gives up, and the whole script is ended after
# T_LIMIT seconds.

export LC_ALL=C
unset IPCD_NAMESPACE IPCD_SOCKET IPCD_LOG IPCD_TIMEOUT
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
IPCRUN=$(realpath -m "${IPCRUN:-$top/build/ipcrun}")
IPCCTL=$(realpath -m "${IPCCTL:-$top/build/ipcctl}")
export IPCRUN IPCCTL
export IPCRUN_EMBEDDED=1	# root's too: t/ours/ipcrun_root.sh has the other one
base=/dev/shm/ipcd-$(id -u)
tests=0 failures=0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/t.XXXXXX")

[ -x "$IPCRUN" ] && [ -x "$IPCCTL" ] || { echo "Bail out! no $IPCRUN or $IPCCTL"; exit 1; }

# The watchdog: a process that ends this one.
( exec >/dev/null 2>&1 </dev/null; sleep "${T_LIMIT:-300}" & trap 'kill $!' TERM; wait $! && kill -TERM $$ ) &
watchdog=$!

at_exit() {	# a script may define its own
	:
}
trap 'at_exit; kill $watchdog 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'echo "# $0: not done in ${T_LIMIT:-300} s" >&2; exit 1' TERM

report() {	# STATUS NAME
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
	else
		failures=$((failures + 1))
		echo "not ok $tests - $2"
		echo "# failed: $2, in $0" >&2
	fi
	return "$1"
}

note() {
	sed 's/^/#   /' <<<"$1" >&2
}

check() {	# NAME COMMAND...: it succeeds
	local name=$1 said
	shift
	said=$("$@" 2>&1)
	report $? "$name" || note "$* said: $said"
}

is() {	# NAME GOT WANTED
	[ "$2" = "$3" ]
	report $? "$1" || note "got:    $2
wanted: $3"
}

like() {	# NAME GOT REGEX: all of it matches
	[[ $2 =~ $3 ]]
	report $? "$1" || note "got:    $2
wanted: $3"
}

unlike() {	# NAME GOT REGEX
	[[ ! $2 =~ $3 ]]
	report $? "$1" || note "got:      $2
unwanted: $3"
}

status() {	# NAME WANTED COMMAND...: exit status; its stderr stays in $said
	local name=$1 wanted=$2 got
	shift 2
	said=$("$@" 2>&1 >/dev/null)
	got=$?
	[ $got = "$wanted" ]
	report $? "$name" || note "status $got, wanted $wanted; said: $said"
}

one_line() {	# NAME STATUS REGEX PROGRAM...: it fails so, and says one line, which begins with $says
	local name=$1 wanted=$2 regex=$3
	shift 3
	status "$name: status $wanted" "$wanted" timeout -k 1 60 "$@"
	like "... and one line that says why" "$said" "^${says:-}[^
]*${regex}[^
]*\$"
}

skip() {	# NAME REASON
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

soon() {	# COMMAND...: until it succeeds
	local i
	for ((i = 0; i < 400; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	return 1
}

not() {
	! "$@"
}

ended() {	# PID: gone, or a zombie
	local state
	state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
	[ -z "$state" ] || [ "${state:0:1}" = Z ]
}

done_testing() {
	echo "1..$tests"
	exit $((failures > 0))
}

# End processes that this script has started, at its exit: those that are still its children. Numbers of others that have
# ended may be somebody else's by now.
kill_own() {	# PID...
	local pid
	for pid in "$@"; do
		[ "$(ps -o ppid= -p "$pid" 2>/dev/null | tr -d ' ')" != "$$" ] || kill -KILL "$pid" 2>/dev/null
	done
}
