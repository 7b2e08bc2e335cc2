// CertificateFolderTests: a folder as certbot or dehydrated have it: every certificate in it is served for its names, and
// what is added, renewed or removed later counts without a restart, after the daemon has changed its user.

import Foundation
import Glibc
import XCTest

final class CertificateFolderTests: PrivilegeTestCase {
  private let changed = "the files of the certificates have changed: the certificates are loaded again"

  private func loads(_ daemon: RunningDaemon) -> Int { daemon.log.components(separatedBy: changed).count - 1 }

  /// Adds `live/name`, with links into `archive` as certbot makes them.
  private func add(_ name: String, _ names: [String], in folder: TestFolder, kind: KeyKind = .ecdsa, number: Int = 1, isExpired: Bool = false) throws {
    let archive = "\(folder.path)/archive/\(name)"
    let live = "\(folder.path)/live/\(name)"
    try run(["mkdir", "-p", archive, live])
    let made = try make("\(name)-\(number)", kind, names: names, in: archive)
    if isExpired { try expire(made) }
    for (file, kind) in [("privkey.pem", "key"), ("fullchain.pem", "pem")] {
      symlink("../../archive/\(name)/\(name)-\(number).\(kind)", "\(live)/\(file).new")
      XCTAssertEqual(rename("\(live)/\(file).new", "\(live)/\(file)"), 0)
    }
  }

  func testEveryFolderIsServedAndNewOnesAreFound() throws {
    let folder = TestFolder()
    let fallback = try make("fallback", names: ["fallback.example"], in: folder.path)
    try add("one", ["one.example", "*.one.example"], in: folder)
    try add("one-rsa", ["one.example"], in: folder, kind: .rsa)
    try folder.write(Array("certbot's own text\n".utf8), to: "live/README")
    chmod(folder.path + "/live", 0o700)
    chmod(folder.path + "/archive", 0o700)
    let live = folder.path + "/live"
    let daemon = try daemon(["--user", "daemon", "--certificate-folder", live + "/"], certificate: fallback, isShared: true)
    func name(_ server: String, _ options: [String] = []) throws -> String? {
      try commonName(of: daemon, ["-servername", server] + options)
    }
    XCTAssertEqual(try name("one.example"), "one-1")
    XCTAssertEqual(try name("a.one.example"), "one-1")
    XCTAssertEqual(try name("one.example", ["-sigalgs", "RSA-PSS+SHA256"]), "one-rsa-1")
    XCTAssertEqual(try name("two.example"), "fallback")
    // A client without ECDSA gets another certificate rather than none.
    XCTAssertEqual(try name("a.one.example", ["-sigalgs", "ECDSA+SHA256"]), "one-1")

    try add("two", ["two.example"], in: folder)
    XCTAssertTrue(eventually { loads(daemon) == 1 }, daemon.log)
    XCTAssertEqual(try name("two.example"), "two-1")
    try add("one", ["one.example"], in: folder, number: 2)
    XCTAssertTrue(eventually { (try? name("one.example")) == "one-2" }, daemon.log)
    try FileManager.default.removeItem(atPath: live + "/two")
    XCTAssertTrue(eventually { (try? name("two.example")) == "fallback" }, daemon.log)
    XCTAssertTrue(daemon.log.contains("no longer served: \(live)/two/fullchain.pem"), daemon.log)
    // A folder without a certificate yet, and one that has expired.
    mkdir(live + "/new", 0o700)
    let before = loads(daemon)
    try add("old", ["old.example"], in: folder, isExpired: true)
    XCTAssertTrue(eventually { loads(daemon) > before }, daemon.log)
    XCTAssertTrue(daemon.log.contains("\(live)/old/fullchain.pem: expired on 20"), daemon.log)
    XCTAssertEqual(try name("old.example"), "fallback")
    XCTAssertEqual(try name("one.example"), "one-2")
    XCTAssertTrue(eventually { !daemon.log.contains("stay as they were") }, daemon.log)
  }

