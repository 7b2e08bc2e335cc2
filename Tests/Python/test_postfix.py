"""Debian's Postfix as the sending client of starttlsd, and of ucspi-tlsd, starttls-proxy and tlsd-io, all with maildir-smtpd.

Needs Debian's package postfix, configured or not, and root, because Postfix's queue belongs to a separate user. The system's own
Postfix, if there is one, is not used and not changed.
"""
import collections
import os
import re

import pytest

from postfix import LEVELS, POSTFIX, Chain, Postfix, Server, Starttlsd, eventually

MESSAGES = 40
pytestmark = pytest.mark.postfix


@pytest.fixture
def folder(folder):
    assert os.geteuid() == 0, "run this as root: Postfix's queue belongs to a separate user"
    assert (POSTFIX / "master").exists(), "Postfix is not installed: run Scripts/install postfix"
    return folder


def body(number: int) -> bytes:
    """From one line to 360 KB: dots at the start of lines, lines of all lengths up to 990, octets above ASCII."""
    size = 0 if number % 4 else number * 10_000
    lines = [f"Message {number}", "." * (number % 5), ".a dot in front", "ümläute", ""]
    while size > 0:
        lines.append(("." if size % 3 == 0 else "") + chr(33 + size % 90) * (size % 990))
        size -= len(lines[-1]) + 1
    return "\n".join(lines + ["the end", ""]).encode()


@pytest.mark.parametrize("reuse", ["no", "yes"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Starttlsd, Chain])
def test_postfix_delivers_each_message_once(kind, level, reuse, build, certificate, folder):
    """Forty messages: in clear, with TLS 1.2 and 1.3, with and without reuse of connections. At the end no process and no message is
    left."""
    security, trust, version, more = LEVELS[level]
    with kind(build / "release", folder / "server", *certificate) as server:
        postfix = Postfix(folder / "postfix", port=server.port, level=security, reuse=reuse,
                          more=more.format(certificate=certificate.chain))
        for number in range(MESSAGES):
            head = f"Subject: message {number}\nTo: {number}@mx.example\n\n"
            postfix.queue(number, head.encode() + body(number))
        assert len(postfix.unsent()) == MESSAGES, f"{MESSAGES} messages are queued"
        with postfix:
            eventually(lambda: not postfix.unsent() or postfix.unsent("deferred") or postfix.process.poll() is not None)
            assert not postfix.unsent(), \
                f"the queue becomes empty: {len(postfix.unsent())} are left\n{postfix.log()}\n{server.text()}"
            assert postfix.process.poll() is None, f"Postfix runs:\n{postfix.log()}"
            server.wait()

    mails, sessions = server.mails(), server.sessions()
    check_deliveries(mails, isinstance(server, Starttlsd) and version is not None, f"{postfix.log()}\n{server.text()}")
    # Postfix does not wait for the reply to QUIT, so its connection may be closed when that reply is sent.
    decision = "decision=abort " if version is None else f"decision=handoff tls={version} "
    assert all(re.search(decision + '.* end="(relayed|client lost)"', line) for line in sessions), \
        f"every session is {decision}:\n{server.text()}"
    assert (len(sessions) == MESSAGES if reuse == "no" else len(sessions) < MESSAGES), \
        f"reuse is {reuse}: {len(sessions)} sessions"
    check_log(postfix.log(), version and f"{trust} TLS connection established to .*: {version} ", len(sessions))


def check_deliveries(mails: list[bytes], is_tls_known: bool, logs: str) -> None:
    """Checks that each message was delivered once and complete. A server program that was started in clear cannot state TLS."""
    copies = collections.Counter()
    for mail in mails:
        number = int(re.search(rb"\nSubject: message (\d+)\n", mail).group(1))
        copies[number] += 1
        assert mail.split(b"\n\n", 1)[1] == body(number), f"message {number} is complete"
        assert (b" with ESMTPS (TLSv1." in mail) == is_tls_known, f"message {number} states how it was received:\n{mail[:600]}"
    assert copies == {number: 1 for number in range(MESSAGES)}, \
        f"{MESSAGES} messages, each once: {len(mails)} copies of {len(copies)}: {copies}\n{logs}"


def check_log(log: str, established: str | None, sessions: int) -> None:
    """Checks Postfix's log: all messages were sent at the first attempt, and each session was as secure as configured."""
    assert len(re.findall(r"status=sent \(250 ", log)) == MESSAGES, f"Postfix's log reports each message as sent:\n{log}"
    # tlsproxy logs this when it starts: it is used as a client only.
    said = log.replace("warning: TLS server role is disabled", "")
    wrong = "status=(?!sent)|warning:|error:|fatal:|panic:|lost connection"
    trouble = [line for line in said.splitlines() if re.search(wrong, line)]
    assert not trouble, "Postfix's log has no warning and no error:\n" + "\n".join(trouble)
    # With reuse, tlsproxy logs the same again.
    lines = re.findall(r"postfix/smtp\[\d+\]: (.*TLS connection established to .*)", log)
    assert len(lines) == (0 if established is None else sessions), f"{sessions} sessions, all with TLS or none:\n{log}"
    assert all(re.match(established or "", line) for line in lines), f"each is '{established}':\n{log}"
