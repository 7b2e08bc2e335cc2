// What the daemon inherits and must not depend on; and what it owes a client that breaks.

import Foundation
import Glibc
import XCTest

final class InheritanceTests: StarttlsdTestCase {
  /// An ignored SIGCHLD survives exec, and the kernel would reap the backends: they are reaped here all the same.
  func testSIGCHLDIgnored() throws {
    let folder = TestFolder()
    let log = folder.path + "/log"
    let certificate = try certificate()
    let program = try SpawnedProgram(
      ["/bin/sh", "-c", "trap '' CHLD; exec \"$@\"", "sh", try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0",
        "--certificate", certificate.certificate, "--key", certificate.key, "--grace", "2", "--trusting-backend", "--",
        try Programs.path("maildir-smtpd"), folder.path + "/Maildir"],
      environment: [:], errors: .file(log))
    func text() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
    XCTAssertTrue(eventually { text().contains("listening on 127.0.0.1:") }, text())
    let port = try XCTUnwrap(
      UInt16(text().split(separator: "\n").first { $0.contains("listening on") }?.split(separator: ":").last ?? ""))
    let one = try client(host: "127.0.0.1", port: port)
    try one.expect("220 ")
    XCTAssertEqual(try one.ask("QUIT"), "221 2.0.0 Bye")
    one.close()
    XCTAssertTrue(eventually { ProcessTable.backends(of: program.process).isEmpty })
    XCTAssertTrue(ProcessTable.becomesIdle(program.process))
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), text())
  }

  /// P6: a record that was read out of TLS is delivered whole, although an answer to its first line finds the client gone.
  func testWhatWasReadIsDeliveredToTheBackend() throws {
    let backend = """
      import os
      os.write(1, b"220 s\\r\\n")
      rest = b""
      while True:
        octets = os.read(0, 65536)
        if not octets: break
        if rest or octets.startswith(b"MAIL"): rest += octets
        else: os.write(1, b"250 s\\r\\n")
      if rest: open(os.environ["FOLDER"] + "/rest", "w").write(str(len(rest)))
      """
    let daemon = try daemon(backend: .program(["/usr/bin/python3", "-ISc", backend]))
    let one = try client(daemon)
    try one.expect("220 ")
    _ = try one.ask("EHLO client.example")
    try one.startTLS()
    _ = try one.ask("EHLO client.example")
    // Stopped meanwhile, so that the daemon finds the record and the reset at once.
    daemon.program.signal(SIGSTOP)
    try one.send("STARTTLS\r\nMAIL FROM:<a@b>\r\n" + String(repeating: "y", count: 12_000))
    one.reset()
    daemon.program.signal(SIGCONT)
    XCTAssertTrue(eventually { !daemon.folder.contents("rest").isEmpty })
    XCTAssertEqual(String(decoding: daemon.folder.contents("rest"), as: UTF8.self), "12017")
  }
}
