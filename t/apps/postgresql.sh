#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# PostgreSQL 15 as Debian ships it, with shared_memory_type=sysv and dynamic_shared_memory_type=sysv: initdb, pgbench,
# then kill -9 of the postmaster with a backend alive, which must keep every restart away until it is gone.
#
#	postgresql.sh [MODE] ...	(see apps.sh)
#
# Every command of the server side runs in the namespace. Clients of the socket need no IPC and run bare.
#
# Environment: PG_BIN (/usr/lib/postgresql/15/bin), PG_SEMAPHORES=sysv (it was built to use them: then it must).
#
# Rules: everything that is started has its working directory below $dir; that is how cleanup finds it, as PostgreSQL
# writes its titles over its environment.
#
# shellcheck disable=SC2317 # wait_until calls what it is given

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}
needs=$PG_BIN/postgres:postgresql-15
later=daemon
getent passwd postgres >/dev/null && account=postgres	# Debian's
clients=8
per_client=500
unset PGHOSTADDR PGPORT PGOPTIONS PGSERVICE PGDATA PGSSLMODE
export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres

# ---- processes ----

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

started() {
	pids_below "$dir"
}

state_is() {	# PID LETTER
	[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" = "$2" ]
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

# ---- the server ----

sql() {	# STATEMENT: on standard output, one row a line
	timeout "$T_WAIT" "$PG_BIN/psql" -X -A -t -q -c "$1"
}

ready_or_ended() {
	"$PG_BIN/pg_isready" -q || gone "$launcher"
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
	run "$PG_BIN/pg_ctl" stop -D "$data" -m fast -w -t "$T_WAIT" >"$dir/$mode.stop" 2>&1 || {
		diag <"$dir/$mode.stop"
		return 1
	}
	reap "$launcher"
}

# The server must refuse to start, and for the one reason.
server_refuses() {	# NAME
	local status want="pre-existing shared memory block .* is still in use"

	log=$dir/$mode.log.$((++starts))
	run "$PG_BIN/postgres" -D "$data" >"$log" 2>&1 </dev/null
	status=$?
	[ $status = 1 ] && grep -q "FATAL:  $want" "$log"
	ok $? "$1" || { echo "#   exit status $status"; diag <"$log"; }
}

# The namespace's segments as ipcs -m lists them: key, id, owner, mode, bytes, attached.
list_segments() {
	if [[ $mode != ipcrun* ]]; then
		run ipcs -m | grep '^0x'
	else
		"$IPCCTL" -n "$namespace" ls shm | awk '$2 ~ /^0x/ { print $2, $1, $3, $4, $5, $6 }'
	fi
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
	counted "$(sed -n 's/^tps = \([0-9]*\).*/\1/p' "$out") transactions/s"
}

# ---- the steps ----

step_initdb() {
	run "$PG_BIN/initdb" -D "$data" -U postgres -A trust --locale=C -E UTF8 --no-sync \
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
	if [[ $mode != ipcrun* ]]; then
		sets=$(table sem | awk '$4 == 17' | wc -l)
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
}

# Without ipcrun the filter leaves it nothing.
step_filter() {
	bounded "$dir/nosysv" "$PG_BIN/initdb" -D "$work/none" -A trust --locale=C --no-sync >"$dir/$mode.check" 2>&1
	[ $? = 1 ] && grep -q 'could not create shared memory segment: Function not implemented' "$dir/$mode.check"
	ok $? "under the filter alone, initdb finds no System V IPC" || diag <"$dir/$mode.check"
}

app() {
	data=$work/data
	starts=0
	[[ $mode != *-nosysv ]] || step_filter || return
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

apps_main "$@"
