"""The programs of the benchmark: the load client refuses a server that does different work, one that fails ends nothing, and the plot is an SVG."""
import argparse
import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree

import pytest

from servers import ROOT

sys.path.insert(0, str(ROOT / "Benchmarks"))
import bench  # noqa: E402
import fairness  # noqa: E402
import measures  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import start as starts  # noqa: E402
import syscalls  # noqa: E402
import transfer  # noqa: E402
from bench import KEYS, certificate  # noqa: E402
from bench import build as build_tools  # noqa: E402
from contestants import BEFORE, SERVER, Contestant, Failed, contestants  # noqa: E402


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tools")
    build_tools(folder)
    return folder


def served(tools: pathlib.Path, folder: pathlib.Path, port: int, **settings) -> Contestant:
    chain, key = certificate(folder, KEYS["P-256"])
    return Contestant(tools, "the bound", [tools / "server", port, chain, key, 1], ports={"clear": port, "starttls": port}, **settings)


def test_the_same_dialogue(tools, tmp_path, free_port):
    """The server that is the bound has the dialogue that all contestants must have, and counts are those of complete sessions."""
    with served(tools, tmp_path, free_port()) as contestant:
        measures.check(tools, contestant)
        for kind in ("clear", "starttls"):
            result = measures.sessions(tools, contestant, kind, 4, 0.2)
            assert result.rate > 0 and result.failures == 0 and result.p50 <= result.p99, result
            everything = measures.relay(tools, contestant, kind, 0.05)
            assert everything.rate > 0, everything


def test_the_highest_version_of_a_contestant(tools, tmp_path, free_port):
    """One without TLS 1.3 is measured with 1.2, as its name says. One that should have 1.3 is not."""
    without = tmp_path / "priorities"
    without.write_text("[overrides]\ndisabled-version = tls1.3\n")
    with served(tools, tmp_path, free_port(), environment={"GNUTLS_SYSTEM_PRIORITY_FILE": str(without)}, version="TLSv1.2") as contestant:
        measures.check(tools, contestant)
        assert measures.sessions(tools, contestant, "starttls", 2, 0.1).rate > 0
        assert measures.relay(tools, contestant, "starttls", 0.05).rate > 0
        contestant.version = "TLSv1.3"
        with pytest.raises(Failed, match="TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384"):
            measures.check(tools, contestant)


def test_a_contestant_that_fails_ends_nothing(tools, tmp_path, free_port, monkeypatch):
    """Its row says why; the other one is measured in each part."""
    options = argparse.Namespace(only=["memory", "sessions", "relay"], connections=[2], seconds=0.1, rounds=2, began=0, load=0, programs=tmp_path, results=tmp_path)
    monkeypatch.setattr(bench, "build", lambda folder: None)
    benchmark = bench.Benchmark(options, tmp_path)
    benchmark.tools = tools

    def both(key: str, use: str) -> list[Contestant]:
        folder = tmp_path / use
        folder.mkdir()
        port = free_port()
        both = {"ports": {"clear": port}, "relays": ("clear",), "sessions": ("clear",)}
        return [Contestant(tools, "one that ends", ["/bin/sh", "-c", "echo 'no | key' >&2; exit 1"], **both),
                Contestant(tools, "one that serves", [tools / "server", port, "STARTTLS"], **both)]
    benchmark.contestants = both
    benchmark.run()
    table = benchmark.table()
    assert table.count("| one that ends | does not answer: no / key |") == 1, table
    assert table.count("| one that ends, in clear | does not answer: no / key |") == 2, table
    assert table.count("| one that serves | ") == 1 and table.count("| one that serves, in clear | ") == 3, table


