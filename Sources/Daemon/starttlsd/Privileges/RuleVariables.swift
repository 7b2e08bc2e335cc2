// RuleVariables: which variables of access rules the starter passes to the server program.
//
// If the program has a user or limits of its own, only those that a rule had at the start, with their values: a daemon that an
// attacker controls cannot name a program to the server program, such as with QMAILQUEUE. Otherwise all that a rule may set, if
// there are rules, so that SIGHUP can bring new ones.

import ClientAccess

struct RuleVariables: Sendable {
  /// As `NAME=value`.
  private let known: Set<[UInt8]>
  /// True if a variable need not be known.
  private let isOpen: Bool

  init(_ configuration: Configuration) {
    known = configuration.accessRules?.settings ?? []
    isOpen = configuration.accessFile != nil && !configuration.privileges.needsStarter
  }

  /// True if a rule may set this variable, `NAME=value`.
  func contain(_ variable: [UInt8]) -> Bool {
    if known.contains(variable) { return true }
    guard isOpen, let end = variable.firstIndex(of: UInt8(ascii: "=")), end > 0 else { return false }
    return !Environment.isReservedInRules(String(decoding: variable[..<end], as: UTF8.self)[...])
  }
}
