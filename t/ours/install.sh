#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# What make install puts where, used from there: by pkg-config, by the compiler, by ipcrun, and by the shells'
# completion; and that make uninstall takes it all away. Environment: IPCRUN (its directory is make's B), CC.
# shellcheck disable=SC2154,SC2034,SC2046,SC2016,SC2086

. "$(dirname "$0")/../lib/tap.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS DESTDIR PREFIX LIBDIR
cc=${CC:-cc}
at_exit() {
	[ -z "${name-}" ] || "$IPCCTL" -n "$name" destroy 2>/dev/null
}
place() {	# TARGET VARIABLE...
	make -s -C "$top" B="$(dirname "$IPCRUN")" CC="$cc" "$@" 2>&1
}
files() {
	(cd "$1" && find . ! -type d | LC_ALL=C sort | tr '\n' ' ')
}

# ---- where ----

units='./usr/lib/systemd/system/ipcd.service ./usr/lib/systemd/system/ipcd.socket '
units+='./usr/lib/systemd/user/ipcd.service ./usr/lib/systemd/user/ipcd.socket '
common='./usr/share/bash-completion/completions/ipcctl ./usr/share/bash-completion/completions/ipcrun '
common+='./usr/share/man/man1/ipcctl.1 ./usr/share/man/man1/ipcrun.1 ./usr/share/man/man3/ipc_open.3 '
common+='./usr/share/man/man3/ipc_serve.3 ./usr/share/man/man3/libipc.3 ./usr/share/man/man7/libipc-sysv.7 '
common+='./usr/share/man/man8/ipcd.8 ./usr/share/zsh/site-functions/_ipcrun '
for lib in lib lib64 "lib/$(gcc -print-multiarch)"; do
	where=(DESTDIR="$tmp/d" PREFIX=/usr LIBDIR="/usr/$lib")
	is "make install LIBDIR=/usr/$lib is silent" "$(place install "${where[@]}")" ""
	is "... and installs this" "$(files "$tmp/d")" "$(printf '%s\n' ./usr/bin/ipcctl ./usr/bin/ipcd ./usr/bin/ipcrun ./usr/include/libipc.h \
		"./usr/$lib/"{libipc-sysv.so,libipc.a,libipc.so,libipc.so.0,pkgconfig/libipc.pc} $units $common |
		LC_ALL=C sort | tr '\n' ' ')"
	is "... with the units naming the daemon where it is" "$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' \
		"$tmp/d/usr/lib/systemd/"{system,user}/ipcd.service | sort -u)" /usr/bin/ipcd
	is "... where ipcrun finds the library" "$("$tmp/d/usr/bin/ipcrun" printenv LD_PRELOAD)" \
		"$(realpath "$tmp/d/usr/$lib/libipc-sysv.so")"
	place uninstall "${where[@]}"
	is "... and make uninstall leaves no file of it" "$(files "$tmp/d")" ""
done
like "a LIBDIR where ipcrun would not find the library is refused by name" \
	"$(place install DESTDIR="$tmp/d" LIBDIR=/opt/elsewhere)" 'LIBDIR=/opt/elsewhere .*/usr/local/lib64'
is "... with nothing installed" "$(files "$tmp/d")" ""
is "and the default is /usr/local" "$(make -pn -C "$top" B="$(dirname "$IPCRUN")" 2>/dev/null |
	grep -E '^(PREFIX|LIBDIR|INCLUDEDIR|MANDIR) ' | LC_ALL=C sort)" 'INCLUDEDIR = $(PREFIX)/include
LIBDIR = $(PREFIX)/lib
MANDIR = $(PREFIX)/share/man
PREFIX = /usr/local'

# ---- linking ----

prefix=$tmp/it
is "make install PREFIX=DIRECTORY needs no DESTDIR" "$(place install PREFIX="$prefix")" ""
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
is "pkg-config knows libipc" "$(pkg-config --cflags --libs libipc 2>&1)" "-I$prefix/include -L$prefix/lib -lipc "
is "... in the version of the tools" "ipcrun $(pkg-config --modversion libipc)" "$("$prefix/bin/ipcrun" --version)"
is "... which is that of debian/changelog" "$(sed -n '1s/.*(\(.*\)).*/\1/p' "$top/debian/changelog")" \
	"$(pkg-config --modversion libipc)"

if [ "$(id -u)" = 0 ]; then
	like "the ipcrun that is installed finds the ipcd, for root" \
		"$(env -u IPCRUN_EMBEDDED "$prefix/bin/ipcrun" printenv IPCD_SOCKET)" '^/run/ipcrun-'
else
	skip "the ipcrun that is installed finds the ipcd, for root" "needs root"
fi

example=(-D_GNU_SOURCE -Wall -Werror "-I$top/t/lib" "$top/t/embed.c")
check "the example compiles with the shared library" \
	$cc -o "$tmp/shared" "${example[@]}" $(pkg-config --cflags --libs libipc)
check "... and passes" env LD_LIBRARY_PATH="$prefix/lib" "$tmp/shared"
is "... needing libipc by its soname, SQLite through it alone" \
	"$(readelf -d "$tmp/shared" | grep -oE 'lib(ipc|sqlite)[^]]*')" libipc.so.0
rm "$prefix/lib/libipc.so" # with the archive alone
check "it compiles with the archive and --static's flags" \
	$cc -o "$tmp/archive" "${example[@]}" $(pkg-config --cflags --libs --static libipc)
check "... and passes" "$tmp/archive"
is "... without a libipc beside it" "$(readelf -d "$tmp/archive" | grep -oE 'libipc[^]]*')" ""
printf '%s\n' '#include <libipc.h>' \
	'int main() { ipc_ns *ns = ipc_open(nullptr, 0); ipc_close(ns); return !ns; }' >"$tmp/plus.cc"
