"""Docs/Operating.md in a clean Debian: a newcomer's way. The commands are read from the page and executed as they stand there.

What the page asks for is prepared first: a server that listens at port 25 (Debian's Exim), a server program (mailfront's, where qmail
has its own), and later a certificate that the system trusts.
"""
import contextlib
import os
import re
import subprocess

import pytest

from cleanroot import CleanRoot, Machine, eventually
from mail import PATIENCE, run
from servers import ROOT

pytestmark = pytest.mark.install
SERVERS = ["exim4-daemon-light", "mailfront", "s6"]
EXAMPLES = "/usr/share/doc/starttlsd/examples"


class Section:
    """A section of the page: its commands are the indented blocks, files are the fenced ones."""

    def __init__(self, heading: str):
        text = (ROOT / "Docs/Operating.md").read_text()
        text = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE).group(1)
        self.files = re.findall(r"^```ini\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        self.commands = [re.sub("^    ", "", block, flags=re.MULTILINE)
                         for block in re.findall(r"(?:^    .*\n)+", plain, re.MULTILINE)]


TEST, USER, PORT = Section("1. Test the server program"), Section("2. A user, and the certificate"), Section("3. Port 25")
SYSTEMD, SET_UID = Section("Under systemd"), Section("Under systemd, with a program that needs set-uid")
S6, CHECK = Section("Under s6"), Section("4. Check")


@pytest.fixture
def root(build, tmp_path) -> CleanRoot:
    made = CleanRoot(build, tmp_path, "bookworm", *SERVERS)
    made.write("/etc/hosts", "127.0.0.1 localhost mx.example.org\n")
    made.write("/var/qmail/control/rcpthosts", "example.org\n")
    made.write("/var/qmail/bin/qmail-smtpd", "#!/bin/sh\nexport QMAILHOME=/var/qmail\nexec /usr/sbin/smtpfront-qmail\n", 0o755)
    return made


@pytest.fixture
def packaged(build, root):
    """The root with the Debian package, booted."""
    for package in (build / "deb").glob("starttlsd_*.deb"):
        root.copy(package, "/debs/starttlsd.deb")
    root.file("/root/Packaging").symlink_to(EXAMPLES)
    with root.booted() as machine:
        machine.run("apt-get -q install -y /debs/starttlsd.deb")
        yield machine


