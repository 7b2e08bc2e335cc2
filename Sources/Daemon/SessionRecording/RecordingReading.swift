// RecordingReading: from the text of a recording to its settings and entries.
//
// Failure: what cannot be understood is an error that names the line. The text may come from a stranger: a repetition in it may stand
// for far more octets than it has, so their sum has a limit.

import SMTPState
import Transport

extension Recording {
  package struct Malformed: Error, Hashable, CustomStringConvertible {
    package let line: Int
    package let message: String
    package var description: String { "line \(line): \(message)" }
  }

  /// The most octets of all lines together, and what each line takes besides. The largest recording that starttlsd writes has less.
  package static let octetsLimit = 8 << 20

  /// Reads the text of a file.
  package init(reading text: some StringProtocol) throws(Malformed) {
    self.init(program: "", session: "", date: "", policy: SMTPSession.Policy())
    var hasBegun = false
    var octetsCount = 0
    var number = 0
    // One line after the other: a list of all lines would be far larger than the text. The kernel's name for a line end is one octet; a
    // CRLF would be one character here.
    var rest: Substring.UTF8View? = Substring(text).utf8
    while let octets = rest {
      let end = octets.firstIndex(of: 0x0A)
      rest = end.map { octets[octets.index(after: $0)...] }
      let line = String(decoding: octets[..<(end ?? octets.endIndex)], as: UTF8.self)
      number += 1
      func fail(_ message: String) -> Malformed { Malformed(line: number, message: message) }
      if number == 1 {
        guard line == Recording.firstLine else { throw fail("no recording of this version: the first line must be '\(Recording.firstLine)'") }
      } else if line.isEmpty || line.hasPrefix("#") {
        continue
      } else if line == "begin" {
        hasBegun = true
      } else if hasBegun {
        do throws(OctetLine.Malformed) {
          octetsCount += try readEntry(line, number)
          guard octetsCount <= Recording.octetsLimit else {
            throw OctetLine.Malformed(description: "the recording stands for more than \(Recording.octetsLimit) octets")
          }
        } catch {
          throw fail(error.description)
        }
      } else if !readHead(line) {
        throw fail("not understood: \(line)")
      }
    }
    guard hasBegun else { throw Malformed(line: number, message: "the recording has no 'begin'") }
  }

  private mutating func readHead(_ line: String) -> Bool {
    func value(_ word: String) -> String? { line.hasPrefix(word + " ") ? String(line.dropFirst(word.count + 1)) : nil }
    if let value = value("program") {
      program = value
    } else if let value = value("session") {
      session = value
    } else if let value = value("date") {
      date = value
    } else if let value = value("client") {
      client = value
    } else if line == "keeps mail addresses" {
      redaction.keepsMailAddresses = true
    } else if line == "keeps client names" {
      redaction.keepsClientName = true
    } else if line == "tls from the start" {
      isImplicit = true
    } else {
      return policy.readLine(line)
    }
    return true
  }

  /// Returns what the entry takes, in octets.
  private mutating func readEntry(_ line: String, _ number: Int) throws(OctetLine.Malformed) -> Int {
    guard let blank = line.firstIndex(of: " "), let time = Int(line[..<blank]), time >= 0 else {
      throw OctetLine.Malformed(description: "a line begins with a time in milliseconds")
    }
    let content = try Content(reading: line[line.index(after: blank)...])
    entries.append(Entry(time: time, content, line: number))
    return SessionRecorder.costOfEntry + content.length
  }
}

extension SMTPSession.Policy {
  /// Reads a line of `lines`, or a timeout.
  fileprivate mutating func readLine(_ line: String) -> Bool {
    switch line {
    case "security opportunistic": security = .opportunistic
    case "security required": security = .required
    case "protocol smtp": mailProtocol = .smtp
    case "protocol lmtp": mailProtocol = .lmtp
    case "reset restart": serverReset = .restart
    case "reset rset": serverReset = .rset
    case "bare line feed tolerate": bareLineFeed = .tolerate
    case "bare line feed reject": bareLineFeed = .reject
    case "cleartext authentication allowed": allowsCleartextAuthentication = true
    case "cleartext authentication refused": allowsCleartextAuthentication = false
    default:
      let names =
        SMTPSession.Policy.limits.map { ("limit \($0.0) ", $0.1) } + SMTPSession.Policy.timeouts.map { ("timeout \($0.0.name) ", $0.1) }
      for (name, path) in names where line.hasPrefix(name) {
        guard let number = Int(line.dropFirst(name.count)) else { continue }
        self[keyPath: path] = number
        return true
      }
      return false
    }
    return true
  }
}

extension Recording.Content {
  /// Reads a line without its time.
  init(reading line: Substring) throws(OctetLine.Malformed) {
    func value(_ word: String) -> Substring? {
      line == word ? "" : line.hasPrefix(word + " ") ? line.dropFirst(word.count + 1) : nil
    }
    if let text = value("C:") {
      self = .event(.received(.client, try OctetLine.octets(text)))
    } else if let text = value("S:") {
      self = .event(.received(.server, try OctetLine.octets(text)))
    } else if let text = value("c:") {
      self = .deed(.wrote(.client, try OctetLine.octets(text)))
    } else if let text = value("s:") {
      self = .deed(.wrote(.server, try OctetLine.octets(text)))
    } else if line == "full" {
      self = .full
    } else if let text = value("over") {
      self = .over(String(text))
    } else if let event = try ConversationEvent(reading: line) {
      self = .event(.other(event))
    } else if Recording.Deed.allWords.contains(String(line)) {
      self = .deed(.decided(String(line)))
    } else {
      throw OctetLine.Malformed(description: "not understood: \(line)")
    }
  }
}

extension Recording.Deed {
  /// The words of all decisions.
  fileprivate static var allWords: Set<String> {
    var words: Set = ["handoff", "end server", "restart", "relay"]
    for party in SMTPSession.Party.allCases { words.insert("peek \(party.name)") }
    for reason in SMTPSession.Reason.allCases { words.formUnion(["abort \(reason.name)", "close \(reason.name)"]) }
    return words
  }
}

extension ConversationEvent {
  /// nil if the line is no event.
  fileprivate init?(reading line: Substring) throws(OctetLine.Malformed) {
    switch line {
    case "client ended": self = .inputEnded(.client)
    case "server ended": self = .inputEnded(.server)
    case "drained": self = .drained
    case "unavailable": self = .tlsUnavailable
    case "peeked nothing": self = .peeked(nil, ended: false)
    case "peeked ended": self = .peeked(nil, ended: true)
    default:
      let words = line.split(separator: " ", maxSplits: 1)
      guard words.count == 2 else { return nil }
      switch words[0] {
      case "peeked":
        let ended = words[1].hasSuffix(" ended")
        let octets = try OctetLine.decoded(ended ? words[1].dropLast(6) : words[1])
        guard octets.count == 1 else { throw OctetLine.Malformed(description: "a peek shows one octet") }
        self = .peeked(octets[0], ended: ended)
      case "secured":
        guard let outcome = SMTPSession.HandshakeOutcome.allCases.first(where: { "\($0)" == words[1] }) else { return nil }
        self = .handshakeFinished(outcome)
      case "restarted":
        guard let outcome = SMTPSession.RestartOutcome.allCases.first(where: { "\($0)" == words[1] }) else { return nil }
        self = .serverRestarted(outcome)
      case "expired":
        guard let timer = SMTPSession.Deadline.allCases.first(where: { "\($0.name)" == words[1] }) else { return nil }
        self = .timerExpired(timer)
      default: return nil
      }
    }
  }
}
