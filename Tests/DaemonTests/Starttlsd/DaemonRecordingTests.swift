// DaemonRecordingTests: what starttlsd records is what it did: starttls-replay decides the same. Nothing secret is in a recording.

import Foundation
import Glibc
import SessionRecording
import XCTest

final class DaemonRecordingTests: StarttlsdTestCase {
  private func recordings(_ folder: TestFolder) -> [String] { folder.names(in: "").filter { $0.hasSuffix(".rec") }.sorted() }

  /// A folder that only its owner can use.
  private func ownFolder() -> TestFolder {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    return folder
  }

  @discardableResult
  private func replay(_ arguments: [String], expecting code: Int32 = 0) throws -> String {
    try run([Programs.path("starttls-replay")] + arguments, expecting: .exited(code)).output
  }

  /// A line that is changed is found, with what was recorded and what is decided now.
  func testAPlantedDifferenceIsFound() throws {
    let folder = ownFolder()
    let daemon = try daemon(["--record", folder.path, "--record-share", "1/1"])
    let client = try client(daemon)
    try SessionPhase.negotiating.enter(client)
    try client.ask("RCPT TO:<a@b.example>")
    try client.ask("QUIT")
    client.close()
    _ = try daemon.session()
    XCTAssertTrue(eventually { recordings(folder).count == 1 })
    let name = recordings(folder)[0]
    XCTAssertTrue(eventually { folder.text(name).contains(" over ") }, folder.text(name))
    let text = folder.text(name)
    XCTAssertTrue(text.contains("c: 503 5.5.1 Bad sequence of commands"), text)
    let path = try folder.write(Array(text.replacingOccurrences(of: "c: 503 5.5.1 Bad sequence of commands", with: "c: 250 2.1.5 ok").utf8), to: "changed")
    let output = try replay([path], expecting: 1)
    XCTAssertTrue(output.contains(": different\n  event: C: RCPT TO:<x@b.example>\n  recorded: c: 250 2.1.5 ok\n  now: c: 503 5.5.1"), output)
    // As a transcript it is a test, whatever was recorded.
    let transcript = try replay(["--transcript", "-", folder.path + "/" + name])
    XCTAssertTrue(transcript.contains("C: RCPT TO:<x@b.example>\nc: 503 5.5.1 Bad sequence of commands\n"), transcript)
    XCTAssertTrue(try run([Programs.path("starttls-replay"), try folder.write([1, 2], to: "none")], expecting: .exited(100)).errors.contains("first line"))
  }

  /// AUTH in every form, a message, and lines that are no commands, in clear and inside TLS.
  func testNoRecordingHasASecret() throws {
    let secrets = ["AHVzZXIAaHVudGVyMg==", "aHVudGVyMg==", "hunter2", "confidential", "alice"]
    let backend = ShellBackend.script(answers: [
      ("EHLO*", "say '250-backend' '250 AUTH PLAIN LOGIN'"),
      ("'AUTH LOGIN'*", "say '334 VXNlcm5hbWU6'; read -r line; say '334 UGFzc3dvcmQ6'; read -r line; say \"535 5.7.8 no ${line%?}\""),
      ("'AUTH PLAIN '*", "say '235 2.7.0 done'"), ("VRFY*", "say \"250 $line\""), ("NOOP*", "say \"502 5.5.1 $line\""),
    ])
    let folder = ownFolder()
    let daemon = try daemon(["--record", folder.path, "--record-share", "1/1", "--allow-cleartext-auth"], backend: .script(backend))
    var count = 0
    for isSecured in [false, true] {
      for mechanism in ["PLAIN", "LOGIN"] {
        let client = try client(daemon)
        try (isSecured ? SessionPhase.secured : .greeted).enter(client)
        try client.ask("EHLO client.example")
        if mechanism == "PLAIN" {
          try client.ask("AUTH PLAIN \(secrets[0])")
        } else {
          try client.ask("AUTH LOGIN")
          try client.ask("dXNlcg==")
          try client.ask(secrets[1])
        }
        try client.ask("VRFY alice")
        try client.ask("NOOP hunter2")
        // Nobody waits for a reply to these: lines of a message, and a password, as commands.
        for line in ["hunter2", "Subject: confidential", "HELP \(secrets[1])"] { try client.ask(line) }
        try client.send("BDAT 12\r\nconfidential")
        try client.ask("MAIL FROM:<alice@example.org> SIZE=12 AUTH=alice")
        try client.ask("RCPT TO:<alice@example.org>")
        try client.ask("DATA")
        try client.ask("Subject: \(secrets[3])\r\n\r\n\(secrets[2])\r\n.")
        try client.ask("QUIT")
        client.close()
        count += 1
      }
    }
    _ = try daemon.sessions(count)
    XCTAssertTrue(eventually { recordings(folder).filter { folder.text($0).contains(" over ") }.count == count }, daemon.log)
    for name in recordings(folder) {
      let texts = [folder.text(name), try replay(["--transcript", "-", folder.path + "/" + name]), try replay([folder.path + "/" + name])]
      for text in texts {
        for secret in secrets + ["127.0.0.1", "client.example"] { XCTAssertFalse(text.contains(secret), "\(secret): \(text)") }
      }
      XCTAssertTrue(texts[0].contains("AUTH"), texts[0])
    }
  }

