// StartTLSCheck: the command line of starttls-check. Failure: a CheckFailure, whose text is one line.

import ArgumentParser
import Glibc
import ProgramSupport
import SMTPProbe
import Transport

/// `starttls-check [options] host:port`
struct StartTLSCheck: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttls-check",
    abstract: "Checks how an SMTP server handles STARTTLS.",
    discussion: """
      starttls-check plays the scripts of its checks against a server: octets after STARTTLS that must not be executed inside \
      TLS, state that must not survive the handshake, failures, framing, TLS itself. Each check ends with conforms, deviates \
      (allowed but risky) or vulnerable. One connection is open at a time. Without --i-own-this-server no message is sent.

      The exit code is 0 if no check found a weakness, 1 if one did, 2 if the server could not be checked to the end, 100 if \
      the command line is wrong, 111 if the system refused a request.
      """,
    version: "starttls-check \(Version.text)")

  @Argument(help: ArgumentHelp("The server.", valueName: "host:port"))
  var server: String?

  @Flag(help: "Print the checks, do not run them.")
  var list = false

  @Option(help: ArgumentHelp("Run only this check or group; may be repeated. A name may end with *.", valueName: "name"))
  var only: [String] = []

  @Option(help: ArgumentHelp("Read the checks from a folder.", valueName: "folder"))
  var checks: String?

  @Flag(help: "A deviation counts as found: exit code 1.")
  var strict = false

  @OptionGroup(title: "Output") var output: OutputOptions
  @OptionGroup(title: "What is known about the server") var known: TargetOptions
  @OptionGroup(title: "Time") var times: TimeOptions

  @Flag(help: "Try every position of a STARTTLS line in its segment, not only those near usual sizes of buffers: minutes.")
  var thorough = false

  /// - Returns: the exit code.
  func check() throws(CheckFailure) -> Int32 {
    let all = if let checks { try CheckCollection.read(checks) } else { try CheckCollection.embedded() }
    let collection = try all.only(only)
    if list {
      CheckList.print(collection.checks)
      return ExitCode.conforms
    }
    guard let server else { throw CheckFailure("no server: give host:port; see --help", ExitCode.usage) }
    let target = try known.target(server)
    let timing = try times.timing(isLoopback: target.addresses.allSatisfy(\.isLoopback), isThorough: thorough)
    var run = CheckRun(target: target, timing: timing, isThorough: thorough)
    let report = try output.report(target, checks: collection.checks)
    var outcomes: [Outcome] = []
    var failure: String?
    do throws(CheckFailure) {
      // Nothing is sent if no check can be run.
      if collection.checks.contains(where: { $0.needs.isSubset(of: target.needs) }) {
        try run.control()
        report.chose(run.target.addresses[0])
      }
      if let obstacle = run.obstacle, obstacle.stops { throw obstacle.failure }
      for check in collection.checks {
        report.begins(check)
        let outcome = try run.run(check)
        outcomes.append(outcome)
        report.ended(outcome)
        if outcome.finding.stops { throw outcome.finding.failure }
      }
      if let obstacle = run.obstacle, run.hasLeftOut { throw obstacle.failure }
    } catch {
      guard error.code == ExitCode.incomplete else { throw error }
      failure = error.text
    }
    report.finish(outcomes, failure)
    if let failure { StandardStreams.complain("starttls-check", "stopped: \(failure)") }
    return exitCode(outcomes, failure)
  }

  private func exitCode(_ outcomes: [Outcome], _ failure: String?) -> Int32 {
    let worst = outcomes.map(\.finding.verdict).max() ?? .untested
    if worst == .vulnerable || strict && worst == .deviates { return ExitCode.found }
    return failure != nil || worst == .untested ? ExitCode.incomplete : ExitCode.conforms
  }
}

extension Finding {
  /// For a finding that prevents other checks.
  fileprivate var failure: CheckFailure { CheckFailure("\(text) \(observed)", ExitCode.incomplete) }
}
