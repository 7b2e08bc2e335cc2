// CheckParser: reads a check from the text of its file. Docs/Checking.md describes the format.
//
// Total: every text is a check or an error that names the line.

/// What is wrong in a check's file.
package struct CheckError: Error, Hashable, CustomStringConvertible {
  package let file: String
  package let line: Int
  package let text: String

  package var description: String { "\(file):\(line): \(text)" }
}

package struct CheckParser {
  private let file: String
  private var line = 0
  private var head: [String: [String]] = [:]
  private var steps: [Step] = []

  private static let headWords = ["rule", "source", "severity", "finds", "others", "only", "sweep", "repeat"]

  /// - Parameters:
  ///   - text: the file's text.
  ///   - identifier: `group/name`, from the file's path without `.check`.
  package static func parse(_ text: String, identifier: String) throws(CheckError) -> Check {
    var parser = CheckParser(file: identifier + ".check")
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      parser.line += 1
      try parser.read(line)
    }
    return try parser.check(identifier)
  }

  private init(file: String) { self.file = file }

  private func wrong(_ text: String) -> CheckError { CheckError(file: file, line: line, text: text) }

  private mutating func read(_ line: Substring) throws(CheckError) {
    guard !line.isEmpty, !line.hasPrefix("#") else { return }
    let (word, rest) = CheckParser.cut(line)
    if steps.isEmpty, CheckParser.headWords.contains(word) {
      guard !rest.isEmpty else { throw wrong("\(word): nothing follows") }
      head[word, default: []].append(rest)
    } else {
      try step(word, rest)
    }
  }

  /// The first word and what follows the blank after it.
  private static func cut(_ line: Substring) -> (String, String) {
    guard let blank = line.firstIndex(of: " ") else { return (String(line), "") }
    return (String(line[..<blank]), String(line[line.index(after: blank)...]))
  }

  // MARK: Steps

  private mutating func step(_ word: String, _ rest: String) throws(CheckError) {
    switch word {
    case "C:":
      do {
        steps.append(.send(try OctetText.line(rest)))
      } catch {
        throw wrong(error.text)
      }
    case "hello": try plain(.hello, word, rest)
    case "padding": try plain(.padding, word, rest)
    case "flush": try plain(.flush, word, rest)
    case "cut": try plain(.cut, word, rest)
    case "end": try plain(.endSending, word, rest)
    case "reconnect": try plain(.reconnect, word, rest)
    case "tls": steps.append(.tls(try request(rest)))
    case "examine":
      guard let examination = Examination(rawValue: rest) else {
        throw wrong("examine \(rest): one of \(Examination.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      steps.append(.examine(examination))
    case "expect" where rest == "padding": steps.append(.expectPadding)
    case "expect": steps.append(.expect(try expectation(rest)))
    case "or": try or(rest)
    case "open", "secure", "nothing-executed":
      guard rest.isEmpty else { throw wrong("\(word) takes no argument") }
      for line in CheckParser.shorthands[word] ?? [] { try read(line[...]) }
    default:
      guard let verdict = Verdict(rawValue: word) else { throw wrong("\(word): no step has this name") }
      guard !rest.isEmpty else { throw wrong("\(word): a sentence has to follow") }
      steps.append(.conclude(Finding(verdict, rest)))
    }
  }

  private mutating func plain(_ step: Step, _ word: String, _ rest: String) throws(CheckError) {
    guard rest.isEmpty else { throw wrong("\(word) takes no argument") }
    steps.append(step)
  }

  /// What many checks begin or end with.
  package static let shorthands: [String: [String]] = [
    "open": [
      "expect 220",
      "C: EHLO \\{client}",
      "expect 250 lists STARTTLS",
      "or 250: untested The server does not offer STARTTLS.",
    ],
    "secure": [
      "C: STARTTLS",
      "expect 220",
      "or reply: untested The server refuses STARTTLS.",
      "tls",
      "expect established",
      "or failed | ended | clear | silence: untested TLS cannot be established.",
    ],
    "nothing-executed": [
      "tls",
      "expect established",
      "or clear | reply: deviates The server answers in clear after its 220 to STARTTLS: the handshake of a client fails.",
      "or failed | ended: conforms The handshake fails, and nothing is executed.",
      "or silence: conforms The handshake does not go on, and nothing is executed.",
      "expect silence",
      "or ended: conforms The server closes the connection.",
      "or 220: untested The server greets again inside TLS, so that its replies cannot be counted.",
      "or anything: vulnerable What was sent in clear was executed inside TLS.",
      "C: QUIT",
      "expect reply",
      "or ended: conforms The server closes the connection.",
      "expect ended | silence",
      "or anything: vulnerable What was sent in clear was executed inside TLS, together with the next command.",
      "conforms What was sent after STARTTLS was discarded.",
    ],
  ]

  private func request(_ text: String) throws(CheckError) -> TLSRequest {
    var request = TLSRequest()
    var words = text.split(separator: " ")[...]
    while let word = words.popFirst() {
      if word == "nameless" {
        request.hasName = false
        continue
      }
      if word == "resume" {
        request.resumes = true
        continue
      }
      guard let value = words.popFirst().map(String.init) else { throw wrong("tls \(word): a value has to follow") }
      switch word {
      case "cut":
        guard let cut = Int(value), cut > 0, cut <= 16_384 else { throw wrong("tls cut \(value): a number from 1 to 16384") }
        request.cut = cut
      case "version":
        guard ["1.0", "1.1", "1.2", "1.3"].contains(value) else { throw wrong("tls version \(value): 1.0, 1.1, 1.2 or 1.3") }
        request.version = value
      case "alpn": request.alpn = value
      case "name": request.name = value
      default: throw wrong("tls \(word): one of cut, version, alpn, name, nameless, resume")
      }
    }
    return request
  }

  // MARK: Expectations

  private func expectation(_ text: String) throws(CheckError) -> Expectation {
    let isPatient = text.hasPrefix("patiently ")
    let awaited = try patterns(isPatient ? String(text.dropFirst("patiently ".count)) : text)
    let patience: Patience = isPatient ? .stall : awaited.contains(.silence) ? .quiet : .reply
    return Expectation(awaited: awaited, patience: patience)
  }

  private mutating func or(_ text: String) throws(CheckError) {
    guard case .expect(var expectation)? = steps.popLast() else { throw wrong("or: only after expect, or another or") }
    guard let colon = text.firstIndex(of: ":") else { throw wrong("or: a colon and a verdict have to follow the pattern") }
    let (word, sentence) = CheckParser.cut(text[text.index(after: colon)...].drop { $0 == " " })
    guard let verdict = Verdict(rawValue: word) else { throw wrong("or: \(word) is no verdict") }
    guard !sentence.isEmpty else { throw wrong("or: a sentence has to follow the verdict") }
    expectation.otherwise.append(
      Expectation.Arm(patterns: try patterns(String(text[..<colon])), finding: Finding(verdict, sentence)))
    steps.append(.expect(expectation))
  }

  /// `250 lists AUTH | 4yz 5yz | ended`
  private func patterns(_ text: String) throws(CheckError) -> [Pattern] {
    var patterns: [Pattern] = []
    for part in text.split(separator: "|", omittingEmptySubsequences: false) {
      patterns.append(try pattern(part.split(separator: " ").map(String.init)))
    }
    return patterns
  }

  private static let simple: [String: Pattern] = [
    "garbage": .garbage, "alert": .alert, "clear": .clear, "ended": .ended, "silence": .silence, "established": .established,
    "refused": .refused, "failed": .failed, "anything": .anything,
  ]

  private func pattern(_ words: [String]) throws(CheckError) -> Pattern {
    var words = words[...]
    guard let first = words.first else { throw wrong("a pattern is empty") }
    if let pattern = CheckParser.simple[first] {
      guard words.count == 1 else { throw wrong("\(first) has no condition") }
      return pattern
    }
    if first == "is" {
      guard words.count == 2, let word = words.last else { throw wrong("is: one word has to follow") }
      return .examined(word)
    }
    var codes: [CodePattern] = []
    if first == "reply" {
      codes = [CodePattern(prefix: "")]
      words.removeFirst()
    }
    while let word = words.first, let code = code(word) {
      codes.append(code)
      words.removeFirst()
    }
    guard !codes.isEmpty else { throw wrong("\(first): no pattern has this name") }
    return .reply(codes, try conditions(&words))
  }

  /// `250`, `25z`, `2yz`.
  private func code(_ word: String) -> CodePattern? {
    let octets = Array(word.utf8)
    guard octets.count == 3, let first = octets.first, (UInt8(ascii: "2")...UInt8(ascii: "5")).contains(first) else { return nil }
    var digits = String(UnicodeScalar(first))
    for (octet, letter) in zip(octets.dropFirst(), "yz".utf8) {
      if octet == letter { continue }
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(octet), digits.utf8.count == (letter == UInt8(ascii: "y") ? 1 : 2)
      else { return nil }
      digits.unicodeScalars.append(UnicodeScalar(octet))
    }
    return CodePattern(prefix: digits)
  }

  private func conditions(_ words: inout ArraySlice<String>) throws(CheckError) -> [Pattern.Condition] {
    var conditions: [Pattern.Condition] = []
    while let word = words.popFirst() {
      switch word {
      case "domain-first": conditions.append(.domainFirst)
      case "crlf": conditions.append(.crlf)
      case "one-line": conditions.append(.oneLine)
      case "lists", "lacks", "contains":
        guard let value = words.popFirst() else { throw wrong("\(word): a word has to follow") }
        conditions.append(
          word == "lists" ? .lists(value.uppercased()) : word == "lacks" ? .lacks(value.uppercased()) : .contains(value))
      default: throw wrong("\(word): no condition has this name")
      }
    }
    return conditions
  }
}

// MARK: - The head

extension CheckParser {
  private func check(_ identifier: String) throws(CheckError) -> Check {
    let path = identifier.split(separator: "/", omittingEmptySubsequences: false)
    guard path.count == 2, let group = Check.Group(rawValue: String(path[0])), !path[1].isEmpty else {
      throw wrong("the path has to be GROUP/NAME.check; groups: \(Check.Group.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    let severity = try one("severity")
    guard let severity = Check.Severity(rawValue: severity) else {
      throw wrong("severity \(severity): one of \(Check.Severity.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard !steps.isEmpty else { throw wrong("there are no steps") }
    guard isConcluded else { throw wrong("the last step has to be a verdict") }
    var check = Check(
      identifier: identifier, group: group, rule: try one("rule"), source: try one("source"), severity: severity, steps: steps)
    check.finds = head["finds", default: []].flatMap { $0.split(separator: " ").map(String.init) }
    check.others = head["others", default: []].joined(separator: " ")
    for word in head["only", default: []].flatMap({ $0.split(separator: " ").map(String.init) }) {
      guard let need = Check.Need(rawValue: word) else {
        throw wrong("only \(word): one of \(Check.Need.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      check.needs.insert(need)
    }
    for word in head["sweep", default: []].flatMap({ $0.split(separator: " ").map(String.init) }) {
      check.sweep.append(try range(word))
    }
    if head["repeat"] != nil {
      let text = try one("repeat")
      guard let number = Int(text), (2...100).contains(number), check.sweep.isEmpty else {
        throw wrong("repeat \(text): a number from 2 to 100, without sweep")
      }
      check.repetitions = number
    }
    guard steps.contains(.padding) == !check.sweep.isEmpty else { throw wrong("padding and sweep belong together") }
    return check
  }

  private var isConcluded: Bool {
    if case .conclude? = steps.last { true } else { false }
  }

  private func one(_ word: String) throws(CheckError) -> String {
    guard let texts = head[word] else { throw wrong("\(word) is missing") }
    return texts.joined(separator: " ")
  }

  /// `16` or `16-30`.
  private func range(_ text: String) throws(CheckError) -> ClosedRange<Int> {
    let numbers = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard let first = numbers.first ?? nil, let last = numbers.last ?? nil, numbers.count <= 2,
      SMTPProbe.paddingMinimum <= first, first <= last, last <= 16_384
    else { throw wrong("sweep \(text): numbers from \(SMTPProbe.paddingMinimum) to 16384, as 20 or 20-30") }
    return first...last
  }
}
