#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# What is written for people agrees with what is there: manual pages are clean and tell every function and environment
# variable, links and make targets of the README exist, the example is the tested program. Needs nothing to be built.

set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
tests=0 failures=0

report() {	# STATUS NAME DETAILS
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
	else
		failures=$((failures + 1))
		echo "not ok $tests - $2"
		[ -z "${3-}" ] || printf '%s\n' "$3" | sed 's/^/#   /'
	fi
}

none() {	# NAME LIST: nothing is in the list
	[ -z "$2" ]
	report $? "$1" "$2"
}

skip() {
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# Names that a version script exports.
exported() {
	sed -n '/global:/,/local:/p' "$1" | grep -oE '[A-Za-z_][A-Za-z_0-9]*;' | tr -d ';'
}

# Words of the list on stdin that the files do not have as a macro's argument: .Fn NAME, .Nm NAME, .Ev NAME.
untold() {	# MACROS FILE...
	local macros=$1 word
	shift
	while read -r word; do
		grep -qE "(^\.|[ .])($macros)( .*)? \"?$word\"?( |$)" "$@" || echo "$word"
	done
}

# ---- manual pages ----

pages=$(ls doc/man/*.[1-8])
for page in $pages; do
	if command -v mandoc >/dev/null; then
		said=$(mandoc -T lint -W warning "$page" 2>&1)
		none "$page passes mandoc's lint" "$said"
	else
		skip "$page passes mandoc's lint" "no mandoc here"
	fi
done

for page in ipcrun.1 ipcctl.1 libipc.3 ipc_open.3 ipc_serve.3 libipc-sysv.7 ipcd.8; do
	[ -f "doc/man/$page" ]
	report $? "there is a manual page $page"
done

refers=
for page in $pages; do
	while read -r name section _; do
		case $name in
		ipcs | ipcmk | ipcrm) ;; # the system's
		ipc* | libipc*) [ -f "doc/man/$name.$section" ] || refers+="$page: $name($section)"$'\n' ;;
		esac
	done < <(sed -n 's/^\.Xr //p' "$page")
done
none "pages refer to pages of ours that exist" "$refers"

none "every function of libipc has a prototype in a page of section 3, or is named in one" \
	"$(exported libipc/libipc.map | untold 'Fn|Fo' doc/man/*.3)"
none "... and ipc_* ones stand in the page's NAME, where man(1) looks for them" \
	"$(exported libipc/libipc.map | grep '^ipc_' | untold Nm doc/man/*.3)"
none "every name of libipc-sysv is told in libipc-sysv.7" \
	"$(exported libipc/sysv.map | untold 'Fn|It' doc/man/libipc-sysv.7)"
declared=$(grep -oE '\bipc_[a-z_]+\(' libipc/libipc.h | tr -d '(' | sort -u)
named=$(exported libipc/libipc.map | grep '^ipc_' | sort -u)
report "$([ "$declared" = "$named" ]; echo $?)" "libipc.h declares what libipc exports" \
	"$(diff <(echo "$declared") <(echo "$named"))"

# The page's prototypes, with its quotes and macros taken out, are the header's.
flat() {
	sed -e 's|/\*.*\*/||' -e '/^[ \t]*\*/d' -e '/^[ \t]*\/\*/d' "$1" | tr '\n\t' '  ' | tr ';' '\n' |
		sed 's/  */ /g' | grep -oE '\bipc_[a-z_]+\(.*\)$' | sort
}
prototypes() {
	cat doc/man/*.3 | sed '/^\.Sh DESCRIPTION/,/^\.Sh SYNOPSIS/d' | perl -0777 -ne '
		while (/^\.Fn (ipc_\w+) (.*)|^\.Fo (ipc_\w+)\n((?:\.Fa .*\n)*)\.Fc/mg) {
			my ($name, $args) = $1 ? ($1, $2) : ($3, $4);
			my @args = $1 ? $args =~ /"[^"]*"|\S+/g : $args =~ /\.Fa (.*)/g;
			s/"//g for @args;
			print "$name(", join(", ", @args), ")\n";
		}' | sort
}
report "$([ "$(flat libipc/libipc.h)" = "$(prototypes)" ]; echo $?)" "the pages' prototypes are the header's" \
	"$(diff <(flat libipc/libipc.h) <(prototypes))"

variables=$(grep -rhoE 'getenv\("IPCD_[A-Z]+"\)' libipc ipcd persist | grep -oE 'IPCD_[A-Z]+' | sort -u)
none "every variable of the environment that is read is told in a page" \
	"$(echo "$variables" | untold 'Ev' doc/man/*)"

# What a tool's --help names at the begin of a line: options, commands.
helped() {
	grep -hE '^[[:space:]]*"  (-|[a-z])' "$1" | sed 's/^[[:space:]]*"//; s/   .*//' |
		grep -oE '^  [a-z]+|--?[a-z]+(-[a-z]+)*' | tr -d ' ' | sort -u
}
for page in ipcrun.1 ipcctl.1 ipcd.8; do
	tool=${page%.*} source=ipcd/${page%.*}.c
	[ $tool != ipcd ] || source=ipcd/options.c
	name="$page tells the options and commands of $tool --help"
	if ! command -v mandoc >/dev/null; then
		skip "$name" "no mandoc here"
		continue
	fi
	text=$(mandoc -T ascii "doc/man/$page" 2>&1 | sed 's/.\x08//g')
	none "$name" "$(for word in $(helped $source); do
		grep -qE -e "(^|[^a-z-])$word([^a-z]|\$)" <<<"$text" || echo "$word"
	done)"
done

# ---- README and doc/ ----

# shellcheck disable=SC2016 # backquotes of Markdown
commands=$(sed -n '/^```sh/,/^```/p' README.md)
targets=$(grep -oE 'make( [a-z-]+)+' README.md doc/*.md | sed 's/^[^:]*://; s/^make //' | tr ' ' '\n' | sort -u |
	grep -xE 'all|check.*|bench.*|demo|deps|install|uninstall|help|clean|tests')
missing=
for target in $targets; do
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -n "$target" >/dev/null 2>&1 || missing+="$target"$'\n'
done
none "make targets that the README and doc/ name exist" "$missing"
none "... and make help lists them" "$(help=$(env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s help 2>&1)
	for target in $targets; do grep -qwe "$target" <<<"$help" || echo "$target"; done)"

for wanted in 't/deps.sh demo && make demo' 't/deps.sh check && make check'; do
	grep -qxF "$wanted" <<<"$commands"
	report $? "the README has the command: $wanted"
done
[ -x t/deps.sh ]
report $? "t/deps.sh is there to be run"

dead=
for file in README.md doc/*.md; do
	while read -r link; do
		case $link in
		*://* | '#'*) ;;
		*) [ -e "$(dirname "$file")/${link%%#*}" ] || dead+="$file: $link"$'\n' ;;
		esac
	done < <(grep -oE '\]\([^)]+\)' "$file" | sed 's/^](//; s/)$//')
done
none "links of the README and doc/ lead somewhere" "$dead"

# shellcheck disable=SC2016
difference=$(diff <(sed -n '/^```c$/,/^```$/p' doc/embedding.md | sed '1d;$d') t/embed.c)
none "the example of doc/embedding.md is t/embed.c, word for word" "$difference"

sources=$(find libipc ipcd persist -name '*.c' -exec basename {} \; | sort)
none "doc/architecture.md names every source" \
	"$(for s in $sources; do
		case $s in ctl*) s='ctl*.c' ;; esac
		grep -qF "$s" doc/architecture.md || echo "$s"
	done)"

echo "1..$tests"
exit $((failures > 0))
