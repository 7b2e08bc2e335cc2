#!/usr/bin/env python3
"""tls: what TLS costs starttlsd: handshakes a second with the private key in a process of its own and without, and 1 GiB of octets.

The client is openssl on the same machine and takes its share of the processors. So the processor time of the server for each handshake,
or for the octets, says more than the rate. The rounds are interleaved; reported is the median.

Usage: tls.py folder-of-the-programs results-folder [--seconds 3] [--rounds 3] [--mebibytes 1024]

The handshakes of the TLS layer alone, without a program's start or a network, are compared with those of the library alone, both in
one process (handshake-bench): as a ratio of processor times.

Peers: the library's own measurement, `gnutls-cli --benchmark-tls-kx`, which has both ends in one process; stunnel (`stunnel4`) where it
is installed. Writes tls.md to the results folder.
"""
import argparse
import contextlib
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the TLS layer and the library alone agree on: the same suites as `gnutls-cli --benchmark-tls-kx`.
EXCHANGES = {
    f"TLS 1.{version}, {group}": f"NONE:+VERS-TLS1.{version}:+ECDHE-ECDSA:+ECDHE-RSA:+AES-128-GCM:+AEAD:+SIGN-ALL:+CTYPE-X509:+COMP-NULL:+GROUP-{group}"
    for version, group in ((3, "SECP256R1"), (3, "X25519"), (2, "SECP256R1"))}
KEYS = {"ECDSA P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA 2048": ["rsa:2048"]}
TICKS = os.sysconf("SC_CLK_TCK")


def certificate(folder, name, kind):
    files = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=mx.example", "-keyout", files[1], "-out", files[0], "-newkey", *kind],
        check=True, stderr=subprocess.DEVNULL)
    return files


def family(process):
    """A process and its children, by name."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            text = (entry / "stat").read_text()
            name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
            if int(entry.name) == process or int(rest[1]) == process:
                found[int(entry.name)] = (name, int(rest[11]) + int(rest[12]))
    return found


def seconds(process, names):
    """The processor time of those of these names."""
    return sum(ticks for name, ticks in family(process).values() if name in names) / TICKS


@contextlib.contextmanager
def running(words, log, is_ready):
    with open(log, "wb") as errors:
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
    try:
        for _ in range(1000):
            if answer := is_ready(pathlib.Path(log).read_text(errors="replace")):
                break
            if process.poll() is not None:
                raise SystemExit(pathlib.Path(log).read_text())
            time.sleep(0.01)
        yield process.pid, answer
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def starttlsd(programs, folder, files, backend, *options):
    words = [
        programs / "starttlsd", "--allow-root", "--trusting-backend", "--listen-tls", "127.0.0.1:0", "--max-connections-per-address", "0",
        "--max-penalty", "0", "--grace", "1", "--certificate", files[0], "--key", files[1], *options, "--", *backend]
    def port(log):
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)", log)
        return match and int(match[1])
    with running(words, folder / "log", port) as found:
        yield found


def handshakes(port, duration):
    """How many full TLS 1.3 handshakes openssl makes, one after the other."""
    result = subprocess.run(
        ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-tls1_3", "-time", str(duration)], capture_output=True, text=True)
    match = re.search(r"(\d+) connections in (\d+) real seconds", result.stdout)
    if not match:
        raise SystemExit(result.stdout + result.stderr)
    return int(match[1])


def rate(programs, folder, files, options, duration):
    """Handshakes a second, and the processor time for each in microseconds: of starttlsd and of the process with the key."""
    with starttlsd(programs, folder, files, ["/bin/true"], *options) as (process, port):
        handshakes(port, 1)
        before = [seconds(process, [name]) for name in ("starttlsd", "starttlsd-key")]
        start = time.monotonic()
        count = handshakes(port, duration)
        elapsed = time.monotonic() - start
        after = [seconds(process, [name]) for name in ("starttlsd", "starttlsd-key")]
    return (count / elapsed, *[(late - early) / count * 1e6 for early, late in zip(before, after)])


def send(port, count):
    """Sends that many octets through TLS with openssl."""
    with open("/dev/zero", "rb") as zero:
        head = subprocess.Popen(["head", "-c", str(count)], stdin=zero, stdout=subprocess.PIPE)
        with head.stdout:
            client = subprocess.run(
                ["openssl", "s_client", "-quiet", "-nocommands", "-no_ign_eof", "-connect", f"127.0.0.1:{port}"], stdin=head.stdout,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        head.wait()
    return client.returncode


def transfer(process, port, names, count, arrived):
    """MiB a second, and the processor seconds of the server. The sink that it starts writes to a file how many octets have arrived."""
    arrived.unlink(missing_ok=True)
    before, start = seconds(process, names), time.monotonic()
    send(port, count)
    while not arrived.exists() or not arrived.read_text().strip():
        time.sleep(0.01)
        if time.monotonic() - start > 600:
            raise SystemExit("the octets do not arrive")
    elapsed = time.monotonic() - start
    if int(arrived.read_text()) != count:
        raise SystemExit(f"{arrived.read_text()} octets have arrived of {count}")
    return count / 2**20 / elapsed, seconds(process, names) - before


def transfers(programs, folder, files, count):
    """The same for each server."""
    sink, arrived = folder / "sink", folder / "arrived"
    sink.write_text(f"#!/bin/sh\nexec wc -c >{arrived}\n")
    sink.chmod(0o755)
    with starttlsd(programs, folder, files, [sink]) as (process, port):
        yield "starttlsd", transfer(process, port, ["starttlsd"], count, arrived)
    if not (stunnel := shutil.which("stunnel4") or shutil.which("stunnel")):
        return
    port = 20_000 + os.getpid() % 10_000
    configuration = folder / "stunnel.conf"
    configuration.write_text(
        f"foreground = yes\npid =\n[sink]\naccept = 127.0.0.1:{port}\ncert = {files[0]}\nkey = {files[1]}\n"
        f"exec = {sink}\n")
    with running([stunnel, configuration], folder / "log", lambda log: "Configuration successful" in log) as (process, _):
        time.sleep(0.2)
        yield "stunnel", transfer(process, port, [pathlib.Path(stunnel).name, "stunnel4", "stunnel"], count, arrived)


def median(rows):
    return [statistics.median(column) for column in zip(*rows)]


def library():
    """The lines of the library's own measurement that have the same key exchange."""
    result = subprocess.run(["gnutls-cli", "--benchmark-tls-kx"], capture_output=True, text=True)
    return [" ".join(line.split()) for line in result.stdout.splitlines() if "TLS1.3" in line or "transactions" in line]


