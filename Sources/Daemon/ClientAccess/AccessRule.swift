// AccessRule: what a rule says about a client, in the two forms of tcprules(1): instructions as text, and as data of a
// cdb file.
//
//   allow,RELAYCLIENT="",DOMAIN=/example.com/    text: any character may quote a value
//   D NUL                                        data: deny
//   +RELAYCLIENT= NUL +DOMAIN=example.com NUL    data: variables

/// A rule: allow or deny, and variables for the program.
package struct AccessRule: Hashable, Sendable {
  /// The largest sum of the variables of a rule, in octets: name, `=`, value, NUL. They are sent to the process that starts the
  /// server program in one message with those of the session.
  package static let variablesLimit = 3072

  package let isAllowed: Bool
  /// `NAME=value`, each name once.
  package let variables: [String]

  /// True for a name that no rule may set.
  typealias IsReserved = (Substring) -> Bool

  /// What is wrong with instructions, for the operator.
  struct Trouble: Error {
    let text: String
  }

  /// Parses instructions.
  init(text: ArraySlice<UInt8>, isReserved: @escaping IsReserved) throws(Trouble) {
    var rest = text
    isAllowed = rest.starts(with: "allow".utf8)
    guard isAllowed || rest.starts(with: "deny".utf8) else { throw Trouble(text: "expected 'allow' or 'deny' after the address") }
    rest = rest.dropFirst(isAllowed ? 5 : 4)
    var variables = Variables(isReserved: isReserved)
    while let comma = rest.first {
      guard comma == UInt8(ascii: ",") else { throw Trouble(text: "expected ',' after 'allow', 'deny' or a variable") }
      rest = rest.dropFirst()
      guard let equals = rest.firstIndex(of: UInt8(ascii: "=")) else { throw Trouble(text: "a variable has no '='") }
      let name = rest[..<equals]
      rest = rest[(equals + 1)...]
      guard let quote = rest.popFirst(), let end = rest.firstIndex(of: quote) else {
        throw Trouble(text: "the value of a variable is not quoted")
      }
      try variables.add(name, rest[..<end])
      rest = rest[(end + 1)...]
    }
    self.variables = variables.strings
  }

  /// Parses the data of a cdb record.
  init(data: ArraySlice<UInt8>, isReserved: @escaping IsReserved) throws(Trouble) {
    var isAllowed = true
    var variables = Variables(isReserved: isReserved)
    for part in data.split(separator: 0) {
      switch part.first {
      case UInt8(ascii: "D"): isAllowed = false
      case UInt8(ascii: "+"):
        guard let equals = part.firstIndex(of: UInt8(ascii: "=")) else { throw Trouble(text: "a variable has no '='") }
        try variables.add(part[..<equals].dropFirst(), part[(equals + 1)...])
      default: throw Trouble(text: "it contains an instruction that tcprules does not write")
      }
    }
    self.isAllowed = isAllowed
    self.variables = variables.strings
  }

  /// Collects variables; the last value of a name counts.
  private struct Variables {
    let isReserved: IsReserved
    private var values: [(name: String, value: String)] = []
    private var length = 0

    init(isReserved: @escaping IsReserved) {
      self.isReserved = isReserved
    }

    /// The variable with `=` and NUL.
    private static func length(_ variable: (name: String, value: String)) -> Int { variable.name.utf8.count + variable.value.utf8.count + 2 }

    var strings: [String] { values.map { "\($0.name)=\($0.value)" } }

    mutating func add(_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) throws(Trouble) {
      guard let name = String(validating: name, as: UTF8.self), let value = String(validating: value, as: UTF8.self) else {
        throw Trouble(text: "a variable is not UTF-8")
      }
      guard !name.isEmpty, !name.utf8.contains(0), !value.utf8.contains(0) else {
        throw Trouble(text: "a variable has no name, or contains NUL")
      }
      guard !isReserved(name[...]) else {
        throw Trouble(text: "\(name) cannot be set, because it describes TLS or the connection")
      }
      if let index = values.firstIndex(where: { $0.name == name }) { length -= Variables.length(values.remove(at: index)) }
      values.append((name, value))
      length += Variables.length((name, value))
      guard length <= AccessRule.variablesLimit else {
        throw Trouble(text: "the variables of the rule have more than \(AccessRule.variablesLimit) octets")
      }
    }
  }
}
