// ProgramSetting: what a child process has that differs from this process: its user and its limits.
//
// posix_spawn(3) cannot change the user of a child nor set limits, so a program with such a setting is started only by
// `kernel_spawn`.

/// The user and the limits of a program.
package struct ProgramSetting: Hashable, Sendable {
  /// The real, effective and saved user of the program; nil for the real user of this process. Without privileges only
  /// the real, effective or saved user of this process is possible.
  package var user: UInt32?
  /// The memory that the program may change, in octets (RLIMIT_DATA).
  package var memory: UInt?
  /// The processes of the program's user (RLIMIT_NPROC).
  package var processes: UInt?

  package init(user: UInt32? = nil, memory: UInt? = nil, processes: UInt? = nil) {
    self.user = user
    self.memory = memory
    self.processes = processes
  }

  /// True if nothing differs from this process.
  package var isEmpty: Bool { user == nil && memory == nil && processes == nil }
}
