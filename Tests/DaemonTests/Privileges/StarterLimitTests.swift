// StarterLimitTests: the limits of descriptors if another process starts the program: that process has one for each program.

import Foundation
import Glibc
import XCTest

final class StarterLimitTests: PrivilegeTestCase {
  private func daemon(under wrapper: [String]) throws -> RunningDaemon {
    try daemon(
      ["--user", "daemon", "--backend-user", "nobody", "--max-connections", "100"],
      backend: .program(["/bin/sh", "-c", ShellBackend.script()]), under: wrapper, isShared: true)
  }

  /// Sessions up to the first refusal, at most 60. Each of them comes to TLS.
  private func served(_ daemon: RunningDaemon) throws -> Int {
    var clients: [SMTPClient] = []
    while clients.count < 60 {
      let client = try client(daemon)
      let reply = try client.reply()
      if reply.hasPrefix("421 4.3.2 ") { break }
      XCTAssertTrue(reply.hasPrefix("220 "), reply)
      clients.append(client)
    }
    for client in clients {
      try client.ask("EHLO client.example")
      try client.startTLS()
      XCTAssertEqual(try client.ask("NOOP"), "250 done")
    }
    XCTAssertFalse(daemon.log.contains("Too many open files"), daemon.log)
    for client in clients { client.close() }
    return clients.count
  }

  func testASessionNeedsTwoDescriptors() throws {
    let daemon = try daemon(under: RunningDaemon.underLimit("ulimit -n 100"))
    let count = try served(daemon)
    XCTAssertGreaterThan(count, 100 / 4, daemon.log)
    XCTAssertTrue(daemon.log.contains("allows \(count) sessions at a time"), "\(count): \(daemon.log)")
  }

  /// Starts that wait for the process that makes them have a descriptor each, which is counted: no session fails for lack of one.
  func testStartsThatWaitAreCounted() throws {
    let daemon = try daemon(
      ["--max-connections-per-address", "0"], backend: .program(["/bin/sh", "-c", "printf '220 s\\r\\n'; read -r line"]),
      under: RunningDaemon.underLimit("ulimit -n 900"), isShared: true)
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    kill(starter, SIGSTOP)
    defer { kill(starter, SIGCONT) }
    var clients: [SMTPClient] = []
    func isFull() -> Bool { daemon.log.contains("gets 421 4.3.2") }
    while clients.count < 500, !isFull() {
      for _ in 0..<10 { clients.append(try client(daemon)) }
      let wanted = daemon.idleDescriptors + 2 * clients.count
      guard eventually({ ProcessTable.descriptors(of: daemon.process).count >= wanted || isFull() }) else { break }
    }
    XCTAssertTrue(daemon.log.contains("descriptors are in use or reserved (ulimit -Hn)"), daemon.log)
    kill(starter, SIGCONT)
    var served = 0
    for client in clients {
      let reply = try client.reply()
      XCTAssertTrue(reply.hasPrefix("220 ") || reply.hasPrefix("421 4.3.2 "), reply)
      served += reply.hasPrefix("220 ") ? 1 : 0
      client.close()
    }
    XCTAssertGreaterThan(served, 900 / 4)
    XCTAssertFalse(daemon.log.contains("Too many open files"), daemon.log)
    _ = try daemon.sessions(served)
  }

  /// Root raises the limits of both processes. The program has those that were found.
  func testRootRaisesTheLimitOfBoth() throws {
    guard RunningDaemon.mayRaiseLimits else { return }
    let daemon = try daemon(under: ["/bin/sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"])
    XCTAssertEqual(try served(daemon), 60)
    let client = try client(daemon)
    try client.expect("220 ")
    let backend = try XCTUnwrap(daemon.backends.max())
    let limits = try String(contentsOfFile: "/proc/\(backend)/limits", encoding: .utf8)
    let line = try XCTUnwrap(limits.split(separator: "\n").first { $0.hasPrefix("Max open files") })
    XCTAssertEqual(line.split(separator: " ")[3...4], ["64", "64"])
  }
}
