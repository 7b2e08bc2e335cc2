// ServiceTests: starttlsd as a service of s6, runit and daemontools: ready, reload, stop.

import CKernel
import Foundation
import Glibc
import XCTest

final class ServiceTests: ServiceManagerTestCase {
  /// s6 is informed when the sockets listen.
  func testS6() throws {
    let port = try freePort()
    let service = try service(["--listen", "127.0.0.1:\(port)", "--notification-fd", "3"])
    try folder.write(Array("3\n".utf8), to: "service/notification-fd")
    let supervisor = try supervisor(["s6-supervise", service])
    defer { supervisor.kill() }
    XCTAssertTrue(eventually { (try? run(["s6-svok", service], expecting: nil).end) == .exited(0) }, log)
    try run(["s6-svwait", "-U", "-t", "10000", service])
    // Ready means that a client can connect at once.
    assertEnvironment(try session(try client(host: "127.0.0.1", port: port)))
    try reload(["s6-svc", "-h", service])
    try run(["s6-svc", "-wD", "-T", "10000", "-d", service])
    XCTAssertTrue(log.contains("stopped"), log)
    try run(["s6-svc", "-x", service])
    XCTAssertEqual(supervisor.wait(), .exited(0))
  }

  func testRunit() throws {
    let port = try freePort()
    let service = try service(["--listen", "127.0.0.1:\(port)"])
    let supervisor = try supervisor([try unpacked("/usr/bin/runsv"), service])
    defer { supervisor.kill() }
    assertEnvironment(try session(try connected(port, supervisor)))
    let sv = try unpacked("/usr/bin/sv")
    try reload([sv, "hup", service])
    try run([sv, "-w", "10", "exit", service])
    XCTAssertTrue(log.contains("stopped"), log)
    XCTAssertEqual(supervisor.wait(), .exited(0))
  }

  func testDaemontools() throws {
    let port = try freePort()
    let service = try service(["--listen", "127.0.0.1:\(port)"])
    let supervisor = try supervisor(["/usr/bin/supervise", service])
    defer { supervisor.kill() }
    assertEnvironment(try session(try connected(port, supervisor)))
    try reload(["svc", "-h", service])
    try run(["svc", "-dx", service])
    XCTAssertEqual(supervisor.wait(), .exited(0))
    XCTAssertTrue(log.contains("stopped"), log)
  }

  func testANotificationDescriptorThatIsNotOpen() throws {
    for number in ["17", "2", "-4"] {
      let words = try starttlsd(["--listen", "127.0.0.1:0", "--notification-fd=\(number)"])
      let result = try run(words, environment: environment, expecting: .exited(100))
      XCTAssertTrue(result.errors.contains("--notification-fd \(number): it is not open"), result.errors)
    }
  }

  // MARK: -

  /// A service folder.
  private func service(_ options: [String]) throws -> String {
    let path = folder.path + "/service"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try script("exec 2>>'\(folder.path)/log'\nexec \(quoted(try starttlsd(options)))", "service/run")
    return path
  }

  private func supervisor(_ words: [String]) throws -> SpawnedProgram {
    try SpawnedProgram(words, environment: environment, errors: .file(folder.path + "/supervisor.log"))
  }

  private func reload(_ words: [String], file: StaticString = #filePath, line: UInt = #line) throws {
    try run(words)
    XCTAssertTrue(eventually { log.contains("SIGHUP: ") }, log, file: file, line: line)
  }
}
