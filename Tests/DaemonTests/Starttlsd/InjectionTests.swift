// InjectionTests: octets in clear after STARTTLS, which a man in the middle could have put there (CVE-2011-0411).

import XCTest

final class InjectionTests: StarttlsdTestCase {
  /// Answers everything, and records what it received.
  private let writingBackend = """
    cr=$(printf '\\r')
    printf '220 backend ESMTP\\r\\n'
    while IFS= read -r line; do
      printf '%s\\n' "${line%"$cr"}" >>"$FOLDER/received.$$"
      case $line in
        EHLO*) printf '250-backend\\r\\n250 SIZE 1000\\r\\n' ;;
        QUIT*) printf '221 bye\\r\\n'; exit ;;
        *) printf '250 done\\r\\n' ;;
      esac
    done
    """

  /// What the backends of a daemon received, one line each.
  private func received(_ daemon: RunningDaemon) -> [String] {
    daemon.folder.names(in: ".").filter { $0.hasPrefix("received.") }.map { daemon.folder.text($0) }.sorted()
  }

  func testInTheSameSegmentItIsRefusedAndNeverExecuted() throws {
    for injected in ["NOOP\r\n", "MAIL FROM:<evil@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n", "X", "\r\n", "\n", " "] {
      let daemon = try daemon(backend: .script(writingBackend))
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.send("STARTTLS\r\n" + injected)
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, "554 5.5.0 Octets after STARTTLS not accepted, closing connection\r\n")
      XCTAssertEqual(rest.end, .end)
      client.close()
      XCTAssertEqual(try daemon.session().outcome, "abort injected plaintext: injected plaintext")
      XCTAssertEqual(received(daemon), ["EHLO client.example\n"])
    }
  }

  /// A close in front of unread octets is a reset, which can take the last reply back on its way.
  func testTheLastReplyIsNotFollowedByAReset() throws {
    let daemon = try daemon()
    for last in ["STARTTLS\r\n", "GET / HTTP/1.1\r\n", "QUIT\r\n"] {
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.send(last + String(repeating: "NOOP\r\n", count: 500))
      XCTAssertEqual(try client.remainder().end, .end, last)
      XCTAssertFalse(client.isReset(), last)
      client.close()
    }
    _ = try daemon.sessions(3)
  }

  func testNothingInjectedIsDelivered() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.send("STARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
    XCTAssertTrue(try client.remainder().text.hasPrefix("554 5.5.0 "))
    client.close()
    _ = try daemon.session()
    daemon.assertNothingIsDelivered()
  }

  func testAfterThe220ItMeetsTheHandshakeAndNothingInClearIsAnswered() throws {
    for injected in ["NOOP\r\n", "EHLO evil\r\n", "MAIL FROM:<evil@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n"] {
      let daemon = try daemon(backend: .script(writingBackend))
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.ask("STARTTLS")
      try client.send(injected)
      try assertNothingInClear(client)
      XCTAssertEqual(try daemon.session().outcome, "handoff: tls failed")
      XCTAssertEqual(received(daemon), ["EHLO client.example\n"])
    }
  }

  /// A ClientHello after the plain text changes nothing.
  func testPlainTextInFrontOfTheClientHelloFailsTheHandshake() throws {
    let daemon = try daemon(backend: .script(writingBackend))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.ask("STARTTLS")
    try client.sendRaw(Array("NOOP\r\n".utf8) + (try client.beginTLS()))
    try assertNothingInClear(client)
    XCTAssertEqual(try daemon.session().outcome, "handoff: tls failed")
    XCTAssertEqual(received(daemon), ["EHLO client.example\n"])
  }

  func testAClientHelloInTheSameSegmentAsSTARTTLSWorks() throws {
    let daemon = try daemon(backend: .script(writingBackend))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    let line = Array("STARTTLS\r\n".utf8)
    try client.sendRaw(line + (try client.beginTLS()))
    let answer = try client.receiveRaw()
    let ready = Array("220 2.0.0 Ready to start TLS\r\n".utf8)
    XCTAssertEqual(Array(answer.prefix(ready.count)), ready)
    try client.finishHandshake(Array(answer.dropFirst(ready.count)))
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try client.remainder().end, .closeNotify)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: quit")
    XCTAssertEqual(received(daemon), ["EHLO client.example\n", "EHLO client.example\nQUIT\n"])
  }

  /// The other direction: what the first backend sends after STARTTLS never reaches the client.
  func testWhatTheFirstBackendSendsAfterSTARTTLSIsNotPassedOn() throws {
    let daemon = try daemon(
      backend: .script(
        """
        printf '220 backend ESMTP\\r\\n'
        if [ -n "$SSL_PROTOCOL" ]; then
          while read -r line; do printf '250 inside\\r\\n'; done
          exit
        fi
        read -r line; printf '250 backend\\r\\n'
        while read -r line; do :; done
        printf '250 too late\\r\\n'
        """))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("NOOP"), "250 inside")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: client ended")
  }

  /// TLS or the end: an alert at most.
  private func assertNothingInClear(_ client: SMTPClient, file: StaticString = #filePath, line: UInt = #line) throws {
    let octets = try client.rawRemainder()
    client.close()
    let alert: UInt8 = 0x15
    XCTAssertTrue(octets.isEmpty || octets.first == alert && octets.count == 7, "\(octets)", file: file, line: line)
  }
}
