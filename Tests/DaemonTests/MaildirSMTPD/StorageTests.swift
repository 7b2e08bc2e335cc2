// StorageTests: disks that are full, folders that cannot be used, and the order of things.

import CKernel
import Foundation
import XCTest

final class StorageTests: XCTestCase {
  private let small = Array("small\r\n".utf8)

  /// After a failure the session goes on, nothing is left in `tmp`, the log says why, and the next message that can be
  /// stored is.
  private func assertRefused(
    _ server: RunningServer, _ body: [UInt8], mail: String = "FROM:<a@b>", reply: String, log: String,
    line: UInt = #line
  ) {
    XCTAssertEqual(server.deliver(body, mail: mail), reply, line: line)
    XCTAssertTrue(server.log.contains("cannot store a message in "), server.log, line: line)
    XCTAssertTrue(server.log.contains(log), server.log, line: line)
    XCTAssertEqual(server.folder.names(in: "maildir/tmp"), [], line: line)
    XCTAssertEqual(server.folder.names(in: "maildir/new"), [], line: line)
    server.send("NOOP\r\n")
    XCTAssertEqual(server.reply(), "250 2.0.0 OK", line: line)
  }

  func testAFileThatMayNotGrow() throws {
    let server = try RunningServer(wrapper: ["/bin/sh", "-c", "ulimit -f 64; exec \"$0\" \"$@\""])
    _ = server.reply()
    let large = Array(String(repeating: "0123456789abcdef\r\n", count: 20_000).utf8)
    assertRefused(
      server, large, reply: "452 4.3.1 No room for the message, try again later", log: "write: File too large")
    XCTAssertTrue(server.deliver(small).hasPrefix("250 2.0.0"))
    XCTAssertEqual(server.delivered, [Array("small\n".utf8)])
  }

  func testAFullDisk() throws {
    let folder = TemporaryFolder()
    let disk = folder.path + "/maildir"
    mkdir(disk, 0o700)
    guard mount("tmpfs", disk, "tmpfs", 0, "size=64k") == 0 else {
      throw XCTSkip("mount: \(String(cString: strerror(errno))): a small disk needs root")
    }
    defer { umount2(disk, CInt(MNT_DETACH)) }
    let server = try RunningServer(in: folder)
    _ = server.reply()
    let large = Array(String(repeating: "0123456789abcdef\r\n", count: 20_000).utf8)
    let reply = "452 4.3.1 No room for the message, try again later"
    assertRefused(server, large, reply: reply, log: "write: No space left on device")
    // A size that is announced is refused before the message is sent.
    assertRefused(server, large, mail: "FROM:<a@b> SIZE=360000", reply: reply, log: "statvfs: No space left on device")
    XCTAssertTrue(server.deliver(small).hasPrefix("250 2.0.0"))
    XCTAssertEqual(server.delivered, [Array("small\n".utf8)])
    server.send("QUIT\r\n")
    XCTAssertEqual(server.reply(), "221 2.0.0 Bye")
    XCTAssertEqual(server.wait(), .exited(0))
  }

  func testFoldersThatCannotBeUsed() throws {
    let reply = "451 4.3.0 The message cannot be stored, try again later"
    for name in ["tmp", "new", "."] {
      let folder = TemporaryFolder()
      if name != "." { mkdir(folder.path + "/maildir", 0o700) }
      let file = folder.path + (name == "." ? "/maildir" : "/maildir/\(name)")
      XCTAssertTrue(FileManager.default.createFile(atPath: file, contents: nil))
      let server = try RunningServer(in: folder)
      _ = server.reply()
      assertRefused(server, small, reply: reply, log: ": Not a directory")
    }
    let nowhere = try RunningServer(maildir: "missing/maildir")
    _ = nowhere.reply()
    assertRefused(nowhere, small, reply: reply, log: "open \(nowhere.folder.path)/missing: No such file or directory")
  }

  /// The program for `closed/maildir`, where `closed` has these permissions. Root may do everything, so it runs as another user.
  private func serverOfAnotherUser(_ mode: mode_t, in folder: TemporaryFolder) throws -> RunningServer {
    let closed = folder.path + "/closed"
    chmod(folder.path, 0o711)
    mkdir(closed, 0o700)
    chmod(closed, mode)
    let isRoot = geteuid() == 0
    let server = try RunningServer(
      wrapper: isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [],
      maildir: "closed/maildir", in: folder)
    let greeting = server.reply()
    guard greeting.hasPrefix("220") else { throw XCTSkip("cannot run as another user: \(server.log)") }
    return server
  }

