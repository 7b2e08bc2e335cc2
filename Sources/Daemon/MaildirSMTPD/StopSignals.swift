// StopSignals: SIGTERM, SIGINT and SIGHUP as a descriptor to poll.
//
// The signals are blocked and read from a descriptor, so that none interrupts the storage of a message: the session
// ends between two steps. SIGPIPE and SIGXFSZ are ignored; the write that caused them reports the error. A signal that
// was ignored at the start (nohup) stays ignored.

internal import CKernel
import Glibc
import Transport

/// The signals that stop the program.
struct StopSignals: ~Copyable {
  /// Readable after a signal was received.
  let descriptor: Descriptor

  private static let numbers = [SIGTERM, SIGINT, SIGHUP]

  /// Takes over the signals for the whole process.
  init() throws(SystemError) {
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    var set = sigset_t()
    sigemptyset(&set)
    for number in StopSignals.numbers where !StopSignals.isIgnored(number) { sigaddset(&set, number) }
    sigprocmask(SIG_BLOCK, &set, nil)
    let number = signalfd(-1, &set, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    self.descriptor = Descriptor(adopting: number)
  }

  /// The signal received; nil if there is none.
  func next() -> CInt? {
    var facts = signalfd_siginfo()
    let count = withUnsafeMutableBytes(of: &facts) { (try? Kernel.read(descriptor.number, $0)) ?? 0 }
    return count == MemoryLayout<signalfd_siginfo>.size ? CInt(facts.ssi_signo) : nil
  }

  /// Ends the process by the signal, so that its parent sees the cause. Returns only if the kernel protects the process
  /// from the signal, as it does for process 1.
  static func die(by number: CInt) {
    signal(number, SIG_DFL)
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, number)
    kill(getpid(), number)
    sigprocmask(SIG_UNBLOCK, &set, nil)
  }

  private static func isIgnored(_ number: CInt) -> Bool {
    var action = sigaction()
    guard sigaction(number, nil, &action) == 0 else { return false }
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}
