// The tokens that the control's explorer spells out are all that the scanners can make.

import XCTest

@testable import SMTPState
@testable import SessionKit

final class ControlAlphabetTests: XCTestCase {
  private static func policy(_ bareLineFeed: Policy.BareLineFeed) -> Policy {
    var policy = Policy()
    policy.bareLineFeed = bareLineFeed
    policy.commandLineLimit = 16
    policy.responseLineLimit = 4
    policy.replyLineLimit = 16
    policy.replyLinesLimit = 3
    policy.chunkLimit = 2
    return policy
  }

  func testNoLineOfTheClientIsMissing() {
    var response = CommandScanner()
    response.expectResponse()
    for policy in [Self.policy(.tolerate), Self.policy(.reject)] {
      let (limits, alphabet) = (Limits(policy), ControlAlphabet(policy))
      for inClear in [true, false] {
        var made: Set<SMTPState.ClientLine> = []
        _ = ScannerExplorationTests.explore([CommandScanner(), response]) { scanner, octet in
          if case .line(let line, _) = scanner.scan(octet, limits, inClear: inClear) { made.insert(line) }
          return true
        }
        var spelled: Set<SMTPState.ClientLine> = []
        for (start, tokens) in [(CommandScanner(), alphabet.commands), (response, alphabet.responses)] {
          for case .says(_, let octets) in tokens {
            var scanner = start
            for octet in octets {
              if case .line(let line, _) = scanner.scan(octet, limits, inClear: inClear) { spelled.insert(line) }
            }
          }
        }
        XCTAssertEqual(made.subtracting(spelled), [])
        XCTAssertGreaterThan(made.count, 60)
      }
    }
  }

  func testNoLineOfTheServerIsMissing() {
    let policy = Self.policy(.tolerate)
    let (limits, alphabet) = (Limits(policy), ControlAlphabet(policy))
    var made: [SMTPState.ServerLine] = []
    _ = ScannerExplorationTests.explore([ReplyScanner()]) { scanner, octet in
      switch scanner.scan(octet, limits, findsKeywords: true) {
      case .more: return true
      case .line(let line):
        if !made.contains(line) { made.append(line) }
        return true
      case .garbage: return false
      }
    }
    var spelled: [SMTPState.ServerLine] = []
    for earlier in [""] + ControlAlphabet.codes.map({ "\($0)-\n" }) {
      for case .says(_, let octets) in alphabet.lines + alphabet.listings {
        var scanner = ControlAlphabet.scanner(after: earlier, policy)
        for octet in octets {
          if case .line(let line) = scanner.scan(octet, limits, findsKeywords: true) { spelled.append(line) }
        }
      }
    }
    XCTAssertEqual(made.filter { !spelled.contains($0) }, [])
    XCTAssertGreaterThan(made.count, 100)
  }
}
