// AccessRules: the rules of a file, and the look-up of a client's rule, in the order of tcpserver(1) and of its IPv6
// versions:
//
//   1. the address
//   2. its text, shortened to prefixes that end with a dot or, for IPv6, with a colon; the longest first
//   3. networks in CIDR notation, the smallest first
//   4. the empty address
//
// Rules for host names (=host) and for TCPREMOTEINFO (info@address) are never used, because no name is looked up. Their
// number is reported.

package import Transport

package struct AccessRules: Sendable {
  private var addresses: [IPNetwork: AccessRule] = [:]
  private var prefixes: [[UInt8]: AccessRule] = [:]
  private var networks = NetworkTable<AccessRule>()
  private var general: AccessRule?

  /// The number of rules; a range counts as the addresses that it stands for.
  package private(set) var count = 0
  /// The rules that match no client: how many, and the first of them.
  package private(set) var unused: (count: Int, first: String)?

  /// All variables that rules set, as `NAME=value`.
  package private(set) var settings: Set<[UInt8]> = []

  init() {}

  /// The rule of a client; nil if there is none, which means that it is allowed.
  package func rule(for client: SocketAddress) -> AccessRule? {
    if let single = IPNetwork(of: client) {
      if let rule = addresses[single] { return rule }
      if !prefixes.isEmpty {
        // Without the scope of a link-local address.
        var text = Array(client.host.utf8.prefix { $0 != UInt8(ascii: "%") })
        while let last = text.last {
          if AccessRules.endsPrefix(last), let rule = prefixes[text] { return rule }
          text.removeLast()
        }
      }
      if let rule = networks.smallest(containing: client) { return rule }
    }
    return general
  }

  /// True if the rule for all other clients sets this variable.
  package func isSetForEveryone(_ name: String) -> Bool {
    general?.isAllowed == true && general?.variables.contains { $0.hasPrefix(name + "=") } == true
  }

  private static func endsPrefix(_ octet: UInt8) -> Bool { octet == UInt8(ascii: ".") || octet == UInt8(ascii: ":") }

  /// Adds the rule of an address as tcprules writes it to a cdb file. The first rule of an address stays, as in cdb(3).
  mutating func add(_ key: ArraySlice<UInt8>, _ rule: AccessRule) {
    count += 1
    noteSettings(rule)
    guard let last = key.last else {
      general = general ?? rule
      return
    }
    guard AccessRules.canMatch(key) else {
      unused = (1 + (unused?.count ?? 0), unused?.first ?? String(decoding: key, as: UTF8.self))
      return
    }
    if AccessRules.endsPrefix(last), prefixes[Array(key)] == nil { prefixes[Array(key)] = rule }
    if let network = AccessRules.bits(key) {
      networks.add(network, rule)
    } else if let network = AccessRules.address(key) {
      addresses[network] = addresses[network] ?? rule
    }
  }

  /// True if some client can have this address.
  static func canMatch(_ key: ArraySlice<UInt8>) -> Bool {
    guard let last = key.last else { return true }
    return AccessRules.endsPrefix(last) && isPrefix(key) || bits(key) != nil || address(key) != nil
  }

  /// True if the text of some address begins so: one to three numbers up to 255, each with a dot; or groups of IPv6 as
  /// inet_ntop(3) writes them, each with a colon. A number that is written in another way would match no client.
  private static func isPrefix(_ key: ArraySlice<UInt8>) -> Bool {
    let isIPv4 = key.last == UInt8(ascii: ".")
    let groups = key.dropLast().split(separator: key.last ?? 0, omittingEmptySubsequences: false)
    // `::` leaves an empty group, and at the start of a text two of them.
    let empty = groups.count { $0.isEmpty }
    guard groups.count <= (isIPv4 ? 3 : 8), empty == 0 || !isIPv4 && (empty == 1 || empty == 2 && groups.first?.isEmpty == true)
    else { return false }
    return groups.allSatisfy { group in
      if group.isEmpty { return true }
      guard group.count <= (isIPv4 ? 3 : 4), group.first != UInt8(ascii: "0") || group.count == 1 else { return false }
      let digits = group.allSatisfy { (0x30...0x39).contains($0) || !isIPv4 && (0x61...0x66).contains($0) }
      return digits && (!isIPv4 || group.reduce(0) { $0 * 10 + Int($1) - 0x30 } <= 255)
    }
  }

  private static func address(_ key: ArraySlice<UInt8>) -> IPNetwork? {
    guard key.contains(UInt8(ascii: ":")) else { return ipv4(key) }
    return key.contains(UInt8(ascii: "/")) ? nil : try? IPNetwork(parsing: String(decoding: key, as: UTF8.self))
  }

  /// An IPv4 address, as inet_pton(3) accepts it. Large files consist of such rules, so this makes no string.
  private static func ipv4(_ key: ArraySlice<UInt8>) -> IPNetwork? {
    var value: UInt128 = 0
    var parts = 0
    var part: Int?
    for octet in key {
      if octet == UInt8(ascii: ".") {
        guard let number = part, parts < 3 else { return nil }
        (value, parts, part) = (value << 8 | UInt128(number), parts + 1, nil)
      } else {
        guard (0x30...0x39).contains(octet), part != 0, case let number = (part ?? 0) * 10 + Int(octet - 0x30), number <= 255
        else { return nil }
        part = number
      }
    }
    guard let number = part, parts == 3 else { return nil }
    return IPNetwork(isIPv4: true, bits: (value << 8 | UInt128(number)) << 96, length: 32)
  }

  /// Adds the rule of a network.
  mutating func add(_ network: IPNetwork, _ rule: AccessRule) {
    count += 1
    noteSettings(rule)
    networks.add(network, rule)
  }

  private mutating func noteSettings(_ rule: AccessRule) {
    for variable in rule.variables { settings.insert(Array(variable.utf8)) }
  }

  /// The network of a key as the tcprules of ucspi-tcp6 writes it: `_` (IPv4) or `^` (IPv6), and the bits as digits.
  private static func bits(_ key: ArraySlice<UInt8>) -> IPNetwork? {
    let isIPv4 = key.first == UInt8(ascii: "_")
    guard isIPv4 || key.first == UInt8(ascii: "^"), key.count - 1 <= (isIPv4 ? 32 : 128) else { return nil }
    var value: UInt128 = 0
    for digit in key.dropFirst() {
      guard digit == UInt8(ascii: "0") || digit == UInt8(ascii: "1") else { return nil }
      value = value << 1 | UInt128(digit - UInt8(ascii: "0"))
    }
    let length = key.count - 1
    return IPNetwork(isIPv4: isIPv4, bits: length == 0 ? 0 : value << (128 - length), length: length)
  }
}
