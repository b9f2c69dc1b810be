#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# ipcctl gc removes what was left behind and nothing else; every removal is in the log; metrics and JSON are what their
# readers take. Environment: IPCRUN, IPCCTL (build/ipcrun, build/ipcctl), CC.
# shellcheck disable=SC2016,SC2154

. "$(dirname "$0")/../lib/tap.sh"
name=t-gc-$$
on=("$IPCRUN" -n "$name")
ctl=("$IPCCTL" -n "$name")
python=/usr/bin/python3
[ -x $python ] || python=python3
at_exit() {
	[ -z "${pids-}" ] || kill_own $pids
	"${ctl[@]}" rm --all 2>/dev/null
	"${ctl[@]}" destroy 2>/dev/null
}
# Python code with the JSON on stdin as j; prints. Strict: one document, no duplicate key, no NaN.
json() {
	$python -c 'import json, sys
def unique(pairs):
	d = dict(pairs)
	assert len(d) == len(pairs), "duplicate key"
	return d
def constant(c):
	raise ValueError(c)
j = json.loads(sys.stdin.buffer.read().decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
'"$1"
}
kept() {	# gc's reasons, by key
	"${ctl[@]}" gc --dry-run --json --older "${1-0s}" | json 'for o in j["objects"]: print(o["kind"], o["key"][-2:], o["action"] + ":", o["reason"].split(",")[0])'
}

# ---- what is in use stays ----

"${on[@]}" perl -e 'my ($m, $s, $q) = (shmget(0x11, 100, 01600), semget(0x12, 2, 01600), msgget(0x13, 01600));
	msgsnd($q, pack("l! a*", 1, "left"), 0); print "$$ $m $s $q\n"' >"$tmp/left"
read -r creator m s q <"$tmp/left"
# The creator of these is gone; others have them attached, wait, have undo pending, or have just used them.
"${on[@]}" perl -e 'shmget(0x21, 100, 01600); semget($_, 2, 01600) for 0x22, 0x23, 0x24; msgget($_, 01600) for 0x25, 0x26, 0x27'
"${on[@]}" perl -MIPC::SysV=shmat -e '$| = 1;
	my $b; my @pids = ($$);
	my @do = (sub { shmat(shmget(0x21, 0, 0), undef, 0) // die },
		sub { semop(semget(0x22, 0, 0), pack("s!3", 0, 1, 010000)) || die },
		sub { semop(semget(0x23, 0, 0), pack("s!3", 0, -1, 0)) },
		sub { semop(semget(0x24, 0, 0), pack("s!3", 0, 1, 0)) || die },
		sub { msgrcv(msgget(0x25, 0), $b, 10, 0, 0) },
		sub { my $q = msgget(0x26, 0); msgsnd($q, pack("l! a*", 1, "x" x 8000), 0) || die for 1 .. 3 },
		sub { msgsnd(msgget(0x27, 0), pack("l! a*", 1, "x"), 0) || die });
	for my $f (@do) { my $p = fork; if (!$p) { $f->(); sleep 1 while 1 } push @pids, $p }
	semget(0x31, 1, 01600); shmget(0x32, 1, 01600); msgget(0x33, 01600);
	print "@pids\n"; sleep 1 while 1' >"$tmp/users" & disown
soon test -s "$tmp/users"
pids=$(cat "$tmp/users")
wanted='shm 11 would remove: its creator
shm 21 keep: it is attached
shm 32 keep: its creator is there
sem 12 would remove: its creator
sem 22 keep: undo is pending on it
sem 23 keep: somebody waits for it
sem 24 keep: a process that has used it is there
sem 31 keep: its creator is there
msg 13 would remove: its creator
msg 25 keep: somebody waits for it
msg 26 keep: somebody waits for it
msg 27 keep: a process that has used it is there
msg 33 keep: its creator is there'
soon sh -c '"$@" show msg 2 | grep -q "sends 8000"' sh "${ctl[@]}"
for _ in $(seq 100); do [ "$(kept)" = "$wanted" ] && break; sleep 0.05; done
is "gc --dry-run says what goes and why what stays" "$(kept)" "$wanted"
is "... and removes nothing" "$("${ctl[@]}" ls | grep -c 0x)" 13
check "a look with ipcctl is no use" "${ctl[@]}" show "$s" sem
is "... of the object" "$(kept | grep 'sem 12')" "sem 12 would remove: its creator"
is "what was used lately stays" "$(kept 1h | grep '1[123] ')" "shm 11 keep: it was used lately
sem 12 keep: it was used lately
msg 13 keep: it was used lately"
is "... for a day if nothing else is said" "$("${ctl[@]}" gc)" "0 removed, 13 kept"
is "a kind can be named" "$("${ctl[@]}" gc --dry-run --older 0 msg | sed 's/:.*//' | grep 0x000000[13]3)" \
	"would remove msg $q, key 0x00000013, of $(id -un)
keep msg 4, key 0x00000033, of $(id -un)"
check "age counts" soon sh -c '"$@" gc --dry-run --older 1s | grep -q "^3 to be removed"' sh "${ctl[@]}"
said=$("${ctl[@]}" gc --older 0s 2>&1)
like "gc removes what was left behind, and says so" "$said" "^removed shm $m, key 0x00000011, of $(id -un): its creator, pid $creator, is gone, .*
removed sem $s, .*
removed msg $q, .*
3 removed, 10 kept\$"
is "... and nothing else" "$("${ctl[@]}" ls --json | json 'print(*[o["key"][-2:] for k in ("shm", "sem", "msg") for o in j[k]])')" \
	"21 32 22 23 24 31 25 26 27 33"
for bad in "--older" "--older x" "--older 5y" "--older -1s" "--older 99999999999s" "--frob" "--older 1h1m"; do
	# shellcheck disable=SC2086
	status "gc $bad: 2" 2 "${ctl[@]}" gc $bad
done

# ---- the log ----

log=$base/$name/log
entry="ipcctl pid [0-9]+, started by [^ ]+ \\(pid [0-9]+\\)"
like "the log says what gc removed, who started it, and why" "$(cat "$log")" "^20[0-9-]+T[0-9:+-]+ removed shm $m, key 0x00000011, of $(id -un), 100 bytes: by $(id -un) \\(uid $(id -u)\\), $entry: gc, its creator, pid $creator, is gone, nobody uses it, and nothing was done with it for [0-9.]+s
[^
]* removed sem $s, [^
]* 2 semaphores: [^
]*
[^
]* removed msg $q, [^
]*\$"
"${ctl[@]}" rm -M 0x32
like "... what rm removed" "$(tail -n 1 "$log")" "removed shm [0-9]+, key 0x00000032, .*: by $(id -un) .*: rm, by its key\$"
lines=$(wc -l <"$log")
"${ctl[@]}" rm shm 999 2>/dev/null
is "... not what was not there" "$(wc -l <"$log")" "$lines"
check "it is for the owner alone" test "$(stat -c %a "$log")" = 600
head -c 300000 /dev/zero | tr '\0' 'x' >>"$log"
"${ctl[@]}" rm -Q 0x33
is "a large log is put aside, and a new one begun" "$(wc -l <"$log") $(tail -c 4 "$log.old")" "1 xxxx"
chmod 0 "$log" 2>/dev/null
rm -f "$log"; mkdir "$log"
status "a log that cannot be written does not hold up" 0 "${ctl[@]}" rm -S 0x31
like "... and what it would say is on stderr" "$said" "^ipcctl: cannot write $log: .*; it would say: .* key 0x00000031, [^
]*\$"
rmdir "$log"

# ---- JSON ----

is "show --json has what show has" "$("${ctl[@]}" show 1 sem --json | json '
(o,) = j["objects"]
print(o["kind"], o["key"], o["semaphores"], o["values"][0]["value"], [(u["command"], u["semaphore"], u["adjust"]) for u in o["undo_pending"]], o["waiters"])')" \
	"sem 0x00000022 2 1 [('perl', 0, -1)] []"
is "... who waits, how long, for what" "$("${ctl[@]}" show 2 --json | json '
for o in j["objects"]:
	for w in o["waiters"]:
		print(o["kind"], w["command"], w["seconds"] > 0.0, w.get("operations"), w.get("wants"), w.get("bytes"))')" \
	"sem perl True [{'semaphore': 0, 'op': -1, 'undo': False}] None None
msg perl True None send 8000"
is "... who has a segment attached" "$("${ctl[@]}" show --json 1 shm | json 'print([a["mappings"] for a in j["objects"][0]["attachments"]])')" "[1]"
fields() {	# the document's objects' names of fields, each once
	json '
def walk(v):
	if isinstance(v, dict):
		for k in v: names.add(k); walk(v[k])
	elif isinstance(v, list):
		for x in v: walk(x)
names = set(); walk(j); print(*sorted(names))'
}
is "fields of ls have their names" "$("${ctl[@]}" ls --json | fields)" "attach_time attached bytes change_time creator_pid \
detach_time gid id key last_pid limit locked messages mode msg namespace op_time owner receive_pid receive_time removed sem semaphores \
send_pid send_time shm uid undo waiting"
untold=
for command in ls "show 1" "show 2" top "gc --dry-run" metrics limits namespaces; do
	# shellcheck disable=SC2086
	for field in $("${ctl[@]}" $command --json | fields); do
		case $field in
		shmmax | shm??? | semm?? | semopm | msgm??) ;; # limits' names
		*) grep -qw -- "$field" "$top/doc/man/ipcctl.1" || untold+="$command: $field " ;;
		esac
	done
