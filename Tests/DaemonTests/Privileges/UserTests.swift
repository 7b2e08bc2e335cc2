// UserTests: who runs as which user, what each of them may do, and what a program gets.

import Foundation
import Glibc
import XCTest

final class UserTests: PrivilegeTestCase {
  /// Not a script: a shell keeps a descriptor of its script.
  private let shell = ["/bin/sh", "-c", ShellBackend.script()]

  func testRootServesOnlyIfItIsAllowed() throws {
    let good = try certificate()
    let result = try run(
      [Programs.path("starttlsd"), "--certificate", good.certificate, "--key", good.key, "--", "/bin/cat"],
      expecting: .exited(100))
    XCTAssertEqual(
      result.errors, "starttlsd: starttlsd would serve as root: name a user with --user, or give --allow-root\n")
  }

  func testOptionsThatCannotWorkAreAUsageError() throws {
    let good = try certificate()
    for (options, text) in [
      (["--user", "no-such-user"], "--user no-such-user: there is no such user"),
      (["--user", "daemon", "--group", "no-such-group"], "there is no group no-such-group"),
      (["--user", "4000000000"], "name its group as well"), (["--group", "daemon"], "--group needs --user"),
      (["--user", "daemon", "--backend-group", "daemon"], "--backend-group needs --backend-user"),
      (["--user", "root"], "would serve as root"), (["--user", "daemon", "--backend-user", "root"], "would run as root"),
      (["--user", "daemon", "--backend-memory", "0"], "--backend-memory 0"),
      (["--user", "daemon", "--backend-processes", "1"], "--backend-processes 1"),
      (["--allow-root", "--backend-processes", "9"], "no effect on root"),
    ] {
      let result = try run(
        [Programs.path("starttlsd"), "--certificate", good.certificate, "--key", good.key] + options + ["--", "/bin/cat"],
        expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(options): \(result.errors)")
      XCTAssertEqual(result.errors.split(separator: "\n").count, 1, result.errors)
    }
    let humbly = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"]
    let result = try run(
      humbly + [Programs.path("starttlsd"), "--user", "nobody", "--certificate", "a", "--key", "b", "--", "/bin/cat"],
      expecting: .exited(100))
    XCTAssertTrue(result.errors.contains("--user nobody: only root can change the user"), result.errors)
    // In a container every port may be free for all.
    let first = try String(contentsOfFile: "/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding: .utf8)
    guard try XCTUnwrap(Int(first.dropLast())) > 25 else { return }
    let folder = TestFolder()
    chmod(folder.path, 0o777)
    for workers in ["1", "2"] {
      let refused = try run(
        humbly + [Programs.path("starttlsd"), "--workers", workers, "--listen", "127.0.0.1:25", "--trusting-backend", "--state-folder", folder.path + "/state"],
        expecting: .exited(111))
      XCTAssertTrue(refused.errors.contains("cannot listen on 127.0.0.1:25: bind: Permission denied; start starttlsd as root with --user"), refused.errors)
    }
  }

  func testTheDaemonIsTheUserForGoodAndSoIsItsProgram() throws {
    let own = try user("daemon")
    let daemon = try daemon(["--user", "daemon"], backend: .program(shell), isShared: true)
    assertIdentity(daemon.process, own)
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("NOOP"), "250 done")
    let backend = try XCTUnwrap(daemon.backends.max())
    assertIdentity(backend, own)
    XCTAssertEqual(ProcessTable.descriptors(of: backend).keys.sorted(), [0, 1, 2])
    assertIdentity(try XCTUnwrap(daemon.helpers["starttlsd-start"]), own)
    // Nobody but root reads its memory: no other process of the user traces it.
    let tracing = try run(
      ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", "cat", "/proc/\(daemon.process)/environ"],
      expecting: .exited(1))
    XCTAssertTrue(tracing.errors.contains("Permission denied"), tracing.errors)
    client.close()
  }

  /// With the reader: a user of root's, of whose capabilities only those to read are left.
  func testTheProgramHasAUserOfItsOwn() throws {
    let (own, other) = (try user("daemon"), try user("nobody"))
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody", "--backend-memory", "512", "--backend-processes", "500"],
      backend: .program(shell), isShared: true)
    assertIdentity(daemon.process, own)
    let limit = try XCTUnwrap(ProcessTable.limit("Max open files", of: getpid()))
    let client = try client(daemon)
    try client.expect("220 ")
    for isInsideTLS in [false, true] {
      if isInsideTLS {
        try client.ask("EHLO client.example")
        try client.startTLS()
        XCTAssertEqual(try client.ask("NOOP"), "250 done")
        XCTAssertTrue(eventually { daemon.backends.count == 1 })
      }
      let backend = try XCTUnwrap(daemon.backends.first)
      assertIdentity(backend, other)
      XCTAssertEqual(ProcessTable.descriptors(of: backend).keys.sorted(), [0, 1, 2])
      XCTAssertEqual(ProcessTable.limit("Max open files", of: backend), limit)
      XCTAssertEqual(ProcessTable.limit("Max data size", of: backend), "\(512 << 20)")
      XCTAssertEqual(ProcessTable.limit("Max processes", of: backend), "500")
      XCTAssertEqual(ProcessTable.status(of: backend)["SigBlk"], "0000000000000000")
    }

    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    let status = ProcessTable.status(of: starter)
    XCTAssertEqual(status["Uid"], "\(own.user)\t\(other.user)\t\(own.user)\t\(other.user)")
    XCTAssertEqual(status["CapPrm"], "0000000000000000")
    XCTAssertEqual(status["NoNewPrivs"], "1")
    // The program's user cannot signal it.
    let signal = try run(
      ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "kill", "-9", "\(starter)"], expecting: .exited(1))
    XCTAssertTrue(signal.errors.contains("not permitted"), signal.errors)

