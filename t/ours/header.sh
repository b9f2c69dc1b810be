#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# libipc.h by itself compiles without a warning, in every C from 1999 on and in C++.
# Environment: CC.
# shellcheck disable=SC2086

. "$(dirname "$0")/../lib/tap.sh"
compiles() {	# COMPILER LANGUAGE OPTION...
	local language=$2
	echo '#include "libipc.h"' | "$1" -Wall -Wextra -pedantic -Werror -I"$top/libipc" -fsyntax-only "${@:3}" -x "$language" -
}
for standard in c99 c11 gnu99 gnu11 "c99 -D_POSIX_C_SOURCE=199309L" "c99 -D_XOPEN_SOURCE=700"; do
	check "libipc.h in $standard" compiles ${CC:-cc} c -std=$standard
done
if echo | c++ -fsyntax-only -x c++ - 2>/dev/null; then
	check "libipc.h in C++" compiles c++ c++ -std=c++11
else
	skip "libipc.h in C++" "no C++ compiler"
fi
done_testing
