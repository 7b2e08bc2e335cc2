"""The Debian packages in a clean Debian: installed with apt, used at port 25, upgraded, removed and purged.

The unit is the one that is shipped, under a systemd of its own.
"""
import pathlib
import re

import pytest

from cleanroot import CleanRoot, Machine, eventually

pytestmark = pytest.mark.install
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost "
    "-keyout /etc/starttlsd/key.pem -out /etc/starttlsd/chain.pem 2>&1 && chown starttlsd /etc/starttlsd/key.pem")
# What apt and dpkg themselves keep, and what a running system writes.
OWN_FILES = ("/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/var/lib/systemd", "/run", "/tmp", "/dev", "/proc", "/sys",
             "/debs", "/etc/ld.so.cache", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/var/tmp", "/root", "/var/backups",
             "/etc/.pwd.lock", "/etc/machine-id", "/var/spool")


def install(machine: Machine, what: str = "/debs/starttlsd_*.deb") -> str:
    return machine.run(f"apt-get -q install -y --no-install-recommends --reinstall {what}")


@pytest.fixture
def packages(build) -> pathlib.Path:
    folder = build / "deb"
    assert list(folder.glob("starttlsd_*.deb")), "there are no packages: make deb"
    return folder


@pytest.fixture
def root(request, build, packages, tmp_path) -> CleanRoot:
    made = CleanRoot(build, tmp_path, getattr(request, "param", "bookworm"))
    made.copy(packages, "/debs")
    made.fetch("/debs/*.deb")
    return made


def files(machine: Machine) -> dict[str, str]:
    """All files of the root but those in OWN_FILES, with their type, owner and mode; of the accounts, their content."""
    hidden = " ".join(f"-path '{path}' -prune -o" for path in OWN_FILES)
    found = {}
    for line in machine.run(f"find / {hidden} -printf '%p\\t%y %u %g %m\\n'").splitlines():
        path, state = line.split("\t")
        found[path] = state
    return found | {file: machine.run(f"cat {file}") for file in ("/etc/passwd", "/etc/group", "/etc/shadow")}


@pytest.mark.parametrize("root", ["bookworm", "trixie"], indirect=True)
def test_install_serve_upgrade_and_purge(root):
    """From the clean root to mail at port 25 and back: after the purge no file, no user and no process is left."""
    with root.booted() as machine:
        # The packages that ours depend on would stay.
        machine.run("for package in /debs/*.deb; do dpkg-deb -f $package Depends; done | tr , '\\n' | sed 's/(.*//' | grep -v smtpstate | "
                    "xargs apt-get -q install -y --no-install-recommends")
        before = files(machine)
        output = install(machine, "/debs/*.deb")
        assert "Setting up starttlsd" in output and "rror" not in output, output
        assert machine.listeners() == set(), "nothing is started: port 25 is the operator's decision"
        assert "disabled" in machine.run("systemctl is-enabled starttlsd.service starttlsd.socket", code=1)
        assert machine.run("stat -c '%U %a' /usr/sbin/starttlsd").strip() == "root 755"
        for program in ("starttlsd", "starttls-proxy", "ucspi-tlsd", "tlsd-io", "maildir-smtpd"):
            assert machine.run(f"{program} --version").startswith(program + " ")

        # The unit as it is shipped.
        machine.run(CERTIFICATE)
        machine.run("systemctl enable --now starttlsd.socket starttlsd.service")
        assert re.fullmatch(r"Listening on 2 sockets( with \d+ workers)?", machine.property("StatusText"))
        assert machine.listeners() == {"0.0.0.0:25", "[::]:25"}
        machine.deliver("someone@localhost")
        mail = machine.run("cat /var/lib/starttlsd/Maildir/new/*")
        assert "This is a test mailing" in mail and "with ESMTPS" in mail, mail
        assert "550" in machine.send("someone@elsewhere.example")
        # Of each worker.
        handoffs = re.findall(r" handoff (\d+),", machine.run("starttlsd status /run/starttlsd/status"))
        assert sum(map(int, handoffs)) == 2, handoffs
        process = machine.property("MainPID")
        assert machine.run(f"stat -c %U /proc/{process}").strip() == "starttlsd"

        # An upgrade starts the new program; the socket stays open meanwhile.
        socket = machine.property("ActiveEnterTimestampMonotonic", "starttlsd.socket")
        install(machine)
        assert machine.property("MainPID") not in (process, "0"), machine.journal()
        assert machine.property("ActiveEnterTimestampMonotonic", "starttlsd.socket") == socket
        machine.deliver("someone@localhost")

        # A removal stops it. The operator's files and the mail stay.
        machine.run("apt-get -q remove -y starttlsd")
        assert machine.listeners() == set()
        assert "starttlsd" not in machine.run("cat /proc/[0-9]*/comm")
        machine.run("test -s /etc/starttlsd/key.pem")
        output = machine.run("apt-get -q purge -y starttlsd libsmtpstate1 libsmtpstate-dev")
        assert "contains mail" in output, output
        assert machine.run("ls /var/lib/starttlsd/Maildir/new | wc -l").strip() == "2"
        machine.run("! test -e /etc/starttlsd && getent passwd starttlsd")

        # Without mail nothing stays.
        machine.run("rm -r /var/lib/starttlsd/Maildir/new/*")
        install(machine)
        assert machine.listeners() == set()
        machine.run("apt-get -q purge -y starttlsd")
        after = files(machine)
        assert {path: state for path, state in after.items() if before.get(path) != state} == {}
        assert {path for path in before if path not in after} == set()
        assert machine.run("systemctl --failed --no-legend") == ""
        assert machine.systemctl("list-unit-files", "starttlsd*", "--no-legend") == ""


