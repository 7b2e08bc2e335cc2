// DamagedRecordingTests: a recording may come from a stranger. Whatever is in it, it is refused or replayed; nothing traps.

import PropertyCases
import PropertyKit
import SMTPState
import SessionRecording
import Transport
import XCTest

@testable import SessionKit

final class DamagedRecordingTests: XCTestCase {
  /// The beginning of a line in one event with the line before it, with output between its beginning and its end.
  func testALineThatBeginsInTheMiddleOfAnEvent() throws {
    let head = "starttls recording 1\nbegin\n0 S: 220 mx.example ESMTP\n0 c: 220 mx.example xxxxx\n1 C: FOO\\r\\nMA\\\n"
    let recording = try Recording(reading: head + "1 c: 502 5.5.1 Command not implemented\n2 client ended\n")
    XCTAssertNotNil(Replay(recording).difference(), "the end of the session is missing")
  }

  /// A few octets of text may stand for very many: the reader stops before it has them.
  func testARecordingThatStandsForTooMuchIsRefused() {
    let head = "starttls recording 1\nbegin\n"
    XCTAssertNoThrow(try Recording(reading: head + String(repeating: "1 C: \\{x 1000000}\\\n", count: 8)))
    for (line, count, last) in [("1 C: \\{x 1000000}\\\n", 100, 11), ("1 drained\n", 140_000, 131_075)] {
      XCTAssertThrowsError(try Recording(reading: head + String(repeating: line, count: count))) { error in
        XCTAssertEqual("\(error)", "line \(last): the recording stands for more than 8388608 octets")
      }
    }
  }

  /// The time of a replay has a limit: with long runs, at the fewest places; with many events, it grows with their number only.
  func testALongRecordingIsReplayedInTime() throws {
    let head = "starttls recording 1\nbegin\n0 S: 220 mx\n0 c: 220 mx\n"
    let run = try Recording(reading: head + "1 C: \\{x 300000}\\\n")
    let replay = Replay(run, octetsLimit: 1 << 22)
    XCTAssertLessThan(replay.counts.cuts, 20)
    XCTAssertGreaterThan(replay.counts.cuts, 10)
    let events = try Recording(reading: head + String(repeating: "1 drained\n", count: 20_000))
    let elapsed = ContinuousClock().measure {
      XCTAssertNil(replay.difference())
      XCTAssertNil(Replay(events).difference())
    }
    // Each event against each: minutes. Each run at each octet: hours.
    XCTAssertLessThan(elapsed, .seconds(60))
  }

  /// What starttlsd records by default, 64 KiB in runs of a read buffer, is divided at each octet.
  func testARecordingOfUsualSizeIsDividedAtEachOctet() throws {
    let head = "starttls recording 1\nbegin\n"
    let recording = try Recording(reading: head + String(repeating: "1 C: \\{x 16384}\\\n", count: 4))
    XCTAssertEqual(Replay(recording).counts.cuts, 4 * 16_383)
  }

