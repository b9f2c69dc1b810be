#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# PostgreSQL 15 as Debian ships it, with shared_memory_type=sysv and dynamic_shared_memory_type=sysv: initdb, pgbench,
# then kill -9 of the postmaster with a backend alive, which must keep every restart away until it is gone.
#
#	postgresql.sh [native | ipcrun | ipcrun-nosysv] ...	(none named: all three)
#
# native: the kernel's calls. ipcrun: every command of the server side runs in one named namespace. ipcrun-nosysv: the
# same, and a seccomp filter answers ENOSYS to the twelve system calls. Clients of the socket need no IPC and run bare.
#
# Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), NOSYSV (a built nosysv; else it is compiled here),
# PG_BIN (/usr/lib/postgresql/15/bin), PG_SEMAPHORES=sysv (it was built to use them: then it must), T_KEEP=1 (keep the directory with the logs).
#
# Rules: everything that is started has its working directory below $dir; that is how cleanup finds it. As root the test
# goes on as an ordinary user, and where possible in an IPC namespace of its own, so that it meets nobody's objects.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
top=${T_TOP:-$(cd "$here/../.." && pwd)}
IPCRUN=${IPCRUN:-$top/build/ipcrun}
IPCCTL=${IPCCTL:-$top/build/ipcctl}
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
T_WAIT=30
clients=8
per_client=500
dir=${T_PG_DIR:-}
unset PGHOSTADDR PGPORT PGOPTIONS PGSERVICE PGDATA PGSSLMODE
export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres

# --- TAP ---

count=0
failed=0
mode=

ok() {	# STATUS NAME: passes if STATUS is 0
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $mode: $2"
	else
		echo "not ok $count - $mode: $2"
		failed=$((failed + 1))
	fi
	return "$1"
}

is() {	# GOT WANT NAME
	[ "$1" = "$2" ]
	ok $? "$3" || { echo "#   got '$1', want '$2'"; return 1; }
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
	sed 's/^/# /'
}

# --- processes ---

