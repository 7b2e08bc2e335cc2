"""The scripts that run the tests: a test that fails, crashes, hangs or is skipped is reported, whatever else passes."""
import os
import pathlib
import stat
import subprocess

import pytest

from servers import ROOT

# In place of the tests that are built: it lists and runs tests as XCTest does.
BINARY = r"""#!/bin/bash
case $1 in
--list-tests)
  printf '%s\n' 'Listing 7 tests in x.xctest:' '' M.Good/testA M.Good/testB M.Bad/testFails M.Skipped/testC M.Crash/testD M.Hang/testE M.Signals/testF
  exit ;;
--testing-library) exit 69 ;;
esac
status=0
for test in ${1//,/ }; do
  name=${test#*.}; name=${name/\//.}
  echo "Test Case '$name' started at 2026-01-01 00:00:00.000"
  result=passed
  case $name in
  *Fails) echo "X.swift:1: error: what is wrong"; result=failed; status=1 ;;
  Skipped.*) result=skipped ;;
  Crash.*) kill -SEGV $$ ;;
  Hang.*) exec sleep 60 ;;
  Good.testA) echo "explored 7 states" ;;
  Signals.*) grep SigIgn: /proc/self/status ;;
  esac
  echo "Test Case '$name' $result (0.001 seconds)"
done
exit $status
"""


@pytest.fixture
def binary(tmp_path) -> pathlib.Path:
    path = tmp_path / "tests.xctest"
    path.write_text(BINARY)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def ran(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)


def test_tests_that_pass(binary):
    run = ran(ROOT / "Scripts/test-swift", binary, "Good")
    assert run.returncode == 0, run.stdout
    assert "passed: M.Good, 2 tests" in run.stdout and "  explored 7 states" in run.stdout
    assert "Test Case" not in run.stdout
    assert "\t Executed 2 tests, with 0 failures (0 unexpected) in " in run.stdout


@pytest.mark.parametrize("name, words", [
    ("Bad", ["X.swift:1: error: what is wrong", "FAILED (status 1): M.Bad"]),
    ("Crash", ["FAILED (status -11): M.Crash", "Test Case 'Crash.testD' started"]),
    ("Hang", ["FAILED (status -6): M.Hang", "Test Case 'Hang.testE' started"]),
])
def test_a_test_that_does_not_pass(binary, name, words):
    run = ran("env", "SMTPSTATE_EXTENT=full", ROOT / "Scripts/test-swift", "-t", 2, binary, name, "Good")
    assert run.returncode == 1, run.stdout
    for text in [*words, f"failed: M.{name}/test", "\n  SMTPSTATE_EXTENT=full Scripts/test-swift ", "\t Executed 3 tests, with 1 failures"]:
        assert text in run.stdout


def test_one_test_of_a_class(binary):
    run = ran(ROOT / "Scripts/test-swift", binary, "^M.Good/testA$")
    assert run.returncode == 0 and "passed: M.Good, 1 tests" in run.stdout


def test_no_test(binary):
    assert ran(ROOT / "Scripts/test-swift", binary, "Nothing").returncode == 1


def test_no_signal_is_ignored(binary):
    """In the background, where a shell ignores SIGINT and SIGQUIT."""
    for command in [f"{ROOT}/Scripts/test-swift {binary} Signals", f"{ROOT}/Scripts/side-by-side 'grep SigIgn: /proc/self/status'"]:
        run = ran("/bin/sh", "-c", f"{command} & wait $!")
        assert run.returncode == 0, run.stdout
        ignored = int(run.stdout.partition("SigIgn:")[2].split()[0], 16)
        assert ignored & (1 << 1 | 1 << 2) == 0, run.stdout


def test_a_skipped_test_is_found(binary):
    run = ran(ROOT / "Scripts/no-skips", ROOT / "Scripts/test-swift", binary, "Skipped", "Good")
    assert run.returncode == 1 and "no-skips: these tests were skipped:\nTest Case 'Skipped.testC' skipped" in run.stdout


def test_commands_side_by_side(tmp_path):
    # Each waits for the other.
    a, b = tmp_path / "a", tmp_path / "b"
    wait = "touch {}; for i in $(seq 300); do [ -e {} ] && break; sleep 0.1; done; [ -e {} ] && echo met"
    run = ran(ROOT / "Scripts/side-by-side", wait.format(a, b, b), wait.format(b, a, a))
    assert run.returncode == 0 and run.stdout == "met\nmet\n"
    run = ran(ROOT / "Scripts/side-by-side", "echo good", "echo bad; exit 3")
    assert run.returncode == 1 and "good\n" in run.stdout and "bad\n" in run.stdout
    assert "side-by-side: status 3: echo bad; exit 3" in run.stdout


@pytest.mark.parametrize("script", [str(path.relative_to(ROOT)) for folder in ("Scripts", "Benchmarks", "Tests/Soak")
                                    for path in sorted((ROOT / folder).iterdir())
                                    if path.is_file() and "argparse.ArgumentParser(" in path.read_text()])
def test_a_script_finds_what_it_imports(script):
    """Some of them import modules of the tests, and run with targets that need root, other servers or an hour."""
    run = ran(ROOT / script, "--help")
    assert run.returncode == 0 and run.stdout.startswith("usage: "), run.stdout


@pytest.mark.parametrize("with_skarnet", [False, True])
def test_a_table_of_servers_loses_no_column(tmp_path, with_skarnet):
    """Before a server is started: a run takes minutes."""
    page = ROOT / "Docs/Checking.md"
    before = page.read_text()
    for library in ("bearssl", "libtls"):
        (folder := tmp_path / library / "bin").mkdir(parents=True)
        (folder / "s6-tlsd-io").write_text("BearSSL" if library == "bearssl" else "")
    chains = f"{tmp_path}/bearssl/bin:{tmp_path}/libtls/bin" if with_skarnet else ""
    run = ran("env", f"SKARNET={chains}", ROOT / "Scripts/check-servers", tmp_path, tmp_path, "--write", "--only", "skarnet", "--only", "stunnel")
    assert run.returncode == 1 and "Docs/Checking.md stays as it is, because this run has no column for: " in run.stdout, run.stdout
    assert "aiosmtpd 1.4.4" in run.stdout and "stunnel" not in run.stdout, run.stdout
    assert run.stdout.count("skarnet's chain with") == (0 if with_skarnet else 2), run.stdout
    assert page.read_text() == before


def test_mistakes_are_applied_to_a_complete_copy(tmp_path):
    """In place of the compiler: compares the copy with the package."""
    compiler = tmp_path / "swift"
    compiler.write_text(f"""#!/bin/sh
for name in Sources Tests; do diff -r --no-dereference -x __pycache__ {ROOT}/$name $name; done >{tmp_path}/differences
exit 1
""")
    patch = tmp_path / "patch"
    patch.write_text("#!/bin/sh\n")
    for path in (compiler, patch):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    # Of a program, in a folder with what was copied before.
    (left := tmp_path / "copy/programs/Tests/Left.swift").parent.mkdir(parents=True)
    left.write_text("")
    run = ran("env", f"PATH={tmp_path}:{os.environ['PATH']}", f"SWIFT={compiler}", ROOT / "Scripts/mutants", tmp_path / "copy", 152)
    assert "it does not compile" in run.stdout, run.stdout
    assert (tmp_path / "differences").read_text() == ""
