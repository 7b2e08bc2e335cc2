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
    let fields = fields(peer: peer, local: local, record: record, failure: failure)
    return (["session"] + fields.map(\.logfmt)).joined(separator: " ")
  }

  /// The fields of a session's line, in their order.
  ///
  /// - Parameter session: the session's identifier, if the program has one.
  package static func fields(
    peer: String, local: String?, session: String? = nil, record: SessionRecord, failure: String?
  ) -> [LogField] {
    var fields = [LogField("peer", .word(peer))]
    if let local { fields.append(LogField("local", .word(local))) }
    if let session { fields.append(LogField("id", .word(session))) }
    fields.append(LogField("helo", escaping: record.heloName))
    fields.append(LogField("decision", .word(decision(record.decision))))
    if let proof = proof(record.decision) { fields.append(LogField("proof", .text(proof))) }
    if let tls = record.tls {
      fields += [LogField("tls", .word(tls.version)), LogField("cipher", .word(tls.cipher))]
      if let group = tls.group { fields.append(LogField("group", .word(group))) }
      if let name = tls.serverName { fields.append(LogField("sni", escaping: name.utf8)) }
      if let name = tls.ignoredServerName { fields.append(LogField("sni-ignored", escaping: name)) }
      if tls.isResumed { fields.append(LogField("resumed", .word("yes"))) }
      if let client = tls.client { fields += client.fields }
    }
    fields.append(LogField("end", .text(end(record.end))))
    switch record.truncation {
    case .beforeServer: fields.append(LogField("truncated", .text("before the server's end")))
    case .afterServer: fields.append(LogField("truncated", .text("after the server's end")))
    case nil: break
    }
    if let failure = failure ?? record.failure { fields.append(LogField("failure", escaping: failure.utf8)) }
    fields += [LogField("in", .number(record.received)), LogField("out", .number(record.sent))]
    return fields + durations(record)
  }

  /// `192.0.2.1:25`, `[2001:db8::1]:25`
  package static func peer(_ address: SocketAddress) -> String { address.description }

  /// The decision, in a word.
  package static func decision(_ decision: SessionRecord.Decision?) -> String {
    switch decision {
    case .handoff: "handoff"
    case .implicit: "implicit"
    case .abort, .cutOff: "abort"
    case nil: "none"
    }
  }

  /// The proof of an abort, in words; nil for the other decisions.
  package static func proof(_ decision: SessionRecord.Decision?) -> String? {
    switch decision {
    case .abort(let proof): "\(proof.name)"
    case .cutOff: "cut off"
    case .handoff, .implicit, nil: nil
    }
  }

  /// How a session ended, in words.
  package static func end(_ end: SessionRecord.End?) -> String {
    switch end {
    case .closed(let reason): "\(reason.name)"
    case .relayed: "relayed"
    case .relayIdle: "relay idle"
    case .sessionTimeout: "session timeout"
    case .clientLost: "client lost"
    case .outputStalled: "output stalled"
    case .earlyTalker: "early talker before the greeting"
    case .stopped: "stopped"
    case nil: "none"
    }
  }

  private static func durations(_ record: SessionRecord) -> [LogField] {
    let end = record.endedAt ?? record.startedAt
    var fields = [LogField("clear", .milliseconds((record.decidedAt ?? end) - record.startedAt))]
    if let decided = record.decidedAt, let secured = record.securedAt {
      fields.append(LogField("handshake", .milliseconds(secured - decided)))
    }
    fields.append(LogField("total", .milliseconds(end - record.startedAt)))
    return fields
  }

  /// Octets between quotation marks. `"`, `\` and octets that are not printable ASCII become `\xNN`.
  package static func quoted(_ octets: [UInt8]) -> String {
    var text = [UInt8(ascii: "\"")]
    EscapedText.append(octets, to: &text) { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    text.append(UInt8(ascii: "\""))
    return String(decoding: text, as: UTF8.self)
  }
}
