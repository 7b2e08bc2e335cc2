// WorkerOptions: how many processes serve.

import ArgumentParser
import Glibc
import Transport

struct WorkerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Processes that serve, from 1 to \(WorkerCount.limit), or auto: one for each processor, at most \(WorkerCount.autoLimit) [auto; with --inetd one]. With more than one a supervisor holds the sockets and restarts workers that end.",
      valueName: "number"))
  var workers: WorkerCount?
}

/// The value of --workers.
enum WorkerCount: ExpressibleByArgument, CustomStringConvertible, Hashable, Sendable {
  case number(Int)
  /// One for each processor.
  case auto

  static let limit = 256
  /// The maximum number of workers that nobody asked for by number: each has processes of its own, and memory.
  static let autoLimit = 16

  init?(argument: String) {
    if argument == "auto" {
      self = .auto
    } else if let number = Int(argument), (1...WorkerCount.limit).contains(number) {
      self = .number(number)
    } else {
      return nil
    }
  }

  var description: String {
    switch self {
    case .number(let number): "\(number)"
    case .auto: "auto"
    }
  }

  var value: Int {
    switch self {
    case .number(let number): number
    case .auto: min(WorkerCount.autoLimit, Processors.count)
    }
  }
}

extension WorkerOptions {
  /// The listener that a supervisor has to run; nil if this process serves itself.
  func supervised(_ command: StartTLSDaemon) throws(ConfigurationError) -> ListenerSettings? {
    guard !WorkerRole.isPassed else { return nil }
    if command.serviceManager.inetd {
      guard (workers?.value ?? 1) == 1 else { throw .usage("--workers cannot be used with --inetd: remove one") }
      return nil
    }
    let number = number(command)
    guard number > 1 || SupervisorState.isPassed else { return nil }
    return ListenerSettings(name: "", arguments: Array(CommandLine.arguments.dropFirst()), workers: number)
  }

  /// How many processes serve with this command line.
  func number(_ command: StartTLSDaemon) -> Int {
    command.serviceManager.inetd || isOneForBlockingSocket ? 1 : (workers ?? .auto).value
  }

  /// True if one process serves because a service manager passed a blocking socket: several cannot accept from it.
  var isOneForBlockingSocket: Bool {
    guard workers == nil, !SupervisorState.isPassed, !WorkerRole.isPassed else { return false }
    return PassedDescriptors.numbers.contains { number in
      (try? Kernel.control(number, F_GETFL)).map { $0 & O_NONBLOCK == 0 } ?? false
    }
  }
}
