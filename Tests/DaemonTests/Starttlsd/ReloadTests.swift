// ReloadTests: SIGHUP loads the certificates again, all of them or none.

import Foundation
import Glibc
import XCTest

final class ReloadTests: StarttlsdTestCase {
  private func reload(_ daemon: RunningDaemon, _ expected: String, file: StaticString = #filePath, line: UInt = #line) {
    func lines() -> [Substring] { daemon.log.split(separator: "\n").filter { $0.contains("SIGHUP: ") } }
    let before = lines().count
    daemon.program.signal(SIGHUP)
    let isLogged = eventually { !daemon.program.isRunning || lines().count > before }
    XCTAssertTrue(isLogged && daemon.program.isRunning, "it has ended; \(daemon.log)", file: file, line: line)
    XCTAssertEqual(lines().count, before + 1, daemon.log, file: file, line: line)
    let text = lines().last ?? ""
    XCTAssertTrue(text.contains(expected), "\(expected): \(text)", file: file, line: line)
  }

  func testNewSessionsGetTheNewCertificateAndRunningOnesKeepTheirs() throws {
    let folder = TestFolder()
    let (first, second) = (try makeCertificate("first", in: folder), try makeCertificate("second", in: folder))
    let (certificate, key) = (folder.path + "/chain.pem", folder.path + "/key.pem")
    func install(_ made: Certificate) throws {
      for (from, to) in [(made.certificate, certificate), (made.key, key)] {
        try? FileManager.default.removeItem(atPath: to)
        try FileManager.default.copyItem(atPath: from, toPath: to)
      }
    }
    func text(_ made: Certificate) throws -> String {
      try String(contentsOfFile: made.certificate, encoding: .utf8).trimmingCharacters(in: .newlines)
    }
    try install(first)
    let daemon = try daemon(certificate: Certificate(certificate: certificate, key: key))
    let promised = try client(daemon)
    try SessionPhase.handshakeAwaited.enter(promised)
    let secured = try client(daemon)
    try SessionPhase.dataInsideTLS.enter(secured)

    try install(second)
    reload(daemon, "the certificates are loaded again: valid until 20")
    XCTAssertEqual(try presented(by: daemon), try text(second))
    try promised.sendRaw(try promised.beginTLS())
    try promised.finishHandshake()
    XCTAssertEqual(try promised.ask("QUIT"), "221 2.0.0 Bye")
    XCTAssertTrue(try secured.ask("ne.\r\n.").hasPrefix("250 2.0.0 Delivered as "))

    // A set that is not whole, in every way: the old one stays.
    try FileManager.default.removeItem(atPath: key)
    reload(daemon, "the certificates stay as they were: \(key): open: No such file")
    try FileManager.default.copyItem(atPath: first.key, toPath: key)
    reload(daemon, "\(key) is not the key of the first certificate in \(certificate)")
    try Data("no certificate\n".utf8).write(to: URL(fileURLWithPath: certificate))
    reload(daemon, "the certificates stay as they were: \(certificate): ")
    try FileManager.default.removeItem(atPath: certificate)
    XCTAssertEqual(mkfifo(certificate, 0o600), 0)
    reload(daemon, "\(certificate) is not a regular file")
    XCTAssertEqual(try presented(by: daemon), try text(second))

    try FileManager.default.removeItem(atPath: certificate)
    try install(first)
    reload(daemon, "the certificates are loaded again")
    XCTAssertEqual(try presented(by: daemon), try text(first))
  }

  /// The embedded default as well.
  func testTheSelfSignedCertificateIsLoadedAgain() throws {
    let folder = TestFolder()
    let program = try SpawnedProgram(
      [Programs.path("starttlsd"), "--allow-root", "--state-folder", folder.path + "/state", "--listen", "127.0.0.1:0"],
      errors: .file(folder.path + "/log"))
    defer { program.kill() }
    XCTAssertTrue(eventually { folder.text("log").contains("listening on") }, folder.text("log"))
    program.signal(SIGHUP)
    XCTAssertTrue(eventually { folder.text("log").contains("the certificates are loaded again") }, folder.text("log"))
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }
}
