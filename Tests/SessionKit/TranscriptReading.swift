// TranscriptReading: from the text of a transcript to its policy and steps. What cannot be understood is an error that names
// the line.

import PropertyKit
import SMTPState

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
        let isFirst = pending == nil
        if try Self.join(whole, to: &pending) {
          if isFirst { pendingLine = number }
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
      if arrival.clientEnds { throw Notation.Malformed(message: "octets after the client's end") }
      arrival.client += try Notation.line(text)
    } else if let text = value(of: "S:", line) {
      if arrival.serverEnds { throw Notation.Malformed(message: "octets after the server's end") }
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
    case "peeked": return .peekedAsItIs
    case "peeked nothing": return .peeked(nil, ended: false)
    case "peeked ended": return .peeked(nil, ended: true)
    case "old server ended": return .late([], ended: true)
    case "drained": return .drained
    case "unavailable": return .unavailable
    default: break
    }
    if let text = value(of: "O:", line) { return .late(try Notation.line(text), ended: false) }
    if let text = value(of: "peeked", line) {
      let ended = text.hasSuffix(" ended")
      let octets = try Notation.decoded(ended ? text.dropLast(6) : text)
      guard octets.count == 1 else { throw Notation.Malformed(message: "a peek shows one octet") }
      return .peeked(octets[0], ended: ended)
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
    if let text = value(of: "deadline", line) { return .deadline(text == "none" ? nil : try deadline(text)) }
    if let text = value(of: "unread", line) { return .unread(try Notation.decoded(text)) }
    if ["peek client", "peek server", "end server", "restart", "handoff", "relay"].contains(line) {
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
    case "bare line feed tolerate": policy.bareLineFeed = .tolerate
    case "bare line feed reject": policy.bareLineFeed = .reject
    case "cleartext authentication allowed": policy.allowsCleartextAuthentication = true
    case "cleartext authentication refused": policy.allowsCleartextAuthentication = false
    case "by hand peeks": byHand.peeks = true
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

  /// What stands after a word and a blank; empty if the line is the word alone.
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
