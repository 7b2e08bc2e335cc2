"""starttlsd in front of several servers that learn the client's address: a failure may concern one client only."""
import os
import socket
import time

import pytest

from greeters import Choosing
from mail import PATIENCE, read_until

REFUSED, OTHER, THIRD = "127.0.0.66", "127.0.0.7", "127.0.0.8"


def greeting(port: int, source: str) -> bytes:
    """What a client at this address gets. It ends its connection then."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0)) as made:
        return read_until(made, b"\r\n")


@pytest.fixture
def choosing(backend_server, starttlsd):
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
def test_a_failure_of_one_client_leaves_the_server_to_the_others(choosing, octets, keeps):
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


def test_a_client_that_gets_no_greeting_leaves_the_server_to_the_others(choosing):
    first, daemon = choosing(b"", True, REFUSED, timeout="4")
    assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert greeting(daemon.port, OTHER).startswith(b"220 first")
    assert first.clients == [REFUSED, OTHER]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_the_same_with_connections_that_come_from_the_client(choosing):
    first, daemon = choosing(b"554 5.7.1 listed\r\n", False, REFUSED, form="transparent")
    for _ in range(2):
        assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    assert greeting(daemon.port, OTHER).startswith(b"220 first")
    assert first.clients in ([REFUSED, OTHER], [REFUSED, REFUSED, OTHER])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use addresses of others")
def test_a_client_whose_connection_fails_leaves_the_server_to_the_others(backend_server, starttlsd, free_port):
    """The connection comes from the client's address: a filter may refuse it for that one only."""
    port = free_port()
    daemon = starttlsd("--trusting-backend", "--backend", f"127.0.0.1:{port}", "--backend", backend_server().address, "--backend-client",
                       "transparent")
    assert greeting(daemon.port, REFUSED).startswith(b"220 backend")
    first = backend_server(port=port)
    first.greeting = "220 first"
    assert greeting(daemon.port, OTHER).startswith(b"220 first")


@pytest.mark.parametrize("octets, keeps", BAD_FOR_ONE)
def test_two_clients_one_after_the_other_leave_the_server_out(choosing, octets, keeps):
    """A third client that comes within a second gets the next server. If it comes later, the server answers it: once more, with others."""
    first, daemon = choosing(octets, keeps)
    for attempt in range(10):
        failing = [f"127.0.{attempt + 1}.{number}" for number in (1, 2)]
        first.refused.update(failing)
        for source in failing:
            assert greeting(daemon.port, source).startswith(b"220 backend")
        if greeting(daemon.port, THIRD).startswith(b"220 backend"):
            return
    assert False, first.clients


@pytest.mark.parametrize("octets, keeps", BAD_FOR_ONE)
def test_two_clients_cannot_leave_it_out_again(choosing, octets, keeps):
    """After the server has answered a third one: a stranger with two addresses does not take it from the others."""
    first, daemon = choosing(octets, keeps, REFUSED, OTHER)
    for source in (REFUSED, OTHER):
        assert greeting(daemon.port, source).startswith(b"220 backend")
    assert daemon.eventually(lambda: greeting(daemon.port, THIRD).startswith(b"220 first"))
    for source in (REFUSED, OTHER):
        count = first.clients.count(source)
        assert daemon.eventually(lambda: greeting(daemon.port, source) and first.clients.count(source) > count)
    assert greeting(daemon.port, THIRD).startswith(b"220 first")


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
