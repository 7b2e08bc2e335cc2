// WorkerRole: what the supervisor passes to a worker, besides the listening sockets (LISTEN_FDS).
//
//   STARTTLSD_WORKER   `number count channel status`: which worker of how many, and two descriptors; -1 for none
//
// The channel is a connected socket. The worker sends the datagrams of sd_notify(3) over it. Its end means that the supervisor
// has ended. The socket of --status-socket belongs to the supervisor, so that the worker that follows this one, or
// replaces it, has the same. That of --metrics the supervisor keeps: over the channel it sends `METRICS=1` with a connection, to which
// the worker writes its metrics.
//
// Contract: the variable counts only together with a LISTEN_PID that names this process.

import CKernel
import Glibc
import Transport

struct WorkerRole: Hashable, Sendable {
  static let variable = "STARTTLSD_WORKER"

  /// From 1.
  let number: Int
  let count: Int
  /// The numbers of open descriptors; each is adopted once.
  let channel: CInt
  let status: CInt?

  /// The part of a limit that is this worker's.
  func part(of limit: Int) -> Int { WorkerRole.part(of: limit, workers: count) }

  /// The part of a limit that each of so many workers has: rounded up, so that no worker is without.
  static func part(of limit: Int, workers: Int) -> Int { (limit + workers - 1) / workers }

  var text: String { "\(number) \(count) \(channel) \(status ?? -1)" }

  /// True if this process is a worker.
  static var isPassed: Bool { EmbeddedDefault.variable(variable) != nil && EmbeddedDefault.variable("LISTEN_PID") == "\(getpid())" }

  /// Takes the variable. nil for a process that no supervisor of starttlsd has started.
  static func take(isActivated: Bool) -> WorkerRole? {
    let text = EmbeddedDefault.variable(variable)
    unsetenv(variable)
    guard isActivated, let role = text.flatMap(WorkerRole.init) else { return nil }
    // It was executed as /proc/self/exe, and ps(1) would show that.
    _ = kernel_set_process_name("starttlsd")
    return role
  }

  init?(_ text: String) {
    let words = text.split(separator: " ").compactMap { Int32($0) }
    guard words.count == 4, words[1] >= 1, (1...words[1]).contains(words[0]), words[2] > 2 else { return nil }
    let descriptors = words[2...].filter { $0 >= 0 }
    for descriptor in descriptors {
      guard let flags = try? Kernel.control(descriptor, F_GETFD),
        (try? Kernel.control(descriptor, F_SETFD, flags | FD_CLOEXEC)) != nil
      else { return nil }
    }
    self.init(
      number: Int(words[0]), count: Int(words[1]), channel: words[2], status: words[3] < 0 ? nil : words[3])
  }

  init(number: Int, count: Int, channel: CInt, status: CInt?) {
    self.number = number
    self.count = count
    self.channel = channel
    self.status = status
  }
}
