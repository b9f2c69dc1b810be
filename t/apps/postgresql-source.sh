#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# PostgreSQL built from Debian's source package with PREFERRED_SEMAPHORES=SYSV: each backend sleeps and is woken by
# semop, where Debian's own has a futex. Then postgresql.sh does with it what it does with Debian's.
#
#	postgresql-source.sh [MODE] ...	(see apps.sh)
#
# Environment: PG_SOURCE (build/postgresql): where it is built, once. The source is that of Debian's release; it comes
# from Debian's server, by an apt-get that leaves the machine's own lists alone.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
at=$(realpath -m "${PG_SOURCE:-$top/build/postgresql}")
package=postgresql-15
log=$at/log

fail() {
	echo "1..1"
	echo "not ok 1 - PostgreSQL is built from source"
	echo "# $1; the log is $log"
	tail -n 5 "$log" | sed 's/^/# /'
	exit 1
}

apt() {
	apt-get -q -o Dir::State="$at/apt" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$at/apt" \
		-o Dir::Etc::sourcelist="$at/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o APT::Sandbox::User="$(id -un)" "$@"
}

fetch() {
	local codename keys=/usr/share/keyrings/debian-archive-keyring.gpg

	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -p "$at/apt/lists/partial" "$at/apt/archives/partial"
	echo "deb-src [signed-by=$keys] http://deb.debian.org/debian $codename main" >"$at/apt/sources.list"
	apt update && cd "$at" && apt source $package
}

build() {
	local source

	source=$(echo "$at"/postgresql-15-15.*/)
	cd "$source" || return 1
	./configure --prefix="$at/install" --without-readline --without-zlib CFLAGS=-O1 PREFERRED_SEMAPHORES=SYSV &&
		grep -q 'define USE_SYSV_SEMAPHORES 1' src/include/pg_config.h &&
		make -j"${JOBS:-2}" -C src/backend generated-headers || return 1
	for part in common port timezone interfaces/libpq fe_utils backend backend/utils/mb/conversion_procs \
		backend/snowball include pl/plpgsql/src bin/initdb bin/pg_ctl bin/psql bin/pgbench bin/scripts; do
		make -j"${JOBS:-2}" -C src/$part install || return 1
	done
}

if [ ! -x "$at/install/bin/postgres" ] || [ ! -e "$at/done" ]; then
	for tool in apt-get dpkg-source gcc make; do
		command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool here (Debian: t/deps.sh)"; exit 0; }
	done
	mkdir -p "$at"
	rm -rf "$at"/postgresql-15-15.*/
	(fetch) >"$log" 2>&1 || fail "the source of $package could not be had"
	(build) >>"$log" 2>&1 || fail "it could not be built"
	touch "$at/done"
fi

# Where an ordinary user can read it.
PG_BIN=$(mktemp -d /tmp/ipcd-pg-bin.XXXXXX) || exit 1
trap 'rm -rf "$PG_BIN"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$PG_BIN"
cp -R "$at/install/." "$PG_BIN/"
PG_BIN=$PG_BIN/bin PG_SEMAPHORES=sysv "$here/postgresql.sh" "$@"
