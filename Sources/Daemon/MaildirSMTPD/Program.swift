// Program: maildir-smtpd from its arguments to its exit code.
//
// maildir-smtpd is a server for demonstrations and tests: the project needs one that is always there, accepts mail and
// shows where it went. It is no replacement for a mail server: one Maildir, no queue, no aliases, no authentication. It is
// still the server of the quick start, so it must be safe where strangers reach it: it never relays, every input is
// bounded, and a message that was accepted is on disk.

import Glibc
import ProgramSupport
import Transport

/// The program.
public enum Program {
  /// Runs the program on the descriptors 0 and 1.
  ///
  /// - Returns: the exit code.
  public static func run(
    count: CInt, arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  ) -> ExitCode {
    // On failure standard error may be the client's connection: no text is written.
    guard (try? StandardStreams.prepare(for: .connection)) != nil else { return .system }
    var options = Options()
    let answer = Options.text.answer { () throws(CommandLineError) in
      options = try Options(count: count, arguments: arguments)
      return options.purpose
    }
    if let answer { return ExitCode(rawValue: answer) ?? .system }
    return serve(options)
  }

  private static func serve(_ options: Options) -> ExitCode {
    do throws(SystemError) {
      try StandardStreams.check()
      let connection = Connection(peer: Program.peer) { name in getenv(name).map { String(cString: $0) } }
      let wire = try Wire(input: STDIN_FILENO, output: STDOUT_FILENO, signals: StopSignals())
      var server = Server(
        options: options, connection: connection, host: options.hostname ?? HostName.ofSystem(), wire: wire)
      return server.run()
    } catch {
      LogLine.write("cannot start: \(error)")
      return .system
    }
  }

  /// The peer's address of standard input, if that is an IP socket; nil otherwise.
  private static func peer() -> SocketAddress? {
    let input = Descriptor(adopting: STDIN_FILENO)
    let peer = try? input.peerAddress()
    // It stays open; the wire takes ownership later.
    _ = input.release()
    return peer?.port == nil ? nil : peer
  }
}
