# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# The frame of the tests of real programs: sourced, not run. A test defines `app`, which runs the program once and
# judges it, names what it needs, and calls `apps_main "$@"`. That runs `app` in some of these modes (see mode_wrap):
#
#	native		the kernel's calls, in an IPC namespace of its own
#	ipcrun		each command is started on one named namespace, by "${wrap[@]}"
#	ipcrun-nosysv	the same, and a seccomp filter answers ENOSYS to the twelve system calls
#	daemon		the same again, with the filter, on an ipcd of the test's user
#	daemon-root	on an ipcd of root's, while the test goes on as another user
#	private		of tests that root runs: the program is started by plain ipcrun, whose namespace has an ipcd of its
#			own and goes with the program; the test says when others can take part in it (join_private)
#
# In each the outcome must be the same: `same` compares it with that of the first mode. After each, no object is left,
# and an ipcd has had nothing to complain of and stops when it is told to.
#
# Set by the test before apps_main: needs="PROGRAM:PACKAGE ...", as_root=1 if it must be root, account=NAME if the
# ordinary user is not to be nobody, and later="MODE ..." for those modes that are run only when they are named or
# T_ALL=1. For `app`: $mode, $work (its working directory, empty, one a mode), $dir (one for all modes), wrap, $memory
# (the directory that the namespace is in). Environment: IPCRUN, IPCCTL, IPCD, NOSYSV, T_KEEP=1 (keep the directory).
#
# Rules: what is started inherits T_APP_DIR, by which cleanup finds it. As root the test goes on as an ordinary user,
# but not with as_root, which is skipped where one is not root.
# No wait is unbounded: wait_until gives up after T_WAIT seconds, `bounded` ends a command after T_LIMIT.

