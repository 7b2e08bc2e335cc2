// IdleTests: a daemon that waits does nothing. A descriptor that is polled although its event is known already would
// show as processor time.

import CKernel
import Foundation
import Glibc
import XCTest

final class IdleTests: StarttlsdTestCase {
  /// A daemon with a session that is left alone, and what it waits for.
  private struct Waiting {
    let what: String
    let daemon: RunningDaemon
    var before: Double = 0
  }

  private var waiting: [Waiting] = []

  /// All at once, so that the time is waited for once.
  func testADaemonThatWaitsUsesNoProcessorTime() throws {
    defer { stopAll() }
    try begin("nobody") { _ in }
    try begin("the greeting", backend: .script("exec sleep 200")) { _ in }
    try begin("the greeting, the client has spoken and ended", backend: .script("exec sleep 200")) {
      try $0.send("EHLO client.example\r\nNOOP\r\n")
      try $0.endSending()
    }
    for phase in SessionPhase.allCases { try begin("the client: \(phase)") { try phase.enter($0) } }
    try beginWithRepliesPending()
    try beginRelays()
    try beginWithClientsThatDoNotRead()
    try begin("a session's end, at the limit of connections", ["--max-connections", "1"]) { [self] first in
      try first.expect("220 ")
      _ = try client(host: "127.0.0.1", port: first.peerPort)
    }

    // Until each daemon has done what there was to do: one that spins is never found idle.
    var busy: [String] = []
    _ = eventually {
      for index in waiting.indices {
        waiting[index].before = ProcessTable.processorTime(of: waiting[index].daemon.process) ?? -1
      }
      usleep(1_500_000)
      busy = waiting.filter { (ProcessTable.processorTime(of: $0.daemon.process) ?? .infinity) - $0.before >= 0.05 }.map(\.what)
      return busy.isEmpty
    }
    XCTAssertEqual(busy, [], "it spins while it waits for these")
    for one in waiting {
      XCTAssertEqual(one.daemon.sessions.map(\.description), [], "it does not wait any more for \(one.what)")
    }
  }

  /// Two seconds after the last reply a session ends, so that this wait is looked at from its beginning to its end.
  func testTheWaitForTheClientsEndUsesNoProcessorTime() throws {
    defer { stopAll() }
    try begin("nobody") { _ in }
    let daemon = waiting[0].daemon
    var ended = 0
    // Until what else there was to do took little enough: one that spins uses the whole time.
    let isIdle = try eventually {
      let client = try client(daemon)
      try client.expect("220 ")
      let before = ProcessTable.processorTime(of: daemon.process) ?? -1
      let start = Date()
      XCTAssertTrue(try client.ask("QUIT").hasPrefix("221 "))
      ended += 1
      XCTAssertTrue(eventually { usleep(20_000); return daemon.sessions.count == ended }, daemon.log)
      XCTAssertGreaterThan(Date().timeIntervalSince(start), 1.5, "it does not wait")
      return (ProcessTable.processorTime(of: daemon.process) ?? .infinity) - before < 0.05
    }
    XCTAssertTrue(isIdle, "it spins while it waits for the client's end")
  }

  /// At once: some sessions would wait for a minute.
  private func stopAll() {
    for _ in 0..<2 {
      for one in waiting { one.daemon.program.signal(SIGTERM) }
      usleep(100_000)
    }
    for one in waiting { XCTAssertEqual(one.daemon.program.wait(), .exited(0), one.daemon.log) }
    waiting = []
  }

  private func beginWithRepliesPending() throws {
    let silent = ShellBackend.script(answers: [
      ("NOOP", "exec sleep 200"), ("EHLO\\ s*", "exec sleep 200"), ("HELP", "say '214-one'; exec sleep 200"),
    ])
    let silentInsideTLS = ShellBackend.afterTheHandshake("exec sleep 200")
    for isSecured in [false, true] {
      let way = isSecured ? "inside TLS" : "in clear"
      let phase: SessionPhase = isSecured ? .secured : .negotiating
      try begin("a reply, \(way)", backend: .script(silent)) {
        try phase.enter($0)
        try $0.send("NOOP\r\n")
      }
      try begin("a reply, with unread octets of a client that has ended, \(way)", backend: .script(silent)) {
        try phase.enter($0)
        try $0.send("EHLO silent\r\nNOOP\r\nRSET\r\nhalf a li")
        try $0.endSending()
      }
      try begin("a reply, with a command waiting for its turn, \(way)", backend: .script(silent)) {
        try phase.enter($0)
        try $0.send("NOOP\r\nQUIT\r\nmore")
        try $0.endSending()
      }
      try begin("a reply, with one line of it there, \(way)", backend: .script(silent)) {
        try phase.enter($0)
        try $0.send("HELP\r\n")
      }
    }
    try begin("the new greeting", backend: .script(silentInsideTLS)) {
      try SessionPhase.secured.enter($0)
    }
    try begin("the new greeting, the client has spoken", backend: .script(silentInsideTLS)) {
      try SessionPhase.secured.enter($0)
      try $0.send("EHLO client.example\r\n")
    }
  }

