// Signals: what each of them does.
//
//   SIGTERM, SIGINT   stop; the second one ends the grace time, the third one the sessions
//   SIGHUP            load the certificates anew
//   others            those whose default is to end a process, or to stop it when it writes to a terminal, are ignored
//
// SIGHUP is blocked from the first moment, so that a hook may send it whenever it likes. Backends get all signals as they
// are by default, see `ChildProcess`.

import CKernel
import Glibc
import Transport

/// The signals in the loop.
final class Signals: EventOwner {
  /// Neither a timer of a parent's nor a reader that is gone nor a full file is a reason to end; nor is a signal meant for
  /// another program.
  private static let ignored = [
    SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGXFSZ, SIGTTOU,
  ]

  private unowned let daemon: Daemon
  private let descriptor: Descriptor

  /// First thing of all.
  static func prepare() {
    for number in ignored { signal(number, SIG_IGN) }
    // An inherited SIG_IGN would let the kernel reap the backends: their ends could not be learnt.
    signal(SIGCHLD, SIG_DFL)
    block([SIGHUP])
  }

  init(_ daemon: Daemon) throws(SystemError) {
    self.daemon = daemon
    var mask = Signals.block([SIGHUP, SIGTERM, SIGINT])
    let number = signalfd(-1, &mask, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    descriptor = Descriptor(adopting: number)
    try daemon.loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
  }

  func ready(now: Int) {
    var information = signalfd_siginfo()
    while read(descriptor.number, &information, MemoryLayout<signalfd_siginfo>.size) > 0 {
      if CInt(information.ssi_signo) == SIGHUP { daemon.reload() } else { daemon.stop(now: now) }
    }
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
