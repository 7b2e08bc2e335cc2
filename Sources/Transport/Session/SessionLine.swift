// SessionLine: the log line of a session, for the operator.
//
// Values that a peer chose (EHLO name, SNI) are quoted and escaped. The line contains nothing of AUTH or of a message.

import SMTPState

/// The text of a session's line, without the prefix that the program's log adds.
public enum SessionLine {
  /// The line of a session between two addresses.
  package static func text(
    peer: SocketAddress, local: SocketAddress?, record: SessionRecord, failure: String?
  ) -> String {
    text(peer: self.peer(peer), local: local.map(self.peer), record: record, failure: failure)
  }

  /// The line of a session whose addresses are given as text: printable, without blanks.
  ///
  /// - Parameters:
  ///   - peer: the client.
  ///   - local: the address that the client connected to, if known.
  ///   - record: what happened.
  ///   - failure: a failure outside the session, which replaces the failure in the record.
  public static func text(peer: String, local: String?, record: SessionRecord, failure: String?) -> String {
    var words = ["session", "peer=\(peer)"]
    if let local { words.append("local=\(local)") }
    words.append("helo=\(quoted(record.heloName))")
    switch record.decision {
    case .handoff: words.append("decision=handoff")
    case .abort(let proof): words.append("decision=abort proof=\"\(proof.name)\"")
    case .cutOff: words.append("decision=abort proof=\"cut off\"")
    case nil: words.append("decision=none")
    }
    if let tls = record.tls {
      words.append("tls=\(tls.version) cipher=\(tls.cipher)")
      if let name = tls.serverName { words.append("sni=\(quoted(Array(name.utf8)))") }
      if let name = tls.ignoredServerName { words.append("sni-ignored=\(quoted(name))") }
    }
    words.append("end=\"\(end(record.end))\"")
    if let failure = failure ?? record.failure { words.append("failure=\(quoted(Array(failure.utf8)))") }
    words.append("in=\(record.received) out=\(record.sent)")
    words.append(contentsOf: durations(record))
    return words.joined(separator: " ")
  }

  /// `192.0.2.1:25`, `[2001:db8::1]:25`
  package static func peer(_ address: SocketAddress) -> String { address.description }

  private static func end(_ end: SessionRecord.End?) -> String {
    switch end {
    case .closed(let reason): "\(reason.name)"
    case .relayed: "relayed"
    case .relayIdle: "relay idle"
    case .sessionTimeout: "session timeout"
    case .clientLost: "client lost"
    case .outputStalled: "output stalled"
    case .stopped: "stopped"
    case nil: "none"
    }
  }

  private static func durations(_ record: SessionRecord) -> [String] {
    let end = record.endedAt ?? record.startedAt
    var words = ["clear=\((record.decidedAt ?? end) - record.startedAt)ms"]
    if let decided = record.decidedAt, let secured = record.securedAt { words.append("handshake=\(secured - decided)ms") }
    words.append("total=\(end - record.startedAt)ms")
    return words
  }

  /// Octets between quotation marks. `"`, `\` and octets that are not printable ASCII become `\xNN`.
  package static func quoted(_ octets: [UInt8]) -> String {
    var text = [UInt8(ascii: "\"")]
    EscapedText.append(octets, to: &text) { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    text.append(UInt8(ascii: "\""))
    return String(decoding: text, as: UTF8.self)
  }
}
