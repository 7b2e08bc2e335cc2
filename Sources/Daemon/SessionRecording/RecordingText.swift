// RecordingText: a recording as text, one record a line, for a person and for starttls-replay.
//
// The head has the settings. After `begin` each line has the time in milliseconds and one line of a transcript, see
// Fixtures/transcripts/README.md: `C:` and `S:` arrived, `c:` and `s:` were sent.

package import SMTPState
import Transport

extension Recording {
  /// The first line of each file.
  package static let firstLine = "starttls recording 1"

  /// The text of the file.
  package var text: String {
    var lines = [Recording.firstLine, "program \(program)", "session \(session)", "date \(date)"]
    if let client { lines.append("client \(client)") }
    if redaction.keepsMailAddresses { lines.append("keeps mail addresses") }
    if redaction.keepsClientName { lines.append("keeps client names") }
    if isImplicit { lines.append("tls from the start") }
    lines += policy.lines(onlyChanged: false)
    for timer in SMTPSession.Deadline.allCases { lines.append("timeout \(timer.name) \(policy.milliseconds(of: timer))") }
    lines.append("begin")
    for entry in entries { lines += entry.content.lines.map { "\(entry.time) \($0)" } }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension Recording.Content {
  /// The lines without their time.
  package var lines: [String] {
    switch self {
    case .event(let event): event.lines
    case .deed(let deed): deed.lines
    case .full: ["full"]
    case .over(let end): ["over \(end)"]
    }
  }
}

extension Recording.Event {
  package var lines: [String] {
    switch self {
    case .received(let side, let octets): OctetLine.lines(octets, prefix: side == .client ? "C:" : "S:")
    case .other(.inputEnded(.client)): ["client ended"]
    case .other(.inputEnded(_)): ["server ended"]
    case .other(.drained): ["drained"]
    case .other(.tlsUnavailable): ["unavailable"]
    case .other(.peeked(nil, ended: let ended)): [ended ? "peeked ended" : "peeked nothing"]
    case .other(.peeked(let octet?, ended: let ended)): ["peeked \(OctetLine.encoded([octet]))\(ended ? " ended" : "")"]
    case .other(.handshakeFinished(let outcome)): ["secured \(outcome)"]
    case .other(.serverRestarted(let outcome)): ["restarted \(outcome)"]
    case .other(.timerExpired(let timer)): ["expired \(timer.name)"]
    }
  }
}

extension Recording.Deed {
  package var lines: [String] {
    switch self {
    case .wrote(let side, let octets): OctetLine.lines(octets, prefix: side == .client ? "c:" : "s:")
    case .decided(let words): [words]
    }
  }
}

extension SMTPSession.Policy {
  /// The choices and limits as the head of a transcript.
  package func lines(onlyChanged: Bool) -> [String] {
    let usual = SMTPSession.Policy()
    var lines: [String] = []
    func add(_ line: String, _ isChanged: Bool) {
      if isChanged || !onlyChanged { lines.append(line) }
    }
    add("security \(security)", security != usual.security)
    add("protocol \(mailProtocol)", mailProtocol != usual.mailProtocol)
    add("reset \(serverReset)", serverReset != usual.serverReset)
    add("bare line feed \(bareLineFeed)", bareLineFeed != usual.bareLineFeed)
    add(
      "cleartext authentication \(allowsCleartextAuthentication ? "allowed" : "refused")",
      allowsCleartextAuthentication != usual.allowsCleartextAuthentication)
    for (name, path) in SMTPSession.Policy.limits {
      add("limit \(name) \(self[keyPath: path])", self[keyPath: path] != usual[keyPath: path])
    }
    return lines
  }

  static var limits: [(String, WritableKeyPath<SMTPSession.Policy, Int>)] {
    [
      ("command line", \.commandLineLimit), ("response line", \.responseLineLimit), ("reply line", \.replyLineLimit),
      ("reply lines", \.replyLinesLimit), ("outstanding", \.outstandingLimit), ("junk", \.junkLimit), ("commands", \.commandLimit),
      ("chunk", \.chunkLimit),
    ]
  }

  static var timeouts: [(SMTPSession.Deadline, WritableKeyPath<SMTPSession.Policy, Int>)] {
    [
      (.greeting, \.greetingTimeoutMilliseconds), (.command, \.commandTimeoutMilliseconds), (.reply, \.replyTimeoutMilliseconds),
      (.reset, \.resetTimeoutMilliseconds), (.handshake, \.handshakeTimeoutMilliseconds),
      (.clearPhase, \.clearPhaseTimeoutMilliseconds),
    ]
  }
}
