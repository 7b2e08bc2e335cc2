#!/usr/bin/env python3
"""start: what the start of tlsd-io costs, cause by cause, beside C programs that do a part of it, and beside what could be set otherwise.

Usage: start.py results-folder folder-of-the-programs... [--starts 200]

Every program is started once in each round, so that the load of the machine is the same for all. The processor time is what the kernel
adds up for a process that has ended: the median. The kernel divides it into user and system by its clock tick only, which a short process
rarely meets; so its part in the kernel is estimated from the share of starts in which a tick fell there (ticks as a Poisson process). System
calls are counted by strace and the instructions of a program (not those of the kernel) by callgrind, in a start of their own. A difference
is that of two medians. With several folders each one's tlsd-io takes part: before and after a change. skarnet's engine takes part where
SKARNET names folders, see bench.py. Writes start.md to the results folder and prints it.
"""
import argparse
import math
import os
import pathlib
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

sys.dont_write_bytecode = True
import skarnet  # noqa: E402
from bench import KEYS, certificate  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Where a session's program would be: the engine reads from the first and writes to the second.
CLEAR, DECIPHERED = 60, 61
# Linux's coarse clock goes on once in each tick.
TICK = time.clock_getres(getattr(time, "CLOCK_MONOTONIC_COARSE", 6)) * 1e3


class Program(NamedTuple):
    name: str
    command: list
    # The row that it is compared with.
    base: str | None = None
    variables: dict = {}
    has_session: bool = False


class Cost(NamedTuple):
    milliseconds: float
    # True if a tick of the clock fell into the kernel's part.
    in_kernel: bool
    faults: int


def start(program: Program, runner: tuple = ()) -> Cost:
    """Starts a program, with a client and an empty session if it has one, and waits for its end."""
    words = [*runner, *map(str, program.command)]
    null = os.open(os.devnull, os.O_RDWR)
    places = {1: null, 2: null}
    if program.has_session:
        client, server = socket.socketpair()
        (clear, answers), (taken, deciphered) = os.pipe(), os.pipe()
        places = {0: server.fileno(), 1: server.fileno(), 2: null, CLEAR: clear, DECIPHERED: deciphered}
    moves = [(os.POSIX_SPAWN_DUP2, own, place) for place, own in places.items()]
    process = os.posix_spawnp(words[0], words, os.environ | program.variables, file_actions=moves)
    for number in {null, *places.values()} - ({server.fileno()} if program.has_session else set()):
        os.close(number)
    if program.has_session:
        server.close()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with context.wrap_socket(client) as session:
                # The server program ends first, as after QUIT.
                os.close(answers)
                session.recv(1)
        except OSError as error:
            raise SystemExit(f"start.py: {program.name}: {error}") from error
        os.close(taken)
    _, status, usage = os.wait4(process, 0)
    # skarnet's engine fails when its program has ended before the client.
    if status and not program.name.startswith("skarnet"):
        raise SystemExit(f"start.py: {program.name}: status {status:#x}")
    return Cost((usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_stime > 0, usage.ru_minflt)


def counted(program: Program, folder: pathlib.Path) -> tuple[int, float]:
    """The system calls, and the instructions in millions, both without those of the client."""
    trace, report = folder / "trace", folder / "callgrind"
    start(program, ("strace", "-o", str(trace)))
    calls = sum(re.match(r"\w+\(", line) is not None for line in trace.read_text().splitlines())
    start(program, ("valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", f"--log-file={report}"))
    return calls, int(re.search(r"Collected : (\d+)", report.read_text())[1]) / 1e6


def compiled(folder: pathlib.Path, source: str, name: str, *options: str) -> pathlib.Path:
    output = folder / name
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", HERE / "stages" / f"{source}.c", "-o", output,
                    "-Wl,--no-as-needed", *options], check=True)
    return output


def needed(program: pathlib.Path) -> dict[str, pathlib.Path]:
    """The shared libraries of a program, without the dynamic linker and libc."""
    shown = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.findall(r"lib([\w+-]+)\.so\S* => (\S+)", shown)
    return {name: pathlib.Path(path).resolve() for name, path in found if name != "c"}


def from_archives(libraries: dict[str, pathlib.Path]) -> list[str]:
    """The options that link GnuTLS and what it needs statically, where there is an archive."""
    archives = {name: path.with_name(f"lib{name}.a") for name, path in libraries.items()}
    there = [str(archive) for archive in archives.values() if archive.exists()]
    shared = [str(libraries[name]) for name, archive in archives.items() if not archive.exists()]
    return ["-Wl,--start-group", *there, "-Wl,--end-group", "-Wl,--as-needed", *shared]


def pair(folder: pathlib.Path, key: str) -> dict[str, tuple]:
    """A certificate and its key in both forms."""
    folder.mkdir()
    files = certificate(folder, KEYS[key])
    for command, file in zip(("x509", "pkey"), files):
        subprocess.run(["openssl", command, "-in", file, "-outform", "DER", "-out", f"{file}.der"], check=True)
    return {"pem": files, "der": tuple(f"{file}.der" for file in files)}


