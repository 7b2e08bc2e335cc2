// RunningDaemon: the built starttlsd as a child of the test.
//
// It listens on a port that the kernel chooses and that its log names. Its environment carries a mark that backends
// get too, so that whatever is left of it can be found, and nothing else is ever touched.

import Foundation
import Glibc
import XCTest

/// A daemon with its folder: the log, the Maildir, the backend's script.
final class RunningDaemon {
  /// The server program.
  enum Backend {
    /// maildir-smtpd with the folder `Maildir`.
    case maildir
    /// A shell script, which finds what it writes to in `$FOLDER`.
    case script(String)
    /// A program as it is.
    case program([String])
    /// No program: a server on a port of the loopback.
    case server(UInt16)
  }

  let folder: TestFolder
  let program: SpawnedProgram
  /// The port of each address that it listens on.
  private(set) var ports: [UInt16] = []
  /// How many descriptors it has while no client is connected.
  private(set) var idleDescriptors = 0
  private let mark: String

  /// Starts it and waits until it listens. A wrapper has to execute its last arguments.
  ///
  /// - Parameters:
  ///   - trusting: whether the backend may be an open relay. Those of most tests take every recipient.
  ///   - isShared: whether other users may use its folder.
  init(
    _ options: [String] = [], backend: Backend = .maildir, certificate: Certificate, listen: [String] = ["127.0.0.1:0"],
    environment: [String: String] = [:], trusting: Bool = true, under wrapper: [String] = [], isShared: Bool = false
  ) throws {
    folder = TestFolder()
    if isShared { chmod(folder.path, 0o777) }
    let id = folder.path
    mark = "STARTTLSD_TEST=\(id)"
    let trust = trusting ? ["--trusting-backend"] : []
    let arguments = try wrapper + RunningDaemon.arguments(trust + options, backend, certificate, listen, folder.path)
    let variables = environment.merging(["STARTTLSD_TEST": id, "FOLDER": id]) { given, _ in given }
    program = try SpawnedProgram(arguments, environment: variables, errors: .file(folder.path + "/log"))
    let count = listen.count + options.count { $0 == "--listen-tls" }
    guard eventually({ ports(in: log).count == count || !program.isRunning }), program.isRunning else {
      throw Failure("starttlsd does not listen: \(log)")
    }
    ports = ports(in: log)
    idleDescriptors = ProcessTable.descriptors(of: program.process).count
  }

  private static func arguments(
    _ options: [String], _ backend: Backend, _ certificate: Certificate, _ listen: [String], _ folder: String
  ) throws -> [String] {
    let words =
      [try Programs.path("starttlsd"), "--allow-root"] + listen.flatMap { ["--listen", $0] }
      + ["--certificate", certificate.certificate, "--key", certificate.key, "--grace", "5"] + options
    let program: [String]
    switch backend {
    case .maildir:
      program = [try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder + "/Maildir"]
    case .script(let text):
      let path = folder + "/backend"
      try Data(("#!/bin/sh\n" + text).utf8).write(to: URL(fileURLWithPath: path))
      chmod(path, 0o755)
      program = [path]
    case .program(let given):
      program = given
    case .server(let port):
      return words + ["--backend", "127.0.0.1:\(port)", "--backend-client", "none"]
    }
    return words + ["STARTTLSD_TEST", "FOLDER"].flatMap { ["--backend-environment", $0] } + ["--"] + program
  }

  private func ports(in log: String) -> [UInt16] {
    log.split(separator: "\n").filter { $0.contains("listening on ") }.compactMap { line in
      line.split(separator: ":").last.flatMap { UInt16($0.prefix { $0.isNumber }) }
    }
  }

  var port: UInt16 { ports[0] }
  var process: pid_t { program.process }

  /// All lines of its log.
  var log: String { String(decoding: folder.contents("log"), as: UTF8.self) }

  /// Its log's lines about sessions that have ended.
  var sessions: [LoggedSession] { log.split(separator: "\n").compactMap { LoggedSession(String($0)) } }

  /// Waits until so many sessions have ended, and for the daemon to be as it was before them.
  func sessions(_ count: Int, file: StaticString = #filePath, line: UInt = #line) throws -> [LoggedSession] {
    guard eventually({ sessions.count >= count }) else {
      throw Failure("\(sessions.count) of \(count) sessions have ended; \(trouble ?? "") the log: \(log)")
    }
    guard eventually({ trouble == nil }) else { throw Failure(trouble ?? "") }
    XCTAssertEqual(sessions.count, count, log, file: file, line: line)
    return sessions
  }

  /// Its one session, ended.
  func session(file: StaticString = #filePath, line: UInt = #line) throws -> LoggedSession {
    guard let session = try sessions(1, file: file, line: line).first else { throw Failure("no session") }
    return session
  }

  /// Whether nothing is left of any session: no process, no descriptor.
  func assertIdle(file: StaticString = #filePath, line: UInt = #line) {
    if !eventually({ trouble == nil }) { XCTFail(trouble ?? "", file: file, line: line) }
  }

