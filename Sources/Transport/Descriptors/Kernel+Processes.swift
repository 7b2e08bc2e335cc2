// The system calls for files and processes, see Kernel.swift.

package import CKernel
import Glibc

// MARK: - Files

extension Kernel {
  /// open(2), close-on-exec. `mode` matters with O_CREAT only.
  package static func open(
    _ path: String, _ flags: CInt, mode: UInt32 = 0
  ) throws(SystemError) -> CInt {
    try perform(.open) { Glibc.open(path, flags | O_CLOEXEC, mode) }
  }

  package static func sync(_ number: CInt) throws(SystemError) {
    try perform(.fsync) { Glibc.fsync(number) }
  }

  /// flock(2), exclusive. It waits for another process that has the lock; closing the description ends it.
  package static func lock(_ number: CInt) throws(SystemError) {
    try perform(.flock) { kernel_lock(number) }
  }

  package static func setMode(_ number: CInt, _ mode: UInt32) throws(SystemError) {
    try perform(.fchmod) { Glibc.fchmod(number, mode) }
  }

  package static func rename(_ old: String, _ new: String) throws(SystemError) {
    try perform(.rename) { Glibc.rename(old, new) }
  }

  package static func unlink(_ path: String) throws(SystemError) {
    try perform(.unlink) { Glibc.unlink(path) }
  }

  package static func makeFolder(_ path: String, mode: UInt32) throws(SystemError) {
    try perform(.mkdir) { Glibc.mkdir(path, mode) }
  }
}

// MARK: - Processes

extension Kernel {
  /// posix_spawnp(3), which returns the error instead of setting `errno`.
  package static func spawn(
    _ file: UnsafePointer<CChar>, _ actions: UnsafePointer<posix_spawn_file_actions_t>,
    _ attributes: UnsafePointer<posix_spawnattr_t>,
    _ arguments: UnsafePointer<UnsafeMutablePointer<CChar>?>,
    _ environment: UnsafePointer<UnsafeMutablePointer<CChar>?>
  ) throws(SystemError) -> pid_t {
    var process: pid_t = 0
    try perform(.posix_spawnp) {
      errno = posix_spawnp(&process, file, actions, attributes, arguments, environment)
      return errno == 0 ? 0 : -1
    }
    return process
  }

  /// Executes a program in a child, see `kernel_spawn`: its number, and a descriptor for it.
  static func spawn(_ setting: kernel_spawn) throws(SystemError) -> (process: pid_t, descriptor: CInt) {
    var setting = setting
    var descriptor: CInt = -1
    let process = pid_t(try perform(.execve) { kernel_spawn(&setting, &descriptor) })
    return (process, descriptor)
  }

  package static func fork() throws(SystemError) -> pid_t {
    pid_t(try perform(.fork) { kernel_fork() })
  }

  /// The limits of open descriptors (RLIMIT_NOFILE).
  package static func openFilesLimit() throws(SystemError) -> rlimit {
    var limit = rlimit()
    try perform(.getrlimit) { getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
    return limit
  }

  package static func setOpenFilesLimit(_ limit: rlimit) throws(SystemError) {
    var limit = limit
    try perform(.setrlimit) { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
  }

  /// A descriptor for a process that is our child and is not yet reaped.
  package static func processDescriptor(_ process: pid_t) throws(SystemError) -> CInt {
    try perform(.pidfd_open) { kernel_pidfd_open(process) }
  }

  package static func signal(_ pidfd: CInt, _ signal: CInt) throws(SystemError) {
    try perform(.pidfd_send_signal) { kernel_pidfd_send_signal(pidfd, signal) }
  }

  /// kill(2) of a process group, identified by its leader: a child of ours that is not yet reaped.
  package static func signalGroup(_ leader: pid_t, _ signal: CInt) throws(SystemError) {
    try perform(.kill) { Glibc.kill(-leader, signal) }
  }

  /// Reaps without waiting: nil while the process runs, else whether a signal ended it, and the signal or the exit
  /// code.
  package static func reap(_ pidfd: CInt) throws(SystemError) -> (killed: Bool, value: CInt)? {
    var killed = false
    var value: CInt = 0
    let reaped = try perform(.waitid) { kernel_pidfd_reap(pidfd, &killed, &value) }
    return reaped == 0 ? nil : (killed, value)
  }

  /// The same without reaping: the process number and its group stay reserved.
  package static func look(_ pidfd: CInt) throws(SystemError) -> (killed: Bool, value: CInt)? {
    var killed = false
    var value: CInt = 0
    let ended = try perform(.waitid) { kernel_pidfd_look(pidfd, &killed, &value) }
    return ended == 0 ? nil : (killed, value)
  }

  /// Kills a child and waits until it has ended.
  package static func destroy(_ process: pid_t) {
    _ = Glibc.kill(process, SIGKILL)
    while Glibc.waitpid(process, nil, 0) == -1 && errno == EINTR {}
  }
}
