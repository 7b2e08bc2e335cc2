// PrivilegeTestCase: what the tests of users and privileges have in common. They need root, and fail without it.
//
// Users are `daemon` and `nobody`, which Debian always has.

import Foundation
import Glibc
import XCTest

class PrivilegeTestCase: StarttlsdTestCase {
  override func setUpWithError() throws {
    guard geteuid() == 0 else { throw Failure("this test changes users: run it as root") }
  }

  struct User {
    let name: String
    let user: UInt32
    let group: UInt32
  }

  func user(_ name: String) throws -> User {
    guard let entry = getpwnam(name)?.pointee else { throw Failure("there is no user \(name)") }
    return User(name: name, user: entry.pw_uid, group: entry.pw_gid)
  }

  /// A session with STARTTLS, with the program of `ShellBackend.script()`.
  func assertServes(_ daemon: RunningDaemon) throws {
    let served = try client(daemon)
    try SessionPhase.greeted.enter(served)
    try served.ask("EHLO client.example")
    try served.startTLS()
    XCTAssertEqual(try served.ask("QUIT"), "221 bye")
    served.close()
  }

  /// A certificate in files that are replaced, the key for root alone.
  func replaceableCertificate(_ first: Certificate, in folder: TestFolder) throws -> Certificate {
    let installed = Certificate(certificate: folder.path + "/chain.pem", key: folder.path + "/privkey.pem")
    try replace(first.certificate, installed.certificate)
    try replace(first.key, installed.key)
    return installed
  }

  /// Replaces a file as renewal tools do: under a temporary name, then renamed.
  func replace(_ source: String, _ target: String) throws {
    let draft = target + ".draft"
    try FileManager.default.copyItem(atPath: source, toPath: draft)
    chmod(draft, 0o600)
    guard rename(draft, target) == 0 else { throw Failure("rename: \(String(cString: strerror(errno)))") }
  }

  func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .newlines)
  }

  /// Whether a process is this user for good.
  func assertIdentity(
    _ process: pid_t, _ user: User, noNewPrivileges: Bool = true, file: StaticString = #filePath, line: UInt = #line
  ) {
    let status = ProcessTable.status(of: process)
    func four(_ number: UInt32) -> String { (0..<4).map { _ in "\(number)" }.joined(separator: "\t") }
    XCTAssertEqual(status["Uid"], four(user.user), file: file, line: line)
    XCTAssertEqual(status["Gid"], four(user.group), file: file, line: line)
    XCTAssertEqual(status["Groups"], "\(user.group)", file: file, line: line)
    XCTAssertEqual(status["CapPrm"], "0000000000000000", file: file, line: line)
    XCTAssertEqual(status["NoNewPrivs"], noNewPrivileges ? "1" : "0", file: file, line: line)
  }
}
