"""starttlsd in front of servers that are reached by an address, and after fronts that name the client."""
import contextlib
import os
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import time

import pytest

from backends import SIGNATURE, Header, client, deliver, named
from mail import PATIENCE, connect, read_to_end, read_until

# -- The client's address towards the server.

def test_proxy_version_2_with_the_parameters_of_tls(backend_server, starttlsd):
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v2")
    probes = len(backend.sessions)
    assert probes == 2 and [Header.read(probe.header).source for probe in backend.sessions] == [("192.0.2.1", 49152)] * 2
    port = deliver(daemon.port)
    clear, secured = backend.sessions[probes:]
    for session in (clear, secured):
        header = Header.read(session.header)
        assert (header.command, header.source, header.destination) == (1, ("127.0.0.7", port), ("127.0.0.1", daemon.port))
        daemon.wait_for(f"session .*id={header.fields[0x05].decode()} ")
    assert 0x20 not in Header.read(clear.header).fields
    tls = Header.read(secured.header).fields[0x20]
    assert tls[:5] == b"\x01\0\0\0\x01"
    fields = Header.fields_of(tls[5:])
    assert fields[0x21] == b"TLSv1.3" and fields[0x23].startswith(b"TLS_"), fields
    assert secured.commands[-4:] == ["Subject: x", "", "text", "QUIT"]
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(daemon.port, to="x@elsewhere.example")


@pytest.mark.parametrize("shows", [True, False])
def test_proxy_version_2_names_the_server_and_the_certificate(backend_server, starttlsd, certificate, shows):
    """The requested server name, and what is known of the client's certificate."""
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--trusting-backend", "--backend", backend.address, "--backend-client", "proxy-v2", "--client-certificate", "optional",
                       "--client-ca", certificate.chain)
    made = client(daemon.port, tls=False)
    context = ssl.create_default_context(cafile=certificate.chain)
    if shows:
        context.load_cert_chain(certificate.chain, certificate.key)
    # The name that smtplib asks for, and verifies.
    made._host = "localhost"
    made.starttls(context=context)
    made.ehlo()
    made.quit()
    clear, secured = (Header.read(session.header).fields for session in backend.sessions)
    assert 0x02 not in clear and 0x20 not in clear
    assert secured[0x02] == b"localhost"
    assert secured[0x20][:5] == (b"\x07\0\0\0\0" if shows else b"\x01\0\0\0\x01")
    assert Header.fields_of(secured[0x20][5:]).get(0x22) == (b"localhost" if shows else None)


def test_proxy_version_1_in_clear(backend_server, starttlsd):
    backend = backend_server("proxy-v1")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v1")
    port = deliver(daemon.port, tls=False)
    assert backend.sessions[-1].header == f"PROXY TCP4 127.0.0.7 127.0.0.1 {port} {daemon.port}\r\n".encode()


def test_a_server_that_trusts_this_machine_is_refused(backend_server, starttlsd):
    """Without the client's address it would relay for everybody; with it, it does not."""
    daemon = starttlsd("--backend", backend_server().address, "--backend-client", "none")
    assert daemon.process.wait(timeout=PATIENCE) == 100
    assert re.search(r"the server at 127\.0\.0\.1:\d+ is an open relay: .*it trusts this machine", daemon.log()), daemon.log()
    daemon = starttlsd("--backend", backend_server("proxy-v2").address, "--backend-client", "proxy-v2")
    assert daemon.port
    # One that trusts nobody may be used without an address.
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "none")
    deliver(daemon.port)
    assert backend.sessions[-1].header == b"" and backend.sessions[-1].peer == "127.0.0.1"


@pytest.mark.parametrize("header", ["proxy-v1", "proxy-v2"])
@pytest.mark.parametrize("place", ["port", "Unix socket"])
def test_a_server_that_relays_for_a_named_client_is_refused(backend_server, starttlsd, tmp_path, header, place):
    """The header names the probe's client, which stands for all unknown ones. A server that relays for another client only may be used."""
    path = tmp_path / "relay"
    for client_name, status in (("192.0.2.1", 100), ("192.0.2.3", None)):
        backend = backend_server(header, client_name, str(path) if place == "Unix socket" else None)
        daemon = starttlsd("--backend", backend.address, "--backend-client", header)
        # With each of the two headers: of a session in clear, and of one inside TLS.
        assert len(backend.sessions) == 2, daemon.log()
        if status is None:
            deliver(daemon.port)
            continue
        assert daemon.process.wait(timeout=PATIENCE) == status and not daemon.port
        assert re.search(rf"the server at {re.escape(backend.address)} is an open relay: it accepts mail to any domain from anybody \(.*\); "
                         "restrict the domains that it accepts mail for, or give --trusting-backend if that is intended", daemon.log()), daemon.log()
        path.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_a_server_that_sees_the_client_itself_is_not_probed(backend_server, starttlsd):
    """Not even one that relays for all of this machine: nothing can be received in the place of a client that does not exist."""
    backend = backend_server()
    daemon = starttlsd("--backend", backend.address, "--backend-client", "transparent")
    daemon.wait_for(r"the servers are not tested: they see each client's own address \(--backend-client transparent\)")
    assert daemon.port and backend.sessions == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_the_connection_comes_from_the_client(backend_server, starttlsd):
    backend = backend_server()
    daemon = starttlsd("--backend", backend.address, "--backend-client", "transparent")
    deliver(daemon.port, source="127.0.0.9")
    assert [session.peer for session in backend.sessions] == ["127.0.0.9"] * 2
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(daemon.port, source="127.0.0.9", to="x@elsewhere.example")


