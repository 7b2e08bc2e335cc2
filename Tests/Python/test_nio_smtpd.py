"""What concerns the SwiftNIO example alone: its buffers, its shutdown, its arguments."""
import contextlib
import signal
import socket
import ssl
import subprocess

import pytest

from mail import MAIL, PATIENCE, codes, connect, context, read_to_end, read_until

pytestmark = [pytest.mark.nio, pytest.mark.parametrize("example", ["nio-smtpd"], indirect=True)]


def test_plain_text_that_is_still_in_the_kernel(server):
    """The injected octets are in the kernel at the time of the peek, and the server's own buffer is empty: the server is stopped
    while they arrive, and the octets up to STARTTLS fill exactly one read, 16,384."""
    clear = b"EHLO c\r\n" + (b"NOOP " + b"x" * 1017 + b"\r\n") * 15
    clear += b"NOOP " + b"x" * (16_384 - len(clear) - len("NOOP \r\nSTARTTLS\r\n")) + b"\r\nSTARTTLS\r\n"
    assert len(clear) == 16_384
    with connect(server.port) as client:
        read_until(client, b"220 ")
        server.process.send_signal(signal.SIGSTOP)
        client.sendall(clear)
        client.sendall(b"RSET\r\nMAIL FROM:<evil@c.example>\r\n")
        server.process.send_signal(signal.SIGCONT)
        assert read_to_end(client).splitlines()[-1].startswith(b"554 5.5.0 ")


def flood(client, lines: bytes) -> None:
    """Sends without reading until the socket accepts no more."""
    client.settimeout(2)
    sent = 0
    with contextlib.suppress(TimeoutError, ssl.SSLWantWriteError):
        while sent < 100_000_000:
            sent += client.send(lines)
    assert sent < 100_000_000, "the server reads on from a client that does not read"


@pytest.mark.parametrize("phase", ["clear", "TLS"])
def test_a_client_that_does_not_read(server, certificate, phase):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", server.port))
        read_until(client, b"220 ")
        client.sendall(b"EHLO c\r\n")
        read_until(client, b"250 8BITMIME\r\n")
        # In clear after MAIL, while the server relays; inside TLS while the session still decides.
        client.sendall(b"MAIL FROM:<>\r\n" if phase == "clear" else b"STARTTLS\r\n")
        read_until(client, b"\r\n")
        talker = client if phase == "clear" else context(certificate.chain).wrap_socket(client)
        before = server.memory()
        flood(talker, b"NOOP\r\n" * 2_000)
        # The size of some full buffers. Without back-pressure it would be several times the 100 MB that the client sends.
        assert server.memory() - before < 64_000_000
        talker.close()


def test_a_client_that_reads_late(start):
    """A client that has ended its input and reads late: all replies reach it before the close."""
    count = 20_000
    # Six megabytes of replies, more than the kernel accepts, to commands that fit into its buffers.
    server = start(name="x" * 200)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"EHLO c\r\nMAIL FROM:<>\r\n" + b"EHLO c\r\n" * count)
        client.shutdown(socket.SHUT_WR)
        server.rest()
        assert codes(read_to_end(client).decode()) == ["220", "250", "250"] + ["250"] * count


def test_sigterm(server):
    """An idle client gets 421, a mail transaction is completed, and no new connection is accepted."""
    with connect(server.port) as idle, connect(server.port) as busy:
        read_until(idle, b"220 ")
        read_until(busy, b"220 ")
        busy.sendall(b"EHLO c\r\n" + MAIL.replace(b"DATA\r\n", b""))
        read_until(busy, b"250 2.1.5 ")
        server.process.send_signal(signal.SIGTERM)
        assert read_until(idle, b"\r\n").startswith(b"421 4.3.2 ")
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            connect(server.port)
        busy.sendall(b"DATA\r\n")
        read_until(busy, b"354 ")
        busy.sendall(b"Subject: late\r\n\r\nlate\r\n.\r\n")
        assert codes(read_to_end(busy).decode()) == ["250", "421"]
        busy.close()
        assert server.process.wait(timeout=5) == 0, "the server ends at once after its last connection"
        assert server.mails()[-1].endswith("late\r\n")


def ended(example, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([example.program, *arguments], stderr=subprocess.PIPE, text=True, timeout=20)


@pytest.mark.parametrize("arguments", [
    (), ("--certificate", "x", "."), ("--require-tls", "."), ("--listen", "here", "."), ("/nowhere",),
    ("--certificate", "/nowhere", "--key", "/nowhere", "."),
])
def test_wrong_arguments(example, arguments):
    assert ended(example, *arguments).returncode == 100


def test_a_port_that_is_in_use(example, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert ended(example, "--listen", f"127.0.0.1:{taken.getsockname()[1]}", str(tmp_path)).returncode == 111
