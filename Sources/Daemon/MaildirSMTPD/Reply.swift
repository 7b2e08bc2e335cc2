// Reply: all replies of this server.
//
// Fixed text with an enhanced status code (RFC 2034, RFC 3463), except the greeting, the replies to EHLO and HELO, and
// 354, which have none. Inserted values are our own: the host name, the size limit, the name of a message. A reply
// never contains text from a peer.

/// One reply, ready to be sent.
public struct Reply: Hashable, Sendable {
  /// The reply's octets, all lines with CRLF. ASCII only.
  public let text: String
  /// True if the reply may stay in the output buffer while more commands are available (RFC 2920, 3.2: replies to RSET,
  /// MAIL and RCPT may; replies to EHLO, DATA, VRFY, NOOP, QUIT and unknown commands must not).
  public let mayWait: Bool

  init(_ line: String, mayWait: Bool = false) {
    self.text = line + "\r\n"
    self.mayWait = mayWait
  }

  /// The reply without its CRLF, for the log.
  var line: String { String(decoding: text.utf8.dropLast(2), as: UTF8.self) }

  /// The same reply, which may stay in the output buffer.
  var waiting: Reply { Reply(text: text, mayWait: true) }

  private init(text: String, mayWait: Bool) {
    self.text = text
    self.mayWait = mayWait
  }
}

// Greetings, and replies to commands that were carried out.
extension Reply {
  static func greeting(host: String) -> Reply { Reply("220 \(host) ESMTP") }

  /// RFC 1870, 2920, 6152 and 2034. SIZE 0 means that there is no fixed limit.
  static func extensions(host: String, sizeLimit: Int) -> Reply {
    Reply(
      "250-\(host)\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE \(sizeLimit)\r\n250 ENHANCEDSTATUSCODES")
  }

  static func hello(host: String) -> Reply { Reply("250 \(host)") }
  static let done = Reply("250 2.0.0 OK")
  static let senderAccepted = Reply("250 2.1.0 Sender accepted", mayWait: true)
  static let recipientAccepted = Reply("250 2.1.5 Recipient accepted", mayWait: true)
  static let sendMessage = Reply("354 Send the message, end it with <CRLF>.<CRLF>")
  static func delivered(_ name: String) -> Reply { Reply("250 2.0.0 Delivered as \(name)") }
  static let cannotVerify = Reply("252 2.5.0 Cannot verify, but mail to any valid address is accepted")
  static let cannotVerifyButAsk = Reply("252 2.5.0 Cannot verify, but RCPT is refused if the domain is not ours")
  static let help = Reply("214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")
  static let goodbye = Reply("221 2.0.0 Bye")
}

// Lines that are not a command.
extension Reply {
  static func refused(_ defect: LineReader.Defect) -> Reply {
    switch defect {
    case .tooLong: Reply("500 5.5.2 Line too long")
    case .bareLineFeed: Reply("500 5.5.2 A line ends with CRLF, not with LF alone")
    case .bareCarriageReturn: Reply("500 5.5.2 CR without LF in a command")
    case .null: Reply("500 5.5.2 NUL in a command")
    }
  }

  static let noCommand = Reply("500 5.5.2 No command in this line")
  static let unknownCommand = Reply("500 5.5.1 Command not known")
  static let notImplemented = Reply("502 5.5.1 Command not implemented")
  static let wrongProtocol = Reply("554 5.5.1 This is an SMTP server")
}

// Commands that are refused.
extension Reply {
  static let helloFirst = Reply("503 5.5.1 Say EHLO or HELO first")
  static let nestedMail = Reply("503 5.5.1 The sender is already given")
  static let mailFirst = Reply("503 5.5.1 Give the sender first, with MAIL")
  static let recipientFirst = Reply("503 5.5.1 Give a recipient first, with RCPT")
  static let noArgument = Reply("501 5.5.4 This command takes no argument")
  static let argumentNeeded = Reply("501 5.5.4 This command needs an argument")
  static let badName = Reply("501 5.5.4 That is not a host's name")
  static let badMailArgument = Reply("501 5.5.4 Syntax: MAIL FROM:<address>")
  static let badRecipientArgument = Reply("501 5.5.4 Syntax: RCPT TO:<address>")
  static let badSender = Reply("501 5.1.7 Bad sender address")
  static let badRecipient = Reply("501 5.1.3 Bad recipient address")
  static let notOurDomain = Reply("550 5.7.1 No mail for that address here, and no relaying")
  static let badParameter = Reply("501 5.5.4 Bad parameter")
  static let unknownParameter = Reply("555 5.5.4 Parameter not known")
  static let tooManyRecipients = Reply("452 4.5.3 Too many recipients")
  static let badChunkSize = Reply("501 5.5.4 Bad chunk size, closing connection")
}

// Refused messages, and closing replies.
extension Reply {
  static let tooLarge = Reply("552 5.3.4 Message larger than the limit")
  static let bareLineEnd = Reply("554 5.6.0 CR or LF alone in the message")
  static let storageFull = Reply("452 4.3.1 No room for the message, try again later")
  static let storageFailed = Reply("451 4.3.0 The message cannot be stored, try again later")

  /// A timeout expired; the connection closes.
  public static let timedOut = Reply("421 4.4.2 Timed out, closing connection")
  /// A signal stopped the server; the connection closes.
  public static let stopping = Reply("421 4.3.2 Stopping, closing connection")
}