def programs(folders: list[pathlib.Path], work: pathlib.Path) -> list[Program]:
    ec, rsa = (pair(work / key, key) for key in KEYS)
    variables = dict(zip(("CERTFILE", "KEYFILE"), ec["pem"]))
    linked, stages = compiled(work, "nothing", "linked", "-lgnutls"), compiled(work, "stages", "stages", "-lgnutls")
    plain = compiled(work, "nothing", "dynamic")

    def stage(name: str, last: str, base: str, form: str = "pem", files: dict = ec, words: tuple = (), **rest) -> Program:
        return Program(name, [stages, last, form, *files[form], *words], base, **rest)

    static, dynamic = "a process: a static program in C", "the dynamic linker, and libc"
    mapped, library = "the libraries of GnuTLS: mapped and relocated", "GnuTLS's initialisation"
    parsed, loaded, created, shaken = "a priority string", "a certificate and its key, P-256, PEM", "a session", "its handshake"
    found = [
        Program(static, [compiled(work, "nothing", "static", "-static")]),
        Program(dynamic, [plain], static),
        Program(mapped, [linked], dynamic, {"GNUTLS_NO_IMPLICIT_INIT": "1"}),
        Program(library, [linked], mapped),
        stage(parsed, "priorities", library),
        stage(loaded, "certificate", parsed),
        stage(created, "session", loaded),
        stage(shaken, "handshake", created, has_session=True)]
    for folder in folders:
        name = "tlsd-io" if len(folders) == 1 else f"tlsd-io of {skarnet.shortened(folder)}"
        # As it is installed; valgrind cannot read the debug information of Swift.
        engine = work / f"tlsd-io-{len(found)}"
        subprocess.run(["strip", "-o", engine, folder / "tlsd-io"], check=True)
        found += [Program(f"{name}, --version", [engine, "--version"], library),
                  Program(f"{name}, a session", [engine, "-v", 0, CLEAR, DECIPHERED], shaken, variables, True)]
    for folder in skarnet.folders():
        found.append(Program(f"skarnet's engine of {folder.parent.name}, a session",
                             [folder / "s6-tlsd-io", CLEAR, DECIPHERED], shaken, variables, True))
    libraries = needed(linked)
    for name, path in libraries.items():
        if name != "gnutls":
            found.append(Program(f"only lib{name}, with what it needs", [compiled(work, "nothing", name, str(path))], dynamic))
    by_name = {one.name: one for one in found}
    version = next(one for one in reversed(found) if one.name.endswith("--version"))
    archived = compiled(work, "stages", "archives", *from_archives(libraries))
    return found + [
        stage("a certificate in DER", "certificate", loaded, "der"),
        stage("an RSA-2048 key", "certificate", loaded, files=rsa),
        stage("GnuTLS tries the key by a signature", "compare", loaded),
        Program("GnuTLS linked statically, its handshake", [archived, *by_name[shaken].command[1:]], shaken, has_session=True),
        stage("an end by exit(3)", "handshake", shaken, words=("exit",), has_session=True),
        Program("LD_BIND_NOW=1", [linked], library, {"LD_BIND_NOW": "1"}),
        Program("no file of priorities", [linked], library, {"GNUTLS_SYSTEM_PRIORITY_FILE": os.devnull}),
        Program("no FIPS self-test", [linked], library, {"GNUTLS_SKIP_FIPS_INTEGRITY_CHECKS": "1"}),
        Program("SWIFT_BACKTRACE=enable=no", version.command, version.name, {"SWIFT_BACKTRACE": "enable=no"})]


def table(all_programs: list[Program], costs: dict[str, list[Cost]], counts: dict) -> str:
    medians = {name: statistics.median(cost.milliseconds for cost in found) for name, found in costs.items()}
    lines = ["| | CPU ms | more than | the difference, ms | of the CPU ms in the kernel, about | page faults | system calls | million instructions |",
             "|---|---|---|---|---|---|---|---|"]
    for one in all_programs:
        found = costs[one.name]
        more = f"{one.base} | {medians[one.name] - medians[one.base]:+.2f}" if one.base else "|"
        without = sum(not cost.in_kernel for cost in found) / len(found)
        in_kernel = -TICK * math.log(max(without, 0.5 / len(found)))
        calls, instructions = counts[one.name]
        lines.append(f"| {one.name} | {medians[one.name]:.2f} | {more} | {in_kernel:.1f} | "
                     f"{statistics.median(cost.faults for cost in found):.0f} | {calls} | {instructions:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--starts", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        found = programs(options.folders, work)
        counts = {one.name: counted(one, work) for one in found}
        costs: dict[str, list[Cost]] = {one.name: [] for one in found}
        for _ in range(options.starts):
            for one in found:
                costs[one.name].append(start(one))
    text = table(found, costs, counts)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "start.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
