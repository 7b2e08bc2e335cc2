// SessionOutcome: all that can be seen of a session from outside, once it is over.

import SMTPState
import Transport

/// What both sides, the helper and the operator have seen.
struct SessionOutcome {
  /// What the client received in clear, the 220 to STARTTLS included, and inside TLS.
  var clear: [UInt8] = []
  var secure: [UInt8] = []
  /// What the client sent in clear, before the 220, and inside TLS.
  var sentInClear: [UInt8] = []
  var sentInside: [UInt8] = []
  var isSecure = false
  /// What went wrong with the client's TLS.
  var tunnelFailure: String?
  /// What each server received and sent.
  var servers: [(received: [UInt8], sent: [UInt8])] = []
  /// Whether the session began with what was learnt of the server.
  var isLearnt = false
  /// What the helper received.
  var helperCommands: [UInt8] = []
  var handoffs = 0
  var aborts: [Reason] = []
  /// nil where the session could not be started.
  var record: SessionRecord?

  // How the session went; only the test uses this.
  var calls = 0
  var faults = 0
  var turns = 0
  /// How long the session lasted once the scenario's departure had happened, in milliseconds of the rig's clock.
  var lastedAfterDeparture: Int?

  /// What was learnt counts as sent by the first server. Of a server that sent something else the client received nothing.
  mutating func noteLearnt(isStarted: Bool) {
    isLearnt = true
    let learnt = ScriptedServer.learnt
    if !isStarted { servers.insert((received: [], sent: []), at: 0) }
    let (sent, first) = (servers[0].sent, learnt.greeting + learnt.hello)
    let hasHello = String(decoding: clear, as: UTF8.self).contains("250-mx.example s0n2.0\r\n")
    let isContinued = sent.starts(with: hasHello ? first : learnt.greeting)
    if !isContinued { servers[0].sent = first }
    servers[0].sent += learnt.quit
  }

  /// Whether the same was seen: by the client, the servers, the helper and the operator. Only a TLS alert may be cut
  /// short: it is sent as far as the kernel takes it at once.
  func looksLike(_ other: SessionOutcome) -> Bool {
    clearDialogue == other.clearDialogue && other.clear.starts(with: clear)
      && secure == other.secure && isSecure == other.isSecure
      && servers.map(\.received) == other.servers.map(\.received) && helperCommands == other.helperCommands
      && handoffs == other.handoffs && aborts == other.aborts && record?.decision == other.record?.decision
      && record?.end == other.record?.end && record?.sent == other.record?.sent
      && record?.received == other.record?.received && record?.heloName == other.record?.heloName
  }
}

extension SessionOutcome: CustomStringConvertible {
  var description: String {
    func text(_ octets: [UInt8]) -> String { String(decoding: octets, as: UTF8.self).debugDescription }
    var lines = [
      "client received in clear: \(text(clear))", "client received inside:   \(text(secure))",
      "client sent:           \(text(sentInClear)) / \(text(sentInside))",
    ]
    for server in servers { lines.append("server received:          \(text(server.received))") }
    if let tunnelFailure { lines.append("client's TLS:          \(tunnelFailure)") }
    if let record {
      lines.append(SessionLine.text(peer: "client", local: nil, record: record, failure: nil))
    } else {
      lines.append("not started")
    }
    lines.append("handoffs \(handoffs), aborts \(aborts), helper received \(text(helperCommands))")
    lines.append("\(calls) calls, \(faults) faults, \(turns) turns")
    return lines.joined(separator: "\n")
  }
}
