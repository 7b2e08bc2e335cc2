"""The metrics of starttlsd: their text, what is counted, and that nothing of a client's secrets comes out anywhere."""
import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import time

import pytest

from backends import Daemon, client, deliver
from mail import connect, read_to_end, read_until
from servers import ROOT

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def get(address, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") -> tuple[str, dict[str, str], str]:
    """The status, the header and the body of a response."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as asking:
        asking.connect(address)
        asking.sendall(request)
        answer = read_to_end(asking).decode()
    head, body = answer.split("\r\n\r\n", 1)
    status, *lines = head.split("\r\n")
    header = dict(line.split(": ", 1) for line in lines)
    assert int(header["Content-Length"]) == len(body) or request.startswith(b"HEAD")
    return status, header, body


def families(text: str) -> dict[str, dict[str, float]]:
    """Reads the text as OpenMetrics 1.0 demands it, and strictly: the samples of each family."""
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    found: dict[str, dict[str, float]] = {}
    name = kind = ""
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert NAME.fullmatch(name) and name not in found and kind in ("counter", "gauge", "histogram", "info")
            found[name] = {}
        elif line.startswith("# UNIT "):
            unit = line.removeprefix(f"# UNIT {name} ")
            assert name.endswith("_" + unit)
        elif line.startswith("#"):
            assert line.startswith(f"# HELP {name} ") and line.endswith(".")
        else:
            match = re.fullmatch(r'([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})?) (-?[0-9.]+)', line)
            assert match, line
            suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"]}[kind]
            assert match[1] in [name + suffix for suffix in suffixes], line
            sample = match[1] + match[2]
            assert sample not in found[name]
            found[name][sample] = float(match[3])
    return found


@pytest.fixture
def watched(backend_server, starttlsd, tmp_path):
    """starttlsd with metrics and a status socket, and its server."""
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "none", "--metrics", "127.0.0.1:0", "--status-socket",
                       str(tmp_path / "status"), "--greeting-timeout", "5")
    daemon.metrics = ("127.0.0.1", int(re.search(r"metrics at 127\.0\.0\.1:(\d+)", daemon.log())[1]))
    return daemon


def scrape(daemon) -> dict[str, float]:
    status, header, body = get(daemon.metrics)
    assert status == "HTTP/1.1 200 OK"
    assert header["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return {sample: value for family in families(body).values() for sample, value in family.items()}


def ended(daemon, count: int) -> dict[str, float]:
    """The metrics once so many sessions have ended."""
    seen: dict[str, float] = {}

    def have_ended() -> bool:
        seen.clear()
        seen.update(scrape(daemon))
        return sum(v for k, v in seen.items() if k.startswith("starttlsd_session_ends_total")) == count

    assert daemon.eventually(have_ended)
    return seen


def test_sessions_are_counted(watched):
    assert scrape(watched)['starttlsd_sessions{phase="clear"}'] == 0
    deliver(watched.port)
    deliver(watched.port, tls=False)
    with connect(watched.port) as left:
        read_until(left, b"\r\n")
        assert scrape(watched)['starttlsd_sessions{phase="clear"}'] == 1
    with connect(watched.port) as broken:
        read_until(broken, b"\r\n")
        broken.sendall(b"EHLO c\r\n")
        read_until(broken, b"250 ")
        broken.sendall(b"STARTTLS\r\n")
        read_until(broken, b"220 ")
        broken.sendall(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
        read_to_end(broken)
    seen = ended(watched, 4)
    assert seen["starttlsd_connections_total"] == 4
    assert seen['starttlsd_decisions_total{decision="handoff",proof=""}'] == 2
    assert seen['starttlsd_decisions_total{decision="abort",proof="mail"}'] == 1
    assert seen['starttlsd_decisions_total{decision="abort",proof="client ended"}'] == 1
    [handshake] = [k for k in seen if k.startswith("starttlsd_handshakes_total")]
    assert 'version="TLSv1.3"' in handshake and 'cipher="TLS_' in handshake and seen[handshake] == 1
    [failure] = [k for k in seen if k.startswith("starttlsd_handshake_failures_total")]
    assert 'from="server"' in failure and seen[failure] == 1
    for name in ("greeting", "decision", "session"):
        assert seen[f"starttlsd_{name}_seconds_count"] == 4
    assert seen["starttlsd_handshake_seconds_count"] == 1
    buckets = [seen[k] for k in seen if k.startswith("starttlsd_session_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == 4
    assert seen["starttlsd_received_bytes_total"] > 100 < seen["starttlsd_sent_bytes_total"]
    [certificate] = [v for k, v in seen.items() if k.startswith("starttlsd_certificate_valid_until_seconds")]
    assert 0 < certificate - time.time() < 3 * 86400 and seen["starttlsd_certificates_failed"] == 0
    assert abs(seen["starttlsd_start_time_seconds"] - time.time()) < 300


def test_refusals_and_failures_are_counted(backend_server, starttlsd, tmp_path):
    backend = backend_server(trusts="nobody")
    rules = tmp_path / "rules"
    rules.write_text("127.0.0.66:deny\n:allow\n")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "none", "--metrics", f"unix:{tmp_path / 'metrics'}", "--access",
                       str(rules), "--max-connections-per-address", "1", "--proxy-from", "127.0.0.99", "--greeting-wait", "1")
    daemon.metrics = str(tmp_path / "metrics")
    def from_address(source: str, octets: bytes = b"") -> bytes:
        with socket.create_connection(("127.0.0.1", daemon.port), source_address=(source, 0)) as made:
            made.sendall(octets)
            return read_to_end(made)
    assert from_address("127.0.0.66").startswith(b"554 5.7.1")
    with contextlib.suppress(ConnectionResetError):
        assert from_address("127.0.0.99", b"x") == b""
    with client(daemon.port, "127.0.0.5", tls=False):
        assert from_address("127.0.0.5").startswith(b"421 4.7.0")
    assert from_address("127.0.0.6", b"EHLO x\r\n").startswith(b"554 5.5.1")
    backend.close()
    assert from_address("127.0.0.7").startswith(b"421 4.3.2")
    seen = scrape(daemon)
    for reason in ("rule", "address-connections", "early-talker", "proxy-header"):
        assert seen[f'starttlsd_refusals_total{{reason="{reason}"}}'] == 1, seen
    assert seen['starttlsd_backend_failures_total{kind="connect"}'] == 1


def test_a_program_that_cannot_be_started_is_counted(starttlsd, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nprintf '220 s\\r\\n'; read -r line\n")
    program.chmod(0o755)
    daemon = starttlsd("--trusting-backend", "--metrics", f"unix:{tmp_path / 'metrics'}", "--", str(program))
    daemon.metrics = str(tmp_path / "metrics")
    program.unlink()
    with socket.create_connection(("127.0.0.1", daemon.port)) as made:
        assert read_to_end(made).startswith(b"421 4.3.2")
    assert daemon.eventually(lambda: scrape(daemon)['starttlsd_backend_failures_total{kind="start"}'] == 1), daemon.log()


def test_requests(watched):
    assert get(watched.metrics, b"HEAD /metrics HTTP/1.0\r\n\r\n")[2] == ""
    assert get(watched.metrics, b"GET /metrics?x HTTP/1.1\n\n")[0] == "HTTP/1.1 200 OK"
    for request, status in [(b"GET / HTTP/1.1\r\n\r\n", "404"), (b"POST /metrics HTTP/1.1\r\n\r\n", "405"), (b"EHLO x\r\n\r\n", "400"),
                            (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 2000, "431")]:
        # What was not read of a request that is too long makes the kernel reset the connection.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError) if status == "431" else contextlib.nullcontext():
            assert get(watched.metrics, request)[0].split(" ")[1] == status
    # Slow clients do not keep others out for long, and hold no session up.
    slow = [connect(watched.metrics[1]) for _ in range(2)]
    deliver(watched.port)
    assert get(watched.metrics)[0] == "HTTP/1.1 200 OK"
    for each in slow:
        each.close()


def test_only_this_machine_may_ask(starttlsd, backend_server):
    for address in ("0.0.0.0:0", "192.0.2.1:9", "localhost:9", "*:9"):
        daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--metrics", address)
        assert daemon.process.wait(timeout=60) == 100 and "--metrics" in daemon.log()


@pytest.fixture
def workers(backend_server, starttlsd, tmp_path):
    """Two workers, whose metrics are at one address."""
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--workers", "2", "--backend", backend.address, "--backend-client", "none", "--metrics", f"unix:{tmp_path}/metrics")
    daemon.metrics = f"{tmp_path}/metrics"
    daemon.wait_for("2 workers serve")
    return daemon


def worker(daemon, number: int) -> int:
    """The process of a worker."""
    return int(re.findall(rf"worker {number} started, process (\d+)", daemon.log())[-1])


def up(daemon) -> list[float]:
    seen = scrape(daemon)
    return [seen[f'starttlsd_worker_up{{worker="{number}"}}'] for number in (1, 2)]


def test_one_address_has_the_metrics_of_all_workers(workers):
    for _ in range(4):
        deliver(workers.port)
    seen = ended(workers, 4)
    assert seen["starttlsd_workers"] == 2 and workers.eventually(lambda: up(workers) == [1, 1])
    assert sum(value for name, value in seen.items() if name.startswith("starttlsd_connections_total{worker=")) == 4
    assert sum(value for name, value in seen.items() if name.startswith("starttlsd_handshake_seconds_count{worker=")) == 4
    builds = [name for name in seen if name.startswith("starttlsd_build_info")]
    assert [re.sub('version="[0-9.]+"', "VERSION", name) for name in builds] == [
        f'starttlsd_build_info{{worker="{number}",VERSION}}' for number in (1, 2)]
    # Nothing is left of it but the number of its starts.
    os.kill(worker(workers, 1), signal.SIGKILL)
    assert workers.eventually(lambda: scrape(workers)['starttlsd_worker_restarts_total{worker="1"}'] == 1 and up(workers) == [1, 1])
    assert scrape(workers).get('starttlsd_session_ends_total{worker="1",end="relayed"}', 0) == 0


def test_a_worker_that_does_not_answer_is_left_out(workers):
    assert workers.eventually(lambda: up(workers) == [1, 1])
    process = worker(workers, 2)
    os.kill(process, signal.SIGSTOP)
    try:
        assert workers.eventually(lambda: up(workers) == [1, 0])
        seen = scrape(workers)
        assert {name.split("{")[0] for name in seen if 'worker="2"' in name} == {"starttlsd_worker_up", "starttlsd_worker_restarts_total"}
        # It is asked once, however often the supervisor is; and the supervisor waits for nothing else.
        number = len(list(pathlib.Path(f"/proc/{workers.process.pid}/fd").iterdir()))
        for _ in range(50):
            assert up(workers)[1] == 0
        assert len(list(pathlib.Path(f"/proc/{workers.process.pid}/fd").iterdir())) <= number + 1
    finally:
        os.kill(process, signal.SIGCONT)
    assert workers.eventually(lambda: up(workers) == [1, 1])
    assert get(workers.metrics, b"HEAD /metrics HTTP/1.0\r\n\r\n")[2] == ""
    assert get(workers.metrics, b"GET / HTTP/1.1\r\n\r\n")[0].endswith("404 Not Found")


# A program that takes over. Its workers answer with the text of a file; its supervisor is the real one.
TAKEN_OVER = """#!/usr/bin/python3
import os, socket, sys
if "STARTTLSD_TAKE_OVER" in os.environ:
    os.execv({program!r}, sys.argv)
channel = socket.socket(fileno=int(os.environ["STARTTLSD_WORKER"].split()[2]))
channel.send(b"READY=1\\nTAKE_OVER=2")
while True:
    message, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
    if not message:
        break
    with socket.socket(fileno=descriptors[0]) as asking, open({text!r}, "rb") as file:
        try:
            asking.sendall(file.read())
        except OSError:
            pass
"""


def test_what_a_captured_worker_says_does_not_spoil_the_metrics(build, backend_server, certificate, tmp_path):
    """Its text is used only if it is as ours are: it cannot speak for another worker, nor make the text of all unreadable."""
    program, text = (build / "release/starttlsd").resolve(), tmp_path / "text"
    (tmp_path / "release").mkdir()
    (tmp_path / "release/starttlsd").symlink_to(program)
    daemon = Daemon(tmp_path, certificate, tmp_path, "--workers", "2", "--backend", backend_server(trusts="nobody").address, "--backend-client",
                    "none", "--metrics", f"unix:{tmp_path}/metrics")
    daemon.metrics = f"{tmp_path}/metrics"
    try:
        daemon.wait_for("2 workers serve")
        replaced = tmp_path / "replaced"
        replaced.write_text(TAKEN_OVER.format(program=str(program), text=str(text)))
        replaced.chmod(0o755)
        replaced.rename(tmp_path / "release/starttlsd")
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.wait_for("has taken over")
        good = 'starttlsd_sessions{phase="clear"} 7\nstarttlsd_connections_total 3\n'
        text.write_text("# HELP x y\n" + good + 'starttlsd_greeting_seconds_bucket{le="0.1"} 1\n# EOF\n')
        assert daemon.eventually(lambda: up(daemon) == [1, 1])
        assert scrape(daemon)['starttlsd_sessions{worker="2",phase="clear"}'] == 7
        for bad in ['starttlsd_sessions{worker="1"} 1\n', 'starttlsd_other 1\n', "starttlsd_sessions 1\n" * 2, "starttlsd_sessions one\n",
                    'starttlsd_sessions{a="1"\n', 'starttlsd_sessions{a="\\x"} 1\n', 'starttlsd_sessions{a="1",} 1\n', "starttlsd_sessions\n",
                    'starttlsd_sessions{a="1"}{b="2"} 1\n', "starttlsd_sessions 1 1\n", "starttlsd_connections 1\n", "\x00\n", "# EOF\n x\n",
                    'starttlsd_sessions{a="\xe9"} 1\n', "starttlsd_sessions 1..0\n", "x" * (2 << 20) + "\n"]:
            text.write_text(good + bad + "# EOF\n")
            assert up(daemon) == [0, 0], bad[:100]
        for bad in [b"", good.encode(), b"\xff# EOF\n"]:
            text.write_bytes(bad)
            assert up(daemon) == [0, 0], bad
        text.write_text(good + "# EOF\n")
        assert daemon.eventually(lambda: up(daemon) == [1, 1])
    finally:
        daemon.finish()


def test_dashboard_and_alerts_use_metrics_that_exist(watched, workers):
    deliver(watched.port)
    ended(watched, 1)
    known = set()
    for name, samples in (families(get(watched.metrics)[2]) | families(get(workers.metrics)[2])).items():
        kind = "counter" if any(sample.split("{")[0] == name + "_total" for sample in samples) or not samples else ""
        known |= {sample.split("{")[0] for sample in samples} | ({name + "_total"} if kind else set())
    alerts = (ROOT / "Docs/monitoring/alerts.yml").read_text()
    dashboard = json.loads((ROOT / "Docs/monitoring/grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [match[1] for match in re.finditer(r"expr: (.*?)\n +(?:for|annotations):", alerts, re.DOTALL)]
    used = {name for expression in expressions for name in re.findall(r"starttlsd_[a-z_]+", expression)}
    assert len(expressions) > 15 and used <= known, used - known
    page = (ROOT / "Docs/monitoring/README.md").read_text()
    documented = set(re.findall(r"`(starttlsd_[a-z_]+)`", page))
    assert used - {name + "_bucket" for name in documented} <= documented
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in known} <= documented


def test_no_secret_comes_out(backend_server, starttlsd, tmp_path):
    """Passwords and texts go through every path; nothing that starttlsd writes has them."""
    secrets = {name: f"Sec{name}ret" for name in ("plain", "login", "body", "subject", "inside", "junk", "user", "cut")}
    def coded(*parts: str) -> bytes:
        return base64.b64encode("\0".join(parts).encode())
    backend = backend_server(trusts="nobody")
    for number, form in enumerate(("logfmt", "json")):
        daemon = starttlsd("--backend", backend.address, "--backend-client", "none", "--metrics", f"unix:{tmp_path}/metrics{number}",
                           "--status-socket", f"{tmp_path}/status{number}", "--log-format", form, "--allow-cleartext-auth")
        with connect(daemon.port) as made:
            read_until(made, b"\r\n")
            made.sendall(b"EHLO c.example\r\n")
            read_until(made, b"250 ")
            for line in (b"AUTH PLAIN " + coded("", secrets["user"], secrets["plain"]), b"AUTH LOGIN " + coded(secrets["login"]),
                         secrets["junk"].encode() + b" x", b"MAIL FROM:<a@c.example>", b"RCPT TO:<b@mx.example>", b"DATA"):
                made.sendall(line + b"\r\n")
                read_until(made, b"\r\n")
            made.sendall(f"Subject: {secrets['subject']}\r\n\r\n{secrets['body']}\r\n.\r\nQUIT\r\n".encode())
            read_to_end(made)
        with client(daemon.port) as made:
            made.docmd("AUTH", "PLAIN " + coded("", secrets["user"], secrets["inside"]).decode())
            made.sendmail("a@c.example", ["b@mx.example"], f"Subject: {secrets['subject']}\r\n\r\n{secrets['body']}\r\n")
        with connect(daemon.port) as made:
            read_until(made, b"\r\n")
            made.sendall(b"AUTH PLAIN " + coded("", secrets["user"], secrets["cut"])[:-3])
        assert daemon.eventually(lambda: daemon.log().count("proof") >= 2 and daemon.log().count("total") >= 3)
        status = b""
        for kind in (b"text\n", b"json\n"):
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(f"{tmp_path}/status{number}")
                asking.sendall(kind)
                status += read_to_end(asking)
        written = daemon.log() + status.decode() + get(f"{tmp_path}/metrics{number}")[2]
        # The test finds what is there.
        assert "c.example" in written
        for secret in secrets.values():
            forms = [secret, base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]] + [coded("", secrets["user"], secret).decode()[:-3]]
            assert not any(form in written for form in forms), secret
    # The server did get them.
    assert any(secrets["body"] in command for session in backend.sessions for command in session.commands)
