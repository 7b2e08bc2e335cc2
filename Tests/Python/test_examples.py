"""Real clients and attacks against the examples: c-smtpd, c-smtpd with the sanitizers, nio-smtpd."""
import concurrent.futures
import smtplib
import socket
import subprocess
import time

import pytest

from mail import MAIL, EagerClient, codes, connect, context, read_to_end, read_until, run, smtp, talk

EXAMPLES = ["c-smtpd", "c-smtpd, sanitized", pytest.param("nio-smtpd", marks=pytest.mark.nio)]
pytestmark = pytest.mark.parametrize("example", EXAMPLES, indirect=True)


def test_smtplib(server, certificate):
    body = "Subject: over TLS\r\n\r\n.a dot\r\n" + "x" * 900 + "\r\n"
    with smtp(server.port) as client:
        client.ehlo()
        assert client.has_extn("starttls"), "STARTTLS is listed in clear"
        client.starttls(context=context(certificate.chain))
        client.ehlo()
        assert not client.has_extn("starttls"), "STARTTLS is not listed inside TLS"
        assert client.docmd("STARTTLS")[0] == 503
        client.sendmail("me@c.example", ["you@mx.example", "they@mx.example"], body.encode())
        client.sendmail("me@c.example", ["you@mx.example"], b"Subject: second\r\n\r\n" + b"again\r\n" * 100_000)
    first, second = server.mails()
    assert "with ESMTPS;" in first and first.endswith(body)
    assert "Delivered-To: they@mx.example\r\n" in first
    assert second.count("again\r\n") == 100_000


def test_the_greeting_in_clear_does_not_count_inside_tls(server, certificate):
    with smtp(server.port) as client:
        client.starttls(context=context(certificate.chain))
        assert client.docmd("MAIL FROM:<>")[0] == 503


def test_mail_in_clear(server):
    with smtp(server.port) as client:
        client.sendmail("me@c.example", ["you@mx.example"], b"Subject: clear\r\n\r\nclear\r\n")
        assert client.docmd("STARTTLS")[0] in (502, 503), "STARTTLS after MAIL is refused"
    assert "with ESMTP;" in server.mails()[-1]


FSYNC_OF_FOLDERS_FAILS = """
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
int fsync(int number) {
  struct stat facts;
  if (fstat(number, &facts) != 0 || !S_ISDIR(facts.st_mode)) return fdatasync(number);
  errno = EIO;
  return -1;
}
"""


def test_a_message_that_is_refused_is_not_stored(start, tmp_path, monkeypatch):
    """The disk fails after the message has its name: the client will send it again."""
    library = tmp_path / "fsync.so"
    run("cc", "-shared", "-fPIC", "-xc", "-", "-o", str(library), input=FSYNC_OF_FOLDERS_FAILS)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("ASAN_OPTIONS", "verify_asan_link_order=0")
    server = start()
    monkeypatch.delenv("LD_PRELOAD")
    with smtp(server.port) as client:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("me@c.example", ["you@mx.example"], b"Subject: clear\r\n\r\nclear\r\n")
    assert refused.value.smtp_code == 451
    assert server.mails() == []


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(server, certificate, version):
    answer = run("openssl", "s_client", "-starttls", "smtp", "-quiet", "-connect", f"127.0.0.1:{server.port}", "-CAfile",
                 certificate.chain, "-verify_return_error", version, stderr=subprocess.DEVNULL,
                 input="EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<o@mx.example>\r\nQUIT\r\n")
    assert codes(answer)[-4:] == ["250", "250", "250", "221"]


def test_curl(server, certificate, tmp_path):
    message = tmp_path / "message"
    message.write_text("Subject: curl\r\n\r\nfrom curl\r\n")
    run("curl", "-sS", "--max-time", "60", "--ssl-reqd", "--cacert", certificate.chain, "--resolve",
        f"localhost:{server.port}:127.0.0.1", f"smtp://localhost:{server.port}/c.example", "--mail-from", "me@c.example",
        "--mail-rcpt", "you@mx.example", "-T", str(message))
    mail = server.mails()[-1]
    assert "from curl" in mail and "with ESMTPS;" in mail


def test_all_commands_at_once_and_in_two_pieces(server):
    text = b"EHLO c\r\nNOOP\r\nRSET\r\n" + MAIL + b"Subject: all\r\n\r\n..\r\n.\r\nNOOP\r\nQUIT\r\n"
    expected = ["220", "250", "250", "250", "250", "250", "354", "250", "250", "221"]
    assert codes(talk(server.port, text)) == expected
    assert server.mails()[-1].endswith("Subject: all\r\n\r\n.\r\n"), "dot-stuffing is removed"
    cuts = range(1, len(text), 9)
    for cut in cuts:
        assert codes(talk(server.port, text[:cut], text[cut:])) == expected, f"cut at {cut}"
    assert len(server.mails()) == 1 + len(cuts), "each mail is stored once"


