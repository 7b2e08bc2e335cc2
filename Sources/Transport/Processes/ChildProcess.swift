// ChildProcess: a program started with one descriptor as its standard input and output.
//
// Contract: the child gets descriptors 0 and 1 (the given one), 2 (inherited) and no other. No signal is blocked or
// ignored. The environment is exactly the given one. The child has its own session and process group, so that signals
// of a terminal do not reach it and it can be ended together with the processes it started. The value owns the process:
// if the value ends before the process was reaped, the process group is killed and the process is reaped, so that
// neither a process nor a zombie remains. The program must not ignore SIGCHLD.
//
// Failure: if the program cannot be executed, `init` throws; no child is left.

import CKernel
import Glibc

/// A running child process, owned.
package struct ChildProcess: ~Copyable, Sendable {
  /// The process number, for messages. To send a signal use `signal`, which cannot reach another process.
  package let process: CInt

  /// The descriptor of the process (pidfd), close-on-exec: poll reports readable once the process has ended.
  package let descriptor: Descriptor

  private var end: ProcessEnd?

  /// Starts a program.
  ///
  /// - Parameters:
  ///   - arguments: the program and its arguments. The program is searched in this process's PATH unless it contains a slash.
  ///   - environment: the complete environment, `NAME=value` each.
  ///   - standardStreams: becomes the child's descriptors 0 and 1. Close it in this process afterwards, or the child
  ///     never receives its end.
  ///   - limit: the child's limits of descriptors, if they differ from this process's own. Only as far as the hard limit of
  ///     this process allows.
  ///   - setting: the user and the other limits of the child.
  ///   - slot: for a process with many descriptors, see `StartSlot`.
  /// - Throws: ENOENT, EACCES, ENOEXEC and others from execve; EINVAL without arguments or for a string with NUL.
  package init(
    _ arguments: [String], environment: [String], standardStreams: borrowing Descriptor, limit: OpenFilesLimit? = nil,
    setting: ProgramSetting = ProgramSetting(), through slot: StartSlot? = nil
  ) throws(SystemError) {
    let start = try ProgramStart(arguments, environment, limit, setting)
    let started =
      if let slot {
        try slot.lend(standardStreams.number) { number throws(SystemError) in try start.spawn(number) }
      } else {
        try start.spawn(standardStreams.number)
      }
    process = started.process
    descriptor = Descriptor(adopting: started.descriptor)
  }

  deinit {
    guard end == nil else { return }
    try? Kernel.signalGroup(process, SIGKILL)
    Kernel.destroy(process)
  }

  /// True if the process has ended. This does not reap it: the process number stays reserved.
  package borrowing func hasEnded() -> Bool {
    end != nil || (try? Kernel.pollNow(descriptor.number, CInt(POLLIN))) ?? 0 != 0
  }

  /// How the process ended, or nil while it runs. This does not reap it.
  package borrowing func look() -> ProcessEnd? {
    if let end { return end }
    guard let answer = try? Kernel.look(descriptor.number) else { return nil }
    return answer.killed ? .signalled(answer.value) : .exited(answer.value)
  }

  /// How the process ended, or nil while it runs. Reaps it once; never waits.
  package mutating func reap() throws(SystemError) -> ProcessEnd? {
    if let end { return end }
    guard let answer = try Kernel.reap(descriptor.number) else { return nil }
    let end: ProcessEnd = answer.killed ? .signalled(answer.value) : .exited(answer.value)
    self.end = end
    return end
  }

  /// Sends a signal. It is no error if the process has already ended.
  package borrowing func signal(_ signal: CInt) throws(SystemError) {
    guard end == nil else { return }
    do {
      try Kernel.signal(descriptor.number, signal)
    } catch {
      if error.code != ESRCH { throw error }
    }
  }
}

extension ChildProcess {
  /// Sends a signal to the process and to the processes that it started and that are still in its process group. This
  /// works also after the process has ended, until it is reaped. After that nothing is sent, since the number may
  /// belong to another process.
  package borrowing func signalGroup(_ signal: CInt) throws(SystemError) {
    guard end == nil else { return }
    do {
      try Kernel.signalGroup(process, signal)
    } catch {
      if error.code != ESRCH { throw error }
    }
  }
}

/// How a process ended.
package enum ProcessEnd: Hashable, Sendable {
  /// It exited with this code.
  case exited(CInt)
  /// This signal ended it.
  case signalled(CInt)
}
