// Reading rules: a cdb file, or the text that is the input of tcprules(1), with networks in CIDR notation.
//
//   # comment
//   192.0.2.7:deny
//   192.0.2.:allow,RELAYCLIENT=""
//   10.1-3.:deny                      a range, as tcprules expands it
//   2001:db8::/32:allow,RELAYCLIENT=""
//   :allow
//
// Unlike tcprules, a line without ':' is an error, and so is an address that can match no client: a rule that denies
// somebody must not be without effect. Failure: an `AccessRulesError` that names the file and the line.

/// Rules that cannot be read. The description is one line for the operator.
package struct AccessRulesError: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
}

extension AccessRules {
  /// A range adds up to 256 rules, so that the number of lines is no limit of the memory.
  private static let countLimit = 1_000_000

  /// Reads the content of a file.
  ///
  /// - Parameters:
  ///   - octets: the content.
  ///   - name: the name of the file, for errors.
  ///   - isReserved: true for a name of a variable that no rule may set.
  package init(_ octets: [UInt8], name: String, isReserved: @escaping (Substring) -> Bool) throws(AccessRulesError) {
    self.init()
    if ConstantDatabase.isLikely(octets) {
      try readDatabase(octets, name, isReserved)
    } else {
      try readText(octets, name, isReserved)
    }
  }

  private mutating func readDatabase(
    _ octets: [UInt8], _ name: String, _ isReserved: @escaping AccessRule.IsReserved
  ) throws(AccessRulesError) {
    var rules = self
    try ConstantDatabase.read(octets) { (key, data) throws(AccessRulesError) in
      do throws(AccessRule.Trouble) {
        rules.add(key, try AccessRule(data: data, isReserved: isReserved))
      } catch {
        throw AccessRulesError(description: "\(name), the rule of '\(String(decoding: key, as: UTF8.self))': \(error.text)")
      }
    } damaged: { AccessRulesError(description: "\(name) is a damaged cdb file: \($0)") }
    self = rules
  }

  private mutating func readText(
    _ octets: [UInt8], _ name: String, _ isReserved: @escaping AccessRule.IsReserved
  ) throws(AccessRulesError) {
    var number = 0
    for line in octets.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      do throws(AccessRule.Trouble) {
        try readLine(line, isReserved)
        guard count <= AccessRules.countLimit else { throw AccessRule.Trouble(text: "more than \(AccessRules.countLimit) rules") }
      } catch {
        throw AccessRulesError(description: "\(name), line \(number): \(error.text)")
      }
    }
  }

  private mutating func readLine(
    _ line: ArraySlice<UInt8>, _ isReserved: @escaping AccessRule.IsReserved
  ) throws(AccessRule.Trouble) {
    var line = line
    while let last = line.last, last == 0x20 || last == 0x09 || last == 0x0D { line.removeLast() }
    guard let first = line.first, first != UInt8(ascii: "#") else { return }
    guard let colon = AccessRules.endOfAddress(line) else {
      throw AccessRule.Trouble(text: "expected an address, ':', and 'allow' or 'deny'")
    }
    let rule = try AccessRule(text: line[(colon + 1)...], isReserved: isReserved)
    let address = line[..<colon]
    if address.contains(UInt8(ascii: "=")) || address.contains(UInt8(ascii: "@")) { return add(address, rule) }
    if address.contains(UInt8(ascii: "/")) {
      do throws(NetworkError) {
        return add(try IPNetwork(parsing: String(decoding: address, as: UTF8.self)), rule)
      } catch {
        throw AccessRule.Trouble(text: error.description)
      }
    }
    for key in try AccessRules.expanded(address) {
      guard AccessRules.canMatch(key[...]) else {
        throw AccessRule.Trouble(
          text: "'\(String(decoding: key, as: UTF8.self))' is no address, no network, and no prefix that ends with '.' or ':'")
      }
      add(key[...], rule)
    }
  }

  /// The colon after the address: the first one that 'allow' or 'deny' follows, because an IPv6 address contains colons.
  private static func endOfAddress(_ line: ArraySlice<UInt8>) -> Int? {
    line.indices.first { place in
      line[place] == UInt8(ascii: ":")
        && (line[(place + 1)...].starts(with: "allow".utf8) || line[(place + 1)...].starts(with: "deny".utf8))
    }
  }

  /// The addresses that a range stands for: `10.1-3.` is `10.1.`, `10.2.` and `10.3.`.
  private static func expanded(_ address: ArraySlice<UInt8>) throws(AccessRule.Trouble) -> [[UInt8]] {
    let dot = UInt8(ascii: ".")
    guard let dash = address.firstIndex(of: UInt8(ascii: "-")) else { return [Array(address)] }
    let left = address[..<dash].lastIndex(of: dot).map { $0 + 1 } ?? address.startIndex
    let right = address[dash...].firstIndex(of: dot) ?? address.endIndex
    guard let bottom = number(address[left..<dash]), let top = number(address[(dash + 1)..<right]), bottom <= top else {
      throw AccessRule.Trouble(text: "expected a range such as 10.1-3. with numbers from 0 to 255")
    }
    return (bottom...top).map { Array(address[..<left]) + Array("\($0)".utf8) + Array(address[right...]) }
  }

  private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
    guard (1...3).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    let value = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    return value <= 255 ? value : nil
  }
}
