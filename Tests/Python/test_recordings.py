"""Which sessions --record keeps: a share, those of an address, and both."""
import subprocess

import pytest

from backends import client


@pytest.mark.parametrize("options, kept", [(("--record-share", "1/3"), 4), (("--record-address", "127.0.0.9"), 6), (("--record-address", "127.0.0.8/30"), 12)])
def test_the_choice_of_sessions(backend_server, starttlsd, build, tmp_path, options, kept):
    folder = tmp_path / "recordings"
    folder.mkdir(mode=0o700)
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