@pytest.mark.parametrize("commands, expected", [
    (b"EHLO c\r\n" + MAIL + b"x\r\n.\r\nNOOP\r\nNO", ["220", "250", "250", "250", "354", "250", "250"]),
    (b"EHLO c\r\nNOOP\r\nNO", ["220", "250", "250"]),
    (b"EHLO c\r\n" + MAIL + b"half a mess", ["220", "250", "250", "250", "354"]),
])
def test_the_end_of_the_client_without_quit(server, commands, expected):
    """Each complete command is answered, then the server closes. An incomplete message is not stored."""
    assert codes(talk(server.port, commands)) == expected
    assert len(server.mails()) == expected[5:].count("250") - expected[6:].count("250")


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r"])
def test_smuggling(server, end):
    """Neither a bare LF nor a bare CR ends a message."""
    answer = talk(server.port, b"EHLO c\r\n" + MAIL + b"x" + end + b"y\r\n.\r\nQUIT\r\n")
    assert codes(answer)[-2:] == ["554", "221"]
    assert server.mails() == []


def test_a_message_that_is_too_large(server):
    answer = talk(server.port, b"EHLO c\r\n" + MAIL + (b"x" * 900 + b"\r\n") * 12_000 + b".\r\nQUIT\r\n")
    assert codes(answer)[-2:] == ["552", "221"]
    assert server.mails() == []


def test_a_line_that_is_too_long(server):
    answer = talk(server.port, b"EHLO c\r\nMAIL FROM:<>\r\n" + b"x" * 5000, end=False)
    assert codes(answer)[-1] == "500"


def test_plain_text_after_starttls(server):
    for injected in (b"RSET\r\n", b"RSET\r\nMAIL FROM:<evil@c.example>\r\n"):
        answer = talk(server.port, b"EHLO c\r\nSTARTTLS\r\n" + injected, end=False)
        assert codes(answer) == ["220", "250", "554"]


def test_plain_text_after_the_220(server):
    """No reply in clear, and no server receives it."""
    with connect(server.port) as client:
        client.sendall(b"EHLO c\r\nSTARTTLS\r\n")
        read_until(client, b"220 2.0.0")
        client.sendall(b"RSET\r\nMAIL FROM:<evil@c.example>\r\n" * 2)
        rest = read_to_end(client)
        assert rest == b"" or rest[0] == 0x15, "nothing, or a TLS alert"


def test_http(server):
    assert codes(talk(server.port, b"GET / HTTP/1.1\r\nHost: mx.example\r\n\r\n", end=False)) == ["220", "554"]


@pytest.mark.parametrize("cut", [0, 1, 8, 12, 18, 19, 23, 100])
def test_a_client_hello_that_comes_with_starttls(server, certificate, cut):
    """A client that sends its ClientHello with STARTTLS, complete or cut: the octets reach the TLS layer."""
    eager = EagerClient(certificate.chain)
    with connect(server.port) as client:
        octets = b"EHLO c\r\nSTARTTLS\r\n" + eager.hello
        client.sendall(octets[:cut])
        time.sleep(0.02)
        client.sendall(octets[cut:])
        clear = b""
        while not clear.endswith(b"start TLS\r\n"):
            clear += client.recv(1)
        assert codes(clear.decode()) == ["220", "250", "220"]
        eager.finish(client)
        assert codes(eager.talk(client, b"EHLO c\r\nQUIT\r\n", until=b"221 ")) == ["250", "221"]


def test_many_connections(server, certificate):
    """Concurrent connections, inside TLS and in clear, while some send nothing."""
    silent = [connect(server.port) for _ in range(20)]

    def one(number: int) -> None:
        with smtp(server.port) as client:
            if number % 2:
                client.starttls(context=context(certificate.chain))
            client.sendmail("me@c.example", ["you@mx.example"], b"Subject: many\r\n\r\n" + b"x" * 70 * number + b"\r\n")

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(60)))
    assert len(server.mails()) == 60
    for connection in silent:
        connection.close()


def test_tls_is_required(start, certificate, example):
    server = start(example.requires_tls, with_certificate=certificate)
    answer = talk(server.port, b"EHLO c\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n")
    assert codes(answer) == ["220", "250", "530", "530", "221"]


def test_without_a_certificate(start):
    server = start()
    answer = talk(server.port, b"EHLO c\r\nSTARTTLS\r\nQUIT\r\n")
    assert codes(answer) == ["220", "250", "454", "221"] and "STARTTLS" not in answer


def test_the_log(server, certificate):
    """One line says how STARTTLS was decided, one why the session closed."""
    talk(server.port, b"EHLO c\r\nQUIT\r\n")
    talk(server.port, b"EHLO c\r\n" + MAIL + b"x\r\n.\r\nQUIT\r\n")
    talk(server.port, b"EHLO c\r\nSTARTTLS\r\nRSET\r\n", end=False)
    talk(server.port, b"GET / HTTP/1.1\r\n\r\n", end=False)
    with connect(server.port) as client:
        client.sendall(b"EHLO c\r\nSTARTTLS\r\n")
        read_until(client, b"220 2.0.0")
        client.sendall(b"RSET\r\n")
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    with smtp(server.port) as client:
        client.starttls(context=context(certificate.chain))
    server.finish()
    for text in ("no STARTTLS: mail", "closed: quit", "no STARTTLS: injected plaintext", "closed: wrong protocol", "closed: tls failed"):
        assert text in server.log, server.log
    assert "evil" not in "".join(server.mails())
