// ReplyReader: takes one reply of a server apart, which arrives in pieces.
//
// Contract: it has no I/O. Octets go in until the reply is complete or is not one.
// Failure: `.invalid`, for octets that are no reply of SMTP, for a reply that is too long, and for octets after the reply.

struct ReplyReader {
  enum State: Equatable {
    case incomplete
    case complete
    /// The text continues "its greeting ".
    case invalid(String)
  }

  /// A reply to EHLO with more octets than this is not learnt.
  static let limit = 8_192

  private(set) var octets: [UInt8] = []
  private(set) var state = State.incomplete
  private var lineStart = 0

  /// The code, of a reply that is complete.
  var code: String { String(decoding: octets.prefix(3), as: UTF8.self) }

  mutating func take(_ piece: some Sequence<UInt8>) {
    for octet in piece { take(octet) }
  }

  private mutating func take(_ octet: UInt8) {
    switch state {
    case .invalid: return
    case .complete: state = .invalid("has octets after its end")
    case .incomplete:
      octets.append(octet)
      if octet == UInt8(ascii: "\n") { endLine() }
      if octets.count >= ReplyReader.limit, state == .incomplete { state = .invalid("is longer than \(ReplyReader.limit) octets") }
    }
  }

  private mutating func endLine() {
    let line = octets[lineStart...]
    lineStart = octets.count
    guard line.count >= 5, line.prefix(3).allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
      state = .invalid("is not a reply of SMTP")
      return
    }
    switch line[line.startIndex + 3] {
    case UInt8(ascii: "-"): break
    case UInt8(ascii: " "), UInt8(ascii: "\r"): state = .complete
    default: state = .invalid("is not a reply of SMTP")
    }
  }
}
