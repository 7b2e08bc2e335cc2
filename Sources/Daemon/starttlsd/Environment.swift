// Environment: the environment of a backend program, with the variable names of UCSPI.
//
// It is built from an empty environment. The daemon's own environment may hold secrets, and variables such as
// RELAYCLIENT that make a server an open relay. So only the usual variables are taken from it, and those that the
// operator names. A backend must never get a wrong variable about TLS or the connection: those names are rejected.

import Glibc
import Transport

enum Environment {
  /// The variables that every program gets, if the daemon has them.
  private static let usual = ["PATH", "LANG", "TZ"]

  /// The part of a backend's environment that is the same for every session.
  ///
  /// - Parameter names: variables that the operator wants passed on. A variable that is not set is skipped.
  static func backend(_ names: [String]) throws(ConfigurationError) -> [String] {
    for name in names {
      guard !name.isEmpty, !name.contains("="), !name.utf8.contains(0) else {
        throw .usage("--backend-environment \(name): give the name of a variable, without a value")
      }
      guard !isOfSession(name[...]) else {
        throw .usage("--backend-environment \(name): only a session may set it, because it describes TLS, the connection or the service manager")
      }
    }
    var strings: [String] = []
    for name in usual + names where !strings.contains(where: { $0.hasPrefix(name + "=") }) {
      if let value = ProcessEnvironment.value(name) { strings.append("\(name)=\(value)") }
    }
    return strings
  }

  /// True for names that an access rule must not set. TCPLOCALHOST is the operator's choice: it names this host, and the
  /// daemon does not set it.
  static func isReservedInRules(_ name: Substring) -> Bool { name != "TCPLOCALHOST" && isOfSession(name) }

  /// The environment with variables of an access rule, which replace those of the same name.
  static func adding(_ variables: [String], to environment: [String]) -> [String] {
    environment.filter { old in !variables.contains { haveOneName(old, $0) } } + variables
  }

  /// True if the octets before `=` are the same. Octets, since a combining mark after `=` would make one character of the two.
  private static func haveOneName(_ one: String, _ other: String) -> Bool {
    let end = UInt8(ascii: "=")
    return one.utf8.prefix { $0 != end }.elementsEqual(other.utf8.prefix { $0 != end })
  }

  /// True for names that describe TLS, its keys or the connection, and for those that a service manager sets for this process
  /// alone: a program that answers them would answer for the daemon.
  private static func isOfSession(_ name: Substring) -> Bool {
    switch name {
    case "UCSPITLS", "CERTFILE", "KEYFILE", "CADIR", "CAFILE", "CRLFILE", "OCSPFILE", "PROTO", "NOTIFY_SOCKET", "STARTTLSD_SESSION": return true
    default: break
    }
    let prefixes = ["SSL_", "TLS_", "TCPREMOTE", "TCPLOCAL", "CERTFILE:", "KEYFILE:", "OCSPFILE:", "LISTEN_", "WATCHDOG_"]
    if prefixes.contains(where: name.hasPrefix) { return true }
    return name.hasPrefix("SSL") && name.hasSuffix("FD")
  }

  /// The variables of the connection and of TLS, see `connection` and `tls`.
  private static let ofSession = Set(
    [
      "PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT", "STARTTLSD_SESSION", "SSL_PROTOCOL", "SSL_CIPHER",
      "SSL_CIPHER_USEKEYSIZE", "SSL_CIPHER_ALGKEYSIZE", "SSL_SESSION_RESUMED", "SSL_TLS_SNI", "SSL_TLS_SNI_SERVERNAME",
      "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "SSL_CLIENT_S_DN_CN", "SSL_CLIENT_S_DN_Email", "SSL_CLIENT_I_DN",
      "SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT",
    ].map { Array($0.utf8) })

  /// The variables of a session in the form of the starter: each ended by NUL. nil if one of them is neither a variable of the
  /// connection nor one of an access rule.
  static func session(_ octets: [UInt8], rules: RuleVariables) -> [String]? {
    guard octets.isEmpty || octets.last == 0 else { return nil }
    let variables = octets.split(separator: 0, omittingEmptySubsequences: false).dropLast().map(Array.init)
    let isKnown = variables.allSatisfy { variable in
      if rules.contain(variable) { return true }
      guard let end = variable.firstIndex(of: UInt8(ascii: "=")) else { return false }
      return ofSession.contains(Array(variable[..<end]))
    }
    return isKnown ? variables.map { String(decoding: $0, as: UTF8.self) } : nil
  }

  /// The variables of the connection, as for a TCP server, and the session's identifier in the log.
  static func connection(peer: SocketAddress, local: SocketAddress?, _ session: String) -> [String] {
    var strings = ["STARTTLSD_SESSION=\(session)"]
    // The address of a client of a Unix socket is a name that the client chose, if it has one: it must not pass for an IP address.
    if case .unix = peer { return ["PROTO=UNIX"] + strings }
    strings += ["PROTO=TCP", "TCPREMOTEIP=\(peer.host)"]
    if let port = peer.port { strings.append("TCPREMOTEPORT=\(port)") }
    if let local {
      strings.append("TCPLOCALIP=\(local.host)")
      if let port = local.port { strings.append("TCPLOCALPORT=\(port)") }
    }
    return strings
  }

  /// The variables of a connection whose client the program is not to know (--backend-client none).
  static let unnamed = ["PROTO=TCP"]

  /// The negotiated parameters, with the variable names of mod_ssl, which s/qmail reads as well, and of s6-tlsd-io.
  ///
  /// Nothing of a certificate that is not valid: s/qmail lets a client relay for which SSL_CLIENT_S_DN is set.
  static func tls(_ facts: TLSFacts) -> [String] {
    var variables: [(String, String?)] = [("SSL_PROTOCOL", facts.version), ("SSL_CIPHER", facts.cipher)]
    let bits = facts.cipherBits.map { "\($0)" }
    variables += [("SSL_CIPHER_USEKEYSIZE", bits), ("SSL_CIPHER_ALGKEYSIZE", bits)]
    variables.append(("SSL_SESSION_RESUMED", facts.isResumed ? "Resumed" : "Initial"))
    variables += [("SSL_TLS_SNI", facts.serverName), ("SSL_TLS_SNI_SERVERNAME", facts.serverName)]
    switch facts.client?.verdict {
    case nil, .some(.none): variables.append(("SSL_CLIENT_VERIFY", "NONE"))
    case .failed(let reason): variables.append(("SSL_CLIENT_VERIFY", "FAILED:\(reason)"))
    case .verified:
      let client = facts.client
      variables += [
        ("SSL_CLIENT_VERIFY", "SUCCESS"), ("SSL_CLIENT_S_DN", client?.subject), ("SSL_CLIENT_S_DN_CN", client?.commonName),
        ("SSL_CLIENT_S_DN_Email", client?.mailAddress), ("SSL_CLIENT_I_DN", client?.issuer),
        ("SSL_PEER_CERT_HASH", client?.digest.map { "SHA256:\($0)" }), ("SSL_PEER_CERT_SUBJECT", client?.subject),
      ]
    }
    return variables.compactMap { name, value in value.map { "\(name)=\($0)" } }
  }
}
