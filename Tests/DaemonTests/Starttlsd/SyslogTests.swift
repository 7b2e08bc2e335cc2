// SyslogTests: the log as datagrams of RFC 5424 to /dev/log, in a name space of its own.

import CKernel
import Foundation
import Glibc
import XCTest

final class SyslogTests: StarttlsdTestCase {
  private let unshare = ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]

  func testEveryLineIsADatagram() throws {
    let (folder, port, program) = try start(["--syslog", "mail"])
    defer { program.kill() }
    try session(port)
    let line = try datagram(folder, "session")
    let form = "^<22>1 [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z \\S+ starttlsd \(program.process) session - session peer=127"
    XCTAssertNotNil(line.range(of: form, options: .regularExpression), line)
    program.signal(SIGTERM)
    XCTAssertNotNil(try datagram(folder, "stopped").range(of: "^<22>1 \\S+ \\S+ starttlsd \\d+ - - stopped$", options: .regularExpression))
    XCTAssertEqual(program.wait(), .exited(0))
    XCTAssertEqual(folder.text("log"), "", "nothing on standard error")
  }

  func testJSONAndAnotherFacility() throws {
    let (folder, port, program) = try start(["--syslog", "local3", "--log-format", "json"])
    defer { program.kill() }
    try session(port)
    let line = try datagram(folder, "session")
    let body = try XCTUnwrap(line.firstIndex(of: "{"))
    XCTAssertTrue(line.hasPrefix("<158>1 "), line)
    let value = try JSONSerialization.jsonObject(with: Data(line[body...].utf8)) as? [String: Any]
    XCTAssertEqual(value?["message"] as? String, "session")
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// Sessions go on while the log takes nothing; then the number of lost lines is a line.
  func testALogThatReadsNothing() throws {
    let (folder, port, program) = try start(["--syslog", "mail"])
    defer { program.kill() }
    let idle = ProcessTable.descriptors(of: program.process).count
    fill(folder)
    for _ in 0..<3 { try session(port) }
    XCTAssertTrue(eventually { ProcessTable.descriptors(of: program.process).count == idle }, "sessions go on")
    // Its greeting comes after the lines of the others were tried.
    let last = try client(host: "127.0.0.1", port: port)
    try last.expect("220 ")
    lines = []
    drain()
    XCTAssertEqual(try last.ask("QUIT"), "221 bye")
    _ = try last.remainder()
    last.close()
    let line = try datagram(folder, "were lost")
    _ = try datagram(folder, "session peer=")
    let number = try XCTUnwrap(line.range(of: " - - ")).upperBound
    let lost = try XCTUnwrap(Int(line[number...].prefix { $0.isNumber }), line)
    XCTAssertTrue(line.hasSuffix("\(lost) lines of this log were lost: the system log did not take them"), line)
    XCTAssertEqual(lost + lines.filter { $0.contains("session peer=") }.count, 4, "\(lines)")
    // A log that is started again.
    receiving?.close()
    unlink(folder.path + "/devices/log")
    try session(port)
    receiving = try bound(folder)
    let isBack = try eventually {
      try session(port)
      return receiving?.hasDatagram ?? false
    }
    XCTAssertTrue(isBack)
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  func testNoLogIsASystemError() throws {
    let folder = TestFolder()
    let words = try command(folder, ["--syslog", "mail"])
    let result = try run(try isolated(folder, words), expecting: .exited(111))
    XCTAssertTrue(result.errors.contains("--syslog: /dev/log cannot be used: "), result.errors)
    XCTAssertEqual(result.errors.filter { $0 == "\n" }.count, 1, result.errors)
  }

  // MARK: -

  private var receiving: TestDescriptor?
  /// All lines that were received.
  private var lines: [String] = []

  private var senders: [TestDescriptor] = []

  override func tearDown() {
    super.tearDown()
    senders = []
    receiving = nil
  }

  private func command(_ folder: TestFolder, _ options: [String]) throws -> [String] {
    let made = try certificate()
    return [
      try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--certificate", made.certificate, "--key", made.key,
      "--trusting-backend",
    ] + options + ["--", "/bin/sh", "-c", ShellBackend.script()]
  }

  /// Runs words with a folder of the test as /dev.
  private func isolated(_ folder: TestFolder, _ words: [String]) throws -> [String] {
    guard try SpawnedProgram(unshare + ["mount --bind /dev/null /dev/null"]).wait() == .exited(0) else {
      throw XCTSkip("no mount name spaces here")
    }
    let devices = folder.path + "/devices"
    try FileManager.default.createDirectory(atPath: devices, withIntermediateDirectories: true)
    try folder.write([], to: "devices/null")
    let mount = "mount --bind /dev/null \(devices)/null && mount --rbind \(devices) /dev && exec \"$@\""
    return unshare + [mount, "sh"] + words
  }

  private func start(_ options: [String]) throws -> (TestFolder, UInt16, SpawnedProgram) {
    let folder = TestFolder()
    let words = try isolated(folder, try command(folder, options))
    receiving = try bound(folder)
    let program = try SpawnedProgram(words, errors: .file(folder.path + "/log"))
    let line = try datagram(folder, "listening on ")
    let digits = line.split(separator: ":").last?.prefix { $0.isNumber } ?? ""
    return (folder, try XCTUnwrap(UInt16(digits), line), program)
  }

  private func bound(_ folder: TestFolder) throws -> TestDescriptor {
    let socket = TestDescriptor(Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
    guard named(folder, { bind(socket.number, $0, $1) }) == 0 else { throw Failure("bind: \(String(cString: strerror(errno)))") }
    return socket
  }

  private func named(_ folder: TestFolder, _ call: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array((folder.path + "/devices/log").utf8)) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  /// The next datagram with a text.
  private func datagram(_ folder: TestFolder, _ text: String) throws -> String {
    while true {
      let line = String(decoding: try XCTUnwrap(receiving).read(), as: UTF8.self)
      lines.append(line)
      if line.contains(text) { return line }
    }
  }

  /// Sends datagrams until there is no room for another one, from anybody.
  private func fill(_ folder: TestFolder) {
    // A sender's own buffer may be full before the queue is: then another one goes on.
    var sent = 1
    while sent > 0 {
      let sender = TestDescriptor(Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
      XCTAssertEqual(named(folder) { connect(sender.number, $0, $1) }, 0)
      sent = 0
      while send(sender.number, "x", 1, CInt(MSG_DONTWAIT)) == 1 { sent += 1 }
      XCTAssertEqual(errno, EAGAIN)
      senders.append(sender)
    }
  }

  private func drain() {
    while receiving?.hasDatagram == true {
      lines.append(String(decoding: (try? receiving?.read()) ?? [], as: UTF8.self))
    }
  }

  private func session(_ port: UInt16) throws {
    let client = try client(host: "127.0.0.1", port: port)
    defer { client.close() }
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    _ = try client.remainder()
  }
}

extension TestDescriptor {
  fileprivate var hasDatagram: Bool {
    var entry = pollfd(fd: number, events: CShort(POLLIN), revents: 0)
    return poll(&entry, 1, 0) == 1
  }
}
