// TLSHelperOptions: the options of a TLS helper.
//
// The programs that start a helper accept these options and pass them on; the helper applies them. Letters, names and
// meanings are those of s6-ucspitlsd and s6-tlsd-io, so that either side can be replaced. Among contradicting options
// the last one counts.

/// The settings of a TLS helper.
public struct TLSHelperOptions: Hashable, Sendable {
  /// If a client is asked for a certificate.
  public enum ClientCertificate: Hashable, Sendable {
    /// It is not asked.
    case ignored
    /// The client is asked (`-Y`). A certificate is optional, but one that is sent must be valid.
    case optional
    /// The client is asked (`-y`). The handshake fails without a valid certificate.
    case required
  }

  /// True if the server's end sends close_notify (`-S`), false if it ends the TCP direction only (`-s`, the default).
  public var sendsCloseNotify = false
  /// True if an end of the client without close_notify is an error (`-J`), false if not (`-j`, the default).
  public var requiresCloseNotify = false
  /// If a client is asked for a certificate; the default is no.
  public var clientCertificate = ClientCertificate.ignored
  /// 0: only the certificate in CERTFILE. 1: also those in CERTFILE:name. 2 and more: only those in CERTFILE:name.
  public var serverNameLevel = 0
  /// Timeout of the handshake; 0: none; nil: not given, the helper's own default.
  public var handshakeTimeoutMilliseconds: Int?
  /// Timeout of the session; 0: none; nil: not given, the helper's own default.
  public var sessionTimeoutMilliseconds: Int?
  /// The default session timeout: one day.
  public static let defaultSessionMilliseconds = 86_400_000
  /// 0: quiet; 1: failures; 2: also successes.
  public var verbosity = 1

  /// Creates the defaults.
  public init() {}

  /// The options, for `CommandLineOption.parse`.
  public static let list: InlineArray<12, CommandLineOption> = [
    CommandLineOption("S", "close-notify"),
    CommandLineOption("s", "no-close-notify"),
    CommandLineOption("J", "enforce-close-notify"),
    CommandLineOption("j", "no-enforce-close-notify"),
    CommandLineOption("Y", "client-cert"),
    CommandLineOption("y", "mandatory-client-cert"),
    CommandLineOption(nil, "sni"),
    CommandLineOption(nil, "mandatory-sni"),
    CommandLineOption("k", "sni-level", takesValue: true),
    CommandLineOption("K", "handshake-timeout", takesValue: true),
    CommandLineOption("T", "session-timeout", takesValue: true),
    CommandLineOption("v", "verbosity", takesValue: true),
  ]

  /// Applies an option, identified by its long name.
  ///
  /// - Returns: true if it is an option in `list`.
  public mutating func accept(_ name: String, _ value: String) throws(CommandLineError) -> Bool {
    switch name {
    case "close-notify": sendsCloseNotify = true
    case "no-close-notify": sendsCloseNotify = false
    case "enforce-close-notify": requiresCloseNotify = true
    case "no-enforce-close-notify": requiresCloseNotify = false
    case "client-cert": clientCertificate = .optional
    case "mandatory-client-cert": clientCertificate = .required
    case "sni": serverNameLevel = 1
    case "mandatory-sni": serverNameLevel = 2
    case "sni-level": serverNameLevel = try CommandLineOption.number(value, of: name)
    case "handshake-timeout": handshakeTimeoutMilliseconds = try CommandLineOption.number(value, of: name)
    case "session-timeout": sessionTimeoutMilliseconds = try CommandLineOption.number(value, of: name)
    case "verbosity": verbosity = try CommandLineOption.number(value, of: name)
    default: return false
    }
    return true
  }

  /// The options as command line arguments, without those that have the default value.
  public var arguments: [String] {
    var words: [String] = []
    if sendsCloseNotify { words.append("-S") }
    if requiresCloseNotify { words.append("-J") }
    switch clientCertificate {
    case .ignored: break
    case .optional: words.append("-Y")
    case .required: words.append("-y")
    }
    if serverNameLevel > 0 { words += ["-k", "\(serverNameLevel)"] }
    if let handshakeTimeoutMilliseconds { words += ["-K", "\(handshakeTimeoutMilliseconds)"] }
    if let sessionTimeoutMilliseconds { words += ["-T", "\(sessionTimeoutMilliseconds)"] }
    if verbosity != 1 { words += ["-v", "\(verbosity)"] }
    return words
  }
}
