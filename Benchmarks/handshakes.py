#!/usr/bin/env python3
"""handshakes: full handshakes with the TLS layer beside handshakes with GnuTLS alone, as a ratio of processor times.

Both ends are in one process (handshake-bench), so no program's start and no network is in the figures. The TLS layer has a socket pair,
the library alone has memory, as in `gnutls-cli --benchmark-tls-kx`. That command itself runs in each round too, on the same core; its
clock is the processor time of its process, as here. Its RSA keys have other sizes, so the rows with P-256 are compared. Writes
handshakes.md to the results folder and prints it.

Usage: handshakes.py results-folder [--seconds 2] [--rounds 3]
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the TLS layer and the library alone agree on.
EXCHANGES = {
    f"TLS 1.{version}, {group}": f"NONE:+VERS-TLS1.{version}:+ECDHE-ECDSA:+ECDHE-RSA:+AES-128-GCM:+AEAD:+SIGN-ALL:+CTYPE-X509:+COMP-NULL:+GROUP-{group}"
    for version, group in ((3, "SECP256R1"), (3, "X25519"), (2, "SECP256R1"))}
# What the command calls those of TLS 1.3 with a P-256 key.
COMMAND_NAMES = {f"TLS 1.3, {group}": f"(TLS1.3)-(ECDHE-{group})-(ECDSA-SECP256R1-SHA256)-(AES-128-GCM)" for group in ("SECP256R1", "X25519")}
KEYS = {"ECDSA P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA 2048": ["rsa:2048"]}


def certificate(folder: pathlib.Path, name: str, kind: list[str]) -> tuple[pathlib.Path, pathlib.Path]:
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "30", "-subj", "/CN=mx.example", "-keyout", key,
                    "-out", chain], check=True, stderr=subprocess.DEVNULL)
    return chain, key


def rates_of_command() -> dict[str, float]:
    """Handshakes in a second of processor time, as gnutls-cli prints them. It is stopped after the last one that is compared."""
    rates: dict = {}
    # Otherwise it writes when it ends.
    with subprocess.Popen(["stdbuf", "-oL", "gnutls-cli", "--benchmark-tls-kx"], stdout=subprocess.PIPE, text=True) as process:
        name = ""
        for line in process.stdout:
            if line.startswith("("):
                name = line.strip()
            rate = re.search(r"- ([\d.]+) transactions/sec", line)
            rates |= {exchange: float(rate[1]) for exchange, own in COMMAND_NAMES.items() if rate and own == name}
            if len(rates) == len(COMMAND_NAMES):
                break
        process.kill()
    if len(rates) < len(COMMAND_NAMES):
        raise SystemExit("gnutls-cli --benchmark-tls-kx measures other key exchanges: see handshakes.py, COMMAND_NAMES")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    subprocess.run(["swift", "build", "-c", "release", "--package-path", ROOT / "Benchmarks", "--scratch-path", options.results,
                    "--product", "handshake-bench"], stdout=subprocess.DEVNULL, check=True)
    program = options.results.resolve() / "release" / "handshake-bench"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    rows: dict = {}
    rates: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        files = {key: certificate(pathlib.Path(name), str(number), kind) for number, (key, kind) in enumerate(KEYS.items())}
        for _ in range(options.rounds):
            rates.append(rates_of_command())
            for key in KEYS:
                for exchange, priorities in EXCHANGES.items():
                    output = subprocess.run([program, *files[key], priorities, str(options.seconds)], capture_output=True, text=True, check=True)
                    rows.setdefault((key, exchange), []).append([float(word) for word in output.stdout.split()])
    lines = ["| key | key exchange | TLS layer, µs | library alone, µs | rate of the library reached |", "|---|---|---|---|---|"]
    for (key, exchange), found in rows.items():
        own, bare = (statistics.median(column) for column in zip(*found))
        ratios = sorted(bare / own for own, bare in found)
        spread = f" ({ratios[0]:.0%} to {ratios[-1]:.0%})" if len(ratios) > 1 else ""
        lines.append(f"| {key} | {exchange} | {own:.0f} | {bare:.0f} | {statistics.median(ratios):.0%}{spread} |")
    lines += ["", f"| key exchange, ECDSA P-256 | `gnutls-cli --benchmark-tls-kx`, handshakes/s of core {core} | TLS layer, handshakes/s | rate reached |",
              "|---|---|---|---|"]
    for exchange in COMMAND_NAMES:
        pairs = [(found[exchange], 1e6 / own) for found, (own, _) in zip(rates, rows["ECDSA P-256", exchange])]
        ratios = sorted(own / command for command, own in pairs)
        command, own = (statistics.median(column) for column in zip(*pairs))
        lines.append(f"| {exchange} | {command:.0f} | {own:.0f} | {statistics.median(ratios):.0%} ({ratios[0]:.0%} to {ratios[-1]:.0%}) |")
    text = "\n".join(lines) + "\n"
    (options.results / "handshakes.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
