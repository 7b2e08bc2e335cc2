// Engine: `tlsd-io --listen`, which waits for sessions and forks a process for each.
//
// What costs the most in a session's process is its start: the libraries, their initialisation, the certificates. Here this is
// done once. A session still has a process of its own, which drops its privileges before it reads an octet of its client, so
// neither keys in use nor a fault are shared between clients more than before. This process parses nothing that a client
// sends.
//
// Files are looked at before each session, and read again if one has changed. If the new ones cannot be used, the earlier ones
// stay, with one line in the log.
//
// Failure: what prevents the start is a Failure. Later, a session that cannot be served is refused, and its helper executes
// an engine. A signal ends this process; the sessions go on.

import CKernel
import Glibc
import ProgramSupport
import Transport
import TransportTLS

enum Engine {
  /// Serves until a signal ends the process.
  static func run(_ options: Options, at path: String) throws(Failure) -> Never {
    do throws(SystemError) { try StandardStreams.prepare(for: .daemon) } catch { throw Failure("standard streams", error) }
    let own = EngineRequest(options.helper, isReporting: false)
    let priorities = try Program.priorities(options.helper)
    let files = try EngineFiles(own)
    Program.warn(files.credentials, options.helper)
    // The kernel reaps the sessions' processes. A hang-up is no reason to end.
    signal(SIGCHLD, SIG_IGN)
    signal(SIGHUP, SIG_IGN)
    serve(try listener(path), own, files, priorities)
  }

  private static func listener(_ path: String) throws(Failure) -> MessageListener {
    do throws(SystemError) {
      return try MessageListener(path)
    } catch {
      throw Failure("--listen \(path)", error)
    }
  }

  private static func serve(
    _ listener: borrowing MessageListener, _ own: EngineRequest, _ files: EngineFiles, _ priorities: TLSPriorities
  ) -> Never {
    while true {
      do throws(SystemError) {
        let socket = try listener.accept()
        if let trouble = files.refresh(own.options) { complain(trouble, own.options) }
        if try Kernel.fork() == 0 { EngineSession(own: own, files: files, priorities: priorities).run(socket) }
      } catch {
        // No descriptor or no memory for a process. The helper sees the end and executes an engine.
        if error.code != ECONNABORTED {
          complain("a session could not be taken: \(error)", own.options)
          poll(nil, 0, 100)
        }
      }
    }
  }

  private static func complain(_ text: String, _ options: TLSHelperOptions) {
    if options.verbosity >= 1 { StandardStreams.complain(Program.name, text) }
  }
}
