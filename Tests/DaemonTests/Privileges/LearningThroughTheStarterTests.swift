// LearningThroughTheStarterTests: --learn-greeting where another process starts the program, and this one is in its sandbox.

import Foundation
import Glibc
import XCTest

final class LearningThroughTheStarterTests: PrivilegeTestCase {
  func testItIsLearntAndAChangedFileIsSeen() throws {
    let script = ShellBackend.script("echo x >>\"$FOLDER/starts\"; say '220 backend ESMTP'")
    let daemon = try daemon(["--learn-greeting", "--user", "daemon", "--backend-user", "nobody"], backend: .script(script), isShared: true)
    func starts() -> Int { daemon.folder.text("starts").split(separator: "\n").count }
    func serveOne() throws -> String {
      let client = try self.client(daemon)
      defer { client.close() }
      let greeting = try client.expect("220 ")
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      return greeting
    }
    XCTAssertEqual(try serveOne(), "220 backend ESMTP")
    XCTAssertTrue(eventually { daemon.log.contains("greeting is learnt") }, daemon.log)
    XCTAssertEqual(starts(), 4)
    XCTAssertEqual(try serveOne(), "220 backend ESMTP")
    let client = try self.client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    XCTAssertEqual(try client.ask("MAIL FROM:<a@client.example>"), "250 done")
    client.close()
    daemon.assertIdle()
    XCTAssertEqual(starts(), 5)

    let draft = daemon.folder.path + "/draft"
    try Data(("#!/bin/sh\n" + script.replacingOccurrences(of: "ESMTP", with: "ESMTP 2")).utf8).write(to: URL(fileURLWithPath: draft))
    chmod(draft, 0o755)
    XCTAssertEqual(rename(draft, daemon.folder.path + "/backend"), 0)
    XCTAssertTrue(eventually { daemon.log.contains("the file of the program has changed") }, daemon.log)
    XCTAssertEqual(try serveOne(), "220 backend ESMTP 2")
    XCTAssertTrue(eventually { starts() == 9 })
    daemon.assertIdle()
  }
}
