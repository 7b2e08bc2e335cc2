"""starttlsd after HAProxy, with PROXY headers on both sides."""
import os
import re
import smtplib
import socket
import subprocess
import threading
import time

import pytest

from backends import Header, client, deliver, eventually, handshake
from mail import PATIENCE
from ports import listens
from servers import ROOT

pytestmark = pytest.mark.servers

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
def test_haproxy(send, policy, greeting, starttlsd, backend_server, folder, process, free_port):
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


def settings_of_the_page(port: int, *daemons: int) -> str:
    """Those of Docs/Scaling.md. The checks are faster, and each connection goes to the other daemon in turn."""
    page = (ROOT / "Docs/Scaling.md").read_text()
    [text] = re.findall(r"^```\n(frontend mail\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    changes = [("bind :25", f"bind 127.0.0.1:{port}"), ("balance leastconn", "balance roundrobin"), ("inter 2s fall 2", "inter 100ms fall 1"),
               *((f"192.0.2.{number}:25", f"127.0.0.1:{daemon}") for number, daemon in zip((11, 12), daemons, strict=True))]
    for old, new in changes:
        assert old in text, f"Docs/Scaling.md has no {old}"
        text = text.replace(old, new)
    return text


def test_one_of_two_daemons_is_killed_under_load(starttlsd, folder, process, build, free_port):
    """Each client sends a message again until it has a reply to it. Every message is there, and at most once for each attempt."""
    maildir = folder / "Maildir"
    (folder / "ticket.key").write_bytes(os.urandom(64))
    (folder / "ticket.key").chmod(0o600)
    server = ["--workers", "1", "--trusting-backend", "--proxy-from", "127.0.0.1", "--session-tickets", "--ticket-key-file", str(folder / "ticket.key"),
              "--", str(build / "release/maildir-smtpd"), str(maildir)]
    daemons = [starttlsd(*server) for _ in range(2)]
    port = free_port()
    (folder / "haproxy.cfg").write_text(settings_of_the_page(port, *(daemon.port for daemon in daemons)))
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
                    with client(port, tls=number % 3 != 0) as made:
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
    assert not [number for number in range(count) if numbers.count(str(number)) > attempts[number]], numbers
