# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# Completion of ipcrun and ipcctl for bash. Installed under both names where bash-completion looks; it can also be
# sourced by itself (then ipcrun's program is completed, but not that program's own arguments).
#
# What can be asked is asked of the tools: namespaces, commands and options (of --help), ids and keys. Nothing is made
# or changed by asking, and what goes wrong completes to nothing.

_ipcd_ipcctl=ipcctl # as it is to be called

# The ipcctl that belongs to the command on the line: beside an ipcrun or ipcctl that is named with its directory.
_ipcd_find() {	# COMMAND
	local command=${1/#\~/$HOME}

	_ipcd_ipcctl=ipcctl
	[[ $command != */* ]] || _ipcd_ipcctl=${command%/*}/ipcctl
}

_ipcd_namespaces() {
	"$_ipcd_ipcctl" namespaces 2>/dev/null | sed '1d; s/ .*//'
}

_ipcd_words() {	# LIST: those that begin with the current word
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_ipcd_directories() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_ipcd_sockets() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "${cur#=}")
}

# The line's words of --daemon=SOCKET, from number $1 on: it may be one word or three (COMP_WORDBREAKS).
_ipcd_daemon_words() {
	if [[ ${COMP_WORDS[$1]} == --daemon && ${COMP_WORDS[$1 + 1]-} == = ]]; then
		echo 3
	else
		echo 1
	fi
}

# ---- ipcrun ----

_ipcrun() {
	local cur=${COMP_WORDS[COMP_CWORD]} i

	_ipcd_find "$1"
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-n | -d) ((++i)) ;;
		--daemon) ((i += $(_ipcd_daemon_words "$i") - 1)) ;;
		--) ((++i)); break ;;
		-?*) ;;
		*) break ;;
		esac
	done
	if ((i > COMP_CWORD)); then	# the value of an option
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		= | --daemon) _ipcd_sockets; return ;;
		-n) _ipcd_words "$(_ipcd_namespaces | grep -v '^private-\|^anon-')"; return ;;
		-d) _ipcd_directories; return ;;
		esac
	fi
	if ((i == COMP_CWORD)) && [[ $cur == -* && ${COMP_WORDS[i - 1]} != -- ]]; then
		_ipcd_words "--embedded -n -d --daemon -- --help --version"
	elif declare -F _comp_command_offset >/dev/null; then
		_comp_command_offset "$i"
	elif declare -F _command_offset >/dev/null; then
		_command_offset "$i"
	elif ((i == COMP_CWORD)); then
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
	else
		compopt -o default 2>/dev/null
	fi
}

# ---- ipcctl ----

# The lines of --help that tell a command; without one, the names of the commands.
_ipcctl_help() {	# [COMMAND]
	"$_ipcd_ipcctl" --help 2>/dev/null | awk -v command="$1" '
		/^  [a-z]/ { at = $1; if (command == "") print at }
		/^ ? ?[^ ]/ && !/^  [a-z]/ { at = "" }
		command != "" && at == command'
}

_ipcctl_ids() {	# KIND...: of the namespace that is named before the command
	"$_ipcd_ipcctl" "${where[@]}" ls --json "$@" 2>/dev/null | grep -oE '"id":[0-9]+' | cut -d: -f2 | head -n 1000
}

_ipcctl_keys() {	# KIND
	"$_ipcd_ipcctl" "${where[@]}" ls --json "$1" 2>/dev/null | grep -oE '"key":"0x[0-9a-f]+"' | cut -d'"' -f4 |
		grep -vx '0x0*' | head -n 1000
}

# A word of a command, after what its line of --help says that it takes.
_ipcctl_argument() {	# COMMAND, the kind named last
	local help words='' kinds=${2:-shm sem msg}

	help=$(_ipcctl_help "$1")
	! "$_ipcd_ipcctl" --help 2>/dev/null | grep 'write JSON with --json' | grep -qw -- "$1" || help+=' --json'
	if [[ $cur == -* ]]; then
		_ipcd_words "$(grep -oE -- '(^|[][ ,|(])--?[A-Za-z][a-z-]*' <<<"$help" | tr -d '][ ,|(')"
		return
	fi
	[[ $help != *'shm|sem|msg'* ]] || words="shm sem msg"
	# shellcheck disable=SC2086 # one word a kind
	[[ ! $help =~ [[:space:]]ID ]] || words+=" $(_ipcctl_ids $kinds)"
	if [ "$1" = limits ]; then
		compopt -o nospace 2>/dev/null
		words="shmmax= shmall= shmmni= semmsl= semmns= semopm= semmni= msgmax= msgmnb= msgmni="
	fi
	_ipcd_words "$words"
}

_ipcctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} i kind='' command='' where=()

	_ipcd_find "$1"
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-n | -d)
			[ -n "$command" ] || ((i + 1 >= COMP_CWORD)) ||
				where=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]/#\~/$HOME}")
			((++i))
			;;
		--daemon*)
			[ -n "$command" ] || where=("${COMP_WORDS[i]}")
			if [ "$(_ipcd_daemon_words "$i")" = 3 ]; then
				where=("--daemon=${COMP_WORDS[i + 2]/#\~/$HOME}")
				((i += 2))
			fi
			;;
		shm | sem | msg) kind=${COMP_WORDS[i]} ;;
		[a-z]*) [ -n "$command" ] || command=${COMP_WORDS[i]} ;;
		esac
	done
	case $command:$before in
	:-n) _ipcd_words "$(_ipcd_namespaces)" ;;
	:-d) _ipcd_directories ;;
	:=) _ipcd_sockets ;;
	:--daemon)
		if [[ $cur == =* ]]; then
			_ipcd_sockets
		else
			_ipcd_words "$(_ipcctl_help)"
		fi
		;;
	:*)
		if [[ $cur == -* ]]; then
			_ipcd_words "-n -d --daemon --help --version"
		else
			_ipcd_words "$(_ipcctl_help)"
		fi
		;;
	rm:-m) _ipcd_words "$(_ipcctl_ids shm)" ;;
	rm:-s) _ipcd_words "$(_ipcctl_ids sem)" ;;
	rm:-q) _ipcd_words "$(_ipcctl_ids msg)" ;;
	rm:-M) _ipcd_words "$(_ipcctl_keys shm)" ;;
	rm:-S) _ipcd_words "$(_ipcctl_keys sem)" ;;
	rm:-Q) _ipcd_words "$(_ipcctl_keys msg)" ;;
	*) _ipcctl_argument "$command" "$kind" ;;
	esac
}

complete -F _ipcrun ipcrun
complete -F _ipcctl ipcctl
