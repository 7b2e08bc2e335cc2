// RelayProbe: finds out whether a server program would be an open relay behind this front-end.
//
// A server program is given one end of a socket pair, not the client's connection. Programs that ask who is at the other
// end of descriptor 0 take every client for a local user and relay its mail. Whether one does so is found out before it
// serves: it is started as a session starts it, as if for a client of nobody's network, and asked to accept mail for
// a domain of nobody's.
//
// Contract: all programs are asked at the same time; it takes 30 seconds at most; every process is ended and reaped.
// To be called while this process has no other children that end meanwhile, and one thread.

import CKernel
import Glibc
package import Transport

/// The probe.
package enum RelayProbe {
  /// A server program and all of the environment that it gets.
  package struct Program: Sendable {
    package var arguments: [String]
    package var environment: [String]

    package init(arguments: [String], environment: [String]) {
      self.arguments = arguments
      self.environment = environment
    }
  }

  /// How long a probe may take.
  package struct Limits: Sendable {
    /// For all replies.
    package var repliesMilliseconds: Int
    /// For a program to end by itself, again after SIGTERM, and after SIGKILL.
    package var endMilliseconds: Int

    package init(repliesMilliseconds: Int = 24_000, endMilliseconds: Int = 2_000) {
      self.repliesMilliseconds = repliesMilliseconds
      self.endMilliseconds = endMilliseconds
    }
  }

  /// The variables that a session with the probe's client has.
  ///
  /// - Parameter localPort: where the server listens; 0 stands for any.
  package static func connection(localPort: UInt16 = 0) -> [String] {
    [
      "PROTO=TCP", "TCPREMOTEIP=\(ProbeDialogue.client)", "TCPREMOTEPORT=49152", "TCPLOCALIP=192.0.2.2",
      "TCPLOCALPORT=\(localPort == 0 ? 25 : localPort)",
    ]
  }

  /// Probes programs.
  ///
  /// - Parameters:
  ///   - isLMTP: whether they speak LMTP.
  ///   - limits: 30 seconds in all by default.
  /// - Returns: what was found, in the order of the programs.
  package static func run(
    _ programs: [Program], isLMTP: Bool, limits: Limits = Limits()
  ) throws(SystemError) -> [RelayFinding] {
    // An inherited SIG_IGN would let the kernel reap the programs: their ends could not be learnt.
    signal(SIGCHLD, SIG_DFL)
    let probed = programs.map { ProbedProgram($0, isLMTP: isLMTP) }
    try wait(for: probed, limits.repliesMilliseconds) { $0.isTalking }
    for program in probed { program.expire() }
    // Its socket is closed: one that serves ends now.
    for _ in 0..<2 {
      try wait(for: probed, limits.endMilliseconds) { $0.watch != nil }
      for program in probed where program.watch != nil { program.terminate() }
    }
    try wait(for: probed, limits.endMilliseconds) { $0.watch != nil }
    return probed.map(\.finding)
  }

  /// Waits until the condition holds for none of them, or the time is over.
  private static func wait(
    for programs: [ProbedProgram], _ milliseconds: Int, _ isBusy: (ProbedProgram) -> Bool
  ) throws(SystemError) {
    let deadline = Clock.now() + milliseconds
    while true {
      let busy = programs.filter(isBusy)
      let rest = deadline - Clock.now()
      guard !busy.isEmpty, rest > 0 else { return }
      var entries = busy.map { pollfd(fd: $0.watch ?? -1, events: CShort(POLLIN), revents: 0) }
      let ready = poll(&entries, nfds_t(entries.count), CInt(clamping: rest))
      if ready < 0, errno != EINTR { throw SystemError.last("poll") }
      for (program, entry) in zip(busy, entries) where entry.revents != 0 { program.ready() }
    }
  }
}
