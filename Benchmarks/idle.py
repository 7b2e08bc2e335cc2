#!/usr/bin/env python3
"""idle: what many sessions that wait cost starttlsd: memory and descriptors of a session, in clear and inside TLS.

Usage: idle.py folder-of-the-programs results-folder [--sessions 10000] [--tls 2000] [--each 5000] [--workers N]

The sessions in clear come first, those inside TLS after them; all wait after EHLO, with a connection to a server. The clients are several
processes with at most EACH sessions: each process has a limit of descriptors, and so has the daemon, which says how many sessions that
allows. Where it allows fewer than asked for, so many are opened, and the result says so. With --workers each worker has that limit for
itself. PSS is that of all processes named starttlsd; what the kernel keeps for the sockets is not in it. Writes idle.md to the results
folder and prints it.
"""
import argparse
import contextlib
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
from typing import NamedTuple

sys.dont_write_bytecode = True
import measures  # noqa: E402
from bench import KEYS, build, certificate  # noqa: E402
from contestants import Contestant, free_port  # noqa: E402


class Sizes(NamedTuple):
    """Of all processes of the daemon together."""
    pss: int
    descriptors: int


def daemon(options: argparse.Namespace, tools: pathlib.Path, work: pathlib.Path) -> Contestant:
    chain, key = certificate(work, KEYS["P-256"])
    port, inner = free_port(), free_port()
    # The limit is divided among workers, and one may get more of the clients than another.
    limit = str((options.sessions + options.tls) * (2 if options.workers else 1) + 100)
    root = ["--allow-root"] if os.geteuid() == 0 else []
    workers = ["--workers", options.workers or "1"]
    front = [options.programs.resolve() / "starttlsd", *root, "--listen", f"127.0.0.1:{port}", "--certificate", chain, "--key", key, "--max-connections", limit,
             "--max-connections-per-address", "0", "--max-penalty", "0", "--grace", "1",
             "--backend", f"127.0.0.1:{inner}", "--backend-client", "none", *workers]
    return Contestant(tools, "starttlsd", front, [tools / "server", inner], ports={"clear": port, "starttls": port}, own="starttlsd")


def sizes(contestant: Contestant) -> Sizes:
    pss = descriptors = 0
    for pid, process in measures.descendants(contestant).items():
        if measures.is_own(contestant, process):
            pss += int(re.search(r"^Pss: +(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    return Sizes(pss, descriptors)


def allowed(contestant: Contestant) -> int | None:
    """How many sessions the limit of descriptors allows in one process, if fewer than asked for."""
    contestant.log.seek(0)
    found = re.search(rb"descriptors allows (\d+) sessions", contestant.log.read())
    return int(found[1]) if found else None


def hold(tools: pathlib.Path, contestant: Contestant, kind: str, count: int, each: int, stack: contextlib.ExitStack) -> None:
    """Opens so many sessions, which stay until the stack ends."""
    while count > 0:
        now = min(count, each)
        load = stack.enter_context(subprocess.Popen([tools / "load", "hold", str(contestant.ports[kind]), kind, str(now)],
                                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        stack.callback(load.stdin.close)
        if load.stdout.readline() != "begin\n":
            contestant.log.seek(0)
            sys.exit(f"idle: the daemon does not hold {now} more sessions ({kind}):\n{contestant.log.read()[-2000:].decode()}")
        count -= now


def row(name: str, count: int, before: Sizes, after: Sizes) -> str:
    if not count:
        return f"| {name} | 0 | | | |"
    return (f"| {name} | {count:,} | {(after.pss - before.pss) / count:.1f} | {(after.pss - before.pss) / 1024:.0f} | "
            f"{(after.descriptors - before.descriptors) / count:.2f} |")


def measure(options: argparse.Namespace, tools: pathlib.Path, work: pathlib.Path) -> list[str]:
    with daemon(options, tools, work) as contestant, contextlib.ExitStack() as stack:
        for kind in ("clear", "starttls"):
            measures.count_sessions(tools, contestant, kind, 4)
        measures.settle(contestant)
        most = None if options.workers else allowed(contestant)
        in_tls = options.tls if most is None else min(options.tls, most // 10)
        in_clear = options.sessions if most is None else min(options.sessions, most - in_tls)
        first = sizes(contestant)
        hold(tools, contestant, "clear", in_clear, options.each, stack)
        second = sizes(contestant)
        hold(tools, contestant, "starttls", in_tls, options.each, stack)
        third = sizes(contestant)
    limit = [] if most is None else [f"The limit of descriptors ({resource.getrlimit(resource.RLIMIT_NOFILE)[1]:,}) allows {most:,} sessions.", ""]
    return [*limit, f"Before the first session: {first.pss / 1024:.1f} MiB PSS and {first.descriptors} descriptors, all processes.", "",
            "| idle sessions | number | KiB a session | MiB together | descriptors a session |", "|---|---|---|---|---|",
            row("in clear", in_clear, first, second), row("inside TLS", in_tls, second, third)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--tls", type=int, default=2_000)
    parser.add_argument("--each", type=int, default=5_000)
    parser.add_argument("--workers")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="idle-") as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        build(work)
        text = "\n".join(measure(options, work, work)) + "\n"
    (options.results / "idle.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
