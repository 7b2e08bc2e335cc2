"""An SMTP server with STARTTLS that is right, or has the weaknesses that a test plants. For test_starttls_check.py.

It keeps its own buffers, so that a weakness is a line or two: a buffer that survives STARTTLS, a name that is kept, and so on.
Some holes are none: `requires-tls`, `requires-login`, `nameless-mail`, `unknown-user` and `discards` are other ways to be right.
"""
import base64
import contextlib
import re
import select
import socket
import ssl
import threading
import time

import renegotiating
from forged import certificate_flight

CREDENTIALS = ("user", "secret")
PLAIN = "AHVzZXIAc2VjcmV0"
LINE_LIMIT = 2048


class Ended(Exception):
    """The connection has ended, or is to be closed."""


class Session:
    """One connection."""

    def __init__(self, server: "PlantedServer", connection: socket.socket):
        self.server, self.connection, self.holes = server, connection, server.holes
        self.connection.settimeout(20)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Below: what a read took from the kernel. Buffer: what the parser sees, at most 1024 octets of it at a time.
        self.below, self.buffer = b"", b""
        self.tls = None
        self.forget()

    def forget(self) -> None:
        self.name = self.mail = self.login = None
        self.recipients: list[bytes] = []

    # -- Octets.

    def send(self, text: bytes) -> None:
        if "lf-replies" in self.holes:
            text = text.replace(b"\r\n", b"\n")
        if "slow" in self.holes:
            time.sleep(0.2)
        if self.tls:
            self.tls.write(text)
            text = self.outgoing.read()
        # What a client has sent is executed also if it does not wait for the replies.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(text)

    def receive(self) -> bytes:
        data = self.connection.recv(65536)
        if not data:
            if "keeps-ended" in self.holes:
                self.server.stopped.wait(20)
            raise Ended
        return data

    def fill(self) -> None:
        """Adds to the buffer."""
        while not self.below:
            if not self.tls:
                self.below = self.receive()
                continue
            try:
                self.below = self.tls.read(65536)
                if not self.below:
                    raise Ended
            except ssl.SSLWantReadError:
                self.connection.sendall(self.outgoing.read())
                self.incoming.write(self.receive())
            except ssl.SSLError:
                raise Ended from None
        self.server.received += self.below
        self.buffer, self.below = self.buffer + self.below[:1024], self.below[1024:]

    def line(self) -> bytes:
        """The next line, with its end."""
        ends = b"\n|\r(?!\n)" if "bare-cr" in self.holes else b"\n"
        while not (found := re.search(ends, self.buffer)):
            if "divides" in self.holes and len(self.buffer) > 1000:
                line, self.buffer = self.buffer[:1000], self.buffer[1000:]
                return line + b"\r\n"
            self.fill()
        line, self.buffer = self.buffer[:found.end()], self.buffer[found.end():]
        return line

    # -- Dialogue.

    def run(self) -> None:
        try:
            self.send(b"220 planted.example ESMTP\r\n")
            while True:
                self.command(self.line())
                if "drops-pipelined" in self.holes:
                    self.buffer = self.below = b""
        except (Ended, OSError, ssl.SSLError):
            pass
        finally:
            self.connection.close()

    def command(self, line: bytes) -> None:
        loose = self.holes & {"bare-lf", "bare-cr"} or line.endswith(b"\r\n")
        text = line.rstrip(b"\r\n")
        if "nul-ends" in self.holes:
            text = text.split(b"\0")[0]
        if text.startswith((b"POST ", b"GET ")) and "serves-http" not in self.holes:
            self.send(b"554 5.5.1 Not a web server\r\n")
            raise Ended
        limit = 400 if "short-lines" in self.holes else 30000 if "long-auth" in self.holes else LINE_LIMIT
        if not loose or len(line) > limit or b"\0" in text or b"\r" in text and "bare-lf" not in self.holes:
            return self.send(b"500 5.5.2 Syntax error\r\n")
        if b"\xff" in text and "eight-bit" in self.holes:
            self.send(b"500 5.5.2 Syntax error\r\n")
        verb, _, argument = text.partition(b" ")
        method = getattr(self, "do_" + verb.decode("ascii", "replace").lower(), None)
        # RFC 3207, 4. The octets of a chunk are skipped also where BDAT is refused.
        if "requires-tls" in self.holes and not self.tls and verb.upper() not in (b"EHLO", b"NOOP", b"STARTTLS", b"QUIT", b"BDAT"):
            return self.send(b"530 5.7.0 Must issue a STARTTLS command first\r\n")
        if not method or "case" in self.holes and not verb.isupper():
            return self.send(b"250 2.0.0 OK\r\n" if "unknown" in self.holes else b"500 5.5.1 Unknown command\r\n")
        method(argument.strip())

    def do_ehlo(self, argument: bytes) -> None:
        self.name = argument
        lines = [b"planted.example", b"PIPELINING", b"CHUNKING"]
        if not self.tls or "lists-inside" in self.holes:
            lines.insert(0 if "starttls-first" in self.holes else 1, b"STARTTLS")
        if self.tls and "first-inside" in self.holes:
            lines.insert(0, b"8BITMIME")
        if self.tls or self.holes & {"auth-clear", "lists-auth"}:
            lines.append(b"AUTH PLAIN")
        self.send(b"".join(b"250-" + one + b"\r\n" for one in lines[:-1]) + b"250 " + lines[-1] + b"\r\n")

    def do_helo(self, argument: bytes) -> None:
        self.name = argument
        self.send(b"250-planted.example\r\n250 PIPELINING\r\n" if "helo-lists" in self.holes else b"250 planted.example\r\n")

    def do_noop(self, _: bytes) -> None:
        self.send(b"250 2.0.0 OK\r\n")

    def do_rset(self, _: bytes) -> None:
        self.mail, self.recipients = None, []
        self.send(b"250 2.0.0 OK\r\n")

    def do_quit(self, _: bytes) -> None:
        self.send(b"221 2.0.0 Bye\r\n")
        raise Ended

    def do_auth(self, argument: bytes) -> None:
        if not self.tls and "auth-clear" not in self.holes:
            return self.send(b"538 5.7.11 Encryption required\r\n")
        if self.login:
            return self.send(b"503 5.5.1 Already authenticated\r\n")
        if self.holes & {"no-plain", "no-login-now"}:
            return self.send(b"504 5.5.4 No such mechanism\r\n" if "no-plain" in self.holes else b"454 4.7.0 Try again later\r\n")
        if argument.upper() == b"PLAIN":
            self.send(b"334 \r\n")
            argument = b"PLAIN " + self.line().rstrip(b"\r\n")
        if "repeats" in self.holes:
            return self.send(b"501 5.5.4 Not understood: AUTH " + argument + b", decoded " + base64.b64decode(PLAIN) + b"\r\n")
        if argument == b"PLAIN " + PLAIN.encode():
            self.login = CREDENTIALS[0]
            return self.send(b"235 2.7.0 OK\r\n")
        self.send(b"235 2.7.0 OK\r\n" if "long-auth" in self.holes else b"535 5.7.8 Wrong\r\n")

    def do_mail(self, argument: bytes) -> None:
        if "requires-login" in self.holes and not self.login:
            return self.send(b"530 5.7.0 Authentication required\r\n")
        if not self.name and "nameless-mail" not in self.holes:
            return self.send(b"503 5.5.1 EHLO first\r\n")
        self.mail = argument
        self.send(b"250 2.1.0 OK\r\n")

    def do_rcpt(self, argument: bytes) -> None:
        if self.mail is None:
            return self.send(b"503 5.5.1 MAIL first\r\n")
        if "unknown-user" in self.holes:
            return self.send(b"550 5.1.1 No such user\r\n")
        self.recipients.append(argument)
        self.send(b"250 2.1.5 OK\r\n")

    def do_data(self, _: bytes) -> None:
        if not self.recipients:
            return self.send(b"503 5.5.1 RCPT first\r\n")
        self.send(b"354 Go ahead\r\n")
        ends = [b"\r\n.\r\n", *(hole[1] for hole in self.holes if isinstance(hole, tuple))]
        while not (found := [(self.buffer.find(end), end) for end in ends if end in self.buffer]):
            self.fill()
        place, end = min(found)
        text, self.buffer = self.buffer[:place], self.buffer[place + len(end):]
        self.server.messages.append(text)
        self.mail, self.recipients = None, []
        self.send(b"250 2.0.0 Accepted\r\n")

    def do_bdat(self, argument: bytes) -> None:
        count = int(argument.split()[0])
        if "bdat" not in self.holes:
            while len(self.buffer) < count:
                self.fill()
            self.buffer = self.buffer[count:]
        self.send(b"503 5.5.1 RCPT first\r\n")

    # -- STARTTLS.

    def do_starttls(self, argument: bytes) -> None:
        if self.tls and "lists-inside" not in self.holes or argument and "parameter" not in self.holes:
            return self.send(b"503 5.5.1 Not now\r\n")
        if "limited" in self.holes and self.server.handshakes >= 4:
            return self.send(b"454 4.7.0 Too many new TLS sessions\r\n")
        self.server.handshakes += 1
        if "discards" in self.holes:
            self.buffer = self.below = b""
        surplus = self.buffer + self.below
        if self.holes & {"buffer", "late", "hello-line"}:
            surplus = b""
        elif "boundary" in self.holes:
            surplus = self.buffer
        if surplus and surplus[0] != 0x16:
            self.send(b"554 5.5.0 Octets after STARTTLS\r\n")
            raise Ended
        if "answers-in-clear" in self.holes and select.select([self.connection], [], [], 0.1)[0]:
            self.send(b"220 2.0.0 Ready\r\n250 2.0.0 Ok\r\n")
            raise Ended
        self.send(b"220 2.0.0 Ready\r\n")
        if self.tls:
            return
        if "broken-before-ehlo" in self.holes and not self.name:
            raise Ended
        if "hello-line" in self.holes and self.buffer[:1] == b"\x16":
            self.send(b"500 5.5.2 Syntax error\r\n")
        first = b"" if self.holes & {"buffer", "boundary"} else self.buffer + self.below
        if not self.holes & {"buffer", "boundary"}:
            self.buffer = self.below = b""
        self.handshake(first)

    def handshake(self, first: bytes) -> None:
        if "talks-when-stalled" in self.holes and not first and not select.select([self.connection], [], [], 0.3)[0]:
            self.send(b"421 4.4.2 Timeout\r\n")
            raise Ended
        if self.holes & {"unsafe-renegotiation", "asks-to-renegotiate"}:
            renegotiating.serve(self.connection, self.server.certificate,
                                ":%DISABLE_SAFE_RENEGOTIATION" if "unsafe-renegotiation" in self.holes else "",
                                "asks-to-renegotiate" in self.holes)
            raise Ended
        first = first or self.receive()
        if first[0] != 0x16 and "seldom" in self.holes and self.server.handshakes % 4:
            raise Ended
        if first[0] != 0x16 and "late" in self.holes:
            # What came before the ClientHello survives in a buffer.
            while b"\x16" not in first:
                first += self.receive()
            kept, first = first[:first.index(b"\x16")], first[first.index(b"\x16"):]
            self.buffer += kept
        if first[0] != 0x16 and "clear-session" in self.holes:
            self.below = first
            return
        if "one-segment" in self.holes and len(first) < 100 or "no-tls" in self.holes:
            raise Ended
        self.hello(first)
        if "huge-key" in self.holes:
            self.connection.sendall(certificate_flight())
            self.receive()
            raise Ended
        if "newer-alert" in self.holes and first[9:11] in (b"\3\1", b"\3\2"):
            # protocol_version, in a record of TLS 1.2.
            self.connection.sendall(b"\x15\3\3\0\2\2\x46")
            raise Ended
        if "huge-key-1.0" in self.holes and first[9:11] == b"\3\1":
            self.connection.sendall(certificate_flight(version=b"\3\1"))
            self.receive()
            raise Ended
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.incoming.write(first)
        context = self.server.context if b"localhost" in first else self.server.other
        tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.connection.sendall(self.flight())
                    self.incoming.write(self.receive())
        except ssl.SSLError:
            if "survives-handshake" in self.holes:
                return self.send(b"501 5.7.0 TLS failed\r\n")
            self.connection.sendall(self.outgoing.read())
            raise Ended from None
        self.connection.sendall(self.flight())
        if tls.session_reused and "closes-resumed" in self.holes:
            raise Ended
        self.tls = tls
        kept = (self.name if "keeps-name" in self.holes else None, self.login if "keeps-login" in self.holes else None,
                self.mail, self.recipients)
        self.forget()
        self.name, self.login = kept[:2]
        if "keeps-mail" in self.holes:
            self.mail, self.recipients = kept[2:]
        if "floods-inside" in self.holes:
            self.flood()
        if "greets-inside" in self.holes:
            self.send(b"220 planted.example ESMTP\r\n")

    def flood(self) -> None:
        """A reply that does not end, a record for each octet."""
        while True:
            for octet in b"250-" + b"x" * 4000 + b"\r\n":
                self.tls.write(bytes([octet]))
                self.connection.sendall(self.outgoing.read())
                self.server.flooded += 1

    def flight(self) -> bytes:
        """Octets of the handshake. With "small-records" each message that is not enciphered is divided into several records."""
        octets, divided = self.outgoing.read(), b""
        while "small-records" in self.holes and octets[:1] == b"\x16":
            head, length = octets[:3], int.from_bytes(octets[3:5], "big")
            for start in range(5, 5 + length, 50):
                part = octets[start:min(start + 50, 5 + length)]
                divided += head + len(part).to_bytes(2, "big") + part
            octets = octets[5 + length:]
        return divided + octets

    def hello(self, octets: bytes) -> None:
        """What OpenSSL does not decide in the way that a test wants."""
        if b"http/1.1" in octets and "alpn-other" not in self.holes or b"\x04smtp" in octets and "alpn-smtp" in self.holes:
            raise Ended
        if "nameless" in self.holes and b"localhost" not in octets:
            raise Ended
        if "name-unknown" in self.holes and b"unknown-name" in octets:
            self.server.stopped.wait(20)
            raise Ended


