// starttls-check: parses the command line, runs the checks, and reports a failure in one line.

import ArgumentParser
import CKernel
import Glibc
import ProgramSupport

func complain(_ text: String, _ code: Int32) -> Never {
  StandardStreams.complain("starttls-check", text.split(whereSeparator: \.isNewline).joined(separator: " "))
  exit(code)
}

guard (try? StandardStreams.prepare(for: .daemon)) != nil else { exit(ExitCode.system) }
signal(SIGPIPE, SIG_IGN)

do {
  let code = try StartTLSCheck.parse(Array(CommandLine.arguments.dropFirst())).check()
  // Otherwise a report that is cut off would look like one without findings.
  guard kernel_flush_output() else { throw CheckFailure("the report cannot be written to standard output", ExitCode.system) }
  exit(code)
} catch let failure as CheckFailure {
  complain(failure.text, failure.code)
} catch {
  // Help and version of the argument parser are no errors.
  if StartTLSCheck.exitCode(for: error).isSuccess { StartTLSCheck.exit(withError: error) }
  complain("\(StartTLSCheck.message(for: error)); see --help", ExitCode.usage)
}