  private var trouble: String? {
    let children = backends
    if !children.isEmpty { return "children are left: \(children.map(ProcessTable.commandLine)); the log: \(log)" }
    let descriptors = ProcessTable.descriptors(of: process)
    if descriptors.count != idleDescriptors { return "descriptors are left: \(descriptors); the log: \(log)" }
    return nil
  }

  /// Its backends.
  var backends: [pid_t] { ProcessTable.backends(of: process) }

  /// The processes that it has forked of itself.
  var helpers: [String: pid_t] { ProcessTable.helpers(of: process) }

  /// What runs of its backends and of what they have started.
  var leftovers: [String] {
    let own = [process] + helpers.values
    return ProcessTable.processes(with: mark).filter { !own.contains($0) }.map(ProcessTable.commandLine)
  }

  /// Its soft limit of descriptors.
  var descriptorLimit: Int? {
    let limits = try? String(contentsOfFile: "/proc/\(process)/limits", encoding: .utf8)
    let line = limits?.split(separator: "\n").first { $0.hasPrefix("Max open files") }
    return line.flatMap { Int($0.split(separator: " ")[3]) }
  }

  /// True if this process may raise hard limits (CAP_SYS_RESOURCE), and so a daemon that it starts.
  static var mayRaiseLimits: Bool {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
    let mask = line.flatMap { UInt64($0.dropFirst(7).trimmingCharacters(in: .whitespaces), radix: 16) } ?? 0
    return mask & 1 << 24 != 0
  }

  /// A wrapper: commands of the shell that set limits, which the daemon may not raise.
  static func underLimit(_ commands: String) -> [String] {
    (mayRaiseLimits ? ["setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource"] : [])
      + ["/bin/sh", "-c", "\(commands); exec \"$@\"", "sh"]
  }

  /// Asks it to stop and waits for its end. Nothing of it may be left but what the test expects.
  func stop(leaving count: Int = 0, file: StaticString = #filePath, line: UInt = #line) {
    guard program.isRunning else { return }
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), "the log: \(log)", file: file, line: line)
    if count == 0 { return assertNothingIsLeft(file: file, line: line) }
    XCTAssertTrue(eventually { ProcessTable.processes(with: mark).count == count }, "\(leftovers)", file: file, line: line)
  }

  /// Kills it, if it runs, and waits until no process of it is left. Its helpers end when it does, and it waits a second for them, which
  /// may be too short on a busy machine, and is over at once where its clock is fast.
  func assertNothingIsLeft(file: StaticString = #filePath, line: UInt = #line) {
    program.kill()
    if eventually({ ProcessTable.processes(with: mark).isEmpty }) { return }
    let left = ProcessTable.processes(with: mark)
    XCTFail("left: \(left.map(ProcessTable.commandLine)); the log: \(log)", file: file, line: line)
    for process in left where process > 1 { kill(process, SIGKILL) }
  }
}

// MARK: - What was delivered

extension RunningDaemon {
  /// A message in the Maildir.
  struct Message {
    /// The lines that maildir-smtpd added: Return-Path, Delivered-To, and the three of Received.
    let trace: [String]
    /// What the client sent.
    let body: [UInt8]
    var text: String { String(decoding: body, as: UTF8.self) }
    /// `by mx.example with ESMTPS (TLSv1.3 ...) id ...;`
    var received: String { trace.first { $0.hasPrefix(" by ") } ?? "" }
  }

  var messages: [Message] {
    folder.names(in: "Maildir/new").map { name in
      let parts = folder.contents("Maildir/new/" + name).split(separator: 10, maxSplits: 5, omittingEmptySubsequences: false)
      let trace = parts.prefix(5).map { String(decoding: $0, as: UTF8.self) }
      return Message(trace: trace, body: parts.count == 6 ? Array(parts[5]) : [])
    }
  }

  func assertNothingIsDelivered(file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertEqual(messages.map(\.text), [], file: file, line: line)
    XCTAssertEqual(folder.names(in: "Maildir/tmp"), [], file: file, line: line)
  }
}

/// A session's line of the log, taken apart.
struct LoggedSession: CustomStringConvertible {
  let description: String
  private var values: [String: String] = [:]

  /// nil for a line about something else.
  init?(_ line: String) {
    guard let start = line.range(of: "session peer=") else { return nil }
    description = line
    var rest = line[start.lowerBound...].dropFirst("session ".count)
    while let equals = rest.firstIndex(of: "=") {
      let name = String(rest[..<equals])
      rest = rest[equals...].dropFirst()
      let end: Character = rest.first == "\"" ? "\"" : " "
      if end == "\"" { rest = rest.dropFirst() }
      let value = rest.prefix { $0 != end }
      values[name] = String(value)
      rest = rest[value.endIndex...].dropFirst().drop { $0 == " " }
    }
  }

  subscript(name: String) -> String? { values[name] }

  /// Decision, proof and end in short: `abort mail: relayed`, `handoff: quit`.
  var outcome: String {
    (["decision", "proof"].compactMap { values[$0] }).joined(separator: " ") + ": " + (values["end"] ?? "")
  }
}
