#!/usr/bin/env python3
"""syscalls: how many system calls of starttlsd's own a session costs, counted by strace.

One process serves (`--workers 1`). Its calls are counted, and those of the processes that it forked at its start, which start programs,
connect and sign. The server programs are not counted. A session in clear is: greeting, EHLO, QUIT, end. One with STARTTLS is: greeting, EHLO, STARTTLS, handshake (TLS 1.3), EHLO, QUIT, close_notify, end. The
sessions come one after the other. The server is a program, one process for each part of a session, and then a TCP server.

Usage: syscalls.py folder-of-the-programs [--sessions 50] [--calls] [option of starttlsd...]

Prints a table in Markdown; with --calls the calls by name as well. Needs strace, a C compiler, the headers of GnuTLS, openssl, and the
right to trace.
"""
import argparse
import bisect
import collections
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
WARM_UP = 3
CLEAR, STARTTLS = "in clear", "with STARTTLS"
PROGRAM, SERVER = "a program", "a TCP server"


class Client:
    """One client's connection, with its replies."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.rest = b""

    def reply(self, code: bytes) -> None:
        while True:
            while b"\n" not in self.rest:
                octets = self.socket.recv(4096)
                if not octets:
                    sys.exit(f"syscalls: the connection ended before {code.decode()}")
                self.rest += octets
            line, self.rest = self.rest.split(b"\n", 1)
            if not line.startswith(code):
                sys.exit(f"syscalls: {line!r} in place of {code.decode()}")
            if line[3:4] != b"-":
                return

    def command(self, line: bytes, code: bytes) -> None:
        self.socket.sendall(line + b"\r\n")
        self.reply(code)


def session(port: int, context: ssl.SSLContext | None) -> None:
    client = Client(port)
    client.reply(b"220")
    client.command(b"EHLO client.example", b"250")
    if context:
        client.command(b"STARTTLS", b"220")
        client.socket = context.wrap_socket(client.socket, suppress_ragged_eofs=False)
        client.command(b"EHLO client.example", b"250")
    client.command(b"QUIT", b"221")
    if context:
        client.socket = client.socket.unwrap()
    while client.socket.recv(4096):
        pass
    client.socket.close()


def sessions_in(log: pathlib.Path) -> int:
    return sum(" peer=" in line for line in log.read_text().splitlines())


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"syscalls: {what}")
        time.sleep(0.02)


# The calls by the name of the process and their own: of one session, or the mean of many.
Calls = dict[str, dict[str, float]]


def counted(daemon: int, port: int, context: ssl.SSLContext | None, count: int, log: pathlib.Path, work: pathlib.Path) -> list[Calls]:
    """The calls of each session."""
    for _ in range(WARM_UP):
        session(port, context)
    wait_for(lambda: not programs_of(daemon), "a server program does not end")
    names = {process: name_of(process) for process in [daemon, *children_of(daemon)]}
    trace = work / "trace"
    trace.unlink(missing_ok=True)
    attach = [word for process in names for word in ("-p", str(process))]
    strace = subprocess.Popen(["strace", "-q", "-ttt", *attach, "-o", trace], stderr=subprocess.PIPE)
    wait_for(lambda: all(tracer_of(process) == strace.pid for process in names) or strace.poll() is not None, "strace does not attach")
    if strace.poll() is not None:
        sys.exit(f"syscalls: {strace.stderr.read().decode()}")
    starts = []
    for _ in range(count):
        before = sessions_in(log)
        starts.append(time.time())
        session(port, context)
        # The last line and the end of the last program belong to the session.
        wait_for(lambda: sessions_in(log) > before, "a session has no line in the log")
        wait_for(lambda: not programs_of(daemon), "a server program does not end")
    strace.terminate()
    strace.wait(10)
    calls = [{name: collections.Counter() for name in names.values()} for _ in starts]
    for line in trace.read_text().splitlines():
        if found := re.match(r"(\d+) +([\d.]+) ([a-z_0-9]+)\(", line):
            number = bisect.bisect(starts, float(found[2])) - 1
            if number >= 0:
                calls[number][names[int(found[1])]][found[3]] += 1
    return calls


def mean(sessions: list[Calls]) -> Calls:
    return {process: {name: sum(calls[process][name] for calls in sessions) / len(sessions) for calls in sessions for name in calls[process]}
            for process in sessions[0]}


def fewest(sessions: list[Calls]) -> Calls:
    """The calls of the session that has the fewest. Other sessions can have more: an event that comes late is one wait more."""
    return min(sessions, key=total)


def children_of(process: int) -> list[int]:
    return [int(word) for word in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def name_of(process: int) -> str:
    return pathlib.Path(f"/proc/{process}/comm").read_text().strip()


def programs_of(daemon: int) -> list[int]:
    """The server programs, which starttlsd-start has started."""
    return [program for helper in children_of(daemon) for program in children_of(helper)]


def total(calls: Calls, process: str | None = None) -> float:
    """The calls of one process, or of all."""
    return sum(number for name, them in calls.items() if process in (None, name) for number in them.values())


def tracer_of(process: int) -> int:
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0


def served(programs: pathlib.Path, log: pathlib.Path, port: int, certificate: list, options: list, server: list) -> subprocess.Popen:
    """starttlsd, as soon as it listens."""
    root = ["--allow-root"] if os.geteuid() == 0 and "--user" not in options else []
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [programs / "starttlsd", *root, "--workers", "1", "--listen", f"127.0.0.1:{port}", *certificate, "--max-connections-per-address", "0", *options,
             *server], stdin=subprocess.DEVNULL, stderr=output)
    wait_for(lambda: f"listening on 127.0.0.1:{port}" in log.read_text() or daemon.poll() is not None, "starttlsd does not start")
    if daemon.poll() is not None:
        sys.exit(f"syscalls: starttlsd ended:\n{log.read_text()}")
    return daemon


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(programs: pathlib.Path, sessions: int, options: list, work: pathlib.Path) -> dict[tuple[str, str], list[Calls]]:
    """The calls of each session, for each kind of session and each kind of server."""
    work.chmod(0o755)
    for tool, libraries in (("backend", []), ("server", ["-lgnutls"])):
        subprocess.run(["cc", "-O2", "-o", work / tool, HERE / f"load/{tool}.c", *libraries], check=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx.example",
         "-days", "2", "-keyout", work / "key.pem", "-out", work / "cert.pem"], check=True, stderr=subprocess.DEVNULL)
    certificate = ["--certificate", work / "cert.pem", "--key", work / "key.pem"]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    result = {}
    inner = free_port()
    server = subprocess.Popen([work / "server", str(inner)], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: accepts(inner), "the server does not listen")
        for name, words in ((PROGRAM, ["--", work / "backend"]),
                            (SERVER, ["--backend", f"127.0.0.1:{inner}", "--backend-client", "none"])):
            port, log = free_port(), work / "log"
            daemon = served(programs, log, port, certificate, options, words)
            try:
                for kind, used in ((CLEAR, None), (STARTTLS, context)):
                    result[kind, name] = counted(daemon.pid, port, used, sessions, log, work)
            finally:
                daemon.terminate()
                daemon.wait(20)
    finally:
        server.terminate()
        server.wait(20)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="counts the system calls of a session")
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--calls", action="store_true")
    known, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(known.programs, known.sessions, options, pathlib.Path(folder))
    result = {what: mean(sessions) for what, sessions in measured.items()}
    print("| a session | a program | of them starttlsd | a TCP server | of them starttlsd |\n|---|---|---|---|---|")
    for kind in (CLEAR, STARTTLS):
        cells = [f"{total(result[kind, name], process):.0f}" for name in (PROGRAM, SERVER) for process in (None, "starttlsd")]
        print(f"| {kind} | {' | '.join(cells)} |")
    if known.calls:
        columns = {(kind, name, process): them for (kind, name), calls in result.items() for process, them in calls.items() if them}
        print("\n| call | " + " | ".join(", ".join(column) for column in columns) + " |\n|---" + "|---" * len(columns) + "|")
        for call in sorted({call for them in columns.values() for call in them}, key=lambda call: -columns[STARTTLS, PROGRAM, "starttlsd"].get(call, 0)):
            print(f"| `{call}` | " + " | ".join(f"{them.get(call, 0):.1f}" for them in columns.values()) + " |")


if __name__ == "__main__":
    main()