  /// dehydrated's own layout: links to files with the time in their names, beside them. A renewal replaces the links, the key's first.
  func testAFolderOfDehydrated() throws {
    let folder = TestFolder()
    let certificates = folder.path + "/certs"
    let own = certificates + "/mx.example"
    try run(["mkdir", "-p", own])
    func add(_ name: String, at time: String) throws {
      let made = try make(name, names: ["mx.example"], in: folder.path)
      try run(["mv", made.key, "\(own)/privkey-\(time).pem"])
      for file in ["cert", "chain", "fullchain"] { try run(["cp", made.certificate, "\(own)/\(file)-\(time).pem"]) }
      for file in ["privkey", "cert", "chain", "fullchain"] { try run(["ln", "-sf", "\(file)-\(time).pem", "\(own)/\(file).pem"]) }
      try run(["chmod", "600", "\(own)/privkey-\(time).pem"])
    }
    try add("first", at: "1700000000")
    for path in [folder.path, certificates, own] { chmod(path, 0o700) }
    let fallback = try make("fallback", names: ["fallback.example"], in: folder.path)
    let daemon = try daemon(["--user", "daemon", "--certificate-folder", certificates], certificate: fallback, isShared: true)
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "mx.example"]), "first")
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "other.example"]), "fallback")
    try add("second", at: "1800000000")
    XCTAssertTrue(eventually { loads(daemon) >= 1 }, daemon.log)
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "mx.example"]), "second")
    // The old files stay there and are not served.
    XCTAssertTrue(FileManager.default.fileExists(atPath: own + "/fullchain-1700000000.pem"))
    XCTAssertFalse(daemon.log.contains("1700000000"), daemon.log)
  }

  /// A certificate that expires while it is served does not prevent that others are loaded.
  func testWhatExpiresWhileItIsServedPreventsNothing() throws {
    let folder = TestFolder()
    let made = try make("short", names: ["short.example"], in: folder.path)
    try add("one", ["one.example"], in: folder)
    // A day that ends in some seconds: made last, so that the daemon starts before its end.
    try run(
      ["faketime", "-f", "\(8 - 86_400)s", "openssl", "x509", "-in", made.certificate, "-signkey", made.key, "-days", "1", "-out",
        made.certificate + ".new"])
    let start = time(nil)
    XCTAssertEqual(rename(made.certificate + ".new", made.certificate), 0)
    let daemon = try daemon(["--certificate-folder", folder.path + "/live"], certificate: made)
    XCTAssertTrue(eventually { time(nil) > start + 10 })
    try add("two", ["two.example"], in: folder)
    XCTAssertTrue(eventually { loads(daemon) == 1 }, daemon.log)
    XCTAssertTrue(daemon.log.contains("\(made.certificate): expired on 20"), daemon.log)
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "two.example"]), "two-1")
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "other.example"]), "short")
  }

  /// A set is loaded completely or not at all: one folder with the key of another prevents all changes.
  func testABrokenFolderPreventsTheReload() throws {
    let folder = TestFolder()
    try add("one", ["one.example"], in: folder)
    let live = folder.path + "/live"
    let program = try SpawnedProgram(
      [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--trusting-backend", "--certificate-folder", live, "--",
        Programs.path("maildir-smtpd"), folder.path + "/Maildir"],
      errors: .file(folder.path + "/log"))
    defer { program.kill() }
    XCTAssertTrue(eventually { folder.text("log").contains("listening on") }, folder.text("log"))
    try add("two", ["two.example"], in: folder)
    XCTAssertTrue(eventually { folder.text("log").contains(changed) }, folder.text("log"))
    try run(["cp", live + "/one/privkey.pem", live + "/two/key"])
    XCTAssertEqual(rename(live + "/two/key", live + "/two/privkey.pem"), 0)
    XCTAssertTrue(
      eventually { folder.text("log").contains("stay as they were: \(live)/two/privkey.pem is not the key of the first certificate in") },
      folder.text("log"))
    try FileManager.default.removeItem(atPath: live)
    XCTAssertTrue(eventually { folder.text("log").contains("stay as they were: \(live): open: No such file") }, folder.text("log"))
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }
}
