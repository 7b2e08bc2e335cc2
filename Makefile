# smtpstate: everything one does twice. Each target does its own set-up.

SWIFT ?= swift
JOBS ?= 2
BUILD := .build
BIN := $(BUILD)/release
# Programs and tests are built once, optimised: the tests walk millions of states.
FLAGS := -c release -Xswiftc -enable-testing -j $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help run test core-embedded setup-run setup-test clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## build, start starttlsd on the loopback, send a mail through STARTTLS, stay until interrupted
	@$(SWIFT) build -c release -j $(JOBS) --product starttlsd
	@$(SWIFT) build -c release -j $(JOBS) --product maildir-smtpd
	@Scripts/run $(BIN)

test: setup-test core-embedded ## build everything and run all tests
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_BIN=$(CURDIR)/$(BIN) $(SWIFT) test $(FLAGS) --skip-build

core-embedded: ## build the core as Embedded Swift and check its undefined symbols
	@Scripts/core-embedded $(BUILD)/embedded

setup-run:
	@Scripts/install libgnutls28-dev pkg-config python3

setup-test:
	@Scripts/install libgnutls28-dev pkg-config python3 openssl gnutls-bin swaks curl strace

clean: ## remove everything that was built
	@rm -rf .build .build-*
