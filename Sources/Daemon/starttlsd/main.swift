// The program: parses, runs, and says in one line why not.

import ArgumentParser
import Glibc
import ProgramSupport
import Transport

func complain(_ text: String, _ code: Int32) -> Never {
  StandardStreams.complain("starttlsd", text.split(whereSeparator: \.isNewline).joined(separator: " "))
  exit(code)
}

// What went wrong could only be said to the client.
guard (try? StandardStreams.prepare(for: .daemon)) != nil else { exit(ExitCode.system) }

do {
  var command = try StartTLSDaemon.parseAsRoot()
  try command.run()
} catch let error as ConfigurationError {
  complain(error.description, error.code)
} catch let error as SystemError {
  complain(error.description, ExitCode.system)
} catch {
  // What the argument parser says: help and version are no errors.
  if StartTLSDaemon.exitCode(for: error).isSuccess { StartTLSDaemon.exit(withError: error) }
  complain("\(StartTLSDaemon.message(for: error)); see --help", ExitCode.usage)
}
