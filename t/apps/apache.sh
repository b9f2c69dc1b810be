#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Apache 2 with prefork, started by root, and `Mutex sysvsem`: root makes the semaphore sets and gives them to www-data
# by IPC_SET, and children that have changed their uid take them with SEM_UNDO: mpm-accept (two listeners) and
# rewrite-map (programs that all children ask over one pipe). Children are killed by kill -9 with either of them in
# their hands, and many more anywhere, and the server goes on; a graceful restart under load makes new sets in place of
# the old ones, and a stop leaves none.
#
#	apache.sh [MODE] ...	(see apps.sh)
#	apache.sh map DIR | same				(the programs of the RewriteMaps)
#
# Debian's APR has its shared memory (scoreboard, caches) from mmap and shm_open: only its mutexes are System V's.
# Environment: T_SEED (which children are killed).
#
# shellcheck disable=SC2317 # wait_until calls what it is given

# map: each key is its own answer. While there is a file `hold`, whoever asks waits, and gets no answer.
# same: always the same line of one byte; so who gets what a dead child has not taken is none the worse.
case ${1-} in
map)
	cd "$2" || exit
	while read -r key; do
		if [ -e hold ]; then
			echo "$key" >held
			while [ -e hold ]; do
				sleep 0.01
			done
		else
			echo "$key"
		fi
	done
	exit
	;;
same)
	while read -r key; do
		echo
	done
	exit
	;;
esac

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="apache2:apache2-bin ab:apache2-utils"
as_root=1
account=www-data
modules=/usr/lib/apache2/modules
requests=1000
chosen=4	# killed as holders of each mutex
random=12	# killed wherever they are
RANDOM=${T_SEED:=$RANDOM}

# ---- the server ----

free_port() {
	perl -MIO::Socket::INET -e \
		'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 1)->sockport'
}

configure() {
	local m

	mkdir web
	echo page | tee web/plain web/mapped >web/same
	port1=$(free_port) port2=$(free_port)
	for m in mpm_prefork authz_core rewrite unique_id; do
		echo "LoadModule ${m}_module $modules/mod_$m.so"
	done >apache2.conf
	cat >>apache2.conf <<-END
		ServerRoot $work
		ServerName localhost
		Listen 127.0.0.1:$port1
		Listen 127.0.0.1:$port2
		PidFile $work/pid
		User $account
		Group $(id -gn $account)
		Mutex sysvsem default
		ErrorLog $work/error
		LogFormat "%{UNIQUE_ID}e %{answer}e %P %>s %U" requests
		CustomLog $work/access requests
		StartServers 16
		MinSpareServers 8
		MaxSpareServers 20
		MaxRequestWorkers 20
		DocumentRoot $work/web
		RewriteEngine On
		RewriteMap map "prg:/bin/bash $script map $work"
		RewriteMap same "prg:/bin/bash $script same"
		RewriteRule ^/mapped - [E=answer:\${map:%{ENV:UNIQUE_ID}}]
		RewriteRule ^/same - [E=answer:\${same:key}]
	END
}

apache() {	# start | graceful | stop
	run apache2 -f "$work/apache2.conf" -k "$1" >said 2>&1
}

children() {	# those that serve
	# shellcheck disable=SC2009 # by parent and uid
	ps -o pid=,uid=,stat= --ppid "$server" | awk -v uid="$(id -u $account)" '$2 == uid && $3 !~ /^Z/ { print $1 }'
}

sixteen() {
	[ "$(children | wc -l)" = 16 ]
}

complaints() {	# what the server has to say that matters; AH00161 is the load
	grep -E ':(emerg|alert|crit|error)\]' error | grep -v AH00161
}

# ---- clients ----

ask() {	# TIMES PATH [PORT]: eight at once; 0 if each was answered as it should
	local said

	said=$(bounded ab -q -r -n "$1" -c $(($1 < 8 ? $1 : 8)) "http://127.0.0.1:${3:-$port1}$2" 2>&1)
	echo "$said"
	[ "$(outcome <<<"$said")" = "$1 0" ]
}

