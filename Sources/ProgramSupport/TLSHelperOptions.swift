// TLSHelperOptions: the options that say how a TLS helper is to run.
//
// Those who start a helper take them and hand them on; the helper obeys them. Letters, names and meanings are those of
// s6-ucspitlsd and s6-tlsd-io, so that either side can be exchanged. Of options that contradict each other the
// last one counts.

/// How a TLS helper is to run.
public struct TLSHelperOptions: Hashable, Sendable {
  /// Whether a client is asked for a certificate.
  public enum ClientCertificate: Hashable, Sendable {
    /// It is not asked.
    case ignored
    /// It is asked and need not have one (`-Y`); one that it sends must be valid.
    case optional
    /// The handshake fails without a valid one (`-y`).
    case required
  }

  /// Whether the server's end is said with close_notify (`-S`) or by ending the TCP direction alone (`-s`, default).
  public var sendsCloseNotify = false
  /// Whether an end of the client without close_notify is an error (`-J`) or not (`-j`, the default).
  public var requiresCloseNotify = false
  /// Whether a client is asked for a certificate; the default is no.
  public var clientCertificate = ClientCertificate.ignored
  /// 0: only the certificate in CERTFILE. 1: also those in CERTFILE:name. 2 and more: only the latter.
  public var serverNameLevel = 0
  /// The limit of a handshake; 0: none; nil: not said, the helper's own default.
  public var handshakeTimeoutMilliseconds: Int?
  /// The limit of a session; 0: none; nil: not given, the helper's own default.
  public var sessionTimeoutMilliseconds: Int?
  /// That default: a day.
  public static let defaultSessionMilliseconds = 86_400_000
  /// 0 quiet, 1 failures, 2 also what goes well.
  public var verbosity = 1

  /// The defaults.
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

  /// Takes an option by its long name.
  ///
  /// - Returns: whether it is one of `list`.
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

  /// The options as a command line, without those that say the default.
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
