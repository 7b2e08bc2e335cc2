// Program: ucspi-tlsd from its arguments to the exec of the server program.
//
// The server program gets this process: its number, standard streams, signals and environment stay. The helper is a
// grandchild, so the server program has neither an unknown child nor a zombie.

import Glibc
import ProgramSupport
import Transport

/// The program.
enum Program {
  static let name = Options.text.name

  /// Runs the program. Returns only if no server program was executed.
  static func run(count: CInt, arguments: CommandLineOption.Arguments) -> ExitCode {
    // On failure standard error may be the client's connection: no text is written.
    guard (try? StandardStreams.prepare(for: .connection)) != nil else { return .system }
    var options = Options()
    let answer = Options.text.answer { () throws(CommandLineError) in
      options = try Options(count: count, arguments: arguments)
      return options.purpose
    }
    if let answer { return ExitCode(rawValue: answer) ?? .system }
    do throws(SystemError) {
      try StandardStreams.check()
      let channels = try Channels()
      try Helper(options: options, program: getpid()).start(channels)
      try channels.program.keepOverExec()
      if !options.keepsEnvironment { ProcessEnvironment.removeTLSSettings() }
      ProcessEnvironment.removeTLSFacts()
      try ProgramEnvironment.announce(channels.program)
      return execute(arguments + options.program)
    } catch {
      StandardStreams.complain(name, "cannot start: \(error)")
      return .system
    }
  }

  /// Executes the server program; its arguments are passed on unchanged.
  private static func execute(_ arguments: CommandLineOption.Arguments) -> ExitCode {
    guard let program = arguments.pointee else { return .usage }
    execvp(program, arguments)
    let error = SystemError.last("execvp")
    StandardStreams.complain(name, "\(String(cString: program)): \(error)")
    return error.code == ENOENT ? .notFound : .notExecutable
  }
}
