"""The C library as it will be installed: compilers, sanitizers, valgrind, other languages, the binary interface, installation."""
import difflib
import os
import re
import shutil
import subprocess

import pytest

from mail import run
from servers import ROOT

INCLUDE = ROOT / "Sources/CSMTPState"
TESTS = sorted(str(file) for file in (ROOT / "Tests/CInterface").glob("*.c"))
# In C++ -Wconversion would report numbers that are not a member of their enumeration; the tests use them intentionally.
COMMON = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-I", str(INCLUDE)]
WARNINGS = [*COMMON, "-Wconversion"]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TRANSCRIPTS = [str(ROOT / "Fixtures" / f"{name}.smtp") for name in (
    "transcripts/clients/rfc-3207", "transcripts/switch/restart-child", "transcripts/switch/rset", "transcripts/relay/octet-exact",
    "attacks/CVE-2011-0411", "attacks/CVE-2014-3556")]
BUILDS = {
    **{f"{compiler} {standard}": [compiler, f"-std={standard}", *WARNINGS, "-O2"]
       for compiler in ("gcc", "clang") for standard in ("c99", "c11")},
    **{compiler: [compiler, "-x", "c++", "-std=c++11", *COMMON, "-O2"] for compiler in ("g++", "clang++")},
    "optimised at link time": ["gcc", "-std=c99", *WARNINGS, "-O2", "-flto"],
    "static program": ["gcc", "-std=c99", *WARNINGS, "-static"],
    "gcc, sanitizers": ["gcc", "-std=c99", *WARNINGS, *SANITIZERS],
    "clang, sanitizers": ["clang", "-std=c99", *WARNINGS, *SANITIZERS, "-fuse-ld=lld"],
}


@pytest.fixture(scope="session")
def library(build):
    return build / "c-library"


@pytest.fixture
def try_program(library, tmp_path):
    """Builds a program and runs it; returns what it printed."""
    def try_program(command: list[str], sources: list[str], *, runner=(), link=None) -> str:
        program = str(tmp_path / "program")
        run(*command, *sources, *(link or ["-x", "none", str(library / "libsmtpstate.a")]), "-o", program)
        return run(*runner, program, stderr=subprocess.STDOUT)
    return try_program


def abi_version() -> str:
    return re.search(r"SMTPSTATE_ABI_VERSION (\d+)", (INCLUDE / "smtpstate.h").read_text()).group(1)


@pytest.mark.parametrize("build_name", BUILDS)
def test_compilers(try_program, build_name):
    assert re.search(r"^\d+ checks, 0 failed", try_program(BUILDS[build_name], TESTS), re.MULTILINE)


def test_the_shared_library(try_program, library):
    output = try_program(["gcc", "-std=c99", *WARNINGS], TESTS, link=["-L", str(library), "-lsmtpstate", f"-Wl,-rpath,{library}"])
    assert "0 failed" in output


def test_valgrind(try_program):
    output = try_program(["gcc", "-std=c99", *WARNINGS, "-g"], TESTS, runner=("valgrind", "-q", "--error-exitcode=9", "--leak-check=full"))
    assert "0 failed" in output


def test_a_program_needs_only_libc(try_program, tmp_path):
    try_program(["gcc", "-std=c99", *WARNINGS], TESTS)
    names = [line.split()[0] for line in run("ldd", str(tmp_path / "program")).splitlines()]
    assert [name for name in names if not re.search("linux-vdso|ld-linux", name)] == ["libc.so.6"]


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_header_for_cpp(try_program, compiler):
    try_program([compiler, "-std=c++11", *COMMON, "-O2"], [str(ROOT / "Tests/CInterface/wrapper.cpp")])


def test_python(library):
    run("python3", "-B", str(ROOT / "Tests/Bindings/play.py"), str(library / "libsmtpstate.so"), *TRANSCRIPTS)


# Rust is tried where it is installed: Debian's package is too large for this alone.
@pytest.mark.parametrize("compiler", filter(None, [shutil.which("rustc")]))
def test_rust(library, tmp_path, compiler):
    program = str(tmp_path / "play")
    run(compiler, "-O", "-D", "warnings", "-L", str(library), "-l", "static=smtpstate", "-o", program, str(ROOT / "Tests/Bindings/play.rs"))
    run(program, *TRANSCRIPTS)


def test_the_example_of_the_manual_page(try_program, tmp_path):
    page = (ROOT / "Docs/man/smtpstate.3").read_text()
    example = re.search(r"^\.Bd -literal\n(.*?)^\.Ed$", page, re.MULTILINE | re.DOTALL).group(1)
    (tmp_path / "example.c").write_text(example.replace("\\e", "\\"))
    assert re.search("^503 5.5.1 ", try_program(["gcc", "-std=c99", *WARNINGS], [str(tmp_path / "example.c")]), re.MULTILINE)


def test_the_manual_page():
    run("mandoc", "-T", "lint", "-W", "warning", str(ROOT / "Docs/man/smtpstate.3"))


def test_the_binary_interface(library):
    """It is that of the newest file in Fixtures/abi with the same SMTPSTATE_ABI_VERSION."""
    head = f"SMTPSTATE_ABI_VERSION {abi_version()}"
    known = [file for file in (ROOT / "Fixtures/abi").iterdir() if head in file.read_text().splitlines()]
    command = f"Scripts/c-abi {library}/libsmtpstate.so >Fixtures/abi/VERSION"
    assert known, f"no file in Fixtures/abi has the line '{head}': make one with {command}"
    newest = max(known, key=lambda file: [int(number) for number in re.findall(r"\d+", file.name)])
    now = run(str(ROOT / "Scripts/c-abi"), str(library / "libsmtpstate.so"), cwd=ROOT)
    difference = "".join(difflib.unified_diff(newest.read_text().splitlines(True), now.splitlines(True), str(newest), "now"))
    assert not difference, (
        f"{difference}\nIf a line was removed or changed, programs break: raise SMTPSTATE_ABI_VERSION in smtpstate.h, which is the number "
        f"of the soname. If lines were only added, raise the version. In both cases add a file: {command}")


