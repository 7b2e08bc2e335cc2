"""Packaging/container/Containerfile: built and run with podman, as Docs/Install.md says.

The base is a clean root instead of an image from elsewhere. The container has no network but the loopback.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from xml.etree import ElementTree

import pytest

from cleanroot import CleanRoot, eventually
from mail import PATIENCE, run
from servers import ROOT

pytestmark = pytest.mark.install
# Where the first limit of this machine is lower than what podman asks for.
LIMITS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
# The runtime does not work where both hierarchies of control groups are mounted: it sees the unified one alone.
UNIFIED = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; echo ready; exec cat"


class Podman:
    """podman with a storage of the test's own, in a name space of mounts of its own."""

    def __init__(self, folder: pathlib.Path):
        self.place = subprocess.Popen(["unshare", "--mount", "--cgroup", "sh", "-ec", UNIFIED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.place.stdout.readline() == b"ready\n"
        spaces = f"/proc/{self.place.pid}/ns"
        self.words = ["nsenter", f"--mount={spaces}/mnt", f"--cgroup={spaces}/cgroup", f"--wd={ROOT}", "podman",
                      "--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--cgroup-manager", "cgroupfs"]

    def __call__(self, *words: str, **options) -> str:
        return run(*self.words, *words, **({"timeout": 600} | options))

    def finish(self) -> None:
        self("rm", "--all", "--force")
        self("rmi", "--all", "--force")
        self.place.communicate(timeout=PATIENCE)


def documented(command: str, page: str = "Install") -> list[str]:
    """The words of a podman command of a page in Docs."""
    text = (ROOT / f"Docs/{page}.md").read_text().replace("\\\n", "")
    return re.search(rf"^    podman {command} (.*)$", text, re.MULTILINE).group(1).split()


@pytest.fixture
def podman(build):
    assert list((build / "deb").glob("starttlsd_*.deb")), "there are no packages: make deb"
    template = CleanRoot.template(build, "bookworm")
    # podman takes a short path only.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="podman-"))
    made = Podman(folder)
    archive = subprocess.Popen(["tar", "-C", str(template), "-c", "."], stdout=subprocess.PIPE)
    made("import", "-", "localhost/debian-root", stdin=archive.stdout)
    assert archive.wait() == 0
    yield made
    made.finish()
    shutil.rmtree(folder)


def check_the_server(podman: Podman) -> None:
    """The command of Docs/Checking.md, against the container's own server instead of one of the machine."""
    command, target = " ".join(documented("run", "Checking")).split(" > ")
    assert target == "starttls.xml"
    command = command.replace("--network host", "--network container:starttlsd").replace("localhost:2525", "localhost:25")
    report = ElementTree.fromstring(podman("run", "--cgroups", "disabled", *LIMITS, *command.split()))
    cases = list(report.iter("testcase"))
    assert len(cases) > 50, cases
    # What a check of the default needs is there: most are tried, and none finds anything.
    assert len([case for case in cases if case.find("skipped") is None]) > 40, ElementTree.tostring(report)
    assert not list(report.iter("failure")), ElementTree.tostring(report)


def test_the_container(podman, build, certificate, tmp_path):
    words = [str(build / "deb") if word == ".build/deb" else word for word in documented("build")]
    podman("build", "--isolation", "chroot", "--network", "host", "--build-arg", "BASE=localhost/debian-root", *words)
    settings = tmp_path / "etc"
    settings.mkdir(mode=0o755)
    user = podman("run", "--rm", "--network", "none", "--cgroups", "disabled", *LIMITS, "--entrypoint", "id", "starttlsd", "-u").strip()
    assert user != "0"
    for source, name, mode in (certificate.chain, "chain.pem", 0o644), (certificate.key, "key.pem", 0o600):
        target = settings / name
        target.write_bytes(pathlib.Path(source).read_bytes())
        target.chmod(mode)
        os.chown(target, int(user), -1)

    # The documented command, without what needs a network or another machine. The checks make more errors than a client may.
    command = " ".join(documented("run")).replace("--detach ", "").replace("--publish 25:25 ", "--network none ")
    command = command.replace("starttlsd -- ", "starttlsd --exempt 127.0.0.0/8 --exempt ::1 -- ")
    command = command.replace("/etc/starttlsd:/etc/starttlsd", f"{settings}:/etc/starttlsd")
    process = subprocess.Popen([*podman.words, "run", "--cgroups", "disabled", *LIMITS, *command.split()],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed = []
        while not printed or "listening on" not in printed[-1]:
            printed.append(process.stdout.readline())
            assert printed[-1], printed
        state = podman("inspect", "--format", "{{.State.Pid}}", "starttlsd").strip()
        status = pathlib.Path(f"/proc/{state}/status").read_text()
        assert re.search(rf"^Uid:\t{user}\t{user}\t{user}\t{user}$", status, re.MULTILINE), status
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE), status
        dialogue = run("nsenter", f"--net=/proc/{state}/ns/net", "swaks", "--server", "127.0.0.1", "--tls", "--ehlo", "client.example",
                       "--from", "sender@client.example", "--to", "someone@example.org")
        assert "TLS started" in dialogue and "\n<~  250 2" in dialogue.split("~> .")[-1], dialogue
        assert "This is a test mailing" in podman("exec", "starttlsd", "sh", "-c", "cat /var/lib/starttlsd/Maildir/new/*")
        podman("healthcheck", "run", "starttlsd")
        check_the_server(podman)
        podman("kill", "--signal", "HUP", "starttlsd")
        eventually(lambda: "certificates are loaded again" in process.stdout.readline(), "the certificates are loaded again")
        podman("stop", "--time", "40", "starttlsd")
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()
