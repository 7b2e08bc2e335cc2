// StarttlsdTestCase: what all tests of starttlsd have in common.
//
// Daemons and clients are made with `daemon` and `client`. After each test every daemon must be as idle as it was at the
// start (no child, no descriptor), must stop with exit code 0, and must leave no process.

import Foundation
import Glibc
import XCTest

/// A certificate's file and its key's.
struct Certificate {
  let certificate: String
  let key: String
}

class StarttlsdTestCase: XCTestCase {
  private var daemons: [RunningDaemon] = []
  private var clients: [SMTPClient] = []

  // Made once a class, since making them takes longer than most tests.
  nonisolated(unsafe) private static var credentials: (folder: TestFolder, certificate: Certificate)?
  nonisolated(unsafe) private static var engine: TLSEngine?

  override func setUp() {
    continueAfterFailure = true
    signal(SIGPIPE, SIG_IGN)
  }

  override func tearDown() {
    for client in clients { client.close() }
    for daemon in daemons where daemon.program.isRunning {
      daemon.assertIdle()
      daemon.stop()
    }
    for daemon in daemons { daemon.assertNothingIsLeft() }
    clients = []
    daemons = []
  }

  override class func tearDown() {
    credentials = nil
    engine = nil
  }

  // MARK: What a test is made of

  /// A self-signed certificate.
  func certificate() throws -> Certificate {
    if let known = StarttlsdTestCase.credentials { return known.certificate }
    let folder = TestFolder()
    let made = try makeCertificate("server", in: folder)
    StarttlsdTestCase.credentials = (folder, made)
    return made
  }

  /// Has openssl make one, with options of `openssl req`.
  func makeCertificate(_ name: String, in folder: TestFolder, _ options: [String] = ["-days", "30"]) throws -> Certificate {
    let made = Certificate(certificate: "\(folder.path)/\(name).pem", key: "\(folder.path)/\(name).key")
    let words = [
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx.example",
      "-keyout", made.key, "-out", made.certificate,
    ]
    try run(words + options)
    return made
  }

  func daemon(
    _ options: [String] = [], backend: RunningDaemon.Backend = .maildir, listen: [String] = ["127.0.0.1:0"],
    environment: [String: String] = [:], certificate own: Certificate? = nil, trusting: Bool = true,
    under wrapper: [String] = [], isShared: Bool = false
  ) throws -> RunningDaemon {
    let daemon = try RunningDaemon(
      options, backend: backend, certificate: own ?? certificate(), listen: listen, environment: environment,
      trusting: trusting, under: wrapper, isShared: isShared)
    daemons.append(daemon)
    return daemon
  }

  func client(_ daemon: RunningDaemon, from source: String? = nil, receiveBuffer: CInt? = nil) throws -> SMTPClient {
    let client = try SMTPClient(port: daemon.port, from: source, receiveBuffer: receiveBuffer) { [unowned self] in try self.engine() }
    clients.append(client)
    return client
  }

  /// A client that is served once the daemon counts that there is room again: what /proc shows is known to it a moment later. Those that
  /// come before that are refused.
  func clientWhenThereIsRoom(_ daemon: RunningDaemon, from source: String? = nil) throws -> SMTPClient {
    var served: SMTPClient?
    let isServed = try eventually {
      let client = try client(daemon, from: source)
      let reply = try client.reply()
      if reply.hasPrefix("220 ") { served = client } else { client.close() }
      XCTAssertTrue(served != nil || reply.hasPrefix("421 "), reply)
      return served != nil
    }
    guard isServed, let served else { throw Failure("there is no room: \(daemon.log)") }
    return served
  }

  /// A client of one of several addresses.
  func client(host: String, port: UInt16, from source: String? = nil) throws -> SMTPClient {
    let client = try SMTPClient(host: host, port: port, from: source) { [unowned self] in try self.engine() }
    clients.append(client)
    return client
  }

  /// Waits until connections to a port are refused. A line of the log that says so may come before the sockets are closed: what the kernel
  /// has accepted in between is reset, and nobody serves it.
  func assertRefuses(_ port: UInt16, file: StaticString = #filePath, line: UInt = #line) {
    let isRefused = eventually {
      guard let client = try? SMTPClient(host: "127.0.0.1", port: port, engine: { throw Failure("no TLS here") }) else { return true }
      defer { client.close() }
      guard (try? client.reply()) != nil else { return false }
      XCTFail("a client is served", file: file, line: line)
      return true
    }
    XCTAssertTrue(isRefused, "connections are still accepted", file: file, line: line)
  }

  /// The TLS of all clients, made for the first of them. A test with short times makes it before it needs it.
  @discardableResult
  func engine() throws -> TLSEngine {
    if let engine = StarttlsdTestCase.engine { return engine }
    let engine = try TLSEngine()
    StarttlsdTestCase.engine = engine
    return engine
  }

  /// The certificate that a new session gets, in PEM.
  func presented(by daemon: RunningDaemon) throws -> String {
    let result = try run(
      ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(daemon.port)"], input: "QUIT\r\n",
      inputEnds: false)
    let begin = try XCTUnwrap(result.output.range(of: "-----BEGIN CERTIFICATE-----"), result.errors)
    let end = try XCTUnwrap(result.output.range(of: "-----END CERTIFICATE-----"))
    return String(result.output[begin.lowerBound..<end.upperBound])
  }

  /// What a program came to.
  struct Result {
    let end: SpawnedProgram.End?
    let output: String
    let errors: String
  }

  /// Runs a program to its end.
  ///
  /// - Parameters:
  ///   - inputEnds: whether its input ends, or stays open after the text as a terminal does. Not for long texts.
  ///   - seconds: how long it may take.
  ///   - end: how it must end; nil for anyhow.
  @discardableResult
  func run(
    _ arguments: [String], input: String = "", inputEnds: Bool = true, environment: [String: String] = [:],
    within seconds: Double = Deadline.seconds, expecting end: SpawnedProgram.End? = .exited(0)
  ) throws -> Result {
    let folder = TestFolder()
    let path = try folder.write(Array(input.utf8), to: "input")
    var ends: [CInt] = [-1, -1]
    if !inputEnds {
      pipe(&ends)
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      _ = Array(input.utf8).withUnsafeBytes { write(ends[1], $0.baseAddress, $0.count) }
    }
    defer { for end in ends where end >= 0 { close(end) } }
    let program = try SpawnedProgram(
      arguments, environment: environment.merging(["HOME": folder.path]) { given, _ in given },
      input: inputEnds ? .file(path) : .descriptor(ends[0]), output: .file(folder.path + "/output"),
      errors: .file(folder.path + "/errors"))
    let ended = program.wait(within: seconds)
    program.kill()
    let result = Result(
      end: ended, output: String(decoding: folder.contents("output"), as: UTF8.self),
      errors: String(decoding: folder.contents("errors"), as: UTF8.self))
    if let end, ended != end {
      XCTFail("\(arguments.joined(separator: " ")): \(ended.map { "\($0)" } ?? "hangs"): \(result.output)\(result.errors)")
    }
    return result
  }
}