outcome() {	# of ab: completed, failed, and any with another status than 2xx
	sed -n 's/^Complete requests: *//p; s/^Failed requests: *//p; s/^Non-2xx responses: */refused: /p' | xargs
}

served() {	# PATH N: the log says so
	[ "$(grep -c " $1\$" access)" -ge "$2" ]
}

answers() {
	ask 1 /plain >asked
}

# ---- the semaphore sets ----

sets() {	# a line each, as /proc/sysvipc/sem has them: key, id, mode, semaphores, uid, gid, of the creator
	run tail -qn +2 /proc/sysvipc/sem
}

set_ids() {
	sets | awk '{ print $2 }' | sort -n | xargs
}

state() {	# ID: value, sleepers, pid of the last operation
	run ipcs -s -i "$1" | awk '$1 == "0" { print $2, $3, $5 }'
}

two_others() {	# IDS: two sets, and none of these
	local id new

	new=$(set_ids)
	for id in $new; do
		[[ " $1 " != *" $id "* ]] || return 1
	done
	[ "$(wc -w <<<"$new")" = 2 ]
}

# ---- steps ----

step_start() {
	configure
	apache start && wait_until answers
	ok $? "the server starts, and becomes a daemon" || { diag <said; diag <error; return 1; }
	server=$(<pid)
	join_private "$server"
	wait_until sixteen
	ok $? "16 children have become $account" || children | wc -l | diag
	is "$(sets | awk '{ print $3, $4, $5, $6, $7, $8 }' | sort | uniq -c | xargs)" \
		"2 600 1 $(id -u $account) $(id -g $account) 0 0" "it has two semaphore sets, made by root, $account's by IPC_SET"
}

# Two children in the map's program at once would read each other's answers.
step_load() {	# NAME
	local one two

	: >access
	ask $requests /mapped "$port1" >asked.1 &
	one=$!
	ask $requests /plain "$port2" >asked.2 &
	two=$!
	wait $one
	ok $? "$1: $requests requests that ask the map, none fails" || diag <asked.1
	wait $two
	ok $? "$1: $requests at the other port, none fails" || diag <asked.2
	wait_until served /mapped $requests
	is "$(awk '$5 == "/mapped" && $1 == $2' access | wc -l)" $requests "$1: each got its own answer of the map's" ||
		awk '$5 == "/mapped" && $1 != $2' access | head -n 5 | diag
	[ "$(awk '{ print $3 }' access | sort -u | wc -l)" -ge 3 ]
	ok $? "$1: by several children" || awk '{ print $3 }' access | sort | uniq -c | diag
	counted "$(wc -l <access) requests"
}

# A child waits for the map's answer with the mutex in its hands, another one for the mutex.
map_is_taken() {
	local id now

	for id in $(set_ids); do
		read -ra now <<<"$(state "$id")"
		[ "${now[0]} ${now[1]}" != "0 1" ] || { holder=${now[2]}; return 0; }
	done
	return 1
}

step_map() {
	local first second

	: >access
	: >hold
	ask 1 /mapped >asked.1 &
	first=$!
	wait_until test -s held
	ok $? "a child asks the map" || return 1
	ask 1 /mapped >asked.2 &
	second=$!
	wait_until map_is_taken
	ok $? "and has the mutex, for which another one waits" || { run ipcs -s | diag; return 1; }
	kill -9 "$holder"
	rm hold
	wait $second
	ok $? "its holder killed, the waiter gets the mutex, and is served" || diag <asked.2
	wait $first
	wait_until served /mapped 1
	is "$(awk '$5 == "/mapped" { print ($1 == $2) }' access)" 1 "with its own answer, and the dead one's client is not"
}

