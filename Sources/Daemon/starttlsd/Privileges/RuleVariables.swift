// RuleVariables: which variables of access rules the starter passes to the server program.
//
// If the program has a user or limits of its own, only those that a rule had at the start, with their values. Otherwise any value,
// but only of names that a rule had at the start or after a SIGHUP: a daemon that an attacker controls cannot set LD_PRELOAD or
// QMAILQUEUE unless a rule does. The starter has the names after a SIGHUP from the process that reads the files, see RuleNames.

import ClientAccess

struct RuleVariables: Sendable {
  /// As `NAME=value`.
  private let known: Set<[UInt8]>
  /// The names that may have any value.
  private(set) var names: Set<[UInt8]>

  init(_ configuration: Configuration) {
    known = configuration.accessRules?.settings ?? []
    names = configuration.privileges.needsStarter ? [] : RuleVariables.names(known)
  }

  /// True if a rule may set this variable, `NAME=value`.
  func contain(_ variable: [UInt8]) -> Bool {
    if known.contains(variable) { return true }
    return !names.isEmpty && variable.contains(UInt8(ascii: "=")) && names.contains(RuleVariables.name(variable))
  }

  mutating func add(_ name: [UInt8]) { names.insert(name) }

  /// The names of variables, `NAME=value`.
  static func names(_ variables: Set<[UInt8]>) -> Set<[UInt8]> { Set(variables.map(name)) }

  private static func name(_ variable: [UInt8]) -> [UInt8] { Array(variable.prefix { $0 != UInt8(ascii: "=") }) }
}
