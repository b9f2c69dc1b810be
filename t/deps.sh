#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# t/deps.sh [demo | check]: what `make demo` or `make check` (the default) needs of Debian's packages. As root it
# installs what is missing; as another user it prints the line that does, and fails. With nothing missing it is silent,
# and asks no server. Where there is no apt-get it names the packages and leaves the rest to the reader.

demo='gcc libc6-dev make libsqlite3-dev perl-base util-linux'
apps='apache2-bin apache2-utils buffer fakeroot perl php-cli postgresql-15 python3 python3-sysv-ipc stress-ng x11-apps xvfb'
packaging='bash-completion debhelper dpkg-dev lintian pkg-config zsh'
source='bzip2 dpkg-dev patch xz-utils'
check="$demo $apps $packaging $source clang libcap2-bin libclang-rt-14-dev mandoc procps python3-prometheus-client spin strace systemd"

case ${1-check} in
demo) wanted=$demo ;;
check) wanted=$check ;;
*)
	echo "usage: t/deps.sh [demo | check]" >&2
	exit 2
	;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "t/deps.sh: no apt-get here; what is needed, by Debian's names: $wanted" >&2
	exit 0
fi

missing=
for package in $wanted; do
	dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
		missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	line="$(cd "$(dirname "$0")" && pwd)/deps.sh ${1-check}"
	echo "t/deps.sh: missing:$missing" >&2
	if command -v sudo >/dev/null; then
		echo "install with: sudo $line" >&2
	else
		echo "install with: su -c '$line'" >&2
	fi
	exit 1
fi

# Only PostgreSQL's programs are wanted: its packages shall not start a server.
no_server=/etc/postgresql-common/createcluster.d/ipcd-tests.conf
unwanted=
if [ ! -e /etc/postgresql-common/createcluster.conf ] && echo "$missing" | grep -q postgresql; then
	unwanted=$no_server
	mkdir -p "${no_server%/*}" && echo 'create_main_cluster = false' >"$no_server" || exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word a package
apt-get -q update &&
	apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
status=$?
[ -z "$unwanted" ] || rm -f "$unwanted"
[ $status = 0 ] || echo "t/deps.sh: apt-get could not install:$missing" >&2
exit $status
