"""tlsd-io under valgrind: no invalid access and no lost memory in full handshakes, with a client's certificate, and in failed ones.

valgrind cannot read the debug information of Swift, so it runs a stripped copy. A session takes some seconds under it, so
`make test-tls-memory` runs these tests, and `make test` does not.
"""
import os
import pathlib
import shutil
import socket
import subprocess

import pytest
from mail import PATIENCE, run

CLIENT = ["openssl", "s_client", "-quiet"]


@pytest.fixture(scope="module")
def engine(build, tmp_path_factory) -> pathlib.Path:
    copy = tmp_path_factory.mktemp("engine") / "tlsd-io"
    shutil.copy(build / "release/tlsd-io", copy)
    run("strip", "-g", str(copy))
    return copy


@pytest.fixture(scope="module")
def issuer(tmp_path_factory) -> pathlib.Path:
    """An issuer of clients with an empty revocation list, a client, and one that it has revoked."""
    folder = tmp_path_factory.mktemp("issuer")
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run(*request, "-subj", "/CN=issuer", "-keyout", folder / "issuer.key", "-out", folder / "issuer.pem", stderr=subprocess.DEVNULL)
    for name, serial in (("client", "0x10"), ("revoked", "0x11")):
        run(*request, "-subj", f"/CN={name}", "-CA", folder / "issuer.pem", "-CAkey", folder / "issuer.key", "-set_serial", serial, "-addext",
            "basicConstraints=critical,CA:FALSE", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", stderr=subprocess.DEVNULL)
    (folder / "index").write_text("R\t391231235959Z\t250101000000Z\t11\tunknown\t/CN=revoked\n")
    (folder / "ca.conf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\ndefault_md=sha256\n")
    run("openssl", "ca", "-config", folder / "ca.conf", "-cert", folder / "issuer.pem", "-keyfile", folder / "issuer.key", "-gencrl", "-crldays", "2",
        "-out", folder / "crl.pem", stderr=subprocess.DEVNULL)
    return folder


def errors(engine, variables: dict, options: list, client: list, exit_code: int, folder) -> None:
    """One session: the client sends a line, the server side answers and ends."""
    report = folder / "valgrind"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = subprocess.Popen([*CLIENT, "-connect", f"127.0.0.1:{listener.getsockname()[1]}", *client], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        connection, _ = listener.accept()
    clear, deciphered = os.pipe(), os.pipe()
    with connection:
        process = subprocess.Popen(
            ["valgrind", "-q", "--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite", f"--log-file={report}",
             "--child-silent-after-fork=yes", engine, *options, str(clear[0]), str(deciphered[1])],
            stdin=connection, stdout=connection, stderr=subprocess.PIPE, pass_fds=(clear[0], deciphered[1]), env=os.environ | variables)
    for end in (clear[0], deciphered[1]):
        os.close(end)
    try:
        peer.stdin.write(b"hello\n")
        peer.stdin.flush()
    except BrokenPipeError:
        pass
    received = os.read(deciphered[0], 100)
    assert (received == b"hello\n") == (exit_code == 0), received
    if exit_code == 0:
        os.write(clear[1], b"answer\n")
    os.close(clear[1])
    os.close(deciphered[0])
    shown, _ = peer.communicate(timeout=5 * PATIENCE)
    _, complaints = process.communicate(timeout=5 * PATIENCE)
    assert process.returncode == exit_code, complaints.decode()
    assert (b"answer" in shown) == (exit_code == 0), shown
    assert report.read_text() == ""


@pytest.mark.valgrind
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("case", ["plain", "client", "revoked", "name"])
def test_no_errors_and_no_leaks(engine, issuer, certificate, tmp_path, case, version):
    variables = {"CERTFILE": certificate.chain, "KEYFILE": certificate.key}
    # No timeout: valgrind is slow.
    options, client, exit_code = ["-S", "-K", "0"], [version], 0
    if case in ("client", "revoked"):
        variables |= {"CAFILE": f"{issuer}/issuer.pem", "CRLFILE": f"{issuer}/crl.pem"}
        options += ["-y"]
        client += ["-cert", f"{issuer}/{case}.pem", "-key", f"{issuer}/{case}.key"]
        exit_code = 98 if case == "revoked" else 0
    if case == "name":
        variables |= {"CERTFILE:mx.example": certificate.chain, "KEYFILE:mx.example": certificate.key}
        options += ["-k", "1"]
        client += ["-servername", "mx.example"]
    errors(engine, variables, options, client, exit_code, tmp_path)
