// Signals: the effect of each signal.
//
//   SIGTERM, SIGINT   stop; the second one ends the grace time, the third one the sessions. Of a worker only those of its supervisor
//                     are counted: a service manager may send SIGTERM to all processes. The supervisor sends SIGINT for each
//                     stop, see Worker: a SIGTERM that is pending already does not swallow it
//   SIGHUP            reload the certificates and the access rules; learn the program's greeting again; replace
//                     spare processes of the program
//   SIGUSR2           a warning: only a supervisor (--workers) hands its sockets to a new program. A worker ignores it, since it may
//                     have been sent to all processes
//   others            signals whose default ends a process, or stops it on a write to a terminal, are ignored
//
// SIGHUP is blocked from the start, so that a hook may send it at any time. Backends get all signals with their default
// actions, see `ChildProcess`.

import CKernel
import Glibc
import Logging
import Transport

/// The signals in the event loop.
final class Signals: EventOwner {
  /// A timer inherited from the parent, a reader that is gone, or a full file must not end the daemon; neither must a
  /// signal for another program.
  private static let ignored = [
    SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGXFSZ, SIGTTOU,
  ]

  private unowned let daemon: Daemon
  private let descriptor: Descriptor
  /// The process whose stops are counted; nil for all.
  private let supervisor: pid_t?
  private var countedStops = 0

  /// Call it before anything else.
  static func prepare() {
    for number in ignored { signal(number, SIG_IGN) }
    // With an inherited SIG_IGN the kernel would reap the backends, and their exit status would be lost.
    signal(SIGCHLD, SIG_DFL)
    block([SIGHUP])
  }

  init(_ daemon: Daemon) throws(SystemError) {
    self.daemon = daemon
    // A blocked signal reaches the descriptor, although it is ignored until here.
    supervisor = daemon.configuration.passedDescriptors.worker == nil ? nil : getppid()
    var mask = Signals.block([SIGHUP, SIGTERM, SIGINT] + (supervisor == nil ? [SIGUSR2] : []))
    let number = signalfd(-1, &mask, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    descriptor = Descriptor(adopting: number)
    try daemon.loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
  }

  func ready(now: Int) {
    var information = signalfd_siginfo()
    while read(descriptor.number, &information, MemoryLayout<signalfd_siginfo>.size) > 0 {
      switch CInt(information.ssi_signo) {
      case SIGHUP:
        if daemon.isStopping { continue }
        daemon.notification.reloading(daemon.statusText, now: now)
        daemon.learning?.forget(now: now)
        daemon.spares?.renew(.reload, now: now)
        daemon.certificates.readAgain()
      case SIGUSR2:
        daemon.log.warning(
          "SIGUSR2: one process serves, and no program can take over from it: restart starttlsd, with --workers 2 or more for the next time")
      default: stop(from: pid_t(bitPattern: information.ssi_pid), now: now)
      }
    }
  }

  /// A stop was requested.
  private func stop(from sender: pid_t, now: Int) {
    if let supervisor {
      if sender == supervisor { countedStops += 1 }
      if daemon.isStopping, sender != supervisor || countedStops == 1 { return }
    }
    daemon.stop(now: now)
  }

  @discardableResult
  private static func block(_ numbers: [CInt]) -> sigset_t {
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in numbers { sigaddset(&mask, number) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    return mask
  }
}
