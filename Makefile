# smtpstate: builds, tests and documentation. Each target installs what it needs.

SWIFT ?= swift
JOBS ?= 2
BUILD := .build
BIN := $(BUILD)/release
# Programs and tests are built once, optimised: the tests walk millions of states.
FLAGS := -c release -Xswiftc -enable-testing -j $(JOBS)
# The Swift tests as built, each class in a process of its own; the programs that they start.
SWIFTTESTS := SMTPSTATE_BIN=$(CURDIR)/$(BIN) Scripts/test-swift $(BIN)/smtpstatePackageTests.xctest
# The tests in Python: real clients, compilers, the documents.
PYTESTS := python3 -B -m pytest -q --build $(BUILD) Tests/Python
HERE := "not nio and not postfix and not servers and not install and not valgrind"
# About half of their time; the other half runs beside it.
HALF := starttls_check or c_library or secrets

.DEFAULT_GOAL := help
.PHONY: help deps play test-page run test test-debug test-tls-memory explore docs fuzz coverage mutants bench bench-syscalls bench-idle bench-fairness bench-handshakes bench-start bench-transfer core-embedded c-library test-c-library test-examples test-nio-example test-postfix test-servers test-install check-servers tls-report test-last-replies soak programs install uninstall deb setup-run setup-test setup-c setup-c-library setup-nio-example clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## build and start starttlsd on loopback, send a message with STARTTLS, run until interrupted
	@$(SWIFT) build -c release -j $(JOBS) --product starttlsd
	@$(SWIFT) build -c release -j $(JOBS) --product maildir-smtpd
	@Scripts/run $(BIN)

test: setup-test setup-c core-embedded c-library ## build everything and run all tests; a quarter of an hour
	@$(SWIFT) build $(FLAGS) --build-tests
	@$(SWIFTTESTS)
	@SWIFT=$(SWIFT) Scripts/side-by-side '$(PYTESTS) -m $(HERE) -k "$(HALF)"' \
	  '$(PYTESTS) -m $(HERE) -k "not ($(HALF))" && Scripts/docs $(BUILD)/docs'

test-debug: setup-test ## without optimisation, under ThreadSanitizer: sessions in two threads, all inputs of the fuzzers
	@$(SWIFT) build -j $(JOBS) --sanitize=thread --scratch-path $(BUILD)/threads --build-tests
	@TSAN_OPTIONS=halt_on_error=1 Scripts/test-swift $(BUILD)/threads/debug/smtpstatePackageTests.xctest \
	  TwoThreadsTests 'FuzzTests/test.*Again'

# One test limits the system calls of a process, which the sanitizer does not expect.
test-tls-memory: setup-test ## run the tests of TLS under AddressSanitizer, which also finds leaks, and tlsd-io under valgrind
	@$(SWIFT) build -j $(JOBS) --sanitize=address --scratch-path $(BUILD)/address --build-tests
	@Scripts/leaks $(SWIFT) test --skip-build --sanitize=address --scratch-path $(BUILD)/address --filter 'TransportTests\.(TLS|ServerName|PeerCertificate|RevocationList|TicketKey|EndOfTLS|CredentialLoading|SigningKey|GoneAndBlocked)' --skip testItSignsWithTheFilterOfTheProcessOfTheKeys
	@Scripts/install valgrind binutils python3-pytest
	@$(SWIFT) build $(FLAGS) --product tlsd-io
	@$(PYTESTS) -m valgrind

explore: setup-test ## what `make test` does in part, in full: random cases (SECONDS for each test), cuts, faults, states; EXTENT=large: half an hour, 6 GB
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_EXTENT=$(or $(EXTENT),full) SMTPSTATE_SECONDS=$(or $(SECONDS),0) $(SWIFTTESTS) \
	  $(if $(filter large,$(EXTENT)),-n 1 -t 7200 ExplorationTests CutLemmaTests,'^(Property|CInterface|Transport)Tests')

