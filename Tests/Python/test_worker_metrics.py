"""The metrics of several workers at one address, which the supervisor serves."""
import os
import pathlib
import re
import shutil
import signal

import pytest

from backends import Daemon, deliver
from metrics import ended, get, scrape, two_workers, up, worker


@pytest.fixture
def workers(backend_server, starttlsd, tmp_path):
    return two_workers(backend_server, starttlsd, tmp_path)


def test_one_address_has_the_metrics_of_all_workers(workers):
    for _ in range(4):
        deliver(workers.port)
    seen = ended(workers, 4)
    assert seen["starttlsd_workers"] == 2 and workers.eventually(lambda: up(workers) == [1, 1])
    assert sum(value for name, value in seen.items() if name.startswith("starttlsd_connections_total{worker=")) == 4
    assert sum(value for name, value in seen.items() if name.startswith("starttlsd_handshake_seconds_count{worker=")) == 4
    builds = [name for name in seen if name.startswith("starttlsd_build_info")]
    assert [re.sub('version="[0-9.]+"', "VERSION", name) for name in builds] == [
        f'starttlsd_build_info{{worker="{number}",VERSION}}' for number in (1, 2)]
    # Nothing is left of it but the number of its starts.
    os.kill(worker(workers, 1), signal.SIGKILL)
    assert workers.eventually(lambda: scrape(workers)['starttlsd_worker_restarts_total{worker="1"}'] == 1 and up(workers) == [1, 1])
    assert scrape(workers).get('starttlsd_session_ends_total{worker="1",end="relayed"}', 0) == 0


def test_a_worker_that_does_not_answer_is_left_out(workers):
    assert workers.eventually(lambda: up(workers) == [1, 1])
    process = worker(workers, 2)
    os.kill(process, signal.SIGSTOP)
    try:
        assert workers.eventually(lambda: up(workers) == [1, 0])
        seen = scrape(workers)
        assert {name.split("{")[0] for name in seen if 'worker="2"' in name} == {"starttlsd_worker_up", "starttlsd_worker_restarts_total"}
        # It is asked once, however often the supervisor is; and the supervisor waits for nothing else.
        number = len(list(pathlib.Path(f"/proc/{workers.process.pid}/fd").iterdir()))
        for _ in range(50):
            assert up(workers)[1] == 0
        assert len(list(pathlib.Path(f"/proc/{workers.process.pid}/fd").iterdir())) <= number + 1
    finally:
        os.kill(process, signal.SIGCONT)
    assert workers.eventually(lambda: up(workers) == [1, 1])
    assert get(workers.metrics, b"HEAD /metrics HTTP/1.0\r\n\r\n")[2] == ""
    assert get(workers.metrics, b"GET / HTTP/1.1\r\n\r\n")[0].endswith("404 Not Found")


# A program that takes over. Its workers answer with the text of a file, or stop; its supervisor is the real one.
TAKEN_OVER = """#!/usr/bin/python3
import os, socket, sys
if "STARTTLSD_TAKE_OVER" in os.environ:
    os.execv({program!r}, sys.argv)
channel = socket.socket(fileno=int(os.environ["STARTTLSD_WORKER"].split()[2]))
channel.send(b"READY=1\\nTAKE_OVER=2")
while True:
    message, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
    if not message:
        break
    with socket.socket(fileno=descriptors[0]) as asking, open({text!r}, "rb") as file:
        answer = file.read()
        if answer == b"stop":
            channel.send(b"STOPPING=1")
            answer = b"starttlsd_connections_to"
        try:
            asking.sendall(answer)
        except OSError:
            pass
    if answer.endswith(b"_to"):
        break
"""


@pytest.fixture
def captured(build, backend_server, certificate, tmp_path):
    """A daemon with two such workers; the file `text` in the folder of the test has their text."""
    program, text = (build / "release/starttlsd").resolve(), tmp_path / "text"
    (tmp_path / "release").mkdir()
    (tmp_path / "release/starttlsd").symlink_to(program)
    daemon = Daemon(tmp_path, certificate, tmp_path, "--workers", "2", "--backend", backend_server(trusts="nobody").address, "--backend-client",
                    "none", "--metrics", f"unix:{tmp_path}/metrics")
    daemon.metrics = f"{tmp_path}/metrics"
    try:
        daemon.wait_for("2 workers serve")
        replaced = tmp_path / "replaced"
        replaced.write_text(TAKEN_OVER.format(program=str(program), text=str(text)))
        replaced.chmod(0o755)
        replaced.rename(tmp_path / "release/starttlsd")
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.wait_for("has taken over")
        yield daemon
    finally:
        daemon.finish()


