// Connection: the facts about the client's connection, from the environment and otherwise from the socket.
//
// UCSPI servers set TCPREMOTEIP and TCPREMOTEPORT. inetd sets nothing: then the peer of the socket is the client.
// UCSPI-TLS helpers and front ends that terminate TLS set SSL_PROTOCOL and SSL_CIPHER. All of it is optional. All of it
// is sanitised here, because it is written to a header line.

package import Transport

/// The client's address and the protection of its connection.
public struct Connection: Hashable, Sendable {
  /// The client's IP address; nil if unknown.
  public let remoteAddress: String?
  /// The client's port; nil if unknown.
  public let remotePort: String?
  /// The TLS version, for example `TLSv1.3`; nil if the connection is in clear.
  public let tlsVersion: String?
  /// The TLS cipher suite; nil if unknown.
  public let tlsCipher: String?

  /// The front end's identifier of the session, `STARTTLSD_SESSION`: letters and digits; nil if there is none.
  public let session: String?

  /// - Parameters:
  ///   - peer: returns the address of the socket's peer, nil if there is none. Not called if TCPREMOTEIP is set,
  ///     because the socket may come from a relay.
  ///   - variable: returns an environment variable; nil if it is not set.
  package init(peer: () -> SocketAddress? = { nil }, variable: (String) -> String?) {
    func text(_ name: String) -> String? {
      guard let value = variable(name), !value.isEmpty else { return nil }
      return PlainText.token(value.utf8)
    }
    if let address = text("TCPREMOTEIP") {
      self.remoteAddress = address
      self.remotePort = text("TCPREMOTEPORT")
    } else {
      let peer = peer()
      self.remoteAddress = peer.map { PlainText.token($0.host.utf8) }
      self.remotePort = peer?.port.map { "\($0)" }
    }
    self.tlsVersion = text("SSL_PROTOCOL")
    self.tlsCipher = text("SSL_CIPHER")
    let session = variable("STARTTLSD_SESSION") ?? ""
    let isName = (1...32).contains(session.utf8.count) && session.utf8.allSatisfy { $0.isLetter || $0.isDigit }
    self.session = isName ? session : nil
  }

  /// True if the client uses TLS.
  public var isSecured: Bool { tlsVersion != nil || tlsCipher != nil }

  /// The address and port for a log line.
  var peer: String {
    guard let remoteAddress else { return "unknown" }
    guard let remotePort else { return remoteAddress }
    return remoteAddress.utf8.contains(UInt8(ascii: ":"))
      ? "[\(remoteAddress)]:\(remotePort)" : "\(remoteAddress):\(remotePort)"
  }
}
