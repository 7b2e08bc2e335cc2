"""What the tests with real clients share: a plain SMTP client, and a TLS client whose octets the test sends itself."""
import contextlib
import smtplib
import socket
import ssl
import subprocess
import time

# The commands before the message, with parameters of two extensions.
MAIL = b"MAIL FROM:<a@c.example> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"
PATIENCE = 60


class Ports:
    """Ports of the loopback that servers of the test can listen on, and that nobody else is given until it ends.

    Each is kept by a socket that does not listen: connections are refused until a server listens. The kernel allows the server's socket
    beside it because both have SO_REUSEADDR, and chooses the port for no other one.
    """

    def __init__(self):
        self.kept: list[socket.socket] = []

    def __call__(self) -> int:
        made = socket.socket()
        self.kept.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]

    def close(self) -> None:
        for each in self.kept:
            each.close()


def run(*command: str, **options) -> str:
    """Runs a command that must succeed; returns its standard output."""
    return subprocess.run(command, **{"check": True, "text": True, "stdout": subprocess.PIPE, "timeout": 120} | options).stdout


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_until(client, what: bytes) -> bytes:
    text = b""
    while what not in text:
        chunk = client.recv(65536)
        assert chunk, f"{what!r} does not arrive: {text!r}"
        text += chunk
    return text


def read_to_end(client) -> bytes:
    text = b""
    while chunk := client.recv(65536):
        text += chunk
    return text


def talk(port: int, *pieces: bytes, end: bool = True) -> str:
    """Sends the pieces one by one; with `end`, ends the client's half. Returns all octets until the server's end."""
    with connect(port) as client:
        for piece in pieces:
            client.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.02)  # So that most pieces arrive apart; the result is the same if they do not.
        if end:
            client.shutdown(socket.SHUT_WR)
        return read_to_end(client).decode()


def codes(text: str) -> list[str]:
    """The codes of the replies in a text."""
    return [line[:3] for line in text.splitlines() if line[3:4] != "-"]


def context(chain: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=chain)
    made.check_hostname = False
    return made


def smtp(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, local_hostname="c.example", timeout=PATIENCE)


class EagerClient:
    """A TLS client that has its ClientHello ready before the server offers TLS. The test sends the octets."""

    def __init__(self, chain: str):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(chain).wrap_bio(self.incoming, self.outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()

    def finish(self, client: socket.socket) -> None:
        """The rest of the handshake."""
        done = False
        while not done:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                client.sendall(self.outgoing.read())
                self.incoming.write(client.recv(65536))
        client.sendall(self.outgoing.read())

    def talk(self, client: socket.socket, octets: bytes, until: bytes) -> str:
        self.tls.write(octets)
        client.sendall(self.outgoing.read())
        text = b""
        while until not in text:
            try:
                text += self.tls.read()
            except ssl.SSLWantReadError:
                self.incoming.write(client.recv(65536))
        return text.decode()
