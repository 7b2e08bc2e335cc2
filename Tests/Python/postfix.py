"""A separate Postfix that sends, and the servers that it sends to, for test_postfix.py."""
import collections
import grp
import os
import pathlib
import pwd
import re
import socket
import subprocess
import threading
import time

from mail import run

PATIENCE = 90
POSTFIX = pathlib.Path("/usr/lib/postfix/sbin")

# Postfix's security level, its word for the certificate in the log, the protocol, and further configuration.
LEVELS = {
    "none": ("none", None, None, ""),
    "may": ("may", "Untrusted", "TLSv1.3", ""),
    "encrypt, TLS 1.2": ("encrypt", "Untrusted", "TLSv1.2", "smtp_tls_mandatory_protocols = TLSv1.2"),
    "verify": ("verify", "Verified", "TLSv1.3", "smtp_tls_CAfile = {certificate}"),
}

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = client.example
mydestination =
alias_maps =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_host_lookup = native
relayhost = [localhost]:{port}
notify_classes =
smtp_tls_loglevel = 1
smtp_tls_security_level = {level}
smtp_tls_verify_cert_match = nexthop
smtp_connection_cache_on_demand = {reuse}
smtp_tls_connection_reuse = {reuse}
{more}
"""

# No service listens on a port or runs in a chroot.
MASTER = """\
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
smtp     unix - - n - - smtp
scache   unix - - n - 1 scache
error    unix - - n - - error
retry    unix - - n - - error
postlog  unix-dgram n - n - 1 postlogd
"""

# As in Postfix's own postfix-files: the folders of a queue, their owners, and their modes.
QUEUE = {
    "postfix": "active bounce corrupt defer deferred flush hold incoming private saved trace",
    "postdrop": "maildrop public",
    "root": "pid",
}
MODES = {"maildrop": 0o730, "public": 0o710, "pid": 0o755}
UNSENT = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")


def eventually(holds) -> bool:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def processes(entry: str) -> list[str]:
    """The command lines of all processes that have this entry in their environment."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if entry.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            pass  # It has ended.
    return found


class Server:
    """The common part of the two servers: a Maildir, a log, and a mark that each of their processes inherits."""

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path, certificate: str, key: str):
        self.programs, self.folder, self.certificate, self.key = programs, folder, certificate, key
        folder.mkdir()
        self.mark = f"TEST_POSTFIX={folder}"
        self.environment = {"PATH": os.environ["PATH"], "TEST_POSTFIX": str(folder)}
        self.log = (folder / "log").open("a+")
        self.backend = [programs / "maildir-smtpd", "--hostname", "mx.example", folder / "Maildir"]

    def text(self) -> str:
        return (self.folder / "log").read_text()

    def sessions(self) -> list[str]:
        return [line for line in self.text().splitlines() if " session peer=" in line]

    def mails(self) -> list[bytes]:
        assert not any((self.folder / "Maildir" / "tmp").iterdir()), "nothing is left in the Maildir's tmp"
        return [file.read_bytes() for file in (self.folder / "Maildir" / "new").iterdir()]


class Starttlsd(Server):
    name = "starttlsd"

    def __enter__(self):
        # maildir-smtpd accepts mail for every domain; its processes are found by their environment.
        self.process = subprocess.Popen(
            [self.programs / "starttlsd", "--allow-root", "--workers", "1", "--listen", "127.0.0.1:0", "--certificate", self.certificate,
             "--key", self.key, "--trusting-backend", "--backend-environment", "TEST_POSTFIX", "--", *self.backend],
            stderr=self.log, stdin=subprocess.DEVNULL, env=self.environment)
        port = r"listening on 127\.0\.0\.1:(\d+)"
        eventually(lambda: re.search(port, self.text()) or self.process.poll() is not None)
        found = re.search(port, self.text())
        if found is None:
            self.process.kill()
        assert found is not None, f"starttlsd starts: {self.text()}"
        self.port = int(found.group(1))
        self.idle = self.descriptors()
        self.own = len(processes(self.mark))
        return self

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait(self) -> None:
        """Waits until all sessions have ended and nothing is left of them."""
        assert eventually(lambda: self.descriptors() == self.idle and len(processes(self.mark)) == self.own), \
            f"nothing is left of the sessions: {processes(self.mark)}\n{self.text()}"

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, f"starttlsd ends with 0: {self.text()}"


class Chain(Server):
    """ucspi-tlsd, starttls-proxy and the server program, under a listener that works like tcpserver."""
    name = "ucspi-tlsd"

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        self.started = []
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()
        return self

    def accept(self) -> None:
        while True:
            try:
                connection, peer = self.listener.accept()
            except OSError:
                return  # The listener was shut down.
            environment = self.environment | {
                "PROTO": "TCP", "TCPREMOTEIP": peer[0], "TCPREMOTEPORT": str(peer[1]),
                "CERTFILE": self.certificate, "KEYFILE": self.key}
            with connection:
                self.started.append(subprocess.Popen(
                    [self.programs / "ucspi-tlsd", self.programs / "starttls-proxy", *self.backend], stdin=connection,
                    stdout=connection, stderr=self.log, env=environment))

    def wait(self) -> None:
        # A list, so that each process is polled and reaped.
        assert eventually(lambda: all([process.poll() is not None for process in self.started])), "every server program ends"
        codes = collections.Counter(process.returncode for process in self.started)
        assert set(codes) == {0}, f"every server program ends with 0: {codes}\n{self.text()}"
        assert eventually(lambda: not processes(self.mark)), f"nothing is left of the sessions: {processes(self.mark)}"

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for process in self.started:
            process.kill()  # After a failure; it has no effect on a process that has ended.
            process.wait()


class Postfix:
    """A separate Postfix. What is queued before its start is sent after its start."""

    def __init__(self, folder: pathlib.Path, **parameters):
        self.folder = folder
        owner, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        for name in ("", "configuration", "queue"):
            (folder / name).mkdir(mode=0o755)
        self.make(folder / "data", owner, 0, 0o700)
        for whose, names in QUEUE.items():
            for name in names.split():
                self.make(folder / "queue" / name, 0 if whose == "root" else owner,
                          group if whose == "postdrop" else 0, MODES.get(name, 0o700))
        (folder / "configuration" / "main.cf").write_text(MAIN.format(folder=folder, **parameters))
        (folder / "configuration" / "master.cf").write_text(MASTER)
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(folder / "configuration")}

    @staticmethod
    def make(folder: pathlib.Path, owner: int, group: int, mode: int) -> None:
        folder.mkdir()
        os.chown(folder, owner, group)
        folder.chmod(mode)

    def queue(self, number: int, message: bytes) -> None:
        done = subprocess.run(
            ["/usr/sbin/sendmail", "-i", "-f", f"{number}@client.example", f"{number}@mx.example"], input=message,
            timeout=PATIENCE, env=self.environment, stderr=subprocess.PIPE)
        assert done.returncode == 0, f"sendmail queues message {number}: {done.stderr.decode()}"

    def unsent(self, *folders: str) -> list[str]:
        return [name for folder in folders or UNSENT for name in os.listdir(self.folder / "queue" / folder)]

    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def __enter__(self):
        # A separate session, because Postfix ends its whole process group when it ends.
        self.process = subprocess.Popen([POSTFIX / "master", "-d"], env=self.environment, start_new_session=True,
                                        stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        mark = f"MAIL_CONFIG={self.environment['MAIL_CONFIG']}"
        assert eventually(lambda: not processes(mark)), f"nothing is left of Postfix: {processes(mark)}"
