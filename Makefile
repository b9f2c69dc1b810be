# SPDX-License-Identifier: BSD-2-Clause
# ipcd: System V IPC in userspace. `make help` lists the targets; everything built goes to $(B).

B ?= build
CC ?= cc
PREFIX ?= /usr/local
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
SYSV_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard libipc/sysv*.c))
TOOL_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard ipcd/*.c))
TOOL_COMMON := $(filter-out $(B)/ipcd/ipcrun.o $(B)/ipcd/ipcctl.o,$(TOOL_OBJ))
LIBS := $(B)/libipc.a $(B)/libipc.so $(B)/libipc-sysv.so
TOOLS := $(B)/ipcrun $(B)/ipcctl
STD := $(patsubst t/std/%.c,%,$(wildcard t/std/*.c))
OURS := $(patsubst t/ours/%.c,%,$(wildcard t/ours/*.c))
TESTS := $(STD:%=$(B)/t/std/%) $(OURS:%=$(B)/t/ours/%) $(B)/t/embed $(B)/t/lib/nosysv $(B)/t/walk/walk
WRAPPERS := $(STD:%=$(B)/t/native/%.t) $(STD:%=$(B)/t/ipcrun/%.t)
MAN := $(wildcard doc/man/*.[1-8])

all: $(LIBS) $(TOOLS) ## build the libraries and the tools

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LIBCFLAGS) -c $< -o $@

$(B)/libipc.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(B)/libipc.so: $(LIB_OBJ) libipc/libipc.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=libipc/libipc.map \
		-Wl,-Bsymbolic-functions $(WRAP) -o $@ $(LIB_OBJ) -lsqlite3 $(SYSLIBS)

# SQLite is inside, hidden, so that a program's own and ours never meet.
$(B)/libipc-sysv.so: $(LIB_OBJ) $(SYSV_OBJ) libipc/sysv.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libipc-sysv.so -Wl,--version-script=libipc/sysv.map \
		-Wl,--exclude-libs,ALL -Wl,-Bsymbolic-functions -Wl,-z,nodelete $(WRAP) $(HEAP) -o $@ \
		$(LIB_OBJ) $(SYSV_OBJ) $(SQLITE_A) $(SYSLIBS)

$(TOOLS): $(B)/%: $(B)/ipcd/%.o $(TOOL_COMMON) $(B)/libipc.a
	$(CC) $(CFLAGS) $(LDFLAGS) $(WRAP) -o $@ $^ -lsqlite3 $(SYSLIBS)

# ---- tests ----

$(B)/t/std/% $(B)/t/ours/% $(B)/t/embed: CFLAGS += -It/lib -Ilibipc -MMD -MP
$(B)/t/std/%: t/std/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -lpthread

$(B)/t/lib/%: t/lib/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $<

$(B)/t/ours/%: t/ours/%.c $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(B)/libipc.a -lsqlite3 $(SYSLIBS)

$(B)/t/embed: t/embed.c $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(B)/libipc.a -lsqlite3 $(SYSLIBS)

$(B)/t/walk/walk: $(wildcard t/walk/*.c t/walk/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $(filter %.c,$^)

$(B)/bench/bench: bench/bench.c
	@mkdir -p $(@D)
	$(CC) $(filter-out $(SANITIZE),$(CFLAGS)) -o $@ $< -lpthread

# Every test of the standard calls runs twice: on the kernel, and on ours.
$(B)/t/native/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec t/lib/native $(B)/t/std/$*\n' > $@ && chmod +x $@

$(B)/t/ipcrun/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec $(B)/ipcrun $(B)/t/std/$*\n' > $@ && chmod +x $@

$(B)/t/%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec $(B)/t/$*\n' > $@ && chmod +x $@

TEST_ENV = IPCRUN=$(B)/ipcrun IPCCTL=$(abspath $(B)/ipcctl) NOSYSV=$(B)/t/lib/nosysv WALK=$(B)/t/walk/walk CC='$(CC)' \
	   PATH="$(abspath $(B)):$$PATH"
OWN_T := $(OURS:%=$(B)/t/ours/%.t) $(B)/t/embed.t $(wildcard t/ours/*.sh)
PROVE = $(TEST_ENV) prove --exec '' -j$(JOBS)

$(B)/walk-%.t: Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nT_EFAULT=0 exec t/walk/walk.sh $*\n' > $@ && chmod +x $@

build-tests: all $(TESTS) $(WRAPPERS) $(OWN_T)

check: build-tests $(B)/walk-20000.t ## run the tests
	$(PROVE) $(WRAPPERS) $(OWN_T) t/model/model.sh $(B)/walk-20000.t t/apps/postgresql.sh

check-all: build-tests $(B)/walk-100000.t ## run the tests with the long sweeps
	T_STEP=1 $(PROVE) $(WRAPPERS) $(OWN_T) t/model/model.sh $(B)/walk-100000.t t/apps/postgresql.sh

# Programs under AddressSanitizer do not get past its runtime when they are traced, filtered or short of address space;
# those tests are not part of this run.
ASAN_SKIP = nosyscall step% store
check-asan: ## run the suite under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) B=$(B)/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined' OPT='-O1 -g' build-asan
	$(MAKE) B=$(B)/asan run-asan

build-asan: all $(TESTS) $(WRAPPERS) $(OWN_T)

run-asan:
	ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:use_sigaltstack=0 $(PROVE) \
		$(STD:%=$(B)/t/ipcrun/%.t) $(patsubst %,$(B)/t/ours/%.t,$(filter-out $(ASAN_SKIP),$(OURS))) $(B)/t/embed.t

bench: all $(B)/bench/bench ## measure against the kernel
	BENCH=$(B)/bench/bench IPCRUN=$(B)/ipcrun bench/run.sh

demo: all ## see it work, in half a minute
	IPCRUN=$(abspath $(B)/ipcrun) IPCCTL=$(abspath $(B)/ipcctl) t/apps/demo.sh

deps: ## install what building and testing need (as root; otherwise print the line)
	t/deps.sh

install: all ## install to $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	install -m 755 $(TOOLS) $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(B)/libipc.so $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libipc.so
	install -m 755 $(B)/libipc-sysv.so $(DESTDIR)$(PREFIX)/lib/
	install -m 644 $(B)/libipc.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 libipc/libipc.h $(DESTDIR)$(PREFIX)/include/
	for m in $(MAN); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

uninstall: ## remove what install put there
	rm -f $(TOOLS:$(B)/%=$(DESTDIR)$(PREFIX)/bin/%) $(DESTDIR)$(PREFIX)/include/libipc.h \
		$(addprefix $(DESTDIR)$(PREFIX)/lib/,$(SONAME) libipc.so libipc-sysv.so libipc.a)
	for m in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

clean: ## remove what was built
	rm -rf $(B)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(SYSV_OBJ:.o=.d) $(wildcard $(B)/t/*/*.d)

.PHONY: all build-tests check check-all check-asan build-asan run-asan bench demo deps install uninstall clean help
.SECONDARY:
