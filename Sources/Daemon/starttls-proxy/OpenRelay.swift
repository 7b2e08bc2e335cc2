// OpenRelay: keeps a server program from relaying mail for everybody.
//
// The server program's descriptor 0 is a socket pair. One that asks who is at its other end, and trusts whoever is no TCP
// socket, relays for every client. The proxy starts anew for each connection and cannot ask each time: it refuses by name
// those that are known for it, and `--check` asks any program once.

import Glibc
import ProgramSupport
import RelayProbe
import SMTPState
import Transport

enum OpenRelay {
  /// Refuses a program that is known to trust its descriptor and is not given the client's address.
  ///
  /// - Returns: the exit code, after the line about it was written; nil for any other program.
  static func refuse(_ program: CommandLineOption.Arguments) -> ExitCode? {
    guard let known = KnownProgram.trusting(UnsafePointer(program)) else { return nil }
    StandardStreams.complain(
      Program.name,
      "\(name(program)) would be an open relay: \(RelayFinding.remedy(for: known)), or give --trusting-backend if that is intended")
    return .usage
  }

  /// Starts the program once, as for a session, and prints whether it accepts mail for strangers from strangers.
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
