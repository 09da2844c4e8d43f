# SPDX-License-Identifier: MIT
# One Makefile for everything. `./mcp` installs what this needs and then calls it.
#   make                 programs into build/
#   make test            every suite (tests/run)
#   make screenshots     pictures of the dashboard, into screenshots/
#   make bench           the benchmark (bench-ws: of the relay)
#   make SAN=address,undefined …   the same with sanitizers, into build-san/
#   make COV=1 …         the same with coverage counters, into build-cov/
#   make install DESTDIR=…  PREFIX=/usr/local

CC      ?= gcc
PREFIX  ?= /usr/local
ifdef SAN
B       ?= build-san
else ifdef COV
B       ?= build-cov
else
B       ?= build
endif
# One name for one folder: the dependencies noted in it name the objects by it, and would not be seen under another.
override B := $(patsubst $(CURDIR)/%,%,$(abspath $(B)))

VERSION := $(shell sed -n 's/^\#\# \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
GITREV  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
PKGS    := json-c libjwt libcrypto libcurl sqlite3 hiredis libmongoc-1.0 libpcre2-8
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null | sed 's/-I/-isystem /g')
LIBS_ALL := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lfcgi -lcrypt -lm -lpthread
# The relay touches neither store nor bcrypt: only what it names is linked, so that it stays small.
LIBS_RELAY := -Wl,--as-needed $(shell pkg-config --libs libwebsockets libuv hiredis libcrypto 2>/dev/null) $(LIBS_ALL)
LIBS_CLI := $(shell pkg-config --libs json-c libcurl libcrypto 2>/dev/null) -lm -lpthread

WARN    := -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wundef
HARDEN  := -fstack-protector-strong -fPIE
LINK_HARDEN := -pie -Wl,-z,relro,-z,now
ifdef SAN
OPT     := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
LINK_OPT := -fsanitize=$(SAN)
else ifdef COV
OPT     := -O0 -g --coverage -fprofile-update=atomic
LINK_OPT := --coverage
else
OPT     := -O2 -g -D_FORTIFY_SOURCE=3
endif
CFLAGS_ALL := -std=gnu17 $(WARN) $(OPT) $(HARDEN) $(PKG_CFLAGS) -I. -D_GNU_SOURCE $(CFLAGS)
LDFLAGS_ALL := $(LINK_HARDEN) $(LINK_OPT) $(LDFLAGS)

# make V=1 shows the commands
ifndef V
Q := @
say = @echo "  $(1)	$@"
endif

