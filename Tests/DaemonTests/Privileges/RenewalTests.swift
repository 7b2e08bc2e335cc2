// RenewalTests: certificates are renewed while the daemon runs, after it can no longer read their keys.

import Foundation
import Glibc
import XCTest

final class RenewalTests: PrivilegeTestCase {
  private let changed = "the files of the certificates have changed: "

  func testTheKeyIsOutOfReachAndIsReloadedAllTheSame() throws {
    let folder = TestFolder()
    let (first, second) = (try makeCertificate("first", in: folder), try makeCertificate("second", in: folder))
    let files = try replaceableCertificate(first, in: folder)
    let daemon = try daemon(
      ["--user", "daemon"], backend: .script(ShellBackend.script()), certificate: files, isShared: true)
    let refused = try run(
      ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "cat", files.key], expecting: .exited(1))
    XCTAssertTrue(refused.errors.contains("Permission denied"), refused.errors)
    assertIdentity(daemon.process, try user("daemon"))
    XCTAssertEqual(try presented(by: daemon), try text(first.certificate))
    try replace(second.certificate, files.certificate)
    try replace(second.key, files.key)
    XCTAssertTrue(eventually { daemon.log.contains(changed + "the certificates are loaded again") }, daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(second.certificate))
    try replace(first.key, files.key)
    try replace(first.certificate, files.certificate)
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: the certificates are loaded again") }, daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(first.certificate))
  }

  /// As certbot and dehydrated do: the names lead through symbolic links, and only the links change.
  func testSymbolicLinksAreFollowed() throws {
    let folder = TestFolder()
    let made = [try makeCertificate("first", in: folder), try makeCertificate("second", in: folder)]
    let live = Certificate(certificate: folder.path + "/live/fullchain.pem", key: folder.path + "/live/privkey.pem")
    mkdir(folder.path + "/live", 0o700)
    func link(_ target: String, _ path: String) {
      XCTAssertEqual(symlink(target, path + ".new"), 0)
      XCTAssertEqual(rename(path + ".new", path), 0)
    }
    link("../first.pem", live.certificate)
    link("../first.key", live.key)
    let daemon = try daemon(
      ["--user", "daemon"], backend: .script(ShellBackend.script()), certificate: live, isShared: true)
    link("../second.key", live.key)
    link("../second.pem", live.certificate)
    XCTAssertTrue(eventually { daemon.log.contains(changed + "the certificates are loaded again") }, daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(made[1].certificate))
  }

  /// Half of a set keeps the old one. It is logged once, and only if it stays so.
  func testASetThatCannotBeUsedIsLoggedOnceForEachChange() throws {
    let folder = TestFolder()
    let (first, second) = (try makeCertificate("first", in: folder), try makeCertificate("second", in: folder))
    let files = try replaceableCertificate(first, in: folder)
    let daemon = try daemon(
      ["--user", "daemon"], backend: .script(ShellBackend.script()), certificate: files, isShared: true)
    func complaints() -> [Substring] {
      daemon.log.split(separator: "\n").filter { $0.contains(changed + "the certificates stay as they were: ") }
    }
    try replace(second.certificate, files.certificate)
    XCTAssertTrue(eventually { complaints().count == 1 }, daemon.log)
    XCTAssertTrue(complaints()[0].contains("\(files.key) is not the key of the first certificate"), daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(first.certificate))
    try FileManager.default.removeItem(atPath: files.key)
    XCTAssertTrue(eventually { complaints().count == 2 }, daemon.log)
    XCTAssertTrue(complaints()[1].contains("\(files.key): open: No such file"), daemon.log)
    try replace(second.key, files.key)
    XCTAssertTrue(eventually { daemon.log.contains(changed + "the certificates are loaded again") }, daemon.log)
    XCTAssertEqual(complaints().count, 2, daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(second.certificate))
  }

  /// No file changes: `starttlsd` may open more files again. A clock at 200 times the speed, since a set is tried again each minute.
  func testASetThatBecomesUsableIsLoadedWithoutAChange() throws {
    let folder = TestFolder()
    let (first, second) = (try makeCertificate("first", in: folder), try makeCertificate("second", in: folder))
    let files = try replaceableCertificate(first, in: folder)
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x200", "/usr/bin/env"]
    // The filter of the process of the keys does not allow what the library does.
    let daemon = try daemon(["--key-in-process"], backend: .script(ShellBackend.script()), certificate: files, under: fast)
    try run(["prlimit", "--pid", "\(daemon.process)", "--nofile=3:4096"])
    try replace(second.certificate, files.certificate)
    try replace(second.key, files.key)
    let refused = "the certificates stay as they were: \(files.certificate): open: Too many open files"
    XCTAssertTrue(eventually { daemon.log.contains(changed + refused) }, daemon.log)
    XCTAssertFalse(daemon.log.contains("loaded again"), daemon.log)
    try run(["prlimit", "--pid", "\(daemon.process)", "--nofile=4096:4096"])
    let again = "the files of the certificates, which have not changed, were read again: the certificates are loaded again"
    XCTAssertTrue(eventually { daemon.log.contains(again) }, daemon.log)
    XCTAssertEqual(try presented(by: daemon), try text(second.certificate))
    daemon.stop()
  }

  func testACertificateThatEndsSoonIsAWarning() throws {
    let folder = TestFolder()
    // The last full day may have begun a second ago.
    for (days, texts) in [
      (13, ["expires in 12 days, on 20", "expires in 13 days, on 20"]),
      (1, ["expires in less than a day, on 20", "expires in 1 day, on 20"]), (30, []),
    ] {
      let made = try makeCertificate("server\(days)", in: folder, ["-days", "\(days)"])
      let daemon = try daemon(backend: .script(ShellBackend.script()), certificate: made)
      let warning = daemon.log.split(separator: "\n").first { $0.contains("expires in") }
      XCTAssertEqual(warning != nil, !texts.isEmpty, daemon.log)
      guard let warning else { continue }
      XCTAssertTrue(texts.contains { warning.contains("warning starttlsd: \(made.certificate): \($0)") }, daemon.log)
    }
  }

  /// 200 connections a second are offered for ten seconds, each at its own time and with STARTTLS, while the set changes five
  /// times, half of it at first: not one handshake fails. A slow machine serves the same number in more time.
  func testNoHandshakeFailsWhileCertificatesAreReplaced() throws {
    let folder = TestFolder()
    let made = try (0..<6).map { try makeCertificate("set\($0)", in: folder) }
    let files = try replaceableCertificate(made[0], in: folder)
    let daemon = try daemon(
      ["--user", "daemon", "--max-connections-per-address", "0", "--max-penalty", "0"], backend: .script(ShellBackend.script()),
      certificate: files, isShared: true)
    // Each is a process that computes for one client at a time.
    let engines = try (0..<4).map { _ in try TLSEngine() }
    let seen = SeenCertificates()
    let port = daemon.port
    let load = ClientLoad(port: port, rate: 200) { number in
      let client = try SMTPClient(port: port) { engines[number % engines.count] }
      try client.enterTLS(isImplicit: false)
      seen.insert(try client.certificate())
      try client.send("QUIT\r\n")
      try client.expect("221 ")
      guard try client.remainder().end == .closeNotify else { throw Failure("no close_notify after QUIT") }
    }
    func offers(_ number: Int) {
      XCTAssertTrue(eventually(within: 4 * Deadline.seconds) { load.offered >= number }, load.summary)
    }
    for (number, next) in made.enumerated().dropFirst() {
      // Half a file, then half a set, then the set.
      offers(number * 400 - 300)
      let octets = folder.contents("set\(number).pem")
      try folder.write(Array(octets.prefix(octets.count / 2)), to: "chain.pem")
      offers(number * 400 - 200)
      try replace(next.certificate, files.certificate)
      offers(number * 400 - 100)
      try replace(next.key, files.key)
      // Seldom: the log is long, and the clients need the processors.
      let isLoaded = eventually {
        usleep(100_000)
        return daemon.log.components(separatedBy: "the certificates are loaded again").count - 1 == number
      }
      XCTAssertTrue(isLoaded, daemon.log)
    }
    offers(2000)
    print("certificates replaced under load: \(load.summary)")
    XCTAssertEqual(load.end(), [], daemon.log)
    XCTAssertEqual(seen.count, made.count, "a client saw each certificate")
    let served = load.count
    XCTAssertTrue(eventually(within: 4 * Deadline.seconds) { daemon.sessions.count == served }, "\(daemon.sessions.count) \(served)")
    XCTAssertEqual(daemon.sessions.filter { $0["tls"] == nil }.map(\.description), [])
  }

  /// The certificates that clients of several threads were shown.
  private final class SeenCertificates: @unchecked Sendable {
    // Unchecked: the set is under the lock.
    private let lock = NSLock()
    private var certificates: Set<[UInt8]> = []

    func insert(_ certificate: [UInt8]) { _ = lock.withLock { certificates.insert(certificate) } }

    var count: Int { lock.withLock { certificates.count } }
  }
}
