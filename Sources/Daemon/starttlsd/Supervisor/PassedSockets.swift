// PassedSockets: which listener of a configuration file gets which socket of a service manager.
//
// A socket is that of the listener with its address. Any other one is that of the listener with its name (FileDescriptorName=), and
// stands for the first of that listener's addresses without a socket.
//
// Contract: each socket has a listener and each address has a socket, because a program that was given sockets opens no port of its
// own. A reload and a take-over match them again.
//
// Failure: a ConfigurationError that names the socket or the address, and what to change.

import Transport

extension HeldSocket {
  /// Sockets for the addresses of listeners: duplicates of those that were passed, with the keys of the addresses.
  static func matched(_ passed: [HeldSocket], to plans: [ListenerPlan]) throws(ConfigurationError) -> [HeldSocket] {
    var wanted = plans.flatMap { plan in plan.addresses.map { (plan: plan, address: $0) } }
    var matched: [HeldSocket] = []
    var others: [HeldSocket] = []
    for socket in passed {
      guard let index = wanted.firstIndex(where: { $0.address.address.unmapped == socket.address?.unmapped }) else {
        others.append(socket)
        continue
      }
      matched.append(try socket.duplicate(for: wanted.remove(at: index).address))
    }
    for socket in others {
      let own = wanted.indices.filter { !socket.name.isEmpty && wanted[$0].plan.settings.name == socket.name }
      guard let first = own.first else { throw socket.unmatched(plans) }
      guard own.allSatisfy({ wanted[$0].address.isImplicit == wanted[first].address.isImplicit }) else {
        throw .usage("\(socket.place) may be that of listen or of listen-tls in the listener \(socket.name): write its address into one of them")
      }
      matched.append(try socket.duplicate(for: wanted.remove(at: first).address))
    }
    if let first = wanted.first {
      throw ListenerPlan.named(
        first.plan.settings,
        .usage(
          "the service manager passed sockets (LISTEN_FDS), but none for \(first.address.key): add ListenStream=\(first.address.address), or remove the address"))
    }
    return matched
  }

  private func unmatched(_ plans: [ListenerPlan]) -> ConfigurationError {
    let names = plans.map(\.settings.name)
    if names.contains(name) { return .usage("\(place) is one more than the listener \(name) has addresses: add its address there, or remove the socket") }
    return .usage("\(place) is no listener's: write its address into one of \(names.joined(separator: ", ")), or give it that name with FileDescriptorName=")
  }

  /// `descriptor 3 (mx), passed by the service manager for 127.0.0.1:25,`
  private var place: String {
    "descriptor \(descriptor.number)" + (name.isEmpty ? "" : " (\(name))") + ", passed by the service manager for \(address.map { "\($0)" } ?? "no address"),"
  }

  private func duplicate(for wanted: ListeningAddress) throws(ConfigurationError) -> HeldSocket {
    do throws(SystemError) {
      return HeldSocket(try descriptor.duplicate(), key: wanted.key, name: wanted.socketName)
    } catch {
      throw .system("\(place) cannot be duplicated: \(error)")
    }
  }
}

extension ListeningAddress {
  /// What the supervisor knows its socket by.
  var key: String { "\(option) \(address)\(isIPv6Only ? " (IPv6 only)" : "")" }

  /// The name for the worker, which selects TLS from the start.
  var socketName: String { isImplicit ? "submissions" : "" }
}
