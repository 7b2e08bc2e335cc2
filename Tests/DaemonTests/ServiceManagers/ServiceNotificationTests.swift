// ServiceNotificationTests: the datagrams of sd_notify(3).

import CKernel
import Foundation
import Glibc
import ProgramSupport
import Transport
import XCTest

final class ServiceNotificationTests: ServiceManagerTestCase {
  /// A socket at a path, and one with an abstract name.
  func testReadyReloadWatchdogAndStop() throws {
    for path in [folder.path + "/notify", "@starttlsd-test/\(getpid())/\(folder.path)"] {
      let socket = try bound(path)
      let program = try started(["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"])
      defer { program.kill() }
      XCTAssertEqual(try message(socket), "READY=1\nSTATUS=Listening on 1 sockets")
      XCTAssertTrue(log.contains("listening on "), "not ready yet: \(log)")
      XCTAssertEqual(try message(socket), "WATCHDOG=1")
      XCTAssertEqual(try message(socket), "WATCHDOG=1")
      let before = monotonicMicroseconds
      program.signal(SIGHUP)
      let reloading = try message(socket, "WATCHDOG=1").split(separator: "\n")
      XCTAssertEqual(reloading.first, "RELOADING=1")
      let time = reloading.last?.split(separator: "=").last.flatMap { Int($0) } ?? 0
      XCTAssertEqual(reloading.last, "MONOTONIC_USEC=\(time)")
      XCTAssertTrue((before...monotonicMicroseconds).contains(time), "\(time)")
      XCTAssertEqual(try message(socket, "WATCHDOG=1"), "READY=1\nSTATUS=Listening on 1 sockets")
      program.signal(SIGTERM)
      XCTAssertEqual(try message(socket, "WATCHDOG=1"), "STOPPING=1\nSTATUS=Stopping: 0 sessions")
      XCTAssertEqual(program.wait(), .exited(0))
      unlink(folder.path + "/log")
    }
  }

  /// Without a reader, and with one whose queue is full, the daemon serves.
  func testAServiceManagerThatReadsNothing() throws {
    let path = folder.path + "/notify"
    let socket = try bound(path)
    for _ in 0..<2 {
      let program = try started(["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"])
      defer { program.kill() }
      XCTAssertTrue(eventually { log.contains("listening on ") }, log)
      let port = try XCTUnwrap(port)
      try session(try client(host: "127.0.0.1", port: port))
      program.signal(SIGTERM)
      XCTAssertEqual(program.wait(), .exited(0))
      unlink(folder.path + "/log")
      socket.close()
    }
  }

  /// Reloads while the service manager's queue is full: when it reads again, the last state that arrives is READY after RELOADING.
  func testReadyFollowsReloadingAfterAFullQueue() throws {
    let path = folder.path + "/notify"
    let socket = try bound(path)
    let filled = try fill(path)
    let program = try started(["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"])
    defer { program.kill() }
    XCTAssertTrue(eventually { log.contains("listening on ") }, log)
    let port = try XCTUnwrap(port)
    for number in 1...6 {
      program.signal(SIGHUP)
      XCTAssertTrue(eventually { log.components(separatedBy: "SIGHUP: the certificates are loaded").count > number }, log)
    }
    // Many watchdog times pass in a session.
    try session(try client(host: "127.0.0.1", port: port))
    for _ in 0..<filled { XCTAssertEqual(try message(socket), "full") }
    let first = try message(socket, "WATCHDOG=1")
    XCTAssertTrue(first.hasPrefix("RELOADING=1\n"), first)
    XCTAssertEqual(try message(socket, "WATCHDOG=1"), "READY=1\nSTATUS=Listening on 1 sockets")
    program.signal(SIGTERM)
    XCTAssertEqual(try message(socket, "WATCHDOG=1"), "STOPPING=1\nSTATUS=Stopping: 0 sessions")
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// The process that reads the certificates does not run, as with a file system that hangs: the reload is reported as ended
  /// after five seconds, and the log says why. It ends when the files are read. Nothing follows STOPPING.
  func testAReloadThatHangs() throws {
    let path = folder.path + "/notify"
    let socket = try bound(path)
    let program = try started(["NOTIFY_SOCKET": path])
    defer { program.kill() }
    let ready = "READY=1\nSTATUS=Listening on 1 sockets"
    XCTAssertEqual(try message(socket), ready)
    let reader = try XCTUnwrap(ProcessTable.helpers(of: program.process)["starttlsd-read"])
    kill(reader, SIGSTOP)
    defer { kill(reader, SIGCONT) }
    program.signal(SIGHUP)
    XCTAssertTrue(try message(socket).hasPrefix("RELOADING=1\n"))
    XCTAssertFalse(log.contains("SIGHUP"), log)
    XCTAssertEqual(try message(socket), ready)
    XCTAssertTrue(log.contains("warning starttlsd: SIGHUP: the files of the certificates are not read after 5 s"), log)
    kill(reader, SIGCONT)
    XCTAssertEqual(try message(socket), ready)
    XCTAssertTrue(log.contains("SIGHUP: the certificates are loaded again"), log)
    kill(reader, SIGSTOP)
    program.signal(SIGHUP)
    XCTAssertTrue(try message(socket).hasPrefix("RELOADING=1\n"))
    program.signal(SIGTERM)
    XCTAssertEqual(try message(socket), "STOPPING=1\nSTATUS=Stopping: 0 sessions")
    kill(reader, SIGCONT)
    XCTAssertEqual(program.wait(), .exited(0))
    var octet: UInt8 = 0
    XCTAssertEqual(recv(socket.number, &octet, 1, CInt(MSG_DONTWAIT)), -1, "a datagram after STOPPING")
  }

  // MARK: -

  /// The port in the line of the log about it.
  private var port: UInt16? {
    log.split(separator: "\n").first { $0.contains("listening on ") }?.split(separator: ":").last.flatMap { UInt16($0) }
  }

  /// Fills the queue of a socket; returns the number of datagrams. One sender has memory for a part of them only.
  private func fill(_ path: String) throws -> Int {
    var count = 0
    while true {
      let sender = try DatagramSocket.create()
      try DatagramSocket.connect(sender, to: path)
      let before = count
      while (try? DatagramSocket.send(Array("full".utf8), to: sender)) != nil { count += 1 }
      if count == before { return count }
    }
  }

  /// The daemon with these variables.
  private func started(_ variables: [String: String]) throws -> SpawnedProgram {
    try SpawnedProgram(
      try starttlsd(["--listen", "127.0.0.1:0"]), environment: environment.merging(variables) { $1 }, errors: .file(folder.path + "/log"))
  }

  private func bound(_ path: String) throws -> NotifySocket { try NotifySocket(path) }

  /// The next datagram that is not the given one.
  private func message(_ socket: NotifySocket, _ other: String = "") throws -> String { try socket.message(other) }

  private var monotonicMicroseconds: Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1_000_000 + Int(time.tv_nsec) / 1000
  }
}
