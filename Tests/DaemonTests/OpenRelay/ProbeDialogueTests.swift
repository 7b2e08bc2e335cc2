// ProbeDialogueTests: what a probe sends to a server program, and what it concludes, as transcripts.

import RelayProbe
import XCTest

final class ProbeDialogueTests: XCTestCase {
  /// What follows the lines of a transcript.
  private enum Ending { case finished, ended, expired, misbehaved }

  private let greeted = """
    < 220 mx.example
    > EHLO [192.0.2.1]
    < 250-mx.example
    < 250 SIZE
    > MAIL FROM:<>

    """
  private let refused = """
    < 250 ok
    > RCPT TO:<postmaster@relay-probe.invalid>
    < 550 relay not permitted
    > RCPT TO:<postmaster@[192.0.2.2]>

    """
  private let again = """
    < 501 no literals
    > RSET
    < 250 ok
    > MAIL FROM:<postmaster@relay-probe.invalid>

    """
  private let quit = """
    > QUIT
    < 221 bye

    """

  func testAServerThatRelaysForNobody() {
    assert(
      greeted + refused + again + """
        < 250 ok
        > RCPT TO:<postmaster@relay-probe.invalid>
        < 551 not here
        > RCPT TO:<postmaster@[192.0.2.2]>
        < 501 no literals

        """ + quit, .finished, .refuses(reply: "550 relay not permitted"))
  }

  func testAnyAcceptedRecipientIsAnOpenRelay() {
    let domain = "RCPT TO:<postmaster@relay-probe.invalid>"
    let literal = "RCPT TO:<postmaster@[192.0.2.2]>"
    for reply in ["250 Accepted", "251 will forward", "252 will see"] {
      assert(greeted + "< 250 ok\n> \(domain)\n< \(reply)\n" + quit, .finished, .accepts(command: domain, reply: reply))
    }
    // Servers that look each domain up refuse a name that is none.
    assert(greeted + refused + "< 250 ok\n" + quit, .finished, .accepts(command: literal, reply: "250 ok"))
    // Servers that relay no bounces.
    assert(
      greeted + refused + again + "< 250 ok\n> \(domain)\n< 250 ok\n" + quit, .finished,
      .accepts(command: domain, reply: "250 ok"))
    // It was seen, however the program ends.
    assert(greeted + "< 250 ok\n> \(domain)\n< 250 ok\n> QUIT\n", .ended, .accepts(command: domain, reply: "250 ok"))
  }

  func testTheFirstRefusalCountsHoweverTheProgramEnds() {
    for ending in [Ending.ended, .expired, .misbehaved] {
      assert(greeted + refused, ending, .refuses(reply: "550 relay not permitted"))
    }
  }

  func testADeferredRecipientProvesNothing() {
    assert(
      greeted + "< 250 ok\n> RCPT TO:<postmaster@relay-probe.invalid>\n< 450 greylisted\n> RCPT TO:<postmaster@[192.0.2.2]>\n",
      .ended, .defers(reply: "450 greylisted"))
  }

  func testSendersThatAreRefused() {
    let both = "< 550 no bounces\n> MAIL FROM:<postmaster@relay-probe.invalid>\n< 550 no such domain\n" + quit
    assert(greeted + both, .finished, .untried(reply: "550 no bounces"))
    // A submission server wants authentication first.
    let authentication = "< 530 5.7.0 log in\n> MAIL FROM:<postmaster@relay-probe.invalid>\n< 530 5.7.0 log in\n" + quit
    assert(greeted + authentication, .finished, .refuses(reply: "530 5.7.0 log in"))
  }

  func testHELOAndLHLO() {
    assert(
      "< 220 old\n> EHLO [192.0.2.1]\n< 500 what\n> HELO [192.0.2.1]\n< 250 old\n> MAIL FROM:<>\n" + refused, .ended,
      .refuses(reply: "550 relay not permitted"))
    assert(
      "< 220 lmtp\n> LHLO [192.0.2.1]\n< 250 lmtp\n> MAIL FROM:<>\n" + refused, .ended, .refuses(reply: "550 relay not permitted"),
      isLMTP: true)
    assert(
      "< 220 smtp\n> LHLO [192.0.2.1]\n< 500 what\n", .finished, .broken("answers LHLO [192.0.2.1] with \"500 what\""), isLMTP: true)
  }

  func testWhatDoesNotWork() {
    assert("", .ended, .broken("ends without a greeting"))
    assert("", .expired, .broken("sends no greeting in time"))
    assert("< 220-mx.example\n", .misbehaved, .broken("sends more than it was asked for"))
    assert("< 554 not for you\n", .finished, .broken("greets with \"554 not for you\""))
    assert("< SSH-2.0-x\n", .finished, .broken("greets with \"SSH-2.0-x\""))
    assert("< 22\n", .finished, .broken("greets with \"22\""))
    assert(greeted, .ended, .broken("ends without an answer to MAIL FROM:<>"))
    assert(greeted + "< 250 ok\n> RCPT TO:<postmaster@relay-probe.invalid>\n", .expired,
      .broken("does not answer RCPT TO:<postmaster@relay-probe.invalid> in time"))
    let endless = String(repeating: "< 220-more\n", count: 128)
    assert(endless + "< 220-more\n", .finished, .broken("greets with \"220-more\""))
  }

  /// Plays a transcript: `<` is the program's line, `>` the command that must follow it.
  private func assert(
    _ transcript: String, _ ending: Ending, _ finding: RelayFinding, isLMTP: Bool = false, file: StaticString = #filePath,
    line: UInt = #line
  ) {
    var dialogue = ProbeDialogue(isLMTP: isLMTP)
    var action = ProbeDialogue.Action.wait
    for entry in transcript.split(separator: "\n") {
      let text = String(entry.dropFirst(2))
      if entry.hasPrefix("<") {
        action = dialogue.receive(text)
      } else {
        XCTAssertEqual(action, .send(text + "\r\n"), transcript, file: file, line: line)
      }
    }
    switch ending {
    case .finished: XCTAssertEqual(action, .finished, transcript, file: file, line: line)
    case .ended: dialogue.ended()
    case .expired: dialogue.expired()
    case .misbehaved: dialogue.misbehaved()
    }
    XCTAssertEqual(dialogue.finding, finding, transcript, file: file, line: line)
  }
}
