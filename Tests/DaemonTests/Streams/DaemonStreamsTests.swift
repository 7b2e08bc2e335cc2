// DaemonStreamsTests: starttlsd without some of its standard streams, or with sockets there, and what its backends get.

import Foundation
import Glibc
import XCTest

final class DaemonStreamsTests: StarttlsdTestCase {
  /// /dev/null stands in for each that is missing, in the backends too.
  func testMissingStreams() throws {
    for redirections in ["2>&-", "0<&-", "1>&-", "0<&- 1>&- 2>&-"] {
      let folder = TestFolder()
      let errors = try backendsErrors(redirections, folder, errors: .file(folder.path + "/log"))
      XCTAssertEqual(errors, redirections.contains("2") ? "/dev/null" : folder.path + "/log", redirections)
    }
  }

  /// A socket that is 0 as well is a client's, or one that clients come to: not a line goes there.
  func testAClientsSocketIsNotTheLog() throws {
    let folder = TestFolder()
    let (client, end) = TestDescriptor.sockets()
    var status = stat()
    XCTAssertEqual(fstat(end.number, &status), 0)
    let errors = try backendsErrors("", folder, input: .descriptor(end.number), errors: .descriptor(end.number))
    XCTAssertFalse(errors.isEmpty)
    XCTAssertNotEqual(errors, "socket:[\(status.st_ino)]")
    end.close()
    XCTAssertEqual(try client.remainder(), [])
  }

  /// systemd gives one socket to its journal as 1 and 2: that is the log.
  func testTheJournalsSocketIsTheLog() throws {
    let folder = TestFolder()
    let (journal, end) = TestDescriptor.sockets()
    _ = try backendsErrors("", folder, output: .descriptor(end.number), errors: .descriptor(end.number))
    end.close()
    let log = String(decoding: try journal.remainder(), as: UTF8.self)
    XCTAssertTrue(log.contains("listening on 127.0.0.1:") && log.contains("session peer=127.0.0.1:"), log)
  }

  /// Runs a daemon for one client. The answer is what descriptor 2 of the backend was open on.
  private func backendsErrors(
    _ redirections: String, _ folder: TestFolder, input: SpawnedProgram.Stream = .nowhere,
    output: SpawnedProgram.Stream = .nowhere, errors: SpawnedProgram.Stream
  ) throws -> String {
    let certificate = try certificate()
    let script = "readlink /proc/$$/fd/2 > \(folder.path)/two; \(ShellBackend.script())"
    let port = try freePort()
    let program = try SpawnedProgram(
      ["/bin/sh", "-c", "exec \"$@\" \(redirections)", "sh", try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:\(port)",
        "--certificate", certificate.certificate, "--key", certificate.key, "--grace", "2",
        "--trusting-backend", "--", "/bin/sh", "-c", script],
      input: input, output: output, errors: errors)
    defer { program.kill() }
    var connected: SMTPClient?
    _ = eventually {
      connected = try? client(host: "127.0.0.1", port: port)
      return connected != nil || !program.isRunning
    }
    guard let connected else { throw Failure("starttlsd does not listen: \(redirections)") }
    try connected.expect("220 ")
    XCTAssertEqual(try connected.ask("QUIT"), "221 bye")
    connected.close()
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), redirections)
    return String(folder.text("two").dropLast())
  }
}
