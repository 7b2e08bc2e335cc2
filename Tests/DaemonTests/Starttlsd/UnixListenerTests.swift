// UnixListenerTests: --listen unix:PATH. The file of the socket ends with the daemon, and one that a killed daemon left is replaced.

import Foundation
import Glibc
import XCTest

final class UnixListenerTests: WorkersTestCase {
  private let folder = TestFolder()
  private var path: String { folder.path + "/smtp" }
  private var options: [String] { ["--listen", "unix:\(path)"] }

  private func assertGreets(file: StaticString = #filePath, line: UInt = #line) throws {
    let client = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1]); print(s.recv(100))"
    let greeting = try run(["/usr/bin/python3", "-c", client, path]).output
    XCTAssertTrue(greeting.contains("220 mx.example"), greeting, file: file, line: line)
  }

  /// A socket at which nobody listens.
  private func leaveSocket() throws {
    try run(["/usr/bin/python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", path])
    XCTAssertEqual(folder.names(in: ""), ["smtp"])
  }

  func testOneProcess() throws {
    try leaveSocket()
    for _ in 1...2 {
      let daemon = try daemon(["--workers", "1"] + options)
      try assertGreets()
      daemon.stop()
      XCTAssertEqual(folder.names(in: ""), [])
    }
  }

  func testASupervisor() throws {
    try leaveSocket()
    let workers = try workers(2, options)
    try assertGreets()
    workers.program.signal(SIGTERM)
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(folder.names(in: ""), [])
  }

  /// A socket that is in use, and a file that is no socket, stay as they are.
  func testWhatIsNotLeftOverStays() throws {
    let words = [try Programs.path("starttlsd"), "--allow-root", "--trusting-backend", "--certificate", try certificate().certificate, "--key"]
      + [try certificate().key] + options
    func assertFails(_ why: String) throws {
      for workers in ["1", "2"] {
        let result = try run(words + ["--workers", workers, "--", "/bin/cat"], expecting: .exited(111))
        XCTAssertTrue(result.errors.contains("cannot listen on unix:\(path): \(why)"), result.errors)
      }
    }
    let daemon = try daemon(["--workers", "1"] + options)
    try assertFails("bind: Address already in use")
    try assertGreets()
    daemon.stop()
    try folder.write(Array("mine".utf8), to: "smtp")
    try assertFails("bind: File exists")
    XCTAssertEqual(folder.text("smtp"), "mine")
  }

  /// Another file that has taken the name stays: that of another starttlsd, for example.
  func testAnotherFileWithTheNameStays() throws {
    let others = ["--status-socket", folder.path + "/status", "--metrics", "unix:\(folder.path)/metrics"]
    let daemon = try daemon(["--workers", "1"] + options + others)
    for name in ["smtp", "status", "metrics"] {
      XCTAssertEqual(unlink("\(folder.path)/\(name)"), 0)
      try folder.write(Array("mine".utf8), to: name)
    }
    daemon.stop()
    for name in ["smtp", "status", "metrics"] { XCTAssertEqual(folder.text(name), "mine") }
  }
}