def test_a_contestant_that_ends_in_a_round_keeps_no_result(tools, tmp_path, free_port):
    """A ratio is made of numbers of one round: without all rounds there is none."""
    results = measures.Measurements()
    with served(tools, tmp_path, free_port()) as contestant:
        assert results.measure(("clear", "one"), contestant, measures.relay, tools, contestant, "clear", 0.02)
        assert results and not results.reasons
        for process in contestant.processes:
            process.kill()
            process.wait()
        assert results.measure(("clear", "one"), contestant, measures.relay, tools, contestant, "clear", 0.02) is None
    assert not results and "cannot connect" in results.reasons["clear", "one"], results.reasons


@contextlib.contextmanager
def answering(replies: list[bytes], more: bytes = b""):
    """The port of a server with one client: a reply for each command, whatever it is, and then what else it sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            client, _ = listener.accept()
            with client:
                for reply in replies:
                    client.sendall(reply)
                    client.recv(1000)
                client.sendall(more)
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listener.getsockname()[1]
        server.join(60)


@pytest.mark.parametrize("replies, reason", [
    ([b"220 x\r\n", b"250-x\r\n250 SIZE\r\n"], "250+STARTTLS not found"),
    ([b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n", b"451 no\r\n"], "250 not found in: 451 no"),
    ([b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n", b"250 ok\r\n", b"250 ok\r\n"], "5 not found in: 250 ok")])
def test_other_work_is_refused(tools, replies, reason):
    """A server that lists no STARTTLS, refuses MAIL, or accepts the recipient."""
    with answering(replies) as port:
        run = subprocess.run([tools / "load", "check", str(port), "clear"], stdout=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == 1 and reason in run.stdout, run.stdout


def test_the_plain_parser_counts_each_command(tools):
    """It forwards, answers and rewrites as often as the commands need: EHLO 1 command and 4 lines, of which one gets STARTTLS."""
    def done(command: str) -> int:
        return int(subprocess.run([tools / "parser", command, "100"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    idle = done("start")
    forward, passed, hand_off, relay = 1, 3, 5 + 1, 6
    assert (done("ehlo") - idle, done("noop") - idle) == (100 * (forward + 4 * passed + 1), 100 * (forward + passed))
    assert (done("starttls") - idle, done("mail") - idle) == (100 * hand_off, 100 * relay)


def test_a_session_has_few_system_calls(build, tmp_path):
    """An upper bound: a little more than Docs/Performance.md has. A call that is made twice, or for nothing, does not go unnoticed."""
    result = {what: syscalls.fewest(sessions) for what, sessions in syscalls.measure(build / "release", 8, [], tmp_path).items()}
    counts = {what: round(syscalls.total(calls)) for what, calls in result.items()}
    most = {(syscalls.CLEAR, syscalls.PROGRAM): 49, (syscalls.STARTTLS, syscalls.PROGRAM): 93,
            (syscalls.CLEAR, syscalls.SERVER): 47, (syscalls.STARTTLS, syscalls.SERVER): 86}
    assert all(counts[what] <= most[what] for what in most), (counts, result)
    # No look for a second client, and one wait for each program.
    assert all(calls["starttlsd"]["accept4"] == 1 for calls in result.values()), result
    for kind, starts in ((syscalls.CLEAR, 1), (syscalls.STARTTLS, 2)):
        starter = result[kind, syscalls.PROGRAM]["starttlsd-start"]
        assert starter["clone"] == starts == starter["waitid"] and "rt_sigprocmask" not in starter, starter


def test_idle_sessions_up_to_the_limit_of_descriptors(tools, tmp_path, build):
    """In front of a server by address all descriptors are for sessions, two for each, and as many sessions as the daemon names are held."""
    script = (f"import argparse, pathlib, sys; sys.path.insert(0, {str(ROOT / 'Benchmarks')!r}); import idle; folder = pathlib.Path({str(tmp_path)!r}); "
              f"options = argparse.Namespace(programs=pathlib.Path({str(build / 'release')!r}), sessions=1000, tls=5, each=50, workers=None); "
              f"print('\\n'.join(idle.measure(options, pathlib.Path({str(tools)!r}), folder)))")
    tmp_path.chmod(0o755)
    # Root with this capability raises the hard limit.
    capabilities = int(re.search(r"^CapEff:\t(.*)$", pathlib.Path("/proc/self/status").read_text(), re.MULTILINE)[1], 16)
    limited = ["setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource"] if capabilities >> 24 & 1 else []
    run = subprocess.run([*limited, "/bin/sh", "-c", 'ulimit -n 200; exec "$@"', "sh", sys.executable, "-B", "-c", script],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=180)
    most = int(re.search(r"limit of descriptors \(200\) allows (\d+) sessions", run.stdout)[1])
    in_clear, in_tls = [[cell.strip() for cell in line.split("|")[2:-1]] for line in run.stdout.splitlines() if line.startswith(("| in clear", "| inside"))]
    assert 70 <= most <= 98, run.stdout
    assert (int(in_clear[0]) + int(in_tls[0]), in_tls[0], in_clear[3], in_tls[3]) == (most, "5", "2.00", "2.00"), run.stdout


def test_the_shares_of_workers(tools, tmp_path, build):
    """Each connection is counted once, with the worker that has accepted it."""
    tmp_path.chmod(0o755)
    options = argparse.Namespace(programs=build / "release", workers=[2], clients=[1, 4], connections=40)
    result = fairness.measure(options, tools, tmp_path)
    assert len(result) == 8 and all(len(counts) == 2 and sum(counts) == 40 for counts in result.values()), result
    # One client after the other: each time the worker that has waited for longer. Without that one of them gets nearly all.
    assert min(result[fairness.AGAIN, 2, 1]) >= 10, result
    assert fairness.table({("way", 3, 1): [10, 30, 20], ("way", 3, 16): [20, 20, 20]})[2:] == ["| 3 | way | 17 to 50 % | 33 to 33 % |"]


def test_a_transfer_in_both_directions(tools, tmp_path, build):
    """Every octet arrives, in each kind of session. The TLS processes are some of all processes. One that ends gets no result."""
    tmp_path.chmod(0o755)
    [one] = [one for one in contestants(build / "release", tools, tmp_path, *certificate(tmp_path, KEYS["P-256"])) if one.name == SERVER]
    with one:
        results = transfer.measure([one], tools, size=3, rounds=2)
        assert not results.reasons and {key: len(them) for key, them in results.items()} == {
            (direction, kind, SERVER): 2 for direction in ("send", "receive") for kind in ("starttls", "tls")}, results.reasons
        # Processor time is counted in ticks: for so few octets it may be none.
        assert all(min(each.engine, each.cpu) >= 0 and each.seconds > 0 for them in results.values() for each in them), results
        text = "\n".join(transfer.table(results, "send", 3) + transfer.table(results, "receive", 3))
        assert text.count(f"| {SERVER}, with STARTTLS | ") == text.count(f"| {SERVER}, with TLS from the start | ") == 2 and "3 MiB" in text, text
        for process in one.processes:
            process.kill()
            process.wait()
        results = transfer.measure([one], tools, size=3, rounds=2)
    assert not results and all("does not begin" in reason for reason in results.reasons.values()), results.reasons


def test_an_earlier_starttlsd_takes_part(tools, tmp_path, build, monkeypatch):
    """Its options are those of the command: other versions need other ones."""
    pair = certificate(tmp_path, KEYS["P-256"])

    def found(name: str) -> list[Contestant]:
        (tmp_path / name).mkdir()
        return [one for one in contestants(build / "release", tools, tmp_path / name, *pair) if one.name == BEFORE]

    monkeypatch.delenv("BEFORE", raising=False)
    assert not found("without")
    monkeypatch.setenv("BEFORE", f"{build}/release/starttlsd --allow-root --max-connections '30'")
    [one] = found("with")
    assert one.commands[0][2:5] == ["--allow-root", "--max-connections", "30"]
    with one:
        measures.check(tools, one)


@pytest.mark.parametrize("line, count, last, reason", [
    (b"x" * 62 + b"\r\n", 100, b"", "closed the connection"), (b"x" * 64, 1 << 14, b"", "other text"),
    (b"x" * 62 + b"\r\n", 1 << 14, b"451 no\r\n", "451 no")], ids=["less", "other", "refused"])
def test_octets_that_are_missing_or_others_are_no_transfer(tools, line, count, last, reason):
    """A server that sends less, other octets, or another reply after them."""
    replies = [b"220 x\r\n", *[b"250 x\r\n"] * 3]
    with answering(replies, line * count + last) as port:
        run = subprocess.run([tools / "transfer", str(port), "clear", "receive", "1"], input="\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, timeout=60)
    assert run.returncode == 1 and run.stdout == "begin\n" and reason in run.stderr, run


def test_what_a_start_costs(build, tmp_path):
    """Each stage does a little more than the one before it: more instructions, and no fewer system calls. A session that fails is no result."""
    programs = starts.programs([build / "release"], tmp_path)
    costs = {one.name: [starts.start(one), starts.start(one)] for one in programs}
    assert all(cost.milliseconds > 0 and cost.faults > 0 for found in costs.values() for cost in found), costs
    stages = programs[:8]
    counts = {one.name: starts.counted(one, tmp_path) for one in stages}
    assert [one.base for one in stages[1:]] == [one.name for one in stages[:-1]]
    assert all(counts[one.name][0] >= counts[one.base][0] and counts[one.name][1] > 0 for one in stages[1:]), counts
    # The libraries are linked, and the last stage has the handshake.
    assert counts[stages[1].name][0] + 50 < counts[stages[2].name][0] and counts[stages[2].name][1] < counts[stages[-1].name][1], counts
    text = starts.table(stages, costs, counts)
    assert all(text.count(f"\n| {one.name} | ") == 1 for one in stages), text
    [session] = [one for one in programs if one.name == "tlsd-io, a session"]
    with pytest.raises(SystemExit, match="tlsd-io, a session"):
        starts.start(session._replace(variables=session.variables | {"KEYFILE": "/dev/null"}))


@pytest.mark.parametrize("size, noise, shown", [(15, 1, "15"), (2.1, 0.3, "2"), (1.4, 2.3, "< 3"), (-16, 3, "< 17"), (0.1, 0, "< 2"), (1, 1, "< 2")])
def test_a_difference_within_the_noise_is_a_bound(size, noise, shown):
    assert str(measures.Difference(size, noise)) == shown


def test_the_recorded_command(tmp_path, monkeypatch):
    """It names the folders with programs, without the path to them on this machine, and skarnet's versions where they are known."""
    header = tmp_path / "bearssl/include/s6-networking/config.h"
    header.parent.mkdir(parents=True)
    header.write_text('#define S6_NETWORKING_VERSION "2.8.0.1"\n')
    monkeypatch.setenv("PROGRAMS", ".build/programs")
    monkeypatch.setenv("BEFORE", f"{tmp_path}/old/starttlsd --max-connections 4000")
    monkeypatch.setenv("SKARNET", f"{tmp_path}/bearssl/bin:{tmp_path}/libtls/bin")
    text = "\n".join(report.machine("make bench", 0))
    assert "`make bench PROGRAMS=.build/programs SKARNET=…/bearssl/bin:…/libtls/bin BEFORE='…/old/starttlsd --max-connections 4000'`" in text and "s6-networking 2.8.0.1" in text, text
    assert str(tmp_path) not in text, text


def test_the_plot():
    """Each curve has a line and its points; a panel without rates is left out."""
    curves = {"starttlsd": {1: 400.0, 16: 450.0, 1000: 430.0}, "handshakes alone": {1: 900.0, 16: 1000.0}}
    image = ElementTree.fromstring(plot.svg({"With STARTTLS": curves, "In clear": {"starttlsd": {}}}))
    name = "{http://www.w3.org/2000/svg}"
    assert len(image.findall(f"{name}polyline")) == 2 and len(image.findall(f"{name}circle")) == 5
    assert "1,000" in [text.text for text in image.findall(f"{name}text")]
