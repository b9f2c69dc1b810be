# SPDX-License-Identifier: BSD-2-Clause
# ipcd: System V IPC in userspace. `make help` lists the targets; everything built goes to $(B).

B ?= build
CC ?= cc
PREFIX ?= /usr/local
DESTDIR ?=
OPT ?= -O2 -g
WERROR ?=
SANITIZE ?=
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla \
       -Wundef -Wformat=2 -Wold-style-definition $(WERROR)
CFLAGS += -std=gnu11 -D_GNU_SOURCE $(OPT) $(WARN) $(SANITIZE) -fvisibility=default -fno-semantic-interposition
VERSION = 0.1
SQLITE_A := $(shell $(CC) -print-file-name=libsqlite3.a)

LIB_SRC := $(filter-out libipc/sysv.c,$(wildcard libipc/*.c)) $(wildcard persist/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
TOOLS := $(B)/ipcrun $(B)/ipcctl
LIBS := $(B)/libipc.a $(B)/libipc.so $(B)/libipc-sysv.so
STD := $(patsubst t/std/%.c,$(B)/t/std/%,$(wildcard t/std/*.c))
OURS := $(patsubst t/ours/%.c,$(B)/t/ours/%,$(wildcard t/ours/*.c))
HELPERS := $(patsubst t/lib/%.c,$(B)/t/lib/%,$(wildcard t/lib/*.c))

all: $(LIBS) $(TOOLS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fPIC -MMD -MP -c $< -o $@

$(B)/libipc.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(B)/libipc.so: $(LIB_OBJ) libipc/libipc.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libipc.so.0 -Wl,--version-script=libipc/libipc.map -o $@ \
		$(LIB_OBJ) -lsqlite3 -lpthread -ldl

# SQLite is inside, hidden, so that a program's own and ours never meet.
$(B)/libipc-sysv.so: $(LIB_OBJ) $(B)/libipc/sysv.o libipc/sysv.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libipc-sysv.so -Wl,--version-script=libipc/sysv.map \
		-Wl,--exclude-libs,ALL -Wl,-Bsymbolic-functions -Wl,-z,nodelete -o $@ \
		$(LIB_OBJ) $(B)/libipc/sysv.o $(SQLITE_A) -lpthread -ldl -lm

$(B)/ipcrun $(B)/ipcctl: $(B)/%: $(B)/ipcd/%.o $(B)/libipc.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lsqlite3 -lpthread -ldl -lm

$(B)/t/std/% $(B)/t/lib/%: CFLAGS += -It/lib
$(B)/t/std/%: t/std/%.c t/lib/tap.h t/lib/proc.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -lpthread

$(B)/t/lib/%: t/lib/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $<

$(B)/t/ours/%: t/ours/%.c t/lib/tap.h t/lib/proc.h $(B)/libipc.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -It/lib -Ilibipc -o $@ $< $(B)/libipc.a -lsqlite3 -lpthread -ldl -lm

-include $(LIB_OBJ:.o=.d) $(B)/libipc/sysv.d $(B)/ipcd/ipcrun.d $(B)/ipcd/ipcctl.d

clean:
	rm -rf $(B)

.PHONY: all clean
