"""Which sessions --record keeps: a share, those of an address, and both; with --inetd, where each session has a process of its own."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from backends import client, eventually
from captured import child
from mail import PATIENCE, connect, read_until


@pytest.mark.parametrize("options, kept", [(("--record-share", "1/3"), 4), (("--record-address", "127.0.0.9"), 6), (("--record-address", "127.0.0.8/30"), 12)])
def test_the_choice_of_sessions(backend_server, starttlsd, build, folder, options, kept):
    daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--record", str(folder), *options)
    for _ in range(6):
        for source in ("127.0.0.9", "127.0.0.10"):
            with client(daemon.port, source, tls=False) as made:
                made.noop()
    # The last one is written after the end of its session.
    assert daemon.eventually(lambda: daemon.log().count(" session ") >= 12 and len(list(folder.glob("*.rec"))) >= kept), daemon.log()
    daemon.finish()
    files = sorted(folder.glob("*.rec"))
    assert len(files) == kept, daemon.log()
    replay = subprocess.run([build / "release/starttls-replay", *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert replay.returncode == 0, replay.stdout


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    folder = tmp_path / "recordings"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def inetd(build, certificate, folder, backend_server):
    """Serves one client after the other, each with a process, and returns their logs. A client sends these octets after the greeting."""
    server = backend_server(trusts="nobody").address

    def serve(octets: bytes, *options: str, times: int = 1, meanwhile=lambda: None) -> str:
        log = ""
        for _ in range(times):
            with socket.create_server(("127.0.0.1", 0)) as listener, connect(listener.getsockname()[1]) as made:
                accepted = listener.accept()[0]
                command = [build / "release/starttlsd", "--allow-root", "--inetd", "--trusting-backend", "--certificate", certificate.chain, "--key",
                           certificate.key, "--backend", server, "--backend-client", "none", "--record", folder, *options]
                with accepted, subprocess.Popen(command, stdin=accepted, stdout=accepted, stderr=subprocess.PIPE, text=True) as process:
                    accepted.close()
                    read_until(made, b"220 ")
                    meanwhile()
                    made.sendall(octets)
                    while made.recv(4096):
                        pass
                    made.close()
                    log += process.communicate(timeout=PATIENCE)[1]
        return log

    return serve


def test_a_share_of_sessions_that_have_a_process_each(inetd, folder):
    """By chance: that none or all of 24 are recorded happens in one of eight million runs."""
    inetd(b"QUIT\r\n", "--record-share", "1/2", times=24)
    assert 0 < len(list(folder.glob("*.rec"))) < 24


def test_sixty_failures_a_minute_of_sessions_that_have_a_process_each(inetd, folder):
    """The files of the last minute are counted: a stranger who fails again and again does not replace all older ones at once."""
    def write() -> None:
        for number in range(60):
            (folder / f"20261129T012030Z-{number}.rec").write_text("")

    # Other recordings are among them, so the line does not say that 60 sessions ended badly.
    too_many = "a recording is not written: the folder has 60 of the last minute already"
    # Also those that were written while the session ran.
    assert too_many in inetd(b"GET / HTTP/1.1\r\n", meanwhile=write)
    assert len(list(folder.glob("*.rec"))) == 60
    # One that was chosen is written.
    assert too_many not in inetd(b"GET / HTTP/1.1\r\n", "--record-share", "1/1")
    assert len(list(folder.glob("*.rec"))) == 61
    before = time.time() - 61
    for name in folder.glob("20261129T012030Z-[01]*.rec"):
        os.utime(name, (before, before))
    assert too_many not in inetd(b"GET / HTTP/1.1\r\n")
    assert len(list(folder.glob("*.rec"))) == 62


@pytest.mark.skipif(not shutil.which("prlimit"), reason="prlimit is missing")
def test_a_stop_waits_for_the_report_of_a_full_disk(backend_server, starttlsd, folder):
    for _ in range(3):
        daemon = starttlsd("--backend", backend_server(trusts="nobody").address, "--backend-client", "none", "--record", str(folder),
                           "--record-share", "1/1", "--grace", "0")
        # A limit of the process stands for the end of the disk.
        subprocess.run(["prlimit", "--pid", str(child(daemon.process.pid, "starttlsd-rec")), "--fsize=100:unlimited"], check=True)
        with connect(daemon.port) as made:
            read_until(made, b"220 ")
            made.sendall(b"MAIL FROM:<a@client.example>\r\n")
            read_until(made, b"250 ")
            daemon.process.send_signal(signal.SIGTERM)
            daemon.finish()
        assert f"a recording is lost: {folder}: write: File too large" in daemon.log(), daemon.log()
        assert eventually(lambda: not list(folder.iterdir()))
