// SharedSocketTests: what a worker, or another process, may do to the sockets that all workers share.

import CKernel
import Foundation
import Glibc
import XCTest

final class SharedSocketTests: WorkersTestCase {
  /// A program that begins with the socket that is its standard input as the one of a service manager.
  private static let passing = """
    import os, sys
    os.dup2(0, 3)
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(sys.argv[1], sys.argv[1:])
    """

  /// Two workers at a socket that this process has as well.
  private func sharing(_ socket: TestSocket, _ folder: TestFolder) throws -> SpawnedProgram {
    let made = try certificate()
    let words = [
      "/usr/bin/python3", "-c", SharedSocketTests.passing, try Programs.path("starttlsd"), "--allow-root", "--workers", "2", "--grace", "5",
      "--certificate", made.certificate, "--key", made.key, "--trusting-backend", "--", try Programs.path("maildir-smtpd"), "--hostname",
      "mx.example", folder.path + "/Maildir",
    ]
    let program = try SpawnedProgram(words, input: .descriptor(socket.number), errors: .file(folder.path + "/log"))
    XCTAssertTrue(eventually(within: 2 * Deadline.seconds) { folder.text("log").contains("2 workers serve\n") || !program.isRunning })
    return program
  }

  /// shutdown(2) by one process ends the listening for all.
  func testASocketThatWasShutDownListensAgain() throws {
    let folder = TestFolder()
    let socket = try TestSocket()
    let program = try sharing(socket, folder)
    defer { program.kill() }
    var many: CInt = 100_000
    XCTAssertEqual(setsockopt(socket.number, SOL_SOCKET, SO_RCVLOWAT, &many, 4), 0)
    XCTAssertEqual(fcntl(socket.number, F_SETFL, 0), 0)
    XCTAssertEqual(shutdown(socket.number, CInt(SHUT_RDWR)), 0)
    let line = ": the service manager's socket 127.0.0.1:\(socket.port): a worker has changed the socket: it is repaired\n"
    XCTAssertTrue(eventually { folder.text("log").contains(line) }, folder.text("log"))
    XCTAssertTrue(eventually { fcntl(socket.number, F_GETFL) & O_NONBLOCK != 0 })
    var length = socklen_t(4)
    XCTAssertTrue(eventually { getsockopt(socket.number, SOL_SOCKET, SO_RCVLOWAT, &many, &length) == 0 && many == 1 })
    let client = try client(host: "127.0.0.1", port: socket.port)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("NOOP"), "250 2.0.0 OK")
    client.close()
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), folder.text("log"))
  }

  /// The kernel wakes one process for a client. If that one does not accept it, another one does within a second.
  func testAClientIsServedAlthoughItsWakeUpWasLost() throws {
    let folder = TestFolder()
    let socket = try TestSocket()
    let program = try sharing(socket, folder)
    defer { program.kill() }
    let waiter = try Waiter(socket.number)
    defer { waiter.end() }
    // After a client, and after a second, a worker registers the socket again, so that it is the turn of this process.
    for _ in 0..<20 where !waiter.wasWoken {
      let client = try client(host: "127.0.0.1", port: socket.port)
      try client.expect("220 ")
      client.close()
    }
    XCTAssertTrue(waiter.wasWoken, "no wake-up was taken")
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), folder.text("log"))
  }

  /// The kernel gives up a port that it chose itself when the socket is shut down: another socket is bound to it, for all workers.
  func testASocketWithAPortOfTheKernelIsReplaced() throws {
    let workers = try workers(2)
    let before = workers.workers
    try shutDown("\(workers.port)", of: workers.program.process)
    workers.waits(for: ": --listen 127.0.0.1:0: a worker has shut the socket down: it is replaced, and the workers that have it\n")
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "listening on 127.0.0.1:\(workers.port)\n").count == 5 }, workers.log)
    XCTAssertTrue(Set(workers.workers.values).isDisjoint(with: before.values), workers.log)
    for client in try clients(4, workers) { client.close() }
  }

  /// Workers of a program that is about to take over would have the socket that was shut down.
  func testASocketThatIsReplacedEndsATakeOver() throws {
    let workers = try workers(2)
    let before = workers.workers
    try Data("#!/bin/sh\nexec sleep 100\n".utf8).write(to: URL(fileURLWithPath: workers.path + ".new"))
    chmod(workers.path + ".new", 0o755)
    XCTAssertEqual(rename(workers.path + ".new", workers.path), 0)
    workers.program.signal(SIGUSR2)
    workers.waits(for: "\(workers.path) takes over\n")
    try shutDown("\(workers.port)", of: workers.program.process)
    workers.waits(
      for: "SIGUSR2: --listen 127.0.0.1:0: the socket was shut down meanwhile: \(workers.path) does not take over, the workers stay as they were\n")
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "listening on 127.0.0.1:\(workers.port)\n").count == 5 }, workers.log)
    XCTAssertTrue(Set(workers.workers.values).isDisjoint(with: before.values), workers.log)
    for client in try clients(4, workers) { client.close() }
  }

  /// A Unix socket that was shut down refuses all clients for good: another one takes its place, and its worker's.
  func testAStatusSocketThatWasShutDownIsReplaced() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let workers = try workers(2, ["--status-socket", path])
    let before = workers.workers
    // The end of receiving is enough.
    try shutDown(path + ".1", of: workers.program.process, how: SHUT_RD)
    workers.waits(for: ": --status-socket unix:\(path).1: a worker has shut the socket down: it is replaced, and the workers that have it\n")
    XCTAssertTrue(eventually { workers.workers[1] != before[1] }, workers.log)
    let program = try Programs.path("starttlsd")
    XCTAssertTrue(
      try eventually {
        let output = try run([program, "status", path], expecting: nil).output
        return workers.workers.values.allSatisfy { output.contains("process \($0), up") }
      }, workers.log)
    XCTAssertEqual(workers.workers[2], before[2], "the other worker has another socket")
    let mode = try FileManager.default.attributesOfItem(atPath: path + ".1")[.posixPermissions] as? Int
    XCTAssertEqual(mode, 0o600)
    XCTAssertFalse(workers.log.contains(":  "), workers.log)
    workers.program.signal(SIGTERM)
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(folder.names(in: ""), [], "the new file is removed")
  }

  /// The same for a socket of clients, whose mode an operator may have changed.
  func testAListeningUnixSocketThatWasShutDownIsReplaced() throws {
    let folder = TestFolder()
    let path = folder.path + "/smtp"
    let workers = try workers(2, ["--listen", "unix:\(path)"])
    chmod(path, 0o766)
    try shutDown(path, of: workers.program.process, how: SHUT_RD)
    workers.waits(for: ": --listen unix:\(path): a worker has shut the socket down: it is replaced, and the workers that have it\n")
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    XCTAssertEqual(mode, 0o766)
    let client = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1]); print(s.recv(100))"
    XCTAssertTrue(try run(["/usr/bin/python3", "-c", client, path]).output.contains("220 mx.example"))
    workers.program.signal(SIGTERM)
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(folder.names(in: ""), [])
  }

  /// The name of a Unix socket may belong to another file when it ends.
  func testAnotherFileWithTheNameOfASocketStays() throws {
    let folder = TestFolder()
    let workers = try workers(2, ["--status-socket", folder.path + "/status"])
    XCTAssertEqual(unlink(folder.path + "/status.1"), 0)
    try folder.write(Array("mine".utf8), to: "status.1")
    workers.program.signal(SIGTERM)
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(folder.names(in: ""), ["status.1"])
    XCTAssertEqual(folder.text("status.1"), "mine")
  }
}

