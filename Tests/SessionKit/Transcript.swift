// Transcript: a dialogue as a text that a mail person can read and write, and back. Fixtures/transcripts/README.md
// describes the form.
//
// A transcript is a policy and a list of steps: something happens, and then exactly the expected things are done.
// TranscriptReading.swift reads one.

import PropertyKit
import SMTPState

struct Transcript {
  struct Step {
    var line: Int
    var event: Event
    var expected: [Expectation] = []
  }

  var policy = Policy()
  var byHand = ByHand()
  var comments: [String] = []
  var steps: [Step] = []
}

/// What a transcript can expect after an event.
enum Expectation: Equatable {
  /// Octets written to a side.
  case written(Side, [UInt8])
  /// A command that writes nothing, in words.
  case command(String)
  // What is true then:
  case interest(Interest)
  case deadline(Deadline?)
  /// Octets of the client that have arrived and are not consumed.
  case unread([UInt8])

  /// Whether it is something that is done, not something that is true.
  var isDeed: Bool {
    switch self {
    case .written, .command: true
    case .interest, .deadline, .unread: false
    }
  }

  /// What was done, with octets to the same side run together.
  static func of(_ deeds: some Sequence<Deed>, byHand: ByHand) -> [Expectation] {
    var list: [Expectation] = []
    for deed in deeds {
      let isPeek = deed.words.hasPrefix("peek ")
      if isSilent(deed.words), !isPeek || byHand.peeks { list.append(.command(deed.words)) }
      list.appendRunTogether(.client, deed.toClient)
      list.appendRunTogether(.server, deed.toServer)
    }
    return list
  }

  /// Whether a command is seen by its name and not by what it writes.
  private static func isSilent(_ words: String) -> Bool {
    let kind = words.prefix { $0 != " " }
    return !["forward", "pass", "reply", "reset", "copied"].contains(kind)
  }
}

extension [Expectation] {
  mutating func appendRunTogether(_ side: Side, _ octets: [UInt8]) {
    guard !octets.isEmpty else { return }
    if case .written(side, let before) = last { self[count - 1] = .written(side, before + octets) } else {
      append(.written(side, octets))
    }
  }

  /// The deeds among them, run together likewise.
  var deeds: [Expectation] {
    var list: [Expectation] = []
    for expectation in self where expectation.isDeed {
      if case .written(let side, let octets) = expectation {
        list.appendRunTogether(side, octets)
      } else {
        list.append(expectation)
      }
    }
    return list
  }
}

// MARK: - Writing

extension Transcript {
  var text: String {
    var lines = comments.map { $0.isEmpty ? "#" : "# \($0)" }
    lines += headLines
    if !lines.isEmpty { lines.append("") }
    var previous: Step?
    for step in steps {
      if let previous, previous.expected.isEmpty, case .arrives = previous.event, case .arrives = step.event {
        lines.append("pause")
      }
      lines += Self.lines(of: step.event)
      for expectation in step.expected { lines += Self.lines(of: expectation) }
      previous = step
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private var headLines: [String] {
    let usual = Policy()
    var lines: [String] = []
    if policy.security != usual.security { lines.append("security \(policy.security)") }
    if policy.mailProtocol != usual.mailProtocol { lines.append("protocol \(policy.mailProtocol)") }
    if policy.serverReset != usual.serverReset { lines.append("reset \(policy.serverReset)") }
    if policy.bareLineFeed != usual.bareLineFeed { lines.append("bare line feed \(policy.bareLineFeed)") }
    if policy.allowsCleartextAuthentication { lines.append("cleartext authentication allowed") }
    for (name, path) in Self.limits where policy[keyPath: path] != usual[keyPath: path] {
      lines.append("limit \(name) \(policy[keyPath: path])")
    }
    if byHand.peeks { lines.append("by hand peeks") }
    if byHand.drains { lines.append("by hand drains") }
    return lines
  }

  static var limits: [(String, WritableKeyPath<Policy, Int>)] {
    [
      ("command line", \.commandLineLimit), ("response line", \.responseLineLimit),
      ("reply line", \.replyLineLimit), ("reply lines", \.replyLinesLimit),
      ("outstanding", \.outstandingLimit), ("junk", \.junkLimit), ("commands", \.commandLimit),
      ("chunk", \.chunkLimit),
    ]
  }

  private static func lines(of event: Event) -> [String] {
    switch event {
    case .arrives(let arrival):
      return Notation.lines(arrival.client, prefix: "C:") + (arrival.clientEnds ? ["client ended"] : [])
        + Notation.lines(arrival.server, prefix: "S:") + (arrival.serverEnds ? ["server ended"] : [])
    case .late(let octets, let ended):
      return Notation.lines(octets, prefix: "O:") + (ended ? ["old server ended"] : [])
    case .peekedAsItIs: return ["peeked"]
    case .peeked(nil, let ended): return [ended ? "peeked ended" : "peeked nothing"]
    case .peeked(let octet?, let ended):
      return ["peeked \(Notation.encoded([octet]))\(ended ? " ended" : "")"]
    case .drained: return ["drained"]
    case .unavailable: return ["unavailable"]
    case .secured(let outcome): return ["secured \(outcome)"]
    case .restarted(let outcome): return ["restarted \(outcome)"]
    case .expired(let deadline): return ["expired \(deadline.words)"]
    }
  }

  private static func lines(of expectation: Expectation) -> [String] {
    switch expectation {
    case .written(let side, let octets): Notation.lines(octets, prefix: side == .client ? "c:" : "s:")
    case .command(let words): [words]
    case .interest(let interest): ["interest \(interest)"]
    case .deadline(let deadline): ["deadline \(deadline?.words ?? "none")"]
    case .unread(let octets): ["unread \(Notation.encoded(octets))"]
    }
  }
}

extension Deadline {
  var words: String { self == .clearPhase ? "clear phase" : "\(self)" }
}
