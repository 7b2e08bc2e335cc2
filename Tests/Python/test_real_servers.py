"""starttlsd in front of the mail servers of Debian and of aiosmtpd, with PROXY headers. Needs root, as the servers do."""
import os
import pathlib
import re
import smtplib
import subprocess
import sys

import pytest

from backends import deliver, eventually
from mail import PATIENCE
from opensmtpd import OpenSMTPD
from ports import listens
from postfix import MASTER, Postfix

pytestmark = pytest.mark.servers


def assert_is_no_relay(daemon) -> None:
    for tls in (False, True):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            deliver(daemon.port, tls=tls, to="x@elsewhere.example")


class PostfixServer(Postfix):
    """Postfix as the server: its smtpd expects a PROXY header, and trusts this machine."""

    def __init__(self, folder: pathlib.Path, port: int):
        super().__init__(folder, port=1, level="none", reuse="no", more=(
            "mynetworks = 127.0.0.1\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
            "local_recipient_maps =\ndefer_transports = local\nsmtpd_peername_lookup = no\n"))
        configuration = folder / "configuration"
        main = (configuration / "main.cf").read_text().replace("mydestination =", "mydestination = mx.example")
        (configuration / "main.cf").write_text(main)
        (configuration / "master.cf").write_text(
            f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n"
            "anvil unix - - n - 1 anvil\nlocal unix - n n - - local\n" + MASTER)


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_postfix(form, starttlsd, folder, free_port):
    port = free_port()
    with PostfixServer(folder / "postfix", port) as postfix:
        assert eventually(lambda: listens(port))
        daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
        for tls in (True, False):
            deliver(daemon.port, tls=tls)
        # Its log is written by another process.
        assert eventually(lambda: len(re.findall(r"client=unknown\[127\.0\.0\.7\]", postfix.log())) == 2), postfix.log()
        assert_is_no_relay(daemon)


def test_postfix_that_trusts_this_machine_is_refused(starttlsd, folder, free_port):
    """Its header is not expected here, so starttlsd is the client that it sees."""
    port = free_port()
    postfix = PostfixServer(folder / "postfix", port)
    master = folder / "postfix/configuration/master.cf"
    master.write_text(master.read_text().replace(" -o smtpd_upstream_proxy_protocol=haproxy", ""))
    with postfix:
        assert eventually(lambda: listens(port))
        daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "none")
        assert daemon.process.wait(timeout=PATIENCE) == 100
        assert "is an open relay" in daemon.log()


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_aiosmtpd(form, starttlsd, folder, process, build, free_port):
    port = free_port()
    script = folder / "server.py"
    script.write_text(f"""
import asyncio, sys
sys.path.insert(0, {str(build / "python")!r})
from aiosmtpd.controller import Controller
class Handler:
    async def handle_PROXY(self, server, session, envelope, proxy_data):
        print("proxy", proxy_data.src_addr, proxy_data.src_port, flush=True)
        return True
    async def handle_RCPT(self, server, session, envelope, address, options):
        if not address.endswith("@mx.example"):
            return "550 5.7.1 Relaying denied"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        print("message", session.proxy_data.src_addr, flush=True)
        return "250 OK"
async def main():
    loop = asyncio.get_running_loop()
    from aiosmtpd.smtp import SMTP
    server = await loop.create_server(lambda: SMTP(Handler(), proxy_protocol_timeout=5), "127.0.0.1", {port})
    await server.serve_forever()
asyncio.run(main())
""")
    output = (folder / "output").open("w")
    process(sys.executable, script, stdout=output, stderr=output)
    assert eventually(lambda: listens(port)), (folder / "output").read_text()
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
    own = deliver(daemon.port)
    text = (folder / "output").read_text()
    assert text.count(f"127.0.0.7 {own}") == 2 and "message 127.0.0.7" in text, text
    assert_is_no_relay(daemon)


