// Helper: the process that waits for the server program's command.
//
// It holds only the client's descriptors and its ends of the channels, and waits without a TLS library in its memory.
// Then, depending on the input of the control socket:
//
//   y        the control socket is closed, the TLS engine is executed
//   Y        the engine is executed and reports the session on the control socket
//   end      TLS was declined: exit 0
//   other    exit 100
//
// With --engine-socket the session is first offered to an engine that runs, see `RunningEngine`.
//
// Every obstacle to TLS that can be detected without a TLS library is detected before it waits. It then ends at once:
// the server program sees the end of the control socket and does not offer STARTTLS.

import Glibc
import ProgramSupport
import Transport

/// Starts the helper and runs it.
struct Helper {
  let options: Options
  /// The server program's process number, for messages.
  let program: pid_t

  /// Starts the helper.
  func start(_ channels: borrowing Channels) throws(SystemError) {
    if case .detached = try DetachedProcess.fork() { serve(channels.helper) }
  }

  /// Runs the helper.
  private func serve(_ ends: borrowing ChannelEnds) -> Never {
    ends.closeOthers()
    let engine: Engine
    do throws(Obstacle) {
      engine = try Engine(options)
    } catch {
      fail(error.code, error.description)
    }
    do throws(SystemError) {
      switch try command(ends.control) {
      case nil:
        say("declined opportunistic TLS")
        _exit(ExitCode.done.rawValue)
      case UInt8(ascii: "y"):
        try ends.keepOverExec()
        // The exec closes it: the sender of y expects no report.
        try ends.control.setCloseOnExec(true)
        say("accepted opportunistic TLS")
        pass(ends, isReporting: false)
        engine.execute(ends, isReporting: false)
      case UInt8(ascii: "Y"):
        // No more octets are accepted from the server program.
        try? Kernel.shutdown(ends.control.number, CInt(SHUT_RD))
        try ends.keepOverExec()
        say("accepted opportunistic TLS")
        pass(ends, isReporting: true)
        engine.execute(ends, isReporting: true)
      case .some:
        fail(.usage, "unrecognized command on the control socket")
      }
    } catch {
      fail(.system, "helper: \(error)")
    }
    let error = SystemError.last("execve")
    fail(error.code == ENOENT ? .notFound : .notExecutable, "\(String(cString: engine.path)): \(error)")
  }

  /// Passes the session to an engine that runs. Returns if none takes it.
  private func pass(_ ends: borrowing ChannelEnds, isReporting: Bool) {
    guard let path = options.engineSocket else { return }
    let engine = RunningEngine(path: path, request: EngineRequest(options.helper, isReporting: isReporting))
    do throws(RunningEngine.Refusal) {
      let code = try engine.serve(ends)
      guard let code else { fail(.system, "the engine at \(path) ended in the session") }
      _exit(code)
    } catch {
      // The session is served, only at a higher cost.
      if options.helper.verbosity >= 1 {
        StandardStreams.complain(Program.name, "the engine at \(path) does not take the session: \(error.description); executing one")
      }
    }
  }

  /// Waits for one octet; nil at the end.
  private func command(_ control: borrowing Descriptor) throws(SystemError) -> UInt8? {
    var octet: UInt8 = 0
    do {
      let count = try withUnsafeMutableBytes(of: &octet) { (buffer) throws(SystemError) in
        try Kernel.recv(control.number, buffer, 0)
      }
      return count == 1 ? octet : nil
    } catch {
      if error.code == ECONNRESET { return nil }
      throw error
    }
  }

  private func say(_ what: String) {
    if options.helper.verbosity >= 2 { StandardStreams.complain(Program.name, "pid \(program) \(what)") }
  }

  private func fail(_ code: ExitCode, _ text: String) -> Never {
    if options.helper.verbosity >= 1 { StandardStreams.complain(Program.name, text) }
    _exit(code.rawValue)
  }
}
