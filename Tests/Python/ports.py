"""TCP ports of the loopback interface."""
import socket


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


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
