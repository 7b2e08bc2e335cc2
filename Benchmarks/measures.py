"""measures: what is measured of a contestant: sessions a second, processor time, system calls, memory, and octets through a relay."""
import collections
import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import time
from typing import Iterable, NamedTuple

from contestants import Contestant, Failed

# So many sessions are needed to know the processor time of one: it is counted in ticks, and once for a process that has ended.
FEW = 20
TICK = 1000 / os.sysconf("SC_CLK_TCK")
# What `load check` prints for each contestant, with its version of TLS and its cipher. Only then do they do the same work.
DIALOGUES = {"clear": "220 250+STARTTLS 250 5 221", "starttls": "220 250+STARTTLS 220 {} X25519 250 250 5 221"}
CIPHERS = {"TLSv1.3": ["TLS_AES_256_GCM_SHA384"], "TLSv1.2": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]}


class Process(NamedTuple):
    name: str
    parent: int
    # Processor time in milliseconds: its own, and that of its children that have ended.
    own: float
    ended: float


def descendants(contestant: Contestant) -> dict[int, Process]:
    """The processes of a contestant by their ids."""
    everything, children = {}, collections.defaultdict(list)
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError):
            head, tail = pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)
            fields = tail.split()
            process = Process(head.split("(", 1)[1], int(fields[1]), (int(fields[11]) + int(fields[12])) * TICK,
                              (int(fields[13]) + int(fields[14])) * TICK)
            everything[int(number)] = process
            children[process.parent].append(int(number))
    found, queue = {}, [process.pid for process in contestant.processes]
    while queue:
        one = queue.pop()
        if one in everything:
            found[one] = everything[one]
            queue += children[one]
    return found


def is_own(contestant: Contestant, process: Process) -> bool:
    """True for the processes of the front-end itself: not for its backends."""
    return contestant.own is not None and process.name.startswith(contestant.own)


def total(processes: Iterable[Process]) -> float:
    """Processor time in milliseconds, with the children that have ended."""
    return sum(process.own + process.ended for process in processes)


def processor_time(contestant: Contestant) -> tuple[float, float]:
    """In milliseconds: of all processes, and of those of the front-end itself that still run."""
    processes = descendants(contestant).values()
    return (total(processes),
            sum(process.own for process in processes if is_own(contestant, process)))


class Sessions(NamedTuple):
    rate: float
    failures: int
    p50: float
    p99: float
    # Processor time of the server, milliseconds for a session: of all processes, and of the front-end itself.
    cpu: float
    own: float
    # The part of one processor that the client has used.
    client: float


def check(tools: pathlib.Path, contestant: Contestant) -> None:
    """Fails unless the contestant does the same work as the others."""
    for kind in contestant.sessions:
        run = subprocess.run([tools / "load", "check", str(contestant.ports[kind]), kind], stdout=subprocess.PIPE, text=True, timeout=40)
        expected = [DIALOGUES[kind].format(f"{contestant.version} {cipher}") for cipher in CIPHERS[contestant.version]]
        if run.returncode != 0 or run.stdout.strip() not in expected:
            raise Failed(f"does not do the same work: {kind}: {run.stdout.strip()!r}, expected {expected[0]!r}")


def settle(contestant: Contestant, quiet_seconds: float = 0.1) -> None:
    """Waits until the contestant has nothing to do and no process comes or ends for so long, at most 30 times as long."""
    end, last, before = time.monotonic() + 30 * quiet_seconds, -math.inf, None
    while time.monotonic() < end:
        processes = descendants(contestant)
        now = total(processes.values())
        if now - last <= TICK and processes.keys() == before:
            return
        last, before = now, processes.keys()
        time.sleep(quiet_seconds)


