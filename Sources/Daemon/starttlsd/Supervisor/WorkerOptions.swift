// WorkerOptions: how many processes serve.

import ArgumentParser
import Glibc

struct WorkerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Processes that serve, from 1 to \(WorkerCount.limit), or auto: one for each processor. With more than one a supervisor holds the sockets and starts them again.",
      valueName: "number"))
  var workers = WorkerCount.one
}

/// The value of --workers.
enum WorkerCount: ExpressibleByArgument, CustomStringConvertible, Hashable, Sendable {
  case number(Int)
  /// One for each processor.
  case auto

  static let one = WorkerCount.number(1)
  static let limit = 256

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
    case .auto: min(WorkerCount.limit, max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN))))
    }
  }
}

extension WorkerOptions {
  /// The listener that a supervisor has to run; nil if this process serves itself.
  func supervised(_ command: StartTLSDaemon) throws(ConfigurationError) -> ListenerSettings? {
    guard workers.value > 1 || SupervisorState.isPassed, !WorkerRole.isPassed else { return nil }
    guard !command.supervisor.inetd else { throw .usage("--workers cannot be used with --inetd: remove one") }
    return ListenerSettings(name: "", arguments: Array(CommandLine.arguments.dropFirst()), workers: workers.value)
  }
}
