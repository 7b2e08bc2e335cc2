// SessionRecorder: makes the recording of one session while it runs.
//
// Contract: a line is redacted as soon as it is complete, in all its pieces; a line that never ends, at the end. The memory of a
// recorder has a limit. A recorder that has reached it, or was stopped, ignores the rest of the session.

package import SMTPState
package import Transport

package final class SessionRecorder: ConversationObserver {
  /// A line that is not complete: its octets, and where its pieces are.
  private struct OpenLine {
    var octets: [UInt8] = []
    var entries: [Int] = []
    var input = ClientInput.command
  }

  private var recording: Recording
  private let limit: Int
  private let startedAt: Int
  private let now: () -> Int
  private var openOfClient = OpenLine()
  private var openOfServer = OpenLine()
  private var isFull = false
  /// How many octets the recording takes, approximately.
  private var size = 0
  /// How many octets the recorder takes, approximately. An open line is held a second time.
  package var memory: Int { size + openOfClient.octets.count + openOfServer.octets.count }
  /// What an entry takes besides its octets.
  static var costOfEntry: Int { 64 }

  /// - Parameters:
  ///   - head: a recording without entries.
  ///   - limit: the most octets that it may take.
  ///   - now: the time in milliseconds.
  package init(_ head: Recording, limit: Int, now: @escaping () -> Int = Clock.now) {
    recording = head
    self.limit = limit
    self.now = now
    startedAt = now()
  }

  /// The recording so far, with `end` in its last line. Nothing more may happen.
  package func finish(_ end: String) -> Recording {
    close(&openOfClient, isOfClient: true)
    close(&openOfServer, isOfClient: false)
    recording.entries.append(Recording.Entry(time: now() - startedAt, .over(end)))
    return recording
  }

  /// Ends the recording early, as if it had reached its limit. The rest of the session is ignored.
  package func stop() {
    guard !isFull else { return }
    close(&openOfClient, isOfClient: true)
    close(&openOfServer, isOfClient: false)
    isFull = true
    recording.entries.append(Recording.Entry(time: now() - startedAt, .full))
  }

  // MARK: ConversationObserver

  package func received(_ octets: Span<UInt8>, as input: ClientInput) {
    let octets = octets.array
    if input == .chunk { return append(.event(.received(.client, [UInt8](repeating: UInt8(ascii: "x"), count: octets.count)))) }
    add(octets, input, to: &openOfClient, isOfClient: true)
  }

  package func receivedFromServer(_ octets: Span<UInt8>) {
    add(octets.array, .command, to: &openOfServer, isOfClient: false)
  }

  package func happened(_ event: ConversationEvent) {
    switch event {
    case .inputEnded(.client), .handshakeFinished: close(&openOfClient, isOfClient: true)
    case .inputEnded(_):
      close(&openOfServer, isOfClient: false)
      return append(.event(.other(.inputEnded(.server))))
    case .peeked(let octet?, ended: let ended) where octet != Octet.tlsHandshake:
      // Which one does not matter, and it is the first octet of something unknown.
      return append(.event(.other(.peeked(Octet.hidden(octet), ended: ended))))
    default: break
    }
    append(.event(.other(event)))
  }

  package func wrote(_ octets: Span<UInt8>) {
    append(.deed(recording.redaction.deed(toClient: octets)))
  }

  package func wroteToServer(_ octets: Span<UInt8>, isResponse: Bool) {
    append(.deed(recording.redaction.deed(toServer: octets, isResponse: isResponse)))
  }

  package func decided(_ decision: SMTPConversation.Decision) {
    if decision == .endServer { close(&openOfServer, isOfClient: false) }
    append(.deed(.decided(decision.words)))
  }

  // MARK: Lines

  /// Adds a piece of a line. It is redacted with the rest of its line.
  private func add(_ octets: [UInt8], _ input: ClientInput, to line: inout OpenLine, isOfClient: Bool) {
    if line.octets.isEmpty { line.input = input }
    let index = recording.entries.count
    append(.event(.received(isOfClient ? .client : .server, octets)))
    guard !isFull else { return }
    line.octets += octets
    line.entries.append(index)
    if octets.last == 0x0A { close(&line, isOfClient: isOfClient) }
  }

  private func close(_ line: inout OpenLine, isOfClient: Bool) {
    defer { line = OpenLine() }
    let redaction = recording.redaction
    let shown =
      isOfClient ? line.input == .response ? redaction.response(line.octets) : redaction.command(line.octets) : redaction.reply(line.octets)
    var rest = shown[...]
    for index in line.entries {
      guard case .event(.received(let side, let octets)) = recording.entries[index].content else { continue }
      recording.entries[index].content = .event(.received(side, Array(rest.prefix(octets.count))))
      rest = rest.dropFirst(octets.count)
    }
  }

  // MARK: Entries

  private func append(_ content: Recording.Content) {
    guard !isFull else { return }
    size += SessionRecorder.costOfEntry + content.length
    let time = now() - startedAt
    if size > limit {
      isFull = true
      recording.entries.append(Recording.Entry(time: time, .full))
    } else {
      recording.entries.append(Recording.Entry(time: time, content))
    }
  }
}

extension Recording.Content {
  var length: Int {
    switch self {
    case .event(.received(_, let octets)), .deed(.wrote(_, let octets)): octets.count
    case .event(.other), .deed(.decided), .full, .over: 0
    }
  }
}
