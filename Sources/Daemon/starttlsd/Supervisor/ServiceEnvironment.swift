// ServiceEnvironment: the variables of the service manager, which the program that takes over needs as well.

import Glibc

struct ServiceEnvironment {
  private static let names = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]

  private let variables: [(name: String, value: String)]
  /// The service manager's watchdog time; nil without.
  let watchdogMicroseconds: Int?

  var watchdogMilliseconds: Int? { watchdogMicroseconds.map { max(1, $0 / 1000) } }

  /// Reads them; ServiceNotification removes them.
  init() {
    variables = ServiceEnvironment.names.compactMap { name in EmbeddedDefault.variable(name).map { (name, $0) } }
    let isWatched = EmbeddedDefault.variable("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
    let interval = isWatched ? EmbeddedDefault.variable("WATCHDOG_USEC").flatMap { Int($0) } : nil
    watchdogMicroseconds = interval.flatMap { $0 > 0 ? $0 : nil }
  }

  /// Sets them again, before a program is executed, or removes them.
  func set(_ on: Bool) {
    for variable in variables {
      if on { setenv(variable.name, variable.value, 1) } else { unsetenv(variable.name) }
    }
  }
}

/// The file of this program, which may be replaced on the disk.
struct ProgramFile {
  /// Absolute. A path that leads to the program over links stays as it was given: the links may be changed.
  let path: String

  init() {
    let own = ProgramFile.link("/proc/self/exe")
    let given = CommandLine.arguments.first ?? ""
    var folder = [CChar](repeating: 0, count: 4096)
    let isKnown = getcwd(&folder, folder.count) != nil
    let current = String(decoding: folder.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let candidate: String? =
      if given.hasPrefix("/") { given } else if given.contains("/") && isKnown { current + "/" + given } else {
        (EmbeddedDefault.variable("PATH") ?? "").split(separator: ":").map { "\($0)/\(given)" }.first { $0.hasPrefix("/") && access($0, X_OK) == 0 }
      }
    path = candidate.flatMap { ProgramFile.isSame($0, "/proc/self/exe") ? $0 : nil } ?? own
  }

  private static func link(_ path: String) -> String {
    var octets = [CChar](repeating: 0, count: 4096)
    let count = max(0, readlink(path, &octets, octets.count))
    return String(decoding: octets.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func isSame(_ one: String, _ other: String) -> Bool {
    var first = stat()
    var second = stat()
    return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }
}
