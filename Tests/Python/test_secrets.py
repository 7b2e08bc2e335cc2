"""What clients send at the right and at the wrong time appears nowhere in what starttlsd writes."""
import base64
import contextlib
import re
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from backends import Daemon, named
from mail import PATIENCE, connect, read_to_end, read_until

# A server that repeats what it was sent in each of its replies.
ECHO = r"""
import signal
import sys
# As most servers, it ends when nobody reads its replies.
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
source, sink = sys.stdin.buffer, sys.stdout.buffer
def say(*lines):
    sink.write(b"".join(line + b"\r\n" for line in lines))
    sink.flush()
def read():
    return source.readline().rstrip(b"\r\n")
say(b"220 echo.example ESMTP")
while line := source.readline():
    line = line.rstrip(b"\r\n")
    verb = line.split(b" ")[0].upper()
    if verb in (b"EHLO", b"LHLO"):
        say(b"250-echo.example", b"250-AUTH PLAIN LOGIN", b"250 CHUNKING")
    elif verb == b"AUTH" and b"LOGIN" in line:
        say(b"334 VXNlcm5hbWU6")
        name = read()
        say(b"334 " + name)
        say(b"535 5.7.8 no " + read())
    elif verb == b"DATA":
        say(b"354 go on")
        text = b""
        while (part := read()) not in (b".", b""):
            text += part
        say(b"250 2.0.0 stored " + text)
    elif verb == b"BDAT":
        say(b"250 2.0.0 stored " + source.read(int(line.split(b" ")[1])))
    elif verb == b"QUIT":
        say(b"221 bye")
        break
    else:
        say((b"535 5.7.8 no " if verb == b"AUTH" else b"250 you said ") + line)
"""

SECRETS = {name: f"Sec{name}ret" for name in (
    "helo", "again", "junk", "plain", "user", "word", "ended", "subject", "body", "chunk", "early", "local", "noop", "null")}


def coded(*parts: str) -> bytes:
    return base64.b64encode("\0".join(parts).encode())


def secret(name: str) -> bytes:
    return SECRETS[name].encode()


def dialogues(greeting: bytes = b"EHLO") -> list[list[bytes]]:
    """Each is one session: what is sent, one after the other, after the reply to the one before."""
    hello = greeting + b" c.example\r\n"
    plain = b"AUTH PLAIN " + coded("", SECRETS["user"], SECRETS["plain"]) + b"\r\n"
    login = [b"AUTH LOGIN\r\n", coded(SECRETS["user"]) + b"\r\n", coded(SECRETS["word"]) + b"\r\n"]
    envelope = [b"MAIL FROM:<" + secret("local") + b"@c.example>\r\n", b"RCPT TO:<b@mx.example>\r\n"]
    text = b"Subject: " + secret("subject") + b"\r\n\r\n" + secret("body") + b"\r\n.\r\n"
    chunk = b"BDAT %d LAST\r\n" % len(secret("chunk")) + secret("chunk")
    return [
        [b"HELO " + secret("helo") + b" " + secret("again") + b"\r\n", secret("junk") + b"\r\n", b"QUIT\r\n"],
        [hello, b"NOOP " + secret("noop") + b"\r\n", plain, *login, *envelope, b"DATA\r\n", text, b"QUIT\r\n"],
        [hello, *envelope, chunk, b"QUIT\r\n"],
        # A chunk that nobody asked for.
        [hello, chunk.replace(secret("chunk"), secret("early").ljust(len(secret("chunk")))), b"QUIT\r\n"],
        # Responses that end the session: an octet that no response has, and no octet more.
        [hello, b"AUTH LOGIN\r\n", secret("null") + b"\0" + secret("null") + b"\r\n"],
        [hello, b"AUTH LOGIN\r\n", coded(SECRETS["ended"])],
        # An EHLO that is text.
        [greeting + b" " + secret("helo") + b"=" + secret("again") + b"\r\n", b"QUIT\r\n"],
    ]


def hold(made: socket.socket, pieces: list[bytes]) -> None:
    """Sends the pieces; ends when the session has ended, or when nothing more is to be sent."""
    with contextlib.suppress(AssertionError, ConnectionResetError, BrokenPipeError):
        for piece in pieces:
            made.sendall(piece)
            if piece.endswith(b"\n"):
                read_until(made, b"\r\n")


def session(port: int, pieces: list[bytes], way: str, header: bytes = b"", hello: bytes = b"EHLO c.example\r\n") -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(port) as made:
        made.sendall(header)
        if way == "implicit":
            made = context.wrap_socket(made)
        read_until(made, b"\r\n")
        if way == "STARTTLS":
            made.sendall(hello)
            read_until(made, b"250 ")
            made.sendall(b"STARTTLS\r\n")
            read_until(made, b"220 ")
            made = context.wrap_socket(made)
        # EHLO and LHLO have a reply of several lines.
        if pieces[0][1:].startswith(b"HLO c.example"):
            made.sendall(pieces[0])
            read_until(made, b"250 ")
            pieces = pieces[1:]
        hold(made, pieces)
        made.close()


def assert_no_secret(written: str) -> None:
    # The test finds what is there.
    assert "c.example" in written
    for text in SECRETS.values():
        forms = [text, coded(text).decode().rstrip("=")[:-1], coded("", SECRETS["user"], text).decode()[:-3]]
        assert not any(form in written for form in forms), text


