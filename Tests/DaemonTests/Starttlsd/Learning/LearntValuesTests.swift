// LearntValuesTests: what was learnt is sent at its own address only, and no longer than the program sends it.

import Foundation
import Glibc
import XCTest

final class LearntValuesTests: LearningTestCase {
  /// The client that was promised more gets 421, the next one what the program lists now.
  func testAKeywordThatIsNoLongerListed() throws {
    let answer = ("EHLO*", "if [ -e \"$FOLDER/less\" ]; then say '250-backend' '250 8BITMIME'; else say '250-backend' '250 SMTPUTF8'; fi")
    let daemon = try learntDaemon([], LearningTestCase.script(answers: [answer]))
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250-STARTTLS|250 SMTPUTF8")
    try daemon.folder.write([], to: "less")
    XCTAssertEqual(try client.ask("MAIL FROM:<a@client.example>"), "421 4.3.2 Mail server not available, closing connection")
    client.close()
    let next = try self.client(daemon)
    try next.expect("220 ")
    XCTAssertEqual(try next.ask("EHLO client.example"), "250-backend|250-STARTTLS|250 8BITMIME")
    XCTAssertEqual(try next.ask("QUIT"), "221 bye")
  }

  /// The program sees at which address a client has connected.
  func testEachAddressHasItsOwn() throws {
    let daemon = try daemon(["--learn-greeting"], backend: .script(ShellBackend.script("say \"220 $TCPLOCALIP\"")), listen: ["127.0.0.1:0", "127.0.0.2:0"])
    let hosts = zip(["127.0.0.1", "127.0.0.2"], daemon.ports)
    for isLearnt in [false, true] {
      for (host, port) in hosts {
        let client = try client(host: host, port: port)
        XCTAssertEqual(try client.expect("220 "), "220 \(host)")
        XCTAssertEqual(try client.ask("QUIT"), "221 bye")
        client.close()
        if !isLearnt { try waitForLog(daemon, "\(host):\(port): \(LearningTestCase.isLearnt)") }
      }
    }
  }

  /// SIGHUP after the last start has shown its greeting, before its reply to QUIT: nothing of it comes into use.
  func testSIGHUPWhileItIsLearnt() throws {
    let hold = "if [ \"$TCPREMOTEIP\" = 2001:db8::25 ]; then while [ -e \"$FOLDER/hold\" ]; do : >\"$FOLDER/held\"; sleep 0.05; done; fi"
    let answer = ("QUIT*", hold + "; say '221 bye'; exit")
    let daemon = try daemon(["--learn-greeting", "--backend-grace", "0"], backend: .script(LearningTestCase.script(answers: [answer])))
    let held = try daemon.folder.write([], to: "hold")
    XCTAssertEqual(try serveOne(daemon), "220 backend ESMTP")
    XCTAssertTrue(eventually { FileManager.default.fileExists(atPath: daemon.folder.path + "/held") }, daemon.log)
    try daemon.folder.write(Array("other".utf8), to: "greeting")
    daemon.program.signal(SIGHUP)
    try waitForLog(daemon, "the certificates are loaded again")
    try FileManager.default.removeItem(atPath: held)
    // Before it is learnt again, and after.
    XCTAssertTrue(
      try eventually {
        XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
        return daemon.log.contains(LearningTestCase.isLearnt)
      }, daemon.log)
    daemon.assertIdle()
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
  }

  /// A difference within an interval after the last one: sessions start the program for two. Three minutes of a clock at 20 times the
  /// speed.
  func testThePauseGrows() throws {
    let daemon = try daemon(
      ["--key-in-process", "--learn-greeting", "--learn-interval", "3", "--greeting-timeout", "600", "--command-timeout", "3600"],
      backend: .script(LearningTestCase.script()), under: fastClock(20))
    let text = "each session starts the program for"
    func count(_ text: String) -> Int { daemon.log.components(separatedBy: text).count }
    // A machine on which an interval passes between the two has another try. While it is learnt, the program sends one greeting.
    XCTAssertTrue(
      try eventually {
        if count(LearningTestCase.isLearnt) > count(text) { try differ(daemon) } else { _ = try serveOne(daemon) }
        usleep(20_000)
        return daemon.log.contains(text + " 6 min")
      }, daemon.log)
    XCTAssertTrue(daemon.log.contains(text + " 3 min"), daemon.log)
    daemon.stop()
  }
}
