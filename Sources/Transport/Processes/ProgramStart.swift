// ProgramStart: the two ways to execute a program in a child.
//
// `kernel_spawn` costs the same however many descriptors are open, and it sets the user and the limits. Where the kernel
// refuses it, posix_spawnp(3) starts programs that have no user and no limit of their own.

import CKernel
import Glibc

/// A program with all that its child gets, except its standard streams.
struct ProgramStart: ~Copyable {
  private let arguments: CStringList
  private let environment: CStringList
  private let paths: CStringList
  private let limit: OpenFilesLimit?
  private let setting: ProgramSetting

  init(
    _ arguments: [String], _ environment: [String], _ limit: OpenFilesLimit?, _ setting: ProgramSetting
  ) throws(SystemError) {
    guard let program = arguments.first, !program.isEmpty,
      !(arguments + environment).contains(where: { $0.utf8.contains(0) })
    else { throw SystemError("execve", EINVAL) }
    self.arguments = CStringList(arguments)
    self.environment = CStringList(environment)
    paths = CStringList(ProgramStart.paths(of: program))
    self.limit = limit
    self.setting = setting
  }

  /// The longest PATH that is searched here, in octets.
  private static let longestSearch = 4_096

  /// Where a program may be, as execvp(3) searches it; empty if PATH is too long.
  private static func paths(of program: String) -> [String] {
    if program.utf8.contains(UInt8(ascii: "/")) { return [program] }
    // posix_spawnp searches without a copy of each path.
    if let path = ProcessEnvironment.characters("PATH"), strlen(path) > longestSearch { return [] }
    let folders = (ProcessEnvironment.value("PATH") ?? "/bin:/usr/bin").utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    return folders.map { $0.isEmpty ? program : "\(Substring($0))/\(program)" }
  }

  /// Starts it.
  ///
  /// - Parameter streams: becomes the child's descriptors 0 and 1.
  /// - Returns: the process, and a descriptor for it.
  borrowing func spawn(_ streams: CInt) throws(SystemError) -> (process: pid_t, descriptor: CInt) {
    if arguments.isIncomplete || environment.isIncomplete || paths.isIncomplete { throw SystemError("execve", ENOMEM) }
    do throws(SystemError) {
      if paths.pointers[0] == nil, setting.isEmpty { throw SystemError("execve", ENOSYS) }
      return try spawnSharing(streams)
    } catch {
      guard error.code == ENOSYS, setting.isEmpty else { throw error }
    }
    let process =
      if let limit {
        try limit.during { () throws(SystemError) in try spawnCopying(streams) }
      } else {
        try spawnCopying(streams)
      }
    do {
      return (process, try Kernel.processDescriptor(process))
    } catch {
      Kernel.destroy(process)
      throw error
    }
  }

  private borrowing func spawnSharing(_ streams: CInt) throws(SystemError) -> (process: pid_t, descriptor: CInt) {
    let limits = (
      rlimit(rlim_cur: limit?.soft ?? 0, rlim_max: limit?.hard ?? 0), ProgramStart.both(setting.memory), ProgramStart.both(setting.processes)
    )
    return try withUnsafePointers(to: limits) { (files, memory, processes) throws(SystemError) in
      try Kernel.spawn(
        kernel_spawn(
          paths: paths.constants, arguments: arguments.pointers, environment: environment.pointers, standard_streams: streams,
          changes_user: setting.user != nil, user: setting.user ?? 0, open_files: limit == nil ? nil : files,
          data: setting.memory == nil ? nil : memory, processes: setting.processes == nil ? nil : processes))
    }
  }

  /// One value for the soft and the hard limit.
  private static func both(_ value: UInt?) -> rlimit { rlimit(rlim_cur: value ?? 0, rlim_max: value ?? 0) }

  private borrowing func spawnCopying(_ streams: CInt) throws(SystemError) -> pid_t {
    try SpawnSetting(streams).spawn(arguments, environment)
  }
}

private func withUnsafePointers<Result>(
  to limits: (rlimit, rlimit, rlimit),
  _ body: (UnsafePointer<rlimit>, UnsafePointer<rlimit>, UnsafePointer<rlimit>) throws(SystemError) -> Result
) throws(SystemError) -> Result {
  let values = UnsafeMutablePointer<rlimit>.allocate(capacity: 3)
  defer { values.deallocate() }
  (values[0], values[1], values[2]) = limits
  return try body(values, values + 1, values + 2)
}

/// The arguments of posix_spawnp(3) in the form that it requires, freed with the value.
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

  func spawn(_ arguments: borrowing CStringList, _ environment: borrowing CStringList) throws(SystemError) -> pid_t {
    guard let program = arguments.pointers[0] else { throw SystemError("posix_spawnp", EINVAL) }
    return try Kernel.spawn(program, actions, attributes, arguments.pointers, environment.pointers)
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

  /// The same list of constant strings.
  var constants: UnsafePointer<UnsafePointer<CChar>?> {
    UnsafeRawPointer(pointers).assumingMemoryBound(to: UnsafePointer<CChar>?.self)
  }

  /// True if memory ran out for one of the strings.
  var isIncomplete: Bool {
    (0..<count).contains { pointers[$0] == nil }
  }

  deinit {
    for index in 0..<count { free(pointers[index]) }
    pointers.deallocate()
  }
}
