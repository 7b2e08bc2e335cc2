// MailPath: the address in MAIL FROM:<...> and RCPT TO:<...>.
//
// The grammar is RFC 5321, 4.1.2, read from its front to its end; a path that does not follow it is refused, so what
// is accepted is visible ASCII and blanks in quotes, and can stand in a header line as it is. Three notes:
//
// - A source route (`<@a,@b:c@d>`) is accepted and dropped (RFC 5321, Appendix C).
// - A domain may contain underscores: hosts are named so, whatever RFC 1123 says.
// - An address literal is not looked into: nothing is ever sent to it.
//
// The limit on a path is twice that of RFC 5321, 4.5.3.1.3, for the addresses that mailing lists make.

/// An address, or the null sender.
public struct MailPath: Hashable, Sendable, CustomStringConvertible {
  /// What a path is for.
  public enum Purpose: Hashable, Sendable {
    /// MAIL FROM: `<>` is allowed.
    case sender
    /// RCPT TO: `<Postmaster>` is allowed (RFC 5321, 4.1.1.3).
    case recipient
  }

  /// The most octets of an address.
  public static let limit = 512

  /// The address without angle brackets and source route; empty for the null sender.
  public let address: String
  /// The address with its domain in small letters: two recipients of the same identity are the same. Local parts
  /// are compared as they are written (RFC 5321, 2.4).
  let identity: String
  /// What follows the `@`, in small letters; empty for the null sender and for `<Postmaster>`.
  let domain: String
  /// Whether the local part names another host to those who read `user%host`, `host!user` or `"user@host"` so.
  let isRouted: Bool

  /// The address in angle brackets.
  public var description: String { "<\(address)>" }

  /// Reads a path at the beginning of `octets`.
  ///
  /// - Returns: the path and what follows its closing bracket; nil if there is no valid path.
  public static func parse(
    _ octets: ArraySlice<UInt8>, for purpose: Purpose
  ) -> (path: MailPath, rest: ArraySlice<UInt8>)? {
    var scanner = PathScanner(rest: octets)
    guard scanner.take("<") else { return nil }
    if purpose == .sender, scanner.take(">") {
      return (MailPath(local: [], domain: []), scanner.rest)
    }
    guard scanner.takeRoute() else { return nil }
    guard let local = scanner.takeLocalPart() else { return nil }
    var domain: ArraySlice<UInt8> = []
    if scanner.take("@") {
      guard let found = scanner.takeDomain() ?? scanner.takeLiteral() else { return nil }
      domain = found
    } else {
      guard purpose == .recipient, String(decoding: local, as: UTF8.self).lowercased() == "postmaster" else {
        return nil
      }
    }
    guard scanner.take(">"), local.count + 1 + domain.count <= limit else { return nil }
    return (MailPath(local: local, domain: domain), scanner.rest)
  }

  private init(local: ArraySlice<UInt8>, domain: ArraySlice<UInt8>) {
    let localPart = String(decoding: local, as: UTF8.self)
    let host = String(decoding: domain, as: UTF8.self)
    self.address = host.isEmpty ? localPart : localPart + "@" + host
    self.domain = host.lowercased()
    self.identity = host.isEmpty ? localPart.lowercased() : localPart + "@" + self.domain
    self.isRouted = local.contains { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "!") || $0 == UInt8(ascii: "@") }
  }
}

/// Takes the parts of a path off its front. A part that is not there leaves the scanner where it was or makes the
/// whole path invalid; nothing is tried twice.
private struct PathScanner {
  var rest: ArraySlice<UInt8>

  mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard rest.first == UInt8(ascii: character) else { return false }
    rest.removeFirst()
    return true
  }

  mutating func takeRun(where belongs: (UInt8) -> Bool) -> ArraySlice<UInt8> {
    let run = rest.prefix(while: belongs)
    rest = rest[run.endIndex...]
    return run
  }

  /// `@a,@b:`, if there is one; false if it is broken.
  mutating func takeRoute() -> Bool {
    guard take("@") else { return true }
    while true {
      guard takeDomain() != nil else { return false }
      if take(":") { return true }
      guard take(","), take("@") else { return false }
    }
  }

  mutating func takeLocalPart() -> ArraySlice<UInt8>? {
    rest.first == UInt8(ascii: "\"") ? takeQuoted() : takeDotted { $0.isAtomText }
  }

  /// Labels of at most 63 octets that neither begin nor end with a hyphen, 255 octets in all.
  mutating func takeDomain() -> ArraySlice<UInt8>? {
    let hyphen = UInt8(ascii: "-")
    guard let domain = takeDotted({ $0.isLetter || $0.isDigit || $0 == hyphen || $0 == UInt8(ascii: "_") }),
      domain.count <= 255
    else { return nil }
    for label in domain.split(separator: Octet.dot) {
      guard label.count <= 63, label.first != hyphen, label.last != hyphen else { return nil }
    }
    return domain
  }

  /// Non-empty words with one dot between each two.
  private mutating func takeDotted(_ belongs: (UInt8) -> Bool) -> ArraySlice<UInt8>? {
    let start = rest
    repeat {
      guard !takeRun(where: belongs).isEmpty else { return nil }
    } while take(".")
    return start[..<rest.startIndex]
  }

  private mutating func takeQuoted() -> ArraySlice<UInt8>? {
    let start = rest
    rest.removeFirst()
    while let octet = rest.popFirst() {
      if octet == UInt8(ascii: "\"") { return start[..<rest.startIndex] }
      let content = octet == UInt8(ascii: "\\") ? rest.popFirst() ?? 0 : octet
      guard content.isVisible || content == Octet.space else { return nil }
    }
    return nil
  }

  /// `[` and `]` with visible octets other than brackets and backslash between them.
  mutating func takeLiteral() -> ArraySlice<UInt8>? {
    let start = rest
    guard take("[") else { return nil }
    let content = takeRun { $0.isVisible && !(0x5B...0x5D).contains($0) }
    guard !content.isEmpty, content.count <= 253, take("]") else { return nil }
    return start[..<rest.startIndex]
  }
}

extension UInt8 {
  /// `atext` of RFC 5322, 3.2.3.
  fileprivate var isAtomText: Bool {
    if isLetter || isDigit { return true }
    switch Unicode.Scalar(self) {
    case "!", "#", "$", "%", "&", "'", "*", "+", "-", "/", "=", "?", "^", "_", "`", "{", "|", "}", "~": return true
    default: return false
    }
  }
}
