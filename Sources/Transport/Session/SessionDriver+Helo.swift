// A front's health check: where TLS is required, its HELO is read as EHLO.
//
// The policy answers 530 to HELO in clear (RFC 3207, 4), and a front whose check sends HELO would leave this server out. So the
// conversation gets EHLO in its place, and the server too. The policy stays: its promises hold for any octets that the
// conversation gets, and so for these. The reply has several lines, which is allowed for every command (RFC 5321, 4.2.1). A
// recording has what the conversation gets: EHLO.
//
// Contract: only octets in clear are changed, and only at the start of a line outside a BDAT chunk. The result does not depend on the pieces in which
// a line arrives. A client that ends inside HELO has sent no line.

import SMTPState

/// How much of `HELO` was read at the start of a line.
struct HeloReading {
  static var helo: StaticString { "HELO" }
  static var ehlo: StaticString { "EHLO" }

  /// How many octets of the word were read, and not given to the conversation. nil in the rest of a line.
  private(set) var matched: Int? = 0

  /// Reads the next octet if the word goes on with it, in upper or lower case.
  ///
  /// - Returns: false if it does not. In that case the octet is still the caller's.
  mutating func match(_ octet: UInt8) -> Bool {
    guard let count = matched, octet & 0xDF == HeloReading.helo.utf8Start[count] else { return false }
    matched = count + 1
    return true
  }

  /// The word has ended: returns the octets that the conversation gets for what was read of it.
  mutating func takeWord() -> UnsafeRawBufferPointer {
    let count = matched ?? 0
    matched = nil
    let word = count == HeloReading.helo.utf8CodeUnitCount ? HeloReading.ehlo : HeloReading.helo
    return UnsafeRawBufferPointer(start: word.utf8Start, count: count)
  }

  mutating func endLine() { matched = 0 }
}

extension SessionDriver {
  /// The client is a front that checks whether this server is up: from now on its HELO is read as EHLO, if the policy requires TLS.
  package func serveHealthCheck() {
    if policy.security == .required { heloReading = HeloReading() }
  }

  /// Lets the conversation consume octets of such a client in clear. Up to three octets that begin HELO are read before the
  /// conversation gets them.
  ///
  /// - Returns: how many of the octets were read. Take exactly these, then carry out the decisions.
  func consumeReadingHelo(_ octets: UnsafeRawBufferPointer) -> Int {
    var count = 0
    while count < octets.count, conversation.wants(.client) {
      let chunk = min(conversation.chunkLeft, octets.count - count)
      if chunk == 0, heloReading?.match(octets[count]) == true {
        count += 1
        if heloReading?.matched == HeloReading.helo.utf8CodeUnitCount { giveWord() }
        continue
      }
      if chunk == 0 { giveWord() }
      let end = chunk > 0 ? count + chunk : octets[count...].firstIndex(of: 0x0A).map { $0 + 1 } ?? octets.count
      count += consume(UnsafeRawBufferPointer(rebasing: octets[count..<end]), from: .client)
      guard count == end else { break }
      if chunk == 0, octets[end - 1] == 0x0A { heloReading?.endLine() }
    }
    return count
  }

  private func giveWord() {
    guard let word = heloReading?.takeWord(), !word.isEmpty else { return }
    _ = consume(word, from: .client)
  }
}
