// ServiceManagerTestCase: starttlsd under the service managers and super-servers that Debian has.
//
// The supervisor is the real program. What it starts is starttlsd in front of a small shell server whose reply to NOOP
// is its environment.

import Foundation
import Glibc
import XCTest

class ServiceManagerTestCase: StarttlsdTestCase {
  private(set) var folder: TestFolder!
  /// The mark in the environment of every process of a test.
  var mark: String { "STARTTLSD_TEST=\(folder.path)" }
  var environment: [String: String] { ["STARTTLSD_TEST": folder.path, "FOLDER": folder.path] }

  override func setUp() {
    super.setUp()
    folder = TestFolder()
  }

  override func tearDown() {
    super.tearDown()
    // `eventually`, because a supervisor that was killed leaves its children for a moment.
    if !eventually({ ProcessTable.processes(with: mark).isEmpty }) {
      let left = ProcessTable.processes(with: mark)
      XCTFail("left: \(left.map(ProcessTable.commandLine)); the log: \(log)")
      for process in left { kill(process, SIGKILL) }
    }
    folder = nil
  }

  /// What starttlsd wrote to standard error.
  var log: String { folder.text("log") }

  /// A server whose reply to NOOP is its environment.
  func backend() throws -> String {
    // One line, in which no value has a blank.
    let answer = "say \"250 $(env | tr '\\n' ' ')\""
    let path = try folder.write(Array(("#!/bin/sh\n" + ShellBackend.script(answers: [("NOOP*", answer)])).utf8), to: "backend")
    chmod(path, 0o755)
    return path
  }

  /// The command line of starttlsd.
  func starttlsd(_ options: [String] = []) throws -> [String] {
    let made = try certificate()
    return OneProcess.arguments([
      try Programs.path("starttlsd"), "--allow-root", "--certificate", made.certificate, "--key", made.key, "--grace", "5",
      "--backend-environment", "STARTTLSD_TEST", "--trusting-backend",
    ] + options + ["--", try backend()])
  }

  /// An executable script.
  @discardableResult
  func script(_ text: String, _ name: String) throws -> String {
    let path = try folder.write(Array(("#!/bin/sh\n" + text + "\n").utf8), to: name)
    chmod(path, 0o755)
    return path
  }

  /// The words as one command of the shell.
  func quoted(_ words: [String]) -> String { words.map { "'\($0)'" }.joined(separator: " ") }

  /// Connects as soon as somebody listens.
  func connected(_ port: UInt16, _ supervisor: SpawnedProgram) throws -> SMTPClient {
    var client: SMTPClient?
    _ = eventually {
      client = try? self.client(host: "127.0.0.1", port: port)
      return client != nil || !supervisor.isRunning
    }
    guard let client else { throw Failure("nobody listens on port \(port): \(log)\(folder.text("supervisor.log"))") }
    return client
  }

  /// A session with STARTTLS. Returns the names of the variables in the server's environment inside TLS.
  @discardableResult
  func session(_ client: SMTPClient) throws -> [String: String] {
    try SessionPhase.secured.enter(client)
    try client.ask("EHLO client.example")
    let reply = try client.ask("NOOP")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try client.remainder().end, .closeNotify)
    client.close()
    var variables: [String: String] = [:]
    for word in reply.dropFirst(4).split(separator: " ") {
      let parts = word.split(separator: "=", maxSplits: 1)
      if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
    }
    return variables
  }

  /// Whether a server's environment has what the session sets, and nothing of the supervisor's.
  func assertEnvironment(_ variables: [String: String], file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertEqual(variables["TCPREMOTEIP"], "127.0.0.1", "\(variables)", file: file, line: line)
    XCTAssertEqual(variables["SSL_PROTOCOL"], "TLSv1.3", "\(variables)", file: file, line: line)
    let foreign = variables.keys.filter { name in
      ["LISTEN_", "NOTIFY_", "WATCHDOG_", "REMOTE_", "TCPREMOTEHOST", "TCPREMOTEINFO", "INVOCATION_ID"].contains {
        name.hasPrefix($0)
      }
    }
    XCTAssertEqual(foreign, [], file: file, line: line)
  }

  /// The lines of the log about sessions.
  var sessionLines: [LoggedSession] { log.split(separator: "\n").compactMap { LoggedSession(String($0)) } }

  /// The process of starttlsd: not the supervisor, and no backend.
  var daemonProcess: pid_t? {
    ProcessTable.processes(with: mark).first {
      ProcessTable.commandLine(of: $0).hasPrefix((try? Programs.path("starttlsd")) ?? "-")
    }
  }

  /// A program of a package that is unpacked, not installed.
  func unpacked(_ path: String) throws -> String {
    var above = URL(fileURLWithPath: Programs.folder).resolvingSymlinksInPath()
    for _ in 0..<4 {
      let program = above.path + "/supervisors" + path
      if FileManager.default.isExecutableFile(atPath: program) { return program }
      above.deleteLastPathComponent()
    }
    throw Failure("\(path) is not unpacked: make setup-test")
  }
}

extension ProcessTable {
  /// The listening TCP sockets of a process: descriptor and port.
  static func listeners(of process: pid_t) -> [Int: UInt16] {
    var ports: [String: UInt16] = [:]
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
      for line in text(file).split(separator: "\n").dropFirst() {
        let words = line.split(separator: " ")
        guard words.count > 9, words[3] == "0A" else { continue }
        ports["socket:[\(words[9])]"] = words[1].split(separator: ":").last.flatMap { UInt16($0, radix: 16) }
      }
    }
    return descriptors(of: process).compactMapValues { ports[$0] }
  }

  /// The ports on which a process listens.
  static func listeningPorts(of process: pid_t) -> [UInt16] { Set(listeners(of: process).values).sorted() }
}
