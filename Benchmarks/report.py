"""report: the measurements as Markdown. A ratio is made of two numbers of the same round, and its median is reported, with the spread."""
import os
import pathlib
import platform
import re
import shlex
import subprocess

import skarnet
from contestants import HANDSHAKES, IN_CLEAR, PROGRAM, SERVER, STARTS
from measures import Measurements, spread

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {"starttls": "with STARTTLS", "clear": "in clear", "tls": "with TLS from the start"}
PACKAGES = ["libgnutls30", "libssl3", "stunnel4", "postfix", "haproxy", "ucspi-tcp", "valgrind", "strace", "gcc"]


def rows(head: list[str], body: list[list]) -> list[str]:
    return ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(map(str, row))} |" for row in body), ""]


def complete(command: str) -> str:
    """The command with the variables that name folders, as they are set. Of an absolute path only its end: the rest says nothing elsewhere."""
    words = [command]
    for name in ("PROGRAMS", "SKARNET"):
        if folders := os.environ.get(name):
            words.append(f"{name}={':'.join(skarnet.shortened(pathlib.Path(folder)) for folder in folders.split(':') if folder)}")
    if before := shlex.split(os.environ.get("BEFORE", "")):
        words.append(f"BEFORE='{' '.join([skarnet.shortened(pathlib.Path(before[0])), *before[1:]])}'")
    return " ".join(words)


