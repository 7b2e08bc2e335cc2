"""What a captured starttlsd can have the process do that starts the server program (starttlsd-start)."""
import contextlib
import os
import signal

import pytest

from captured import Starter, children

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="this uses descriptors of another process, as root")

# A program that sends back what it reads, after its greeting.
ECHO = "/bin/sh", "-c", "printf '220 backend\\r\\n'; exec cat"
GREETING = b"220 backend\r\n"


def echoes(end) -> bool:
    """True if a program has the other end; false if that is closed."""
    stream = end.makefile("rwb")
    if stream.readline() != GREETING:
        return False
    stream.write(b"x\n")
    stream.flush()
    return stream.readline() == b"x\n"


@contextlib.contextmanager
def captured_starter(daemon):
    starter = Starter(daemon.process.pid)
    ends = []

    def start(number: int, *variables: bytes):
        ends.append(starter.start(number, *variables))
        return ends[-1]

    try:
        yield starter, start
    finally:
        for end in ends:
            end.close()
        starter.connection.close()


def test_the_limit_of_programs_holds(starttlsd):
    """--max-backends counts the programs that run: not those that the message `reap` names too early."""
    daemon = starttlsd("--max-backends", "3", "--trusting-backend", "--", *ECHO)
    daemon.wait_for("listening on")
    with captured_starter(daemon) as (starter, start):
        for number in range(1001, 1007):
            start(number)
        # Its end shows that all messages before it were obeyed.
        starter.signal(1001, signal.SIGKILL)
        assert daemon.eventually(lambda: len(children(starter.process)) == 2), children(starter.process)
        first = set(children(starter.process))
        # 1001 has ended and is not reaped yet; the others run.
        starter.reap(1002)
        assert not echoes(start(1007))
        starter.reap(1001)
        assert echoes(start(1008))
        assert first < set(children(starter.process)) and len(children(starter.process)) == 3
        assert not echoes(start(1009))
    # All have read the end of their input, and their places are free.
    assert daemon.eventually(lambda: not children(starter.process))
