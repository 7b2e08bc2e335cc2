// LogReaderTests: whoever reads the log may stop, or go: sessions go on, and what was lost is counted.

import CKernel
import Foundation
import Glibc
import XCTest

final class LogReaderTests: StarttlsdTestCase {
  /// What standard error is, with as little room as the kernel lets it have.
  private enum Kind: CaseIterable { case pipe, fifo, socket, terminal }

  /// The two ends.
  private func ends(_ kind: Kind, _ folder: TestFolder) throws -> (reading: TestDescriptor, writing: TestDescriptor) {
    switch kind {
    case .pipe:
      let pipe = TestDescriptor.pipe()
      // F_SETPIPE_SZ
      XCTAssertGreaterThan(fcntl(pipe.writing.number, 1031, 4096), 0)
      return pipe
    case .fifo:
      let path = folder.path + "/fifo"
      XCTAssertEqual(mkfifo(path, 0o600), 0)
      let reading = TestDescriptor(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC))
      let writing = TestDescriptor(open(path, O_WRONLY | O_CLOEXEC))
      return (reading, writing)
    case .socket:
      let pair = TestDescriptor.sockets()
      var size: CInt = 4096
      setsockopt(pair.1.number, SOL_SOCKET, SO_SNDBUF, &size, 4)
      return (pair.0, pair.1)
    case .terminal:
      let master = TestDescriptor(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC))
      // posix_openpt, unlockpt and ptsname are hidden from Swift: TIOCSPTLCK and TIOCGPTN are what they do.
      var (unlock, number): (CInt, CInt) = (0, 0)
      XCTAssertEqual(ioctl(master.number, 0x4004_5431, &unlock), 0)
      XCTAssertEqual(ioctl(master.number, 0x8004_5430, &number), 0)
      return (master, TestDescriptor(open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)))
    }
  }

  /// Reads whole lines until a text has come, and returns everything.
  private func read(_ end: TestDescriptor, until text: String, _ before: String = "") throws -> String {
    var log = before
    while !log.contains(text) || log.last?.isNewline != true {
      let octets = try end.read()
      guard !octets.isEmpty else { throw Failure("the log has ended without '\(text)': \(log.suffix(2000))") }
      log += String(decoding: octets, as: UTF8.self)
    }
    return log
  }

  private func start(_ folder: TestFolder, _ errors: TestDescriptor) throws -> SpawnedProgram {
    let script = folder.path + "/backend"
    try Data(("#!/bin/sh\n" + ShellBackend.script()).utf8).write(to: URL(fileURLWithPath: script))
    chmod(script, 0o755)
    let certificate = try certificate()
    return try SpawnedProgram(
      [try Programs.path("starttlsd"), "--allow-root", "--trusting-backend", "--listen", "127.0.0.1:0", "--certificate", certificate.certificate, "--key",
        certificate.key, "--grace", "2", "--", script],
      errors: .descriptor(errors.number))
  }

  private func port(_ log: String) throws -> UInt16 {
    let line = log.split(whereSeparator: \.isNewline).first { $0.contains("listening on ") }
    return try XCTUnwrap(UInt16(line?.split(separator: ":").last ?? ""), log)
  }

  private func session(_ port: UInt16, _ name: String) throws {
    let client = try client(host: "127.0.0.1", port: port)
    defer { client.close() }
    try client.expect("220 ")
    try client.ask("EHLO \(name)")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
  }

  /// A line is some 400 octets long, so that 850 sessions fill everything there is.
  func testALogThatNobodyReadsStopsNoSession() throws {
    // As long as a domain can be.
    let name = Array(repeating: String(repeating: "a", count: 61), count: 4).joined(separator: ".")
    for kind in Kind.allCases {
      let folder = TestFolder()
      let (reading, writing) = try ends(kind, folder)
      let program = try start(folder, writing)
      let first = try read(reading, until: "listening on ")
      let flags = writing.flags
      let port = try port(first)
      for number in 0..<850 {
        do { try session(port, name) } catch { throw Failure("\(kind), session \(number): \(error)") }
      }
      XCTAssertEqual(writing.flags, flags, "\(kind): the flags of the description are not ours")
      // Back again: everything that had room, and how much had not.
      var log = try read(reading, until: "lines of this log were lost", first)
      try session(port, "afterwards")
      log = try read(reading, until: "afterwards", log)
      let words = log.split(whereSeparator: \.isNewline).filter { $0.contains("of this log were lost") }
      let lost = words.compactMap { line in
        line.range(of: "starttlsd: ").flatMap { Int(line[$0.upperBound...].prefix { $0.isNumber }) }
      }
      XCTAssertEqual(words.count, lost.count)
      let written = log.split(whereSeparator: \.isNewline).filter { $0.contains("session peer=") }.count
      XCTAssertEqual(written + lost.reduce(0, +), 851, "\(kind): \(written) lines, lost \(lost)")
      XCTAssertGreaterThan(written, 200, "\(kind)")
      program.signal(SIGTERM)
      _ = try read(reading, until: "stopped", log)
      XCTAssertEqual(program.wait(), .exited(0))
    }
  }

  /// A reader that is started again loses nothing.
  func testAReaderThatGoesAndComesBack() throws {
    let folder = TestFolder()
    let (first, writing) = try ends(.fifo, folder)
    let program = try start(folder, writing)
    writing.close()
    let port = try port(try read(first, until: "listening on "))
    first.close()
    for number in 0..<20 { try session(port, "number\(number).") }
    let second = TestDescriptor(open(folder.path + "/fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC))
    let log = try read(second, until: "number19.")
    for number in 0..<20 { XCTAssertTrue(log.contains("helo=\"number\(number).\""), "\(number): \(log)") }
    program.signal(SIGTERM)
    _ = try read(second, until: "stopped")
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// Without any reader the daemon still ends.
  func testTheEndDoesNotWaitForTheReader() throws {
    let folder = TestFolder()
    let (reading, writing) = try ends(.pipe, folder)
    let program = try start(folder, writing)
    let port = try port(try read(reading, until: "listening on "))
    for _ in 0..<20 { try session(port, String(repeating: "\\", count: 250)) }
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }
}
