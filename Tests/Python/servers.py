"""The example servers as processes of a test."""
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
from typing import NamedTuple

from mail import PATIENCE, run

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Certificate(NamedTuple):
    chain: str
    key: str


class Example(NamedTuple):
    """A built example, and how its command line names things."""
    program: pathlib.Path
    name: str
    certificate: str
    key: str
    requires_tls: str
    # The exit status after SIGTERM.
    ends_with: int

    @staticmethod
    def c(prefix: pathlib.Path, folder: pathlib.Path, sanitized: bool) -> "Example":
        """c-smtpd, built with its own Makefile and pkg-config; unchanged, or with the sanitizers."""
        flags = "-g -fsanitize=address,undefined -fno-sanitize-recover=all" if sanitized else "-O2"
        for file in ("c-smtpd.c", "Makefile"):
            (folder / file).write_text((ROOT / "Examples/c-smtpd" / file).read_text())
        run("make", "-C", str(folder), f"CFLAGS={flags}", f"LDFLAGS=-Wl,-rpath,{prefix / 'lib'}",
            env=os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")})
        return Example(folder / "c-smtpd", "-n", "-c", "-k", "-r", -signal.SIGTERM)

    @staticmethod
    def nio(folder: pathlib.Path) -> "Example":
        """nio-smtpd, a separate Swift package that downloads SwiftNIO, after its own tests. SWIFT and JOBS are as in the Makefile."""
        swift = os.environ.get("SWIFT", "swift")
        options = ["--package-path", str(ROOT / "Examples/nio-smtpd"), "--scratch-path", str(folder)]
        # Without optimisation: BoringSSL and SwiftNIO build in half the time.
        run(swift, "build", "-j", os.environ.get("JOBS", "2"), "--build-tests", *options, timeout=3600, stdout=None)
        run(swift, "test", "--skip-build", *options, timeout=900, stdout=None)
        program = pathlib.Path(run(swift, "build", "--show-bin-path", *options).strip()) / "nio-smtpd"
        return Example(program, "--name", "--certificate", "--key", "--require-tls", 0)


class Server:
    """An example on a free port, with its own folder of mails."""

    def __init__(self, example: Example, folder: pathlib.Path, name: str, certificate: Certificate | None, options):
        self.example, self.folder = example, folder
        command = [example.program, example.name, name]
        if certificate:
            command += [example.certificate, certificate.chain, example.key, certificate.key]
        self.process = subprocess.Popen([*command, *options, folder], stderr=subprocess.PIPE, text=True)
        self.log = ""
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        first = self.lines.get(timeout=PATIENCE)
        match = re.search(r"listening on 127\.0\.0\.1 port (\d+)", first)
        assert match, f"the server does not listen: {first}"
        self.port = int(match.group(1))

    def read(self) -> None:
        for line in self.process.stderr:
            self.log += line
            self.lines.put(line)

    def finish(self) -> None:
        """Ends the server; its exit status, its log and its folder must be those of a server without a fault."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(timeout=PATIENCE)
        assert self.process.returncode == self.example.ends_with, self.log
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log
        self.mails()

    def mails(self) -> list[str]:
        """The mails that are stored, in the order of their names. No temporary file is left, a moment after the last client."""
        end = time.monotonic() + PATIENCE
        while True:
            names = sorted(self.folder.iterdir(), key=lambda name: [int(number) for number in re.findall(r"\d+", name.stem)])
            if all(name.suffix == ".eml" for name in names):
                break
            assert time.monotonic() < end, names
            time.sleep(0.01)
        return [name.read_bytes().decode() for name in names]

    def memory(self) -> int:
        """The resident memory of the server, in octets."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def rest(self) -> None:
        """Waits until the server uses no more processor time."""
        before, end = -1, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            now = int(fields[11]) + int(fields[12])
            if now == before:
                return
            before = now
            time.sleep(0.5)
