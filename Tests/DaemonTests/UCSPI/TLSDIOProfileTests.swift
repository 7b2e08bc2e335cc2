// TLSDIOProfileTests: what tlsd-io accepts by its options, directly and as the helper of ucspi-tlsd.

import Foundation
import XCTest

final class TLSDIOProfileTests: UCSPITestCase {
  func testWrongProfilesEndBeforeAnyOctet() throws {
    for (options, text) in [
      (["--tls-profile", "strong"], "--tls-profile must be modern, compatible, or priority="),
      (["--tls-profile", "priority=NORMAL"], "allow TLS1.1"),
      (["--tls-profile", "priority=NORMAL:+NONSENSE"], "not understood at octet 8"),
      (["--tls-groups", "x25519,nonsense"], "'nonsense' is not a group"),
    ] {
      let tunnel = try Tunnel(self, options, network: .tcp)
      tunnel.peer.output.write([0x16])
      XCTAssertEqual(tunnel.process.wait(), .exited(100), text)
      XCTAssertTrue(tunnel.process.errors.contains(text), tunnel.process.errors)
      XCTAssertEqual(try tunnel.inherited[0].read(16), [0x16], "still there")
      XCTAssertEqual(try tunnel.control?.remainder(), [])
    }
  }

  /// openssl as the client of tlsd-io, over a listener of the test.
  private func meet(_ options: [String], _ client: [String]) throws -> (end: SpawnedProgram.End?, errors: String, printed: String) {
    let listener = try TestListener()
    let output = "\(folder.path)/client"
    let openssl = try SpawnedProgram(
      ["openssl", "s_client", "-connect", "127.0.0.1:\(listener.port)"] + client, input: .file("/dev/null"), output: .file(output),
      errors: .file(output))
    let connection = try listener.accept()
    let (toProgram, toTLS) = (TestDescriptor.pipe(), TestDescriptor.pipe())
    let process = try start(
      [try Programs.path("tlsd-io"), "-v", "2"] + options + ["5", "6"],
      [0: connection, 1: connection, 5: toTLS.reading, 6: toProgram.writing], credentials())
    for one in [connection, toTLS.reading, toProgram.writing] { one.close() }
    // The client's input has ended, and so does the program's output.
    toTLS.writing.close()
    let end = process.wait()
    _ = openssl.wait()
    openssl.kill()
    return (end, process.errors, String(decoding: FileManager.default.contents(atPath: output) ?? Data(), as: UTF8.self))
  }

  func testTheProfileAndTheGroupsDecide() throws {
    let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"]
    let served = try meet([], cbc)
    XCTAssertTrue(served.errors.contains("tlsd-io: TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384 x25519"), served.errors)
    let refused = try meet(["--tls-profile", "modern"], cbc)
    XCTAssertEqual(refused.end, .exited(98))
    XCTAssertTrue(refused.printed.contains("alert handshake failure"), refused.printed)
    let group = try meet(["--tls-groups", "secp384r1"], ["-groups", "X25519:P-384"])
    XCTAssertTrue(group.errors.contains("TLS_AES_256_GCM_SHA384 secp384r1"), group.errors)
  }

  func testALPN() throws {
    let smtp = try meet([], ["-alpn", "smtp"])
    XCTAssertTrue(smtp.printed.contains("ALPN protocol: smtp"), smtp.printed)
    let none = try meet([], [])
    XCTAssertTrue(none.printed.contains("No ALPN negotiated"), none.printed)
    let other = try meet([], ["-alpn", "h2"])
    XCTAssertEqual(other.end, .exited(98))
    XCTAssertTrue(other.printed.contains("alert no application protocol"), other.printed)
  }
}
