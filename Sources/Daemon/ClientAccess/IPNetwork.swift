// IPNetwork: an IPv4 or IPv6 network in CIDR notation, and a table that finds the smallest network of an address.
//
// IPv4-mapped IPv6 addresses are IPv4 addresses here. A text that is not a network is a `NetworkError`.

package import Transport

/// A text that is not a network. The description is for the operator.
package struct NetworkError: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
}

/// A network: a family, and the first `length` bits of its addresses.
package struct IPNetwork: Hashable, Sendable {
  let isIPv4: Bool
  let length: Int
  /// From the most significant bit on; all bits after the prefix are 0.
  private let bits: UInt128

  /// The network of an address with a prefix of this length, at most the length of the address; nil for a Unix socket.
  package init?(of address: SocketAddress, length: Int = 128) {
    switch address.unmapped {
    case .ipv4(let octets, _):
      var value: UInt128 = 0
      for index in 0..<4 { value = value << 8 | UInt128(octets[index]) }
      self.init(isIPv4: true, bits: value << 96, length: min(length, 32))
    case .ipv6(let octets, _, _):
      var value: UInt128 = 0
      for index in 0..<16 { value = value << 8 | UInt128(octets[index]) }
      self.init(isIPv4: false, bits: value, length: min(length, 128))
    case .unix:
      return nil
    }
  }

  init(isIPv4: Bool, bits: UInt128, length: Int) {
    self.isIPv4 = isIPv4
    self.length = length
    self.bits = bits & IPNetwork.mask(length)
  }

  private static func mask(_ length: Int) -> UInt128 { length == 0 ? 0 : UInt128.max << (128 - length) }

  /// Parses `192.0.2.0/24`, `2001:db8::/32`, or one address, which is the network of that address alone.
  package init(parsing text: String) throws(NetworkError) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard !text.contains("%"), let address = SocketAddress(numeric: String(parts[0]), port: 0),
      let single = IPNetwork(of: address)
    else { throw NetworkError(description: "'\(text)': expected a network such as 192.0.2.0/24 or 2001:db8::/32") }
    guard parts.count == 2 else {
      self = single
      return
    }
    // A mapped address counts 96 bits more than its IPv4 address.
    let isMapped = single.isIPv4 && parts[0].contains(":")
    guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(parts[1]),
      case let length = isMapped ? number - 96 : number, (0...single.length).contains(length)
    else { throw NetworkError(description: "'\(text)': expected a prefix length from 0 to \(isMapped ? 128 : single.length)") }
    self.init(isIPv4: single.isIPv4, bits: single.bits, length: length)
    guard bits == single.bits else {
      throw NetworkError(description: "'\(text)': bits are set after the prefix of \(number) bits")
    }
  }

  /// True if the address belongs to the network.
  package func contains(_ address: SocketAddress) -> Bool { IPNetwork(of: address, length: length) == self }

  /// The first `length` bits of the same address.
  func prefix(_ length: Int) -> IPNetwork { IPNetwork(isIPv4: isIPv4, bits: bits, length: min(length, self.length)) }

  /// The first 64 bits: all of an IPv4 address, the network of an IPv6 address.
  var firstHalf: UInt64 { UInt64(truncatingIfNeeded: bits >> 64) }
}

/// Values of networks. A look-up takes one step for each prefix length that occurs, at most 129.
package struct NetworkTable<Value: Sendable>: Sendable {
  private var values: [IPNetwork: Value] = [:]
  /// The prefix lengths that occur, the longest first.
  private var lengths: (ipv4: [Int], ipv6: [Int]) = ([], [])

  package init() {}

  /// Adds a network; the first value of a network stays.
  package mutating func add(_ network: IPNetwork, _ value: Value) {
    guard values[network] == nil else { return }
    values[network] = value
    if network.isIPv4 {
      NetworkTable.add(network.length, to: &lengths.ipv4)
    } else {
      NetworkTable.add(network.length, to: &lengths.ipv6)
    }
  }

  private static func add(_ length: Int, to lengths: inout [Int]) {
    guard let place = lengths.firstIndex(where: { $0 <= length }) else { return lengths.append(length) }
    if lengths[place] != length { lengths.insert(length, at: place) }
  }

  /// The value of the smallest network that contains the address.
  package func smallest(containing address: SocketAddress) -> Value? {
    guard !values.isEmpty, let single = IPNetwork(of: address) else { return nil }
    for length in single.isIPv4 ? lengths.ipv4 : lengths.ipv6 {
      if let value = values[single.prefix(length)] { return value }
    }
    return nil
  }
}