if command -v g++ >/dev/null; then
	check "a C++ program links it too" \
		sh -c 'g++ -Wall -Werror -o "$1" "$2" $3 && "$1"' sh "$tmp/plus" "$tmp/plus.cc" \
		"$(pkg-config --cflags --libs --static libipc)"
else
	skip "a C++ program links it too" "no g++ here"
fi

# ---- completion ----

name=completion-$$
PATH=$prefix/bin:$PATH
ipcrun -n "$name" sh -c 'ipcmk -M 100; ipcmk -M 100; ipcmk -S 1; ipcmk -Q' >/dev/null
ids() {
	ipcctl -n "$name" ls --json "$1" | grep -oE '"id":[0-9]+' | cut -d: -f2 | tr '\n' ' '
}
commands=$(ipcctl --help | sed -n 's/^  \([a-z][a-z]*\).*/\1/p' | sort -u | tr '\n' ' ')
like "ipcctl --help tells commands, which completion asks for" "$commands" '\bdestroy .*limits .*rm show '

# In a shell of its own; the last word is the one to complete.
completed() {	# WORD...
	bash --norc -c '. "$1" && shift && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_"$1" "$1" "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null; printf "%s\n" "${COMPREPLY[@]}"' \
		bash "$prefix/share/bash-completion/completions/ipcctl" "$@" | sort -u | tr '\n' ' '
}
is "bash: ipcctl's commands" "$(completed ipcctl '')" "$commands"
is "... its options" "$(completed ipcctl -)" "--daemon --help --version -d -n "
is "... by their beginning" "$(completed ipcctl des)" "destroy "
is "... namespaces after -n" "$(completed ipcctl -n completion-$$)" "$name "
is "... an option of one command" "$(completed ipcctl ls --j)" "--json "
is "... and of another" "$(completed ipcctl rm --a)" "--all "
like "... kinds, and ids of the namespace named" "$(completed ipcctl -n "$name" rm '')" '^([0-9]+ )+msg sem shm $'
is "... ids of the kind named" "$(completed ipcctl -n "$name" rm shm '')" "$(ids shm)msg sem shm "
is "... ids after -m" "$(completed ipcctl -n "$name" rm -m '')" "$(ids shm)"
like "... keys after -Q" "$(completed ipcctl -n "$name" rm -Q '')" '^0x[0-9a-f]{8} $'
is "... limits" "$(completed ipcctl limits shmm)" "shmmax= shmmni= "
is "... and nothing where a namespace is not there" "$(completed ipcctl -n no-such-$$ rm -m '')" " "
is "bash: ipcrun's options" "$(completed ipcrun -)" "-- --daemon --embedded --help --version -d -n "
is "... the programs" "$(completed ipcrun ipcct)" "ipcctl "
is "... after an option with a value too" "$(completed ipcrun -n x ipcct)" "ipcctl "
is "... and after --" "$(completed ipcrun -- ipcct)" "ipcctl "

loader=/usr/share/bash-completion/bash_completion
if [ -r $loader ]; then
	is "bash-completion loads it, and completes the program's own arguments" \
		"$(cd "$tmp" && mkdir -p sub/directory &&
		XDG_DATA_DIRS=$prefix/share bash --norc -c '. "$1"; _completion_loader ipcrun
			COMP_WORDS=(ipcrun cd sub/) COMP_CWORD=2 COMP_LINE="ipcrun cd sub/" COMP_POINT=14
			_ipcrun ipcrun sub/ cd; printf "%s" "${COMPREPLY[@]}"' bash $loader 2>/dev/null)" sub/directory
else
	skip "bash-completion loads it, and completes the program's own arguments" "no bash-completion here"
fi

# zsh on a terminal of its own: what is typed up to a tab, and what stands there then.
zsh_completed() {	# LINE
	zsh -f -c '
		zmodload zsh/zpty
		zpty z zsh -f -i
		zpty -w z "PS1=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; bindkey -e; setopt NO_BEEP"
		zpty -w z "TERM=dumb; finish() { print -r -- \"<<\$BUFFER>>\"; BUFFER=; zle accept-line }; zle -N finish"
		zpty -w z "bindkey \"^I\" complete-word; bindkey \"^X\" finish; print the shell is ready:"
		zpty -r z all "*the shell is ready:*the shell is ready:*"
		zpty -n -w z "$2"$'"'\\t\\x18'"'
		zpty -r z line "*<<*>>*"
		print -r -- ${${line##*<<}%%>>*}
		zpty -d z' zsh "$prefix/share/zsh/site-functions" "$1" 2>&1
}
if command -v zsh >/dev/null; then
	is "zsh: a command of ipcctl" "$(zsh_completed 'ipcctl des')" "ipcctl destroy "
	is "... a namespace after -n" "$(zsh_completed "ipcctl -n completion-$$")" "ipcctl -n $name "
	is "... the id of the one set" "$(zsh_completed "ipcctl -n $name show sem $(ids sem | cut -c1)")" \
		"ipcctl -n $name show sem $(ids sem)"
	is "... a limit" "$(zsh_completed 'ipcctl limits semop')" "ipcctl limits semopm="
	is "... a program of ipcrun" "$(zsh_completed "ipcrun -n x ipcct")" "ipcrun -n x ipcctl "
	is "... and that program's own arguments" "$(cd "$tmp" && zsh_completed 'ipcrun ls sub/dir')" \
		"ipcrun ls sub/directory/"
else
	skip "zsh completes them" "no zsh here"
fi
done_testing
