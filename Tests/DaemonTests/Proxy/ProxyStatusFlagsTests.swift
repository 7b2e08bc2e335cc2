// ProxyStatusFlagsTests: the main promise of the project. No process ever makes the client's connection
// non-blocking, not for a moment, and so not even SIGKILL can leave it that way.

import CKernel
import Foundation
import Glibc
import XCTest

final class ProxyStatusFlagsTests: ProxyTestCase {
  /// A whole session without waiting for anything: every phase is gone through.
  private enum Dialogue: String, CaseIterable {
    case handoff = "EHLO x\r\nNOOP\r\nSTARTTLS\r\n\u{16}TLS?\r\nEHLO y\r\nMAIL FROM:<a@b>\r\nQUIT\r\n"
    case abort = "EHLO x\r\nNOOP\r\nFOO\r\nMAIL FROM:<a@b>\r\nRSET\r\nQUIT\r\n"
    case quit = "EHLO x\r\nQUIT\r\n"
    case injected = "EHLO x\r\nSTARTTLS\r\nNOOP\r\n"
    case end = "EHLO x\r\nNOOP\r\nhalf"
  }

  private func say(_ dialogue: Dialogue, _ client: SMTPClient) {
    try? client.send(dialogue.rawValue)
    shutdown(client.socket, CInt(SHUT_WR))
  }

  /// Looks at the flags of a description as fast as it can, from another thread.
  private final class Sampler: @unchecked Sendable {
    private let number: CInt
    private let lock = NSLock()
    private var stops = false
    private var seen: Set<CInt> = []
    private var count = 0
    private let done = DispatchSemaphore(value: 0)

    init(_ number: CInt) {
      self.number = number
      Thread.detachNewThread { [self] in
        while !lock.withLock({ stops }) {
          let flags = fcntl(self.number, F_GETFL)
          lock.withLock {
            seen.insert(flags)
            count += 1
          }
        }
        done.signal()
      }
    }

    func stop() -> (seen: Set<CInt>, count: Int) {
      lock.withLock { stops = true }
      done.wait()
      // The last look is after all that happened, however late that thread came.
      return (seen.union([fcntl(number, F_GETFL)]), count)
    }
  }

  func testTheFlagsAtEveryMoment() throws {
    for dialogue in Dialogue.allCases {
      for isNonBlocking in [false, true] {
        var server: TestDescriptor?
        var sampler: Sampler?
        let connection = try proxied("", nonBlocking: isNonBlocking) {
          server = $0
          sampler = Sampler($0.number)
        }
        say(dialogue, connection.client)
        _ = connection.line()
        assertNothingIsLeft()
        let samples = try XCTUnwrap(sampler).stop()
        XCTAssertGreaterThan(samples.count, 1000)
        let before = O_RDWR | (isNonBlocking ? O_NONBLOCK : 0)
        // Cleared at the handoff, where it was set; nothing else is ever seen.
        let expected: Set<CInt> = isNonBlocking && dialogue == .handoff ? [before, O_RDWR] : [before]
        XCTAssertEqual(samples.seen, expected, "\(dialogue)")
        server?.close()
        connection.client.close()
      }
    }
  }

