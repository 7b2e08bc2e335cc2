// WorkersTestCase: starttlsd with several workers in front of maildir-smtpd.

import Foundation
import Glibc
import XCTest

/// A supervisor with its workers.
final class RunningWorkers {
  let folder = TestFolder()
  let program: SpawnedProgram
  /// The program's own file, which a test may replace.
  let path: String
  private(set) var port: UInt16 = 0
  private let mark: String

  /// Starts it and waits until all workers serve.
  init(_ count: Int, _ options: [String] = [], certificate: Certificate, environment: [String: String] = [:]) throws {
    mark = "STARTTLSD_TEST=\(folder.path)"
    path = folder.path + "/starttlsd"
    // Another name of the same file: replacing it leaves the built program as it is.
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: try Programs.path("starttlsd"))
    let words =
      [path, "--allow-root", "--workers", "\(count)", "--listen", "127.0.0.1:0", "--certificate", certificate.certificate] + [
        "--key", certificate.key, "--grace", "5", "--trusting-backend", "--backend-environment", "STARTTLSD_TEST",
      ] + options + ["--", try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir"]
    let variables = environment.merging(["STARTTLSD_TEST": folder.path]) { given, _ in given }
    program = try SpawnedProgram(words, environment: variables, errors: .file(folder.path + "/log"))
    // Two starts, one after the other.
    guard eventually(within: 2 * Deadline.seconds, { log.contains(" workers serve\n") || !program.isRunning }), program.isRunning else {
      throw Failure("the workers do not serve: \(log)")
    }
    let line = log.split(separator: "\n").first { $0.contains("listening on ") }
    port = line?.split(separator: ":").last.flatMap { UInt16($0) } ?? 0
  }

  var log: String { folder.text("log") }

  /// The workers by their numbers, as the log names them last.
  var workers: [Int: pid_t] {
    var found: [Int: pid_t] = [:]
    for line in log.split(separator: "\n") {
      let words = line.split(separator: " ")
      if let start = words.firstIndex(of: "worker"), words.count == start + 5, words[start + 2] == "started,",
        let number = Int(words[start + 1]), let process = pid_t(words[start + 4])
      {
        found[number] = process
      }
    }
    return found
  }

  /// All processes of it, helpers and server programs among them.
  var processes: [pid_t] { ProcessTable.processes(with: mark) }

  var messages: Int { folder.names(in: "Maildir/new").count }

  func waits(for text: String, file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertTrue(eventually(within: 2 * Deadline.seconds) { log.contains(text) }, "'\(text)' is missing in the log: \(log)", file: file, line: line)
  }
}

class WorkersTestCase: StarttlsdTestCase {
  private var running: [RunningWorkers] = []

  override func tearDown() {
    super.tearDown()
    for workers in running {
      if workers.program.isRunning {
        workers.program.signal(SIGTERM)
        XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
      }
      // A process ends shortly after its supervisor.
      if !eventually({ workers.processes.isEmpty }) {
        XCTFail("left: \(workers.processes.map(ProcessTable.commandLine)); the log: \(workers.log)")
        for process in workers.processes { kill(process, SIGKILL) }
      }
    }
    running = []
  }

  func workers(_ count: Int, _ options: [String] = [], environment: [String: String] = [:]) throws -> RunningWorkers {
    let made = try RunningWorkers(count, options, certificate: certificate(), environment: environment)
    running.append(made)
    return made
  }

  func client(_ workers: RunningWorkers) throws -> SMTPClient { try client(host: "127.0.0.1", port: workers.port) }

  /// Greeted clients, all at the same time.
  func clients(_ count: Int, _ workers: RunningWorkers) throws -> [SMTPClient] {
    try (0..<count).map { _ in
      let client = try client(workers)
      try client.expect("220 ")
      return client
    }
  }

  /// The parent's view: which worker has the server program of each session.
  func sessions(of workers: RunningWorkers) -> [Int: Int] {
    workers.workers.mapValues { ProcessTable.backends(of: $0).count }
  }

  /// Delivers a message; true once it is acknowledged.
  func deliver(_ client: SMTPClient) throws {
    try client.ask("EHLO client.example")
    try client.ask("MAIL FROM:<a@example.org>")
    try client.ask("RCPT TO:<b@example.org>")
    try client.ask("DATA")
    let reply = try client.ask("Subject: x\r\n\r\nx\r\n.")
    guard reply.hasPrefix("250 ") else { throw Failure(reply) }
  }
}
