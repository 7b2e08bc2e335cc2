// WorkerStart: executes starttlsd as a worker.
//
// Contract: the worker has descriptors 0, 1 and 2 of the supervisor, from 3 on those that it is given, and no other. It is in a
// process group of its own, so that a signal of a terminal reaches the supervisor alone, which passes it on. SIGHUP stays blocked
// until the worker waits for it.
//
// Failure: a SystemError of fork(2). If the program cannot be executed, the child writes one line and exits with code 111.

import CKernel
import Glibc
import ProgramSupport
import Transport

enum WorkerStart {
  /// The program that the supervisor itself executes, also after its file was replaced.
  static let ownProgram = "/proc/self/exe"

  private static let first: CInt = 3

  /// - Parameters:
  ///   - descriptors: become 3, 4 and so on.
  ///   - variables: more variables. LISTEN_PID is added.
  static func start(
    _ program: String, _ arguments: [String], descriptors: [CInt], variables: [(name: String, value: String)]
  ) throws(SystemError) -> pid_t {
    let process = try Kernel.fork()
    if process != 0 { return process }
    enter(program, arguments, descriptors, variables)
  }

  private static func enter(
    _ program: String, _ arguments: [String], _ descriptors: [CInt], _ variables: [(name: String, value: String)]
  ) -> Never {
    setpgid(0, 0)
    // First out of the way of the numbers that they get.
    let next = first + CInt(descriptors.count)
    var copies: [CInt] = []
    for descriptor in descriptors {
      let copy = kernel_duplicate_above(descriptor, next)
      guard copy >= 0 else { fail("cannot start a worker: \(SystemError.last("fcntl"))") }
      copies.append(copy)
    }
    for (index, copy) in copies.enumerated() where dup2(copy, first + CInt(index)) < 0 {
      fail("cannot start a worker: \(SystemError.last("dup2"))")
    }
    _ = kernel_close_range(CUnsignedInt(next), CUnsignedInt.max, 0)
    for variable in variables + [("LISTEN_PID", "\(getpid())")] { setenv(variable.name, variable.value, 1) }
    var words: [UnsafeMutablePointer<CChar>?] = ([CommandLine.arguments.first ?? "starttlsd"] + arguments).map { strdup($0) }
    words.append(nil)
    // A signal that is for the supervisor must not end it before it has its own settings.
    signal(SIGUSR2, SIG_IGN)
    // A stop must end it, also if a shell has started the supervisor in the background.
    signal(SIGINT, SIG_DFL)
    signal(SIGTERM, SIG_DFL)
    var mask = sigset_t()
    sigemptyset(&mask)
    sigaddset(&mask, SIGHUP)
    sigprocmask(SIG_SETMASK, &mask, nil)
    execv(program, words)
    fail("cannot execute \(program): \(SystemError.last("execve"))")
  }

  private static func fail(_ text: String) -> Never {
    StandardStreams.complain("starttlsd", text)
    _exit(ExitCode.system)
  }
}