def machine(command: str, load: float) -> list[str]:
    """What was measured where. `load` is the load average before the start: what other programs do on the machine."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())
    packages = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    version = subprocess.run([ROOT / "Scripts/version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    is_busy = load > os.cpu_count() / 4
    return [f"* Command: `{complete(command)}`",
            f"* Machine: {os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, {int(memory[1]) / 2**20:.0f} GiB, Linux {platform.release()}",
            f"* starttlsd {version}; " + ", ".join([*(line for line in packages.stdout.splitlines() if len(line.split()) == 2), *skarnet.versions()]),
            f"* Load average at the start: {load:.1f}",
            *(["", "**The machine was busy with other programs. Only the system calls, the memory and the core are measured; the rates mean nothing, "
               "and at many connections often no session ended in the time. Run it again on a quiet machine.**"] if is_busy else []), ""]


def ratio(them: list, ours: list) -> str:
    return spread([theirs.rate / own.rate for theirs, own in zip(them, ours) if own.rate], 2)


def failed(results: Measurements, *key) -> list[list[str]]:
    """The rows of what could not be measured: names and reasons."""
    return [[name, reason] for (*of_key, name), reason in results.reasons.items() if of_key == list(key)]


def failed_kinds(results: Measurements) -> list[list[str]]:
    """The same of a table with a row for each kind."""
    return [[f"{name}, {KINDS[kind]}", reason] for (kind, name), reason in results.reasons.items()]


def session_tables(results: Measurements, started: list[float], key: str) -> list[str]:
    """results: the rounds by key type, kind, connections and contestant. started: programs a second, when nothing else is done."""
    lines = []
    for kind, count in dict.fromkeys((kind, count) for of_key, kind, count, _ in [*results, *results.reasons] if of_key == key):
        found = {name: them for (of_key, of_kind, of_count, name), them in results.items() if (of_key, of_kind, of_count) == (key, kind, count)}
        lines += [f"Sessions {KINDS[kind]}, {key}, {count:,} at a time:"]
        lines += rows(
            ["", "sessions/s", f"ratio to {SERVER.replace('starttlsd, ', '')}", "failed", "median ms", "99% ms", "CPU ms a session", "its own", "client's share of a core"],
            [[name, spread([r.rate for r in them]), ratio(them, found.get(SERVER, [])), sum(r.failures for r in them), spread([r.p50 for r in them], 1),
              spread([r.p99 for r in them], 1), spread([r.cpu for r in them], 2), spread([r.own for r in them], 2) if any(r.own > 0 for r in them) else "",
              spread([r.client for r in them], 2)] for name, them in found.items()]
            + ([["programs alone", spread([s / STARTS[PROGRAM][kind] for s in started])]] if started and PROGRAM in found else [])
            + failed(results, key, kind, count))
    return lines


def bound_table(results: dict, started: list[float], key: str) -> list[str]:
    """starttlsd as a part of what its handshakes and its programs alone allow."""
    body = []
    for of_key, kind, count, name in results:
        if of_key != key or name not in (*STARTS, SERVER):
            continue
        bound = results.get((key, kind, count, HANDSHAKES if kind == "starttls" else IN_CLEAR), [])
        ours = results[key, kind, count, name]
        row = [f"{name}, {KINDS[kind]}, {count:,}", spread([o.rate for o in ours]), spread([b.rate for b in bound]),
               spread([100 * o.rate / b.rate for o, b in zip(ours, bound) if b.rate])]
        if name in STARTS:
            programs = STARTS[name][kind]
            # Both in turn, as the same processors would do it without losing anything.
            together = [100 * o.rate * (1 / b.rate + programs / s) for o, b, s in zip(ours, bound, started) if b.rate]
            row += [spread([s / programs for s in started]), spread([100 * o.rate * programs / s for o, s in zip(ours, started)]), spread(together)]
        else:
            row += ["", "", ""]
        body.append(row)
    return [f"The bounds: `{HANDSHAKES}` is an epoll server with GnuTLS that does nothing else, in as many processes as there are cores; "
            f"`{IN_CLEAR}` the same without TLS, in one process; and a loop that only starts the program, {spread(started)} a second, "
            "twice for a session with STARTTLS if the greeting is not learnt. All with the same client on the same cores, except the loop, which has no client.",
            *rows(["", "sessions/s", "server alone", "% of it", "programs alone", "% of them", "% of both in turn"], body)]


def cost_table(results: dict, key: str) -> list[str]:
    """The rate at each number of connections as a part of the rate at the first."""
    counts = sorted({count for of_key, _, count, _ in results if of_key == key})
    body = []
    for kind, name in dict.fromkeys((kind, name) for of_key, kind, _, name in results if of_key == key):
        curve = {count: results.get((key, kind, count, name)) for count in counts}
        if curve[counts[0]]:
            body.append([f"{name}, {KINDS[kind]}", *("" if not curve[count] else spread([r.cpu for r in curve[count]], 2) for count in counts)])
    return ["CPU milliseconds of the server for a session, as the number of connections grows:", *rows(["", *(f"{count:,}" for count in counts)], body)]


def relay_table(results: Measurements) -> list[str]:
    body = []
    for (kind, name), them in results.items():
        ours = results.get((kind, SERVER), [])
        body.append([f"{name}, {KINDS[kind]}", spread([r.rate for r in them]), ratio(them, ours), spread([r.cpu for r in them], 2),
                     spread([r.own for r in them], 2) if any(r.own > 0 for r in them) else "", spread([r.client for r in them], 2)])
    return ["One message from one client, MB (10^6 octets) a second. Those with TLS from the start have a TCP server. CPU ms a MB are CPU seconds a GB:",
            *rows(["", "MB/s", "ratio to a TCP server", "CPU ms a MB", "its own", "client's share of a core"], body + failed_kinds(results))]


def calls_table(results: Measurements) -> list[str]:
    body = [[f"{name}, {KINDS[kind]}", f"{calls.all:.0f}", "" if calls.own is None else f"{calls.own:.0f}", ", ".join(f"{call} {number:.1f}" for call, number in calls.names if number >= 0.5)]
            for (kind, name), [calls] in results.items()]
    return ["System calls of a session, one at a time: of all processes, and of the front-end itself without what it starts:",
            *rows(["", "all", "own", "most frequent (of its own, where that is known)"], body + failed_kinds(results))]


def memory_table(results: Measurements) -> list[str]:
    body = [[f"{name}, {KINDS[kind]}", memory.all, memory.own or ""] for (kind, name), [memory] in results.items()]
    return ["Memory of an idle session after EHLO, PSS in KiB: of all processes, and of the front-end itself. `<` is a bound: the difference is within the noise, "
            "or less than 1 KiB:",
            *rows(["", "all", "own"], body + failed_kinds(results))]


def starts_table(results: list[tuple[int, str, float, float]]) -> list[str]:
    cells = {(way, descriptors): f"{median:.0f} ({most:.0f})" for descriptors, way, median, most in results}
    tables, ways = list(dict.fromkeys(row[0] for row in results)), list(dict.fromkeys(row[1] for row in results))
    return ["How long a start takes its caller until the program is executed, in microseconds, as the number of open descriptors grows: the median, and in "
            "parentheses what nine of ten do not exceed. Both call setsid. kernel_spawn is `Sources/CKernel/Spawn.c`; the number is that of the descriptor that the program gets:",
            *rows(["", *(f"{count:,} open" for count in tables)], [[way, *(cells[way, count] for count in tables)] for way in ways])]


def core_table(costs: dict, allocations: float) -> list[str]:
    body = [[command.upper(), f"{cost.core:,.0f}", f"{cost.core / cost.octets:.0f}", f"{cost.parser:,.0f}", f"{cost.core / cost.parser:.1f}"] for command, cost in costs.items()]
    return ["Instructions of the core for a command and its reply, beside a plain state machine in C with the same limits and verbs "
            "(`Benchmarks/load/parser.c`), which decides these four commands and nothing else:",
            *rows(["", "core", "for an octet", "plain C", "ratio"], body), f"Allocations of the core for a command: {allocations:.2f}.", ""]
