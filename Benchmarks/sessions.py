#!/usr/bin/env python3
"""sessions: how many SMTP sessions a second each front-end serves, and what one costs in processor time.

Every front-end serves the same small server program, Postfix its own server. The rounds are interleaved: each round measures every
front-end once, and a ratio is made of two numbers of one round. Reported is the median of the rounds, with the smallest and the largest.
The load client runs on the same machine and takes its share of the processors.

Usage: sessions.py folder-of-the-programs results-folder [--seconds 3] [--rounds 3] [--connections 1,16,64]

Peers: stunnel (`stunnel4`) and Postfix (`postfix`) where installed; skarnet's chain where SKARNET names a folder with s6-ucspitlsd,
smtpd-starttls-proxy-io and s6-tlsd. Writes sessions.md and sessions.svg to the results folder.
"""
import argparse
import contextlib
import grp
import os
import pathlib
import platform
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
MAIN_CF = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example
mydestination = mx.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_client_new_tls_session_rate_limit = 0
default_process_limit = 200
"""
MASTER_CF = """{port} inet n - n - - smtpd
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
anvil    unix - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
"""


class Result(NamedTuple):
    """One measurement: sessions a second, failed sessions, median and 99th percentile of a session in ms, server's CPU ms a session."""
    rate: float
    failures: int
    median: float
    slowest: float
    cpu: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def processor_time(session: int) -> float:
    """The processor time in seconds of all processes of a session, with their children that were waited for."""
    total = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == session:
                total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


class FrontEnd:
    """A front-end and what else it needs, each in a session of its own, so that all of its processes are found."""

    def __init__(self, name: str, commands: list[list[str]], port: int, environment: dict[str, str] | None = None,
                 kinds: tuple[str, ...] = ("tls", "clear")):
        self.name, self.commands, self.port = name, commands, port
        self.environment = environment
        # stunnel serves only clients that use STARTTLS.
        self.kinds = kinds

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.processes = [
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                             start_new_session=True) for command in self.commands]
        end = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                    if client.recv(3) == b"220":
                        return self
            except OSError:
                pass
            if time.monotonic() > end:
                self.log.seek(0)
                self.__exit__()
                sys.exit(f"sessions: {self.name} does not answer:\n{self.log.read().decode(errors='replace')}")
            time.sleep(0.05)

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def measure(self, load: pathlib.Path, kind: str, connections: int, seconds: float) -> Result:
        before = [processor_time(process.pid) for process in self.processes]
        words = subprocess.run([load, "127.0.0.1", str(self.port), kind, str(connections), str(seconds)], check=True, text=True,
                               stdout=subprocess.PIPE, timeout=seconds + 120).stdout.split()
        after = [processor_time(process.pid) for process in self.processes]
        sessions, spent, failures, median, slowest = (float(word) for word in words)
        cpu = (sum(after) - sum(before)) * 1000 / max(1, sessions)
        return Result(sessions / spent, int(failures), median, slowest, cpu)


def front_ends(programs: pathlib.Path, work: pathlib.Path, backend: str, certificate: str, key: str) -> list[FrontEnd]:
    found = []
    port = free_port()
    found.append(FrontEnd("starttlsd", [[
        str(programs / "starttlsd"), "--allow-root", "--listen", f"127.0.0.1:{port}", "--certificate", certificate, "--key", key,
        "--max-connections", "1000", "--max-connections-per-address", "0", "--", backend]], port))
    if tcpserver := shutil.which("tcpserver"):
        port = free_port()
        environment = {"PATH": os.environ["PATH"], "CERTFILE": certificate, "KEYFILE": key}
        if os.geteuid() == 0:
            environment |= {"TLS_UID": "65534", "TLS_GID": "65534"}
        serve = [tcpserver, "-HRDl0", "-c", "500", "-b", "500", "127.0.0.1", str(port)]
        found.append(FrontEnd("the chain", [[
            *serve, str(programs / "ucspi-tlsd"), "-v", "0", str(programs / "starttls-proxy"), "-v", "0", backend]], port, environment))
        if skarnet := os.environ.get("SKARNET"):
            port = free_port()
            path = f"{skarnet}:{os.environ['PATH']}"
            found.append(FrontEnd("skarnet's chain", [[
                *serve[:-1], str(port), f"{skarnet}/s6-ucspitlsd", "-v0", "--", f"{skarnet}/smtpd-starttls-proxy-io", backend]],
                port, environment | {"PATH": path}))
    if stunnel := shutil.which("stunnel4") or shutil.which("stunnel"):
        port, inner = free_port(), free_port()
        configuration = work / "stunnel.conf"
        configuration.write_text(f"""foreground = yes
syslog = no
debug = 3
pid =
cert = {certificate}
key = {key}
[smtp]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{inner}
protocol = smtp
""")
        found.append(FrontEnd("stunnel", [[backend, str(inner)], [stunnel, str(configuration)]], port, kinds=("tls",)))
    if os.geteuid() == 0 and pathlib.Path("/usr/lib/postfix/sbin/master").exists():
        found.append(postfix(work / "postfix", certificate, key))
    return found


