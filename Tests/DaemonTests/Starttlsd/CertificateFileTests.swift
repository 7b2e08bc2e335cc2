// CertificateFileTests: chains of many certificates, in any order, and keys that others may read, in the real programs.

import Foundation
import Glibc
import XCTest

final class CertificateFileTests: StarttlsdTestCase {
  private static let length = 20

  /// The whole chain reaches the client, in order, wherever its issuers stand in the file; a stranger among them does not.
  func testALongChain() throws {
    let folder = TestFolder()
    let chain = try makeChain(in: folder)
    let stranger = folder.text("stranger.pem")
    let leaf = try XCTUnwrap(chain.first)
    for (name, certificates) in [
      ("in order", chain), ("in reverse", [leaf] + chain.dropFirst().reversed()),
      ("with a stranger", [leaf, stranger] + chain.dropFirst()),
    ] {
      let file = try folder.write(Array(certificates.joined().utf8), to: "chain.pem")
      let daemon = try daemon(["--certificate", file, "--key", "\(folder.path)/0.key", "--handshake-timeout", "10"])
      let shown = try run(
        ["openssl", "s_client", "-starttls", "smtp", "-showcerts", "-servername", "leaf.example", "-connect", "127.0.0.1:\(daemon.port)"],
        input: "QUIT\n")
      let subjects = shown.output.components(separatedBy: "\n").filter { $0.contains(" s:CN = ") }
        .compactMap { $0.components(separatedBy: "CN = ").last }
      XCTAssertEqual(subjects, ["leaf.example"] + (1..<Self.length).map { "issuer \($0)" }, name)
    }
  }

  func testMoreThanAChainMayHave() throws {
    let folder = TestFolder()
    let pair = try makeCertificate("one", in: folder)
    let certificate = folder.text("one.pem")
    let file = try folder.write(Array(String(repeating: certificate, count: 101).utf8), to: "many.pem")
    let answer = try run(
      [Programs.path("starttlsd"), "--allow-root", "--certificate", file, "--key", pair.key, "--", "/bin/cat"], expecting: .exited(100))
    XCTAssertEqual(
      answer.errors,
      "starttlsd: \(file): 101 certificates, at most 100 are allowed: leave the server's own and its issuers\n")
    // At the limit the file is good; it holds a chain of one.
    try folder.write(Array(String(repeating: certificate, count: 100).utf8), to: "many.pem")
    let daemon = try daemon(["--certificate", file, "--key", pair.key])
    XCTAssertTrue(daemon.program.isRunning)
  }

  func testAKeyThatOthersMayRead() throws {
    let folder = TestFolder()
    let pair = try makeCertificate("open", in: folder)
    for mode: mode_t in [0o600, 0o400, 0o640, 0o604, 0o644] {
      chmod(pair.key, mode)
      let daemon = try daemon(["--certificate", pair.certificate, "--key", pair.key])
      let warning = "\(pair.key): others than its owner may read this key: chmod 600"
      XCTAssertEqual(daemon.log.contains("warning"), mode & 0o044 != 0, daemon.log)
      XCTAssertEqual(daemon.log.contains(warning), mode & 0o044 != 0, daemon.log)
    }
  }

  /// A chain of certificates, the server's own first, its key in `0.key`; and `stranger.pem`, which is not part of it.
  private func makeChain(in folder: TestFolder) throws -> [String] {
    let script = """
      set -e; cd \(folder.path); last=\(Self.length - 1); n=$last
      new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@" 2>/dev/null; }
      new -subj '/CN=stranger' -keyout stranger.key -out stranger.pem
      new -subj "/CN=issuer $n" -keyout $n.key -out $n.pem
      while [ $n -gt 0 ]; do
        above=$n; n=$((n - 1)); name="issuer $n"; kind=TRUE
        [ $n -gt 0 ] || { name=leaf.example; kind=FALSE; }
        new -subj "/CN=$name" -CA $above.pem -CAkey $above.key -addext "basicConstraints=critical,CA:$kind" -keyout $n.key -out $n.pem
      done
      """
    try run(["/bin/sh", "-c", script])
    return (0..<Self.length).map { folder.text("\($0).pem") }
  }
}
