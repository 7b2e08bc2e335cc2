// RecipientDomains: the domains whose mail this server accepts.
//
// Without a list every recipient is accepted: nothing is ever relayed, and all mail goes to the one Maildir. From
// outside that looks like an open relay. With a list:
//
// - the recipient's domain, without any source route, must be on it;
// - its local part must not contain `%`, `!` or `@`, quoted or not: old forms of routes to another host;
// - `<Postmaster>` without a domain is always accepted (RFC 5321, 4.1.1.3).
//
// Domains are compared in one form, that of `MailPath.domain`.

/// The domains of accepted recipients.
public struct RecipientDomains: Hashable, Sendable {
  private var domains: Set<String> = []

  /// No restriction.
  public init() {}

  /// True if there is a restriction.
  var isRestricted: Bool { !domains.isEmpty }

  /// Adds a domain or an address literal.
  ///
  /// - Returns: false if `name` is not valid after the `@` of an address.
  public mutating func add(_ name: String) -> Bool {
    let address = "postmaster@" + name
    guard let (path, rest) = MailPath.parse(Array("<\(address)>".utf8)[...], for: .recipient), rest.isEmpty,
      path.address == address
    else { return false }
    domains.insert(path.domain)
    return true
  }

  /// True if mail to `recipient` is accepted.
  func accept(_ recipient: MailPath) -> Bool {
    guard isRestricted, !recipient.domain.isEmpty else { return true }
    return domains.contains(recipient.domain) && !recipient.isRouted
  }
}
