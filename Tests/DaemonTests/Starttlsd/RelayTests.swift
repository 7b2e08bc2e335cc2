// RelayTests: after the decision nothing is lost, repeated or altered, and no pending reply is cut off.

import Foundation
import PropertyCases
import XCTest

final class RelayTests: StarttlsdTestCase {
  /// After MAIL it sends back what it gets, to the last octet.
  private let echo = ShellBackend.script(answers: [("MAIL*", "say '250 done'; exec cat")])

  func testEverythingComesBackAfterTheClientsEnd() throws {
    for isSecured in [false, true] {
      for size in [0, 1, 17, 16_384, 300_001] {
        let daemon = try daemon(backend: .script(echo))
        let client = try client(daemon)
        try (isSecured ? SessionPhase.negotiatingInsideTLS : .negotiating).enter(client)
        try client.ask("MAIL FROM:<a@b>")
        let sent = octets(size)
        let received = try client.exchange(sent)
        XCTAssertTrue(received == sent, "\(received.count) octets came back of \(sent.count)")
        client.close()
        XCTAssertEqual(try daemon.session().outcome, isSecured ? "handoff: relayed" : "abort mail: relayed")
      }
    }
  }

  /// All octets there are, line ends of every kind among them, and leftovers after the decisive line in its segment.
  func testLeftoversOfTheDecisiveSegmentAreRelayed() throws {
    for isSecured in [false, true] {
      let daemon = try daemon(backend: .script(echo))
      let client = try client(daemon)
      try (isSecured ? SessionPhase.negotiatingInsideTLS : .negotiating).enter(client)
      let rest = (0...255).map { UInt8($0) } + [13, 13, 10, 10, 0, 46, 10, 46, 13, 10]
      try client.send(Array("MAIL FROM:<a@b>\r\n".utf8) + rest)
      try client.expect("250 done")
      XCTAssertEqual(try client.exchange([]), rest)
      client.close()
      _ = try daemon.session()
    }
  }

  /// The backend ends its half and still reads.
  func testTheBackendsEndComesAfterAllThatItHasSent() throws {
    let line = String(repeating: "x", count: 998)
    let script = ShellBackend.script(answers: [
      ("MAIL*", "i=0; while [ $i -lt 5000 ]; do say '250-\(line)'; i=$((i+1)); done; say '250 end'; exit")
    ])
    for isSecured in [false, true] {
      let daemon = try daemon(backend: .script(script))
      let client = try client(daemon)
      try (isSecured ? SessionPhase.negotiatingInsideTLS : .negotiating).enter(client)
      try client.send("MAIL FROM:<a@b>\r\n")
      XCTAssertTrue(client.isStalling(), "more than the kernel's buffers hold")
      let rest = try client.remainder()
      XCTAssertEqual(rest.text.split(separator: "\r\n").count, 5001)
      XCTAssertTrue(rest.text.hasSuffix("250 end\r\n"))
      XCTAssertEqual(rest.end, isSecured ? .closeNotify : .end)
      client.close()
      _ = try daemon.session()
    }
  }

  /// If a backend reads no more, what it sends is still delivered.
  func testTheOutputOfABackendThatReadsNoMoreIsDelivered() throws {
    let script = """
      import socket, sys
      end = socket.socket(fileno=0)
      def say(text): end.sendall(text + b'\\r\\n')
      say(b'220 backend')
      for line in end.makefile('rb'):
          if line.startswith(b'MAIL'):
              break
          say(b'250 backend')
      else:
          sys.exit()
      end.shutdown(socket.SHUT_RD)
      say(b'250 done')
      open(sys.argv[1]).readline()
      say(b'421 that was all')
      """
    for isSecured in [false, true] {
      let gate = try Gate(in: TestFolder())
      let daemon = try daemon(backend: .program(["/usr/bin/python3", "-ISc", script, gate.path]))
      let other = try client(daemon)
      try other.expect("220 ")
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      if isSecured { try client.startTLS() }
      XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "250 done")
      // The first of these finds the backend's input closed.
      try client.send("RCPT TO:<c@d>\r\n")
      XCTAssertTrue(client.isUnread(0))
      // The daemon reads the second of these after all that it does with the octets it has read.
      for _ in 0..<2 { try other.ask("EHLO client.example") }
      for _ in 0..<2 { try client.send("RCPT TO:<c@d>\r\n") }
      gate.open()
      XCTAssertEqual(try client.remainder().text, "421 that was all\r\n")
      client.close()
      XCTAssertTrue(eventually { daemon.sessions.map { $0["end"] } == ["relayed"] }, daemon.log)
      other.close()
      _ = try daemon.sessions(2)
    }
  }

  /// A message's end and QUIT in one record, and a backend that answers both and exits at once: the case in which a
  /// front end that closes too early loses the 250, and the client sends its mail again.
  func testTheLastRepliesOfABackendThatExitsAtOnceArriveInClear() throws {
    try assertLastReplies(isSecured: false)
  }

  func testTheLastRepliesOfABackendThatExitsAtOnceArriveInsideTLS() throws {
    try assertLastReplies(isSecured: true)
  }

  /// The same with QUIT unread: for the kernel that is a reset between backend and daemon.
  func testTheLastReplyOfABackendThatExitsWithQUITUnreadArrives() throws {
    for isSecured in [false, true] { try assertLastReplies(isSecured: isSecured, isQuitRead: false, count: 50) }
  }

  private func assertLastReplies(isSecured: Bool, isQuitRead: Bool = true, count: Int = Extent.choose(quick: 250, full: 1000)) throws {
    let end = isQuitRead ? "read -r quit; say '250 stored' '221 bye'; exit" : "say '250 stored'; exit"
    let script = ShellBackend.script(answers: [
      ("DATA", "say '354 go on'; while IFS= read -r line && [ \"$line\" != \".$cr\" ]; do :; done; \(end)")
    ])
    let daemon = try daemon(backend: .script(script))
    for number in 0..<count {
      let client = try client(daemon)
      try (isSecured ? SessionPhase.dataInsideTLS : .dataInClear).enter(client)
      try client.send("ne.\r\n.\r\nQUIT\r\n")
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, isQuitRead ? "250 stored\r\n221 bye\r\n" : "250 stored\r\n", "session \(number)")
      XCTAssertEqual(rest.end, isSecured ? .closeNotify : .end, "session \(number)")
      client.close()
    }
    for session in try daemon.sessions(count) { XCTAssertEqual(session["end"], "relayed") }
  }

  private func octets(_ count: Int) -> [UInt8] {
    var state: UInt32 = 12345
    return (0..<count).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
  }
}
