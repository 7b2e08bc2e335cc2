// LearningStart: one start of the program to learn what it sends: greeting, perhaps EHLO, QUIT.
//
// The program gets the variables of a session with a client of documentation addresses (RFC 5737, RFC 3849).
// Contract: it calls `finished` once, unless it is cancelled. The program's process ends as after a session, or at once if it has not
// answered as expected.
// Failure: a text that continues "the program".

import Glibc
import SMTPState
import Transport

/// A client in whose name the program is started.
struct LearningClient {
  let address: SocketAddress
  /// The name that it gives in EHLO; nil if it sends QUIT after the greeting.
  let name: String?

  /// They differ in all that a client can differ in. The first two send EHLO.
  static let all = [
    LearningClient(address: .ipv4(SIMD4(192, 0, 2, 1), port: 49_152), name: "client.example"),
    LearningClient(address: .ipv4(SIMD4(198, 51, 100, 77), port: 61_001), name: "[198.51.100.77]"),
    // 2001:db8::25
    LearningClient(
      address: .ipv6(SIMD16(0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x25), port: 50_123, scope: 0), name: nil),
  ]
}

/// What one start has shown. `hello` is nil if EHLO was not sent.
struct ShownReplies {
  var greeting: [UInt8] = []
  var hello: [UInt8]?
  /// Empty if the program ended without a reply.
  var quit: [UInt8] = []
}

final class LearningStart: EventOwner, TimerOwner {
  enum Outcome {
    case shown(ShownReplies)
    case failed(String)
  }

  /// At most; less with a shorter --greeting-timeout.
  private static let limitMilliseconds = 30_000

  private enum Step {
    case greeting, hello, quit
  }

  private unowned let daemon: Daemon
  private let client: LearningClient
  private let finished: (Outcome) -> Void
  private var process: BackendProcess?
  private var socket: Descriptor?
  private var step = Step.greeting
  private var reader = ReplyReader()
  private var shown = ShownReplies()
  private(set) var deadline: Int?
  var scheduled: Int?

  init(
    _ daemon: Daemon, _ client: LearningClient, local: SocketAddress, now: Int, _ finished: @escaping (Outcome) -> Void
  ) throws(SystemError) {
    self.daemon = daemon
    self.client = client
    self.finished = finished
    let identifier = daemon.nextIdentifier()
    socket = try daemon.startProgram(
      daemon.configuration.sessionVariables(peer: client.address, local: local, identifier, tls: nil), for: client.address, session: "\(identifier) (--learn-greeting)",
      &process)
    deadline = Clock.time(min(daemon.configuration.policy.greetingTimeoutMilliseconds, LearningStart.limitMilliseconds), after: now)
    let number = socket?.number ?? -1
    do throws(SystemError) {
      try daemon.loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
    } catch {
      cancel(now: now)
      throw error
    }
    daemon.timers.schedule(self)
  }

  /// Ends it, and its process at once. `finished` is not called.
  func cancel(now: Int) {
    release(now: now)
    process?.terminate(now: now)
  }

  private func release(now: Int) {
    deadline = nil
    if let number = socket?.number { daemon.loop.remove(number) }
    socket = nil
    process?.replace(now: now)
  }

  func ready(now: Int) {
    while let deadline {
      if deadline <= now { return end(.failed("does not answer in time"), now: now) }
      var buffer = [UInt8](repeating: 0, count: 4096)
      switch buffer.withUnsafeMutableBytes({ socket?.receive(into: $0) ?? .ended }) {
      case .wouldBlock: return
      case .moved(let count):
        reader.take(buffer.prefix(count))
        proceed(now: now)
      case .ended, .failed: inputEnded(now: now)
      }
    }
  }

  private func proceed(now: Int) {
    switch reader.state {
    case .incomplete: return
    case .invalid(let why): return end(.failed("sends something unexpected: \(name) \(why)"), now: now)
    case .complete: break
    }
    let isExpected: Bool
    switch step {
    case .greeting:
      shown.greeting = reader.octets
      isExpected = reader.code == "220"
    case .hello:
      shown.hello = reader.octets
      isExpected = reader.code == "250"
    case .quit:
      shown.quit = reader.octets
      isExpected = reader.code == "221"
    }
    guard isExpected else { return end(.failed("sends something unexpected: \(name) has the code \(reader.code)"), now: now) }
    reader = ReplyReader()
    switch step {
    case .greeting:
      if let client = client.name {
        step = .hello
        send("\(daemon.configuration.policy.mailProtocol == .lmtp ? "LHLO" : "EHLO") \(client)\r\n", now: now)
      } else {
        sendQuit(now: now)
      }
    case .hello: sendQuit(now: now)
    case .quit: end(.shown(shown), now: now)
    }
  }

  private func sendQuit(now: Int) {
    step = .quit
    send("QUIT\r\n", now: now)
  }

  private func send(_ text: String, now: Int) {
    let octets = Array(text.utf8)
    let answer = octets.withUnsafeBytes { socket?.send($0) ?? .ended }
    // A new socket has room for it.
    if case .moved(octets.count) = answer { return }
    if case .failed = answer { return inputEnded(now: now) }
    end(.failed("does not read its input"), now: now)
  }

  private func inputEnded(now: Int) {
    if step == .quit, reader.octets.isEmpty { return end(.shown(shown), now: now) }
    // The reason may have arrived together with the end.
    daemon.starter?.receive(now: now)
    end(.failed(process?.startFailure == nil ? "ends before \(name)" : "cannot be started"), now: now)
  }

  /// The reply that is pending.
  private var name: String {
    switch step {
    case .greeting: "its greeting"
    case .hello: "its reply to EHLO"
    case .quit: "its reply to QUIT"
    }
  }

  private func end(_ outcome: Outcome, now: Int) {
    if case .shown = outcome { release(now: now) } else { cancel(now: now) }
    finished(outcome)
  }
}
