// Commands, steps and replies as text and octets, as a log has them.

import SMTPState
import XCTest

final class DescriptionTests: XCTestCase {
  func testCommandsAndSteps() {
    XCTAssertEqual("\(Command.reply(.badSequence))", "reply 503 5.5.1 Bad sequence of commands")
    XCTAssertEqual("\(Command.forward(.ehlo)), \(Command.forward(.response))", "forward EHLO, forward response")
    XCTAssertEqual("\(Command.pass(.hyphen)), \(Command.drop(.client))", "pass, separator hyphen, drop client")
    XCTAssertEqual("\(Command.peek(.newServer)), \(Command.abort(.clientEnded))", "peek new server, abort client ended")
    XCTAssertEqual("\(Step(consumed: 7, command: .close(.tlsFailed)))", "close tls failed, 7 consumed")
  }

  /// Each name is that of the case, in words.
  func testNames() {
    func words(_ value: some Any) -> String {
      "\(value)".reduce(into: "") { $0 += $1.isUppercase ? " \($1.lowercased())" : "\($1)" }
    }
    for party in Party.allCases { XCTAssertEqual("\(party.name)", words(party)) }
    for hold in Hold.allCases { XCTAssertEqual("\(hold.name)", words(hold)) }
    for kind in Deadline.allCases { XCTAssertEqual("\(kind.name)", words(kind)) }
    for phase in Phase.allCases { XCTAssertEqual("\(phase.name)", words(phase)) }
    for verb in Verb.allCases {
      XCTAssertEqual("\(verb.name)", [.other, .blank, .response].contains(verb) ? "\(verb)" : "\(verb)".uppercased())
    }
  }

  func testEveryCommand() {
    let commands: [(Command, String)] = [
      (.keep, "keep"), (.drop(.reply), "drop reply"), (.forward(.mail), "forward MAIL"), (.pass(.kept), "pass, separator kept"),
      (.stash, "stash"), (.passEarlier(.space), "pass earlier, separator space"), (.resetServer, "reset server"),
      (.peek(.client), "peek client"), (.endServer, "end server"), (.restart, "restart"), (.relay, "relay"),
    ]
    for (command, text) in commands { XCTAssertEqual("\(command)", text) }
    // Only a session makes a handoff: the one at the end of the clear phase.
    var session = SMTPState.SMTPSession(Policy())
    var seen: [String] = []
    for (text, party) in [("220 a\r\n", Party.server), ("EHLO c\r\n", .client), ("250 a\r\n", .server), ("STARTTLS\r\n", .client)] {
      _ = session.receive(Array(text.utf8).span, from: party)
      while session.interest == .again { _ = session.nextCommand() }
    }
    _ = session.peeked(nil, ended: false)
    seen.append("\(session.outputDrained())")
    while session.interest == .again { seen.append("\(session.nextCommand())") }
    XCTAssertEqual(seen, ["end server", "handoff"])
  }

  func testTheOctetsOfReplies() {
    for reply in Reply.allCases {
      let text = "\(reply.text)"
      XCTAssertEqual(Array(reply.octets), Array(text.utf8))
      XCTAssertEqual(reply.octets.withContiguousStorageIfAvailable { Array($0) }, Array(text.utf8))
      XCTAssertEqual(reply.octets.last, 0x0A)
    }
  }
}
