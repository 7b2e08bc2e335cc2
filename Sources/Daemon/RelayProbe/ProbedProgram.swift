// ProbedProgram: a server program during a probe, from its start to its end.

import Glibc
import Transport

/// A child process, the socket to it, and the dialogue so far.
final class ProbedProgram {
  private var child: ChildProcess?
  /// nil after the dialogue has ended.
  private var socket: Descriptor?
  private var dialogue: ProbeDialogue
  /// The start of an incomplete line.
  private var input: [UInt8] = []
  private var end: ProcessEnd?
  private var signalsSent = 0
  private var failure: String?

  /// The maximum length of a reply line.
  private static let lineLimit = 4096

  /// Starts a program. If it cannot be started, the finding is `broken`.
  init(_ program: RelayProbe.Program, isLMTP: Bool) {
    dialogue = ProbeDialogue(isLMTP: isLMTP)
    do throws(SystemError) {
      let pair = try DescriptorPair.sockets()
      child = try ChildProcess(
        program.arguments, environment: program.environment, standardStreams: pair.second, limit: nil,
        setting: program.setting)
      socket = pair.takeFirst()
    } catch {
      failure = "cannot be started: \(error)"
    }
  }

  /// What to wait for: the program's replies, then its end. nil if nothing is left to do.
  var watch: CInt? { socketNumber ?? processNumber }

  /// True if replies are still pending.
  var isTalking: Bool { socket != nil }

  /// Input may be available.
  func ready() {
    if isTalking { read() } else { reap() }
  }

  /// The time for its replies has expired.
  func expire() {
    guard isTalking else { return }
    dialogue.expired()
    socket = nil
  }

  /// The time to end has expired: SIGTERM, then SIGKILL.
  func terminate() {
    reap()
    try? child?.send(signalsSent == 0 ? SIGTERM : SIGKILL)
    signalsSent += 1
  }

  /// The finding. Read it after the program's end.
  var finding: RelayFinding {
    if let failure { return .broken(failure) }
    guard case .broken(let what) = dialogue.finding else { return dialogue.finding }
    switch end {
    case .exited(let code) where code != 0: return .broken("\(what) (exit code \(code))")
    // A signal of ours is not a finding.
    case .signalled(let signal) where signalsSent == 0: return .broken("\(what) (signal \(signal))")
    case .exited, .signalled, nil: return .broken(what)
    }
  }

  private var socketNumber: CInt? { socket?.pollNumber() }
  private var processNumber: CInt? { child?.pollNumber() }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let transfer = buffer.withUnsafeMutableBytes { socket?.take(into: $0) ?? .wouldBlock }
    switch transfer {
    case .moved(let count):
      input += buffer[..<count]
      takeLines()
    case .wouldBlock: break
    case .ended, .failed:
      dialogue.ended()
      socket = nil
    }
  }

  private func takeLines() {
    while let end = input.firstIndex(of: UInt8(ascii: "\n")) {
      var line = input[..<end]
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      let text = escaped(line)
      input.removeSubrange(...end)
      switch dialogue.receive(text) {
      case .wait: break
      case .send(let command):
        // Octets that came before the command was sent are not a reply to it.
        guard input.isEmpty else { return misbehave() }
        // If the program no longer reads, the next read shows its end.
        _ = Array(command.utf8).withUnsafeBytes { socket?.give($0) }
      case .finished:
        socket = nil
        return
      }
    }
    if input.count > ProbedProgram.lineLimit { misbehave() }
  }

  private func misbehave() {
    dialogue.misbehaved()
    socket = nil
  }

  private func reap() {
    do throws(SystemError) {
      guard let ended = try child?.collect() else { return }
      end = ended
    } catch {
      // Other code has reaped it: nothing is left to wait for.
    }
    child = nil
  }

  /// Escaped for a log, and limited in length.
  private func escaped(_ line: ArraySlice<UInt8>) -> String {
    var text: [UInt8] = []
    EscapedText.append(line.prefix(200), to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

// Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
extension ChildProcess {
  fileprivate mutating func pollNumber() -> CInt { descriptor.number }
  fileprivate mutating func send(_ number: CInt) throws(SystemError) { try signal(number) }
  fileprivate mutating func collect() throws(SystemError) -> ProcessEnd? { try reap() }
}

extension Descriptor {
  fileprivate mutating func pollNumber() -> CInt { number }
  fileprivate mutating func take(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
  fileprivate mutating func give(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
