// EngineTests: `tlsd-io --listen`, which serves the sessions that `ucspi-tlsd --engine-socket` passes to it.

import CKernel
import Foundation
import Glibc
import XCTest

final class EngineTests: EngineTestCase {
  private let echo = """
    printf Y >&$SSLCTLFD
    cat <&$SSLCTLFD >"$FOLDER/report"
    cat <&$SSLREADFD >&$SSLWRITEFD
    """

  /// A connection to the engine's socket.
  private func connected() throws -> TestDescriptor {
    let connection = TestDescriptor(socket(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(connection.number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else { throw Failure("connect: \(String(cString: strerror(errno)))") }
    return connection
  }

  /// A session in which everything comes back; what was reported.
  private func runEcho(
    _ options: [String] = [], _ environment: [String: String]? = nil, version: String = "3", during: () throws -> Void = {}
  ) throws -> (report: String, errors: String, code: CInt?) {
    let session = try session(echo, ["-S", "--engine-socket", path] + options, environment)
    try session.peer.handshake(version)
    try session.peer.send("hello\n")
    XCTAssertEqual(try session.peer.receive(exactly: 6), Array("hello\n".utf8))
    try during()
    try session.peer.endSending()
    XCTAssertEqual(try session.peer.remainder(), [])
    XCTAssertEqual(session.peer.end, .closeNotify)
    XCTAssertEqual(session.process.wait(), .exited(0), session.process.errors)
    return (folder.text("report"), session.process.errors, exitCode(of: session.helper))
  }

  func testASessionIsPassedToTheEngine() throws {
    let engine = try startEngine()
    for version in ["2", "3"] {
      let answer = try runEcho(version: version) {
        let children = { ProcessTable.children(of: engine.process) }
        // That of the session before may take a moment to end, and this one a moment to close what is the engine's.
        XCTAssertTrue(eventually { children().count == 1 }, "the session has no process of the engine")
        // Nothing of the engine or of another session is open in it: the session's five, and the connection to the helper.
        let open = { children().first.map(ProcessTable.descriptors) }
        XCTAssertTrue(eventually { open()?.count == 6 }, "\(String(describing: open()))")
      }
      XCTAssertEqual(answer.errors, "")
      XCTAssertEqual(answer.code, 0)
      XCTAssertTrue(answer.report.hasPrefix("SSL_PROTOCOL=TLSv1.\(version)\0SSL_CIPHER=TLS_"), answer.report)
    }
    XCTAssertEqual(engine.errors, "")
    XCTAssertTrue(eventually { ProcessTable.children(of: engine.process).isEmpty }, "a process of a session stays")
  }

  func testAFailedHandshakeHasTheSameExitCodeAndLog() throws {
    let engine = try startEngine()
    let session = try session("printf Y >&$SSLCTLFD; exit 7", ["--engine-socket", path])
    XCTAssertEqual(exitCode(of: session.helper), 98)
    XCTAssertEqual(session.process.wait(), .exited(7))
    XCTAssertTrue(session.process.errors.hasPrefix("tlsd-io: TLS handshake: the server program is gone"), session.process.errors)
    XCTAssertEqual(engine.errors, "")
  }

  func testWithoutAnEngineOrWithOtherSettingsOneIsExecuted() throws {
    var answer = try runEcho()
    XCTAssertTrue(answer.errors.contains("does not take the session: connect: "), answer.errors)
    XCTAssertEqual(answer.code, 0)
    let engine = try startEngine()
    for (options, environment, difference) in [
      ([], try credentials("other"), "CERTFILE differs"),
      (["-k", "1"], try credentials(), "-k differs"),
      (["--tls-profile", "modern"], try credentials(), "--tls-profile differs"),
      (["-Y"], try credentials().merging(["CAFILE": try file("server.pem")]) { $1 }, "-y or -Y differs"),
    ] as [([String], [String: String], String)] {
      answer = try runEcho(options, environment) {
        XCTAssertTrue(eventually { ProcessTable.children(of: engine.process).isEmpty }, "the engine has the session")
      }
      XCTAssertTrue(answer.errors.contains("it was started with other settings: \(difference); executing one"), answer.errors)
      XCTAssertEqual(answer.code, 0)
    }
  }

  func testNoTwoSessionsHaveTheSameRandom() throws {
    _ = try startEngine()
    var randoms: Set<[UInt8]> = []
    for _ in 0..<2 {
      let session = try session(echo, ["--engine-socket", path])
      let hello = try engine.begin(serverName: "mx.example", version: "3")
      session.peer.output.write(hello.answer.cipher)
      // The header of the record, that of the message, the version, then the random (RFC 8446, 4.1.3).
      let answer = try session.peer.input.read()
      XCTAssertEqual(answer.first, 22)
      randoms.insert(Array(answer.dropFirst(11).prefix(32)))
      try engine.forget(hello.number)
      session.peer.output.close()
      session.peer.input.close()
      XCTAssertEqual(session.process.wait(), .exited(0))
      forget(session)
    }
    XCTAssertEqual(randoms.count, 2)
    XCTAssertEqual(randoms.map(\.count), [32, 32])
  }

  func testRenewedFilesAreServedAndUnusableOnesAreNot() throws {
    let names = ["CERTFILE": "\(folder.path)/pem", "KEYFILE": "\(folder.path)/key"]
    func put(_ name: String, _ parts: [String] = ["pem", "key"]) throws {
      for part in parts {
        let octets = try Data(contentsOf: URL(fileURLWithPath: try file("\(name).\(part)")))
        let new = "\(folder.path)/new"
        try octets.write(to: URL(fileURLWithPath: new))
        XCTAssertEqual(chmod(new, 0o600), 0)
        XCTAssertEqual(rename(new, "\(folder.path)/\(part)"), 0)
      }
    }
    try put("server")
    let engine = try startEngine([], names)
    XCTAssertTrue(try runEcho([], names, version: "2").report.contains("ECDHE_ECDSA"))
    try put("rsa", ["pem"])
    XCTAssertTrue(try runEcho([], names, version: "2").report.contains("ECDHE_ECDSA"))
    XCTAssertTrue(try runEcho([], names, version: "2").report.contains("ECDHE_ECDSA"))
    let lines = engine.errors.split(separator: "\n")
    XCTAssertEqual(lines.count, 1)
    XCTAssertTrue(lines.first?.contains("have changed and cannot be used, the earlier ones stay: ") == true, engine.errors)
    try put("rsa", ["key"])
    XCTAssertTrue(try runEcho([], names, version: "2").report.contains("ECDHE_RSA"))
  }

  func testWhatIsNoRequestIsRefused() throws {
    let engine = try startEngine()
    for octets in [[], [0], Array("Y-k\0\0".utf8), Array("Y--help\0\0".utf8), Array("y\0".utf8), [UInt8](repeating: 89, count: 40_000)] as [[UInt8]] {
      let connection = try connected()
      defer { connection.close() }
      let number = connection.number
      if !octets.isEmpty { XCTAssertEqual(send(number, octets, octets.count, 0), octets.count) }
      shutdown(number, CInt(SHUT_WR))
      var answer = [UInt8](repeating: 0, count: 600)
      let count = recv(number, &answer, answer.count, 0)
      XCTAssertGreaterThan(count, 1)
    }
    XCTAssertEqual(try runEcho().errors, "")
    XCTAssertTrue(engine.isRunning)
  }

  func testNoMoreSessionsThanTheLimitAndOneLineForAllRefused() throws {
    let engine = try startEngine(["--max-sessions", "1"])
    func refused() throws {
      let answer = try runEcho()
      XCTAssertTrue(answer.errors.contains("does not take the session: it has 1 sessions already (--max-sessions); executing one"), answer.errors)
      XCTAssertEqual(answer.code, 0)
    }
    _ = try runEcho {
      XCTAssertEqual(ProcessTable.children(of: engine.process).count, 1)
      try refused()
      try refused()
      XCTAssertEqual(ProcessTable.children(of: engine.process).count, 1)
    }
    // The second refusal has its line at the latest a second later, with all that came meanwhile.
    func counts() -> [Int] {
      engine.errors.split(separator: "\n").map { line in
        let words = line.split(separator: " ")
        XCTAssertTrue(line.hasPrefix("tlsd-io: refused ") && line.hasSuffix(" sessions: 1 run, see --max-sessions"), "\(line)")
        return words.count > 2 ? Int(words[2]) ?? 0 : 0
      }
    }
    XCTAssertTrue(eventually { counts().reduce(0, +) == 2 }, engine.errors)
    XCTAssertTrue(eventually { ProcessTable.children(of: engine.process).isEmpty }, "an ended process is not reaped")
    XCTAssertEqual(try runEcho().errors, "")
  }

  /// A process is used up by who connects and sends nothing; that ends with the time for a request.
  func testAConnectionWithoutARequestCounts() throws {
    let engine = try startEngine(["--max-sessions", "1"])
    let idle = try connected()
    XCTAssertTrue(eventually { ProcessTable.children(of: engine.process).count == 1 })
    // However slow this machine is, the time for the request does not end it before the session.
    let process = try XCTUnwrap(ProcessTable.children(of: engine.process).first)
    kill(process, SIGSTOP)
    XCTAssertTrue(try runEcho().errors.contains("it has 1 sessions already"))
    idle.close()
    kill(process, SIGCONT)
    XCTAssertTrue(eventually { ProcessTable.children(of: engine.process).isEmpty })
    XCTAssertEqual(try runEcho().errors, "")
  }

  func testTheTimeoutsOfTheEngineLimitThoseOfASession() throws {
    let first = try startEngine(["-K", "300"])
    let silent = try session("printf Y >&$SSLCTLFD; cat <&$SSLREADFD", ["-K", "0", "--engine-socket", path])
    XCTAssertEqual(exitCode(of: silent.helper), 98)
    XCTAssertEqual(silent.process.wait(), .exited(0))
    XCTAssertTrue(silent.process.errors.hasPrefix("tlsd-io: TLS handshake: timed out after 300 ms"), silent.process.errors)
    first.kill()
    unlink(path)
    let engine = try startEngine(["-T", "300"])
    let idle = try session("printf Y >&$SSLCTLFD; cat <&$SSLREADFD", ["-T", "0", "--engine-socket", path])
    try idle.peer.handshake("3")
    XCTAssertEqual(exitCode(of: idle.helper), 98)
    XCTAssertEqual(idle.process.wait(), .exited(0))
    XCTAssertEqual(idle.process.errors, "tlsd-io: the session lasted too long and is closed (--session-timeout)\n")
    XCTAssertTrue(engine.isRunning)
  }

  func testTheUmaskDecidesWhoMayConnect() throws {
    for (mask, mode) in [("077", 0o700), ("022", 0o750), ("000", 0o770)] as [(String, mode_t)] {
      let engine = try start(
        ["sh", "-c", "umask \(mask); exec \(try Programs.path("tlsd-io")) --listen \(path)"], [:], try credentials())
      var information = stat()
      XCTAssertTrue(eventually { stat(path, &information) == 0 }, engine.errors)
      XCTAssertEqual(information.st_mode, S_IFSOCK | mode, mask)
      engine.kill()
      unlink(path)
    }
  }

  func testAFileThatIsNoSocketIsNotReplaced() throws {
    for path in ["\(folder.path)/file", "\(folder.path)/link"] {
      XCTAssertTrue(FileManager.default.createFile(atPath: "\(folder.path)/file", contents: Data("text".utf8)))
      if path.hasSuffix("link") { XCTAssertEqual(symlink("file", path), 0) }
      let engine = try start([try Programs.path("tlsd-io"), "--listen", path], [:], try credentials())
      XCTAssertEqual(engine.wait(), .exited(111))
      XCTAssertEqual(engine.errors, "tlsd-io: --listen \(path): bind: File exists\n")
      XCTAssertEqual(folder.text("file"), "text")
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { !$0.hasPrefix("log.") }
    XCTAssertEqual(names.sorted(), ["file", "link"])
  }

  func testAPathThatIsNotAbsoluteOrCannotBeUsed() throws {
    var variables = try credentials()
    variables["KEYFILE"] = "key"
    for (environment, socket, code, text) in [
      (variables, path, 100, "KEYFILE must be an absolute path with --listen"),
      (try credentials(), "\(folder.path)/none/engine", 111, "--listen \(folder.path)/none/engine: bind: "),
    ] as [([String: String], String, CInt, String)] {
      let engine = try start([try Programs.path("tlsd-io"), "--listen", socket], [:], environment)
      XCTAssertEqual(engine.wait(), .exited(code))
      XCTAssertTrue(engine.errors.contains(text), engine.errors)
    }
  }
}
