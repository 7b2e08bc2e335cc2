// InetdTests: Debian's inetd in front. It makes the client's socket 0, 1 and 2, so that a line of log on standard error
// would go to the client, in clear text even inside TLS.

import Foundation
import Glibc
import XCTest

final class InetdTests: ProxyTestCase {
  /// Every program logs as much as it can. The session's last replies and its close_notify prove that nothing of it is in
  /// the client's stream.
  func testTheChain() throws {
    let chain = [
      try Programs.path("ucspi-tlsd"), "-v", "2", "-S", try Programs.path("starttls-proxy"), "-v", "2",
      try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir",
    ]
    for isSecured in [true, false] {
      try underInetd(chain) { client in try client.hurryToTheEnd(ofSession: 1, isSecured: isSecured) }
    }
    XCTAssertEqual(folder.names(in: "Maildir/new").count, 2, "each once")
  }

  /// What the server program itself writes to standard error does not go to the client either.
  func testTheServerProgramsErrors() throws {
    let script = ShellBackend.script("echo clear text >&2; say '220 backend'", answers: [("NOOP*", "echo more >&2; say '250 done'")])
    let path = try folder.write(Array(("#!/bin/sh\n" + script).utf8), to: "server")
    chmod(path, 0o755)
    try underInetd([try Programs.path("ucspi-tlsd"), "-S", try Programs.path("starttls-proxy"), path]) { client in
      try SessionPhase.secured.enter(client)
      XCTAssertEqual(try client.ask("NOOP"), "250 done")
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      XCTAssertEqual(try client.remainder().end, .closeNotify)
    }
  }

  /// Without a chain: no line of log, and the client's address although inetd says nothing about it.
  func testTheServerAlone() throws {
    let server = [try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir"]
    try underInetd(server) { client in
      try client.expect("220 ")
      try client.send("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n")
      for beginning in ["250-", "250 ", "250 ", "354 "] { try client.expect(beginning) }
      try client.send("One line.\r\n.\r\nQUIT\r\n")
      try client.expect("250 2.0.0 Delivered as ")
      XCTAssertEqual(try client.remainder().text, "221 2.0.0 Bye\r\n")
    }
    let name = try XCTUnwrap(folder.names(in: "Maildir/new").first)
    XCTAssertTrue(folder.text("Maildir/new/" + name).contains("\nReceived: from client.example ([127.0.0.1])\n"))
  }

  /// A chain that cannot start sends only SMTP to the client.
  func testWrongCommandLines() throws {
    let proxy = try Programs.path("starttls-proxy")
    for (words, text) in [
      ([try Programs.path("ucspi-tlsd"), "--bogus"], ""), ([proxy, "/bin/cat"], ""),
      ([try Programs.path("ucspi-tlsd"), proxy, "/nowhere"], "421 4.3.2 Mail server not available, closing connection\r\n"),
      ([try Programs.path("tlsd-io"), "5", "6"], ""), ([try Programs.path("maildir-smtpd")], ""),
    ] {
      try underInetd(words) { client in XCTAssertEqual(try client.remainder().text, text, "\(words)") }
    }
  }

  // MARK: -

  /// Has inetd start a program for a client, and waits for everything to end.
  private func underInetd(
    _ words: [String], file: StaticString = #filePath, line: UInt = #line, _ body: (SMTPClient) throws -> Void
  ) throws {
    let inetd = "/usr/sbin/inetd"
    guard FileManager.default.isExecutableFile(atPath: inetd) else { throw Failure("\(inetd): Scripts/install openbsd-inetd") }
    let port = try freePort()
    let user = try XCTUnwrap(getpwuid(getuid())).pointee.pw_name.map { String(cString: $0) } ?? ""
    let environment = try credentials().merging(["UCSPI_TEST": folder.path]) { $1 }
    let variables = environment.map { "\($0)=\($1)" }
    let entry = ["127.0.0.1:\(port)", "stream", "tcp", "nowait", user, "/usr/bin/env", "env"] + variables + words
    let configuration = try folder.write(Array((entry.joined(separator: " ") + "\n").utf8), to: "inetd.conf")
    let program = try SpawnedProgram(
      [inetd, "-i", configuration], environment: ["UCSPI_TEST": folder.path], errors: .file(folder.path + "/inetd.log"))
    defer { program.kill() }
    var client: SMTPClient?
    _ = eventually {
      client = try? SMTPClient(port: port) { try self.engine }
      return client != nil || !program.isRunning
    }
    guard let client else { throw Failure("inetd does not listen: \(folder.text("inetd.log"))") }
    try body(client)
    client.close()
    let isGone = eventually {
      ProcessTable.processes(with: marker).allSatisfy { $0 == program.process }
    }
    XCTAssertTrue(
      isGone, "left: \(ProcessTable.processes(with: marker).map(ProcessTable.commandLine))", file: file, line: line)
  }
}
