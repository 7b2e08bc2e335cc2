// SpareOptionsTests: --spare-backends needs a program that may not know its client, and such a program is tested as it will run.

import CKernel
import Foundation
import Glibc
import XCTest

final class SpareOptionsTests: SpareTestCase {
  private let spare = ["--spare-backends", "1", "--backend-client", "none"]

  private func assertRefused(_ options: [String], _ texts: String..., line: UInt = #line) throws {
    let good = try certificate()
    let words = [try Programs.path("starttlsd"), "--allow-root", "--certificate", good.certificate, "--key", good.key] + options
    let result = try run(words, expecting: .exited(100))
    for text in texts { XCTAssertTrue(result.errors.contains(text), "\(text): \(options): \(result.errors)", line: line) }
    XCTAssertEqual(result.errors.split(separator: "\n").count { $0.hasPrefix("starttlsd: ") }, 1, result.errors, line: line)
  }

  func testOptionsThatCannotWorkAreAUsageError() throws {
    let folder = TestFolder()
    let rules = try folder.write(Array("127.0.0.3:allow,WHO=\"third\"\n:allow\n".utf8), to: "rules")
    let program = ["--", "/bin/cat"]
    try assertRefused(["--spare-backends", "1"] + program, "--spare-backends needs --backend-client none")
    try assertRefused(["--spare-backends", "1001"] + program, "--spare-backends 1001: give a number from 0 to 1000")
    try assertRefused(spare + ["--backend", "127.0.0.1:1"], "--spare-backends cannot be used with --backend")
    try assertRefused(spare + ["--access", rules] + program, "cannot be used with access rules that set variables, such as WHO")
    try assertRefused(spare + ["--max-backends", "2"] + program, "--spare-backends 1 needs --max-backends 3 or more")
    try assertRefused(["--backend-client", "proxy-v2"] + program, "a server program can only have --backend-client none")
    try assertRefused(spare, "--backend-client needs --backend")
    // A client's connection is looked at first.
    var ends: [CInt] = [-1, -1]
    XCTAssertEqual(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends), 0)
    defer { for end in ends { close(end) } }
    let good = try certificate()
    let inetd = try SpawnedProgram(
      [Programs.path("starttlsd"), "--allow-root", "--certificate", good.certificate, "--key", good.key, "--inetd"] + spare + program,
      input: .descriptor(ends[0]), output: .descriptor(ends[0]), errors: .file(folder.path + "/log"))
    XCTAssertEqual(inetd.wait(), .exited(100))
    XCTAssertTrue(folder.text("log").contains("--spare-backends cannot be used with --inetd"), folder.text("log"))
  }

  /// A program that trusts whoever has no address, as one that is meant for local users does.
  func testAProgramThatRelaysWithoutAnAddressIsNotServed() throws {
    let folder = TestFolder()
    let path = try folder.write(
      Array(("#!/bin/sh\n" + ShellBackend.script(answers: [("RCPT*", "if [ -n \"$TCPREMOTEIP\" ]; then say '550 no'; else say '250 ok'; fi")])).utf8),
      to: "server")
    chmod(path, 0o755)
    for options in [spare, ["--backend-client", "none"]] { try assertRefused(options + ["--", path], "is an open relay", "remove --backend-client none") }
    let daemon = try daemon(backend: .program([path]), trusting: false)
    daemon.stop()
  }

  /// Without spare processes the program still has what does not name the client.
  func testAProgramThatIsNotGivenTheClientsAddress() throws {
    let daemon = try daemon(["--backend-client", "none"], backend: .script(SpareTestCase.script()))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.startTLS()
    client.close()
    let session = try daemon.session()
    let identifier = try XCTUnwrap(session["id"])
    XCTAssertEqual(
      starts(daemon).map { Array($0.dropFirst()) },
      [["none", "none", "none", identifier, "TCP"], ["none", "none", "TLSv1.3", identifier, "TCP"]])
  }

  /// Rules that only allow and deny; after a reload too.
  func testRulesMaySetNoVariableAfterAReload() throws {
    let folder = TestFolder()
    let rules = try folder.write(Array("127.0.0.3:deny\n:allow\n".utf8), to: "rules")
    let daemon = try spareDaemon(1, ["--access", rules])
    try waitFor(ready: 1, daemon)
    let denied = try client(daemon, from: "127.0.0.3")
    XCTAssertTrue(try denied.remainder().text.hasPrefix("554 "))
    try folder.write(Array(":allow,WHO=\"all\"\n".utf8), to: "rules")
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("sets WHO, which no spare process could get") }, daemon.log)
    let again = try client(daemon, from: "127.0.0.3")
    XCTAssertTrue(try again.remainder().text.hasPrefix("554 "))
    daemon.stop()
  }
}