@contextlib.contextmanager
def served(machine: Machine, command: str, until: str):
    """A command in the foreground of a terminal, until it has printed a text."""
    script = f"echo $$ >/run/served; exec {command}"
    process = subprocess.Popen(machine.enter("sh", "-c", script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    try:
        while until not in printed:
            line = process.stdout.readline()
            assert line, f"{command}\n{printed}"
            printed += line
        yield
    finally:
        machine.run("kill $(cat /run/served)")
        process.communicate(timeout=PATIENCE)


def talk(machine: Machine, command: str) -> None:
    """What the page lets one type into openssl."""
    output = machine.run(command, input="EHLO me\nQUIT\n")
    assert re.search(r"^250.*\n221 ", output, re.MULTILINE) and "STARTTLS" not in output, output


def try_the_program(machine: Machine) -> None:
    certificate, check, serve, connect = TEST.commands
    machine.run(certificate)
    output = machine.run(check)
    assert "error" not in output and "refuses mail to other domains" in output, output
    with served(machine, serve, "listening on 127.0.0.1:2525"):
        talk(machine, connect)


def user(machine: Machine, is_there: bool) -> None:
    make, files = USER.commands
    if not is_there:
        machine.run(make)
    machine.run(files)
    # The pair is one that the system trusts from now on.
    machine.run("cp chain.pem /usr/local/share/ca-certificates/mx.crt && update-ca-certificates")


def free_the_port(machine: Machine) -> None:
    show, stop = PORT.commands
    eventually(lambda: "exim4" in machine.run(show), "Exim listens")
    machine.run(stop)
    assert "exim4" not in machine.run(show)


def edit(machine: Machine, command: str, text: str) -> None:
    """The command starts an editor on a terminal. This one saves the text."""
    machine.root.write("/root/text", text)
    machine.root.write("/root/editor", '#!/bin/sh\ncp /root/text "$1"\n', 0o755)
    machine.root.write("/root/commands", command)
    machine.run("script -qec 'sh -e /root/commands' /dev/null", environment={"EDITOR": "/root/editor", "TERM": "dumb"})


def check(machine: Machine, socket: str) -> None:
    status, connect = CHECK.commands[0].splitlines()
    output = machine.run(status.replace("/run/starttlsd/status", socket))
    assert re.search(r"listening on: .*:25$", output, re.MULTILINE), output
    talk(machine, connect)


def renew(machine: Machine, reload: str) -> None:
    """Section 5, with certbot's hook: the next session has the new certificate."""
    machine.run("mkdir live && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=renewed.example.org "
                "-keyout live/privkey.pem -out live/fullchain.pem")
    machine.run("Packaging/renewal/certbot-deploy-hook",
                environment={"CERTIFICATE_NAME": "live", "RENEWED_LINEAGE": "/root/live"} | ({"RELOAD": reload} if reload else {}))
    show = "openssl s_client -starttls smtp -connect localhost:25 </dev/null 2>&1 || true"
    eventually(lambda: "renewed.example.org" in machine.run(show), "the new certificate is used")
    assert machine.run("stat -c '%U %a' /etc/starttlsd/key.pem").strip() == "starttlsd 600"


def test_the_package_under_systemd(packaged):
    """The page from its first to its last step, with the Debian package."""
    machine = packaged
    try_the_program(machine)
    user(machine, is_there=True)
    free_the_port(machine)
    _, change, enable = SYSTEMD.commands
    edit(machine, change, SYSTEMD.files[0])
    machine.run(enable)
    machine.deliver("someone@example.org")
    assert "with ESMTPS" in machine.run("cat /srv/mail/Maildir/new/*")
    check(machine, "/run/starttlsd/status")
    renew(machine, "")
    assert "SIGHUP: the certificates are loaded again" in machine.journal()


def test_the_source_under_systemd(root, build):
    """After `make install`: the programs are in /usr/local, the user and the units are not there."""
    run(str(ROOT / "Scripts/install-files"), "install", str(build), "programs", cwd=ROOT, env=os.environ | {"DESTDIR": str(root.path)})
    root.copy(ROOT / "Packaging", "/root/Packaging")
    with root.booted() as machine:
        try_the_program(machine)
        user(machine, is_there=False)
        free_the_port(machine)
        units, change, enable = SYSTEMD.commands
        machine.run(units)
        edit(machine, change, SYSTEMD.files[0].replace("/usr/sbin/", "/usr/local/sbin/"))
        machine.run(enable)
        machine.deliver("someone@example.org")
        check(machine, "/run/starttlsd/status")


def test_the_package_under_s6(packaged):
    machine = packaged
    machine.run("mkdir /run/service && systemd-run --unit=svscan s6-svscan /run/service")
    try_the_program(machine)
    user(machine, is_there=True)
    free_the_port(machine)
    folder, start = S6.commands
    machine.run(folder)
    machine.run("sed -i 's/--domain localhost/--domain example.org/' /etc/s6/starttlsd/run")
    machine.run(start)
    machine.deliver("someone@example.org")
    assert "with ESMTPS" in machine.run("cat /var/lib/starttlsd/Maildir/new/*")
    check(machine, "/run/starttlsd.status")
    assert "decision=handoff" in machine.run("cat /var/log/starttlsd/current")
    renew(machine, re.search(r"`RELOAD='(.*)'`", (ROOT / "Docs/Operating.md").read_text()).group(1))
    machine.run("s6-svc -wD -T 40000 -d /run/service/starttlsd")
    assert machine.listeners() == set()


def test_exim_as_the_program(packaged):
    """Debian's Exim, which had port 25 itself, now with STARTTLS in front of it. It needs set-uid for the delivery to a local user."""
    machine = packaged
    machine.run(TEST.commands[0])
    user(machine, is_there=True)
    free_the_port(machine)
    machine.run("useradd --create-home newcomer")
    machine.root.write("/etc/systemd/system/starttlsd.service", SET_UID.files[0])
    machine.run(SET_UID.commands[0])
    check(machine, "/run/starttlsd.status")
    domain = machine.run("cat /etc/mailname").strip()
    machine.deliver(f"newcomer@{domain}")
    eventually(lambda: "This is a test mailing" in machine.run("cat /var/mail/newcomer 2>/dev/null || true"), "Exim delivers")
    # Exim lets the address 127.0.0.1 relay. Through starttlsd it knows of each client where it is.
    machine.run("ip address add 192.0.2.1/32 dev lo && ip address add 192.0.2.7/32 dev lo")
    dialogue = machine.send("someone@elsewhere.example", "--local-interface", "192.0.2.7", server="192.0.2.1")
    assert "TLS started" in dialogue and "550 relay not permitted" in dialogue, dialogue
