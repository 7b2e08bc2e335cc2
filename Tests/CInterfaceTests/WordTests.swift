// The words of the header against those of Swift, and the numbers against the words; policies and layout.

import CSMTPState
import SMTPState
import XCTest

@testable import CSessionKit

final class WordTests: XCTestCase {
  /// Words of a Swift case: `clearPhase` is "clear phase".
  private func words(_ value: some Any) -> String {
    "\(value)".reduce(into: "") { $0 += $1.isUppercase ? " \($1.lowercased())" : "\($1)" }
  }

  func testReplies() {
    for reply in Reply.allCases {
      let number = smtpstate_reply(UInt32(reply.rawValue) + 1)
      XCTAssertEqual(String(cString: smtpstate_reply_text(number)), String(decoding: reply.octets, as: UTF8.self))
    }
    for number in [0, UInt32(Reply.allCases.count) + 1, 256, .max] {
      XCTAssertEqual(String(cString: smtpstate_reply_text(smtpstate_reply(number))), "")
    }
  }

  func testNames() {
    for reason in Reason.allCases {
      XCTAssertEqual(String(cString: smtpstate_reason_name(smtpstate_reason(UInt32(reason.rawValue) + 1))), "\(reason.name)")
    }
    for verb in Verb.allCases {
      let name = [.other, .blank, .response].contains(verb) ? "\(verb)" : "\(verb)".uppercased()
      XCTAssertEqual(String(cString: smtpstate_verb_name(smtpstate_verb(UInt32(verb.rawValue) + 1))), name)
    }
    for deadline in Deadline.allCases {
      XCTAssertEqual(String(cString: smtpstate_deadline_name(deadline.c)), words(deadline))
    }
    for phase in Phase.allCases {
      XCTAssertEqual(String(cString: smtpstate_phase_name(phase.c)), words(phase))
    }
    for number in [0, 100, 256, 257, UInt32.max] {
      XCTAssertEqual(String(cString: smtpstate_reason_name(smtpstate_reason(number))), "none")
      XCTAssertEqual(String(cString: smtpstate_verb_name(smtpstate_verb(number))), "none")
      XCTAssertEqual(String(cString: smtpstate_deadline_name(smtpstate_deadline(number))), "none")
      XCTAssertEqual(String(cString: smtpstate_phase_name(smtpstate_phase(number))), "none")
    }
  }

  func testPolicies() {
    var policy = smtpstate_policy()
    smtpstate_policy_init(&policy)
    XCTAssertEqual(smtpstate_policy_client_hold_capacity(&policy), Int(SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY))
    XCTAssertEqual(smtpstate_policy_reply_hold_capacity(&policy), Int(SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY))
    XCTAssertEqual(smtpstate_policy_client_hold_capacity(nil), Policy().clientHoldCapacity)
    XCTAssertEqual(smtpstate_policy_reply_hold_capacity(nil), Policy().replyHoldCapacity)
    for deadline in Deadline.allCases {
      let expected = Int64(Policy().milliseconds(of: deadline))
      XCTAssertEqual(smtpstate_policy_milliseconds(&policy, deadline.c), expected)
      XCTAssertEqual(smtpstate_policy_milliseconds(nil, deadline.c), expected)
    }
    // Each limit and each timer is the one that its name says.
    var changed = Policy()
    for (place, (_, path)) in Transcript.limits.enumerated() { changed[keyPath: path] = 200 + place }
    XCTAssertNotEqual(SMTPState.SMTPSession(changed), SMTPState.SMTPSession(Policy()))
    policy.handshake_timeout_milliseconds = .max
    XCTAssertEqual(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_HANDSHAKE), Int64(UInt32.max))
  }

  func testLayout() {
    XCTAssertLessThanOrEqual(8 + MemoryLayout<SMTPState.SMTPSession>.size, MemoryLayout<smtpstate_session>.size)
    XCTAssertLessThanOrEqual(MemoryLayout<SMTPState.SMTPSession>.alignment, MemoryLayout<smtpstate_session>.alignment)
    XCTAssertEqual(MemoryLayout<smtpstate_policy>.size, 68)
    XCTAssertEqual(MemoryLayout<smtpstate_command>.size, 8)
  }

  /// The rule of the held line, against the one that the tests' caller spells out.
  func testHeldLine() {
    for text in ["250-SIZE\r\n", "250\r\n", "250\n", "2\n", "\n", "\r\n", "\r", "250 x", "NOOP\r\r\n", "abc"] {
      for separator in [ReplySeparator.kept, .hyphen, .space] {
        var line = Array(text.utf8) + [0xEE, 0xEE, 0xEE]
        let length = smtpstate_finish_line(&line, text.utf8.count, separator.c)
        XCTAssertEqual(Array(line[..<length]), Self.finished(Array(text.utf8), separator), text.debugDescription)
      }
    }
    XCTAssertEqual(smtpstate_finish_line(nil, 4, 0), 0)
    var line: [UInt8] = [0xEE]
    XCTAssertEqual(smtpstate_finish_line(&line, 0, 0x2D), 0)
    XCTAssertEqual(line, [0xEE])
  }

  private static func finished(_ line: [UInt8], _ separator: ReplySeparator) -> [UInt8] {
    var text = line
    if text.last == 0x0A {
      text.removeLast()
      if text.last == 0x0D { text.removeLast() }
    }
    switch separator {
    case .kept: break
    case .hyphen, .space: if text.count > 3 { text[3] = separator.c } else { text.append(separator.c) }
    }
    return text + [0x0D, 0x0A]
  }
}