    let reader = try XCTUnwrap(daemon.helpers["starttlsd-read"])
    XCTAssertEqual(ProcessTable.status(of: reader)["CapPrm"], "0000000000000004")
    XCTAssertEqual(ProcessTable.status(of: reader)["NoNewPrivs"], "1")
    // Neither has a client, a listening socket, or the other's connection.
    func kinds(_ process: pid_t) -> [String] {
      ProcessTable.descriptors(of: process).sorted { $0.key < $1.key }.map { $0.value.hasPrefix("socket:") ? "socket" : $0.value }
    }
    // The reader has one to starttlsd and one to the process of the keys.
    XCTAssertEqual(kinds(reader), ["/dev/null", "/dev/null", "/dev/null", "socket", "socket"])
    XCTAssertEqual(kinds(starter).prefix(3), ["/dev/null", "/dev/null", "\(daemon.folder.path)/log"])
    XCTAssertEqual(kinds(starter).filter { $0 == "socket" }.count, 1)
    client.close()
  }

  /// The kernel compares a caller's user with the effective user for priorities and processors, and with the others for all else.
  func testTheProgramsUserCanSlowStartsAndNothingElse() throws {
    let daemon = try daemon(["--user", "daemon", "--backend-user", "nobody"], backend: .program(shell), isShared: true)
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    func run(_ words: [String], on process: pid_t, isAllowed: Bool) throws {
      let drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
      _ = try self.run(drop + words + ["\(process)"], expecting: .exited(isAllowed ? 0 : 1))
    }
    let slowing = [["renice", "-n", "19", "-p"], ["chrt", "--idle", "-p", "0"], ["taskset", "-c", "-p", "0"]]
    for words in slowing { try run(words, on: daemon.process, isAllowed: false) }
    for words in slowing { try run(words, on: starter, isAllowed: true) }
    for words in [["kill", "-STOP"], ["kill", "-KILL"], ["prlimit", "--nofile=3", "--pid"], ["ionice", "-c", "3", "-p"]] {
      try run(words, on: starter, isAllowed: false)
    }
    let client = try client(daemon)
    try client.expect("220 ")
    client.close()
  }

  /// Debian has no set-uid program that does nothing but show it: a copy of cat is one here.
  func testASetUIDProgramGainsNothingUnlessItIsAllowed() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o755)
    let program = folder.path + "/cat"
    try FileManager.default.copyItem(atPath: "/bin/cat", toPath: program)
    XCTAssertEqual(chmod(program, 0o4755), 0)
    for (options, effective) in [([], "2"), (["--allow-set-uid"], "0")] {
      let script = "\(program) /proc/self/status >\"$FOLDER/status.$SSL_PROTOCOL\"; \(ShellBackend.script())"
      for users in [["--user", "bin"], ["--user", "daemon", "--backend-user", "bin"]] {
        let daemon = try daemon(users + options, backend: .script(script), isShared: true)
        let client = try client(daemon)
        try client.expect("220 ")
        client.close()
        let line = daemon.folder.text("status.").split(separator: "\n").first { $0.hasPrefix("Uid:") }
        XCTAssertEqual(line?.split(separator: "\t").dropFirst().map(String.init).dropFirst().first, effective, "\(users + options)")
        _ = try daemon.session()
      }
    }
  }

  /// The probe runs the program as its user, before the first client comes.
  func testTheProbeRunsTheProgramAsItsUser() throws {
    let script = """
      cat /proc/self/status >>"$FOLDER/probed"
      \(ShellBackend.script(answers: [("RCPT*", "say '550 no relay'")]))
      """
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody"], backend: .script(script), trusting: false, isShared: true)
    let users = Set(daemon.folder.text("probed").split(separator: "\n").filter { $0.hasPrefix("Uid:") })
    let other = try user("nobody").user
    XCTAssertEqual(users.map { $0.split(separator: "\t").dropFirst().map(String.init) }, [Array(repeating: "\(other)", count: 4)])
    XCTAssertTrue(daemon.log.contains("refuses mail to other domains: 550 no relay"), daemon.log)
    XCTAssertNil(daemon.helpers["starttlsd-probe"])
  }

  /// What can only be found out after the start of a session.
  func testAProgramThatCannotBeStartedIsOneReplyAndOneLine() throws {
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody"], backend: .script(ShellBackend.script()), isShared: true)
    chmod(daemon.folder.path + "/backend", 0o700)
    let client = try client(daemon)
    XCTAssertTrue(try client.remainder().text.hasPrefix("421 4.3.2 "))
    client.close()
    let session = try daemon.session()
    XCTAssertTrue(session.description.contains("the backend cannot be started: execve: Permission denied"), session.description)
    chmod(daemon.folder.path + "/backend", 0o755)
    let next = try self.client(daemon)
    try next.expect("220 ")
    next.close()
  }

  /// The exit code arrives, and a program that does not end is ended, although it is no child of the daemon.
  func testEndsOfProgramsAreSeenAndEnforced() throws {
    let script = "trap '' TERM; printf '220 s\\r\\n'; read -r line; exec sleep 60"
    let daemon = try daemon(
      ["--user", "daemon", "--backend-user", "nobody", "--backend-grace", "0"], backend: .script(script), isShared: true)
    let first = try client(daemon)
    try first.expect("220 ")
    first.close()
    _ = try daemon.sessions(1)
    XCTAssertTrue(eventually { daemon.log.contains("was ended by signal 9") }, daemon.log)
    let failing = try self.daemon(
      ["--user", "daemon", "--backend-user", "nobody"], backend: .script("exit 3"), isShared: true)
    let second = try client(failing)
    XCTAssertTrue(try second.remainder().text.hasPrefix("421 "))
    second.close()
    _ = try failing.session()
    XCTAssertTrue(eventually { failing.log.contains(" exited with code 3") }, failing.log)
  }
}
