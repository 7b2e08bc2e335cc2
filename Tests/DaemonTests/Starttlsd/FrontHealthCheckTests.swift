// FrontHealthCheckTests: connections of a front itself, such as HAProxy's health checks: the PROXY header names no client, or
// the front's end of this connection.

import XCTest

final class FrontHealthCheckTests: StarttlsdTestCase {
  private enum Header: CaseIterable {
    /// Version 1 without a client.
    case unknown
    /// Version 1 of HAProxy's checks, which has both ends of the connection.
    case itself
    /// Version 2 with the command LOCAL.
    case local

    func octets(_ client: SMTPClient) -> [UInt8] {
      switch self {
      case .unknown: Array("PROXY UNKNOWN\r\n".utf8)
      case .itself: Array("PROXY TCP4 127.0.0.1 127.0.0.1 \(client.ownPort) \(client.peerPort)\r\n".utf8)
      case .local: [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x20, 0x00, 0x00, 0x00]
      }
    }
  }

  /// A server that writes down each line that it gets.
  private static let script = ShellBackend.script(answers: [
    (
      "*",
      """
      printf '%s\\n' "$line" >> "$FOLDER/lines"
            case $line in EHLO*) say '250-backend' '250 SIZE 1000' ;; QUIT*) say '221 bye'; exit ;; *) say '250 done' ;; esac
      """
    )
  ])

  private func daemon(policy: String, _ options: [String] = ["--proxy-from", "127.0.0.1/32"]) throws -> RunningDaemon {
    try daemon(["--policy", policy] + options, backend: .script(FrontHealthCheckTests.script))
  }

  private func check(_ daemon: RunningDaemon, _ header: Header) throws -> SMTPClient {
    let client = try client(daemon)
    try client.sendRaw(header.octets(client))
    try client.expect("220 backend")
    return client
  }

  private func lines(_ daemon: RunningDaemon) -> [String] { daemon.folder.text("lines").split(separator: "\n").map(String.init) }

  func testHELOAndEHLOFindTheServerUpUnderBothPolicies() throws {
    for (policy, helo, reply) in [("opportunistic", "HELO", "250 done"), ("required", "EHLO", "250-backend|250-STARTTLS|250 SIZE 1000")] {
      let daemon = try daemon(policy: policy)
      for (index, header) in Header.allCases.enumerated() {
        let client = try check(daemon, header)
        XCTAssertEqual(try client.ask("HELO probe.example"), reply, policy)
        XCTAssertEqual(try client.ask("EHLO probe.example"), "250-backend|250-STARTTLS|250 SIZE 1000", policy)
        XCTAssertEqual(try client.ask("NOOP"), "250 done", policy)
        XCTAssertEqual(try client.ask("QUIT"), "221 bye", policy)
        client.close()
        let session = try daemon.sessions(index + 1)[index]
        XCTAssertEqual(session.outcome, "abort quit: quit")
        XCTAssertEqual(session["helo"], "probe.example")
        XCTAssertEqual(session["proxy"], "local")
        XCTAssertEqual(session["peer"], "127.0.0.1:\(client.ownPort)")
      }
      XCTAssertEqual(lines(daemon), Array(repeating: ["\(helo) probe.example", "EHLO probe.example", "NOOP", "QUIT"], count: 3).flatMap { $0 })
    }
  }

  /// Each octet is read before the next one is sent.
  func testHELOArrivesInSingleOctets() throws {
    let daemon = try daemon(policy: "required")
    let client = try check(daemon, .local)
    for octet in "hElo probe.example\r\n".utf8 {
      try client.sendRaw([octet])
      XCTAssertTrue(client.isUnread(0))
    }
    try client.expect("250-backend")
    for octet in "HELP\r\n".utf8 {
      try client.sendRaw([octet])
      XCTAssertTrue(client.isUnread(0))
    }
    try client.expect("530 5.7.0 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(lines(daemon), ["EHLO probe.example", "QUIT"])
  }

  func testNothingButTheCheckReachesTheServerInClear() throws {
    let refused = [
      "MAIL FROM:<a@client.example>", "RCPT TO:<b@mx.example>", "DATA", "AUTH PLAIN AGEAYg==", "RSET", "VRFY b", "EXPN b", "HELP", "ETRN x",
      "XCLIENT NAME=x", "BDAT 8 LAST\r\nHELO x\r\n",
    ]
    for header in Header.allCases {
      let daemon = try daemon(policy: "required")
      let one = try check(daemon, header)
      for command in ["HELO one.example"] + refused {
        try one.send(command + (command.hasSuffix("\r\n") ? "" : "\r\n"))
        try one.expect(command.hasPrefix("HELO") ? "250-backend" : "530 5.7.0 ")
      }
      try one.ask("QUIT")
      one.close()
      // All in one segment.
      let two = try check(daemon, header)
      let commands = refused.map { $0 + ($0.hasSuffix("\r\n") ? "" : "\r\n") }.joined()
      try two.send("HELO two.example\r\n\(commands)HELO three.example\r\n\(commands)QUIT\r\n")
      for _ in 0..<2 {
        try two.expect("250-backend")
        for _ in refused { try two.expect("530 5.7.0 ") }
      }
      try two.expect("221 bye")
      two.close()
      XCTAssertEqual(try daemon.sessions(2).map(\.outcome), ["abort quit: quit", "abort quit: quit"])
      XCTAssertEqual(lines(daemon), ["EHLO one.example", "QUIT", "EHLO two.example", "EHLO three.example", "QUIT"])
    }
  }

  func testSTARTTLSIsAcceptedAndInsideTLSNothingIsChanged() throws {
    let daemon = try daemon(policy: "required")
    let client = try check(daemon, .unknown)
    try client.ask("HELO probe.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("HELO inside.example"), "250 done")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: quit")
    XCTAssertEqual(lines(daemon), ["EHLO probe.example", "HELO inside.example", "QUIT"])
  }

  /// A client that a front names, one on the front's machine, and one that no front passes on.
  func testHELOOfOthersIsRefusedWhereTLSIsRequired() throws {
    for (options, source) in [(["--proxy-from", "127.0.0.1/32"], "192.0.2.7"), (["--proxy-from", "127.0.0.1/32"], "127.0.0.1"), ([], nil)] {
      let daemon = try daemon(policy: "required", options)
      let client = try client(daemon)
      if let source { try client.send("PROXY TCP4 \(source) 127.0.0.1 1 25\r\n") }
      try client.expect("220 backend")
      XCTAssertTrue(try client.ask("HELO client.example").hasPrefix("530 5.7.0 "))
      try client.ask("QUIT")
      client.close()
      XCTAssertNil(try daemon.session()["proxy"])
      XCTAssertEqual(lines(daemon), ["QUIT"])
    }
  }
}
