// RecorderTests: the process that writes recordings: its user, a disk that is full, and the limit of memory.

import Foundation
import Glibc
import XCTest

final class RecorderTests: PrivilegeTestCase {
  private func recordings(_ folder: TestFolder) -> [String] { folder.names(in: "").filter { $0.hasSuffix(".rec") } }

  private func endSession(_ daemon: RunningDaemon) throws {
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
    client.close()
  }

  /// The user of --user writes, into a folder of its own.
  func testRecordingsBelongToTheUser() throws {
    let own = try user("daemon")
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    let options = ["--user", "daemon", "--record", folder.path, "--record-share", "1/1"]
    XCTAssertThrowsError(try daemon(options, isShared: true)) { error in
      XCTAssertTrue("\(error)".contains("--record \(folder.path): the user daemon cannot write there: access: Permission denied"), "\(error)")
    }
    XCTAssertEqual(chown(folder.path, own.user, own.group), 0)
    let daemon = try daemon(options, isShared: true)
    assertIdentity(try XCTUnwrap(daemon.helpers["starttlsd-rec"]), own)
    try endSession(daemon)
    XCTAssertTrue(eventually { recordings(folder).count == 1 }, daemon.log)
    let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/" + recordings(folder)[0])
    XCTAssertEqual(attributes[.ownerAccountID] as? UInt32, own.user)
    XCTAssertEqual(attributes[.posixPermissions] as? Int, 0o600)
  }

  /// A file that cannot be written in full is removed, one line states why, and later ones are written again.
  func testADiskThatIsFullCostsRecordingsAlone() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    let daemon = try daemon(["--record", folder.path, "--record-share", "1/1"])
    let process = try XCTUnwrap(daemon.helpers["starttlsd-rec"])
    // A limit of the process stands for the end of the disk.
    try run(["prlimit", "--pid", "\(process)", "--fsize=100:unlimited"])
    try endSession(daemon)
    let line = "a recording is lost: \(folder.path): write: File too large"
    XCTAssertTrue(eventually { daemon.log.contains(line) || daemon.helpers["starttlsd-rec"] == nil }, daemon.log)
    XCTAssertTrue(daemon.log.contains(line), daemon.log)
    XCTAssertEqual(recordings(folder), [])
    try run(["prlimit", "--pid", "\(process)", "--fsize=unlimited:unlimited"])
    try endSession(daemon)
    XCTAssertTrue(eventually { recordings(folder).count == 1 && folder.text(recordings(folder)[0]).hasSuffix(" over quit\n") }, daemon.log)
  }

  /// The recordings of all sessions together have a limit: they end early then, and say so; sessions go on.
  func testRecordingsEndAtTheLimitOfMemory() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    let made = try certificate()
    // One worker of very many has a small part of the limit: 128 KiB.
    let script = """
      import os, socket, sys
      listener = socket.create_server(("127.0.0.1", 0))
      listener.setblocking(False)
      ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
      for number, end in enumerate([listener, *ends]):
          os.dup2(end.fileno(), 100 + number)
      for number in range(3):
          os.dup2(100 + number, 3 + number)
      os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), STARTTLSD_WORKER="1 256 4 -1")
      os.closerange(6, 200)
      os.execv(sys.argv[1], sys.argv[1:])
      """
    let words = [
      "/usr/bin/python3", "-c", script, try Programs.path("starttlsd"), "--allow-root", "--certificate", made.certificate, "--key", made.key,
      "--record", folder.path, "--record-share", "1/1", "--record-size", "1024", "--max-connections", "1000", "--exempt", "127.0.0.0/8", "--trusting-backend", "--",
      try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir",
    ]
    let program = try SpawnedProgram(words, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    func port() -> UInt16? {
      folder.text("log").split(separator: "\n").first { $0.contains("listening on ") }?.split(separator: ":").last.flatMap { UInt16($0) }
    }
    XCTAssertTrue(eventually { port() != nil || !program.isRunning }, folder.text("log"))
    let number = try XCTUnwrap(port(), folder.text("log"))
    let clients = try (0..<3).map { _ in try client(host: "127.0.0.1", port: number) }
    for client in clients { try client.expect("220 ") }
    let argument = String(repeating: "x", count: 450)
    for _ in 0..<50 {
      for client in clients { XCTAssertTrue(try client.ask("NOOP \(argument)").hasPrefix("250 ")) }
    }
    for client in clients {
      XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
      client.close()
    }
    XCTAssertTrue(eventually { recordings(folder).count == 3 }, folder.text("log"))
    let log = folder.text("log")
    XCTAssertTrue(log.contains("a recording ends early: the recordings of the sessions that run take 13"), log)
    // A file is there before its text is.
    XCTAssertTrue(eventually { recordings(folder).contains { folder.text($0).contains(" full\n") } })
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), folder.text("log"))
  }
}