pids_below() {	# DIR: those whose working directory it is, or is below it; zombies have none
	local link pid

	for link in /proc/[0-9]*/cwd; do
		case $(readlink "$link" 2>/dev/null) in
		"$1" | "$1"/*)
			pid=${link#/proc/}
			pid=${pid%/cwd}
			[ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] || echo "$pid"
			;;
		esac
	done
}

wait_until() {	# COMMAND...: until it succeeds; 1 if it does not within T_WAIT seconds
	local end=$((SECONDS + T_WAIT))

	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

state_is() {	# PID LETTER
	[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" = "$2" ]
}

gone() {	# PID: nothing, or a zombie
	[ ! -e "/proc/$1" ] || state_is "$1" Z
}

all_gone() {	# PID...
	local pid

	for pid; do
		gone "$pid" || return 1
	done
}

reap() {	# PID of a child: its exit status, which it must reach in time
	{
		wait_until gone "$1" || return 99
		wait "$1"
	} 2>/dev/null	# bash's word that it was killed
}

kill_all() {
	local pids end=$((SECONDS + 10))

	while pids=$(pids_below "$dir"); [ -n "$pids" ] && [ $SECONDS -lt $end ]; do
		# shellcheck disable=SC2086
		kill -9 $pids 2>/dev/null
		sleep 0.05
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

# --- as an ordinary user ---

# Root: make the directory, and go on as another user in an IPC namespace of its own.
become_user() {
	local user=postgres uid gid apart=()

	id -u $user >/dev/null 2>&1 || user=nobody
	uid=$(id -u $user) gid=$(id -g $user)
	unshare -i true 2>/dev/null && apart=(unshare -i)
	prepare_directory "$@"
	as_user=(setpriv "--reuid=$uid" "--regid=$gid" --clear-groups)
	# A tree that the user cannot read is copied, the test with it.
	if ! "${as_user[@]}" test -r "$here/postgresql.sh" ||
		{ [ -x "$IPCRUN" ] && ! "${as_user[@]}" test -x "$IPCRUN"; }; then
		mkdir -p "$dir/tree/t/apps" "$dir/tree/build"
		cp "$here/postgresql.sh" "$dir/tree/t/apps/"
		[ ! -x "$IPCRUN" ] || cp -P "$IPCRUN" "$IPCCTL" "$(dirname "$IPCRUN")"/*.so* "$dir/tree/build/"
		here=$dir/tree/t/apps IPCRUN=$dir/tree/build/ipcrun IPCCTL=$dir/tree/build/ipcctl
	fi
	chown -R "$uid:$gid" "$dir"
	export T_TOP=$top T_PG_DIR=$dir IPCRUN IPCCTL NOSYSV HOME=$dir USER=$user LOGNAME=$user
	cd "$dir" || exit 1
	exec "${apart[@]}" "${as_user[@]}" /bin/bash "$here/postgresql.sh" "$@"
}

# Not root: the same by a user namespace, where the machine allows one.
become_apart() {
	prepare_directory "$@"
	export T_PG_DIR=$dir NOSYSV
	cd "$dir" || exit 1
	if unshare -U --map-current-user -i true 2>/dev/null; then
		exec unshare -U --map-current-user -i /bin/bash "$here/postgresql.sh" "$@"
	fi
	exec /bin/bash "$here/postgresql.sh" "$@"
}

prepare_directory() {	# MODE...
	dir=$(mktemp -d /tmp/ipcd-pg.XXXXXX) || exit 1
	trap 'rm -rf "$dir"' EXIT	# until the exec
	trap 'exit 1' HUP INT TERM
	if [[ " $* " = *" ipcrun-nosysv "* ]] && [ -x "$IPCRUN" ]; then
		if [ "${NOSYSV:-}" ]; then
			cp "$NOSYSV" "$dir/nosysv"
		else
			${CC:-cc} -std=gnu11 -O1 -D_GNU_SOURCE -o "$dir/nosysv" "$top/t/lib/nosysv.c" 2>&1 | diag
		fi
	fi
	NOSYSV=$dir/nosysv
	chmod 0755 "$dir"
}

# --- the server ---

namespace_remove() {
	[ "$mode" != native ] && [ -d "/dev/shm/ipcd-$(id -u)/$namespace" ] || return 0
	if "$IPCCTL" --help 2>&1 | grep -qw destroy; then
		"$IPCCTL" -n "$namespace" destroy
	else
		rm -rf "/dev/shm/ipcd-$(id -u)/$namespace"
	fi
}

sql() {	# STATEMENT: on standard output, one row a line
	timeout $T_WAIT "$PG_BIN/psql" -X -A -t -q -c "$1"
}

ready_or_ended() {
	"$PG_BIN/pg_isready" -q || gone "$launcher"
}

in_namespace() {	# COMMAND...
	timeout -k 5 $T_WAIT "${wrap[@]}" "$@"
}

# Starts the server below the script itself, so that the script reaps it; its log is a file of its own.
server_start() {
	log=$dir/$mode.log.$((++starts))
	"${wrap[@]}" "$PG_BIN/postgres" -D "$data" >"$log" 2>&1 </dev/null &
	launcher=$!
	if ! wait_until ready_or_ended || gone "$launcher"; then
		diag <"$log"
		return 1
	fi
	postmaster=$(head -n 1 "$data/postmaster.pid")
	segment=$(awk 'NR == 7 { print $2 }' "$data/postmaster.pid")
}

server_stop() {
	in_namespace "$PG_BIN/pg_ctl" stop -D "$data" -m fast -w -t $T_WAIT >"$dir/$mode.stop" 2>&1 || {
		diag <"$dir/$mode.stop"
		return 1
	}
	reap "$launcher"
}

# The server must refuse to start, and for the one reason.
server_refuses() {	# NAME
	local status want="pre-existing shared memory block .* is still in use"

	log=$dir/$mode.log.$((++starts))
	in_namespace "$PG_BIN/postgres" -D "$data" >"$log" 2>&1 </dev/null
	status=$?
	[ $status = 1 ] && grep -q "FATAL:  $want" "$log"
	ok $? "$1" || { echo "#   exit status $status"; diag <"$log"; }
}

# The namespace's segments as ipcs -m lists them: key, id, owner, mode, bytes, attached.
list_segments() {
	if [ "$mode" = native ]; then
		in_namespace ipcs -m | grep '^0x'
	else
		"$IPCCTL" -n "$namespace" ls shm | awk '$2 ~ /^0x/ { print $2, $1, $3, $4, $5, $6 }'
	fi
}

segments() {	# how many there are
	list_segments | grep -c .
}

attached() {	# the lock file's segment: nattch
	list_segments | awk -v id="$segment" '$1 ~ /^0x/ && $2 == id { print $6 }'
}

attached_many() {
	[ "$(attached)" -gt 1 ] 2>/dev/null
}

bench() {	# NAME OPTION...: as many transactions as were asked for, none of them failed
	local name=$1 want=$((clients * per_client)) out=$dir/$mode.bench got

	shift
	timeout -k 5 60 "$PG_BIN/pgbench" -c $clients -j 2 -t $per_client "$@" >"$out" 2>&1
	got=$(sed -n 's/^number of transactions actually processed: //p; s/^number of failed.*: //p' "$out" | xargs)
	is "$got" "$want/$want 0 (0.000%)" "$name: $clients clients, $want transactions" || diag <"$out"
	grep '^tps' "$out" | diag
}

# --- the steps ---

step_initdb() {
	in_namespace "$PG_BIN/initdb" -D "$data" -U postgres -A trust --locale=C -E UTF8 --no-sync \
		>"$dir/$mode.initdb" 2>&1
	ok $? "initdb" || { diag <"$dir/$mode.initdb"; return 1; }
	cat >>"$data/postgresql.conf" <<-END
		shared_memory_type = sysv
		dynamic_shared_memory_type = sysv
		listen_addresses = ''
		unix_socket_directories = '$dir'
		shared_buffers = 16MB
		fsync = off
		max_parallel_workers_per_gather = 2
	END
}

step_settings() {
	is "$(sql "select string_agg(setting, ' ') from pg_settings where name like '%shared_memory_type'")" \
		"sysv sysv" "it uses sysv for both"
}

# Sixteen backends a set, and a seventeenth semaphore that says whose set it is.
step_semaphores() {
	local sets

	[ "${PG_SEMAPHORES:-}" = sysv ] || return 0
	if [ "$mode" = native ]; then
		sets=$(tail -n +2 /proc/sysvipc/sem | awk '$4 == 17' | wc -l)
	else
		sets=$("$IPCCTL" -n "$namespace" ls sem | awk '$5 == 17' | wc -l)
	fi
	[ "$sets" -ge 7 ]
	ok $? "it has the semaphores of 100 connections: $sets sets"
}

# Where the server's memory comes from, told by the kernel: not by what the wrapper claims.
step_whose_memory() {
	local kernels

	grep -q '/SYSV' "/proc/$postmaster/maps"
	kernels=$?
	if [ "$mode" = native ]; then
		is $kernels 0 "the server maps segments of the kernel's"
		return
	fi
	is $kernels 1 "the server maps no segment of the kernel's"
	[ "$mode" = ipcrun-nosysv ] || return
	is "$(sed -n 's/^Seccomp:\s*//p' "/proc/$postmaster/status")" 2 "the server runs under the filter"
}