deps: ## list the Debian packages that the targets need, and install those that are missing
	@packages=$$(sed -n 's/^\t@Scripts\/install \([a-z][^$$]*\)$$/\1/p' $(MAKEFILE_LIST) | tr ' ' '\n' | sort -u | grep -vx -e postfix -e chromium -e haproxy -e mmdebstrap -e systemd-container -e podman -e buildah -e crun) && \
	  echo "packages:" $$packages && Scripts/install $$packages

play: ## build the page that runs the state machine in a browser: .build/play/index.html
	@Scripts/play $(BUILD)/play

test-page: play ## the page in a real browser (Debian's Chromium)
	@Scripts/install chromium python3
	@Tests/Page/test_page.py chromium $(BUILD)/play/index.html

docs: setup-run play ## generate Docs/StateMachine.md from the session, and the libraries' pages in .build/docs/site
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_WRITE_DOCS=1 $(SWIFT) test $(FLAGS) --skip-build --filter StateMachinePageTests
	@Scripts/docs $(BUILD)/docs

fuzz: setup-run ## run all fuzzers, or only TARGET, each for SECONDS (60); findings are kept in Fixtures
	@Scripts/install patch
	@JOBS=$(JOBS) SWIFT=$(SWIFT) Scripts/fuzz $(BUILD)/fuzz $(or $(SECONDS),60) $(TARGET)

coverage: setup-run ## measure the core's test coverage; fails on a region that no test enters, unless Scripts/coverage explains it
	@Scripts/coverage $(BUILD)/coverage

mutants: setup-test ## apply each mistake in Fixtures/mutants to a copy and check that its test fails, in the programs too; MUTANT="12 13" for some of them
	@Scripts/install patch
	@JOBS=$(JOBS) SWIFT=$(SWIFT) Scripts/mutants $(BUILD)/mutants $(MUTANT)

bench: setup-run ## measure sessions a second, relays, system calls, memory and the core beside peers and bounds: .build/bench; WRITE=1 updates Docs/Performance.md
	@Scripts/install gcc libc6-dev libgnutls28-dev libssl-dev openssl valgrind strace stunnel4 postfix haproxy ucspi-tcp
	@[ "$(PROGRAMS)" ] || for program in starttlsd starttls-proxy ucspi-tlsd tlsd-io; do $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@Benchmarks/bench.py $(or $(PROGRAMS),$(BIN)) $(BUILD)/bench --seconds $(or $(SECONDS),3) --rounds $(or $(ROUNDS),3) $(if $(WRITE),--write)

bench-syscalls: setup-run ## count the system calls of one session of starttlsd by strace
	@Scripts/install gcc libc6-dev libgnutls28-dev openssl strace
	@[ "$(PROGRAMS)" ] || $(SWIFT) build $(FLAGS) --product starttlsd
	@Benchmarks/syscalls.py $(or $(PROGRAMS),$(BIN)) --calls

bench-idle: setup-run ## open SESSIONS (10000) idle sessions in clear and TLS (2000) inside TLS: memory and descriptors of each; WORKERS=N
	@Scripts/install gcc libc6-dev libgnutls28-dev libssl-dev openssl
	@[ "$(PROGRAMS)" ] || $(SWIFT) build $(FLAGS) --product starttlsd
	@Benchmarks/idle.py $(or $(PROGRAMS),$(BIN)) $(BUILD)/bench --sessions $(or $(SESSIONS),10000) --tls $(or $(TLS),2000) $(if $(WORKERS),--workers $(WORKERS))

bench-fairness: setup-run ## CONNECTIONS (1000) over 2, 4 and 8 workers: which share each gets, with shared sockets, SO_REUSEPORT and starttlsd
	@Scripts/install gcc libc6-dev libgnutls28-dev libssl-dev openssl
	@[ "$(PROGRAMS)" ] || $(SWIFT) build $(FLAGS) --product starttlsd
	@Benchmarks/fairness.py $(or $(PROGRAMS),$(BIN)) $(BUILD)/bench --connections $(or $(CONNECTIONS),1000)