def layer(results, files, rounds, duration):
    """Lines: microseconds of processor time for a handshake, both ends together, with the TLS layer and with the library alone."""
    subprocess.run(
        ["swift", "build", "-c", "release", "--package-path", ROOT / "Benchmarks", "--scratch-path", results, "--product", "handshake-bench"],
        stdout=subprocess.DEVNULL, check=True)
    program = results.resolve() / "release" / "handshake-bench"
    rows = {}
    for _ in range(rounds):
        for key in KEYS:
            for exchange, priorities in EXCHANGES.items():
                output = subprocess.run([program, *files[key], priorities, str(duration)], capture_output=True, text=True, check=True).stdout
                rows.setdefault((key, exchange), []).append([float(word) for word in output.split()])
    yield "| key | key exchange | TLS layer, µs | library alone, µs | rate of the library reached |"
    yield "|---|---|---|---|---|"
    for (key, exchange), found in rows.items():
        ratios = sorted(bare / own for own, bare in found)
        own, bare = median(found)
        spread = f" ({ratios[0]:.0%} to {ratios[-1]:.0%})" if len(ratios) > 1 else ""
        yield f"| {key} | {exchange} | {own:.0f} | {bare:.0f} | {statistics.median(ratios):.0%}{spread} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mebibytes", type=int, default=1024)
    settings = parser.parse_args()
    settings.results.mkdir(parents=True, exist_ok=True)
    lines = [f"{os.cpu_count()} processors, Linux {platform.release()}, {platform.machine()}, openssl s_time as the client", ""]
    lines += ["| key | the key is in | handshakes/s | starttlsd, µs each | starttlsd-key, µs each | together |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = {key: certificate(folder, f"key{number}", kind) for number, (key, kind) in enumerate(KEYS.items())}
        for key in KEYS:
            places = {"a process of its own": [], "starttlsd": ["--key-in-process"]}
            rows = {place: [] for place in places}
            for _ in range(settings.rounds):
                for place, options in places.items():
                    rows[place].append(rate(settings.programs, folder, files[key], options, settings.seconds))
            for place in places:
                speed, own, other = median(rows[place])
                lines.append(f"| {key} | {place} | {speed:.0f} | {own:.0f} | {other:.0f} | {own + other:.0f} |")
        lines += ["", "Handshakes with both ends in one process, processor time:", ""]
        lines += layer(settings.results, files, settings.rounds, settings.seconds)
        lines += ["", f"{settings.mebibytes} MiB from a client:", "", "| server | MiB/s | processor seconds |", "|---|---|---|"]
        rows = {}
        for _ in range(settings.rounds):
            for server, row in transfers(settings.programs, folder, files["ECDSA P-256"], settings.mebibytes * 2**20):
                rows.setdefault(server, []).append(row)
        for server, found in rows.items():
            speed, processor = median(found)
            lines.append(f"| {server} | {speed:.0f} | {processor:.2f} |")
    lines += ["", "`gnutls-cli --benchmark-tls-kx`, client and server in one process:", "", *[f"    {line}" for line in library()], ""]
    text = "\n".join(lines)
    (settings.results / "tls.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
