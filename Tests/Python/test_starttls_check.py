"""starttls-check: each check finds the weakness that is planted for it, and a server that is right gets no false alarm."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import xml.etree.ElementTree as XML

import pytest

from mail import PATIENCE, run
from planted import CREDENTIALS, PLAIN, PlantedServer
from servers import ROOT, Certificate

# The holes of planted.py, the checks that find them, and the verdict.
PLANTED = [
    (["buffer"], "vulnerable", "injection/same-segment injection/ehlo injection/second-starttls injection/split-crlf "
     "injection/half-line injection/nul injection/blanks injection/noop-before"),
    (["late"], "vulnerable", "injection/next-segment injection/after-220"),
    (["late", "seldom"], "vulnerable", "injection/next-segment"),
    (["answers-in-clear"], "deviates", "injection/next-segment"),
    (["buffer", "bare-lf"], "vulnerable", "injection/bare-lf"),
    (["buffer", "bare-cr"], "vulnerable", "injection/bare-cr"),
    (["boundary"], "vulnerable", "injection/boundary"),
    (["queue"], "vulnerable", "injection/queue"),
    (["queue", "requires-tls"], "vulnerable", "injection/queue"),
    (["hello-line"], "deviates", "injection/client-hello"),
    (["keeps-name"], "deviates", "state/ehlo-name state/resumed"),
    (["keeps-mail"], "vulnerable", "state/transaction state/recipient"),
    (["keeps-login", "auth-clear"], "vulnerable", "state/login"),
    (["lists-inside"], "deviates", "state/starttls-inside"),
    (["parameter"], "deviates", "state/parameter"),
    (["requires-tls", "auth-clear"], "deviates", "state/auth-where-tls-is-required"),
    (["auth-clear"], "deviates", "state/auth-in-clear"),
    (["greets-inside"], "deviates", "state/no-greeting-inside"),
    (["broken-before-ehlo"], "deviates", "state/unknown-before-tls"),
    (["clear-session"], "vulnerable", "failure/plaintext"),
    (["survives-handshake"], "deviates", "failure/garbage"),
    (["talks-when-stalled"], "deviates", "failure/stalled"),
    (["keeps-ended"], "deviates", "failure/half-hello failure/half-close failure/no-close-notify"),
    (["one-segment"], "deviates", "failure/small-segments"),
    (["drops-pipelined"], "deviates", "order/pipelined order/pipelined-inside order/starttls-last"),
    (["starttls-first"], "deviates", "order/domain-first"),
    (["first-inside"], "deviates", "order/domain-first-inside"),
    (["lf-replies"], "deviates", "order/line-ends"),
    (["helo-lists"], "deviates", "order/helo"),
    (["case"], "deviates", "order/case"),
    (["short-lines"], "deviates", "lines/longest"),
    (["divides"], "deviates", "lines/too-long"),
    (["nul-ends"], "deviates", "lines/nul"),
    (["eight-bit"], "deviates", "lines/eight-bit"),
    (["bare-cr"], "deviates", "lines/bare-cr"),
    (["bare-lf"], "deviates", "lines/bare-lf"),
    (["unknown"], "deviates", "lines/unknown"),
    (["long-auth"], "deviates", "lines/auth-too-long"),
    (["bdat"], "vulnerable", "lines/bdat"),
    (["serves-http"], "deviates", "lines/http"),
    (["old-tls"], "deviates", "tls/version-1.0 tls/version-1.1"),
    (["only-1.3"], "deviates", "tls/version-1.2"),
    (["only-1.2"], "deviates", "tls/version-1.3"),
    (["alpn-smtp"], "deviates", "tls/alpn-smtp"),
    (["alpn-other"], "deviates", "tls/alpn-other"),
    (["name-unknown"], "deviates", "tls/name-unknown"),
    (["nameless"], "deviates", "tls/nameless"),
    (["renegotiates"], "deviates", "tls/renegotiation"),
    (["unsafe-renegotiation"], "vulnerable", "tls/renegotiation"),
    (["closes-resumed"], "deviates", "tls/ticket-1.2 tls/ticket-1.3"),
    (["resumes-any-name"], "deviates", "tls/resumed-name"),
    ([("end", b"\n.\n")], "vulnerable", "smuggling/lf-dot-lf"),
    ([("end", b"\n.\r\n"), "bare-lf"], "vulnerable", "smuggling/lf-dot-crlf"),
    ([("end", b"\r\n.\n")], "vulnerable", "smuggling/crlf-dot-lf"),
    ([("end", b"\r.\r")], "vulnerable", "smuggling/cr-dot-cr"),
    ([("end", b"\r\n.\r")], "vulnerable", "smuggling/crlf-dot-cr"),
    ([("end", b"\r\n.\0\r\n")], "vulnerable", "smuggling/nul"),
]
# These need another certificate or record; each has a test of its own.
OF_CERTIFICATES = {"tls/dates", "tls/name", "tls/tlsa"}


@pytest.fixture(scope="module")
def program(build) -> pathlib.Path:
    return pathlib.Path(os.environ.get("SMTPSTATE_BIN", build / "release")) / "starttls-check"


@pytest.fixture(scope="module")
def password(tmp_path_factory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("password") / "password"
    file.write_text(CREDENTIALS[1] + "\n")
    return file


@pytest.fixture
def check(program, password):
    """Runs the program; returns its exit code and its JSON."""
    def check(port: int, *options: str) -> tuple[int, dict]:
        done = subprocess.run(
            [program, "--json", "--quiet", "150", "--stall", "1", "--timeout", "1", "--user", CREDENTIALS[0], "--password-file",
             password, "--i-own-this-server", "--recipient", "me@planted.example", *options, f"localhost:{port}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.stdout, f"{options}: {done.returncode} {done.stderr}"
        return done.returncode, json.loads(done.stdout)
    return check


def verdicts(report: dict) -> dict[str, str]:
    return {one["check"]: one["verdict"] for one in report["checks"]}


def explained(report: dict) -> str:
    return "\n".join(f"{one['check']}: {one['verdict']}: {one['text']} {one['observed']}\n  " + "\n  ".join(one["dialogue"])
                     for one in report["checks"] if one["verdict"] != "conforms")


@pytest.mark.parametrize("holes, verdict, names", PLANTED, ids=[names.split()[0] for _, _, names in PLANTED])
def test_a_planted_weakness_is_found(check, certificate, holes, verdict, names):
    with PlantedServer(certificate, *holes) as server:
        code, report = check(server.port, *(word for name in names.split() for word in ("--only", name)))
    assert verdicts(report) == dict.fromkeys(names.split(), verdict), explained(report)
    assert code == (1 if verdict == "vulnerable" else 0)


def test_a_right_server_gets_no_false_alarm(check, certificate):
    with PlantedServer(certificate) as server:
        code, report = check(server.port, "--tlsa", record(certificate))
    found = {name: verdict for name, verdict in verdicts(report).items() if verdict != "conforms"}
    assert found == {"state/auth-where-tls-is-required": "untested"}, explained(report)
    assert code == 0 and report["stopped"] is None


def test_a_server_that_requires_tls_gets_no_false_alarm(check, certificate):
    """It refuses all but EHLO, NOOP, STARTTLS and QUIT with 530 (RFC 3207, 4)."""
    with PlantedServer(certificate, "requires-tls") as server:
        code, report = check(server.port, "--only", "injection", "--only", "state", "--only", "failure", "--only", "order", "--only", "lines")
    found = verdicts(report)
    assert set(found.values()) == {"conforms", "untested"} and code == 0, explained(report)
    assert {found["injection/queue"], found["order/pipelined"], found["order/starttls-last"]} == {"conforms"}


@pytest.mark.parametrize("holes, name", [
    (["keeps-mail", "unknown-user"], "state/transaction"), (["keeps-name", "requires-login"], "state/ehlo-name"),
    (["requires-tls", "nameless-mail"], "state/ehlo-name"), (["nameless-mail"], "state/ehlo-name"), (["nameless-mail"], "state/resumed"),
    (["keeps-login", "auth-clear", "no-plain"], "state/login"), (["keeps-login", "auth-clear", "no-login-now"], "state/login"),
], ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_a_reply_for_another_reason_shows_nothing(check, certificate, holes, name):
    """A refused recipient does not show that the transaction is forgotten, nor a required login that the name is. A refused mechanism,
    or a temporary failure, is no refusal of a login.
    """
    with PlantedServer(certificate, *holes) as server:
        code, report = check(server.port, "--only", name)
    assert verdicts(report) == {name: "untested"} and code == 2, explained(report)


@pytest.mark.parametrize("holes", [["discards"], ["greets-inside"], ["discards", "greets-inside"]], ids=" ".join)
def test_other_servers_that_execute_nothing_get_no_false_alarm(check, certificate, holes):
    """One discards what follows STARTTLS; one greets again inside TLS, so that its first reply there is to no command."""
    with PlantedServer(certificate, *holes) as server:
        _, report = check(server.port)
    found = {name for name, verdict in verdicts(report).items() if verdict not in ("conforms", "untested")}
    assert found == ({"state/no-greeting-inside"} if "greets-inside" in holes else set()), explained(report)


def test_a_server_that_asks_to_renegotiate_has_not_closed_the_connection(check, certificate):
    """A client may ignore the request (RFC 5246, 7.4.1.1)."""
    with PlantedServer(certificate, "asks-to-renegotiate") as server:
        _, report = check(server.port, "--only", "state/no-greeting-inside")
    assert verdicts(report) == {"state/no-greeting-inside": "conforms"}, explained(report)


def test_a_handshake_that_fails_on_the_clients_side_is_no_refusal(check, certificate):
    """The server accepts TLS 1.0, with a key that the program does not accept."""
    with PlantedServer(certificate, "huge-key-1.0") as server:
        _, report = check(server.port, "--only", "tls/version-1.0", "--only", "tls/version-1.1")
    assert verdicts(report) == {"tls/version-1.0": "untested", "tls/version-1.1": "conforms"}, explained(report)


def test_an_alert_in_a_record_of_another_version_is_a_refusal(check, certificate):
    """So does BearSSL answer a client that has TLS 1.0 only. The library does not read the alert."""
    with PlantedServer(certificate, "newer-alert") as server:
        _, report = check(server.port, "--only", "tls/version-1.0", "--only", "tls/version-1.1", "--only", "tls/version-1.2")
    assert set(verdicts(report).values()) == {"conforms"}, explained(report)


def test_a_version_that_this_machine_forbids_is_not_tested(check, certificate, tmp_path, monkeypatch):
    """Some distributions switch TLS 1.0 off for all programs."""
    (tmp_path / "priorities").write_text("[overrides]\ndisabled-version = tls1.0\n")
    monkeypatch.setenv("GNUTLS_SYSTEM_PRIORITY_FILE", str(tmp_path / "priorities"))
    with PlantedServer(certificate, "old-tls") as server:
        _, report = check(server.port, "--only", "tls/version-1.0", "--only", "tls/version-1.2")
    assert verdicts(report) == {"tls/version-1.0": "untested", "tls/version-1.2": "conforms"}, explained(report)


def test_a_server_that_divides_its_handshake_into_small_records(check, certificate):
    """RFC 8446, 5.1: a message may be divided."""
    with PlantedServer(certificate, "small-records") as server:
        code, report = check(server.port, "--only", "tls/version-1.2", "--only", "tls/version-1.3", "--only", "tls/ticket-1.2")
    assert set(verdicts(report).values()) == {"conforms"} and code == 0, explained(report)


@contextlib.contextmanager
def running_starttlsd(program, certificate, folder: pathlib.Path, *options: str):
    """starttlsd with maildir-smtpd; its port."""
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [program.parent / "starttlsd", *(["--allow-root"] if os.getuid() == 0 else []), "--workers", "1", "--listen",
             "127.0.0.1:0", "--exempt", "127.0.0.0/8", "--certificate", certificate.chain, "--key", certificate.key, *options, "--",
             program.parent / "maildir-smtpd", "--hostname", "mx.example", "--domain", "planted.example", folder / "Maildir"],
            stderr=errors)
        try:
            yield listening_port(process, log)
        finally:
            process.terminate()
            process.wait(60)


def test_starttlsd_gets_no_false_alarm(check, program, certificate, tmp_path):
    """starttlsd with maildir-smtpd: every check that applies conforms."""
    with running_starttlsd(program, certificate, tmp_path) as port:
        code, report = check(port, "--tlsa", record(certificate))
    found = {name for name, verdict in verdicts(report).items() if verdict != "conforms"}
    # No extension of the server program, no requirement of TLS, and no tickets.
    assert found == {"state/auth-where-tls-is-required", "state/resumed", "tls/ticket-1.3", "lines/auth-too-long", "lines/bdat"}, \
        explained(report)
    assert set(verdicts(report).values()) == {"conforms", "untested"} and code == 0, explained(report)


def test_starttlsd_with_tickets_gets_no_false_alarm(check, program, certificate, tmp_path):
    names = ["state/resumed", "tls/resumed-name", "tls/ticket-1.2", "tls/ticket-1.3"]
    with running_starttlsd(program, certificate, tmp_path, "--session-tickets") as port:
        code, report = check(port, *(word for name in names for word in ("--only", name)))
    assert verdicts(report) == dict.fromkeys(names, "conforms") and code == 0, explained(report)


def listening_port(process, log: pathlib.Path) -> int:
    end = time.monotonic() + 30
    while not (found := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.01)
    return int(found.group(1))


def record(certificate) -> str:
    """The record 3 1 1 of a certificate, made by openssl."""
    key = subprocess.run(["openssl", "x509", "-in", certificate.chain, "-noout", "-pubkey"], check=True, stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, stdout=subprocess.PIPE).stdout
    return f"3 1 1 {hashlib.sha256(der).hexdigest()}"


def test_a_certificate_that_has_expired(check, tmp_path):
    (tmp_path / "template").write_text(
        'cn = localhost\ndns_name = localhost\nactivation_date = "2020-01-01 00:00:00"\nexpiration_date = "2021-01-01 00:00:00"\n')
    key, chain = str(tmp_path / "key"), str(tmp_path / "chain")
    run("certtool", "--generate-privkey", "--key-type", "ecdsa", "--outfile", key, stderr=subprocess.DEVNULL)
    run("certtool", "--generate-self-signed", "--load-privkey", key, "--template", str(tmp_path / "template"), "--outfile", chain,
        stderr=subprocess.DEVNULL)
    with PlantedServer(Certificate(chain, key)) as server:
        code, report = check(server.port, "--only", "tls/dates", "--strict")
    assert verdicts(report) == {"tls/dates": "deviates"} and code == 1, explained(report)


def test_a_certificate_for_another_name(check, certificate):
    with PlantedServer(certificate) as server:
        _, report = check(server.port, "--only", "tls/name", "--name", "mx.example")
    assert verdicts(report) == {"tls/name": "deviates"}, explained(report)


def test_a_certificate_whose_only_name_is_its_common_name(check, tmp_path):
    """RFC 9525, 2, and RFC 8461, 4.1: the common name is no host name."""
    made = Certificate(str(tmp_path / "chain"), str(tmp_path / "key"))
    (tmp_path / "configuration").write_text("[req]\ndistinguished_name = name\n[name]\n")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-config", str(tmp_path / "configuration"), "-keyout", made.key, "-out", made.chain, stderr=subprocess.DEVNULL)
    with PlantedServer(made) as server:
        _, report = check(server.port, "--only", "tls/name")
    assert verdicts(report) == {"tls/name": "deviates"} and "common name" in report["checks"][0]["observed"], explained(report)


def test_a_name_may_end_with_the_dot_of_the_root(check, certificate):
    with PlantedServer(certificate) as server:
        _, report = check(server.port, "--only", "tls/name", "--name", "localhost.")
    assert verdicts(report) == {"tls/name": "conforms"}, explained(report)


def test_a_record_of_another_key(check, certificate):
    with PlantedServer(certificate) as server:
        _, report = check(server.port, "--only", "tls/tlsa", "--tlsa", "3 1 1 " + "ab" * 32)
    assert verdicts(report) == {"tls/tlsa": "deviates"}, explained(report)
    assert record(certificate) in report["checks"][0]["observed"]


def test_every_check_can_fail(program):
    """Each check has a planted weakness, or a certificate, that it finds."""
    listed = {line.split(" (")[0] for line in run(str(program), "--list").splitlines() if not line.startswith(" ")}
    assert listed == {name for _, _, names in PLANTED for name in names.split()} | OF_CERTIFICATES


def test_the_program_contains_the_checks():
    """EmbeddedChecks.swift is what Scripts/embed-checks makes of Fixtures/checks."""
    assert run(str(ROOT / "Scripts/embed-checks"), "-") == (ROOT / "Sources/Daemon/starttls-check/EmbeddedChecks.swift").read_text()


def test_a_server_whose_tls_never_works_keeps_no_rule(check, certificate):
    """A handshake that always fails is no proof that nothing is executed inside TLS."""
    with PlantedServer(certificate, "buffer", "no-tls") as server:
        code, report = check(server.port, "--only", "injection", "--only", "tls/version-1.0", "--only", "order/case")
    assert set(verdicts(report).values()) == {"untested"} and code == 2, explained(report)


def test_a_server_without_tls_is_not_checked_to_the_end(check, certificate):
    """Checks that need no handshake conform. A job of a CI system must fail all the same."""
    with PlantedServer(certificate, "no-tls") as server:
        code, report = check(server.port, "--only", "order")
        assert code == 2 and "TLS cannot be established." in report["stopped"], explained(report)
        assert verdicts(report)["order/domain-first"] == "conforms" and verdicts(report)["order/case"] == "untested"
        # Nothing is left out.
        assert check(server.port, "--only", "order/domain-first")[0] == 0


def test_a_server_that_limits_handshakes_keeps_no_rule(check, certificate):
    """454 to everybody is no refusal of the octets that a check sends."""
    with PlantedServer(certificate, "limited", "discards") as server:
        code, report = check(server.port, "--only", "injection", "--only", "state", "--only", "order/starttls-last")
    tried = [name for name, verdict in verdicts(report).items() if verdict == "conforms"]
    # STARTTLS is accepted four times: from the first check, and before and after it and after the second one from no check.
    assert tried == ["injection/after-220", "injection/bare-cr", "state/auth-in-clear", "state/parameter"], explained(report)
    assert set(verdicts(report).values()) == {"conforms", "untested"} and code == 2 and "454" in report["stopped"], explained(report)


def test_octets_without_end_do_not_extend_a_wait(check, certificate):
    """The program does not wait until the limit of its input, 4 MiB: a record of one octet has 23."""
    with PlantedServer(certificate, "floods-inside") as server:
        _, report = check(server.port, "--only", "state/no-greeting-inside")
    assert verdicts(report) == {"state/no-greeting-inside": "deviates"}, explained(report)
    assert server.flooded < (4 << 20) / 23


def test_the_run_has_a_limit(check, certificate):
    with PlantedServer(certificate, "slow") as server:
        code, report = check(server.port, "--limit", "2")
    assert code == 2 and report["stopped"] == "the run has reached its limit, 2 s (--limit)"


def test_a_wait_ends_with_the_run(program):
    """Nothing is accepted, so that nothing is answered, for as long as the program waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run([program, "--limit", "1", "--timeout", "600", f"127.0.0.1:{listener.getsockname()[1]}"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and "the run has reached its limit, 1 s (--limit)" in done.stderr


@pytest.mark.skipif(subprocess.run(["unshare", "--map-root-user", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0,
                    reason="no namespaces")
def test_the_first_address_that_answers_serves_the_run(program, certificate, tmp_path):
    """One that does not answer costs its time-out once, not at each connection."""
    (tmp_path / "hosts").write_text("127.0.0.1 two.example\n127.0.0.2 two.example\n")
    with PlantedServer(certificate, address="127.0.0.2") as server, socket.socket() as silent, contextlib.ExitStack() as clients:
        silent.bind(("127.0.0.1", server.port))
        silent.listen(0)
        # The kernel answers no further client.
        for _ in range(3):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        done = run("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(tmp_path / "hosts"),
                   str(program), "--json", "--timeout", "3", "--only", "order/helo", f"two.example:{server.port}")
    report = json.loads(done)
    assert report["address"] == f"127.0.0.2:{server.port}" and verdicts(report) == {"order/helo": "conforms"}, explained(report)
    assert report["checks"][0]["milliseconds"] < 3000


def test_a_smuggled_message_has_the_marker(check, certificate):
    with PlantedServer(certificate, ("end", b"\n.\n")) as server:
        check(server.port, "--only", "smuggling/lf-dot-lf")

        def marked() -> bool:
            return any(b"Subject: smuggled starttls-check-" in message.split(b"\r\n\r\n")[0] for message in server.messages[1:])

        # The server may receive the last octets after the end of the check.
        end = time.monotonic() + PATIENCE
        while not marked() and time.monotonic() < end:
            time.sleep(0.01)
    assert marked(), server.messages


def test_no_password_reaches_a_server_that_does_not_offer_auth(check, certificate):
    """Its EHLO reply in clear lists STARTTLS and no AUTH: not even the AUTH command is sent."""
    with PlantedServer(certificate) as server:
        _, report = check(server.port, "--only", "state/login")
    assert verdicts(report) == {"state/login": "conforms"} and "does not offer AUTH" in report["checks"][0]["text"], explained(report)
    assert b"EHLO " in server.received and not re.search(b"AUTH|secret|" + PLAIN.encode(), server.received), server.received


def test_no_password_reaches_a_server_that_refuses_auth(check, certificate):
    """It lists AUTH in clear and refuses the command: the password does not come with it."""
    with PlantedServer(certificate, "lists-auth") as server:
        _, report = check(server.port, "--only", "state/login")
    assert verdicts(report) == {"state/login": "conforms"}, explained(report)
    assert b"AUTH PLAIN\r\n" in server.received and not re.search(b"secret|" + PLAIN.encode(), server.received), server.received


def test_a_server_that_forgets_the_login_conforms(check, certificate):
    with PlantedServer(certificate, "auth-clear") as server:
        _, report = check(server.port, "--only", "state/login")
    assert verdicts(report) == {"state/login": "conforms"} and "forgotten" in report["checks"][0]["text"], explained(report)
    assert server.received.count(PLAIN.encode()) == 2


def test_no_report_shows_a_password_that_the_server_repeats(program, password, certificate, tmp_path):
    """The server repeats the login, as it came and decoded. The verdict is changed to one with which the dialogue is shown."""
    file = tmp_path / "state" / "mine.check"
    file.parent.mkdir()
    file.write_text((ROOT / "Fixtures/checks/state/login.check").read_text().replace(
        "or reply: untested The server refuses the login in clear for another", "or reply: vulnerable The server refuses the login for another"))
    with PlantedServer(certificate, "auth-clear", "repeats") as server:
        for option in ("--json", "--junit", "--tap", "-v"):
            done = subprocess.run([program, option, "--checks", tmp_path, "--user", CREDENTIALS[0], "--password-file", password,
                                   f"localhost:{server.port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            assert done.returncode == 1 and "Not understood: AUTH PLAIN ***, decoded " in done.stdout, done.stdout
            assert not re.search(f"secret|{PLAIN}", done.stdout, re.IGNORECASE), done.stdout
    assert server.received.count(PLAIN.encode()) == 4


def test_nothing_is_sent_to_a_server_of_somebody_else(program, certificate):
    with PlantedServer(certificate, ("end", b"\n.\n")) as server:
        done = subprocess.run([program, "--only", "smuggling", f"127.0.0.1:{server.port}"], stdout=subprocess.PIPE, text=True, timeout=60)
        assert server.messages == [] and server.threads == []
    assert done.returncode == 2 and "--i-own-this-server" in done.stdout


def test_formats(program, certificate):
    with PlantedServer(certificate, "buffer", "bare-lf") as server:
        command = [program, "--quiet", "150", "--only", "injection/same-segment", "--only", "lines/bare-lf", "--only", "tls/tlsa",
                   "--only", "lines/unknown", f"localhost:{server.port}"]
        output = {option: subprocess.run([*command, option], stdout=subprocess.PIPE, text=True, timeout=60)
                  for option in ("--junit", "--tap", "--json", "-v")}
    assert {done.returncode for done in output.values()} == {1}
    suite = XML.fromstring(output["--junit"].stdout)
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")
    [failure] = suite.iter("failure")
    assert "CVE-2011-0411" in failure.text and failure.get("type") == "vulnerable"
    tap = output["--tap"].stdout.splitlines()
    assert tap[:3] == ["TAP version 13", "1..4", "not ok 1 - injection/same-segment"]
    assert any(line.startswith("ok 4 - tls/tlsa # SKIP") for line in tap)
    assert json.loads(output["--json"].stdout)["summary"] == {"untested": 1, "conforms": 1, "deviates": 1, "vulnerable": 1}
    text = output["-v"].stdout
    assert "VULNERABLE injection/same-segment" in text and "class of: CVE-2011-0411" in text and "\x1b" not in text


@pytest.mark.parametrize("option", ["--json", "--junit", "--tap", "-v", "--list"])
def test_a_report_that_cannot_be_written_is_a_failure(program, certificate, option):
    with PlantedServer(certificate) as server, open("/dev/full", "w") as full:
        done = subprocess.run([program, "--only", "order/case", option, f"localhost:{server.port}"],
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 111 and "the report cannot be written to standard output" in done.stderr


def test_a_server_that_refuses_the_client_ends_the_run(program):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def refuse():
            connection, _ = listener.accept()
            accepted.append(connection)
            connection.sendall(b"421 4.7.0 Too many connections\r\n")
            connection.recv(100)
            connection.close()
        thread = threading.Thread(target=refuse)
        thread.start()
        done = subprocess.run([program, f"127.0.0.1:{listener.getsockname()[1]}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60)
        thread.join()
    assert done.returncode == 2 and len(accepted) == 1
    assert done.stderr == "starttls-check: stopped: The server does not serve this client. 421 4.7.0 Too many connections\n"


def test_a_server_whose_key_takes_minutes_is_refused(check, certificate):
    with PlantedServer(certificate, "huge-key") as server:
        _, report = check(server.port, "--only", "tls/version-1.2")
    assert "the server's certificate is not accepted: its RSA key has 16384 bits, more than 8192" in explained(report)


def test_nobody_listens(program, free_port):
    done = subprocess.run([program, f"127.0.0.1:{free_port()}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and "Connection refused" in done.stderr


@pytest.mark.parametrize("command, message", [
    ([], "no server"), (["localhost"], "expected host:port"), (["--only", "nothing", "localhost:25"], "no check has this name"),
    (["--i-own-this-server", "localhost:25"], "belong together"), (["--tlsa", "1 1 1 ab", "localhost:25"], "--tlsa"),
    (["--quiet", "0", "localhost:25"], "--quiet"), (["--bogus"], "--bogus")])
def test_mistakes_on_the_command_line(program, command, message):
    done = subprocess.run([program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 100 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_of_checks(program, certificate, tmp_path):
    file = tmp_path / "order" / "mine.check"
    file.parent.mkdir()
    file.write_text("rule Mine.\nsource me\nseverity low\n\nexpect 220\nconforms It greets.\n")
    with PlantedServer(certificate) as server:
        command = [program, "--json", "--checks", tmp_path, f"localhost:{server.port}"]
        report = json.loads(run(*map(str, command)))
    assert verdicts(report) == {"order/mine": "conforms"}
    file.write_text("rule Mine.\nsource me\nseverity low\n\nexpect 2x0\n")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 100 and done.stderr == "starttls-check: order/mine.check:5: 2x0: no pattern has this name\n"


def test_every_vulnerability_is_found_or_explained(program):
    """Each vulnerability that Docs/Vulnerabilities.md names is found by a check, or Docs/Checking.md says why not."""
    text = (ROOT / "Docs/Vulnerabilities.md").read_text()
    named, year = set(), ""
    # Abbreviations repeat the year, or leave it out: `CVE-2023-51764, -51765`, `CVE-2011-1432, 2011-1506`.
    for match in re.finditer(r"(?:CVE-)?\b((?:19|20)\d\d)-(\d{4,5})\b(?! and \d)|(?<=, )-(\d{5})\b", text):
        year = match.group(1) or year
        named.add(f"CVE-{year}-{match.group(2) or match.group(3)}")
    found = set(re.findall(r"CVE-\d+-\d+", run(str(program), "--list")))
    page = (ROOT / "Docs/Checking.md").read_text().split("## Which vulnerabilities it finds")[1].split("\n## ")[0]
    explained = set(re.findall(r"CVE-\d+-\d+", page))
    assert len(named) > 35 and named - found - explained == set()
    assert found & explained == set()
