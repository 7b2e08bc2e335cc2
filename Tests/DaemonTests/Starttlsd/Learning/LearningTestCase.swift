// LearningTestCase: a daemon with --learn-greeting, whose program notes each of its starts.

import Foundation
import Glibc
import XCTest

class LearningTestCase: StarttlsdTestCase {
  static let isLearnt = "the program's greeting is learnt"

  /// A server that notes its start, and says what is in the file `greeting`, if there is one.
  ///
  /// - Parameter opening: before the greeting.
  static func script(_ opening: String = ":", answers: [(String, String)] = []) -> String {
    ShellBackend.script(
      """
      echo "$TCPREMOTEIP ${SSL_PROTOCOL-clear}" >>"$FOLDER/starts"
      \(opening)
      say "220 $(cat "$FOLDER/greeting" 2>/dev/null || echo backend) ESMTP"
      """, answers: answers)
  }

  /// A daemon after its first client, whose program's greeting is learnt.
  func learntDaemon(_ options: [String] = [], _ script: String = LearningTestCase.script(), isShared: Bool = false) throws -> RunningDaemon {
    let daemon = try daemon(["--learn-greeting"] + options, backend: .script(script), isShared: isShared)
    try serveOne(daemon)
    try waitForLog(daemon, LearningTestCase.isLearnt)
    daemon.assertIdle()
    return daemon
  }

  /// A client that reads the greeting and quits.
  @discardableResult
  func serveOne(_ daemon: RunningDaemon) throws -> String {
    let client = try client(daemon)
    let greeting = try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    return greeting
  }

  /// A client that has read the greeting and the reply to EHLO needs the program when that greets otherwise. It meets what was
  /// learnt, if there is something.
  func differ(_ daemon: RunningDaemon) throws {
    let client = try client(daemon)
    defer { client.close() }
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    let path = try daemon.folder.write(Array("other".utf8), to: "greeting")
    defer { try? FileManager.default.removeItem(atPath: path) }
    try client.send("NOOP\r\n")
    _ = try client.reply()
  }

  /// Starts a daemon under a clock at so many times the speed. The filter of the process of the keys does not allow what its
  /// library does: --key-in-process.
  func fastClock(_ factor: Int) throws -> [String] {
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    return ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x\(factor)", "/usr/bin/env"]
  }

  /// The daemon stops at SIGTERM, and its client gets 421.
  func assertStops(_ daemon: RunningDaemon, before client: SMTPClient, file: StaticString = #filePath, line: UInt = #line) throws {
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(
      try client.remainder().text, "421 4.3.2 Service shutting down, closing connection\r\n", file: file, line: line)
    client.close()
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log, file: file, line: line)
  }

  /// Waits for so many lines of the log with that text.
  func waitForLog(_ daemon: RunningDaemon, _ text: String, count: Int = 1) throws {
    guard eventually({ daemon.log.components(separatedBy: text).count > count }) else { throw Failure("'\(text)' is not in the log: \(daemon.log)") }
  }

  /// The starts of the program since the last call: the client's address and the version of TLS.
  func starts(_ daemon: RunningDaemon) -> [String] {
    daemon.assertIdle()
    let lines = daemon.folder.text("starts").split(separator: "\n").map(String.init)
    defer { seen = lines.count }
    return Array(lines.dropFirst(seen))
  }

  private var seen = 0
}
