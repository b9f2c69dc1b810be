#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The Debian packages: built from a copy of what is tracked, looked over by lintian, installed by dpkg into a directory
# of their own (its own list of packages, nothing of the machine's is changed), used from there, and removed again.
# With KEEP=DIRECTORY the packages and the build's log are left there.
# Environment: IPCRUN (build/ipcrun), for the test programs beside it.
# shellcheck disable=SC2154,SC2034

T_LIMIT=${T_LIMIT:-900} # half a minute of computing, on a machine that may be busy
. "$(dirname "$0")/../lib/tap.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS CC
root=$tmp/root lib=usr/lib/$(gcc -print-multiarch) program=$(dirname "$IPCRUN")/t/std/sem_ops
as_root=() # dpkg gives its files to root
[ "$(id -u)" = 0 ] || as_root=(env "PATH=$PATH:/usr/sbin:/sbin" fakeroot)
at_exit() {
	[ -z "${KEEP-}" ] || { mkdir -p "$KEEP" && cp "$tmp"/*.deb "$tmp"/*.changes "$tmp/log" "$KEEP"; }
}
for needed in dpkg-buildpackage dh fakeroot lintian pkg-config; do
	command -v $needed >/dev/null || { echo "Bail out! no $needed here; t/deps.sh check installs it"; exit 1; }
done
[ -x "$program" ] || { echo "Bail out! no $program; make build-tests builds it"; exit 1; }

# ---- built ----

mkdir "$tmp/ipcd"
(cd "$top" && git ls-files -z | xargs -0 cp --parents -t "$tmp/ipcd")
(cd "$tmp/ipcd" && DEB_BUILD_OPTIONS="parallel=2 noautodbgsym" dpkg-buildpackage -us -uc -b) >"$tmp/log" 2>&1 </dev/null
report $? "dpkg-buildpackage builds the packages from what is tracked" ||
	{ note "$(tail -n 40 "$tmp/log")"; done_testing; }
is "... without a warning" "$(grep -i 'warning: ' "$tmp/log")" ""
version=$(dpkg-parsechangelog -l "$top/debian/changelog" -S Version)
is "the packages are these" "$(cd "$tmp" && printf '%s\n' ./*.deb | grep -v dbgsym)" "./ipcd-tools_${version}_amd64.deb
./libipc-dev_${version}_amd64.deb
./libipc0_${version}_amd64.deb"
is "lintian finds neither errors nor warnings" \
	"$(lintian --fail-on none --allow-root -L '>=warning' "$tmp"/*.changes 2>&1 | grep -v '^N:')" ""

field() {	# PACKAGE FIELD
	dpkg-deb -f "$tmp/$1_${version}_amd64.deb" "$2"
}
like "libipc0 depends on libc and SQLite, with versions" "$(field libipc0 Depends)" \
	'^libc6 \(>= [0-9.]+\), libsqlite3-0 \(>= [0-9.]+\)$'
like "ipcd-tools says which SQLite is inside" "$(field ipcd-tools Built-Using)" '^sqlite3 \(= 3\.[^ ]+\)$'
is "libipc-dev depends on this libipc0, and on what linking the archive needs" "$(field libipc-dev Depends)" \
	"libipc0 (= $version), libsqlite3-dev"

# ---- installed ----

fresh_root() {
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/log"
	: >"$root/var/lib/dpkg/status"
}
in_root() {	# DPKG'S ARGUMENTS
	"${as_root[@]}" dpkg --root="$root" --force-depends --log=/dev/null "$@"
}
files() {
	(cd "$root" && find . ! -type d ! -path './var/*' | LC_ALL=C sort)
}
fresh_root
check "dpkg installs them side by side" in_root -i "$tmp/ipcd-tools_${version}_amd64.deb" \
	"$tmp/libipc-dev_${version}_amd64.deb" "$tmp/libipc0_${version}_amd64.deb"
for package in ipcd-tools libipc0 libipc-dev; do
	like "$package has no script that runs at its installation" \
		"$(dpkg-query --admindir="$root/var/lib/dpkg" --control-list $package | tr '\n' ' ')" \
		'^((md5sums|shlibs|symbols|triggers) )+$'
done
is "what lies outside of doc/ is this" "$(files | grep -v '^./usr/share/\(doc\|lintian\)/')" "./lib/systemd/system/ipcd.service
./lib/systemd/system/ipcd.socket
./usr/bin/ipcctl
./usr/bin/ipcd
./usr/bin/ipcrun
./usr/include/libipc.h
./usr/lib/systemd/user/ipcd.service
./usr/lib/systemd/user/ipcd.socket
./$lib/libipc-sysv.so
./$lib/libipc.a
./$lib/libipc.so
./$lib/libipc.so.0
./$lib/pkgconfig/libipc.pc
./usr/share/bash-completion/completions/ipcctl
./usr/share/bash-completion/completions/ipcrun
./usr/share/man/man1/ipcctl.1.gz
./usr/share/man/man1/ipcrun.1.gz
./usr/share/man/man3/ipc_open.3.gz
./usr/share/man/man3/ipc_serve.3.gz
./usr/share/man/man3/libipc.3.gz
./usr/share/man/man7/libipc-sysv.7.gz
./usr/share/man/man8/ipcd.8.gz
./usr/share/zsh/vendor-completions/_ipcrun"
for package in ipcd-tools libipc0 libipc-dev; do
	[ -s "$root/usr/share/doc/$package/copyright" ] && [ -s "$root/usr/share/doc/$package/changelog.gz" ]
	report $? "$package has its copyright and changelog"
done

# ---- used ----

is "ipcrun of the package preloads the package's library" \
	"$("$root/usr/bin/ipcrun" printenv LD_PRELOAD)" "$root/$lib/libipc-sysv.so"
said=$("$root/usr/bin/ipcrun" "$program" 2>&1)
report $? "a test of the standard calls passes under it" || note "$said"
is "... and its ipcctl sees what a program made" \
	"$("$root/usr/bin/ipcrun" sh -c 'ipcmk -M 12345 >/dev/null && "$1" ls shm' sh "$root/usr/bin/ipcctl" |
		grep -cw 12345)" 1
is "version of tools, library and package are one" "$("$root/usr/bin/ipcrun" --version; "$root/usr/bin/ipcctl" --version
	PKG_CONFIG_LIBDIR=$root/$lib/pkgconfig pkg-config --modversion libipc 2>&1)" "ipcrun $version
ipcctl $version
$version"

flags() {	# PKG-CONFIG'S ARGUMENTS
	PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/$lib/pkgconfig:/$lib/pkgconfig pkg-config "$@" libipc
}
examples=$root/usr/share/doc/libipc-dev/examples
# shellcheck disable=SC2046 # words
check "the example of libipc-dev compiles with pkg-config's flags" \
	gcc -D_GNU_SOURCE -Wall -Werror -o "$tmp/embed" "$examples/embed.c" $(flags --cflags --libs)
check "... and passes on the package's library" env LD_LIBRARY_PATH="$root/$lib" "$tmp/embed"
like "... which it names by its soname" "$(LD_LIBRARY_PATH=$root/$lib ldd "$tmp/embed")" "libipc\\.so\\.0 => $root/$lib"
is "what is linked to it will depend on libipc0 of this version" "$(cd "$tmp/ipcd" &&
	dpkg-shlibdeps -O -l"debian/libipc0/$lib" -Sdebian/libipc0 "$tmp/embed" 2>&1 |
	grep -oE 'libipc0 \([^)]*\)')" "libipc0 (>= $version)"

# ---- removed ----

check "dpkg removes them" in_root --purge ipcd-tools libipc-dev libipc0
is "... and nothing stays" "$(files)" ""

done_testing
