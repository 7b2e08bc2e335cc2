// ScriptedSession: a Dialogue with a caller that stores in memory and writes everything down.
//
// The caller checks the contract as it goes: nothing is stored outside a message, nothing is committed that was not
// begun, and a call makes progress or waits.

import MaildirSMTPD
import XCTest

/// What a dialogue did, as lines of a transcript.
struct ScriptedSession {
  static let policy = Dialogue.Policy(host: "mx.example", sizeLimit: 60, recipientsLimit: 3)

  /// Replies without CRLF, lines of one reply joined by `|`, and what happened to messages:
  /// `begin <sender> <recipient>...`, `abandon`, `store TEXT`.
  private(set) var events: [String] = []

  /// What `began` and `committed` are answered with, and whether storing fails after the first octets.
  var opening: Dialogue.StorageFailure?
  var committing: Dialogue.StorageFailure?
  var writing: Dialogue.StorageFailure?

  private var dialogue: Dialogue
  private var content: [UInt8] = []
  private var isStoring = false
  private var isClosed = false

  init(policy: Dialogue.Policy = ScriptedSession.policy) {
    dialogue = Dialogue(policy)
  }

  /// Gives all octets, in pieces of the given sizes; the last size is repeated.
  mutating func send(_ octets: [UInt8], cutAt sizes: [Int]) {
    var rest = octets[...]
    var index = 0
    while !rest.isEmpty {
      let size = min(rest.count, max(1, sizes[min(index, sizes.count - 1)]))
      feed(rest.prefix(size))
      rest = rest.dropFirst(size)
      index += 1
    }
  }

  private mutating func feed(_ piece: ArraySlice<UInt8>) {
    var rest = piece
    while !rest.isEmpty, !isClosed {
      let step = dialogue.receive(rest, storing: &content)
      XCTAssertLessThanOrEqual(step.consumed, rest.count)
      rest = rest.dropFirst(step.consumed)
      if !content.isEmpty {
        XCTAssertTrue(isStoring, "stored outside a message")
        if let writing, content.count > 4 {
          content = []
          isStoring = false
          self.writing = nil
          dialogue.failed(writing)
        }
      }
      if step.action == .wait {
        XCTAssertFalse(step.consumed == 0, "no octet consumed and nothing to do")
      }
      carryOut(step.action)
    }
  }

  private mutating func carryOut(_ action: Dialogue.Action) {
    switch action {
    case .wait: break
    case .reply(let reply): say(reply)
    case .begin(let envelope):
      events.append("begin " + ([envelope.sender] + envelope.recipients).map(\.description).joined(separator: " "))
      isStoring = opening == nil
      carryOut(dialogue.began(opening))
    case .abandon:
      XCTAssertTrue(isStoring)
      events.append("abandon")
      content = []
      isStoring = false
    case .commit:
      XCTAssertTrue(isStoring)
      events.append("store " + String(decoding: content, as: UTF8.self))
      content = []
      isStoring = false
      carryOut(dialogue.committed(committing.map { .failure($0) } ?? .success("name")))
    case .close(let reply):
      say(reply)
      isClosed = true
    }
  }

  private mutating func say(_ reply: Reply) {
    XCTAssertTrue(reply.text.hasSuffix("\r\n"))
    XCTAssertTrue(reply.text.utf8.allSatisfy { $0 < 0x7F })
    events.append(String(reply.text.dropLast().replacing("\r\n", with: "|")))
  }
}

/// Runs a script whole and asserts what happened; then cut in two at every octet, and octet by octet, with the same
/// result.
func assertScript(
  _ script: String, _ expected: [String], file: StaticString = #filePath, line: UInt = #line,
  configure: (inout ScriptedSession) -> Void = { _ in }
) {
  let octets = Array(script.utf8)
  func run(_ sizes: [Int]) -> [String] {
    var session = ScriptedSession()
    configure(&session)
    session.send(octets, cutAt: sizes)
    return session.events
  }
  XCTAssertEqual(run([octets.count]), expected, file: file, line: line)
  for cut in 1..<max(2, octets.count) {
    let events = run([cut, octets.count])
    if events != expected { return XCTFail("cut at \(cut): \(events)", file: file, line: line) }
  }
  XCTAssertEqual(run([1]), expected, "octet by octet", file: file, line: line)
}
