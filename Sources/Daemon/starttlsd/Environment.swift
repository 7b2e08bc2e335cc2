// Environment: what a backend program finds there, in the words of UCSPI.
//
// A backend must never believe a word about TLS that is not true: all such variables of ours are removed, and set anew
// only behind a handshake.

import Glibc
import Transport

enum Environment {
  /// This process's environment as a backend may see it.
  static func inherited() -> [String] {
    var strings: [String] = []
    var entry = environ
    while let string = entry.pointee {
      strings.append(String(cString: string))
      entry += 1
    }
    return strings.filter { !isOurs($0.prefix { $0 != "=" }) }
  }

  /// Names that say something about TLS, its keys, or the connection.
  private static func isOurs(_ name: Substring) -> Bool {
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