  /// Lines are removed, doubled, exchanged and joined, octets are changed, and the text is cut: always in the same way.
  func testDamageNeverEndsTheReader() throws {
    var state: UInt64 = 7
    func below(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(max(1, limit)))
    }
    var (read, refused) = (0, 0)
    for name in ["switch/rset.smtp", "clients/rfc-3207.smtp", "clients/ehlo-and-mail.smtp"] {
      let file = try XCTUnwrap(Fixtures.files(in: "transcripts").first { $0.name.hasSuffix(name) })
      let transcript = try Transcript(reading: file.text)
      let caller = RecordedCaller(transcript.policy, byHand: transcript.byHand, spanLimit: 5)
      for step in transcript.steps { caller.happen(step.event) }
      let lines = caller.finish().text.utf8.split(separator: 0x0A).map { Array($0) }
      let begin = try XCTUnwrap(lines.firstIndex(of: Array("begin".utf8)))
      for _ in 0..<100 {
        var damaged = lines
        for _ in 0...below(3) {
          // The head more seldom: almost all damage to it is refused.
          let index = below(8) == 0 ? below(damaged.count) : min(damaged.count - 1, begin + 1 + below(damaged.count - begin - 1))
          switch below(6) {
          case 0 where damaged.count > begin + 2: damaged.remove(at: index)
          case 1: damaged.insert(damaged[index], at: index)
          case 2: damaged.swapAt(index, min(damaged.count - 1, index + 1))
          case 3: damaged[index] += Array("\\r\\nMA\\".utf8)
          case 4: damaged[index].removeLast(min(damaged[index].count, below(4)))
          default: if !damaged[index].isEmpty { damaged[index][below(damaged[index].count)] = UInt8(0x20 + below(0x5F)) }
          }
        }
        let text = String(decoding: Array(damaged.joined(separator: [0x0A])), as: UTF8.self)
        guard let recording = try? Recording(reading: text) else {
          refused += 1
          continue
        }
        read += 1
        _ = Replay(recording).difference()
        _ = recording.transcript("Damaged.")
      }
    }
    XCTAssertGreaterThan(read, 60)
    XCTAssertGreaterThan(refused, 20)
  }

  // MARK: What a recorder takes

  /// A line that has not ended is held twice. A recorder that was stopped takes no more.
  func testTheMemoryOfARecorder() {
    let recorder = SessionRecorder(
      Recording(program: "test", session: "1", date: "2026-11-29T00:00:00Z", policy: Policy()), limit: 1 << 16, now: { 0 })
    recorder.received([UInt8](repeating: 0x61, count: 1_000).span, as: .command)
    XCTAssertGreaterThanOrEqual(recorder.memory, 2_000)
    recorder.received([0x0D, 0x0A].span, as: .command)
    XCTAssertLessThan(recorder.memory, 1_500)
    recorder.stop()
    let memory = recorder.memory
    recorder.received([UInt8](repeating: 0x61, count: 1_000).span, as: .command)
    XCTAssertEqual(recorder.memory, memory)
    XCTAssertEqual(recorder.finish("quit").entries.map(\.content).suffix(2), [.full, .over("quit")])
  }

  // MARK: Redaction

  /// What an operator asks to keep is an address or a name, not the text of a line that begins with such a verb.
  func testTextAfterAVerbIsNotKept() {
    let redaction = Redaction(keepsMailAddresses: true, keepsClientName: true)
    for (line, kept) in [
      ("Mail Bob the password\r\n", "Mail xxxxxxxxxxxxxxxx\r\n"),
      ("MAIL FROM:<bob@b.example> SIZE=9 secret\r\n", "MAIL FROM:<bob@b.example> SIZE=9 xxxxxx\r\n"),
      ("RCPT TO:<the password>\r\n", "RCPT TO:<xxxxxxxxxxxx>\r\n"), ("rcpt to:<bob@b.example>secret\r\n", "rcpt to:<bob@b.example>xxxxxx\r\n"),
      ("MAIL FROM:<bob\r\n", "MAIL xxxxxxxxx\r\n"), ("EHLO the password\r\n", "EHLO xxxxxxxxxxxx\r\n"),
      ("EHLO c.example\r\n", "EHLO c.example\r\n"), ("HELO [IPv6:::1]\r\n", "HELO [IPv6:::1]\r\n"), ("EHLO pass,word\r\n", "EHLO xxxxxxxxx\r\n"),
    ] {
      let shown = redaction.command(Array(line.utf8))
      XCTAssertEqual(String(decoding: shown, as: UTF8.self), kept)
      XCTAssertEqual(redaction.command(shown), shown, kept)
    }
  }

  /// A transcript goes to a terminal, too.
  func testATranscriptHasNoControlCharacters() throws {
    let recording = Recording(
      program: "\u{1B}[2J", session: "1", date: "\u{7}", policy: SMTPSession.Policy())
    let text = recording.transcript("\u{1B}]0;x\u{7}")
    XCTAssertFalse(text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, text)
    XCTAssertTrue(text.contains("\\x1B[2J"), text)
  }
}
