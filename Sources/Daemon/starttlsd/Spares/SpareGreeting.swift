// SpareGreeting: what the octets mean that a spare process of the program has sent so far.
//
// A session reads the greeting itself, from the socket, as after a start of its own. So a spare process may have sent one reply
// with the code 220, and nothing else: octets after it would be taken for the reply to a command.
//
// Contract: a value, without I/O. Nothing that the program sent is in the text of `other`, except three digits.

enum SpareGreeting: Equatable {
  /// More is to come.
  case incomplete
  /// One reply 220 is complete; nothing follows.
  case complete
  /// It is not usable. The text continues "the program".
  case other(String)

  /// A greeting of more octets is not usable.
  static let limit = 8_192

  /// - Parameter octets: all that was sent.
  init(_ octets: some Collection<UInt8>) {
    var rest = octets[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      let line = Array(rest[..<end])
      rest = rest[end...].dropFirst()
      guard line.last == UInt8(ascii: "\r") else {
        self = .other("ends a line of its greeting without CR")
        return
      }
      let code = line.prefix(3)
      guard line.count >= 4, code.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
        self = .other("greets with something that is no reply of SMTP")
        return
      }
      guard code.elementsEqual("220".utf8) else {
        self = .other("sends \(String(decoding: code, as: UTF8.self)) in place of a greeting")
        return
      }
      switch line[3] {
      case UInt8(ascii: "-"): continue
      case UInt8(ascii: " "), UInt8(ascii: "\r"): self = rest.isEmpty ? .complete : .other("sends something after its greeting")
      default: self = .other("greets with something that is no reply of SMTP")
      }
      return
    }
    self = octets.count >= SpareGreeting.limit ? .other("sends a greeting of more than \(SpareGreeting.limit) octets") : .incomplete
  }
}
