#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Python's sysv_ipc, an extension in C that is loaded by dlopen. python.py uses all of it, and writes down what it gave;
# that must be the same.
#
#	python.sh [MODE] ...	(see apps.sh)

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="/usr/bin/python3:python3"

app() {
	run /usr/bin/python3 -I "$here/python.py" >results 2>said
	is $? 0 "the script ends well" || diag <said
	is "$(tail -n 1 results)" "end" "and comes to its end"
	is "$(<said)" "" "and has nothing to complain of"
	same results "every call gave what it gave on the first side"
	counted "$(grep -c ' = ' results) results"
}

has_module() {
	/usr/bin/python3 -I -c 'import sysv_ipc' 2>/dev/null
}

has_module || skip_all "no sysv_ipc for python3 here (Debian: apt-get install python3-sysv-ipc, or t/deps.sh)"
apps_main "$@"
