// TLSAlert: the alert that ended a TLS session, for the log.

import CGnuTLS

/// A fatal alert.
public struct TLSAlert: Hashable, Sendable {
  /// The number (RFC 8446, 6).
  public let number: Int
  /// The name as in RFC 8446, for example `unknown_ca`; `unknown` for a number without a name.
  public let name: String
  /// True if this side sent it, false if the client did.
  public let isSent: Bool

  init(_ alert: gnutls_alert_description_t, isSent: Bool) {
    number = Int(alert.rawValue)
    self.isSent = isSent
    // The library has the names as the names of its constants.
    let constant = gnutls_alert_get_strname(alert).map { String(cString: $0) } ?? ""
    let prefix = "GNUTLS_A_"
    name = constant.hasPrefix(prefix) ? constant.dropFirst(prefix.count).lowercased() : "unknown"
  }
}
