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

  func testTheOctetsOfReplies() {
    for reply in Reply.allCases {
      let text = "\(reply.text)"
      XCTAssertEqual(Array(reply.octets), Array(text.utf8))
      XCTAssertEqual(reply.octets.withContiguousStorageIfAvailable { Array($0) }, Array(text.utf8))
      XCTAssertEqual(reply.octets.last, 0x0A)
    }
  }
}
