// MailPath: the address in MAIL FROM:<...> and RCPT TO:<...>.
//
// The grammar is that of RFC 5321, 4.1.2. A path that does not match it is refused. An accepted path is therefore
// visible ASCII, with blanks only in quotes, and is safe in a header line. Three notes:
//
// - A source route (`<@a,@b:c@d>`) is accepted and dropped (RFC 5321, Appendix C).
// - A domain may contain underscores: such host names exist, although RFC 1123 excludes them.
// - The content of an address literal is not checked: nothing is ever sent to it.
//
// The limit on a path is twice that of RFC 5321, 4.5.3.1.3, for addresses created by mailing lists.

/// An address, or the null sender.
public struct MailPath: Hashable, Sendable, CustomStringConvertible {
  /// The command of a path.
  public enum Purpose: Hashable, Sendable {
    /// MAIL FROM: `<>` is allowed.
    case sender
    /// RCPT TO: `<Postmaster>` is allowed (RFC 5321, 4.1.1.3).
    case recipient
  }

  /// The maximum length of an address, in octets.
  public static let limit = 512

  /// The address without angle brackets and without source route; empty for the null sender.
  public let address: String
  /// The address with its domain in lower case: recipients with equal identities are the same. Local parts are compared
  /// with regard to case (RFC 5321, 2.4).
  let identity: String
  /// The domain after the `@`, in lower case; empty for the null sender and for `<Postmaster>`.
  let domain: String
  /// True if the local part names another host in one of the old forms `user%host`, `host!user` or `"user@host"`.
  let isRouted: Bool

  /// The address in angle brackets.
  public var description: String { "<\(address)>" }

  /// Parses a path at the start of `octets`.
  ///
  /// - Returns: the path and the octets after its closing bracket; nil if there is no valid path.
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

/// Parses the parts of a path from the front. A missing part leaves the scanner at its position or makes the whole path
/// invalid; there is no backtracking.
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

  /// `@a,@b:`, if present; false if it is malformed.
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

  /// Labels of at most 63 octets that neither start nor end with a hyphen, 255 octets in total.
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

  /// Non-empty words, separated by one dot.
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

  /// `[` and `]` with visible octets between them, except brackets and backslash.
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