def test_installed_files(build, tmp_path):
    """Exactly these files are installed, and uninstall removes all of them."""
    environment = os.environ | {"PREFIX": "/opt/smtpstate", "DESTDIR": str(tmp_path)}
    script = [str(ROOT / "Scripts/install-files")]
    run(*script, "install", str(build), "c-library", cwd=ROOT, env=environment)
    root = tmp_path / "opt/smtpstate"
    files = sorted(str(file.relative_to(root)) for file in root.rglob("*") if not file.is_dir())
    assert files == [
        "include/smtpstate.h", "include/smtpstate.hpp", "lib/cmake/smtpstate/smtpstateConfig.cmake",
        "lib/cmake/smtpstate/smtpstateConfigVersion.cmake", "lib/libsmtpstate.a", "lib/libsmtpstate.so",
        f"lib/libsmtpstate.so.{abi_version()}", "lib/pkgconfig/smtpstate.pc", "share/man/man3/smtpstate.3"]
    flags = run("pkg-config", "--cflags", "--libs", "smtpstate", env=os.environ | {"PKG_CONFIG_PATH": str(root / "lib/pkgconfig")})
    assert flags.split() == ["-I/opt/smtpstate/include", "-L/opt/smtpstate/lib", "-lsmtpstate"]
    run(*script, "uninstall", str(build), "c-library", cwd=ROOT, env=environment)
    assert [file for file in tmp_path.rglob("*") if not file.is_dir()] == []


@pytest.mark.parametrize("folder, destination, is_updated", [("prefix", "", True), ("elsewhere", "", False), ("prefix", "/root", False)])
def test_the_cache_of_the_linker(build, tmp_path, folder, destination, is_updated):
    """A library in a folder that the run-time linker searches is found at once: its cache is updated, for this system only."""
    (tmp_path / "bin").mkdir()
    ldconfig = tmp_path / "bin/ldconfig"
    ldconfig.write_text(f"""#!/bin/sh
case $1 in -v) echo '{tmp_path}/prefix/lib: (from /etc/ld.so.conf:1)' ;; *) echo updated >>{tmp_path}/log ;; esac
""")
    ldconfig.chmod(0o755)
    environment = os.environ | {
        "PREFIX": str(tmp_path / folder), "DESTDIR": destination and str(tmp_path) + destination,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    run(str(ROOT / "Scripts/install-files"), "install", str(build), "c-library", cwd=ROOT, env=environment)
    assert (tmp_path / "log").exists() == is_updated


CMAKE = """cmake_minimum_required(VERSION 3.10)
project(test C CXX)
find_package(smtpstate {version} REQUIRED)
find_package(smtpstate {version} REQUIRED)
add_executable(shared main.c)
target_link_libraries(shared smtpstate::smtpstate)
add_executable(static main.cpp)
target_link_libraries(static smtpstate::static)
"""
MESON = """project('test', 'c')
executable('program', 'main.c', dependencies: dependency('smtpstate'))
"""
MAIN = "#include <smtpstate.h>\nint main(void) { return smtpstate_abi_version() != SMTPSTATE_ABI_VERSION; }\n"


def test_cmake(prefix, tmp_path):
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "main.cpp").write_text(
        "#include <smtpstate.hpp>\nint main() { return !smtpstate::Conversation().wants(SMTPSTATE_PARTY_SERVER); }\n")
    configure = ["cmake", "-S", str(tmp_path), f"-DCMAKE_PREFIX_PATH={prefix}", "-B", str(tmp_path / "build")]
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(version="0.1"))
    run(*configure)
    run("cmake", "--build", str(tmp_path / "build"))
    for program, needs in (("shared", True), ("static", False)):
        run(str(tmp_path / "build" / program))
        assert (f"libsmtpstate.so.{abi_version()}" in run("ldd", str(tmp_path / "build" / program))) == needs
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(version="0.0"))
    refused = subprocess.run([*configure, "--fresh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert refused.returncode != 0, "another minor version is not accepted"


@pytest.mark.parametrize("installed", [True, False], ids=["installed", "wrap"])
def test_meson(prefix, tmp_path, installed):
    """With the installed library; and without it, where the wrap builds the library as a subproject."""
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "meson.build").write_text(MESON)
    environment = {name: value for name, value in os.environ.items() if name != "PKG_CONFIG_PATH"}
    if installed:
        environment |= {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(prefix / "lib")}
    else:
        (tmp_path / "subprojects").mkdir()
        wrap = (INCLUDE / "smtpstate.wrap.in").read_text()
        wrap = wrap.replace("@URL@", f"file://{ROOT}").replace("@REVISION@", run("git", "-C", str(ROOT), "rev-parse", "HEAD").strip())
        (tmp_path / "subprojects/smtpstate.wrap").write_text(wrap)
    run("meson", "setup", str(tmp_path / "build"), str(tmp_path), env=environment)
    run("meson", "compile", "-C", str(tmp_path / "build"), env=environment)
    run(str(tmp_path / "build/program"), env=environment)