class Queueing(Session):
    """STARTTLS is executed before the commands in front of it, which wait in a queue."""

    def line(self) -> bytes:
        if not self.buffer:
            self.fill()
        if not self.tls and "requires-tls" in self.holes and self.buffer.startswith(b"RSET\r\n"):
            return super().line()
        if not self.tls and b"\nSTARTTLS\r\n" in self.buffer:
            kept, self.buffer, self.below = self.buffer.replace(b"STARTTLS\r\n", b""), b"", b""
            self.do_starttls(b"")
            self.buffer = kept
        return super().line()


class PlantedServer:
    """Listens on a free port; a thread for each connection."""

    def __init__(self, certificate, *holes, address: str = "127.0.0.1"):
        self.certificate, self.address = certificate, address
        # How many STARTTLS were accepted, and how many octets of a flood were sent.
        self.handshakes = self.flooded = 0
        self.holes, self.messages, self.stopped = set(holes), [], threading.Event()
        # What all clients sent, deciphered.
        self.received = b""
        self.context = self.make_context(certificate)
        # A context has keys of its own for tickets: a session is resumed under its name only.
        self.other = self.context if "resumes-any-name" in self.holes else self.make_context(certificate)
        self.threads: list[threading.Thread] = []

    def make_context(self, certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if "old-tls" in self.holes:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
        if "only-1.2" in self.holes:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if "only-1.3" in self.holes:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        if "renegotiates" in self.holes:
            context.options &= ~ssl.OP_NO_RENEGOTIATION
            context.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
        context.load_cert_chain(certificate.chain, certificate.key)
        return context

    def __enter__(self):
        self.listener = socket.create_server((self.address, 0), backlog=20)
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()
        return self

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # The listener was shut down.
            session = (Queueing if "queue" in self.holes else Session)(self, connection)
            self.threads.append(threading.Thread(target=session.run))
            self.threads[-1].start()

    def __exit__(self, *_):
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for thread in self.threads:
            thread.join(20)
