// DebianServers: server programs as Debian ships them.
//
// mailfront is installed. Exim's packages are unpacked (Scripts/unpack), since installing one mail server would remove
// another; so the command line names its files, and nss_wrapper makes up the user Debian-exim.

import Foundation
import Glibc

/// Exim with Debian's stock rules, in a folder of a test.
struct Exim {
  /// A program called `exim4`.
  let program: String
  /// The same program under an unknown name.
  let disguised: String
  /// Kept as long as its programs may be executed.
  private let folder: TestFolder

  init(in folder: TestFolder) throws {
    let root = try DebianServers.unpacked()
    let spool = folder.path + "/spool"
    // The superuser's exim gives its rights up for its own user.
    let isSuperuser = getuid() == 0
    let (user, ownGroup) = isSuperuser ? (65_534, 65_534) : (getuid(), getgid())
    try FileManager.default.createDirectory(atPath: spool, withIntermediateDirectories: true)
    guard chmod(folder.path, 0o755) == 0, !isSuperuser || chown(spool, user, ownGroup) == 0 else {
      throw Failure("\(folder.path): chmod, chown")
    }
    // What update-exim4.conf writes for an `internet site`.
    let settings = """
      SPOOLDIR = \(spool)
      log_file_path = \(spool)/%slog
      MAIN_PRIMARY_HOSTNAME_AS_QUALIFY_DOMAIN = yes
      MAIN_HARDCODE_PRIMARY_HOSTNAME = mx.example
      MAIN_LOCAL_DOMAINS = mx.example
      MAIN_RELAY_TO_DOMAINS =
      MAIN_RELAY_NETS = : 127.0.0.1 : ::::1
      LOCAL_DELIVERY = mail_spool
      DCconfig_internet = 1

      """
    let configuration = try folder.write(
      Array(settings.utf8) + Exim.file(root + "/etc/exim4/exim4.conf.template"), to: "exim.conf")
    let passwd = try folder.write(Exim.file("/etc/passwd") + Array("Debian-exim:x:\(user):\(ownGroup)::/:/bin/false\n".utf8), to: "passwd")
    let group = try folder.write(Exim.file("/etc/group") + Array("Debian-exim:x:\(ownGroup):\n".utf8), to: "group")
    let script = """
      #!/bin/sh
      export NSS_WRAPPER_PASSWD=\(passwd) NSS_WRAPPER_GROUP=\(group) LD_PRELOAD=libnss_wrapper.so
      exec \(root)/usr/sbin/exim4 -C \(configuration) "$@"

      """
    program = try folder.write(Array(script.utf8), to: "exim4")
    disguised = try folder.write(Array(script.utf8), to: "front-end")
    chmod(program, 0o755)
    chmod(disguised, 0o755)
    self.folder = folder
  }

  private static func file(_ path: String) -> [UInt8] {
    FileManager.default.contents(atPath: path).map(Array.init) ?? []
  }
}

/// mailfront's server for qmail, which accepts mail for mx.example.
struct Mailfront {
  let program = ["/usr/sbin/smtpfront-qmail"]
  /// Where qmail would be.
  let environment: [String: String]
  private let folder: TestFolder

  init(in folder: TestFolder) throws {
    guard FileManager.default.isExecutableFile(atPath: program[0]) else { throw Failure("no mailfront: make setup-test") }
    try FileManager.default.createDirectory(atPath: folder.path + "/qmail/control", withIntermediateDirectories: true)
    try folder.write(Array("mx.example\n".utf8), to: "qmail/control/rcpthosts")
    self.folder = folder
    environment = ["QMAILHOME": folder.path + "/qmail"]
  }
}

enum DebianServers {
  /// The folder of unpacked packages, beside what was built.
  static func unpacked() throws -> String {
    var folder = URL(fileURLWithPath: Programs.folder).resolvingSymlinksInPath()
    for _ in 0..<4 {
      let path = folder.path + "/debian"
      if FileManager.default.isExecutableFile(atPath: path + "/usr/sbin/exim4") { return path }
      folder.deleteLastPathComponent()
    }
    throw Failure("Debian's exim4 is not unpacked: make setup-test")
  }
}