def postfix(folder: pathlib.Path, certificate: str, key: str) -> FrontEnd:
    """A separate Postfix: its own configuration, queue and log; the system's is not used."""
    owner, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
    port = free_port()
    for name, user, mode in (("", 0, 0o755), ("configuration", 0, 0o755), ("queue", 0, 0o755), ("data", owner, 0o700)):
        (folder / name).mkdir(mode=mode)
        os.chown(folder / name, user, 0)
    for name in "active bounce corrupt defer deferred flush hold incoming private saved trace".split():
        (folder / "queue" / name).mkdir(mode=0o700)
        os.chown(folder / "queue" / name, owner, 0)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (folder / "queue" / name).mkdir()
        (folder / "queue" / name).chmod(mode)
        os.chown(folder / "queue" / name, owner, group)
    (folder / "queue/pid").mkdir()
    (folder / "configuration/main.cf").write_text(MAIN_CF.format(folder=folder, certificate=certificate, key=key))
    (folder / "configuration/master.cf").write_text(MASTER_CF.format(port=port))
    return FrontEnd("Postfix", [["/usr/lib/postfix/sbin/master", "-d"]], port,
                    {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(folder / "configuration")})


def versions() -> list[str]:
    """The machine, and the versions of what was measured."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = [f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, Linux {platform.release()}"]
    for command in (["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "libgnutls30", "stunnel4", "postfix", "ucspi-tcp"],):
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        lines += [line for line in output.splitlines() if " " in line.strip()]
    return lines


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(results: dict, names: list[str], loads: list[tuple[str, int]]) -> list[str]:
    lines = []
    for kind, connections in loads:
        title = {"tls": "with STARTTLS", "clear": "in clear"}[kind]
        lines += ["", f"Sessions {title}, {connections} at a time:", "",
                  "| | sessions/s | ratio to starttlsd | failed | median ms | 99% ms | server CPU ms a session |", "|---|---|---|---|---|---|---|"]
        ours = results[kind, connections, "starttlsd"]
        for name in (name for name in names if (kind, connections, name) in results):
            them = results[kind, connections, name]
            ratio = [theirs.rate / own.rate for theirs, own in zip(them, ours)]
            lines.append(f"| {name} | {spread([r.rate for r in them])} | {spread(ratio, 2)} | {sum(r.failures for r in them)} | "
                         f"{spread([r.median for r in them], 1)} | {spread([r.slowest for r in them], 1)} | {spread([r.cpu for r in them], 2)} |")
    return lines


def plot(results: dict, names: list[str], connections: list[int]) -> str:
    """Sessions a second with STARTTLS over the number of connections, both axes as they are listed."""
    colours = ["#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#d62728"]
    width, height, left, bottom = 640, 400, 60, 50
    most = max(statistics.median(r.rate for r in results["tls", count, name]) for count in connections for name in names) * 1.1
    step = (width - left - 150) / max(1, len(connections) - 1)

    def place(index: int, rate: float) -> tuple[float, float]:
        return left + index * step, height - bottom - rate / most * (height - bottom - 20)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{left}" y="14">STARTTLS sessions a second</text>',
             f'<text x="{left}" y="{height - 10}">connections at a time</text>']
    for index, count in enumerate(connections):
        x, y = place(index, 0)
        parts.append(f'<line x1="{x}" y1="{y}" x2="{x}" y2="20" stroke="#ddd"/><text x="{x - 6}" y="{y + 18}">{count}</text>')
    for part in range(5):
        rate = most * part / 4
        _, y = place(0, rate)
        parts.append(f'<text x="8" y="{y + 4}">{rate:.0f}</text>')
    for number, name in enumerate(names):
        colour = colours[number % len(colours)]
        points = [place(index, statistics.median(r.rate for r in results["tls", count, name])) for index, count in enumerate(connections)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{width - 140}" y="{40 + 18 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    options = parser.parse_args()
    counts = [int(word) for word in options.connections.split(",")]
    loads = [(kind, count) for kind in ("tls", "clear") for count in counts]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("sessions: ended by a signal"))
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        load, backend = work / "load", work / "backend"
        gnutls = subprocess.run(["pkg-config", "--cflags", "--libs", "gnutls"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        subprocess.run(["cc", "-O2", HERE / "C/load.c", "-o", load, *gnutls, "-lpthread"], check=True)
        subprocess.run(["cc", "-O2", HERE / "C/backend.c", "-o", backend], check=True)
        certificate, key = str(work / "chain.pem"), str(work / "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
        os.chmod(key, 0o600)
        ends = front_ends(options.programs.resolve(), work, str(backend), certificate, key)
        results: dict = {}
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(end) for end in ends]
            for number in range(options.rounds):
                for kind, count in loads:
                    for end in (end for end in running if kind in end.kinds):
                        result = end.measure(load, kind, count, options.seconds)
                        results.setdefault((kind, count, end.name), []).append(result)
                        print(f"round {number + 1}: {end.name:16} {kind:5} {count:3}: {result.rate:7.0f}/s, {result.failures} failed, "
                              f"{result.median:.1f} ms, CPU {result.cpu:.2f} ms", flush=True)
    names = [end.name for end in ends]
    lines = [f"Medians of {options.rounds} interleaved rounds of {options.seconds:g} s, with the smallest and the largest. P-256.", "",
             *[f"* {line}" for line in versions()], *table(results, names, loads)]
    (options.results / "sessions.md").write_text("\n".join(lines) + "\n")
    (options.results / "sessions.svg").write_text(plot(results, names, counts))
    print(f"sessions: {options.results}/sessions.md and sessions.svg")


if __name__ == "__main__":
    main()