def test_what_a_captured_worker_says_does_not_spoil_the_metrics(captured, tmp_path):
    """Its text is used only if it is as ours are: it cannot speak for another worker, nor make the text of all unreadable."""
    daemon, text = captured, tmp_path / "text"
    good = 'starttlsd_sessions{phase="clear"} 7\nstarttlsd_connections_total 3\n'
    text.write_text("# HELP x y\n" + good + 'starttlsd_greeting_seconds_bucket{le="0.1"} 1\n# EOF\n')
    assert daemon.eventually(lambda: up(daemon) == [1, 1])
    assert scrape(daemon)['starttlsd_sessions{worker="2",phase="clear"}'] == 7
    phase = 'starttlsd_sessions{phase="%s"} 1\n'
    text.write_text(good + phase % "clear" + "# EOF\n")
    twice = r"the metrics of worker \d are left out: a sample is there twice: restart starttlsd"
    assert daemon.eventually(lambda: up(daemon) == [0, 0] and re.search(twice, daemon.log())), daemon.log()
    for bad in ['starttlsd_connections_total 3\n', 'starttlsd_other 1\n', "starttlsd_connections 1\n",
                'starttlsd_sessions{worker="1"} 1\n', 'starttlsd_sessions{worker="1",phase="a"} 1\n', 'starttlsd_sessions{phase="a",worker="1"} 1\n',
                'starttlsd_sessions{phase="a",phase="b"} 1\n', 'starttlsd_sessions{__name__="x"} 1\n', 'starttlsd_sessions{file="a"} 1\n',
                "starttlsd_sessions 1\n", "starttlsd_sessions{} 1\n", 'starttlsd_sessions_limit{phase="a"} 1\n',
                'starttlsd_handshakes_total{version="a",cipher="b"} 1\n', 'starttlsd_handshakes_total{group="a",version="b",cipher="c"} 1\n',
                'starttlsd_greeting_seconds_bucket 1\n', 'starttlsd_greeting_seconds_sum{le="1.0"} 1\n',
                'starttlsd_sessions{phase="a"\n', 'starttlsd_sessions{phase="a" 1\n', 'starttlsd_sessions{phase="a 1\n', phase % "\\x", phase % "\xe9",
                'starttlsd_sessions{phase="a",} 1\n', 'starttlsd_sessions{phase="a"}{phase="b"} 1\n', 'starttlsd_sessions{phase=a} 1\n',
                'starttlsd_sessions{phase="a"}\n', 'starttlsd_sessions{phase="a"} one\n', 'starttlsd_sessions{phase="a"} 1 1\n',
                'starttlsd_sessions{phase="a"} 1..0\n', "\x00\n", "# EOF\n x\n", "x" * (2 << 20) + "\n",
                "".join(phase % number for number in range(2000)),
                "".join('starttlsd_certificate_valid_until_seconds{file="%d"} 1\n' % number for number in range(1025))]:
        text.write_text(good + bad + "# EOF\n")
        assert up(daemon) == [0, 0], bad[:100]
    # One line states it, not one for each request: the others are counted for a minute.
    assert len(re.findall(r"(?<!the last one: )the metrics of worker", daemon.log())) == 1, daemon.log()
    handshakes = 'starttlsd_handshakes_total{version="%d",group="",cipher=""} 1\n'
    text.write_text("".join(handshakes % number for number in range(1900)) + "".join(
        'starttlsd_certificate_valid_until_seconds{file="/etc/%d"} 1\n' % number for number in range(1024)) + "# EOF\n")
    assert daemon.eventually(lambda: up(daemon) == [1, 1]), daemon.log()
    for bad in [b"", good.encode(), b"\xff# EOF\n"]:
        text.write_bytes(bad)
        assert up(daemon) == [0, 0], bad
    text.write_text(good + "# EOF\n")
    assert daemon.eventually(lambda: up(daemon) == [1, 1])


def test_a_worker_that_stops_while_it_is_asked_is_no_warning(captured, tmp_path):
    good = b"starttlsd_connections_total 3\n# EOF\n"
    (tmp_path / "text").write_bytes(b"stop")
    assert up(captured) == [0, 0]
    captured.wait_for("stops by itself: another one takes its place")
    (tmp_path / "text").write_bytes(good)
    assert captured.eventually(lambda: up(captured) == [1, 1]), captured.log()
    assert "are left out" not in captured.log()


def test_the_files_of_certificates_have_different_labels(backend_server, starttlsd, certificate, tmp_path):
    """Octets that are not printable are escaped, each in its own way: files with similar names stay different."""
    names = ["\xe4", "\xf6", r"\xC3\xA4", '"']
    for name in names:
        (tmp_path / "names" / name).mkdir(parents=True)
        shutil.copy(certificate.chain, tmp_path / "names" / name / "fullchain.pem")
        shutil.copy(certificate.key, tmp_path / "names" / name / "privkey.pem")
    daemon = two_workers(backend_server, starttlsd, tmp_path, "--certificate-folder", str(tmp_path / "names"))
    assert daemon.eventually(lambda: up(daemon) == [1, 1]), daemon.log()
    files = [key for key in scrape(daemon) if key.startswith('starttlsd_certificate_valid_until_seconds{worker="1"') and "/names/" in key]
    assert sorted(re.findall(r"/names/(.*)/fullchain.pem", "\n".join(files))) == sorted(
        [r"\\xC3\\xA4", r"\\xC3\\xB6", r"\\x5CxC3\\x5CxA4", r"\""])