def drop_in(machine: Machine, name: str, text: str) -> None:
    machine.root.write(f"/etc/systemd/system/starttlsd.service.d/{name}.conf", f"[Service]\n{text}\n")
    # Each start counts for the limit of starts in ten seconds.
    machine.run("systemctl daemon-reload && systemctl reset-failed starttlsd.service && systemctl restart starttlsd.service")


def ends(machine: Machine, signal: str) -> str:
    """Sends a signal to the daemon and waits for the next one. Returns the journal."""
    process = machine.property("MainPID")
    machine.run(f"kill -{signal} {process}")
    eventually(lambda: machine.property("MainPID") not in (process, "0") and machine.property("ActiveState") == "active",
               "the manager starts it again", machine.journal)
    return machine.journal()


def all_have_loaded(machine: Machine) -> bool:
    """Whether the running daemon has loaded the certificates again: each of its workers once. A single process starts no worker."""
    journal = machine.run(f"journalctl -o cat _SYSTEMD_INVOCATION_ID={machine.property('InvocationID')}")
    workers = len(re.findall(r"worker \d+ started", journal))
    return journal.count("SIGHUP: the certificates are loaded again") == max(workers, 1)


@pytest.mark.parametrize("root", ["bookworm", "trixie"], indirect=True)
def test_the_unit_and_its_manager(root):
    """The shipped unit under a real manager: its restrictions, activation by a client, reload, the watchdog, the end by a signal."""
    with root.booted() as machine:
        install(machine)
        machine.run(CERTIFICATE)
        machine.run("systemctl enable --now starttlsd.socket starttlsd.service")
        status = machine.run(f"cat /proc/{machine.property('MainPID')}/status")
        for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t" + "0" * 16, "CapBnd:\t" + "0" * 16):
            assert f"\n{line}\n" in status, status
        # In tenths, as systemd rates it with all that is in force.
        machine.run("systemd-analyze security --no-pager --threshold=20 starttlsd.service")

        # The socket stays, and the next client starts the daemon.
        machine.run("systemctl stop starttlsd.service")
        assert machine.property("ActiveState") == "inactive"
        machine.deliver("someone@localhost")
        # The first worker serves before the last one is ready.
        eventually(lambda: machine.property("ActiveState") == "active", "the start ends", machine.journal)

        # A killed daemon, and one that hangs.
        ends(machine, "KILL")
        machine.deliver("someone@localhost")
        drop_in(machine, "watchdog", "WatchdogSec=1s")
        assert "atchdog timeout" in ends(machine, "STOP")
        machine.deliver("someone@localhost")

        # Reload. If the files cannot be read, the manager is not left waiting.
        machine.run("systemctl reload starttlsd.service")
        eventually(lambda: "SIGHUP: the certificates are loaded again" in machine.journal(), "it loads them", machine.journal)
        reader = machine.run("grep -l starttlsd-read /proc/[0-9]*/comm").split("/")[2]
        machine.run(f"kill -STOP {reader} && systemctl reload starttlsd.service")
        # A single process, or the supervisor of several.
        warnings = "are not read after 5 s", "not all workers have loaded the configuration yet"
        eventually(lambda: any(text in machine.journal() for text in warnings), "it warns", machine.journal)
        eventually(lambda: machine.property("ActiveState") == "active", "the reload ends", machine.journal)
        machine.run(f"kill -CONT {reader}")
        if root.release != "bookworm":
            # systemd 253 and later waits for READY by itself.
            drop_in(machine, "reload", "Type=notify-reload\nExecReload=")
            machine.run("systemctl reload starttlsd.service")
            eventually(lambda: all_have_loaded(machine), "each worker loads them once", machine.journal)
        machine.run("systemctl stop starttlsd.socket starttlsd.service")
        assert machine.property("Result") == "success"
