// LearningEndsTests: what is not learnt, what is forgotten, and a program that does not keep to what was learnt.

import Foundation
import Glibc
import XCTest

final class LearningEndsTests: LearningTestCase {
  private let failed = "421 4.3.2 Mail server not available, closing connection\r\n"

  /// Each of these sends something else to another client, or at another time.
  func testAReplyThatDependsOnTheClientIsNotLearnt() throws {
    for (script, what) in [
      (ShellBackend.script("say \"220 $TCPREMOTEIP\""), "its greeting"),
      (ShellBackend.script("say \"220 $TCPREMOTEPORT\""), "its greeting"),
      (ShellBackend.script("say \"220 $STARTTLSD_SESSION\""), "its greeting"),
      (ShellBackend.script("say \"220 $$\""), "its greeting"),
      (ShellBackend.script("say \"220 $(date +%s)\""), "its greeting"),
      (ShellBackend.script(answers: [("EHLO*", "say \"250 hello ${line#EHLO }\"")]), "its reply to EHLO"),
      (ShellBackend.script(answers: [("QUIT*", "say \"221 $$\"; exit")]), "its reply to QUIT"),
      (ShellBackend.script("hello=no; say '220 b'", answers: [("EHLO*", "hello=yes; say '250 b'"), ("QUIT*", "say \"221 $hello\"; exit")]), "its reply to QUIT"),
    ] {
      let daemon = try daemon(["--learn-greeting"], backend: .script(script))
      let first = try client(daemon)
      try first.expect("220")
      first.close()
      try waitForLog(daemon, "the program does not send every client the same at all times: \(what) differs: its greeting is not learnt")
      // The next one is served by the program.
      let second = try client(daemon)
      try second.expect("220")
      XCTAssertTrue(eventually { !daemon.backends.isEmpty }, script)
      second.close()
      daemon.assertIdle()
      XCTAssertFalse(daemon.log.contains(LearningTestCase.isLearnt), daemon.log)
      daemon.stop()
    }
  }

  /// A program that is no server for everybody is none for learning either, and sessions run as they would.
  func testAProgramThatCannotBeLearnt() throws {
    for (opening, what, timeout) in [
      ("say '554 no'", "has the code 554", "60"), ("exit", "ends before its greeting", "60"),
      ("printf '220 b\\r\\n250 more\\r\\n'", "has octets after its end", "60"), ("say 'hello'", "is not a reply of SMTP", "60"),
      ("exec sleep 1000", "does not answer in time", "1"),
      ("head -c 9000 /dev/zero | tr '\\000' x; exec sleep 1000", "is longer than", "60"),
    ] {
      let daemon = try daemon(["--learn-greeting", "--greeting-timeout", timeout, "--backend-grace", "0"], backend: .script(ShellBackend.script(opening)))
      let first = try client(daemon)
      _ = try first.remainderAfterQuit()
      first.close()
      try waitForLog(daemon, what)
      XCTAssertTrue(daemon.log.contains("its greeting is not learnt (--learn-greeting), each session starts the program"), daemon.log)
      daemon.assertIdle()
      daemon.stop()
    }
  }

  /// The program sends something else from now on: the first client that needs it gets 421, and the next one what the program sends now.
  func testAProgramThatSendsSomethingElse() throws {
    for commands in [["NOOP"], ["HELO client.example"], ["EHLO client.example", "NOOP"], ["EHLO client.example", "MAIL FROM:<a@client.example>"]] {
      let daemon = try learntDaemon()
      _ = starts(daemon)
      try Data("other".utf8).write(to: URL(fileURLWithPath: daemon.folder.path + "/greeting"))
      let client = try client(daemon)
      try client.expect("220 backend ESMTP")
      for command in commands.dropLast() { XCTAssertTrue(try client.ask(command).hasPrefix("250")) }
      try client.send("\(commands.last!)\r\n")
      XCTAssertEqual(try client.remainder().text, failed)
      client.close()
      XCTAssertEqual(starts(daemon), ["127.0.0.1 clear"])
      try waitForLog(daemon, "the program has not sent a client what was learnt (--learn-greeting): each session starts the program for 10 min")
      let session = try daemon.sessions(2)[1]
      XCTAssertEqual(session["end"], "server ended")
      XCTAssertTrue(session["failure"]?.hasPrefix("the server does not send the greeting or the reply to EHLO that was learnt") == true, session.description)

      XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
      XCTAssertEqual(starts(daemon), ["127.0.0.1 clear"])
      daemon.stop()
    }
  }

