// Program: maildir-smtpd from its arguments to its exit code.

import Glibc
import Transport

/// The program.
public enum Program {
  /// Does what the arguments say, on the descriptors 0 and 1.
  ///
  /// - Returns: the exit code.
  public static func run(
    count: CInt, arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  ) -> ExitCode {
    let options: Options
    do throws(UsageError) {
      options = try Options.parse(count: count, arguments: arguments)
    } catch {
      LogLine.write(error.description)
      return .usage
    }
    switch options.purpose {
    case .help: return printed(Options.help)
    case .version: return printed(Options.version)
    case .serve: return serve(options)
    }
  }

  private static func serve(_ options: Options) -> ExitCode {
    do throws(SystemError) {
      try prepareDescriptors()
      let wire = try Wire(input: STDIN_FILENO, output: STDOUT_FILENO, signals: StopSignals())
      let connection = Connection { name in getenv(name).map { String(cString: $0) } }
      var server = Server(
        options: options, connection: connection, host: options.hostname ?? HostName.ofSystem(), wire: wire)
      return server.run()
    } catch {
      LogLine.write("cannot start: \(error)")
      return .system
    }
  }

  /// Makes sure that 0, 1 and 2 are open before anything else is opened: a file of the Maildir must never get one of
  /// these numbers.
  private static func prepareDescriptors() throws(SystemError) {
    _ = try Kernel.control(STDIN_FILENO, F_GETFD)
    _ = try Kernel.control(STDOUT_FILENO, F_GETFD)
    // Without a standard error the log goes nowhere. The lowest free number is that of standard error.
    if (try? Kernel.control(STDERR_FILENO, F_GETFD)) == nil { _ = try Kernel.open("/dev/null", O_WRONLY) }
  }

  private static func printed(_ text: String) -> ExitCode {
    let octets = Array(text.utf8)
    let written = octets.withUnsafeBytes { try? Kernel.write(STDOUT_FILENO, $0) }
    return written == octets.count ? .done : .system
  }
}