done
is "every field of JSON is told in ipcctl.1" "$untold" ""
is "limits --json" "$("${ctl[@]}" limits --json | json 'print(j["limits"]["shmmax"], len(j["limits"]))')" "18446744073692774399 10"
is "namespaces --json" "$("$IPCCTL" namespaces --json | json 'print([n["processes"] > 0 for n in j if n["name"] == "'"$name"'"])')" "[True]"
odd=$tmp/$'a "b\\\t\xff\xc3\xa4c'
mkdir "$odd"
"$IPCRUN" -d "$odd/d" true
for command in ls limits "gc --dry-run" metrics top; do
	# shellcheck disable=SC2086
	is "$command --json is UTF-8, whatever the directory's name is" "$("$IPCCTL" -d "$odd/d" $command --json |
		json 'print(j["namespace"].endswith("a \"b\\\t\ufffd\xe4c/d"))')" True
done

# ---- metrics ----

# A parser that is as strict as the format: prometheus_client's, which Prometheus' own tests follow.
parse() {
	$python -c 'import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = sys.stdin.buffer.read().decode("utf-8")
families = list(parse(text))
print(len(families), sum(len(f.samples) for f in families))
for f in families:
	assert f.documentation, f.name
	for s in f.samples:
		print(s.name, {k: v for k, v in s.labels.items() if k != "namespace"}, s.value)
print(set(s.labels["namespace"] for f in families for s in f.samples))'
}
if $python -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
	got=$("${ctl[@]}" metrics --objects | parse)
	like "metrics is OpenMetrics, with help for each family" "$got" "^[1-9][0-9] [1-9][0-9]"
	for wanted in "ipcd_objects {'kind': 'sem'} 3" "ipcd_waiters {'kind': 'msg'} 2" "ipcd_shm_bytes {} 100" \
		"ipcd_shm_attachments {} 1" "ipcd_undo_processes {} 1" "ipcd_messages {} 3" "ipcd_message_bytes {} 16001" \
		"ipcd_limit {'name': 'semopm'} 500" "ipcd_queue_bytes {'kind': 'msg', 'id': '2', 'key': '0x00000026'} 16000" \
		"ipcd_processes {} 8"; do
		check "... $wanted" grep -Fx -- "$wanted" <<<"$got"
	done
	check "... a counter for each set and queue" grep -Eq "^ipcd_object_changes_total .*0x00000026'} [1-9]" <<<"$got"
	is "... the directory is a label, whatever its name is" "$("$IPCCTL" -d "$odd/d" metrics | parse | tail -n 1)" \
		"{'$tmp/a \"b\\\\\\t�äc/d'}"
