"""What concerns the C example alone: one limit, the documents that show it, and what its library needs."""
import os
import re
import subprocess
import textwrap

import pytest

from mail import codes, run, talk
from servers import ROOT

EMBEDDING = (ROOT / "Docs/Embedding.md").read_text()


@pytest.mark.parametrize("example", ["c-smtpd"], indirect=True)
def test_too_many_recipients(server):
    answer = talk(server.port, b"EHLO c\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<b@mx.example>\r\n" * 101 + b"QUIT\r\n")
    assert codes(answer)[-3:] == ["250", "452", "221"]


def test_embedding_shows_the_example():
    """Every C block of Docs/Embedding.md that names the example is in the example, apart from indentation."""
    source = textwrap.dedent((ROOT / "Examples/c-smtpd/c-smtpd.c").read_text())
    blocks = re.findall(r"<!-- c-smtpd -->\n```c\n(.*?)```", EMBEDDING, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        assert block in source


def test_the_other_samples_compile():
    samples = re.findall(r"(?<!-->\n)```c\n(.*?)```", EMBEDDING, re.DOTALL)
    assert samples
    for sample in samples:
        run("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT}/Sources/CSMTPState", "-fsyntax-only", "-xc", "-",
            input=sample)


@pytest.mark.parametrize("options, needed", [([], ["libsmtpstate.so.1", "libc.so.6"]), (["-Wl,-Bstatic"], ["libc.so.6"])])
def test_a_program_needs_only_the_library_and_libc(prefix, tmp_path, options, needed):
    source, program = tmp_path / "least.c", str(tmp_path / "least")
    source.write_text("#include <smtpstate.h>\nint main(void) { return smtpstate_abi_version() != SMTPSTATE_ABI_VERSION; }\n")
    flags = run("pkg-config", "--cflags", "--libs", "smtpstate",
                env=os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}).split()
    run("cc", str(source), "-o", program, *options, *flags, "-Wl,-Bdynamic", f"-Wl,-rpath,{prefix / 'lib'}")
    subprocess.run([program], check=True, timeout=20)
    names = [line.split()[0] for line in run("ldd", program).splitlines()]
    assert [name for name in names if not name.startswith(("linux-vdso", "/lib"))] == needed
