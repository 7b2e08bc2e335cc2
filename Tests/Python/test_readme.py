"""README.md and Docs/QuickStart.md: what they show works."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from mail import PATIENCE, codes, run, talk
from servers import ROOT

README = (ROOT / "README.md").read_text()
PROGRAM = "/var/qmail/bin/qmail-smtpd"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_library_in_swift(tmp_path):
    """A package that depends on this one, with the README's program: it builds, downloads nothing, and holds a session."""
    [program] = blocks("swift")
    # A package is named after its folder.
    (tmp_path / "smtpstate").symlink_to(ROOT)
    package = tmp_path / "dependent"
    (package / "Sources/dependent").mkdir(parents=True)
    (package / "Sources/dependent/main.swift").write_text(program)
    (package / "Package.swift").write_text("""// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "dependent",
  dependencies: [.package(path: "../smtpstate", traits: [])],
  targets: [.executableTarget(name: "dependent", dependencies: [.product(name: "SMTPState", package: "smtpstate")])])
""")
    swift = os.environ.get("SWIFT", "swift")
    log = run(swift, "build", "--package-path", str(package), stderr=subprocess.STDOUT, timeout=600)
    assert "Fetching" not in log and list((package / ".build/checkouts").iterdir()) == [], log
    assert not (package / "Package.resolved").exists(), "there is nothing to resolve"
    output = run(str(package / ".build/debug/dependent"))
    decisions = [re.match(r"\w+", line).group() for line in output.splitlines()]
    [shown] = re.findall(r"^It prints the decisions: a peek [^,]*, `(\w+)`, and `(\w+)`", README, re.MULTILINE)
    assert decisions == ["peek", *shown], output


def test_the_library_in_c(prefix, tmp_path):
    """A program that links the installed library, with the README's command."""
    [program] = blocks("c")
    (tmp_path / "example.c").write_text(program)
    [command] = re.findall(r"`(cc example\.c [^`]*)`", README)
    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(prefix / "lib")}
    run("sh", "-ec", command.replace("cc ", "cc -Wall -Wextra -Werror ", 1), cwd=tmp_path, env=environment)
    output = run(str(tmp_path / "a.out"), env=environment)
    assert [line.split(": ")[1] for line in output.splitlines()] == ["mail", "none"], output


@pytest.fixture
def shared():
    """A folder that every user may use."""
    with tempfile.TemporaryDirectory(prefix="starttlsd-") as folder:
        os.chmod(folder, 0o777)
        yield pathlib.Path(folder)


@pytest.fixture
def place(build, certificate, shared, free_port):
    """Turns a command of the README into one for this machine: programs of the build, a free port, this certificate, and users
    that exist. Without root there is no change of the user."""
    port = free_port()
    maildir = shared / "Maildir"
    program = shared / "smtpd"
    program.write_text(f'#!/bin/sh\nexec "{build}/release/maildir-smtpd" --hostname mx.example --domain mx.example "{maildir}"\n')
    program.chmod(0o755)

    def place(text: str) -> tuple[str, int]:
        for name in ("starttlsd", "starttls-proxy", "ucspi-tlsd"):
            text = re.sub(rf"(?<![\w.-])(/usr/local/sbin/)?{name}(?![\w.-])", str(build / "release" / name), text)
        text = text.replace("/etc/ssl/mail/chain.pem", certificate.chain).replace("/etc/ssl/mail/key.pem", certificate.key)
        text = text.replace("qmaild", "daemon")
        if os.geteuid() != 0:
            text = text.replace("--user nobody --backend-user daemon ", "")
            text = re.sub("(s6-)?setuidgid daemon ", "", text)
        text = text.replace(PROGRAM, str(program)).replace("--listen :25", f"--listen 127.0.0.1:{port}")
        return text, port

    return place


def session(port: int) -> None:
    """Waits for the server, then mail inside TLS, and a foreign recipient that is refused."""
    for _ in range(600):
        try:
            assert codes(talk(port, b"EHLO c\r\nQUIT\r\n")) == ["220", "250", "221"]
            break
        except ConnectionRefusedError:
            subprocess.run(["sleep", "0.05"], check=True)
    answer = run("swaks", "--server", f"127.0.0.1:{port}", "--tls", "--ehlo", "c.example", "--from", "a@c.example", "--to", "b@mx.example")
    assert "TLS started" in answer and "250 2.0.0" in answer, answer
    foreign = subprocess.run(["swaks", "--server", f"127.0.0.1:{port}", "--tls", "--ehlo", "c.example", "--from", "a@c.example", "--to",
                              "b@elsewhere.example"], stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert foreign.returncode != 0 and re.search(r"<~\* 55\d ", foreign.stdout), foreign.stdout


def serve(command: str, port: int) -> None:
    process = subprocess.Popen(["sh", "-ec", command], stderr=subprocess.PIPE, start_new_session=True)
    try:
        session(port)
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_the_commands_that_make_run_prints(build):
    """Each of them works as it is printed: two messages, and a session by hand."""
    demonstration = subprocess.Popen([ROOT / "Scripts/run", build / "release"], stdout=subprocess.PIPE, text=True)
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Running until interrupted"):
            line = demonstration.stdout.readline()
            assert line, lines
            lines.append(line)
        commands = [line.strip() for line in lines[lines.index("Send another:\n") + 1:] if line.startswith("  ")]
        assert [command.split()[0] for command in commands] == ["swaks", "curl", "openssl"], commands
        for command in commands[:2]:
            sent = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
            assert sent.returncode == 0, sent.stdout
        # A line that begins with R or Q is a command of s_client itself, unless it is quiet.
        assert "-quiet" in commands[2].split(), commands[2]
    finally:
        demonstration.terminate()
        demonstration.communicate(timeout=PATIENCE)


def assert_not_root(maildir: pathlib.Path) -> None:
    """The server program, which has written the message, ran as the user that the README names."""
    if os.geteuid() == 0:
        assert {message.owner() for message in (maildir / "new").iterdir()} == {"daemon"}


def test_starttlsd_under_systemd(place, shared):
    """The unit's command, and its reload."""
    [unit] = blocks("ini")
    command, port = place(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE).group(1))
    assert re.search(r"^ExecReload=/bin/sh -c 'kill -HUP \$\$MAINPID'$", unit, re.MULTILINE)
    serve("exec " + command, port)
    assert_not_root(shared / "Maildir")


def test_a_chain_under_tcpserver(place, shared, tmp_path):
    chain = blocks("sh")[0]
    command, port = place(chain)
    # As whoever runs the test, at a free port, with rules that allow everyone.
    rules = tmp_path / "smtp.cdb"
    run("tcprules", str(rules), str(tmp_path / "rules.tmp"), input=":allow\n")
    command = command.replace("/etc/tcprules/smtp.cdb", str(rules)).replace(" 0 25 ", f" 127.0.0.1 {port} ")
    if os.geteuid() != 0:
        command = command.replace("id -u nobody", "id -u").replace("id -g nobody", "id -g")
    serve(command, port)
    assert_not_root(shared / "Maildir")


def test_one_part_of_a_skarnet_chain(place, shared):
    """With skarnet's programs where they are installed; without them with ours in their places, under tcpserver."""
    command = blocks("sh")[1]
    if not shutil.which("s6-ucspitlsd") or not shutil.which("s6-tcpserver"):
        command = command.replace("s6-tcpserver 0.0.0.0 25 s6-tcpserver-access -v1 -- ", "tcpserver 0.0.0.0 25 ")
        command = command.replace("s6-ucspitlsd -- s6-setuidgid", "ucspi-tlsd setuidgid")
    command, port = place(command)
    command = command.replace(" 0.0.0.0 25 ", f" 127.0.0.1 {port} ")
    certificate = re.search(r"^export (.*)$", place(blocks("sh")[0])[0], re.MULTILINE).group(0)
    if os.geteuid() != 0:
        certificate = certificate.replace("id -u nobody", "id -u").replace("id -g nobody", "id -g")
    serve(certificate + "\n" + command, port)
    assert_not_root(shared / "Maildir")
