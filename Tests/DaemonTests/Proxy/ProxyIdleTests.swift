// ProxyIdleTests: a proxy that waits does nothing. A descriptor that is polled although its event is known already would
// show as processor time.

import CKernel
import Foundation
import Glibc
import XCTest

final class ProxyIdleTests: ProxyTestCase {
  private var waiting: [(what: String, connection: ProxiedConnection)] = []

  /// All at once, so that the time is waited for once.
  func testAProxyThatWaitsUsesNoProcessorTime() throws {
    // What waits reads from here, and ends when nobody has it open for writing any more.
    XCTAssertEqual(mkfifo(folder.path + "/hold", 0o600), 0)
    let hold = TestDescriptor(open(folder.path + "/hold", O_RDWR | O_CLOEXEC))
    defer { hold.close() }
    try beginInClear()
    try beginRelays()
    try beginInPipes()

    // Until each proxy has done what there was to do: one that spins is never found idle.
    var busy: [String] = []
    _ = eventually {
      let before = usage()
      XCTAssertGreaterThanOrEqual(before.count, waiting.count)
      usleep(1_500_000)
      let after = usage()
      busy = before.filter { (after[$0.key] ?? .infinity) - $0.value >= 0.05 }.map { ProcessTable.commandLine(of: $0.key) }
      return busy.isEmpty
    }
    XCTAssertEqual(busy, [], "these spin, or have ended")
    for one in waiting {
      XCTAssertFalse(one.connection.process.errors.contains("session "), "it does not wait any more for \(one.what)")
      one.connection.client.reset()
      one.connection.process.kill()
    }
    waiting = []
  }

  /// The processor time of each process of this test.
  private func usage() -> [pid_t: Double] {
    Dictionary(uniqueKeysWithValues: proxies.map { ($0, ProcessTable.processorTime(of: $0) ?? -1) })
  }

  private func begin(
    _ what: String, _ words: String = "", script: String = ShellBackend.script(), program: [String]? = nil,
    _ bring: (ProxiedConnection) throws -> Void
  ) throws {
    let connection = try proxied(words, script: script + "\n# \(what)", program: program)
    waiting.append((what, connection))
    do { try bring(connection) } catch { throw Failure("\(what): \(error)") }
  }

  private func beginInClear() throws {
    try begin("the greeting", script: "exec cat <\"$FOLDER/hold\"") { _ in }
    try begin("the greeting, the client has spoken and ended", script: "read x; read y; exec cat <\"$FOLDER/hold\"") {
      try $0.client.send("EHLO x\r\nNOOP\r\n")
      shutdown($0.client.socket, CInt(SHUT_WR))
    }
    try begin("a command") { try $0.greet() }
    try begin("a command, the helper is gone", "before") { try $0.greet() }
    try begin("a command, the helper speaks unasked", "chatty") { try $0.greet() }
    try begin("the rest of a line") {
      try $0.greet()
      try $0.client.send("MAIL FR")
    }
    try begin("a reply, with unread octets of a client that has ended", script: ShellBackend.script(answers: [("NOOP", "exec cat <\"$FOLDER/hold\"")])) {
      try $0.greet()
      try $0.client.send("NOOP\r\nQUIT\r\nmore")
      shutdown($0.client.socket, CInt(SHUT_WR))
    }
    try begin("the answer to RSET", script: ShellBackend.script(answers: [("RSET", "exec cat <\"$FOLDER/hold\"")])) {
      try $0.greet()
      try $0.client.send("STARTTLS\r\n")
    }
    try begin("the handshake") {
      try $0.greet()
      try $0.client.send("STARTTLS\r\n")
      try $0.client.expect("220 2.0.0 ")
    }
    try begin("the helper's report", "silent") {
      try $0.greet()
      try $0.secure()
    }
  }

