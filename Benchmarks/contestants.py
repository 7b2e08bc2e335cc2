"""contestants: the servers and relays that the benchmark compares, and how each is started.

Each runs on the loopback with its own configuration, in a temporary folder; nothing of the system's is used. Where a server is needed
after it, that is `server` (one for each contestant, so that its processor time is counted with it) or the program `backend`.
A peer that is not installed is left out. Postfix also needs root. One that does not start raises Failed: the others go on.
"""
import contextlib
import grp
import os
import pathlib
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import skarnet

BEFORE = "starttlsd before, a program"
PROGRAM, LEARNT, SERVER = "starttlsd, a program", "starttlsd, greeting learnt", "starttlsd, a TCP server"
KEY_INSIDE, ONE_USER = "starttlsd, key in process", "starttlsd, a program of the same user"
PROGRAM_ALONE, SERVER_ALONE = "starttlsd, a program, one process", "starttlsd, a TCP server, one process"
# Variants, which are measured at one number of connections.
VARIANTS = (KEY_INSIDE, ONE_USER, PROGRAM_ALONE, SERVER_ALONE)
# How many programs a session starts, in clear and with STARTTLS, which needs one in clear and one inside TLS.
STARTS = {PROGRAM: {"clear": 1, "starttls": 2}, LEARNT: {"clear": 1, "starttls": 1}}
CHAIN, ENGINE = "the chain", "the chain, an engine that stays"
HANDSHAKES, IN_CLEAR = "handshakes alone", "a server alone"
MAIN_CF = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example
mydestination = mx.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {certificate}
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_client_new_tls_session_rate_limit = 0
default_process_limit = 200
"""
MASTER_CF = """{port} inet n - n - - smtpd
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
anvil    unix - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
"""
HAPROXY = """defaults
  mode tcp
  maxconn 4000
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen clear
  bind 127.0.0.1:{clear}
  server one 127.0.0.1:{inner}
listen tls
  bind 127.0.0.1:{tls} ssl crt {pem}
  server one 127.0.0.1:{inner}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Failed(Exception):
    """Why a contestant could not be measured, as its row of the table says it."""


class Contestant:
    """Something that clients connect to: its commands, its port for each kind of session, and what it can be asked.

    `own` is the name with which the processes of the front-end itself begin, where they go on from session to session.
    `most` is the largest number of sessions at a time in which it is measured, `holds` that of idle ones whose memory is measured.
    `version` is the highest version of TLS that it has. `failure` is why it cannot be measured, if it cannot."""

    def __init__(self, tools: pathlib.Path, name: str, front: list, inner: list | None = None, *, ports: dict, own: str | None = None,
                 sessions=("starttls", "clear"), relays=(), most: int = 10_000, holds: int = 800,
                 environment: dict | None = None, version: str = "TLSv1.3"):
        self.version, self.failure = version, None
        self.name, self.ports, self.own, self.most = name, ports, own, most
        self.sessions, self.relays, self.holds = sessions, relays, holds
        self.commands = [[str(tools / "reaper"), *map(str, command)] for command in (inner, front) if command]
        self.environment = environment

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.processes = [
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                             start_new_session=True) for command in self.commands]
        end = time.monotonic() + 30
        while not self.answers():
            if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                self.log.seek(0)
                text = self.log.read().decode(errors="replace").strip()
                self.__exit__()
                raise Failed(f"does not answer: {text}")
            time.sleep(0.05)
        return self

    def answers(self) -> bool:
        """True if each port accepts a connection, and those that begin in clear send their greeting."""
        for kind, port in self.ports.items():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    if kind != "tls" and client.recv(3) != b"220":
                        return False
            except OSError:
                return False
        return True

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()


def library_of(engine: pathlib.Path) -> tuple[str, str]:
    """The TLS library of skarnet's engine, which is built with one of two, and the highest version of TLS that it has. The folder, if it has
    no engine."""
    match skarnet.library(engine.parent):
        case None: return skarnet.shortened(engine.parent), "TLSv1.3"
        case "BearSSL": return "BearSSL, TLS 1.2", "TLSv1.2"
        case library: return library, "TLSv1.3"


