"""Fixtures of the tests with real clients.

Run them with the targets of the Makefile, which build what they need, or one by one: `python3 -m pytest Tests/Python -k injection`.
"""
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from backends import Daemon
from backends import Server as BackendServer
from mail import PATIENCE, run
from ports import Ports
from servers import ROOT, Certificate, Example, Server


def pytest_addoption(parser):
    parser.addoption("--build", default=str(ROOT / ".build"), help="the folder of the build (.build)")


def pytest_configure(config):
    config.addinivalue_line("markers", "nio: tests of the SwiftNIO example, which downloads and builds SwiftNIO")
    config.addinivalue_line("markers", "postfix: tests with Debian's Postfix as the client; need root")
    config.addinivalue_line("markers", "servers: tests with Debian's servers on both sides of starttlsd; need root")
    config.addinivalue_line("markers", "valgrind: tests of tlsd-io under valgrind, of some seconds each")
    config.addinivalue_line("markers", "install: tests that boot a clean Debian in a container; need root and Debian's archives")


@pytest.fixture(scope="session")
def build(request) -> pathlib.Path:
    """The folder of the build: the C library in `c-library`, the programs in `release`."""
    return pathlib.Path(request.config.getoption("--build")).resolve()


@pytest.fixture
def free_port() -> Iterator[Ports]:
    """Makes free ports of the loopback, which are the test's until it ends."""
    ports = Ports()
    yield ports
    ports.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Certificate:
    """A self-signed certificate of localhost."""
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(str(folder / "chain.pem"), str(folder / "key.pem"))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.key, "-out", made.chain,
        stderr=subprocess.DEVNULL)
    return made


@pytest.fixture(scope="session")
def prefix(build, tmp_path_factory) -> pathlib.Path:
    """The C library, installed as a user installs it."""
    folder = tmp_path_factory.mktemp("prefix")
    run(str(ROOT / "Scripts/install-files"), "install", str(build), "c-library", cwd=ROOT, env=os.environ | {"PREFIX": str(folder)})
    return folder


@pytest.fixture(scope="session")
def example(request, build, prefix, tmp_path_factory) -> Example:
    """One of the examples, built as a user builds it."""
    if request.param == "nio-smtpd":
        return Example.nio(build / "nio-smtpd")
    return Example.c(prefix, tmp_path_factory.mktemp("c-smtpd"), sanitized=request.param == "c-smtpd, sanitized")


@pytest.fixture
def start(example, tmp_path):
    """Starts the example with options; at the end of the test each server must end as it should."""
    servers = []

    def start(*options: str, name: str = "mx.example", with_certificate: Certificate | None = None) -> Server:
        folder = tmp_path / f"mail-{len(servers)}"
        folder.mkdir()
        servers.append(Server(example, folder, name, with_certificate, options))
        return servers[-1]

    yield start
    for server in servers:
        server.finish()


@pytest.fixture
def server(start, certificate) -> Server:
    """The example with a certificate."""
    return start(with_certificate=certificate)


@pytest.fixture
def backend_server():
    """Starts servers; they end with the test."""
    servers = []

    def start(*arguments, **options) -> BackendServer:
        servers.append(BackendServer(*arguments, **options))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def starttlsd(build, certificate, tmp_path):
    daemons = []

    def start(*options: str) -> Daemon:
        folder = tmp_path / f"daemon-{len(daemons)}"
        folder.mkdir()
        daemons.append(Daemon(build, certificate, folder, *options))
        return daemons[-1]

    yield start
    for each in daemons:
        each.finish()


@pytest.fixture
def folder():
    """A folder that the users of servers may enter."""
    with tempfile.TemporaryDirectory(prefix="test-servers-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def process():
    """Starts processes and ends them."""
    started = []

    def start(*command, **options) -> subprocess.Popen:
        started.append(subprocess.Popen([str(word) for word in command], start_new_session=True, **options))
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.terminate()
        each.wait(timeout=PATIENCE)
