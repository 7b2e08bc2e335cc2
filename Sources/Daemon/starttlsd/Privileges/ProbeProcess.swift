// ProbeProcess: probes the server program as the user that will run it, in a process that ends after the probe.

import CKernel
import Glibc
import RelayProbe
import Transport

enum ProbeProcess {
  private static let finding: Int32 = 1
  private static let failed: Int32 = 2
  /// Longer than a probe takes.
  private static let limitMilliseconds: CInt = 60_000

  /// As `RelayProbe.run`.
  static func run(
    _ programs: [RelayProbe.Program], isLMTP: Bool, _ privileges: Privileges
  ) throws(SystemError) -> [RelayFinding] {
    let process = try ForkedProcess("starttlsd-probe", keepsErrors: true) { socket in
      do throws(SystemError) {
        try privileges.becomeStarter()
        for finding in try RelayProbe.run(programs, isLMTP: isLMTP) {
          try socket.send(message(finding).octets ?? [], isWaiting: true)
        }
        _exit(0)
      } catch {
        try? socket.send(
          HelperMessage(failed, first: error.code, payload: Array(error.call.utf8)).octets ?? [], isWaiting: true)
        _exit(111)
      }
    }
    var findings: [RelayFinding] = []
    while findings.count < programs.count {
      var entry = pollfd(fd: process.socket.descriptor.number, events: CShort(POLLIN), revents: 0)
      guard poll(&entry, 1, limitMilliseconds) == 1 else { throw SystemError("poll", ETIMEDOUT) }
      switch process.socket.receive(limit: HelperMessage.limit) {
      case .nothing: continue
      case .ended: throw SystemError("the process of the probe", ECHILD)
      case .message(let message):
        guard let known = HelperMessage(message.octets) else { throw SystemError("the process of the probe", EPROTO) }
        if known.kind == failed {
          throw SystemError(String(decoding: known.payload, as: UTF8.self), known.first)
        }
        findings.append(RelayFinding(known))
      }
    }
    _ = process.end(within: limitMilliseconds)
    return findings
  }

  private static func message(_ finding: RelayFinding) -> HelperMessage {
    let (kind, texts): (Int32, [String]) =
      switch finding {
      case .refuses(let reply): (0, [reply])
      case .accepts(let command, let reply): (1, [command, reply])
      case .defers(let reply): (2, [reply])
      case .untried(let reply): (3, [reply])
      case .broken(let what): (4, [what])
      }
    return HelperMessage(ProbeProcess.finding, first: kind, payload: Array(texts.joined(separator: "\0").utf8))
  }
}

extension RelayFinding {
  fileprivate init(_ message: HelperMessage) {
    let texts = message.payload.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    let first = texts.first ?? ""
    switch message.first {
    case 0: self = .refuses(reply: first)
    case 1: self = .accepts(command: first, reply: texts.last ?? "")
    case 2: self = .defers(reply: first)
    case 3: self = .untried(reply: first)
    default: self = .broken(first)
    }
  }
}
