"""The sandbox of starttlsd: a process that an attacker controls cannot open, connect, execute or fork.

The test controls the process with ptrace(2): it makes system calls in it, as injected code would.
"""
import ctypes
import errno
import fcntl
import os
import pathlib
import platform
import re
import signal
import socket
import struct

import pytest

from backends import Daemon, deliver
from captured import child, connection_to

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PEEK, POKE, SINGLE_STEP, GET_REGISTERS, SET_REGISTERS, ATTACH, DETACH = 2, 5, 9, 12, 13, 16, 17
CALLS = {"open": 2, "socket": 41, "connect": 42, "kill": 62, "ptrace": 101, "fork": 57, "execve": 59, "openat": 257, "getpid": 39,
         "unlink": 87, "mmap": 9, "bind": 49, "sendto": 44, "tgkill": 234, "setsockopt": 54, "fcntl": 72, "socketpair": 53,
         "pwritev2": 328}
# epoll_wait, epoll_pwait
EVENT_CALLS = 232, 281
AT_FDCWD = -100

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64" or os.geteuid() != 0, reason="this takes processes over, on x86-64, as root")


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()]


class Captured:
    """A stopped process, which makes the system calls of the test."""

    def __init__(self, process: int):
        self.process = process
        # Until it waits for events, after all of its start.
        calls = [str(number) for number in EVENT_CALLS]
        assert Daemon.eventually(lambda: pathlib.Path(f"/proc/{process}/syscall").read_text().split()[0] in calls)
        self.request(ATTACH)
        self.wait()
        self.saved = Registers()
        self.request(GET_REGISTERS, data=ctypes.addressof(self.saved))
        # It waits in a system call: the instruction before the next one is `syscall`.
        word = libc.ptrace(PEEK, process, self.saved.rip - 2, None) & 0xFFFF
        assert word == 0x050F, hex(word)

    def request(self, number: int, address=None, data=None) -> None:
        assert libc.ptrace(number, self.process, address, data) >= 0, os.strerror(ctypes.get_errno())

    def wait(self) -> int:
        """Returns the signal that has stopped it."""
        status = os.waitpid(self.process, 0x40000000)[1]
        assert os.WIFSTOPPED(status)
        return os.WSTOPSIG(status)

    def write(self, octets: bytes) -> int:
        """Puts octets below the stack; returns where."""
        start = (self.saved.rsp - 4096) & ~15
        octets += bytes(-len(octets) % 8 + 8)
        for index in range(0, len(octets), 8):
            self.request(POKE, start + index, struct.unpack("<Q", octets[index:index + 8])[0])
        return start

    def call(self, name: str, *arguments: int | bytes) -> int:
        registers = Registers.from_buffer_copy(self.saved)
        values = [self.write(a) if isinstance(a, bytes) else a & 0xFFFFFFFFFFFFFFFF for a in arguments] + [0] * 6
        registers.rip = self.saved.rip - 2
        registers.rax = CALLS[name]
        registers.orig_rax = 0xFFFFFFFFFFFFFFFF
        registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9 = values[:6]
        self.request(SET_REGISTERS, data=ctypes.addressof(registers))
        self.request(SINGLE_STEP)
        # A signal stops it before the call: that of a child which has ended.
        while self.wait() != signal.SIGTRAP:
            self.request(SINGLE_STEP)
        self.request(GET_REGISTERS, data=ctypes.addressof(registers))
        return ctypes.c_longlong(registers.rax).value

    def release(self) -> None:
        self.request(SET_REGISTERS, data=ctypes.addressof(self.saved))
        self.request(DETACH)


