"""Too many descriptors of a user are on their way between processes: messages with one wait until others were received.

Another process of the user sends itself descriptors and receives none: as code in a captured worker can, and as happens when the
processes that start the server program do not answer.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest

from backends import eventually
from captured import child
from mail import PATIENCE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user has its own count")

LIMIT = 256
# Sends more descriptors than the limit, in messages that it receives only when its input ends.
FILLER = f"""
import socket, sys
pairs = [socket.socketpair() for _ in range({2 * LIMIT // 64})]
for one, _ in pairs:
    socket.send_fds(one, [b"x"], [0] * 64)
print("full", flush=True)
sys.stdin.read()
"""


def switches(process: int) -> int:
    """How often it has waited."""
    return int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1])


def test_messages_with_descriptors_wait_for_those_of_others(build, certificate, tmp_path):
    # Nobody else's, also with tests side by side.
    user = 100_000 + os.getpid()
    folder = tmp_path / "own"
    folder.mkdir()
    chain, key = (pathlib.Path(shutil.copy(file, folder)) for file in (certificate.chain, certificate.key))
    for path in (folder, chain, key):
        os.chown(path, user, user)
    # The user may enter the folders.
    for each in (tmp_path, *tmp_path.parents):
        if each.owner() == "root" and str(each).startswith("/tmp/"):
            os.chmod(each, each.stat().st_mode | 0o011)
    own = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    log = tmp_path / "log"
    with log.open("w") as written:
        daemon = subprocess.Popen(
            [*own, "sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh", build / "release/starttlsd", "--workers", "1", "--listen", "127.0.0.1:0",
             "--certificate", chain, "--key", key, "--", build / "release/maildir-smtpd", "--domain", "mx.example", folder / "Maildir"],
            stderr=written)
    filler = None
    try:
        assert eventually(lambda: "listening on" in log.read_text() or daemon.poll() is not None)
        port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())[1])
        reader = child(daemon.pid, "starttlsd-read")
        filler = subprocess.Popen([*own, sys.executable, "-c", FILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert filler.stdout.readline() == b"full\n"
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            chain.write_bytes(chain.read_bytes() + b"\n")
            # The reading process looks once a second at most, and waits in between: after these it has tried to send the new file.
            looked = switches(reader)
            assert eventually(lambda: switches(reader) > looked + 5)
            # The one that serves tries to have the program started, and waits in between.
            tried = switches(daemon.pid)
            assert eventually(lambda: switches(daemon.pid) > tried + 20)
            filler.stdin.close()
            assert connection.makefile("rb").readline().startswith(b"220 ")
        assert eventually(lambda: "the certificates are loaded again" in log.read_text())
        assert child(daemon.pid, "starttlsd-read") == reader
    finally:
        if filler:
            filler.kill()
            filler.wait(timeout=PATIENCE)
            filler.stdout.close()
        daemon.terminate()
        code = daemon.wait(timeout=PATIENCE)
    assert code == 0, log.read_text()
