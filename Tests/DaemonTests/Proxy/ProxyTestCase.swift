// ProxyTestCase: what all tests of starttls-proxy have in common.
//
// The test is the client. The proxy is started by a stand-in (StandInServer) or by our own ucspi-tlsd;
// its server program is a small shell script. After each test every process must be gone, see UCSPITestCase.

import CKernel
import Foundation
import Glibc
import XCTest

/// One connection through the proxy.
final class ProxiedConnection {
  let client: SMTPClient
  /// The process that the chain was started as. In all but ucspi-ssl's shape it becomes the server program.
  let process: ChannelProcess
  /// What the stand-in noted.
  private let notes: String

  init(client: SMTPClient, process: ChannelProcess, notes: String) {
    self.client = client
    self.process = process
    self.notes = notes
  }

  /// What the stand-in saw.
  var seen: [String] {
    String(decoding: FileManager.default.contents(atPath: notes) ?? Data(), as: UTF8.self).split(separator: "\n").map(String.init)
  }

  /// The helper of the stand-in, once it has done what it does unasked and, unless that is to die, waits for its command.
  func helper() throws -> pid_t {
    var process: pid_t?
    let text = { String(decoding: FileManager.default.contents(atPath: self.notes + ".helper") ?? Data(), as: UTF8.self) }
    _ = eventually {
      let words = text()
      process = words.hasSuffix("\n") ? pid_t(words.dropLast()) : nil
      return process != nil
    }
    guard let process, process > 1 else { throw Failure("the helper does not start: '\(text())'") }
    return process
  }

  /// Has the helper note whether its control socket is still open.
  func askHelper() throws { kill(try helper(), SIGUSR1) }

  /// The session's line, once the proxy has written it.
  func line() -> String {
    var line: String?
    _ = eventually {
      line = process.errors.split(separator: "\n").map(String.init).first { $0.hasPrefix("starttls-proxy: session ") }
      return line != nil
    }
    return line ?? "no line: \(process.errors)"
  }

  func assertSeen(_ notes: [String], file: StaticString = #filePath, line: UInt = #line) {
    _ = eventually { seen == notes }
    XCTAssertEqual(seen, notes, process.errors, file: file, line: line)
  }

  func assertLine(_ parts: String..., file: StaticString = #filePath, line number: UInt = #line) {
    let text = line()
    for part in parts { XCTAssertTrue(text.contains(part), "\(part) in \(text)", file: file, line: number) }
  }

  /// Greeting and EHLO.
  func greet() throws {
    try client.expect("220 ")
    try client.send("EHLO client.example\r\n")
    try client.expect("250-")
  }

  /// STARTTLS and the stand-in's handshake.
  func secure() throws {
    let reply = try client.ask("STARTTLS")
    guard reply.hasPrefix("220 2.0.0 ") else { throw Failure("'\(reply)' to STARTTLS") }
    try client.send("\u{16}TLS?\r\n")
    try client.expect("TLS!")
  }
}

class ProxyTestCase: UCSPITestCase {
  private var count = 0

  /// Starts a stand-in, the proxy and a shell script over a TCP connection.
  ///
  /// - Parameters:
  ///   - words: how the stand-in behaves.
  ///   - script: the server program, a text for /bin/sh.
  ///   - wrapper: what stands between the stand-in and the proxy, a tracer for example.
  ///   - kept: gets the test's own descriptor of the server's side, to look at its flags; it keeps the connection open.
  func proxied(
    _ words: String = "", _ options: [String] = [], script: String = ShellBackend.script(), program: [String]? = nil,
    wrapper: [String] = [], environment: [String: String] = [:], nonBlocking: Bool = false,
    kept: ((TestDescriptor) -> Void)? = nil
  ) throws -> ProxiedConnection {
    count += 1
    let notes = "\(folder.path)/notes.\(count)"
    let path = "\(folder.path)/standin.py"
    if !FileManager.default.fileExists(atPath: path) { try folder.write(Array(StandInServer.script.utf8), to: "standin.py") }
    let chain = wrapper + [try Programs.path("starttls-proxy")] + options + (program ?? ["/bin/sh", "-c", script])
    return try connected(
      ["/usr/bin/python3", "-IS", path, words, notes] + chain, environment: environment, notes: notes,
      nonBlocking: nonBlocking, kept: kept)
  }

  /// Starts our own chain: ucspi-tlsd, the proxy and a shell script, or another program.
  func chained(
    _ options: [String] = [], helper: [String] = [], script: String = ShellBackend.script(), program: [String]? = nil,
    environment: [String: String]? = nil, receiveBuffer: CInt? = nil, kept: ((TestDescriptor) -> Void)? = nil
  ) throws -> ProxiedConnection {
    try connected(
      [try Programs.path("ucspi-tlsd")] + helper + [try Programs.path("starttls-proxy")] + options
        + (program ?? ["/bin/sh", "-c", script]),
      environment: try environment ?? credentials(), notes: "", nonBlocking: false, receiveBuffer: receiveBuffer,
      kept: kept)
  }

  private func connected(
    _ arguments: [String], environment: [String: String], notes: String, nonBlocking: Bool, receiveBuffer: CInt? = nil,
    kept: ((TestDescriptor) -> Void)?
  ) throws -> ProxiedConnection {
    let listener = try TestListener()
    let client = try SMTPClient(port: listener.port, receiveBuffer: receiveBuffer) { try self.engine }
    let server = try listener.accept()
    // Otherwise the kernel takes some MB for a client that reads nothing.
    if var receiveBuffer { setsockopt(server.number, SOL_SOCKET, SO_SNDBUF, &receiveBuffer, socklen_t(MemoryLayout<CInt>.size)) }
    if nonBlocking { _ = fcntl(server.number, F_SETFL, server.flags | O_NONBLOCK) }
    var variables = environment
    variables["FOLDER"] = folder.path
    let process = try start(arguments, [0: server, 1: server], variables)
    kept?(server)
    if kept == nil { server.close() }
    return ProxiedConnection(client: client, process: process, notes: notes)
  }

  /// The proxies of this test that run.
  var proxies: [pid_t] {
    ProcessTable.processes(with: marker).filter {
      ProcessTable.commandLine(of: $0).split(separator: " ").first?.hasSuffix("/starttls-proxy") == true
    }
  }

  /// Waits until everything of this test has ended.
  func assertNothingIsLeft(within seconds: Double = Deadline.seconds, file: StaticString = #filePath, line: UInt = #line) {
    // The test's own child is a zombie until it is waited for, and then has no environment.
    let isGone = eventually(within: seconds) { ProcessTable.processes(with: marker).isEmpty }
    XCTAssertTrue(isGone, "left: \(ProcessTable.processes(with: marker).map(ProcessTable.commandLine))", file: file, line: line)
  }
}
