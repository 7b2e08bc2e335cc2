// RuleNames: the names of variables in access rules that a SIGHUP brings, from the process that reads the files to the starter.
//
// starttlsd has no end of this connection: an attacker who controls it cannot add a name. A message is names, each ended by NUL. It
// is sent before starttlsd gets the rules, so that the starter finds it when it meets the name.
//
// Failure: a name for which there is no room is not accepted, and is sent again after the next SIGHUP. Rules with an error have no
// names; starttlsd refuses them too.

import ClientAccess
import Transport

/// The end of the process that reads the files.
final class RuleNamesSender {
  private let socket: MessageSocket
  private let file: AccessFile
  /// The names that the starter has.
  private var known: Set<[UInt8]>

  init(_ socket: consuming MessageSocket, _ file: AccessFile, _ rules: RuleVariables) {
    self.socket = socket
    self.file = file
    known = rules.names
  }

  /// Sends the names of rules that were read.
  func send(_ contents: consuming Descriptor) {
    let shared = SharedDescriptor(contents)
    let rules = try? file.load(isReserved: Environment.isReservedInRules) { () throws(SystemError) in try shared.descriptor.duplicate() }
    guard let rules else { return }
    let names = RuleVariables.names(rules.settings).subtracting(known)
    var message: [UInt8] = []
    var pending: Set<[UInt8]> = []
    for name in names {
      if message.count + name.count >= HelperMessage.limit { give(&message, &pending) }
      message += name + [0]
      pending.insert(name)
    }
    if !message.isEmpty { give(&message, &pending) }
  }

  /// Does not wait: the starter may wait for a file system.
  private func give(_ message: inout [UInt8], _ names: inout Set<[UInt8]>) {
    do {
      try socket.send(message)
      known.formUnion(names)
    } catch {
      // See above. If the starter has ended, starttlsd ends.
    }
    (message, names) = ([], [])
  }
}

/// The end of the starter.
final class RuleNamesReceiver {
  private let socket: MessageSocket

  init(_ socket: consuming MessageSocket) {
    self.socket = socket
  }

  /// Adds the names that have arrived. False if there were none.
  func receive(into rules: inout RuleVariables) -> Bool {
    var isChanged = false
    while case .message(let message) = socket.receive(limit: HelperMessage.limit) {
      for name in message.octets.split(separator: 0) { rules.add(Array(name)) }
      isChanged = true
    }
    return isChanged
  }
}
