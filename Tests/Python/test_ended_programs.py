"""Server programs that have ended, when many end at once."""
import os
import signal

from backends import eventually
from captured import child, children
from mail import connect, read_until

SESSIONS = 60


def programs_of(daemon: int) -> list[int]:
    """The server programs that run or are not reaped. They are children of the process that starts them."""
    return children(child(daemon, "starttlsd-start"), with_zombies=True)


def test_programs_that_have_ended_take_nobodys_place(build, starttlsd, tmp_path):
    """All programs end while starttlsd does not run, and as many clients as before wait. Each place that is free again is given to one of them.

    A client needs two places until it has decided. If the ends were taken one by one while clients are accepted in batches, more than
    160 places would be in use: that is 60 of programs, 120 of clients, and few given back.
    """
    program = build / "release" / "maildir-smtpd"
    folder = tmp_path / "mail"
    daemon = starttlsd("--max-connections-per-address", "0", "--max-penalty", "0", "--max-backends", "160",
                       "--", str(program), "--domain", "mx.example", str(folder))
    first = [connect(daemon.port) for _ in range(SESSIONS)]
    for each in first:
        read_until(each, b"\n")
        each.sendall(b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n")
    for each in first:
        read_until(each, b"250 2.1.0")
    assert len(programs_of(daemon.process.pid)) == SESSIONS
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        for each in programs_of(daemon.process.pid):
            os.kill(each, signal.SIGKILL)
        assert eventually(lambda: not programs_of(daemon.process.pid))
        second = [connect(daemon.port) for _ in range(SESSIONS)]
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    greetings = [read_until(each, b"\n")[:4] for each in second]
    assert greetings == [b"220 "] * SESSIONS, daemon.log()[-1000:]
    for each in first + second:
        each.close()