def address(port: int) -> bytes:
    return struct.pack("<H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)


def attack(process: int, tmp_path) -> dict[str, int]:
    """What a captured process gets from the kernel, by attempt."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    captured = Captured(process)
    try:
        results = {
            "read": captured.call("openat", AT_FDCWD, str(secret).encode(), os.O_RDONLY),
            "read, old": captured.call("open", str(secret).encode(), os.O_RDONLY),
            "create": captured.call("openat", AT_FDCWD, str(tmp_path / "made").encode(), os.O_WRONLY | os.O_CREAT, 0o600),
            "folder": captured.call("openat", AT_FDCWD, b"/", os.O_RDONLY | os.O_DIRECTORY),
            "unlink": captured.call("unlink", str(secret).encode()),
            "execute": captured.call("execve", b"/bin/true", 0, 0),
            "fork": captured.call("fork"),
            "ptrace": captured.call("ptrace", ATTACH, os.getppid()),
            "kill": captured.call("kill", os.getppid(), 0),
            "kill by thread": captured.call("tgkill", os.getpid(), os.getpid(), 0),
            "signal itself": captured.call("tgkill", process, process, 0),
            "owner": captured.call("fcntl", 0, 8, os.getpid()),
            "owner, extended": captured.call("fcntl", 0, 15, struct.pack("<ii", 1, os.getpid())),
            "status flags": captured.call("fcntl", -1, fcntl.F_SETFL, 0),
            "signal of an owner": captured.call("fcntl", -1, 10, signal.SIGKILL),
            "read status flags": captured.call("fcntl", -1, fcntl.F_GETFL),
            "duplicate": captured.call("fcntl", -1, fcntl.F_DUPFD_CLOEXEC, 3),
            "write over a log": captured.call("pwritev2", -1, 0, 0, 0, 0, 0x20),
            "write without waiting": captured.call("pwritev2", -1, 0, 0, -1, -1, os.RWF_NOWAIT),
            "filter": captured.call("setsockopt", 0, socket.SOL_SOCKET, 26, bytes(16), 16),
            "least octets": captured.call("setsockopt", 0, socket.SOL_SOCKET, socket.SO_RCVLOWAT, struct.pack("<i", 1), 4),
            "least hops": captured.call("setsockopt", 0, socket.IPPROTO_IP, 21, struct.pack("<i", 255), 4),
            "checksum": captured.call("setsockopt", 0, socket.IPPROTO_TCP, 14, bytes(216), 216),
            "options": captured.call("setsockopt", -1, socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("<i", 1), 4),
            "connect": captured.call("connect", -1, address(1), 16),
            "bind": captured.call("bind", -1, address(0), 16),
            "Unix socket": captured.call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0),
            "Unix datagram socket": captured.call("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0),
            "pair of datagram sockets": captured.call("socketpair", socket.AF_UNIX, socket.SOCK_DGRAM, 0, bytes(8)),
            "connect with data": captured.call("sendto", -1, b"x", 1, 0x20000000, -1, 16),
            "foreign source": captured.call("setsockopt", -1, socket.IPPROTO_IP, 19, struct.pack("<i", 1), 4),
            "packet socket": captured.call("socket", socket.AF_PACKET, socket.SOCK_RAW, 0),
            "executable memory": captured.call("mmap", 0, 4096, 7, 0x22, -1, 0),
            "null": captured.call("openat", AT_FDCWD, b"/dev/null", os.O_RDONLY),
            "getpid": captured.call("getpid"),
        }
        for name, kind, protocol in (("TCP", socket.SOCK_STREAM, 0), ("multipath", socket.SOCK_STREAM, 262),
                                     ("datagram", socket.SOCK_DGRAM, 0), ("raw", socket.SOCK_RAW, 255)):
            for family in (socket.AF_INET, socket.AF_INET6):
                results[f"{name}, {family.name}"] = captured.call("socket", family, kind, protocol)
        if results["fork"] > 0:
            os.kill(results["fork"], signal.SIGKILL)
        return results
    finally:
        captured.release()


DENIED = -errno.EPERM, -errno.EACCES


# The attempts that nothing stops.
HARMLESS = {"null", "getpid", "signal itself", "options", "read status flags", "duplicate", "write without waiting"}
# Those that only Landlock stops, and those that both stop.
FILES = {"read", "read, old", "create", "folder", "unlink"}
PROCESSES = {"execute", "ptrace", "kill", "kill by thread"}
# Those that are stopped with both in force; all but FILES and PROCESSES by seccomp only.
ALL = FILES | PROCESSES | {
    "fork", "owner", "owner, extended", "status flags", "signal of an owner", "write over a log", "filter", "least octets", "least hops",
    "checksum", "connect", "bind", "Unix socket", "Unix datagram socket", "pair of datagram sockets", "connect with data", "foreign source",
    "packet socket", "executable memory", "TCP, AF_INET", "TCP, AF_INET6",
    "multipath, AF_INET", "multipath, AF_INET6", "datagram, AF_INET", "datagram, AF_INET6", "raw, AF_INET", "raw, AF_INET6"}


def assert_confined(results: dict[str, int]) -> None:
    allowed = {name for name, result in results.items() if result not in DENIED}
    assert allowed == HARMLESS, results


def test_a_captured_process_in_front_of_a_server_by_address(backend_server, starttlsd, tmp_path):
    (tmp_path / "run").mkdir()
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--status-socket",
                       str(tmp_path / "run/status"))
    daemon.wait_for(r"sandbox: Landlock \d+, seccomp")
    results = attack(daemon.process.pid, tmp_path)
    assert_confined(results)
    # It works on.
    deliver(daemon.port)
    deliver(daemon.port, tls=False)
    daemon.process.terminate()
    assert daemon.process.wait(timeout=60) == 0
    assert not (tmp_path / "run" / "status").exists()


def assert_confined_with_a_program(daemon, tmp_path, maildir, process: int | None = None) -> None:
    """Mail is delivered afterwards."""
    daemon.wait_for(r"sandbox: Landlock \d+, seccomp")
    assert_confined(attack(process or daemon.process.pid, tmp_path))
    deliver(daemon.port)
    deliver(daemon.port, tls=False)
    assert len(list((maildir / "new").iterdir())) == 2


def test_a_captured_process_whose_programs_another_one_starts(starttlsd, tmp_path, build):
    maildir = tmp_path / "mail"
    maildir.mkdir()
    os.chmod(maildir, 0o777)
    # The user may enter the folders, and write to no other one: tests with files of settings refuse a folder that others can write to.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            os.chmod(folder, folder.stat().st_mode | 0o011)
    program = ["--", str(build / "release/maildir-smtpd"), "--domain", "mx.example", str(maildir / "Maildir")]
    daemon = starttlsd("--backend-user", "nobody", *program)
    assert_confined_with_a_program(daemon, tmp_path, maildir / "Maildir")


def test_switched_off_it_is_not_in_force(backend_server, starttlsd, tmp_path):
    """So that the attack of this test is one."""
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--no-seccomp", "--no-landlock")
    daemon.wait_for(r"sandbox: no Landlock \(--no-landlock\), no seccomp \(--no-seccomp\)")
    captured = Captured(daemon.process.pid)
    try:
        (tmp_path / "secret").write_text("secret")
        assert captured.call("openat", AT_FDCWD, str(tmp_path / "secret").encode(), os.O_RDONLY) >= 0
        child = captured.call("fork")
        assert child > 0
        os.kill(child, 9)
        assert captured.call("mmap", 0, 4096, 7, 0x22, -1, 0) > 0
        assert captured.call("tgkill", os.getpid(), os.getpid(), 0) == 0
        assert captured.call("setsockopt", 0, socket.SOL_SOCKET, 26, bytes(16), 16) not in DENIED
    finally:
        captured.release()
    deliver(daemon.port)


@pytest.mark.parametrize("option, state, stopped", [
    ("--no-seccomp", r"sandbox: Landlock \d+, no seccomp \(--no-seccomp\)\n", FILES | PROCESSES),
    ("--no-landlock", r"sandbox: no Landlock \(--no-landlock\), seccomp\n", ALL - FILES),
])
def test_a_captured_worker_with_one_of_the_two(starttlsd, build, tmp_path, option, state, stopped):
    """Either stops what is its own, and what both stop; the attempts that only the other one stops succeed."""
    daemon = starttlsd(option, "--workers", "2", "--", str(build / "release/maildir-smtpd"), "--domain", "mx.example", str(tmp_path / "Maildir"))
    daemon.wait_for("2 workers serve")
    assert len(re.findall("sandbox: ", daemon.log())) == len(re.findall(state, daemon.log())) > 0, daemon.log()
    process = int(re.search(r"worker 1 started, process (\d+)", daemon.log())[1])
    results = attack(process, tmp_path)
    assert {name for name, result in results.items() if result in DENIED} == stopped, results
    if option == "--no-seccomp":
        assert results["fork"] > 0 < results["executable memory"] and not (tmp_path / "made").exists()
    else:
        assert min(results[name] for name in FILES) >= 0 and (tmp_path / "made").exists()
    deliver(daemon.port)
    assert f"worker 1, process {process}" not in daemon.log()


def test_without_any_option_a_captured_process_is_confined(starttlsd, build, tmp_path):
    daemon = starttlsd("--", str(build / "release/maildir-smtpd"), "--domain", "mx.example", str(tmp_path / "Maildir"))
    assert_confined_with_a_program(daemon, tmp_path, tmp_path / "Maildir")


def test_a_captured_worker_is_confined(starttlsd, build, tmp_path):
    """One of two that a supervisor has started; the supervisor is not in its reach."""
    daemon = starttlsd("--workers", "2", "--metrics", f"unix:{tmp_path}/metrics", "--", str(build / "release/maildir-smtpd"), "--domain", "mx.example",
                       str(tmp_path / "Maildir"))
    daemon.wait_for("2 workers serve")
    process = int(re.search(r"worker 1 started, process (\d+)", daemon.log())[1])
    assert_confined_with_a_program(daemon, tmp_path, tmp_path / "Maildir", process)
    assert f"worker 1, process {process}" not in daemon.log()


def test_metrics_and_reload_inside_it(backend_server, starttlsd, tmp_path):
    """What the process does while it serves still works: certificates that change, signals, metrics, the status, the stop."""
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--metrics",
                       f"unix:{tmp_path}/metrics", "--status-socket", f"{tmp_path}/status")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("SIGHUP: the certificates are loaded again")
    deliver(daemon.port)
    for name in ("metrics", "status"):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(f"{tmp_path}/{name}")
            asking.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" if name == "metrics" else b"text\n")
            assert re.search(b"certificate", asking.makefile("rb").read())


@pytest.mark.parametrize("attempt", ["another name", "too much"])
def test_the_process_that_records_writes_recordings_only(backend_server, starttlsd, tmp_path, attempt):
    """What a captured process sends to the process that writes recordings: a name outside the folder, or more than it may hold."""
    folder = tmp_path / "recordings"
    folder.mkdir(mode=0o700)
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--record", str(folder),
                       "--record-size", "1")
    daemon.wait_for("recordings in")

    recorder = child(daemon.process.pid, "starttlsd-rec")
    connection = connection_to(recorder, daemon.process.pid)

    def send(kind: int, payload: bytes) -> None:
        connection.send(struct.pack("<iIii", kind, 0, 0, 0) + payload)

    good = folder / "20261129T012030Z-1ma2b3c4d5e.rec"
    send(1, good.name.encode())
    send(2, b"octets")
    send(3, b"")
    assert daemon.eventually(lambda: good.exists() and good.read_bytes() == b"octets")
    if attempt == "another name":
        send(1, str(tmp_path / "made").encode())
    else:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                send(2, bytes(4000))
    # It has ended, and so it had read the message.
    assert daemon.eventually(lambda: child(daemon.process.pid, "starttlsd-rec") != recorder)
    assert not (tmp_path / "made").exists()
    connection.close()


def test_the_process_that_connects_reaches_the_servers_only(backend_server, starttlsd):
    """What a captured process gets from it: sockets to the servers, by their index. Anything else ends it."""
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--trusting-backend", "--backend", backend.address, "--backend-client", "none", "--grace", "0")
    daemon.wait_for("listening on")
    connector = child(daemon.process.pid, "starttlsd-conn")
    status = pathlib.Path(f"/proc/{connector}/status").read_text()
    assert re.search(r"Seccomp:\s+2", status) and re.search(r"NoNewPrivs:\s+1", status), status
    connection = connection_to(connector, daemon.process.pid)
    os.kill(daemon.process.pid, signal.SIGSTOP)

    def ask(index: int, source: bytes = b"") -> tuple[tuple[int, ...], list[int]]:
        connection.send(struct.pack("<iIii", 1, 7, index, 0) + source)
        octets, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
        return struct.unpack("<iIii", octets[:16]) if octets else (), descriptors

    connection.setblocking(True)
    answer, (number,) = ask(0)
    assert answer[:2] == (2, 7)
    with socket.socket(fileno=number) as made, made.makefile("rb") as stream:
        made.setblocking(True)
        assert stream.readline().startswith(b"220 ")
    assert ask(1) == ((), [])
    connection.close()
    os.kill(daemon.process.pid, signal.SIGCONT)
    assert daemon.process.wait(timeout=60) == 111
    daemon.wait_for("starttlsd-conn, which connects to the servers, has ended")
