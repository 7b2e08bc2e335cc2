// TLSProfile: which clients a TLS server accepts, by a name that stays the same while the algorithms change.

/// The protocol versions, cipher suites and groups that a TLS server accepts. They are listed in Docs/TLS.md.
public enum TLSProfile: Hashable, Sendable, CustomStringConvertible {
  /// TLS 1.3 and 1.2, only with forward secrecy and authenticated encryption (AEAD).
  case modern
  /// Additionally, for TLS 1.2, what senders of mail still need: CBC ciphers with ECDHE and DHE-RSA.
  case compatible
  /// A priority string of GnuTLS, used as it is.
  case priority(String)

  /// Reads the value of an option: `modern`, `compatible` or `priority=STRING`; nil if it is something else.
  public init?(_ text: String) {
    let prefix = "priority="
    switch text {
    case "modern": self = .modern
    case "compatible": self = .compatible
    case _ where text.hasPrefix(prefix): self = .priority(String(text.dropFirst(prefix.count)))
    default: return nil
    }
  }

  /// The value of an option, see `init(_:)`.
  public var description: String {
    switch self {
    case .modern: "modern"
    case .compatible: "compatible"
    case .priority(let text): "priority=\(text)"
    }
  }
}
