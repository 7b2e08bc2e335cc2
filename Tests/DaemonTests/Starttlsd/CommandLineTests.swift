// CommandLineTests: what cannot work is reported in one line, with an exit code by class, before anything starts.

import CKernel
import Foundation
import Glibc
import XCTest

final class CommandLineTests: StarttlsdTestCase {
  /// What a backend would be; it is never started here.
  private let program = ["--trusting-backend", "--", "/bin/cat"]

  func testBadOptionsAreAUsageError() throws {
    let good = try certificate()
    let pair = ["--certificate", good.certificate, "--key", good.key]
    for (options, text) in [
      (["--bogus"], "bogus"), (["--listen"], "listen"), (["--policy", "strict"], "policy"), (["--policy"], "policy"),
      (["--protocol", "pop"], "protocol"), (["--grace", "soon"], "grace"), (["--grace", "-1"], "grace"),
      (["--command-timeout", "0"], "--command-timeout 0"), (["--handshake-timeout", "-5"], "handshake-timeout"),
      (["--handshake-timeout", "99999999"], "--handshake-timeout"), (["--max-connections", "0"], "--max-connections 0"),
      (["--listen", "nonsense"], "--listen nonsense"), (["--listen", "127.0.0.1:99999"], "--listen 127.0.0.1:99999"),
      (["--listen", "127.0.0.1"], "--listen 127.0.0.1"), (["--listen", "[::1:25"], "--listen [::1:25"),
      (["--listen", ""], "--listen"), (["--policy", "required", "--allow-cleartext-auth"], "--allow-cleartext-auth"),
      (["--state-folder", "/nowhere"], "--state-folder"), (["stray"], "stray"),
      (["--backend-environment", ""], "--backend-environment"), (["--backend-environment", "A=b"], "--backend-environment A=b"),
    ] {
      try assertRefused(options + pair + program, 100, text)
    }
  }

  func testCertificatesThatCannotBeUsedAreAUsageError() throws {
    let good = try certificate()
    let folder = TestFolder()
    let other = try makeCertificate("other", in: folder)
    let old = try makeExpiredCertificate(in: folder)
    let empty = try folder.write([], to: "empty")
    let noise = try folder.write(Array("no certificate\n".utf8), to: "noise")
    for (certificate, key, text) in [
      (folder.path + "/missing", good.key, "/missing"), (good.certificate, folder.path + "/missing", "/missing"),
      (folder.path, good.key, folder.path), (good.certificate, folder.path, folder.path), (empty, good.key, "/empty"),
      (good.certificate, empty, "/empty"), (noise, good.key, "/noise"), (good.certificate, noise, "/noise"),
      (good.key, good.key, good.key), (good.certificate, good.certificate, good.certificate), ("", good.key, ""),
      (good.certificate, other.key, "is not the key"), (old.certificate, old.key, "expired on 2020-01-02"),
    ] {
      try assertRefused(["--certificate", certificate, "--key", key] + program, 100, text)
    }
    try assertRefused(
      ["--certificate", good.certificate, "--certificate", other.certificate, "--key", good.key] + program, 100,
      "each certificate needs its key")
    try assertRefused(["--certificate", good.certificate] + program, 100, "each certificate needs its key")
    try assertRefused(["--key", good.key] + program, 100, "no certificate")
  }

  /// The superuser, who may read everything, gives that right up for it.
  func testAnUnreadableKeyIsAUsageError() throws {
    let good = try certificate()
    let folder = TestFolder()
    let key = try folder.write(FileManager.default.contents(atPath: good.key).map(Array.init) ?? [], to: "secret")
    chmod(key, 0)
    let humbly = access(key, R_OK) == 0 ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : []
    try assertRefused(["--certificate", good.certificate, "--key", key] + program, 100,
      "starttlsd: \(key): open: Permission denied: check that the file exists and that this user may read it\n", under: humbly)
  }

  func testHalvesOfAConfigurationAreAUsageError() throws {
    let good = try certificate()
    try assertRefused(["--certificate", good.certificate, "--key", good.key], 100, "no server: name a program")
    try assertRefused(program, 100, "no certificate: name one with --certificate")
  }

  func testABackendThatCannotBeExecutedIsAUsageError() throws {
    let good = try certificate()
    let folder = TestFolder()
    let plain = try folder.write(Array("#!/bin/sh\n".utf8), to: "plain")
    for name in [plain, folder.path, folder.path + "/missing", "no-such-program-anywhere", ""] {
      try assertRefused(["--certificate", good.certificate, "--key", good.key, "--", name], 100, "cannot be executed")
    }
  }

  /// The second address is in use: the first one must not have been served even for a moment.
  func testAnAddressInUseIsASystemError() throws {
    let running = try daemon()
    let good = try certificate()
    let taken = "127.0.0.1:\(running.port)"
    try assertRefused(
      ["--listen", taken, "--certificate", good.certificate, "--key", good.key] + program, 111, "cannot listen on \(taken)")
    XCTAssertEqual(running.sessions.count, 0)
  }

