// SubCommands: the commands of starttlsd besides serving. Without the name of a command, starttlsd serves.

import ArgumentParser

enum SubCommands {
  /// Each is named `starttlsd NAME`.
  static let all: [any ParsableCommand.Type] = [CertificatesCommand.self, CheckCommand.self, ConfigCommand.self, StatusCommand.self]

  /// The command that the arguments select. Only the first argument can name one: the name of a server program follows
  /// `--`.
  static func parse(_ arguments: [String]) throws -> any ParsableCommand {
    if let name = arguments.first,
      let command = all.first(where: { $0.configuration.commandName == "starttlsd \(name)" })
    {
      return try parse(command, Array(arguments.dropFirst()))
    }
    return try parse(StartTLSDaemon.self, arguments)
  }

  private static func parse(_ type: any ParsableCommand.Type, _ arguments: [String]) throws -> any ParsableCommand {
    let command = try type.parseAsRoot(arguments)
    let daemon = (command as? CheckCommand)?.daemon ?? command as? StartTLSDaemon
    try daemon?.fileOptions.refuseOthers(arguments)
    return command
  }
}
