// HeldSocket: a listening socket that the supervisor holds, and that its workers share.
//
// It outlives each worker: what a client has sent to the queue of a worker that died is accepted by another one.
//
// Failure: a ConfigurationError that names the address.

import Glibc
import Transport

final class HeldSocket {
  let descriptor: Descriptor
  /// What was asked for: a socket is used again for the same.
  let key: String
  /// The name in LISTEN_FDNAMES.
  let name: String
  /// The file of a Unix socket that ends with this value.
  var file: SocketFile?
  /// Where it is bound.
  let address: SocketAddress?
  /// True if it could not be repaired, which is logged once.
  var isBroken = false

  static let checkMilliseconds = 2000

  init(_ descriptor: consuming Descriptor, key: String, name: String, file: SocketFile? = nil) {
    address = (try? descriptor.localAddress()).flatMap { $0 }
    self.descriptor = descriptor
    self.key = key
    self.name = name
    self.file = file
    lockFilter()
  }

  /// A worker that an attacker controls could otherwise attach a filter that drops all connections, and which nobody can see.
  func lockFilter() { try? Kernel.setOption(descriptor.number, SOL_SOCKET, SO_LOCK_FILTER, 1) }

  deinit {
    file?.remove()
  }

  /// For the log.
  var title: String { key == HeldSocket.passedKey ? "the service manager's socket\(address.map { " \($0)" } ?? "")" : key }

  /// What has to be started again if it cannot be repaired.
  var holder: String { key == HeldSocket.passedKey ? "starttlsd and its socket unit" : "starttlsd" }

  /// The key of the sockets that a service manager passed.
  private static let passedKey = "passed"

  /// Takes a socket with this key from those that exist.
  private static func taken(_ key: String, from pool: inout [HeldSocket]) -> HeldSocket? {
    pool.firstIndex { $0.key == key }.map { pool.remove(at: $0) }
  }

  /// The sockets of a listener's addresses.
  ///
  /// - Parameter pool: existing sockets; those that are used are removed.
  static func listening(_ plan: ListenerPlan, pool: inout [HeldSocket]) throws(ConfigurationError) -> [HeldSocket] {
    var sockets: [HeldSocket] = []
    for address in asHeld(plan.addresses, in: pool) {
      if let known = taken(address.key, from: &pool) {
        sockets.append(known)
        continue
      }
      do throws(SystemError) {
        let listener = try address.listen()
        sockets.append(
          HeldSocket(listener.takeDescriptor(), key: address.key, name: address.socketName, file: SocketFile(of: address.address)))
      } catch {
        let replaced = pool.compactMap(\.address).first { address.overlaps($0) }
        throw ListenerPlan.named(plan.settings, address.failure(error, replacing: replaced))
      }
    }
    return sockets
  }

  /// The addresses in the form that the sockets in the pool have: one socket for `[::]`, or two. While the one form listens, the kernel does
  /// not allow the other.
  private static func asHeld(_ addresses: [ListeningAddress], in pool: [HeldSocket]) -> [ListeningAddress] {
    let held = Set(pool.map(\.key))
    var addresses = addresses
    for forms in addresses.compactMap(\.forms) {
      for (wanted, other) in [([forms.one], forms.two), (forms.two, [forms.one])] {
        let keys = wanted.map(\.key)
        guard keys.allSatisfy({ key in addresses.contains { $0.key == key } }), other.allSatisfy({ held.contains($0.key) }) else { continue }
        addresses.removeAll { keys.contains($0.key) }
        addresses += other
        break
      }
    }
    return addresses
  }

  /// A socket of --status-socket or --metrics.
  static func report(
    _ address: SocketAddress?, _ option: String, _ plan: ListenerPlan, pool: inout [HeldSocket]
  ) throws(ConfigurationError) -> HeldSocket? {
    guard let address else { return nil }
    let key = "\(option) \(address)"
    if let known = taken(key, from: &pool) { return known }
    do throws(SystemError) {
      let listener = try ReportSocket.listener(address, owner: plan.owner)
      return HeldSocket(listener.takeDescriptor(), key: key, name: "", file: SocketFile(of: address))
    } catch {
      throw ListenerPlan.named(plan.settings, .system("\(option) \(address): \(error)"))
    }
  }

  /// The sockets that a service manager passed.
  static func passed(_ passedDescriptors: PassedDescriptors) throws -> [HeldSocket] {
    try passedDescriptors.sockets.map { socket in
      // Several workers accept from it: one that comes too late would wait.
      guard try Kernel.control(socket.number, F_GETFL) & O_NONBLOCK != 0 else {
        throw ConfigurationError.usage("descriptor \(socket.number), passed by the service manager, is blocking: set NonBlocking=yes, because several processes accept from it")
      }
      let descriptor = Descriptor(adopting: socket.number)
      try descriptor.setCloseOnExec(true)
      return HeldSocket(descriptor, key: passedKey, name: socket.name ?? "")
    }
  }
}