def contestants(programs: pathlib.Path, tools: pathlib.Path, work: pathlib.Path, certificate: str, key: str) -> list[Contestant]:
    """Makes the configurations in `work`, which must be empty."""
    found = []
    backend, server = tools / "backend", tools / "server"

    def add(name, front, inner=None, **settings):
        found.append(Contestant(tools, name, front, inner, **settings))

    def starttlsd(port, *more, users=("--allow-root",), workers="auto"):
        return [programs / "starttlsd", *users, "--workers", workers, "--listen", f"127.0.0.1:{port}", "--certificate", certificate, "--key", key,
                "--max-connections", "4000", "--max-connections-per-address", "0", "--max-penalty", "0", "--grace", "1", *more]

    def in_front_of_programs(name, *more, users, **settings):
        port = free_port()
        add(name, starttlsd(port, *more, "--", backend, users=users, **settings), ports=dict.fromkeys(both, port), own="starttlsd",
            relays=both if name == PROGRAM else ())

    def in_front_of_a_server(name, *more, **settings):
        port, secured, inner = free_port(), free_port(), free_port()
        add(name, starttlsd(port, "--listen-tls", f"127.0.0.1:{secured}", "--backend", f"127.0.0.1:{inner}", "--backend-client", "none", *more, **settings),
            [server, inner], ports=dict.fromkeys(both, port) | {"tls": secured}, own="starttlsd", holds=2000,
            relays=("starttls", "clear", "tls") if name == SERVER else ())

    both = ("starttls", "clear")
    # With a user of its own for the program, as recommended. Only root can change users.
    users = ("--user", "daemon", "--backend-user", "nobody") if os.geteuid() == 0 else ("--allow-root",)
    in_front_of_programs(PROGRAM, users=users)
    in_front_of_programs(LEARNT, "--learn-greeting", users=users)
    in_front_of_programs(PROGRAM_ALONE, users=users, workers="1")
    if os.geteuid() == 0:
        in_front_of_programs(ONE_USER, users=("--allow-root",))
    if before := shlex.split(os.environ.get("BEFORE", "")):
        port = free_port()
        add(BEFORE, [*before, "--listen", f"127.0.0.1:{port}", "--certificate", certificate, "--key", key, "--", backend],
            ports=dict.fromkeys(both, port), own="starttlsd")
    in_front_of_a_server(SERVER)
    in_front_of_a_server(SERVER_ALONE, workers="1")
    in_front_of_a_server(KEY_INSIDE, "--key-in-process")
    if tcpserver := shutil.which("tcpserver"):
        serve = [tcpserver, "-HRDl0", "-c", "2000", "-b", "500", "127.0.0.1"]
        environment = {"PATH": os.environ["PATH"], "CERTFILE": certificate, "KEYFILE": key}
        if os.geteuid() == 0:
            environment |= {"TLS_UID": "65534", "TLS_GID": "65534"}
        port = free_port()
        add(CHAIN, [*serve, port, programs / "ucspi-tlsd", programs / "starttls-proxy", backend],
            ports=dict.fromkeys(both, port), relays=both, environment=environment, most=256, holds=400)
        port, engine = free_port(), work / "engine"
        add(ENGINE, [*serve, port, programs / "ucspi-tlsd", "--engine-socket", engine, programs / "starttls-proxy", backend],
            ["env", "LD_BIND_NOW=1", programs / "tlsd-io", "--listen", engine], ports=dict.fromkeys(both, port), environment=environment, most=256, holds=400)
        for folder in skarnet.folders():
            port, (library, version) = free_port(), library_of(folder / "s6-tlsd-io")
            # The engine with libtls ends with an error when the program has ended, before it has read its last reply.
            program = [backend, "waits"] if library == "libtls" else [backend]
            add(f"skarnet's chain, {library}", [*serve, port, folder / "s6-ucspitlsd", "--", folder / "smtpd-starttls-proxy-io", *program],
                ports=dict.fromkeys(both, port), relays=both, environment=environment | {"PATH": f"{folder}:{os.environ['PATH']}"}, most=256, holds=400,
                version=version)
    if stunnel := shutil.which("stunnel4") or shutil.which("stunnel"):
        port, secured, inner = free_port(), free_port(), free_port()
        (work / "stunnel.conf").write_text(
            f"foreground = yes\nsyslog = no\npid =\ncert = {certificate}\nkey = {key}\n"
            f"[smtp]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{inner}\nprotocol = smtp\n"
            f"[secured]\naccept = 127.0.0.1:{secured}\nconnect = 127.0.0.1:{inner}\n")
        # It serves only clients that use STARTTLS.
        add("stunnel", [stunnel, work / "stunnel.conf"], [server, inner], ports={"starttls": port, "tls": secured}, own="stunnel",
            sessions=("starttls",), relays=("starttls", "tls"))
    if os.geteuid() == 0 and pathlib.Path("/usr/lib/postfix/sbin/master").exists():
        port = free_port()
        # Its limit is 200 processes.
        add("Postfix", postfix(work / "postfix", port, certificate, key), ports=dict.fromkeys(both, port), holds=180,
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(work / "postfix/configuration")})
    if haproxy := shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
        ports, inner = {"clear": free_port(), "tls": free_port()}, free_port()
        pem = work / "haproxy.pem"
        pem.touch(0o600)
        pem.write_text(pathlib.Path(certificate).read_text() + pathlib.Path(key).read_text())
        (work / "haproxy.conf").write_text(HAPROXY.format(**ports, inner=inner, pem=pem))
        add("HAProxy", [haproxy, "-db", "-f", work / "haproxy.conf"], [server, inner], ports=ports, sessions=(), relays=("clear", "tls"))
    for name, more in (("a bare copy", []), ("a bare copy by splice", ["splice"])):
        port, inner = free_port(), free_port()
        add(name, [tools / "copy", port, inner, *more], [server, inner], ports={"clear": port}, sessions=(), relays=("clear",))
    port = free_port()
    add(HANDSHAKES, [server, port, certificate, key, os.cpu_count()], ports={"starttls": port}, sessions=("starttls",), relays=("starttls",))
    port = free_port()
    add(IN_CLEAR, [server, port, "STARTTLS"], ports={"clear": port}, sessions=("clear",), relays=("clear",))
    return found


def postfix(folder: pathlib.Path, port: int, certificate: str, key: str) -> list:
    """A Postfix of its own: configuration, queue and log."""
    owner, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
    for name, user, mode in (("", 0, 0o755), ("configuration", 0, 0o755), ("queue", 0, 0o755), ("data", owner, 0o700)):
        (folder / name).mkdir(mode=mode)
        os.chown(folder / name, user, 0)
    for name in "active bounce corrupt defer deferred flush hold incoming private saved trace".split():
        (folder / "queue" / name).mkdir(mode=0o700)
        os.chown(folder / "queue" / name, owner, 0)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (folder / "queue" / name).mkdir()
        (folder / "queue" / name).chmod(mode)
        os.chown(folder / "queue" / name, owner, group)
    (folder / "queue/pid").mkdir()
    (folder / "configuration/main.cf").write_text(MAIN_CF.format(folder=folder, certificate=certificate, key=key))
    (folder / "configuration/master.cf").write_text(MASTER_CF.format(port=port))
    return ["/usr/lib/postfix/sbin/master", "-d"]
