#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# buffer: two processes with a ring of blocks in shared memory between them, and four semop calls for each block that
# goes through. It moves T_MIB (256) MiB, which are compared byte for byte.
#
#	buffer.sh [MODE] ...	(see apps.sh)

# shellcheck source=t/apps/apps.sh
. "$(dirname "$0")/apps.sh"
needs="buffer:buffer"
mib=${T_MIB:-256}
block=10240

app() {
	local in=$dir/in bytes=$((mib << 20)) status

	[ -e "$in" ] || head -c $bytes /dev/urandom >"$in"
	run buffer -S 65536 -s $block -m 1m <"$in" >out 2>said
	status=$?
	is $status 0 "buffer ends well" || diag <said
	is "$(stat -c %s out)" $bytes "$bytes bytes came out"
	cmp "$in" out >said 2>&1
	ok $? "each of them is what went in" || diag <said
	counted "$bytes bytes in $(((bytes + block - 1) / block)) blocks"
	rm -f out
}

apps_main "$@"