set -u
export LC_ALL=C
unset IPCD_NAMESPACE IPCD_SOCKET IPCD_LOG IPCD_TIMEOUT FAKEROOTKEY DISPLAY XAUTHORITY
export IPCRUN_EMBEDDED=1	# where no namespace is named, root's too
script=$(realpath "$0")
# shellcheck disable=SC2034 # tests use it
here=$(dirname "$script")
top=${T_TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
IPCRUN=$(realpath -m "${IPCRUN:-$top/build/ipcrun}")
IPCCTL=$(realpath -m "${IPCCTL:-$top/build/ipcctl}")
IPCD=$(realpath -m "${IPCD:-$(dirname "$IPCRUN")/ipcd}")
T_WAIT=${T_WAIT:-30}
T_LIMIT=${T_LIMIT:-120}
dir=${T_APP_DIR:-}
needs='' as_root='' account=nobody later=''
modes="native ipcrun ipcrun-nosysv daemon daemon-root"
served='' daemon=''
count=0 failed=0 mode='' counts=''

# ---- TAP ----

ok() {	# STATUS NAME: passes if STATUS is 0
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $mode: $2"
	else
		echo "not ok $count - $mode: $2"
		echo "# failed: $mode: $2, in $0" >&2
		failed=$((failed + 1))
	fi
	return "$1"
}

is() {	# GOT WANT NAME
	[ "$1" = "$2" ]
	ok $? "$3" || { echo "#   got '$1', want '$2'" >&2; return 1; }
}

skip() {
	count=$((count + 1))
	echo "ok $count - $mode # SKIP $1"
}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

diag() {	# each line of standard input
	sed 's/^/# /' >&2
}

same() {	# FILE NAME: it is what the first mode had
	local first=$dir/outcome.${1##*/}

	[ -s "$1" ] || { ok 1 "$2"; echo "#   $1 is empty"; return 1; }
	[ -e "$first" ] || cp "$1" "$first"
	cmp -s "$1" "$first"
	ok $? "$2" || { diff -a "$first" "$1" | head -n 20 | diag; return 1; }
}

counted() {	# TEXT: for the line that ends the mode
	counts=${counts:+$counts, }$1
}

# ---- processes ----

started() {	# the processes that the test has started, this shell aside; those of another uid cannot be asked
	local file pid

	for file in $(grep -lszF "T_APP_DIR=$dir" /proc/[0-9]*/environ); do
		pid=${file#/proc/}
		pid=${pid%/environ}
		[ "$pid" = $$ ] || [ "$pid" = $BASHPID ] || [ ! -e "/proc/$pid" ] || echo "$pid"
	done
}

wait_until() {	# COMMAND...: until it succeeds; 1 if it does not within T_WAIT seconds
	local end=$((SECONDS + T_WAIT))

	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

gone() {	# PID: nothing, or a zombie
	[ ! -e "/proc/$1" ] || [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" = Z ]
}

bounded() {	# COMMAND...: ended after T_LIMIT seconds, with status 124
	timeout -k 5 "$T_LIMIT" "$@"
}

run() {	# COMMAND...: in this mode
	bounded "${wrap[@]}" "$@"
}

kill_all() {	# asked to end first, so that servers can remove their sockets; killed after two seconds
	local i pids

	for ((i = 0; i < 200; i++)); do
		pids=$(started)
		[ "$pids" ] || return 0
		# shellcheck disable=SC2086
		case $i in
		0) kill -TERM $pids ;;
		1??) kill -KILL $pids ;;
		esac 2>/dev/null
		sleep 0.02
	done
}

cleanup() {
	trap '' HUP INT TERM
	cd /
	kill_all
	[ -z "$mode" ] || namespace_remove
	if [ "${T_KEEP:-}" ]; then
		echo "# kept: $dir"
	else
		rm -rf "$dir"
	fi
}

# ---- the start: a directory, an ordinary user, an IPC namespace ----

prepare_directory() {	# MODE...
	dir=$(mktemp -d "${TMPDIR:-/tmp}/ipcd-app.XXXXXX") || exit 1
	trap 'rm -rf "$dir"' EXIT	# until the exec
	trap 'exit 1' HUP INT TERM
	if [ "${NOSYSV:-}" ]; then
		cp "$NOSYSV" "$dir/nosysv"
	else
		${CC:-cc} -std=gnu11 -O1 -D_GNU_SOURCE -o "$dir/nosysv" "$top/t/lib/nosysv.c" 2>&1 | diag
	fi
	export T_APP_DIR=$dir T_TOP=$top IPCRUN IPCCTL IPCD HOME=$dir
	chmod 0755 "$dir"
}

# A tree that the user cannot read is copied, the test with it.
copy_tree() {	# COMMAND...: what becomes the user
	"$@" test -r "$script" && { [ ! -x "$IPCRUN" ] || "$@" test -x "$IPCRUN"; } && return
	mkdir -p "$dir/tree/build" "$dir/tree/t"
	cp -R "$top/t/apps" "$dir/tree/t/"
	cp -R "$top/bench" "$dir/tree/"
	[ ! -x "$IPCRUN" ] || cp -P "$IPCRUN" "$IPCCTL" "$IPCD" "$(dirname "$IPCRUN")"/*.so* "$dir/tree/build/"
	script=$dir/tree/${script#"$top"/} IPCRUN=$dir/tree/build/ipcrun IPCCTL=$dir/tree/build/ipcctl
	IPCD=$dir/tree/build/ipcd
}

start_over() {	# MODE...: once more, as an ordinary user in an IPC namespace of its own
	local apart=() user=()

	prepare_directory "$@"
	if [ "$(id -u)" = 0 ]; then
		if [ ! "$as_root" ]; then
			user=(setpriv "--reuid=$(id -u "$account")" "--regid=$(id -g "$account")" --clear-groups)
			copy_tree "${user[@]}"
			chown -R "$(id -u "$account"):$(id -g "$account")" "$dir"
			[[ " $* " != *" daemon-root "* ]] || serve_as_root
		fi
		unshare -i true 2>/dev/null && apart=(unshare -i)
	elif unshare -U --map-current-user -i true 2>/dev/null; then
		apart=(unshare -U --map-current-user -i)
	fi
	T_APART=${apart[*]}	# alone in an IPC namespace: then the kernel's objects can be counted
	export T_APART
	cd "$dir" || exit 1
	exec "${apart[@]}" "${user[@]}" /bin/bash "$script" "$@"
}

# ---- daemons ----

place_for_daemon() {
	served=$(mktemp -d /dev/shm/ipcd-app.XXXXXX) && chmod 0755 "$served"
}

ipcd_run() {	# in $served; not one of the processes that cleanup finds
	cd /
	exec env -u T_APP_DIR "$IPCD" --foreground --namespace-dir "$served/ns" --socket "$served/socket" \
		--socket-mode 0666 --log-level warn >"$served/log" 2>&1 </dev/null
}

# Before root is given up: it is stopped when the test asks for it, or is gone.
serve_as_root() {
	place_for_daemon || return
	export T_ROOT_SERVED=$served
	(
		trap '' HUP INT TERM
		( trap - HUP INT TERM; ipcd_run ) &
		until [ -e "$dir/stop" ] || [ ! -d "/proc/$$" ]; do
			sleep 0.1
		done
		kill -TERM $!
		wait $!
		echo $? >"$served/status"
		while [ -d "/proc/$$" ]; do
			sleep 0.1
		done
		rm -rf "$served"
	) >/dev/null 2>&1 &
}

daemon_start() {
	daemon=
	if [ "$mode" = daemon-root ]; then
		served=$T_ROOT_SERVED
	else
		place_for_daemon || return
		ipcd_run &
		daemon=$!
	fi
	wait_until test -S "$served/socket"
	ok $? "ipcd serves" || { diag <"$served/log"; return 1; }
}

daemon_stop() {	# its exit status
	if [ "$daemon" ]; then
		kill -TERM "$daemon"
		wait_until gone "$daemon" || kill -KILL "$daemon"
		wait "$daemon"
	else
		: >"$dir/stop"
		wait_until test -s "$served/status" && return "$(<"$served/status")"
	fi
}

daemon_end() {
	daemon_stop
	is $? 0 "ipcd stops, exit status 0"
	is "$(<"$served/log")" "" "ipcd had nothing to complain of"
	[ ! "$daemon" ] || rm -rf "$served"
	served=
}

# ---- the modes ----

namespace_remove() {	# whatever state it is in
	case $mode in
	ipcrun* | private) [ ! -d "$memory" ] || "$IPCCTL" -d "$memory" destroy ;;
	daemon) [ ! "$served" ] || { kill -KILL "$daemon"; wait "$daemon"; rm -rf "$served"; } 2>/dev/null ;;
	esac
}

table() {	# KIND: the lines of /proc/sysvipc/KIND
	"${wrap[@]}" tail -n +2 "/proc/sysvipc/$1"
}

objects() {	# this mode's objects, one a line
	if [[ $mode != ipcrun* && $mode != private ]]; then
		table shm && table sem && table msg
	elif [ -d "$memory" ]; then
		"$IPCCTL" -d "$memory" ls | grep 0x
	fi
}

no_objects() {
	[ -z "$(objects)" ]
}

# The filter does what it says, or the third mode proves nothing.
filter_works() {
	bounded "$dir/nosysv" --check >"$dir/check" 2>&1
	ok $? "the filter turns all twelve calls into ENOSYS" || { diag <"$dir/check"; return 1; }
}

# The ids that the kernel gives now, one a kind of object; it gives them in turn.
kernel_ids() {
	local option

	for option in '-M 1' '-S 1' -Q; do
		# shellcheck disable=SC2086
		ipcmk $option | awk '{ print $NF }'
	done | xargs
	ipcrm --all
}

kernel_unused() {	# IDS: what kernel_ids gave before
	is "$(kernel_ids)" "$(awk '{ print $1 + 1, $2 + 1, $3 + 1 }' <<<"$1")" "the kernel was asked for no object"
}

mode_wrap() {	# what a command is started by: each of $modes is a line here
	memory=/dev/shm/ipcd-$(id -u)/$namespace
	case $mode in
	native) wrap=() ;;
	ipcrun) wrap=("$IPCRUN" -n "$namespace" --) ;;
	ipcrun-nosysv) wrap=("$dir/nosysv" "$IPCRUN" -n "$namespace" --) ;;
	daemon*) wrap=("$dir/nosysv" "$IPCRUN" "--daemon=$served/socket" --) memory=$served ;;
	private) wrap=(env -u IPCRUN_EMBEDDED "$IPCRUN" --) memory=/none ;;
	esac
}

join_private() {	# PID: from now on commands are on the namespace that this process has
	[ "$mode" = private ] || return 0
	memory=$(tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^IPCD_NAMESPACE=//p')
	wrap=("$IPCRUN" -d "$memory" --)
	[ -S "/run/ipcrun-${memory##*/private-}/socket" ]
	ok $? "it has an ipcd of its own"
}

private_is_gone() {
	[ ! -e "$memory" ] && [ ! -e "/run/ipcrun-${memory##*/private-}" ] && [ -z "$(pgrep -f -- "$memory")" ]
}

enter_mode() {	# 1 if there is nothing to run
	counts=''
	namespace=t-${script##*/}-$$
	work=$dir/$mode
	case $mode in
	native) [ -r /proc/sysvipc/shm ] || { skip "this machine has no System V IPC"; return 1; } ;;
	daemon-root) [ "${T_ROOT_SERVED:-}" ] || { skip "a daemon of root's and a test of another user need root"; return 1; } ;;
	*) [ -x "$IPCRUN" ] || { skip "no $IPCRUN"; return 1; } ;;
	esac
	[[ $mode != *-nosysv && $mode != daemon* ]] || filter_works || return 1
	[[ $mode != daemon* ]] || daemon_start || return 1
	mode_wrap
	mkdir "$work" && cd "$work" || exit 1
	[ "$mode" = native ] || [ ! "${T_APART:-}" ] || ids_before=$(kernel_ids)
}

