// PrivilegeOptions: the options about users and about the limits of server programs. Failure: a ConfigurationError.

import ArgumentParser
import Glibc

struct PrivilegeOptions: ParsableArguments {
  @Option(help: ArgumentHelp("User to change to after binding the addresses.", valueName: "user"))
  var user: String?

  @Option(help: ArgumentHelp("Group to change to [the user's].", valueName: "group"))
  var group: String?

  @Flag(help: "Serve as root; without this or --user, root is refused.")
  var allowRoot = false

  @Option(help: ArgumentHelp("User of the server program [the user of starttlsd].", valueName: "user"))
  var backendUser: String?

  @Option(help: ArgumentHelp("Group of the server program [the user's].", valueName: "group"))
  var backendGroup: String?

  @Option(help: ArgumentHelp("Memory of each server process that it may change, in MiB (RLIMIT_DATA).", valueName: "number"))
  var backendMemory: Int?

  @Option(
    help: ArgumentHelp(
      "Processes of the server program's user, those of all sessions together (RLIMIT_NPROC).", valueName: "number"))
  var backendProcesses: Int?

  @Flag(help: "Let the server program gain privileges by set-uid, which --user and --backend-user prevent.")
  var allowSetUid = false

  @Flag(help: "Serve without the filter of system calls (seccomp).")
  var noSeccomp = false

  @Flag(help: "Serve without Landlock, which takes files and connections away.")
  var noLandlock = false

  var sandbox: Sandbox { Sandbox(hasFilter: !noSeccomp, hasLandlock: !noLandlock) }

  /// Checks the options.
  ///
  /// - Parameter isEmbedded: true if there is no program and no certificate.
  func checked(isEmbedded: Bool) throws(ConfigurationError) -> Privileges {
    let isRoot = geteuid() == 0
    guard group == nil || user != nil else { throw .usage("--group needs --user: name the user as well") }
    guard backendGroup == nil || backendUser != nil else {
      throw .usage("--backend-group needs --backend-user: name the user as well")
    }
    if isEmbedded, user != nil || backendUser != nil {
      throw .usage(
        """
        there is neither a certificate nor a server program: name both; or, to try starttlsd, start it as the user itself, without --user \
        and --backend-user
        """)
    }
    let own = try identity(user, group, "--user", isRoot)
    let backend = try identity(backendUser, backendGroup, "--backend-user", isRoot)
    if isRoot, own?.isRoot ?? true, !allowRoot {
      throw .usage("starttlsd would serve as root: name a user with --user, or give --allow-root")
    }
    if let backend, backend.isRoot, !allowRoot {
      throw .usage("the program would run as root: name another user with --backend-user, or give --allow-root")
    }
    if let backendMemory, backendMemory < 1 || backendMemory > 1 << 24 {
      throw .usage("--backend-memory \(backendMemory): give a number of MiB from 1 to \(1 << 24)")
    }
    if let backendProcesses {
      guard backendProcesses > 1, backendProcesses <= 1_000_000 else {
        throw .usage("--backend-processes \(backendProcesses): give a number from 2 to 1000000: a session may need two")
      }
      guard !isRoot || !(backend ?? own).map(\.isRoot, else: true) else {
        throw .usage("--backend-processes has no effect on root: name a user with --backend-user")
      }
    }
    return Privileges(
      own: own, backend: backend, memory: backendMemory.map { UInt($0) << 20 },
      processes: backendProcesses.map { UInt($0) }, allowsSetUID: allowSetUid)
  }

  /// nil if nothing changes.
  private func identity(
    _ user: String?, _ group: String?, _ option: String, _ isRoot: Bool
  ) throws(ConfigurationError) -> Identity? {
    guard let user else { return nil }
    let identity = try Identity(user: user, group: group, option: option)
    if isRoot { return identity }
    guard identity.user == geteuid(), identity.group == getegid() else {
      throw .usage("\(option) \(user): only root can change the user: start starttlsd as root, or as that user")
    }
    return nil
  }
}

extension Optional {
  fileprivate func map<Value>(_ path: KeyPath<Wrapped, Value>, else other: Value) -> Value {
    map { $0[keyPath: path] } ?? other
  }
}
