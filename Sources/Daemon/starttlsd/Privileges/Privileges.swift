// Privileges: which process of starttlsd runs as which user.
//
//   starttlsd          --user; started as root it binds its addresses before
//   starttlsd-read     the user that started starttlsd; can only read files: see CertificateReader
//   starttlsd-key      the user that started starttlsd; can only sign: see KeyProcess
//   starttlsd-start    --backend-user, or the user of starttlsd; only if the server is a program: see Starter
//   starttlsd-conn     the user of starttlsd; only with --backend, not with --inetd: see Connector
//   starttlsd-rec      the user of starttlsd; only with --record: see RecordingProcess
//
// They are forked before the change of the user. Docs/Processes.md has the whole picture.

import CKernel
import Glibc
import RelayProbe
import Transport

struct Privileges: Sendable {
  /// The identity to change to; nil to stay what this process is.
  var own: Identity?
  /// The identity of the server program; nil for that of this process.
  var backend: Identity?
  /// The limits of the server program: octets that it may change, and processes of its user.
  var memory: UInt?
  var processes: UInt?
  /// True if the server program may gain privileges by set-uid.
  var allowsSetUID: Bool

  /// True if only another process can start the server program, also with --inetd.
  var needsStarter: Bool { backend != nil || memory != nil || processes != nil || allowsSetUID && own != nil }

  /// True if the server program must not gain privileges.
  var isBackendRestricted: Bool { (own != nil || backend != nil) && !allowsSetUID }

  /// The setting with which the starter, or the probe, starts the server program.
  var setting: ProgramSetting { ProgramSetting(user: backend?.user, memory: memory, processes: processes) }

  /// Changes this process to its identity, after all that needs privileges.
  func drop() throws(ConfigurationError) {
    guard let own else { return }
    do throws(SystemError) {
      try own.become()
      try Identity.renounceNewPrivileges()
      try Identity.hideMemory()
    } catch {
      throw .system("cannot change to the user \(own.name): \(error)")
    }
  }

  /// Changes a process that starts the server program.
  ///
  /// Its effective user is the program's, so that it may change a child to it and may signal the child. Its real and
  /// saved user is that of starttlsd, so that the program cannot signal it.
  func becomeStarter() throws(SystemError) {
    if isBackendRestricted { try Identity.renounceNewPrivileges() }
    if let identity = backend ?? own { try identity.becomeGroups() }
    if let backend {
      let real = own?.user ?? getuid()
      guard kernel_setresuid(real, backend.user, real) == 0 else { throw .last("setresuid") }
    } else if let own {
      try own.become()
    }
    if own != nil || backend != nil { try Identity.hideMemory() }
  }
}