  func testAnAddressOfAnotherMachineIsASystemError() throws {
    let good = try certificate()
    try assertRefused(
      ["--listen", "192.0.2.1:0", "--certificate", good.certificate, "--key", good.key] + program, 111,
      "cannot listen on 192.0.2.1:0")
  }

  func testHelpAndVersion() throws {
    let help = try run([Programs.path("starttlsd"), "--help"])
    XCTAssertTrue(help.output.contains("USAGE: starttlsd "), help.output)
    XCTAssertEqual(help.errors, "")
    for option in ["--certificate", "--key", "--listen", "--policy", "--handshake-timeout", "--grace", "--trusting-backend",
      "--backend-environment",
    ] {
      XCTAssertTrue(help.output.contains(option), "\(option) is not in the help text")
    }
    let version = try run([Programs.path("starttlsd"), "--version"])
    XCTAssertFalse(version.output.isEmpty)
    XCTAssertEqual(version.output.split(separator: "\n").count, 1)
    XCTAssertEqual(version.errors, "")
  }

  /// Without certificate and program: a self-signed one and maildir-smtpd beside the daemon.
  func testTheEmbeddedDefaultTakesMail() throws {
    let folder = TestFolder()
    let program = try SpawnedProgram(
      [Programs.path("starttlsd"), "--allow-root", "--state-folder", folder.path + "/state", "--listen", "127.0.0.1:0"],
      errors: .file(folder.path + "/log"))
    defer { program.kill() }
    func word(after text: String) -> Substring? {
      folder.text("log").split(separator: "\n").first { $0.contains(text) }?.split(separator: ":").last
    }
    XCTAssertTrue(eventually { word(after: "listening on") != nil }, folder.text("log"))
    let client = try client(host: "127.0.0.1", port: UInt16(word(after: "listening on") ?? "") ?? 0)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    // Its domains are this host's name and localhost: it takes nobody else's mail.
    XCTAssertEqual(try client.ask("MAIL FROM:<a@client.example>"), "250 2.1.0 Sender accepted")
    XCTAssertTrue(try client.ask("RCPT TO:<postmaster@elsewhere.example>").hasPrefix("550 5.7.1 "))
    XCTAssertEqual(try client.ask("RCPT TO:<b@localhost>"), "250 2.1.5 Recipient accepted")
    XCTAssertTrue(try client.ask("DATA").hasPrefix("354 "))
    XCTAssertTrue(try client.ask("One line.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    XCTAssertEqual(folder.names(in: "state/Maildir/new").count, 1)
    // The key is for its owner alone.
    for name in folder.names(in: "state") where !name.hasPrefix("Maildir") {
      var status = stat()
      XCTAssertEqual(stat("\(folder.path)/state/\(name)", &status), 0)
      if folder.text("state/\(name)").contains("PRIVATE KEY") { XCTAssertEqual(status.st_mode & 0o777, 0o600, name) }
    }
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  // MARK: -

  private func assertRefused(
    _ arguments: [String], _ code: CInt, _ text: String, under wrapper: [String] = [], file: StaticString = #filePath,
    line: UInt = #line
  ) throws {
    // An address in front, which would be listened on first.
    let words = wrapper + [try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0"] + arguments
    let result = try run(words, expecting: .exited(code))
    XCTAssertEqual(result.output, "", file: file, line: line)
    let lines = result.errors.split(separator: "\n", omittingEmptySubsequences: false)
    XCTAssertEqual(lines.count, 2, "one line: \(result.errors)", file: file, line: line)
    XCTAssertTrue(result.errors.hasPrefix("starttlsd: "), result.errors, file: file, line: line)
    XCTAssertTrue(result.errors.contains(text) || text.isEmpty, "\(text): \(result.errors)", file: file, line: line)
    XCTAssertFalse(result.errors.contains("listening on"), result.errors, file: file, line: line)
  }

  /// Only `openssl ca` makes one that is over already.
  private func makeExpiredCertificate(in folder: TestFolder) throws -> Certificate {
    let key = folder.path + "/old.key"
    let request = folder.path + "/old.csr"
    let made = folder.path + "/old.pem"
    try folder.write([], to: "index")
    try folder.write(Array("01\n".utf8), to: "serial")
    let settings = """
      [ca]
      default_ca = own
      [own]
      database = \(folder.path)/index
      serial = \(folder.path)/serial
      new_certs_dir = \(folder.path)
      default_md = sha256
      policy = any
      [any]
      commonName = supplied
      """
    let configuration = try folder.write(Array(settings.utf8), to: "ca.conf")
    try run(
      [
        "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx.example",
        "-keyout", key, "-out", request,
      ])
    try run(
      [
        "openssl", "ca", "-config", configuration, "-batch", "-notext", "-selfsign", "-keyfile", key, "-in", request,
        "-out", made, "-startdate", "20200101000000Z", "-enddate", "20200102000000Z",
      ])
    return Certificate(certificate: made, key: key)
  }
}
