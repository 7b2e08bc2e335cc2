// Connection: what the environment, and where it is silent the socket, says about the client's connection.
//
// UCSPI servers set TCPREMOTEIP and TCPREMOTEPORT. inetd sets nothing: there the socket's other end is the client. UCSPI-TLS helpers and front ends that take TLS off set SSL_PROTOCOL
// and SSL_CIPHER. All of it is optional, and all of it is made harmless here, since it ends up in a header line.

public import Transport

/// The client's address and the protection of its connection.
public struct Connection: Hashable, Sendable {
  /// The client's IP address; nil if nobody told.
  public let remoteAddress: String?
  /// The client's port; nil if nobody told.
  public let remotePort: String?
  /// The TLS version, for example `TLSv1.3`; nil if the connection came in clear.
  public let tlsVersion: String?
  /// The TLS cipher suite; nil if nobody told.
  public let tlsCipher: String?

  /// - Parameters:
  ///   - peer: answers the address at the other end of the socket, nil if there is none. Not asked where TCPREMOTEIP is
  ///     set: the socket may come from a relay.
  ///   - variable: looks a variable of the environment up; nil if it is not set.
  public init(peer: () -> SocketAddress? = { nil }, variable: (String) -> String?) {
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
  }

  /// Whether the client spoke TLS.
  public var isSecured: Bool { tlsVersion != nil || tlsCipher != nil }

  /// The address and port for a log line.
  var peer: String {
    guard let remoteAddress else { return "unknown" }
    guard let remotePort else { return remoteAddress }
    return remoteAddress.utf8.contains(UInt8(ascii: ":"))
      ? "[\(remoteAddress)]:\(remotePort)" : "\(remoteAddress):\(remotePort)"
  }
}
