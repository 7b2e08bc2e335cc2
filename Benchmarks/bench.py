#!/usr/bin/env python3
"""bench: everything that is measured, in one run, interleaved: each round measures every contestant once.

Usage: bench.py folder-of-the-programs results-folder [--seconds 3] [--rounds 3] [--connections 1,16,64,256,1000] [--only PARTS] [--write]

The parts are sessions, rsa, relay, calls, memory, starts and core. The load client, the backends and the bounds are C programs of this folder
(`load`), which gcc builds. They run on the same machine as the contestants; the table says what share of a core the client takes.
An earlier starttlsd takes part where BEFORE has its command without addresses, certificate, key and program, as a shell reads it.
skarnet's chain takes part where SKARNET names folders, separated by colons, with s6-ucspitlsd, smtpd-starttls-proxy-io and s6-tlsd.
The table has the versions that the headers installed beside these programs state, and of absolute paths only the last two parts.
A contestant that fails ends nothing: its row of the table says why. Writes table.md and performance.svg to the results folder; with
--write also to Docs/Performance.md and Docs/performance.svg.
"""
import argparse
import contextlib
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import core  # noqa: E402
import measures  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
from contestants import KEY_INSIDE, VARIANTS, Contestant, Failed, contestants  # noqa: E402
from measures import Measurements  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
KEYS = {"P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA-2048": ["rsa:2048"]}
PARTS = ["sessions", "rsa", "relay", "calls", "memory", "starts", "core"]
BEGIN, END = "<!-- The last run of `make bench WRITE=1` begins here. -->", "<!-- It ends here. -->"


def build(folder: pathlib.Path) -> None:
    """Compiles the C programs. The backend is static: so its start costs the least."""
    libraries = {**dict.fromkeys(("load", "relay", "transfer"), ["-lssl", "-lcrypto"]), "server": ["-lgnutls"], "backend": ["-static"]}
    for source in sorted((HERE / "load").glob("*.c")):
        if source.stem == "starts":
            continue
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", folder / source.stem,
                        *libraries.get(source.stem, [])], check=True)


def certificate(folder: pathlib.Path, kind: list[str]) -> tuple[str, str]:
    chain, key = str(folder / "chain.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=mx.example", "-keyout", key, "-out", chain, "-newkey", *kind],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return chain, key