  /// Without another choice only sessions that end badly are written, and the oldest files are removed.
  func testFailuresAloneAndALimitOfFiles() throws {
    let folder = ownFolder()
    // A file of somebody else's.
    _ = try folder.write([1], to: "20261129-notes.rec")
    func recordings(_ folder: TestFolder) -> [String] { self.recordings(folder).filter { $0 != "20261129-notes.rec" } }
    let daemon = try daemon(["--record", folder.path, "--record-limit", "2"])
    var names: Set<String> = []
    for number in 0..<4 {
      let good = try client(daemon)
      try SessionPhase.greeted.enter(good)
      try good.ask("QUIT")
      good.close()
      let bad = try client(daemon)
      try SessionPhase.greeted.enter(bad)
      try bad.sendRaw(Array("GET /\(number) HTTP/1.1\r\n".utf8))
      _ = try bad.rawRemainder()
      bad.close()
      _ = try daemon.sessions(2 * number + 2)
      let isWritten = eventually {
        names.formUnion(recordings(folder))
        return names.count == number + 1
      }
      XCTAssertTrue(isWritten, "\(names) \(daemon.log)")
    }
    XCTAssertEqual(recordings(folder), names.sorted().suffix(2))
    XCTAssertEqual(self.recordings(folder).count, 3, "the other file is still there")
    XCTAssertTrue(daemon.log.contains("recordings in \(folder.path): those that end badly"), daemon.log)
  }

  /// A stranger who fails again and again does not replace all files at once.
  func testFailuresAreRecordedSixtyTimesAMinute() throws {
    let folder = ownFolder()
    let daemon = try daemon(["--record", folder.path, "--max-penalty", "0"])
    for number in 0..<62 {
      let bad = try client(daemon)
      try SessionPhase.greeted.enter(bad)
      try bad.sendRaw(Array("GET /\(number) HTTP/1.1\r\n".utf8))
      _ = try bad.rawRemainder()
      bad.close()
    }
    _ = try daemon.sessions(62)
    XCTAssertTrue(eventually { daemon.log.contains("a recording is not written: more than 60 sessions ended badly in a minute") }, daemon.log)
    XCTAssertTrue(eventually { recordings(folder).count == 60 }, "\(recordings(folder).count)")
  }

  func testAFolderThatOthersCanChangeIsRefused() throws {
    let folder = ownFolder()
    let own = try certificate()
    func errors(_ path: String) throws -> String {
      try run(
        [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--trusting-backend", "--certificate", own.certificate, "--key", own.key,
          "--record", path, "--", "/bin/cat"],
        expecting: .exited(100)
      ).errors
    }
    XCTAssertTrue(try errors(folder.path + "/none").contains("create the folder first"))
    chmod(folder.path, 0o777)
    XCTAssertTrue(try errors(folder.path).contains("others can write to the folder"))
  }

  /// The process that writes is lost: sessions are served as before, and one line says that none is recorded.
  func testTheLossOfTheProcessCostsRecordingsAlone() throws {
    let folder = ownFolder()
    let daemon = try daemon(["--record", folder.path, "--record-share", "1/1"])
    let client = try client(daemon)
    try SessionPhase.greeted.enter(client)
    let process = try XCTUnwrap(daemon.helpers["starttlsd-rec"], "\(daemon.helpers)")
    kill(process, SIGKILL)
    XCTAssertTrue(eventually { daemon.log.contains("starttlsd-rec, which writes recordings, has ended (signal 9)") }, daemon.log)
    XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
    client.close()
    let next = try self.client(daemon)
    try SessionPhase.secured.enter(next)
    XCTAssertTrue(try next.ask("QUIT").hasPrefix("221"))
    next.close()
    // Its connection is closed, which the check of descriptors would report.
    XCTAssertTrue(eventually { daemon.sessions.count == 2 }, daemon.log)
    XCTAssertEqual(recordings(folder), [])
    daemon.stop()
  }
}