  /// A program that is busy refuses a client with 4yz: that client gets 421, and what was learnt stays in use.
  func testAReplyInPlaceOfTheLearntOneThatIsTemporary() throws {
    let opening = "[ -e \"$FOLDER/busy\" ] && { say '421 4.3.2 busy'; exit; }"
    let answer = ("EHLO*", "[ -e \"$FOLDER/full\" ] && { say '452 4.3.1 full'; exit; }; say '250-backend' '250 SIZE 1000'")
    let daemon = try learntDaemon([], LearningTestCase.script(opening, answers: [answer]))
    for name in ["busy", "full"] {
      let path = try daemon.folder.write([], to: name)
      for _ in 0..<2 {
        _ = starts(daemon)
        let client = try client(daemon)
        try client.expect("220 backend ESMTP")
        try client.ask("EHLO client.example")
        try client.send("MAIL FROM:<a@client.example>\r\n")
        XCTAssertEqual(try client.remainder().text, failed)
        client.close()
        XCTAssertEqual(starts(daemon), ["127.0.0.1 clear"])
      }
      try FileManager.default.removeItem(atPath: path)
    }
    XCTAssertEqual(
      try daemon.sessions(5).last?["failure"], "the server refuses this client for now, in place of its greeting or its reply to EHLO")
    XCTAssertEqual(try serveOne(daemon), "220 backend ESMTP")
    XCTAssertEqual(starts(daemon), [], "it is still learnt")
    XCTAssertFalse(daemon.log.contains("has not sent a client what was learnt"), daemon.log)
  }

  /// With two processes in all there is none to learn from beside a session.
  func testALimitAtWhichNothingIsLearntIsAWarning() throws {
    for (limit, isExpected) in [("2", true), ("3", false)] {
      let daemon = try daemon(["--learn-greeting", "--max-backends", limit], backend: .script(LearningTestCase.script()))
      XCTAssertEqual(daemon.log.contains("--learn-greeting has no effect: it needs 3 backends at a time"), isExpected, daemon.log)
    }
  }

  /// SIGHUP, and a new program in its place: it is learnt again.
  func testSIGHUPAndANewFileAreLearntAgain() throws {
    let daemon = try learntDaemon()
    try Data("other".utf8).write(to: URL(fileURLWithPath: daemon.folder.path + "/greeting"))
    daemon.program.signal(SIGHUP)
    try waitForLog(daemon, "the certificates are loaded again")
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
    XCTAssertTrue(eventually { daemon.folder.text("starts").split(separator: "\n").count == 8 }, daemon.log)
    daemon.assertIdle()
    _ = starts(daemon)
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
    XCTAssertEqual(starts(daemon), [])

    // As package managers do.
    let draft = daemon.folder.path + "/draft"
    try Data(("#!/bin/sh\n" + LearningTestCase.script(":").replacingOccurrences(of: "ESMTP", with: "ESMTP 2")).utf8).write(to: URL(fileURLWithPath: draft))
    chmod(draft, 0o755)
    // Another process looks at the file: no session waits for its file system.
    let reader = try XCTUnwrap(daemon.helpers["starttlsd-read"])
    kill(reader, SIGSTOP)
    XCTAssertEqual(rename(draft, daemon.folder.path + "/backend"), 0)
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP")
    kill(reader, SIGCONT)
    try waitForLog(daemon, "the file of the program has changed: what it sends is learnt again")
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP 2")
    XCTAssertTrue(eventually { daemon.folder.text("starts").split(separator: "\n").count == 12 }, daemon.log)
    daemon.assertIdle()
    _ = starts(daemon)
    XCTAssertEqual(try serveOne(daemon), "220 other ESMTP 2")
    XCTAssertEqual(starts(daemon), [])
  }

  /// After the interval: a minute of a clock at 20 times the speed. A machine that is too slow for that clock learns it a minute later.
  func testItIsLearntAgainAfterTheInterval() throws {
    let daemon = try daemon(
      ["--key-in-process", "--learn-greeting", "--learn-interval", "1"], backend: .script(LearningTestCase.script()), under: fastClock(20))
    let isLearntTwice = try eventually {
      try serveOne(daemon)
      usleep(20_000)
      return daemon.folder.text("starts").components(separatedBy: "2001:db8::25 clear").count > 2
    }
    XCTAssertTrue(isLearntTwice, daemon.log)
    daemon.stop()
  }

