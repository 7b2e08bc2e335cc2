// ImplicitTLSTests: clients that begin with TLS (RFC 8314, 3.3). RealClientTests has those that everybody uses.

import CKernel
import Foundation
import Glibc
import XCTest

final class ImplicitTLSTests: StarttlsdTestCase {
  private func implicitDaemon(
    _ options: [String] = [], backend: RunningDaemon.Backend = .script(ShellBackend.script())
  ) throws -> RunningDaemon {
    try daemon(["--listen-tls", "127.0.0.1:0"] + options, backend: backend)
  }

  private func implicitClient(_ daemon: RunningDaemon) throws -> SMTPClient {
    try client(host: "127.0.0.1", port: daemon.ports[1])
  }

  private func secured(_ daemon: RunningDaemon, version: String = "3") throws -> SMTPClient {
    let client = try implicitClient(daemon)
    try client.sendRaw(try client.beginTLS(version: version))
    try client.finishHandshake()
    return client
  }

  /// One backend is started, after the handshake, and with the variables of TLS.
  func testTheBackendIsStartedOnceAfterTheHandshake() throws {
    let script = ShellBackend.script("echo \"$SSL_PROTOCOL $SSL_TLS_SNI_SERVERNAME $TCPLOCALPORT\" >>\"$FOLDER/starts\"; say '220 backend'")
    for version in ["3", "2"] {
      let daemon = try implicitDaemon(backend: .script(script))
      let client = try implicitClient(daemon)
      let hello = try client.beginTLS(version: version)
      try client.sendRaw(Array(hello.prefix(50)))
      XCTAssertFalse(client.hasUnread)
      XCTAssertEqual(daemon.backends, [])
      try client.sendRaw(Array(hello.dropFirst(50)))
      try client.finishHandshake()
      try client.expect("220 backend")
      // Nothing is watched: STARTTLS is the server's affair, and so is its refusal.
      XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      XCTAssertEqual(try client.remainder().end, .closeNotify)
      client.close()
      let session = try daemon.session()
      XCTAssertEqual(session.outcome, "implicit: relayed")
      XCTAssertEqual(session["tls"], "TLSv1.\(version)")
      XCTAssertEqual(session["sni"], "mx.example")
      XCTAssertEqual(daemon.folder.text("starts"), "TLSv1.\(version) mx.example \(daemon.ports[1])\n")
      XCTAssertTrue(daemon.log.contains("listening on 127.0.0.1:\(daemon.ports[1]) with TLS from the start\n"), daemon.log)
    }
  }

  /// An alert or nothing, and no backend. The address gets a penalty, as for a handshake after STARTTLS.
  func testNothingIsSentInClear() throws {
    let script = ShellBackend.script("echo started >>\"$FOLDER/starts\"; say '220 backend'")
    let daemon = try implicitDaemon(backend: .script(script))
    for octets in [Array("EHLO client.example\r\n".utf8), Array("GET / HTTP/1.1\r\n\r\n".utf8), [0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9], []] {
      let client = try implicitClient(daemon)
      try client.sendRaw(octets)
      shutdown(client.socket, CInt(SHUT_WR))
      let answer = try client.rawRemainder()
      XCTAssertTrue(answer.isEmpty || answer[0] == 0x15 && answer.count == 7, "\(answer)")
      client.close()
    }
    let sessions = try daemon.sessions(4)
    XCTAssertEqual(sessions.map(\.outcome), Array(repeating: "implicit: tls failed", count: 4))
    XCTAssertEqual(sessions.map { $0["in"] }, ["0", "0", "0", "0"])
    XCTAssertFalse(FileManager.default.fileExists(atPath: daemon.folder.path + "/starts"))
  }

  private let counted = "echo started >>$FOLDER/started\n" + ShellBackend.script()

