// Pattern: a description of something that a server does.

/// What the server did, as far as a script can describe it.
package enum Observation: Hashable, Sendable {
  case reply(Reply)
  /// Octets that are no reply.
  case garbage([UInt8])
  /// A TLS alert in place of a reply.
  case alert
  /// Octets of SMTP in clear where TLS was awaited.
  case clear([UInt8])
  case ended
  case silence
  case established
  /// The server ended the handshake; why.
  case refused(String)
  /// The handshake failed on the client's side; why.
  case failed(String)
  /// The answer to an examination: a word, and a text for people.
  case examined(String, String)

  /// One line for people. What the server sent is escaped; the secrets are hidden before anything is cut.
  func text(hiding secrets: Secrets) -> String {
    switch self {
    case .reply(let reply): reply.text(hiding: secrets)
    case .garbage(let octets): "octets that are no reply: \(OctetText.encoded(secrets.hidden(in: octets).prefix(80)))"
    case .alert: "a TLS alert"
    case .clear(let octets): "in clear: \(OctetText.encoded(secrets.hidden(in: octets).prefix(80)))"
    case .ended: "the connection ended"
    case .silence: "no answer in time"
    case .established: "TLS was established"
    case .refused(let why), .failed(let why): "the handshake failed: \(secrets.hidden(in: why))"
    case .examined(_, let text): secrets.hidden(in: text)
    }
  }
}

/// A description of observations.
package enum Pattern: Hashable, Sendable {
  /// A reply whose code is one of these, with each condition.
  case reply([CodePattern], [Condition])
  case garbage, alert, clear, ended, silence, established
  /// The server ended the handshake.
  case refused
  /// The same, or the handshake failed on the client's side.
  case failed
  case examined(String)
  case anything

  package enum Condition: Hashable, Sendable {
    /// A line after the first one begins with this keyword.
    case lists(String)
    case lacks(String)
    /// A line contains this text.
    case contains(String)
    /// The first line begins with a domain or an address, not with a keyword of an extension.
    case domainFirst
    /// Each line ends with CRLF.
    case crlf
    case oneLine
  }

  package func matches(_ observation: Observation) -> Bool {
    switch (self, observation) {
    case (.reply(let codes, let conditions), .reply(let reply)):
      codes.contains { $0.matches(reply.code) } && conditions.allSatisfy { reply.satisfies($0) }
    case (.garbage, .garbage), (.alert, .alert), (.clear, .clear), (.ended, .ended), (.silence, .silence),
      (.established, .established), (.refused, .refused), (.failed, .refused), (.failed, .failed), (.anything, _):
      true
    case (.examined(let word), .examined(let answer, _)):
      word == answer
    default:
      false
    }
  }
}

/// `250`, `25z`, `2yz`: the digits that are given.
package struct CodePattern: Hashable, Sendable {
  package var prefix: String

  package init(prefix: String) { self.prefix = prefix }

  func matches(_ code: String) -> Bool { code.hasPrefix(prefix) }
}

extension Reply {
  fileprivate static let keywords = [
    "STARTTLS", "PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "HELP", "AUTH", "SMTPUTF8", "CHUNKING", "DSN", "ETRN",
    "VRFY", "EXPN",
  ]

  func satisfies(_ condition: Pattern.Condition) -> Bool {
    switch condition {
    case .lists(let keyword): lists(keyword)
    case .lacks(let keyword): !lists(keyword)
    case .contains(let text): lines.contains { $0.contains(Substring(text)) }
    case .domainFirst: !(lines.first.map { Reply.keywords.contains(Reply.word($0)) || $0.isEmpty } ?? true)
    case .crlf: !hasBareLineFeed
    case .oneLine: lines.count == 1
    }
  }

  /// True if a line after the first one begins with the keyword.
  private func lists(_ keyword: String) -> Bool {
    lines.dropFirst().contains { Reply.word($0) == keyword }
  }

  private static func word(_ line: String) -> String {
    String(line.prefix { $0 != " " && $0 != "\t" && $0 != "=" }).uppercased()
  }
}
