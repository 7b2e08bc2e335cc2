// RootOnlyFilesTests: files that only root may read are loaded again after the daemon has become another user: all of TLS,
// and the access rules.

import Foundation
import Glibc
import XCTest

final class RootOnlyFilesTests: PrivilegeTestCase {
  func testAccessRules() throws {
    let folder = TestFolder()
    let path = try folder.write(Array(":allow,WHO=\"first\"\n".utf8), to: "rules")
    chmod(path, 0o600)
    let daemon = try daemon(
      ["--user", "daemon", "--access", path], backend: .script(ShellBackend.script("say \"220 $WHO\"")), isShared: true)
    func greeting() throws -> String {
      let client = try client(daemon)
      defer { client.close() }
      return try client.reply()
    }
    func reload(_ text: String, _ expected: String) throws {
      try folder.write(Array(text.utf8), to: "rules")
      chmod(path, 0o600)
      daemon.program.signal(SIGHUP)
      XCTAssertTrue(eventually { daemon.log.contains(expected) }, daemon.log)
    }
    XCTAssertEqual(try greeting(), "220 first")
    XCTAssertFalse(daemon.log.contains("warning"), daemon.log)
    try reload(":allow,WHO=\"second\"\n127.0.0.9:deny\n", "SIGHUP: 2 access rules are loaded from \(path)")
    XCTAssertEqual(try greeting(), "220 second")
    try reload(":alow\n", "SIGHUP: the access rules stay as they were: \(path), line 1:")
    XCTAssertEqual(try greeting(), "220 second")
    // The rules do not depend on the certificates, and a change without SIGHUP is not looked at.
    try FileManager.default.removeItem(atPath: path)
    XCTAssertEqual(mkfifo(path, 0o600), 0)
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("\(path): open a regular file: Invalid argument") }, daemon.log)
    XCTAssertEqual(try greeting(), "220 second")
  }

  func testAllFilesOfTLS() throws {
    let folder = TestFolder()
    let path = folder.path
    let files = try replaceableCertificate(try make("one", in: path), in: folder)
    try make("ca", names: [], in: path, subject: "/CN=CA")
    try make("new", names: [], in: path, subject: "/CN=New CA")
    for name in ["one", "two"] { try make("client-\(name)", names: [], in: path, issuer: name == "one" ? "ca" : "new") }
    try replace(path + "/ca.pem", path + "/issuer")
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody", "--client-certificate", "required", "--client-ca", path + "/issuer"],
      backend: .script(ShellBackend.script(answers: [("quit*", "say '221 bye'; exit")])), certificate: files, isShared: true)
    func isLetIn(_ name: String) throws -> Bool {
      try shown(by: daemon, ["-cert", "\(path)/client-\(name).pem", "-key", "\(path)/client-\(name).key"], expecting: nil).contains("221 ")
    }
    XCTAssertTrue(try isLetIn("one"))
    XCTAssertFalse(try isLetIn("two"))
    try replace(path + "/new.pem", path + "/issuer")
    XCTAssertTrue(eventually { daemon.log.contains("have changed: the certificates are loaded again") }, daemon.log)
    XCTAssertFalse(try isLetIn("one"))
    XCTAssertTrue(try isLetIn("two"))
    // All or nothing: the issuer is good, the key of the certificate is not.
    try replace(path + "/ca.key", files.key)
    try replace(path + "/ca.pem", path + "/issuer")
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: the certificates stay as they were: \(files.key) is not the key") }, daemon.log)
    XCTAssertFalse(try isLetIn("one"))
    XCTAssertTrue(try isLetIn("two"))
  }

  func testTheKeyOfTickets() throws {
    let folder = TestFolder()
    let key = folder.path + "/tickets"
    try run(["openssl", "rand", "-out", key, "64"])
    chmod(key, 0o600)
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody", "--session-tickets", "--ticket-key-file", key], backend: .script(ShellBackend.script()), isShared: true)
    try run(["openssl", "rand", "-out", key + ".new", "63"])
    chmod(key + ".new", 0o600)
    XCTAssertEqual(rename(key + ".new", key), 0)
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("stay as they were: \(key): not a key for session tickets: 63 octets") }, daemon.log)
    try run(["openssl", "rand", "-out", key + ".new", "64"])
    XCTAssertEqual(rename(key + ".new", key), 0)
    chmod(key, 0o600)
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("the certificates are loaded again") }, daemon.log)
  }
}
