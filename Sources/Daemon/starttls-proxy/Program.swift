// Program: starttls-proxy from its arguments to the exec of the server program.
//
// The server program gets this process: its number, standard error, signals and the rest of its environment stay. Its
// standard input and output become one end of a socket pair. The proxy, a separate process (see DetachedProcess), has
// the other end. Whichever ends first, the other sees the end of its socket.
//
// The proxy owns the client's connection and the channels to the helper. The exception is ucspi-ssl, where the end of
// the control socket is the end of the server program. There the server program keeps the control socket, without a
// variable that names it. Inside TLS the proxy keeps its own as long as it has octets to deliver.

import CKernel
import Glibc
import ProgramSupport
import Transport

/// The program.
enum Program {
  static let name = Options.text.name

  /// Runs the program. In the original process it returns only if no server program was executed.
  static func run(count: CInt, arguments: CommandLineOption.Arguments) -> ExitCode {
    // On failure standard error may be the client's connection: no text is written.
    guard (try? StandardStreams.prepare(for: .connection)) != nil else { return .system }
    var options = Options()
    let answer = Options.text.answer { () throws(CommandLineError) in
      options = try Options(count: count, arguments: arguments)
      return options.purpose
    }
    if let answer { return ExitCode(rawValue: answer) ?? .system }
    do throws(SystemError) {
      try StandardStreams.check()
      if !options.trustsProgram, let refusal = OpenRelay.refuse(arguments + options.program) { return refusal }
      if options.checks { return try OpenRelay.check(options, arguments + options.program) }
      return try serve(options, arguments + options.program)
    } catch {
      StandardStreams.complain(name, "cannot start: \(error)")
      return .system
    }
  }

  private static func serve(
    _ options: Options, _ program: CommandLineOption.Arguments
  ) throws(SystemError) -> ExitCode {
    let channels: UCSPIChannels
    do throws(UCSPIChannelsError) {
      channels = try UCSPIChannels(ProcessEnvironment.value)
    } catch {
      StandardStreams.complain(name, error.description)
      return .usage
    }
    let keepsControl: Bool
    switch options.helper {
    case .found: keepsControl = ProgramEnvironment.isOfUCSPISSL
    case .ordinary: keepsControl = false
    case .ucspiSSL: keepsControl = true
    }
    let ends: (CInt, CInt)
    let process: DetachedProcess
    do throws(SystemError) {
      ends = try Kernel.socketPair()
      process = try DetachedProcess.fork()
    } catch {
      refuse()
      throw error
    }
    let proxyEnd = Descriptor(adopting: ends.0)
    let programEnd = Descriptor(adopting: ends.1)
    switch process {
    case .detached:
      _ = consume programEnd
      let stream = UCSPIStream(channels, keepsControl: keepsControl)
      _exit(Proxy.run(options, stream, server: proxyEnd).rawValue)
    case .original:
      _ = consume proxyEnd
      if keepsControl { try channels.leaveControlOpen() } else { _ = consume channels }
      // This closes the client's connection here: now only the proxy and the helper have it.
      for target in [STDIN_FILENO, STDOUT_FILENO] where dup2(programEnd.number, target) < 0 {
        throw SystemError.last("dup2")
      }
      ProgramEnvironment.clean()
      return execute(program)
    }
  }

  /// There is no proxy that would answer the client.
  private static func refuse() {
    // The client may be gone.
    signal(SIGPIPE, SIG_IGN)
    _ = StandardStreams.print("\(ServiceReply.serverUnavailable)")
    try? Kernel.shutdown(STDOUT_FILENO, CInt(SHUT_WR))
  }

  /// Executes the server program; its arguments are passed on unchanged.
  private static func execute(_ arguments: CommandLineOption.Arguments) -> ExitCode {
    guard let program = arguments.pointee else { return .usage }
    execvp(program, arguments)
    let error = SystemError.last("execvp")
    StandardStreams.complain(name, "\(String(cString: program)): \(error)")
    return error.code == ENOENT ? .notFound : .notExecutable
  }
}
