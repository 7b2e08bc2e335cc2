#!/usr/bin/env python3
"""transfer: what a large transfer inside TLS costs, in both directions: one message to the server, and as much from it.

Usage: transfer.py folder-of-the-programs results-folder [--size 1024] [--rounds 3]

The size is in MiB. Every contestant of the benchmark that relays TLS takes part, and a server that has the TLS library and nothing after
it. Rounds are interleaved. Read are the seconds, and the processor time of all processes and of those that have the TLS, while the
session is still there. A ratio is made of two numbers of one round. skarnet's chain takes part where SKARNET names folders, see bench.py.
Writes transfer.md to the results folder and prints it.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

sys.dont_write_bytecode = True
import measures  # noqa: E402
import report  # noqa: E402
from bench import KEYS, build, certificate  # noqa: E402
from contestants import HANDSHAKES, SERVER, Contestant, Failed, contestants  # noqa: E402
from measures import Measurements, spread  # noqa: E402

KINDS = ("starttls", "tls")
DIRECTIONS = {"send": "One message from the client to the server", "receive": "From the server to the client"}


class Transfer(NamedTuple):
    seconds: float
    # Processor seconds: of all processes, of those with the TLS, and of the client.
    cpu: float
    engine: float
    client: float


def engine_of(contestant: Contestant) -> str:
    """How the names of the processes with the TLS begin."""
    if contestant.own:
        return contestant.own
    names = {"the chain": "tlsd-io", "skarnet's": "s6-tlsd-io", "HAProxy": "haproxy", HANDSHAKES: "server"}
    return next(process for name, process in names.items() if contestant.name.startswith(name))


def processor_time(contestant: Contestant) -> tuple[float, float]:
    """In milliseconds: of all processes, and of those with the TLS. With the children that have ended: none that did other work ends
    while there is a transfer, but the process that has read a key may."""
    processes = measures.descendants(contestant).values()
    engine = engine_of(contestant)
    return measures.total(processes), measures.total(process for process in processes if process.name.startswith(engine))


def transfer(tools: pathlib.Path, contestant: Contestant, kind: str, direction: str, size: int) -> Transfer:
    measures.settle(contestant)
    command = [tools / "transfer", str(contestant.ports[kind]), kind, direction, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        if client.stdout.readline() != "begin\n":
            raise Failed(f"does not begin: {client.stderr.read().strip()}")
        before = processor_time(contestant)
        client.stdin.write("\n")
        client.stdin.flush()
        if not (line := client.stdout.readline()):
            raise Failed(f"does not transfer: {client.stderr.read().strip()}")
        after = processor_time(contestant)
        client.stdin.close()
        if client.wait(60):
            raise Failed(f"does not end: {client.stderr.read().strip()}")
    result = json.loads(line)
    return Transfer(result["seconds"], (after[0] - before[0]) / 1000, (after[1] - before[1]) / 1000, result["client"])


def measure(running: list[Contestant], tools: pathlib.Path, size: int, rounds: int) -> Measurements:
    """The results by direction, kind and contestant."""
    results = Measurements()
    for _ in range(rounds):
        for direction in DIRECTIONS:
            for kind in KINDS:
                for one in (one for one in running if kind in one.relays):
                    results.measure((direction, kind, one.name), one, transfer, tools, one, kind, direction, size)
    return results


def table(results: Measurements, direction: str, size: int) -> list[str]:
    """Ratios above 1 mean that the contestant is slower, or needs more, than starttlsd with a TCP server and the same kind of session."""
    body = []
    for (of_direction, kind, name), them in results.items():
        if of_direction != direction:
            continue
        ours = results.get((direction, kind, SERVER), [])

        def ratio(number, them=them, ours=ours) -> str:
            return spread([number(their) / number(our) for their, our in zip(them, ours) if number(our)], 2)

        body.append([f"{name}, {report.KINDS[kind]}", spread([size * 2**20 / 1e6 / r.seconds for r in them]), ratio(lambda r: r.seconds),
                     spread([r.cpu for r in them], 2), ratio(lambda r: r.cpu), spread([r.engine for r in them], 2),
                     ratio(lambda r: r.engine), spread([r.client for r in them], 2)])
    failed = [[f"{name}, {report.KINDS[kind]}", reason] for (of_direction, kind, name), reason in results.reasons.items() if of_direction == direction]
    return [f"{DIRECTIONS[direction]}, {size:,} MiB:",
            *report.rows(["", "MB/s", "time, ratio", "CPU s", "ratio", "CPU s of the TLS process", "ratio", "CPU s of the client"], body + failed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
        tools, work = pathlib.Path(folder) / "tools", pathlib.Path(folder) / "work"
        for each in (tools, work):
            each.mkdir()
        for each in (tools, work, pathlib.Path(folder)):
            each.chmod(0o755)
        build(tools)
        with contextlib.ExitStack() as stack:
            running = [one for one in contestants(options.programs.resolve(), tools, work, *certificate(tools, KEYS["P-256"]))
                       if set(one.relays) & set(KINDS)]
            for one in running:
                try:
                    stack.enter_context(one)
                    measures.check(tools, one)
                except (Failed, OSError, subprocess.SubprocessError) as failure:
                    one.failure = measures.reason(failure)
            results = measure(running, tools, options.size, options.rounds)
    text = "\n".join([*report.machine(f"make bench-transfer SIZE={options.size} ROUNDS={options.rounds}", load),
                      *(line for direction in DIRECTIONS for line in table(results, direction, options.size))]).rstrip() + "\n"
    (options.results / "transfer.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
