"""What code in a captured starttlsd can use: its connections to the processes beside it. For tests that need root."""
import ctypes
import os
import pathlib
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)


def sockets(process: int) -> dict[int, int]:
    """The descriptors of a process that are sockets, by the number of the socket."""
    folder = pathlib.Path(f"/proc/{process}/fd")
    links = {number: os.readlink(folder / number) for number in os.listdir(folder)}
    return {int(link[8:-1]): int(number) for number, link in links.items() if link.startswith("socket:[")}


def duplicate(process: int, number: int) -> socket.socket:
    """A duplicate of a descriptor of another process."""
    with open(os.pidfd_open(process), "rb", buffering=0) as reference:
        duplicated = libc.syscall(438, reference.fileno(), number, 0)
    assert duplicated >= 0
    return socket.socket(fileno=duplicated)


def connection_to(other: int, process: int) -> socket.socket:
    """A duplicate of the process's end of its connection to a child. Ends of a pair have neighbouring numbers."""
    ends, held = sockets(other), sockets(process)
    for known in sorted(held, key=lambda known: min(abs(known - end) for end in ends)):
        connection = duplicate(process, held[known])
        if connection.type == socket.SOCK_SEQPACKET:
            return connection
        connection.close()
    raise AssertionError(f"no connection to {other}: {held}")


def children(process: int, with_zombies: bool = False) -> list[int]:
    """The children that run, or all that are not reaped."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            rest = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2]
        except OSError:
            continue
        if int(rest.split()[1]) == process and (with_zombies or rest[0] != "Z"):
            found.append(int(number))
    return found


def child(process: int, name: str) -> int | None:
    """The child with this name that runs."""
    for number in children(process):
        try:
            if pathlib.Path(f"/proc/{number}/comm").read_text().strip() == name:
                return number
        except OSError:
            continue
    return None


class Starter:
    """The connection of starttlsd to the process that starts the server program, as code in starttlsd has it."""

    def __init__(self, daemon: int):
        self.process = child(daemon, "starttlsd-start")
        self.connection = connection_to(self.process, daemon)

    def start(self, number: int, *variables: bytes) -> socket.socket:
        """Returns the other end of the program's input and output."""
        own, other = socket.socketpair()
        message = struct.pack("<iIii", 1, number, 0, 0) + b"".join(text + b"\0" for text in variables)
        socket.send_fds(self.connection, [message], [other.fileno()])
        other.close()
        return own

    def signal(self, number: int, signal: int) -> None:
        self.connection.send(struct.pack("<iIii", 2, number, signal, 0))

    def reap(self, number: int) -> None:
        self.connection.send(struct.pack("<iIii", 3, number, 0, 0))
