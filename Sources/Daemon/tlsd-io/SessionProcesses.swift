// SessionProcesses: the processes of an engine's sessions, and how many there may be.
//
// Contract: a process counts from its fork until it has ended. The engine waits for `descriptor` besides its socket, so that an
// ended process is reaped at once. Children that an earlier program of this process has left are reaped too, and count nothing.

import CKernel
import Glibc
import Transport

/// The processes of the sessions.
struct SessionProcesses: ~Copyable {
  /// The most processes; 0: no limit.
  let limit: Int
  /// Readable when a process has ended.
  let descriptor: Descriptor
  private var running: Set<pid_t> = []

  /// Blocks SIGCHLD, which is then received with the descriptor.
  init(limit: Int) throws(SystemError) {
    self.limit = limit
    // With an inherited SIG_IGN the kernel would reap, and no end would be seen.
    signal(SIGCHLD, SIG_DFL)
    var set = SessionProcesses.signals
    sigprocmask(SIG_BLOCK, &set, nil)
    let number = signalfd(-1, &set, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    descriptor = Descriptor(adopting: number)
  }

  /// True if no further session may begin.
  var isFull: Bool { limit > 0 && running.count >= limit }

  /// Forks; true in the process of the session.
  mutating func fork() throws(SystemError) -> Bool {
    let process = try Kernel.fork()
    if process > 0 { running.insert(process) }
    guard process == 0 else { return false }
    var set = SessionProcesses.signals
    sigprocmask(SIG_UNBLOCK, &set, nil)
    return true
  }

  /// Reaps the processes that have ended.
  mutating func reap() {
    var facts = signalfd_siginfo()
    while read(descriptor.number, &facts, MemoryLayout<signalfd_siginfo>.size) > 0 {}
    while case let process = waitpid(-1, nil, WNOHANG), process > 0 { running.remove(process) }
  }

  private static var signals: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGCHLD)
    return set
  }
}
