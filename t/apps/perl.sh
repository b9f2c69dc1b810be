#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Perl: its twelve built-in calls, which go straight to libc, and the modules IPC::SysV, IPC::Msg, IPC::Semaphore and
# IPC::SharedMem, which are in C. perl.pl makes the calls and writes down what they gave; that must be the same.
#
#	perl.sh [MODE] ...	(see apps.sh)

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="perl:perl"

app() {
	run perl "$here/perl.pl" >results 2>said
	is $? 0 "the script ends well" || diag <said
	is "$(tail -n 1 results)" "end" "and comes to its end"
	is "$(<said)" "" "and has nothing to complain of"
	same results "every call gave what it gave on the first side"
	counted "$(grep -c ' = ' results) results"
}

apps_main "$@"
