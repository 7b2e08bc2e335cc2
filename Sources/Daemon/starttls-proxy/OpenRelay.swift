// OpenRelay: prevents the use of a server program that relays mail for everybody.
//
// The server program's descriptor 0 is a socket pair. A program that examines its peer, and trusts every peer that is
// not a TCP socket, relays for every client. The proxy is started for each connection and cannot test the program each
// time. So it refuses the programs that are known for this by name, and `--check` tests any program once.

import Glibc
import ProgramSupport
import RelayProbe
import SMTPState
import Transport

enum OpenRelay {
  /// Refuses a program that is known to trust its descriptor and does not get the client's address.
  ///
  /// - Returns: the exit code, after an error line was written; nil for any other program.
  static func refuse(_ program: CommandLineOption.Arguments) -> ExitCode? {
    guard let known = KnownProgram.trusting(UnsafePointer(program)) else { return nil }
    StandardStreams.complain(
      Program.name,
      """
      \(name(program)) would be an open relay: \(RelayFinding.remedy(for: known)), or give --trusting-backend if that is \
      intended
      """)
    return .usage
  }

  /// Starts the program once, as for a session, and prints if it accepts mail from an unknown client to another domain.
  static func check(_ options: Options, _ program: CommandLineOption.Arguments) throws(SystemError) -> ExitCode {
    ProgramEnvironment.clean()
    ProgramEnvironment.cleanConnection()
    let probed = RelayProbe.Program(
      arguments: strings(UnsafePointer(program)), environment: strings(UnsafePointer(environ)) + RelayProbe.connection())
    let findings = try RelayProbe.run([probed], isLMTP: options.policy.mailProtocol == .lmtp)
    guard let finding = findings.first else { return .system }
    let text = "\(name(program)) \(finding)"
    switch finding {
    case .refuses:
      return StandardStreams.print("\(text)\n") ? .done : .system
    case .defers:
      StandardStreams.complain(Program.name, text)
      return .done
    case .accepts:
      StandardStreams.complain(Program.name, "\(text); \(RelayFinding.remedy(for: nil))")
      return .usage
    case .untried:
      StandardStreams.complain(Program.name, text)
      return .usage
    case .broken:
      StandardStreams.complain(Program.name, text)
      return .system
    }
  }

  private static func name(_ program: CommandLineOption.Arguments) -> String {
    program.pointee.map { String(cString: $0) } ?? ""
  }

  private static func strings(_ list: UnsafePointer<UnsafeMutablePointer<CChar>?>) -> [String] {
    var strings: [String] = []
    var entry = list
    while let text = entry.pointee {
      strings.append(String(cString: text))
      entry += 1
    }
    return strings
  }
}
