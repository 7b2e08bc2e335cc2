// SpawnedProgram: a program that a test starts, waits for with a limit, and ends.
//
// Its standard streams are files in a folder of the test, so that nobody has to read while it runs, or descriptors that
// the test gives. It gets no other descriptor of the test, and exactly the environment that it is given. It is killed
// and reaped when the value ends, so that no test leaves a process.

import CKernel
import Foundation
import Glibc

/// A child of the test.
final class SpawnedProgram {
  /// What one of its standard streams is.
  enum Stream {
    case nowhere
    /// Read from the beginning, or appended to.
    case file(String)
    /// A descriptor of the test, which stays the test's.
    case descriptor(CInt)
  }

  /// How it ended.
  enum End: Hashable {
    case exited(CInt)
    case killed(CInt)
  }

  let process: pid_t
  private var end: End?

  /// Starts a program, looked for in PATH unless its name contains a slash. starttlsd is one process unless the words say otherwise,
  /// see OneProcess.
  init(
    _ arguments: [String], environment: [String: String] = [:], input: Stream = .nowhere, output: Stream = .nowhere,
    errors: Stream = .nowhere
  ) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (target, stream) in [(0, input), (1, output), (2, errors)] as [(CInt, Stream)] {
      let flags = target == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND
      switch stream {
      case .nowhere: posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_RDWR, 0)
      case .file(let path): posix_spawn_file_actions_addopen(&actions, target, path, flags, 0o600)
      case .descriptor(let number): posix_spawn_file_actions_adddup2(&actions, number, target)
      }
    }
    _ = kernel_spawn_close_from(&actions, 3)
    var words = OneProcess.arguments(arguments).map { strdup($0) } + [nil]
    // Coverage data of the child, if the build makes any, goes nowhere.
    let variables = ["PATH": SpawnedProgram.path, "LC_ALL": "C.UTF-8", "LLVM_PROFILE_FILE": "/dev/null"]
      .merging(environment) { _, given in given }
    var pairs = variables.map { strdup("\($0)=\($1)") } + [nil]
    defer { (words + pairs).forEach { free($0) } }
    var child: pid_t = -1
    let code = posix_spawnp(&child, arguments[0], &actions, nil, &words, &pairs)
    guard code == 0 else { throw Failure("\(arguments[0]): \(String(cString: strerror(code)))") }
    process = child
  }

  deinit { kill() }

  static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// Waits until it has ended; nil when it has not in time.
  func wait(within seconds: Double = Deadline.seconds) -> End? {
    _ = eventually(within: seconds) { reaped() }
    return end
  }

  var isRunning: Bool { !reaped() }

  func signal(_ number: CInt) {
    if end == nil { _ = Glibc.kill(process, number) }
  }

  func kill() {
    guard !reaped() else { return }
    signal(SIGKILL)
    _ = reaped(options: 0)
  }

  private func reaped(options: CInt = WNOHANG) -> Bool {
    if end != nil { return true }
    var status: CInt = 0
    guard waitpid(process, &status, options) == process else { return false }
    end = kernel_WIFEXITED(status) ? .exited(kernel_WEXITSTATUS(status)) : .killed(kernel_WTERMSIG(status))
    return true
  }
}

/// What a test could not go on without.
struct Failure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// The longest wait for anything: long enough for a busy machine, short enough that a test that hangs ends by itself.
enum Deadline {
  static let seconds: Double = 30
}

/// Asks again and again until the answer is true or the time is over.
func eventually(within seconds: Double = Deadline.seconds, _ condition: () throws -> Bool) rethrows -> Bool {
  let end = Date().addingTimeInterval(seconds)
  while true {
    if try condition() { return true }
    if Date() > end { return false }
    usleep(1000)
  }
}
