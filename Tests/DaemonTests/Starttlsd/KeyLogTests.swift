// KeyLogTests: the secrets of sessions go to a file only if the operator names one with an option.

import Foundation
import Glibc
import XCTest

final class KeyLogTests: StarttlsdTestCase {
  private func handshakes(_ daemon: RunningDaemon) throws {
    for version in ["-tls1_2", "-tls1_3"] {
      let result = try run(
        ["openssl", "s_client", "-starttls", "smtp", version, "-connect", "127.0.0.1:\(daemon.port)"], input: "QUIT\r\n", inputEnds: false)
      XCTAssertTrue(result.output.contains("BEGIN CERTIFICATE"), result.errors)
    }
  }

  func testAVariableOfTheEnvironmentIsNotEnough() throws {
    let folder = TestFolder()
    let path = folder.path + "/secrets"
    let daemon = try daemon(environment: ["SSLKEYLOGFILE": path])
    try handshakes(daemon)
    XCTAssertEqual(folder.names(in: ""), [])
  }

  /// Another program with GnuTLS obeys the variable: the test above can fail.
  func testAnotherProgramObeysTheVariable() throws {
    let folder = TestFolder()
    let path = folder.path + "/secrets"
    let daemon = try daemon()
    try run(
      ["gnutls-cli", "--insecure", "--starttls-proto=smtp", "--port", "\(daemon.port)", "127.0.0.1"], input: "QUIT\r\n", inputEnds: false,
      environment: ["SSLKEYLOGFILE": path], expecting: nil)
    XCTAssertTrue(folder.text("secrets").contains("SECRET"), folder.text("secrets"))
  }

  func testAnOptionIsEnoughAndIsLogged() throws {
    let folder = TestFolder()
    let path = folder.path + "/secrets"
    let daemon = try daemon(["--debug-keylog", path])
    XCTAssertTrue(daemon.log.contains("warning starttlsd: --debug-keylog: whoever reads that file can decrypt all sessions"), daemon.log)
    try handshakes(daemon)
    let labels = Set(folder.text("secrets").split(separator: "\n").map { $0.split(separator: " ")[0] })
    for label in ["CLIENT_RANDOM", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
      XCTAssertTrue(labels.contains(label[...]), "\(labels)")
    }
    let words = folder.text("secrets").split(separator: "\n").map { $0.split(separator: " ") }
    XCTAssertTrue(words.allSatisfy { $0.count == 3 && $0[1].count == 64 }, folder.text("secrets"))
    let mode = try XCTUnwrap(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    XCTAssertEqual(mode, 0o600)
  }

  /// A file that others may read, or that is none, does not get the secrets.
  func testAFileThatOthersMayReadIsRefused() throws {
    let folder = TestFolder()
    let own = try certificate()
    let path = try folder.write([], to: "secrets")
    for mode in [0o644, 0o620] as [UInt32] {
      XCTAssertEqual(chmod(path, mode), 0)
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--trusting-backend", "--certificate", own.certificate, "--key", own.key,
          "--debug-keylog", path, "--", "/bin/cat"],
        expecting: .exited(100))
      XCTAssertTrue(result.errors.contains("--debug-keylog \(path): not a regular file that only this user owns"), result.errors)
    }
    XCTAssertEqual(chmod(path, 0o600), 0)
    try handshakes(daemon(["--debug-keylog", path]))
    XCTAssertTrue(folder.text("secrets").contains("CLIENT_RANDOM"))
  }
}
