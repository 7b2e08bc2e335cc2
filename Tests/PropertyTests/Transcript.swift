// Transcript: a dialogue as a text that a mail person can read and write, and back. Fixtures/transcripts/README.md
// describes the form.
//
// A transcript is a policy and a list of steps: something happens, and then exactly the expected things are done.

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
  case deadline(Deadline)
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
      let isLook = deed.words.hasPrefix("look ")
      if isSilent(deed.words), !isLook || byHand.looks { list.append(.command(deed.words)) }
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
    if byHand.looks { lines.append("by hand looks") }
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
    case .lookedAsItIs: return ["looked"]
    case .looked(nil, let ended): return [ended ? "looked ended" : "looked nothing"]
    case .looked(let octet?, let ended):
      return ["looked \(Notation.encoded([octet]))\(ended ? " ended" : "")"]
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
    case .deadline(let deadline): ["deadline \(deadline.words)"]
    case .unread(let octets): ["unread \(Notation.encoded(octets))"]
    }
  }
}

extension Deadline {
  var words: String { self == .clearPhase ? "clear phase" : "\(self)" }
}

// MARK: - Reading

extension Transcript {
  struct Malformed: Error, CustomStringConvertible {
    let line: Int
    let message: String
    var description: String { "line \(line): \(message)" }
  }

  init(reading text: String) throws(Malformed) {
    var pending: Arrival?
    var pendingLine = 0

    func flush() {
      if let arrival = pending { steps.append(Step(line: pendingLine, event: .arrives(arrival))) }
      pending = nil
    }

    for (index, whole) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let number = index + 1
      if whole.hasPrefix("#") {
        if steps.isEmpty, pending == nil { comments.append(String(whole.dropFirst(whole.hasPrefix("# ") ? 2 : 1))) }
        continue
      }
      if whole.isEmpty { continue }
      do {
        if try Self.join(whole, to: &pending) {
          if pendingLine <= (steps.last?.line ?? 0) || pending == nil { pendingLine = number }
        } else if whole == "pause" {
          flush()
        } else if let event = try Self.event(whole) {
          flush()
          steps.append(Step(line: number, event: event))
        } else if let expectation = try Self.expectation(whole) {
          flush()
          guard !steps.isEmpty else { throw Notation.Malformed(message: "an expectation before anything happened") }
          steps[steps.count - 1].expected.append(expectation)
        } else {
          guard steps.isEmpty, pending == nil, readHead(whole) else {
            throw Notation.Malformed(message: "not understood: \(whole)")
          }
        }
      } catch {
        throw Malformed(line: number, message: (error as? Notation.Malformed)?.message ?? "\(error)")
      }
    }
    flush()
  }

  /// Whether a line is something that arrives; if so it joins what has arrived already.
  private static func join(_ line: Substring, to pending: inout Arrival?) throws -> Bool {
    var arrival = pending ?? Arrival()
    if let text = value(of: "C:", line) {
      if arrival.clientEnds { throw Notation.Malformed(message: "octets behind the client's end") }
      arrival.client += try Notation.line(text)
    } else if let text = value(of: "S:", line) {
      if arrival.serverEnds { throw Notation.Malformed(message: "octets behind the server's end") }
      arrival.server += try Notation.line(text)
    } else if line == "client ended" {
      arrival.clientEnds = true
    } else if line == "server ended" {
      arrival.serverEnds = true
    } else {
      return false
    }
    pending = arrival
    return true
  }

  private static func event(_ line: Substring) throws -> Event? {
    switch line {
    case "looked": return .lookedAsItIs
    case "looked nothing": return .looked(nil, ended: false)
    case "looked ended": return .looked(nil, ended: true)
    case "drained": return .drained
    case "unavailable": return .unavailable
    default: break
    }
    if let text = value(of: "looked", line) {
      let ended = text.hasSuffix(" ended")
      let octets = try Notation.decoded(ended ? text.dropLast(6) : text)
      guard octets.count == 1 else { throw Notation.Malformed(message: "a look sees one octet") }
      return .looked(octets[0], ended: ended)
    }
    if let text = value(of: "secured", line) { return .secured(try named(text)) }
    if let text = value(of: "restarted", line) { return .restarted(try named(text)) }
    if let text = value(of: "expired", line) { return .expired(try deadline(text)) }
    return nil
  }

  private static func expectation(_ line: Substring) throws -> Expectation? {
    if let text = value(of: "c:", line) { return .written(.client, try Notation.line(text)) }
    if let text = value(of: "s:", line) { return .written(.server, try Notation.line(text)) }
    if let text = value(of: "interest", line) { return .interest(try named(text)) }
    if let text = value(of: "deadline", line) { return .deadline(try deadline(text)) }
    if let text = value(of: "unread", line) { return .unread(try Notation.decoded(text)) }
    if ["look client", "look server", "end server", "restart", "handoff", "relay"].contains(line) {
      return .command(String(line))
    }
    for kind in ["abort", "close"] {
      if let text = value(of: kind, line) {
        guard Reason.allCases.contains(where: { "\($0.name)" == text }) else {
          throw Notation.Malformed(message: "no such reason: \(text)")
        }
        return .command(String(line))
      }
    }
    return nil
  }

  private mutating func readHead(_ line: Substring) -> Bool {
    switch line {
    case "security opportunistic": policy.security = .opportunistic
    case "security required": policy.security = .required
    case "protocol smtp": policy.mailProtocol = .smtp
    case "protocol lmtp": policy.mailProtocol = .lmtp
    case "reset restart": policy.serverReset = .restart
    case "reset rset": policy.serverReset = .rset
    case "bare line feed normalise": policy.bareLineFeed = .normalise
    case "bare line feed reject": policy.bareLineFeed = .reject
    case "cleartext authentication allowed": policy.allowsCleartextAuthentication = true
    case "cleartext authentication refused": policy.allowsCleartextAuthentication = false
    case "by hand looks": byHand.looks = true
    case "by hand drains": byHand.drains = true
    default:
      for (name, path) in Self.limits {
        guard let text = Self.value(of: "limit \(name)", line), let number = Int(text) else { continue }
        policy[keyPath: path] = number
        return true
      }
      return false
    }
    return true
  }

  /// What stands behind a word and a blank; empty if the line is the word alone.
  private static func value(of word: String, _ line: Substring) -> Substring? {
    if line == word { return "" }
    return line.hasPrefix(word + " ") ? line.dropFirst(word.count + 1) : nil
  }

  private static func named<Value: CaseIterable>(_ text: Substring) throws -> Value {
    guard let value = Value.allCases.first(where: { "\($0)" == text }) else {
      throw Notation.Malformed(message: "'\(text)' is none of \(Value.allCases)")
    }
    return value
  }

  private static func deadline(_ text: Substring) throws -> Deadline {
    guard let deadline = Deadline.allCases.first(where: { $0.words == text }) else {
      throw Notation.Malformed(message: "no such timer: \(text)")
    }
    return deadline
  }
}