  /// The wait comes after the handshake: before it the client has to send first. No backend runs meanwhile.
  func testTheGreetingWaitComesAfterTheHandshake() throws {
    let daemon = try implicitDaemon(["--greeting-wait", "1"], backend: .script(counted))
    let start = Date()
    let client = try secured(daemon)
    let started = daemon.folder.text("started")
    XCTAssertTrue(started.isEmpty || Date().timeIntervalSince(start) > 0.9, "a backend runs before the wait is over")
    try client.expect("220 ")
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 0.9)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try daemon.session().outcome, "implicit: relayed")
  }

  func testAnEarlyTalkerInsideTLSGets554AndAPenalty() throws {
    let daemon = try implicitDaemon(["--greeting-wait", "30", "--max-penalty", "10"], backend: .script(counted))
    for version in ["2", "3"] {
      let client = try secured(daemon, version: version)
      try client.send("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n")
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, "554 5.5.1 Octets before the greeting not accepted, closing connection\r\n")
      XCTAssertEqual(rest.end, .closeNotify)
      client.close()
      XCTAssertEqual(try daemon.sessions(version == "2" ? 1 : 2).last?["end"], "early talker before the greeting")
    }
    let refused = try implicitClient(daemon)
    XCTAssertEqual(try refused.rawRemainder(), [])
    XCTAssertTrue(daemon.log.contains("its address has 10 penalty points"), daemon.log)
    XCTAssertEqual(daemon.folder.text("started"), "")
  }

  func testAClientThatLeavesInTheGreetingWaitCostsNoProcess() throws {
    let daemon = try implicitDaemon(["--greeting-wait", "30"], backend: .script(counted))
    let clients = [try secured(daemon), try secured(daemon)]
    clients[0].close()
    clients[1].reset()
    for session in try daemon.sessions(2) { XCTAssertEqual(session.outcome, "implicit: client lost") }
    XCTAssertEqual(daemon.folder.text("started"), "")
  }

  /// Its place is free at once: the greeting's timeout is not awaited.
  func testAClientThatLeavesWhileItsServerStarts() throws {
    let departures: [(leave: (SMTPClient) throws -> Void, outcome: String)] = [
      ({ $0.close() }, "implicit: client ended"), ({ try $0.endSending() }, "implicit: client ended"), ({ $0.reset() }, "implicit: client lost"),
    ]
    let listener = try TestListener()
    for backend in [RunningDaemon.Backend.script("exec sleep 1000\n"), .server(listener.port)] {
      let daemon = try implicitDaemon(["--greeting-timeout", "1000", "--backend-grace", "0"], backend: backend)
      for (index, departure) in departures.enumerated() {
        let client = try secured(daemon)
        let server = if case .server = backend { try listener.accept() } else { nil as TestDescriptor? }
        XCTAssertTrue(server != nil || eventually { !daemon.backends.isEmpty }, "no server is started")
        try departure.leave(client)
        let sessions = try daemon.sessions(index + 1)
        XCTAssertEqual(sessions.last?.outcome, departure.outcome)
      }
    }
  }

  /// A client that has sent something is served, though it has ended.
  func testAClientThatEndsAfterItsCommandsIsServed() throws {
    let listener = try TestListener()
    let late = ShellBackend.script("until [ -e \"$FOLDER/go\" ]; do sleep 0.01; done; say '220 backend'")
    for backend in [RunningDaemon.Backend.script(late), .server(listener.port)] {
      let daemon = try implicitDaemon(backend: backend)
      let client = try secured(daemon)
      try client.send("QUIT\r\n")
      try client.endSending()
      if case .server = backend {
        let server = try listener.accept()
        XCTAssertFalse(client.hasUnread)
        let replies = Array("220 backend\r\n221 bye\r\n".utf8)
        XCTAssertEqual(send(server.number, replies, replies.count, CInt(MSG_NOSIGNAL)), replies.count)
        shutdown(server.number, CInt(SHUT_WR))
        XCTAssertEqual(try client.remainder().text, "220 backend\r\n221 bye\r\n")
      } else {
        XCTAssertTrue(eventually { !daemon.backends.isEmpty })
        try daemon.folder.write([], to: "go")
        XCTAssertEqual(try client.remainder().text, "220 backend\r\n221 bye\r\n")
      }
      client.close()
      XCTAssertEqual(try daemon.session().outcome, "implicit: relayed")
    }
  }

  func testAServerThatDoesNotGreet() throws {
    let daemon = try implicitDaemon(["--greeting-timeout", "1", "--backend-grace", "1"], backend: .script("exec cat >/dev/null\n"))
    let client = try secured(daemon)
    XCTAssertEqual(try client.remainder().text, "421 4.3.2 Service not available, closing connection\r\n")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "implicit: greeting timeout")
  }

  func testASilentClientIsClosedWithoutAnOctet() throws {
    let daemon = try implicitDaemon(["--handshake-timeout", "1"])
    let client = try implicitClient(daemon)
    XCTAssertEqual(try client.rawRemainder(), [])
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "implicit: handshake timeout")
  }

  /// Where another client gets a reply, this one is closed.
  func testARefusedClientGetsNoText() throws {
    let folder = TestFolder()
    let rules = try folder.write(Array("127.0.0.2:deny\n:allow\n".utf8), to: "rules")
    let daemon = try implicitDaemon(["--max-connections-per-address", "1", "--access", rules])
    let first = try secured(daemon)
    try first.expect("220 ")
    let second = try implicitClient(daemon)
    XCTAssertEqual(try second.rawRemainder(), [])
    let clear = try client(daemon)
    XCTAssertTrue(try clear.remainder().text.hasPrefix("421 4.7.0 "))
    let denied = try SMTPClient(port: daemon.ports[1], from: "127.0.0.2") { throw Failure("no TLS here") }
    XCTAssertEqual(try denied.rawRemainder(), [])
    denied.close()
    XCTAssertEqual(try first.ask("QUIT"), "221 bye")
  }

  /// There is a reply for it, inside TLS.
  func testABackendThatCannotBeStarted() throws {
    let daemon = try implicitDaemon()
    XCTAssertEqual(unlink(daemon.folder.path + "/backend"), 0)
    let client = try secured(daemon)
    let rest = try client.remainder()
    XCTAssertEqual(rest.text, "421 4.3.2 Service not available, closing connection\r\n")
    XCTAssertEqual(rest.end, .closeNotify)
    client.close()
    let session = try daemon.session()
    XCTAssertEqual(session.outcome, "implicit: restart failed")
    XCTAssertTrue(session["failure"]?.contains("the backend cannot be started") == true, session.description)
  }

  func testStatusAndStop() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let daemon = try implicitDaemon(["--status-socket", path], backend: .maildir)
    let clients = [try implicitClient(daemon), try secured(daemon)]
    try clients[1].expect("220 ")
    let text = try run([Programs.path("starttlsd"), "status", path]).output
    XCTAssertTrue(text.contains("127.0.0.1:\(daemon.ports[1]) (TLS from the start)\n"), text)
    XCTAssertTrue(text.contains("(clear 0, handshake 1, secured 0, relay 1, closing 0)"), text)
    daemon.program.signal(SIGTERM)
    XCTAssertTrue(eventually { daemon.log.contains("stopping: 2 sessions") }, daemon.log)
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(try clients[0].rawRemainder(), [])
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
  }

  func testOptions() throws {
    let good = try certificate()
    for (options, text) in [
      (["--listen-tls", "nowhere"], "--listen-tls nowhere: "), (["--implicit-tls"], "--implicit-tls is for --inetd"),
    ] {
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--certificate", good.certificate, "--key", good.key] + options + ["--", "/bin/cat"],
        expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), result.errors)
    }
    let listed = try run([
      Programs.path("starttlsd"), "check", "--allow-root", "--trusting-backend", "--certificate", good.certificate, "--key", good.key,
      "--listen-tls", "127.0.0.1:4650", "--", "/bin/cat",
    ])
    XCTAssertTrue(listed.output.hasPrefix("listen on 127.0.0.1:4650 with TLS from the start\n"), listed.output)
    XCTAssertFalse(listed.output.contains("2525"), "no default address besides")
  }
}
