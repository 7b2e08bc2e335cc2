#!/usr/bin/env python3
"""fairness: which share of the connections each of several workers gets, for three ways to accept, and for starttlsd.

Usage: fairness.py folder-of-the-programs results-folder [--connections 1000] [--workers 2 4 8] [--clients 1 16 64]

The three ways are small programs of this file, one process a worker: all wait for one shared socket (EPOLLEXCLUSIVE); the same, and a worker
that has accepted a client registers the socket again; each has a socket of its own (SO_REUSEPORT). They accept one client at a time, greet it
and answer its QUIT. starttlsd serves in front of a TCP server; its counts are its metrics. So many clients at a time make the connections
together. Writes fairness.md, a table in Markdown with the least and the greatest share of a worker in percent, and prints it.
"""
import argparse
import contextlib
import itertools
import os
import pathlib
import re
import select
import signal
import socket
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
from bench import KEYS, build, certificate  # noqa: E402
from contestants import Contestant, free_port  # noqa: E402

SHARED, AGAIN, OWN = "shared, `EPOLLEXCLUSIVE`", "shared, registered again", "`SO_REUSEPORT`"
STARTTLSD = "`starttlsd`"
PATIENCE = 60


def listening(port: int, is_own: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if is_own else socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen(512)
    made.setblocking(False)
    return made


def serve(listener: socket.socket, way: str, report: int) -> None:
    """One worker: greets, answers one line, until SIGTERM; then it writes how many clients it has accepted."""
    accepted = 0
    clients: dict[int, socket.socket] = {}
    exclusive = 0 if way == OWN else select.EPOLLEXCLUSIVE
    loop = select.epoll()
    loop.register(listener, select.EPOLLIN | exclusive)
    end, begin_end = socket.socketpair()
    begin_end.setblocking(False)
    signal.set_wakeup_fd(begin_end.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    loop.register(end, select.EPOLLIN)
    # The caller connects only after all workers wait.
    os.write(report, b"ready\n")
    while True:
        for number, _ in loop.poll():
            if number == end.fileno():
                os.write(report, b"%d\n" % accepted)
                os._exit(0)
            if number == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    client, _ = listener.accept()
                    accepted += 1
                    client.sendall(b"220 worker\r\n")
                    clients[client.fileno()] = client
                    loop.register(client, select.EPOLLIN)
                if way == AGAIN:
                    loop.unregister(listener)
                    loop.register(listener, select.EPOLLIN | exclusive)
            else:
                client = clients.pop(number)
                loop.unregister(client)
                with client, contextlib.suppress(OSError):
                    if client.recv(100):
                        client.sendall(b"221 bye\r\n")


def small(way: str, workers: int, clients: int, connections: int) -> list[int]:
    """The connections of each worker of a small program."""
    port = free_port()
    sockets = [listening(port, way == OWN) for _ in range(workers if way == OWN else 1)]
    started = []
    try:
        for number in range(workers):
            reading, report = os.pipe()
            process = os.fork()
            if not process:
                serve(sockets[number % len(sockets)], way, report)
            os.close(report)
            started.append((process, open(reading)))
        for each in sockets:
            each.close()
        for _, reading in started:
            if reading.readline() != "ready\n":
                sys.exit("fairness: a worker does not start")
        connect(port, clients, connections)
    finally:
        for process, _ in started:
            os.kill(process, signal.SIGTERM)
    counts = [int(reading.readline()) for _, reading in started]
    for process, reading in started:
        os.waitpid(process, 0)
        reading.close()
    return counts


def connect(port: int, clients: int, connections: int) -> None:
    """So many connections, by so many clients at a time: greeting, QUIT, its reply."""
    numbers = itertools.count()
    failures: list[str] = []

    def run() -> None:
        try:
            while next(numbers) < connections and not failures:
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as made, made.makefile("rb") as replies:
                    greeting = replies.readline()
                    made.sendall(b"QUIT\r\n")
                    if not greeting.startswith(b"220 ") or not replies.readline().startswith(b"221 "):
                        failures.append(f"{greeting!r} is no greeting, or QUIT was not answered")
        except OSError as error:
            failures.append(str(error))
    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(f"fairness: {failures[0]}")


def counted(path: pathlib.Path, workers: int) -> list[int]:
    """The connections of each worker of starttlsd, as its metrics have them."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(str(path))
        asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
    found = {int(worker): int(count) for worker, count in re.findall(r'^starttlsd_connections_total\{worker="(\d+)"\} (\d+)$', text, re.MULTILINE)}
    return [found.get(number, 0) for number in range(1, workers + 1)]


def daemon(programs: pathlib.Path, tools: pathlib.Path, work: pathlib.Path, workers: int) -> tuple[Contestant, int, pathlib.Path]:
    """starttlsd in front of a server, its port, and its metrics."""
    chain, key = certificate(work, KEYS["P-256"])
    port, inner, metrics = free_port(), free_port(), work / "metrics"
    root = ["--allow-root"] if os.geteuid() == 0 else []
    front = [programs.resolve() / "starttlsd", *root, "--workers", workers, "--listen", f"127.0.0.1:{port}", "--certificate", chain, "--key", key,
             "--max-connections", "4000", "--max-connections-per-address", "0", "--max-penalty", "0", "--grace", "1", "--metrics", f"unix:{metrics}",
             "--backend", f"127.0.0.1:{inner}", "--backend-client", "none"]
    return Contestant(tools, "starttlsd", front, [tools / "server", inner], ports={"clear": port}), port, metrics


def share(counts: list[int]) -> str:
    """`24 to 26 %`"""
    each = [100 * count / max(1, sum(counts)) for count in counts]
    return f"{min(each):.0f} to {max(each):.0f} %"


def measure(options: argparse.Namespace, tools: pathlib.Path, work: pathlib.Path) -> dict[tuple[str, int, int], list[int]]:
    """The connections of each worker, by the way, the number of workers and that of clients."""
    result = {}
    for workers in options.workers:
        for way, clients in itertools.product((SHARED, AGAIN, OWN), options.clients):
            result[way, workers, clients] = small(way, workers, clients, options.connections)
        one, port, metrics = daemon(options.programs, tools, pathlib.Path(tempfile.mkdtemp(dir=work)), workers)
        with one:
            for clients in options.clients:
                before = counted(metrics, workers)
                connect(port, clients, options.connections)
                result[STARTTLSD, workers, clients] = [after - first for after, first in zip(counted(metrics, workers), before)]
    return result


def table(result: dict[tuple[str, int, int], list[int]]) -> list[str]:
    columns = sorted({clients for _, _, clients in result})
    rows = dict.fromkeys((workers, way) for way, workers, _ in result)
    return ["| workers | | " + " | ".join("one client after the other" if clients == 1 else f"{clients} at a time" for clients in columns) + " |",
            "|---" * (len(columns) + 2) + "|",
            *(f"| {workers} | {way} | " + " | ".join(share(result[way, workers, clients]) for clients in columns) + " |" for workers, way in rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        build(work)
        text = "\n".join(table(measure(options, work, work))) + "\n"
    (options.results / "fairness.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
