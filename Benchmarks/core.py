"""core: counts the instructions that the core executes for one command and its reply, beside a plain parser in C, with callgrind; and
the allocations, with memcheck. The result does not depend on the load of the machine.
"""
import concurrent.futures
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
# The octets of each command with its reply.
COMMANDS = {"ehlo": 21 + 73, "noop": 6 + 14, "starttls": 10, "mail": 37}
FEW, MANY = 1000, 3000


class Cost(NamedTuple):
    core: float
    parser: float
    octets: int


def valgrind(arguments: list, pattern: str) -> int:
    run = subprocess.run(["valgrind", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return int(re.search(pattern, run.stderr)[1].replace(",", ""))


def instructions(program: pathlib.Path, command: str, count: int) -> int:
    return valgrind(["--tool=callgrind", "--callgrind-out-file=/dev/null", program, command, str(count)], r"Collected : (\d+)")


def allocations(program: pathlib.Path, command: str, count: int) -> int:
    return valgrind(["--leak-check=no", program, command, str(count)], r"total heap usage: ([\d,]+) allocs")


def measure(folder: pathlib.Path, tools: pathlib.Path) -> tuple[dict[str, Cost], float]:
    """The cost of each command, and the allocations of a command."""
    built = subprocess.run(["swift", "build", "-c", "release", "--package-path", HERE, "--scratch-path", folder, "--product", "core-bench"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if built.returncode:
        sys.exit(built.stdout)
    core = folder / "release" / "core-bench"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        counted = {(program, command, count): pool.submit(instructions, program, command, count)
                   for program in (core, tools / "parser") for command in ("start", *COMMANDS) for count in (FEW, MANY)}
        allocated = [pool.submit(allocations, core, command, count) for command in COMMANDS for count in (FEW, MANY)]

    def of_one(program: pathlib.Path, command: str) -> float:
        return (counted[program, command, MANY].result() - counted[program, command, FEW].result()) / (MANY - FEW)

    costs = {command: Cost(*(of_one(program, command) - of_one(program, "start") for program in (core, tools / "parser")), octets)
             for command, octets in COMMANDS.items()}
    results = [future.result() for future in allocated]
    return costs, sum(many - few for few, many in zip(results[::2], results[1::2])) / (MANY - FEW) / len(COMMANDS)
