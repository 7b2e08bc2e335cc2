// Verb: the first word of a command line.
//
// The word ends at the first SP or at the line's end and is compared without regard to case (RFC 5321, 2.4), octet by
// octet: only the 52 ASCII letters fold, so no look-alike from elsewhere in Unicode becomes a command. HT ends
// nothing here: `EHLO<HT>x` is one unknown word.

/// What a command line asks for.
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

  // Words of SMTP that this server knows and does not do: 502 instead of 500 (RFC 5321, 4.2.4).
  case auth = "AUTH"
  case bdat = "BDAT"
  case etrn = "ETRN"
  case expn = "EXPN"
  case saml = "SAML"
  case send = "SEND"
  case soml = "SOML"
  case starttls = "STARTTLS"
  case turn = "TURN"

  // Methods of HTTP: a browser was lured to this port, and the body of its request would be read as commands.
  case connect = "CONNECT"
  case delete = "DELETE"
  case get = "GET"
  case head = "HEAD"
  case options = "OPTIONS"
  case patch = "PATCH"
  case post = "POST"
  case put = "PUT"
  case trace = "TRACE"

  /// The verb that `word` spells; nil for every other word, the empty one included.
  init?(word: ArraySlice<UInt8>) {
    var capitals = ""
    // The longest word in the table has eight letters; nothing longer is worth copying.
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
