// ListenerPlan: what the supervisor has to know of a listener's command line: addresses, sockets, the time to stop.
//
// Everything else is checked by the worker. Failure: a ConfigurationError, with the listener's name.

import ArgumentParser
import Glibc
import Transport

struct ListenerPlan {
  let settings: ListenerSettings
  /// Empty if a service manager passed the sockets.
  let addresses: [ListeningAddress]
  private let status: String?
  let metrics: SocketAddress?
  /// The user that the workers change to, who may connect to their Unix sockets.
  let owner: Identity?
  /// The time that a worker may take to end after SIGTERM.
  let stopMilliseconds: Int

  /// The time beyond --grace and --backend-grace.
  private static let reserveMilliseconds = 10_000

  init(_ settings: ListenerSettings, _ passedDescriptors: PassedDescriptors) throws(ConfigurationError) {
    self.settings = settings
    do {
      let command = try ListenerPlan.command(settings)
      guard settings.workers > 0 else { throw ConfigurationError.usage("workers: give a number from 1 on") }
      guard !command.serviceManager.inetd else { throw ConfigurationError.usage("--inetd needs no supervisor: remove it") }
      addresses = try command.addresses(passedDescriptors)
      status = try command.checkedStatusSocket()
      metrics = try command.checkedMetrics()
      owner = try command.privileges.checked(isEmbedded: false).own
      let seconds = max(0, min(command.grace, 1_000_000)) + max(0, min(command.backendGrace, 1_000_000))
      stopMilliseconds = seconds * 1000 + ListenerPlan.reserveMilliseconds
    } catch let error as ConfigurationError {
      throw ListenerPlan.named(settings, error)
    } catch {
      throw ListenerPlan.named(settings, .usage(StartTLSDaemon.message(for: error)))
    }
  }

  /// The plan of workers that serve already. Nothing is resolved: a name that cannot be found now must not end them.
  init(serving settings: ListenerSettings, stopMilliseconds: Int) {
    self.settings = settings
    self.stopMilliseconds = stopMilliseconds
    addresses = []
    status = nil
    metrics = nil
    owner = nil
  }

  /// Reads what `add` has written; nil if it is none.
  init?(_ text: inout StateText) {
    guard let settings = ListenerSettings(&text), let count = text.number() else { return nil }
    var addresses: [ListeningAddress] = []
    for _ in 0..<count {
      guard let isImplicit = text.number(), let address = text.text().flatMap({ try? SocketAddress(parsing: $0) }) else { return nil }
      addresses.append(ListeningAddress(address, isImplicit: isImplicit == 1))
    }
    guard let status = text.text(), let metrics = text.text(), let hasOwner = text.number() else { return nil }
    let owner = hasOwner == 1 ? Identity(&text) : nil
    let bound = try? SocketAddress(parsing: metrics)
    guard owner != nil || hasOwner == 0, bound != nil || metrics.isEmpty, let stop = text.number() else { return nil }
    self.settings = settings
    self.addresses = ListeningAddress.beside(addresses)
    self.status = status.isEmpty ? nil : status
    self.metrics = bound
    self.owner = owner
    stopMilliseconds = stop
  }

  /// Writes it, without names that would have to be looked up.
  func add(to text: inout StateText) {
    settings.add(to: &text)
    text.add(addresses.count)
    for address in addresses {
      text.add(address.isImplicit ? 1 : 0)
      text.add("\(address.address)")
    }
    text.add(status ?? "", metrics.map { "\($0)" } ?? "")
    text.add(owner == nil ? 0 : 1)
    owner?.add(to: &text)
    text.add(stopMilliseconds)
  }

  /// The parsed command line.
  static func command(_ settings: ListenerSettings) throws -> StartTLSDaemon { try StartTLSDaemon.parse(settings.arguments) }

  /// The error with the listener's name in front.
  static func named(_ settings: ListenerSettings, _ error: ConfigurationError) -> ConfigurationError {
    settings.name.isEmpty ? error : ConfigurationError(description: "listener \(settings.name): \(error.description)", code: error.code)
  }

  /// The status socket of a worker: with several workers the path ends with its number.
  func statusAddress(_ number: Int) throws(ConfigurationError) -> SocketAddress? {
    guard let status else { return nil }
    let path = StatusCommand.paths(status, workers: settings.workers)[number - 1]
    guard path.utf8.count <= 107 else {
      throw ListenerPlan.named(settings, .usage("--status-socket \(path): the path of a Unix socket has 1 to 107 octets"))
    }
    return .unix(path)
  }
}

extension ListenerSettings {
  /// Reads what `add` has written; nil if it is none.
  init?(_ text: inout StateText) {
    guard let name = text.text(), let workers = text.number(), let words = text.number() else { return nil }
    let arguments = (0..<max(0, words)).compactMap { _ in text.text() }
    guard arguments.count == words else { return nil }
    self.init(name: name, arguments: arguments, workers: workers)
  }

  func add(to text: inout StateText) {
    text.add(name)
    text.add(workers, arguments.count)
    for argument in arguments { text.add(argument) }
  }
}

extension Identity {
  /// Reads what `add` has written; nil if it is none.
  fileprivate init?(_ text: inout StateText) {
    guard let name = text.text(), let user = text.text().flatMap(uid_t.init), let group = text.text().flatMap(gid_t.init),
      let groups = text.text()
    else { return nil }
    self.init(name: name, user: user, group: group, groups: groups.split(separator: " ").compactMap { gid_t($0) })
  }

  fileprivate func add(to text: inout StateText) {
    text.add(name, "\(user)", "\(group)", groups.map { "\($0)" }.joined(separator: " "))
  }
}
