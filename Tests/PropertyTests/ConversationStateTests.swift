// What a driver asks a conversation besides its octets and decisions: room, the line that was forwarded last, whether a
// reply of its own is allowed. And every line that the limits allow fits into the buffers.

import SMTPState
import XCTest

final class ConversationStateTests: XCTestCase {
  private typealias Conversation = SMTPState.SMTPConversation

  private func give(_ text: String, _ party: Party, _ conversation: inout Conversation) {
    give(Array(text.utf8), party, &conversation)
  }

  private func give(_ octets: [UInt8], _ party: Party, _ conversation: inout Conversation) {
    XCTAssertEqual(conversation.receive(octets.span, from: party), octets.count)
  }

  /// Sends everything, at most `limit` octets.
  @discardableResult
  private func send(_ party: Party, _ conversation: inout Conversation, _ limit: Int = .max) -> String {
    var sent: [UInt8] = []
    conversation.withOutput(to: party) { octets in
      for index in 0..<min(octets.count, limit) { sent.append(octets[index]) }
      return sent.count
    }
    return String(decoding: sent, as: UTF8.self)
  }

  /// A session up to STARTTLS, which waits for the answer to a peek.
  private func requestTLS(_ conversation: inout Conversation) {
    give("220 mx\r\n", .server, &conversation)
    give("EHLO c\r\n", .client, &conversation)
    give("250 mx\r\n", .server, &conversation)
    give("STARTTLS\r\n", .client, &conversation)
    send(.client, &conversation)
    send(.server, &conversation)
  }

  private func lastLine(_ conversation: borrowing Conversation) -> String {
    var line: [UInt8] = []
    conversation.withLastLine { for index in $0.indices { line.append($0[index]) } }
    return String(decoding: line, as: UTF8.self)
  }

  func testTheLastLineIsThereUntilSomeOfItIsSent() {
    var conversation = Conversation(Policy())
    give("220 mx\r\n", .server, &conversation)
    XCTAssertEqual(lastLine(conversation), "")
    give("NOOP\r\nEHLO client.example\r\n", .client, &conversation)
    XCTAssertEqual(lastLine(conversation), "NOOP\r\n")
    give("250 ok\r\n", .server, &conversation)
    XCTAssertEqual(conversation.lastVerb, .ehlo)
    XCTAssertEqual(lastLine(conversation), "EHLO client.example\r\n")
    XCTAssertEqual(send(.server, &conversation, 6), "NOOP\r\n")
    XCTAssertEqual(lastLine(conversation), "EHLO client.example\r\n")
    send(.server, &conversation, 1)
    XCTAssertEqual(lastLine(conversation), "")
    send(.server, &conversation)
    give("250 mx\r\n", .server, &conversation)
    give("RSET\r\n", .client, &conversation)
    XCTAssertEqual(lastLine(conversation), "RSET\r\n")
    conversation.dropOutput(to: .server)
    XCTAssertEqual(lastLine(conversation), "")
  }

  func testAReplyIsAllowedBetweenRepliesOnly() {
    var conversation = Conversation(Policy())
    XCTAssertTrue(conversation.allowsReply)
    give("220-mx\r\n", .server, &conversation)
    XCTAssertFalse(conversation.allowsReply, "in the middle of the greeting")
    give("220 mx\r\n", .server, &conversation)
    XCTAssertTrue(conversation.allowsReply)
    give("EHLO c\r\n", .client, &conversation)
    XCTAssertTrue(conversation.allowsReply, "no line of the reply was passed on")
    give("250-mx\r\n250-SIZE\r\n", .server, &conversation)
    XCTAssertFalse(conversation.allowsReply)
    give("250 HELP\r\n", .server, &conversation)
    give("STARTTLS\r\n", .client, &conversation)
    XCTAssertEqual(conversation.nextDecision(), .peek(.client))
    conversation.peeked(nil, ended: false)
    XCTAssertEqual(conversation.interest, .drain)
    XCTAssertFalse(conversation.allowsReply, "after the 220")
    send(.client, &conversation)
    send(.server, &conversation)
    XCTAssertFalse(conversation.allowsReply, "a decision is pending")
    XCTAssertEqual(conversation.nextDecision(), .endServer)
    guard case .handoff? = conversation.nextDecision() else { return XCTFail("no handoff") }
    XCTAssertFalse(conversation.allowsReply, "during the handshake")
    conversation.handshakeFinished(.established)
    XCTAssertEqual(conversation.nextDecision(), .restart)
    XCTAssertTrue(conversation.allowsReply)
    conversation.serverRestarted(.ready)
    XCTAssertTrue(conversation.allowsReply)
    give("MAIL FROM:<a@b>\r\n", .client, &conversation)
    XCTAssertNotNil(conversation.nextDecision())
  }

  func testADecisionSurvivesTheReleaseOfTheMemory() {
    var conversation = Conversation(Policy())
    requestTLS(&conversation)
    conversation.releaseMemory()
    XCTAssertEqual(conversation.nextDecision(), .peek(.client))
    conversation.releaseMemory()
    conversation.peeked(nil, ended: false)
    XCTAssertEqual(send(.client, &conversation), "220 2.0.0 Ready to start TLS\r\n")
    conversation.releaseMemory()
    XCTAssertEqual(conversation.nextDecision(), .endServer)
    conversation.releaseMemory()
    guard case .handoff? = conversation.nextDecision() else { return XCTFail("no handoff") }
    XCTAssertNil(conversation.nextDecision())
  }

