// StatusTests: `starttlsd status`, and a socket whose clients cannot hold up anything.

import CKernel
import Foundation
import Glibc
import XCTest

final class StatusTests: StarttlsdTestCase {
  private func status(_ path: String, _ options: [String] = []) throws -> String {
    let result = try run([Programs.path("starttlsd"), "status"] + options + [path])
    XCTAssertEqual(result.errors, "")
    return result.output
  }

  private func object(_ path: String) throws -> [String: Any] {
    let text = try status(path, ["--json"])
    return try XCTUnwrap(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], text)
  }

  func testSessionsTotalsAndCertificates() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let daemon = try daemon(["--status-socket", path, "--max-connections", "50"])
    var mode = stat()
    XCTAssertEqual(stat(path, &mode), 0)
    XCTAssertEqual(mode.st_mode & 0o777, 0o600)
    var clients: [String: SMTPClient] = [:]
    for (name, phase) in [
      ("clear", SessionPhase.negotiating), ("handshake", .handshakeAwaited), ("secured", .secured),
      ("relay", .dataInsideTLS),
    ] {
      let client = try client(daemon)
      try phase.enter(client)
      clients[name] = client
    }
    let first = try object(path)
    XCTAssertEqual(first["sessions"] as? Int, 4)
    XCTAssertEqual(first["sessions-limit"] as? Int, 50)
    XCTAssertEqual(first["phases"] as? [String: Int], ["clear": 1, "handshake": 1, "secured": 1, "relay": 1, "closing": 0])
    XCTAssertEqual(first["addresses"] as? [String], ["127.0.0.1:\(daemon.port)"])
    XCTAssertEqual(first["process"] as? Int, Int(daemon.process))
    let list = try XCTUnwrap(first["list"] as? [[String: Any]])
    XCTAssertEqual(list.map { $0["phase"] as? String }, ["clear", "handshake", "secured", "relay"], "in the order of the sessions")
    for (entry, name) in zip(list, ["clear", "handshake", "secured", "relay"]) {
      XCTAssertEqual(entry["peer"] as? String, "127.0.0.1:\(try XCTUnwrap(clients[name]).ownPort)")
      XCTAssertLessThan(try XCTUnwrap(entry["age"] as? Int), 15)
    }
    let certificates = try XCTUnwrap(first["certificates"] as? [[String: Any]])
    XCTAssertEqual(certificates.map { $0["file"] as? String }, [try certificate().certificate])
    XCTAssertEqual(certificates.map { $0["names"] as? [String] }, [["mx.example"]])
    XCTAssertEqual(certificates.map { $0["days-left"] as? Int }, [29], "made for thirty days a moment ago")
    let text = try status(path)
    XCTAssertTrue(text.contains("sessions: 4 of 50 (clear 1, handshake 1, secured 1, relay 1, closing 0)\n"), text)
    XCTAssertTrue(text.contains("/server.pem for mx.example: 29 days left, valid until 20"), text)
    XCTAssertEqual(text.components(separatedBy: "\nsession ").count, 5, text)
    for client in clients.values { client.close() }
    _ = try daemon.sessions(4)
    let totals = try XCTUnwrap(try object(path)["totals"] as? [String: Int])
    XCTAssertEqual(totals["ended"], 4)
    XCTAssertEqual(totals["handoff"], 3)
    XCTAssertEqual(totals["abort"], 1)
    XCTAssertEqual(totals["handshakes-failed"], 1)
    daemon.stop()
    XCTAssertNotEqual(access(path, F_OK), 0, "the socket is left")
  }

  /// Clients that ask nothing, and that do not read, cost nobody anything and are closed.
  func testClientsThatHang() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let daemon = try daemon(["--status-socket", path])
    let silent = try (0..<3).map { _ in try connected(path) }
    let unread = try connected(path)
    unread.write(Array("text\n".utf8))
    let client = try client(daemon)
    try SessionPhase.secured.enter(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    // Two are served at a time, each for five seconds; the one in the queue gets its report then.
    for socket in silent.prefix(2) { XCTAssertEqual(try socket.read(), []) }
    XCTAssertTrue(String(decoding: try unread.read(), as: UTF8.self).hasPrefix("starttlsd "))
    for socket in silent + [unread] { socket.close() }
    XCTAssertTrue(try status(path).contains("sessions: 0 of"))
  }

  func testASocketThatIsInUseOrLeft() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let first = try daemon(["--status-socket", path])
    let made = try certificate()
    let words = [
      try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--certificate", made.certificate, "--key", made.key,
      "--trusting-backend", "--status-socket",
    ]
    let second = try run(words + [path, "--", "/bin/cat"], expecting: .exited(111))
    XCTAssertTrue(second.errors.contains("--status-socket \(path): bind: Address already in use"), second.errors)
    first.program.signal(SIGKILL)
    _ = first.program.wait()
    XCTAssertEqual(access(path, F_OK), 0)
    XCTAssertTrue(try run([Programs.path("starttlsd"), "status", path], expecting: .exited(111)).errors.contains("no starttlsd answers at \(path)"))
    _ = try daemon(["--status-socket", path])
    XCTAssertTrue(try status(path).contains("sessions: 0 of"))
    let file = try folder.write([], to: "file")
    XCTAssertTrue(try run(words + [file, "--", "/bin/cat"], expecting: .exited(111)).errors.contains("File exists"))
  }

  /// A server program may have the name of a sub-command.
  func testAProgramNamedStatus() throws {
    let folder = TestFolder()
    let program = try folder.write(Array(("#!/bin/sh\n" + ShellBackend.script()).utf8), to: "status")
    chmod(program, 0o755)
    let daemon = try daemon(backend: .program(["status"]), environment: ["PATH": folder.path + ":" + SpawnedProgram.path])
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    _ = try daemon.session()
  }

  private func connected(_ path: String) throws -> TestDescriptor {
    let socket = TestDescriptor(Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket.number, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    guard isConnected else { throw Failure("connect: \(String(cString: strerror(errno)))") }
    return socket
  }
}
