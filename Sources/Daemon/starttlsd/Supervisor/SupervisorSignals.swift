// SupervisorSignals: the effect of each signal on the supervisor.
//
//   SIGTERM, SIGINT   passed on: the workers stop; the second and third one likewise
//   SIGHUP            the configuration is loaded again
//   SIGUSR2           the program on the disk takes over
//   SIGCHLD           a worker has ended
//
// They stay blocked over an execve(2), so that none is lost in a take-over.

import CKernel
import Glibc
import Transport

final class SupervisorSignals: EventOwner {
  private unowned let supervisor: Supervisor
  private let descriptor: Descriptor

  init(_ supervisor: Supervisor) throws(SystemError) {
    self.supervisor = supervisor
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in [SIGHUP, SIGTERM, SIGINT, SIGUSR2, SIGCHLD] { sigaddset(&mask, number) }
    sigprocmask(SIG_BLOCK, &mask, nil)
    // Ignored until now, also by a process that executed this program.
    signal(SIGUSR2, SIG_DFL)
    signal(SIGCHLD, SIG_DFL)
    let number = signalfd(-1, &mask, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    descriptor = Descriptor(adopting: number)
    try supervisor.loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
  }

  func ready(now: Int) {
    var information = signalfd_siginfo()
    while read(descriptor.number, &information, MemoryLayout<signalfd_siginfo>.size) > 0 {
      switch CInt(information.ssi_signo) {
      case SIGHUP: supervisor.reload(now: now)
      case SIGUSR2: supervisor.takeOver(now: now)
      case SIGCHLD: supervisor.reap(now: now)
      default: supervisor.stop(now: now)
      }
    }
  }
}
