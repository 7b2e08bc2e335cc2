// Privileges: drops privileges permanently after the keys are read.
//
// A process of root changes to the user in TLS_UID and the group in TLS_GID, both numbers, without supplementary
// groups. 0 or a missing variable leaves that identity unchanged. For any other user the variables have no effect. After the
// change no privilege can be gained by executing a program, and only root can read the memory, which has the keys.

import CKernel
import Glibc
import Transport

enum Privileges {
  /// Drops them. Groups first: without root's privileges they cannot be changed.
  static func drop() throws(Failure) {
    guard getuid() == 0 else { return }
    let group = try number("TLS_GID")
    let user = try number("TLS_UID")
    guard group != 0 || user != 0 else { return }
    guard kernel_setgroups(0, nil) == 0 else { throw Failure("setgroups", .last("setgroups")) }
    if group != 0, kernel_setresgid(group, group, group) != 0 { throw Failure("TLS_GID", .last("setresgid")) }
    if user != 0, kernel_setresuid(user, user, user) != 0 { throw Failure("TLS_UID", .last("setresuid")) }
    guard kernel_set_no_new_privileges() == 0, kernel_set_undumpable() == 0 else { throw Failure("prctl", .last("prctl")) }
  }

  private static func number(_ name: String) throws(Failure) -> UInt32 {
    guard let value = getenv(name) else { return 0 }
    let text = String(cString: value)
    let isPlain = text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    // The kernel treats the largest number as "unchanged".
    guard isPlain, let number = UInt32(text), number != UInt32.max else {
      throw Failure(.usage, "\(name): not a number")
    }
    return number
  }
}