# Kills the one child that has the set, which cannot change as all are stopped.
# shellcheck disable=SC2086 # one word a child
holder_killed() {	# ID
	local all now

	all=$(children)
	kill -STOP $all
	wait_until all_stopped $all || return 1
	read -ra now <<<"$(state "$1")"
	if [ "${now[0]}" = 0 ] && [[ $'\n'$all$'\n' = *$'\n'"${now[2]}"$'\n'* ]]; then
		kill -9 "${now[2]}"
		dead="$dead ${now[2]}"
	fi
	kill -CONT $all
	[[ $dead = *" ${now[2]}" ]]
} 2>/dev/null

all_stopped() {	# PID...
	! ps -o stat= -p "$*" | grep -q '^[^TZ]'
}

enough_children() {	# so that one can be killed, and others go on
	[ "$(children | wc -l)" -ge 4 ]
}

kill_holders() {
	local id i n

	for id in $(set_ids); do
		n=0
		for ((i = 0; i < chosen; i++)); do
			wait_until enough_children && wait_until holder_killed "$id" && n=$((n + 1))
		done
		is $n $chosen "$n holders of set $id are killed"
	done
}

kill_any() {
	local i some

	for ((i = 0; i < random; i++)); do
		wait_until enough_children || return 1
		mapfile -t some < <(children)
		kill -9 "${some[RANDOM % ${#some[@]}]}"
		dead="$dead ?"
	done
}

kill_ipcd() {	# under load; its keeper starts another one
	local first

	[ "$mode" = private ] || return 0
	first=$(ipcds)
	# shellcheck disable=SC2086 # one, or what is wrong
	kill -9 $first && wait_until another_ipcd "$first"
	ok $? "the ipcd is killed, and another one is there"
}

ipcds() {
	pgrep -f -- "^ipcd --private --namespace-dir $memory "
}

another_ipcd() {	# PID
	local now

	now=$(ipcds) && [ "$now" != "$1" ]
}

step_kill() {
	local one two done_one done_two

	dead=''
	: >access
	ab -q -r -n 1000000 -c 8 "http://127.0.0.1:$port1/same" >load.1 2>&1 &
	one=$!
	ab -q -r -n 1000000 -c 8 "http://127.0.0.1:$port2/plain" >load.2 2>&1 &
	two=$!
	wait_until served /plain 100
	kill_holders
	kill_ipcd
	kill_any
	ok $? "$random children more are killed, anywhere (T_SEED=$T_SEED)"
	wait_until served /plain $(($(grep -c ' /plain$' access) + 100)) &&
		wait_until served /same $(($(grep -c ' /same$' access) + 100))
	ok $? "both loads go on"
	kill -INT $one $two	# then ab says what it has seen
	wait $one $two
	read -ra done_one <<<"$(outcome <load.1)"
	read -ra done_two <<<"$(outcome <load.2)"
	[ $((done_one[1] + done_two[1])) -le "$(wc -w <<<"$dead")" ]
	ok $? "no more requests failed than children were killed" || { diag <load.1; diag <load.2; }
	is "$(complaints)" "" "the server has nothing to complain of"
	counted "$(wc -w <<<"$dead") killed amid $((done_one[0] + done_two[0])) requests"
}

step_graceful() {
	local before loader

	before=$(set_ids)
	: >access
	ask $((3 * requests)) /plain >asked &
	loader=$!
	wait_until served /plain 100
	apache graceful
	ok $? "a graceful restart, under load" || diag <said
	wait $loader
	ok $? "no request fails" || diag <asked
	wait_until two_others "$before"
	ok $? "two new sets are there, and the old ones gone" || sets | diag
}

step_stop() {
	apache stop && wait_until gone "$server"
	ok $? "the server stops" || diag <said
	is "$(complaints)" "" "it had nothing to complain of"
}

app() {
	step_start || return
	step_load "at first"
	step_map || return
	step_kill
	step_load "after that"
	step_graceful
	step_load "restarted"
	step_stop
}

apps_main "$@"
