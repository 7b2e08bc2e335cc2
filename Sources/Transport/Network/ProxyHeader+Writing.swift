// The octets of a PROXY header, for a server that accepts one.
//
// Version 2 also has the negotiated parameters of TLS and the session's identifier. A text that is too long for its field is
// left out: it is information, and the server must not get a part of a name.

extension ProxyHeader {
  /// The versions of the protocol.
  package enum Version: Sendable {
    /// One line of text, without TLS parameters.
    case one
    /// Binary.
    case two
  }

  /// The types of the fields of version 2.
  private enum Field: UInt8 {
    case serverName = 0x02
    case identifier = 0x05
    case tls = 0x20
    case tlsVersion = 0x21
    case commonName = 0x22
    case tlsCipher = 0x23
  }

  /// A session's identifier has at most 128 octets in a header.
  private static let identifierLimit = 128

  /// The header of a client's connection; nil without addresses of one IP family. A server that gets no address would take the
  /// client for the sender of the header, so no such header is made.
  ///
  /// - Parameters:
  ///   - tls: the negotiated parameters, if the client uses TLS.
  ///   - identifier: the session's identifier in the log.
  package func octets(_ version: Version, tls: TLSFacts?, identifier: String) -> [UInt8]? {
    guard let source = source?.unmapped, let sourcePort = source.port else { return nil }
    // An address of the other family, or none, is replaced by one without meaning.
    switch (source, destination?.unmapped) {
    case (.ipv4(let octets, _), .ipv4(let other, let port)):
      return header(version, "TCP4", 0x11, octets.octets, sourcePort, other.octets, port, tls, identifier)
    case (.ipv4(let octets, _), _):
      return header(version, "TCP4", 0x11, octets.octets, sourcePort, [0, 0, 0, 0], 0, tls, identifier)
    case (.ipv6(let octets, _, _), .ipv6(let other, let port, _)):
      return header(version, "TCP6", 0x21, octets.octets, sourcePort, other.octets, port, tls, identifier)
    case (.ipv6(let octets, _, _), _):
      return header(version, "TCP6", 0x21, octets.octets, sourcePort, [UInt8](repeating: 0, count: 16), 0, tls, identifier)
    case (.unix, _): return nil
    }
  }

  private func header(
    _ version: Version, _ name: String, _ family: UInt8, _ source: [UInt8], _ sourcePort: UInt16, _ destination: [UInt8],
    _ destinationPort: UInt16, _ tls: TLSFacts?, _ identifier: String
  ) -> [UInt8] {
    if version == .one {
      let hosts = [source, destination].map(ProxyHeader.host).joined(separator: " ")
      return Array("PROXY \(name) \(hosts) \(sourcePort) \(destinationPort)\r\n".utf8)
    }
    var body = source + destination + ProxyHeader.pair(sourcePort) + ProxyHeader.pair(destinationPort)
    if identifier.utf8.count <= ProxyHeader.identifierLimit { ProxyHeader.append(.identifier, Array(identifier.utf8), to: &body) }
    if let tls { ProxyHeader.append(tls, to: &body) }
    return ProxyHeader.signature + [0x21, family] + ProxyHeader.pair(UInt16(body.count)) + body
  }

  private static func host(_ octets: [UInt8]) -> String {
    if octets.count == 4 { return SocketAddress.ipv4(SIMD4(octets), port: 0).host }
    return SocketAddress.ipv6(SIMD16(octets), port: 0, scope: 0).host
  }

  private static func append(_ tls: TLSFacts, to body: inout [UInt8]) {
    if let name = tls.serverName { append(.serverName, Array(name.utf8), to: &body) }
    var field = client(tls.client?.verdict ?? TLSClientFacts.Verdict.none)
    append(.tlsVersion, Array(tls.version.utf8), to: &field)
    if let name = tls.client?.commonName { append(.commonName, Array(name.utf8), to: &field) }
    append(.tlsCipher, Array(tls.cipher.utf8), to: &field)
    append(.tls, field, to: &body)
  }

  /// The client used TLS (1), showed a certificate in this connection (2) and in this session (4); then, in four octets, 0 if
  /// it was verified.
  private static func client(_ verdict: TLSClientFacts.Verdict) -> [UInt8] {
    switch verdict {
    case .none: [0x01, 0, 0, 0, 1]
    case .failed: [0x07, 0, 0, 0, 1]
    case .verified: [0x07, 0, 0, 0, 0]
    }
  }

  private static func append(_ field: Field, _ value: [UInt8], to body: inout [UInt8]) {
    guard !value.isEmpty, value.count <= 512 else { return }
    body += [field.rawValue] + pair(UInt16(value.count)) + value
  }

  private static func pair(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 0xFF)] }
}

extension SIMD where Scalar == UInt8 {
  fileprivate var octets: [UInt8] { indices.map { self[$0] } }
}
