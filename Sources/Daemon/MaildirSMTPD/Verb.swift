// Verb: the first word of a command line.
//
// The word ends at the first SP or at the end of the line. It is compared without regard to case (RFC 5321, 2.4), for
// the 52 ASCII letters only, so that similar Unicode characters do not become a command. HT does not end the word:
// `EHLO<HT>x` is one unknown word.

/// The command of a line.
enum Verb: String, Hashable, Sendable, CaseIterable {
  case ehlo = "EHLO"
  case helo = "HELO"
  case mail = "MAIL"
  case rcpt = "RCPT"
  case data = "DATA"
  case rset = "RSET"
  case noop = "NOOP"
  case vrfy = "VRFY"
  case help = "HELP"
  case quit = "QUIT"

  // SMTP commands that this server knows but does not implement: 502 instead of 500 (RFC 5321, 4.2.4).
  case auth = "AUTH"
  case bdat = "BDAT"
  case etrn = "ETRN"
  case expn = "EXPN"
  case saml = "SAML"
  case send = "SEND"
  case soml = "SOML"
  case starttls = "STARTTLS"
  case turn = "TURN"

  // HTTP methods: a browser was directed to this port, and the body of its request would be read as commands.
  case connect = "CONNECT"
  case delete = "DELETE"
  case get = "GET"
  case head = "HEAD"
  case options = "OPTIONS"
  case patch = "PATCH"
  case post = "POST"
  case put = "PUT"
  case trace = "TRACE"

  /// The verb for `word`; nil for every other word, including the empty one.
  init?(word: ArraySlice<UInt8>) {
    var capitals = ""
    // The longest verb has eight letters; a longer word is not copied.
    guard word.count <= 8 else { return nil }
    for octet in word {
      switch octet {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): capitals.unicodeScalars.append(Unicode.Scalar(octet))
      case UInt8(ascii: "a")...UInt8(ascii: "z"): capitals.unicodeScalars.append(Unicode.Scalar(octet - 0x20))
      default: return nil
      }
    }
    self.init(rawValue: capitals)
  }
}
