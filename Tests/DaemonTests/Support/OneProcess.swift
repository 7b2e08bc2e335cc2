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
    guard let index = arguments.firstIndex(where: { isProgram($0) }) else { return arguments }
    let options = arguments[(index + 1)...].prefix { $0 != "--" }
    if let first = options.first, commands.contains(first) { return arguments }
    if options.contains(where: { own.contains($0) || $0.hasPrefix("--workers=") }) { return arguments }
    return arguments[...index] + ["--workers", "1"] + arguments[(index + 1)...]
  }

  /// False for the folder of a service, which has the same name.
  private static func isProgram(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return path.hasSuffix("/starttlsd") && FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
  }
}
