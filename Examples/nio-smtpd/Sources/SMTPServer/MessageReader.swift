// MessageReader: finds the end of a message and removes dot-stuffing (RFC 5321, 4.5.2).
//
// Contract: only CR LF . CR LF ends a message.
// Failure: a message with a bare CR or LF is malformed. If two servers disagree about line ends, an attacker can hide one
// mail inside another (SMTP smuggling).

import NIOCore

/// Reads one message in pieces.
struct MessageReader {
  enum Outcome {
    case message(ByteBuffer)
    case malformed
    case tooLarge
  }

  /// The position of the next octet in its line.
  private enum Position {
    case lineStart, inLine, afterCR, afterDot, afterDotCR
  }

  private let limit: Int
  private var text = ByteBuffer()
  private var position = Position.lineStart
  private var isMalformed = false
  private var isTooLarge = false

  init(limit: Int) {
    self.limit = limit
  }

  /// Consumes octets of the message. Nil until the end of the message has arrived.
  mutating func read(_ input: inout ByteBuffer) -> Outcome? {
    let (count, isComplete) = input.withUnsafeReadableBytes { take(from: $0) }
    input.moveReaderIndex(forwardBy: count)
    guard isComplete else { return nil }
    if isMalformed { return .malformed }
    return isTooLarge ? .tooLarge : .message(text)
  }

  /// The number of octets that belong to the message, and whether its end is among them.
  private mutating func take(from octets: UnsafeRawBufferPointer) -> (Int, Bool) {
    var index = 0
    while index < octets.count {
      if position == .inLine {
        // Most octets of a message: copy everything before the line's end in one piece.
        let start = index
        while index < octets.count && octets[index] != 0x0D && octets[index] != 0x0A { index += 1 }
        append(UnsafeRawBufferPointer(rebasing: octets[start..<index]))
        if index == octets.count { break }
      }
      index += 1
      if take(octets[index - 1]) { return (index, true) }
    }
    return (index, false)
  }

  /// True at the end of the message.
  private mutating func take(_ octet: UInt8) -> Bool {
    let isAfterCR = position == .afterCR || position == .afterDotCR
    if (octet == 0x0A) != isAfterCR { isMalformed = true }
    switch octet {
    case 0x0A:
      if position == .afterDotCR { return true }
      append(0x0D)
      append(0x0A)
      position = isAfterCR ? .lineStart : .inLine
    case 0x0D:
      position = position == .afterDot ? .afterDotCR : .afterCR
    case 0x2E where position == .lineStart:
      position = .afterDot
    default:
      append(octet)
      position = .inLine
    }
    return false
  }

  private mutating func append(_ octet: UInt8) {
    withUnsafeBytes(of: octet) { append($0) }
  }

  private mutating func append(_ octets: UnsafeRawBufferPointer) {
    if text.readableBytes + octets.count > limit { isTooLarge = true }
    if isMalformed || isTooLarge {
      // The message will be refused, so its text is not needed.
      if text.readableBytes > 0 { text = ByteBuffer() }
    } else {
      text.writeBytes(octets)
    }
  }
}
