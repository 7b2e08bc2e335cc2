"""What a captured starttlsd can have the process do that starts the server program (starttlsd-start)."""
import contextlib
import itertools
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
        assert daemon.eventually(lambda: len(children(starter.process)) == 3), children(starter.process)
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


def test_a_program_that_ends_by_itself_is_reaped_at_once(starttlsd):
    """Its place is free without a message. One that was signalled waits for `reap`, because what it has started may be signalled again."""
    daemon = starttlsd("--max-backends", "2", "--trusting-backend", "--", *ECHO)
    daemon.wait_for("listening on")
    with captured_starter(daemon) as (starter, start):
        first, second = start(1001), start(1002)
        assert echoes(first) and echoes(second)
        first.close()
        assert daemon.eventually(lambda: len(children(starter.process, with_zombies=True)) == 1), "it is left as a zombie"
        assert echoes(start(1003))
        starter.signal(1002, signal.SIGTERM)
        assert daemon.eventually(lambda: len(children(starter.process)) == 1)
        # As many as the limit allows: one that runs, and the one that is not reaped.
        assert len(children(starter.process, with_zombies=True)) == 2 and not echoes(start(1004))
        starter.reap(1002)
        assert echoes(start(1005))


def test_only_variables_that_rules_set(starttlsd, tmp_path):
    """Any value of a variable that a rule sets, at the start or after a SIGHUP, and no other variable."""
    rules = tmp_path / "rules"
    rules.write_text('192.0.2.9:allow,WHO="x"\n')
    program = "/bin/sh", "-c", "printf '220 backend\\r\\n'; echo \"$WHO$OTHER$LD_PRELOAD\"; exec cat"
    daemon = starttlsd("--access", str(rules), "--trusting-backend", "--", *program)
    daemon.wait_for("listening on")
    with captured_starter(daemon) as (starter, start):
        numbers = itertools.count(1001)

        def shown(*variables: bytes) -> bytes:
            """Empty if the program is not started."""
            stream = start(next(numbers), *variables).makefile("rb")
            return stream.readline() and stream.readline()

        assert shown(b"PROTO=TCP", b"WHO=other") == b"other\n"
        for text in b"LD_PRELOAD=/tmp/x", b"OTHER=x", b"WHO", b"WH=x", b"WHO2=x", b"=x", b"":
            assert not shown(b"PROTO=TCP", text), text
        # What starttlsd-read has from the file.
        rules.write_text('192.0.2.9:allow,OTHER="x"\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("1 access rules are loaded")
        assert shown(b"OTHER=y") == b"y\n" and shown(b"WHO=y") == b"y\n" and not shown(b"LD_PRELOAD=/tmp/x")
        # Rules with an error bring no name.
        rules.write_text('192.0.2.9:allow,THIRD="x"\nwrong\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("the access rules stay as they were")
        assert not shown(b"THIRD=x")
