"""The workers that starttlsd starts without being asked: how many, with one certificate, and when it is one process."""
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

from mail import connect, read_until

PATIENCE = 60


class Started:
    """starttlsd without --workers."""

    def __init__(self, words: list, folder: pathlib.Path, **options):
        self.log_file = folder / "log"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL, **options)

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for(self, pattern: str) -> re.Match:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.log())):
            assert self.process.poll() is None and time.monotonic() < end, f"'{pattern}' is not in: {self.log()}"
            time.sleep(0.01)
        return found

    def finish(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log()


@pytest.fixture
def default(build, tmp_path):
    """Starts the embedded default on a free port."""
    started = []

    def start(*options: str, wrapper: list = [], **others) -> Started:
        words = [*wrapper, build / "release/starttlsd", "--allow-root", "--state-folder", tmp_path / "state", *options]
        started.append(Started(words, tmp_path, **others))
        return started[-1]

    yield start
    for each in started:
        each.finish()


def quota() -> int:
    """The processors that the control groups leave, rounded up."""
    folder, found = pathlib.Path("/sys/fs/cgroup"), [os.cpu_count() or 1]
    own = re.search(r"^0::/(.*)$", pathlib.Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    for name in ["", *(own[1].split("/") if own else [])]:
        folder /= name
        if (folder / "cpu.max").exists():
            time_, period = (folder / "cpu.max").read_text().split()
            if time_ != "max":
                found.append(-(-int(time_) // int(period)))
    return min(found)


def certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(port) as made:
        read_until(made, b"\r\n")
        made.sendall(b"EHLO c.example\r\n")
        read_until(made, b"250 ")
        made.sendall(b"STARTTLS\r\n")
        read_until(made, b"220 ")
        with context.wrap_socket(made) as secured:
            return secured.getpeercert(True)


def test_one_worker_for_each_processor(default, build, tmp_path):
    processors = min(16, len(os.sched_getaffinity(0)), quota())
    if processors < 2:
        pytest.skip("this machine has one processor")
    # What a killed one has left, which had one process, and one with more workers.
    for name in ("status", f"status.{processors + 1}"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / name))
            left.listen()
    daemon = default("--listen", "127.0.0.1:0", "--status-socket", str(tmp_path / "status"), "--session-tickets")
    assert int(daemon.wait_for(r"(\d+) workers serve")[1]) == processors
    port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
    # The certificate was made once, by the first worker.
    assert len({certificate(port) for _ in range(2 * processors)}) == 1
    output = subprocess.run([build / "release/starttlsd", "status", tmp_path / "status"], capture_output=True, text=True, timeout=PATIENCE)
    assert output.returncode == 0 and output.stdout.count(f"listening on: 127.0.0.1:{port}\n") == processors, output
    assert daemon.log().count(f"--session-tickets: each of {processors} workers knows only its own tickets") == 1
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(r"(?s)(SIGHUP: the certificates are loaded again.*){%d}" % processors)


def test_on_one_processor_it_is_one_process(default, tmp_path):
    one = str(min(os.sched_getaffinity(0)))
    daemon = default("--listen", "127.0.0.1:0", "--status-socket", str(tmp_path / "status"), wrapper=["taskset", "-c", one])
    daemon.wait_for("listening on")
    assert "worker" not in daemon.log() and (tmp_path / "status").exists()


@pytest.mark.parametrize("options, text", [([], "one process serves, since the service manager passed a blocking socket: set NonBlocking=yes"),
                                           (["--workers", "2"], "is blocking: set NonBlocking=yes, because several processes accept from it")])
def test_a_blocking_socket_of_a_service_manager(default, options, text):
    """Several processes cannot accept from it. Nobody asked for them, so one serves."""
    script = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.closerange(4, 100); "
              "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])")
    with socket.create_server(("127.0.0.1", 0)) as passed:
        daemon = default(*options, wrapper=["python3", "-c", script, str(passed.fileno())], pass_fds=[passed.fileno()])
        if options:
            assert daemon.process.wait(PATIENCE) == 100 and text in daemon.log()
            daemon.finish = lambda: None
        else:
            daemon.wait_for(text)
            daemon.wait_for("listening on")
            assert certificate(passed.getsockname()[1])
            assert "worker 1" not in daemon.log()
