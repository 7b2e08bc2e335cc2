// ChannelProcess: a program started with exactly the descriptors that a test gives it.
//
// Unlike SpawnedProgram it takes any number, for programs that get the numbers of their channels as arguments. Its standard
// error is a file of the test. It is killed and reaped when the value ends.

import CKernel
import Foundation
import Glibc

/// A child of the test with chosen descriptors.
final class ChannelProcess {
  let process: pid_t
  private let log: String
  private var end: SpawnedProgram.End?

  /// Starts a program.
  ///
  /// - Parameter descriptors: the child's number: the test's, which stays the test's.
  init(
    _ arguments: [String], descriptors: [CInt: CInt], environment: [String: String], log: String
  ) throws {
    self.log = log
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    // Doubles, far above every target: no number of the child is overwritten before it was used.
    let doubles = descriptors.mapValues { kernel_duplicate_above($0, 200) }
    defer {
      posix_spawn_file_actions_destroy(&actions)
      for double in doubles.values { close(double) }
    }
    for (target, double) in doubles { posix_spawn_file_actions_adddup2(&actions, double, target) }
    posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    let first = (descriptors.keys.max() ?? 2) + 1
    for number in 0..<max(3, first) where number != 2 && descriptors[number] == nil {
      posix_spawn_file_actions_addclose(&actions, number)
    }
    _ = kernel_spawn_close_from(&actions, max(3, first))
    var words = arguments.map { strdup($0) } + [nil]
    let variables = ["PATH": SpawnedProgram.path, "LLVM_PROFILE_FILE": "/dev/null"].merging(environment) { _, given in given }
    var pairs = variables.map { strdup("\($0)=\($1)") } + [nil]
    defer { (words + pairs).forEach { free($0) } }
    var child: pid_t = -1
    let code = posix_spawnp(&child, arguments[0], &actions, nil, &words, &pairs)
    guard code == 0 else { throw Failure("\(arguments[0]): \(String(cString: strerror(code)))") }
    process = child
  }

  deinit { kill() }

  /// What it wrote to standard error.
  var errors: String { String(decoding: FileManager.default.contents(atPath: log) ?? Data(), as: UTF8.self) }

  /// Waits until it has ended; nil when it has not in time.
  func wait(within seconds: Double = Deadline.seconds) -> SpawnedProgram.End? {
    _ = eventually(within: seconds) { reaped() }
    return end
  }

  var isRunning: Bool { !reaped() }

  func kill() {
    guard !reaped() else { return }
    _ = Glibc.kill(process, SIGKILL)
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

/// A descriptor of the test, closed once.
final class TestDescriptor {
  private(set) var number: CInt

  init(_ number: CInt) { self.number = number }

  deinit { close() }

  func close() {
    if number >= 0 { Glibc.close(number) }
    number = -1
  }

  var flags: CInt { fcntl(number, F_GETFL) }

  /// Sends or writes everything; false when the other side takes no more.
  @discardableResult
  func write(_ octets: [UInt8]) -> Bool {
    var rest = octets[...]
    while !rest.isEmpty {
      var entry = pollfd(fd: number, events: CShort(POLLOUT), revents: 0)
      guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { return false }
      let count = rest.withUnsafeBytes { Glibc.write(number, $0.baseAddress, min($0.count, 4096)) }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  /// Writes until nothing more is taken for a while; false when the other side takes no more at all.
  @discardableResult
  func fill(with octets: [UInt8]) -> Bool {
    while true {
      var entry = pollfd(fd: number, events: CShort(POLLOUT), revents: 0)
      guard poll(&entry, 1, 100) == 1 else { return true }
      let count = octets.withUnsafeBytes { Glibc.write(number, $0.baseAddress, min($0.count, 4096)) }
      guard count > 0 else { return false }
    }
  }

  /// Closes a TCP connection with a reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  /// What there is, once there is something; empty at the end.
  func read(_ limit: Int = 65_536) throws -> [UInt8] {
    var entry = pollfd(fd: number, events: CShort(POLLIN), revents: 0)
    guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { throw Failure("no octet comes") }
    var buffer = [UInt8](repeating: 0, count: limit)
    return Array(buffer[..<max(0, Glibc.read(number, &buffer, limit))])
  }

  /// Exactly so many octets, or what there is at the end.
  func read(exactly count: Int) throws -> [UInt8] {
    var octets: [UInt8] = []
    while octets.count < count {
      let more = try read(min(count - octets.count, 65_536))
      if more.isEmpty { break }
      octets += more
    }
    return octets
  }

  /// Everything up to the end.
  func remainder() throws -> [UInt8] { try read(exactly: Int.max / 2) }

  static func pipe() -> (reading: TestDescriptor, writing: TestDescriptor) {
    var ends: [CInt] = [-1, -1]
    _ = kernel_pipe2(&ends, O_CLOEXEC)
    return (TestDescriptor(ends[0]), TestDescriptor(ends[1]))
  }

  static func sockets() -> (TestDescriptor, TestDescriptor) {
    var ends: [CInt] = [-1, -1]
    socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends)
    return (TestDescriptor(ends[0]), TestDescriptor(ends[1]))
  }
}
