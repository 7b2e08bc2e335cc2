// AdmissionTests: clients for whom there is no room get a 421, and wait only beyond that.

import Foundation
import Glibc
import XCTest

final class AdmissionTests: StarttlsdTestCase {
  private let busy = "421 4.3.2 Too many connections, try again later\r\n"

  /// At the limit a client is sent away with a 421; the next one is served once another has ended.
  func testConnectionsOverTheLimitGet421() throws {
    let daemon = try daemon(["--max-connections", "2"])
    let first = try client(daemon)
    let second = try client(daemon)
    for client in [first, second] { try client.expect("220 ") }
    for _ in 0..<20 {
      let more = try client(daemon)
      // What it has sent already must not turn the answer into a reset.
      try more.send("EHLO client.example\r\n")
      let text = try more.remainder().text
      XCTAssertEqual(text, busy)
      more.close()
    }
    XCTAssertEqual(daemon.backends.count, 2)
    first.close()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    let third = try client(daemon)
    try third.expect("220 ")
    XCTAssertEqual(try third.ask("QUIT"), "221 2.0.0 Bye")
    third.close()
    second.close()
    _ = try daemon.sessions(3)
    // One line at once, and one for all that came within the minute.
    let warnings = { daemon.log.split(separator: "\n").filter { $0.contains("gets 421 4.3.2") } }
    XCTAssertEqual(warnings().count, 1, daemon.log)
    XCTAssertTrue(warnings()[0].contains("there are 2 sessions (--max-connections)"), daemon.log)
    daemon.stop()
    XCTAssertEqual(warnings().count, 2, daemon.log)
    XCTAssertTrue(warnings()[1].contains("19 times more in the last minute"), daemon.log)
  }

  /// Those that are sent away and stay are few; beyond them accepting pauses, until one of them has had its moment.
  func testRefusalsAreBounded() throws {
    let daemon = try daemon(["--max-connections", "1"])
    let first = try client(daemon)
    try first.expect("220 ")
    let start = Date()
    let staying = try (0..<4).map { _ in try client(daemon) }
    for client in staying { try client.expect("421 4.3.2 ") }
    let waiting = try client(daemon)
    XCTAssertEqual(try waiting.remainder().text, busy)
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 1.5, "five were sent away at a time")
  }

  /// `ulimit -n 64`: more than one session, in TLS as well, and each uses no more than it was reckoned with.
  func testSixtyFourDescriptorsAreEnoughForManySessions() throws {
    let daemon = try daemon(under: RunningDaemon.underLimit("ulimit -n 64"))
    XCTAssertTrue(daemon.log.contains("the limit of descriptors allows"), daemon.log)
    var clients: [SMTPClient] = []
    while true {
      let client = try client(daemon)
      let reply = try client.reply()
      if reply.hasPrefix("421 4.3.2 ") { break }
      XCTAssertTrue(reply.hasPrefix("220 "), reply)
      clients.append(client)
    }
    XCTAssertTrue(daemon.log.contains("allows \(clients.count) sessions at a time"), "\(clients.count): \(daemon.log)")
    XCTAssertGreaterThanOrEqual(clients.count, 8)
    for client in clients {
      try client.ask("EHLO client.example")
      try client.startTLS()
      try client.ask("EHLO client.example")
      XCTAssertLessThanOrEqual(ProcessTable.descriptors(of: daemon.process).count, 64)
    }
    XCTAssertTrue(eventually { daemon.backends.count == clients.count })
    // The client's and the server's.
    XCTAssertTrue(
      eventually { ProcessTable.descriptors(of: daemon.process).count == daemon.idleDescriptors + 2 * clients.count },
      "\(ProcessTable.descriptors(of: daemon.process))")
    let more = try client(daemon)
    XCTAssertEqual(try more.remainder().text, busy)
    for client in clients { XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye") }
    for client in clients { client.close() }
    _ = try daemon.sessions(clients.count)
    XCTAssertFalse(daemon.log.contains("Too many open files"), daemon.log)
  }

  /// Descriptors that run out for another reason, at every place where one is needed: no client is closed without a reply.
  func testWithoutDescriptorsAClientStillGets421() throws {
    let daemon = try daemon()
    var answers: Set<String> = []
    for free in 0..<8 {
      try limit(daemon, daemon.idleDescriptors + free)
      let client = try client(daemon)
      let (reply, rest) = (try client.reply(), client)
      answers.insert(String(reply.prefix(9)))
      XCTAssertTrue(reply.hasPrefix("220 ") || reply.hasPrefix("421 4.3.2 "), "\(free) free: \(reply)")
      rest.close()
      daemon.assertIdle()
    }
    XCTAssertTrue(answers.contains("421 4.3.2") && answers.contains { $0.hasPrefix("220 ") }, "\(answers)")
    try limit(daemon, 1024)
    let client = try client(daemon)
    try client.expect("220 ")
    // Besides the line of each session, how often this happens is no reason to log it as often.
    let lines = daemon.log.split(separator: "\n").filter { $0.contains("Too many open files") && !$0.contains(": session ") }
    XCTAssertLessThanOrEqual(lines.count, 3, daemon.log)
  }

  private func limit(_ daemon: RunningDaemon, _ number: Int) throws {
    try run(["prlimit", "--pid", "\(daemon.process)", "--nofile=\(number):4096"])
  }

  /// The process was held up for longer than a timeout while clients connected. The timers of a session begin with the session.
  func testTheTimersOfManyConnectionsAtOnceBeginWithEach() throws {
    // Long enough for the eight programs, which start at the same time.
    let daemon = try daemon(["--greeting-timeout", "3"], backend: .program(["/bin/sh", "-c", "printf '220 backend\\r\\n'; read x"]))
    daemon.program.signal(SIGSTOP)
    let clients = try (0..<8).map { _ in try client(daemon) }
    Thread.sleep(forTimeInterval: 3.5)
    daemon.program.signal(SIGCONT)
    for (number, client) in clients.enumerated() { XCTAssertEqual(try client.reply(), "220 backend", "\(number)") }
  }
}
