"""starttlsd in front of several servers that are reached by an address: which one a client gets."""
import contextlib
import os
import re
import resource
import socket
import ssl
import struct
import threading
import time

import pytest

from backends import Header, client, deliver
from captured import child, children
from mail import PATIENCE, connect, read_to_end, read_until


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


class Greeter:
    """Accepts connections and sends each the same octets, in place of a server. It closes them after that, or keeps them."""

    def __init__(self, octets: bytes, keeps: bool):
        self.octets, self.keeps = octets, keeps
        self.connections: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                connection.sendall(self.octets)
                if not self.keeps:
                    connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=PATIENCE)
        for connection in self.connections:
            connection.close()


@pytest.fixture
def greeter():
    made = []

    def start(octets: bytes = b"", keeps: bool = True) -> Greeter:
        made.append(Greeter(octets, keeps))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.parametrize("octets, keeps, why", [
    (b"", True, "it sent no greeting in time"),
    (b"22", True, "it sent no greeting in time"),
    (b"", False, "it ended before its greeting"),
    (b"22", False, "it ended before its greeting"),
    (b"421 busy\r\n", True, "its greeting has the code 421"),
    (b"554-no\r\n554 service\r\n", False, "its greeting has the code 554"),
    (b"SSH-2.0-x\r\n", True, "its greeting is not SMTP"),
    (b"2201\r\n", True, "its greeting is not SMTP"),
])
def test_a_server_with_a_bad_greeting_is_left_out(backend_server, greeter, starttlsd, octets, keeps, why):
    """Each client gets the greeting of the next server, in clear and inside TLS."""
    first, second = greeter(octets, keeps), backend_server(trusts="nobody")
    daemon = starttlsd("--trusting-backend", "--backend", first.address, "--backend", second.address, "--backend-client", "none",
                       "--greeting-timeout", "4" if "in time" in why else "60")
    assert deliver(daemon.port)
    daemon.wait_for(rf"backend {re.escape(first.address)}: {why}")
    assert len(second.sessions) == 2 and second.sessions[-1].commands[-1] == "QUIT"
    # It is left out for the second connection of that session, or it has been tried again.
    assert 1 <= len(first.connections) <= 2


def test_a_server_that_is_left_out_costs_the_next_clients_nothing(backend_server, greeter, starttlsd):
    """It is tried after 1, 3, 7 seconds, not for each client."""
    first, second = greeter(b"x\r\n"), backend_server(trusts="nobody")
    daemon = starttlsd("--trusting-backend", "--backend", first.address, "--backend", second.address, "--backend-client", "none")
    for _ in range(8):
        with client(daemon.port, tls=False):
            pass
    assert len(second.sessions) == 8 and 1 <= len(first.connections) <= 5


REFUSED, OTHER, THIRD = "127.0.0.66", "127.0.0.7", "127.0.0.8"


class Choosing(Greeter):
    """Serves all clients but some: these get other octets. It knows them by the PROXY header, or by the address of the connection."""

    def __init__(self, octets: bytes, keeps: bool, refused: set[str], has_header: bool):
        self.refused, self.has_header = refused, has_header
        self.clients: list[str] = []
        super().__init__(octets, keeps)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, (client, _) = self.listener.accept()
                self.connections.append(connection)
                connection.settimeout(PATIENCE)
                if self.has_header:
                    start = connection.recv(16, socket.MSG_WAITALL)
                    header = start + connection.recv(struct.unpack("!H", start[14:16])[0], socket.MSG_WAITALL)
                    client = Header.read(header).source[0]
                self.clients.append(client)
                is_refused = client in self.refused
                connection.sendall(self.octets if is_refused else b"220 first\r\n")
                if is_refused and not self.keeps:
                    connection.close()


def greeting(port: int, source: str) -> bytes:
    """What a client at this address gets. It ends its connection then."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0)) as made:
        return read_until(made, b"\r\n")


@pytest.fixture
def choosing(backend_server, greeter, starttlsd):
    """A server that chooses, another one after it, and the daemon in front of both."""
    made = []

    def start(octets: bytes, keeps: bool, *refused: str, form: str = "proxy-v2", timeout: str = "60"):
        made.append(Choosing(octets, keeps, set(refused), form != "transparent"))
        second = backend_server("none" if form == "transparent" else form)
        daemon = starttlsd("--trusting-backend", "--backend", made[-1].address, "--backend", second.address, "--backend-client", form,
                           "--greeting-timeout", timeout)
        return made[-1], daemon

    yield start
    for each in made:
        each.close()


BAD_FOR_ONE = [(b"554 5.7.1 listed\r\n", False), (b"421 slow down\r\n", True), (b"", False), (b"x\r\n", True)]


@pytest.mark.parametrize("octets, keeps", BAD_FOR_ONE)
def test_one_client_takes_the_server_from_nobody(choosing, octets, keeps):
    """It gets the next server, as often as it comes; the others get the first one."""
    first, daemon = choosing(octets, keeps, REFUSED)
    for _ in range(2):
        assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert greeting(daemon.port, OTHER).startswith(b"220 first")
    # For a second it does not try it again.
    assert first.clients in ([REFUSED, OTHER], [REFUSED, REFUSED, OTHER])


def test_a_client_for_which_the_server_hangs_waits_once(choosing):
    """All clients of a network may have one address: they leave the server out for a second, then for two."""
    first, daemon = choosing(b"", True, REFUSED, timeout="2")
    for _ in range(3):
        assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert len(first.clients) < 3


def test_nor_does_one_that_waits_in_vain_for_the_greeting(choosing):
    first, daemon = choosing(b"", True, REFUSED, timeout="4")
    assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert greeting(daemon.port, OTHER).startswith(b"220 first")
    assert first.clients == [REFUSED, OTHER]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_nor_with_connections_that_come_from_the_client(choosing):
    first, daemon = choosing(b"554 5.7.1 listed\r\n", False, REFUSED, form="transparent")
    for _ in range(2):
        assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert greeting(daemon.port, OTHER).startswith(b"220 first")
    assert first.clients in ([REFUSED, OTHER], [REFUSED, REFUSED, OTHER])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_nor_does_one_whose_connection_fails(backend_server, starttlsd):
    """The connection comes from the client's address: a filter may refuse it for that one only."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = starttlsd("--trusting-backend", "--backend", f"127.0.0.1:{port}", "--backend", backend_server().address, "--backend-client",
                       "transparent")
    assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    first = backend_server(port=port)
    first.greeting = "220 first"
    assert greeting(daemon.port, OTHER).startswith(b"220 first")