  /// After a difference sessions start the program for an interval, after the next one for two, unless an interval without one came
  /// in between. A minute of a clock at 60 times the speed.
  func testAnIntervalWithoutADifferenceHalvesTheTime() throws {
    let daemon = try daemon(
      ["--key-in-process", "--learn-greeting", "--learn-interval", "1", "--greeting-timeout", "600", "--command-timeout", "3600"],
      backend: .script(LearningTestCase.script()), under: fastClock(60))
    let text = "each session starts the program for"
    func isLearnt(_ count: Int) throws -> Bool {
      try eventually {
        try serveOne(daemon)
        usleep(20_000)
        return daemon.folder.text("starts").components(separatedBy: "2001:db8::25 clear").count > count
      }
    }
    /// Until a client has met what was learnt.
    func differAgain(_ count: Int) throws {
      XCTAssertTrue(
        try eventually {
          try differ(daemon)
          return eventually(within: 0.2) { daemon.log.components(separatedBy: text).count > count }
        }, daemon.log)
    }
    XCTAssertTrue(try isLearnt(1), daemon.log)
    try differAgain(1)
    // After the pause, and after the interval. The start of one more shows that this one has ended.
    let learnt = daemon.folder.text("starts").components(separatedBy: "2001:db8::25 clear").count - 1
    XCTAssertTrue(try isLearnt(learnt + 3), daemon.log)
    try differAgain(2)
    XCTAssertEqual(daemon.log.components(separatedBy: text + " 1 min").count, 3, daemon.log)
    daemon.stop()
  }

  /// When it is needed it does not come, or does not answer: 421 in time, and no process stays.
  func testAProgramThatFailsWhenItIsNeeded() throws {
    let opening = "[ -e \"$FOLDER/dead\" ] && exit 0; [ -e \"$FOLDER/mute\" ] && exec sleep 1000"
    let daemon = try learntDaemon(["--greeting-timeout", "3", "--backend-grace", "0"], LearningTestCase.script(opening))
    var count = 1
    for (name, why, commands) in [
      ("dead", "the server ended before its greeting and its reply to EHLO", ["NOOP", "MAIL FROM:<a@client.example>"]),
      ("mute", "the server did not send its greeting and its reply to EHLO in time", ["MAIL FROM:<a@client.example>"]),
    ] {
      let path = try daemon.folder.write([], to: name)
      for command in commands {
        let client = try client(daemon)
        try client.expect("220 ")
        try client.ask("EHLO client.example")
        try client.send(command + "\r\n")
        XCTAssertEqual(try client.remainder().text, failed)
        client.close()
        count += 1
        XCTAssertEqual(try daemon.sessions(count).last?["failure"], why)
      }
      unlink(path)
    }
    // It was no other program: what was learnt stays.
    XCTAssertFalse(daemon.log.contains("has not sent a client"), daemon.log)
    _ = starts(daemon)
    try serveOne(daemon)
    XCTAssertEqual(starts(daemon), [])
  }

  /// Clients that leave while the program starts, and the end of the daemon.
  func testClientsThatLeaveWhileTheProgramStarts() throws {
    let daemon = try learntDaemon(["--backend-grace", "0", "--grace", "0"], LearningTestCase.script("[ -e \"$FOLDER/mute\" ] && exec sleep 1000"))
    try daemon.folder.write([], to: "mute")
    let gone = try client(daemon)
    try gone.expect("220 ")
    try gone.send("NOOP\r\n")
    XCTAssertTrue(eventually { !daemon.backends.isEmpty })
    gone.reset()
    XCTAssertEqual(try daemon.sessions(2)[1].outcome, "abort client ended: client lost")
    let waiting = try client(daemon)
    try waiting.expect("220 ")
    try waiting.send("NOOP\r\n")
    XCTAssertTrue(eventually { !daemon.backends.isEmpty })
    try assertStops(daemon, before: waiting)
  }

  /// SIGTERM while the program is being learnt.
  func testTheDaemonStopsWhileItLearns() throws {
    let daemon = try daemon(["--learn-greeting"], backend: .script(LearningTestCase.script("[ \"$TCPREMOTEIP\" = 127.0.0.1 ] || exec sleep 1000")))
    try serveOne(daemon)
    XCTAssertTrue(eventually { daemon.folder.text("starts").contains("192.0.2.1") })
    daemon.stop()
  }

  /// A rule's variables may change what the program sends.
  func testSessionsWithVariablesOfARuleStartTheProgram() throws {
    let rules = TestFolder()
    let path = try rules.write(Array("127.0.0.3:allow,WHO=\"third\"\n:allow\n".utf8), to: "rules")
    let daemon = try learntDaemon(["--access", path])
    _ = starts(daemon)
    let client = try client(daemon, from: "127.0.0.3")
    try client.expect("220 ")
    XCTAssertTrue(eventually { !daemon.backends.isEmpty })
    client.close()
    XCTAssertEqual(starts(daemon), ["127.0.0.3 clear"])
    try serveOne(daemon)
    XCTAssertEqual(starts(daemon), [])
  }
}

extension SMTPClient {
  /// Sends QUIT and reads to the end.
  fileprivate func remainderAfterQuit() throws -> String {
    try send("QUIT\r\n")
    return try remainder().text
  }
}
