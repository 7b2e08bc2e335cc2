"""A clean Debian, in which a test installs, configures and starts what an operator would.

The root is a copy of one that Scripts/root made. systemd-nspawn boots it: a systemd of its own as the first process, and a
network of its own that has only the loopback, so that port 25 is free. Needs root, as an installation does.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

from mail import PATIENCE, run
from servers import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_PAGER": ""}
NSPAWN = ["systemd-nspawn", "--quiet", f"--machine=starttlsd-{os.getpid()}", "--keep-unit", "--register=no", "--timezone=off"]
# What every root has. apt is there already.
PACKAGES = ["systemd", "systemd-sysv", "dbus", "openssl", "ca-certificates", "iproute2", "netbase"]


def eventually(condition, what: str, log=lambda: ""):
    """Returns the condition's value as soon as it is true."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"it does not happen: {what}\n{log()}"
        time.sleep(0.05)
    return value


class CleanRoot:
    """A root of a test. `packages` are installed in the template, which is kept for other tests."""

    def __init__(self, build: pathlib.Path, folder: pathlib.Path, release: str, *packages: str):
        template = self.template(build, release, *packages)
        self.path = folder / template.name
        run("cp", "-a", "--reflink=auto", str(template), str(self.path))
        self.release = release

    @staticmethod
    def template(build: pathlib.Path, release: str, *packages: str) -> pathlib.Path:
        """The folder that the roots of this kind are copied from."""
        assert os.geteuid() == 0, "run this as root: it installs packages and boots a container"
        folder = build / "roots" / "-".join([release, *(["servers"] if packages else [])])
        run(str(ROOT / "Scripts/root"), str(folder), release, *PACKAGES, *packages, cwd=ROOT, timeout=900)
        return folder

    def file(self, path: str) -> pathlib.Path:
        """A file of the root, as this machine sees it."""
        return self.path / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def copy(self, source: pathlib.Path, path: str) -> None:
        """Copies a file or a folder of this machine."""
        target = self.file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def fetch(self, *packages: str) -> None:
        """Downloads packages and what they depend on, with this machine's network, for `apt-get install` without one."""
        run(*NSPAWN, "--directory", str(self.path), "--resolv-conf=replace-host", "--pipe", *self.variables(), "sh", "-ec",
            f"apt-get -q update && apt-get -q install -y --no-install-recommends --download-only {' '.join(packages)}",
            stderr=subprocess.STDOUT, timeout=600)

    @staticmethod
    def variables() -> list[str]:
        return [f"--setenv={name}={value}" for name, value in ENVIRONMENT.items()]

    @contextlib.contextmanager
    def booted(self):
        """The root as a running machine."""
        # From release 256 on systemd wants the unified hierarchy of control groups, also where this machine has the old one.
        environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with open(self.path.parent / "console.log", "wb") as console:
            process = subprocess.Popen(
                [*NSPAWN, "--directory", str(self.path), "--private-network", "--resolv-conf=off", "--boot", "--console=pipe"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        try:
            yield Machine(self, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Machine:
    """A booted root."""

    def __init__(self, root: CleanRoot, process: subprocess.Popen):
        self.root = root
        self.process = process
        self.leader = eventually(lambda: self.is_running() and self.first_process(), "the container starts", self.console)
        eventually(lambda: self.is_running() and self.state() in ("running", "degraded"), "systemd is up", self.trouble)
        assert self.state() == "running", self.run("systemctl --failed --no-legend")

    def first_process(self) -> str | None:
        """The child of systemd-nspawn that is process 1 inside. Before it there is another child for a moment."""
        for child in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if re.search(r"^NSpid:.*\t1$", pathlib.Path(f"/proc/{child}/status").read_text(), re.MULTILINE):
                    return child
        return None

    def state(self) -> str:
        """The state of the system manager; something else as long as nobody can be asked."""
        return self.systemctl("is-system-running", "--wait").strip()

    def trouble(self) -> str:
        return "\n".join([self.state(), self.systemctl("list-jobs"), self.console()])

    def console(self) -> str:
        return (self.root.path.parent / "console.log").read_text(errors="replace")

    def is_running(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the container has ended: {self.console()}")
        return True

    def enter(self, *words: str, cwd: str = "/root", environment: dict | None = None) -> list[str]:
        """The command line that executes these words inside."""
        variables = [f"{name}={value}" for name, value in (ENVIRONMENT | (environment or {})).items()]
        return ["nsenter", "--target", self.leader, "--all", f"--wdns={cwd}", "env", "-i", *variables, *words]

    def run(self, script: str, *, code: int = 0, cwd: str = "/root", environment: dict | None = None, input: str = "") -> str:
        """Runs a shell script inside. Returns what it printed."""
        ended = subprocess.run(self.enter("sh", "-ec", script, cwd=cwd, environment=environment), text=True, input=input,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE * 3)
        if ended.returncode != code:
            raise AssertionError(f"{script}\nexit code {ended.returncode}:\n{ended.stdout}\n{self.journal()}")
        return ended.stdout

    def systemctl(self, *words: str) -> str:
        """The output, however systemctl ends."""
        return subprocess.run(self.enter("systemctl", *words), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=PATIENCE * 3).stdout

    def property(self, name: str, unit: str = "starttlsd.service") -> str:
        return self.systemctl("show", unit, "-P", name).strip()

    def journal(self, unit: str = "starttlsd") -> str:
        """The unit's part of the journal."""
        return subprocess.run(self.enter("journalctl", "-o", "cat", "-u", unit), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PATIENCE).stdout

    def network(self, *words: str) -> list[str]:
        """The command line that executes a program of this machine in the network of the root."""
        return ["nsenter", f"--net=/proc/{self.leader}/ns/net", *words]

    def send(self, recipient: str, *options: str, server: str = "127.0.0.1") -> str:
        """Sends a message with STARTTLS; returns the dialogue."""
        ended = subprocess.run(
            self.network("swaks", "--server", server, "--ehlo", "client.example", "--tls", "--from",
                         "sender@client.example", "--to", recipient, *options),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
        return ended.stdout

    def deliver(self, recipient: str, *options: str) -> None:
        """Sends a message with STARTTLS that has to be accepted."""
        dialogue = self.send(recipient, *options)
        assert "TLS started" in dialogue and "\n<~  250 " in dialogue.split("~> .")[-1], f"{dialogue}\n{self.journal()}"

    def listeners(self) -> set[str]:
        """The addresses at which somebody listens."""
        return {line.split()[3] for line in self.run("ss -Hltn").splitlines()}
