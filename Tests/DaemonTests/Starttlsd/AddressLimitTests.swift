// AddressLimitTests: each limit of one address, with its reply and its line of the log; another address is served.

import Foundation
import Glibc
import XCTest

final class AddressLimitTests: StarttlsdTestCase {
  private let tooMany = "421 4.7.0 Too many connections or errors from your address, try again later\r\n"
  private let attacker = "127.0.0.2"
  private let other = "127.0.0.3"

  private func assertRefused(_ daemon: RunningDaemon, file: StaticString = #filePath, line: UInt = #line) throws {
    let client = try client(daemon, from: attacker)
    // Octets that the client has sent already must not turn the reply into a reset.
    try client.send("EHLO client.example\r\n")
    XCTAssertEqual(try client.remainder().text, tooMany, daemon.log, file: file, line: line)
    client.close()
  }

  private func assertServed(
    _ daemon: RunningDaemon, from source: String, file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let client = try client(daemon, from: source)
    XCTAssertTrue(try client.reply().hasPrefix("220 "), daemon.log, file: file, line: line)
    XCTAssertTrue(try client.ask("QUIT").hasPrefix("221 "), file: file, line: line)
    client.close()
  }

  private func refusals(_ daemon: RunningDaemon) -> [String] {
    daemon.log.split(separator: "\n").map(String.init).filter { $0.contains("gets 421 4.7.0: ") }
  }

  private func assertLogged(_ daemon: RunningDaemon, _ text: String, file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertEqual(refusals(daemon).count, 1, daemon.log, file: file, line: line)
    XCTAssertTrue(refusals(daemon).first?.contains(text) == true, daemon.log, file: file, line: line)
    XCTAssertTrue(refusals(daemon).first?.contains(" warning starttlsd: 127.0.0.2:") == true, daemon.log, file: file, line: line)
  }

  // MARK: Limits

  func testConcurrentSessionsOfOneAddress() throws {
    let daemon = try daemon(["--max-connections-per-address", "2"])
    let held = try (0..<2).map { _ in try client(daemon, from: attacker) }
    for client in held { try client.expect("220 ") }
    for _ in 0..<20 { try assertRefused(daemon) }
    try assertServed(daemon, from: other)
    assertLogged(daemon, "its address has 2 sessions (--max-connections-per-address)")
    held[0].close()
    XCTAssertTrue(eventually { daemon.sessions.count == 2 })
    try assertServed(daemon, from: attacker)
    held[1].close()
    _ = try daemon.sessions(4)
    daemon.stop()
    // One line at once, and one for all that came within the minute.
    XCTAssertEqual(refusals(daemon).count, 2, daemon.log)
    XCTAssertTrue(refusals(daemon)[1].contains("19 times more in the last minute"), daemon.log)
  }

