// Identity: a user with its groups, and the permanent change to it.
//
// Order: supplementary groups, group, user. After the user has changed, the others cannot.

import CKernel
import Glibc
import Transport

/// A user, its group and its supplementary groups.
struct Identity: Hashable, Sendable {
  let name: String
  let user: uid_t
  let group: gid_t
  /// The group and the supplementary ones, as for a login of the user.
  let groups: [gid_t]

  var isRoot: Bool { user == 0 }

  init(name: String, user: uid_t, group: gid_t, groups: [gid_t]) {
    self.name = name
    self.user = user
    self.group = group
    self.groups = groups
  }

  /// Finds a user and a group by name or number.
  ///
  /// - Parameters:
  ///   - group: nil for the user's own. A number that is no known user's needs a group.
  ///   - option: the name of the option, for the error.
  init(user text: String, group groupText: String?, option: String) throws(ConfigurationError) {
    let entry: UnsafeMutablePointer<passwd>? = Identity.number(text).map { getpwuid($0) } ?? getpwnam(text)
    guard let user = entry?.pointee.pw_uid ?? Identity.number(text) else {
      throw .usage("\(option) \(text): there is no such user")
    }
    let loginName = entry.map { String(cString: $0.pointee.pw_name) }
    if let groupText {
      guard let found = Identity.number(groupText) ?? getgrnam(groupText).map({ $0.pointee.gr_gid }) else {
        throw .usage("\(option) \(text): there is no group \(groupText)")
      }
      group = found
    } else {
      guard let own = entry?.pointee.pw_gid else {
        throw .usage("\(option) \(text): this number is no known user's: name its group as well")
      }
      group = own
    }
    name = loginName ?? text
    self.user = user
    groups = loginName.map { [group] in Identity.groups(of: $0, group) } ?? [group]
  }

  /// A decimal number that is a user or a group. The kernel treats the largest one as "unchanged".
  private static func number(_ text: String) -> UInt32? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return UInt32(text).flatMap { $0 == .max ? nil : $0 }
  }

  private static func groups(of name: String, _ group: gid_t) -> [gid_t] {
    var count: CInt = 64
    while true {
      var groups = [gid_t](repeating: 0, count: Int(count))
      let room = count
      if getgrouplist(name, group, &groups, &count) >= 0 { return Array(groups.prefix(Int(count))) }
      count = max(count, 2 * room)
    }
  }

  /// Changes this process to this identity for good, and checks that there is no way back.
  func become() throws(SystemError) {
    try becomeGroups()
    guard kernel_setresuid(user, user, user) == 0 else { throw .last("setresuid") }
    guard isRoot || kernel_setresuid(0, 0, 0) != 0 else { throw SystemError("setresuid", EPERM) }
  }

  /// Changes the groups of this process.
  func becomeGroups() throws(SystemError) {
    guard kernel_setgroups(groups.count, groups) == 0 else { throw .last("setgroups") }
    guard kernel_setresgid(group, group, group) == 0 else { throw .last("setresgid") }
  }

  /// From now on this process and its descendants cannot gain privileges by executing a program.
  static func renounceNewPrivileges() throws(SystemError) {
    guard kernel_set_no_new_privileges() == 0 else { throw .last("prctl") }
  }

  /// From now on only privileged processes can trace this process or read its memory. A change of the user allows it
  /// again, so it is the last step.
  static func hideMemory() throws(SystemError) {
    guard kernel_set_undumpable() == 0 else { throw .last("prctl") }
  }
}
