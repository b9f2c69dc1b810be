#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a daemon costs: bench/daemon.c under an ipcd of its own, as root.
[ "$(id -u)" = 0 ] || { echo "bench/daemon.sh: needs root, for clients of another uid" >&2; exit 2; }
B=$(cd "$(dirname "${IPCRUN:-build/ipcrun}")" && pwd)
D=$(mktemp -d /dev/shm/ipcd-bench.XXXXXX) || exit 1
chmod 755 "$D"
trap 'kill $ipcd 2>/dev/null; wait $ipcd; rm -rf "$D"' EXIT
"$B/ipcd" --foreground --namespace-dir "$D/ns" --socket "$D/socket" --socket-mode 0666 --log-level warn &
ipcd=$!
until [ -S "$D/socket" ] || ! kill -0 $ipcd 2>/dev/null; do
	sleep 0.05
done
IPCD_PID=$ipcd setsid -w "$B/ipcrun" --daemon="$D/socket" "$B/bench/daemon"

# An owner's hot calls are the embedded mode's: medians of five, in turn.
median()
{
	sort -n "$1" | sed -n 3p
}
printf '\n%-46s %10s %10s %7s\n' "an owner's calls, ns" embedded daemon ratio
for c in semop semop-undo msg-64 getval semget sem-stat shmat create-sem create-shm; do
	: >"$D/e"
	: >"$D/d"
	for i in 1 2 3 4 5; do
		"$B/ipcrun" --embedded "$B/bench/bench" $c 50 >>"$D/e" || exit 1
		"$B/ipcrun" --daemon="$D/socket" "$B/bench/bench" $c 50 >>"$D/d" || exit 1
	done
	e=$(median "$D/e")
	d=$(median "$D/d")
	awk -v c=$c -v e="$e" -v d="$d" 'BEGIN { printf "%-46s %10.0f %10.0f %7.2f\n", c, e, d, e / d }'
done
