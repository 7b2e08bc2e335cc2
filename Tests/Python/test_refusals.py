"""Each reason for which starttlsd refuses a connection is counted with its own value of the label, and only there."""
import contextlib
import pathlib
import re
import resource
import socket

import pytest

from backends import client
from mail import connect, read_to_end, read_until
from metrics import documented_labels, get

STRANGER = "127.0.0.9"
COUNT = re.compile(r'^starttlsd_refusals_total\{reason="(.*?)"\} (\d+)$', re.MULTILINE)
# A program that does not end with its input, but when its file exists.
STUBBORN = r"""printf '220 s\r\n'; until [ -e "$0" ]; do sleep 0.1; done"""


def refused(daemon, octets: bytes = b"") -> bytes:
    """What a client gets that is not served: the reply, or nothing."""
    with socket.create_connection(("127.0.0.1", daemon.port), source_address=(STRANGER, 0)) as made:
        made.settimeout(60)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            made.sendall(octets)
            return read_to_end(made)
    return b""


def from_stranger(daemon) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", daemon.port), source_address=(STRANGER, 0))
    made.settimeout(60)
    return made


def capacity(daemon):
    with connect(daemon.port) as held:
        read_until(held, b"\r\n")
        assert refused(daemon).startswith(b"421 4.3.2")


def rule(daemon):
    assert refused(daemon).startswith(b"554 5.7.1")


def early_talker(daemon):
    assert refused(daemon, b"EHLO x\r\n").startswith(b"554 5.5.1")


def proxy_header(daemon):
    assert refused(daemon, b"EHLO x\r\n") == b""


def connections(daemon):
    with from_stranger(daemon) as held:
        read_until(held, b"\r\n")
        assert refused(daemon).startswith(b"421 4.7.0")


def backends(daemon):
    with from_stranger(daemon) as left:
        read_until(left, b"\r\n")
    daemon.wait_for(r"session peer=127\.0\.0\.9:")
    assert refused(daemon).startswith(b"421 4.7.0")


def connections_per_minute(daemon):
    with from_stranger(daemon) as first:
        read_until(first, b"\r\n")
        assert refused(daemon).startswith(b"421 4.7.0")


def handshakes_per_minute(daemon):
    with client(daemon.port, STRANGER):
        assert refused(daemon).startswith(b"421 4.7.0")


def penalty(daemon):
    with from_stranger(daemon) as first:
        read_until(first, b"\r\n")
        first.sendall(b"GET / HTTP/1.1\r\n")
        read_to_end(first)
    daemon.wait_for(r"session peer=127\.0\.0\.9:")
    assert refused(daemon).startswith(b"421 4.7.0")


# The options that lead to each refusal, and what the client does.
REASONS = {
    "capacity": (["--max-connections", "1"], capacity), "rule": (["--access", "{rules}"], rule),
    "early-talker": (["--greeting-wait", "1"], early_talker), "proxy-header": (["--proxy-from", STRANGER], proxy_header),
    "address-connections": (["--max-connections-per-address", "1"], connections),
    "address-backends": (["--max-connections-per-address", "1", "--backend-grace", "600"], backends),
    "address-connections-per-minute": (["--max-connections-per-minute", "1"], connections_per_minute),
    "address-handshakes-per-minute": (["--max-handshakes-per-minute", "1"], handshakes_per_minute),
    "address-penalty": (["--max-penalty", "1"], penalty),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_own_count(backend_server, starttlsd, tmp_path, reason):
    options, refuse = REASONS[reason]
    rules = tmp_path / "rules"
    rules.write_text(f"{STRANGER}:deny\n:allow\n")
    end = tmp_path / "end"
    server = (["--trusting-backend", "--", "/bin/sh", "-c", STUBBORN, str(end)] if reason == "address-backends"
              else ["--backend", backend_server(trusts="nobody").address, "--backend-client", "none"])
    daemon = starttlsd("--metrics", f"unix:{tmp_path}/metrics", *[option.format(rules=rules) for option in options], *server)
    refuse(daemon)
    text = get(f"{tmp_path}/metrics")[2]
    assert COUNT.findall(text) == [(reason, "1")], text
    # A reason that is new in starttlsd needs a line here.
    assert documented_labels(text)["starttlsd_refusals"]["reason"] == REASONS.keys()
    end.touch()


def test_a_client_without_a_descriptor_for_it_is_counted(backend_server, starttlsd, tmp_path):
    """It gets the reserved descriptor and a 421: it is a connection, and one that is refused for lack of room."""
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--metrics", f"unix:{tmp_path}/metrics")
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    used = len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used, before[1]))
    assert refused(daemon).startswith(b"421 4.3.2"), daemon.log()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
    text = get(f"{tmp_path}/metrics")[2]
    assert COUNT.findall(text) == [("capacity", "1")] and "\nstarttlsd_connections_total 1\n" in text, text
