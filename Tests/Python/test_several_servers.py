"""starttlsd in front of several servers that are reached by an address: which one a client gets."""
import os
import re
import resource
import select
import socket
import ssl

import pytest

from backends import client, deliver
from captured import child, children
from greeters import Greeter, silent
from mail import PATIENCE, connect, read_to_end, read_until


def is_readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def test_the_next_server_is_tried(backend_server, starttlsd, free_port):
    closed = free_port()
    held, address = silent()
    backend = backend_server("proxy-v2")
    daemon = starttlsd("--trusting-backend", "--backend", f"127.0.0.1:{closed}", "--backend", address, "--backend", backend.address,
                       "--backend-client", "proxy-v2", "--backend-connect-timeout", "1")
    deliver(daemon.port)
    daemon.wait_for(rf"backend 127\.0\.0\.1:{closed}: connect: Connection refused")
    daemon.wait_for(rf"backend {re.escape(address)}: connect: Connection timed out")
    for each in held:
        each.close()


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


def test_one_session_tries_a_server_that_was_left_out(backend_server, greeter, starttlsd):
    """The others get the next server meanwhile."""
    first, second = greeter(keeps=False), backend_server(trusts="nobody")
    daemon = starttlsd("--trusting-backend", "--backend", first.address, "--backend", second.address, "--backend-client", "none")
    with client(daemon.port, tls=False):
        pass
    # The server fails no more, and does not greet: the session that tries it waits.
    first.keeps, failures = True, len(first.connections)
    tries = lambda: len(first.connections) > failures
    while True:
        trying = connect(daemon.port)
        assert daemon.eventually(lambda: tries() or is_readable(trying))
        if tries():
            break
        trying.close()
    with trying:
        for _ in range(5):
            with client(daemon.port, tls=False):
                pass
        assert len(first.connections) == failures + 1 and not is_readable(trying)
        first.connections[-1].sendall(b"220 first\r\n")
        assert read_until(trying, b"\r\n").startswith(b"220 first")


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
    other = int(daemon.wait_for(r"listening on \[::1\]:(\d+)\n")[1])
    for _ in range(2):
        with socket.create_connection(("::1", other), timeout=PATIENCE) as stranger:
            assert read_to_end(stranger).startswith(b"421 4.3.2 ")
        deliver(daemon.port)
    assert "none of the client's address family" in daemon.log() and "backend 127.0.0.1" not in daemon.log(), daemon.log()


def test_none_answers_and_one_comes_back(backend_server, starttlsd, free_port):
    port = free_port()
    first = backend_server(trusts="nobody", port=port)
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
