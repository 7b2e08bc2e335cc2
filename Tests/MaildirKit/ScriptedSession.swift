// ScriptedSession: a Dialogue with a caller that stores in memory and writes everything down.
//
// The caller checks the contract as it goes: nothing is stored outside a message, nothing is committed that was not
// begun, and a call makes progress or waits. What is not as promised is a line in `violations`.

import MaildirSMTPD

/// What a dialogue did, as lines of a transcript.
struct ScriptedSession {
  static let policy = Dialogue.Policy(host: "mx.example", sizeLimit: 60, recipientsLimit: 3)

  /// Replies without CRLF, lines of one reply joined by `|`, and what happened to messages:
  /// `begin <sender> <recipient>...`, `abandon`, `store TEXT`.
  private(set) var events: [String] = []
  /// The messages that were stored.
  private(set) var messages: [[UInt8]] = []
  /// What the dialogue did against its contract.
  private(set) var violations: [String] = []

  /// What `began` and `committed` are answered with, and whether storing fails after the first octets.
  var opening: Dialogue.StorageFailure?
  var committing: Dialogue.StorageFailure?
  var writing: Dialogue.StorageFailure?

  private var dialogue: Dialogue
  private var content: [UInt8] = []
  private var isStoring = false
  /// Why the message under way is not stored.
  private var failure: Dialogue.StorageFailure?
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
      check(step.consumed <= rest.count, "more consumed than there was")
      rest = rest.dropFirst(step.consumed)
      if !content.isEmpty {
        check(isStoring, "stored outside a message")
      }
      if step.action == .wait, step.consumed == 0 {
        check(false, "no octet consumed and nothing to do")
        return
      }
      carryOut(step.action)
    }
  }

  /// Writes what there is of the message, which may fail once.
  private mutating func write() {
    guard let writing, isStoring, content.count > 4 else { return }
    content = []
    isStoring = false
    failure = writing
    self.writing = nil
    dialogue.failed(writing)
  }

  private mutating func carryOut(_ action: Dialogue.Action) {
    switch action {
    case .wait: write()
    case .reply(let reply): say(reply)
    case .begin(let envelope):
      events.append("begin " + ([envelope.sender] + envelope.recipients).map(\.description).joined(separator: " "))
      isStoring = opening == nil
      failure = nil
      carryOut(dialogue.began(opening))
    case .abandon:
      check(isStoring, "abandoned what was not begun")
      events.append("abandon")
      content = []
      isStoring = false
    case .commit:
      write()
      if let failure {
        carryOut(dialogue.committed(.failure(failure)))
        return
      }
      check(isStoring, "committed what was not begun")
      messages.append(content)
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
    check(reply.text.hasSuffix("\r\n") && reply.text.utf8.allSatisfy { $0 < 0x7F }, "a reply of \(reply.text)")
    events.append(String(reply.text.dropLast().replacing("\r\n", with: "|")))
  }

  private mutating func check(_ isKept: Bool, _ violation: @autoclosure () -> String) {
    if !isKept { violations.append(violation()) }
  }
}
