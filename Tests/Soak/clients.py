"""clients: clients of a soak: good ones, slow ones, those that break off, those that inject.

Each kind is a function of a run and a random generator. It makes exactly one connection, which the run counts. A message has a token;
the run learns which tokens were acknowledged. Every wait has a limit.
"""

import socket
import ssl
import struct
import time

LIMIT = 30


class Refused(Exception):
    """The server answered something that ends the session: its backend was ended, or the session was."""


class Client:
    def __init__(self, run, implicit=False):
        self.socket = socket.create_connection(("127.0.0.1", run.port(implicit)), LIMIT)
        run.connected()
        self.run = run
        if implicit:
            self.secure()
        self.input = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def secure(self):
        self.socket = self.run.context.wrap_socket(self.socket)

    def send(self, text):
        self.socket.sendall(text)

    def reply(self, code):
        """The reply, which must have this code."""
        while True:
            line, end, rest = self.input.partition(b"\n")
            if not end:
                more = self.socket.recv(65536)
                if not more:
                    raise Refused("the end in place of " + code)
                self.input += more
                continue
            self.input = rest
            if line[3:4] != b"-":
                if line[:3] != code.encode():
                    raise Refused(line.decode("latin-1"))
                return line

    def ask(self, text, code):
        self.send(text.encode() + b"\r\n")
        return self.reply(code)

    def reset(self):
        """The end of the connection is a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def greet(self, name="soak.example"):
        self.reply("220")
        self.ask("EHLO " + name, "250")

    def start_tls(self):
        self.ask("STARTTLS", "220")
        self.secure()
        self.ask("EHLO soak.example", "250")

    def mail(self, size=200, pause=0.0):
        token = self.run.token()
        self.ask("MAIL FROM:<sender@soak.example>", "250")
        self.ask("RCPT TO:<recipient@soak.example>", "250")
        self.ask("DATA", "354")
        text = "Subject: %s\r\n\r\n" % token + "y" * 60 + ("\r\n" + "x" * 70) * (size // 72) + "\r\n.\r\n"
        if pause:
            for begin in range(0, len(text), 16):
                self.send(text[begin:begin + 16].encode())
                time.sleep(pause)
        else:
            self.send(text.encode())
        self.reply("250")
        self.run.acknowledged(token)


def clear(run, chance):
    with Client(run) as client:
        client.greet()
        client.mail()
        client.ask("QUIT", "221")


def starttls(run, chance):
    with Client(run) as client:
        client.greet()
        client.start_tls()
        for _ in range(chance.randrange(1, 3)):
            client.mail(size=chance.choice([200, 20000]))
        client.ask("QUIT", "221")


def implicit(run, chance):
    with Client(run, implicit=True) as client:
        client.greet()
        client.mail()
        client.ask("QUIT", "221")


def slow(run, chance):
    """Octet by octet, then a message in small pieces."""
    with Client(run) as client:
        client.reply("220")
        for octet in b"EHLO slow.example\r\n":
            client.send(bytes([octet]))
            time.sleep(0.01)
        client.reply("250")
        if chance.random() < 0.5:
            client.start_tls()
        client.mail(pause=0.02)


def injection(run, chance):
    """Nothing after STARTTLS in clear is answered, unless there is no TLS: while the process of the keys starts again, STARTTLS gets 454
    and the session continues in clear."""
    with Client(run) as client:
        client.greet()
        client.send(b"STARTTLS\r\nMAIL FROM:<injected@soak.example>\r\n")
        answer = b""
        while more := client.socket.recv(4096):
            answer += more
        # A connection that ends without an answer, as when its server crashes at this moment, has answered nothing.
        if answer and not answer.startswith((b"554 ", b"421 ", b"454 4.7.0 ")):
            run.fault("octets after STARTTLS were answered: %r" % answer)


def reset(run, chance):
    """A reset in any phase."""
    phase = chance.randrange(8)
    with Client(run, implicit=phase == 7) as client:
        if phase > 0:
            client.reply("220")
        if phase > 1:
            client.ask("EHLO reset.example", "250")
        if phase == 3:
            client.send(b"STARTTLS\r\n")
        if phase == 4:
            client.ask("STARTTLS", "220")
            client.send(b"\x16\x03\x01\x02\x00\x01")
        if phase == 5:
            client.start_tls()
        if phase == 6:
            client.ask("MAIL FROM:<sender@soak.example>", "250")
            client.ask("RCPT TO:<recipient@soak.example>", "250")
            client.ask("DATA", "354")
            client.send(b"Subject: half\r\n\r\n")
        client.reset()


def junk(run, chance):
    with Client(run) as client:
        client.reply("220")
        client.send(chance.choice([b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"nonsense\r\n" * 12, b"EHLO x\r\nQUIT\r\n"]))
        while client.socket.recv(4096):
            pass


KINDS = [(clear, 4), (starttls, 6), (implicit, 3), (slow, 1), (injection, 2), (reset, 4), (junk, 1)]
# How a good client's session may end: the run ends backends, and a refusal is an answer.
EXPECTED = (Refused, ConnectionError, ssl.SSLError, socket.timeout)
