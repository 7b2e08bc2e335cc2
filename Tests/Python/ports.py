"""TCP ports of the loopback interface."""
import socket


def free_port() -> int:
    """A port that was free a moment ago: for a program that cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
