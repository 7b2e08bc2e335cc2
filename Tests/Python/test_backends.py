"""starttlsd in front of servers that are reached by an address, and after fronts that name the client."""
import contextlib
import os
import pathlib
import re
import smtplib
import socket
import subprocess
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_the_connection_comes_from_the_client(backend_server, starttlsd):
    backend = backend_server()
    daemon = starttlsd("--backend", backend.address, "--backend-client", "transparent")
    deliver(daemon.port, source="127.0.0.9")
    assert [session.peer for session in backend.sessions] == ["127.0.0.9"] * 2
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(daemon.port, source="127.0.0.9", to="x@elsewhere.example")


def test_a_unix_socket(backend_server, starttlsd, tmp_path):
    backend = backend_server("proxy-v2", path=str(tmp_path / "smtp"))
    daemon = starttlsd("--backend", backend.address, "--backend-client", "proxy-v2")
    deliver(daemon.port)
    assert Header.read(backend.sessions[-1].header).source[0] == "127.0.0.7"


@pytest.mark.parametrize("options, text", [
    (["--backend", "127.0.0.1:1"], "--backend needs --backend-client"),
    (["--backend-client", "none"], "--backend-client needs --backend"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--", "/bin/true"], "both --backend and a program"),
    (["--backend", "127.0.0.1", "--backend-client", "none"], "expected host:port"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--max-backends", "9"], "no program is started"),
    (["--backend", "unix:/x", "--backend-client", "transparent"], "a Unix socket cannot be used"),
    (["--backend", "127.0.0.1:1", "--backend-client", "none", "--proxy-from", "127.0.0.1/33"], "--proxy-from"),
])
def test_wrong_options(starttlsd, options, text):
    daemon = starttlsd(*options)
    assert daemon.process.wait(timeout=PATIENCE) == 100 and text in daemon.log(), daemon.log()


def test_a_server_that_is_not_there_at_the_start(starttlsd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "none")
    assert daemon.process.wait(timeout=PATIENCE) == 111
    assert f"the server at 127.0.0.1:{port} does not work: it cannot be reached: connect: Connection refused" in daemon.log(), daemon.log()


# -- Several servers.

def silent() -> tuple[list[socket.socket], str]:
    """An address that takes no more connections: a client's connect() waits."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    held = [listener]
    for _ in range(4):
        held.append(socket.socket())
        held[-1].setblocking(False)
        held[-1].connect_ex(listener.getsockname())
    return held, "127.0.0.1:%d" % listener.getsockname()[1]


def test_the_next_server_is_tried(backend_server, starttlsd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    held, address = silent()
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--trusting-backend", "--backend", f"127.0.0.1:{closed}", "--backend", address, "--backend", backend.address,
                       "--backend-client", "proxy-v2", "--backend-connect-timeout", "1")
    start = time.monotonic()
    deliver(daemon.port)
    assert time.monotonic() - start >= 0.9
    daemon.wait_for(rf"backend 127\.0\.0\.1:{closed}: connect: Connection refused")
    daemon.wait_for(rf"backend {re.escape(address)}: connect: Connection timed out")
    # Both are left out for a while.
    start = time.monotonic()
    for _ in range(3):
        with client(daemon.port, tls=False):
            pass
    assert time.monotonic() - start < 0.9
    for each in held:
        each.close()


def test_one_session_tries_a_server_that_was_left_out(backend_server, starttlsd):
    """The others do not wait for it."""
    held, address = silent()
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--trusting-backend", "--backend", address, "--backend", backend.address, "--backend-client", "proxy-v2",
                       "--backend-connect-timeout", "2")
    with client(daemon.port, tls=False):
        pass
    time.sleep(1.1)
    # Its time is over: the first of these tries it.
    start = time.monotonic()
    first = connect(daemon.port)
    for _ in range(5):
        with client(daemon.port, tls=False):
            pass
    assert time.monotonic() - start < 1.5
    assert read_until(first, b"\r\n").startswith(b"220 ")
    first.close()
    for each in held:
        each.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_a_client_of_another_family_is_no_fault_of_the_server(backend_server, starttlsd):
    backend = backend_server()
    daemon = starttlsd("--listen", "[::1]:0", "--backend", backend.address, "--backend-client", "transparent")
    other = int(re.search(r"listening on \[::1\]:(\d+)", daemon.log())[1])
    for _ in range(2):
        with socket.create_connection(("::1", other), timeout=PATIENCE) as stranger:
            assert read_to_end(stranger).startswith(b"421 4.3.2 ")
        deliver(daemon.port)
    assert "none of the client's address family" in daemon.log() and "backend 127.0.0.1" not in daemon.log(), daemon.log()


def test_none_answers_and_one_comes_back(backend_server, starttlsd):
    first = backend_server(trusts="nobody")
    port = int(first.address.split(":")[1])
    daemon = starttlsd("--backend", first.address, "--backend-client", "none")
    deliver(daemon.port)
    first.close()
    with connect(daemon.port) as waiting:
        assert read_to_end(waiting).startswith(b"421 4.3.2 ")
    daemon.wait_for(rf"no server answers: 127\.0\.0\.1:{port}: connect: Connection refused")
    # All are left out, so all are tried.
    again = backend_server(trusts="nobody", port=port)
    deliver(daemon.port)
    assert len(again.sessions) == 2


def test_a_client_that_leaves_while_the_connection_is_made(starttlsd):
    """Neither it nor the stop of the daemon waits for the server, and nothing is left."""
    held, address = silent()
    daemon = starttlsd("--trusting-backend", "--backend", address, "--backend-client", "none", "--backend-connect-timeout", "600", "--grace", "1")
    idle = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    connect(daemon.port).close()
    daemon.wait_for(r'session .*end="client ended"')
    assert daemon.eventually(lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd")) == idle)
    waiting = connect(daemon.port)
    assert daemon.eventually(lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd")) == idle + 2)
    daemon.process.terminate()
    assert daemon.process.wait(timeout=PATIENCE) == 0
    waiting.close()
    for each in held:
        each.close()


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
    def busy() -> float:
        fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    used = busy()
    with connect(daemon.port) as front:
        front.sendall(named(2)[:20])
        start = time.monotonic()
        assert_closed(front)
        assert 4 < time.monotonic() - start < 30
    assert busy() - used < 1
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
