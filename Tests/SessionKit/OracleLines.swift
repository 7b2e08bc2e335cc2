// OracleLines: what the rules say about one line, whole, as text. Pure functions; nothing here knows a session.

import SMTPState

/// A line of the client, read as the rules read it.
struct ClientLine {
  /// All of it, its end included.
  let octets: [UInt8]
  let isMalformed: Bool
  /// The first word in capitals; empty for a line that is empty or begins with a blank.
  let verb: String
  /// The other words.
  let parameters: [String]

  /// - Parameter limits: of this line, and of an AUTH with an initial response.
  init(_ octets: [UInt8], limits: (line: Int, authentication: Int), rejectsBareLineFeed: Bool) {
    self.octets = octets
    let text = Latin(octets)
    let body = text.withoutEnd
    // AUTH is known by the blank after it, which has to be within the limit of any line.
    let start = Latin(octets.prefix(5)).string.uppercased()
    let isAuthentication = limits.line >= 5 && ["AUTH ", "AUTH\t"].contains(start)
    isMalformed =
      octets.count > (isAuthentication ? max(limits.line, limits.authentication) : limits.line)
      || body.contains("\u{0}")
      || body.contains("\r")
      || (rejectsBareLineFeed && !text.endsWithCRLF)
    let words = body.split(separator: { $0 == " " || $0 == "\t" })
    let isBlank = body.first.map { $0 == " " || $0 == "\t" } ?? true
    verb = isBlank ? "" : words[0].uppercased
    parameters = words.dropFirst(isBlank ? 0 : 1).map(\.string)
  }

  /// The octets of its chunk, for BDAT; nil if the size is bad. Any number of digits is a number.
  var chunkSize: Double? {
    guard let size = parameters.first, size.allSatisfy({ ("0"..."9").contains($0) }) else { return nil }
    guard parameters.count == 1 || (parameters.count == 2 && parameters[1].uppercased() == "LAST") else { return nil }
    return Double(size)
  }
}

/// What the octets of the server's line so far are.
enum ServerLine: Equatable {
  case incomplete
  /// A line of so many octets.
  case line(Int)
  /// No SMTP, which the last of so many octets makes plain.
  case garbage(Int)
}

/// A code as far as the rules tell codes apart.
func kindOfCode(_ code: String) -> String {
  ["220", "235", "250", "334", "421"].contains(code) ? code : "\(code.prefix(1))yz"
}

/// Octets as a text with one character an octet, so that CR LF is two.
struct Latin {
  let scalars: [Unicode.Scalar]

  init(_ octets: some Sequence<UInt8>) { scalars = octets.map { Unicode.Scalar($0) } }
  init(scalars: some Sequence<Unicode.Scalar>) { self.scalars = Array(scalars) }

  var string: String { scalars.reduce(into: "") { $0.unicodeScalars.append($1) } }
  var octets: [UInt8] { scalars.map { UInt8($0.value) } }
  var first: Unicode.Scalar? { scalars.first }
  /// In capitals, ASCII alone: no other letter becomes one.
  var uppercased: String {
    Latin(scalars: scalars.map { ("a"..."z").contains($0) ? Unicode.Scalar(UInt8($0.value) - 32) : $0 }).string
  }
  var endsWithCRLF: Bool { scalars.suffix(2) == ["\r", "\n"] }
  /// Without the LF at its end and the CR before that.
  var withoutEnd: Latin {
    guard scalars.last == "\n" else { return self }
    return Latin(scalars: scalars.dropLast(endsWithCRLF ? 2 : 1))
  }

  /// The whole lines, without their ends.
  var lines: [Latin] {
    var lines: [Latin] = []
    var line: [Unicode.Scalar] = []
    for scalar in scalars {
      line.append(scalar)
      guard scalar == "\n" else { continue }
      lines.append(Latin(scalars: line).withoutEnd)
      line = []
    }
    return lines
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool { scalars.contains(scalar) }
  func split(separator: (Unicode.Scalar) -> Bool) -> [Latin] {
    scalars.split(whereSeparator: separator).map { Latin(scalars: $0) }
  }
  func prefix(_ length: Int) -> Latin { Latin(scalars: scalars.prefix(length)) }
}

/// A line of a reply.
struct ReplyLine {
  /// Without its end.
  let text: Latin

  init(_ octets: [UInt8]) { text = Latin(octets).withoutEnd }

  var kind: String { kindOfCode(text.prefix(3).string) }
  var isLast: Bool { text.scalars.count < 4 || text.scalars[3] != "-" }

  /// The word after the code, in capitals.
  var keyword: String {
    Latin(scalars: text.scalars.dropFirst(4).prefix { $0 != " " && $0 != "\t" }).uppercased
  }

  /// The line as it is sent, its fourth octet as the separator gives it.
  func sent(separator: Unicode.Scalar?) -> [UInt8] {
    var scalars = text.scalars
    if let separator {
      if scalars.count > 3 { scalars[3] = separator } else { scalars.append(separator) }
    }
    return Latin(scalars: scalars + ["\r", "\n"]).octets
  }
}

/// The rewriting of a 250 reply to EHLO: from all lines that have come, all that have gone out.
///
/// The last line that is kept waits, because it may be the last of all. STARTTLS is the second line.
func rewritten(_ lines: [ReplyLine], isComplete: Bool, takenOut: [String], addsSTARTTLS: Bool) -> [[UInt8]] {
  var kept = lines.enumerated().filter { index, line in
    index == 0 || !takenOut.contains(line.keyword.hasPrefix("AUTH=") ? "AUTH" : line.keyword)
  }.map(\.element)
  // With the first line alone it is not known yet whether anything comes after STARTTLS.
  if addsSTARTTLS, isComplete || kept.count > 1 { kept.insert(ReplyLine(Array("250 STARTTLS".utf8)), at: 1) }
  guard isComplete else { return kept.dropLast().map { $0.sent(separator: "-") } }
  return kept.dropLast().map { $0.sent(separator: "-") } + [kept[kept.count - 1].sent(separator: " ")]
}
