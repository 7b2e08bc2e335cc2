// RecipientDomains: the domains whose mail this server takes.
//
// Without a list every recipient is accepted: nothing is ever relayed, all mail goes to the one Maildir. To a stranger
// that looks like an open relay, and mail for others is refused only by whoever reads the Maildir. With a list:
//
// - the recipient's domain, after any source route was dropped, is on it;
// - its local part contains no `%`, `!` or `@`, quoted or not: old routes to another host;
// - `<Postmaster>` without a domain is always accepted (RFC 5321, 4.1.1.3).
//
// Domains are compared in one form, that of `MailPath.domain`.

/// The domains of the recipients that are accepted.
public struct RecipientDomains: Hashable, Sendable {
  private var domains: Set<String> = []

  /// No restriction.
  public init() {}

  /// Whether there is a restriction.
  var isRestricted: Bool { !domains.isEmpty }

  /// Adds a domain or an address literal.
  ///
  /// - Returns: false when `name` could not stand behind the `@` of an address.
  public mutating func add(_ name: String) -> Bool {
    let address = "postmaster@" + name
    guard let (path, rest) = MailPath.parse(Array("<\(address)>".utf8)[...], for: .recipient), rest.isEmpty,
      path.address == address
    else { return false }
    domains.insert(path.domain)
    return true
  }

  /// Whether mail to `recipient` is taken.
  func accept(_ recipient: MailPath) -> Bool {
    guard isRestricted, !recipient.domain.isEmpty else { return true }
    return domains.contains(recipient.domain) && !recipient.isRouted
  }
}