class Exim:
    """Debian's Exim with its stock rules, unpacked, which expects a PROXY header."""

    def __init__(self, build: pathlib.Path, folder: pathlib.Path, port: int):
        root = build / "servers"
        spool = folder / "spool"
        spool.mkdir()
        os.chown(spool, 65534, 65534)
        passwd, group = folder / "passwd", folder / "group"
        passwd.write_text(pathlib.Path("/etc/passwd").read_text() + "Debian-exim:x:65534:65534::/:/bin/false\n")
        group.write_text(pathlib.Path("/etc/group").read_text() + "Debian-exim:x:65534:\n")
        configuration = folder / "exim.conf"
        configuration.write_text(f"""\
SPOOLDIR = {spool}
log_file_path = {spool}/%slog
pid_file_path = {spool}/pid
hosts_proxy = 127.0.0.1
MAIN_PRIMARY_HOSTNAME_AS_QUALIFY_DOMAIN = yes
MAIN_HARDCODE_PRIMARY_HOSTNAME = mx.example
MAIN_LOCAL_DOMAINS = mx.example
MAIN_RELAY_TO_DOMAINS =
MAIN_RELAY_NETS = 127.0.0.1
LOCAL_DELIVERY = mail_spool
DCconfig_internet = 1
""" + (root / "etc/exim4/exim4.conf.template").read_text())
        self.environment = {"NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group), "LD_PRELOAD": "libnss_wrapper.so",
                            "LD_LIBRARY_PATH": ":".join(map(str, [root / "usr/lib", *(root / "usr/lib").glob("*-linux-gnu")]))}
        # -odq: a message is queued, nothing is delivered.
        self.command = [root / "usr/sbin/exim4", "-C", configuration, "-bdf", "-odq", "-oX", f"127.0.0.1.{port}"]
        self.log_file = spool / "mainlog"


@pytest.mark.parametrize("form", ["proxy-v1", "proxy-v2"])
def test_exim(form, starttlsd, folder, process, build, free_port):
    port = free_port()
    exim = Exim(build, folder, port)
    process(*exim.command, env=exim.environment)
    assert eventually(lambda: listens(port))
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", form)
    deliver(daemon.port, to="postmaster@mx.example")
    deliver(daemon.port, tls=False, to="postmaster@mx.example")
    assert len(re.findall(r"<= a@client\.example H=.*\[127\.0\.0\.7\]", exim.log_file.read_text())) == 2, exim.log_file.read_text()
    assert_is_no_relay(daemon)


def opensmtpd(process, build, folder, free_port, header: str) -> tuple[OpenSMTPD, int]:
    """It runs, with the rule of its package that clients on this machine may send to other domains."""
    port = free_port()
    server = OpenSMTPD(build / "servers", folder / "opensmtpd", f"listen on 127.0.0.1 port {port} hostname mx.example {header}",
                       'action "relay" relay\nmatch from local for any action "relay"')
    with (folder / "log").open("w") as log:
        running = process(*server.command, env=server.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    assert eventually(lambda: listens(port) or running.poll() is not None) and listens(port), (folder / "log").read_text()
    return server, port


def test_opensmtpd(starttlsd, folder, process, build, free_port):
    """It reads headers of version 2 only."""
    server, port = opensmtpd(process, build, folder, free_port, "proxy-v2")
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "proxy-v2")
    for tls in (True, False):
        deliver(daemon.port, tls=tls)
    stored = lambda: [file.read_text() for file in (server.maildir / "new").glob("*")]
    assert eventually(lambda: len(stored()) == 2), (folder / "log").read_text()
    for message in stored():
        assert re.search(r"^Received: from client\.example \(<unknown> \[127\.0\.0\.7\]\)", message, re.M), message
    assert_is_no_relay(daemon)


def test_opensmtpd_that_trusts_this_machine_is_refused(starttlsd, folder, process, build, free_port):
    _, port = opensmtpd(process, build, folder, free_port, "")
    daemon = starttlsd("--backend", f"127.0.0.1:{port}", "--backend-client", "none")
    assert daemon.process.wait(timeout=PATIENCE) == 100
    assert "is an open relay" in daemon.log()
