// ProxyHeader: the PROXY protocol, with which a front names the client at the start of a connection.
//
// Version 1 is one line of text, version 2 is binary (HAProxy's specification, proxy-protocol.txt, revision 2020/03/05).
// A value without input and output. The reader is total: it looks at the octets as they arrive, never beyond the header, and
// says how many octets the header has, so that the caller can take exactly these.
//
// A header is only as trustworthy as its sender: accept it from named networks only.

/// What a header says about the client's connection.
package struct ProxyHeader: Hashable, Sendable {
  /// The client's address; nil if the header is about the front's own connection (LOCAL, such as a health check), or does not
  /// name the client (UNKNOWN).
  package var source: SocketAddress?
  /// The address that the client connected to; nil like the source.
  package var destination: SocketAddress?

  package init(source: SocketAddress?, destination: SocketAddress?) {
    self.source = source
    self.destination = destination
  }

  /// The result of reading.
  package enum Reading: Hashable, Sendable {
    /// So far it is the start of a header; more octets are needed.
    case incomplete
    /// A header, and how many octets it has.
    case complete(ProxyHeader, count: Int)
    /// No header. The text says why.
    case invalid(String)
  }

  /// The maximum length of a header of version 1, with its CRLF.
  package static let lineLimit = 107
  /// The maximum length of a header that is accepted. Version 2 allows 65,551; real ones with certificates have some hundred.
  package static let limit = 4_096

  static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
  private static let word = Array("PROXY ".utf8)

  /// Reads a header from the first octets of a connection.
  package static func read(_ octets: ArraySlice<UInt8>) -> Reading {
    if starts(octets, signature) { return readBinary(octets) }
    if starts(octets, word) { return readLine(octets) }
    return .invalid("it does not begin with a PROXY header")
  }

  /// True if the octets and the beginning agree as far as both go.
  private static func starts(_ octets: ArraySlice<UInt8>, _ beginning: [UInt8]) -> Bool {
    octets.prefix(beginning.count).elementsEqual(beginning.prefix(octets.count))
  }

  // MARK: Version 1

  private static func readLine(_ octets: ArraySlice<UInt8>) -> Reading {
    let line = octets.prefix(lineLimit)
    guard let end = line.firstIndex(of: 0x0A) else {
      return line.count < lineLimit ? .incomplete : .invalid("the line of its PROXY header is longer than \(lineLimit) octets")
    }
    guard end > line.startIndex, line[end - 1] == 0x0D else { return .invalid("the line of its PROXY header does not end with CRLF") }
    let count = end + 1 - line.startIndex
    let text = String(decoding: line[..<(end - 1)].dropFirst(word.count), as: UTF8.self)
    let fields = text.split(separator: " ", omittingEmptySubsequences: false)
    // What follows UNKNOWN is to be ignored.
    if fields.first == "UNKNOWN" { return .complete(ProxyHeader(source: nil, destination: nil), count: count) }
    guard fields.count == 5, let isIPv4 = ["TCP4": true, "TCP6": false][fields[0]],
      let source = address(fields[1], fields[3], isIPv4), let destination = address(fields[2], fields[4], isIPv4)
    else { return .invalid("the line of its PROXY header is malformed") }
    return .complete(ProxyHeader(source: source, destination: destination), count: count)
  }

  private static func address(_ host: Substring, _ port: Substring, _ isIPv4: Bool) -> SocketAddress? {
    guard let octet = port.utf8.first, (0x30...0x39).contains(octet), port.utf8.count == 1 || octet != 0x30, let number = UInt16(port),
      !host.contains("%"), let address = SocketAddress(numeric: String(host), port: number)
    else { return nil }
    switch address {
    case .ipv4: return isIPv4 ? address : nil
    case .ipv6: return isIPv4 ? nil : address
    case .unix: return nil
    }
  }

  // MARK: Version 2

  private static func readBinary(_ octets: ArraySlice<UInt8>) -> Reading {
    guard octets.count >= 16 else { return .incomplete }
    let start = octets.startIndex
    let length = Int(octets[start + 14]) << 8 | Int(octets[start + 15])
    guard octets[start + 12] >> 4 == 2 else { return .invalid("its PROXY header has an unknown version") }
    guard 16 + length <= limit else { return .invalid("its PROXY header is longer than \(limit) octets") }
    let command = octets[start + 12] & 0x0F
    guard command <= 1 else { return .invalid("its PROXY header has an unknown command") }
    guard octets.count >= 16 + length else { return .incomplete }
    let count = 16 + length
    let own = Reading.complete(ProxyHeader(source: nil, destination: nil), count: count)
    guard command == 1 else { return own }
    let body = octets[(start + 16)..<(start + count)]
    switch octets[start + 13] {
    case 0x11:
      guard length >= 12 else { return .invalid("the addresses of its PROXY header are incomplete") }
      return .complete(
        ProxyHeader(source: ipv4(body, 0, port: 8), destination: ipv4(body, 4, port: 10)), count: count)
    case 0x21:
      guard length >= 36 else { return .invalid("the addresses of its PROXY header are incomplete") }
      return .complete(
        ProxyHeader(source: ipv6(body, 0, port: 32), destination: ipv6(body, 16, port: 34)), count: count)
    // UNSPEC, and Unix sockets: the client has no address that could be used.
    case 0x00, 0x31: return own
    default: return .invalid("its PROXY header is not for TCP")
    }
  }

  private static func ipv4(_ body: ArraySlice<UInt8>, _ offset: Int, port: Int) -> SocketAddress {
    var octets = SIMD4<UInt8>()
    for index in 0..<4 { octets[index] = body[body.startIndex + offset + index] }
    return .ipv4(octets, port: number(body, port))
  }

  private static func ipv6(_ body: ArraySlice<UInt8>, _ offset: Int, port: Int) -> SocketAddress {
    var octets = SIMD16<UInt8>()
    for index in 0..<16 { octets[index] = body[body.startIndex + offset + index] }
    return .ipv6(octets, port: number(body, port), scope: 0)
  }

  private static func number(_ body: ArraySlice<UInt8>, _ offset: Int) -> UInt16 {
    UInt16(body[body.startIndex + offset]) << 8 | UInt16(body[body.startIndex + offset + 1])
  }
}
