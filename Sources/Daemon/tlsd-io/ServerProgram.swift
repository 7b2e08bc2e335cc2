// ServerProgram: `tlsd-io [options] program...`, for clients that begin with TLS (RFC 8314, 3.3), as s6-tlsd.
//
// The server program gets this process: its number, its parent, its environment and standard error stay. The TLS engine
// is a grandchild, so that the program has neither an unknown child nor a zombie. The program is executed after the
// handshake, with pipes as its standard input and output and the variables that describe the session. If the handshake
// fails, it is not executed; the engine has written why, and the exit code is that of a failed handshake.

import Glibc
import ProgramSupport
import Transport

/// The program that the engine starts.
enum ServerProgram {
  /// Forks. Returns in the engine, with the descriptors in `options`; the original process becomes the server program.
  static func start(_ options: inout Options) throws(Failure) {
    guard let program = options.program else { return }
    do throws(SystemError) {
      let report = try Kernel.pipe()
      let deciphered = try Kernel.pipe()
      let clear = try Kernel.pipe()
      switch try DetachedProcess.fork() {
      case .detached:
        for number in [report.0, deciphered.0, clear.1] { Kernel.close(number) }
        options.notification = report.1
        options.reading = clear.0
        options.writing = deciphered.1
      case .original:
        for number in [report.1, deciphered.1, clear.0] { Kernel.close(number) }
        // The client's connection belongs to the engine.
        guard dup2(deciphered.0, STDIN_FILENO) >= 0, dup2(clear.1, STDOUT_FILENO) >= 0 else { throw .last("dup2") }
        let code = execute(program, Descriptor(adopting: report.0), keepsEnvironment: options.keepsEnvironment)
        _exit(code.rawValue)
      }
    } catch {
      throw Failure("starting the program", error)
    }
  }

  /// Waits for the report, then executes the program. Returns only on failure.
  private static func execute(
    _ program: CommandLineOption.Arguments, _ report: consuming Descriptor, keepsEnvironment: Bool
  ) -> ExitCode {
    guard let environment = read(report) else { return .tls }
    if !keepsEnvironment { ProcessEnvironment.removeTLSSettings() }
    ProcessEnvironment.removeTLSFacts()
    for variable in environment.variables where variable.isImportable {
      if let value = variable.value { setenv(variable.name, value, 1) } else { unsetenv(variable.name) }
    }
    signal(SIGPIPE, SIG_DFL)
    guard let name = program.pointee else { return .usage }
    execvp(name, program)
    let error = SystemError.last("execvp")
    StandardStreams.complain(Program.name, "\(String(cString: name)): \(error)")
    return error.code == ENOENT ? .notFound : .notExecutable
  }

  /// The report of the engine; nil if there is no TLS. The engine's timeout of the handshake ends the wait.
  private static func read(_ report: borrowing Descriptor) -> UCSPIEnvironment? {
    var reader = UCSPIEnvironmentReader()
    var buffer = [UInt8](repeating: 0, count: 4_096)
    let number = report.number
    while true {
      let count = buffer.withUnsafeMutableBytes { (try? Kernel.read(number, $0)) ?? 0 }
      guard count > 0 else { return nil }
      switch reader.receive(buffer[..<count]) {
      case .incomplete: continue
      case .complete(let environment): return environment
      case .refused: return nil
      }
    }
  }
}
