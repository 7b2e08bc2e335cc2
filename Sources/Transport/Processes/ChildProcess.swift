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
  ///   - environment: the whole environment, `NAME=value` each.
  ///   - standardStreams: becomes the child's descriptors 0 and 1. Close it in this process afterwards, or the child
  ///     never receives its end.
  ///   - limit: the child's limit of descriptors, if it differs from this process's own.
  /// - Throws: ENOENT, EACCES, ENOEXEC and others from posix_spawnp; EINVAL without arguments or for a string with NUL.
  package init(
    _ arguments: [String], environment: [String], standardStreams: borrowing Descriptor,
    limit: OpenFilesLimit? = nil
  ) throws(SystemError) {
    try self.init(
      arguments, environment: environment, standardStreams: standardStreams, limit: limit, setting: ProgramSetting())
  }

  /// The same with a user and limits. Unless the setting is empty, the program's name must contain a slash.
  package init(
    _ arguments: [String], environment: [String], standardStreams: borrowing Descriptor, limit: OpenFilesLimit?,
    setting special: ProgramSetting
  ) throws(SystemError) {
    guard let program = arguments.first, !program.isEmpty,
      !(arguments + environment).contains(where: { $0.utf8.contains(0) })
    else { throw SystemError("posix_spawnp", EINVAL) }
    let process: pid_t
    if !special.isEmpty {
      process = try special.spawn(program, arguments, environment, standardStreams.number, limit)
    } else if let limit {
      let setting = try SpawnSetting(standardStreams.number)
      process = try limit.during { () throws(SystemError) in try setting.spawn(program, arguments, environment) }
    } else {
      process = try SpawnSetting(standardStreams.number).spawn(program, arguments, environment)
    }
    do {
      self.descriptor = Descriptor(adopting: try Kernel.processDescriptor(process))
    } catch {
      Kernel.destroy(process)
      throw error
    }
    self.process = process
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

/// The arguments of posix_spawn(3) in the form that it requires, freed with the value.
private struct SpawnSetting: ~Copyable {
  private let actions: UnsafeMutablePointer<posix_spawn_file_actions_t>
  private let attributes: UnsafeMutablePointer<posix_spawnattr_t>
  private var error: CInt = 0

  init(_ standardStreams: CInt) throws(SystemError) {
    actions = .allocate(capacity: 1)
    attributes = .allocate(capacity: 1)
    posix_spawn_file_actions_init(actions)
    posix_spawnattr_init(attributes)
    // The order matters: a descriptor that is already 0 or 1 is duplicated before it could be lost.
    for target: CInt in [0, 1] where error == 0 {
      error = posix_spawn_file_actions_adddup2(actions, standardStreams, target)
    }
    if error == 0 { error = kernel_spawn_close_from(actions, 3) }
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(attributes, &none)
    posix_spawnattr_setsigdefault(attributes, &all)
    let flags = CShort(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) | KERNEL_POSIX_SPAWN_SETSID
    posix_spawnattr_setflags(attributes, flags)
    if error != 0 { throw SystemError("posix_spawn_file_actions", error) }
  }

  deinit {
    posix_spawn_file_actions_destroy(actions)
    posix_spawnattr_destroy(attributes)
    actions.deallocate()
    attributes.deallocate()
  }

  func spawn(
    _ program: String, _ arguments: [String], _ environment: [String]
  ) throws(SystemError) -> pid_t {
    let argumentList = CStringList(arguments)
    let environmentList = CStringList(environment)
    guard let first = argumentList.pointers[0], !argumentList.incomplete, !environmentList.incomplete else {
      throw SystemError("posix_spawnp", ENOMEM)
    }
    return try Kernel.spawn(first, actions, attributes, argumentList.pointers, environmentList.pointers)
  }
}

extension ProgramSetting {
  fileprivate func spawn(
    _ program: String, _ arguments: [String], _ environment: [String], _ standardStreams: CInt, _ limit: OpenFilesLimit?
  ) throws(SystemError) -> pid_t {
    let argumentList = CStringList(arguments)
    let environmentList = CStringList(environment)
    guard let path = argumentList.pointers[0], !argumentList.incomplete, !environmentList.incomplete else {
      throw SystemError("execve", ENOMEM)
    }
    let values = UnsafeMutablePointer<rlimit>.allocate(capacity: 3)
    defer { values.deallocate() }
    values[0] = try limit.map { limit throws(SystemError) in
      rlimit(rlim_cur: limit.soft, rlim_max: try OpenFilesLimit.current().hard)
    } ?? rlimit()
    values[1] = rlimit(rlim_cur: memory ?? 0, rlim_max: memory ?? 0)
    values[2] = rlimit(rlim_cur: processes ?? 0, rlim_max: processes ?? 0)
    return try Kernel.spawn(
      kernel_spawn(
        path: UnsafePointer(path), arguments: argumentList.pointers, environment: environmentList.pointers,
        standard_streams: standardStreams, changes_user: user != nil, user: user ?? 0,
        open_files: limit == nil ? nil : UnsafePointer(values), data: memory == nil ? nil : UnsafePointer(values + 1),
        processes: processes == nil ? nil : UnsafePointer(values + 2)))
  }
}

/// A list of strings in the form of execve(2): pointers, terminated by a null pointer.
private struct CStringList: ~Copyable {
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ strings: [String]) {
    count = strings.count
    pointers = .allocate(capacity: count + 1)
    for index in 0..<count { pointers[index] = strdup(strings[index]) }
    pointers[count] = nil
  }

  /// True if memory ran out for one of the strings.
  var incomplete: Bool {
    (0..<count).contains { pointers[$0] == nil }
  }

  deinit {
    for index in 0..<count { free(pointers[index]) }
    pointers.deallocate()
  }
}
