// StarterTests: the process that starts the server program exists without an option, and the program is as if starttlsd had
// started it itself.

import Foundation
import Glibc
import XCTest

final class StarterTests: PrivilegeTestCase {
  /// What a program inherits, of /proc/PID/status.
  private func inherited(_ process: pid_t) -> [String?] {
    let status = ProcessTable.status(of: process)
    return ["Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Umask"].map { status[$0] }
  }

  func testTheSandboxIsInForceAndTheProgramInheritsNothingOfIt() throws {
    let daemon = try daemon(backend: .program(["sh", "-c", ShellBackend.script()]))
    let client = try client(daemon)
    try client.expect("220 ")
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    let backend = try XCTUnwrap(ProcessTable.children(of: starter).first)
    XCTAssertEqual(daemon.backends, [backend])
    XCTAssertNotNil(daemon.log.range(of: #"sandbox: (Landlock \d+|no Landlock, which this kernel lacks), seccomp\n"#, options: .regularExpression), daemon.log)
    XCTAssertEqual(ProcessTable.status(of: daemon.process)["Seccomp"], "2")
    // This process has started starttlsd.
    XCTAssertEqual(inherited(backend), inherited(getpid()))
    for limit in ["Max open files", "Max processes", "Max data size", "Max core file size"] {
      XCTAssertEqual(ProcessTable.limit(limit, of: backend), ProcessTable.limit(limit, of: getpid()), limit)
    }
    XCTAssertEqual(ProcessTable.descriptors(of: backend).keys.sorted(), [0, 1, 2])
    XCTAssertEqual(ProcessTable.descriptors(of: backend)[2], daemon.folder.path + "/log")
    XCTAssertEqual(
      try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(backend)/cwd"), FileManager.default.currentDirectoryPath)
    XCTAssertTrue(ProcessTable.commandLine(of: backend).hasPrefix("sh -c "), "the name is as it was given")
    XCTAssertEqual(getpgid(backend), backend)
    XCTAssertEqual(getsid(backend), backend)
    client.close()
  }

  /// A user without --user: the program may be a set-uid one, such as qmail-queue.
  func testASetUIDProgramGainsItsUserUnderAUserThatWasNotChanged() throws {
    let other = try user("daemon")
    let folder = TestFolder()
    chmod(folder.path, 0o755)
    let program = folder.path + "/cat"
    try FileManager.default.copyItem(atPath: "/bin/cat", toPath: program)
    XCTAssertEqual(chmod(program, 0o4755), 0)
    let own = try makeCertificate("server", in: folder)
    XCTAssertEqual(chown(own.key, other.user, other.group), 0)
    let script = "\(program) /proc/self/status >\"$FOLDER/status\"; \(ShellBackend.script())"
    let daemon = try daemon(
      backend: .script(script), certificate: own,
      under: ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"], isShared: true)
    XCTAssertNotNil(daemon.helpers["starttlsd-start"])
    let client = try client(daemon)
    try client.expect("220 ")
    client.close()
    let line = daemon.folder.text("status").split(separator: "\n").first { $0.hasPrefix("Uid:") }
    XCTAssertEqual(line?.split(separator: "\t").dropFirst().map(String.init), ["\(other.user)", "0", "0", "0"])
    _ = try daemon.session()
  }

  /// The process that starts programs is stopped in the middle of its work: the sessions go on, and the client whose program it has
  /// to start waits.
  func testNoSessionWaitsForAStart() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let first = try client(daemon)
    try first.expect("220 ")
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    kill(starter, SIGSTOP)
    defer { kill(starter, SIGCONT) }
    XCTAssertTrue(eventually { ProcessTable.status(of: starter)["State"]?.hasPrefix("T") == true })
    let second = try client(daemon)
    XCTAssertEqual(try first.ask("NOOP"), "250 done")
    XCTAssertEqual(try first.ask("RSET"), "250 done")
    kill(starter, SIGCONT)
    try second.expect("220 ")
  }

  /// If starttlsd is killed, the program reads the end of its input, finishes, and has no starter any more.
  func testAfterAKillTheProgramReadsTheEndOfItsInput() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script() + "echo end >\"$FOLDER/end\"\n"))
    let client = try client(daemon)
    try client.expect("220 ")
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    daemon.program.kill()
    XCTAssertTrue(eventually { daemon.folder.text("end") == "end\n" })
    XCTAssertTrue(eventually { kill(starter, 0) != 0 || ProcessTable.commandLine(of: starter).isEmpty })
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty })
  }

  /// A folder that the user cannot reach is no reason not to start: the socket was made before the change of the user.
  func testASocketInAFolderOfRootsAlone() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    XCTAssertEqual(mkdir(folder.path + "/run", 0o755), 0)
    let daemon = try daemon(
      ["--user", "daemon", "--status-socket", folder.path + "/run/status"], backend: .script(ShellBackend.script()), isShared: true)
    let client = try client(daemon)
    try client.expect("220 ")
    client.close()
    _ = try daemon.session()
  }
}