  private func beginRelays() throws {
    // Reads nothing more, and says so to the kernel, which a closed descriptor alone does not.
    let stalled = """
      import os, socket
      end = socket.socket(fileno=0)
      def say(text): end.sendall(text + b'\\r\\n')
      say(b'220 backend')
      for line in end.makefile('rb'):
          if line.startswith(b'MAIL'):
              end.shutdown(socket.SHUT_RD)
              say(b'250 done')
              open(os.environ['FOLDER'] + '/hold').read()
          say(b'250 done')
      """
    let silent = ShellBackend.script(answers: [("MAIL*", "say '250 done'; exec cat <\"$FOLDER/hold\"")])
    let flood = ShellBackend.script(answers: [("MAIL*", "exec yes '250-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'")])
    for words in ["", "secured", "secured,two", "secured,all", "secured,ssl,keep"] {
      let isSecured = words.hasPrefix("secured")
      func enter(_ connection: ProxiedConnection) throws {
        if isSecured {
          try connection.greet()
          try connection.secure()
        } else {
          try connection.client.expect("220 ")
        }
        try connection.client.ask("EHLO x")
      }
      try begin("a command, \(words)", words) { try enter($0) }
      try begin("the relay, \(words)", words, script: silent) {
        try enter($0)
        try $0.client.ask("MAIL FROM:<a@b>")
      }
      try begin("the relay, the client has ended, \(words)", words, script: silent) {
        try enter($0)
        try $0.client.ask("MAIL FROM:<a@b>")
        try $0.client.send("RCPT")
        shutdown($0.client.socket, CInt(SHUT_WR))
      }
      try begin("the relay, the server takes nothing, \(words)", words, script: silent) {
        try enter($0)
        try $0.client.ask("MAIL FROM:<a@b>")
        try $0.client.fill()
      }
      try begin("the relay, the client takes nothing, \(words)", words, script: flood) {
        try enter($0)
        try $0.client.send("MAIL FROM:<a@b>\r\n")
      }
      try begin("the relay, the server's input is closed, \(words)", words, program: ["/usr/bin/python3", "-ISc", stalled]) {
        try $0.client.expect("220 ")
        try $0.client.ask("EHLO x")
        if isSecured {
          try $0.secure()
          try $0.client.ask("EHLO x")
        }
        try $0.client.ask("MAIL FROM:<a@b>")
        try $0.client.send("RCPT TO:<c@d>\r\n")
        XCTAssertTrue($0.client.isUnread(0))
        try $0.client.send("DATA\r\n")
      }
    }
  }

  /// Descriptors 0 and 1 are pipes, one of which has lost its other end.
  private func beginInPipes() throws {
    let script = ShellBackend.script(answers: [("MAIL*", "say '250 done'; exec cat <\"$FOLDER/hold\"")])
    try folder.write(Array(StandInServer.script.utf8), to: "standin.py")
    for (what, octets, last) in [
      ("clear", "EHLO x\r\n", "250 SIZE 1000\r\n"), ("relay", "EHLO x\r\nMAIL FROM:<a@b>\r\n", "250 done\r\n"),
    ] {
      let toServer = TestDescriptor.pipe()
      let toClient = TestDescriptor.pipe()
      _ = try start(
        ["/usr/bin/python3", "-IS", "\(folder.path)/standin.py", "", "\(folder.path)/notes.\(what)",
          try Programs.path("starttls-proxy"), "/bin/sh", "-c", script + "# pipes, \(what)"],
        [0: toServer.reading, 1: toClient.writing], ["FOLDER": folder.path])
      toServer.reading.close()
      toClient.writing.close()
      toServer.writing.write(Array(octets.utf8))
      var replies: [UInt8] = []
      while !String(decoding: replies, as: UTF8.self).contains(last) {
        let more = try toClient.reading.read()
        guard !more.isEmpty else { throw Failure("the proxy ended: \(String(decoding: replies, as: UTF8.self))") }
        replies += more
      }
      toClient.reading.close()
      kept.append(toServer.writing)
    }
  }

  private var kept: [TestDescriptor] = []

  override func tearDown() {
    kept = []
    super.tearDown()
  }
}
