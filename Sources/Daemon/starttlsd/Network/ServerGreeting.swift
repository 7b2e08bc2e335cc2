// ServerGreeting: whether a server is ready, from the first octets of its greeting.
//
// The octets are only looked at: the session reads the greeting. Four of them decide: a code, and what may follow it (RFC 5321, 4.2). The
// session judges the rest.

enum ServerGreeting: Equatable {
  /// 220.
  case ready
  /// Fewer than four octets, which may become a greeting.
  case incomplete
  /// Another code: the server refuses this client, or all.
  case refused(String)
  /// No reply of SMTP.
  case garbage

  /// How many octets decide.
  static let length = 4

  init(_ octets: some Collection<UInt8>) {
    let code = octets.prefix(3)
    guard code.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), code.first.map({ (0x32...0x35).contains($0) }) ?? true else {
      self = .garbage
      return
    }
    guard let next = octets.dropFirst(3).first else {
      self = .incomplete
      return
    }
    switch next {
    case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "\r"), UInt8(ascii: "\n"):
      let text = String(decoding: code, as: UTF8.self)
      self = text == "220" ? .ready : .refused(text)
    default: self = .garbage
    }
  }
}