step_bench() {
	local workers sums

	timeout -k 5 60 "$PG_BIN/pgbench" -i -s 2 -q >"$dir/$mode.init" 2>&1
	ok $? "pgbench -i" || diag <"$dir/$mode.init"
	is "$(sql 'select count(*) from pgbench_accounts')" 200000 "200000 accounts were made"
	bench "pgbench -S" -S -n
	bench "pgbench TPC-B"
	sums=$(sql "select (select count(*) from pgbench_history),
		(select sum(delta) from pgbench_history) = (select sum(abalance) from pgbench_accounts),
		(select sum(delta) from pgbench_history) = (select sum(bbalance) from pgbench_branches),
		(select sum(delta) from pgbench_history) = (select sum(tbalance) from pgbench_tellers)")
	is "$sums" "$((clients * per_client))|t|t|t" "after TPC-B the balances agree with the history"

	# Parallel workers share a dynamic segment with their leader.
	workers=$(sql "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
		explain (analyze, costs off, timing off) select count(abalance) from pgbench_accounts" |
		sed -n 's/.*Workers Launched: //p')
	is "$workers" 2 "a parallel query ran with two workers on a dynamic segment"
}

backend_asleep() {
	backend=$(sql "select pid from pg_stat_activity where wait_event = 'PgSleep'" 2>/dev/null)
	[ -n "$backend" ]
}

# Kill -9 of the postmaster while a backend is stopped, so that it cannot notice; all the others leave.
crash() {
	local others

	timeout 120 "$PG_BIN/psql" -X -q -c 'select pg_sleep(1000)' >/dev/null 2>&1 &
	disown	# it ends with its backend
	wait_until backend_asleep
	ok $? "a backend works on a query" || return 1
	wait_until attached_many
	ok $? "the lock file's segment has many attached"
	others=$(pids_below "$data" | grep -vx "$backend")
	kill -STOP "$backend" && wait_until state_is "$backend" T && kill -9 "$postmaster"
	reap "$launcher"
	is $? 137 "the postmaster is dead by kill -9, and so its exit status says" || return 1
	# shellcheck disable=SC2086
	wait_until all_gone $others && [ "$(pids_below "$data")" = "$backend" ]
	ok $? "one backend outlived it, stopped" || { ps -f | diag; return 1; }
	is "$(attached)" 1 "one attached, and nobody dead"
	return 0
}

recovers() {	# NAME
	server_start
	ok $? "$1" || return 1
	grep -q 'automatic recovery in progress' "$log"
	ok $? "it recovered from the crash" || diag <"$log"
	is "$(sql 'select count(*) from pgbench_history')" $((clients * per_client)) "everything committed is there"
}

step_crash_with_lock_file() {
	crash || return 1
	server_refuses "a restart with the lock file is refused" || return 1
	server_refuses "and refused again" || return 1
	mv "$data/postmaster.pid" "$dir/kept.pid"
	server_refuses "a restart without the lock file is refused" || return 1
	mv "$dir/kept.pid" "$data/postmaster.pid"
	is "$(state_is "$backend" T; echo $?) $(attached)" "0 1" "the backend was left alone"
	kill -CONT "$backend"
	wait_until gone "$backend"
	ok $? "let run on, the backend leaves by itself"
	recovers "a restart with the old lock file comes up"
}

step_crash_without_lock_file() {
	crash || return 1
	rm "$data/postmaster.pid"
	server_refuses "second crash: a restart without the lock file is refused" || return 1
	kill -9 "$backend"
	wait_until gone "$backend"
	recovers "a restart without a lock file comes up once the backend was killed"
}

step_stop() {
	server_stop
	is $? 0 "the server stops, exit status 0"
	is "$(segments)" 0 "no segment is left" || list_segments | diag
	if [ "$mode" != native ]; then
		is "$(grep -c . /proc/sysvipc/shm)" "$kernel_had" "the kernel's own list of segments is as it was"
	fi
}

# The filter does what it says, or the third mode proves nothing.
step_filter() {
	"$NOSYSV" --check >"$dir/$mode.check" 2>&1
	ok $? "the filter turns all twelve calls into ENOSYS" || { diag <"$dir/$mode.check"; return 1; }
	timeout -k 5 $T_WAIT "$NOSYSV" "$PG_BIN/initdb" -D "$dir/$mode.none" -A trust --locale=C --no-sync \
		>"$dir/$mode.check" 2>&1
	[ $? = 1 ] && grep -q 'could not create shared memory segment: Function not implemented' "$dir/$mode.check"
	ok $? "under the filter alone, initdb finds no System V IPC" || diag <"$dir/$mode.check"
}

run_mode() {
	mode=$1
	data=$dir/$mode.data
	namespace=t-postgresql-$$
	starts=0
	kernel_had=$(grep -c . /proc/sysvipc/shm 2>/dev/null)
	wrap=()
	case $mode in
	native)
		[ -r /proc/sysvipc/shm ] || { skip "this machine has no System V IPC"; return; }
		;;
	ipcrun | ipcrun-nosysv)
		[ -x "$IPCRUN" ] || { skip "no $IPCRUN"; return; }
		wrap=("$IPCRUN" -n "$namespace" --)
		[ "$mode" = ipcrun ] || wrap=("$NOSYSV" "${wrap[@]}")
		;;
	esac
	[ "$mode" != ipcrun-nosysv ] || step_filter || return
	step_initdb || return
	server_start
	ok $? "the server starts" || return
	step_settings
	step_semaphores
	step_whose_memory
	step_bench
	step_crash_with_lock_file || return
	step_crash_without_lock_file || return
	step_stop
}

[ $# -gt 0 ] || set -- native ipcrun ipcrun-nosysv
for m; do
	case $m in
	native | ipcrun | ipcrun-nosysv) ;;
	*)
		echo "usage: postgresql.sh [native | ipcrun | ipcrun-nosysv] ..." >&2
		exit 2
		;;
	esac
done
[ -x "$PG_BIN/postgres" ] || skip_all "no PostgreSQL in $PG_BIN (Debian: apt-get install postgresql-15)"
if [ -z "$dir" ]; then
	[ "$(id -u)" = 0 ] && become_user "$@"
	become_apart "$@"
fi

trap cleanup EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1
for m; do
	began=$SECONDS
	run_mode "$m"
	kill_all
	namespace_remove
	echo "# $m: $((SECONDS - began)) s"
done
echo "1..$count"
[ $failed = 0 ]
