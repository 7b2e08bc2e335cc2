// Recordings: redaction changes no decision, what is written can be read, a replay is the same, a difference is found.

import PropertyCases
import PropertyKit
import SMTPState
import SessionRecording
import XCTest

@testable import SessionKit

final class RecordingTests: XCTestCase {
  /// Every transcript becomes a recording, which is redacted; its replay is the same, and as a transcript it is a test again.
  func testEveryTranscriptIsRecordedAndReplayed() throws {
    let files = try Fixtures.files(in: "transcripts") + Fixtures.files(in: "attacks")
    XCTAssertGreaterThanOrEqual(files.count, 645, "transcripts are missing")
    var words: Set<String> = []
    for file in files {
      let transcript = try Transcript(reading: file.text)
      // Misuse cannot be recorded: a driver does not misuse its conversation.
      if file.name.contains("misuse/") { continue }
      // Dividing a very long line at each octet is what TranscriptTests does.
      let isLong = transcript.steps.contains { $0.event.octets(of: .client) + $0.event.octets(of: .server) > 3_000 }
      for limit in isLong ? [40] : [3, Int.max] {
        let caller = RecordedCaller(transcript.policy, byHand: transcript.byHand, spanLimit: limit)
        for step in transcript.steps { caller.happen(step.event) }
        let recording = caller.finish()
        do {
          try checkReplay(recording)
        } catch {
          XCTFail("\(file.name), spans of \(limit): \(error)\n\(recording.text)")
        }
        for step in recording.steps {
          for case .decided(let text) in step.deeds { words.insert(text) }
        }
      }
    }
    // Each kind of end was among them.
    for reason in Reason.allCases where reason != .misuse && reason != .mail {
      XCTAssert(words.contains("close \(reason.name)"), "no recording of the end '\(reason.name)'")
    }
    XCTAssert(words.isSuperset(of: ["relay", "handoff", "restart", "end server", "abort mail"]), "\(words)")
  }

  func testRandomDialoguesAreReplayed() {
    holds(cases: 1_500, labels: ["handoff": 0.05, "relay": 0.05]) { trial in
      var dialogue = Dialogue(trial.choices)
      let length = 2 + trial.choices.below(34)
      let recorded = RecordedCaller(dialogue.policy, byHand: dialogue.byHand, spanLimit: trial.choices.one(of: [1, 2, 5, 40, Int.max]))
      var caller = Caller(dialogue.policy, byHand: dialogue.byHand)
      for _ in 0..<length {
        guard let event = dialogue.next(after: caller) else { break }
        let before = caller.deeds.count
        caller.happen(event)
        for deed in caller.deeds[before...] { trial.label(deed.words) }
        recorded.happen(event)
        dialogue.learn(caller.deeds[before...])
      }
      let recording = recorded.finish()
      trial.transcript = { recording.text }
      try self.checkReplay(recording, isTranscriptPlayed: false)
    }
  }

  /// A recording that is full is the same as far as it goes.
  func testARecordingThatIsFull() throws {
    let transcript = try Transcript(reading: Fixtures.files(in: "transcripts/clients").first { $0.name.hasSuffix("rfc-3207.smtp") }!.text)
    for limit in stride(from: 0, to: 3_000, by: 40) {
      let caller = RecordedCaller(transcript.policy, byHand: transcript.byHand, limit: limit)
      for step in transcript.steps { caller.happen(step.event) }
      let recording = caller.finish()
      XCTAssertNil(Replay(recording).difference(), recording.text)
      XCTAssertLessThanOrEqual(recording.text.utf8.count, 1_000 + 2 * limit)
    }
  }

  // MARK: Differences

  /// Each line that says what the session did is changed, removed or doubled: the replay finds that line.
  func testAPlantedDifferenceIsFound() throws {
    let recording = try recording("switch/rset.smtp")
    let done = recording.entries.indices.filter { if case .deed = recording.entries[$0].content { true } else { false } }
    XCTAssertGreaterThan(done.count, 6)
    for index in done {
      var others: [Recording] = []
      var changed = recording
      switch recording.entries[index].content {
      case .deed(.wrote(let side, let octets)): changed.entries[index].content = .deed(.wrote(side, octets.dropLast(3) + [0x21] + octets.suffix(2)))
      default: changed.entries[index].content = .deed(.decided("abort \(Reason.clientEnded.name)"))
      }
      others.append(changed)
      changed = recording
      changed.entries.remove(at: index)
      others.append(changed)
      changed = recording
      changed.entries.insert(recording.entries[index], at: index)
      others.append(changed)
      for other in others {
        // Through the text, so that the entries have their lines.
        let difference = Replay(try Recording(reading: other.text)).difference()
        XCTAssertEqual(difference?.manner, .asRecorded, other.text)
        XCTAssertNotEqual(difference?.expected, difference?.found, other.text)
      }
    }
  }

  func testASettingThatIsDifferentIsFound() throws {
    var recording = try recording("switch/rset.smtp")
    recording.policy.security = .required
    XCTAssertNil(Replay(recording).difference(), "this client sends nothing that the policy refuses")
    recording.policy.serverReset = .restart
    let difference = try XCTUnwrap(Replay(recording).difference())
    XCTAssertEqual(difference.event.lines, ["peeked nothing"], "no RSET is sent")
  }

  /// Octets that the machine does not take are a difference.
  func testOctetsThatAreNotConsumedAreFound() throws {
    var recording = try recording("clients/ehlo-and-mail.smtp")
    recording.entries.append(Recording.Entry(time: 9, .event(.received(.client, Array("NOOP\r\n".utf8)))))
    XCTAssertEqual(Replay(recording).difference()?.note, "6 of its octets were not consumed")
  }

  func testTextThatIsNoRecordingIsRefused() throws {
    let text = try recording("switch/rset.smtp").text
    for (broken, message) in [
      ("", "the first line"), (text.replacing("begin\n", with: ""), "not understood"), (text.replacing("recording 1", with: "recording 2"), "the first line"),
      (text + "12 C: \\q\n", "none of"), (text + "C: NOOP\n", "time"), (text + "1 C: \\{x 99999999999}\n", "\\{"), (text + "1 close nothing\n", "not understood"),
      (text.replacing("begin\n", with: "limit junk x\nbegin\n"), "not understood"),
    ] {
      XCTAssertThrowsError(try Recording(reading: broken), broken) { error in
        XCTAssert("\(error)".contains(message), "\(error)")
      }
    }
  }

  // MARK: Support

  private func recording(_ name: String) throws -> Recording {
    let file = try XCTUnwrap(Fixtures.files(in: "transcripts").first { $0.name.hasSuffix(name) })
    let transcript = try Transcript(reading: file.text)
    let caller = RecordedCaller(transcript.policy, byHand: transcript.byHand)
    for step in transcript.steps { caller.happen(step.event) }
    return caller.finish()
  }

  private func checkReplay(_ recording: Recording, isTranscriptPlayed: Bool = true) throws {
    let read = try Recording(reading: recording.text)
    guard read.text == recording.text else { throw Falsified("what was read is written differently:\n\(read.text)") }
    if let difference = Replay(read).difference() { throw Falsified("\(difference)") }
    guard isTranscriptPlayed else { return }
    let transcript = try Transcript(reading: read.transcript("A test."))
    try transcript.play(.whole, named: "as it stands")
    try transcript.play(.everyOctet, named: "octet by octet")
  }
}