@pytest.mark.parametrize("octets, keeps", BAD_FOR_ONE)
def test_two_clients_one_after_the_other_leave_the_server_out(choosing, octets, keeps):
    """For a second: a third client that comes in it gets the next server."""
    first, daemon = choosing(octets, keeps, REFUSED, OTHER)
    assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    start = time.monotonic()
    assert greeting(daemon.port, OTHER).startswith(b"220 backend")
    third = greeting(daemon.port, THIRD)
    assert third.startswith(b"220 backend") or time.monotonic() - start > 0.9, first.clients


def test_a_220_between_two_failures_clears_the_first(choosing):
    first, daemon = choosing(b"421 slow down\r\n", False, REFUSED, OTHER)
    for source in (REFUSED, THIRD, OTHER, THIRD):
        assert greeting(daemon.port, source).startswith(b"220 first") == (source == THIRD)
    assert first.clients == [REFUSED, THIRD, OTHER, THIRD]


def test_a_client_that_waits_for_a_server_does_not_hide_it(choosing):
    """The server was left out. When that is over, the client whose failure was the last one tries it, and gets no greeting."""
    first, daemon = choosing(b"", False, REFUSED, OTHER)
    for source in (OTHER, REFUSED):
        assert greeting(daemon.port, source).startswith(b"220 backend")
    first.keeps = True
    first.refused.discard(OTHER)
    time.sleep(1.1)
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE, source_address=(REFUSED, 0)):
        assert daemon.eventually(lambda: len(first.clients) == 3)
        assert greeting(daemon.port, OTHER).startswith(b"220 first")
    assert first.clients == [OTHER, REFUSED, REFUSED, OTHER]


def test_the_process_that_connects_has_room_for_the_sockets_of_all_workers(backend_server, starttlsd):
    """The kernel counts those on their way for the user, whichever worker, and whichever listener, they are for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--workers", "3",
                           "--max-connections", "900")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.eventually(lambda: len(children(daemon.process.pid)) == 3)
    for worker in children(daemon.process.pid):
        assert daemon.eventually(lambda: child(worker, "starttlsd-conn"))
        connector = child(worker, "starttlsd-conn")
        assert daemon.eventually(lambda: resource.prlimit(connector, resource.RLIMIT_NOFILE)[0] >= hard)


def test_after_the_handshake_the_next_server_is_tried(backend_server, greeter, starttlsd):
    """The first server serves the clear part, then goes bad."""
    first, second = backend_server(trusts="nobody"), backend_server(trusts="nobody")
    daemon = starttlsd("--trusting-backend", "--backend", first.address, "--backend", second.address, "--backend-client", "none")
    made = client(daemon.port, tls=False)
    made.ehlo()
    first.greeting = "421 4.3.2 closing"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    made.starttls(context=context)
    made.sendmail("a@client.example", ["b@mx.example"], "Subject: x\r\n\r\ntext\r\n")
    made.quit()
    assert [len(server.sessions) for server in (first, second)] == [2, 1]
    assert second.sessions[0].commands[-1] == "quit"


@pytest.mark.parametrize("octets, reply", [(b"", b"421 4.3.2 "), (b"421 busy\r\n", b"421 busy\r\n"), (b"x\r\n", b"421 4.3.0 ")])
def test_the_last_server_counts_if_none_is_better(greeter, starttlsd, octets, reply):
    """What a client gets if all servers are bad is what the last one gives."""
    servers = [greeter(b"554 no\r\n"), greeter(octets)]
    options = [word for server in servers for word in ("--backend", server.address)]
    daemon = starttlsd("--trusting-backend", *options, "--backend-client", "none", "--greeting-timeout", "60" if octets else "2")
    with connect(daemon.port) as waiting:
        assert read_to_end(waiting).startswith(reply)
    assert [len(server.connections) for server in servers] == [1, 1]
    daemon.wait_for(rf"session .*")
    if not octets:
        daemon.wait_for(rf'end="greeting timeout" failure="no server answers: {re.escape(servers[1].address)}: it sent no greeting in time"')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_a_client_of_another_family_is_no_fault_of_the_server(backend_server, starttlsd):
    backend = backend_server()
    daemon = starttlsd("--listen", "[::1]:0", "--backend", backend.address, "--backend-client", "transparent")
    daemon.wait_for(r"listening on \[::1\]")
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
