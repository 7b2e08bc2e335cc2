// ProgramText: what a program says before it does anything.
//
// Every program answers `--help` and `--version` on standard output and a wrong command line on standard error, with
// the same exit codes.

/// What a command line asks for.
public enum CommandLinePurpose: Hashable, Sendable {
  /// The program's work.
  case serve
  /// The text of `--help`.
  case help
  /// The text of `--version`.
  case version
}

/// A program's name and the texts about it.
public struct ProgramText: Sendable {
  /// The name, as it stands before each complaint.
  public let name: String
  /// The answer to `--help`, with the end of its last line.
  public let help: String

  /// The texts of a program.
  public init(name: String, help: String) {
    self.name = name
    self.help = help
  }

  /// The answer to `--version`, with the end of its line.
  public var version: String { "\(name) \(Version.text)\n" }

  /// Has the command line read, and answers it where it asks for no work.
  ///
  /// - Parameter read: reads the command line and says what it asks for.
  /// - Returns: nil when the work is to be done; otherwise the exit code: 0 a text was printed, 111 it could not be,
  ///   100 the command line is wrong, which was said on standard error.
  public func answer(_ read: () throws(CommandLineError) -> CommandLinePurpose) -> CInt? {
    do throws(CommandLineError) {
      switch try read() {
      case .serve: return nil
      case .help: return StandardStreams.print(help) ? 0 : 111
      case .version: return StandardStreams.print(version) ? 0 : 111
      }
    } catch {
      StandardStreams.complain(name, error.description)
      return 100
    }
  }
}
