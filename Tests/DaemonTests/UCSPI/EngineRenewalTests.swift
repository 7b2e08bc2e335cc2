// EngineRenewalTests: issuers, revocation lists and OCSP responses that change while an engine runs.

import Foundation
import Glibc
import XCTest

final class EngineRenewalTests: EngineTestCase {
  /// A session of `openssl s_client` that is passed to the engine: what the client prints, and the exit code of the helper.
  private func shakeHands(
    _ options: [String], _ environment: [String: String], _ words: [String]
  ) throws -> (printed: String, code: CInt?) {
    let listener = try TestListener()
    let client = try SpawnedProgram(
      ["openssl", "s_client", "-connect", "127.0.0.1:\(listener.port)"] + words, output: .file(folder.path + "/client"))
    let unused = TestDescriptor.sockets()
    let session = try session(
      "printf Y >&$SSLCTLFD; cat <&$SSLCTLFD >/dev/null", options + ["--engine-socket", path], environment,
      sockets: (unused.0, try listener.accept()))
    unused.0.close()
    unused.1.close()
    XCTAssertEqual(session.process.wait(), .exited(0), session.process.errors)
    XCTAssertFalse(session.process.errors.contains("does not take the session"), session.process.errors)
    let code = exitCode(of: session.helper)
    _ = client.wait()
    return (folder.text("client"), code)
  }

  private func codes(_ options: [String], _ environment: [String: String], _ names: [String]) throws -> [CInt?] {
    try names.map { try shakeHands(options, environment, ["-cert", file("\($0).pem"), "-key", file("\($0).key")]).code }
  }

  /// Replaces the contents of a file, which stays the same file.
  private func overwrite(_ path: String, with other: String) throws {
    let before = try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int
    try Data(contentsOf: URL(fileURLWithPath: other)).write(to: URL(fileURLWithPath: path))
    XCTAssertEqual(try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int, before)
  }

  func testAFileOfAFolderOfIssuersIsWrittenInPlace() throws {
    let issuers = folder.path + "/issuers"
    try FileManager.default.createDirectory(atPath: issuers, withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: file("other.pem"), toPath: issuers + "/ca.pem")
    let environment = try credentials().merging(["CADIR": issuers]) { $1 }
    let engine = try startEngine(["-y"], environment)
    XCTAssertEqual(try codes(["-y"], environment, ["other", "rsa"]), [0, 98])
    try overwrite(issuers + "/ca.pem", with: file("rsa.pem"))
    XCTAssertEqual(try codes(["-y"], environment, ["other", "rsa"]), [98, 0])
    // Another file in it, and one that goes.
    try FileManager.default.copyItem(atPath: file("other.pem"), toPath: issuers + "/new.pem")
    XCTAssertEqual(try codes(["-y"], environment, ["other", "rsa"]), [0, 0])
    try FileManager.default.removeItem(atPath: issuers + "/ca.pem")
    XCTAssertEqual(try codes(["-y"], environment, ["other", "rsa"]), [0, 98])
    XCTAssertEqual(engine.errors, "")
    // Without any the earlier ones stay, with one line.
    try FileManager.default.removeItem(atPath: issuers + "/new.pem")
    XCTAssertEqual(try codes(["-y"], environment, ["other", "rsa"]), [0, 98])
    XCTAssertEqual(engine.errors.split(separator: "\n").count, 1, engine.errors)
    XCTAssertTrue(engine.errors.contains("\(issuers): no certificate found"), engine.errors)
  }

  func testARevocationListIsRenewed() throws {
    try makeRevocationLists()
    let list = folder.path + "/list"
    try FileManager.default.copyItem(atPath: folder.path + "/empty.crl", toPath: list)
    let environment = try credentials().merging(["CAFILE": file("other.pem"), "CRLFILE": list]) { $1 }
    let engine = try startEngine(["-y"], environment)
    XCTAssertEqual(try codes(["-y"], environment, ["other"]), [0])
    try overwrite(list, with: folder.path + "/revoked.crl")
    XCTAssertEqual(try codes(["-y"], environment, ["other"]), [98])
    XCTAssertEqual(engine.errors, "")
  }

  func testAnOCSPResponseIsRenewed() throws {
    try makeCertificatesWithResponses()
    let path = folder.path
    let environment = ["CERTFILE": path + "/one.chain", "KEYFILE": path + "/one.key", "OCSPFILE": path + "/response"]
    let engine = try startEngine([], environment)
    XCTAssertTrue(try shakeHands([], environment, ["-status"]).printed.contains("OCSP response: no response sent"))
    XCTAssertTrue(engine.errors.contains("\(path)/response: this OCSP response is not sent"), engine.errors)
    try FileManager.default.copyItem(atPath: path + "/one.ocsp", toPath: path + "/response")
    let printed = try shakeHands([], environment, ["-status"]).printed
    XCTAssertTrue(printed.contains("Cert Status: good"), printed)
    // That of another certificate is not sent.
    try overwrite(path + "/response", with: path + "/two.ocsp")
    XCTAssertTrue(try shakeHands([], environment, ["-status"]).printed.contains("OCSP response: no response sent"))
    XCTAssertEqual(engine.errors.split(separator: "\n").count, 2, engine.errors)
  }
}
