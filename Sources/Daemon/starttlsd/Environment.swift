// Environment: what a backend program finds there, in the words of UCSPI.
//
// It is built from nothing. The daemon's own environment may hold secrets, and switches such as RELAYCLIENT that make an
// open relay of a server; so only what every program needs is taken from it, and what the operator names. A backend must
// never believe a word about TLS or the connection that is not true: those variables cannot be named.

import Glibc
import Transport

enum Environment {
  /// What every program gets, where the daemon has it.
  private static let usual = ["PATH", "LANG", "TZ"]

  /// The part of a backend's environment that is the same for every session.
  ///
  /// - Parameter names: variables that the operator wants passed on. One that is not set is passed over.
  static func backend(_ names: [String]) throws(ConfigurationError) -> [String] {
    for name in names {
      guard !name.isEmpty, !name.contains("="), !name.utf8.contains(0) else {
        throw .usage("--backend-environment \(name): give the name of a variable, without a value")
      }
      guard !isOfSession(name[...]) else {
        throw .usage("--backend-environment \(name): only a session may set it, since it speaks of TLS or the connection")
      }
    }
    var strings: [String] = []
    for name in usual + names where !strings.contains(where: { $0.hasPrefix(name + "=") }) {
      if let value = ProcessEnvironment.value(name) { strings.append("\(name)=\(value)") }
    }
    return strings
  }

  /// Names that say something about TLS, its keys, or the connection.
  private static func isOfSession(_ name: Substring) -> Bool {
    switch name {
    case "UCSPITLS", "CERTFILE", "KEYFILE", "CADIR", "CAFILE", "PROTO": return true
    default: break
    }
    let prefixes = ["SSL_", "TLS_", "TCPREMOTE", "TCPLOCAL", "CERTFILE:", "KEYFILE:"]
    if prefixes.contains(where: name.hasPrefix) { return true }
    return name.hasPrefix("SSL") && name.hasSuffix("FD")
  }

  /// The connection, for a TCP server.
  static func connection(peer: SocketAddress, local: SocketAddress?) -> [String] {
    var strings = ["PROTO=TCP", "TCPREMOTEIP=\(peer.host)"]
    if let port = peer.port { strings.append("TCPREMOTEPORT=\(port)") }
    if let local {
      strings.append("TCPLOCALIP=\(local.host)")
      if let port = local.port { strings.append("TCPLOCALPORT=\(port)") }
    }
    return strings
  }

  /// What was negotiated, by the names that mod_ssl made usual.
  static func tls(_ facts: TLSFacts) -> [String] {
    var strings = ["SSL_PROTOCOL=\(facts.version)", "SSL_CIPHER=\(facts.cipher)"]
    if let name = facts.serverName { strings.append("SSL_TLS_SNI_SERVERNAME=\(name)") }
    return strings
  }
}
