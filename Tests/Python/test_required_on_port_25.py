"""starttlsd warns of --policy required where other mail servers deliver (RFC 3207, section 4): at its start and in `starttlsd check`."""
import contextlib
import os
import socket
import subprocess

import pytest

from backends import Daemon
from mail import PATIENCE

WARNING = "--policy required on port 25: RFC 3207 forbids it for a public server; mail of servers without TLS will bounce"

CONFIGURATION = """allow-root = true
certificate = ["{certificate.chain}"]
key = ["{certificate.key}"]
backend = ["127.0.0.1:9"]
backend-client = "none"
trusting-backend = true
workers = 1

[listener.mx]
listen = ["{mx}"]
policy = "{policy}"

[listener.submission]
listen = ["{submission}"]
policy = "required"
"""


@pytest.fixture
def address_with_port_25():
    """A loopback address at whose port 25 nobody listens. It is kept until the test ends, as the ports of `Ports` are."""
    if os.geteuid() != 0:
        pytest.skip("only root may listen on port 25")
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for number in range(1, 255):
            # Tests of other processes have other addresses.
            address = f"127.25.{os.getpid() % 250}.{number}"
            with contextlib.suppress(OSError):
                kept.bind((address, 25))
                break
        else:
            pytest.skip("a server listens on port 25 of all addresses")
        yield f"{address}:25"


def configuration(tmp_path, **values) -> str:
    file = tmp_path / "starttlsd.toml"
    file.write_text(CONFIGURATION.format(**values))
    return str(file)


@pytest.mark.parametrize("policy", ["opportunistic", "required"])
def test_at_the_start(starttlsd, address_with_port_25, policy):
    daemon = starttlsd("--listen", address_with_port_25, "--policy", policy, "--trusting-backend", "--", "/bin/true")
    daemon.wait_for(rf"listening on {address_with_port_25}\n")
    # No line is missing after its end.
    daemon.finish()
    lines = [line for line in daemon.log().splitlines() if WARNING in line]
    assert len(lines) == (policy == "required") and all("warning" in line for line in lines), daemon.log()


@pytest.mark.parametrize("policy", ["opportunistic", "required"])
def test_of_a_listener_of_a_file(build, certificate, address_with_port_25, free_port, tmp_path, policy):
    file = configuration(tmp_path, certificate=certificate, mx=address_with_port_25, submission=f"127.0.0.1:{free_port()}", policy=policy)
    log = tmp_path / "log"
    with log.open("w") as output:
        daemon = subprocess.Popen([build / "release/starttlsd", "--config", file], stderr=output)
    try:
        assert Daemon.eventually(lambda: log.read_text().count("listening on") == 2 or daemon.poll() is not None), log.read_text()
    finally:
        daemon.terminate()
        assert daemon.wait(timeout=PATIENCE) == 0, log.read_text()
    lines = [line for line in log.read_text().splitlines() if WARNING in line]
    assert len(lines) == (policy == "required") and all("warning" in line for line in lines), log.read_text()


@pytest.mark.parametrize("policy", ["opportunistic", "required"])
def test_in_a_check_of_a_file(build, certificate, tmp_path, policy):
    """The other listener requires TLS, at another port."""
    file = configuration(tmp_path, certificate=certificate, mx="127.0.0.1:25", submission="127.0.0.1:587", policy=policy)
    checked = subprocess.run([build / "release/starttlsd", "check", "--config", file], stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert checked.returncode == 0 and checked.stdout.count(WARNING) == (policy == "required"), checked.stdout