bench-handshakes: setup-run ## full handshakes with the TLS layer beside GnuTLS alone, as a ratio of processor times
	@Scripts/install gcc libc6-dev libgnutls28-dev gnutls-bin openssl
	@Benchmarks/handshakes.py $(BUILD)/bench --seconds $(or $(SECONDS),2) --rounds $(or $(ROUNDS),3)

bench-start: setup-run ## processor time of a start of tlsd-io by causes, beside C programs with GnuTLS and SKARNET's engine; STARTS=200
	@Scripts/install gcc binutils libc6-dev libgnutls28-dev openssl strace valgrind
	@[ "$(PROGRAMS)" ] || $(SWIFT) build $(FLAGS) --product tlsd-io
	@Benchmarks/start.py $(BUILD)/bench $(or $(PROGRAMS),$(BIN)) --starts $(or $(STARTS),200)

bench-transfer: setup-run ## SIZE (1024) MiB inside TLS in both directions, beside stunnel, HAProxy and SKARNET: times and processor times; ROUNDS=3
	@Scripts/install gcc libc6-dev libgnutls28-dev libssl-dev openssl stunnel4 haproxy ucspi-tcp
	@[ "$(PROGRAMS)" ] || for program in starttlsd starttls-proxy ucspi-tlsd tlsd-io; do $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@Benchmarks/transfer.py $(or $(PROGRAMS),$(BIN)) $(BUILD)/bench --size $(or $(SIZE),1024) --rounds $(or $(ROUNDS),3)

core-embedded: ## build the core as Embedded Swift and check its undefined symbols
	@Scripts/core-embedded $(BUILD)/embedded

c-library: setup-c-library ## build libsmtpstate.a and libsmtpstate.so for C, without the Swift runtime
	@Scripts/c-library $(BUILD)/c-library

test-c-library: setup-c c-library ## run the C tests with each compiler, valgrind and the sanitizers
	@$(PYTESTS) -k c_library

test-examples: setup-c c-library ## build the C example with an installed library and test it with real clients
	@$(PYTESTS) -m "not nio and not install" -k "examples or c_smtpd"

test-nio-example: setup-nio-example ## build and test the SwiftNIO example; downloads SwiftNIO
	@JOBS=$(JOBS) SWIFT=$(SWIFT) $(PYTESTS) -m nio

test-postfix: setup-run ## test with Postfix as the client: 40 messages in each of 16 scenarios; needs root, takes two minutes
	@Scripts/install postfix openssl python3-pytest
	@$(SWIFT) build $(FLAGS) --build-tests
	@$(PYTESTS) -m postfix

test-servers: setup-run ## test starttlsd between HAProxy and Postfix, Exim, OpenSMTPD and aiosmtpd with PROXY headers; needs root
	@Scripts/install postfix haproxy openssl python3-pip python3-pytest libnss-wrapper
	@Scripts/unpack $(BUILD)/servers exim4-daemon-heavy exim4-config opensmtpd libevent-2.1-7 libmariadb3 libspf2-2
	@test -d $(BUILD)/python/aiosmtpd || python3 -m pip install -q --root-user-action=ignore --target $(BUILD)/python aiosmtpd
	@for program in starttlsd maildir-smtpd; do $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@$(PYTESTS) -m servers

tls-report: setup-run ## examine both TLS profiles with testssl.sh and sslscan, and write the summary in Docs/TLS.md; five minutes
	@Scripts/install testssl.sh sslscan openssl
	@for program in starttlsd tlsd-io maildir-smtpd; do $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@Scripts/tls-report $(BIN) $(BUILD)/tls-report

