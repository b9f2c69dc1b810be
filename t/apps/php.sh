#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# PHP loads its extensions with RTLD_DEEPBIND, so that they bind past a preloaded library. sysv.php uses sysvshm,
# sysvsem, sysvmsg and shmop, and writes down what they gave; then a web server with four workers keeps opcache in
# System V memory, which it makes before it forks: each worker must find what any other has compiled.
#
#	php.sh [MODE] ...	(see apps.sh)

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="php:php-cli"
workers=4
requests=400

step_extensions() {
	run php "$here/sysv.php" >results 2>said
	is $? 0 "the script ends well" || diag <said
	is "$(tail -n 1 results)" "end" "and comes to its end" || tail results | diag
	is "$(<said)" "" "and has nothing to complain of"
	same results "every call gave what it gave on the first side"
	counted "$(grep -c ' = ' results) results"
}

ask() {	# TIMES: the page, from a client that has nothing to do with it
	bounded php -n "$here/web.php" "$port" "$1"
}

# shellcheck disable=SC2317 # wait_until calls it
answers() {
	ask 1 >first 2>said || gone "$server"
}

free_port() {
	# shellcheck disable=SC2016
	php -nr '$s = stream_socket_server("tcp://127.0.0.1:0"); echo explode(":", stream_socket_get_name($s, 0))[1];'
}

server_start() {
	local i

	mkdir web
	cp "$here/opcache.php" web/index.php
	for i in 1 2 3 4 5 6 7 8; do
		echo "<?php return $((i * 1000));" >web/part$i.inc
	done
	port=$(free_port)
	PHP_CLI_SERVER_WORKERS=$workers run php -d opcache.enable_cli=1 -d opcache.preferred_memory_model=shm \
		-d opcache.memory_consumption=64 -d opcache.validate_timestamps=0 -d opcache.file_update_protection=0 \
		-S "127.0.0.1:$port" -t web web/index.php >server 2>&1 &
	server=$!
	wait_until answers && ! gone "$server"
	ok $? "the web server starts" || { diag <server; diag <said; return 1; }
}

field() {	# NAME: of all answers
	sed "s/.*\"$1\":\([0-9]*\).*/\1/" answers
}

# Where a worker's memory comes from, told by the kernel.
step_whose_memory() {
	local worker where=/SYSV

	worker=$(field pid | tail -n 1)
	[ "$mode" = native ] || where=$memory/
	grep -q "$where" "/proc/$worker/maps"
	ok $? "the workers have the memory mapped (rw-s of $where)" || grep rw-s "/proc/$worker/maps" | diag
}

step_opcache() {
	local served

	server_start || return
	ask $requests >answers 2>said
	ok $? "$requests requests are answered" || diag <said
	is "$(field sum | sort | uniq -c | xargs)" "$requests 36000" "each with the right sum"
	served=$(field pid | sort -u | wc -l)
	[ "$served" -ge $workers ]	# the first process answers too
	ok $? "by $workers workers or more" || field pid | sort | uniq -c | diag
	is "$(field compiled | sort -n | tail -n 1) $(field scripts | tail -n 1)" "9 9" \
		"the nine files were compiled once, for all of them" || tail -n 3 answers | diag
	# Workers count without a lock, and lose some; one that had it all for itself would see a quarter.
	[ "$(field found | sort -n | tail -n 1)" -ge $((9 * requests / 2)) ]
	ok $? "and a worker sees what all have found there" || tail -n 3 answers | diag
	step_whose_memory
	counted "$(wc -l <answers) requests, $(field found | sort -n | tail -n 1) hits"
	{
		kill_all
		wait $server
	} 2>/dev/null	# bash's word that it was killed
}

app() {
	step_extensions
	step_opcache
}

apps_main "$@"