class Benchmark:
    def __init__(self, options: argparse.Namespace, work: pathlib.Path):
        self.options, self.tools, self.work = options, work / "tools", work
        self.tools.mkdir()
        build(self.tools)
        self.starts, self.keys = [], {}
        for name, kind in KEYS.items():
            (work / name).mkdir()
            self.keys[name] = certificate(work / name, kind)
        self.sessions, self.relays, self.calls, self.memory = (Measurements() for _ in range(4))
        self.started = []

    def contestants(self, key: str, use: str) -> list[Contestant]:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{use}-", dir=self.work))
        folder.chmod(0o755)
        return contestants(self.options.programs.resolve(), self.tools, folder, *self.keys[key])

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.options.began:6.1f} s  {text}", flush=True)

    def measured(self, results: Measurements, key: tuple, one: Contestant, function, *arguments):
        """The result, or None with a line that says why there is none."""
        is_known = key in results.reasons
        result = results.measure(key, one, function, *arguments)
        if key in results.reasons and not is_known:
            self.say(f"{', '.join(map(str, key))}: {results.reasons[key]}")
        return result

    def start(self, one: Contestant, stack: contextlib.ExitStack) -> Contestant:
        """Starts a contestant. One that does not start, or does other work, has a reason and stays in the list."""
        try:
            stack.enter_context(one)
            measures.check(self.tools, one)
        except (Failed, OSError, subprocess.SubprocessError) as failure:
            one.failure = measures.reason(failure)
            self.say(f"{one.name}: {one.failure}")
        return one

    def idle_memory(self, one: Contestant, kind: str) -> measures.Memory:
        with one:
            return measures.idle_memory(self.tools, one, kind)

    def measure_memory(self) -> None:
        """First: a contestant that has served sessions has memory for more of them."""
        for kind in ("clear", "starttls"):
            for one in self.contestants("P-256", f"memory-{kind}"):
                if kind in one.sessions and one.name not in VARIANTS and not one.name.endswith("alone"):
                    if result := self.measured(self.memory, (kind, one.name), one, self.idle_memory, one, kind):
                        self.say(f"memory: {one.name}, {kind}: {result.all.size:.1f} ± {result.all.noise:.1f} KiB" + (f", own {result.own.size:.1f} ± {result.own.noise:.1f} KiB" if result.own else ""))

    def measure_sessions(self, key: str, running: list[Contestant], loads: list[tuple[str, int]], number: int) -> None:
        for kind, count in loads:
            for one in running:
                if kind not in one.sessions or count > one.most or (one.name in VARIANTS and count != 64) or (one.name == KEY_INSIDE and kind == "clear"):
                    continue
                result = self.measured(self.sessions, (key, kind, count, one.name), one, measures.sessions, self.tools, one, kind, count, self.options.seconds)
                if result:
                    self.say(f"round {number}: {key} {kind} {count:5} {one.name:24} {result.rate:7.0f}/s, {result.failures} failed, CPU {result.cpu:.2f} ms, "
                             f"own {result.own:.2f} ms, client {result.client:.2f}")

    def measure_relays(self, running: list[Contestant], number: int) -> None:
        for kind in ("starttls", "tls", "clear"):
            for one in (one for one in running if kind in one.relays):
                if result := self.measured(self.relays, (kind, one.name), one, measures.relay, self.tools, one, kind, self.options.seconds):
                    self.say(f"round {number}: relay {kind} {one.name:24} {result.rate:7.0f} MB/s, CPU {result.cpu:.2f} ms a MB, client {result.client:.2f}")

    def measure_calls(self, running: list[Contestant]) -> None:
        for one in (one for one in running if not one.name.endswith("alone") and one.name not in VARIANTS):
            for kind in one.sessions:
                if calls := self.measured(self.calls, (kind, one.name), one, measures.system_calls, self.tools, one, kind, self.work / "trace"):
                    self.say(f"system calls: {one.name}, {kind}: {calls.all:.0f}, own {calls.own or 0:.0f}")

    def run(self) -> None:
        parts, counts = self.options.only, self.options.connections
        if "memory" in parts:
            self.measure_memory()
        if "starts" in parts:
            try:
                self.starts = measures.starts(self.tools, HERE.parent / "Sources/CKernel", HERE / "load/starts.c")
            except (OSError, subprocess.SubprocessError) as failure:
                self.say(f"starts: {measures.reason(failure)}")
        if not set(parts) & {"sessions", "rsa", "relay", "calls"}:
            return
        with contextlib.ExitStack() as stack:
            running = [self.start(one, stack) for one in self.contestants("P-256", "ec")]
            with_rsa = []
            if "rsa" in parts:
                with_rsa = [self.start(one, stack) for one in self.contestants("RSA-2048", "rsa") if "starttls" in one.sessions]
            if "calls" in parts:
                self.measure_calls(running)
            for number in range(1, self.options.rounds + 1):
                if "sessions" in parts:
                    self.started.append(measures.started_programs(self.tools, min(1, self.options.seconds)))
                    self.measure_sessions("P-256", running, [(kind, count) for kind in ("starttls", "clear") for count in counts], number)
                if "rsa" in parts:
                    self.measure_sessions("RSA-2048", with_rsa, [("starttls", count) for count in counts if count in (16, 64)], number)
                if "relay" in parts:
                    self.measure_relays(running, number)

    def table(self) -> str:
        options = self.options
        command = f"make bench SECONDS={options.seconds:g} ROUNDS={options.rounds}"
        lines = [*report.machine(command, options.load), f"Medians of {options.rounds} interleaved round{'s' if options.rounds > 1 else ''} of {options.seconds:g} s a cell, with the smallest and the largest in parentheses.", ""]
        if self.sessions or self.sessions.reasons:
            lines += ["## Sessions a second", "", "![Sessions a second over the number of connections](performance.svg)", ""]
            if self.started:
                lines += [*report.bound_table(self.sessions, self.started, "P-256"), *report.cost_table(self.sessions, "P-256")]
            for key in self.keys:
                lines += report.session_tables(self.sessions, self.started, key)
        if self.relays or self.relays.reasons:
            lines += ["## Relays", "", *report.relay_table(self.relays)]
        if self.calls or self.calls.reasons:
            lines += ["## System calls", "", *report.calls_table(self.calls)]
        if self.memory or self.memory.reasons:
            lines += ["## Memory", "", *report.memory_table(self.memory)]
        if self.starts:
            lines += ["## Starts", "", *report.starts_table(self.starts)]
        if "core" in options.only:
            self.say("the core, with valgrind")
            lines += ["## The core", "", *report.core_table(*core.measure(options.results.resolve(), self.tools))]
        return "\n".join(lines).rstrip() + "\n"

    def picture(self) -> str:
        panels: dict = {}
        for (key, kind, count, name), them in self.sessions.items():
            if key == "P-256" and name not in VARIANTS:
                panels.setdefault(f"Sessions a second {report.KINDS[kind]}", {}).setdefault(name, {})[count] = statistics.median(r.rate for r in them)
        return plot.svg(panels)


def write(table: str, picture: str) -> None:
    """Puts a run into the documentation."""
    page = HERE.parent / "Docs/Performance.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}")
    (HERE.parent / "Docs/performance.svg").write_text(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=lambda text: [int(word) for word in text.split(",")], default=[1, 16, 64, 256, 1000])
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.began, options.load = time.monotonic(), os.getloadavg()[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        benchmark = Benchmark(options, work)
        benchmark.run()
        table, picture = benchmark.table(), benchmark.picture()
    (options.results / "table.md").write_text(table)
    (options.results / "performance.svg").write_text(picture)
    if options.write:
        write(table, picture)
    print(f"bench: {options.results}/table.md and performance.svg")


if __name__ == "__main__":
    main()