  /// The answer to a peek comes before the caller has fetched it: the session continues, and nothing is to be peeked at.
  func testAPeekThatIsAnsweredBeforeItIsFetchedDoesNotCome() {
    for reset in [Policy.ServerReset.restart, .rset] {
      var policy = Policy()
      policy.serverReset = reset
      var conversation = Conversation(policy)
      requestTLS(&conversation)
      conversation.tlsUnavailable()
      XCTAssertNil(conversation.nextDecision(), "\(reset)")
      XCTAssertEqual(send(.client, &conversation), "454 4.7.0 TLS not available due to temporary reason\r\n")
      give("NOOP\r\n", .client, &conversation)
      XCTAssertEqual(send(.server, &conversation), "NOOP\r\n")
    }
  }

  func testDiscardedOctetsAreGone() {
    var conversation = Conversation(Policy())
    give("220 mx\r\n", .server, &conversation)
    give("NOOP\r\nNOO", .client, &conversation)
    conversation.discard()
    XCTAssertEqual(conversation.outputCount(to: .client) + conversation.outputCount(to: .server), 0)
    XCTAssertEqual(lastLine(conversation), "")
    XCTAssertNil(conversation.nextDecision())
  }

  /// Without room nothing is consumed; a closing reply still fits.
  func testWithoutRoomNoPartyIsWanted() {
    var conversation = Conversation(Policy())
    var lines = 0
    while conversation.wants(.server), lines < 1_000 {
      give("220-" + String(repeating: "x", count: 90) + "\r\n", .server, &conversation)
      lines += 1
    }
    XCTAssertFalse(conversation.hasRoomForReplies)
    XCTAssertEqual(conversation.interest, .server)
    XCTAssertEqual(conversation.receive(Array("220 x\r\n".utf8).span, from: .server), 0)
    conversation.timerExpired(.greeting)
    XCTAssertEqual(conversation.nextDecision(), .abort(.greetingTimeout))
    XCTAssertEqual(conversation.nextDecision(), .close(.greetingTimeout))
  }

  /// Every line of a length that the limits allow fits into its hold and into the output, so that an append never fails.
  func testEveryLineThatALimitAllowsFits() {
    for limit in [1, 2, 4, 5, 6, 7, 8, 20, 255, 512, 2_048, 12_288, 65_534, 65_535] {
      for length in [limit - 1, limit, limit + 1] {
        for pieces in [7, 4_096, Int.max] where pieces > 7 || limit < 1_000 { play(limit, length, pieces) }
      }
    }
  }

  /// A dialogue with lines of that length, some of which wait for a reply. Output is sent only when nothing else moves.
  private func play(_ limit: Int, _ length: Int, _ pieces: Int) {
    var policy = Policy()
    policy.commandLineLimit = limit
    policy.responseLineLimit = limit
    policy.replyLineLimit = limit
    policy.allowsCleartextAuthentication = true
    let what = "limit \(limit), lines of \(length), pieces of \(pieces)"
    var conversation = Conversation(policy)
    let noop = Array("NOOP\r\n".utf8)
    var client = (noop + line("EHLO ", length) + noop + line("AUTH P", length) + line("", length))[...]
    client += noop + line("MAIL ", length)
    var replies = [
      line("220-", length) + line("220 ", length), line("250 ", length),
      line("250-", length) + line("250-", length) + line("250 ", length), line("250 ", length), line("334 ", length),
      line("235 ", length), line("250 ", length),
    ]
    var server: ArraySlice<UInt8> = []
    var hasRelayed = false
    while true {
      while let decision = conversation.nextDecision() {
        XCTAssertNotEqual(decision, .close(.misuse), what)
        XCTAssertNotEqual(decision, .abort(.misuse), what)
        if decision == .relay { hasRelayed = true }
      }
      // The client first: what has to wait for a reply is held.
      let taken = conversation.receive(Array(client.prefix(pieces)).span, from: .client)
      client = client.dropFirst(taken)
      if taken > 0 { continue }
      let isReplyPending = conversation.deadline == .greeting || conversation.deadline == .reply
      if server.isEmpty, isReplyPending, !replies.isEmpty { server = replies.removeFirst()[...] }
      let consumed = conversation.receive(Array(server.prefix(pieces)).span, from: .server)
      server = server.dropFirst(consumed)
      if consumed > 0 { continue }
      if conversation.outputCount(to: .client) + conversation.outputCount(to: .server) == 0 { break }
      conversation.dropOutput(to: .client)
      conversation.dropOutput(to: .server)
    }
    if limit >= 20 { XCTAssertEqual(hasRelayed, length <= limit, what) }
  }

  private func line(_ start: String, _ length: Int) -> [UInt8] {
    Array(start.utf8) + [UInt8](repeating: 0x78, count: max(0, length - start.utf8.count - 2)) + [0x0D, 0x0A]
  }
}