# Objects have a folder of their own: $(B)/tests/contract is a program, not the folder of its objects.
objs = $(patsubst %.c,$(B)/o/%.o,$(1))
LIB_SRC   := $(wildcard lib/*/*.c)
API_SRC   := $(wildcard fcgi/*.c)
SCHED_SRC := $(wildcard scheduler/*.c)
RELAY_SRC := $(wildcard ws-relay/*.c)
# What of it is functions alone, for the unit tests and the fuzzer.
RELAY_PURE := $(addprefix ws-relay/,msg.c eio_packet.c sio_packet.c event.c dialects.c strangers.c)
CLI_SRC   := $(wildcard cli/*.c)
UNIT_SRC  := $(wildcard tests/unit/*.c)
CONTRACT_SRC := $(wildcard tests/contract/*.c)
LOAD_SRC  := $(wildcard tests/bench/load/*.c)
FUZZ_SRC  := $(wildcard tests/fuzz/*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)

PROGRAMS := $(B)/mcp-api $(B)/mcp-scheduler $(B)/mcp-relay $(B)/mcpctl
TESTS    := $(if $(UNIT_SRC),$(B)/tests/unit) $(if $(CONTRACT_SRC),$(B)/tests/contract) \
	    $(if $(LOAD_SRC),$(B)/tests/load) \
	    $(patsubst tests/bench/%.c,$(B)/tests/%,$(BENCH_SRC)) $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(FUZZ_SRC))

.PHONY: all programs tests test bench screenshots bench-ws docs check-docs install clean
.DELETE_ON_ERROR:
all: programs
programs: $(PROGRAMS)
tests: $(TESTS)

$(B)/libmcp.a: $(call objs,$(LIB_SRC))
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(B)/mcp-api: $(call objs,$(API_SRC)) $(B)/libmcp.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_ALL)
$(B)/mcp-scheduler: $(call objs,$(SCHED_SRC)) $(B)/libmcp.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_ALL)
$(B)/mcp-relay: $(call objs,$(RELAY_SRC)) $(B)/libmcp.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_RELAY)
$(B)/mcpctl: $(call objs,$(CLI_SRC)) $(B)/libmcp.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CLI)
# Unit tests see everything but the programs' main(); their TLS server needs libssl itself.
$(B)/tests/unit: $(call objs,$(UNIT_SRC)) $(call objs,$(filter-out fcgi/main.c,$(API_SRC)) $(filter-out scheduler/main.c,$(SCHED_SRC)) $(RELAY_PURE)) $(B)/libmcp.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcunit -lssl $(LIBS_ALL)
$(B)/tests/contract: $(call objs,$(CONTRACT_SRC)) $(B)/libmcp.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcunit $(LIBS_ALL)
$(B)/tests/load: $(call objs,$(LOAD_SRC)) $(B)/libmcp.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_ALL)
$(patsubst tests/bench/%.c,$(B)/tests/%,$(BENCH_SRC)): $(B)/tests/%: $(B)/o/tests/bench/%.o $(B)/libmcp.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_ALL)
$(B)/tests/fuzz_frames: $(call objs,$(RELAY_PURE))
$(patsubst tests/fuzz/%.c,$(B)/tests/%,$(FUZZ_SRC)): $(B)/tests/%: $(B)/o/tests/fuzz/%.o $(B)/libmcp.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS_ALL)

$(B)/o/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# Text that is built in by .incbin, which -MMD does not see.
$(call objs,$(wildcard lib/store/store_sqlite*.c)): $(wildcard sql/*.sql)
$(call objs,$(wildcard lib/bus/*.c)): $(wildcard lib/bus/lua/*.lua)
$(B)/o/lib/base/version.o: CHANGELOG.md
$(B)/o/lib/base/version.o: CFLAGS_ALL += -DMCP_VERSION='"$(or $(VERSION),0.0.0)"' -DMCP_REVISION='"$(GITREV)"'

-include $(shell find $(B) -name '*.d' 2>/dev/null)

test:
	tests/run
bench: all tests
	tests/bench/run
# Clients and the relay to compare with come from npm (tests/package-lock.json).
tests/node_modules: tests/package.json tests/package-lock.json
	npm ci --prefix tests --no-audit --no-fund --silent && touch $@
bench-ws: all tests
	-@$(MAKE) -s tests/node_modules
	tests/bench/ws

# Pictures of every page, wide and narrow, light and dark, into screenshots/.
screenshots: all tests/node_modules
	B=$(abspath $(B)) node tests/browser/shots.mjs screenshots

# Documents that are made from the code's tables; CI fails when they are stale.
docs: $(B)/mcp-api
	$(B)/mcp-api --docs docs
	$(B)/mcp-api --example-config > conf/mcp.conf.example
check-docs: $(B)/mcp-api
	@rm -rf $(B)/docs-check && mkdir -p $(B)/docs-check
	@$(B)/mcp-api --docs $(B)/docs-check
	@cd $(B)/docs-check && find . -type f | while read -r f; do diff -q "$$f" "$(CURDIR)/docs/$$f" || exit 1; done
	@$(B)/mcp-api --example-config | diff -q - conf/mcp.conf.example

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/mcp/www \
		$(DESTDIR)$(PREFIX)/share/mcp/conf $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)/etc/mcp
	install -m 755 $(B)/mcp-api $(B)/mcp-scheduler $(B)/mcp-relay $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(B)/mcpctl $(DESTDIR)$(PREFIX)/bin/
	install -m 644 conf/*.conf conf/mcp.conf.example $(DESTDIR)$(PREFIX)/share/mcp/conf/
	[ -e $(DESTDIR)/etc/mcp/mcp.conf ] || install -m 640 conf/mcp.conf.example $(DESTDIR)/etc/mcp/mcp.conf
	for f in docs/man/*.1; do install -m 644 "$$f" $(DESTDIR)$(PREFIX)/share/man/man1/; done
	install -m 644 cli/completion/mcpctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mcpctl
	install -m 644 cli/completion/_mcpctl $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_mcpctl
	for f in conf/systemd/*.service; do \
		conf/render "$$f" BIN=$(PREFIX)/sbin CONF=/etc/mcp STATE=/var/lib/mcp > $(DESTDIR)$(PREFIX)/lib/systemd/system/$${f##*/}; done
	find www -type f | while read -r f; do install -D -m 644 "$$f" "$(DESTDIR)$(PREFIX)/share/mcp/$$f"; done
	install -m 755 conf/render $(DESTDIR)$(PREFIX)/share/mcp/conf/
	install -m 644 conf/errors.tsv $(DESTDIR)$(PREFIX)/share/mcp/conf/
	conf/render --errors $(DESTDIR)$(PREFIX)/share/mcp/errors
	[ -e $(DESTDIR)/etc/mcp/redis.conf ] || \
		conf/render conf/redis.conf SOCKET=/run/mcp-redis/redis.sock DIR=/var/lib/mcp/redis > $(DESTDIR)/etc/mcp/redis.conf
	[ -e $(DESTDIR)/etc/mcp/lighttpd.conf ] || conf/render conf/lighttpd.conf HOST=127.0.0.1 PORT=8080 WEB_USER=www-data \
		WWW=$(PREFIX)/share/mcp/www TMP=/tmp MAX_FDS=65536 MAX_CONNECTIONS=32768 ERRORS=$(PREFIX)/share/mcp/errors \
		FAST_SOCKET=/run/mcp/api.sock SLOW_SOCKET=/run/mcp/slow.sock JAVASCRIPT=/usr/share/javascript \
		RELAY_HOST=127.0.0.1 RELAY_PORT=8081 > $(DESTDIR)/etc/mcp/lighttpd.conf

clean:
	rm -rf build build-san build-cov