def program(tmp_path) -> list[str]:
    path = tmp_path / "echo"
    path.write_text(ECHO)
    return ["--", sys.executable, "-IS", str(path)]


def report(path: str, kind: bytes) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        asking.sendall(kind)
        return read_to_end(asking).decode()


WAYS = [
    ("clear", ["--allow-cleartext-auth"]),
    ("clear", ["--learn-greeting", "--log-format", "json"]),
    ("clear", ["--policy", "required"]),
    ("STARTTLS", ["--policy", "required", "--log-format", "json"]),
    ("implicit", []),
]
LMTP, FRONT, TWO = ["--protocol", "lmtp"], ["--proxy-from", "127.0.0.1"], ["--workers", "2"]


@pytest.mark.parametrize("way, options", WAYS + [
    ("clear", ["--allow-cleartext-auth", *LMTP]), ("STARTTLS", [*LMTP, "--log-format", "json"]),
    ("clear", ["--allow-cleartext-auth", *FRONT]), ("STARTTLS", [*FRONT, "--log-format", "json"]), ("implicit", FRONT),
    ("clear", ["--allow-cleartext-auth", *TWO]), ("STARTTLS", [*TWO, "--log-format", "json"]), ("clear", ["--learn-greeting", *LMTP, *FRONT, *TWO]),
])
def test_in_front_of_a_program(starttlsd, tmp_path, way, options):
    listening = ["--listen-tls", "127.0.0.1:0"] if way == "implicit" else []
    daemon = starttlsd("--trusting-backend", "--metrics", f"unix:{tmp_path}/metrics", "--status-socket", f"{tmp_path}/status", *listening,
                       *options, *program(tmp_path))
    header = named(2) if "--proxy-from" in options else b""
    greeting = b"LHLO" if "lmtp" in options else b"EHLO"
    hello = greeting + b" c.example\r\n"
    if "--learn-greeting" in options:
        # After the first session it is learnt.
        session(daemon.port, [b"QUIT\r\n"], "clear", header)
        daemon.wait_for("greeting is learnt")
    port = daemon.port
    if way == "implicit":
        port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:(\d+) with TLS")[1])
    for pieces in dialogues(greeting):
        session(port, pieces, way, header, hello)
    if header:
        # Instead of a header.
        with connect(port) as front, contextlib.suppress(ConnectionResetError):
            front.sendall(b"PROXY TCP4 " + secret("junk") + b"\r\n")
            read_to_end(front)
        daemon.wait_for("the line of its PROXY header is malformed")
    sessions = len(dialogues())
    assert daemon.eventually(lambda: len(re.findall(r"total[=\"]", daemon.log())) >= sessions), daemon.log()
    # While one is there.
    with connect(daemon.port) as waiting:
        waiting.sendall(header)
        read_until(waiting, b"\r\n")
        waiting.sendall(greeting + b" " + secret("helo") + b" " + secret("again") + b"\r\n")
        read_until(waiting, b"\r\n")
        # Each worker has its own.
        sockets = [str(path) for path in tmp_path.glob("status*")]
        assert len(sockets) == (2 if "--workers" in options else 1)
        reports = "".join(report(path, kind) for path in sockets for kind in (b"text\n", b"json\n"))
    reports += report(f"{tmp_path}/metrics", b"GET /metrics HTTP/1.1\r\n\r\n")
    # The reports are those of the sessions; the client is the one that the front names.
    assert "starttlsd_session_ends_total" in reports and (not header or "192.0.2.7" in daemon.log())
    # After its start, the names of clients inside TLS from the start are not seen.
    assert_no_secret(daemon.log() + reports + ("c.example" if way == "implicit" else ""))


@pytest.mark.skipif(subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0,
                    reason="this gives starttlsd a folder /dev of its own")
def test_in_the_system_log(build, certificate, tmp_path):
    devices = tmp_path / "devices"
    devices.mkdir()
    (devices / "null").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        log.settimeout(PATIENCE)
        script = f"mount --bind /dev/null {devices}/null && mount --rbind {devices} /dev && exec \"$@\""
        daemon = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "sh", build / "release/starttlsd", "--allow-root", "--listen", "127.0.0.1:0", "--certificate",
             certificate.chain, "--key", certificate.key, "--workers", "1", "--syslog", "mail", "--trusting-backend", "--allow-cleartext-auth", *program(tmp_path)],
            stderr=subprocess.PIPE, text=True)
        try:
            lines: list[str] = []

            def read() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        lines.append(log.recv(65536).decode())

            # All the time: the kernel keeps few datagrams.
            threading.Thread(target=read, daemon=True).start()

            def wait_for(text: str, count: int = 1) -> None:
                assert Daemon.eventually(lambda: sum(text in line for line in lines) >= count), lines

            wait_for("listening on")
            port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", "".join(lines))[1])
            for pieces in dialogues():
                session(port, pieces, "clear")
            wait_for("total=", len(dialogues()))
            assert_no_secret("".join(lines))
        finally:
            daemon.terminate()
            errors = daemon.communicate(timeout=PATIENCE)[1]
        assert daemon.returncode == 0 and errors == ""
