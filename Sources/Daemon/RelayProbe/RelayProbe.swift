// RelayProbe: tests if a server program would be an open relay when started by this front end.
//
// A server program gets one end of a socket pair, not the client's connection. Programs that examine the peer of
// descriptor 0 treat every client as a local user and relay its mail. The probe detects that before the program serves:
// it starts the program as for a session, with a client address that belongs to no network, and offers it mail for a
// domain that does not exist.
//
// Contract: all programs are probed at the same time; the probe takes at most 30 seconds; every process is ended and
// reaped. Call it while this process has one thread and no other children that could end meanwhile.

import CKernel
import Glibc
package import Transport

/// The probe.
package enum RelayProbe {
  /// A server program and its complete environment.
  package struct Program: Sendable {
    package var arguments: [String]
    package var environment: [String]
    /// Its user and its limits, if they differ from those of this process.
    package var setting: ProgramSetting

    package init(arguments: [String], environment: [String], setting: ProgramSetting = ProgramSetting()) {
      self.arguments = arguments
      self.environment = environment
      self.setting = setting
    }
  }

  /// A server that is reached by an address.
  package struct Server: Sendable {
    package var address: SocketAddress
    /// The octets to send before the dialogue, such as a PROXY header.
    package var header: [UInt8]

    package init(address: SocketAddress, header: [UInt8]) {
      self.address = address
      self.header = header
    }
  }

  /// The time limits of a probe.
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

  /// The environment variables of a session with the probe's client.
  ///
  /// - Parameter localPort: where the server listens; 0 means any port.
  package static func connection(localPort: UInt16 = 0) -> [String] {
    [
      "PROTO=TCP", "TCPREMOTEIP=\(ProbeDialogue.client)", "TCPREMOTEPORT=49152", "TCPLOCALIP=192.0.2.2",
      "TCPLOCALPORT=\(localPort == 0 ? 25 : localPort)",
    ]
  }

  /// Probes programs.
  ///
  /// - Parameters:
  ///   - isLMTP: true if they speak LMTP.
  ///   - limits: 30 seconds in total by default.
  /// - Returns: the findings, in the order of the programs.
  package static func run(
    _ programs: [Program], isLMTP: Bool, limits: Limits = Limits()
  ) throws(SystemError) -> [RelayFinding] {
    // With an inherited SIG_IGN the kernel would reap the programs, and their exit status would be lost.
    signal(SIGCHLD, SIG_DFL)
    let probed = programs.map { ProbedProgram($0, isLMTP: isLMTP) }
    try wait(for: probed, limits.repliesMilliseconds) { $0.isTalking }
    for program in probed { program.expire() }
    // Its socket is closed: a program that serves ends now.
    for _ in 0..<2 {
      try wait(for: probed, limits.endMilliseconds) { $0.watch != nil }
      for program in probed where program.watch != nil { program.terminate() }
    }
    try wait(for: probed, limits.endMilliseconds) { $0.watch != nil }
    return probed.map(\.finding)
  }

  /// Probes servers that are reached by an address.
  ///
  /// - Returns: the findings, in the order of the servers.
  package static func run(_ servers: [Server], isLMTP: Bool, limits: Limits = Limits()) throws(SystemError) -> [RelayFinding] {
    let probed = servers.map { ProbedServer($0, isLMTP: isLMTP) }
    try wait(for: probed, limits.repliesMilliseconds) { $0.watch != nil }
    for server in probed { server.expire() }
    return probed.map(\.finding)
  }

  /// Waits until the condition holds for none of them, or the time has expired.
  private static func wait<Peer: ProbedPeer>(
    for peers: [Peer], _ milliseconds: Int, _ isBusy: (Peer) -> Bool
  ) throws(SystemError) {
    let deadline = Clock.now() + milliseconds
    while true {
      let busy = peers.filter(isBusy)
      let rest = deadline - Clock.now()
      guard !busy.isEmpty, rest > 0 else { return }
      var entries = busy.map { $0.watch ?? pollfd(fd: -1, events: 0, revents: 0) }
      let ready = poll(&entries, nfds_t(entries.count), CInt(clamping: rest))
      if ready < 0, errno != EINTR { throw SystemError.last("poll") }
      for (peer, entry) in zip(busy, entries) where entry.revents != 0 { peer.ready() }
    }
  }
}

/// What is probed.
protocol ProbedPeer: AnyObject {
  /// What to wait for; nil if nothing is left to do.
  var watch: pollfd? { get }
  /// The event has occurred.
  func ready()
}
