# SPDX-License-Identifier: BSD-2-Clause
# ipcd: System V IPC in userspace. `make help` lists the targets; everything built goes to $(B).

B ?= build
CC ?= cc
VERSION = 0.1
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system
USERUNITDIR ?= $(PREFIX)/lib/systemd/user
DESTDIR ?=
OPT ?= -O2 -g
WERROR ?=
SANITIZE ?=
JOBS ?= 2
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla \
       -Wundef -Wformat=2 -Wno-format-nonliteral -Wold-style-definition $(WERROR)
CFLAGS += -std=gnu11 -D_GNU_SOURCE $(OPT) $(WARN) $(SANITIZE)
LIBCFLAGS = -fPIC -MMD -MP $(if $(filter x86_64,$(shell uname -m)),-mcx16)
SONAME = libipc.so.0
SQLITE_A := $(shell $(CC) -print-file-name=libsqlite3.a)
SYSLIBS = -lpthread -ldl -lm
# Our own work with files passes by what other preloaded libraries make of these names.
OWN := $(shell sed -n 's/^OWN[A-Z_]*.\([a-z_][a-z0-9_]*\), .*/\1/p' libipc/own.c)
WRAP = $(OWN:%=-Wl,--wrap=%)
HEAP = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free

LIB_SRC := $(filter-out libipc/sysv%,$(wildcard libipc/*.c)) $(wildcard persist/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
# The drop-in serves nobody.
DROP_OBJ := $(filter-out $(B)/libipc/serve%,$(LIB_OBJ))
SYSV_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard libipc/sysv*.c))
TOOLS := $(B)/ipcrun $(B)/ipcctl $(B)/ipcd
TOOL_OBJ := $(patsubst ipcd/%.c,$(B)/tools/%.o,$(wildcard ipcd/*.c))
TOOL_COMMON := $(filter-out $(TOOLS:$(B)/%=$(B)/tools/%.o),$(TOOL_OBJ))
LIBS := $(B)/libipc.a $(B)/libipc.so $(B)/libipc-sysv.so
STD := $(patsubst t/std/%.c,%,$(wildcard t/std/*.c))
OURS := $(patsubst t/ours/%.c,%,$(wildcard t/ours/*.c))
TESTS := $(STD:%=$(B)/t/std/%) $(OURS:%=$(B)/t/ours/%) $(B)/t/embed $(B)/t/host $(B)/t/fuzz/run \
	 $(B)/t/lib/nosysv $(B)/t/walk/walk
STEPPED := $(patsubst %,$(B)/t/stepped/%.t,own-step own-step_msg own-step_wait own-step_nest own-step_shm \
	     other-step other-step_msg other-step_wait other-step_shm)
WRAPPERS := $(STD:%=$(B)/t/native/%.t) $(STD:%=$(B)/t/ipcrun/%.t) $(STD:%=$(B)/t/daemon/%.t)
MAN := $(wildcard doc/man/*.[1-8])

all: $(LIBS) $(TOOLS) ## build the libraries and the tools

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LIBCFLAGS) -c $< -o $@

# Not to $(B)/ipcd/: that is the daemon's name.
$(B)/tools/%.o: ipcd/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LIBCFLAGS) -DIPCD_VERSION='"$(VERSION)"' -c $< -o $@

$(B)/libipc.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

# Not to be unloaded: threads and signal handlers go on to need it.
$(B)/libipc.so: $(LIB_OBJ) libipc/libipc.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=libipc/libipc.map \
		-Wl,-Bsymbolic-functions -Wl,-z,nodelete $(WRAP) -o $@ $(LIB_OBJ) -lsqlite3 $(SYSLIBS)

# SQLite is inside, hidden, so that a program's own and ours never meet.
$(B)/libipc-sysv.so: $(DROP_OBJ) $(SYSV_OBJ) libipc/sysv.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libipc-sysv.so -Wl,--version-script=libipc/sysv.map \
		-Wl,--exclude-libs,ALL -Wl,-Bsymbolic-functions -Wl,-z,nodelete $(WRAP) $(HEAP) -o $@ \
		$(DROP_OBJ) $(SYSV_OBJ) $(SQLITE_A) $(SYSLIBS)

$(TOOLS): $(B)/%: $(B)/tools/%.o $(TOOL_COMMON) $(B)/libipc.a
	rm -rf $@
	$(CC) $(CFLAGS) $(LDFLAGS) $(WRAP) -o $@ $^ -lsqlite3 $(SYSLIBS)

# ---- tests ----

$(B)/t/std/% $(B)/t/ours/% $(B)/t/embed $(B)/t/host: CFLAGS += -It/lib -Ilibipc -MMD -MP
$(B)/t/std/%: t/std/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -lpthread

$(B)/t/lib/%: t/lib/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $<

$(B)/t/ours/%: t/ours/%.c $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(B)/libipc.a -lsqlite3 $(SYSLIBS)

$(B)/t/embed $(B)/t/host: $(B)/t/%: t/%.c $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(B)/libipc.a -lsqlite3 $(SYSLIBS)

# The decoder of requests, and the engine below it: with a main of its own, and with libFuzzer's.
FUZZ_SRC = t/fuzz/request.c
$(B)/t/fuzz/run: t/fuzz/run.c $(FUZZ_SRC) $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -It/lib -Ilibipc -o $@ t/fuzz/run.c $(FUZZ_SRC) $(B)/libipc.a -lsqlite3 $(SYSLIBS)

$(B)/t/fuzz/request: $(FUZZ_SRC) $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Ilibipc -fsanitize=fuzzer -o $@ $(FUZZ_SRC) $(B)/libipc.a -lsqlite3 $(SYSLIBS)

$(B)/t/walk/walk: $(wildcard t/walk/*.c t/walk/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $(filter %.c,$^)

$(B)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(filter-out $(SANITIZE),$(CFLAGS)) -o $@ $< -lpthread

# Every test of the standard calls runs three times: on the kernel, and on ours, embedded and with a daemon; in
# check-all once more with a daemon that is not root's.
$(B)/t/native/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec t/lib/native $(B)/t/std/$*\n' > $@ && chmod +x $@

$(B)/t/ipcrun/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec $(B)/ipcrun --embedded $(B)/t/std/$*\n' > $@ && chmod +x $@

$(B)/t/daemon/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec t/lib/daemon $(B)/t/std/$*\n' > $@ && chmod +x $@

$(B)/t/daemon-user/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nT_DAEMON_UID=65534 exec t/lib/daemon $(B)/t/std/$*\n' > $@ && chmod +x $@

# The single-stepped calls once more, as those of a daemon's clients: of an object's owner, and of another uid.
$(B)/t/stepped/own-%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nT_DAEMON=own exec $(B)/t/ours/$*\n' > $@ && chmod +x $@

$(B)/t/stepped/other-%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nT_DAEMON=other exec $(B)/t/ours/$*\n' > $@ && chmod +x $@

$(B)/t/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec $(B)/t/$*\n' > $@ && chmod +x $@

TEST_ENV = IPCRUN=$(B)/ipcrun IPCCTL=$(abspath $(B)/ipcctl) IPCD=$(abspath $(B)/ipcd) NOSYSV=$(B)/t/lib/nosysv \
	   WALK=$(B)/t/walk/walk CC='$(CC)' PATH="$(abspath $(B)):$$PATH"
OWN_T := $(OURS:%=$(B)/t/ours/%.t) $(STEPPED) $(B)/t/embed.t $(B)/t/host.t $(B)/t/fuzz/run.t $(wildcard t/ours/*.sh)
PROVE = $(TEST_ENV) prove --exec '' -j$(JOBS)

$(B)/walk-%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nT_EFAULT=0 exec t/walk/walk.sh $*\n' > $@ && chmod +x $@

# With a daemon: of root's, ids that change (also where the daemon is not root's), an ordinary user, and its own daemon.
define daemon_walk
$(B)/walk-$(1)-%.t: Makefile
	@mkdir -p $$(@D)
	@printf '#!/bin/sh\n$(2) T_EFAULT=0 exec t/walk/walk.sh -d $$*\n' > $$@ && chmod +x $$@
endef
$(eval $(call daemon_walk,daemon,))
$(eval $(call daemon_walk,ids,T_IDS=1))
$(eval $(call daemon_walk,uids,T_IDS=1 T_DAEMON_UID=65534))
$(eval $(call daemon_walk,user,T_USER=nobody))
$(eval $(call daemon_walk,own,T_USER=nobody T_OWN=1))

$(B)/model-all.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec t/model/model.sh --all\n' > $@ && chmod +x $@

# Real programs, each on the kernel, under ipcrun, and under ipcrun with no System V IPC in the kernel.
APPS_T := $(patsubst %,t/apps/%.sh,tools postgresql fakeroot buffer x11 php perl python stress-ng apache debian)

# With a daemon that is an ordinary user: what concerns users, descriptors and processes.
STD_USER := perm_matrix ids moved table_uid table_limit fork_exec fork_spawn shm_attach sem_ops msg_sleep unshare
USER_T := $(STD_USER:%=$(B)/t/daemon-user/%.t)
USER_T_ALL := $(STD:%=$(B)/t/daemon-user/%.t)

build-tests: all $(TESTS) $(WRAPPERS) $(OWN_T)

WALKS := $(patsubst %,$(B)/walk-%.t,20000 daemon-10000 ids-5000)
WALKS_ALL := $(patsubst %,$(B)/walk-%.t,100000 daemon-100000 ids-100000 uids-50000 user-50000 own-50000)

check: build-tests $(WALKS) $(USER_T) ## run the tests
	t/gen_table.py --check
	$(PROVE) $(WRAPPERS) $(USER_T) $(OWN_T) t/model/model.sh $(WALKS) $(APPS_T)

check-all: build-tests $(WALKS_ALL) $(USER_T_ALL) $(B)/model-all.t ## run the tests with the long sweeps
	t/gen_table.py --check
	T_STEP=1 T_TIMES=10 T_ALL=1 PG_SOURCE=$(abspath $(B))/postgresql $(PROVE) $(WRAPPERS) $(USER_T_ALL) $(OWN_T) \
		$(B)/model-all.t $(WALKS_ALL) $(APPS_T) t/apps/postgresql-source.sh

# Programs under AddressSanitizer do not get past its runtime when they are traced, filtered or short of address space,
# and those that are linked with the library take sigaction() from it; those tests are not part of this run.
ASAN_SKIP = nosyscall reopened step% store
check-asan: ## run the suite under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) B=$(B)/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined' OPT='-O1 -g' build-asan
	$(MAKE) B=$(B)/asan run-asan

build-asan: all $(TESTS) $(WRAPPERS) $(OWN_T)

run-asan:
	ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:use_sigaltstack=0 $(PROVE) \
		$(STD:%=$(B)/t/ipcrun/%.t) $(STD:%=$(B)/t/daemon/%.t) $(patsubst %,$(B)/t/ours/%.t,$(filter-out $(ASAN_SKIP),$(OURS))) $(B)/t/embed.t \
		$(B)/t/fuzz/run.t

FUZZ_TIME ?= 600
FUZZ_SANITIZE = -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
fuzz: ## feed a daemon what libFuzzer makes up, for FUZZ_TIME seconds (clang)
	$(MAKE) B=$(B)/fuzz CC=clang OPT='-O1 -g' SANITIZE='$(FUZZ_SANITIZE)' $(B)/fuzz/t/fuzz/request
	mkdir -p $(B)/fuzz/corpus
	ASAN_OPTIONS=detect_leaks=0 $(B)/fuzz/t/fuzz/request -max_total_time=$(FUZZ_TIME) -max_len=4096 -timeout=20 \
		-artifact_prefix=$(B)/fuzz/ $(B)/fuzz/corpus t/fuzz/corpus

bench: all $(B)/bench/bench $(B)/bench/daemon ## measure against the kernel, and what a daemon costs
	BENCH=$(B)/bench/bench IPCRUN=$(B)/ipcrun bench/run.sh
	IPCRUN=$(B)/ipcrun bench/daemon.sh

bench-apps: all ## measure real programs against the kernel
	IPCRUN=$(abspath $(B)/ipcrun) bench/apps.sh

demo: all ## see it work, in half a minute
	IPCRUN=$(abspath $(B)/ipcrun) IPCCTL=$(abspath $(B)/ipcctl) t/apps/demo.sh

deps: ## install what building and testing need (as root; otherwise print the line)
	t/deps.sh

# ipcrun finds the library in these places beside its own, wherever the tree is put.
LIBDIRS = $(PREFIX)/lib $(PREFIX)/lib64 $(PREFIX)/lib/$(shell $(CC) -dumpmachine | sed 's/-.*-linux/-linux/')
ifeq ($(filter $(LIBDIR),$(LIBDIRS)),)
$(error LIBDIR=$(LIBDIR) is no place where ipcrun finds its library; use one of: $(LIBDIRS))
endif

INSTALLED = $(TOOLS:$(B)/%=$(PREFIX)/bin/%) $(INCLUDEDIR)/libipc.h $(LIBDIR)/pkgconfig/libipc.pc \
	    $(addprefix $(LIBDIR)/,$(SONAME) libipc.so libipc-sysv.so libipc.a) \
	    $(BASHDIR)/ipcrun $(BASHDIR)/ipcctl $(ZSHDIR)/_ipcrun \
	    $(foreach d,$(UNITDIR) $(USERUNITDIR),$(d)/ipcd.service $(d)/ipcd.socket) \
	    $(foreach m,$(MAN),$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)))

install: all ## install to $(DESTDIR)$(PREFIX); LIBDIR may be lib, lib64 or the multiarch directory in it
	install -d $(sort $(addprefix $(DESTDIR),$(dir $(INSTALLED))))
	install -m 755 $(TOOLS) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/libipc.so $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libipc.so
	install -m 644 $(B)/libipc-sysv.so $(B)/libipc.a $(DESTDIR)$(LIBDIR)/
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
		libipc/libipc.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libipc.pc
	install -m 644 libipc/libipc.h $(DESTDIR)$(INCLUDEDIR)/
	for m in $(MAN); do install -m 644 $$m $(DESTDIR)$(MANDIR)/man$${m##*.}/ || exit; done
	install -m 644 completion/ipcd.bash $(DESTDIR)$(BASHDIR)/ipcrun
	ln -sf ipcrun $(DESTDIR)$(BASHDIR)/ipcctl
	install -m 644 completion/_ipcrun $(DESTDIR)$(ZSHDIR)/
	sed 's|@PREFIX@|$(PREFIX)|' systemd/ipcd.service.in > $(DESTDIR)$(UNITDIR)/ipcd.service
	sed 's|@PREFIX@|$(PREFIX)|' systemd/user/ipcd.service.in > $(DESTDIR)$(USERUNITDIR)/ipcd.service
	install -m 644 systemd/ipcd.socket $(DESTDIR)$(UNITDIR)/
	install -m 644 systemd/user/ipcd.socket $(DESTDIR)$(USERUNITDIR)/
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

clean: ## remove what was built
	rm -rf $(B)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(SYSV_OBJ:.o=.d) $(wildcard $(B)/t/*/*.d)

.PHONY: all build-tests check check-all check-asan build-asan run-asan fuzz bench bench-apps demo deps install uninstall \
	clean help
.SECONDARY:
