"""starttlsd between HAProxy and the mail servers of Debian, with PROXY headers on both sides. Needs root, as the servers do."""
import os
import pathlib
import re
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from backends import Header, client as backends_client, deliver
from mail import PATIENCE
from postfix import MASTER, Postfix

pytestmark = pytest.mark.servers


def eventually(holds) -> bool:
    end = time.monotonic() + PATIENCE
    while not (result := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(result)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def folder():
    """A folder that the servers' users may enter."""
    with tempfile.TemporaryDirectory(prefix="test-servers-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def process():
    """Starts processes and ends them."""
    started = []

    def start(*command, **options) -> subprocess.Popen:
        started.append(subprocess.Popen([str(word) for word in command], start_new_session=True, **options))
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.terminate()
        each.wait(timeout=PATIENCE)


def assert_is_no_relay(daemon) -> None:
    for tls in (False, True):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            deliver(daemon.port, tls=tls, to="x@elsewhere.example")


class PostfixServer(Postfix):
    """Postfix as the server: its smtpd expects a PROXY header, and trusts this machine."""

    def __init__(self, folder: pathlib.Path, port: int):
        super().__init__(folder, port=1, level="none", reuse="no", more=(
            "mynetworks = 127.0.0.1\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
            "local_recipient_maps =\ndefer_transports = local\nsmtpd_peername_lookup = no\n"))
        configuration = folder / "configuration"
        main = (configuration / "main.cf").read_text().replace("mydestination =", "mydestination = mx.example")
        (configuration / "main.cf").write_text(main)
        (configuration / "master.cf").write_text(
            f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n"
            "anvil unix - - n - 1 anvil\nlocal unix - n n - - local\n" + MASTER)


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_postfix(form, starttlsd, folder):
    port = free_port()
    with PostfixServer(folder / "postfix", port) as postfix:
        assert eventually(lambda: listens(port))
        daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
        for tls in (True, False):
            deliver(daemon.port, tls=tls)
        # Its log is written by another process.
        assert eventually(lambda: len(re.findall(r"client=unknown\[127\.0\.0\.7\]", postfix.log())) == 2), postfix.log()
        assert_is_no_relay(daemon)


def test_postfix_that_trusts_this_machine_is_refused(starttlsd, folder):
    """Its header is not expected here, so starttlsd is the client that it sees."""
    port = free_port()
    postfix = PostfixServer(folder / "postfix", port)
    master = folder / "postfix/configuration/master.cf"
    master.write_text(master.read_text().replace(" -o smtpd_upstream_proxy_protocol=haproxy", ""))
    with postfix:
        assert eventually(lambda: listens(port))
        daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "none")
        assert daemon.process.wait(timeout=PATIENCE) == 100
        assert "is an open relay" in daemon.log()


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_aiosmtpd(form, starttlsd, folder, process, build):
    port = free_port()
    script = folder / "server.py"
    script.write_text(f"""
import asyncio, sys
sys.path.insert(0, {str(build / "python")!r})
from aiosmtpd.controller import Controller
class Handler:
    async def handle_PROXY(self, server, session, envelope, proxy_data):
        print("proxy", proxy_data.src_addr, proxy_data.src_port, flush=True)
        return True
    async def handle_RCPT(self, server, session, envelope, address, options):
        if not address.endswith("@mx.example"):
            return "550 5.7.1 Relaying denied"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        print("message", session.proxy_data.src_addr, flush=True)
        return "250 OK"
async def main():
    loop = asyncio.get_running_loop()
    from aiosmtpd.smtp import SMTP
    server = await loop.create_server(lambda: SMTP(Handler(), proxy_protocol_timeout=5), "127.0.0.1", {port})
    await server.serve_forever()
asyncio.run(main())
""")
    output = (folder / "output").open("w")
    process(sys.executable, script, stdout=output, stderr=output)
    assert eventually(lambda: listens(port)), (folder / "output").read_text()
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
    own = deliver(daemon.port)
    text = (folder / "output").read_text()
    assert text.count(f"127.0.0.7 {own}") == 2 and "message 127.0.0.7" in text, text
    assert_is_no_relay(daemon)


class Exim:
    """Debian's Exim with its stock rules, unpacked, which expects a PROXY header."""

    def __init__(self, build: pathlib.Path, folder: pathlib.Path, port: int):
        root = build / "servers"
        spool = folder / "spool"
        spool.mkdir()
        os.chown(spool, 65534, 65534)
        passwd, group = folder / "passwd", folder / "group"
        passwd.write_text(pathlib.Path("/etc/passwd").read_text() + "Debian-exim:x:65534:65534::/:/bin/false\n")
        group.write_text(pathlib.Path("/etc/group").read_text() + "Debian-exim:x:65534:\n")
        configuration = folder / "exim.conf"
        configuration.write_text(f"""\
SPOOLDIR = {spool}
log_file_path = {spool}/%slog
pid_file_path = {spool}/pid
hosts_proxy = 127.0.0.1
MAIN_PRIMARY_HOSTNAME_AS_QUALIFY_DOMAIN = yes
MAIN_HARDCODE_PRIMARY_HOSTNAME = mx.example
MAIN_LOCAL_DOMAINS = mx.example
MAIN_RELAY_TO_DOMAINS =
MAIN_RELAY_NETS = 127.0.0.1
LOCAL_DELIVERY = mail_spool
DCconfig_internet = 1
""" + (root / "etc/exim4/exim4.conf.template").read_text())
        self.environment = {"NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group), "LD_PRELOAD": "libnss_wrapper.so",
                            "LD_LIBRARY_PATH": ":".join(map(str, [root / "usr/lib", *(root / "usr/lib").glob("*-linux-gnu")]))}
        # -odq: a message is queued, nothing is delivered.
        self.command = [root / "usr/sbin/exim4", "-C", configuration, "-bdf", "-odq", "-oX", f"127.0.0.1.{port}"]
        self.log_file = spool / "mainlog"


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_exim(form, starttlsd, folder, process, build):
    port = free_port()
    exim = Exim(build, folder, port)
    process(*exim.command, env=exim.environment)
    assert eventually(lambda: listens(port))
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
    deliver(daemon.port, to="postmaster@mx.example")
    deliver(daemon.port, tls=False, to="postmaster@mx.example")
    assert len(re.findall(r"<= a@client\.example H=.*\[127\.0\.0\.7\]", exim.log_file.read_text())) == 2, exim.log_file.read_text()
    assert_is_no_relay(daemon)


HAPROXY = """
global
  stats socket {folder}/stats level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend mail
  bind 127.0.0.1:{port}
  default_backend starttlsd
backend starttlsd
  option smtpchk{greeting}
  server one 127.0.0.1:{to} {send} check inter 100ms
"""


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("policy", ["opportunistic", "required"])
@pytest.mark.parametrize("greeting", ["", " HELO probe.example", " EHLO probe.example"])
def test_haproxy(send, policy, greeting, starttlsd, backend_server, folder, process):
    """Its health check finds starttlsd up, with HELO (the default) and with EHLO, and the server learns the address of HAProxy's
    client. Where TLS is required nothing but the check reaches the server in clear."""
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v2", "--policy", policy, "--proxy-from", "127.0.0.1")
    port = free_port()
    (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=port, greeting=greeting, to=daemon.port, send=send))
    process("haproxy", "-db", "-f", folder / "haproxy.cfg", stderr=subprocess.DEVNULL)

    def status() -> str:
        try:
            with socket.socket(socket.AF_UNIX) as stats:
                stats.connect(str(folder / "stats"))
                stats.sendall(b"show stat\n")
                lines = stats.makefile().read().splitlines()
        except OSError:
            return ""
        names = lines[0].lstrip("# ").split(",")
        row = next(dict(zip(names, line.split(","))) for line in lines if line.startswith("starttlsd,one,"))
        return f"{row['status']} {row['check_status']}"

    # A server counts as up before its first check.
    assert eventually(lambda: status() in ("UP L7OK", "UP* L7OK")), f"{status()}\n{daemon.log()}"
    name = greeting.split()[-1] if greeting else "localhost"
    assert eventually(lambda: f'helo="{name}"' in daemon.log()), daemon.log()
    assert all("proxy=local" in line for line in daemon.log().splitlines() if " session peer=" in line), daemon.log()
    greetings = {command for session in backend.sessions for command in session.commands} - {"QUIT"}
    asked = "EHLO" if policy == "required" or "EHLO" in greeting else "HELO"
    assert f"{asked} {name}" in greetings, greetings
    own = deliver(port)
    assert ("127.0.0.7", own) in [Header.read(session.header).source for session in backend.sessions]


TWO = """
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch
frontend mail
  bind 127.0.0.1:{port}
  default_backend starttlsd
backend starttlsd
  balance roundrobin
  option smtpchk EHLO probe.example
  server one 127.0.0.1:{one} send-proxy-v2 check inter 100ms fall 1
  server two 127.0.0.1:{two} send-proxy-v2 check inter 100ms fall 1
"""


def handshake(port: int, *words) -> str:
    """What openssl prints about a session with STARTTLS."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", "-crlf", "-ign_eof", *words]
    return subprocess.run(command, input=b"QUIT\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE).stdout.decode(errors="replace")


def test_one_of_two_daemons_is_killed_under_load(starttlsd, folder, process, build):
    """Each client sends a message again until it has a reply to it. Every message is there, and those with one reply are there once."""
    maildir = folder / "Maildir"
    (folder / "ticket.key").write_bytes(os.urandom(64))
    (folder / "ticket.key").chmod(0o600)
    server = ["--workers", "1", "--trusting-backend", "--proxy-from", "127.0.0.1", "--session-tickets", "--ticket-key-file", str(folder / "ticket.key"),
              "--", str(build / "release/maildir-smtpd"), str(maildir)]
    daemons = [starttlsd(*server) for _ in range(2)]
    port = free_port()
    (folder / "haproxy.cfg").write_text(TWO.format(port=port, one=daemons[0].port, two=daemons[1].port))
    process("haproxy", "-db", "-f", folder / "haproxy.cfg", stderr=subprocess.DEVNULL)
    assert eventually(lambda: listens(port))
    # Each connection is passed to the other daemon in turn: the second one takes the ticket of the first.
    assert eventually(lambda: "\nNew, TLSv1.3" in handshake(port, "-sess_out", folder / "ticket")), [daemon.log() for daemon in daemons]
    second = handshake(port, "-sess_in", folder / "ticket")
    assert "\nReused, TLSv1.3" in second, second
    assert eventually(lambda: all(re.search(r" session .* tls=TLSv?1\.3", daemon.log()) for daemon in daemons)), [daemon.log() for daemon in daemons]
    count, senders = 200, 8
    attempts = [0] * count
    done = threading.Semaphore(0)

    def send(first: int) -> None:
        for number in range(first, count, senders):
            while True:
                attempts[number] += 1
                try:
                    with backends_client(port, tls=number % 3 != 0) as made:
                        made.sendmail("a@client.example", ["b@mx.example"], f"Subject: message-{number}-\r\n\r\ntext\r\n")
                    break
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.05)
            done.release()

    threads = [threading.Thread(target=send, args=(first,), daemon=True) for first in range(senders)]
    for each in threads:
        each.start()
    for _ in range(count // 4):
        assert done.acquire(timeout=PATIENCE)
    daemons[0].kill()
    for each in threads:
        each.join(timeout=PATIENCE)
        assert not each.is_alive()
    assert max(attempts) > 1, "the one that was killed had sessions"
    # A server program may still finish the message of a session that was cut off.
    stored = lambda: [re.search(r"message-(\d+)-", file.read_text())[1] for file in (maildir / "new").iterdir()]
    assert eventually(lambda: set(stored()) == {str(number) for number in range(count)})
    numbers = stored()
    assert not [number for number in range(count) if attempts[number] == 1 and numbers.count(str(number)) != 1]
