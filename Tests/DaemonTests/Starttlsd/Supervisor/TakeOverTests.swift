// TakeOverTests: reloads and take-overs while clients come.

import CKernel
import Foundation
import Glibc
import XCTest

final class TakeOverTests: WorkersTestCase {
  func testAReloadReachesAllWorkers() throws {
    let folder = TestFolder()
    let made = try makeCertificate("renewed", in: folder)
    let workers = try workers(2, ["--certificate", made.certificate, "--key", made.key])
    workers.program.signal(SIGHUP)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "SIGHUP: the certificates are loaded again").count == 3 }, workers.log)
  }

  /// Connects, is greeted, and says goodbye, again and again; counts what is refused or not greeted.
  private final class Load: @unchecked Sendable {
    private let port: UInt16
    private let lock = NSLock()
    private var isOver = false
    private var greeted = 0
    private var faults: [String] = []
    private let group = DispatchGroup()

    /// - Parameter rate: connections a second.
    init(port: UInt16, rate: Int) {
      self.port = port
      let threads = 4
      for _ in 0..<threads {
        group.enter()
        Thread.detachNewThread { [self] in
          while !lock.withLock({ isOver }) {
            let start = Date()
            let fault = session()
            lock.withLock { if let fault { faults.append(fault) } else { greeted += 1 } }
            usleep(UInt32(max(0, Double(threads) / Double(rate) - Date().timeIntervalSince(start)) * 1_000_000))
          }
          group.leave()
        }
      }
    }

    var count: Int { lock.withLock { greeted } }

    func end() -> [String] {
      lock.withLock { isOver = true }
      group.wait()
      return faults
    }

    /// nil if the client was served.
    private func session() -> String? {
      let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      defer { close(number) }
      var time = timeval(tv_sec: Int(Deadline.seconds), tv_usec: 0)
      setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      let answer = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
      }
      guard answer == 0 else { return "connect: \(String(cString: strerror(errno)))" }
      guard let greeting = line(number), greeting.hasPrefix("220 ") else { return "no greeting: \(String(cString: strerror(errno)))" }
      _ = send(number, "QUIT\r\n", 6, CInt(MSG_NOSIGNAL))
      guard let bye = line(number), bye.hasPrefix("221 ") else { return "no reply to QUIT after \(greeting)" }
      return nil
    }

    private func line(_ number: CInt) -> String? {
      var octets: [UInt8] = []
      var octet: UInt8 = 0
      while recv(number, &octet, 1, 0) == 1 {
        octets.append(octet)
        if octet == 10 { return String(decoding: octets, as: UTF8.self) }
      }
      return nil
    }
  }

  /// Replaces the program's file at once, as a package does.
  private func replace(_ workers: RunningWorkers, _ make: (_ path: String) throws -> Void) throws {
    try make(workers.path + ".new")
    XCTAssertEqual(rename(workers.path + ".new", workers.path), 0)
  }

  func testATakeOverUnderLoadRefusesNobody() throws {
    let workers = try workers(2, ["--max-connections-per-address", "0", "--max-penalty", "0"])
    let old = workers.workers
    let held = try XCTUnwrap(try clients(1, workers).first)
    let load = Load(port: workers.port, rate: 200)
    XCTAssertTrue(eventually { load.count >= 50 })
    // A copy: the process must execute another file.
    let built = URL(fileURLWithPath: try Programs.path("starttlsd")).resolvingSymlinksInPath().path
    try replace(workers) { try FileManager.default.copyItem(atPath: built, toPath: $0) }
    workers.program.signal(SIGUSR2)
    workers.waits(for: "has taken over: 2 workers serve, 2 old ones end with their sessions\n")
    let then = load.count
    XCTAssertTrue(eventually { load.count >= then + 100 })
    XCTAssertEqual(load.end(), [], workers.log)
    // The same process, another program.
    let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(workers.program.process)/exe")
    XCTAssertEqual(link, workers.path)
    let new = workers.workers
    XCTAssertTrue(Set(new.values).isDisjoint(with: old.values), workers.log)
    for process in new.values {
      XCTAssertEqual(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/exe"), workers.path)
    }
    // A session of an old worker goes on.
    try deliver(held)
    XCTAssertEqual(try held.ask("QUIT"), "221 2.0.0 Bye")
    held.close()
    for process in old.values { workers.waits(for: "process \(process), exited with code 0\n") }
    XCTAssertEqual(workers.messages, 1)
    // And another time, with a worker that died in between.
    kill(try XCTUnwrap(new[2]), SIGKILL)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "listening on ").count == 6 }, workers.log)
    workers.program.signal(SIGUSR2)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: " has taken over: ").count == 3 }, workers.log)
    XCTAssertEqual(Array(Set(try clients(4, workers).map { try $0.ask("NOOP") })), ["250 2.0.0 OK"])
  }

  func testAProgramThatCannotTakeOverLeavesTheOldWorkers() throws {
    let workers = try workers(2)
    let old = workers.workers
    let held = try XCTUnwrap(try clients(1, workers).first)
    for (script, text) in [
      ("exit 3", "exited with code 3 before all workers were ready: \(workers.path) does not take over, the workers stay as they were\n"),
      // It says that it is ready, and is another program.
      ("python3 -c 'import socket, os; socket.socket(fileno=int(os.environ[\"STARTTLSD_WORKER\"].split()[2])).send(b\"READY=1\")'; exec sleep 100",
        "it is another version, which cannot continue"),
    ] {
      try replace(workers) {
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: $0))
        chmod($0, 0o755)
      }
      workers.program.signal(SIGUSR2)
      workers.waits(for: text)
    }
    XCTAssertEqual(unlink(workers.path), 0)
    workers.program.signal(SIGUSR2)
    workers.waits(for: "No such file or directory: the workers stay as they were\n")
    for process in old.values { XCTAssertTrue(ProcessTable.children(of: workers.program.process).contains(process)) }
    for client in try clients(4, workers) + [held] {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    }
    XCTAssertEqual(workers.messages, 5)
  }
}
