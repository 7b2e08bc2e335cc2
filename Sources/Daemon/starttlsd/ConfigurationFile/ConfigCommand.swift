// ConfigCommand: `starttlsd config`: prints all keys of a configuration file, or what a file means.
//
// Failure: one line for each fault; the exit code is that of the first one.

import ArgumentParser
import ProgramSupport

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttlsd config",
    abstract: "Checks a configuration file and prints the settings of each listener.",
    discussion: "The files and programs that the settings name are checked with starttlsd check --config.")

  @Flag(help: "Print a file with all keys, their defaults and their meaning.")
  var defaults = false

  @Argument(help: "The file.")
  var file: String?

  func run() throws {
    let lines: [String]
    switch (defaults, file) {
    case (true, nil): lines = ConfigurationText.defaults
    case (false, let file?): lines = try ConfigCommand.lines(ConfigurationFile(path: file))
    case (true, _?): throw ConfigurationError.usage("--defaults cannot be used with a file: give one of them")
    case (false, nil): throw ConfigurationError.usage("name a file, or give --defaults; see starttlsd config --help")
    }
    guard StandardStreams.print(lines.map { $0 + "\n" }.joined()) else { throw ConfigurationError.system("standard output cannot be written") }
  }

  /// The settings of each listener.
  private static func lines(_ file: ConfigurationFile) throws(ConfigurationError) -> [String] {
    let reading = try file.read()
    if let last = reading.faults.last {
      for fault in reading.faults.dropLast() { StandardStreams.complain("starttlsd", "\(file.path), \(fault.description)") }
      throw ConfigurationError(description: "\(file.path), \(last.description)", code: reading.faults[0].code)
    }
    return Array(reading.listeners.map { ConfigurationText.effective($0) }.joined(separator: [""]))
  }
}
