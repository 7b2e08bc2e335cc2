// ProbedProgram: a server program during a probe, from its start to its end.

import Glibc
import Transport

/// A child process, and the dialogue with it.
final class ProbedProgram: ProbedPeer {
  private var child: ChildProcess?
  /// nil if the program could not be started.
  private var connection: ProbeConnection?
  private var end: ProcessEnd?
  private var signalsSent = 0
  private var failure: String?

  /// Starts a program. If it cannot be started, the finding is `broken`.
  init(_ program: RelayProbe.Program, isLMTP: Bool) {
    do throws(SystemError) {
      let pair = try DescriptorPair.sockets()
      child = try ChildProcess(
        program.arguments, environment: program.environment, standardStreams: pair.second, limit: nil,
        setting: program.setting)
      connection = ProbeConnection(pair.takeFirst(), isLMTP: isLMTP)
    } catch {
      failure = "cannot be started: \(error)"
    }
  }

  /// What to wait for: the program's replies, then its end. nil if nothing is left to do.
  var watch: pollfd? { connection?.watch ?? processWatch }

  /// True if replies are still pending.
  var isTalking: Bool { connection?.watch != nil }

  /// Input may be available.
  func ready() {
    if isTalking { connection?.read() } else { reap() }
  }

  /// The time for its replies has expired.
  func expire() { connection?.expire() }

  /// The time to end has expired: SIGTERM, then SIGKILL.
  func terminate() {
    reap()
    try? child?.send(signalsSent == 0 ? SIGTERM : SIGKILL)
    signalsSent += 1
  }

  /// The finding. Read it after the program's end.
  var finding: RelayFinding {
    if let failure { return .broken(failure) }
    let finding = connection?.finding ?? .broken("answers nothing")
    guard case .broken(let what) = finding else { return finding }
    switch end {
    case .exited(let code) where code != 0: return .broken("\(what) (exit code \(code))")
    // A signal of ours is not a finding.
    case .signalled(let signal) where signalsSent == 0: return .broken("\(what) (signal \(signal))")
    case .exited, .signalled, nil: return .broken(what)
    }
  }

  private var processWatch: pollfd? { (child?.pollNumber()).map { pollfd(fd: $0, events: CShort(POLLIN), revents: 0) } }

  private func reap() {
    do throws(SystemError) {
      guard let ended = try child?.collect() else { return }
      end = ended
    } catch {
      // Other code has reaped it: nothing is left to wait for.
    }
    child = nil
  }
}

// Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
extension ChildProcess {
  fileprivate mutating func pollNumber() -> CInt { descriptor.number }
  fileprivate mutating func send(_ number: CInt) throws(SystemError) { try signal(number) }
  fileprivate mutating func collect() throws(SystemError) -> ProcessEnd? { try reap() }
}
