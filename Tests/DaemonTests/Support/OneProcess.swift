// OneProcess: the command line of starttlsd with one worker.
//
// starttlsd serves with one worker for each processor, which a supervisor starts. Most tests are about one process, whose number and
// descriptors they know: they get `--workers 1`. A test of workers names their number.

import Foundation

enum OneProcess {
  /// Words after which no worker is started, or which the test chose.
  private static let own = ["--workers", "--config", "--inetd"]
  private static let commands = ["certificates", "check", "config", "status"]

  /// A command line, perhaps of a program that executes starttlsd, with `--workers 1` if it says nothing about them.
  static func arguments(_ arguments: [String]) -> [String] {
    guard let index = arguments.firstIndex(where: { $0.hasSuffix("/starttlsd") && FileManager.default.isExecutableFile(atPath: $0) }) else {
      return arguments
    }
    let options = arguments[(index + 1)...].prefix { $0 != "--" }
    if let first = options.first, commands.contains(first) { return arguments }
    if options.contains(where: { own.contains($0) || $0.hasPrefix("--workers=") }) { return arguments }
    return arguments[...index] + ["--workers", "1"] + arguments[(index + 1)...]
  }
}
