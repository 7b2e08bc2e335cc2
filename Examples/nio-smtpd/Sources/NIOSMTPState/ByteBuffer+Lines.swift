// The two exact rules by which a held line is edited (Command.swift), and how octets get into a hold.

import NIOCore
import SMTPState

extension ByteBuffer {
  /// The first of the readable octets.
  var firstOctet: UInt8? { readableBytesView.first }

  /// Takes over what another buffer has, without a copy if there is nothing here.
  mutating func append(_ more: inout ByteBuffer) {
    if readableBytes == 0 { self = more } else { writeBuffer(&more) }
  }

  /// Moves the first octets to a hold, or nowhere. An empty buffer keeps no storage.
  mutating func give(_ count: Int, to hold: inout ByteBuffer, unlessDropped isDropped: Bool) {
    guard var octets = readSlice(length: count) else { return }
    if !isDropped { hold.writeBuffer(&octets) }
    if readableBytes == 0 { self = ByteBuffer() }
  }

  /// The held line without its line end and with CRLF, the fourth octet as told. Empties the hold.
  mutating func takeLine(_ separator: SMTPSession.ReplySeparator = .kept) -> ByteBuffer {
    var line = ByteBuffer()
    swap(&line, &self)
    let octets = line.readableBytesView
    var count = octets.count
    if octets.last == 0x0A { count -= 1 }
    if count > 0 && octets[octets.startIndex + count - 1] == 0x0D { count -= 1 }
    line.moveWriterIndex(to: line.readerIndex + count)
    if separator != .kept {
      let octet: UInt8 = separator == .hyphen ? 0x2D : 0x20
      if count > 3 {
        line.setInteger(octet, at: line.readerIndex + 3)
      } else {
        line.writeInteger(octet)
      }
    }
    line.writeStaticString("\r\n")
    return line
  }
}
