// ProbeConnection: the dialogue with a server over a socket.

import Glibc
import Transport

/// A connected socket and the dialogue so far.
final class ProbeConnection {
  /// nil after the dialogue has ended.
  private var socket: Descriptor?
  private var dialogue: ProbeDialogue
  /// The start of an incomplete line.
  private var input: [UInt8] = []

  /// The maximum length of a reply line.
  private static let lineLimit = 4096

  init(_ socket: consuming Descriptor, isLMTP: Bool) {
    self.socket = consume socket
    dialogue = ProbeDialogue(isLMTP: isLMTP)
  }

  /// The server's replies; nil after the dialogue has ended.
  var watch: pollfd? { (socket?.pollNumber()).map { pollfd(fd: $0, events: CShort(POLLIN), revents: 0) } }

  /// The conclusion. Read it after the end.
  var finding: RelayFinding { dialogue.finding }

  /// The time for replies has expired.
  func expire() {
    guard socket != nil else { return }
    dialogue.expired()
    socket = nil
  }

  /// Input may be available.
  func read() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let transfer = buffer.withUnsafeMutableBytes { socket?.take(into: $0) ?? .wouldBlock }
    switch transfer {
    case .moved(let count):
      input += buffer[..<count]
      takeLines()
    case .wouldBlock: break
    case .ended, .failed:
      dialogue.ended()
      socket = nil
    }
  }

  private func takeLines() {
    while let end = input.firstIndex(of: UInt8(ascii: "\n")) {
      var line = input[..<end]
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      let text = escaped(line)
      input.removeSubrange(...end)
      switch dialogue.receive(text) {
      case .wait: break
      case .send(let command):
        // Octets that came before the command was sent are not a reply to it.
        guard input.isEmpty else { return misbehave() }
        // If the program no longer reads, the next read shows its end.
        _ = Array(command.utf8).withUnsafeBytes { socket?.give($0) }
      case .finished:
        socket = nil
        return
      }
    }
    if input.count > ProbeConnection.lineLimit { misbehave() }
  }

  private func misbehave() {
    dialogue.misbehaved()
    socket = nil
  }

  /// Escaped for a log, and limited in length.
  private func escaped(_ line: ArraySlice<UInt8>) -> String {
    var text: [UInt8] = []
    EscapedText.append(line.prefix(200), to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

// Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
extension Descriptor {
  mutating func pollNumber() -> CInt { number }
  fileprivate mutating func take(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
  fileprivate mutating func give(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
