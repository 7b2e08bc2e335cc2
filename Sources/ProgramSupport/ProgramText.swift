// ProgramText: the texts of a program for `--help` and `--version`, and its usage errors.
//
// Every program prints `--help` and `--version` on standard output and an error in the command line on standard error,
// with the same exit codes.

/// What a command line requests.
public enum CommandLinePurpose: Hashable, Sendable {
  /// Run the program.
  case serve
  /// Print the text of `--help`.
  case help
  /// Print the text of `--version`.
  case version
}

/// A program's name and its texts.
public struct ProgramText: Sendable {
  /// The name, the prefix of each error message.
  public let name: String
  /// The text of `--help`, with the final line end.
  public let help: String

  /// Creates the texts of a program.
  public init(name: String, help: String) {
    self.name = name
    self.help = help
  }

  /// The text of `--version`, with the final line end.
  public var version: String { "\(name) \(Version.text)\n" }

  /// Parses the command line and handles `--help`, `--version` and errors.
  ///
  /// - Parameter read: parses the command line and returns what it requests.
  /// - Returns: nil if the program must run; otherwise the exit code. 0: a text was printed. 111: it could not be
  ///   printed. 100: the command line is wrong, and an error was written to standard error.
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
