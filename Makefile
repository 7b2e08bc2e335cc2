# smtpstate: everything one does twice. Each target does its own set-up.

SWIFT ?= swift
JOBS ?= 2
BUILD := .build
BIN := $(BUILD)/release
# Programs and tests are built once, optimised: the tests walk millions of states.
FLAGS := -c release -Xswiftc -enable-testing -j $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help deps play test-page run test test-threads explore docs fuzz coverage mutants bench core-embedded c-library test-c-library test-examples test-nio-example test-postfix soak programs install uninstall setup-run setup-test setup-c setup-c-library setup-nio-example clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## build, start starttlsd on the loopback, send a mail through STARTTLS, stay until interrupted
	@$(SWIFT) build -c release -j $(JOBS) --product starttlsd
	@$(SWIFT) build -c release -j $(JOBS) --product maildir-smtpd
	@Scripts/run $(BIN)

test: setup-test core-embedded test-c-library test-examples ## build everything and run all tests
	@$(SWIFT) build $(FLAGS) --build-tests
	@Scripts/coverage $(BUILD)/coverage
	@SMTPSTATE_BIN=$(CURDIR)/$(BIN) $(SWIFT) test $(FLAGS) --skip-build
	@Scripts/docs $(BUILD)/docs
	@$(SWIFT) test -j $(JOBS) --filter 'FuzzTests/test.*Again'

test-threads: setup-test ## two threads with sessions side by side, under ThreadSanitizer
	@TSAN_OPTIONS=halt_on_error=1 $(SWIFT) test -j $(JOBS) --sanitize=thread --scratch-path $(BUILD)/threads --filter TwoThreadsTests

explore: ## explore the session under all policies: larger limits, every octet, its control at the shipped limits; half an hour, six gigabytes
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_EXPLORE=large $(SWIFT) test $(FLAGS) --skip-build --filter ExplorationTests

deps: ## list the Debian packages that the targets need, and install those that are missing
	@packages=$$(sed -n 's/^\t@Scripts\/install \([a-z][^$$]*\)$$/\1/p' $(MAKEFILE_LIST) | tr ' ' '\n' | sort -u | grep -vx -e postfix -e chromium) && \
	  echo "packages:" $$packages && Scripts/install $$packages

play: ## build the page that runs the state machine in a browser: .build/play/index.html
	@Scripts/play $(BUILD)/play

test-page: play ## the page in a real browser (Debian's Chromium)
	@Scripts/install chromium python3
	@Tests/Page/test_page.py chromium $(BUILD)/play/index.html

docs: setup-run play ## make Docs/StateMachine.md anew from the session, and the libraries' pages in .build/docs/site
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_WRITE_DOCS=1 $(SWIFT) test $(FLAGS) --skip-build --filter StateMachinePageTests
	@Scripts/docs $(BUILD)/docs

fuzz: setup-run ## run the fuzzers, each for SECONDS (60), or only TARGET; keeps what they find in Fixtures
	@Scripts/install patch
	@JOBS=$(JOBS) SWIFT=$(SWIFT) Scripts/fuzz $(BUILD)/fuzz $(or $(SECONDS),60) $(TARGET)

coverage: setup-run ## how much of the core its tests execute; fails on a region that none enters and nobody explains
	@Scripts/coverage $(BUILD)/coverage

mutants: setup-run ## apply each mistake in Fixtures/mutants to a copy and see its test fail; MUTANT="12 13" for some of them
	@Scripts/install patch
	@JOBS=$(JOBS) SWIFT=$(SWIFT) Scripts/mutants $(BUILD)/mutants $(MUTANT)

bench: setup-run ## instructions that the core spends on a command
	@Scripts/install valgrind
	@Scripts/bench-core $(BUILD)/bench

core-embedded: ## build the core as Embedded Swift and check its undefined symbols
	@Scripts/core-embedded $(BUILD)/embedded

c-library: setup-c-library ## build libsmtpstate.a and libsmtpstate.so for C, without the Swift runtime
	@Scripts/c-library $(BUILD)/c-library

test-c-library: setup-c c-library ## run the C tests: every compiler, valgrind, the sanitizers
	@Scripts/test-c-library $(BUILD)/c-library

test-examples: setup-c c-library ## build the C example from an installed library and talk to it
	@Scripts/test-examples $(BUILD)

test-nio-example: setup-nio-example ## build the SwiftNIO example, run its tests and talk to it; fetches SwiftNIO
	@JOBS=$(JOBS) SWIFT=$(SWIFT) Scripts/test-nio-example $(BUILD)/nio-smtpd

test-postfix: setup-run ## Debian's Postfix as the client: 40 mails queued, 40 delivered, in 16 ways; as root, two minutes
	@Scripts/install postfix openssl
	@$(SWIFT) build $(FLAGS) --build-tests
	@Scripts/test-postfix $(BIN)

soak: setup-test ## client and server that hurry to the end, SESSIONS times (1000): every reply arrives, every mail once
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_SESSIONS=$(or $(SESSIONS),1000) SMTPSTATE_BIN=$(CURDIR)/$(BIN) $(SWIFT) test $(FLAGS) --skip-build --filter NothingOwed

programs: setup-run ## build the programs as they are installed: static where they can be
	@Scripts/install g++
	@Scripts/programs $(BUILD)/programs

install: c-library programs ## install programs, manual pages and C library below PREFIX (/usr/local), or DESTDIR/PREFIX
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) Scripts/install-files install $(BUILD) c-library programs

uninstall: ## remove what `make install` installed
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) Scripts/install-files uninstall $(BUILD) c-library programs

setup-c-library:
	@Scripts/install gcc binutils libc6-dev

setup-c:
	@Scripts/install gcc g++ libc6-dev valgrind pkg-config libgnutls28-dev openssl curl python3

setup-nio-example:
	@Scripts/install libgnutls28-dev pkg-config openssl curl python3

setup-run:
	@Scripts/install libgnutls28-dev pkg-config python3

setup-test:
	@Scripts/install libgnutls28-dev pkg-config python3 openssl gnutls-bin swaks libnet-ssleay-perl curl strace openbsd-inetd util-linux mailfront
	@Scripts/install libnss-wrapper libdb5.3 libgnutls-dane0 libidn12 libidn2-0 libnsl2 libpcre2-8-0
	@Scripts/unpack $(BUILD)/debian exim4-daemon-light exim4-config

clean: ## remove everything that was built
	@rm -rf .build .build-*
