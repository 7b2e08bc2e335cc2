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
// Whoever can connect can use up processes: each connection has one, for 5 s without a request, and as long as its client stays
// with one. So their number is limited.
//
// Failure: what prevents the start is a Failure. Later, a session that cannot be served, or is one too many, is refused, and its
// helper executes an engine. A signal ends this process; the sessions go on.

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
    // A hang-up is no reason to end.
    signal(SIGHUP, SIG_IGN)
    let processes: SessionProcesses
    do throws(SystemError) { processes = try SessionProcesses(limit: options.sessionsLimit) } catch { throw Failure("signals", error) }
    serve(try listener(path), processes, own, files, priorities)
  }

  private static func listener(_ path: String) throws(Failure) -> MessageListener {
    do throws(SystemError) {
      return try MessageListener(path)
    } catch {
      throw Failure("--listen \(path)", error)
    }
  }

  private static func serve(
    _ listener: borrowing MessageListener, _ processes: consuming SessionProcesses, _ own: EngineRequest, _ files: EngineFiles,
    _ priorities: TLSPriorities
  ) -> Never {
    var processes = processes
    var refusals = RefusalCount()
    while true {
      do throws(SystemError) {
        let isOffered = try wait(listener, processes, until: refusals.deadline)
        processes.reap()
        if isOffered {
          let socket = try listener.accept()
          if processes.isFull {
            socket.refuse("it has \(processes.limit) sessions already (--max-sessions)")
            refusals.add()
          } else {
            if let trouble = files.refresh(own.options) { complain(trouble, own.options) }
            let isSession: Bool
            do throws(SystemError) {
              isSession = try processes.fork()
            } catch {
              socket.refuse("\(error)")
              throw error
            }
            if isSession { EngineSession(own: own, files: files, priorities: priorities).run(socket) }
          }
        }
      } catch {
        // No descriptor or no memory for a process. The helper sees the end and executes an engine.
        if error.code != ECONNABORTED {
          complain("a session could not be taken: \(error)", own.options)
          poll(nil, 0, 100)
        }
      }
      if let count = refusals.take(now: Clock.now()) {
        complain("refused \(count) sessions: \(processes.limit) run, see --max-sessions", own.options)
      }
    }
  }

  /// Waits until a session is offered, a process has ended, or the time has come.
  ///
  /// - Returns: true if a session is offered.
  private static func wait(
    _ listener: borrowing MessageListener, _ processes: borrowing SessionProcesses, until deadline: Int?
  ) throws(SystemError) -> Bool {
    var entries = [listener.number, processes.descriptor.number].map { pollfd(fd: $0, events: CShort(POLLIN), revents: 0) }
    return try Waiting.wait(&entries, until: deadline) && entries[0].revents != 0
  }

  private static func complain(_ text: String, _ options: TLSHelperOptions) {
    if options.verbosity >= 1 { StandardStreams.complain(Program.name, text) }
  }
}
