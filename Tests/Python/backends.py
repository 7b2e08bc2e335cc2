"""starttlsd, small servers at an address, and PROXY headers, for the tests of both sides of starttlsd."""
import contextlib
import pathlib
import re
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import threading
import time
from typing import NamedTuple

from mail import PATIENCE

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Header(NamedTuple):
    """A PROXY header of version 2, read without any code of starttlsd."""
    command: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    fields: dict[int, bytes]

    @staticmethod
    def fields_of(octets: bytes) -> dict[int, bytes]:
        fields = {}
        while octets:
            kind, length = struct.unpack("!BH", octets[:3])
            fields[kind], octets = octets[3:3 + length], octets[3 + length:]
        return fields

    @classmethod
    def read(cls, octets: bytes) -> "Header":
        assert octets[:12] == SIGNATURE, octets
        version, family, length = struct.unpack("!BBH", octets[12:16])
        assert version >> 4 == 2 and len(octets) == 16 + length
        body = octets[16:]
        if family == 0x11:
            source, destination, *ports = struct.unpack("!4s4sHH", body[:12])
            size, form = 12, socket.AF_INET
        else:
            assert family == 0x21, family
            source, destination, *ports = struct.unpack("!16s16sHH", body[:36])
            size, form = 36, socket.AF_INET6
        return cls(version & 15, (socket.inet_ntop(form, source), ports[0]), (socket.inet_ntop(form, destination), ports[1]),
                   cls.fields_of(body[size:]))


class Session(NamedTuple):
    """What a server saw of one connection."""
    peer: str
    header: bytes
    commands: list[str]


class Server:
    """A small SMTP server. It relays mail of clients at addresses that it trusts, as servers do for their own network."""

    def __init__(self, header: str = "none", trusts: str = "127.0.0.1", path: str | None = None, port: int = 0):
        self.header, self.trusts = header, trusts
        self.greeting = "220 backend ESMTP"
        self.sessions: list[Session] = []
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = f"unix:{path}"
        else:
            self.listener = socket.create_server(("127.0.0.1", port))
            self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.listener.listen()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self.listener.accept()
                thread = threading.Thread(target=self.serve, args=(connection, peer[0] if peer else ""), daemon=True)
                self.threads.append(thread)
                thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(timeout=PATIENCE)

    def read_header(self, stream) -> tuple[bytes, str | None]:
        if self.header == "proxy-v1":
            line = stream.readline()
            return line, line.split(b" ")[2].decode()
        if self.header == "proxy-v2":
            start = stream.read(16)
            header = start + stream.read(struct.unpack("!H", start[14:16])[0])
            return header, Header.read(header).source[0]
        return b"", None

    def serve(self, connection: socket.socket, peer: str) -> None:
        with connection, connection.makefile("rwb") as stream, contextlib.suppress(OSError):
            header, client = self.read_header(stream)
            session = Session(peer, header, [])
            self.sessions.append(session)
            trusted = (client or peer) == self.trusts

            def say(text: str) -> None:
                stream.write(text.encode() + b"\r\n")
                stream.flush()

            say(self.greeting)
            while line := stream.readline():
                command = line.decode("latin-1").rstrip("\r\n")
                session.commands.append(command)
                verb = command.split(" ")[0].upper()
                if verb in ("EHLO", "LHLO"):
                    say("250-backend\r\n250 SIZE 100000")
                elif verb == "RCPT" and not trusted and "@mx.example>" not in command:
                    say("550 5.7.1 Relaying denied")
                elif verb == "DATA":
                    say("354 go on")
                    while (line := stream.readline()) not in (b".\r\n", b""):
                        session.commands.append(line.decode("latin-1").rstrip("\r\n"))
                    say("250 2.0.0 stored")
                elif verb == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 done")


def eventually(holds) -> bool:
    end = time.monotonic() + PATIENCE
    while not (result := holds()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(result)


class Daemon:
    """starttlsd on a free port: one process, unless the options name the workers."""

    def __init__(self, build: pathlib.Path, certificate, folder: pathlib.Path, *options: str):
        self.log_file = folder / "log"
        self.is_killed = False
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [build / "release/starttlsd", "--allow-root", "--listen", "127.0.0.1:0", "--certificate", certificate.chain, "--key",
                 certificate.key, *([] if "--workers" in options else ["--workers", "1"]), *options], stderr=log)
        assert self.eventually(lambda: re.search(r"listening on .*\n", self.log()) or self.process.poll() is not None)
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log())
        self.port = int(match.group(1)) if match else 0

    def log(self) -> str:
        return self.log_file.read_text()

    eventually = staticmethod(eventually)

    def wait_for(self, text: str) -> re.Match:
        """Until the log has a match of the expression. Nothing but this shows that a line is written, not even a later event."""
        found = None

        def is_there() -> bool:
            nonlocal found
            found = re.search(text, self.log())
            return found is not None

        assert self.eventually(is_there), f"'{text}' is not in: {self.log()}"
        return found

    def kill(self) -> None:
        self.process.kill()
        self.is_killed = True

    def finish(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) in ([-signal.SIGKILL] if self.is_killed else [0, 100, 111]), self.log()


def client(port: int, source: str = "127.0.0.7", tls: bool = True) -> smtplib.SMTP:
    made = smtplib.SMTP("127.0.0.1", port, "client.example", timeout=PATIENCE, source_address=(source, 0))
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        made.starttls(context=context)
    return made


def handshake(port: int, *words) -> str:
    """What openssl prints about a session with STARTTLS."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", "-crlf", "-ign_eof", *words]
    return subprocess.run(command, input=b"QUIT\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE).stdout.decode(errors="replace")


def deliver(port: int, source: str = "127.0.0.7", tls: bool = True, to: str = "b@mx.example") -> int:
    """Sends a message; returns the client's port."""
    with client(port, source, tls) as made:
        own = made.sock.getsockname()[1]
        made.sendmail("a@client.example", [to], "Subject: x\r\n\r\ntext\r\n")
        return own


def named(version: int, host: str = "192.0.2.7", port: int = 4711) -> bytes:
    if version == 1:
        return f"PROXY TCP4 {host} 192.0.2.25 {port} 25\r\n".encode()
    body = socket.inet_aton(host) + socket.inet_aton("192.0.2.25") + struct.pack("!HH", port, 25) + b"\x04\0\x02ab"
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(body)) + body
