"""`starttlsd status` when the process that answers is no longer starttlsd: it reads what strangers send."""
import contextlib
import socket
import subprocess
import threading
import time

import pytest

from mail import PATIENCE

# A title for the terminal, an empty screen, a letter of two octets, and a line end of two.
SEQUENCES = b"starttlsd\n\x1b]0;title\x07\x1b[2Jsession \xc3\xa9\r\n"


@pytest.fixture
def ask(build, tmp_path):
    """Asks a socket at which each client gets these octets, piece by piece, then its end."""
    path = tmp_path / "status"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def ask(pieces, pause: float = 0, output=subprocess.PIPE) -> subprocess.CompletedProcess:
            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        client, _ = listener.accept()
                        with client, contextlib.suppress(OSError):
                            if not client.recv(16):
                                continue
                            for piece in pieces:
                                client.sendall(piece)
                                time.sleep(pause)

            threading.Thread(target=serve, daemon=True).start()
            return subprocess.run([build / "release/starttlsd", "status", path], stdout=output, stderr=subprocess.PIPE, timeout=PATIENCE)

        yield ask


def test_no_control_sequence_gets_to_the_terminal(ask):
    asked = ask([SEQUENCES])
    assert asked.stdout == b"starttlsd\n\\x1B]0;title\\x07\\x1B[2Jsession \\xC3\\xA9\\x0D\n"
    assert asked.returncode == 0 and asked.stderr == b""


@pytest.mark.parametrize("size, count, pause, why", [(1 << 20, 32, 0, b"Message too long"), (1, 20, 1, b"Connection timed out")])
def test_a_report_that_is_too_long_or_too_slow(ask, size, count, pause, why):
    asked = ask([b"x" * size] * count, pause)
    assert asked.returncode == 111 and why in asked.stderr, asked.stderr


def test_a_report_that_cannot_be_printed(ask):
    """The daemon is not to blame."""
    with open("/dev/full", "wb") as full:
        asked = ask([b"starttlsd\n"], output=full)
    assert asked.returncode == 111 and asked.stderr == b"starttlsd: the report cannot be printed: write: No space left on device\n"
