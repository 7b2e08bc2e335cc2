"""Two listeners of one configuration file differ in policy, TLS mode, certificate, server and limits, and each has its own."""
import contextlib
import re
import smtplib
import socket
import ssl
import subprocess

import pytest

from backends import Daemon, client
from mail import PATIENCE
from servers import Certificate, run

CONFIGURATION = """allow-root = true
max-penalty = 0

[listener.mx]
listen = ["127.0.0.1:{ports[0]}"]
workers = 1
certificate = ["{mx.chain}"]
key = ["{mx.key}"]
backend = ["{mx_server}"]
backend-client = "none"
max-connections-per-address = 1

[listener.submission]
listen = ["127.0.0.1:{ports[1]}"]
listen-tls = ["127.0.0.1:{ports[2]}"]
workers = 1
policy = "required"
certificate = ["{submission.chain}"]
key = ["{submission.key}"]
backend = ["{submission_server}"]
backend-client = "proxy-v2"
max-connections-per-address = 2
"""


@pytest.fixture
def other_certificate(tmp_path) -> Certificate:
    made = Certificate(str(tmp_path / "other.pem"), str(tmp_path / "other.key"))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=other.example",
        "-keyout", made.key, "-out", made.chain, stderr=subprocess.DEVNULL)
    return made


def certificate_of(connection: ssl.SSLSocket) -> str:
    return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def leaf(certificate: Certificate) -> str:
    with open(certificate.chain) as file:
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(file.read()))


def greeting(port: int) -> bytes:
    """Of one more client, which stays until the greeting."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=("127.0.0.7", 0)) as connection:
        return connection.recv(100)


def test_each_listener_has_its_own(build, certificate, other_certificate, backend_server, free_port, tmp_path):
    servers = backend_server(trusts="nobody"), backend_server(header="proxy-v2", trusts="nobody")
    mx, submission, secured = ports = [free_port() for _ in range(3)]
    file = tmp_path / "starttlsd.toml"
    file.write_text(CONFIGURATION.format(
        ports=ports, mx=certificate, submission=other_certificate, mx_server=servers[0].address, submission_server=servers[1].address))
    log = tmp_path / "log"
    with log.open("w") as output:
        daemon = subprocess.Popen([build / "release/starttlsd", "--config", file], stderr=output)
    try:
        assert Daemon.eventually(lambda: log.read_text().count("listening on") == 3 or daemon.poll() is not None), log.read_text()
        # Policy: mail in clear, or not.
        with client(mx, tls=False) as made:
            made.sendmail("a@client.example", ["b@mx.example"], "Subject: x\r\n\r\ntext\r\n")
        with client(submission, tls=False) as made, pytest.raises(smtplib.SMTPSenderRefused) as refused:
            made.sendmail("a@client.example", ["b@mx.example"], "Subject: x\r\n\r\ntext\r\n")
        assert refused.value.smtp_code == 530
        # Certificates and TLS modes.
        with client(mx) as made:
            assert certificate_of(made.sock) == leaf(certificate)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with client(submission) as in_turn, smtplib.SMTP_SSL("127.0.0.1", secured, timeout=PATIENCE, context=context) as from_the_start:
            for made in (in_turn, from_the_start):
                assert certificate_of(made.sock) == leaf(other_certificate)
                made.sendmail("a@client.example", ["b@mx.example"], "Subject: x\r\n\r\ntext\r\n")
        # Servers: only that of the second one is sent a header.
        assert not any(session.header for session in servers[0].sessions) and all(session.header for session in servers[1].sessions)
        # Limits: one client and two, of one address.
        assert Daemon.eventually(lambda: len(re.findall(r" session .*peer=", log.read_text())) == 5), log.read_text()
        for port, allowed in ((mx, 1), (submission, 2)):
            with contextlib.ExitStack() as stack:
                for _ in range(allowed):
                    stack.enter_context(client(port, tls=False))
                assert greeting(port).startswith(b"421 4.7.0"), log.read_text()
    finally:
        daemon.terminate()
        assert daemon.wait(timeout=PATIENCE) == 0, log.read_text()
