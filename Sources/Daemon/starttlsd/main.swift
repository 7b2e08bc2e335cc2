// starttlsd: parses the command line, runs the daemon, and reports a failure in one line.

import ArgumentParser
import Glibc
import ProgramSupport
import Transport

func complain(_ text: String, _ code: Int32) -> Never {
  // What `check` has printed comes first, also where standard output is a file or a pipe and so is not written line by line.
  fflush(nil)
  StandardStreams.complain("starttlsd", text.split(whereSeparator: \.isNewline).joined(separator: " "))
  exit(code)
}

// On failure standard error may be the client's connection: no text is written.
guard (try? StandardStreams.prepare(for: .daemon)) != nil else { exit(ExitCode.system) }

do {
  var command = try SubCommands.parse(Array(CommandLine.arguments.dropFirst()))
  try command.run()
} catch let error as ConfigurationError {
  complain(error.description, error.code)
} catch let error as SystemError {
  complain(error.description, ExitCode.system)
} catch {
  // Help and version of the argument parser are no errors.
  if StartTLSDaemon.exitCode(for: error).isSuccess { StartTLSDaemon.exit(withError: error) }
  complain("\(StartTLSDaemon.message(for: error)); see --help", ExitCode.usage)
}
