#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# What else is in a process with our library: extensions that bind past it, other preloaded libraries before and behind
# it, one that takes what we ourselves call. The C parts are in t/lib/preload. Environment: IPCRUN, CC.
# shellcheck disable=SC2016,SC2154

. "$(dirname "$0")/../lib/tap.sh"
library=$(dirname "$IPCRUN")/libipc-sysv.so

build() {	# OUTPUT SOURCE FLAG...
	local out=$tmp/$1 source=$top/t/lib/preload/$2
	shift 2
	"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O1 -o "$out" "$source" "$@" -ldl || { echo "Bail out! cannot build $out"; exit 1; }
}
build plugin.so plugin.c -shared -fPIC
build host host.c -rdynamic
build jealous.so jealous.c -shared -fPIC -fno-builtin
build every_call every_call.c
build before.so neighbour.c -shared -fPIC -DNAME=before -DRANK=0
build behind.so neighbour.c -shared -fPIC -DNAME=behind -DRANK=1
build between between.c

# ---- libraries that a program loads ----

# Where it is the same on the kernel: the objects are the namespace's, and are removed with it.
natively() {
	env -u LD_PRELOAD "$top/t/lib/native" "$@"
}
for way in now lazy global plain; do
	flags="RTLD_DEEPBIND ($way)"
	[ $way = plain ] && flags="no special flag"
	want='constructed=0 whose=[12] add=0 closed=0 gone=1 text=1 nattch=1 detach=0 handle=0 values=1151'
	got=$("$IPCRUN" "$tmp/host" "$tmp/plugin.so" $way 2>&1)
	like "a library loaded with $flags reaches the namespace: in its constructor, its functions, its destructor" \
		"$got" "^$want\$"
	if [ "$(id -u)" = 0 ]; then
		is "... as it does the kernel's, with the same bindings of its other names" "$got" \
			"$(natively "$tmp/host" "$tmp/plugin.so" $way 2>&1)"
	else
		skip "... as it does the kernel's" "needs root"
	fi
done
is "the undo of what a closed library has done is applied at the end" "$("$IPCRUN" sh -c '"$1/host" "$1/plugin.so" lazy >&2
	perl -e "print semctl(semget(0x41a70500, 0, 0), 2, 12, 0) + 0"' sh "$tmp" 2>/dev/null)" 0
mkdir "$tmp/lib" && mv "$tmp/plugin.so" "$tmp/lib/"
build far host.c -rdynamic '-Wl,-rpath,$ORIGIN/lib'
like "the program's own RUNPATH is where dlopen looks" "$("$IPCRUN" "$tmp/far" plugin.so lazy 2>&1)" "^constructed=0 "
if command -v python3 >/dev/null; then
	is "a name asked of libc's own handle is ours" "$("$IPCRUN" python3 -c 'import ctypes
libc = ctypes.CDLL("libc.so.6")
print(libc.msgget(0x77, 0o1600) == ctypes.CDLL(None).msgget(0x77, 0) != -1)')" True
fi

# ---- libraries before ours and behind it ----

around() {	# PRELOAD-IN-FRONT PRELOAD-BEHIND
	"$IPCRUN" env LD_PRELOAD="$1${1:+:}$library${2:+:}$2" SAY=1 "$tmp/between" 2>&1 | sort | tr '\n' ';'
}
nobody='constructed=-1 semops=0 syscalls=0 munmaps=0 sigactions=0'
in_front='constructed=1 semops=1 syscalls=2 munmaps=1 sigactions=1'
in_back='constructed=1 semops=0 syscalls=1 munmaps=1 sigactions=1'
is "without neighbours" "$(around '' '')" "before: $nobody;behind: $nobody;pid=1 queue=1 nattch=0 values=0001;"
is "a library before ours sees the program's calls, and its constructor and destructor make calls" \
	"$(around "$tmp/before.so" '')" \
	"before: $in_front;behind: $nobody;destroyed 0;pid=1 queue=1 nattch=0 values=1001;"
is "one behind ours sees those that are not ours, and its constructor and destructor make calls" \
	"$(around '' "$tmp/behind.so")" \
	"before: $nobody;behind: $in_back;destroyed 1;pid=1 queue=1 nattch=0 values=0101;"
is "both" "$(around "$tmp/before.so" "$tmp/behind.so")" \
	"before: $in_front;behind: $in_back;destroyed 0;destroyed 1;pid=1 queue=1 nattch=0 values=1101;"

# ---- libraries that take what we call ----

is "our own work passes by a library before ours that takes the names of files, ids and time" \
	"$("$IPCRUN" env LD_PRELOAD="$tmp/jealous.so:$library" "$tmp/every_call" 2>&1 | tr '\n' ';')" \
	"called: access;seen=1 child=0 failed=0;"
is "... and by one behind it" "$(LD_PRELOAD=$tmp/jealous.so "$IPCRUN" env LD_PRELOAD="$library:$tmp/jealous.so" \
	"$tmp/every_call" 2>&1 | tr '\n' ';')" "called: access;seen=1 child=0 failed=0;"

# What the library may ask of others at all: memory, strings, the dynamic linker, threads and signal masks, and what libc
# does without a system call, or on its own descriptors; free and realloc for what libc allocated. Anything else belongs
# into libipc/own.c.
allowed='__ctype_b_loc|__cxa_finalize|__errno_location|__gmon_start__|__isoc(99|23)_(sscanf|strtoul?l?)|__register_atfork
__sigsetjmp|__stack_chk_fail|__tls_get_addr|__environ|environ|_ITM_.*|__pthread_.*|pthread_.*|mem(cpy|move|set|cmp|chr)
__(memcpy|memset|memmove|sn?printf|vsnprintf|fprintf|vfprintf|printf|dprintf|strcpy|strcat)_chk|str.*|v?sn?printf|v?fprintf
v?dprintf|free|realloc|fwrite|fputs|fputc|puts|putc|stderr|stdout|fflush|sscanf|qsort|bsearch|abort|getenv|setenv|unsetenv|dl[a-z_]*
sig(addset|emptyset|fillset|delset|ismember)|sched_yield|sched_getaffinity|__sched_cpucount|sysconf|sigpending|getrlimit(64)?|gettid|process_vm_readv|secure_getenv|gettimeofday|localtime_r|usleep|sleep
fdopendir|readdir(64)?|closedir|a?(sin|cos|tan)h?|atan2|exp|log|log2|log10|pow|sqrt|fmod|trunc|floor|ceil'
asked=$(nm -D --undefined-only "$library" | sed 's/@.*//; s/.* //' | grep -v '^__asan_\|^__ubsan_' |
	grep -vxE "$(echo "$allowed" | tr '\n' '|')" | tr '\n' ' ')
is "of other libraries the drop-in asks for nothing that opens, reads or looks at files" "$asked" ""

done_testing
