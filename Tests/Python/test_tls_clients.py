"""A mail through STARTTLS with curl and with swaks, for each TLS profile of starttlsd; and what each client negotiated."""

import pytest
from mail import run

MESSAGE = "From: a@c.example\r\nSubject: {}\r\n\r\ntext of {}\r\n"


def curl(port: int, chain: str, name: str, folder, *options: str) -> None:
    message = folder / "message"
    message.write_text(MESSAGE.format(name, name), newline="")
    run("curl", "-sS", "--max-time", "60", "--ssl-reqd", "--cacert", chain, "--resolve", f"localhost:{port}:127.0.0.1", *options,
        f"smtp://localhost:{port}/c.example", "--mail-from", "a@c.example", "--mail-rcpt", "b@mx.example", "--upload-file", str(message))


def swaks(port: int, chain: str, name: str, folder, *options: str) -> None:
    output = run("swaks", "--server", f"127.0.0.1:{port}", "--tls", "--tls-verify", "--tls-ca-path", chain, *options,
                 "--ehlo", "c.example", "--from", "a@c.example", "--to", "b@mx.example", "--data", MESSAGE.format(name, name))
    assert f"=== TLS started with cipher {name.split(', ')[2]}:" in output and "<~  250 2.0.0" in output, output


@pytest.mark.parametrize("client, options, expected", [
    (curl, [], "TLSv1.3"), (curl, ["--tls-max", "1.2"], "TLSv1.2"), (swaks, [], "TLSv1.3"), (swaks, ["--tls-protocol", "tlsv1_2"], "TLSv1.2"),
])
@pytest.mark.parametrize("profile", ["modern", "compatible"])
def test_delivery(starttlsd, certificate, build, tmp_path, profile, client, options, expected):
    maildir = tmp_path / "Maildir"
    daemon = starttlsd("--trusting-backend", "--tls-profile", profile, "--", f"{build}/release/maildir-smtpd", "--domain", "mx.example", str(maildir))
    client(daemon.port, certificate.chain, f"{client.__name__}, {profile}, {expected}", tmp_path, *options)
    [mail] = [file.read_text() for file in (maildir / "new").iterdir()]
    assert f"text of {client.__name__}, {profile}, {expected}" in mail, mail
    session = daemon.wait_for(r"decision=handoff.*\n")[0]
    assert f"tls={expected}" in session, session
