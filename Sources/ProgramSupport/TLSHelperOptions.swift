// TLSHelperOptions: the options of a TLS helper.
//
// The programs that start a helper accept these options and pass them on; the helper applies them. Letters, names and
// meanings are those of s6-ucspitlsd and s6-tlsd-io, so that either side can be replaced. Among contradicting options
// the last one counts.

public import Transport

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
  /// The time that a client has for the rest of the output after the server program has ended; 0: no limit; nil: not given, the
  /// helper's own default. The server that counts the server programs does not count what follows them.
  public var endTimeoutMilliseconds: Int?
  /// The default of it: one minute.
  public static let defaultEndMilliseconds = 60_000
  /// Which clients are accepted (`--tls-profile`). The default serves opportunistic TLS: a client that fails would send
  /// its mail in clear.
  public var profile = TLSProfile.compatible
  /// The names of the groups that replace those of the profile (`--tls-groups`); nil: not given.
  public var groupNames: [String]?
  /// 0: quiet; 1: failures; 2: also successes.
  public var verbosity = 1

  /// Creates the defaults.
  public init() {}

  /// The options of the command line.
  public enum Option: Int, ProgramOption {
    case closeNotify, noCloseNotify, enforceCloseNotify, noEnforceCloseNotify
    case clientCertificate, mandatoryClientCertificate
    case serverName, mandatoryServerName, serverNameLevel
    case profile, groups
    case handshakeTimeout, sessionTimeout, endTimeout, verbosity

    public var form: CommandLineOption {
      switch self {
      case .closeNotify: CommandLineOption("S", "close-notify")
      case .noCloseNotify: CommandLineOption("s", "no-close-notify")
      case .enforceCloseNotify: CommandLineOption("J", "enforce-close-notify")
      case .noEnforceCloseNotify: CommandLineOption("j", "no-enforce-close-notify")
      case .clientCertificate: CommandLineOption("Y", "client-cert")
      case .mandatoryClientCertificate: CommandLineOption("y", "mandatory-client-cert")
      case .serverName: CommandLineOption(nil, "sni")
      case .mandatoryServerName: CommandLineOption(nil, "mandatory-sni")
      case .serverNameLevel: CommandLineOption("k", "sni-level", takesValue: true)
      case .profile: CommandLineOption(nil, "tls-profile", takesValue: true)
      case .groups: CommandLineOption(nil, "tls-groups", takesValue: true)
      case .handshakeTimeout: CommandLineOption("K", "handshake-timeout", takesValue: true)
      case .sessionTimeout: CommandLineOption("T", "session-timeout", takesValue: true)
      case .endTimeout: CommandLineOption(nil, "end-timeout", takesValue: true)
      case .verbosity: CommandLineOption("v", "verbosity", takesValue: true)
      }
    }
  }

  /// Applies an option.
  public mutating func accept(_ option: Option, _ value: String) throws(CommandLineError) {
    switch option {
    case .closeNotify: sendsCloseNotify = true
    case .noCloseNotify: sendsCloseNotify = false
    case .enforceCloseNotify: requiresCloseNotify = true
    case .noEnforceCloseNotify: requiresCloseNotify = false
    case .clientCertificate: clientCertificate = .optional
    case .mandatoryClientCertificate: clientCertificate = .required
    case .serverName: serverNameLevel = 1
    case .mandatoryServerName: serverNameLevel = 2
    case .serverNameLevel: serverNameLevel = try option.number(value)
    case .profile:
      guard let named = TLSProfile(value) else {
        throw CommandLineError("--tls-profile must be modern, compatible, or priority= and a GnuTLS priority string")
      }
      profile = named
    case .groups: groupNames = value.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
    case .handshakeTimeout: handshakeTimeoutMilliseconds = try option.number(value)
    case .sessionTimeout: sessionTimeoutMilliseconds = try option.number(value)
    case .endTimeout: endTimeoutMilliseconds = try option.number(value)
    case .verbosity: verbosity = try option.number(value)
    }
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
    if profile != .compatible { words += ["--tls-profile", "\(profile)"] }
    if let groupNames { words += ["--tls-groups", groupNames.joined(separator: ",")] }
    if let handshakeTimeoutMilliseconds { words += ["-K", "\(handshakeTimeoutMilliseconds)"] }
    if let sessionTimeoutMilliseconds { words += ["-T", "\(sessionTimeoutMilliseconds)"] }
    if let endTimeoutMilliseconds { words += ["--end-timeout", "\(endTimeoutMilliseconds)"] }
    if verbosity != 1 { words += ["-v", "\(verbosity)"] }
    return words
  }
}