def sessions(tools: pathlib.Path, contestant: Contestant, kind: str, connections: int, seconds: float) -> Sessions:
    command = [tools / "load", "sessions", str(contestant.ports[kind]), kind, str(connections), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        if load.stdout.readline() != "begin\n":
            raise Failed("no session")
        before = processor_time(contestant)
        if not (line := load.stdout.readline()):
            raise Failed("no longer accepts connections")
        result = json.loads(line)
        after = processor_time(contestant)
    settle(contestant)
    # With few sessions, as on a machine that is very busy or with servers that have processes for each, the time of one is not known.
    cpu, own = ((late - early) / result["sessions"] if result["sessions"] >= max(FEW, connections) else math.nan for early, late in zip(before, after))
    return Sessions(result["sessions"] / result["seconds"], result["failures"], result["p50"], result["p99"], cpu, own, result["client"])


class Relay(NamedTuple):
    rate: float
    # Processor time, milliseconds for a MB: of all processes, and of the front-end itself.
    cpu: float
    own: float
    client: float


def relay(tools: pathlib.Path, contestant: Contestant, kind: str, seconds: float) -> Relay:
    before = processor_time(contestant)
    run = subprocess.run([tools / "relay", str(contestant.ports[kind]), kind, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, timeout=seconds + 120)
    if run.returncode:
        raise Failed(f"does not relay: {run.stderr.strip()}")
    # The processes of a session have ended then, and are in the account of their parents.
    settle(contestant)
    after = processor_time(contestant)
    result = json.loads(run.stdout)
    cpu, own = ((late - early) / (result["octets"] / 1e6) for early, late in zip(before, after))
    return Relay(result["rate"], cpu, own, result["client"])


class Calls(NamedTuple):
    """System calls of a session: of all processes, of the front-end itself, and the most frequent, of the front-end if it is known."""
    all: float
    own: float | None
    names: list[tuple[str, float]]


def system_calls(tools: pathlib.Path, contestant: Contestant, kind: str, output: pathlib.Path, count: int = 10) -> Calls:
    """Fails if strace is not there or may not trace."""
    strace = shutil.which("strace")
    pids = {pid for pid, process in descendants(contestant).items() if process.name not in ("reaper", "server")}
    if not strace:
        raise Failed("strace is not installed")
    attach = [word for pid in sorted(pids) for word in ("-p", str(pid))]
    with subprocess.Popen([strace, "-f", "-e", "signal=none", "-o", output, *attach], stderr=subprocess.PIPE, text=True) as tracer:
        # strace prints a line when it has attached to a process.
        for _ in pids:
            if "attached" not in tracer.stderr.readline():
                tracer.terminate()
                raise Failed("strace may not trace here")
        try:
            count_sessions(tools, contestant, kind, count)
            settle(contestant)
        finally:
            tracer.terminate()
            tracer.communicate()
    # stunnel has a thread for each session, which is no longer there.
    tasks = {int(task.name) for pid, process in descendants(contestant).items() if is_own(contestant, process) and contestant.own == "starttlsd"
             for task in pathlib.Path(f"/proc/{pid}/task").glob("*")}
    everything, own = collections.Counter(), collections.Counter()
    for line in output.read_text(errors="replace").splitlines():
        if match := re.match(r"(\d+) +([a-z_0-9]+)\(", line):
            (own if int(match[1]) in tasks else everything)[match[2]] += 1
    most = (own or everything).most_common(8)
    return Calls((everything.total() + own.total()) / count, own.total() / count if own else None, [(name, number / count) for name, number in most])


def memory(contestant: Contestant) -> tuple[float, float]:
    """PSS in KiB: of all processes, and of the front-end itself. A backend that is no program of the contestant does not count."""
    everything = own = 0.0
    for pid, process in descendants(contestant).items():
        with contextlib.suppress(OSError):
            size = float(re.search(r"^Pss: +(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
            everything += size if process.name not in ("reaper", "server") else 0
            own += size if is_own(contestant, process) else 0
    return everything, own


def count_sessions(tools: pathlib.Path, contestant: Contestant, kind: str, count: int) -> None:
    """So many sessions one after the other, which must all go well."""
    if subprocess.run([tools / "load", "count", str(contestant.ports[kind]), kind, str(count)], timeout=120).returncode:
        raise Failed("a session failed")


class Difference(NamedTuple):
    """KiB for a session, and how far two measurements of it are apart."""
    size: float
    noise: float

    def __str__(self) -> str:
        """A difference that is not larger than the noise, or than 1 KiB, is shown as a bound."""
        bound = max(self.noise, 1)
        return f"{self.size:.0f}" if self.size > bound else f"< {math.ceil(max(bound, abs(self.size)) + 0.01)}"


class Memory(NamedTuple):
    """Of an idle session: in all processes, and in those of the front-end itself, if they are known."""
    all: Difference
    own: Difference | None


@contextlib.contextmanager
def held(tools: pathlib.Path, contestant: Contestant, kind: str, count: int):
    """So many sessions wait until the end of the block."""
    with subprocess.Popen([tools / "load", "hold", str(contestant.ports[kind]), kind, str(count)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as load:
        try:
            if load.stdout.readline() != "begin\n":
                raise Failed(f"does not hold {count} sessions")
            yield
        finally:
            load.stdin.close()


def idle_memory(tools: pathlib.Path, contestant: Contestant, kind: str) -> Memory:
    """Of a contestant that has just been started. The sessions come in four parts. The first two are not counted: with them come buffers,
    what each worker learns (one may get all sessions of a part), and clients that share libraries with the contestant, which makes its
    PSS smaller. The difference of the other two is the noise."""
    part = contestant.holds // 4
    count_sessions(tools, contestant, kind, 4)
    with contextlib.ExitStack() as stack:
        readings = []
        for number in range(4):
            stack.enter_context(held(tools, contestant, kind, part))
            # A worker learns a greeting after its first session, with pauses of about a second.
            settle(contestant, quiet_seconds=2 if number < 2 else 0.1)
            readings.append(memory(contestant))

    def difference(first: float, second: float, third: float) -> Difference:
        return Difference((third - first) / (2 * part), abs(third - second - (second - first)) / part)
    everything, own = zip(*readings[1:])
    return Memory(difference(*everything), difference(*own) if any(own) else None)


def started_programs(tools: pathlib.Path, seconds: float) -> float:
    """How many backend programs a second this machine starts, as many at a time as it has processors."""
    command = [tools / "spawn", str(seconds), str(os.cpu_count()), tools / "backend"]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def starts(tools: pathlib.Path, kernel: pathlib.Path, source: pathlib.Path, count: int = 300) -> list[tuple[int, str, float, float]]:
    """Open descriptors, the way of starting, and the microseconds of the caller: the median and the 90th percentile. `kernel` has `Spawn.c`,
    which clang compiles, the compiler that builds it for starttlsd."""
    subprocess.run(["clang", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{kernel}/include", source, kernel / "Spawn.c", "-o", tools / "starts"], check=True)
    run = subprocess.run([tools / "starts", tools / "backend", str(count)], check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return [(int(match[1]), match[2], float(match[3]), float(match[4])) for match in re.finditer(r"^(\d+) (.*): (\d+) (\d+)$", run.stdout, re.M)]


def spread(values: list[float], digits: int = 0) -> str:
    """The median, with the smallest and the largest. Empty if there is no number."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return ""
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):.{digits}f} to {max(values):.{digits}f})"


class Measurements(dict):
    """Results by a key that ends with the contestant's name. What cannot be measured has a reason in place of results."""

    def __init__(self):
        self.reasons: dict[tuple, str] = {}

    def measure(self, key: tuple, contestant: Contestant, function, *arguments):
        """Adds the result of the function, or takes the key out with the reason. Then None, also for the rounds that follow."""
        if key in self.reasons:
            return None
        try:
            if contestant.failure:
                raise Failed(contestant.failure)
            result = function(*arguments)
        except (Failed, OSError, ValueError, subprocess.SubprocessError) as failure:
            self.pop(key, None)
            self.reasons[key] = reason(failure)
            return None
        self.setdefault(key, []).append(result)
        return result


def reason(failure: Exception) -> str:
    """One line without what would end a cell of a table."""
    text = " ".join(str(failure).split()).replace("|", "/")
    return text if len(text) <= 200 else f"{text[:200]}..."