  func testAFolderWithoutPermission() throws {
    let folder = TemporaryFolder()
    let server = try serverOfAnotherUser(0o555, in: folder)
    XCTAssertEqual(server.deliver(small), "451 4.3.0 The message cannot be stored, try again later")
    XCTAssertTrue(server.log.contains("mkdir \(folder.path)/closed/maildir: Permission denied"), server.log)
    chmod(folder.path + "/closed", 0o777)
    XCTAssertTrue(server.deliver(small).hasPrefix("250 2.0.0"))
  }

  /// The folder of the Maildir may be written and not read: no message is accepted, as its folder cannot be synchronised.
  func testAFolderThatMayNotBeRead() throws {
    let folder = TemporaryFolder()
    for _ in 1...2 {
      let server = try serverOfAnotherUser(0o333, in: folder)
      for _ in 1...2 { XCTAssertEqual(server.deliver(small), "451 4.3.0 The message cannot be stored, try again later") }
      let lines = server.log.split(separator: "\n")
      XCTAssertEqual(lines.filter { $0.contains("open \(folder.path)/closed: Permission denied") }.count, lines.count, server.log)
      XCTAssertEqual(folder.names(in: "closed"), [])
    }
  }

  /// The folder `new` cannot be synchronised, and then the message cannot be removed from it.
  func testAMessageThatIsRefusedAndStays() throws {
    // The fourth fsync(2) of a Maildir that exists; the third is that of the message.
    let folder = TemporaryFolder()
    for name in ["", "/tmp", "/new", "/cur"] { mkdir(folder.path + "/maildir" + name, 0o700) }
    let server = try RunningServer(
      environment: ["ASAN_OPTIONS": "detect_leaks=0"],
      wrapper: [
        "/usr/bin/strace", "-o", "/dev/null", "-e", "trace=fsync,unlink", "-e", "inject=fsync:error=EIO:when=4", "-e",
        "inject=unlink:error=EROFS",
      ],
      in: folder)
    let greeting = server.reply()
    guard greeting.hasPrefix("220") else { throw XCTSkip("strace does not work here: \(server.log)") }
    XCTAssertEqual(server.deliver(small), "451 4.3.0 The message cannot be stored, try again later")
    let names = folder.names(in: "maildir/new")
    XCTAssertEqual(names.count, 1)
    for name in names {
      XCTAssertTrue(
        server.log.contains(
          "cannot remove a refused message: \(folder.path)/maildir/new/\(name), unlink: Read-only file system: "
            + "it is delivered twice if the client sends it again, client "), server.log)
    }
  }

  /// What the real program asks of the kernel, in which order, up to the reply.
  func testTheOrderOfDurableDelivery() throws {
    let folder = TemporaryFolder()
    let trace = folder.path + "/trace"
    // A leak checker cannot work in a process that is traced.
    let server = try RunningServer(
      environment: ["ASAN_OPTIONS": "detect_leaks=0"],
      wrapper: ["/usr/bin/strace", "-y", "-o", trace, "-e", "trace=openat,open,write,fsync,rename,renameat,sendto"],
      in: folder)
    let greeting = server.reply()
    guard greeting.hasPrefix("220") else { throw XCTSkip("strace does not work here: \(server.log)") }
    XCTAssertTrue(server.deliver(small).hasPrefix("250 2.0.0"))
    server.send("QUIT\r\n")
    _ = server.reply()
    XCTAssertEqual(server.wait(), .exited(0))

    let calls = String(decoding: folder.contents("trace"), as: UTF8.self).components(separatedBy: "\n")
    let steps: [(String) -> Bool] = [
      { $0.hasPrefix("open") && $0.contains("/maildir/tmp/") && $0.contains("O_EXCL") },
      { $0.hasPrefix("write(") && $0.contains("/maildir/tmp/") && $0.contains("small\\n") },
      { $0.hasPrefix("fsync(") && $0.contains("/maildir/tmp/") },
      { $0.hasPrefix("rename") && $0.contains("/maildir/new/") },
      { $0.hasPrefix("fsync(") && $0.contains("/maildir/new>") },
      { $0.hasPrefix("sendto(") && $0.contains("250 2.0.0 Delivered") },
    ]
    var rest = calls[...]
    for (index, step) in steps.enumerated() {
      guard let place = rest.firstIndex(where: step) else {
        return XCTFail("step \(index) is not in order:\n" + calls.joined(separator: "\n"))
      }
      rest = rest[(place + 1)...]
    }
  }
}
