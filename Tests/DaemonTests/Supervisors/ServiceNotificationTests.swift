// ServiceNotificationTests: the datagrams of sd_notify(3).

import CKernel
import Foundation
import Glibc
import XCTest

final class ServiceNotificationTests: SupervisorTestCase {
  /// A socket at a path, and one with an abstract name.
  func testReadyReloadWatchdogAndStop() throws {
    for path in [folder.path + "/notify", "@starttlsd-test/\(getpid())/\(folder.path)"] {
      let socket = try bound(path)
      let variables = ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"]
      let program = try SpawnedProgram(
        try starttlsd(["--listen", "127.0.0.1:0"]), environment: environment.merging(variables) { $1 },
        errors: .file(folder.path + "/log"))
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
  func testASupervisorThatReadsNothing() throws {
    let path = folder.path + "/notify"
    let socket = try bound(path)
    for _ in 0..<2 {
      let program = try SpawnedProgram(
        try starttlsd(["--listen", "127.0.0.1:0"]),
        environment: environment.merging(["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"]) { $1 },
        errors: .file(folder.path + "/log"))
      defer { program.kill() }
      XCTAssertTrue(eventually { log.contains("listening on ") }, log)
      let port = try XCTUnwrap(log.split(separator: "\n").last?.split(separator: ":").last.flatMap { UInt16($0) })
      try session(try client(host: "127.0.0.1", port: port))
      program.signal(SIGTERM)
      XCTAssertEqual(program.wait(), .exited(0))
      unlink(folder.path + "/log")
      socket.close()
    }
  }

  // MARK: -

  private func bound(_ path: String) throws -> TestDescriptor {
    let socket = TestDescriptor(Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let octets = Array(path.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) {
      $0.copyBytes(from: octets)
      if octets[0] == UInt8(ascii: "@") { $0[0] = 0 }
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + octets.count)
    let isBound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket.number, $0, length) == 0 }
    }
    guard isBound else { throw Failure("bind: \(String(cString: strerror(errno)))") }
    return socket
  }

  /// The next datagram that is not the given one.
  private func message(_ socket: TestDescriptor, _ other: String = "") throws -> String {
    while true {
      let text = String(decoding: try socket.read(), as: UTF8.self)
      if text != other { return text }
    }
  }

  private var monotonicMicroseconds: Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1_000_000 + Int(time.tv_nsec) / 1000
  }
}