  func testTheDefaultIsFiftySessionsOfOneAddress() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let held = try (0..<50).map { _ in try client(daemon, from: attacker) }
    for client in held { try client.expect("220 ") }
    try assertRefused(daemon)
    assertLogged(daemon, "its address has 50 sessions")
    try assertServed(daemon, from: other)
  }

  /// A connection over IPv6 from an IPv4-mapped address counts as one from the IPv4 address.
  func testAMappedAddressCountsAsIPv4() throws {
    let daemon = try daemon(["--max-connections-per-address", "1"], listen: ["[::]:0", "127.0.0.1:0"])
    let mapped = try client(daemon, from: attacker)
    try mapped.expect("220 ")
    let plain = try SMTPClient(port: daemon.ports[1], from: attacker) { throw Failure("no TLS") }
    XCTAssertEqual(try plain.remainder().text, tooMany)
    plain.close()
    assertLogged(daemon, "its address has 1 sessions")
    let six = try client(host: "::1", port: daemon.port)
    try six.expect("220 ")
    let second = try client(host: "::1", port: daemon.port)
    XCTAssertEqual(try second.remainder().text, tooMany)
  }

  func testConnectionsPerMinute() throws {
    let daemon = try daemon(["--max-connections-per-minute", "3"])
    for _ in 0..<3 { try assertServed(daemon, from: attacker) }
    try assertRefused(daemon)
    try assertServed(daemon, from: other)
    assertLogged(daemon, "its address had 3 connections in a minute (--max-connections-per-minute)")
  }

  func testHandshakesPerMinute() throws {
    let daemon = try daemon(["--max-handshakes-per-minute", "1"])
    try assertServed(daemon, from: attacker)
    let client = try client(daemon, from: attacker)
    try SessionPhase.negotiating.enter(client)
    try client.startTLS()
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    try assertRefused(daemon)
    try assertServed(daemon, from: other)
    assertLogged(daemon, "its address had 1 handshakes in a minute (--max-handshakes-per-minute)")
  }

  /// An address that connects and closes, with backends that continue, must not occupy all backends.
  func testBackendsWithoutSessions() throws {
    let stubborn = ShellBackend.script("say '220 backend ESMTP'; [ $TCPREMOTEIP = 127.0.0.3 ] || exec sleep 1000")
    let daemon = try daemon(["--max-connections-per-address", "2", "--backend-grace", "600"], backend: .script(stubborn))
    for count in 1...2 {
      let client = try client(daemon, from: attacker)
      try client.expect("220 ")
      client.close()
      XCTAssertTrue(eventually { daemon.sessions.count == count })
    }
    try assertRefused(daemon)
    try assertServed(daemon, from: other)
    assertLogged(daemon, "its address has 2 backends without a session (--max-connections-per-address)")
    for backend in daemon.backends { kill(backend, SIGKILL) }
    try clientWhenThereIsRoom(daemon, from: attacker).close()
    XCTAssertTrue(eventually { daemon.sessions.count == 4 })
    for backend in daemon.backends { kill(backend, SIGKILL) }
  }

  func testExemptNetworksHaveNoLimit() throws {
    let daemon = try daemon([
      "--max-connections-per-address", "1", "--max-connections-per-minute", "1", "--max-penalty", "1",
      "--exempt", "127.0.0.2/31", "--exempt", "2001:db8::/32",
    ])
    let held = try (0..<3).map { _ in try client(daemon, from: attacker) }
    for client in held {
      try client.expect("220 ")
      try client.ask("JUNK")
    }
    try assertServed(daemon, from: other)
    try assertServed(daemon, from: other)
    XCTAssertEqual(refusals(daemon), [])
    try assertServed(daemon, from: "127.0.0.1")
    let second = try client(daemon)
    XCTAssertEqual(try second.remainder().text, tooMany)
  }

  // MARK: Penalty

  private let refusing = ShellBackend.script(answers: [("AUTH*", "say '535 5.7.8 refused'")])

  /// What costs points, and how many: with one point less than the limit the address is still served.
  func testThePenalty() throws {
    let cases: [(String, Int, (SMTPClient) throws -> Void)] = [
      ("junk lines", 3, { client in for _ in 0..<3 { try client.ask("JUNK") } }),
      ("AUTH in clear", 4, { client in for _ in 0..<2 { try client.ask("AUTH PLAIN AGEAYg==") } }),
      (
        "AUTH inside TLS", 4,
        { client in
          try client.startTLS()
          try client.ask("EHLO client.example")
          for _ in 0..<2 { XCTAssertEqual(try client.ask("AUTH PLAIN AGEAYg=="), "535 5.7.8 refused") }
        }
      ),
      (
        "a failed handshake", 1,
        { client in
          try client.ask("STARTTLS")
          try client.sendRaw(Array("no ClientHello\r\n".utf8))
        }
      ),
      ("HTTP", 5, { client in try client.ask("GET / HTTP/1.1") }),
      ("an injection", 5, { client in try client.send("STARTTLS\r\nNOOP\r\n") }),
    ]
    for (name, points, act) in cases {
      for limit in [points, points + 1] {
        let daemon = try daemon(["--max-penalty", "\(limit)"], backend: .script(refusing))
        let client = try client(daemon, from: attacker)
        try client.expect("220 ")
        try client.ask("EHLO client.example")
        try act(client)
        client.close()
        _ = try daemon.session()
        if limit == points {
          try assertRefused(daemon)
          assertLogged(daemon, "its address has \(limit) penalty points (--max-penalty)")
        } else {
          try assertServed(daemon, from: attacker)
        }
        try assertServed(daemon, from: other)
        if name == "a failed handshake" { XCTAssertEqual(daemon.sessions[0]["end"], "tls failed") }
      }
    }
  }

  /// After a MAIL, and with TLS from the start, octets are only copied: the replies of the server are still counted.
  func testTheRefusalsWhileOctetsAreCopied() throws {
    let backend = ShellBackend.script(answers: [
      ("AUTH*", "printf '535-5.7.8 no\\r\\n535 5.7.8 refused\\r\\n'"), ("MAIL*", "say '530 5.7.0 log in'"),
    ])
    for isImplicit in [false, true] {
      for limit in [4, 5] {
        let daemon = try daemon(
          ["--max-penalty", "\(limit)"] + (isImplicit ? ["--listen-tls", "127.0.0.1:0"] : []), backend: .script(backend))
        let client =
          isImplicit ? try client(host: "127.0.0.1", port: daemon.ports[1], from: attacker) : try client(daemon, from: attacker)
        try client.enterTLS(isImplicit: isImplicit)
        try client.ask("EHLO client.example")
        XCTAssertEqual(try client.ask("MAIL FROM:<>"), "530 5.7.0 log in")
        for _ in 0..<2 { XCTAssertEqual(try client.ask("AUTH PLAIN AGEAYg=="), "535-5.7.8 no|535 5.7.8 refused") }
        // The points count before the session ends.
        if limit == 4 { try assertRefused(daemon) } else { try assertServed(daemon, from: attacker) }
        XCTAssertTrue(try client.ask("QUIT").hasPrefix("221 "))
        client.close()
      }
    }
  }

  /// The points count while the session goes on.
  func testThePenaltyCountsBeforeTheSessionEnds() throws {
    let daemon = try daemon(["--max-penalty", "2"])
    let client = try client(daemon, from: attacker)
    try client.expect("220 ")
    for _ in 0..<2 { try client.ask("JUNK") }
    try assertRefused(daemon)
    XCTAssertEqual(try client.ask("NOOP"), "250 2.0.0 OK")
  }

  func testOptionsOutOfRange() throws {
    let good = try certificate()
    let cases = [
      (["--max-connections-per-address", "-1"], "--max-connections-per-address -1: give a number from 0 to 1000000"),
      (["--max-penalty", "1000001"], "--max-penalty 1000001: give a number from 0 to 1000000"),
      (["--exempt", "10.0.0.0/33"], "--exempt '10.0.0.0/33': expected a prefix length from 0 to 32"),
      (["--exempt", "name"], "--exempt 'name': expected a network such as 192.0.2.0/24"),
      (["--greeting-wait", "61"], "--greeting-wait 61: give a number of seconds from 0 to 60"),
    ]
    for (options, expected) in cases {
      let words = options.count == 2 && options[1].hasPrefix("-") ? ["\(options[0])=\(options[1])"] : options
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--certificate", good.certificate, "--key", good.key,
          "--trusting-backend"] + words + ["--", "/bin/cat"], expecting: .exited(100))
      XCTAssertTrue(result.errors.hasPrefix("starttlsd: \(expected)"), result.errors)
    }
  }
}
