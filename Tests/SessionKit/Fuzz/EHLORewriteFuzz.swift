// EHLORewriteFuzz: whatever a server says to EHLO, the client gets a reply of the same keywords but those that are taken
// out, with STARTTLS where it would be accepted, or the beginning of one.
//
// The first octet holds options, in which a bit without a meaning must be zero:
//     1 inside TLS   2 cleartext AUTH allowed, unless with 8   4 LMTP   8 STARTTLS required
// The rest is the server's reply, up to the end of its last line.

import PropertyKit
import SMTPState

public enum EHLORewriteFuzz {
  /// - Returns: whether the octets spell a reply.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    guard let options = octets.first, options < 16 else { return false }
    let isInsideTLS = options & 1 != 0
    var policy = Policy()
    policy.allowsCleartextAuthentication = options & 2 != 0
    if options & 4 != 0 { policy.mailProtocol = .lmtp }
    if options & 8 != 0 { policy.security = .required }
    let reply = firstReply(octets.dropFirst())

    var caller = Caller(policy)
    let ehlo = policy.mailProtocol == .lmtp ? "LHLO c\r\n" : "EHLO c\r\n"
    caller.happen(.arrives(.server("220 be\r\n")))
    if isInsideTLS {
      for event in [
        Event.arrives(.client(ehlo)), .arrives(.server("250 be\r\n")), .arrives(.client("STARTTLS\r\n")),
        .secured(.established), .restarted(.ready),
      ] { caller.happen(event) }
    }
    caller.happen(.arrives(.client(ehlo)))
    let before = caller.toClient.count
    caller.happen(.arrives(Arrival(server: reply)))
    let said = Array(caller.toClient[before...])
    let isAnswered = caller.session.deadline == .command && caller.session.interest == .both
    let rules = Rules(isInsideTLS: isInsideTLS, allowsAuthentication: options & 10 == 2)
    do {
      try rules.check(said, of: reply, isAnswered: isAnswered, isOver: caller.session.isFinal)
      if let violation = caller.violations.first { throw Falsified(violation) }
    } catch let falsified as Falsified {
      throw Falsified(
        "\(falsified.message)\n  server \(Notation.encoded(reply))\n  client \(Notation.encoded(said))")
    }
    return true
  }

  /// The octets up to the end of the first line that ends a reply.
  private static func firstReply(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    var start = octets.startIndex
    while let end = octets[start...].firstIndex(of: 0x0A) {
      if end - start < 4 || octets[start + 3] != 0x2D { return Array(octets[...end]) }
      start = end + 1
    }
    return Array(octets)
  }
}

/// What may become of a reply to EHLO.
private struct Rules {
  let isInsideTLS: Bool
  let allowsAuthentication: Bool

  func check(_ said: [UInt8], of reply: [UInt8], isAnswered: Bool, isOver: Bool) throws {
    var lines = try said.isEmpty ? [] : linesWithCRLF(said)
    if isOver {
      if lines.isEmpty { throw Falsified("closed without a word") }
      // A word of ours has no place within a reply.
      if lines.count == 1, lines[0].hasPrefix("421 4.3.0 ") { lines = [] }
    }
    let given = reply.split(separator: 0x0A, omittingEmptySubsequences: false).map { line in
      text(line.last == 0x0D ? line.dropLast() : line)
    }
    guard reply.starts(with: Array("250".utf8)) else {
      // Nothing is rewritten.
      let isWhole = !isAnswered || lines.count == given.count - 1
      guard given.starts(with: lines), isWhole else { throw Falsified("a reply that is not 250 was changed") }
      return
    }
    if lines.contains(where: { !$0.hasPrefix("250") }) { throw Falsified("another code than the server's") }
    let kept = given.enumerated().filter { $0.offset == 0 || !isTakenOut($0.element) }.map { $0.element.dropFirst(4) }
    // STARTTLS is the second line. The last of `kept` is what comes after the last LF: not a line.
    let listed = isInsideTLS ? kept : kept.prefix(1) + ["STARTTLS"] + kept.dropFirst()
    let texts = lines.map { $0.dropFirst(4) }
    guard isAnswered else {
      if lines.contains(where: { $0.dropFirst(3).first != "-" }) { throw Falsified("an end before the server's") }
      if !listed.starts(with: texts) { throw Falsified("lines that the server did not say, or not in this order") }
      return
    }
    let marks = lines.map { $0.dropFirst(3).first }
    if marks.last != " " || marks.dropLast().contains(where: { $0 != "-" }) { throw Falsified("no reply of one end") }
    let wanted = Array(listed.dropLast())
    if texts != wanted { throw Falsified("the keywords \(texts), not \(wanted)") }
  }

  private func linesWithCRLF(_ octets: [UInt8]) throws -> [String] {
    guard octets.suffix(2) == [0x0D, 0x0A] else { throw Falsified("a line without its end") }
    return try octets.dropLast().split(separator: 0x0A, omittingEmptySubsequences: false).map { line in
      guard line.last == 0x0D, !line.dropLast().contains(0x0D), !line.contains(0) else {
        throw Falsified("a bare LF, a bare CR or a NUL")
      }
      return text(line.dropLast())
    }
  }

  /// A character an octet.
  private func text(_ octets: ArraySlice<UInt8>) -> String { Latin(Array(octets)).string }

  private func isTakenOut(_ line: String) -> Bool {
    let keyword = line.dropFirst(4).prefix { $0 != " " && $0 != "\t" }.uppercased()
    if ["STARTTLS", "XCLIENT", "XFORWARD"].contains(keyword) { return true }
    if isInsideTLS { return false }
    return keyword == "REQUIRETLS" || (!allowsAuthentication && (keyword == "AUTH" || keyword.hasPrefix("AUTH=")))
  }
}
