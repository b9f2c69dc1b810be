#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Random walk: t/walk/walk.sh [-n | -d] [STEPS]
# Runs the walk for STEPS steps (default 20000), 10000 to a seed, natively in a private namespace and under ipcrun at
# the same time, and compares the traces. -d: not under ipcrun, but with an ipcd of its own. -n: natively both times,
# which shows that the walk itself leaves nothing to chance. Prints TAP; at a difference the first differing step of
# both, the steps before it, and how to repeat it.
#
# Environment: T_SEED the first seed; IPCRUN (build/ipcrun); WALK the program (build/t/walk/walk, else it is compiled);
# T_EFAULT=0 leaves out bad pointers; T_IDS=1 has workers change their effective uid, gid and groups, and objects their
# owners (not in an embedded namespace, which has one user); T_USER=NAME the user that the walk is (else root), and with
# T_OWN=1 its ipcd too; T_DAEMON_UID=UID the user that ipcd is, where it is not the walk's; T_KEEP a directory for the
# traces; T_CONTEXT the lines shown before (12).

route=ipcrun option=
case $1 in
-n) route=native option='-n ' ;;
-d) route=daemon option='-d ' ;;
esac
[ -z "$option" ] || shift
steps=${1:-20000}
chunk=10000
[ "$steps" -lt "$chunk" ] && chunk=$steps
here=$(dirname "$0")
top=$here/../..
ipcrun=${IPCRUN:-build/ipcrun}
walk=${WALK:-build/t/walk/walk}
seed=${T_SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
context=${T_CONTEXT:-12}

as= inner= outer=
[ -z "$T_USER" ] || as="setpriv --reuid=$(id -u "$T_USER") --regid=$(id -g "$T_USER") --clear-groups"
if [ -n "$T_OWN" ]; then
	outer=$as
else
	inner=$as
fi

if ! unshare -i true 2>/dev/null; then
	echo "1..0 # SKIP no private namespace of the kernel's here (needs root)"
	exit 0
fi
if [ -n "$T_KEEP" ]; then
	dir=$T_KEEP
	mkdir -p "$dir" || exit 2
else
	dir=$(mktemp -d) || exit 2
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 1' INT TERM
fi
if [ ! -x "$walk" ]; then
	walk=$dir/walk
	${CC:-cc} -O2 -g -std=gnu11 -D_GNU_SOURCE -o "$walk" "$here"/*.c || {
		echo "Bail out! the walk does not compile"
		exit 2
	}
fi
echo "# T_SEED=$seed"

# A kernel may have been built without MSG_COPY.
if unshare -i "$walk" --has-copy; then
	export T_COPY=1
else
	echo "# no MSG_COPY here: left out"
	export T_COPY=0
fi

native() {
	# shellcheck disable=SC2086 # several words or none
	timeout -k 5 "$limit" unshare -i $as "$walk" "$seed" "$chunk" >"$1" 2>"$1.err"
}

ours() {
	# shellcheck disable=SC2086
	case $route in
	native) native "$1" ;;
	ipcrun) timeout -k 5 "$limit" $as "$ipcrun" --embedded "$walk" "$seed" "$chunk" >"$1" 2>"$1.err" ;;
	daemon) IPCRUN=$ipcrun $outer "$top/t/lib/daemon" timeout -k 5 "$limit" $inner "$walk" "$seed" "$chunk" \
		>"$1" 2>"$1.err" ;;
	esac
}

# The lines of $1 from line $2 to the end of that step
from_step() {
	sed -n "$2,$(($2 + 40))p" "$1" | awk 'NR > 1 && /^#/ { exit } { print "#     " $0 }'
}

explain() {
	line=$(cmp "$dir/native" "$dir/ours" 2>&1 | sed -n 's/.*line \([0-9]*\).*/\1/p')
	line=${line:-1}
	head -n "$line" "$dir/native" | grep -n '^#[0-9]' | tail -n 1 |
		sed 's/^\([0-9]*\):#\([0-9]*\).*/\1 \2/' >"$dir/at"
	read -r first step <"$dir/at"
	first=${first:-1}
	echo "#   first difference in step ${step:-0}, line $line of the traces; $context lines before it:"
	head -n "$line" "$dir/native" | tail -n "$((context + line - first + 1))" | head -n "$context" |
		sed 's/^/#     /'
	echo "#   natively:"
	from_step "$dir/native" "$first"
	echo "#   $where:"
	from_step "$dir/ours" "$first"
	grep -H -e '^GIVING UP' "$dir/native" "$dir/ours" | sed "s|^$dir/|#   |"
	for err in native ours; do
		[ -s "$dir/$err.err" ] && echo "#   stderr, $err:" && head -n 20 "$dir/$err.err" | sed 's/^/#     /'
	done
	echo "#   again: ${T_IDS:+T_IDS=$T_IDS }${T_USER:+T_USER=$T_USER }${T_OWN:+T_OWN=$T_OWN }\
${T_DAEMON_UID:+T_DAEMON_UID=$T_DAEMON_UID }T_SEED=$seed $0 $option${step:-$chunk}"
}

case $route in
native) where="natively again" ;;
ipcrun) where="under ipcrun" ;;
daemon) where="with a daemon" ;;
esac
number=0
failed=0
limit=$((60 + chunk / 50))
while [ "$steps" -gt 0 ]; do
	number=$((number + 1))
	native "$dir/native" &
	ours "$dir/ours"
	status=$?
	wait $!
	native_status=$?
	name="seed $seed: $where, no difference in $chunk steps${T_IDS:+, with ids that change}${T_USER:+, as $T_USER}"
	name=$name${T_OWN:+, its own}${T_DAEMON_UID:+, the daemon is uid $T_DAEMON_UID}
	if [ $status = 0 ] && [ $native_status = 0 ] && cmp -s "$dir/native" "$dir/ours"; then
		echo "ok $number - $name"
	else
		failed=1
		echo "not ok $number - $name"
		echo "#   exit status natively $native_status, $where $status" >&2
		explain >&2
		[ -n "$T_KEEP" ] && cp "$dir/native" "$dir/native.$seed" && cp "$dir/ours" "$dir/ours.$seed"
	fi
	steps=$((steps - chunk))
	seed=$((seed + 1))
done
echo "1..$number"
exit $failed