leave_mode() {
	wait_until no_objects
	ok $? "no object is left" || objects | diag
	if [ "$mode" = private ]; then
		wait_until private_is_gone
		ok $? "nor namespace, socket and ipcd" || pgrep -af -- "$memory" | diag
	fi
	[ "$mode" = native ] || [ ! "${T_APART:-}" ] || kernel_unused "$ids_before"
	kill_all
	[[ $mode != daemon* ]] || daemon_end
	namespace_remove
	cd "$dir" || exit 1
	rm -rf "$work"
}

need() {
	local pair

	for pair in $needs; do
		command -v "${pair%:*}" >/dev/null ||
			skip_all "no ${pair%:*} here (Debian: apt-get install ${pair#*:}, or t/deps.sh)"
	done
}

usual_modes() {
	local m

	for m in $modes; do
		[[ " $later " = *" $m "* && ! ${T_ALL:-} ]] || echo "$m"
	done
}

apps_main() {	# [MODE...]
	local began

	PATH=$PATH:/usr/sbin:/sbin
	[ ! "$as_root" ] || modes="${modes% daemon-root} private"	# daemon-root would be the mode before it
	# shellcheck disable=SC2046 # one word a mode
	[ $# -gt 0 ] || set -- $(usual_modes)
	for mode; do
		[[ " $modes " = *" $mode "* ]] || {
			echo "usage: ${0##*/} [${modes// / | }] ..." >&2
			exit 2
		}
	done
	[ ! "$as_root" ] || [ "$(id -u)" = 0 ] || skip_all "it must be run by root"
	need
	mode=
	[ "$dir" ] || start_over "$@"
	trap cleanup EXIT
	trap 'exit 1' HUP INT TERM
	cd "$dir" || exit 1
	for mode; do
		began=$SECONDS
		enter_mode || continue
		app
		leave_mode
		echo "# $mode: $counts; $((SECONDS - began)) s"
	done
	echo "1..$count"
	[ $failed = 0 ]
	exit
}
