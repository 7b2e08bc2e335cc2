// ServerReplayTests: a server that takes the place of a learnt one must send what was learnt, octet by octet.

@testable import Transport
import XCTest

final class ServerReplayTests: XCTestCase {
  private let replies = LearntReplies(
    greeting: Array("220-mx.example\r\n220 ESMTP\r\n".utf8), hello: Array("250-mx.example\r\n250-PIPELINING\r\n250 SIZE 1000\r\n".utf8),
    quit: Array("221 bye\r\n".utf8))
  private let line = Array("EHLO client.example\r\n".utf8)

  /// In pieces of every size: the greeting, then EHLO, then the reply to it.
  func testTheDialogue() {
    for size in 1...40 {
      var replay = ServerReplay(replies, hello: line)
      XCTAssertEqual(take(&replay, replies.greeting.dropLast(), size), .same)
      XCTAssertTrue(replay.toSend.isEmpty, "EHLO before the greeting")
      XCTAssertEqual(take(&replay, replies.greeting.suffix(1)), .same)
      XCTAssertFalse(replay.isComplete)
      var sent: [UInt8] = []
      while !replay.toSend.isEmpty, sent.count < 2 * line.count {
        XCTAssertEqual(replay.wanted, 0)
        let piece = replay.toSend.prefix(size)
        sent += piece
        replay.sent(piece.count)
      }
      XCTAssertEqual(sent, line)
      XCTAssertEqual(take(&replay, replies.hello, size), .same)
      XCTAssertTrue(replay.isComplete && replay.wanted == 0)
    }
  }

  func testAClientThatHasNotSentEHLO() {
    var replay = ServerReplay(replies, hello: [])
    XCTAssertEqual(take(&replay, replies.greeting), .same)
    XCTAssertTrue(replay.isComplete && replay.toSend.isEmpty && replay.wanted == 0)
  }

  /// Each octet of the greeting and of the reply to EHLO counts, in a whole reply and one at a time.
  func testAnotherOctet() {
    for size in [1, 100] {
      for (position, octet) in replies.greeting.enumerated() {
        var replay = ServerReplay(replies, hello: line)
        var other = replies.greeting
        other[position] = octet ^ 1
        XCTAssertEqual(take(&replay, other, size), .different, "\(position)")
        XCTAssertFalse(replay.isComplete)
      }
      for (position, octet) in replies.hello.enumerated() {
        var replay = afterEHLO()
        var other = replies.hello
        other[position] = octet ^ 1
        XCTAssertEqual(take(&replay, other, size), .different, "\(position)")
        XCTAssertFalse(replay.isComplete)
      }
    }
  }

  /// A server that no longer lists a keyword, or ends after a part of the reply.
  func testAKeywordLess() {
    var replay = afterEHLO()
    XCTAssertEqual(take(&replay, Array("250-mx.example\r\n250 SIZE 1000\r\n".utf8)), .different)
    replay = afterEHLO()
    XCTAssertEqual(take(&replay, replies.hello.dropLast()), .same)
    XCTAssertFalse(replay.isComplete)
  }

  /// 4yz counts as such only in place of a reply, not within one.
  func testTemporaryFailures() {
    var replay = ServerReplay(replies, hello: line)
    XCTAssertEqual(take(&replay, Array("421 busy\r\n".utf8)), .temporaryFailure)
    replay = afterEHLO()
    XCTAssertEqual(take(&replay, Array("452 full\r\n".utf8)), .temporaryFailure)
    replay = afterEHLO()
    XCTAssertEqual(take(&replay, Array("250-mx.example\r\n".utf8)), .same)
    XCTAssertEqual(take(&replay, Array("421 busy\r\n".utf8)), .different)
  }

  /// The replay before the reply to EHLO.
  private func afterEHLO() -> ServerReplay {
    var replay = ServerReplay(replies, hello: line)
    XCTAssertEqual(take(&replay, replies.greeting), .same)
    replay.sent(line.count)
    return replay
  }

  /// What the server sends, in pieces of at most so many octets, until one of them is not the same.
  private func take(_ replay: inout ServerReplay, _ octets: some Collection<UInt8>, _ size: Int = 100) -> ServerReplay.Comparison {
    var rest = Array(octets)[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(min(size, max(1, replay.wanted))))
      rest = rest.dropFirst(piece.count)
      let comparison = piece.withUnsafeBytes { replay.received($0) }
      guard comparison == .same else { return comparison }
    }
    return .same
  }
}