check-servers: setup-test ## run starttls-check against Postfix, Exim, OpenSMTPD, stunnel, aiosmtpd and SKARNET; WRITE=1 writes the table of Docs/Checking.md; needs root
	@Scripts/install postfix stunnel4 ucspi-tcp libnss-wrapper openssl python3-pip
	@Scripts/unpack $(BUILD)/peers/debian exim4-daemon-light exim4-config opensmtpd libevent-2.1-7
	@for version in 1.4.4 1.4.6; do [ -d $(BUILD)/peers/aiosmtpd-$$version ] || \
	  python3 -m pip install -q --root-user-action ignore --target $(BUILD)/peers/aiosmtpd-$$version aiosmtpd==$$version || exit; done
	@for program in starttlsd starttls-proxy starttls-check ucspi-tlsd tlsd-io maildir-smtpd; do \
	  $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@Scripts/check-servers $(BIN) $(BUILD)/peers $(if $(WRITE),--write)

test-install: deb ## install the Debian packages in clean roots of Debian 12 and 13, follow Docs/Operating.md there; needs root
	@Scripts/install mmdebstrap systemd-container swaks libnet-ssleay-perl podman buildah crun python3 python3-pytest
	@$(PYTESTS) -m install

test-last-replies: setup-test ## run SESSIONS (1000) sessions that close immediately after QUIT: every reply arrives, every message once
	@$(SWIFT) build $(FLAGS) --build-tests
	@SMTPSTATE_EXTENT=full SMTPSTATE_SESSIONS=$(or $(SESSIONS),1000) $(SWIFTTESTS) LastRepl

soak: setup-run ## mixed load, resets, backends that crash and reloads for MINUTES (20): no growth, no message lost; memory of an idle session
	@Scripts/install openssl python3
	@for program in starttlsd maildir-smtpd; do $(SWIFT) build $(FLAGS) --product $$program || exit; done
	@Tests/Soak/soak.py $(BIN) --minutes 0.3 --planted
	@Tests/Soak/soak.py $(BIN) --minutes $(or $(MINUTES),20)
	@Tests/Soak/soak.py $(BIN) --idle

programs: setup-run ## build the programs for installation, statically linked where possible
	@Scripts/install g++
	@SWIFT="$(SWIFT)" Scripts/programs $(BUILD)/programs

install: ## install what `make programs c-library` built, with manual pages, in PREFIX (/usr/local), or in DESTDIR/PREFIX
	@parts=$$(cd $(BUILD) && ls -d c-library programs 2>/dev/null); \
	  test -n "$$parts" || { echo "make install: nothing is built: run make programs c-library first" >&2; exit 1; }; \
	  PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) Scripts/install-files install $(BUILD) $$parts && echo "installed:" $$parts; \
	  for part in c-library programs; do [ -d $(BUILD)/$$part ] || echo "not built, not installed: $$part"; done

uninstall: ## remove the files that `make install` installed
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) Scripts/install-files uninstall $(BUILD) c-library programs

deb: c-library programs ## make Debian packages of programs and C library in .build/deb, and check them
	@Scripts/install dpkg-dev binutils lintian
	@Scripts/deb $(BUILD) $(BUILD)/deb
	@Scripts/test-deb $(BUILD)/deb

setup-c-library:
	@Scripts/install gcc binutils libc6-dev

setup-c:
	@Scripts/install gcc g++ libc6-dev valgrind pkg-config cmake meson mandoc libgnutls28-dev libssl-dev openssl curl python3 python3-pytest

setup-nio-example: c-library
	@Scripts/install libgnutls28-dev pkg-config openssl curl python3 python3-pytest

setup-run:
	@Scripts/install libgnutls28-dev pkg-config python3

setup-test:
	@Scripts/install libgnutls28-dev pkg-config python3 python3-yaml gcc libc6-dev openssl gnutls-bin swaks libnet-ssleay-perl curl strace openbsd-inetd util-linux mailfront ucspi-tcp faketime
	@Scripts/install libnss-wrapper libdb5.3 libgnutls-dane0 libidn12 libidn2-0 libnsl2 libpcre2-8-0
	@Scripts/unpack $(BUILD)/debian exim4-daemon-light exim4-config
	@Scripts/install systemd s6 daemontools ucspi-tcp ipsvd libtirpc3 libwrap0
	@Scripts/unpack $(BUILD)/supervisors runit inetutils-inetd xinetd

clean: ## remove all build output
	@rm -rf .build .build-*