@pytest.mark.parametrize("tls", [False, True])
def test_lmtp_has_a_reply_for_each_recipient(starttlsd, tmp_path, tls):
    """After the final dot an LMTP server sends one reply for each recipient (RFC 2033, 4.2)."""
    program = tmp_path / "lmtp"
    program.write_text(LMTP_SERVER)
    daemon = starttlsd("--trusting-backend", "--protocol", "lmtp", "--", sys.executable, str(program))
    with smtplib.LMTP("127.0.0.1", daemon.port, "client.example") as made:
        made.timeout = PATIENCE
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            made.starttls(context=context)
        # LHLO.
        made.ehlo()
        assert made.has_extn("pipelining") and made.has_extn("starttls") != tls
        assert made.mail("a@client.example")[0] == 250
        assert [made.rcpt(name)[0] for name in ("b@mx.example", "c@mx.example")] == [250, 250]
        assert made.docmd("DATA")[0] == 354
        made.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        assert [made.getreply() for _ in range(2)] == [(250, b"2.0.0 <b@mx.example> stored"), (452, b"4.2.2 <c@mx.example> is full")]
        # Nothing is out of step after that.
        assert made.docmd("NOOP") == (250, b"done")
        assert made.docmd("HELO", "x")[0] == 500


# An LMTP server. The second recipient of each message is over quota.
LMTP_SERVER = r"""
import sys
def say(text):
    sys.stdout.write(text + "\r\n")
    sys.stdout.flush()
say("220 lmtp.example LMTP")
recipients = []
for line in sys.stdin:
    verb = line.split(" ")[0].strip().upper()
    if verb == "LHLO":
        say("250-lmtp.example\r\n250 PIPELINING")
    elif verb == "RCPT":
        recipients.append(line.strip().split(":")[1])
        say("250 done")
    elif verb == "DATA":
        say("354 go on")
        while sys.stdin.readline().strip() != ".":
            pass
        for index, name in enumerate(recipients):
            say(f"452 4.2.2 {name} is full" if index % 2 else f"250 2.0.0 {name} stored")
        recipients = []
    elif verb in ("HELO", "EHLO"):
        say("500 5.5.1 this is LMTP")
    elif verb == "QUIT":
        say("221 bye")
        break
    else:
        say("250 done")
"""


def test_a_unix_socket(backend_server, starttlsd, tmp_path):
    backend = backend_server("proxy-v2", path=str(tmp_path / "smtp"))
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v2")
    deliver(daemon.port)
    assert Header.read(backend.sessions[-1].header).source[0] == "127.0.0.7"


