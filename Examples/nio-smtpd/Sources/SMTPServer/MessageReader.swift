// MessageReader: finds the end of a message, and undoes dot-stuffing (RFC 5321, 4.5.2).
//
// Only CR LF . CR LF ends a message. A bare CR or LF in it makes it malformed: two servers that disagree about line
// ends is how one mail is smuggled inside another.

import NIOCore

/// Reads one message, as it comes.
struct MessageReader {
  enum Outcome {
    case message(ByteBuffer)
    case malformed
    case tooLarge
  }

  /// Where in a line the next octet is.
  private enum Position {
    case lineStart, inLine, behindCR, behindDot, behindDotCR
  }

  private let limit: Int
  private var text = ByteBuffer()
  private var position = Position.lineStart
  private var isMalformed = false
  private var isTooLarge = false

  init(limit: Int) {
    self.limit = limit
  }

  /// Takes what belongs to the message; nil until its end has come.
  mutating func read(_ input: inout ByteBuffer) -> Outcome? {
    let (count, isComplete) = input.withUnsafeReadableBytes { take(from: $0) }
    input.moveReaderIndex(forwardBy: count)
    guard isComplete else { return nil }
    if isMalformed { return .malformed }
    return isTooLarge ? .tooLarge : .message(text)
  }

  /// How many octets belong to the message, and whether its end is among them.
  private mutating func take(from octets: UnsafeRawBufferPointer) -> (Int, Bool) {
    var index = 0
    while index < octets.count {
      if position == .inLine {
        // Most of a message: what comes before the line's end is taken in one piece.
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
    let isBehindCR = position == .behindCR || position == .behindDotCR
    if (octet == 0x0A) != isBehindCR { isMalformed = true }
    switch octet {
    case 0x0A:
      if position == .behindDotCR { return true }
      append(0x0D)
      append(0x0A)
      position = isBehindCR ? .lineStart : .inLine
    case 0x0D:
      position = position == .behindDot ? .behindDotCR : .behindCR
    case 0x2E where position == .lineStart:
      position = .behindDot
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
      // It will not be kept: no need to hold it.
      if text.readableBytes > 0 { text = ByteBuffer() }
    } else {
      text.writeBytes(octets)
    }
  }
}