  private func beginRelays() throws {
    let sleeping = ShellBackend.script(answers: [("MAIL*", "say '250 done'; exec sleep 200")])
    // Reads nothing more, and says so to the kernel, which a closed descriptor alone does not.
    let stalled = """
      import socket, sys, time
      end = socket.socket(fileno=0)
      def say(text): end.sendall(text + b'\\r\\n')
      say(b'220 backend')
      for line in end.makefile('rb'):
          if line.startswith(b'MAIL'):
              end.shutdown(socket.SHUT_RD)
              say(b'250 done')
              time.sleep(200)
          say(b'250 done')
      """
    for isSecured in [false, true] {
      let way = isSecured ? "inside TLS" : "in clear"
      let phase: SessionPhase = isSecured ? .negotiatingInsideTLS : .negotiating
      func enter(_ client: SMTPClient) throws {
        try phase.enter(client)
        try client.ask("MAIL FROM:<a@b>")
      }
      try begin("the relay, \(way)", backend: .script(sleeping)) { try enter($0) }
      try begin("the relay, the client has ended, \(way)", backend: .script(sleeping)) {
        try enter($0)
        try $0.send("RCPT")
        try $0.endSending()
      }
      try begin("the relay, the backend takes nothing, \(way)", backend: .script(sleeping)) {
        try enter($0)
        try $0.fill()
      }
      try begin("the relay, the backend's input is closed, \(way)", backend: .program(["/usr/bin/python3", "-ISc", stalled])) {
        try $0.expect("220 ")
        try $0.ask("EHLO client.example")
        if isSecured { try $0.startTLS() }
        try $0.ask("MAIL FROM:<a@b>")
        try $0.send("RCPT TO:<c@d>\r\n")
        XCTAssertTrue($0.isUnread(0))
        try $0.send("DATA\r\n")
      }
    }
  }

  private func beginWithClientsThatDoNotRead() throws {
    let line = String(repeating: "x", count: 500)
    let long = "i=0; while [ $i -lt 20000 ]; do say '214-\(line)'; i=$((i+1)); done"
    let flood = ShellBackend.script(answers: [
      ("HELP", "say \(String(repeating: "'214-\(line)' ", count: 100)) '214 end'"), ("MAIL*", "\(long); exec sleep 200"),
    ])
    // More than the kernel's buffers hold, from few commands.
    let large = ShellBackend.script(answers: [
      ("HELP", "say \(String(repeating: "'214-\(String(repeating: "x", count: 1800))' ", count: 100)) '214 end'")
    ])
    for isSecured in [false, true] {
      let way = isSecured ? "inside TLS" : "in clear"
      let phase: SessionPhase = isSecured ? .negotiatingInsideTLS : .negotiating
      try begin("a client that does not read, \(way)", backend: .script(flood), receiveBuffer: 4096) {
        try phase.enter($0)
        for _ in 0..<90 { try $0.send("HELP\r\n") }
      }
      try begin("a client that does not read and has ended, \(way)", backend: .script(flood), receiveBuffer: 4096) {
        try phase.enter($0)
        for _ in 0..<90 { try $0.send("HELP\r\n") }
        try $0.endSending()
      }
      // Fewer than may be outstanding, so that more would be read if there were room for what it leads to.
      try begin("a client that does not read, then ends, \(way)", backend: .script(large), receiveBuffer: 4096) {
        try phase.enter($0)
        for _ in 0..<50 { try $0.send("HELP\r\n") }
        XCTAssertTrue($0.isStalling())
        try $0.endSending()
      }
      try begin("a client that does not read, then says more, \(way)", backend: .script(large), receiveBuffer: 4096) {
        try phase.enter($0)
        for _ in 0..<50 { try $0.send("HELP\r\n") }
        XCTAssertTrue($0.isStalling())
        try $0.send("NOOP\r\n")
      }
      try begin("a client that does not read in the relay, \(way)", backend: .script(flood), receiveBuffer: 4096) {
        try phase.enter($0)
        try $0.send("MAIL FROM:<a@b>\r\n")
      }
      let leaving = RunningDaemon.Backend.program(["/usr/bin/python3", "-ISc", leaving])
      try begin("a client that does not read, the backend is gone, \(way)", backend: leaving, receiveBuffer: 4096) { [self] in
        try phase.enter($0)
        try $0.send("MAIL FROM:<a@b>\r\n")
        XCTAssertTrue(eventually { waiting.last?.daemon.backends.isEmpty == true }, "the backend has not left")
      }
    }
  }

  /// Sends so much after MAIL that the client takes no more, and exits: its end comes after octets for which there is no
  /// room.
  private let leaving = """
    import socket, time
    end = socket.socket(fileno=0)
    end.sendall(b'220 backend\\r\\n')
    for line in end.makefile('rb'):
        if line.startswith(b'MAIL'):
            break
        end.sendall(b'250-backend\\r\\n250 SIZE\\r\\n')
    end.setblocking(False)
    last = time.monotonic()
    while time.monotonic() < last + 0.2:
        try:
            end.send(b'250-' + b'x' * 500 + b'\\r\\n')
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    """

  private func begin(
    _ what: String, _ options: [String] = [], backend: RunningDaemon.Backend = .maildir, receiveBuffer: CInt? = nil,
    _ bring: (SMTPClient) throws -> Void
  ) throws {
    // On a busy machine the last session may begin a minute after the first.
    let patience = ["--handshake-timeout", "300", "--greeting-timeout", "300"]
    let daemon = try daemon(patience + options, backend: backend)
    waiting.append(Waiting(what: what, daemon: daemon))
    if what == "nobody" { return }
    do {
      try bring(try client(daemon, receiveBuffer: receiveBuffer))
    } catch {
      throw Failure("\(what): \(error)")
    }
  }
}