extension StarttlsdTestCase {
  /// shutdown(2) of a listening socket of another process, by its path or its port. Once: another number may lead to it.
  func shutDown(_ name: String, of process: pid_t, how: Int = SHUT_RDWR) throws {
    let script = """
      import ctypes, errno, os, socket, sys
      process, wanted = int(sys.argv[1]), sys.argv[2]
      descriptor = os.pidfd_open(process)
      libc = ctypes.CDLL(None, use_errno=True)
      for name in os.listdir(f"/proc/{process}/fd"):
          try:
              target = os.readlink(f"/proc/{process}/fd/{name}")
          except FileNotFoundError:
              continue  # It was closed meanwhile.
          if target.startswith("socket:"):
              number = libc.syscall(438, descriptor, int(name), 0)
              if number < 0 and ctypes.get_errno() == errno.EBADF:
                  continue
              if number < 0:
                  print(errno.errorcode[ctypes.get_errno()])
                  break
              taken = socket.socket(fileno=number)
              address = taken.getsockname()
              if wanted == (str(address[1]) if taken.family == socket.AF_INET else address):
                  taken.shutdown(int(sys.argv[3]))
                  print("done")
                  break
      """
    let output = try run(["/usr/bin/python3", "-c", script, "\(process)", name, "\(how)"]).output
    // pidfd_getfd(2)
    try XCTSkipIf(["EPERM\n", "ENOSYS\n"].contains(output), "descriptors of another process cannot be taken here")
    XCTAssertEqual(output, "done\n")
  }
}

/// A listening socket of the loopback, non-blocking.
private final class TestSocket {
  let number: CInt
  var port: UInt16 { reserved.number }
  private let reserved: ReservedPort

  init() throws {
    number = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0)
    // The port is not the kernel's choice, which it would forget.
    reserved = try ReservedPort()
    var on: CInt = 1
    setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    address.sin_port = reserved.number.bigEndian
    let isListening = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 && listen(number, 64) == 0 }
    }
    guard isListening else { throw Failure("no port: \(String(cString: strerror(errno)))") }
  }

  deinit { close(number) }
}

/// Waits for clients as a worker does, until it is woken once, and accepts none.
private final class Waiter: @unchecked Sendable {
  private let epoll: CInt
  private let lock = NSLock()
  private var isEnding = false
  private var isWoken = false
  private let hasEnded = DispatchSemaphore(value: 0)

  init(_ number: CInt) throws {
    epoll = epoll_create1(KERNEL_EPOLL_CLOEXEC)
    var event = epoll_event(events: UInt32(EPOLLIN.rawValue) | KERNEL_EPOLL_EXCLUSIVE, data: epoll_data_t(fd: number))
    guard epoll >= 0, epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) == 0 else { throw Failure("epoll: \(String(cString: strerror(errno)))") }
    Thread { [self] in
      while !lock.withLock({ isEnding || isWoken }) {
        var event = epoll_event()
        if epoll_wait(epoll, &event, 1, 100) == 1 { lock.withLock { isWoken = true } }
      }
      hasEnded.signal()
    }.start()
  }

  var wasWoken: Bool { lock.withLock { isWoken } }

  func end() {
    lock.withLock { isEnding = true }
    hasEnded.wait()
    close(epoll)
  }
}