else
	skip "metrics is OpenMetrics" "no python3-prometheus-client"
fi
is "metrics --json has the same numbers" "$("${ctl[@]}" metrics --json | json 'print([m["value"] for m in j["metrics"] if m["name"] == "ipcd_objects"])')" "[1, 3, 3]"

# ---- a pid that came around ----

cat >"$tmp/again.c" <<'C'
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	pid_t pid = atoi(argv[1]);
	struct clone_args a = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	long r = syscall(SYS_clone3, &a, sizeof a);
	if (r < 0) return 1;
	if (!r) { write(1, "there\n", 6); for (;;) pause(); }
	return 0;
}
C
"${on[@]}" perl -e 'shmget(0x41, 100, 01600) // die; print "$$\n"' >"$tmp/creator"
creator=$(cat "$tmp/creator")
made=$(date +%s)
${CC:-cc} -w -o "$tmp/again" "$tmp/again.c" 2>/dev/null
until [ "$(date +%s)" -gt $((made + 2)) ]; do sleep 0.2; done
if [ -x "$tmp/again" ] && "$tmp/again" "$creator" >"$tmp/there"; then
	pids+=" $creator"
	soon test -s "$tmp/there"
	is "another process with the creator's pid does not keep it" "$(kept | grep 'shm 41')" "shm 41 would remove: its creator"
	kill -9 "$creator"
else
	skip "another process with the creator's pid does not keep it" "this system gives no pid by number"
fi

kill -9 $pids 2>/dev/null
for p in $pids; do soon ended "$p"; done
"${ctl[@]}" rm --all
status "destroy takes the logs with it" 0 "${ctl[@]}" destroy
like "... and says that on stderr" "$said" "^ipcctl: removed the namespace $base/$name: by $(id -un) \\(uid $(id -u)\\), $entry\$"
check "... nothing is left" test ! -e "$base/$name"

done_testing
