// LearntServer: answers for a server program that is not started until it is needed.
//
// Purpose: a program's greeting, and its replies to EHLO and QUIT, were learnt from earlier starts. A client that only reads
// them, or asks for STARTTLS next, needs no program in clear.
// Contract: it has no I/O. Octets for the server go in, octets of the server come out. It takes one EHLO (LHLO for LMTP) with
// an ordinary name, and QUIT. It takes nothing else: then `needsServer` is true, and those octets are still the caller's. They
// are for the server that takes its place, after `replay`.
// Failure: none. A name with which a server may do something special needs the server.

import Glibc
package import SMTPState

/// What a server program sends to every client.
package struct LearntReplies: Hashable, Sendable {
  /// Each is one reply, with all its lines and line ends.
  package let greeting: [UInt8]
  package let hello: [UInt8]
  /// Empty if the server closes without a reply.
  package let quit: [UInt8]

  package init(greeting: [UInt8], hello: [UInt8], quit: [UInt8]) {
    self.greeting = greeting
    self.hello = hello
    self.quit = quit
  }
}

/// A server that consists of learnt replies. A class, so that a session without one has no room for it.
package final class LearntServer {
  private let replies: LearntReplies
  private let verb: StaticString
  /// The reply of which octets are still to be taken, and how many of them were.
  private var reply: [UInt8]
  private var taken = 0
  private var hasQuit = false
  /// The line of EHLO that was answered, with its CRLF.
  private var helloLine: [UInt8] = []
  /// True once octets for the server came that only a server can answer.
  package private(set) var needsServer = false

  package init(_ replies: LearntReplies, _ mailProtocol: SMTPSession.Policy.MailProtocol) {
    self.replies = replies
    verb = mailProtocol == .lmtp ? "LHLO" : "EHLO"
    reply = replies.greeting
  }

  /// What the server that takes its place must send and is sent, so that it is where this one was.
  package var replay: ServerReplay { ServerReplay(replies, hello: helloLine) }

  /// Shows the next octets of the server.
  package func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    let rest = reply[taken...]
    guard !rest.isEmpty else { return hasQuit ? .ended : .wouldBlock }
    let piece = rest.prefix(buffer.count)
    piece.withUnsafeBytes { buffer.copyMemory(from: $0) }
    return .moved(piece.count)
  }

  /// Takes the next octets of the server.
  package func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    let answer = peek(into: buffer)
    if case .moved(let count) = answer { taken += count }
    return answer
  }

  /// True if there is something to receive: octets, or the end.
  package var hasPending: Bool { taken < reply.count || hasQuit }

  /// Octets for the server: all of them are taken, or none.
  package func send(_ octets: UnsafeRawBufferPointer) -> IOResult {
    guard !needsServer, taken == reply.count, !hasQuit else { return refuse() }
    if LearntServer.isQuit(octets) {
      hasQuit = true
      answer(replies.quit)
    } else if helloLine.isEmpty, isOrdinaryHello(octets) {
      helloLine = Array(octets)
      answer(replies.hello)
    } else {
      return refuse()
    }
    return .moved(octets.count)
  }

  private func refuse() -> IOResult {
    // After QUIT the server is gone.
    if hasQuit { return .failed(SystemError("send", EPIPE)) }
    needsServer = true
    return .wouldBlock
  }

  private func answer(_ octets: [UInt8]) {
    reply = octets
    taken = 0
  }

  private static func isQuit(_ octets: UnsafeRawBufferPointer) -> Bool { octets.count == 6 && starts(octets, with: "QUIT") && endsLine(octets, at: 4) }

  /// True for the verb, a blank, and a domain of more than one label or an address literal (RFC 5321, 4.1.3). Nothing else is
  /// in the line: a server may refuse other names.
  private func isOrdinaryHello(_ octets: UnsafeRawBufferPointer) -> Bool {
    let end = octets.count - 2
    guard end > 5, end <= 5 + 255, LearntServer.starts(octets, with: verb), octets[4] == UInt8(ascii: " "), LearntServer.endsLine(octets, at: end)
    else { return false }
    let name = octets[5..<end]
    let isLiteral = name.count > 2 && name.first == UInt8(ascii: "[") && name.last == UInt8(ascii: "]")
    let inner = isLiteral ? name.dropFirst().dropLast() : name
    let isPlain = inner.allSatisfy { octet in
      switch octet {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "-"), UInt8(ascii: "."):
        true
      default: octet == UInt8(ascii: ":") && isLiteral
      }
    }
    return isPlain && (isLiteral || name.dropFirst().dropLast().contains(UInt8(ascii: ".")))
  }

  /// True if the octets begin with that verb, in upper or lower case.
  private static func starts(_ octets: UnsafeRawBufferPointer, with verb: StaticString) -> Bool {
    (0..<4).allSatisfy { octets[$0] & 0xDF == verb.utf8Start[$0] }
  }

  private static func endsLine(_ octets: UnsafeRawBufferPointer, at position: Int) -> Bool {
    octets[position] == 0x0D && octets[position + 1] == 0x0A
  }
}