def processor_seconds(daemon) -> float:
    fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_urgent_octet_of_a_unix_server(starttlsd, tmp_path):
    """poll reports it until it is read, and a peek does not show it: the wait for the greeting uses no processor time."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(str(tmp_path / "smtp"))
        listener.listen()
        daemon = starttlsd("--trusting-backend", "--backend", f"unix:{tmp_path}/smtp", "--backend-client", "none")
        with connect(daemon.port) as mailer, listener.accept()[0] as server:
            try:
                server.send(b"!", socket.MSG_OOB)
            except OSError:
                pytest.skip("this kernel has no urgent octets of Unix sockets")
            limit = time.monotonic() + PATIENCE
            used = 1.0
            while used > 0.03 and time.monotonic() < limit:
                before = processor_seconds(daemon)
                time.sleep(1)
                used = processor_seconds(daemon) - before
            assert used <= 0.03
            server.sendall(b"220 backend ESMTP\r\n")
            assert read_until(mailer, b"\r\n") == b"220 backend ESMTP\r\n"


@pytest.mark.parametrize("options, text", [
    (["--backend", "127.0.0.1:1"], "--backend needs --backend-client"),
    (["--backend-client", "none"], "--backend-client needs --backend"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--", "/bin/true"], "both --backend and a server program"),
    (["--backend", "127.0.0.1", "--backend-client", "none"], "expected host:port"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--max-backends", "9"], "no program is started"),
    (["--backend", "unix:/x", "--backend-client", "transparent"], "a Unix socket cannot be used"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--proxy-from", "127.0.0.1/33"], "--proxy-from"),
])
def test_wrong_options(starttlsd, options, text):
    daemon = starttlsd(*options)
    assert daemon.process.wait(timeout=PATIENCE) == 100 and text in daemon.log(), daemon.log()


def test_a_server_that_is_not_there_at_the_start(starttlsd, free_port):
    port = free_port()
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "none")
    assert daemon.process.wait(timeout=PATIENCE) == 111
    assert f"the server at 127.0.0.1:{port} does not work: it cannot be reached: connect: Connection refused" in daemon.log(), daemon.log()


# -- Fronts.

@pytest.fixture
def fronted(backend_server, starttlsd, tmp_path):
    """starttlsd after a front, with a rule for one of the clients."""
    rules = tmp_path / "rules"
    rules.write_text("192.0.2.66:deny\n:allow\n")
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v2", "--proxy-from", "127.0.0.1", "--access", str(rules))
    return daemon, backend


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("cut", ["whole", "octets"])
def test_a_front_names_the_client(fronted, version, cut):
    daemon, backend = fronted
    with connect(daemon.port) as front:
        octets = named(version)
        for piece in [octets] if cut == "whole" else [octets[i:i + 1] for i in range(len(octets))]:
            front.sendall(piece)
            if cut == "octets":
                time.sleep(0.002)
        assert read_until(front, b"\r\n").startswith(b"220 ")
        front.sendall(b"QUIT\r\n")
        assert read_to_end(front).startswith(b"221 ")
    header = Header.read(backend.sessions[-1].header)
    assert (header.source, header.destination) == (("192.0.2.7", 4711), ("192.0.2.25", 25))
    daemon.wait_for(r"session .*peer=192\.0\.2\.7:4711")


def test_rules_and_limits_are_those_of_the_client(fronted):
    daemon, _ = fronted
    with connect(daemon.port) as front:
        front.sendall(named(2, "192.0.2.66"))
        assert read_to_end(front) == b"554 5.7.1 Access denied\r\n"
    daemon.wait_for(r"192\.0\.2\.66:4711 gets 554 5\.7\.1")


def test_a_connection_of_the_front_itself(fronted):
    """A health check."""
    daemon, backend = fronted
    for header in (b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"):
        with connect(daemon.port) as front:
            front.sendall(header)
            assert read_until(front, b"\r\n").startswith(b"220 ")
            front.sendall(b"QUIT\r\n")
            read_to_end(front)
        assert Header.read(backend.sessions[-1].header).source[0] == "127.0.0.1"


def assert_closed(front: socket.socket) -> None:
    """Without an octet. What was not read makes the kernel reset the connection."""
    with contextlib.suppress(ConnectionResetError):
        assert read_to_end(front) == b""


def test_connections_of_the_front_without_a_header(fronted):
    daemon, backend = fronted
    before = len(backend.sessions)
    for octets in (b"EHLO x\r\n", b"PROXY TCP4 x\r\n"):
        with connect(daemon.port) as front:
            front.sendall(octets)
            assert_closed(front)
    with connect(daemon.port) as front:
        front.sendall(named(2)[:20])
        front.shutdown(socket.SHUT_WR)
        assert_closed(front)
    # Too late, and not busy while it waits.
    used = processor_seconds(daemon)
    start = time.monotonic()
    with connect(daemon.port) as front:
        front.sendall(named(2)[:20])
        assert_closed(front)
        assert 4 < time.monotonic() - start < 30
    assert processor_seconds(daemon) - used < 1
    assert len(backend.sessions) == before
    daemon.wait_for(r"127\.0\.0\.1:[0-9]+ is closed: it does not begin with a PROXY header \(--proxy-from\)")


def test_a_header_from_elsewhere_names_nobody(fronted):
    daemon, backend = fronted
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE, source_address=("127.0.0.8", 0)) as stranger:
        assert read_until(stranger, b"\r\n").startswith(b"220 ")
        stranger.sendall(named(1))
        assert read_until(stranger, b"\r\n").startswith(b"50")
    assert Header.read(backend.sessions[-1].header).source[0] == "127.0.0.8"


@pytest.mark.skipif(subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0,
                    reason="this gives starttlsd a file /etc/resolv.conf of its own")
@pytest.mark.parametrize("name, code", [("mail.example.org:25", 111), ("mail.example.org", 100)])
def test_a_name_that_cannot_be_looked_up_now(build, certificate, tmp_path, name, code):
    """A supervisor tries 111 again: at boot the resolver may come later. A wrong text stays wrong."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.254\noptions timeout:1 attempts:1\n")
    services = tmp_path / "nsswitch.conf"
    services.write_text("hosts: files dns\n")
    script = f"mount --bind {resolver} /etc/resolv.conf && mount --bind {services} /etc/nsswitch.conf && exec \"$@\""
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", build / "release/starttlsd", "--allow-root", "--workers", "1", "--listen", "127.0.0.1:0",
         "--certificate", certificate.chain, "--key", certificate.key, "--backend", name, "--backend-client", "none"], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == code, result.stderr
    assert f"--backend '{name}': " in result.stderr