  /// Every call that could set a flag, of every process that comes out of the proxy.
  func testNoCallSetsAStatusFlag() throws {
    try requireTracing()
    for dialogue in Dialogue.allCases {
      for (words, isNonBlocking) in [("", false), ("", true), ("one", false), ("ssl", true), ("all", false)] {
        let path = "\(folder.path)/calls.\(dialogue).\(words).\(isNonBlocking)"
        let connection = try proxied(
          words,
          wrapper: ["strace", "-f", "-qq", "-e", "trace=fcntl,ioctl,socketpair,socket,recvfrom,exit_group", "-o", path],
          nonBlocking: isNonBlocking)
        say(dialogue, connection.client)
        _ = connection.line()
        assertNothingIsLeft()
        connection.client.close()
        // The tracer writes its last lines after the end of what it traces: those of the proxy, which alone receives.
        var calls: [Substring] = []
        XCTAssertTrue(
          eventually {
            calls = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self).split(separator: "\n")
            let proxy = calls.first { $0.contains("recvfrom(") }?.prefix { $0 != " " } ?? "nobody"
            return calls.contains { $0.hasPrefix(proxy) && $0.contains("exit_group(") }
          }, "the trace is not complete")
        let setting = calls.filter { $0.contains("F_SETFL") || $0.contains("FIONBIO") || $0.contains("FIOASYNC") || $0.contains("SOCK_NONBLOCK") }
        if isNonBlocking && dialogue == .handoff {
          XCTAssertEqual(setting.count, 1, "\(setting)")
          XCTAssertTrue(setting.first?.contains("F_SETFL, O_RDWR)") == true, "\(setting)")
        } else {
          XCTAssertEqual(setting, [], "\(dialogue) \(words)")
        }
      }
    }
  }

  /// Killed at its n-th call, from the very first on: original and proxy alike.
  func testSIGKILLAtEveryCallOfTheStart() throws {
    try requireTracing()
    var killed = 0
    for when in Array(1...30) + Array(stride(from: 32, through: 80, by: 4)) {
      // Whoever reaches that call is killed there: the original process, the child between, the proxy, the server program.
      if try endKilled(at: "all", when, isNonBlocking: when % 2 == 0) == .killed(SIGKILL) { killed += 1 }
    }
    XCTAssertGreaterThan(killed, 20, "the original process was to be killed")
    // Between its fork and its first poll: calls that the proxy makes before the others do.
    for call in ["close_range", "rt_sigaction", "getpeername", "getsockname", "setsockopt", "fstat", "poll", "recvfrom", "sendto"] {
      for when in 1...3 { _ = try endKilled(at: call, when, isNonBlocking: when == 2) }
    }
  }

  /// The proxy alone, killed at its n-th call from the moment on at which it waits for the greeting.
  func testSIGKILLAtEveryCallOfTheSession() throws {
    try requireTracing()
    // How many calls a session takes depends on how often it has to wait.
    var killed = 0
    for dialogue in [Dialogue.handoff, .abort] {
      var when = 1
      while try !isFinished(dialogue, killedAt: when, isNonBlocking: when % 2 == 0), when < 200 { when += 1 }
      XCTAssertLessThan(when, 200, "\(dialogue): the session does not end")
      killed += when - 1
    }
    XCTAssertGreaterThanOrEqual(killed, 20, "the proxy was to be killed at more of its calls")
  }

  /// - Returns: whether the session ended before the n-th call.
  private func isFinished(_ dialogue: Dialogue, killedAt when: Int, isNonBlocking: Bool) throws -> Bool {
    let gate = "\(folder.path)/gate.\(dialogue).\(when)"
    XCTAssertEqual(mkfifo(gate, 0o600), 0)
    var server: TestDescriptor?
    let connection = try proxied(
      "", script: ShellBackend.script("read go <'\(gate)'; say '220 backend ESMTP'"), nonBlocking: isNonBlocking
    ) { server = $0 }
    guard let server else { throw Failure("no connection") }
    let before = server.flags
    XCTAssertTrue(eventually { ProcessTable.commandLine(of: connection.process.process).hasPrefix("/bin/sh") })
    let proxy = try XCTUnwrap(proxies.first)
    let tracer = try SpawnedProgram([
      "strace", "-qq", "-o", "/dev/null", "-p", "\(proxy)", "-e", "inject=all:signal=SIGKILL:when=\(when)",
    ])
    XCTAssertTrue(eventually { ProcessTable.tracer(of: proxy) == tracer.process || !tracer.isRunning })
    let writer = TestDescriptor(open(gate, O_WRONLY | O_CLOEXEC))
    writer.write(Array("go\n".utf8))
    writer.close()
    say(dialogue, connection.client)
    _ = tracer.wait()
    XCTAssertTrue(eventually { proxies.isEmpty })
    assertEqualOrMoreBlocking(before, server.flags, "\(dialogue), call \(when)")
    server.close()
    connection.client.close()
    assertNothingIsLeft()
    unlink(gate)
    return connection.process.errors.contains("starttls-proxy: session ")
  }

  private func endKilled(at call: String, _ when: Int, isNonBlocking: Bool) throws -> SpawnedProgram.End? {
    var server: TestDescriptor?
    let tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=\(call):signal=SIGKILL:when=\(when)"]
    let connection = try proxied("", wrapper: tracer, nonBlocking: isNonBlocking) { server = $0 }
    guard let server else { throw Failure("no connection") }
    let before = server.flags
    say(.handoff, connection.client)
    assertNothingIsLeft()
    assertEqualOrMoreBlocking(before, server.flags, "\(call) \(when)")
    server.close()
    connection.client.close()
    return connection.process.wait()
  }

  private func assertEqualOrMoreBlocking(_ before: CInt, _ after: CInt, _ when: String) {
    XCTAssertGreaterThanOrEqual(after, 0)
    XCTAssertTrue(after == before || after == before & ~O_NONBLOCK, "\(before) became \(after): \(when)")
  }

  private func requireTracing() throws {
    let program = try SpawnedProgram(["strace", "-qq", "-o", "/dev/null", "true"])
    guard program.wait() == .exited(0) else { throw XCTSkip("tracing is not allowed") }
  }
}
