"""The metrics of starttlsd: their text, what is counted, and that nothing of a client's secrets comes out anywhere."""
import base64
import contextlib
import re
import socket
import time

import pytest

from backends import client, deliver, handshake
from mail import connect, read_to_end, read_until
from metrics import ended, get, scrape


@pytest.fixture
def watched(backend_server, starttlsd, tmp_path):
    """starttlsd with metrics and a status socket, and its server."""
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--backend", backend.address, "--backend-client", "none", "--metrics", "127.0.0.1:0", "--status-socket",
                       str(tmp_path / "status"), "--greeting-timeout", "5")
    daemon.server = backend
    daemon.metrics = ("127.0.0.1", int(daemon.wait_for(r"metrics at 127\.0\.0\.1:(\d+)\n")[1]))
    return daemon


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


@pytest.mark.parametrize("options, sample", [
    (["-tls1_3", "-groups", "X25519", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
     'handshakes_total{version="TLSv1.3",group="x25519",cipher="TLS_AES_128_GCM_SHA256"}'),
    (["-tls1_3", "-groups", "P-384", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
     'handshakes_total{version="TLSv1.3",group="secp384r1",cipher="TLS_AES_256_GCM_SHA384"}'),
    (["-tls1_2", "-groups", "P-256", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
     'handshakes_total{version="TLSv1.2",group="secp256r1",cipher="TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}'),
    # No common cipher, and a client that does not trust the certificate.
    (["-tls1_2", "-cipher", "AES128-SHA"], 'handshake_failures_total{alert="handshake_failure",from="server"}'),
    (["-tls1_2", "-verify_return_error"], 'handshake_failures_total{alert="unknown_ca",from="client"}'),
])
def test_the_labels_of_a_handshake(watched, options, sample):
    """What was negotiated, and who refused it and why, as the client sees it as well."""
    seen = handshake(watched.port, *options)
    counts = {k.removeprefix("starttlsd_"): v for k, v in ended(watched, 1).items() if "_handshakes_total" in k or "_failures_total{alert" in k}
    assert counts == {sample: 1}, (seen, watched.log())


def test_a_server_that_does_not_listen_is_counted(watched):
    deliver(watched.port)
    watched.server.close()
    with connect(watched.port) as made:
        assert read_to_end(made).startswith(b"421 4.3.2")
    assert scrape(watched)['starttlsd_backend_failures_total{kind="connect"}'] == 1


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
