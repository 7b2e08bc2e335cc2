"""Servers that accept, or do not, and greet as a test wants it."""
import contextlib
import socket
import struct
import threading

from backends import Header
from mail import PATIENCE


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
